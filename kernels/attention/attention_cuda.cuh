// What attention's kernels on a GPU share: operands, pieces of sequences, draws. Rule: a block owns a piece of one
// sequence under one head; blocks that find none write the zeros of rows that belong to no sequence.
#ifndef IG_KERNELS_ATTENTION_CUDA_CUH
#define IG_KERNELS_ATTENTION_CUDA_CUH

#include "kernels/attention/attention_cuda.h"
#include "kernels/cuda_common/cuda_sequences.cuh"
#include "kernels/dropout/draws_cuda.cuh"

#define THREADS IG_ATTENTION_THREADS

static __device__ __forceinline__ float log2e(void) { return 1.4426950409f; }
// 2^x, 2 ulp; 0 for -inf.
static __device__ __forceinline__ float exp2_of(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// Philox's key and counter of a head and step, for draws of (query row, place of the key in its sequence).
struct head_draws {
  uint64_t mixed;
  uint32_t step;
  // Bit i: the draw of key 4 quad + i keeps it.
  __device__ __forceinline__ uint32_t kept(uint64_t sample, int quad, uint32_t threshold) const {
    uint32_t v[4], bits = 0;
    ig_philox_cuda(mixed, (uint32_t)quad, (uint32_t)sample, (uint32_t)(sample >> 32), step, v);
#pragma unroll
    for (int i = 0; i < 4; i++)
      bits |= v[i] >= threshold ? 1u << i : 0;
    return bits;
  }
};
static __device__ __forceinline__ head_draws draws_of(const ig_attention_args &p, int head) {
  head_draws d = {};
  if (p.dropout) {
    d.mixed = ig_hash_mix_cuda(p.state[IG_STEP_SEED], ig_hash_mix_cuda(p.key, (uint64_t)head));
    d.step = (uint32_t)p.state[IG_STEP_STEP];
  }
  return d;
}
static __device__ __forceinline__ uint64_t sample_of(const ig_attention_args &p, int row) {
  return p.row_keys ? p.row_keys[row] : p.state[IG_STEP_FIRST_SAMPLE] + (uint64_t)row;
}

// Piece of ROWS rows that this block owns, first: row of the sequence's beginning. False: none; what is left of the
// grid then clears rows of no sequence in out[0], out[1] (NULL: there is none) and lse under this head.
template <class T, int ROWS>
static __device__ __forceinline__ bool own_tile(const ig_attention_args &p, T *const (&out)[2], float *lse,
                                                ig_tile_of_rows *tile) {
  __shared__ int scratch[THREADS / IG_WARP], found[3];
  *tile = ig_find_tile<THREADS, ROWS>(p.offsets, p.B, p.T, blockIdx.x, scratch, found);
  if (tile->tile >= 0)
    return true;
  const int nth = -1 - tile->tile, others = gridDim.x - (blockIdx.x - nth), gap = tile->first + p.T - tile->last;
  for (int i = nth; i < gap; i += others) {
    const int row = i < tile->first ? i : tile->last + i - tile->first;
    const int64_t at = ((int64_t)row * p.H + blockIdx.y) * p.d;
    for (int k = 0; k < 2; k++)
      for (int c = threadIdx.x; out[k] && c < p.d; c += THREADS)
        out[k][at + c] = ig_down<T>(0);
    if (lse && threadIdx.x == 0)
      lse[(int64_t)blockIdx.y * p.T + row] = 0;
  }
  return false;
}
#endif
