// The oracle of batch normalisation: doubles, any floating-point type, two passes for the variance. x is plain [N,P,C].
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kernels/batchnorm/batchnorm.h"
#include "kernels/kernels.h"

static double get(const ig_launch *l, int operand, int64_t i) {
  return ig_load_f64(l->in[operand], l->node->in[operand]->dtype, (size_t)i);
}
static void put(const ig_launch *l, int result, int64_t i, double value) {
  ig_store_f64(l->out[result], l->node->out[result]->dtype, (size_t)i, value);
}
static bool counts(const ig_launch *l, int weight, int64_t sample) {
  return !l->in[weight] || get(l, weight, sample) != 0;
}

static ig_status bn_stats_ref(const ig_launch *l) {
  const ig_shape *s = &l->node->in[0]->shape;
  int64_t N = s->d[0], P = s->d[1] * s->d[2], C = s->d[3];
  for (int64_t c = 0; c < C; c++) {
    double count = 0, mean = 0, var = 0;
    for (int pass = 0; pass < 2; pass++) {
      double sum = 0;
      count = 0;
      for (int64_t n = 0; n < N; n++)
        for (int64_t p = 0; p < P && counts(l, 1, n); p++, count++) {
          double x = get(l, 0, (n * P + p) * C + c);
          sum += pass ? (x - mean) * (x - mean) : x;
        }
      *(pass ? &var : &mean) = count > 0 ? sum / count : 0;
    }
    put(l, 0, c, mean);
    put(l, 1, c, var);
    put(l, 2, 0, count);
  }
  return IG_OK;
}

static ig_status bn_apply_ref(const ig_launch *l) {
  const ig_batchnorm_attr *attr = l->node->attr;
  int64_t C = l->node->in[0]->shape.d[3], count = ig_shape_count(&l->node->in[0]->shape);
  for (int64_t i = 0; i < count; i++) {
    int64_t c = i % C;
    double y = (get(l, 0, i) - get(l, 1, c)) * (get(l, 3, c) / sqrt(get(l, 2, c) + attr->eps)) + get(l, 4, c);
    if (l->in[5])
      y += get(l, 5, i);
    put(l, 0, i, attr->relu && y < 0 ? 0 : y);
  }
  return IG_OK;
}

// Bit c % 8 of byte c / 8: set where the ReLU let the number pass.
static ig_status bn_apply_mask_ref(const ig_launch *l) {
  int64_t count = ig_shape_count(&l->node->in[0]->shape);
  uint8_t *mask = l->out[1];
  IG_TRY(bn_apply_ref(l));
  memset(mask, 0, (size_t)(count / 8));
  for (int64_t i = 0; i < count; i++)
    mask[i / 8] |= (uint8_t)(!(ig_load_f64(l->out[0], l->node->out[0]->dtype, (size_t)i) <= 0) << i % 8);
  return IG_OK;
}

static ig_status bn_update_ref(const ig_launch *l) {
  const ig_batchnorm_attr *attr = l->node->attr;
  double count = get(l, 4, 0), unbiased = count > 1 ? count / (count - 1) : 1;
  for (int64_t c = 0; c < l->node->in[0]->shape.d[0] && count > 0; c++)
    for (int i = 0; i < 2; i++) {
      double running = get(l, i, c), batch = get(l, 2 + i, c) * (i ? unbiased : 1);
      ig_store_f64(l->in[i], l->node->in[i]->dtype, (size_t)c, running + attr->momentum * (batch - running));
    }
  put(l, 0, 0, 0);
  return IG_OK;
}

// dy where the forward result was not cut off; y (or the bits of it) is operand `y`, or (-1, absent) comes from x
// again.
static double masked_dy(const ig_launch *l, const ig_batchnorm_attr *attr, double dy, int y, int64_t i, int64_t c) {
  if (!attr->relu)
    return dy;
  if (y >= 0 && l->in[y] && l->node->in[y]->dtype == IG_U8)
    return ((const uint8_t *)l->in[y])[i / 8] >> i % 8 & 1 ? dy : 0;
  double value = y >= 0 && l->in[y]
                     ? get(l, y, i)
                     : (get(l, 1, i) - get(l, 2, c)) * (get(l, 4, c) / sqrt(get(l, 3, c) + attr->eps)) + get(l, 5, c);
  return value <= 0 ? 0 : dy;
}

static ig_status bn_bwd_sums_ref(const ig_launch *l) {
  const ig_batchnorm_bwd_attr *attr = l->node->attr;
  const ig_shape *s = &l->node->in[1]->shape;
  int64_t N = s->d[0], P = s->d[1] * s->d[2], C = s->d[3];
  for (int64_t c = 0; c < C; c++) {
    double dgamma = 0, dbeta = 0;
    for (int64_t k = 0; k < N * P; k++) {
      int64_t i = k * C + c;
      double g = 0;
      if (counts(l, 7, k / P))
        g = masked_dy(l, &attr->forward, get(l, 0, i) + (l->in[8] ? get(l, 8, i) : 0), 6, i, c);
      dgamma += g * (get(l, 1, i) - get(l, 2, c));
      dbeta += g;
      if (attr->masked_dy)
        put(l, 2, i, g);
    }
    put(l, 0, c, dgamma / sqrt(get(l, 3, c) + attr->forward.eps));
    put(l, 1, c, dbeta);
  }
  if (!attr->masked_dy)
    put(l, 2, 0, 0);
  return IG_OK;
}

static ig_status bn_bwd_apply_ref(const ig_launch *l) {
  const ig_batchnorm_attr *attr = l->node->attr;
  const ig_shape *s = &l->node->in[1]->shape;
  int64_t P = s->d[1] * s->d[2], C = s->d[3], total = ig_shape_count(s);
  double count = l->in[8] ? get(l, 8, 0) : 0;
  for (int64_t i = 0; i < total; i++) {
    int64_t c = i % C;
    double dx = 0;
    if (counts(l, 9, i / C / P)) {
      double inv_std = 1 / sqrt(get(l, 3, c) + attr->eps);
      dx = masked_dy(l, attr, get(l, 0, i), -1, i, c);
      if (count > 0)
        dx -= (get(l, 7, c) + (get(l, 1, i) - get(l, 2, c)) * inv_std * get(l, 6, c)) / count;
      dx *= get(l, 4, c) * inv_std;
    }
    put(l, 0, i, dx);
  }
  return IG_OK;
}

#define REF(op) \
  { .name = #op "_ref", .flags = IG_IMPL_REF | IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE, .run = op##_ref }
IG_IMPLS(batchnorm_ref) = {
    REF(bn_stats), REF(bn_apply), REF(bn_apply_mask), REF(bn_update), REF(bn_bwd_sums), REF(bn_bwd_apply), {0}};
