// Attention by plain multiply-adds: fp32 whose products may not be rounded, heads of odd sizes, and of up to 256. See
// attention_cuda.cu for what a block, a warp and a thread own.
//
// A tile is 32 rows of fp32, PARTS times 32 columns and 4 more, so that lanes that read 16 bytes of a row each touch
// all banks once. A warp owns 8 of the block's own rows; a lane one of the other side's for scores, and every 32nd
// column for sums: the weights of 8 x 32 pairs go from the one to the other through shared memory.
#ifndef IG_KERNELS_ATTENTION_FMA_CUH
#define IG_KERNELS_ATTENTION_FMA_CUH

#include "kernels/attention/attention_cuda.cuh"

enum { FMA_ROWS = 32, FMA_OWN = 8 };  // rows of a tile, and of a warp
#define FMA_PITCH(parts)        ((parts)*32 + 4)
#define FMA_SHARED(parts, pass) /* bytes */ \
  (4 * (FMA_ROWS * FMA_PITCH(parts) * ((pass) == IG_ATTENTION_FORWARD ? 3 : 4) + FMA_ROWS * 32))

// Rows of x (of `stride` elements) into a tile, zeros behind row n and column d.
template <int PARTS, class T>
static __device__ __forceinline__ void fma_load(float *tile, const T *x, int64_t stride, int n, int d) {
  for (int i = threadIdx.x; i < FMA_ROWS * PARTS * 32; i += THREADS) {
    const int row = i / (PARTS * 32), c = i % (PARTS * 32);
    tile[row * FMA_PITCH(PARTS) + c] = row < n && c < d ? ig_up(x[row * stride + c]) : 0;
  }
}

// s[r] = own row r x the lane's row of the other tile.
template <int PARTS>
static __device__ __forceinline__ void fma_scores(float (&s)[FMA_OWN], const float *own, const float *other) {
  const float *mine = other + threadIdx.x % IG_WARP * FMA_PITCH(PARTS);
#pragma unroll
  for (int r = 0; r < FMA_OWN; r++)
    s[r] = 0;
#pragma unroll 2
  for (int c = 0; c < PARTS * 32; c += 4) {
    const float4 b = *(const float4 *)(mine + c);
#pragma unroll
    for (int r = 0; r < FMA_OWN; r++) {
      const float4 a = *(const float4 *)(own + r * FMA_PITCH(PARTS) + c);
      s[r] += a.x * b.x;
      s[r] += a.y * b.y;
      s[r] += a.z * b.z;
      s[r] += a.w * b.w;
    }
  }
}

// sum[r][k] += the warp's weights (lane j: pair of row r and other row j) x column 32 k + lane of the other tile.
template <int PARTS>
static __device__ __forceinline__ void fma_weighted(float (&sum)[FMA_OWN][PARTS], const float (&p)[FMA_OWN],
                                                    float *weights, const float *other) {
  const int lane = threadIdx.x % IG_WARP;
  __syncwarp();
#pragma unroll
  for (int r = 0; r < FMA_OWN; r++)
    weights[r * 32 + lane] = p[r];
  __syncwarp();
#pragma unroll 1
  for (int j = 0; j < 32; j += 4) {
    float4 w[FMA_OWN];
#pragma unroll
    for (int r = 0; r < FMA_OWN; r++)
      w[r] = *(const float4 *)(weights + r * 32 + j);
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
      for (int k = 0; k < PARTS; k++) {
        const float v = other[(j + i) * FMA_PITCH(PARTS) + k * 32 + lane];
#pragma unroll
        for (int r = 0; r < FMA_OWN; r++)
          sum[r][k] += (&w[r].x)[i] * v;
      }
  }
}

template <int PARTS, class T>
static __device__ __forceinline__ void fma_store(T *x, int64_t stride, int n, int d, const float (&sum)[FMA_OWN][PARTS],
                                                 const float (&factor)[FMA_OWN]) {
#pragma unroll
  for (int r = 0; r < FMA_OWN; r++)
#pragma unroll
    for (int k = 0; k < PARTS; k++) {
      const int c = k * 32 + threadIdx.x % IG_WARP;
      if (r < n && c < d)
        x[r * stride + c] = ig_down<T>(sum[r][k] * factor[r]);
    }
}

template <class T, int PARTS>
static __global__ void __launch_bounds__(THREADS) fma_forward_kernel(const ig_attention_args p) {
  constexpr int TILE = FMA_ROWS * FMA_PITCH(PARTS);
  extern __shared__ __align__(16) float floats[];
  ig_tile_of_rows own;
  if (!own_tile<T, FMA_ROWS>(p, {(T *)p.out, (T *)NULL}, p.lse, &own))
    return;
  const int lane = threadIdx.x % IG_WARP, warp = threadIdx.x / IG_WARP, row = warp * FMA_OWN;
  const int length = own.last - own.first, q0 = own.tile * FMA_ROWS, left = length - q0;
  const int keys = p.causal ? min(length, q0 + FMA_ROWS) : length;
  const int64_t stride = (int64_t)p.H * p.d, base = own.first * stride + (int64_t)blockIdx.y * p.d;
  float *const q = floats, *const k = q + TILE, *const v = k + TILE, *const weights = v + TILE + row * 32;
  const head_draws draws = draws_of(p, blockIdx.y);
  fma_load<PARTS>(q, (const T *)p.q + base + q0 * stride, stride, left, p.d);
  float sum[FMA_OWN][PARTS] = {}, most[FMA_OWN], total[FMA_OWN] = {};
#pragma unroll
  for (int r = 0; r < FMA_OWN; r++)
    most[r] = -INFINITY;
  for (int at = 0; at < keys; at += FMA_ROWS) {
    __syncthreads();
    fma_load<PARTS>(k, (const T *)p.k + base + at * stride, stride, length - at, p.d);
    fma_load<PARTS>(v, (const T *)p.v + base + at * stride, stride, length - at, p.d);
    __syncthreads();
    float s[FMA_OWN];
    fma_scores<PARTS>(s, q + row * FMA_PITCH(PARTS), k);
#pragma unroll
    for (int r = 0; r < FMA_OWN; r++) {
      const int query = q0 + row + r, key = at + lane;
      s[r] = key < length && (!p.causal || key <= query) ? s[r] * p.scale : -INFINITY;
      const float top = fmaxf(most[r], ig_warp_max(s[r])), shrink = expf(most[r] - top);
      most[r] = top;
      s[r] = expf(s[r] - top);
      total[r] = total[r] * shrink + s[r];
#pragma unroll
      for (int i = 0; i < PARTS; i++)
        sum[r][i] *= shrink;
      if (p.dropout && query < length &&
          !(draws.kept(sample_of(p, own.first + query), key / 4, p.threshold) >> key % 4 & 1))
        s[r] = 0;
    }
    fma_weighted<PARTS>(sum, s, weights, v);
  }
#pragma unroll
  for (int r = 0; r < FMA_OWN; r++) {
    total[r] = ig_warp_sum(total[r]);
    if (lane == 0 && row + r < left)
      p.lse[(int64_t)blockIdx.y * p.T + own.first + q0 + row + r] = most[r] + logf(total[r]);
    total[r] = p.keep / total[r];
  }
  fma_store<PARTS>((T *)p.out + base + (q0 + row) * stride, stride, left - row, p.d, sum, total);
}

// As backward_kernel of attention_mma.cuh.
template <class T, int PARTS, bool KEYS>
static __global__ void __launch_bounds__(THREADS) fma_backward_kernel(const ig_attention_args p) {
  constexpr int TILE = FMA_ROWS * FMA_PITCH(PARTS);
  extern __shared__ __align__(16) float floats[];
  ig_tile_of_rows own;
  if (!own_tile<T, FMA_ROWS>(p, {(T *)p.out, (T *)(KEYS ? p.more_out : NULL)}, NULL, &own))
    return;
  const int lane = threadIdx.x % IG_WARP, warp = threadIdx.x / IG_WARP, row = warp * FMA_OWN;
  const int length = own.last - own.first, r0 = own.tile * FMA_ROWS, left = length - r0;
  const int begin = KEYS && p.causal ? r0 : 0, end = !KEYS && p.causal ? min(length, r0 + FMA_ROWS) : length;
  const int64_t stride = (int64_t)p.H * p.d, base = own.first * stride + (int64_t)blockIdx.y * p.d;
  const int64_t stats = (int64_t)blockIdx.y * p.T + own.first;
  float *const mine = floats, *const mine2 = mine + TILE, *const other = mine2 + TILE, *const other2 = other + TILE,
               *const weights = other2 + TILE + row * 32;
  const head_draws draws = draws_of(p, blockIdx.y);
  const T *const x = (const T *)(KEYS ? p.k : p.q) + base, *const x2 = (const T *)(KEYS ? p.v : p.d_o) + base,
                 *const y = (const T *)(KEYS ? p.q : p.k) + base, *const y2 = (const T *)(KEYS ? p.d_o : p.v) + base;
  fma_load<PARTS>(mine, x + r0 * stride, stride, left, p.d);
  fma_load<PARTS>(mine2, x2 + r0 * stride, stride, left, p.d);
  __syncthreads();
  float log[FMA_OWN] = {}, delta[FMA_OWN] = {};
#pragma unroll
  for (int r = 0; r < FMA_OWN; r++) {
    if (KEYS || row + r >= left)
      continue;
    float d = 0;
    for (int c = lane; c < p.d; c += IG_WARP)
      d += mine2[(row + r) * FMA_PITCH(PARTS) + c] * ig_up(((const T *)p.o)[base + (r0 + row + r) * stride + c]);
    delta[r] = ig_warp_sum(d) - (p.dlse ? p.dlse[stats + r0 + row + r] : 0);
    log[r] = p.lse_in[stats + r0 + row + r];
    if (lane == 0)
      p.delta[stats + r0 + row + r] = delta[r];
  }
  float sum[FMA_OWN][PARTS] = {}, sum2[KEYS ? FMA_OWN : 1][KEYS ? PARTS : 1] = {};
  for (int at = begin; at < end; at += FMA_ROWS) {
    __syncthreads();
    fma_load<PARTS>(other, y + at * stride, stride, length - at, p.d);
    fma_load<PARTS>(other2, y2 + at * stride, stride, length - at, p.d);
    __syncthreads();
    const int theirs = at + lane;
    uint64_t sample = 0;
    float their_log = 0, their_delta = 0;
    uint32_t bits = 0xff;
    if (KEYS && theirs < length) {
      their_log = p.lse_in[stats + theirs];
      their_delta = p.delta[stats + theirs];
      if (p.dropout) {
        sample = sample_of(p, own.first + theirs);
        bits = draws.kept(sample, (r0 + row) / 4, p.threshold) | draws.kept(sample, (r0 + row) / 4 + 1, p.threshold)
                                                                     << 4;
      }
    }
    float s[FMA_OWN], ds[FMA_OWN];
    fma_scores<PARTS>(s, mine + row * FMA_PITCH(PARTS), other);
    fma_scores<PARTS>(ds, mine2 + row * FMA_PITCH(PARTS), other2);
#pragma unroll
    for (int r = 0; r < FMA_OWN; r++) {
      const int own_row = r0 + row + r, query = KEYS ? theirs : own_row, key = KEYS ? own_row : theirs;
      const bool seen = query < length && key < length && (!p.causal || key <= query);
      const float all = seen ? expf(s[r] * p.scale - (KEYS ? their_log : log[r])) : 0;
      bool kept = bits >> r & 1;
      if (!KEYS && p.dropout && seen)
        kept = draws.kept(sample_of(p, own.first + query), key / 4, p.threshold) >> key % 4 & 1;
      const float keep = kept ? p.keep : 0;
      ds[r] = all * (keep * ds[r] - (KEYS ? their_delta : delta[r]));
      s[r] = all * keep;
    }
    fma_weighted<PARTS>(sum, ds, weights, other);
    if constexpr (KEYS)
      fma_weighted<PARTS>(sum2, s, weights, other2);
  }
  float factor[FMA_OWN];
#pragma unroll
  for (int r = 0; r < FMA_OWN; r++)
    factor[r] = p.scale;
  fma_store<PARTS>((T *)p.out + base + (r0 + row) * stride, stride, left - row, p.d, sum, factor);
  if constexpr (KEYS) {
#pragma unroll
    for (int r = 0; r < FMA_OWN; r++)
      factor[r] = 1;
    fma_store<PARTS>((T *)p.more_out + base + (r0 + row) * stride, stride, left - row, p.d, sum2, factor);
  }
}

template <class T, int PARTS>
static ig_status fma_parts(const ig_attention_launch *l, int ready) {
  void (*const kernel)(const ig_attention_args) = l->pass == IG_ATTENTION_FORWARD ? fma_forward_kernel<T, PARTS>
                                                  : l->pass == IG_ATTENTION_QUERIES
                                                      ? fma_backward_kernel<T, PARTS, false>
                                                      : fma_backward_kernel<T, PARTS, true>;
  const size_t shared = FMA_SHARED(PARTS, l->pass);
  if (ready) {
    IG_CUDA(cudaFuncSetAttribute((const void *)kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared));
    return IG_OK;
  }
  const dim3 grid((unsigned)(l->args.T / FMA_ROWS + l->args.B + 1), (unsigned)l->args.H);
  kernel<<<grid, THREADS, shared, l->stream>>>(l->args);
  IG_CUDA_LAUNCHED();
  return IG_OK;
}
template <class T>
static ig_status fma_launch(const ig_attention_launch *l, int ready) {
  return l->width == 32    ? fma_parts<T, 1>(l, ready)
         : l->width == 64  ? fma_parts<T, 2>(l, ready)
         : l->width == 128 ? fma_parts<T, 4>(l, ready)
                           : fma_parts<T, 8>(l, ready);
}
#endif
