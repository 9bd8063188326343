// Dropout on a GPU: a thread owns 4 neighbours of a sample, that is one Philox block; the mask is drawn, never stored.
// Each number read once and written once, by 4 where a sample's length is a multiple of 4; about 40 registers; no
// shared memory; deterministic.
#include "kernels/dropout/draws_cuda.cuh"

#define THREADS 256

template <class T, bool WHOLE>
static __global__ void __launch_bounds__(THREADS)
    dropout_kernel(T *y, const T *x, const ig_draws_cuda d, int64_t samples, int64_t per_sample) {
  const int64_t quads = (per_sample + 3) / 4;
  for (int64_t sample = blockIdx.y; sample < samples; sample += gridDim.y) {
    const ig_row_draws draws = ig_row_draws_of(d, sample);
    for (int64_t q = (int64_t)blockIdx.x * THREADS + threadIdx.x; q < quads; q += (int64_t)gridDim.x * THREADS) {
      float factor[4], v[4];
      draws.factors<4>(4 * q, factor);
      const int64_t at = sample * per_sample + 4 * q;
      if (WHOLE) {
        ig_load<4>(v, x + at);
#pragma unroll
        for (int i = 0; i < 4; i++)
          v[i] = factor[i] != 0 ? v[i] * factor[i] : 0;
        ig_store<4>(y + at, v);
      } else {
        const int n = (int)min((int64_t)4, per_sample - 4 * q);
        for (int i = 0; i < n; i++)
          y[at + i] = ig_down<T>(factor[i] != 0 ? ig_up(x[at + i]) * factor[i] : 0);
      }
    }
  }
}

static ig_status run(const ig_launch *l) {
  const ig_tensor *x = l->node->in[0];
  const ig_draws_cuda d =
      ig_draws_cuda_of(l->in[1], l->node->n_in > 2 ? l->in[2] : NULL, l->node->key, *(const float *)l->node->attr);
  const int64_t samples = x->shape.d[0], count = ig_shape_count(&x->shape);
  if (count == 0)
    return IG_OK;
  const int64_t each = count / samples;
  const dim3 grid(ig_blocks((each + 3) / 4, THREADS), (unsigned)(samples < 65535 ? samples : 65535));
  IG_BY_TYPE(
      x->dtype, T,
      if (each % 4 == 0) {
        dropout_kernel<T, true>
            <<<grid, THREADS, 0, ig_stream_of(l)>>>((T *)l->out[0], (const T *)l->in[0], d, samples, each);
      } else {
        dropout_kernel<T, false>
            <<<grid, THREADS, 0, ig_stream_of(l)>>>((T *)l->out[0], (const T *)l->in[0], d, samples, each);
      });
  IG_CUDA_LAUNCHED();
  return IG_OK;
}

IG_CUDA_IMPLS(dropout_cuda) = {IG_CUDA_IMPL("dropout", run), IG_CUDA_IMPL("dropout_rows", run), {0}};
