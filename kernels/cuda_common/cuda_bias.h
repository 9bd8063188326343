// What cuBLASLt leaves of a bias: its copy in the result's type, and the sums of dy's columns. Rule: sums have an order
// that sizes alone decide.
#ifndef IG_KERNELS_CUDA_BIAS_H
#define IG_KERNELS_CUDA_BIAS_H

#include <cuda_runtime_api.h>

#include "runtime/graph/op.h"

#ifdef __cplusplus
extern "C" {
#endif

// y[n] = bias[n] in `type` (bf16 or f16).
ig_status ig_cuda_bias_copy(void *y, ig_dtype type, const float *bias, int64_t n, cudaStream_t stream);
// db[v] = sum over T rows of dy[t,v]; partial: ig_cuda_bias_sums_bytes of memory.
size_t ig_cuda_bias_sums_bytes(int64_t T, int64_t V);
ig_status ig_cuda_bias_sums(const ig_launch *l, float *db, const void *dy, ig_dtype type, int64_t T, int64_t V,
                            float *partial);

#ifdef __cplusplus
}
#endif
#endif
