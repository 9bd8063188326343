// Which columns of a table mean what. Rule: a name that was given must be there; without one, usual names come first,
// then the only column that is left; what remains unclear is an error that lists the columns.
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "runtime/base/mem.h"
#include "runtime/base/text.h"
#include "runtime/data/dataset_internal.h"

static const char *const usual_labels[] = {"class", "label", "category", "target"};
enum { N_USUAL = sizeof usual_labels / sizeof *usual_labels };

const char *ig_column_names(char *out, size_t bytes, const ig_table *t) {
  char q[IG_QUOTE_BYTES];
  size_t n = 0;
  *out = 0;
  for (size_t i = 0; i < t->n_names && n + IG_QUOTE_BYTES + 8 < bytes; i++)
    n += (size_t)snprintf(out + n, bytes - n, "%s%s", i ? ", " : "", ig_quote(q, t->name[i]));
  return out;
}

void ig_tell_no_parts(const ig_builder *b, const ig_table *t) {
  char names[1024];
  const ig_dataset_options *o = b->options;
  const bool asked_for_a_share = o->split && *o->split && strcmp(o->split, t->path) != 0;
  if (o->needs_labels && !asked_for_a_share)
    ig_builder_warn(b, "%s: none of its columns (%s) is split or part: a validation part is held out by itself",
                    t->path, ig_column_names(names, sizeof names, t));
}

// Emptied columns of a spreadsheet, and the row numbers that pandas writes before the others.
static bool is_unnamed(const char *name) { return !*name || !strcmp(name, "Unnamed: 0"); }

void ig_tell_folder_classes(const ig_builder *b, const ig_table *t, const bool *taken) {
  char q[IG_QUOTE_BYTES];
  size_t i = 0;
  while (i < t->n_names && (taken[i] || is_unnamed(t->name[i])))
    i++;
  if (b->options->needs_labels && i < t->n_names)
    ig_builder_warn(b,
                    "%s: the classes are the names of the files' folders; its column %s is not read (label_column= "
                    "names what is learned)",
                    t->path, ig_quote(q, t->name[i]));
}

void ig_tell_unread(const ig_builder *b, const ig_table *t, const ig_text_columns *c, const size_t *labels) {
  char names[1024], q[IG_QUOTE_BYTES];
  size_t n = 0, k;
  *names = 0;
  for (size_t i = 0; i < t->n_names; i++) {
    for (k = 0; k < b->n_columns && labels[k] != i;)
      k++;
    if (!c->taken[i] && k == b->n_columns && !is_unnamed(t->name[i]) && n + IG_QUOTE_BYTES + 8 < sizeof names)
      n += (size_t)snprintf(names + n, sizeof names - n, "%s%s", n ? ", " : "", ig_quote(q, t->name[i]));
  }
  if (n)
    ig_builder_warn(b, "%s: the text is column %s; not read: %s (text_column= and text2_column= name others)", t->path,
                    ig_quote(q, t->name[c->first]), names);
}

static ig_status fail_missing(const ig_table *t, const char *name, const char *key) {
  char q[IG_QUOTE_BYTES], near[IG_NEAREST_BYTES], all[1024];
  const char *nearest = ig_nearest(near, name, t->name, t->n_names);
  return ig_fail(IG_ERR_DATA, "%s:%zu:1: the header has no column %s (%s=)%s%s", t->path, t->row, ig_quote(q, name),
                 key, *nearest ? nearest : "; found ", *nearest ? "" : ig_column_names(all, sizeof all, t));
}

typedef struct found {
  size_t at[IG_TABLE_COLUMNS], n;
} found;

static ig_status find_named(const ig_table *t, const char *const *names, size_t n, found *f) {
  for (size_t i = 0; i < n; i++) {
    int column = ig_table_find(t, names[i]);
    if (column < 0)
      return fail_missing(t, names[i], "label_column");
    if (f->n == IG_TABLE_COLUMNS)
      return ig_fail(IG_ERR_USAGE, "label_column= has more than %d names", IG_TABLE_COLUMNS);
    f->at[f->n++] = (size_t)column;
  }
  return IG_OK;
}

// The columns of the first table.
static ig_status choose(const ig_builder *b, const ig_table *t, const bool *taken, bool one_left, found *f) {
  const ig_dataset_options *o = b->options;
  if (o->n_columns)
    return find_named(t, o->columns, o->n_columns, f);
  bool numbers = o->task == IG_TASK_REGRESS || o->task == IG_TASK_MULTILABEL, all = numbers && o->n_classes > 0;
  for (int i = 0; all && i < o->n_classes; i++)
    all = ig_table_find(t, o->classes[i]) >= 0;
  if (all)  // the names that the weights know
    return find_named(t, o->classes, (size_t)o->n_classes, f);
  for (size_t i = 0; i < N_USUAL; i++) {
    int column = ig_table_find(t, usual_labels[i]);
    if (column >= 0 && !taken[column]) {
      f->at[f->n++] = (size_t)column;
      return IG_OK;
    }
  }
  for (size_t i = 0; i < t->n_names; i++)
    if (!taken[i] && !is_unnamed(t->name[i]))
      f->at[f->n++] = i;
  char names[1024];
  if (!numbers && one_left && f->n > 1)
    return ig_fail(IG_ERR_DATA,
                   "%s:%zu:1: which column holds the label is not clear: found %s; name it by label_column=", t->path,
                   t->row, ig_column_names(names, sizeof names, t));
  if (!numbers && !one_left)
    f->n = 0;
  if (numbers && f->n == 0)
    return ig_fail(IG_ERR_DATA, "%s:%zu:1: task=%s needs a column of labels beside %s", t->path, t->row,
                   ig_task_name(o->task), o->text ? "the text" : "file, split and group");
  return IG_OK;
}

ig_status ig_find_label_columns(ig_builder *b, const ig_table *t, const bool *taken, bool one_left,
                                const size_t **numbers) {
  found f = {.n = 0};
  *numbers = NULL;
  if (!b->options->needs_labels)
    return IG_OK;
  if (b->n_columns == 0) {
    IG_TRY(choose(b, t, taken, one_left, &f));
    for (size_t i = 0; i < f.n; i++) {
      IG_TRY(ig_grow(&b->columns, &b->columns_capacity, b->n_columns, b->n_columns + 1, sizeof *b->columns, "columns"));
      IG_TRY(ig_dataset_text(b->d, t->name[f.at[i]], strlen(t->name[f.at[i]]), &b->columns[b->n_columns++]));
    }
  } else {
    for (size_t i = 0; i < b->n_columns; i++) {
      int column = ig_table_find(t, b->columns[i]);
      if (column < 0)
        return IG_OK;
      f.at[f.n++] = (size_t)column;
    }
  }
  if (f.n == 0)
    return IG_OK;
  char q[IG_QUOTE_BYTES];
  for (size_t i = 0; i < f.n; i++)
    if (taken[f.at[i]])
      return ig_fail(IG_ERR_USAGE, "%s:%zu:%zu: column %s is both what is learned (label_column=) and what is read",
                     t->path, t->row, f.at[i] + 1, ig_quote(q, t->name[f.at[i]]));
  size_t *copy;
  IG_TRY(ig_alloc_array(f.n, sizeof *copy, "columns", &copy));
  memcpy(copy, f.at, f.n * sizeof *copy);
  ig_status status = ig_dataset_keep(b->d, copy);
  if (status != IG_OK)
    ig_free(copy);
  else
    *numbers = copy;
  return status;
}

ig_status ig_copy_cells(ig_builder *b, const ig_table *t, const size_t *numbers, const char **cells) {
  ig_text all = {0};
  ig_status status = IG_OK;
  for (size_t i = 0; i < b->n_columns && status == IG_OK; i++)
    status = ig_text_add(&all, t->cell[numbers[i]], strlen(t->cell[numbers[i]]) + 1);
  if (status == IG_OK)
    status = ig_dataset_text(b->d, all.data, all.n, cells);
  ig_free(all.data);
  return status;
}

// Columns that number rows.
static bool is_row_number(const char *name) {
  static const char *const known[] = {"", "id", "idx", "index", "guid", "Unnamed: 0"};
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (!strcasecmp(name, known[i]))
      return true;
  return false;
}

static bool is_label(const ig_builder *b, const char *name) {
  const ig_dataset_options *o = b->options;
  for (size_t i = 0; i < o->n_columns; i++)
    if (!strcasecmp(name, o->columns[i]))
      return true;
  for (size_t i = 0; i < b->n_columns; i++)
    if (!strcasecmp(name, b->columns[i]))
      return true;
  for (size_t i = 0; !o->n_columns && i < N_USUAL; i++)
    if (!strcasecmp(name, usual_labels[i]))
      return true;
  return false;
}

static ig_status find_given(const ig_table *t, const char *name, const char *key, int *column) {
  *column = -1;
  if (!name || !*name)
    return IG_OK;
  *column = ig_table_find(t, name);
  return *column >= 0 ? IG_OK : fail_missing(t, name, key);
}

// The usual names, else the only column that is nothing else.
static ig_status guess_texts(const ig_builder *b, const ig_table *t, ig_text_columns *c) {
  static const char *const usual[][2] = {{"text", "text2"}, {"sentence", NULL}, {"sentence1", "sentence2"}};
  for (size_t i = 0; i < 3 && c->first < 0; i++) {
    c->first = ig_table_find(t, usual[i][0]);
    if (c->first >= 0 && c->second < 0 && usual[i][1])
      c->second = ig_table_find(t, usual[i][1]);
  }
  if (c->first >= 0)
    return IG_OK;
  size_t left = 0;
  for (size_t i = 0; i < t->n_names; i++)
    if (!c->taken[i] && (int)i != c->second && !is_label(b, t->name[i])) {
      c->first = (int)i;
      left++;
    }
  char names[1024];
  if (left != 1)
    return ig_fail(
        IG_ERR_DATA,
        "%s:%zu:1: which column holds the text is not clear: found %s; expected text, sentence, or sentence1 "
        "and sentence2; name it by text_column= (the first row must hold the names)",
        t->path, t->row, ig_column_names(names, sizeof names, t));
  return IG_OK;
}

ig_status ig_find_text_columns(const ig_builder *b, const ig_table *t, ig_text_columns *c) {
  const ig_dataset_options *o = b->options;
  *c = (ig_text_columns){.part = ig_table_find(t, "split"), .group = ig_table_find(t, "group")};
  if (c->part < 0)
    c->part = ig_table_find(t, "part");
  IG_TRY(find_given(t, o->text_column, "text_column", &c->first));
  IG_TRY(find_given(t, o->text2_column, "text2_column", &c->second));
  for (size_t i = 0; i < t->n_names; i++)
    c->taken[i] = ((int)i == c->part || (int)i == c->group || is_row_number(t->name[i])) && !is_label(b, t->name[i]);
  // Not: a meaning that was given.
  if (c->part >= 0 && (!c->taken[c->part] || c->part == c->first || c->part == c->second))
    c->part = -1;
  if (c->group >= 0 && (!c->taken[c->group] || c->group == c->first || c->group == c->second))
    c->group = -1;
  if (c->first < 0)
    IG_TRY(guess_texts(b, t, c));
  if (c->first == c->second)
    return ig_fail(IG_ERR_USAGE, "text_column= and text2_column= name the same column %s", t->name[c->first]);
  c->taken[c->first] = true;
  if (c->second >= 0)
    c->taken[c->second] = true;
  return IG_OK;
}

ig_status ig_refuse_late_key(const ig_table *t, const char *key, const char *value, size_t n) {
  char word[16], q[IG_QUOTE_BYTES];
  const size_t length = n < sizeof word ? n : 0;
  memcpy(word, value, length);
  word[length] = 0;
  bool matters = !strcasecmp(key, "group") || (!strcasecmp(key, "text2") && ig_table_find(t, "text") >= 0) ||
                 (!strcasecmp(key, "sentence2") && ig_table_find(t, "sentence1") >= 0);
  if (!strcasecmp(key, "split") || !strcasecmp(key, "part"))
    matters = ig_part_from_text(word) != IG_PART_NONE;  // else it is the user's own
  bool has_label = ((const ig_builder *)t->user)->options->n_columns > 0;
  for (size_t i = 0; i < N_USUAL; i++)
    has_label |= ig_table_find(t, usual_labels[i]) >= 0;
  for (size_t i = 0; i < N_USUAL && !has_label; i++)
    matters |= !strcasecmp(key, usual_labels[i]);
  return matters ? ig_fail(IG_ERR_FORMAT,
                           "%s:%zu: found the key %s, which the first object has not, so that it would not be read: "
                           "the columns are the keys of the first; write it there, too",
                           t->path, t->row, ig_quote(q, key))
                 : IG_OK;
}
