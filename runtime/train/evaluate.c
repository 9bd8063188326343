// Evaluation: pictures or texts in, logits out; and the walk over a part of a data set.
#include <stdio.h>
#include <string.h>

#include "kernels/conv2d_fused/conv2d_fused.h"
#include "kernels/kernels.h"
#include "kernels/linear_xent/linear_xent.h"
#include "kernels/picture/picture.h"
#include "runtime/base/cpu.h"
#include "runtime/data/text_batch.h"
#include "runtime/train/trainer.h"

// Inputs of texts after the first five of ig_text_inputs.
enum { IN_IDS, IN_TYPES, IN_POSITIONS, IN_CU_SEQLENS, IN_FIRST, IN_MASKED, IN_MASKED_LABELS, IN_MASKED_WEIGHTS };
enum { OUT_LOGITS, OUT_SUM, OUT_WEIGHT };

static size_t bytes_of(const ig_tensor *t) { return (size_t)ig_shape_count(&t->shape) * ig_dtype_bytes(t->dtype); }

static ig_status new_graph(ig_session *s, ig_graph **out) {
  return ig_graph_create(&(ig_graph_options){.size = sizeof(ig_graph_options),
                                             .ops = ig_op_lists,
                                             .params = &s->params,
                                             .mode = IG_MODE_EVAL,
                                             .compute_dtype = s->compute},
                         out);
}

static ig_status plan_rung(ig_session *s, ig_eval_rung *r) {
  IG_TRY(ig_graph_fold_batchnorm(r->graph, s->device->caps.kind, NULL));
  if (s->evaluates_copies)
    ig_graph_read_copies(r->graph);
  return ig_plan_create(r->graph,
                        &(ig_plan_options){.size = sizeof(ig_plan_options),
                                           .device = s->device,
                                           .tuner = s->tuner,
                                           .deterministic = s->options.deterministic,
                                           .shards = s->options.deterministic ? s->options.shards : 0,
                                           .force = s->options.force,
                                           .stable_spaces = 1u << IG_SPACE_TRAINABLE | 1u << IG_SPACE_FROZEN |
                                                            1u << IG_SPACE_STATE | 1u << IG_SPACE_TRAINABLE16},
                        &r->plan);
}

// Memory of inputs and results, by the largest rung.
static ig_status make_mirrors(ig_evaluator *e) {
  const ig_eval_rung *r = &e->rungs[e->n_rungs - 1];
  ig_device *dev = e->session->device;
  for (int i = 0; i < IG_EVAL_INPUTS; i++)
    if (r->in[i])
      IG_TRY(ig_mirror_create(dev, bytes_of(r->in[i]), true, r->in[i]->name, &e->in[i]));
  for (int i = 0; i < IG_EVAL_OUTPUTS; i++)
    if (r->out[i])
      IG_TRY(ig_mirror_create(dev, bytes_of(r->out[i]), true, r->out[i]->name, &e->out[i]));
  e->logits_memory = e->out[OUT_LOGITS].host;
  // So that the same weights and samples give the same bits again. Where it cannot be stored that is all that is lost.
  (void)ig_tuner_save(e->session->tuner);
  return IG_OK;
}

ig_status ig_evaluator_create(ig_session *s, int batch, int image_size, const float mean[3], const float std[3],
                              ig_evaluator **out) {
  *out = NULL;
  ig_evaluator *e;
  IG_TRY(ig_alloc(sizeof *e, "evaluation", &e));
  ig_status status = IG_OK;
  ig_eval_rung *r = &e->rungs[0];
  e->session = s;
  e->n_rungs = 1;
  e->batch = batch;
  e->image_size = image_size;
  e->classes = s->config.classes;
  IG_GOTO(new_graph(s, &r->graph));
  ig_picture_attr attr = {0};
  memcpy(attr.mean, mean, sizeof attr.mean);
  memcpy(attr.std, std, sizeof attr.std);
  r->in[0] = ig_graph_input(r->graph, "pictures", IG_U8, IG_SHAPE4(batch, image_size, image_size, 3));
  ig_tensor *x = ig_picture(r->graph, "normalise", r->in[0], NULL, NULL, &attr);
  r->out[OUT_LOGITS] = s->options.model->build(s->options.model, r->graph, &s->config, x, NULL);
  ig_graph_output(r->graph, r->out[OUT_LOGITS], "logits");
  IG_GOTO(plan_rung(s, r));
  IG_GOTO(make_mirrors(e));
  e->pictures_memory = e->in[0].host;
  *out = e;
done:
  if (status != IG_OK)
    ig_evaluator_destroy(e);
  return status;
}

static ig_status build_text(ig_evaluator *e, ig_eval_rung *r, int64_t masked) {
  const ig_model *m = e->session->options.model;
  IG_TRY(new_graph(e->session, &r->graph));
  ig_graph *g = r->graph;
  const ig_text_inputs in = ig_session_text_inputs(g, r->capacity, e->batch, masked);
  const ig_text_outputs out = m->build_text(m, g, &e->session->config, &in);
  ig_tensor *inputs[] = {in.ids, in.types, in.positions, in.cu_seqlens, in.first, in.masked};
  memcpy(r->in, inputs, sizeof inputs);
  r->out[OUT_LOGITS] = out.logits;
  if (masked > 0) {
    r->in[IN_MASKED_LABELS] = ig_graph_input(g, "masked_labels", IG_I32, IG_SHAPE1(masked));
    r->in[IN_MASKED_WEIGHTS] = ig_graph_input(g, "masked_weights", IG_F32, IG_SHAPE1(masked));
    const ig_loss loss = ig_linear_xent(g, "loss", out.masked_hidden, out.decoder, out.decoder_bias,
                                        r->in[IN_MASKED_LABELS], r->in[IN_MASKED_WEIGHTS]);
    r->out[OUT_LOGITS] = out.nsp;
    r->out[OUT_SUM] = loss.sum;
    r->out[OUT_WEIGHT] = loss.weight;
  }
  static const char *const names[] = {"logits", "loss_sum", "loss_weight"};
  for (int i = 0; i < IG_EVAL_OUTPUTS; i++)
    if (r->out[i])
      ig_graph_output(g, r->out[i], names[i]);
  return plan_rung(e->session, r);
}

ig_status ig_evaluator_create_text(ig_session *s, const ig_dataset *data, ig_part part, int batch, ig_evaluator **out) {
  *out = NULL;
  ig_evaluator *e;
  int64_t capacities[IG_MAX_RUNGS];
  IG_TRY(ig_alloc(sizeof *e, "evaluation", &e));
  ig_status status = IG_OK;
  e->session = s;
  e->batch = batch;
  e->classes = s->config.text_head == IG_TEXT_PRETRAIN ? 2 : s->config.classes;
  IG_GOTO(ig_text_ladder(data, part, batch, 0, capacities, &e->n_rungs));
  for (int i = 0; i < e->n_rungs; i++) {
    e->rungs[i].capacity = capacities[i];
    IG_GOTO(build_text(e, &e->rungs[i],
                       s->config.text_head == IG_TEXT_PRETRAIN ? ig_text_masked_rows(data, batch, capacities[i]) : 0));
  }
  IG_GOTO(make_mirrors(e));
  *out = e;
done:
  if (status != IG_OK)
    ig_evaluator_destroy(e);
  return status;
}

void ig_evaluator_destroy(ig_evaluator *e) {
  if (!e)
    return;
  for (int i = 0; i < IG_EVAL_RUNGS; i++) {
    ig_plan_destroy(e->rungs[i].plan);
    ig_graph_destroy(e->rungs[i].graph);
  }
  for (int i = 0; i < IG_EVAL_INPUTS; i++)
    ig_mirror_destroy(e->session->device, &e->in[i]);
  for (int i = 0; i < IG_EVAL_OUTPUTS; i++)
    ig_mirror_destroy(e->session->device, &e->out[i]);
  ig_free(e);
}

void ig_evaluator_get_bytes(const ig_evaluator *e, ig_plan_bytes *out) {
  *out = (ig_plan_bytes){0};
  for (int i = 0; i < e->n_rungs; i++) {
    ig_plan_bytes b;
    ig_plan_get_bytes(e->rungs[i].plan, &b);
    out->persistent += b.persistent;
    if (b.arena > out->arena)
      *out = (ig_plan_bytes){b.arena, b.activations_peak, b.workspace_peak, out->persistent};
  }
}

static ig_status bind(ig_evaluator *e, ig_eval_rung *r, bool ema) {
  ig_session *s = e->session;
  IG_TRY(ig_plan_bind(r->plan, IG_SPACE_ARENA, s->arena));
  IG_TRY(ig_plan_bind(r->plan, IG_SPACE_TRAINABLE, (ema ? &s->ema_memory[0] : &s->memory[IG_PARAM_TRAINABLE])->device));
  IG_TRY(ig_plan_bind(r->plan, IG_SPACE_FROZEN, s->memory[IG_PARAM_FROZEN].device));
  IG_TRY(ig_plan_bind(r->plan, IG_SPACE_TRAINABLE16, s->copies.device));
  IG_TRY(ig_plan_bind(r->plan, IG_SPACE_STATE, (ema ? &s->ema_memory[1] : &s->memory[IG_PARAM_STATE])->device));
  for (int i = 0; i < IG_EVAL_INPUTS; i++)
    if (r->in[i])
      IG_TRY(ig_plan_set_io(r->plan, r->in[i], e->in[i].device));
  for (int i = 0; i < IG_EVAL_OUTPUTS; i++)
    if (r->out[i])
      IG_TRY(ig_plan_set_io(r->plan, r->out[i], e->out[i].device));
  return ig_plan_refresh(r->plan, NULL);
}

ig_status ig_evaluator_refresh(ig_evaluator *e, bool ema) {
  ig_session *s = e->session;
  ig_plan_bytes bytes;
  ig_evaluator_get_bytes(e, &bytes);
  IG_TRY(ig_session_reserve(s, bytes.arena));
  for (int i = 0; i < e->n_rungs; i++)
    IG_TRY(bind(e, &e->rungs[i], ema && s->ema));
  return IG_OK;
}

static ig_status run(ig_evaluator *e, ig_eval_rung *r) {
  ig_device *dev = e->session->device;
  for (int i = 0; i < IG_EVAL_INPUTS; i++)
    if (r->in[i])
      IG_TRY(ig_mirror_push(dev, &e->in[i]));
  IG_TRY(ig_plan_bind(r->plan, IG_SPACE_ARENA, e->session->arena));
  IG_TRY(ig_plan_run(r->plan, NULL));
  for (int i = 0; i < IG_EVAL_OUTPUTS; i++)
    if (r->out[i])
      IG_TRY(ig_mirror_pull(dev, &e->out[i]));
  return IG_OK;
}

ig_status ig_evaluator_run(ig_evaluator *e, const uint8_t *pictures, const float **logits) {
  if (pictures != e->pictures_memory)
    memcpy(e->pictures_memory, pictures, e->in[0].bytes);
  IG_TRY(run(e, &e->rungs[0]));
  *logits = e->logits_memory;
  return IG_OK;
}

ig_status ig_evaluator_run_packed(ig_evaluator *e, const ig_batch *b, const float **logits) {
  const ig_packed *p = b->packed;
  int i = 0;
  while (i < e->n_rungs - 1 && e->rungs[i].capacity < p->capacity)
    i++;
  ig_eval_rung *r = &e->rungs[i];
  if (r->capacity < p->capacity)
    return ig_fail(IG_ERR_INTERNAL, "a batch of capacity %lld, which no plan has", (long long)p->capacity);
  const void *from[IG_EVAL_INPUTS] = {[IN_IDS] = p->ids,
                                      [IN_TYPES] = p->types,
                                      [IN_POSITIONS] = p->positions,
                                      [IN_CU_SEQLENS] = p->cu_seqlens,
                                      [IN_FIRST] = p->first,
                                      [IN_MASKED] = p->masked,
                                      [IN_MASKED_LABELS] = p->masked_labels,
                                      [IN_MASKED_WEIGHTS] = p->masked_weights};
  for (int k = 0; k < IG_EVAL_INPUTS; k++)
    if (r->in[k])
      memcpy(e->in[k].host, from[k], bytes_of(r->in[k]));
  IG_TRY(run(e, r));
  *logits = e->logits_memory;
  return IG_OK;
}

// What a batch's results add to the scores of a part.
static ig_status add_scores(const ig_evaluator *e, const ig_batch *b, const float *logits, ig_scores *scores) {
  const ig_packed *p = b->packed;
  if (p && p->masked) {
    scores->masked_loss += (double)*(const float *)e->out[OUT_SUM].host;
    scores->masked_weight += (double)*(const float *)e->out[OUT_WEIGHT].host;
    return logits ? ig_scores_add(scores, logits, b->labels, b->weights, b->samples, (size_t)b->n) : IG_OK;
  }
  if (!p || !p->labels)
    return ig_scores_add(scores, logits, b->labels, b->weights, b->samples, (size_t)b->n);
  for (int i = 0; i < b->n; i++)  // tag: a row of scores a word
    for (int32_t t = p->cu_seqlens[i]; t < p->cu_seqlens[i + 1]; t++)
      if (p->labels[t] != IG_NO_LABEL)
        IG_TRY(ig_scores_add(scores, logits + (size_t)t * (size_t)e->classes, &p->labels[t], NULL, &b->samples[i], 1));
  return IG_OK;
}

static ig_status open_loader(const ig_evaluator *e, const ig_dataset *data, ig_part part, double eval_crop_ratio,
                             int threads, bool strict, double max_unreadable, const ig_train_callbacks *callbacks,
                             ig_loader **out) {
  ig_loader_options o = {.size = sizeof(ig_loader_options),
                         .data = data,
                         .part = part,
                         .batch = e->batch,
                         .image_size = e->image_size,
                         .eval_crop_ratio = eval_crop_ratio,
                         .threads = threads,
                         .strict = strict,
                         .max_unreadable = max_unreadable,
                         .warn = callbacks ? callbacks->line : NULL,
                         .warn_user = callbacks ? callbacks->user : NULL};
  o.n_rungs = e->rungs[0].capacity > 0 ? e->n_rungs : 0;
  for (int i = 0; i < o.n_rungs; i++)
    o.rungs[i] = e->rungs[i].capacity;
  return ig_loader_create(&o, out);
}

ig_status ig_evaluate(ig_evaluator *e, const ig_dataset *data, ig_part part, double eval_crop_ratio, int threads,
                      bool strict, double max_unreadable, const ig_train_callbacks *callbacks, ig_scores *scores) {
  ig_loader *loader;
  IG_TRY(open_loader(e, data, part, eval_crop_ratio, threads, strict, max_unreadable, callbacks, &loader));
  ig_status status = IG_OK;
  const ig_batch *batch;
  const float *logits;
  uint64_t shown = ig_now_ns();
  size_t done = 0, total = part == IG_PART_ALL ? data->n : data->count[part];
  const char *noun = ig_dataset_noun_of(data, total);
  for (;;) {
    IG_GOTO(ig_loader_next(loader, &batch));
    if (!batch)
      break;
    IG_GOTO(batch->packed ? ig_evaluator_run_packed(e, batch, &logits) : ig_evaluator_run(e, batch->pictures, &logits));
    IG_GOTO(add_scores(e, batch, logits, scores));
    done += (size_t)batch->n;
    if (done < total && callbacks && callbacks->should_stop && callbacks->should_stop(callbacks->user))
      IG_GOTO(ig_fail(IG_STOPPED, "stopped after %zu of %zu %s: there is no result; run the same command again", done,
                      total, noun));
    if (callbacks && callbacks->progress && ig_now_ns() - shown > 500000000u) {
      char text[96];
      snprintf(text, sizeof text, "evaluating: %zu of %zu %s", done, total, noun);
      callbacks->progress(callbacks->user, text);
      shown = ig_now_ns();
    }
  }
done:
  ig_loader_destroy(loader);
  return status;
}
