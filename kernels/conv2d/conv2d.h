// Two-dimensional convolution (cross-correlation) and its two gradients. Rule: padding, stride and dilation are the
// row's attributes; a layer with "same" padding computes them itself, per side.
#ifndef IG_KERNELS_CONV2D_H
#define IG_KERNELS_CONV2D_H

#include "runtime/graph/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

// Distances in elements. 0 as stride, dilation or groups stands for 1; dilation 1 is a dense kernel.
typedef struct ig_conv2d_attr {
  int stride_h, stride_w;
  int pad_top, pad_left, pad_bottom, pad_right;
  int dilation_h, dilation_w;
  int groups;
} ig_conv2d_attr;

// y[n,p,q,k] = bias[k] + sum over r,s,c of x[n, p*stride_h + r*dilation_h - pad_top, q*stride_w + s*dilation_w -
// pad_left, c0 + c] * w[k,c,r,s], c0 = C/groups * (group of k); x is zero outside. x [N,H,W,C]; w [K, C/groups, R, S]
// fp32 parameter or any float type (a compute copy in x's dtype is made where they differ); bias [K] or NULL, fp32 (x's
// dtype where that is f64). y [N,P,Q,K] in x's dtype, P = floor((H + pad_top + pad_bottom - dilation_h*(R-1) - 1) /
// stride_h) + 1.
ig_tensor *ig_conv2d(ig_graph *g, const char *name, ig_tensor *x, ig_tensor *w, ig_tensor *bias,
                     const ig_conv2d_attr *attr);

// Attributes of the two backward rows: what their operands do not tell.
typedef struct ig_conv2d_bwd_attr {
  ig_conv2d_attr conv;
  int64_t rows, columns;  // bwd_data: H, W of x; bwd_weights: R, S of w
  int has_bias;           // bwd_weights: the second output is db [K], else a single zero
} ig_conv2d_bwd_attr;

// All lengths of a convolution node of one of the rows, for costs and implementations.
typedef struct ig_conv2d_dims {
  int64_t N, H, W, C, K, R, S, P, Q, groups;
  int64_t stride_h, stride_w, pad_top, pad_left, pad_bottom, pad_right, dilation_h, dilation_w;
} ig_conv2d_dims;
ig_conv2d_dims ig_conv2d_dims_of(const ig_node *n);

// ---- the row conv2d_fused (kernels/conv2d_fused), which the implementations of conv2d run too ----
// Its attributes: y = relu?(conv2d + bias + residual). Operands: x, w, bias, residual (y's shape and type); the last
// two may be absent, and y may lie where the residual lay.
typedef struct ig_conv2d_fused_attr {
  ig_conv2d_attr conv;  // first: ig_conv2d_dims_of reads it as conv2d's own
  int relu;
} ig_conv2d_fused_attr;

// What a forward node does with its sums before it writes them; of conv2d the bias alone.
typedef struct ig_conv2d_end {
  const float *bias;     // NULL: none
  const void *residual;  // in y's layout; NULL: none
  bool relu;
} ig_conv2d_end;
ig_conv2d_end ig_conv2d_end_of(const ig_launch *l);
// For prepare: the bias plain, the residual in y's layout, which is set already.
void ig_conv2d_end_layouts(ig_prepare *p);
// Shape rule and cost of both forward rows.
ig_status ig_conv2d_infer(ig_graph *g, ig_node *n);
void ig_conv2d_cost(const ig_node *n, ig_cost *c);

#ifdef __cplusplus
}
#endif
#endif
