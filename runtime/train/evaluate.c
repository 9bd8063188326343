// Evaluation: pictures in, logits out; and the walk over a part of a data set.
#include <stdio.h>
#include <string.h>

#include "kernels/kernels.h"
#include "kernels/picture/picture.h"
#include "runtime/base/cpu.h"
#include "runtime/train/trainer.h"

static size_t pictures_bytes(const ig_evaluator *e) {
  return (size_t)e->batch * (size_t)e->image_size * (size_t)e->image_size * 3;
}

ig_status ig_evaluator_create(ig_session *s, int batch, int image_size, const float mean[3], const float std[3],
                              ig_evaluator **out) {
  *out = NULL;
  ig_evaluator *e;
  IG_TRY(ig_alloc(sizeof *e, "evaluation", &e));
  ig_status status = IG_OK;
  e->session = s;
  e->batch = batch;
  e->image_size = image_size;
  e->classes = s->config.classes;
  IG_GOTO(ig_graph_create(&(ig_graph_options){.size = sizeof(ig_graph_options),
                                              .ops = ig_op_lists,
                                              .params = &s->params,
                                              .mode = IG_MODE_EVAL,
                                              .compute_dtype = s->compute},
                          &e->graph));
  ig_picture_attr attr = {0};
  memcpy(attr.mean, mean, sizeof attr.mean);
  memcpy(attr.std, std, sizeof attr.std);
  e->pictures = ig_graph_input(e->graph, "pictures", IG_U8, IG_SHAPE4(batch, image_size, image_size, 3));
  ig_tensor *x = ig_picture(e->graph, "normalise", e->pictures, NULL, NULL, &attr);
  e->logits = s->options.model->build(s->options.model, e->graph, &s->config, x, NULL);
  ig_graph_output(e->graph, e->logits, "logits");
  IG_GOTO(ig_graph_status(e->graph));
  IG_GOTO(ig_plan_create(
      e->graph,
      &(ig_plan_options){.size = sizeof(ig_plan_options),
                         .device = s->device,
                         .tuner = s->tuner,
                         .deterministic = s->options.deterministic,
                         .shards = s->options.deterministic ? s->options.shards : 0,
                         .force = s->options.force,
                         .stable_spaces = 1u << IG_SPACE_TRAINABLE | 1u << IG_SPACE_FROZEN | 1u << IG_SPACE_STATE},
      &e->plan));
  // So that the same weights and pictures give the same bits again. Where it cannot be stored that is all that is lost.
  (void)ig_tuner_save(s->tuner);
  IG_GOTO(ig_mirror_create(s->device, pictures_bytes(e), true, "evaluation pictures", &e->pictures_mirror));
  IG_GOTO(ig_mirror_create(s->device, (size_t)batch * (size_t)e->classes * sizeof(float), true, "logits",
                           &e->logits_mirror));
  e->pictures_memory = e->pictures_mirror.host;
  e->logits_memory = e->logits_mirror.host;
  *out = e;
done:
  if (status != IG_OK)
    ig_evaluator_destroy(e);
  return status;
}

void ig_evaluator_destroy(ig_evaluator *e) {
  if (!e)
    return;
  ig_plan_destroy(e->plan);
  ig_graph_destroy(e->graph);
  ig_mirror_destroy(e->session->device, &e->pictures_mirror);
  ig_mirror_destroy(e->session->device, &e->logits_mirror);
  ig_free(e);
}

ig_status ig_evaluator_refresh(ig_evaluator *e, bool ema) {
  ig_session *s = e->session;
  ig_plan_bytes bytes;
  ig_plan_get_bytes(e->plan, &bytes);
  IG_TRY(ig_session_reserve(s, bytes.arena));
  IG_TRY(ig_plan_bind(e->plan, IG_SPACE_ARENA, s->arena));
  ema = ema && s->ema;
  IG_TRY(ig_plan_bind(e->plan, IG_SPACE_TRAINABLE, (ema ? &s->ema_memory[0] : &s->memory[IG_PARAM_TRAINABLE])->device));
  IG_TRY(ig_plan_bind(e->plan, IG_SPACE_FROZEN, s->memory[IG_PARAM_FROZEN].device));
  IG_TRY(ig_plan_bind(e->plan, IG_SPACE_STATE, (ema ? &s->ema_memory[1] : &s->memory[IG_PARAM_STATE])->device));
  IG_TRY(ig_plan_set_io(e->plan, e->pictures, e->pictures_mirror.device));
  IG_TRY(ig_plan_set_io(e->plan, e->logits, e->logits_mirror.device));
  return ig_plan_refresh(e->plan, NULL);
}

ig_status ig_evaluator_run(ig_evaluator *e, const uint8_t *pictures, const float **logits) {
  IG_TRY(ig_plan_bind(e->plan, IG_SPACE_ARENA, e->session->arena));
  if (pictures != e->pictures_memory)
    memcpy(e->pictures_memory, pictures, pictures_bytes(e));
  IG_TRY(ig_mirror_push(e->session->device, &e->pictures_mirror));
  IG_TRY(ig_plan_run(e->plan, NULL));
  IG_TRY(ig_mirror_pull(e->session->device, &e->logits_mirror));
  *logits = e->logits_memory;
  return IG_OK;
}

ig_status ig_evaluate(ig_evaluator *e, const ig_dataset *data, ig_part part, double eval_crop_ratio, int threads,
                      bool strict, const ig_train_callbacks *callbacks, ig_scores *scores) {
  ig_loader *loader;
  IG_TRY(ig_loader_create(&(ig_loader_options){.size = sizeof(ig_loader_options),
                                               .data = data,
                                               .part = part,
                                               .batch = e->batch,
                                               .image_size = e->image_size,
                                               .eval_crop_ratio = eval_crop_ratio,
                                               .threads = threads,
                                               .strict = strict,
                                               .max_unreadable = 1,
                                               .warn = callbacks ? callbacks->line : NULL,
                                               .warn_user = callbacks ? callbacks->user : NULL},
                          &loader));
  ig_status status = IG_OK;
  const ig_batch *batch;
  const float *logits;
  uint64_t shown = ig_now_ns();
  size_t done = 0, total = part == IG_PART_ALL ? data->n : data->count[part];
  for (;;) {
    IG_GOTO(ig_loader_next(loader, &batch));
    if (!batch)
      break;
    IG_GOTO(ig_evaluator_run(e, batch->pictures, &logits));
    IG_GOTO(ig_scores_add(scores, logits, batch->labels, batch->weights, batch->samples, (size_t)batch->n));
    done += (size_t)batch->n;
    if (done < total && callbacks && callbacks->should_stop && callbacks->should_stop(callbacks->user))
      IG_GOTO(ig_fail(IG_STOPPED, "stopped after %zu of %zu pictures: there is no result; run the same command again",
                      done, total));
    if (callbacks && callbacks->progress && ig_now_ns() - shown > 500000000u) {
      char text[96];
      snprintf(text, sizeof text, "evaluating: %zu of %zu pictures", done, total);
      callbacks->progress(callbacks->user, text);
      shown = ig_now_ns();
    }
  }
done:
  ig_loader_destroy(loader);
  return status;
}
