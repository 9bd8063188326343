// Rows of a table by index, and the table's gradient. Rule: an index outside of the table gives NaN, never a read out
// of bounds, and no gradient.
#ifndef IG_KERNELS_EMBEDDING_H
#define IG_KERNELS_EMBEDDING_H

#include "runtime/graph/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

// y[t] = table[ids[t]] (+ addend[t]), in the graph's compute type; the sum is rounded once. table [V,D], an fp32
// parameter (or the compute type); ids i32 [T]; addend [T,D], any float type, or NULL. The table's gradient is fp32,
// dense [V,D]: the rows of one id are added in the order of t, and that sum to an addend where the row has one.
ig_tensor *ig_embedding(ig_graph *g, const char *name, ig_tensor *table, ig_tensor *ids, ig_tensor *addend);

// Attribute of the row embedding_bwd: rows of the table.
typedef struct ig_embedding_bwd_attr {
  int64_t V;
} ig_embedding_bwd_attr;

#ifdef __cplusplus
}
#endif
#endif
