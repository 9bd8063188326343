// Offsets of packed sequences on a GPU, made safe as kernels/optim_util/sequences.h does: with offsets cut to [0,T],
// row `first` of sequence b is the largest of offsets 0..b, its end that of offsets 0..b+1. So sequences lie end to end
// and rows of none are before the first and behind the last. Rule: every thread of the block calls.
#ifndef IG_KERNELS_CUDA_SEQUENCES_CUH
#define IG_KERNELS_CUDA_SEQUENCES_CUH

#include "kernels/cuda_common/cuda_kernel.cuh"

static __device__ __forceinline__ int ig_offset_cut(int offset, int T) { return min(max(offset, 0), T); }

// Largest (MAX) or sum of x over the threads before this one, and in *all over the block's. scratch: a number a warp,
// free again after the call. Numbers are not negative.
template <int THREADS, bool MAX>
static __device__ __forceinline__ int ig_block_before(int x, int *scratch, int *all) {
  const int lane = threadIdx.x % IG_WARP, warp = threadIdx.x / IG_WARP;
  int upto = x, before = 0;
#pragma unroll
  for (int offset = 1; offset < IG_WARP; offset *= 2) {
    const int other = __shfl_up_sync(0xffffffffu, upto, offset);
    if (lane >= offset)
      upto = MAX ? max(upto, other) : upto + other;
  }
  const int left = __shfl_up_sync(0xffffffffu, upto, 1);
  if (lane == IG_WARP - 1)
    scratch[warp] = upto;
  __syncthreads();
  *all = 0;
#pragma unroll
  for (int k = 0; k < THREADS / IG_WARP; k++) {
    const int other = scratch[k];
    if (k < warp)
      before = MAX ? max(before, other) : before + other;
    *all = MAX ? max(*all, other) : *all + other;
  }
  __syncthreads();
  return lane == 0 ? before : MAX ? max(before, left) : before + left;
}

// Row where sequence b begins; b = B: where the last one ends.
template <int THREADS>
static __device__ __forceinline__ int ig_sequence_first(const int32_t *offsets, int b, int T, int *scratch) {
  int most = 0, all;
  for (int i = threadIdx.x; i <= b; i += THREADS)
    most = max(most, ig_offset_cut(offsets[i], T));
  ig_block_before<THREADS, true>(most, scratch, &all);
  return all;
}

// What a block of a grid over pieces of ROWS rows of sequences owns: piece `tile` of the sequence first..last-1. Pieces
// are at most T / ROWS + B; `index` beyond them: tile = -1 - (index - pieces), and first and last are where the first
// sequence begins and the last one ends. found: shared memory of 3 numbers.
typedef struct ig_tile_of_rows {
  int first, last, tile;
} ig_tile_of_rows;
template <int THREADS, int ROWS>
static __device__ __forceinline__ ig_tile_of_rows ig_find_tile(const int32_t *offsets, int B, int T, int index,
                                                               int *scratch, int *found) {
  const int each = (B + THREADS) / THREADS, begin = min((int)threadIdx.x * each, B), end = min(begin + each, B);
  int most = 0, last, pieces = 0, all;
  // Offsets begin + 1 .. end end this thread's sequences; offset 0 begins the first one's.
  const int zero = ig_offset_cut(offsets[0], T);
  for (int i = begin; i < end; i++)
    most = max(most, ig_offset_cut(offsets[i + 1], T));
  const int start = max(zero, ig_block_before<THREADS, true>(most, scratch, &last));
  for (int i = begin, from = start; i < end; i++) {
    const int to = max(from, ig_offset_cut(offsets[i + 1], T));
    pieces += (to - from + ROWS - 1) / ROWS;
    from = to;
  }
  int before = ig_block_before<THREADS, false>(pieces, scratch, &all);
  if (index >= before && index < before + pieces)
    for (int i = begin, from = start; i < end; i++) {
      const int to = max(from, ig_offset_cut(offsets[i + 1], T)), n = (to - from + ROWS - 1) / ROWS;
      if (index < before + n) {
        found[0] = from;
        found[1] = to;
        found[2] = index - before;
        break;
      }
      before += n;
      from = to;
    }
  __syncthreads();
  if (index >= all)
    return {zero, max(zero, last), -1 - (index - all)};
  return {found[0], found[1], found[2]};
}
#endif
