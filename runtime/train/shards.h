// Between a corpus and NVIDIA's pre-training shards: samples written as shards, and shards as a data set. Rule: floor
// 2's folders do not know each other; what joins runtime/data and runtime/ckpt for shards is here.
#ifndef IG_TRAIN_SHARDS_H
#define IG_TRAIN_SHARDS_H

#include "runtime/ckpt/bert_shard.h"
#include "runtime/data/mlm.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ig_shards_options {
  size_t size;  // sizeof(ig_shards_options)
  const ig_mlm *mlm;
  ig_part part;
  const char *out;  // folder; made where absent, refused where it holds shards already
  int64_t rows;     // of a file
  int64_t epochs;   // how often every sample is written, each time with masks and pairs of its own
  uint64_t seed;    // of the order
  int32_t pad;      // id behind a row's tokens
  void (*progress)(void *user, const char *line);
  int (*should_stop)(void *user);  // between files; then IG_STOPPED
  void *user;
} ig_shards_options;

typedef struct ig_shards_written {
  int64_t rows, files, tokens, masked, random_next, bytes;
} ig_shards_written;
// Files training_00000.hdf5, ...: all samples of the part in a drawn order. IG_ERR_USAGE, IG_ERR_IO, IG_STOPPED.
ig_status ig_shards_write(const ig_shards_options *options, ig_shards_written *out);

// Shards (ig_bert_rows_open) as a data set of task=mlm. *rows must be closed after the data set.
ig_status ig_shards_dataset(const char *path, int32_t vocabulary, double val_share, uint64_t seed, ig_bert_rows **rows,
                            ig_dataset **out);

#ifdef __cplusplus
}
#endif
#endif
