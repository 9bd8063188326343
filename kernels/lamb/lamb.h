// LAMB (You et al. 2020) as apex's FusedLAMB and timm's. The division of all gradients by max(1, norm / max_grad_norm)
// is grad_scale's.
#ifndef IG_KERNELS_LAMB_H
#define IG_KERNELS_LAMB_H

#include "kernels/optim_util/optim_util.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ig_lamb_attr {
  double beta1, beta2, eps;
} ig_lamb_attr;

// m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2; u = m^ / (sqrt(v^) + eps) + wd w, bias corrected in double; r = |w| / |u|
// for segments with ADAPT where both norms are above 0, else 1; w -= lr r u. moment[0]: m, moment[1]: v.
ig_tensor *ig_lamb(ig_graph *g, const char *name, const ig_update_operands *o, const ig_lamb_attr *attr);

#ifdef __cplusplus
}
#endif
#endif
