// Many normal draws at once: those of ig_rng_normal, with logarithm and cosine as polynomials over rows of numbers.
// Rule: built without contraction (CMakeLists.txt), so that every instruction set gives the same bits.
#include <math.h>
#include <string.h>

#include "runtime/base/cpu.h"
#include "runtime/base/rng.h"

#define BLOCKS 64            // of four draws, so of two numbers
#define ROW    (2 * BLOCKS)  // numbers

static inline double of_bits(uint64_t bits) {
  double x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

// Uniform in (0,1), as open_uniform of rng.c. Signed conversion has an instruction everywhere.
static inline double open_uniform(uint32_t k) {
  return ((double)(int32_t)(k ^ 0x80000000u) + (2147483648.0 + 0.5)) * 0x1p-32;
}

// ln u = e ln 2 + 2 artanh s, s = (m - 1) / (m + 1), u = m 2^e, m in [0.71, 1.42): the series ends below 1e-17.
static inline double natural_log(double u) {
  uint64_t bits;
  memcpy(&bits, &u, sizeof bits);
  double e = of_bits(bits >> 52 | 0x4330000000000000u) - (0x1p52 + 1023);
  double m = of_bits((bits & 0x000FFFFFFFFFFFFFu) | 0x3FF0000000000000u);
  const double half = m > 1.4142135623730951 ? 1 : 0;
  m = m * (1 - 0.5 * half);
  e = e + half;
  const double s = (m - 1) / (m + 1), z = s * s;
  double p = 1.0 / 21;
  p = p * z + 1.0 / 19;
  p = p * z + 1.0 / 17;
  p = p * z + 1.0 / 15;
  p = p * z + 1.0 / 13;
  p = p * z + 1.0 / 11;
  p = p * z + 1.0 / 9;
  p = p * z + 1.0 / 7;
  p = p * z + 1.0 / 5;
  p = p * z + 1.0 / 3;
  return e * 0.69314718055994531 + 2 * (s + s * z * p);
}

// cos 2 pi v for v in (0,1): the quarter turn q nearest to v leaves an angle of at most pi / 4, whose cosine (q even)
// or sine (q odd) it is, with the sign of the quarter.
static inline double cosine_of_turn(double v) {
  const double shift = 0x1.8p52, q = (4 * v + shift) - shift;  // rounds to the nearest whole number, 0 to 4
  const double a = (v - 0.25 * q) * 6.283185307179586477, z = a * a;
  double c = 1.0 / 20922789888000, s = 1.0 / 355687428096000;
  c = c * z - 1.0 / 87178291200;
  c = c * z + 1.0 / 479001600;
  c = c * z - 1.0 / 3628800;
  c = c * z + 1.0 / 40320;
  c = c * z - 1.0 / 720;
  c = c * z + 1.0 / 24;
  c = c * z - 0.5;
  c = c * z + 1;
  s = s * z - 1.0 / 1307674368000;
  s = s * z + 1.0 / 6227020800;
  s = s * z - 1.0 / 39916800;
  s = s * z + 1.0 / 362880;
  s = s * z - 1.0 / 5040;
  s = s * z + 1.0 / 120;
  s = s * z - 1.0 / 6;
  s = s * z * a + a;
  return q == 0 || q == 4 ? c : q == 1 ? -s : q == 2 ? -c : s;
}

static inline __attribute__((always_inline)) void fill_row(const ig_rng *r, uint32_t first, float scale, float *out) {
  uint32_t u[ROW], v[ROW];
  for (uint32_t b = 0; b < BLOCKS; b++) {
    const ig_philox4 x = ig_philox(r->key, first + b, (uint32_t)r->index, (uint32_t)(r->index >> 32), 0);
    u[2 * b] = x.v[0], v[2 * b] = x.v[1];
    u[2 * b + 1] = x.v[2], v[2 * b + 1] = x.v[3];
  }
  for (int i = 0; i < ROW; i++) {
    const double length = sqrt(-2.0 * natural_log(open_uniform(u[i])));
    out[i] = scale * (float)(length * cosine_of_turn(open_uniform(v[i])));
  }
}

static inline __attribute__((always_inline)) void fill(ig_rng *r, float scale, float *out, int64_t n) {
  float rest[ROW];
  for (; n > 0; n -= ROW, out += ROW) {
    fill_row(r, r->count, scale, n < ROW ? rest : out);
    if (n < ROW)
      memcpy(out, rest, (size_t)n * sizeof *out);
    r->count += (uint32_t)((n < ROW ? n + 1 : ROW) / 2);
  }
}

static void fill_plain(ig_rng *r, float scale, float *out, int64_t n) { fill(r, scale, out, n); }

#ifdef __x86_64__
#define OF_ISA(name, isa)                                                                        \
  __attribute__((target(isa))) static void name(ig_rng *r, float scale, float *out, int64_t n) { \
    fill(r, scale, out, n);                                                                      \
  }
OF_ISA(fill_avx2, "avx2")
OF_ISA(fill_avx512, "avx512f,avx512dq")
#endif

void ig_rng_normals(ig_rng *r, float scale, float *out, int64_t n) {
#ifdef __x86_64__
  const ig_isa isa = ig_isa_detect();
  if (isa >= IG_ISA_AVX512)
    fill_avx512(r, scale, out, n);
  else if (isa >= IG_ISA_AVX2)
    fill_avx2(r, scale, out, n);
  else
#endif
    fill_plain(r, scale, out, n);
}
