// Attention with fp32 products, for fp32 operands, and for bf16 ones (widened when they are packed) where the processor
// does not multiply bf16.
#include "kernels/attention/attention_bwd_tiles.h"

static bool supports(const ig_node *n, const ig_device_caps *caps, char *why, size_t why_bytes) {
  return products_take(n, n->out[0]->dtype, caps, why, why_bytes);
}

#define CPU(op, pass)                                                                             \
  {                                                                                               \
    .name = op "_cpu", .flags = IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE, .isa = IG_ISA_LEVEL, \
    .supports = supports, .prepare = prepare_##pass, .run = run_##pass                            \
  }
IG_IMPLS(attention_cpu) = {CPU("attention", fwd), CPU("attention_bwd", bwd), {0}};
