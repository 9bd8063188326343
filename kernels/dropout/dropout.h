// Dropout. Rule: the mask is a pure function of (seed, the node's key, step, global sample, element): it is never
// stored and depends neither on the batch, the threads nor the ranks.
#ifndef IG_KERNELS_DROPOUT_H
#define IG_KERNELS_DROPOUT_H

#include "runtime/base/rng.h"
#include "runtime/graph/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

// Fields of step_state (u64 [4], written by the trainer before each step).
enum { IG_STEP_SEED, IG_STEP_STEP, IG_STEP_FIRST_SAMPLE, IG_STEP_EPOCH, IG_N_STEP_STATE };

// y = x / (1 - p) with probability 1 - p, else 0, for each element; 0 <= p <= 1. The first dimension counts samples.
// In EVAL mode, and for p = 0, x itself.
ig_tensor *ig_dropout(ig_graph *g, const char *name, ig_tensor *x, float p, ig_tensor *step_state);
// The same for rows whose place in the batch says nothing: row t of x [T,..] is drawn as sample row_keys[t], u64 [T].
// NULL: as ig_dropout.
ig_tensor *ig_dropout_rows(ig_graph *g, const char *name, ig_tensor *x, float p, ig_tensor *step_state,
                           ig_tensor *row_keys);

// Four draws: elements 4*quad .. 4*quad+3 of a sample, in row-major order. An element stays where its draw is at least
// ig_dropout_threshold(p).
static inline ig_philox4 ig_dropout_draws(const uint64_t *step_state, uint64_t node_key, uint64_t sample,
                                          uint32_t quad) {
  return ig_philox(ig_hash_mix(step_state[IG_STEP_SEED], node_key), quad, (uint32_t)sample, (uint32_t)(sample >> 32),
                   (uint32_t)step_state[IG_STEP_STEP]);
}
// In 2^-32; p = 1 is 2^32: nothing stays.
static inline uint64_t ig_dropout_threshold(float p) { return (uint64_t)((double)p * 4294967296.0); }

#ifdef __cplusplus
}
#endif
#endif
