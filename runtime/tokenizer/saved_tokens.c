// Tokens that Transformers 4's BertTokenizer saves beside a vocab.txt: added_tokens_decoder and the special tokens of
// tokenizer_config.json, or, where an older one wrote no added_tokens_decoder, special_tokens_map.json and
// added_tokens.json. Rule: ids, flags and order are AutoTokenizer's of Transformers 5; what cannot be is refused.
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/tokenizer/internal.h"

enum { CONFIG, MAP, ADDED, N_FILES };
static const char *const file_names[N_FILES] = {"tokenizer_config.json", "special_tokens_map.json",
                                                "added_tokens.json"};
// In the order in which Transformers adds them, with BERT's names.
enum { UNK = 2, SEP, PAD, CLS, MASK, N_NAMED };
static const struct named {
  const char *key, *usual;
} named[N_NAMED] = {{"bos_token", NULL},    {"eos_token", NULL},    {"unk_token", "[UNK]"},  {"sep_token", "[SEP]"},
                    {"pad_token", "[PAD]"}, {"cls_token", "[CLS]"}, {"mask_token", "[MASK]"}};

typedef struct token {
  ig_added added;   // content: of the JSON
  const char *key;  // that names it; NULL: the file itself
  int file;
  bool said;    // by a file, and not only BERT's usual name
  bool has_id;  // added.id is of the file
} token;

typedef struct saved {
  ig_tokenizer *t;
  char *paths[N_FILES];
  json_t *files[N_FILES];  // NULL: not there, or not read
  token *tokens;
  size_t n, capacity;
  const char *texts[N_NAMED];          // of the special tokens; "": there is none
  bool said[N_NAMED], known[N_NAMED];  // known: added_tokens.json's token of that text is taken for a special one
} saved;

static ig_status put(saved *s, const token *x) {
  IG_TRY(ig_grow(&s->tokens, &s->capacity, s->n, s->n + 1, sizeof *s->tokens, "added tokens"));
  s->tokens[s->n++] = *x;
  return IG_OK;
}

static ig_status flag(const json_t *value, const char *path, const char *where, const char *key, bool *out) {
  const json_t *found = json_object_get(value, key);
  if (!found || json_is_null(found))
    return IG_OK;
  if (!json_is_boolean(found))
    return ig_fail(IG_ERR_FORMAT, "%s: \"%s\": \"%s\": true or false is expected", path, where, key);
  *out = json_is_true(found);
  return IG_OK;
}

// A text, which is a special token, or an object of content and flags. special: what it is where it does not say;
// always: whatever it says.
static ig_status parse(const json_t *value, const char *path, const char *where, bool special, bool always,
                       ig_added *out) {
  const char *content = json_string_value(json_is_object(value) ? json_object_get(value, "content") : value);
  if (!content)
    return ig_fail(IG_ERR_FORMAT, "%s: \"%s\" is to be a token: a text, or an object with a text as \"content\"", path,
                   where);
  *out = (ig_added){.content = (char *)content, .special = true};
  if (!json_is_object(value))
    return IG_OK;
  out->special = special;
  IG_TRY(flag(value, path, where, "special", &out->special));
  out->special = out->special || always;
  out->normalized = !out->special;
  IG_TRY(flag(value, path, where, "single_word", &out->single_word));
  IG_TRY(flag(value, path, where, "lstrip", &out->lstrip));
  IG_TRY(flag(value, path, where, "rstrip", &out->rstrip));
  return flag(value, path, where, "normalized", &out->normalized);
}

// --- which files there are, and what of them is not known here ---

static ig_status open_files(saved *s, const char *config_path, const json_t *config) {
  const char *slash = strrchr(config_path, '/');
  const size_t folder = slash ? (size_t)(slash - config_path) + 1 : 0;
  for (size_t i = 0; i < N_FILES; i++)
    IG_TRY(ig_asprintf(&s->paths[i], "%.*s%s", (int)folder, config_path, file_names[i]));
  s->files[CONFIG] = json_incref((json_t *)config);
  if (json_object_get(config, "added_tokens_decoder"))  // it tells all: Transformers reads no other
    return IG_OK;
  IG_TRY(ig_json_object_read(s->paths[MAP], 0, &s->files[MAP]));
  return ig_json_object_read(s->paths[ADDED], 0, &s->files[ADDED]);
}

static bool is_named(const char *key) {
  for (size_t i = 0; i < N_NAMED; i++)
    if (!strcmp(named[i].key, key))
      return true;
  return false;
}

static ig_status refuse_unknown(const saved *s, int file) {
  const char *key;
  json_t *value;
  json_object_foreach(s->files[file], key, value) {
    char quoted[IG_QUOTE_BYTES];
    const size_t n = strlen(key);
    if (!strcmp(key, "extra_special_tokens") && (json_is_object(value) || file == MAP) &&
        (json_object_size(value) || json_array_size(value)))
      return ig_fail(IG_ERR_UNSUPPORTED,
                     "%s: \"extra_special_tokens\" names tokens in a way that is not known here; name them in "
                     "\"added_tokens_decoder\" with their ids",
                     s->paths[file]);
    if (n > 6 && !strcmp(key + n - 6, "_token") && (json_is_string(value) || json_is_object(value)) && !is_named(key))
      return ig_fail(IG_ERR_UNSUPPORTED,
                     "%s: %s is a special token that BERT does not have; name it in \"added_tokens_decoder\" with its "
                     "id instead",
                     s->paths[file], ig_quote(quoted, key));
  }
  if (json_is_true(json_object_get(s->files[file], "split_special_tokens")))
    return ig_fail(
        IG_ERR_UNSUPPORTED,
        "%s: \"split_special_tokens\" is true; special tokens are found whole in a text here: false is known",
        s->paths[file]);
  return IG_OK;
}

// --- the special tokens by name ---

static ig_status find_named(saved *s, size_t i, token *out) {
  const char *key = named[i].key;
  const json_t *of_map = json_object_get(s->files[MAP], key);
  const int file = of_map ? MAP : CONFIG;
  const json_t *value = json_object_get(s->files[file], key);
  *out = (token){.key = key, .file = file, .said = value != NULL};
  s->said[i] = value != NULL;
  // Transformers compares texts before it makes tokens of the objects of tokenizer_config.json.
  s->known[i] = json_is_string(value) || file == MAP;
  if (json_is_null(value)) {
    if (i == UNK || i == CLS || i == SEP)
      return ig_fail(IG_ERR_UNSUPPORTED, "%s: \"%s\" is null; BERT's tokenizer needs that token: name it",
                     s->paths[file], key);
    s->texts[i] = "";
  } else if (value) {
    IG_TRY(parse(value, s->paths[file], key, true, true, &out->added));
    s->texts[i] = out->added.content;
  } else {
    out->added = (ig_added){.content = (char *)named[i].usual, .special = true};
    s->texts[i] = named[i].usual ? named[i].usual : "";
  }
  return IG_OK;
}

// --- added_tokens_decoder, added_tokens.json: tokens with ids ---

static int by_id(const void *a, const void *b) {
  const token *x = a, *y = b;
  return (x->added.id > y->added.id) - (x->added.id < y->added.id);
}

// A token that is named is special whatever its entry says; `normalized` is then as if it had said so.
static ig_status special_by_name(const saved *s, const json_t *value, int file, const char *key, ig_added *out) {
  for (size_t i = 0; i < N_NAMED && !out->special; i++)
    if (!strcmp(s->texts[i], out->content)) {
      out->special = true;
      out->normalized = false;
      return flag(value, s->paths[file], key, "normalized", &out->normalized);
    }
  return IG_OK;
}

static ig_status read_decoder(saved *s) {
  const json_t *decoder = json_object_get(s->files[CONFIG], "added_tokens_decoder");
  const char *key;
  json_t *value;
  if (decoder && !json_is_object(decoder))
    return ig_fail(IG_ERR_FORMAT, "%s: \"added_tokens_decoder\": an object of ids with their tokens is expected",
                   s->paths[CONFIG]);
  json_object_foreach((json_t *)decoder, key, value) {
    char quoted[IG_QUOTE_BYTES], *end;
    const long id = strtol(key, &end, 10);
    token x = {.key = "added_tokens_decoder", .file = CONFIG, .said = true, .has_id = true};
    if (*key < '0' || *key > '9' || *end || id > INT32_MAX)
      return ig_fail(IG_ERR_FORMAT, "%s: \"added_tokens_decoder\": %s: an id is expected", s->paths[CONFIG],
                     ig_quote(quoted, key));
    if (!json_is_object(value))
      return ig_fail(IG_ERR_FORMAT, "%s: \"added_tokens_decoder\": \"%ld\": an object with \"content\" is expected",
                     s->paths[CONFIG], id);
    IG_TRY(parse(value, s->paths[CONFIG], "added_tokens_decoder", false, false, &x.added));
    x.added.id = (int32_t)id;
    IG_TRY(special_by_name(s, value, CONFIG, x.key, &x.added));
    IG_TRY(put(s, &x));
  }
  return IG_OK;
}

// The list of further special tokens, NULL where there is none. *file: whose.
static ig_status find_extra(const saved *s, const json_t **list, int *file, const char **key) {
  const json_t *extra = json_object_get(s->files[CONFIG], "extra_special_tokens");
  const json_t *config = json_object_get(s->files[CONFIG], "additional_special_tokens");
  const json_t *map = json_object_get(s->files[MAP], "additional_special_tokens");
  *key = "additional_special_tokens";
  *file = CONFIG;
  *list = config;
  if (json_array_size(extra)) {
    if (json_array_size(config) && !json_equal(extra, config))
      return ig_fail(IG_ERR_UNSUPPORTED,
                     "%s: \"extra_special_tokens\" and \"additional_special_tokens\" are two lists; keep one",
                     s->paths[CONFIG]);
    *key = "extra_special_tokens";
    *list = extra;
  }
  if (json_array_size(map) || (map && !json_is_array(map) && !json_is_null(map))) {
    if (*list && !json_equal(*list, map))
      return ig_fail(IG_ERR_UNSUPPORTED,
                     "%s: \"additional_special_tokens\" is another list than \"%s\" in %s; make them the same",
                     s->paths[MAP], *key, s->paths[CONFIG]);
    if (!*list)
      *list = map, *file = MAP;
  }
  if (*list && !json_is_array(*list) && !json_is_null(*list))
    return ig_fail(IG_ERR_FORMAT, "%s: \"%s\": a list of tokens is expected", s->paths[*file], *key);
  return IG_OK;
}

// Whether tokenizer_config.json's own list holds the text as a text; Transformers looks no further there.
static bool in_config(const json_t *list, const char *text) {
  const json_t *value;
  size_t i;
  json_array_foreach(list, i, value) if (json_is_string(value) && !strcmp(json_string_value(value), text)) return true;
  return false;
}

static ig_status read_added(saved *s, const json_t *extra, int extra_file) {
  const char *text;
  json_t *id;
  json_object_foreach(s->files[ADDED], text, id) {
    char quoted[IG_QUOTE_BYTES];
    token x = {.file = ADDED, .said = true, .has_id = true};
    bool known = extra_file == CONFIG && in_config(extra, text);
    if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) > INT32_MAX)
      return ig_fail(IG_ERR_FORMAT, "%s: token %s: an id is expected", s->paths[ADDED], ig_quote(quoted, text));
    x.added = (ig_added){.content = (char *)text, .id = (int32_t)json_integer_value(id)};
    for (size_t i = 0; i < N_NAMED; i++)
      if (!strcmp(s->texts[i], text)) {
        x.added.special = true;
        known = known || s->known[i];
      }
    x.added.special = x.added.special || known;
    x.added.normalized = !known;  // a special token by its usual name alone is found in normalized text, too
    IG_TRY(put(s, &x));
  }
  return IG_OK;
}

static ig_status read_extra(saved *s, const json_t *list, int file, const char *key) {
  const json_t *value;
  size_t i;
  json_array_foreach(list, i, value) {
    token x = {.key = key, .file = file, .said = true};
    IG_TRY(parse(value, s->paths[file], key, !json_object_get(value, "__type"), false, &x.added));
    IG_TRY(special_by_name(s, value, file, key, &x.added));
    IG_TRY(put(s, &x));
  }
  return IG_OK;
}

static ig_status read_all(saved *s) {
  token special[N_NAMED];
  const json_t *extra;
  const char *key;
  int file;
  for (int i = CONFIG; i <= MAP; i++)
    IG_TRY(refuse_unknown(s, i));
  for (size_t i = 0; i < N_NAMED; i++)
    IG_TRY(find_named(s, i, &special[i]));
  IG_TRY(find_extra(s, &extra, &file, &key));
  IG_TRY(read_decoder(s));
  IG_TRY(read_added(s, extra, file));
  if (s->n)
    qsort(s->tokens, s->n, sizeof *s->tokens, by_id);
  for (size_t i = 0; i < N_NAMED; i++)
    if (*s->texts[i])
      IG_TRY(put(s, &special[i]));
  return read_extra(s, extra, file, key);
}

// --- ids: that of the vocabulary, else the next behind all ---

// Hugging Face's counts tokens, not lines: empty ones are one.
static int32_t count_tokens(const ig_tokenizer *t) {
  size_t empty = 0;
  for (size_t i = 0; i < t->n_tokens; i++)
    empty += !*t->tokens[i];
  return (int32_t)(t->n_tokens - (empty > 1 ? empty - 1 : 0));
}

// A token that is there already: the last name decides its flags, but not against an entry that has an id.
static void add_again(const saved *s, const ig_added *again) {
  for (size_t i = 0; i < s->t->n_added; i++) {
    ig_added *a = &s->t->added[i];
    if (strcmp(a->content, again->content) != 0 || (i < s->n && s->tokens[i].has_id))
      continue;
    a->single_word = again->single_word;
    a->lstrip = again->lstrip;
    a->rstrip = again->rstrip;
    a->normalized = again->normalized;
    a->special = a->special || again->special;
  }
}

static ig_status add_token(saved *s, token *x, int32_t *next) {
  char quoted[IG_QUOTE_BYTES];
  const int32_t known = ig_tokenizer_id(s->t, x->added.content), id = known >= 0 ? known : *next;
  if (!x->has_id && ig_trie_find(&s->t->added_names, x->added.content, strlen(x->added.content)) >= 0) {
    add_again(s, &x->added);
    return IG_OK;
  }
  if (x->has_id && x->added.id != id)
    return ig_fail(
        IG_ERR_UNSUPPORTED,
        "token %s has id %d; expected is %d, %s: give it that id, or save the tokenizer as tokenizer.json",
        ig_quote(quoted, x->added.content), x->added.id, id,
        known >= 0 ? "its id in the vocabulary" : "the next behind the vocabulary and the tokens added before");
  x->added.id = id;
  *next += known < 0;
  return ig_vocab_add_special(s->t, &x->added);
}

// BERT's usual names that the vocabulary lacks and nobody says take ids only where a token behind them does.
static ig_status add_all(saved *s) {
  int32_t next = count_tokens(s->t);
  size_t last = 0;
  for (size_t i = 0; i < s->n; i++)
    if (s->tokens[i].said && ig_tokenizer_id(s->t, s->tokens[i].added.content) < 0)
      last = i + 1;
  for (size_t i = 0; i < s->n; i++) {
    token *x = &s->tokens[i];
    if (i >= last && ig_tokenizer_id(s->t, x->added.content) < 0)
      continue;
    ig_status status = add_token(s, x, &next);
    if (status != IG_OK && x->key)
      status = ig_fail_prefix(status, "\"%s\"", x->key);
    if (status != IG_OK)
      return x->said ? ig_fail_prefix(status, "%s", s->paths[x->file]) : status;
  }
  return IG_OK;
}

static ig_status keep_names(const saved *s, ig_token_names *names) {
  char **const out[N_NAMED] = {
      [UNK] = &names->unk, [SEP] = &names->sep, [PAD] = &names->pad, [CLS] = &names->cls, [MASK] = &names->mask};
  for (size_t i = UNK; i < N_NAMED; i++)
    if (s->said[i]) {
      ig_free(*out[i]);
      *out[i] = NULL;
      IG_TRY(ig_strdup(s->texts[i], out[i]));
    }
  return IG_OK;
}

ig_status ig_saved_tokens_read(const char *config_path, const json_t *config, ig_tokenizer *t, ig_token_names *names) {
  saved s = {.t = t};
  ig_status status = IG_OK;
  IG_GOTO(open_files(&s, config_path, config));
  IG_GOTO(read_all(&s));
  IG_GOTO(add_all(&s));
  status = keep_names(&s, names);
done:
  for (size_t i = 0; i < N_FILES; i++) {
    json_decref(s.files[i]);
    ig_free(s.paths[i]);
  }
  ig_free(s.tokens);
  return status;
}
