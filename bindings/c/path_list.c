// Paths that predict works on. Rule: see path_list.h.
#include "bindings/c/path_list.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/base/text.h"
#include "runtime/data/dataset.h"

static ig_status add(ig_path_list *l, const char *path) {
  IG_TRY(ig_grow(&l->paths, &l->capacity, l->n, l->n + 1, sizeof *l->paths, "paths"));
  IG_TRY(ig_strdup(path, &l->paths[l->n]));
  l->n++;
  return IG_OK;
}

static bool is_text_name(const char *name) {
  const char *dot = strrchr(name, '.');
  return dot && dot != name && !strcasecmp(dot, ".txt");
}

typedef bool (*is_taken_fn)(const char *name);

static ig_status add_folder(ig_path_list *l, const char *folder, is_taken_fn is_taken, const ig_frame *up) {
  struct stat st;
  char q[IG_QUOTE_BYTES];
  if (ig_fileops_get()->stat(folder, &st) != 0)
    return ig_fail_open("list", folder);
  if (ig_frame_holds(up, &st))
    return IG_OK;  // what lies there is listed already
  const ig_frame self = ig_frame_below(up, &st);
  if (self.depth > IG_MAX_DEPTH)
    return ig_fail(IG_ERR_DATA, "%s lies more than %d folders deep; name a folder further down", ig_quote(q, folder),
                   IG_MAX_DEPTH);
  DIR *dir = opendir(folder);
  if (!dir)
    return ig_fail_open("list", folder);
  ig_status status = IG_OK;
  char *path = NULL;
  for (struct dirent *e; (e = readdir(dir));) {
    if (e->d_name[0] == '.')
      continue;
    IG_GOTO(ig_path_join(&path, folder, e->d_name));
    bool known = ig_fileops_get()->stat(path, &st) == 0;
    if (known && S_ISDIR(st.st_mode))
      IG_GOTO(add_folder(l, path, is_taken, &self));
    else if (is_taken(e->d_name))
      IG_GOTO(add(l, path));
    ig_free(path);
    path = NULL;
  }
done:
  ig_free(path);
  closedir(dir);
  return status;
}

static ig_status add_standard_input(ig_path_list *l) {
  ig_status status = IG_OK;
  ig_text text = {0};
  char buffer[65536];
  for (;;) {
    ssize_t n = ig_fileops_get()->read(STDIN_FILENO, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      IG_GOTO(ig_fail(IG_ERR_IO, "cannot read standard input: %s", strerror(errno)));
    if (n == 0)
      break;
    IG_GOTO(ig_text_add(&text, buffer, (size_t)n));
  }
  if (text.n && memchr(text.data, 0, text.n))  // all behind it would be passed over
    IG_GOTO(ig_fail(IG_ERR_USAGE,
                    "standard input holds a NUL byte; a path a line is expected (find's -print, not its "
                    "-print0)"));
  char *rest = NULL;
  for (char *line = text.data ? strtok_r(text.data, "\n", &rest) : NULL; line; line = strtok_r(NULL, "\n", &rest)) {
    size_t n = strlen(line);
    if (n && line[n - 1] == '\r')
      line[n - 1] = 0;
    if (*line)
      IG_GOTO(add(l, line));
  }
done:
  ig_free(text.data);
  return status;
}

static int compare(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

ig_status ig_path_list_read(const ig_config *config, ig_path_list *out) {
  char q[IG_QUOTE_BYTES];
  for (size_t i = 0; i < ig_config_n_paths(config); i++) {
    const char *path = ig_config_path(config, i);
    size_t before = out->n;
    if (!strcmp(path, "-")) {
      IG_TRY(add_standard_input(out));
    } else if (ig_path_is_dir(path)) {
      IG_TRY(add_folder(out, path, ig_is_picture_name, NULL));
      if (out->n == before)
        return ig_fail(IG_ERR_NOT_FOUND,
                       "%s holds no picture by its name (.jpg, .jpeg, .png, .bmp, .tif, .tiff, .webp at any depth)",
                       ig_quote(q, path));
      qsort(out->paths + before, out->n - before, sizeof *out->paths, compare);
    } else {
      IG_TRY(add(out, path));
    }
  }
  return IG_OK;
}

ig_status ig_path_list_texts(const char *path, ig_path_list *out) {
  const size_t before = out->n;
  char q[IG_QUOTE_BYTES];
  if (!ig_path_is_dir(path))
    return add(out, path);
  IG_TRY(add_folder(out, path, is_text_name, NULL));
  if (out->n == before)
    return ig_fail(IG_ERR_NOT_FOUND, "%s holds no .txt file at any depth", ig_quote(q, path));
  qsort(out->paths + before, out->n - before, sizeof *out->paths, compare);
  return IG_OK;
}

void ig_path_list_fini(ig_path_list *l) {
  for (size_t i = 0; i < l->n; i++)
    ig_free(l->paths[i]);
  ig_free(l->paths);
}
