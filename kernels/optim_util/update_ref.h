// One element of a flat buffer in any float type: what the references of the optimizer rows read and write by.
#ifndef IG_KERNELS_UPDATE_REF_H
#define IG_KERNELS_UPDATE_REF_H

#include "kernels/optim_util/update.h"

static inline double ig_ref_get(const ig_launch *l, int operand, int64_t i) {
  return ig_load_f64(l->in[operand], l->node->in[0]->dtype, (size_t)i);
}
static inline void ig_ref_put(const ig_launch *l, int operand, int64_t i, double v) {
  ig_store_f64(l->in[operand], l->node->in[0]->dtype, (size_t)i, v);
}
// The new weight, and its copy where there is one.
static inline void ig_ref_put_weight(const ig_launch *l, int64_t i, double v) {
  const int copy = ig_update_w16(l->node->op);
  ig_ref_put(l, 0, i, v);
  if (copy < l->node->n_in && l->in[copy])
    ig_store_f64(l->in[copy], l->node->in[copy]->dtype, (size_t)i, ig_ref_get(l, 0, i));
}
// gscale * gradient + l1 sign(w)
static inline double ig_ref_gradient(const ig_launch *l, const ig_update *u, const ig_segment *s, int64_t i) {
  return ig_ref_get(l, 1, i) * u->multiplier + s->l1 * ig_sign(ig_ref_get(l, 0, i));
}
static inline int64_t ig_ref_segment_end(const ig_update *u, int64_t s) {
  return s < u->n_segments - 1 ? u->start[s + 1] : u->n;
}

#define IG_REF_UPDATE(row, function) \
  { .name = row "_ref", .flags = IG_IMPL_REF | IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE, .run = function }

#endif
