// Reads a split file: which files there are, and the part, class and group of each. Rule: whatever is wrong with a row
// is an error that names file:row:column (row = line of the file, from 1).
//
// Header: file or path (relative to the CSV's folder, else to the data folder); optionally split or part (else all are
// training samples), group, and what is learned: the columns of label_column=, else class, label, category or target,
// else for task=regress and multilabel all that remain and have a name, else the name of the file's folder is its
// class. Comma, semicolon or tab, quotes by RFC 4180 (table.h); blanks around names and around cells without quotes are
// none.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/base/text.h"
#include "runtime/data/dataset_internal.h"

#define MAX_BYTES ((uint64_t)1 << 30)

// A file by its folder, whatever way a row takes there (./a, a//b, c/../a, a link to a folder), and its name.
typedef struct entry {
  const char *path;    // as the row leads there
  const char *folder;  // one text a folder
  size_t item;
} entry;

static int by_path(const void *pa, const void *pb) {
  const entry *a = pa, *b = pb;
  int order = strcmp(a->path, b->path);
  return order ? order : (a->item > b->item) - (a->item < b->item);
}

static int by_file(const void *pa, const void *pb) {
  const entry *a = pa, *b = pb;
  int order = strcmp(a->folder, b->folder);
  order = order ? order : strcmp(ig_path_name(a->path), ig_path_name(b->path));
  return order ? order : (a->item > b->item) - (a->item < b->item);
}

static ig_status resolve_folder(const ig_builder *b, const char *path, const char **out) {
  char *folder = NULL;
  const size_t n = (size_t)(ig_path_name(path) - path);
  IG_TRY(ig_asprintf(&folder, "%.*s", n ? (int)n : 1, n ? path : "."));
  char *real = realpath(folder, NULL);  // what went away meanwhile is told when it is read
  const char *text = real ? real : folder;
  ig_status status = ig_dataset_text(b->d, text, strlen(text), out);
  free(real);
  ig_free(folder);
  return status;
}

// Of entries by path: neighbours have their folder in common.
static ig_status resolve_folders(const ig_builder *b, entry *e, size_t n) {
  for (size_t i = 0; i < n; i++) {
    const size_t length = (size_t)(ig_path_name(e[i].path) - e[i].path);
    if (i && (size_t)(ig_path_name(e[i - 1].path) - e[i - 1].path) == length &&
        !strncmp(e[i].path, e[i - 1].path, length))
      e[i].folder = e[i - 1].folder;
    else
      IG_TRY(resolve_folder(b, e[i].path, &e[i].folder));
  }
  return IG_OK;
}

// No file twice, which could stand in two parts.
static ig_status check_files(const ig_builder *b, const char *csv, size_t column) {
  char q[IG_QUOTE_BYTES], q2[IG_QUOTE_BYTES];
  ig_status status = IG_OK;
  entry *e;
  IG_TRY(ig_alloc_array(b->n, sizeof *e, "rows", &e));
  for (size_t i = 0; i < b->n; i++)
    e[i] = (entry){b->items[i].sample.path, NULL, i};
  if (b->n)
    qsort(e, b->n, sizeof *e, by_path);
  IG_GOTO(resolve_folders(b, e, b->n));
  if (b->n)
    qsort(e, b->n, sizeof *e, by_file);
  for (size_t i = 1; i < b->n; i++) {
    const ig_candidate *item = &b->items[e[i].item], *other = &b->items[e[i - 1].item];
    if (strcmp(e[i].folder, e[i - 1].folder) || strcmp(ig_path_name(e[i].path), ig_path_name(e[i - 1].path)))
      continue;
    const bool same = !strcmp(item->sample.name, other->sample.name);
    IG_GOTO(ig_fail(IG_ERR_DATA, "%s:%zu:%zu: file %s stands in row %zu already%s%s; list each file once", csv,
                    item->row, column + 1, ig_quote(q, item->sample.name), other->row, same ? "" : " as ",
                    same ? "" : ig_quote(q2, other->sample.name)));
  }
done:
  ig_free(e);
  return status;
}

typedef struct columns {
  int file, part, group;
  const size_t *labels;
} columns;

typedef struct listing {
  const char *folder;  // of the split file
  ig_file_id *files;   // that its rows list
  size_t n, capacity;
} listing;

// What a row climbs to by `..` must still lie below the split file's folder or data=; links that the user set below
// them are followed. Where data= is the list itself, its author says where files are.
static ig_status check_inside(const ig_builder *b, const ig_table *r, int column, const char *folder,
                              const char *path) {
  const char *roots[2] = {*folder ? folder : ".", b->options->data}, *last = NULL;
  char q[IG_QUOTE_BYTES], *up = NULL;
  for (const char *p = path; (p = strstr(p, "..")) != NULL; p += 2)
    if ((p == path || p[-1] == '/') && p[2] == '/')
      last = p + 2;
  if (!last || !strstr(r->cell[column], "..") || !ig_path_is_dir(b->options->data))
    return IG_OK;
  IG_TRY(ig_asprintf(&up, "%.*s", (int)(last - path), path));
  char *real = realpath(up, NULL);
  ig_free(up);
  bool inside = !real;  // what went away meanwhile is told when it is read
  for (int i = 0; i < 2 && !inside; i++) {
    char *root = realpath(roots[i], NULL);
    const size_t n = root ? strlen(root) : 0;
    inside = n && !strncmp(real, root, n) && (!real[n] || real[n] == '/' || n == 1);
    free(root);
  }
  free(real);
  return inside ? IG_OK
                : ig_fail(IG_ERR_DATA,
                          "%s:%zu:%d: file %s lies outside of the split file's folder and of data=%s; correct the row, "
                          "or name a folder above it by data=",
                          r->path, r->row, column + 1, ig_quote(q, r->cell[column]), b->options->data);
}

// Blanks around the name of a file go, unless a file has them in its name.
static ig_status trim_file(const ig_builder *b, ig_table *r, const columns *c, const listing *l) {
  const char *name = r->cell[c->file], *last = name + r->length[c->file];
  bool there = false;
  if (last == name || !(strchr(" \t", *name) || strchr(" \t", last[-1])))
    return IG_OK;
  IG_TRY(ig_path_holds(l->folder, name, &there));
  if (!there)
    IG_TRY(ig_path_holds(b->options->data, name, &there));
  if (!there)
    ig_table_trim(r, (size_t)c->file);
  return IG_OK;
}

// Cells as people write them: `a/1.png, train, scratch`.
static ig_status trim_cells(const ig_builder *b, ig_table *r, const columns *c, const listing *l) {
  const int words[] = {c->part, c->group};
  for (size_t i = 0; i < 2; i++)
    if (words[i] >= 0)
      ig_table_trim(r, (size_t)words[i]);
  for (size_t i = 0; c->labels && i < b->n_columns; i++)
    ig_table_trim(r, c->labels[i]);
  return trim_file(b, r, c, l);
}

// Finds the file of a cell: beside the CSV, else below data.
static ig_status locate(ig_builder *b, const ig_table *r, const columns *c, listing *l, ig_candidate *item, bool *use) {
  const ig_fileops *ops = ig_fileops_get();
  const char *name = r->cell[c->file];
  char q[IG_QUOTE_BYTES];
  struct stat st;
  *use = true;
  IG_TRY(ig_dataset_path(b->d, l->folder, name, &item->sample.path));
  if (ops->stat(item->sample.path, &st) != 0) {
    IG_TRY(ig_dataset_path(b->d, b->options->data, name, &item->sample.path));
    if (ops->stat(item->sample.path, &st) != 0 && b->options->inspect) {
      *use = false;
      return ig_builder_skip(b, name, "listed in the split file, but there is no such file");
    }
    if (ops->stat(item->sample.path, &st) != 0)
      return ig_fail(IG_ERR_DATA, "%s:%zu:%d: file %s exists neither in the split file's folder nor in data=%s%s",
                     r->path, r->row, c->file + 1, ig_quote(q, name), b->options->data,
                     strchr(name, '\\') ? "; folders are separated by / here, not by \\: write dir/name.png" : "");
  }
  ig_status inside = check_inside(b, r, c->file, l->folder, item->sample.path);
  if (inside == IG_ERR_DATA && b->options->inspect) {
    *use = false;
    return ig_builder_skip(b, name, NULL);
  }
  IG_TRY(inside);
  IG_TRY(ig_grow(&l->files, &l->capacity, l->n, l->n + 1, sizeof *l->files, "files of a split file"));
  l->files[l->n++] = (ig_file_id){st.st_dev, st.st_ino};
  if (!S_ISREG(st.st_mode)) {
    *use = false;
    return ig_builder_skip(b, name, S_ISDIR(st.st_mode) ? "a folder, not a file" : "not a regular file");
  }
  item->bytes = (uint64_t)st.st_size;
  return ig_dataset_text(b->d, name, strlen(name), &item->sample.name);
}

static ig_status read_row(ig_builder *b, const ig_table *r, const columns *c, listing *l, ig_candidate *item,
                          bool *use) {
  char q[IG_QUOTE_BYTES];
  *item = (ig_candidate){.part = IG_PART_NONE};
  item->sample.record = -1;
  if (!*r->cell[c->file])
    return ig_table_fail(r, (size_t)c->file, "empty; expected a file");
  item->row = r->row;
  item->part = c->part < 0 ? IG_PART_NONE : ig_part_from_text(r->cell[c->part]);
  if (c->part >= 0 && item->part == IG_PART_NONE)
    return ig_fail(IG_ERR_FORMAT, "%s:%zu:%d: part %s is unknown; expected train, val or test", r->path, r->row,
                   c->part + 1, ig_quote(q, r->cell[c->part]));
  if (c->group >= 0 && *r->cell[c->group])
    IG_TRY(ig_dataset_text(b->d, r->cell[c->group], strlen(r->cell[c->group]), &item->sample.group));
  IG_TRY(locate(b, r, c, l, item, use));
  if (!*use || !b->options->needs_labels)
    return IG_OK;
  if (c->labels) {
    item->columns = c->labels;
    return ig_copy_cells(b, r, c->labels, &item->cells);
  }
  const char *slash = strrchr(item->sample.path, '/'), *text = NULL;
  while (slash && ((slash - item->sample.path > 0 && slash[-1] == '/') ||
                   (slash - item->sample.path > 1 && slash[-1] == '.' && slash[-2] == '/')))  // a//0.png, a/./0.png
    slash -= slash[-1] == '/' ? 1 : 2;
  text = slash;
  while (text && text > item->sample.path && text[-1] != '/')
    text--;
  if (!text || text == slash)
    return ig_table_fail(r, (size_t)c->file, "no class: the file stands in no folder, and there is no column class");
  return ig_dataset_text(b->d, text, (size_t)(slash - text), &item->class_name);
}

static int find_either(const ig_table *t, const char *name, const char *other) {
  int column = ig_table_find(t, name);
  return column >= 0 ? column : ig_table_find(t, other);
}

static ig_status read_rows(ig_builder *b, ig_table *r, const columns *c, listing *l) {
  bool more;
  for (bool first = true;; first = false) {
    ig_candidate item;
    bool use = false;
    IG_TRY(ig_table_next(r, &more));
    if (!more)
      return first ? ig_fail(IG_ERR_DATA, "%s is empty: found a header and no row; expected a row a file", r->path)
                   : IG_OK;
    IG_TRY(trim_cells(b, r, c, l));
    IG_TRY(read_row(b, r, c, l, &item, &use));
    if (use)
      IG_TRY(ig_builder_add(b, &item));
  }
}

ig_status ig_read_split_csv(ig_builder *b, const char *csv) {
  ig_status status = IG_OK;
  ig_table *r = NULL;
  uint8_t *data = NULL;
  size_t n = 0;
  char *folder = NULL, q[IG_QUOTE_BYTES];
  listing l = {0};
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
  IG_GOTO(ig_table_init(r, csv, IG_TABLE_CSV, (char *)data, n));
  IG_GOTO(ig_table_header(r));
  if (r->n_names == 0)
    IG_GOTO(ig_fail(IG_ERR_FORMAT, "%s:1:1: the split file is empty; expected a header with file and split", csv));
  IG_GOTO(ig_table_check_names(r));
  columns c = {find_either(r, "file", "path"), find_either(r, "split", "part"), ig_table_find(r, "group"), NULL};
  if (c.file < 0)
    IG_GOTO(ig_fail(IG_ERR_FORMAT,
                    "%s:%zu:1: the header lacks a column file (or path); found %zu %s, the first is %s%s", csv, r->row,
                    r->n_names, ig_plural(r->n_names, "column", "columns"), ig_quote(q, r->name[0]),
                    ig_table_find(r, "text") >= 0 || ig_table_find(r, "sentence") >= 0
                        ? "; a table of texts goes with a text model, such as model=bert_mini"
                        : ""));
  b->csv = csv;
  bool taken[IG_TABLE_COLUMNS] = {false};
  taken[c.file] = true;
  if (c.part >= 0)
    taken[c.part] = true;
  if (c.group >= 0)
    taken[c.group] = true;
  IG_GOTO(ig_find_label_columns(b, r, taken, false, &c.labels));
  if (!c.labels)
    ig_tell_folder_classes(b, r, taken);
  l.folder = folder;
  if (c.part < 0)
    ig_tell_no_parts(b, r);
  IG_GOTO(read_rows(b, r, &c, &l));
  IG_GOTO(ig_tell_unlisted(b, l.files, l.n));
  if (b->options->inspect)
    goto done;
  IG_GOTO(check_files(b, csv, (size_t)c.file));
  IG_GOTO(ig_check_groups(b, csv, c.group));
done:
  ig_free(r);
  ig_free(data);
  ig_free(folder);
  ig_free(l.files);
  return status;
}
