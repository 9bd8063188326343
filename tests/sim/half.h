// 16-bit and 8-bit floating-point numbers on the host. Rule: round to nearest even, once.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstring>
#include <immintrin.h>

#include "tests/sim/program.h"

namespace sim {

inline float bf16_value(u32 x) {
  u32 u = x << 16;
  float f;
  memcpy(&f, &u, 4);
  return f;
}
inline u32 bf16_round(float f) {
  u32 u;
  memcpy(&u, &f, 4);
  if ((u & 0x7fffffff) > 0x7f800000)
    return 0x7fff;
  return (u + 0x7fff + (u >> 16 & 1)) >> 16;
}
inline float f16_value(u32 x) { return _cvtsh_ss((unsigned short)x); }
inline u32 f16_round(float f) {
  if (f != f)
    return 0x7fff;
  return _cvtss_sh(f, _MM_FROUND_TO_NEAREST_INT);
}
// A double goes to odd in float first, so that the second rounding is the only one.
inline float to_odd(double x) {
  float f = (float)x;
  if ((double)f == x || f != f || std::isinf(f))
    return f;
  u32 u;
  memcpy(&u, &f, 4);
  if (u & 1)
    return f;
  bool up = std::fabs((double)f) < std::fabs(x);
  u += up ? 1 : -1;
  memcpy(&f, &u, 4);
  return f;
}

// e4m3 (bias 7, no infinity, NaN 0x7f) and e5m2 (bias 15): satfinite rounding and values.
inline float e4m3_value(u32 x) {
  u32 e = x >> 3 & 15, m = x & 7;
  float v = (x & 0x7f) == 0x7f ? NAN : e ? std::ldexp(1 + m / 8.f, (int)e - 7) : std::ldexp(m / 8.f, -6);
  return x & 0x80 ? -v : v;
}
inline float e5m2_value(u32 x) { return f16_value(x << 8); }
template <int MANTISSA, int BIAS>
inline u32 fp8_round(float f, float largest, u32 nan) {
  u32 sign = std::signbit(f) ? 0x80 : 0;
  float a = std::fabs(f);
  if (f != f)
    return nan;
  int e;
  std::frexp(a, &e);  // a = m 2^e, m in [0.5, 1)
  e = a == 0 ? 1 - BIAS : std::max(e - 1, 1 - BIAS);
  float unit = std::ldexp(1.f, e - MANTISSA), q = std::nearbyint(a / unit);  // even on ties
  float r = q * unit;
  if (!(r < largest))
    r = largest;
  if (r == 0)
    return sign;
  std::frexp(r, &e);
  e--;
  if (e < 1 - BIAS)
    return sign | (u32)std::lround(std::ldexp(r, BIAS - 1 + MANTISSA));
  return sign | (u32)(e + BIAS) << MANTISSA | ((u32)std::lround(std::ldexp(r, MANTISSA - e)) & ((1u << MANTISSA) - 1));
}
inline u32 e4m3_round(float f) { return fp8_round<3, 7>(f, 448, 0x7f); }
inline u32 e5m2_round(float f) { return fp8_round<2, 15>(f, 57344, 0x7f); }

}  // namespace sim
