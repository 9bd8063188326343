// Rows and builders of pooling. Rule: maxpool2d stores one byte an output, the winner's place in its window; neither x
// nor y is kept.
#include "kernels/pool2d/pool2d.h"

#include <stdio.h>

#include "kernels/kernels.h"

// ---- shapes ----
static ig_status check_x(const ig_node *n, int i) {
  IG_TRY(ig_check_rank(n, i, 4));
  if (!ig_dtype_is_float(n->in[i]->dtype))
    return ig_fail(IG_ERR_MISMATCH, "operand %d (%s) is %s, expected a floating-point type", i, n->in[i]->name,
                   ig_dtype_name(n->in[i]->dtype));
  return IG_OK;
}

static ig_status check_side(const char *side, int64_t size, int kernel, int stride, int before, int after) {
  if (kernel < 1 || stride < 1 || before < 0 || after < 0 || before >= kernel || after >= kernel)
    return ig_fail(IG_ERR_MISMATCH,
                   "%s: kernel %d, stride %d, padding %d and %d; expected kernel and stride of at least 1 and padding "
                   "below the kernel",
                   side, kernel, stride, before, after);
  if (size + before + after < kernel)
    return ig_fail(IG_ERR_MISMATCH, "%s: the window of %d does not fit into %lld positions with padding %d and %d",
                   side, kernel, (long long)size, before, after);
  return IG_OK;
}

// Checks the window against an input of that size and gives the output's shape.
static ig_status pooled_shape(const ig_pool2d_attr *a, ig_shape x, ig_shape *out) {
  IG_TRY(check_side("height", x.d[1], a->kernel_h, a->stride_h, a->pad_top, a->pad_bottom));
  IG_TRY(check_side("width", x.d[2], a->kernel_w, a->stride_w, a->pad_left, a->pad_right));
  *out = IG_SHAPE4(x.d[0], (x.d[1] + a->pad_top + a->pad_bottom - a->kernel_h) / a->stride_h + 1,
                   (x.d[2] + a->pad_left + a->pad_right - a->kernel_w) / a->stride_w + 1, x.d[3]);
  return IG_OK;
}

static ig_status infer_pool(ig_graph *g, ig_node *n) {
  const ig_pool2d_attr *a = n->attr;
  ig_shape out;
  IG_TRY(check_x(n, 0));
  IG_TRY(pooled_shape(a, n->in[0]->shape, &out));
  IG_TRY(ig_node_set_out(g, n, 0, n->in[0]->dtype, out));
  if (n->op->n_out == 1)
    return IG_OK;
  if (a->kernel_h * a->kernel_w > 256)
    return ig_fail(IG_ERR_UNSUPPORTED, "a maximum over %d x %d positions; at most 256 in all are possible", a->kernel_h,
                   a->kernel_w);
  return ig_node_set_out(g, n, 1, IG_U8, out);
}

static ig_status infer_pool_bwd(ig_graph *g, ig_node *n) {
  const ig_pool2d_bwd_attr *a = n->attr;
  IG_TRY(check_x(n, 0));
  ig_shape dy = n->in[0]->shape, want, dx = IG_SHAPE4(dy.d[0], a->height, a->width, dy.d[3]);
  IG_TRY(pooled_shape(&a->pool, dx, &want));
  IG_TRY(ig_check_shape(n, 0, want));
  if (n->n_in > 1) {
    IG_TRY(ig_check_shape(n, 1, want));
    IG_TRY(ig_check_dtype(n, 1, IG_U8));
  }
  return ig_node_set_out(g, n, 0, n->in[0]->dtype, dx);
}

static ig_status infer_global(ig_graph *g, ig_node *n) {
  IG_TRY(check_x(n, 0));
  const int64_t *d = n->in[0]->shape.d;
  return ig_node_set_out(g, n, 0, n->in[0]->dtype, IG_SHAPE2(d[0], d[3]));
}

static ig_status infer_global_bwd(ig_graph *g, ig_node *n) {
  IG_TRY(check_x(n, 1));
  const ig_tensor *x = n->in[1];
  IG_TRY(ig_check_shape(n, 0, IG_SHAPE2(x->shape.d[0], x->shape.d[3])));
  return ig_node_set_out(g, n, 0, x->dtype, x->shape);
}

// ---- gradients ----
static ig_status emit(ig_graph *g, const ig_node *n, int n_in, ig_tensor *const *in, const void *attr,
                      ig_tensor **din) {
  char op[64], name[400];
  snprintf(op, sizeof op, "%s_bwd", n->op->name);
  snprintf(name, sizeof name, "%s/dx", n->name);
  ig_node *made = ig_graph_node(g, op, name, n_in, in, attr);
  din[0] = made ? made->out[0] : NULL;
  return ig_graph_status(g);
}

static ig_status pool_grad(ig_graph *g, const ig_node *n, ig_tensor *const *dout, const bool *need, ig_tensor **din) {
  const int64_t *d = n->in[0]->shape.d;
  ig_pool2d_bwd_attr attr = {*(const ig_pool2d_attr *)n->attr, d[1], d[2]};
  return emit(g, n, n->n_out, (ig_tensor *[]){dout[0], n->out[1]}, &attr, din);
}

static ig_status global_grad(ig_graph *g, const ig_node *n, ig_tensor *const *dout, const bool *need, ig_tensor **din) {
  return emit(g, n, 2, (ig_tensor *[]){dout[0], n->in[0]}, NULL, din);
}

// ---- costs ----
static double bytes_of(const ig_tensor *t) {
  return (double)ig_shape_count(&t->shape) * (double)ig_dtype_bytes(t->dtype);
}
static void cost_window(const ig_node *n, const ig_pool2d_attr *a, const ig_tensor *pooled, ig_cost *cost) {
  cost->flops = (double)ig_shape_count(&pooled->shape) * a->kernel_h * a->kernel_w;
  cost->bytes = 0;
  for (int i = 0; i < n->n_in; i++)
    cost->bytes += bytes_of(n->in[i]);
  for (int i = 0; i < n->n_out; i++)
    cost->bytes += bytes_of(n->out[i]);
}
static void cost_pool(const ig_node *n, ig_cost *cost) { cost_window(n, n->attr, n->out[0], cost); }
static void cost_pool_bwd(const ig_node *n, ig_cost *cost) {
  cost_window(n, &((const ig_pool2d_bwd_attr *)n->attr)->pool, n->in[0], cost);
}
static void cost_global(const ig_node *n, ig_cost *cost) {
  cost->flops = (double)ig_shape_count(&n->in[0]->shape);
  cost->bytes = bytes_of(n->in[0]) + bytes_of(n->out[0]);
}
static void cost_global_bwd(const ig_node *n, ig_cost *cost) {
  cost->flops = (double)ig_shape_count(&n->in[0]->shape);
  cost->bytes = bytes_of(n->in[0]) + bytes_of(n->out[0]);
}

// ---- cases ----
static const ig_pool2d_attr k3s2p1 = {3, 3, 2, 2, 1, 1, 1, 1, false, false};
static const ig_pool2d_attr k3s2p1_in = {3, 3, 2, 2, 1, 1, 1, 1, true, false};
static const ig_pool2d_attr k3s2_zero = {3, 3, 2, 2, 1, 1, 1, 1, false, true};
static const ig_pool2d_attr k2s2 = {2, 2, 2, 2, 0, 0, 0, 0, false, false};
static const ig_pool2d_attr k3s1p1 = {3, 3, 1, 1, 1, 1, 1, 1, false, false};
static const ig_pool2d_attr k1x5_uneven = {1, 5, 1, 3, 0, 4, 0, 1, true, true};
static const ig_pool2d_attr k2s3_gaps = {2, 2, 3, 3, 0, 0, 0, 0, false, false};
static const ig_pool2d_bwd_attr b3s2p1 = {{3, 3, 2, 2, 1, 1, 1, 1, false, false}, 9, 11};
static const ig_pool2d_bwd_attr b3s2p1_in = {{3, 3, 2, 2, 1, 1, 1, 1, true, false}, 9, 11};
static const ig_pool2d_bwd_attr b2s2 = {{2, 2, 2, 2, 0, 0, 0, 0, false, false}, 7, 5};
static const ig_pool2d_bwd_attr b3s1p1 = {{3, 3, 1, 1, 1, 1, 1, 1, false, false}, 5, 7};
static const ig_pool2d_bwd_attr b1x5 = {{1, 5, 1, 3, 0, 4, 0, 1, true, true}, 1, 19};
static const ig_pool2d_bwd_attr b2s3 = {{2, 2, 3, 3, 0, 0, 0, 0, false, false}, 7, 9};
static const ig_pool2d_bwd_attr b3s2p1_bench = {{3, 3, 2, 2, 1, 1, 1, 1, false, false}, 112, 112};

#define X(N, H, W, C) \
  { .shape = {4, {N, H, W, C}}, .fill = IG_FILL_NORMAL }
#define PLACE(N, H, W, C, k) \
  { .shape = {4, {N, H, W, C}}, .dtype = IG_U8, .fill = IG_FILL_INDEX, .hi = k }
#define NC(N, C) \
  { .shape = {2, {N, C}}, .fill = IG_FILL_NORMAL }
static const ig_op_case pool_cases[] = {
    {"k3s2p1_c3", 1, {X(1, 9, 11, 3)}, .attr = &k3s2p1},
    {"k3s2p1_in_c8", 1, {X(2, 9, 11, 8)}, .attr = &k3s2p1_in},
    {"k3s2_zero_c7", 1, {X(3, 8, 5, 7)}, .attr = &k3s2_zero},
    {"k2s2_c64", 1, {X(1, 7, 5, 64)}, .attr = &k2s2},
    {"k3s1p1_c17", 1, {X(3, 5, 7, 17)}, .attr = &k3s1p1},
    {"signal_c1", 1, {X(3, 1, 19, 1)}, .attr = &k1x5_uneven},
    {"gaps_c9", 1, {X(1, 7, 9, 9)}, .attr = &k2s3_gaps},
    {"bench", 1, {X(32, 112, 112, 64)}, .attr = &k3s2p1, .bench = true},
};
static const ig_op_case max_bwd_cases[] = {
    {"k3s2p1_c3", 2, {X(1, 5, 6, 3), PLACE(1, 5, 6, 3, 9)}, .attr = &b3s2p1},
    {"k2s2_c64", 2, {X(3, 3, 2, 64), PLACE(3, 3, 2, 64, 4)}, .attr = &b2s2},
    {"k3s1p1_c17", 2, {X(3, 5, 7, 17), PLACE(3, 5, 7, 17, 9)}, .attr = &b3s1p1},
    {"signal_c1", 2, {X(3, 1, 7, 1), PLACE(3, 1, 7, 1, 5)}, .attr = &b1x5},
    {"gaps_c9", 2, {X(1, 2, 3, 9), PLACE(1, 2, 3, 9, 4)}, .attr = &b2s3},
    {"bench", 2, {X(32, 56, 56, 64), PLACE(32, 56, 56, 64, 9)}, .attr = &b3s2p1_bench, .bench = true},
};
static const ig_op_case avg_bwd_cases[] = {
    {"k3s2p1_c3", 1, {X(1, 5, 6, 3)}, .attr = &b3s2p1},
    {"k3s2p1_in_c8", 1, {X(2, 5, 6, 8)}, .attr = &b3s2p1_in},
    {"k2s2_c64", 1, {X(3, 3, 2, 64)}, .attr = &b2s2},
    {"k3s1p1_c17", 1, {X(3, 5, 7, 17)}, .attr = &b3s1p1},
    {"signal_c1", 1, {X(3, 1, 7, 1)}, .attr = &b1x5},
    {"gaps_c9", 1, {X(1, 2, 3, 9)}, .attr = &b2s3},
    {"bench", 1, {X(32, 56, 56, 64)}, .attr = &b3s2p1_bench, .bench = true},
};
static const ig_op_case global_cases[] = {
    {"c1", 1, {X(1, 3, 1, 1)}, .attr = NULL},         {"c3", 1, {X(3, 1, 1, 3)}, .attr = NULL},
    {"c17", 1, {X(3, 7, 5, 17)}, .attr = NULL},       {"c64", 1, {X(2, 7, 7, 64)}, .attr = NULL},
    {"long", 1, {X(1, 61, 67, 9)}, .attr = NULL},     {"c1030", 1, {X(1, 3, 3, 1030)}, .attr = NULL},
    {"bench", 1, {X(64, 7, 7, 2048)}, .bench = true},
};
#define LIKE(N, H, W, C) \
  { .shape = {4, {N, H, W, C}}, .fill = IG_FILL_NORMAL, .no_grad = true }
static const ig_op_case global_bwd_cases[] = {
    {"c1", 2, {NC(1, 1), LIKE(1, 3, 1, 1)}, .attr = NULL},
    {"c17", 2, {NC(3, 17), LIKE(3, 7, 5, 17)}, .attr = NULL},
    {"c64", 2, {NC(2, 64), LIKE(2, 7, 7, 64)}, .attr = NULL},
    {"bench", 2, {NC(64, 2048), LIKE(64, 7, 7, 2048)}, .bench = true},
};

// ---- rows ----
#define CASES(list) .cases = list, .n_cases = (int)(sizeof list / sizeof *list)
#define IMPLS(stem) .impls = {[IG_DEVICE_CPU] = {stem "_cpu", stem "_ref"}, [IG_DEVICE_CUDA] = {stem "_cuda"}}

static const ig_op maxpool2d_row = {.name = "maxpool2d",
                                    .summary = "y = maximum of the window, place = its first winner (u8)",
                                    .min_in = 1,
                                    .max_in = 1,
                                    .n_out = 2,
                                    .attr_bytes = sizeof(ig_pool2d_attr),
                                    .infer = infer_pool,
                                    .grad = pool_grad,
                                    .keeps_out = 2,
                                    .cost = cost_pool,
                                    CASES(pool_cases),
                                    IMPLS("maxpool2d")};
static const ig_op maxpool2d_bwd_row = {.name = "maxpool2d_bwd",
                                        .summary = "dx = sum of dy over the windows that x won",
                                        .min_in = 2,
                                        .max_in = 2,
                                        .n_out = 1,
                                        .attr_bytes = sizeof(ig_pool2d_bwd_attr),
                                        .infer = infer_pool_bwd,
                                        .grad = ig_no_grad,
                                        .cost = cost_pool_bwd,
                                        CASES(max_bwd_cases),
                                        IMPLS("maxpool2d_bwd")};
static const ig_op avgpool2d_row = {.name = "avgpool2d",
                                    .summary = "y = mean of the window",
                                    .min_in = 1,
                                    .max_in = 1,
                                    .n_out = 1,
                                    .attr_bytes = sizeof(ig_pool2d_attr),
                                    .infer = infer_pool,
                                    .grad = pool_grad,
                                    .cost = cost_pool,
                                    CASES(pool_cases),
                                    IMPLS("avgpool2d")};
static const ig_op avgpool2d_bwd_row = {.name = "avgpool2d_bwd",
                                        .summary = "dx = sum of dy / count over the windows that hold x",
                                        .min_in = 1,
                                        .max_in = 1,
                                        .n_out = 1,
                                        .attr_bytes = sizeof(ig_pool2d_bwd_attr),
                                        .infer = infer_pool_bwd,
                                        .grad = ig_no_grad,
                                        .cost = cost_pool_bwd,
                                        CASES(avg_bwd_cases),
                                        IMPLS("avgpool2d_bwd")};
static const ig_op global_row = {.name = "global_avgpool",
                                 .summary = "y[n,c] = mean of x over positions",
                                 .min_in = 1,
                                 .max_in = 1,
                                 .n_out = 1,
                                 .infer = infer_global,
                                 .grad = global_grad,
                                 .keeps_in = 1,  // its shape and layout only
                                 .cost = cost_global,
                                 CASES(global_cases),
                                 IMPLS("global_avgpool")};
static const ig_op global_bwd_row = {.name = "global_avgpool_bwd",
                                     .summary = "dx = dy / positions, in x's shape and layout (x is not read)",
                                     .min_in = 2,
                                     .max_in = 2,
                                     .n_out = 1,
                                     .infer = infer_global_bwd,
                                     .grad = ig_no_grad,
                                     .cost = cost_global_bwd,
                                     CASES(global_bwd_cases),
                                     IMPLS("global_avgpool_bwd")};

IG_OPS(pool2d) = {
    &maxpool2d_row, &maxpool2d_bwd_row, &avgpool2d_row, &avgpool2d_bwd_row, &global_row, &global_bwd_row, NULL};

// ---- builders ----
static ig_tensor *build(ig_graph *g, const char *op, const char *name, ig_tensor *x, const ig_pool2d_attr *attr) {
  if (!x)
    return NULL;
  ig_pool2d_attr a = {0};
  if (attr) {
    a = *attr;
    a.stride_h = a.stride_h ? a.stride_h : a.kernel_h;
    a.stride_w = a.stride_w ? a.stride_w : a.kernel_w;
  }
  ig_node *n = ig_graph_node(g, op, name, 1, &x, &a);
  return n ? n->out[0] : NULL;
}

ig_tensor *ig_maxpool2d(ig_graph *g, const char *name, ig_tensor *x, const ig_pool2d_attr *attr) {
  return build(g, "maxpool2d", name, x, attr);
}
ig_tensor *ig_avgpool2d(ig_graph *g, const char *name, ig_tensor *x, const ig_pool2d_attr *attr) {
  return build(g, "avgpool2d", name, x, attr);
}
ig_tensor *ig_global_avgpool(ig_graph *g, const char *name, ig_tensor *x) {
  return build(g, "global_avgpool", name, x, NULL);
}
