// LARS (You, Gitman, Ginsburg 2017) as timm's: each tensor's update scaled by its trust ratio.
#ifndef IG_KERNELS_LARS_H
#define IG_KERNELS_LARS_H

#include "kernels/optim_util/optim_util.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ig_lars_attr {
  double momentum, dampening, trust_coeff, eps;
  bool nesterov;
} ig_lars_attr;

// r = trust_coeff |w| / (|g| + wd |w| + eps) for segments with ADAPT where |w| and |g| are above 0, else 1;
// g = (g + wd w) r; then SGD with momentum, lr outside of the buffer. moment[0]: v, NULL where momentum is 0.
// Norms: double sums over each segment in a fixed order.
ig_tensor *ig_lars(ig_graph *g, const char *name, const ig_update_operands *o, const ig_lars_attr *attr);

#ifdef __cplusplus
}
#endif
#endif
