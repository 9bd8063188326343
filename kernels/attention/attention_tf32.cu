// Instances of tensor-core attention on tf32.
#include "kernels/attention/attention_mma.cuh"

extern "C" ig_status ig_attention_tf32(const ig_attention_launch *l, int ready) { return launch<float>(l, ready); }
