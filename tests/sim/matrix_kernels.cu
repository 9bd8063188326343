// Kernels with the matrix instructions: each form alone, and a GEMM of the usual shape. Operands come from shared
// memory by ordinary loads where a fragment's layout is what is tested.
#include <cstdint>
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "tests/sim/test_kernels.h"

static __device__ __forceinline__ uint32_t address(const void *p) { return (uint32_t)__cvta_generic_to_shared(p); }

// mma.sync: registers of A, B, C and D as 32-bit words, word r of lane l at [r * 32 + l].
#define MMA_4_2(name, ptx)                                                                                          \
  static __global__ void name##_kernel(uint32_t *d, const uint32_t *a, const uint32_t *b, const uint32_t *c) {      \
    int l = threadIdx.x;                                                                                            \
    uint32_t r[4];                                                                                                  \
    asm volatile(ptx " {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%10,%11,%12,%13};"                                   \
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])                                                   \
                 : "r"(a[l]), "r"(a[32 + l]), "r"(a[64 + l]), "r"(a[96 + l]), "r"(b[l]), "r"(b[32 + l]), "r"(c[l]), \
                   "r"(c[32 + l]), "r"(c[64 + l]), "r"(c[96 + l]));                                                 \
    for (int k = 0; k < 4; k++)                                                                                     \
      d[k * 32 + l] = r[k];                                                                                         \
  }                                                                                                                 \
  extern "C" void run_##name(void *d, const void *a, const void *b, const void *c) {                                \
    name##_kernel<<<1, 32>>>((uint32_t *)d, (const uint32_t *)a, (const uint32_t *)b, (const uint32_t *)c);         \
  }
#define MMA_4_2_F(name, ptx)                                                                                        \
  static __global__ void name##_kernel(float *d, const uint32_t *a, const uint32_t *b, const float *c) {            \
    int l = threadIdx.x;                                                                                            \
    float r[4];                                                                                                     \
    asm volatile(ptx " {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%10,%11,%12,%13};"                                   \
                 : "=f"(r[0]), "=f"(r[1]), "=f"(r[2]), "=f"(r[3])                                                   \
                 : "r"(a[l]), "r"(a[32 + l]), "r"(a[64 + l]), "r"(a[96 + l]), "r"(b[l]), "r"(b[32 + l]), "f"(c[l]), \
                   "f"(c[32 + l]), "f"(c[64 + l]), "f"(c[96 + l]));                                                 \
    for (int k = 0; k < 4; k++)                                                                                     \
      d[k * 32 + l] = r[k];                                                                                         \
  }                                                                                                                 \
  extern "C" void run_##name(void *d, const void *a, const void *b, const void *c) {                                \
    name##_kernel<<<1, 32>>>((float *)d, (const uint32_t *)a, (const uint32_t *)b, (const float *)c);               \
  }
#define MMA_2_1_F(name, ptx)                                                                                         \
  static __global__ void name##_kernel(float *d, const uint32_t *a, const uint32_t *b, const float *c) {             \
    int l = threadIdx.x;                                                                                             \
    float r[4];                                                                                                      \
    asm volatile(ptx " {%0,%1,%2,%3}, {%4,%5}, {%6}, {%7,%8,%9,%10};"                                                \
                 : "=f"(r[0]), "=f"(r[1]), "=f"(r[2]), "=f"(r[3])                                                    \
                 : "r"(a[l]), "r"(a[32 + l]), "r"(b[l]), "f"(c[l]), "f"(c[32 + l]), "f"(c[64 + l]), "f"(c[96 + l])); \
    for (int k = 0; k < 4; k++)                                                                                      \
      d[k * 32 + l] = r[k];                                                                                          \
  }                                                                                                                  \
  extern "C" void run_##name(void *d, const void *a, const void *b, const void *c) {                                 \
    name##_kernel<<<1, 32>>>((float *)d, (const uint32_t *)a, (const uint32_t *)b, (const float *)c);                \
  }
MMA_4_2_F(mma_f16_k16, "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32")
MMA_4_2_F(mma_bf16_k16, "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32")
MMA_4_2_F(mma_tf32_k8, "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32")
MMA_4_2_F(mma_e4m3_k32, "mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32")
MMA_4_2_F(mma_e5m2_k32, "mma.sync.aligned.m16n8k32.row.col.f32.e5m2.e4m3.f32")
MMA_4_2(mma_s8_k32, "mma.sync.aligned.m16n8k32.row.col.s32.s8.u8.s32")
MMA_2_1_F(mma_f16_k8, "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32")
MMA_2_1_F(mma_bf16_k8, "mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32")
MMA_2_1_F(mma_tf32_k4, "mma.sync.aligned.m16n8k4.row.col.f32.tf32.tf32.f32")

static __global__ void mma_f16_sum_kernel(uint32_t *d, const uint32_t *a, const uint32_t *b, const uint32_t *c) {
  int l = threadIdx.x;
  uint32_t r[2];
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16 {%0,%1}, {%2,%3,%4,%5}, {%6,%7}, {%8,%9};"
               : "=r"(r[0]), "=r"(r[1])
               : "r"(a[l]), "r"(a[32 + l]), "r"(a[64 + l]), "r"(a[96 + l]), "r"(b[l]), "r"(b[32 + l]), "r"(c[l]),
                 "r"(c[32 + l]));
  d[l] = r[0];
  d[32 + l] = r[1];
}
extern "C" void run_mma_f16_sum(void *d, const void *a, const void *b, const void *c) {
  mma_f16_sum_kernel<<<1, 32>>>((uint32_t *)d, (const uint32_t *)a, (const uint32_t *)b, (const uint32_t *)c);
}

static __global__ void mma_f64_kernel(double *d, const double *a, const double *b, const double *c) {
  int l = threadIdx.x;
  double r[2];
  asm volatile("mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%0,%1}, {%2}, {%3}, {%4,%5};"
               : "=d"(r[0]), "=d"(r[1])
               : "d"(a[l]), "d"(b[l]), "d"(c[l]), "d"(c[32 + l]));
  d[l] = r[0];
  d[32 + l] = r[1];
}
extern "C" void run_mma_f64(void *d, const void *a, const void *b, const void *c) {
  mma_f64_kernel<<<1, 32>>>((double *)d, (const double *)a, (const double *)b, (const double *)c);
}

// ldmatrix of 8 x 8 matrices k at x + 64 k, as N registers, and back by stmatrix (transposed or not) to y.
template <int N, bool TRANS_LOAD, bool TRANS_STORE>
static __global__ void matrices_kernel(uint16_t *y, uint32_t *registers, const uint16_t *x) {
  __shared__ __align__(16) uint16_t in[256], out[256];
  int l = threadIdx.x;
  for (int k = l; k < 64 * N; k += 32)
    in[k] = x[k];
  __syncthreads();
  uint32_t r[4] = {}, from = address(&in[l * 8 % (64 * N)]), to = address(&out[l * 8 % (64 * N)]);
#define LOAD(T, n, ...)  asm volatile("ldmatrix.sync.aligned.m8n8.x" n T ".shared.b16 " __VA_ARGS__)
#define STORE(T, n, ...) asm volatile("stmatrix.sync.aligned.m8n8.x" n T ".shared.b16 " __VA_ARGS__)
#define FORMS(T, M, A) \
  if (N == 1)          \
    M(T, "1", A##1);   \
  else if (N == 2)     \
    M(T, "2", A##2);   \
  else                 \
    M(T, "4", A##4);
#define LD1 "{%0}, [%1];" : "=r"(r[0]) : "r"(from) : "memory"
#define LD2 "{%0,%1}, [%2];" : "=r"(r[0]), "=r"(r[1]) : "r"(from) : "memory"
#define LD4 "{%0,%1,%2,%3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(from) : "memory"
#define ST1 "[%0], {%1};" ::"r"(to), "r"(r[0]) : "memory"
#define ST2 "[%0], {%1,%2};" ::"r"(to), "r"(r[0]), "r"(r[1]) : "memory"
#define ST4 "[%0], {%1,%2,%3,%4};" ::"r"(to), "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3]) : "memory"
  if (TRANS_LOAD) {
    FORMS(".trans", LOAD, LD)
  } else {
    FORMS("", LOAD, LD)
  }
  if (TRANS_STORE) {
    FORMS(".trans", STORE, ST)
  } else {
    FORMS("", STORE, ST)
  }
  __syncthreads();
  for (int k = l; k < 64 * N; k += 32)
    y[k] = out[k];
  for (int k = 0; k < N; k++)
    registers[k * 32 + l] = r[k];
}
extern "C" void run_matrices(uint16_t *y, uint32_t *registers, const uint16_t *x, int n, int trans_load,
                             int trans_store) {
#define RUN(N)                                                   \
  if (trans_load && trans_store)                                 \
    matrices_kernel<N, true, true><<<1, 32>>>(y, registers, x);  \
  else if (trans_load)                                           \
    matrices_kernel<N, true, false><<<1, 32>>>(y, registers, x); \
  else if (trans_store)                                          \
    matrices_kernel<N, false, true><<<1, 32>>>(y, registers, x); \
  else                                                           \
    matrices_kernel<N, false, false><<<1, 32>>>(y, registers, x);
  if (n == 1) {
    RUN(1)
  } else if (n == 2) {
    RUN(2)
  } else {
    RUN(4)
  }
}

static __global__ void movmatrix_kernel(uint32_t *y, const uint32_t *x) {
  uint32_t r;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(r) : "r"(x[threadIdx.x]));
  y[threadIdx.x] = r;
}
extern "C" void run_movmatrix(uint32_t *y, const uint32_t *x) { movmatrix_kernel<<<1, 32>>>(y, x); }

// cp.async in all sizes; the last one copies `some` bytes of 16 and fills the rest with zeros.
static __global__ void copies_kernel(uint8_t *y, const uint8_t *x, int some) {
  __shared__ __align__(16) uint8_t s[64];
  if (threadIdx.x == 0) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(address(s)), "l"(x) : "memory");
    asm volatile("cp.async.ca.shared.global.L2::128B [%0], [%1], 8;" ::"r"(address(s + 8)), "l"(x + 8) : "memory");
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(address(s + 16)), "l"(x + 16) : "memory");
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address(s + 32)), "l"(x + 32), "r"(some)
                 : "memory");
    asm volatile("cp.async.ca.shared.global [%0], [%1], 16, 0;" ::"r"(address(s + 48)), "l"(x + 48) : "memory");
    asm volatile("cp.async.wait_all;" ::: "memory");
    for (int k = 0; k < 64; k++)
      y[k] = k >= 4 && k < 8 ? 0 : s[k];
  }
}
extern "C" void run_copies(uint8_t *y, const uint8_t *x, int some) { copies_kernel<<<1, 32>>>(y, x, some); }

// C[M][N] = A[M][K] B[N][K]^T, bf16, tiles of 64 x 64 x 32, four warps of 32 x 32, two stages of cp.async. M, N, K
// arbitrary but K a multiple of 8: what lies outside is filled with zeros and not written.
static __global__ void __launch_bounds__(128)
    gemm_kernel(float *C, const __nv_bfloat16 *A, const __nv_bfloat16 *B, int M, int N, int K) {
  constexpr int BM = 64, BK = 32, LD = BK + 8;
  extern __shared__ __align__(16) __nv_bfloat16 tiles[];
  __nv_bfloat16 *As = tiles, *Bs = tiles + 2 * BM * LD;
  const int t = threadIdx.x, w = t / 32, l = t % 32, wm = w / 2 * 32, wn = w % 2 * 32;
  const int m0 = blockIdx.y * BM, n0 = blockIdx.x * BM, steps = (K + BK - 1) / BK;
  auto load = [&](int stage, int k0) {
    for (int c = t; c < BM * BK / 8; c += 128) {
      const int r = c / (BK / 8), q = c % (BK / 8) * 8;
      const bool in = k0 + q < K, a = in && m0 + r < M, b = in && n0 + r < N;
      asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address(&As[(stage * BM + r) * LD + q])),
                   "l"(A + (a ? (size_t)(m0 + r) * K + k0 + q : 0)), "r"(a ? 16 : 0)
                   : "memory");
      asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address(&Bs[(stage * BM + r) * LD + q])),
                   "l"(B + (b ? (size_t)(n0 + r) * K + k0 + q : 0)), "r"(b ? 16 : 0)
                   : "memory");
    }
    asm volatile("cp.async.commit_group;" ::: "memory");
  };
  float sum[2][4][4] = {};
  load(0, 0);
  for (int step = 0; step < steps; step++) {
    const int stage = step & 1;
    if (step + 1 < steps) {
      load(stage ^ 1, (step + 1) * BK);
      asm volatile("cp.async.wait_group 1;" ::: "memory");
    } else {
      asm volatile("cp.async.wait_group 0;" ::: "memory");
    }
    __syncthreads();
    for (int k = 0; k < BK; k += 16) {
      uint32_t a[2][4], b[2][4];
      for (int i = 0; i < 2; i++) {
        uint32_t at = address(&As[(stage * BM + wm + i * 16 + l % 16) * LD + k + l / 16 * 8]);
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(a[i][0]), "=r"(a[i][1]), "=r"(a[i][2]), "=r"(a[i][3])
                     : "r"(at)
                     : "memory");
        at = address(&Bs[(stage * BM + wn + i * 16 + l % 8 + l / 16 * 8) * LD + k + l / 8 % 2 * 8]);
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(b[i][0]), "=r"(b[i][1]), "=r"(b[i][2]), "=r"(b[i][3])
                     : "r"(at)
                     : "memory");
      }
      for (int i = 0; i < 2; i++)
        for (int j = 0; j < 4; j++)
          asm volatile(
              "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
              "{%0,%1,%2,%3};"
              : "+f"(sum[i][j][0]), "+f"(sum[i][j][1]), "+f"(sum[i][j][2]), "+f"(sum[i][j][3])
              : "r"(a[i][0]), "r"(a[i][1]), "r"(a[i][2]), "r"(a[i][3]), "r"(b[j / 2][j % 2 * 2]),
                "r"(b[j / 2][j % 2 * 2 + 1]));
    }
    __syncthreads();
  }
  for (int i = 0; i < 2; i++)
    for (int j = 0; j < 4; j++)
      for (int r = 0; r < 4; r++) {
        const int m = m0 + wm + i * 16 + l / 4 + r / 2 * 8, n = n0 + wn + j * 8 + l % 4 * 2 + r % 2;
        if (m < M && n < N)
          C[(size_t)m * N + n] = sum[i][j][r];
      }
}
extern "C" void run_gemm(float *C, const void *A, const void *B, int M, int N, int K) {
  gemm_kernel<<<dim3((N + 63) / 64, (M + 63) / 64), 128, 4 * 64 * 40 * 2>>>(C, (const __nv_bfloat16 *)A,
                                                                            (const __nv_bfloat16 *)B, M, N, K);
}
