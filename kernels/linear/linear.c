// Rows, shape and gradient rules of the fully connected layer. Rule: weight gradients are fp32 [V,D] whatever the
// activations are (f64 under f64).
#include "kernels/linear/linear.h"

#include <stdio.h>
#include <string.h>

#include "kernels/kernels.h"
#include "kernels/reorder/reorder.h"

static ig_dtype sums_type(ig_dtype activations) { return activations == IG_F64 ? IG_F64 : IG_F32; }

static int64_t last_of(const ig_tensor *t) { return t->shape.d[t->shape.n - 1]; }
static int64_t rows_of(const ig_tensor *t) {
  int64_t rows = 1;
  for (int i = 0; i + 1 < t->shape.n; i++)
    rows *= t->shape.d[i];
  return rows;
}

// ---- shapes ----
ig_linear_dims ig_linear_dims_of(const ig_node *n) {
  const ig_tensor *a = n->in[0], *b = n->in[1];
  ig_linear_dims d = {.T = rows_of(a)};
  if (!strcmp(n->op->name, "linear"))
    d.D = last_of(a), d.V = b->shape.d[0];
  else if (!strcmp(n->op->name, "linear_bwd_data"))
    d.V = last_of(a), d.D = b->shape.d[1];
  else
    d.D = last_of(a), d.V = last_of(b);
  return d;
}

static ig_status check_operands(const ig_node *n) {
  for (int i = 0; i < 2; i++) {
    const ig_tensor *t = n->in[i];
    if (t->shape.n < 1)
      return ig_fail(IG_ERR_MISMATCH, "operand %d (%s) is a scalar, expected at least one dimension", i, t->name);
    if (!ig_dtype_is_float(t->dtype))
      return ig_fail(IG_ERR_MISMATCH, "operand %d (%s) is %s, expected a floating-point type", i, t->name,
                     ig_dtype_name(t->dtype));
  }
  return ig_check_dtype(n, 1, n->in[0]->dtype);
}

static ig_shape with_last(const ig_shape *s, int64_t last) {
  ig_shape out = *s;
  out.d[out.n - 1] = last;
  return out;
}

static ig_status infer(ig_graph *g, ig_node *n) {
  IG_TRY(check_operands(n));
  IG_TRY(ig_check_rank(n, 1, 2));
  ig_linear_dims d = ig_linear_dims_of(n);
  ig_dtype type = n->in[0]->dtype;
  IG_TRY(ig_check_shape(n, 1, IG_SHAPE2(d.V, d.D)));
  if (n->n_in > 2 && n->in[2]) {
    IG_TRY(ig_check_shape(n, 2, IG_SHAPE1(d.V)));
    IG_TRY(ig_check_dtype(n, 2, sums_type(type)));
  }
  bool wide = ((const ig_linear_attr *)n->attr)->f32_out;
  return ig_node_set_out(g, n, 0, wide ? sums_type(type) : type, with_last(&n->in[0]->shape, d.V));
}

static ig_status infer_bwd_data(ig_graph *g, ig_node *n) {
  IG_TRY(check_operands(n));
  IG_TRY(ig_check_rank(n, 1, 2));
  ig_linear_dims d = ig_linear_dims_of(n);
  IG_TRY(ig_check_shape(n, 1, IG_SHAPE2(d.V, d.D)));
  return ig_node_set_out(g, n, 0, n->in[0]->dtype, with_last(&n->in[0]->shape, d.D));
}

static ig_status infer_bwd_weights(ig_graph *g, ig_node *n) {
  const ig_linear_attr *a = n->attr;
  IG_TRY(check_operands(n));
  ig_linear_dims d = ig_linear_dims_of(n);
  IG_TRY(ig_check_shape(n, 1, with_last(&n->in[0]->shape, d.V)));
  ig_dtype type = sums_type(n->in[0]->dtype);
  IG_TRY(ig_node_set_out(g, n, 0, type, IG_SHAPE2(d.V, d.D)));
  return ig_node_set_out(g, n, 1, type, IG_SHAPE1(a->has_bias ? d.V : 1));
}

// ---- gradients ----
static ig_status grad(ig_graph *g, const ig_node *n, ig_tensor *const *dout, const bool *need, ig_tensor **din) {
  char name[400];
  ig_tensor *x = n->in[0], *w = n->in[1];
  bool has_bias = n->n_in > 2 && n->in[2] && need[2];
  snprintf(name, sizeof name, "%s/dy", n->name);
  ig_tensor *dy = ig_reorder(g, name, dout[0], x->dtype);
  if (!dy)
    return ig_graph_status(g);
  if (need[1] || has_bias) {
    snprintf(name, sizeof name, "%s/dw", n->name);
    ig_node *d = ig_graph_node(g, "linear_bwd_weights", name, 2, (ig_tensor *[]){x, dy},
                               &(const ig_linear_attr){.has_bias = has_bias});
    if (!d)
      return ig_graph_status(g);
    if (need[1])
      din[1] = d->out[0];
    if (has_bias)
      din[2] = d->out[1];
  }
  if (need[0]) {
    snprintf(name, sizeof name, "%s/dx", n->name);
    ig_node *d = ig_graph_node(g, "linear_bwd_data", name, 2, (ig_tensor *[]){dy, w}, NULL);
    if (!d)
      return ig_graph_status(g);
    din[0] = d->out[0];
  }
  return IG_OK;
}

static void cost(const ig_node *n, ig_cost *c) {
  ig_linear_dims d = ig_linear_dims_of(n);
  c->flops = 2.0 * (double)d.T * (double)d.D * (double)d.V;
  c->bytes = 0;
  for (int i = 0; i < n->n_in; i++)
    if (n->in[i])
      c->bytes += (double)ig_shape_count(&n->in[i]->shape) * (double)ig_dtype_bytes(n->in[i]->dtype);
  for (int i = 0; i < n->n_out; i++)
    c->bytes += (double)ig_shape_count(&n->out[i]->shape) * (double)ig_dtype_bytes(n->out[i]->dtype);
}

// ---- cases ----
// name, rank of x, its dimensions before the last, D, V, bias, bench
#define CASES(X)                                  \
  X("one row", 2, (1, ), 7, 5, 1, 0)              \
  X("prime", 2, (13, ), 17, 19, 1, 0)             \
  X("no bias", 2, (6, ), 32, 10, 0, 0)            \
  X("long sum", 2, (3, ), 1021, 3, 1, 0)          \
  X("wide", 2, (5, ), 3, 257, 1, 0)               \
  X("many rows", 2, (301, ), 6, 4, 1, 0)          \
  X("rank 3", 3, (3, 5, ), 11, 8, 1, 0)           \
  X("vector", 1, (), 9, 4, 1, 0)                  \
  X("128-wide tile", 2, (67, ), 75, 77, 1, 0)     \
  X("resnet18 head", 2, (16, ), 512, 1000, 1, 1)  \
  X("resnet50 head", 2, (32, ), 2048, 1000, 1, 1) \
  X("bert feed-forward", 2, (1024, ), 768, 3072, 1, 1)

// The shapes of x and y: the rows, then the last dimension.
#define UNWRAP(...) __VA_ARGS__
#define WITH_LAST(rank, rows, last) \
  {                                 \
    rank, { UNWRAP rows last }      \
  }
#define FLOATS(...) \
  { .shape = __VA_ARGS__, .dtype = IG_F32, .fill = IG_FILL_NORMAL }

#define CASE(text, rank, rows, D, V, bias, large)                                                                     \
  {.name = text,                                                                                                      \
   .n_in = 3,                                                                                                         \
   .in = {FLOATS(WITH_LAST(rank, rows, D)),                                                                           \
          FLOATS({2, {V, D}}),                                                                                        \
          {.shape = {1, {V}}, .dtype = IG_F32, .fill = (bias) ? IG_FILL_NORMAL : IG_FILL_ABSENT, .fixed_f32 = true}}, \
   .attr = &(const ig_linear_attr){0, 0},                                                                             \
   .bench = large},
#define CASE_BWD_DATA(text, rank, rows, D, V, bias, large)        \
  {.name = text,                                                  \
   .n_in = 2,                                                     \
   .in = {FLOATS(WITH_LAST(rank, rows, V)), FLOATS({2, {V, D}})}, \
   .attr = &(const ig_linear_attr){0, 0},                         \
   .bench = large},
#define CASE_BWD_WEIGHTS(text, rank, rows, D, V, bias, large)                  \
  {.name = text,                                                               \
   .n_in = 2,                                                                  \
   .in = {FLOATS(WITH_LAST(rank, rows, D)), FLOATS(WITH_LAST(rank, rows, V))}, \
   .attr = &(const ig_linear_attr){0, bias},                                   \
   .bench = large},

static const ig_op_case cases[] = {
    CASES(CASE){.name = "fp32 results",
                .n_in = 2,
                .in = {FLOATS({2, {5, 16}}), FLOATS({2, {3, 16}})},
                .attr = &(const ig_linear_attr){1, 0}},
};
static const ig_op_case cases_bwd_data[] = {CASES(CASE_BWD_DATA)};
static const ig_op_case cases_bwd_weights[] = {CASES(CASE_BWD_WEIGHTS)};

// ---- rows ----
static const ig_op linear = {
    .name = "linear",
    .summary = "y[t,v] = sum_d x[t,d] w[v,d] + bias[v]",
    .min_in = 2,
    .max_in = 3,
    .n_out = 1,
    .optional_in = 1 << 2,
    .attr_bytes = sizeof(ig_linear_attr),
    .infer = infer,
    .grad = grad,
    .keeps_in = 1 << 0 | 1 << 1,
    .cost = cost,
    .cases = cases,
    .n_cases = sizeof cases / sizeof *cases,
    .impls = {[IG_DEVICE_CPU] = {"linear_bf16_cpu", "linear_cpu", "linear_dnnl", "linear_ref"},
              [IG_DEVICE_CUDA] = {"linear_cublaslt", "linear_cuda"}},
};

static const ig_op linear_bwd_data = {
    .name = "linear_bwd_data",
    .summary = "dx[t,d] = sum_v dy[t,v] w[v,d]",
    .min_in = 2,
    .max_in = 2,
    .n_out = 1,
    .attr_bytes = sizeof(ig_linear_attr),
    .infer = infer_bwd_data,
    .grad = ig_no_grad,
    .cost = cost,
    .cases = cases_bwd_data,
    .n_cases = sizeof cases_bwd_data / sizeof *cases_bwd_data,
    .impls = {[IG_DEVICE_CPU] = {"linear_bwd_data_bf16_cpu", "linear_bwd_data_cpu", "linear_bwd_data_dnnl",
                                 "linear_bwd_data_ref"},
              [IG_DEVICE_CUDA] = {"linear_bwd_data_cublaslt", "linear_bwd_data_cuda"}},
};

static const ig_op linear_bwd_weights = {
    .name = "linear_bwd_weights",
    .summary = "dw[v,d] = sum_t dy[t,v] x[t,d]; db[v] = sum_t dy[t,v]",
    .min_in = 2,
    .max_in = 2,
    .n_out = 2,
    .attr_bytes = sizeof(ig_linear_attr),
    .infer = infer_bwd_weights,
    .grad = ig_no_grad,
    .cost = cost,
    .cases = cases_bwd_weights,
    .n_cases = sizeof cases_bwd_weights / sizeof *cases_bwd_weights,
    .impls = {[IG_DEVICE_CPU] = {"linear_bwd_weights_bf16_cpu", "linear_bwd_weights_cpu", "linear_bwd_weights_dnnl",
                                 "linear_bwd_weights_ref"},
              [IG_DEVICE_CUDA] = {"linear_bwd_weights_cublaslt", "linear_bwd_weights_cuda"}},
};

IG_OPS(linear) = {&linear, &linear_bwd_data, &linear_bwd_weights, 0};

// ---- builders ----
static ig_tensor *build(ig_graph *g, const char *name, ig_tensor *x, ig_tensor *w, ig_tensor *bias, bool f32_out) {
  if (!x || !w)
    return NULL;
  if (w->dtype != x->dtype)
    w = ig_compute_copy(g, w);
  if (bias && bias->dtype != sums_type(x->dtype))
    bias = ig_reorder(g, bias->name, bias, sums_type(x->dtype));
  if (!w)
    return NULL;
  ig_node *n = ig_graph_node(g, "linear", name, bias ? 3 : 2, (ig_tensor *[]){x, w, bias},
                             &(const ig_linear_attr){.f32_out = f32_out});
  return n ? n->out[0] : NULL;
}

ig_tensor *ig_linear(ig_graph *g, const char *name, ig_tensor *x, ig_tensor *w, ig_tensor *bias) {
  return build(g, name, x, w, bias, false);
}

ig_tensor *ig_linear_f32(ig_graph *g, const char *name, ig_tensor *x, ig_tensor *w, ig_tensor *bias) {
  return build(g, name, x, w, bias, true);
}
