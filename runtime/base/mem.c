// Host memory: aligned, zeroed, counted. Rule: no allocation of the library bypasses `take`, which can be told to fail.
#include "runtime/base/mem.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define ALIGNMENT 64

struct ig_mem_counts {
  // Allocations until the injected failure: 0 = off, n > 0 fails once at the n-th, n < 0 fails from the |n|-th on.
  _Atomic int64_t countdown;
  _Atomic int64_t live, asked;
};
static ig_mem_counts own;
static ig_mem_counts *counts = &own;

ig_mem_counts *ig_mem_place(void) { return counts; }

void ig_mem_share(ig_mem_counts *place) { counts = place; }

void ig_mem_fail_after(int64_t n, int forever) { atomic_store(&counts->countdown, n <= 0 ? 0 : forever ? -n : n); }

int64_t ig_mem_live(void) { return atomic_load(&counts->live); }

int64_t ig_mem_asked(void) { return atomic_load(&counts->asked); }

// Counts this allocation down; true where it must fail.
static bool take(void) {
  atomic_fetch_add_explicit(&counts->asked, 1, memory_order_relaxed);
  int64_t now = atomic_load_explicit(&counts->countdown, memory_order_relaxed);
  while (now != 0) {
    int64_t next = now == -1 ? -1 : now > 0 ? now - 1 : now + 1;
    if (atomic_compare_exchange_weak(&counts->countdown, &now, next))
      return now == 1 || now == -1;
  }
  return false;
}

static ig_status fail_memory(size_t bytes, const char *what) {
  return ig_fail(IG_ERR_MEMORY,
                 "out of host memory: %zu bytes for %s could not be allocated; free memory, or lower batch= or memory=",
                 bytes, what);
}

// Aligned room for `bytes`, not zeroed; NULL on failure.
static void *aligned_room(size_t bytes) {
  void *p = NULL;
  if (take() || bytes > PTRDIFF_MAX || posix_memalign(&p, ALIGNMENT, bytes ? bytes : 1) != 0)
    return NULL;
  atomic_fetch_add_explicit(&counts->live, 1, memory_order_relaxed);
  return p;
}

ig_status ig_alloc(size_t bytes, const char *what, void *out) {
  void *p = aligned_room(bytes);
  *(void **)out = p;
  if (!p)
    return fail_memory(bytes, what);
  memset(p, 0, bytes ? bytes : 1);
  return IG_OK;
}

ig_status ig_alloc_array(size_t n, size_t element_bytes, const char *what, void *out) {
  size_t bytes;
  if (__builtin_mul_overflow(n, element_bytes, &bytes)) {
    *(void **)out = NULL;
    return ig_fail(IG_ERR_MEMORY, "%zu elements of %zu bytes for %s exceed the address space", n, element_bytes, what);
  }
  return ig_alloc(bytes, what, out);
}

ig_status ig_grow(void *array, size_t *capacity, size_t n, size_t need, size_t element_bytes, const char *what) {
  if (need <= *capacity)
    return IG_OK;
  size_t grown = *capacity > SIZE_MAX / 2 ? need : *capacity * 2;
  if (grown < need)
    grown = need;
  if (grown < 8)
    grown = 8;
  size_t bytes;
  if (__builtin_mul_overflow(grown, element_bytes, &bytes))
    return ig_fail(IG_ERR_MEMORY, "%zu elements of %zu bytes for %s exceed the address space", grown, element_bytes,
                   what);
  void *p = aligned_room(bytes);
  if (!p)
    return fail_memory(bytes, what);
  void **old = array;
  if (n)
    memcpy(p, *old, n * element_bytes);
  ig_free(*old);
  *old = p;
  *capacity = grown;
  return IG_OK;
}

ig_status ig_strdup(const char *text, char **out) {
  size_t bytes = strlen(text) + 1;
  IG_TRY(ig_alloc(bytes, "a string", out));
  memcpy(*out, text, bytes);
  return IG_OK;
}

ig_status ig_asprintf(char **out, const char *format, ...) {
  *out = NULL;
  va_list args;
  va_start(args, format);
  int n = vsnprintf(NULL, 0, format, args);
  va_end(args);
  if (n < 0)
    return ig_fail(IG_ERR_INTERNAL, "cannot format \"%s\"", format);
  IG_TRY(ig_alloc((size_t)n + 1, "a string", out));
  va_start(args, format);
  vsnprintf(*out, (size_t)n + 1, format, args);
  va_end(args);
  return IG_OK;
}

void ig_free(void *p) {
  if (!p)
    return;
  atomic_fetch_sub_explicit(&counts->live, 1, memory_order_relaxed);
  free(p);
}

static ig_status map_pages(size_t bytes, int flags, const char *what, void *out) {
  void *p = MAP_FAILED;
  if (!take())
    p = mmap(NULL, bytes ? bytes : 1, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);
  *(void **)out = p == MAP_FAILED ? NULL : p;
  if (p == MAP_FAILED)
    return fail_memory(bytes, what);
  atomic_fetch_add_explicit(&counts->live, 1, memory_order_relaxed);
  return IG_OK;
}

ig_status ig_alloc_pages(size_t bytes, const char *what, void *out) {
  IG_TRY(map_pages(bytes, MAP_PRIVATE, what, out));
#ifdef MADV_HUGEPAGE
  madvise(*(void **)out, bytes ? bytes : 1, MADV_HUGEPAGE);  // advice: a kernel without huge pages refuses harmlessly
#endif
  return IG_OK;
}

ig_status ig_alloc_shared(size_t bytes, const char *what, void *out) {
  return map_pages(bytes, MAP_SHARED | MAP_NORESERVE, what, out);
}

void ig_free_pages(void *p, size_t bytes) {
  if (!p)
    return;
  atomic_fetch_sub_explicit(&counts->live, 1, memory_order_relaxed);
  munmap(p, bytes ? bytes : 1);
}

void ig_drop_pages(void *p, size_t bytes) {
  uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
  uintptr_t begin = ((uintptr_t)p + page - 1) & ~(page - 1), end = ((uintptr_t)p + bytes) & ~(page - 1);
  if (begin < end)
    madvise((char *)p + (begin - (uintptr_t)p), end - begin, MADV_DONTNEED);
}
