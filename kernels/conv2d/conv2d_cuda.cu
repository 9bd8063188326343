// The three convolution rows on a GPU, by implicit matrix products (cuda_common/cuda_conv.h). Rule: activations NHWC,
// weights and their gradient KRSC.
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
                              IMPL("conv2d_bwd_data", IG_PASS_DATA),
                              IMPL("conv2d_bwd_weights", IG_PASS_WEIGHTS),
                              {0}};
