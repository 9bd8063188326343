// The oracle of the embedding: one number at a time, any floating-point type.
#include <math.h>

#include "kernels/embedding/embedding.h"
#include "kernels/kernels.h"

static ig_status embedding_ref(const ig_launch *l) {
  const ig_node *n = l->node;
  const int64_t V = n->in[0]->shape.d[0], D = n->in[0]->shape.d[1], T = n->in[1]->shape.d[0];
  const int32_t *ids = l->in[1];
  for (int64_t t = 0; t < T; t++)
    for (int64_t i = 0; i < D; i++) {
      bool inside = ids[t] >= 0 && ids[t] < V;
      double y = inside ? ig_load_f64(l->in[0], n->in[0]->dtype, (size_t)(ids[t] * D + i)) : NAN;
      if (n->in[2])
        y += ig_load_f64(l->in[2], n->in[2]->dtype, (size_t)(t * D + i));
      ig_store_f64(l->out[0], n->out[0]->dtype, (size_t)(t * D + i), y);
    }
  return IG_OK;
}

static ig_status embedding_bwd_ref(const ig_launch *l) {
  const ig_node *n = l->node;
  const int64_t V = n->out[0]->shape.d[0], D = n->out[0]->shape.d[1], T = n->in[1]->shape.d[0];
  const int32_t *ids = l->in[1];
  const void *addend = n->n_in > 2 ? l->in[2] : NULL;
  for (int64_t i = 0; i < V * D; i++)
    ig_store_f64(l->out[0], n->out[0]->dtype, (size_t)i, addend ? ig_load_f64(addend, n->out[0]->dtype, (size_t)i) : 0);
  // Sums lie in the result, rounded at each step where that is fp32; as the oracle it is fp64.
  for (int64_t t = 0; t < T; t++)
    for (int64_t i = 0; i < D && ids[t] >= 0 && ids[t] < V; i++) {
      size_t at = (size_t)(ids[t] * D + i);
      ig_store_f64(
          l->out[0], n->out[0]->dtype, at,
          ig_load_f64(l->out[0], n->out[0]->dtype, at) + ig_load_f64(l->in[0], n->in[0]->dtype, (size_t)(t * D + i)));
    }
  return IG_OK;
}

#define REF(op) \
  { .name = #op "_ref", .flags = IG_IMPL_REF | IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE, .run = op##_ref }
IG_IMPLS(embedding_ref) = {REF(embedding), REF(embedding_bwd), {0}};
