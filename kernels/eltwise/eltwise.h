// Elementwise ops: sums, products, activations, fills. Rule: all operands have one shape; a 16-bit operand is widened,
// computed on in fp32 and rounded once.
#ifndef IG_KERNELS_ELTWISE_H
#define IG_KERNELS_ELTWISE_H

#include "runtime/graph/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

// y = a + b; y = t_0 + ... + t_(n-1) (n >= 1; added in this order). The result has the widest operand's dtype.
ig_tensor *ig_add2(ig_graph *g, const char *name, ig_tensor *a, ig_tensor *b);
ig_tensor *ig_add(ig_graph *g, const char *name, int n, ig_tensor *const *ts);
ig_tensor *ig_mul(ig_graph *g, const char *name, ig_tensor *a, ig_tensor *b);        // y = a * b
ig_tensor *ig_scale(ig_graph *g, const char *name, ig_tensor *x, float factor);      // y = factor * x
ig_tensor *ig_relu(ig_graph *g, const char *name, ig_tensor *x);                     // max(x, 0); NaN stays
ig_tensor *ig_leaky_relu(ig_graph *g, const char *name, ig_tensor *x, float slope);  // x > 0 ? x : slope * x
ig_tensor *ig_sigmoid(ig_graph *g, const char *name, ig_tensor *x);                  // 1 / (1 + exp(-x))
ig_tensor *ig_tanh(ig_graph *g, const char *name, ig_tensor *x);
ig_tensor *ig_silu(ig_graph *g, const char *name, ig_tensor *x);       // x sigmoid(x)
ig_tensor *ig_gelu_erf(ig_graph *g, const char *name, ig_tensor *x);   // x/2 (1 + erf(x/sqrt 2))
ig_tensor *ig_gelu_tanh(ig_graph *g, const char *name, ig_tensor *x);  // x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))
// A tensor of x's shape and dtype filled with value; no gradient flows to x.
ig_tensor *ig_fill_like(ig_graph *g, const char *name, ig_tensor *x, double value);
// y += a x over equal shapes, y written in place. Returns the dummy result done[1] that orders it.
ig_tensor *ig_axpy(ig_graph *g, const char *name, ig_tensor *y, ig_tensor *x, float a);

#ifdef __cplusplus
}
#endif
#endif
