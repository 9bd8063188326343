// The safetensors file format: a strict reader over a memory map, and an atomic writer.
// Rule: nothing of a file is believed before it was checked against the file's size; every product is checked.
//
// Layout: u64 little-endian N; N bytes of JSON {"name": {"dtype", "shape", "data_offsets": [begin, end)}, ...,
// "__metadata__": {string: string}}; then one hole-free buffer, little-endian, C order, that ends the file.
#ifndef IG_CKPT_SAFETENSORS_H
#define IG_CKPT_SAFETENSORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/base/dtype.h"
#include "runtime/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

#define IG_ST_MAX_HEADER_BYTES 100000000u
#define IG_ST_MAX_DIMS         32

// In the official writer's order: it sorts tensors by this, descending.
typedef enum ig_st_dtype {
  IG_ST_BOOL = 0,
  IG_ST_F4,
  IG_ST_F6_E2M3,
  IG_ST_F6_E3M2,
  IG_ST_U8,
  IG_ST_I8,
  IG_ST_F8_E5M2,
  IG_ST_F8_E4M3,
  IG_ST_F8_E8M0,
  IG_ST_F8_E4M3FNUZ,
  IG_ST_F8_E5M2FNUZ,
  IG_ST_I16,
  IG_ST_U16,
  IG_ST_F16,
  IG_ST_BF16,
  IG_ST_I32,
  IG_ST_U32,
  IG_ST_F32,
  IG_ST_C64,
  IG_ST_F64,
  IG_ST_I64,
  IG_ST_U64,
  IG_ST_N_DTYPES
} ig_st_dtype;

// Name as in the file ("F32").
const char *ig_st_dtype_name(ig_st_dtype dtype);
// The engine's type with the same bits. False for I8 I16 U16 U32 BOOL (ig_st_convert takes them) and for F4 F6 F8 C64
// (nothing takes them).
bool ig_st_dtype_to_ig(ig_st_dtype dtype, ig_dtype *out);
ig_st_dtype ig_st_dtype_from_ig(ig_dtype dtype);

// One tensor of an open file; everything is borrowed from the file.
typedef struct ig_st_tensor {
  const char *name;
  ig_st_dtype dtype;
  int n_dims;           // 0 = scalar
  const int64_t *dims;  // [n_dims]
  int64_t n;            // elements
  const uint8_t *data;  // may be unaligned; never NULL
  size_t bytes;
} ig_st_tensor;

typedef struct ig_st ig_st;

// Maps and checks the whole header. Errors: IG_ERR_NOT_FOUND (no such file), IG_ERR_IO, IG_ERR_MEMORY, IG_ERR_FORMAT
// with file, field, found and expected. A file of another kind (pickle, zip, HDF5, ...) is named for what it is.
// The file must not shrink while it is open.
ig_status ig_st_open(const char *path, ig_st **out);
void ig_st_close(ig_st *st);  // NULL is fine

size_t ig_st_count(const ig_st *st);
const ig_st_tensor *ig_st_get(const ig_st *st, size_t i);           // in the order of the data; i < count
const ig_st_tensor *ig_st_find(const ig_st *st, const char *name);  // NULL where absent
const char *ig_st_metadata(const ig_st *st, const char *key);       // NULL where absent
const char *ig_st_path(const ig_st *st);

// dst[i] = (dtype)tensor[i] for all elements: any of F64 F32 F16 BF16 I64 I32 I16 I8 U8 U16 U32 U64 BOOL, aligned or
// not. IG_ERR_UNSUPPORTED names tensor and type for the others.
ig_status ig_st_convert(const ig_st_tensor *tensor, void *dst, ig_dtype dtype);

// What to write; `dims` has n_dims entries, `data` the elements in C order (NULL where there are none).
typedef struct ig_st_source {
  const char *name;
  ig_dtype dtype;
  int n_dims;
  const int64_t *dims;
  const void *data;
} ig_st_source;

typedef struct ig_st_pair {
  const char *key, *value;
} ig_st_pair;

// Writes `path` in the official order (dtype, largest alignment first, then name; header padded to 8) and atomically:
// after a crash `path` is the old file or the whole new one. `__metadata__` holds `pairs`, and "format": "pt" unless
// pairs say otherwise. IG_ERR_USAGE for duplicate or invalid names and shapes.
ig_status ig_st_write(const char *path, const ig_st_source *tensors, size_t n, const ig_st_pair *pairs, size_t n_pairs);

#ifdef __cplusplus
}
#endif
#endif
