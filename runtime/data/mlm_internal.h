// What the table of chunks (mlm.c) and the drawing of samples (mlm_sample.c) share. Rule: nothing here changes after
// ig_mlm_create.
#ifndef IG_DATA_MLM_INTERNAL_H
#define IG_DATA_MLM_INTERNAL_H

#include "runtime/data/mlm.h"

enum { MLM_LONGEST = 65536, MLM_SPECIAL = 1, MLM_CONTINUES = 2 };

struct ig_mlm {
  ig_mlm_options o;  // max_masked set
  ig_corpus_info corpus;
  int room;         // tokens of a chunk at most
  uint64_t *start;  // [n + 1] first token of each chunk, in the corpus's order; the last is its end
  uint64_t *val;    // [n_val] chunks that are held out, ascending
  uint64_t n, n_val;
  int32_t vocabulary, cls, sep, mask;
  const ig_mlm_given *given;      // in place of a corpus: a copy, owned
  uint8_t *kind;                  // [vocabulary] MLM_SPECIAL, MLM_CONTINUES: a later piece of a word
  int32_t special[5], n_special;  // ascending
};

uint64_t ig_mlm_chunk_of(const ig_mlm *m, uint64_t sample);

#endif
