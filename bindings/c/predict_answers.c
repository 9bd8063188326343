// What predict says of a sample, by task: JSON lines, a table, CSV. Rule: see predict_answers.h.
#include "bindings/c/predict_answers.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "runtime/base/mem.h"

enum { TOP = 5 };

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

// A slice of a file as JSON text.
static json_t *slice_json(const char *text, size_t n) {
  char *copy;
  if (ig_asprintf(&copy, "%.*s", n < INT_MAX ? (int)n : INT_MAX, text) != IG_OK)
    return NULL;
  json_t *j = ig_json_text(copy);
  ig_free(copy);
  return j;
}

static ig_status give(ig_answers *a, json_t *line) {
  ig_status status = IG_OK;
  if (!line)
    return ig_no_json();
  if (a->text && a->text->first)
    json_object_set_new(line, "text", slice_json(a->text->first, a->text->n_first));
  if (a->text && a->text->second)
    json_object_set_new(line, "text2", slice_json(a->text->second, a->text->n_second));
  if (a->text && a->text->n_invalid)
    json_object_set_new(line, "invalid", json_integer((json_int_t)a->text->n_invalid));
  if (a->call->json || !a->call->callbacks.table)
    status = ig_answer(a->call, line, NULL);
  json_decref(line);
  return status;
}

// Ends a row of the table; of a text its beginning stands there.
static ig_status end_row(ig_answers *a) {
  enum { SHOWN = 60 };
  const ig_text_sample *t = a->text;
  if (t && t->first) {
    char *copy, *line;
    const int n = t->n_first < SHOWN ? (int)t->n_first : SHOWN;
    IG_TRY(ig_asprintf(&copy, "%.*s", n, t->first));
    for (line = copy; *line; line++)
      if (*line == '\n' || *line == '\r' || *line == '\t')
        *line = ' ';
    ig_status status = ig_text_addf(&a->table, "  | %s%s", ig_shown(a->shown, copy), t->n_first > SHOWN ? "..." : "");
    ig_free(copy);
    IG_TRY(status);
  }
  return ig_text_add(&a->table, "\n", 1);
}

static ig_status answer_class(ig_answers *a, const char *path, const float *logits) {
  prediction r = rank(logits, a->use->info.n_classes);
  const char *label = r.p[0] < a->reject ? "unsure" : a->use->names[r.top[0]];
  json_t *top = json_array();
  for (int i = 0; i < r.n; i++)
    json_array_append_new(top, json_pack("{s:o, s:f}", "label", ig_json_text(a->use->names[r.top[i]]), "p", r.p[i]));
  IG_TRY(give(a, json_pack("{s:o, s:o, s:f, s:o}", "path", ig_json_text(path), "label", ig_json_text(label), "p",
                           r.p[0], "top", top)));
  char q[IG_QUOTE_BYTES];
  IG_TRY(ig_text_addf(&a->table, "%-*s  %6.4f  %s", a->width, ig_shown(a->shown, path), r.p[0], ig_shown(q, label)));
  IG_TRY(end_row(a));
  if (!a->wants_csv)
    return IG_OK;
  IG_TRY(add_cell(&a->csv, path, ','));
  IG_TRY(add_cell(&a->csv, label, ','));
  return ig_text_addf(&a->csv, "%.6g,\n", r.p[0]);
}

// Numbers in the data's units: one as it is, several by name.
static ig_status answer_numbers(ig_answers *a, const char *path, const float *x) {
  const ig_head *h = &a->use->head;
  char q[IG_QUOTE_BYTES];
  json_t *label = h->n == 1 ? json_real((double)x[0]) : json_object();
  for (int i = 0; i < h->n && h->n > 1; i++)
    json_object_set_new(label, h->names[i], json_real((double)x[i]));
  IG_TRY(give(a, json_pack("{s:o, s:o}", "path", ig_json_text(path), "label", label)));
  IG_TRY(ig_text_addf(&a->table, "%-*s", a->width, ig_shown(a->shown, path)));
  if (a->wants_csv)
    IG_TRY(add_cell(&a->csv, path, ','));
  for (int i = 0; i < h->n; i++) {
    IG_TRY(h->n > 1 ? ig_text_addf(&a->table, "  %s %.6g", ig_shown(q, h->names[i]), (double)x[i])
                    : ig_text_addf(&a->table, "  %.6g", (double)x[i]));
    if (a->wants_csv)
      IG_TRY(ig_text_addf(&a->csv, "%.9g,", (double)x[i]));
  }
  if (a->wants_csv)
    IG_TRY(ig_text_add(&a->csv, "\n", 1));
  return end_row(a);
}

// The labels that hold from probability 1/2 on; with reject=P those nearer to 1/2 than P are listed as unsure.
static ig_status answer_labels(ig_answers *a, const char *path, const float *logits) {
  const ig_head *h = &a->use->head;
  json_t *label = json_array(), *unsure = json_array(), *top = json_array();
  ig_text said = {0}, csv = {0}, doubt = {0};
  char q[IG_QUOTE_BYTES];
  ig_status status = IG_OK;
  for (int i = 0; i < h->n; i++) {
    double p = 1 / (1 + exp(-(double)logits[i]));
    bool rejected = fmax(p, 1 - p) < a->reject;
    json_array_append_new(top, json_pack("{s:o, s:f}", "label", ig_json_text(h->names[i]), "p", p));
    if (rejected || p >= 0.5)
      json_array_append_new(rejected ? unsure : label, ig_json_text(h->names[i]));
    if (rejected)
      IG_GOTO(ig_text_addf(&doubt, "%s%s (%.4f)", doubt.n ? ", " : "  unsure: ", ig_shown(q, h->names[i]), p));
    else if (p >= 0.5)
      IG_GOTO(ig_text_addf(&said, "%s%s (%.4f)", said.n ? ", " : "  ", ig_shown(q, h->names[i]), p));
    if (a->wants_csv && !rejected && p >= 0.5)
      IG_GOTO(ig_text_addf(&csv, "%s%s", csv.n ? ";" : "", h->names[i]));
  }
  IG_GOTO(ig_text_addf(&a->table, "%-*s%s%s", a->width, ig_shown(a->shown, path), said.n ? said.data : "  none",
                       doubt.n ? doubt.data : ""));
  IG_GOTO(end_row(a));
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

// path, then what each task tells, then error.
ig_status ig_answers_begin(ig_answers *a) {
  const ig_head *h = &a->use->head;
  IG_TRY(ig_text_addf(&a->csv, "path,"));
  if (h->task == IG_TASK_TAG)
    return ig_text_addf(&a->csv, "word,label,p,error\n");
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

static ig_status add_error(ig_answers *a, const char *path, const char *reason) {
  IG_TRY(give(a, json_pack("{s:o, s:o}", "path", ig_json_text(path), "error", ig_json_text(reason))));
  char q[IG_QUOTE_BYTES];
  IG_TRY(ig_text_addf(&a->table, "%-*s  ------  error: %s\n", a->width, ig_shown(a->shown, path), ig_shown(q, reason)));
  if (!a->wants_csv)
    return IG_OK;
  IG_TRY(add_cell(&a->csv, path, ','));
  const ig_head *h = &a->use->head;
  int empty = h->task == IG_TASK_TAG ? 3 : h->task == IG_TASK_CLASSIFY ? 2 : h->n + (h->task == IG_TASK_MULTILABEL);
  for (int i = 0; i < empty; i++)
    IG_TRY(ig_text_add(&a->csv, ",", 1));
  return add_cell(&a->csv, reason, '\n');
}

ig_status ig_answer_error(ig_answers *a, const char *path, const char *reason) {
  char *longer = NULL, q[IG_QUOTE_BYTES];
  a->failed++;
  if (a->use->embed && a->wants_csv)
    IG_TRY(
        ig_asprintf(&longer, "%s; %s has no row for it", reason, ig_quote(q, ig_config_str(a->call->config, "out"))));
  ig_status status = add_error(a, path, longer ? longer : reason);
  ig_free(longer);
  return status;
}

ig_status ig_answer_not_finite(ig_answers *a, const char *path, const float *x, size_t n, bool *told) {
  char reason[256];
  size_t i = 0;
  while (i < n && isfinite(x[i]))
    i++;
  *told = i < n;
  if (i == n)
    return IG_OK;
  a->not_finite++;
  snprintf(reason, sizeof reason,
           "the model's answer is not finite: output %zu of %zu is %s, expected a number; the weights are damaged or "
           "diverged in training, or need precision=fp32",
           i + 1, n, isnan(x[i]) ? "NaN" : "infinite");
  return ig_answer_error(a, path, reason);
}

ig_status ig_answer_sample(ig_answers *a, const char *path, float *outputs) {
  const ig_head *h = &a->use->head;
  const bool numbers = h->task == IG_TASK_REGRESS, labels = h->task == IG_TASK_MULTILABEL;
  bool told;
  if (numbers)
    ig_head_unscale(h, outputs);
  IG_TRY(ig_answer_not_finite(a, path, outputs, (size_t)(numbers || labels ? h->n : a->use->info.n_classes), &told));
  return told      ? IG_OK
         : numbers ? answer_numbers(a, path, outputs)
         : labels  ? answer_labels(a, path, outputs)
                   : answer_class(a, path, outputs);
}

ig_status ig_answer_tags(ig_answers *a, const char *path, const char *const *words, size_t n_words,
                         const float *logits) {
  const int k = a->use->info.n_classes;
  char q[IG_QUOTE_BYTES];
  bool told;
  IG_TRY(ig_answer_not_finite(a, path, logits, n_words * (size_t)k, &told));
  if (told)
    return IG_OK;
  json_t *tags = json_array();
  ig_status status = IG_OK;
  IG_GOTO(ig_text_addf(&a->table, "%-*s ", a->width, ig_shown(a->shown, path)));
  for (size_t i = 0; i < n_words; i++) {
    const prediction r = rank(logits + i * (size_t)k, k);
    const char *label = r.p[0] < a->reject ? "unsure" : a->use->names[r.top[0]];
    json_array_append_new(
        tags, json_pack("{s:o, s:o, s:f}", "word", ig_json_text(words[i]), "label", ig_json_text(label), "p", r.p[0]));
    IG_GOTO(ig_text_addf(&a->table, strcmp(label, "O") ? " %s/%s" : " %s", ig_shown(a->shown, words[i]),
                         ig_shown(q, label)));
    if (!a->wants_csv)
      continue;
    IG_GOTO(add_cell(&a->csv, path, ','));
    IG_GOTO(add_cell(&a->csv, words[i], ','));
    IG_GOTO(add_cell(&a->csv, label, ','));
    IG_GOTO(ig_text_addf(&a->csv, "%.6g,\n", r.p[0]));
  }
  IG_GOTO(ig_text_add(&a->table, "\n", 1));
  status = give(a, json_pack("{s:o, s:O}", "path", ig_json_text(path), "tags", tags));
done:
  json_decref(tags);
  return status;
}

ig_status ig_answer_vector(ig_answers *a, const char *path, const float *vector, int n) {
  json_t *list = json_array();
  double square = 0;
  for (int i = 0; i < n; i++) {
    json_array_append_new(list, json_real((double)vector[i]));
    square += (double)vector[i] * (double)vector[i];
  }
  ig_status status = give(a, json_pack("{s:o, s:O}", "path", ig_json_text(path), "embedding", list));
  json_decref(list);
  IG_TRY(status);
  IG_TRY(ig_text_addf(&a->table, "%-*s  %d %s, norm %.4f", a->width, ig_shown(a->shown, path), n,
                      ig_plural((unsigned)n, "number", "numbers"), sqrt(square)));
  return end_row(a);
}

void ig_answers_show(ig_answers *a) {
  if (!a->call->json && a->call->callbacks.table && a->table.n)
    a->call->callbacks.table(a->call->callbacks.user, a->table.data);
  a->table.n = 0;
}

void ig_answers_fini(ig_answers *a) {
  ig_free(a->csv.data);
  ig_free(a->table.data);
}
