// Layer normalisation, alone or behind dropout and the addition of a residual. Rule: statistics are fp32 sums over the
// row in two passes (deviations from the mean, not E[x^2] - m^2), made again from the row wherever they are needed:
// a row lies in the first-level cache, so that neither y nor mean and variance are kept for backward, only the sum.
#ifndef IG_KERNELS_LAYERNORM_H
#define IG_KERNELS_LAYERNORM_H

#include "runtime/graph/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

// y = (x - mean) / sqrt(var + eps) gamma + beta over the last dimension, var biased. x [T,D]; gamma, beta [D], fp32
// (f64 under f64). y in x's type; cheap: recomputation makes it again from x.
ig_tensor *ig_layernorm(ig_graph *g, const char *name, ig_tensor *x, ig_tensor *gamma, ig_tensor *beta, float eps);

// y = layernorm(residual + dropout(x)). x, residual [T,D] of one type; p in [0,1], no dropout for p = 0 and in EVAL
// mode; step_state u64 [4]; row_keys u64 [T] or NULL, as for ig_dropout_rows. Nodes: name/sum, name. What is kept for
// backward is the sum (it is x's memory); backward draws the mask again and is one pass over memory.
ig_tensor *ig_dropout_add_layernorm(ig_graph *g, const char *name, ig_tensor *x, ig_tensor *residual, ig_tensor *gamma,
                                    ig_tensor *beta, float eps, float p, ig_tensor *step_state, ig_tensor *row_keys);

// Attribute of the rows layernorm and layernorm_bwd.
typedef struct ig_layernorm_attr {
  float eps;
  float p;       // layernorm_bwd: of the dropout in front of the sum
  bool dropout;  // layernorm_bwd: dx = dropout(ds) is the second result [T,D], else a dummy [1]
} ig_layernorm_attr;

#ifdef __cplusplus
}
#endif
#endif
