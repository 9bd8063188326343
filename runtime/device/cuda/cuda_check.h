// Checked calls of the CUDA runtime. Rule: every call is checked; its text is in the message.
#ifndef IG_DEVICE_CUDA_CHECK_H
#define IG_DEVICE_CUDA_CHECK_H

#include <cuda_runtime_api.h>

#include "runtime/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

// "cudaMemcpyAsync(...): an illegal memory access was encountered (cudaErrorIllegalAddress)" with what helps.
ig_status ig_cuda_fail(cudaError_t error, const char *call);

#define IG_CUDA(call)                             \
  do {                                            \
    cudaError_t ig_cuda_error_ = (call);          \
    if (ig_cuda_error_ != cudaSuccess)            \
      return ig_cuda_fail(ig_cuda_error_, #call); \
  } while (0)

// After a <<<>>> launch: what the launch itself found wrong.
#define IG_CUDA_LAUNCHED() IG_CUDA(cudaGetLastError())

#ifdef __cplusplus
}
#endif
#endif
