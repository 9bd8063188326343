// The oracle of chosen rows and means over sequences: doubles, any floating-point type.
#include <math.h>

#include "kernels/kernels.h"
#include "kernels/optim_util/sequences.h"
#include "kernels/rows/rows.h"

static double get(const ig_launch *l, int64_t at) { return ig_load_f64(l->in[0], l->node->in[0]->dtype, (size_t)at); }
static void put(const ig_launch *l, int64_t at, double v) {
  ig_store_f64(l->out[0], l->node->out[0]->dtype, (size_t)at, v);
}

static ig_status gather_rows_ref(const ig_launch *l) {
  const ig_shape *x = &l->node->in[0]->shape, *y = &l->node->out[0]->shape;
  const int32_t *index = l->in[1];
  const double strange = l->node->in[0]->dtype == IG_U64 ? 0 : NAN;
  for (int64_t p = 0; p < y->d[0]; p++)
    for (int64_t i = 0; i < y->d[1]; i++) {
      const bool inside = index[p] >= 0 && index[p] < x->d[0];
      put(l, p * y->d[1] + i, inside ? get(l, index[p] * y->d[1] + i) : index[p] == -1 ? 0 : strange);
    }
  return IG_OK;
}

static ig_status gather_rows_bwd_ref(const ig_launch *l) {
  const ig_shape *dy = &l->node->in[0]->shape, *dx = &l->node->out[0]->shape;
  const int32_t *index = l->in[1];
  for (int64_t t = 0; t < dx->d[0]; t++)
    for (int64_t i = 0; i < dx->d[1]; i++) {
      double sum = 0;
      for (int64_t p = 0; p < dy->d[0]; p++)
        sum += index[p] == t ? get(l, p * dx->d[1] + i) : 0;
      put(l, t * dx->d[1] + i, sum);
    }
  return IG_OK;
}

static ig_status segment_mean_ref(const ig_launch *l) {
  const ig_shape *x = &l->node->in[0]->shape, *y = &l->node->out[0]->shape;
  ig_sequence s = {0, 0};
  for (int64_t b = 0; b < y->d[0]; b++) {
    s = ig_sequence_of(l->in[1], b, x->d[0], s.last);
    for (int64_t i = 0; i < y->d[1]; i++) {
      double sum = 0;
      for (int64_t t = s.first; t < s.last; t++)
        sum += get(l, t * y->d[1] + i);
      put(l, b * y->d[1] + i, s.last > s.first ? sum / (double)(s.last - s.first) : 0);
    }
  }
  return IG_OK;
}

static ig_status segment_mean_bwd_ref(const ig_launch *l) {
  const ig_shape *dy = &l->node->in[0]->shape, *dx = &l->node->out[0]->shape;
  ig_sequence s = {0, 0};
  for (int64_t at = 0; at < dx->d[0] * dx->d[1]; at++)
    put(l, at, 0);
  for (int64_t b = 0; b < dy->d[0]; b++) {
    s = ig_sequence_of(l->in[1], b, dx->d[0], s.last);
    for (int64_t t = s.first; t < s.last; t++)
      for (int64_t i = 0; i < dx->d[1]; i++)
        put(l, t * dx->d[1] + i, get(l, b * dx->d[1] + i) / (double)(s.last - s.first));
  }
  return IG_OK;
}

static ig_status row_places_ref(const ig_launch *l) {
  const int32_t *index = l->in[0];
  for (int64_t t = 0; t < l->node->out[0]->shape.d[0]; t++) {
    int32_t last = -1;
    for (int64_t p = 0; p < l->node->in[0]->shape.d[0]; p++)
      last = index[p] == t ? (int32_t)p : last;
    ((int32_t *)l->out[0])[t] = last;
  }
  return IG_OK;
}

#define REF(op) \
  { .name = #op "_ref", .flags = IG_IMPL_REF | IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE, .run = op##_ref }
IG_IMPLS(rows_ref) = {REF(gather_rows),      REF(gather_rows_bwd), REF(segment_mean),
                      REF(segment_mean_bwd), REF(row_places),      {0}};
