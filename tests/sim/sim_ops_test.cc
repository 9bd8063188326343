// Every class of instruction against a host computation: the interpreter is right before it judges kernels.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>
#include <random>

#include "tests/sim/sim_harness.h"
#include "tests/sim/test_kernels.h"

namespace {

using u16 = uint16_t;
using u32 = uint32_t;
using u64 = uint64_t;

// Host versions of what instructions compute, written another way than the simulator's.
u32 bits(float x) {
  u32 u;
  memcpy(&u, &x, 4);
  return u;
}
float from_bits(u32 u) {
  float x;
  memcpy(&x, &u, 4);
  return x;
}
// The nearest number of `precision` bits with least exponent `low`, ties to even.
double nearest(double x, int precision, int low) {
  if (x == 0 || !std::isfinite(x))
    return x;
  int e = std::max(std::ilogb(x), low);
  double unit = std::ldexp(1, e - precision + 1);
  return std::nearbyint(x / unit) * unit;
}
u32 encode(double x, int precision, int exponent_bits) {
  int bias = (1 << (exponent_bits - 1)) - 1, m = precision - 1;
  u32 sign = std::signbit(x) ? 1u << (m + exponent_bits) : 0;
  x = std::fabs(nearest(x, precision, 1 - bias));
  if (x == 0)
    return sign;
  int e = std::max(std::ilogb(x), 1 - bias);
  u32 fraction = (u32)std::ldexp(x, m - e);  // with its leading one, if normal
  return sign | (fraction >> m ? (u32)(e + bias) << m | (fraction & ((1u << m) - 1)) : fraction);
}
double decode(u32 v, int precision, int exponent_bits) {
  int bias = (1 << (exponent_bits - 1)) - 1, m = precision - 1;
  int e = v >> m & ((1 << exponent_bits) - 1);
  double f = v & ((1u << m) - 1), x = e ? std::ldexp(f + (1 << m), e - bias - m) : std::ldexp(f, 1 - bias - m);
  return v >> (m + exponent_bits) & 1 ? -x : x;
}
u32 f16(float x) { return encode(x, 11, 5); }
float from_f16(u32 v) { return (float)decode(v & 0xffff, 11, 5); }
u32 bf16(float x) { return encode(x, 8, 8); }
float from_bf16(u32 v) { return from_bits(v << 16); }
u32 e4m3(float x) { return encode(std::max(-448.f, std::min(448.f, x)), 4, 4); }
u32 e5m2(float x) { return encode(std::max(-57344.f, std::min(57344.f, x)), 3, 5); }
float near8(float x, int precision, int low, float top) {
  return (float)nearest(std::max(-top, std::min(top, x)), precision, low);
}
u32 reverse(u32 a) {
  u32 r = 0;
  for (int k = 0; k < 32; k++)
    r = r << 1 | (a >> k & 1);
  return r;
}
u32 dot4(u32 a, u32 b, u32 c) {
  for (int k = 0; k < 4; k++)
    c += (int8_t)(a >> 8 * k) * (int8_t)(b >> 8 * k);
  return c;
}

constexpr int N = 256;

template <class T>
std::vector<T> values(int seed) {  // numbers of all sizes, with the corners
  std::mt19937_64 r(seed);
  std::vector<T> v(N);
  for (int i = 0; i < N; i++) {
    if constexpr (std::is_floating_point_v<T>) {
      v[i] = (T)(std::ldexp((double)(int64_t)r(), -63) * std::ldexp(1, (int)(r() % 9) - 2));
      if (std::fabs(v[i]) < 1e-3)
        v[i] = (T)0.75;
    } else {
      v[i] = (T)(r() >> r() % 50);
      if (i % 16 == 5)
        v[i] = (T)-1;
      if (i % 32 == 7)
        v[i] = std::numeric_limits<std::make_signed_t<T>>::min();
      if (i % 32 == 9)
        v[i] = 0;
    }
  }
  return v;
}

template <class D, class A, class B, class C>
void check(const char *name, void (*launch)(void *, const void *, const void *, const void *, int), double tolerance,
           D (*value)(A, B, C)) {
  auto a = values<A>(1);
  auto b = values<B>(2);
  auto c = values<C>(3);
  Device<A> da(a);
  Device<B> db(b);
  Device<C> dc(c);
  Device<D> dy(N);
  launch(dy, da, db, dc, N);
  auto y = dy.get();
  for (int i = 0; i < N; i++) {
    D want = value(a[i], b[i], c[i]);
    bool ok = tolerance ? std::fabs((double)y[i] - (double)want) <= tolerance * std::fabs((double)want)
                        : !memcmp(&y[i], &want, sizeof want) || (y[i] == want && y[i] == 0);
    ASSERT_TRUE(ok) << name << "(" << +a[i] << ", " << +b[i] << ", " << +c[i] << ") = " << +y[i] << ", not " << +want;
  }
}

}  // namespace

#define X(name, D, A, B, C, ptx, tolerance, value) \
  extern "C" void run_##name(void *, const void *, const void *, const void *, int);
#include "tests/sim/ops_list.h"
#undef X

namespace {

class Ops : public SimTest {};

TEST_F(Ops, every_instruction_gives_the_hosts_result) {
  int n = 0;
#define X(name, D, A, B, C, ptx, tolerance, value)                         \
  check<D, A, B, C>(#name, run_##name, tolerance, [](A a, B b, C c) -> D { \
    (void)a, (void)b, (void)c;                                             \
    return value;                                                          \
  });                                                                      \
  n++;
#include "tests/sim/ops_list.h"
#undef X
  EXPECT_GT(n, 90);
  EXPECT_EQ(reports(), "");
}

TEST_F(Ops, nothing_is_unknown) {
  char text[4000];
  EXPECT_EQ(ig_sim_unknown(text, sizeof text), 0) << text;
}

TEST_F(Ops, loops_diverge_and_meet_again) {
  std::vector<int> x(1000), y(1000);
  for (int i = 0; i < 1000; i++)
    x[i] = i + 1;
  Device<int> dx(x), dy(1000);
  run_collatz(dy, dx, 1000);
  y = dy.get();
  for (int i = 0; i < 1000; i++) {
    int v = x[i], c = 0;
    for (; v != 1 && c < 500; c++)
      v = v & 1 ? 3 * v + 1 : v >> 1;
    ASSERT_EQ(y[i], c) << i;
  }
  EXPECT_EQ(reports(), "");
}

TEST_F(Ops, values_live_around_loops) {
  const int n = 40;
  std::mt19937 r(3);
  std::vector<int> x(n * 32);
  for (int &v : x)
    v = r() % 1000;
  Device<int> dx(x), dy(32);
  run_carried(dy, dx, n);
  auto y = dy.get();
  for (int l = 0; l < 32; l++) {
    int a = 1, b = 2, c = 3, last = 0;
    bool seen = false;
    for (int i = 0; i < n; i++) {
      int v = x[i * 32 + l];
      if (v & 1) {
        last = v;
        seen = true;
      }
      for (int j = 0; j < (v & 3); j++) {
        int t = a;
        a = (int)((u32)b + (u32)c);
        b = c ^ t;
        c = (int)((u32)t + (u32)j);
      }
      if (seen)
        c = (int)((u32)c + (u32)last);
    }
    ASSERT_EQ((u32)y[l], (u32)a * 31 + (u32)b * 17 + (u32)c);
  }
}

TEST_F(Ops, cooperative_groups_reduce) {
  std::vector<float> x(1000);
  double sum = 0;
  for (int i = 0; i < 1000; i++)
    sum += x[i] = i % 17 - 3;
  Device<float> dx(x), dy(1);
  run_group_reduce(dy, dx, 1000);
  EXPECT_EQ(dy.get()[0], sum);
  EXPECT_EQ(reports(), "");
}

TEST_F(Ops, local_memory_switches_and_mathematics) {
  std::vector<float> x(1024);
  for (int i = 0; i < 1024; i++)
    x[i] = (i * 37 % 101 - 50) / 16.f;
  Device<float> dx(x), dy(64);
  run_local(dy, dx, 5);
  auto y = dy.get();
  for (int t = 0; t < 64; t++) {
    float s = 0;
    for (int i = 0; i < 16; i++)
      s += x[t * 16 + ((i * 5 + t) & 15)] * i;
    ASSERT_NEAR(y[t], s, 1e-3);
  }
  run_math(dy, dx);
  y = dy.get();
  for (int t = 0; t < 64; t++) {
    double v = x[t];
    double want = sin(v) + exp(v) + log(fabs(v) + 1) + pow(fabs(v), 1.7) + erf(v) + tanh(v) + v / 3 + fmod(x[t], 0.7f) +
                  rint(v) + sqrt(fabs(v)) + cos((double)(float)(x[t] * 1000.f));
    ASSERT_NEAR(y[t], want, 1e-5 * (1 + fabs(want))) << v;
  }
  std::vector<int> k(64);
  for (int t = 0; t < 64; t++)
    k[t] = t % 9;
  Device<int> dk(k), dz(64);
  run_switch(dz, dk);
  auto z = dz.get();
  for (int t = 0; t < 64; t++) {
    int v = t % 9;
    int want[] = {5, 7 + t, __builtin_popcount(t), t ? __builtin_clz(t) : 32, (int)reverse(t), -5, 33, 7 % 5, 8 % 5};
    ASSERT_EQ(z[t], want[v]) << t;
  }
  EXPECT_EQ(reports(), "");
}

TEST_F(Ops, a_warps_lanes_work_together) {
  std::vector<u32> x(64);
  for (int i = 0; i < 64; i++)
    x[i] = i * 29 % 83;
  Device<u32> dx(x), dy(64);
  run_warp(dy, dx);
  auto y = dy.get();
  for (int w = 0; w < 2; w++) {
    u32 *v = &x[w * 32], sum = 0, odd = 0, top = 0, low = ~0u;
    bool seven = false;
    for (int l = 0; l < 32; l++) {
      sum += v[l];
      odd += v[l] & 1;
      top = std::max(top, v[l]);
      seven |= v[l] == 7;
      if (l >= 20)
        low = std::min(low, v[l]);
    }
    for (int l = 0; l < 32; l++) {
      u32 same = 0;
      for (int j = 0; j < 32; j++)
        same |= (u32)((v[j] & 3) == (v[l] & 3)) << j;
      u32 want = sum + odd * 3 + top + same + (seven ? 5 : 0) + 9;
      want += v[l >= 3 ? l - 3 : l] * 5 + v[l % 8 + 2 < 8 ? l + 2 : l] * 7 + v[l ^ 9] * 11 +
              v[(l & 16) | (l * 5 & 15)] * 13;
      want += l < 20 ? v[l ^ 1] * 17 : low * 19;
      ASSERT_EQ(y[w * 32 + l], want) << l;
    }
  }
  EXPECT_EQ(reports(), "");
}

TEST_F(Ops, functions_are_called) {
  std::vector<float> x(64), c = {1, -2, 3, 0.5, 0.25};
  for (int i = 0; i < 64; i++)
    x[i] = i / 16.f - 2;
  Device<float> dx(x), dc(c);
  Device<double> dy(64);
  run_call(dy, dx, dc);
  auto y = dy.get();
  for (int t = 0; t < 64; t++) {
    auto horner = [&](float v, int n) {
      float r = 0;
      for (int k = n - 1; k >= 0; k--)
        r = std::fmaf(r, v, c[k]);
      return r;
    };
    int a = t, ch = 3;
    double b = x[t];
    for (int k : {5, 2}) {
      bool odd = a & 1;
      a = odd ? a + k : a - k;
      b = odd ? b * 2 : b / 2;
      ch += odd;
    }
    ASSERT_DOUBLE_EQ(y[t], (double)(horner(x[t], 5) + horner(x[t] * 2, 3) + a) + b + ch) << t;
  }
  EXPECT_EQ(reports(), "");
}

TEST_F(Ops, kernels_print) {
  testing::internal::CaptureStdout();
  run_print(7);
  cudaDeviceSynchronize();
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "thread 3 of print_kernel: 3.50 7696581394432 %\n");
}

TEST_F(Ops, named_barriers_hand_over) {
  Device<int> dy(192);
  run_named(dy);
  auto y = dy.get();
  for (int k = 0; k < 3; k++)
    for (int t = 0; t < 64; t++)
      ASSERT_EQ(y[k * 64 + t], k * 100 + 63 - t);
  EXPECT_EQ(reports(), "");
  std::vector<int> x(96);
  for (int t = 0; t < 96; t++)
    x[t] = t % 10;
  Device<int> dx(x), dz(96);
  run_count(dz, dx);
  int n = std::count_if(x.begin(), x.end(), [](int v) { return v > 5; });
  for (int v : dz.get())
    ASSERT_EQ(v, n * 4 + 2);
}

TEST_F(Ops, atomics_of_all_types) {
  Device<u32> u(std::vector<u32>(7));
  Device<int> s(std::vector<int>(1));
  Device<float> f(std::vector<float>(1));
  Device<double> d(std::vector<double>(1));
  Device<unsigned long long> l(std::vector<unsigned long long>(1));
  run_atomic(u, s, f, d, l);
  u32 xors = 0;
  for (u32 t = 0; t < 256; t++)
    xors ^= t;
  auto v = u.get();
  EXPECT_EQ(v[0], 255u * 128);
  EXPECT_EQ(v[1], 100u);
  EXPECT_EQ(v[2], ~0u);
  EXPECT_EQ(v[3], xors);
  EXPECT_EQ(v[4], 256u % 10);
  EXPECT_NE(v[5], 0u);
  EXPECT_EQ(v[6], 77u);
  EXPECT_EQ(s.get()[0], -40);
  EXPECT_EQ(f.get()[0], 64);
  EXPECT_EQ(d.get()[0], 128);
  EXPECT_EQ(l.get()[0], 256ull << 33);
  EXPECT_EQ(reports(), "");
}

TEST_F(Ops, a_block_may_wait_for_a_later_one) {
  for (int checks : {0, 1}) {
    ig_sim_checks(checks);
    Device<int> flag(std::vector<int>(1)), y(std::vector<int>(1));
    run_spin(flag, y, 300);
    EXPECT_EQ(y.get()[0], 5);
    EXPECT_EQ(reports(), "");
  }
}

}  // namespace
