// What decides a training step, as rows: whether it counts, by what gradients are multiplied, the loss scale, and the
// statistics that a skipped step puts back. Rule: all of it lies in device memory, so that a step needs no answer from
// the host and can be replayed.
#ifndef IG_KERNELS_TRAIN_STEP_H
#define IG_KERNELS_TRAIN_STEP_H

#include "runtime/graph/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

// totals: fp32 [2], of all micro-batches of a step; filled with 0 before the first.
enum { IG_TOTAL_LOSS, IG_TOTAL_WEIGHT, IG_N_TOTALS };
// scaler: fp32 [4], kept from step to step and in checkpoints.
enum {
  IG_SCALER_SCALE,    // the loss is multiplied by this before backward (1: off)
  IG_SCALER_UPDATES,  // updates that took place (exact up to 2^24)
  IG_SCALER_GOOD,     // of them, since the scale last changed
  IG_SCALER_SKIPS,    // steps that were skipped
  IG_N_SCALER
};

typedef struct ig_step_end_attr {
  double growth, backoff;  // factors on the scale; 1 and 1: it stays
  double interval;         // good updates before it grows
  double least, most;      // of the scale
} ig_step_end_attr;

// totals += {loss_sum, loss_weight}, in place. Returns done[1].
ig_tensor *ig_step_total(ig_graph *g, const char *name, ig_tensor *totals, ig_tensor *loss_sum, ig_tensor *loss_weight);
// The hyper[8] of optim_util.h that this step's update reads, from the host's: LR as it is; STEP = updates + 1;
// GRAD_MULTIPLIER = 1 / (weight scale), NaN (skip) where the loss is not finite or nothing had weight; EMA_RATE = 1 -
// min(ema_decay, (1 + updates) / (10 + updates)).
ig_tensor *ig_step_begin(ig_graph *g, const char *name, ig_tensor *host_hyper, ig_tensor *totals, ig_tensor *scaler,
                         double ema_decay);
// After the update: counts it, or the skip (gscale), and moves the scale; scaler in place. Returns done[1].
ig_tensor *ig_step_end(ig_graph *g, const char *name, ig_tensor *scaler, ig_tensor *gscale,
                       const ig_step_end_attr *attr);
// x = before where gscale says skip; x in place. Returns done[1].
ig_tensor *ig_step_restore(ig_graph *g, const char *name, ig_tensor *x, ig_tensor *before, ig_tensor *gscale);

#ifdef __cplusplus
}
#endif
#endif
