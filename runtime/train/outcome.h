// What a model's outputs mean, and how good they are on labelled samples. Rule: trainer, eval and predict ask here, so
// that a task is told apart in one place.
#ifndef IG_TRAIN_OUTCOME_H
#define IG_TRAIN_OUTCOME_H

#include "runtime/data/dataset.h"
#include "runtime/train/metrics.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ig_head {
  ig_task task;              // never auto
  int n;                     // outputs: classes, numbers, labels
  const char *const *names;  // [n]
  const char *loss;          // ce, focal; mse, l1, huber; bce, focal
  double focal_gamma, huber_delta;
  const float *mean, *std;  // [n] regress: output x stands for mean + std x; NULL: x itself
} ig_head;

// The loss of a task where none is named, and the metric that the best epoch is best in.
const char *ig_task_loss(ig_task task);
const char *ig_task_monitor(ig_task task);
// IG_ERR_USAGE where loss= or monitor= does not fit the task, with those that do.
ig_status ig_task_check(ig_task task, const char *loss, const char *monitor);

typedef struct ig_outcome {
  double loss;  // classify, tag: cross-entropy; regress: the loss of the head, in its units; multilabel: bce or focal;
                // mlm: of the masked words, and of the pairs where there are
  double masked_loss;  // mlm: of the masked words alone; its exponential is the perplexity
  ig_metrics classes;
  ig_multilabel labels;
  ig_regression all;       // regress: means over the numbers (rmse: root of the mean mse)
  ig_regression *numbers;  // [n], owned
} ig_outcome;

// scores as ig_evaluate collects them. Afterwards scores->logits of regress hold numbers in the data's units. On
// success *out owns memory: ig_outcome_fini.
ig_status ig_outcome_measure(const ig_head *head, ig_scores *scores, const ig_dataset *data, ig_outcome *out);
void ig_outcome_fini(ig_outcome *o);
// Larger is better; -DBL_MAX for a metric that is not defined on these samples.
double ig_outcome_score(const ig_head *head, const ig_outcome *o, const char *monitor);
// The result's object, and what one line of log.jsonl tells of it.
ig_status ig_outcome_json(const ig_head *head, const ig_outcome *o, json_t **out);
json_t *ig_outcome_log(const ig_head *head, const ig_outcome *o);  // NULL: no memory
// "accuracy 97.20 %  f1 0.970". Returns out.
const char *ig_outcome_text(const ig_head *head, const ig_outcome *o, char out[128]);
// The loss of one sample (row of outputs, row of targets or label), as in ig_outcome.loss.
double ig_sample_loss(const ig_head *head, const float *outputs, const float *targets);
// Outputs [n] of regress in the data's units, in place.
void ig_head_unscale(const ig_head *head, float *outputs);

#ifdef __cplusplus
}
#endif
#endif
