// Metrics as JSON, with the keys of the command line's contract. Rule: a number that is not finite is null.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "runtime/base/mem.h"
#include "runtime/train/metrics.h"

static ig_status no_memory(void) { return ig_fail(IG_ERR_MEMORY, "no memory for the JSON of the metrics"); }

static json_t *real(double x) { return isfinite(x) ? json_real(x) : json_null(); }

static json_t *prf(const ig_prf *x) {
  return json_pack("{s:o,s:o,s:o}", "precision", real(x->precision), "recall", real(x->recall), "f1", real(x->f1));
}

// A class's name; folder names need not be UTF-8, so bytes that jansson refuses are escaped.
static ig_status class_name(const char *const *names, int32_t c, json_t **out) {
  char number[16], *escaped = NULL;
  snprintf(number, sizeof number, "%d", (int)c);
  const char *name = names && names[c] ? names[c] : number;
  *out = json_string(name);
  if (*out)
    return IG_OK;
  const size_t n = strlen(name);
  size_t at = 0;
  IG_TRY(ig_alloc_array(n + 1, 4, "an escaped class name", &escaped));
  for (size_t i = 0; i < n; i++)
    if ((unsigned char)name[i] < 0x80)
      escaped[at++] = name[i];
    else
      at += (size_t)snprintf(escaped + at, 5, "\\x%02X", (unsigned char)name[i]);
  *out = json_string(escaped);
  ig_free(escaped);
  return *out ? IG_OK : no_memory();
}

static ig_status per_class(const ig_class_metrics *classes, int32_t k, const char *const *names, json_t *list) {
  for (int32_t c = 0; c < k; c++) {
    const ig_class_metrics *x = &classes[c];
    json_t *name = NULL;
    IG_TRY(class_name(names, c, &name));
    json_t *row = json_pack("{s:o,s:o,s:o,s:o,s:I,s:I,s:o,s:o}", "name", name, "precision", real(x->prf.precision),
                            "recall", real(x->prf.recall), "f1", real(x->prf.f1), "support", (json_int_t)x->support,
                            "predicted", (json_int_t)x->predicted, "roc_auc", real(x->roc_auc), "average_precision",
                            real(x->average_precision));
    if (json_array_append_new(list, row))
      return no_memory();
  }
  return IG_OK;
}

// Of many classes nearly all cells are 0: one value for all of them, 8 bytes a cell in place of 40.
static ig_status matrix(const ig_metrics *m, json_t *rows) {
  const size_t k = (size_t)m->n_classes;
  json_t *zero = json_integer(0);
  ig_status status = IG_OK;
  for (size_t t = 0; t < k; t++) {
    json_t *row = json_array();
    if (json_array_append_new(rows, row))
      IG_GOTO(no_memory());
    for (size_t p = 0; p < k; p++) {
      const int64_t n = m->confusion[t * k + p];
      if (json_array_append_new(row, n ? json_integer((json_int_t)n) : json_incref(zero)))
        IG_GOTO(no_memory());
    }
  }
done:
  json_decref(zero);
  return status;
}

static ig_status calibration(const ig_metrics *m, json_t *rows) {
  for (int b = 0; b < IG_CALIBRATION_BINS; b++) {
    const ig_calibration_bin *bin = &m->bins[b];
    json_t *row = json_pack("{s:o,s:o,s:I,s:o,s:o}", "from", real((double)b / IG_CALIBRATION_BINS), "to",
                            real((double)(b + 1) / IG_CALIBRATION_BINS), "n", (json_int_t)bin->n, "confidence",
                            real(bin->confidence), "accuracy", real(bin->accuracy));
    if (json_array_append_new(rows, row))
      return no_memory();
  }
  return IG_OK;
}

ig_status ig_metrics_json(const ig_metrics *m, const char *const *names, double loss, json_t **out) {
  ig_status status = IG_OK;
  json_t *rows = json_array(), *confusion = json_array(), *bins = json_array(), *j = NULL;
  *out = NULL;
  if (!rows || !confusion || !bins)
    IG_GOTO(no_memory());
  IG_GOTO(per_class(m->per_class, m->n_classes, names, rows));
  IG_GOTO(matrix(m, confusion));
  IG_GOTO(calibration(m, bins));
  const struct {
    const char *key;
    json_t *value;
  } pairs[] = {
      {"n", json_integer((json_int_t)m->n)},
      {"loss", real(isnan(loss) ? m->nll : loss)},
      {"accuracy", real(m->accuracy)},
      {"accuracy_interval", json_pack("[o,o]", real(m->accuracy_interval.low), real(m->accuracy_interval.high))},
      {"balanced_accuracy", real(m->balanced_accuracy)},
      {"top5", real(m->top5)},
      {"precision", real(m->macro.precision)},
      {"recall", real(m->macro.recall)},
      {"f1", real(m->macro.f1)},
      {"micro", prf(&m->micro)},
      {"weighted", prf(&m->weighted)},
      {"matthews", real(m->matthews)},
      {"kappa", real(m->kappa)},
      {"roc_auc", real(m->roc_auc)},
      {"average_precision", real(m->average_precision)},
      {"log_loss", real(m->log_loss)},
      {"nll", real(m->nll)},
      {"brier", real(m->brier)},
      {"ece", real(m->ece)},
      {"per_class", json_incref(rows)},
      {"confusion", json_incref(confusion)},
      {"calibration", json_incref(bins)},
  };
  int failed = (j = json_object()) == NULL;
  for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
    failed |= json_object_set_new(j, pairs[i].key, pairs[i].value);  // releases the value whatever happens
  if (failed)
    IG_GOTO(no_memory());
  *out = json_incref(j);
done:
  json_decref(rows);
  json_decref(confusion);
  json_decref(bins);
  json_decref(j);
  return status;
}

ig_status ig_multilabel_json(const ig_multilabel *m, const char *const *names, double loss, json_t **out) {
  ig_status status = IG_OK;
  json_t *rows = json_array();
  *out = NULL;
  if (!rows)
    return no_memory();
  IG_GOTO(per_class(m->per_label, m->n_labels, names, rows));
  *out = json_pack("{s:I,s:o,s:o,s:[o,o],s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:O}", "n", (json_int_t)m->n, "loss",
                   real(loss), "accuracy", real(m->accuracy), "accuracy_interval", real(m->accuracy_interval.low),
                   real(m->accuracy_interval.high), "label_accuracy", real(m->label_accuracy), "precision",
                   real(m->macro.precision), "recall", real(m->macro.recall), "f1", real(m->macro.f1), "micro",
                   prf(&m->micro), "weighted", prf(&m->weighted), "roc_auc", real(m->roc_auc), "average_precision",
                   real(m->average_precision), "per_class", rows);
  status = *out ? IG_OK : no_memory();
done:
  json_decref(rows);
  return status;
}

ig_status ig_regression_json(const ig_regression *m, double loss, json_t **out) {
  *out = json_pack("{s:I,s:o,s:o,s:o,s:o,s:o}", "n", (json_int_t)m->n, "loss", real(isnan(loss) ? m->mse : loss), "mse",
                   real(m->mse), "rmse", real(m->rmse), "mae", real(m->mae), "r2", real(m->r2));
  return *out ? IG_OK : no_memory();
}
