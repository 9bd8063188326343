// Writing weights with what they say of themselves: .safetensors and checkpoints. Rule: what is written
// here is what weights_info.c reads.
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/train/weights.h"
#include "runtime/train/weights_source.h"

enum { MAX_PAIRS = 8 };

typedef struct pairs {
  ig_st_pair items[MAX_PAIRS];
  size_t n;
  char *classes, *targets, *preprocessing, *text;  // free
  char step[24];
} pairs;

static void add_pair(pairs *p, const char *key, const char *value) {
  if (value)
    p->items[p->n++] = (ig_st_pair){key, value};
}

// Takes j.
static ig_status dump(json_t *j, char **out) {
  *out = j ? json_dumps(j, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
  json_decref(j);
  return *out ? IG_OK : ig_fail(IG_ERR_USAGE, "metadata of weights: a text that is not UTF-8, or no memory");
}

static ig_status make_pairs(const ig_weights_info *info, pairs *p) {
  memset(p, 0, sizeof *p);
  add_pair(p, "ingot.model", info->model);
  add_pair(p, "ingot.task", info->task);
  if (info->classes && info->n_classes > 0) {
    json_t *list = json_array();
    for (int i = 0; i < info->n_classes; i++)
      if (json_array_append_new(list, json_string(info->classes[i]))) {
        json_decref(list);
        return ig_fail(IG_ERR_USAGE, "metadata of weights: the name of class %d is not UTF-8", i);
      }
    IG_TRY(dump(list, &p->classes));
    add_pair(p, "ingot.classes", p->classes);
  }
  if (info->target_mean && info->target_std) {
    json_t *mean = json_array(), *std = json_array();
    for (int i = 0; i < info->n_classes; i++) {
      json_array_append_new(mean, json_real((double)info->target_mean[i]));
      json_array_append_new(std, json_real((double)info->target_std[i]));
    }
    IG_TRY(dump(json_pack("{s:s, s:o, s:o}", "loss", info->loss ? info->loss : "mse", "mean", mean, "std", std),
                &p->targets));
    add_pair(p, "ingot.targets", p->targets);
  }
  if (info->has_preprocessing) {
    IG_TRY(
        dump(json_pack("{s:i, s:f, s:[f,f,f], s:[f,f,f]}", "image_size", info->image_size, "eval_crop_ratio",
                       info->eval_crop_ratio, "mean", (double)info->mean[0], (double)info->mean[1],
                       (double)info->mean[2], "std", (double)info->std[0], (double)info->std[1], (double)info->std[2]),
             &p->preprocessing));
    add_pair(p, "ingot.preprocessing", p->preprocessing);
  }
  if (info->config) {
    add_pair(p, "ingot.config", info->config);
    IG_TRY(dump(json_pack("{s:i, s:o*, s:s*}", "max_length", info->max_length, "pair",
                          info->says_pair ? json_boolean(info->pair) : NULL, "pairs", info->pairs),
                &p->text));
    add_pair(p, "ingot.text", p->text);
  }
  snprintf(p->step, sizeof p->step, "%lld", (long long)info->step);
  add_pair(p, "ingot.step", p->step);
  return IG_OK;
}

static void free_pairs(pairs *p) {
  free(p->classes);
  free(p->targets);
  free(p->preprocessing);
  free(p->text);
}

ig_status ig_weights_info_json(const ig_weights_info *info, char **out) {
  pairs p;
  char *text = NULL;
  ig_status status = make_pairs(info, &p);
  json_t *j = json_object();
  *out = NULL;
  for (size_t i = 0; i < p.n && status == IG_OK; i++)
    if (json_object_set_new(j, p.items[i].key, json_string(p.items[i].value)))
      status = ig_fail(IG_ERR_USAGE, "metadata of weights: %s is not UTF-8", p.items[i].key);
  if (status == IG_OK)
    status = dump(json_incref(j), &text);
  if (status == IG_OK)
    status = ig_strdup(text, out);
  free(text);
  json_decref(j);
  free_pairs(&p);
  return status;
}

static bool has_decoder(const ig_params *params) {
  for (size_t i = 0; i < params->n; i++)
    if (!strcmp(params->items[i]->name, "cls.predictions.decoder.weight"))
      return true;
  return false;
}

ig_status ig_weights_save(const char *path, const ig_params *params, const float *const buffers[IG_N_PARAM_KINDS],
                          const ig_weights_info *info, int64_t batches_tracked) {
  static const char mean[] = ".running_mean";
  ig_st_source *rows = NULL;
  char **counters = NULL;
  pairs p = {0};
  size_t n = 0, n_counters = 0;
  ig_status status = IG_OK;
  if (info)
    IG_GOTO(make_pairs(info, &p));
  IG_GOTO(ig_alloc_array(2 * params->n, sizeof *rows, "table of weights", &rows));
  IG_GOTO(ig_alloc_array(params->n, sizeof *counters, "table of weights", &counters));
  for (size_t i = 0; i < params->n; i++) {
    const ig_param *q = params->items[i];
    rows[n++] = (ig_st_source){.name = q->name,
                               .dtype = IG_F32,
                               .n_dims = q->shape.n,
                               .dims = q->shape.d,
                               .data = buffers[q->kind] + q->offset};
    if (!strcmp(q->name, "cls.predictions.bias") && has_decoder(params)) {  // under both of its names
      rows[n] = rows[n - 1];
      rows[n++].name = "cls.predictions.decoder.bias";
    }
    const size_t length = strlen(q->name), tail = sizeof mean - 1;
    if (length < tail || strcmp(q->name + length - tail, mean))
      continue;
    IG_GOTO(ig_asprintf(&counters[n_counters], "%.*s.num_batches_tracked", (int)(length - tail), q->name));
    rows[n++] = (ig_st_source){.name = counters[n_counters++], .dtype = IG_I64, .data = &batches_tracked};
  }
  IG_GOTO(ig_st_write(path, rows, n, p.items, p.n));
done:
  for (size_t i = 0; i < n_counters; i++)
    ig_free(counters[i]);
  ig_free(counters);
  ig_free(rows);
  free_pairs(&p);
  return status;
}

ig_status ig_weights_save_checkpoint(const char *step_folder, const ig_params *params,
                                     const float *const buffers[IG_N_PARAM_KINDS], const ig_weights_info *info) {
  ig_ckpt_tensor *rows = NULL;
  char *folder = NULL, *text = NULL, *state_json = NULL, *slash;
  json_t *state = NULL;
  ig_status status = IG_OK;
  IG_GOTO(ig_asprintf(&folder, "./%s", step_folder));
  if (*step_folder == '/')
    memmove(folder, folder + 2, strlen(folder) - 1);
  slash = strrchr(folder, '/');
  const int64_t step = ig_step_of_name(slash + 1, "");
  if (step < 0)
    IG_GOTO(ig_fail(IG_ERR_USAGE, "%s: a checkpoint's folder is called step-N", step_folder));
  if (ig_path_exists(step_folder))
    IG_GOTO(ig_fail(IG_ERR_USAGE, "%s is there already: name another step", step_folder));
  *slash = 0;
  IG_GOTO(ig_alloc_array(params->n, sizeof *rows, "table of weights", &rows));
  for (size_t i = 0; i < params->n; i++) {
    const ig_param *p = params->items[i];
    rows[i] = (ig_ckpt_tensor){.name = p->name,
                               .dtype = IG_F32,
                               .n_dims = p->shape.n,
                               .group = p->kind == IG_PARAM_STATE ? "state" : "weights",
                               .data = buffers[p->kind] + p->offset};
    memcpy(rows[i].dims, p->shape.d, sizeof *rows[i].dims * (size_t)p->shape.n);
  }
  IG_GOTO(ig_weights_info_json(info, &text));
  state = json_pack("{s:s?, s:o}", "model", info->model, "info", json_loads(text, 0, NULL));
  IG_GOTO(dump(json_incref(state), &state_json));
  IG_GOTO(ig_ckpt_save(&(ig_ckpt_save_options){.folder = *folder ? folder : "/",
                                               .step = step,
                                               .run_uuid = "",
                                               .config_hash = "",
                                               .state_json = state_json,
                                               .keep = INT_MAX,
                                               .protect = -1},
                       rows, params->n));
done:
  json_decref(state);
  free(state_json);
  ig_free(text);
  ig_free(folder);
  ig_free(rows);
  return status;
}
