// Rows and builder of adaptive average pooling. Rule: see adaptive_pool.h; backward reads of x its shape alone.
#include "kernels/adaptive_pool/adaptive_pool.h"

#include <stdio.h>

#include "kernels/kernels.h"

// ---- shapes ----
static ig_status flat_shape(const ig_node *n, int x, ig_shape *out) {
  const ig_adaptive_pool_attr *a = n->attr;
  IG_TRY(ig_check_rank(n, x, 4));
  if (!ig_dtype_is_float(n->in[x]->dtype))
    return ig_fail(IG_ERR_MISMATCH, "operand %d (%s) is %s, expected a floating-point type", x, n->in[x]->name,
                   ig_dtype_name(n->in[x]->dtype));
  if (a->out_h < 1 || a->out_w < 1)
    return ig_fail(IG_ERR_MISMATCH, "%d x %d windows; expected at least 1 x 1", a->out_h, a->out_w);
  const int64_t *d = n->in[x]->shape.d;
  *out = IG_SHAPE2(d[0], d[3] * a->out_h * a->out_w);
  return IG_OK;
}

static ig_status infer(ig_graph *g, ig_node *n) {
  ig_shape y;
  IG_TRY(flat_shape(n, 0, &y));
  return ig_node_set_out(g, n, 0, n->in[0]->dtype, y);
}

static ig_status infer_bwd(ig_graph *g, ig_node *n) {
  ig_shape dy;
  IG_TRY(flat_shape(n, 1, &dy));
  IG_TRY(ig_check_shape(n, 0, dy));
  return ig_node_set_out(g, n, 0, n->in[1]->dtype, n->in[1]->shape);
}

// ---- gradient ----
static ig_status grad(ig_graph *g, const ig_node *n, ig_tensor *const *dout, const bool *need, ig_tensor **din) {
  char name[400];
  snprintf(name, sizeof name, "%s/dx", n->name);
  ig_node *made = ig_graph_node(g, "adaptive_avgpool_bwd", name, 2, (ig_tensor *[]){dout[0], n->in[0]}, n->attr);
  din[0] = made ? made->out[0] : NULL;
  return ig_graph_status(g);
}

// ---- costs ----
static void cost_of(const ig_tensor *x, const ig_tensor *y, ig_cost *cost) {
  const double numbers = (double)ig_shape_count(&x->shape), means = (double)ig_shape_count(&y->shape);
  cost->flops = numbers > means ? numbers : means;
  cost->bytes = numbers * (double)ig_dtype_bytes(x->dtype) + means * (double)ig_dtype_bytes(y->dtype);
}
static void cost(const ig_node *n, ig_cost *c) { cost_of(n->in[0], n->out[0], c); }
static void cost_bwd(const ig_node *n, ig_cost *c) { cost_of(n->out[0], n->in[0], c); }

// ---- cases ----
static const ig_adaptive_pool_attr one = {1, 1}, few = {2, 3}, seven = {7, 7}, wide = {1, 5};

#define X(N, H, W, C) \
  { .shape = {4, {N, H, W, C}}, .fill = IG_FILL_NORMAL }
#define LIKE(N, H, W, C) \
  { .shape = {4, {N, H, W, C}}, .fill = IG_FILL_NORMAL, .no_grad = true }
#define FLAT(N, n) \
  { .shape = {2, {N, n}}, .fill = IG_FILL_NORMAL }
static const ig_op_case cases[] = {
    {"mean_c3", 1, {X(1, 5, 3, 3)}, .attr = &one},
    {"overlapping_c17", 1, {X(3, 5, 7, 17)}, .attr = &few},
    {"repeated_c64", 1, {X(2, 2, 2, 64)}, .attr = &seven},  // VGG at 64 pixels
    {"uneven_c70", 1, {X(1, 3, 11, 70)}, .attr = &seven},
    {"signal_c1", 1, {X(3, 1, 19, 1)}, .attr = &wide},
    {"identity_c9", 1, {X(1, 7, 7, 9)}, .attr = &seven},
    {"bench", 1, {X(32, 14, 14, 512)}, .attr = &seven, .bench = true},
};
static const ig_op_case bwd_cases[] = {
    {"mean_c3", 2, {FLAT(1, 3), LIKE(1, 5, 3, 3)}, .attr = &one},
    {"overlapping_c17", 2, {FLAT(3, 17 * 6), LIKE(3, 5, 7, 17)}, .attr = &few},
    {"repeated_c64", 2, {FLAT(2, 64 * 49), LIKE(2, 2, 2, 64)}, .attr = &seven},
    {"uneven_c70", 2, {FLAT(1, 70 * 49), LIKE(1, 3, 11, 70)}, .attr = &seven},
    {"signal_c1", 2, {FLAT(3, 5), LIKE(3, 1, 19, 1)}, .attr = &wide},
    {"identity_c9", 2, {FLAT(1, 9 * 49), LIKE(1, 7, 7, 9)}, .attr = &seven},
    {"bench", 2, {FLAT(32, 512 * 49), LIKE(32, 14, 14, 512)}, .attr = &seven, .bench = true},
};

// ---- rows ----
#define CASES(list) .cases = list, .n_cases = (int)(sizeof list / sizeof *list)
#define IMPLS(stem) .impls = {[IG_DEVICE_CPU] = {stem "_cpu", stem "_ref"}, [IG_DEVICE_CUDA] = {stem "_cuda"}}

static const ig_op row = {.name = "adaptive_avgpool",
                          .summary = "y[n, c, i, j] = mean of x over window (i, j), flat, channels first",
                          .min_in = 1,
                          .max_in = 1,
                          .n_out = 1,
                          .attr_bytes = sizeof(ig_adaptive_pool_attr),
                          .infer = infer,
                          .grad = grad,
                          .keeps_in = 1,  // its shape only
                          .cost = cost,
                          CASES(cases),
                          IMPLS("adaptive_avgpool")};
static const ig_op bwd_row = {.name = "adaptive_avgpool_bwd",
                              .summary = "dx = sum of dy / size over the windows that hold x (x is not read)",
                              .min_in = 2,
                              .max_in = 2,
                              .n_out = 1,
                              .attr_bytes = sizeof(ig_adaptive_pool_attr),
                              .infer = infer_bwd,
                              .grad = ig_no_grad,
                              .cost = cost_bwd,
                              CASES(bwd_cases),
                              IMPLS("adaptive_avgpool_bwd")};

IG_OPS(adaptive_pool) = {&row, &bwd_row, NULL};

// ---- builder ----
ig_tensor *ig_adaptive_avgpool(ig_graph *g, const char *name, ig_tensor *x, const ig_adaptive_pool_attr *attr) {
  if (!x)
    return NULL;
  ig_node *n = ig_graph_node(g, "adaptive_avgpool", name, 1, &x, attr);
  return n ? n->out[0] : NULL;
}
