// The oracle of layer normalisation: all arithmetic in double, any floating-point type.
#include <math.h>

#include "kernels/dropout/dropout.h"
#include "kernels/kernels.h"
#include "kernels/layernorm/layernorm.h"

static double get(const ig_launch *l, int i, int64_t at) {
  return ig_load_f64(l->in[i], l->node->in[i]->dtype, (size_t)at);
}
static void put(const ig_launch *l, int i, int64_t at, double v) {
  ig_store_f64(l->out[i], l->node->out[i]->dtype, (size_t)at, v);
}

// Whether element i of row t is kept by the draw.
static bool stays(const ig_launch *l, int state, int64_t t, int64_t i, float p) {
  const uint64_t *s = l->in[state], *keys = l->in[state + 1];
  const uint64_t sample = keys ? keys[t] : s[IG_STEP_FIRST_SAMPLE] + (uint64_t)t;
  return ig_dropout_draws(s, l->node->key, sample, (uint32_t)(i / 4)).v[i % 4] >= ig_dropout_threshold(p);
}

static void statistics(const ig_launch *l, int x, int64_t t, int64_t D, double *mean, double *rstd) {
  const ig_layernorm_attr *a = l->node->attr;
  double sum = 0, squares = 0;
  for (int64_t i = 0; i < D; i++)
    sum += get(l, x, t * D + i);
  *mean = sum / (double)D;
  for (int64_t i = 0; i < D; i++)
    squares += (get(l, x, t * D + i) - *mean) * (get(l, x, t * D + i) - *mean);
  *rstd = 1 / sqrt(squares / (double)D + (double)a->eps);
}

static ig_status layernorm_ref(const ig_launch *l) {
  const ig_shape *s = &l->node->in[0]->shape;
  const int64_t T = s->d[0], D = s->d[1];
  for (int64_t t = 0; t < T; t++) {
    double mean, rstd;
    statistics(l, 0, t, D, &mean, &rstd);
    for (int64_t i = 0; i < D; i++)
      put(l, 0, t * D + i, (get(l, 0, t * D + i) - mean) * rstd * get(l, 1, i) + get(l, 2, i));
  }
  return IG_OK;
}

static ig_status dropout_add_ref(const ig_launch *l) {
  const ig_shape *s = &l->node->in[0]->shape;
  const float p = *(const float *)l->node->attr;
  for (int64_t at = 0; at < s->d[0] * s->d[1]; at++) {
    const double x = stays(l, 2, at / s->d[1], at % s->d[1], p) ? get(l, 0, at) / (1 - (double)p) : 0;
    put(l, 0, at, get(l, 1, at) + x);
  }
  return IG_OK;
}

static double dy_at(const ig_launch *l, int64_t at) { return get(l, 0, at) + (l->in[3] ? get(l, 3, at) : 0); }

// ds and dx of one row.
static void bwd_row(const ig_launch *l, int64_t t, int64_t D) {
  const ig_layernorm_attr *a = l->node->attr;
  double mean, rstd, sum = 0, product = 0;
  statistics(l, 1, t, D, &mean, &rstd);
  for (int64_t i = 0; i < D; i++) {
    const double h = dy_at(l, t * D + i) * get(l, 2, i);
    sum += h / (double)D;
    product += h * (get(l, 1, t * D + i) - mean) * rstd / (double)D;
  }
  for (int64_t i = 0; i < D; i++) {
    const int64_t at = t * D + i;
    const double ds = rstd * (dy_at(l, at) * get(l, 2, i) - sum - (get(l, 1, at) - mean) * rstd * product);
    put(l, 0, at, ds);
    if (a->dropout)
      put(l, 1, at, stays(l, 4, t, i, a->p) ? ds / (1 - (double)a->p) : 0);
  }
}

static ig_status layernorm_bwd_ref(const ig_launch *l) {
  const ig_layernorm_attr *a = l->node->attr;
  const ig_shape *s = &l->node->in[1]->shape;
  const int64_t T = s->d[0], D = s->d[1];
  // The column sums first: ds may take dy's memory.
  for (int64_t i = 0; i < D; i++) {
    double dgamma = 0, dbeta = 0;
    for (int64_t t = 0; t < T; t++) {
      double mean, rstd;
      statistics(l, 1, t, D, &mean, &rstd);
      dgamma += dy_at(l, t * D + i) * (get(l, 1, t * D + i) - mean) * rstd;
      dbeta += dy_at(l, t * D + i);
    }
    put(l, 2, i, dgamma);
    put(l, 3, i, dbeta);
  }
  for (int64_t t = 0; t < T; t++)
    bwd_row(l, t, D);
  if (!a->dropout)
    put(l, 1, 0, 0);
  return IG_OK;
}

#define REF(op) \
  { .name = #op "_ref", .flags = IG_IMPL_REF | IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE, .run = op##_ref }
IG_IMPLS(layernorm_ref) = {REF(layernorm), REF(dropout_add), REF(layernorm_bwd), {0}};
