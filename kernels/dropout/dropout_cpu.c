// Dropout on the CPU: draws of a tile first, in loops that the compiler vectorises, then one pass over the numbers.
#include <stdio.h>

#include "kernels/dropout/dropout.h"
#include "kernels/eltwise/lanes.h"

typedef struct draws {
  const uint64_t *state;
  uint64_t key, threshold;
  float scale;
} draws;

// factor[i] = 0 or scale for elements first..first+n of a sample; first is a multiple of 4.
static void draw(const draws *d, uint64_t sample, int64_t first, int64_t n, float *factor) {
  uint32_t bits[4][IG_LANES_TILE / 4];
  uint64_t threshold = d->threshold;
  int64_t quads = (n + 3) / 4;
#pragma omp simd
  for (int64_t q = 0; q < quads; q++) {
    ig_philox4 four = ig_dropout_draws(d->state, d->key, sample, (uint32_t)(first / 4 + q));
    bits[0][q] = four.v[0];
    bits[1][q] = four.v[1];
    bits[2][q] = four.v[2];
    bits[3][q] = four.v[3];
  }
  for (int64_t q = 0; q < quads; q++)
    for (int64_t j = 0; j < 4; j++)
      factor[4 * q + j] = bits[j][q] >= threshold ? d->scale : 0;
}

static void apply_sample(const ig_launch *l, const draws *d, int64_t sample, int64_t per_sample) {
  float factor[IG_LANES_TILE], in[IG_LANES_TILE], out[IG_LANES_TILE];
  ig_dtype type = l->node->in[0]->dtype;
  for (int64_t first = 0; first < per_sample; first += IG_LANES_TILE) {
    int64_t n = per_sample - first < IG_LANES_TILE ? per_sample - first : IG_LANES_TILE;
    int64_t at = sample * per_sample + first;
    draw(d, d->state[IG_STEP_FIRST_SAMPLE] + (uint64_t)sample, first, n, factor);
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
  p->in_layout[0] = p->in_layout[1] = p->out_layout[0] = IG_PLAIN;
  return IG_OK;
}

static ig_status run(const ig_launch *l) {
  const ig_tensor *x = l->node->in[0];
  float p = *(const float *)l->node->attr;
  int64_t samples = x->shape.d[0], per_sample = ig_shape_count(&x->shape) / samples;
  const draws d = {l->in[1], l->node->key, ig_dropout_threshold(p), p < 1 ? (float)(1 / (1 - (double)p)) : 0};
#pragma omp parallel for schedule(static) num_threads(l->device->caps.threads) if (samples * per_sample > 16384)
  for (int64_t sample = 0; sample < samples; sample++)
    apply_sample(l, &d, sample, per_sample);
  return IG_OK;
}

IG_IMPLS(dropout_cpu) = {{.name = "dropout_cpu",
                          .flags = IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE,
                          .isa = IG_ISA_LEVEL,
                          .supports = ig_lanes_supports,
                          .prepare = prepare,
                          .run = run},
                         {0}};
