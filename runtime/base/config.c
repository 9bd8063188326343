// The store of values: precedence, command line, getters, differences. Rule: a weaker source never replaces a stronger
// one, whatever the order in which they are read.
#include "runtime/base/config.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "runtime/base/config_value.h"
#include "runtime/base/mem.h"
#include "runtime/base/text.h"

enum { MAX_KEYS = 1024, COMMAND_NAME_BYTES = 64 };

static bool has_verb(const ig_key *key, size_t verb) { return key->verbs >> verb & 1; }

static bool same_name(const char *key, const char *name, size_t n) {
  if (strlen(key) != n)
    return false;
  for (size_t i = 0; i < n; i++)
    if (key[i] != (name[i] == '-' ? '_' : name[i]))
      return false;
  return true;
}

ig_status ig_config_find(const ig_config *c, const char *name, size_t name_bytes, const char *where, size_t *index) {
  const ig_key_table *t = c->table;
  const char *names[MAX_KEYS];
  char wanted[COMMAND_NAME_BYTES], quoted[IG_QUOTE_BYTES], nearest[IG_NEAREST_BYTES];
  const ig_key *other = NULL;
  size_t n = 0;
  for (size_t i = 0; i < t->n_keys; i++) {
    if (has_verb(&t->keys[i], c->verb) && n < MAX_KEYS)
      names[n++] = t->keys[i].name;
    if (!same_name(t->keys[i].name, name, name_bytes))
      continue;
    if (has_verb(&t->keys[i], c->verb)) {
      *index = i;
      return IG_OK;
    }
    other = &t->keys[i];
  }
  const char *verb = t->verbs[c->verb];
  snprintf(wanted, sizeof wanted, "%.*s", name_bytes < sizeof wanted ? (int)name_bytes : (int)sizeof wanted - 1, name);
  if (other && other->verbs)
    return ig_fail(IG_ERR_USAGE, "%s: key %s belongs to `%s`, not to `%s` (see: ingot keys %s)", where, other->name,
                   t->verbs[__builtin_ctzll(other->verbs)], verb, verb);
  return ig_fail(IG_ERR_USAGE, "%s: unknown key %s of `%s`%s (all keys: ingot keys %s)", where,
                 ig_quote(quoted, wanted), verb, ig_nearest(nearest, wanted, names, n), verb);
}

ig_status ig_config_put(ig_config *c, size_t index, const char *text, const char *const *items, size_t n,
                        ig_config_source source, const char *where) {
  ig_value value, *present = &c->values[index];
  IG_TRY(ig_value_parse(&value, &c->table->keys[index], text, items, n, source, where));
  if (present->text && present->source > source) {
    ig_value_fini(&value);
    return IG_OK;
  }
  ig_value_fini(present);
  *present = value;
  return IG_OK;
}

static ig_status find_verb(const ig_key_table *table, const char *verb, size_t *out) {
  char quoted[IG_QUOTE_BYTES], nearest[IG_NEAREST_BYTES];
  for (*out = 0; *out < table->n_verbs; ++*out)
    if (strcmp(table->verbs[*out], verb) == 0)
      return IG_OK;
  return ig_fail(IG_ERR_USAGE, "unknown verb %s%s (all verbs: ingot help)", ig_quote(quoted, verb),
                 ig_nearest(nearest, verb, table->verbs, table->n_verbs));
}

ig_status ig_config_create(ig_config **out, const ig_key_table *table, const char *verb) {
  ig_status status = IG_OK;
  ig_config *c = NULL;
  size_t index;
  *out = NULL;
  IG_TRY(find_verb(table, verb, &index));
  IG_TRY(ig_alloc(sizeof *c, "a configuration", &c));
  c->table = table;
  c->verb = index;
  IG_GOTO(ig_alloc_array(table->n_keys, sizeof *c->values, "values of a configuration", &c->values));
  for (size_t i = 0; i < table->n_keys; i++) {
    const ig_key *key = &table->keys[i];
    c->values[i].choice = -1;
    if (!has_verb(key, c->verb))
      continue;
    IG_GOTO(ig_config_find(c, key->name, strlen(key->name), "the table of keys", &index));
    if (index != i)
      IG_GOTO(ig_fail(IG_ERR_INTERNAL, "the table of keys has %s of `%s` twice", key->name, verb));
    if (key->initial && (status = ig_config_put(c, i, key->initial, NULL, 0, IG_FROM_DEFAULT, "default")) != IG_OK) {
      if (status == IG_ERR_USAGE)
        status = ig_fail_prefix(IG_ERR_INTERNAL, "the table of keys");
      goto done;
    }
  }
  *out = c;
  return IG_OK;
done:
  ig_config_destroy(c);
  return status;
}

void ig_config_destroy(ig_config *c) {
  if (!c)
    return;
  for (size_t i = 0; c->values && i < c->table->n_keys; i++)
    ig_value_fini(&c->values[i]);
  for (size_t i = 0; i < c->n_paths; i++)
    ig_free(c->paths[i]);
  ig_free(c->values);
  ig_free(c->paths);
  ig_free(c);
}

ig_status ig_config_set(ig_config *c, const char *name, const char *text, ig_config_source source, const char *where) {
  size_t index;
  IG_TRY(ig_config_find(c, name, strlen(name), where, &index));
  return ig_config_put(c, index, text, NULL, 0, source, where);
}

static ig_status add_path(ig_config *c, const char *word) {
  IG_TRY(ig_grow(&c->paths, &c->paths_capacity, c->n_paths, c->n_paths + 1, sizeof *c->paths, "paths"));
  IG_TRY(ig_strdup(word, &c->paths[c->n_paths]));
  c->n_paths++;
  return IG_OK;
}

static ig_status put_argument(ig_config *c, size_t index, const char *text) {
  static const char where[] = "command line";
  if (c->table->keys[index].type == IG_KEY_CONFIG)
    IG_TRY(ig_config_load(c, text));
  return ig_config_put(c, index, text, NULL, 0, IG_FROM_COMMAND_LINE, where);
}

// Length of a name that could be a key: letters, digits, dashes, underscores.
static size_t name_length(const char *word) {
  return strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");
}

ig_status ig_config_args(ig_config *c, int n, const char *const *words) {
  static const char where[] = "command line";
  char quoted[IG_QUOTE_BYTES];
  bool only_paths = false, flag;
  for (int i = 0; i < n; i++) {
    const char *word = words[i];
    bool dashed = strncmp(word, "--", 2) == 0;
    if (!only_paths && strcmp(word, "--") == 0) {
      only_paths = true;
      continue;
    }
    if (!only_paths && word[0] == '-' && word[1] && !dashed)
      return ig_fail(IG_ERR_USAGE,
                     "%s: %s is neither key=value nor --key value; write ./ before a path that starts with -", where,
                     ig_quote(quoted, word));
    const char *name = dashed ? word + 2 : word;
    size_t length = name_length(name), index;
    bool assigns = length > 0 && name[length] == '=';
    if (only_paths || (!dashed && !assigns)) {
      IG_TRY(add_path(c, word));
      continue;
    }
    if (!assigns && name[length])
      length = strcspn(name, "=");  // --a.b: no key, and said so
    IG_TRY(ig_config_find(c, name, length, where, &index));
    if (name[length] == '=') {
      IG_TRY(put_argument(c, index, name + length + 1));
      continue;
    }
    const char *next = i + 1 < n ? words[i + 1] : NULL;
    if (c->table->keys[index].type == IG_KEY_BOOL) {
      bool consumes = next && ig_value_is_bool(next, &flag);
      IG_TRY(put_argument(c, index, consumes ? next : "1"));
      i += consumes;
      continue;
    }
    if (!next || (next[0] == '-' && next[1] == '-'))
      return ig_fail(IG_ERR_USAGE, "%s: --%s needs a value: --%s VALUE, or %s=VALUE", where, c->table->keys[index].name,
                     c->table->keys[index].name, c->table->keys[index].name);
    IG_TRY(put_argument(c, index, next));
    i++;
  }
  return IG_OK;
}

size_t ig_config_n_paths(const ig_config *c) { return c->n_paths; }

const char *ig_config_path(const ig_config *c, size_t i) {
  assert(i < c->n_paths);
  return c->paths[i];
}

static size_t index_of(const ig_config *c, const char *name) {
  size_t i = 0;
  while (i < c->table->n_keys && (!has_verb(&c->table->keys[i], c->verb) || strcmp(c->table->keys[i].name, name) != 0))
    i++;
  return i;
}

static const ig_value *value_of(const ig_config *c, const char *name) {
  static const ig_value none = {.choice = -1};
  size_t i = index_of(c, name);
  assert(i < c->table->n_keys && "a key that the verb does not have");
  return i < c->table->n_keys ? &c->values[i] : &none;
}

static const ig_value *typed_value_of(const ig_config *c, const char *name, ig_key_type type) {
  assert(index_of(c, name) < c->table->n_keys && c->table->keys[index_of(c, name)].type == type);
  (void)type;
  return value_of(c, name);
}

bool ig_config_known(const ig_config *c, const char *name) { return index_of(c, name) < c->table->n_keys; }

bool ig_config_has_value(const ig_config *c, const char *name) { return value_of(c, name)->text != NULL; }

bool ig_config_is_set(const ig_config *c, const char *name) {
  const ig_value *v = value_of(c, name);
  return v->text && v->source > IG_FROM_DEFAULT;
}

ig_config_source ig_config_source_of(const ig_config *c, const char *name) { return value_of(c, name)->source; }

const char *ig_config_where(const ig_config *c, const char *name) {
  const ig_value *v = value_of(c, name);
  return v->where ? v->where : "default";
}

const char *ig_config_str(const ig_config *c, const char *name) { return value_of(c, name)->text; }

bool ig_config_is(const ig_config *c, const char *name, const char *text) {
  const ig_value *v = value_of(c, name);
  return v->text && strcmp(v->text, text) == 0;
}

bool ig_config_bool(const ig_config *c, const char *name) { return typed_value_of(c, name, IG_KEY_BOOL)->flag; }

int64_t ig_config_int(const ig_config *c, const char *name) { return typed_value_of(c, name, IG_KEY_INT)->integer; }

double ig_config_float(const ig_config *c, const char *name) { return typed_value_of(c, name, IG_KEY_FLOAT)->number; }

uint64_t ig_config_size(const ig_config *c, const char *name) { return typed_value_of(c, name, IG_KEY_SIZE)->bytes; }

ig_duration ig_config_duration(const ig_config *c, const char *name) {
  return typed_value_of(c, name, IG_KEY_DURATION)->duration;
}

int ig_config_choice(const ig_config *c, const char *name) { return value_of(c, name)->choice; }

const char *const *ig_config_list(const ig_config *c, const char *name, size_t *n) {
  const ig_value *v = value_of(c, name);
  *n = v->n;
  return (const char *const *)v->items;
}

const double *ig_config_floats(const ig_config *c, const char *name, size_t *n) {
  const ig_value *v = typed_value_of(c, name, IG_KEY_FLOATS);
  *n = v->numbers ? v->n : 0;
  return v->numbers;
}

ig_status ig_config_diff(const ig_config *a, const ig_config *b, ig_config_change **out, size_t *n) {
  *out = NULL;
  *n = 0;
  if (a->table != b->table || a->verb != b->verb)
    return ig_fail(IG_ERR_INTERNAL, "configurations of `%s` and `%s` cannot be compared", a->table->verbs[a->verb],
                   b->table->verbs[b->verb]);
  IG_TRY(ig_alloc_array(a->table->n_keys, sizeof **out, "differences of configurations", out));
  for (size_t i = 0; i < a->table->n_keys; i++) {
    const ig_key *key = &a->table->keys[i];
    if (!has_verb(key, a->verb) || key->flags & IG_KEY_NOT_SAVED || key->type == IG_KEY_CONFIG ||
        ig_value_equal(&a->values[i], &b->values[i], key))
      continue;
    (*out)[(*n)++] = (ig_config_change){key, a->values[i].text, b->values[i].text};
  }
  return IG_OK;
}
