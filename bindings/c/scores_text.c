// What train, eval and demo tell people at their end. Rule: it is read from the answer's JSON, so that both say the
// same; figures of which a person needs none stay in the JSON.
#include <stdio.h>
#include <string.h>

#include "bindings/c/call.h"

enum { MAX_CLASSES = 40, SHOWN_CONFUSIONS = 3 };

static double number(const json_t *object, const char *key) { return json_number_value(json_object_get(object, key)); }

// A figure, or - where it is not defined (r2 of one sample, say).
static const char *figure(char out[24], const json_t *object, const char *key) {
  const json_t *value = json_object_get(object, key);
  if (json_is_number(value))
    snprintf(out, 24, "%.5g", json_number_value(value));
  return json_is_number(value) ? out : "-";
}

static const char *name_of(char out[IG_QUOTE_BYTES], const json_t *row) {
  return ig_shown(out, json_string_value(json_object_get(row, "name")));
}

static int widest_name(const json_t *rows) {
  char name[IG_QUOTE_BYTES];
  int width = (int)strlen("class");
  size_t i;
  json_t *row;
  json_array_foreach(rows, i, row) {
    int n = (int)strlen(name_of(name, row));
    width = n > width ? n : width;
  }
  return width;
}

// The classes that pictures of class `c` were taken for, the most frequent first.
static ig_status add_mistakes(const json_t *rows, const json_t *counts, size_t c, ig_text *out) {
  json_int_t below = 0;
  size_t last = 0, n = json_array_size(counts);
  for (int k = 0; k < SHOWN_CONFUSIONS; k++) {
    json_int_t most = 0;
    size_t best = n;
    for (size_t i = 0; i < n; i++) {
      json_int_t x = json_integer_value(json_array_get(counts, i));
      bool told = k && (x > below || (x == below && i <= last));
      if (i != c && !told && x > most) {
        most = x;
        best = i;
      }
    }
    if (best == n)
      break;
    char name[IG_QUOTE_BYTES];
    IG_TRY(ig_text_addf(out, "%s%s %lld", k ? ", " : "", name_of(name, json_array_get(rows, best)), (long long)most));
    below = most;
    last = best;
  }
  return ig_text_add(out, "\n", 1);
}

static ig_status add_classes(const json_t *scores, ig_text *out) {
  const json_t *rows = json_object_get(scores, "per_class"), *confusion = json_object_get(scores, "confusion"), *row;
  if (json_array_size(rows) > MAX_CLASSES)
    return ig_text_addf(out, "\nthe %zu %s one by one: --json, or report.html\n", json_array_size(rows),
                        confusion ? "classes" : "labels");
  char name[IG_QUOTE_BYTES];
  int width = widest_name(rows);
  size_t i;
  IG_TRY(ig_text_addf(out, "\n%-*s   samples  found (recall)  right when named (precision)  %s\n", width,
                      confusion ? "class" : "label", confusion ? "mistaken for" : ""));
  json_array_foreach(rows, i, row) {
    char precision[16] = "never named", recall[16] = "no sample";
    if (number(row, "support") > 0)
      snprintf(recall, sizeof recall, "%.1f %%", 100 * number(row, "recall"));
    if (number(row, "predicted") > 0)
      snprintf(precision, sizeof precision, "%.1f %%", 100 * number(row, "precision"));
    IG_TRY(ig_text_addf(out, "%-*s  %8.0f  %14s  %28s  ", width, name_of(name, row), number(row, "support"), recall,
                        precision));
    IG_TRY(add_mistakes(rows, json_array_get(confusion, i), i, out));
  }
  return IG_OK;
}

// Classes that the data lack lower means that are taken over all of them: `means` names these.
static ig_status add_absent(const json_t *scores, const char *one, const char *many, const char *means, ig_text *out) {
  const json_t *rows = json_object_get(scores, "per_class"), *row;
  unsigned long long absent = 0;
  size_t i;
  json_array_foreach(rows, i, row) absent += number(row, "support") == 0;
  return absent ? ig_text_addf(out, "note: %llu of %zu %s no sample here and %s as 0 in the means of %s\n", absent,
                               json_array_size(rows), ig_plural(absent, one, many),
                               ig_plural(absent, "counts", "count"), means)
                : IG_OK;
}

ig_status ig_scores_line(const json_t *scores, ig_text *out) {
  const json_t *interval = json_object_get(scores, "accuracy_interval");
  double n = number(scores, "n"), accuracy = number(scores, "accuracy");
  return ig_text_addf(out, "accuracy %.2f %%: %.0f of %.0f wrong (95 %% interval %.1f to %.1f %%)", 100 * accuracy,
                      n * (1 - accuracy), n, 100 * json_number_value(json_array_get(interval, 0)),
                      100 * json_number_value(json_array_get(interval, 1)));
}

// Pre-training: the mean of both losses, and what each means.
static ig_status pretrain_text(const json_t *scores, ig_text *out) {
  IG_TRY(ig_text_addf(out, "loss %.4f: masked words %.4f (perplexity %.2f)", number(scores, "loss"),
                      number(scores, "masked_loss"), number(scores, "perplexity")));
  if (json_object_get(scores, "pair_accuracy"))
    IG_TRY(ig_text_addf(out, ", pairs right %.2f %%", 100 * number(scores, "pair_accuracy")));
  return ig_text_add(out, "\n", 1);
}

// Numbers: how far off, in the data's units; several one by one.
static ig_status numbers_text(const json_t *scores, ig_text *out) {
  const json_t *rows = json_object_get(scores, "per_target"), *row;
  const double n = number(scores, "n");
  char a[24], b[24], r2[24], name[IG_QUOTE_BYTES];
  size_t i;
  IG_TRY(ig_text_addf(out, "typical error (rmse) %s, mean error (mae) %s, explained (r2) %s, of %.0f %s\n",
                      figure(a, scores, "rmse"), figure(b, scores, "mae"), figure(r2, scores, "r2"), n,
                      ig_plural((unsigned long long)n, "sample", "samples")));
  if (json_array_size(rows) == 0)
    return IG_OK;
  const int width = widest_name(rows);
  IG_TRY(ig_text_addf(out, "\n%-*s          rmse           mae  explained (r2)\n", width, "number"));
  json_array_foreach(rows, i, row)
      IG_TRY(ig_text_addf(out, "%-*s  %12s  %12s  %14s\n", width, name_of(name, row), figure(a, row, "rmse"),
                          figure(b, row, "mae"), figure(r2, row, "r2")));
  return IG_OK;
}

// Several labels: a sample is right where all of its labels are.
static ig_status labels_text(const json_t *scores, ig_text *out) {
  const json_t *interval = json_object_get(scores, "accuracy_interval");
  const double n = number(scores, "n"), accuracy = number(scores, "accuracy");
  char f1[24], precision[24], area[24];
  IG_TRY(ig_text_addf(
      out,
      "all labels right %.2f %%: %.0f of %.0f with a wrong one (95 %% interval %.1f to %.1f %%)\nloss %.4f, "
      "mean F1 %s, average precision %s, area under the ROC curve %s\n",
      100 * accuracy, n * (1 - accuracy), n, 100 * json_number_value(json_array_get(interval, 0)),
      100 * json_number_value(json_array_get(interval, 1)), number(scores, "loss"), figure(f1, scores, "f1"),
      figure(precision, scores, "average_precision"), figure(area, scores, "roc_auc")));
  IG_TRY(add_absent(scores, "labels has", "labels have", "F1, precision and recall", out));
  return add_classes(scores, out);
}

ig_status ig_scores_text(const json_t *scores, ig_text *out) {
  if (json_object_get(scores, "perplexity"))
    return pretrain_text(scores, out);
  if (json_object_get(scores, "label_accuracy"))
    return labels_text(scores, out);
  if (json_object_get(scores, "rmse"))
    return numbers_text(scores, out);
  IG_TRY(ig_scores_line(scores, out));
  IG_TRY(ig_text_addf(out, "\nloss %.4f, mean F1 %.4f, calibration error %.3f\n", number(scores, "loss"),
                      number(scores, "f1"), number(scores, "ece")));
  const bool two = json_array_size(json_object_get(scores, "per_class")) == 2;  // then it is class 1's, and no mean
  IG_TRY(add_absent(scores, "classes has", "classes have",
                    two ? "F1, precision and recall" : "F1, precision, recall and average precision", out));
  return add_classes(scores, out);
}
