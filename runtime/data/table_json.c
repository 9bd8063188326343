// JSON objects as rows. Rule: texts are unescaped where they lie; the grammar is held to (RFC 8259), but that bytes
// which are no UTF-8 pass: who takes a text mends and counts them (mend.h).
#include <string.h>

#include "runtime/base/text.h"
#include "runtime/data/table.h"

enum { MAX_DEPTH = 64 };

// At the present byte, counted within its line.
static ig_status fail_here(const ig_table *t, const char *start, const char *text) {
  size_t column = 0;
  for (const char *p = t->p; p > start && p[-1] != '\n'; p--)
    column++;
  return ig_fail(IG_ERR_FORMAT, "%s:%zu:%zu: %s", t->path, t->line, column + 1, text);
}

static void skip_space(ig_table *t) {
  for (; t->p < t->end && (*t->p == ' ' || *t->p == '\t' || *t->p == '\n' || *t->p == '\r'); t->p++)
    t->line += ig_table_counts_line(t);
}

static bool at(const ig_table *t, char c) { return t->p < t->end && *t->p == c; }

static bool hex4(const char *p, const char *end, uint32_t *out) {
  *out = 0;
  if (end - p < 4)
    return false;
  for (int i = 0; i < 4; i++) {
    char c = p[i];
    int digit = c >= '0' && c <= '9'   ? c - '0'
                : c >= 'a' && c <= 'f' ? c - 'a' + 10
                : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                       : -1;
    if (digit < 0)
      return false;
    *out = *out << 4 | (uint32_t)digit;
  }
  return true;
}

static char *put_utf8(char *to, uint32_t c) {
  if (c < 0x80) {
    *to++ = (char)c;
    return to;
  }
  if (c >= 0x10000)
    *to++ = (char)(0xf0 | c >> 18);
  if (c >= 0x800)
    *to++ = (char)((c >= 0x10000 ? 0x80 : 0xe0) | (c >> 12 & (c >= 0x10000 ? 0x3f : 0x0f)));
  *to++ = (char)((c >= 0x800 ? 0x80 : 0xc0) | (c >> 6 & (c >= 0x800 ? 0x3f : 0x1f)));
  *to++ = (char)(0x80 | (c & 0x3f));
  return to;
}

// \uXXXX, and the other half of a pair; a half alone is a byte that is no UTF-8 either. t->p stands behind the u.
static ig_status read_escape(ig_table *t, const char *start, char **to) {
  uint32_t c, low;
  if (!hex4(t->p, t->end, &c))
    return fail_here(t, start, "expected four hexadecimal digits after \\u");
  t->p += 4;
  if (c >= 0xd800 && c < 0xe000) {
    if (c < 0xdc00 && t->end - t->p >= 6 && t->p[0] == '\\' && t->p[1] == 'u' && hex4(t->p + 2, t->end, &low) &&
        low >= 0xdc00 && low < 0xe000) {
      c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
      t->p += 6;
    } else {
      *(*to)++ = (char)0xff;
      return IG_OK;
    }
  }
  *to = put_utf8(*to, c);
  return IG_OK;
}

// t->p stands on the quote, and behind the closing one after it. The text goes to *to, which is never behind t->p.
static ig_status read_text(ig_table *t, const char *start, char **to) {
  static const char escapes[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
  const char *from = *to;
  for (t->p++;; t->p++) {
    if (t->p == t->end || (*t->p == '\\' && t->p + 1 == t->end))
      return fail_here(t, start, "the text that ends here is never closed by a quote");
    if (*t->p == '"')
      break;
    if ((unsigned char)*t->p < 0x20)
      return fail_here(t, start, "a line break or control character in a text; JSON writes it as \\n or \\u00NN");
    if ((size_t)(*to - from) > IG_TABLE_CELL_BYTES)
      return fail_here(t, start, "a text of more than 16 MiB");
    if (*t->p != '\\') {
      *(*to)++ = *t->p;
      continue;
    }
    t->p++;
    const char *known = *t->p ? strchr(escapes, *t->p) : NULL;
    if (known) {
      *(*to)++ = meant[known - escapes];
    } else if (*t->p == 'u') {
      t->p++;
      IG_TRY(read_escape(t, start, to));
      t->p--;
    } else {
      return fail_here(t, start, "an unknown escape; expected one of \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\u");
    }
  }
  t->p++;
  return IG_OK;
}

static bool digit(const ig_table *t) { return t->p < t->end && *t->p >= '0' && *t->p <= '9'; }

static ig_status read_number(ig_table *t, const char *start) {
  t->p += at(t, '-');
  bool ok = digit(t), zero = at(t, '0');
  while (digit(t))
    t->p += 1;
  ok &= !zero || t->p[-1] == '0';
  if (at(t, '.')) {
    t->p++;
    ok &= digit(t);
    while (digit(t))
      t->p++;
  }
  if (at(t, 'e') || at(t, 'E')) {
    t->p++;
    t->p += at(t, '+') || at(t, '-');
    ok &= digit(t);
    while (digit(t))
      t->p++;
  }
  return ok ? IG_OK : fail_here(t, start, "a malformed number");
}

static bool take_word(ig_table *t, const char *word) {
  size_t n = strlen(word);
  if ((size_t)(t->end - t->p) < n || memcmp(t->p, word, n))
    return false;
  t->p += n;
  return true;
}

// A text, number or word of the grammar; *kind says which, *to where its text ends.
static ig_status read_scalar(ig_table *t, const char *start, ig_cell *kind, char **to) {
  *kind = IG_CELL_NUMBER;
  if (at(t, '"')) {
    *kind = IG_CELL_TEXT;
    return read_text(t, start, to);
  }
  if (take_word(t, "null")) {
    *kind = IG_CELL_MISSING;
    return IG_OK;
  }
  if (!take_word(t, "true") && !take_word(t, "false")) {
    if (!digit(t) && !at(t, '-'))
      return fail_here(t, start, "expected a value: a text in quotes, a number, true, false, null, [ or {");
    IG_TRY(read_number(t, start));
  }
  *to = t->p;
  return IG_OK;
}

// Passes over what is nested; the commas and colons of the grammar are held to only where we read.
static ig_status skip_nested(ig_table *t, const char *start) {
  char open[MAX_DEPTH];
  int depth = 0;
  do {
    skip_space(t);
    if (t->p == t->end)
      return fail_here(t, start, "the file ends within a list or object");
    char c = *t->p;
    if (c == '"') {
      char *to = t->p;
      IG_TRY(read_text(t, start, &to));
      continue;
    }
    if (c == '[' || c == '{') {
      if (depth == MAX_DEPTH)
        return fail_here(t, start, "nested more than 64 deep");
      open[depth++] = c == '[' ? ']' : '}';
    } else if ((c == ']' || c == '}') && open[--depth] != c) {
      return fail_here(t, start, "a bracket that closes another one than was opened last");
    }
    t->p++;
  } while (depth > 0);
  return IG_OK;
}

// A list: of texts alone they are joined by ; where the list lies, else it is passed over.
static ig_status read_list(ig_table *t, const char *start, ig_cell *kind, char **to) {
  char *open = t->p, *from = *to;
  size_t line = t->line;
  *kind = IG_CELL_LIST;
  for (t->p++, skip_space(t); !at(t, ']'); skip_space(t)) {
    if (*to > from) {
      if (!at(t, ','))
        return fail_here(t, start, "expected , or ] in this list");
      t->p++;
      skip_space(t);
    }
    if (!at(t, '"')) {
      if (*to > from)
        return fail_here(t, start, "expected a list of texts alone");
      t->p = open;
      t->line = line;
      *kind = IG_CELL_NESTED;
      return skip_nested(t, start);
    }
    char *name = *to;
    IG_TRY(read_text(t, start, to));
    if (memchr(name, ';', (size_t)(*to - name)))
      return fail_here(t, start, "a ; in the name of a label");
    *(*to)++ = ';';
  }
  t->p++;
  *to -= *to > from;  // the last ;
  return IG_OK;
}

// Column of a key: most objects have the first one's order.
static int column_of(const ig_table *t, const char *key, size_t guess) {
  if (guess < t->n_names && !strcmp(t->name[guess], key))
    return (int)guess;
  for (size_t i = 0; i < t->n_names; i++)
    if (!strcmp(t->name[i], key))
      return (int)i;
  return -1;
}

// "key": value. Ends of texts are marked when the object is read, as a NUL may fall on the next character.
static ig_status read_member(ig_table *t, const char *start, size_t number, bool naming) {
  char q[IG_QUOTE_BYTES], *key, *key_end, *cell, *to;
  ig_cell kind;
  if (!at(t, '"'))
    return fail_here(t, start, "expected a key in quotes");
  key = key_end = t->p;
  IG_TRY(read_text(t, start, &key_end));
  skip_space(t);
  if (!at(t, ':'))
    return fail_here(t, start, "expected : after a key");
  *key_end = 0;
  if (strlen(key) != (size_t)(key_end - key))
    return fail_here(t, start, "a NUL byte in a key");
  t->p++;
  skip_space(t);
  cell = to = t->p;
  if (at(t, '['))
    IG_TRY(read_list(t, start, &kind, &to));
  else if (at(t, '{')) {
    kind = IG_CELL_NESTED;
    IG_TRY(skip_nested(t, start));
  } else {
    IG_TRY(read_scalar(t, start, &kind, &to));
  }
  int column = column_of(t, key, number);
  if (column < 0) {
    if (!naming)
      return t->late_key && to > cell ? t->late_key(t, key, cell, (size_t)(to - cell)) : IG_OK;
    if (t->n_names == IG_TABLE_COLUMNS)
      return fail_here(t, start, "more than 256 keys");
    column = (int)t->n_names++;
    t->name[column] = key;
    t->cell[column] = NULL;
  }
  if (t->cell[column])
    return ig_fail(IG_ERR_FORMAT, "%s:%zu: the key %s stands twice in one object", t->path, t->line, ig_quote(q, key));
  t->cell[column] = cell;
  t->length[column] = (size_t)(to - cell);
  t->kind[column] = (uint8_t)kind;
  return IG_OK;
}

static ig_status read_object(ig_table *t, const char *start, bool naming) {
  memset(t->cell, 0, t->n_names * sizeof *t->cell);
  t->p++;
  skip_space(t);
  for (size_t i = 0; !at(t, '}'); i++) {
    if (i && !at(t, ','))
      return fail_here(t, start, "expected , or } after a value");
    if (i) {
      t->p++;
      skip_space(t);
    }
    IG_TRY(read_member(t, start, i, naming));
    skip_space(t);
  }
  t->p++;
  t->n = t->n_names;
  for (size_t i = 0; i < t->n; i++) {
    if (!t->cell[i])
      t->kind[i] = IG_CELL_ABSENT;
    if (t->kind[i] >= IG_CELL_MISSING) {
      t->cell[i] = t->end;
      t->length[i] = 0;
    } else {
      t->cell[i][t->length[i]] = 0;
    }
  }
  return IG_OK;
}

ig_status ig_table_next_object(ig_table *t, bool *more) {
  const char *start = t->p;
  const bool first = t->n_names == 0;
  bool may_end = true;
  skip_space(t);
  *more = false;
  if (first && at(t, '[')) {
    t->in_array = true;
    t->p++;
  } else if (!first && t->in_array && at(t, ',')) {
    may_end = false;
    t->p++;
  } else if (!first && t->in_array && t->p < t->end && !at(t, ']')) {
    return fail_here(t, start, "expected , or ] after an object of the array");
  }
  skip_space(t);
  if (t->in_array && may_end && at(t, ']')) {
    t->p++;
    skip_space(t);
    return t->p == t->end ? IG_OK : fail_here(t, start, "text after the array of objects");
  }
  if (t->p == t->end)
    return t->in_array ? fail_here(t, start, "the array of objects is never closed") : IG_OK;
  if (!at(t, '{'))
    return fail_here(t, start, "expected an object, such as {\"text\": \"...\", \"label\": \"...\"}");
  t->row = t->line > t->row ? t->line : t->row + 1;
  IG_TRY(read_object(t, start, first));
  if (first && t->n_names == 0)
    return fail_here(t, start, "the first object has no keys");
  *more = true;
  t->pending = first;
  for (size_t i = 0; !t->nul_ok && i < t->n; i++)
    IG_TRY(ig_table_check_nul(t, i));
  return IG_OK;
}
