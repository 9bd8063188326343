// Rows and builder of the cross-entropy of a linear layer.
#include "kernels/linear_xent/linear_xent.h"

#include "kernels/kernels.h"
#include "kernels/linear_xent/linear_xent_node.h"
#include "kernels/optim_util/fixed.h"
#include "kernels/reorder/reorder.h"

// ---- shapes ----
// x, w, bias, labels, weights from operand i on.
static ig_status check(const ig_node *n, int i) {
  const ig_tensor *x = n->in[i];
  IG_TRY(ig_check_rank(n, i, 2));
  if (!ig_dtype_is_float(x->dtype))
    return ig_fail(IG_ERR_MISMATCH, "operand %d (%s) is %s, expected a floating-point type", i, x->name,
                   ig_dtype_name(x->dtype));
  IG_TRY(ig_check_rank(n, i + 1, 2));
  IG_TRY(ig_check_dtype(n, i + 1, x->dtype));
  const int64_t P = x->shape.d[0], V = n->in[i + 1]->shape.d[0];
  IG_TRY(ig_check_shape(n, i + 1, IG_SHAPE2(V, x->shape.d[1])));
  if (P < 1 || V < 1 || V > INT32_MAX || x->shape.d[1] < 1)
    return ig_fail(IG_ERR_MISMATCH, "%lld rows of %lld numbers and %lld classes, expected 1 or more of each",
                   (long long)P, (long long)x->shape.d[1], (long long)V);
  if (n->in[i + 2]) {
    IG_TRY(ig_check_shape(n, i + 2, IG_SHAPE1(V)));
    IG_TRY(ig_check_dtype(n, i + 2, ig_sum_dtype(x)));
  }
  IG_TRY(ig_check_dtype(n, i + 3, IG_I32));
  IG_TRY(ig_check_shape(n, i + 3, IG_SHAPE1(P)));
  if (!n->in[i + 4])
    return IG_OK;
  if (n->in[i + 4]->dtype != IG_F32 && n->in[i + 4]->dtype != IG_F64)
    return ig_fail(IG_ERR_MISMATCH, "operand %d (%s) is %s, expected f32", i + 4, n->in[i + 4]->name,
                   ig_dtype_name(n->in[i + 4]->dtype));
  return ig_check_shape(n, i + 4, IG_SHAPE1(P));
}

static ig_status infer(ig_graph *g, ig_node *n) {
  IG_TRY(check(n, F_X));
  const ig_dtype type = ig_sum_dtype(n->in[F_X]);
  IG_TRY(ig_node_set_out(g, n, O_SUM, type, IG_SHAPE1(1)));
  IG_TRY(ig_node_set_out(g, n, O_WEIGHT, type, IG_SHAPE1(1)));
  IG_TRY(ig_node_set_out(g, n, O_LSE, type, IG_SHAPE1(n->in[F_X]->shape.d[0])));
  return ig_node_set_out(g, n, O_RIGHT, IG_I32, IG_SHAPE1(1));
}

static ig_status infer_bwd(ig_graph *g, ig_node *n) {
  IG_TRY(check(n, B_X));
  const ig_tensor *x = n->in[B_X];
  const ig_dtype type = ig_sum_dtype(x);
  const int64_t V = n->in[B_W]->shape.d[0];
  for (int i = B_DSUM; i <= B_LSE; i++) {
    if (!n->in[i])
      continue;
    IG_TRY(ig_check_shape(n, i, IG_SHAPE1(i == B_DSUM ? 1 : x->shape.d[0])));
    IG_TRY(ig_check_dtype(n, i, type));
  }
  IG_TRY(ig_node_set_out(g, n, 0, x->dtype, x->shape));
  IG_TRY(ig_node_set_out(g, n, 1, type, n->in[B_W]->shape));
  return ig_node_set_out(g, n, 2, type, IG_SHAPE1(n->in[B_BIAS] ? V : 1));
}

// ---- gradient ----
static ig_status grad(ig_graph *g, const ig_node *n, ig_tensor *const *dout, const bool *need, ig_tensor **din) {
  char name[400];
  if (need[F_WEIGHTS])
    return ig_no_grad(g, n, dout, need, din);
  if (!dout[O_SUM] && !dout[O_LSE])  // the weight depends on no parameter
    return IG_OK;
  ig_tensor *in[B_N] = {dout[O_SUM], dout[O_LSE],   n->out[O_LSE],   n->in[F_X],
                        n->in[F_W],  n->in[F_BIAS], n->in[F_LABELS], n->in[F_WEIGHTS]};
  snprintf(name, sizeof name, "%s/d", n->name);
  ig_node *made = ig_graph_node(g, "linear_xent_bwd", name, B_N, in, NULL);
  for (int i = 0; made && i < 3; i++)
    din[i] = need[i] ? made->out[i] : NULL;
  return ig_graph_status(g);
}

// ---- costs ----
static void cost_of(const ig_node *n, const ig_tensor *x, const ig_tensor *w, double products, ig_cost *cost) {
  const double P = (double)x->shape.d[0], V = (double)w->shape.d[0], D = (double)w->shape.d[1];
  *cost = (ig_cost){products * 2 * P * V * D + 20 * P * V, ig_cost_bytes(n)};
}
static void cost(const ig_node *n, ig_cost *cost) { cost_of(n, n->in[F_X], n->in[F_W], 1, cost); }
static void cost_bwd(const ig_node *n, ig_cost *cost) { cost_of(n, n->in[B_X], n->in[B_W], 3, cost); }

// ---- cases ----
#define X(rows, columns) \
  { .shape = {2, {rows, columns}}, .fill = IG_FILL_NORMAL }
#define W(V, D) \
  { .shape = {2, {V, D}}, .fill = IG_FILL_UNIFORM, .lo = -0.3, .hi = 0.3 }
#define VEC(n) \
  { .shape = {1, {n}}, .fill = IG_FILL_NORMAL, .fixed_f32 = true }
#define LABELS(P, V) \
  { .shape = {1, {P}}, .dtype = IG_I32, .fill = IG_FILL_INDEX, .hi = V, .no_grad = true }
#define SOME(P) \
  { .shape = {1, {P}}, .dtype = IG_F32, .fill = IG_FILL_BINARY, .fixed_f32 = true, .no_grad = true }
#define SHARE(P) \
  { .shape = {1, {P}}, .dtype = IG_F32, .fill = IG_FILL_POSITIVE, .fixed_f32 = true, .no_grad = true }
#define SEED \
  { .shape = {1, {1}}, .fill = IG_FILL_POSITIVE, .fixed_f32 = true, .no_grad = true }
#define LSE(P) \
  { .shape = {1, {P}}, .fill = IG_FILL_UNIFORM, .lo = 11, .hi = 12, .fixed_f32 = true, .no_grad = true }
#define NONE \
  { .fill = IG_FILL_ABSENT }

static const ig_op_case cases[] = {
    {"one", F_N, {X(1, 1), W(1, 1), NONE, LABELS(1, 1), NONE}, .attr = NULL},
    {"prime", F_N, {X(7, 13), W(19, 13), VEC(19), LABELS(7, 19), NONE}, .attr = NULL},
    {"fours", F_N, {X(9, 13), W(44, 13), VEC(44), LABELS(9, 44), NONE}, .attr = NULL},
    {"weights", F_N, {X(37, 24), W(101, 24), VEC(101), LABELS(37, 101), SHARE(37)}, .attr = NULL},
    {"some", F_N, {X(67, 17), W(211, 17), NONE, LABELS(67, 211), SOME(67)}, .attr = NULL},
    {"long_sum", F_N, {X(3, 307), W(5, 307), VEC(5), LABELS(3, 5), NONE}, .attr = NULL},
    {"many_rows", F_N, {X(277, 5), W(7, 5), VEC(7), LABELS(277, 7), SOME(277)}, .attr = NULL},
    {"many_classes", F_N, {X(5, 16), W(1031, 16), VEC(1031), LABELS(5, 1031), NONE}, .attr = NULL},
    {"bench", F_N, {X(160, 768), W(30522, 768), VEC(30522), LABELS(160, 30522), NONE}, .bench = true},
};
static const ig_op_case bwd_cases[] = {
    {"bench",
     B_N,
     {SEED, NONE, LSE(160), X(160, 768), W(30522, 768), VEC(30522), LABELS(160, 30522), NONE},
     .bench = true},
};

// ---- rows ----
#define CASES(list)  .cases = list, .n_cases = (int)(sizeof list / sizeof *list)
#define BIT(operand) (1u << (operand))
static const ig_op linear_xent_row = {
    .name = "linear_xent",
    .summary =
        "z = x w^T + bias: sum = sum_p weight (log sum_v exp z - z[label]), their weight, log sum exp, rows right",
    .min_in = F_N,
    .max_in = F_N,
    .n_out = 4,
    .optional_in = BIT(F_BIAS) | BIT(F_WEIGHTS),
    .infer = infer,
    .grad = grad,
    .keeps_in = BIT(F_X) | BIT(F_W) | BIT(F_BIAS) | BIT(F_LABELS) | BIT(F_WEIGHTS),
    .keeps_out = BIT(O_LSE),
    .cost = cost,
    CASES(cases),
    .impls = {[IG_DEVICE_CPU] = {"linear_xent_bf16_cpu", "linear_xent_cpu", "linear_xent_ref"},
              [IG_DEVICE_CUDA] = {"linear_xent_cuda"}},
};
static const ig_op bwd_row = {
    .name = "linear_xent_bwd",
    .summary =
        "dz = exp(z - lse) (dsum weight + dlse) - [v = label] dsum weight: dx = dz w, dw = dz^T x, dbias = sum dz",
    .min_in = B_N,
    .max_in = B_N,
    .n_out = 3,
    .optional_in = BIT(B_DSUM) | BIT(B_DLSE) | BIT(B_BIAS) | BIT(B_WEIGHTS),
    .infer = infer_bwd,
    .grad = ig_no_grad,
    .cost = cost_bwd,
    CASES(bwd_cases),
    .impls = {[IG_DEVICE_CPU] = {"linear_xent_bwd_bf16_cpu", "linear_xent_bwd_cpu", "linear_xent_bwd_ref"},
              [IG_DEVICE_CUDA] = {"linear_xent_bwd_cuda"}},
};

IG_OPS(linear_xent) = {&linear_xent_row, &bwd_row, NULL};

// ---- builders ----
ig_loss ig_linear_xent(ig_graph *g, const char *name, ig_tensor *x, ig_tensor *w, ig_tensor *bias, ig_tensor *labels,
                       ig_tensor *weights) {
  if (!x || !w || !labels)
    return (ig_loss){0};
  if (w->dtype != x->dtype && !(w = ig_compute_copy(g, w)))
    return (ig_loss){0};
  ig_tensor *in[F_N] = {x, w, bias, labels, weights};
  return ig_loss_of(g, name, ig_graph_node(g, "linear_xent", name, F_N, in, NULL));
}

ig_tensor *ig_linear_xent_right(const ig_loss *loss) { return loss->sum ? loss->sum->producer->out[O_RIGHT] : NULL; }
