// Rows and builders of the elementwise ops. Rule: a backward row `<op>_bwd(dy, saved)` stands beside each activation;
// saved is the output where the derivative can be told from it, else the input.
#include "kernels/eltwise/eltwise.h"

#include <stdio.h>
#include <string.h>

#include "kernels/kernels.h"

// ---- shapes ----
static ig_status check_float(const ig_node *n, int i) {
  if (!ig_dtype_is_float(n->in[i]->dtype))
    return ig_fail(IG_ERR_MISMATCH, "operand %d (%s) is %s, expected a floating-point type", i, n->in[i]->name,
                   ig_dtype_name(n->in[i]->dtype));
  return i ? ig_check_shape(n, i, n->in[0]->shape) : IG_OK;
}

// Widest of two types: f64, then f32, then equal 16-bit ones (unequal ones meet in f32).
static ig_dtype wider(ig_dtype a, ig_dtype b) {
  if (a == b)
    return a;
  return a == IG_F64 || b == IG_F64 ? IG_F64 : IG_F32;
}

static ig_status infer_widest(ig_graph *g, ig_node *n) {
  ig_dtype type = n->in[0]->dtype;
  for (int i = 0; i < n->n_in; i++) {
    IG_TRY(check_float(n, i));
    type = wider(type, n->in[i]->dtype);
  }
  return ig_node_set_out(g, n, 0, type, n->in[0]->shape);
}

// Backward rows: the gradient comes out in the saved operand's dtype.
static ig_status infer_bwd(ig_graph *g, ig_node *n) {
  IG_TRY(check_float(n, 0));
  IG_TRY(check_float(n, 1));
  return ig_node_set_out(g, n, 0, n->in[1]->dtype, n->in[0]->shape);
}

static ig_status infer_like(ig_graph *g, ig_node *n) {
  return ig_node_set_out(g, n, 0, n->in[0]->dtype, n->in[0]->shape);
}

static ig_status infer_axpy(ig_graph *g, ig_node *n) {
  IG_TRY(check_float(n, 0));
  IG_TRY(check_float(n, 1));
  return ig_node_set_out(g, n, 0, IG_F32, IG_SHAPE1(1));
}

// ---- gradients ----
// The gradient in the operand's dtype: itself, or cast.
static ig_tensor *cast_to(ig_graph *g, const ig_node *n, ig_tensor *t, ig_dtype type) {
  char name[400];
  if (!t || t->dtype == type)
    return t;
  snprintf(name, sizeof name, "%s/cast", n->name);
  ig_node *c = ig_graph_node(g, "reorder", name, 1, &t, &type);
  return c ? c->out[0] : NULL;
}

static ig_tensor *emit(ig_graph *g, const ig_node *n, const char *op, const char *suffix, int n_in,
                       ig_tensor *const *in, const void *attr) {
  char name[400];
  snprintf(name, sizeof name, "%s/%s", n->name, suffix);
  ig_node *made = ig_graph_node(g, op, name, n_in, in, attr);
  return made ? made->out[0] : NULL;
}

static ig_status activation_grad(ig_graph *g, const ig_node *n, ig_tensor *const *dout, const bool *need,
                                 ig_tensor **din) {
  char op[64];
  snprintf(op, sizeof op, "%s_bwd", n->op->name);
  din[0] = emit(g, n, op, "dx", 2, (ig_tensor *[]){dout[0], n->op->keeps_out ? n->out[0] : n->in[0]}, n->attr);
  return ig_graph_status(g);
}

static ig_status add_grad(ig_graph *g, const ig_node *n, ig_tensor *const *dout, const bool *need, ig_tensor **din) {
  for (int i = 0; i < n->n_in; i++)
    if (need[i])
      din[i] = cast_to(g, n, dout[0], n->in[i]->dtype);
  return ig_graph_status(g);
}

static ig_status mul_grad(ig_graph *g, const ig_node *n, ig_tensor *const *dout, const bool *need, ig_tensor **din) {
  for (int i = 0; i < 2; i++)
    if (need[i])
      din[i] = cast_to(g, n, emit(g, n, "mul", i ? "db" : "da", 2, (ig_tensor *[]){dout[0], n->in[1 - i]}, NULL),
                       n->in[i]->dtype);
  return ig_graph_status(g);
}

static ig_status scale_grad(ig_graph *g, const ig_node *n, ig_tensor *const *dout, const bool *need, ig_tensor **din) {
  din[0] = cast_to(g, n, emit(g, n, "scale", "dx", 1, dout, n->attr), n->in[0]->dtype);
  return ig_graph_status(g);
}

// ---- costs ----
static double traffic(const ig_node *n) {
  double bytes = 0;
  for (int i = 0; i < n->n_in; i++)
    bytes += (double)ig_shape_count(&n->in[i]->shape) * (double)ig_dtype_bytes(n->in[i]->dtype);
  return bytes + (double)ig_shape_count(&n->out[0]->shape) * (double)ig_dtype_bytes(n->out[0]->dtype);
}
static void cost_simple(const ig_node *n, ig_cost *cost) {
  cost->flops = (double)ig_shape_count(&n->in[0]->shape) * n->n_in;
  cost->bytes = traffic(n);
}
static void cost_transcendental(const ig_node *n, ig_cost *cost) {
  cost->flops = (double)ig_shape_count(&n->in[0]->shape) * 20;
  cost->bytes = traffic(n);
}
static void cost_fill(const ig_node *n, ig_cost *cost) {
  cost->flops = 0;
  cost->bytes = (double)ig_shape_count(&n->out[0]->shape) * (double)ig_dtype_bytes(n->out[0]->dtype);
}
static void cost_axpy(const ig_node *n, ig_cost *cost) {
  cost->flops = 2.0 * (double)ig_shape_count(&n->in[0]->shape);
  cost->bytes = traffic(n) + (double)ig_shape_count(&n->in[0]->shape) * (double)ig_dtype_bytes(n->in[0]->dtype);
}

// ---- cases ----
#define S(...)                                   \
  {                                              \
    IG_MAX_DIMS_OF(__VA_ARGS__), { __VA_ARGS__ } \
  }
#define IG_MAX_DIMS_OF(...) (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t))
#define X(...) \
  { .shape = S(__VA_ARGS__), .fill = IG_FILL_NORMAL }
#define NEAR(...) /* where tanhf and erff are polynomials, each element of a vector's rest, too */ \
  { .shape = S(__VA_ARGS__), .fill = IG_FILL_UNIFORM, .lo = 0.4, .hi = 0.7 }
#define KINK 0.02
static const float small_slope = 0.1f, minus_half = -0.5f;

static const ig_op_case unary_cases[] = {
    {"one", 1, {X(1)}, .kink = KINK},
    {"matrix", 1, {X(3, 17)}, .kink = KINK},
    {"ragged", 1, {X(2, 5, 7, 3)}, .kink = KINK},
    {"long", 1, {X(1, 3, 67, 17)}, .kink = KINK},
    {"near", 1, {NEAR(3, 5)}, .kink = KINK},
    {"bench", 1, {X(32, 56, 56, 64)}, .bench = true},
};
static const ig_op_case unary_attr_cases[] = {
    {"matrix", 1, {X(3, 17)}, &small_slope, .kink = KINK},
    {"ragged", 1, {X(2, 5, 7, 3)}, &minus_half, .kink = KINK},
    {"bench", 1, {X(32, 56, 56, 64)}, &small_slope, .bench = true},
};
static const ig_op_case pair_cases[] = {
    {"one", 2, {X(1), X(1)}, .kink = KINK},
    {"matrix", 2, {X(3, 17), X(3, 17)}, .kink = KINK},
    {"ragged", 2, {X(2, 5, 7, 3), X(2, 5, 7, 3)}, .kink = KINK},
    {"near", 2, {X(3, 5), NEAR(3, 5)}, .kink = KINK},
    {"bench", 2, {X(32, 56, 56, 64), X(32, 56, 56, 64)}, .bench = true},
};
static const ig_op_case pair_attr_cases[] = {
    {"matrix", 2, {X(3, 17), X(3, 17)}, &small_slope, .kink = KINK},
    {"ragged", 2, {X(2, 5, 7, 3), X(2, 5, 7, 3)}, &minus_half, .kink = KINK},
    {"bench", 2, {X(32, 56, 56, 64), X(32, 56, 56, 64)}, &small_slope, .bench = true},
};
static const ig_op_case add_cases[] = {
    {"copy", 1, {X(3, 17)}, .attr = NULL},
    {"two", 2, {X(2, 5, 7, 3), X(2, 5, 7, 3)}, .attr = NULL},
    {"four", 4, {X(13, 101), X(13, 101), X(13, 101), X(13, 101)}, .attr = NULL},
    {"mixed", 3, {X(7, 11), {.shape = S(7, 11), .fill = IG_FILL_NORMAL, .fixed_f32 = true}, X(7, 11)}, .attr = NULL},
    {"bench", 2, {X(32, 56, 56, 64), X(32, 56, 56, 64)}, .bench = true},
};
static const double three_quarters = 0.75;
static const ig_op_case fill_cases[] = {
    {"value", 1, {{.shape = S(3, 5, 7), .fill = IG_FILL_NORMAL, .no_grad = true}}, .attr = &three_quarters},
    {"long", 1, {{.shape = S(40001), .fill = IG_FILL_NORMAL, .no_grad = true}}, .attr = &three_quarters},
};

// ---- rows ----
#define CASES(list) .cases = list, .n_cases = (int)(sizeof list / sizeof *list)
#define IMPLS(stem) .impls = {[IG_DEVICE_CPU] = {stem "_cpu", stem "_ref"}, [IG_DEVICE_CUDA] = {stem "_cuda"}}

static const ig_op add_row = {.name = "add",
                              .summary = "y = x_0 + ... + x_(n-1)",
                              .min_in = 1,
                              .max_in = -1,
                              .n_out = 1,
                              .infer = infer_widest,
                              .grad = add_grad,
                              .in_place = {1},
                              .cheap = true,
                              .cost = cost_simple,
                              CASES(add_cases),
                              IMPLS("add")};
static const ig_op mul_row = {.name = "mul",
                              .summary = "y = a * b",
                              .min_in = 2,
                              .max_in = 2,
                              .n_out = 1,
                              .infer = infer_widest,
                              .grad = mul_grad,
                              .keeps_in = 3,
                              .in_place = {1},
                              .cheap = true,
                              .cost = cost_simple,
                              CASES(pair_cases),
                              IMPLS("mul")};
static const ig_op scale_row = {.name = "scale",
                                .summary = "y = factor * x",
                                .min_in = 1,
                                .max_in = 1,
                                .n_out = 1,
                                .attr_bytes = sizeof(float),
                                .infer = infer_like,
                                .grad = scale_grad,
                                .in_place = {1},
                                .cheap = true,
                                .cost = cost_simple,
                                CASES(unary_attr_cases),
                                IMPLS("scale")};
static const ig_op fill_like_row = {.name = "fill_like",
                                    .summary = "y = value, of x's shape and dtype",
                                    .min_in = 1,
                                    .max_in = 1,
                                    .n_out = 1,
                                    .attr_bytes = sizeof(double),
                                    .infer = infer_like,
                                    .grad = ig_zero_grad,
                                    .cheap = true,
                                    .cost = cost_fill,
                                    CASES(fill_cases),
                                    IMPLS("fill_like")};
static const ig_op axpy_row = {.name = "axpy",
                               .summary = "y += a x in place; done[1] = 0",
                               .min_in = 2,
                               .max_in = 2,
                               .n_out = 1,
                               .mutates_in = 1,
                               .attr_bytes = sizeof(float),
                               .infer = infer_axpy,
                               .grad = ig_no_grad,
                               .cost = cost_axpy,
                               CASES(pair_attr_cases),
                               IMPLS("axpy")};

// An activation and its backward row. Keeps: .keeps_out = 1 or .keeps_in = 1.
#define ACTIVATION(op, text, text_bwd, cost_fn, keeps, forward_cases, backward_cases, bytes) \
  static const ig_op op##_row = {.name = #op,                                                \
                                 .summary = text,                                            \
                                 .min_in = 1,                                                \
                                 .max_in = 1,                                                \
                                 .n_out = 1,                                                 \
                                 .attr_bytes = bytes,                                        \
                                 .infer = infer_widest,                                      \
                                 .grad = activation_grad,                                    \
                                 keeps,                                                      \
                                 .in_place = {1},                                            \
                                 .cheap = true,                                              \
                                 .cost = cost_fn,                                            \
                                 CASES(forward_cases),                                       \
                                 IMPLS(#op)};                                                \
  static const ig_op op##_bwd_row = {.name = #op "_bwd",                                     \
                                     .summary = text_bwd,                                    \
                                     .min_in = 2,                                            \
                                     .max_in = 2,                                            \
                                     .n_out = 1,                                             \
                                     .attr_bytes = bytes,                                    \
                                     .infer = infer_bwd,                                     \
                                     .grad = ig_no_grad,                                     \
                                     .in_place = {1},                                        \
                                     .cost = cost_fn,                                        \
                                     CASES(backward_cases),                                  \
                                     IMPLS(#op "_bwd")}
ACTIVATION(relu, "y = max(x, 0)", "dx = y > 0 ? dy : 0", cost_simple, .keeps_out = 1, unary_cases, pair_cases, 0);
ACTIVATION(leaky_relu, "y = x > 0 ? x : slope x", "dx = x > 0 ? dy : slope dy", cost_simple, .keeps_in = 1,
           unary_attr_cases, pair_attr_cases, sizeof(float));
ACTIVATION(sigmoid, "y = 1 / (1 + exp(-x))", "dx = dy y (1 - y)", cost_transcendental, .keeps_out = 1, unary_cases,
           pair_cases, 0);
ACTIVATION(tanh, "y = tanh(x)", "dx = dy (1 - y^2)", cost_transcendental, .keeps_out = 1, unary_cases, pair_cases, 0);
ACTIVATION(silu, "y = x s, s = sigmoid(x)", "dx = dy s (1 + x (1 - s))", cost_transcendental, .keeps_in = 1,
           unary_cases, pair_cases, 0);
ACTIVATION(gelu_erf, "y = x P, P = (1 + erf(x/sqrt 2))/2", "dx = dy (P + x exp(-x^2/2)/sqrt(2 pi))",
           cost_transcendental, .keeps_in = 1, unary_cases, pair_cases, 0);
ACTIVATION(gelu_tanh, "y = x/2 (1 + t), t = tanh(sqrt(2/pi)(x + 0.044715 x^3))",
           "dx = dy ((1 + t)/2 + x/2 (1 - t^2) sqrt(2/pi)(1 + 0.134145 x^2))", cost_transcendental, .keeps_in = 1,
           unary_cases, pair_cases, 0);

IG_OPS(eltwise) = {&add_row,         &mul_row,          &scale_row,      &fill_like_row,      &axpy_row,
                   &relu_row,        &relu_bwd_row,     &leaky_relu_row, &leaky_relu_bwd_row, &sigmoid_row,
                   &sigmoid_bwd_row, &tanh_row,         &tanh_bwd_row,   &silu_row,           &silu_bwd_row,
                   &gelu_erf_row,    &gelu_erf_bwd_row, &gelu_tanh_row,  &gelu_tanh_bwd_row,  NULL};

// ---- builders ----
static ig_tensor *build(ig_graph *g, const char *op, const char *name, int n, ig_tensor *const *in, const void *attr) {
  for (int i = 0; i < n; i++)
    if (!in[i])
      return NULL;
  ig_node *node = ig_graph_node(g, op, name, n, in, attr);
  return node ? node->out[0] : NULL;
}

ig_tensor *ig_add(ig_graph *g, const char *name, int n, ig_tensor *const *ts) {
  return build(g, "add", name, n, ts, NULL);
}
ig_tensor *ig_add2(ig_graph *g, const char *name, ig_tensor *a, ig_tensor *b) {
  return build(g, "add", name, 2, (ig_tensor *[]){a, b}, NULL);
}
ig_tensor *ig_mul(ig_graph *g, const char *name, ig_tensor *a, ig_tensor *b) {
  return build(g, "mul", name, 2, (ig_tensor *[]){a, b}, NULL);
}
ig_tensor *ig_scale(ig_graph *g, const char *name, ig_tensor *x, float factor) {
  return build(g, "scale", name, 1, &x, &factor);
}
ig_tensor *ig_relu(ig_graph *g, const char *name, ig_tensor *x) { return build(g, "relu", name, 1, &x, NULL); }
ig_tensor *ig_leaky_relu(ig_graph *g, const char *name, ig_tensor *x, float slope) {
  return build(g, "leaky_relu", name, 1, &x, &slope);
}
ig_tensor *ig_sigmoid(ig_graph *g, const char *name, ig_tensor *x) { return build(g, "sigmoid", name, 1, &x, NULL); }
ig_tensor *ig_tanh(ig_graph *g, const char *name, ig_tensor *x) { return build(g, "tanh", name, 1, &x, NULL); }
ig_tensor *ig_silu(ig_graph *g, const char *name, ig_tensor *x) { return build(g, "silu", name, 1, &x, NULL); }
ig_tensor *ig_gelu_erf(ig_graph *g, const char *name, ig_tensor *x) { return build(g, "gelu_erf", name, 1, &x, NULL); }
ig_tensor *ig_gelu_tanh(ig_graph *g, const char *name, ig_tensor *x) {
  return build(g, "gelu_tanh", name, 1, &x, NULL);
}
ig_tensor *ig_fill_like(ig_graph *g, const char *name, ig_tensor *x, double value) {
  return build(g, "fill_like", name, 1, &x, &value);
}
ig_tensor *ig_axpy(ig_graph *g, const char *name, ig_tensor *y, ig_tensor *x, float a) {
  return build(g, "axpy", name, 2, (ig_tensor *[]){y, x}, &a);
}
