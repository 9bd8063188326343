// Adam and AdamW as torch's.
#ifndef IG_KERNELS_ADAM_H
#define IG_KERNELS_ADAM_H

#include "kernels/optim_util/optim_util.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ig_adam_attr {
  double beta1, beta2, eps;
  bool decoupled;  // AdamW: w *= 1 - lr wd first; else g += wd w
} ig_adam_attr;

// m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2; w -= lr (m / (1-b1^t)) / (sqrt(v / (1-b2^t)) + eps); moment[0]: m,
// moment[1]: v. Bias corrections are computed in double. Kingma and Ba 2015; Loshchilov and Hutter 2019.
ig_tensor *ig_adam(ig_graph *g, const char *name, const ig_update_operands *o, const ig_adam_attr *attr);

#ifdef __cplusplus
}
#endif
#endif
