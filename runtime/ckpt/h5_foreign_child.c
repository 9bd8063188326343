// The child process that reads a stranger's HDF5 file. Rule: see h5_foreign.h; it ends here, whatever libhdf5 does.
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "runtime/base/mem.h"
#include "runtime/base/text.h"
#include "runtime/ckpt/h5_foreign_internal.h"
#include "runtime/ckpt/h5_internal.h"

enum {
  MAX_DEPTH = 16,  // Keras nests 6 deep
  MAX_OBJECTS = 1 << 17,
  MAX_TEXT = 64 << 20,  // a model's configuration
  CPU_SECONDS = 20,
  MAX_CHUNK = 64 << 20,
  DEFLATE_RATIO = 1040  // zlib never packs more than 1032 bytes into one
};
#define HEAP_BYTES (512ull << 20)  // what libhdf5 may allocate beside

static ig_status add_record(ig_h5_child *c, const char *path, const char *attribute, uint64_t data_bytes,
                            ig_h5_record **out) {
  uint64_t path_bytes = strlen(path) + 1, attribute_bytes = attribute ? strlen(attribute) + 1 : 0;
  uint64_t data_at = ig_h5_round(sizeof **out + path_bytes + attribute_bytes);
  if (data_bytes > c->capacity || c->head->used + data_at + ig_h5_round(data_bytes) > c->capacity)
    return ig_fail(IG_ERR_FORMAT, "%s: names and texts take more than %d MiB", c->file, IG_H5_SLACK >> 20);
  ig_h5_record *r = (ig_h5_record *)((char *)c->head + c->head->used);
  *r = (ig_h5_record){.bytes = data_at + ig_h5_round(data_bytes),
                      .data_at = data_at,
                      .data_bytes = data_bytes,
                      .path_bytes = (uint32_t)path_bytes,
                      .attribute_bytes = (uint32_t)attribute_bytes,
                      .dtype = -1};
  memcpy(r + 1, path, path_bytes);
  if (attribute)
    memcpy((char *)(r + 1) + path_bytes, attribute, attribute_bytes);
  c->head->used += r->bytes;
  *out = r;
  return IG_OK;
}

// A scalar text of fixed or variable length; anything else of that name is passed over.
static ig_status read_attribute(ig_h5_child *c, hid_t object, const char *path, const char *name) {
  ig_status status = IG_OK;
  hid_t attribute = -1, type = -1, space = -1;
  char *text = NULL, *theirs = NULL;
  ig_h5_record *r;
  if (H5Aexists(object, name) <= 0)
    return IG_OK;
  IG_H5_GOTO(attribute = H5Aopen(object, name, H5P_DEFAULT), IG_ERR_FORMAT, c->file, "open an attribute");
  IG_H5_GOTO(type = H5Aget_type(attribute), IG_ERR_FORMAT, c->file, "read an attribute's type");
  IG_H5_GOTO(space = H5Aget_space(attribute), IG_ERR_FORMAT, c->file, "read an attribute's shape");
  if (H5Tget_class(type) != H5T_STRING || H5Sget_simple_extent_npoints(space) != 1)
    goto done;
  if (H5Tis_variable_str(type) > 0) {
    IG_H5_GOTO(H5Aread(attribute, type, &theirs), IG_ERR_FORMAT, c->file, "read an attribute");
    text = theirs;
  } else {
    size_t n = H5Tget_size(type);
    if (n > MAX_TEXT)
      IG_GOTO(ig_fail(IG_ERR_FORMAT, "%s: attribute %s of %s has %zu bytes", c->file, name, path, n));
    IG_GOTO(ig_alloc(n + 1, "an attribute", &text));
    IG_H5_GOTO(H5Aread(attribute, type, text), IG_ERR_FORMAT, c->file, "read an attribute");
  }
  if (!text)
    goto done;
  size_t n = strlen(text) + 1;
  if (n > MAX_TEXT)
    IG_GOTO(ig_fail(IG_ERR_FORMAT, "%s: attribute %s of %s has %zu bytes", c->file, name, path, n));
  IG_GOTO(add_record(c, path, name, n, &r));
  memcpy((char *)r + r->data_at, text, n);
done:
  if (theirs)
    H5free_memory(theirs);
  else
    ig_free(text);
  ig_h5_close_id(attribute, H5Aclose);
  ig_h5_close_id(type, H5Tclose);
  ig_h5_close_id(space, H5Sclose);
  return status;
}

static bool filter_allowed(const ig_h5_child *c, H5Z_filter_t filter) {
  return filter == H5Z_FILTER_FLETCHER32 ||
         (c->o->unpacked_bytes && (filter == H5Z_FILTER_DEFLATE || filter == H5Z_FILTER_SHUFFLE));
}

// A chunk is unpacked whole.
static ig_status check_chunk(const ig_h5_child *c, hid_t dcpl, size_t element, const char *path) {
  hsize_t dims[H5S_MAX_RANK];
  uint64_t bytes = element;
  bool over = false;
  char q[IG_QUOTE_BYTES];
  int n = H5Pget_chunk(dcpl, H5S_MAX_RANK, dims);
  if (n < 0)
    return ig_h5_fail(IG_ERR_FORMAT, c->file, "read a dataset's chunks");
  for (int i = 0; i < n; i++)
    over = over || __builtin_mul_overflow(bytes, (uint64_t)dims[i], &bytes);
  if (over || bytes > MAX_CHUNK)
    return ig_fail(IG_ERR_FORMAT, "%s: %s has chunks of more than %d MiB", c->file, ig_quote(q, path), MAX_CHUNK >> 20);
  return IG_OK;
}

// Where the numbers lie: in this file, unfiltered, or packed where that is allowed.
static ig_status check_storage(const ig_h5_child *c, hid_t dataset, size_t element, bool *packed, const char *path) {
  ig_status status = IG_OK;
  hid_t dcpl;
  char q[IG_QUOTE_BYTES];
  IG_H5_GOTO(dcpl = H5Dget_create_plist(dataset), IG_ERR_FORMAT, c->file, "read a dataset's storage");
  H5D_layout_t layout = H5Pget_layout(dcpl);
  if (layout != H5D_COMPACT && layout != H5D_CONTIGUOUS && layout != H5D_CHUNKED)
    IG_GOTO(ig_fail(IG_ERR_FORMAT, "%s: %s is a virtual dataset; only data inside the file is read", c->file,
                    ig_quote(q, path)));
  if (H5Pget_external_count(dcpl) != 0)
    IG_GOTO(ig_fail(IG_ERR_FORMAT, "%s: %s is stored in other files; only data inside the file is read", c->file,
                    ig_quote(q, path)));
  int n_filters = H5Pget_nfilters(dcpl);
  for (int i = 0; i < n_filters; i++) {
    unsigned flags, config;
    size_t n_values = 0;
    H5Z_filter_t filter = H5Pget_filter2(dcpl, (unsigned)i, &flags, &n_values, NULL, 0, NULL, &config);
    *packed = *packed || filter == H5Z_FILTER_DEFLATE;
    if (!filter_allowed(c, filter))
      IG_GOTO(ig_fail(IG_ERR_FORMAT, "%s: %s is compressed (filter %d); write it anew without compression", c->file,
                      ig_quote(q, path), (int)filter));
  }
  if (n_filters && layout == H5D_CHUNKED)
    IG_GOTO(check_chunk(c, dcpl, element, path));
done:
  ig_h5_close_id(dcpl, H5Pclose);
  return status;
}

static bool is_wanted(const ig_h5_child *c, const char *path) {
  const char *const *name = c->o->datasets;
  if (!name)
    return true;
  while (*name && strcmp(*name, path))
    name++;
  return *name != NULL;
}

// What the numbers become, or -1 where they are not read. element: bytes of one in the file.
static int target_dtype(const ig_h5_child *c, hid_t type, size_t element) {
  const H5T_class_t class = H5Tget_class(type);
  if (class == H5T_FLOAT && (element == 2 || element == 4 || element == 8))
    return element == 8 ? IG_F64 : IG_F32;
  return class == H5T_INTEGER && c->o->datasets && element <= 8 ? IG_I32 : -1;
}

static ig_status read_dataset(ig_h5_child *c, hid_t dataset, const char *path) {
  ig_status status = IG_OK;
  hid_t type = -1, space = -1;
  hsize_t dims[H5S_MAX_RANK];
  char q[IG_QUOTE_BYTES];
  bool packed = false;
  ig_h5_record *r;
  if (!is_wanted(c, path))
    return IG_OK;
  IG_H5_GOTO(type = H5Dget_type(dataset), IG_ERR_FORMAT, c->file, "read a dataset's type");
  const size_t element = H5Tget_size(type);
  IG_GOTO(check_storage(c, dataset, element, &packed, path));
  IG_H5_GOTO(space = H5Dget_space(dataset), IG_ERR_FORMAT, c->file, "read a dataset's shape");
  int n_dims = H5Sget_simple_extent_ndims(space);
  if (H5Sget_simple_extent_type(space) == H5S_NULL || n_dims < 0 || n_dims > IG_CKPT_MAX_DIMS)
    IG_GOTO(ig_fail(IG_ERR_FORMAT, "%s: %s has %d dimensions; 0 to %d are possible", c->file, ig_quote(q, path), n_dims,
                    IG_CKPT_MAX_DIMS));
  IG_H5_GOTO(H5Sget_simple_extent_dims(space, dims, NULL), IG_ERR_FORMAT, c->file, "read a dataset's shape");
  const int dtype = target_dtype(c, type, element);
  uint64_t n = 1, stored = 0, ours = 0;
  bool over = false;
  for (int i = 0; i < n_dims; i++)
    over = over || __builtin_mul_overflow(n, (uint64_t)dims[i], &n);
  over = over || __builtin_mul_overflow(n, (uint64_t)element, &stored);
  over = over || __builtin_mul_overflow(n, (uint64_t)(dtype < 0 ? 0 : ig_dtype_bytes((ig_dtype)dtype)), &ours);
  const uint64_t held = (uint64_t)H5Dget_storage_size(dataset) * (packed ? DEFLATE_RATIO : 1);
  if (over || stored > held || (c->promised += c->o->unpacked_bytes ? ours : stored) > c->room)
    IG_GOTO(ig_fail(IG_ERR_FORMAT, "%s: %s promises more numbers than %s", c->file, ig_quote(q, path),
                    c->o->unpacked_bytes ? "its data can hold, or than are read" : "the file has bytes for"));
  IG_GOTO(add_record(c, path, NULL, ours, &r));
  r->n_dims = n_dims;
  for (int i = 0; i < n_dims; i++)
    r->dims[i] = (int64_t)dims[i];
  r->dtype = dtype;
  r->is_float = H5Tget_class(type) == H5T_FLOAT && dtype >= 0;
  const hid_t memory = dtype == IG_F64 ? H5T_IEEE_F64LE : dtype == IG_I32 ? H5T_STD_I32LE : H5T_IEEE_F32LE;
  if (dtype >= 0 && ours && H5Dread(dataset, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, (char *)r + r->data_at) < 0) {
    status = ig_h5_fail(IG_ERR_FORMAT, c->file, "read a dataset");
    ig_fail_prefix(status, "%s", ig_quote(q, path));
  }
done:
  ig_h5_close_id(type, H5Tclose);
  ig_h5_close_id(space, H5Sclose);
  return status;
}

static ig_status read_group(ig_h5_child *c, hid_t group, const char *path, int depth);

typedef struct visit {
  ig_h5_child *c;
  const char *path;
  int depth;
  ig_status status;
} visit;

static ig_status read_link(visit *v, hid_t group, const char *name) {
  ig_h5_child *c = v->c;
  ig_status status = IG_OK;
  hid_t object = -1;
  char *path = NULL, q[IG_QUOTE_BYTES];
  H5L_info_t link;
  IG_TRY(ig_asprintf(&path, "%s%s%s", v->path, *v->path ? "/" : "", name));
  IG_H5_GOTO(H5Lget_info(group, name, &link, H5P_DEFAULT), IG_ERR_FORMAT, c->file, "read a link");
  if (link.type != H5L_TYPE_HARD)
    IG_GOTO(ig_fail(IG_ERR_FORMAT, "%s: %s is %s link; only data inside the file is read", c->file, ig_quote(q, path),
                    link.type == H5L_TYPE_SOFT ? "a soft" : "an external"));
  if (++c->objects > MAX_OBJECTS)
    IG_GOTO(ig_fail(IG_ERR_FORMAT, "%s: more than %d objects", c->file, MAX_OBJECTS));
  IG_H5_GOTO(object = H5Oopen(group, name, H5P_DEFAULT), IG_ERR_FORMAT, c->file, "open an object");
  H5I_type_t kind = H5Iget_type(object);
  if (kind == H5I_GROUP)
    status = read_group(c, object, path, v->depth + 1);
  else if (kind == H5I_DATASET)
    status = read_dataset(c, object, path);
done:
  ig_h5_close_id(object, H5Oclose);
  ig_free(path);
  return status;
}

static herr_t each_link(hid_t group, const char *name, const H5L_info_t *info, void *user) {
  visit *v = user;
  v->status = read_link(v, group, name);
  return v->status != IG_OK;
}

static ig_status read_group(ig_h5_child *c, hid_t group, const char *path, int depth) {
  visit v = {c, path, depth, IG_OK};
  char q[IG_QUOTE_BYTES];
  if (depth > MAX_DEPTH)
    return ig_fail(IG_ERR_FORMAT, "%s: groups are nested more than %d deep, as in a cycle: %s", c->file, MAX_DEPTH,
                   ig_quote(q, path));
  for (const char *const *name = c->o->attributes; name && *name; name++)
    IG_TRY(read_attribute(c, group, path, *name));
  if (H5Literate(group, H5_INDEX_NAME, H5_ITER_INC, NULL, each_link, &v) < 0 && v.status == IG_OK)
    v.status = ig_h5_fail(IG_ERR_FORMAT, c->file, "list a group");
  return v.status;
}

static ig_status read_file(ig_h5_child *c, const void *data, size_t bytes) {
  ig_status status = IG_OK;
  ig_h5_image image = {(uint8_t *)data, bytes, bytes};
  hid_t fapl = -1, file = -1, root = -1;
  char name[64];
  H5PLset_loading_state(0);
  ig_h5_image_name(c, name);
  IG_GOTO(ig_h5_access(&image, c->file, &fapl));
  IG_H5_GOTO(file = H5Fopen(name, H5F_ACC_RDONLY, fapl), IG_ERR_FORMAT, c->file, "open the file");
  IG_H5_GOTO(root = H5Gopen2(file, "/", H5P_DEFAULT), IG_ERR_FORMAT, c->file, "open the root");
  status = read_group(c, root, "", 0);
done:
  ig_h5_close_id(root, H5Gclose);
  ig_h5_close_id(file, H5Fclose);
  ig_h5_close_id(fapl, H5Pclose);
  return status;
}

static void limit(int what, rlim_t value) {
  struct rlimit now;
  if (getrlimit(what, &now) == 0 && value < now.rlim_max)
    setrlimit(what, &(struct rlimit){value, value});
}

// Pages that are mapped already, as the limit on memory counts them too. A sanitizer maps terabytes.
static uint64_t mapped_bytes(void) {
  unsigned long long pages = 0;
  FILE *f = fopen("/proc/self/statm", "r");
  if (f && fscanf(f, "%llu", &pages) != 1)
    pages = 0;
  if (f)
    fclose(f);
  return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

_Noreturn void ig_h5_be_child(ig_h5_child *c, const void *data, size_t bytes) {
  uint64_t mapped = mapped_bytes();
  if (mapped)
    limit(RLIMIT_AS, mapped + HEAP_BYTES);
  limit(RLIMIT_CPU, CPU_SECONDS + (bytes + c->o->unpacked_bytes / 4) / (16 << 20));
  limit(RLIMIT_CORE, 0);
  limit(RLIMIT_FSIZE, 0);
  for (int fd = 0; fd < 3; fd++)
    close(fd);
  limit(RLIMIT_NOFILE, 0);  // nothing can be opened any more, whatever the file asks for
  ig_status status = read_file(c, data, bytes);
  c->head->status = (int32_t)status;
  if (status != IG_OK)
    snprintf(c->head->message, sizeof c->head->message, "%s", ig_error_message());
  _exit(status == IG_OK ? 0 : 1);
}
