// Exponentials of sixteen numbers at once, and rows of them. Rule: included by <..>_cpu.c files alone.
#ifndef IG_KERNELS_VEC_EXP_H
#define IG_KERNELS_VEC_EXP_H

#include "kernels/eltwise/vec16.h"
#include "kernels/optim_util/fixed.h"

// exp(x) for x <= 88 to 2 ulp, 0 below -87.3, NaN for NaN: ig_exp_f32 in whole vectors.
V16_INLINE v16 v16_exp(v16 x) {
#ifdef __AVX512F__
  const __m512 v = (__m512)x;
  const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(v, _mm512_set1_ps(1.442695041f)), 0);
  __m512 f = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693145752f), v);  // ln 2 in two parts
  f = _mm512_fnmadd_ps(n, _mm512_set1_ps(1.42860682e-6f), f);
  __m512 p = _mm512_fmadd_ps(_mm512_set1_ps(1.0f / 5040), f, _mm512_set1_ps(1.0f / 720));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.0f / 120));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.0f / 24));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.0f / 6));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.5f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.0f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.0f));
  return (v16)_mm512_maskz_scalef_ps(_mm512_cmp_ps_mask(v, _mm512_set1_ps(-87.3f), _CMP_NLT_UQ), p, n);
#else
  float y[16];
  memcpy(y, &x, sizeof y);
#pragma omp simd
  for (int i = 0; i < 16; i++)
    y[i] = ig_exp_f32(y[i]);
  memcpy(&x, y, sizeof y);
  return x;
#endif
}

// The larger of each lane; b where a is NaN.
V16_INLINE v16 v16_max(v16 a, v16 b) {
#ifdef __AVX512F__
  return (v16)_mm512_max_ps((__m512)a, (__m512)b);
#else
  const v16_i32 take = (v16_i32)(a > b);
  return (v16)(((v16_i32)a & take) | ((v16_i32)b & ~take));
#endif
}

// Largest of most and x[0..n), n a multiple of 16; any NaN makes it NaN or is left out.
static inline float row_max(const float *x, int64_t n, float most) {
  v16 m[2] = {v16_splat(most), v16_splat(most)};
  float lane[16];
  int64_t i = 0;
  for (; i + 32 <= n; i += 32) {
    m[0] = v16_max(v16_load(x, IG_F32, i, 16), m[0]);
    m[1] = v16_max(v16_load(x, IG_F32, i + 16, 16), m[1]);
  }
  if (i < n)
    m[0] = v16_max(v16_load(x, IG_F32, i, 16), m[0]);
  m[0] = v16_max(m[1], m[0]);
  memcpy(lane, &m[0], sizeof lane);
  for (int k = 0; k < 16; k++)
    most = lane[k] > most ? lane[k] : most;
  return most;
}

// x[i] = exp((x[i] - most) scale) for i < n, n a multiple of 16; returns their sum.
static inline float row_exp(float *x, int64_t n, float most, float scale) {
  v16 sum[2] = {{0}, {0}};
  int64_t i = 0;
  for (; i + 32 <= n; i += 32)
#pragma GCC unroll 2
    for (int j = 0; j < 2; j++) {
      const v16 e = v16_exp((v16_load(x, IG_F32, i + 16 * j, 16) - most) * scale);
      v16_store(x, IG_F32, i + 16 * j, 16, e);
      sum[j] += e;
    }
  if (i < n) {
    const v16 e = v16_exp((v16_load(x, IG_F32, i, 16) - most) * scale);
    v16_store(x, IG_F32, i, 16, e);
    sum[0] += e;
  }
  return v16_sum(sum[0] + sum[1]);
}

#endif
