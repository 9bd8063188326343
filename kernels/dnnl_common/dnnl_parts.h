// Reductions over the batch that no number of threads changes: the batch in fixed contiguous parts, a single-threaded
// primitive each, their results added in a binary tree. Rule: parts depend on (samples, shards) alone.
#ifndef IG_KERNELS_DNNL_PARTS_H
#define IG_KERNELS_DNNL_PARTS_H

#include "kernels/dnnl_common/dnnl_common.h"

#ifdef __cplusplus
extern "C" {
#endif

// Number of parts: shards, doubled while below 8 so that threads have work, never more than samples. Doubling splits
// each shard within itself, so that the tree over the parts contains the tree over the shards.
int ig_dnnl_part_count(int64_t samples, int shards);

// Primitive descriptor of a part of so many samples; called once a size, under one thread. All parts' results must have
// the same layout.
typedef ig_status (*ig_dnnl_part_fn)(void *user, dnnl_engine_t engine, int64_t samples, dnnl_primitive_desc_t *out);

typedef struct ig_dnnl_parts_options {
  const ig_device_caps *caps;
  int64_t samples;
  int n_parts;
  int n_ids;               // 2 operands that are cut along the batch, then 1 or 2 fp32 results
  const int *ids;          // DNNL_ARG_...
  size_t sample_bytes[2];  // of the two operands
  ig_dnnl_part_fn make;
  void *user;
} ig_dnnl_parts_options;

typedef struct ig_dnnl_parts ig_dnnl_parts;
ig_status ig_dnnl_parts_create(const ig_dnnl_parts_options *o, ig_dnnl_parts **out);
void ig_dnnl_parts_destroy(ig_dnnl_parts *p);  // NULL is fine
size_t ig_dnnl_parts_workspace(const ig_dnnl_parts *p);
// data: the addresses in the order of ids.
ig_status ig_dnnl_parts_run(ig_dnnl_parts *p, void *const *data, void *workspace);

#ifdef __cplusplus
}
#endif
#endif
