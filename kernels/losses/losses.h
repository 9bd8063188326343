// Losses of predictions x against targets of the same shape, element by element, and distillation. Rule: each returns
// {sum, weight, mean}; weight counts the elements (kd: rows) of samples whose sample_weight is not 0, times that
// weight.
//
// x and target fp32 (16-bit ones are cast) [N, ...], sample_weight fp32 [N] or NULL. Targets get no gradient.
#ifndef IG_KERNELS_LOSSES_H
#define IG_KERNELS_LOSSES_H

#include "kernels/softmax_xent/softmax_xent.h"

#ifdef __cplusplus
extern "C" {
#endif

// d = x - target: d^2.
ig_loss ig_mse_loss(ig_graph *g, const char *name, ig_tensor *x, ig_tensor *target, ig_tensor *sample_weight);
// |d|; the gradient at 0 is 0.
ig_loss ig_l1_loss(ig_graph *g, const char *name, ig_tensor *x, ig_tensor *target, ig_tensor *sample_weight);
// |d| < beta: d^2 / (2 beta), else |d| - beta/2; beta >= 0.
ig_loss ig_smooth_l1_loss(ig_graph *g, const char *name, ig_tensor *x, ig_tensor *target, ig_tensor *sample_weight,
                          float beta);
// |d| <= delta: d^2 / 2, else delta (|d| - delta/2); delta > 0.
ig_loss ig_huber_loss(ig_graph *g, const char *name, ig_tensor *x, ig_tensor *target, ig_tensor *sample_weight,
                      float delta);
// x are logits: -w t log s(x) - (1-t) log(1 - s(x)), w = pos_weight (fp32 [elements of a sample] or NULL = 1).
ig_loss ig_bce_logits_loss(ig_graph *g, const char *name, ig_tensor *x, ig_tensor *target, ig_tensor *sample_weight,
                           ig_tensor *pos_weight);
// torchvision's: bce (1-q)^gamma a, q = s(x) t + (1-s(x))(1-t), a = alpha t + (1-alpha)(1-t); alpha < 0: a = 1.
ig_loss ig_sigmoid_focal_loss(ig_graph *g, const char *name, ig_tensor *x, ig_tensor *target, ig_tensor *sample_weight,
                              float alpha, float gamma);
// Distillation from teacher logits [N,C]: T^2 sum_c q (log q - log p), q = softmax(teacher / T), p = softmax(x / T).
ig_loss ig_kd_loss(ig_graph *g, const char *name, ig_tensor *x, ig_tensor *teacher, ig_tensor *sample_weight,
                   float temperature);

// Attributes of these rows: beta, delta or temperature in a; alpha and gamma in a and b.
typedef struct ig_loss_attr {
  float a, b;
} ig_loss_attr;

#ifdef __cplusplus
}
#endif
#endif
