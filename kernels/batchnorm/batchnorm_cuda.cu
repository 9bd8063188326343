// Batch normalisation on a GPU, [N,H,W,C] as rows of C channels. Rule: statistics are sums of differences from a value
// of the data itself, joined by Chan's formula in double, so that a large mean costs nothing; runs of rows depend on
// sizes alone, so no result depends on the grid; no atomics.
//
// All kernels but the finishing ones: a block of 256 threads is TX x TY; a thread owns EACH neighbouring channels (8
// where C is a multiple of 8: 128 bits of 16-bit numbers; else 1) and every TY-th row of the block's run of rows.
// Parameters of its channels stay in registers. Bytes: bn_stats reads x once; bn_apply reads x (and residual) once and
// writes y; bn_apply_mask writes a bit for each number too, a byte a thread; bn_bwd_sums reads dy, x (y or these bits,
// more dy) and may write g; bn_bwd_apply reads dy and x and writes dx. 40 to 64
// registers; sums of a block meet in at most 16 KiB of shared memory. Deterministic.
#include "kernels/batchnorm/batchnorm.h"
#include "kernels/cuda_common/cuda_kernel.cuh"

#define THREADS 256
#define RUNS    128  // most runs of rows that are summed apart

typedef struct grid_of_rows {
  int64_t rows, per_run;  // rows in all, and of a block
  int C, P, tx;           // channels, positions of a sample, threads along channels
} grid_of_rows;

static __device__ __forceinline__ float relu_of(float x) { return x < 0 ? 0 : x; }
static __device__ __forceinline__ bool counts(const float *weight, int64_t row, int P) {
  return !weight || weight[row / P] != 0;
}

// Adds s[.][EACH] of the threads with equal channels into those of the block's first row, in a fixed order.
template <int EACH, int N>
static __device__ __forceinline__ void join(float (&s)[N][EACH], int tx, int ty) {
  __shared__ float shared[THREADS * EACH];
  const int lane = threadIdx.x % tx, row = threadIdx.x / tx;
#pragma unroll
  for (int k = 0; k < N; k++) {
    __syncthreads();
#pragma unroll
    for (int j = 0; j < EACH; j++)
      shared[(row * tx + lane) * EACH + j] = s[k][j];
    for (int half = ty / 2; half; half /= 2) {
      __syncthreads();
      if (row < half)
#pragma unroll
        for (int j = 0; j < EACH; j++)
          shared[(row * tx + lane) * EACH + j] += shared[((row + half) * tx + lane) * EACH + j];
    }
    __syncthreads();
#pragma unroll
    for (int j = 0; j < EACH; j++)
      s[k][j] = shared[lane * EACH + j];
  }
}

// ---- statistics ----
// partial: [runs][C] mean, then [runs][C] sum of squared differences; count: [runs].
template <class T, int EACH>
static __global__ void __launch_bounds__(THREADS)
    stats_kernel(const T *x, const float *weight, grid_of_rows g, double *mean, double *squares, double *count) {
  const int lane = threadIdx.x % g.tx, ty = THREADS / g.tx, c = (blockIdx.x * g.tx + lane) * EACH;
  const int64_t begin = blockIdx.y * g.per_run, end = min(begin + g.per_run, g.rows);
  float shift[EACH] = {0}, s[2][EACH] = {}, v[EACH], n[1][1] = {{0}};
  if (c < g.C && begin < end && counts(weight, begin, g.P))
    ig_load<EACH>(shift, x + begin * g.C + c);
  for (int64_t row = begin + threadIdx.x / g.tx; row < end; row += ty) {
    if (!counts(weight, row, g.P))
      continue;
    n[0][0] += 1;
    if (c >= g.C)
      continue;
    ig_load<EACH>(v, x + row * g.C + c);
#pragma unroll
    for (int j = 0; j < EACH; j++) {
      const float d = v[j] - shift[j];
      s[0][j] += d;
      s[1][j] += d * d;
    }
  }
  join<EACH, 2>(s, g.tx, ty);
  join<1, 1>(n, g.tx, ty);
  if (threadIdx.x == 0 && blockIdx.x == 0)
    count[blockIdx.y] = (double)n[0][0];
  if (threadIdx.x >= g.tx || c >= g.C)
    return;
  const double rows = (double)n[0][0];
#pragma unroll
  for (int j = 0; j < EACH; j++) {
    const double sum = (double)s[0][j];
    mean[(int64_t)blockIdx.y * g.C + c + j] = rows > 0 ? (double)shift[j] + sum / rows : 0;
    squares[(int64_t)blockIdx.y * g.C + c + j] = rows > 0 ? (double)s[1][j] - sum * sum / rows : 0;
  }
}

// A thread owns a channel and joins the runs in order.
static __global__ void __launch_bounds__(THREADS)
    stats_finish_kernel(const double *mean, const double *squares, const double *count, int runs, int C,
                        float *mean_out, float *var_out, float *count_out) {
  const int c = blockIdx.x * THREADS + threadIdx.x;
  if (c >= C)
    return;
  double n = 0, m = 0, q = 0;
  for (int r = 0; r < runs; r++) {
    const double more = count[r], total = n + more;
    if (more == 0)
      continue;
    const double d = mean[(int64_t)r * C + c] - m;
    q += squares[(int64_t)r * C + c] + d * d * n * more / total;
    m += d * more / total;
    n = total;
  }
  mean_out[c] = (float)m;
  var_out[c] = n > 0 ? (float)(q > 0 ? q / n : 0) : 0;
  if (c == 0)
    *count_out = (float)n;
}

static __global__ void __launch_bounds__(THREADS)
    update_kernel(float *running_mean, float *running_var, const float *mean, const float *var, const float *count,
                  float momentum, int C, float *done) {
  const int c = blockIdx.x * THREADS + threadIdx.x;
  const float n = *count;
  if (c == 0)
    *done = 0;
  if (c >= C || !(n > 0))
    return;
  const float unbiased = n > 1 ? n / (n - 1) : 1;
  running_mean[c] += momentum * (mean[c] - running_mean[c]);
  running_var[c] += momentum * (var[c] * unbiased - running_var[c]);
}

// ---- passes ----
template <int EACH>
struct channel_values {
  float mean[EACH], scale[EACH], beta[EACH], inv_std[EACH];
};
template <int EACH>
static __device__ __forceinline__ channel_values<EACH> values_of(const float *mean, const float *var,
                                                                 const float *gamma, const float *beta, float eps,
                                                                 int c) {
  channel_values<EACH> p;
#pragma unroll
  for (int j = 0; j < EACH; j++) {
    p.mean[j] = mean[c + j];
    p.inv_std[j] = 1 / sqrtf(var[c + j] + eps);
    p.scale[j] = gamma[c + j] * p.inv_std[j];
    p.beta[j] = beta[c + j];
  }
  return p;
}

template <class T, int EACH>
static __global__ void __launch_bounds__(THREADS)
    apply_kernel(T *y, uint8_t *bits, const T *x, const T *residual, const float *mean, const float *var,
                 const float *gamma, const float *beta, ig_batchnorm_attr a, grid_of_rows g) {
  const int c = (blockIdx.x * g.tx + threadIdx.x % g.tx) * EACH, ty = THREADS / g.tx;
  if (c >= g.C)
    return;
  const channel_values<EACH> p = values_of<EACH>(mean, var, gamma, beta, a.eps, c);
  const int64_t end = min((blockIdx.y + 1) * g.per_run, g.rows);
  for (int64_t row = blockIdx.y * g.per_run + threadIdx.x / g.tx; row < end; row += ty) {
    float v[EACH], r[EACH] = {0};
    ig_load<EACH>(v, x + row * g.C + c);
    if (residual)
      ig_load<EACH>(r, residual + row * g.C + c);
    unsigned passed = 0;
#pragma unroll
    for (int j = 0; j < EACH; j++) {
      v[j] = (v[j] - p.mean[j]) * p.scale[j] + p.beta[j] + r[j];
      passed |= (v[j] <= 0 ? 0u : 1u) << j;
      v[j] = a.relu ? relu_of(v[j]) : v[j];
    }
    ig_store<EACH>(y + row * g.C + c, v);
    if (EACH == 8 && bits)
      bits[(row * g.C + c) / 8] = (uint8_t)passed;
  }
}

typedef struct backward {
  const void *dy, *x, *y, *more;
  const uint8_t *bits;  // in place of y, 8 channels a byte
  const float *mean, *var, *gamma, *beta, *dgamma, *dbeta, *count, *weight;
  void *out;  // g of bn_bwd_sums (NULL: not wanted), dx of bn_bwd_apply
  ig_batchnorm_attr a;
} backward;

// dy behind the ReLU: cut off where the forward result was, known from y or from x again.
template <int EACH>
static __device__ __forceinline__ void mask(float (&dy)[EACH], const float (&x)[EACH], const float (&y)[EACH],
                                            bool has_y, const channel_values<EACH> &p) {
#pragma unroll
  for (int j = 0; j < EACH; j++) {
    const float value = has_y ? y[j] : (x[j] - p.mean[j]) * p.scale[j] + p.beta[j];
    dy[j] = value <= 0 ? 0 : dy[j];
  }
}

// partial: [runs][C] of sum g (x - mean), then of sum g.
template <class T, int EACH>
static __global__ void __launch_bounds__(THREADS)
    bwd_sums_kernel(backward b, grid_of_rows g, double *dgamma, double *dbeta) {
  const int lane = threadIdx.x % g.tx, ty = THREADS / g.tx, c = (blockIdx.x * g.tx + lane) * EACH;
  const int64_t end = min((blockIdx.y + 1) * g.per_run, g.rows);
  float s[2][EACH] = {};
  if (c < g.C) {
    const channel_values<EACH> p = values_of<EACH>(b.mean, b.var, b.gamma, b.beta, b.a.eps, c);
    for (int64_t row = blockIdx.y * g.per_run + threadIdx.x / g.tx; row < end; row += ty) {
      const int64_t at = row * g.C + c;
      float dy[EACH] = {0}, x[EACH], y[EACH] = {0}, more[EACH];
      if (counts(b.weight, row, g.P)) {
        ig_load<EACH>(dy, (const T *)b.dy + at);
        ig_load<EACH>(x, (const T *)b.x + at);
        if (b.more) {
          ig_load<EACH>(more, (const T *)b.more + at);
#pragma unroll
          for (int j = 0; j < EACH; j++)
            dy[j] += more[j];
        }
        if (b.y)
          ig_load<EACH>(y, (const T *)b.y + at);
        if (EACH == 8 && b.bits) {
          const unsigned passed = b.bits[at / 8];
#pragma unroll
          for (int j = 0; j < EACH; j++)
            y[j] = (float)(passed >> j & 1);
        }
        if (b.a.relu)
          mask<EACH>(dy, x, y, b.y || b.bits, p);
#pragma unroll
        for (int j = 0; j < EACH; j++) {
          s[0][j] += dy[j] * (x[j] - p.mean[j]);
          s[1][j] += dy[j];
        }
      }
      if (b.out)
        ig_store<EACH>((T *)b.out + at, dy);
    }
  }
  join<EACH, 2>(s, g.tx, ty);
  if (threadIdx.x >= g.tx || c >= g.C)
    return;
#pragma unroll
  for (int j = 0; j < EACH; j++) {
    dgamma[(int64_t)blockIdx.y * g.C + c + j] = (double)s[0][j];
    dbeta[(int64_t)blockIdx.y * g.C + c + j] = (double)s[1][j];
  }
}
static __global__ void __launch_bounds__(THREADS)
    bwd_finish_kernel(const double *dgamma, const double *dbeta, const float *var, float eps, int runs, int C,
                      float *dgamma_out, float *dbeta_out, float *dummy) {
  const int c = blockIdx.x * THREADS + threadIdx.x;
  double sums[2] = {0, 0};
  if (c >= C)
    return;
  for (int r = 0; r < runs; r++) {
    sums[0] += dgamma[(int64_t)r * C + c];
    sums[1] += dbeta[(int64_t)r * C + c];
  }
  dgamma_out[c] = (float)(sums[0] / sqrt((double)var[c] + (double)eps));
  dbeta_out[c] = (float)sums[1];
  if (c == 0 && dummy)
    *dummy = 0;
}

template <class T, int EACH>
static __global__ void __launch_bounds__(THREADS) bwd_apply_kernel(backward b, grid_of_rows g) {
  const int c = (blockIdx.x * g.tx + threadIdx.x % g.tx) * EACH, ty = THREADS / g.tx;
  if (c >= g.C)
    return;
  const channel_values<EACH> p = values_of<EACH>(b.mean, b.var, b.gamma, b.beta, b.a.eps, c);
  float from_x[EACH] = {0}, constant[EACH] = {0};
  const float n = b.count ? *b.count : 0;
  if (n > 0) {
#pragma unroll
    for (int j = 0; j < EACH; j++) {
      from_x[j] = p.inv_std[j] * b.dgamma[c + j] / n;
      constant[j] = b.dbeta[c + j] / n;
    }
  }
  const int64_t end = min((blockIdx.y + 1) * g.per_run, g.rows);
  for (int64_t row = blockIdx.y * g.per_run + threadIdx.x / g.tx; row < end; row += ty) {
    const int64_t at = row * g.C + c;
    float dy[EACH] = {0}, x[EACH];
    if (counts(b.weight, row, g.P)) {
      ig_load<EACH>(dy, (const T *)b.dy + at);
      ig_load<EACH>(x, (const T *)b.x + at);
      if (b.a.relu)
        mask<EACH>(dy, x, x, false, p);
#pragma unroll
      for (int j = 0; j < EACH; j++)
        dy[j] = (dy[j] - constant[j] - (x[j] - p.mean[j]) * from_x[j]) * p.scale[j];
    }
    ig_store<EACH>((T *)b.out + at, dy);
  }
}

// ---- launches ----
static int each_of(const ig_shape *x) { return x->d[3] % 8 == 0 ? 8 : 1; }
// runs: of sums, fixed by sizes; passes take as many blocks as fill the GPU.
static grid_of_rows rows_of(const ig_shape *x, int64_t runs, dim3 *grid) {
  const int C = (int)x->d[3], vectors = C / each_of(x);
  grid_of_rows g = {x->d[0] * x->d[1] * x->d[2], 0, C, (int)(x->d[1] * x->d[2]), 1};
  while (g.tx < IG_WARP && g.tx < vectors)
    g.tx *= 2;
  g.per_run = (g.rows + runs - 1) / runs;
  *grid = dim3(ig_blocks(vectors, g.tx), (unsigned)runs);
  return g;
}
static int sum_runs(const ig_shape *x) {
  const int64_t rows = x->d[0] * x->d[1] * x->d[2], wanted = (rows + 255) / 256;
  return (int)(wanted < 1 ? 1 : wanted < RUNS ? wanted : RUNS);
}
static int64_t pass_runs(const ig_launch *l, const ig_shape *x) {
  const int64_t rows = x->d[0] * x->d[1] * x->d[2], wanted = (rows + 63) / 64,
                most = 8 * (int64_t)l->device->caps.processors;
  return wanted < 1 ? 1 : wanted < most ? wanted : most;
}

#define BY_EACH(type, x, ...)         \
  if (each_of(x) == 8) {              \
    const int E = 8;                  \
    IG_BY_TYPE(type, T, __VA_ARGS__); \
  } else {                            \
    const int E = 1;                  \
    IG_BY_TYPE(type, T, __VA_ARGS__); \
  }                                   \
  IG_CUDA_LAUNCHED()

static ig_status run_stats(const ig_launch *l) {
  const ig_tensor *x = l->node->in[0];
  const int runs = sum_runs(&x->shape), C = (int)x->shape.d[3];
  dim3 grid;
  const grid_of_rows g = rows_of(&x->shape, runs, &grid);
  double *mean = (double *)l->workspace, *squares = mean + (int64_t)runs * C, *count = squares + (int64_t)runs * C;
  BY_EACH(x->dtype, &x->shape,
          (stats_kernel<T, E><<<grid, THREADS, 0, ig_stream_of(l)>>>((const T *)l->in[0], (const float *)l->in[1], g,
                                                                     mean, squares, count)));
  stats_finish_kernel<<<ig_blocks(C, THREADS), THREADS, 0, ig_stream_of(l)>>>(
      mean, squares, count, runs, C, (float *)l->out[0], (float *)l->out[1], (float *)l->out[2]);
  IG_CUDA_LAUNCHED();
  return IG_OK;
}
static ig_status prepare_stats(ig_prepare *p) {
  const ig_shape *x = &p->node->in[0]->shape;
  p->workspace_bytes = (size_t)(2 * x->d[3] + 1) * (size_t)sum_runs(x) * sizeof(double);
  return IG_OK;
}

static ig_status run_apply(const ig_launch *l) {
  const ig_tensor *x = l->node->in[0];
  dim3 grid;
  const grid_of_rows g = rows_of(&x->shape, pass_runs(l, &x->shape), &grid);
  const ig_batchnorm_attr a = *(const ig_batchnorm_attr *)l->node->attr;
  BY_EACH(
      x->dtype, &x->shape,
      (apply_kernel<T, E><<<grid, THREADS, 0, ig_stream_of(l)>>>(
          (T *)l->out[0], l->node->n_out > 1 ? (uint8_t *)l->out[1] : NULL, (const T *)l->in[0], (const T *)l->in[5],
          (const float *)l->in[1], (const float *)l->in[2], (const float *)l->in[3], (const float *)l->in[4], a, g)));
  return IG_OK;
}

static ig_status run_update(const ig_launch *l) {
  const int C = (int)l->node->in[0]->shape.d[0];
  update_kernel<<<ig_blocks(C, THREADS), THREADS, 0, ig_stream_of(l)>>>(
      (float *)l->in[0], (float *)l->in[1], (const float *)l->in[2], (const float *)l->in[3], (const float *)l->in[4],
      ((const ig_batchnorm_attr *)l->node->attr)->momentum, C, (float *)l->out[0]);
  IG_CUDA_LAUNCHED();
  return IG_OK;
}

static backward backward_of(const ig_launch *l) {
  backward b = {};
  b.dy = l->in[0];
  b.x = l->in[1];
  b.mean = (const float *)l->in[2];
  b.var = (const float *)l->in[3];
  b.gamma = (const float *)l->in[4];
  b.beta = (const float *)l->in[5];
  return b;
}

static ig_status run_bwd_sums(const ig_launch *l) {
  const ig_batchnorm_bwd_attr *a = (const ig_batchnorm_bwd_attr *)l->node->attr;
  const ig_tensor *x = l->node->in[1];
  const int runs = sum_runs(&x->shape), C = (int)x->shape.d[3];
  dim3 grid;
  const grid_of_rows g = rows_of(&x->shape, runs, &grid);
  double *dgamma = (double *)l->workspace, *dbeta = dgamma + (int64_t)runs * C;
  backward b = backward_of(l);
  if (l->in[6] && l->node->in[6]->dtype == IG_U8)
    b.bits = (const uint8_t *)l->in[6];
  else
    b.y = l->in[6];
  b.weight = (const float *)l->in[7];
  b.more = l->node->n_in > 8 ? l->in[8] : NULL;
  b.out = a->masked_dy ? l->out[2] : NULL;
  b.a = a->forward;
  BY_EACH(x->dtype, &x->shape, (bwd_sums_kernel<T, E><<<grid, THREADS, 0, ig_stream_of(l)>>>(b, g, dgamma, dbeta)));
  bwd_finish_kernel<<<ig_blocks(C, THREADS), THREADS, 0, ig_stream_of(l)>>>(dgamma, dbeta, b.var, b.a.eps, runs, C,
                                                                            (float *)l->out[0], (float *)l->out[1],
                                                                            a->masked_dy ? NULL : (float *)l->out[2]);
  IG_CUDA_LAUNCHED();
  return IG_OK;
}
static ig_status prepare_bwd_sums(ig_prepare *p) {
  const ig_shape *x = &p->node->in[1]->shape;
  p->workspace_bytes = (size_t)(2 * x->d[3]) * (size_t)sum_runs(x) * sizeof(double);
  return IG_OK;
}

static ig_status run_bwd_apply(const ig_launch *l) {
  const ig_tensor *x = l->node->in[1];
  dim3 grid;
  const grid_of_rows g = rows_of(&x->shape, pass_runs(l, &x->shape), &grid);
  backward b = backward_of(l);
  b.dgamma = (const float *)l->in[6];
  b.dbeta = (const float *)l->in[7];
  b.count = (const float *)l->in[8];
  b.weight = (const float *)l->in[9];
  b.out = l->out[0];
  b.a = *(const ig_batchnorm_attr *)l->node->attr;
  BY_EACH(x->dtype, &x->shape, (bwd_apply_kernel<T, E><<<grid, THREADS, 0, ig_stream_of(l)>>>(b, g)));
  return IG_OK;
}

#define BN(name, prepare, run) \
  IG_CUDA_IMPL_FLAGS(name, IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE, ig_cuda_supports, prepare, run)
IG_CUDA_IMPLS(batchnorm_cuda) = {BN("bn_stats", prepare_stats, run_stats),
                                 BN("bn_apply", NULL, run_apply),
                                 BN("bn_apply_mask", NULL, run_apply),
                                 BN("bn_update", NULL, run_update),
                                 BN("bn_bwd_sums", prepare_bwd_sums, run_bwd_sums),
                                 BN("bn_bwd_apply", NULL, run_bwd_apply),
                                 {0}};
