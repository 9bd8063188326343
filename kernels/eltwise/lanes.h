// Rows of numbers as fp32: what the CPU kernels of several folders share. Rule: fp32 rows are used where they lie, bf16
// rows pass through a small buffer that stays in the first-level cache, so one loop serves both.
#ifndef IG_KERNELS_LANES_H
#define IG_KERNELS_LANES_H

#include <stdio.h>

#include "kernels/kernels.h"

#define IG_LANES_TILE 1024  // numbers converted at a time

typedef uint32_t __attribute__((may_alias)) ig_lane_bits;

// Numbers at..at+n of p as fp32: in place, or converted into buffer (n <= its size).
static inline const float *ig_lanes_load(const void *p, ig_dtype type, int64_t at, int64_t n, float *buffer) {
  if (type == IG_F32)
    return (const float *)p + at;
  const uint16_t *h = (const uint16_t *)p + at;
  ig_lane_bits *u = (ig_lane_bits *)buffer;
#pragma omp simd
  for (int64_t i = 0; i < n; i++)
    u[i] = (uint32_t)h[i] << 16;
  return buffer;
}

// Where to compute numbers at..at+n of p: in place, or in buffer; ig_lanes_store finishes them.
static inline float *ig_lanes_target(void *p, ig_dtype type, int64_t at, float *buffer) {
  return type == IG_F32 ? (float *)p + at : buffer;
}

static inline void ig_lanes_store(void *p, ig_dtype type, int64_t at, int64_t n, const float *row) {
  if (type == IG_F32)
    return;
  uint16_t *h = (uint16_t *)p + at;
  const ig_lane_bits *bits = (const ig_lane_bits *)row;
#pragma omp simd
  for (int64_t i = 0; i < n; i++) {
    uint32_t u = bits[i];
    uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1)) >> 16, quiet = (u >> 16) | 0x40;
    h[i] = (uint16_t)((u & 0x7fffffffu) > 0x7f800000u ? quiet : rounded);
  }
}

// Numbers that a tensor's memory holds, padding included.
static inline int64_t ig_lanes_count(const ig_launch *l, const ig_tensor *t, ig_layout layout) {
  return (int64_t)(ig_layout_bytes(l->layouts, layout, &t->shape, t->dtype) / ig_dtype_bytes(t->dtype));
}

// For supports: every present float operand and result is f32 or bf16 (other dtypes are the row's own business).
static inline bool ig_lanes_supports(const ig_node *n, const ig_device_caps *caps, char *why, size_t why_bytes) {
  for (int i = 0; i < n->n_in + n->n_out; i++) {
    const ig_tensor *t = i < n->n_in ? n->in[i] : n->out[i - n->n_in];
    if (t && (t->dtype == IG_F64 || t->dtype == IG_F16)) {
      snprintf(why, why_bytes, "%s is %s, expected f32 or bf16", t->name, ig_dtype_name(t->dtype));
      return false;
    }
  }
  return true;
}

#endif
