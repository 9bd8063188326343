// Elementwise ops on a GPU. Rule: one pass over memory, 8 numbers a thread and 128 bits an access; operands may be of
// different types.
//
// map_kernel: a thread owns 8 neighbours, a block of 256 threads 2048; grid-stride, so that any count works. Bytes
// moved: each operand read once (fill_like: none), the result written once (the row's cost). Registers: about 40; no
// shared memory.
// Deterministic. Ragged tails (count % 8) by the last thread, one by one.
#include <math.h>

#include "kernels/cuda_common/cuda_kernel.cuh"

#define EACH    8
#define THREADS 256
#define MAX_IN  8  // operands of one pass; more are added in further passes

enum { F32, BF16, F16 };

typedef struct operand {
  void *p;
  int type;
} operand;

typedef struct operands {
  operand in[MAX_IN], out;
  int n_in;
  float p;  // attribute: factor, slope
} operands;

static __device__ __forceinline__ void load8(float (&x)[EACH], const operand &o, int64_t at) {
  if (o.type == F32)
    ig_load<EACH>(x, (const float *)o.p + at);
  else if (o.type == BF16)
    ig_load<EACH>(x, (const ig_bf16 *)o.p + at);
  else
    ig_load<EACH>(x, (const ig_f16 *)o.p + at);
}
static __device__ __forceinline__ float load1(const operand &o, int64_t at) {
  return o.type == F32    ? ((const float *)o.p)[at]
         : o.type == BF16 ? ig_up(((const ig_bf16 *)o.p)[at])
                          : ig_up(((const ig_f16 *)o.p)[at]);
}
static __device__ __forceinline__ void store8(const operand &o, int64_t at, const float (&x)[EACH]) {
  if (o.type == F32)
    ig_store<EACH>((float *)o.p + at, x);
  else if (o.type == BF16)
    ig_store<EACH>((ig_bf16 *)o.p + at, x);
  else
    ig_store<EACH>((ig_f16 *)o.p + at, x);
}
static __device__ __forceinline__ void store1(const operand &o, int64_t at, float x) {
  if (o.type == F32)
    ((float *)o.p)[at] = x;
  else if (o.type == BF16)
    ((ig_bf16 *)o.p)[at] = ig_down<ig_bf16>(x);
  else
    ((ig_f16 *)o.p)[at] = ig_down<ig_f16>(x);
}

// ---- functions of one number a, or of two a and b; p is the attribute ----
static __device__ __forceinline__ float sigmoid_of(float x) { return 1.0f / (1.0f + expf(-x)); }
static __device__ __forceinline__ float cdf(float x) { return 0.5f * erfcf(-0.707106781f * x); }
static __device__ __forceinline__ float inner(float x) { return 0.797884561f * (x + 0.044715f * x * x * x); }
static __device__ __forceinline__ float gelu_tanh_slope(float x) {
  float t = tanhf(inner(x));
  return 0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * 0.797884561f * (1.0f + 0.134145f * x * x);
}
#define FUNCTION(name, expression)                                                              \
  struct name {                                                                                 \
    static constexpr bool READS = true;                                                         \
    static __device__ __forceinline__ float f(float a, float b, float p) { return expression; } \
  }
FUNCTION(add_f, a + b);
FUNCTION(mul_f, a *b);
FUNCTION(scale_f, a *p);
FUNCTION(relu_f, a < 0 ? 0 : a);
FUNCTION(relu_bwd_f, b <= 0 ? 0 : a);
FUNCTION(leaky_relu_f, a <= 0 ? a * p : a);
FUNCTION(leaky_relu_bwd_f, b <= 0 ? a * p : a);
FUNCTION(sigmoid_f, sigmoid_of(a));
FUNCTION(sigmoid_bwd_f, a *b *(1.0f - b));
FUNCTION(tanh_f, tanhf(a));
FUNCTION(tanh_bwd_f, a *(1.0f - b * b));
FUNCTION(silu_f, a *sigmoid_of(a));
FUNCTION(silu_bwd_f, a *sigmoid_of(b) * (1.0f + b * (1.0f - sigmoid_of(b))));
FUNCTION(gelu_erf_f, a *cdf(a));
FUNCTION(gelu_erf_bwd_f, a *(cdf(b) + b * 0.398942280f * expf(-0.5f * b * b)));
FUNCTION(gelu_tanh_f, 0.5f * a * (1.0f + tanhf(inner(a))));
FUNCTION(gelu_tanh_bwd_f, a *gelu_tanh_slope(b));
FUNCTION(axpy_f, a + p * b);
struct fill_f {
  static constexpr bool READS = false;
  static __device__ __forceinline__ float f(float a, float b, float p) { return p; }
};

// y = F(...F(F(in0, in1), in2)..., in_n-1); with one operand F(in0, 0).
template <class F>
static __global__ void __launch_bounds__(THREADS) map_kernel(operands o, int64_t count) {
  const int64_t stride = (int64_t)gridDim.x * THREADS * EACH;
  for (int64_t at = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * EACH; at < count; at += stride) {
    if (at + EACH <= count) {
      float a[EACH] = {0}, b[EACH] = {0};
      if constexpr (F::READS)
        load8(a, o.in[0], at);
      for (int j = 1; j < (o.n_in > 1 ? o.n_in : 2); j++) {
        if (j < o.n_in)
          load8(b, o.in[j], at);
#pragma unroll
        for (int i = 0; i < EACH; i++)
          a[i] = F::f(a[i], b[i], o.p);
      }
      store8(o.out, at, a);
    } else {
      for (int64_t i = at; i < count; i++) {
        float a = 0;
        if constexpr (F::READS)
          a = load1(o.in[0], i);
        for (int j = 1; j < (o.n_in > 1 ? o.n_in : 2); j++)
          a = F::f(a, j < o.n_in ? load1(o.in[j], i) : 0, o.p);
        store1(o.out, i, a);
      }
    }
  }
}

static int type_of(ig_dtype t) { return t == IG_BF16 ? BF16 : t == IG_F16 ? F16 : F32; }

// The operands from..from+n of the node; from > 0: after the result so far.
template <class F>
static ig_status map(const ig_launch *l, void *out, ig_dtype out_type, int from, int n, float p) {
  const ig_node *node = l->node;
  const int64_t count = ig_shape_count(&node->in[0]->shape);
  operands o = {};
  o.out = {out, type_of(out_type)};
  o.p = p;
  if (from > 0)
    o.in[o.n_in++] = o.out;
  for (int i = from; i < from + n; i++)
    o.in[o.n_in++] = {l->in[i], type_of(node->in[i]->dtype)};
  const int64_t wanted = (count + THREADS * EACH - 1) / (THREADS * EACH),
                most = 16 * (int64_t)l->device->caps.processors;
  if (count == 0)
    return IG_OK;
  map_kernel<F><<<(unsigned)(wanted < most ? wanted : most), THREADS, 0, ig_stream_of(l)>>>(o, count);
  IG_CUDA_LAUNCHED();
  return IG_OK;
}

template <class F>
static ig_status run(const ig_launch *l) {
  const ig_node *n = l->node;
  return map<F>(l, l->out[0], n->out[0]->dtype, 0, n->n_in, n->attr ? *(const float *)n->attr : 0);
}

// Partial sums stay in the result, so more than one pass is for fp32 results.
static bool add_supports(const ig_node *n, const ig_device_caps *caps, char *why, size_t why_bytes) {
  if (n->n_in > MAX_IN && n->out[0]->dtype != IG_F32) {
    snprintf(why, why_bytes, "%d operands, expected at most %d of 16 bits", n->n_in, MAX_IN);
    return false;
  }
  return ig_cuda_supports(n, caps, why, why_bytes);
}
static ig_status run_add(const ig_launch *l) {
  const ig_node *n = l->node;
  if (n->n_in == 1)
    return map<scale_f>(l, l->out[0], n->out[0]->dtype, 0, 1, 1);
  for (int done = 0, take; done < n->n_in; done += take) {
    take = n->n_in - done < MAX_IN - (done > 0) ? n->n_in - done : MAX_IN - (done > 0);
    IG_TRY(map<add_f>(l, l->out[0], n->out[0]->dtype, done, take, 0));
  }
  return IG_OK;
}
static ig_status run_axpy(const ig_launch *l) {
  IG_CUDA(cudaMemsetAsync(l->out[0], 0, sizeof(float), ig_stream_of(l)));
  return map<axpy_f>(l, l->in[0], l->node->in[0]->dtype, 0, 2, *(const float *)l->node->attr);
}
static ig_status run_fill(const ig_launch *l) {
  return map<fill_f>(l, l->out[0], l->node->out[0]->dtype, 0, 1, (float)*(const double *)l->node->attr);
}

IG_CUDA_IMPLS(eltwise_cuda) = {
    IG_CUDA_IMPL_FLAGS("add", IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE, add_supports, NULL, run_add),
    IG_CUDA_IMPL("mul", run<mul_f>),
    IG_CUDA_IMPL("scale", run<scale_f>),
    IG_CUDA_IMPL("fill_like", run_fill),
    IG_CUDA_IMPL("axpy", run_axpy),
    IG_CUDA_IMPL("relu", run<relu_f>),
    IG_CUDA_IMPL("relu_bwd", run<relu_bwd_f>),
    IG_CUDA_IMPL("leaky_relu", run<leaky_relu_f>),
    IG_CUDA_IMPL("leaky_relu_bwd", run<leaky_relu_bwd_f>),
    IG_CUDA_IMPL("sigmoid", run<sigmoid_f>),
    IG_CUDA_IMPL("sigmoid_bwd", run<sigmoid_bwd_f>),
    IG_CUDA_IMPL("tanh", run<tanh_f>),
    IG_CUDA_IMPL("tanh_bwd", run<tanh_bwd_f>),
    IG_CUDA_IMPL("silu", run<silu_f>),
    IG_CUDA_IMPL("silu_bwd", run<silu_bwd_f>),
    IG_CUDA_IMPL("gelu_erf", run<gelu_erf_f>),
    IG_CUDA_IMPL("gelu_erf_bwd", run<gelu_erf_bwd_f>),
    IG_CUDA_IMPL("gelu_tanh", run<gelu_tanh_f>),
    IG_CUDA_IMPL("gelu_tanh_bwd", run<gelu_tanh_bwd_f>),
    {0}};
