// convert: weights of any file under public names. Rule: every tensor is accounted for in the answer; what OUT becomes
// is decided by its name, and nothing that is there is overwritten but a .safetensors file.
#include <stdlib.h>
#include <string.h>

#include "bindings/c/options.h"
#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/ckpt/checkpoint.h"
#include "runtime/ckpt/safetensors.h"

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

// The tokenizer where there is one, and how texts are cut: as max_length= says, else as the weights, else as the
// tokenizer.
static ig_status find_tokenizer(ig_call_state *c, ig_use *use) {
  ig_weights_info *info = &use->info;
  const int positions = use->text.bert.spec.positions;
  if (ig_config_is_set(c->config, "max_length"))
    info->max_length = (int)ig_config_int(c->config, "max_length");
  if (info->max_length > positions && ig_config_is_set(c->config, "max_length"))
    return ig_fail(IG_ERR_USAGE, "max_length=%d: model=%s has %d positions", info->max_length, use->model->name,
                   positions);
  const ig_status status = ig_open_tokenizer(c, info, NULL, &use->text);
  if (status != IG_OK && ig_config_has_value(c->config, "tokenizer"))
    return status;
  if (status != IG_OK) {
    ig_note(c, "no tokenizer is written: %s", ig_error_message());
    ig_tokenizer_close(use->text.tokenizer);  // one that was read, but is another model's
    use->text.tokenizer = NULL;
  }
  info->max_length = status == IG_OK                                        ? use->text.max_length
                     : info->max_length > 0 && info->max_length < positions ? info->max_length
                                                                            : positions;
  return IG_OK;
}

// The configuration as it is written, and the tokenizer.
static ig_status complete_text(ig_call_state *c, ig_text_head head, ig_use *use) {
  ig_weights_info *info = &use->info;
  ig_status status = IG_OK;
  json_t *labels = NULL, *config = NULL;
  char *text = NULL;
  if (!info->task && head != IG_TEXT_POOLED && head != IG_TEXT_MEAN)
    IG_GOTO(ig_strdup(head == IG_TEXT_PRETRAIN ? "mlm" : head == IG_TEXT_TOKEN ? "tag" : "classify", &info->task));
  IG_GOTO(find_tokenizer(c, use));
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
  status = ig_strdup(text, &info->config);
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

// OUT is not what IN reads (what the model does not use would be gone, and a regress head is scaled), nor a run's own
// weights, nor a file that somebody keeps under such a name.
static ig_status may_replace(const char *in, const char *out) {
  const ig_fileops *ops = ig_fileops_get();
  struct stat a, b;
  char *inner = NULL, *folder = NULL, q[IG_QUOTE_BYTES];
  ig_st *st = NULL;
  bool is_run = false;
  if (ops->stat(out, &a) != 0)
    return IG_OK;
  const int n = (int)(ig_path_name(out) - out);
  IG_TRY(ig_path_join(&inner, in, "model.safetensors"));
  const bool same = ops->stat(ig_path_is_dir(in) ? inner : in, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
  ig_free(inner);
  if (same)
    return ig_fail(IG_ERR_USAGE, "%s is the file that this command reads; name another one", ig_shown(q, out));
  IG_TRY(n ? ig_asprintf(&folder, "%.*s", n, out) : ig_strdup(".", &folder));
  ig_status status = ig_path_holds(folder, "args.yaml", &is_run);
  ig_free(folder);
  IG_TRY(status);
  if (is_run && !strcmp(ig_path_name(out), "model.safetensors"))
    return ig_fail(IG_ERR_USAGE, "%s is a file of that run; name another one", ig_shown(q, out));
  if (S_ISDIR(a.st_mode) || (S_ISREG(a.st_mode) && a.st_size == 0))
    return IG_OK;  // a folder has a message of its own
  status = ig_st_open(out, &st);
  ig_st_close(st);
  return status == IG_OK || status == IG_ERR_MEMORY
             ? status
             : ig_fail(IG_ERR_USAGE,
                       "%s is there already and is no .safetensors file that can be read; name another file, or remove "
                       "it",
                       ig_shown(q, out));
}

// FILE.safetensors; a checkpoint FOLDER/step-N; else a new folder that holds model.safetensors, as a run's does.
typedef enum kind { OUT_FILE, OUT_CHECKPOINT, OUT_FOLDER } kind;

// A checkpoint of weights alone, beside a run's own and newer than they, would be where the run cannot go on from.
static ig_status refuse_run(const char *out) {
  char *above = NULL, q[IG_QUOTE_BYTES];
  bool is_run = false;
  IG_TRY(ig_asprintf(&above, "%.*s..", (int)(ig_path_name(out) - out), out));
  const ig_status status = ig_path_holds(above, "args.yaml", &is_run);
  ig_free(above);
  IG_TRY(status);
  return is_run ? ig_fail(IG_ERR_USAGE,
                          "%s would be among a run's own checkpoints, which hold what the run goes on with; name "
                          "another folder",
                          ig_shown(q, out))
                : IG_OK;
}

// slash: OUT ended in one, which a file's name does not.
static ig_status kind_of(const char *in, const char *out, bool slash, kind *what) {
  const char *name = ig_path_name(out), *ending = strrchr(name, '.');
  const bool dots = !strcmp(name, ".") || !strcmp(name, ".."), weights = ending && !strcmp(ending, ".safetensors");
  char q[IG_QUOTE_BYTES];
  *what = weights ? OUT_FILE : !strncmp(name, "step-", 5) ? OUT_CHECKPOINT : !ending || dots ? OUT_FOLDER : OUT_FILE;
  if (*what == OUT_FILE && (!weights || slash))
    return ig_fail(IG_ERR_USAGE,
                   "convert writes FILE.safetensors, a checkpoint FOLDER/step-N or a folder; %s%s has another ending",
                   ig_shown(q, out), slash ? "/" : "");
  if (*what == OUT_CHECKPOINT && ig_step_of_name(name, "") < 0)
    return ig_fail(IG_ERR_USAGE, "%s: a checkpoint's folder is called step-N, N without a zero before it",
                   ig_shown(q, out));
  if (*what == OUT_CHECKPOINT)
    IG_TRY(refuse_run(out));
  if (*what != OUT_FILE)
    return ig_path_exists(out) ? ig_fail(IG_ERR_USAGE, "%s is there already: name a new folder", ig_shown(q, out))
                               : ig_want_folder("", out);
  IG_TRY(may_replace(in, out));
  return ig_file_check_writable(out) == IG_OK ? IG_OK
                                              : ig_fail_prefix(IG_ERR_USAGE, "%s cannot be written", ig_shown(q, out));
}

// IN and OUT as they are named, OUT without slashes at its end (ig_free).
static ig_status find_out(const ig_call_state *c, char **out, kind *what) {
  const char *in = ig_config_path(c->config, 0), *asked = ig_config_path(c->config, 1);
  if (!*in || !*asked)
    return ig_fail(IG_ERR_USAGE, "convert: %s is empty; usage: %s", *in ? "OUT" : "IN", ig_verb_usage[IG_VERB_CONVERT]);
  size_t n = strlen(asked);
  while (n > 1 && asked[n - 1] == '/')
    n--;
  IG_TRY(ig_asprintf(out, "%.*s", (int)n, asked));
  return kind_of(in, *out, asked[n], what);
}

// A new folder, whole or not at all.
static ig_status write_folder(ig_call_state *c, const char *out, const ig_use *use) {
  const ig_params *params = &use->session->params;
  const float *const *buffers = (const float *const *)use->session->buffers;
  char *file = NULL, *message = NULL;
  ig_status status = IG_OK;
  IG_TRY(ig_make_dirs(out));
  IG_GOTO(ig_path_join(&file, out, "model.safetensors"));
  IG_GOTO(ig_weights_save(file, params, buffers, &use->info, use->info.step));
  if (use->info.config) {
    ig_free(file);
    IG_GOTO(ig_path_join(&file, out, "config.json"));
    IG_GOTO(ig_file_write_atomic(file, use->info.config, strlen(use->info.config)));
  }
  if (use->text.tokenizer)
    IG_GOTO(ig_tokenizer_write(use->text.tokenizer, out, use->info.max_length));
  if (use->model->build_text)
    IG_GOTO(ig_copy_pooling(c, use->info.folder, out));
done:
  ig_free(file);
  if (status != IG_OK && ig_strdup(ig_error_message(), &message) == IG_OK) {
    (void)!ig_remove_tree(out);
    ig_fail(status, "%s", message);
  }
  ig_free(message);
  return status;
}

static ig_status write_weights(ig_call_state *c, const char *out, kind what, const ig_use *use) {
  const ig_params *params = &use->session->params;
  const float *const *buffers = (const float *const *)use->session->buffers;
  if (what == OUT_FOLDER)
    return write_folder(c, out, use);
  if (use->model->build_text)
    IG_TRY(ig_copy_pooling(c, use->info.folder, NULL));
  return what == OUT_CHECKPOINT ? ig_weights_save_checkpoint(out, params, buffers, &use->info)
                                : ig_weights_save(out, params, buffers, &use->info, use->info.step);
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
  char *out = NULL;
  IG_GOTO(ig_want_paths(c, 2, 2));
  const char *in = ig_config_path(c->config, 0);
  IG_GOTO(find_out(c, &out, &what));
  IG_GOTO(read_weights(c, in, &use, &report, &a));
  IG_GOTO(write_weights(c, out, what, &use));
  result = json_pack("{s:o, s:o, s:s, s:i, s:i, s:i, s:O, s:O, s:O}", "in", ig_json_text(in), "out",
                     ig_json_text(ig_config_path(c->config, 1)), "model", use.model->name, "classes",
                     use.info.n_classes, "mapped", report.loaded, "converted", report.converted, "renamed", a.renamed,
                     "missing", a.missing, "extra", a.extra);
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
  ig_free(out);
  ig_use_fini(&use);
  return status;
}
