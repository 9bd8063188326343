// NVIDIA's pre-training shards of BERT: HDF5 files of masked samples (DeepLearningExamples, BERT/PyTorch). Rule: files
// are read as a stranger's (h5_foreign.h: in a child process, at most 2 GiB of numbers), and each number is checked.
//
//   input_ids i4 [N, S], input_mask and segment_ids i1 [N, S], masked_lm_positions and masked_lm_ids i4 [N, P],
//   next_sentence_labels i1 [N] (1 = random next). Gzip. The first masked position 0 ends a row's list.
//   S/P = 128/20, then 512/80. The usual reader takes the files whose names contain `training`, sorted.
#ifndef IG_CKPT_BERT_SHARD_H
#define IG_CKPT_BERT_SHARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

// One shard as its arrays, C order.
typedef struct ig_bert_shard {
  int64_t n;                                     // rows
  int length, max_masked;                        // S, P
  int32_t *input_ids;                            // [n, S]
  int8_t *input_mask, *segment_ids;              // [n, S]
  int32_t *masked_lm_positions, *masked_lm_ids;  // [n, P]
  int8_t *next_sentence_labels;                  // [n]
} ig_bert_shard;
void ig_bert_shard_fini(ig_bert_shard *s);
ig_status ig_bert_shard_init(int64_t n, int length, int max_masked, ig_bert_shard *s);  // all zero

// Reads and checks: types and shapes agree, masks are ones and then zeros, segments 0 or 1, positions ascend within the
// row's tokens, ids >= 0 (the vocabulary is the caller's to check: largest_id). IG_ERR_NOT_FOUND, IG_ERR_FORMAT with
// file, dataset, row, found and expected.
ig_status ig_bert_shard_read(const char *path, ig_bert_shard *out, int32_t *largest_id);
// Writes atomically, gzip; same rows, same bytes.
ig_status ig_bert_shard_write(const char *path, const ig_bert_shard *s);

// All shards of a folder (or one file) as one table of rows, kept trimmed in memory: tokens as they are, no padding.
typedef struct ig_bert_rows ig_bert_rows;
typedef struct ig_bert_row {
  int n, n_first;  // tokens, and those of the first segment ([CLS] a [SEP])
  int n_masked;
  int32_t next;
  const int32_t *ids;              // [n] masked already
  const int32_t *masked, *labels;  // [n_masked]
} ig_bert_row;
// vocabulary: ids must be below it; 0 = any. IG_ERR_DATA where the folder has no such file.
ig_status ig_bert_rows_open(const char *path, int32_t vocabulary, ig_bert_rows **out);
void ig_bert_rows_close(ig_bert_rows *r);
int64_t ig_bert_rows_count(const ig_bert_rows *r);
int ig_bert_rows_longest(const ig_bert_rows *r);     // tokens of the longest row
int ig_bert_rows_max_masked(const ig_bert_rows *r);  // of any row
size_t ig_bert_rows_files(const ig_bert_rows *r);
const char *ig_bert_rows_fingerprint(const ig_bert_rows *r);  // SHA-256 over names and contents of the files
void ig_bert_rows_get(const ig_bert_rows *r, int64_t i, ig_bert_row *out);
// True where `path` is such a file, or a folder that holds one, by names only.
bool ig_is_bert_shards(const char *path);

#ifdef __cplusplus
}
#endif
#endif
