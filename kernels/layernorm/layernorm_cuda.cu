// Layer normalisation on a GPU, and dropout with the addition of a residual. Rule: statistics are taken from the row in
// two passes, again wherever they are needed; sums over rows have an order that sizes alone decide, no atomics:
// deterministic.
//
// Rows of a multiple of 8 up to 1024 (forward: 2048) numbers: a warp owns a row, a lane N times 8 neighbours of it in
// registers (128-bit access); it takes every 4th row of its block's run, with what belongs to columns in registers.
// Backward's warps keep sums of dgamma and dbeta in registers, meet in 16 KiB of shared memory, and leave them in the
// workspace for cuda_columns.cuh. Bytes: x once, y once; backward dy (more dy), x once, ds (dx) once. Registers:
// forward 46 (N = 1) to 232 (N = 8), backward 80 to 168. Other rows: a block of 128 threads owns a row and reads it
// three times from the caches; backward's column sums are a pass of their own (a lane a column, 8 warps), in front of
// it, for ds may take dy's memory. dropout_add: a warp owns a row, a lane 8 neighbours, else one; each number once;
// about 32 registers.
#include "kernels/cuda_common/cuda_columns.cuh"
#include "kernels/dropout/draws_cuda.cuh"
#include "kernels/layernorm/layernorm.h"

#define WARPS   4
#define THREADS (WARPS * IG_WARP)
#define RUNS    256  // most runs of rows whose column sums lie apart

// ---- rows in registers ----
// v[k][e] is element (k 32 + lane) 8 + e; zeros behind the end.
template <int N>
struct row_of {
  float v[N][8];
  static __device__ __forceinline__ int column(int k) { return (k * IG_WARP + threadIdx.x % IG_WARP) * 8; }
  template <class T>
  __device__ __forceinline__ void load(const T *p, int D) {
#pragma unroll
    for (int k = 0; k < N; k++) {
      if (column(k) < D) {
        ig_load<8>(v[k], p + column(k));
      } else {
#pragma unroll
        for (int e = 0; e < 8; e++)
          v[k][e] = 0;
      }
    }
  }
  // v becomes (v - mean) / std of the row; gives 1 / std.
  __device__ __forceinline__ float normalise(int D, float eps) {
    float sum = 0, squares = 0;
#pragma unroll
    for (int k = 0; k < N; k++)
#pragma unroll
      for (int e = 0; e < 8; e++)
        sum += v[k][e];
    const float mean = ig_warp_sum(sum) / (float)D;
#pragma unroll
    for (int k = 0; k < N; k++)
#pragma unroll
      for (int e = 0; e < 8; e++) {
        v[k][e] = column(k) < D ? v[k][e] - mean : 0;
        squares += v[k][e] * v[k][e];
      }
    const float rstd = 1 / sqrtf(ig_warp_sum(squares) / (float)D + eps);
#pragma unroll
    for (int k = 0; k < N; k++)
#pragma unroll
      for (int e = 0; e < 8; e++)
        v[k][e] *= rstd;
    return rstd;
  }
};

template <class T, int N>
static __global__ void __launch_bounds__(THREADS)
    rows_kernel(T *y, const T *x, const float *gamma, const float *beta, int64_t rows, int each, int D, float eps) {
  const int64_t begin = (int64_t)blockIdx.x * each, end = min(begin + each, rows);
  row_of<N> row, scale, shift;
  scale.load(gamma, D);
  shift.load(beta, D);
  for (int64_t t = begin + threadIdx.x / IG_WARP; t < end; t += WARPS) {
    row.load(x + t * D, D);
    row.normalise(D, eps);
#pragma unroll
    for (int k = 0; k < N; k++) {
      if (row.column(k) >= D)
        continue;
#pragma unroll
      for (int e = 0; e < 8; e++)
        row.v[k][e] = row.v[k][e] * scale.v[k][e] + shift.v[k][e];
      ig_store<8>(y + t * D + row.column(k), row.v[k]);
    }
  }
}

typedef struct bwd_operands {
  const void *dy, *more, *x;  // more: NULL = none
  const float *gamma;
  void *ds, *dx;  // dx: NULL = no dropout
  ig_draws_cuda draws;
  int64_t rows, each;  // of a block
  int D;
  float eps;
} bwd_operands;

// Sums of a block's warps, in order, by the first warp.
template <int N>
static __device__ __forceinline__ void join(row_of<N> &sum, float *to, int D) {
  __shared__ float sums[WARPS][N][8][IG_WARP];
  const int lane = threadIdx.x % IG_WARP, warp = threadIdx.x / IG_WARP;
#pragma unroll
  for (int k = 0; k < N; k++)
#pragma unroll
    for (int e = 0; e < 8; e++)
      sums[warp][k][e][lane] = sum.v[k][e];
  __syncthreads();
  if (warp == 0)
#pragma unroll
    for (int k = 0; k < N; k++) {
#pragma unroll
      for (int e = 0; e < 8; e++)
        for (int w = 1; w < WARPS; w++)
          sum.v[k][e] += sums[w][k][e][lane];
      if (sum.column(k) < D)
        ig_store<8>(to + sum.column(k), sum.v[k]);
    }
  __syncthreads();
}

// partial [blocks][2][D]: dgamma, dbeta.
template <class T, int N>
static __global__ void __launch_bounds__(THREADS) rows_bwd_kernel(const bwd_operands o, float *partial) {
  const int64_t begin = blockIdx.x * o.each, end = min(begin + o.each, o.rows);
  const int D = o.D;
  row_of<N> x, g, dgamma = {}, dbeta = {};
  for (int64_t t = begin + threadIdx.x / IG_WARP; t < end; t += WARPS) {
    float sum = 0, product = 0;
    x.load((const T *)o.x + t * D, D);
    g.load((const T *)o.dy + t * D, D);
    const float rstd = x.normalise(D, o.eps);
#pragma unroll
    for (int k = 0; k < N; k++) {
      if (x.column(k) >= D)
        continue;
      float more[8], gamma[8];
      if (o.more) {
        ig_load<8>(more, (const T *)o.more + t * D + x.column(k));
#pragma unroll
        for (int e = 0; e < 8; e++)
          g.v[k][e] += more[e];
      }
      ig_load<8>(gamma, o.gamma + x.column(k));
#pragma unroll
      for (int e = 0; e < 8; e++) {
        dgamma.v[k][e] += g.v[k][e] * x.v[k][e];
        dbeta.v[k][e] += g.v[k][e];
        g.v[k][e] *= gamma[e];
        sum += g.v[k][e];
        product += g.v[k][e] * x.v[k][e];
      }
    }
    sum = ig_warp_sum(sum) / (float)D;
    product = ig_warp_sum(product) / (float)D;
    ig_row_draws draws = {};
    if (o.dx)
      draws = ig_row_draws_of(o.draws, t);
#pragma unroll
    for (int k = 0; k < N; k++) {
      if (x.column(k) >= D)
        continue;
#pragma unroll
      for (int e = 0; e < 8; e++)
        g.v[k][e] = rstd * (g.v[k][e] - sum - x.v[k][e] * product);
      ig_store<8>((T *)o.ds + t * D + x.column(k), g.v[k]);
      if (o.dx) {
        float factor[8];
        draws.factors<8>(x.column(k), factor);
#pragma unroll
        for (int e = 0; e < 8; e++)
          g.v[k][e] = factor[e] != 0 ? g.v[k][e] * factor[e] : 0;
        ig_store<8>((T *)o.dx + t * D + x.column(k), g.v[k]);
      }
    }
  }
  join(dgamma, partial + (int64_t)blockIdx.x * 2 * D, D);
  join(dbeta, partial + ((int64_t)blockIdx.x * 2 + 1) * D, D);
}

// ---- rows of any length ----
typedef struct row_stats {
  float mean, rstd;
} row_stats;
template <class T>
static __device__ row_stats stats_of(const T *x, int D, float eps, float *scratch) {
  float sum = 0, squares = 0;
  for (int c = threadIdx.x; c < D; c += THREADS)
    sum += ig_up(x[c]);
  const float mean = ig_block_sum<THREADS>(sum, scratch) / (float)D;
  for (int c = threadIdx.x; c < D; c += THREADS)
    squares += (ig_up(x[c]) - mean) * (ig_up(x[c]) - mean);
  return {mean, 1 / sqrtf(ig_block_sum<THREADS>(squares, scratch) / (float)D + eps)};
}

template <class T>
static __global__ void __launch_bounds__(THREADS)
    block_kernel(T *y, const T *x, const float *gamma, const float *beta, int D, float eps) {
  __shared__ float scratch[IG_WARP];
  const int64_t at = (int64_t)blockIdx.x * D;
  const row_stats s = stats_of(x + at, D, eps, scratch);
  for (int c = threadIdx.x; c < D; c += THREADS)
    y[at + c] = ig_down<T>((ig_up(x[at + c]) - s.mean) * s.rstd * gamma[c] + beta[c]);
}

template <class T>
static __global__ void __launch_bounds__(THREADS) stats_kernel(const T *x, int D, float eps, row_stats *stats) {
  __shared__ float scratch[IG_WARP];
  const row_stats s = stats_of(x + (int64_t)blockIdx.x * D, D, eps, scratch);
  if (threadIdx.x == 0)
    stats[blockIdx.x] = s;
}

template <class T>
static __device__ __forceinline__ float dy_at(const bwd_operands &o, int64_t at) {
  return ig_up(((const T *)o.dy)[at]) + (o.more ? ig_up(((const T *)o.more)[at]) : 0);
}

// A block owns 32 columns and a run of rows. partial [runs][2][D].
template <class T>
static __global__ void __launch_bounds__(IG_WARP *IG_COLUMNS_WARPS)
    columns_bwd_kernel(const bwd_operands o, const row_stats *stats, float *partial) {
  __shared__ float sums[2][IG_COLUMNS_WARPS][IG_WARP];
  const int lane = threadIdx.x % IG_WARP, warp = threadIdx.x / IG_WARP, c = blockIdx.x * IG_WARP + lane;
  const int64_t begin = blockIdx.y * o.each, end = min(begin + o.each, o.rows);
  float dgamma = 0, dbeta = 0;
  for (int64_t t = begin + warp; t < end && c < o.D; t += IG_COLUMNS_WARPS) {
    const float g = dy_at<T>(o, t * o.D + c);
    dgamma += g * (ig_up(((const T *)o.x)[t * o.D + c]) - stats[t].mean) * stats[t].rstd;
    dbeta += g;
  }
  sums[0][warp][lane] = dgamma;
  sums[1][warp][lane] = dbeta;
  __syncthreads();
  if (warp || c >= o.D)
    return;
  for (int k = 1; k < IG_COLUMNS_WARPS; k++) {
    dgamma += sums[0][k][lane];
    dbeta += sums[1][k][lane];
  }
  partial[(int64_t)blockIdx.y * 2 * o.D + c] = dgamma;
  partial[((int64_t)blockIdx.y * 2 + 1) * o.D + c] = dbeta;
}

template <class T>
static __global__ void __launch_bounds__(THREADS) block_bwd_kernel(const bwd_operands o, const row_stats *stats) {
  __shared__ float scratch[IG_WARP];
  const int64_t row = (int64_t)blockIdx.x * o.D;
  const row_stats s = stats[blockIdx.x];
  const T *x = (const T *)o.x + row;
  float sum = 0, product = 0;
  for (int c = threadIdx.x; c < o.D; c += THREADS) {
    const float h = dy_at<T>(o, row + c) * o.gamma[c];
    sum += h;
    product += h * (ig_up(x[c]) - s.mean) * s.rstd;
  }
  sum = ig_block_sum<THREADS>(sum, scratch) / (float)o.D;
  product = ig_block_sum<THREADS>(product, scratch) / (float)o.D;
  ig_row_draws draws = {};
  if (o.dx)
    draws = ig_row_draws_of(o.draws, blockIdx.x);
  for (int c = threadIdx.x; c < o.D; c += THREADS) {
    const float ds = s.rstd * (dy_at<T>(o, row + c) * o.gamma[c] - sum - (ig_up(x[c]) - s.mean) * s.rstd * product);
    ((T *)o.ds)[row + c] = ig_down<T>(ds);
    if (o.dx) {
      float factor[1];
      draws.factors<1>(c, factor);
      ((T *)o.dx)[row + c] = ig_down<T>(factor[0] != 0 ? ds * factor[0] : 0);
    }
  }
}

template <class T, int E>
static __global__ void __launch_bounds__(THREADS)
    add_kernel(T *y, const T *x, const T *residual, const ig_draws_cuda d, int64_t rows, int D) {
  const int64_t t = (int64_t)blockIdx.x * WARPS + threadIdx.x / IG_WARP;
  if (t >= rows)
    return;
  const ig_row_draws draws = ig_row_draws_of(d, t);
  for (int c = threadIdx.x % IG_WARP * E; c < D; c += IG_WARP * E) {
    float v[E], r[E], factor[E];
    ig_load<E>(v, x + t * D + c);
    ig_load<E>(r, residual + t * D + c);
    draws.factors<E>(c, factor);
#pragma unroll
    for (int e = 0; e < E; e++)
      v[e] = r[e] + (factor[e] != 0 ? v[e] * factor[e] : 0);
    ig_store<E>(y + t * D + c, v);
  }
}

// ---- launches ----
// Chunks of 256 numbers that a lane's registers take, 0: the row is too long or ragged.
static int chunks_of(int64_t D, int most) { return D % 8 || D > 256 * most ? 0 : D > 1024 ? 8 : (int)(D + 255) / 256; }

#define BY_CHUNKS(n, N, ...) \
  switch (n) {               \
    case 1: {                \
      enum { N = 1 };        \
      __VA_ARGS__;           \
    } break;                 \
    case 2: {                \
      enum { N = 2 };        \
      __VA_ARGS__;           \
    } break;                 \
    case 3: {                \
      enum { N = 3 };        \
      __VA_ARGS__;           \
    } break;                 \
    default: {               \
      enum { N = 4 };        \
      __VA_ARGS__;           \
    }                        \
  }

template <class T>
static ig_status forward(const ig_launch *l) {
  const int64_t rows = l->node->in[0]->shape.d[0], D = l->node->in[0]->shape.d[1];
  const float eps = ((const ig_layernorm_attr *)l->node->attr)->eps;
  const int n = chunks_of(D, 8), each = rows < 4096 ? WARPS : 4 * WARPS;
  const unsigned blocks = ig_blocks(rows, each);
  cudaStream_t stream = ig_stream_of(l);
  T *y = (T *)l->out[0];
  const T *x = (const T *)l->in[0];
  const float *gamma = (const float *)l->in[1], *beta = (const float *)l->in[2];
  if (rows == 0)
    return IG_OK;
  if (n == 8)
    rows_kernel<T, 8><<<blocks, THREADS, 0, stream>>>(y, x, gamma, beta, rows, each, (int)D, eps);
  else if (n)
    BY_CHUNKS(n, N, (rows_kernel<T, N><<<blocks, THREADS, 0, stream>>>(y, x, gamma, beta, rows, each, (int)D, eps)))
  else
    block_kernel<T><<<(unsigned)rows, THREADS, 0, stream>>>(y, x, gamma, beta, (int)D, eps);
  IG_CUDA_LAUNCHED();
  return IG_OK;
}
static ig_status run(const ig_launch *l) {
  ig_status status = IG_OK;
  IG_BY_TYPE(l->node->in[0]->dtype, T, status = forward<T>(l));
  return status;
}

// Rows of a run: 8 of a warp, more where that would be more than RUNS.
static int64_t each_of(int64_t rows) {
  const int64_t each = (rows + RUNS - 1) / RUNS;
  return each < 8 * WARPS ? 8 * WARPS : each;
}
static int64_t runs_of(int64_t rows) { return (rows + each_of(rows) - 1) / each_of(rows); }

enum { B_DY, B_X, B_GAMMA, B_MORE_DY, B_STATE, B_KEYS };
template <class T>
static ig_status backward(const ig_launch *l) {
  const ig_layernorm_attr *a = (const ig_layernorm_attr *)l->node->attr;
  const int64_t *d = l->node->in[B_X]->shape.d;
  bwd_operands o = {l->in[B_DY], l->in[B_MORE_DY],
                    l->in[B_X],  (const float *)l->in[B_GAMMA],
                    l->out[0],   a->dropout ? l->out[1] : NULL};
  o.draws = ig_draws_cuda_of(l->in[B_STATE], l->in[B_KEYS], l->node->key, a->p);
  o.rows = d[0], o.each = each_of(d[0]), o.D = (int)d[1], o.eps = a->eps;
  const int n = chunks_of(d[1], 4);
  const unsigned runs = (unsigned)runs_of(d[0]);
  float *partial = (float *)l->workspace;
  row_stats *stats = (row_stats *)(partial + (int64_t)runs * 2 * d[1]);
  cudaStream_t stream = ig_stream_of(l);
  if (!a->dropout)
    IG_CUDA(cudaMemsetAsync(l->out[1], 0, sizeof(float), stream));
  if (d[0] && n) {
    BY_CHUNKS(n, N, (rows_bwd_kernel<T, N><<<runs, THREADS, 0, stream>>>(o, partial)));
    IG_CUDA_LAUNCHED();
  } else if (d[0]) {
    stats_kernel<T><<<(unsigned)d[0], THREADS, 0, stream>>>((const T *)o.x, o.D, o.eps, stats);
    IG_CUDA_LAUNCHED();
    columns_bwd_kernel<T>
        <<<dim3(ig_blocks(d[1], IG_WARP), runs), IG_WARP * IG_COLUMNS_WARPS, 0, stream>>>(o, stats, partial);
    IG_CUDA_LAUNCHED();
    block_bwd_kernel<T><<<(unsigned)d[0], THREADS, 0, stream>>>(o, stats);
    IG_CUDA_LAUNCHED();
  }
  return ig_columns_finish(l, (float *)l->out[2], (float *)l->out[3], partial, runs, 2 * d[1], d[1]);
}
static ig_status run_bwd(const ig_launch *l) {
  ig_status status = IG_OK;
  IG_BY_TYPE(l->node->in[B_X]->dtype, T, status = backward<T>(l));
  return status;
}

static ig_status run_add(const ig_launch *l) {
  const int64_t *d = l->node->in[0]->shape.d;
  const ig_draws_cuda draws = ig_draws_cuda_of(l->in[2], l->in[3], l->node->key, *(const float *)l->node->attr);
  const unsigned blocks = ig_blocks(d[0], WARPS);
  if (blocks == 0)
    return IG_OK;
  IG_BY_TYPE(
      l->node->in[0]->dtype, T,
      if (d[1] % 8 == 0) {
        add_kernel<T, 8><<<blocks, THREADS, 0, ig_stream_of(l)>>>((T *)l->out[0], (const T *)l->in[0],
                                                                  (const T *)l->in[1], draws, d[0], (int)d[1]);
      } else {
        add_kernel<T, 1><<<blocks, THREADS, 0, ig_stream_of(l)>>>((T *)l->out[0], (const T *)l->in[0],
                                                                  (const T *)l->in[1], draws, d[0], (int)d[1]);
      });
  IG_CUDA_LAUNCHED();
  return IG_OK;
}

static ig_status prepare_bwd(ig_prepare *p) {
  const int64_t *d = p->node->in[B_X]->shape.d;
  p->workspace_bytes = (size_t)(runs_of(d[0]) * 2 * d[1]) * sizeof(float) + (size_t)d[0] * sizeof(row_stats);
  return IG_OK;
}
static bool supports(const ig_node *n, const ig_device_caps *caps, char *why, size_t why_bytes) {
  const int64_t *d = n->in[0]->shape.d;
  if (d[0] >= 1ll << 31 || d[1] >= 1 << 30) {
    snprintf(why, why_bytes, "%lld rows of %lld, expected less than 2^31 of less than 2^30", (long long)d[0],
             (long long)d[1]);
    return false;
  }
  return ig_cuda_supports(n, caps, why, why_bytes);
}

#define FLAGS (IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE)
IG_CUDA_IMPLS(layernorm_cuda) = {IG_CUDA_IMPL_FLAGS("layernorm", FLAGS, supports, NULL, run),
                                 IG_CUDA_IMPL_FLAGS("dropout_add", FLAGS, supports, NULL, run_add),
                                 IG_CUDA_IMPL_FLAGS("layernorm_bwd", FLAGS, supports, prepare_bwd, run_bwd),
                                 {0}};
