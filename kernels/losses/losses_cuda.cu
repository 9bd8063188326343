// Losses of predictions against targets on a GPU. Rule: terms are computed in double as the reference does (a loss is
// small beside a network), partial sums lie in the workspace and are added in order; no atomics.
//
// value_kernel: a block of 256 threads owns a run of elements (at most PARTS blocks): two partial sums. slope_kernel: a
// thread owns an element. kd_*: a block owns a row. finish_kernel: one block adds the partial sums. Bytes: x and target
// once (kd: three times from the caches), dx once: 8 and 12 an element; 28 to 56 registers, 256 bytes of shared memory;
// deterministic. kd_kernel spills 8 bytes around double exp. Prediction: 3 to 6 us for 256 x 1000 on an H200, latency
// and not bytes.
#include <math.h>

#include "kernels/cuda_common/cuda_kernel.cuh"
#include "kernels/losses/losses.h"
#include "kernels/optim_util/fixed.h"

#define THREADS 256
#define PARTS   256

static __device__ __forceinline__ double sign(double d) { return (d > 0) - (d < 0); }
static __device__ __forceinline__ double sigmoid(double x) {
  return x >= 0 ? 1 / (1 + exp(-x)) : exp(x) / (1 + exp(x));
}
static __device__ __forceinline__ double softplus(double x) { return log1p(exp(-fabs(x))) + fmax(x, 0.0); }

// Value and slope (d value / d x) at one element; w: weight of positive targets.
struct mse {
  static __device__ double value(double x, double t, double w, ig_loss_attr a) { return (x - t) * (x - t); }
  static __device__ double slope(double x, double t, double w, ig_loss_attr a) { return 2 * (x - t); }
};
struct l1 {
  static __device__ double value(double x, double t, double w, ig_loss_attr a) { return fabs(x - t); }
  static __device__ double slope(double x, double t, double w, ig_loss_attr a) { return sign(x - t); }
};
struct smooth_l1 {
  static __device__ double value(double x, double t, double w, ig_loss_attr a) {
    const double d = fabs(x - t), beta = (double)a.a;
    return d < beta ? 0.5 * d * d / beta : d - 0.5 * beta;
  }
  static __device__ double slope(double x, double t, double w, ig_loss_attr a) {
    const double d = x - t, beta = (double)a.a;
    return fabs(d) < beta ? d / beta : sign(d);
  }
};
struct huber {
  static __device__ double value(double x, double t, double w, ig_loss_attr a) {
    const double d = fabs(x - t), delta = (double)a.a;
    return d <= delta ? 0.5 * d * d : delta * (d - 0.5 * delta);
  }
  static __device__ double slope(double x, double t, double w, ig_loss_attr a) {
    const double d = x - t, delta = (double)a.a;
    return fabs(d) <= delta ? d : delta * sign(d);
  }
};
struct bce {
  static __device__ double value(double x, double t, double w, ig_loss_attr a) {
    return w * t * softplus(-x) + (1 - t) * softplus(x);
  }
  static __device__ double slope(double x, double t, double w, ig_loss_attr a) {
    return (1 - t) * sigmoid(x) - w * t * sigmoid(-x);
  }
};
struct focal {
  static __device__ double alpha(double t, ig_loss_attr a) {
    return a.a < 0 ? 1 : (double)a.a * t + (1 - (double)a.a) * (1 - t);
  }
  static __device__ double value(double x, double t, double w, ig_loss_attr a) {
    const double miss = sigmoid(x) * (1 - t) + sigmoid(-x) * t;
    return alpha(t, a) * pow(miss, (double)a.b) * bce::value(x, t, 1, a);
  }
  static __device__ double slope(double x, double t, double w, ig_loss_attr a) {
    const double p = sigmoid(x), q = sigmoid(-x), miss = p * (1 - t) + q * t, gamma = (double)a.b;
    if (miss == 0)
      return 0;
    return alpha(t, a) * (pow(miss, gamma) * bce::slope(x, t, 1, a) +
                          gamma * pow(miss, gamma - 1) * (1 - 2 * t) * p * q * bce::value(x, t, 1, a));
  }
};

// partial[part] and partial[parts + part]: sum and weight.
template <class T, class L>
static __global__ void __launch_bounds__(THREADS)
    value_kernel(const T *x, const T *t, const float *share, const float *w, int64_t n, int64_t d, int64_t each,
                 ig_loss_attr a, double *partial) {
  __shared__ double scratch[IG_WARP];
  const int64_t begin = blockIdx.x * each, end = min(begin + each, n);
  double sum = 0, weight = 0;
  for (int64_t i = begin + threadIdx.x; i < end; i += THREADS) {
    const double s = share ? (double)share[i / d] : 1;
    if (s != 0)
      sum += s * L::value((double)ig_up(x[i]), (double)ig_up(t[i]), w ? (double)w[i % d] : 1, a);
    weight += s;
  }
  sum = ig_block_sum<THREADS>(sum, scratch);
  weight = ig_block_sum<THREADS>(weight, scratch);
  if (threadIdx.x == 0) {
    partial[blockIdx.x] = sum;
    partial[gridDim.x + blockIdx.x] = weight;
  }
}
static __global__ void __launch_bounds__(THREADS)
    finish_kernel(const double *partial, int parts, float *sum, float *weight) {
  __shared__ double scratch[IG_WARP];
  double a = 0, b = 0;
  for (int i = threadIdx.x; i < parts; i += THREADS) {
    a += partial[i];
    b += partial[parts + i];
  }
  a = ig_block_sum<THREADS>(a, scratch);
  b = ig_block_sum<THREADS>(b, scratch);
  if (threadIdx.x == 0) {
    *sum = (float)a;
    *weight = (float)b;
  }
}
template <class T, class L>
static __global__ void __launch_bounds__(THREADS)
    slope_kernel(T *dx, const float *seed, const T *x, const T *t, const float *share, const float *w, int64_t n,
                 int64_t d, ig_loss_attr a) {
  for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < n; i += (int64_t)gridDim.x * THREADS) {
    const double s = (share ? (double)share[i / d] : 1);
    dx[i] = ig_down<T>(s != 0 ? (float)((double)*seed * s *
                                        L::slope((double)ig_up(x[i]), (double)ig_up(t[i]), w ? (double)w[i % d] : 1, a))
                              : 0);
  }
}

// log sum_c exp(x_c / T), in every thread of the block.
template <class T>
static __device__ double log_sum_exp(const T *x, int64_t d, double temperature, double *scratch) {
  __shared__ double most_shared;
  double most = -INFINITY, sum = 0;
  for (int64_t j = threadIdx.x; j < d; j += THREADS)
    most = fmax(most, (double)ig_up(x[j]) / temperature);
  for (int offset = IG_WARP / 2; offset; offset /= 2)
    most = fmax(most, __shfl_xor_sync(0xffffffffu, most, offset));
  if (threadIdx.x % IG_WARP == 0)
    scratch[threadIdx.x / IG_WARP] = most;
  __syncthreads();
  if (threadIdx.x == 0) {
    for (int k = 1; k < THREADS / IG_WARP; k++)
      most = fmax(most, scratch[k]);
    most_shared = most;
  }
  __syncthreads();
  most = most_shared;
  for (int64_t j = threadIdx.x; j < d; j += THREADS)
    sum += exp((double)ig_up(x[j]) / temperature - most);
  sum = ig_block_sum<THREADS>(sum, scratch);
  return most + log(sum);
}
template <class T>
static __global__ void __launch_bounds__(THREADS)
    kd_kernel(const T *x, const T *t, const float *share, int64_t d, double temperature, double *partial) {
  __shared__ double scratch[IG_WARP];
  const int64_t row = blockIdx.x;
  const double s = share ? (double)share[row] : 1;
  const double zx = log_sum_exp(x + row * d, d, temperature, scratch);
  const double zt = log_sum_exp(t + row * d, d, temperature, scratch);
  double sum = 0;
  for (int64_t j = threadIdx.x; j < d; j += THREADS) {
    const double log_q = (double)ig_up(t[row * d + j]) / temperature - zt;
    sum += exp(log_q) * (log_q - ((double)ig_up(x[row * d + j]) / temperature - zx));
  }
  sum = ig_block_sum<THREADS>(sum, scratch);
  if (threadIdx.x == 0) {
    partial[row] = s != 0 ? s * temperature * temperature * sum : 0;
    partial[gridDim.x + row] = s;
  }
}
template <class T>
static __global__ void __launch_bounds__(THREADS)
    kd_bwd_kernel(T *dx, const float *seed, const T *x, const T *t, const float *share, int64_t d, double temperature) {
  __shared__ double scratch[IG_WARP];
  const int64_t row = blockIdx.x;
  const double s = share ? (double)share[row] : 1, scale = (double)*seed * s * temperature;
  const double zx = log_sum_exp(x + row * d, d, temperature, scratch);
  const double zt = log_sum_exp(t + row * d, d, temperature, scratch);
  for (int64_t i = row * d + threadIdx.x; i < (row + 1) * d; i += THREADS)
    dx[i] = ig_down<T>(s != 0 ? (float)(scale * (exp((double)ig_up(x[i]) / temperature - zx) -
                                                 exp((double)ig_up(t[i]) / temperature - zt)))
                              : 0);
}

// ---- launches ----
static int parts_of(int64_t n) {
  const int64_t wanted = (n + 4 * THREADS - 1) / (4 * THREADS);
  return (int)(wanted < 1 ? 1 : wanted < PARTS ? wanted : PARTS);
}
static ig_loss_attr attr_of(const ig_launch *l) {
  return l->node->op->attr_bytes ? *(const ig_loss_attr *)l->node->attr : ig_loss_attr{0, 0};
}
static ig_status finish(const ig_launch *l, int parts) {
  finish_kernel<<<1, THREADS, 0, ig_stream_of(l)>>>((const double *)l->workspace, parts, (float *)l->out[0],
                                                    (float *)l->out[1]);
  IG_CUDA_LAUNCHED();
  return IG_OK;
}
template <class L>
static ig_status run_value(const ig_launch *l) {
  const ig_shape *s = &l->node->in[0]->shape;
  const int64_t n = ig_shape_count(s), d = s->d[0] ? n / s->d[0] : 1;
  const int parts = parts_of(n);
  ((value_kernel<float, L>
    <<<parts, THREADS, 0, ig_stream_of(l)>>>((const float *)l->in[0], (const float *)l->in[1], (const float *)l->in[2],
                                             l->node->n_in > 3 ? (const float *)l->in[3] : NULL, n, d ? d : 1,
                                             (n + parts - 1) / parts, attr_of(l), (double *)l->workspace)));
  IG_CUDA_LAUNCHED();
  return finish(l, parts);
}
template <class L>
static ig_status run_slope(const ig_launch *l) {
  const ig_shape *s = &l->node->in[1]->shape;
  const int64_t n = ig_shape_count(s), d = s->d[0] ? n / s->d[0] : 1;
  const unsigned blocks = ig_blocks(n ? n : 1, THREADS);
  ((slope_kernel<float, L><<<blocks, THREADS, 0, ig_stream_of(l)>>>(
      (float *)l->out[0], (const float *)l->in[0], (const float *)l->in[1], (const float *)l->in[2],
      (const float *)l->in[3], l->node->n_in > 4 ? (const float *)l->in[4] : NULL, n, d ? d : 1, attr_of(l))));
  IG_CUDA_LAUNCHED();
  return IG_OK;
}
static ig_status run_kd(const ig_launch *l) {
  const int64_t *d = l->node->in[0]->shape.d;
  ((kd_kernel<float><<<(unsigned)d[0], THREADS, 0, ig_stream_of(l)>>>((const float *)l->in[0], (const float *)l->in[1],
                                                                      (const float *)l->in[2], d[1],
                                                                      (double)attr_of(l).a, (double *)l->workspace)));
  IG_CUDA_LAUNCHED();
  return finish(l, (int)d[0]);
}
static ig_status run_kd_bwd(const ig_launch *l) {
  const int64_t *d = l->node->in[1]->shape.d;
  ((kd_bwd_kernel<float><<<(unsigned)d[0], THREADS, 0, ig_stream_of(l)>>>(
      (float *)l->out[0], (const float *)l->in[0], (const float *)l->in[1], (const float *)l->in[2],
      (const float *)l->in[3], d[1], (double)attr_of(l).a)));
  IG_CUDA_LAUNCHED();
  return IG_OK;
}
static ig_status prepare_value(ig_prepare *p) {
  p->workspace_bytes = 2 * (size_t)parts_of(ig_shape_count(&p->node->in[0]->shape)) * sizeof(double);
  return IG_OK;
}
static ig_status prepare_kd(ig_prepare *p) {
  p->workspace_bytes = 2 * (size_t)p->node->in[0]->shape.d[0] * sizeof(double);
  return IG_OK;
}
// The builders cast 16-bit predictions: a loss is taken in fp32.
static bool supports(const ig_node *n, const ig_device_caps *caps, char *why, size_t why_bytes) {
  return ig_supports_f32(n, caps, why, why_bytes);
}

#define FLAGS (IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE)
#define LOSS(name, rule)                                                     \
  IG_CUDA_IMPL_FLAGS(name, FLAGS, supports, prepare_value, run_value<rule>), \
      IG_CUDA_IMPL_FLAGS(name "_bwd", FLAGS, supports, NULL, run_slope<rule>)
IG_CUDA_IMPLS(losses_cuda) = {LOSS("mse_loss", mse),
                              LOSS("l1_loss", l1),
                              LOSS("smooth_l1_loss", smooth_l1),
                              LOSS("huber_loss", huber),
                              LOSS("bce_loss", bce),
                              LOSS("sigmoid_focal_loss", focal),
                              IG_CUDA_IMPL_FLAGS("kd_loss", FLAGS, supports, prepare_kd, run_kd),
                              IG_CUDA_IMPL_FLAGS("kd_loss_bwd", FLAGS, supports, NULL, run_kd_bwd),
                              {0}};
