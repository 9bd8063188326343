// The oracle of the ops that move numbers: one element at a time, any dtype.
#include <string.h>

#include "kernels/kernels.h"
#include "kernels/shape_ops/shape_ops.h"

static void move(const ig_launch *l, int operand, int64_t from, int64_t to) {
  size_t bytes = ig_dtype_bytes(l->node->out[0]->dtype);
  memcpy((char *)l->out[0] + (size_t)to * bytes, (const char *)l->in[operand] + (size_t)from * bytes, bytes);
}

static ig_status reshape_ref(const ig_launch *l) {
  for (int64_t i = 0; i < ig_shape_count(&l->node->out[0]->shape); i++)
    move(l, 0, i, i);
  return IG_OK;
}

static ig_status concat_c_ref(const ig_launch *l) {
  const ig_node *n = l->node;
  int last = n->out[0]->shape.n - 1;
  int64_t out = n->out[0]->shape.d[last], at = 0;
  for (int j = 0; j < n->n_in; j++) {
    int64_t width = n->in[j]->shape.d[last];
    for (int64_t i = 0; i < ig_shape_count(&n->in[j]->shape); i++)
      move(l, j, i, i / width * out + at + i % width);
    at += width;
  }
  return IG_OK;
}

static ig_status place_ref(const ig_launch *l) {
  const ig_place_attr *a = l->node->attr;
  const ig_tensor *x = l->node->in[0], *y = l->node->out[0];
  for (int64_t i = 0; i < ig_shape_count(&y->shape); i++)
    ig_store_f64(l->out[0], y->dtype, (size_t)i, a->value);
  for (int64_t i = 0; i < ig_shape_count(&a->size); i++) {
    int64_t rest = i, from = 0, to = 0, from_stride = 1, to_stride = 1;
    for (int k = a->size.n - 1; k >= 0; k--) {
      int64_t index = rest % a->size.d[k];
      rest /= a->size.d[k];
      from += (a->in_begin[k] + index * a->in_step[k]) * from_stride;
      to += (a->out_begin[k] + index * a->out_step[k]) * to_stride;
      from_stride *= x->shape.d[k];
      to_stride *= y->shape.d[k];
    }
    move(l, 0, from, to);
  }
  return IG_OK;
}

#define REF(op) \
  { .name = #op "_ref", .flags = IG_IMPL_REF | IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE, .run = op##_ref }
IG_IMPLS(shape_ops_ref) = {REF(reshape), REF(concat_c), REF(place), {0}};
