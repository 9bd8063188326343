// Metrics of several labels a sample, each of which holds or does not. Rule: each label is a question of its own (a
// label is said from probability 1/2 on), by ig_metrics_binary; what is said of all is summed from those.
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "runtime/base/mem.h"
#include "runtime/train/metrics.h"

static void add_prf(ig_prf *sum, const ig_prf *x, double weight) {
  sum->precision += weight * x->precision;
  sum->recall += weight * x->recall;
  sum->f1 += weight * x->f1;
}

static double ratio(double a, double b) { return b != 0 ? a / b : 0; }

static ig_status one_label(const float *logits, const float *targets, size_t n, int32_t k, int32_t c, double *scores,
                           int32_t *labels, uint8_t *wrong, ig_multilabel *m) {
  ig_metrics one;
  for (size_t i = 0; i < n; i++) {
    const float z = logits[i * (size_t)k + (size_t)c];
    if (!isfinite(z))
      return ig_fail(IG_ERR_NUMERIC, "logit %d of sample %zu is %g, expected a finite number", (int)c, i, (double)z);
    scores[i] = 1 / (1 + exp(-(double)z));
    labels[i] = targets[i * (size_t)k + (size_t)c] > 0.5f;
    const bool differs = (scores[i] >= 0.5) != labels[i];
    wrong[i] |= differs;
    m->label_accuracy += !differs;
  }
  IG_TRY(ig_metrics_binary(scores, labels, NULL, n, &one));
  m->per_label[c] = one.per_class[1];
  ig_metrics_fini(&one);
  return IG_OK;
}

ig_status ig_metrics_multilabel(const float *logits, const float *targets, size_t n, int32_t k, ig_multilabel *out) {
  ig_status status = IG_OK;
  ig_multilabel *m = out;
  double *scores = NULL;
  int32_t *labels = NULL;
  uint8_t *wrong = NULL;
  double auc = 0, precision = 0, hits = 0, said = 0, support = 0;
  int64_t right = 0;
  int32_t n_auc = 0, n_precision = 0;
  *m = (ig_multilabel){.n = (int64_t)n, .n_labels = k, .roc_auc = NAN, .average_precision = NAN};
  if (n == 0)
    return ig_fail(IG_ERR_DATA, "no sample to evaluate: all were left out or unreadable");
  IG_GOTO(ig_alloc_array((size_t)k, sizeof *m->per_label, "metrics of labels", &m->per_label));
  IG_GOTO(ig_alloc_array(n, sizeof *scores, "scores of a label", &scores));
  IG_GOTO(ig_alloc_array(n, sizeof *labels, "scores of a label", &labels));
  IG_GOTO(ig_alloc_array(n, sizeof *wrong, "scores of a label", &wrong));
  for (int32_t c = 0; c < k; c++)
    IG_GOTO(one_label(logits, targets, n, k, c, scores, labels, wrong, m));
  for (size_t i = 0; i < n; i++)
    right += !wrong[i];
  for (int32_t c = 0; c < k; c++) {
    const ig_class_metrics *x = &m->per_label[c];
    hits += x->prf.recall * (double)x->support;
    said += (double)x->predicted;
    support += (double)x->support;
    add_prf(&m->macro, &x->prf, 1 / (double)k);
    if (!isnan(x->roc_auc))
      auc += x->roc_auc, n_auc++;
    if (x->support > 0)
      precision += x->average_precision, n_precision++;
  }
  for (int32_t c = 0; c < k && support > 0; c++)
    add_prf(&m->weighted, &m->per_label[c].prf, (double)m->per_label[c].support / support);
  m->micro = (ig_prf){ratio(hits, said), ratio(hits, support), ratio(2 * hits, said + support)};
  m->accuracy = (double)right / (double)n;
  m->accuracy_interval = ig_interval_wilson95(right, (int64_t)n);
  m->label_accuracy /= (double)n * (double)k;
  if (n_auc)
    m->roc_auc = auc / n_auc;
  if (n_precision)
    m->average_precision = precision / n_precision;
done:
  ig_free(scores);
  ig_free(labels);
  ig_free(wrong);
  if (status != IG_OK)
    ig_multilabel_fini(m);
  return status;
}

void ig_multilabel_fini(ig_multilabel *m) {
  ig_free(m->per_label);
  *m = (ig_multilabel){0};
}
