// Builds and runs a model's step on synthetic pictures or texts; see stepper.h.
#include "bench/stepper.h"

#include <math.h>
#include <string.h>

#include "bindings/c/options.h"
#include "kernels/picture/picture.h"
#include "runtime/base/cpu.h"
#include "runtime/base/mem.h"
#include "runtime/base/rng.h"

// What a step takes of the host beside buffers and heap: code of oneDNN that it touches (6 to 8 MB), code that oneDNN
// makes (0.3 MB in bf16, 4 in fp32, where more is its work), stacks. Measured: 6 to 10 MB in bf16, 13 to 17 in fp32.
static uint64_t library_bytes(const ig_stepper *s) { return (uint64_t)(s->session->compute == IG_F32 ? 13 : 8) << 20; }

static ig_status make_pictures(ig_stepper *s, uint64_t seed) {
  size_t n = (size_t)s->batch;
  s->pictures_bytes = n * (size_t)s->image_size * (size_t)s->image_size * 3;
  IG_TRY(ig_alloc_pages(s->pictures_bytes, "pictures", &s->pictures));
  IG_TRY(ig_alloc_array(n, sizeof *s->labels, "labels", &s->labels));
  IG_TRY(ig_alloc_array(n, sizeof *s->partner, "partners", &s->partner));
  IG_TRY(ig_alloc_array(n, sizeof *s->ones, "weights of samples", &s->ones));
  IG_TRY(ig_alloc_array(n * IG_N_AUG, sizeof *s->aug, "augmentation", &s->aug));
  ig_rng r = ig_rng_make(seed, 0, 0);
  for (size_t i = 0; i < s->pictures_bytes; i++)
    s->pictures[i] = (uint8_t)ig_rng_below(&r, 256);
  for (size_t i = 0; i < n; i++) {
    s->labels[i] = (int32_t)ig_rng_below(&r, (uint32_t)s->classes);
    s->partner[i] = (int32_t)i;
    s->ones[i] = 1;
    ig_aug_neutral(s->aug + i * IG_N_AUG);
  }
  s->data = (ig_dataset){.path = (char *)"synthetic pictures",
                         .task = IG_TASK_CLASSIFY,
                         .n = n,
                         .n_classes = s->classes,
                         .count = {[IG_PART_TRAIN] = n},
                         .typical_w = s->image_size,
                         .typical_h = s->image_size};
  s->batch_of_step = (ig_batch){.pictures = s->pictures,
                                .aug = s->aug,
                                .partner = s->partner,
                                .labels = s->labels,
                                .second_labels = s->labels,
                                .lam = s->ones,
                                .weights = s->ones};
  return IG_OK;
}

static ig_status make_texts(ig_stepper *s, const ig_config *k, ig_session_options *session) {
  const ig_texts_options o = {.spec = &s->bert.spec,
                              .batch = s->batch,
                              .max_length = (int)ig_config_int(k, "max_length"),
                              .lengths = ig_config_is(k, "lengths", "banking77") ? IG_LENGTHS_BANKING77
                                         : ig_config_is(k, "lengths", "corpus")  ? IG_LENGTHS_CORPUS
                                                                                 : IG_LENGTHS_FULL,
                              .mlm = ig_config_is(k, "task", "mlm"),
                              .classes = s->classes,
                              .seed = session->seed};
  session->text_head = o.mlm ? IG_TEXT_PRETRAIN : IG_TEXT_SEQUENCE;
  session->nsp = o.mlm;
  session->dropout = s->dropout;
  IG_TRY(ig_texts_create(&o, &s->texts));
  s->data = s->texts->data;
  s->batch_of_step = s->texts->batch;
  return IG_OK;
}

static ig_status build_train(ig_call_state *c, ig_stepper *s, const ig_session_options *session) {
  ig_train_options *o = &s->options;
  *o = (ig_train_options){.size = sizeof *o,
                          .session = *session,
                          .data = &s->data,
                          .steps = 1,
                          .batch = s->batch,
                          .accumulate = 1,
                          .image_size = s->image_size,
                          .optimizer = s->optimizer,
                          .recompute = ig_recompute_key(c->config)};
  s->trainer.o = o;
  s->trainer.cb = &s->callbacks;
  IG_TRY(ig_trainer_build(&s->trainer));
  s->session = s->trainer.session;
  return ig_trainer_bind(&s->trainer);
}

static ig_status build_infer(ig_stepper *s, const ig_session_options *session) {
  IG_TRY(ig_session_create(session, &s->session));
  if (s->texts) {
    s->data.count[IG_PART_TEST] = s->data.n;
    IG_TRY(ig_evaluator_create_text(s->session, &s->data, IG_PART_TEST, s->batch, &s->evaluator));
  } else {
    IG_TRY(ig_evaluator_create(s->session, s->batch, s->image_size, s->model->mean, s->model->std, &s->evaluator));
    memcpy(s->evaluator->pictures_memory, s->pictures, s->pictures_bytes);
  }
  IG_TRY(ig_evaluator_refresh(s->evaluator, false));
  ig_tuner_save(s->session->tuner);  // where it cannot be stored the next start only takes longer
  return IG_OK;
}

// What training starts from, for pictures and for texts.
static ig_status set_optimizer(ig_stepper *s) {
  const bool texts = s->model->build_text;
  IG_TRY(ig_optimizer_defaults(texts ? "adamw" : "sgd", &s->optimizer));
  s->lr = texts ? 1e-4 : 0.01;
  s->optimizer.weight_decay = texts ? 0.01 : 1e-4;
  if (!texts)
    s->optimizer.momentum = 0.9;
  return IG_OK;
}

static ig_status find_model(ig_stepper *s, const ig_config *k, const char *name) {
  IG_TRY(ig_model_find(name, &s->model));
  s->image_size = ig_config_has_value(k, "image_size") ? (int)ig_config_int(k, "image_size") : s->model->default_size;
  s->classes = ig_config_has_value(k, "classes") ? (int)ig_config_int(k, "classes")
               : s->model->build_text            ? 2
               : s->model->default_size > 32     ? 1000
                                                 : 10;
  if (!s->model->build_text)
    return IG_OK;
  s->dropout = ig_config_float(k, "dropout");
  ig_bert_model_init(s->model, 0, &s->bert);
  s->bert.spec.dropout = s->bert.spec.attention_dropout = s->dropout;
  s->model = &s->bert.model;
  return IG_OK;
}

ig_status ig_stepper_create(ig_call_state *c, const char *model, bool plan_only, ig_stepper **out) {
  const ig_config *k = c->config;
  ig_session_options session;
  ig_stepper *s;
  ig_status status = IG_OK;
  *out = NULL;
  IG_TRY(ig_alloc(sizeof *s, "bench of a step", &s));
  s->train = ig_config_is(k, "mode", "train");
  s->batch = (int)ig_config_int(k, "batch");
  IG_GOTO(find_model(s, k, model));
  IG_GOTO(set_optimizer(s));
  IG_GOTO(ig_check_impl_key(c->config));
  IG_GOTO(ig_session_keys(c, &session, &s->cache_dir));
  session.model = s->model;
  session.classes = s->classes;
  if (plan_only) {
    session.deterministic = true;  // in the order of the rows, without timing
    session.force = NULL;          // impl= picks kernels there, not the model's
  }
  IG_GOTO(s->model->build_text ? make_texts(s, k, &session) : make_pictures(s, session.seed));
  IG_GOTO(s->train ? build_train(c, s, &session) : build_infer(s, &session));
  *out = s;
done:
  if (status != IG_OK)
    ig_stepper_destroy(s);
  return status;
}

void ig_stepper_destroy(ig_stepper *s) {
  if (!s)
    return;
  if (s->train) {
    ig_trainer_release(&s->trainer);
  } else {
    ig_evaluator_destroy(s->evaluator);
    ig_session_destroy(s->session);
  }
  ig_free_pages(s->pictures, s->pictures_bytes);
  ig_free(s->labels);
  ig_free(s->partner);
  ig_free(s->ones);
  ig_free(s->aug);
  ig_texts_destroy(s->texts);
  ig_free(s->cache_dir);
  ig_free(s);
}

// Mean cross-entropy of the logits; and that of masked words.
static double mean_loss(const ig_stepper *s) {
  const int classes = s->evaluator->classes;
  const ig_evaluator *e = s->evaluator;
  double sum = 0;
  for (int i = 0; i < s->batch; i++) {
    const float *row = e->logits_memory + (size_t)i * (size_t)classes;
    double top = row[0], total = 0;
    for (int j = 1; j < classes; j++)
      top = row[j] > top ? row[j] : top;
    for (int j = 0; j < classes; j++)
      total += exp(row[j] - top);
    sum += log(total) + top - row[s->batch_of_step.labels[i]];
  }
  sum /= s->batch;
  if (s->texts && s->texts->o.mlm)  // results 1 and 2 of the evaluator: loss and weight
    sum += (double)*(const float *)e->out[1].host / (double)*(const float *)e->out[2].host;
  return sum;
}

static ig_status launch(ig_stepper *s) {
  IG_TRY(ig_trainer_micro_batch(&s->trainer, &s->batch_of_step, 0));
  return ig_trainer_update(&s->trainer, s->lr);
}

// Results of launched steps but the last `leave`. With a loss scale a skipped step is none that failed.
static ig_status take(ig_stepper *s, int leave) {
  ig_trainer *t = &s->trainer;
  for (bool one = true; one;) {
    IG_TRY(ig_trainer_take(t, leave, &one));
    if (one && t->result.gscale[IG_GSCALE_SKIP] >= 1 && s->session->compute != IG_F16)
      return ig_fail(IG_ERR_NUMERIC, "step %lld: the loss or its gradient is not finite", (long long)t->taken);
  }
  return IG_OK;
}

ig_status ig_stepper_run(ig_stepper *s, double *loss) {
  ig_trainer *t = &s->trainer;
  if (loss)
    *loss = 0;
  if (!s->train) {
    const float *logits;
    IG_TRY(s->texts ? ig_evaluator_run_packed(s->evaluator, &s->batch_of_step, &logits)
                    : ig_evaluator_run(s->evaluator, s->evaluator->pictures_memory, &logits));
    if (loss)
      *loss = mean_loss(s);
    return IG_OK;
  }
  IG_TRY(launch(s));
  IG_TRY(take(s, 0));
  const ig_step_words *r = &t->result;
  if (loss)
    *loss = (double)r->totals[IG_TOTAL_LOSS] / (double)r->totals[IG_TOTAL_WEIGHT];
  return IG_OK;
}

static ig_status time_by_clock(ig_stepper *s, int64_t steps, ig_times *times, ig_times *cpu) {
  for (int64_t i = 0; i < steps; i++) {
    uint64_t start = ig_now_ns(), cpu_start = ig_bench_cpu_ns();
    IG_TRY(ig_stepper_run(s, NULL));
    IG_TRY(ig_times_add(times, ig_now_ns() - start));
    IG_TRY(ig_times_add(cpu, ig_bench_cpu_ns() - cpu_start));
  }
  return IG_OK;
}

// ends[i % 3] is the end of step i, ends[0] the begin of the first.
static ig_status add_between(ig_device *device, ig_event *const ends[3], int64_t step, ig_times *times) {
  uint64_t ns;
  IG_TRY(device->ops->event_elapsed(device, ends[(step - 1) % 3], ends[step % 3], &ns));
  return ig_times_add(times, ns);
}

static ig_status run_ahead(ig_stepper *s, int64_t steps, ig_event *const ends[3], ig_times *times) {
  ig_device *device = s->session->device;
  IG_TRY(device->ops->stream_wait(device, NULL));
  IG_TRY(device->ops->event_record(device, ends[0], NULL));
  for (int64_t i = 1; i <= steps; i++) {
    IG_TRY(launch(s));
    IG_TRY(device->ops->event_record(device, ends[i % 3], NULL));
    IG_TRY(take(s, 1));
    if (i > 1)
      IG_TRY(add_between(device, ends, i - 1, times));
  }
  IG_TRY(take(s, 0));
  return add_between(device, ends, steps, times);
}

static ig_status time_by_events(ig_stepper *s, int64_t steps, ig_times *times, ig_times *cpu) {
  ig_device *device = s->session->device;
  ig_event *ends[3] = {NULL, NULL, NULL};
  const uint64_t cpu_start = ig_bench_cpu_ns();
  ig_status status = IG_OK;
  for (int i = 0; i < 3; i++)
    IG_GOTO(device->ops->event_create(device, &ends[i]));
  IG_GOTO(run_ahead(s, steps, ends, times));
  IG_GOTO(ig_times_add(cpu, (ig_bench_cpu_ns() - cpu_start) / (uint64_t)steps));
done:
  for (int i = 0; i < 3; i++)
    if (ends[i])
      device->ops->event_destroy(device, ends[i]);
  return status;
}

ig_status ig_stepper_time(ig_stepper *s, int64_t steps, ig_times *times, ig_times *cpu) {
  const bool gpu = s->session->device->caps.kind == IG_DEVICE_CUDA;
  return s->train && gpu ? time_by_events(s, steps, times, cpu) : time_by_clock(s, steps, times, cpu);
}

int ig_stepper_plans(const ig_stepper *s, ig_plan *plans[2]) {
  plans[0] = s->train ? s->trainer.rungs[0].plan : s->evaluator->rungs[0].plan;
  plans[1] = s->train ? s->trainer.update_plan : NULL;
  return s->train ? 2 : 1;
}

uint64_t ig_stepper_bytes(const ig_stepper *s) {
  const ig_params *p = &s->session->params;
  ig_plan *plans[2];
  uint64_t arena = 0, total = 0;
  int n = ig_stepper_plans(s, plans);
  for (int i = 0; i < n; i++) {
    ig_plan_bytes bytes;
    ig_plan_get_bytes(plans[i], &bytes);
    arena = bytes.arena > arena ? bytes.arena : arena;
    total += bytes.persistent;
  }
  for (int kind = 0; kind < IG_N_PARAM_KINDS; kind++)
    total += (uint64_t)p->count[kind] * sizeof(float);
  if (s->train)  // gradients, moments, 16-bit copies
    total += (uint64_t)p->count[IG_PARAM_TRAINABLE] * sizeof(float) * (uint64_t)(1 + s->trainer.n_moments) +
             ig_session_copies_bytes(s->session);
  if (s->session->device->caps.kind == IG_DEVICE_CPU)
    total += ig_memory_heap() + s->pictures_bytes + library_bytes(s);
  return total + arena;
}
