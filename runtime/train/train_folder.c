// The run folder before the first step: taken, looked at, and left as it was where nothing is trained. Rule: what is
// there of an earlier run is neither lost nor taken for another's.
#include <string.h>

#include "runtime/base/fileop.h"
#include "runtime/ckpt/checkpoint.h"
#include "runtime/train/trainer_internal.h"

#define CLAIMS 100  // of a folder that others make and remove

// Before any work a folder that cannot be used is the user's to change, not a failure of a run.
static ig_status refuse_folder(const ig_trainer *t, ig_status status) {
  return status == IG_ERR_IO ? ig_fail_prefix(IG_ERR_USAGE, "out=%s cannot be used", t->o->out) : status;
}

// Bytes of the folder, with its slash, that the first n of path lie in; 0: the current one.
static size_t folder_bytes(const char *path, size_t n) {
  while (n && path[n - 1] == '/')
    n--;
  while (n && path[n - 1] != '/')
    n--;
  return n;
}

// How much of path is there already.
static ig_status bytes_there(const char *path, size_t *n) {
  char *part;
  IG_TRY(ig_strdup(path, &part));
  for (*n = strlen(part); *n && !ig_path_exists(part); part[*n] = 0)
    *n = folder_bytes(part, *n);
  ig_free(part);
  return IG_OK;
}

ig_status ig_trainer_claim_folder(ig_trainer *t) {
  ig_status status;
  int attempt = 0;
  IG_TRY(bytes_there(t->o->out, &t->out_there));
  do {  // anew where another's ig_trainer_leave_nothing came between
    status = ig_make_dirs(t->o->out);
    if (status == IG_OK)
      status = ig_lock_acquire(t->o->out, &t->lock);
  } while (status == IG_ERR_NOT_FOUND && ++attempt < CLAIMS);
  return refuse_folder(t, status);
}

// What is not empty is another's, and is left.
void ig_trainer_leave_nothing(ig_trainer *t) {
  const ig_fileops *ops = ig_fileops_get();
  char *path = NULL;
  if (t->lock && ig_path_join(&path, t->o->out, "args.yaml") == IG_OK && !ig_path_exists(path)) {
    if (t->checkpoints)
      ops->rmdir(t->checkpoints);
    ig_lock_remove(t->lock);
    t->lock = NULL;
  }
  ig_free(path);
  if (t->lock || ig_strdup(t->o->out, &path) != IG_OK)
    return;
  for (size_t n = strlen(path); n > t->out_there && ops->rmdir(path) == 0; path[n] = 0)
    n = folder_bytes(path, n);
  ig_free(path);
}

ig_status ig_trainer_open_folder(ig_trainer *t, bool *resume) {
  const ig_train_options *o = t->o;
  bool begun, finished;
  *resume = false;
  IG_TRY(ig_path_join(&t->checkpoints, o->out, "checkpoints"));
  IG_TRY(ig_path_join(&t->log_path, o->out, "log.jsonl"));
  IG_TRY(ig_path_join(&t->best_path, o->out, "best"));
  IG_TRY(ig_path_join(&t->weights_path, o->out, "model.safetensors"));
  IG_TRY(ig_path_holds(o->out, "args.yaml", &begun));
  IG_TRY(ig_path_holds(o->out, "result.json", &finished));
  if (begun && o->resume == IG_RESUME_NO)
    return ig_fail(IG_ERR_USAGE,
                   "out=%s: there is a run already; go on with resume=auto, or choose another out=", o->out);
  IG_TRY(ig_ckpt_sweep(t->checkpoints));
  ig_ckpt_info *list = NULL;
  size_t n = 0;
  IG_TRY(ig_ckpt_list(t->checkpoints, false, &list, &n));
  ig_ckpt_list_free(list, n);
  *resume = n > 0 && o->resume != IG_RESUME_NO;
  if (!*resume && begun && !finished)
    ig_trainer_line(t, "%s holds no checkpoint yet: it starts at step 0", o->out);
  if (!*resume)
    return IG_OK;
  ig_status status = ig_trainer_open_checkpoint(t);
  // A finished run needs none; one that is to go on is told again as it is restored.
  return status == IG_ERR_NOT_FOUND && finished && o->resume == IG_RESUME_AUTO ? IG_OK : status;
}

ig_status ig_trainer_check_finished(ig_trainer *t, bool resume, bool *finished, json_t **result) {
  const ig_train_options *o = t->o;
  char *path = NULL;
  json_t *stored = NULL;
  ig_status status = IG_OK;
  *finished = false;
  if (o->resume == IG_RESUME_NO)
    return IG_OK;
  IG_TRY(ig_path_join(&path, o->out, "result.json"));
  if (ig_path_exists(path))
    stored = json_load_file(path, 0, NULL);
  ig_free(path);
  const bool kept = ig_path_exists(t->weights_path);
  if (o->resume == IG_RESUME_AUTO && kept &&
      json_integer_value(json_object_get(stored, "total_steps")) >= t->total_steps) {
    *finished = true;
    *result = json_incref(stored);
    status = ig_trainer_compare(t);
  } else if (!resume && stored) {
    // From the start it would be trained anew, over the weights that are there.
    status = ig_fail(IG_ERR_NOT_FOUND,
                     "%s was trained up to step %lld, but holds no checkpoint to go on from; start a new run%s%s",
                     o->out, (long long)json_integer_value(json_object_get(stored, "steps")),
                     kept ? " with weights=" : "", kept ? o->out : "");
  }
  json_decref(stored);
  return status;
}

ig_status ig_trainer_check_room(const ig_trainer *t) {
  const uint64_t bytes = ig_trainer_checkpoint_bytes(t);
  const int keep = t->o->keep > IG_CKPT_MIN_KEEP ? t->o->keep : IG_CKPT_MIN_KEEP;
  uint64_t need = bytes * (uint64_t)(keep + 1);
  ig_ckpt_info *list;
  size_t n;
  IG_TRY(ig_ckpt_list(t->checkpoints, false, &list, &n));
  for (size_t i = 0; i < n; i++)
    need -= list[i].bytes < need ? list[i].bytes : need;
  ig_ckpt_list_free(list, n);
  if (ig_path_exists(t->log_path))  // it is not replaced as the others are
    IG_TRY(refuse_folder(t, ig_file_append(t->log_path, "", 0)));
  return refuse_folder(t, ig_ckpt_probe(t->checkpoints, need + bytes));
}
