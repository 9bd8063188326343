// The end of column sums whose parts lie in the workspace. Rule: the order of a sum depends on the number of parts; no
// atomics. A block of 8 warps owns 32 columns, a warp every 8th part; each part is read once; 2 KiB of shared memory,
// 28 registers.
#ifndef IG_KERNELS_CUDA_COLUMNS_CUH
#define IG_KERNELS_CUDA_COLUMNS_CUH

#include "kernels/cuda_common/cuda_kernel.cuh"

#define IG_COLUMNS_WARPS 8

// y[column] = sum over parts of partial[part * columns + column]; columns from `split` on go to `more` (NULL: there are
// none). A block owns 32 columns; a warp adds every 8th part; 2 KiB of shared memory.
static __global__ void __launch_bounds__(IG_WARP *IG_COLUMNS_WARPS)
    ig_columns_kernel(float *y, float *more, const float *partial, int parts, int columns, int split) {
  __shared__ double sums[IG_COLUMNS_WARPS][IG_WARP];
  const int lane = threadIdx.x % IG_WARP, warp = threadIdx.x / IG_WARP, column = blockIdx.x * IG_WARP + lane;
  double sum = 0;
  if (column < columns)
#pragma unroll 4
    for (int part = warp; part < parts; part += IG_COLUMNS_WARPS)
      sum += (double)partial[(int64_t)part * columns + column];
  sums[warp][lane] = sum;
  __syncthreads();
  if (warp || column >= columns)
    return;
  for (int k = 1; k < IG_COLUMNS_WARPS; k++)
    sum += sums[k][lane];
  if (column < split)
    y[column] = (float)sum;
  else
    more[column - split] = (float)sum;
}

static inline ig_status ig_columns_finish(const ig_launch *l, float *y, float *more, const float *partial,
                                          int64_t parts, int64_t columns, int64_t split) {
  ig_columns_kernel<<<ig_blocks(columns, IG_WARP), IG_WARP * IG_COLUMNS_WARPS, 0, ig_stream_of(l)>>>(
      y, more, partial, (int)parts, (int)columns, (int)split);
  IG_CUDA_LAUNCHED();
  return IG_OK;
}
#endif
