// The fully connected layer and its two gradients. Rule: leading dimensions of x are rows, whatever their number.
#ifndef IG_KERNELS_LINEAR_H
#define IG_KERNELS_LINEAR_H

#include "runtime/graph/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ig_linear_attr {
  int f32_out;   // linear: y is fp32 where x is a 16-bit type (logits); else y has x's dtype
  int has_bias;  // linear_bwd_weights: the second output is db [V], else a single zero
} ig_linear_attr;

// y[...,v] = sum_d x[...,d] w[v,d] + bias[v]. x [...,D]; w [V,D], fp32 parameter or any float type (a compute copy in
// x's dtype is made where they differ); bias [V] or NULL, fp32 (f64 under f64). y [...,V] in x's dtype.
ig_tensor *ig_linear(ig_graph *g, const char *name, ig_tensor *x, ig_tensor *w, ig_tensor *bias);
// The same with fp32 results where x is a 16-bit type: sums leave the products unrounded.
ig_tensor *ig_linear_f32(ig_graph *g, const char *name, ig_tensor *x, ig_tensor *w, ig_tensor *bias);

// Lengths of a node of one of the three rows: T rows of x, D inputs, V outputs.
typedef struct ig_linear_dims {
  int64_t T, D, V;
} ig_linear_dims;
ig_linear_dims ig_linear_dims_of(const ig_node *n);

#ifdef __cplusplus
}
#endif
#endif
