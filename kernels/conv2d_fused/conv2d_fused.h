// The convolution of inference: batch normalisation of fixed statistics is folded into its weights and bias, and the
// addition and the ReLU behind it happen before the sums are written. Rule: a graph that is differentiated has none of
// these rows; they come from the pass below alone. Shapes and attributes: kernels/conv2d/conv2d.h.
#ifndef IG_KERNELS_CONV2D_FUSED_H
#define IG_KERNELS_CONV2D_FUSED_H

#include "kernels/batchnorm/batchnorm.h"
#include "kernels/conv2d/conv2d.h"

#ifdef __cplusplus
extern "C" {
#endif

// Rewrites every bn_apply with fixed statistics whose x is a convolution that nothing else reads:
//   conv2d(x, w, b) -> bn_apply   becomes   bn_fold(w, gamma, beta, mean, var, b) -> conv2d_fused(x, w', b', residual)
// w'[k] = w[k] s[k], b'[k] = beta[k] + (b[k] - mean[k]) s[k], s = gamma / sqrt(var + eps). Where spaces are stable the
// fold is part of ig_plan_refresh. Does nothing where a device of that kind has no conv2d_fused. Call it after the
// graph is built and before it is planned. Sets *n_folded (NULL: not wanted).
ig_status ig_graph_fold_batchnorm(ig_graph *g, ig_device_kind kind, int *n_folded);

#ifdef __cplusplus
}
#endif
#endif
