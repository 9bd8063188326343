// What the two sides of reading a stranger's HDF5 file share. Rule: see h5_foreign.h. The child (h5_foreign_child.c)
// writes records into shared memory in the order in which it finds things; the parent (h5_foreign.c) believes none of
// their numbers.
#ifndef IG_CKPT_H5_FOREIGN_INTERNAL_H
#define IG_CKPT_H5_FOREIGN_INTERNAL_H

#include "runtime/ckpt/h5_foreign.h"

enum { IG_H5_SLACK = 64 << 20 };  // bytes of shared memory for records and texts

// At the start of the shared memory.
typedef struct ig_h5_head {
  uint64_t used;  // records end here
  int32_t status;
  char message[1024];
} ig_h5_head;

// Followed by path, attribute name (NUL-terminated both) and at a multiple of 64 by the data or text.
typedef struct ig_h5_record {
  uint64_t bytes;  // to the next record
  uint64_t data_at, data_bytes;
  uint32_t path_bytes, attribute_bytes;  // with their NUL; 0: none
  int32_t dtype, n_dims;                 // dtype -1: no numbers
  uint32_t is_float, unused;
  int64_t dims[IG_CKPT_MAX_DIMS];
} ig_h5_record;

static inline uint64_t ig_h5_round(uint64_t n) { return (n + 63) & ~(uint64_t)63; }

typedef struct ig_h5_child {
  const char *file;
  const ig_h5_foreign_options *o;
  ig_h5_head *head;
  uint64_t capacity;
  uint64_t room, promised;  // bytes that all numbers may take, and those so far
  int objects;
} ig_h5_child;

// Never returns; its answer is in c->head.
_Noreturn void ig_h5_be_child(ig_h5_child *c, const void *data, size_t bytes);

#endif
