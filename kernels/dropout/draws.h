// Draws of a row of dropout as factors, for the CPU kernels that mask rows. Rule: first is a multiple of 4, for four
// elements are one draw.
#ifndef IG_KERNELS_DROPOUT_DRAWS_H
#define IG_KERNELS_DROPOUT_DRAWS_H

#include "kernels/dropout/dropout.h"

#ifdef __AVX512F__
#include <immintrin.h>
#endif

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

#ifdef __AVX512F__
// High and low halves of a * b, lane by lane.
static inline __attribute__((always_inline)) void ig_draws_multiply(__m512i a, uint32_t b, __m512i *high,
                                                                    __m512i *low) {
  const __m512i factor = _mm512_set1_epi64((int64_t)b);
  const __m512i even = _mm512_mul_epu32(a, factor), odd = _mm512_mul_epu32(_mm512_srli_epi64(a, 32), factor);
  *high = _mm512_mask_mov_epi32(_mm512_srli_epi64(even, 32), 0xaaaa, odd);
  *low = _mm512_mask_mov_epi32(even, 0xaaaa, _mm512_slli_epi64(odd, 32));
}

// ig_philox of 16 counters c0 at once.
static inline __attribute__((always_inline)) void ig_draws_philox(uint64_t key, __m512i c[4]) {
  uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
#pragma GCC unroll 10
  for (int round = 0; round < 10; round++) {
    __m512i high0, low0, high1, low1;
    ig_draws_multiply(c[0], 0xD2511F53u, &high0, &low0);
    ig_draws_multiply(c[2], 0xCD9E8D57u, &high1, &low1);
    c[0] = _mm512_ternarylogic_epi32(high1, c[1], _mm512_set1_epi32((int)k0), 0x96);
    c[2] = _mm512_ternarylogic_epi32(high0, c[3], _mm512_set1_epi32((int)k1), 0x96);
    c[1] = low1;
    c[3] = low0;
    k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
  }
}
#endif

// factor[i] = 0 or scale for elements first..first+n of a sample, n <= IG_DRAWS_TILE; factor has room for n rounded up
// to 64; the rest of the last 16 is finite, what follows is anything.
static inline void ig_draws_factors(const ig_draws *d, uint64_t sample, int64_t first, int64_t n, float *factor) {
  const uint32_t threshold = d->threshold > UINT32_MAX ? UINT32_MAX : (uint32_t)d->threshold;  // p = 1: scale is 0
  const float scale = d->scale;
#ifdef __AVX512F__
  const uint64_t key = ig_hash_mix(d->state[IG_STEP_SEED], d->key);
  // Lane 4 i + k holds quad 4 k + i, so that quadruples of lanes turned round are 16 elements in order.
  const __m512i order = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
  for (int64_t i = 0; i < n; i += 64, first += 64) {
    __m512i c[4] = {_mm512_add_epi32(order, _mm512_set1_epi32((int)(uint32_t)(first / 4))),
                    _mm512_set1_epi32((int)(uint32_t)sample), _mm512_set1_epi32((int)(uint32_t)(sample >> 32)),
                    _mm512_set1_epi32((int)(uint32_t)d->state[IG_STEP_STEP])};
    __m512 f[4];
    ig_draws_philox(key, c);
    for (int j = 0; j < 4; j++)
      f[j] =
          _mm512_maskz_mov_ps(_mm512_cmpge_epu32_mask(c[j], _mm512_set1_epi32((int)threshold)), _mm512_set1_ps(scale));
    const __m512d a = _mm512_castps_pd(_mm512_unpacklo_ps(f[0], f[1])),
                  b = _mm512_castps_pd(_mm512_unpacklo_ps(f[2], f[3])),
                  e = _mm512_castps_pd(_mm512_unpackhi_ps(f[0], f[1])),
                  g = _mm512_castps_pd(_mm512_unpackhi_ps(f[2], f[3]));
    _mm512_storeu_pd(factor + i, _mm512_unpacklo_pd(a, b));
    _mm512_storeu_pd(factor + i + 16, _mm512_unpackhi_pd(a, b));
    _mm512_storeu_pd(factor + i + 32, _mm512_unpacklo_pd(e, g));
    _mm512_storeu_pd(factor + i + 48, _mm512_unpackhi_pd(e, g));
  }
#else
  uint32_t bits[4][IG_DRAWS_TILE / 4];
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
  for (int64_t i = 4 * quads; i % 16; i++)
    factor[i] = 0;
#endif
}

#endif
