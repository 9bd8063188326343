// What cuDNN's attention needs beside its product (attention_cudnn.c): offsets of packed sequences as it counts them,
// and its log-sums in the row's order. Rule: offsets are made safe as cuda_sequences.cuh does.
//
// offsets_kernel: one block of 256 threads; a thread owns (B + 1) / 256 neighbouring offsets. Bytes: 4 (B + 1) read,
// 20 (B + 1) written. stats_kernel: a block of 32 x 8 threads owns 32 rows of 32 heads, turned in 4.1 KiB of shared
// memory, and clears o where a row is of no sequence. Bytes: 8 T H, and 2 H d for each such row. 32 and 38 registers.
// Deterministic. PREDICTION for one H200, never measured: 2 to 4 microseconds each, most of it the launch.
#include "kernels/attention/attention_packed.h"
#include "kernels/cuda_common/cuda_sequences.cuh"

#define THREADS 256
#define TILE    32

static __global__ void __launch_bounds__(THREADS) offsets_kernel(const int32_t *offsets, ig_attention_packed p) {
  __shared__ int scratch[THREADS / IG_WARP];
  const int each = (p.B + THREADS) / THREADS, begin = min((int)threadIdx.x * each, p.B + 1),
            end = min(begin + each, p.B + 1);
  auto at = [&](int i) { return offsets ? ig_offset_cut(offsets[i], p.T) : (int)((int64_t)p.T * i / p.B); };
  int most = 0, all;
  for (int i = begin; i < end; i++)
    most = max(most, at(i));
  int from = ig_block_before<THREADS, true>(most, scratch, &all);
  for (int i = begin; i < end; i++) {
    const int to = max(from, at(i));
    p.rows[i] = (int64_t)to * p.H * p.d;
    p.stats[i] = (int64_t)to * p.H;
    if (i > 0)
      p.lengths[i - 1] = to - from;
    from = to;
  }
}

static __global__ void __launch_bounds__(THREADS)
    stats_kernel(float *lse, uint4 *o, const float *stats, ig_attention_packed p) {
  __shared__ float tile[TILE][TILE + 1];
  const int t0 = blockIdx.x * TILE, h0 = blockIdx.y * TILE, x = threadIdx.x % TILE;
  const int first = (int)(p.stats[0] / p.H), last = (int)(p.stats[p.B] / p.H), chunks = p.H * p.d / 8;
  for (int y = threadIdx.x / TILE; y < TILE; y += THREADS / TILE) {
    const int t = t0 + y;
    const bool in = t >= first && t < last;
    tile[y][x] = in && h0 + x < p.H ? stats[(int64_t)t * p.H + h0 + x] : 0;
    for (int c = x; blockIdx.y == 0 && !in && t < p.T && c < chunks; c += TILE)
      o[(int64_t)t * chunks + c] = make_uint4(0, 0, 0, 0);
  }
  __syncthreads();
  for (int y = threadIdx.x / TILE; y < TILE; y += THREADS / TILE)
    if (h0 + y < p.H && t0 + x < p.T)
      lse[(int64_t)(h0 + y) * p.T + t0 + x] = tile[x][y];
}

extern "C" ig_status ig_attention_offsets(const ig_attention_packed *p, const int32_t *offsets, cudaStream_t stream) {
  offsets_kernel<<<1, THREADS, 0, stream>>>(offsets, *p);
  IG_CUDA_LAUNCHED();
  return IG_OK;
}

extern "C" ig_status ig_attention_stats(const ig_attention_packed *p, float *lse, void *o, const float *stats,
                                        cudaStream_t stream) {
  const dim3 grid(ig_blocks(p->T, TILE), ig_blocks(p->H, TILE));
  stats_kernel<<<grid, THREADS, 0, stream>>>(lse, (uint4 *)o, stats, *p);
  IG_CUDA_LAUNCHED();
  return IG_OK;
}
