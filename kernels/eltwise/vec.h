// A vector of fp32 numbers as wide as a register of the instruction set, and what becomes of 16-bit numbers on the way:
// what the kernels bound by memory share, and products. Rule: included by <..>_cpu.c files alone; `type` and whole
// vectors (n = VEC) must be constants where speed matters. A wider type than the registers would live in memory.
#ifndef IG_KERNELS_VEC_H
#define IG_KERNELS_VEC_H

#include <stdbool.h>
#include <string.h>

#include "runtime/base/dtype.h"

#ifdef __AVX2__
#include <immintrin.h>
#endif

#pragma GCC diagnostic ignored "-Wpsabi"  // the vectors below never cross a real call

#if defined(__AVX512F__)
enum { VEC = 16 };
#elif defined(__AVX2__)
enum { VEC = 8 };
#else
enum { VEC = 4 };
#endif

#define VEC_INLINE static inline __attribute__((always_inline))
typedef float vec __attribute__((vector_size(VEC * 4)));
typedef int32_t vec_i32 __attribute__((vector_size(VEC * 4)));
typedef uint32_t vec_u32 __attribute__((vector_size(VEC * 4)));
typedef uint16_t vec_u16 __attribute__((vector_size(VEC * 2)));
typedef uint8_t vec_u8 __attribute__((vector_size(VEC)));
typedef double vec_f64 __attribute__((vector_size(VEC * 4)));  // half as many numbers

#if defined(__AVX2__) && !defined(__AVX512F__)
// Lanes 0..n-1.
VEC_INLINE __m256i vec_first(int64_t n) {
  static const int32_t lanes[2 * VEC] = {-1, -1, -1, -1, -1, -1, -1, -1};
  return _mm256_loadu_si256((const __m256i *)(lanes + VEC - n));
}
#endif

// Numbers at..at+n of p (n <= VEC); further lanes are 0.
VEC_INLINE vec vec_load(const void *p, ig_dtype type, int64_t at, int64_t n) {
  if (type == IG_F32) {
    vec v = {0};
#if defined(__AVX2__) && !defined(__AVX512F__)
    if (n != VEC)
      return (vec)_mm256_maskload_ps((const float *)p + at, vec_first(n));
#endif
    memcpy(&v, (const float *)p + at, (size_t)n * sizeof(float));
    return v;
  }
  vec_u16 h = {0};
  memcpy(&h, (const uint16_t *)p + at, (size_t)n * sizeof(uint16_t));
  return (vec)(__builtin_convertvector(h, vec_u32) << 16);
}

// To 16 bits: round to nearest even, NaN stays NaN.
VEC_INLINE void vec_store(void *p, ig_dtype type, int64_t at, int64_t n, vec v) {
  if (type == IG_F32) {
#if defined(__AVX2__) && !defined(__AVX512F__)
    if (n != VEC) {
      _mm256_maskstore_ps((float *)p + at, vec_first(n), (__m256)v);
      return;
    }
#endif
    memcpy((float *)p + at, &v, (size_t)n * sizeof(float));
    return;
  }
  vec_u32 u = (vec_u32)v, is_nan = (vec_u32)((u & 0x7fffffffu) > 0x7f800000u);
  vec_u32 rounded = (u + 0x7fffu + ((u >> 16) & 1)) >> 16, quiet = (u >> 16) | 0x40;
  vec_u16 h = __builtin_convertvector((quiet & is_nan) | (rounded & ~is_nan), vec_u16);
  memcpy((uint16_t *)p + at, &h, (size_t)n * sizeof(uint16_t));
}

#define VEC_STREAM_BYTES ((size_t)16 << 20)
// vec_store past the caches, for what is too large to be found there again (VEC_STREAM_BYTES): the line is not read
// before it is written. at lies at whole vectors (64 bytes); vec_stream_end makes the numbers seen by other threads.
VEC_INLINE void vec_stream(void *p, ig_dtype type, int64_t at, vec v) {
#ifdef __AVX512F__
  if (type == IG_F32) {
    _mm512_stream_ps((float *)p + at, (__m512)v);
  } else {
    uint16_t h[16] __attribute__((aligned(32)));
    vec_store(h, type, 0, 16, v);
    _mm256_stream_si256((__m256i *)((uint16_t *)p + at), *(const __m256i *)h);
  }
#elif defined(__AVX2__)
  if (type == IG_F32) {
    _mm256_stream_ps((float *)p + at, (__m256)v);
  } else {
    uint16_t h[VEC] __attribute__((aligned(16)));
    vec_store(h, type, 0, VEC, v);
    _mm_stream_si128((__m128i *)((uint16_t *)p + at), *(const __m128i *)h);
  }
#else
  vec_store(p, type, at, VEC, v);
#endif
}
VEC_INLINE void vec_stream_end(void) {
#ifdef __AVX2__
  _mm_sfence();
#endif
}

// a b + c, rounded once where the instruction set can.
VEC_INLINE vec vec_madd(vec a, vec b, vec c) {
#ifdef __AVX512F__
  return (vec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__AVX2__)
  return (vec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
  return a * b + c;
#endif
}

// The first and the last half of the lanes.
VEC_INLINE vec_f64 vec_low(vec v) {
#if defined(__AVX512F__)
  return (vec_f64)_mm512_cvtps_pd(_mm512_castps512_ps256((__m512)v));
#elif defined(__AVX2__)
  return (vec_f64)_mm256_cvtps_pd(_mm256_castps256_ps128((__m256)v));
#else
  return (vec_f64){(double)v[0], (double)v[1]};
#endif
}
VEC_INLINE vec_f64 vec_high(vec v) {
#if defined(__AVX512F__)
  return (vec_f64)_mm512_cvtps_pd(_mm512_extractf32x8_ps((__m512)v, 1));
#elif defined(__AVX2__)
  return (vec_f64)_mm256_cvtps_pd(_mm256_extractf128_ps((__m256)v, 1));
#else
  return (vec_f64){(double)v[2], (double)v[3]};
#endif
}

// The sum of the lanes, in a fixed tree.
VEC_INLINE float vec_sum(vec v) {
  float x[VEC];
  memcpy(x, &v, sizeof x);
  for (int step = VEC / 2; step > 0; step /= 2)
    for (int i = 0; i < step; i++)
      x[i] += x[i + step];
  return x[0];
}

VEC_INLINE vec vec_splat(float x) {
#ifdef __AVX512F__
  return (vec)_mm512_set1_ps(x);
#elif defined(__AVX2__)
  return (vec)_mm256_set1_ps(x);
#else
  return (vec){x, x, x, x};
#endif
}

// 0, 1, 2 ..
VEC_INLINE vec_i32 vec_lanes(void) {
#if defined(__AVX512F__)
  return (vec_i32){0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
#elif defined(__AVX2__)
  return (vec_i32){0, 1, 2, 3, 4, 5, 6, 7};
#else
  return (vec_i32){0, 1, 2, 3};
#endif
}

// Rows of VEC lanes become columns.
VEC_INLINE void vec_transpose(vec r[VEC]) {
#ifdef __AVX512F__
  __m512 s[16], t[16];
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {  // pairs of neighbours
    t[i] = _mm512_unpacklo_ps((__m512)r[i], (__m512)r[i + 1]);
    t[i + 1] = _mm512_unpackhi_ps((__m512)r[i], (__m512)r[i + 1]);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 8; i++) {  // quadruples of rows, within 128-bit lanes
    const int at = i / 2 * 4 + i % 2, to = i / 2 * 4 + i % 2 * 2;
    const __m512d a = _mm512_castps_pd(t[at]), b = _mm512_castps_pd(t[at + 2]);
    s[to] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
    s[to + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
  }
#pragma GCC unroll 4
  for (int j = 0; j < 4; j++) {  // 128-bit lanes of all
    __m512 a = _mm512_shuffle_f32x4(s[j], s[j + 4], 0x88), b = _mm512_shuffle_f32x4(s[j], s[j + 4], 0xdd);
    __m512 c = _mm512_shuffle_f32x4(s[j + 8], s[j + 12], 0x88), d = _mm512_shuffle_f32x4(s[j + 8], s[j + 12], 0xdd);
    r[j] = (vec)_mm512_shuffle_f32x4(a, c, 0x88);
    r[j + 8] = (vec)_mm512_shuffle_f32x4(a, c, 0xdd);
    r[j + 4] = (vec)_mm512_shuffle_f32x4(b, d, 0x88);
    r[j + 12] = (vec)_mm512_shuffle_f32x4(b, d, 0xdd);
  }
#elif defined(__AVX2__)
  __m256 t[8];
#pragma GCC unroll 4
  for (int i = 0; i < 8; i += 4) {  // four rows: their quadruples, within 128-bit lanes
    const __m256 a = _mm256_unpacklo_ps((__m256)r[i], (__m256)r[i + 1]);
    const __m256 b = _mm256_unpackhi_ps((__m256)r[i], (__m256)r[i + 1]);
    const __m256 c = _mm256_unpacklo_ps((__m256)r[i + 2], (__m256)r[i + 3]);
    const __m256 d = _mm256_unpackhi_ps((__m256)r[i + 2], (__m256)r[i + 3]);
    t[i] = _mm256_shuffle_ps(a, c, 0x44);
    t[i + 1] = _mm256_shuffle_ps(a, c, 0xee);
    t[i + 2] = _mm256_shuffle_ps(b, d, 0x44);
    t[i + 3] = _mm256_shuffle_ps(b, d, 0xee);
  }
#pragma GCC unroll 4
  for (int j = 0; j < 4; j++) {  // 128-bit lanes of both halves
    r[j] = (vec)_mm256_permute2f128_ps(t[j], t[j + 4], 0x20);
    r[j + 4] = (vec)_mm256_permute2f128_ps(t[j], t[j + 4], 0x31);
  }
#else
  float x[VEC][VEC];
  memcpy(x, r, sizeof x);
  for (int i = 0; i < VEC; i++)
    for (int j = 0; j < VEC; j++)
      r[j][i] = x[i][j];
#endif
}

// v < 0 ? 0 : v
VEC_INLINE vec vec_relu(vec v) {
#ifdef __AVX512F__
  return (vec)_mm512_max_ps(_mm512_setzero_ps(), (__m512)v);
#elif defined(__AVX2__)
  return (vec)_mm256_max_ps(_mm256_setzero_ps(), (__m256)v);
#else
  return (vec)((vec_i32)v & ~(vec_i32)(v < 0));
#endif
}

// Where v > best, or v is NaN: best = v and which = place.
VEC_INLINE void vec_take_larger(vec v, int32_t place, vec *best, vec_i32 *which) {
#ifdef __AVX512F__
  __mmask16 take =
      _mm512_cmp_ps_mask((__m512)v, (__m512)*best, _CMP_GT_OQ) | _mm512_cmp_ps_mask((__m512)v, (__m512)v, _CMP_UNORD_Q);
  *best = (vec)_mm512_mask_mov_ps((__m512)*best, take, (__m512)v);
  *which = (vec_i32)_mm512_mask_mov_epi32((__m512i)*which, take, _mm512_set1_epi32(place));
#elif defined(__AVX2__)
  const __m256 take = _mm256_or_ps(_mm256_cmp_ps((__m256)v, (__m256)*best, _CMP_GT_OQ),
                                   _mm256_cmp_ps((__m256)v, (__m256)v, _CMP_UNORD_Q));
  *best = (vec)_mm256_blendv_ps((__m256)*best, (__m256)v, take);
  *which = (vec_i32)_mm256_blendv_epi8((__m256i)*which, _mm256_set1_epi32(place), (__m256i)take);
#else
  vec_i32 is_nan = (vec_i32)(v != v);  // NOLINT(misc-redundant-expression): a NaN alone differs from itself
  vec_i32 take = (vec_i32)(v > *best) | is_nan;
  *best = (vec)(((vec_i32)v & take) | ((vec_i32)*best & ~take));
  *which = (((vec_i32){0} + place) & take) | (*which & ~take);
#endif
}

// The largest of nine and the first place that has it, in half the work of nine vec_take_larger. False: not done, for
// there may be a NaN (or the instruction set has no such vectors).
VEC_INLINE bool vec_max_of_9(const vec v[9], vec *best, vec_i32 *which) {
#ifdef __AVX512F__
  vec sum = ((v[0] + v[1]) + (v[2] + v[3])) + ((v[4] + v[5]) + (v[6] + v[7])) + v[8];
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
  *best = (vec)m;
  *which = (vec_i32)place;
  return true;
#elif defined(__AVX2__)
  const vec sum = ((v[0] + v[1]) + (v[2] + v[3])) + ((v[4] + v[5]) + (v[6] + v[7])) + v[8];
  if (_mm256_movemask_ps(_mm256_cmp_ps((__m256)sum, (__m256)sum, _CMP_UNORD_Q)))
    return false;
  __m256 m = (__m256)v[0];
#pragma GCC unroll 9
  for (int k = 1; k < 9; k++)
    m = _mm256_max_ps((__m256)v[k], m);  // of two zeros the first stays
  __m256i place = _mm256_set1_epi32(8);
#pragma GCC unroll 9
  for (int k = 7; k >= 0; k--)
    place = _mm256_blendv_epi8(place, _mm256_set1_epi32(k), (__m256i)_mm256_cmp_ps((__m256)v[k], m, _CMP_EQ_OQ));
  *best = (vec)m;
  *which = (vec_i32)place;
  return true;
#else
  return false;
#endif
}

// VEC bytes, or n < VEC and zeros.
VEC_INLINE vec_u8 vec_bytes(const uint8_t *p, int64_t n) {
  vec_u8 b = {0};
  memcpy(&b, p, (size_t)n);
  return b;
}

// sum + (tags == tag ? v : 0)
VEC_INLINE vec vec_add_where(vec sum, vec_u8 tags, uint8_t tag, vec v) {
#ifdef __AVX512BW__
  return (vec)_mm512_mask_add_ps((__m512)sum, _mm_cmpeq_epi8_mask((__m128i)tags, _mm_set1_epi8((char)tag)), (__m512)sum,
                                 (__m512)v);
#elif defined(__AVX2__)
  const __m256i wide = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)&tags));
  const __m256i take = _mm256_cmpeq_epi32(wide, _mm256_set1_epi32(tag));
  return sum + (vec)_mm256_and_ps((__m256)v, (__m256)take);
#else
  vec_i32 wide = __builtin_convertvector(__builtin_convertvector(tags, vec_u16), vec_i32);  // in one step: scalar code
  return sum + (vec)((vec_i32)v & (vec_i32)(wide == (int32_t)tag));
#endif
}

// v <= 0 ? 0 : dv
VEC_INLINE vec vec_relu_bwd(vec v, vec dv) {
#ifdef __AVX512F__
  return (vec)_mm512_maskz_mov_ps(_mm512_cmp_ps_mask((__m512)v, _mm512_setzero_ps(), _CMP_NLE_UQ), (__m512)dv);
#elif defined(__AVX2__)
  return (vec)_mm256_and_ps(_mm256_cmp_ps((__m256)v, _mm256_setzero_ps(), _CMP_NLE_UQ), (__m256)dv);
#else
  return (vec)((vec_i32)dv & ~(vec_i32)(v <= 0));
#endif
}

#endif
