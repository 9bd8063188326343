// Rows and builders of what decides a training step.
#include "kernels/train_step/train_step.h"

#include "kernels/kernels.h"
#include "kernels/optim_util/fixed.h"
#include "kernels/optim_util/optim_util.h"

static ig_status check_f32(const ig_node *n, int i, int64_t count) {
  IG_TRY(ig_check_dtype(n, i, IG_F32));
  return ig_check_shape(n, i, IG_SHAPE1(count));
}
static ig_status infer_total(ig_graph *g, ig_node *n) {
  IG_TRY(check_f32(n, 0, IG_N_TOTALS));
  IG_TRY(check_f32(n, 1, 1));
  IG_TRY(check_f32(n, 2, 1));
  return ig_node_set_out(g, n, 0, IG_F32, IG_SHAPE1(1));
}
static ig_status infer_begin(ig_graph *g, ig_node *n) {
  IG_TRY(check_f32(n, 0, IG_N_HYPER));
  IG_TRY(check_f32(n, 1, IG_N_TOTALS));
  IG_TRY(check_f32(n, 2, IG_N_SCALER));
  return ig_node_set_out(g, n, 0, IG_F32, IG_SHAPE1(IG_N_HYPER));
}
static ig_status infer_end(ig_graph *g, ig_node *n) {
  IG_TRY(check_f32(n, 0, IG_N_SCALER));
  IG_TRY(check_f32(n, 1, IG_N_GSCALE));
  return ig_node_set_out(g, n, 0, IG_F32, IG_SHAPE1(1));
}
static ig_status infer_restore(ig_graph *g, ig_node *n) {
  IG_TRY(ig_check_rank(n, 0, 1));
  IG_TRY(check_f32(n, 0, n->in[0]->shape.d[0]));
  IG_TRY(check_f32(n, 1, n->in[0]->shape.d[0]));
  IG_TRY(check_f32(n, 2, IG_N_GSCALE));
  return ig_node_set_out(g, n, 0, IG_F32, IG_SHAPE1(1));
}

static void cost(const ig_node *n, ig_cost *c) { *c = (ig_cost){.flops = 1, .bytes = ig_cost_bytes(n)}; }

#define F32(n, kind, low, high) \
  { IG_SHAPE1(n), IG_F32, kind, low, high, true, true }
#define FIXED(n) F32(n, IG_FILL_UNIFORM, 0.5, 2)
static const double decay = 0.99;
static const ig_step_end_attr stays = {1, 1, 1e30, 0, 1e30}, moves = {2, 0.5, 2, 0.75, 3};
static const ig_op_case total_cases[] = {{.name = "sum", .n_in = 3, .in = {FIXED(2), FIXED(1), FIXED(1)}}};
static const ig_op_case begin_cases[] = {
    {.name = "counts", .n_in = 3, .in = {FIXED(8), FIXED(2), FIXED(4)}, .attr = &decay},
};
static const ig_op_case end_cases[] = {
    {.name = "counts", .n_in = 2, .in = {FIXED(4), F32(2, IG_FILL_UNIFORM, 0, 0.5)}, .attr = &stays},
    {.name = "grows", .n_in = 2, .in = {FIXED(4), F32(2, IG_FILL_UNIFORM, 0, 0.5)}, .attr = &moves},
    {.name = "skips", .n_in = 2, .in = {FIXED(4), F32(2, IG_FILL_UNIFORM, 1, 1)}, .attr = &moves},
};
static const ig_op_case restore_cases[] = {
    {.name = "keeps", .n_in = 3, .in = {FIXED(1031), FIXED(1031), F32(2, IG_FILL_UNIFORM, 0, 0.5)}},
    {.name = "restores", .n_in = 3, .in = {FIXED(1031), FIXED(1031), F32(2, IG_FILL_UNIFORM, 1, 1)}},
};

#define CASES(list) .cases = list, .n_cases = (int)(sizeof list / sizeof *list)
#define ROW(op, text, inputs, mutated, bytes)                                                         \
  .name = op, .summary = text, .min_in = inputs, .max_in = inputs, .n_out = 1, .mutates_in = mutated, \
  .attr_bytes = bytes, .grad = ig_zero_grad, .cost = cost,                                            \
  .impls = {[IG_DEVICE_CPU] = {op "_cpu", op "_ref"}, [IG_DEVICE_CUDA] = {op "_cuda"}}
static const ig_op total = {ROW("step_total", "totals += {loss, weight}, in place", 3, 1, 0), .infer = infer_total,
                            CASES(total_cases)};
static const ig_op begin = {
    ROW("step_begin", "hyper of this step's update: step, 1 / (weight scale), average's rate", 3, 0, sizeof(double)),
    .infer = infer_begin, CASES(begin_cases)};
static const ig_op end = {
    ROW("step_end", "counts the update or its skip and moves the loss scale, in place", 2, 1, sizeof(ig_step_end_attr)),
    .infer = infer_end, CASES(end_cases)};
static const ig_op restore = {ROW("step_restore", "x = before where the step is skipped, in place", 3, 1, 0),
                              .infer = infer_restore, CASES(restore_cases)};
IG_OPS(train_step) = {&total, &begin, &end, &restore, 0};

static ig_tensor *build(ig_graph *g, const char *op, const char *name, int n, ig_tensor *const *in, const void *attr) {
  for (int i = 0; i < n; i++)
    if (!in[i])
      return NULL;
  ig_node *node = ig_graph_node(g, op, name, n, in, attr);
  return node ? node->out[0] : NULL;
}
ig_tensor *ig_step_total(ig_graph *g, const char *name, ig_tensor *totals, ig_tensor *loss_sum,
                         ig_tensor *loss_weight) {
  return build(g, "step_total", name, 3, (ig_tensor *[]){totals, loss_sum, loss_weight}, NULL);
}
ig_tensor *ig_step_begin(ig_graph *g, const char *name, ig_tensor *host_hyper, ig_tensor *totals, ig_tensor *scaler,
                         double ema_decay) {
  return build(g, "step_begin", name, 3, (ig_tensor *[]){host_hyper, totals, scaler}, &ema_decay);
}
ig_tensor *ig_step_end(ig_graph *g, const char *name, ig_tensor *scaler, ig_tensor *gscale,
                       const ig_step_end_attr *attr) {
  return build(g, "step_end", name, 2, (ig_tensor *[]){scaler, gscale}, attr);
}
ig_tensor *ig_step_restore(ig_graph *g, const char *name, ig_tensor *x, ig_tensor *before, ig_tensor *gscale) {
  return build(g, "step_restore", name, 3, (ig_tensor *[]){x, before, gscale}, NULL);
}
