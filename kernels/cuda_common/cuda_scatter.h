// Sums of rows by their key on a GPU: what the gradients of embedding and gather_rows are. Rule: rows of one key are
// added in an order that their number and places decide; no atomics.
#ifndef IG_KERNELS_CUDA_SCATTER_H
#define IG_KERNELS_CUDA_SCATTER_H

#include "runtime/graph/op.h"

#ifdef __cplusplus
extern "C" {
#endif

// out[v] = sum of x[t] where keys[t] = v, zeros where none is: x [T,D], out [V,D]; keys outside of [0,V) count nothing.
// adds: out[v] += that sum, and rows of no key are not touched.
typedef struct ig_cuda_scatter {
  const void *x;
  const int32_t *keys;
  void *out;
  ig_dtype type, out_type;  // out_type: IG_F32 or type
  int64_t T, V, D;
  bool adds;
} ig_cuda_scatter;

// Workspace for it; false where an index would not fit (why says which).
bool ig_cuda_scatter_supports(int64_t T, int64_t V, int64_t D, char *why, size_t why_bytes);
size_t ig_cuda_scatter_bytes(int64_t T, int64_t V, int64_t D);
ig_status ig_cuda_scatter_run(const ig_launch *l, const ig_cuda_scatter *s);

#ifdef __cplusplus
}
#endif
#endif
