// What all optimizer rows share: device scalars, the segment table, gradient scaling, averages of weights. Rule: an
// update is one row over flat fp32 buffers; all that changes from step to step is read from memory, so that a captured
// step can be replayed.
//
// Operands of every optimizer row, in this order: weights (written), gradients, hyper, gscale, seg_start, seg_attr,
// then the kind's moments (written; NULL where not needed), then w16. n elements, S segments (one a parameter, in order
// of offset, padding belongs to the one before it). The gradient that enters is g = gscale * gradient + l1 sign(w).
//
// w16 (optional, the last operand; written, never read): [n] of bf16 or f16, the new weights rounded to nearest even in
// the pass that writes them. A skipped step leaves it as it is, so who gives it fills it once before (weights that are
// loaded). A GPU's training does; on a CPU nobody asks for it (docs/decisions.md, 55).
#ifndef IG_KERNELS_OPTIM_UTIL_H
#define IG_KERNELS_OPTIM_UTIL_H

#include "runtime/graph/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

// hyper: fp32 [IG_N_HYPER], written by the host before a step.
enum {
  IG_HYPER_LR,
  IG_HYPER_STEP,             // 1 for the first update that takes place
  IG_HYPER_GRAD_MULTIPLIER,  // 1 / (loss scale, loss weight, ...): brings stored gradients to those of the mean loss
  IG_HYPER_EMA_RATE,         // 1 - decay of this step (the difference, as decay itself loses digits near 1)
  IG_N_HYPER = 8
};
// gscale: fp32 [2], made on the device by grad_scale.
enum {
  IG_GSCALE_MULTIPLIER,  // on stored gradients: GRAD_MULTIPLIER times the clipping coefficients
  IG_GSCALE_SKIP,        // 1 or more: the update changes nothing
  IG_N_GSCALE
};
// seg_start: i64 [S+1], elements, from 0 to n. seg_attr: fp32 [S, IG_N_SEG].
enum {
  IG_SEG_LR_SCALE,  // factor on the learning rate
  IG_SEG_WEIGHT_DECAY,
  IG_SEG_ADAPT,  // 0.5 or more: LARS and LAMB scale this tensor's update by its trust ratio
  IG_SEG_L1,
  IG_N_SEG
};

typedef struct ig_grad_scale_attr {
  double clip;      // > 0: coefficient min(1, clip / (norm + clip_eps)); 0 = no clipping
  double clip_eps;  // torch's clip_grad_norm_ adds 1e-6
  double max_norm;  // > 0: afterwards divided by max(1, norm / max_norm) (LAMB); 0 = off
} ig_grad_scale_attr;

// From the sum of squares of the stored gradients: *gscale fp32 [2] and *norm fp32 [1], the norm before clipping of
// GRAD_MULTIPLIER * gradient. Not finite (or the multiplier is not): skip.
void ig_grad_scale(ig_graph *g, const char *name, ig_tensor *sum_squares, ig_tensor *hyper,
                   const ig_grad_scale_attr *attr, ig_tensor **gscale, ig_tensor **norm);

// e += EMA_RATE (w - e), unless gscale (NULL = never) says skip; rate 1 copies. Returns done[1].
ig_tensor *ig_ema(ig_graph *g, const char *name, ig_tensor *ema, ig_tensor *weights, ig_tensor *hyper,
                  ig_tensor *gscale);

// What a builder of an optimizer row is given; moments unused by the kind are NULL.
typedef struct ig_update_operands {
  ig_tensor *weights, *gradients, *hyper, *gscale, *seg_start, *seg_attr;
  ig_tensor *moment[3];
  ig_tensor *w16;  // NULL: not wanted
} ig_update_operands;

// For builders: the node `op` over these operands with its n_moments (and w16); returns done[1], NULL after an error.
ig_tensor *ig_update_node(ig_graph *g, const char *op, const char *name, const ig_update_operands *o, int n_moments,
                          const void *attr);
// The place of w16 in an optimizer row's operands, behind which there are none.
static inline int ig_update_w16(const ig_op *op) { return op->max_in - 1; }
// infer of every optimizer row: checks operands, output done[1].
ig_status ig_update_infer(ig_graph *g, ig_node *n);
// cost of every optimizer row.
void ig_update_cost(const ig_node *n, ig_cost *cost);

// For sample cases: operands 0..5 over n elements in S segments.
#define IG_UPDATE_CASE(n, s)                                                   \
  {IG_SHAPE1(n), IG_F32, IG_FILL_NORMAL, 0, 0, false, true},                   \
      {IG_SHAPE1(n), IG_F32, IG_FILL_NORMAL, 0, 0, false, true},               \
      {IG_SHAPE1(IG_N_HYPER), IG_F32, IG_FILL_UNIFORM, 0.1, 3, true, true},    \
      {IG_SHAPE1(IG_N_GSCALE), IG_F32, IG_FILL_UNIFORM, 0.2, 0.9, true, true}, \
      {IG_SHAPE1(s + 1), IG_I64, IG_FILL_OFFSETS, 0, n, false, true}, {        \
    IG_SHAPE2(s, IG_N_SEG), IG_F32, IG_FILL_UNIFORM, 0, 1, true, true          \
  }
#define IG_UPDATE_MOMENT(n) \
  { IG_SHAPE1(n), IG_F32, IG_FILL_POSITIVE, 0, 0, false, true }
#define IG_UPDATE_ABSENT \
  { IG_SHAPE1(1), IG_F32, IG_FILL_ABSENT, 0, 0, false, true }
#define IG_UPDATE_W16(n, type) \
  { IG_SHAPE1(n), type, IG_FILL_NORMAL, 0, 0, true, true }

#ifdef __cplusplus
}
#endif
#endif
