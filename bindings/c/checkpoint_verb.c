// checkpoint list|verify|show RUN. Rule: reads only; what is damaged is named.
#include <stdio.h>
#include <string.h>

#include "bindings/c/call.h"
#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/ckpt/checkpoint.h"

// RUN/checkpoints, or RUN where that has none: it may be the folder of the checkpoints itself.
static ig_status checkpoints_folder(const char *run, char **out) {
  IG_TRY(ig_path_join(out, run, "checkpoints"));
  if (ig_path_is_dir(*out))
    return IG_OK;
  ig_free(*out);
  *out = NULL;
  if (!ig_path_is_dir(run))
    return ig_fail(IG_ERR_NOT_FOUND, "%s is no folder; a run folder is expected", run);
  return ig_strdup(run, out);
}

static ig_status list(ig_call_state *c, const char *run, bool deep) {
  ig_status status = IG_OK;
  char *folder = NULL;
  ig_ckpt_info *infos = NULL;
  json_t *object = NULL;
  size_t n = 0, damaged = 0;
  bool is_step;
  IG_GOTO(ig_path_holds(run, "MANIFEST", &is_step));
  if (is_step)
    IG_GOTO(ig_fail(IG_ERR_USAGE, "%s is a checkpoint; %s takes its run folder, RUN of RUN/checkpoints/step-N", run,
                    deep ? "verify" : "list"));
  IG_GOTO(checkpoints_folder(run, &folder));
  IG_GOTO(ig_ckpt_list(folder, deep, &infos, &n));
  if (!n)
    IG_GOTO(ig_fail(IG_ERR_NOT_FOUND, "%s holds no checkpoint (step-N)", folder));
  json_t *rows = json_array();
  for (size_t i = 0; i < n; i++) {
    damaged += !infos[i].valid;
    json_array_append_new(rows, json_pack("{s:I, s:b, s:I, s:o}", "step", (json_int_t)infos[i].step, "valid",
                                          (int)infos[i].valid, "bytes", (json_int_t)infos[i].bytes, "problem",
                                          infos[i].problem ? ig_json_text(infos[i].problem) : json_null()));
  }
  object = json_pack("{s:o, s:o}", "run", ig_json_text(run), "checkpoints", rows);
  IG_GOTO(ig_answer(c, object, NULL));
  if (deep && damaged)
    status = ig_fail(IG_ERR_FORMAT, "%s: %zu of %zu %s %s damaged; a resume passes over %s", folder, damaged, n,
                     ig_plural(n, "checkpoint", "checkpoints"), ig_plural(damaged, "is", "are"),
                     ig_plural(damaged, "it", "them"));
done:
  json_decref(object);
  ig_ckpt_list_free(infos, n);
  ig_free(folder);
  return status;
}

// For people: how far it is, what it is of, and the tensors; the configuration and the choices of kernels are in
// --json.
static ig_status describe(const json_t *object, ig_text *out) {
  static const char *const of_state[] = {"model", "updates", "position", "seconds", "last_loss", "total_steps"};
  json_t *head = json_copy((json_t *)object), *state = json_object_get(object, "state");
  if (!head)
    return ig_no_json();
  json_object_del(head, "state");
  json_object_del(head, "tensors");
  for (size_t i = 0; i < sizeof of_state / sizeof *of_state; i++)
    if (json_object_get(state, of_state[i]))
      json_object_set(head, of_state[i], json_object_get(state, of_state[i]));
  json_object_set(head, "tensors", json_object_get(object, "tensors"));
  ig_status status = ig_json_table(head, out);
  json_decref(head);
  return status;
}

static ig_status show(ig_call_state *c, const char *run) {
  ig_status status = IG_OK;
  ig_text table = {0};
  char *folder = NULL, *manifest = NULL;
  ig_ckpt_reader *reader = NULL;
  json_t *object = NULL;
  IG_GOTO(ig_path_join(&manifest, run, "MANIFEST"));
  if (ig_path_exists(manifest)) {
    IG_GOTO(ig_ckpt_open(run, &reader));
  } else {
    IG_GOTO(checkpoints_folder(run, &folder));
    IG_GOTO(ig_ckpt_open_latest(folder, &reader, ig_note_text, c));
  }
  json_t *rows = json_array();
  for (size_t i = 0; i < ig_ckpt_count(reader); i++) {
    const ig_ckpt_entry *e = ig_ckpt_get(reader, i);
    char shape[160] = "";
    for (int d = 0, at = 0; d < e->n_dims && at < 140; d++)
      at += snprintf(shape + at, sizeof shape - (size_t)at, "%s%lld", d ? "x" : "", (long long)e->dims[d]);
    json_array_append_new(
        rows, json_pack("{s:s, s:s, s:s, s:s, s:I, s:s}", "group", e->group, "name", e->name, "dtype",
                        ig_dtype_name(e->dtype), "shape", shape, "offset", (json_int_t)e->offset, "sha256", e->sha256));
  }
  const char *text = ig_ckpt_state_json(reader);
  json_t *state = text ? json_loads(text, 0, NULL) : NULL;
  object = json_pack("{s:o, s:I, s:s, s:s, s:i, s:o, s:o}", "path", ig_json_text(ig_ckpt_path(reader)), "step",
                     (json_int_t)ig_ckpt_step(reader), "run_uuid", ig_ckpt_run_uuid(reader), "config_hash",
                     ig_ckpt_config_hash(reader), "world_size", ig_ckpt_world_size(reader), "state",
                     state ? state : json_null(), "tensors", rows);
  if (!object)
    IG_GOTO(ig_no_json());
  IG_GOTO(describe(object, &table));
  status = ig_answer(c, object, table.data);
done:
  ig_free(table.data);
  json_decref(object);
  ig_ckpt_close(reader);
  ig_free(folder);
  ig_free(manifest);
  return status;
}

ig_status ig_verb_checkpoint(ig_call_state *c) {
  static const char *const words[] = {"list", "verify", "show"};
  char quoted[IG_QUOTE_BYTES], nearest[IG_NEAREST_BYTES];
  IG_TRY(ig_want_paths(c, 2, 2));
  const char *what = ig_config_path(c->config, 0), *run = ig_config_path(c->config, 1);
  if (!strcmp(what, "list") || !strcmp(what, "verify"))
    return list(c, run, !strcmp(what, "verify"));
  if (!strcmp(what, "show"))
    return show(c, run);
  return ig_fail(IG_ERR_USAGE, "checkpoint: list, verify or show is expected, %s found%s", ig_quote(quoted, what),
                 ig_nearest(nearest, what, words, 3));
}
