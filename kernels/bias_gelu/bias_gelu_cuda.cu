// GELU behind a bias on a GPU. A block of 8 warps owns a run of rows and a lane 8 of their columns where D is a
// multiple of 8 (128-bit access), else one; a warp takes every 8th row; the bias stays in registers. Backward also adds
// up dx by columns: warps meet in 8 KiB of shared memory, runs in the workspace (cuda_columns.cuh), an order that sizes
// alone decide: deterministic. Bytes: x (dy) once, y (dx) once. 40 to 64 registers.
#include "kernels/bias_gelu/bias_gelu.h"
#include "kernels/cuda_common/cuda_columns.cuh"

#define WARPS   8
#define THREADS (WARPS * IG_WARP)
#define ROWS    32   // of a run
#define RUNS    256  // most runs of backward

static __device__ __forceinline__ float inner(float z) { return 0.7978845608f * (z + 0.044715f * z * z * z); }

template <bool TANH>
static __device__ __forceinline__ float value(float z) {
  return TANH ? 0.5f * z * (1 + tanhf(inner(z))) : 0.5f * z * (1 + erff(z * 0.7071067812f));
}
template <bool TANH>
static __device__ __forceinline__ float slope(float z) {
  if (!TANH)
    return 0.5f * (1 + erff(z * 0.7071067812f)) + z * 0.3989422804f * expf(-0.5f * z * z);
  const float t = tanhf(inner(z));
  return 0.5f * (1 + t) + 0.5f * z * (1 - t * t) * 0.7978845608f * (1 + 3 * 0.044715f * z * z);
}

template <class T, int E, bool TANH>
static __global__ void __launch_bounds__(THREADS)
    gelu_kernel(T *y, const T *x, const float *bias, int64_t rows, int64_t D) {
  const int64_t c = ((int64_t)blockIdx.x * IG_WARP + threadIdx.x % IG_WARP) * E, begin = (int64_t)blockIdx.y * ROWS,
                end = min(begin + ROWS, rows);
  if (c >= D)
    return;
  float b[E], v[E];
  ig_load<E>(b, bias + c);
  for (int64_t t = begin + threadIdx.x / IG_WARP; t < end; t += WARPS) {
    ig_load<E>(v, x + t * D + c);
#pragma unroll
    for (int e = 0; e < E; e++)
      v[e] = value<TANH>(v[e] + b[e]);
    ig_store<E>(y + t * D + c, v);
  }
}

// partial [runs][D].
template <class T, int E, bool TANH>
static __global__ void __launch_bounds__(THREADS)
    gelu_bwd_kernel(T *dx, float *partial, const T *dy, const T *x, const float *bias, int64_t rows, int64_t each,
                    int64_t D) {
  __shared__ float sums[WARPS][IG_WARP * E];
  const int lane = threadIdx.x % IG_WARP, warp = threadIdx.x / IG_WARP;
  const int64_t c = ((int64_t)blockIdx.x * IG_WARP + lane) * E, begin = blockIdx.y * each,
                end = min(begin + each, rows);
  float b[E], v[E], d[E], sum[E] = {0};
  if (c < D) {
    ig_load<E>(b, bias + c);
    for (int64_t t = begin + warp; t < end; t += WARPS) {
      ig_load<E>(v, x + t * D + c);
      ig_load<E>(d, dy + t * D + c);
#pragma unroll
      for (int e = 0; e < E; e++) {
        d[e] *= slope<TANH>(v[e] + b[e]);
        sum[e] += d[e];
      }
      ig_store<E>(dx + t * D + c, d);
    }
  }
#pragma unroll
  for (int e = 0; e < E; e++)
    sums[warp][lane + IG_WARP * e] = sum[e];
  __syncthreads();
  if (warp || c >= D)
    return;
  for (int k = 1; k < WARPS; k++)
#pragma unroll
    for (int e = 0; e < E; e++)
      sum[e] += sums[k][lane + IG_WARP * e];
  ig_store<E>(partial + blockIdx.y * D + c, sum);
}

// Rows of a run in backward, and runs.
static int64_t each_of(int64_t rows) {
  const int64_t each = (rows + RUNS - 1) / RUNS;
  return each < ROWS ? ROWS : each;
}
static int64_t runs_of(int64_t rows) { return rows ? (rows + each_of(rows) - 1) / each_of(rows) : 0; }

template <class T, int E, bool TANH>
static ig_status forward(const ig_launch *l) {
  const int64_t *s = l->node->in[0]->shape.d;
  if (s[0] == 0)
    return IG_OK;
  gelu_kernel<T, E, TANH><<<dim3(ig_blocks(s[1], IG_WARP * E), ig_blocks(s[0], ROWS)), THREADS, 0, ig_stream_of(l)>>>(
      (T *)l->out[0], (const T *)l->in[0], (const float *)l->in[1], s[0], s[1]);
  IG_CUDA_LAUNCHED();
  return IG_OK;
}
template <class T, int E, bool TANH>
static ig_status backward(const ig_launch *l) {
  const int64_t *s = l->node->in[1]->shape.d, runs = runs_of(s[0]);
  float *partial = (float *)l->workspace;
  if (runs) {
    gelu_bwd_kernel<T, E, TANH><<<dim3(ig_blocks(s[1], IG_WARP * E), (unsigned)runs), THREADS, 0, ig_stream_of(l)>>>(
        (T *)l->out[0], partial, (const T *)l->in[0], (const T *)l->in[1], (const float *)l->in[2], s[0], each_of(s[0]),
        s[1]);
    IG_CUDA_LAUNCHED();
  }
  return ig_columns_finish(l, (float *)l->out[1], NULL, partial, runs, s[1], s[1]);
}

template <class T>
static ig_status by_form(const ig_launch *l, bool bwd, bool tanh_form, bool eight) {
  if (bwd)
    return eight       ? tanh_form ? backward<T, 8, true>(l) : backward<T, 8, false>(l)
                 : tanh_form ? backward<T, 1, true>(l)
                       : backward<T, 1, false>(l);
  return eight       ? tanh_form ? forward<T, 8, true>(l) : forward<T, 8, false>(l)
               : tanh_form ? forward<T, 1, true>(l)
                     : forward<T, 1, false>(l);
}
static ig_status run_any(const ig_launch *l, bool bwd) {
  const ig_tensor *x = l->node->in[bwd];
  const bool tanh_form = ((const ig_bias_gelu_attr *)l->node->attr)->tanh_form;
  ig_status status = IG_OK;
  IG_BY_TYPE(x->dtype, T, status = by_form<T>(l, bwd, tanh_form, x->shape.d[1] % 8 == 0));
  return status;
}
static ig_status run(const ig_launch *l) { return run_any(l, false); }
static ig_status run_bwd(const ig_launch *l) { return run_any(l, true); }

static ig_status prepare_bwd(ig_prepare *p) {
  const int64_t *s = p->node->in[1]->shape.d;
  p->workspace_bytes = (size_t)(runs_of(s[0]) * s[1]) * sizeof(float);
  return IG_OK;
}
static bool supports(const ig_node *n, const ig_device_caps *caps, char *why, size_t why_bytes) {
  if (n->in[0]->shape.d[0] > 65535ll * ROWS) {
    snprintf(why, why_bytes, "%lld rows, expected at most %lld", (long long)n->in[0]->shape.d[0], 65535ll * ROWS);
    return false;
  }
  return ig_cuda_supports(n, caps, why, why_bytes);
}

#define FLAGS (IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE)
IG_CUDA_IMPLS(bias_gelu_cuda) = {IG_CUDA_IMPL_FLAGS("bias_gelu", FLAGS, supports, NULL, run),
                                 IG_CUDA_IMPL_FLAGS("bias_gelu_bwd", FLAGS, supports, prepare_bwd, run_bwd),
                                 {0}};
