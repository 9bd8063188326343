// Opening, closing and facts of a tokenizer. Rule: what a path holds is found by its name and content, and said where
// it is not what was expected.
#include "runtime/tokenizer/tokenizer.h"

#include <string.h>

#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/tokenizer/internal.h"

void ig_tokenizer_close(ig_tokenizer *t) {
  if (!t)
    return;
  for (size_t i = 0; i < t->n_tokens; i++)
    ig_free(t->tokens[i]);
  for (size_t i = 0; t->shown && i < t->n_tokens; i++)
    ig_free(t->shown[i]);
  for (size_t i = 0; i < t->n_added; i++)
    ig_free(t->added[i].content);
  ig_trie *const tries[] = {&t->vocabulary, &t->added_names, &t->raw.trie, &t->normalized.trie};
  for (size_t i = 0; i < sizeof tries / sizeof *tries; i++)
    ig_trie_fini(tries[i]);
  void *const memory[] = {t->path,  t->prefix,     t->unk_token,     t->tokens,      t->shown,
                          t->added, t->is_special, t->single.pieces, t->pair.pieces, t->warning};
  for (size_t i = 0; i < sizeof memory / sizeof *memory; i++)
    ig_free(memory[i]);
  ig_charmap_fini(&t->map);
  ig_charmap_fini(&t->split_map);
  ig_unicode_fini(&t->unicode);
  ig_free(t);
}

static int32_t id_of(const ig_tokenizer *t, const char *name, const char *otherwise) {
  return ig_tokenizer_id(t, name ? name : otherwise);
}

static void find_special(ig_tokenizer *t, const ig_token_names *names) {
  t->pad = id_of(t, names->pad, "[PAD]");
  t->cls = id_of(t, names->cls, "[CLS]");
  t->sep = id_of(t, names->sep, "[SEP]");
  t->mask = id_of(t, names->mask, "[MASK]");
}

static ig_status read_text_vocabulary(const char *path, const char *config_path, const json_t *config, ig_tokenizer *t,
                                      ig_token_names *names) {
  IG_TRY(ig_tokenizer_config_read(config, config_path, true, t, names));
  IG_TRY(ig_vocab_read(path, t));
  IG_TRY(ig_saved_tokens_read(config_path, config, t, names));
  if (names->unk) {
    ig_free(t->unk_token);
    t->unk_token = names->unk;
    names->unk = NULL;
  }
  return ig_template_bert(t, id_of(t, names->cls, "[CLS]"), id_of(t, names->sep, "[SEP]"));
}

static ig_status read_any(const char *path, ig_tokenizer *t, ig_token_names *names) {
  ig_status status = IG_OK;
  char *file = NULL, *config_path = NULL;
  json_t *config = NULL;
  const char *slash = strrchr(path, '/');
  if (ig_path_is_dir(path)) {
    IG_GOTO(ig_path_join(&config_path, path, "tokenizer_config.json"));
    IG_GOTO(ig_path_join(&file, path, "tokenizer.json"));
    if (!ig_path_exists(file)) {
      ig_free(file);
      IG_GOTO(ig_path_join(&file, path, "vocab.txt"));
    }
    if (!ig_path_exists(file))
      IG_GOTO(ig_fail(IG_ERR_NOT_FOUND, "%s holds neither tokenizer.json nor vocab.txt", path));
  } else {
    IG_GOTO(ig_strdup(path, &file));
    if (slash)
      IG_GOTO(ig_asprintf(&config_path, "%.*s/tokenizer_config.json", (int)(slash - path), path));
    else
      IG_GOTO(ig_strdup("tokenizer_config.json", &config_path));
  }
  // Transformers writes model_max_length as an integer of 31 digits.
  IG_GOTO(ig_json_object_read(config_path, JSON_DECODE_INT_AS_REAL, &config));
  const char *ending = strrchr(file, '.');
  if (ending && !strcmp(ending, ".json")) {
    IG_GOTO(ig_tokenizer_config_read(config, config_path, false, t, names));
    IG_GOTO(ig_tokenizer_json_read(file, t));
    IG_GOTO(ig_tokenizer_config_compare(config, config_path, file, t));
  } else {
    IG_GOTO(read_text_vocabulary(file, config_path, config, t, names));
  }
  if ((status = ig_tokenizer_seal(t)) != IG_OK)
    status = ig_fail_prefix(status, "%s", file);
done:
  json_decref(config);
  ig_free(file);
  ig_free(config_path);
  return status;
}

ig_status ig_tokenizer_open(const char *path, ig_tokenizer **out) {
  ig_token_names names = {0};
  ig_tokenizer *t;
  *out = NULL;
  IG_TRY(ig_tokenizer_new(path, &t));
  ig_status status = read_any(path, t, &names);
  if (status == IG_OK)
    find_special(t, &names);
  ig_token_names_fini(&names);
  if (status != IG_OK)
    ig_tokenizer_close(t);
  else
    *out = t;
  return status;
}

void ig_tokenizer_get_info(const ig_tokenizer *t, ig_tokenizer_info *out) {
  *out = (ig_tokenizer_info){.vocabulary = (int32_t)t->n_tokens,
                             .pad = t->pad,
                             .unk = t->unk,
                             .cls = t->cls,
                             .sep = t->sep,
                             .mask = t->mask,
                             .lowercase = t->flags.lower,
                             .prefix = t->prefix,
                             .max_length = t->max_length,
                             .cut_left = t->cut_left,
                             .warning = t->warning};
  memcpy(out->fingerprint, t->fingerprint, sizeof out->fingerprint);
}

const char *ig_tokenizer_token(const ig_tokenizer *t, int32_t id) {
  if (id < 0 || (size_t)id >= t->n_tokens)
    return NULL;
  return t->shown && t->shown[id] ? t->shown[id] : t->tokens[id];
}

int32_t ig_tokenizer_id(const ig_tokenizer *t, const char *token) {
  const size_t n = strlen(token);
  const int32_t id = ig_trie_find(&t->added_names, token, n);
  return id >= 0 ? id : ig_trie_find(&t->vocabulary, token, n);
}
