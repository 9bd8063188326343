// What loader.c (threads, ring, order) and loader_sample.c (one sample's pixels and draws) share. Rule: a sample's
// content depends on the options, its number and the epoch alone.
#ifndef IG_DATA_LOADER_INTERNAL_H
#define IG_DATA_LOADER_INTERNAL_H

#include <stdatomic.h>

#include "runtime/base/rng.h"
#include "runtime/data/image.h"
#include "runtime/data/loader.h"
#include "runtime/data/loader_aug.h"
#include "runtime/data/resize.h"

// Pixels that stay in memory: originals in training, finished pictures in evaluation. Never changed once published.
typedef struct ig_cached {
  int w, h;
  uint8_t data[];
} ig_cached;

// Decoded pictures by sample number. Slots are written once (compare and swap), read without a lock.
typedef struct ig_picture_cache {
  _Atomic(ig_cached *) *slots;  // NULL without a cache
  size_t n;
  uint64_t budget;
  atomic_uint_least64_t used;
} ig_picture_cache;

ig_status ig_cache_init(ig_picture_cache *c, size_t n, uint64_t budget);
void ig_cache_fini(ig_picture_cache *c);
const ig_cached *ig_cache_get(ig_picture_cache *c, size_t sample);
// Keeps a copy where there is room; first come, first kept.
void ig_cache_put(ig_picture_cache *c, size_t sample, const uint8_t *data, int w, int h);

// The sample's place in the part at a place of the training order: a keyed permutation per epoch.
static inline uint64_t ig_order_at(uint64_t seed, uint64_t n, uint64_t place) {
  return ig_permute(ig_hash_mix(ig_hash_mix(seed, ig_hash_str("order")), place / n), n, place % n);
}

// Makes whole batches, of what is not pictures: one thread a batch, without the loader's lock. Rule: what a batch holds
// is a function of state and position alone. A kind of data set that has one fills this in for ig_loader_create.
typedef struct ig_batch_source {
  void *state;
  uint64_t n;                                         // samples of an epoch
  uint64_t first;                                     // where a part is a range of sample numbers: its first
  ig_status (*init)(const void *state, ig_batch *b);  // memory for the largest batch; labels to weights are there
  ig_status (*fill)(const void *state, ig_batch *b, int64_t position);  // all of b but n, epoch and position
  void (*fini_batch)(ig_batch *b);                                      // of what init made
  void (*fini)(void *state);
} ig_batch_source;
ig_status ig_text_source(const ig_loader_options *options, ig_batch_source *out);  // text_batch.c
ig_status ig_mlm_source(const ig_loader_options *options, ig_batch_source *out);   // mlm_batch.c

// Lengths of the samples of a part, for the search of capacities (text_ladder.c).
typedef struct ig_lengths {
  const void *of;
  ig_part part;
  uint64_t n;
  int64_t (*at)(const struct ig_lengths *l, uint64_t place);  // tokens of the sample at a place of the part, at most
  bool train;                                                 // the order is that of training
  bool repeats;                                               // a batch may go over an epoch's end
} ig_lengths;
ig_status ig_lengths_ladder(const ig_lengths *l, int batch, uint64_t seed, int64_t rungs[IG_MAX_RUNGS], int *n);

// Working memory of one thread.
typedef struct ig_sample_work {
  ig_image image, rotated;
  ig_resize resize;
} ig_sample_work;
void ig_sample_work_fini(ig_sample_work *w);

// What the pixels of a sample are made of.
typedef struct ig_sample_source {
  const ig_loader_options *options;
  ig_picture_cache *cache;
  const int *fds;            // CIFAR: one open file for each of paths
  const char *const *paths;  // compared by address
  size_t n_paths;
} ig_sample_source;

// Fills pixels [image_size, image_size, 3] and the aug row of a sample, without the mix.
ig_status ig_sample_make(const ig_sample_source *s, ig_sample_work *w, uint64_t epoch, size_t sample, uint8_t *pixels,
                         float *aug);
// Neutral row.
void ig_sample_neutral(float *aug);
// Draws the mix of a finished batch and fills second_labels, lam, partner and the mix fields.
void ig_batch_mix(const ig_loader_options *o, uint64_t n_samples, ig_batch *b);

#endif
