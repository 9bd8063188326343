// Host memory. Rule: every allocation of the library goes through here, so that a test can fail each one in turn.
#ifndef IG_BASE_MEM_H
#define IG_BASE_MEM_H

#include <stddef.h>
#include <stdint.h>

#include "runtime/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

// All return zeroed memory through *out, 64-byte aligned, or IG_ERR_MEMORY with the size and `what` in the message and
// *out = NULL. Zero bytes give a valid pointer. Free with ig_free (NULL is fine).
ig_status ig_alloc(size_t bytes, const char *what, void *out);                          // out: T **
ig_status ig_alloc_array(size_t n, size_t element_bytes, const char *what, void *out);  // checks the product
// Grows *array (T **) from `n` used elements to room for at least `need`, doubling; *capacity is updated. New room is
// not zeroed. The array must come from ig_alloc* or be NULL with *capacity 0.
ig_status ig_grow(void *array, size_t *capacity, size_t n, size_t need, size_t element_bytes, const char *what);
ig_status ig_strdup(const char *text, char **out);
ig_status ig_asprintf(char **out, const char *format, ...) __attribute__((format(printf, 2, 3)));
void ig_free(void *p);

// Large buffers (arena, parameters): page-aligned mmap with huge pages advised, zeroed. `bytes` must be passed back.
ig_status ig_alloc_pages(size_t bytes, const char *what, void *out);
void ig_free_pages(void *p, size_t bytes);
// The same, and what a forked child writes there is seen here. Pages are taken as they are written.
ig_status ig_alloc_shared(size_t bytes, const char *what, void *out);
// Gives the memory of all pages that lie whole in [p, p + bytes) back to the system. The range stays allocated and
// reads as zero. Only inside of ig_alloc_pages.
void ig_drop_pages(void *p, size_t bytes);

// Fault injection for tests: the n-th allocation from now (1-based) fails, and all after it where `forever`. 0 = off.
void ig_mem_fail_after(int64_t n, int forever);
// Allocations that live (count), for leak checks in tests.
int64_t ig_mem_live(void);
// Allocations asked for so far (count), failed ones included: what ig_mem_fail_after counts.
int64_t ig_mem_asked(void);
// A back end that is loaded at run time counts, and fails, with its host.
typedef struct ig_mem_counts ig_mem_counts;
ig_mem_counts *ig_mem_place(void);
void ig_mem_share(ig_mem_counts *place);

#ifdef __cplusplus
}
#endif
#endif
