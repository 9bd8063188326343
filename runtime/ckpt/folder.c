// Housekeeping in RUN/checkpoints: names, sweep, prune, probe. Rule: see folder.h.
#include "runtime/ckpt/folder.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/base/text.h"
#include "runtime/ckpt/ckpt_util.h"
#include "runtime/ckpt/manifest.h"

ig_status ig_step_path(const char *folder, int64_t step, const char *suffix, char **out) {
  return ig_asprintf(out, "%s/step-%" PRId64 "%s", folder, step, suffix);
}

int64_t ig_step_of_name(const char *name, const char *suffix) {
  if (strncmp(name, "step-", 5))
    return -1;
  const char *digits = name + 5;
  size_t n = strspn(digits, "0123456789");
  if (n == 0 || n > 18 || (n > 1 && digits[0] == '0') || strcmp(digits + n, suffix))
    return -1;
  return strtoll(digits, NULL, 10);
}

static int compare_steps(const void *a, const void *b) {
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return (x > y) - (x < y);
}

ig_status ig_step_list(const char *folder, const char *suffix, int64_t **steps, size_t *n) {
  ig_status status = IG_OK;
  size_t capacity = 0;
  *steps = NULL;
  *n = 0;
  DIR *dir = opendir(folder);
  if (!dir)
    return errno == ENOENT ? IG_OK : ig_fail_open("list", folder);
  for (struct dirent *entry; (errno = 0, entry = readdir(dir)) != NULL;) {
    int64_t step = ig_step_of_name(entry->d_name, suffix);
    if (step < 0)
      continue;
    IG_GOTO(ig_grow(steps, &capacity, *n, *n + 1, sizeof **steps, "a list of checkpoints"));
    (*steps)[(*n)++] = step;
  }
  if (errno != 0)
    IG_GOTO(ig_fail_open("list", folder));
  if (*n)
    qsort(*steps, *n, sizeof **steps, compare_steps);
done:
  closedir(dir);
  if (status != IG_OK) {
    ig_free(*steps);
    *steps = NULL;
    *n = 0;
  }
  return status;
}

// Sizes of all files of a step folder against its MANIFEST.
static ig_status check_sizes(const char *step_folder, const ig_manifest *m, uint64_t *bytes) {
  ig_status status = IG_OK;
  char *path = NULL;
  struct stat st;
  for (int i = 0; i < m->world_size; i++) {
    const ig_manifest_file *file = &m->files[i];
    ig_free(path);
    IG_GOTO(ig_path_join(&path, step_folder, file->name));
    if (ig_fileops_get()->stat(path, &st) != 0) {
      if (errno == ENOENT)
        IG_GOTO(ig_fail(IG_ERR_FORMAT, "%s is missing; the checkpoint has %d %s", path, m->world_size,
                        ig_plural((unsigned)m->world_size, "shard", "shards")));
      IG_GOTO(ig_ckpt_fail_errno("examine", path));
    }
    if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != file->bytes)
      IG_GOTO(ig_fail(IG_ERR_FORMAT, "%s: %lld %s found, %" PRIu64 " expected by the MANIFEST", path,
                      (long long)st.st_size, ig_plural((unsigned long long)st.st_size, "byte", "bytes"), file->bytes));
    *bytes += file->bytes;
  }
done:
  ig_free(path);
  return status;
}

ig_status ig_step_check(const char *step_folder, uint64_t *bytes) {
  ig_manifest m;
  *bytes = 0;
  IG_TRY(ig_manifest_load(step_folder, &m));
  int64_t named = ig_step_of_name(ig_path_name(step_folder), "");
  ig_status status = IG_OK;
  if (named >= 0 && named != m.step)
    status = ig_fail(IG_ERR_FORMAT, "%s: its MANIFEST is of step %" PRId64, step_folder, m.step);
  if (status == IG_OK)
    status = check_sizes(step_folder, &m, bytes);
  ig_manifest_fini(&m);
  return status;
}

ig_status ig_fsync_parent(const char *path) {
  char *folder = NULL;
  size_t n = strlen(path);
  while (n > 1 && path[n - 1] == '/')
    n--;
  while (n && path[n - 1] != '/')
    n--;
  IG_TRY(n ? ig_asprintf(&folder, "%.*s", (int)n, path) : ig_strdup(".", &folder));
  ig_status status = ig_fsync_dir(folder);
  ig_free(folder);
  return status;
}

// Takes the name away first: a kill in the middle leaves a .tmp to sweep, never half a step-N.
static ig_status remove_step(const char *folder, int64_t step) {
  ig_status status = IG_OK;
  char *path = NULL, *aside = NULL;
  IG_GOTO(ig_step_path(folder, step, "", &path));
  IG_GOTO(ig_step_path(folder, step, ".tmp", &aside));
  IG_GOTO(ig_remove_tree(aside));
  if (ig_fileops_get()->rename(path, aside) != 0)
    IG_GOTO(ig_ckpt_fail_errno("rename", path));
  IG_GOTO(ig_remove_tree(aside));
done:
  ig_free(path);
  ig_free(aside);
  return status;
}

void ig_step_prune(const ig_ckpt_save_options *options) {
  ig_status status = IG_OK;
  int64_t *steps = NULL;
  size_t n = 0;
  char *path = NULL;
  int keep = options->keep ? options->keep : IG_CKPT_MIN_KEEP, kept = 0;
  uint64_t bytes;
  IG_GOTO(ig_step_list(options->folder, "", &steps, &n));
  // Steps above the present one belong to a future that was left by going back: neither counted nor removed.
  while (n && steps[n - 1] > options->step)
    n--;
  for (size_t i = n; i-- > 0;) {
    if (kept < keep) {
      ig_free(path);
      IG_GOTO(ig_step_path(options->folder, steps[i], "", &path));
      status = ig_step_check(path, &bytes);
      if (status == IG_ERR_MEMORY)
        goto done;
      kept += status == IG_OK;  // a damaged one does not count, and stays until it is the oldest
      status = IG_OK;
    } else if (steps[i] != options->protect) {
      IG_GOTO(remove_step(options->folder, steps[i]));
    }
  }
done:
  if (status != IG_OK && options->warn) {
    ig_fail_prefix(status, "old checkpoints were not removed");
    options->warn(options->warn_user, ig_error_message());
  }
  ig_free(path);
  ig_free(steps);
}

ig_status ig_ckpt_sweep(const char *folder) {
  ig_status status = IG_OK;
  int64_t *steps = NULL;
  size_t n = 0;
  char *path = NULL, *old = NULL;
  IG_GOTO(ig_step_list(folder, ".tmp", &steps, &n));
  for (size_t i = 0; i < n; i++) {
    ig_free(path);
    IG_GOTO(ig_step_path(folder, steps[i], ".tmp", &path));
    IG_GOTO(ig_remove_tree(path));
  }
  ig_free(steps);
  // step-N.old is the former step-N while it is replaced: it comes back where the new one did not arrive.
  IG_GOTO(ig_step_list(folder, ".old", &steps, &n));
  for (size_t i = 0; i < n; i++) {
    ig_free(path);
    ig_free(old);
    path = NULL;
    IG_GOTO(ig_step_path(folder, steps[i], ".old", &old));
    IG_GOTO(ig_step_path(folder, steps[i], "", &path));
    if (ig_path_exists(path))
      IG_GOTO(ig_remove_tree(old));
    else if (ig_fileops_get()->rename(old, path) != 0)
      IG_GOTO(ig_ckpt_fail_errno("rename back", old));
  }
done:
  ig_free(old);
  ig_free(path);
  ig_free(steps);
  return status;
}

ig_status ig_ckpt_probe(const char *folder, uint64_t bytes) {
  ig_status status = IG_OK;
  static const char text[] = "Ingot proves that it can write here; remove me.\n";
  char *path = NULL;
  uint64_t room;
  ig_part part = {text, sizeof text - 1};
  IG_GOTO(ig_make_dirs(folder));
  IG_GOTO(ig_path_join(&path, folder, ".probe"));
  IG_GOTO(ig_ckpt_write_file(path, &part, 1));
  if (ig_fileops_get()->unlink(path) != 0)
    IG_GOTO(ig_ckpt_fail_errno("remove", path));
  IG_GOTO(ig_free_bytes(folder, &room));
  if (room < bytes)
    IG_GOTO(ig_fail(IG_ERR_IO,
                    "%s: its disk has %" PRIu64 " bytes free, but checkpoints need %" PRIu64
                    "; free some, or use another "
                    "out= or a smaller keep=",
                    folder, room, bytes));
done:
  ig_free(path);
  return status;
}

// --- list ---

ig_status ig_ckpt_list(const char *folder, bool deep, ig_ckpt_info **list, size_t *n) {
  ig_status status = IG_OK;
  int64_t *steps = NULL;
  char *path = NULL;
  size_t n_steps;
  *list = NULL;
  *n = 0;
  IG_GOTO(ig_step_list(folder, "", &steps, &n_steps));
  IG_GOTO(ig_alloc_array(n_steps, sizeof **list, "a list of checkpoints", list));
  for (size_t i = 0; i < n_steps; i++) {
    ig_ckpt_info *info = &(*list)[i];
    ig_free(path);
    IG_GOTO(ig_step_path(folder, steps[i], "", &path));
    *n = i + 1;
    info->step = steps[i];
    status = ig_step_check(path, &info->bytes);
    if (status == IG_OK && deep)
      status = ig_ckpt_verify(path);
    info->valid = status == IG_OK;
    if (status == IG_ERR_MEMORY)
      goto done;
    if (!info->valid)
      IG_GOTO(ig_strdup(ig_error_message(), &info->problem));
  }
  status = IG_OK;
done:
  ig_free(path);
  ig_free(steps);
  if (status != IG_OK) {
    ig_ckpt_list_free(*list, *n);
    *list = NULL;
    *n = 0;
  }
  return status;
}

void ig_ckpt_list_free(ig_ckpt_info *list, size_t n) {
  for (size_t i = 0; i < n; i++)
    ig_free(list[i].problem);
  ig_free(list);
}
