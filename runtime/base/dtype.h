// Element types and their conversions. Rule: conversions round to nearest even; nothing else converts numbers.
#ifndef IG_BASE_DTYPE_H
#define IG_BASE_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum ig_dtype { IG_F32 = 0, IG_F64, IG_BF16, IG_F16, IG_I32, IG_I64, IG_U8, IG_U64, IG_N_DTYPES } ig_dtype;

static inline size_t ig_dtype_bytes(ig_dtype t) {
  static const uint8_t bytes[IG_N_DTYPES] = {4, 8, 2, 2, 4, 8, 1, 8};
  return bytes[t];
}
static inline const char *ig_dtype_name(ig_dtype t) {
  static const char *const names[IG_N_DTYPES] = {"f32", "f64", "bf16", "f16", "i32", "i64", "u8", "u64"};
  return names[t];
}
static inline bool ig_dtype_is_float(ig_dtype t) { return t <= IG_F16; }

static inline uint16_t ig_bf16_from_f32(float x) {
  uint32_t u;
  memcpy(&u, &x, 4);
  if ((u & 0x7fffffffu) > 0x7f800000u)
    return (uint16_t)((u >> 16) | 0x40);  // keep NaN a NaN
  return (uint16_t)((u + 0x7fffu + ((u >> 16) & 1)) >> 16);
}
static inline float ig_f32_from_bf16(uint16_t h) {
  uint32_t u = (uint32_t)h << 16;
  float x;
  memcpy(&x, &u, 4);
  return x;
}
uint16_t ig_f16_from_f32(float x);
float ig_f32_from_f16(uint16_t h);

// dst[i] = (dst_type)src[i] for n elements between any two types (integers saturate; floats to integers round to even).
void ig_convert(void *dst, ig_dtype dst_type, const void *src, ig_dtype src_type, size_t n);
// Element i of an array as double, and back.
double ig_load_f64(const void *p, ig_dtype type, size_t i);
void ig_store_f64(void *p, ig_dtype type, size_t i, double value);

#ifdef __cplusplus
}
#endif
#endif
