// Fixed chunks and lanes for loops and sums of fp32 kernels. Rule: how work is cut depends on sizes alone, so that no
// result depends on the number of threads; sums end in double.
#ifndef IG_KERNELS_FIXED_H
#define IG_KERNELS_FIXED_H

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "runtime/graph/op.h"

#define IG_FIXED_CHUNK 16384  // elements of a flat buffer that one iteration of a parallel loop takes
#define IG_FIXED_PARTS 64     // most parts that rows (samples) are cut into
#define IG_LANES       16     // partial sums side by side: one AVX-512 or two AVX2 registers of fp32

static inline int64_t ig_min_i64(int64_t a, int64_t b) { return a < b ? a : b; }

static inline int64_t ig_fixed_chunks(int64_t n) { return (n + IG_FIXED_CHUNK - 1) / IG_FIXED_CHUNK; }

// Rows in each of at most IG_FIXED_PARTS parts.
static inline int64_t ig_fixed_part(int64_t n_rows) { return (n_rows + IG_FIXED_PARTS - 1) / IG_FIXED_PARTS; }

// exp(x) for x <= 88 to 2 ulp, 0 below -87.3, NaN for NaN; branch-free, so that gcc vectorises it. x = n ln 2 + f, |f|
// <= ln(2)/2; the series of exp(f) to f^7 / 7! leaves 5e-9.
static inline float ig_exp_f32(float x) {
  const float rounder = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer in the low bits
  float shifted = x * 1.442695041f + rounder, n = shifted - rounder;
  float f = (x - n * 0.693145752f) - n * 1.42860682e-6f;  // ln 2 in two parts, the first with 16 bits
  float p = 1.0f / 5040;
  p = p * f + 1.0f / 720;
  p = p * f + 1.0f / 120;
  p = p * f + 1.0f / 24;
  p = p * f + 1.0f / 6;
  p = p * f + 0.5f;
  p = p * f + 1.0f;
  p = p * f + 1.0f;
  int32_t bits;
  memcpy(&bits, &shifted, 4);
  bits = (int32_t)((uint32_t)(bits - 0x4B400000 + 127) << 23);
  float power;
  memcpy(&power, &bits, 4);
  return x < -87.3f ? 0.0f : p * power;
}

// sum of x[i]^2 in double, in a fixed order.
static inline double ig_sum_squares_f32(const float *x, int64_t n) {
  double lane[IG_LANES] = {0}, sum = 0;
  int64_t i = 0;
  for (; i + IG_LANES <= n; i += IG_LANES)
    for (int l = 0; l < IG_LANES; l++)
      lane[l] += (double)x[i + l] * (double)x[i + l];
  for (; i < n; i++)
    lane[0] += (double)x[i] * (double)x[i];
  for (int l = 0; l < IG_LANES; l++)
    sum += lane[l];
  return sum;
}

// out[i] = sum over parts of parts[part * stride + i], i < n <= 64, in double and in order of the parts: the end of
// column sums over rows that are cut into parts.
static inline void ig_add_parts_f32(const float *parts, int64_t n_parts, int64_t stride, int64_t n, float *out) {
  double total[64] = {0};
  for (int64_t part = 0; part < n_parts; part++)
#ifdef _OPENMP  // not in device code, where nothing is to be vectorised
#pragma omp simd
#endif
    for (int64_t i = 0; i < n; i++)
      total[i] += (double)parts[part * stride + i];
  for (int64_t i = 0; i < n; i++)
    out[i] = (float)total[i];
}

// sums[0..size) = the binary tree ((s0 + s1) + (s2 + s3)) + ... over n sums, `size` numbers apart; the others are
// written.
static inline void ig_sum_tree_f32(float *sums, int64_t n, int64_t size) {
  for (int64_t step = 1; step < n; step *= 2)
    for (int64_t i = 0; i + step < n; i += 2 * step)
      for (int64_t j = 0; j < size; j++)
        sums[i * size + j] += sums[(i + step) * size + j];
}

// Bytes of all operands and results, each once: the compulsory traffic of a node.
static inline double ig_cost_bytes(const ig_node *n) {
  double bytes = 0;
  for (int i = 0; i < n->n_in; i++)
    if (n->in[i])
      bytes += (double)ig_shape_count(&n->in[i]->shape) * (double)ig_dtype_bytes(n->in[i]->dtype);
  for (int i = 0; i < n->n_out; i++)
    bytes += (double)ig_shape_count(&n->out[i]->shape) * (double)ig_dtype_bytes(n->out[i]->dtype);
  return bytes;
}

// `supports` of kernels that compute in fp32 alone; but for one operand, which may have any type.
static inline bool ig_supports_f32_but(const ig_node *n, int operand, char *why, size_t why_bytes) {
  for (int i = 0; i < n->n_in; i++)
    if (i != operand && n->in[i] && ig_dtype_is_float(n->in[i]->dtype) && n->in[i]->dtype != IG_F32) {
      snprintf(why, why_bytes, "operand %d is %s, this one takes f32", i, ig_dtype_name(n->in[i]->dtype));
      return false;
    }
  return true;
}

static inline bool ig_supports_f32(const ig_node *n, const ig_device_caps *caps, char *why, size_t why_bytes) {
  return ig_supports_f32_but(n, -1, why, why_bytes);
}

// Type of sums over x: fp32, or fp64 for fp64 (tests).
static inline ig_dtype ig_sum_dtype(const ig_tensor *x) { return x->dtype == IG_F64 ? IG_F64 : IG_F32; }

#endif
