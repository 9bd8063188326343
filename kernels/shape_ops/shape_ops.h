// Ops that only move numbers. Rule: nothing is computed, so any dtype passes, and the gradient of a copy between boxes
// is the copy back.
#ifndef IG_KERNELS_SHAPE_OPS_H
#define IG_KERNELS_SHAPE_OPS_H

#include "runtime/graph/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

// x in another shape of as many elements, in the same row-major order. One dimension may be -1: what is left.
ig_tensor *ig_reshape(ig_graph *g, const char *name, ig_tensor *x, ig_shape shape);
// y = value, with x [N,H,W,C] at (top, left).
ig_tensor *ig_pad2d(ig_graph *g, const char *name, ig_tensor *x, int top, int left, int bottom, int right,
                    double value);
// x[begin : begin + size] in every dimension; size -1 = to the end.
ig_tensor *ig_slice(ig_graph *g, const char *name, ig_tensor *x, ig_shape begin, ig_shape size);
// n >= 1 tensors of equal shape but for the last dimension, along which they are joined.
ig_tensor *ig_concat_c(ig_graph *g, const char *name, int n, ig_tensor *const *ts);
// The shortcut without parameters of CIFAR ResNets (option A): x[:, ::stride, ::stride, :] with zero channels,
// (out_channels - C) / 2 before and the rest behind.
ig_tensor *ig_shortcut_a(ig_graph *g, const char *name, ig_tensor *x, int64_t stride, int64_t out_channels);

// Attributes of the row `place`: y of shape `out` is filled with value, then for each index i below `size`
// y[out_begin + i out_step] = x[in_begin + i in_step]. Its gradient is `place` with in and out exchanged and value 0.
typedef struct ig_place_attr {
  ig_shape out, size;
  int64_t in_begin[IG_MAX_DIMS], in_step[IG_MAX_DIMS], out_begin[IG_MAX_DIMS], out_step[IG_MAX_DIMS];
  double value;
} ig_place_attr;

#ifdef __cplusplus
}
#endif
#endif
