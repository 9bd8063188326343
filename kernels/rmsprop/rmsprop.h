// RMSprop as torch.optim.RMSprop.
#ifndef IG_KERNELS_RMSPROP_H
#define IG_KERNELS_RMSPROP_H

#include "kernels/optim_util/optim_util.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ig_rmsprop_attr {
  double alpha, eps, momentum;
  bool centered;
} ig_rmsprop_attr;

// g += wd w; v = a v + (1-a) g^2; centered: c = a c + (1-a) g; r = g / (sqrt(v - c^2) + eps); momentum: b = mu b + r,
// w -= lr b, else w -= lr r. moment[0]: v, moment[1]: c or NULL, moment[2]: b or NULL. v - c^2 is not let below 0.
ig_tensor *ig_rmsprop(ig_graph *g, const char *name, const ig_update_operands *o, const ig_rmsprop_attr *attr);

#ifdef __cplusplus
}
#endif
#endif
