// The oracle of dropout: one element at a time, any floating-point type.
#include "kernels/dropout/dropout.h"
#include "kernels/kernels.h"

static ig_status dropout_ref(const ig_launch *l) {
  const ig_tensor *x = l->node->in[0];
  float p = *(const float *)l->node->attr;
  const uint64_t *state = l->in[1];
  int64_t count = ig_shape_count(&x->shape), per_sample = count / x->shape.d[0];
  for (int64_t i = 0; i < count; i++) {
    uint64_t sample = state[IG_STEP_FIRST_SAMPLE] + (uint64_t)(i / per_sample), element = (uint64_t)(i % per_sample);
    ig_philox4 draws = ig_dropout_draws(state, l->node->key, sample, (uint32_t)(element / 4));
    bool stays = draws.v[element % 4] >= ig_dropout_threshold(p);
    double v = ig_load_f64(l->in[0], x->dtype, (size_t)i);
    ig_store_f64(l->out[0], x->dtype, (size_t)i, stays ? v / (1 - (double)p) : 0);
  }
  return IG_OK;
}

IG_IMPLS(dropout_ref) = {
    {.name = "dropout_ref", .flags = IG_IMPL_REF | IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE, .run = dropout_ref},
    {0}};
