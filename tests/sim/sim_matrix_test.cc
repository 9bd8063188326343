// The matrix instructions against matrices: fragments are laid out here by the PTX manual's formulas, product by
// product.
#include <cmath>
#include <cstring>
#include <random>

#include "tests/sim/sim_harness.h"
#include "tests/sim/test_kernels.h"

#define MMA(name) extern "C" void run_##name(void *d, const void *a, const void *b, const void *c)
MMA(mma_f16_k16);
MMA(mma_bf16_k16);
MMA(mma_tf32_k8);
MMA(mma_e4m3_k32);
MMA(mma_e5m2_k32);
MMA(mma_s8_k32);
MMA(mma_f16_k8);
MMA(mma_bf16_k8);
MMA(mma_tf32_k4);
MMA(mma_f16_sum);
MMA(mma_f64);

namespace {
// Small whole and half numbers are exact in every format: their bits.
uint32_t minifloat(float x, int exponent_bits, int mantissa_bits) {
  if (x == 0)
    return 0;
  int e = std::ilogb(std::fabs(x)), bias = (1 << (exponent_bits - 1)) - 1;
  uint32_t m = (uint32_t)std::ldexp(std::fabs(x), mantissa_bits - e) - (1u << mantissa_bits);
  return (uint32_t)(x < 0) << (exponent_bits + mantissa_bits) | (uint32_t)(e + bias) << mantissa_bits | m;
}
struct Format {
  int bits, exponent, mantissa;  // exponent 0: an integer
};
constexpr Format F16{16, 5, 10}, BF16{16, 8, 7}, TF32{32, 8, 23}, E4M3{8, 4, 3}, E5M2{8, 5, 2}, INT8{8, 0, 0};
uint32_t encode(float x, Format f) {
  return f.exponent ? minifloat(x, f.exponent, f.mantissa) : (uint32_t)(int)x & 255;
}

struct Shape {
  const char *name;
  void (*run)(void *, const void *, const void *, const void *);
  int K;
  Format a, b;
  bool integers;
};

class Matrix : public SimTest {};

TEST_F(Matrix, products_of_every_type) {
  const Shape shapes[] = {
      {"f16 k16", run_mma_f16_k16, 16, F16, F16, false},     {"bf16 k16", run_mma_bf16_k16, 16, BF16, BF16, false},
      {"tf32 k8", run_mma_tf32_k8, 8, TF32, TF32, false},    {"e4m3 k32", run_mma_e4m3_k32, 32, E4M3, E4M3, false},
      {"e5m2 k32", run_mma_e5m2_k32, 32, E5M2, E4M3, false}, {"s8 k32", run_mma_s8_k32, 32, INT8, INT8, true},
      {"f16 k8", run_mma_f16_k8, 8, F16, F16, false},        {"bf16 k8", run_mma_bf16_k8, 8, BF16, BF16, false},
      {"tf32 k4", run_mma_tf32_k4, 4, TF32, TF32, false},
  };
  for (auto &s : shapes) {
    std::mt19937 r(7);
    std::vector<float> A(16 * s.K), B(s.K * 8), C(16 * 8);
    for (float &x : A)
      x = s.integers ? (int)(r() % 255) - 127 : (int)(r() % 7) - 3;
    for (float &x : B)
      x = s.integers ? r() % 255 : ((int)(r() % 7) - 3) * 0.5f;
    for (float &x : C)
      x = (int)(r() % 1000) - 500;
    const int e = 32 / s.a.bits;  // elements a register
    std::vector<uint32_t> a(128), b(64), c(128);
    for (int l = 0; l < 32; l++) {
      const int g = l / 4, t = l % 4;
      for (int k = 0; k < e; k++) {
        for (int n = 0; n < s.K / (4 * e) * 2; n++)
          a[n * 32 + l] |= encode(A[(g + n % 2 * 8) * s.K + n / 2 * 4 * e + t * e + k], s.a) << (s.a.bits * k % 32);
        for (int n = 0; n < s.K / (4 * e); n++)
          b[n * 32 + l] |= encode(B[(n * 4 * e + t * e + k) * 8 + g], s.b) << (s.b.bits * k % 32);
      }
      for (int n = 0; n < 4; n++) {
        float x = C[(g + n / 2 * 8) * 8 + t * 2 + n % 2];
        int y = (int)x;
        memcpy(&c[n * 32 + l], s.integers ? (void *)&y : (void *)&x, 4);
      }
    }
    Device<uint32_t> da(a), db(b), dc(c), dd(128);
    s.run(dd, da, db, dc);
    auto d = dd.get();
    for (int l = 0; l < 32; l++)
      for (int n = 0; n < 4; n++) {
        int row = l / 4 + n / 2 * 8, column = l % 4 * 2 + n % 2;
        double want = C[row * 8 + column];
        for (int k = 0; k < s.K; k++)
          want += (double)A[row * s.K + k] * B[k * 8 + column];
        float f;
        memcpy(&f, &d[n * 32 + l], 4);
        ASSERT_EQ(s.integers ? (double)(int)d[n * 32 + l] : (double)f, want) << s.name << " " << row << " " << column;
      }
  }
  EXPECT_EQ(reports(), "");
}

TEST_F(Matrix, sums_in_half_precision) {
  std::vector<uint32_t> a(128), b(64), c(64);
  for (int l = 0; l < 32; l++) {
    for (int n = 0; n < 4; n++)
      a[n * 32 + l] = 0x3c003c00;  // ones
    for (int n = 0; n < 2; n++)
      b[n * 32 + l] = minifloat((float)(l / 4 + 1), 5, 10) * 0x10001;  // column g is g + 1
    c[l] = minifloat(2048, 5, 10) * 0x10001;
    c[32 + l] = 0;
  }
  Device<uint32_t> da(a), db(b), dc(c), dd(64);
  run_mma_f16_sum(dd, da, db, dc);
  auto d = dd.get();
  for (int l = 0; l < 32; l++)
    for (int n = 0; n < 2; n++)
      for (int h = 0; h < 2; h++) {
        float x = 16.f * (l % 4 * 2 + h + 1) + (n ? 0 : 2048);
        ASSERT_EQ(d[n * 32 + l] >> 16 * h & 0xffff, minifloat(x, 5, 10)) << l;
      }
}

TEST_F(Matrix, products_in_double_precision) {
  std::vector<double> a(32), b(32), c(64);
  for (int l = 0; l < 32; l++) {
    a[l] = l * 0.37;  // row l / 4, k = l % 4
    b[l] = 3 - l * 0.11;
    c[l] = l;
    c[32 + l] = -l;
  }
  Device<double> da(a), db(b), dc(c), dd(64);
  run_mma_f64(dd, da, db, dc);
  auto d = dd.get();
  for (int l = 0; l < 32; l++)
    for (int n = 0; n < 2; n++) {
      double want = c[n * 32 + l];
      for (int k = 0; k < 4; k++)
        want += a[l / 4 * 4 + k] * b[(l % 4 * 2 + n) * 4 + k];
      ASSERT_NEAR(d[n * 32 + l], want, 1e-12);
    }
}

TEST_F(Matrix, matrices_move_between_shared_memory_and_registers) {
  std::vector<unsigned short> x(256);
  for (int k = 0; k < 256; k++)
    x[k] = k * 3 + 1;
  for (int n : {1, 2, 4})
    for (int load = 0; load < 2; load++)
      for (int store = 0; store < 2; store++) {
        Device<unsigned short> dx(x), dy(256);
        Device<uint32_t> dr(128);
        run_matrices(dy, dr, dx, n, load, store);
        std::vector<unsigned short> y(64 * n);
        std::vector<uint32_t> r(32 * n);
        cudaMemcpy(y.data(), dy, y.size() * 2, cudaMemcpyDeviceToHost);
        cudaMemcpy(r.data(), dr, r.size() * 4, cudaMemcpyDeviceToHost);
        for (int k = 0; k < n; k++)
          for (int l = 0; l < 32; l++)
            for (int h = 0; h < 2; h++) {
              int row = l / 4, column = l % 4 * 2 + h;
              int from = load ? column * 8 + row : row * 8 + column;
              ASSERT_EQ(r[k * 32 + l] >> 16 * h & 0xffff, x[k * 64 + from]);
              int to = store ? column * 8 + row : row * 8 + column;
              ASSERT_EQ(y[k * 64 + to], x[k * 64 + from]);
            }
      }
  std::vector<uint32_t> m(32);
  for (int l = 0; l < 32; l++)
    m[l] = (l * 2) | (l * 2 + 1) << 16;
  Device<uint32_t> dm(m), dt(32);
  run_movmatrix(dt, dm);
  auto t = dt.get();
  for (int l = 0; l < 32; l++)
    for (int h = 0; h < 2; h++)
      ASSERT_EQ(t[l] >> 16 * h & 0xffff, (uint32_t)((l % 4 * 2 + h) * 8 + l / 4));
  EXPECT_EQ(reports(), "");
}

TEST_F(Matrix, asynchronous_copies_of_all_sizes) {
  std::vector<unsigned char> x(64);
  for (int k = 0; k < 64; k++)
    x[k] = k + 1;
  for (int checks : {0, 1})
    for (int some : {0, 3, 8, 15, 16}) {
      ig_sim_checks(checks);
      Device<unsigned char> dx(x), dy(64);
      run_copies(dy, dx, some);
      auto y = dy.get();
      for (int k = 0; k < 64; k++) {
        int want = k >= 4 && k < 8 ? 0 : k < 32 ? x[k] : k < 48 ? (k - 32 < some ? x[k] : 0) : 0;
        ASSERT_EQ((int)y[k], want) << k << " of " << some;
      }
      EXPECT_EQ(reports(), "");
    }
}

TEST_F(Matrix, a_gemm_with_ragged_edges) {
  for (auto [M, N, K] : {std::tuple(64, 64, 64), {100, 70, 40}, {1, 129, 8}}) {
    std::mt19937 r(1);
    std::vector<unsigned short> a(M * K), b(N * K);
    std::vector<float> fa(M * K), fb(N * K);
    auto fill = [&](auto &v, auto &f) {
      for (size_t i = 0; i < v.size(); i++)
        v[i] = minifloat(f[i] = (int)(r() % 15) - 7, 8, 7);
    };
    fill(a, fa);
    fill(b, fb);
    Device<unsigned short> da(a), db(b);
    Device<float> dc(M * N);
    ig_sim_count_reset();
    run_gemm(dc, da, db, M, N, K);
    auto c = dc.get();
    for (int m = 0; m < M; m++)
      for (int n = 0; n < N; n++) {
        float want = 0;
        for (int k = 0; k < K; k++)
          want += fa[m * K + k] * fb[n * K + k];
        ASSERT_EQ(c[m * N + n], want) << m << " " << n << " of " << M << " " << N << " " << K;
      }
    EXPECT_EQ(reports(), "");
    ig_sim_counts n;
    ASSERT_TRUE(ig_sim_count("gemm_kernel", &n));
    EXPECT_EQ(n.mma, (uint64_t)((M + 63) / 64) * ((N + 63) / 64) * ((K + 31) / 32) * 2 * 8 * 4);
    // Rows of 80 bytes: ldmatrix is free of conflicts; the copies write two rows at a time, which share four banks.
    EXPECT_EQ(n.shared_ways - n.shared_requests, (uint64_t)((M + 63) / 64) * ((N + 63) / 64) * ((K + 31) / 32) * 64);
  }
}

}  // namespace
