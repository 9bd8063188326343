// Means over a fixed number of windows, whatever the picture's size, as rows for a linear layer. Rule: windows are
// PyTorch's: output i of OH covers rows floor(i H / OH) to ceil((i + 1) H / OH), so that windows overlap where OH does
// not divide H and repeat where H is less; every backward is a gather.
#ifndef IG_KERNELS_ADAPTIVE_POOL_H
#define IG_KERNELS_ADAPTIVE_POOL_H

#include "runtime/graph/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ig_adaptive_pool_attr {
  int out_h, out_w;  // windows, at least 1
} ig_adaptive_pool_attr;

// torch.flatten(AdaptiveAvgPool2d((out_h, out_w))(x), 1): x [N,H,W,C] -> y [N, C out_h out_w] of x's type, and
// y[n, (c out_h + i) out_w + j] is the mean of channel c over window (i, j). Sums are fp32.
ig_tensor *ig_adaptive_avgpool(ig_graph *g, const char *name, ig_tensor *x, const ig_adaptive_pool_attr *attr);

// ---- windows of a side, for the implementations ----
static inline int64_t ig_window_begin(int64_t i, int64_t size, int64_t windows) { return i * size / windows; }
static inline int64_t ig_window_end(int64_t i, int64_t size, int64_t windows) {
  return ((i + 1) * size + windows - 1) / windows;
}
// The windows that cover position h: [first, end).
static inline int64_t ig_cover_begin(int64_t h, int64_t size, int64_t windows) { return h * windows / size; }
static inline int64_t ig_cover_end(int64_t h, int64_t size, int64_t windows) {
  return ((h + 1) * windows + size - 1) / size;
}

#ifdef __cplusplus
}
#endif
#endif
