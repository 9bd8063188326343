// A text into words: added tokens cut out, the rest normalized and split in one pass. Rule: the pass holds one word at
// a time; a text in which marks change places is normalized as a whole first (normalize.c) and then split by the same
// pass.
#include <string.h>

#include "runtime/base/mem.h"
#include "runtime/tokenizer/internal.h"

// One pass over a text. origin: NULL, or the place of each byte of a text that is normalized already.
typedef struct pass {
  const ig_tokenizer *t;
  ig_work *w;
  const ig_charmap *map;
  const uint32_t *origin;
  uint32_t place;   // of the present code point
  int32_t *number;  // of the present word
  bool fixed;       // which does not grow
  // The present word; what exceeds max_chars is counted only.
  size_t n_bytes, n_chars;
  uint32_t first, last;
} pass;

static ig_status end_word(pass *s, bool offsets) {
  IG_TRY(ig_wordpiece(s->t, s->w, s->n_bytes, s->n_chars, s->first, s->last, *s->number, offsets));
  *s->number += !s->fixed;
  s->n_bytes = s->n_chars = 0;
  return IG_OK;
}

static inline void put_code(pass *s, uint32_t c, bool offsets) {
  if (offsets) {
    if (!s->n_chars)
      s->first = s->place;
    s->last = s->place;
  }
  if (s->n_chars < s->t->max_chars) {
    size_t n = ig_utf8_encode(c, s->w->word + s->n_bytes);
    for (size_t i = 0; offsets && i < n; i++)
      s->w->origin[s->n_bytes + i] = s->place;
    s->n_bytes += n;
  }
  s->n_chars++;
}

// Takes an entry of the map; c: the code point that it is of.
static inline ig_status put_entry(pass *s, uint32_t entry, uint32_t c, bool offsets) {
  switch (entry >> IG_ENTRY_SHIFT) {
    case IG_CHAR_SELF:
      put_code(s, c, offsets);
      break;
    case IG_CHAR_ONE:
      put_code(s, entry & IG_ENTRY_CODE, offsets);
      break;
    case IG_CHAR_SPACE:
      if (s->n_chars)
        IG_TRY(end_word(s, offsets));
      break;
    case IG_CHAR_ALONE:
      if (s->n_chars)
        IG_TRY(end_word(s, offsets));
      put_code(s, entry & IG_ENTRY_CODE, offsets);
      IG_TRY(end_word(s, offsets));
      break;
    case IG_CHAR_HANGUL: {
      uint32_t letters[3];
      size_t n = ig_hangul(c, letters);
      for (size_t i = 0; i < n; i++)
        put_code(s, letters[i], offsets);
      break;
    }
    default:
      break;  // IG_CHAR_DROP
  }
  return IG_OK;
}

static ig_status put_several(pass *s, const uint32_t *sequence, bool offsets) {
  for (uint32_t i = 1; i <= sequence[0]; i++)
    IG_TRY(put_entry(s, sequence[i], 0, offsets));
  return IG_OK;
}

// *order: set, and the pass given up, where marks may have to change places.
static inline __attribute__((always_inline)) ig_status run_pass(pass *s, const uint8_t *text, size_t n, bool offsets,
                                                                bool *order) {
  const uint8_t *const end = text + n;
  const uint8_t *const kind = s->map->byte_kind, *const out = s->map->byte_out;
  const size_t max_chars = s->t->max_chars;
  for (const uint8_t *p = text; p < end;) {
    if (!offsets) {
      // Letters of ASCII, most of most texts.
      uint8_t *word = s->w->word;
      size_t n_bytes = s->n_bytes, n_chars = s->n_chars;
      const uint8_t *const from = p;
      const size_t room = n_chars < max_chars ? max_chars - n_chars : 0;
      const uint8_t *const stop = (size_t)(end - p) > room ? p + room : end;
      while (p < stop && kind[*p] == IG_CHAR_SELF)
        word[n_bytes++] = out[*p++];
      s->n_bytes = n_bytes;
      s->n_chars = n_chars + (size_t)(p - from);
      if (p == end)
        break;
    }
    uint32_t c = *p, entry;
    if (s->origin)
      s->place = s->origin[p - text];
    if (kind[c] != IG_CHAR_WIDE) {
      entry = (uint32_t)(kind[c] == IG_CHAR_SELF ? IG_CHAR_ONE : kind[c]) << IG_ENTRY_SHIFT | out[c];
      p++;
    } else {
      p += ig_utf8_decode(p, end, &c, &s->w->n_invalid);
      entry = ig_charmap_entry(s->map, c);
    }
    if (entry >> IG_ENTRY_SHIFT == IG_CHAR_ORDER) {
      *order = true;
      return IG_OK;
    }
    if (entry >> IG_ENTRY_SHIFT == IG_CHAR_SEVERAL)
      IG_TRY(put_several(s, s->map->sequences + (entry & IG_ENTRY_CODE), offsets));
    else
      IG_TRY(put_entry(s, entry, c, offsets));
    if (!s->origin)
      s->place++;
  }
  return s->n_chars ? end_word(s, offsets) : IG_OK;
}

static ig_status run_offsets(pass *s, const uint8_t *text, size_t n, bool *order) {
  return run_pass(s, text, n, true, order);
}
static ig_status run_plain(pass *s, const uint8_t *text, size_t n, bool *order) {
  return run_pass(s, text, n, false, order);
}

// Room for the longest word that a text of n bytes can have: a code point becomes at most 4, each of 4 bytes.
static ig_status word_room(const ig_tokenizer *t, ig_work *w, size_t n, bool offsets) {
  size_t chars = n < SIZE_MAX / 32 ? 4 * n : n;
  size_t need = 4 * (chars < t->max_chars ? chars : t->max_chars) + IG_WORD_MARGIN;
  IG_TRY(ig_grow(&w->word, &w->word_capacity, 0, need, 1, "a word"));
  if (!offsets)
    return IG_OK;
  return ig_grow(&w->origin, &w->origin_capacity, 0, need, sizeof *w->origin, "a word");
}

// What the splits of one text share.
typedef struct splitter {
  const ig_tokenizer *t;
  ig_work *w;
  bool offsets, fixed;
  int32_t *number;
} splitter;

static ig_status words(const splitter *s, const ig_charmap *map, const uint8_t *text, size_t n, const uint32_t *origin,
                       uint32_t place, bool *order) {
  pass p = {s->t, s->w, map, origin, place, s->number, s->fixed, 0, 0, 0, 0};
  IG_TRY(word_room(s->t, s->w, n, s->offsets));
  return s->offsets ? run_offsets(&p, text, n, order) : run_plain(&p, text, n, order);
}

static ig_status emit_added(const splitter *s, const ig_added *added, uint32_t begin, uint32_t end) {
  ig_pieces *p = &s->w->pieces;
  IG_TRY(ig_pieces_room(p, 1));
  p->ids[p->n] = added->id;
  p->begin[p->n] = begin, p->end[p->n] = end, p->word[p->n] = *s->number;
  p->n++;
  *s->number += !s->fixed;
  return IG_OK;
}

static ig_status split_normalized(const splitter *s, const uint8_t *text, size_t n, uint32_t place) {
  ig_normalized *o = &s->w->normalized;
  ig_added_match m = {0};
  size_t done = 0;
  bool order = false;
  IG_TRY(ig_normalize(&s->t->unicode, s->t->flags, text, n, place, &s->w->n_invalid, o));
  while (ig_added_next(s->t, &s->t->normalized, o->bytes, o->n, done, &m)) {
    if (done < m.begin)
      IG_TRY(words(s, &s->t->split_map, o->bytes + done, m.begin - done, o->origin + done, 0, &order));
    IG_TRY(emit_added(s, &s->t->added[m.index], o->origin[m.begin], o->origin[m.end - 1] + 1));
    done = m.end;
  }
  return done < o->n ? words(s, &s->t->split_map, o->bytes + done, o->n - done, o->origin + done, 0, &order) : IG_OK;
}

static ig_status segment(const splitter *s, const uint8_t *text, size_t n, uint32_t place) {
  if (s->t->normalized.n)
    return split_normalized(s, text, n, place);
  const size_t n_pieces = s->w->pieces.n, n_invalid = s->w->n_invalid;
  const int32_t number = *s->number;
  bool order = false;
  IG_TRY(words(s, &s->t->map, text, n, NULL, place, &order));
  if (!order)
    return IG_OK;
  s->w->pieces.n = n_pieces;
  s->w->n_invalid = n_invalid;
  *s->number = number;
  return split_normalized(s, text, n, place);
}

static uint32_t count_codes(const uint8_t *p, size_t n) {
  uint32_t count = 0, c;
  size_t invalid = 0;
  for (const uint8_t *end = p + n; p < end; count++)
    p += ig_utf8_decode(p, end, &c, &invalid);
  return count;
}

ig_status ig_split(const ig_tokenizer *t, ig_work *w, const uint8_t *text, size_t n, bool offsets, bool fixed,
                   int32_t *number) {
  splitter s = {t, w, offsets, fixed, number};
  ig_added_match m = {0};
  size_t done = 0;
  uint32_t place = 0;
  while (ig_added_next(t, &t->raw, text, n, done, &m)) {
    if (done < m.begin) {
      IG_TRY(segment(&s, text + done, m.begin - done, place));
      place += offsets ? count_codes(text + done, m.begin - done) : 0;
    } else if (offsets) {
      place -= count_codes(text + m.begin, done - m.begin);  // spaces that the token before took, too
    }
    uint32_t length = offsets ? count_codes(text + m.begin, m.end - m.begin) : 0;
    IG_TRY(emit_added(&s, &t->added[m.index], place, place + length));
    place += length;
    done = m.end;
  }
  return done < n ? segment(&s, text + done, n - done, place) : IG_OK;
}
