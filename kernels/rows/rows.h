// Choice of rows, and means over the rows of sequences. Rule: sums have the order of the rows, whatever the threads.
#ifndef IG_KERNELS_ROWS_H
#define IG_KERNELS_ROWS_H

#include "runtime/graph/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

// y[p] = x[index[p]]; index -1: zeros; any other index outside of [0,T): NaN, and no gradient. x [T,D]; index i32 [P];
// y [P,D] in x's type. The gradient of a row that is chosen several times is added in the order of p. x may be u64
// (keys of rows), which has no gradient, and zeros for every index outside.
ig_tensor *ig_gather_rows(ig_graph *g, const char *name, ig_tensor *x, ig_tensor *index);

// y[b] = mean of rows cu_seqlens[b] .. cu_seqlens[b+1]-1 of x, zeros for an empty sequence. x [T,D]; cu_seqlens i32
// [B+1], cut off where it leaves [0,T] or decreases; y [B,D] fp32 (f64 under f64). Rows of no sequence get zero
// gradients.
ig_tensor *ig_segment_mean(ig_graph *g, const char *name, ig_tensor *x, ig_tensor *cu_seqlens);

// y[t] = the last p with index[p] = t, -1 where there is none: what puts chosen rows back, gather_rows(rows, y). index
// i32 [P]; y i32 [T].
ig_tensor *ig_row_places(ig_graph *g, const char *name, ig_tensor *index, int64_t T);

// Attribute of the rows gather_rows_bwd, segment_mean_bwd and row_places: what x was.
typedef struct ig_rows_bwd_attr {
  int64_t T;
  ig_dtype type;  // segment_mean_bwd
} ig_rows_bwd_attr;

#ifdef __cplusplus
}
#endif
#endif
