// Attention with fp32 products, for fp32 and bf16 operands (widened when they are packed).
#include "kernels/attention/attention_bwd_tiles.h"

#define CPU(op, pass)                                                                             \
  {                                                                                               \
    .name = op "_cpu", .flags = IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE, .isa = IG_ISA_LEVEL, \
    .supports = ig_lanes_supports, .prepare = prepare_##pass, .run = run_##pass                   \
  }
IG_IMPLS(attention_cpu) = {CPU("attention", fwd), CPU("attention_bwd", bwd), {0}};
