// Byte-pair merging of words, as Hugging Face's BpeTrainer does it for WordPiece. Rule: the most frequent pair first,
// of equals the one with the smaller first id, then the smaller second; a merge that gives a known token takes its id.
// Its queue is lazy, and so is this one: an entry whose pair has another count by now is put back with that count.
#include <string.h>

#include "runtime/base/mem.h"
#include "runtime/tokenizer/internal.h"

// Indices of words in which a pair is.
typedef struct places {
  uint32_t *p;
  size_t n, capacity;
} places;
typedef struct pair {
  uint64_t key;  // first << 32 | second
  int64_t count;
  places new_places;  // since it was last put into the queue
} pair;
typedef struct queued {
  int64_t count;
  size_t pair;
  uint64_t key;
  places places;
} queued;
typedef struct merger {
  pair *pairs;
  size_t n_pairs, pairs_capacity;
  uint32_t *slots;  // index + 1
  size_t mask;
  queued *queue;  // a heap, best first
  size_t n_queue, queue_capacity;
  size_t *touched;  // pairs with new places
  size_t n_touched, touched_capacity;
} merger;

ig_status ig_symbols_add(ig_symbols *s, const char *text, size_t n, int32_t *id) {
  int32_t was;
  IG_TRY(ig_trie_add(&s->names, text, n, (int32_t)s->n, &was));
  *id = was;
  if (was != IG_TRIE_NONE)
    return IG_OK;
  IG_TRY(ig_grow(&s->tokens, &s->capacity, s->n, s->n + 1, sizeof *s->tokens, "tokens"));
  s->tokens[s->n] = (ig_text){0};
  *id = (int32_t)s->n++;
  return ig_text_add(&s->tokens[*id], text, n);
}

void ig_symbols_fini(ig_symbols *s) {
  for (size_t i = 0; i < s->n; i++)
    ig_free(s->tokens[i].data);
  ig_free(s->tokens);
  ig_trie_fini(&s->names);
}

static size_t slot_of(const merger *m, uint64_t key) {
  return (size_t)((key * UINT64_C(0x9e3779b97f4a7c15)) >> 24) & m->mask;
}

static ig_status grow_slots(merger *m) {
  size_t n = m->slots ? 2 * (m->mask + 1) : 4096;
  uint32_t *slots;
  IG_TRY(ig_alloc_array(n, sizeof *slots, "a table of pairs", &slots));
  ig_free(m->slots);
  m->slots = slots;
  m->mask = n - 1;
  for (size_t i = 0; i < m->n_pairs; i++) {
    size_t at = slot_of(m, m->pairs[i].key);
    while (slots[at])
      at = (at + 1) & m->mask;
    slots[at] = (uint32_t)(i + 1);
  }
  return IG_OK;
}

static ig_status pair_of(merger *m, uint32_t a, uint32_t b, size_t *index) {
  const uint64_t key = (uint64_t)a << 32 | b;
  if (!m->slots || m->n_pairs * 2 > m->mask)
    IG_TRY(grow_slots(m));
  size_t at = slot_of(m, key);
  for (; m->slots[at]; at = (at + 1) & m->mask)
    if (m->pairs[m->slots[at] - 1].key == key) {
      *index = m->slots[at] - 1;
      return IG_OK;
    }
  IG_TRY(ig_grow(&m->pairs, &m->pairs_capacity, m->n_pairs, m->n_pairs + 1, sizeof *m->pairs, "pairs"));
  m->pairs[m->n_pairs] = (pair){.key = key};
  *index = m->n_pairs++;
  m->slots[at] = (uint32_t)m->n_pairs;
  return IG_OK;
}

// A pair is `times` more often in word `w`.
static ig_status count_pair(merger *m, uint32_t a, uint32_t b, int64_t times, uint32_t w) {
  size_t index;
  IG_TRY(pair_of(m, a, b, &index));
  pair *p = &m->pairs[index];
  p->count += times;
  if (times <= 0)
    return IG_OK;
  places *new_places = &p->new_places;
  if (!new_places->n) {
    IG_TRY(ig_grow(&m->touched, &m->touched_capacity, m->n_touched, m->n_touched + 1, sizeof *m->touched, "pairs"));
    m->touched[m->n_touched++] = index;
  } else if (new_places->p[new_places->n - 1] == w) {
    return IG_OK;
  }
  IG_TRY(ig_grow(&new_places->p, &new_places->capacity, new_places->n, new_places->n + 1, sizeof *new_places->p,
                 "places of a pair"));
  new_places->p[new_places->n++] = w;
  return IG_OK;
}

static bool better(const queued *a, const queued *b) {
  return a->count != b->count ? a->count > b->count : a->key < b->key;
}

static void sift_up(merger *m, size_t i, queued q) {
  for (; i && better(&q, &m->queue[(i - 1) / 2]); i = (i - 1) / 2)
    m->queue[i] = m->queue[(i - 1) / 2];
  m->queue[i] = q;
}

// Puts q into the place of the best.
static void sift_down(merger *m, queued q) {
  size_t i = 0;
  for (size_t child; (child = 2 * i + 1) < m->n_queue; i = child) {
    if (child + 1 < m->n_queue && better(&m->queue[child + 1], &m->queue[child]))
      child++;
    if (!better(&m->queue[child], &q))
      break;
    m->queue[i] = m->queue[child];
  }
  m->queue[i] = q;
}

static queued pop(merger *m) {
  queued best = m->queue[0];
  m->n_queue--;
  if (m->n_queue)
    sift_down(m, m->queue[m->n_queue]);
  return best;
}

// Pairs with new places into the queue.
static ig_status queue_touched(merger *m) {
  for (size_t i = 0; i < m->n_touched; i++) {
    pair *p = &m->pairs[m->touched[i]];
    if (p->count > 0) {
      IG_TRY(ig_grow(&m->queue, &m->queue_capacity, m->n_queue, m->n_queue + 1, sizeof *m->queue, "pairs"));
      sift_up(m, m->n_queue++, (queued){p->count, m->touched[i], p->key, p->new_places});
    } else {
      ig_free(p->new_places.p);
    }
    p->new_places = (places){0};
  }
  m->n_touched = 0;
  return IG_OK;
}

static ig_status merge_in(merger *m, ig_merge_word *word, uint32_t w, uint32_t a, uint32_t b, uint32_t into) {
  uint32_t *s = word->symbols;
  for (uint32_t i = 0; i + 1 < word->n; i++) {
    if (s[i] != a || s[i + 1] != b)
      continue;
    if (i > 0) {
      IG_TRY(count_pair(m, s[i - 1], a, -word->count, w));
      IG_TRY(count_pair(m, s[i - 1], into, word->count, w));
    }
    s[i] = into;
    memmove(s + i + 1, s + i + 2, (word->n - i - 2) * sizeof *s);
    word->n--;
    if (i + 1 < word->n) {
      IG_TRY(count_pair(m, b, s[i + 1], -word->count, w));
      IG_TRY(count_pair(m, into, s[i + 1], word->count, w));
    }
  }
  return IG_OK;
}

// The token of a pair: the first, and the second without its prefix.
static ig_status join(ig_symbols *symbols, uint32_t a, uint32_t b, size_t prefix_bytes, int32_t *id) {
  ig_status status = IG_OK;
  ig_text text = {0};
  const ig_text *first = &symbols->tokens[a], *second = &symbols->tokens[b];
  IG_GOTO(ig_text_add(&text, first->data, first->n));
  IG_GOTO(ig_text_add(&text, second->data + prefix_bytes, second->n - prefix_bytes));
  IG_GOTO(ig_symbols_add(symbols, text.data, text.n, id));
done:
  ig_free(text.data);
  return status;
}

static ig_status merge_best(merger *m, const queued *best, ig_merge_word *words, size_t prefix_bytes,
                            ig_symbols *symbols) {
  const uint32_t a = (uint32_t)(best->key >> 32), b = (uint32_t)best->key;
  int32_t id;
  IG_TRY(join(symbols, a, b, prefix_bytes, &id));
  for (size_t i = 0; i < best->places.n; i++)
    IG_TRY(merge_in(m, &words[best->places.p[i]], best->places.p[i], a, b, (uint32_t)id));
  return queue_touched(m);
}

static ig_status merge_all(merger *m, ig_merge_word *words, size_t prefix_bytes, size_t vocabulary,
                           int64_t min_frequency, ig_symbols *symbols) {
  while (symbols->n < vocabulary && m->n_queue) {
    queued best = pop(m);
    const int64_t now = m->pairs[best.pair].count;
    if (best.count != now) {
      best.count = now;
      sift_up(m, m->n_queue++, best);
      continue;
    }
    ig_status status = IG_OK;
    bool enough = now < 1 || now < min_frequency;
    if (!enough)
      status = merge_best(m, &best, words, prefix_bytes, symbols);
    ig_free(best.places.p);
    IG_TRY(status);
    if (enough)
      break;
  }
  return IG_OK;
}

ig_status ig_merge_words(ig_merge_word *words, size_t n_words, size_t prefix_bytes, size_t vocabulary,
                         int64_t min_frequency, ig_symbols *symbols) {
  ig_status status = IG_OK;
  merger m = {0};
  for (size_t w = 0; w < n_words; w++)
    for (uint32_t i = 0; i + 1 < words[w].n; i++)
      IG_GOTO(count_pair(&m, words[w].symbols[i], words[w].symbols[i + 1], words[w].count, (uint32_t)w));
  IG_GOTO(queue_touched(&m));
  IG_GOTO(merge_all(&m, words, prefix_bytes, vocabulary, min_frequency, symbols));
done:
  for (size_t i = 0; i < m.n_pairs; i++)
    ig_free(m.pairs[i].new_places.p);
  for (size_t i = 0; i < m.n_queue; i++)
    ig_free(m.queue[i].places.p);
  ig_free(m.pairs);
  ig_free(m.slots);
  ig_free(m.queue);
  ig_free(m.touched);
  return status;
}
