// What a run learns: its loss by task, the targets as that loss takes them, and predictions.csv. Rule: regress learns
// (number - mean) / std of the training part, so that one learning rate fits millimetres and newtons; all that people
// read is in their units.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/losses/losses.h"
#include "runtime/base/fileop.h"
#include "runtime/base/text.h"
#include "runtime/train/report.h"
#include "runtime/train/trainer_internal.h"

static ig_status set_scales(ig_trainer *t) {
  const ig_dataset *d = t->o->data;
  const size_t k = (size_t)d->n_classes, n = d->count[IG_PART_TRAIN];
  IG_TRY(ig_alloc_array(k, sizeof *t->target_mean, "scales of targets", &t->target_mean));
  IG_TRY(ig_alloc_array(k, sizeof *t->target_std, "scales of targets", &t->target_std));
  for (size_t c = 0; c < k; c++) {
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++)
      sum += (double)d->targets[d->index[IG_PART_TRAIN][i] * k + c];
    for (size_t i = 0; i < n; i++) {
      const double x = (double)d->targets[d->index[IG_PART_TRAIN][i] * k + c] - sum / (double)n;
      squares += x * x;
    }
    t->target_mean[c] = (float)(sum / (double)n);
    t->target_std[c] = (float)sqrt(squares / (double)n);
    if (!(t->target_std[c] > 0) || !isfinite(t->target_std[c]))
      return ig_fail(IG_ERR_DATA, "%s: the numbers of %s in the training part have a standard deviation of %g", d->path,
                     d->classes[c], (double)t->target_std[c]);
  }
  t->head.mean = t->target_mean;
  t->head.std = t->target_std;
  return IG_OK;
}

// Output x of the weights' head stands for its own mean + std x; here targets are measured by the data's.
ig_status ig_trainer_rescale_head(ig_trainer *t) {
  const ig_train_options *o = t->o;
  ig_session *s = t->session;
  const size_t head = strlen(o->session.model->head);
  for (size_t i = 0; i < s->params.n; i++) {
    const ig_param *p = s->params.items[i];
    if (strncmp(p->name, o->session.model->head, head) || p->shape.d[0] != t->head.n)
      continue;
    const bool is_bias = p->shape.n == 1;
    const int64_t width = ig_shape_count(&p->shape) / p->shape.d[0];
    float *x = s->buffers[p->kind] + p->offset;
    for (int c = 0; c < t->head.n; c++) {
      const double mean = o->head_mean ? (double)o->head_mean[c] : 0, std = o->head_std ? (double)o->head_std[c] : 1;
      const double scale = std / (double)t->target_std[c],
                   shift = (mean - (double)t->target_mean[c]) / t->target_std[c];
      for (int64_t k = c * width; k < (c + 1) * width; k++)
        x[k] = (float)(scale * (double)x[k] + (is_bias ? shift : 0));
    }
  }
  return ig_session_push(s);
}

ig_status ig_trainer_set_task(ig_trainer *t) {
  const ig_train_options *o = t->o;
  t->head = (ig_head){.task = o->data->task,
                      .n = o->data->n_classes,
                      .names = (const char *const *)o->data->classes,
                      .loss = o->loss ? o->loss : ig_task_loss(o->data->task),
                      .focal_gamma = o->focal_gamma,
                      .huber_delta = o->huber_delta > 0 ? o->huber_delta : 1};
  t->monitor = o->monitor ? o->monitor : ig_task_monitor(t->head.task);
  IG_TRY(ig_task_check(t->head.task, t->head.loss, t->monitor));
  if (o->label_smoothing > 0 && !ig_task_has_classes(t->head.task))
    return ig_fail(IG_ERR_USAGE, "label_smoothing=%g goes with task=classify or tag, not with task=%s",
                   o->label_smoothing, ig_task_name(t->head.task));
  if (o->class_weights && !ig_task_has_classes(t->head.task) &&
      !(t->head.task == IG_TASK_MULTILABEL && !strcmp(t->head.loss, "bce")))
    return ig_fail(IG_ERR_USAGE,
                   "class_weights goes with task=classify, and with task=multilabel loss=bce, not with "
                   "task=%s loss=%s",
                   ig_task_name(t->head.task), t->head.loss);
  return t->head.task == IG_TASK_REGRESS ? set_scales(t) : IG_OK;
}

// Numbers or several labels of each sample.
static ig_loss add_target_loss(ig_trainer *t, ig_rung *r, ig_tensor *logits) {
  const ig_head *h = &t->head;
  ig_graph *g = r->graph;
  const bool focal = !strcmp(h->loss, "focal");
  r->io.targets = ig_graph_input(g, "targets", IG_F32, IG_SHAPE2(t->micro, h->n));
  if (h->task == IG_TASK_MULTILABEL)
    return focal ? ig_sigmoid_focal_loss(g, "loss", logits, r->io.targets, r->io.weights, -1, (float)t->o->focal_gamma)
                 : ig_bce_logits_loss(g, "loss", logits, r->io.targets, r->io.weights, r->io.class_weights);
  if (!strcmp(h->loss, "l1"))
    return ig_l1_loss(g, "loss", logits, r->io.targets, r->io.weights);
  if (!strcmp(h->loss, "huber"))
    return ig_huber_loss(g, "loss", logits, r->io.targets, r->io.weights, (float)h->huber_delta);
  return ig_mse_loss(g, "loss", logits, r->io.targets, r->io.weights);
}

// One class of each sample, or of each row of a text.
ig_loss ig_trainer_add_loss(ig_trainer *t, ig_rung *r, ig_tensor *logits) {
  const ig_train_options *o = t->o;
  const ig_head *h = &t->head;
  ig_graph *g = r->graph;
  const bool focal = !strcmp(h->loss, "focal"), tag = h->task == IG_TASK_TAG;
  const int64_t n = tag ? r->capacity : t->micro;
  r->io.class_weights = o->class_weights ? ig_graph_input(g, "class_weights", IG_F32, IG_SHAPE1(h->n)) : NULL;
  if (!ig_task_has_classes(h->task))
    return add_target_loss(t, r, logits);
  r->io.labels = ig_graph_input(g, "labels", IG_I32, IG_SHAPE1(n));
  if (r->io.pictures) {  // which may be mixed
    r->io.second_labels = ig_graph_input(g, "second_labels", IG_I32, IG_SHAPE1(n));
    r->io.lam = ig_graph_input(g, "lam", IG_F32, IG_SHAPE1(n));
  }
  return ig_softmax_xent(g, "loss", logits, r->io.labels, r->io.second_labels, r->io.lam, tag ? NULL : r->io.weights,
                         r->io.class_weights,
                         &(ig_xent_attr){.label_smoothing = (float)o->label_smoothing,
                                         .focal_gamma = focal ? (float)o->focal_gamma : 0,
                                         .has_ignore = tag,
                                         .ignore_label = tag ? IG_NO_LABEL : 0,
                                         .weight_per_row = focal});
}

ig_status ig_trainer_make_targets(ig_trainer *t, const ig_batch *b, const float **out) {
  const ig_head *h = &t->head;
  const size_t k = (size_t)h->n;
  if (!t->targets)
    IG_TRY(ig_alloc_array((size_t)t->micro, k * sizeof *t->targets, "targets of a batch", &t->targets));
  for (size_t i = 0; i < (size_t)t->micro; i++)
    for (size_t c = 0; c < k; c++) {
      const float x = b->targets[i * k + c];
      t->targets[i * k + c] = b->weights[i] == 0 ? 0 : h->mean ? (x - h->mean[c]) / h->std[c] : x;
    }
  *out = t->targets;
  return IG_OK;
}

// The fewest digits that say x, six at least.
static int digits_of(float x) {
  char text[32];
  int n = 6;
  for (; n < 9; n++) {
    snprintf(text, sizeof text, "%.*g", n, (double)x);
    if (strtof(text, NULL) == x)
      break;
  }
  return n;
}

// Numbers with spaces between, or the names of the labels that hold. Of a target every digit: it stands nowhere else.
static ig_status row_text(const ig_head *h, const float *values, bool is_target, char **out) {
  ig_text text = {0};
  ig_status status = IG_OK;
  for (int c = 0; c < h->n; c++) {
    if (h->task == IG_TASK_REGRESS)
      IG_GOTO(ig_text_addf(&text, "%s%.*g", c ? " " : "", is_target ? digits_of(values[c]) : 6, (double)values[c]));
    else if (values[c] >= 0.5f)
      IG_GOTO(ig_text_addf(&text, "%s%s", text.n ? ";" : "", h->names[c]));
  }
  IG_GOTO(ig_strdup(text.data ? text.data : "", out));
done:
  ig_free(text.data);
  return status;
}

// values [n][k]: outputs of regress in the data's units, of multilabel as probabilities, in place.
static ig_status fill_rows(const ig_trainer *t, const ig_scores *s, float *values, char **labels, char **predicted,
                           double *p, double *loss) {
  const ig_head *h = &t->head;
  const size_t k = (size_t)h->n;
  for (size_t i = 0; i < s->n; i++) {
    float *row = values + i * k;
    const float *target = t->o->data->targets + s->sample[i] * k;
    memcpy(row, s->logits + i * k, k * sizeof *row);
    p[i] = 1;
    if (h->task == IG_TASK_REGRESS) {
      for (size_t c = 0; c < k; c++)  // scores are in the data's units by now
        row[c] = (row[c] - h->mean[c]) / h->std[c];
      loss[i] = ig_sample_loss(h, row, target);
      memcpy(row, s->logits + i * k, k * sizeof *row);
    } else {
      loss[i] = ig_sample_loss(h, row, target);
      for (size_t c = 0; c < k; c++) {
        row[c] = (float)(1 / (1 + exp(-(double)row[c])));
        p[i] = fmin(p[i], fmax((double)row[c], 1 - (double)row[c]));
      }
    }
    IG_TRY(row_text(h, target, true, &labels[i]));
    IG_TRY(row_text(h, row, false, &predicted[i]));
  }
  return IG_OK;
}

// What was read of each scored sample: its text, both texts of a pair, or a tagged word. NULL for pictures.
static ig_status text_rows(const ig_trainer *t, const ig_scores *s, char ***out) {
  const ig_dataset *d = t->o->data;
  const int32_t *word = NULL;  // of the token whose row it is
  *out = NULL;
  if (!d->texts)
    return IG_OK;
  IG_TRY(ig_alloc_array(s->n + 1, sizeof **out, "predictions", out));
  for (size_t i = 0; i < s->n; i++) {
    const ig_text_sample *x = &d->texts[s->sample[i]];
    if (x->words) {
      word = i && s->sample[i] == s->sample[i - 1] ? word + 1 : d->tokens->words + d->tokens->start[s->sample[i]];
      while (*word < 0)
        word++;
      IG_TRY(ig_strdup(x->words[*word], &(*out)[i]));
    } else
      IG_TRY(ig_asprintf(&(*out)[i], "%.*s%s%.*s", (int)x->n_first, x->first, x->second ? " | " : "", (int)x->n_second,
                         x->second ? x->second : ""));
  }
  return IG_OK;
}

ig_status ig_trainer_write_predictions(ig_trainer *t, const ig_scores *s) {
  const ig_head *h = &t->head;
  if (h->task == IG_TASK_MLM)
    return IG_OK;  // there is nothing that a person would look up
  const char **paths = NULL;
  char **labels = NULL, **predicted = NULL, **texts = NULL, *path = NULL;
  double *p = NULL, *loss = NULL;
  float *values = NULL;
  ig_status status = IG_OK;
  IG_GOTO(ig_alloc_array(s->n + 1, sizeof *paths, "predictions", &paths));
  for (size_t i = 0; i < s->n; i++)
    paths[i] = t->o->data->texts ? t->o->data->samples[s->sample[i]].name : t->o->data->samples[s->sample[i]].path;
  IG_GOTO(text_rows(t, s, &texts));
  IG_GOTO(ig_path_join(&path, t->o->out, "predictions.csv"));
  if (ig_task_has_classes(h->task)) {
    IG_GOTO(ig_report_predictions_csv(path, s->n, paths, s->labels, s->logits, h->n, h->names, texts));
    goto done;
  }
  IG_GOTO(ig_alloc_array(s->n + 1, sizeof *labels, "predictions", &labels));
  IG_GOTO(ig_alloc_array(s->n + 1, sizeof *predicted, "predictions", &predicted));
  IG_GOTO(ig_alloc_array(s->n + 1, sizeof *p, "predictions", &p));
  IG_GOTO(ig_alloc_array(s->n + 1, sizeof *loss, "predictions", &loss));
  IG_GOTO(ig_alloc_array(s->n + 1, (size_t)h->n * sizeof *values, "predictions", &values));
  IG_GOTO(fill_rows(t, s, values, labels, predicted, p, loss));
  IG_GOTO(ig_report_values_csv(path, s->n, paths, labels, predicted, h->task == IG_TASK_REGRESS ? NULL : p, loss,
                               values, h->n, h->names, texts));
done:
  for (size_t i = 0; i < s->n; i++) {
    ig_free(labels ? labels[i] : NULL);
    ig_free(predicted ? predicted[i] : NULL);
    ig_free(texts ? texts[i] : NULL);
  }
  ig_free(texts);
  ig_free(paths);
  ig_free(labels);
  ig_free(predicted);
  ig_free(p);
  ig_free(loss);
  ig_free(values);
  ig_free(path);
  return status;
}
