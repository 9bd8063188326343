// Adaptive average pooling on a GPU: [N,H,W,C] to [N, C OH OW] and back. Rule: both are gathers, so no atomics.
//
// A block of 256 threads owns 32 neighbouring channels of one sample: a lane a channel, its 8 warps walk every 8th
// window (forward) or position (backward). The picture's side is coalesced; of the flat side a lane's numbers lie
// OH OW apart, and the block's neighbouring windows fill the same sectors while they are in the caches. Bytes: each
// side once. About 30 registers; no shared memory; deterministic.
#include "kernels/adaptive_pool/adaptive_pool.h"
#include "kernels/cuda_common/cuda_kernel.cuh"

#define THREADS 256

typedef struct sizes {
  int H, W, C, OH, OW;
} sizes;

static __device__ __forceinline__ int window_begin(int i, int size, int windows) { return i * size / windows; }
static __device__ __forceinline__ int window_end(int i, int size, int windows) {
  return ((i + 1) * size + windows - 1) / windows;
}

template <class T>
static __global__ void __launch_bounds__(THREADS) mean_kernel(T *y, const T *x, sizes s) {
  const int c = blockIdx.x * IG_WARP + threadIdx.x % IG_WARP;
  if (c >= s.C)
    return;
  const T *from = x + (int64_t)blockIdx.y * s.H * s.W * s.C + c;
  T *to = y + ((int64_t)blockIdx.y * s.C + c) * s.OH * s.OW;
  for (int k = threadIdx.x / IG_WARP; k < s.OH * s.OW; k += THREADS / IG_WARP) {
    const int h0 = window_begin(k / s.OW, s.H, s.OH), h1 = window_end(k / s.OW, s.H, s.OH);
    const int w0 = window_begin(k % s.OW, s.W, s.OW), w1 = window_end(k % s.OW, s.W, s.OW);
    float sum = 0;
    for (int h = h0; h < h1; h++)
      for (int w = w0; w < w1; w++)
        sum += ig_up(from[((int64_t)h * s.W + w) * s.C]);
    to[k] = ig_down<T>(sum / (float)((h1 - h0) * (w1 - w0)));
  }
}

template <class T>
static __global__ void __launch_bounds__(THREADS) gather_kernel(T *dx, const T *dy, sizes s) {
  const int c = blockIdx.x * IG_WARP + threadIdx.x % IG_WARP;
  if (c >= s.C)
    return;
  const T *from = dy + ((int64_t)blockIdx.y * s.C + c) * s.OH * s.OW;
  T *to = dx + (int64_t)blockIdx.y * s.H * s.W * s.C + c;
  for (int k = threadIdx.x / IG_WARP; k < s.H * s.W; k += THREADS / IG_WARP) {
    const int h = k / s.W, w = k % s.W;  // the windows that cover it, as in ig_cover_begin
    const int i0 = h * s.OH / s.H, i1 = ((h + 1) * s.OH + s.H - 1) / s.H;
    const int j0 = w * s.OW / s.W, j1 = ((w + 1) * s.OW + s.W - 1) / s.W;
    float sum = 0;
    for (int i = i0; i < i1; i++)
      for (int j = j0; j < j1; j++) {
        const int size = (window_end(i, s.H, s.OH) - window_begin(i, s.H, s.OH)) *
                         (window_end(j, s.W, s.OW) - window_begin(j, s.W, s.OW));
        sum += ig_up(from[i * s.OW + j]) / (float)size;
      }
    to[(int64_t)k * s.C] = ig_down<T>(sum);
  }
}

static sizes sizes_of(const ig_launch *l, const ig_shape *x) {
  const ig_adaptive_pool_attr *a = (const ig_adaptive_pool_attr *)l->node->attr;
  return {(int)x->d[1], (int)x->d[2], (int)x->d[3], a->out_h, a->out_w};
}

static ig_status run_mean(const ig_launch *l) {
  const ig_shape *x = &l->node->in[0]->shape;
  if (ig_shape_count(x) == 0)
    return IG_OK;
  const dim3 grid(ig_blocks(x->d[3], IG_WARP), (unsigned)x->d[0]);
  IG_BY_TYPE(
      l->node->in[0]->dtype, T,
      (mean_kernel<T><<<grid, THREADS, 0, ig_stream_of(l)>>>((T *)l->out[0], (const T *)l->in[0], sizes_of(l, x))));
  IG_CUDA_LAUNCHED();
  return IG_OK;
}
static ig_status run_gather(const ig_launch *l) {
  const ig_shape *x = &l->node->out[0]->shape;
  if (ig_shape_count(x) == 0)
    return IG_OK;
  const dim3 grid(ig_blocks(x->d[3], IG_WARP), (unsigned)x->d[0]);
  IG_BY_TYPE(
      l->node->out[0]->dtype, T,
      (gather_kernel<T><<<grid, THREADS, 0, ig_stream_of(l)>>>((T *)l->out[0], (const T *)l->in[0], sizes_of(l, x))));
  IG_CUDA_LAUNCHED();
  return IG_OK;
}

#define POOL(name, run) \
  IG_CUDA_IMPL_FLAGS(name, IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE, ig_cuda_supports, NULL, run)
IG_CUDA_IMPLS(adaptive_pool_cuda) = {POOL("adaptive_avgpool", run_mean), POOL("adaptive_avgpool_bwd", run_gather), {0}};
