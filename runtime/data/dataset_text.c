// Labelled texts: tables, files named as parts, class folders of .txt files, texts listed by a split file. Rule: texts
// are slices of the files as they were read, but for those that had to be mended (mend.h).
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/base/text.h"
#include "runtime/data/dataset_internal.h"
#include "runtime/data/mend.h"

#define MAX_TABLE_BYTES ((uint64_t)1 << 36)
#define MAX_LOOKED_AT   4096  // bytes of a file that tell a picture or an archive from text

char ig_line_end(const char *p, size_t n) { return n && !memchr(p, '\n', n) && memchr(p, '\r', n) ? '\r' : '\n'; }

bool ig_text_is_blank(const char *text, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (text[i] && !strchr(" \t\n\r\v\f", text[i]))
      return false;
  return true;
}

ig_status ig_take_text(ig_builder *b, const char *p, size_t n, ig_text_sample *t, const char **out, size_t *n_out) {
  const size_t before = t->n_invalid;
  IG_TRY(ig_mend_text(p, n, &b->mended, &t->n_invalid, out, n_out));
  return t->n_invalid > before ? ig_dataset_text(b->d, *out, *n_out, out) : IG_OK;
}

// CoLA of GLUE: four columns without a header, the label in the second, the text in the fourth.
static bool is_cola(const ig_table *t) {
  return t->form == IG_TABLE_TSV && t->n_names == 4 && (!strcmp(t->name[1], "0") || !strcmp(t->name[1], "1"));
}

static ig_status open_table(ig_builder *b, const char *path, ig_table *t) {
  static const char *const cola[] = {"source", "label", "original", "sentence"};
  ig_table_form form = IG_TABLE_CSV;
  uint8_t *data;
  size_t n;
  ig_table_form_of(path, &form);
  IG_TRY(ig_file_read(path, MAX_TABLE_BYTES, &data, &n));
  ig_status status = ig_dataset_keep(b->d, data);
  if (status != IG_OK) {
    ig_free(data);
    return status;
  }
  IG_TRY(ig_table_init(t, path, form, (char *)data, n));
  t->nul_ok = true;
  IG_TRY(ig_table_header(t));
  if (t->n_names == 0)
    return ig_fail(IG_ERR_DATA, "%s is empty: found no row; expected a header with the names of the columns, then rows",
                   path);
  if (!is_cola(t) || b->options->text_column)
    return ig_table_check_names(t);
  ig_table_no_header(t, cola, 4);
  return IG_OK;
}

typedef struct source {
  const char *path, *name;  // of the data set's memory; name: for people
  int part;
  ig_text_columns columns;
  const size_t *labels;
} source;

static ig_status fail_cell(const ig_table *t, int column, const char *what) {
  char q[IG_QUOTE_BYTES];
  return ig_fail(IG_ERR_FORMAT, "%s:%zu:%d: column %s: %s", t->path, t->row, column + 1, ig_quote(q, t->name[column]),
                 what);
}

static ig_status take_text(ig_builder *b, const ig_table *t, int column, ig_text_sample *s, const char **text,
                           size_t *n) {
  if (t->kind[column] == IG_CELL_MISSING || t->kind[column] == IG_CELL_ABSENT)
    return fail_cell(t, column, "this object has no text by this key");
  if (t->kind[column] != IG_CELL_TEXT)
    return fail_cell(t, column, "found a number, list or object, expected a text in quotes");
  return ig_take_text(b, t->cell[column], t->length[column], s, text, n);
}

// A cell with a meaning of its own: part or group.
static ig_status take_word(const ig_table *t, int column, const char **word) {
  if (t->kind[column] == IG_CELL_LIST || t->kind[column] == IG_CELL_NESTED)
    return fail_cell(t, column, "found a list or object, expected a word");
  *word = t->cell[column];
  return ig_table_check_nul(t, (size_t)column);
}

static ig_status take_part(ig_table *t, source *s, bool first, ig_candidate *item) {
  int column = s->columns.part;
  const char *word = NULL;
  char q[IG_QUOTE_BYTES];
  item->part = s->part;
  if (column < 0 || s->part != IG_PART_NONE)
    return IG_OK;
  IG_TRY(take_word(t, column, &word));
  item->part = ig_part_from_text(word);
  if (item->part != IG_PART_NONE)
    return IG_OK;
  if (first && !strcasecmp(t->name[column], "part")) {  // of a machine, say
    s->columns.part = -1;
    return IG_OK;
  }
  return ig_fail(IG_ERR_FORMAT, "%s:%zu:%d: part %s is unknown; expected train, val or test", t->path, t->row,
                 column + 1, ig_quote(q, word));
}

static ig_status take_labels(ig_builder *b, const ig_table *t, const source *s, ig_candidate *item) {
  item->columns = s->labels;
  for (size_t i = 0; i < b->n_columns; i++) {
    int column = (int)s->labels[i];
    if (t->kind[column] == IG_CELL_NESTED)
      return fail_cell(t, column, "found an object or a list that holds more than texts, expected a label");
    if (t->kind[column] == IG_CELL_ABSENT)
      return fail_cell(t, column, "this object has no label by this key; where none holds, write [] or null");
    IG_TRY(ig_table_check_nul(t, (size_t)column));
  }
  if (b->n_columns > 1)
    return ig_copy_cells(b, t, s->labels, &item->cells);
  item->cells = t->cell[s->labels[0]];
  return IG_OK;
}

// Words as people write them: `text, label`. Texts stay as they are.
static void trim_words(const ig_builder *b, ig_table *t, const source *s) {
  const int words[] = {s->columns.part, s->columns.group};
  for (size_t i = 0; i < 2; i++)
    if (words[i] >= 0)
      ig_table_trim(t, (size_t)words[i]);
  for (size_t i = 0; s->labels && i < b->n_columns; i++)
    ig_table_trim(t, s->labels[i]);
}

// *use: false for a row that was skipped.
static ig_status read_row(ig_builder *b, ig_table *t, source *s, bool first, ig_candidate *item, bool *use) {
  ig_text_sample *text = &item->text;
  trim_words(b, t, s);
  *item = (ig_candidate){.row = t->row};
  item->sample.record = (int64_t)t->row;
  item->sample.path = s->path;
  char name[512];
  int n = snprintf(name, sizeof name, "%s:%zu", s->name, t->row);
  IG_TRY(ig_dataset_text(b->d, name, n < (int)sizeof name ? (size_t)n : sizeof name - 1, &item->sample.name));
  IG_TRY(take_text(b, t, s->columns.first, text, &text->first, &text->n_first));
  if (s->columns.second >= 0)
    IG_TRY(take_text(b, t, s->columns.second, text, &text->second, &text->n_second));
  IG_TRY(take_part(t, s, first, item));
  const char *group = NULL;
  if (s->columns.group >= 0) {
    IG_TRY(take_word(t, s->columns.group, &group));
    item->sample.group = *group ? group : NULL;
  }
  if (s->labels)
    IG_TRY(take_labels(b, t, s, item));
  item->bytes = text->n_first + text->n_second;
  *use = !ig_text_is_blank(text->first, text->n_first) &&
         !(text->second && ig_text_is_blank(text->second, text->n_second));
  return *use ? IG_OK
              : ig_builder_skip(
                    b, item->sample.name,
                    ig_text_is_blank(text->first, text->n_first) ? "the text is empty" : "the second text is empty");
}

static ig_status read_rows(ig_builder *b, ig_table *t, source *s) {
  bool more;
  for (bool first = true;; first = false) {
    ig_candidate item;
    bool use;
    IG_TRY(ig_table_next(t, &more));
    if (!more)
      return first ? ig_fail(IG_ERR_DATA, "%s is empty: found a header and no row", s->path) : IG_OK;
    IG_TRY(read_row(b, t, s, first, &item, &use));
    if (use)
      IG_TRY(ig_builder_add(b, &item));
  }
}

// A table that has no text but names files is a split file.
static bool lists_files(const ig_builder *b, const ig_table *t) {
  if (b->options->text_column || (ig_table_find(t, "file") < 0 && ig_table_find(t, "path") < 0))
    return false;
  return ig_table_find(t, "text") < 0 && ig_table_find(t, "sentence") < 0 && ig_table_find(t, "sentence1") < 0;
}

// Parts of one set are all of one text a row, or all of two.
static ig_status check_pairs(const ig_builder *b, const ig_table *t, const source *s) {
  const bool pairs = s->columns.second >= 0;
  char q[IG_QUOTE_BYTES];
  if (b->n == 0 || (b->items[0].text.second != NULL) == pairs)
    return IG_OK;
  return ig_fail(IG_ERR_MISMATCH,
                 "%s:%zu:1: found %s a row, and %s has %s; expected the same in all parts (text_column= and "
                 "text2_column= name them)",
                 s->path, t->row, pairs ? "two texts" : "one text", ig_quote(q, b->items[0].sample.path),
                 pairs ? "one" : "two");
}

static ig_status read_table(ig_builder *b, ig_table *t, source *s) {
  char names[1024];
  IG_TRY(open_table(b, s->path, t));
  if (s->part == IG_PART_NONE && t->form == IG_TABLE_CSV && lists_files(b, t))
    return ig_read_split_csv(b, s->path);
  b->tables = true;
  IG_TRY(ig_find_text_columns(b, t, &s->columns));
  IG_TRY(check_pairs(b, t, s));
  IG_TRY(ig_find_label_columns(b, t, s->columns.taken, true, &s->labels));
  if (!s->labels && b->options->needs_labels) {
    ig_column_names(names, sizeof names, t);
    if (s->part != IG_PART_TEST)
      return ig_fail(IG_ERR_DATA,
                     "%s:%zu:1: no column holds the label: found %s; expected %s, or name it by label_column=", s->path,
                     t->row, names, b->n_columns ? b->columns[0] : "label, class, category or target");
    ig_builder_warn(b, "%s has no labels (columns %s): left out", s->name, names);
    return IG_OK;
  }
  if (s->labels && b->n == 0 && !b->options->text_column && !b->options->inspect)
    ig_tell_unread(b, t, &s->columns, s->labels);
  if (s->columns.part < 0 && b->options->split && !strcmp(b->options->split, s->path))
    ig_tell_no_parts(b, t);
  t->user = b;
  t->late_key = b->options->needs_labels ? ig_refuse_late_key : NULL;
  IG_TRY(read_rows(b, t, s));
  return b->options->inspect ? IG_OK : ig_check_groups(b, NULL, s->columns.group);
}

ig_status ig_read_text_table(ig_builder *b, const char *path, const char *name, int part) {
  source s = {.part = part};
  ig_table *t;
  IG_TRY(ig_dataset_text(b->d, path, strlen(path), &s.path));
  IG_TRY(ig_dataset_text(b->d, name, strlen(name), &s.name));
  IG_TRY(ig_alloc(sizeof *t, "a table", &t));
  ig_status status = read_table(b, t, &s);
  ig_free(t);
  return status;
}

// Prediction: every line is a text. data [n] lives as long as the data set.
static ig_status add_lines(ig_builder *b, const char *path, const char *name, const char *data, size_t n) {
  size_t line = 1;
  b->tables = true;
  const char *p = data, *end = p + n;
  if (n >= 2 && (!memcmp(p, "\xff\xfe", 2) || !memcmp(p, "\xfe\xff", 2)))
    return ig_fail(IG_ERR_FORMAT, "%s: found UTF-16, expected a text a line (UTF-8); save the file as UTF-8", path);
  p += n >= 3 && !memcmp(p, "\xef\xbb\xbf", 3) ? 3 : 0;
  const char line_end = ig_line_end(p, (size_t)(end - p));
  for (const char *next; p < end; p = next, line++) {
    const char *stop = memchr(p, line_end, (size_t)(end - p));
    next = stop ? stop + 1 : end;
    stop = stop ? stop : end;
    stop -= stop > p && stop[-1] == '\r';
    if (ig_text_is_blank(p, (size_t)(stop - p)))
      continue;
    ig_candidate item = {.row = line, .part = IG_PART_NONE};
    char text[512];
    IG_TRY(ig_take_text(b, p, (size_t)(stop - p), &item.text, &item.text.first, &item.text.n_first));
    int length = snprintf(text, sizeof text, "%s:%zu", name, line);
    item.bytes = item.text.n_first;
    item.sample.record = (int64_t)line;
    IG_TRY(
        ig_dataset_text(b->d, text, length < (int)sizeof text ? (size_t)length : sizeof text - 1, &item.sample.name));
    IG_TRY(ig_dataset_text(b->d, path, strlen(path), &item.sample.path));
    IG_TRY(ig_builder_add(b, &item));
  }
  return IG_OK;
}

static ig_status read_lines(ig_builder *b, const char *path, const char *name) {
  uint8_t *data;
  size_t n;
  IG_TRY(ig_file_read(path, MAX_TABLE_BYTES, &data, &n));
  ig_status status = ig_dataset_keep(b->d, data);
  if (status != IG_OK) {
    ig_free(data);
    return status;
  }
  const bool named = ig_path_ends_in(path, "txt");  // text by its name: a NUL in it is a fault of one place
  const uint8_t *nul = n && !named ? memchr(data, 0, n < MAX_LOOKED_AT ? n : MAX_LOOKED_AT) : NULL;
  if (nul)
    return ig_fail(IG_ERR_FORMAT,
                   "%s: found a NUL byte at byte %zu, expected a text a line (UTF-8); if it is text, name it .txt",
                   path, (size_t)(nul - data));
  return add_lines(b, path, name, (const char *)data, n);
}

// Words and tags: by the ending, or where task=tag says so. What is only to be tagged is a text a line or a table too.
static bool is_conll(const ig_builder *b, const char *path) {
  if (ig_path_ends_in(path, "conll") || ig_path_ends_in(path, "iob") || ig_path_ends_in(path, "bio"))
    return true;
  return b->options->task == IG_TASK_TAG && b->options->needs_labels &&
         (ig_path_ends_in(path, "txt") || ig_path_ends_in(path, "tsv"));
}

static bool is_text_file(const ig_builder *b, const char *path) {
  ig_table_form form;
  return is_conll(b, path) || ig_table_form_of(path, &form);
}

static ig_status read_file(ig_builder *b, const char *path, const char *name, int part) {
  ig_table_form form;
  char q[IG_QUOTE_BYTES];
  bool tag = is_conll(b, path);
  if ((b->tables || b->n) && tag != (b->n && b->items[0].text.words))
    return ig_fail(IG_ERR_DATA, "%s: a file of words with their tags stands beside a table of texts; keep one kind",
                   ig_quote(q, path));
  if (tag)
    return ig_read_conll(b, path, name, part);
  if (b->options->task == IG_TASK_TAG && b->options->needs_labels)
    return ig_fail(IG_ERR_DATA,
                   "%s: task=tag reads a word and its tag a line, a blank line between sentences (.conll, .txt, .tsv)",
                   ig_quote(q, path));
  if (ig_table_form_of(path, &form))
    return ig_read_text_table(b, path, name, part);
  if (!b->options->needs_labels)
    return read_lines(b, path, name);
  return ig_fail(
      IG_ERR_DATA,
      "data=%s: found no labelled texts by its name; expected .csv, .tsv, .json, .jsonl, .conll, or a folder "
      "(raw text, .txt, is for task=mlm)",
      ig_quote(q, path));
}

static int part_of_file(const char *name) {
  char stem[32];
  const char *dot = strrchr(name, '.');
  size_t n = dot ? (size_t)(dot - name) : 0;
  if (n == 0 || n >= sizeof stem)
    return IG_PART_NONE;
  memcpy(stem, name, n);
  stem[n] = 0;
  return ig_part_from_text(stem);
}

// Tables of a folder that are named as parts: seen[part]; *other: the first that is not, and how many.
static ig_status find_part_files(ig_builder *b, const char *root, const char *seen[IG_N_PARTS], const char **other) {
  ig_status status = IG_OK;
  ig_names list = {0};
  char *path = NULL;
  *other = NULL;
  IG_TRY(ig_list_folder(root, &list));
  for (size_t i = 0; i < list.n; i++) {
    const char *name = list.at[i];
    int part = part_of_file(name);
    ig_free(path);
    path = NULL;
    IG_GOTO(ig_path_join(&path, root, name));
    bool exists, is_dir;
    IG_GOTO(ig_path_look(path, &exists, &is_dir));
    if (name[0] == '.' || !is_text_file(b, name) || is_dir)
      continue;
    if (part == IG_PART_NONE) {
      if (!*other)
        IG_GOTO(ig_dataset_text(b->d, name, strlen(name), other));
      continue;
    }
    if (seen[part])
      IG_GOTO(ig_fail(IG_ERR_DATA, "%s: files %s and %s are both the %s part; keep one", root, seen[part], name,
                      ig_part_name((ig_part)part)));
    IG_GOTO(ig_dataset_text(b->d, name, strlen(name), &seen[part]));
  }
done:
  ig_names_free(&list);
  ig_free(path);
  return status;
}

static ig_status read_folder(ig_builder *b, const char *root, int part) {
  const char *seen[IG_N_PARTS] = {NULL}, *other, *path;
  char q[IG_QUOTE_BYTES];
  IG_TRY(find_part_files(b, root, seen, &other));
  bool any = false;
  for (int p = 0; p < IG_N_PARTS; p++) {
    if (!seen[p])
      continue;
    any = true;
    IG_TRY(ig_dataset_path(b->d, root, seen[p], &path));
    IG_TRY(read_file(b, path, seen[p], part == IG_PART_NONE ? p : part));
  }
  if (any)
    return IG_OK;
  size_t before = b->n;
  IG_TRY(ig_read_folder(b, root, part));
  if (b->n == before && b->n_empty == 0 && other)
    return ig_fail(IG_ERR_DATA,
                   "%s: no file is named as a part (train, dev or val, test) and no folder as a class; name the file "
                   "itself: %s%s/%s",
                   ig_quote(q, root), b->options->needs_labels ? "data=" : "", root, other);
  return IG_OK;
}

static ig_status read_path(ig_builder *b, const char *path, int part) {
  const char *slash = strrchr(path, '/');
  if (ig_path_is_dir(path))
    return read_folder(b, path, part);
  return read_file(b, path, slash && slash[1] ? slash + 1 : path, part);
}

ig_status ig_read_texts(ig_builder *b, bool csv) {
  const ig_dataset_options *o = b->options;
  char q[IG_QUOTE_BYTES];
  if (o->task == IG_TASK_MLM)
    return ig_fail(IG_ERR_USAGE, "data=%s: task=mlm reads raw text, not labelled texts", ig_quote(q, o->data));
  if (csv) {
    if (!ig_path_exists(o->split))
      return ig_fail(IG_ERR_NOT_FOUND, "split=%s: no such file; expected a share such as 0.2 or a CSV file",
                     ig_quote(q, o->split));
    return ig_read_text_table(b, o->split, ig_path_name(o->split), IG_PART_NONE);
  }
  if (o->lines) {
    IG_TRY(add_lines(b, o->data, o->data, o->lines, o->lines_bytes));
    return b->n || o->allow_none
               ? IG_OK
               : ig_fail(IG_ERR_DATA, "%s is empty: found no text, expected a text a line", ig_quote(q, o->data));
  }
  IG_TRY(read_path(b, o->data, IG_PART_NONE));
  if (!o->val)
    return IG_OK;
  if (!ig_path_exists(o->val))
    return ig_fail(IG_ERR_NOT_FOUND, "val=%s: no such folder or file", ig_quote(q, o->val));
  bool tables = b->tables;
  size_t kept = 0, others;
  for (size_t i = 0; i < b->n; i++)
    if (b->items[i].part != IG_PART_VAL)
      b->items[kept++] = b->items[i];
  b->n = others = kept;
  IG_TRY(read_path(b, o->val, IG_PART_VAL));
  if (others && b->n > others && tables != (b->items[others].sample.record >= 0))
    return ig_fail(IG_ERR_USAGE, "data=%s and val=%s are of different forms; give two tables or two folders",
                   ig_quote(q, o->data), o->val);
  return ig_tell_shared(b, others);
}

// A file as a text without its byte order mark; sets the thread's message where it is of no use.
static ig_status load_file(ig_builder *b, ig_candidate *item) {
  uint8_t *data;
  size_t n;
  IG_TRY(ig_file_read(item->sample.path, IG_TABLE_CELL_BYTES, &data, &n));
  const char *text = (const char *)data;
  ig_status status = IG_OK;
  if (n >= 2 && (!memcmp(text, "\xff\xfe", 2) || !memcmp(text, "\xfe\xff", 2)))
    IG_GOTO(ig_fail(IG_ERR_FORMAT, "found UTF-16, expected UTF-8"));
  if (n >= 3 && !memcmp(text, "\xef\xbb\xbf", 3)) {
    text += 3;
    n -= 3;
  }
  if (ig_text_is_blank(text, n))
    IG_GOTO(ig_fail(IG_ERR_FORMAT, "the text is empty"));
  item->bytes = n;
  IG_GOTO(ig_mend_text(text, n, &b->mended, &item->text.n_invalid, &text, &item->text.n_first));
  status = ig_dataset_text(b->d, text, item->text.n_first, &item->text.first);
done:
  ig_free(data);
  return status;
}

ig_status ig_load_text_files(ig_builder *b) {
  size_t kept = 0;
  for (size_t i = 0; i < b->n; i++) {
    ig_status status = load_file(b, &b->items[i]);
    if (status == IG_ERR_MEMORY)
      return status;
    if (status == IG_OK)
      b->items[kept++] = b->items[i];
    else
      IG_TRY(ig_builder_skip(b, b->items[i].sample.name, NULL));
  }
  b->n = kept;
  ig_error_clear();
  return IG_OK;
}
