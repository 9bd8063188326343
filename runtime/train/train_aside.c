// Going back to an older checkpoint of a run (resume=PATH/checkpoints/step-N). Rule: what came behind it is neither
// lost nor in the way: it moves to RUN/set-aside-K, which weights=, checkpoint and report read like a run folder.
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "runtime/base/fileop.h"
#include "runtime/ckpt/checkpoint.h"
#include "runtime/train/trainer_internal.h"

enum { MAX_ASIDE = 10000 };
#define COPY_BYTES (1u << 30)

static ig_status move(const char *from_folder, const char *to_folder, const char *name) {
  char *from = NULL, *to = NULL;
  ig_status status = IG_OK;
  IG_GOTO(ig_path_join(&from, from_folder, name));
  IG_GOTO(ig_path_join(&to, to_folder, name));
  if (ig_path_exists(from) && ig_fileops_get()->rename(from, to) != 0)
    IG_GOTO(ig_fail(IG_ERR_IO, "cannot move %s to %s: %s", from, to, strerror(errno)));
done:
  ig_free(from);
  ig_free(to);
  return status;
}

static ig_status copy(const char *from_folder, const char *to_folder, const char *name) {
  char *from = NULL, *to = NULL;
  uint8_t *bytes = NULL;
  size_t n;
  ig_status status = IG_OK;
  IG_GOTO(ig_path_join(&from, from_folder, name));
  IG_GOTO(ig_path_join(&to, to_folder, name));
  if (ig_path_exists(from)) {
    IG_GOTO(ig_file_read(from, COPY_BYTES, &bytes, &n));
    IG_GOTO(ig_file_write_atomic(to, bytes, n));
  }
done:
  ig_free(from);
  ig_free(to);
  ig_free(bytes);
  return status;
}

static int64_t step_of_weights(const ig_trainer *t) {
  ig_weights_info info;
  if (!ig_path_exists(t->weights_path) || ig_weights_info_read(t->weights_path, &info) != IG_OK)
    return -1;
  int64_t step = info.step;
  ig_weights_info_fini(&info);
  return step;
}

// Newest checkpoints first: whatever a kill leaves, the ones that stay are a history without a gap.
static ig_status move_all(ig_trainer *t, const char *aside, const ig_ckpt_info *list, size_t n) {
  static const char *const copied[] = {"args.yaml", "environment.json", "log.jsonl"};
  static const char *const moved[] = {"result.json", "report.html", "predictions.csv"};
  char *checkpoints = NULL, name[40];
  ig_status status = IG_OK;
  IG_GOTO(ig_path_join(&checkpoints, aside, "checkpoints"));
  IG_GOTO(ig_make_dirs(checkpoints));
  for (size_t i = 0; i < sizeof copied / sizeof *copied; i++)
    IG_GOTO(copy(t->o->out, aside, copied[i]));
  for (size_t i = 0; i < sizeof moved / sizeof *moved; i++)
    IG_GOTO(move(t->o->out, aside, moved[i]));
  if (step_of_weights(t) > t->step) {
    IG_GOTO(move(t->o->out, aside, "best"));
    IG_GOTO(move(t->o->out, aside, "model.safetensors"));
  }
  for (size_t i = n; i-- > 0 && list[i].step > t->step;) {
    snprintf(name, sizeof name, "step-%lld", (long long)list[i].step);
    IG_GOTO(move(t->checkpoints, checkpoints, name));
  }
  IG_GOTO(ig_fsync_dir(checkpoints));
  IG_GOTO(ig_fsync_dir(t->checkpoints));
  IG_GOTO(ig_fsync_dir(t->o->out));
done:
  ig_free(checkpoints);
  return status;
}

ig_status ig_trainer_set_aside(ig_trainer *t) {
  ig_ckpt_info *list = NULL;
  char *result = NULL, *aside = NULL;
  size_t n = 0;
  ig_status status = IG_OK;
  IG_GOTO(ig_path_join(&result, t->o->out, "result.json"));
  IG_GOTO(ig_ckpt_list(t->checkpoints, false, &list, &n));
  bool later = n > 0 && list[n - 1].step > t->step;
  if (!later && !ig_path_exists(result) && step_of_weights(t) <= t->step)
    goto done;
  for (int k = 1; k < MAX_ASIDE && (!aside || ig_path_exists(aside)); k++) {
    ig_free(aside);
    IG_GOTO(ig_asprintf(&aside, "%s/set-aside-%d", t->o->out, k));
  }
  IG_GOTO(move_all(t, aside, list, n));
  char until[40] = "";
  if (later)
    snprintf(until, sizeof until, ", up to step %lld,", (long long)list[n - 1].step);
  ig_trainer_line(t, "what this run did behind step %lld%s is set aside in %s", (long long)t->step, until, aside);
done:
  ig_ckpt_list_free(list, n);
  ig_free(result);
  ig_free(aside);
  return status;
}

// What is cut off or no such file would be found out at the end of the run.
static bool has_weights(const ig_trainer *t) {
  ig_weights_info info;
  if (!ig_path_exists(t->weights_path))
    return false;
  const ig_status status = ig_weights_info_read(t->weights_path, &info);
  if (status == IG_OK)
    ig_weights_info_fini(&info);
  else if (status == IG_ERR_FORMAT)
    ig_trainer_line(t, "warning: %s; it is made again", ig_error_message());
  return status != IG_ERR_FORMAT;
}

ig_status ig_trainer_find_best(ig_trainer *t, const char *from) {
  char *path = NULL;
  ig_status status = IG_OK;
  if (!t->best.exists || has_weights(t))
    return IG_OK;
  if (t->best.step == t->step)
    return ig_trainer_save_best(t);
  IG_GOTO(ig_asprintf(&path, "%s/step-%lld", t->checkpoints, (long long)t->best.step));
  const ig_best best = t->best;
  if (ig_path_exists(path) && ig_trainer_restore(t, path, false) == IG_OK) {
    t->best = best;
    IG_GOTO(ig_trainer_save_best(t));
    IG_GOTO(ig_trainer_restore(t, from, false));
    goto done;
  }
  ig_trainer_line(t,
                  "the weights of the best epoch so far (step %lld) are no longer there: the best is chosen anew from "
                  "here on",
                  (long long)best.step);
  if (ig_path_exists(path))
    IG_GOTO(ig_trainer_restore(t, from, false));
  t->best = (ig_best){0};
  t->evaluations_since_best = 0;
done:
  ig_free(path);
  return status;
}
