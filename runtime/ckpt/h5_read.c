// Reading a shard in place. Rule: what a dataset is gets checked against the MANIFEST before its data are read.
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "runtime/base/mem.h"
#include "runtime/ckpt/ckpt_util.h"
#include "runtime/ckpt/h5_internal.h"

struct ig_h5_shard {
  char *path;
  ig_h5_image image;  // borrowed bytes
  hid_t file;
};

ig_status ig_h5_open(const char *path, const void *data, size_t bytes, ig_h5_shard **out) {
  ig_status status = IG_OK;
  ig_h5_shard *shard = NULL;
  hid_t fapl = -1;
  char name[64];
  ig_h5_section s;
  *out = NULL;
  ig_h5_begin(&s);
  IG_GOTO(ig_alloc(sizeof *shard, "shard", &shard));
  shard->file = -1;
  shard->image = (ig_h5_image){(uint8_t *)data, bytes, bytes};  // opened read-only: never written
  IG_GOTO(ig_strdup(path, &shard->path));
  ig_h5_image_name(shard, name);
  IG_GOTO(ig_h5_access(&shard->image, path, &fapl));
  IG_H5_GOTO(shard->file = H5Fopen(name, H5F_ACC_RDONLY, fapl), IG_ERR_FORMAT, path, "open the file");
  *out = shard;
  shard = NULL;
done:
  ig_h5_close_id(fapl, H5Pclose);
  ig_h5_end(&s);
  ig_h5_close(shard);
  return status;
}

void ig_h5_close(ig_h5_shard *shard) {
  ig_h5_section s;
  if (!shard)
    return;
  ig_h5_begin(&s);
  ig_h5_close_id(shard->file, H5Fclose);
  ig_h5_end(&s);
  ig_free(shard->path);
  ig_free(shard);
}

// Every link on the way must be hard: a soft one may cycle, an external one opens another file.
static ig_status check_links(const ig_h5_shard *shard, const char *path) {
  ig_status status = IG_OK;
  char *prefix = NULL;
  H5L_info_t link;
  IG_TRY(ig_strdup(path, &prefix));
  for (char *slash = strchr(prefix + 1, '/');; slash = strchr(slash + 1, '/')) {
    if (slash)
      *slash = 0;
    IG_H5_GOTO(H5Lget_info(shard->file, prefix, &link, H5P_DEFAULT), IG_ERR_FORMAT, shard->path, "find a dataset");
    if (link.type != H5L_TYPE_HARD)
      IG_GOTO(ig_fail(IG_ERR_FORMAT, "%s: %s is a %s link; only data inside the file is read", shard->path, prefix,
                      link.type == H5L_TYPE_SOFT ? "soft" : "external"));
    if (!slash)
      break;
    *slash = '/';
  }
done:
  ig_free(prefix);
  return status;
}

// Storage inside the file, no filter but Fletcher32 (others may load plug-ins or inflate), type and shape as promised.
static ig_status check_dataset(const ig_h5_shard *shard, const char *path, hid_t dataset, hid_t space, hid_t expected,
                               int n_dims, const int64_t *dims) {
  ig_status status = IG_OK;
  hid_t dcpl = H5Dget_create_plist(dataset), type = H5Dget_type(dataset);
  hsize_t found[H5S_MAX_RANK];
  IG_H5_GOTO(dcpl, IG_ERR_FORMAT, shard->path, "read a dataset's storage");
  IG_H5_GOTO(type, IG_ERR_FORMAT, shard->path, "read a dataset's type");
  H5D_layout_t layout = H5Pget_layout(dcpl);
  if (layout != H5D_COMPACT && layout != H5D_CONTIGUOUS && layout != H5D_CHUNKED)
    IG_GOTO(
        ig_fail(IG_ERR_FORMAT, "%s: %s is a virtual dataset; only data inside the file is read", shard->path, path));
  if (H5Pget_external_count(dcpl) != 0)
    IG_GOTO(ig_fail(IG_ERR_FORMAT, "%s: %s is stored in other files; only data inside the file is read", shard->path,
                    path));
  int n_filters = H5Pget_nfilters(dcpl);
  for (int i = 0; i < n_filters; i++) {
    unsigned flags, config;
    size_t n_values = 0;
    H5Z_filter_t filter = H5Pget_filter2(dcpl, (unsigned)i, &flags, &n_values, NULL, 0, NULL, &config);
    if (filter != H5Z_FILTER_FLETCHER32)
      IG_GOTO(ig_fail(IG_ERR_FORMAT, "%s: %s has filter %d; a checkpoint has Fletcher32 only", shard->path, path,
                      (int)filter));
  }
  if (H5Tequal(type, expected) <= 0)
    IG_GOTO(ig_fail(IG_ERR_FORMAT, "%s: %s: type differs from the MANIFEST's", shard->path, path));
  bool same = H5Sget_simple_extent_ndims(space) == n_dims && H5Sget_simple_extent_dims(space, found, NULL) == n_dims;
  for (int i = 0; same && i < n_dims; i++)
    same = found[i] == (hsize_t)dims[i];
  if (!same)
    IG_GOTO(ig_fail(IG_ERR_FORMAT, "%s: %s: shape differs from the MANIFEST's", shard->path, path));
done:
  ig_h5_close_id(dcpl, H5Pclose);
  ig_h5_close_id(type, H5Tclose);
  return status;
}

static ig_status read_dataset(const ig_h5_shard *shard, const char *path, const ig_ckpt_entry *e, int64_t first,
                              int64_t n, void *dst) {
  ig_status status = IG_OK;
  hid_t dataset = -1, space = -1, memory = -1, type = -1;
  IG_GOTO(check_links(shard, path));
  IG_H5_GOTO(type = ig_h5_type(e->dtype), IG_ERR_MEMORY, shard->path, "make a type");
  IG_H5_GOTO(dataset = H5Dopen2(shard->file, path, H5P_DEFAULT), IG_ERR_FORMAT, shard->path, "open a dataset");
  IG_H5_GOTO(space = H5Dget_space(dataset), IG_ERR_FORMAT, shard->path, "read a dataset's shape");
  IG_GOTO(check_dataset(shard, path, dataset, space, type, e->n_dims, e->dims));
  if (n == 0)
    goto done;
  if (n != e->n) {
    hsize_t start = (hsize_t)first, count = (hsize_t)n;
    IG_H5_GOTO(H5Sselect_hyperslab(space, H5S_SELECT_SET, &start, NULL, &count, NULL), IG_ERR_INTERNAL, shard->path,
               "select a range");
    IG_H5_GOTO(memory = H5Screate_simple(1, &count, NULL), IG_ERR_MEMORY, shard->path, "make a space");
  }
  if (H5Dread(dataset, type, memory >= 0 ? memory : H5S_ALL, memory >= 0 ? space : H5S_ALL, H5P_DEFAULT, dst) < 0) {
    status = ig_h5_fail(IG_ERR_FORMAT, shard->path, "read a dataset");
    ig_fail_prefix(status, "%s", path);
  }
done:
  ig_h5_close_id(memory, H5Sclose);
  ig_h5_close_id(space, H5Sclose);
  ig_h5_close_id(dataset, H5Dclose);
  ig_h5_close_id(type, H5Tclose);
  return status;
}

ig_status ig_h5_read(ig_h5_shard *shard, const ig_ckpt_entry *entry, int64_t first, int64_t n, void *dst) {
  ig_h5_section s;
  char *path = NULL;
  if (first < 0 || n < 0 || first > entry->n - n || (n != entry->n && entry->n_dims != 1))
    return ig_fail(IG_ERR_INTERNAL, "range [%" PRId64 ", +%" PRId64 ") of %s with %" PRId64 " elements", first, n,
                   entry->name, entry->n);
  IG_TRY(ig_h5_dataset_path(entry->group, entry->name, entry->offset, &path));
  ig_h5_begin(&s);
  ig_status status = read_dataset(shard, path, entry, first, n, dst);
  ig_h5_end(&s);
  ig_free(path);
  return status;
}

ig_status ig_h5_read_state(ig_h5_shard *shard, int64_t n_bytes, char **text) {
  ig_h5_section s;
  ig_ckpt_entry entry = {.group = "run", .name = "state_json", .dtype = IG_U8, .n_dims = 1, .n = n_bytes};
  entry.dims[0] = n_bytes;
  IG_TRY(ig_alloc((size_t)n_bytes + 1, "a checkpoint's state", text));
  ig_h5_begin(&s);
  ig_status status = read_dataset(shard, IG_H5_STATE_PATH, &entry, 0, n_bytes, *text);
  ig_h5_end(&s);
  if (status != IG_OK) {
    ig_free(*text);
    *text = NULL;
  }
  return status;
}
