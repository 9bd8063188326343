// Rows sum, its gradient sum_bwd, and sum_squares.
#include "kernels/reduce/reduce.h"

#include "kernels/kernels.h"
#include "kernels/optim_util/fixed.h"
#include "kernels/reduce/reduce_attr.h"

static ig_status infer_sum(ig_graph *g, ig_node *n) {
  const ig_sum_attr *a = n->attr;
  const ig_shape *s = &n->in[0]->shape;
  if (!ig_dtype_is_float(n->in[0]->dtype))
    return ig_fail(IG_ERR_MISMATCH, "operand 0 (%s) is %s, expected a float type", n->in[0]->name,
                   ig_dtype_name(n->in[0]->dtype));
  if (a->leading < 0 || a->leading > s->n)
    return ig_fail(IG_ERR_MISMATCH, "sum over %d leading dimensions of a tensor of rank %d", a->leading, s->n);
  ig_shape out = IG_SHAPE1(1);
  if (a->leading && a->leading < s->n) {
    out.n = s->n - a->leading;
    for (int i = 0; i < out.n; i++)
      out.d[i] = s->d[a->leading + i];
  }
  return ig_node_set_out(g, n, 0, ig_sum_dtype(n->in[0]), out);
}

static ig_status infer_sum_bwd(ig_graph *g, ig_node *n) {
  const ig_sum_bwd_attr *a = n->attr;
  int64_t inner = ig_shape_count(&n->in[0]->shape);
  if (inner == 0 || ig_shape_count(&a->shape) % inner != 0)
    return ig_fail(IG_ERR_INTERNAL, "%lld gradients do not repeat over the operand", (long long)inner);
  return ig_node_set_out(g, n, 0, a->dtype, a->shape);
}

static ig_status infer_squares(ig_graph *g, ig_node *n) {
  if (!ig_dtype_is_float(n->in[0]->dtype))
    return ig_fail(IG_ERR_MISMATCH, "operand 0 (%s) is %s, expected a float type", n->in[0]->name,
                   ig_dtype_name(n->in[0]->dtype));
  return ig_node_set_out(g, n, 0, IG_F64, IG_SHAPE1(1));
}

static ig_status grad_sum(ig_graph *g, const ig_node *n, ig_tensor *const *dout, const bool *need, ig_tensor **din) {
  const ig_sum_attr *a = n->attr;
  const ig_tensor *x = n->in[0];
  double rows = (double)ig_shape_count(&x->shape) / (double)ig_shape_count(&n->out[0]->shape);
  const ig_sum_bwd_attr attr = {.scale = a->mean ? 1 / rows : 1, .shape = x->shape, .dtype = x->dtype};
  char name[320];
  snprintf(name, sizeof name, "%s/d", n->name);
  ig_node *b = ig_graph_node(g, "sum_bwd", name, 1, &dout[0], &attr);
  din[0] = b ? b->out[0] : NULL;
  return ig_graph_status(g);
}

static void cost_sum(const ig_node *n, ig_cost *cost) {
  int64_t in = ig_shape_count(&n->in[0]->shape), out = ig_shape_count(&n->out[0]->shape);
  *cost = (ig_cost){.flops = (double)(in > out ? in : out), .bytes = ig_cost_bytes(n)};
}

#define X(...) \
  { __VA_ARGS__, IG_F32, IG_FILL_NORMAL, 0, 0, false, false }
static const ig_sum_attr all = {0, false}, one = {1, false}, mean_three = {3, true}, mean_all = {0, true};
static const ig_op_case sum_cases[] = {
    {.name = "all", .n_in = 1, .in = {X(IG_SHAPE2(67, 37))}, .attr = &all},
    {.name = "mean_all", .n_in = 1, .in = {X(IG_SHAPE1(40001))}, .attr = &mean_all},
    {.name = "rows", .n_in = 1, .in = {X(IG_SHAPE2(131, 37))}, .attr = &one},
    {.name = "mean_channels", .n_in = 1, .in = {X(IG_SHAPE4(2, 5, 3, 1100))}, .attr = &mean_three},
    {.name = "bias", .n_in = 1, .in = {X(IG_SHAPE2(4096, 1024))}, .attr = &one, .bench = true},
};
static const ig_sum_bwd_attr to_rows = {.scale = 0.5, .shape = {2, {131, 37}}},
                             to_all = {.scale = 1, .shape = {3, {5, 7, 3}}};
static const ig_op_case sum_bwd_cases[] = {
    {.name = "rows", .n_in = 1, .in = {X(IG_SHAPE1(37))}, .attr = &to_rows},
    {.name = "all", .n_in = 1, .in = {X(IG_SHAPE1(1))}, .attr = &to_all},
};
static const ig_op_case squares_cases[] = {
    {.name = "odd", .n_in = 1, .in = {X(IG_SHAPE1(37))}},
    {.name = "chunks", .n_in = 1, .in = {X(IG_SHAPE1(40001))}},
    {.name = "resnet50", .n_in = 1, .in = {X(IG_SHAPE1(25557032))}, .bench = true},
};

static const ig_op sum = {
    .name = "sum",
    .summary = "y[j] = sum_i x[i, j] or the mean, i over leading dimensions",
    .min_in = 1,
    .max_in = 1,
    .n_out = 1,
    .attr_bytes = sizeof(ig_sum_attr),
    .infer = infer_sum,
    .grad = grad_sum,
    .cost = cost_sum,
    .cases = sum_cases,
    .n_cases = (int)(sizeof sum_cases / sizeof *sum_cases),
    .on_cpu = IG_CPU_F32,
    .impls = {[IG_DEVICE_CPU] = {"sum_cpu", "sum_ref"}, [IG_DEVICE_CUDA] = {"sum_cuda"}},
};
static const ig_op sum_bwd = {
    .name = "sum_bwd",
    .summary = "dx[i, j] = scale dy[j]",
    .min_in = 1,
    .max_in = 1,
    .n_out = 1,
    .attr_bytes = sizeof(ig_sum_bwd_attr),
    .infer = infer_sum_bwd,
    .grad = ig_no_grad,
    .cost = cost_sum,
    .cases = sum_bwd_cases,
    .n_cases = (int)(sizeof sum_bwd_cases / sizeof *sum_bwd_cases),
    .on_cpu = IG_CPU_F32,
    .impls = {[IG_DEVICE_CPU] = {"sum_bwd_cpu", "sum_bwd_ref"}, [IG_DEVICE_CUDA] = {"sum_bwd_cuda"}},
};
static const ig_op sum_squares = {
    .name = "sum_squares",
    .summary = "s = sum_i x_i^2 in fp64",
    .min_in = 1,
    .max_in = 1,
    .n_out = 1,
    .infer = infer_squares,
    .grad = ig_no_grad,
    .cost = cost_sum,
    .cases = squares_cases,
    .n_cases = (int)(sizeof squares_cases / sizeof *squares_cases),
    .on_cpu = IG_CPU_F32,
    .impls = {[IG_DEVICE_CPU] = {"sum_squares_cpu", "sum_squares_ref"}, [IG_DEVICE_CUDA] = {"sum_squares_cuda"}},
};

IG_OPS(reduce) = {&sum, &sum_bwd, &sum_squares, 0};

static ig_tensor *build(ig_graph *g, const char *op, const char *name, ig_tensor *x, const void *attr) {
  ig_node *n = x ? ig_graph_node(g, op, name, 1, &x, attr) : NULL;
  return n ? n->out[0] : NULL;
}

ig_tensor *ig_sum(ig_graph *g, const char *name, ig_tensor *x, int leading) {
  return build(g, "sum", name, x, &(ig_sum_attr){leading, false});
}

ig_tensor *ig_mean(ig_graph *g, const char *name, ig_tensor *x, int leading) {
  return build(g, "sum", name, x, &(ig_sum_attr){leading, true});
}

ig_tensor *ig_sum_squares(ig_graph *g, const char *name, ig_tensor *x) {
  return build(g, "sum_squares", name, x, NULL);
}
