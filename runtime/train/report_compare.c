// Several runs side by side. Rule: a difference that chance can make is called one.
#include <math.h>
#include <string.h>

#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/train/interval.h"
#include "runtime/train/report_internal.h"

static ig_interval interval_of(const report_run *r) {
  double n = ig_report_number(r->result, "n"), accuracy = ig_report_number(r->result, "accuracy");
  if (!(n > 0) || !isfinite(accuracy))
    return (ig_interval){NAN, NAN};
  return ig_interval_wilson95((int64_t)llround(accuracy * n), (int64_t)n);
}

// The interval has no key. A column stands where a run has something for it.
static const struct {
  const char *title, *key, *format;
  double scale;
} columns[] = {{"Right %", "accuracy", "%.1f", 100},
               {"95 % interval", NULL, NULL, 0},
               {"F1 %", "f1", "%.1f", 100},
               {"Average precision", "average_precision", "%.3f", 1},
               {"RMSE", "rmse", "%.4g", 1},
               {"MAE", "mae", "%.4g", 1},
               {"R&sup2;", "r2", "%.3f", 1},
               {"Perplexity", "perplexity", "%.4g", 1},
               {"Loss", "loss", "%.4f", 1},
               {"Calibration error", "ece", "%.1f", 100},
               {"Best epoch", "best_epoch", "%.0f", 1}};
enum { N_COLUMNS = sizeof columns / sizeof *columns };

static bool has_column(const report_run *runs, size_t n, size_t c) {
  for (size_t i = 0; i < n; i++)
    if (isfinite(columns[c].key ? ig_report_number(runs[i].result, columns[c].key) : interval_of(&runs[i]).low))
      return true;
  return false;
}

static ig_status numbers(ig_text *t, const report_run *runs, size_t n, size_t at) {
  char text[48];
  const report_run *r = &runs[at];
  ig_interval i = interval_of(r);
  IG_TRY(ig_text_addf(t,
                      "<tr><th scope=row><span class=key style=\"display:inline\"><i "
                      "style=\"background:var(--c%d)\"></i></span>",
                      (int)(at % 8)));
  IG_TRY(ig_report_wrap(t, "<bdi>", r->name, "</bdi></th>"));
  for (size_t c = 0; c < N_COLUMNS; c++) {
    if (!has_column(runs, n, c))
      continue;
    double v = columns[c].key ? ig_report_number(r->result, columns[c].key) : i.low;
    IG_TRY(ig_text_addf(t, "<td class=\"n%s\">", columns[c].key ? "" : " soft"));
    if (!isfinite(v))
      IG_TRY(ig_text_addf(t, "&ndash;"));
    else if (!columns[c].key)
      IG_TRY(ig_text_addf(t, "%.1f&ndash;%.1f", 100 * i.low, 100 * i.high));
    else {
      snprintf(text, sizeof text, columns[c].format, columns[c].scale * v);
      IG_TRY(ig_report_escape(t, text));
    }
    IG_TRY(ig_text_addf(t, "</td>"));
  }
  double seconds = ig_report_number(r->result, "seconds");
  return ig_text_addf(t, "<td class=n>%s</td></tr>\n",
                      isfinite(seconds) ? ig_report_seconds(text, seconds) : "&ndash;");
}

// The first key by which two runs were judged on other samples, or NULL.
static const char *other_samples(const report_run *a, const report_run *b) {
  static const char *const keys[] = {"data", "val", "split", "task", "label_column"};
  for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
    const char *x = ig_report_arg(a, keys[k]), *y = ig_report_arg(b, keys[k]);
    if (strcmp(x ? x : "", y ? y : "") != 0)
      return keys[k];
  }
  return NULL;
}

static ig_status verdict(ig_text *t, const report_run *runs, size_t n) {
  size_t best = n, second = n, rival = n;
  for (size_t i = 0; i < n; i++) {
    double a = ig_report_number(runs[i].result, "accuracy");
    if (!isfinite(a))
      continue;
    if (best == n || a > ig_report_number(runs[best].result, "accuracy"))
      second = best, best = i;
    else if (second == n || a > ig_report_number(runs[second].result, "accuracy"))
      second = i;
  }
  if (second == n)
    return IG_OK;
  for (size_t i = 0; i < n; i++) {
    const char *key = other_samples(&runs[best], &runs[i]);
    if (!key || !isfinite(ig_report_number(runs[i].result, "accuracy")))
      continue;
    IG_TRY(ig_text_addf(t,
                        "<section class=lead><p class=verdict>They were not judged on the same samples.</p><p>"
                        "<code>%s</code> of <bdi>",
                        key));
    IG_TRY(ig_report_wrap(t, "", runs[best].name, "</bdi> and <bdi>"));
    return ig_report_wrap(
        t, "", runs[i].name,
        "</bdi> differs, so that their accuracies say nothing of which is better. Measure both on the "
        "same: <code>ingot eval weights=... data=...</code></p></section>\n");
  }
  IG_TRY(
      ig_report_wrap(t, "<section class=lead><p class=verdict><bdi>", runs[best].name, "</bdi> is the most accurate"));
  // The most accurate of those that chance may have put behind.
  for (size_t i = 0; i < n; i++)
    if (i != best && interval_of(&runs[i]).high >= interval_of(&runs[best]).low &&
        (rival == n || ig_report_number(runs[i].result, "accuracy") > ig_report_number(runs[rival].result, "accuracy")))
      rival = i;
  if (rival == n)
    return ig_text_addf(t,
                        ", and by more than chance explains.</p><p>Its 95 %% interval lies above that of every other "
                        "run.</p></section>\n");
  IG_TRY(ig_report_wrap(t, ", but chance may have decided.</p><p>Its 95 % interval overlaps with that of <bdi>",
                        runs[rival].name, "</bdi>. "));
  return ig_text_addf(t, "Judge both on more %s, or prefer the cheaper one.</p></section>\n",
                      ig_report_noun(&runs[best]));
}

static ig_status settings(ig_text *t, const report_run *runs, size_t n) {
  size_t n_rows = 0;
  for (size_t owner = 0; owner < n; owner++)
    for (size_t k = 0; k < runs[owner].n_args; k++) {
      const char *key = runs[owner].args[k].key;
      bool earlier = false, differs = false;
      for (size_t i = 0; i < n; i++) {
        const char *v = ig_report_arg(&runs[i], key);
        earlier |= i < owner && v;
        differs |= !v || strcmp(v, runs[owner].args[k].value) != 0;
      }
      if (earlier || !differs || strcmp(key, "out") == 0)
        continue;
      if (n_rows++ == 0) {
        IG_TRY(ig_text_addf(t, "<h2>Settings that differ</h2><div class=scroll><table><thead><tr><th>Key</th>"));
        for (size_t i = 0; i < n; i++)
          IG_TRY(ig_report_wrap(t, "<th><bdi>", runs[i].name, "</bdi></th>"));
        IG_TRY(ig_text_addf(t, "</tr></thead><tbody>\n"));
      }
      IG_TRY(ig_report_wrap(t, "<tr><th scope=row>", key, "</th>"));
      for (size_t i = 0; i < n; i++) {
        const char *v = ig_report_arg(&runs[i], key);
        IG_TRY(ig_report_wrap(t, "<td>", v ? v : "", "</td>"));
      }
      IG_TRY(ig_text_addf(t, "</tr>\n"));
    }
  return n_rows ? ig_text_addf(t, "</tbody></table></div>\n")
                : ig_text_addf(t, "<p class=soft>All settings are the same.</p>\n");
}

static ig_status overlay(ig_text *t, const report_run *runs, size_t n, const char *title, const char *split,
                         const char *key) {
  ig_status status = IG_OK;
  report_series *s = NULL;
  IG_TRY(ig_alloc_array(n, sizeof *s, "the curves", &s));
  for (size_t i = 0; i < n; i++) {
    s[i].name = runs[i].name, s[i].colour = (int)(i % 8);
    IG_GOTO(ig_report_series(&runs[i], split, key, &s[i]));
  }
  IG_GOTO(ig_report_chart(t, title, "step", s, n, strcmp(key, "loss") == 0));
done:
  for (size_t i = 0; i < n; i++)
    ig_free(s[i].x), ig_free(s[i].y);
  ig_free(s);
  return status;
}

static ig_status page(ig_text *t, const report_run *runs, size_t n) {
  IG_TRY(ig_report_page_begin(t, "Comparison of runs"));
  IG_TRY(ig_text_addf(t, "<h1>%zu runs compared</h1>\n", n));
  for (size_t i = 0; i < n; i++)
    if (runs[i].notes.n) {
      IG_TRY(ig_report_wrap(t, "<p class=\"small care\"><bdi>", runs[i].name, "</bdi>: "));
      IG_TRY(ig_report_wrap(t, "", runs[i].notes.data, "</p>\n"));
    }
  IG_TRY(verdict(t, runs, n));
  IG_TRY(ig_text_addf(t, "<h2>Results</h2><div class=scroll><table><thead><tr><th>Run</th>"));
  for (size_t c = 0; c < N_COLUMNS; c++)
    if (has_column(runs, n, c))
      IG_TRY(ig_text_addf(t, "<th class=n>%s</th>", columns[c].title));
  IG_TRY(ig_text_addf(t, "<th class=n>Time</th></tr></thead><tbody>\n"));
  for (size_t i = 0; i < n; i++)
    IG_TRY(numbers(t, runs, n, i));
  IG_TRY(ig_text_addf(t, "</tbody></table></div>\n"));
  IG_TRY(settings(t, runs, n));
  IG_TRY(ig_text_addf(t, "<h2>Curves</h2><div class=grid>\n"));
  IG_TRY(overlay(t, runs, n, "Validation accuracy", "val", "accuracy"));
  IG_TRY(overlay(t, runs, n, "Validation RMSE", "val", "rmse"));
  IG_TRY(overlay(t, runs, n, "Validation loss", "val", "loss"));
  IG_TRY(overlay(t, runs, n, "Training loss", "train", "loss"));
  IG_TRY(overlay(t, runs, n, "Samples a second", "train", "samples_per_second"));
  IG_TRY(ig_text_addf(t, "</div>\n"));
  return ig_report_page_end(t);
}

ig_status ig_report_compare(size_t n, const char *const *run_folders, const char *out_path) {
  ig_status status = IG_OK;
  report_run *runs = NULL;
  ig_text t = {0};
  if (n < 2)
    return ig_fail(IG_ERR_USAGE, "a comparison of %zu runs; expected at least 2 run folders", n);
  IG_TRY(ig_alloc_array(n, sizeof *runs, "the runs", &runs));
  for (size_t i = 0; i < n; i++)
    IG_GOTO(ig_report_run_load(run_folders[i], &runs[i]));
  IG_GOTO(page(&t, runs, n));
  IG_GOTO(ig_file_write_atomic(out_path, t.data, t.n));
done:
  for (size_t i = 0; i < n; i++)
    ig_report_run_fini(&runs[i]);
  ig_free(runs);
  ig_free(t.data);
  return status;
}
