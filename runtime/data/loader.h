// Batches of pictures, decoded and cut ahead of time by own threads, or of packed texts. Rule: what a batch holds is a
// pure function of (seed, epoch, position, sample); the number of threads and their timing change nothing.
#ifndef IG_DATA_LOADER_H
#define IG_DATA_LOADER_H

#include "runtime/data/dataset.h"

#ifdef __cplusplus
extern "C" {
#endif

#define IG_AUG_FIELDS 16  // columns of ig_batch.aug: enum ig_aug_field of kernels/picture/picture.h

enum { IG_MAX_RUNGS = 8 };

// Ranges of the drawn augmentation; all zero (scale 1..1) = none.
typedef struct ig_augment {
  double crop_scale_min, crop_scale_max;  // share of the picture's area; 1, 1: no crops
  bool flip, vflip, transpose;            // each with probability 1/2
  double rotate;                          // degrees, uniform in +-
  double jitter;                          // brightness, contrast and saturation uniform in 1 +- jitter
  double erase;                           // probability; area 2 to 20 %, ratio 0.3 to 3.3
  double mixup, cutmix;  // Beta(a, a); 0 = off; where both are on, each batch sample takes one by a coin
} ig_augment;

// Geometry of evaluation: the whole picture resized (antialiased) to image_size x image_size, or with crop_ratio > 0
// the shorter side to round(image_size / crop_ratio) and the centre image_size x image_size (torchvision: 0.875).
typedef struct ig_loader_options {
  size_t size;  // sizeof(ig_loader_options)
  const ig_dataset *data;
  ig_part part;
  bool train;              // shuffled, augmented, endless over epochs; else in order, neutral, padded at the end
  int batch;               // samples a batch
  int image_size;          // pictures; texts: not read
  double eval_crop_ratio;  // 0 = whole picture
  ig_augment augment;      // train only
  uint64_t seed;
  int threads;                                 // >= 1
  int64_t rungs[IG_MAX_RUNGS];                 // texts: capacities of batches, ascending (text_batch.h) ...
  int n_rungs;                                 // ... and how many; 0 = ig_text_ladder's
  const struct ig_mlm *mlm;                    // of a corpus: the samples (mlm.h); NULL = the data set's own
  uint64_t cache_bytes;                        // budget for decoded pictures kept in memory; 0 = none
  bool strict;                                 // an unreadable sample is an error, not skipped
  double max_unreadable;                       // share of the part that may be unreadable before the run stops (0.01)
  void (*warn)(void *user, const char *text);  // each unreadable sample once
  void *warn_user;
} ig_loader_options;

// Texts of a batch, packed: token after token, sequence after sequence, nothing padded. Rows past the last token have
// id, type and position 0 and belong to no sequence.
typedef struct ig_packed {
  int64_t capacity;                  // rows: a rung of the ladder (text_batch.h), the least one that holds the batch
  int64_t n_tokens;                  // rows that are real
  int32_t *ids, *types, *positions;  // [capacity]
  uint64_t *row_keys;                // [capacity] what dropout draws by: place in the training order << 16 | position
  int32_t *cu_seqlens;  // [batch + 1] first row of each sequence, then n_tokens; sequences without a sample are empty
  int32_t *first;       // [batch] row of the sequence's first token ([CLS]); -1 without a sample
  int32_t *labels;      // [capacity] tag: class of each row, -100 = does not count; NULL otherwise
  // mlm: rows that are predicted. Of the last rows of these arrays that are not used, masked is -1 and the weight 0.
  int64_t n_masked, masked_capacity;
  int32_t *masked, *masked_labels;  // [masked_capacity]; NULL otherwise
  float *masked_weights;            // [masked_capacity] 1 or 0
} ig_packed;

// A batch; owned by the loader, valid until the next call of ig_loader_next.
typedef struct ig_batch {
  int n;                    // rows that are real; the rest has weight 0 (evaluation's last batch)
  uint8_t *pictures;        // [batch, image_size, image_size, 3] RGB; NULL for texts, aug and partner likewise
  const ig_packed *packed;  // texts; NULL for pictures
  int32_t *labels;          // [batch]; 0 where weight is 0
  int32_t *second_labels;   // [batch] mixup, cutmix: the partner's label (else the own)
  float *targets;           // [batch, n_classes] of regress and multilabel, mixed already; NULL for classify
  float *lam;               // [batch] weight of the own label (1 without a partner)
  float *weights;           // [batch] 1, or 0 for padding and unreadable samples
  float *aug;               // [batch, IG_AUG_FIELDS]
  int32_t *partner;         // [batch] row of the partner (own row without)
  uint64_t *samples;        // [batch] sample numbers
  int64_t epoch;            // of its first sample
  int64_t position;         // samples of the training order before this batch, counted from epoch 0
} ig_batch;

typedef struct ig_loader ig_loader;
ig_status ig_loader_create(const ig_loader_options *options, ig_loader **out);
void ig_loader_destroy(ig_loader *l);
// Train: endless; a batch that crosses an epoch's end takes its rest from the next epoch (no ragged batch, nothing
// dropped). Evaluation: *batch = NULL after the last one. IG_ERR_IO when too much is unreadable (49),
// IG_ERR_DATA when strict.
ig_status ig_loader_next(ig_loader *l, const ig_batch **batch);
// Goes to `position` (samples since epoch 0; evaluation: 0 restarts). O(1).
ig_status ig_loader_seek(ig_loader *l, int64_t position);
// Sample number at a position of the training order: keyed permutation per epoch.
uint64_t ig_loader_sample_at(const ig_loader *l, int64_t position);
// ns that ig_loader_next has waited for data so far, and bytes of the decoded-picture cache in use.
uint64_t ig_loader_wait_ns(const ig_loader *l);
uint64_t ig_loader_cache_bytes(const ig_loader *l);
// Unreadable samples found so far (each once): count, and sample number and reason of the i-th.
size_t ig_loader_unreadable(const ig_loader *l);
uint64_t ig_loader_unreadable_sample(const ig_loader *l, size_t i, const char **reason);

// One picture file as the loader would deliver it for evaluation (predict): pixels [image_size, image_size, 3].
ig_status ig_picture_load(const char *path, int image_size, double eval_crop_ratio, uint8_t *pixels);

#ifdef __cplusplus
}
#endif
#endif
