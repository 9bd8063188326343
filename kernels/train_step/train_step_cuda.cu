// What decides a training step on a GPU: one thread for scalars; step_restore reads and writes x once, only where the
// step is skipped (a block of 256 threads, 4 numbers each, grid-stride). About 20 registers; no shared
// memory; deterministic.
#include "kernels/cuda_common/cuda_kernel.cuh"
#include "kernels/train_step/train_step_math.h"

#define THREADS 256

static __global__ void total_kernel(float *totals, const float *loss, const float *weight, float *done) {
  totals[IG_TOTAL_LOSS] += *loss;
  totals[IG_TOTAL_WEIGHT] += *weight;
  *done = 0;
}
static __global__ void begin_kernel(const float *host, const float *totals, const float *scaler, double decay,
                                    float *hyper) {
  ig_step_begin_math(host, totals, scaler, decay, hyper);
}
static __global__ void end_kernel(float *scaler, const float *gscale, ig_step_end_attr attr, float *done) {
  ig_step_end_math(scaler, gscale, &attr);
  *done = 0;
}
static __global__ void __launch_bounds__(THREADS)
    restore_kernel(float *x, const float *before, const float *gscale, int64_t count, float *done) {
  if (blockIdx.x == 0 && threadIdx.x == 0)
    *done = 0;
  if (gscale[IG_GSCALE_SKIP] < 1)
    return;
  for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < count; i += (int64_t)gridDim.x * THREADS)
    x[i] = before[i];
}

static ig_status run_total(const ig_launch *l) {
  total_kernel<<<1, 1, 0, ig_stream_of(l)>>>((float *)l->in[0], (const float *)l->in[1], (const float *)l->in[2],
                                             (float *)l->out[0]);
  IG_CUDA_LAUNCHED();
  return IG_OK;
}
static ig_status run_begin(const ig_launch *l) {
  begin_kernel<<<1, 1, 0, ig_stream_of(l)>>>((const float *)l->in[0], (const float *)l->in[1], (const float *)l->in[2],
                                             *(const double *)l->node->attr, (float *)l->out[0]);
  IG_CUDA_LAUNCHED();
  return IG_OK;
}
static ig_status run_end(const ig_launch *l) {
  end_kernel<<<1, 1, 0, ig_stream_of(l)>>>((float *)l->in[0], (const float *)l->in[1],
                                           *(const ig_step_end_attr *)l->node->attr, (float *)l->out[0]);
  IG_CUDA_LAUNCHED();
  return IG_OK;
}
static ig_status run_restore(const ig_launch *l) {
  const int64_t count = ig_shape_count(&l->node->in[0]->shape);
  const unsigned blocks = ig_blocks(count, 4 * THREADS);
  restore_kernel<<<blocks ? blocks : 1, THREADS, 0, ig_stream_of(l)>>>(
      (float *)l->in[0], (const float *)l->in[1], (const float *)l->in[2], count, (float *)l->out[0]);
  IG_CUDA_LAUNCHED();
  return IG_OK;
}

IG_CUDA_IMPLS(train_step_cuda) = {IG_CUDA_IMPL("step_total", run_total),
                                  IG_CUDA_IMPL("step_begin", run_begin),
                                  IG_CUDA_IMPL("step_end", run_end),
                                  IG_CUDA_IMPL("step_restore", run_restore),
                                  {0}};
