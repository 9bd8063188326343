// Look-ups in the tables, UTF-8, and the map of what each code point becomes. Rule: see unicode.h.
#include "runtime/tokenizer/unicode.h"

#include <string.h>

#include "runtime/base/mem.h"

static const ig_unicode_gaps *gaps_of(ig_unicode_set set) {
  const ig_unicode_gaps *const sets[IG_N_SETS] = {
      &ig_unicode_data.dropped, &ig_unicode_data.space, &ig_unicode_data.punctuation, &ig_unicode_data.cjk,
      &ig_unicode_data.mark,    &ig_unicode_data.word,  &ig_unicode_data.combining};
  return sets[set];
}

ig_status ig_unicode_init(ig_unicode *u) {
  for (int set = 0; set < IG_N_SETS; set++) {
    const ig_unicode_gaps *g = gaps_of((ig_unicode_set)set);
    const size_t stride = set == IG_SET_COMBINING ? 3 : 2;
    IG_TRY(ig_alloc_array(g->n / stride, sizeof(ig_range), "Unicode's tables", &u->ranges[set]));
    uint32_t at = 0;
    for (size_t i = 0; i < g->n; i += stride) {
      at += g->p[i];
      if (g->p[i + 1])  // else the gap goes on
        u->ranges[set][u->n[set]++] = (ig_range){at, at + g->p[i + 1], stride == 3 ? g->p[i + 2] : 1};
      at += g->p[i + 1];
    }
  }
  return IG_OK;
}

void ig_unicode_fini(ig_unicode *u) {
  for (int set = 0; set < IG_N_SETS; set++)
    ig_free(u->ranges[set]);
}

uint32_t ig_unicode_value(const ig_unicode *u, ig_unicode_set set, uint32_t c) {
  const ig_range *r = u->ranges[set];
  size_t low = 0, high = u->n[set];
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (c < r[middle].first)
      high = middle;
    else if (c >= r[middle].end)
      low = middle + 1;
    else
      return r[middle].value;
  }
  return 0;
}

// The two parts of c in the table of pairs; false where it is not there.
static bool pair_of(uint32_t c, uint32_t out[2]) {
  const int32_t *p = ig_unicode_data.pairs.p;
  size_t low = 0, high = ig_unicode_data.pairs.n / 3;
  while (low < high) {
    size_t middle = (low + high) / 2;
    uint32_t at = (uint32_t)p[3 * middle];
    if (c == at) {
      out[0] = (uint32_t)p[3 * middle + 1], out[1] = (uint32_t)p[3 * middle + 2];
      return true;
    }
    if (c < at)
      high = middle;
    else
      low = middle + 1;
  }
  return false;
}

static bool single_of(uint32_t c, uint32_t *out) {
  const int32_t *p = ig_unicode_data.singles.p;
  for (size_t i = 0; i < ig_unicode_data.singles.n && (uint32_t)p[i] <= c; i += 2 + (size_t)p[i + 1])
    if (c - (uint32_t)p[i] < (uint32_t)p[i + 1]) {
      *out = (uint32_t)p[i + 2 + (c - (uint32_t)p[i])];
      return true;
    }
  return false;
}

size_t ig_unicode_decompose(uint32_t c, uint32_t out[IG_MAX_PARTS]) {
  uint32_t pair[2];
  if (c >= 0xac00 && c < 0xac00 + 11172)
    return ig_hangul(c, out);
  if (c < 0xc0) {
    out[0] = c;
    return 1;
  }
  if (single_of(c, pair))
    return ig_unicode_decompose(pair[0], out);
  if (!pair_of(c, pair)) {
    out[0] = c;
    return 1;
  }
  // The second part is whole but for U+0344 and its like, whose parts are whole.
  size_t n = ig_unicode_decompose(pair[0], out);
  uint32_t more[IG_MAX_PARTS];
  size_t n_more = ig_unicode_decompose(pair[1], more);
  for (size_t i = 0; i < n_more && n < IG_MAX_PARTS; i++)
    out[n++] = more[i];
  return n;
}

size_t ig_unicode_lower(uint32_t c, uint32_t out[2]) {
  const int32_t *p = ig_unicode_data.lower.p;
  size_t low = 0, high = ig_unicode_data.lower.n / 4;
  out[0] = c;
  if (c == 0x130) {  // the one that becomes two
    out[0] = 'i', out[1] = 0x307;
    return 2;
  }
  while (low < high) {  // the last run that starts at or before c
    size_t middle = (low + high) / 2;
    if ((uint32_t)p[4 * middle] <= c)
      low = middle + 1;
    else
      high = middle;
  }
  if (low) {
    const int32_t *run = p + 4 * (low - 1);
    uint32_t distance = c - (uint32_t)run[0];
    if (distance % (uint32_t)run[2] == 0 && distance / (uint32_t)run[2] < (uint32_t)run[1])
      out[0] = (uint32_t)((int32_t)c + run[3]);
  }
  return 1;
}

// --- UTF-8 ---

size_t ig_utf8_decode(const uint8_t *p, const uint8_t *end, uint32_t *c, size_t *invalid) {
  uint8_t a = p[0];
  if (a < 0x80) {
    *c = a;
    return 1;
  }
  // Bytes that follow, and the range of the first of them: no overlong forms, no surrogates, none above U+10FFFF.
  size_t more = a >= 0xc2 && a < 0xe0 ? 1 : a >= 0xe0 && a < 0xf0 ? 2 : a >= 0xf0 && a < 0xf5 ? 3 : 0;
  uint8_t low = a == 0xe0 ? 0xa0 : a == 0xf0 ? 0x90 : 0x80, high = a == 0xed ? 0x9f : a == 0xf4 ? 0x8f : 0xbf;
  uint32_t value = a & (0x3fu >> more);
  size_t i = 1;
  for (; i <= more && p + i < end && p[i] >= low && p[i] <= high; i++) {
    value = value << 6 | (p[i] & 0x3f);
    low = 0x80, high = 0xbf;
  }
  if (more && i == more + 1) {
    *c = value;
    return i;
  }
  *c = IG_REPLACEMENT;
  ++*invalid;
  return i;
}

size_t ig_utf8_encode(uint32_t c, uint8_t *p) {
  if (c < 0x80) {
    p[0] = (uint8_t)c;
    return 1;
  }
  if (c < 0x800) {
    p[0] = (uint8_t)(0xc0 | c >> 6), p[1] = (uint8_t)(0x80 | (c & 0x3f));
    return 2;
  }
  if (c < 0x10000) {
    p[0] = (uint8_t)(0xe0 | c >> 12), p[1] = (uint8_t)(0x80 | (c >> 6 & 0x3f)), p[2] = (uint8_t)(0x80 | (c & 0x3f));
    return 3;
  }
  p[0] = (uint8_t)(0xf0 | c >> 18), p[1] = (uint8_t)(0x80 | (c >> 12 & 0x3f));
  p[2] = (uint8_t)(0x80 | (c >> 6 & 0x3f)), p[3] = (uint8_t)(0x80 | (c & 0x3f));
  return 4;
}
