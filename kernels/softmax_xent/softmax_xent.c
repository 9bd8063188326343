// Rows softmax, softmax_xent (class labels), softmax_xent_soft (target distributions), loss_mean, and their gradients.
// Rule: gradients recompute the probabilities from the logits, so nothing of size [N,C] is kept.
#include "kernels/softmax_xent/softmax_xent.h"

#include "kernels/kernels.h"
#include "kernels/optim_util/fixed.h"

// ---- shape rules ----

static ig_status check_float(const ig_node *n, int input) {
  const ig_tensor *t = n->in[input];
  if (!ig_dtype_is_float(t->dtype))
    return ig_fail(IG_ERR_MISMATCH, "operand %d (%s) is %s, expected a float type", input, t->name,
                   ig_dtype_name(t->dtype));
  return IG_OK;
}

static ig_status check_vector(const ig_node *n, int input, ig_dtype dtype, int64_t count) {
  if (!n->in[input])
    return IG_OK;
  IG_TRY(ig_check_dtype(n, input, dtype));
  return ig_check_shape(n, input, IG_SHAPE1(count));
}

static ig_status set_two_sums(ig_graph *g, ig_node *n, ig_dtype dtype) {
  IG_TRY(ig_node_set_out(g, n, 0, dtype, IG_SHAPE1(1)));
  return ig_node_set_out(g, n, 1, dtype, IG_SHAPE1(1));
}

static ig_status check_labels(const ig_node *n, int logits) {
  IG_TRY(check_float(n, logits));
  IG_TRY(ig_check_rank(n, logits, 2));
  int64_t rows = n->in[logits]->shape.d[0], classes = n->in[logits]->shape.d[1];
  IG_TRY(check_vector(n, logits + 1, IG_I32, rows));
  IG_TRY(check_vector(n, logits + 2, IG_I32, rows));
  IG_TRY(check_vector(n, logits + 3, IG_F32, rows));
  IG_TRY(check_vector(n, logits + 4, IG_F32, rows));
  IG_TRY(check_vector(n, logits + 5, IG_F32, classes));
  if (!n->in[logits + 2] != !n->in[logits + 3])
    return ig_fail(IG_ERR_MISMATCH, "second labels and their share lam belong together, only one is given");
  const ig_xent_attr *a = n->attr;
  if (!(a->label_smoothing >= 0 && a->label_smoothing < 1))
    return ig_fail(IG_ERR_USAGE, "label_smoothing is %g, expected a number in [0, 1)", (double)a->label_smoothing);
  if (!(a->focal_gamma >= 0))
    return ig_fail(IG_ERR_USAGE, "focal gamma is %g, expected 0 or more", (double)a->focal_gamma);
  return IG_OK;
}

static ig_status infer_xent(ig_graph *g, ig_node *n) {
  IG_TRY(check_labels(n, 0));
  return set_two_sums(g, n, ig_sum_dtype(n->in[0]));
}

static ig_status infer_xent_bwd(ig_graph *g, ig_node *n) {
  IG_TRY(ig_check_shape(n, 0, IG_SHAPE1(1)));
  IG_TRY(check_labels(n, 1));
  return ig_node_set_out(g, n, 0, n->in[1]->dtype, n->in[1]->shape);
}

static ig_status check_soft(const ig_node *n, int logits) {
  IG_TRY(check_float(n, logits));
  IG_TRY(check_float(n, logits + 1));
  IG_TRY(ig_check_rank(n, logits, 2));
  IG_TRY(ig_check_shape(n, logits + 1, n->in[logits]->shape));
  return check_vector(n, logits + 2, IG_F32, n->in[logits]->shape.d[0]);
}

static ig_status infer_soft(ig_graph *g, ig_node *n) {
  IG_TRY(check_soft(n, 0));
  return set_two_sums(g, n, ig_sum_dtype(n->in[0]));
}

static ig_status infer_soft_bwd(ig_graph *g, ig_node *n) {
  IG_TRY(ig_check_shape(n, 0, IG_SHAPE1(1)));
  IG_TRY(check_soft(n, 1));
  return ig_node_set_out(g, n, 0, n->in[1]->dtype, n->in[1]->shape);
}

static ig_status infer_softmax(ig_graph *g, ig_node *n) {
  IG_TRY(check_float(n, 0));
  if (n->in[0]->shape.n < 1)
    return ig_fail(IG_ERR_MISMATCH, "operand 0 (%s) is a scalar, expected a last dimension", n->in[0]->name);
  return ig_node_set_out(g, n, 0, n->in[0]->dtype, n->in[0]->shape);
}

static ig_status infer_softmax_bwd(ig_graph *g, ig_node *n) {
  IG_TRY(ig_check_shape(n, 1, n->in[0]->shape));
  return ig_node_set_out(g, n, 0, n->in[1]->dtype, n->in[1]->shape);
}

static ig_status infer_mean(ig_graph *g, ig_node *n) {
  for (int i = 0; i < n->n_in; i++)
    IG_TRY(ig_check_shape(n, i, IG_SHAPE1(1)));
  for (int i = 0; i < n->n_out; i++)
    IG_TRY(ig_node_set_out(g, n, i, ig_sum_dtype(n->in[0]), IG_SHAPE1(1)));
  return IG_OK;
}

// ---- gradient rules ----

static ig_tensor *bwd_node(ig_graph *g, const ig_node *n, const char *op, int n_in, ig_tensor *const *in) {
  char name[320];
  snprintf(name, sizeof name, "%s/d", n->name);
  ig_node *b = ig_graph_node(g, op, name, n_in, in, n->attr);
  return b ? b->out[0] : NULL;
}

static ig_status grad_xent(ig_graph *g, const ig_node *n, ig_tensor *const *dout, const bool *need, ig_tensor **din) {
  if (need[3] || need[4] || need[5])
    return ig_no_grad(g, n, dout, need, din);
  if (!dout[0] || !need[0])  // the weight does not depend on the logits
    return IG_OK;
  ig_tensor *in[7] = {dout[0], n->in[0], n->in[1], n->in[2], n->in[3], n->in[4], n->in[5]};
  din[0] = bwd_node(g, n, "softmax_xent_bwd", 7, in);
  return ig_graph_status(g);
}

static ig_status grad_soft(ig_graph *g, const ig_node *n, ig_tensor *const *dout, const bool *need, ig_tensor **din) {
  if (need[1] || need[2])
    return ig_no_grad(g, n, dout, need, din);
  if (!dout[0] || !need[0])
    return IG_OK;
  ig_tensor *in[4] = {dout[0], n->in[0], n->in[1], n->in[2]};
  din[0] = bwd_node(g, n, "softmax_xent_soft_bwd", 4, in);
  return ig_graph_status(g);
}

static ig_status grad_softmax(ig_graph *g, const ig_node *n, ig_tensor *const *dout, const bool *need,
                              ig_tensor **din) {
  ig_tensor *in[2] = {dout[0], n->out[0]};
  din[0] = bwd_node(g, n, "softmax_bwd", 2, in);
  return ig_graph_status(g);
}

static ig_status grad_mean(ig_graph *g, const ig_node *n, ig_tensor *const *dout, const bool *need, ig_tensor **din) {
  char name[320];
  ig_tensor *in[3] = {dout[0], n->in[0], n->in[1]};
  snprintf(name, sizeof name, "%s/d", n->name);
  ig_node *b = ig_graph_node(g, "loss_mean_bwd", name, 3, in, NULL);
  for (int i = 0; b && i < 2; i++)
    din[i] = need[i] ? b->out[i] : NULL;
  return ig_graph_status(g);
}

// ---- cost ----

static void cost_rows(const ig_node *n, ig_cost *cost) {
  const ig_tensor *x = n->in[n->n_in > 1 && ig_shape_count(&n->in[0]->shape) == 1];
  *cost = (ig_cost){.flops = 20.0 * (double)ig_shape_count(&x->shape), .bytes = ig_cost_bytes(n)};
}

static void cost_scalar(const ig_node *n, ig_cost *cost) { *cost = (ig_cost){.flops = 4, .bytes = ig_cost_bytes(n)}; }

// ---- cases ----

#define X(rows, classes) \
  { IG_SHAPE2(rows, classes), IG_F32, IG_FILL_NORMAL, 0, 0, false, false }
#define Y(rows, classes) \
  { IG_SHAPE1(rows), IG_I32, IG_FILL_INDEX, 0, classes, false, true }
#define SHARE(rows) \
  { IG_SHAPE1(rows), IG_F32, IG_FILL_UNIFORM, 0, 1, true, true }
#define SOME(rows) \
  { IG_SHAPE1(rows), IG_F32, IG_FILL_BINARY, 0, 0, true, true }
#define POSITIVE(count) \
  { IG_SHAPE1(count), IG_F32, IG_FILL_POSITIVE, 0, 0, true, true }
#define SIMPLEX(rows, c) \
  { IG_SHAPE2(rows, c), IG_F32, IG_FILL_SIMPLEX, 0, 0, false, true }
#define SEED \
  { IG_SHAPE1(1), IG_F32, IG_FILL_POSITIVE, 0, 0, false, true }
#define NONE \
  { IG_SHAPE1(1), IG_F32, IG_FILL_ABSENT, 0, 0, false, true }

static const ig_xent_attr plain, smooth = {.label_smoothing = 0.1f, .ignore_label = 2, .has_ignore = true},
                                 focal = {.focal_gamma = 2, .weight_per_row = true},
                                 both = {.label_smoothing = 0.2f, .focal_gamma = 1.5f};

static const ig_op_case xent_cases[] = {
    {.name = "plain", .n_in = 6, .in = {X(7, 5), Y(7, 5), NONE, NONE, NONE, NONE}, .attr = &plain},
    {.name = "all",
     .n_in = 6,
     .in = {X(13, 37), Y(13, 37), Y(13, 37), SHARE(13), SOME(13), POSITIVE(37)},
     .attr = &smooth},
    {.name = "focal", .n_in = 6, .in = {X(67, 3), Y(67, 3), NONE, NONE, NONE, POSITIVE(3)}, .attr = &focal},
    {.name = "both", .n_in = 6, .in = {X(5, 19), Y(5, 19), NONE, NONE, SHARE(5), POSITIVE(19)}, .attr = &both},
    {.name = "one_class", .n_in = 6, .in = {X(3, 1), Y(3, 1), NONE, NONE, NONE, NONE}, .attr = &plain},
    {.name = "imagenet",
     .n_in = 6,
     .in = {X(256, 1000), Y(256, 1000), NONE, NONE, NONE, NONE},
     .attr = &smooth,
     .bench = true},
    {.name = "vocabulary",
     .n_in = 6,
     .in = {X(640, 30522), Y(640, 30522), NONE, NONE, NONE, NONE},
     .attr = &plain,
     .bench = true},
};
static const ig_op_case xent_bwd_cases[] = {
    {.name = "plain", .n_in = 7, .in = {SEED, X(7, 5), Y(7, 5), NONE, NONE, NONE, NONE}, .attr = &plain},
    {.name = "all",
     .n_in = 7,
     .in = {SEED, X(13, 37), Y(13, 37), Y(13, 37), SHARE(13), SOME(13), POSITIVE(37)},
     .attr = &smooth},
    {.name = "focal", .n_in = 7, .in = {SEED, X(67, 3), Y(67, 3), NONE, NONE, NONE, POSITIVE(3)}, .attr = &focal},
    {.name = "both", .n_in = 7, .in = {SEED, X(5, 19), Y(5, 19), NONE, NONE, SHARE(5), POSITIVE(19)}, .attr = &both},
    {.name = "imagenet",
     .n_in = 7,
     .in = {SEED, X(256, 1000), Y(256, 1000), NONE, NONE, NONE, NONE},
     .attr = &smooth,
     .bench = true},
};
static const ig_op_case soft_cases[] = {
    {.name = "plain", .n_in = 3, .in = {X(7, 5), SIMPLEX(7, 5), NONE}},
    {.name = "weights", .n_in = 3, .in = {X(67, 37), SIMPLEX(67, 37), SHARE(67)}},
    {.name = "imagenet", .n_in = 3, .in = {X(256, 1000), SIMPLEX(256, 1000), NONE}, .bench = true},
};
static const ig_op_case soft_bwd_cases[] = {
    {.name = "plain", .n_in = 4, .in = {SEED, X(7, 5), SIMPLEX(7, 5), NONE}},
    {.name = "weights", .n_in = 4, .in = {SEED, X(67, 37), SIMPLEX(67, 37), SHARE(67)}},
};
static const ig_op_case softmax_cases[] = {
    {.name = "rank2", .n_in = 1, .in = {X(67, 37)}},
    {.name = "rank4", .n_in = 1, .in = {{IG_SHAPE4(2, 3, 5, 7), IG_F32, IG_FILL_NORMAL, 0, 0, false, false}}},
    {.name = "imagenet", .n_in = 1, .in = {X(256, 1000)}, .bench = true},
};
static const ig_op_case softmax_bwd_cases[] = {
    {.name = "rank2", .n_in = 2, .in = {X(67, 37), {IG_SHAPE2(67, 37), IG_F32, IG_FILL_SIMPLEX, 0, 0, false, true}}},
};
static const ig_op_case mean_cases[] = {
    {.name = "mean",
     .n_in = 2,
     .in = {{IG_SHAPE1(1), IG_F32, IG_FILL_NORMAL, 0, 0, false, false},
            {IG_SHAPE1(1), IG_F32, IG_FILL_POSITIVE, 0, 0, false, false}}},
};
static const ig_op_case mean_bwd_cases[] = {
    {.name = "mean", .n_in = 3, .in = {SEED, SEED, SEED}},
};

#define CASES(a) .cases = a, .n_cases = (int)(sizeof(a) / sizeof *(a))

static const ig_op softmax_xent = {
    .name = "softmax_xent",
    .summary = "sum = sum_n s sum_k lam [(1-e) cw[y] (1-p)^g (-log p_y) + e/C sum_c cw[c] (-log p_c)], and its weight",
    .min_in = 6,
    .max_in = 6,
    .n_out = 2,
    .optional_in = 0x3C,
    .attr_bytes = sizeof(ig_xent_attr),
    .infer = infer_xent,
    .grad = grad_xent,
    .keeps_in = 0x3F,
    .cost = cost_rows,
    CASES(xent_cases),
    .on_cpu = IG_CPU_F32,
    .impls = {[IG_DEVICE_CPU] = {"softmax_xent_cpu", "softmax_xent_ref"}, [IG_DEVICE_CUDA] = {"softmax_xent_cuda"}},
};
static const ig_op softmax_xent_bwd = {
    .name = "softmax_xent_bwd",
    .summary = "dlogits = seed * d sum / d logits, probabilities recomputed",
    .min_in = 7,
    .max_in = 7,
    .n_out = 1,
    .optional_in = 0x78,
    .attr_bytes = sizeof(ig_xent_attr),
    .infer = infer_xent_bwd,
    .grad = ig_no_grad,
    .in_place = {2},
    .cost = cost_rows,
    CASES(xent_bwd_cases),
    .on_cpu = IG_CPU_F32,
    .impls = {[IG_DEVICE_CPU] = {"softmax_xent_bwd_cpu", "softmax_xent_bwd_ref"},
              [IG_DEVICE_CUDA] = {"softmax_xent_bwd_cuda"}},
};
static const ig_op softmax_xent_soft = {
    .name = "softmax_xent_soft",
    .summary = "sum = -sum_n s sum_c t log p, weight = sum_n s",
    .min_in = 3,
    .max_in = 3,
    .n_out = 2,
    .optional_in = 4,
    .infer = infer_soft,
    .grad = grad_soft,
    .keeps_in = 7,
    .cost = cost_rows,
    CASES(soft_cases),
    .on_cpu = IG_CPU_F32,
    .impls = {[IG_DEVICE_CPU] = {"softmax_xent_soft_cpu", "softmax_xent_soft_ref"},
              [IG_DEVICE_CUDA] = {"softmax_xent_soft_cuda"}},
};
static const ig_op softmax_xent_soft_bwd = {
    .name = "softmax_xent_soft_bwd",
    .summary = "dlogits = seed s (p sum_c t - t)",
    .min_in = 4,
    .max_in = 4,
    .n_out = 1,
    .optional_in = 8,
    .infer = infer_soft_bwd,
    .grad = ig_no_grad,
    .in_place = {2},
    .cost = cost_rows,
    CASES(soft_bwd_cases),
    .on_cpu = IG_CPU_F32,
    .impls = {[IG_DEVICE_CPU] = {"softmax_xent_soft_bwd_cpu", "softmax_xent_soft_bwd_ref"},
              [IG_DEVICE_CUDA] = {"softmax_xent_soft_bwd_cuda"}},
};
static const ig_op softmax = {
    .name = "softmax",
    .summary = "y = exp(x - max) / sum exp(x - max) over the last dimension",
    .min_in = 1,
    .max_in = 1,
    .n_out = 1,
    .infer = infer_softmax,
    .grad = grad_softmax,
    .keeps_out = 1,
    .in_place = {1},
    .cost = cost_rows,
    CASES(softmax_cases),
    .on_cpu = IG_CPU_F32,
    .impls = {[IG_DEVICE_CPU] = {"softmax_cpu", "softmax_ref"}, [IG_DEVICE_CUDA] = {"softmax_cuda"}},
};
static const ig_op softmax_bwd = {
    .name = "softmax_bwd",
    .summary = "dx = y (dy - sum dy y) over the last dimension",
    .min_in = 2,
    .max_in = 2,
    .n_out = 1,
    .infer = infer_softmax_bwd,
    .grad = ig_no_grad,
    .in_place = {1},
    .cost = cost_rows,
    CASES(softmax_bwd_cases),
    .on_cpu = IG_CPU_F32,
    .impls = {[IG_DEVICE_CPU] = {"softmax_bwd_cpu", "softmax_bwd_ref"}, [IG_DEVICE_CUDA] = {"softmax_bwd_cuda"}},
};
static const ig_op loss_mean = {
    .name = "loss_mean",
    .summary = "mean = sum / weight, 0 where weight is 0",
    .min_in = 2,
    .max_in = 2,
    .n_out = 1,
    .infer = infer_mean,
    .grad = grad_mean,
    .keeps_in = 3,
    .cost = cost_scalar,
    CASES(mean_cases),
    .on_cpu = IG_CPU_F32,
    .impls = {[IG_DEVICE_CPU] = {"loss_mean_cpu", "loss_mean_ref"}, [IG_DEVICE_CUDA] = {"loss_mean_cuda"}},
};
static const ig_op loss_mean_bwd = {
    .name = "loss_mean_bwd",
    .summary = "dsum = dmean / weight, dweight = -dmean sum / weight^2, 0 where weight is 0",
    .min_in = 3,
    .max_in = 3,
    .n_out = 2,
    .infer = infer_mean,
    .grad = ig_no_grad,
    .cost = cost_scalar,
    CASES(mean_bwd_cases),
    .on_cpu = IG_CPU_F32,
    .impls = {[IG_DEVICE_CPU] = {"loss_mean_bwd_cpu", "loss_mean_bwd_ref"}, [IG_DEVICE_CUDA] = {"loss_mean_bwd_cuda"}},
};

IG_OPS(softmax_xent) = {&softmax_xent,
                        &softmax_xent_bwd,
                        &softmax_xent_soft,
                        &softmax_xent_soft_bwd,
                        &softmax,
                        &softmax_bwd,
                        &loss_mean,
                        &loss_mean_bwd,
                        0};

// ---- builders ----

ig_tensor *ig_loss_operand(ig_graph *g, const char *name, ig_tensor *x) {
  if (!x || x->dtype == IG_F32 || x->dtype == IG_F64)
    return x;
  char text[320];
  const ig_dtype f32 = IG_F32;
  snprintf(text, sizeof text, "%s/f32", name);
  ig_node *n = ig_graph_node(g, "reorder", text, 1, &x, &f32);
  return n ? n->out[0] : NULL;
}

ig_tensor *ig_loss_mean(ig_graph *g, const char *name, ig_tensor *sum, ig_tensor *weight) {
  if (!sum || !weight)
    return NULL;
  ig_node *n = ig_graph_node(g, "loss_mean", name, 2, (ig_tensor *[]){sum, weight}, NULL);
  return n ? n->out[0] : NULL;
}

ig_loss ig_loss_of(ig_graph *g, const char *name, ig_node *n) {
  if (!n)
    return (ig_loss){0};
  char text[320];
  snprintf(text, sizeof text, "%s/mean", name);
  ig_tensor *mean = ig_loss_mean(g, text, n->out[0], n->out[1]);
  return mean ? (ig_loss){n->out[0], n->out[1], mean} : (ig_loss){0};
}

ig_loss ig_softmax_xent(ig_graph *g, const char *name, ig_tensor *logits, ig_tensor *labels, ig_tensor *second_labels,
                        ig_tensor *lam, ig_tensor *sample_weight, ig_tensor *class_weight, const ig_xent_attr *attr) {
  if (!(logits = ig_loss_operand(g, name, logits)) || !labels)
    return (ig_loss){0};
  ig_tensor *in[6] = {logits, labels, second_labels, lam, sample_weight, class_weight};
  return ig_loss_of(g, name, ig_graph_node(g, "softmax_xent", name, 6, in, attr));
}

ig_loss ig_softmax_xent_soft(ig_graph *g, const char *name, ig_tensor *logits, ig_tensor *targets,
                             ig_tensor *sample_weight) {
  if (!(logits = ig_loss_operand(g, name, logits)) || !targets)
    return (ig_loss){0};
  ig_tensor *in[3] = {logits, targets, sample_weight};
  return ig_loss_of(g, name, ig_graph_node(g, "softmax_xent_soft", name, 3, in, NULL));
}

ig_loss ig_focal_loss(ig_graph *g, const char *name, ig_tensor *logits, ig_tensor *labels, ig_tensor *sample_weight,
                      ig_tensor *alpha, float gamma) {
  const ig_xent_attr attr = {.focal_gamma = gamma, .weight_per_row = true};
  return ig_softmax_xent(g, name, logits, labels, NULL, NULL, sample_weight, alpha, &attr);
}

ig_tensor *ig_softmax(ig_graph *g, const char *name, ig_tensor *x) {
  if (!(x = ig_loss_operand(g, name, x)))
    return NULL;
  ig_node *n = ig_graph_node(g, "softmax", name, 1, &x, NULL);
  return n ? n->out[0] : NULL;
}
