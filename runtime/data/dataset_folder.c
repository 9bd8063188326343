// Reads a tree of pictures, or of .txt files each of which is a text: class folders, perhaps below train, val and test.
// Rule: nothing is opened here but folders; what is neither folder nor regular file (FIFO, device, dead or looping
// link) is skipped with a warning.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/base/text.h"
#include "runtime/data/dataset_internal.h"

#define MAX_RUNS_DEPTH 4  // of folders of runs

void ig_names_free(ig_names *list) {
  for (size_t i = 0; i < list->n; i++)
    ig_free(list->at[i]);
  ig_free(list->at);
}

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

ig_status ig_list_folder(const char *path, ig_names *out) {
  const ig_fileops *ops = ig_fileops_get();
  ig_status status = IG_OK;
  *out = (ig_names){0};
  int fd = ops->open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
  if (fd < 0)
    return ig_fail_open("list", path);
  DIR *dir = fdopendir(fd);  // owns fd from here
  if (!dir) {
    status = ig_fail_open("list", path);
    ops->close(fd);
    return status;
  }
  for (struct dirent *entry; (errno = 0, entry = readdir(dir)) != NULL;) {
    if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
      continue;
    IG_GOTO(ig_grow(&out->at, &out->capacity, out->n, out->n + 1, sizeof *out->at, "names of files"));
    IG_GOTO(ig_strdup(entry->d_name, &out->at[out->n]));
    out->n++;
  }
  if (errno)
    status = ig_fail_open("list", path);
  if (out->n)
    qsort(out->at, out->n, sizeof *out->at, by_text);
done:
  closedir(dir);
  if (status != IG_OK) {
    ig_names_free(out);
    *out = (ig_names){0};
  }
  return status;
}

// Names that pictures have; content decides later. The second row is of formats that we do not read, so that such a
// file is named with the reason instead of being passed over.
bool ig_is_picture_name(const char *name) {
  static const char *const known[] = {"jpg", "jpeg", "jpe",  "jfif", "png", "bmp", "dib", "tif", "tiff", "webp",
                                      "gif", "heic", "avif", "jp2",  "jxl", "ppm", "pgm", "ico", "tga"};
  const char *dot = strrchr(name, '.');
  for (size_t i = 0; dot && i < sizeof known / sizeof *known; i++)
    if (!strcasecmp(dot + 1, known[i]))
      return true;
  return false;
}

bool ig_is_sample_name(const ig_builder *b, const char *name) {
  const char *dot = strrchr(name, '.');
  return b->options->text ? dot && !strcasecmp(dot + 1, "txt") : ig_is_picture_name(name);
}

static ig_status ignore(ig_builder *b, const char *rel) {
  const char *slash = strrchr(rel, '/');
  if ((slash ? slash[1] : *rel) == '.')
    return IG_OK;  // hidden files are nobody's pictures
  if (b->n_ignored++ == 0)
    return ig_dataset_text(b->d, rel, strlen(rel), &b->first_ignored);
  return IG_OK;
}

// Follows links. False with a warning given (or *status set) where the entry is of no use.
static bool examine(ig_builder *b, const char *path, const char *rel, const ig_frame *up, struct stat *st,
                    ig_status *status) {
  const char *why = NULL;
  if (ig_fileops_get()->stat(path, st) != 0) {
    why = errno == ENOENT ? "a link to nothing" : errno == ELOOP ? "a link that leads in a circle" : strerror(errno);
  } else if (S_ISDIR(st->st_mode)) {
    if (ig_frame_holds(up, st))
      why = "a link back to a folder above it";
    else if (up && up->depth >= IG_MAX_DEPTH)
      why = "a folder too deep in the tree";
  } else if (!S_ISREG(st->st_mode)) {
    why = S_ISFIFO(st->st_mode)   ? "a FIFO, not a regular file"
          : S_ISSOCK(st->st_mode) ? "a socket, not a regular file"
                                  : "a device, not a regular file";
  }
  if (why)
    *status = ig_builder_skip(b, rel, why);
  return !why;
}

ig_status ig_is_run(const char *folder, bool *run) { return ig_path_holds(folder, "args.yaml", run); }

static ig_status add_run(ig_builder *b, const char *rel) {
  return b->n_runs++ == 0 ? ig_dataset_text(b->d, rel, strlen(rel), &b->first_run) : IG_OK;
}

// Entry `name` of a folder: its path and its name from the root on, in place of those that stood there. Not of use:
// what is hidden, what examine() warned of, and the folder of a run, which is nobody's class.
static ig_status enter(ig_builder *b, const char *folder, const char *rel, const char *name, const ig_frame *up,
                       char **path, char **child, struct stat *st, bool *of_use) {
  ig_status status = IG_OK;
  ig_free(*path);
  ig_free(*child);
  *path = *child = NULL;
  *of_use = false;
  IG_TRY(ig_path_join(path, folder, name));
  IG_TRY(ig_path_join(child, rel, name));
  if (*name == '.')
    return ignore(b, *child);
  *of_use = examine(b, *path, *child, up, st, &status);
  bool run = false;
  if (*of_use && S_ISDIR(st->st_mode))
    IG_TRY(ig_is_run(*path, &run));
  *of_use = *of_use && !run;
  return run ? add_run(b, *child) : status;
}

static ig_status add_file(ig_builder *b, const char *path, const char *rel, const char *class_name, int part,
                          const struct stat *st) {
  ig_candidate item = {.class_name = class_name, .bytes = (uint64_t)st->st_size, .part = part};
  item.sample.record = -1;
  IG_TRY(ig_dataset_text(b->d, path, strlen(path), &item.sample.path));
  IG_TRY(ig_dataset_text(b->d, rel, strlen(rel), &item.sample.name));
  return ig_builder_add(b, &item);
}

// Takes all samples of a folder and below.
static ig_status walk(ig_builder *b, const char *folder, const char *rel, const char *class_name, int part,
                      const ig_frame *self) {
  ig_status status = IG_OK;
  ig_names list = {0};
  char *path = NULL, *child = NULL;
  status = ig_list_folder(folder, &list);
  if (status != IG_OK && status != IG_ERR_MEMORY)
    return ig_builder_skip(b, rel, NULL);
  IG_TRY(status);
  for (size_t i = 0; i < list.n; i++) {
    struct stat st;
    bool of_use;
    IG_GOTO(enter(b, folder, rel, list.at[i], self, &path, &child, &st, &of_use));
    if (!of_use)
      continue;
    if (S_ISDIR(st.st_mode)) {
      const ig_frame below = ig_frame_below(self, &st);
      IG_GOTO(walk(b, path, child, class_name, part, &below));
    } else if (ig_is_sample_name(b, list.at[i])) {
      IG_GOTO(add_file(b, path, child, class_name, part, &st));
    } else {
      IG_GOTO(ignore(b, child));
    }
  }
done:
  ig_names_free(&list);
  ig_free(path);
  ig_free(child);
  return status;
}

static ig_status add_outside(ig_builder *b, const char *rel) {
  return b->n_outside++ == 0 ? ig_dataset_text(b->d, rel, strlen(rel), &b->first_outside) : IG_OK;
}

// A folder without a sample: are runs all that it holds (`runs`), or is it one that was broken off as it started?
static ig_status is_of_runs(const char *path, bool holds_runs, bool *of_runs) {
  *of_runs = holds_runs;
  return holds_runs ? IG_OK : ig_path_holds(path, "checkpoints", of_runs);
}

// Every folder in `folder` is a class.
static ig_status read_classes(ig_builder *b, const char *folder, const char *rel, int part, const ig_frame *self) {
  ig_status status = IG_OK;
  ig_names list = {0};
  char *path = NULL, *child = NULL;
  IG_TRY(ig_list_folder(folder, &list));
  for (size_t i = 0; i < list.n; i++) {
    struct stat st;
    const char *class_name, *text;
    bool of_use;
    IG_GOTO(enter(b, folder, rel, list.at[i], self, &path, &child, &st, &of_use));
    if (!of_use)
      continue;
    if (!S_ISDIR(st.st_mode)) {
      IG_GOTO(ig_is_sample_name(b, list.at[i]) ? add_outside(b, child) : ignore(b, child));
      continue;
    }
    const ig_frame below = ig_frame_below(self, &st);
    const size_t before = b->n, others = b->n_ignored + b->d->n_skipped, runs = b->n_runs;
    bool of_runs = false;
    IG_GOTO(ig_dataset_text(b->d, list.at[i], strlen(list.at[i]), &class_name));
    IG_GOTO(walk(b, path, child, class_name, part, &below));
    if (b->n == before && b->n_ignored + b->d->n_skipped == others)
      IG_GOTO(is_of_runs(path, b->n_runs > runs, &of_runs));
    if (b->n == before && !of_runs) {
      IG_GOTO(ig_dataset_text(b->d, child, strlen(child), &text));
      IG_GOTO(ig_grow(&b->empty, &b->empty_capacity, b->n_empty, b->n_empty + 1, sizeof *b->empty, "class names"));
      b->empty[b->n_empty++] = (ig_empty_class){.name = text};
    }
  }
done:
  ig_names_free(&list);
  ig_free(path);
  ig_free(child);
  return status;
}

// A run, or a folder like `runs` that holds nothing else.
static ig_status holds_runs_alone(const char *folder, int depth, bool *out) {
  ig_status status = IG_OK;
  ig_names list = {0};
  char *path = NULL;
  IG_TRY(ig_is_run(folder, out));
  if (*out || depth == MAX_RUNS_DEPTH)
    return IG_OK;
  status = ig_list_folder(folder, &list);
  if (status != IG_OK)  // told where its samples are looked for
    return status == IG_ERR_MEMORY ? status : (ig_error_clear(), IG_OK);
  bool all = true, any = false;
  for (size_t i = 0; i < list.n && all; i++) {
    if (list.at[i][0] == '.')
      continue;
    ig_free(path);
    path = NULL;
    IG_GOTO(ig_path_join(&path, folder, list.at[i]));
    all = ig_path_is_dir(path);
    if (all)
      IG_GOTO(holds_runs_alone(path, depth + 1, &all));
    any = true;
  }
  *out = all && any;
done:
  ig_names_free(&list);
  ig_free(path);
  return status;
}

// Are the folders in root parts? Where all but those of runs are named as parts, or train stands beside val or test; a
// class may be called "train" otherwise.
static ig_status finds_parts(const char *root, bool *parts) {
  ig_status status = IG_OK;
  ig_names list = {0};
  char *path = NULL;
  bool found[IG_N_PARTS] = {false};
  size_t other = 0, named = 0;
  IG_TRY(ig_list_folder(root, &list));
  for (size_t i = 0; i < list.n; i++) {
    if (list.at[i][0] == '.')
      continue;
    ig_free(path);
    path = NULL;
    IG_GOTO(ig_path_join(&path, root, list.at[i]));
    bool exists, is_dir;
    IG_GOTO(ig_path_look(path, &exists, &is_dir));
    if (!is_dir)
      continue;
    int part = ig_part_from_text(list.at[i]);
    if (part == IG_PART_NONE) {
      other++;
    } else {
      named++;
      found[part] = true;
    }
  }
  *parts = named && found[IG_PART_TRAIN] && (found[IG_PART_VAL] || found[IG_PART_TEST]);
  for (size_t i = 0; i < list.n && named && other && !*parts; i++) {
    bool of_runs;
    if (list.at[i][0] == '.' || ig_part_from_text(list.at[i]) != IG_PART_NONE)
      continue;
    ig_free(path);
    path = NULL;
    IG_GOTO(ig_path_join(&path, root, list.at[i]));
    if (!ig_path_is_dir(path))
      continue;
    IG_GOTO(holds_runs_alone(path, 0, &of_runs));
    other -= of_runs;
  }
  *parts = *parts || (named && !other);
done:
  ig_names_free(&list);
  ig_free(path);
  return status;
}

// What lies beside train, val and test.
static ig_status add_beside(ig_builder *b, const char *path, const char *name, bool is_dir) {
  bool of_runs = false;
  if (*name == '.')
    return IG_OK;
  if (!is_dir)
    return ig_is_sample_name(b, name) ? add_outside(b, name) : ignore(b, name);
  IG_TRY(holds_runs_alone(path, 0, &of_runs));
  if (of_runs)
    return add_run(b, name);
  return b->n_beside++ == 0 ? ig_dataset_text(b->d, name, strlen(name), &b->first_beside) : IG_OK;
}

static ig_status read_parts(ig_builder *b, const char *root, const ig_frame *self) {
  ig_status status = IG_OK;
  ig_names list = {0};
  char *path = NULL;
  const char *seen[IG_N_PARTS] = {NULL};
  IG_TRY(ig_list_folder(root, &list));
  for (size_t i = 0; i < list.n; i++) {
    struct stat st;
    const char *name = list.at[i];
    int part = ig_part_from_text(name);
    ig_free(path);
    path = NULL;
    IG_GOTO(ig_path_join(&path, root, name));
    bool exists, is_dir;
    IG_GOTO(ig_path_look(path, &exists, &is_dir));
    if (name[0] == '.' || part == IG_PART_NONE || !is_dir) {
      IG_GOTO(add_beside(b, path, name, is_dir));
      continue;
    }
    if (!examine(b, path, name, self, &st, &status)) {
      IG_GOTO(status);
      continue;
    }
    if (seen[part])
      IG_GOTO(ig_fail(IG_ERR_DATA, "%s: folders %s and %s are both the %s part; keep one", root, seen[part], name,
                      ig_part_name((ig_part)part)));
    seen[part] = name;
    const ig_frame below = ig_frame_below(self, &st);
    IG_GOTO(read_classes(b, path, name, part, &below));
  }
done:
  ig_names_free(&list);
  ig_free(path);
  return status;
}

ig_status ig_read_folder(ig_builder *b, const char *root, int part) {
  struct stat st;
  char q[IG_QUOTE_BYTES];
  if (ig_fileops_get()->stat(root, &st) != 0)
    return ig_fail(IG_ERR_NOT_FOUND, "%s: %s", ig_quote(q, root), strerror(errno));
  const ig_frame top = ig_frame_below(NULL, &st);
  if (!S_ISDIR(st.st_mode)) {
    if (b->options->needs_labels || !S_ISREG(st.st_mode))
      return ig_fail(IG_ERR_DATA, "data=%s is not a folder; expected one folder a class, or CIFAR .bin files",
                     ig_quote(q, root));
    return add_file(b, root, ig_path_name(root), NULL, part, &st);
  }
  if (!b->options->needs_labels)
    return walk(b, root, "", NULL, part, &top);
  bool parts = false;
  if (part == IG_PART_NONE)
    IG_TRY(finds_parts(root, &parts));
  return parts ? read_parts(b, root, &top) : read_classes(b, root, "", part, &top);
}
