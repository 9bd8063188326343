// The three rows of the fully connected layer on a GPU: 1x1 convolutions of one-pixel images (cuda_common/cuda_conv.h).
// What a block and a warp own, bytes, registers, shared memory, and that sums have one order stands with the kernel,
// kernels/cuda_common/cuda_gemm.cuh.
#include "kernels/cuda_common/cuda_conv.h"
#include "kernels/cuda_common/cuda_kernel.cuh"
#include "kernels/linear/linear.h"

static ig_conv2d_dims dims_of(const ig_node *n) {
  const ig_linear_dims l = ig_linear_dims_of(n);
  ig_conv2d_dims d = {};
  d.N = l.T, d.C = l.D, d.K = l.V;
  d.H = d.W = d.R = d.S = d.P = d.Q = d.groups = d.stride_h = d.stride_w = d.dilation_h = d.dilation_w = 1;
  return d;
}

template <ig_conv_pass PASS>
static bool supports(const ig_node *n, const ig_device_caps *caps, char *why, size_t why_bytes) {
  const ig_conv2d_dims d = dims_of(n);
  return ig_cuda_conv_supports(n, caps, PASS, &d, why, why_bytes);
}

template <ig_conv_pass PASS>
static ig_status prepare(ig_prepare *p) {
  const ig_conv2d_dims d = dims_of(p->node);
  return ig_cuda_conv_prepare(p, PASS, &d,
                              PASS == IG_PASS_WEIGHTS && ((const ig_linear_attr *)p->node->attr)->has_bias);
}

#define IMPL(name, pass)                                                                                   \
  {                                                                                                        \
    name "_cuda", IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE, IG_ISA_BASE, supports<pass>, prepare<pass>, \
        ig_cuda_conv_run, ig_cuda_conv_destroy                                                             \
  }
IG_CUDA_IMPLS(linear_cuda) = {IMPL("linear", IG_PASS_FORWARD),
                              IMPL("linear_bwd_data", IG_PASS_DATA),
                              IMPL("linear_bwd_weights", IG_PASS_WEIGHTS),
                              {0}};
