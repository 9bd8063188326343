// CSV and TSV, and what the forms share. Rule: see table.h.
#include "runtime/data/table.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "runtime/base/text.h"

bool ig_table_form_of(const char *path, ig_table_form *form) {
  static const struct {
    const char *ending;
    ig_table_form form;
  } known[] = {{"csv", IG_TABLE_CSV},
               {"tsv", IG_TABLE_TSV},
               {"json", IG_TABLE_JSON},
               {"jsonl", IG_TABLE_JSON},
               {"ndjson", IG_TABLE_JSON}};
  const char *dot = strrchr(path, '.');
  for (size_t i = 0; dot && i < sizeof known / sizeof *known; i++)
    if (!strcasecmp(dot + 1, known[i].ending)) {
      *form = known[i].form;
      return true;
    }
  return false;
}

ig_status ig_table_refuse_as_text(const char *path) {
  static const char *const tagged[] = {"conll", "iob", "bio"};
  ig_table_form form;
  char q[IG_QUOTE_BYTES];
  if (ig_table_form_of(path, &form))
    return ig_fail(
        IG_ERR_DATA,
        "%s is a table: ids, labels and quotes would be learned with its texts. Raw text is .txt only: write the "
        "column of the texts there, a text a line%s",
        ig_quote(q, path),
        form == IG_TABLE_CSV ? ", for example by python3 -c 'import csv, sys; [print(\" \".join(r[\"text\"]."
                               "split())) for r in csv.DictReader(sys.stdin)]' < FILE.csv > FILE.txt"
                             : "");
  const char *dot = strrchr(path, '.');
  for (size_t i = 0; dot && i < sizeof tagged / sizeof *tagged; i++)
    if (!strcasecmp(dot + 1, tagged[i]))
      return ig_fail(
          IG_ERR_DATA,
          "%s holds words with tags, which would be learned with them. Raw text is .txt only: write the words "
          "there, a sentence a line",
          ig_quote(q, path));
  return IG_OK;
}

ig_status ig_table_fail(const ig_table *t, size_t column, const char *text) {
  return ig_fail(IG_ERR_FORMAT, "%s:%zu:%zu: %s", t->path, t->row, column + 1, text);
}

ig_status ig_table_check_nul(const ig_table *t, size_t column) {
  return strlen(t->cell[column]) == t->length[column] ? IG_OK : ig_table_fail(t, column, "a NUL byte in this cell");
}

static bool is_blank(char c) { return c == ' ' || c == '\t'; }

void ig_table_trim(ig_table *t, size_t column) {
  char *from = t->cell[column], *to = from + t->length[column];
  if (t->form != IG_TABLE_CSV || t->quoted[column])
    return;
  while (from < to && is_blank(*from))
    from++;
  while (to > from && is_blank(to[-1]))
    to--;
  *to = 0;
  t->cell[column] = from;
  t->length[column] = (size_t)(to - from);
}

int ig_table_find(const ig_table *t, const char *name) {
  for (size_t i = 0; i < t->n_names; i++)
    if (!strcasecmp(t->name[i], name))
      return (int)i;
  return -1;
}

static bool ends_line(char c) { return c == '\n' || c == '\r'; }

bool ig_table_counts_line(const ig_table *t) {
  return *t->p == '\n' || (*t->p == '\r' && (t->p + 1 == t->end || t->p[1] != '\n'));
}

// The delimiter that the header has most of, outside of quotes.
static char guess_delimiter(const char *p, const char *end) {
  size_t comma = 0, semicolon = 0, tab = 0;
  bool quoted = false;
  while (p < end && ends_line(*p))
    p++;
  for (const char *start = p; p < end && (quoted || !ends_line(*p)); p++) {
    if (*p == '"' && (quoted || p == start || strchr(",;\t\"", p[-1])))  // within a cell it is text
      quoted = !quoted;
    comma += !quoted && *p == ',';
    semicolon += !quoted && *p == ';';
    tab += !quoted && *p == '\t';
  }
  return semicolon > comma && semicolon >= tab ? ';' : tab > comma ? '\t' : ',';
}

// Excel's own first line, such as sep=; that names the delimiter and is no row.
static bool take_separator(ig_table *t) {
  const char *p = t->p;
  if (t->end - p < 6 || strncasecmp(p, "sep=", 4) || (!ispunct((unsigned char)p[4]) && p[4] != '\t') || p[4] == '"' ||
      !ends_line(p[5]))
    return false;
  t->delimiter = p[4];
  t->p += 5;  // the end of its line is a blank line's
  return true;
}

// Do quotes hold in a TSV? See table.h.
static bool needs_quotes(const char *p, const char *end) {
  size_t expected = 0;
  bool quoted = false, open = false;  // the last cell: a quote opens it, and none has closed it
  for (bool first = true; p < end;) {
    size_t tabs = 0;
    bool opens = open;
    const char *start = p;
    for (bool fresh = true; p < end && !ends_line(*p); fresh = *p++ == '\t') {
      tabs += *p == '\t';
      quoted = fresh ? *p == '"' : quoted;
      opens |= fresh && quoted;
      open = quoted && (fresh || open != (*p == '"'));
    }
    if (p > start && first) {
      expected = tabs;
      first = false;
    } else if (p > start && tabs != expected) {
      return opens;
    }
    while (p < end && ends_line(*p))
      p++;
  }
  return false;
}

ig_status ig_table_init(ig_table *t, const char *path, ig_table_form form, char *data, size_t n) {
  memset(t, 0, sizeof *t);
  t->path = path;
  t->form = form;
  t->p = data;
  t->end = data + n;
  t->line = 1;
  *t->end = 0;
  if (n >= 2 && (!memcmp(data, "\xff\xfe", 2) || !memcmp(data, "\xfe\xff", 2)))
    return ig_fail(IG_ERR_FORMAT, "%s:1:1: found UTF-16, expected UTF-8; save the file as UTF-8", path);
  if (n >= 3 && !memcmp(data, "\xef\xbb\xbf", 3))
    t->p += 3;
  if (form == IG_TABLE_TSV)
    t->delimiter = '\t';
  else if (form == IG_TABLE_CSV && !take_separator(t))
    t->delimiter = guess_delimiter(t->p, t->end);
  t->quotes = form == IG_TABLE_CSV || (form == IG_TABLE_TSV && needs_quotes(t->p, t->end));
  return IG_OK;
}

// A quoted cell: t->p stands on the quote, and behind the closing one after it. *to: end of the unquoted text.
static ig_status read_quoted(ig_table *t, char **to) {
  for (t->p++;;) {
    if (t->p == t->end)
      return ig_table_fail(t, t->n, "the quote that opens this cell is never closed");
    if (*t->p == '"') {
      t->p++;
      if (t->p == t->end || *t->p != '"')
        return IG_OK;
    }
    t->line += ig_table_counts_line(t);
    *(*to)++ = *t->p++;
    if ((size_t)(*to - t->cell[t->n]) > IG_TABLE_CELL_BYTES)
      return IG_OK;  // refused by the caller, before an unclosed quote has eaten a large file
  }
}

// Cells are unquoted where they lie; blank lines are passed over.
static ig_status read_row(ig_table *t, bool *more) {
  for (; t->p < t->end && ends_line(*t->p); t->p++)
    t->line += ig_table_counts_line(t);
  *more = t->p < t->end;
  t->row = t->line;
  t->n = 0;
  for (bool again = *more; again;) {
    if (t->n == IG_TABLE_COLUMNS)
      return ig_table_fail(t, t->n, "more than 256 columns");
    char *to = t->p;
    t->cell[t->n] = to;
    bool quoted = t->quotes && t->p < t->end && *t->p == '"';
    if (quoted) {
      IG_TRY(read_quoted(t, &to));
    } else {
      while (t->p < t->end && *t->p != t->delimiter && !ends_line(*t->p))
        t->p++;
      to = t->p;
    }
    t->length[t->n] = (size_t)(to - t->cell[t->n]);
    if (t->length[t->n] > IG_TABLE_CELL_BYTES)
      return ig_table_fail(t, t->n,
                           quoted ? "a cell of more than 16 MiB; is the quote that opens it ever closed?"
                                  : "a cell of more than 16 MiB; is this a text file with line breaks?");
    if (quoted && t->p < t->end && *t->p != t->delimiter && !ends_line(*t->p))
      return ig_table_fail(t, t->n, "text after a closing quote; expected a delimiter or the end of the line");
    again = t->p < t->end && *t->p == t->delimiter;
    if (t->p < t->end) {
      if (*t->p == '\r' && t->p + 1 < t->end && t->p[1] == '\n')
        t->p++;
      t->line += ig_table_counts_line(t);
      t->p++;
    }
    *to = 0;
    if (!t->nul_ok)
      IG_TRY(ig_table_check_nul(t, t->n));
    t->quoted[t->n] = quoted;
    t->kind[t->n++] = IG_CELL_TEXT;
  }
  return IG_OK;
}

// Delimiters alone are a blank line: spreadsheets write such rows where cells were emptied.
static bool is_blank_row(const ig_table *t) {
  for (size_t i = 0; i < t->n; i++)
    if (t->length[i] || t->quoted[i])
      return false;
  return true;
}

static ig_status next_row(ig_table *t, bool *more) {
  do
    IG_TRY(read_row(t, more));
  while (*more && is_blank_row(t));
  return IG_OK;
}

ig_status ig_table_header(ig_table *t) {
  bool more;
  if (t->form == IG_TABLE_JSON)
    return ig_table_next_object(t, &more);
  IG_TRY(next_row(t, &more));
  for (size_t i = 0; i < t->n; i++) {
    if (strlen(t->cell[i]) != t->length[i])
      return ig_table_fail(t, i,
                           "a NUL byte in the header: is this UTF-16, or no text? Save the table as CSV in UTF-8");
    ig_table_trim(t, i);
    t->name[i] = t->cell[i];
  }
  t->n_names = t->n;
  return IG_OK;
}

ig_status ig_table_check_names(const ig_table *t) {
  char q[IG_QUOTE_BYTES];
  for (size_t i = 1; i < t->n_names && t->form != IG_TABLE_JSON; i++)
    for (size_t k = 0; k < i && *t->name[i]; k++)
      if (!strcasecmp(t->name[i], t->name[k]))
        return ig_fail(IG_ERR_FORMAT,
                       "%s:%zu:%zu: the column %s stands in the header twice (column %zu, too; upper and lower case "
                       "are the same); rename or remove one",
                       t->path, t->row, i + 1, ig_quote(q, t->name[i]), k + 1);
  return IG_OK;
}

void ig_table_no_header(ig_table *t, const char *const *names, size_t n) {
  for (size_t i = 0; i < n; i++)
    t->name[i] = names[i];
  t->n_names = n;
  t->pending = true;
}

ig_status ig_table_next(ig_table *t, bool *more) {
  if (t->pending) {
    t->pending = false;
    *more = true;
    return IG_OK;
  }
  if (t->form == IG_TABLE_JSON)
    return ig_table_next_object(t, more);
  IG_TRY(next_row(t, more));
  if (*more && t->n != t->n_names)
    return ig_fail(
        IG_ERR_FORMAT, "%s:%zu:%zu: found %zu %s; the header has %zu%s", t->path, t->row,
        t->n < t->n_names ? t->n : t->n_names + 1, t->n, ig_plural(t->n, "cell", "cells"), t->n_names,
        t->form == IG_TABLE_TSV && !t->quotes ? " (quotes are text in a .tsv; a .csv may have quoted cells)" : "");
  return IG_OK;
}
