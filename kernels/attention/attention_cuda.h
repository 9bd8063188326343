// What attention's kernels on a GPU are told by attention_cuda.cu, which plans them. Not for other files.
#ifndef IG_KERNELS_ATTENTION_CUDA_H
#define IG_KERNELS_ATTENTION_CUDA_H

#include <cuda_runtime_api.h>
#include <stdint.h>

#include "runtime/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { IG_ATTENTION_THREADS = 128 };
typedef enum ig_attention_pass { IG_ATTENTION_FORWARD, IG_ATTENTION_QUERIES, IG_ATTENTION_KEYS } ig_attention_pass;

typedef struct ig_attention_args {
  const void *q, *k, *v, *o, *d_o;  // [T, H, d]; o, d_o: backward
  const float *lse_in, *dlse;       // [H, T]: backward; dlse may be NULL
  const int32_t *offsets;           // [B + 1]
  void *out, *more_out;             // o; dq; dk and dv
  float *lse;                       // forward
  float *delta;                     // [H, T], workspace: written by the pass over queries, read by that over keys
  const uint64_t *state, *row_keys;
  uint64_t key;
  uint32_t threshold;  // of a draw, in 2^-32
  float keep;          // 1 / (1 - dropout)
  float scale;
  int T, H, d, B, causal, dropout;
} ig_attention_args;

typedef struct ig_attention_launch {
  ig_attention_pass pass;
  int width;  // d rounded up: 32, 64 or 128
  ig_attention_args args;
  cudaStream_t stream;
} ig_attention_launch;

// Shared memory of the tensor-core kernels for elements of `bytes` bytes.
#define IG_ATTENTION_ROWS 64  // of a block's own piece
#define IG_ATTENTION_OTHER(width, bytes, pass)                             \
  ((bytes) == 2 && ((width) <= 64 || (pass) == IG_ATTENTION_FORWARD)  ? 64 \
   : (bytes) == 4 && (width) == 128 && (pass) != IG_ATTENTION_FORWARD ? 16 \
                                                                      : 32)
#define IG_ATTENTION_SHARED(width, bytes, pass)                                       \
  ((width) * (bytes) * ((pass) == IG_ATTENTION_FORWARD ? 1 : 2) * IG_ATTENTION_ROWS + \
   (width) * (bytes)*4 * IG_ATTENTION_OTHER(width, bytes, pass))

// One a file of instances. ready: lets the kernel have its shared memory (once, while planning); else launches it.
ig_status ig_attention_bf16(const ig_attention_launch *l, int ready);
ig_status ig_attention_f16(const ig_attention_launch *l, int ready);
ig_status ig_attention_tf32(const ig_attention_launch *l, int ready);
#ifdef __cplusplus
}
#endif
#endif
