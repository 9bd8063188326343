// floor: ig_base
// Floor 0's numbers: random ones, permutations, element types. Rule: every case states its expectation independently of
// the code.
#include <cmath>
#include <cstdint>
#include <gtest/gtest.h>
#include <set>
#include <vector>

#include "runtime/base/dtype.h"
#include "runtime/base/rng.h"

namespace {

// ---- random numbers

TEST(Rng, PhiloxKnownAnswers) {  // Random123's kat_vectors, philox4x32 10
  ig_philox4 a = ig_philox(0, 0, 0, 0, 0);
  EXPECT_EQ(std::vector<uint32_t>(a.v, a.v + 4),
            (std::vector<uint32_t>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  ig_philox4 b = ig_philox(~0ull, ~0u, ~0u, ~0u, ~0u);
  EXPECT_EQ(std::vector<uint32_t>(b.v, b.v + 4),
            (std::vector<uint32_t>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  ig_philox4 c = ig_philox(0x299f31d0a4093822ull, 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344);
  EXPECT_EQ(std::vector<uint32_t>(c.v, c.v + 4),
            (std::vector<uint32_t>{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Rng, ManyNormalsAreTheSingleOnes) {
  for (int64_t n : {1, 2, 7, 128, 129, 1000003}) {
    ig_rng one = ig_rng_make(1, 2, 3), all = one;
    std::vector<float> x((size_t)n + 1, 7);
    ig_rng_normals(&all, 0.5f, x.data(), n);
    int64_t differ = 0;
    for (int64_t i = 0; i < n; i++) {
      const float want = 0.5f * ig_rng_normal(&one);
      differ += x[(size_t)i] != want;
      ASSERT_NEAR(x[(size_t)i], want, 1e-7 * std::fabs(want)) << i;
    }
    EXPECT_LE(differ, 1) << n;
    EXPECT_EQ(x[(size_t)n], 7);
    EXPECT_EQ(all.count, one.count);
  }
}

TEST(Rng, NormalAndBetaHaveTheirMoments) {
  const int n = 100000;
  double sum = 0, square = 0, fourth = 0;
  for (int i = 0; i < n; i++) {
    ig_rng r = ig_rng_make(1, 2, (uint64_t)i);
    double x = ig_rng_normal(&r);
    sum += x, square += x * x, fourth += x * x * x * x;
  }
  EXPECT_NEAR(sum / n, 0, 0.02);
  EXPECT_NEAR(square / n, 1, 0.03);
  EXPECT_NEAR(fourth / n, 3, 0.2);
  for (float a : {0.01f, 0.2f, 1.0f, 3.0f}) {
    ig_rng r = ig_rng_make(3, 4, 5);
    double mean = 0, variance = 0;
    for (int i = 0; i < n; i++) {
      float x = ig_rng_beta(&r, a);
      ASSERT_GE(x, 0);
      ASSERT_LE(x, 1);
      mean += x, variance += (x - 0.5) * (x - 0.5);
    }
    EXPECT_NEAR(mean / n, 0.5, 0.01) << a;
    EXPECT_NEAR(variance / n, 1 / (4 * (2 * a + 1)), 0.004) << a;
  }
}

TEST(Rng, PermuteIsAPermutation) {
  std::vector<uint64_t> sizes;
  for (uint64_t n = 1; n <= 130; n++)
    sizes.push_back(n);
  sizes.insert(sizes.end(), {255, 256, 257, 1000, 4095, 4096, 4097, 50000});
  for (uint64_t n : sizes)
    for (uint64_t key : {0ull, 77ull}) {
      std::vector<bool> hit(n);
      for (uint64_t i = 0; i < n; i++) {
        uint64_t x = ig_permute(key, n, i);
        ASSERT_LT(x, n);
        ASSERT_FALSE(hit[x]) << n << " " << i;
        hit[x] = true;
      }
    }
  std::set<uint64_t> seen;
  const uint64_t huge = (1ull << 40) + 7;
  for (uint64_t i = 0; i < 2000; i++) {
    uint64_t x = ig_permute(5, huge, huge - 1 - i);
    ASSERT_LT(x, huge);
    ASSERT_TRUE(seen.insert(x).second);
  }
  EXPECT_LT(ig_permute(9, ~0ull, 12345), ~0ull);
}

TEST(Rng, PermuteIsUniformOverKeys) {
  for (uint64_t n : {3, 10, 17}) {
    const int draws = 20000;
    for (uint64_t position : {uint64_t(0), n - 1}) {
      std::vector<int> count(n);
      for (int key = 0; key < draws; key++)
        count[ig_permute(ig_hash_mix(1, (uint64_t)key), n, position)]++;
      double expected = (double)draws / (double)n, chi2 = 0;
      for (int c : count)
        chi2 += (c - expected) * (c - expected) / expected;
      EXPECT_LT(chi2, (double)n + 6 * std::sqrt(2.0 * (double)n)) << n;
    }
  }
  // Neighbours do not stay neighbours: fixed steps would show as few distinct differences.
  std::set<int64_t> steps;
  for (uint64_t i = 0; i + 1 < 1000; i++)
    steps.insert((int64_t)ig_permute(3, 1000, i + 1) - (int64_t)ig_permute(3, 1000, i));
  EXPECT_GT(steps.size(), 500u);
}

// ---- element types

// Value of a positive 16-bit float by its definition; the pattern after the largest is taken as the next power of two.
double half_value(uint16_t h, int exponent_bits, int mantissa_bits) {
  int exponent = h >> mantissa_bits, bias = (1 << (exponent_bits - 1)) - 1, fraction = h & ((1 << mantissa_bits) - 1);
  return exponent == 0 ? std::ldexp(fraction, 1 - bias - mantissa_bits)
                       : std::ldexp((1 << mantissa_bits) + fraction, exponent - bias - mantissa_bits);
}

struct Half {
  ig_dtype type;
  int exponent_bits, mantissa_bits;
  uint16_t infinity;
  uint16_t (*from)(float);
  float (*to)(uint16_t);
};

class Halves : public testing::TestWithParam<Half> {};

TEST_P(Halves, ExhaustiveValuesAndRounding) {
  Half half = GetParam();
  for (uint32_t u = 0; u < 65536; u++) {
    uint16_t h = (uint16_t)u, magnitude = h & 0x7fff;
    float x = half.to(h);
    EXPECT_EQ(std::signbit(x), h >> 15 == 1);
    if (magnitude > half.infinity) {
      ASSERT_TRUE(std::isnan(x));
      ASSERT_GT(half.from(x) & 0x7fff, half.infinity);
      continue;
    }
    ASSERT_EQ(half.from(x), h);
    if (magnitude == half.infinity) {
      ASSERT_TRUE(std::isinf(x));
      continue;
    }
    double value = half_value(magnitude, half.exponent_bits, half.mantissa_bits);
    ASSERT_EQ(std::fabs((double)x), value);
    if (h >> 15)
      continue;
    // Half way to the next pattern goes to the even one, everything else to the nearer; the same from double.
    double next = half_value((uint16_t)(h + 1), half.exponent_bits, half.mantissa_bits), middle = (value + next) / 2;
    uint16_t even = (uint16_t)(h & 1 ? h + 1 : h), got;
    ig_store_f64(&got, half.type, 0, middle);
    ASSERT_EQ(got, even) << h;
    ig_store_f64(&got, half.type, 0, -std::nextafter(middle, 0));
    ASSERT_EQ(got, h | 0x8000);
    ig_store_f64(&got, half.type, 0, std::nextafter(middle, next));
    ASSERT_EQ(got, h + 1);
    if ((double)(float)middle == middle) {
      ASSERT_EQ(half.from((float)middle), even);
      ASSERT_EQ(half.from(std::nextafterf((float)middle, 0)), h);
      ASSERT_EQ(half.from(std::nextafterf((float)middle, INFINITY)), h + 1);
    }
  }
}
INSTANTIATE_TEST_SUITE_P(Types, Halves,
                         testing::Values(Half{IG_F16, 5, 10, 0x7c00, ig_f16_from_f32, ig_f32_from_f16},
                                         Half{IG_BF16, 8, 7, 0x7f80, ig_bf16_from_f32, ig_f32_from_bf16}));

TEST(Dtype, ConvertEveryPair) {
  const double small[] = {0, 1, 2, 7, 100, 200};
  for (int from = 0; from < IG_N_DTYPES; from++)
    for (int to = 0; to < IG_N_DTYPES; to++) {
      uint64_t a[6], b[6];
      for (size_t i = 0; i < 6; i++)
        ig_store_f64(a, (ig_dtype)from, i, small[i]);
      ig_convert(b, (ig_dtype)to, a, (ig_dtype)from, 6);
      for (size_t i = 0; i < 6; i++)
        EXPECT_EQ(ig_load_f64(b, (ig_dtype)to, i), small[i])
            << ig_dtype_name((ig_dtype)from) << ig_dtype_name((ig_dtype)to);
    }
  const double odd[] = {-1e30, -0.5, 0.5, 1.5, 2.5, 1e30, NAN};
  int32_t i32[7];
  uint8_t u8[7];
  uint64_t u64[7];
  int64_t i64[7];
  ig_convert(i32, IG_I32, odd, IG_F64, 7);
  ig_convert(u8, IG_U8, odd, IG_F64, 7);
  ig_convert(u64, IG_U64, odd, IG_F64, 7);
  ig_convert(i64, IG_I64, odd, IG_F64, 7);
  EXPECT_EQ(std::vector<int>(i32, i32 + 7), (std::vector<int>{INT32_MIN, 0, 0, 2, 2, INT32_MAX, 0}));
  EXPECT_EQ(std::vector<int>(u8, u8 + 7), (std::vector<int>{0, 0, 0, 2, 2, 255, 0}));
  EXPECT_EQ(u64[5], UINT64_MAX);
  EXPECT_EQ(i64[0], INT64_MIN);
  EXPECT_EQ(i64[5], INT64_MAX);
  // Integers beyond 2^53 pass between the integer types unrounded.
  uint64_t big = (1ull << 62) + 1;
  ig_convert(i64, IG_I64, &big, IG_U64, 1);
  EXPECT_EQ((uint64_t)i64[0], big);
}

}  // namespace
