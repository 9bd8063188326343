// Casts and changes of layout: the one op whose output layout the plan asks for. Rule: values change only by rounding
// to the new type.
#ifndef IG_KERNELS_REORDER_H
#define IG_KERNELS_REORDER_H

#include "runtime/graph/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

// y = x in another element type (round to nearest even); x itself where it has that type already. The gradient comes
// back in x's type; one that already is in it passes as it is.
ig_tensor *ig_reorder(ig_graph *g, const char *name, ig_tensor *x, ig_dtype dtype);

// A weight in the graph's compute type: w itself where equal, else one node "<w>/<type>" shared by all uses of w.
ig_tensor *ig_compute_copy(ig_graph *g, ig_tensor *w);

// dst = src between PLAIN and BLOCKED_C (rank 4) in any element types, by plain loops over threads. Channels that pad
// the last block are written as zero.
ig_status ig_reorder_loops(const ig_shape *shape, void *dst, ig_dtype dst_type, ig_layout dst_layout, const void *src,
                           ig_dtype src_type, ig_layout src_layout, int threads);

#ifdef __cplusplus
}
#endif
#endif
