// Instances of tensor-core attention on bf16.
#include "kernels/attention/attention_mma.cuh"

extern "C" ig_status ig_attention_bf16(const ig_attention_launch *l, int ready) { return launch<ig_bf16>(l, ready); }
