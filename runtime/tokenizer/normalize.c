// A whole text through BERT's normalizer, step by step: clean, spaces around CJK, NFD, marks dropped, lower case.
// Rule: see unicode.h. NFD sorts the marks behind a letter by their class, stably; places stay where they were, and
// what a decomposition added has the place before it, as Hugging Face aligns them.
#include <stdlib.h>

#include "runtime/base/mem.h"
#include "runtime/tokenizer/unicode.h"

typedef struct ig_code_part {
  uint32_t code, order;
  uint8_t class;
  bool added;  // not the first part of what it is from
} ig_part;

static int by_class(const void *a, const void *b) {
  const ig_part *x = a, *y = b;
  if (x->class != y->class)
    return x->class < y->class ? -1 : 1;
  return (x->order > y->order) - (x->order < y->order);
}

static ig_status add_part(const ig_unicode *u, ig_normalized *o, uint32_t c, bool added) {
  IG_TRY(ig_grow(&o->parts, &o->parts_capacity, o->n_parts, o->n_parts + 1, sizeof *o->parts, "normalized text"));
  o->parts[o->n_parts] = (ig_part){c, (uint32_t)o->n_parts, (uint8_t)ig_unicode_value(u, IG_SET_COMBINING, c), added};
  o->n_parts++;
  return IG_OK;
}

static ig_status add_code(const ig_unicode *u, ig_normalizer_flags flags, ig_normalized *o, uint32_t c,
                          uint32_t place) {
  uint32_t parts[IG_MAX_PARTS] = {c};
  size_t n = flags.strip ? ig_unicode_decompose(c, parts) : 1;
  IG_TRY(ig_grow(&o->places, &o->places_capacity, o->n_places, o->n_places + 1, sizeof *o->places, "normalized text"));
  o->places[o->n_places++] = place;
  for (size_t i = 0; i < n; i++)
    IG_TRY(add_part(u, o, parts[i], i > 0));
  return IG_OK;
}

static ig_status decompose(const ig_unicode *u, ig_normalizer_flags flags, const uint8_t *text, size_t n,
                           uint32_t place, size_t *invalid, ig_normalized *o) {
  for (const uint8_t *p = text, *end = text + n; p < end; place++) {
    uint32_t c;
    p += ig_utf8_decode(p, end, &c, invalid);
    if (flags.clean && ig_unicode_value(u, IG_SET_DROPPED, c))
      continue;
    if (flags.clean && ig_unicode_value(u, IG_SET_SPACE, c))
      c = ' ';
    bool apart = flags.cjk && ig_unicode_value(u, IG_SET_CJK, c);
    if (apart)
      IG_TRY(add_code(u, flags, o, ' ', place));
    IG_TRY(add_code(u, flags, o, c, place));
    if (apart)
      IG_TRY(add_code(u, flags, o, ' ', place));
  }
  return IG_OK;
}

static void sort_marks(ig_normalized *o) {
  for (size_t i = 0; i < o->n_parts;) {
    size_t end = i + 1;
    while (end < o->n_parts && o->parts[i].class && o->parts[end].class)
      end++;
    if (end - i > 1)
      qsort(o->parts + i, end - i, sizeof *o->parts, by_class);
    i = end;
  }
}

static ig_status put(ig_normalized *o, uint32_t c, uint32_t place) {
  IG_TRY(ig_grow(&o->bytes, &o->bytes_capacity, o->n, o->n + 4, 1, "normalized text"));
  IG_TRY(ig_grow(&o->origin, &o->origin_capacity, o->n, o->n + 4, sizeof *o->origin, "normalized text"));
  size_t n = ig_utf8_encode(c, o->bytes + o->n);
  for (size_t i = 0; i < n; i++)
    o->origin[o->n++] = place;
  return IG_OK;
}

ig_status ig_normalize(const ig_unicode *u, ig_normalizer_flags flags, const uint8_t *text, size_t n,
                       uint32_t first_place, size_t *invalid, ig_normalized *o) {
  o->n = o->n_parts = o->n_places = 0;
  IG_TRY(decompose(u, flags, text, n, first_place, invalid, o));
  if (flags.strip)
    sort_marks(o);
  size_t used = 0;
  for (size_t i = 0; i < o->n_parts; i++) {
    uint32_t c = o->parts[i].code, low[2] = {c};
    used += !o->parts[i].added;
    if (flags.strip && ig_unicode_value(u, IG_SET_MARK, c))
      continue;
    size_t n_low = flags.lower ? ig_unicode_lower(c, low) : 1;
    for (size_t j = 0; j < n_low; j++)
      IG_TRY(put(o, low[j], o->places[used - 1]));
  }
  return IG_OK;
}

void ig_normalized_fini(ig_normalized *o) {
  ig_free(o->bytes);
  ig_free(o->origin);
  ig_free(o->parts);
  ig_free(o->places);
}
