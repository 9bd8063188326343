// Instances of tensor-core attention on f16.
#include "kernels/attention/attention_mma.cuh"

extern "C" ig_status ig_attention_f16(const ig_attention_launch *l, int ready) { return launch<ig_f16>(l, ready); }
