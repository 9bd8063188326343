// layernorm by cuDNN's norm operation in its inference phase, which gives y alone (cuda_common/cudnn_graph.h): rows are
// samples, columns its channels; gamma, beta and epsilon, a number of the host, are fp32; every type, as no tensor core
// rounds anything. y never lies where x lay (IG_IMPL_APART): cuDNN does not say that it may. Rule: not for
// deterministic plans; it has not run on a GPU yet, only against tests/sim/fakes/cudnn.c. Without a GPU the heuristics
// of cuDNN 9.26 name an engine for it (docs/decisions.md, 48). How that sums a variance is not documented:
// cuda_libraries_test compares it on a GPU.
//
// layernorm_bwd stays layernorm_cuda's: cuDNN's backward operation reads mean and inverse deviation of every row, which
// our row does not keep.
#include <stdio.h>

#include "kernels/cuda_common/cudnn_graph.h"
#include "kernels/kernels.h"
#include "kernels/layernorm/layernorm.h"

#ifdef IG_HAS_CUDNN
typedef ig_cudnn_descriptor descriptor;
enum { X, GAMMA, BETA, EPSILON, Y, N_PLACES };  // of the graph; the first three are the row's operands

typedef struct plan {
  ig_cudnn_graph graph;
  _Alignas(16) float epsilon;
} plan;

static void destroy(void *state) {
  plan *p = state;
  ig_cudnn_graph_close(&p->graph);
  ig_free(p);
}

static ig_status add_tensors(ig_cudnn_graph *g, const ig_node *n, descriptor *tensors) {
  const ig_cudnn_tensor number = {.type = CUDNN_DATA_FLOAT,
                                  .dims = {1, 1, 1, 1},
                                  .strides = {1, 1, 1, 1},
                                  .bytes = sizeof(float),
                                  .by_value = true};
  const ig_dtype type = n->in[X]->dtype;
  const int64_t T = n->in[X]->shape.d[0], D = n->in[X]->shape.d[1];
  IG_TRY(ig_cudnn_image(g, type, T, D, 1, 1, false, &tensors[X]));
  IG_TRY(ig_cudnn_image(g, IG_F32, 1, D, 1, 1, false, &tensors[GAMMA]));
  IG_TRY(ig_cudnn_image(g, IG_F32, 1, D, 1, 1, false, &tensors[BETA]));
  IG_TRY(ig_cudnn_add_tensor(g, &number, &tensors[EPSILON]));
  return ig_cudnn_image(g, type, T, D, 1, 1, false, &tensors[Y]);
}

static ig_status build(ig_cudnn_graph *g, const ig_node *n) {
  static const cudnnBackendAttributeName_t names[N_PLACES] = {
      CUDNN_ATTR_OPERATION_NORM_FWD_XDESC, CUDNN_ATTR_OPERATION_NORM_FWD_SCALE_DESC,
      CUDNN_ATTR_OPERATION_NORM_FWD_BIAS_DESC, CUDNN_ATTR_OPERATION_NORM_FWD_EPSILON_DESC,
      CUDNN_ATTR_OPERATION_NORM_FWD_YDESC};
  const cudnnBackendNormMode_t mode = CUDNN_LAYER_NORM;
  const cudnnBackendNormFwdPhase_t phase = CUDNN_NORM_FWD_INFERENCE;
  descriptor tensors[N_PLACES], operation;
  IG_TRY(ig_cudnn_graph_open(g));
  IG_TRY(add_tensors(g, n, tensors));
  IG_TRY(ig_cudnn_make(g, CUDNN_BACKEND_OPERATION_NORM_FORWARD_DESCRIPTOR, &operation));
  IG_TRY(ig_cudnn_set(g, operation, CUDNN_ATTR_OPERATION_NORM_FWD_MODE, CUDNN_TYPE_NORM_MODE, 1, &mode));
  IG_TRY(ig_cudnn_set(g, operation, CUDNN_ATTR_OPERATION_NORM_FWD_PHASE, CUDNN_TYPE_NORM_FWD_PHASE, 1, &phase));
  for (int i = 0; i < N_PLACES; i++)
    IG_TRY(ig_cudnn_set(g, operation, names[i], CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &tensors[i]));
  return ig_cudnn_add(g, operation);
}

// What is timed reads epsilon from the host, too.
static ig_status ready(void *user, void **places, cudaStream_t stream) {
  (void)stream;
  places[EPSILON] = &((plan *)user)->epsilon;
  return IG_OK;
}

static ig_status make(const ig_node *n, plan **out) {
  plan *p;
  IG_TRY(ig_alloc(sizeof *p, "plan of layer normalisation", &p));
  p->graph.ready = ready;
  p->graph.user = p;
  p->epsilon = ((const ig_layernorm_attr *)n->attr)->eps;
  const ig_status status = build(&p->graph, n);
  if (status != IG_OK)
    destroy(p);
  else
    *out = p;
  return status;
}

static bool supports(const ig_node *n, const ig_device_caps *caps, char *why, size_t why_bytes) {
  const ig_dtype type = n->in[X]->dtype;
  plan *p;
  const bool empty = ig_shape_count(&n->in[X]->shape) < 1;
  if (type == IG_F64 || (type == IG_BF16 && !caps->bf16) || empty) {
    snprintf(why, why_bytes, "%s",
             empty ? "there is nothing to do" : "its type is neither f32, f16 nor a device's bf16");
    return false;
  }
  ig_status status = make(n, &p);
  if (status == IG_OK) {
    status = ig_cudnn_ask(&p->graph);
    destroy(p);
  }
  if (status != IG_OK)
    snprintf(why, why_bytes, "%s", ig_error_message());
  return status == IG_OK;
}

static ig_status prepare(ig_prepare *prepare) {
  bool timed = false;
  plan *p;
  for (int i = X; i <= BETA; i++)
    prepare->in_layout[i] = IG_PLAIN;
  prepare->out_layout[0] = IG_PLAIN;
  IG_TRY(make(prepare->node, &p));
  ig_status status = ig_cudnn_choose(&p->graph, prepare, &timed);
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
  void *const places[N_PLACES] = {l->in[X], l->in[GAMMA], l->in[BETA], &p->epsilon, l->out[0]};
  return ig_cudnn_launch(&p->graph, places, l->workspace, (cudaStream_t)(l->stream ? l->stream : l->device->stream));
}

IG_IMPLS(layernorm_cudnn) = {{.name = "layernorm_cudnn",
                              .flags = IG_IMPL_THREAD_FREE | IG_IMPL_APART,
                              .supports = supports,
                              .prepare = prepare,
                              .run = run,
                              .destroy = destroy},
                             {0}};
#else
IG_IMPLS(layernorm_cudnn) = {{0}};  // no cudnn_graph.h where this was built
#endif
