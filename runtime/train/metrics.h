// Metrics of classification and regression. Rule: computed in double from all samples at once, by scikit-learn's
// definitions; what is not defined (one class only, one sample) is NaN, and null in JSON.
#ifndef IG_TRAIN_METRICS_H
#define IG_TRAIN_METRICS_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/base/status.h"
#include "runtime/train/interval.h"

#ifdef __cplusplus
extern "C" {
#endif

// Zero division is 0 in all three.
typedef struct ig_prf {
  double precision, recall, f1;
} ig_prf;

typedef struct ig_class_metrics {
  ig_prf prf;
  int64_t support;           // samples of this class
  int64_t predicted;         // samples given this class
  double roc_auc;            // this class against the rest, ties count half; NaN without both
  double average_precision;  // sum (R_n - R_{n-1}) P_n over distinct thresholds; 0 where the class does not occur
} ig_class_metrics;

// Samples whose confidence (probability of the predicted class) lies in (b / 15, (b + 1) / 15], b the bin's number.
enum { IG_CALIBRATION_BINS = 15 };
typedef struct ig_calibration_bin {
  int64_t n;
  double confidence, accuracy;  // means over the bin; 0 where it is empty
} ig_calibration_bin;

typedef struct ig_metrics {
  int64_t n;                           // samples counted (weight not 0)
  int32_t n_classes;                   // k
  double accuracy, balanced_accuracy;  // balanced: mean recall over the classes that occur
  ig_interval accuracy_interval;       // Wilson, 95 %
  double top5;                         // fewer than 5 classes have a larger score, or an equal score and a lower number
  ig_prf macro;                        // means over all k classes
  ig_prf micro, weighted;              // weighted by support
  double matthews;                     // 0 where its denominator is 0
  double kappa;                        // Cohen's; NaN where chance agreement is 1
  double roc_auc;                      // two classes: of class 1; else the mean over classes, NaN unless all occur
  double average_precision;            // two classes: of class 1; else the mean over all classes
  double log_loss;                     // probabilities clipped to [2^-52, 1 - 2^-52] as scikit-learn does
  double nll;                          // not clipped
  double brier;  // two classes: mean (p_1 - y)^2; else mean over samples of sum_c (p_c - [y = c])^2
  double ece;    // sum_b n_b / n |accuracy_b - confidence_b|
  ig_calibration_bin bins[IG_CALIBRATION_BINS];
  ig_class_metrics *per_class;  // [k], owned
  int64_t *confusion;           // [true k][predicted k], owned
} ig_metrics;

// logits [n, k] (C order, k >= 2; the softmax is taken here), labels [n] in 0..k-1, weights [n] or NULL: a sample of
// weight 0 is left out, all others count as one. The predicted class is the lowest of the largest logits.
// IG_ERR_DATA: no sample left, label out of range; IG_ERR_NUMERIC: a logit that is not finite. O(n k log support).
// On success *out owns memory: ig_metrics_fini. On failure *out is empty.
ig_status ig_metrics_classify(const float *logits, const int32_t *labels, const float *weights, size_t n, int32_t k,
                              ig_metrics *out);
// The same for two classes from the probability of class 1, scores [n] in [0, 1]; 1 is predicted from 0.5 on.
ig_status ig_metrics_binary(const double *scores, const int32_t *labels, const float *weights, size_t n,
                            ig_metrics *out);
void ig_metrics_fini(ig_metrics *m);

// The object of `ingot eval --json`: n, accuracy, top5, precision, recall, f1 (macro), micro, weighted,
// accuracy_interval, per_class, confusion and the other fields above; `loss` where it is not NaN, else nll.
// names [k] or NULL (then the class numbers); bytes that are not UTF-8 are written as \xNN. *out: json_decref.
ig_status ig_metrics_json(const ig_metrics *m, const char *const *names, double loss, json_t **out);

typedef struct ig_multilabel {
  int64_t n;         // samples
  int32_t n_labels;  // k
  double accuracy;   // samples of which every label is right
  ig_interval accuracy_interval;
  double label_accuracy;        // single answers that are right, of n k
  ig_prf macro;                 // means over all k labels
  ig_prf micro, weighted;       // of all answers together; by support
  double roc_auc;               // mean over labels that hold for some and not for all samples; NaN without any
  double average_precision;     // mean over labels that hold for some sample; NaN without any
  ig_class_metrics *per_label;  // [k], owned
} ig_multilabel;

// logits [n, k] (the sigmoid is taken here), targets [n, k] of 0 and 1. IG_ERR_DATA: no sample; IG_ERR_NUMERIC: a logit
// that is not finite. On success *out owns memory: ig_multilabel_fini.
ig_status ig_metrics_multilabel(const float *logits, const float *targets, size_t n, int32_t k, ig_multilabel *out);
void ig_multilabel_fini(ig_multilabel *m);
// n, loss, accuracy, accuracy_interval, label_accuracy, precision, recall, f1 (macro), micro, weighted, roc_auc,
// average_precision, per_class.
ig_status ig_multilabel_json(const ig_multilabel *m, const char *const *names, double loss, json_t **out);

typedef struct ig_regression {
  int64_t n;
  double mse, rmse, mae;
  double r2;  // 1 - sum (t - p)^2 / sum (t - mean t)^2; constant target: 1 when hit, 0 when missed; NaN for one sample
} ig_regression;

// target, predicted [n]; weights as above. IG_ERR_DATA: no sample left; IG_ERR_NUMERIC: a value that is not finite.
ig_status ig_metrics_regress(const double *target, const double *predicted, const float *weights, size_t n,
                             ig_regression *out);
// n, loss (mse where NaN is given), mse, rmse, mae, r2.
ig_status ig_regression_json(const ig_regression *m, double loss, json_t **out);

// Collects the batches of an evaluation; samples of weight 0 (padding, unreadable files) are not kept.
typedef struct ig_scores {
  int32_t k;                          // columns: classes, or 1 for a single score or value
  size_t n;                           // samples kept
  float *logits;                      // [n, k]
  int32_t *labels;                    // [n]
  uint64_t *sample;                   // [n] number of the sample in its data set
  double masked_loss, masked_weight;  // pre-training: sums over the masked words
  size_t logits_capacity, labels_capacity, sample_capacity;
} ig_scores;

void ig_scores_init(ig_scores *s, int32_t k);
void ig_scores_fini(ig_scores *s);
void ig_scores_clear(ig_scores *s);  // keeps the memory
// logits [n, k], labels [n], weights [n] or NULL, sample [n] or NULL (then counted from the samples kept so far).
ig_status ig_scores_add(ig_scores *s, const float *logits, const int32_t *labels, const float *weights,
                        const uint64_t *sample, size_t n);

#ifdef __cplusplus
}
#endif
#endif
