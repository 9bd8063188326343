// The fake runtime: the device and what it says of itself, errors.
#include <cstdio>
#include <cuda_profiler_api.h>

#include "tests/sim/api.h"

using namespace sim;

static thread_local cudaError_t last_error = cudaSuccess;

namespace sim {

cudaError_t end(cudaError_t e) {
  if (e != cudaSuccess && e != cudaErrorNotReady)
    last_error = e;
  return e;
}
cudaError_t sticky() { return end(runtime().sticky); }
void forget_last_error() { last_error = cudaSuccess; }

cudaError_t unsafe() {
  bool bad = false;
  for (Capture *c : runtime().captures) {
    bool mine = c->thread == std::this_thread::get_id();
    if (c->mode == cudaStreamCaptureModeRelaxed || (c->mode == cudaStreamCaptureModeThreadLocal && !mine))
      continue;
    invalidate(c);
    bad = true;
  }
  return bad ? cudaErrorStreamCaptureUnsupported : cudaSuccess;
}

}  // namespace sim

extern "C" {

// ---- device ----
cudaError_t cudaGetDeviceCount(int *n) {
  BEGIN(cudaGetDeviceCount);
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !__builtin_cpu_supports("f16c") ||
      !heap_open())
    return end(cudaErrorNoDevice);
  *n = 1;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int d) {
  BEGIN(cudaSetDevice);
  return end(d ? cudaErrorInvalidDevice : cudaSuccess);
}
cudaError_t cudaGetDevice(int *d) {
  BEGIN(cudaGetDevice);
  *d = 0;
  return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int *v) {
  BEGIN(cudaDriverGetVersion);
  *v = CUDART_VERSION;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int *v) {
  BEGIN(cudaRuntimeGetVersion);
  *v = CUDART_VERSION;
  return cudaSuccess;
}
static void properties(cudaDeviceProp *p) {
  memset(p, 0, sizeof *p);
  snprintf(p->name, sizeof p->name, "Ingot CUDA simulator");
  p->totalGlobalMem = g_capacity;
  p->sharedMemPerBlock = SHARED_DEFAULT;
  p->sharedMemPerBlockOptin = SHARED_OPTIN;
  p->sharedMemPerMultiprocessor = 228 << 10;
  p->reservedSharedMemPerBlock = 1024;
  p->regsPerBlock = p->regsPerMultiprocessor = 65536;
  p->warpSize = 32;
  p->maxThreadsPerBlock = 1024;
  p->maxThreadsDim[0] = p->maxThreadsDim[1] = 1024;
  p->maxThreadsDim[2] = 64;
  p->maxGridSize[0] = 0x7fffffff;
  p->maxGridSize[1] = p->maxGridSize[2] = 65535;
  p->maxThreadsPerMultiProcessor = 2048;
  p->maxBlocksPerMultiProcessor = 32;
  p->multiProcessorCount = 132;
  p->major = 9;
  p->minor = 0;
  p->totalConstMem = 64 << 10;
  p->l2CacheSize = 50 << 20;
  p->memoryBusWidth = 6144;
  p->concurrentKernels = 1;
  p->asyncEngineCount = 3;
  p->unifiedAddressing = 1;
  p->canMapHostMemory = 1;
  p->cooperativeLaunch = 1;
  p->streamPrioritiesSupported = 1;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int d) {
  BEGIN(cudaGetDeviceProperties);
  if (d)
    return end(cudaErrorInvalidDevice);
  properties(p);
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int *v, cudaDeviceAttr a, int d) {
  BEGIN(cudaDeviceGetAttribute);
  if (d)
    return end(cudaErrorInvalidDevice);
  cudaDeviceProp p;
  properties(&p);
  switch (a) {
    case cudaDevAttrMultiProcessorCount:
      *v = p.multiProcessorCount;
      break;
    case cudaDevAttrComputeCapabilityMajor:
      *v = p.major;
      break;
    case cudaDevAttrComputeCapabilityMinor:
      *v = p.minor;
      break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *v = SHARED_OPTIN;
      break;
    case cudaDevAttrMaxSharedMemoryPerBlock:
      *v = SHARED_DEFAULT;
      break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
      *v = p.sharedMemPerMultiprocessor;
      break;
    case cudaDevAttrReservedSharedMemoryPerBlock:
      *v = 1024;
      break;
    case cudaDevAttrMaxThreadsPerBlock:
      *v = 1024;
      break;
    case cudaDevAttrMaxThreadsPerMultiProcessor:
      *v = 2048;
      break;
    case cudaDevAttrMaxBlocksPerMultiprocessor:
      *v = 32;
      break;
    case cudaDevAttrMaxRegistersPerBlock:
    case cudaDevAttrMaxRegistersPerMultiprocessor:
      *v = 65536;
      break;
    case cudaDevAttrWarpSize:
      *v = 32;
      break;
    case cudaDevAttrL2CacheSize:
      *v = p.l2CacheSize;
      break;
    case cudaDevAttrClockRate:
      *v = 1980000;
      break;
    case cudaDevAttrMemoryClockRate:
      *v = 3201000;
      break;
    case cudaDevAttrGlobalMemoryBusWidth:
      *v = p.memoryBusWidth;
      break;
    case cudaDevAttrAsyncEngineCount:
      *v = 3;
      break;
    case cudaDevAttrMaxGridDimX:
      *v = 0x7fffffff;
      break;
    case cudaDevAttrMaxGridDimY:
    case cudaDevAttrMaxGridDimZ:
      *v = 65535;
      break;
    case cudaDevAttrUnifiedAddressing:
    case cudaDevAttrConcurrentKernels:
    case cudaDevAttrCooperativeLaunch:
    case cudaDevAttrCanMapHostMemory:
      *v = 1;
      break;
    case cudaDevAttrIntegrated:
    case cudaDevAttrKernelExecTimeout:
    case cudaDevAttrComputeMode:
    case cudaDevAttrEccEnabled:
      *v = 0;
      break;
    default:
      *v = 0;
      return end(cudaErrorInvalidValue);
  }
  return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t *free, size_t *total) {
  BEGIN(cudaMemGetInfo);
  *free = g_capacity - g_heap.used;
  *total = g_capacity;
  return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize(void) {
  BEGIN(cudaDeviceSynchronize);
  UNSAFE();
  wait_all();
  return sticky();
}
cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest) {
  BEGIN(cudaDeviceGetStreamPriorityRange);
  *least = 0;
  *greatest = -5;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetPCIBusId(char *s, int n, int d) {
  BEGIN(cudaDeviceGetPCIBusId);
  snprintf(s, n, "0000:00:00.0");
  return end(d ? cudaErrorInvalidDevice : cudaSuccess);
}
cudaError_t cudaProfilerStart(void) {
  BEGIN(cudaProfilerStart);
  return cudaSuccess;
}
cudaError_t cudaProfilerStop(void) {
  BEGIN(cudaProfilerStop);
  return cudaSuccess;
}

// ---- errors ----
cudaError_t cudaGetLastError(void) {
  std::lock_guard<std::recursive_mutex> hold(runtime().lock);
  cudaError_t e = runtime().sticky ? runtime().sticky : last_error;
  last_error = cudaSuccess;
  return e;
}
cudaError_t cudaPeekAtLastError(void) {
  std::lock_guard<std::recursive_mutex> hold(runtime().lock);
  return runtime().sticky ? runtime().sticky : last_error;
}
struct Named {
  cudaError_t e;
  const char *name, *text;
};
#define E(x, text) \
  { x, #x, text }
static const Named errors[] = {
    E(cudaSuccess, "no error"),
    E(cudaErrorInvalidValue, "invalid argument"),
    E(cudaErrorMemoryAllocation, "out of memory"),
    E(cudaErrorInitializationError, "initialization error"),
    E(cudaErrorInvalidConfiguration, "invalid configuration argument"),
    E(cudaErrorInvalidSymbol, "invalid device symbol"),
    E(cudaErrorInvalidDeviceFunction, "invalid device function"),
    E(cudaErrorInvalidMemcpyDirection, "invalid copy direction for memcpy"),
    E(cudaErrorInsufficientDriver, "CUDA driver version is insufficient for CUDA runtime version"),
    E(cudaErrorNoDevice, "no CUDA-capable device is detected"),
    E(cudaErrorInvalidDevice, "invalid device ordinal"),
    E(cudaErrorNoKernelImageForDevice, "no kernel image is available for execution on the device"),
    E(cudaErrorInvalidResourceHandle, "invalid resource handle"),
    E(cudaErrorNotReady, "device not ready"),
    E(cudaErrorIllegalAddress, "an illegal memory access was encountered"),
    E(cudaErrorLaunchOutOfResources, "too many resources requested for launch"),
    E(cudaErrorLaunchTimeout, "the launch timed out and was terminated"),
    E(cudaErrorAssert, "device-side assert triggered"),
    E(cudaErrorIllegalInstruction, "an illegal instruction was encountered"),
    E(cudaErrorMisalignedAddress, "misaligned address"),
    E(cudaErrorLaunchFailure, "unspecified launch failure"),
    E(cudaErrorNotSupported, "operation not supported"),
    E(cudaErrorECCUncorrectable, "uncorrectable ECC error encountered"),
    E(cudaErrorHostMemoryAlreadyRegistered, "part or all of the requested memory range is already mapped"),
    E(cudaErrorHostMemoryNotRegistered, "pointer does not correspond to a registered memory region"),
    E(cudaErrorStreamCaptureUnsupported, "operation not permitted when stream is capturing"),
    E(cudaErrorStreamCaptureInvalidated, "operation failed due to a previous error during capture"),
    E(cudaErrorStreamCaptureUnmatched, "capture was not ended in the same stream as it began"),
    E(cudaErrorStreamCaptureUnjoined, "capturing stream has unjoined work"),
    E(cudaErrorStreamCaptureIsolation, "dependency created on uncaptured work in another stream"),
    E(cudaErrorStreamCaptureImplicit, "operation would make the legacy stream depend on a capturing blocking stream"),
    E(cudaErrorCapturedEvent, "operation not permitted on an event last recorded in a capturing stream"),
    E(cudaErrorStreamCaptureWrongThread, "attempt to terminate a thread-local capture sequence from another thread"),
    E(cudaErrorUnknown, "unknown error"),
};
#undef E
const char *cudaGetErrorName(cudaError_t e) {
  for (auto &x : errors)
    if (x.e == e)
      return x.name;
  return "unrecognized error code";
}
const char *cudaGetErrorString(cudaError_t e) {
  for (auto &x : errors)
    if (x.e == e)
      return x.text;
  return "unrecognized error code";
}

}  // extern "C"
