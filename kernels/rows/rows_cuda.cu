// Chosen rows and means over sequences on a GPU. gather_rows: a warp owns a row of the result, of keys (u64) a thread
// an element; segment_mean: a block of 8 warps owns a sequence and a lane 8 (or 1) of its columns, warps take every 8th
// row and meet in 8 KiB of shared memory; segment_mean_bwd: a block owns every SPLITS-th row of a sequence; row_places:
// a thread walks the indices from the last one (all threads the same: one read of a cached line a warp). Each number
// read once and written once, by 128 bits where D is a multiple of 8; at most 48 registers. gather_rows_bwd is
// cuda_common/cuda_scatter.cu: rows sorted by index. Sums have a fixed order, no atomics: deterministic.
#include <math.h>

#include "kernels/cuda_common/cuda_scatter.h"
#include "kernels/cuda_common/cuda_sequences.cuh"
#include "kernels/rows/rows.h"

#define WARPS   8
#define THREADS (WARPS * IG_WARP)
#define SPLITS  8

template <class T, int E>
static __global__ void __launch_bounds__(THREADS)
    gather_kernel(T *y, const T *x, const int32_t *index, int64_t P, int64_t rows, int64_t D) {
  const int64_t p = (int64_t)blockIdx.x * WARPS + threadIdx.x / IG_WARP;
  if (p >= P)
    return;
  const int64_t from = index[p];
  const bool inside = from >= 0 && from < rows;
  for (int64_t c = threadIdx.x % IG_WARP * E; c < D; c += IG_WARP * E) {
    float v[E];
    if (inside)
      ig_load<E>(v, x + from * D + c);
#pragma unroll
    for (int e = 0; e < E && !inside; e++)
      v[e] = from == -1 ? 0 : NAN;
    ig_store<E>(y + p * D + c, v);
  }
}

static __global__ void __launch_bounds__(THREADS)
    keys_kernel(uint64_t *y, const uint64_t *x, const int32_t *index, int64_t n, int64_t rows, int64_t D) {
  const int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
  if (i >= n)
    return;
  const int64_t from = index[i / D];
  y[i] = from >= 0 && from < rows ? x[from * D + i % D] : 0;
}

template <class T, int E>
static __global__ void __launch_bounds__(THREADS)
    mean_kernel(float *y, const T *x, const int32_t *offsets, int rows, int D) {
  __shared__ float sums[WARPS][IG_WARP * E];
  __shared__ int scratch[WARPS];
  const int lane = threadIdx.x % IG_WARP, warp = threadIdx.x / IG_WARP, c = (blockIdx.y * IG_WARP + lane) * E;
  const int first = ig_sequence_first<THREADS>(offsets, blockIdx.x, rows, scratch),
            last = max(first, ig_offset_cut(offsets[blockIdx.x + 1], rows));
  float sum[E] = {0}, v[E];
  if (c < D)
#pragma unroll 2
    for (int t = first + warp; t < last; t += WARPS) {
      ig_load<E>(v, x + (int64_t)t * D + c);
#pragma unroll
      for (int e = 0; e < E; e++)
        sum[e] += v[e];
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
#pragma unroll
  for (int e = 0; e < E; e++)
    sum[e] = last > first ? sum[e] / (float)(last - first) : 0;
  ig_store<E>(y + (int64_t)blockIdx.x * D + c, sum);
}

// Block B of the grid: rows of no sequence.
template <class T, int E>
static __global__ void __launch_bounds__(THREADS)
    mean_bwd_kernel(T *dx, const float *dy, const int32_t *offsets, int rows, int D) {
  __shared__ int scratch[WARPS];
  const int b = blockIdx.x, B = gridDim.x - 1;
  const int c = (blockIdx.y * IG_WARP + threadIdx.x % IG_WARP) * E;
  const int first = ig_sequence_first<THREADS>(offsets, b, rows, scratch);
  const int zero = ig_offset_cut(offsets[0], rows);
  const int last = b < B ? max(first, ig_offset_cut(offsets[b + 1], rows)) : zero + rows;
  float v[E] = {0};
  if (c >= D)
    return;
  if (b < B && last > first) {
    ig_load<E>(v, dy + (int64_t)b * D + c);
#pragma unroll
    for (int e = 0; e < E; e++)
      v[e] /= (float)(last - first);
  }
  for (int t = first + blockIdx.z * WARPS + threadIdx.x / IG_WARP; t < last; t += SPLITS * WARPS)
    ig_store<E>(dx + (int64_t)(t < rows ? t : t - rows) * D + c, v);
}

static __global__ void __launch_bounds__(THREADS)
    places_kernel(int32_t *y, const int32_t *index, int64_t P, int64_t T) {
  const int64_t t = (int64_t)blockIdx.x * THREADS + threadIdx.x;
  if (t >= T)
    return;
  int64_t p = P - 1;
  while (p >= 0 && index[p] != t)
    p--;
  y[t] = (int32_t)p;
}

// ---- launches: STATEMENT with T and E for an element type and a row's length ----
#define BY_ROW(dtype, D, ...) \
  IG_BY_TYPE(                 \
      dtype, T,               \
      if ((D) % 8 == 0) {     \
        enum { E = 8 };       \
        __VA_ARGS__;          \
      } else {                \
        enum { E = 1 };       \
        __VA_ARGS__;          \
      })

static ig_status run_gather(const ig_launch *l) {
  const int64_t rows = l->node->in[0]->shape.d[0], *y = l->node->out[0]->shape.d;
  if (y[0] == 0)
    return IG_OK;
  if (l->node->in[0]->dtype == IG_U64) {
    keys_kernel<<<ig_blocks(y[0] * y[1], THREADS), THREADS, 0, ig_stream_of(l)>>>(
        (uint64_t *)l->out[0], (const uint64_t *)l->in[0], (const int32_t *)l->in[1], y[0] * y[1], rows, y[1]);
    IG_CUDA_LAUNCHED();
    return IG_OK;
  }
  BY_ROW(l->node->in[0]->dtype, y[1],
         (gather_kernel<T, E><<<ig_blocks(y[0], WARPS), THREADS, 0, ig_stream_of(l)>>>(
             (T *)l->out[0], (const T *)l->in[0], (const int32_t *)l->in[1], y[0], rows, y[1])));
  IG_CUDA_LAUNCHED();
  return IG_OK;
}

static ig_status run_mean(const ig_launch *l) {
  const int64_t rows = l->node->in[0]->shape.d[0], *y = l->node->out[0]->shape.d;
  if (y[0] == 0)
    return IG_OK;
  BY_ROW(l->node->in[0]->dtype, y[1],
         (mean_kernel<T, E><<<dim3((unsigned)y[0], ig_blocks(y[1], IG_WARP * E)), THREADS, 0, ig_stream_of(l)>>>(
             (float *)l->out[0], (const T *)l->in[0], (const int32_t *)l->in[1], (int)rows, (int)y[1])));
  IG_CUDA_LAUNCHED();
  return IG_OK;
}

static ig_status run_mean_bwd(const ig_launch *l) {
  const int64_t B = l->node->in[0]->shape.d[0], *x = l->node->out[0]->shape.d;
  if (x[0] == 0)
    return IG_OK;
  BY_ROW(l->node->out[0]->dtype, x[1],
         (mean_bwd_kernel<T, E>
          <<<dim3((unsigned)B + 1, ig_blocks(x[1], IG_WARP * E), SPLITS), THREADS, 0, ig_stream_of(l)>>>(
              (T *)l->out[0], (const float *)l->in[0], (const int32_t *)l->in[1], (int)x[0], (int)x[1])));
  IG_CUDA_LAUNCHED();
  return IG_OK;
}

static ig_status run_places(const ig_launch *l) {
  const int64_t T = l->node->out[0]->shape.d[0];
  if (T > 0)
    places_kernel<<<ig_blocks(T, THREADS), THREADS, 0, ig_stream_of(l)>>>(
        (int32_t *)l->out[0], (const int32_t *)l->in[0], l->node->in[0]->shape.d[0], T);
  IG_CUDA_LAUNCHED();
  return IG_OK;
}

static bool supports_bwd(const ig_node *n, const ig_device_caps *caps, char *why, size_t why_bytes) {
  return ig_cuda_supports(n, caps, why, why_bytes) &&
         ig_cuda_scatter_supports(n->in[1]->shape.d[0], n->out[0]->shape.d[0], n->out[0]->shape.d[1], why, why_bytes);
}
static ig_status prepare_bwd(ig_prepare *p) {
  const ig_node *n = p->node;
  p->workspace_bytes = ig_cuda_scatter_bytes(n->in[1]->shape.d[0], n->out[0]->shape.d[0], n->out[0]->shape.d[1]);
  return IG_OK;
}
static ig_status run_gather_bwd(const ig_launch *l) {
  const ig_node *n = l->node;
  const ig_dtype type = n->in[0]->dtype;
  const ig_cuda_scatter s = {l->in[0],
                             (const int32_t *)l->in[1],
                             l->out[0],
                             type,
                             type,
                             n->in[1]->shape.d[0],
                             n->out[0]->shape.d[0],
                             n->out[0]->shape.d[1],
                             false};
  return ig_cuda_scatter_run(l, &s);
}
// The gradient of means is fp32 (f64 under f64).
static bool supports_mean_bwd(const ig_node *n, const ig_device_caps *caps, char *why, size_t why_bytes) {
  if (n->in[0]->dtype != IG_F32) {
    snprintf(why, why_bytes, "gradients are %s, expected f32", ig_dtype_name(n->in[0]->dtype));
    return false;
  }
  return ig_cuda_supports(n, caps, why, why_bytes);
}

#define FLAGS (IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE)
IG_CUDA_IMPLS(rows_cuda) = {IG_CUDA_IMPL("gather_rows", run_gather),
                            IG_CUDA_IMPL_FLAGS("gather_rows_bwd", FLAGS, supports_bwd, prepare_bwd, run_gather_bwd),
                            IG_CUDA_IMPL("segment_mean", run_mean),
                            IG_CUDA_IMPL_FLAGS("segment_mean_bwd", FLAGS, supports_mean_bwd, NULL, run_mean_bwd),
                            IG_CUDA_IMPL("row_places", run_places),
                            {0}};
