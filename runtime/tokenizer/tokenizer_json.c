// tokenizer.json as Hugging Face's tokenizers writes it, WordPiece only. Rule: what would change ids and is not known
// here is refused by its name; how long texts may be, and padding, are the caller's to ask for.
#include <jansson.h>
#include <string.h>

#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/tokenizer/internal.h"

enum { MAX_JSON_BYTES = 256 << 20, LONGEST = 1000000 };

static ig_status wrong(const char *where, const char *expected) {
  return ig_fail(IG_ERR_FORMAT, "%s: %s is expected", where, expected);
}

static ig_status unsupported(const char *where, const char *found, const char *known) {
  char quoted[IG_QUOTE_BYTES];
  return ig_fail(IG_ERR_UNSUPPORTED, "%s is %s; known is %s: only BERT's WordPiece is read", where,
                 ig_quote(quoted, found ? found : ""), known);
}

static bool absent(const json_t *value) { return !value || json_is_null(value); }

static ig_status flag(const json_t *object, const char *where, const char *key, bool initial, bool *out) {
  const json_t *value = json_object_get(object, key);
  *out = initial;
  if (absent(value))
    return IG_OK;
  if (!json_is_boolean(value))
    return ig_fail(IG_ERR_FORMAT, "%s: \"%s\": true or false is expected", where, key);
  *out = json_is_true(value);
  return IG_OK;
}

static ig_status whole(const json_t *object, const char *where, const char *key, json_int_t min, json_int_t max,
                       json_int_t *out) {
  const json_t *value = json_object_get(object, key);
  *out = json_integer_value(value);
  if (!json_is_integer(value) || *out < min || *out > max)
    return ig_fail(IG_ERR_FORMAT, "%s: \"%s\": a whole number from %lld to %lld is expected", where, key,
                   (long long)min, (long long)max);
  return IG_OK;
}

static ig_status text(const json_t *object, const char *where, const char *key, const char **out) {
  *out = json_string_value(json_object_get(object, key));
  return *out ? IG_OK : ig_fail(IG_ERR_FORMAT, "%s: \"%s\": a text is expected", where, key);
}

static ig_status replace(char **old, const char *text_) {
  ig_free(*old);
  *old = NULL;
  return ig_strdup(text_, old);
}

static ig_status read_normalizer(const json_t *root, ig_tokenizer *t) {
  const json_t *n = json_object_get(root, "normalizer");
  if (absent(n)) {
    t->has_normalizer = false;
    t->flags = (ig_normalizer_flags){0};
    return IG_OK;
  }
  const char *type = json_string_value(json_object_get(n, "type"));
  if (!type || strcmp(type, "BertNormalizer") != 0)
    return unsupported("\"normalizer\"", type, "BertNormalizer");
  IG_TRY(flag(n, "\"normalizer\"", "clean_text", true, &t->flags.clean));
  IG_TRY(flag(n, "\"normalizer\"", "handle_chinese_chars", true, &t->flags.cjk));
  IG_TRY(flag(n, "\"normalizer\"", "lowercase", true, &t->flags.lower));
  return flag(n, "\"normalizer\"", "strip_accents", t->flags.lower, &t->flags.strip);
}

static ig_status read_model(const json_t *root, ig_tokenizer *t) {
  const json_t *model = json_object_get(root, "model"), *vocab = json_object_get(model, "vocab"), *id;
  const char *type = json_string_value(json_object_get(model, "type")), *value, *token;
  json_int_t chars;
  if (!json_is_object(model))
    return wrong("\"model\"", "an object");
  // Older files do not say the type; what only WordPiece has does.
  bool old = absent(json_object_get(model, "type")) && json_object_get(model, "continuing_subword_prefix") &&
             json_object_get(model, "max_input_chars_per_word") && !json_object_get(model, "merges");
  if (!old && (!type || strcmp(type, "WordPiece") != 0))
    return unsupported("\"model\"", type, "WordPiece");
  if (!json_is_object(vocab) || json_object_size(vocab) == 0)
    return wrong("\"model\": \"vocab\"", "an object of tokens with their ids");
  IG_TRY(text(model, "\"model\"", "unk_token", &value));
  IG_TRY(replace(&t->unk_token, value));
  IG_TRY(text(model, "\"model\"", "continuing_subword_prefix", &value));
  IG_TRY(replace(&t->prefix, value));
  IG_TRY(whole(model, "\"model\"", "max_input_chars_per_word", 0, 1 << 30, &chars));
  t->max_chars = (size_t)chars;
  json_object_foreach((json_t *)vocab, token, id) {
    char quoted[IG_QUOTE_BYTES];
    if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) > INT32_MAX)
      return ig_fail(IG_ERR_FORMAT, "\"model\": \"vocab\": token %s: an id is expected", ig_quote(quoted, token));
    IG_TRY(ig_vocab_add(t, token, (int32_t)json_integer_value(id)));
  }
  return IG_OK;
}

static bool is_new(const ig_tokenizer *t, const ig_added *a) {
  return ig_trie_find(&t->vocabulary, a->content, strlen(a->content)) < 0;
}

// Hugging Face's counts tokens that the vocabulary lacks on behind it, whatever their ids say.
static ig_status check_added_ids(const ig_tokenizer *t) {
  char quoted[IG_QUOTE_BYTES];
  size_t n_new = 0;
  for (size_t i = 0; i < t->n_added; i++)
    n_new += is_new(t, &t->added[i]);
  for (size_t i = 0; i < t->n_added; i++) {
    const ig_added *a = &t->added[i];
    if (is_new(t, a) && ((size_t)a->id < t->n_vocabulary || (size_t)a->id >= t->n_vocabulary + n_new))
      return ig_fail(
          IG_ERR_UNSUPPORTED,
          "\"added_tokens\": token %s has id %d; Hugging Face's tokenizers ignores that and counts on behind "
          "the %zu tokens of the vocabulary: give the added tokens the ids from %zu on",
          ig_quote(quoted, a->content), a->id, t->n_vocabulary, t->n_vocabulary);
  }
  return IG_OK;
}

static ig_status read_added(const json_t *root, ig_tokenizer *t) {
  const json_t *list = json_object_get(root, "added_tokens"), *entry;
  size_t i;
  if (absent(list))
    return IG_OK;
  if (!json_is_array(list))
    return wrong("\"added_tokens\"", "a list");
  json_array_foreach(list, i, entry) {
    char where[48];
    ig_added a = {0};
    const char *content;
    json_int_t id;
    snprintf(where, sizeof where, "\"added_tokens\"[%zu]", i);
    IG_TRY(text(entry, where, "content", &content));
    IG_TRY(whole(entry, where, "id", 0, INT32_MAX, &id));
    IG_TRY(flag(entry, where, "special", false, &a.special));
    IG_TRY(flag(entry, where, "single_word", false, &a.single_word));
    IG_TRY(flag(entry, where, "lstrip", false, &a.lstrip));
    IG_TRY(flag(entry, where, "rstrip", false, &a.rstrip));
    IG_TRY(flag(entry, where, "normalized", !a.special, &a.normalized));
    a.content = (char *)content;
    a.id = (int32_t)id;
    ig_status status = ig_vocab_add_special(t, &a);
    if (status != IG_OK)
      return ig_fail_prefix(status, "%s", where);
  }
  return check_added_ids(t);
}

static ig_status known_id(const ig_tokenizer *t, const char *where, json_int_t id) {
  if (id < 0 || id >= (json_int_t)t->n_tokens || !t->tokens[id])
    return ig_fail(IG_ERR_FORMAT, "%s: id %lld is of no token", where, (long long)id);
  return IG_OK;
}

// A special token by its name in "special_tokens": one or several ids.
static ig_status add_special(const json_t *post, const char *where, const char *name, json_int_t type,
                             const ig_tokenizer *t, ig_template *out) {
  const json_t *ids = json_object_get(json_object_get(json_object_get(post, "special_tokens"), name), "ids"), *id;
  size_t i;
  if (!json_is_array(ids)) {
    char quoted[IG_QUOTE_BYTES];
    return ig_fail(IG_ERR_FORMAT, "%s: \"special_tokens\" says no \"ids\" of %s", where, ig_quote(quoted, name));
  }
  json_array_foreach(ids, i, id) {
    if (!json_is_integer(id))
      return wrong(where, "a whole number in \"ids\"");
    IG_TRY(known_id(t, where, json_integer_value(id)));
    IG_TRY(ig_template_add(out, -1, (int32_t)json_integer_value(id), (uint8_t)type));
  }
  return IG_OK;
}

// "single" or "pair": a list of {"SpecialToken": {id, type_id}} and {"Sequence": {id: "A" or "B", type_id}}.
static ig_status read_template(const json_t *post, const char *key, const ig_tokenizer *t, ig_template *out) {
  const json_t *list = json_object_get(post, key), *entry;
  char where[64];
  size_t i, seen[2] = {0};
  snprintf(where, sizeof where, "\"post_processor\": \"%s\"", key);
  if (!json_is_array(list))
    return wrong(where, "a list");
  json_array_foreach(list, i, entry) {
    const json_t *special = json_object_get(entry, "SpecialToken"), *sequence = json_object_get(entry, "Sequence");
    const json_t *piece = special ? special : sequence;
    const char *id;
    json_int_t type;
    if (!piece)
      return wrong(where, "a SpecialToken or a Sequence");
    IG_TRY(text(piece, where, "id", &id));
    IG_TRY(whole(piece, where, "type_id", 0, 255, &type));
    if (special) {
      IG_TRY(add_special(post, where, id, type, t, out));
      continue;
    }
    if (strcmp(id, "A") != 0 && strcmp(id, "B") != 0)
      return wrong(where, "Sequence A or B");
    seen[*id - 'A']++;
    IG_TRY(ig_template_add(out, *id - 'A', 0, (uint8_t)type));
  }
  if (seen[0] != 1 || seen[1] != (size_t)(strcmp(key, "pair") == 0))
    return wrong(where, seen[0] == 1 ? "Sequence B once in a pair and nowhere else" : "Sequence A once");
  return IG_OK;
}

// ["[SEP]", 102]
static ig_status read_bert_token(const json_t *post, const char *key, const ig_tokenizer *t, int32_t *out) {
  const json_t *entry = json_object_get(post, key), *id = json_array_get(entry, 1);
  if (!json_is_string(json_array_get(entry, 0)) || !json_is_integer(id))
    return ig_fail(IG_ERR_FORMAT, "\"post_processor\": \"%s\": a list of a token and its id is expected", key);
  IG_TRY(known_id(t, "\"post_processor\"", json_integer_value(id)));
  *out = (int32_t)json_integer_value(id);
  return IG_OK;
}

static ig_status read_post_processor(const json_t *root, ig_tokenizer *t) {
  const json_t *post = json_object_get(root, "post_processor");
  const char *type = json_string_value(json_object_get(post, "type"));
  int32_t cls, sep;
  if (absent(post))
    return ig_template_bert(t, -1, -1);
  if (type && !strcmp(type, "TemplateProcessing")) {
    IG_TRY(read_template(post, "single", t, &t->single));
    return read_template(post, "pair", t, &t->pair);
  }
  if (!type || strcmp(type, "BertProcessing") != 0)
    return unsupported("\"post_processor\"", type, "TemplateProcessing and BertProcessing");
  IG_TRY(read_bert_token(post, "cls", t, &cls));
  IG_TRY(read_bert_token(post, "sep", t, &sep));
  return ig_template_bert(t, cls, sep);
}

static ig_status read_rest(const json_t *root, ig_tokenizer *t) {
  const json_t *pre = json_object_get(root, "pre_tokenizer"), *decoder = json_object_get(root, "decoder");
  const json_t *cut = json_object_get(root, "truncation");
  const char *type = json_string_value(json_object_get(pre, "type"));
  if (!type || strcmp(type, "BertPreTokenizer") != 0)
    return unsupported("\"pre_tokenizer\"", absent(pre) ? "null" : type, "BertPreTokenizer");
  if (absent(decoder)) {
    t->has_decoder = false;
  } else {
    const char *prefix;
    type = json_string_value(json_object_get(decoder, "type"));
    if (!type || strcmp(type, "WordPiece") != 0)
      return unsupported("\"decoder\"", type, "WordPiece");
    IG_TRY(text(decoder, "\"decoder\"", "prefix", &prefix));
    if (strcmp(prefix, t->prefix) != 0)
      return ig_fail(IG_ERR_UNSUPPORTED, "\"decoder\" has the prefix \"%s\" and \"model\" has \"%s\"; one is expected",
                     prefix, t->prefix);
    IG_TRY(flag(decoder, "\"decoder\"", "cleanup", true, &t->cleanup));
  }
  if (!absent(cut)) {
    json_int_t length;
    IG_TRY(whole(cut, "\"truncation\"", "max_length", 0, INT64_MAX, &length));
    if (length >= 1 && length <= LONGEST)
      t->max_length = (int)length;
    const char *side = json_string_value(json_object_get(cut, "direction"));
    if (!absent(json_object_get(cut, "direction")) &&
        (!side || (strcmp(side, "Left") != 0 && strcmp(side, "Right") != 0)))
      return wrong("\"truncation\": \"direction\"", "\"Right\" or \"Left\"");
    if (side && !t->side_said)
      t->cut_left = *side == 'L';
  }
  return IG_OK;
}

static ig_status read_root(const json_t *root, ig_tokenizer *t) {
  if (!json_is_object(root))
    return wrong("the file", "a JSON object");
  IG_TRY(read_model(root, t));
  IG_TRY(read_normalizer(root, t));
  IG_TRY(read_added(root, t));
  IG_TRY(read_post_processor(root, t));
  return read_rest(root, t);
}

ig_status ig_tokenizer_json_read(const char *path, ig_tokenizer *t) {
  uint8_t *bytes;
  size_t n;
  json_error_t error;
  IG_TRY(ig_file_read(path, MAX_JSON_BYTES, &bytes, &n));
  json_t *root = json_loadb((const char *)bytes, n, JSON_REJECT_DUPLICATES, &error);
  ig_free(bytes);
  if (!root)
    return ig_fail(IG_ERR_FORMAT, "%s: line %d, column %d: %s", path, error.line, error.column, error.text);
  ig_status status = read_root(root, t);
  json_decref(root);
  return status == IG_OK ? status : ig_fail_prefix(status, "%s", path);
}
