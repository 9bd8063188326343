// Kernels of the simulator's own tests: one an instruction (ops_list.h), and small programs.
#include <cooperative_groups.h>
#include <cooperative_groups/reduce.h>
#include <cstdint>
#include <cstdio>

#include "tests/sim/test_kernels.h"

namespace cg = cooperative_groups;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

#define CON_u16    "h"
#define CON_u32    "r"
#define CON_u64    "l"
#define CON_float  "f"
#define CON_double "d"
#define X(name, D, A, B, C, ptx, tolerance, value)                                          \
  static __global__ void name##_kernel(D *y, const A *a, const B *b, const C *c) {          \
    int i = blockIdx.x * blockDim.x + threadIdx.x;                                          \
    D r;                                                                                    \
    asm volatile(ptx : "=" CON_##D(r) : CON_##A(a[i]), CON_##B(b[i]), CON_##C(c[i]));       \
    y[i] = r;                                                                               \
  }                                                                                         \
  extern "C" void run_##name(void *y, const void *a, const void *b, const void *c, int n) { \
    name##_kernel<<<n / 64, 64>>>((D *)y, (const A *)a, (const B *)b, (const C *)c);        \
  }
#include "tests/sim/ops_list.h"
#undef X

// ---- small programs ----
static __global__ void collatz_kernel(int *y, const int *x, int n) {
  int i = threadIdx.x + blockIdx.x * blockDim.x;
  if (i >= n)
    return;
  int v = x[i], c = 0;
  while (v != 1 && c < 500) {
    v = v & 1 ? 3 * v + 1 : v >> 1;
    c++;
  }
  y[i] = c;
}
extern "C" void run_collatz(int *y, const int *x, int n) { collatz_kernel<<<(n + 95) / 96, 96>>>(y, x, n); }

static __global__ void group_reduce_kernel(float *y, const float *x, int n) {
  auto block = cg::this_thread_block();
  auto warp = cg::tiled_partition<32>(block);
  __shared__ float s[32];
  float v = 0;
  for (int i = threadIdx.x; i < n; i += blockDim.x)
    v += x[i];
  v = cg::reduce(warp, v, cg::plus<float>());
  if (warp.thread_rank() == 0)
    s[warp.meta_group_rank()] = v;
  block.sync();
  if (warp.meta_group_rank() == 0) {
    v = warp.thread_rank() < warp.meta_group_size() ? s[warp.thread_rank()] : 0;
    v = cg::reduce(warp, v, cg::plus<float>());
    if (warp.thread_rank() == 0)
      *y = v;
  }
}
extern "C" void run_group_reduce(float *y, const float *x, int n) { group_reduce_kernel<<<1, 192>>>(y, x, n); }

static __global__ void local_kernel(float *y, const float *x, int k) {
  float a[16];
  for (int i = 0; i < 16; i++)
    a[i] = x[threadIdx.x * 16 + i];
  float s = 0;
  for (int i = 0; i < 16; i++)
    s += a[(i * k + threadIdx.x) & 15] * i;
  y[threadIdx.x] = s;
}
extern "C" void run_local(float *y, const float *x, int k) { local_kernel<<<1, 64>>>(y, x, k); }

static __global__ void switch_kernel(int *y, const int *x) {
  int v = x[threadIdx.x], r;
  switch (v) {
    case 0:
      r = 5;
      break;
    case 1:
      r = v * 7 + threadIdx.x;
      break;
    case 2:
      r = __popc(threadIdx.x);
      break;
    case 3:
      r = __clz(threadIdx.x);
      break;
    case 4:
      r = __brev(threadIdx.x);
      break;
    case 5:
      r = -v;
      break;
    case 6:
      r = 99 / (v - 3);
      break;
    default:
      r = v % 5;
  }
  y[threadIdx.x] = r;
}
extern "C" void run_switch(int *y, const int *x) { switch_kernel<<<1, 64>>>(y, x); }

static __global__ void math_kernel(float *y, const float *x) {
  float v = x[threadIdx.x];
  y[threadIdx.x] = sinf(v) + expf(v) + logf(fabsf(v) + 1) + powf(fabsf(v), 1.7f) + erff(v) + tanhf(v) +
                   __fdividef(v, 3.f) + fmodf(v, 0.7f) + rintf(v) + sqrtf(fabsf(v)) + cosf(v * 1000.f);
}
extern "C" void run_math(float *y, const float *x) { math_kernel<<<1, 64>>>(y, x); }

static __global__ void warp_kernel(unsigned *y, const unsigned *x) {
  unsigned v = x[threadIdx.x], lane = threadIdx.x & 31;
  unsigned r = __reduce_add_sync(~0u, v) + __popc(__ballot_sync(~0u, v & 1)) * 3 + __reduce_max_sync(~0u, v) +
               __match_any_sync(~0u, v & 3) + (__any_sync(~0u, v == 7) ? 5 : 0) + (__all_sync(~0u, v < 1000) ? 9 : 0);
  r += __shfl_up_sync(~0u, v, 3) * 5 + __shfl_down_sync(~0u, v, 2, 8) * 7 + __shfl_xor_sync(~0u, v, 9) * 11 +
       __shfl_sync(~0u, v, lane * 5, 16) * 13;
  if (lane < 20)  // a part of a warp
    r += __shfl_xor_sync(0xfffff, v, 1) * 17;
  else
    r += __reduce_min_sync(0xfff00000, v) * 19;
  y[threadIdx.x] = r;
}
extern "C" void run_warp(unsigned *y, const unsigned *x) { warp_kernel<<<1, 64>>>(y, x); }

static __device__ __noinline__ float horner(float x, int n, const float *c) {  // a call that stays one
  float r = 0;
  for (int k = n - 1; k >= 0; k--)
    r = r * x + c[k];
  return r;
}
struct Triple {
  int a;
  double b;
  char c;
};
static __device__ __noinline__ Triple twist(Triple t, int k) {
  if (t.a & 1)
    return {t.a + k, t.b * 2, (char)(t.c + 1)};
  return {t.a - k, t.b / 2, t.c};
}
static __global__ void call_kernel(double *y, const float *x, const float *c) {
  float v = x[threadIdx.x];
  Triple t = twist(twist({(int)threadIdx.x, v, 3}, 5), 2);
  y[threadIdx.x] = horner(v, 5, c) + horner(v * 2, 3, c) + t.a + t.b + t.c;
}
extern "C" void run_call(double *y, const float *x, const float *c) { call_kernel<<<1, 64>>>(y, x, c); }

static __global__ void print_kernel(int k) {
  if (threadIdx.x == 3)
    printf("thread %d of %s: %.2f %lld %%\n", threadIdx.x, "print_kernel", k * 0.5, (long long)k << 40);
}
extern "C" void run_print(int k) { print_kernel<<<1, 32>>>(k); }

static __global__ void named_kernel(int *y) {  // two groups of warps hand over by named barriers
  __shared__ int box[64];
  int t = threadIdx.x & 63;
  for (int k = 0; k < 3; k++)
    if (threadIdx.x < 64) {
      box[t] = k * 100 + t;
      asm volatile("barrier.cta.arrive 1, 128;" ::: "memory");
      asm volatile("bar.sync 2, 128;" ::: "memory");
    } else {
      asm volatile("barrier.cta.sync 1, 128;" ::: "memory");
      y[k * 64 + t] = box[63 - t];
      asm volatile("bar.arrive 2, 128;" ::: "memory");
    }
}
extern "C" void run_named(int *y) { named_kernel<<<1, 128>>>(y); }

static __global__ void count_kernel(int *y, const int *x) {
  y[threadIdx.x] = __syncthreads_count(x[threadIdx.x] > 5) * 4 + (__syncthreads_and(x[threadIdx.x] > -1) ? 2 : 0) +
                   (__syncthreads_or(x[threadIdx.x] > 1000) ? 1 : 0);
}
extern "C" void run_count(int *y, const int *x) { count_kernel<<<1, 96>>>(y, x); }

static __global__ void atomic_kernel(unsigned *u, int *s, float *f, double *d, unsigned long long *l) {
  unsigned t = blockIdx.x * blockDim.x + threadIdx.x;
  atomicAdd(u, t);
  atomicMax(u + 1, t * 7 % 101);
  atomicMin(s, (int)t - 40);
  atomicOr(u + 2, 1u << (t & 31));
  atomicXor(u + 3, t);
  atomicInc(u + 4, 9);
  atomicAdd(f, 0.25f);
  atomicAdd(d, 0.5);
  atomicAdd(l, 1ull << 33);
  atomicCAS(u + 5, 0u, t + 1);
  atomicExch(u + 6, 77u);
}
extern "C" void run_atomic(unsigned *u, int *s, float *f, double *d, unsigned long long *l) {
  atomic_kernel<<<4, 64>>>(u, s, f, d, l);
}

static __global__ void spin_kernel(volatile int *flag, int *y) {  // block 0 waits for the last one
  if (blockIdx.x == 0) {
    while (!*flag) {
    }
    *y = 5;
  } else if (blockIdx.x == gridDim.x - 1) {
    __threadfence();
    *flag = 1;
  }
}
extern "C" void run_spin(int *flag, int *y, int blocks) { spin_kernel<<<blocks, 32>>>(flag, y); }

static __global__ void carried_kernel(int *y, const int *x, int n) {  // values that live around loops and branches
  int a = 1, b = 2, c = 3, last = 0;
  bool seen = false;
  for (int i = 0; i < n; i++) {
    int v = x[i * 32 + threadIdx.x];
    if (v & 1) {
      last = v;
      seen = true;
    }
    for (int j = 0; j < (v & 3); j++) {
      int t = a;
      a = b + c;
      b = c ^ t;
      c = t + j;
    }
    if (seen)
      c += last;
  }
  y[threadIdx.x] = a * 31 + b * 17 + c;
}
extern "C" void run_carried(int *y, const int *x, int n) { carried_kernel<<<1, 32>>>(y, x, n); }
