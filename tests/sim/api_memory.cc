// The fake runtime: memory, copies, variables of modules.
#include <sys/mman.h>

#include "tests/sim/api.h"

using namespace sim;

namespace {

// Where n bytes at p lie; device pointers must lie in one allocation.
bool valid(const void *p, size_t n) {
  if (!on_device(p))
    return p != nullptr || !n;
  auto *b = heap_find((u64)p);
  return b && !b->second.freed && (u64)p + n <= b->first + b->second.bytes;
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

}  // namespace

extern "C" {

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

}  // extern "C"
