// Options of session, data set and weights in use from keys. Rule: see options.h.
#include "bindings/c/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernels/kernels.h"
#include "runtime/base/cpu.h"
#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/base/text.h"
#include "runtime/graph/plan.h"

enum { MAX_PATH = 4096, EVAL_BATCH = 32 };

ig_status ig_absolute_key(ig_call_state *c, const char *name) {
  const char *path = ig_config_str(c->config, name);
  if (!path || !*path || *path == '/')
    return IG_OK;
  char here[MAX_PATH], *real = realpath(path, NULL), *text = NULL;
  ig_status status = IG_OK;
  if (real)
    status = ig_config_set(c->config, name, real, ig_config_source_of(c->config, name), "made absolute");
  else if (getcwd(here, sizeof here) && (status = ig_asprintf(&text, "%s/%s", here, path)) == IG_OK)
    status = ig_config_set(c->config, name, text, ig_config_source_of(c->config, name), "made absolute");
  free(real);
  ig_free(text);
  return status;
}

int ig_thread_count(const ig_call_state *c) {
  int threads = (int)ig_config_int(c->config, "threads");
  return threads > 0 ? threads : ig_cpu_threads();
}

ig_recompute ig_recompute_key(const ig_config *c) {
  return ig_config_is(c, "recompute", "auto") ? IG_RECOMPUTE_AUTO
         : ig_config_is(c, "recompute", "1")  ? IG_RECOMPUTE_ON
                                              : IG_RECOMPUTE_OFF;
}

// Whether some row that `op` names (NULL or "*": any) has an implementation that `asked` means.
static bool has_impl(const char *op, const char *asked, bool *op_exists) {
  for (const ig_op *const *const *list = ig_op_lists; *list; list++)
    for (const ig_op *const *row = *list; *row; row++) {
      if (op && strcmp(op, "*") && strcmp(op, (*row)->name))
        continue;
      *op_exists = true;
      for (int kind = 0; kind < IG_N_DEVICE_KINDS; kind++)
        for (int i = 0; i < IG_MAX_IMPLS && (*row)->impls[kind][i]; i++)
          if (ig_impl_is_meant((*row)->impls[kind][i], asked))
            return true;
    }
  return false;
}

// impl= of one name that nobody has would change nothing, and nobody would see it.
ig_status ig_check_impl_key(const ig_config *k) {
  char *copy, *rest = NULL;
  const char *text = ig_config_str(k, "impl");
  ig_status status = IG_OK;
  IG_TRY(ig_strdup(text ? text : "", &copy));
  for (char *item = strtok_r(copy, ",", &rest); item; item = strtok_r(NULL, ",", &rest)) {
    char *equals = strchr(item, '='), q[IG_QUOTE_BYTES];
    const char *op = equals ? item : NULL, *asked = equals ? equals + 1 : item;
    bool op_exists = false;
    if (equals)
      *equals = 0;
    if (has_impl(op, asked, &op_exists) || (op_exists && !strcmp(asked, "auto")))
      continue;
    status =
        op_exists
            ? ig_fail(IG_ERR_USAGE,
                      "impl=%s: %s such an implementation; ingot bench kernels list=1 names what there is",
                      ig_quote(q, asked), op && strcmp(op, "*") ? "that operation does not have" : "no operation has")
            : ig_fail(IG_ERR_USAGE, "impl: no operation is called %s; ingot bench kernels list=1 names what there is",
                      ig_quote(q, op));
    break;
  }
  ig_free(copy);
  return status;
}

ig_status ig_session_keys(ig_call_state *c, ig_session_options *out, char **cache_dir) {
  const ig_config *k = c->config;
  *out = (ig_session_options){.size = sizeof *out,
                              .device = ig_config_str(k, "device"),
                              .precision = ig_config_str(k, "precision"),
                              .threads = ig_thread_count(c),
                              .winograd = ig_config_bool(k, "winograd"),
                              .deterministic = ig_config_bool(k, "deterministic"),
                              .force = ig_config_str(k, "impl"),
                              .seed = (uint64_t)ig_config_int(k, "seed"),
                              .zero_init_residual = true};
  IG_TRY(ig_isa_parse(ig_config_str(k, "isa"), &out->isa));
  IG_TRY(ig_cache_folder(cache_dir));
  out->cache_dir = *cache_dir;
  return IG_OK;
}

ig_status ig_absolute_data_keys(ig_call_state *c) {
  IG_TRY(ig_absolute_key(c, "data"));
  IG_TRY(ig_absolute_key(c, "val"));
  const char *split = ig_config_str(c->config, "split");
  char *end = NULL;
  return split && (strtod(split, &end), *end) ? ig_absolute_key(c, "split") : IG_OK;
}

ig_status ig_absolute_model_keys(ig_call_state *c) {
  const ig_config *k = c->config;
  const char *model = ig_config_str(k, "model");
  if (model && ig_path_is_dir(model)) {
    IG_TRY(ig_absolute_key(c, "model"));
    if (!ig_config_has_value(k, "weights"))
      IG_TRY(ig_config_set(c->config, "weights", ig_config_str(k, "model"), IG_FROM_PRESET, "of the model's folder"));
  }
  if (ig_config_is(k, "weights", "none"))
    IG_TRY(ig_config_set(c->config, "weights", "", ig_config_source_of(k, "weights"), "weights=none"));
  IG_TRY(ig_absolute_key(c, "tokenizer"));
  return ig_absolute_key(c, "weights");
}

ig_status ig_dataset_keys(ig_call_state *c, ig_dataset_options *out) {
  const ig_config *k = c->config;
  IG_TRY(ig_want_key(c, "data"));
  IG_TRY(ig_absolute_data_keys(c));
  size_t n_columns = 0;
  const char *const *columns =
      ig_config_known(k, "label_column") ? ig_config_list(k, "label_column", &n_columns) : NULL;
  *out = (ig_dataset_options){
      .size = sizeof *out,
      .data = ig_config_str(k, "data"),
      .val = ig_config_str(k, "val"),
      .split = ig_config_str(k, "split"),
      .task = ig_config_known(k, "task") && ig_config_has_value(k, "task") ? ig_task_from_text(ig_config_str(k, "task"))
                                                                           : IG_TASK_AUTO,
      .columns = columns,
      .n_columns = n_columns,
      .text_column = ig_config_known(k, "text_column") ? ig_config_str(k, "text_column") : NULL,
      .text2_column = ig_config_known(k, "text2_column") ? ig_config_str(k, "text2_column") : NULL,
      .seed = (uint64_t)ig_config_int(k, "seed"),
      .needs_labels = true,
      .strict = ig_config_known(k, "strict") && ig_config_bool(k, "strict"),
      .warn = ig_note_text,
      .warn_user = c};
  return IG_OK;
}

// Names of the classes, or their numbers.
static ig_status name_classes(ig_use *use, const ig_model *model) {
  if (use->info.n_classes < 1)
    return ig_fail(IG_ERR_MISMATCH, "%s: the file neither lists its classes nor has the classifier of model=%s (%s...)",
                   use->info.path, model->name, model->head);
  IG_TRY(ig_alloc_array((size_t)use->info.n_classes, sizeof *use->names, "names of classes", &use->names));
  for (int i = 0; i < use->info.n_classes; i++)
    IG_TRY(use->info.classes ? ig_strdup(use->info.classes[i], &use->names[i]) : ig_asprintf(&use->names[i], "%d", i));
  return IG_OK;
}

// Task, outputs and their names, as the file says.
static ig_status set_head(ig_use *use, const char *path) {
  const ig_text_head head = use->model->build_text ? ig_head_of_weights(&use->info) : IG_TEXT_SEQUENCE;
  ig_task task = use->info.task             ? ig_task_from_text(use->info.task)
                 : head == IG_TEXT_TOKEN    ? IG_TASK_TAG
                 : head == IG_TEXT_PRETRAIN ? IG_TASK_MLM
                                            : IG_TASK_CLASSIFY;
  if (task == IG_TASK_AUTO)
    return ig_fail(IG_ERR_UNSUPPORTED,
                   "%s was trained for task=%s; this build knows classify, regress, multilabel, tag "
                   "and mlm",
                   path, use->info.task);
  if (task != IG_TASK_MLM)
    IG_TRY(name_classes(use, use->model));
  use->head = (ig_head){.task = task,
                        .n = use->info.n_classes,
                        .names = (const char *const *)use->names,
                        .loss = ig_task_loss(task),
                        .huber_delta = 1,
                        .mean = use->info.target_mean,
                        .std = use->info.target_std};
  if (use->info.loss && ig_task_check(task, use->info.loss, NULL) == IG_OK)
    use->head.loss = use->info.loss;
  return IG_OK;
}

ig_status ig_use_init(ig_call_state *c, ig_use *use) {
  const ig_config *k = c->config;
  memset(use, 0, sizeof *use);
  IG_TRY(ig_want_key(c, "weights"));
  const char *path = ig_config_str(k, "weights");
  IG_TRY(ig_weights_info_read(path, &use->info));
  IG_TRY(ig_find_model(ig_config_str(k, "model"), &use->info, &use->text, &use->model));
  if (use->model->build_text)
    IG_TRY(ig_open_tokenizer(c, &use->info, NULL, &use->text));
  use->embed = ig_config_known(k, "task") && ig_config_is(k, "task", "embed");
  if (use->embed && !use->model->build_text)
    return ig_fail(IG_ERR_USAGE, "task=embed: model=%s reads pictures, not texts", use->model->name);
  if (!use->embed)
    IG_TRY(set_head(use, path));
  use->image_size = ig_config_has_value(k, "image_size") ? (int)ig_config_int(k, "image_size")
                    : use->info.image_size > 0           ? use->info.image_size
                                                         : use->model->default_size;
  use->batch = ig_config_has_value(k, "batch") ? (int)ig_config_int(k, "batch") : EVAL_BATCH;
  use->crop_ratio = ig_config_has_value(k, "crop_ratio") ? ig_config_float(k, "crop_ratio")
                    : use->info.has_preprocessing        ? use->info.eval_crop_ratio
                    : use->model->default_size > 32      ? 0.875  // as the published weights were measured
                                                         : 0;
  memcpy(use->mean, use->info.has_preprocessing ? use->info.mean : use->model->mean, sizeof use->mean);
  memcpy(use->std, use->info.has_preprocessing ? use->info.std : use->model->std, sizeof use->std);
  return ig_refuse_misfits(c, use->model, use->embed ? IG_TASK_CLASSIFY : use->head.task);
}

ig_status ig_use_session(ig_call_state *c, ig_use *use) {
  ig_session_options options;
  ig_free(use->cache_dir);
  use->cache_dir = NULL;
  IG_TRY(ig_check_impl_key(c->config));
  IG_TRY(ig_session_keys(c, &options, &use->cache_dir));
  options.model = use->model;
  options.classes = use->info.n_classes;
  if (use->embed) {
    IG_TRY(ig_choose_pooling(c, use->info.folder, &options.text_head));
    IG_TRY(ig_choose_embed_length(c, use->info.folder, &use->text));
  } else
    options.text_head = ig_head_of_weights(&use->info);
  options.nsp = use->info.has_pairs;
  if (use->embed)
    options.classes = use->text.bert.spec.width;
  IG_TRY(ig_session_create(&options, &use->session));
  return ig_session_load(use->session, ig_config_str(c->config, "weights"), use->model,
                         &(ig_weights_options){.size = sizeof(ig_weights_options),
                                               .ema = ig_config_bool(c->config, "ema"),
                                               .warn = use->embed ? NULL : ig_note_text,  // heads go unused
                                               .warn_user = c},
                         &(ig_weights_report){0});
}

void ig_use_fini(ig_use *use) {
  ig_session_destroy(use->session);
  for (int i = 0; use->names && i < use->info.n_classes; i++)
    ig_free(use->names[i]);
  ig_free(use->names);
  ig_free(use->corpora);
  ig_free(use->cache_dir);
  ig_weights_info_fini(&use->info);
  ig_text_model_fini(&use->text);
}
