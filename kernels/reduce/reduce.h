// Sums over leading dimensions, and the sum of squares of a flat buffer. Rule: sums are taken in double, in an order
// that depends on sizes alone.
#ifndef IG_KERNELS_REDUCE_H
#define IG_KERNELS_REDUCE_H

#include "runtime/graph/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

// y[j] = sum_i x[i, j], or the mean, i over the first `leading` dimensions (0 = all: y is [1]). y has the remaining
// dimensions, fp32 (fp64 for fp64).
ig_tensor *ig_sum(ig_graph *g, const char *name, ig_tensor *x, int leading);
ig_tensor *ig_mean(ig_graph *g, const char *name, ig_tensor *x, int leading);
// sum_i x_i^2 of an fp32 tensor as fp64 [1]: the squared norm of gradients, which fp32 would round and overflow.
ig_tensor *ig_sum_squares(ig_graph *g, const char *name, ig_tensor *x);

#ifdef __cplusplus
}
#endif
#endif
