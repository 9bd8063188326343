// From the keys of train, defaults filled in, to the trainer's options; what of them a resume must find again.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bindings/c/options.h"
#include "runtime/base/cpu.h"
#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/data/table.h"

static ig_augment augment_keys(const ig_config *k) {
  size_t n = 0;
  const double *crop = ig_config_floats(k, "crop_scale", &n);
  return (ig_augment){.crop_scale_min = n ? crop[0] : 1,
                      .crop_scale_max = n ? crop[n - 1] : 1,
                      .flip = ig_config_bool(k, "flip"),
                      .vflip = ig_config_bool(k, "vflip"),
                      .transpose = ig_config_bool(k, "transpose"),
                      .rotate = ig_config_float(k, "rotate"),
                      .jitter = ig_config_float(k, "jitter"),
                      .erase = ig_config_float(k, "erase"),
                      .mixup = ig_config_float(k, "mixup"),
                      .cutmix = ig_config_float(k, "cutmix")};
}

static void take_float(const ig_config *k, const char *name, double *out) {
  if (ig_config_has_value(k, name))
    *out = ig_config_float(k, name);
}

static ig_status optimizer_keys(const ig_config *k, ig_optimizer_options *o) {
  size_t n = 0;
  IG_TRY(ig_optimizer_defaults(ig_config_str(k, "optimizer"), o));
  take_float(k, "momentum", &o->momentum);
  take_float(k, "eps", &o->eps);
  take_float(k, "alpha", &o->alpha);
  take_float(k, "trust_coeff", &o->trust_coeff);
  take_float(k, "max_grad_norm", &o->max_grad_norm);
  take_float(k, "dampening", &o->dampening);
  o->nesterov = ig_config_bool(k, "nesterov");
  o->centered = ig_config_bool(k, "centered");
  o->always_adapt = ig_config_bool(k, "always_adapt");
  o->weight_decay = ig_config_float(k, "weight_decay");
  o->l1 = ig_config_float(k, "l1");
  o->clip = ig_config_float(k, "clip");
  o->ema = ig_config_float(k, "ema") > 0;
  const double *betas = ig_config_floats(k, "betas", &n);
  if (betas && n != 2)
    return ig_fail(IG_ERR_USAGE, "betas=%s: two numbers are expected, such as 0.9,0.999", ig_config_str(k, "betas"));
  if (betas) {
    o->beta1 = betas[0];
    o->beta2 = betas[1];
  }
  return ig_optimizer_check(o);
}

static ig_status schedule_keys(const ig_config *k, int64_t total, ig_schedule *s) {
  *s = ig_schedule_default();
  IG_TRY(ig_schedule_parse(ig_config_str(k, "schedule"), &s->kind));
  double warmup = ig_config_float(k, "warmup");
  s->lr = ig_config_float(k, "lr");
  s->lr_end = ig_config_float(k, "lr_end");
  s->power = ig_config_float(k, "power");
  s->gamma = ig_config_float(k, "gamma");
  s->step_size = ig_config_int(k, "step_size");
  s->total = total;
  s->warmup = s->kind == IG_SCHEDULE_ONECYCLE ? 0 : (int64_t)llround(warmup < 1 ? warmup * (double)total : warmup);
  return ig_schedule_check(s);
}

static bool weight_of(const char *cell, double *weight) {
  char *end;
  *weight = strtod(cell, &end);
  return end != cell && !*end && isfinite((float)*weight) && *weight >= 0;
}

static ig_status read_weight(const ig_table *t, size_t name, size_t number, const ig_dataset *d, float *weights,
                             size_t *rows) {
  char near[IG_NEAREST_BYTES], quoted[IG_QUOTE_BYTES];
  double weight;
  if (!weight_of(t->cell[number], &weight))
    return ig_fail(IG_ERR_FORMAT, "%s:%zu:%zu: a weight of 0 or more, such as 2.5, is expected, %s found", t->path,
                   t->row, number + 1, ig_quote(quoted, t->cell[number]));
  for (int i = 0; i < d->n_classes; i++) {
    if (strcmp(d->classes[i], t->cell[name]) != 0)
      continue;
    if (rows[i])
      return ig_fail(IG_ERR_DATA, "%s:%zu:%zu: class %s has a weight in row %zu already; keep one", t->path, t->row,
                     name + 1, ig_quote(quoted, t->cell[name]), rows[i]);
    weights[i] = (float)weight;
    rows[i] = t->row;
    return IG_OK;
  }
  return ig_fail(IG_ERR_DATA, "%s:%zu:%zu: the data have no class %s%s", t->path, t->row, name + 1,
                 ig_quote(quoted, t->cell[name]),
                 ig_nearest(near, t->cell[name], (const char *const *)d->classes, (size_t)d->n_classes));
}

// Columns class and weight; without such names, or without a header, the first two.
static ig_status read_weights(ig_table *t, const ig_dataset *d, float *weights, size_t *rows) {
  static const char *const names[] = {"class", "weight"};
  double weight;
  bool more;
  IG_TRY(ig_table_header(t));
  if (t->n_names < 2)
    return ig_fail(IG_ERR_FORMAT, "%s:%zu:1: found %zu %s, expected two: class,weight", t->path, t->row ? t->row : 1,
                   t->n_names, ig_plural(t->n_names, "column", "columns"));
  if (weight_of(t->name[1], &weight))
    ig_table_no_header(t, names, 2);
  const int name = ig_table_find(t, names[0]), number = ig_table_find(t, names[1]);
  const bool named = name >= 0 && number >= 0;
  for (;;) {
    IG_TRY(ig_table_next(t, &more));
    if (!more)
      return IG_OK;
    const size_t columns[] = {named ? (size_t)name : 0, named ? (size_t)number : 1};
    ig_table_trim(t, columns[0]);
    ig_table_trim(t, columns[1]);
    IG_TRY(read_weight(t, columns[0], columns[1], d, weights, rows));
  }
}

static ig_status weights_of_file(const char *path, const ig_dataset *d, float *weights) {
  ig_status status = IG_OK;
  uint8_t *bytes = NULL;
  size_t n, *rows = NULL;
  ig_table *t = NULL;
  bool any = false;
  IG_GOTO(ig_alloc_array((size_t)d->n_classes, sizeof *rows, "class weights", &rows));
  IG_GOTO(ig_alloc(sizeof *t, "class weights", &t));
  IG_GOTO(ig_file_read(path, 1 << 24, &bytes, &n));
  IG_GOTO(ig_table_init(t, path, IG_TABLE_CSV, (char *)bytes, n));
  IG_GOTO(read_weights(t, d, weights, rows));
  for (int i = 0; i < d->n_classes; i++) {
    any = any || weights[i] > 0;
    if (!rows[i]) {
      char quoted[IG_QUOTE_BYTES];
      IG_GOTO(ig_fail(IG_ERR_DATA, "%s: there is no weight of class %s", path, ig_quote(quoted, d->classes[i])));
    }
  }
  if (!any)
    IG_GOTO(ig_fail(IG_ERR_DATA, "%s: the weight of every class is 0, so nothing would be learned; give one above 0",
                    path));
done:
  ig_free(bytes);
  ig_free(rows);
  ig_free(t);
  return status;
}

static ig_status class_weights(ig_call_state *c, ig_train_setup *s) {
  const ig_dataset *d = s->data;
  if (ig_config_is(c->config, "class_weights", "none"))
    return IG_OK;
  if (d->task == IG_TASK_REGRESS)
    return ig_fail(IG_ERR_USAGE, "class_weights=%s does not fit task=regress, which has no classes",
                   ig_config_str(c->config, "class_weights"));
  IG_TRY(ig_alloc_array((size_t)d->n_classes, sizeof *s->class_weights, "class weights", &s->class_weights));
  s->options.class_weights = s->class_weights;
  if (!ig_config_is(c->config, "class_weights", "balanced")) {
    IG_TRY(ig_absolute_key(c, "class_weights"));
    return weights_of_file(ig_config_str(c->config, "class_weights"), d, s->class_weights);
  }
  int64_t *counts;
  double n = (double)d->count[IG_PART_TRAIN];
  IG_TRY(ig_alloc_array((size_t)d->n_classes, sizeof *counts, "samples of the classes", &counts));
  ig_dataset_class_counts(d, IG_PART_TRAIN, counts);
  if (d->task == IG_TASK_TAG) {  // its samples are words
    n = 0;
    for (int i = 0; i < d->n_classes; i++)
      n += (double)counts[i];
  }
  for (int i = 0; i < d->n_classes; i++) {
    double with = (double)counts[i];
    if (d->task == IG_TASK_MULTILABEL)
      s->class_weights[i] = with > 0 ? (float)((n - with) / with) : 1;
    else
      s->class_weights[i] = with > 0 ? (float)(n / ((double)d->n_classes * with)) : 0;
  }
  ig_free(counts);
  return IG_OK;
}

// SHA-256 over what may not change on a resume, by meaning: 1e-3 and 0.001 are the same.
static ig_status hash_config(const ig_config *k, size_t verb, char hex[65]) {
  ig_text text = {0};
  ig_status status = IG_OK;
  for (size_t i = 0; i < ig_keys.n_keys; i++) {
    const ig_key *key = &ig_keys.keys[i];
    if (!(key->verbs >> verb & 1) || key->flags & (IG_KEY_MAY_CHANGE | IG_KEY_NOT_SAVED) ||
        !ig_config_has_value(k, key->name))
      continue;
    IG_GOTO(ig_text_addf(&text, "%s=", key->name));
    if (key->type == IG_KEY_BOOL)
      IG_GOTO(ig_text_addf(&text, "%d", ig_config_bool(k, key->name)));
    else if (key->type == IG_KEY_INT)
      IG_GOTO(ig_text_addf(&text, "%lld", (long long)ig_config_int(k, key->name)));
    else if (key->type == IG_KEY_FLOAT)
      IG_GOTO(ig_text_addf(&text, "%.17g", ig_config_float(k, key->name)));
    else if (key->type == IG_KEY_FLOATS) {
      size_t n;
      const double *numbers = ig_config_floats(k, key->name, &n);
      for (size_t j = 0; j < n; j++)
        IG_GOTO(ig_text_addf(&text, "%.17g,", numbers[j]));
    } else
      IG_GOTO(ig_text_addf(&text, "%s", ig_config_str(k, key->name)));
    IG_GOTO(ig_text_add(&text, "\n", 1));
  }
  ig_sha256_hex(text.data ? text.data : "", text.n, hex);
done:
  ig_free(text.data);
  return status;
}

// Of a file of class weights a resume must find the same numbers, not its name alone.
static ig_status hash_class_weights(ig_train_setup *s) {
  char hex[65], *all;
  ig_sha256_hex(s->class_weights, (size_t)s->data->n_classes * sizeof *s->class_weights, hex);
  IG_TRY(ig_asprintf(&all, "%s%s", s->config_hash, hex));
  ig_sha256_hex(all, strlen(all), s->config_hash);
  ig_free(all);
  return IG_OK;
}

// The same keys say the same steps to trainer, schedule and defaults.
static ig_status length_keys(const ig_config *k, ig_train_options *o, int64_t n_train) {
  bool steps = ig_config_has_value(k, "steps"), epochs = ig_config_has_value(k, "epochs");
  if (steps && epochs)
    return ig_fail(IG_ERR_USAGE, "steps=%s (%s) and epochs=%s (%s) contradict each other: give one of them",
                   ig_config_str(k, "steps"), ig_config_where(k, "steps"), ig_config_str(k, "epochs"),
                   ig_config_where(k, "epochs"));
  o->steps = steps ? ig_config_int(k, "steps") : 0;
  o->epochs = epochs ? ig_config_int(k, "epochs") : 0;
  int64_t total = steps ? o->steps : (o->epochs * n_train + o->batch - 1) / o->batch;
  return schedule_keys(k, total, &o->schedule);
}

// A number is a fixed factor, none and `dynamic` one that moves by itself.
static ig_status loss_scale_key(const ig_config *k, double *out) {
  *out = 0;
  if (!ig_config_has_value(k, "loss_scale"))
    return IG_OK;
  if (!ig_config_is(k, "precision", "fp16"))
    return ig_fail(IG_ERR_USAGE, "loss_scale=%s is for precision=fp16; precision=%s needs none: leave it out",
                   ig_config_str(k, "loss_scale"), ig_config_str(k, "precision"));
  if (!ig_config_is(k, "loss_scale", "dynamic"))
    *out = ig_config_float(k, "loss_scale");
  return IG_OK;
}

ig_status ig_fill_train_options(ig_call_state *c, ig_train_setup *s) {
  const ig_config *k = c->config;
  ig_train_options *o = &s->options;
  o->data = s->data;
  o->weights = ig_config_str(k, "weights");
  o->fresh_head = ig_config_is(k, "head", "new");
  o->batch = (int)ig_config_int(k, "batch");
  o->accumulate = (int)ig_config_int(k, "accumulate");
  o->image_size = (int)ig_config_int(k, "image_size");
  o->eval_crop_ratio = ig_config_float(k, "crop_ratio");
  o->augment = augment_keys(k);
  o->label_smoothing = ig_config_float(k, "label_smoothing");
  o->loss = ig_config_str(k, "loss");
  o->focal_gamma = ig_config_float(k, "focal_gamma");
  o->huber_delta = ig_config_float(k, "huber_delta");
  o->ema = ig_config_float(k, "ema");
  o->no_decay = ig_config_list(k, "no_decay", &o->n_no_decay);
  o->lr_scale = ig_config_list(k, "lr_scale", &o->n_lr_scale);
  o->recompute = ig_recompute_key(k);
  o->memory = ig_config_size(k, "memory");
  o->session.freeze = ig_config_list(k, "freeze", &o->session.n_freeze);
  o->session.dropout = ig_config_float(k, "dropout");
  o->session.zero_init_residual = ig_config_bool(k, "zero_init_residual");
  o->session.shards = (int)ig_config_int(k, "shards");
  o->loader_threads = (int)ig_config_int(k, "loader_threads");
  if (o->loader_threads < 1)
    o->loader_threads = ig_thread_count(c);
  o->cache_bytes = ig_config_is(k, "cache", "auto") ? ig_memory_limit() / 4 : ig_config_size(k, "cache");
  o->keep = 3;
  o->nan_limit = 3;
  IG_TRY(loss_scale_key(k, &o->loss_scale));
  IG_TRY(class_weights(c, s));
  IG_TRY(optimizer_keys(k, &o->optimizer));
  IG_TRY(length_keys(k, o, (int64_t)s->data->count[IG_PART_TRAIN]));
  if (strcmp(c->verb, "train") != 0)
    return hash_config(k, IG_VERB_PLAN, s->config_hash);
  ig_duration every = ig_config_duration(k, "save_every");
  o->save_every_steps = every.steps;
  o->save_every_seconds = every.seconds;
  o->keep = (int)ig_config_int(k, "keep");
  o->time_limit = ig_config_duration(k, "time_limit").seconds;
  o->patience = ig_config_int(k, "patience");
  o->monitor = ig_config_str(k, "monitor");
  o->strict = ig_config_bool(k, "strict");
  o->nan_limit = (int)ig_config_int(k, "nan_limit");
  IG_TRY(hash_config(k, IG_VERB_TRAIN, s->config_hash));
  return s->class_weights && !ig_config_is(k, "class_weights", "balanced") ? hash_class_weights(s) : IG_OK;
}
