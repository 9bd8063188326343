// What a model's outputs mean, and how good they are.
#include "runtime/train/outcome.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "runtime/base/mem.h"

// Losses and monitors of each task, the default first.
static const struct {
  const char *losses[4], *monitors[6];
} known[] = {
    [IG_TASK_TAG] = {{"ce", "focal"}, {"f1", "accuracy", "loss"}},
    [IG_TASK_MLM] = {{"ce"}, {"loss"}},
    [IG_TASK_CLASSIFY] = {{"ce", "focal"}, {"accuracy", "loss", "f1", "roc_auc", "average_precision"}},
    [IG_TASK_REGRESS] = {{"mse", "l1", "huber"}, {"rmse", "mae", "r2", "loss"}},
    [IG_TASK_MULTILABEL] = {{"bce", "focal"}, {"average_precision", "accuracy", "loss", "f1", "roc_auc"}},
};

const char *ig_task_loss(ig_task task) { return known[task].losses[0]; }
const char *ig_task_monitor(ig_task task) { return known[task].monitors[0]; }

static ig_status check_word(ig_task task, const char *key, const char *word, const char *const *words) {
  char list[160] = "";
  size_t at = 0;
  for (size_t i = 0; words[i]; i++) {
    if (!strcmp(words[i], word))
      return IG_OK;
    at += (size_t)snprintf(list + at, sizeof list - at, "%s%s", !i ? "" : words[i + 1] ? ", " : " or ", words[i]);
  }
  return ig_fail(IG_ERR_USAGE, "%s=%s does not fit task=%s; use %s=%s", key, word, ig_task_name(task), key, list);
}

ig_status ig_task_check(ig_task task, const char *loss, const char *monitor) {
  if (loss)
    IG_TRY(check_word(task, "loss", loss, known[task].losses));
  return monitor ? check_word(task, "monitor", monitor, known[task].monitors) : IG_OK;
}

void ig_head_unscale(const ig_head *head, float *outputs) {
  for (int c = 0; head->mean && c < head->n; c++)
    outputs[c] = head->mean[c] + head->std[c] * outputs[c];
}

static double element_loss(const ig_head *head, int c, double x, double target) {
  if (head->task == IG_TASK_REGRESS) {
    const double d = fabs(x - (head->mean ? (target - (double)head->mean[c]) / (double)head->std[c] : target));
    const double delta = head->huber_delta;
    if (!strcmp(head->loss, "l1"))
      return d;
    if (!strcmp(head->loss, "huber"))
      return d <= delta ? d * d / 2 : delta * (d - delta / 2);
    return d * d;
  }
  // max(x, 0) - x t + log(1 + exp(-|x|)); focal: times (1 - q)^gamma, q the probability of what holds.
  const double bce = fmax(x, 0) - x * target + log1p(exp(-fabs(x)));
  return strcmp(head->loss, "focal") != 0 ? bce : bce * pow(1 - exp(-bce), head->focal_gamma);
}

double ig_sample_loss(const ig_head *head, const float *outputs, const float *targets) {
  double sum = 0;
  for (int c = 0; c < head->n; c++)
    sum += element_loss(head, c, (double)outputs[c], (double)targets[c]);
  return sum / head->n;
}

static ig_status measure_numbers(const ig_head *head, ig_scores *s, const ig_dataset *data, ig_outcome *o) {
  double *target = NULL, *predicted = NULL;
  const size_t k = (size_t)head->n;
  ig_status status = IG_OK;
  for (size_t i = 0; i < s->n; i++)
    ig_head_unscale(head, s->logits + i * k);
  IG_GOTO(ig_alloc_array(k, sizeof *o->numbers, "metrics of numbers", &o->numbers));
  IG_GOTO(ig_alloc_array(s->n, sizeof *target, "metrics of numbers", &target));
  IG_GOTO(ig_alloc_array(s->n, sizeof *predicted, "metrics of numbers", &predicted));
  for (size_t c = 0; c < k; c++) {
    for (size_t i = 0; i < s->n; i++) {
      target[i] = (double)data->targets[s->sample[i] * k + c];
      predicted[i] = (double)s->logits[i * k + c];
    }
    IG_GOTO(ig_metrics_regress(target, predicted, NULL, s->n, &o->numbers[c]));
    o->all.n = o->numbers[c].n;
    o->all.mse += o->numbers[c].mse / (double)k;
    o->all.mae += o->numbers[c].mae / (double)k;
    o->all.r2 += o->numbers[c].r2 / (double)k;
  }
  o->all.rmse = sqrt(o->all.mse);
done:
  ig_free(target);
  ig_free(predicted);
  return status;
}

static ig_status measure_labels(const ig_head *head, const ig_scores *s, const ig_dataset *data, ig_outcome *o) {
  const size_t k = (size_t)head->n;
  float *targets;
  IG_TRY(ig_alloc_array(s->n * k, sizeof *targets, "labels of an evaluation", &targets));
  for (size_t i = 0; i < s->n; i++)
    memcpy(targets + i * k, data->targets + s->sample[i] * k, k * sizeof *targets);
  ig_status status = ig_metrics_multilabel(s->logits, targets, s->n, head->n, &o->labels);
  ig_free(targets);
  return status;
}

// The pairs' scores are two classes.
static ig_status measure_masked(const ig_scores *s, ig_outcome *o) {
  o->masked_loss = o->loss = s->masked_weight > 0 ? s->masked_loss / s->masked_weight : NAN;
  if (s->n) {
    IG_TRY(ig_metrics_classify(s->logits, s->labels, NULL, s->n, 2, &o->classes));
    o->loss += o->classes.nll;
  }
  return isfinite(o->loss) ? IG_OK : ig_fail(IG_ERR_NUMERIC, "the loss of the masked words is not finite");
}

ig_status ig_outcome_measure(const ig_head *head, ig_scores *s, const ig_dataset *data, ig_outcome *o) {
  ig_status status = IG_OK;
  *o = (ig_outcome){0};
  if (head->task == IG_TASK_MLM)
    return measure_masked(s, o);
  if (ig_task_has_classes(head->task)) {
    IG_TRY(ig_metrics_classify(s->logits, s->labels, NULL, s->n, head->n, &o->classes));
    o->loss = o->classes.nll;
    return IG_OK;
  }
  for (size_t i = 0; i < s->n; i++)
    o->loss += ig_sample_loss(head, s->logits + i * (size_t)head->n, data->targets + s->sample[i] * (size_t)head->n) /
               (double)s->n;
  IG_GOTO(head->task == IG_TASK_REGRESS ? measure_numbers(head, s, data, o) : measure_labels(head, s, data, o));
done:
  if (status != IG_OK)
    ig_outcome_fini(o);
  return status;
}

void ig_outcome_fini(ig_outcome *o) {
  ig_metrics_fini(&o->classes);
  ig_multilabel_fini(&o->labels);
  ig_free(o->numbers);
  *o = (ig_outcome){0};
}

double ig_outcome_score(const ig_head *head, const ig_outcome *o, const char *monitor) {
  const bool classes = ig_task_has_classes(head->task);
  const struct {
    const char *name;
    double score;
  } scores[] = {
      {"loss", -o->loss},
      {"rmse", -o->all.rmse},
      {"mae", -o->all.mae},
      {"r2", o->all.r2},
      {"accuracy", classes ? o->classes.accuracy : o->labels.accuracy},
      {"f1", classes ? o->classes.macro.f1 : o->labels.macro.f1},
      {"roc_auc", classes ? o->classes.roc_auc : o->labels.roc_auc},
      {"average_precision", classes ? o->classes.average_precision : o->labels.average_precision},
  };
  for (size_t i = 0; i < sizeof scores / sizeof *scores; i++)
    if (!strcmp(scores[i].name, monitor))
      return isfinite(scores[i].score) ? scores[i].score : -DBL_MAX;
  return -DBL_MAX;
}

static json_t *real(double x) { return isfinite(x) ? json_real(x) : json_null(); }

// loss, masked_loss, perplexity; pair_accuracy with pairs.
static json_t *masked_json(const ig_outcome *o) {
  json_t *j = json_pack("{s:o,s:o,s:o}", "loss", real(o->loss), "masked_loss", real(o->masked_loss), "perplexity",
                        real(exp(o->masked_loss)));
  if (o->classes.n && json_object_set_new(j, "pair_accuracy", real(o->classes.accuracy))) {
    json_decref(j);
    return NULL;
  }
  return j;
}

ig_status ig_outcome_json(const ig_head *head, const ig_outcome *o, json_t **out) {
  if (head->task == IG_TASK_MLM) {
    *out = masked_json(o);
    return *out ? IG_OK : ig_fail(IG_ERR_MEMORY, "no memory for the JSON of the metrics");
  }
  if (ig_task_has_classes(head->task))
    return ig_metrics_json(&o->classes, head->names, NAN, out);
  if (head->task == IG_TASK_MULTILABEL)
    return ig_multilabel_json(&o->labels, head->names, o->loss, out);
  IG_TRY(ig_regression_json(&o->all, o->loss, out));
  json_t *rows = json_array();
  for (int c = 0; c < head->n && head->n > 1; c++) {
    const ig_regression *r = &o->numbers[c];
    json_array_append_new(rows, json_pack("{s:s,s:o,s:o,s:o,s:o}", "name", head->names[c], "mse", real(r->mse), "rmse",
                                          real(r->rmse), "mae", real(r->mae), "r2", real(r->r2)));
  }
  if (head->n > 1 ? json_object_set_new(*out, "per_target", rows) : (json_decref(rows), 0))
    return ig_fail(IG_ERR_MEMORY, "no memory for the JSON of the metrics");
  return IG_OK;
}

json_t *ig_outcome_log(const ig_head *head, const ig_outcome *o) {
  if (head->task == IG_TASK_MLM)
    return masked_json(o);
  if (head->task == IG_TASK_REGRESS)
    return json_pack("{s:o,s:o,s:o,s:o,s:o}", "loss", real(o->loss), "mse", real(o->all.mse), "rmse", real(o->all.rmse),
                     "mae", real(o->all.mae), "r2", real(o->all.r2));
  if (head->task == IG_TASK_MULTILABEL) {
    const ig_multilabel *m = &o->labels;
    return json_pack("{s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "loss", real(o->loss), "accuracy", real(m->accuracy), "precision",
                     real(m->macro.precision), "recall", real(m->macro.recall), "f1", real(m->macro.f1), "roc_auc",
                     real(m->roc_auc), "average_precision", real(m->average_precision));
  }
  const ig_metrics *m = &o->classes;
  return json_pack("{s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "loss", real(o->loss), "accuracy", real(m->accuracy), "top5",
                   real(m->top5), "precision", real(m->macro.precision), "recall", real(m->macro.recall), "f1",
                   real(m->macro.f1), "ece", real(m->ece));
}

const char *ig_outcome_text(const ig_head *head, const ig_outcome *o, char out[128]) {
  if (head->task == IG_TASK_REGRESS)
    snprintf(out, 128, "rmse %.4g  mae %.4g  r2 %.3f", o->all.rmse, o->all.mae, o->all.r2);
  else if (head->task == IG_TASK_MULTILABEL)
    snprintf(out, 128, "all labels right %.2f %%  f1 %.3f  average precision %.3f", 100 * o->labels.accuracy,
             o->labels.macro.f1, o->labels.average_precision);
  else if (head->task == IG_TASK_MLM && o->classes.n)
    snprintf(out, 128, "perplexity %.2f  pairs right %.2f %%", exp(o->masked_loss), 100 * o->classes.accuracy);
  else if (head->task == IG_TASK_MLM)
    snprintf(out, 128, "perplexity %.2f", exp(o->masked_loss));
  else
    snprintf(out, 128, "accuracy %.2f %%  f1 %.3f", 100 * o->classes.accuracy, o->classes.macro.f1);
  return out;
}
