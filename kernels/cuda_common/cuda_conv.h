// Convolutions and fully connected layers (1x1 convolutions of one-pixel images) as matrix products on a GPU: planned
// once for a node, then run. Rule: a plan depends on shapes, types and the device's capabilities alone.
#ifndef IG_KERNELS_CUDA_CONV_H
#define IG_KERNELS_CUDA_CONV_H

#include "kernels/conv2d/conv2d.h"
#include "kernels/cuda_common/cuda_gemm.h"

#ifdef __cplusplus
extern "C" {
#endif

// Operands and results as the rows have them: x, w, bias -> y (conv2d_fused: x, w, bias, residual); dy, w -> dx; x, dy
// -> dw, db.
bool ig_cuda_conv_supports(const ig_node *n, const ig_device_caps *caps, ig_conv_pass pass, const ig_conv2d_dims *d,
                           char *why, size_t why_bytes);
// Sets layouts (weights of more than one tap: KRSC), workspace and state. has_bias: the weight pass sums dy into db.
ig_status ig_cuda_conv_prepare(ig_prepare *p, ig_conv_pass pass, const ig_conv2d_dims *d, bool has_bias);
ig_status ig_cuda_conv_run(const ig_launch *l);
void ig_cuda_conv_destroy(void *state);

// One of the products of a fully connected layer (T rows, D inputs, V outputs), for rows that are made of several:
// ig_cuda_conv_run with a launch of this state, whose operands, results and workspace are the product's. fp32 results
// where wide. Operands begin at multiples of 16 bytes. The weight pass writes a zero to its second result.
ig_status ig_cuda_product_create(const ig_prepare *p, ig_conv_pass pass, ig_dtype type, int64_t T, int64_t D, int64_t V,
                                 bool wide, void **state, size_t *workspace_bytes);

#ifdef __cplusplus
}
#endif
#endif
