// Optimizers by name: from options to the update nodes of a graph, its device scalars and its segment table. Rule: the
// arithmetic is in the op rows (kernels/sgd, adam, rmsprop, lars, lamb, optim_util); here is only which and with what.
#ifndef IG_TRAIN_OPTIMIZER_H
#define IG_TRAIN_OPTIMIZER_H

#include "runtime/graph/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ig_optimizer_options {
  size_t size;           // sizeof(ig_optimizer_options)
  const char *name;      // sgd, adam, adamw, rmsprop, lars, lamb; borrowed
  double momentum;       // sgd, lars, rmsprop; 0 = none
  double dampening;      // sgd, lars
  bool nesterov;         // sgd, lars
  double beta1, beta2;   // adam, adamw, lamb
  double eps;            // all but sgd
  double alpha;          // rmsprop
  bool centered;         // rmsprop
  double weight_decay;   // of parameters whose `decay` is set; adamw: decoupled, lamb and lars: in the ratio's scope
  double l1;             // adds l1 sign(w) to the gradient of parameters whose `decay` is set
  double clip;           // largest global norm of the gradients; 0 = no clipping
  double clip_eps;       // coefficient clip / (norm + clip_eps)
  double trust_coeff;    // lars
  bool always_adapt;     // lars, lamb: trust ratio also where there is no weight decay
  double max_grad_norm;  // lamb: gradients are divided by max(1, norm / max_grad_norm) after clipping; 0 = off
  bool steps;            // a trainer's: step_begin and step_end of kernels/train_step around the update
  double ema_decay;      // steps: of the averages
  bool loss_scale;       // steps: dynamic (fp16)
  bool ema;              // averages of weights (IG_SPACE_EMA) and of BatchNorm statistics (IG_SPACE_EMA_STATE)
  bool w16;              // the row writes 16-bit copies, too (IG_SPACE_TRAINABLE16, in the graph's compute type)
  ig_space gradients;    // IG_SPACE_GRAD, or IG_SPACE_ACCUM where micro-batches are accumulated
} ig_optimizer_options;

// Tensors of the update nodes. Inputs are to be set (ig_plan_set_io) and filled, results may be read after a run.
typedef struct ig_optimizer_io {
  ig_tensor *hyper;      // fp32 [8]: ig_optimizer_fill_hyper before every step; steps: its learning rate alone counts
  ig_tensor *totals;     // steps: fp32 [2], loss and weight of the step
  ig_tensor *scaler;     // steps: fp32 [4], in place
  ig_tensor *seg_start;  // i64 [S+1], ig_optimizer_fill_segments once
  ig_tensor *seg_attr;   // fp32 [S,4]
  ig_tensor *state_before;  // steps: fp32, the flat statistics before the step; NULL where there are none
  ig_tensor *norm;    // result fp32 [1]: norm of the gradients times multiplier, before clipping; may be inf or NaN
  ig_tensor *gscale;  // result fp32 [2]: factor put on stored gradients; 1 where the step was skipped, else 0
} ig_optimizer_io;

// Every option at the named optimizer's usual value: torch's for sgd, adam, adamw and rmsprop (momentum 0, betas 0.9
// and 0.999, eps 1e-8, alpha 0.99), timm's for lars (momentum 0.9, trust 0.001, eps 1e-8) and lamb (eps 1e-6,
// max_grad_norm 1); weight decay 0, clip_eps 1e-6. IG_ERR_USAGE for an unknown name, with the known ones.
ig_status ig_optimizer_defaults(const char *name, ig_optimizer_options *out);
// Whether the options fit together; IG_ERR_USAGE with the reason. Building checks too.
ig_status ig_optimizer_check(const ig_optimizer_options *o);
// Moment buffers (IG_SPACE_MOMENT0 on, each params->count[IG_PARAM_TRAINABLE] fp32, zero before the first step) that
// these options need: 0 to 3.
int ig_optimizer_moments(const ig_optimizer_options *o);

// Appends the nodes of phase UPDATE (norm, grad_scale, the optimizer, averages) to g, whose params must be laid out.
ig_status ig_optimizer_build_update(ig_graph *g, const ig_optimizer_options *o, ig_optimizer_io *io);

// Segments: one a trainable parameter. start has room for S+1, attr for 4 S numbers.
int64_t ig_optimizer_segments(const ig_params *params);
ig_status ig_optimizer_fill_segments(const ig_params *params, const ig_optimizer_options *o, int64_t *start,
                                     float *attr);

// Scalars of one step. step: 1 for the first update; a step that was skipped does not count. grad_multiplier: what
// stored gradients are multiplied by (1 where they are those of a mean loss). ema_decay: of this step; 0 copies the
// weights.
void ig_optimizer_fill_hyper(double lr, int64_t step, double grad_multiplier, double ema_decay, float hyper[8]);

#ifdef __cplusplus
}
#endif
#endif
