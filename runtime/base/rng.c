// Draws and permutations over Philox. Rule: pure functions of key and position; doubles inside, so that libm's last bit
// rarely shows in the float that comes out.
#include "runtime/base/rng.h"

#include <assert.h>
#include <math.h>

// Uniform in (0,1) with 32 bits: never 0, so that its logarithm is finite.
static double open_uniform(ig_rng *r) { return ((double)ig_rng_u32(r) + 0.5) * 0x1p-32; }

static double normal(ig_rng *r) {
  double u = open_uniform(r), v = open_uniform(r);
  return sqrt(-2.0 * log(u)) * cos(6.283185307179586477 * v);
}

float ig_rng_normal(ig_rng *r) { return (float)normal(r); }

// Gamma(a, 1) for a >= 1 (Marsaglia and Tsang 2000).
static double gamma_draw(ig_rng *r, double a) {
  double d = a - 1.0 / 3.0, c = 1.0 / sqrt(9.0 * d);
  for (;;) {
    double x = normal(r), v = 1.0 + c * x;
    if (v <= 0)
      continue;
    v = v * v * v;
    if (log(open_uniform(r)) < 0.5 * x * x + d - d * v + d * log(v))
      return d * v;
  }
}

// a <= 0 is taken as the limit: 0 or 1 with equal chance.
float ig_rng_beta(ig_rng *r, float a) {
  if (!(a > 1e-6f))
    return (float)(ig_rng_u32(r) & 1);
  if (a > 1.0f) {
    double x = gamma_draw(r, a), y = gamma_draw(r, a);
    return (float)(x / (x + y));
  }
  // Joehnk: x = u^(1/a), y = v^(1/a) given x + y <= 1; in logarithms, as both underflow for small a.
  for (;;) {
    double x = log(open_uniform(r)) / a, y = log(open_uniform(r)) / a;
    double larger = x > y ? x : y, sum = larger + log(exp(x - larger) + exp(y - larger));
    if (sum <= 0)
      return (float)exp(x - sum);
  }
}

#define FEISTEL_ROUNDS 8

uint64_t ig_permute(uint64_t key, uint64_t n, uint64_t position) {
  assert(position < n);
  if (n <= 1)
    return 0;
  // Two halves of h bits: 4^h >= n > 4^(h-1), so that a walk leaves the domain 3 times in 4 at most.
  unsigned bits = 64 - (unsigned)__builtin_clzll(n - 1), half = (bits + 1) / 2;
  uint32_t mask = half >= 32 ? UINT32_MAX : (1u << half) - 1;
  uint64_t x = position;
  do {
    uint32_t left = (uint32_t)(x >> half) & mask, right = (uint32_t)x & mask;
    for (uint32_t round = 0; round < FEISTEL_ROUNDS; round++) {
      uint32_t mixed = left ^ (ig_philox(key, right, round, (uint32_t)n, (uint32_t)(n >> 32)).v[0] & mask);
      left = right, right = mixed;
    }
    x = (uint64_t)left << half | right;
  } while (x >= n);
  return x;
}
