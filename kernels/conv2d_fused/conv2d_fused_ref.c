// The oracle of bn_fold: doubles, f32 or f64. (conv2d_fused_ref stands beside conv2d_ref.)
#include <math.h>

#include "kernels/conv2d_fused/conv2d_fused.h"
#include "kernels/kernels.h"

static double get(const ig_launch *l, int operand, int64_t i) {
  return l->in[operand] ? ig_load_f64(l->in[operand], l->node->in[operand]->dtype, (size_t)i) : 0;
}

static ig_status run(const ig_launch *l) {
  const ig_batchnorm_attr *attr = l->node->attr;
  const ig_tensor *w = l->node->in[0];
  const int64_t K = w->shape.d[0], n = ig_shape_count(&w->shape) / K;
  for (int64_t k = 0; k < K; k++) {
    const double scale = get(l, 1, k) / sqrt(get(l, 4, k) + attr->eps);
    for (int64_t i = k * n; i < (k + 1) * n; i++)
      ig_store_f64(l->out[0], w->dtype, (size_t)i, get(l, 0, i) * scale);
    ig_store_f64(l->out[1], w->dtype, (size_t)k, get(l, 2, k) + (get(l, 5, k) - get(l, 3, k)) * scale);
  }
  return IG_OK;
}

IG_IMPLS(conv2d_fused_ref) = {
    {.name = "bn_fold_ref", .flags = IG_IMPL_REF | IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE, .run = run}, {0}};
