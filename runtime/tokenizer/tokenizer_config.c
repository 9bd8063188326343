// tokenizer_config.json: names of special tokens, flags, lengths. Rule: a file that is not there says nothing;
// one that is there is read or refused.
#include <jansson.h>
#include <string.h>

#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/tokenizer/internal.h"

enum { MAX_CONFIG_BYTES = 16 << 20, LONGEST = 1000000 };

// A text, or an object {"content": text}; *out stays where there is none (or null).
static ig_status read_name(const json_t *config, const char *path, const char *key, char **out) {
  const json_t *value = json_object_get(config, key);
  if (json_is_object(value))
    value = json_object_get(value, "content");
  if (!value || json_is_null(value))
    return IG_OK;
  if (!json_is_string(value))
    return ig_fail(IG_ERR_FORMAT, "%s: \"%s\" is to be a token", path, key);
  return ig_strdup(json_string_value(value), out);
}

static ig_status read_flag(const json_t *config, const char *path, const char *key, bool *out) {
  const json_t *value = json_object_get(config, key);
  if (!value || json_is_null(value))
    return IG_OK;
  if (!json_is_boolean(value))
    return ig_fail(IG_ERR_FORMAT, "%s: \"%s\" is to be true or false", path, key);
  *out = json_is_true(value);
  return IG_OK;
}

static ig_status read_side(const json_t *config, const char *path, ig_tokenizer *t) {
  char quoted[IG_QUOTE_BYTES];
  const json_t *value = json_object_get(config, "truncation_side");
  const char *side = json_string_value(value);
  if (!value || json_is_null(value))
    return IG_OK;
  if (!side || (strcmp(side, "left") != 0 && strcmp(side, "right") != 0))
    return ig_fail(IG_ERR_FORMAT, "%s: \"truncation_side\" is %s; \"right\" or \"left\" is expected", path,
                   side ? ig_quote(quoted, side) : "no text");
  t->side_said = true;
  t->cut_left = *side == 'l';
  return IG_OK;
}

ig_status ig_tokenizer_config_read(const json_t *config, const char *path, bool flags, ig_tokenizer *t,
                                   ig_token_names *names) {
  IG_TRY(read_name(config, path, "unk_token", &names->unk));
  IG_TRY(read_name(config, path, "cls_token", &names->cls));
  IG_TRY(read_name(config, path, "sep_token", &names->sep));
  IG_TRY(read_name(config, path, "pad_token", &names->pad));
  IG_TRY(read_name(config, path, "mask_token", &names->mask));
  const json_t *length = json_object_get(config, "model_max_length");
  if (length && !json_is_number(length) && !json_is_null(length))
    return ig_fail(IG_ERR_FORMAT, "%s: \"model_max_length\" is to be a number", path);
  // Transformers writes 1e30 where it knows of none.
  double tokens = json_number_value(length);
  if (tokens >= 1 && tokens <= LONGEST)
    t->max_length = (int)tokens;
  IG_TRY(read_side(config, path, t));
  if (!flags)
    return IG_OK;
  IG_TRY(read_flag(config, path, "do_lower_case", &t->flags.lower));
  IG_TRY(read_flag(config, path, "tokenize_chinese_chars", &t->flags.cjk));
  t->flags.strip = t->flags.lower;
  return read_flag(config, path, "strip_accents", &t->flags.strip);
}

// Classes that take tokenizer.json as it is; BERT's make the normalizer anew, by the flags.
static bool follows_json(const json_t *config) {
  const char *name = json_string_value(json_object_get(config, "tokenizer_class"));
  return name && (!strcmp(name, "PreTrainedTokenizerFast") || !strcmp(name, "TokenizersBackend"));
}

// One flag, where both say it and differ. config_says, json_says: sentences' parts, which grow.
static ig_status compare(const json_t *config, const char *key, bool found, ig_text *config_says, ig_text *json_says) {
  const json_t *value = json_object_get(config, key);
  if (!json_is_boolean(value) || json_is_true(value) == found)
    return IG_OK;
  IG_TRY(ig_text_addf(config_says, "%s%s is %s", config_says->n ? ", " : "", key, found ? "false" : "true"));
  return ig_text_addf(json_says, "%s%s", json_says->n ? ", " : "", found ? "true" : "false");
}

ig_status ig_tokenizer_config_compare(const json_t *config, const char *path, const char *json_path, ig_tokenizer *t) {
  ig_text config_says = {0}, json_says = {0};
  ig_status status = IG_OK;
  if (!config || follows_json(config))
    return IG_OK;
  IG_GOTO(compare(config, "do_lower_case", t->flags.lower, &config_says, &json_says));
  IG_GOTO(compare(config, "strip_accents", t->flags.strip, &config_says, &json_says));
  IG_GOTO(compare(config, "tokenize_chinese_chars", t->flags.cjk, &config_says, &json_says));
  // null: as lower case is.
  if (json_is_null(json_object_get(config, "strip_accents")) && t->flags.strip != t->flags.lower) {
    IG_GOTO(ig_text_addf(&config_says, "%sstrip_accents is null", config_says.n ? ", " : ""));
    IG_GOTO(ig_text_addf(&json_says, "%s%s", json_says.n ? ", " : "", t->flags.strip ? "true" : "false"));
  }
  if (config_says.n)
    status = ig_asprintf(&t->warning,
                         "%s: %s; the normalizer of %s: %s. The normalizer is followed; Transformers' AutoTokenizer "
                         "follows tokenizer_config.json and gives other ids: correct the file that is wrong",
                         path, config_says.data, json_path, json_says.data);
done:
  ig_free(config_says.data);
  ig_free(json_says.data);
  return status;
}

ig_status ig_json_object_read(const char *path, size_t flags, json_t **out) {
  uint8_t *text;
  size_t n;
  json_error_t error;
  *out = NULL;
  if (!ig_path_exists(path))
    return IG_OK;
  IG_TRY(ig_file_read(path, MAX_CONFIG_BYTES, &text, &n));
  json_t *root = json_loadb((const char *)text, n, JSON_REJECT_DUPLICATES | flags, &error);
  ig_free(text);
  if (!root)
    return ig_fail(IG_ERR_FORMAT, "%s: line %d, column %d: %s", path, error.line, error.column, error.text);
  if (!json_is_object(root)) {
    json_decref(root);
    return ig_fail(IG_ERR_FORMAT, "%s is to be a JSON object", path);
  }
  *out = root;
  return IG_OK;
}

void ig_token_names_fini(ig_token_names *n) {
  ig_free(n->unk);
  ig_free(n->cls);
  ig_free(n->sep);
  ig_free(n->pad);
  ig_free(n->mask);
}
