// The CUDA runtime's functions, at link level. Rule: each begins with begin() (lock, count, injected failure, sticky
// error) and ends with end(), which keeps the last error as the real one does.
#include <algorithm>
#include <cstdio>
#include <cuda_profiler_api.h>
#include <cuda_runtime.h>
#include <sys/mman.h>

#include "tests/sim/runtime.h"

using namespace sim;

namespace {

thread_local cudaError_t last_error = cudaSuccess;
struct {
  dim3 grid, block;
  size_t shared;
  cudaStream_t stream;
} thread_local pushed;

cudaError_t end(cudaError_t e) {
  if (e != cudaSuccess && e != cudaErrorNotReady)
    last_error = e;
  return e;
}

struct Hold {
  std::lock_guard<std::recursive_mutex> hold;
  cudaError_t error;
  explicit Hold(const char *name) : hold(runtime().lock), error(begin_call(name)) {
    if (error == cudaSuccess)
      error = runtime().sticky;
  }
};
#define BEGIN(name)  \
  Hold hold_(#name); \
  if (hold_.error)   \
  return end(hold_.error)

// Calls that a capture forbids end it, as in the real runtime.
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
#define UNSAFE()                                    \
  if (cudaError_t e_ = unsafe(); e_ != cudaSuccess) \
  return end(e_)

cudaError_t sticky() { return end(runtime().sticky); }

// Where n bytes at p lie; device pointers must lie in one allocation.
bool valid(const void *p, size_t n) {
  if (!on_device(p))
    return p != nullptr || !n;
  auto *b = heap_find((u64)p);
  return b && !b->second.freed && (u64)p + n <= b->first + b->second.bytes;
}

cudaError_t submit(cudaStream_t h, std::shared_ptr<Work> w) {
  Stream *s = stream_of(h);
  if (!s)
    return cudaErrorInvalidResourceHandle;
  if (Capture *c = s->capture) {
    if (c->invalid)
      return cudaErrorStreamCaptureInvalidated;
    int lane = std::find(c->streams.begin(), c->streams.end(), s) - c->streams.begin();
    c->graph->nodes.push_back({std::move(w), s->at, lane});
    s->at = {(int)c->graph->nodes.size() - 1};
    return cudaSuccess;
  }
  if (s == runtime().legacy)
    for (Capture *c : runtime().captures)
      if (c->origin->blocking) {
        invalidate(c);
        return cudaErrorStreamCaptureImplicit;
      }
  enqueue(s, std::move(w));
  return cudaSuccess;
}

cudaError_t copy(void *to, const void *from, size_t n, cudaMemcpyKind kind, cudaStream_t h) {
  if (!valid(to, n) || !valid(from, n) || (n && (!to || !from)))
    return cudaErrorInvalidValue;
  bool a = on_device(to), b = on_device(from);
  if ((kind == cudaMemcpyHostToDevice && (!a || b)) || (kind == cudaMemcpyDeviceToHost && (a || !b)) ||
      (kind == cudaMemcpyDeviceToDevice && (!a || !b)) || (kind == cudaMemcpyHostToHost && (a || b)) || (int)kind < 0 ||
      kind > cudaMemcpyDefault)
    return kind > cudaMemcpyDefault ? cudaErrorInvalidMemcpyDirection : cudaErrorInvalidValue;
  if (!n)
    return cudaSuccess;
  auto w = std::make_shared<Work>();
  w->kind = COPY;
  w->to = to;
  w->from = from;
  w->n = n;
  return submit(h, w);
}

cudaError_t fill(void *to, int value, size_t n, cudaStream_t h) {
  if (!on_device(to) || !valid(to, n))
    return cudaErrorInvalidValue;
  if (!n)
    return cudaSuccess;
  auto w = std::make_shared<Work>();
  w->kind = FILL;
  w->to = to;
  w->n = n;
  w->value = value;
  return submit(h, w);
}

std::map<std::string, int> &dynamic_limits() {
  static auto *m = new std::map<std::string, int>;
  return *m;
}
constexpr u32 SHARED_DEFAULT = 48 << 10, SHARED_OPTIN = 227 << 10;

cudaError_t launch(const void *host, dim3 g, dim3 b, void **args, size_t shared, cudaStream_t h) {
  Module *m;
  const std::string *name = kernel_name(host, &m);
  Function *f = name ? find_function(m, *name) : nullptr;
  if (!f)
    return cudaErrorInvalidDeviceFunction;
  u64 threads = (u64)b.x * b.y * b.z;
  if (!threads || threads > 1024 || b.z > 64 || !g.x || !g.y || !g.z || g.x > 0x7fffffff || g.y > 65535 || g.z > 65535)
    return cudaErrorInvalidConfiguration;
  if (threads > f->max_threads)
    return cudaErrorLaunchOutOfResources;
  auto limit = dynamic_limits().find(*name);
  u64 most =
      limit == dynamic_limits().end() ? SHARED_DEFAULT - std::min(f->real_shared, SHARED_DEFAULT) : limit->second;
  if (shared > most || shared + f->real_shared > SHARED_OPTIN)
    return cudaErrorInvalidValue;
  auto w = std::make_shared<Work>();
  w->kind = KERNEL;
  w->module = m;
  w->kernel = *name;
  w->grid = {g.x, g.y, g.z};
  w->block = {b.x, b.y, b.z};
  w->dynamic = shared;
  w->params.resize(f->param_bytes + 8);
  for (size_t k = 0; k < f->params.size(); k++)
    memcpy(&w->params[f->params[k].offset], args[k], f->params[k].size);
  return submit(h, w);
}

}  // namespace

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
  p->totalGlobalMem = g_heap.capacity;
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
  *free = g_heap.capacity - g_heap.used;
  *total = g_heap.capacity;
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

// ---- memory ----
cudaError_t cudaMalloc(void **p, size_t n) {
  BEGIN(cudaMalloc);
  UNSAFE();
  *p = nullptr;
  if (!n)
    return cudaSuccess;
  u64 a = heap_alloc(n, "cudaMalloc");
  if (!a)
    return end(cudaErrorMemoryAllocation);
  *p = (void *)a;
  return cudaSuccess;
}
cudaError_t cudaFree(void *p) {
  BEGIN(cudaFree);
  UNSAFE();
  if (!p)
    return cudaSuccess;
  wait_all();
  if (!heap_free((u64)p))
    return end(cudaErrorInvalidValue);
  return sticky();
}
static cudaError_t host_alloc(void **p, size_t n) {
  UNSAFE();
  *p = nullptr;
  if (!n)
    return cudaSuccess;
  void *a = mmap(nullptr, (n + 4095) & ~4095ull, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (a == MAP_FAILED)
    return end(cudaErrorMemoryAllocation);
  runtime().pinned[(u64)a] = {n, false};
  *p = a;
  return cudaSuccess;
}
cudaError_t cudaMallocHost(void **p, size_t n) {
  BEGIN(cudaMallocHost);
  return host_alloc(p, n);
}
cudaError_t cudaHostAlloc(void **p, size_t n, unsigned) {
  BEGIN(cudaHostAlloc);
  return host_alloc(p, n);
}
cudaError_t cudaFreeHost(void *p) {
  BEGIN(cudaFreeHost);
  UNSAFE();
  if (!p)
    return cudaSuccess;
  auto i = runtime().pinned.find((u64)p);
  if (i == runtime().pinned.end() || i->second.registered)
    return end(cudaErrorInvalidValue);
  wait_all();
  munmap(p, (i->second.bytes + 4095) & ~4095ull);
  runtime().pinned.erase(i);
  return sticky();
}
cudaError_t cudaHostRegister(void *p, size_t n, unsigned) {
  BEGIN(cudaHostRegister);
  UNSAFE();
  u64 start;
  if (find_pinned(p, &start))
    return end(cudaErrorHostMemoryAlreadyRegistered);
  runtime().pinned[(u64)p] = {n, true};
  return cudaSuccess;
}
cudaError_t cudaHostUnregister(void *p) {
  BEGIN(cudaHostUnregister);
  UNSAFE();
  auto i = runtime().pinned.find((u64)p);
  if (i == runtime().pinned.end() || !i->second.registered)
    return end(cudaErrorHostMemoryNotRegistered);
  wait_all();
  runtime().pinned.erase(i);
  return sticky();
}
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes *a, const void *p) {
  BEGIN(cudaPointerGetAttributes);
  memset(a, 0, sizeof *a);
  u64 start;
  a->type = on_device(p)             ? cudaMemoryTypeDevice
            : find_pinned(p, &start) ? cudaMemoryTypeHost
                                     : cudaMemoryTypeUnregistered;
  a->devicePointer = on_device(p) ? (void *)p : nullptr;
  a->hostPointer = a->type == cudaMemoryTypeHost ? (void *)p : nullptr;
  return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t n, cudaMemcpyKind kind, cudaStream_t s) {
  BEGIN(cudaMemcpyAsync);
  return end(copy(to, from, n, kind, s));
}
cudaError_t cudaMemcpy(void *to, const void *from, size_t n, cudaMemcpyKind kind) {
  BEGIN(cudaMemcpy);
  UNSAFE();
  if (cudaError_t e = copy(to, from, n, kind, nullptr); e != cudaSuccess)
    return end(e);
  wait_stream(stream_of(nullptr));
  return sticky();
}
cudaError_t cudaMemsetAsync(void *p, int value, size_t n, cudaStream_t s) {
  BEGIN(cudaMemsetAsync);
  return end(fill(p, value, n, s));
}
cudaError_t cudaMemset(void *p, int value, size_t n) {
  BEGIN(cudaMemset);
  UNSAFE();
  return end(fill(p, value, n, nullptr));
}
cudaError_t cudaGetSymbolAddress(void **p, const void *symbol) {
  BEGIN(cudaGetSymbolAddress);
  size_t n;
  *p = (void *)variable_address(symbol, &n);
  return end(*p ? cudaSuccess : cudaErrorInvalidSymbol);
}
cudaError_t cudaGetSymbolSize(size_t *n, const void *symbol) {
  BEGIN(cudaGetSymbolSize);
  return end(variable_address(symbol, n) ? cudaSuccess : cudaErrorInvalidSymbol);
}
cudaError_t cudaMemcpyToSymbolAsync(const void *symbol, const void *from, size_t n, size_t offset, cudaMemcpyKind kind,
                                    cudaStream_t s) {
  BEGIN(cudaMemcpyToSymbolAsync);
  size_t size;
  u64 p = variable_address(symbol, &size);
  return end(!p                  ? cudaErrorInvalidSymbol
             : offset + n > size ? cudaErrorInvalidValue
                                 : copy((void *)(p + offset), from, n, kind, s));
}
cudaError_t cudaMemcpyToSymbol(const void *symbol, const void *from, size_t n, size_t offset, cudaMemcpyKind kind) {
  if (cudaError_t e = cudaMemcpyToSymbolAsync(symbol, from, n, offset, kind, nullptr); e != cudaSuccess)
    return e;
  BEGIN(cudaMemcpyToSymbol);
  UNSAFE();
  wait_stream(stream_of(nullptr));
  return sticky();
}

// ---- streams ----
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned flags) {
  BEGIN(cudaStreamCreateWithFlags);
  stream_of(nullptr);
  *s = (cudaStream_t)new_stream(!(flags & cudaStreamNonBlocking));
  return cudaSuccess;
}
cudaError_t cudaStreamCreate(cudaStream_t *s) {
  BEGIN(cudaStreamCreate);
  stream_of(nullptr);
  *s = (cudaStream_t)new_stream(true);
  return cudaSuccess;
}
cudaError_t cudaStreamCreateWithPriority(cudaStream_t *s, unsigned flags, int) {
  BEGIN(cudaStreamCreateWithPriority);
  stream_of(nullptr);
  *s = (cudaStream_t)new_stream(!(flags & cudaStreamNonBlocking));
  return cudaSuccess;
}
#define STREAM(s, h)        \
  Stream *s = stream_of(h); \
  if (!s)                   \
  return end(cudaErrorInvalidResourceHandle)
cudaError_t cudaStreamDestroy(cudaStream_t h) {
  BEGIN(cudaStreamDestroy);
  STREAM(s, h);
  if (s == runtime().legacy)
    return end(cudaErrorInvalidResourceHandle);
  if (s->capture) {
    Capture *c = s->capture;
    end_capture(c);
  }
  wait_stream(s);
  auto &all = runtime().streams;
  all.erase(std::find(all.begin(), all.end(), s));
  delete s;
  return sticky();
}
cudaError_t cudaStreamSynchronize(cudaStream_t h) {
  BEGIN(cudaStreamSynchronize);
  STREAM(s, h);
  if (s->capture)
    invalidate(s->capture);
  if (s->capture)
    return end(cudaErrorStreamCaptureUnsupported);
  UNSAFE();
  wait_stream(s);
  return sticky();
}
cudaError_t cudaStreamQuery(cudaStream_t h) {
  BEGIN(cudaStreamQuery);
  STREAM(s, h);
  if (s->capture)
    invalidate(s->capture);
  if (s->capture)
    return end(cudaErrorStreamCaptureUnsupported);
  UNSAFE();
  if (!s->last || s->last->done)
    wait_stream(s);
  else {
    run_some(s);
    if (cudaError_t e = runtime().sticky; e != cudaSuccess)
      return end(e);
    return cudaErrorNotReady;
  }
  return sticky();
}
cudaError_t cudaStreamWaitEvent(cudaStream_t h, cudaEvent_t eh, unsigned) {
  BEGIN(cudaStreamWaitEvent);
  STREAM(s, h);
  auto *e = (Event *)eh;
  Runtime &r = runtime();
  if (!r.events.count(e))
    return end(cudaErrorInvalidResourceHandle);
  if (e->capture) {
    Capture *c = e->capture;
    if (s->capture && s->capture != c) {
      invalidate(c);
      invalidate(s->capture);
      return end(cudaErrorStreamCaptureIsolation);
    }
    if (s == r.legacy)
      return end(cudaErrorStreamCaptureImplicit);
    if (!s->capture) {
      s->capture = c;
      s->at.clear();
      c->streams.push_back(s);
    }
    for (int k : e->at)
      if (std::find(s->at.begin(), s->at.end(), k) == s->at.end())
        s->at.push_back(k);
    return cudaSuccess;
  }
  if (s->capture) {
    if (!e->recorded)
      return cudaSuccess;
    invalidate(s->capture);
    return end(cudaErrorStreamCaptureIsolation);
  }
  if (e->recorded && e->op) {
    OpRef o = enqueue(s, std::make_shared<Work>());
    o->after.push_back(e->op);
    o->clock.join(e->clock);
    s->clock.join(e->clock);
  }
  return cudaSuccess;
}
cudaError_t cudaLaunchHostFunc(cudaStream_t s, cudaHostFn_t f, void *data) {
  BEGIN(cudaLaunchHostFunc);
  auto w = std::make_shared<Work>();
  w->kind = HOST;
  w->host = f;
  w->host_data = data;
  return end(submit(s, w));
}

// ---- events ----
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned flags) {
  BEGIN(cudaEventCreateWithFlags);
  auto *x = new Event{!(flags & cudaEventDisableTiming), false, nullptr, {}, nullptr, {}};
  runtime().events.insert(x);
  *e = (cudaEvent_t)x;
  return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t *e) {
  BEGIN(cudaEventCreate);
  auto *x = new Event{true, false, nullptr, {}, nullptr, {}};
  runtime().events.insert(x);
  *e = (cudaEvent_t)x;
  return cudaSuccess;
}
#define EVENT(e, h)               \
  auto *e = (Event *)(h);         \
  if (!runtime().events.count(e)) \
  return end(cudaErrorInvalidResourceHandle)
cudaError_t cudaEventDestroy(cudaEvent_t h) {
  BEGIN(cudaEventDestroy);
  EVENT(e, h);
  runtime().events.erase(e);
  delete e;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t h, cudaStream_t sh) {
  BEGIN(cudaEventRecord);
  EVENT(e, h);
  STREAM(s, sh);
  e->recorded = true;
  if (s->capture) {
    if (s->capture->invalid)
      return end(cudaErrorStreamCaptureInvalidated);
    e->capture = s->capture;
    e->at = s->at;
    return cudaSuccess;
  }
  e->capture = nullptr;
  if (e->timing || s == runtime().legacy)  // a place of its own in the stream
    enqueue(s, std::make_shared<Work>());
  e->op = s->last;
  e->clock = s->clock;
  return cudaSuccess;
}
cudaError_t cudaEventRecordWithFlags(cudaEvent_t h, cudaStream_t sh, unsigned) { return cudaEventRecord(h, sh); }
cudaError_t cudaEventSynchronize(cudaEvent_t h) {
  BEGIN(cudaEventSynchronize);
  EVENT(e, h);
  if (e->capture) {
    invalidate(e->capture);
    return end(cudaErrorCapturedEvent);
  }
  UNSAFE();
  if (e->recorded)
    wait_op(e->op, e->clock);
  return sticky();
}
cudaError_t cudaEventQuery(cudaEvent_t h) {
  BEGIN(cudaEventQuery);
  EVENT(e, h);
  if (e->capture) {
    invalidate(e->capture);
    return end(cudaErrorCapturedEvent);
  }
  UNSAFE();
  if (e->op && !e->op->done) {  // it goes on while one looks
    OpRef o = e->op;
    for (bool deeper = true; deeper;) {
      deeper = false;
      for (auto &a : o->after)
        if (!a->done) {
          o = a;
          deeper = true;
          break;
        }
    }
    run_op(o);
    if (cudaError_t x = runtime().sticky; x != cudaSuccess)
      return end(x);
    return cudaErrorNotReady;
  }
  if (e->recorded)
    wait_op(e->op, e->clock);
  return sticky();
}
cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t ah, cudaEvent_t bh) {
  BEGIN(cudaEventElapsedTime);
  EVENT(a, ah);
  EVENT(b, bh);
  if (!a->timing || !b->timing || !a->recorded || !b->recorded)
    return end(cudaErrorInvalidResourceHandle);
  if ((a->op && !a->op->done) || (b->op && !b->op->done))
    return cudaErrorNotReady;
  *ms = (float)(1e3 * ((b->op ? b->op->finish : 0) - (a->op ? a->op->finish : 0)));
  return cudaSuccess;
}

// ---- capture and graphs ----
cudaError_t cudaStreamBeginCapture(cudaStream_t h, cudaStreamCaptureMode mode) {
  BEGIN(cudaStreamBeginCapture);
  STREAM(s, h);
  Runtime &r = runtime();
  if (s == r.legacy)
    return end(cudaErrorStreamCaptureUnsupported);
  if (s->capture)
    return end(cudaErrorIllegalState);
  auto *c = new Capture;
  c->origin = s;
  c->mode = mode;
  c->thread = std::this_thread::get_id();
  c->streams = {s};
  c->id = r.next_capture++;
  r.captures.insert(c);
  s->capture = c;
  s->at.clear();
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t h, cudaGraph_t *g) {
  BEGIN(cudaStreamEndCapture);
  STREAM(s, h);
  *g = nullptr;
  Capture *c = s->capture;
  if (!c)
    return end(cudaErrorIllegalState);
  if (c->origin != s)
    return end(cudaErrorStreamCaptureUnmatched);
  if (c->mode != cudaStreamCaptureModeRelaxed && c->thread != std::this_thread::get_id())
    return end(cudaErrorStreamCaptureWrongThread);
  cudaError_t e = c->invalid   ? cudaErrorStreamCaptureInvalidated
                  : joined(*c) ? cudaSuccess
                               : cudaErrorStreamCaptureUnjoined;
  if (e == cudaSuccess) {
    Graph *graph = c->graph.release();
    runtime().graphs.insert(graph);
    *g = (cudaGraph_t)graph;
  }
  end_capture(c);
  return end(e);
}
cudaError_t cudaStreamIsCapturing(cudaStream_t h, cudaStreamCaptureStatus *status) {
  BEGIN(cudaStreamIsCapturing);
  STREAM(s, h);
  *status = !s->capture           ? cudaStreamCaptureStatusNone
            : s->capture->invalid ? cudaStreamCaptureStatusInvalidated
                                  : cudaStreamCaptureStatusActive;
  return cudaSuccess;
}
cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode *mode) {
  BEGIN(cudaThreadExchangeStreamCaptureMode);
  static thread_local cudaStreamCaptureMode now = cudaStreamCaptureModeGlobal;
  std::swap(now, *mode);
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *x, cudaGraph_t h, unsigned long long) {
  BEGIN(cudaGraphInstantiate);
  auto *g = (Graph *)h;
  *x = nullptr;
  if (!runtime().graphs.count(g))
    return end(cudaErrorInvalidValue);
  auto *exec = new GraphExec{g->nodes, {}, {}};
  runtime().execs.insert(exec);
  *x = (cudaGraphExec_t)exec;
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t *x, cudaGraph_t h, unsigned long long flags) {
  return cudaGraphInstantiate(x, h, flags);
}
#define EXEC(x, h)               \
  auto *x = (GraphExec *)(h);    \
  if (!runtime().execs.count(x)) \
  return end(cudaErrorInvalidResourceHandle)
cudaError_t cudaGraphLaunch(cudaGraphExec_t h, cudaStream_t sh) {
  BEGIN(cudaGraphLaunch);
  EXEC(x, h);
  STREAM(s, sh);
  if (s->capture) {  // as nodes of the graph being captured
    Capture *c = s->capture;
    if (c->invalid)
      return end(cudaErrorStreamCaptureInvalidated);
    invalidate(c);
    return end(cudaErrorStreamCaptureUnsupported);
  }
  launch_graph(x, s);
  return cudaSuccess;
}
cudaError_t cudaGraphUpload(cudaGraphExec_t h, cudaStream_t sh) {
  BEGIN(cudaGraphUpload);
  EXEC(x, h);
  (void)x;
  STREAM(s, sh);
  (void)s;
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t h) {
  BEGIN(cudaGraphExecDestroy);
  EXEC(x, h);
  runtime().execs.erase(x);
  delete x;
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t h) {
  BEGIN(cudaGraphDestroy);
  auto *g = (Graph *)h;
  if (!runtime().graphs.erase(g))
    return end(cudaErrorInvalidValue);
  delete g;
  return cudaSuccess;
}
cudaError_t cudaGraphGetNodes(cudaGraph_t h, cudaGraphNode_t *nodes, size_t *n) {
  BEGIN(cudaGraphGetNodes);
  auto *g = (Graph *)h;
  if (!runtime().graphs.count(g))
    return end(cudaErrorInvalidValue);
  if (nodes)
    for (size_t k = 0; k < std::min(*n, g->nodes.size()); k++)
      nodes[k] = (cudaGraphNode_t)&g->nodes[k];
  *n = g->nodes.size();
  return cudaSuccess;
}

// ---- functions ----
cudaError_t cudaFuncSetAttribute(const void *f, cudaFuncAttribute a, int v) {
  BEGIN(cudaFuncSetAttribute);
  Module *m;
  const std::string *name = kernel_name(f, &m);
  Function *x = name ? find_function(m, *name) : nullptr;
  if (!x)
    return end(cudaErrorInvalidDeviceFunction);
  if (a == cudaFuncAttributeMaxDynamicSharedMemorySize) {
    if (v < 0 || (u64)v + x->real_shared > SHARED_OPTIN)
      return end(cudaErrorInvalidValue);
    dynamic_limits()[*name] = v;
  }
  return cudaSuccess;
}
cudaError_t cudaFuncSetCacheConfig(const void *, cudaFuncCache) {
  BEGIN(cudaFuncSetCacheConfig);
  return cudaSuccess;
}
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *a, const void *f) {
  BEGIN(cudaFuncGetAttributes);
  Module *m;
  const std::string *name = kernel_name(f, &m);
  Function *x = name ? find_function(m, *name) : nullptr;
  if (!x)
    return end(cudaErrorInvalidDeviceFunction);
  memset(a, 0, sizeof *a);
  a->sharedSizeBytes = x->real_shared;
  a->localSizeBytes = x->local_bytes;
  a->maxThreadsPerBlock = x->max_threads;
  a->numRegs = std::min(x->n_registers, 255u);
  a->ptxVersion = a->binaryVersion = 90;
  auto limit = dynamic_limits().find(*name);
  a->maxDynamicSharedSizeBytes = limit == dynamic_limits().end()
                                     ? (int)(SHARED_DEFAULT - std::min(x->real_shared, SHARED_DEFAULT))
                                     : limit->second;
  return cudaSuccess;
}
static cudaError_t occupancy(int *n, const void *f, int threads, size_t dynamic) {
  Module *m;
  const std::string *name = kernel_name(f, &m);
  Function *x = name ? find_function(m, *name) : nullptr;
  if (!x)
    return cudaErrorInvalidDeviceFunction;
  if (threads <= 0)
    return cudaErrorInvalidValue;
  u64 shared = dynamic + x->real_shared + 1024;
  *n = (u32)threads > x->max_threads || shared - 1024 > SHARED_OPTIN
           ? 0
           : std::min<u64>({32, 2048u / ((threads + 31) / 32 * 32), (228u << 10) / shared});
  return cudaSuccess;
}
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *n, const void *f, int threads, size_t dynamic) {
  BEGIN(cudaOccupancyMaxActiveBlocksPerMultiprocessor);
  return end(occupancy(n, f, threads, dynamic));
}
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *n, const void *f, int threads, size_t dynamic,
                                                                   unsigned) {
  BEGIN(cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags);
  return end(occupancy(n, f, threads, dynamic));
}
cudaError_t cudaLaunchKernel(const void *f, dim3 g, dim3 b, void **args, size_t shared, cudaStream_t s) {
  BEGIN(cudaLaunchKernel);
  return end(launch(f, g, b, args, shared, s));
}
cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t *c, const void *f, void **args) {
  BEGIN(cudaLaunchKernelExC);
  for (unsigned k = 0; k < c->numAttrs; k++) {
    const cudaLaunchAttribute &a = c->attrs[k];
    if (a.id == cudaLaunchAttributeClusterDimension && a.val.clusterDim.x * a.val.clusterDim.y * a.val.clusterDim.z > 1)
      return end(cudaErrorNotSupported);
  }
  return end(launch(f, c->gridDim, c->blockDim, args, c->dynamicSmemBytes, c->stream));
}
cudaError_t cudaLaunchCooperativeKernel(const void *f, dim3 g, dim3 b, void **args, size_t shared, cudaStream_t s) {
  BEGIN(cudaLaunchCooperativeKernel);
  return end(launch(f, g, b, args, shared, s));
}
// What `kernel<<<...>>>(...)` becomes.
unsigned __cudaPushCallConfiguration(dim3 g, dim3 b, size_t shared, cudaStream_t s) {
  pushed = {g, b, shared, s};
  return 0;
}
cudaError_t __cudaPopCallConfiguration(dim3 *g, dim3 *b, size_t *shared, void *s) {
  *g = pushed.grid;
  *b = pushed.block;
  *shared = pushed.shared;
  *(cudaStream_t *)s = pushed.stream;
  return cudaSuccess;
}
cudaError_t __cudaGetKernel(cudaKernel_t *k, const void *f) {
  *k = (cudaKernel_t)f;
  return cudaSuccess;
}
cudaError_t __cudaLaunchKernel(cudaKernel_t k, dim3 g, dim3 b, void **args, size_t shared, cudaStream_t s) {
  return cudaLaunchKernel((const void *)k, g, b, args, shared, s);
}

// A fresh device, for the next test.
void ig_sim_reset(void) {
  Runtime &r = runtime();
  std::lock_guard<std::recursive_mutex> hold(r.lock);
  r.pending.clear();
  for (Capture *c : std::set<Capture *>(r.captures))
    end_capture(c);
  for (Stream *s : r.streams)
    delete s;
  for (Event *e : r.events)
    delete e;
  for (Graph *g : r.graphs)
    delete g;
  for (GraphExec *x : r.execs)
    delete x;
  for (auto &p : r.pinned)
    if (!p.second.registered)
      munmap((void *)p.first, (p.second.bytes + 4095) & ~4095ull);
  r.streams.clear();
  r.events.clear();
  r.graphs.clear();
  r.execs.clear();
  r.pinned.clear();
  r.legacy = nullptr;
  r.host = {};
  r.sticky = cudaSuccess;
  last_error = cudaSuccess;
  for (auto &b : g_heap.blocks)
    if (!b.second.freed && strcmp(b.second.what, "module"))
      heap_free(b.first);
  check_forget();
  reset_operations();
  g_heap.allowed[0].clear();
  g_heap.allowed[1].clear();
  dynamic_limits().clear();
}

}  // extern "C"
