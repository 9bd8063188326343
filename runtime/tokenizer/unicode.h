// What a code point becomes under BERT's normalizer. Rule: the facts are those of Hugging Face's tokenizers
// (unicode_tables.c, made by make_unicode.py), not those of the newest Unicode: ids must not change with a library.
#ifndef IG_TOKENIZER_UNICODE_H
#define IG_TOKENIZER_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { IG_UNICODE_END = 0x110000, IG_REPLACEMENT = 0xfffd };

// Sets as gap, length, gap, length, ...; `combining` as gap, length, class.
typedef struct ig_unicode_gaps {
  const uint16_t *p;
  size_t n;
} ig_unicode_gaps;
typedef struct ig_unicode_numbers {
  const int32_t *p;
  size_t n;
} ig_unicode_numbers;
typedef struct ig_unicode_tables {
  ig_unicode_gaps dropped;      // by clean_text: U+0000, U+FFFD, controls, formats, private use
  ig_unicode_gaps space;        // where words end; clean_text makes them U+0020
  ig_unicode_gaps punctuation;  // a word of its own
  ig_unicode_gaps cjk;          // gets spaces around it by handle_chinese_chars
  ig_unicode_gaps mark;         // non-spacing marks, which strip_accents removes
  ig_unicode_gaps word;         // a letter, mark or digit beside an added token that is to stand alone (single_word)
  ig_unicode_gaps combining;    // canonical combining classes other than 0
  ig_unicode_numbers lower;     // first, count, step, what is added
  ig_unicode_numbers pairs;     // code point and the two that it decomposes into (one step)
  ig_unicode_numbers singles;   // first, count, then what each decomposes into
} ig_unicode_tables;
extern const ig_unicode_tables ig_unicode_data;

// The sets above, for a search by halves.
typedef enum ig_unicode_set {
  IG_SET_DROPPED = 0,
  IG_SET_SPACE,
  IG_SET_PUNCTUATION,
  IG_SET_CJK,
  IG_SET_MARK,
  IG_SET_WORD,
  IG_SET_COMBINING,
  IG_N_SETS
} ig_unicode_set;
typedef struct ig_range {
  uint32_t first, end, value;
} ig_range;
typedef struct ig_unicode {
  ig_range *ranges[IG_N_SETS];
  size_t n[IG_N_SETS];
} ig_unicode;
ig_status ig_unicode_init(ig_unicode *u);
void ig_unicode_fini(ig_unicode *u);

// Value of the range that holds c (1 of plain sets, the class of IG_SET_COMBINING), 0 outside.
uint32_t ig_unicode_value(const ig_unicode *u, ig_unicode_set set, uint32_t c);
// Canonical decomposition, whole, in the order of the tables; returns 1 to IG_MAX_PARTS.
enum { IG_MAX_PARTS = 4 };
size_t ig_unicode_decompose(uint32_t c, uint32_t out[IG_MAX_PARTS]);
size_t ig_unicode_lower(uint32_t c, uint32_t out[2]);

// The code point at p (p < end) and its length in bytes. A maximal invalid part is U+FFFD, once, and *invalid grows.
size_t ig_utf8_decode(const uint8_t *p, const uint8_t *end, uint32_t *c, size_t *invalid);
// Writes c to p (1 to 4 bytes); returns the bytes.
size_t ig_utf8_encode(uint32_t c, uint8_t *p);

typedef struct ig_normalizer_flags {
  bool clean, cjk, strip, lower;
} ig_normalizer_flags;

// What one code point becomes, by the flags, looked up in two steps. An entry is kind << 24 | code point; 0 is a code
// point of a word that stays as it is.
typedef enum ig_char_kind {
  IG_CHAR_SELF = 0,
  IG_CHAR_ONE,      // of a word, as another code point
  IG_CHAR_SPACE,    // ends a word
  IG_CHAR_ALONE,    // punctuation or CJK: the code point is a word
  IG_CHAR_DROP,     // nothing
  IG_CHAR_SEVERAL,  // sequences[low bits] = count, then as many entries
  IG_CHAR_HANGUL,   // a syllable that falls into its letters
  IG_CHAR_ORDER,    // a mark that stays and moves among its neighbours: the text needs ig_normalize
  IG_CHAR_WIDE,     // ASCII's table alone: look further
} ig_char_kind;
enum { IG_ENTRY_SHIFT = 24, IG_ENTRY_CODE = (1 << IG_ENTRY_SHIFT) - 1 };
typedef struct ig_charmap {
  uint8_t byte_kind[256], byte_out[256];  // the first step for bytes; 0x80 and above are IG_CHAR_WIDE
  uint16_t page[IG_UNICODE_END / 256];    // of the code point / 256; 0: all 256 stay as they are
  uint32_t *entries;                      // [pages x 256]
  size_t n_pages, pages_capacity;
  uint32_t *sequences;
  size_t n_sequences, sequences_capacity;
} ig_charmap;
ig_status ig_charmap_init(const ig_unicode *u, ig_normalizer_flags flags, ig_charmap *m);
void ig_charmap_fini(ig_charmap *m);

static inline uint32_t ig_charmap_entry(const ig_charmap *m, uint32_t c) {
  return m->entries[(size_t)m->page[c >> 8] << 8 | (c & 255)];
}

// The letters of a Hangul syllable: 2 or 3.
static inline size_t ig_hangul(uint32_t c, uint32_t out[3]) {
  uint32_t s = c - 0xac00;
  out[0] = 0x1100 + s / 588, out[1] = 0x1161 + s % 588 / 28, out[2] = 0x11a7 + s % 28;
  return s % 28 ? 3 : 2;
}

// A whole text by the flags, combining marks put in order, as UTF-8 with the place (code point of the text) that each
// byte is from: for texts with IG_CHAR_ORDER and for added tokens that are looked for in normalized text.
typedef struct ig_normalized {
  uint8_t *bytes;
  uint32_t *origin;  // [n] as Hugging Face counts it: of marks that moved, by position
  size_t n, bytes_capacity, origin_capacity;
  struct ig_code_part *parts;  // decomposed code points
  size_t n_parts, parts_capacity;
  uint32_t *places;  // of what came to decomposition
  size_t n_places, places_capacity;
} ig_normalized;
ig_status ig_normalize(const ig_unicode *u, ig_normalizer_flags flags, const uint8_t *text, size_t n,
                       uint32_t first_place, size_t *invalid, ig_normalized *out);
void ig_normalized_fini(ig_normalized *n);

#ifdef __cplusplus
}
#endif
#endif
