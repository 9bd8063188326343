// The oracle of dropout: one element at a time, any floating-point type.
#include "kernels/dropout/dropout.h"
#include "kernels/kernels.h"

static ig_status dropout_ref(const ig_launch *l) {
  const ig_tensor *x = l->node->in[0];
  float p = *(const float *)l->node->attr;
  const uint64_t *state = l->in[1], *keys = l->node->n_in > 2 ? l->in[2] : NULL;
  int64_t count = ig_shape_count(&x->shape), per_sample = count / x->shape.d[0];
  for (int64_t i = 0; i < count; i++) {
    uint64_t row = (uint64_t)(i / per_sample), element = (uint64_t)(i % per_sample);
    uint64_t sample = keys ? keys[row] : state[IG_STEP_FIRST_SAMPLE] + row;
    ig_philox4 draws = ig_dropout_draws(state, l->node->key, sample, (uint32_t)(element / 4));
    bool stays = draws.v[element % 4] >= ig_dropout_threshold(p);
    double v = ig_load_f64(l->in[0], x->dtype, (size_t)i);
    ig_store_f64(l->out[0], x->dtype, (size_t)i, stays ? v / (1 - (double)p) : 0);
  }
  return IG_OK;
}

#define REF(op) \
  { .name = op "_ref", .flags = IG_IMPL_REF | IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE, .run = dropout_ref }
IG_IMPLS(dropout_ref) = {REF("dropout"), REF("dropout_rows"), {0}};
