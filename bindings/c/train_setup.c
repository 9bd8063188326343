// All that a training needs, from its keys. Rule: nothing is written here; the run folder is the trainer's.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bindings/c/options.h"
#include "runtime/base/cpu.h"
#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/ckpt/checkpoint.h"
#include "runtime/data/direction.h"
#include "runtime/data/mlm.h"
#include "runtime/device/peak.h"

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

// One row of the file: class,weight.
static ig_status read_weight(const char *path, int row, char *line, const ig_dataset *d, float *weights, bool *seen) {
  char *comma = strrchr(line, ','), *end, quoted[IG_QUOTE_BYTES];
  if (!comma)
    return ig_fail(IG_ERR_FORMAT, "%s:%d: class,weight is expected, %s found", path, row, ig_quote(quoted, line));
  *comma = 0;
  double weight = strtod(comma + 1, &end);
  if (end == comma + 1 || *end || !isfinite((float)weight) || weight < 0) {
    if (row == 1)
      return IG_OK;  // the header
    return ig_fail(IG_ERR_FORMAT, "%s:%d:2: a weight of 0 or more is expected, %s found", path, row,
                   ig_quote(quoted, comma + 1));
  }
  for (int i = 0; i < d->n_classes; i++)
    if (!strcmp(d->classes[i], line)) {
      weights[i] = (float)weight;
      seen[i] = true;
      return IG_OK;
    }
  char nearest[IG_NEAREST_BYTES];
  return ig_fail(IG_ERR_DATA, "%s:%d:1: the data have no class %s%s", path, row, ig_quote(quoted, line),
                 ig_nearest(nearest, line, (const char *const *)d->classes, (size_t)d->n_classes));
}

static ig_status weights_of_file(const char *path, const ig_dataset *d, float *weights) {
  ig_status status = IG_OK;
  uint8_t *bytes = NULL;
  size_t n;
  bool *seen = NULL, any = false;
  int row = 1;
  IG_GOTO(ig_alloc_array((size_t)d->n_classes, sizeof *seen, "class weights", &seen));
  IG_GOTO(ig_file_read(path, 1 << 24, &bytes, &n));
  for (char *line = (char *)bytes; line && *line; row++) {
    char *next = strchr(line, '\n');
    if (next)
      *next++ = 0;
    size_t length = strlen(line);
    if (length && line[length - 1] == '\r')
      line[--length] = 0;
    if (length)
      IG_GOTO(read_weight(path, row, line, d, weights, seen));
    line = next;
  }
  for (int i = 0; i < d->n_classes; i++) {
    any = any || weights[i] > 0;
    if (!seen[i]) {
      char quoted[IG_QUOTE_BYTES];
      IG_GOTO(ig_fail(IG_ERR_DATA, "%s: there is no weight of class %s", path, ig_quote(quoted, d->classes[i])));
    }
  }
  if (!any)
    IG_GOTO(ig_fail(IG_ERR_DATA, "%s: the weight of every class is 0, so nothing would be learned; give one above 0",
                    path));
done:
  ig_free(bytes);
  ig_free(seen);
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

static ig_status fill_options(ig_call_state *c, ig_train_setup *s) {
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

// What is wrong with a folder's config.json is told before its weights are looked for: none of them would mend it.
static ig_status check_folder(const char *folder) {
  ig_text_model text = {0};
  const ig_model *model;
  const ig_status status = ig_find_model(folder, NULL, &text, &model);
  ig_text_model_fini(&text);
  return status;
}

// A run that goes on needs the weights and the model's folder that it began with no more: what they said of themselves
// stands in its newest checkpoint, and its config.json.
static ig_status info_of_run(ig_call_state *c, ig_train_setup *s, const char *weights) {
  char *folder = NULL, *path = NULL;
  ig_ckpt_info *list = NULL;
  size_t n = 0;
  ig_status status = IG_OK;
  if (s->out) {
    IG_GOTO(ig_path_join(&folder, s->out, "checkpoints"));
    IG_GOTO(ig_ckpt_list(folder, false, &list, &n));
  }
  size_t last = n;
  while (last && !list[last - 1].valid)
    last--;
  if (!last)
    IG_GOTO(ig_fail(IG_ERR_NOT_FOUND, "weights=%s does not exist", weights));
  IG_GOTO(ig_asprintf(&path, "%s/step-%lld", folder, (long long)list[last - 1].step));
  IG_GOTO(ig_weights_info_read(path, &s->info));
  ig_note(c, "weights=%s is no longer there; the run goes on without", weights);
done:
  ig_ckpt_list_free(list, n);
  ig_free(path);
  ig_free(folder);
  return status;
}

// model= as it is, or the run's own folder in place of one that is no longer there.
static ig_status model_or_run(ig_call_state *c, const ig_train_setup *s, const char **out) {
  bool there = false;
  *out = ig_config_str(c->config, "model");
  if (s->out && strchr(*out, '/') && !ig_path_exists(*out))
    IG_TRY(ig_path_holds(s->out, "config.json", &there));
  if (there)
    ig_note(c, "model=%s is no longer there; the run has its config.json and tokenizer", *out);
  *out = there ? s->out : *out;
  return IG_OK;
}

// weights=PATH, absolute; none and a model folder's own are resolved. *given: there are some.
static ig_status find_weights(ig_call_state *c, ig_train_setup *s, bool *given) {
  const ig_config *k = c->config;
  const char *model = ig_config_str(k, "model");
  const bool folder = model && ig_path_is_dir(model);
  IG_TRY(ig_absolute_model_keys(c));
  const char *path = ig_config_str(k, "weights");
  *given = path && *path;
  if (!*given)
    return IG_OK;
  if (!ig_path_exists(path))
    return info_of_run(c, s, path);
  const bool same = folder && !strcmp(path, ig_config_str(k, "model"));
  if (same)
    IG_TRY(check_folder(path));
  const ig_status status = ig_weights_info_read(path, &s->info);
  return same && status == IG_ERR_NOT_FOUND
             ? ig_fail(status,
                       "model=%s: the folder holds no weights (model.safetensors); put them there, or start without "
                       "any by weights=none",
                       path)
             : status;
}

// Head, dropout and what the run folder says of a text model.
static ig_status set_text_options(ig_call_state *c, ig_train_setup *s) {
  ig_train_options *o = &s->options;
  ig_bert_spec *spec = &s->text.bert.spec;
  const ig_task task = s->data->task;
  if (ig_config_has_value(c->config, "dropout")) {
    spec->dropout = spec->attention_dropout = ig_config_float(c->config, "dropout");
    spec->classifier_dropout = -1;
  }
  o->session.dropout = fmax(fmax(spec->dropout, spec->attention_dropout), spec->classifier_dropout);
  o->session.text_head = task == IG_TASK_MLM   ? IG_TEXT_PRETRAIN
                         : task == IG_TASK_TAG ? IG_TEXT_TOKEN
                                               : IG_TEXT_SEQUENCE;
  o->session.nsp = task == IG_TASK_MLM && !ig_config_is(c->config, "pairs", "none");
  o->tokenizer = s->text.tokenizer;
  o->max_length = s->text.max_length;
  o->second = s->second;
  o->second_share = ig_config_float(c->config, "phase2");
  o->layer_decay = ig_config_float(c->config, "layer_decay");
  json_t *labels = task == IG_TASK_MLM ? NULL : json_array();
  for (int i = 0; labels && i < s->data->n_classes; i++)
    json_array_append_new(labels, ig_json_text(s->data->classes[i]));
  json_t *config =
      ig_bert_config_json(spec, ig_architecture(o->session.text_head, o->session.nsp), labels, ig_problem_type(task));
  json_decref(labels);
  char *text = config ? json_dumps(config, JSON_INDENT(2) | JSON_REAL_PRECISION(15)) : NULL;
  json_decref(config);
  if (!text)
    return ig_no_json();
  ig_status status = ig_strdup(text, &s->config_json);
  free(text);
  IG_TRY(status);
  o->config_json = s->config_json;
  // What a resume must find again: the model's sizes and the tokenizer's ids too.
  ig_tokenizer_info t;
  char *all;
  ig_tokenizer_get_info(s->text.tokenizer, &t);
  IG_TRY(ig_asprintf(&all, "%s%s%s", s->config_hash, t.fingerprint, s->config_json));
  ig_sha256_hex(all, strlen(all), s->config_hash);
  ig_free(all);
  return IG_OK;
}

// Turns that are on by default are off where they make one class look like another.
static ig_status keep_directions(ig_call_state *c, const ig_train_setup *s) {
  ig_directions found;
  const struct {
    const char *key, *how;
    const ig_direction *pair;
  } turns[] = {{"flip", "left for right", &found.flip},
               {"vflip", "upside down", &found.vflip},
               {"transpose", "rows for columns", &found.transpose}};
  bool any = false;
  for (size_t i = 0; i < 3; i++)
    any = any ||
          (ig_config_bool(c->config, turns[i].key) && ig_config_source_of(c->config, turns[i].key) == IG_FROM_PRESET);
  if (!any)
    return IG_OK;
  IG_TRY(ig_dataset_directions(s->data, ig_thread_count(c), &found));
  for (size_t i = 0; i < 3; i++) {
    const char *key = turns[i].key;
    char a[IG_QUOTE_BYTES], b[IG_QUOTE_BYTES];
    if (!turns[i].pair->a || !ig_config_bool(c->config, key) || ig_config_source_of(c->config, key) != IG_FROM_PRESET)
      continue;
    IG_TRY(ig_config_set(c->config, key, "0", IG_FROM_PRESET, "direction tells classes apart"));
    ig_note(c, "%s, %s looks like %s: pictures are not turned so (%s=0)", turns[i].how, ig_quote(a, turns[i].pair->a),
            ig_quote(b, turns[i].pair->b), key);
  }
  return IG_OK;
}

// A classifier that is loaded answers for its own classes, in their own order: the data are numbered by them where they
// have just these (options.order), and one of others starts afresh.
static void compare_classes(ig_call_state *c, ig_train_setup *s) {
  const ig_weights_info *w = &s->info;
  const ig_dataset *d = s->data;
  char a[IG_QUOTE_BYTES], b[IG_QUOTE_BYTES];
  if (d->task == IG_TASK_REGRESS) {
    s->options.head_mean = w->target_mean;
    s->options.head_std = w->target_std;
  }
  if (d->task == IG_TASK_REGRESS || d->task == IG_TASK_MLM || w->n_classes != d->n_classes ||
      (w->vocabulary > 0 && !w->has_classifier))
    return;
  if (!w->classes) {
    ig_note(c, "the weights do not name their classes: the data's are taken in this order (%s = 0)",
            ig_quote(a, d->classes[0]));
    return;
  }
  int i = 0, numbers = 0;
  while (i < d->n_classes && !strcmp(w->classes[i], d->classes[i]))
    i++;
  for (char number[16]; numbers < d->n_classes; numbers++) {  // labels that are numbers of the weights' classes
    snprintf(number, sizeof number, "%d", numbers);
    if (strcmp(number, d->classes[numbers]))
      break;
  }
  s->options.other_head = i < d->n_classes && numbers < d->n_classes;
  if (s->options.other_head)
    ig_note(c,
            "the weights' classes are not the data's (class %d: %s there, %s here): the classifier does not start from "
            "theirs",
            i, ig_quote(a, w->classes[i]), ig_quote(b, d->classes[i]));
}

// Told before the defaults, which go by the number of training samples.
static ig_status check_trains(const ig_dataset *d) {
  static const char *const advice[] = {
      [IG_DATASET_FOLDER] =
          "put pictures into a folder train beside the others, or name the folder with the class "
          "folders itself by data=; in a split file, some rows are of the part train",
      [IG_DATASET_CIFAR10] = "add the file data_batch_1.bin",
      [IG_DATASET_CIFAR100] = "add the file train.bin",
      [IG_DATASET_TEXT] =
          "put texts into a file or folder named train beside the others, or name one file by data=; in "
          "a column split, some rows are of the part train",
      [IG_DATASET_CORPUS] = "add texts, or hold out a smaller share by split="};
  char q[IG_QUOTE_BYTES];
  return d->count[IG_PART_TRAIN]
             ? IG_OK
             : ig_fail(IG_ERR_DATA, "data=%s has no training %s (train 0, val %zu, test %zu): %s", ig_shown(q, d->path),
                       ig_dataset_noun(d), d->count[IG_PART_VAL], d->count[IG_PART_TEST], advice[d->kind]);
}

// Whether precision= means 16 bits here; what it means in the end is the session's business.
static bool computes_in_16_bits(const ig_session_options *o) {
  if (!strcmp(o->precision, "auto"))
    return !strncmp(o->device, "cuda", 4) || ig_cpu_bf16_pays(o->isa);
  return !strcmp(o->precision, "bf16") || !strcmp(o->precision, "fp16");
}

ig_status ig_train_setup_init(ig_call_state *c, ig_train_setup *s) {
  const ig_config *k = c->config;
  ig_train_options *o = &s->options;
  ig_dataset_options data;
  json_t *environment = NULL;
  const char *model;
  bool given;
  ig_status status = IG_OK;
  IG_TRY(ig_want_paths(c, 0, 0));
  IG_TRY(ig_want_key(c, "model"));
  *o = (ig_train_options){.size = sizeof *o};
  IG_TRY(ig_check_impl_key(c->config));
  IG_TRY(ig_session_keys(c, &o->session, &s->cache_dir));
  IG_GOTO(find_weights(c, s, &given));
  // Of pictures the file may be another model's by name only; loading tells by tensors.
  const bool is_text = given && s->info.vocabulary > 0;
  IG_GOTO(model_or_run(c, s, &model));
  IG_GOTO(ig_find_model(model, is_text ? &s->info : NULL, &s->text, &o->session.model));
  IG_GOTO(ig_dataset_keys(c, &data));
  if (o->session.model->build_text) {
    IG_GOTO(ig_open_tokenizer(c, is_text ? &s->info : NULL, s->out, &s->text));
    if (s->cache_dir)
      IG_GOTO(ig_path_join(&s->corpora, s->cache_dir, "corpora"));
    IG_GOTO(ig_text_dataset_keys(c, &s->text, s->corpora, s->out, &data));
  }
  data.order = (const char *const *)s->info.classes;
  data.n_order = s->info.classes ? s->info.n_classes : 0;
  IG_GOTO(ig_open_data(c, &s->text, true, &data, &s->rows, &s->data));
  IG_GOTO(ig_refuse_misfits(c, o->session.model, s->data->task));
  if (given)
    compare_classes(c, s);
  IG_GOTO(check_trains(s->data));
  for (int part = IG_PART_TRAIN; s->data->mlm && part <= IG_PART_VAL; part++)
    IG_GOTO(ig_want_maskable(s->data->mlm, s->data->corpus, s->data->path, (ig_part)part));
  if (s->data->task == IG_TASK_MLM && s->data->corpus)
    IG_GOTO(ig_second_phase(c, &s->text, s->data, &s->second));
  o->session.classes = s->data->n_classes;
  int w = s->data->typical_w, h = s->data->typical_h;
  IG_GOTO(ig_set_defaults(c->config, &(ig_facts){.model = o->session.model,
                                                 .task = s->data->task,
                                                 .n_train = (int64_t)s->data->count[IG_PART_TRAIN],
                                                 .n_classes = s->data->n_classes,
                                                 .typical_side = w < h ? w : h,
                                                 .pretrained = given,
                                                 .in_16_bits = computes_in_16_bits(&o->session),
                                                 .width = o->session.model->build_text ? s->text.bert.spec.width : 0}));
  if (!o->session.model->build_text)
    IG_GOTO(keep_directions(c, s));
  IG_GOTO(fill_options(c, s));
  if (o->session.model->build_text)
    IG_GOTO(set_text_options(c, s));
  if (!given)
    o->weights = NULL;
  IG_GOTO(ig_config_yaml(k, &s->args_yaml));
  IG_GOTO(ig_environment_json(&environment));
  json_t *command = json_pack("[s, s]", "ingot", c->verb);
  for (int i = 0; i < c->n_words; i++)
    json_array_append_new(command, json_string(c->words[i]));
  json_object_set_new(environment, "command", command);
  char *text = json_dumps(environment, JSON_INDENT(1));
  if (!text)
    IG_GOTO(ig_no_json());
  status = ig_strdup(text, &s->environment);
  free(text);
  o->args_yaml = s->args_yaml;
  o->environment_json = s->environment;
  o->config_hash = s->config_hash;
done:
  json_decref(environment);
  return status;
}

void ig_train_setup_fini(ig_train_setup *s) {
  ig_mlm_destroy(s->second);
  ig_dataset_close(s->data);
  ig_bert_rows_close(s->rows);
  ig_free(s->class_weights);
  ig_free(s->cache_dir);
  ig_free(s->args_yaml);
  ig_free(s->environment);
  ig_free(s->out);
  ig_free(s->resume_path);
  ig_free(s->config_json);
  ig_free(s->corpora);
  ig_weights_info_fini(&s->info);
  ig_text_model_fini(&s->text);
}
