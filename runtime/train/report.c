// The report of one run. Rule: sections in the order in which people ask: how good, where wrong, how it went, with
// what.
#include "runtime/train/report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/train/interval.h"
#include "runtime/train/report_internal.h"

enum { MAX_MATRIX = 25, MAX_SHOTS = 12, MAX_CLASSES = 200, MAX_DEPTH = 6 };

static ig_status chart(ig_text *t, const report_run *r, const char *title, const char *key, bool from_zero) {
  report_series s[2] = {{.name = "training", .colour = 1}, {.name = "validation", .colour = 0}};
  ig_status status = IG_OK;
  IG_GOTO(ig_report_series(r, "train", key, &s[0]));
  IG_GOTO(ig_report_series(r, "val", key, &s[1]));
  IG_GOTO(ig_report_chart(t, title, "step", s, 2, from_zero));
done:
  for (int i = 0; i < 2; i++)
    ig_free(s[i].x), ig_free(s[i].y);
  return status;
}

static ig_status curves(ig_text *t, const report_run *r) {
  if (r->n_log == 0)
    return IG_OK;
  IG_TRY(ig_text_addf(t, "<h2>How training went</h2><div class=grid>\n"));
  IG_TRY(chart(t, r, "Loss", "loss", true));
  IG_TRY(chart(t, r, "Accuracy", "accuracy", false));
  IG_TRY(chart(t, r, "Average precision", "average_precision", false));
  IG_TRY(chart(t, r, "RMSE", "rmse", true));
  IG_TRY(chart(t, r, "Learning rate", "lr", true));
  IG_TRY(chart(t, r, "Gradient norm", "grad_norm", true));
  return ig_text_addf(t, "</div>\n");
}

static const char *name_of(const json_t *per_class, size_t c) {
  const json_t *row = json_array_get(per_class, c);
  const char *name = json_string_value(json_object_get(row, "class"));
  if (!name)
    name = json_string_value(json_object_get(row, "name"));
  return name ? name : "?";
}

static ig_status matrix(ig_text *t, const json_t *confusion, const json_t *per_class) {
  size_t k = json_array_size(confusion);
  if (k < 2)
    return IG_OK;
  IG_TRY(ig_text_addf(t, "<h2>Confusion matrix</h2>"));
  if (k > MAX_MATRIX)
    return ig_text_addf(t, "<p class=soft>%zu classes are too many to draw; see the table below.</p>\n", k);
  IG_TRY(ig_text_addf(t,
                      "<p class=soft>Rows: what it is. Columns: what the model said. Shade: share of the row.</p>"
                      "<div class=scroll><table class=cm><thead><tr><th></th>"));
  for (size_t p = 0; p < k; p++)
    IG_TRY(ig_report_wrap(t, "<th scope=col><bdi>", name_of(per_class, p), "</bdi></th>"));
  IG_TRY(ig_text_addf(t, "</tr></thead><tbody>\n"));
  for (size_t a = 0; a < k; a++) {
    const json_t *row = json_array_get(confusion, a);
    double sum = 0;
    for (size_t p = 0; p < k; p++)
      sum += json_number_value(json_array_get(row, p));
    IG_TRY(ig_report_wrap(t, "<tr><th scope=row><bdi>", name_of(per_class, a), "</bdi></th>"));
    for (size_t p = 0; p < k; p++) {
      double v = json_number_value(json_array_get(row, p)), share = sum > 0 ? v / sum : 0;
      IG_TRY(ig_text_addf(t, "<td class=\"%s%s%s\" style=\"--s:%.3f\">%.0f</td>", a == p ? "d" : "e",
                          share > 0.55 ? " hi" : "", v == 0 ? " z" : "", share, v));
    }
    IG_TRY(ig_text_addf(t, "</tr>\n"));
  }
  return ig_text_addf(t, "</tbody></table></div>\n");
}

static ig_status percent(ig_text *t, double x) {
  return isfinite(x) ? ig_text_addf(t, "<td class=n>%.1f</td>", 100 * x) : ig_text_addf(t, "<td class=n>&ndash;</td>");
}

static ig_status classes(ig_text *t, const report_run *r, const json_t *per_class) {
  size_t k = json_array_size(per_class);
  if (k == 0)
    return IG_OK;
  IG_TRY(ig_text_addf(t,
                      "<h2>Each class</h2><div class=scroll><table><thead><tr><th>Class</th><th class=n>%s</th>"
                      "<th class=n>Found %%</th><th class=n>95 %% interval</th><th class=n>Right when said %%</th>"
                      "<th class=n>F1 %%</th></tr></thead><tbody>\n",
                      strcmp(ig_report_noun(r), "pictures") ? "Samples" : "Pictures"));
  for (size_t c = 0; c < k && c < MAX_CLASSES; c++) {
    const json_t *row = json_array_get(per_class, c);
    double support = ig_report_number(row, "support"), recall = ig_report_number(row, "recall");
    IG_TRY(ig_report_wrap(t, "<tr><th scope=row><bdi>", name_of(per_class, c), "</bdi></th>"));
    IG_TRY(ig_text_addf(t, "<td class=n>%.0f</td>", support));
    IG_TRY(percent(t, support > 0 ? recall : NAN));
    if (support > 0 && isfinite(recall)) {
      ig_interval i = ig_interval_wilson95((int64_t)llround(recall * support), (int64_t)support);
      IG_TRY(ig_text_addf(t, "<td class=\"n soft\">%.1f&ndash;%.1f</td>", 100 * i.low, 100 * i.high));
    } else {
      IG_TRY(percent(t, NAN));
    }
    const bool never_said = ig_report_number(row, "predicted") == 0;
    IG_TRY(percent(t, never_said ? NAN : ig_report_number(row, "precision")));
    IG_TRY(percent(t, never_said && support == 0 ? NAN : ig_report_number(row, "f1")));
    IG_TRY(ig_text_addf(t, "</tr>\n"));
  }
  IG_TRY(ig_text_addf(t, "</tbody></table></div>\n"));
  if (k > MAX_CLASSES)
    IG_TRY(ig_text_addf(t, "<p class=soft>The first %d of %zu classes.</p>\n", MAX_CLASSES, k));
  return IG_OK;
}

// Only a sample without a truth has neither label nor loss; of several labels none may be the truth.
static bool is_wrong(const report_sample *s) {
  return (*s->label || isfinite(s->loss)) && strcmp(s->label, s->predicted) != 0;
}

static const char *answer(const char *labels) { return *labels ? labels : "no label"; }

// Wrong ones first, the largest loss first; ties by path, so that the order is fixed.
static int by_badness(const void *a, const void *b) {
  const report_sample *x = *(report_sample *const *)a, *y = *(report_sample *const *)b;
  if (is_wrong(x) != is_wrong(y))
    return is_wrong(y) - is_wrong(x);
  double p = isfinite(x->loss) ? x->loss : -1, q = isfinite(y->loss) ? y->loss : -1;
  return p != q ? (p < q) - (p > q) : strcmp(x->path, y->path);
}

// The text in full, or so much of it that a page of mistakes can still be read.
static ig_status shot_text(ig_text *t, const report_sample *s) {
  enum { SHOWN = 2000 };
  char *cut;
  const size_t n = strlen(s->text);
  size_t whole = n < SHOWN ? n : SHOWN;
  while (whole < n && whole > 0 && (s->text[whole] & 0xc0) == 0x80)  // not through a character
    whole--;
  IG_TRY(ig_asprintf(&cut, "%.*s", (int)whole, s->text));
  ig_status status =
      ig_report_wrap(t, "<blockquote><bdi>", cut, n > SHOWN ? " &hellip;</bdi></blockquote>" : "</bdi></blockquote>");
  ig_free(cut);
  return status;
}

static ig_status shot_picture(ig_text *t, const report_run *r, const report_sample *s) {
  ig_text url = {0};
  int w = 0, h = 0;
  ig_status status = ig_report_thumb(r, s->path, &url, &w, &h);
  if (status == IG_OK) {
    status = ig_text_addf(t, "<img width=%d height=%d src=\"%s\"", w, h, url.data);
    if (status == IG_OK)
      status = ig_report_wrap(t, " alt=\"", s->path, "\">");
  } else {
    status = ig_report_wrap(t, "<div class=none>No picture: ", ig_error_message(), "</div>");
  }
  ig_free(url.data);
  return status;
}

static ig_status shot(ig_text *t, const report_run *r, const report_sample *s) {
  IG_TRY(ig_text_addf(t, s->text ? "<figure class=text>" : "<figure>"));
  IG_TRY(s->text ? shot_text(t, s) : shot_picture(t, r, s));
  IG_TRY(ig_report_wrap(t, "<figcaption>Is <b><bdi>", answer(s->label), "</bdi></b>, said "));
  IG_TRY(ig_report_wrap(t, "<b><bdi>", answer(s->predicted), "</bdi></b>"));
  if (isfinite(s->p))
    IG_TRY(ig_text_addf(t, " (%.0f %% sure)", 100 * s->p));
  return ig_report_wrap(t, "<br><bdi class=soft>", s->path, "</bdi></figcaption></figure>\n");
}

static ig_status mistakes(ig_text *t, const report_run *r) {
  if (r->n_samples == 0)
    return IG_OK;
  const report_sample **order = NULL;
  size_t n_wrong = 0;
  IG_TRY(ig_alloc_array(r->n_samples, sizeof *order, "the order of mistakes", &order));
  for (size_t i = 0; i < r->n_samples; i++) {
    order[i] = &r->samples[i];
    n_wrong += is_wrong(order[i]);
  }
  qsort(order, r->n_samples, sizeof *order, by_badness);
  const bool numbers = isfinite(ig_report_number(r->result, "rmse"));  // of which none is simply wrong
  size_t shown = n_wrong ? n_wrong < MAX_SHOTS ? n_wrong : MAX_SHOTS : r->n_samples < 4 ? r->n_samples : 4;
  ig_status status = IG_OK;
  if (numbers)
    IG_GOTO(ig_text_addf(t, "<h2>Largest errors</h2><p class=soft>The %zu of %zu %s that it missed most.</p>\n", shown,
                         r->n_samples, ig_report_noun(r)));
  else if (n_wrong == 1)
    IG_GOTO(ig_text_addf(t, "<h2>Worst mistakes</h2><p class=soft>1 of %zu were wrong.</p>\n", r->n_samples));
  else if (n_wrong)
    IG_GOTO(ig_text_addf(t,
                         "<h2>Worst mistakes</h2><p class=soft>%zu of %zu were wrong; these are the %zu with the "
                         "largest loss, in which it was furthest from the truth.</p>\n",
                         n_wrong, r->n_samples, shown));
  else
    IG_GOTO(ig_text_addf(t, "<h2>Least sure</h2><p class=soft>None of %zu was wrong; these were the closest.</p>\n",
                         r->n_samples));
  IG_GOTO(ig_text_addf(t, "<div class=shots>"));
  for (size_t i = 0; i < shown; i++)
    IG_GOTO(shot(t, r, order[i]));
  IG_GOTO(ig_text_addf(t, "</div>\n"));
done:
  ig_free(order);
  return status;
}

static ig_status calibration(ig_text *t, const report_run *r) {
  const json_t *bins = json_object_get(r->result, "calibration");
  double ece = ig_report_number(r->result, "ece");
  if (json_array_size(bins) == 0)
    return IG_OK;
  IG_TRY(ig_text_addf(t,
                      "<h2>Do its probabilities mean what they say?</h2><div class=grid><div class=card>"
                      "<h3>How often it was right</h3>"));
  IG_TRY(ig_report_calibration(t, bins));
  IG_TRY(ig_text_addf(t,
                      "</div><div><p>Points on the dashed line are honest: of the answers given with 80 %%, 80 %% are "
                      "right. Below it the model is too sure of itself; above, too shy. Large points hold many "
                      "%s.</p>",
                      ig_report_noun_of(r, 0)));
  if (isfinite(ece))
    IG_TRY(
        ig_text_addf(t, "<p>On average it is off by <b>%.1f points</b> (expected calibration error).</p>", 100 * ece));
  return ig_text_addf(t, "</div></div>\n");
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static ig_status median(const report_run *r, const char *key, double *out) {
  report_series s = {0};
  *out = NAN;
  ig_status status = ig_report_series(r, "train", key, &s);
  if (status == IG_OK && s.n) {
    qsort(s.y, s.n, sizeof *s.y, by_value);
    *out = s.y[s.n / 2];
  }
  ig_free(s.x);
  ig_free(s.y);
  return status;
}

static ig_status number_row(ig_text *t, const char *name, const char *format, double x) {
  char text[64];
  if (!isfinite(x))
    return IG_OK;
  IG_TRY(ig_report_wrap(t, "<tr><th scope=row>", name, "</th>"));
  snprintf(text, sizeof text, format, x);
  return ig_report_wrap(t, "<td class=n>", text, "</td></tr>\n");
}

static ig_status speed(ig_text *t, const report_run *r) {
  double per_second, wait, mfu;
  char text[48];
  IG_TRY(median(r, "samples_per_second", &per_second));
  IG_TRY(median(r, "data_wait", &wait));
  IG_TRY(median(r, "mfu", &mfu));
  IG_TRY(ig_text_addf(t, "<h2>Speed and memory</h2><div class=scroll><table><tbody>\n"));
  const char *noun = ig_report_noun(r);
  snprintf(text, sizeof text, "%c%s a second (median)", noun[0] - 'a' + 'A', noun + 1);
  IG_TRY(number_row(t, text, "%.1f", per_second));
  IG_TRY(number_row(t, "Waiting for data (median share)", "%.1f %%", 100 * wait));
  IG_TRY(number_row(t, "Use of the processor's peak (median)", "%.1f %%", 100 * mfu));
  double seconds = ig_report_number(r->result, "seconds");
  if (isfinite(seconds)) {
    IG_TRY(ig_text_addf(t, "<tr><th scope=row>Whole run</th><td class=n>%s</td></tr>\n",
                        ig_report_seconds(text, seconds)));
  }
  json_t *memory = json_object_get(r->result, "memory"), *v;
  const char *key;
  if (json_is_number(memory))
    IG_TRY(ig_text_addf(t, "<tr><th scope=row>Memory</th><td class=n>%s</td></tr>\n",
                        ig_report_bytes(text, json_number_value(memory))));
  json_object_foreach(memory, key, v) if (json_is_number(v)) {
    IG_TRY(ig_report_wrap(t, "<tr><th scope=row>Memory: ", key, "</th>"));
    IG_TRY(ig_text_addf(t, "<td class=n>%s</td></tr>\n", ig_report_bytes(text, json_number_value(v))));
  }
  return ig_text_addf(t, "</tbody></table></div>\n");
}

// Leaves of nested objects and lists as rows "a.b"; what lies deeper than MAX_DEPTH is written as JSON.
static ig_status tree(ig_text *t, const char *name, const json_t *v, int depth) {
  const char *key;
  json_t *child;
  char *text = NULL;
  ig_status status = IG_OK;
  if (json_is_object(v) && depth < MAX_DEPTH) {
    json_object_foreach((json_t *)v, key, child) {
      IG_TRY(ig_asprintf(&text, "%s%s%s", name, *name ? "." : "", key));
      status = tree(t, text, child, depth + 1);
      ig_free(text);
      IG_TRY(status);
    }
    return IG_OK;
  }
  if (json_is_string(v))
    return ig_report_row(t, name, json_string_value(v));
  text = json_dumps(v, JSON_ENCODE_ANY | JSON_SORT_KEYS);
  if (!text)
    return ig_fail(IG_ERR_MEMORY, "no memory for a field of environment.json");
  status = ig_report_row(t, name, text);
  free(text);  // jansson's own
  return status;
}

static ig_status provenance(ig_text *t, const report_run *r) {
  IG_TRY(ig_text_addf(t, "<h2>To repeat it</h2>\n"));
  const json_t *command = json_object_get(r->environment, "command");
  if (json_is_string(command)) {
    IG_TRY(ig_report_wrap(t, "<pre>", json_string_value(command), "</pre>\n"));
  } else if (json_is_array(command)) {
    size_t i;
    json_t *word;
    IG_TRY(ig_text_addf(t, "<pre>"));
    json_array_foreach(command, i, word) {
      IG_TRY(ig_text_add(t, " ", i ? 1 : 0));
      IG_TRY(ig_report_shell(t, json_is_string(word) ? json_string_value(word) : "?"));
    }
    IG_TRY(ig_text_addf(t, "</pre>\n"));
  }
  char *args = NULL;
  IG_TRY(ig_asprintf(&args, "%s/args.yaml", r->folder));
  ig_status status = ig_text_addf(t, "<p>With every setting as it was resolved:</p><pre>ingot train --config ");
  if (status == IG_OK)
    status = ig_report_shell(t, args);
  ig_free(args);
  IG_TRY(status);
  IG_TRY(ig_text_addf(t, "</pre>\n"));
  if (r->args_text)
    IG_TRY(ig_report_wrap(t, "<details><summary>args.yaml</summary><pre>", r->args_text, "</pre></details>\n"));
  if (!r->environment)
    return IG_OK;
  IG_TRY(ig_text_addf(t, "<h2>Environment</h2><div class=scroll><table><tbody>\n"));
  IG_TRY(tree(t, "", r->environment, 0));
  return ig_text_addf(t, "</tbody></table></div>\n");
}

// Lengths in tokens as bars, what was cut and what the vocabulary lacks.
static ig_status texts(ig_text *t, const report_run *r) {
  const json_t *about = json_object_get(r->result, "tokens"), *bars = json_object_get(about, "lengths");
  const double n = ig_report_number(about, "n"), width = ig_report_number(about, "bar_width");
  double most = 1;
  if (json_array_size(bars) == 0)
    return IG_OK;
  for (size_t i = 0; i < json_array_size(bars); i++)
    most = fmax(most, json_number_value(json_array_get(bars, i)));
  IG_TRY(ig_text_addf(t,
                      "<h2>The texts</h2><p>%.0f %s; the longest has %.0f tokens, %.0f were cut to %.0f. %.2f %% of "
                      "the tokens are words that the vocabulary lacks ([UNK]).</p><h3>How long they are</h3>"
                      "<div class=scroll><table><tbody>\n",
                      n, ig_plural((unsigned long long)n, "text", "texts"), ig_report_number(about, "longest"),
                      ig_report_number(about, "truncated"), ig_report_number(about, "max_length"),
                      100 * ig_report_number(about, "unknown_share")));
  for (size_t i = 0; i < json_array_size(bars); i++) {
    const double count = json_number_value(json_array_get(bars, i));
    IG_TRY(ig_text_addf(
        t,
        "<tr><th scope=row>%.0f to %.0f tokens</th><td class=n>%.0f</td><td style=\"width:14rem\"><div "
        "style=\"height:.6rem;border-radius:3px;background:var(--accent);width:%.1f%%\"></div></td></tr>\n",
        width * (double)i + 1, width * (double)(i + 1), count, 100 * count / most));
  }
  return ig_text_addf(t, "</tbody></table></div>\n");
}

static ig_status page(ig_text *t, const report_run *r) {
  IG_TRY(ig_report_page_begin(t, r->name));
  IG_TRY(ig_report_wrap(t, "<h1><bdi>", r->name, "</bdi></h1>"));
  IG_TRY(ig_report_wrap(t, "<p class=soft><bdi>", r->folder, "</bdi></p>\n"));
  if (r->notes.n)
    IG_TRY(ig_report_wrap(t, "<div class=card role=note><b class=care>Incomplete</b><p style=\"white-space:pre-line\">",
                          r->notes.data, "</p></div>\n"));
  IG_TRY(ig_report_summary(t, r));
  const json_t *per_class = json_object_get(r->result, "per_class");
  IG_TRY(matrix(t, json_object_get(r->result, "confusion"), per_class));
  IG_TRY(classes(t, r, per_class));
  IG_TRY(mistakes(t, r));
  IG_TRY(calibration(t, r));
  IG_TRY(texts(t, r));
  IG_TRY(curves(t, r));
  IG_TRY(speed(t, r));
  IG_TRY(provenance(t, r));
  return ig_report_page_end(t);
}

ig_status ig_report_write(const char *run_folder, const char *out_path) {
  ig_status status = IG_OK;
  report_run run;
  ig_text t = {0};
  IG_GOTO(ig_report_run_load(run_folder, &run));
  IG_GOTO(page(&t, &run));
  IG_GOTO(ig_file_write_atomic(out_path, t.data, t.n));
done:
  ig_report_run_fini(&run);
  ig_free(t.data);
  return status;
}
