// Everything per pixel between a decoded picture and the first layer, on a GPU.
//
// grey_kernel: a block owns a picture and sums its grey (contrast); 3 bytes a pixel read; only where a row asks for it.
// picture_kernel: a thread owns a pixel (3 channels), a block of 256 threads a run of a picture, blockIdx.y the
// picture; 3 bytes read (6 where it is mixed) and 3 numbers written. About 48 registers; 256 bytes of shared memory for
// the grey; deterministic.
#include "kernels/cuda_common/cuda_kernel.cuh"
#include "kernels/picture/picture.h"

#define THREADS 256

static __device__ __forceinline__ float grey_of(float r, float g, float b) {
  return 0.299f * r + 0.587f * g + 0.114f * b;
}

static __global__ void __launch_bounds__(THREADS)
    grey_kernel(float *mean, const uint8_t *pictures, const float *aug, int64_t pixels) {
  __shared__ double scratch[IG_WARP];
  const uint8_t *p = pictures + blockIdx.x * pixels * 3;
  if (aug[blockIdx.x * IG_N_AUG + IG_AUG_CONTRAST] == 1) {  // nobody asks
    if (threadIdx.x == 0)
      mean[blockIdx.x] = 0;
    return;
  }
  double sum = 0;
  for (int64_t i = threadIdx.x; i < pixels; i += THREADS)
    sum += (double)grey_of(p[3 * i], p[3 * i + 1], p[3 * i + 2]);
  sum = ig_block_sum<THREADS>(sum, scratch);
  if (threadIdx.x == 0)
    mean[blockIdx.x] = (float)(sum / (double)pixels);
}

static __device__ __forceinline__ bool inside(const float *rectangle, int x, int y) {
  return (float)x >= rectangle[0] && (float)y >= rectangle[1] && (float)x < rectangle[2] && (float)y < rectangle[3];
}

// Pixel (x, y) of a picture before mixing, as R, G, B.
static __device__ __forceinline__ void pixel(const uint8_t *picture, const float *row, float mean_grey, int h, int w,
                                             int x, int y, const ig_picture_attr &a, float (&rgb)[3]) {
  int from_x = x, from_y = y;
  bool transpose = false, erased = false;
  float b = 1, c = 1, s = 1;
  if (row) {
    from_x = row[IG_AUG_HFLIP] >= 0.5f ? w - 1 - x : x;
    from_y = row[IG_AUG_VFLIP] >= 0.5f ? h - 1 - y : y;
    transpose = row[IG_AUG_TRANSPOSE] >= 0.5f && h == w;
    erased = inside(row + IG_AUG_ERASE_X0, x, y);
    b = row[IG_AUG_BRIGHTNESS];
    c = row[IG_AUG_CONTRAST];
    s = row[IG_AUG_SATURATION];
  }
  const uint8_t *q = picture + 3 * (transpose ? (int64_t)from_x * w + from_y : (int64_t)from_y * w + from_x);
  const float grey = grey_of(q[0], q[1], q[2]);
#pragma unroll
  for (int k = 0; k < 3; k++) {
    const float v = c * b * (s * q[k] + (1 - s) * grey) + (1 - c) * b * mean_grey;
    rgb[k] = erased ? a.mean[a.bgr ? 2 - k : k] : fminf(fmaxf(v, 0), 255);
  }
}

template <class T>
static __global__ void __launch_bounds__(THREADS)
    picture_kernel(T *y, const uint8_t *pictures, const float *aug, const int32_t *partner, const float *mean_grey,
                   int n, int h, int w, ig_picture_attr a) {
  const int picture = blockIdx.y, i = blockIdx.x * THREADS + threadIdx.x;
  const int64_t size = (int64_t)h * w * 3;
  if (i >= h * w)
    return;
  const float *row = aug ? aug + (int64_t)picture * IG_N_AUG : NULL;
  float p[3], q[3], share = 1;
  pixel(pictures + picture * size, row, aug ? mean_grey[picture] : 0, h, w, i % w, i / w, a, p);
  const int other = partner ? partner[picture] : -1;
  if (row && row[IG_AUG_MIX_MODE] >= 0.5f && other >= 0 && other < n) {
    share = row[IG_AUG_MIX_MODE] < 1.5f ? row[IG_AUG_LAMBDA] : inside(row + IG_AUG_CUT_X0, i % w, i / w) ? 0 : 1;
    pixel(pictures + other * size, aug + (int64_t)other * IG_N_AUG, mean_grey[other], h, w, i % w, i / w, a, q);
  }
#pragma unroll
  for (int c = 0; c < 3; c++) {
    const int k = a.bgr ? 2 - c : c;
    const float v = share == 1 ? p[k] : share * p[k] + (1 - share) * q[k];
    y[picture * size + 3 * (int64_t)i + c] = ig_down<T>((v - a.mean[c]) / a.std[c]);
  }
}

static ig_status run(const ig_launch *l) {
  const ig_shape *s = &l->node->in[0]->shape;
  const int n = (int)s->d[0], h = (int)s->d[1], w = (int)s->d[2];
  const ig_picture_attr a = *(const ig_picture_attr *)l->node->attr;
  if (ig_shape_count(s) == 0)
    return IG_OK;
  if (l->in[1]) {
    grey_kernel<<<n, THREADS, 0, ig_stream_of(l)>>>((float *)l->workspace, (const uint8_t *)l->in[0],
                                                    (const float *)l->in[1], (int64_t)h * w);
    IG_CUDA_LAUNCHED();
  }
  const dim3 grid(ig_blocks((int64_t)h * w, THREADS), (unsigned)n);
  IG_BY_TYPE(l->node->out[0]->dtype, T,
             (picture_kernel<T><<<grid, THREADS, 0, ig_stream_of(l)>>>(
                 (T *)l->out[0], (const uint8_t *)l->in[0], (const float *)l->in[1], (const int32_t *)l->in[2],
                 (const float *)l->workspace, n, h, w, a)));
  IG_CUDA_LAUNCHED();
  return IG_OK;
}
static ig_status prepare(ig_prepare *p) {
  p->workspace_bytes = p->node->in[1] ? (size_t)p->node->in[0]->shape.d[0] * sizeof(float) : 0;
  return IG_OK;
}
static bool supports(const ig_node *n, const ig_device_caps *caps, char *why, size_t why_bytes) {
  const int64_t *d = n->in[0]->shape.d;
  if (d[0] > 65535 || d[1] * d[2] > INT32_MAX) {
    snprintf(why, why_bytes, "%lld pictures of %lld pixels, expected at most 65535", (long long)d[0],
             (long long)(d[1] * d[2]));
    return false;
  }
  return ig_cuda_supports(n, caps, why, why_bytes);
}

IG_CUDA_IMPLS(picture_cuda) = {
    IG_CUDA_IMPL_FLAGS("picture", IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE, supports, prepare, run), {0}};
