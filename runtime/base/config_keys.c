// Listings of the key table. Rule: help and documents are written from the table that the parser uses.
#include <stdio.h>
#include <string.h>

#include "runtime/base/config.h"
#include "runtime/base/mem.h"
#include "runtime/base/text.h"

// "int, 1 to 512", with the unit and the default.
typedef struct row {
  const char *name, *unit, *initial, *meaning;
  char type[360];
} row;

static row row_of(const ig_key *key) {
  char type[256], range[96];
  ig_key_type_text(key, type);
  ig_key_range_text(key, range);
  row r = {key->name, key->unit ? key->unit : "", key->initial ? key->initial : "-", key->meaning, ""};
  if (key->initial && !*key->initial)
    r.initial = "\"\"";
  snprintf(r.type, sizeof r.type, "%s%s%s", type, *range ? ", " : "", range);
  return r;
}

static size_t widest(size_t a, const char *text) {
  size_t n = strlen(text);
  return n > a ? n : a;
}

ig_status ig_keys_text(const ig_key_table *table, const char *verb, char **out) {
  ig_status status = IG_OK;
  ig_text text = {0};
  uint64_t mask = ~0ull;
  size_t name_width = 3, unit_width = 4, initial_width = 7;
  *out = NULL;
  if (verb) {
    size_t i = 0;
    while (i < table->n_verbs && strcmp(table->verbs[i], verb) != 0)
      i++;
    if (i == table->n_verbs) {
      char quoted[IG_QUOTE_BYTES], nearest[IG_NEAREST_BYTES];
      return ig_fail(IG_ERR_USAGE, "unknown verb %s%s (all verbs: ingot help)", ig_quote(quoted, verb),
                     ig_nearest(nearest, verb, table->verbs, table->n_verbs));
    }
    mask = 1ull << i;
  }
  for (size_t i = 0; i < table->n_keys; i++) {
    row r = row_of(&table->keys[i]);
    if (!(table->keys[i].verbs & mask))
      continue;
    name_width = widest(name_width, r.name);
    unit_width = widest(unit_width, r.unit);
    initial_width = widest(initial_width, r.initial);
  }
  IG_GOTO(ig_text_addf(&text, "%-*s  %-*s  %-*s  %s\n", (int)name_width, "key", (int)initial_width, "default",
                       (int)unit_width, "unit", "type and meaning"));
  for (size_t i = 0; i < table->n_keys; i++) {
    row r = row_of(&table->keys[i]);
    if (!(table->keys[i].verbs & mask))
      continue;
    IG_GOTO(ig_text_addf(&text, "%-*s  %-*s  %-*s  [%s] %s\n", (int)name_width, r.name, (int)initial_width, r.initial,
                         (int)unit_width, r.unit, r.type, r.meaning));
  }
  *out = text.data;
  return IG_OK;
done:
  ig_free(text.data);
  return status;
}

// A cell of a markdown table: `|` would end it.
static ig_status add_cell(ig_text *out, const char *text, const char *mark) {
  if (!*text)
    mark = "";
  IG_TRY(ig_text_addf(out, " %s", mark));
  for (; *text; text++)
    IG_TRY(ig_text_addf(out, "%s%c", *text == '|' ? "\\" : "", *text));
  return ig_text_addf(out, "%s |", mark);
}

ig_status ig_keys_markdown(const ig_key_table *table, char **out) {
  ig_status status = IG_OK;
  ig_text text = {0};
  *out = NULL;
  IG_GOTO(ig_text_addf(&text, "# Keys\nWritten by `ingot keys` from the table that the parser uses; do not edit.\n"));
  for (size_t v = 0; v < table->n_verbs; v++) {
    IG_GOTO(ig_text_addf(&text, "\n## %s\n| key | type | unit | default | meaning |\n|---|---|---|---|---|\n",
                         table->verbs[v]));
    for (size_t i = 0; i < table->n_keys; i++) {
      if (!(table->keys[i].verbs >> v & 1))
        continue;
      row r = row_of(&table->keys[i]);
      IG_GOTO(ig_text_add(&text, "|", 1));
      IG_GOTO(add_cell(&text, r.name, "`"));
      IG_GOTO(add_cell(&text, r.type, ""));
      IG_GOTO(add_cell(&text, r.unit, ""));
      IG_GOTO(add_cell(&text, table->keys[i].initial ? r.initial : "", "`"));
      IG_GOTO(add_cell(&text, r.meaning, ""));
      IG_GOTO(ig_text_add(&text, "\n", 1));
    }
  }
  *out = text.data;
  return IG_OK;
done:
  ig_free(text.data);
  return status;
}
