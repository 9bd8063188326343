// Opens a data set of any form: numbering of classes, checks, parts, fingerprint. Rule: everything that a later run
// compares (order, labels, parts, fingerprint) is a pure function of names, sizes, options and seed.
#include "runtime/data/dataset.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/base/text.h"
#include "runtime/data/dataset_internal.h"
#include "runtime/data/image.h"

#define MAX_PROBED  20000  // files whose headers are read while opening
#define MAX_NAMED   20     // unreadable files that are warned of one by one
#define MAX_TYPICAL 64     // samples that typical_w and typical_h look at

// Texts in blocks, so that a million names are not a million allocations.
typedef struct block {
  struct block *next;
  size_t used, room;
  char text[];
} block;
struct ig_dataset_memory {
  block *blocks;
};

const char *ig_part_name(ig_part part) {
  static const char *const names[] = {"train", "val", "test", "all"};
  return (unsigned)part <= IG_PART_ALL ? names[part] : "unknown";
}

static const char *const task_names[] = {"auto", "classify", "regress", "multilabel", "tag", "mlm"};

const char *ig_task_name(ig_task task) { return (unsigned)task <= IG_TASK_MLM ? task_names[task] : "unknown"; }

ig_task ig_task_from_text(const char *text) {
  for (int i = IG_TASK_CLASSIFY; i <= IG_TASK_MLM; i++)
    if (!strcmp(text, task_names[i]))
      return (ig_task)i;
  return IG_TASK_AUTO;
}

const char *ig_dataset_noun(const ig_dataset *d) {
  return d->kind == IG_DATASET_TEXT ? "texts" : d->kind == IG_DATASET_CORPUS ? "text windows" : "pictures";
}

int ig_part_from_text(const char *text) {
  static const struct {
    const char *text;
    int part;
  } known[] = {{"train", IG_PART_TRAIN}, {"training", IG_PART_TRAIN}, {"val", IG_PART_VAL},
               {"valid", IG_PART_VAL},   {"validation", IG_PART_VAL}, {"test", IG_PART_TEST},
               {"testing", IG_PART_TEST}};
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (!strcasecmp(text, known[i].text))
      return known[i].part;
  return IG_PART_NONE;
}

ig_status ig_dataset_text(ig_dataset *d, const char *text, size_t n, const char **out) {
  block *b = d->memory->blocks;
  if (!b || b->room - b->used < n + 1) {
    size_t room = n + 1 > 65536 ? n + 1 : 65536;
    IG_TRY(ig_alloc(sizeof *b + room, "names of a data set", &b));
    b->room = room;
    b->next = d->memory->blocks;
    d->memory->blocks = b;
  }
  char *to = b->text + b->used;
  memcpy(to, text, n);
  to[n] = 0;
  b->used += n + 1;
  *out = to;
  return IG_OK;
}

ig_status ig_dataset_path(ig_dataset *d, const char *a, const char *b, const char **out) {
  char *joined;
  IG_TRY(ig_path_join(&joined, a, b));
  ig_status status = ig_dataset_text(d, joined, strlen(joined), out);
  ig_free(joined);
  return status;
}

ig_status ig_builder_add(ig_builder *b, const ig_candidate *item) {
  IG_TRY(ig_grow(&b->items, &b->capacity, b->n, b->n + 1, sizeof *item, "samples of a data set"));
  b->items[b->n++] = *item;
  return IG_OK;
}

void ig_builder_warn(const ig_builder *b, const char *format, ...) {
  char text[1024];
  if (!b->options->warn)
    return;
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  b->options->warn(b->options->warn_user, text);
}

ig_status ig_builder_skip(ig_builder *b, const char *name, const char *why) {
  char q[IG_QUOTE_BYTES], reason[512];
  snprintf(reason, sizeof reason, "%s", why ? why : ig_error_message());
  if (b->options->strict)
    return ig_fail(IG_ERR_DATA, "%s cannot be used: %s; repair or remove it, or use strict=0 to skip such files",
                   ig_quote(q, name), reason);
  b->d->n_skipped++;
  if (b->options->skipped)
    b->options->skipped(b->options->skipped_user, name, reason);
  else if (b->d->n_skipped <= MAX_NAMED)
    ig_builder_warn(b, "skipped %s: %s", ig_quote(q, name), reason);
  return IG_OK;
}

static int by_class_and_name(const void *pa, const void *pb) {
  const ig_candidate *a = pa, *b = pb;
  int order = strcmp(a->class_name ? a->class_name : "", b->class_name ? b->class_name : "");
  if (order == 0)
    order = strcmp(a->sample.name, b->sample.name);
  return order ? order : strcmp(a->sample.path, b->sample.path);
}

// Reads the header of every picture (or of a spread of them, in a large set) and drops what is none.
static ig_status probe_all(ig_builder *b) {
  bool all = b->n <= MAX_PROBED;
  ig_image_options limits = ig_image_options_default();
  size_t kept = 0, step = b->n / MAX_TYPICAL + 1;
  for (size_t i = 0; i < b->n; i++) {
    ig_candidate *item = &b->items[i];
    if (all || i % step == 0) {
      ig_mapped file;
      ig_image_info info = {0};
      ig_status status = ig_file_map(item->sample.path, &file);
      if (status == IG_OK) {
        status = ig_image_probe(file.data, file.n, &info);
        ig_file_unmap(&file);
      }
      if (status == IG_OK &&
          (info.w > limits.max_side || info.h > limits.max_side || (int64_t)info.w * info.h > limits.max_pixels))
        status = ig_fail(IG_ERR_FORMAT, "%dx%d pixels; at most %d a side and %lld in all are accepted", info.w, info.h,
                         limits.max_side, (long long)limits.max_pixels);
      if (status == IG_ERR_MEMORY)
        return status;
      if (status != IG_OK) {
        IG_TRY(ig_builder_skip(b, item->sample.name, NULL));
        continue;
      }
      item->w = info.w;
      item->h = info.h;
    }
    b->items[kept++] = *item;
  }
  b->n = kept;
  if (b->d->n_skipped > MAX_NAMED && !b->options->skipped)
    ig_builder_warn(b, "skipped %zu more files that cannot be read (%zu in all)", b->d->n_skipped - MAX_NAMED,
                    b->d->n_skipped);
  ig_error_clear();
  return IG_OK;
}

// Numbers the classes and sets every label.
static ig_status set_labels(ig_builder *b) {
  ig_dataset *d = b->d;
  const ig_dataset_options *o = b->options;
  ig_status status = IG_OK;
  const char **names = NULL;
  size_t n = 0, capacity = 0;
  char q[IG_QUOTE_BYTES], q2[IG_QUOTE_BYTES], near[IG_NEAREST_BYTES];
  if (o->classes) {
    for (int i = 0; i < o->n_classes; i++) {
      IG_GOTO(ig_grow(&names, &capacity, n, n + 1, sizeof *names, "class names"));
      IG_GOTO(ig_dataset_text(d, o->classes[i], strlen(o->classes[i]), &names[n++]));
    }
  } else {
    for (size_t i = 0; i < b->n; i++) {  // sorted by class
      const char *c = b->items[i].class_name;
      if (!c || (n && !strcmp(names[n - 1], c)))
        continue;
      IG_GOTO(ig_grow(&names, &capacity, n, n + 1, sizeof *names, "class names"));
      names[n++] = c;
    }
  }
  for (size_t i = 0, at = 0; i < b->n; i++) {
    ig_candidate *item = &b->items[i];
    if (!item->class_name) {
      item->sample.label = -1;
      continue;
    }
    for (size_t tried = 0; strcmp(names[at], item->class_name); at = (at + 1) % n)
      if (++tried > n)
        IG_GOTO(ig_fail(IG_ERR_MISMATCH, "%s: class %s (of %s) is not among the %zu classes of the weights%s", d->path,
                        ig_quote(q, item->class_name), ig_quote(q2, item->sample.name), n,
                        ig_nearest(near, item->class_name, names, n)));
    item->sample.label = (int32_t)at;
  }
  if (n > INT32_MAX)
    IG_GOTO(ig_fail(IG_ERR_DATA, "%s: %zu classes; at most %d are possible", d->path, n, INT32_MAX));
  IG_GOTO(ig_alloc_array(n, sizeof *d->classes, "class names", &d->classes));
  for (size_t i = 0; i < n; i++)
    d->classes[i] = (char *)names[i];
  d->n_classes = (int)n;
done:
  ig_free(names);
  return status;
}

// 44, 45, 46 and the agreement of the parts' classes.
static ig_status check(ig_builder *b) {
  ig_dataset *d = b->d;
  ig_status status = IG_OK;
  int64_t(*counts)[IG_N_PARTS] = NULL;
  char q[IG_QUOTE_BYTES];
  if (b->n == 0) {
    if (d->n_skipped)
      return ig_fail(IG_ERR_DATA, "%s holds no readable picture: %zu files were skipped; see the warnings", d->path,
                     d->n_skipped);
    if (b->n_outside)
      return ig_fail(IG_ERR_DATA,
                     "%s has no class folders: found %zu pictures beside each other (first: %s); expected one folder a "
                     "class, or split=FILE.csv with the classes",
                     d->path, b->n_outside, ig_quote(q, b->first_outside));
    return ig_fail(IG_ERR_DATA,
                   "%s is empty: found no picture (%zu other files); expected one folder a class with JPEG, PNG, TIFF, "
                   "WebP or BMP files",
                   d->path, b->n_ignored);
  }
  if (!b->options->needs_labels || d->task != IG_TASK_CLASSIFY)
    return IG_OK;
  for (size_t i = 0; i < b->n_empty; i++) {
    if (!b->options->allow_one_class)
      return ig_fail(IG_ERR_DATA, "%s: class folder %s holds no picture; put pictures there or remove the folder",
                     d->path, ig_quote(q, b->empty[i]));
    ig_builder_warn(b, "class folder %s holds no picture", ig_quote(q, b->empty[i]));
  }
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
  int present = 0, one = 0;
  for (int c = 0; c < d->n_classes; c++) {
    int64_t *k = counts[c];
    if (k[0] + k[1] + k[2] == 0)
      continue;
    present++;
    one = c;
    if (has_train && k[IG_PART_TRAIN] == 0 && !b->options->allow_one_class)
      IG_GOTO(ig_fail(IG_ERR_DATA,
                      "%s: class %s has %lld samples in the %s part and none in the training part; every "
                      "class needs training samples",
                      d->path, ig_quote(q, d->classes[c]),
                      (long long)(k[IG_PART_VAL] ? k[IG_PART_VAL] : k[IG_PART_TEST]),
                      k[IG_PART_VAL] ? "validation" : "test"));
  }
  if (present < 2 && !b->options->allow_one_class)
    IG_GOTO(ig_fail(IG_ERR_DATA, "%s has one class only (%s, %zu samples); at least two are needed to learn from",
                    d->path, ig_quote(q, d->classes[one]), b->n));
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

// The fraction of split=, or -1 where it is a file's name.
static ig_status split_fraction(const ig_dataset_options *o, double *fraction) {
  *fraction = -1;
  if (!o->split || !*o->split)
    return IG_OK;
  char *end;
  double f = strtod(o->split, &end);
  if (end == o->split || *end)
    return IG_OK;
  if (!(f > 0 && f < 1))
    return ig_fail(IG_ERR_USAGE, "split=%s: expected a share between 0 and 1, such as 0.2, or a CSV file", o->split);
  *fraction = f;
  return IG_OK;
}

static ig_status set_parts(ig_builder *b, double fraction) {
  size_t counts[IG_N_PARTS] = {0};
  if (b->d->task == IG_TASK_CLASSIFY)
    b->n_strata = b->d->n_classes;
  for (size_t i = 0; i < b->n; i++) {
    if (b->d->task == IG_TASK_CLASSIFY)
      b->items[i].stratum = b->items[i].sample.label;
    if (b->items[i].part == IG_PART_NONE)
      b->items[i].part = b->options->needs_labels ? IG_PART_TRAIN : IG_PART_TEST;
    counts[b->items[i].part]++;
  }
  b->d->val_was_given = counts[IG_PART_VAL] > 0;
  if (counts[IG_PART_VAL] == 0 && counts[IG_PART_TRAIN] && b->options->needs_labels)
    IG_TRY(ig_hold_out(b, fraction > 0 ? fraction : counts[IG_PART_TEST] ? 0.15 : 0.2));
  return IG_OK;
}

static int by_int(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }

// Samples, indices, fingerprint and typical size from the finished candidates.
static ig_status finish(ig_builder *b) {
  ig_dataset *d = b->d;
  ig_sha256 *h;
  int w[MAX_TYPICAL], height[MAX_TYPICAL], n_sizes = 0;
  d->n = b->n;
  IG_TRY(ig_alloc_array(b->n, sizeof *d->samples, "samples of a data set", &d->samples));
  for (size_t i = 0; i < b->n; i++) {
    d->samples[i] = b->items[i].sample;
    d->samples[i].part = (ig_part)b->items[i].part;
    d->count[b->items[i].part]++;
  }
  size_t at[IG_N_PARTS] = {0};
  for (int p = 0; p < IG_N_PARTS; p++)
    IG_TRY(ig_alloc_array(d->count[p], sizeof *d->index[p], "sample numbers", &d->index[p]));
  for (size_t i = 0; i < d->n; i++)
    d->index[d->samples[i].part][at[d->samples[i].part]++] = i;

  IG_TRY(ig_sha256_create(&h));
  ig_sha256_update(h, "ingot data set 1", 17);
  for (int c = 0; c < d->n_classes; c++)
    ig_sha256_update(h, d->classes[c], strlen(d->classes[c]) + 1);
  for (size_t i = 0; i < d->n; i++) {
    uint64_t bytes = b->items[i].bytes;
    uint32_t label = (uint32_t)d->samples[i].label;
    uint8_t tail[13];
    for (int k = 0; k < 8; k++)
      tail[k] = (uint8_t)(bytes >> (8 * k));
    for (int k = 0; k < 4; k++)
      tail[8 + k] = (uint8_t)(label >> (8 * k));
    tail[12] = (uint8_t)d->samples[i].part;
    ig_sha256_update(h, d->samples[i].name, strlen(d->samples[i].name) + 1);
    ig_sha256_update(h, tail, sizeof tail);
    if (d->targets)
      ig_sha256_update(h, d->targets + i * (size_t)d->n_classes, (size_t)d->n_classes * sizeof *d->targets);
  }
  ig_sha256_finish(h, d->fingerprint);
  if (!d->fingerprint[0])
    return ig_fail(IG_ERR_INTERNAL, "libcrypto could not compute a SHA-256 digest");

  // A spread of those probed; all are, unless the set is large.
  size_t probed = 0, seen = 0;
  for (size_t i = 0; i < b->n; i++)
    probed += b->items[i].w > 0;
  for (size_t i = 0; i < b->n && n_sizes < MAX_TYPICAL; i++) {
    if (b->items[i].w == 0 || seen++ % (probed / MAX_TYPICAL + 1))
      continue;
    w[n_sizes] = b->items[i].w;
    height[n_sizes++] = b->items[i].h;
  }
  if (n_sizes) {
    qsort(w, (size_t)n_sizes, sizeof *w, by_int);
    qsort(height, (size_t)n_sizes, sizeof *height, by_int);
    d->typical_w = w[n_sizes / 2];
    d->typical_h = height[n_sizes / 2];
  }
  return IG_OK;
}

// Candidates of all sources, with parts where the form knows them.
static ig_status read_sources(ig_builder *b, double fraction) {
  const ig_dataset_options *o = b->options;
  const char *dot = strrchr(o->data, '.');
  bool csv = o->split && *o->split && fraction < 0, list = !csv && dot && !strcasecmp(dot, ".csv");
  char q[IG_QUOTE_BYTES];
  if (!ig_path_exists(o->data))
    return ig_fail(IG_ERR_NOT_FOUND, "data=%s: no such folder or file", ig_quote(q, o->data));
  if ((csv || list) && o->val)
    return ig_fail(IG_ERR_USAGE, "val= and %s=%s contradict: a split file names the validation part itself",
                   csv ? "split" : "data", csv ? o->split : o->data);
  if (ig_is_cifar(o->data)) {
    if (csv || o->val)
      return ig_fail(IG_ERR_USAGE, "%s goes with a folder of pictures; %s holds CIFAR records",
                     csv ? "split=FILE" : "val=", o->data);
    return ig_read_cifar(b, o->data);
  }
  if (csv || list)
    return ig_read_split_csv(b, csv ? o->split : o->data);
  IG_TRY(ig_read_folder(b, o->data, IG_PART_NONE));
  if (!o->val)
    return IG_OK;
  if (!ig_path_is_dir(o->val))
    return ig_fail(IG_ERR_NOT_FOUND, "val=%s: no such folder", ig_quote(q, o->val));
  size_t kept = 0;
  for (size_t i = 0; i < b->n; i++)
    if (b->items[i].part != IG_PART_VAL)
      b->items[kept++] = b->items[i];
  b->n = kept;
  return ig_read_folder(b, o->val, IG_PART_VAL);
}

ig_status ig_dataset_open(const ig_dataset_options *options, ig_dataset **out) {
  ig_status status = IG_OK;
  ig_builder b = {.options = options};
  double fraction;
  char q[IG_QUOTE_BYTES];
  *out = NULL;
  if (!options->data || !*options->data)
    return ig_fail(IG_ERR_USAGE, "data= is missing: name a folder of pictures or a CIFAR file");
  IG_TRY(split_fraction(options, &fraction));
  IG_TRY(ig_alloc(sizeof *b.d, "a data set", &b.d));
  b.d->kind = IG_DATASET_FOLDER;
  IG_GOTO(ig_alloc(sizeof *b.d->memory, "a data set", &b.d->memory));
  IG_GOTO(ig_strdup(options->data, &b.d->path));
  IG_GOTO(read_sources(&b, fraction));
  IG_GOTO(ig_decide_task(&b));
  if (b.d->kind == IG_DATASET_FOLDER) {
    if (b.n)
      qsort(b.items, b.n, sizeof *b.items, by_class_and_name);
    // Before the probe, which may leave a class without a readable picture: that is an empty class too.
    size_t first_probe_empty = b.n_empty;
    const char *last = NULL;
    for (size_t i = 0; i < b.n; i++) {
      const char *c = b.items[i].class_name;
      if (!c || (last && !strcmp(last, c)))
        continue;
      IG_GOTO(ig_grow(&b.empty, &b.empty_capacity, b.n_empty, b.n_empty + 1, sizeof *b.empty, "class names"));
      b.empty[b.n_empty++] = last = c;
    }
    IG_GOTO(probe_all(&b));
    size_t kept = first_probe_empty;
    for (size_t k = first_probe_empty, i = 0; k < b.n_empty; k++) {
      while (i < b.n && (!b.items[i].class_name || strcmp(b.items[i].class_name, b.empty[k]) < 0))
        i++;
      if (i == b.n || strcmp(b.items[i].class_name, b.empty[k]))
        b.empty[kept++] = b.empty[k];
    }
    b.n_empty = kept;
    if (b.d->task == IG_TASK_CLASSIFY)
      IG_GOTO(set_labels(&b));
  }
  if (b.n_ignored)
    ig_builder_warn(&b, "ignored %zu files that are no pictures by their names (first: %s)", b.n_ignored,
                    ig_quote(q, b.first_ignored));
  if (b.n_outside && b.n)
    ig_builder_warn(&b, "ignored %zu pictures outside of class folders (first: %s)", b.n_outside,
                    ig_quote(q, b.first_outside));
  IG_GOTO(check(&b));
  if (b.d->task != IG_TASK_CLASSIFY)
    IG_GOTO(ig_set_targets(&b));
  IG_GOTO(set_parts(&b, fraction));
  IG_GOTO(finish(&b));
  *out = b.d;
  b.d = NULL;
done:
  ig_free(b.items);
  ig_free(b.empty);
  ig_free(b.columns);
  ig_free(b.column_numbers);
  ig_dataset_close(b.d);
  return status;
}

void ig_dataset_close(ig_dataset *d) {
  if (!d)
    return;
  for (block *b = d->memory ? d->memory->blocks : NULL, *next; b; b = next) {
    next = b->next;
    ig_free(b);
  }
  ig_free(d->memory);
  for (int p = 0; p < IG_N_PARTS; p++)
    ig_free(d->index[p]);
  ig_free(d->samples);
  ig_free(d->targets);
  ig_free(d->classes);
  ig_free(d->path);
  ig_free(d);
}

void ig_dataset_class_counts(const ig_dataset *d, ig_part part, int64_t *counts) {
  memset(counts, 0, (size_t)d->n_classes * sizeof *counts);
  for (size_t i = 0; i < d->n; i++) {
    if (part != IG_PART_ALL && d->samples[i].part != part)
      continue;
    if (d->samples[i].label >= 0)
      counts[d->samples[i].label]++;
    for (int c = 0; d->task == IG_TASK_MULTILABEL && c < d->n_classes; c++)
      counts[c] += d->targets[i * (size_t)d->n_classes + (size_t)c] > 0.5f;
  }
}
