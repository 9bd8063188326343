// Batches of texts: which capacities (rows) plans are made for, and how samples are packed into one. Rule: both are
// pure functions of the tokens, the part, the batch and the seed.
#ifndef IG_DATA_TEXT_BATCH_H
#define IG_DATA_TEXT_BATCH_H

#include "runtime/data/loader.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { IG_ROW_MULTIPLE = 16 };  // capacities are multiples of it

// Capacities of batches of `batch` samples, ascending. The last holds the longest samples of the part (training: as
// often as they can come in a batch that goes over an epoch's end), so that every batch fits. The others are those that
// cost the fewest rows over the batches of the training order (two epochs, or 4096 batches where that is more; at most
// 2^20 samples), of other parts over those in order; no more than bring the waste below 2 %. d must be tokenised.
// Waste measured (tests/text_batch_test.cc; BERT's vocabulary, at most 128 tokens), banking77 and SST-2: batch 16: 5.0
// and 6.3 %; 32: 3.5 and 4.4 %; 64: 2.5 and 3.2 %. With 12 capacities it would be 3.3 and 3.9, 2.2 and 2.8, 1.9 and 2.0
// %.
ig_status ig_text_ladder(const ig_dataset *d, ig_part part, int batch, uint64_t seed, int64_t rungs[IG_MAX_RUNGS],
                         int *n);
// Rows of words to predict (mlm) that a batch of a capacity needs at most: what its tokens can have masked, in eights.
int64_t ig_text_masked_rows(const ig_dataset *d, int batch, int64_t capacity);
// Rows computed for nothing, as a share of all, over those same batches.
ig_status ig_text_waste(const ig_dataset *d, ig_part part, int batch, uint64_t seed, const int64_t *rungs, int n,
                        double *waste);

#ifdef __cplusplus
}
#endif
#endif
