// Reads the binary form of CIFAR-10 (records of 1 label byte + 3072 pixels) and CIFAR-100 (coarse label, fine label +
// 3072). Rule: a file's size must be whole records and every label in range, or nothing of it is used.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/base/text.h"
#include "runtime/data/dataset_internal.h"

static const char *const cifar10_names[10] = {"airplane", "automobile", "bird",  "cat",  "deer",
                                              "dog",      "frog",       "horse", "ship", "truck"};

static const struct {
  const char *name;
  ig_part part;
} files[] = {{"data_batch_1.bin", IG_PART_TRAIN}, {"data_batch_2.bin", IG_PART_TRAIN},
             {"data_batch_3.bin", IG_PART_TRAIN}, {"data_batch_4.bin", IG_PART_TRAIN},
             {"data_batch_5.bin", IG_PART_TRAIN}, {"train.bin", IG_PART_TRAIN},
             {"test_batch.bin", IG_PART_TEST},    {"test.bin", IG_PART_TEST}};
enum { N_FILES = sizeof files / sizeof *files };

static ig_status in_folder(const char *root, const char *name, bool *is_file) {
  char *path;
  bool exists, is_dir;
  IG_TRY(ig_path_join(&path, root, name));
  ig_status status = ig_path_look(path, &exists, &is_dir);
  *is_file = exists && !is_dir;
  ig_free(path);
  return status;
}

bool ig_is_cifar(const char *root) {
  size_t n = strlen(root);
  if (!ig_path_is_dir(root))
    return n > 4 && !strcasecmp(root + n - 4, ".bin");
  for (int i = 0; i < N_FILES; i++) {
    bool is_file;
    if (in_folder(root, files[i].name, &is_file) == IG_OK && is_file)
      return true;
  }
  return false;
}

// Lines of a names file in `folder`, at most `max`; 0 where there is none.
static ig_status read_names(ig_builder *b, const char *folder, const char *file, size_t max, const char **names,
                            size_t *n) {
  ig_status status = IG_OK;
  char *path = NULL;
  uint8_t *data = NULL;
  size_t size;
  *n = 0;
  IG_TRY(ig_path_join(&path, folder, file));
  bool exists, is_dir;
  IG_GOTO(ig_path_look(path, &exists, &is_dir));
  if (!exists)
    goto done;
  IG_GOTO(ig_file_read(path, 1 << 20, &data, &size));
  for (const char *line = (const char *)data, *end = line + size; line < end;) {
    size_t length = strcspn(line, "\r\n");
    if (length) {
      if (*n == max)
        IG_GOTO(ig_fail(IG_ERR_FORMAT, "%s: more than %zu names; expected one a class", path, max));
      IG_GOTO(ig_dataset_text(b->d, line, length, &names[(*n)++]));
    }
    line += length + 1;
  }
done:
  ig_free(path);
  ig_free(data);
  return status;
}

// 10 or 100 by the size and, where both fit, by the labels.
static ig_status which(const char *path, const ig_mapped *m, bool *is_100) {
  bool ten = m->n % 3073 == 0, hundred = m->n % 3074 == 0;
  if (m->n == 0)
    return ig_fail(IG_ERR_DATA, "%s is empty; expected CIFAR records of 3073 or 3074 bytes", path);
  if (!ten && !hundred)
    return ig_fail(IG_ERR_FORMAT,
                   "%s: found %zu %s; expected a multiple of 3073 (CIFAR-10) or 3074 (CIFAR-100): the file is "
                   "truncated or of another kind",
                   path, m->n, ig_plural(m->n, "byte", "bytes"));
  for (size_t i = 0; ten && hundred && i < m->n / 3073; i++)
    ten = m->data[i * 3073] < 10;
  *is_100 = !ten;
  return IG_OK;
}

// Records of one file. kind is set by the first file and must hold for the rest.
static ig_status read_file(ig_builder *b, const char *path, const char *name, int part, int *kind) {
  ig_status status = IG_OK;
  ig_mapped m;
  bool is_100 = false;
  const char *kept;
  IG_TRY(ig_file_map(path, &m));
  IG_GOTO(which(path, &m, &is_100));
  if (*kind >= 0 && *kind != is_100)
    IG_GOTO(ig_fail(IG_ERR_DATA,
                    "%s holds CIFAR-%s records, the files before it CIFAR-%s records; keep one kind in a "
                    "folder",
                    path, is_100 ? "100" : "10", is_100 ? "10" : "100"));
  *kind = is_100;
  int n_classes = is_100 ? 100 : 10;
  IG_GOTO(ig_dataset_text(b->d, path, strlen(path), &kept));
  size_t record = is_100 ? 3074 : 3073;
  for (size_t i = 0; i < m.n / record; i++) {
    char text[300];
    int label = m.data[i * record + (is_100 ? 1 : 0)];
    if (label >= n_classes)
      IG_GOTO(ig_fail(IG_ERR_DATA, "%s: record %zu has label %d; expected 0 to %d", path, i, label, n_classes - 1));
    ig_candidate item = {.bytes = record, .part = part, .w = 32, .h = 32};
    item.sample.path = kept;
    item.sample.record = (int64_t)i;
    item.sample.label = b->options->needs_labels ? label : -1;
    int length = snprintf(text, sizeof text, "%.255s:%zu", name, i);
    IG_GOTO(ig_dataset_text(b->d, text, (size_t)length, &item.sample.name));
    IG_GOTO(ig_builder_add(b, &item));
  }
done:
  ig_file_unmap(&m);
  return status;
}

// The names of the classes: the weights', the names file's, the known ten, or numbers.
static ig_status set_classes(ig_builder *b, const char *folder, bool is_100) {
  const ig_dataset_options *o = b->options;
  const char *names[256];
  size_t n = 0, wanted = is_100 ? 100 : 10;
  if (o->classes) {
    if ((size_t)o->n_classes < wanted)
      return ig_fail(IG_ERR_MISMATCH, "%s is CIFAR-%zu with %zu classes; the weights have %d", b->d->path, wanted,
                     wanted, o->n_classes);
    wanted = (size_t)o->n_classes;
  } else if (o->n_classes && (size_t)o->n_classes != wanted) {
    return ig_fail(IG_ERR_MISMATCH, "%s is CIFAR-%zu with %zu classes; the weights have %d and name none of them",
                   b->d->path, wanted, wanted, o->n_classes);
  } else {
    IG_TRY(read_names(b, folder, is_100 ? "fine_label_names.txt" : "batches.meta.txt", 256, names, &n));
    if (n && n != wanted)
      return ig_fail(IG_ERR_FORMAT, "%s/%s: found %zu %s; expected %zu", folder,
                     is_100 ? "fine_label_names.txt" : "batches.meta.txt", n, ig_plural(n, "name", "names"), wanted);
    char q[IG_QUOTE_BYTES];
    for (size_t c = 0; c < n; c++)
      if (!ig_is_utf8(names[c]))
        return ig_fail(IG_ERR_FORMAT, "%s/%s: the name of class %zu, %s, is not UTF-8; save the file as UTF-8", folder,
                       is_100 ? "fine_label_names.txt" : "batches.meta.txt", c, ig_quote(q, names[c]));
  }
  IG_TRY(ig_alloc_array(wanted, sizeof *b->d->classes, "class names", &b->d->classes));
  for (size_t c = 0; c < wanted; c++) {
    char number[24];
    snprintf(number, sizeof number, "%zu", c);
    const char *name = o->classes ? o->classes[c] : n ? names[c] : is_100 ? number : cifar10_names[c], *kept;
    IG_TRY(ig_dataset_text(b->d, name, strlen(name), &kept));
    b->d->classes[c] = (char *)kept;
  }
  b->d->n_classes = (int)wanted;
  return IG_OK;
}

ig_status ig_read_cifar(ig_builder *b, const char *root) {
  ig_status status = IG_OK;
  char *folder = NULL, *path = NULL;
  int kind = -1;
  if (ig_path_is_dir(root)) {
    IG_GOTO(ig_strdup(root, &folder));
    for (int i = 0; i < N_FILES; i++) {
      bool is_file;
      IG_GOTO(in_folder(root, files[i].name, &is_file));
      if (!is_file)
        continue;
      ig_free(path);
      path = NULL;
      IG_GOTO(ig_path_join(&path, root, files[i].name));
      IG_GOTO(read_file(b, path, files[i].name, (int)files[i].part, &kind));
    }
  } else {
    const char *slash = strrchr(root, '/');
    IG_GOTO(slash ? ig_asprintf(&folder, "%.*s", slash == root ? 1 : (int)(slash - root), root)
                  : ig_strdup(".", &folder));
    IG_GOTO(read_file(b, root, slash ? slash + 1 : root, IG_PART_NONE, &kind));
  }
  b->d->kind = kind == 1 ? IG_DATASET_CIFAR100 : IG_DATASET_CIFAR10;
  IG_GOTO(set_classes(b, folder, kind == 1));
done:
  ig_free(folder);
  ig_free(path);
  return status;
}
