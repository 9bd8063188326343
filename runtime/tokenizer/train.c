// A vocabulary from raw text: words, alphabet, merges. Rule: as tokenizers.BertWordPieceTokenizer.train; where that
// one's order is that of its hash tables (the pieces ##x of one character, and so equal counts), here it is by code
// point.
#include <stdlib.h>
#include <string.h>

#include "runtime/base/mem.h"
#include "runtime/tokenizer/internal.h"

typedef struct letter {
  uint32_t code;
  bool inside;  // stands somewhere behind the first place of a word
  int64_t count;
} letter;
typedef struct trainer {
  const ig_tokenizer_train_options *o;
  ig_tokenizer *t;
  ig_word_counts counts;
  letter *letters;  // by code point
  size_t n_letters;
  ig_symbols symbols;
  ig_merge_word *words;
  uint32_t *store;  // of all words' symbols
} trainer;

static int by_code(const void *a, const void *b) {
  const letter *x = a, *y = b;
  return (x->code > y->code) - (x->code < y->code);
}
static int by_count(const void *a, const void *b) {
  const letter *x = a, *y = b;
  return x->count != y->count ? (x->count < y->count) - (x->count > y->count) : by_code(a, b);
}

// Decodes word i; returns its code points in `codes` (room for as many as it has bytes).
static size_t codes_of(const ig_word_counts *c, size_t i, uint32_t *codes) {
  const uint8_t *p = (const uint8_t *)c->bytes + c->words[i].at, *end = p + c->words[i].n_bytes;
  size_t n = 0, invalid = 0;
  while (p < end)
    p += ig_utf8_decode(p, end, &codes[n++], &invalid);
  return n;
}

static size_t longest_word(const ig_word_counts *c) {
  size_t n = 1;
  for (size_t i = 0; i < c->n; i++)
    n = c->words[i].n_bytes > n ? c->words[i].n_bytes : n;
  return n;
}

// The most frequent characters, as many as are wanted, by code point.
static ig_status find_letters(trainer *k, uint32_t *codes) {
  ig_status status = IG_OK;
  letter *all;
  size_t n_all = 0;
  IG_TRY(ig_alloc_array(IG_UNICODE_END, sizeof *all, "an alphabet", &all));
  for (size_t i = 0; i < k->counts.n; i++) {
    size_t n = codes_of(&k->counts, i, codes);
    for (size_t j = 0; j < n; j++) {
      all[codes[j]].count += k->counts.words[i].count;
      all[codes[j]].inside |= j > 0;
    }
  }
  for (uint32_t c = 0; c < IG_UNICODE_END; c++)
    if (all[c].count) {
      all[n_all] = all[c];
      all[n_all++].code = c;
    }
  if (n_all > (size_t)k->o->limit_alphabet) {
    qsort(all, n_all, sizeof *all, by_count);
    n_all = (size_t)k->o->limit_alphabet;
    qsort(all, n_all, sizeof *all, by_code);
  }
  k->n_letters = n_all;
  IG_GOTO(ig_alloc_array(n_all, sizeof *k->letters, "an alphabet", &k->letters));
  if (n_all)
    memcpy(k->letters, all, n_all * sizeof *all);
done:
  ig_free(all);
  return status;
}

static ig_status add_symbol(trainer *k, const char *prefix, uint32_t code, int32_t *id) {
  char text[64], *end = stpcpy(text, prefix);
  end += ig_utf8_encode(code, (uint8_t *)end);
  return ig_symbols_add(&k->symbols, text, (size_t)(end - text), id);
}

static const char *const specials[] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
enum { N_SPECIALS = sizeof specials / sizeof *specials };

static ig_status add_alphabet(trainer *k) {
  int32_t id;
  for (int i = 0; i < N_SPECIALS; i++)
    IG_TRY(ig_symbols_add(&k->symbols, specials[i], strlen(specials[i]), &id));
  for (int inside = 0; inside < 2; inside++)
    for (size_t i = 0; i < k->n_letters; i++)
      if (!inside || k->letters[i].inside)
        IG_TRY(add_symbol(k, inside ? k->t->prefix : "", k->letters[i].code, &id));
  if (k->symbols.n > (size_t)k->o->vocabulary)
    return ig_fail(IG_ERR_USAGE,
                   "the special tokens and the %zu characters of the text take %zu tokens, more than the %d that are "
                   "wanted: raise vocabulary=, or keep fewer characters",
                   k->n_letters, k->symbols.n, k->o->vocabulary);
  return IG_OK;
}

// Words as symbols; characters outside of the alphabet are left out.
static ig_status make_words(trainer *k, uint32_t *codes) {
  size_t used = 0;
  IG_TRY(ig_alloc_array(k->counts.n, sizeof *k->words, "words", &k->words));
  IG_TRY(ig_alloc_array(k->counts.n_bytes, sizeof *k->store, "words", &k->store));
  for (size_t i = 0; i < k->counts.n; i++) {
    size_t n = codes_of(&k->counts, i, codes);
    ig_merge_word *w = &k->words[i];
    *w = (ig_merge_word){k->store + used, 0, k->counts.words[i].count};
    for (size_t j = 0; j < n; j++) {
      int32_t id;
      if (bsearch(&(letter){.code = codes[j]}, k->letters, k->n_letters, sizeof *k->letters, by_code)) {
        IG_TRY(add_symbol(k, j ? k->t->prefix : "", codes[j], &id));
        w->symbols[w->n++] = (uint32_t)id;
      }
    }
    used += w->n;
  }
  return IG_OK;
}

static ig_status make_tokenizer(trainer *k) {
  ig_tokenizer *t = k->t;
  for (size_t i = 0; i < k->symbols.n; i++)
    IG_TRY(ig_vocab_add(t, k->symbols.tokens[i].data, (int32_t)i));
  for (int32_t i = 0; i < N_SPECIALS; i++)
    IG_TRY(ig_vocab_add_special(t, &(ig_added){.content = (char *)specials[i], .id = i, .special = true}));
  IG_TRY(ig_template_bert(t, 2, 3));
  t->pad = 0, t->cls = 2, t->sep = 3, t->mask = 4;
  t->max_chars = 100;
  // What was opened for counting words is made again with the vocabulary.
  ig_unicode_fini(&t->unicode);
  ig_charmap_fini(&t->map);
  ig_charmap_fini(&t->split_map);
  memset(&t->unicode, 0, sizeof t->unicode);
  memset(&t->map, 0, sizeof t->map);
  memset(&t->split_map, 0, sizeof t->split_map);
  return ig_tokenizer_seal(t);
}

static ig_status train(trainer *k) {
  ig_status status = IG_OK;
  uint32_t *codes = NULL;
  ig_tokenizer *t = k->t;
  t->flags.lower = t->flags.strip = k->o->lowercase;
  t->max_chars = SIZE_MAX / 64;  // words of any length are counted
  IG_TRY(ig_unicode_init(&t->unicode));
  IG_TRY(ig_charmap_init(&t->unicode, t->flags, &t->map));
  IG_TRY(ig_charmap_init(&t->unicode, (ig_normalizer_flags){0}, &t->split_map));
  IG_TRY(ig_count_files(t, k->o->files, k->o->n_files, k->o->threads, &k->counts));
  if (k->o->n_invalid)
    *k->o->n_invalid = k->counts.n_invalid;
  if (!k->counts.n)
    return ig_fail(IG_ERR_DATA, "%s%s holds no word to learn from", k->o->files[0],
                   k->o->n_files > 1 ? " and the other files together" : "");
  IG_GOTO(ig_alloc_array(longest_word(&k->counts), sizeof *codes, "a word", &codes));
  IG_GOTO(find_letters(k, codes));
  IG_GOTO(add_alphabet(k));
  IG_GOTO(make_words(k, codes));
  IG_GOTO(ig_merge_words(k->words, k->counts.n, strlen(t->prefix), (size_t)k->o->vocabulary, k->o->min_frequency,
                         &k->symbols));
  IG_GOTO(make_tokenizer(k));
done:
  ig_free(codes);
  return status;
}

ig_status ig_tokenizer_train(const ig_tokenizer_train_options *options, ig_tokenizer **out) {
  trainer k = {.o = options};
  *out = NULL;
  if (options->n_files == 0)
    return ig_fail(IG_ERR_USAGE, "a vocabulary is trained from files of text, and none was given");
  if (options->vocabulary <= N_SPECIALS || options->limit_alphabet < 1)
    return ig_fail(IG_ERR_USAGE, "a vocabulary of %d tokens with at most %d characters cannot be trained",
                   options->vocabulary, options->limit_alphabet);
  IG_TRY(ig_tokenizer_new("the trained vocabulary", &k.t));
  ig_status status = train(&k);
  ig_word_counts_fini(&k.counts);
  ig_symbols_fini(&k.symbols);
  ig_free(k.letters);
  ig_free(k.words);
  ig_free(k.store);
  if (status != IG_OK)
    ig_tokenizer_close(k.t);
  else
    *out = k.t;
  return status;
}
