// Work over a batch that no number of threads changes: the batch in fixed contiguous parts, a single-threaded primitive
// each; sums over the batch are added in a binary tree. Rule: parts depend on (samples, shards) alone.
#ifndef IG_KERNELS_DNNL_PARTS_H
#define IG_KERNELS_DNNL_PARTS_H

#include "kernels/dnnl_common/dnnl_common.h"

#ifdef __cplusplus
extern "C" {
#endif

// Number of parts of a sum over the batch whose result takes sum_bytes. shards 0: 8. A shard is split further (in two,
// four, eight) where the summands stay small, by its own length alone, so that the tree over the parts contains the
// tree over the shards and ranks that hold some of the shards compute the same bits.
int ig_dnnl_sum_parts(int64_t samples, int shards, size_t sum_bytes);

// Primitive descriptor of a part of so many samples; called once a size, under one thread. All parts' results must have
// the same layout.
typedef ig_status (*ig_dnnl_part_fn)(void *user, dnnl_engine_t engine, int64_t samples, dnnl_primitive_desc_t *out);

// What a part does with an operand. "Samples" may be any dimension that operands are cut along in equal steps.
typedef enum ig_dnnl_part_use {
  IG_DNNL_CUT,     // operand or result: each part its own samples
  IG_DNNL_SHARED,  // operand that all parts read whole
  IG_DNNL_SUM,     // fp32 result that is the sum of the parts'
} ig_dnnl_part_use;

#define IG_DNNL_MAX_PART_IDS 4
typedef struct ig_dnnl_parts_options {
  const ig_device_caps *caps;
  int64_t samples;
  int n_parts;
  int n_ids;
  int ids[IG_DNNL_MAX_PART_IDS];  // DNNL_ARG_...
  ig_dnnl_part_use use[IG_DNNL_MAX_PART_IDS];
  size_t sample_bytes[IG_DNNL_MAX_PART_IDS];  // of those that are cut: from one sample to the next
  ig_dnnl_part_fn make;
  void *user;
} ig_dnnl_parts_options;

typedef struct ig_dnnl_parts ig_dnnl_parts;
ig_status ig_dnnl_parts_create(const ig_dnnl_parts_options *o, ig_dnnl_parts **out);
void ig_dnnl_parts_destroy(ig_dnnl_parts *p);  // NULL is fine
size_t ig_dnnl_parts_workspace(const ig_dnnl_parts *p);
// data: the addresses in the order of ids.
ig_status ig_dnnl_parts_run(ig_dnnl_parts *p, void *const *data, void *workspace);

// One operand set of a chain: the addresses in the order of the ids of its parts.
typedef struct ig_dnnl_link {
  ig_dnnl_parts *parts;
  void *data[IG_DNNL_MAX_PART_IDS];
} ig_dnnl_link;
// Links one after the other within each part, so that its result stays in the cache: the first one writes it, the
// primitives of the others add to it. All have the samples and parts of the first, and no IG_DNNL_SUM. Workspace: the
// largest of theirs.
ig_status ig_dnnl_parts_run_chain(const ig_dnnl_link *links, int n_links, void *workspace);

#ifdef __cplusplus
}
#endif
#endif
