// predict: a label for every picture. Rule: a picture that cannot be read gets an error line, and never keeps the
// others from their answers.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "bindings/c/options.h"
#include "bindings/c/path_list.h"
#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"

enum { TOP = 5, REASON_BYTES = 512 };

typedef struct prediction {
  int top[TOP];  // classes, most likely first
  double p[TOP];
  int n;
} prediction;

// The likeliest classes by softmax; of equal ones the lower number first.
static prediction rank(const float *logits, int classes) {
  prediction r = {.n = classes < TOP ? classes : TOP};
  double largest = logits[0], sum = 0;
  for (int i = 1; i < classes; i++)
    largest = logits[i] > largest ? logits[i] : largest;
  for (int i = 0; i < classes; i++)
    sum += exp(logits[i] - largest);
  for (int k = 0; k < r.n; k++) {
    int best = -1;
    for (int i = 0; i < classes; i++) {
      bool taken = false;
      for (int j = 0; j < k; j++)
        taken = taken || r.top[j] == i;
      if (!taken && (best < 0 || logits[i] > logits[best]))
        best = i;
    }
    r.top[k] = best;
    r.p[k] = exp(logits[best] - largest) / sum;
  }
  return r;
}

// A cell of CSV: quoted where it must be.
static ig_status add_cell(ig_text *t, const char *text, char after) {
  if (!strpbrk(text, ",\"\r\n"))
    return ig_text_addf(t, "%s%c", text, after);
  IG_TRY(ig_text_add(t, "\"", 1));
  for (; *text; text++)
    IG_TRY(ig_text_addf(t, "%s%c", *text == '"' ? "\"" : "", *text));
  return ig_text_addf(t, "\"%c", after);
}

typedef struct answers {
  ig_call_state *call;
  const ig_use *use;
  double reject;
  ig_text csv, table;
  bool wants_csv;
  int width;  // of the table's first column
  char shown[IG_QUOTE_BYTES];
} answers;

static ig_status give(answers *a, json_t *line) {
  ig_status status = IG_OK;
  if (!line)
    return ig_no_json();
  if (a->call->json || !a->call->callbacks.table)
    status = ig_answer(a->call, line, NULL);
  json_decref(line);
  return status;
}

static ig_status answer_class(answers *a, const char *path, const float *logits) {
  prediction r = rank(logits, a->use->info.n_classes);
  const char *label = r.p[0] < a->reject ? "unsure" : a->use->names[r.top[0]];
  json_t *top = json_array();
  for (int i = 0; i < r.n; i++)
    json_array_append_new(top, json_pack("{s:o, s:f}", "label", ig_json_text(a->use->names[r.top[i]]), "p", r.p[i]));
  IG_TRY(give(a, json_pack("{s:o, s:o, s:f, s:o}", "path", ig_json_text(path), "label", ig_json_text(label), "p",
                           r.p[0], "top", top)));
  IG_TRY(ig_text_addf(&a->table, "%-*s  %6.4f  %s\n", a->width, ig_shown(a->shown, path), r.p[0], label));
  if (!a->wants_csv)
    return IG_OK;
  IG_TRY(add_cell(&a->csv, path, ','));
  IG_TRY(add_cell(&a->csv, label, ','));
  return ig_text_addf(&a->csv, "%.6g,\n", r.p[0]);
}

// Numbers in the data's units: one as it is, several by name.
static ig_status answer_numbers(answers *a, const char *path, float *x) {
  const ig_head *h = &a->use->head;
  ig_head_unscale(h, x);
  json_t *label = h->n == 1 ? json_real((double)x[0]) : json_object();
  for (int i = 0; i < h->n && h->n > 1; i++)
    json_object_set_new(label, h->names[i], json_real((double)x[i]));
  IG_TRY(give(a, json_pack("{s:o, s:o}", "path", ig_json_text(path), "label", label)));
  IG_TRY(ig_text_addf(&a->table, "%-*s", a->width, ig_shown(a->shown, path)));
  if (a->wants_csv)
    IG_TRY(add_cell(&a->csv, path, ','));
  for (int i = 0; i < h->n; i++) {
    IG_TRY(h->n > 1 ? ig_text_addf(&a->table, "  %s %.6g", h->names[i], (double)x[i])
                    : ig_text_addf(&a->table, "  %.6g", (double)x[i]));
    if (a->wants_csv)
      IG_TRY(ig_text_addf(&a->csv, "%.9g,", (double)x[i]));
  }
  if (a->wants_csv)
    IG_TRY(ig_text_add(&a->csv, "\n", 1));
  return ig_text_add(&a->table, "\n", 1);
}

// The labels that hold from probability 1/2 on; with reject=P those nearer to 1/2 than P are listed as unsure.
static ig_status answer_labels(answers *a, const char *path, const float *logits) {
  const ig_head *h = &a->use->head;
  json_t *label = json_array(), *unsure = json_array(), *top = json_array();
  ig_text said = {0}, csv = {0}, doubt = {0};
  ig_status status = IG_OK;
  for (int i = 0; i < h->n; i++) {
    double p = 1 / (1 + exp(-(double)logits[i]));
    bool rejected = fmax(p, 1 - p) < a->reject;
    json_array_append_new(top, json_pack("{s:o, s:f}", "label", ig_json_text(h->names[i]), "p", p));
    if (rejected || p >= 0.5)
      json_array_append_new(rejected ? unsure : label, ig_json_text(h->names[i]));
    if (rejected)
      IG_GOTO(ig_text_addf(&doubt, "%s%s (%.4f)", doubt.n ? ", " : "  unsure: ", h->names[i], p));
    else if (p >= 0.5)
      IG_GOTO(ig_text_addf(&said, "%s%s (%.4f)", said.n ? ", " : "  ", h->names[i], p));
    if (a->wants_csv && !rejected && p >= 0.5)
      IG_GOTO(ig_text_addf(&csv, "%s%s", csv.n ? ";" : "", h->names[i]));
  }
  IG_GOTO(ig_text_addf(&a->table, "%-*s%s%s\n", a->width, ig_shown(a->shown, path), said.n ? said.data : "  none",
                       doubt.n ? doubt.data : ""));
  IG_GOTO(give(
      a, json_pack("{s:o, s:O, s:O, s:O}", "path", ig_json_text(path), "label", label, "unsure", unsure, "top", top)));
  if (!a->wants_csv)
    goto done;
  IG_GOTO(add_cell(&a->csv, path, ','));
  IG_GOTO(add_cell(&a->csv, csv.n ? csv.data : "", ','));
  for (int i = 0; i < h->n; i++)
    IG_GOTO(ig_text_addf(&a->csv, "%.6g,", 1 / (1 + exp(-(double)logits[i]))));
  IG_GOTO(ig_text_add(&a->csv, "\n", 1));
done:
  json_decref(label);
  json_decref(unsure);
  json_decref(top);
  ig_free(said.data);
  ig_free(csv.data);
  ig_free(doubt.data);
  return status;
}

static ig_status answer(answers *a, const char *path, float *outputs) {
  return a->use->head.task == IG_TASK_REGRESS      ? answer_numbers(a, path, outputs)
         : a->use->head.task == IG_TASK_MULTILABEL ? answer_labels(a, path, outputs)
                                                   : answer_class(a, path, outputs);
}

// path, then what each task tells, then error.
static ig_status csv_header(answers *a) {
  const ig_head *h = &a->use->head;
  IG_TRY(ig_text_addf(&a->csv, "path,"));
  if (h->task == IG_TASK_CLASSIFY)
    return ig_text_addf(&a->csv, "label,p,error\n");
  if (h->task == IG_TASK_MULTILABEL)
    IG_TRY(ig_text_addf(&a->csv, "label,"));
  for (int i = 0; i < h->n; i++) {
    char *name;
    IG_TRY(ig_asprintf(&name, "%s%s", h->task == IG_TASK_MULTILABEL ? "p_" : "", h->names[i]));
    ig_status status = add_cell(&a->csv, name, ',');
    ig_free(name);
    IG_TRY(status);
  }
  return ig_text_addf(&a->csv, "error\n");
}

static ig_status answer_error(answers *a, const char *path, const char *reason) {
  IG_TRY(give(a, json_pack("{s:o, s:o}", "path", ig_json_text(path), "error", ig_json_text(reason))));
  IG_TRY(ig_text_addf(&a->table, "%-*s  ------  error: %s\n", a->width, ig_shown(a->shown, path), reason));
  if (!a->wants_csv)
    return IG_OK;
  IG_TRY(add_cell(&a->csv, path, ','));
  const ig_head *h = &a->use->head;
  int empty = h->task == IG_TASK_CLASSIFY ? 2 : h->n + (h->task == IG_TASK_MULTILABEL);
  for (int i = 0; i < empty; i++)
    IG_TRY(ig_text_add(&a->csv, ",", 1));
  return add_cell(&a->csv, reason, '\n');
}

// Pictures first..first+n into the evaluator's memory; reasons[i] is empty where it went well.
static void load_pictures(ig_evaluator *e, char *const *paths, int n, double crop, int threads,
                          char (*reasons)[REASON_BYTES]) {
  size_t bytes = (size_t)e->image_size * (size_t)e->image_size * 3;
#pragma omp parallel for schedule(dynamic) num_threads(threads)
  for (int i = 0; i < n; i++) {
    reasons[i][0] = 0;
    if (ig_picture_load(paths[i], e->image_size, crop, e->pictures_memory + (size_t)i * bytes) == IG_OK)
      continue;
    snprintf(reasons[i], REASON_BYTES, "%s", ig_error_message());
    memset(e->pictures_memory + (size_t)i * bytes, 0, bytes);
  }
}

static ig_status predict_all(answers *a, ig_evaluator *e, const ig_path_list *list, size_t *failed) {
  ig_status status = IG_OK;
  char(*reasons)[REASON_BYTES] = NULL, text[96];
  IG_TRY(ig_alloc_array((size_t)e->batch, sizeof *reasons, "messages", &reasons));
  for (size_t first = 0; first < list->n; first += (size_t)e->batch) {
    int n = list->n - first < (size_t)e->batch ? (int)(list->n - first) : e->batch;
    const float *logits;
    load_pictures(e, list->paths + first, n, a->use->crop_ratio, ig_thread_count(a->call), reasons);
    IG_GOTO(ig_evaluator_run(e, e->pictures_memory, &logits));
    for (int i = 0; i < n; i++) {
      *failed += reasons[i][0] != 0;
      IG_GOTO(reasons[i][0]
                  ? answer_error(a, list->paths[first + (size_t)i], reasons[i])
                  : answer(a, list->paths[first + (size_t)i], e->logits_memory + (size_t)i * (size_t)e->classes));
    }
    if (!a->call->json && a->call->callbacks.table && a->table.n)
      a->call->callbacks.table(a->call->callbacks.user, a->table.data);
    a->table.n = 0;
    snprintf(text, sizeof text, "%zu of %zu pictures", first + (size_t)n, list->n);
    ig_show_progress(a->call, text);
    if (first + (size_t)n < list->n && ig_asked_to_stop(a->call))
      IG_GOTO(ig_fail(IG_ERR_PARTIAL, "stopped after %s", text));
  }
done:
  ig_free(reasons);
  return status;
}

ig_status ig_verb_predict(ig_call_state *c) {
  ig_status status = IG_OK;
  ig_use use = {0};
  ig_path_list list = {0};
  ig_evaluator *evaluator = NULL;
  answers a = {.call = c, .use = &use, .reject = ig_config_float(c->config, "reject")};
  size_t failed = 0;
  const char *out = ig_config_str(c->config, "out");
  a.wants_csv = out && *out;
  IG_TRY(ig_want_paths(c, 1, SIZE_MAX));
  IG_TRY(ig_want_key(c, "weights"));
  IG_TRY(ig_want_writable(c, "out"));
  IG_GOTO(ig_path_list_read(c->config, &list));
  IG_GOTO(ig_use_init(c, &use));
  if (a.reject > 0 && use.head.task == IG_TASK_REGRESS)
    IG_GOTO(ig_fail(IG_ERR_USAGE, "reject=%g: these weights predict numbers, which have no probability; leave it out",
                    a.reject));
  if (!ig_config_has_value(c->config, "batch") && list.n < (size_t)use.batch)
    use.batch = list.n ? (int)list.n : 1;
  for (size_t i = 0; i < list.n; i++)
    if ((int)strlen(list.paths[i]) > a.width)
      a.width = (int)strlen(list.paths[i]) < 80 ? (int)strlen(list.paths[i]) : 80;
  IG_GOTO(ig_use_session(c, &use));
  IG_GOTO(ig_evaluator_create(use.session, use.batch, use.image_size, use.mean, use.std, &evaluator));
  IG_GOTO(ig_evaluator_refresh(evaluator, false));
  IG_GOTO(csv_header(&a));
  IG_GOTO(predict_all(&a, evaluator, &list, &failed));
  if (a.wants_csv)
    IG_GOTO(ig_file_write_atomic(out, a.csv.data, a.csv.n));
  if (failed)
    status =
        ig_fail(IG_ERR_PARTIAL, "%zu of %zu pictures could not be read; the others have their answers", failed, list.n);
done:
  ig_free(a.csv.data);
  ig_free(a.table.data);
  ig_evaluator_destroy(evaluator);
  ig_path_list_fini(&list);
  ig_use_fini(&use);
  return status;
}
