// SGD with momentum as torch.optim.SGD: the learning rate stays outside of the buffer.
#ifndef IG_KERNELS_SGD_H
#define IG_KERNELS_SGD_H

#include "kernels/optim_util/optim_util.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ig_sgd_attr {
  double momentum, dampening;
  bool nesterov;
} ig_sgd_attr;

// g += wd w; v = mu v + (1 - dampening) g, at step 1 v = g; w -= lr (nesterov ? g + mu v : v). moment[0]: v, NULL where
// momentum is 0 (then w -= lr g). Source: torch.optim.SGD; Sutskever et al. 2013.
ig_tensor *ig_sgd(ig_graph *g, const char *name, const ig_update_operands *o, const ig_sgd_attr *attr);

#ifdef __cplusplus
}
#endif
#endif
