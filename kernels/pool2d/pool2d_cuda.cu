// Pooling on a GPU, [N,H,W,C]. Rule: backward gathers, so no atomics and no order of threads.
//
// A thread owns 8 neighbouring channels of one position where C is a multiple of 8 (128-bit access in 16 bits, twice
// that in fp32), else one channel; a block of 256 threads, grid-stride. Bytes: the input once (overlapping windows meet
// in the caches), the output once; max: 1 byte of winner an output more. About 40 registers; no shared memory;
// deterministic. global_kernel: a block owns 32 channels of a sample, 8 warps walk every 8th position.
#include <math.h>

#include "kernels/cuda_common/cuda_kernel.cuh"
#include "kernels/pool2d/pool2d.h"

#define THREADS 256

typedef struct sizes {
  int64_t count;      // vectors of the result
  int H, W, P, Q, C;  // input, output, channels
} sizes;

struct place4 {
  int64_t n;
  int h, w, c;  // c: first channel
};
template <int EACH>
static __device__ __forceinline__ place4 place_of(int64_t i, int H, int W, int C) {
  const int groups = C / EACH;
  const int64_t position = i / groups;
  return {position / W / H, (int)(position / W % H), (int)(position % W), (int)(i % groups) * EACH};
}
template <int EACH>
static __device__ __forceinline__ int64_t at(int64_t n, int h, int w, int c, int H, int W, int C) {
  return ((n * H + h) * W + w) * C + c;
}

template <class T, int EACH>
static __global__ void __launch_bounds__(THREADS)
    max_kernel(T *y, uint8_t *winner, const T *x, sizes s, ig_pool2d_attr a) {
  for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < s.count; i += (int64_t)gridDim.x * THREADS) {
    const place4 o = place_of<EACH>(i, s.P, s.Q, s.C);
    float best[EACH], v[EACH];
    ig_pack<uint8_t, EACH> place;
    bool any = false;
    for (int k = 0; k < a.kernel_h * a.kernel_w; k++) {
      const int h = o.h * a.stride_h - a.pad_top + k / a.kernel_w, w = o.w * a.stride_w - a.pad_left + k % a.kernel_w;
      const bool inside = h >= 0 && w >= 0 && h < s.H && w < s.W;
      if (!inside && !a.pad_zero)
        continue;
      if (inside)
        ig_load<EACH>(v, x + at<EACH>(o.n, h, w, o.c, s.H, s.W, s.C));
#pragma unroll
      for (int j = 0; j < EACH; j++) {
        const float value = inside ? v[j] : 0;
        if (!any || value > best[j] || isnan(value)) {
          best[j] = value;
          place.v[j] = (uint8_t)k;
        }
      }
      any = true;
    }
    if (!any) {
#pragma unroll
      for (int j = 0; j < EACH; j++) {
        best[j] = -INFINITY;
        place.v[j] = 255;
      }
    }
    const int64_t out = i * EACH;
    ig_store<EACH>(y + out, best);
    *reinterpret_cast<ig_pack<uint8_t, EACH> *>(winner + out) = place;
  }
}

static __device__ __forceinline__ int inside_of(const ig_pool2d_attr &a, int top, int left, int H, int W) {
  const int high = min(top + a.kernel_h, H) - max(top, 0), wide = min(left + a.kernel_w, W) - max(left, 0);
  return a.count_include_pad ? a.kernel_h * a.kernel_w : high * wide;
}

template <class T, int EACH>
static __global__ void __launch_bounds__(THREADS) avg_kernel(T *y, const T *x, sizes s, ig_pool2d_attr a) {
  for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < s.count; i += (int64_t)gridDim.x * THREADS) {
    const place4 o = place_of<EACH>(i, s.P, s.Q, s.C);
    const int top = o.h * a.stride_h - a.pad_top, left = o.w * a.stride_w - a.pad_left;
    float sum[EACH] = {0}, v[EACH];
    for (int h = max(top, 0); h < min(top + a.kernel_h, s.H); h++)
      for (int w = max(left, 0); w < min(left + a.kernel_w, s.W); w++) {
        ig_load<EACH>(v, x + at<EACH>(o.n, h, w, o.c, s.H, s.W, s.C));
#pragma unroll
        for (int j = 0; j < EACH; j++)
          sum[j] += v[j];
      }
    const float share = 1 / (float)inside_of(a, top, left, s.H, s.W);
#pragma unroll
    for (int j = 0; j < EACH; j++)
      sum[j] *= share;
    ig_store<EACH>(y + i * EACH, sum);
  }
}

// dx at (h, w): windows p with p stride - pad <= h < p stride - pad + kernel.
template <class T, int EACH, bool MAX>
static __global__ void __launch_bounds__(THREADS)
    bwd_kernel(T *dx, const T *dy, const uint8_t *winner, sizes s, ig_pool2d_attr a) {
  for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < s.count; i += (int64_t)gridDim.x * THREADS) {
    const place4 o = place_of<EACH>(i, s.H, s.W, s.C);
    const int high = o.h + a.pad_top, wide = o.w + a.pad_left;
    const int p0 = high < a.kernel_h ? 0 : (high - a.kernel_h) / a.stride_h + 1, p1 = min(high / a.stride_h, s.P - 1);
    const int q0 = wide < a.kernel_w ? 0 : (wide - a.kernel_w) / a.stride_w + 1, q1 = min(wide / a.stride_w, s.Q - 1);
    float sum[EACH] = {0}, v[EACH];
    for (int p = p0; p <= p1; p++)
      for (int q = q0; q <= q1; q++) {
        const int64_t from = at<EACH>(o.n, p, q, o.c, s.P, s.Q, s.C);
        ig_load<EACH>(v, dy + from);
        if (MAX) {
          const int tap = (high - p * a.stride_h) * a.kernel_w + wide - q * a.stride_w;
          const ig_pack<uint8_t, EACH> won = *reinterpret_cast<const ig_pack<uint8_t, EACH> *>(winner + from);
#pragma unroll
          for (int j = 0; j < EACH; j++)
            sum[j] += won.v[j] == tap ? v[j] : 0;
        } else {
          const float share =
              1 / (float)inside_of(a, p * a.stride_h - a.pad_top, q * a.stride_w - a.pad_left, s.H, s.W);
#pragma unroll
          for (int j = 0; j < EACH; j++)
            sum[j] += v[j] * share;
        }
      }
    ig_store<EACH>(dx + i * EACH, sum);
  }
}

template <class T>
static __global__ void __launch_bounds__(THREADS) global_kernel(T *y, const T *x, int positions, int C) {
  __shared__ float sums[THREADS / IG_WARP][IG_WARP];
  const int lane = threadIdx.x % IG_WARP, warp = threadIdx.x / IG_WARP, c = blockIdx.x * IG_WARP + lane;
  const T *from = x + (int64_t)blockIdx.y * positions * C;
  float sum = 0;
  for (int p = warp; p < positions && c < C; p += THREADS / IG_WARP)
    sum += ig_up(from[(int64_t)p * C + c]);
  sums[warp][lane] = sum;
  __syncthreads();
  if (warp == 0 && c < C) {
    for (int k = 1; k < THREADS / IG_WARP; k++)
      sum += sums[k][lane];
    y[(int64_t)blockIdx.y * C + c] = ig_down<T>(sum / (float)positions);
  }
}
template <class T>
static __global__ void __launch_bounds__(THREADS)
    global_bwd_kernel(T *dx, const T *dy, int64_t count, int positions, int C) {
  for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < count; i += (int64_t)gridDim.x * THREADS)
    dx[i] = ig_down<T>(ig_up(dy[i / C / positions * C + i % C]) / (float)positions);
}

// ---- launches ----
static unsigned grid_of(const ig_launch *l, int64_t count) {
  const int64_t wanted = (count + THREADS - 1) / THREADS, most = 16 * (int64_t)l->device->caps.processors;
  return (unsigned)(wanted < 1 ? 1 : wanted < most ? wanted : most);
}
static sizes sizes_of(const ig_shape *x, const ig_shape *y, const ig_shape *result, int each) {
  return {ig_shape_count(result) / each, (int)x->d[1], (int)x->d[2], (int)y->d[1], (int)y->d[2], (int)x->d[3]};
}

template <class T, int EACH>
static ig_status forward(const ig_launch *l, bool max) {
  const ig_shape *x = &l->node->in[0]->shape, *y = &l->node->out[0]->shape;
  const sizes s = sizes_of(x, y, y, EACH);
  const ig_pool2d_attr a = *(const ig_pool2d_attr *)l->node->attr;
  if (max)
    max_kernel<T, EACH><<<grid_of(l, s.count), THREADS, 0, ig_stream_of(l)>>>((T *)l->out[0], (uint8_t *)l->out[1],
                                                                              (const T *)l->in[0], s, a);
  else
    avg_kernel<T, EACH>
        <<<grid_of(l, s.count), THREADS, 0, ig_stream_of(l)>>>((T *)l->out[0], (const T *)l->in[0], s, a);
  IG_CUDA_LAUNCHED();
  return IG_OK;
}
template <class T, int EACH>
static ig_status backward(const ig_launch *l, bool max) {
  const ig_shape *dy = &l->node->in[0]->shape, *dx = &l->node->out[0]->shape;
  const sizes s = sizes_of(dx, dy, dx, EACH);
  const ig_pool2d_attr a = ((const ig_pool2d_bwd_attr *)l->node->attr)->pool;
  if (max)
    bwd_kernel<T, EACH, true><<<grid_of(l, s.count), THREADS, 0, ig_stream_of(l)>>>((T *)l->out[0], (const T *)l->in[0],
                                                                                    (const uint8_t *)l->in[1], s, a);
  else
    bwd_kernel<T, EACH, false>
        <<<grid_of(l, s.count), THREADS, 0, ig_stream_of(l)>>>((T *)l->out[0], (const T *)l->in[0], NULL, s, a);
  IG_CUDA_LAUNCHED();
  return IG_OK;
}

#define BY_WIDTH(fn, max)                                                                     \
  ig_status status = IG_OK;                                                                   \
  const bool wide = l->node->out[0]->shape.d[3] % 8 == 0;                                     \
  if (ig_shape_count(&l->node->out[0]->shape) == 0)                                           \
    return IG_OK;                                                                             \
  IG_BY_TYPE(l->node->out[0]->dtype, T, status = wide ? fn<T, 8>(l, max) : fn<T, 1>(l, max)); \
  return status;
static ig_status run_max(const ig_launch *l) { BY_WIDTH(forward, true) }
static ig_status run_avg(const ig_launch *l) { BY_WIDTH(forward, false) }
static ig_status run_max_bwd(const ig_launch *l) { BY_WIDTH(backward, true) }
static ig_status run_avg_bwd(const ig_launch *l) { BY_WIDTH(backward, false) }

static ig_status run_global(const ig_launch *l) {
  const int64_t *d = l->node->in[0]->shape.d;
  const dim3 grid(ig_blocks(d[3], IG_WARP), (unsigned)d[0]);
  IG_BY_TYPE(l->node->in[0]->dtype, T,
             (global_kernel<T><<<grid, THREADS, 0, ig_stream_of(l)>>>((T *)l->out[0], (const T *)l->in[0],
                                                                      (int)(d[1] * d[2]), (int)d[3])));
  IG_CUDA_LAUNCHED();
  return IG_OK;
}
static ig_status run_global_bwd(const ig_launch *l) {
  const ig_shape *x = &l->node->out[0]->shape;
  const int64_t count = ig_shape_count(x);
  IG_BY_TYPE(l->node->out[0]->dtype, T,
             (global_bwd_kernel<T><<<grid_of(l, count), THREADS, 0, ig_stream_of(l)>>>(
                 (T *)l->out[0], (const T *)l->in[0], count, (int)(x->d[1] * x->d[2]), (int)x->d[3])));
  IG_CUDA_LAUNCHED();
  return IG_OK;
}
// The gradient has the type of the result.
static bool supports(const ig_node *n, const ig_device_caps *caps, char *why, size_t why_bytes) {
  if (n->in[0]->dtype != n->out[0]->dtype) {
    snprintf(why, why_bytes, "operand is %s and result %s, expected one type", ig_dtype_name(n->in[0]->dtype),
             ig_dtype_name(n->out[0]->dtype));
    return false;
  }
  return ig_cuda_supports(n, caps, why, why_bytes);
}

#define POOL(name, run) IG_CUDA_IMPL_FLAGS(name, IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE, supports, NULL, run)
IG_CUDA_IMPLS(pool2d_cuda) = {POOL("maxpool2d", run_max),
                              POOL("maxpool2d_bwd", run_max_bwd),
                              POOL("avgpool2d", run_avg),
                              POOL("avgpool2d_bwd", run_avg_bwd),
                              POOL("global_avgpool", run_global),
                              POOL("global_avgpool_bwd", run_global_bwd),
                              {0}};
