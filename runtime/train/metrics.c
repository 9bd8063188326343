// Metrics: one pass over the samples fills the confusion matrix, the calibration bins and the losses; then one pass a
// class ranks its scores. Rule: double throughout, and no result depends on the order of equal scores.
#include "runtime/train/metrics.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/mem.h"

static double ratio(double a, double b) { return b != 0 ? a / b : 0; }
static double square(double x) { return x * x; }
static bool kept(const float *weights, size_t i) { return !weights || weights[i] != 0; }

// ---- one sample ---------------------------------------------------------------------------------------------------

// What ranking needs of a row later on: p_c = exp(z_c - max) / sum.
typedef struct row_scale {
  double max, sum;
} row_scale;

typedef struct sample {
  int32_t truth, predicted;
  double confidence;  // of the predicted class
  double p_truth, nll, brier;
  bool in_top5;
} sample;

static void count(ig_metrics *m, const sample *s) {
  const int b = (int)ceil(s->confidence * IG_CALIBRATION_BINS) - 1;
  ig_calibration_bin *bin = &m->bins[b < 0 ? 0 : b >= IG_CALIBRATION_BINS ? IG_CALIBRATION_BINS - 1 : b];
  bin->n++;
  bin->confidence += s->confidence;
  bin->accuracy += s->predicted == s->truth;
  m->n++;
  m->confusion[(size_t)s->truth * (size_t)m->n_classes + (size_t)s->predicted]++;
  m->top5 += s->in_top5;
  m->nll += s->nll;
  m->log_loss -= log(fmin(fmax(s->p_truth, DBL_EPSILON), 1 - DBL_EPSILON));
  m->brier += s->brier;
}

// sum of exp(z - max), added up as NumPy adds a row: logits that are others in another order then have the same sums
// nearly always, and where they do not, it is where scikit-learn's users see it. Ranks by p depend on its last digit.
static double sum_of_exp(const float *z, int32_t n, double max) {
  double part[8], sum = 0;
  int32_t i = 0;
  if (n > 128) {
    const int32_t half = n / 2 - n / 2 % 8;
    return sum_of_exp(z, half, max) + sum_of_exp(z + half, n - half, max);
  }
  if (n >= 8) {
    for (; i < 8; i++)
      part[i] = exp(z[i] - max);
    for (; i < n - n % 8; i++)
      part[i % 8] += exp(z[i] - max);
    sum = ((part[0] + part[1]) + (part[2] + part[3])) + ((part[4] + part[5]) + (part[6] + part[7]));
  }
  for (; i < n; i++)
    sum += exp(z[i] - max);
  return sum;
}

static sample read_row(const float *z, int32_t k, int32_t truth, row_scale *scale) {
  sample s = {.truth = truth};
  int32_t before = 0;  // classes that rank before the true one
  for (int32_t c = 1; c < k; c++)
    if (z[c] > z[s.predicted])
      s.predicted = c;
  for (int32_t c = 0; c < k; c++)
    before += z[c] > z[truth] || (z[c] == z[truth] && c < truth);
  *scale = (row_scale){z[s.predicted], sum_of_exp(z, k, z[s.predicted])};
  for (int32_t c = 0; c < k; c++)
    s.brier += square(exp(z[c] - scale->max) / scale->sum - (c == truth));
  s.brier /= k == 2 ? 2 : 1;  // both classes of two miss by the same
  s.confidence = 1 / scale->sum;
  s.p_truth = exp(z[truth] - scale->max) / scale->sum;
  s.nll = log(scale->sum) + scale->max - z[truth];
  s.in_top5 = before < 5;
  return s;
}

static sample read_score(double p, int32_t truth) {
  const double p_truth = truth ? p : 1 - p;
  return (sample){.truth = truth,
                  .predicted = p >= 0.5,
                  .confidence = fmax(p, 1 - p),
                  .p_truth = p_truth,
                  .nll = -log(p_truth),
                  .brier = square(p - truth),
                  .in_top5 = true};
}

// ---- from the confusion matrix ------------------------------------------------------------------------------------

static ig_prf prf_of(double hits, double predicted, double support) {
  return (ig_prf){ratio(hits, predicted), ratio(hits, support), ratio(2 * hits, predicted + support)};
}

static void add_prf(ig_prf *sum, const ig_prf *x, double weight) {
  sum->precision += weight * x->precision;
  sum->recall += weight * x->recall;
  sum->f1 += weight * x->f1;
}

static void from_confusion(ig_metrics *m) {
  const size_t k = (size_t)m->n_classes;
  const double n = (double)m->n;
  int64_t hits = 0;
  double occurring = 0, pt = 0, pp = 0, tt = 0;  // sums over classes of predicted x support, squares of each
  for (size_t t = 0; t < k; t++)
    for (size_t p = 0; p < k; p++) {
      m->per_class[t].support += m->confusion[t * k + p];
      m->per_class[p].predicted += m->confusion[t * k + p];
    }
  for (size_t c = 0; c < k; c++) {
    ig_class_metrics *x = &m->per_class[c];
    const double predicted = (double)x->predicted, support = (double)x->support;
    x->prf = prf_of((double)m->confusion[c * k + c], predicted, support);
    add_prf(&m->macro, &x->prf, 1 / (double)k);
    add_prf(&m->weighted, &x->prf, support / n);
    hits += m->confusion[c * k + c];
    occurring += support > 0;
    m->balanced_accuracy += x->prf.recall;
    pt += predicted * support;
    pp += predicted * predicted;
    tt += support * support;
  }
  m->accuracy = (double)hits / n;
  m->accuracy_interval = ig_interval_wilson95(hits, m->n);
  m->balanced_accuracy /= occurring;
  m->micro = prf_of((double)hits, n, n);
  m->matthews = ratio((double)hits * n - pt, sqrt((n * n - pp) * (n * n - tt)));
  m->kappa = pt == n * n ? NAN : (m->accuracy - pt / (n * n)) / (1 - pt / (n * n));
}

// ---- ranking ------------------------------------------------------------------------------------------------------

static int by_value(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

// First index of ascending v [n] whose element is above x (or at least x).
static size_t bound(const double *v, size_t n, double x, bool above) {
  size_t lo = 0, hi = n;
  while (lo < hi) {
    const size_t mid = lo + (hi - lo) / 2;
    if (v[mid] < x || (above && v[mid] == x))
      lo = mid + 1;
    else
      hi = mid;
  }
  return lo;
}

typedef struct ranking {
  double *positive;   // [n] scores of the class's own samples
  double *negative;   // [n] scores of the others
  int64_t *below_or;  // [n] others whose score reaches exactly positive 0..i in ascending order
  size_t n_positive, n_negative;
} ranking;

// Only the positives are sorted: each negative finds its place among them, which gives both areas.
static void rank_class(ranking *r, ig_class_metrics *out) {
  const size_t m = r->n_positive;
  double pairs = 0;  // (positive, negative) in the right order, ties one half
  qsort(r->positive, m, sizeof *r->positive, by_value);
  memset(r->below_or, 0, m * sizeof *r->below_or);
  for (size_t j = 0; j < r->n_negative; j++) {
    const size_t less = bound(r->positive, m, r->negative[j], false);
    const size_t reached = less + bound(r->positive + less, m - less, r->negative[j], true);
    pairs += (double)(m - reached) + 0.5 * (double)(reached - less);
    if (reached > 0)
      r->below_or[reached - 1]++;
  }
  out->roc_auc = m > 0 && r->n_negative > 0 ? pairs / ((double)m * (double)r->n_negative) : NAN;
  out->average_precision = 0;
  double others = 0;  // negatives that reach the threshold
  for (size_t end = m; end > 0;) {
    size_t begin = end;  // positives [begin, end) share one score
    do
      others += (double)r->below_or[--begin];
    while (begin > 0 && r->positive[begin - 1] == r->positive[end - 1]);
    const double reaching = (double)(m - begin);
    out->average_precision += (double)(end - begin) / (double)m * (reaching / (reaching + others));
    end = begin;
  }
}

// What ranks samples: logits with their rows' scales, or of two classes the second one's probabilities.
typedef struct ranked {
  const float *logits;
  const row_scale *scale;
  const double *scores;
} ranked;

// The score of class c in sample i.
static double score_of(const ranked *by, int32_t k, size_t i, int32_t c) {
  if (by->scores)
    return c ? by->scores[i] : 1 - by->scores[i];
  return exp(by->logits[i * (size_t)k + (size_t)c] - by->scale[i].max) / by->scale[i].sum;
}

static ig_status rank_all(const ranked *by, const int32_t *labels, const float *weights, size_t n, ig_metrics *m) {
  ig_status status = IG_OK;
  ranking r = {0};
  double auc = 0, precision = 0;
  IG_GOTO(ig_alloc_array(n, sizeof *r.positive, "scores to rank", &r.positive));
  IG_GOTO(ig_alloc_array(n, sizeof *r.negative, "scores to rank", &r.negative));
  IG_GOTO(ig_alloc_array(n, sizeof *r.below_or, "scores to rank", &r.below_or));
  for (int32_t c = 0; c < m->n_classes; c++) {
    r.n_positive = r.n_negative = 0;
    for (size_t i = 0; i < n; i++)
      if (kept(weights, i)) {
        const double s = score_of(by, m->n_classes, i, c);
        if (labels[i] == c)
          r.positive[r.n_positive++] = s;
        else
          r.negative[r.n_negative++] = s;
      }
    rank_class(&r, &m->per_class[c]);
    auc += m->per_class[c].roc_auc;  // NaN where a class lacks, as documented
    precision += m->per_class[c].average_precision;
  }
  const bool two = m->n_classes == 2;
  m->roc_auc = two ? m->per_class[1].roc_auc : auc / m->n_classes;
  m->average_precision = two ? m->per_class[1].average_precision : precision / m->n_classes;
done:
  ig_free(r.positive);
  ig_free(r.negative);
  ig_free(r.below_or);
  return status;
}

// ---- the whole ----------------------------------------------------------------------------------------------------

static ig_status start(ig_metrics *m, int32_t k) {
  *m = (ig_metrics){.n_classes = k};
  if (k < 2)
    return ig_fail(IG_ERR_INTERNAL, "classification metrics of %d classes: at least 2 are needed", (int)k);
  IG_TRY(ig_alloc_array((size_t)k, sizeof *m->per_class, "metrics per class", &m->per_class));
  return ig_alloc_array((size_t)k * (size_t)k, sizeof *m->confusion, "confusion matrix", &m->confusion);
}

static ig_status check_label(int32_t label, size_t i, int32_t k) {
  if (label >= 0 && label < k)
    return IG_OK;
  return ig_fail(IG_ERR_DATA, "sample %zu has label %d, expected 0 to %d", i, (int)label, (int)k - 1);
}

static ig_status finish(ig_metrics *m) {
  if (m->n == 0)
    return ig_fail(IG_ERR_DATA, "no sample to evaluate: all were left out or unreadable");
  const double n = (double)m->n;
  m->top5 /= n, m->nll /= n, m->log_loss /= n, m->brier /= n;
  for (int b = 0; b < IG_CALIBRATION_BINS; b++) {
    ig_calibration_bin *bin = &m->bins[b];
    m->ece += fabs(bin->accuracy - bin->confidence) / n;
    bin->accuracy = ratio(bin->accuracy, (double)bin->n);
    bin->confidence = ratio(bin->confidence, (double)bin->n);
  }
  from_confusion(m);
  return IG_OK;
}

ig_status ig_metrics_classify(const float *logits, const int32_t *labels, const float *weights, size_t n, int32_t k,
                              ig_metrics *out) {
  ig_status status = IG_OK;
  row_scale *scale = NULL;
  IG_GOTO(start(out, k));
  IG_GOTO(ig_alloc_array(n, sizeof *scale, "softmax scales", &scale));
  for (size_t i = 0; i < n; i++) {
    if (!kept(weights, i))
      continue;
    const float *row = logits + i * (size_t)k;
    IG_GOTO(check_label(labels[i], i, k));
    for (int32_t c = 0; c < k; c++)
      if (!isfinite(row[c]))
        IG_GOTO(ig_fail(IG_ERR_NUMERIC, "logit %d of sample %zu is %g, expected a finite number", (int)c, i, row[c]));
    const sample s = read_row(row, k, labels[i], &scale[i]);
    count(out, &s);
  }
  IG_GOTO(finish(out));
  IG_GOTO(rank_all(&(ranked){logits, scale, NULL}, labels, weights, n, out));
done:
  ig_free(scale);
  if (status != IG_OK)
    ig_metrics_fini(out);
  return status;
}

ig_status ig_metrics_binary(const double *scores, const int32_t *labels, const float *weights, size_t n,
                            ig_metrics *out) {
  ig_status status = IG_OK;
  IG_GOTO(start(out, 2));
  for (size_t i = 0; i < n; i++) {
    if (!kept(weights, i))
      continue;
    IG_GOTO(check_label(labels[i], i, 2));
    if (!(scores[i] >= 0 && scores[i] <= 1))
      IG_GOTO(ig_fail(IG_ERR_NUMERIC, "the score of sample %zu is %g, expected a probability", i, scores[i]));
    const sample s = read_score(scores[i], labels[i]);
    count(out, &s);
  }
  IG_GOTO(finish(out));
  IG_GOTO(rank_all(&(ranked){NULL, NULL, scores}, labels, weights, n, out));
done:
  if (status != IG_OK)
    ig_metrics_fini(out);
  return status;
}

void ig_metrics_fini(ig_metrics *m) {
  ig_free(m->per_class);
  ig_free(m->confusion);
  *m = (ig_metrics){0};
}

ig_status ig_metrics_regress(const double *target, const double *predicted, const float *weights, size_t n,
                             ig_regression *out) {
  ig_regression m = {0};
  double sum = 0, missed = 0, spread = 0;
  *out = m;
  for (size_t i = 0; i < n; i++) {
    if (!kept(weights, i))
      continue;
    if (!isfinite(target[i]) || !isfinite(predicted[i]))
      return ig_fail(IG_ERR_NUMERIC, "sample %zu: target %g, predicted %g, expected finite numbers", i, target[i],
                     predicted[i]);
    m.n++;
    sum += target[i];
    missed += square(target[i] - predicted[i]);
    m.mae += fabs(target[i] - predicted[i]);
  }
  if (m.n == 0)
    return ig_fail(IG_ERR_DATA, "no sample to evaluate: all were left out or unreadable");
  for (size_t i = 0; i < n; i++)
    if (kept(weights, i))
      spread += square(target[i] - sum / (double)m.n);
  m.mse = missed / (double)m.n;
  m.rmse = sqrt(m.mse);
  m.mae /= (double)m.n;
  m.r2 = m.n < 2 ? NAN : spread > 0 ? 1 - missed / spread : missed > 0 ? 0 : 1;
  *out = m;
  return IG_OK;
}

// ---- collecting batches -------------------------------------------------------------------------------------------

void ig_scores_init(ig_scores *s, int32_t k) { *s = (ig_scores){.k = k}; }

void ig_scores_clear(ig_scores *s) { s->n = 0; }

void ig_scores_fini(ig_scores *s) {
  ig_free(s->logits);
  ig_free(s->labels);
  ig_free(s->sample);
  *s = (ig_scores){.k = s->k};
}

ig_status ig_scores_add(ig_scores *s, const float *logits, const int32_t *labels, const float *weights,
                        const uint64_t *sample, size_t n) {
  const size_t k = (size_t)s->k;
  IG_TRY(ig_grow(&s->logits, &s->logits_capacity, s->n * k, (s->n + n) * k, sizeof *s->logits, "scores"));
  IG_TRY(ig_grow(&s->labels, &s->labels_capacity, s->n, s->n + n, sizeof *s->labels, "labels of scores"));
  IG_TRY(ig_grow(&s->sample, &s->sample_capacity, s->n, s->n + n, sizeof *s->sample, "samples of scores"));
  for (size_t i = 0; i < n; i++) {
    if (!kept(weights, i))
      continue;
    memcpy(s->logits + s->n * k, logits + i * k, k * sizeof *logits);
    s->labels[s->n] = labels[i];
    s->sample[s->n] = sample ? sample[i] : s->n;
    s->n++;
  }
  return IG_OK;
}
