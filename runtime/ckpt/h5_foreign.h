// Strangers' HDF5 files: all their tensors and the texts that name them. Rule: libhdf5 sees such a file only in a child
// process, from memory, with limits on memory, time and files; nothing but data inside the file is read, and what the
// child says is checked again.
//
// libhdf5 is not made for hostile files: what crashes it, loops in it or eats memory ends the child, and the file is
// refused. Refused by name are soft and external links, virtual and external storage, filters but Fletcher32, groups
// nested beyond a depth (a cycle), and data that promise more numbers than the file has bytes for (one or all
// together). Gzip is read only where the caller allows it, up to a size that all numbers together may unpack to.
#ifndef IG_CKPT_H5_FOREIGN_H
#define IG_CKPT_H5_FOREIGN_H

#include "runtime/ckpt/checkpoint.h"

#ifdef __cplusplus
extern "C" {
#endif

// A dataset, or a text attribute that was asked for. Borrowed from the file.
typedef struct ig_h5_foreign_item {
  const char *path;       // "model_weights/conv1/kernel:0"; of an attribute its object's, "" the root
  const char *attribute;  // its name, NULL for a dataset
  const char *text;       // of an attribute
  bool is_float;          // of a dataset of floating-point numbers
  ig_dtype dtype;         // where data is there: F32 (also of narrower ones), F64, I32 (of all whole numbers)
  int n_dims;
  int64_t dims[IG_CKPT_MAX_DIMS];
  int64_t n;         // elements
  const void *data;  // 64-byte aligned; NULL where the numbers are not read
} ig_h5_foreign_item;

typedef struct ig_h5_foreign {
  ig_h5_foreign_item *items;  // in the order of the file's names
  size_t n;
  void *memory;  // shared with the child that filled it
  size_t memory_bytes;
} ig_h5_foreign;

// What is wanted of a file besides what ig_h5_foreign_read takes.
typedef struct ig_h5_foreign_options {
  const char *const *attributes;  // as below
  const char *const *datasets;  // paths, ended by NULL: these are read, of whole numbers too, and no others; NULL: all
                                // of floating-point numbers
  uint64_t unpacked_bytes;      // where > 0, gzip is allowed, and the numbers may take so many bytes here
} ig_h5_foreign_options;
ig_status ig_h5_foreign_read_with(const char *path, const void *data, size_t bytes, const ig_h5_foreign_options *o,
                                  ig_h5_foreign *out);
// data: the file's bytes, in memory. path: for messages. attributes: names of text attributes, ended by NULL; they are
// read from every group. IG_ERR_FORMAT: refused, or the child crashed on it. Release with ig_h5_foreign_fini.
ig_status ig_h5_foreign_read(const char *path, const void *data, size_t bytes, const char *const *attributes,
                             ig_h5_foreign *out);
void ig_h5_foreign_fini(ig_h5_foreign *f);

#ifdef __cplusplus
}
#endif
#endif
