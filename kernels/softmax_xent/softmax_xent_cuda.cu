// Softmax and the cross-entropy losses on a GPU. Rule: a block owns a row; logits are shifted by their largest value;
// the few scalars of a row are double; partial sums of rows are added in order, no atomics.
//
// row kernels: 256 threads a row of C classes; logits are read twice (largest value and sum, then the pass), the second
// time from the caches. xent keeps nothing of size [N,C]. finish_kernel: one block adds the rows' {loss, weight}. About
// 48 registers; 512 bytes of shared memory; deterministic.
#include <math.h>

#include "kernels/cuda_common/cuda_kernel.cuh"
#include "kernels/optim_util/fixed.h"
#include "kernels/softmax_xent/softmax_xent.h"

#define THREADS 256

typedef struct row_stats {
  float most;
  double log_sum;  // log of the sum of exp(z - most)
} row_stats;

// Largest value and sum of a row, in every thread. One pass over memory for each.
template <class T>
static __device__ row_stats stats_of(const T *z, int64_t c) {
  __shared__ float tops[IG_WARP];
  __shared__ double sums[IG_WARP];
  float most = -INFINITY;
  double sum = 0;
  for (int64_t j = threadIdx.x; j < c; j += THREADS)
    most = fmaxf(most, ig_up(z[j]));
  most = ig_warp_max(most);
  __syncthreads();
  if (threadIdx.x % IG_WARP == 0)
    tops[threadIdx.x / IG_WARP] = most;
  __syncthreads();
  most = threadIdx.x % IG_WARP < THREADS / IG_WARP ? tops[threadIdx.x % IG_WARP] : -INFINITY;
  most = ig_warp_max(most);
  for (int64_t j = threadIdx.x; j < c; j += THREADS)
    sum += (double)expf(ig_up(z[j]) - most);
  sum = ig_block_sum<THREADS>(sum, sums);
  return {most, log(sum)};
}
// log p of class j.
template <class T>
static __device__ __forceinline__ double log_p_of(const T *z, int64_t j, const row_stats &r) {
  return (double)ig_up(z[j]) - (double)r.most - r.log_sum;
}

// Labels of a row that count, as xent_row.h reads them.
typedef struct terms {
  int n;
  int label[2];
  double factor[2];
  bool bad;
} terms;
typedef struct labels {
  const int32_t *first, *second;
  const float *lam, *sample_weight, *class_weight;
  ig_xent_attr attr;
  int64_t n, c;
} labels;

static __device__ __forceinline__ void add_term(terms &t, const labels &l, int label, double factor) {
  if (factor == 0 || (l.attr.has_ignore && label == l.attr.ignore_label))
    return;
  if (label < 0 || label >= l.c) {
    t.bad = true;
    return;
  }
  t.label[t.n] = label;
  t.factor[t.n++] = factor;
}
static __device__ __forceinline__ terms terms_of(const labels &l, int64_t i) {
  terms t = {};
  const double s = l.sample_weight ? (double)l.sample_weight[i] : 1, lam = l.second ? (double)l.lam[i] : 1;
  add_term(t, l, l.first[i], s * lam);
  if (l.second)
    add_term(t, l, l.second[i], s * (1 - lam));
  return t;
}
static __device__ __forceinline__ double class_weight(const labels &l, int64_t c) {
  return l.class_weight ? (double)l.class_weight[c] : 1;
}

template <class T>
static __global__ void __launch_bounds__(THREADS) xent_kernel(const T *logits, labels l, double *partial) {
  __shared__ double scratch[IG_WARP];
  const int64_t i = blockIdx.x;
  const T *z = logits + i * l.c;
  const row_stats r = stats_of(z, l.c);
  const double e = (double)l.attr.label_smoothing, gamma = (double)l.attr.focal_gamma;
  double even = 0;
  if (e > 0) {
    for (int64_t j = threadIdx.x; j < l.c; j += THREADS)
      even -= class_weight(l, j) * log_p_of(z, j, r);
    even = ig_block_sum<THREADS>(even, scratch) / (double)l.c;
  }
  if (threadIdx.x != 0)
    return;
  const terms t = terms_of(l, i);
  double loss = t.bad ? NAN : 0, weight = 0;
  for (int k = 0; k < t.n; k++) {
    const double cw = class_weight(l, t.label[k]), log_p = log_p_of(z, t.label[k], r);
    const double focus = gamma > 0 ? pow(-expm1(log_p), gamma) : 1;
    loss += t.factor[k] * ((1 - e) * cw * focus * -log_p + e * even);
    weight += t.factor[k] * (l.attr.weight_per_row ? 1 : cw);
  }
  partial[i] = loss;
  partial[l.n + i] = weight;
}

static __device__ double focal_slope(double log_p, double gamma) {
  const double rest = -expm1(log_p);
  if (gamma == 0)
    return 1;
  return rest > 0 ? pow(rest, gamma) - gamma * pow(rest, gamma - 1) * exp(log_p) * log_p : 0;
}

template <class T>
static __global__ void __launch_bounds__(THREADS) xent_bwd_kernel(T *dz, const float *seed, const T *logits, labels l) {
  __shared__ double scratch[IG_WARP];
  const int64_t i = blockIdx.x;
  const T *z = logits + i * l.c;
  const row_stats r = stats_of(z, l.c);
  const double e = (double)l.attr.label_smoothing;
  const terms t = terms_of(l, i);
  double slope[2] = {0, 0}, all = 0, kept = 0, sum_cw = (double)l.c;
  if (l.class_weight) {
    sum_cw = 0;
    for (int64_t j = threadIdx.x; j < l.c; j += THREADS)
      sum_cw += (double)l.class_weight[j];
    sum_cw = ig_block_sum<THREADS>(sum_cw, scratch);
  }
  for (int k = 0; k < t.n; k++) {
    slope[k] = t.factor[k] * (1 - e) * class_weight(l, t.label[k]) *
               focal_slope(log_p_of(z, t.label[k], r), (double)l.attr.focal_gamma);
    all += slope[k];
    kept += t.factor[k] * e / (double)l.c;
  }
  const double scale = (double)*seed, on_p = all + kept * sum_cw;
  const float log_sum = (float)r.log_sum;
  for (int64_t j = threadIdx.x; j < l.c; j += THREADS) {
    double d = (double)expf(ig_up(z[j]) - r.most - log_sum) * on_p - kept * class_weight(l, j);
    for (int k = 0; k < t.n; k++)
      d -= t.label[k] == j ? slope[k] : 0;
    dz[i * l.c + j] = ig_down<T>(t.bad ? NAN : t.n ? (float)(scale * d) : 0);
  }
}

template <class T>
static __global__ void __launch_bounds__(THREADS)
    soft_kernel(const T *logits, const T *targets, const float *sample_weight, int64_t c, double *partial) {
  __shared__ double scratch[IG_WARP];
  const int64_t i = blockIdx.x;
  const T *z = logits + i * c, *t = targets + i * c;
  const row_stats r = stats_of(z, c);
  const double s = sample_weight ? (double)sample_weight[i] : 1;
  double sum = 0;
  for (int64_t j = threadIdx.x; j < c; j += THREADS)
    sum -= (double)ig_up(t[j]) * log_p_of(z, j, r);
  sum = ig_block_sum<THREADS>(sum, scratch);
  if (threadIdx.x == 0) {
    partial[i] = s != 0 ? s * sum : 0;
    partial[gridDim.x + i] = s;
  }
}
template <class T>
static __global__ void __launch_bounds__(THREADS)
    soft_bwd_kernel(T *dz, const float *seed, const T *logits, const T *targets, const float *sample_weight,
                    int64_t c) {
  __shared__ double scratch[IG_WARP];
  const int64_t i = blockIdx.x;
  const T *z = logits + i * c, *t = targets + i * c;
  const row_stats r = stats_of(z, c);
  const double s = sample_weight ? (double)sample_weight[i] : 1;
  const float log_sum = (float)r.log_sum;
  double sum = 0;
  for (int64_t j = threadIdx.x; j < c; j += THREADS)
    sum += (double)ig_up(t[j]);
  sum = ig_block_sum<THREADS>(sum, scratch);
  for (int64_t j = threadIdx.x; j < c; j += THREADS)
    dz[i * c + j] = ig_down<T>(
        s != 0 ? (float)((double)*seed * s * ((double)expf(ig_up(z[j]) - r.most - log_sum) * sum - (double)ig_up(t[j])))
               : 0);
}

template <class T>
static __global__ void __launch_bounds__(THREADS) softmax_kernel(T *y, const T *x, int64_t c) {
  const int64_t i = blockIdx.x;
  const row_stats r = stats_of(x + i * c, c);
  const float log_sum = (float)r.log_sum;
  for (int64_t j = threadIdx.x; j < c; j += THREADS)
    y[i * c + j] = ig_down<T>(expf(ig_up(x[i * c + j]) - r.most - log_sum));
}
template <class T>
static __global__ void __launch_bounds__(THREADS) softmax_bwd_kernel(T *dx, const T *dy, const T *y, int64_t c) {
  __shared__ double scratch[IG_WARP];
  const int64_t row = (int64_t)blockIdx.x * c;
  double dot = 0;
  for (int64_t j = threadIdx.x; j < c; j += THREADS)
    dot += (double)ig_up(dy[row + j]) * (double)ig_up(y[row + j]);
  dot = ig_block_sum<THREADS>(dot, scratch);
  for (int64_t j = threadIdx.x; j < c; j += THREADS)
    dx[row + j] = ig_down<T>(ig_up(y[row + j]) * (ig_up(dy[row + j]) - (float)dot));
}

static __global__ void __launch_bounds__(THREADS)
    finish_kernel(const double *partial, int64_t n, float *sum, float *weight) {
  __shared__ double scratch[IG_WARP];
  double a = 0, b = 0;
  for (int64_t i = threadIdx.x; i < n; i += THREADS) {
    a += partial[i];
    b += partial[n + i];
  }
  a = ig_block_sum<THREADS>(a, scratch);
  b = ig_block_sum<THREADS>(b, scratch);
  if (threadIdx.x == 0) {
    *sum = (float)a;
    *weight = (float)b;
  }
}
static __global__ void mean_kernel(const float *sum, const float *weight, float *mean) {
  *mean = *weight != 0 ? (float)((double)*sum / (double)*weight) : 0;
}
static __global__ void mean_bwd_kernel(const float *dy, const float *sum, const float *weight, float *dsum,
                                       float *dweight) {
  const double d = (double)*dy, s = (double)*sum, w = (double)*weight;
  *dsum = w != 0 ? (float)(d / w) : 0;
  *dweight = w != 0 ? (float)(-d * s / (w * w)) : 0;
}

// ---- launches ----
static labels labels_of(const ig_launch *l, int first) {
  const ig_shape *s = &l->node->in[first - 1]->shape;
  labels x = {};
  x.first = (const int32_t *)l->in[first];
  x.second = (const int32_t *)l->in[first + 1];
  x.lam = (const float *)l->in[first + 2];
  x.sample_weight = (const float *)l->in[first + 3];
  x.class_weight = (const float *)l->in[first + 4];
  x.attr = *(const ig_xent_attr *)l->node->attr;
  x.n = s->d[0];
  x.c = s->d[1];
  return x;
}
static ig_status finish(const ig_launch *l, int64_t rows) {
  finish_kernel<<<1, THREADS, 0, ig_stream_of(l)>>>((const double *)l->workspace, rows, (float *)l->out[0],
                                                    (float *)l->out[1]);
  IG_CUDA_LAUNCHED();
  return IG_OK;
}
static unsigned rows_of(const ig_tensor *t) {
  const int64_t c = t->shape.d[t->shape.n - 1];
  return (unsigned)(c ? ig_shape_count(&t->shape) / c : 0);
}
static ig_status run_xent(const ig_launch *l) {
  const labels x = labels_of(l, 1);
  ((xent_kernel<float>
    <<<(unsigned)x.n, THREADS, 0, ig_stream_of(l)>>>((const float *)l->in[0], x, (double *)l->workspace)));
  IG_CUDA_LAUNCHED();
  return finish(l, x.n);
}
static ig_status run_xent_bwd(const ig_launch *l) {
  const labels x = labels_of(l, 2);
  ((xent_bwd_kernel<float><<<(unsigned)x.n, THREADS, 0, ig_stream_of(l)>>>((float *)l->out[0], (const float *)l->in[0],
                                                                           (const float *)l->in[1], x)));
  IG_CUDA_LAUNCHED();
  return IG_OK;
}
static ig_status run_soft(const ig_launch *l) {
  const int64_t *d = l->node->in[0]->shape.d;
  ((soft_kernel<float><<<(unsigned)d[0], THREADS, 0, ig_stream_of(l)>>>(
      (const float *)l->in[0], (const float *)l->in[1], (const float *)l->in[2], d[1], (double *)l->workspace)));
  IG_CUDA_LAUNCHED();
  return finish(l, d[0]);
}
static ig_status run_soft_bwd(const ig_launch *l) {
  const int64_t *d = l->node->in[1]->shape.d;
  ((soft_bwd_kernel<float><<<(unsigned)d[0], THREADS, 0, ig_stream_of(l)>>>(
      (float *)l->out[0], (const float *)l->in[0], (const float *)l->in[1], (const float *)l->in[2],
      (const float *)l->in[3], d[1])));
  IG_CUDA_LAUNCHED();
  return IG_OK;
}
static ig_status run_softmax(const ig_launch *l) {
  const ig_tensor *x = l->node->in[0];
  IG_BY_TYPE(x->dtype, T,
             (softmax_kernel<T><<<rows_of(x), THREADS, 0, ig_stream_of(l)>>>((T *)l->out[0], (const T *)l->in[0],
                                                                             x->shape.d[x->shape.n - 1])));
  IG_CUDA_LAUNCHED();
  return IG_OK;
}
static ig_status run_softmax_bwd(const ig_launch *l) {
  const ig_tensor *x = l->node->in[1];
  IG_BY_TYPE(x->dtype, T,
             (softmax_bwd_kernel<T><<<rows_of(x), THREADS, 0, ig_stream_of(l)>>>(
                 (T *)l->out[0], (const T *)l->in[0], (const T *)l->in[1], x->shape.d[x->shape.n - 1])));
  IG_CUDA_LAUNCHED();
  return IG_OK;
}
static ig_status run_mean(const ig_launch *l) {
  mean_kernel<<<1, 1, 0, ig_stream_of(l)>>>((const float *)l->in[0], (const float *)l->in[1], (float *)l->out[0]);
  IG_CUDA_LAUNCHED();
  return IG_OK;
}
static ig_status run_mean_bwd(const ig_launch *l) {
  mean_bwd_kernel<<<1, 1, 0, ig_stream_of(l)>>>((const float *)l->in[0], (const float *)l->in[1],
                                                (const float *)l->in[2], (float *)l->out[0], (float *)l->out[1]);
  IG_CUDA_LAUNCHED();
  return IG_OK;
}
static ig_status prepare(ig_prepare *p) {
  p->workspace_bytes = 2 * (size_t)p->node->in[0]->shape.d[0] * sizeof(double);
  return IG_OK;
}
// The losses' builders cast 16-bit logits; softmax comes in any one type.
static bool supports_any(const ig_node *n, const ig_device_caps *caps, char *why, size_t why_bytes) {
  if (n->n_in == 2 && n->in[0]->dtype != n->in[1]->dtype) {
    snprintf(why, why_bytes, "operands are %s and %s, expected one type", ig_dtype_name(n->in[0]->dtype),
             ig_dtype_name(n->in[1]->dtype));
    return false;
  }
  return ig_cuda_supports(n, caps, why, why_bytes);
}
static bool supports(const ig_node *n, const ig_device_caps *caps, char *why, size_t why_bytes) {
  return ig_supports_f32(n, caps, why, why_bytes);
}

#define FLAGS                    (IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE)
#define XENT(name, prepare, run) IG_CUDA_IMPL_FLAGS(name, FLAGS, supports, prepare, run)
IG_CUDA_IMPLS(softmax_xent_cuda) = {XENT("softmax_xent", prepare, run_xent),
                                    XENT("softmax_xent_bwd", NULL, run_xent_bwd),
                                    XENT("softmax_xent_soft", prepare, run_soft),
                                    XENT("softmax_xent_soft_bwd", NULL, run_soft_bwd),
                                    IG_CUDA_IMPL_FLAGS("softmax", FLAGS, supports_any, NULL, run_softmax),
                                    IG_CUDA_IMPL_FLAGS("softmax_bwd", FLAGS, supports_any, NULL, run_softmax_bwd),
                                    XENT("loss_mean", NULL, run_mean),
                                    XENT("loss_mean_bwd", NULL, run_mean_bwd),
                                    {0}};
