// Rows of the elementwise losses and of distillation, two a loss: {sum, weight} and the gradient with respect to x.
#include "kernels/losses/losses.h"

#include "kernels/kernels.h"
#include "kernels/optim_util/fixed.h"

// Operands x, target, sample_weight?, pos_weight? (bce alone) from `first` on.
static ig_status check_operands(const ig_node *n, int first) {
  const ig_tensor *x = n->in[first];
  for (int i = first; i < first + 2; i++)
    if (!ig_dtype_is_float(n->in[i]->dtype))
      return ig_fail(IG_ERR_MISMATCH, "operand %d (%s) is %s, expected a float type", i, n->in[i]->name,
                     ig_dtype_name(n->in[i]->dtype));
  if (x->shape.n < 1)
    return ig_fail(IG_ERR_MISMATCH, "operand %d (%s) is a scalar, expected samples in the first dimension", first,
                   x->name);
  IG_TRY(ig_check_shape(n, first + 1, x->shape));
  if (n->in[first + 2]) {
    IG_TRY(ig_check_dtype(n, first + 2, IG_F32));
    IG_TRY(ig_check_shape(n, first + 2, IG_SHAPE1(x->shape.d[0])));
  }
  if (n->n_in > first + 3 && n->in[first + 3]) {
    IG_TRY(ig_check_dtype(n, first + 3, IG_F32));
    IG_TRY(ig_check_shape(n, first + 3, IG_SHAPE1(x->shape.d[0] ? ig_shape_count(&x->shape) / x->shape.d[0] : 0)));
  }
  return IG_OK;
}

static ig_status infer_loss(ig_graph *g, ig_node *n) {
  IG_TRY(check_operands(n, 0));
  IG_TRY(ig_node_set_out(g, n, 0, ig_sum_dtype(n->in[0]), IG_SHAPE1(1)));
  return ig_node_set_out(g, n, 1, ig_sum_dtype(n->in[0]), IG_SHAPE1(1));
}

static ig_status infer_loss_bwd(ig_graph *g, ig_node *n) {
  IG_TRY(ig_check_shape(n, 0, IG_SHAPE1(1)));
  IG_TRY(check_operands(n, 1));
  return ig_node_set_out(g, n, 0, n->in[1]->dtype, n->in[1]->shape);
}

static ig_status check_limit(const ig_node *n, const char *what, bool zero_allowed) {
  float a = ((const ig_loss_attr *)n->attr)->a;
  if (!(a > 0 || (zero_allowed && a == 0)) || a > 3e38f)
    return ig_fail(IG_ERR_USAGE, "%s is %g, expected a finite number %s", what, (double)a,
                   zero_allowed ? "of 0 or more" : "above 0");
  return IG_OK;
}

static ig_status infer_smooth(ig_graph *g, ig_node *n) {
  IG_TRY(check_limit(n, "beta", true));
  return infer_loss(g, n);
}

static ig_status infer_huber(ig_graph *g, ig_node *n) {
  IG_TRY(check_limit(n, "delta", false));
  return infer_loss(g, n);
}

static ig_status infer_focal(ig_graph *g, ig_node *n) {
  const ig_loss_attr *a = n->attr;
  if (!(a->a <= 1) || !(a->b >= 0))
    return ig_fail(IG_ERR_USAGE, "alpha is %g and gamma %g, expected alpha at most 1 and gamma 0 or more", (double)a->a,
                   (double)a->b);
  return infer_loss(g, n);
}

static ig_status infer_kd(ig_graph *g, ig_node *n) {
  IG_TRY(check_limit(n, "temperature", false));
  IG_TRY(ig_check_rank(n, 0, 2));
  return infer_loss(g, n);
}

static ig_status grad_loss(ig_graph *g, const ig_node *n, ig_tensor *const *dout, const bool *need, ig_tensor **din) {
  for (int i = 1; i < n->n_in; i++)
    if (need[i])
      return ig_no_grad(g, n, dout, need, din);
  if (!dout[0] || !need[0])  // the weight does not depend on x
    return IG_OK;
  char op[64], name[320];
  ig_tensor *in[5] = {dout[0]};
  snprintf(op, sizeof op, "%s_bwd", n->op->name);
  snprintf(name, sizeof name, "%s/d", n->name);
  for (int i = 0; i < n->n_in; i++)
    in[i + 1] = n->in[i];
  ig_node *b = ig_graph_node(g, op, name, n->n_in + 1, in, n->attr);
  din[0] = b ? b->out[0] : NULL;
  return ig_graph_status(g);
}

static void cost_loss(const ig_node *n, ig_cost *cost) {
  const ig_tensor *x = n->in[n->n_out == 1];
  *cost = (ig_cost){.flops = 4.0 * (double)ig_shape_count(&x->shape), .bytes = ig_cost_bytes(n)};
}

static void cost_exp(const ig_node *n, ig_cost *cost) {
  cost_loss(n, cost);
  cost->flops *= 6;
}

#define X(shape) \
  { shape, IG_F32, IG_FILL_NORMAL, 0, 0, false, false }
#define TARGET(shape, lo, hi) \
  { shape, IG_F32, IG_FILL_UNIFORM, lo, hi, false, true }
#define BINARY(shape) \
  { shape, IG_F32, IG_FILL_BINARY, 0, 0, false, true }
#define SHARE(count) \
  { IG_SHAPE1(count), IG_F32, IG_FILL_BINARY, 0, 0, true, true }
#define SCALE(count) \
  { IG_SHAPE1(count), IG_F32, IG_FILL_POSITIVE, 0, 0, true, true }
#define SEED \
  { IG_SHAPE1(1), IG_F32, IG_FILL_POSITIVE, 0, 0, false, true }
#define NONE \
  { IG_SHAPE1(1), IG_F32, IG_FILL_ABSENT, 0, 0, false, true }
#define TINY  IG_SHAPE2(7, 5)
#define SMALL IG_SHAPE2(67, 13)
#define LARGE IG_SHAPE2(256, 4096)

static const ig_loss_attr half = {0.5f, 0}, four = {4, 0}, focal = {0.25f, 2};

// lo, hi: targets of the first case, and negated of the second: |x - target| has its kink where they meet.
#define REGRESSION_CASES(loss, attribute, shape, lo, hi)                                                             \
  static const ig_op_case loss##_cases[] = {                                                                         \
      {.name = "plain", .n_in = 3, .in = {X(TINY), TARGET(TINY, lo, hi), NONE}, .attr = attribute},                  \
      {.name = "weights", .n_in = 3, .in = {X(shape), TARGET(shape, -(hi), -(lo)), SHARE(67)}, .attr = attribute},   \
      {.name = "large", .n_in = 3, .in = {X(LARGE), TARGET(LARGE, lo, hi), NONE}, .attr = attribute, .bench = true}, \
  };                                                                                                                 \
  static const ig_op_case loss##_bwd_cases[] = {                                                                     \
      {.name = "plain", .n_in = 4, .in = {SEED, X(TINY), TARGET(TINY, lo, hi), NONE}, .attr = attribute},            \
      {.name = "weights",                                                                                            \
       .n_in = 4,                                                                                                    \
       .in = {SEED, X(shape), TARGET(shape, -(hi), -(lo)), SHARE(67)},                                               \
       .attr = attribute},                                                                                           \
      {.name = "large",                                                                                              \
       .n_in = 4,                                                                                                    \
       .in = {SEED, X(LARGE), TARGET(LARGE, lo, hi), NONE},                                                          \
       .attr = attribute,                                                                                            \
       .bench = true},                                                                                               \
  };

#define SIGNAL IG_SHAPE3(67, 3, 11)
REGRESSION_CASES(mse, NULL, SIGNAL, -3, 3)
REGRESSION_CASES(l1, NULL, SIGNAL, 5, 8)
REGRESSION_CASES(smooth_l1, &half, SIGNAL, -3, 3)
REGRESSION_CASES(huber, &half, SIGNAL, -3, 3)
REGRESSION_CASES(kd, &four, SMALL, -3, 3)

static const ig_op_case bce_cases[] = {
    {.name = "plain", .n_in = 4, .in = {X(TINY), BINARY(TINY), NONE, NONE}},
    {.name = "weights", .n_in = 4, .in = {X(SMALL), BINARY(SMALL), SHARE(67), SCALE(13)}},
};
static const ig_op_case bce_bwd_cases[] = {
    {.name = "plain", .n_in = 5, .in = {SEED, X(TINY), BINARY(TINY), NONE, NONE}},
    {.name = "weights", .n_in = 5, .in = {SEED, X(SMALL), BINARY(SMALL), SHARE(67), SCALE(13)}},
};
static const ig_op_case focal_cases[] = {
    {.name = "plain", .n_in = 3, .in = {X(TINY), BINARY(TINY), NONE}, .attr = &focal},
    {.name = "weights", .n_in = 3, .in = {X(SMALL), BINARY(SMALL), SHARE(67)}, .attr = &focal},
};
static const ig_op_case focal_bwd_cases[] = {
    {.name = "plain", .n_in = 4, .in = {SEED, X(TINY), BINARY(TINY), NONE}, .attr = &focal},
    {.name = "weights", .n_in = 4, .in = {SEED, X(SMALL), BINARY(SMALL), SHARE(67)}, .attr = &focal},
};

#define ROWS(stem, text, formula, slope, operands, optional, keeps, attributes, check, price)      \
  static const ig_op stem##_loss = {                                                               \
      .name = text,                                                                                \
      .summary = formula,                                                                          \
      .min_in = operands,                                                                          \
      .max_in = operands,                                                                          \
      .n_out = 2,                                                                                  \
      .optional_in = optional,                                                                     \
      .attr_bytes = attributes,                                                                    \
      .infer = check,                                                                              \
      .grad = grad_loss,                                                                           \
      .keeps_in = keeps,                                                                           \
      .cost = price,                                                                               \
      .cases = stem##_cases,                                                                       \
      .n_cases = (int)(sizeof stem##_cases / sizeof *stem##_cases),                                \
      .on_cpu = IG_CPU_F32,                                                                        \
      .impls = {[IG_DEVICE_CPU] = {text "_cpu", text "_ref"}, [IG_DEVICE_CUDA] = {text "_cuda"}}}; \
  static const ig_op stem##_loss_bwd = {                                                           \
      .name = text "_bwd",                                                                         \
      .summary = "dx = seed s * " slope,                                                           \
      .min_in = operands + 1,                                                                      \
      .max_in = operands + 1,                                                                      \
      .n_out = 1,                                                                                  \
      .optional_in = (optional) << 1,                                                              \
      .attr_bytes = attributes,                                                                    \
      .infer = infer_loss_bwd,                                                                     \
      .grad = ig_no_grad,                                                                          \
      .in_place = {2},                                                                             \
      .cost = price,                                                                               \
      .cases = stem##_bwd_cases,                                                                   \
      .n_cases = (int)(sizeof stem##_bwd_cases / sizeof *stem##_bwd_cases),                        \
      .on_cpu = IG_CPU_F32,                                                                        \
      .impls = {[IG_DEVICE_CPU] = {text "_bwd_cpu", text "_bwd_ref"}, [IG_DEVICE_CUDA] = {text "_bwd_cuda"}}};

#define ATTR sizeof(ig_loss_attr)
ROWS(mse, "mse_loss", "sum s d^2, d = x - target, and sum s", "2 d", 3, 4, 7, 0, infer_loss, cost_loss)
ROWS(l1, "l1_loss", "sum s |d|, and sum s", "sign(d)", 3, 4, 7, 0, infer_loss, cost_loss)
ROWS(smooth_l1, "smooth_l1_loss", "sum s (|d| < beta ? d^2 / 2 beta : |d| - beta / 2), and sum s",
     "(|d| < beta ? d / beta : sign(d))", 3, 4, 7, ATTR, infer_smooth, cost_loss)
ROWS(huber, "huber_loss", "sum s (|d| <= delta ? d^2 / 2 : delta (|d| - delta / 2)), and sum s",
     "(|d| <= delta ? d : delta sign(d))", 3, 4, 7, ATTR, infer_huber, cost_loss)
ROWS(bce, "bce_loss", "sum s (-w t log s(x) - (1 - t) log(1 - s(x))), and sum s", "((1 - t) - (1 + (w - 1) t) s(-x))",
     4, 12, 15, 0, infer_loss, cost_exp)
ROWS(focal, "sigmoid_focal_loss", "sum s a (1 - q)^gamma bce, q = probability of the target, and sum s",
     "d/dx of a (1 - q)^gamma bce", 3, 4, 7, ATTR, infer_focal, cost_exp)
ROWS(kd, "kd_loss", "T^2 sum s q (log q - log p), q = softmax(target / T), p = softmax(x / T), and sum s a row",
     "T (p - q)", 3, 4, 7, ATTR, infer_kd, cost_exp)

IG_OPS(losses) = {&mse_loss,           &mse_loss_bwd,   &l1_loss,        &l1_loss_bwd, &smooth_l1_loss,
                  &smooth_l1_loss_bwd, &huber_loss,     &huber_loss_bwd, &bce_loss,    &bce_loss_bwd,
                  &focal_loss,         &focal_loss_bwd, &kd_loss,        &kd_loss_bwd, 0};

// ---- builders ----

static ig_loss build(ig_graph *g, const char *op, const char *name, int n_in, ig_tensor *x, ig_tensor *target,
                     ig_tensor *sample_weight, ig_tensor *pos_weight, float a, float b) {
  const ig_loss_attr attr = {a, b};
  if (!(x = ig_loss_operand(g, name, x)) || !(target = ig_loss_operand(g, name, target)))
    return (ig_loss){0};
  ig_tensor *in[4] = {x, target, sample_weight, pos_weight};
  return ig_loss_of(g, name, ig_graph_node(g, op, name, n_in, in, &attr));
}

ig_loss ig_mse_loss(ig_graph *g, const char *name, ig_tensor *x, ig_tensor *target, ig_tensor *sample_weight) {
  return build(g, "mse_loss", name, 3, x, target, sample_weight, NULL, 0, 0);
}

ig_loss ig_l1_loss(ig_graph *g, const char *name, ig_tensor *x, ig_tensor *target, ig_tensor *sample_weight) {
  return build(g, "l1_loss", name, 3, x, target, sample_weight, NULL, 0, 0);
}

ig_loss ig_smooth_l1_loss(ig_graph *g, const char *name, ig_tensor *x, ig_tensor *target, ig_tensor *sample_weight,
                          float beta) {
  return build(g, "smooth_l1_loss", name, 3, x, target, sample_weight, NULL, beta, 0);
}

ig_loss ig_huber_loss(ig_graph *g, const char *name, ig_tensor *x, ig_tensor *target, ig_tensor *sample_weight,
                      float delta) {
  return build(g, "huber_loss", name, 3, x, target, sample_weight, NULL, delta, 0);
}

ig_loss ig_bce_logits_loss(ig_graph *g, const char *name, ig_tensor *x, ig_tensor *target, ig_tensor *sample_weight,
                           ig_tensor *pos_weight) {
  return build(g, "bce_loss", name, 4, x, target, sample_weight, pos_weight, 0, 0);
}

ig_loss ig_sigmoid_focal_loss(ig_graph *g, const char *name, ig_tensor *x, ig_tensor *target, ig_tensor *sample_weight,
                              float alpha, float gamma) {
  return build(g, "sigmoid_focal_loss", name, 3, x, target, sample_weight, NULL, alpha, gamma);
}

ig_loss ig_kd_loss(ig_graph *g, const char *name, ig_tensor *x, ig_tensor *teacher, ig_tensor *sample_weight,
                   float temperature) {
  return build(g, "kd_loss", name, 3, x, teacher, sample_weight, NULL, temperature, 0);
}
