// Optimizers by name: a table of kinds, each with its defaults, its moments and the function that adds its row.
#include "runtime/train/optimizer.h"

#include <stdio.h>
#include <string.h>

#include "kernels/adam/adam.h"
#include "kernels/lamb/lamb.h"
#include "kernels/lars/lars.h"
#include "kernels/optim_util/optim_util.h"
#include "kernels/reduce/reduce.h"
#include "kernels/rmsprop/rmsprop.h"
#include "kernels/sgd/sgd.h"
#include "kernels/train_step/train_step.h"

typedef struct kind {
  const char *name;
  double momentum, eps, max_grad_norm;  // defaults
  int (*moments)(const ig_optimizer_options *o);
  ig_tensor *(*build)(ig_graph *g, const ig_optimizer_options *o, ig_update_operands *operands);
} kind;

static int moments_momentum(const ig_optimizer_options *o) { return o->momentum > 0; }
static int moments_two(const ig_optimizer_options *o) { return 2; }
static int moments_rmsprop(const ig_optimizer_options *o) { return 1 + o->centered + (o->momentum > 0); }

static ig_tensor *build_sgd(ig_graph *g, const ig_optimizer_options *o, ig_update_operands *operands) {
  return ig_sgd(g, "sgd", operands, &(ig_sgd_attr){o->momentum, o->dampening, o->nesterov});
}

static ig_tensor *build_adam(ig_graph *g, const ig_optimizer_options *o, ig_update_operands *operands) {
  return ig_adam(g, o->name, operands, &(ig_adam_attr){o->beta1, o->beta2, o->eps, !strcmp(o->name, "adamw")});
}

static ig_tensor *build_rmsprop(ig_graph *g, const ig_optimizer_options *o, ig_update_operands *operands) {
  // The buffers that are needed take the first spaces; the row wants each in its place.
  ig_tensor *rest = o->centered ? operands->moment[2] : operands->moment[1];
  operands->moment[1] = o->centered ? operands->moment[1] : NULL;
  operands->moment[2] = o->momentum > 0 ? rest : NULL;
  return ig_rmsprop(g, "rmsprop", operands, &(ig_rmsprop_attr){o->alpha, o->eps, o->momentum, o->centered});
}

static ig_tensor *build_lars(ig_graph *g, const ig_optimizer_options *o, ig_update_operands *operands) {
  return ig_lars(g, "lars", operands, &(ig_lars_attr){o->momentum, o->dampening, o->trust_coeff, o->eps, o->nesterov});
}

static ig_tensor *build_lamb(ig_graph *g, const ig_optimizer_options *o, ig_update_operands *operands) {
  return ig_lamb(g, "lamb", operands, &(ig_lamb_attr){o->beta1, o->beta2, o->eps});
}

static const kind kinds[] = {
    {"sgd", 0, 1e-8, 0, moments_momentum, build_sgd},     {"adam", 0, 1e-8, 0, moments_two, build_adam},
    {"adamw", 0, 1e-8, 0, moments_two, build_adam},       {"rmsprop", 0, 1e-8, 0, moments_rmsprop, build_rmsprop},
    {"lars", 0.9, 1e-8, 0, moments_momentum, build_lars}, {"lamb", 0, 1e-6, 1, moments_two, build_lamb},
};
#define N_KINDS (sizeof kinds / sizeof *kinds)

static const kind *find_kind(const char *name) {
  for (size_t i = 0; i < N_KINDS; i++)
    if (name && !strcmp(kinds[i].name, name))
      return &kinds[i];
  return NULL;
}

static ig_status fail_kind(const char *name) {
  return ig_fail(IG_ERR_USAGE, "optimizer is '%s', expected one of sgd, adam, adamw, rmsprop, lars, lamb",
                 name ? name : "");
}

ig_status ig_optimizer_defaults(const char *name, ig_optimizer_options *out) {
  const kind *k = find_kind(name);
  memset(out, 0, sizeof *out);
  if (!k)
    return fail_kind(name);
  *out = (ig_optimizer_options){.size = sizeof *out,
                                .name = k->name,
                                .momentum = k->momentum,
                                .beta1 = 0.9,
                                .beta2 = 0.999,
                                .eps = k->eps,
                                .alpha = 0.99,
                                .clip_eps = 1e-6,
                                .trust_coeff = 0.001,
                                .max_grad_norm = k->max_grad_norm,
                                .gradients = IG_SPACE_GRAD};
  return IG_OK;
}

static ig_status check_range(const char *what, double value, double low, double below) {
  if (value >= low && value < below)
    return IG_OK;
  return ig_fail(IG_ERR_USAGE, "%s is %g, expected at least %g and below %g", what, value, low, below);
}

ig_status ig_optimizer_check(const ig_optimizer_options *o) {
  const double huge = 1e30;
  if (o->size != sizeof *o)
    return ig_fail(IG_ERR_INTERNAL, "ig_optimizer_options: size %zu, expected %zu", o->size, sizeof *o);
  const kind *k = find_kind(o->name);
  if (!k)
    return fail_kind(o->name);
  IG_TRY(check_range("momentum", o->momentum, 0, 1));
  IG_TRY(check_range("dampening", o->dampening, 0, 1));
  IG_TRY(check_range("the first of betas", o->beta1, 0, 1));
  IG_TRY(check_range("the second of betas", o->beta2, 0, 1));
  IG_TRY(check_range("alpha", o->alpha, 0, 1));
  IG_TRY(check_range("eps", o->eps, 1e-30, huge));
  IG_TRY(check_range("weight_decay", o->weight_decay, 0, huge));
  IG_TRY(check_range("l1", o->l1, 0, huge));
  IG_TRY(check_range("clip", o->clip, 0, huge));
  IG_TRY(check_range("clip_eps", o->clip_eps, 0, huge));
  IG_TRY(check_range("trust_coeff", o->trust_coeff, 1e-30, huge));
  IG_TRY(check_range("max_grad_norm", o->max_grad_norm, 0, huge));
  bool may = k->moments == moments_momentum;
  if (o->nesterov && (!may || o->momentum == 0 || o->dampening != 0))
    return ig_fail(IG_ERR_USAGE, "nesterov=1 needs optimizer sgd or lars with momentum above 0 (found %s with %g)",
                   o->name, o->momentum);
  if (o->centered && k->moments != moments_rmsprop)
    return ig_fail(IG_ERR_USAGE, "centered=1 needs optimizer rmsprop, found %s", o->name);
  return IG_OK;
}

int ig_optimizer_moments(const ig_optimizer_options *o) {
  const kind *k = find_kind(o->name);
  return k ? k->moments(o) : 0;
}

static void build_ema(ig_graph *g, const char *name, ig_space average, ig_space of, const ig_update_operands *u) {
  ig_ema(g, name, ig_graph_flat(g, average), ig_graph_flat(g, of), u->hyper, u->gscale);
}

static void build_nodes(ig_graph *g, const ig_optimizer_options *o, const kind *k, ig_optimizer_io *io) {
  const ig_params *params = g->options.params;
  const int64_t segments = ig_optimizer_segments(params);
  io->hyper = ig_graph_input(g, "update/hyper", IG_F32, IG_SHAPE1(IG_N_HYPER));
  io->seg_start = ig_graph_input(g, "update/seg_start", IG_I64, IG_SHAPE1(segments + 1));
  io->seg_attr = ig_graph_input(g, "update/seg_attr", IG_F32, IG_SHAPE2(segments, IG_N_SEG));
  ig_tensor *hyper = io->hyper;
  if (o->steps) {
    io->totals = ig_graph_input(g, "update/totals", IG_F32, IG_SHAPE1(IG_N_TOTALS));
    io->scaler = ig_graph_input(g, "update/scaler", IG_F32, IG_SHAPE1(IG_N_SCALER));
    hyper = ig_step_begin(g, "step_begin", io->hyper, io->totals, io->scaler, o->ema_decay);
  }
  ig_update_operands u = {.weights = ig_graph_flat(g, IG_SPACE_TRAINABLE),
                          .gradients = ig_graph_flat(g, o->gradients),
                          .hyper = hyper,
                          .seg_start = io->seg_start,
                          .seg_attr = io->seg_attr};
  const ig_grad_scale_attr scale = {o->clip, o->clip_eps, o->max_grad_norm};
  ig_grad_scale(g, "grad_scale", ig_sum_squares(g, "grad_norm", u.gradients), hyper, &scale, &u.gscale, &io->norm);
  io->gscale = u.gscale;
  for (int i = 0; i < k->moments(o); i++)
    u.moment[i] = ig_graph_flat(g, (ig_space)(IG_SPACE_MOMENT0 + i));
  u.w16 = o->w16 ? ig_graph_flat(g, IG_SPACE_TRAINABLE16) : NULL;
  k->build(g, o, &u);
  if (o->ema) {
    build_ema(g, "ema", IG_SPACE_EMA, IG_SPACE_TRAINABLE, &u);
    if (params->count[IG_PARAM_STATE] > 0)
      build_ema(g, "ema_state", IG_SPACE_EMA_STATE, IG_SPACE_STATE, &u);
  }
  if (o->steps) {
    // The scale halves where fp16 overflowed and doubles after 2000 good updates; without it, it stays 1.
    const ig_step_end_attr moves = {2, 0.5, 2000, 1, 16777216}, stays = {1, 1, 1e30, 0, 1e30};
    if (params->count[IG_PARAM_STATE] > 0) {
      io->state_before = ig_graph_input(g, "update/state_before", IG_F32, IG_SHAPE1(params->count[IG_PARAM_STATE]));
      ig_step_restore(g, "step_restore", ig_graph_flat(g, IG_SPACE_STATE), io->state_before, u.gscale);
    }
    ig_step_end(g, "step_end", io->scaler, u.gscale, o->loss_scale ? &moves : &stays);
  }
  ig_graph_output(g, io->norm, "update/norm");
  ig_graph_output(g, io->gscale, "update/gscale");
}

ig_status ig_optimizer_build_update(ig_graph *g, const ig_optimizer_options *o, ig_optimizer_io *io) {
  char scope[sizeof g->prefix];
  memset(io, 0, sizeof *io);
  IG_TRY(ig_graph_status(g));
  IG_TRY(ig_optimizer_check(o));
  if (ig_optimizer_segments(g->options.params) == 0)
    return ig_fail(IG_ERR_USAGE, "nothing to train: every parameter is frozen");
  const ig_phase phase = g->phase;
  memcpy(scope, g->prefix, sizeof scope);
  g->phase = IG_PHASE_UPDATE;
  ig_graph_scope(g, "update/");
  build_nodes(g, o, find_kind(o->name), io);
  memcpy(g->prefix, scope, sizeof scope);
  g->phase = phase;
  return ig_graph_status(g);
}

int64_t ig_optimizer_segments(const ig_params *params) {
  int64_t n = 0;
  for (size_t i = 0; i < params->n; i++)
    n += params->items[i]->kind == IG_PARAM_TRAINABLE;
  return n;
}

ig_status ig_optimizer_fill_segments(const ig_params *params, const ig_optimizer_options *o, int64_t *start,
                                     float *attr) {
  int64_t s = 0, end = 0;
  if (!params->laid_out)
    return ig_fail(IG_ERR_INTERNAL, "segment table before the offset table was laid out");
  for (size_t i = params->n; i-- > 0;) {  // the flat buffer holds them in reverse order of first use
    const ig_param *p = params->items[i];
    if (p->kind != IG_PARAM_TRAINABLE)
      continue;
    if (p->offset < end || (s == 0 && p->offset != 0))
      return ig_fail(IG_ERR_INTERNAL, "parameter %s at offset %lld is out of order", p->name, (long long)p->offset);
    float *a = attr + s * IG_N_SEG;
    const double decay = p->decay ? o->weight_decay : 0;
    start[s++] = p->offset;
    end = p->offset + ig_shape_count(&p->shape);
    a[IG_SEG_LR_SCALE] = p->lr_scale;
    a[IG_SEG_WEIGHT_DECAY] = (float)decay;
    a[IG_SEG_ADAPT] = decay != 0 || o->always_adapt;
    a[IG_SEG_L1] = p->decay ? (float)o->l1 : 0;
  }
  start[s] = params->count[IG_PARAM_TRAINABLE];
  return IG_OK;
}

void ig_optimizer_fill_hyper(double lr, int64_t step, double grad_multiplier, double ema_decay, float hyper[8]) {
  memset(hyper, 0, IG_N_HYPER * sizeof *hyper);
  hyper[IG_HYPER_LR] = (float)lr;
  hyper[IG_HYPER_STEP] = (float)step;
  hyper[IG_HYPER_GRAD_MULTIPLIER] = (float)grad_multiplier;
  hyper[IG_HYPER_EMA_RATE] = (float)(1 - ema_decay);
}
