// linear_xent with fp32 products, for fp32 operands, and for bf16 ones (widened when they are packed) where the
// processor does not multiply bf16.
#include "kernels/linear_xent/linear_xent_bwd.h"
#include "kernels/linear_xent/linear_xent_fwd.h"

static bool supports_fwd(const ig_node *n, const ig_device_caps *caps, char *why, size_t why_bytes) {
  return products_take(n, n->in[F_X]->dtype, caps, why, why_bytes);
}
static bool supports_bwd(const ig_node *n, const ig_device_caps *caps, char *why, size_t why_bytes) {
  return products_take(n, n->in[B_X]->dtype, caps, why, why_bytes);
}

#define CPU(op, pass)                                                                             \
  {                                                                                               \
    .name = op "_cpu", .flags = IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE, .isa = IG_ISA_LEVEL, \
    .supports = supports_##pass, .prepare = prepare_##pass, .run = run_##pass                     \
  }
IG_IMPLS(linear_xent_cpu) = {CPU("linear_xent", fwd), CPU("linear_xent_bwd", bwd), {0}};
