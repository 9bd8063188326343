// Reference of sum, sum_bwd and sum_squares: any float type, in double, one thread.
#include "kernels/kernels.h"
#include "kernels/reduce/reduce_attr.h"

static ig_status run_sum(const ig_launch *l) {
  const ig_sum_attr *a = l->node->attr;
  const ig_tensor *x = l->node->in[0], *y = l->node->out[0];
  int64_t inner = ig_shape_count(&y->shape), rows = inner ? ig_shape_count(&x->shape) / inner : 0;
  for (int64_t j = 0; j < inner; j++) {
    double sum = 0;
    for (int64_t i = 0; i < rows; i++)
      sum += ig_load_f64(l->in[0], x->dtype, (size_t)(i * inner + j));
    ig_store_f64(l->out[0], y->dtype, (size_t)j, a->mean && rows ? sum / (double)rows : sum);
  }
  return IG_OK;
}

static ig_status run_sum_bwd(const ig_launch *l) {
  const ig_sum_bwd_attr *a = l->node->attr;
  const ig_tensor *dy = l->node->in[0];
  int64_t inner = ig_shape_count(&dy->shape), n = ig_shape_count(&a->shape);
  for (int64_t i = 0; i < n; i++)
    ig_store_f64(l->out[0], a->dtype, (size_t)i, a->scale * ig_load_f64(l->in[0], dy->dtype, (size_t)(i % inner)));
  return IG_OK;
}

static ig_status run_squares(const ig_launch *l) {
  const ig_tensor *x = l->node->in[0];
  double sum = 0;
  for (int64_t i = 0; i < ig_shape_count(&x->shape); i++) {
    double v = ig_load_f64(l->in[0], x->dtype, (size_t)i);
    sum += v * v;
  }
  *(double *)l->out[0] = sum;
  return IG_OK;
}

#define REF_FLAGS (IG_IMPL_REF | IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE)
IG_IMPLS(reduce_ref) = {
    {.name = "sum_ref", .flags = REF_FLAGS, .run = run_sum},
    {.name = "sum_bwd_ref", .flags = REF_FLAGS, .run = run_sum_bwd},
    {.name = "sum_squares_ref", .flags = REF_FLAGS, .run = run_squares},
    {0},
};
