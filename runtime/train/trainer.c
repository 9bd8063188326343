// The training loop: data, micro-batches, update, evaluation, checkpoints. Rule: whatever decides the weights depends
// on (options, position, state) alone; the clock decides only when to save, to log and to stop.
#include "runtime/train/trainer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "runtime/base/cpu.h"
#include "runtime/base/fileop.h"
#include "runtime/base/text.h"
#include "runtime/ckpt/checkpoint.h"
#include "runtime/device/peak.h"
#include "runtime/tokenizer/tokenizer.h"
#include "runtime/train/interval.h"
#include "runtime/train/trainer_internal.h"

#define SECOND    1000000000ull
#define FALLBACKS 3  // returns to the last checkpoint after non-finite losses before the run stops

static void make_uuid(char text[37]) {
  uint8_t b[16] = {0};
  if (getrandom(b, sizeof b, 0) != (ssize_t)sizeof b)
    memcpy(b, &(uint64_t){ig_now_ns()}, 8);
  b[6] = (uint8_t)((b[6] & 0x0f) | 0x40);
  b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
  for (int i = 0, at = 0; i < 16; i++)
    at += snprintf(text + at, (size_t)(37 - at), i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x", b[i]);
}

static ig_status write_text(const ig_trainer *t, const char *name, const char *text) {
  char *path;
  if (!text)
    return IG_OK;
  IG_TRY(ig_path_join(&path, t->o->out, name));
  ig_status status = ig_file_write_atomic(path, text, strlen(text));
  ig_free(path);
  return status;
}

// One step, started; its result is looked at by settle().
static ig_status step(ig_trainer *t) {
  const ig_train_options *o = t->o;
  const int n = o->accumulate > 1 ? o->accumulate : 1;
  if (ig_trainer_phase(t) != t->phase)
    IG_TRY(ig_trainer_seek(t));
  for (int i = 0; i < n; i++) {
    const ig_batch *b;
    IG_TRY(ig_loader_next(t->loader, &b));
    IG_TRY(ig_trainer_micro_batch(t, b, i));
  }
  IG_TRY(ig_trainer_update(t, ig_schedule_lr(&o->schedule, t->step)));
  t->step++;
  t->position += o->batch;
  t->window_samples += o->batch;
  t->rate_samples += o->batch;
  return IG_OK;
}

// The step whose result was looked at last: a GPU is ahead of it.
static int64_t judged(const ig_trainer *t) { return t->step - (t->launched - t->taken); }

// Back to the last checkpoint, where there is one and it was not tried too often; else the end. why: "the loss was not
// finite 4 times in a row". Goes on behind the batches of here; the same ones would fail again.
static ig_status fall_back(ig_trainer *t, const char *why) {
  IG_TRY(ig_trainer_collect(t, true));
  if (t->fallbacks++ == FALLBACKS || t->saved_step <= 0)
    return ig_fail(IG_ERR_NUMERIC,
                   "step %lld: %s; lower lr=, set clip=1, or look at these %s; the last checkpoint is %s",
                   (long long)judged(t), why, ig_dataset_noun(t->o->data), t->saved_step > 0 ? t->checkpoints : "none");
  ig_trainer_line(t, "warning: step %lld: %s: back to the last checkpoint", (long long)judged(t), why);
  t->bad_in_a_row = 0;
  const int64_t position = t->position - (t->launched - t->taken) * t->o->batch;  // a step under way is forgotten
  const ig_best best = t->best;  // model.safetensors may be of an epoch behind the checkpoint: it was good
  IG_TRY(ig_trainer_restore(t, t->checkpoints, true));
  t->best = best;
  t->position = position;
  t->started_ns = ig_now_ns();
  t->first_step = t->step;
  t->warm_ns = 0;
  ig_status closed = ig_events_close(t->events);
  t->events = NULL;
  IG_TRY(closed);
  IG_TRY(ig_trainer_log_open(t));  // drops the lines behind the checkpoint
  IG_TRY(ig_trainer_bind(t));
  return ig_trainer_seek(t);
}

// The first pictures of the batch whose result was just looked at.
static void name_batch(const ig_trainer *t, char *out, size_t n) {
  const int64_t begin = t->position - t->o->batch * (1 + t->launched - t->taken);
  size_t at = 0;
  for (int64_t i = 0; i < t->o->batch && i < 4 && at < n; i++) {
    if (!t->o->data->samples) {  // a corpus: its windows have no names
      snprintf(out, n, "from text window %lld", (long long)begin);
      return;
    }
    uint64_t sample = ig_loader_sample_at(t->loader, begin + i);
    char quoted[IG_QUOTE_BYTES];
    at += (size_t)snprintf(out + at, n - at, "%s%s", i ? ", " : "", ig_quote(quoted, t->o->data->samples[sample].name));
  }
}

// After a loss that is not finite: skip up to nan_limit in a row, then the last checkpoint, then stop naming the batch.
static ig_status handle_bad(ig_trainer *t, bool *returned) {
  char names[600] = "", why[800];
  name_batch(t, names, sizeof names);
  ig_trainer_line(t, "warning: step %lld: the loss or its gradient is not finite; the step is skipped (batch: %s, ...)",
                  (long long)judged(t), names);
  *returned = ++t->bad_in_a_row > (t->o->nan_limit > 0 ? t->o->nan_limit : 3);
  if (!*returned)
    return IG_OK;
  if (t->o->loss_scale > 0 && isfinite(t->result.totals[IG_TOTAL_LOSS]))
    snprintf(why, sizeof why,
             "gradients overflowed %d times in a row with the fixed loss_scale=%g: take a smaller one, or dynamic",
             t->bad_in_a_row, t->o->loss_scale);
  else
    snprintf(why, sizeof why, "the loss was not finite %d times in a row (last batch: %s, ...)", t->bad_in_a_row,
             names);
  return fall_back(t, why);
}

// Looks at the result in t->result. A loss or gradients that are not finite changed nothing but the position; with a
// loss scale that moves (scaled) an overflow of gradients is no such step: the scale falls.
static ig_status judge(ig_trainer *t, bool scaled, bool *returned) {
  const ig_step_words *r = &t->result;
  const double loss = (double)r->totals[IG_TOTAL_LOSS], weight = (double)r->totals[IG_TOTAL_WEIGHT];
  const bool skipped = r->gscale[IG_GSCALE_SKIP] >= 1, bad = skipped && weight > 0 && !(scaled && isfinite(loss));
  t->updates = (int64_t)r->scaler[IG_SCALER_UPDATES];
  if (bad && t->session->compute == IG_F16 && t->o->loss_scale <= 0 && isfinite(loss))
    return ig_fail(IG_ERR_NUMERIC,
                   "step %lld: gradients are not finite even at the least loss scale of 1; lower lr=, or use "
                   "precision=bf16 or fp32",
                   (long long)judged(t));
  if (bad)
    return handle_bad(t, returned);
  t->bad_in_a_row = 0;
  if (isfinite(loss)) {
    t->window_loss += loss;
    t->window_weight += weight;
  }
  return IG_OK;
}

// Results of started steps but the last `leave`, one by one. *returned: the run is back at its last checkpoint.
static ig_status settle(ig_trainer *t, int leave, bool *returned) {
  const bool moves = t->session->compute == IG_F16 && t->o->loss_scale <= 0;
  *returned = false;
  for (bool one = true; one && !*returned;) {
    const bool scaled = moves && t->result.scaler[IG_SCALER_SCALE] != 1;  // in that step; its end may bring it to 1
    IG_TRY(ig_trainer_take(t, leave, &one));
    if (one)
      IG_TRY(judge(t, scaled, returned));
  }
  return IG_OK;
}

// Does a result, no better than the best so far, speak against its epoch? Of fresh weights, whose rate falls to the
// end, the latest epoch is kept whose accuracy is within one standard error of the highest (Breiman et al. 1984): among
// dozens of evaluations the highest is often luck, of an epoch half learned. Learned weights get worse by too many
// epochs.
static bool as_good(const ig_trainer *t, const ig_outcome *o, double score) {
  const int64_t n = o->classes.n;
  return !t->o->weights && ig_task_has_classes(t->head.task) && !strcmp(t->monitor, "accuracy") &&
         score >= ig_interval_wilson(llround(t->best.highest * (double)n), n, 1).low;
}

// *returned: the weights are no good, and the run is back at its last checkpoint.
static ig_status evaluate(ig_trainer *t, bool *returned) {
  ig_scores scores;
  ig_outcome outcome = {0};
  char text[128];
  ig_status status = IG_OK;
  uint64_t begin = ig_now_ns();
  *returned = false;
  ig_train_callbacks callbacks = *t->cb;
  callbacks.should_stop = NULL;  // a step ends with its evaluation, so that a resume finds the same best epoch
  ig_scores_init(&scores, t->evaluator->classes);
  IG_GOTO(ig_evaluator_refresh(t->evaluator, t->o->ema > 0));
  IG_GOTO(ig_evaluate(t->evaluator, t->o->data, IG_PART_VAL, t->o->eval_crop_ratio, t->o->loader_threads, t->o->strict,
                      IG_MAX_UNREADABLE, &callbacks, &scores));
  status = ig_outcome_measure(&t->head, &scores, t->o->data, &outcome);
  if (status == IG_ERR_NUMERIC) {
    char names[600] = "", why[800];
    name_batch(t, names, sizeof names);
    snprintf(why, sizeof why, "the model's answers to the validation part are not finite (last batch: %s, ...)", names);
    *returned = true;
    status = fall_back(t, why);
  }
  if (*returned || status != IG_OK)
    goto done;
  double loss = outcome.loss, score = ig_outcome_score(&t->head, &outcome, t->monitor);
  const bool first = !t->best.exists, higher = first || score > t->best.highest,
             better = higher || (score == t->best.highest && loss < t->best.loss),
             kept = better || as_good(t, &outcome, score);
  IG_GOTO(ig_trainer_log_eval(t, &outcome));
  t->evaluations_since_best = better ? 0 : t->evaluations_since_best + 1;
  if (kept) {
    t->best = (ig_best){true, t->step, ig_trainer_epoch(t), score, loss, higher ? score : t->best.highest};
    IG_GOTO(ig_trainer_save_best(t));
  }
  if (t->cb->progress)
    t->cb->progress(t->cb->user, "");
  ig_trainer_line(t, "epoch %lld of %lld done  training loss %.4f  validation: loss %.4f  %s%s",
                  (long long)ig_trainer_epoch(t), (long long)ig_trainer_epochs(t), t->last_loss, loss,
                  ig_outcome_text(&t->head, &outcome, text),
                  better ? "  best so far"
                  : kept ? "  kept: not measurably below the best"
                         : "");
done:
  ig_outcome_fini(&outcome);
  ig_scores_fini(&scores);
  const uint64_t took = ig_now_ns() - begin;
  t->logged_ns += took;  // training rates do not count evaluation
  t->rate_ns += took;
  return status;
}

// Epochs between evaluations: about 40 in a run.
static int64_t epochs_per_evaluation(const ig_trainer *t) {
  int64_t epochs = ig_trainer_epochs(t);
  return epochs > 40 ? epochs / 40 : 1;
}

static bool runs_ahead(const ig_trainer *t) { return t->session->device->ops->capture_begin != NULL; }

static bool should_save(const ig_trainer *t) {
  const ig_train_options *o = t->o;
  if (t->retry_ns && ig_now_ns() >= t->retry_ns)
    return true;
  if (o->save_every_steps > 0)
    return t->step % o->save_every_steps == 0;
  return o->save_every_seconds > 0 && (double)(ig_now_ns() - t->saved_ns) * 1e-9 >= o->save_every_seconds;
}

static ig_status loop(ig_trainer *t) {
  const ig_train_options *o = t->o;
  int64_t log_every = t->total_steps / 400 > 0 ? t->total_steps / 400 : 1, every = epochs_per_evaluation(t);
  while (t->step < t->total_steps) {
    int64_t epoch = ig_trainer_epoch(t);
    bool returned = false;
    IG_TRY(step(t));
    const int64_t now = ig_trainer_epoch(t);
    const bool last = t->step >= t->total_steps, logged = t->step % log_every == 0 || last;
    bool evaluated = t->evaluator && (last || now / every != epoch / every);
    // A GPU computes on while the host prepares; what is to be logged, evaluated or saved is waited for.
    IG_TRY(settle(t, logged || evaluated || should_save(t) || !runs_ahead(t) ? 0 : 1, &returned));
    if (returned)
      continue;  // at an earlier step, which is logged and saved already
    if (logged)
      IG_TRY(ig_trainer_log_step(t));
    if (ig_trainer_phase(t) != t->phase && !last)
      ig_trainer_line(t, "second phase from here: windows of up to %d tokens", o->max_length);
    ig_trainer_show(t, last);
    if (!t->warm_ns)
      ig_trainer_warm(t);
    if (evaluated)
      IG_TRY(evaluate(t, &returned));
    if (returned)
      continue;
    bool stop = t->cb->should_stop && t->cb->should_stop(t->cb->user);
    bool out_of_time = o->time_limit > 0 && (double)(ig_now_ns() - t->session_ns) * 1e-9 >= o->time_limit;
    bool patient = !(evaluated && o->patience > 0 && t->evaluations_since_best >= o->patience);
    bool end = last || stop || out_of_time || !patient;
    if (end)
      IG_TRY(settle(t, 0, &returned));  // asked to stop: there is the step under way
    if (returned)
      continue;
    IG_TRY(ig_trainer_collect(t, false));
    if (end || (should_save(t) && !t->bad_in_a_row))  // weights that only give NaN are nothing to go back to
      IG_TRY(ig_trainer_save(t, end));
    if (!patient) {
      ig_trainer_line(t, "no better validation result in %lld %s: stopped early (patience=%lld)",
                      (long long)t->evaluations_since_best,
                      ig_plural((unsigned long long)t->evaluations_since_best, "evaluation", "evaluations"),
                      (long long)o->patience);
      return IG_OK;
    }
    if (!last && (stop || out_of_time)) {
      char reached[64];
      snprintf(reached, sizeof reached, "time_limit=%gs reached", o->time_limit);
      return ig_fail(IG_STOPPED,
                     "%s at step %lld of %lld; the checkpoint is %s/step-%lld; run the same command with "
                     "resume=auto to go on",
                     stop ? "stopped" : reached, (long long)t->step, (long long)t->total_steps, t->checkpoints,
                     (long long)t->step);
    }
  }
  return IG_OK;
}

static ig_status measure_peak(ig_trainer *t) {
  char *path = NULL;
  if (t->o->session.cache_dir)
    IG_TRY(ig_path_join(&path, t->o->session.cache_dir, "peak.json"));
  t->peak_flops = ig_device_peak_flops(&t->session->device->caps, t->session->compute != IG_F32, path);
  ig_free(path);
  return IG_OK;
}

static ig_status start(ig_trainer *t, bool resume) {
  const ig_train_options *o = t->o;
  ig_session *s = t->session;
  IG_TRY(ig_trainer_check_room(t));
  if (o->weights && !resume) {
    ig_weights_report report = {0};
    IG_TRY(ig_session_load(s, o->weights, o->session.model,
                           &(ig_weights_options){.size = sizeof(ig_weights_options),
                                                 .fresh_head = o->fresh_head,
                                                 .other_head = o->other_head,
                                                 .fresh_parts = o->tokenizer != NULL,
                                                 .ema = true,
                                                 .warn = t->cb->line,
                                                 .warn_user = t->cb->user},
                           &report));
    ig_trainer_line(t, "%s: %d %s loaded%s", o->weights, report.loaded,
                    ig_plural((unsigned)report.loaded, "tensor", "tensors"),
                    report.head_replaced ? ", with a new head" : "");
    if (t->head.task == IG_TASK_REGRESS && !report.head_replaced)
      IG_TRY(ig_trainer_rescale_head(t));
  }
  if (o->ema > 0)
    IG_TRY(ig_session_add_ema(s));
  make_uuid(t->uuid);
  if (resume) {
    const char *from = o->resume == IG_RESUME_PATH ? o->resume_path : t->checkpoints;
    IG_TRY(ig_trainer_restore(t, from, o->resume != IG_RESUME_PATH));
    char *here;
    IG_TRY(ig_asprintf(&here, "%s/step-%lld", t->checkpoints, (long long)t->step));
    ig_status status = o->resume == IG_RESUME_PATH ? ig_trainer_set_aside(t) : IG_OK;
    if (status == IG_OK)
      status = ig_trainer_find_best(t, here);
    ig_free(here);
    IG_TRY(status);
    ig_trainer_line(t, "resumed at step %lld of %lld", (long long)t->step, (long long)t->total_steps);
  }
  t->begun = true;
  IG_TRY(write_text(t, IG_RUN_FILE, t->uuid));
  IG_TRY(write_text(t, "args.yaml", o->args_yaml));
  IG_TRY(write_text(t, "environment.json", o->environment_json));
  IG_TRY(write_text(t, "config.json", o->config_json));
  if (o->tokenizer)
    IG_TRY(ig_tokenizer_write(o->tokenizer, o->out, o->max_length));
  IG_TRY(ig_trainer_seek(t));
  IG_TRY(ig_trainer_log_open(t));
  IG_TRY(ig_trainer_bind(t));
  IG_TRY(measure_peak(t));
  t->first_step = t->step;
  t->session_ns = t->started_ns = t->logged_ns = t->saved_ns = ig_now_ns();
  return IG_OK;
}

// Of a step (capacities differ in rows alone) and of the update.
static void warn_of_references(const ig_trainer *t) {
  const ig_plan *plans[] = {t->rungs[0].plan, t->update_plan};
  const char *first = NULL, *name;
  int references = 0;
  for (size_t i = 0; i < sizeof plans / sizeof *plans; i++) {
    const int n = ig_plan_reference_nodes(plans[i], &name);
    first = n && !first ? name : first;
    references += n;
  }
  if (references)
    ig_trainer_line(t, "warning: %d %s on slow reference code (the first is %s)", references,
                    ig_plural((unsigned)references, "operation runs", "operations run"), first);
}

static ig_status run(ig_trainer *t, json_t **result) {
  bool resume, finished;
  IG_TRY(ig_trainer_claim_folder(t));
  IG_TRY(ig_trainer_open_folder(t, &resume));
  IG_TRY(ig_trainer_build(t));
  IG_TRY(ig_trainer_check_finished(t, resume, &finished, result));
  if (finished) {
    ig_trainer_line(t, "%s is finished already", t->o->out);
    return IG_OK;
  }
  IG_TRY(start(t, resume));
  warn_of_references(t);
  IG_TRY(loop(t));
  return ig_trainer_finish(t, result);
}

ig_status ig_train_run(const ig_train_options *options, const ig_train_callbacks *callbacks, json_t **result) {
  *result = NULL;
  if (options->size != sizeof *options)
    return ig_fail(IG_ERR_INTERNAL, "ig_train_options: size %zu, expected %zu", options->size, sizeof *options);
  static const ig_train_callbacks none;
  ig_trainer *t;
  IG_TRY(ig_alloc(sizeof *t, "training", &t));
  t->o = options;
  t->cb = callbacks ? callbacks : &none;
  t->saved_step = -1;
  ig_status status = run(t, result);
  char message[2048];
  size_t n = (size_t)snprintf(message, sizeof message, "%s", ig_error_message());
  (void)!ig_trainer_collect(t, true);
  if (ig_status_exit_code(status) == 1 && t->saved_step >= 0 && !strstr(message, "the last checkpoint"))
    snprintf(message + n, sizeof message - n, "; the last checkpoint is %s/step-%lld", t->checkpoints,
             (long long)t->saved_step);
  if (status != IG_OK && !t->begun)
    ig_trainer_leave_nothing(t);
  ig_trainer_release(t);
  ig_free(t);
  return status == IG_OK ? IG_OK : ig_fail(status, "%s", message);
}
