// Texts to ids: split, cut to length, dressed by the post-processor. Rule: what the caller sees is filled only when all
// went well; memory is kept from one call to the next.
#include <string.h>

#include "runtime/base/mem.h"
#include "runtime/tokenizer/internal.h"

void ig_encoding_fini(ig_encoding *e) {
  ig_work *w = e->work;
  if (w) {
    void *const memory[] = {w->pieces.ids, w->pieces.begin, w->pieces.end, w->pieces.word,
                            w->word,       w->origin,       w->cache};
    for (size_t i = 0; i < sizeof memory / sizeof *memory; i++)
      ig_free(memory[i]);
    ig_normalized_fini(&w->normalized);
    ig_free(w);
  }
  void *const arrays[] = {e->ids, e->types, e->special, e->begin, e->end, e->word};
  for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
    ig_free(arrays[i]);
  *e = (ig_encoding){0};
}

// Room for n tokens in the caller's arrays.
static ig_status room(ig_encoding *e, ig_work *w, size_t n, bool offsets) {
  size_t c;
  if (n > w->encoding_capacity) {
    c = w->encoding_capacity;
    IG_TRY(ig_grow(&e->ids, &c, 0, n, sizeof *e->ids, "tokens"));
    c = w->encoding_capacity;
    IG_TRY(ig_grow(&e->types, &c, 0, n, sizeof *e->types, "tokens"));
    c = w->encoding_capacity;
    IG_TRY(ig_grow(&e->special, &c, 0, n, sizeof *e->special, "tokens"));
    w->encoding_capacity = c;
  }
  if (offsets && n > w->offsets_capacity) {
    c = w->offsets_capacity;
    IG_TRY(ig_grow(&e->begin, &c, 0, n, sizeof *e->begin, "tokens"));
    c = w->offsets_capacity;
    IG_TRY(ig_grow(&e->end, &c, 0, n, sizeof *e->end, "tokens"));
    c = w->offsets_capacity;
    IG_TRY(ig_grow(&e->word, &c, 0, n, sizeof *e->word, "tokens"));
    w->offsets_capacity = c;
  }
  return IG_OK;
}

// Tokens that stay of each text: n[0], n[1] of `budget`, by Hugging Face's rules (the shorter keeps all it can; where
// both are too long, halves, the odd token to the longer, to the second of equals).
static void longest_first(size_t n[2], size_t budget) {
  const int longer = n[0] > n[1] ? 0 : 1;
  size_t small = n[1 - longer];
  size_t large = small > budget ? small : budget - small > small ? budget - small : small;
  if (small + large > budget) {
    small = budget / 2;
    large = budget - small;
  }
  n[1 - longer] = small;
  n[longer] = large;
}

static ig_status cut(const ig_encode_options *o, size_t n_special, bool has_second, size_t n[2], bool *truncated) {
  const size_t max = (size_t)o->max_length, all = n[0] + n[1];
  *truncated = false;
  if (o->max_length <= 0)
    return o->max_length == 0 ? IG_OK : ig_fail(IG_ERR_USAGE, "max_length is %d; 0 (no limit) or more", o->max_length);
  if (max < n_special)
    return ig_fail(IG_ERR_USAGE, "max_length is %zu, and the special tokens alone are %zu", max, n_special);
  if (n_special + all <= max)
    return IG_OK;
  const size_t budget = max - n_special, over = all - budget;
  *truncated = true;
  if (budget == 0) {
    n[0] = n[1] = 0;
  } else if (!has_second && o->truncation != IG_TRUNCATE_ONLY_SECOND) {
    n[0] = budget;
  } else if (o->truncation == IG_TRUNCATE_LONGEST_FIRST) {
    longest_first(n, budget);
  } else {
    const int which = o->truncation == IG_TRUNCATE_ONLY_FIRST ? 0 : 1;
    if (which == 1 && !has_second)
      return ig_fail(IG_ERR_USAGE, "truncation is of the second text alone, and there is no second text");
    if (n[which] <= over)
      return ig_fail(IG_ERR_DATA,
                     "%zu tokens are %zu too many, and the %s text, which alone may be cut, has only %zu: raise "
                     "max_length, or cut the longer one first",
                     all + n_special, over, which ? "second" : "first", n[which]);
    n[which] -= over;
  }
  return IG_OK;
}

// The tokens of one text behind e->n.
static void copy_pieces(const ig_pieces *p, size_t from, size_t n, uint8_t type, bool offsets, ig_encoding *e) {
  if (!n)
    return;
  memcpy(e->ids + e->n, p->ids + from, n * sizeof *p->ids);
  memset(e->types + e->n, type, n);
  memset(e->special + e->n, 0, n);
  if (offsets) {
    memcpy(e->begin + e->n, p->begin + from, n * sizeof *p->begin);
    memcpy(e->end + e->n, p->end + from, n * sizeof *p->end);
    memcpy(e->word + e->n, p->word + from, n * sizeof *p->word);
  }
  e->n += n;
}

static void put_special(const ig_piece *piece, bool offsets, ig_encoding *e) {
  e->ids[e->n] = piece->id;
  e->types[e->n] = piece->type;
  e->special[e->n] = 1;
  if (offsets)
    e->begin[e->n] = e->end[e->n] = 0, e->word[e->n] = -1;
  e->n++;
}

static ig_status finish(const ig_tokenizer *t, const ig_encode_options *o, bool has_second, bool offsets, ig_work *w,
                        ig_encoding *e) {
  const ig_template *form = has_second ? &t->pair : &t->single;
  const size_t n_special = o->special ? form->n_special : 0;
  const size_t all[2] = {w->pieces.n_first, w->pieces.n - w->pieces.n_first};
  size_t n[2] = {all[0], all[1]};
  IG_TRY(cut(o, n_special, has_second, n, &e->truncated));
  IG_TRY(room(e, w, n_special + n[0] + n[1], offsets));
  e->n = 0;
  for (size_t i = 0; i < form->n; i++) {
    const ig_piece *piece = &form->pieces[i];
    const int which = piece->sequence;
    if (which >= 0)
      copy_pieces(&w->pieces, (which ? all[0] : 0) + (t->cut_left ? all[which] - n[which] : 0), n[which], piece->type,
                  offsets, e);
    else if (o->special)
      put_special(piece, offsets, e);
  }
  e->n_unknown = 0;
  for (size_t i = 0; i < e->n; i++)
    e->n_unknown += e->ids[i] == t->unk;
  e->n_invalid = w->n_invalid;
  return IG_OK;
}

static ig_status too_long(size_t n) {
  return n > UINT32_MAX / 8
             ? ig_fail(IG_ERR_UNSUPPORTED, "a text of %zu bytes is too long: at most %u", n, UINT32_MAX / 8)
             : IG_OK;
}

ig_status ig_tokenizer_encode(const ig_tokenizer *t, const char *text, size_t text_bytes, const char *second,
                              size_t second_bytes, const ig_encode_options *options, ig_encoding *e) {
  ig_work *w;
  int32_t number = 0;
  e->n = 0;
  IG_TRY(ig_work_of(e, t, &w));
  IG_TRY(too_long(text_bytes));
  IG_TRY(too_long(second_bytes));
  IG_TRY(ig_split(t, w, (const uint8_t *)text, text_bytes, options->offsets, false, &number));
  w->pieces.n_first = w->pieces.n;
  number = 0;
  if (second)
    IG_TRY(ig_split(t, w, (const uint8_t *)second, second_bytes, options->offsets, false, &number));
  return finish(t, options, second != NULL, options->offsets, w, e);
}

ig_status ig_tokenizer_encode_words(const ig_tokenizer *t, size_t n_words, const char *const *words,
                                    const ig_encode_options *options, ig_encoding *e) {
  ig_work *w;
  e->n = 0;
  IG_TRY(ig_work_of(e, t, &w));
  for (size_t i = 0; i < n_words; i++) {
    const size_t n = strlen(words[i]);
    int32_t number = (int32_t)i;
    IG_TRY(too_long(n));
    IG_TRY(ig_split(t, w, (const uint8_t *)words[i], n, true, true, &number));
  }
  w->pieces.n_first = w->pieces.n;
  return finish(t, options, false, true, w, e);
}
