// Rows and builders of layer normalisation. Rule: layernorm carries its whole gradient from x alone; where x is the
// sum of a dropout_add, layernorm_bwd makes the gradient behind the dropout too, and dropout_add's rule takes it.
#include "kernels/layernorm/layernorm.h"

#include <string.h>

#include "kernels/dropout/dropout.h"
#include "kernels/eltwise/eltwise.h"
#include "kernels/kernels.h"
#include "kernels/optim_util/fixed.h"
#include "kernels/reorder/reorder.h"

enum { A_X, A_RESIDUAL, A_STATE, A_KEYS, A_N };
enum { B_DY, B_X, B_GAMMA, B_MORE_DY, B_STATE, B_KEYS, B_N };

// ---- shapes ----
static ig_status check_rows(const ig_node *n, int i) {
  IG_TRY(ig_check_rank(n, i, 2));
  if (!ig_dtype_is_float(n->in[i]->dtype) || n->in[i]->shape.d[1] < 1)
    return ig_fail(IG_ERR_MISMATCH, "operand %d (%s) is %s with rows of %lld, expected a floating-point type and 1 up",
                   i, n->in[i]->name, ig_dtype_name(n->in[i]->dtype), (long long)n->in[i]->shape.d[1]);
  return IG_OK;
}

static ig_status check_like(const ig_node *n, int i, const ig_tensor *x) {
  if (!n->in[i])
    return IG_OK;
  IG_TRY(ig_check_shape(n, i, x->shape));
  return ig_check_dtype(n, i, x->dtype);
}

static ig_status check_vector(const ig_node *n, int i, const ig_tensor *x) {
  IG_TRY(ig_check_shape(n, i, IG_SHAPE1(x->shape.d[1])));
  return ig_check_dtype(n, i, ig_sum_dtype(x));
}

static ig_status check_draws(const ig_node *n, int state, const ig_tensor *x, float p) {
  if (!(p >= 0 && p <= 1))
    return ig_fail(IG_ERR_MISMATCH, "probability %g, expected 0 to 1", (double)p);
  IG_TRY(ig_check_dtype(n, state, IG_U64));
  IG_TRY(ig_check_shape(n, state, IG_SHAPE1(IG_N_STEP_STATE)));
  if (!n->in[state + 1])
    return IG_OK;
  IG_TRY(ig_check_dtype(n, state + 1, IG_U64));
  return ig_check_shape(n, state + 1, IG_SHAPE1(x->shape.d[0]));
}

static ig_status infer(ig_graph *g, ig_node *n) {
  const ig_tensor *x = n->in[0];
  IG_TRY(check_rows(n, 0));
  IG_TRY(check_vector(n, 1, x));
  IG_TRY(check_vector(n, 2, x));
  return ig_node_set_out(g, n, 0, x->dtype, x->shape);
}

static ig_status infer_add(ig_graph *g, ig_node *n) {
  const ig_tensor *x = n->in[A_X];
  IG_TRY(check_rows(n, A_X));
  IG_TRY(check_like(n, A_RESIDUAL, x));
  IG_TRY(check_draws(n, A_STATE, x, *(const float *)n->attr));
  return ig_node_set_out(g, n, 0, x->dtype, x->shape);
}

static ig_status infer_bwd(ig_graph *g, ig_node *n) {
  const ig_layernorm_attr *a = n->attr;
  const ig_tensor *x = n->in[B_X];
  const ig_dtype wide = ig_sum_dtype(x);
  IG_TRY(check_rows(n, B_X));
  IG_TRY(check_like(n, B_DY, x));
  IG_TRY(check_like(n, B_MORE_DY, x));
  IG_TRY(check_vector(n, B_GAMMA, x));
  if (a->dropout && !n->in[B_STATE])
    return ig_fail(IG_ERR_MISMATCH, "dropout without step_state (operand %d)", B_STATE);
  if (a->dropout)
    IG_TRY(check_draws(n, B_STATE, x, a->p));
  IG_TRY(ig_node_set_out(g, n, 0, x->dtype, x->shape));
  IG_TRY(ig_node_set_out(g, n, 1, a->dropout ? x->dtype : IG_F32, a->dropout ? x->shape : IG_SHAPE1(1)));
  IG_TRY(ig_node_set_out(g, n, 2, wide, IG_SHAPE1(x->shape.d[1])));
  return ig_node_set_out(g, n, 3, wide, IG_SHAPE1(x->shape.d[1]));
}

// ---- gradients ----
static const ig_op layernorm_row, add_row, bwd_row;

static ig_status grad(ig_graph *g, const ig_node *n, ig_tensor *const *dout, const bool *need, ig_tensor **din) {
  ig_layernorm_attr attr = *(const ig_layernorm_attr *)n->attr;
  ig_tensor *x = n->in[0], *dy, *more_dy, *in[B_N] = {NULL};
  const ig_node *add = x->producer && x->producer->op == &add_row ? x->producer : NULL;
  char name[400];
  ig_graph_addends(dout[0], &dy, &more_dy);
  if (dy->dtype != x->dtype || (more_dy && more_dy->dtype != x->dtype)) {
    snprintf(name, sizeof name, "%s/dy", n->name);
    dy = ig_reorder(g, name, dout[0], x->dtype);
    more_dy = NULL;
  }
  in[B_DY] = dy;
  in[B_X] = x;
  in[B_GAMMA] = n->in[1];
  in[B_MORE_DY] = more_dy;
  if (add) {
    attr.dropout = true;
    attr.p = *(const float *)add->attr;
    in[B_STATE] = add->in[A_STATE];
    in[B_KEYS] = add->in[A_KEYS];
  }
  snprintf(name, sizeof name, "%s/d", n->name);
  ig_node *made = ig_graph_node(g, "layernorm_bwd", name, B_N, in, &attr);
  if (!made)
    return ig_graph_status(g);
  if (add)
    made->key = add->key;  // the draws of the forward node
  din[0] = made->out[0];
  din[1] = need[1] ? made->out[2] : NULL;
  din[2] = need[2] ? made->out[3] : NULL;
  return IG_OK;
}

static ig_status add_grad(ig_graph *g, const ig_node *n, ig_tensor *const *dout, const bool *need, ig_tensor **din) {
  ig_tensor *ds = dout[0];
  const ig_node *from = ds->producer;
  char name[400];
  din[A_RESIDUAL] = need[A_RESIDUAL] ? ds : NULL;
  if (!need[A_X])
    return IG_OK;
  if (from && from->op == &bwd_row && from->in[B_X] == n->out[0] && from->key == n->key) {
    din[A_X] = from->out[1];
    return IG_OK;
  }
  ig_tensor *in[3] = {ds, n->in[A_STATE], n->in[A_KEYS]};
  snprintf(name, sizeof name, "%s/dx", n->name);
  ig_node *made = ig_graph_node(g, in[2] ? "dropout_rows" : "dropout", name, in[2] ? 3 : 2, in, n->attr);
  din[A_X] = made ? made->out[0] : NULL;
  return ig_graph_status(g);
}

// ---- costs: flops per number of x ----
static void cost_of(const ig_node *n, const ig_tensor *x, double flops, ig_cost *cost) {
  *cost = (ig_cost){flops * (double)ig_shape_count(&x->shape), ig_cost_bytes(n)};
}
static void cost(const ig_node *n, ig_cost *cost) { cost_of(n, n->in[0], 7, cost); }
static void cost_add(const ig_node *n, ig_cost *cost) { cost_of(n, n->in[0], 20, cost); }
static void cost_bwd(const ig_node *n, ig_cost *cost) {
  cost_of(n, n->in[B_X], ((const ig_layernorm_attr *)n->attr)->dropout ? 34 : 15, cost);
}

// ---- cases ----
#define X(T, D) \
  { .shape = {2, {T, D}}, .fill = IG_FILL_NORMAL }
#define FAR(T, D) \
  { .shape = {2, {T, D}}, .fill = IG_FILL_POSITIVE } /* far from 0: columns too many show in the variance */
#define VEC(D) \
  { .shape = {1, {D}}, .fill = IG_FILL_NORMAL, .fixed_f32 = true }
#define STATE \
  { .shape = {1, {4}}, .dtype = IG_U64, .fill = IG_FILL_INDEX, .hi = 1000, .no_grad = true }
#define KEYS(T) \
  { .shape = {1, {T}}, .dtype = IG_U64, .fill = IG_FILL_INDEX, .hi = 1e9, .no_grad = true }
#define NONE \
  { .fill = IG_FILL_ABSENT }

static const ig_layernorm_attr plain = {1e-5f, 0, false}, tiny = {1e-12f, 0, false}, tenth = {1e-12f, 0.1f, true},
                               half = {1e-5f, 0.5f, true};
static const ig_op_case cases[] = {
    {"d3", 3, {X(3, 3), VEC(3), VEC(3)}, &plain, .bench = false},
    {"d7", 3, {X(5, 7), VEC(7), VEC(7)}, &plain, .bench = false},
    {"d64", 3, {X(13, 64), VEC(64), VEC(64)}, &tiny, .bench = false},
    {"d131", 3, {X(17, 131), VEC(131), VEC(131)}, &tiny, .bench = false},
    {"one_row", 3, {X(1, 768), VEC(768), VEC(768)}, &tiny, .bench = false},
    {"many_rows", 3, {X(211, 19), VEC(19), VEC(19)}, &plain, .bench = false},
    {"d264", 3, {FAR(5, 264), VEC(264), VEC(264)}, &tiny, .bench = false},
    {"d776", 3, {FAR(2, 776), VEC(776), VEC(776)}, &plain, .bench = false},
    {"d1032", 3, {FAR(2, 1032), VEC(1032), VEC(1032)}, &tiny, .bench = false},
    {"bench", 3, {X(1024, 768), VEC(768), VEC(768)}, &tiny, .bench = true},
};
static const float add_tenth = 0.1f, add_half = 0.5f;
static const ig_op_case add_cases[] = {
    {"keys", 4, {X(13, 37), X(13, 37), STATE, KEYS(13)}, &add_half, .bench = false},
    {"no_keys", 4, {X(5, 64), X(5, 64), STATE, NONE}, &add_tenth, .bench = false},
    {"long", 4, {X(2, 2051), X(2, 2051), STATE, KEYS(2)}, &add_tenth, .bench = false},
    {"bench", 4, {X(1024, 768), X(1024, 768), STATE, KEYS(1024)}, &add_tenth, .bench = true},
};
static const ig_op_case bwd_cases[] = {
    {"d3", 6, {X(3, 3), X(3, 3), VEC(3), NONE, NONE, NONE}, &plain, .bench = false},
    {"d37", 6, {X(13, 37), X(13, 37), VEC(37), X(13, 37), NONE, NONE}, &plain, .bench = false},
    {"d64_dropout", 6, {X(13, 64), X(13, 64), VEC(64), NONE, STATE, KEYS(13)}, &half, .bench = false},
    {"d131_both", 6, {X(17, 131), X(17, 131), VEC(131), X(17, 131), STATE, NONE}, &tenth, .bench = false},
    {"d2051", 6, {X(2, 2051), X(2, 2051), VEC(2051), NONE, STATE, KEYS(2)}, &tenth, .bench = false},
    {"d264_dropout", 6, {X(5, 264), X(5, 264), VEC(264), NONE, STATE, KEYS(5)}, &half, .bench = false},
    {"d520_more", 6, {X(2, 520), X(2, 520), VEC(520), X(2, 520), NONE, NONE}, &plain, .bench = false},
    {"d776_both", 6, {X(2, 776), X(2, 776), VEC(776), X(2, 776), STATE, NONE}, &tenth, .bench = false},
    {"many_rows", 6, {X(211, 19), X(211, 19), VEC(19), NONE, NONE, NONE}, &plain, .bench = false},
    {"bench", 6, {X(1024, 768), X(1024, 768), VEC(768), X(1024, 768), NONE, NONE}, &tiny, .bench = true},
    {"bench_dropout",
     6,
     {X(1024, 768), X(1024, 768), VEC(768), X(1024, 768), STATE, KEYS(1024)},
     &tenth,
     .bench = true},
};

// ---- rows ----
#define CASES(list)  .cases = list, .n_cases = (int)(sizeof list / sizeof *list)
#define IMPLS(stem)  .impls = {[IG_DEVICE_CPU] = {stem "_cpu", stem "_ref"}, [IG_DEVICE_CUDA] = {stem "_cuda"}}
#define BIT(operand) (1u << (operand))

static const ig_op layernorm_row = {.name = "layernorm",
                                    .summary = "y = (x - mean) / sqrt(var + eps) gamma + beta over rows",
                                    .min_in = 3,
                                    .max_in = 3,
                                    .n_out = 1,
                                    .attr_bytes = sizeof(ig_layernorm_attr),
                                    .infer = infer,
                                    .grad = grad,
                                    .keeps_in = 3,
                                    .in_place = {1},
                                    .cheap = true,
                                    .cost = cost,
                                    CASES(cases),
                                    .impls = {[IG_DEVICE_CPU] = {"layernorm_cpu", "layernorm_ref"},
                                              [IG_DEVICE_CUDA] = {"layernorm_cuda", "layernorm_cudnn"}}};
static const ig_op add_row = {.name = "dropout_add",
                              .summary = "s = residual + dropout(x), draws of row_keys[row]",
                              .min_in = A_N,
                              .max_in = A_N,
                              .n_out = 1,
                              .optional_in = BIT(A_KEYS),
                              .attr_bytes = sizeof(float),
                              .infer = infer_add,
                              .grad = add_grad,
                              .keeps_in = BIT(A_STATE) | BIT(A_KEYS),
                              .in_place = {1 + A_X},
                              .cost = cost_add,
                              CASES(add_cases),
                              IMPLS("dropout_add")};
static const ig_op bwd_row = {
    .name = "layernorm_bwd",
    .summary =
        "g = dy (+ dy'), h = g gamma: ds = (h - mean h - xhat mean(h xhat)) / std, dx = dropout(ds); dgamma = "
        "sum g xhat, dbeta = sum g",
    .min_in = B_N,
    .max_in = B_N,
    .n_out = 4,
    .optional_in = BIT(B_MORE_DY) | BIT(B_STATE) | BIT(B_KEYS),
    .attr_bytes = sizeof(ig_layernorm_attr),
    .infer = infer_bwd,
    .grad = ig_no_grad,
    .in_place = {1 + B_DY},
    .cost = cost_bwd,
    CASES(bwd_cases),
    IMPLS("layernorm_bwd")};

IG_OPS(layernorm) = {&layernorm_row, &add_row, &bwd_row, NULL};

// ---- builders ----
ig_tensor *ig_layernorm(ig_graph *g, const char *name, ig_tensor *x, ig_tensor *gamma, ig_tensor *beta, float eps) {
  if (!x || !gamma || !beta)
    return NULL;
  const ig_layernorm_attr attr = {.eps = eps};
  ig_node *n = ig_graph_node(g, "layernorm", name, 3, (ig_tensor *[]){x, gamma, beta}, &attr);
  return n ? n->out[0] : NULL;
}

ig_tensor *ig_dropout_add_layernorm(ig_graph *g, const char *name, ig_tensor *x, ig_tensor *residual, ig_tensor *gamma,
                                    ig_tensor *beta, float eps, float p, ig_tensor *step_state, ig_tensor *row_keys) {
  char sum_name[320];
  if (!x || !residual)
    return NULL;
  snprintf(sum_name, sizeof sum_name, "%s/sum", name);
  ig_tensor *sum;
  if (g->options.mode == IG_MODE_EVAL || p == 0) {
    sum = ig_add2(g, sum_name, x, residual);
  } else {
    if (!step_state)
      return ig_graph_fail(g, IG_ERR_USAGE, "%s%s: dropout of %g without step_state", g->prefix, name, (double)p);
    ig_node *n = ig_graph_node(g, "dropout_add", sum_name, A_N, (ig_tensor *[]){x, residual, step_state, row_keys}, &p);
    sum = n ? n->out[0] : NULL;
  }
  return ig_layernorm(g, name, sum, gamma, beta, eps);
}
