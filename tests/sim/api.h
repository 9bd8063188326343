// What the files of the fake runtime's functions (api_*.cc) share. Rule: each function begins with BEGIN (lock, count,
// injected failure, sticky error) and ends with end(), which keeps the last error as the real one does.
#pragma once
#include <cuda_runtime.h>

#include "tests/sim/runtime.h"

namespace sim {

cudaError_t end(cudaError_t e);
cudaError_t sticky();  // ends a call that waited
cudaError_t unsafe();  // what a capture forbids ends the capture, as in the real runtime
void forget_last_error();
cudaError_t submit(cudaStream_t h, std::shared_ptr<Work> w);  // to the stream, or to the graph that it captures
std::map<std::string, int> &dynamic_limits();                 // cudaFuncAttributeMaxDynamicSharedMemorySize
constexpr u32 SHARED_DEFAULT = 48 << 10, SHARED_OPTIN = 227 << 10;

struct Hold {
  std::lock_guard<std::recursive_mutex> hold;
  cudaError_t error;
  explicit Hold(const char *name) : hold(runtime().lock), error(begin_call(name)) {
    if (error == cudaSuccess)
      error = runtime().sticky;
  }
};

}  // namespace sim

#define BEGIN(name)  \
  Hold hold_(#name); \
  if (hold_.error)   \
  return end(hold_.error)
#define UNSAFE()                                    \
  if (cudaError_t e_ = unsafe(); e_ != cudaSuccess) \
  return end(e_)
#define STREAM(s, h)        \
  Stream *s = stream_of(h); \
  if (!s)                   \
  return end(cudaErrorInvalidResourceHandle)
