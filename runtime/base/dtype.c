// Conversions between element types. Rule: one rounding (nearest even) from the exact value; integers saturate.
#include "runtime/base/dtype.h"

#include <math.h>

// binary16: 1 sign, 5 exponent (bias 15), 10 mantissa bits; binary32: 1, 8 (bias 127), 23.
uint16_t ig_f16_from_f32(float x) {
  uint32_t u;
  memcpy(&u, &x, 4);
  uint16_t sign = (uint16_t)(u >> 16 & 0x8000u);
  u &= 0x7fffffffu;
  if (u > 0x7f800000u)
    return (uint16_t)(sign | 0x7e00u | (u >> 13 & 0x3ffu));  // a NaN stays one, and quiet
  if (u >= 0x47800000u)
    return (uint16_t)(sign | 0x7c00u);  // 2^16 and more
  if (u >= 0x38800000u) {               // normal: rebias, round; a carry runs into the exponent and up to infinity
    u -= 112u << 23;
    return (uint16_t)(sign | (u + 0xfffu + (u >> 13 & 1)) >> 13);
  }
  // Subnormal: adding 0.5 puts the units of 2^-24 into the low bits of the sum, rounded to nearest even by the adder.
  float magnitude;
  memcpy(&magnitude, &u, 4);
  magnitude += 0.5f;
  memcpy(&u, &magnitude, 4);
  return (uint16_t)(sign | (u - 0x3f000000u));
}

float ig_f32_from_f16(uint16_t h) {
  uint32_t sign = (uint32_t)(h & 0x8000u) << 16, rest = (uint32_t)(h & 0x7fffu) << 13, u;
  float x;
  if (rest >= 0x7c00u << 13) {
    u = rest + (224u << 23);  // infinity and NaN: exponent 31 -> 255
  } else if (rest >= 0x400u << 13) {
    u = rest + (112u << 23);
  } else {
    x = (float)(h & 0x3ffu) * 0x1p-24f;
    memcpy(&u, &x, 4);
  }
  u |= sign;
  memcpy(&x, &u, 4);
  return x;
}

// Nearest float towards zero with its last bit set where inexact ("round to odd"): rounding it again to a 16-bit type
// gives the same as rounding the wide value once.
static float f32_odd(long double value) {
  float x = (float)value;
  if (isnan(x) || (long double)x == value)
    return x;
  uint32_t u;
  memcpy(&u, &x, 4);
  if (fabsl((long double)x) > fabsl(value))
    u--;
  u |= 1;
  memcpy(&x, &u, 4);
  return x;
}

// The wide type holds every element type exactly (64 mantissa bits or more on the processors that we build for).
static long double load(const void *p, ig_dtype type, size_t i) {
  switch (type) {
    case IG_F32:
      return ((const float *)p)[i];
    case IG_F64:
      return ((const double *)p)[i];
    case IG_BF16:
      return ig_f32_from_bf16(((const uint16_t *)p)[i]);
    case IG_F16:
      return ig_f32_from_f16(((const uint16_t *)p)[i]);
    case IG_I32:
      return ((const int32_t *)p)[i];
    case IG_I64:
      return ((const int64_t *)p)[i];
    case IG_U8:
      return ((const uint8_t *)p)[i];
    case IG_U64:
      return ((const uint64_t *)p)[i];
    default:
      return 0;
  }
}

// Rounds to even and saturates into [low, high]; NaN gives 0.
static long double to_integer(long double value, long double low, long double high) {
  if (isnan(value))
    return 0;
  value = rintl(value);
  return value < low ? low : value > high ? high : value;
}

static void store(void *p, ig_dtype type, size_t i, long double value) {
  switch (type) {
    case IG_F32:
      ((float *)p)[i] = (float)value;
      break;
    case IG_F64:
      ((double *)p)[i] = (double)value;
      break;
    case IG_BF16:
      ((uint16_t *)p)[i] = ig_bf16_from_f32(f32_odd(value));
      break;
    case IG_F16:
      ((uint16_t *)p)[i] = ig_f16_from_f32(f32_odd(value));
      break;
    case IG_I32:
      ((int32_t *)p)[i] = (int32_t)to_integer(value, INT32_MIN, INT32_MAX);
      break;
    case IG_I64:
      ((int64_t *)p)[i] = (int64_t)to_integer(value, (long double)INT64_MIN, (long double)INT64_MAX);
      break;
    case IG_U8:
      ((uint8_t *)p)[i] = (uint8_t)to_integer(value, 0, UINT8_MAX);
      break;
    case IG_U64:
      ((uint64_t *)p)[i] = (uint64_t)to_integer(value, 0, (long double)UINT64_MAX);
      break;
    default:
      break;
  }
}

#define PAIR(to, from) ((to)*IG_N_DTYPES + (from))
#define LOOP(TO, FROM, EXPR)       \
  do {                             \
    TO *restrict d = dst;          \
    const FROM *restrict s = src;  \
    for (size_t i = 0; i < n; i++) \
      d[i] = (EXPR);               \
    return;                        \
  } while (0)

void ig_convert(void *dst, ig_dtype dst_type, const void *src, ig_dtype src_type, size_t n) {
  if (dst_type == src_type) {
    if (n)
      memmove(dst, src, n * ig_dtype_bytes(dst_type));
    return;
  }
  // The pairs that training and loading go through; all others take the exact wide path.
  switch (PAIR(dst_type, src_type)) {
    case PAIR(IG_BF16, IG_F32):
      LOOP(uint16_t, float, ig_bf16_from_f32(s[i]));
    case PAIR(IG_F32, IG_BF16):
      LOOP(float, uint16_t, ig_f32_from_bf16(s[i]));
    case PAIR(IG_F16, IG_F32):
      LOOP(uint16_t, float, ig_f16_from_f32(s[i]));
    case PAIR(IG_F32, IG_F16):
      LOOP(float, uint16_t, ig_f32_from_f16(s[i]));
    case PAIR(IG_F32, IG_F64):
      LOOP(float, double, (float)s[i]);
    case PAIR(IG_F64, IG_F32):
      LOOP(double, float, (double)s[i]);
    case PAIR(IG_F32, IG_U8):
      LOOP(float, uint8_t, (float)s[i]);
    case PAIR(IG_F32, IG_I32):
      LOOP(float, int32_t, (float)s[i]);
    case PAIR(IG_F32, IG_I64):
      LOOP(float, int64_t, (float)s[i]);
    case PAIR(IG_I64, IG_I32):
      LOOP(int64_t, int32_t, s[i]);
    default:
      break;
  }
  for (size_t i = 0; i < n; i++)
    store(dst, dst_type, i, load(src, src_type, i));
}

double ig_load_f64(const void *p, ig_dtype type, size_t i) { return (double)load(p, type, i); }

void ig_store_f64(void *p, ig_dtype type, size_t i, double value) { store(p, type, i, value); }
