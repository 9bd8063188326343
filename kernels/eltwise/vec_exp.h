// Exponentials of a vector of numbers, and rows of them. Rule: included by <..>_cpu.c files alone.
#ifndef IG_KERNELS_VEC_EXP_H
#define IG_KERNELS_VEC_EXP_H

#include "kernels/eltwise/vec.h"
#include "kernels/optim_util/fixed.h"

// exp(x) for x <= 88 to 2 ulp, 0 below -87.3, NaN for NaN: ig_exp_f32 in whole vectors.
VEC_INLINE vec vec_exp(vec x) {
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
  return (vec)_mm512_maskz_scalef_ps(_mm512_cmp_ps_mask(v, _mm512_set1_ps(-87.3f), _CMP_NLT_UQ), p, n);
#elif defined(__AVX2__)
  const __m256 v = (__m256)x;
  const __m256 n = _mm256_round_ps(_mm256_mul_ps(v, _mm256_set1_ps(1.442695041f)), _MM_FROUND_TO_NEAREST_INT);
  __m256 f = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693145752f), v);  // ln 2 in two parts
  f = _mm256_fnmadd_ps(n, _mm256_set1_ps(1.42860682e-6f), f);
  __m256 p = _mm256_fmadd_ps(_mm256_set1_ps(1.0f / 5040), f, _mm256_set1_ps(1.0f / 720));
  p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(1.0f / 120));
  p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(1.0f / 24));
  p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(1.0f / 6));
  p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(0.5f));
  p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(1.0f));
  p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(1.0f));
  const __m256i power = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
  const __m256 in_range = _mm256_cmp_ps(v, _mm256_set1_ps(-87.3f), _CMP_NLT_UQ);
  return (vec)_mm256_and_ps(in_range, _mm256_mul_ps(p, (__m256)power));
#else
  float y[VEC];
  memcpy(y, &x, sizeof y);
#pragma omp simd
  for (int i = 0; i < VEC; i++)
    y[i] = ig_exp_f32(y[i]);
  memcpy(&x, y, sizeof y);
  return x;
#endif
}

// The larger of each lane; b where a is NaN.
VEC_INLINE vec vec_max(vec a, vec b) {
#ifdef __AVX512F__
  return (vec)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
  return (vec)_mm256_max_ps((__m256)a, (__m256)b);
#else
  const vec_i32 take = (vec_i32)(a > b);
  return (vec)(((vec_i32)a & take) | ((vec_i32)b & ~take));
#endif
}

// Largest of most and x[0..n), n a multiple of VEC; any NaN makes it NaN or is left out.
static inline float row_max(const float *x, int64_t n, float most) {
  vec m[2] = {vec_splat(most), vec_splat(most)};
  float lane[VEC];
  int64_t i = 0;
  for (; i + 2 * VEC <= n; i += 2 * VEC) {
    m[0] = vec_max(vec_load(x, IG_F32, i, VEC), m[0]);
    m[1] = vec_max(vec_load(x, IG_F32, i + VEC, VEC), m[1]);
  }
  if (i < n)
    m[0] = vec_max(vec_load(x, IG_F32, i, VEC), m[0]);
  m[0] = vec_max(m[1], m[0]);
  memcpy(lane, &m[0], sizeof lane);
  for (int k = 0; k < VEC; k++)
    most = lane[k] > most ? lane[k] : most;
  return most;
}

// x[i] = exp((x[i] - most) scale) for i < n, n a multiple of VEC; returns their sum.
static inline float row_exp(float *x, int64_t n, float most, float scale) {
  vec sum[2] = {{0}, {0}};
  int64_t i = 0;
  for (; i + 2 * VEC <= n; i += 2 * VEC)
#pragma GCC unroll 2
    for (int j = 0; j < 2; j++) {
      const vec e = vec_exp((vec_load(x, IG_F32, i + VEC * j, VEC) - most) * scale);
      vec_store(x, IG_F32, i + VEC * j, VEC, e);
      sum[j] += e;
    }
  if (i < n) {
    const vec e = vec_exp((vec_load(x, IG_F32, i, VEC) - most) * scale);
    vec_store(x, IG_F32, i, VEC, e);
    sum[0] += e;
  }
  return vec_sum(sum[0] + sum[1]);
}

#endif
