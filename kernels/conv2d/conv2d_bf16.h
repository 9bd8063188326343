// What own bf16 convolutions share: vectors of 16 channels, of fp32 or of bf16 pairs as vdpbf16ps multiplies them.
// Rule: included by <..>_bf16_cpu.c files alone, which are compiled for AVX-512 with bf16.
#ifndef IG_KERNELS_CONV2D_BF16_H
#define IG_KERNELS_CONV2D_BF16_H

#include <immintrin.h>
#include <stdint.h>

enum { BF16_VEC = 16 };
#define BF16_INLINE static inline __attribute__((always_inline))

BF16_INLINE int64_t bf16_ceil(int64_t a, int64_t b) { return (a + b - 1) / b; }

BF16_INLINE __m512bh bf16_load(const void *p) { return (__m512bh)_mm512_loadu_si512(p); }
// One pair for all lanes.
BF16_INLINE __m512bh bf16_broadcast(const uint32_t *p) { return (__m512bh)_mm512_set1_epi32((int)*p); }

// 16 bf16 as fp32.
BF16_INLINE __m512 bf16_as_f32(__m256i v) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(v), 16));
}
BF16_INLINE __m512 bf16_widen(const uint16_t *p) { return bf16_as_f32(_mm256_loadu_si256((const void *)p)); }

// Rounded pairs: lane i (a[i], b[i]).
BF16_INLINE __m512i bf16_round_pairs(__m512 a, __m512 b) {
  const __m512i lanes = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
  const __m512i index = _mm512_or_si512(lanes, _mm512_slli_epi32(_mm512_add_epi32(lanes, _mm512_set1_epi32(16)), 16));
  return _mm512_permutexvar_epi16(index, (__m512i)_mm512_cvtne2ps_pbh(b, a));
}

// Index for permutex2var: lane i becomes (a[first + i], b[first + i]).
BF16_INLINE __m512i bf16_pair_index(int first) {
  const __m512i lanes = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
  const __m512i of_a = _mm512_add_epi32(lanes, _mm512_set1_epi32(first));
  return _mm512_or_si512(of_a, _mm512_slli_epi32(_mm512_add_epi32(of_a, _mm512_set1_epi32(32)), 16));
}

// Rows of 16 lanes become columns.
BF16_INLINE void bf16_transpose(__m512 r[16]) {
  __m512 t[16];
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
  }
  // Within 128-bit lanes: r[4 i + j] holds columns j of rows 4 i to 4 i + 3.
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4)
#pragma GCC unroll 2
    for (int j = 0; j < 2; j++) {
      __m512d a = _mm512_castps_pd(t[i + j]), b = _mm512_castps_pd(t[i + j + 2]);
      r[i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
      r[i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
    }
    // Lanes 0, 2 and 1, 3 of two quadruples of rows, then of all.
#pragma GCC unroll 4
  for (int j = 0; j < 4; j++) {
    __m512 a = _mm512_shuffle_f32x4(r[j], r[j + 4], 0x88), b = _mm512_shuffle_f32x4(r[j], r[j + 4], 0xdd);
    __m512 c = _mm512_shuffle_f32x4(r[j + 8], r[j + 12], 0x88), d = _mm512_shuffle_f32x4(r[j + 8], r[j + 12], 0xdd);
    t[j] = _mm512_shuffle_f32x4(a, c, 0x88);
    t[j + 8] = _mm512_shuffle_f32x4(a, c, 0xdd);
    t[j + 4] = _mm512_shuffle_f32x4(b, d, 0x88);
    t[j + 12] = _mm512_shuffle_f32x4(b, d, 0xdd);
  }
#pragma GCC unroll 16
  for (int i = 0; i < 16; i++)
    r[i] = t[i];
}

#endif
