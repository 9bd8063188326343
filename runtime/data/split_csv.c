// Reads a split file: which files there are, and the part, class and group of each. Rule: whatever is wrong with a row
// is an error that names file:row:column (row = line of the file, from 1).
//
// Header: file or path (relative to the CSV's folder, else to the data folder); optionally split or part (else all are
// training samples), group, and what is learned: the columns of label_column=, else class, label, category or target,
// else for task=regress and multilabel all that remain, else the name of the file's folder is its class. Comma,
// semicolon or tab, quotes by RFC 4180.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/base/text.h"
#include "runtime/data/dataset_internal.h"

#define MAX_BYTES   ((uint64_t)1 << 30)
#define MAX_COLUMNS 256

typedef struct reader {
  const char *path;
  char *p, *end;
  char delimiter;
  size_t line;  // of the next character
  char *cell[MAX_COLUMNS];
  size_t row, n;  // line and cells of the present row
} reader;

static ig_status fail_at(const reader *r, size_t column, const char *text) {
  return ig_fail(IG_ERR_FORMAT, "%s:%zu:%zu: %s", r->path, r->row, column + 1, text);
}

// Cells are unquoted where they lie. *more is false at the end; blank lines are passed over.
static ig_status next_row(reader *r, bool *more) {
  while (r->p < r->end && (*r->p == '\n' || *r->p == '\r'))
    r->line += *r->p++ == '\n';
  *more = r->p < r->end;
  r->row = r->line;
  r->n = 0;
  for (bool again = *more; again;) {
    if (r->n == MAX_COLUMNS)
      return fail_at(r, r->n, "more than 256 columns");
    char *to = r->p;
    r->cell[r->n] = to;
    if (r->p < r->end && *r->p == '"') {
      for (r->p++;; *to++ = *r->p++) {
        if (r->p == r->end)
          return fail_at(r, r->n, "the quote that opens this cell is never closed");
        if (*r->p == '"' && (r->p + 1 == r->end || *++r->p != '"'))
          break;
        r->line += *r->p == '\n';
      }
      if (r->p < r->end && *r->p == '"')  // the file's last character
        r->p++;
      if (r->p < r->end && *r->p != r->delimiter && *r->p != '\n' && *r->p != '\r')
        return fail_at(r, r->n, "text after a closing quote; expected a delimiter or the end of the line");
    } else {
      while (r->p < r->end && *r->p != r->delimiter && *r->p != '\n' && *r->p != '\r')
        r->p++;
      to = r->p;
    }
    again = r->p < r->end && *r->p == r->delimiter;
    if (r->p < r->end) {
      if (*r->p == '\r' && r->p + 1 < r->end && r->p[1] == '\n')
        r->p++;
      r->line += *r->p++ == '\n';
    }
    *to = 0;
    if (strlen(r->cell[r->n]) != (size_t)(to - r->cell[r->n]))
      return fail_at(r, r->n, "a NUL byte in this cell");
    r->n++;
  }
  return IG_OK;
}

static int find_column(const reader *r, const char *name, const char *other) {
  for (size_t i = 0; i < r->n; i++)
    if (!strcasecmp(r->cell[i], name) || (other && !strcasecmp(r->cell[i], other)))
      return (int)i;
  return -1;
}

// The delimiter that the header has most of.
static char guess_delimiter(const char *p, const char *end) {
  size_t comma = 0, semicolon = 0, tab = 0;
  for (; p < end && *p != '\n' && *p != '\r'; p++) {
    comma += *p == ',';
    semicolon += *p == ';';
    tab += *p == '\t';
  }
  return semicolon > comma && semicolon >= tab ? ';' : tab > comma ? '\t' : ',';
}

typedef struct entry {
  const char *key;  // path or group
  size_t item, row;
} entry;

static int by_key(const void *pa, const void *pb) {
  const entry *a = pa, *b = pb;
  int order = strcmp(a->key, b->key);
  return order ? order : (a->row > b->row) - (a->row < b->row);
}

// No file twice, no group in two parts.
static ig_status check_entries(const ig_builder *b, const char *csv, entry *e, size_t n, bool groups, size_t column) {
  char q[IG_QUOTE_BYTES];
  if (n)
    qsort(e, n, sizeof *e, by_key);
  for (size_t i = 1; i < n; i++) {
    if (strcmp(e[i].key, e[i - 1].key))
      continue;
    if (!groups)
      return ig_fail(IG_ERR_DATA, "%s:%zu:%zu: file %s stands in row %zu already; list each file once", csv, e[i].row,
                     column + 1, ig_quote(q, b->items[e[i].item].sample.name), e[i - 1].row);
    int part = b->items[e[i].item].part, other = b->items[e[i - 1].item].part;
    if (part != other)
      return ig_fail(
          IG_ERR_DATA,
          "%s:%zu:%zu: group %s is in the %s part here and in the %s part in row %zu; a group must not stand "
          "in two parts",
          csv, e[i].row, column + 1, ig_quote(q, e[i].key), ig_part_name((ig_part)part), ig_part_name((ig_part)other),
          e[i - 1].row);
  }
  return IG_OK;
}

typedef struct columns {
  int file, part, group;
} columns;

static ig_status add_column(ig_builder *b, const reader *r, int column) {
  IG_TRY(ig_grow(&b->columns, &b->columns_capacity, b->n_columns, b->n_columns + 1, sizeof *b->columns, "columns"));
  IG_TRY(ig_grow(&b->column_numbers, &b->numbers_capacity, b->n_columns, b->n_columns + 1, sizeof *b->column_numbers,
                 "columns"));
  b->column_numbers[b->n_columns] = (size_t)column;
  return ig_dataset_text(b->d, r->cell[column], strlen(r->cell[column]), &b->columns[b->n_columns++]);
}

static ig_status add_named_columns(ig_builder *b, const reader *r, const char *const *names, size_t n) {
  char q[IG_QUOTE_BYTES], near[IG_NEAREST_BYTES];
  for (size_t i = 0; i < n; i++) {
    int column = find_column(r, names[i], NULL);
    if (column < 0)
      return ig_fail(IG_ERR_DATA, "%s:%zu:1: the header has no column %s (label_column=)%s", r->path, r->row,
                     ig_quote(q, names[i]), ig_nearest(near, names[i], (const char *const *)r->cell, r->n));
    IG_TRY(add_column(b, r, column));
  }
  return IG_OK;
}

// The columns that hold what is learned.
static ig_status find_labels(ig_builder *b, const reader *r, const columns *c) {
  static const char *const usual[] = {"class", "label", "category", "target"};
  const ig_dataset_options *o = b->options;
  if (!o->needs_labels)
    return IG_OK;
  if (o->n_columns)
    return add_named_columns(b, r, o->columns, o->n_columns);
  bool numbers = o->task == IG_TASK_REGRESS || o->task == IG_TASK_MULTILABEL, all = numbers && o->n_classes > 0;
  for (int i = 0; all && i < o->n_classes; i++)
    all = find_column(r, o->classes[i], NULL) >= 0;
  if (all)  // the names that the weights know
    return add_named_columns(b, r, o->classes, (size_t)o->n_classes);
  for (size_t i = 0; i < sizeof usual / sizeof *usual; i++) {
    int column = find_column(r, usual[i], NULL);
    if (column >= 0)
      return add_column(b, r, column);
  }
  for (int i = 0; numbers && i < (int)r->n; i++)
    if (i != c->file && i != c->part && i != c->group)
      IG_TRY(add_column(b, r, i));
  if (numbers && b->n_columns == 0)
    return ig_fail(IG_ERR_DATA, "%s:%zu:1: task=%s needs a column of labels beside file, split and group", r->path,
                   r->row, ig_task_name(o->task));
  return IG_OK;
}

// Finds the file of a cell: beside the CSV, else below data.
static ig_status locate(ig_builder *b, const reader *r, const columns *c, const char *folder, ig_candidate *item,
                        bool *use) {
  const ig_fileops *ops = ig_fileops_get();
  const char *name = r->cell[c->file];
  char q[IG_QUOTE_BYTES];
  struct stat st;
  *use = true;
  IG_TRY(ig_dataset_path(b->d, folder, name, &item->sample.path));
  if (ops->stat(item->sample.path, &st) != 0) {
    IG_TRY(ig_dataset_path(b->d, b->options->data, name, &item->sample.path));
    if (ops->stat(item->sample.path, &st) != 0 && b->options->inspect) {
      *use = false;
      return ig_builder_skip(b, name, "listed in the split file, but there is no such file");
    }
    if (ops->stat(item->sample.path, &st) != 0)
      return ig_fail(IG_ERR_DATA, "%s:%zu:%d: file %s exists neither in the split file's folder nor in data=%s",
                     r->path, r->row, c->file + 1, ig_quote(q, name), b->options->data);
  }
  if (!S_ISREG(st.st_mode)) {
    *use = false;
    return ig_builder_skip(b, name, S_ISDIR(st.st_mode) ? "a folder, not a picture" : "not a regular file");
  }
  item->bytes = (uint64_t)st.st_size;
  return ig_dataset_text(b->d, name, strlen(name), &item->sample.name);
}

static ig_status read_row(ig_builder *b, const reader *r, const columns *c, const char *folder, ig_candidate *item,
                          bool *use) {
  char q[IG_QUOTE_BYTES];
  *item = (ig_candidate){.part = IG_PART_NONE};
  item->sample.record = -1;
  if (!*r->cell[c->file])
    return fail_at(r, (size_t)c->file, "empty; expected a file");
  item->row = r->row;
  item->part = c->part < 0 ? IG_PART_NONE : ig_part_from_text(r->cell[c->part]);
  if (c->part >= 0 && item->part == IG_PART_NONE)
    return ig_fail(IG_ERR_FORMAT, "%s:%zu:%d: part %s is unknown; expected train, val or test", r->path, r->row,
                   c->part + 1, ig_quote(q, r->cell[c->part]));
  if (c->group >= 0 && *r->cell[c->group])
    IG_TRY(ig_dataset_text(b->d, r->cell[c->group], strlen(r->cell[c->group]), &item->sample.group));
  IG_TRY(locate(b, r, c, folder, item, use));
  if (!*use || !b->options->needs_labels)
    return IG_OK;
  if (b->n_columns) {
    ig_text cells = {0};
    ig_status status = IG_OK;
    for (size_t i = 0; i < b->n_columns && status == IG_OK; i++)
      status = ig_text_add(&cells, r->cell[b->column_numbers[i]], strlen(r->cell[b->column_numbers[i]]) + 1);
    if (status == IG_OK)
      status = ig_dataset_text(b->d, cells.data, cells.n, &item->cells);
    ig_free(cells.data);
    return status;
  }
  const char *slash = strrchr(item->sample.path, '/'), *text = slash;
  while (text && text > item->sample.path && text[-1] != '/')
    text--;
  if (!text || text == slash)
    return fail_at(r, (size_t)c->file, "no class: the file stands in no folder, and there is no column class");
  return ig_dataset_text(b->d, text, (size_t)(slash - text), &item->class_name);
}

ig_status ig_read_split_csv(ig_builder *b, const char *csv) {
  ig_status status = IG_OK;
  reader *r = NULL;
  uint8_t *data = NULL;
  entry *files = NULL, *groups = NULL;
  size_t n_files = 0, files_capacity = 0, n_groups = 0, groups_capacity = 0, n = 0;
  char *folder = NULL, q[IG_QUOTE_BYTES];
  bool more;
  if (!ig_path_exists(csv))
    return ig_fail(IG_ERR_NOT_FOUND, "split=%s: no such file; expected a share such as 0.2 or a CSV file",
                   ig_quote(q, csv));
  IG_GOTO(ig_alloc(sizeof *r, "a split file", &r));
  IG_GOTO(ig_file_read(csv, MAX_BYTES, &data, &n));
  IG_GOTO(ig_strdup(csv, &folder));
  char *slash = strrchr(folder, '/');
  if (slash)
    slash[slash == folder] = 0;
  else
    *folder = 0;
  *r = (reader){.path = csv, .p = (char *)data, .end = (char *)data + n, .line = 1};
  if (n >= 3 && !memcmp(data, "\xef\xbb\xbf", 3))
    r->p += 3;
  r->delimiter = guess_delimiter(r->p, r->end);
  IG_GOTO(next_row(r, &more));
  if (!more)
    IG_GOTO(ig_fail(IG_ERR_FORMAT, "%s:1:1: the split file is empty; expected a header with file and split", csv));
  columns c = {find_column(r, "file", "path"), find_column(r, "split", "part"), find_column(r, "group", NULL)};
  size_t n_columns = r->n;
  if (c.file < 0)
    IG_GOTO(ig_fail(IG_ERR_FORMAT,
                    "%s:%zu:1: the header lacks a column file (or path); found %zu columns, the first is %s", csv,
                    r->row, n_columns, ig_quote(q, r->cell[0])));
  b->csv = csv;
  IG_GOTO(find_labels(b, r, &c));
  for (;;) {
    ig_candidate item;
    bool use = false;
    IG_GOTO(next_row(r, &more));
    if (!more)
      break;
    if (r->n != n_columns)
      IG_GOTO(ig_fail(IG_ERR_FORMAT, "%s:%zu:%zu: found %zu cells; the header has %zu", csv, r->row,
                      r->n < n_columns ? r->n : n_columns + 1, r->n, n_columns));
    IG_GOTO(read_row(b, r, &c, folder, &item, &use));
    if (!use)
      continue;
    IG_GOTO(ig_grow(&files, &files_capacity, n_files, n_files + 1, sizeof *files, "rows"));
    files[n_files++] = (entry){item.sample.path, b->n, r->row};
    if (item.sample.group) {
      IG_GOTO(ig_grow(&groups, &groups_capacity, n_groups, n_groups + 1, sizeof *groups, "rows"));
      groups[n_groups++] = (entry){item.sample.group, b->n, r->row};
    }
    IG_GOTO(ig_builder_add(b, &item));
  }
  if (b->options->inspect)
    goto done;
  IG_GOTO(check_entries(b, csv, files, n_files, false, (size_t)c.file));
  IG_GOTO(check_entries(b, csv, groups, n_groups, true, (size_t)c.group));
done:
  ig_free(r);
  ig_free(data);
  ig_free(files);
  ig_free(groups);
  ig_free(folder);
  return status;
}
