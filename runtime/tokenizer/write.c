// vocab.txt, tokenizer.json and tokenizer_config.json. Rule: what is written opens as the same tokenizer (the same
// fingerprint), here and with Hugging Face's AutoTokenizer.
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/tokenizer/internal.h"

static ig_status no_memory(void) { return ig_fail(IG_ERR_MEMORY, "no memory for a tokenizer's JSON"); }

static ig_status write_json(json_t *root, const char *folder, const char *name) {
  ig_status status = IG_OK;
  char *path = NULL, *text = root ? json_dumps(root, JSON_INDENT(2)) : NULL;
  if (!text)
    IG_GOTO(no_memory());
  IG_GOTO(ig_path_join(&path, folder, name));
  status = ig_file_write_atomic(path, text, strlen(text));
done:
  free(text);
  ig_free(path);
  return status;
}

static bool in_vocabulary(const ig_tokenizer *t, size_t id) {
  const char *token = t->tokens[id];
  return token && (!*token || ig_trie_find(&t->vocabulary, token, strlen(token)) == (int32_t)id);
}

// Its lines are the ids: a vocabulary with gaps, or with a line break in a token, is in tokenizer.json alone.
static ig_status write_vocabulary(const ig_tokenizer *t, const char *folder) {
  ig_status status = IG_OK;
  ig_text text = {0};
  char *path = NULL;
  for (size_t i = 0; i < t->n_vocabulary; i++)
    if (i >= t->n_tokens || !in_vocabulary(t, i) || strpbrk(t->tokens[i], "\r\n"))
      return IG_OK;
  for (size_t i = 0; i < t->n_vocabulary; i++) {
    IG_GOTO(ig_text_add(&text, t->tokens[i], strlen(t->tokens[i])));
    IG_GOTO(ig_text_add(&text, "\n", 1));
  }
  IG_GOTO(ig_path_join(&path, folder, "vocab.txt"));
  status = ig_file_write_atomic(path, text.data, text.n);
done:
  ig_free(text.data);
  ig_free(path);
  return status;
}

static json_t *added_json(const ig_tokenizer *t) {
  json_t *list = json_array();
  // By id, as they lie: Hugging Face's gives ids in the order of the file.
  for (size_t i = 0; i < t->n_added; i++) {
    const ig_added *a = &t->added[i];
    json_array_append_new(
        list, json_pack("{s:i, s:s, s:b, s:b, s:b, s:b, s:b}", "id", a->id, "content", a->content, "single_word",
                        (int)a->single_word, "lstrip", (int)a->lstrip, "rstrip", (int)a->rstrip, "normalized",
                        (int)a->normalized, "special", (int)a->special));
  }
  return list;
}

static json_t *strip_json(const ig_tokenizer *t) {
  return t->flags.strip == t->flags.lower ? json_null() : json_boolean(t->flags.strip);
}

static json_t *normalizer_json(const ig_tokenizer *t) {
  if (!t->has_normalizer)
    return json_null();
  return json_pack("{s:s, s:b, s:b, s:o, s:b}", "type", "BertNormalizer", "clean_text", (int)t->flags.clean,
                   "handle_chinese_chars", (int)t->flags.cjk, "strip_accents", strip_json(t), "lowercase",
                   (int)t->flags.lower);
}

static json_t *template_json(const ig_tokenizer *t, const ig_template *p, json_t *special) {
  json_t *list = json_array();
  for (size_t i = 0; i < p->n; i++) {
    const ig_piece *piece = &p->pieces[i];
    const char *id = piece->sequence == 0 ? "A" : piece->sequence == 1 ? "B" : t->tokens[piece->id];
    json_array_append_new(list, json_pack("{s:{s:s, s:i}}", piece->sequence < 0 ? "SpecialToken" : "Sequence", "id", id,
                                          "type_id", (int)piece->type));
    if (piece->sequence < 0 && !json_object_get(special, id))
      json_object_set_new(special, id, json_pack("{s:s, s:[i], s:[s]}", "id", id, "ids", piece->id, "tokens", id));
  }
  return list;
}

// Without special tokens and with BERT's types there is nothing to say.
static bool plain_template(const ig_tokenizer *t) {
  return t->single.n == 1 && t->single.pieces[0].type == 0 && t->pair.n == 2 && t->pair.pieces[0].sequence == 0 &&
         t->pair.pieces[0].type == 0 && t->pair.pieces[1].type == 1;
}

static json_t *post_processor_json(const ig_tokenizer *t) {
  if (plain_template(t))
    return json_null();
  json_t *special = json_object();
  json_t *single = template_json(t, &t->single, special), *pair = template_json(t, &t->pair, special);
  return json_pack("{s:s, s:o, s:o, s:o}", "type", "TemplateProcessing", "single", single, "pair", pair,
                   "special_tokens", special);
}

static json_t *model_json(const ig_tokenizer *t) {
  json_t *vocab = json_object();
  for (size_t i = 0; i < t->n_tokens; i++)
    if (in_vocabulary(t, i) && json_object_set_new(vocab, t->tokens[i], json_integer((json_int_t)i))) {
      json_decref(vocab);
      return NULL;
    }
  return json_pack("{s:s, s:s, s:s, s:I, s:o}", "type", "WordPiece", "unk_token", t->unk_token,
                   "continuing_subword_prefix", t->prefix, "max_input_chars_per_word", (json_int_t)t->max_chars,
                   "vocab", vocab);
}

static json_t *decoder_json(const ig_tokenizer *t) {
  return t->has_decoder
             ? json_pack("{s:s, s:s, s:b}", "type", "WordPiece", "prefix", t->prefix, "cleanup", (int)t->cleanup)
             : json_null();
}

static json_t *tokenizer_json(const ig_tokenizer *t) {
  return json_pack("{s:s, s:n, s:n, s:o, s:o, s:{s:s}, s:o, s:o, s:o}", "version", "1.0", "truncation", "padding",
                   "added_tokens", added_json(t), "normalizer", normalizer_json(t), "pre_tokenizer", "type",
                   "BertPreTokenizer", "post_processor", post_processor_json(t), "decoder", decoder_json(t), "model",
                   model_json(t));
}

// [CLS] A [SEP] and [CLS] A [SEP] B [SEP], the second text of type 1.
static bool bert_template(const ig_tokenizer *t) {
  const ig_piece single[] = {{-1, t->cls, 0}, {0, 0, 0}, {-1, t->sep, 0}};
  const ig_piece pair[] = {{-1, t->cls, 0}, {0, 0, 0}, {-1, t->sep, 0}, {1, 0, 1}, {-1, t->sep, 1}};
  if (t->single.n != 3 || t->pair.n != 5)
    return false;
  for (size_t i = 0; i < 5; i++) {
    const ig_piece *a = &t->pair.pieces[i], *b = i < 3 ? &t->single.pieces[i] : a, *c = i < 3 ? &single[i] : &pair[i];
    if (a->sequence != pair[i].sequence || a->id != pair[i].id || a->type != pair[i].type ||
        b->sequence != c->sequence || b->id != c->id || b->type != c->type)
      return false;
  }
  return true;
}

// BertTokenizer makes its parts from the flags; any other tokenizer is what tokenizer.json says.
static bool is_bert(const ig_tokenizer *t) {
  return t->has_normalizer && t->flags.clean && t->has_decoder && t->cleanup && !strcmp(t->prefix, "##") &&
         t->max_chars == 100 && bert_template(t);
}

static void set_token(json_t *config, const ig_tokenizer *t, const char *key, int32_t id) {
  if (id >= 0)
    json_object_set_new(config, key, json_string(t->tokens[id]));
}

static json_t *config_json(const ig_tokenizer *t, int max_length) {
  const bool bert = is_bert(t);
  json_t *config = json_pack("{s:s, s:s}", "backend", "tokenizers", "tokenizer_class",
                             bert ? "BertTokenizer" : "PreTrainedTokenizerFast");
  if (!config)
    return NULL;
  if (bert) {
    json_object_set_new(config, "do_lower_case", json_boolean(t->flags.lower));
    json_object_set_new(config, "strip_accents", strip_json(t));
    json_object_set_new(config, "tokenize_chinese_chars", json_boolean(t->flags.cjk));
  }
  if (max_length > 0)
    json_object_set_new(config, "model_max_length", json_integer(max_length));
  if (t->cut_left)
    json_object_set_new(config, "truncation_side", json_string("left"));
  set_token(config, t, "unk_token", t->unk);
  set_token(config, t, "cls_token", t->cls);
  set_token(config, t, "sep_token", t->sep);
  set_token(config, t, "pad_token", t->pad);
  set_token(config, t, "mask_token", t->mask);
  return config;
}

ig_status ig_tokenizer_write(const ig_tokenizer *t, const char *folder, int max_length) {
  ig_status status = IG_OK;
  json_t *root = NULL, *config = NULL;
  IG_GOTO(ig_make_dirs(folder));
  root = tokenizer_json(t);
  config = config_json(t, max_length);
  if (!root || !config)
    IG_GOTO(no_memory());
  IG_GOTO(write_vocabulary(t, folder));
  IG_GOTO(write_json(root, folder, "tokenizer.json"));
  status = write_json(config, folder, "tokenizer_config.json");
done:
  json_decref(root);
  json_decref(config);
  return status;
}
