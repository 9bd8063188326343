// The run in plain words. Rule: every judgement names the number that it rests on and what to do about it.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "runtime/base/mem.h"
#include "runtime/train/interval.h"
#include "runtime/train/report_internal.h"

typedef struct findings {
  ig_text bad, care, next;  // <li> items
} findings;

static const char *class_name(const json_t *per_class, size_t c) {
  const char *name = json_string_value(json_object_get(json_array_get(per_class, c), "class"));
  if (!name)
    name = json_string_value(json_object_get(json_array_get(per_class, c), "name"));
  return name ? name : "?";
}

static double cell(const json_t *confusion, size_t t, size_t p) {
  const json_t *v = json_array_get(json_array_get(confusion, t), p);
  return json_is_number(v) ? json_number_value(v) : 0;
}

static ig_status trained(ig_text *t, const report_run *r) {
  const char *model = ig_report_arg(r, "model"), *data = ig_report_arg(r, "data");
  const char *weights = ig_report_arg(r, "weights");
  double epochs = ig_report_number(r->result, "epochs"), steps = ig_report_number(r->result, "steps");
  double seconds = ig_report_number(r->result, "seconds");
  char time[48];
  IG_TRY(ig_report_wrap(t, "<h2>What was trained</h2><p>A <b>", model ? model : "model", "</b>"));
  if (weights && *weights && strcmp(weights, "none") != 0)
    IG_TRY(ig_report_wrap(t, ", starting from <bdi>", weights, "</bdi>,"));
  if (data)
    IG_TRY(ig_report_wrap(t, " on <bdi>", data, "</bdi>"));
  if (epochs > 0)
    IG_TRY(ig_text_addf(t, ", %.0f %s", epochs, ig_plural((unsigned long long)epochs, "epoch", "epochs")));
  if (steps > 0)
    IG_TRY(ig_text_addf(t, ", %.0f %s", steps, ig_plural((unsigned long long)steps, "step", "steps")));
  if (isfinite(seconds))
    IG_TRY(ig_text_addf(t, ", in %s", ig_report_seconds(time, seconds)));
  return ig_text_addf(t, ".</p>\n");
}

// The three largest confusions, and the class found worst.
static ig_status confusions(ig_text *t, const report_run *r, findings *f) {
  const json_t *per_class = json_object_get(r->result, "per_class");
  const json_t *confusion = json_object_get(r->result, "confusion");
  size_t k = json_array_size(confusion), n_shown = 0, shown[3][2];
  if (k < 2)
    return IG_OK;
  IG_TRY(ig_text_addf(t, "<h2>What it confuses</h2><ul>"));
  for (; n_shown < 3; n_shown++) {
    double most = 0;
    size_t best[2] = {0, 0};
    for (size_t a = 0; a < k; a++)
      for (size_t b = 0; b < k; b++) {
        bool seen = a == b;
        for (size_t i = 0; i < n_shown; i++)
          seen |= shown[i][0] == a && shown[i][1] == b;
        if (!seen && cell(confusion, a, b) > most)
          most = cell(confusion, a, b), best[0] = a, best[1] = b;
      }
    if (most == 0)
      break;
    double support = ig_report_number(json_array_get(per_class, best[0]), "support");
    shown[n_shown][0] = best[0], shown[n_shown][1] = best[1];
    IG_TRY(ig_report_wrap(t, "<li><bdi>", class_name(per_class, best[0]), "</bdi> taken for "));
    IG_TRY(ig_report_wrap(t, "<bdi>", class_name(per_class, best[1]), "</bdi>: "));
    IG_TRY(ig_text_addf(t, "%.0f of %.0f</li>", most, support));
  }
  if (n_shown == 0)
    IG_TRY(ig_text_addf(t, "<li>Nothing: there was no mistake.</li>"));
  IG_TRY(ig_text_addf(t, "</ul>\n"));
  size_t worst = k, few = k, absent = k, n_few = 0, n_absent = 0;
  double lowest = 2, fewest = 20;
  for (size_t c = 0; c < k; c++) {
    double support = ig_report_number(json_array_get(per_class, c), "support");
    double recall = ig_report_number(json_array_get(per_class, c), "recall");
    if (support > 0 && recall < lowest)
      lowest = recall, worst = c;
    n_few += support > 0 && support < 20;
    if (support > 0 && support < fewest)
      fewest = support, few = c;
    if (support == 0 && n_absent++ == 0)
      absent = c;
  }
  if (worst < k && lowest < 0.8) {
    double support = ig_report_number(json_array_get(per_class, worst), "support");
    ig_interval i = ig_interval_wilson95((int64_t)llround(lowest * support), (int64_t)support);
    ig_text *to = lowest < 0.5 ? &f->bad : &f->care;
    IG_TRY(ig_report_wrap(to, "<li>Of class <bdi>", class_name(per_class, worst), "</bdi> "));
    IG_TRY(ig_text_addf(to, "it finds only %.0f %% (%.0f&ndash;%.0f %%, %.0f %s).</li>", 100 * lowest, 100 * i.low,
                        100 * i.high, support, ig_report_noun_of(r, support)));
    IG_TRY(ig_report_wrap(&f->next, "<li>Collect more examples of <bdi>", class_name(per_class, worst),
                          "</bdi> and check their labels; try <code>class_weights=balanced</code>.</li>"));
  }
  if (n_few == 1) {
    IG_TRY(ig_report_wrap(&f->care, "<li>Class <bdi>", class_name(per_class, few), "</bdi> "));
    IG_TRY(ig_text_addf(&f->care, "was judged on only %.0f %s: its numbers are rough.</li>", fewest,
                        ig_report_noun_of(r, fewest)));
  } else if (n_few) {
    IG_TRY(ig_text_addf(&f->care, "<li>%zu classes were judged on fewer than 20 %s each (fewest: ", n_few,
                        ig_report_noun_of(r, 20)));
    IG_TRY(ig_report_wrap(&f->care, "<bdi>", class_name(per_class, few), "</bdi>, "));
    IG_TRY(ig_text_addf(&f->care, "%.0f): their numbers are rough.</li>", fewest));
  }
  if (n_absent == 0)
    return IG_OK;
  IG_TRY(ig_text_addf(&f->care, "<li>%zu %s no validation %s (first: ", n_absent,
                      ig_plural(n_absent, "class has", "classes have"), ig_report_noun_of(r, 0)));
  return ig_report_wrap(&f->care, "<bdi>", class_name(per_class, absent),
                        "</bdi>): how well it is found is not known.</li>");
}

// Last and lowest value of a validation curve.
static ig_status curves(const report_run *r, findings *f) {
  const char *noun = ig_report_noun(r);
  double lowest = INFINITY, last = NAN, last_epoch = NAN;
  size_t n = 0;
  for (size_t i = 0; i < r->n_log; i++) {
    const char *split = json_string_value(json_object_get(r->log[i], "split"));
    double loss = ig_report_number(r->log[i], "loss");
    if (!split || strcmp(split, "val") != 0 || !isfinite(loss))
      continue;
    last = loss, lowest = fmin(lowest, loss), n++;
    last_epoch = ig_report_number(r->log[i], "epoch");
  }
  if (n >= 3 && last > 1.15 * lowest + 0.02) {
    IG_TRY(ig_text_addf(&f->care,
                        "<li>It began to learn the training %s by heart: the validation loss rose from %.3g to "
                        "%.3g at the end. Epoch %.0f was kept.</li>",
                        noun, lowest, last, ig_report_number(r->result, "best_epoch")));
    IG_TRY(
        ig_text_addf(&f->next, "<li>More data, %sfewer epochs.</li>",
                     strcmp(noun, "pictures") ? "more <code>dropout</code> or " : "<code>augment=strong</code> or "));
  }
  double best = ig_report_number(r->result, "best_epoch"), epochs = ig_report_number(r->result, "epochs");
  if (n >= 3 && best >= 0 && (best == last_epoch || best == epochs) && last <= lowest &&
      !(ig_report_number(r->result, "accuracy") > 0.99))
    IG_TRY(ig_text_addf(&f->next, "<li>The last epoch was the best: train longer (<code>epochs=%.0f</code>).</li>",
                        fmax(2, 2 * epochs)));
  return IG_OK;
}

static ig_status judge(const report_run *r, double n, double accuracy, double low, double high, findings *f) {
  const json_t *per_class = json_object_get(r->result, "per_class");
  double most = 0, ece = ig_report_number(r->result, "ece");
  for (size_t c = 0; c < json_array_size(per_class); c++)
    most = fmax(most, ig_report_number(json_array_get(per_class, c), "support"));
  const bool labels = isfinite(ig_report_number(r->result, "label_accuracy"));
  if (labels && accuracy < 0.9)
    IG_TRY(ig_text_addf(&f->care, "<li>In %.0f of 100 %s some label is wrong.</li>", 100 * (1 - accuracy),
                        ig_report_noun(r)));
  else if (labels)
    ;  // no class is the most frequent one: labels come together
  else if (n > 0 && low <= most / n)
    IG_TRY(ig_text_addf(&f->bad,
                        "<li>It is not surely better than always answering the most frequent class, which is right in "
                        "%.1f %%.</li>",
                        100 * most / n));
  else if (accuracy < 0.7)
    IG_TRY(ig_text_addf(&f->bad, "<li>It is wrong in %.0f of 100 cases.</li>", 100 * (1 - accuracy)));
  else if (accuracy < 0.9)
    IG_TRY(ig_text_addf(&f->care, "<li>It is wrong in %.0f of 100 cases.</li>", 100 * (1 - accuracy)));
  if (high - low > 0.1) {
    IG_TRY(ig_text_addf(&f->care, "<li>%.0f %s %s few: the true accuracy may be %.0f or %.0f %%.</li>", n,
                        ig_report_noun_of(r, n), n == 1 ? "is" : "are", 100 * low, 100 * high));
    IG_TRY(ig_text_addf(&f->next, "<li>Set more labelled data aside for validation (<code>split=</code>).</li>"));
  }
  if (ece > 0.05) {
    double sure = 0;
    size_t b;
    json_t *bin;
    json_array_foreach(json_object_get(r->result, "calibration"), b, bin) {
      double part = ig_report_number(bin, "n") * ig_report_number(bin, "confidence") / n;
      sure += isfinite(part) ? part : 0;
    }
    bool shy = sure < accuracy;
    IG_TRY(ig_text_addf(&f->care,
                        "<li>Its probabilities are off by %.0f points on average: it is %s. Do not take them at face "
                        "value.</li>",
                        100 * ece, shy ? "right more often than it claims" : "too sure of itself"));
    IG_TRY(ig_text_addf(&f->next, "<li>For truer probabilities: %s.</li>",
                        shy ? "train longer, with less <code>label_smoothing</code> or <code>mixup</code>"
                            : "<code>label_smoothing=0.1</code>, <code>mixup</code> or fewer epochs"));
  }
  return IG_OK;
}

static ig_status verdict(ig_text *t, const report_run *r, findings *f) {
  const char *tone = f->bad.n ? "bad" : f->care.n ? "care" : "good";
  IG_TRY(ig_text_addf(t, "<h2>Can it be trusted?</h2><p class=\"verdict %s\">%s</p>", tone,
                      f->bad.n    ? "Not yet."
                      : f->care.n ? "With care."
                                  : "Yes, on data like these."));
  if (f->bad.n || f->care.n)
    IG_TRY(ig_text_addf(t, "<ul>%s%s</ul>", f->bad.n ? f->bad.data : "", f->care.n ? f->care.data : ""));
  IG_TRY(ig_text_addf(
      t,
      "<p class=\"soft small\">The epoch was chosen by these same samples, so that the number is "
      "slightly too good, and it says nothing of %s.</p>\n",
      strcmp(ig_report_noun(r), "pictures") ? "texts of another kind or time" : "another camera, light or material"));
  IG_TRY(ig_text_addf(t, "<h2>What to do next</h2><ul>%s", f->next.n ? f->next.data : ""));
  if (r->n_samples)
    IG_TRY(ig_text_addf(t, "<li>Look at the worst mistakes below: wrong labels are often among them.</li>"));
  char *weights = NULL;
  IG_TRY(ig_asprintf(&weights, "weights=%s", r->folder));
  ig_status status = ig_text_addf(t, "<li>Measure once on data never used: <code>ingot eval ");
  if (status == IG_OK)
    status = ig_report_shell(t, weights);
  ig_free(weights);
  IG_TRY(status);
  return ig_text_addf(t, " data=... part=test</code></li></ul>\n");
}

// What stands in place of an accuracy: numbers of other tasks, or why there is none.
static ig_status other_result(ig_text *t, const report_run *r, double n) {
  double rmse = ig_report_number(r->result, "rmse"), r2 = ig_report_number(r->result, "r2");
  double perplexity = ig_report_number(r->result, "perplexity"), pairs = ig_report_number(r->result, "pair_accuracy");
  if (isfinite(rmse)) {
    IG_TRY(ig_text_addf(t, "<p class=big>&plusmn; %.4g</p><p>typical error (RMSE) on %.0f validation %s", rmse, n,
                        ig_plural(n > 0 ? (unsigned long long)n : 0, "sample", "samples")));
    if (r2 < 0)
      return ig_text_addf(t, "; always answering their mean would be better.</p>\n");
    if (isfinite(r2))
      return ig_text_addf(t, "; it explains %.1f %% of the variance.</p>\n", 100 * r2);
    return ig_text_addf(t, ".</p>\n");
  }
  if (isfinite(perplexity)) {
    IG_TRY(
        ig_text_addf(t, "<p class=big>%.4g</p><p>perplexity of masked words in texts that were held out", perplexity));
    if (isfinite(pairs))
      IG_TRY(ig_text_addf(t, "; %.1f %% of the pairs were judged right", 100 * pairs));
    return ig_text_addf(t, ".</p>\n");
  }
  if (ig_report_nothing_held_out(r))
    return ig_text_addf(t,
                        "<p class=verdict>How good it is, is not known.</p><p>No %s was held out of the training, so "
                        "that there was nothing to judge it by; the weights of the last epoch were kept. Add more "
                        "labelled %s and train again, or measure it on %s that it has not seen: <code>ingot eval "
                        "weights=... data=...</code></p>\n",
                        strcmp(ig_report_noun(r), "pictures") ? "text" : "picture", ig_report_noun(r),
                        ig_report_noun(r));
  return ig_text_addf(t,
                      "<p class=verdict>There is no final result yet.</p><p>The run has not finished; the curves "
                      "show how far it came.</p>\n");
}

ig_status ig_report_summary(ig_text *t, const report_run *r) {
  ig_status status = IG_OK;
  findings f = {0};
  double n = ig_report_number(r->result, "n"), accuracy = ig_report_number(r->result, "accuracy");
  const json_t *pair = json_object_get(r->result, "accuracy_interval");
  IG_GOTO(ig_text_addf(t, "<section class=lead>\n"));
  if (isfinite(accuracy) && n > 0) {
    ig_interval i = ig_interval_wilson95((int64_t)llround(accuracy * n), (int64_t)n);
    if (json_is_number(json_array_get(pair, 0)) && json_is_number(json_array_get(pair, 1)))
      i = (ig_interval){json_number_value(json_array_get(pair, 0)), json_number_value(json_array_get(pair, 1))};
    const bool labels = isfinite(ig_report_number(r->result, "label_accuracy"));
    IG_GOTO(ig_text_addf(t,
                         "<p class=big>%.1f %%</p><p>%s %.0f validation %s that it was not trained on; 95 %% "
                         "interval %.1f&ndash;%.1f %%.</p>\n",
                         100 * accuracy, labels ? "have every label right, of" : "right on", n, ig_report_noun_of(r, n),
                         100 * i.low, 100 * i.high));
    IG_GOTO(trained(t, r));
    IG_GOTO(confusions(t, r, &f));
    IG_GOTO(judge(r, n, accuracy, i.low, i.high, &f));
    IG_GOTO(curves(r, &f));
    IG_GOTO(verdict(t, r, &f));
  } else {
    IG_GOTO(other_result(t, r, n));
    IG_GOTO(trained(t, r));
  }
  IG_GOTO(ig_text_addf(t, "</section>\n"));
done:
  ig_free(f.bad.data);
  ig_free(f.care.data);
  ig_free(f.next.data);
  return status;
}
