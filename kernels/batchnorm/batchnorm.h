// Batch normalisation, with the addition and the ReLU that follow it in residual networks. Rule: statistics are fp32 of
// exact quality (var of data with mean 1000 and deviation 1 within 1e-4), and no result depends on the thread count.
#ifndef IG_KERNELS_BATCHNORM_H
#define IG_KERNELS_BATCHNORM_H

#include "runtime/graph/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ig_batchnorm_attr {
  float eps;       // added to the variance; PyTorch 1e-5
  float momentum;  // running = (1 - momentum) running + momentum batch; PyTorch 0.1
  bool relu;       // y = max(., 0) at the end
} ig_batchnorm_attr;

// y = relu?((x - mean) / sqrt(var + eps) * weight + bias + residual) over channels, the last dimension of x [N,H,W,C].
// residual: NULL or a tensor of x's shape and dtype. sample_weight: NULL or f32 [N]; samples with weight 0 count
// neither in the statistics nor in any gradient (their dx is 0). Parameters f32 [C]: scope.weight (1), scope.bias (0),
// and the state scope.running_mean (0), scope.running_var (1). TRAIN mode: mean and var are the batch's (var biased),
// and the running ones are updated (var unbiased), unless params->is_frozen holds for scope.running_mean. Else: mean
// and var are the running ones. Nodes: scope/stats, scope/update, scope.
ig_tensor *ig_batchnorm(ig_graph *g, const char *scope, ig_tensor *x, ig_tensor *residual, ig_tensor *sample_weight,
                        const ig_batchnorm_attr *attr);

// Between building and differentiating: a ReLU behind an addition keeps a bit for each number, which its backward reads
// in place of y, where the device has kernels that make and read them. Nothing else changes.
ig_status ig_batchnorm_add_masks(ig_graph *g, const ig_device *device);

// Attributes of the row bn_bwd_sums.
typedef struct ig_batchnorm_bwd_attr {
  ig_batchnorm_attr forward;
  bool masked_dy;  // the third result is g, dy behind the ReLU (x's shape), else a dummy [1]
} ig_batchnorm_bwd_attr;

#ifdef __cplusplus
}
#endif
#endif
