// The reference convolution: the sums of conv2d.h in double, in a fixed order, for every float type. Rule: operands are
// widened into the workspace first, so that the loops are plain and one text serves all types.
#include <string.h>

#include "kernels/conv2d/conv2d.h"
#include "kernels/kernels.h"
#include "kernels/plain.h"

// Index of x's pixel under tap (r,s) of output pixel (p,q), -1 in the padding.
static int64_t pixel(const ig_conv2d_dims *d, int64_t p, int64_t q, int64_t r, int64_t s) {
  int64_t h = p * d->stride_h + r * d->dilation_h - d->pad_top, w = q * d->stride_w + s * d->dilation_w - d->pad_left;
  return h < 0 || h >= d->H || w < 0 || w >= d->W ? -1 : h * d->W + w;
}

static size_t count_of(const ig_tensor *t) { return (size_t)ig_shape_count(&t->shape); }

static ig_status prepare(ig_prepare *p) {
  const ig_node *n = p->node;
  ig_prepare_plain(p);
  p->workspace_bytes = (count_of(n->in[0]) + count_of(n->in[1]) + count_of(n->out[0])) * sizeof(double);
  return IG_OK;
}

// Both operands widened into the workspace; *out gets the zeroed place of the result behind them.
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
  const ig_conv2d_dims d = ig_conv2d_dims_of(l->node);
  const int64_t Cg = d.C / d.groups, Kg = d.K / d.groups;
  const double *x, *w;
  double *y;
  widen(l, &x, &w, &y);
  const ig_tensor *bias = l->node->n_in > 2 ? l->node->in[2] : NULL;
  const ig_conv2d_end e = ig_conv2d_end_of(l);
#pragma omp parallel for collapse(2) num_threads(l->device->caps.threads)
  for (int64_t n = 0; n < d.N; n++)
    for (int64_t pq = 0; pq < d.P * d.Q; pq++)
      for (int64_t k = 0; k < d.K; k++) {
        double sum = bias ? ig_load_f64(l->in[2], bias->dtype, (size_t)k) : 0;
        for (int64_t rs = 0; rs < d.R * d.S; rs++) {
          int64_t at = pixel(&d, pq / d.Q, pq % d.Q, rs / d.S, rs % d.S);
          if (at < 0)
            continue;
          const double *row = x + (n * d.H * d.W + at) * d.C + k / Kg * Cg, *v = w + k * Cg * d.R * d.S + rs;
          for (int64_t c = 0; c < Cg; c++)
            sum += row[c] * v[c * d.R * d.S];
        }
        const int64_t to = (n * d.P * d.Q + pq) * d.K + k;
        sum += e.residual ? ig_load_f64(e.residual, l->node->in[3]->dtype, (size_t)to) : 0;
        y[to] = e.relu && sum < 0 ? 0 : sum;
      }
  ig_convert(l->out[0], l->node->out[0]->dtype, y, IG_F64, count_of(l->node->out[0]));
  return IG_OK;
}

static ig_status run_bwd_data(const ig_launch *l) {
  const ig_conv2d_dims d = ig_conv2d_dims_of(l->node);
  const int64_t Cg = d.C / d.groups, Kg = d.K / d.groups;
  const double *dy, *w;
  double *dx;
  widen(l, &dy, &w, &dx);
#pragma omp parallel for num_threads(l->device->caps.threads)
  for (int64_t n = 0; n < d.N; n++)
    for (int64_t pq = 0; pq < d.P * d.Q; pq++)
      for (int64_t rs = 0; rs < d.R * d.S; rs++) {
        int64_t at = pixel(&d, pq / d.Q, pq % d.Q, rs / d.S, rs % d.S);
        if (at < 0)
          continue;
        double *row = dx + (n * d.H * d.W + at) * d.C;
        for (int64_t k = 0; k < d.K; k++) {
          const double g = dy[(n * d.P * d.Q + pq) * d.K + k], *v = w + k * Cg * d.R * d.S + rs;
          for (int64_t c = 0; c < Cg; c++)
            row[k / Kg * Cg + c] += g * v[c * d.R * d.S];
        }
      }
  ig_convert(l->out[0], l->node->out[0]->dtype, dx, IG_F64, count_of(l->node->out[0]));
  return IG_OK;
}

static ig_status run_bwd_weights(const ig_launch *l) {
  const ig_conv2d_dims d = ig_conv2d_dims_of(l->node);
  const ig_conv2d_bwd_attr *attr = l->node->attr;
  const int64_t Cg = d.C / d.groups, Kg = d.K / d.groups;
  const double *x, *dy;
  double *dw;
  widen(l, &x, &dy, &dw);
  ig_store_f64(l->out[1], l->node->out[1]->dtype, 0, 0);
#pragma omp parallel for num_threads(l->device->caps.threads)
  for (int64_t k = 0; k < d.K; k++) {
    double db = 0;
    for (int64_t n = 0; n < d.N; n++)
      for (int64_t pq = 0; pq < d.P * d.Q; pq++) {
        const double g = dy[(n * d.P * d.Q + pq) * d.K + k];
        db += g;
        for (int64_t rs = 0; rs < d.R * d.S; rs++) {
          int64_t at = pixel(&d, pq / d.Q, pq % d.Q, rs / d.S, rs % d.S);
          if (at < 0)
            continue;
          const double *row = x + (n * d.H * d.W + at) * d.C + k / Kg * Cg;
          double *v = dw + k * Cg * d.R * d.S + rs;
          for (int64_t c = 0; c < Cg; c++)
            v[c * d.R * d.S] += g * row[c];
        }
      }
    if (attr->has_bias)
      ig_store_f64(l->out[1], l->node->out[1]->dtype, (size_t)k, db);
  }
  ig_convert(l->out[0], l->node->out[0]->dtype, dw, IG_F64, count_of(l->node->out[0]));
  return IG_OK;
}

enum { FLAGS = IG_IMPL_REF | IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE };
IG_IMPLS(conv2d_ref) = {{.name = "conv2d_ref", .flags = FLAGS, .prepare = prepare, .run = run},
                        {.name = "conv2d_fused_ref", .flags = FLAGS, .prepare = prepare, .run = run},
                        {.name = "conv2d_bwd_data_ref", .flags = FLAGS, .prepare = prepare, .run = run_bwd_data},
                        {.name = "conv2d_bwd_weights_ref", .flags = FLAGS, .prepare = prepare, .run = run_bwd_weights},
                        {0}};
