// linear_xent with fp32 products, for fp32 and bf16 operands (widened when they are packed).
#include "kernels/linear_xent/linear_xent_bwd.h"
#include "kernels/linear_xent/linear_xent_fwd.h"

#define CPU(op, pass)                                                                             \
  {                                                                                               \
    .name = op "_cpu", .flags = IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE, .isa = IG_ISA_LEVEL, \
    .supports = ig_lanes_supports, .prepare = prepare_##pass, .run = run_##pass                   \
  }
IG_IMPLS(linear_xent_cpu) = {CPU("linear_xent", fwd), CPU("linear_xent_bwd", bwd), {0}};
