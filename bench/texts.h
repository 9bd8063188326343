// A synthetic batch of packed texts: random ids, lengths by a fixed table. Rule: a pure function of its options; every
// number is drawn, none is zero for convenience.
#ifndef IG_BENCH_TEXTS_H
#define IG_BENCH_TEXTS_H

#include "models/bert.h"
#include "runtime/data/loader.h"

typedef enum ig_lengths { IG_LENGTHS_FULL, IG_LENGTHS_BANKING77, IG_LENGTHS_CORPUS } ig_lengths;

typedef struct ig_texts_options {
  const ig_bert_spec *spec;
  int batch, max_length;
  ig_lengths lengths;
  bool mlm;  // masked rows and pairs; else classes
  int classes;
  uint64_t seed;
} ig_texts_options;

typedef struct ig_texts {
  ig_texts_options o;
  ig_packed packed;
  ig_batch batch;
  ig_dataset data;        // as the trainer and the evaluator take it: it has one capacity, that of the batch
  ig_token_table tokens;  // of data
  int longest;            // tokens of the longest text: what padding pads to
  int32_t *labels;        // [batch] class, or does the second sentence follow
  float *ones;            // [batch]
} ig_texts;

// IG_ERR_USAGE where the model has too few positions.
ig_status ig_texts_create(const ig_texts_options *options, ig_texts **out);
void ig_texts_destroy(ig_texts *t);  // NULL is fine

#endif
