// linear_xent with bf16 products (vdpbf16ps). Rule: logits and sums are fp32; gradients of logits are rounded to bf16
// where they enter a product.
#include <immintrin.h>
#include <stdio.h>

#define PRODUCTS_BF16
#include "kernels/linear_xent/linear_xent_bwd.h"
#include "kernels/linear_xent/linear_xent_fwd.h"

static bool is_bf16(const ig_tensor *x, char *why, size_t why_bytes) {
  if (x->dtype == IG_BF16)
    return true;
  snprintf(why, why_bytes, "operands are %s, this one takes bf16", ig_dtype_name(x->dtype));
  return false;
}
static bool supports_fwd(const ig_node *n, const ig_device_caps *caps, char *why, size_t why_bytes) {
  return is_bf16(n->in[F_X], why, why_bytes);
}
static bool supports_bwd(const ig_node *n, const ig_device_caps *caps, char *why, size_t why_bytes) {
  return is_bf16(n->in[B_X], why, why_bytes);
}

#define CPU(op, pass)                                                                               \
  {                                                                                                 \
    .name = op "_bf16_cpu", .flags = IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE | IG_IMPL_ROUNDED, \
    .isa = IG_ISA_LEVEL, .supports = supports_##pass, .prepare = prepare_##pass, .run = run_##pass  \
  }
IG_IMPLS(linear_xent_bf16_cpu) = {CPU("linear_xent", fwd), CPU("linear_xent_bwd", bwd), {0}};
