// The reference of the fully connected layer: the sums of linear.h in double, in a fixed order, for every float type.
// Rule: operands are widened into the workspace first, so that one text serves all types.
#include <string.h>

#include "kernels/kernels.h"
#include "kernels/linear/linear.h"
#include "kernels/plain.h"

static size_t count_of(const ig_tensor *t) { return (size_t)ig_shape_count(&t->shape); }

static ig_status prepare(ig_prepare *p) {
  const ig_node *n = p->node;
  ig_prepare_plain(p);
  p->workspace_bytes = (count_of(n->in[0]) + count_of(n->in[1]) + count_of(n->out[0])) * sizeof(double);
  return IG_OK;
}

static void widen(const ig_launch *l, const double **a, const double **b, double **out) {
  const ig_node *n = l->node;
  double *at = l->workspace;
  ig_convert(at, IG_F64, l->in[0], n->in[0]->dtype, count_of(n->in[0]));
  *a = at;
  at += count_of(n->in[0]);
  ig_convert(at, IG_F64, l->in[1], n->in[1]->dtype, count_of(n->in[1]));
  *b = at;
  *out = at + count_of(n->in[1]);
  memset(*out, 0, count_of(n->out[0]) * sizeof(double));
}

static ig_status run(const ig_launch *l) {
  const ig_linear_dims d = ig_linear_dims_of(l->node);
  const ig_tensor *bias = l->node->n_in > 2 ? l->node->in[2] : NULL;
  const double *x, *w;
  double *y;
  widen(l, &x, &w, &y);
#pragma omp parallel for collapse(2) num_threads(l->device->caps.threads)
  for (int64_t t = 0; t < d.T; t++)
    for (int64_t v = 0; v < d.V; v++) {
      double sum = bias ? ig_load_f64(l->in[2], bias->dtype, (size_t)v) : 0;
      for (int64_t i = 0; i < d.D; i++)
        sum += x[t * d.D + i] * w[v * d.D + i];
      y[t * d.V + v] = sum;
    }
  ig_convert(l->out[0], l->node->out[0]->dtype, y, IG_F64, count_of(l->node->out[0]));
  return IG_OK;
}

static ig_status run_bwd_data(const ig_launch *l) {
  const ig_linear_dims d = ig_linear_dims_of(l->node);
  const double *dy, *w;
  double *dx;
  widen(l, &dy, &w, &dx);
#pragma omp parallel for num_threads(l->device->caps.threads)
  for (int64_t t = 0; t < d.T; t++)
    for (int64_t v = 0; v < d.V; v++)
      for (int64_t i = 0; i < d.D; i++)
        dx[t * d.D + i] += dy[t * d.V + v] * w[v * d.D + i];
  ig_convert(l->out[0], l->node->out[0]->dtype, dx, IG_F64, count_of(l->node->out[0]));
  return IG_OK;
}

static ig_status run_bwd_weights(const ig_launch *l) {
  const ig_linear_dims d = ig_linear_dims_of(l->node);
  const ig_linear_attr *attr = l->node->attr;
  const double *x, *dy;
  double *dw;
  widen(l, &x, &dy, &dw);
  ig_store_f64(l->out[1], l->node->out[1]->dtype, 0, 0);
#pragma omp parallel for num_threads(l->device->caps.threads)
  for (int64_t v = 0; v < d.V; v++) {
    double db = 0;
    for (int64_t t = 0; t < d.T; t++) {
      db += dy[t * d.V + v];
      for (int64_t i = 0; i < d.D; i++)
        dw[v * d.D + i] += dy[t * d.V + v] * x[t * d.D + i];
    }
    if (attr->has_bias)
      ig_store_f64(l->out[1], l->node->out[1]->dtype, (size_t)v, db);
  }
  ig_convert(l->out[0], l->node->out[0]->dtype, dw, IG_F64, count_of(l->node->out[0]));
  return IG_OK;
}

enum { FLAGS = IG_IMPL_REF | IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE };
IG_IMPLS(linear_ref) = {{.name = "linear_ref", .flags = FLAGS, .prepare = prepare, .run = run},
                        {.name = "linear_bwd_data_ref", .flags = FLAGS, .prepare = prepare, .run = run_bwd_data},
                        {.name = "linear_bwd_weights_ref", .flags = FLAGS, .prepare = prepare, .run = run_bwd_weights},
                        {0}};
