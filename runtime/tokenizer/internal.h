// What the files of the tokenizer share. Rule: nothing here changes after ig_tokenizer_open or ig_tokenizer_train.
#ifndef IG_TOKENIZER_INTERNAL_H
#define IG_TOKENIZER_INTERNAL_H

#include <jansson.h>

#include "runtime/base/text.h"
#include "runtime/tokenizer/tokenizer.h"
#include "runtime/tokenizer/unicode.h"

#ifdef __cplusplus
extern "C" {
#endif

// --- trie.c: byte strings to numbers. Nodes are numbered from 0 (the root); edges lie in one hash table. ---
enum { IG_TRIE_MAX_NODES = 1 << 24, IG_TRIE_NONE = -1 };
typedef struct ig_trie_edge {
  uint32_t key;  // node << 8 | byte
  uint32_t to;   // 0: empty
} ig_trie_edge;
typedef struct ig_trie {
  ig_trie_edge *edges;  // [mask + 1]
  uint32_t mask;
  int32_t *values;  // [n_nodes] or IG_TRIE_NONE
  size_t n_nodes, nodes_capacity;
} ig_trie;
// `key` not empty. *was: the value that the key had before, which stays, else IG_TRIE_NONE.
ig_status ig_trie_add(ig_trie *t, const char *key, size_t n, int32_t value, int32_t *was);
int32_t ig_trie_find(const ig_trie *t, const char *key, size_t n);
void ig_trie_fini(ig_trie *t);

static inline uint32_t ig_trie_slot(const ig_trie *t, uint32_t key) {
  return (uint32_t)((key * UINT64_C(0x9e3779b97f4a7c15)) >> 32) & t->mask;
}
// The node behind `byte`, 0 where there is none.
static inline uint32_t ig_trie_step(const ig_trie *t, uint32_t node, uint8_t byte) {
  const uint32_t key = node << 8 | byte;
  for (uint32_t i = ig_trie_slot(t, key);; i = (i + 1) & t->mask) {
    if (t->edges[i].to == 0)
      return 0;
    if (t->edges[i].key == key)
      return t->edges[i].to;
  }
}

// --- tokens that are looked for before (or, `normalized`, after) the normalizer ---
typedef struct ig_added {
  char *content;
  int32_t id;
  bool special, single_word, lstrip, rstrip, normalized;
} ig_added;
typedef struct ig_added_set {
  ig_trie trie;  // value: index into ig_tokenizer.added
  bool first[256];
  int only_first;  // the one byte that all begin with, or -1
  size_t n;
} ig_added_set;
// A token in a text, white space that its flags take included; `next`: where the search goes on (start it at 0).
typedef struct ig_added_match {
  size_t begin, end, next;
  int32_t index;
} ig_added_match;
ig_status ig_added_set_add(ig_added_set *s, const char *key, size_t n, int32_t index, int32_t *was);
// done: where the previous one ended; false at the end.
bool ig_added_next(const ig_tokenizer *t, const ig_added_set *s, const uint8_t *text, size_t n, size_t done,
                   ig_added_match *m);

// --- post-processor ---
typedef struct ig_piece {
  int sequence;  // 0: first text, 1: second, -1: a special token
  int32_t id;
  uint8_t type;
} ig_piece;
typedef struct ig_template {
  ig_piece *pieces;
  size_t n, capacity;
  size_t n_special;
} ig_template;

struct ig_tokenizer {
  char *path;
  ig_normalizer_flags flags;
  bool has_normalizer, has_decoder, cleanup;
  char *prefix;
  char *unk_token;
  size_t max_chars;  // of a word
  int32_t unk, pad, cls, sep, mask;
  int max_length;
  bool cut_left;   // texts that are too long lose their first tokens
  bool side_said;  // by tokenizer_config.json, against which tokenizer.json's does not count
  char *warning;   // what the user should know of the files, or NULL

  char **tokens;  // [n_tokens], NULL where an id is of no token
  char **shown;   // [n_tokens] or NULL: texts in normal form of added tokens that are found in normalized text
  size_t n_tokens, tokens_capacity;
  ig_trie vocabulary;
  size_t n_vocabulary;  // tokens of the model, without those that were only added
  uint32_t behind;      // node of the prefix: where pieces inside of a word start; 0 with a prefix: there are none
  bool can_continue;

  ig_added *added;
  size_t n_added, added_capacity;
  ig_added_set raw, normalized;
  ig_trie added_names;
  uint8_t *is_special;  // [n_tokens]

  ig_template single, pair;
  ig_unicode unicode;
  ig_charmap map, split_map;  // with the flags; with none, for text that is normalized
  char fingerprint[65];
  uint64_t serial;  // of the fingerprint: whose words a cache holds
};

// --- vocab.c ---
ig_status ig_tokenizer_new(const char *path, ig_tokenizer **out);  // empty, with BERT's defaults
// Takes a token of the model. IG_ERR_FORMAT: twice, not UTF-8, id out of range.
ig_status ig_vocab_add(ig_tokenizer *t, const char *token, int32_t id);
ig_status ig_vocab_add_special(ig_tokenizer *t, const ig_added *added);  // content is copied
// Tables, tries and fingerprint from what was read.
ig_status ig_tokenizer_seal(ig_tokenizer *t);
ig_status ig_vocab_read(const char *path, ig_tokenizer *t);
// [CLS] A [SEP], [CLS] A [SEP] B [SEP].
ig_status ig_template_bert(ig_tokenizer *t, int32_t cls, int32_t sep);
ig_status ig_template_add(ig_template *p, int sequence, int32_t id, uint8_t type);

// --- tokenizer_json.c ---
ig_status ig_tokenizer_json_read(const char *path, ig_tokenizer *t);
// --- tokenizer_config.c: names of the special tokens, model_max_length, truncation_side, and flags where it says them
// ---
typedef struct ig_token_names {
  char *unk, *cls, *sep, *pad, *mask;  // NULL: not said; "": there is none
} ig_token_names;
void ig_token_names_fini(ig_token_names *n);
// A file of JSON as an object. *out stays NULL where there is no such file.
ig_status ig_json_object_read(const char *path, size_t flags, json_t **out);
// config: NULL where there is none. flags: take do_lower_case and the others, too.
ig_status ig_tokenizer_config_read(const json_t *config, const char *path, bool flags, ig_tokenizer *t,
                                   ig_token_names *names);
// Where flags that config says are not those of tokenizer.json, which t has: t->warning.
ig_status ig_tokenizer_config_compare(const json_t *config, const char *path, const char *json_path, ig_tokenizer *t);
// --- saved_tokens.c: tokens that files beside a vocab.txt (whose tokens t has) name; config: tokenizer_config.json,
// read, or NULL. Names that they say replace those in `names`. ---
ig_status ig_saved_tokens_read(const char *config_path, const json_t *config, ig_tokenizer *t, ig_token_names *names);

// --- wordpiece.c: tokens of one text, as encode.c collects them ---
typedef struct ig_word_cache ig_word_cache;
typedef struct ig_pieces {
  int32_t *ids;
  uint32_t *begin, *end;
  int32_t *word;
  size_t n, capacity, n_first;  // n_first: those of the first text
} ig_pieces;
typedef struct ig_word_counts ig_word_counts;
typedef struct ig_work {
  ig_pieces pieces;
  uint8_t *word;  // bytes of the present word, with IG_WORD_MARGIN more
  size_t word_capacity;
  uint32_t *origin;  // [word_capacity] place of each byte
  size_t origin_capacity;
  ig_normalized normalized;
  ig_word_cache *cache;
  ig_word_counts *counts;  // where words are counted and not split into pieces (training)
  uint64_t serial;
  size_t n_invalid;
  size_t encoding_capacity, offsets_capacity;  // of the caller's arrays
} ig_work;
enum { IG_WORD_MARGIN = 64 };
ig_status ig_work_of(ig_encoding *e, const ig_tokenizer *t, ig_work **out);
// A word of n bytes in w->word (n_chars code points, whose first places are `first` and `last`, the rest in w->origin).
ig_status ig_wordpiece(const ig_tokenizer *t, ig_work *w, size_t n, size_t n_chars, uint32_t first, uint32_t last,
                       int32_t number, bool offsets);
ig_status ig_pieces_room(ig_pieces *p, size_t more);

// --- count.c: how often each word stands in a text ---
typedef struct ig_counted {
  size_t at;  // of its bytes
  uint32_t n_bytes, hash;
  int64_t count;
} ig_counted;
struct ig_word_counts {
  char *bytes;
  size_t n_bytes, bytes_capacity;
  ig_counted *words;
  size_t n, capacity;
  uint32_t *slots;  // [mask + 1] index + 1 of a word
  size_t mask;
  uint64_t n_invalid;  // byte sequences of the files that were no UTF-8
};
ig_status ig_count_word(ig_word_counts *c, const uint8_t *word, size_t n, int64_t times);
// The words of files, by all threads, in byte order.
ig_status ig_count_files(const ig_tokenizer *t, const char *const *files, size_t n_files, int threads,
                         ig_word_counts *out);
void ig_word_counts_fini(ig_word_counts *c);
// --- merge.c: words as symbols, and what is merged of them ---
typedef struct ig_symbols {
  ig_text *tokens;  // [n] text of each, "##" included
  size_t n, capacity;
  ig_trie names;
} ig_symbols;
ig_status ig_symbols_add(ig_symbols *s, const char *text, size_t n, int32_t *id);
void ig_symbols_fini(ig_symbols *s);
typedef struct ig_merge_word {
  uint32_t *symbols;
  uint32_t n;
  int64_t count;
} ig_merge_word;
// Merges pairs until there are `vocabulary` tokens or no pair is as frequent as min_frequency.
ig_status ig_merge_words(ig_merge_word *words, size_t n_words, size_t prefix_bytes, size_t vocabulary,
                         int64_t min_frequency, ig_symbols *symbols);

// --- split.c: a text, added tokens and all, into w->pieces. number: that of the next word; fixed: words have it all.
// ---
ig_status ig_split(const ig_tokenizer *t, ig_work *w, const uint8_t *text, size_t n, bool offsets, bool fixed,
                   int32_t *number);

#ifdef __cplusplus
}
#endif
#endif
