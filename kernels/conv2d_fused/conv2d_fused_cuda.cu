// bn_fold on a GPU: a scale an output channel, and one pass over the weights. (conv2d_fused_cuda stands beside
// conv2d_cuda.) Rule: the scale is in double and rounded once, as on the CPU.
//
// A block of 256 threads owns 256 runs of EACH neighbours of a channel (4 where a channel's weights are a multiple of
// 4: 128 bits; else 1), a thread one of them; the thread of a channel's first run writes its bias. Bytes: w once, w'
// once, six numbers a channel (again for each run of it, from the caches). 29 registers, no shared memory.
// Deterministic. It runs once per change of weights (ig_plan_refresh). PREDICTION for one H200, never measured: 60 % of
// the copy rate; the double square root of each thread is hidden by other blocks' reads.
#include "kernels/batchnorm/batchnorm.h"
#include "kernels/conv2d_fused/conv2d_fused.h"
#include "kernels/cuda_common/cuda_kernel.cuh"

#define THREADS 256

typedef struct folded {
  const float *gamma, *beta, *mean, *var, *bias;  // bias may be NULL
  float eps;
} folded;

template <int EACH>
static __global__ void __launch_bounds__(THREADS)
    fold_kernel(float *to, float *shift, const float *w, folded n, int64_t runs, int per_channel) {
  const int64_t run = (int64_t)blockIdx.x * THREADS + threadIdx.x;
  if (run >= runs)
    return;
  const int64_t k = run / per_channel;
  const float scale = (float)((double)n.gamma[k] / sqrt((double)n.var[k] + (double)n.eps));
  float v[EACH];
  ig_load<EACH>(v, w + run * EACH);
#pragma unroll
  for (int i = 0; i < EACH; i++)
    v[i] *= scale;
  ig_store<EACH>(to + run * EACH, v);
  if (run == k * per_channel)
    shift[k] = (float)((double)n.beta[k] + ((double)(n.bias ? n.bias[k] : 0) - (double)n.mean[k]) * (double)scale);
}

static ig_status run(const ig_launch *l) {
  const ig_shape *s = &l->node->in[0]->shape;
  const int64_t count = ig_shape_count(s), each = count / s->d[0] % 4 ? 1 : 4, runs = count / each;
  const float *const *in = (const float *const *)l->in;
  const folded n = {in[1], in[2], in[3], in[4], in[5], ((const ig_batchnorm_attr *)l->node->attr)->eps};
  const int per_channel = (int)(runs / s->d[0]);
  if (each == 4)
    fold_kernel<4><<<ig_blocks(runs, THREADS), THREADS, 0, ig_stream_of(l)>>>((float *)l->out[0], (float *)l->out[1],
                                                                              in[0], n, runs, per_channel);
  else
    fold_kernel<1><<<ig_blocks(runs, THREADS), THREADS, 0, ig_stream_of(l)>>>((float *)l->out[0], (float *)l->out[1],
                                                                              in[0], n, runs, per_channel);
  IG_CUDA_LAUNCHED();
  return IG_OK;
}

IG_CUDA_IMPLS(conv2d_fused_cuda) = {IG_CUDA_IMPL("bn_fold", run), {0}};
