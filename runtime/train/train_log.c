// What a run tells: log.jsonl, TensorBoard events, lines and progress for people, and the files at the end. Rule:
// log.jsonl never holds a step twice; a resume first drops what lies behind its checkpoint.
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/cpu.h"
#include "runtime/base/fileop.h"
#include "runtime/base/text.h"
#include "runtime/train/report.h"
#include "runtime/train/trainer_internal.h"

#define LOG_BYTES (1u << 30)

void ig_trainer_line(const ig_trainer *t, const char *format, ...) {
  if (!t->cb->line)
    return;
  char text[2300];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  t->cb->line(t->cb->user, text);
}

double ig_trainer_seconds(const ig_trainer *t) {
  return t->seconds_before + (t->started_ns ? (double)(ig_now_ns() - t->started_ns) * 1e-9 : 0);
}

// A run does not end for its log: lines wait in memory until the disk takes them. What is torn is cut off by
// ig_file_append, so that nothing is written twice.
ig_status ig_trainer_log_flush(ig_trainer *t, bool patient) {
  ig_status status = IG_OK;
  if (t->log_waiting.n)
    status = ig_file_append(t->log_path, t->log_waiting.data, t->log_waiting.n);
  if (status == IG_OK) {
    t->log_waiting.n = 0;
    status = t->events ? ig_events_flush(t->events) : IG_OK;
  }
  if (status != IG_ERR_IO || !patient)
    return status;
  if (!t->log_refused)
    ig_trainer_line(t, "warning: the log waits in memory until the disk takes it: %s", ig_error_message());
  t->log_refused = true;
  return IG_OK;
}

// Keeps the lines of steps up to the present one.
ig_status ig_trainer_log_open(ig_trainer *t) {
  IG_TRY(ig_trainer_log_flush(t, false));
  IG_TRY(ig_events_open(t->o->out, 0, &t->events));
  if (!ig_path_exists(t->log_path))
    return IG_OK;
  uint8_t *text;
  size_t n, kept = 0;
  IG_TRY(ig_file_read(t->log_path, LOG_BYTES, &text, &n));
  for (size_t at = 0; at < n;) {
    uint8_t *end = memchr(text + at, '\n', n - at);
    if (!end)
      break;  // a line cut off by a kill
    size_t length = (size_t)(end - (text + at)) + 1;
    json_t *line = json_loadb((const char *)text + at, length, 0, NULL);
    if (line && json_integer_value(json_object_get(line, "step")) <= t->step) {
      memmove(text + kept, text + at, length);
      kept += length;
    }
    json_decref(line);
    at += length;
  }
  ig_status status = kept == n ? IG_OK : ig_file_write_atomic(t->log_path, text, kept);
  ig_free(text);
  return status;
}

static json_t *number(double x) { return isfinite(x) ? json_real(x) : json_null(); }

// Takes the line over.
static ig_status append(ig_trainer *t, json_t *line) {
  char *text = line ? json_dumps(line, JSON_COMPACT) : NULL;
  json_decref(line);
  if (!text)
    return ig_fail(IG_ERR_MEMORY, "log: out of memory");
  size_t n = strlen(text);
  text[n] = '\n';  // in place of the NUL
  ig_status status = ig_text_add(&t->log_waiting, text, n + 1);
  free(text);
  return status == IG_OK ? ig_trainer_log_flush(t, true) : status;
}

// Of the samples since the progress line began to count.
static void show_rate(ig_trainer *t, uint64_t now) {
  const double seconds = (double)(now - t->rate_ns) * 1e-9;
  t->shown_rate = seconds > 0 ? (double)t->rate_samples / seconds : 0;
  t->shown_wait = seconds > 0 ? (double)(ig_loader_wait_ns(t->loader) - t->rate_wait_ns) * 1e-9 / seconds : 0;
}

static void count_anew(ig_trainer *t, uint64_t now) {
  t->rate_ns = now;
  t->rate_wait_ns = ig_loader_wait_ns(t->loader);
  t->rate_samples = 0;
}

void ig_trainer_warm(ig_trainer *t) {
  t->warm_ns = ig_now_ns();
  count_anew(t, t->warm_ns);
}

ig_status ig_trainer_log_step(ig_trainer *t) {
  uint64_t now = ig_now_ns(), wait = ig_loader_wait_ns(t->loader);
  double seconds = (double)(now - t->logged_ns) * 1e-9;
  double loss = t->window_weight > 0 ? t->window_loss / t->window_weight : NAN;
  double rate = seconds > 0 ? (double)t->window_samples / seconds : 0;
  double waited = seconds > 0 ? (double)(wait - t->window_wait_ns) * 1e-9 / seconds : 0;
  double saving = seconds > 0 ? (double)(t->save_wait_ns - t->window_save_ns) * 1e-9 / seconds : 0;
  if (isfinite(loss))
    t->last_loss = loss;
  double flops_rate = seconds > 0 ? t->window_flops / seconds : 0;
  json_t *line =
      json_pack("{s:I, s:I, s:s, s:o, s:f, s:o, s:f, s:I, s:o, s:o, s:o, s:o, s:o, s:f}", "step", (json_int_t)t->step,
                "epoch", (json_int_t)ig_trainer_epoch(t), "split", "train", "loss", number(loss), "lr", (double)t->lr,
                "grad_norm", number((double)t->result.norm[0]), "loss_scale", (double)t->result.scaler[IG_SCALER_SCALE],
                "skips", (json_int_t)t->result.scaler[IG_SCALER_SKIPS], "samples_per_second", number(rate), "data_wait",
                number(waited), "checkpoint_wait", number(saving), "gflops", number(flops_rate * 1e-9), "mfu",
                t->peak_flops > 0 ? number(flops_rate / t->peak_flops) : json_null(), "seconds", ig_trainer_seconds(t));
  IG_TRY(ig_events_scalar(t->events, 0, t->step, "train/loss", loss));
  IG_TRY(ig_events_scalar(t->events, 0, t->step, "train/lr", (float)t->lr));
  IG_TRY(ig_events_scalar(t->events, 0, t->step, "train/samples_per_second", rate));
  if (t->warm_ns) {
    show_rate(t, now);
    count_anew(t, now);
  }
  t->logged_ns = now;
  t->window_wait_ns = wait;
  t->window_save_ns = t->save_wait_ns;
  t->window_loss = t->window_weight = 0;
  t->window_samples = 0;
  t->window_flops = 0;
  return append(t, line);
}

ig_status ig_trainer_log_eval(ig_trainer *t, const ig_outcome *o) {
  json_t *line = json_pack("{s:I, s:I, s:s}", "step", (json_int_t)t->step, "epoch", (json_int_t)ig_trainer_epoch(t),
                           "split", "val");
  json_t *metrics = ig_outcome_log(&t->head, o), *value;
  const char *key;
  ig_status status = IG_OK;
  json_object_foreach(metrics, key, value) {
    char tag[64];
    snprintf(tag, sizeof tag, "val/%s", key);
    if (json_is_number(value))
      IG_GOTO(ig_events_scalar(t->events, 0, t->step, tag, json_number_value(value)));
  }
  if (!line || !metrics || json_object_update(line, metrics) ||
      json_object_set_new(line, "seconds", json_real(ig_trainer_seconds(t))))
    IG_GOTO(ig_fail(IG_ERR_MEMORY, "log: out of memory"));
  status = append(t, json_incref(line));
done:
  json_decref(metrics);
  json_decref(line);
  return status;
}

static void clock_text(double seconds, char text[32]) {
  int64_t s = (int64_t)(seconds + 0.5);
  if (s >= 3600)
    snprintf(text, 32, "%lld:%02lld:%02lld", (long long)(s / 3600), (long long)(s / 60 % 60), (long long)(s % 60));
  else
    snprintf(text, 32, "%lld:%02lld", (long long)(s / 60), (long long)(s % 60));
}

void ig_trainer_show(ig_trainer *t, bool now) {
  uint64_t ns = ig_now_ns();
  if (!t->cb->progress || (!now && ns - t->shown_ns < 500000000u))
    return;
  t->shown_ns = ns;
  // Rates over the present window, or over the last whole one while this is young.
  if (t->warm_ns && t->rate_samples && ((double)(ns - t->rate_ns) > 1e9 || t->shown_rate == 0))
    show_rate(t, ns);
  double loss = t->window_weight > 0 ? t->window_loss / t->window_weight : t->last_loss;
  char left[48] = "", rate[96] = "", waiting[48] = "", text[320], best[64] = "";
  bool share = !strcmp(t->monitor, "accuracy");
  int64_t epochs = ig_trainer_epochs(t), epoch = ig_trainer_epoch(t) + 1;
  const int64_t warm_steps = t->step - t->first_step - 1;
  if (t->warm_ns && warm_steps > 0) {
    char clock[32];
    clock_text((double)(ns - t->warm_ns) * 1e-9 / (double)warm_steps * (double)(t->total_steps - t->step), clock);
    snprintf(left, sizeof left, "  %s left", clock);
    snprintf(rate, sizeof rate, "  %.1f %s/s", t->shown_rate, ig_dataset_noun(t->o->data));
    snprintf(waiting, sizeof waiting, "  waiting for data %.1f %%", 100 * t->shown_wait);
  }
  if (t->best.exists)
    snprintf(best, sizeof best, "  kept: %s %.4g%s (epoch %lld)", t->monitor, fabs(t->best.score) * (share ? 100 : 1),
             share ? " %" : "", (long long)t->best.epoch);
  // What a narrow terminal cuts off matters least.
  snprintf(text, sizeof text, "epoch %lld of %lld%s  loss %.4f%s%s  step %lld of %lld%s  %.0f MiB",
           (long long)(epoch < epochs ? epoch : epochs), (long long)epochs, left, loss, best, rate, (long long)t->step,
           (long long)t->total_steps, waiting, (double)ig_memory_resident() / (1 << 20));
  t->cb->progress(t->cb->user, text);
}

// What the report tells of the texts: n, longest, truncated, max_length, unknown_share; lengths: texts of 1 to
// bar_width tokens, and so on. NULL for pictures.
static json_t *token_json(const ig_dataset *d) {
  enum { BARS = 16 };
  const ig_token_table *k = d->tokens;
  int64_t bars[BARS] = {0};
  if (!k)
    return NULL;
  const uint64_t width = ((uint64_t)k->longest + BARS - 1) / BARS > 0 ? ((uint64_t)k->longest + BARS - 1) / BARS : 1;
  for (size_t i = 0; i < d->n; i++) {
    const uint64_t length = k->start[i + 1] - k->start[i], bar = length ? (length - 1) / width : 0;
    bars[bar < BARS ? bar : BARS - 1]++;
  }
  json_t *lengths = json_array();
  for (int i = 0; i < BARS && (uint64_t)i * width < (uint64_t)k->longest; i++)
    json_array_append_new(lengths, json_integer((json_int_t)bars[i]));
  return json_pack("{s:I, s:i, s:I, s:i, s:f, s:I, s:I, s:o}", "n", (json_int_t)d->n, "longest", k->longest,
                   "truncated", (json_int_t)k->n_truncated, "max_length", k->max_length, "unknown_share",
                   k->n_tokens ? (double)k->n_unknown / (double)k->n_tokens : 0.0, "invalid", (json_int_t)d->n_invalid,
                   "bar_width", (json_int_t)width, "lengths", lengths);
}

// The scores of the validation part and the matrix of its classes, in each evaluation; at the end, where no snapshot is
// in memory any more, result.json as it is written (the matrix's zeros are one value) and as the report reads it (32
// bytes a value), and predictions.csv (16 characters an output).
uint64_t ig_trainer_result_bytes(const ig_trainer *t, uint64_t snapshot) {
  const ig_dataset *d = t->o->data;
  const uint64_t n = d->count[IG_PART_VAL], k = (uint64_t)d->n_classes;
  uint64_t rows = n, held, files, row = 8;
  if (!n || d->task == IG_TASK_MLM)
    return 0;
  for (uint64_t i = 0; d->task == IG_TASK_TAG && i < n; i++)  // scores of words
    rows += d->texts[d->index[IG_PART_VAL][i]].n_words - 1;
  held = 4 * k * rows;
  files = 16 * k * rows;
  if (ig_task_has_classes(d->task)) {
    while (row < k)
      row *= 2;  // jansson's arrays double
    held += 8 * k * k;
    files += k * (2 * 8 * row + 32 * k);
  }
  return held + (files > snapshot ? files - snapshot : 0);
}

// Reads the best weights back, evaluates them on the validation part, and writes predictions.csv, result.json and
// report.html.
ig_status ig_trainer_finish(ig_trainer *t, json_t **result) {
  ig_session *s = t->session;
  ig_scores scores;
  ig_outcome outcome = {0};
  ig_train_callbacks callbacks = *t->cb;
  callbacks.should_stop = NULL;
  json_t *metrics = NULL;
  char *path = NULL, *text = NULL;
  size_t unreadable = t->o->data->n_skipped + ig_loader_unreadable(t->loader);
  ig_status status = IG_OK;
  ig_scores_init(&scores, t->evaluator ? t->evaluator->classes : 1);
  IG_GOTO(ig_trainer_log_flush(t, false));
  if (!t->best.exists)
    IG_GOTO(ig_trainer_save_best(t));
  if (t->evaluator) {
    IG_GOTO(ig_session_load(s, t->weights_path, t->o->session.model,
                            &(ig_weights_options){.size = sizeof(ig_weights_options)}, &(ig_weights_report){0}));
    IG_GOTO(ig_evaluator_refresh(t->evaluator, false));
    IG_GOTO(ig_evaluate(t->evaluator, t->o->data, IG_PART_VAL, t->o->eval_crop_ratio, t->o->loader_threads, false,
                        IG_MAX_UNREADABLE, &callbacks, &scores));
    if (!t->o->session.model->build_text)  // whose scores may be of words
      unreadable += t->o->data->count[IG_PART_VAL] - scores.n;
    IG_GOTO(ig_outcome_measure(&t->head, &scores, t->o->data, &outcome));
    IG_GOTO(ig_outcome_json(&t->head, &outcome, &metrics));
    IG_GOTO(ig_trainer_write_predictions(t, &scores));
  } else {
    metrics = json_object();
  }
  json_t *run = json_pack(
      "{s:s, s:I, s:I, s:I, s:f, s:o, s:o, s:I, s:I}", "run", t->o->out, "steps", (json_int_t)t->step, "total_steps",
      (json_int_t)t->total_steps, "epochs", (json_int_t)ig_trainer_epoch(t), "seconds", ig_trainer_seconds(t),
      "train_loss", number(t->last_loss), "best_epoch", t->best.exists ? json_integer(t->best.epoch) : json_null(),
      "unreadable", (json_int_t)unreadable, "peak_memory", (json_int_t)ig_memory_peak());
  json_t *tokens = token_json(t->o->data);
  if (run)
    json_object_set_new(run, "samples", json_string(ig_dataset_noun(t->o->data)));
  if (run && t->best.exists && t->best.highest > t->best.score)
    json_object_set_new(run, "highest_accuracy", json_real(t->best.highest));
  if (run && (tokens || t->o->data->kind == IG_DATASET_CORPUS))
    json_object_set_new(run, "invalid", json_integer((json_int_t)t->o->data->n_invalid));
  if (run && tokens)
    json_object_set_new(run, "tokens", tokens);
  if (!run || json_object_update_missing(run, metrics)) {
    json_decref(run);
    IG_GOTO(ig_fail(IG_ERR_MEMORY, "result: out of memory"));
  }
  *result = run;
  text = json_dumps(run, JSON_INDENT(1));
  IG_GOTO(ig_path_join(&path, t->o->out, "result.json"));
  IG_GOTO(text ? ig_file_write_atomic(path, text, strlen(text)) : ig_fail(IG_ERR_MEMORY, "result: out of memory"));
  free(text);
  text = NULL;
  ig_free(path);
  path = NULL;
  IG_GOTO(ig_path_join(&path, t->o->out, "report.html"));
  if (ig_report_write(t->o->out, path) != IG_OK)
    ig_trainer_line(t, "warning: the report could not be written: %s", ig_error_message());
done:
  ig_outcome_fini(&outcome);
  ig_scores_fini(&scores);
  json_decref(metrics);
  ig_free(path);
  free(text);
  return status;
}
