// The cast of reorder_cuda for a library's result that is to be fp32.
#ifndef IG_KERNELS_REORDER_CUDA_H
#define IG_KERNELS_REORDER_CUDA_H

#include "runtime/graph/op.h"

#ifdef __cplusplus
extern "C" {
#endif

// y[count] = x[count] of `type` (bf16 or f16), count > 0, on the launch's stream. Both are aligned to 16 bytes.
ig_status ig_cuda_widen(const ig_launch *l, float *y, const void *x, ig_dtype type, int64_t count);

#ifdef __cplusplus
}
#endif
#endif
