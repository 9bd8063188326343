// The oracle of GELU behind a bias: doubles, any floating-point type.
#include <math.h>

#include "kernels/bias_gelu/bias_gelu.h"
#include "kernels/kernels.h"

static double get(const ig_launch *l, int i, int64_t at) {
  return ig_load_f64(l->in[i], l->node->in[i]->dtype, (size_t)at);
}

static double inner(double z) { return sqrt(2 / M_PI) * (z + 0.044715 * z * z * z); }

static double value(double z, bool tanh_form) {
  return tanh_form ? 0.5 * z * (1 + tanh(inner(z))) : 0.5 * z * erfc(-z * M_SQRT1_2);
}

static double slope(double z, bool tanh_form) {
  if (!tanh_form)
    return 0.5 * erfc(-z * M_SQRT1_2) + z * exp(-0.5 * z * z) / sqrt(2 * M_PI);
  const double t = tanh(inner(z));
  return 0.5 * (1 + t) + 0.5 * z * (1 - t * t) * sqrt(2 / M_PI) * (1 + 3 * 0.044715 * z * z);
}

static ig_status bias_gelu_ref(const ig_launch *l) {
  const ig_bias_gelu_attr *a = l->node->attr;
  const ig_shape *s = &l->node->in[0]->shape;
  for (int64_t at = 0; at < s->d[0] * s->d[1]; at++)
    ig_store_f64(l->out[0], l->node->out[0]->dtype, (size_t)at,
                 value(get(l, 0, at) + get(l, 1, at % s->d[1]), a->tanh_form));
  return IG_OK;
}

static ig_status bias_gelu_bwd_ref(const ig_launch *l) {
  const ig_bias_gelu_attr *a = l->node->attr;
  const ig_shape *s = &l->node->in[1]->shape;
  for (int64_t i = 0; i < s->d[1]; i++) {
    double sum = 0;
    for (int64_t t = 0; t < s->d[0]; t++) {
      const int64_t at = t * s->d[1] + i;
      const double dx = get(l, 0, at) * slope(get(l, 1, at) + get(l, 2, i), a->tanh_form);
      ig_store_f64(l->out[0], l->node->out[0]->dtype, (size_t)at, dx);
      sum += dx;
    }
    ig_store_f64(l->out[1], l->node->out[1]->dtype, (size_t)i, sum);
  }
  return IG_OK;
}

#define REF(op) \
  { .name = #op "_ref", .flags = IG_IMPL_REF | IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE, .run = op##_ref }
IG_IMPLS(bias_gelu_ref) = {REF(bias_gelu), REF(bias_gelu_bwd), {0}};
