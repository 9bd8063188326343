// Rows and builder of GELU behind a bias.
#include "kernels/bias_gelu/bias_gelu.h"

#include "kernels/kernels.h"
#include "kernels/optim_util/fixed.h"
#include "kernels/reorder/reorder.h"

static ig_status check(const ig_node *n, int x) {
  const ig_tensor *t = n->in[x];
  IG_TRY(ig_check_rank(n, x, 2));
  if (!ig_dtype_is_float(t->dtype))
    return ig_fail(IG_ERR_MISMATCH, "operand %d (%s) is %s, expected a floating-point type", x, t->name,
                   ig_dtype_name(t->dtype));
  IG_TRY(ig_check_shape(n, x + 1, IG_SHAPE1(t->shape.d[1])));
  return ig_check_dtype(n, x + 1, ig_sum_dtype(t));
}

static ig_status infer(ig_graph *g, ig_node *n) {
  IG_TRY(check(n, 0));
  return ig_node_set_out(g, n, 0, n->in[0]->dtype, n->in[0]->shape);
}

static ig_status infer_bwd(ig_graph *g, ig_node *n) {
  const ig_tensor *x = n->in[1];
  IG_TRY(check(n, 1));
  IG_TRY(ig_check_shape(n, 0, x->shape));
  IG_TRY(ig_check_dtype(n, 0, x->dtype));
  IG_TRY(ig_node_set_out(g, n, 0, x->dtype, x->shape));
  return ig_node_set_out(g, n, 1, ig_sum_dtype(x), IG_SHAPE1(x->shape.d[1]));
}

static ig_status grad(ig_graph *g, const ig_node *n, ig_tensor *const *dout, const bool *need, ig_tensor **din) {
  char name[400];
  snprintf(name, sizeof name, "%s/dy", n->name);
  ig_tensor *dy = ig_reorder(g, name, dout[0], n->in[0]->dtype);
  if (!dy)
    return ig_graph_status(g);
  snprintf(name, sizeof name, "%s/d", n->name);
  ig_node *made = ig_graph_node(g, "bias_gelu_bwd", name, 3, (ig_tensor *[]){dy, n->in[0], n->in[1]}, n->attr);
  for (int i = 0; made && i < 2; i++)
    din[i] = need[i] ? made->out[i] : NULL;
  return ig_graph_status(g);
}

static void cost(const ig_node *n, ig_cost *cost) {
  *cost = (ig_cost){25.0 * (double)ig_shape_count(&n->out[0]->shape), ig_cost_bytes(n)};
}

// ---- cases ----
#define X(T, D) \
  { .shape = {2, {T, D}}, .fill = IG_FILL_NORMAL }
#define WIDE(T, D) \
  { .shape = {2, {T, D}}, .fill = IG_FILL_UNIFORM, .lo = -12, .hi = 12 }
#define VEC(D) \
  { .shape = {1, {D}}, .fill = IG_FILL_NORMAL, .fixed_f32 = true }
static const ig_bias_gelu_attr erf_form = {false}, tanh_form = {true};
static const ig_op_case cases[] = {
    {"one", 2, {X(1, 1), VEC(1)}, &erf_form, .bench = false},
    {"erf", 2, {X(13, 37), VEC(37)}, &erf_form, .bench = false},
    {"tanh", 2, {X(13, 37), VEC(37)}, &tanh_form, .bench = false},
    {"erf_wide", 2, {WIDE(5, 131), VEC(131)}, &erf_form, .bench = false},
    {"tanh_wide", 2, {WIDE(5, 131), VEC(131)}, &tanh_form, .bench = false},
    {"long", 2, {X(3, 2051), VEC(2051)}, &erf_form, .bench = false},
    {"erf_eights", 2, {X(13, 40), VEC(40)}, &erf_form, .bench = false},
    {"tanh_eights", 2, {WIDE(5, 264), VEC(264)}, &tanh_form, .bench = false},
    {"bench", 2, {X(1024, 3072), VEC(3072)}, &erf_form, .bench = true},
    {"bench_tanh", 2, {X(1024, 3072), VEC(3072)}, &tanh_form, .bench = true},
};
static const ig_op_case bwd_cases[] = {
    {"erf", 3, {X(13, 37), X(13, 37), VEC(37)}, &erf_form, .bench = false},
    {"tanh", 3, {X(13, 37), WIDE(13, 37), VEC(37)}, &tanh_form, .bench = false},
    {"many_rows", 3, {X(211, 19), X(211, 19), VEC(19)}, &erf_form, .bench = false},
    {"long", 3, {X(3, 2051), X(3, 2051), VEC(2051)}, &tanh_form, .bench = false},
    {"many_rows_eights", 3, {X(67, 24), X(67, 24), VEC(24)}, &erf_form, .bench = false},
    {"bench", 3, {X(1024, 3072), X(1024, 3072), VEC(3072)}, &erf_form, .bench = true},
    {"bench_tanh", 3, {X(1024, 3072), X(1024, 3072), VEC(3072)}, &tanh_form, .bench = true},
};

// ---- rows ----
#define CASES(list) .cases = list, .n_cases = (int)(sizeof list / sizeof *list)
static const ig_op bias_gelu_row = {
    .name = "bias_gelu",
    .summary = "y = gelu(x + bias)",
    .min_in = 2,
    .max_in = 2,
    .n_out = 1,
    .attr_bytes = sizeof(ig_bias_gelu_attr),
    .infer = infer,
    .grad = grad,
    .keeps_in = 3,
    .in_place = {1},
    .cheap = true,
    .cost = cost,
    CASES(cases),
    .impls = {[IG_DEVICE_CPU] = {"bias_gelu_bf16_cpu", "bias_gelu_cpu", "bias_gelu_ref"},
              [IG_DEVICE_CUDA] = {"bias_gelu_cuda"}},
};
static const ig_op bwd_row = {
    .name = "bias_gelu_bwd",
    .summary = "dx = dy gelu'(x + bias), dbias = sum over rows of dx",
    .min_in = 3,
    .max_in = 3,
    .n_out = 2,
    .attr_bytes = sizeof(ig_bias_gelu_attr),
    .infer = infer_bwd,
    .grad = ig_no_grad,
    .in_place = {1},
    .cost = cost,
    CASES(bwd_cases),
    .impls = {[IG_DEVICE_CPU] = {"bias_gelu_bwd_bf16_cpu", "bias_gelu_bwd_cpu", "bias_gelu_bwd_ref"},
              [IG_DEVICE_CUDA] = {"bias_gelu_bwd_cuda"}},
};

IG_OPS(bias_gelu) = {&bias_gelu_row, &bwd_row, NULL};

// ---- builder ----
ig_tensor *ig_bias_gelu(ig_graph *g, const char *name, ig_tensor *x, ig_tensor *bias, bool by_tanh) {
  if (!x || !bias)
    return NULL;
  const ig_bias_gelu_attr attr = {by_tanh};
  ig_node *n = ig_graph_node(g, "bias_gelu", name, 2, (ig_tensor *[]){x, bias}, &attr);
  return n ? n->out[0] : NULL;
}
