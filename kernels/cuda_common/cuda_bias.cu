// A bias beside cuBLASLt's products, where its epilogues do not take fp32 beside 16 bits.
//
// copy_kernel: a number a thread; 4 bytes read and 2 written; 10 registers, no shared memory.
// sums_kernel: a block of 8 warps owns a run of rows (at most RUNS of them) and a lane EACH neighbouring columns (8
// where V is a multiple of 8: 128-bit access in 16 bits); a warp takes every 8th row; warps meet in 8 KiB of shared
// memory in order, runs in the workspace (cuda_columns.cuh): no atomics, deterministic. dy is read once; RUNS V fp32
// written and read. At most 40 registers. PREDICTION for one H200, never measured: 80 % of the copy rate from 2048 rows
// on.
#include "kernels/cuda_common/cuda_bias.h"
#include "kernels/cuda_common/cuda_columns.cuh"
#include "kernels/cuda_common/cuda_kernel.cuh"

#define WARPS   8
#define THREADS (WARPS * IG_WARP)
#define RUNS    128  // most runs of rows
#define LEAST   64   // rows of a run

template <class T>
static __global__ void __launch_bounds__(THREADS) copy_kernel(T *y, const float *x, int64_t n) {
  const int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
  if (i < n)
    y[i] = ig_down<T>(x[i]);
}

template <class T, int EACH>
static __global__ void __launch_bounds__(THREADS)
    sums_kernel(float *partial, const T *dy, int64_t rows, int64_t per_run, int columns) {
  __shared__ float shared[WARPS][IG_WARP * EACH];
  const int lane = threadIdx.x % IG_WARP, warp = threadIdx.x / IG_WARP, c = (blockIdx.x * IG_WARP + lane) * EACH;
  const int64_t end = min((blockIdx.y + 1) * per_run, rows);
  float sum[EACH] = {0}, v[EACH];
  if (c < columns)
#pragma unroll 4
    for (int64_t row = blockIdx.y * per_run + warp; row < end; row += WARPS) {
      ig_load<EACH>(v, dy + row * columns + c);
#pragma unroll
      for (int j = 0; j < EACH; j++)
        sum[j] += v[j];
    }
#pragma unroll
  for (int j = 0; j < EACH; j++)
    shared[warp][lane * EACH + j] = sum[j];
  __syncthreads();
  if (warp || c >= columns)
    return;
#pragma unroll
  for (int j = 0; j < EACH; j++) {
    for (int k = 1; k < WARPS; k++)
      sum[j] += shared[k][lane * EACH + j];
  }
  ig_store<EACH>(partial + (int64_t)blockIdx.y * columns + c, sum);
}

static int64_t runs_of(int64_t rows) {
  const int64_t wanted = (rows + LEAST - 1) / LEAST;
  return wanted < RUNS ? wanted : RUNS;
}

extern "C" ig_status ig_cuda_bias_copy(void *y, ig_dtype type, const float *bias, int64_t n, cudaStream_t stream) {
  if (type == IG_BF16)
    copy_kernel<<<ig_blocks(n, THREADS), THREADS, 0, stream>>>((ig_bf16 *)y, bias, n);
  else
    copy_kernel<<<ig_blocks(n, THREADS), THREADS, 0, stream>>>((ig_f16 *)y, bias, n);
  IG_CUDA_LAUNCHED();
  return IG_OK;
}

extern "C" size_t ig_cuda_bias_sums_bytes(int64_t T, int64_t V) { return (size_t)(runs_of(T) * V) * sizeof(float); }

template <class T, int EACH>
static ig_status sums(const ig_launch *l, float *partial, const T *dy, int64_t rows, int64_t columns) {
  const int64_t runs = runs_of(rows);
  if (runs) {
    sums_kernel<T, EACH><<<dim3(ig_blocks(columns, IG_WARP * EACH), (unsigned)runs), THREADS, 0, ig_stream_of(l)>>>(
        partial, dy, rows, (rows + runs - 1) / runs, (int)columns);
    IG_CUDA_LAUNCHED();
  }
  return IG_OK;
}
extern "C" ig_status ig_cuda_bias_sums(const ig_launch *l, float *db, const void *dy, ig_dtype type, int64_t T,
                                       int64_t V, float *partial) {
  ig_status status = IG_OK;
  IG_BY_TYPE(
      type, E,
      status = V % 8 == 0 ? sums<E, 8>(l, partial, (const E *)dy, T, V) : sums<E, 1>(l, partial, (const E *)dy, T, V));
  return status != IG_OK ? status : ig_columns_finish(l, db, NULL, partial, runs_of(T), V, V);
}
