// Pooling over windows of [N,H,W,C]. Rule: output size is floor((H + pad_top + pad_bottom - kernel_h) / stride_h) + 1,
// each pad is below its kernel side, and every backward is a gather: no result depends on the thread count.
#ifndef IG_KERNELS_POOL2D_H
#define IG_KERNELS_POOL2D_H

#include "runtime/graph/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ig_pool2d_attr {
  int kernel_h, kernel_w, stride_h, stride_w;  // stride 0 = the kernel's side
  int pad_top, pad_left, pad_bottom, pad_right;
  bool count_include_pad;  // average: divide by the whole window, padding included
  bool pad_zero;           // maximum: padding is 0 and takes part (Keras), not -infinity
} ig_pool2d_attr;

// Attributes of the backward rows: the forward ones and the input's size.
typedef struct ig_pool2d_bwd_attr {
  ig_pool2d_attr pool;
  int64_t height, width;
} ig_pool2d_bwd_attr;

// Maximum of each window; NaN stays. Of equal maxima the first in row-major order gets the gradient (PyTorch). Windows
// of at most 256 positions.
ig_tensor *ig_maxpool2d(ig_graph *g, const char *name, ig_tensor *x, const ig_pool2d_attr *attr);
ig_tensor *ig_avgpool2d(ig_graph *g, const char *name, ig_tensor *x, const ig_pool2d_attr *attr);
// Mean over all positions: [N,H,W,C] -> [N,C].
ig_tensor *ig_global_avgpool(ig_graph *g, const char *name, ig_tensor *x);

#ifdef __cplusplus
}
#endif
#endif
