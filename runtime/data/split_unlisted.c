// Files told apart by what they are, not by name: pictures of a data folder that its split file does not list, and
// files of val= that are learned from. Rule: neither is an error, but none passes without a word.
#include <stdlib.h>
#include <string.h>

#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/base/text.h"
#include "runtime/data/dataset_internal.h"

typedef struct search {
  const ig_builder *b;
  const ig_file_id *listed;  // sorted
  size_t n_listed, n_unlisted;
  char *first;
} search;

static int by_id(const void *pa, const void *pb) {
  const ig_file_id *a = pa, *b = pb;
  return a->dev != b->dev ? (a->dev > b->dev) - (a->dev < b->dev) : (a->ino > b->ino) - (a->ino < b->ino);
}

// A folder that cannot be read is passed over: nobody asked for its pictures.
static ig_status look_below(search *s, const char *folder, const char *rel, const ig_frame *self) {
  ig_status status = IG_OK;
  ig_names list = {0};
  char *path = NULL, *child = NULL;
  status = ig_list_folder(folder, &list);
  if (status != IG_OK)
    return status == IG_ERR_MEMORY ? status : (ig_error_clear(), IG_OK);
  for (size_t i = 0; i < list.n; i++) {
    struct stat st;
    ig_free(path);
    ig_free(child);
    path = child = NULL;
    IG_GOTO(ig_path_join(&path, folder, list.at[i]));
    IG_GOTO(ig_path_join(&child, rel, list.at[i]));
    if (list.at[i][0] == '.' || ig_fileops_get()->stat(path, &st) != 0)
      continue;
    const ig_file_id id = {st.st_dev, st.st_ino};
    const ig_frame below = ig_frame_below(self, &st);
    bool run = false;
    if (S_ISDIR(st.st_mode))
      IG_GOTO(ig_is_run(path, &run));
    if (S_ISDIR(st.st_mode) && !run && below.depth <= IG_MAX_DEPTH && !ig_frame_holds(self, &st))
      IG_GOTO(look_below(s, path, child, &below));
    if (!S_ISREG(st.st_mode) || !ig_is_sample_name(s->b, list.at[i]) ||
        (s->n_listed && bsearch(&id, s->listed, s->n_listed, sizeof id, by_id)))
      continue;
    if (s->n_unlisted++ == 0)
      IG_GOTO(ig_strdup(child, &s->first));
  }
done:
  ig_names_free(&list);
  ig_free(path);
  ig_free(child);
  return status;
}

ig_status ig_tell_unlisted(ig_builder *b, ig_file_id *listed, size_t n) {
  struct stat st;
  char q[IG_QUOTE_BYTES];
  search s = {.b = b, .listed = listed, .n_listed = n};
  if (ig_fileops_get()->stat(b->options->data, &st) != 0 || !S_ISDIR(st.st_mode))
    return IG_OK;  // data= is the list itself: it names no folder
  if (n)
    qsort(listed, n, sizeof *listed, by_id);
  const ig_frame top = ig_frame_below(NULL, &st);
  ig_status status = look_below(&s, b->options->data, "", &top);
  if (status == IG_OK && s.n_unlisted)
    ig_builder_warn(b, "%zu %s of %s %s not listed in the split file and left out (the first is %s)", s.n_unlisted,
                    ig_plural(s.n_unlisted, "picture", "pictures"), b->options->data,
                    ig_plural(s.n_unlisted, "is", "are"), ig_quote(q, s.first));
  ig_free(s.first);
  return status;
}

ig_status ig_tell_shared(const ig_builder *b, size_t first) {
  const ig_fileops *ops = ig_fileops_get();
  ig_file_id *ids;
  struct stat st;
  size_t n = 0, shared = 0, named = 0;
  bool known = false;  // the file of the row before is one of data=
  char q[IG_QUOTE_BYTES], q2[IG_QUOTE_BYTES];
  IG_TRY(ig_alloc_array(b->n, sizeof *ids, "files of a data set", &ids));
  for (size_t i = 0; i < b->n; i++) {
    if (i == first)
      qsort(ids, n, sizeof *ids, by_id);
    const char *path = b->items[i].sample.path;
    if (i == 0 || i == first || path != b->items[i - 1].sample.path) {
      const bool there = ops->stat(path, &st) == 0;  // else it is told when it is read
      const ig_file_id id = {st.st_dev, st.st_ino};
      if (there && i < first)
        ids[n++] = id;
      known = there && i >= first && bsearch(&id, ids, n, sizeof id, by_id);
    }
    named = known && !shared ? i : named;
    shared += known;
  }
  ig_free(ids);
  if (shared)
    ig_builder_warn(
        b,
        "val=%s: samples of files of data=, too: %zu of %zu (the first: %s); what is measured there has been "
        "learned",
        ig_shown(q, b->options->val), shared, b->n - first, ig_quote(q2, b->items[named].sample.name));
  return IG_OK;
}
