// One value of a key (inside config*.c only). Rule: a value that exists has passed its key's type, words and range.
#ifndef IG_BASE_CONFIG_VALUE_H
#define IG_BASE_CONFIG_VALUE_H

#include "runtime/base/config.h"

typedef struct ig_value {
  char *text;   // as given; items of a sequence joined by commas; NULL: no value
  char *where;  // "default", "run.yaml:3:9", "command line"
  ig_config_source source;
  int choice;  // index in key->choices, also of a word that stands for a number; -1: none
  union {
    bool flag;
    int64_t integer;
    double number;
    uint64_t bytes;
    ig_duration duration;
  };
  char **items;     // IG_KEY_LIST, IG_KEY_FLOATS
  double *numbers;  // IG_KEY_FLOATS
  size_t n;
} ig_value;

// Parses `text`, or where items is not NULL the n texts of a sequence (lists only), into *out, which is overwritten.
ig_status ig_value_parse(ig_value *out, const ig_key *key, const char *text, const char *const *items, size_t n,
                         ig_config_source source, const char *where);
void ig_value_fini(ig_value *v);
bool ig_value_equal(const ig_value *a, const ig_value *b, const ig_key *key);
// 0, 1, true, false, yes, no, on, off.
bool ig_value_is_bool(const char *text, bool *out);

struct ig_config {
  const ig_key_table *table;
  size_t verb;
  ig_value *values;  // [n_keys]
  char **paths;
  size_t n_paths, paths_capacity;
};

// The verb's key of this name (dashes = underscores) with its index in the table, or the message for an unknown one.
ig_status ig_config_find(const ig_config *c, const char *name, size_t name_bytes, const char *where, size_t *index);
// Stores under the precedence of sources.
ig_status ig_config_put(ig_config *c, size_t index, const char *text, const char *const *items, size_t n,
                        ig_config_source source, const char *where);

#endif
