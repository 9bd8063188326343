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
typedef struct kept {
  struct kept *next;
  void *data;
} kept;
struct ig_dataset_memory {
  block *blocks;
  kept *kept;
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

const char *ig_dataset_noun_of(const ig_dataset *d, size_t n) {
  return d->kind == IG_DATASET_TEXT     ? ig_plural(n, "text", "texts")
         : d->kind == IG_DATASET_CORPUS ? ig_plural(n, "text window", "text windows")
                                        : ig_plural(n, "picture", "pictures");
}
const char *ig_dataset_noun(const ig_dataset *d) { return ig_dataset_noun_of(d, 2); }

int ig_part_from_text(const char *text) {
  static const struct {
    const char *text;
    int part;
  } known[] = {{"train", IG_PART_TRAIN}, {"training", IG_PART_TRAIN}, {"val", IG_PART_VAL},
               {"valid", IG_PART_VAL},   {"validation", IG_PART_VAL}, {"dev", IG_PART_VAL},
               {"test", IG_PART_TEST},   {"testing", IG_PART_TEST}};
  size_t n = strlen(text);
  if (n > 3 && !strcasecmp(text + n - 3, "set")) {  // training_set, "test set", valset
    n -= 3;
    n -= strchr("_- ", text[n - 1]) != NULL;
  }
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (!strncasecmp(text, known[i].text, n) && !known[i].text[n])
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

ig_status ig_dataset_keep(ig_dataset *d, void *data) {
  kept *k;
  IG_TRY(ig_alloc(sizeof *k, "a data set", &k));
  *k = (kept){d->memory->kept, data};
  d->memory->kept = k;
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

void ig_builder_end_skips(const ig_builder *b) {
  if (b->d->n_skipped > MAX_NAMED && !b->options->skipped)
    ig_builder_warn(b, "skipped %zu more %s that cannot be used (%zu in all)", b->d->n_skipped - MAX_NAMED,
                    b->tables ? "rows" : "files", b->d->n_skipped);
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
      if (info.more_pages && b->n_paged++ == 0)
        b->first_paged = item->sample.name;
      item->w = info.w;
      item->h = info.h;
    }
    b->items[kept++] = *item;
  }
  b->n = kept;
  ig_error_clear();
  return IG_OK;
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
    IG_TRY(ig_hold_out(b, fraction > 0 ? fraction : !counts[IG_PART_TEST] ? 0.2 : b->options->text ? 0.1 : 0.15));
  return IG_OK;
}

static int by_int(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }

static void hash_text(ig_sha256 *h, const char *text, size_t n) {
  uint8_t bytes[8];
  for (int k = 0; k < 8; k++)
    bytes[k] = (uint8_t)((uint64_t)n >> (8 * k));
  ig_sha256_update(h, bytes, sizeof bytes);
  ig_sha256_update(h, text, n);
}

// Texts are at hand, so that they count as they are.
static void hash_texts(ig_sha256 *h, const ig_dataset *d) {
  for (size_t i = 0; i < d->n; i++) {
    const ig_text_sample *t = &d->texts[i];
    hash_text(h, t->first, t->n_first);
    hash_text(h, t->second, t->n_second);
    for (size_t k = 0; k < t->n_words; k++)
      hash_text(h, t->words[k], strlen(t->words[k]));
    if (t->word_labels)
      ig_sha256_update(h, t->word_labels, t->n_words * sizeof *t->word_labels);
  }
}

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
  if (b->options->text)
    IG_TRY(ig_alloc_array(b->n, sizeof *d->texts, "texts of a data set", &d->texts));
  for (size_t i = 0; d->texts && i < b->n; i++) {
    d->texts[i] = b->items[i].text;
    d->n_invalid += d->texts[i].n_invalid;
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
  if (d->texts)
    hash_texts(h, d);
  ig_sha256_finish(h, d->fingerprint);
  if (!d->fingerprint[0])
    return ig_fail(IG_ERR_INTERNAL, "libcrypto could not compute a SHA-256 digest");

  // A spread of those probed; all are, unless the set is large.
  size_t probed = 0, seen = 0;
  double pixels = 0;
  for (size_t i = 0; i < b->n; i++) {
    probed += b->items[i].w > 0;
    pixels += (double)b->items[i].w * b->items[i].h;
  }
  d->mean_pixels = probed ? pixels / (double)probed : 0;
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
  if (!o->lines && !ig_path_exists(o->data))
    return ig_fail(IG_ERR_NOT_FOUND, "data=%s: no such folder or file", ig_quote(q, o->data));
  if ((csv || (list && !o->text)) && o->val)
    return ig_fail(IG_ERR_USAGE, "val= and %s=%s contradict: a split file names the validation part itself",
                   csv ? "split" : "data", csv ? o->split : o->data);
  if (o->text)
    return ig_read_texts(b, csv);
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
  IG_TRY(ig_read_folder(b, o->val, IG_PART_VAL));
  return ig_tell_shared(b, kept);
}

// Samples that are files each: sorted, read (pictures: their headers), and what is of no use is dropped.
static ig_status examine_files(ig_builder *b) {
  if (b->n)
    qsort(b->items, b->n, sizeof *b->items, by_class_and_name);
  // Before they are read, which may leave a class without a readable file: that is an empty class too.
  size_t first = b->n_empty, kept = b->n_empty;
  const char *last = NULL;
  for (size_t i = 0; i < b->n; i++) {
    const char *c = b->items[i].class_name;
    if (!c || (last && !strcmp(last, c)))
      continue;
    IG_TRY(ig_grow(&b->empty, &b->empty_capacity, b->n_empty, b->n_empty + 1, sizeof *b->empty, "class names"));
    b->empty[b->n_empty++] = (ig_empty_class){c, b->csv ? b->items[i].sample.name : NULL, b->items[i].row};
    last = c;
  }
  IG_TRY(b->options->text ? ig_load_text_files(b) : probe_all(b));
  for (size_t k = first, i = 0; k < b->n_empty; k++) {
    while (i < b->n && (!b->items[i].class_name || strcmp(b->items[i].class_name, b->empty[k].name) < 0))
      i++;
    if (i == b->n || strcmp(b->items[i].class_name, b->empty[k].name))
      b->empty[kept++] = b->empty[k];
  }
  b->n_empty = kept;
  return IG_OK;
}

static void tell_ignored(const ig_builder *b) {
  const char *one = b->options->text ? "text" : "picture", *many = b->options->text ? "texts" : "pictures";
  char q[IG_QUOTE_BYTES];
  if (b->n_ignored)
    ig_builder_warn(
        b, "ignored %zu %s no %s by %s (first: %s)", b->n_ignored,
        ig_plural(b->n_ignored, "file that is", "files that are"),
        b->options->text ? ig_plural(b->n_ignored, "text", "texts") : ig_plural(b->n_ignored, "picture", "pictures"),
        ig_plural(b->n_ignored, "its name", "their names"), ig_quote(q, b->first_ignored));
  if (b->n_paged)
    ig_builder_warn(b, "ignored all pages but the first of %zu %s (the first such: %s)", b->n_paged,
                    ig_plural(b->n_paged, "picture", "pictures"), ig_quote(q, b->first_paged));
  if (b->n_runs)
    ig_builder_warn(b, "ignored %zu %s (first: %s)", b->n_runs,
                    ig_plural(b->n_runs, "folder of a run", "folders of runs"), ig_quote(q, b->first_run));
  if (b->n_outside && b->n)
    ig_builder_warn(b, "ignored %zu %s outside of class folders (first: %s)", b->n_outside,
                    ig_plural(b->n_outside, one, many), ig_quote(q, b->first_outside));
  if (b->n_beside)
    ig_builder_warn(b, "ignored %zu %s beside train, val and test (first: %s); to use its %s, move it into one of them",
                    b->n_beside, ig_plural(b->n_beside, "folder", "folders"), ig_quote(q, b->first_beside), many);
}

ig_status ig_dataset_open(const ig_dataset_options *options, ig_dataset **out) {
  ig_status status = IG_OK;
  ig_builder b = {.options = options};
  double fraction;
  *out = NULL;
  if (!options->data || !*options->data)
    return ig_fail(IG_ERR_USAGE, "data= is missing: name %s",
                   options->text ? "a table of texts or a folder" : "a folder of pictures or a CIFAR file");
  if (!options->text && (options->task == IG_TASK_TAG || options->task == IG_TASK_MLM))
    return ig_fail(IG_ERR_USAGE,
                   "task=%s is for texts, and these are pictures; expected classify, regress or multilabel",
                   ig_task_name(options->task));
  if (options->text && options->task == IG_TASK_MLM)
    return ig_open_corpus(options, out);
  IG_TRY(split_fraction(options, &fraction));
  IG_TRY(ig_alloc(sizeof *b.d, "a data set", &b.d));
  b.d->kind = options->text ? IG_DATASET_TEXT : IG_DATASET_FOLDER;
  IG_GOTO(ig_alloc(sizeof *b.d->memory, "a data set", &b.d->memory));
  IG_GOTO(ig_strdup(options->data, &b.d->path));
  IG_GOTO(read_sources(&b, fraction));
  IG_GOTO(ig_decide_task(&b));
  if (b.d->kind != IG_DATASET_CIFAR10 && b.d->kind != IG_DATASET_CIFAR100) {
    if (!b.tables)
      IG_GOTO(examine_files(&b));
    ig_builder_end_skips(&b);
    if (b.d->task == IG_TASK_CLASSIFY)
      IG_GOTO(ig_set_labels(&b));
  }
  tell_ignored(&b);
  IG_GOTO(ig_check_classes(&b));
  if (b.d->task == IG_TASK_TAG)
    IG_GOTO(ig_set_tags(&b));
  else if (b.d->task != IG_TASK_CLASSIFY)
    IG_GOTO(ig_set_targets(&b));
  IG_GOTO(ig_tell_alike(&b));
  IG_GOTO(set_parts(&b, fraction));
  IG_GOTO(finish(&b));
  *out = b.d;
  b.d = NULL;
done:
  ig_free(b.items);
  ig_free(b.empty);
  ig_free(b.columns);
  ig_free(b.mended.data);
  ig_dataset_close(b.d);
  return status;
}

void ig_token_table_free(ig_token_table *t) {
  if (!t)
    return;
  ig_free(t->start);
  ig_free(t->ids);
  ig_free(t->second);
  ig_free(t->labels);
  ig_free(t->words);
  ig_free(t);
}

void ig_dataset_close(ig_dataset *d) {
  if (!d)
    return;
  for (block *b = d->memory ? d->memory->blocks : NULL, *next; b; b = next) {
    next = b->next;
    ig_free(b);
  }
  for (kept *k = d->memory ? d->memory->kept : NULL, *next; k; k = next) {
    next = k->next;
    ig_free(k->data);
    ig_free(k);
  }
  ig_free(d->memory);
  ig_token_table_free(d->tokens);
  ig_close_corpus(d);
  ig_free(d->texts);
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
  for (size_t i = 0; d->samples && i < d->n; i++) {
    if (part != IG_PART_ALL && d->samples[i].part != part)
      continue;
    if (d->samples[i].label >= 0)
      counts[d->samples[i].label]++;
    for (int c = 0; d->task == IG_TASK_MULTILABEL && c < d->n_classes; c++)
      counts[c] += d->targets[i * (size_t)d->n_classes + (size_t)c] > 0.5f;
    for (size_t k = 0; d->task == IG_TASK_TAG && d->texts[i].word_labels && k < d->texts[i].n_words; k++)
      if (d->texts[i].word_labels[k] >= 0)
        counts[d->texts[i].word_labels[k]]++;
  }
}
