// A graph of cuDNN's back-end descriptors: tensors, operations, the fastest of the heuristics' engines, its execution.
// Rule: a graph owns every descriptor that was made through it, and every call is checked; what the library refuses is
// a status, so that an implementation can leave.
#ifndef IG_KERNELS_CUDNN_GRAPH_H
#define IG_KERNELS_CUDNN_GRAPH_H

#include "kernels/cuda_common/cuda_libraries.h"
#include "kernels/kernels.h"

#ifdef IG_HAS_CUDNN

#ifdef __cplusplus
extern "C" {
#endif

enum { IG_CUDNN_PARTS = 32, IG_CUDNN_OPERATIONS = 8, IG_CUDNN_ENGINES = 8 };

typedef cudnnBackendDescriptor_t ig_cudnn_descriptor;

// Begins as zeros.
typedef struct ig_cudnn_graph {
  const ig_cudnn *dnn;
  cudnnHandle_t handle;
  ig_cudnn_descriptor parts[IG_CUDNN_PARTS], operations[IG_CUDNN_OPERATIONS];  // all but what follows; some of them
  ig_cudnn_descriptor graph, heuristic, engine, configs[IG_CUDNN_ENGINES], plans[IG_CUDNN_ENGINES], pack;
  int n_parts, n_operations, n_configs, n_plans, chosen;
  cudnnStatus_t refusal;            // why an engine had no plan
  int config_of[IG_CUDNN_ENGINES];  // of a plan
  int64_t workspace[IG_CUDNN_ENGINES];
  int n_tensors, n_places;  // places: tensors that have memory, in the order in which they were made
  int64_t ids[IG_TIMED_PLACES];
  size_t bytes[IG_TIMED_PLACES];
  void *bound[IG_TIMED_PLACES + 1];  // addresses that `pack` holds
  cudaStream_t stream;               // of the timing
  // Where operands are no plain numbers: puts them into the places, or changes these, before a timed launch.
  ig_status (*ready)(void *user, void **places, cudaStream_t stream);
  void *user;
} ig_cudnn_graph;

// A tensor of rank 4. by_value: one number, at an address of the host. ragged: where each outermost element begins, in
// elements.
typedef struct ig_cudnn_tensor {
  cudnnDataType_t type;
  int64_t dims[4], strides[4];
  size_t bytes;  // of its place
  bool is_virtual, by_value;
  ig_cudnn_descriptor ragged;
} ig_cudnn_tensor;

ig_status ig_cudnn_graph_open(ig_cudnn_graph *g);  // finds the library and the device's handle
void ig_cudnn_graph_close(ig_cudnn_graph *g);      // gives back every descriptor

ig_status ig_cudnn_make(ig_cudnn_graph *g, cudnnBackendDescriptorType_t type, ig_cudnn_descriptor *out);
ig_status ig_cudnn_set(ig_cudnn_graph *g, ig_cudnn_descriptor d, cudnnBackendAttributeName_t name,
                       cudnnBackendAttributeType_t type, int64_t n, const void *values);
ig_status ig_cudnn_finalize(ig_cudnn_graph *g, ig_cudnn_descriptor d);

cudnnDataType_t ig_cudnn_type(ig_dtype type);
ig_status ig_cudnn_add_tensor(ig_cudnn_graph *g, const ig_cudnn_tensor *t, ig_cudnn_descriptor *out);
// A tensor of n, c, h, w whose channels lie together: a place, or (virtual) what passes from operation to operation.
ig_status ig_cudnn_image(ig_cudnn_graph *g, ig_dtype type, int64_t n, int64_t c, int64_t h, int64_t w, bool is_virtual,
                         ig_cudnn_descriptor *out);
// Finalizes the operation and puts it behind the others.
ig_status ig_cudnn_add(ig_cudnn_graph *g, ig_cudnn_descriptor operation);

// For supports: the graph is whole; IG_ERR_UNSUPPORTED where the heuristics name no engine that adds up in fp32. No
// plan is made: that may compile a kernel, for half a second (docs/decisions.md, 46).
ig_status ig_cudnn_ask(ig_cudnn_graph *g);
// For prepare: the graph is whole; the engine of an earlier start (*timed = false), else the fastest by timing. Sets
// the workspace. What was timed is kept by ig_cudnn_keep. IG_ERR_UNSUPPORTED where no named engine has a plan: the
// implementation leaves.
ig_status ig_cudnn_choose(ig_cudnn_graph *g, ig_prepare *prepare, bool *timed);
ig_status ig_cudnn_keep(const ig_cudnn_graph *g, const ig_prepare *prepare);
// places: addresses in the order of the places.
ig_status ig_cudnn_launch(ig_cudnn_graph *g, void *const *places, void *workspace, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
#endif
#endif
