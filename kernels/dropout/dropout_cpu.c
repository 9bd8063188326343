// Dropout on the CPU: draws of a tile first, in loops that the compiler vectorises, then one pass over the numbers.
#include <stdio.h>

#include "kernels/dropout/draws.h"
#include "kernels/eltwise/lanes.h"
#include "kernels/plain.h"

static void apply_sample(const ig_launch *l, const ig_draws *d, int64_t sample, int64_t per_sample) {
  _Static_assert(IG_LANES_TILE <= IG_DRAWS_TILE, "one tile of draws is enough");
  float factor[IG_LANES_TILE], in[IG_LANES_TILE], out[IG_LANES_TILE];
  ig_dtype type = l->node->in[0]->dtype;
  for (int64_t first = 0; first < per_sample; first += IG_LANES_TILE) {
    int64_t n = per_sample - first < IG_LANES_TILE ? per_sample - first : IG_LANES_TILE;
    int64_t at = sample * per_sample + first;
    ig_draws_factors(d, ig_draws_sample(d, sample), first, n, factor);
    const float *x = ig_lanes_load(l->in[0], type, at, n, in);
    float *y = ig_lanes_target(l->out[0], type, at, out);
    // Not x * factor: what is dropped is 0 even where x is infinite.
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
      y[i] = factor[i] == 0 ? 0 : x[i] * factor[i];
    ig_lanes_store(l->out[0], type, at, n, y);
  }
}

static ig_status prepare(ig_prepare *p) {
  ig_prepare_plain(p);
  return IG_OK;
}

static ig_status run(const ig_launch *l) {
  const ig_tensor *x = l->node->in[0];
  int64_t samples = x->shape.d[0], per_sample = ig_shape_count(&x->shape) / samples;
  const ig_draws d =
      ig_draws_of(l->in[1], l->node->n_in > 2 ? l->in[2] : NULL, l->node->key, *(const float *)l->node->attr);
#pragma omp parallel for schedule(static) num_threads(l->device->caps.threads) if (samples * per_sample > 16384)
  for (int64_t sample = 0; sample < samples; sample++)
    apply_sample(l, &d, sample, per_sample);
  return IG_OK;
}

#define CPU(op)                                                                                   \
  {                                                                                               \
    .name = op "_cpu", .flags = IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE, .isa = IG_ISA_LEVEL, \
    .supports = ig_lanes_supports, .prepare = prepare, .run = run                                 \
  }
IG_IMPLS(dropout_cpu) = {CPU("dropout"), CPU("dropout_rows"), {0}};
