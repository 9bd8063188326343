// Graphs, plans and buffers of a training run, and what they take (ig_train_plan).
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/batchnorm/batchnorm.h"
#include "kernels/dropout/dropout.h"
#include "kernels/eltwise/eltwise.h"
#include "kernels/kernels.h"
#include "kernels/linear_xent/linear_xent.h"
#include "kernels/picture/picture.h"
#include "runtime/base/cpu.h"
#include "runtime/base/text.h"
#include "runtime/device/peak.h"
#include "runtime/train/trainer_internal.h"

// Copies between layouts (reorder) touch little of it.
static bool uses_onednn(const ig_plan *p) {
  for (int i = 0; i < ig_plan_n_rows(p); i++) {
    const ig_plan_row row = ig_plan_get_row(p, i);
    if (strstr(row.impl, "_dnnl") && strcmp(row.node->op->name, "reorder"))
      return true;
  }
  return false;
}

// What a run takes beyond what is counted: code of libraries that it touches, threads, log and report: 11 MB. oneDNN's
// code, touched and made, where a step calls it at all, took 3 to 10 MB more, most in fp32, where more is its work.
static uint64_t library_bytes(const ig_trainer *t) {
  bool onednn = false;
  for (int i = 0; i < t->n_rungs; i++)
    onednn |= uses_onednn(t->rungs[i].plan);
  return (uint64_t)(!onednn ? 11 : t->session->compute == IG_F32 ? 21 : 18) << 20;
}

static ig_status new_graph(ig_trainer *t, ig_graph **out) {
  return ig_graph_create(&(ig_graph_options){.size = sizeof(ig_graph_options),
                                             .ops = ig_op_lists,
                                             .params = &t->session->params,
                                             .mode = IG_MODE_TRAIN,
                                             .compute_dtype = t->session->compute},
                         out);
}

static ig_status new_plan(ig_trainer *t, ig_graph *g, ig_plan **out) {
  const ig_session_options *o = &t->session->options;
  return ig_plan_create(g,
                        &(ig_plan_options){.size = sizeof(ig_plan_options),
                                           .device = t->session->device,
                                           .tuner = t->session->tuner,
                                           .deterministic = o->deterministic,
                                           .shards = o->deterministic ? (o->shards ? o->shards : 8) : 0,
                                           .force = o->force,
                                           .stable_spaces = 1u << IG_SPACE_FROZEN},
                        out);
}

static size_t flat_bytes(const ig_trainer *t) {
  return (size_t)(t->session->params.count[IG_PARAM_TRAINABLE] + 1) * sizeof(float);
}

// A picture model's loss; inputs in r->io.
static ig_loss build_pictures(ig_trainer *t, ig_rung *r, const ig_model_config *config) {
  const ig_train_options *o = t->o;
  const int64_t n = t->micro, side = o->image_size;
  ig_graph *g = r->graph;
  ig_picture_attr attr = {0};
  memcpy(attr.mean, o->session.model->mean, sizeof attr.mean);
  memcpy(attr.std, o->session.model->std, sizeof attr.std);
  r->io.pictures = ig_graph_input(g, "pictures", IG_U8, IG_SHAPE4(n, side, side, 3));
  r->io.aug = ig_graph_input(g, "aug", IG_F32, IG_SHAPE2(n, IG_N_AUG));
  r->io.partner = ig_graph_input(g, "partner", IG_I32, IG_SHAPE1(n));
  ig_tensor *x = ig_picture(g, "normalise", r->io.pictures, r->io.aug, r->io.partner, &attr);
  return ig_trainer_add_loss(t, r, o->session.model->build(o->session.model, g, config, x, r->io.weights));
}

// mean over the masked words + mean over the pairs, as sums: `seeds` are the factors that make the gradient of the
// first loss's weight times that of both means.
static ig_loss add_pretrain_loss(ig_trainer *t, ig_rung *r, const ig_text_outputs *out, ig_loss *pair,
                                 ig_tensor **pair_seed) {
  ig_graph *g = r->graph;
  const int64_t n = r->io.text.masked->shape.d[0];
  r->io.masked_labels = ig_graph_input(g, "masked_labels", IG_I32, IG_SHAPE1(n));
  r->io.masked_weights = ig_graph_input(g, "masked_weights", IG_F32, IG_SHAPE1(n));
  ig_loss loss = ig_linear_xent(g, "loss", out->masked_hidden, out->decoder, out->decoder_bias, r->io.masked_labels,
                                r->io.masked_weights);
  *pair = (ig_loss){0};
  if (!out->nsp)
    return loss;
  r->io.labels = ig_graph_input(g, "labels", IG_I32, IG_SHAPE1(t->micro));
  *pair = ig_softmax_xent(g, "pair_loss", out->nsp, r->io.labels, NULL, NULL, r->io.weights, NULL, NULL);
  *pair_seed = ig_loss_mean(g, "pair_seed", loss.weight, pair->weight);
  return loss;
}

static ig_text_outputs build_texts(ig_trainer *t, ig_rung *r, const ig_model_config *config) {
  const ig_model *m = t->o->session.model;
  r->io.text = ig_session_text_inputs(r->graph, r->capacity, t->micro, t->head.task == IG_TASK_MLM ? r->masked : 0);
  if (config->step_state)
    r->io.text.row_keys = ig_graph_input(r->graph, "row_keys", IG_U64, IG_SHAPE1(r->capacity));
  return m->build_text(m, r->graph, config, &r->io.text);
}

// recompute=auto: the share of the memory that must be saved. Of texts it is less: what is made again there costs 1 %
// of a step in fp32 and 3 to 4 % in bf16 (docs/performance.md), of pictures 2 to 6 %.
static double least_saving(const ig_model *m) { return m->build_text ? 0.08 : 0.2; }
// ... and what is enough: of pictures, what brings ResNet-50 just below 0.6 of PyTorch's memory (in 16 bits the copies
// of weights come on top). The rest costs time.
static double enough_saving(const ig_model *m) { return m->build_text ? 1 : 0.11; }

static ig_status build_step(ig_trainer *t, ig_rung *r, ig_recompute recompute) {
  const ig_train_options *o = t->o;
  ig_graph *g;
  ig_loss loss, pair = {0};
  ig_tensor *seeds[2] = {NULL, NULL};
  IG_TRY(new_graph(t, &r->graph));
  g = r->graph;
  ig_model_config config = t->session->config;
  r->io.weights = ig_graph_input(g, "weights", IG_F32, IG_SHAPE1(t->micro));
  if (config.dropout > 0)
    config.step_state = r->io.step_state = ig_graph_input(g, "step_state", IG_U64, IG_SHAPE1(IG_N_STEP_STATE));
  if (!o->session.model->build_text) {
    loss = build_pictures(t, r, &config);
  } else {
    const ig_text_outputs out = build_texts(t, r, &config);
    loss = t->head.task == IG_TASK_MLM ? add_pretrain_loss(t, r, &out, &pair, &seeds[1])
                                       : ig_trainer_add_loss(t, r, out.logits);
  }
  IG_TRY(ig_graph_status(g));
  r->io.totals = ig_graph_input(g, "totals", IG_F32, IG_SHAPE1(IG_N_TOTALS));
  ig_tensor *sum = loss.sum;
  if (pair.sum)
    sum = ig_add2(g, "sum_of_losses", loss.sum, ig_mul(g, "pair_share", pair.sum, seeds[1]));
  ig_step_total(g, "step_total", r->io.totals, sum, loss.weight);
  // The gradient of the sum, times the loss scale; the update multiplies by 1 / (scale and weight of all
  // micro-batches).
  if (t->session->compute == IG_F16) {
    seeds[0] = r->io.scale = ig_graph_input(g, "loss_scale", loss.sum->dtype, loss.sum->shape);
    seeds[1] = pair.sum ? ig_mul(g, "pair_scale", seeds[1], seeds[0]) : NULL;
  }
  IG_TRY(ig_batchnorm_add_masks(g, t->session->device));
  IG_TRY(ig_graph_differentiate(g, pair.sum ? 2 : 1, (ig_tensor *[]){loss.sum, pair.sum}, seeds, 0, NULL, NULL));
  int cloned = 0;
  double flat = (double)flat_bytes(t) * (2 + ig_optimizer_moments(&o->optimizer));  // weights, gradients, moments
  if (recompute != IG_RECOMPUTE_OFF)
    IG_TRY(recompute == IG_RECOMPUTE_AUTO
               ? ig_graph_recompute(g, least_saving(o->session.model), enough_saving(o->session.model), flat, &cloned)
               : ig_graph_recompute(g, 0, 1, 0, &cloned));
  if (ig_session_wants_copies(t->session))  // what is computed again stays what it was tuned to be with casts
    ig_graph_read_copies(g);
  return new_plan(t, g, &r->plan);
}

// accumulated += gradients, after each micro-batch.
static ig_status build_sum(ig_trainer *t) {
  if (t->o->accumulate <= 1)
    return IG_OK;
  IG_TRY(new_graph(t, &t->sum_graph));
  ig_axpy(t->sum_graph, "accumulate", ig_graph_flat(t->sum_graph, IG_SPACE_ACCUM),
          ig_graph_flat(t->sum_graph, IG_SPACE_GRAD), 1);
  IG_TRY(ig_graph_status(t->sum_graph));
  return new_plan(t, t->sum_graph, &t->sum_plan);
}

static ig_status build_update(ig_trainer *t) {
  ig_optimizer_options o = t->o->optimizer;
  o.ema = t->o->ema > 0;
  o.ema_decay = t->o->ema;
  o.steps = true;
  o.loss_scale = t->session->compute == IG_F16 && t->o->loss_scale <= 0;
  o.w16 = ig_session_wants_copies(t->session);
  o.gradients = t->o->accumulate > 1 ? IG_SPACE_ACCUM : IG_SPACE_GRAD;
  t->n_moments = ig_optimizer_moments(&o);
  IG_TRY(new_graph(t, &t->update_graph));
  IG_TRY(ig_optimizer_build_update(t->update_graph, &o, &t->opt_io));
  IG_TRY(new_plan(t, t->update_graph, &t->update_plan));
  ig_device *dev = t->session->device;
  size_t segments = (size_t)ig_optimizer_segments(&t->session->params);
  IG_TRY(ig_mirror_create(dev, (segments + 1) * sizeof(int64_t), true, "segments", &t->seg_start));
  IG_TRY(ig_mirror_create(dev, IG_N_SEG * segments * sizeof(float), true, "segments", &t->seg_attr));
  IG_TRY(ig_optimizer_fill_segments(&t->session->params, &o, t->seg_start.host, t->seg_attr.host));
  IG_TRY(ig_mirror_push(dev, &t->seg_start));
  return ig_mirror_push(dev, &t->seg_attr);
}

// Layer-wise decay of the learning rate (Howard and Ruder 2018): the head has the full one, each encoder layer below
// the next layer_decay times its, the embeddings least.
static void decay_layers(ig_trainer *t) {
  static const char encoder[] = "bert.encoder.layer.", embeddings[] = "bert.embeddings.";
  ig_params *p = &t->session->params;
  int layers = 0;
  if (!(t->o->layer_decay > 0))
    return;
  for (size_t i = 0; i < p->n; i++)
    if (!strncmp(p->items[i]->name, encoder, sizeof encoder - 1)) {
      const int n = atoi(p->items[i]->name + sizeof encoder - 1) + 1;
      layers = n > layers ? n : layers;
    }
  for (size_t i = 0; i < p->n; i++) {
    const char *name = p->items[i]->name;
    int below = 0;
    if (!strncmp(name, encoder, sizeof encoder - 1))
      below = layers - atoi(name + sizeof encoder - 1);
    else if (!strncmp(name, embeddings, sizeof embeddings - 1))
      below = layers + 1;
    p->items[i]->lr_scale = (float)pow(t->o->layer_decay, below);
  }
}

static ig_status apply_patterns(ig_trainer *t) {
  const ig_train_options *o = t->o;
  ig_params *p = &t->session->params;
  decay_layers(t);
  for (size_t k = 0; k < o->n_no_decay; k++) {
    bool any = false;
    for (size_t i = 0; i < p->n; i++) {
      const bool matches = ig_name_matches(o->no_decay[k], p->items[i]->name);
      p->items[i]->decay = !matches && (k == 0 || p->items[i]->decay);
      any = any || matches;
    }
    if (!any)
      return ig_fail(IG_ERR_USAGE, "no_decay=%s matches no tensor of %s; the first is %s", o->no_decay[k],
                     o->session.model->name, p->items[0]->name);
  }
  for (size_t k = 0; k < o->n_lr_scale; k++) {
    const char *colon = strrchr(o->lr_scale[k], ':');
    char pattern[256], *end;
    double factor = colon ? strtod(colon + 1, &end) : 0;
    if (!colon || end == colon + 1 || *end || factor < 0 || (size_t)(colon - o->lr_scale[k]) >= sizeof pattern)
      return ig_fail(IG_ERR_USAGE, "lr_scale=%s: expected PATTERN:FACTOR such as layer1.*:0.1", o->lr_scale[k]);
    snprintf(pattern, sizeof pattern, "%.*s", (int)(colon - o->lr_scale[k]), o->lr_scale[k]);
    bool any = false;
    for (size_t i = 0; i < p->n; i++)
      if (ig_name_matches(pattern, p->items[i]->name)) {
        p->items[i]->lr_scale = (float)factor;
        any = true;
      }
    if (!any)
      return ig_fail(IG_ERR_USAGE, "lr_scale=%s matches no tensor of %s", o->lr_scale[k], o->session.model->name);
  }
  return IG_OK;
}

static ig_status build_plans(ig_trainer *t, ig_recompute recompute) {
  for (int i = 0; i < t->n_rungs; i++)
    IG_TRY(build_step(t, &t->rungs[i], recompute));
  IG_TRY(build_sum(t));
  return build_update(t);
}

static void summarize(const ig_trainer *t, ig_plan_summary *s) {
  const ig_params *p = &t->session->params;
  ig_plan_bytes update = {0}, eval = {0};
  uint64_t arena = 0, workspace = 0, persistent = 0;
  memset(s, 0, sizeof *s);
  for (size_t i = 0; i < p->n; i++)
    if (p->items[i]->kind != IG_PARAM_STATE)
      s->parameters += ig_shape_count(&p->items[i]->shape);
  for (int i = 0; i < t->n_rungs; i++) {
    ig_plan_bytes step;
    ig_plan_get_bytes(t->rungs[i].plan, &step);
    arena = step.arena > arena ? step.arena : arena;
    workspace = step.workspace_peak > workspace ? step.workspace_peak : workspace;
    persistent += step.persistent;
  }
  ig_plan_get_bytes(t->update_plan, &update);
  if (t->evaluator)
    ig_evaluator_get_bytes(t->evaluator, &eval);
  uint64_t flat = flat_bytes(t);
  s->weights =
      flat + 4 * (uint64_t)(p->count[IG_PARAM_FROZEN] + 2 * p->count[IG_PARAM_STATE]) + eval.persistent + persistent;
  s->weights += ig_session_copies_bytes(t->session);
  s->gradients = flat * (t->o->accumulate > 1 ? 2 : 1);
  s->optimizer = flat * (uint64_t)(t->n_moments + (t->o->ema > 0));
  arena = eval.arena > arena ? eval.arena : arena;
  s->workspace = workspace;
  s->activations = arena - workspace;
  // Decoded pictures never take more than there are; a few large ones among small ones count.
  uint64_t pictures = (uint64_t)((double)t->n_train * t->o->data->mean_pixels * 3);
  s->cache = t->o->cache_bytes < pictures ? t->o->cache_bytes : pictures;
  s->snapshot = ig_trainer_snapshot_bytes(t);
  s->results = ig_trainer_result_bytes(t, s->snapshot);
  s->heap = ig_memory_heap() + library_bytes(t);
  s->batches = 4 * (uint64_t)t->micro * (uint64_t)t->o->image_size * (uint64_t)t->o->image_size * 3;
  s->total =
      s->weights + s->gradients + s->optimizer + arena + s->cache + s->snapshot + s->results + s->heap + s->batches;
  s->flops_per_step = ig_plan_flops(t->rungs[t->n_rungs - 1].plan) * (t->o->accumulate > 1 ? t->o->accumulate : 1);
}

static void drop_plans(ig_trainer *t) {
  for (int i = 0; i < t->n_rungs; i++) {
    ig_plan_destroy(t->rungs[i].plan);
    ig_graph_destroy(t->rungs[i].graph);
    t->rungs[i] = (ig_rung){.capacity = t->rungs[i].capacity, .masked = t->rungs[i].masked};
  }
  ig_plan_destroy(t->sum_plan);
  ig_plan_destroy(t->update_plan);
  ig_graph_destroy(t->sum_graph);
  ig_graph_destroy(t->update_graph);
  t->sum_plan = t->update_plan = NULL;
  t->sum_graph = t->update_graph = NULL;
}

// Session, graphs and plans; no large buffer yet. A memory budget is met by recomputation, or refused as a
// configuration is (exit 2): nothing was begun.
static ig_status plan_all(ig_trainer *t, ig_plan_summary *summary) {
  const ig_train_options *o = t->o;
  ig_session_options session = o->session;
  session.classes = o->data->n_classes;
  IG_TRY(ig_trainer_set_task(t));
  IG_TRY(ig_session_create(&session, &t->session));
  IG_TRY(ig_trainer_recall_choices(t));
  IG_TRY(apply_patterns(t));
  t->micro = o->batch / (o->accumulate > 1 ? o->accumulate : 1);
  t->n_train = (int64_t)o->data->count[IG_PART_TRAIN];
  if (t->micro < 1 || t->micro * (o->accumulate > 1 ? o->accumulate : 1) != o->batch)
    return ig_fail(IG_ERR_USAGE, "batch=%d is not divisible by accumulate=%d", o->batch, o->accumulate);
  if (t->n_train < o->batch)
    return ig_fail(IG_ERR_DATA, "%s: %lld training %s %s fewer than batch=%d; use batch=%lld or less", o->data->path,
                   (long long)t->n_train, ig_dataset_noun_of(o->data, (size_t)t->n_train),
                   ig_plural((unsigned long long)t->n_train, "is", "are"), o->batch, (long long)t->n_train);
  if (t->session->params.count[IG_PARAM_TRAINABLE] == 0)
    return ig_fail(IG_ERR_USAGE, "freeze= leaves nothing to train");
  t->total_steps = o->steps > 0 ? o->steps : (o->epochs * t->n_train + o->batch - 1) / o->batch;
  IG_TRY(ig_trainer_set_phases(t));
  IG_TRY(ig_trainer_ladder(t));
  t->session->evaluates_copies = ig_session_wants_copies(t->session) && !(o->ema > 0);
  const int batch = t->micro < 32 ? t->micro : 32;
  if (o->data->count[IG_PART_VAL])
    IG_TRY(o->session.model->build_text
               ? ig_evaluator_create_text(t->session, o->data, IG_PART_VAL, batch, &t->evaluator)
               : ig_evaluator_create(t->session, batch, o->image_size, o->session.model->mean, o->session.model->std,
                                     &t->evaluator));
  IG_TRY(build_plans(t, o->recompute));
  summarize(t, summary);
  if (o->memory && summary->total > o->memory && o->recompute != IG_RECOMPUTE_ON) {
    drop_plans(t);
    IG_TRY(build_plans(t, IG_RECOMPUTE_ON));
    summarize(t, summary);
    if (summary->total <= o->memory)
      ig_trainer_line(t, "memory=%.2f GiB: activations are recomputed to stay within it",
                      (double)o->memory / (1 << 30));
  }
  if (o->memory && summary->total > o->memory)
    return ig_fail(IG_ERR_USAGE,
                   "training takes %.0f MiB, memory= allows %.0f MiB (activations are %.0f MiB of it); use a smaller "
                   "batch, accumulate= or %s",
                   (double)summary->total / (1 << 20), (double)o->memory / (1 << 20),
                   (double)summary->activations / (1 << 20),
                   o->session.model->build_text ? "max_length=" : "image_size= or cache=");
  return IG_OK;
}

ig_status ig_trainer_build(ig_trainer *t) {
  ig_plan_summary summary;
  IG_TRY(plan_all(t, &summary));
  uint64_t limit = ig_memory_limit();
  if (summary.total > limit)
    return ig_fail(IG_ERR_UNSUPPORTED,
                   "training takes %.0f MiB, this machine allows %.0f MiB; use a smaller batch or "
                   "memory=%.0fMiB",
                   (double)summary.total / (1 << 20), (double)limit / (1 << 20), (double)limit / (1 << 20));
  ig_device *dev = t->session->device;
  if (ig_session_wants_copies(t->session))
    IG_TRY(ig_session_add_copies(t->session));
  IG_TRY(ig_mirror_create(dev, flat_bytes(t), false, "gradients", &t->gradients));
  if (t->o->accumulate > 1)
    IG_TRY(ig_mirror_create(dev, flat_bytes(t), false, "accumulated gradients", &t->accumulated));
  for (int i = 0; i < t->n_moments; i++)
    IG_TRY(ig_mirror_create(dev, flat_bytes(t), true, "optimizer moments", &t->moments[i]));
  IG_TRY(ig_mirror_create(dev, t->session->memory[IG_PARAM_STATE].bytes, false, "statistics", &t->state_before));
  IG_TRY(ig_trainer_step_create(t));
  if (ig_tuner_save(t->session->tuner) != IG_OK)
    ig_trainer_line(t, "warning: the choice of implementations is not stored (%s)", ig_error_message());
  return IG_OK;
}

static ig_status bind_plan(ig_trainer *t, ig_plan *p) {
  const ig_session *s = t->session;
  const struct {
    ig_space space;
    void *base;
  } bases[] = {{IG_SPACE_ARENA, s->arena},
               {IG_SPACE_TRAINABLE, s->memory[IG_PARAM_TRAINABLE].device},
               {IG_SPACE_FROZEN, s->memory[IG_PARAM_FROZEN].device},
               {IG_SPACE_STATE, s->memory[IG_PARAM_STATE].device},
               {IG_SPACE_GRAD, t->gradients.device},
               {IG_SPACE_ACCUM, t->accumulated.device},
               {IG_SPACE_MOMENT0, t->moments[0].device},
               {IG_SPACE_MOMENT1, t->moments[1].device},
               {IG_SPACE_MOMENT2, t->moments[2].device},
               {IG_SPACE_EMA, s->ema_memory[0].device},
               {IG_SPACE_EMA_STATE, s->ema_memory[1].device},
               {IG_SPACE_TRAINABLE16, s->copies.device}};
  for (size_t k = 0; k < sizeof bases / sizeof *bases; k++)
    if (bases[k].base)
      IG_TRY(ig_plan_bind(p, bases[k].space, bases[k].base));
  return IG_OK;
}

ig_status ig_trainer_bind(ig_trainer *t) {
  ig_plan *plans[2 * IG_MAX_RUNGS + 2] = {t->update_plan};
  ig_plan_bytes bytes;
  int n = 1;
  if (t->sum_plan)
    plans[n++] = t->sum_plan;
  for (int i = 0; i < t->n_rungs; i++)
    plans[n++] = t->rungs[i].plan;
  for (int i = 0; i < n; i++) {
    ig_plan_get_bytes(plans[i], &bytes);
    IG_TRY(ig_session_reserve(t->session, bytes.arena));
  }
  if (t->evaluator) {
    ig_evaluator_get_bytes(t->evaluator, &bytes);
    IG_TRY(ig_session_reserve(t->session, bytes.arena));
  }
  for (int i = 0; i < n; i++)
    IG_TRY(bind_plan(t, plans[i]));
  return ig_trainer_step_bind(t);
}

void ig_trainer_release(ig_trainer *t) {
  (void)!ig_trainer_collect(t, true);  // an error on the way here does not cost the checkpoint in flight
  ig_ckpt_writer_destroy(t->writer);
  ig_ckpt_close(t->reader);
  if (t->session)
    ig_trainer_step_destroy(t);  // waits for the device; captured steps go before what they run on
  drop_plans(t);
  ig_evaluator_destroy(t->evaluator);
  if (t->session) {
    ig_device *dev = t->session->device;
    ig_mirror *all[] = {&t->gradients, &t->accumulated, &t->state_before, &t->seg_start,
                        &t->seg_attr,  &t->moments[0],  &t->moments[1],   &t->moments[2]};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
      ig_mirror_destroy(dev, all[i]);
  }
  ig_loader_destroy(t->loader);
  (void)!ig_trainer_log_flush(t, true);
  ig_events_close(t->events);
  ig_free(t->log_waiting.data);
  ig_free(t->target_mean);
  ig_free(t->target_std);
  ig_free(t->targets);
  ig_free(t->checkpoints);
  ig_free(t->log_path);
  ig_free(t->best_path);
  ig_free(t->weights_path);
  ig_session_destroy(t->session);
  ig_lock_release(t->lock);
}

// What the tuner timed, else the larger of operations by the measured multiply-add rate and bytes by the copy rate.
static double plan_seconds(const ig_plan *p, double flops_rate, double copy_rate, double *timed) {
  double ns = 0;
  for (int i = 0; p && i < ig_plan_n_rows(p); i++) {
    ig_plan_row r = ig_plan_get_row(p, i);
    double compute = flops_rate > 0 ? r.flops / flops_rate : 0, traffic = copy_rate > 0 ? r.bytes / copy_rate : 0;
    ns += r.tuned_ns ? (double)r.tuned_ns : 1e9 * (compute > traffic ? compute : traffic);
    *timed += (double)r.tuned_ns / 1e9;
  }
  return ns / 1e9;
}

static ig_status estimate_seconds(const ig_trainer *t, ig_plan_summary *out) {
  double flops = ig_device_peak_flops(&t->session->device->caps, t->session->compute != IG_F32, NULL);
  double copy, timed = 0, once = 0;
  IG_TRY(ig_device_copy_rate(t->session->device, &copy));
  double micro =
      plan_seconds(t->rungs[t->n_rungs - 1].plan, flops, copy, &timed) + plan_seconds(t->sum_plan, flops, copy, &timed);
  int n = t->o->accumulate > 1 ? t->o->accumulate : 1;
  out->seconds_per_step = n * micro + plan_seconds(t->update_plan, flops, copy, &once);
  out->timed = out->seconds_per_step > 0 ? n * timed / out->seconds_per_step : 0;
  return IG_OK;
}

ig_status ig_train_plan(const ig_train_options *options, ig_plan_summary *out, json_t **rows) {
  ig_train_callbacks none = {0};
  ig_trainer t = {.o = options, .cb = &none};
  *rows = NULL;
  ig_status status = plan_all(&t, out);
  if (status == IG_OK) {
    *rows = json_array();
    const ig_plan *step = t.rungs[t.n_rungs - 1].plan;  // of the longest texts
    for (int i = 0; i < ig_plan_n_rows(step); i++) {
      ig_plan_row r = ig_plan_get_row(step, i);
      char shape[96];
      json_array_append_new(
          *rows, json_pack("{s:s, s:s, s:s, s:s, s:I, s:f, s:f}", "name", r.node->name, "op", r.node->op->name, "impl",
                           r.impl, "shape", ig_shape_text(&r.node->out[0]->shape, shape), "bytes",
                           (json_int_t)r.out_bytes, "flops", r.flops, "traffic", r.bytes));
    }
    status = estimate_seconds(&t, out);
    if (status == IG_OK && ig_tuner_save(t.session->tuner) != IG_OK)  // so that the run makes the same choices
      ig_error_clear();
  }
  ig_trainer_release(&t);
  return status;
}
