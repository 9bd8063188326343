// Sums of rows by key: a stable counting sort of the keys, sums over pieces of the sorted list, and what joins them.
//
// order_kernel: a block of 8 warps owns a range of at most 256 keys (about 256 blocks) and reads all keys twice, a warp
// a run of them: once to count, once to place; a warp finds its equal keys by match.any. sums_kernel: a block owns 32
// neighbours of the sorted list and up to 128 threads' columns (8 each where D is a multiple of 8: 128-bit loads); a
// key that lies within the piece is done, the others leave a partial sum. finish_kernel: a block owns 8 keys and 256
// columns: zeros for keys of no row, and sums of the partial ones, the 8 warps by turns.
// Bytes: x once, out once (adding: rows with keys alone, twice), T D / 16 partial sums at most; keys 4 T x 512 from the
// second-level cache. Registers 31 to 70, shared memory at most 9 KiB. Deterministic.
#include "kernels/cuda_common/cuda_scatter.h"
#include "kernels/cuda_common/cuda_sequences.cuh"

#define WARPS   8
#define THREADS (WARPS * IG_WARP)
#define RANGE   256  // most keys of a block
#define PIECE   32   // rows of the sorted list that are summed apart

// order: items of keys in [0,V), sorted by key; first[v]: where those of key v begin, first[V]: how many there are.
static __global__ void __launch_bounds__(THREADS)
    order_kernel(const int32_t *keys, int T, int V, int range, int32_t *order, int32_t *first) {
  __shared__ int count[WARPS][RANGE], scratch[WARPS];
  const int lane = threadIdx.x % IG_WARP, warp = threadIdx.x / IG_WARP;
  const int begin = blockIdx.x * range, end = min(begin + range, V);
  const int span = (T + THREADS - 1) / THREADS * IG_WARP, from = min(warp * span, T), to = min(from + span, T);
  int below = 0, all;
  for (int k = 0; k < WARPS; k++)
    count[k][threadIdx.x] = 0;
  __syncthreads();
  for (int i = from; i < to; i += IG_WARP) {
    const int key = i + lane < to ? keys[i + lane] : -1;
    const bool in = key >= begin && key < end;
    below += key >= 0 && key < begin;
    if (!__any_sync(0xffffffffu, in))
      continue;
    const unsigned same = __match_any_sync(0xffffffffu, in ? key - begin : -1);
    if (in && lane == __ffs((int)same) - 1)
      count[warp][key - begin] += __popc(same);
    __syncwarp();
  }
  ig_block_before<THREADS, false>(below, scratch, &all);
  below = all;
  int mine = 0;
  for (int k = 0; k < WARPS; k++)
    mine += count[k][threadIdx.x];
  int at = below + ig_block_before<THREADS, false>(mine, scratch, &all);
  if ((int)threadIdx.x < end - begin)
    first[begin + threadIdx.x] = at;
  if (end == V && threadIdx.x == 0)
    first[V] = below + all;
  for (int k = 0; k < WARPS; k++) {
    const int n = count[k][threadIdx.x];
    count[k][threadIdx.x] = at;
    at += n;
  }
  __syncthreads();
  for (int i = from; i < to; i += IG_WARP) {
    const int key = i + lane < to ? keys[i + lane] : -1;
    const bool in = key >= begin && key < end;
    if (!__any_sync(0xffffffffu, in))
      continue;
    const unsigned same = __match_any_sync(0xffffffffu, in ? key - begin : -1);
    if (in)
      order[count[warp][key - begin] + __popc(same & ((1u << lane) - 1))] = i + lane;
    __syncwarp();
    if (in && lane == __ffs((int)same) - 1)
      count[warp][key - begin] += __popc(same);
    __syncwarp();
  }
}

// A finished sum of row v of out; behind what lies there where it adds.
template <class Y, int E>
static __device__ __forceinline__ void put_sum(Y *at, float (&sum)[E], bool adds) {
  if (adds) {
    float before[E];
    ig_load<E>(before, at);
#pragma unroll
    for (int e = 0; e < E; e++)
      sum[e] = before[e] + sum[e];
  }
  ig_store<E>(at, sum);
}

// partial [pieces][2][D]: of a piece, the sum of its first key where that began before it, and of its last key where
// that began in it and goes on behind it.
template <class T, class Y, int E>
static __global__ void __launch_bounds__(128)
    sums_kernel(Y *out, float *partial, const T *x, const int32_t *keys, const int32_t *order, const int32_t *first,
                int V, int D, bool adds) {
  __shared__ int row[PIECE], target[PIECE];  // target: -1 goes on, 2 v + 2: row v of out, 1 or 3: partial
  const int begin = blockIdx.x * PIECE, end = min(begin + PIECE, first[V]);
  if (begin >= end)
    return;
  if (threadIdx.x < PIECE && begin + (int)threadIdx.x < end) {
    const int i = begin + threadIdx.x, t = order[i], key = keys[t], from = first[key], to = first[key + 1];
    row[threadIdx.x] = t;
    target[threadIdx.x] = i + 1 < end && i + 1 < to ? -1 : from < begin ? 1 : to > end ? 3 : 2 * key + 2;
  }
  __syncthreads();
  const int c = (blockIdx.y * blockDim.x + threadIdx.x) * E;
  if (c >= D)
    return;
  float sum[E] = {0};
  for (int i = 0; i < end - begin; i += 4) {
    float v[4][E];
#pragma unroll
    for (int k = 0; k < 4; k++)
      if (i + k < end - begin)
        ig_load<E>(v[k], x + (int64_t)row[i + k] * D + c);
#pragma unroll
    for (int k = 0; k < 4; k++) {
      if (i + k >= end - begin)
        break;
#pragma unroll
      for (int e = 0; e < E; e++)
        sum[e] += v[k][e];
      const int to = target[i + k];
      if (to < 0)
        continue;
      if (to & 1)
        ig_store<E>(partial + ((int64_t)blockIdx.x * 2 + to / 2) * D + c, sum);
      else
        put_sum<Y, E>(out + (int64_t)(to / 2 - 1) * D + c, sum, adds);
#pragma unroll
      for (int e = 0; e < E; e++)
        sum[e] = 0;
    }
  }
}

template <class Y, int E>
static __global__ void __launch_bounds__(THREADS, 4)
    finish_kernel(Y *out, const float *partial, const int32_t *first, int V, int D, bool adds) {
  __shared__ float sums[WARPS][IG_WARP * E];
  const int lane = threadIdx.x % IG_WARP, warp = threadIdx.x / IG_WARP, v0 = blockIdx.x * WARPS;
  const int c = (blockIdx.y * IG_WARP + lane) * E;
  float sum[E] = {0};
  if (!adds && v0 + warp < V && c < D && first[v0 + warp] == first[v0 + warp + 1])
    ig_store<E>(out + (int64_t)(v0 + warp) * D + c, sum);
  for (int v = v0; v < min(v0 + WARPS, V); v++) {
    const int from = first[v], last = first[v + 1] - 1;
    if (last < from || from / PIECE == last / PIECE)
      continue;
#pragma unroll
    for (int e = 0; e < E; e++)
      sum[e] = 0;
    for (int piece = from / PIECE + warp; c < D && piece <= last / PIECE; piece += WARPS) {
      float more[E];
      ig_load<E>(more, partial + ((int64_t)piece * 2 + (piece == from / PIECE)) * D + c);
#pragma unroll
      for (int e = 0; e < E; e++)
        sum[e] += more[e];
    }
#pragma unroll
    for (int e = 0; e < E; e++)
      sums[warp][lane + IG_WARP * e] = sum[e];
    __syncthreads();
    if (warp == 0 && c < D) {
      for (int k = 1; k < WARPS; k++)
#pragma unroll
        for (int e = 0; e < E; e++)
          sum[e] += sums[k][lane + IG_WARP * e];
      put_sum<Y, E>(out + (int64_t)v * D + c, sum, adds);
    }
    __syncthreads();
  }
}

// ---- launches ----
static int64_t pieces_of(int64_t T) { return (T + PIECE - 1) / PIECE; }
static size_t rounded(int64_t bytes) { return (size_t)(bytes + 255) / 256 * 256; }

bool ig_cuda_scatter_supports(int64_t T, int64_t V, int64_t D, char *why, size_t why_bytes) {
  if (T < 1 << 30 && V < 1 << 30 && D < 1 << 30)
    return true;
  snprintf(why, why_bytes, "%lld rows, %lld keys or %lld columns, expected less than 2^30", (long long)T, (long long)V,
           (long long)D);
  return false;
}

size_t ig_cuda_scatter_bytes(int64_t T, int64_t V, int64_t D) {
  return rounded(T * 4) + rounded((V + 1) * 4) + (size_t)(pieces_of(T) * 2 * D) * sizeof(float);
}

template <class T, class Y, int E>
static ig_status sums(const ig_launch *l, const ig_cuda_scatter *s, const int32_t *order, const int32_t *first,
                      float *partial) {
  const int64_t chunks = (s->D + E - 1) / E, threads = chunks < 128 ? (chunks + 31) / 32 * 32 : 128;
  if (s->T > 0) {
    sums_kernel<T, Y, E>
        <<<dim3((unsigned)pieces_of(s->T), ig_blocks(chunks, threads)), (unsigned)threads, 0, ig_stream_of(l)>>>(
            (Y *)s->out, partial, (const T *)s->x, s->keys, order, first, (int)s->V, (int)s->D, s->adds);
    IG_CUDA_LAUNCHED();
  }
  finish_kernel<Y, E><<<dim3(ig_blocks(s->V, WARPS), ig_blocks(chunks, IG_WARP)), THREADS, 0, ig_stream_of(l)>>>(
      (Y *)s->out, partial, first, (int)s->V, (int)s->D, s->adds);
  IG_CUDA_LAUNCHED();
  return IG_OK;
}

template <class T, class Y>
static ig_status by_columns(const ig_launch *l, const ig_cuda_scatter *s, const int32_t *order, const int32_t *first,
                            float *partial) {
  return s->D % 8 ? sums<T, Y, 1>(l, s, order, first, partial) : sums<T, Y, 8>(l, s, order, first, partial);
}

ig_status ig_cuda_scatter_run(const ig_launch *l, const ig_cuda_scatter *s) {
  char *memory = (char *)l->workspace;
  int32_t *order = (int32_t *)memory, *first = (int32_t *)(memory + rounded(s->T * 4));
  float *partial = (float *)(memory + rounded(s->T * 4) + rounded((s->V + 1) * 4));
  if (s->V == 0 || s->D == 0)
    return IG_OK;
  const int64_t range = s->V > RANGE * RANGE ? RANGE : (s->V + RANGE - 1) / RANGE;
  order_kernel<<<ig_blocks(s->V, range), THREADS, 0, ig_stream_of(l)>>>(s->keys, (int)s->T, (int)s->V, (int)range,
                                                                        order, first);
  IG_CUDA_LAUNCHED();
  ig_status status = IG_OK;
  if (s->out_type == IG_F32)
    IG_BY_TYPE(s->type, T, status = (by_columns<T, float>(l, s, order, first, partial)))
  else
    IG_BY_TYPE(s->type, T, status = (by_columns<T, T>(l, s, order, first, partial)))
  return status;
}
