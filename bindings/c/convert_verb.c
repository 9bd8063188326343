// convert: weights of any file under public names. Rule: every tensor is accounted for in the answer; what OUT becomes
// is decided by its name, and nothing that is there is overwritten but a .safetensors file.
#include <stdlib.h>
#include <string.h>

#include "bindings/c/options.h"
#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"

typedef struct account {
  json_t *renamed, *missing, *extra;
} account;

static void each(void *user, const char *in_file, const char *parameter) {
  account *a = user;
  if (!parameter)
    json_array_append_new(a->extra, ig_json_text(in_file));
  else if (!in_file)
    json_array_append_new(a->missing, json_string(parameter));
  else if (strcmp(in_file, parameter) != 0)
    json_array_append_new(a->renamed, json_pack("{s:o, s:s}", "from", ig_json_text(in_file), "to", parameter));
}

static float *numbers_of(const ig_session *s, const char *name) {
  for (size_t i = 0; i < s->params.n; i++)
    if (!strcmp(s->params.items[i]->name, name))
      return s->buffers[s->params.items[i]->kind] + s->params.items[i]->offset;
  return NULL;
}

// regress: mean + std (w x + b) is (std w) x + (mean + std b), so that other programs see the data's units too.
static void fold_scale(ig_use *use) {
  ig_weights_info *info = &use->info;
  float *weight = numbers_of(use->session, "classifier.weight"), *bias = numbers_of(use->session, "classifier.bias");
  const int width = use->text.bert.spec.width;
  if (!info->target_mean || !info->target_std || !weight || !bias)
    return;
  for (int i = 0; i < info->n_classes; i++) {
    for (int k = 0; k < width; k++)
      weight[(size_t)i * (size_t)width + (size_t)k] *= info->target_std[i];
    bias[i] = info->target_mean[i] + info->target_std[i] * bias[i];
  }
  ig_free(info->target_mean);
  ig_free(info->target_std);
  info->target_mean = info->target_std = NULL;
}

// The configuration as it is written, and the tokenizer where there is one.
static ig_status complete_text(ig_call_state *c, ig_text_head head, ig_use *use) {
  ig_weights_info *info = &use->info;
  ig_status status = IG_OK;
  json_t *labels = NULL, *config = NULL;
  char *text = NULL;
  if (!info->task && head != IG_TEXT_POOLED && head != IG_TEXT_MEAN)
    IG_GOTO(ig_strdup(head == IG_TEXT_PRETRAIN ? "mlm" : head == IG_TEXT_TOKEN ? "tag" : "classify", &info->task));
  if (info->max_length < 1)
    info->max_length = use->text.bert.spec.positions;
  if (info->classes) {
    labels = json_array();
    for (int i = 0; i < info->n_classes; i++)
      json_array_append_new(labels, ig_json_text(info->classes[i]));
  }
  config = ig_bert_config_json(&use->text.bert.spec, ig_architecture(head, info->has_pairs), labels,
                               ig_problem_type(info->task ? ig_task_from_text(info->task) : IG_TASK_AUTO));
  text = config ? json_dumps(config, JSON_INDENT(2) | JSON_REAL_PRECISION(15)) : NULL;
  if (!text)
    IG_GOTO(ig_no_json());
  ig_free(info->config);
  info->config = NULL;
  IG_GOTO(ig_strdup(text, &info->config));
  if (ig_open_tokenizer(c, info, NULL, &use->text) != IG_OK) {
    if (ig_config_has_value(c->config, "tokenizer"))
      status = IG_ERR_USAGE;  // as its message says
    else
      ig_note(c, "no tokenizer is written: %s", ig_error_message());
  }
done:
  free(text);
  json_decref(labels);
  json_decref(config);
  return status;
}

static ig_status read_weights(ig_call_state *c, const char *in, ig_use *use, ig_weights_report *report, account *a) {
  const char *model = ig_config_str(c->config, "model");
  IG_TRY(ig_weights_info_read(in, &use->info));
  IG_TRY(ig_find_model(model, &use->info, &use->text, &use->model));
  IG_TRY(ig_refuse_misfits(c, use->model, IG_TASK_CLASSIFY));
  const bool text = use->model->build_text;
  const ig_text_head head = text ? ig_head_of_weights(&use->info) : IG_TEXT_SEQUENCE;
  if (use->info.n_classes < 1 && (head == IG_TEXT_SEQUENCE || head == IG_TEXT_TOKEN))
    return ig_fail(IG_ERR_MISMATCH, "%s has no classifier of model=%s (%s...): is it another model's file?", in,
                   use->model->name, use->model->head);
  ig_session_options options = {.size = sizeof options,
                                .device = ig_config_str(c->config, "device"),
                                .precision = "fp32",
                                .threads = ig_thread_count(c),
                                .isa = IG_ISA_AMX,
                                .model = use->model,
                                .classes = use->info.n_classes,
                                .text_head = head,
                                .nsp = use->info.has_pairs};
  IG_TRY(ig_session_create(&options, &use->session));
  IG_TRY(ig_session_load(use->session, in, use->model,
                         &(ig_weights_options){.size = sizeof(ig_weights_options),
                                               .ema = ig_config_bool(c->config, "ema"),
                                               .warn = ig_note_text,
                                               .warn_user = c,
                                               .each = each,
                                               .each_user = a},
                         report));
  if (!use->info.model)
    IG_TRY(ig_strdup(use->model->name, &use->info.model));
  if (text) {
    fold_scale(use);
    return complete_text(c, head, use);
  }
  if (!use->info.task)
    IG_TRY(ig_strdup("classify", &use->info.task));
  if (!use->info.has_preprocessing) {
    memcpy(use->info.mean, use->model->mean, sizeof use->info.mean);
    memcpy(use->info.std, use->model->std, sizeof use->info.std);
    use->info.image_size = use->model->default_size;
    use->info.eval_crop_ratio = use->model->default_size > 32 ? 0.875 : 0;
    use->info.has_preprocessing = true;
  }
  return IG_OK;
}

// FILE.safetensors; a checkpoint FOLDER/step-N; else a new folder that holds model.safetensors, as a run's does.
typedef enum kind { OUT_FILE, OUT_CHECKPOINT, OUT_FOLDER } kind;

// OUT is not what IN reads: what the model does not use would be gone, and a regress head is scaled.
static ig_status want_other_file(const char *in, const char *out) {
  const ig_fileops *ops = ig_fileops_get();
  struct stat a, b;
  char *inner = NULL, q[IG_QUOTE_BYTES];
  IG_TRY(ig_path_join(&inner, in, "model.safetensors"));
  const bool same = ops->stat(out, &a) == 0 && ops->stat(ig_path_is_dir(in) ? inner : in, &b) == 0 &&
                    a.st_dev == b.st_dev && a.st_ino == b.st_ino;
  ig_free(inner);
  return same ? ig_fail(IG_ERR_USAGE, "%s is the file that this command reads; name another one", ig_shown(q, out))
              : IG_OK;
}

static ig_status kind_of(const char *in, const char *out, kind *what) {
  const char *name = ig_path_name(out), *ending = strrchr(name, '.');
  char q[IG_QUOTE_BYTES];
  if (!*in || !*out)
    return ig_fail(IG_ERR_USAGE, "convert: %s is empty; usage: %s", *in ? "OUT" : "IN", ig_verb_usage[IG_VERB_CONVERT]);
  *what = ending && strcmp(ending, ".safetensors") == 0         ? OUT_FILE
          : !strncmp(name, "step-", 5)                          ? OUT_CHECKPOINT
          : !ending || !*name || !strcmp(name, ".") || !name[1] ? OUT_FOLDER
                                                                : OUT_FILE;
  if (*what == OUT_FILE && strcmp(ending, ".safetensors") != 0)
    return ig_fail(IG_ERR_USAGE,
                   "convert writes FILE.safetensors, a checkpoint FOLDER/step-N or a folder; %s has another ending",
                   out);
  if (*what != OUT_FILE)
    return ig_path_exists(out) ? ig_fail(IG_ERR_USAGE, "%s is there already: name a new folder", out) : IG_OK;
  IG_TRY(want_other_file(in, out));
  return ig_file_check_writable(out) == IG_OK ? IG_OK
                                              : ig_fail_prefix(IG_ERR_USAGE, "%s cannot be written", ig_shown(q, out));
}

static ig_status write_weights(const char *out, kind what, const ig_use *use) {
  const ig_params *params = &use->session->params;
  const float *const *buffers = (const float *const *)use->session->buffers;
  char *file = NULL;
  ig_status status = IG_OK;
  if (what == OUT_CHECKPOINT)
    return ig_weights_save_checkpoint(out, params, buffers, &use->info);
  if (what == OUT_FILE)
    return ig_weights_save(out, params, buffers, &use->info, use->info.step);
  IG_GOTO(ig_make_dirs(out));
  IG_GOTO(ig_path_join(&file, out, "model.safetensors"));
  IG_GOTO(ig_weights_save(file, params, buffers, &use->info, use->info.step));
  if (use->info.config) {
    ig_free(file);
    IG_GOTO(ig_path_join(&file, out, "config.json"));
    IG_GOTO(ig_file_write_atomic(file, use->info.config, strlen(use->info.config)));
  }
  if (use->text.tokenizer)
    IG_GOTO(ig_tokenizer_write(use->text.tokenizer, out, use->info.max_length));
done:
  ig_free(file);
  return status;
}

enum { SHOWN = 12 };

// The answer for people: numbers, then what changed its name or was not used.
static ig_status describe(const json_t *result, const account *a, ig_text *out) {
  json_t *counts = json_copy((json_t *)result), *row;
  ig_status status = IG_OK;
  size_t i;
  static const char *const lists[] = {"renamed", "missing", "extra"};
  for (size_t k = 0; k < sizeof lists / sizeof *lists; k++)
    if (json_object_set_new(counts, lists[k],
                            json_integer((json_int_t)json_array_size(json_object_get(result, lists[k])))))
      IG_GOTO(ig_no_json());
  IG_GOTO(ig_json_table(counts, out));
  json_array_foreach(a->renamed, i, row) if (i < SHOWN)
      IG_GOTO(ig_text_addf(out, "%s%s -> %s\n", i ? "" : "\n", json_string_value(json_object_get(row, "from")),
                           json_string_value(json_object_get(row, "to"))));
  if (json_array_size(a->renamed) > SHOWN)
    IG_GOTO(ig_text_addf(out, "... and %zu more (--json names all)\n", json_array_size(a->renamed) - SHOWN));
  json_array_foreach(a->extra, i, row)
      IG_GOTO(ig_text_addf(out, "%s%s is not used\n", i ? "" : "\n", json_string_value(row)));
done:
  json_decref(counts);
  return status;
}

ig_status ig_verb_convert(ig_call_state *c) {
  ig_status status = IG_OK;
  ig_use use = {0};
  ig_weights_report report = {0};
  account a = {json_array(), json_array(), json_array()};
  json_t *result = NULL;
  ig_text table = {0};
  kind what = OUT_FOLDER;
  IG_GOTO(ig_want_paths(c, 2, 2));
  const char *in = ig_config_path(c->config, 0), *out = ig_config_path(c->config, 1);
  IG_GOTO(kind_of(in, out, &what));
  IG_GOTO(read_weights(c, in, &use, &report, &a));
  IG_GOTO(write_weights(out, what, &use));
  result = json_pack("{s:o, s:o, s:s, s:i, s:i, s:i, s:O, s:O, s:O}", "in", ig_json_text(in), "out", ig_json_text(out),
                     "model", use.model->name, "classes", use.info.n_classes, "mapped", report.loaded, "converted",
                     report.converted, "renamed", a.renamed, "missing", a.missing, "extra", a.extra);
  if (!result)
    IG_GOTO(ig_no_json());
  IG_GOTO(describe(result, &a, &table));
  status = ig_answer(c, result, table.data);
done:
  json_decref(result);
  json_decref(a.renamed);
  json_decref(a.missing);
  json_decref(a.extra);
  ig_free(table.data);
  ig_use_fini(&use);
  return status;
}
