// The three convolution rows and conv2d_fused by cuDNN's graph API (cuda_common/cudnn_graph.h): the fastest of the
// heuristics' first engines, timed once, then the stored choice. Rule: not for deterministic plans, nor for fp32
// without tf32, nor for a convolution with a bias that is not fused: those are conv2d_cuda's; it has not run on a GPU
// yet, only against tests/sim/fakes/cudnn.c.
//
// conv2d_fused is one graph: convolution, + bias, + residual, ReLU; what passes between them is fp32 and virtual, so
// that y is written once, rounded once. y never lies where the residual lay (IG_IMPL_APART): cuDNN does not say that it
// may.
//
// conv2d_bwd_weights: for an fp32 dW of 16-bit operands the heuristics name no engine (docs/decisions.md, 46). So cuDNN
// writes dW in the operands' type into the workspace, and the cast to fp32 follows: 2 bytes a weight more written and
// read, IG_IMPL_ROUNDED. What has left fp16's range stays infinite, as the loss scale must see it.
#include <stdio.h>
#include <string.h>

#include "kernels/conv2d/conv2d.h"
#include "kernels/cuda_common/cudnn_graph.h"
#include "kernels/kernels.h"
#include "kernels/reorder/reorder_cuda.h"
#include "runtime/device/cuda/cuda_check.h"

#ifdef IG_HAS_CUDNN
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"  // the ReLU's NaN propagation, which is off without it

typedef enum pass { FORWARD, DATA, WEIGHTS } pass;
typedef ig_cudnn_descriptor descriptor;
enum { X, W, Y, N_TENSORS };  // of the convolution
enum { OUT = 4, MAX_PLACES = 5 };

typedef struct plan {
  ig_cudnn_graph graph;
  int place[MAX_PLACES];  // of the graph: an operand, or OUT
  size_t narrow_bytes;    // of the workspace, in front of the library's: dW in 16 bits; 0: OUT is the node's result
} plan;

static size_t round_up(size_t n) { return (n + 255) / 256 * 256; }

static void destroy(void *state) {
  plan *p = state;
  ig_cudnn_graph_close(&p->graph);
  ig_free(p);
}

static ig_status convolution(ig_cudnn_graph *g, const ig_conv2d_dims *d, descriptor *out) {
  const int64_t spatial = 2, dilation[] = {d->dilation_h, d->dilation_w}, stride[] = {d->stride_h, d->stride_w},
                before[] = {d->pad_top, d->pad_left}, behind[] = {d->pad_bottom, d->pad_right};
  const cudnnDataType_t sums = CUDNN_DATA_FLOAT;
  const cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
  IG_TRY(ig_cudnn_make(g, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, out));
  IG_TRY(ig_cudnn_set(g, *out, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &sums));
  IG_TRY(ig_cudnn_set(g, *out, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode));
  IG_TRY(ig_cudnn_set(g, *out, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1, &spatial));
  IG_TRY(ig_cudnn_set(g, *out, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, 2, dilation));
  IG_TRY(ig_cudnn_set(g, *out, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, 2, stride));
  IG_TRY(ig_cudnn_set(g, *out, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, 2, before));
  IG_TRY(ig_cudnn_set(g, *out, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, 2, behind));
  return ig_cudnn_finalize(g, *out);
}

// The pass as cuDNN names it: type and attributes of its operation, in the order convolution, X, W, Y, alpha, beta.
static const struct {
  cudnnBackendDescriptorType_t type;
  cudnnBackendAttributeName_t names[6];
} operations[] = {
    [FORWARD] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
                 {CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
                  CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
                  CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA}},
    [DATA] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
              {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
               CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
               CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA}},
    [WEIGHTS] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
                 {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
                  CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
                  CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA}},
};

static bool is_fused(const ig_node *n) { return !strcmp(n->op->name, "conv2d_fused"); }

static pass pass_of(const ig_node *n) {
  return !strcmp(n->op->name, "conv2d_bwd_data")      ? DATA
         : !strcmp(n->op->name, "conv2d_bwd_weights") ? WEIGHTS
                                                      : FORWARD;
}

static ig_status add_convolution(ig_cudnn_graph *g, pass which, descriptor convolution, const descriptor *tensors) {
  const float alpha = 1, beta = 0;
  const cudnnBackendAttributeName_t *names = operations[which].names;
  descriptor operation;
  IG_TRY(ig_cudnn_make(g, operations[which].type, &operation));
  IG_TRY(ig_cudnn_set(g, operation, names[0], CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &convolution));
  for (int i = 0; i < N_TENSORS; i++)
    IG_TRY(ig_cudnn_set(g, operation, names[1 + i], CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &tensors[i]));
  IG_TRY(ig_cudnn_set(g, operation, names[4], CUDNN_TYPE_FLOAT, 1, &alpha));
  IG_TRY(ig_cudnn_set(g, operation, names[5], CUDNN_TYPE_FLOAT, 1, &beta));
  return ig_cudnn_add(g, operation);
}

// to = from + other, or max(from, 0) where other is NULL; in fp32.
static ig_status add_pointwise(ig_cudnn_graph *g, descriptor from, descriptor other, descriptor to) {
  const cudnnPointwiseMode_t mode = other ? CUDNN_POINTWISE_ADD : CUDNN_POINTWISE_RELU_FWD;
  const cudnnDataType_t math = CUDNN_DATA_FLOAT;
  const cudnnNanPropagation_t nan = CUDNN_PROPAGATE_NAN;
  descriptor what, operation;
  IG_TRY(ig_cudnn_make(g, CUDNN_BACKEND_POINTWISE_DESCRIPTOR, &what));
  IG_TRY(ig_cudnn_set(g, what, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode));
  IG_TRY(ig_cudnn_set(g, what, CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1, &math));
  if (!other)
    IG_TRY(ig_cudnn_set(g, what, CUDNN_ATTR_POINTWISE_NAN_PROPAGATION, CUDNN_TYPE_NAN_PROPOGATION, 1, &nan));
  IG_TRY(ig_cudnn_finalize(g, what));
  IG_TRY(ig_cudnn_make(g, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR, &operation));
  IG_TRY(ig_cudnn_set(g, operation, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
                      &what));
  IG_TRY(ig_cudnn_set(g, operation, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &from));
  if (other)
    IG_TRY(ig_cudnn_set(g, operation, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &other));
  IG_TRY(ig_cudnn_set(g, operation, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &to));
  return ig_cudnn_add(g, operation);
}

// The next place of the graph is operand i of the node, or OUT.
static void at(plan *p, int i) { p->place[p->graph.n_places] = i; }

// Convolution and what follows it, each into a tensor of its own: y where nothing is behind it.
static ig_status make_fused(const ig_node *n, const ig_conv2d_dims *d, plan *p) {
  ig_cudnn_graph *g = &p->graph;
  const ig_dtype type = n->in[0]->dtype;
  const bool relu = ((const ig_conv2d_fused_attr *)n->attr)->relu;
  int left = (n->in[2] != NULL) + (n->in[3] != NULL) + relu;
  descriptor tensors[N_TENSORS], conv, other, y;
  at(p, 0);
  IG_TRY(ig_cudnn_image(g, type, d->N, d->C, d->H, d->W, false, &tensors[X]));
  at(p, 1);
  IG_TRY(ig_cudnn_image(g, type, d->K, d->C / d->groups, d->R, d->S, false, &tensors[W]));
  at(p, OUT);
  IG_TRY(ig_cudnn_image(g, type, d->N, d->K, d->P, d->Q, false, &y));
  IG_TRY(convolution(g, d, &conv));
  for (int i = 1; i < 5; i++) {  // convolution, bias, residual, ReLU
    const descriptor from = tensors[Y];
    if (i > 1 && (i == 4 ? !relu : !n->in[i]))
      continue;
    if (left == 0)
      tensors[Y] = y;
    else
      IG_TRY(ig_cudnn_image(g, IG_F32, d->N, d->K, d->P, d->Q, true, &tensors[Y]));
    left--;
    other = NULL;
    if (i == 2 || i == 3) {
      at(p, i);
      IG_TRY(i == 2 ? ig_cudnn_image(g, IG_F32, 1, d->K, 1, 1, false, &other)
                    : ig_cudnn_image(g, type, d->N, d->K, d->P, d->Q, false, &other));
    }
    IG_TRY(i == 1 ? add_convolution(g, FORWARD, conv, tensors) : add_pointwise(g, from, other, tensors[Y]));
  }
  return IG_OK;
}

static ig_status make(const ig_node *n, plan *p) {
  static const int places[3][N_TENSORS] = {[FORWARD] = {0, 1, OUT}, [DATA] = {OUT, 1, 0}, [WEIGHTS] = {0, OUT, 1}};
  const ig_conv2d_dims d = ig_conv2d_dims_of(n);
  const pass which = pass_of(n);
  const ig_dtype type = n->in[0]->dtype;
  ig_cudnn_graph *g = &p->graph;
  descriptor tensors[N_TENSORS], conv;
  IG_TRY(ig_cudnn_graph_open(g));
  if (is_fused(n))
    return make_fused(n, &d, p);
  memcpy(p->place, places[which], sizeof places[which]);
  IG_TRY(ig_cudnn_image(g, type, d.N, d.C, d.H, d.W, false, &tensors[X]));
  IG_TRY(ig_cudnn_image(g, type, d.K, d.C / d.groups, d.R, d.S, false, &tensors[W]));
  if (which == WEIGHTS && type != n->out[0]->dtype)
    p->narrow_bytes = round_up((size_t)ig_shape_count(&n->out[0]->shape) * ig_dtype_bytes(type));
  IG_TRY(ig_cudnn_image(g, type, d.N, d.K, d.P, d.Q, false, &tensors[Y]));
  IG_TRY(convolution(g, &d, &conv));
  return add_convolution(g, which, conv, tensors);
}

static bool supports(const ig_node *n, const ig_device_caps *caps, char *why, size_t why_bytes) {
  const bool bias = !is_fused(n) && n->n_in > 2 && n->in[2],
             sums = pass_of(n) == WEIGHTS && ((const ig_conv2d_bwd_attr *)n->attr)->has_bias;
  const ig_dtype type = n->in[0]->dtype;
  plan *p;
  if (type == IG_F64 || (type == IG_BF16 && !caps->bf16) || (type == IG_F32 && !caps->tf32) || bias || sums) {
    snprintf(why, why_bytes, "%s", bias || sums ? "it has a bias" : "its type is neither bf16, f16 nor tf32");
    return false;
  }
  ig_status status = ig_alloc(sizeof *p, "plan of a convolution", &p);
  if (status == IG_OK) {
    status = make(n, p);
    if (status == IG_OK)
      status = ig_cudnn_ask(&p->graph);
    destroy(p);
  }
  if (status != IG_OK)
    snprintf(why, why_bytes, "%s", ig_error_message());
  return status == IG_OK;
}

static ig_status prepare(ig_prepare *prepare) {
  const ig_node *n = prepare->node;
  const ig_conv2d_dims d = ig_conv2d_dims_of(n);
  bool timed = false;
  plan *p;
  for (int i = 0; i < n->n_in; i++)
    prepare->in_layout[i] = IG_PLAIN;
  for (int i = 0; i < n->n_out; i++)
    prepare->out_layout[i] = IG_PLAIN;
  if (d.R * d.S > 1)
    *(pass_of(n) == WEIGHTS ? &prepare->out_layout[0] : &prepare->in_layout[1]) = IG_KRSC;
  IG_TRY(ig_alloc(sizeof *p, "plan of a convolution", &p));
  ig_status status = make(n, p);
  if (status == IG_OK)
    status = ig_cudnn_choose(&p->graph, prepare, &timed);
  prepare->workspace_bytes += p->narrow_bytes;
  if (status == IG_OK && timed)
    status = ig_cudnn_keep(&p->graph, prepare);
  if (status != IG_OK) {
    destroy(p);
    return status;
  }
  prepare->state = p;
  return IG_OK;
}

static ig_status run(const ig_launch *l) {
  plan *p = l->state;
  const cudaStream_t stream = (cudaStream_t)(l->stream ? l->stream : l->device->stream);
  void *places[MAX_PLACES] = {NULL}, *rest = (char *)l->workspace + p->narrow_bytes;
  for (int i = 0; i < p->graph.n_places; i++)
    places[i] = p->place[i] != OUT ? l->in[p->place[i]] : p->narrow_bytes ? l->workspace : l->out[0];
  if (l->node->n_out > 1)
    IG_CUDA(cudaMemsetAsync(l->out[1], 0, sizeof(float), stream));
  IG_TRY(ig_cudnn_launch(&p->graph, places, rest, stream));
  if (!p->narrow_bytes)
    return IG_OK;
  const ig_tensor *dw = l->node->out[0];
  return ig_cuda_widen(l, l->out[0], l->workspace, l->node->in[0]->dtype, ig_shape_count(&dw->shape));
}

#define IMPL(name_, extra)                                                                                     \
  {                                                                                                            \
    .name = name_, .flags = IG_IMPL_THREAD_FREE | extra, .supports = supports, .prepare = prepare, .run = run, \
    .destroy = destroy                                                                                         \
  }
IG_IMPLS(conv2d_cudnn) = {IMPL("conv2d_cudnn", 0),
                          IMPL("conv2d_fused_cudnn", IG_IMPL_APART),
                          IMPL("conv2d_bwd_data_cudnn", 0),
                          IMPL("conv2d_bwd_weights_cudnn", IG_IMPL_ROUNDED),
                          {0}};
#else
IG_IMPLS(conv2d_cudnn) = {{0}};  // no cudnn_graph.h where this was built
#endif
