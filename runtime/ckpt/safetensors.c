// The safetensors reader. Rule: a file is checked whole before one tensor of it is given out, and each message names
// file, field, found and expected.
#include "runtime/ckpt/safetensors.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/base/text.h"
#include "runtime/ckpt/ckpt_util.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "tensors are used in place; the format is little-endian");

static const struct {
  const char *name;
  uint8_t bits;
  int8_t same;  // ig_dtype with the same bits, or -1
} dtypes[IG_ST_N_DTYPES] = {
    [IG_ST_BOOL] = {"BOOL", 8, -1},
    [IG_ST_F4] = {"F4", 4, -1},
    [IG_ST_F6_E2M3] = {"F6_E2M3", 6, -1},
    [IG_ST_F6_E3M2] = {"F6_E3M2", 6, -1},
    [IG_ST_U8] = {"U8", 8, IG_U8},
    [IG_ST_I8] = {"I8", 8, -1},
    [IG_ST_F8_E5M2] = {"F8_E5M2", 8, -1},
    [IG_ST_F8_E4M3] = {"F8_E4M3", 8, -1},
    [IG_ST_F8_E8M0] = {"F8_E8M0", 8, -1},
    [IG_ST_F8_E4M3FNUZ] = {"F8_E4M3FNUZ", 8, -1},
    [IG_ST_F8_E5M2FNUZ] = {"F8_E5M2FNUZ", 8, -1},
    [IG_ST_I16] = {"I16", 16, -1},
    [IG_ST_U16] = {"U16", 16, -1},
    [IG_ST_F16] = {"F16", 16, IG_F16},
    [IG_ST_BF16] = {"BF16", 16, IG_BF16},
    [IG_ST_I32] = {"I32", 32, IG_I32},
    [IG_ST_U32] = {"U32", 32, -1},
    [IG_ST_F32] = {"F32", 32, IG_F32},
    [IG_ST_C64] = {"C64", 64, -1},
    [IG_ST_F64] = {"F64", 64, IG_F64},
    [IG_ST_I64] = {"I64", 64, IG_I64},
    [IG_ST_U64] = {"U64", 64, IG_U64},
};

struct ig_st {
  char *path;
  ig_mapped map;
  json_t *header;  // owns names and metadata
  const json_t *metadata;
  ig_st_tensor *tensors;  // by offset
  const ig_st_tensor **by_name;
  size_t n;
  int64_t *dims;  // pool of all shapes
};

const char *ig_st_dtype_name(ig_st_dtype dtype) { return dtypes[dtype].name; }

bool ig_st_dtype_to_ig(ig_st_dtype dtype, ig_dtype *out) {
  if (dtypes[dtype].same < 0)
    return false;
  *out = (ig_dtype)dtypes[dtype].same;
  return true;
}

ig_st_dtype ig_st_dtype_from_ig(ig_dtype dtype) {
  int t = 0;
  while (dtypes[t].same != (int)dtype)
    t++;
  return (ig_st_dtype)t;
}

// What a file that is not safetensors is, by its first bytes; NULL where unknown. Only for messages.
static const char *other_format(const uint8_t *p, size_t n) {
  static const struct {
    const char *magic;
    uint8_t n, offset;
    const char *what;
  } known[] = {
      {"PK\3\4", 4, 0, "a zip archive (a PyTorch .pt/.pth, .npz or .keras file?)"},
      {"\x80\2", 2, 0,
       "a Python pickle (an old PyTorch .pt/.pth/.bin file?), which is a program and is never run here"},
      {"\x80\3", 2, 0, "a Python pickle, which is a program and is never run here"},
      {"\x80\4", 2, 0, "a Python pickle, which is a program and is never run here"},
      {"\x80\5", 2, 0, "a Python pickle, which is a program and is never run here"},
      {"\x89HDF\r\n\x1a\n", 8, 0, "an HDF5 file"},
      {"\x93NUMPY", 6, 0, "a NumPy .npy file"},
      {"GGUF", 4, 0, "a GGUF file"},
      {"TFL3", 4, 4, "a TensorFlow Lite file"},
      {"\x1f\x8b", 2, 0, "a gzip file"},
      {"\x28\xb5\x2f\xfd", 4, 0, "a zstd file"},
      {"\x89PNG", 4, 0, "a PNG picture"},
      {"\xff\xd8\xff", 3, 0, "a JPEG picture"},
      {"%PDF", 4, 0, "a PDF"},
      {"version https://git-lfs", 23, 0, "a git-lfs pointer, not the file it stands for (run `git lfs pull`)"},
      {"<!DOCTYPE", 9, 0, "an HTML page (a failed download?)"},
      {"<!doctype", 9, 0, "an HTML page (a failed download?)"},
      {"<html", 5, 0, "an HTML page (a failed download?)"},
      {"{", 1, 0, "JSON text"},
  };
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (n >= (size_t)known[i].offset + known[i].n && !memcmp(p + known[i].offset, known[i].magic, known[i].n))
      return known[i].what;
  if (n > 262 && !memcmp(p + 257, "ustar", 5))
    return "a tar archive";
  return NULL;
}

// Checks the 8 bytes of length and parses the JSON into st->header; *buffer_start = offset of the data.
static ig_status parse_header(ig_st *st, size_t *buffer_start) {
  const uint8_t *p = st->map.data;
  size_t size = st->map.n;
  if (size == 0)
    return ig_fail(IG_ERR_FORMAT, "%s: the file is empty (0 bytes); a safetensors file has at least 10", st->path);
  const char *other = other_format(p, size);
  if (size < 8)
    return ig_fail(IG_ERR_FORMAT, "%s: header length: %zu %s found, 8 expected; the file is truncated%s%s", st->path,
                   size, ig_plural(size, "byte", "bytes"), other ? ", or is " : "", other ? other : "");
  uint64_t length;
  memcpy(&length, p, 8);
  bool too_long = length > IG_ST_MAX_HEADER_BYTES, beyond = length > size - 8;
  bool starts = !beyond && length > 0 && p[8] == '{';
  if (other && (too_long || beyond || !starts))
    return ig_fail(IG_ERR_FORMAT, "%s is %s, not safetensors; give a .safetensors file (or convert this one to it)",
                   st->path, other);
  if (too_long)
    return ig_fail(IG_ERR_FORMAT,
                   "%s: header length: %" PRIu64 " found, at most %u expected; this is not a safetensors file",
                   st->path, length, IG_ST_MAX_HEADER_BYTES);
  if (beyond)
    return ig_fail(IG_ERR_FORMAT,
                   "%s: header length: %" PRIu64
                   " found, but only %zu %s; the file is truncated or not "
                   "safetensors",
                   st->path, length, size - 8, ig_plural(size - 8, "byte follows", "bytes follow"));
  if (!starts)
    return ig_fail(IG_ERR_FORMAT, "%s: header: must start with '{', found %s0x%02x", st->path,
                   length ? "" : "an empty header before ", size > 8 ? p[8] : 0);
  const char *text = (const char *)p + 8;
  IG_TRY(ig_ckpt_check_json(st->path, 8, text, (size_t)length));
  json_error_t error;
  st->header = json_loadb(text, (size_t)length, JSON_REJECT_DUPLICATES, &error);
  if (!st->header) {
    if (json_error_code(&error) == json_error_out_of_memory)
      return ig_fail(IG_ERR_MEMORY, "%s: out of memory for a header of %" PRIu64 " bytes", st->path, length);
    char what[IG_QUOTE_BYTES];
    return ig_fail(IG_ERR_FORMAT, "%s: header: invalid JSON at byte %d: %s", st->path, error.position + 8,
                   ig_ckpt_quote(error.text, what));
  }
  if (!json_is_object(st->header))
    return ig_fail(IG_ERR_FORMAT, "%s: header: not a JSON object", st->path);
  *buffer_start = 8 + (size_t)length;
  return IG_OK;
}

static ig_status parse_metadata(ig_st *st) {
  const json_t *metadata = json_object_get(st->header, "__metadata__");
  if (!metadata || json_is_null(metadata))
    return IG_OK;
  if (!json_is_object(metadata))
    return ig_fail(IG_ERR_FORMAT, "%s: __metadata__: an object of strings expected", st->path);
  const char *key;
  json_t *value;
  json_object_foreach((json_t *)metadata, key, value) if (!json_is_string(value)) {
    char q[IG_QUOTE_BYTES];
    return ig_fail(IG_ERR_FORMAT, "%s: __metadata__: the value of %s is not a string", st->path, ig_ckpt_quote(key, q));
  }
  st->metadata = metadata;
  return IG_OK;
}

// One header entry -> *t, its data not yet placed; *begin, *end as stored. Appends the shape to the pool at *n_dims.
static ig_status parse_tensor(ig_st *st, const char *name, const json_t *entry, uint64_t room, size_t *n_dims,
                              ig_st_tensor *t, int64_t *begin) {
  char q[IG_QUOTE_BYTES], q2[IG_QUOTE_BYTES];
  const char *shown = ig_ckpt_quote(name, q);
  if (!json_is_object(entry))
    return ig_fail(IG_ERR_FORMAT, "%s: tensor %s: an object expected", st->path, shown);
  const char *dtype = json_string_value(json_object_get(entry, "dtype"));
  const json_t *shape = json_object_get(entry, "shape"), *offsets = json_object_get(entry, "data_offsets");
  if (!dtype)
    return ig_fail(IG_ERR_FORMAT, "%s: tensor %s: dtype is missing or not a string", st->path, shown);
  int type = 0;
  while (type < IG_ST_N_DTYPES && strcmp(dtypes[type].name, dtype))
    type++;
  if (type == IG_ST_N_DTYPES)
    return ig_fail(IG_ERR_FORMAT, "%s: tensor %s: unknown dtype %s; expected F32, F64, F16, BF16, I64, ...", st->path,
                   shown, ig_ckpt_quote(dtype, q2));
  if (!json_is_array(shape))
    return ig_fail(IG_ERR_FORMAT, "%s: tensor %s: shape is missing or not an array", st->path, shown);
  size_t rank = json_array_size(shape);
  if (rank > IG_ST_MAX_DIMS)
    return ig_fail(IG_ERR_FORMAT, "%s: tensor %s: shape has %zu dimensions, at most %d are supported", st->path, shown,
                   rank, IG_ST_MAX_DIMS);
  int64_t n = 1, bits;
  bool overflow = false;
  *t = (ig_st_tensor){.name = name, .dtype = (ig_st_dtype)type, .n_dims = (int)rank, .dims = st->dims + *n_dims};
  for (size_t i = 0; i < rank; i++) {
    const json_t *dim = json_array_get(shape, i);
    int64_t value = json_integer_value(dim);
    if (!json_is_integer(dim) || value < 0)
      return ig_fail(IG_ERR_FORMAT, "%s: tensor %s: shape[%zu] is not a non-negative integer", st->path, shown, i);
    st->dims[(*n_dims)++] = value;
    overflow |= __builtin_mul_overflow(n, value, &n);
  }
  overflow |= __builtin_mul_overflow(n, (int64_t)dtypes[type].bits, &bits);
  if (overflow)
    return ig_fail(IG_ERR_FORMAT, "%s: tensor %s: the product of its shape overflows; the file has %zu bytes", st->path,
                   shown, st->map.n);
  if (bits % 8)
    return ig_fail(IG_ERR_FORMAT, "%s: tensor %s: %" PRId64 " elements of %s are not whole bytes", st->path, shown, n,
                   dtype);
  if (!json_is_array(offsets) || json_array_size(offsets) != 2 || !json_is_integer(json_array_get(offsets, 0)) ||
      !json_is_integer(json_array_get(offsets, 1)))
    return ig_fail(IG_ERR_FORMAT, "%s: tensor %s: data_offsets is not a pair of integers", st->path, shown);
  *begin = json_integer_value(json_array_get(offsets, 0));
  int64_t end = json_integer_value(json_array_get(offsets, 1));
  if (*begin < 0 || end < *begin)
    return ig_fail(IG_ERR_FORMAT, "%s: tensor %s: data_offsets [%" PRId64 ", %" PRId64 "]: 0 <= begin <= end expected",
                   st->path, shown, *begin, end);
  if (end - *begin != bits / 8)
    return ig_fail(IG_ERR_FORMAT,
                   "%s: tensor %s: data_offsets span %" PRId64 " bytes, but shape and dtype %s need %" PRId64, st->path,
                   shown, end - *begin, dtype, bits / 8);
  if ((uint64_t)end > room)
    return ig_fail(IG_ERR_FORMAT,
                   "%s: tensor %s: ends at byte %" PRId64 " of the data, but only %" PRIu64
                   " bytes are there; the file is truncated",
                   st->path, shown, end, room);
  t->n = n;
  t->bytes = (size_t)(bits / 8);
  return IG_OK;
}

static int compare_place(const void *a, const void *b) {
  const ig_st_tensor *x = a, *y = b;
  if (x->data != y->data)
    return x->data < y->data ? -1 : 1;
  if (x->bytes != y->bytes)
    return x->bytes < y->bytes ? -1 : 1;
  return strcmp(x->name, y->name);
}

static int compare_name(const void *a, const void *b) {
  return strcmp((*(const ig_st_tensor *const *)a)->name, (*(const ig_st_tensor *const *)b)->name);
}

// Sorts by place and demands that the tensors tile the buffer: no hole, no overlap, nothing behind.
static ig_status check_tiling(ig_st *st, const uint8_t *buffer, size_t room) {
  char q[IG_QUOTE_BYTES];
  const uint8_t *expected = buffer;
  if (st->n)
    qsort(st->tensors, st->n, sizeof *st->tensors, compare_place);
  for (size_t i = 0; i < st->n; i++) {
    const ig_st_tensor *t = &st->tensors[i];
    if (t->data != expected)
      return ig_fail(IG_ERR_FORMAT, "%s: tensor %s: %s: data begins at byte %td, byte %td expected", st->path,
                     ig_ckpt_quote(t->name, q), t->data < expected ? "overlap" : "hole", t->data - buffer,
                     expected - buffer);
    expected = t->data + t->bytes;
  }
  if (expected != buffer + room)
    return ig_fail(IG_ERR_FORMAT, "%s: %td %s after the last tensor, 0 expected", st->path, buffer + room - expected,
                   ig_plural((unsigned long long)(buffer + room - expected), "byte", "bytes"));
  return IG_OK;
}

static ig_status parse_tensors(ig_st *st, size_t buffer_start) {
  const uint8_t *buffer = st->map.data + buffer_start;
  size_t room = st->map.n - buffer_start, n_dims = 0;
  const char *name;
  json_t *entry;
  json_object_foreach(st->header, name, entry) if (strcmp(name, "__metadata__")) {
    st->n++;
    n_dims += json_array_size(json_object_get(entry, "shape"));
  }
  IG_TRY(ig_alloc_array(st->n, sizeof *st->tensors, "tensor table of a weight file", &st->tensors));
  IG_TRY(ig_alloc_array(st->n, sizeof *st->by_name, "name table of a weight file", &st->by_name));
  IG_TRY(ig_alloc_array(n_dims, sizeof *st->dims, "shapes of a weight file", &st->dims));
  size_t i = 0, used = 0;
  json_object_foreach(st->header, name, entry) if (strcmp(name, "__metadata__")) {
    int64_t begin;
    IG_TRY(parse_tensor(st, name, entry, room, &used, &st->tensors[i], &begin));
    st->tensors[i++].data = buffer + begin;
  }
  IG_TRY(check_tiling(st, buffer, room));
  for (i = 0; i < st->n; i++)
    st->by_name[i] = &st->tensors[i];
  if (st->n)
    qsort(st->by_name, st->n, sizeof *st->by_name, compare_name);
  return IG_OK;
}

ig_status ig_st_open(const char *path, ig_st **out) {
  ig_status status = IG_OK;
  ig_st *st = NULL;
  size_t buffer_start;
  *out = NULL;
  IG_GOTO(ig_alloc(sizeof *st, "weight file", &st));
  IG_GOTO(ig_strdup(path, &st->path));
  IG_GOTO(ig_file_map(path, &st->map));
  IG_GOTO(parse_header(st, &buffer_start));
  IG_GOTO(parse_metadata(st));
  IG_GOTO(parse_tensors(st, buffer_start));
  *out = st;
  st = NULL;
done:
  ig_st_close(st);
  return status;
}

void ig_st_close(ig_st *st) {
  if (!st)
    return;
  json_decref(st->header);
  ig_file_unmap(&st->map);
  ig_free(st->tensors);
  ig_free(st->by_name);
  ig_free(st->dims);
  ig_free(st->path);
  ig_free(st);
}

size_t ig_st_count(const ig_st *st) { return st->n; }
const ig_st_tensor *ig_st_get(const ig_st *st, size_t i) { return &st->tensors[i]; }
const char *ig_st_path(const ig_st *st) { return st->path; }
const char *ig_st_metadata(const ig_st *st, const char *key) {
  return json_string_value(json_object_get(st->metadata, key));
}

const ig_st_tensor *ig_st_find(const ig_st *st, const char *name) {
  ig_st_tensor key = {.name = name};
  const ig_st_tensor *p = &key, **found = NULL;
  if (st->n)
    found = bsearch(&p, st->by_name, st->n, sizeof *st->by_name, compare_name);
  return found ? *found : NULL;
}

ig_status ig_st_convert(const ig_st_tensor *tensor, void *dst, ig_dtype dtype) {
  // The data may be unaligned, and some integer types are not the engine's: blocks are widened into an aligned buffer.
  enum { BLOCK = 1024 };
  _Alignas(64) uint8_t aligned[BLOCK * 8];
  ig_dtype from;
  bool direct = ig_st_dtype_to_ig(tensor->dtype, &from);
  size_t from_bytes = dtypes[tensor->dtype].bits / 8u;
  if (!direct) {
    switch (tensor->dtype) {
      case IG_ST_I8:
      case IG_ST_I16:
      case IG_ST_U16:
      case IG_ST_U32:
      case IG_ST_BOOL:
        from = IG_I64;
        break;
      default: {
        char q[IG_QUOTE_BYTES];
        return ig_fail(IG_ERR_UNSUPPORTED,
                       "tensor %s has dtype %s, which cannot be converted to %s; convert it to F32, F16 or BF16 first",
                       ig_ckpt_quote(tensor->name, q), dtypes[tensor->dtype].name, ig_dtype_name(dtype));
      }
    }
  }
  for (int64_t done = 0; done < tensor->n; done += BLOCK) {
    size_t n = tensor->n - done < BLOCK ? (size_t)(tensor->n - done) : BLOCK;
    const uint8_t *src = tensor->data + (size_t)done * from_bytes;
    if (direct) {
      memcpy(aligned, src, n * from_bytes);
    } else {
      for (size_t i = 0; i < n; i++) {
        int64_t value = 0;
        memcpy(&value, src + i * from_bytes, from_bytes);
        if (tensor->dtype == IG_ST_I8)
          value = (int8_t)value;
        else if (tensor->dtype == IG_ST_I16)
          value = (int16_t)value;
        else if (tensor->dtype == IG_ST_BOOL)
          value = value != 0;
        memcpy(aligned + i * 8, &value, 8);
      }
    }
    ig_convert((uint8_t *)dst + (size_t)done * ig_dtype_bytes(dtype), dtype, aligned, from, n);
  }
  return IG_OK;
}
