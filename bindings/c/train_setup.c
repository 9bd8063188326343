// All that a training needs, from its keys. Rule: nothing is written here; the run folder is the trainer's.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bindings/c/options.h"
#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/ckpt/checkpoint.h"
#include "runtime/data/direction.h"
#include "runtime/data/mlm.h"
#include "runtime/device/peak.h"

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
  IG_GOTO(ig_open_data(c, &s->text, IG_PAIR_NEXT, &data, &s->rows, &s->data));
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
                                                 .oblong = 3 * w > 4 * h || 3 * h > 4 * w,
                                                 .pretrained = given,
                                                 .in_16_bits = computes_in_16_bits(&o->session),
                                                 .width = o->session.model->build_text ? s->text.bert.spec.width : 0}));
  if (!o->session.model->build_text)
    IG_GOTO(keep_directions(c, s));
  IG_GOTO(ig_fill_train_options(c, s));
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
