// Draws of a row of dropout as factors, for the CPU kernels that mask rows. Rule: first is a multiple of 4, for four
// elements are one draw.
#ifndef IG_KERNELS_DROPOUT_DRAWS_H
#define IG_KERNELS_DROPOUT_DRAWS_H

#include "kernels/dropout/dropout.h"

#define IG_DRAWS_TILE 1024  // elements drawn at once

// All that a node's draws depend on but the sample.
typedef struct ig_draws {
  const uint64_t *state, *row_keys;  // row_keys NULL: FIRST_SAMPLE + row
  uint64_t key, threshold;
  float scale;  // 1 / (1 - p); 0 for p = 1
} ig_draws;

static inline ig_draws ig_draws_of(const void *state, const void *row_keys, uint64_t key, float p) {
  return (ig_draws){(const uint64_t *)state, (const uint64_t *)row_keys, key, ig_dropout_threshold(p),
                    p < 1 ? (float)(1 / (1 - (double)p)) : 0};
}

static inline uint64_t ig_draws_sample(const ig_draws *d, int64_t row) {
  return d->row_keys ? d->row_keys[row] : d->state[IG_STEP_FIRST_SAMPLE] + (uint64_t)row;
}

// factor[i] = 0 or scale for elements first..first+n of a sample, n <= IG_DRAWS_TILE; up to three more are written.
static inline void ig_draws_factors(const ig_draws *d, uint64_t sample, int64_t first, int64_t n, float *factor) {
  uint32_t bits[4][IG_DRAWS_TILE / 4];
  const uint64_t threshold = d->threshold;
  const float scale = d->scale;
  int64_t quads = (n + 3) / 4;
#pragma omp simd
  for (int64_t q = 0; q < quads; q++) {
    ig_philox4 four = ig_dropout_draws(d->state, d->key, sample, (uint32_t)(first / 4 + q));
    bits[0][q] = four.v[0];
    bits[1][q] = four.v[1];
    bits[2][q] = four.v[2];
    bits[3][q] = four.v[3];
  }
  for (int64_t q = 0; q < quads; q++)
    for (int64_t j = 0; j < 4; j++)
      factor[4 * q + j] = bits[j][q] >= threshold ? scale : 0;
}

#endif
