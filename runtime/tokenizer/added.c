// Added tokens in a text: leftmost, then longest; then their flags. Rule: as Hugging Face's AddedVocabulary does it.
#include <string.h>

#include "runtime/base/mem.h"
#include "runtime/tokenizer/internal.h"

ig_status ig_added_set_add(ig_added_set *s, const char *key, size_t n, int32_t index, int32_t *was) {
  IG_TRY(ig_trie_add(&s->trie, key, n, index, was));
  uint8_t first = (uint8_t)key[0];
  s->only_first = s->n == 0 || s->only_first == first ? first : -1;
  s->first[first] = true;
  s->n++;
  return IG_OK;
}

// The next token at or behind `from`, whatever its flags say.
static bool find(const ig_added_set *s, const uint8_t *text, size_t n, size_t from, ig_added_match *m) {
  for (size_t at = from; at < n; at++) {
    if (s->only_first >= 0) {
      const uint8_t *found = memchr(text + at, s->only_first, n - at);
      if (!found)
        return false;
      at = (size_t)(found - text);
    } else if (!s->first[text[at]]) {
      continue;
    }
    uint32_t node = 0;
    m->index = IG_TRIE_NONE;
    for (size_t i = at; i < n && (node = ig_trie_step(&s->trie, node, text[i])); i++)
      if (s->trie.values[node] >= 0) {
        m->index = s->trie.values[node];
        m->end = i + 1;
      }
    if (m->index >= 0) {
      m->begin = at;
      return true;
    }
  }
  return false;
}

// The code point that ends at `end`; returns where it begins.
static size_t code_before(const uint8_t *text, size_t end, uint32_t *c) {
  size_t invalid = 0;
  for (size_t back = 1; back <= 4 && back <= end; back++)
    if (ig_utf8_decode(text + end - back, text + end, c, &invalid) == back && *c != IG_REPLACEMENT)
      return end - back;
  *c = IG_REPLACEMENT;
  return end - 1;
}

static bool is_word(const ig_tokenizer *t, uint32_t c) { return ig_unicode_value(&t->unicode, IG_SET_WORD, c) != 0; }
static bool is_space(const ig_tokenizer *t, uint32_t c) { return ig_unicode_value(&t->unicode, IG_SET_SPACE, c) != 0; }

static bool stands_alone(const ig_tokenizer *t, const uint8_t *text, size_t n, const ig_added_match *m) {
  uint32_t c;
  size_t invalid = 0;
  if (m->begin) {
    code_before(text, m->begin, &c);
    if (is_word(t, c))
      return false;
  }
  if (m->end == n)
    return true;
  ig_utf8_decode(text + m->end, text + n, &c, &invalid);
  return !is_word(t, c);
}

bool ig_added_next(const ig_tokenizer *t, const ig_added_set *s, const uint8_t *text, size_t n, size_t done,
                   ig_added_match *m) {
  uint32_t c;
  size_t invalid = 0;
  while (s->n && find(s, text, n, m->next, m)) {
    m->next = m->end;
    const ig_added *added = &t->added[m->index];
    if (added->single_word && !stands_alone(t, text, n, m))
      continue;
    if (added->lstrip) {
      m->begin = m->begin < done ? done : m->begin;  // the token before took the spaces that this one begins with
      while (m->begin > done) {
        size_t before = code_before(text, m->begin, &c);
        if (!is_space(t, c))
          break;
        m->begin = before;
      }
    }
    if (added->rstrip)
      while (m->end < n) {
        size_t length = ig_utf8_decode(text + m->end, text + n, &c, &invalid);
        if (!is_space(t, c))
          break;
        m->end += length;
      }
    if (m->begin < m->end)
      return true;
  }
  return false;
}
