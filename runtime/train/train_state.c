// A run's state as a checkpoint and back: weights, statistics, moments, averages, counters, choices. Rule: what a
// resume needs to go on bit for bit is here, and nowhere else.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "runtime/base/cpu.h"
#include "runtime/base/fileop.h"
#include "runtime/ckpt/checkpoint.h"
#include "runtime/data/mlm.h"
#include "runtime/train/trainer_internal.h"

#define SAVE_ATTEMPTS 3  // failed saves in a row that stop the run
#define BEST_PAUSE_NS 100000000
#define RETRY_NS      10000000000ull  // a failed save is tried again after this, or when the next is due

typedef struct rows {
  ig_ckpt_tensor *items;
  char (*names)[320];  // of moments
  size_t n, n_names;
} rows;

static void add(rows *r, const ig_param *p, const char *group, const char *name, const float *data, bool flat) {
  ig_ckpt_tensor *row = &r->items[r->n++];
  memset(row, 0, sizeof *row);
  row->name = name;
  row->dtype = IG_F32;
  row->group = group;
  row->data = data;
  row->n_dims = flat ? 1 : p->shape.n;
  for (int i = 0; i < p->shape.n && !flat; i++)
    row->dims[i] = p->shape.d[i];
  if (flat)
    row->dims[0] = ig_shape_count(&p->shape);
}

static ig_status make_rows(const ig_trainer *t, rows *r) {
  const ig_session *s = t->session;
  const ig_params *params = &s->params;
  memset(r, 0, sizeof *r);
  IG_TRY(ig_alloc_array(params->n * (2 + IG_MAX_MOMENTS), sizeof *r->items, "checkpoint table", &r->items));
  IG_TRY(ig_alloc_array(params->n * IG_MAX_MOMENTS + 1, sizeof *r->names, "checkpoint table", &r->names));
  for (size_t i = 0; i < params->n; i++) {
    const ig_param *p = params->items[i];
    const bool state = p->kind == IG_PARAM_STATE, trainable = p->kind == IG_PARAM_TRAINABLE;
    add(r, p, state ? "state" : "weights", p->name, s->buffers[p->kind] + p->offset, false);
    if (trainable)
      for (int m = 0; m < t->n_moments; m++) {
        char *name = r->names[r->n_names++];
        snprintf(name, sizeof *r->names, "moment%d/%s", m, p->name);
        add(r, p, "moments", name, t->moments[m].host ? (float *)t->moments[m].host + p->offset : NULL, true);
      }
    if (t->o->ema > 0 && trainable)
      add(r, p, "ema", p->name, s->ema ? s->ema + p->offset : NULL, false);
    if (t->o->ema > 0 && state)
      add(r, p, "ema", p->name, s->ema_state ? s->ema_state + p->offset : NULL, false);
  }
  return IG_OK;
}

static void free_rows(rows *r) {
  ig_free(r->items);
  ig_free(r->names);
}

static uint64_t measure(const ig_trainer *t, uint64_t (*bytes_of)(const ig_ckpt_tensor *, size_t)) {
  rows r;
  uint64_t bytes = 0;
  if (make_rows(t, &r) == IG_OK)
    bytes = bytes_of(r.items, r.n);
  free_rows(&r);
  return bytes;
}

uint64_t ig_trainer_checkpoint_bytes(const ig_trainer *t) { return measure(t, ig_ckpt_bytes); }
uint64_t ig_trainer_snapshot_bytes(const ig_trainer *t) { return measure(t, ig_ckpt_peak_bytes); }

static ig_weights_info info_of(const ig_trainer *t) {
  ig_weights_info info = {.model = (char *)t->o->session.model->name,
                          .task = (char *)ig_task_name(t->head.task),
                          .loss = (char *)t->head.loss,
                          .target_mean = t->target_mean,
                          .target_std = t->target_std,
                          .classes = t->o->data->classes,
                          .n_classes = t->o->data->n_classes,
                          .image_size = t->o->image_size,
                          .eval_crop_ratio = t->o->eval_crop_ratio,
                          .has_preprocessing = !t->o->tokenizer,
                          .config = (char *)t->o->config_json,
                          .max_length = t->o->max_length,
                          .says_pair = true,
                          .pair = t->o->data->texts && t->o->data->n && t->o->data->texts[0].second,
                          .step = t->step};
  const ig_mlm *mlm = t->o->data->mlm;
  if (mlm && ig_mlm_pairs(mlm) != IG_PAIR_NONE)
    info.pairs = (char *)ig_mlm_pair_name(ig_mlm_pairs(mlm));
  memcpy(info.mean, t->o->session.model->mean, sizeof info.mean);
  memcpy(info.std, t->o->session.model->std, sizeof info.std);
  return info;
}

static void warn_line(void *user, const char *text) { ig_trainer_line(user, "warning: %s", text); }

// The device's state as the host's files see it.
static ig_status pull(ig_trainer *t) {
  IG_TRY(ig_session_pull(t->session));
  for (int m = 0; m < t->n_moments; m++)
    IG_TRY(ig_mirror_pull(t->session->device, &t->moments[m]));
  return IG_OK;
}

static ig_status start_save(ig_trainer *t) {
  IG_TRY(pull(t));
  rows r;
  char *choices = NULL, *state = NULL, *about = NULL;
  json_t *json = NULL;
  ig_weights_info info = info_of(t);
  ig_status status = make_rows(t, &r);
  if (status != IG_OK)
    goto done;
  IG_GOTO(ig_weights_info_json(&info, &about));
  IG_GOTO(ig_tuner_export(t->session->tuner, &choices));
  json = json_pack(
      "{s:I, s:I, s:I, s:I, s:{s:b, s:I, s:I, s:f, s:f, s:f}, s:f, s:f, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:f, s:f, "
      "s:f}",
      "step", (json_int_t)t->step, "updates", (json_int_t)t->updates, "position", (json_int_t)t->position,
      "evaluations_since_best", (json_int_t)t->evaluations_since_best, "best", "exists", t->best.exists, "step",
      (json_int_t)t->best.step, "epoch", (json_int_t)t->best.epoch, "score", t->best.score, "loss", t->best.loss,
      "highest", t->best.highest, "seconds", ig_trainer_seconds(t), "last_loss", t->last_loss, "model",
      t->o->session.model->name, "dataset", t->o->data->fingerprint, "choices", choices, "precision",
      ig_dtype_name(t->session->compute), "config", t->o->args_yaml ? t->o->args_yaml : "", "seed",
      (json_int_t)t->o->session.seed, "total_steps", (json_int_t)t->total_steps, "loss_scale",
      (double)t->result.scaler[IG_SCALER_SCALE], "loss_scale_good", (double)t->result.scaler[IG_SCALER_GOOD],
      "loss_scale_skips", (double)t->result.scaler[IG_SCALER_SKIPS]);
  if (json && !json_object_set_new(json, "info", json_loads(about, 0, NULL)))
    state = json_dumps(json, JSON_COMPACT);
  if (!state)
    IG_GOTO(ig_fail(IG_ERR_MEMORY, "checkpoint: out of memory"));
  if (!t->writer)
    IG_GOTO(ig_ckpt_writer_create(r.items, r.n, &t->writer));
  IG_GOTO(ig_ckpt_writer_start(t->writer,
                               &(ig_ckpt_save_options){.folder = t->checkpoints,
                                                       .step = t->step,
                                                       .run_uuid = t->uuid,
                                                       .config_hash = t->o->config_hash ? t->o->config_hash : "",
                                                       .state_json = state,
                                                       .keep = t->o->keep,
                                                       .protect = t->best.exists ? t->best.step : -1,
                                                       .warn = warn_line,
                                                       .warn_user = t},
                               r.items, r.n));
  t->saved_ns = ig_now_ns();
done:
  free_rows(&r);
  json_decref(json);
  ig_free(about);
  ig_free(choices);
  free(state);
  return status;
}

ig_status ig_trainer_collect(ig_trainer *t, bool wait) {
  int64_t step;
  ig_status status;
  if (!t->writer || !ig_ckpt_writer_collect(t->writer, wait, &step, &status))
    return IG_OK;
  if (status == IG_OK) {
    t->saved_step = step;
    t->save_failures = 0;
    t->retry_ns = 0;
    return IG_OK;
  }
  if (status == IG_ERR_MEMORY || status == IG_ERR_INTERNAL)
    return status;
  char last[64] = "no checkpoint is there yet";
  if (t->saved_step >= 0)
    snprintf(last, sizeof last, "the last checkpoint is step-%lld", (long long)t->saved_step);
  if (++t->save_failures == SAVE_ATTEMPTS)
    return ig_fail(IG_ERR_IO, "%d checkpoints in a row could not be written, the newest of step %lld: %s; %s in %s",
                   SAVE_ATTEMPTS, (long long)step, ig_error_message(), last, t->checkpoints);
  t->retry_ns = ig_now_ns() + RETRY_NS;
  ig_trainer_line(t, "warning: the checkpoint of step %lld failed (%d of %d in a row stop the run): %s; %s",
                  (long long)step, t->save_failures, SAVE_ATTEMPTS, ig_error_message(), last);
  return IG_OK;
}

ig_status ig_trainer_save(ig_trainer *t, bool wait) {
  uint64_t begin = ig_now_ns();
  ig_status status = ig_trainer_collect(t, true);
  if (status == IG_OK)
    status = start_save(t);
  while (status == IG_OK && wait && t->saved_step != t->step) {
    status = ig_trainer_collect(t, true);
    if (status == IG_OK && t->saved_step != t->step)
      status = start_save(t);
  }
  t->save_wait_ns += ig_now_ns() - begin;
  return status;
}

static ig_status compare_config(const ig_trainer *t, const ig_ckpt_reader *reader) {
  const char *hash = ig_ckpt_config_hash(reader);
  if (!t->o->config_hash || !*hash || !strcmp(hash, t->o->config_hash))
    return IG_OK;
  return ig_fail(IG_ERR_MISMATCH,
                 "%s: was written with another configuration (compare %s/args.yaml); on a resume only threads, device, "
                 "save_every, keep, time_limit, logging, and epochs or steps upward may change%s%s",
                 ig_ckpt_path(reader), t->o->out,
                 t->o->tokenizer ? "; config.json and the tokenizer must be what they were" : "",
                 t->o->class_weights ? "; a file of class weights must hold what it held" : "");
}

static ig_status compare_data(const ig_trainer *t, const char *fingerprint, const char *path) {
  if (!strcmp(fingerprint, t->o->data->fingerprint))
    return IG_OK;
  return ig_fail(IG_ERR_MISMATCH,
                 "%s: the data set has changed since this checkpoint (fingerprint %.12s, now %.12s): files were "
                 "added, removed or changed under %s; put them back, or start a new run with weights=%s",
                 path, fingerprint, t->o->data->fingerprint, t->o->data->path, path);
}

static ig_status open_checkpoint(const ig_trainer *t, const char *from, bool walk_back, ig_ckpt_reader **out) {
  return walk_back ? ig_ckpt_open_latest(from, out, warn_line, (void *)t) : ig_ckpt_open(from, out);
}

// A folder that does not say which run it is began with an older version.
static ig_status compare_run(const ig_trainer *t) {
  const char *path = ig_ckpt_path(t->reader), *uuid = ig_ckpt_run_uuid(t->reader);
  char *mine = NULL;
  uint8_t *text = NULL;
  size_t n;
  ig_status status = IG_OK;
  IG_TRY(ig_path_join(&mine, t->o->out, IG_RUN_FILE));
  if (!ig_path_exists(mine))
    goto done;
  IG_GOTO(ig_file_read(mine, sizeof t->uuid, &text, &n));
  if (n != strlen(uuid) || memcmp(text, uuid, n) != 0)
    status = ig_fail(IG_ERR_MISMATCH,
                     "%s: was written by another run (%s, this folder's is %.*s); remove it from here, or start a new "
                     "run from it with weights=%s",
                     path, uuid, (int)n, (const char *)text, path);
done:
  ig_free(text);
  ig_free(mine);
  return status;
}

ig_status ig_trainer_open_checkpoint(ig_trainer *t) {
  const bool step = t->o->resume == IG_RESUME_PATH;
  IG_TRY(open_checkpoint(t, step ? t->o->resume_path : t->checkpoints, !step, &t->reader));
  return compare_run(t);
}

static json_t *state_of(const ig_ckpt_reader *reader) {
  const char *text = ig_ckpt_state_json(reader);
  return json_loads(text ? text : "", 0, NULL);
}

ig_status ig_trainer_recall_choices(ig_trainer *t) {
  json_t *j = t->reader ? state_of(t->reader) : NULL;
  const char *choices = json_string_value(json_object_get(j, "choices"));
  const char *precision = json_string_value(json_object_get(j, "precision"));
  ig_status status = choices ? ig_tuner_import(t->session->tuner, choices) : IG_OK;
  if (precision && !strcmp(t->o->session.precision, "auto"))
    t->session->compute =
        !strcmp(precision, ig_dtype_name(IG_BF16)) && t->session->device->caps.bf16 ? IG_BF16 : IG_F32;
  json_decref(j);
  return status;
}

ig_status ig_trainer_compare(const ig_trainer *t) {
  if (!t->reader)
    return IG_OK;
  json_t *j = state_of(t->reader);
  const char *fingerprint = json_string_value(json_object_get(j, "dataset"));
  ig_status status = compare_config(t, t->reader);
  if (status == IG_OK && fingerprint)
    status = compare_data(t, fingerprint, ig_ckpt_path(t->reader));
  json_decref(j);
  return status;
}

// precision=auto is what it was when the run began (ig_trainer_recall_choices), or the run ends here. Older checkpoints
// do not say.
static ig_status compare_precision(const ig_trainer *t, const char *precision, const char *path) {
  const ig_device_caps *caps = &t->session->device->caps;
  if (!precision || !strcmp(precision, ig_dtype_name(t->session->compute)))
    return IG_OK;
  return ig_fail(IG_ERR_UNSUPPORTED,
                 "%s: the run computes in %s, which %s does not have%s%s; go on where there is %s, or start a new run "
                 "in fp32 from its weights (precision=fp32 weights=%s)",
                 path, precision, caps->name, caps->kind == IG_DEVICE_CPU ? " with isa=" : "",
                 caps->kind == IG_DEVICE_CPU ? ig_isa_name(caps->isa) : "", precision, t->o->out);
}

static ig_status read_state(ig_trainer *t, const char *text, const char *path) {
  json_error_t error;
  json_t *j = json_loads(text ? text : "", JSON_REJECT_DUPLICATES, &error), *best = json_object_get(j, "best");
  const char *fingerprint = json_string_value(json_object_get(j, "dataset"));
  const char *choices = json_string_value(json_object_get(j, "choices"));
  const char *model = json_string_value(json_object_get(j, "model"));
  ig_status status = IG_OK;
  if (!j || !best || !fingerprint || !choices || !model)
    IG_GOTO(ig_fail(IG_ERR_FORMAT, "%s: its state is no training state of this program (%s)", path,
                    j ? "fields are missing" : error.text));
  if (strcmp(model, t->o->session.model->name))
    IG_GOTO(ig_fail(IG_ERR_MISMATCH, "%s: was written by model=%s, this run has model=%s", path, model,
                    t->o->session.model->name));
  IG_GOTO(compare_data(t, fingerprint, path));
  IG_GOTO(compare_precision(t, json_string_value(json_object_get(j, "precision")), path));
  IG_GOTO(ig_tuner_import(t->session->tuner, choices));
  t->step = json_integer_value(json_object_get(j, "step"));
  t->updates = json_integer_value(json_object_get(j, "updates"));
  t->position = json_integer_value(json_object_get(j, "position"));
  IG_GOTO(ig_trainer_check_phases(t, json_integer_value(json_object_get(j, "total_steps")), t->position));
  t->evaluations_since_best = json_integer_value(json_object_get(j, "evaluations_since_best"));
  t->best.exists = json_is_true(json_object_get(best, "exists"));
  t->best.step = json_integer_value(json_object_get(best, "step"));
  t->best.epoch = json_integer_value(json_object_get(best, "epoch"));
  t->best.score = json_number_value(json_object_get(best, "score"));
  t->best.loss = json_number_value(json_object_get(best, "loss"));
  const json_t *highest = json_object_get(best, "highest");  // not in checkpoints before 2026-12
  t->best.highest = highest ? json_number_value(highest) : t->best.score;
  t->scaler[IG_SCALER_SCALE] = (float)json_number_value(json_object_get(j, "loss_scale"));
  t->scaler[IG_SCALER_GOOD] = (float)json_number_value(json_object_get(j, "loss_scale_good"));
  t->scaler[IG_SCALER_SKIPS] = (float)json_number_value(json_object_get(j, "loss_scale_skips"));
  t->seconds_before = json_number_value(json_object_get(j, "seconds"));
  t->last_loss = json_number_value(json_object_get(j, "last_loss"));
done:
  json_decref(j);
  return status;
}

ig_status ig_trainer_restore(ig_trainer *t, const char *from, bool walk_back) {
  ig_ckpt_reader *reader = t->reader;
  rows r = {0};
  ig_status status = reader ? IG_OK : open_checkpoint(t, from, walk_back, &reader);
  if (status != IG_OK)
    return status;
  t->reader = NULL;
  IG_GOTO(compare_config(t, reader));
  IG_GOTO(read_state(t, ig_ckpt_state_json(reader), ig_ckpt_path(reader)));
  IG_GOTO(make_rows(t, &r));
  for (size_t i = 0; i < r.n; i++) {
    ig_ckpt_tensor *row = &r.items[i];
    size_t n = 1;
    for (int d = 0; d < row->n_dims; d++)
      n *= (size_t)row->dims[d];
    IG_GOTO(ig_ckpt_read(reader, row->group, row->name, (void *)row->data, n * sizeof(float)));
  }
  IG_GOTO(ig_session_push(t->session));
  for (int m = 0; m < t->n_moments; m++)
    IG_GOTO(ig_mirror_push(t->session->device, &t->moments[m]));
  IG_GOTO(ig_trainer_set_scaler(t, t->scaler));
  snprintf(t->uuid, sizeof t->uuid, "%s", ig_ckpt_run_uuid(reader));
  t->saved_step = t->step;
done:
  free_rows(&r);
  ig_ckpt_close(reader);
  return status;
}

static ig_status write_best(ig_trainer *t) {
  ig_session *s = t->session;
  IG_TRY(ig_session_pull(s));
  const bool ema = t->o->ema > 0;
  const float *buffers[IG_N_PARAM_KINDS] = {
      [IG_PARAM_TRAINABLE] = ema ? s->ema : s->buffers[IG_PARAM_TRAINABLE],
      [IG_PARAM_FROZEN] = s->buffers[IG_PARAM_FROZEN],
      [IG_PARAM_STATE] = ema ? s->ema_state : s->buffers[IG_PARAM_STATE],
  };
  ig_weights_info info = info_of(t);
  if (t->best.exists)
    info.step = t->best.step;
  IG_TRY(ig_weights_save(t->weights_path, &s->params, buffers, &info, t->updates));
  char text[64];
  int n = snprintf(text, sizeof text, "step-%lld\n", (long long)info.step);
  return ig_file_write_atomic(t->best_path, text, (size_t)n);
}

// These weights are gone with the next step: it is tried again at once, with short pauses.
ig_status ig_trainer_save_best(ig_trainer *t) {
  ig_status status = write_best(t);
  for (int attempt = 1; status == IG_ERR_IO && attempt < SAVE_ATTEMPTS; attempt++) {
    ig_trainer_line(t, "warning: the best weights could not be written (attempt %d of %d): %s", attempt, SAVE_ATTEMPTS,
                    ig_error_message());
    nanosleep(&(struct timespec){.tv_nsec = attempt * BEST_PAUSE_NS}, NULL);
    status = write_best(t);
  }
  return status;
}
