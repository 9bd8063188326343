// Kernels with planted bugs, each a template argument of one that is right: what the checks must report, and what they
// must not. Rule: BUG 0 is clean.
#include <cassert>
#include <cstdint>

#include "tests/sim/test_kernels.h"

#define LAUNCH(name, grid, block, shared, ...)       \
  switch (bug) {                                     \
    case 0:                                          \
      name<0><<<grid, block, shared>>>(__VA_ARGS__); \
      break;                                         \
    case 1:                                          \
      name<1><<<grid, block, shared>>>(__VA_ARGS__); \
      break;                                         \
    case 2:                                          \
      name<2><<<grid, block, shared>>>(__VA_ARGS__); \
      break;                                         \
    case 3:                                          \
      name<3><<<grid, block, shared>>>(__VA_ARGS__); \
      break;                                         \
    case 4:                                          \
      name<4><<<grid, block, shared>>>(__VA_ARGS__); \
      break;                                         \
    case 5:                                          \
      name<5><<<grid, block, shared>>>(__VA_ARGS__); \
      break;                                         \
    case 6:                                          \
      name<6><<<grid, block, shared>>>(__VA_ARGS__); \
      break;                                         \
  }

// C = A B by 16 x 16 tiles. 1: no barrier after use, 2: A read one row down, 3: tile of B written one row down, 4: one
// element of C left out, 5: barriers in two branches, 6: tile written too late.
template <int BUG>
__global__ void tile_kernel(float *C, const float *A, const float *B, int M, int N, int K) {
  __shared__ float As[16][17], Bs[16][16];
  int tx = threadIdx.x, ty = threadIdx.y, row = blockIdx.y * 16 + ty, col = blockIdx.x * 16 + tx;
  float sum = 0;
  for (int k0 = 0; k0 < K; k0 += 16) {
    As[ty][tx] = A[(size_t)(row + (BUG == 2)) * K + k0 + tx];
    float *b = &Bs[0][0];
    if (BUG != 6)
      b[(ty + (BUG == 3)) * 16 + tx] = B[(size_t)(k0 + ty) * N + col];
    if (BUG == 5) {
      if (ty < 8)
        __syncthreads();
      else
        __syncthreads();
    } else {
      __syncthreads();
    }
    if (BUG == 6)
      b[ty * 16 + tx] = B[(size_t)(k0 + ty) * N + col];
    for (int k = 0; k < 16; k++)
      sum += As[ty][k] * Bs[k][tx];
    if (BUG != 1)
      __syncthreads();
  }
  if (BUG == 4 && row == M - 1 && col == 3)
    return;
  C[(size_t)row * N + col] = sum;
}
extern "C" void run_tile(float *C, const float *A, const float *B, int M, int N, int K, int bug) {
  LAUNCH(tile_kernel, dim3(N / 16, M / 16), dim3(16, 16), 0, C, A, B, M, N, K)
}

// 1: no __syncwarp, 2: a shuffle that not all lanes reach, 3: all blocks write y, 4: the other half of the block reads
// without a barrier, 5: misaligned, 6: reads beyond a local array.
template <int BUG>
__global__ void lanes_kernel(float *y, const float *x) {
  __shared__ float s[64];
  int t = threadIdx.x;
  if (BUG == 2 && t >= 40)
    __shfl_xor_sync(0xffffffffu, 1.f, 1);
  s[t] = x[t];
  if (BUG != 1)
    __syncwarp();
  float v = s[t ^ (BUG == 4 ? 32 : 1)];
  if (BUG == 5) {
    float2 two = reinterpret_cast<const float2 *>(x + 1)[t / 4];
    v += two.x * two.y;
  }
  if (BUG == 6) {
    float a[8];
    for (int k = 0; k < 8; k++)
      a[k] = v * k;
    v += a[(int)x[63] + t + 1000];
  }
  if (BUG == 3 || blockIdx.x == 0)
    y[t] = v;
}
extern "C" void run_lanes(float *y, const float *x, int bug) { LAUNCH(lanes_kernel, 2, 64, 0, y, x) }

// Sum of x: each block writes its part, the last one adds them up. 1: no fence, 2: y is written by every block, 3: the
// parts are read without knowing that they are there, 4: no barrier between the tree's levels.
template <int BUG>
__global__ void last_kernel(float *y, float *part, unsigned *count, const float *x, int n) {
  __shared__ float s[128];
  __shared__ bool last;
  float v = 0;
  for (int i = blockIdx.x * 128 + threadIdx.x; i < n; i += gridDim.x * 128)
    v += x[i];
  s[threadIdx.x] = v;
  __syncthreads();
  for (int o = 64; o; o >>= 1) {
    if (threadIdx.x < o)
      s[threadIdx.x] += s[threadIdx.x + o];
    if (BUG != 4)
      __syncthreads();
  }
  if (threadIdx.x == 0) {
    part[blockIdx.x] = s[0];
    if (BUG != 1)
      __threadfence();
    last = BUG == 3 ? blockIdx.x == gridDim.x - 1 : atomicAdd(count, 1u) == gridDim.x - 1;
  }
  __syncthreads();
  if (last || BUG == 2) {
    float t = 0;
    if (threadIdx.x == 0) {
      for (int b = 0; b < (BUG == 2 ? 1 : gridDim.x); b++)
        t += part[BUG == 2 ? blockIdx.x : b];
      *y = t;
    }
  }
}
extern "C" void run_last(float *y, float *part, unsigned *count, const float *x, int n, int blocks, int bug) {
  LAUNCH(last_kernel, blocks, 128, 0, y, part, count, x, n)
}

// A pipeline of cp.async copies, two stages. 1: waits for one group too few, 2: the stage is overwritten while others
// read it, 3: no barrier after the wait, 4: exits with copies under way, 5: source misaligned.
template <int BUG>
__global__ void pipe_kernel(float *y, const float *x, int tiles) {
  __shared__ __align__(16) float s[2][512];
  int t = threadIdx.x;
  auto load = [&](int stage, int tile) {
    unsigned to = (unsigned)__cvta_generic_to_shared(&s[stage][t * 4]);
    const float *from = x + tile * 512 + t * 4 + (BUG == 5);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from) : "memory");
    asm volatile("cp.async.commit_group;" ::: "memory");
  };
  float sum = 0;
  load(0, 0);
  for (int k = 0; k < tiles; k++) {
    if (k + 1 < tiles || BUG == 4) {
      load((k + 1) & 1, k + 1 < tiles ? k + 1 : 0);
      if (BUG == 1)
        asm volatile("cp.async.wait_group 2;" ::: "memory");
      else
        asm volatile("cp.async.wait_group 1;" ::: "memory");
    } else {
      asm volatile("cp.async.wait_group 0;" ::: "memory");
    }
    if (BUG != 3)
      __syncthreads();
    sum += s[k & 1][(t * 7 + 5) & 511];
    if (BUG != 2)
      __syncthreads();
  }
  y[t] = sum;
}
extern "C" void run_pipe(float *y, const float *x, int tiles, int bug) { LAUNCH(pipe_kernel, 1, 128, 0, y, x, tiles) }

// A histogram in shared memory. 1: the atomic is an addition, 2: the bins are not cleared, 3: cleared without a
// barrier, 4: global bins added without atomics, 5: one bin too many.
template <int BUG>
__global__ void bins_kernel(unsigned *h, const unsigned *x, int n) {
  __shared__ unsigned s[32];
  if (BUG != 2 && threadIdx.x < 32)
    s[threadIdx.x] = 0;
  if (BUG != 3)
    __syncthreads();
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
    if (BUG == 1)
      s[x[i] & 31]++;
    else
      atomicAdd(&s[(x[i] & 31) + (BUG == 5)], 1u);
  __syncthreads();
  if (threadIdx.x < 32) {
    if (BUG == 4)
      h[threadIdx.x] += s[threadIdx.x];
    else
      atomicAdd(&h[threadIdx.x], s[threadIdx.x]);
  }
}
extern "C" void run_bins(unsigned *h, const unsigned *x, int n, int bug) { LAUNCH(bins_kernel, 4, 96, 0, h, x, n) }

// Two blocks write the halves of words: no race. 1: they overlap.
template <int BUG>
__global__ void halves_kernel(uint16_t *y, int each) {
  for (int i = threadIdx.x; i < each + (BUG == 1); i += blockDim.x)
    y[blockIdx.x * each + i] = i;
}
extern "C" void run_halves(uint16_t *y, int each, int bug) { LAUNCH(halves_kernel, 4, 64, 0, y, each) }

// Producers and consumers of a block with named barriers. 1: the consumers do not wait, 2: the producers do not wait.
template <int BUG>
__global__ void hand_kernel(int *y) {
  __shared__ int box[64];
  int t = threadIdx.x & 63;
  for (int k = 0; k < 4; k++)
    if (threadIdx.x < 64) {
      box[t] = k + t;
      asm volatile("bar.arrive 1, 128;" ::: "memory");
      if (BUG != 2)
        asm volatile("bar.sync 2, 128;" ::: "memory");
    } else {
      if (BUG != 1)
        asm volatile("bar.sync 1, 128;" ::: "memory");
      y[k * 64 + t] = box[63 - t];
      asm volatile("bar.arrive 2, 128;" ::: "memory");
    }
}
extern "C" void run_hand(int *y, int bug) { LAUNCH(hand_kernel, 1, 128, 0, y) }

// A ring of two stages: one thread copies tiles by cp.async.bulk, all wait for their arrival at an mbarrier and then
// say that the stage is free at another. 1: nobody waits for the tile, 2: nobody waits for the stage to be free, 3: the
// barrier is used before it is made, 4: too few bytes are expected.
template <int BUG>
__global__ void ring_kernel(float *y, const float *x, int tiles) {
  __shared__ __align__(128) float s[2][256];
  __shared__ uint64_t full[2], empty[2];
  auto at = [](const void *p) { return (unsigned)__cvta_generic_to_shared(p); };
  auto wait = [&](uint64_t *bar, int parity) {
    asm volatile(
        "{.reg .pred p; again: mbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1; @!p bra again;}" ::"r"(at(bar)),
        "r"(parity)
        : "memory");
  };
  if (threadIdx.x == 0 && BUG != 3)
    for (int k = 0; k < 2; k++) {
      asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(at(&full[k])) : "memory");
      asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(at(&empty[k])), "r"(blockDim.x) : "memory");
    }
  __syncthreads();
  float sum = 0;
  for (int k = 0; k < tiles; k++) {
    const int stage = k & 1, round = k / 2;
    if (threadIdx.x == 0) {
      if (round > 0 && BUG != 2)
        wait(&empty[stage], (round - 1) & 1);
      asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(at(&full[stage])),
                   "r"(BUG == 4 ? 512 : 1024)
                   : "memory");
      asm volatile(
          "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(at(s[stage])),
          "l"(x + k * 256), "r"(1024), "r"(at(&full[stage]))
          : "memory");
    }
    __syncwarp();
    if (BUG != 1)
      wait(&full[stage], round & 1);
    sum += s[stage][(threadIdx.x * 3 + k) & 255];
    asm volatile("{.reg .b64 t; mbarrier.arrive.shared::cta.b64 t, [%0];}" ::"r"(at(&empty[stage])) : "memory");
  }
  y[threadIdx.x] = sum;
}
extern "C" void run_ring(float *y, const float *x, int tiles, int bug) { LAUNCH(ring_kernel, 1, 96, 0, y, x, tiles) }

// Blocks hand on a sum in a chain: block b waits for the flag of b - 1, the last one reads what all have written. In a
// block the second warp waits for the first by a flag in shared memory. 1: no fence before the global flag, 2: none
// before the shared one, 3: the chain does not wait.
template <int BUG>
__global__ void chain_kernel(int *y, int *parts, volatile int *flags) {
  __shared__ int value;
  __shared__ volatile int ready;
  const int b = blockIdx.x;
  if (threadIdx.x == 0)
    ready = 0;
  __syncthreads();
  if (threadIdx.x == 0) {
    if (BUG != 3 && b > 0)
      while (!flags[b - 1]) {
      }
    value = b * b;
    if (BUG != 2)
      __threadfence_block();
    ready = 1;
  }
  if (threadIdx.x == 32) {
    while (!ready) {
    }
    parts[b] = value;
    if (b + 1 == gridDim.x) {
      int sum = 0;
      for (int k = 0; k <= b; k++)
        sum += parts[k];
      *y = sum;
    }
    if (BUG != 1)
      __threadfence();
    flags[b] = 1;
  }
}
extern "C" void run_chain(int *y, int *parts, int *flags, int blocks, int bug) {
  LAUNCH(chain_kernel, blocks, 64, 0, y, parts, flags)
}

// 0: nothing, 1: trap, 2: a failed assertion, 3: a store to a wild address, 4: an endless loop, 5: threads that exit
// before a barrier others wait at (allowed: the barrier counts the living), 6: a store to shared memory out of range.
template <int BUG>
__global__ void fault_kernel(int *y, volatile int *flag) {
  extern __shared__ int s[];
  if (BUG == 1 && threadIdx.x == 5)
    __trap();
  if (BUG == 2)
    assert(threadIdx.x < 7);
  if (BUG == 3)
    *(int *)(threadIdx.x * 4096 + 64) = 1;
  if (BUG == 4)
    while (!*flag) {
    }
  if (BUG == 5 && threadIdx.x >= 32)
    return;
  if (BUG == 6)
    s[threadIdx.x + 40] = 1;
  __syncthreads();
  if (threadIdx.x < 32)
    y[threadIdx.x] = 1;
}
extern "C" void run_fault(int *y, int *flag, int bug) { LAUNCH(fault_kernel, 1, 64, 64 * 4, y, flag) }

// For tests of streams: y[i] = x[i] + k.
static __global__ void add_kernel(int *y, const int *x, int n, int k) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n)
    y[i] = x[i] + k;
}
extern "C" void run_add(int *y, const int *x, int n, int k, void *stream) {
  add_kernel<<<(n + 127) / 128, 128, 0, (cudaStream_t)stream>>>(y, x, n, k);
}
