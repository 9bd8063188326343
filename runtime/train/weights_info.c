// What a file of weights says of itself (weights_write.c writes it). Rule: metadata is a stranger's text: every field
// is checked, and a wrong one is refused by name; an absent one stays empty.
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "models/bert.h"
#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/base/text.h"
#include "runtime/data/mlm.h"
#include "runtime/train/weights.h"
#include "runtime/train/weights_source.h"

enum { MAX_CLASSES = 1 << 20, MAX_SIDE = 1 << 16 };

// Where the texts are: a .safetensors file, or an object in a checkpoint's state.
typedef struct texts {
  const ig_st *st;
  json_t *object;
  const char *path;
} texts;

static const char *text_of(const texts *t, const char *key) {
  return t->st ? ig_st_metadata(t->st, key) : json_string_value(json_object_get(t->object, key));
}

static ig_status bad(const texts *t, const char *key, const char *what) {
  return ig_fail(IG_ERR_FORMAT, "%s: metadata %s: %s", t->path, key, what);
}

static ig_status copy_text(const texts *t, const char *key, char **out) {
  const char *text = text_of(t, key);
  return text ? ig_strdup(text, out) : IG_OK;
}

static ig_status parse_json(const texts *t, const char *key, json_t **out) {
  const char *text = text_of(t, key);
  json_error_t error;
  *out = NULL;
  if (!text)
    return IG_OK;
  *out = json_loads(text, JSON_REJECT_DUPLICATES, &error);
  return *out ? IG_OK : bad(t, key, error.text);
}

static ig_status read_classes(const texts *t, ig_weights_info *info) {
  json_t *list = NULL;
  ig_status status = parse_json(t, "ingot.classes", &list);
  if (!list)
    return status;
  const size_t n = json_array_size(list);
  if (n == 0 || n > MAX_CLASSES)
    IG_GOTO(bad(t, "ingot.classes", "an array of 1 to 1048576 names expected"));
  IG_GOTO(ig_alloc_array(n, sizeof *info->classes, "names of classes", &info->classes));
  for (size_t i = 0; i < n; i++) {
    const char *name = json_string_value(json_array_get(list, i));
    if (!name)
      IG_GOTO(bad(t, "ingot.classes", "every class is a text"));
    IG_GOTO(ig_strdup(name, &info->classes[i]));
    info->n_classes = (int)i + 1;
  }
done:
  json_decref(list);
  return status;
}

// Finite numbers, one a class.
static ig_status read_numbers(const texts *t, const json_t *list, const ig_weights_info *info, bool positive,
                              float **out) {
  const size_t n = json_array_size(list);
  if (n != (size_t)info->n_classes || n == 0)
    return bad(t, "ingot.targets", "as many numbers as ingot.classes has names expected in mean and std");
  IG_TRY(ig_alloc_array(n, sizeof **out, "scales of targets", out));
  for (size_t i = 0; i < n; i++) {
    const json_t *v = json_array_get(list, i);
    (*out)[i] = (float)json_number_value(v);
    if (!json_is_number(v) || !isfinite((*out)[i]) || (positive && (*out)[i] <= 0))
      return bad(t, "ingot.targets", "mean: finite numbers, std: numbers above 0 expected");
  }
  return IG_OK;
}

static ig_status read_targets(const texts *t, ig_weights_info *info) {
  json_t *j = NULL;
  ig_status status = parse_json(t, "ingot.targets", &j);
  if (!j)
    return status;
  const char *loss = json_string_value(json_object_get(j, "loss"));
  if (loss)
    IG_GOTO(ig_strdup(loss, &info->loss));
  IG_GOTO(read_numbers(t, json_object_get(j, "mean"), info, false, &info->target_mean));
  IG_GOTO(read_numbers(t, json_object_get(j, "std"), info, true, &info->target_std));
done:
  json_decref(j);
  return status;
}

static bool three(const json_t *list, float out[3]) {
  for (size_t i = 0; i < 3; i++) {
    const json_t *v = json_array_get(list, i);
    out[i] = (float)json_number_value(v);
    if (!json_is_number(v) || !isfinite(out[i]))
      return false;
  }
  return json_array_size(list) == 3;
}

static ig_status read_preprocessing(const texts *t, ig_weights_info *info) {
  static const char key[] = "ingot.preprocessing";
  json_t *j = NULL;
  ig_status status = parse_json(t, key, &j);
  if (!j)
    return status;
  const json_int_t side = json_integer_value(json_object_get(j, "image_size"));
  const json_t *ratio = json_object_get(j, "eval_crop_ratio");
  info->eval_crop_ratio = json_number_value(ratio);
  if (side < 1 || side > MAX_SIDE)
    IG_GOTO(bad(t, key, "image_size: an integer of 1 to 65536 expected"));
  if ((ratio && !json_is_number(ratio)) || !(info->eval_crop_ratio >= 0 && info->eval_crop_ratio <= 1))
    IG_GOTO(bad(t, key, "eval_crop_ratio: a number from 0 (the whole picture) to 1 expected"));
  if (!three(json_object_get(j, "mean"), info->mean) || !three(json_object_get(j, "std"), info->std))
    IG_GOTO(bad(t, key, "mean and std: three finite numbers expected"));
  for (int i = 0; i < 3; i++)
    if (!(info->std[i] > 0))
      IG_GOTO(bad(t, key, "std: numbers above 0 expected"));
  info->image_size = (int)side;
  info->has_preprocessing = true;
done:
  json_decref(j);
  return status;
}

static ig_status read_text_model(const texts *t, ig_weights_info *info) {
  static const char key[] = "ingot.text";
  json_t *j = NULL;
  IG_TRY(copy_text(t, "ingot.config", &info->config));
  ig_status status = parse_json(t, key, &j);
  if (!j)
    return status;
  const json_int_t length = json_integer_value(json_object_get(j, "max_length"));
  if (length < 3 || length > 1 << 20)
    IG_GOTO(bad(t, key, "max_length: an integer of 3 to 1048576 expected"));
  info->max_length = (int)length;
  info->pair = json_is_true(json_object_get(j, "pair"));
  info->says_pair = json_is_boolean(json_object_get(j, "pair"));
  const json_t *pairs = json_object_get(j, "pairs");
  ig_mlm_pair kind;
  if (pairs && !(json_is_string(pairs) && ig_mlm_pair_from_text(json_string_value(pairs), &kind)))
    IG_GOTO(bad(t, key, "pairs: none, next or order expected"));
  if (pairs)
    IG_GOTO(ig_strdup(json_string_value(pairs), &info->pairs));
done:
  json_decref(j);
  return status;
}

static ig_status read_texts(const texts *t, ig_weights_info *info) {
  IG_TRY(read_text_model(t, info));
  IG_TRY(copy_text(t, "ingot.model", &info->model));
  IG_TRY(copy_text(t, "ingot.task", &info->task));
  IG_TRY(read_classes(t, info));
  IG_TRY(read_targets(t, info));
  IG_TRY(read_preprocessing(t, info));
  const char *step = text_of(t, "ingot.step");
  if (step) {
    char *end;
    info->step = strtoll(step, &end, 10);
    if (end == step || *end || info->step < 0)
      return bad(t, "ingot.step", "a number of steps expected");
  }
  return IG_OK;
}

// A checkpoint's state has "info", the same texts, and "model". An older one has the model alone; the run's
// model.safetensors beside it then tells classes and preprocessing.
static ig_status read_checkpoint(const ig_weight_source *s, ig_weights_info *info) {
  char *beside = NULL;
  ig_st *st = NULL;
  ig_status status = IG_OK;
  json_error_t error;
  const char *state = ig_ckpt_state_json(s->ckpt);
  json_t *j = state ? json_loads(state, JSON_REJECT_DUPLICATES, &error) : NULL;
  texts t = {.object = json_object_get(j, "info"), .path = s->path};
  if (state && !j)
    IG_GOTO(ig_fail(IG_ERR_FORMAT, "%s: state: %s", s->path, error.text));
  if (t.object) {
    IG_GOTO(read_texts(&t, info));
  } else {
    IG_GOTO(ig_path_join(&beside, s->path, "../../model.safetensors"));
    if (ig_path_exists(beside)) {
      IG_GOTO(ig_st_open(beside, &st));
      t = (texts){.st = st, .path = beside};
      IG_GOTO(read_texts(&t, info));
    }
  }
  const char *model = json_string_value(json_object_get(j, "model"));
  if (model) {
    ig_free(info->model);
    info->model = NULL;
    IG_GOTO(ig_strdup(model, &info->model));
  }
  info->step = ig_ckpt_step(s->ckpt);
done:
  ig_st_close(st);
  ig_free(beside);
  json_decref(j);
  return status;
}

// Classes of the head's weight matrix in the file, 0 where there is none under any known name.
static int64_t classes_of_head(const ig_weight_source *s, const ig_model *model) {
  char param[IG_WEIGHT_NAME_BYTES], name[IG_WEIGHT_NAME_BYTES];
  ig_weight_form form;
  if (!model->head || !*model->head)
    return 0;
  snprintf(param, sizeof param, "%sweight", model->head);
  for (int prefix = 0; prefix < IG_WEIGHT_PREFIXES; prefix++)
    for (int c = 0; ig_weight_name(model, (ig_weight_naming){ig_weight_prefixes[prefix], c}, param, name, &form); c++) {
      const ig_weight_entry *e = ig_weight_source_find(s, name);
      if (e && e->n_dims == 2)
        return e->dims[form == IG_FORM_TRANSPOSED ? 1 : 0];
    }
  return 0;
}

// Rows of the word embeddings under any name that a text model's file has for them.
static int64_t vocabulary_of(const ig_weight_source *s) {
  static const char *const names[] = {"bert.embeddings.word_embeddings.weight", "embeddings.word_embeddings.weight"};
  char name[IG_WEIGHT_NAME_BYTES];
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    for (int prefix = 0; prefix < IG_WEIGHT_PREFIXES; prefix++) {
      snprintf(name, sizeof name, "%s%s", ig_weight_prefixes[prefix], names[i]);
      const ig_weight_entry *e = ig_weight_source_find(s, name);
      if (e && e->n_dims == 2)
        return e->dims[0];
    }
  return 0;
}

static bool has_param(const ig_weight_source *s, const char *param) {
  extern const ig_model ig_model_bert_base;  // all text models have its names
  char name[IG_WEIGHT_NAME_BYTES];
  ig_weight_form form;
  for (int prefix = 0; prefix < IG_WEIGHT_PREFIXES; prefix++)
    for (int c = 0;
         ig_weight_name(&ig_model_bert_base, (ig_weight_naming){ig_weight_prefixes[prefix], c}, param, name, &form);
         c++)
      if (ig_weight_source_find(s, name))
        return true;
  return false;
}

static void find_parts(const ig_weight_source *s, ig_weights_info *info) {
  info->vocabulary = vocabulary_of(s);
  if (info->vocabulary == 0)
    return;
  info->has_classifier = has_param(s, "classifier.weight");
  info->has_pooler = has_param(s, "bert.pooler.dense.weight");
  info->has_words = has_param(s, "cls.predictions.transform.dense.weight");
  info->has_pairs = has_param(s, "cls.seq_relationship.weight");
}

// The folder of a run or a model: of RUN/checkpoints/step-N it is RUN.
static ig_status folder_of(const ig_weight_source *s, char **out) {
  if (s->ckpt)
    return ig_path_join(out, s->path, "../..");
  const char *slash = strrchr(s->path, '/');
  return slash ? ig_asprintf(out, "%.*s", (int)(slash - s->path) + (slash == s->path), s->path) : ig_strdup(".", out);
}

// What the classifier's outputs mean: problem_type, and as there one output alone is a number.
static ig_status task_of_config(const char *text, ig_weights_info *info) {
  static const struct {
    const char *type, *task;
  } known[] = {{"regression", "regress"},
               {"multi_label_classification", "multilabel"},
               {"single_label_classification", "classify"}};
  if (info->task || !info->has_classifier || info->tags)
    return IG_OK;
  json_t *config = json_loads(text, 0, NULL);
  const char *type = json_string_value(json_object_get(config, "problem_type")), *task = NULL;
  for (size_t i = 0; type && i < sizeof known / sizeof *known; i++)
    if (!strcmp(type, known[i].type))
      task = known[i].task;
  ig_status status = IG_OK;
  if (type && !task)
    status = ig_fail(IG_ERR_UNSUPPORTED,
                     "%s/config.json: problem_type is %s; regression, single_label_classification and "
                     "multi_label_classification are built",
                     info->folder, type);
  json_decref(config);
  if (!task && info->n_classes == 1)
    task = "regress";
  return status != IG_OK || !task ? status : ig_strdup(task, &info->task);
}

// Which head the file's classifier is, by the class that Transformers would load it into.
static ig_status head_of_config(const char *text, ig_weights_info *info) {
  static const char *const heads[] = {"BertForSequenceClassification",
                                      "BertForTokenClassification",
                                      "BertModel",
                                      "BertForPreTraining",
                                      "BertForMaskedLM",
                                      "BertLMHeadModel",
                                      "BertForNextSentencePrediction"};
  json_t *config = json_loads(text, 0, NULL);
  const char *name = json_string_value(json_array_get(json_object_get(config, "architectures"), 0));
  char q[IG_QUOTE_BYTES];
  bool known = !name || !info->has_classifier;
  for (size_t i = 0; i < sizeof heads / sizeof *heads && !known; i++)
    known = !strcmp(name, heads[i]);
  info->tags = name && !strcmp(name, heads[1]);
  ig_status status = IG_OK;
  if (!known)
    status = ig_fail(IG_ERR_UNSUPPORTED,
                     "%s/config.json: architectures is %s, whose classifier is none of ours; %s and %s are built",
                     info->folder, ig_quote(q, name), heads[0], heads[1]);
  json_decref(config);
  return status;
}

// What is no text model of ours may say what it is.
static ig_status read_model_type(const char *text, ig_weights_info *info) {
  json_t *config = json_loads(text, 0, NULL);
  const char *type = json_string_value(json_object_get(config, "model_type"));
  const ig_status status = type ? ig_strdup(type, &info->model_type) : IG_OK;
  json_decref(config);
  return status;
}

// Hugging Face's folder: config.json beside the weights says model and classes.
static ig_status read_config_beside(const ig_weight_source *s, ig_weights_info *info) {
  enum { MAX_CONFIG = 1 << 24 };
  char *path = NULL;
  uint8_t *text = NULL;
  size_t n = 0;
  json_t *labels = NULL;
  ig_bert_model model;
  ig_status status = IG_OK;
  IG_GOTO(folder_of(s, &info->folder));
  if (info->model || info->config)
    goto done;
  IG_GOTO(ig_path_join(&path, info->folder, "config.json"));
  if (!ig_path_exists(path))
    goto done;
  IG_GOTO(ig_file_read(path, MAX_CONFIG, &text, &n));
  if (info->vocabulary == 0) {
    char *copy;
    IG_GOTO(ig_asprintf(&copy, "%.*s", (int)n, (const char *)text));
    status = read_model_type(copy, info);
    ig_free(copy);
    goto done;
  }
  IG_GOTO(ig_bert_config_parse((const char *)text, n, path, &model, &labels));
  IG_GOTO(ig_asprintf(&info->config, "%.*s", (int)n, (const char *)text));
  IG_GOTO(head_of_config(info->config, info));
  IG_GOTO(ig_strdup(model.model.name, &info->model));
  IG_GOTO(task_of_config(info->config, info));
  if (info->n_classes > 0 && labels && !info->classes) {
    const size_t names = json_array_size(labels);
    if (names != (size_t)info->n_classes)
      IG_GOTO(ig_fail(IG_ERR_FORMAT,
                      "%s: id2label: %zu %s found, but the classifier in %s has %d %s; mend it, or remove it, and the "
                      "classes are numbers",
                      path, names, ig_plural(names, "name", "names"), info->path, info->n_classes,
                      ig_plural((unsigned)info->n_classes, "class", "classes")));
    IG_GOTO(ig_alloc_array((size_t)info->n_classes, sizeof *info->classes, "names of classes", &info->classes));
    for (int i = 0; i < info->n_classes; i++)
      IG_GOTO(ig_strdup(json_string_value(json_array_get(labels, (size_t)i)), &info->classes[i]));
  }
done:
  json_decref(labels);
  ig_free(text);
  ig_free(path);
  return status;
}

static ig_status check_head(const ig_weight_source *s, ig_weights_info *info) {
  int64_t n = 0;
  bool known = false;  // a model of a config.json has no row in the table; it has the names of one that has
  for (size_t i = 0; ig_models[i]; i++)
    known = known || (info->model && !strcmp(info->model, ig_models[i]->name));
  for (size_t i = 0; ig_models[i] && n == 0; i++)
    if (!known || !strcmp(info->model, ig_models[i]->name))
      n = classes_of_head(s, ig_models[i]);
  if (n < 0 || n > MAX_CLASSES)
    return ig_fail(IG_ERR_FORMAT, "%s: its classifier has %lld classes; at most %d are possible", s->path, (long long)n,
                   MAX_CLASSES);
  if (n && info->classes && info->n_classes != n)
    return ig_fail(IG_ERR_FORMAT, "%s: metadata ingot.classes: %d %s found, but its classifier has %lld %s", s->path,
                   info->n_classes, ig_plural((unsigned)info->n_classes, "name", "names"), (long long)n,
                   ig_plural((unsigned long long)n, "class", "classes"));
  if (!info->classes)
    info->n_classes = (int)n;
  return IG_OK;
}

// Keras's files say nothing but names: the model whose sign is there.
static ig_status recognise(const ig_weight_source *s, ig_weights_info *info) {
  for (size_t i = 0; ig_models[i] && !info->model; i++) {
    const ig_model *m = ig_models[i];
    if (m->sign && ig_weight_source_find(s, m->sign) && !ig_weight_source_find(s, m->no_sign))
      IG_TRY(ig_strdup(m->name, &info->model));
  }
  return IG_OK;
}

ig_status ig_weights_info_read(const char *path, ig_weights_info *out) {
  ig_weight_source s;
  memset(out, 0, sizeof *out);
  ig_status status = ig_weight_source_open(path, false, &s);
  if (status != IG_OK)
    return status;
  IG_GOTO(ig_strdup(s.path, &out->path));
  if (s.st) {
    const texts t = {.st = s.st, .path = s.path};
    IG_GOTO(read_texts(&t, out));
  } else if (s.ckpt) {
    IG_GOTO(read_checkpoint(&s, out));
  } else {
    IG_GOTO(recognise(&s, out));
  }
  IG_GOTO(check_head(&s, out));
  find_parts(&s, out);
  IG_GOTO(read_config_beside(&s, out));
done:
  if (status != IG_OK)
    ig_weights_info_fini(out);
  ig_weight_source_close(&s);
  return status;
}

void ig_weights_info_fini(ig_weights_info *info) {
  for (int i = 0; i < info->n_classes && info->classes; i++)
    ig_free(info->classes[i]);
  ig_free(info->classes);
  ig_free(info->path);
  ig_free(info->model);
  ig_free(info->task);
  ig_free(info->loss);
  ig_free(info->config);
  ig_free(info->folder);
  ig_free(info->model_type);
  ig_free(info->pairs);
  ig_free(info->target_mean);
  ig_free(info->target_std);
  memset(info, 0, sizeof *info);
}
