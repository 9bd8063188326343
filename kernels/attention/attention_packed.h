// Packed sequences as cuDNN's ragged tensors count them. Not for other files than attention_cudnn.c.
#ifndef IG_KERNELS_ATTENTION_PACKED_H
#define IG_KERNELS_ATTENTION_PACKED_H

#include <cuda_runtime_api.h>
#include <stdint.h>

#include "runtime/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ig_attention_packed {
  int T, H, d, B;
  int64_t *rows, *stats;  // [B + 1]: where each sequence begins, in elements of [T, H, d] and of [T, H]
  int32_t *lengths;       // [B]
} ig_attention_packed;

// Fills them from cu_seqlens [B + 1]; NULL: sequences of equal lengths (for timing).
ig_status ig_attention_offsets(const ig_attention_packed *p, const int32_t *offsets, cudaStream_t stream);
// lse [H, T] from stats [T, H]; 0 where a row is of no sequence, and o [T, H, d] of 16 bits there, too.
ig_status ig_attention_stats(const ig_attention_packed *p, float *lse, void *o, const float *stats,
                             cudaStream_t stream);

#ifdef __cplusplus
}
#endif
#endif
