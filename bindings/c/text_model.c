// Finds a text model and its tokenizer. Rule: see text_model.h.
#include "bindings/c/text_model.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "bindings/c/options.h"
#include "bindings/c/path_list.h"
#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/data/table.h"

enum { MAX_CONFIG = 1 << 24, VOCABULARY_MULTIPLE = 8, MOST_PADDING = 256 };
// A vocabulary that is learned: a token a kilobyte of text, in these bounds (the upper one is BERT's).
enum { BYTES_A_TOKEN = 1000, LEAST_VOCABULARY = 1000, MOST_VOCABULARY = 30522, MIN_FREQUENCY = 2, ALPHABET = 1000 };

static ig_status parse(const char *text, size_t n, const char *where, ig_text_model *out, const ig_model **model) {
  IG_TRY(ig_bert_config_parse(text, n, where, &out->bert, NULL));
  *model = &out->bert.model;
  return IG_OK;
}

static ig_status read_folder(const char *folder, ig_text_model *out, const ig_model **model) {
  char *path = NULL;
  uint8_t *text = NULL;
  size_t n;
  ig_status status = IG_OK;
  IG_GOTO(ig_path_join(&path, folder, "config.json"));
  if (!ig_path_exists(path))
    IG_GOTO(ig_fail(IG_ERR_NOT_FOUND, "model=%s: the folder has no config.json", folder));
  IG_GOTO(ig_file_read(path, MAX_CONFIG, &text, &n));
  IG_GOTO(parse((const char *)text, n, path, out, model));
  IG_GOTO(ig_strdup(folder, &out->folder));
done:
  ig_free(text);
  ig_free(path);
  return status;
}

// The table's model; a text model gets sizes of its own.
static ig_status find_preset(const char *name, const ig_weights_info *info, ig_text_model *out,
                             const ig_model **model) {
  IG_TRY(ig_model_find(name, model));
  if (!(*model)->build_text)
    return IG_OK;
  ig_bert_model_init(*model, info ? info->vocabulary : 0, &out->bert);
  *model = &out->bert.model;
  return IG_OK;
}

ig_status ig_find_model(const char *name, const ig_weights_info *info, ig_text_model *text, const ig_model **model) {
  char q[IG_QUOTE_BYTES];
  if (name && ig_path_is_dir(name))
    return read_folder(name, text, model);
  if (info && info->model && name && strcmp(name, info->model) != 0)
    return ig_fail(IG_ERR_MISMATCH, "%s holds weights of model=%s, not of model=%s", info->path, info->model, name);
  if (!name && info && !info->model && info->model_type && !strcmp(info->model_type, "bert"))
    return ig_fail(IG_ERR_MISMATCH,
                   "%s: config.json beside it says model_type bert, but the file has no tensor "
                   "bert.embeddings.word_embeddings.weight",
                   info->path);
  if (!name && info && !info->model && info->model_type)
    return ig_fail(IG_ERR_UNSUPPORTED, "%s: config.json beside it says model_type %s; of texts only bert is built",
                   info->path, ig_quote(q, info->model_type));
  if (!name && !(info && info->model))
    return info ? ig_fail(IG_ERR_USAGE, "%s does not say which model it is of: add model=NAME (names: ingot help)",
                          info->path)
                : ig_fail(IG_ERR_USAGE, "model= is missing (names: ingot help)");
  if (!info || !info->config) {
    const ig_status status = find_preset(name ? name : info->model, info, text, model);
    return status == IG_OK || name ? status : ig_fail_prefix(status, "%s: metadata ingot.model", info->path);
  }
  IG_TRY(parse(info->config, strlen(info->config), info->path, text, model));
  const ig_model *preset;
  if (ig_model_find(info->model, &preset) == IG_OK)
    text->bert.model.name = preset->name;
  else
    ig_error_clear();
  return IG_OK;
}

ig_text_head ig_head_of_weights(const ig_weights_info *info) {
  const ig_task task = info->task ? ig_task_from_text(info->task) : IG_TASK_AUTO;
  if (task == IG_TASK_TAG || (info->has_classifier && info->tags))
    return IG_TEXT_TOKEN;
  if (info->has_classifier)
    return IG_TEXT_SEQUENCE;
  return info->has_words ? IG_TEXT_PRETRAIN : info->has_pooler ? IG_TEXT_POOLED : IG_TEXT_MEAN;
}

const char *ig_architecture(ig_text_head head, bool nsp) {
  return head == IG_TEXT_SEQUENCE   ? "BertForSequenceClassification"
         : head == IG_TEXT_TOKEN    ? "BertForTokenClassification"
         : head != IG_TEXT_PRETRAIN ? "BertModel"
         : nsp                      ? "BertForPreTraining"
                                    : "BertForMaskedLM";
}

const char *ig_problem_type(ig_task task) {
  return task == IG_TASK_REGRESS      ? "regression"
         : task == IG_TASK_MULTILABEL ? "multi_label_classification"
         : task == IG_TASK_CLASSIFY   ? "single_label_classification"
                                      : NULL;
}

// *out: where the tokenizer is read from; NULL where nothing names one.
static ig_status find_tokenizer(ig_call_state *c, const ig_weights_info *info, const ig_text_model *text,
                                const char *run, const char **out) {
  *out = ig_config_str(c->config, "tokenizer");
  if (*out && **out) {
    IG_TRY(ig_absolute_key(c, "tokenizer"));
    *out = ig_config_str(c->config, "tokenizer");
    return IG_OK;
  }
  static const char *const files[] = {"tokenizer.json", "vocab.txt"};
  const char *folders[] = {text->folder, info ? info->folder : NULL, run};
  for (size_t i = 0; i < 2; i++)
    for (size_t k = 0; k < 3; k++) {
      char *path;
      if (!folders[k])
        continue;
      IG_TRY(ig_path_join(&path, folders[k], files[i]));
      const bool there = ig_path_exists(path);
      ig_free(path);
      *out = folders[k];
      if (there)
        return IG_OK;
    }
  *out = NULL;
  return IG_OK;
}

static ig_status no_tokenizer(const ig_text_model *text) {
  return ig_fail(IG_ERR_USAGE,
                 "model=%s reads text and needs tokenizer=PATH (vocab.txt, tokenizer.json or a model's folder; ingot "
                 "tokenizer train makes one)",
                 text->bert.model.name);
}

static ig_status text_bytes(const ig_path_list *files, int64_t *bytes) {
  *bytes = 0;
  for (size_t i = 0; i < files->n; i++) {
    struct stat st;
    if (ig_fileops_get()->stat(files->paths[i], &st) != 0)
      return ig_fail(IG_ERR_IO, "%s: cannot be read: %s", files->paths[i], strerror(errno));
    *bytes += st.st_size;
  }
  return IG_OK;
}

// task=mlm without a tokenizer: one is learned from the texts themselves; the run folder keeps it.
static ig_status learn_tokenizer(ig_call_state *c, ig_text_model *text) {
  const ig_config *k = c->config;
  const char *data = ig_config_str(k, "data");
  ig_path_list files = {0};
  ig_tokenizer_info info;
  ig_status status = IG_OK;
  int64_t size = ig_config_int(k, "vocabulary"), bytes;
  IG_TRY(ig_want_key(c, "data"));
  if (!ig_path_exists(data))
    return ig_fail(IG_ERR_NOT_FOUND, "data=%s: there is no such file or folder", data);
  status = ig_path_list_texts(data, &files);
  if (status == IG_ERR_NOT_FOUND)  // shards of tokens, say
    status = no_tokenizer(text);
  IG_GOTO(status);
  for (size_t i = 0; i < files.n; i++)
    IG_GOTO(ig_table_refuse_as_text(files.paths[i]));
  IG_GOTO(text_bytes(&files, &bytes));
  if (!ig_config_has_value(k, "vocabulary"))
    size = bytes / BYTES_A_TOKEN < LEAST_VOCABULARY  ? LEAST_VOCABULARY
           : bytes / BYTES_A_TOKEN > MOST_VOCABULARY ? MOST_VOCABULARY
                                                     : bytes / BYTES_A_TOKEN;
  IG_GOTO(ig_tokenizer_train(&(ig_tokenizer_train_options){.size = sizeof(ig_tokenizer_train_options),
                                                           .files = (const char *const *)files.paths,
                                                           .n_files = files.n,
                                                           .vocabulary = (int)size,
                                                           .lowercase = true,
                                                           .min_frequency = MIN_FREQUENCY,
                                                           .limit_alphabet = ALPHABET,
                                                           .threads = ig_thread_count(c)},
                             &text->tokenizer));
  ig_tokenizer_get_info(text->tokenizer, &info);
  ig_note(c,
          "no tokenizer= was given: a vocabulary of %d lower-case tokens was learned from %s; the run folder keeps it",
          info.vocabulary, data);
done:
  ig_path_list_fini(&files);
  return status;
}

static ig_status choose_length(ig_call_state *c, const ig_weights_info *info, ig_text_model *text) {
  ig_tokenizer_info t;
  ig_tokenizer_get_info(text->tokenizer, &t);
  const bool pretrain = ig_config_known(c->config, "task") && ig_config_is(c->config, "task", "mlm");
  const int most = text->bert.spec.positions, usual = pretrain && most > 128 ? 128 : most;
  int length = ig_config_is_set(c->config, "max_length") ? (int)ig_config_int(c->config, "max_length") : 0;
  if (length > most)
    return ig_fail(IG_ERR_USAGE, "max_length=%d: model=%s has %d positions", length, text->bert.model.name, most);
  if (length < 1)
    length = info && info->max_length > 0 && !pretrain  ? info->max_length
             : t.max_length > 0 && t.max_length < usual ? t.max_length
                                                        : usual;
  text->max_length = length < most ? length : most;
  return IG_OK;
}

ig_status ig_open_tokenizer_file(ig_call_state *c, const char *path, ig_tokenizer **out) {
  ig_tokenizer_info info;
  IG_TRY(ig_tokenizer_open(path, out));
  ig_tokenizer_get_info(*out, &info);
  if (info.warning)
    ig_note_text(c, info.warning);
  return IG_OK;
}

ig_status ig_open_tokenizer(ig_call_state *c, const ig_weights_info *info, const char *run, ig_text_model *text) {
  const char *path;
  ig_tokenizer_info t;
  ig_bert_spec *spec = &text->bert.spec;
  const bool fresh = !text->folder && !(info && info->vocabulary > 0);
  const bool may_learn = ig_config_known(c->config, "vocabulary") && ig_config_is(c->config, "task", "mlm");
  IG_TRY(find_tokenizer(c, info, text, run, &path));
  if (path && path != run && may_learn && ig_config_has_value(c->config, "vocabulary"))
    return ig_fail(IG_ERR_USAGE, "vocabulary=%s: the tokenizer of %s is taken as it is; leave one of the two out",
                   ig_config_str(c->config, "vocabulary"), path);
  if (!path && !(fresh && may_learn))
    return no_tokenizer(text);
  IG_TRY(path ? ig_open_tokenizer_file(c, path, &text->tokenizer) : learn_tokenizer(c, text));
  ig_tokenizer_get_info(text->tokenizer, &t);
  if (fresh)
    spec->vocabulary = (t.vocabulary + VOCABULARY_MULTIPLE - 1) / VOCABULARY_MULTIPLE * VOCABULARY_MULTIPLE;
  if (t.vocabulary > spec->vocabulary)
    return ig_fail(IG_ERR_MISMATCH, "tokenizer %s has %d tokens, model=%s only %lld: it is another model's", path,
                   t.vocabulary, text->bert.model.name, (long long)spec->vocabulary);
  if (info && info->vocabulary - t.vocabulary >= MOST_PADDING)
    return ig_fail(IG_ERR_MISMATCH, "tokenizer %s has %d tokens, the weights %s know %lld: it is another model's", path,
                   t.vocabulary, info->path, (long long)info->vocabulary);
  if (t.cls < 0 || t.sep < 0 || t.pad < 0)
    return ig_fail(IG_ERR_MISMATCH, "tokenizer %s lacks one of [CLS], [SEP] and [PAD]", path);
  spec->pad = t.pad;
  return choose_length(c, info, text);
}

void ig_text_model_fini(ig_text_model *text) {
  ig_tokenizer_close(text->tokenizer);
  ig_free(text->folder);
  *text = (ig_text_model){0};
}
