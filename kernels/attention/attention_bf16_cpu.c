// Attention with bf16 products (vdpbf16ps). Rule: scores, probabilities and sums are fp32; probabilities and gradients
// of scores are rounded to bf16 where they enter a product.
#include <immintrin.h>
#include <stdio.h>

#define PRODUCTS_BF16
#include "kernels/attention/attention_bwd_tiles.h"

static bool supports(const ig_node *n, const ig_device_caps *caps, char *why, size_t why_bytes) {
  if (n->out[0]->dtype == IG_BF16)
    return true;
  snprintf(why, why_bytes, "operands are %s, this one takes bf16", ig_dtype_name(n->out[0]->dtype));
  return false;
}

#define CPU(op, pass)                                                                               \
  {                                                                                                 \
    .name = op "_bf16_cpu", .flags = IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE | IG_IMPL_ROUNDED, \
    .isa = IG_ISA_LEVEL, .supports = supports, .prepare = prepare_##pass, .run = run_##pass         \
  }
IG_IMPLS(attention_bf16_cpu) = {CPU("attention", fwd), CPU("attention_bwd", bwd), {0}};
