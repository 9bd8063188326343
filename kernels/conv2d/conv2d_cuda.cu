// The three convolution rows and conv2d_fused on a GPU, by implicit matrix products (cuda_common/cuda_conv.h). Rule:
// activations NHWC, weights and their gradient KRSC. What a block and a warp own, bytes, registers and shared memory
// stands with the kernel, kernels/cuda_common/cuda_gemm.cuh.
//
// conv2d_fused is conv2d's kernel with its end on: a block owns its tile of y, a lane 8 neighbouring results, to which
// it adds bias and residual, and cuts at 0, before it rounds and writes them; y may lie where the residual lay, for the
// lane that writes an element is the one that has read it. Bytes: x, w, bias, residual once, y once; without the fusion
// y goes to memory and back twice more (bn_apply reads and writes it). Registers as conv2d's (docs/cuda.md), no spills.
// Deterministic. PREDICTION for one H200, never measured: the residual's reads hide behind other blocks' products where
// those decide (3x3); 1x1 layers of wide results are bound by memory, at about 70 % of the copy rate.
#include "kernels/cuda_common/cuda_conv.h"
#include "kernels/cuda_common/cuda_kernel.cuh"

template <ig_conv_pass PASS>
static bool supports(const ig_node *n, const ig_device_caps *caps, char *why, size_t why_bytes) {
  const ig_conv2d_dims d = ig_conv2d_dims_of(n);
  return ig_cuda_conv_supports(n, caps, PASS, &d, why, why_bytes);
}

template <ig_conv_pass PASS>
static ig_status prepare(ig_prepare *p) {
  const ig_conv2d_dims d = ig_conv2d_dims_of(p->node);
  return ig_cuda_conv_prepare(p, PASS, &d,
                              PASS == IG_PASS_WEIGHTS && ((const ig_conv2d_bwd_attr *)p->node->attr)->has_bias);
}

#define IMPL(name, pass)                                                                                   \
  {                                                                                                        \
    name "_cuda", IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE, IG_ISA_BASE, supports<pass>, prepare<pass>, \
        ig_cuda_conv_run, ig_cuda_conv_destroy                                                             \
  }
IG_CUDA_IMPLS(conv2d_cuda) = {IMPL("conv2d", IG_PASS_FORWARD),
                              IMPL("conv2d_fused", IG_PASS_FORWARD),
                              IMPL("conv2d_bwd_data", IG_PASS_DATA),
                              IMPL("conv2d_bwd_weights", IG_PASS_WEIGHTS),
                              {0}};
