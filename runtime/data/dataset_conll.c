// Sentences of words with tags (CoNLL): a word and its tag a line, a blank line between sentences. Rule: the first
// column is the word, the last its tag; every line has as many columns as the first; words are slices of the file.
//
// Columns are cut at tabs where the first line has one, else at runs of blanks. Lines whose word is -DOCSTART- are
// passed over.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/base/text.h"
#include "runtime/data/dataset_internal.h"

#define MAX_BYTES ((uint64_t)1 << 36)

typedef struct reader {
  ig_builder *b;
  const char *path, *name;
  int part;
  bool tabs;
  size_t columns;  // 0 before the first line
  size_t line, first_line;
  const char **words, **tags;  // of the whole file; tags NULL without labels
  size_t n, start;             // words so far; of the present sentence
  ig_text_sample counts;       // n_invalid of the present sentence
} reader;

static ig_status end_sentence(reader *r) {
  ig_builder *b = r->b;
  if (r->n == r->start)
    return IG_OK;
  ig_candidate item = {.row = r->first_line, .part = r->part};
  item.sample.record = (int64_t)r->first_line;
  item.sample.label = -1;
  item.sample.path = r->path;
  item.text.words = r->words + r->start;
  item.text.n_words = r->n - r->start;
  item.text.n_invalid = r->counts.n_invalid;
  r->counts.n_invalid = 0;
  item.tags = r->tags ? r->tags + r->start : NULL;
  for (size_t i = 0; i < item.text.n_words; i++)
    item.bytes += strlen(item.text.words[i]);
  r->start = r->n;
  char name[512];
  int n = snprintf(name, sizeof name, "%s:%zu", r->name, r->first_line);
  IG_TRY(ig_dataset_text(b->d, name, n < (int)sizeof name ? (size_t)n : sizeof name - 1, &item.sample.name));
  return ig_builder_add(b, &item);
}

static bool is_blank(const reader *r, char c) { return c == '\t' || (c == ' ' && !r->tabs) || c == '\r'; }

// Cuts [p, end) where it lies; *end may be overwritten.
static ig_status read_line(reader *r, char *p, char *end) {
  char *first = NULL, *last = NULL;
  size_t columns = 0, n_first = 0, n_last = 0;
  while (end > p && (is_blank(r, end[-1]) || end[-1] == ' '))
    end--;
  if (end == p)
    return end_sentence(r);
  if (r->columns == 0)
    r->tabs = memchr(p, '\t', (size_t)(end - p)) != NULL;
  while (p < end) {
    char *stop = p;
    while (stop < end && !is_blank(r, *stop))
      stop++;
    last = p;
    n_last = (size_t)(stop - p);
    if (!columns++) {
      first = p;
      n_first = n_last;
    }
    p = stop + 1;
    while (!r->tabs && p < end && is_blank(r, *p))
      p++;
    *stop = 0;
  }
  if (!strcmp(first, "-DOCSTART-"))
    return end_sentence(r);
  if (r->columns == 0) {
    r->columns = columns;
    if (columns < 2 && r->tags)
      return ig_fail(IG_ERR_FORMAT, "%s:%zu:1: found one column, expected a word and its tag, a line each", r->path,
                     r->line);
  }
  if (columns != r->columns)
    return ig_fail(IG_ERR_FORMAT, "%s:%zu:%zu: found %zu %s; the first line has %zu%s", r->path, r->line,
                   columns < r->columns ? columns : r->columns + 1, columns, ig_plural(columns, "column", "columns"),
                   r->columns, r->tabs ? " (cut at tabs)" : " (cut at blanks)");
  if (!n_first || !n_last)
    return ig_fail(IG_ERR_FORMAT, "%s:%zu:1: the %s is empty", r->path, r->line, n_first ? "tag" : "word");
  if (r->n == r->start)
    r->first_line = r->line;
  IG_TRY(ig_take_text(r->b, first, n_first, &r->counts, &r->words[r->n], &n_first));
  if (r->tags && strlen(last) != n_last)
    return ig_fail(IG_ERR_FORMAT, "%s:%zu:%zu: a NUL byte in this tag", r->path, r->line, columns);
  if (r->tags)
    r->tags[r->n] = last;
  r->n++;
  return IG_OK;
}

// Arrays for as many words as the file has lines.
static ig_status make_arrays(reader *r, const char *data, size_t n, char line_end) {
  size_t lines = 1;
  ig_dataset *d = r->b->d;
  for (const char *p = data, *end = data + n; (p = memchr(p, line_end, (size_t)(end - p))) != NULL; p++)
    lines++;
  const char ***to[] = {&r->words, &r->tags};
  for (int i = 0; i < (r->b->options->needs_labels ? 2 : 1); i++) {
    IG_TRY(ig_alloc_array(lines, sizeof **to[i], "words", to[i]));
    ig_status status = ig_dataset_keep(d, (void *)*to[i]);
    if (status != IG_OK) {
      ig_free((void *)*to[i]);
      return status;
    }
  }
  return IG_OK;
}

ig_status ig_read_conll(ig_builder *b, const char *path, const char *name, int part) {
  reader r = {.b = b, .part = part};
  uint8_t *data;
  size_t n;
  IG_TRY(ig_dataset_text(b->d, path, strlen(path), &r.path));
  IG_TRY(ig_dataset_text(b->d, name, strlen(name), &r.name));
  IG_TRY(ig_file_read(path, MAX_BYTES, &data, &n));
  ig_status status = ig_dataset_keep(b->d, data);
  if (status != IG_OK) {
    ig_free(data);
    return status;
  }
  char *p = (char *)data, *end = p + n;
  if (n >= 2 && (!memcmp(p, "\xff\xfe", 2) || !memcmp(p, "\xfe\xff", 2)))
    return ig_fail(IG_ERR_FORMAT, "%s:1:1: found UTF-16, expected UTF-8; save the file as UTF-8", path);
  p += n >= 3 && !memcmp(p, "\xef\xbb\xbf", 3) ? 3 : 0;
  const char line_end = ig_line_end(p, (size_t)(end - p));
  IG_TRY(make_arrays(&r, p, (size_t)(end - p), line_end));
  b->tables = true;
  while (p < end) {
    char *stop = memchr(p, line_end, (size_t)(end - p));
    stop = stop ? stop : end;
    r.line++;
    IG_TRY(read_line(&r, p, stop));
    p = stop + 1;
  }
  IG_TRY(end_sentence(&r));
  if (r.n == 0)
    return ig_fail(IG_ERR_DATA, "%s is empty: found no word; expected a word and its tag a line", path);
  return IG_OK;
}

// The k-th word's.
static ig_status check_tag(const ig_builder *b, const ig_candidate *item, size_t k) {
  char q[IG_QUOTE_BYTES];
  if (ig_is_utf8(item->tags[k]))
    return IG_OK;
  return ig_tell_not_utf8(b, ig_fail(IG_ERR_FORMAT, "%s:%zu: tag %s is not UTF-8; save the file as UTF-8",
                                     item->sample.path, item->row + k, ig_quote(q, item->tags[k])));
}

static ig_status gather_tags(ig_builder *b, const char ***names, size_t *n) {
  const ig_dataset_options *o = b->options;
  size_t capacity = 0;
  for (int i = 0; o->classes && i < o->n_classes; i++) {
    IG_TRY(ig_grow(names, &capacity, *n, *n + 1, sizeof **names, "names of tags"));
    IG_TRY(ig_dataset_text(b->d, o->classes[i], strlen(o->classes[i]), &(*names)[(*n)++]));
  }
  if (o->classes)
    return IG_OK;
  for (size_t i = 0; i < b->n; i++)
    for (size_t k = 0; b->items[i].tags && k < b->items[i].text.n_words; k++) {
      const char *tag = b->items[i].tags[k];
      bool known = false;
      for (size_t c = 0; c < *n && c < 64 && !known; c++)  // few tags stand at most words
        known = !strcmp((*names)[c], tag);
      if (known)
        continue;
      IG_TRY(check_tag(b, &b->items[i], k));
      IG_TRY(ig_grow(names, &capacity, *n, *n + 1, sizeof **names, "names of tags"));
      (*names)[(*n)++] = tag;
    }
  IG_TRY(ig_distinct_texts(*names, n, false));
  ig_order_names(b, *names, *n);
  return ig_fit_nameless(b, true, names, n);
}

static ig_status number_words(ig_builder *b, const ig_class_finder *finder) {
  size_t words = 0;
  int32_t *labels;
  for (size_t i = 0; i < b->n; i++)
    words += b->items[i].tags ? b->items[i].text.n_words : 0;
  IG_TRY(ig_alloc_array(words, sizeof *labels, "labels of words", &labels));
  ig_status status = ig_dataset_keep(b->d, labels);
  if (status != IG_OK) {
    ig_free(labels);
    return status;
  }
  for (size_t i = 0; i < b->n; i++) {
    ig_candidate *item = &b->items[i];
    if (!item->tags)
      continue;
    item->text.word_labels = labels;
    for (size_t k = 0; k < item->text.n_words; k++)
      IG_TRY(ig_class_find(finder, item->tags[k], item->sample.name, labels++));
  }
  return IG_OK;
}

// Sentences of a tag in training and elsewhere: what is never learned is warned of, and the rarest is the stratum.
static ig_status set_strata(ig_builder *b, size_t n) {
  ig_status status = IG_OK;
  size_t *counts = NULL, present = 0;
  char q[IG_QUOTE_BYTES];
  IG_TRY(ig_alloc_array(2 * (n + 1), sizeof *counts, "counts of tags", &counts));
  size_t *trained = counts + n + 1;
  for (size_t i = 0; i < b->n; i++)
    for (size_t k = 0; b->items[i].text.word_labels && k < b->items[i].text.n_words; k++) {
      counts[b->items[i].text.word_labels[k]]++;
      trained[b->items[i].text.word_labels[k]] += b->items[i].part == IG_PART_TRAIN || b->items[i].part == IG_PART_NONE;
    }
  for (size_t c = 0; c < n; c++) {
    present += counts[c] > 0;
    if (counts[c] && !trained[c] && !b->options->allow_one_class)
      ig_builder_warn(b, "tag %s stands at %zu %s of other parts and at none of the training part",
                      ig_quote(q, b->d->classes[c]), counts[c], ig_plural(counts[c], "word", "words"));
  }
  if (present < 2 && b->options->needs_labels && !b->options->allow_one_class)
    IG_GOTO(ig_fail(IG_ERR_DATA, "%s has one tag only (%s, %zu %s); at least two are needed to learn from", b->d->path,
                    ig_quote(q, b->d->classes[0]), b->n, ig_plural(b->n, "sentence", "sentences")));
  counts[n] = SIZE_MAX;
  b->n_strata = (int)n + 1;
  for (size_t i = 0; i < b->n; i++) {
    ig_candidate *item = &b->items[i];
    item->stratum = (int)n;
    for (size_t k = 0; item->text.word_labels && k < item->text.n_words; k++)
      if (counts[item->text.word_labels[k]] < counts[item->stratum])
        item->stratum = item->text.word_labels[k];
  }
done:
  ig_free(counts);
  return status;
}

static bool is_gap(char c) { return !c || strchr(" \t\r\n\v\f", c) != NULL; }

// A text that is only to be tagged: its words lie between blanks.
static ig_status split_words(ig_builder *b, ig_text_sample *t) {
  const char *copy;
  size_t n = 0;
  IG_TRY(ig_dataset_text(b->d, t->first, t->n_first, &copy));
  for (size_t i = 0; i < t->n_first; i++)
    n += !is_gap(copy[i]) && (i == 0 || is_gap(copy[i - 1]));
  const char **words;
  IG_TRY(ig_alloc_array(n + 1, sizeof *words, "words", &words));
  ig_status status = ig_dataset_keep(b->d, (void *)words);
  if (status != IG_OK) {
    ig_free((void *)words);
    return status;
  }
  t->words = words;
  for (size_t i = 0, start = 0; i <= t->n_first; i++) {
    if (i < t->n_first && !is_gap(copy[i]))
      continue;
    if (i > start) {
      IG_TRY(ig_dataset_text(b->d, copy + start, i - start, &words[t->n_words]));
      t->n_words++;
    }
    start = i + 1;
  }
  return IG_OK;
}

ig_status ig_set_tags(ig_builder *b) {
  ig_status status = IG_OK;
  const char **names = NULL;
  size_t n = 0;
  ig_class_finder finder = {0};
  for (size_t i = 0; i < b->n; i++)
    if (!b->items[i].text.words)
      IG_GOTO(split_words(b, &b->items[i].text));
  IG_GOTO(gather_tags(b, &names, &n));
  IG_GOTO(ig_class_finder_init(&finder, b, names, n));
  finder.by_number = false;
  IG_GOTO(number_words(b, &finder));
  IG_GOTO(ig_set_class_names(b, names, n));
  IG_GOTO(set_strata(b, n));
done:
  ig_class_finder_fini(&finder);
  ig_free((void *)names);
  return status;
}
