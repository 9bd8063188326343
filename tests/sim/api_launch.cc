// The fake runtime: functions, launches, a fresh device.
#include <algorithm>
#include <sys/mman.h>

#include "tests/sim/api.h"

using namespace sim;

namespace sim {

std::map<std::string, int> &dynamic_limits() {
  static auto *m = new std::map<std::string, int>;
  return *m;
}

}  // namespace sim

namespace {

struct {
  dim3 grid, block;
  size_t shared;
  cudaStream_t stream;
} thread_local pushed;

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
  forget_last_error();
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
