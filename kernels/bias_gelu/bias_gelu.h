// GELU behind the addition of a bias. Rule: y is cheap: backward reads x and the bias alone.
#ifndef IG_KERNELS_BIAS_GELU_H
#define IG_KERNELS_BIAS_GELU_H

#include "runtime/graph/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ig_bias_gelu_attr {
  bool tanh_form;
} ig_bias_gelu_attr;

// y = gelu(x + bias): with z = x + bias, z/2 (1 + erf(z/sqrt 2)), or by_tanh z/2 (1 + tanh(sqrt(2/pi) (z +
// 0.044715 z^3))). x [T,D]; bias [D], fp32 (f64 under f64). y in x's type.
ig_tensor *ig_bias_gelu(ig_graph *g, const char *name, ig_tensor *x, ig_tensor *bias, bool by_tanh);

#ifdef __cplusplus
}
#endif
#endif
