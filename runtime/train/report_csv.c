// predictions.csv, written. Rule: RFC 4180, numbers with 9 digits, so that reading gives the same floats.
#include <math.h>
#include <string.h>

#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/base/text.h"
#include "runtime/train/report.h"

static ig_status field(ig_text *t, const char *prefix, const char *text) {
  if (!strpbrk(text, ",\"\r\n"))
    return ig_text_addf(t, "%s%s", prefix, text);
  IG_TRY(ig_text_addf(t, "\"%s", prefix));
  for (const char *p = text; *p; p++)
    IG_TRY(ig_text_add(t, *p == '"' ? "\"\"" : p, *p == '"' ? 2 : 1));
  return ig_text_add(t, "\"", 1);
}

static ig_status line(ig_text *t, const char *path, int32_t label, const float *logits, int32_t k,
                      const char *const *classes, const char *text) {
  int32_t best = 0;
  double sum = 0;
  for (int32_t c = 0; c < k; c++) {
    if (!isfinite(logits[c])) {
      char quoted[IG_QUOTE_BYTES];
      return ig_fail(IG_ERR_NUMERIC, "the score of class %d for %s is not finite", (int)c, ig_quote(quoted, path));
    }
    if (logits[c] > logits[best])
      best = c;
  }
  for (int32_t c = 0; c < k; c++)
    sum += exp((double)logits[c] - logits[best]);
  IG_TRY(field(t, "", path));
  IG_TRY(ig_text_add(t, ",", 1));
  if (label >= 0)
    IG_TRY(field(t, "", classes[label]));
  IG_TRY(ig_text_add(t, ",", 1));
  IG_TRY(field(t, "", classes[best]));
  IG_TRY(ig_text_addf(t, ",%.9g,", 1 / sum));
  if (label >= 0)
    IG_TRY(ig_text_addf(t, "%.9g", log(sum) - ((double)logits[label] - logits[best])));
  for (int32_t c = 0; c < k; c++)
    IG_TRY(ig_text_addf(t, ",%.9g", exp((double)logits[c] - logits[best]) / sum));
  if (text) {
    IG_TRY(ig_text_add(t, ",", 1));
    IG_TRY(field(t, "", text));
  }
  return ig_text_add(t, "\n", 1);
}

ig_status ig_report_values_csv(const char *path, size_t n, const char *const *paths, char *const *labels,
                               char *const *predicted, const double *p, const double *loss, const float *values,
                               int32_t k, const char *const *names, char *const *texts) {
  ig_status status = IG_OK;
  ig_text t = {0};
  IG_GOTO(ig_text_addf(&t, "path,label,predicted,p,loss"));
  for (int32_t c = 0; c < k; c++) {
    IG_GOTO(ig_text_add(&t, ",", 1));
    IG_GOTO(field(&t, p ? "p_" : "predicted_", names[c]));
  }
  if (texts)
    IG_GOTO(ig_text_addf(&t, ",text"));
  for (size_t i = 0; i < n; i++) {
    const char *const cells[] = {paths[i], labels[i], predicted[i]};
    for (int f = 0; f < 3; f++) {
      IG_GOTO(ig_text_add(&t, f ? "," : "\n", 1));
      IG_GOTO(field(&t, "", cells[f]));
    }
    IG_GOTO(p ? ig_text_addf(&t, ",%.9g", p[i]) : ig_text_add(&t, ",", 1));
    IG_GOTO(ig_text_addf(&t, ",%.9g", loss[i]));
    for (int32_t c = 0; c < k; c++)
      IG_GOTO(ig_text_addf(&t, ",%.9g", (double)values[i * (size_t)k + (size_t)c]));
    if (texts) {
      IG_GOTO(ig_text_add(&t, ",", 1));
      IG_GOTO(field(&t, "", texts[i]));
    }
  }
  IG_GOTO(ig_text_add(&t, "\n", 1));
  IG_GOTO(ig_file_write_atomic(path, t.data, t.n));
done:
  ig_free(t.data);
  return status;
}

ig_status ig_report_predictions_csv(const char *path, size_t n, const char *const *paths, const int32_t *labels,
                                    const float *logits, int32_t k, const char *const *classes, char *const *texts) {
  ig_status status = IG_OK;
  ig_text t = {0};
  IG_GOTO(ig_text_addf(&t, "path,label,predicted,p,loss"));
  for (int32_t c = 0; c < k; c++) {
    IG_GOTO(ig_text_add(&t, ",", 1));
    IG_GOTO(field(&t, "p_", classes[c]));
  }
  if (texts)
    IG_GOTO(ig_text_addf(&t, ",text"));
  IG_GOTO(ig_text_add(&t, "\n", 1));
  for (size_t i = 0; i < n; i++) {
    if (labels[i] < -1 || labels[i] >= k)
      IG_GOTO(ig_fail(IG_ERR_DATA, "label %d of sample %zu; expected -1 to %d", (int)labels[i], i, (int)k - 1));
    IG_GOTO(line(&t, paths[i], labels[i], logits + i * (size_t)k, k, classes, texts ? texts[i] : NULL));
  }
  IG_GOTO(ig_file_write_atomic(path, t.data, t.n));
done:
  ig_free(t.data);
  return status;
}
