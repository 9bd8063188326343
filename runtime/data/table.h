// Rows of a table file: CSV and TSV, and objects of JSON lines. Rule: cells are unescaped where they lie in the buffer,
// so that a row costs no allocation and its texts live as long as the buffer; whatever is wrong names file:row:column
// (row = line of the file, from 1; of objects in one line the second is the next row, so that no two are the same).
//
// CSV: comma, semicolon or tab, whichever the header has most of, or what Excel's first line sep=; says; quotes by RFC
// 4180. TSV: tabs, and quotes are text, as in GLUE's files; but where the first line of another number of cells has a
// cell that opens with a quote, or follows one whose last cell does and does not close, quotes hold. JSON: an object a
// line, or one array of objects; the keys of the first are the columns, other keys of later objects are passed over,
// but for those that late_key refuses. A byte order mark, CRLF and blank lines are taken; bytes that are no UTF-8 stay
// as they are, and half a pair of \u escapes becomes such a byte (mend.h makes U+FFFD of both).
#ifndef IG_DATA_TABLE_H
#define IG_DATA_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/base/status.h"

enum { IG_TABLE_COLUMNS = 256 };
#define IG_TABLE_CELL_BYTES ((size_t)1 << 24)  // a longer cell is an error

typedef enum ig_table_form { IG_TABLE_CSV, IG_TABLE_TSV, IG_TABLE_JSON } ig_table_form;

// What a cell is; CSV and TSV have texts alone.
typedef enum ig_cell {
  IG_CELL_TEXT,
  IG_CELL_NUMBER,   // also true and false
  IG_CELL_LIST,     // of texts: joined by ;
  IG_CELL_MISSING,  // null
  IG_CELL_ABSENT,   // no such key
  IG_CELL_NESTED,   // an object, or a list that does not hold texts alone
} ig_cell;

typedef struct ig_table ig_table;
struct ig_table {
  const char *path;
  ig_table_form form;
  char *p, *end;  // *end is writable
  char delimiter;
  bool quotes, in_array, pending, nul_ok;
  size_t line;  // of the next character
  size_t n_names;
  const char *name[IG_TABLE_COLUMNS];
  size_t row, n;                 // line and number of cells of the present row
  char *cell[IG_TABLE_COLUMNS];  // each ended by NUL
  size_t length[IG_TABLE_COLUMNS];
  uint8_t kind[IG_TABLE_COLUMNS];  // ig_cell
  bool quoted[IG_TABLE_COLUMNS];   // the cell stood in quotes; not set by JSON
  // Of a key that the first object has not (value [n]: a text, number or list); NULL: all such are passed over.
  ig_status (*late_key)(const ig_table *t, const char *key, const char *value, size_t n);
  const void *user;  // late_key's
};

// By the file's ending: csv, tsv, json, jsonl, ndjson; false for others.
bool ig_table_form_of(const char *path, ig_table_form *form);
// IG_ERR_DATA where a file is no raw text by its name: a table, or words with tags.
ig_status ig_table_refuse_as_text(const char *path);
// data [n] and the byte behind it belong to the caller and are written to. IG_ERR_FORMAT for UTF-16.
ig_status ig_table_init(ig_table *t, const char *path, ig_table_form form, char *data, size_t n);
// The names of the columns, of CSV without the blanks around them; n_names is 0 in an empty file.
ig_status ig_table_header(ig_table *t);
// A name that stands in the header twice, in any case, is IG_ERR_FORMAT; columns without a name may be several.
ig_status ig_table_check_names(const ig_table *t);
// The first row was none: it is data, and the names are these.
void ig_table_no_header(ig_table *t, const char *const *names, size_t n);
// *more is false at the end. With nul_ok cells may hold NUL bytes (their length tells), else that is an error.
ig_status ig_table_next(ig_table *t, bool *more);
// Takes the blanks around a cell of CSV away that stands in no quotes, as in `file, split`.
void ig_table_trim(ig_table *t, size_t column);
// Column of a name in any case, or -1.
int ig_table_find(const ig_table *t, const char *name);
// "file:row:column: text".
ig_status ig_table_fail(const ig_table *t, size_t column, const char *text);
ig_status ig_table_check_nul(const ig_table *t, size_t column);
// At t->p: does a line end with this character? Of CRLF with the LF.
bool ig_table_counts_line(const ig_table *t);

// table_json.c: one object as a row.
ig_status ig_table_next_object(ig_table *t, bool *more);

#endif
