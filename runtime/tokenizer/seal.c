// From what was read to what encoding uses: special ids, tables, sets of added tokens, fingerprint. Rule: after this
// nothing of a tokenizer changes.
#include <stdlib.h>
#include <string.h>

#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/tokenizer/internal.h"

// Hugging Face's shows such a token in its normal form, and then does not know a special one again.
static ig_status show(ig_tokenizer *t, const ig_added *a, const ig_normalized *text) {
  if (!t->shown)
    IG_TRY(ig_alloc_array(t->n_tokens, sizeof *t->shown, "added tokens", &t->shown));
  IG_TRY(ig_asprintf(&t->shown[a->id], "%.*s", (int)text->n, (const char *)text->bytes));
  if (strcmp(t->shown[a->id], a->content) != 0)
    t->is_special[a->id] = false;
  return IG_OK;
}

static ig_status find_added(ig_tokenizer *t) {
  ig_status status = IG_OK;
  ig_normalized text = {0};
  char quoted[IG_QUOTE_BYTES], other[IG_QUOTE_BYTES];
  size_t invalid = 0;
  for (size_t i = 0; i < t->n_added; i++) {
    const ig_added *a = &t->added[i];
    int32_t was;
    if (!a->normalized) {
      IG_GOTO(ig_added_set_add(&t->raw, a->content, strlen(a->content), (int32_t)i, &was));
      continue;
    }
    IG_GOTO(ig_normalize(&t->unicode, t->flags, (const uint8_t *)a->content, strlen(a->content), 0, &invalid, &text));
    if (!text.n)
      IG_GOTO(ig_fail(IG_ERR_FORMAT, "added token %s is nothing once it is normalized; set its \"normalized\" to false",
                      ig_quote(quoted, a->content)));
    IG_GOTO(ig_added_set_add(&t->normalized, (const char *)text.bytes, text.n, (int32_t)i, &was));
    // Which of the two Hugging Face's finds, its hash table decides.
    if (was != IG_TRIE_NONE)
      IG_GOTO(ig_fail(IG_ERR_UNSUPPORTED, "added tokens %s and %s are the same once they are normalized; keep one",
                      ig_quote(other, t->added[was].content), ig_quote(quoted, a->content)));
    IG_GOTO(show(t, a, &text));
  }
done:
  ig_normalized_fini(&text);
  return status;
}

// Where pieces inside of a word start: the node behind the prefix.
static void find_behind(ig_tokenizer *t) {
  t->can_continue = true;
  t->behind = 0;
  for (const char *p = t->prefix; *p && t->can_continue; p++) {
    t->behind = t->vocabulary.n_nodes ? ig_trie_step(&t->vocabulary, t->behind, (uint8_t)*p) : 0;
    t->can_continue = t->behind != 0;
  }
}

static void hash_text(ig_sha256 *h, const char *text) { ig_sha256_update(h, text, strlen(text) + 1); }
static void hash_number(ig_sha256 *h, uint64_t number) {
  uint8_t bytes[8];
  for (int i = 0; i < 8; i++)
    bytes[i] = (uint8_t)(number >> (8 * i));
  ig_sha256_update(h, bytes, sizeof bytes);
}

static void hash_template(ig_sha256 *h, const ig_template *p) {
  hash_number(h, p->n);
  for (size_t i = 0; i < p->n; i++) {
    hash_number(h, (uint64_t)(p->pieces[i].sequence + 1));
    hash_number(h, (uint32_t)p->pieces[i].id);
    hash_number(h, p->pieces[i].type);
  }
}

static ig_status make_fingerprint(ig_tokenizer *t) {
  ig_sha256 *h;
  IG_TRY(ig_sha256_create(&h));
  hash_text(h, "ingot wordpiece 1");  // grows with every change of what a text becomes
  hash_number(h, (uint64_t)t->flags.clean | (uint64_t)t->flags.cjk << 1 | (uint64_t)t->flags.strip << 2 |
                     (uint64_t)t->flags.lower << 3);
  hash_text(h, t->prefix);
  hash_number(h, t->max_chars);
  hash_number(h, (uint64_t)(int64_t)t->unk);
  hash_number(h, t->n_tokens);
  for (size_t i = 0; i < t->n_tokens; i++) {
    const char *token = t->tokens[i] ? t->tokens[i] : "";
    hash_text(h, token);
    hash_number(h, ig_trie_find(&t->vocabulary, token, strlen(token)) == (int32_t)i);
  }
  for (size_t i = 0; i < t->n_added; i++) {
    const ig_added *a = &t->added[i];
    hash_text(h, a->content);
    hash_number(h, (uint32_t)a->id | (uint64_t)a->special << 32 | (uint64_t)a->single_word << 33 |
                       (uint64_t)a->lstrip << 34 | (uint64_t)a->rstrip << 35 | (uint64_t)a->normalized << 36);
  }
  hash_template(h, &t->single);
  hash_template(h, &t->pair);
  if (t->cut_left)  // fingerprints from before it was known stay
    hash_text(h, "cut left");
  ig_sha256_finish(h, t->fingerprint);
  if (!*t->fingerprint)
    return ig_fail(IG_ERR_MEMORY, "libcrypto could not finish a SHA-256 digest");
  for (int i = 0; i < 16; i++)
    t->serial =
        t->serial << 4 | (uint64_t)(t->fingerprint[i] <= '9' ? t->fingerprint[i] - '0' : t->fingerprint[i] - 'a' + 10);
  return IG_OK;
}

static int by_id(const void *a, const void *b) {
  const ig_added *x = a, *y = b;
  return (x->id > y->id) - (x->id < y->id);
}

ig_status ig_tokenizer_seal(ig_tokenizer *t) {
  if (!t->vocabulary.n_nodes)
    return ig_fail(IG_ERR_FORMAT, "the vocabulary has no token with a text");
  t->unk = ig_trie_find(&t->vocabulary, t->unk_token, strlen(t->unk_token));
  if (t->n_added)  // their order in the file decides nothing
    qsort(t->added, t->n_added, sizeof *t->added, by_id);
  IG_TRY(ig_alloc_array(t->n_tokens, 1, "special tokens", &t->is_special));
  for (size_t i = 0; i < t->n_added; i++)
    t->is_special[t->added[i].id] = t->added[i].special;
  find_behind(t);
  IG_TRY(ig_unicode_init(&t->unicode));
  IG_TRY(ig_charmap_init(&t->unicode, t->flags, &t->map));
  IG_TRY(ig_charmap_init(&t->unicode, (ig_normalizer_flags){0}, &t->split_map));
  IG_TRY(find_added(t));
  return make_fingerprint(t);
}
