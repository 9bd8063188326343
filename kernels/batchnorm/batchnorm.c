// Rows and builder of batch normalisation. Rule: bn_apply carries the whole gradient (through its statistics too, when
// it is given the count of the batch they were taken from); bn_stats itself passes none.
#include "kernels/batchnorm/batchnorm.h"

#include <stdio.h>

#include "kernels/kernels.h"

// Operands of the rows, by name.
enum { A_X, A_MEAN, A_VAR, A_GAMMA, A_BETA, A_RESIDUAL, A_COUNT, A_WEIGHT, A_N };
enum { S_DY, S_X, S_MEAN, S_VAR, S_GAMMA, S_BETA, S_Y, S_WEIGHT, S_MORE_DY, S_N };
enum { MASK_BITS = 8 };
enum { B_DY, B_X, B_MEAN, B_VAR, B_GAMMA, B_BETA, B_DGAMMA, B_DBETA, B_COUNT, B_WEIGHT, B_N };

// ---- shapes ----
// Statistics are fp32, but fp64 for fp64 data.
static ig_dtype wide(const ig_tensor *x) { return x->dtype == IG_F64 ? IG_F64 : IG_F32; }

static ig_status check_x(const ig_node *n, int i) {
  IG_TRY(ig_check_rank(n, i, 4));
  if (!ig_dtype_is_float(n->in[i]->dtype))
    return ig_fail(IG_ERR_MISMATCH, "operand %d (%s) is %s, expected a floating-point type", i, n->in[i]->name,
                   ig_dtype_name(n->in[i]->dtype));
  return IG_OK;
}

static ig_status check_vectors(const ig_node *n, int first, int last, ig_shape want) {
  for (int i = first; i <= last; i++) {
    if (!n->in[i])
      continue;
    IG_TRY(ig_check_shape(n, i, want));
    if (n->in[i]->dtype != IG_F32 && n->in[i]->dtype != IG_F64)
      return ig_fail(IG_ERR_MISMATCH, "operand %d (%s) is %s, expected f32", i, n->in[i]->name,
                     ig_dtype_name(n->in[i]->dtype));
  }
  return IG_OK;
}

static ig_shape channels(const ig_tensor *x) { return IG_SHAPE1(x->shape.d[3]); }
static ig_shape samples(const ig_tensor *x) { return IG_SHAPE1(x->shape.d[0]); }

static ig_status infer_stats(ig_graph *g, ig_node *n) {
  const ig_tensor *x = n->in[0];
  IG_TRY(check_x(n, 0));
  IG_TRY(check_vectors(n, 1, 1, samples(x)));
  IG_TRY(ig_node_set_out(g, n, 0, wide(x), channels(x)));
  IG_TRY(ig_node_set_out(g, n, 1, wide(x), channels(x)));
  return ig_node_set_out(g, n, 2, wide(x), IG_SHAPE1(1));
}

static ig_status infer_apply(ig_graph *g, ig_node *n) {
  const ig_tensor *x = n->in[A_X];
  IG_TRY(check_x(n, A_X));
  IG_TRY(check_vectors(n, A_MEAN, A_BETA, channels(x)));
  if (n->in[A_RESIDUAL]) {
    IG_TRY(ig_check_shape(n, A_RESIDUAL, x->shape));
    IG_TRY(ig_check_dtype(n, A_RESIDUAL, x->dtype));
  }
  IG_TRY(check_vectors(n, A_COUNT, A_COUNT, IG_SHAPE1(1)));
  IG_TRY(check_vectors(n, A_WEIGHT, A_WEIGHT, samples(x)));
  return ig_node_set_out(g, n, 0, x->dtype, x->shape);
}

// A bit for each number of x: neighbouring channels share a byte.
static ig_shape mask_of(const ig_tensor *x) {
  return IG_SHAPE4(x->shape.d[0], x->shape.d[1], x->shape.d[2], x->shape.d[3] / MASK_BITS);
}

static ig_status infer_apply_mask(ig_graph *g, ig_node *n) {
  const ig_batchnorm_attr *attr = n->attr;
  const ig_tensor *x = n->in[A_X];
  IG_TRY(infer_apply(g, n));
  if (!attr->relu || x->shape.d[3] % MASK_BITS)
    return ig_fail(IG_ERR_MISMATCH, "a mask of %lld channels%s; expected a ReLU and a multiple of %d",
                   (long long)x->shape.d[3], attr->relu ? "" : " without a ReLU", MASK_BITS);
  return ig_node_set_out(g, n, 1, IG_U8, mask_of(x));
}

static ig_status infer_update(ig_graph *g, ig_node *n) {
  IG_TRY(ig_check_rank(n, 0, 1));
  IG_TRY(check_vectors(n, 0, 3, n->in[0]->shape));
  IG_TRY(check_vectors(n, 4, 4, IG_SHAPE1(1)));
  return ig_node_set_out(g, n, 0, IG_F32, IG_SHAPE1(1));
}

static ig_status check_like_x(const ig_node *n, int i) {
  if (!n->in[i])
    return IG_OK;
  IG_TRY(ig_check_shape(n, i, n->in[S_X]->shape));
  return ig_check_dtype(n, i, n->in[S_X]->dtype);
}

static ig_status check_bwd(const ig_node *n, int last_vector, int weight) {
  const ig_tensor *x = n->in[S_X];
  IG_TRY(check_x(n, S_X));
  IG_TRY(check_like_x(n, S_DY));
  IG_TRY(check_vectors(n, S_MEAN, last_vector, channels(x)));
  return check_vectors(n, weight, weight, samples(x));
}

// y itself, or the mask that bn_apply_mask made of it.
static ig_status check_y(const ig_node *n) {
  const ig_tensor *x = n->in[S_X], *y = n->in[S_Y];
  return y && y->dtype == IG_U8 && x->shape.d[3] % MASK_BITS == 0 ? ig_check_shape(n, S_Y, mask_of(x))
                                                                  : check_like_x(n, S_Y);
}

static ig_status infer_bwd_sums(ig_graph *g, ig_node *n) {
  const ig_batchnorm_bwd_attr *attr = n->attr;
  const ig_tensor *x = n->in[S_X];
  IG_TRY(check_bwd(n, S_BETA, S_WEIGHT));
  IG_TRY(check_y(n));
  IG_TRY(check_like_x(n, S_MORE_DY));
  IG_TRY(ig_node_set_out(g, n, 0, wide(x), channels(x)));
  IG_TRY(ig_node_set_out(g, n, 1, wide(x), channels(x)));
  return ig_node_set_out(g, n, 2, attr->masked_dy ? x->dtype : IG_F32, attr->masked_dy ? x->shape : IG_SHAPE1(1));
}

static ig_status infer_bwd_apply(ig_graph *g, ig_node *n) {
  const ig_tensor *x = n->in[B_X];
  IG_TRY(check_bwd(n, B_DBETA, B_WEIGHT));
  IG_TRY(check_vectors(n, B_COUNT, B_COUNT, IG_SHAPE1(1)));
  if (n->in[B_COUNT] && !(n->in[B_DGAMMA] && n->in[B_DBETA]))
    return ig_fail(IG_ERR_INTERNAL, "batch statistics (operand %d) need dgamma and dbeta", B_COUNT);
  return ig_node_set_out(g, n, 0, x->dtype, x->shape);
}

// ---- gradient ----
static ig_status apply_grad(ig_graph *g, const ig_node *n, ig_tensor *const *dout, const bool *need, ig_tensor **din) {
  const ig_batchnorm_attr *attr = n->attr;
  ig_tensor *const *in = n->in;
  bool batch = in[A_COUNT] != NULL;
  if (!batch && (need[A_MEAN] || need[A_VAR]))
    return ig_fail(IG_ERR_UNSUPPORTED, "%s (%s): fixed statistics have no gradient, but one was asked for", n->name,
                   n->op->name);
  // Without a residual the mask comes from x again; then y need not be kept. Else (y, or the mask where one was made),
  // and where dy comes as a sum, g (dy behind the ReLU) is made once, and is the residual's gradient.
  ig_batchnorm_bwd_attr bwd = {.forward = *attr};
  ig_tensor *y = attr->relu && in[A_RESIDUAL] ? n->out[n->n_out - 1] : NULL, *dy = dout[0], *more_dy = NULL,
            *sums[2] = {NULL, NULL};
  bool statistics = batch || need[A_GAMMA] || need[A_BETA];
  char name[400];
  if (statistics)
    ig_graph_addends(dout[0], &dy, &more_dy);
  bwd.masked_dy = y || more_dy;
  if (statistics || y) {
    ig_tensor *operands[S_N] = {dy, in[A_X], in[A_MEAN], in[A_VAR], in[A_GAMMA], in[A_BETA], y, in[A_WEIGHT], more_dy};
    snprintf(name, sizeof name, "%s/sums", n->name);
    ig_node *made = ig_graph_node(g, "bn_bwd_sums", name, S_N, operands, &bwd);
    if (!made)
      return ig_graph_status(g);
    sums[0] = din[A_GAMMA] = made->out[0];
    sums[1] = din[A_BETA] = made->out[1];
    dy = bwd.masked_dy ? made->out[2] : dy;
  }
  if (need[A_RESIDUAL])
    din[A_RESIDUAL] = dy;
  if (!need[A_X])
    return IG_OK;
  ig_batchnorm_attr behind = *attr;
  behind.relu = attr->relu && !bwd.masked_dy;
  ig_tensor *operands[B_N] = {dy,         in[A_X], in[A_MEAN], in[A_VAR],   in[A_GAMMA],
                              in[A_BETA], sums[0], sums[1],    in[A_COUNT], in[A_WEIGHT]};
  snprintf(name, sizeof name, "%s/dx", n->name);
  ig_node *made = ig_graph_node(g, "bn_bwd_apply", name, B_N, operands, &behind);
  if (!made)
    return ig_graph_status(g);
  din[A_X] = made->out[0];
  return IG_OK;
}

// ---- costs ----
static double activation_bytes(const ig_tensor *t) {
  return t && t->shape.n == 4 ? (double)ig_shape_count(&t->shape) * (double)ig_dtype_bytes(t->dtype) : 0;
}
// Traffic of the activations; flops per number of x.
static void cost_of(const ig_node *n, const ig_tensor *x, double flops, ig_cost *cost) {
  cost->flops = flops * (double)ig_shape_count(&x->shape);
  cost->bytes = 0;
  for (int i = 0; i < n->n_in; i++)
    cost->bytes += activation_bytes(n->in[i]);
  for (int i = 0; i < n->n_out; i++)
    cost->bytes += activation_bytes(n->out[i]);
}
static void cost_stats(const ig_node *n, ig_cost *cost) { cost_of(n, n->in[0], 4, cost); }
static void cost_apply(const ig_node *n, ig_cost *cost) { cost_of(n, n->in[0], 3, cost); }
static void cost_update(const ig_node *n, ig_cost *cost) {
  double c = (double)n->in[0]->shape.d[0];
  cost->flops = 6 * c;
  cost->bytes = 6 * c * (double)sizeof(float);
}
static void cost_bwd_sums(const ig_node *n, ig_cost *cost) { cost_of(n, n->in[S_X], 5, cost); }
static void cost_bwd_apply(const ig_node *n, ig_cost *cost) { cost_of(n, n->in[B_X], 6, cost); }

// ---- cases ----
static const ig_batchnorm_attr plain_attr = {1e-5f, 0.1f, false}, relu_attr = {1e-5f, 0.1f, true};
static const ig_batchnorm_bwd_attr bwd_plain = {{1e-5f, 0.1f, false}, false}, bwd_relu = {{1e-5f, 0.1f, true}, false},
                                   bwd_masked = {{1e-5f, 0.1f, true}, true};

#define X(N, H, W, C) \
  { .shape = {4, {N, H, W, C}}, .fill = IG_FILL_NORMAL }
#define X_STOP(N, H, W, C) \
  { .shape = {4, {N, H, W, C}}, .fill = IG_FILL_NORMAL, .no_grad = true }
#define VEC(n, kind) \
  { .shape = {1, {n}}, .fill = kind, .fixed_f32 = true }
#define STOP(n, kind) \
  { .shape = {1, {n}}, .fill = kind, .fixed_f32 = true, .no_grad = true }
#define WEIGHT(n) \
  { .shape = {1, {n}}, .fill = IG_FILL_BINARY, .fixed_f32 = true, .no_grad = true }
#define COUNT(n) \
  { .shape = {1, {1}}, .fill = IG_FILL_UNIFORM, .lo = n, .hi = n, .fixed_f32 = true, .no_grad = true }
#define NONE \
  { .fill = IG_FILL_ABSENT }

static const ig_op_case stats_cases[] = {
    {"c1", 2, {X(1, 5, 7, 1), NONE}, .attr = NULL},
    {"c3", 2, {X(3, 7, 5, 3), NONE}, .attr = NULL},
    {"c7_weight", 2, {X(3, 3, 11, 7), WEIGHT(3)}, .attr = NULL},
    {"c17", 2, {X(3, 37, 41, 17), WEIGHT(3)}, .attr = NULL},
    {"c64", 2, {X(2, 19, 17, 64), NONE}, .attr = NULL},
    {"c1030", 2, {X(1, 3, 3, 1030), NONE}, .attr = NULL},
    {"bench", 2, {X(32, 56, 56, 64), NONE}, .bench = true},
    {"bench7", 2, {X(32, 7, 7, 512), NONE}, .bench = true},
};
#define FIXED(C) STOP(C, IG_FILL_NORMAL), STOP(C, IG_FILL_POSITIVE), VEC(C, IG_FILL_NORMAL), VEC(C, IG_FILL_NORMAL)
static const ig_op_case apply_cases[] = {
    {"fixed_c1", 8, {X(1, 5, 7, 1), FIXED(1), NONE, NONE, NONE}, &plain_attr, .bench = false},
    {"fixed_c3_relu", 8, {X(3, 7, 5, 3), FIXED(3), NONE, NONE, NONE}, &relu_attr, .bench = false},
    {"fixed_c7_residual", 8, {X(2, 3, 11, 7), FIXED(7), X(2, 3, 11, 7), NONE, NONE}, &plain_attr, .bench = false},
    {"fixed_c17_both", 8, {X(3, 5, 3, 17), FIXED(17), X(3, 5, 3, 17), NONE, NONE}, &relu_attr, .bench = false},
    {"batch_c8", 8, {X_STOP(3, 5, 3, 8), FIXED(8), NONE, COUNT(45), NONE}, &relu_attr, .bench = false},
    {"batch_c64_both",
     8,
     {X_STOP(2, 9, 7, 64), FIXED(64), X(2, 9, 7, 64), COUNT(126), NONE},
     &relu_attr,
     .bench = false},
    // So many that the statistics hardly move with x: central differences see the gradient through count too.
    {"batch_endless", 8, {X(2, 3, 5, 7), FIXED(7), NONE, COUNT(1e30), NONE}, &relu_attr, .bench = false},
    {"batch_c1030", 8, {X_STOP(1, 3, 3, 1030), FIXED(1030), NONE, COUNT(9), NONE}, &plain_attr, .bench = false},
    {"bench", 8, {X(32, 56, 56, 64), FIXED(64), NONE, COUNT(100352), NONE}, &relu_attr, .bench = true},
    {"bench_both",
     8,
     {X(32, 14, 14, 256), FIXED(256), X(32, 14, 14, 256), COUNT(6272), NONE},
     &relu_attr,
     .bench = true},
    {"bench7", 8, {X(32, 7, 7, 512), FIXED(512), NONE, COUNT(1568), NONE}, &relu_attr, .bench = true},
};
static const ig_op_case apply_mask_cases[] = {
    {"fixed_c8", 8, {X(3, 7, 5, 8), FIXED(8), X(3, 7, 5, 8), NONE, NONE}, &relu_attr, .bench = false},
    {"fixed_c40", 8, {X(1, 5, 3, 40), FIXED(40), X(1, 5, 3, 40), NONE, WEIGHT(1)}, &relu_attr, .bench = false},
    {"batch_c64", 8, {X_STOP(2, 9, 7, 64), FIXED(64), X(2, 9, 7, 64), COUNT(126), NONE}, &relu_attr, .bench = false},
    {"batch_endless", 8, {X(2, 3, 5, 16), FIXED(16), X(2, 3, 5, 16), COUNT(1e30), NONE}, &relu_attr, .bench = false},
    {"batch_c520", 8, {X_STOP(2, 3, 3, 520), FIXED(520), X(2, 3, 3, 520), COUNT(18), NONE}, &relu_attr, .bench = false},
    {"bench", 8, {X(32, 14, 14, 256), FIXED(256), X(32, 14, 14, 256), COUNT(6272), NONE}, &relu_attr, .bench = true},
};
static const ig_op_case update_cases[] = {
    {"c1",
     5,
     {VEC(1, IG_FILL_NORMAL), VEC(1, IG_FILL_POSITIVE), VEC(1, IG_FILL_NORMAL), VEC(1, IG_FILL_POSITIVE), COUNT(2)},
     &plain_attr,
     .bench = false},
    {"c67",
     5,
     {VEC(67, IG_FILL_NORMAL), VEC(67, IG_FILL_POSITIVE), VEC(67, IG_FILL_NORMAL), VEC(67, IG_FILL_POSITIVE), COUNT(9)},
     &plain_attr,
     .bench = false},
    {"one_value",
     5,
     {VEC(5, IG_FILL_NORMAL), VEC(5, IG_FILL_POSITIVE), VEC(5, IG_FILL_NORMAL), VEC(5, IG_FILL_POSITIVE), COUNT(1)},
     &plain_attr,
     .bench = false},
};
#define MASK(N, H, W, C) \
  { .shape = {4, {N, H, W, (C) / MASK_BITS}}, .dtype = IG_U8, .fill = IG_FILL_INDEX, .hi = 256, .no_grad = true }
static const ig_op_case bwd_sums_cases[] = {
    {"c1", 9, {X(1, 5, 7, 1), X(1, 5, 7, 1), FIXED(1), NONE, NONE, NONE}, &bwd_plain, .bench = false},
    {"c3_relu", 9, {X(3, 7, 5, 3), X(3, 7, 5, 3), FIXED(3), NONE, WEIGHT(3), NONE}, &bwd_relu, .bench = false},
    {"c7_y", 9, {X(2, 3, 11, 7), X(2, 3, 11, 7), FIXED(7), X(2, 3, 11, 7), NONE, NONE}, &bwd_masked, .bench = false},
    {"c17_weight",
     9,
     {X(3, 37, 41, 17), X(3, 37, 41, 17), FIXED(17), X(3, 37, 41, 17), WEIGHT(3), X(3, 37, 41, 17)},
     &bwd_masked,
     .bench = false},
    {"c64", 9, {X(2, 19, 17, 64), X(2, 19, 17, 64), FIXED(64), NONE, NONE, NONE}, &bwd_relu, .bench = false},
    {"c80_more",
     9,
     {X(2, 5, 7, 80), X(2, 5, 7, 80), FIXED(80), NONE, NONE, X(2, 5, 7, 80)},
     &bwd_masked,
     .bench = false},
    {"c1030", 9, {X(1, 3, 3, 1030), X(1, 3, 3, 1030), FIXED(1030), NONE, NONE, NONE}, &bwd_plain, .bench = false},
    {"c40_mask",
     9,
     {X(3, 5, 7, 40), X(3, 5, 7, 40), FIXED(40), MASK(3, 5, 7, 40), WEIGHT(3), X(3, 5, 7, 40)},
     &bwd_masked,
     .bench = false},
    {"bench", 9, {X(32, 56, 56, 64), X(32, 56, 56, 64), FIXED(64), NONE, NONE, NONE}, &bwd_relu, .bench = true},
    {"bench_y",
     9,
     {X(32, 14, 14, 256), X(32, 14, 14, 256), FIXED(256), X(32, 14, 14, 256), NONE, X(32, 14, 14, 256)},
     &bwd_masked,
     .bench = true},
    {"bench_mask",
     9,
     {X(32, 14, 14, 256), X(32, 14, 14, 256), FIXED(256), MASK(32, 14, 14, 256), NONE, X(32, 14, 14, 256)},
     &bwd_masked,
     .bench = true},
    {"bench7", 9, {X(32, 7, 7, 512), X(32, 7, 7, 512), FIXED(512), NONE, NONE, NONE}, &bwd_relu, .bench = true},
};
#define SUMS(C) STOP(C, IG_FILL_NORMAL), STOP(C, IG_FILL_NORMAL)
static const ig_op_case bwd_apply_cases[] = {
    {"fixed_c1", 10, {X(1, 5, 7, 1), X(1, 5, 7, 1), FIXED(1), NONE, NONE, NONE, NONE}, &plain_attr, .bench = false},
    {"fixed_c3_relu", 10, {X(3, 7, 5, 3), X(3, 7, 5, 3), FIXED(3), NONE, NONE, NONE, NONE}, &relu_attr, .bench = false},
    {"batch_c7", 10, {X(2, 3, 11, 7), X(2, 3, 11, 7), FIXED(7), SUMS(7), COUNT(66), NONE}, &plain_attr, .bench = false},
    {"batch_c17_weight",
     10,
     {X(3, 37, 41, 17), X(3, 37, 41, 17), FIXED(17), SUMS(17), COUNT(1517), WEIGHT(3)},
     &relu_attr,
     .bench = false},
    {"batch_c8", 10, {X(3, 5, 3, 8), X(3, 5, 3, 8), FIXED(8), SUMS(8), COUNT(45), NONE}, &relu_attr, .bench = false},
    {"batch_c64",
     10,
     {X(2, 19, 17, 64), X(2, 19, 17, 64), FIXED(64), SUMS(64), COUNT(646), NONE},
     &relu_attr,
     .bench = false},
    {"batch_c1030",
     10,
     {X(1, 3, 3, 1030), X(1, 3, 3, 1030), FIXED(1030), SUMS(1030), COUNT(9), NONE},
     &plain_attr,
     .bench = false},
    {"bench",
     10,
     {X(32, 56, 56, 64), X(32, 56, 56, 64), FIXED(64), SUMS(64), COUNT(100352), NONE},
     &relu_attr,
     .bench = true},
    {"bench_behind",
     10,
     {X(32, 14, 14, 256), X(32, 14, 14, 256), FIXED(256), SUMS(256), COUNT(6272), NONE},
     &plain_attr,
     .bench = true},
    {"bench7",
     10,
     {X(32, 7, 7, 512), X(32, 7, 7, 512), FIXED(512), SUMS(512), COUNT(1568), NONE},
     &relu_attr,
     .bench = true},
};

// ---- rows ----
#define CASES(list)  .cases = list, .n_cases = (int)(sizeof list / sizeof *list)
#define IMPLS(stem)  .impls = {[IG_DEVICE_CPU] = {stem "_cpu", stem "_ref"}, [IG_DEVICE_CUDA] = {stem "_cuda"}}
#define BIT(operand) (1u << (operand))

static const ig_op stats_row = {
    .name = "bn_stats",
    .summary = "mean_c, var_c (biased) and count of x over samples of weight != 0 and positions",
    .min_in = 2,
    .max_in = 2,
    .n_out = 3,
    .optional_in = BIT(1),
    .infer = infer_stats,
    .grad = ig_zero_grad,
    .cost = cost_stats,
    CASES(stats_cases),
    IMPLS("bn_stats")};
static const ig_op apply_row = {
    .name = "bn_apply",
    .summary = "y = relu?((x - mean) / sqrt(var + eps) gamma + beta + residual)",
    .min_in = A_N,
    .max_in = A_N,
    .n_out = 1,
    .optional_in = BIT(A_RESIDUAL) | BIT(A_COUNT) | BIT(A_WEIGHT),
    .attr_bytes = sizeof(ig_batchnorm_attr),
    .infer = infer_apply,
    .grad = apply_grad,
    .keeps_in = BIT(A_X) | BIT(A_MEAN) | BIT(A_VAR) | BIT(A_GAMMA) | BIT(A_BETA) | BIT(A_COUNT) | BIT(A_WEIGHT),
    .keeps_out = 1,  // where there are both a residual and a ReLU
    .in_place = {1 + A_X},
    .cheap = true,
    .cost = cost_apply,
    CASES(apply_cases),
    IMPLS("bn_apply")};
static const ig_op apply_mask_row = {
    .name = "bn_apply_mask",
    .summary = "bn_apply with a ReLU, and a bit for each number: whether it passed",
    .min_in = A_N,
    .max_in = A_N,
    .n_out = 2,
    .optional_in = BIT(A_RESIDUAL) | BIT(A_COUNT) | BIT(A_WEIGHT),
    .attr_bytes = sizeof(ig_batchnorm_attr),
    .infer = infer_apply_mask,
    .grad = apply_grad,
    .keeps_in = BIT(A_X) | BIT(A_MEAN) | BIT(A_VAR) | BIT(A_GAMMA) | BIT(A_BETA) | BIT(A_COUNT) | BIT(A_WEIGHT),
    .keeps_out = BIT(1),
    .in_place = {1 + A_X},
    .cheap = true,
    .cost = cost_apply,
    CASES(apply_mask_cases),
    .on_cpu = IG_CPU_NEVER,
    .impls = {[IG_DEVICE_CPU] = {"bn_apply_mask_ref"}, [IG_DEVICE_CUDA] = {"bn_apply_mask_cuda"}}};
static const ig_op update_row = {
    .name = "bn_update",
    .summary = "running = (1 - momentum) running + momentum batch, var times n/(n-1); done[1] = 0",
    .min_in = 5,
    .max_in = 5,
    .n_out = 1,
    .mutates_in = 3,
    .attr_bytes = sizeof(ig_batchnorm_attr),
    .infer = infer_update,
    .grad = ig_zero_grad,
    .cost = cost_update,
    CASES(update_cases),
    IMPLS("bn_update")};
static const ig_op bwd_sums_row = {.name = "bn_bwd_sums",
                                   .summary =
                                       "g = dy (+ dy') where y > 0, or its bit of the mask is set; dgamma = sum g "
                                       "xhat, dbeta = sum g; g itself where asked for",
                                   .min_in = S_N,
                                   .max_in = S_N,
                                   .n_out = 3,
                                   .optional_in = BIT(S_Y) | BIT(S_WEIGHT) | BIT(S_MORE_DY),
                                   .attr_bytes = sizeof(ig_batchnorm_bwd_attr),
                                   .infer = infer_bwd_sums,
                                   .grad = ig_no_grad,
                                   .in_place = {0, 0, 1 + S_DY},
                                   .cost = cost_bwd_sums,
                                   CASES(bwd_sums_cases),
                                   IMPLS("bn_bwd_sums")};
static const ig_op bwd_apply_row = {
    .name = "bn_bwd_apply",
    .summary = "dx = gamma/std (g - dbeta/n - xhat dgamma/n), g = dy where y > 0; fixed statistics: dx = gamma/std g",
    .min_in = B_N,
    .max_in = B_N,
    .n_out = 1,
    .optional_in = BIT(B_DGAMMA) | BIT(B_DBETA) | BIT(B_COUNT) | BIT(B_WEIGHT),
    .attr_bytes = sizeof(ig_batchnorm_attr),
    .infer = infer_bwd_apply,
    .grad = ig_no_grad,
    .in_place = {1 + B_X},
    .cost = cost_bwd_apply,
    CASES(bwd_apply_cases),
    IMPLS("bn_bwd_apply")};

IG_OPS(batchnorm) = {&stats_row, &apply_row, &apply_mask_row, &update_row, &bwd_sums_row, &bwd_apply_row, NULL};

// ---- builder ----
static ig_tensor *parameter(ig_graph *g, const char *scope, const char *name, ig_shape shape, ig_param_kind kind,
                            ig_init_kind init) {
  char full[320];
  snprintf(full, sizeof full, "%s.%s", scope, name);
  return ig_graph_param(g, full, shape, kind, (ig_init){init, 0});
}

static bool statistics_are_fixed(const ig_graph *g, const char *scope) {
  const ig_params *params = g->options.params;
  char full[480];
  if (g->options.mode != IG_MODE_TRAIN)
    return true;
  snprintf(full, sizeof full, "%s%s.running_mean", g->prefix, scope);
  return params->is_frozen && params->is_frozen(params->is_frozen_user, full);
}

ig_tensor *ig_batchnorm(ig_graph *g, const char *scope, ig_tensor *x, ig_tensor *residual, ig_tensor *sample_weight,
                        const ig_batchnorm_attr *attr) {
  if (!x || g->status != IG_OK)
    return NULL;
  if (x->shape.n != 4) {
    char text[96];
    return ig_graph_fail(g, IG_ERR_MISMATCH, "%s%s: batch normalisation of %s: found shape %s, expected [N, H, W, C]",
                         g->prefix, scope, x->name, ig_shape_text(&x->shape, text));
  }
  ig_shape c = channels(x);
  ig_tensor *gamma = parameter(g, scope, "weight", c, IG_PARAM_TRAINABLE, IG_INIT_ONE);
  ig_tensor *beta = parameter(g, scope, "bias", c, IG_PARAM_TRAINABLE, IG_INIT_ZERO);
  ig_tensor *mean = parameter(g, scope, "running_mean", c, IG_PARAM_STATE, IG_INIT_ZERO);
  ig_tensor *var = parameter(g, scope, "running_var", c, IG_PARAM_STATE, IG_INIT_ONE);
  ig_tensor *count = NULL;
  if (statistics_are_fixed(g, scope)) {
    sample_weight = NULL;
  } else {
    char name[320];
    snprintf(name, sizeof name, "%s/stats", scope);
    ig_node *stats = ig_graph_node(g, "bn_stats", name, 2, (ig_tensor *[]){x, sample_weight}, NULL);
    if (!stats)
      return NULL;
    snprintf(name, sizeof name, "%s/update", scope);
    ig_tensor *operands[] = {mean, var, stats->out[0], stats->out[1], stats->out[2]};
    if (!ig_graph_node(g, "bn_update", name, 5, operands, attr))
      return NULL;
    mean = stats->out[0];
    var = stats->out[1];
    count = stats->out[2];
  }
  ig_tensor *operands[A_N] = {x, mean, var, gamma, beta, residual, count, sample_weight};
  ig_node *n = ig_graph_node(g, "bn_apply", scope, A_N, operands, attr);
  return n ? n->out[0] : NULL;
}

// ---- masks ----
// Whether the device has kernels of its own that make and read them: elsewhere y serves.
static bool device_has_masks(const ig_device *device) {
  const char *name = apply_mask_row.impls[device->caps.kind][0];
  const ig_impl *impl = name ? ig_device_find_impl(device, name) : NULL;
  return impl && !(impl->flags & IG_IMPL_REF);
}

ig_status ig_batchnorm_add_masks(ig_graph *g, const ig_device *device) {
  IG_TRY(ig_graph_status(g));
  if (!device_has_masks(device))
    return IG_OK;
  for (size_t k = 0; k < g->n_nodes; k++) {
    ig_node *n = g->nodes[k];
    const ig_batchnorm_attr *attr = n->attr;
    if (n->op != &apply_row || !attr->relu || !n->in[A_RESIDUAL] || n->in[A_X]->shape.d[3] % MASK_BITS)
      continue;
    n->op = &apply_mask_row;
    n->n_out = apply_mask_row.n_out;
    IG_TRY(ig_node_set_out(g, n, 1, IG_U8, mask_of(n->in[A_X])));
  }
  return IG_OK;
}
