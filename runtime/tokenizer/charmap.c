// The map from code points to what they become, made once from the tables and the flags. Rule: see unicode.h; an entry
// says what ig_normalize and the splitting of words would do with the code point alone.
#include <string.h>

#include "runtime/base/mem.h"
#include "runtime/tokenizer/unicode.h"

typedef struct maker {
  const ig_unicode *u;
  ig_normalizer_flags flags;
  ig_charmap *m;
} maker;

static uint32_t entry(ig_char_kind kind, uint32_t c) { return (uint32_t)kind << IG_ENTRY_SHIFT | c; }

static ig_status add_page(ig_charmap *m, size_t *index) {
  IG_TRY(ig_grow(&m->entries, &m->pages_capacity, m->n_pages, m->n_pages + 1, 256 * sizeof *m->entries,
                 "a map of characters"));
  memset(m->entries + m->n_pages * 256, 0, 256 * sizeof *m->entries);
  *index = m->n_pages++;
  return IG_OK;
}

static ig_status put(ig_charmap *m, uint32_t c, uint32_t value) {
  size_t page = m->page[c >> 8];
  if (!page) {
    IG_TRY(add_page(m, &page));
    m->page[c >> 8] = (uint16_t)page;
  }
  m->entries[page * 256 + (c & 255)] = value;
  return IG_OK;
}

// What the splitting of words does with a code point that the normalizer put out.
static uint32_t split_entry(const ig_unicode *u, uint32_t c) {
  return entry(ig_unicode_value(u, IG_SET_SPACE, c)         ? IG_CHAR_SPACE
               : ig_unicode_value(u, IG_SET_PUNCTUATION, c) ? IG_CHAR_ALONE
                                                            : IG_CHAR_ONE,
               c);
}

static ig_status several(ig_charmap *m, const uint32_t *entries, size_t n, uint32_t *out) {
  *out = entry(IG_CHAR_SEVERAL, (uint32_t)m->n_sequences);
  IG_TRY(ig_grow(&m->sequences, &m->sequences_capacity, m->n_sequences, m->n_sequences + n + 1, sizeof *m->sequences,
                 "a map of characters"));
  m->sequences[m->n_sequences++] = (uint32_t)n;
  memcpy(m->sequences + m->n_sequences, entries, n * sizeof *entries);
  m->n_sequences += n;
  return IG_OK;
}

static ig_status make_one(maker *k, uint32_t c) {
  const ig_unicode *u = k->u;
  uint32_t parts[IG_MAX_PARTS] = {c}, out[2 * IG_MAX_PARTS], value;
  size_t n_parts = 1, n = 0;
  if (k->flags.clean && ig_unicode_value(u, IG_SET_DROPPED, c))
    return put(k->m, c, entry(IG_CHAR_DROP, 0));
  if (k->flags.clean && ig_unicode_value(u, IG_SET_SPACE, c))
    return put(k->m, c, entry(IG_CHAR_SPACE, ' '));
  if (k->flags.strip)
    n_parts = ig_unicode_decompose(c, parts);
  for (size_t i = 0; i < n_parts; i++) {
    uint32_t low[2] = {parts[i]};
    size_t n_low = 1;
    if (k->flags.strip && ig_unicode_value(u, IG_SET_MARK, parts[i]))
      continue;
    if (k->flags.strip && ig_unicode_value(u, IG_SET_COMBINING, parts[i]))
      return put(k->m, c, entry(IG_CHAR_ORDER, 0));
    if (k->flags.lower)
      n_low = ig_unicode_lower(parts[i], low);
    for (size_t j = 0; j < n_low; j++)
      out[n++] = split_entry(u, low[j]);
  }
  if (n == 0)
    value = entry(IG_CHAR_DROP, 0);
  else if (n > 1)
    IG_TRY(several(k->m, out, n, &value));
  else if (k->flags.cjk && ig_unicode_value(u, IG_SET_CJK, c))
    value = entry(IG_CHAR_ALONE, out[0] & IG_ENTRY_CODE);
  else
    value = out[0] == entry(IG_CHAR_ONE, c) ? IG_CHAR_SELF : out[0];
  return put(k->m, c, value);
}

static ig_status make_set(maker *k, ig_unicode_set set) {
  for (size_t i = 0; i < k->u->n[set]; i++)
    for (uint32_t c = k->u->ranges[set][i].first; c < k->u->ranges[set][i].end; c++)
      IG_TRY(make_one(k, c));
  return IG_OK;
}

// The large runs, of which nothing needs to be looked up.
static ig_status fill(maker *k, ig_unicode_set set, ig_char_kind kind) {
  for (size_t i = 0; i < k->u->n[set]; i++)
    for (uint32_t c = k->u->ranges[set][i].first; c < k->u->ranges[set][i].end; c++)
      IG_TRY(put(k->m, c, entry(kind, kind == IG_CHAR_ALONE ? c : 0)));
  return IG_OK;
}

static ig_status make_decomposed(maker *k) {
  const ig_unicode_numbers *pairs = &ig_unicode_data.pairs, *singles = &ig_unicode_data.singles;
  for (size_t i = 0; i < pairs->n; i += 3)
    IG_TRY(make_one(k, (uint32_t)pairs->p[i]));
  for (size_t i = 0; i < singles->n; i += 2 + (size_t)singles->p[i + 1])
    for (int32_t j = 0; j < singles->p[i + 1]; j++)
      IG_TRY(make_one(k, (uint32_t)(singles->p[i] + j)));
  for (uint32_t c = 0xac00; c < 0xac00 + 11172; c++)
    IG_TRY(put(k->m, c, entry(IG_CHAR_HANGUL, 0)));
  return IG_OK;
}

static void make_bytes(ig_charmap *m) {
  memset(m->byte_kind, IG_CHAR_WIDE, sizeof m->byte_kind);
  for (uint32_t c = 0; c < 128; c++) {
    uint32_t e = ig_charmap_entry(m, c);
    m->byte_kind[c] = (uint8_t)(e >> IG_ENTRY_SHIFT);
    m->byte_out[c] = (uint8_t)(m->byte_kind[c] == IG_CHAR_SELF ? c : e & IG_ENTRY_CODE);
    if (m->byte_kind[c] == IG_CHAR_ONE)
      m->byte_kind[c] = IG_CHAR_SELF;  // one test fewer: byte_out holds the change
  }
}

ig_status ig_charmap_init(const ig_unicode *u, ig_normalizer_flags flags, ig_charmap *m) {
  maker k = {u, flags, m};
  size_t zero;
  IG_TRY(add_page(m, &zero));
  if (flags.cjk)
    IG_TRY(fill(&k, IG_SET_CJK, IG_CHAR_ALONE));
  IG_TRY(make_set(&k, IG_SET_SPACE));
  IG_TRY(make_set(&k, IG_SET_PUNCTUATION));
  if (flags.strip) {
    IG_TRY(make_set(&k, IG_SET_COMBINING));
    IG_TRY(make_set(&k, IG_SET_MARK));
    IG_TRY(make_decomposed(&k));
  }
  for (size_t i = 0; flags.lower && i < ig_unicode_data.lower.n; i += 4)
    for (int32_t j = 0; j < ig_unicode_data.lower.p[i + 1]; j++)
      IG_TRY(make_one(&k, (uint32_t)(ig_unicode_data.lower.p[i] + j * ig_unicode_data.lower.p[i + 2])));
  if (flags.lower)
    IG_TRY(make_one(&k, 0x130));
  if (flags.clean)
    IG_TRY(fill(&k, IG_SET_DROPPED, IG_CHAR_DROP));
  make_bytes(m);
  return IG_OK;
}

void ig_charmap_fini(ig_charmap *m) {
  ig_free(m->entries);
  ig_free(m->sequences);
}
