// fp32 functions that vectorise: no calls, no branches. For loops marked `omp simd` in <..>_cpu.c files.
#ifndef IG_KERNELS_LANE_MATH_H
#define IG_KERNELS_LANE_MATH_H

#include <math.h>
#include <stdint.h>

// exp(x), relative error below 2 ulp, clamped to [2^-126, 2^127]: 2^k by the exponent bits, polynomial on
// |r| <= ln(2)/2. NaN stays NaN.
static inline float exp_lane(float x) {
  union {
    float f;
    int32_t i;
  } two_k;
  float clamped = x > 88.02f ? 88.02f : x;
  clamped = clamped < -87.33f ? -87.33f : clamped;
  float shifted = clamped * 1.44269504f + 12582912.0f;  // 1.5 * 2^23: rounds to an integer in the low bits
  float k = shifted - 12582912.0f;
  float r = clamped - k * 0.693145752f - k * 1.42860677e-6f;
  float p = 1.0f / 5040;
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r * r + r + 1.0f;
  two_k.f = shifted;
  two_k.i = (int32_t)((uint32_t)(two_k.i + 127) << 23);
  return p * two_k.f;
}
static inline float sigmoid_lane(float x) { return 1.0f / (1.0f + exp_lane(-x)); }
// tanh: Taylor near 0 (up to x^13), where 1 - 2/(e^2x + 1) cancels.
static inline float tanh_lane(float x) {
  float a = fabsf(x), s = x * x;
  float far = 1.0f - 2.0f / (exp_lane(2.0f * a) + 1.0f);
  float p = 21844.0f / 6081075;
  p = p * s - 1382.0f / 155925;
  p = p * s + 62.0f / 2835;
  p = p * s - 17.0f / 315;
  p = p * s + 2.0f / 15;
  p = p * s - 1.0f / 3;
  float near = a + a * s * p;
  return copysignf(a < 0.4f ? near : far, x);
}
// erfc(z) exp(z^2) / 2 for z >= 0, t = 1 / (1 + z/2): t times a polynomial of degree 8, fitted to z <= 10 (4.3e-8; in
// fp32 3.7e-7 at most, 7e-8 in the mean).
static inline float erfc_fit(float t) {
  float p = -0.0295344833f;
  p = p * t + 0.142287493f;
  p = p * t - 0.243599981f;
  p = p * t + 0.139033601f;
  p = p * t - 0.0133128483f;
  p = p * t + 0.101343438f;
  p = p * t + 0.121551879f;
  p = p * t + 0.141187653f;
  return (p * t + 0.141043216f) * t;
}
// The normal distribution, erfc(-x / sqrt 2) / 2: the relative errors of the fit and of rounding x^2 / 2.
static inline float normal_cdf(float x) {
  float tail = erfc_fit(1.0f / (1.0f + 0.353553391f * fabsf(x))) * exp_lane(-0.5f * x * x);
  return x > 0 ? 1.0f - tail : tail;
}
// d/dx of x normal_cdf(x): the density and the tail share an exponential.
static inline float gelu_erf_slope(float x) {
  float density = exp_lane(-0.5f * x * x), tail = erfc_fit(1.0f / (1.0f + 0.353553391f * fabsf(x))) * density;
  return (x > 0 ? 1.0f - tail : tail) + x * 0.398942280f * density;
}
static inline float gelu_inner(float x) { return 0.797884561f * (x + 0.044715f * x * x * x); }
static inline float gelu_tanh_slope(float x) {
  float t = tanh_lane(gelu_inner(x));
  return 0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * 0.797884561f * (1.0f + 0.134145f * x * x);
}

#endif
