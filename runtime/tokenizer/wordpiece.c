// A word into the longest pieces of the vocabulary, from its start. Rule: a word is split as a whole or is [UNK]; words
// of up to 24 bytes are remembered in a cache of fixed size, which an encoding has for itself.
#include <string.h>

#include "runtime/base/mem.h"
#include "runtime/tokenizer/internal.h"

enum { KEY_WORDS = 3, KEY_BYTES = 8 * KEY_WORDS, MAX_PIECES = 6, CACHE_BITS = 12 };

typedef struct cached {  // a cache line
  uint64_t key[KEY_WORDS];
  int32_t ids[MAX_PIECES];
  uint8_t ends[MAX_PIECES];  // byte behind each piece
  uint8_t n_bytes, n;        // n_bytes 0: empty
} cached;
_Static_assert(sizeof(cached) <= 64, "an entry is a cache line");
struct ig_word_cache {
  cached entries[1 << CACHE_BITS];
};

ig_status ig_work_of(ig_encoding *e, const ig_tokenizer *t, ig_work **out) {
  if (!e->work)
    IG_TRY(ig_alloc(sizeof(ig_work), "a tokenizer's working memory", &e->work));
  ig_work *w = e->work;
  if (!w->cache)
    IG_TRY(ig_alloc(sizeof *w->cache, "a tokenizer's word cache", &w->cache));
  else if (w->serial != t->serial)
    memset(w->cache, 0, sizeof *w->cache);
  w->serial = t->serial;
  w->pieces.n = w->pieces.n_first = 0;
  w->n_invalid = 0;
  *out = w;
  return IG_OK;
}

ig_status ig_pieces_room(ig_pieces *p, size_t more) {
  size_t need = p->n + more, capacity;
  if (need <= p->capacity)
    return IG_OK;
  capacity = p->capacity;
  IG_TRY(ig_grow(&p->ids, &capacity, p->n, need, sizeof *p->ids, "tokens"));
  capacity = p->capacity;
  IG_TRY(ig_grow(&p->begin, &capacity, p->n, need, sizeof *p->begin, "tokens"));
  capacity = p->capacity;
  IG_TRY(ig_grow(&p->end, &capacity, p->n, need, sizeof *p->end, "tokens"));
  capacity = p->capacity;
  IG_TRY(ig_grow(&p->word, &capacity, p->n, need, sizeof *p->word, "tokens"));
  p->capacity = capacity;
  return IG_OK;
}

static inline void add_piece(ig_work *w, int32_t id, size_t from, size_t to, int32_t number, bool offsets) {
  ig_pieces *p = &w->pieces;
  p->ids[p->n] = id;
  if (offsets) {
    p->begin[p->n] = w->origin[from];
    p->end[p->n] = w->origin[to - 1] + 1;
    p->word[p->n] = number;
  }
  p->n++;
}

static ig_status unknown(const ig_tokenizer *t, ig_work *w, uint32_t first, uint32_t last, int32_t number,
                         bool offsets) {
  if (t->unk < 0)
    return ig_fail(IG_ERR_DATA,
                   "%s has no token for a word that it does not know (%s): add that token, or name it as unk_token",
                   t->path, t->unk_token);
  ig_pieces *p = &w->pieces;
  p->ids[p->n] = t->unk;
  if (offsets)
    p->begin[p->n] = first, p->end[p->n] = last + 1, p->word[p->n] = number;
  p->n++;
  return IG_OK;
}

// Adds the pieces of w->word; false where the word is unknown, and then nothing was added.
static bool split_word(const ig_tokenizer *t, ig_work *w, size_t n, int32_t number, bool offsets) {
  const ig_trie *trie = &t->vocabulary;
  const size_t before = w->pieces.n;
  for (size_t at = 0; at < n;) {
    uint32_t node = at ? t->behind : 0;
    int32_t id = IG_TRIE_NONE;
    size_t end = at;
    if (at && !t->can_continue)
      break;
    for (size_t i = at; i < n; i++) {
      node = ig_trie_step(trie, node, w->word[i]);
      if (!node)
        break;
      if (trie->values[node] >= 0) {
        id = trie->values[node];
        end = i + 1;
      }
    }
    if (id < 0)
      break;
    add_piece(w, id, at, end, number, offsets);
    if (end == n)
      return true;
    at = end;
  }
  w->pieces.n = before;
  return false;
}

static void remember(cached *c, const uint64_t key[KEY_WORDS], size_t n, const ig_tokenizer *t, const ig_pieces *p,
                     size_t before) {
  const size_t n_ids = p->n - before, prefix = strlen(t->prefix);
  if (n_ids > MAX_PIECES)
    return;
  size_t at = 0;
  for (size_t i = 0; i < n_ids; i++) {
    // Of one piece, [UNK] perhaps, the end is the word's; else the tokens' lengths say it.
    at = n_ids == 1 ? n : at + strlen(t->tokens[p->ids[before + i]]) - (i ? prefix : 0);
    c->ids[i] = p->ids[before + i];
    c->ends[i] = (uint8_t)at;
  }
  memcpy(c->key, key, KEY_BYTES);
  c->n_bytes = (uint8_t)n;
  c->n = (uint8_t)n_ids;
}

ig_status ig_wordpiece(const ig_tokenizer *t, ig_work *w, size_t n, size_t n_chars, uint32_t first, uint32_t last,
                       int32_t number, bool offsets) {
  if (w->counts)
    return ig_count_word(w->counts, w->word, n, 1);
  const bool too_long = n_chars > t->max_chars;
  if (w->pieces.n + n_chars > w->pieces.capacity)
    IG_TRY(ig_pieces_room(&w->pieces, too_long ? 1 : n_chars));
  if (too_long)
    return unknown(t, w, first, last, number, offsets);
  if (n > KEY_BYTES)
    return split_word(t, w, n, number, offsets) ? IG_OK : unknown(t, w, first, last, number, offsets);
  uint64_t key[KEY_WORDS];
  memset(w->word + n, 0, KEY_BYTES);
  memcpy(key, w->word, KEY_BYTES);
  const uint64_t hash = (key[0] ^ (key[1] * UINT64_C(0x9e3779b97f4a7c15)) ^ (key[2] * UINT64_C(0xc2b2ae3d27d4eb4f))) *
                        UINT64_C(0xd6e8feb86659fd93);
  cached *c = &w->cache->entries[hash >> (64 - CACHE_BITS)];
  if (c->n_bytes == n && c->key[0] == key[0] && c->key[1] == key[1] && c->key[2] == key[2]) {
    size_t at = 0;
    for (size_t i = 0; i < c->n; i++) {
      add_piece(w, c->ids[i], at, c->ends[i], number, offsets);
      at = c->ends[i];
    }
    return IG_OK;
  }
  const size_t before = w->pieces.n;
  if (!split_word(t, w, n, number, offsets))
    IG_TRY(unknown(t, w, first, last, number, offsets));
  remember(c, key, n, t, &w->pieces, before);
  return IG_OK;
}
