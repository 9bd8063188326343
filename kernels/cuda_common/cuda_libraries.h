// NVIDIA's libraries by tables of functions, opened at run time. Rule: nothing is linked; a library that is not there
// is a reason why an implementation does not take a node, never an error.
#ifndef IG_KERNELS_CUDA_LIBRARIES_H
#define IG_KERNELS_CUDA_LIBRARIES_H

#include <cublasLt.h>
#include <cuda_runtime_api.h>
#if __has_include(<cudnn_graph.h>)
#include <cudnn_graph.h>
#define IG_HAS_CUDNN 1
#endif

#include "runtime/base/status.h"
#include "runtime/graph/prepare.h"

#ifdef __cplusplus
extern "C" {
#endif

#define IG_LIBRARY_FUNCTION(name) __typeof__(name) *name;

// clang-format off
#define IG_CUBLASLT_FUNCTIONS(X)                                                                                \
  X(cublasLtCreate) X(cublasLtGetVersion) X(cublasLtGetStatusString) X(cublasLtMatmul)                          \
  X(cublasLtMatmulDescCreate) X(cublasLtMatmulDescDestroy) X(cublasLtMatmulDescSetAttribute)                    \
  X(cublasLtMatrixLayoutCreate) X(cublasLtMatrixLayoutDestroy) X(cublasLtMatmulPreferenceCreate)                \
  X(cublasLtMatmulPreferenceDestroy) X(cublasLtMatmulPreferenceSetAttribute) X(cublasLtMatmulAlgoGetHeuristic)
// clang-format on
typedef struct ig_cublaslt {
  IG_CUBLASLT_FUNCTIONS(IG_LIBRARY_FUNCTION)
} ig_cublaslt;
// IG_ERR_UNSUPPORTED says what is missing. handle: the calling thread's device's; both live as long as the process.
ig_status ig_cublaslt_open(const ig_cublaslt **out, cublasLtHandle_t *handle);

#ifdef IG_HAS_CUDNN
// clang-format off
#define IG_CUDNN_FUNCTIONS(X)                                                                                   \
  X(cudnnCreate) X(cudnnGetVersion) X(cudnnGetErrorString) X(cudnnSetStream) X(cudnnBackendCreateDescriptor)    \
  X(cudnnBackendDestroyDescriptor) X(cudnnBackendFinalize) X(cudnnBackendSetAttribute)                          \
  X(cudnnBackendGetAttribute) X(cudnnBackendExecute)
// clang-format on
typedef struct ig_cudnn {
  IG_CUDNN_FUNCTIONS(IG_LIBRARY_FUNCTION)
} ig_cudnn;
ig_status ig_cudnn_open(const ig_cudnn **out, cudnnHandle_t *handle);
#endif

// Times launch(user, which, places) for which = 0 .. n - 1 and gives the fastest: places are device memory of these
// sizes (at most IG_TIMED_PLACES), filled with small numbers that are not zero, then `workspace` bytes more. While
// planning only: it allocates and waits.
#define IG_TIMED_PLACES 16
typedef ig_status (*ig_timed_fn)(void *user, int which, void *const *places);
ig_status ig_cuda_fastest(int n, ig_timed_fn launch, void *user, const size_t *sizes, int n_sizes, size_t workspace,
                          cudaStream_t stream, int *chosen);

// The chosen one of a library's n engines or algorithms and its workspace, from an earlier start and for the next one
// (prepare.h). The order of a library's answers is its heuristics', which answer the same for the same problem, device
// and version; the number of answers and the workspace are compared, so that another list is noticed and timed anew. A
// wrong guess would be slower, never wrong.
bool ig_cuda_recall(const ig_prepare *prepare, const char *library, int n, int *chosen, size_t *workspace);
ig_status ig_cuda_keep(const ig_prepare *prepare, const char *library, int chosen, int n, size_t workspace);

// "cuBLASLt 13.1.0, cuDNN 9.15.0", "no cuDNN" for what is not there: part of the key of a timed choice.
void ig_cuda_libraries(char *text, size_t bytes);

#ifdef __cplusplus
}
#endif
#endif
