// Rows grad_scale and ema, and the shape rule that all optimizer rows share.
#include "kernels/optim_util/optim_util.h"

#include "kernels/kernels.h"
#include "kernels/optim_util/fixed.h"

// Beside fp64 weights (the oracle of tests) also fp64.
static ig_status check_w16(const ig_node *n, int i) {
  const ig_dtype type = n->in[i]->dtype;
  if (type != IG_BF16 && type != IG_F16 && (type != IG_F64 || n->in[0]->dtype != IG_F64))
    return ig_fail(IG_ERR_MISMATCH, "operand %d (%s) is %s, expected bf16 or f16", i, n->in[i]->name,
                   ig_dtype_name(type));
  return ig_check_shape(n, i, n->in[0]->shape);
}

ig_status ig_update_infer(ig_graph *g, ig_node *n) {
  IG_TRY(ig_check_rank(n, 0, 1));
  for (int i = 0; i < n->n_in; i++) {
    if (!n->in[i] || (i >= 2 && i <= 5))
      continue;
    if (i == ig_update_w16(n->op)) {
      IG_TRY(check_w16(n, i));
      continue;
    }
    IG_TRY(ig_check_dtype(n, i, n->in[0]->dtype));
    IG_TRY(ig_check_shape(n, i, n->in[0]->shape));
  }
  IG_TRY(ig_check_dtype(n, 2, IG_F32));
  IG_TRY(ig_check_shape(n, 2, IG_SHAPE1(IG_N_HYPER)));
  IG_TRY(ig_check_dtype(n, 3, IG_F32));
  IG_TRY(ig_check_shape(n, 3, IG_SHAPE1(IG_N_GSCALE)));
  IG_TRY(ig_check_dtype(n, 4, IG_I64));
  IG_TRY(ig_check_dtype(n, 5, IG_F32));
  IG_TRY(ig_check_rank(n, 4, 1));
  int64_t segments = n->in[4]->shape.d[0] - 1;
  if (segments < 1)
    return ig_fail(IG_ERR_MISMATCH, "the segment table is empty: there is nothing to train");
  IG_TRY(ig_check_shape(n, 5, IG_SHAPE2(segments, IG_N_SEG)));
  return ig_node_set_out(g, n, 0, IG_F32, IG_SHAPE1(1));
}

void ig_update_cost(const ig_node *n, ig_cost *cost) {
  double count = (double)ig_shape_count(&n->in[0]->shape);
  *cost = (ig_cost){.flops = 8 * count, .bytes = ig_cost_bytes(n)};
  for (int i = 0; i < n->n_in; i++)  // what is mutated is written too, w16 only written
    if (n->in[i] && (n->op->mutates_in >> i & 1) && !(i > 5 && i == ig_update_w16(n->op)))
      cost->bytes += count * (double)ig_dtype_bytes(n->in[i]->dtype);
}

ig_tensor *ig_update_node(ig_graph *g, const char *op, const char *name, const ig_update_operands *o, int n_moments,
                          const void *attr) {
  ig_tensor *in[10] = {o->weights,  o->gradients, o->hyper,     o->gscale,   o->seg_start,
                       o->seg_attr, o->moment[0], o->moment[1], o->moment[2]};
  for (int i = 0; i < 6; i++)
    if (!in[i])
      return NULL;
  in[6 + n_moments] = o->w16;
  ig_node *n = ig_graph_node(g, op, name, 6 + n_moments + (o->w16 != NULL), in, attr);
  return n ? n->out[0] : NULL;
}

static ig_status infer_scale(ig_graph *g, ig_node *n) {
  const ig_grad_scale_attr *a = n->attr;
  if (!(a->clip >= 0) || !(a->clip_eps >= 0) || !(a->max_norm >= 0))
    return ig_fail(IG_ERR_USAGE, "clip is %g, its eps %g and max_grad_norm %g, expected 0 (off) or more", a->clip,
                   a->clip_eps, a->max_norm);
  IG_TRY(ig_check_shape(n, 0, IG_SHAPE1(1)));
  IG_TRY(ig_check_dtype(n, 1, IG_F32));
  IG_TRY(ig_check_shape(n, 1, IG_SHAPE1(IG_N_HYPER)));
  IG_TRY(ig_node_set_out(g, n, 0, IG_F32, IG_SHAPE1(IG_N_GSCALE)));
  return ig_node_set_out(g, n, 1, IG_F32, IG_SHAPE1(1));
}

static ig_status infer_ema(ig_graph *g, ig_node *n) {
  IG_TRY(ig_check_dtype(n, 1, n->in[0]->dtype));
  IG_TRY(ig_check_shape(n, 1, n->in[0]->shape));
  IG_TRY(ig_check_dtype(n, 2, IG_F32));
  IG_TRY(ig_check_shape(n, 2, IG_SHAPE1(IG_N_HYPER)));
  if (n->in[3]) {
    IG_TRY(ig_check_dtype(n, 3, IG_F32));
    IG_TRY(ig_check_shape(n, 3, IG_SHAPE1(IG_N_GSCALE)));
  }
  return ig_node_set_out(g, n, 0, IG_F32, IG_SHAPE1(1));
}

static void cost_scale(const ig_node *n, ig_cost *cost) { *cost = (ig_cost){.flops = 8, .bytes = ig_cost_bytes(n)}; }

#define SUM \
  { IG_SHAPE1(1), IG_F64, IG_FILL_UNIFORM, 1, 100, true, true }
#define HYPER \
  { IG_SHAPE1(IG_N_HYPER), IG_F32, IG_FILL_UNIFORM, 0.1, 1, true, true }
static const ig_grad_scale_attr scale_plain = {0, 0, 0}, scale_clip = {0.5, 1e-6, 0}, scale_both = {0.5, 0, 0.1};
static const ig_op_case scale_cases[] = {
    {.name = "plain", .n_in = 2, .in = {SUM, HYPER}, .attr = &scale_plain},
    {.name = "clip", .n_in = 2, .in = {SUM, HYPER}, .attr = &scale_clip},
    {.name = "both", .n_in = 2, .in = {SUM, HYPER}, .attr = &scale_both},
};

#define FLAT(n) \
  { IG_SHAPE1(n), IG_F32, IG_FILL_NORMAL, 0, 0, false, true }
#define GSCALE \
  { IG_SHAPE1(IG_N_GSCALE), IG_F32, IG_FILL_UNIFORM, 0, 0.9, true, true }
#define NONE \
  { IG_SHAPE1(1), IG_F32, IG_FILL_ABSENT, 0, 0, false, true }
static const ig_op_case ema_cases[] = {
    {.name = "odd", .n_in = 4, .in = {FLAT(37), FLAT(37), HYPER, NONE}},
    {.name = "chunks", .n_in = 4, .in = {FLAT(40001), FLAT(40001), HYPER, GSCALE}},
    {.name = "resnet50", .n_in = 4, .in = {FLAT(25557032), FLAT(25557032), HYPER, GSCALE}, .bench = true},
};

static const ig_op grad_scale = {
    .name = "grad_scale",
    .summary = "gscale = {multiplier min(1, clip / (norm + eps)) / max(1, norm / max_norm), not finite}, and the norm",
    .min_in = 2,
    .max_in = 2,
    .n_out = 2,
    .attr_bytes = sizeof(ig_grad_scale_attr),
    .infer = infer_scale,
    .grad = ig_zero_grad,
    .cost = cost_scale,
    .cases = scale_cases,
    .n_cases = (int)(sizeof scale_cases / sizeof *scale_cases),
    .impls = {[IG_DEVICE_CPU] = {"grad_scale_cpu", "grad_scale_ref"}, [IG_DEVICE_CUDA] = {"grad_scale_cuda"}},
};
static const ig_op ema = {
    .name = "ema",
    .summary = "e += rate (w - e), in place",
    .min_in = 4,
    .max_in = 4,
    .n_out = 1,
    .optional_in = 8,
    .mutates_in = 1,
    .infer = infer_ema,
    .grad = ig_zero_grad,
    .cost = ig_update_cost,
    .cases = ema_cases,
    .n_cases = (int)(sizeof ema_cases / sizeof *ema_cases),
    .on_cpu = IG_CPU_F32,
    .impls = {[IG_DEVICE_CPU] = {"ema_cpu", "ema_ref"}, [IG_DEVICE_CUDA] = {"ema_cuda"}},
};

IG_OPS(optim_util) = {&grad_scale, &ema, 0};

void ig_grad_scale(ig_graph *g, const char *name, ig_tensor *sum_squares, ig_tensor *hyper,
                   const ig_grad_scale_attr *attr, ig_tensor **gscale, ig_tensor **norm) {
  *gscale = *norm = NULL;
  if (!sum_squares || !hyper)
    return;
  ig_node *n = ig_graph_node(g, "grad_scale", name, 2, (ig_tensor *[]){sum_squares, hyper}, attr);
  if (n) {
    *gscale = n->out[0];
    *norm = n->out[1];
  }
}

ig_tensor *ig_ema(ig_graph *g, const char *name, ig_tensor *ema_tensor, ig_tensor *weights, ig_tensor *hyper,
                  ig_tensor *gscale) {
  if (!ema_tensor || !weights || !hyper)
    return NULL;
  ig_node *n = ig_graph_node(g, "ema", name, 4, (ig_tensor *[]){ema_tensor, weights, hyper, gscale}, NULL);
  return n ? n->out[0] : NULL;
}
