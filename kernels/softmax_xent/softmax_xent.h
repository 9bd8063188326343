// Softmax and the cross-entropy losses that are fused with it. Rule: logits are shifted by their largest value before
// exp, so any finite logits give a finite loss.
#ifndef IG_KERNELS_SOFTMAX_XENT_H
#define IG_KERNELS_SOFTMAX_XENT_H

#include "runtime/graph/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

// Every loss: sum over what counts, the weight it is to be divided by, and sum / weight (0 where weight is 0), each
// fp32 [1]. Differentiate `mean`, or `sum` with a seed of 1 / (global weight). All NULL after an error.
typedef struct ig_loss {
  ig_tensor *sum, *weight, *mean;
} ig_loss;

typedef struct ig_xent_attr {
  float label_smoothing;  // e in [0,1): (1-e) of the loss is the label's, e the mean over all classes
  int ignore_label;       // rows with this label count nothing, where has_ignore
  bool has_ignore;
  float focal_gamma;    // g >= 0: the label's term is multiplied by (1-p)^g
  bool weight_per_row;  // weight adds 1 a row (and term) instead of its class weight: the focal loss's mean
} ig_xent_attr;

// Softmax cross-entropy of class labels. With s = sample_weight, terms k = (labels, lam) and (second_labels, 1 - lam)
// - or (labels, 1) alone -, cw = class_weight, p = softmax(logits):
//   sum    = sum_n s_n sum_k lam_k [ (1-e) cw[y] (1-p_y)^g (-log p_y) + e/C sum_c cw[c] (-log p_c) ]
//   weight = sum_n s_n sum_k lam_k cw[y]
// A label outside of [0, C) that is not ignored makes the loss NaN, unless the row's sample_weight is 0.
// logits [N,C] (fp32; 16-bit ones are cast), labels i32 [N]; optional (NULL = absent): second_labels i32 [N] with lam
// fp32 [N] (mixup, cutmix), sample_weight fp32 [N], class_weight fp32 [C]; attr NULL = plain.
ig_loss ig_softmax_xent(ig_graph *g, const char *name, ig_tensor *logits, ig_tensor *labels, ig_tensor *second_labels,
                        ig_tensor *lam, ig_tensor *sample_weight, ig_tensor *class_weight, const ig_xent_attr *attr);

// sum = -sum_n s_n sum_c t_nc log p_nc, weight = sum_n s_n; targets fp32 [N,C], without a gradient of their own.
ig_loss ig_softmax_xent_soft(ig_graph *g, const char *name, ig_tensor *logits, ig_tensor *targets,
                             ig_tensor *sample_weight);

// Focal loss: mean over rows of -alpha[y] (1-p_y)^gamma log p_y (not divided by the sum of alpha). alpha fp32 [C] or
// NULL.
ig_loss ig_focal_loss(ig_graph *g, const char *name, ig_tensor *logits, ig_tensor *labels, ig_tensor *sample_weight,
                      ig_tensor *alpha, float gamma);

// Probabilities over the last dimension; fp32 (fp64 for fp64).
ig_tensor *ig_softmax(ig_graph *g, const char *name, ig_tensor *x);

// sum / weight, 0 where weight is 0; both [1].
ig_tensor *ig_loss_mean(ig_graph *g, const char *name, ig_tensor *sum, ig_tensor *weight);
// For builders of losses: adds the mean to {sum, weight}.
ig_loss ig_loss_of(ig_graph *g, const char *name, ig_node *n);
// For builders of losses: x itself, or a cast to fp32 where it is 16-bit.
ig_tensor *ig_loss_operand(ig_graph *g, const char *name, ig_tensor *x);

#ifdef __cplusplus
}
#endif
#endif
