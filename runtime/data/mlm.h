// Samples for pre-training: masked words, and which of two segments follows the other. Rule: a sample is a pure
// function of (corpus, options, epoch, sample): masks and pairs are drawn anew each epoch, by counters, so that
// threads, ranks and interruptions change nothing.
//
// A document's sentences are gathered into chunks of at most max_length tokens (special ones included) once; a sentence
// that is longer is cut. The chunks tile the corpus: every token is in exactly one. A sample is a chunk:
//   IG_PAIR_NONE   [CLS] chunk [SEP]
//   IG_PAIR_NEXT   [CLS] a [SEP] b [SEP]: a is the chunk up to a drawn sentence (in a chunk of one sentence: a drawn
//                  word); b is its rest (label 0), or in half of the samples (label 1) as many tokens of another
//                  document of the same part, from a drawn sentence on
//   IG_PAIR_ORDER  the same, b always the rest; in half of the samples a and b change places (label 1)
// Of max(1, round(mask_share x maskable tokens)) tokens drawn without order, 80 % become [MASK], 10 % a random token,
// 10 % stay (Devlin et al. 2019). [PAD] [UNK] [CLS] [SEP] [MASK] are neither masked nor drawn. whole_word: all pieces
// of a word or none.
#ifndef IG_DATA_MLM_H
#define IG_DATA_MLM_H

#include "runtime/data/corpus.h"
#include "runtime/data/loader.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum ig_mlm_pair { IG_PAIR_NONE, IG_PAIR_NEXT, IG_PAIR_ORDER } ig_mlm_pair;
const char *ig_mlm_pair_name(ig_mlm_pair pair);                  // "none", "next", "order"
bool ig_mlm_pair_from_text(const char *text, ig_mlm_pair *out);  // false for other words

typedef struct ig_mlm_options {
  size_t size;  // sizeof(ig_mlm_options)
  const ig_corpus *corpus;
  int max_length;  // tokens, special ones included
  ig_mlm_pair pair;
  double mask_share;                // 0.15
  double mask_token, random_token;  // of the chosen ones: 0.8, 0.1
  bool whole_word;
  int max_masked;    // of a sample; 0 = ceil(mask_share x max_length)
  double val_share;  // of the documents, drawn by seed; they are held out as IG_PART_VAL (at least one where > 0)
  uint64_t seed;
} ig_mlm_options;
ig_mlm_options ig_mlm_options_default(void);

typedef struct ig_mlm ig_mlm;

// Samples 0 .. count(train)-1 are the training part's, those from there on the validation part's; in both the order is
// that of the corpus. IG_ERR_USAGE (options), IG_ERR_MISMATCH (a tokenizer without [CLS], [SEP] or [MASK]), IG_ERR_DATA
// (too few documents for pairs or for the held-out part).
ig_status ig_mlm_create(const ig_mlm_options *options, ig_mlm **out);
void ig_mlm_destroy(ig_mlm *m);                        // NULL is fine
uint64_t ig_mlm_count(const ig_mlm *m, ig_part part);  // samples; IG_PART_ALL: of both
int ig_mlm_max_length(const ig_mlm *m);
int ig_mlm_max_masked(const ig_mlm *m);
ig_mlm_pair ig_mlm_pairs(const ig_mlm *m);
// Rows that hold all masked tokens of any batch of `batch` samples and at most `capacity` tokens; a multiple of 8, but
// no more than batch x max_masked.
int64_t ig_mlm_masked_rows(const ig_mlm *m, int batch, int64_t capacity);
// Most tokens that the sample can have in any epoch: chunk and special tokens.
int ig_mlm_length(const ig_mlm *m, uint64_t sample);
// Whether any sample of the part has a token that can be masked. Looks until the first one.
bool ig_mlm_can_mask(const ig_mlm *m, ig_part part);
// The chunk: its first token in the corpus, and how many.
void ig_mlm_chunk(const ig_mlm *m, uint64_t sample, uint64_t *first, int *n);
// SHA-256 over the corpus's fingerprint and all options that decide samples.
void ig_mlm_fingerprint(const ig_mlm *m, char out[65]);

// One sample and the memory to make it in: one a thread. Start it zeroed.
typedef struct ig_mlm_result {
  int n;                 // tokens
  int32_t *ids, *types;  // [n], room for max_length
  int n_masked;
  int32_t *masked, *labels;  // [n_masked] positions, ascending, and the ids that stood there; room for max_masked
  int32_t next;              // label of the pair: 0 = b follows a, 1 = it does not; 0 without pairs
  int32_t *work;             // the sampler's own
  int capacity, masked_capacity;
} ig_mlm_result;
void ig_mlm_result_fini(ig_mlm_result *r);
// Validation samples are the same in every epoch.
ig_status ig_mlm_sample(const ig_mlm *m, int64_t epoch, uint64_t sample, ig_mlm_result *r);

// A batch: rows[0..n) (sample and epoch each, and the place in the training order for the keys of dropout) packed one
// after the other into p, whose arrays have room for the last capacity and for batch x max_masked masked ones. rungs:
// capacities, ascending; p gets the least that holds the batch (IG_ERR_USAGE where none does). next: [batch] labels;
// weights: [batch] 1, or 0 from n on.
typedef struct ig_mlm_row {
  uint64_t sample;
  int64_t epoch, position;
} ig_mlm_row;
ig_status ig_mlm_fill(const ig_mlm *m, const ig_mlm_row *rows, int n, int batch, const int64_t *rungs, int n_rungs,
                      ig_mlm_result *work, ig_packed *p, int32_t *next, float *weights);
// The capacities for batches of `batch` samples of a part, as ig_text_ladder finds them: by the most tokens that each
// sample can have.
ig_status ig_mlm_ladder(const ig_mlm *m, ig_part part, int batch, uint64_t seed, int64_t rungs[IG_MAX_RUNGS], int *n);

// Samples that were masked before, as NVIDIA's shards hold them: the same in every epoch.
typedef struct ig_mlm_given_row {
  int n, n_first, n_masked;        // tokens, those of the first segment, masked ones
  int32_t next;                    // label of the pair
  const int32_t *ids;              // [n] borrowed, as all
  const int32_t *masked, *labels;  // [n_masked] positions ascending
} ig_mlm_given_row;
typedef struct ig_mlm_given {
  size_t size;        // sizeof(ig_mlm_given)
  const void *state;  // must outlive what is made of it
  uint64_t n;         // rows
  void (*get)(const void *state, uint64_t i, ig_mlm_given_row *row);
  int longest, max_masked;  // of any row
  bool pairs;               // their next label counts
  double val_share;         // of the rows, drawn by seed, held out
  uint64_t seed;
  const char *fingerprint;  // of the files
} ig_mlm_given;
// Chunks are rows: ig_mlm_chunk tells (row, tokens). IG_ERR_DATA: too few rows.
ig_status ig_mlm_create_given(const ig_mlm_given *given, ig_mlm **out);

// Samples for a data set of IG_DATASET_CORPUS: sets mlm, n and count, and closes an earlier mlm. options->corpus: NULL
// = the data set's own.
ig_status ig_dataset_mlm(ig_dataset *d, const ig_mlm_options *options);
// A data set of given samples; takes over m.
ig_status ig_dataset_of_mlm(const char *path, const char *fingerprint, ig_mlm *m, ig_dataset **out);

#ifdef __cplusplus
}
#endif
#endif
