// Sixteen numbers as fp32 in one vector type, whatever the instruction set: what the kernels bound by memory share.
// Rule: included by <..>_cpu.c files alone; `type` and whole groups (n = 16) must be constants where speed matters.
#ifndef IG_KERNELS_VEC16_H
#define IG_KERNELS_VEC16_H

#include <stdbool.h>
#include <string.h>

#include "runtime/base/dtype.h"

#ifdef __AVX2__
#include <immintrin.h>
#endif

#pragma GCC diagnostic ignored "-Wpsabi"  // the vectors below never cross a real call

#define V16_INLINE static inline __attribute__((always_inline))
typedef float v16 __attribute__((vector_size(64)));
typedef int32_t v16_i32 __attribute__((vector_size(64)));
typedef uint32_t v16_u32 __attribute__((vector_size(64)));
typedef uint16_t v16_u16 __attribute__((vector_size(32)));
typedef uint8_t v16_u8 __attribute__((vector_size(16)));

// Numbers at..at+n of p (n <= 16); further lanes are 0.
V16_INLINE v16 v16_load(const void *p, ig_dtype type, int64_t at, int64_t n) {
  if (type == IG_F32) {
    v16 v = {0};
    memcpy(&v, (const float *)p + at, (size_t)n * sizeof(float));
    return v;
  }
  v16_u16 h = {0};
  memcpy(&h, (const uint16_t *)p + at, (size_t)n * sizeof(uint16_t));
  return (v16)(__builtin_convertvector(h, v16_u32) << 16);
}

// To 16 bits: round to nearest even, NaN stays NaN.
V16_INLINE void v16_store(void *p, ig_dtype type, int64_t at, int64_t n, v16 v) {
  if (type == IG_F32) {
    memcpy((float *)p + at, &v, (size_t)n * sizeof(float));
    return;
  }
  v16_u32 u = (v16_u32)v, is_nan = (v16_u32)((u & 0x7fffffffu) > 0x7f800000u);
  v16_u32 rounded = (u + 0x7fffu + ((u >> 16) & 1)) >> 16, quiet = (u >> 16) | 0x40;
  v16_u16 h = __builtin_convertvector((quiet & is_nan) | (rounded & ~is_nan), v16_u16);
  memcpy((uint16_t *)p + at, &h, (size_t)n * sizeof(uint16_t));
}

#define V16_STREAM_BYTES ((size_t)16 << 20)
// v16_store past the caches, for what is too large to be found there again (V16_STREAM_BYTES): the line is not read
// before it is written. at lies at whole vectors (64 bytes); v16_stream_end makes the numbers seen by other threads.
V16_INLINE void v16_stream(void *p, ig_dtype type, int64_t at, v16 v) {
#ifdef __AVX512F__
  if (type == IG_F32) {
    _mm512_stream_ps((float *)p + at, (__m512)v);
  } else {
    uint16_t h[16] __attribute__((aligned(32)));
    v16_store(h, type, 0, 16, v);
    _mm256_stream_si256((__m256i *)((uint16_t *)p + at), *(const __m256i *)h);
  }
#else
  v16_store(p, type, at, 16, v);
#endif
}
V16_INLINE void v16_stream_end(void) {
#ifdef __AVX512F__
  _mm_sfence();
#endif
}

// a b + c, rounded once where the instruction set can.
V16_INLINE v16 v16_madd(v16 a, v16 b, v16 c) {
#ifdef __AVX512F__
  return (v16)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__FMA__)
  union {
    v16 v;
    __m256 half[2];
  } x = {a}, y = {b}, z = {c};
  z.half[0] = _mm256_fmadd_ps(x.half[0], y.half[0], z.half[0]);
  z.half[1] = _mm256_fmadd_ps(x.half[1], y.half[1], z.half[1]);
  return z.v;
#else
  return a * b + c;
#endif
}

// The sum of the lanes, in a fixed tree.
V16_INLINE float v16_sum(v16 v) {
  float x[16];
  memcpy(x, &v, sizeof x);
  for (int step = 8; step > 0; step /= 2)
    for (int i = 0; i < step; i++)
      x[i] += x[i + step];
  return x[0];
}

V16_INLINE v16 v16_splat(float x) {
#ifdef __AVX512F__
  return (v16)_mm512_set1_ps(x);
#else
  return (v16){x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x};
#endif
}

// Rows of 16 lanes become columns.
V16_INLINE void v16_transpose(v16 r[16]) {
#ifdef __AVX512F__
  __m512 s[16], t[16];
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {  // pairs of neighbours
    t[i] = _mm512_unpacklo_ps((__m512)r[i], (__m512)r[i + 1]);
    t[i + 1] = _mm512_unpackhi_ps((__m512)r[i], (__m512)r[i + 1]);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += (i & 1) ? 3 : 1) {  // quadruples of rows, within 128-bit lanes
    __m512d a = _mm512_castps_pd(t[i]), b = _mm512_castps_pd(t[i + 2]);
    s[(i & 12) + 2 * (i & 1)] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
    s[(i & 12) + 2 * (i & 1) + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
  }
#pragma GCC unroll 4
  for (int j = 0; j < 4; j++) {  // 128-bit lanes of all
    __m512 a = _mm512_shuffle_f32x4(s[j], s[j + 4], 0x88), b = _mm512_shuffle_f32x4(s[j], s[j + 4], 0xdd);
    __m512 c = _mm512_shuffle_f32x4(s[j + 8], s[j + 12], 0x88), d = _mm512_shuffle_f32x4(s[j + 8], s[j + 12], 0xdd);
    r[j] = (v16)_mm512_shuffle_f32x4(a, c, 0x88);
    r[j + 8] = (v16)_mm512_shuffle_f32x4(a, c, 0xdd);
    r[j + 4] = (v16)_mm512_shuffle_f32x4(b, d, 0x88);
    r[j + 12] = (v16)_mm512_shuffle_f32x4(b, d, 0xdd);
  }
#else
  float x[16][16];
  memcpy(x, r, sizeof x);
  for (int i = 0; i < 16; i++)
    for (int j = 0; j < 16; j++)
      r[j][i] = x[i][j];
#endif
}

// v < 0 ? 0 : v
V16_INLINE v16 v16_relu(v16 v) {
#ifdef __AVX512F__
  return (v16)_mm512_max_ps(_mm512_setzero_ps(), (__m512)v);
#else
  return (v16)((v16_i32)v & ~(v16_i32)(v < 0));
#endif
}

// Where v > best, or v is NaN: best = v and which = place.
V16_INLINE void v16_take_larger(v16 v, int32_t place, v16 *best, v16_i32 *which) {
#ifdef __AVX512F__
  __mmask16 take =
      _mm512_cmp_ps_mask((__m512)v, (__m512)*best, _CMP_GT_OQ) | _mm512_cmp_ps_mask((__m512)v, (__m512)v, _CMP_UNORD_Q);
  *best = (v16)_mm512_mask_mov_ps((__m512)*best, take, (__m512)v);
  *which = (v16_i32)_mm512_mask_mov_epi32((__m512i)*which, take, _mm512_set1_epi32(place));
#else
  v16_i32 is_nan = (v16_i32)(v != v);  // NOLINT(misc-redundant-expression): a NaN alone differs from itself
  v16_i32 take = (v16_i32)(v > *best) | is_nan;
  *best = (v16)(((v16_i32)v & take) | ((v16_i32)*best & ~take));
  *which = (((v16_i32){0} + place) & take) | (*which & ~take);
#endif
}

// The largest of nine and the first place that has it, in half the work of nine v16_take_larger. False: not done, for
// there may be a NaN (or the instruction set gains nothing).
V16_INLINE bool v16_max_of_9(const v16 v[9], v16 *best, v16_i32 *which) {
#ifdef __AVX512F__
  v16 sum = ((v[0] + v[1]) + (v[2] + v[3])) + ((v[4] + v[5]) + (v[6] + v[7])) + v[8];
  if (_mm512_cmp_ps_mask((__m512)sum, (__m512)sum, _CMP_UNORD_Q))
    return false;
  __m512 m = (__m512)v[0];
#pragma GCC unroll 9
  for (int k = 1; k < 9; k++)
    m = _mm512_max_ps((__m512)v[k], m);  // of two zeros the first stays
  __m512i place = _mm512_set1_epi32(8);
#pragma GCC unroll 9
  for (int k = 7; k >= 0; k--)
    place = _mm512_mask_mov_epi32(place, _mm512_cmp_ps_mask((__m512)v[k], m, _CMP_EQ_OQ), _mm512_set1_epi32(k));
  *best = (v16)m;
  *which = (v16_i32)place;
  return true;
#else
  return false;
#endif
}

// 16 bytes, or n < 16 and zeros.
V16_INLINE v16_u8 v16_bytes(const uint8_t *p, int64_t n) {
  v16_u8 b = {0};
  memcpy(&b, p, (size_t)n);
  return b;
}

// sum + (tags == tag ? v : 0)
V16_INLINE v16 v16_add_where(v16 sum, v16_u8 tags, uint8_t tag, v16 v) {
#ifdef __AVX512BW__
  return (v16)_mm512_mask_add_ps((__m512)sum, _mm_cmpeq_epi8_mask((__m128i)tags, _mm_set1_epi8((char)tag)), (__m512)sum,
                                 (__m512)v);
#else
  v16_i32 wide = __builtin_convertvector(__builtin_convertvector(tags, v16_u16), v16_i32);  // in one step: scalar code
  return sum + (v16)((v16_i32)v & (v16_i32)(wide == (int32_t)tag));
#endif
}

// v <= 0 ? 0 : dv
V16_INLINE v16 v16_relu_bwd(v16 v, v16 dv) {
#ifdef __AVX512F__
  return (v16)_mm512_maskz_mov_ps(_mm512_cmp_ps_mask((__m512)v, _mm512_setzero_ps(), _CMP_NLE_UQ), (__m512)dv);
#else
  return (v16)((v16_i32)dv & ~(v16_i32)(v <= 0));
#endif
}

#endif
