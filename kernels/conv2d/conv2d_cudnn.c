// The three convolution rows by cuDNN's graph API (back-end descriptors): one operation, heuristics, the fastest of the
// first engines. Rule: not for deterministic plans, nor for fp32 without tf32 or with a bias: those are conv2d_cuda's;
// it has not run on a GPU yet, only against tests/sim/fakes/cudnn.c.
#include <stdio.h>
#include <string.h>

#include "kernels/conv2d/conv2d.h"
#include "kernels/cuda_common/cuda_libraries.h"
#include "kernels/kernels.h"
#include "runtime/device/cuda/cuda_check.h"

#ifdef IG_HAS_CUDNN
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"  // handles of graphs and plans: needed before 9.8

#define ENGINES 8

typedef enum pass { FORWARD, DATA, WEIGHTS } pass;
typedef cudnnBackendDescriptor_t descriptor;
enum { X, W, Y, N_TENSORS };  // the tensors' ids are 1 + these

typedef struct plan {
  const ig_cudnn *dnn;
  cudnnHandle_t handle;
  descriptor tensors[N_TENSORS], convolution, operation, graph, heuristic, configs[ENGINES], plans[ENGINES], pack;
  int64_t workspace[ENGINES];
  int n_plans, chosen;
  int place[N_TENSORS];  // operand of X, W, Y: 0, 1, or 2 = the result
  size_t bytes[N_TENSORS];
  void *bound[N_TENSORS + 1];  // addresses that `pack` holds
  cudaStream_t stream;         // of the timing
} plan;

#define DNN(call)                                                                               \
  do {                                                                                          \
    cudnnStatus_t dnn_status_ = p->dnn->call;                                                   \
    if (dnn_status_ != CUDNN_STATUS_SUCCESS)                                                    \
      return ig_fail(IG_ERR_DEVICE, "%s: %s", #call, p->dnn->cudnnGetErrorString(dnn_status_)); \
  } while (0)

static void drop(plan *p, descriptor *d) {
  if (*d)
    p->dnn->cudnnBackendDestroyDescriptor(*d);
  *d = NULL;
}

static void destroy(void *state) {
  plan *p = state;
  drop(p, &p->pack);
  for (int i = 0; i < ENGINES; i++) {
    drop(p, &p->plans[i]);
    drop(p, &p->configs[i]);
  }
  drop(p, &p->heuristic);
  drop(p, &p->graph);
  drop(p, &p->operation);
  drop(p, &p->convolution);
  for (int i = 0; i < N_TENSORS; i++)
    drop(p, &p->tensors[i]);
  ig_free(p);
}

static ig_status create(plan *p, cudnnBackendDescriptorType_t type, descriptor *out) {
  DNN(cudnnBackendCreateDescriptor(type, out));
  return IG_OK;
}
static ig_status set(plan *p, descriptor d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                     int64_t n, const void *values) {
  DNN(cudnnBackendSetAttribute(d, name, type, n, values));
  return IG_OK;
}
static ig_status finalize(plan *p, descriptor d) {
  DNN(cudnnBackendFinalize(d));
  return IG_OK;
}

static cudnnDataType_t type_of(ig_dtype t) {
  return t == IG_BF16 ? CUDNN_DATA_BFLOAT16 : t == IG_F16 ? CUDNN_DATA_HALF : CUDNN_DATA_FLOAT;
}

// A tensor of dimensions n, c, h, w whose channels lie together.
static ig_status tensor(plan *p, int which, ig_dtype type, int64_t n, int64_t c, int64_t h, int64_t w) {
  const int64_t id = 1 + which, align = 16, dims[] = {n, c, h, w}, strides[] = {h * w * c, 1, w * c, c};
  const cudnnDataType_t as = type_of(type);
  descriptor *d = &p->tensors[which];
  p->bytes[which] = (size_t)(n * c * h * w) * ig_dtype_bytes(type);
  IG_TRY(create(p, CUDNN_BACKEND_TENSOR_DESCRIPTOR, d));
  IG_TRY(set(p, *d, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &as));
  IG_TRY(set(p, *d, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, dims));
  IG_TRY(set(p, *d, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, strides));
  IG_TRY(set(p, *d, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &id));
  IG_TRY(set(p, *d, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &align));
  return finalize(p, *d);
}

static ig_status convolution(plan *p, const ig_conv2d_dims *d) {
  const int64_t spatial = 2, dilation[] = {d->dilation_h, d->dilation_w}, stride[] = {d->stride_h, d->stride_w},
                before[] = {d->pad_top, d->pad_left}, behind[] = {d->pad_bottom, d->pad_right};
  const cudnnDataType_t sums = CUDNN_DATA_FLOAT;
  const cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
  IG_TRY(create(p, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, &p->convolution));
  IG_TRY(set(p, p->convolution, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &sums));
  IG_TRY(set(p, p->convolution, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode));
  IG_TRY(set(p, p->convolution, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1, &spatial));
  IG_TRY(set(p, p->convolution, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, 2, dilation));
  IG_TRY(set(p, p->convolution, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, 2, stride));
  IG_TRY(set(p, p->convolution, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, 2, before));
  IG_TRY(set(p, p->convolution, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, 2, behind));
  return finalize(p, p->convolution);
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

static pass pass_of(const ig_node *n) {
  return !strcmp(n->op->name, "conv2d") ? FORWARD : !strcmp(n->op->name, "conv2d_bwd_data") ? DATA : WEIGHTS;
}

static ig_status operation(plan *p, pass which) {
  const float alpha = 1, beta = 0;
  const cudnnBackendAttributeName_t *names = operations[which].names;
  IG_TRY(create(p, operations[which].type, &p->operation));
  IG_TRY(set(p, p->operation, names[0], CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &p->convolution));
  for (int i = 0; i < N_TENSORS; i++)
    IG_TRY(set(p, p->operation, names[1 + i], CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &p->tensors[i]));
  IG_TRY(set(p, p->operation, names[4], CUDNN_TYPE_FLOAT, 1, &alpha));
  IG_TRY(set(p, p->operation, names[5], CUDNN_TYPE_FLOAT, 1, &beta));
  IG_TRY(finalize(p, p->operation));
  IG_TRY(create(p, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR, &p->graph));
  IG_TRY(set(p, p->graph, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &p->handle));
  IG_TRY(set(p, p->graph, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &p->operation));
  return finalize(p, p->graph);
}

// Execution plans of the heuristics' first engines; one that the chip or the types rule out does not finalize.
static ig_status engines(plan *p) {
  const cudnnBackendHeurMode_t mode = CUDNN_HEUR_MODE_A;
  int64_t n = 0;
  IG_TRY(create(p, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, &p->heuristic));
  IG_TRY(set(p, p->heuristic, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &p->graph));
  IG_TRY(set(p, p->heuristic, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode));
  IG_TRY(finalize(p, p->heuristic));
  for (int i = 0; i < ENGINES; i++)
    IG_TRY(create(p, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, &p->configs[i]));
  DNN(cudnnBackendGetAttribute(p->heuristic, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, ENGINES, &n,
                               p->configs));
  for (int i = 0; i < n && i < ENGINES; i++) {
    descriptor *d = &p->plans[p->n_plans];
    int64_t got = 0;
    IG_TRY(create(p, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, d));
    IG_TRY(set(p, *d, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &p->handle));
    IG_TRY(set(p, *d, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &p->configs[i]));
    if (p->dnn->cudnnBackendFinalize(*d) != CUDNN_STATUS_SUCCESS) {
      drop(p, d);
      continue;
    }
    DNN(cudnnBackendGetAttribute(*d, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &got,
                                 &p->workspace[p->n_plans]));
    p->n_plans++;
  }
  if (p->n_plans == 0)
    return ig_fail(IG_ERR_UNSUPPORTED, "cuDNN has no engine for it");
  return IG_OK;
}

static ig_status make(const ig_node *n, plan *p) {
  const ig_conv2d_dims d = ig_conv2d_dims_of(n);
  const pass which = pass_of(n);
  const ig_dtype type = n->in[0]->dtype;
  IG_TRY(ig_cudnn_open(&p->dnn, &p->handle));
  static const int places[3][N_TENSORS] = {[FORWARD] = {0, 1, 2}, [DATA] = {2, 1, 0}, [WEIGHTS] = {0, 2, 1}};
  memcpy(p->place, places[which], sizeof p->place);
  IG_TRY(tensor(p, X, type, d.N, d.C, d.H, d.W));
  IG_TRY(tensor(p, W, which == WEIGHTS ? n->out[0]->dtype : type, d.K, d.C / d.groups, d.R, d.S));
  IG_TRY(tensor(p, Y, type, d.N, d.K, d.P, d.Q));
  IG_TRY(convolution(p, &d));
  IG_TRY(operation(p, which));
  return engines(p);
}

// at: addresses of X, W, Y, workspace.
static ig_status launch(plan *p, int engine, void *const *at, cudaStream_t stream) {
  const int64_t ids[N_TENSORS] = {1, 2, 3};
  if (!p->pack || memcmp(p->bound, at, sizeof p->bound)) {
    drop(p, &p->pack);
    IG_TRY(create(p, CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, &p->pack));
    IG_TRY(set(p, p->pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, N_TENSORS, ids));
    IG_TRY(set(p, p->pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, N_TENSORS, at));
    IG_TRY(set(p, p->pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &at[N_TENSORS]));
    IG_TRY(finalize(p, p->pack));
    memcpy(p->bound, at, sizeof p->bound);
  }
  DNN(cudnnSetStream(p->handle, stream));
  DNN(cudnnBackendExecute(p->handle, p->plans[engine], p->pack));
  return IG_OK;
}

static ig_status timed(void *user, int which, void *const *places) {
  plan *p = user;
  return launch(p, which, places, p->stream);
}

static bool supports(const ig_node *n, const ig_device_caps *caps, char *why, size_t why_bytes) {
  const bool bias = n->n_in > 2 && n->in[2],
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
    destroy(p);
  }
  if (status != IG_OK)
    snprintf(why, why_bytes, "%s", ig_error_message());
  return status == IG_OK;
}

static ig_status prepare(ig_prepare *prepare) {
  const ig_node *n = prepare->node;
  plan *p;
  for (int i = 0; i < n->n_in; i++)
    prepare->in_layout[i] = IG_PLAIN;
  for (int i = 0; i < n->n_out; i++)
    prepare->out_layout[i] = IG_PLAIN;
  IG_TRY(ig_alloc(sizeof *p, "plan of a convolution", &p));
  ig_status status = make(n, p);
  if (status == IG_OK) {
    const ig_conv2d_dims d = ig_conv2d_dims_of(n);
    int64_t workspace = 0;
    for (int i = 0; i < p->n_plans; i++)
      workspace = p->workspace[i] > workspace ? p->workspace[i] : workspace;
    if (d.R * d.S > 1)
      *(pass_of(n) == WEIGHTS ? &prepare->out_layout[0] : &prepare->in_layout[1]) = IG_KRSC;
    p->stream = (cudaStream_t)prepare->device->stream;
    status = ig_cuda_fastest(p->n_plans, timed, p, p->bytes, N_TENSORS, (size_t)workspace, p->stream, &p->chosen);
  }
  if (status != IG_OK) {
    destroy(p);
    return status;
  }
  prepare->workspace_bytes = (size_t)p->workspace[p->chosen];
  prepare->state = p;
  return IG_OK;
}

static ig_status run(const ig_launch *l) {
  plan *p = l->state;
  const cudaStream_t stream = (cudaStream_t)(l->stream ? l->stream : l->device->stream);
  void *at[N_TENSORS + 1];
  for (int i = 0; i < N_TENSORS; i++)
    at[i] = p->place[i] == 2 ? l->out[0] : l->in[p->place[i]];
  at[N_TENSORS] = l->workspace;
  if (l->node->n_out > 1)
    IG_CUDA(cudaMemsetAsync(l->out[1], 0, sizeof(float), stream));
  return launch(p, p->chosen, at, stream);
}

#define IMPL(name_)                                                                                    \
  {                                                                                                    \
    .name = name_, .flags = IG_IMPL_THREAD_FREE, .supports = supports, .prepare = prepare, .run = run, \
    .destroy = destroy                                                                                 \
  }
IG_IMPLS(conv2d_cudnn) = {IMPL("conv2d_cudnn"), IMPL("conv2d_bwd_data_cudnn"), IMPL("conv2d_bwd_weights_cudnn"), {0}};
#else
IG_IMPLS(conv2d_cudnn) = {{0}};  // no cudnn_graph.h where this was built
#endif
