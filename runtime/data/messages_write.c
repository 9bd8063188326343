// The text demo's data set on disk. Rule: as of the pictures (defects_write.c): a marker names the set and says whether
// it is complete; only what a marker proves to be ours is ever replaced.
#include <string.h>

#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/data/messages.h"

#define MARKER ".messages.json"

// What the folder holds of the set; the vocabulary is made of the corpus by others and replaced with it.
static const char *const entries[] = {"corpus", "messages", "vocabulary", "shown.txt"};
enum { N_ENTRIES = sizeof entries / sizeof *entries };
static const char *const files[] = {"corpus/documents.txt", "messages/train.csv", "messages/test.csv", "shown.txt"};
enum { N_FILES = sizeof files / sizeof *files };

typedef struct plan {
  uint64_t seed;
  int n_documents, n[2];  // n: messages a class and part
} plan;

static ig_status make_documents(const plan *p, ig_text *out) {
  for (int i = 0; i < p->n_documents; i++) {
    IG_TRY(ig_text_add(out, "\n", i > 0));
    IG_TRY(ig_messages_document(p->seed, (uint64_t)i, out));
  }
  return IG_OK;
}

// A message a class, as of the test part but none of it.
static ig_status make_shown(const plan *p, ig_text *out) {
  for (int cls = 0; cls < IG_MESSAGES_N_CLASSES; cls++) {
    IG_TRY(ig_messages_text(p->seed, IG_MESSAGES_TEST, cls, (uint64_t)p->n[1], out));
    IG_TRY(ig_text_add(out, "\n", 1));
  }
  return IG_OK;
}

static ig_status make_file(const plan *p, int file, ig_text *out) {
  if (file == 0)
    return make_documents(p, out);
  if (file == N_FILES - 1)
    return make_shown(p, out);
  IG_TRY(ig_text_addf(out, "text,label\n"));
  for (int i = 0; i < p->n[file - 1]; i++)
    for (int cls = 0; cls < IG_MESSAGES_N_CLASSES; cls++) {
      IG_TRY(ig_text_addf(out, "\""));  // messages have commas, and no quotes
      IG_TRY(ig_messages_text(p->seed, (ig_messages_part)(file - 1), cls, (uint64_t)i, out));
      IG_TRY(ig_text_addf(out, "\",%s\n", ig_messages_class_name(cls)));
    }
  return IG_OK;
}

static ig_status write_file(const plan *p, const char *folder, int file) {
  ig_status status = IG_OK;
  ig_text text = {0};
  char *path = NULL;
  IG_GOTO(make_file(p, file, &text));
  IG_GOTO(ig_path_join(&path, folder, files[file]));
  IG_GOTO(ig_make_parent(path));
  IG_GOTO(ig_file_write_atomic(path, text.data, text.n));
done:
  ig_free(path);
  ig_free(text.data);
  return status;
}

// *same: the marker is this set's and all files are there. IG_ERR_USAGE where what is there has no marker.
static ig_status look(const char *folder, const char *marker, const char *wanted, bool *same) {
  bool there;
  *same = false;
  if (ig_path_exists(marker)) {
    uint8_t *found = NULL;
    size_t n;
    IG_TRY(ig_file_read(marker, 4096, &found, &n));
    *same = strcmp((const char *)found, wanted) == 0;
    ig_free(found);
    for (int i = 0; i < N_FILES && *same; i++)
      IG_TRY(ig_path_holds(folder, files[i], same));
    return IG_OK;
  }
  for (int i = 0; i < N_ENTRIES; i++) {
    IG_TRY(ig_path_holds(folder, entries[i], &there));
    if (there)
      return ig_fail(IG_ERR_USAGE, "%s/%s exists and was not made by the demo (%s has no %s); give another folder",
                     folder, entries[i], folder, MARKER);
  }
  return IG_OK;
}

static ig_status replace(const plan *p, const char *folder) {
  for (int i = 0; i < N_ENTRIES; i++) {
    char *path;
    IG_TRY(ig_path_join(&path, folder, entries[i]));
    ig_status status = ig_remove_tree(path);
    ig_free(path);
    IG_TRY(status);
  }
  for (int i = 0; i < N_FILES; i++)
    IG_TRY(write_file(p, folder, i));
  return IG_OK;
}

ig_status ig_messages_write(const char *folder, uint64_t seed, int n_documents, int n_train_per_class,
                            int n_test_per_class) {
  const plan p = {seed, n_documents, {n_train_per_class, n_test_per_class}};
  ig_status status = IG_OK;
  char *marker = NULL, *wanted = NULL;
  bool same;
  for (int i = 0; i < 3; i++) {
    int n = i ? p.n[i - 1] : n_documents;
    if (n < 1 || n > 1000000)
      return ig_fail(IG_ERR_USAGE, "%d %s; expected 1 to 1000000", n,
                     i == 0   ? "documents"
                     : i == 1 ? "training messages a class"
                              : "test messages a class");
  }
  IG_GOTO(ig_path_join(&marker, folder, MARKER));
  IG_GOTO(ig_asprintf(&wanted, "{\"messages\": 1, \"seed\": %llu, \"documents\": %d, \"train\": %d, \"test\": %d}\n",
                      (unsigned long long)seed, p.n_documents, p.n[0], p.n[1]));
  IG_GOTO(look(folder, marker, wanted, &same));
  if (same)
    goto done;
  IG_GOTO(ig_make_dirs(folder));
  IG_GOTO(ig_file_write_atomic(marker, "{}\n", 3));  // ours from here on, and not complete
  IG_GOTO(replace(&p, folder));
  IG_GOTO(ig_file_write_atomic(marker, wanted, strlen(wanted)));
done:
  ig_free(marker);
  ig_free(wanted);
  return status;
}
