// Graphs of cuDNN: see cudnn_graph.h. It has not run on a GPU yet, only against tests/sim/fakes/cudnn.c.
#include "kernels/cuda_common/cudnn_graph.h"

#include <stdio.h>
#include <string.h>

#include "runtime/device/cuda/cuda_check.h"

#ifdef IG_HAS_CUDNN
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"  // handles of graphs and plans: needed before 9.8

typedef ig_cudnn_descriptor descriptor;

#define DNN(call)                                                                               \
  do {                                                                                          \
    cudnnStatus_t dnn_status_ = g->dnn->call;                                                   \
    if (dnn_status_ != CUDNN_STATUS_SUCCESS)                                                    \
      return ig_fail(IG_ERR_DEVICE, "%s: %s", #call, g->dnn->cudnnGetErrorString(dnn_status_)); \
  } while (0)

// ---- descriptors ----
static void drop(ig_cudnn_graph *g, descriptor *d) {
  if (*d)
    g->dnn->cudnnBackendDestroyDescriptor(*d);
  *d = NULL;
}

// Plans and engines; the graph stays.
static void drop_plans(ig_cudnn_graph *g) {
  drop(g, &g->pack);
  for (int i = 0; i < IG_CUDNN_ENGINES; i++)
    drop(g, &g->plans[i]);
  g->n_plans = 0;
}

ig_status ig_cudnn_graph_open(ig_cudnn_graph *g) { return ig_cudnn_open(&g->dnn, &g->handle); }

void ig_cudnn_graph_close(ig_cudnn_graph *g) {
  drop_plans(g);
  for (int i = 0; i < IG_CUDNN_ENGINES; i++)
    drop(g, &g->configs[i]);
  drop(g, &g->engine);
  drop(g, &g->heuristic);
  drop(g, &g->graph);
  while (g->n_parts > 0)
    drop(g, &g->parts[--g->n_parts]);
}

static ig_status create(ig_cudnn_graph *g, cudnnBackendDescriptorType_t type, descriptor *out) {
  DNN(cudnnBackendCreateDescriptor(type, out));
  return IG_OK;
}

ig_status ig_cudnn_make(ig_cudnn_graph *g, cudnnBackendDescriptorType_t type, descriptor *out) {
  if (g->n_parts == IG_CUDNN_PARTS)
    return ig_fail(IG_ERR_INTERNAL, "a cuDNN graph of more than %d descriptors", IG_CUDNN_PARTS);
  IG_TRY(create(g, type, out));
  g->parts[g->n_parts++] = *out;
  return IG_OK;
}

ig_status ig_cudnn_set(ig_cudnn_graph *g, descriptor d, cudnnBackendAttributeName_t name,
                       cudnnBackendAttributeType_t type, int64_t n, const void *values) {
  DNN(cudnnBackendSetAttribute(d, name, type, n, values));
  return IG_OK;
}

ig_status ig_cudnn_finalize(ig_cudnn_graph *g, descriptor d) {
  DNN(cudnnBackendFinalize(d));
  return IG_OK;
}

cudnnDataType_t ig_cudnn_type(ig_dtype t) {
  return t == IG_BF16 ? CUDNN_DATA_BFLOAT16 : t == IG_F16 ? CUDNN_DATA_HALF : CUDNN_DATA_FLOAT;
}

ig_status ig_cudnn_add_tensor(ig_cudnn_graph *g, const ig_cudnn_tensor *t, descriptor *out) {
  const int64_t id = ++g->n_tensors, align = 16;
  const bool yes = true;
  IG_TRY(ig_cudnn_make(g, CUDNN_BACKEND_TENSOR_DESCRIPTOR, out));
  IG_TRY(ig_cudnn_set(g, *out, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &t->type));
  IG_TRY(ig_cudnn_set(g, *out, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, t->dims));
  IG_TRY(ig_cudnn_set(g, *out, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, t->strides));
  IG_TRY(ig_cudnn_set(g, *out, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &id));
  IG_TRY(ig_cudnn_set(g, *out, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &align));
  if (t->is_virtual)
    IG_TRY(ig_cudnn_set(g, *out, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &yes));
  if (t->by_value)
    IG_TRY(ig_cudnn_set(g, *out, CUDNN_ATTR_TENSOR_IS_BY_VALUE, CUDNN_TYPE_BOOLEAN, 1, &yes));
  if (t->ragged)
    IG_TRY(ig_cudnn_set(g, *out, CUDNN_ATTR_TENSOR_RAGGED_OFFSET_DESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &t->ragged));
  if (!t->is_virtual) {
    if (g->n_places == IG_TIMED_PLACES)
      return ig_fail(IG_ERR_INTERNAL, "a cuDNN graph of more than %d tensors", IG_TIMED_PLACES);
    g->ids[g->n_places] = id;
    g->bytes[g->n_places++] = t->bytes;
  }
  return ig_cudnn_finalize(g, *out);
}

ig_status ig_cudnn_image(ig_cudnn_graph *g, ig_dtype type, int64_t n, int64_t c, int64_t h, int64_t w, bool is_virtual,
                         descriptor *out) {
  const ig_cudnn_tensor t = {.type = ig_cudnn_type(type),
                             .dims = {n, c, h, w},
                             .strides = {h * w * c, 1, w * c, c},
                             .bytes = (size_t)(n * c * h * w) * ig_dtype_bytes(type),
                             .is_virtual = is_virtual};
  return ig_cudnn_add_tensor(g, &t, out);
}

ig_status ig_cudnn_add(ig_cudnn_graph *g, descriptor operation) {
  if (g->n_operations == IG_CUDNN_OPERATIONS)
    return ig_fail(IG_ERR_INTERNAL, "a cuDNN graph of more than %d operations", IG_CUDNN_OPERATIONS);
  IG_TRY(ig_cudnn_finalize(g, operation));
  g->operations[g->n_operations++] = operation;
  return IG_OK;
}

// ---- engines ----
// Whether a config's engine may add up in less than fp32, which it then says in a note.
static ig_status sums_in_less(ig_cudnn_graph *g, descriptor config, bool *less) {
  cudnnBackendNumericalNote_t notes[CUDNN_NUMERICAL_NOTE_TYPE_COUNT];
  int64_t n = 0;
  *less = false;
  drop(g, &g->engine);
  IG_TRY(create(g, CUDNN_BACKEND_ENGINE_DESCRIPTOR, &g->engine));
  DNN(cudnnBackendGetAttribute(config, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &n, &g->engine));
  DNN(cudnnBackendGetAttribute(g->engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE,
                               CUDNN_NUMERICAL_NOTE_TYPE_COUNT, &n, notes));
  for (int64_t i = 0; i < n && i < CUDNN_NUMERICAL_NOTE_TYPE_COUNT; i++)
    *less |= notes[i] == CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION;
  return IG_OK;
}

// Leaves those out.
static ig_status keep_whole_sums(ig_cudnn_graph *g) {
  const int n = g->n_configs;
  g->n_configs = 0;
  for (int i = 0; i < n; i++) {
    const descriptor config = g->configs[i];
    bool less;
    IG_TRY(sums_in_less(g, config, &less));
    if (less)
      continue;
    g->configs[i] = g->configs[g->n_configs];
    g->configs[g->n_configs++] = config;
  }
  return IG_OK;
}

ig_status ig_cudnn_ask(ig_cudnn_graph *g) {
  const cudnnBackendHeurMode_t mode = CUDNN_HEUR_MODE_A;
  int64_t n = 0;
  IG_TRY(create(g, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR, &g->graph));
  IG_TRY(ig_cudnn_set(g, g->graph, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &g->handle));
  IG_TRY(ig_cudnn_set(g, g->graph, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, g->n_operations,
                      g->operations));
  IG_TRY(ig_cudnn_finalize(g, g->graph));
  IG_TRY(create(g, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, &g->heuristic));
  IG_TRY(ig_cudnn_set(g, g->heuristic, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
                      &g->graph));
  IG_TRY(ig_cudnn_set(g, g->heuristic, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode));
  IG_TRY(ig_cudnn_finalize(g, g->heuristic));
  for (int i = 0; i < IG_CUDNN_ENGINES; i++)
    IG_TRY(create(g, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, &g->configs[i]));
  DNN(cudnnBackendGetAttribute(g->heuristic, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                               IG_CUDNN_ENGINES, &n, g->configs));
  g->n_configs = (int)(n < IG_CUDNN_ENGINES ? n : IG_CUDNN_ENGINES);
  IG_TRY(keep_whole_sums(g));
  return g->n_configs ? IG_OK : ig_fail(IG_ERR_UNSUPPORTED, "cuDNN has no engine for it that adds up in fp32");
}

// The execution plan of engine i, if there is one: what the chip or the types rule out does not finalize.
static ig_status plan_engine(ig_cudnn_graph *g, int i) {
  descriptor *d = &g->plans[g->n_plans];
  int64_t got = 0;
  IG_TRY(create(g, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, d));
  IG_TRY(ig_cudnn_set(g, *d, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &g->handle));
  IG_TRY(
      ig_cudnn_set(g, *d, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &g->configs[i]));
  const cudnnStatus_t status = g->dnn->cudnnBackendFinalize(*d);
  if (status != CUDNN_STATUS_SUCCESS) {
    g->refusal = status;
    drop(g, d);
    return IG_OK;
  }
  DNN(cudnnBackendGetAttribute(*d, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &got,
                               &g->workspace[g->n_plans]));
  g->config_of[g->n_plans++] = i;
  return IG_OK;
}

static ig_status plan_engines(ig_cudnn_graph *g) {
  for (int i = 0; i < g->n_configs; i++)
    IG_TRY(plan_engine(g, i));
  return g->n_plans ? IG_OK
                    : ig_fail(IG_ERR_UNSUPPORTED, "cuDNN named %d engines for it, none of which has a plan: %s",
                              g->n_configs, g->dnn->cudnnGetErrorString(g->refusal));
}

static ig_status launch_one(void *user, int which, void *const *places) {
  ig_cudnn_graph *g = user;
  void *at[IG_TIMED_PLACES];
  memcpy(at, places, (size_t)g->n_places * sizeof *at);
  if (g->ready)
    IG_TRY(g->ready(g->user, at, g->stream));
  g->chosen = which;
  return ig_cudnn_launch(g, at, places[g->n_places], g->stream);
}

static ig_status time_engines(ig_cudnn_graph *g, ig_prepare *prepare) {
  int64_t workspace = 0;
  int chosen;
  IG_TRY(plan_engines(g));
  for (int i = 0; i < g->n_plans; i++)
    workspace = g->workspace[i] > workspace ? g->workspace[i] : workspace;
  g->stream = (cudaStream_t)prepare->device->stream;
  IG_TRY(ig_cuda_fastest(g->n_plans, launch_one, g, g->bytes, g->n_places, (size_t)workspace, g->stream, &chosen));
  g->chosen = chosen;
  return IG_OK;
}

ig_status ig_cudnn_choose(ig_cudnn_graph *g, ig_prepare *prepare, bool *timed) {
  int stored;
  size_t workspace;
  IG_TRY(ig_cudnn_ask(g));
  if (ig_cuda_recall(prepare, "cudnn", g->n_configs, &stored, &workspace)) {
    IG_TRY(plan_engine(g, stored));
    if (g->n_plans == 0 || (size_t)g->workspace[0] != workspace)
      drop_plans(g);  // not the engine that was timed
    g->chosen = 0;
  }
  *timed = g->n_plans == 0;
  if (*timed)
    IG_TRY(time_engines(g, prepare));
  prepare->workspace_bytes = (size_t)g->workspace[g->chosen];
  return IG_OK;
}

ig_status ig_cudnn_keep(const ig_cudnn_graph *g, const ig_prepare *prepare) {
  return ig_cuda_keep(prepare, "cudnn", g->config_of[g->chosen], g->n_configs, (size_t)g->workspace[g->chosen]);
}

// ---- execution ----
ig_status ig_cudnn_launch(ig_cudnn_graph *g, void *const *places, void *workspace, cudaStream_t stream) {
  void *at[IG_TIMED_PLACES + 1] = {NULL};
  memcpy(at, places, (size_t)g->n_places * sizeof *at);
  at[IG_TIMED_PLACES] = workspace;
  if (!g->pack || memcmp(g->bound, at, sizeof at)) {
    drop(g, &g->pack);
    IG_TRY(create(g, CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, &g->pack));
    IG_TRY(ig_cudnn_set(g, g->pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, g->n_places, g->ids));
    IG_TRY(ig_cudnn_set(g, g->pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, g->n_places, at));
    IG_TRY(ig_cudnn_set(g, g->pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace));
    IG_TRY(ig_cudnn_finalize(g, g->pack));
    memcpy(g->bound, at, sizeof at);
  }
  DNN(cudnnSetStream(g->handle, stream));
  DNN(cudnnBackendExecute(g->handle, g->plans[g->chosen], g->pack));
  return IG_OK;
}
#endif
