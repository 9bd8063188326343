// Keys, their values and where each value came from. Rule: one table of keys is parser, help text, docs/keys.md and
// args.yaml at once; precedence is default < preset < config files (later wins) < command line, in whatever order set.
#ifndef IG_BASE_CONFIG_H
#define IG_BASE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum ig_key_type {
  IG_KEY_BOOL = 0,  // 0 1 false true no yes off on; `--key` alone is 1
  IG_KEY_INT,       // decimal, fits int64_t
  IG_KEY_FLOAT,     // finite
  IG_KEY_STRING,    // any text
  IG_KEY_SIZE,      // bytes: 4096, 500MB (10^6), 2GiB (2^30), 2G (2^30), 1.5TiB
  IG_KEY_DURATION,  // 500ms 30s 10m 2h 1d; a bare number counts steps where the key's unit is "steps", else seconds
  IG_KEY_ENUM,      // one of `choices`
  IG_KEY_LIST,      // texts: a,b,c on the command line, also a sequence in YAML
  IG_KEY_FLOATS,    // finite numbers: 0.9,0.999
  IG_KEY_CONFIG     // a YAML file of keys, read where it is met; may repeat; only on the command line
} ig_key_type;

enum ig_key_flags {
  IG_KEY_MIN_OPEN = 1,    // min itself is refused (lr > 0)
  IG_KEY_MAX_OPEN = 2,    // max itself is refused
  IG_KEY_MAY_CHANGE = 4,  // may differ on resume (for readers of ig_config_diff)
  IG_KEY_NOT_SAVED = 8,   // about this call, not about the run (json, quiet): neither in args.yaml nor in a diff
};

typedef struct ig_key {
  const char *name;  // lower case with underscores; dashes are taken for underscores when read
  ig_key_type type;
  const char *unit;     // "" or NULL: none
  const char *initial;  // default as text, checked like any other; NULL: no value
  uint64_t verbs;       // bit i: belongs to verb i of the table
  const char *meaning;  // one line
  const char
      *choices;     // IG_KEY_ENUM: "sgd|adam"; numbers, sizes and durations: words accepted beside ("auto"); or NULL
  double min, max;  // inclusive, of numbers, sizes (bytes), durations (seconds or steps); 0, 0: unchecked
  unsigned flags;   // enum ig_key_flags
} ig_key;

typedef struct ig_key_table {
  const ig_key *keys;
  size_t n_keys;
  const char *const *verbs;  // at most 64
  size_t n_verbs;
} ig_key_table;

typedef enum ig_config_source {
  IG_FROM_DEFAULT = 0,
  IG_FROM_PRESET,
  IG_FROM_FILE,
  IG_FROM_COMMAND_LINE
} ig_config_source;

typedef struct ig_duration {
  double seconds;  // 0 where steps count
  int64_t steps;   // 0 where seconds count
} ig_duration;

// All keys of `verb` at their defaults. The table must outlive the configuration. IG_ERR_USAGE: unknown verb;
// IG_ERR_INTERNAL: the table itself is wrong (a default that its own key refuses, a name twice).
typedef struct ig_config ig_config;
ig_status ig_config_create(ig_config **out, const ig_key_table *table, const char *verb);
void ig_config_destroy(ig_config *c);  // NULL is fine

// The words after the verb: key=value, --key value, --key=value, --flag, PATH, `-`; after `--` all are PATHs. A word
// with
// `=` is a PATH only where something other than letters, digits, - and _ precedes the `=` (./a=b.png). Of a key that is
// given twice the later holds. Config files are read where they are met.
ig_status ig_config_args(ig_config *c, int n, const char *const *words);
// A YAML file, or its text (`where` stands in messages): one flat mapping of scalars and, for lists, sequences.
// Refused: nesting, anchors, aliases, tags, duplicate keys, several documents, over 1 MB. Messages start with
// file:line:column.
ig_status ig_config_load(ig_config *c, const char *path);
ig_status ig_config_load_text(ig_config *c, const char *text, size_t n, const char *where);
// One value; kept only where no stronger source has set the key. `where` (copied) names the source in messages, such as
// "preset resnet50".
ig_status ig_config_set(ig_config *c, const char *name, const char *text, ig_config_source source, const char *where);

// Positional words in order.
size_t ig_config_n_paths(const ig_config *c);
const char *ig_config_path(const ig_config *c, size_t i);

// Getters. A name that the verb lacks, or of another type, is a bug: asserted. Pointers live as long as the value.
bool ig_config_known(const ig_config *c, const char *name);      // the verb has this key
bool ig_config_has_value(const ig_config *c, const char *name);  // by default or by anyone
bool ig_config_is_set(const ig_config *c, const char *name);     // by anyone: source above default
ig_config_source ig_config_source_of(const ig_config *c, const char *name);
const char *ig_config_where(const ig_config *c, const char *name);          // "default", "run.yaml:3:9", "command line"
const char *ig_config_str(const ig_config *c, const char *name);            // any type, as given; NULL without a value
bool ig_config_is(const ig_config *c, const char *name, const char *text);  // has this very text (word or choice)
// Zero where the key has no value or holds one of its words.
bool ig_config_bool(const ig_config *c, const char *name);
int64_t ig_config_int(const ig_config *c, const char *name);
double ig_config_float(const ig_config *c, const char *name);
uint64_t ig_config_size(const ig_config *c, const char *name);
ig_duration ig_config_duration(const ig_config *c, const char *name);
int ig_config_choice(const ig_config *c, const char *name);  // index among the choices; -1 without a value
const char *const *ig_config_list(const ig_config *c, const char *name, size_t *n);  // also the texts of IG_KEY_FLOATS
const double *ig_config_floats(const ig_config *c, const char *name, size_t *n);

// All values that exist as YAML (reading it back gives the same configuration), and the same into a file (atomic).
ig_status ig_config_yaml(const ig_config *c, char **out);  // ig_free
ig_status ig_config_save(const ig_config *c, const char *path);

// Keys whose values differ by meaning (1e-3 equals 0.001), in table order; both must have the same table and verb.
// Texts are borrowed from a and b, NULL without a value. *out: ig_free.
typedef struct ig_config_change {
  const ig_key *key;
  const char *a, *b;
} ig_config_change;
ig_status ig_config_diff(const ig_config *a, const ig_config *b, ig_config_change **out, size_t *n);

// `ingot keys [VERB]` (verb NULL: all) as a text table, and docs/keys.md, both from the table. *out: ig_free.
ig_status ig_keys_text(const ig_key_table *table, const char *verb, char **out);
ig_status ig_keys_markdown(const ig_key_table *table, char **out);
// "int", "float", "sgd|adam", ...: the type as users read it. Ranges: "1 to 512", "above 0", "" where unchecked.
void ig_key_type_text(const ig_key *key, char out[256]);
void ig_key_range_text(const ig_key *key, char out[96]);

#ifdef __cplusplus
}
#endif
#endif
