// Rows, shape and gradient rules of the convolution. Rule: weight gradients are fp32 in the public shape whatever the
// activations are (f64 under f64).
#include "kernels/conv2d/conv2d.h"

#include <stdio.h>
#include <string.h>

#include "kernels/kernels.h"
#include "kernels/reorder/reorder.h"

static int64_t or_one(int v) { return v == 0 ? 1 : v; }

static int64_t out_length(int64_t in, int64_t kernel, int64_t stride, int64_t dilation, int64_t pad) {
  int64_t room = in + pad - dilation * (kernel - 1) - 1;
  return room < 0 ? 0 : room / stride + 1;
}

// ---- shapes ----
static ig_status check_attr(const ig_conv2d_attr *a) {
  if (a->stride_h < 0 || a->stride_w < 0 || a->dilation_h < 0 || a->dilation_w < 0 || a->groups < 0 || a->pad_top < 0 ||
      a->pad_left < 0 || a->pad_bottom < 0 || a->pad_right < 0)
    return ig_fail(IG_ERR_MISMATCH,
                   "stride %dx%d, dilation %dx%d, padding %d,%d,%d,%d, groups %d: negative values are not allowed",
                   a->stride_h, a->stride_w, a->dilation_h, a->dilation_w, a->pad_top, a->pad_left, a->pad_bottom,
                   a->pad_right, a->groups);
  return IG_OK;
}

static ig_status check_float(const ig_node *n, int i, ig_dtype want) {
  if (!ig_dtype_is_float(n->in[i]->dtype))
    return ig_fail(IG_ERR_MISMATCH, "operand %d (%s) is %s, expected a floating-point type", i, n->in[i]->name,
                   ig_dtype_name(n->in[i]->dtype));
  return ig_check_dtype(n, i, want);
}

static ig_dtype sums_type(ig_dtype activations) { return activations == IG_F64 ? IG_F64 : IG_F32; }

static void set_window(ig_conv2d_dims *d, const ig_conv2d_attr *a) {
  d->stride_h = or_one(a->stride_h), d->stride_w = or_one(a->stride_w);
  d->dilation_h = or_one(a->dilation_h), d->dilation_w = or_one(a->dilation_w);
  d->pad_top = a->pad_top, d->pad_left = a->pad_left;
  d->pad_bottom = a->pad_bottom, d->pad_right = a->pad_right;
  d->groups = or_one(a->groups);
}

static void set_image(ig_conv2d_dims *d, const ig_shape *x) {
  d->N = x->d[0], d->H = x->d[1], d->W = x->d[2], d->C = x->d[3];
}

static void set_out(ig_conv2d_dims *d) {
  d->P = out_length(d->H, d->R, d->stride_h, d->dilation_h, d->pad_top + d->pad_bottom);
  d->Q = out_length(d->W, d->S, d->stride_w, d->dilation_w, d->pad_left + d->pad_right);
}

ig_conv2d_dims ig_conv2d_dims_of(const ig_node *n) {
  ig_conv2d_dims d = {0};
  if (!strcmp(n->op->name, "conv2d") || !strcmp(n->op->name, "conv2d_fused")) {
    const ig_shape *w = &n->in[1]->shape;
    set_window(&d, n->attr);
    set_image(&d, &n->in[0]->shape);
    d.K = w->d[0], d.R = w->d[2], d.S = w->d[3];
  } else {
    const ig_conv2d_bwd_attr *a = n->attr;
    set_window(&d, &a->conv);
    if (!strcmp(n->op->name, "conv2d_bwd_data")) {
      const ig_shape *dy = &n->in[0]->shape, *w = &n->in[1]->shape;
      d.N = dy->d[0], d.H = a->rows, d.W = a->columns, d.C = w->d[1] * d.groups;
      d.K = w->d[0], d.R = w->d[2], d.S = w->d[3];
    } else {
      set_image(&d, &n->in[0]->shape);
      d.K = n->in[1]->shape.d[3], d.R = a->rows, d.S = a->columns;
    }
  }
  set_out(&d);
  return d;
}

static ig_status check_dims(const ig_conv2d_dims *d) {
  if (d->R < 1 || d->S < 1 || d->K < 1 || d->C < 1)
    return ig_fail(IG_ERR_MISMATCH, "kernel %lldx%lld from %lld to %lld channels: all must be at least 1",
                   (long long)d->R, (long long)d->S, (long long)d->C, (long long)d->K);
  if (d->C % d->groups || d->K % d->groups)
    return ig_fail(IG_ERR_MISMATCH, "%lld input and %lld output channels do not divide into %lld groups",
                   (long long)d->C, (long long)d->K, (long long)d->groups);
  if (d->P < 1 || d->Q < 1)
    return ig_fail(
        IG_ERR_MISMATCH,
        "a %lldx%lld kernel (dilation %lldx%lld) does not fit the padded image of %lldx%lld: use larger pictures",
        (long long)d->R, (long long)d->S, (long long)d->dilation_h, (long long)d->dilation_w,
        (long long)(d->H + d->pad_top + d->pad_bottom), (long long)(d->W + d->pad_left + d->pad_right));
  return IG_OK;
}

ig_status ig_conv2d_infer(ig_graph *g, ig_node *n) {
  IG_TRY(check_attr(n->attr));
  IG_TRY(ig_check_rank(n, 0, 4));
  IG_TRY(ig_check_rank(n, 1, 4));
  ig_dtype type = n->in[0]->dtype;
  IG_TRY(check_float(n, 0, type));
  IG_TRY(check_float(n, 1, type));
  ig_conv2d_dims d = ig_conv2d_dims_of(n);
  IG_TRY(check_dims(&d));
  IG_TRY(ig_check_shape(n, 1, IG_SHAPE4(d.K, d.C / d.groups, d.R, d.S)));
  if (n->n_in > 2 && n->in[2]) {
    IG_TRY(ig_check_shape(n, 2, IG_SHAPE1(d.K)));
    IG_TRY(ig_check_dtype(n, 2, sums_type(type)));
  }
  if (n->n_in > 3 && n->in[3]) {
    IG_TRY(ig_check_shape(n, 3, IG_SHAPE4(d.N, d.P, d.Q, d.K)));
    IG_TRY(ig_check_dtype(n, 3, type));
  }
  return ig_node_set_out(g, n, 0, type, IG_SHAPE4(d.N, d.P, d.Q, d.K));
}

static ig_status infer_bwd_data(ig_graph *g, ig_node *n) {
  const ig_conv2d_bwd_attr *a = n->attr;
  IG_TRY(check_attr(&a->conv));
  IG_TRY(ig_check_rank(n, 0, 4));
  IG_TRY(ig_check_rank(n, 1, 4));
  IG_TRY(check_float(n, 0, n->in[0]->dtype));
  IG_TRY(check_float(n, 1, n->in[0]->dtype));
  ig_conv2d_dims d = ig_conv2d_dims_of(n);
  IG_TRY(check_dims(&d));
  IG_TRY(ig_check_shape(n, 0, IG_SHAPE4(d.N, d.P, d.Q, d.K)));
  return ig_node_set_out(g, n, 0, n->in[0]->dtype, IG_SHAPE4(d.N, d.H, d.W, d.C));
}

static ig_status infer_bwd_weights(ig_graph *g, ig_node *n) {
  const ig_conv2d_bwd_attr *a = n->attr;
  IG_TRY(check_attr(&a->conv));
  IG_TRY(ig_check_rank(n, 0, 4));
  IG_TRY(ig_check_rank(n, 1, 4));
  ig_dtype type = n->in[0]->dtype;
  IG_TRY(check_float(n, 0, type));
  IG_TRY(check_float(n, 1, type));
  ig_conv2d_dims d = ig_conv2d_dims_of(n);
  IG_TRY(check_dims(&d));
  IG_TRY(ig_check_shape(n, 1, IG_SHAPE4(d.N, d.P, d.Q, d.K)));
  IG_TRY(ig_node_set_out(g, n, 0, sums_type(type), IG_SHAPE4(d.K, d.C / d.groups, d.R, d.S)));
  return ig_node_set_out(g, n, 1, sums_type(type), IG_SHAPE1(a->has_bias ? d.K : 1));
}

// ---- gradients ----
static ig_status grad(ig_graph *g, const ig_node *n, ig_tensor *const *dout, const bool *need, ig_tensor **din) {
  char name[400];
  ig_tensor *x = n->in[0], *w = n->in[1];
  bool has_bias = n->n_in > 2 && n->in[2];
  ig_conv2d_bwd_attr a = {.conv = *(const ig_conv2d_attr *)n->attr};
  if (need[1] || (has_bias && need[2])) {
    a.rows = w->shape.d[2], a.columns = w->shape.d[3], a.has_bias = has_bias && need[2];
    snprintf(name, sizeof name, "%s/dw", n->name);
    ig_node *d = ig_graph_node(g, "conv2d_bwd_weights", name, 2, (ig_tensor *[]){x, dout[0]}, &a);
    if (!d)
      return ig_graph_status(g);
    if (need[1])
      din[1] = d->out[0];
    if (a.has_bias)
      din[2] = d->out[1];
  }
  if (need[0]) {
    a.rows = x->shape.d[1], a.columns = x->shape.d[2], a.has_bias = 0;
    snprintf(name, sizeof name, "%s/dx", n->name);
    ig_node *d = ig_graph_node(g, "conv2d_bwd_data", name, 2, (ig_tensor *[]){dout[0], w}, &a);
    if (!d)
      return ig_graph_status(g);
    din[0] = d->out[0];
  }
  return IG_OK;
}

void ig_conv2d_cost(const ig_node *n, ig_cost *c) {
  ig_conv2d_dims d = ig_conv2d_dims_of(n);
  const int64_t terms = d.C / d.groups * d.R * d.S;  // of one output
  c->flops = 2.0 * (double)(d.N * d.P * d.Q) * (double)d.K * (double)terms;
  c->bytes = 0;
  for (int i = 0; i < n->n_in; i++)
    if (n->in[i])
      c->bytes += (double)ig_shape_count(&n->in[i]->shape) * (double)ig_dtype_bytes(n->in[i]->dtype);
  for (int i = 0; i < n->n_out; i++)
    c->bytes += (double)ig_shape_count(&n->out[i]->shape) * (double)ig_dtype_bytes(n->out[i]->dtype);
}

// ---- the end of a forward node ----
ig_conv2d_end ig_conv2d_end_of(const ig_launch *l) {
  const ig_node *n = l->node;
  ig_conv2d_end e = {.bias = n->n_in > 2 ? l->in[2] : NULL};
  if (n->n_in > 3) {
    e.residual = l->in[3];
    e.relu = ((const ig_conv2d_fused_attr *)n->attr)->relu;
  }
  return e;
}

void ig_conv2d_end_layouts(ig_prepare *p) {
  if (p->node->n_in > 2)
    p->in_layout[2] = IG_PLAIN;
  if (p->node->n_in > 3)
    p->in_layout[3] = p->out_layout[0];
}

// ---- cases ----
// name, N,H,W,C, K,R,S, stride h,w, padding top,left,bottom,right, dilation h,w, groups, bias, bench
#define CASES(X)                                                                             \
  X("1x1", 3, 7, 5, 17, 13, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 0, 0)                           \
  X("1x1 bias one sample", 1, 6, 6, 32, 32, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1, 0)           \
  X("1x1 stride 2", 3, 9, 8, 32, 16, 1, 1, 2, 2, 0, 0, 0, 0, 1, 1, 1, 0, 0)                  \
  X("3x3", 3, 7, 9, 32, 17, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0)                           \
  X("3x3 prime bias", 3, 11, 7, 17, 19, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0)               \
  X("3x3 stride 2", 1, 9, 11, 16, 32, 3, 3, 2, 2, 1, 1, 1, 1, 1, 1, 1, 0, 0)                 \
  X("3x3 first", 3, 12, 13, 3, 16, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0)                    \
  X("5x3", 1, 9, 7, 5, 8, 5, 3, 1, 1, 2, 1, 2, 1, 1, 1, 1, 1, 0)                             \
  X("7x7 stem", 3, 21, 19, 3, 17, 7, 7, 2, 2, 3, 3, 3, 3, 1, 1, 1, 0, 0)                     \
  X("dilation 2", 1, 11, 9, 8, 16, 3, 3, 1, 1, 2, 2, 2, 2, 2, 2, 1, 0, 0)                    \
  X("groups 3", 3, 6, 7, 6, 9, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 3, 1, 0)                        \
  X("groups 4 of 8", 1, 8, 8, 32, 32, 3, 3, 2, 2, 1, 1, 1, 1, 1, 1, 4, 0, 0)                 \
  X("depthwise", 3, 9, 8, 16, 16, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 16, 0, 0)                    \
  X("depthwise prime", 1, 7, 7, 17, 17, 3, 3, 2, 2, 1, 1, 1, 1, 1, 1, 17, 0, 0)              \
  X("asymmetric pad", 3, 8, 8, 4, 8, 3, 3, 2, 2, 0, 0, 1, 1, 1, 1, 1, 1, 0)                  \
  X("signal", 3, 1, 37, 4, 8, 1, 9, 1, 3, 0, 4, 0, 2, 1, 1, 1, 1, 0)                         \
  X("3x3 stride 2 many positions", 3, 49, 49, 16, 17, 3, 3, 2, 2, 1, 1, 1, 1, 1, 1, 1, 0, 0) \
  X("one pixel", 3, 1, 1, 3, 5, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1, 0)                       \
  X("resnet stem 224", 16, 224, 224, 3, 64, 7, 7, 2, 2, 3, 3, 3, 3, 1, 1, 1, 0, 1)           \
  X("resnet18 layer1 56", 16, 56, 56, 64, 64, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 1)         \
  X("resnet18 layer2 28", 16, 28, 28, 128, 128, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 1)       \
  X("resnet18 layer3 stride 2", 16, 28, 28, 128, 256, 3, 3, 2, 2, 1, 1, 1, 1, 1, 1, 1, 0, 1) \
  X("resnet18 layer4 7", 16, 7, 7, 512, 512, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 1)          \
  X("resnet50 layer1 1x1 wide", 16, 56, 56, 64, 256, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 0, 1)  \
  X("resnet50 layer3 1x1 narrow", 16, 14, 14, 1024, 256, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 0, 1)

#define LENGTH(in, kernel, stride, dilation, pad) (((in) + (pad) - (dilation) * ((kernel)-1) - 1) / (stride) + 1)
#define P_OF(H, R, sh, dh, pt, pb)                LENGTH(H, R, sh, dh, (pt) + (pb))
#define WINDOW(sh, sw, pt, pl, pb, pr, dh, dw, groups) \
  { sh, sw, pt, pl, pb, pr, dh, dw, groups }
#define FLOATS(...) \
  { .shape = {4, {__VA_ARGS__}}, .dtype = IG_F32, .fill = IG_FILL_NORMAL }

#define CASE(text, N, H, W, C, K, R, S, sh, sw, pt, pl, pb, pr, dh, dw, groups, bias, large)                          \
  {.name = text,                                                                                                      \
   .n_in = 3,                                                                                                         \
   .in = {FLOATS(N, H, W, C),                                                                                         \
          FLOATS(K, (C) / (groups), R, S),                                                                            \
          {.shape = {1, {K}}, .dtype = IG_F32, .fill = (bias) ? IG_FILL_NORMAL : IG_FILL_ABSENT, .fixed_f32 = true}}, \
   .attr = &(const ig_conv2d_attr)WINDOW(sh, sw, pt, pl, pb, pr, dh, dw, groups),                                     \
   .bench = large},
#define CASE_BWD_DATA(text, N, H, W, C, K, R, S, sh, sw, pt, pl, pb, pr, dh, dw, groups, bias, large)             \
  {.name = text,                                                                                                  \
   .n_in = 2,                                                                                                     \
   .in = {FLOATS(N, P_OF(H, R, sh, dh, pt, pb), P_OF(W, S, sw, dw, pl, pr), K), FLOATS(K, (C) / (groups), R, S)}, \
   .attr = &(const ig_conv2d_bwd_attr){WINDOW(sh, sw, pt, pl, pb, pr, dh, dw, groups), H, W, 0},                  \
   .bench = large},
#define CASE_BWD_WEIGHTS(text, N, H, W, C, K, R, S, sh, sw, pt, pl, pb, pr, dh, dw, groups, bias, large) \
  {.name = text,                                                                                         \
   .n_in = 2,                                                                                            \
   .in = {FLOATS(N, H, W, C), FLOATS(N, P_OF(H, R, sh, dh, pt, pb), P_OF(W, S, sw, dw, pl, pr), K)},     \
   .attr = &(const ig_conv2d_bwd_attr){WINDOW(sh, sw, pt, pl, pb, pr, dh, dw, groups), R, S, bias},      \
   .bench = large},

static const ig_op_case cases[] = {CASES(CASE)};
static const ig_op_case cases_bwd_data[] = {CASES(CASE_BWD_DATA)};
static const ig_op_case cases_bwd_weights[] = {CASES(CASE_BWD_WEIGHTS)};
enum { N_CASES = sizeof cases / sizeof *cases };

// ---- rows ----
static const ig_op conv2d = {
    .name = "conv2d",
    .summary = "y[n,p,q,k] = sum_{r,s,c} x[n,p*stride+r*dilation-pad,...,c] w[k,c,r,s] + bias[k]",
    .min_in = 2,
    .max_in = 3,
    .n_out = 1,
    .optional_in = 1 << 2,
    .attr_bytes = sizeof(ig_conv2d_attr),
    .infer = ig_conv2d_infer,
    .grad = grad,
    .keeps_in = 1 << 0 | 1 << 1,
    .cost = ig_conv2d_cost,
    .cases = cases,
    .n_cases = N_CASES,
    .impls = {[IG_DEVICE_CPU] = {"conv2d_wino_cpu", "conv2d_wino_bf16_cpu", "conv2d_dnnl_wino", "conv2d_gemm_cpu",
                                 "conv2d_pointwise_cpu", "conv2d_few_cpu", "conv2d_few_bf16_cpu", "conv2d_dnnl",
                                 "conv2d_ref"},
              [IG_DEVICE_CUDA] = {"conv2d_cudnn", "conv2d_cuda"}},
};

static const ig_op conv2d_bwd_data = {
    .name = "conv2d_bwd_data",
    .summary = "dx[n,h,w,c] = sum over k,r,s of dy[n,p,q,k] w[k,c,r,s] where (p,q,r,s) reads (h,w)",
    .min_in = 2,
    .max_in = 2,
    .n_out = 1,
    .attr_bytes = sizeof(ig_conv2d_bwd_attr),
    .infer = infer_bwd_data,
    .grad = ig_no_grad,
    .cost = ig_conv2d_cost,
    .cases = cases_bwd_data,
    .n_cases = N_CASES,
    .impls = {[IG_DEVICE_CPU] = {"conv2d_bwd_data_wino_cpu", "conv2d_bwd_data_wino_bf16_cpu",
                                 "conv2d_bwd_data_dnnl_wino", "conv2d_bwd_data_gemm_cpu",
                                 "conv2d_bwd_data_pointwise_cpu", "conv2d_bwd_data_dnnl", "conv2d_bwd_data_ref"},
              [IG_DEVICE_CUDA] = {"conv2d_bwd_data_cudnn", "conv2d_bwd_data_cuda"}},
};

static const ig_op conv2d_bwd_weights = {
    .name = "conv2d_bwd_weights",
    .summary = "dw[k,c,r,s] = sum over n,p,q of dy[n,p,q,k] x[n,p*stride+r*dilation-pad,...,c]; db[k] = sum of dy",
    .min_in = 2,
    .max_in = 2,
    .n_out = 2,
    .attr_bytes = sizeof(ig_conv2d_bwd_attr),
    .infer = infer_bwd_weights,
    .grad = ig_no_grad,
    .cost = ig_conv2d_cost,
    .cases = cases_bwd_weights,
    .n_cases = N_CASES,
    .impls = {[IG_DEVICE_CPU] = {"conv2d_bwd_weights_wino_cpu", "conv2d_bwd_weights_wino_bf16_cpu",
                                 "conv2d_bwd_weights_dnnl_wino", "conv2d_bwd_weights_gemm_cpu",
                                 "conv2d_bwd_weights_few_cpu", "conv2d_bwd_weights_bf16_cpu", "conv2d_bwd_weights_dnnl",
                                 "conv2d_bwd_weights_ref"},
              [IG_DEVICE_CUDA] = {"conv2d_bwd_weights_cudnn", "conv2d_bwd_weights_cuda"}},
};

IG_OPS(conv2d) = {&conv2d, &conv2d_bwd_data, &conv2d_bwd_weights, 0};

// ---- builder ----
ig_tensor *ig_conv2d(ig_graph *g, const char *name, ig_tensor *x, ig_tensor *w, ig_tensor *bias,
                     const ig_conv2d_attr *attr) {
  if (!x || !w)
    return NULL;
  if (w->dtype != x->dtype)
    w = ig_compute_copy(g, w);
  if (bias && bias->dtype != sums_type(x->dtype))
    bias = ig_reorder(g, bias->name, bias, sums_type(x->dtype));
  if (!w)
    return NULL;
  ig_node *n = ig_graph_node(g, "conv2d", name, bias ? 3 : 2, (ig_tensor *[]){x, w, bias}, attr);
  return n ? n->out[0] : NULL;
}
