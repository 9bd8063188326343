// Classes of the finished candidates: names, numbers, and what cannot be learned from. Rule: numbering is a function of
// the names alone, or of the weights' own list.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/mem.h"
#include "runtime/base/text.h"
#include "runtime/data/dataset_internal.h"

typedef struct numbered {
  const char *name;
  size_t number;
} numbered;

static int by_name(const void *pa, const void *pb) {
  const numbered *a = pa, *b = pb;
  int order = strcmp(a->name, b->name);
  return order ? order : (a->number > b->number) - (a->number < b->number);
}

static int by_text(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

// "0", "17": what a program wrote as a class number; at most nine digits.
static bool is_number(const char *text) {
  size_t n = strspn(text, "0123456789");
  return n > 0 && n <= 9 && !text[n] && (text[0] != '0' || n == 1);
}

static int by_value(const void *pa, const void *pb) {
  const char *a = *(const char *const *)pa, *b = *(const char *const *)pb;
  size_t na = strlen(a), nb = strlen(b);
  return na != nb ? (na > nb) - (na < nb) : strcmp(a, b);
}

ig_status ig_distinct_texts(const char **names, size_t *n, bool numbers) {
  size_t kept = 0;
  if (*n)
    qsort((void *)names, *n, sizeof *names, by_text);
  for (size_t i = 0; i < *n; i++) {
    if (kept == 0 || strcmp(names[kept - 1], names[i])) {
      names[kept++] = names[i];
      numbers &= is_number(names[i]);
    }
  }
  *n = kept;
  if (numbers && kept)
    qsort((void *)names, kept, sizeof *names, by_value);
  return kept <= INT32_MAX ? IG_OK : ig_fail(IG_ERR_DATA, "%zu classes; at most %d are possible", kept, INT32_MAX);
}

void ig_order_names(const ig_builder *b, const char **names, size_t n) {
  const ig_dataset_options *o = b->options;
  if (!o->order || (size_t)o->n_order != n)
    return;
  for (size_t i = 0; i < n; i++) {
    size_t k = 0;
    while (k < n && strcmp(o->order[k], names[i]))
      k++;
    if (k == n)
      return;
  }
  for (size_t i = 0; i < n; i++)  // the name that belongs here stands here or behind
    for (size_t k = i; k < n; k++)
      if (!strcmp(o->order[i], names[k])) {
        const char *here = names[i];
        names[i] = names[k];
        names[k] = here;
        break;
      }
}

// Weights that name no classes: names that are numbers say which class each is; others must be as many as there are
// classes, in the order of their names. *names is replaced where the numbers tell.
ig_status ig_fit_nameless(ig_builder *b, bool tags, const char ***names, size_t *n) {
  const ig_dataset_options *o = b->options;
  const size_t known = (size_t)o->n_classes;
  size_t capacity = 0;
  bool numbers = *n > 0;
  char q[IG_QUOTE_BYTES], text[16];
  if (o->classes || o->n_classes == 0 || *n == 0)
    return IG_OK;
  for (size_t i = 0; i < *n && numbers; i++)
    numbers = is_number((*names)[i]) && strtoul((*names)[i], NULL, 10) < known;
  if (!numbers && *n == known) {
    ig_builder_warn(b, "the weights do not name their classes: %s are taken in the order of their names (%s = 0)",
                    tags ? "tags" : "classes", ig_quote(q, (*names)[0]));
    return IG_OK;
  }
  if (!numbers)
    return ig_fail(
        IG_ERR_MISMATCH,
        "%s: found %zu %s (the first is %s); the weights have %zu %s without names: as many are expected, or "
        "names that are class numbers, 0 to %zu",
        b->d->path, *n, tags ? ig_plural(*n, "tag", "tags") : ig_plural(*n, "class", "classes"),
        ig_quote(q, (*names)[0]), known, ig_plural(known, "class", "classes"), known - 1);
  const char **all = NULL;
  IG_TRY(ig_grow(&all, &capacity, 0, known, sizeof *all, "class names"));
  for (size_t i = 0; i < known; i++) {
    int length = snprintf(text, sizeof text, "%zu", i);
    ig_status status = ig_dataset_text(b->d, text, (size_t)length, &all[i]);
    if (status != IG_OK) {
      ig_free(all);
      return status;
    }
  }
  ig_free(*names);
  *names = all;
  *n = known;
  return IG_OK;
}

static ig_status name_classes(ig_builder *b, const char ***names, size_t *n) {
  const ig_dataset_options *o = b->options;
  size_t capacity = 0;
  if (o->classes) {
    IG_TRY(ig_grow(names, &capacity, 0, (size_t)o->n_classes, sizeof **names, "class names"));
    for (int i = 0; i < o->n_classes; i++)
      IG_TRY(ig_dataset_text(b->d, o->classes[i], strlen(o->classes[i]), &(*names)[(*n)++]));
    return IG_OK;
  }
  for (size_t i = 0; i < b->n; i++) {  // many stand beside their like
    const char *c = b->items[i].class_name;
    if (!c || (*n && !strcmp((*names)[*n - 1], c)))
      continue;
    IG_TRY(ig_grow(names, &capacity, *n, *n + 1, sizeof **names, "class names"));
    (*names)[(*n)++] = c;
  }
  IG_TRY(ig_distinct_texts(*names, n, o->text));
  ig_order_names(b, *names, *n);
  return ig_fit_nameless(b, false, names, n);
}

ig_status ig_class_finder_init(ig_class_finder *f, const ig_builder *b, const char *const *names, size_t n) {
  *f = (ig_class_finder){.builder = b, .names = names, .n = n, .by_number = b->options->text && b->options->classes};
  numbered *sorted;
  IG_TRY(ig_alloc_array(n, sizeof *sorted, "class names", &sorted));
  for (size_t i = 0; i < n; i++) {
    sorted[i] = (numbered){names[i], i};
    f->by_number &= !is_number(names[i]);
  }
  if (n)
    qsort(sorted, n, sizeof *sorted, by_name);
  f->sorted = sorted;
  return IG_OK;
}

void ig_class_finder_fini(ig_class_finder *f) { ig_free(f->sorted); }

ig_status ig_class_find(const ig_class_finder *f, const char *name, const char *where, int32_t *label) {
  char q[IG_QUOTE_BYTES], q2[IG_QUOTE_BYTES], near[IG_NEAREST_BYTES];
  const char *path = f->builder->d->path;
  const numbered *sorted = f->sorted;
  size_t low = 0, high = f->n;
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (strcmp(sorted[middle].name, name) < 0)
      low = middle + 1;
    else
      high = middle;
  }
  if (low < f->n && !strcmp(sorted[low].name, name)) {
    if (low + 1 < f->n && !strcmp(sorted[low + 1].name, name))
      return ig_fail(IG_ERR_MISMATCH,
                     "%s: class %s (of %s) is the name of two of the %zu %s of the weights; their names must differ",
                     path, ig_quote(q, name), ig_quote(q2, where), f->n, ig_plural(f->n, "class", "classes"));
    *label = (int32_t)sorted[low].number;
    return IG_OK;
  }
  if (f->by_number && is_number(name)) {
    long number = strtol(name, NULL, 10);
    if (number < (long)f->n) {
      *label = (int32_t)number;
      return IG_OK;
    }
    return ig_fail(IG_ERR_MISMATCH, "%s: label %s (of %s) is out of range; the weights have %zu %s, 0 to %zu", path,
                   name, ig_quote(q2, where), f->n, ig_plural(f->n, "class", "classes"), f->n - 1);
  }
  return ig_fail(IG_ERR_MISMATCH, "%s: class %s (of %s) is not among the %zu %s of the weights%s", path,
                 ig_quote(q, name), ig_quote(q2, where), f->n, ig_plural(f->n, "class", "classes"),
                 ig_nearest(near, name, f->names, f->n));
}

ig_status ig_set_class_names(ig_builder *b, const char *const *names, size_t n) {
  ig_dataset *d = b->d;
  IG_TRY(ig_alloc_array(n, sizeof *d->classes, "class names", &d->classes));
  for (size_t i = 0; i < n; i++)
    d->classes[i] = (char *)names[i];
  d->n_classes = (int)n;
  return IG_OK;
}

bool ig_is_utf8(const char *text) {
  for (size_t n; *text; text += n)
    if ((n = ig_utf8_length(text)) == 0)
      return false;
  return true;
}

ig_status ig_tell_not_utf8(const ig_builder *b, ig_status refusal) {
  if (!b->options->inspect)
    return refusal;
  ig_builder_warn(b, "%s", ig_error_message());
  ig_error_clear();
  return IG_OK;
}

// Weights, reports and answers hold names of classes as UTF-8: what is none is told before any work.
static ig_status check_class_name(const ig_builder *b, const ig_candidate *item) {
  char q[IG_QUOTE_BYTES], q2[IG_QUOTE_BYTES];
  if (ig_is_utf8(item->class_name))
    return IG_OK;
  ig_quote(q, item->class_name);
  if (item->columns)
    return ig_tell_not_utf8(b, ig_fail(IG_ERR_FORMAT, "%s:%zu:%zu: class %s is not UTF-8; save the file as UTF-8",
                                       b->csv ? b->csv : item->sample.path, item->row, item->columns[0] + 1, q));
  if (b->csv)
    return ig_tell_not_utf8(
        b, ig_fail(IG_ERR_DATA,
                   "%s:%zu: the folder of file %s is its class, and the name of the folder is not UTF-8; rename the "
                   "folder, or name the classes in a column class",
                   b->csv, item->row, ig_quote(q2, item->sample.name)));
  return ig_tell_not_utf8(b, ig_fail(IG_ERR_DATA,
                                     "class folder %s has a name that is not UTF-8 (its first file is %s); rename the "
                                     "folder",
                                     q, ig_quote(q2, item->sample.path)));
}

ig_status ig_set_labels(ig_builder *b) {
  ig_status status = IG_OK;
  const char **names = NULL;
  size_t n = 0;
  ig_class_finder finder = {0};
  for (size_t i = 0; i < b->n; i++) {
    const char *last = i ? b->items[i - 1].class_name : NULL, *name = b->items[i].class_name;
    if (name && !(last && !strcmp(last, name)))
      IG_TRY(check_class_name(b, &b->items[i]));
  }
  IG_GOTO(name_classes(b, &names, &n));
  IG_GOTO(ig_class_finder_init(&finder, b, names, n));
  for (size_t i = 0; i < b->n; i++) {
    ig_candidate *item = &b->items[i];
    item->sample.label = -1;
    if (!item->class_name)
      continue;
    if (i && b->items[i - 1].class_name && !strcmp(b->items[i - 1].class_name, item->class_name))
      item->sample.label = b->items[i - 1].sample.label;
    else
      IG_GOTO(ig_class_find(&finder, item->class_name, item->sample.name, &item->sample.label));
  }
  IG_GOTO(ig_set_class_names(b, names, n));
done:
  ig_class_finder_fini(&finder);
  ig_free(names);
  return status;
}

static ig_status nothing_found(const ig_builder *b) {
  const ig_dataset *d = b->d;
  char q[IG_QUOTE_BYTES];
  const char *noun = b->options->text ? "text" : "picture";
  if (d->n_skipped)
    return ig_fail(IG_ERR_DATA, "%s holds no %s %s: %zu %s skipped; see the warnings", d->path,
                   b->options->text ? "usable" : "readable", noun, d->n_skipped,
                   b->options->text ? ig_plural(d->n_skipped, "text was", "texts were")
                                    : ig_plural(d->n_skipped, "file was", "files were"));
  if (b->n_outside)
    return ig_fail(IG_ERR_DATA,
                   "%s has no class folders: found %zu %ss beside each other (first: %s); expected one folder a "
                   "class, or split=FILE.csv with the classes%s",
                   d->path, b->n_outside, noun, ig_quote(q, b->first_outside),
                   b->options->text ? "; raw text is for task=mlm" : "");
  if (b->options->text)
    return ig_fail(IG_ERR_DATA,
                   "%s is empty: found no text (%zu other %s); expected rows in a .csv, .tsv or .jsonl file, files "
                   "named train, dev or val and test of these kinds, or one folder a class with .txt files",
                   d->path, b->n_ignored, ig_plural(b->n_ignored, "file", "files"));
  return ig_fail(IG_ERR_DATA,
                 "%s is empty: found no picture (%zu other %s); expected one folder a class with JPEG, PNG, TIFF, "
                 "WebP or BMP files",
                 d->path, b->n_ignored, ig_plural(b->n_ignored, "file", "files"));
}

static ig_status check_empty_classes(const ig_builder *b) {
  const char *noun = b->options->text ? "text" : "picture";
  char q[IG_QUOTE_BYTES], q2[IG_QUOTE_BYTES];
  for (size_t i = 0; i < b->n_empty; i++) {
    const ig_empty_class *e = &b->empty[i];
    if (e->first && !b->options->allow_one_class)
      return ig_fail(IG_ERR_DATA,
                     "%s:%zu: no file of class %s is a %s that can be read (the first is %s; the warnings say why); "
                     "mend the files or remove their rows",
                     b->csv, e->row, ig_quote(q, e->name), noun, ig_quote(q2, e->first));
    if (!b->options->allow_one_class)
      return ig_fail(IG_ERR_DATA, "%s: class folder %s holds no %s; put %ss there or remove the folder", b->d->path,
                     ig_quote(q, e->name), noun, noun);
    ig_builder_warn(b, "class %s%s holds no %s", e->first ? "" : "folder ", ig_quote(q, e->name), noun);
  }
  return IG_OK;
}

typedef int64_t part_counts[IG_N_PARTS];

// 45, and what is tested but never learned.
static ig_status check_counts(const ig_builder *b, const part_counts *counts, bool has_train) {
  const ig_dataset *d = b->d;
  char q[IG_QUOTE_BYTES];
  int present = 0, one = 0;
  bool below = !b->csv && !b->tables;  // no sample lies in the class folder itself
  for (size_t i = 0; i < b->n && below; i++) {
    const char *slash = strchr(b->items[i].sample.name, '/');
    below = b->items[i].part == IG_PART_NONE && slash && strchr(slash + 1, '/');
  }
  for (int c = 0; c < d->n_classes; c++) {
    const int64_t *k = counts[c];
    if (k[0] + k[1] + k[2] == 0)
      continue;
    present++;
    one = c;
    if (has_train && k[IG_PART_TRAIN] == 0 && !b->options->allow_one_class)
      return ig_fail(
          IG_ERR_DATA,
          "%s: class %s has %lld %s in the %s part and none in the training part; every "
          "class needs training samples",
          d->path, ig_quote(q, d->classes[c]), (long long)(k[IG_PART_VAL] ? k[IG_PART_VAL] : k[IG_PART_TEST]),
          ig_plural((unsigned long long)(k[IG_PART_VAL] ? k[IG_PART_VAL] : k[IG_PART_TEST]), "sample", "samples"),
          k[IG_PART_VAL] ? "validation" : "test");
  }
  if (present < 2 && !b->options->allow_one_class)
    return ig_fail(IG_ERR_DATA, "%s has one class only (%s, %zu %s); at least two are needed to learn from%s", d->path,
                   ig_quote(q, d->classes[one]), b->n, ig_plural(b->n, "sample", "samples"),
                   below ? "; if they are the folders in it, name it by data=" : "");
  return IG_OK;
}

ig_status ig_check_classes(ig_builder *b) {
  ig_dataset *d = b->d;
  ig_status status = IG_OK;
  part_counts *counts = NULL;
  if (b->n == 0)
    return b->options->allow_none && (b->options->lines || d->n_skipped) ? IG_OK : nothing_found(b);
  if (!b->options->needs_labels || d->task != IG_TASK_CLASSIFY)
    return IG_OK;
  IG_TRY(check_empty_classes(b));
  IG_TRY(ig_alloc_array((size_t)d->n_classes, sizeof *counts, "class counts", &counts));
  bool has_train = false, in_parts = false;
  for (size_t i = 0; i < b->n; i++) {
    const ig_candidate *item = &b->items[i];
    int part = item->part == IG_PART_NONE ? IG_PART_TRAIN : item->part;
    has_train |= part == IG_PART_TRAIN;
    in_parts |= item->part != IG_PART_NONE;
    if (item->sample.label >= 0)
      counts[item->sample.label][part]++;
  }
  IG_GOTO(check_counts(b, (const part_counts *)counts, has_train));
  for (int p = IG_PART_VAL; in_parts && p < IG_N_PARTS; p++) {
    int64_t total = 0, missing = 0;
    for (int c = 0; c < d->n_classes; c++) {
      total += counts[c][p];
      missing += counts[c][p] == 0 && counts[c][IG_PART_TRAIN] > 0;
    }
    if (total && missing)
      ig_builder_warn(b, "the %s part lacks %lld of the %d classes", ig_part_name((ig_part)p), (long long)missing,
                      d->n_classes);
  }
done:
  ig_free(counts);
  return status;
}
