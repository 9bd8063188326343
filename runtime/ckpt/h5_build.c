// Building a shard in memory. Rule: same tensors and state, same bytes: no time stamps, no padding left unwritten.
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "runtime/base/mem.h"
#include "runtime/ckpt/ckpt_util.h"
#include "runtime/ckpt/h5_internal.h"

#define CHUNK_BYTES (1 << 20)  // libhdf5's chunk cache holds one such chunk

static int64_t n_elements(const ig_ckpt_tensor *t) {
  int64_t n = 1;
  for (int i = 0; i < t->n_dims; i++)
    n *= t->dims[i];
  return n;
}

// Chunks of at most CHUNK_BYTES: whole inner dimensions, the first that must be cut in even pieces, so that the padding
// of the last piece stays below one row a chunk.
static void choose_chunk(const ig_ckpt_tensor *t, hsize_t chunk[IG_CKPT_MAX_DIMS]) {
  int64_t bytes = (int64_t)ig_dtype_bytes(t->dtype) * n_elements(t);
  for (int i = 0; i < t->n_dims; i++)
    chunk[i] = (hsize_t)t->dims[i];
  for (int i = 0; i < t->n_dims && bytes > CHUNK_BYTES; i++) {
    int64_t row = bytes / t->dims[i],
            pieces = row >= CHUNK_BYTES ? t->dims[i] : (bytes + CHUNK_BYTES - 1) / CHUNK_BYTES;
    if (pieces > t->dims[i])
      pieces = t->dims[i];
    chunk[i] = (hsize_t)((t->dims[i] + pieces - 1) / pieces);
    if (chunk[i] * (hsize_t)row > CHUNK_BYTES && chunk[i] > 1)
      chunk[i]--;
    bytes = (int64_t)chunk[i] * row;
  }
}

// Generous, as it is address space and not memory: libhdf5 does not survive a buffer that cannot grow. The base covers
// root, groups, the state's own header and the rounding of the buffer to whole CHUNK_BYTES.
uint64_t ig_h5_bytes(const ig_ckpt_tensor *tensors, size_t n, size_t state_bytes) {
  uint64_t total = (2u << 20) + (uint64_t)state_bytes * 2;
  for (size_t i = 0; i < n; i++) {
    const ig_ckpt_tensor *t = &tensors[i];
    hsize_t chunk[IG_CKPT_MAX_DIMS];
    uint64_t chunks = 1, bytes = ig_dtype_bytes(t->dtype);
    if (n_elements(t) > 0) {
      choose_chunk(t, chunk);
      for (int d = 0; d < t->n_dims; d++) {
        chunks *= ((uint64_t)t->dims[d] + chunk[d] - 1) / chunk[d];
        bytes *= chunk[d];
      }
    }
    // A chunk: data, checksum, its key in the B-tree (half full at worst). A tensor: header, tree, links, name.
    total += chunks * (bytes + 4 + 256) + 16384 + 8 * strlen(t->name);
  }
  return total;
}

// Creates the groups above `path` without time stamps (H5Pset_create_intermediate_group would store some).
static ig_status make_groups(hid_t file, const char *path) {
  ig_status status = IG_OK;
  char *prefix = NULL;
  hid_t gcpl = -1;
  IG_GOTO(ig_strdup(path, &prefix));
  IG_H5_GOTO(gcpl = H5Pcreate(H5P_GROUP_CREATE), IG_ERR_MEMORY, path, "make a property list");
  IG_H5_GOTO(H5Pset_obj_track_times(gcpl, 0), IG_ERR_INTERNAL, path, "switch off time stamps");
  for (char *slash = strchr(prefix + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
    *slash = 0;
    htri_t there = H5Lexists(file, prefix, H5P_DEFAULT);
    IG_H5_GOTO(there, IG_ERR_INTERNAL, path, "look up a group");
    if (!there) {
      hid_t group = H5Gcreate2(file, prefix, H5P_DEFAULT, gcpl, H5P_DEFAULT);
      IG_H5_GOTO(group, IG_ERR_MEMORY, path, "create a group");
      IG_H5_GOTO(H5Gclose(group), IG_ERR_MEMORY, path, "close a group");
    }
    *slash = '/';
  }
done:
  ig_h5_close_id(gcpl, H5Pclose);
  ig_free(prefix);
  return status;
}

// One attribute of type `type` (closed here) on `object`.
static ig_status put_attribute(hid_t object, const char *name, hid_t type, const void *value) {
  ig_status status = IG_OK;
  hid_t space = -1, attribute = -1;
  IG_H5_GOTO(type, IG_ERR_MEMORY, name, "make an attribute's type");
  IG_H5_GOTO(space = H5Screate(H5S_SCALAR), IG_ERR_MEMORY, name, "make an attribute's space");
  IG_H5_GOTO(attribute = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT), IG_ERR_MEMORY, name,
             "create an attribute");
  IG_H5_GOTO(H5Awrite(attribute, type, value), IG_ERR_MEMORY, name, "write an attribute");
done:
  ig_h5_close_id(attribute, H5Aclose);
  ig_h5_close_id(space, H5Sclose);
  ig_h5_close_id(type, H5Tclose);
  return status;
}

static ig_status put_string(hid_t object, const char *name, const char *value) {
  hid_t type = H5Tcopy(H5T_C_S1);
  size_t n = strlen(value);
  if (H5Tset_size(type, n ? n : 1) < 0 || H5Tset_strpad(type, H5T_STR_NULLPAD) < 0 ||
      H5Tset_cset(type, H5T_CSET_UTF8) < 0)
    return ig_fail(IG_ERR_INTERNAL, "HDF5 refuses a string attribute %s of %zu bytes", name, n);
  return put_attribute(object, name, type, value);
}

static ig_status put_int(hid_t object, const char *name, int64_t value) {
  return put_attribute(object, name, H5Tcopy(H5T_STD_I64LE), &value);
}

// Layout of a dataset: a scalar lies in its object header (which has a checksum), nothing needs no storage, all else is
// chunked with Fletcher32: libhdf5 returns flipped bits of contiguous storage silently.
static ig_status make_layout(const ig_ckpt_tensor *t, const char *path, hid_t *dcpl) {
  ig_status status = IG_OK;
  hsize_t chunk[IG_CKPT_MAX_DIMS];
  IG_H5_GOTO(*dcpl = H5Pcreate(H5P_DATASET_CREATE), IG_ERR_MEMORY, path, "make a property list");
  IG_H5_GOTO(H5Pset_obj_track_times(*dcpl, 0), IG_ERR_INTERNAL, path, "switch off time stamps");
  if (t->n_dims == 0) {
    IG_H5_GOTO(H5Pset_layout(*dcpl, H5D_COMPACT), IG_ERR_INTERNAL, path, "choose compact storage");
  } else if (n_elements(t) > 0) {
    choose_chunk(t, chunk);
    IG_H5_GOTO(H5Pset_chunk(*dcpl, t->n_dims, chunk), IG_ERR_INTERNAL, path, "set the chunk");
    IG_H5_GOTO(H5Pset_fletcher32(*dcpl), IG_ERR_INTERNAL, path, "set Fletcher32");
  }
done:
  return status;
}

static ig_status put_tensor(hid_t file, const ig_ckpt_tensor *t, const char *path, const char *hash) {
  ig_status status = IG_OK;
  hid_t type = -1, space = -1, dcpl = -1, dataset = -1;
  hsize_t dims[IG_CKPT_MAX_DIMS];
  for (int i = 0; i < t->n_dims; i++)
    dims[i] = (hsize_t)t->dims[i];
  IG_GOTO(make_groups(file, path));
  IG_H5_GOTO(type = ig_h5_type(t->dtype), IG_ERR_MEMORY, path, "make the type");
  IG_H5_GOTO(space = t->n_dims ? H5Screate_simple(t->n_dims, dims, NULL) : H5Screate(H5S_SCALAR), IG_ERR_MEMORY, path,
             "make the space");
  IG_GOTO(make_layout(t, path, &dcpl));
  IG_H5_GOTO(dataset = H5Dcreate2(file, path, type, space, H5P_DEFAULT, dcpl, H5P_DEFAULT), IG_ERR_USAGE, path,
             "create the dataset (a name twice, or one name that is a folder of another?)");
  if (n_elements(t) > 0)
    IG_H5_GOTO(H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, t->data), IG_ERR_MEMORY, path, "write the data");
  IG_GOTO(put_string(dataset, "sha256", hash));
  if (!strcmp(t->group, "moments")) {
    IG_GOTO(put_string(dataset, "name", t->name));
    IG_GOTO(put_int(dataset, "offset", t->offset));
    IG_GOTO(put_int(dataset, "length", n_elements(t)));
  }
  herr_t closed = H5Dclose(dataset);  // a failed chunk write surfaces only here
  dataset = -1;
  IG_H5_GOTO(closed, IG_ERR_MEMORY, path, "finish the dataset");
done:
  ig_h5_close_id(dataset, H5Dclose);
  ig_h5_close_id(dcpl, H5Pclose);
  ig_h5_close_id(space, H5Sclose);
  ig_h5_close_id(type, H5Tclose);
  return status;
}

// Weights and statistics together under /state_dict, by hard links.
static ig_status link_state_dict(hid_t file, const ig_ckpt_tensor *t, const char *path) {
  ig_status status = IG_OK;
  char *link = NULL;
  if (strcmp(t->group, "weights") && strcmp(t->group, "state"))
    return IG_OK;
  IG_GOTO(ig_h5_dataset_path("state_dict", t->name, t->offset, &link));
  IG_GOTO(make_groups(file, link));
  IG_H5_GOTO(H5Lcreate_hard(file, path, file, link, H5P_DEFAULT, H5P_DEFAULT), IG_ERR_USAGE, link,
             "link it into the state dict (a name in both weights and state?)");
done:
  ig_free(link);
  return status;
}

static ig_status put_root(hid_t file, const ig_h5_root *root) {
  ig_status status = IG_OK;
  hid_t group = H5Gopen2(file, "/", H5P_DEFAULT);
  IG_H5_GOTO(group, IG_ERR_MEMORY, "shard", "open the root");
  IG_GOTO(put_string(group, "format", "ingot-checkpoint"));
  IG_GOTO(put_int(group, "format_version", IG_CKPT_FORMAT_VERSION));
  IG_GOTO(put_int(group, "step", root->step));
  IG_GOTO(put_string(group, "run_uuid", root->run_uuid));
  IG_GOTO(put_string(group, "config_hash", root->config_hash));
  IG_GOTO(put_int(group, "world_size", root->world_size));
  IG_GOTO(put_int(group, "rank", root->rank));
  if (root->state_json) {
    ig_ckpt_tensor text = {.name = "state_json", .dtype = IG_U8, .n_dims = 1, .group = "run"};
    text.data = root->state_json;
    text.dims[0] = (int64_t)strlen(root->state_json);
    IG_GOTO(put_tensor(file, &text, IG_H5_STATE_PATH, root->state_sha256));
  }
done:
  ig_h5_close_id(group, H5Gclose);
  return status;
}

static ig_status build(const ig_h5_root *root, const ig_ckpt_tensor *tensors, size_t n, const char (*hashes)[65],
                       ig_h5_image *image) {
  ig_status status = IG_OK;
  char name[64], *path = NULL;
  hid_t fcpl = -1, fapl = -1, file = -1;
  ig_h5_image_name(image, name);
  IG_H5_GOTO(fcpl = H5Pcreate(H5P_FILE_CREATE), IG_ERR_MEMORY, "shard", "make a property list");
  IG_H5_GOTO(H5Pset_obj_track_times(fcpl, 0), IG_ERR_INTERNAL, "shard", "switch off time stamps");
  IG_GOTO(ig_h5_access(image, "shard", &fapl));
  IG_H5_GOTO(file = H5Fcreate(name, H5F_ACC_EXCL, fcpl, fapl), IG_ERR_MEMORY, "shard", "create the image");
  IG_GOTO(put_root(file, root));
  for (size_t i = 0; i < n; i++) {
    ig_free(path);
    IG_GOTO(ig_h5_dataset_path(tensors[i].group, tensors[i].name, tensors[i].offset, &path));
    IG_GOTO(put_tensor(file, &tensors[i], path, hashes[i]));
    IG_GOTO(link_state_dict(file, &tensors[i], path));
    if (root->consumed)
      root->consumed(root->consumed_user, i);
  }
  IG_H5_GOTO(H5Fflush(file, H5F_SCOPE_LOCAL), IG_ERR_MEMORY, "shard", "flush the image");
  ssize_t bytes = H5Fget_file_image(file, NULL, 0);
  IG_H5_GOTO(bytes, IG_ERR_INTERNAL, "shard", "size the image");
  herr_t closed = H5Fclose(file);
  file = -1;
  IG_H5_GOTO(closed, IG_ERR_MEMORY, "shard", "close the image");
  image->bytes = (size_t)bytes;
done:
  ig_h5_close_id(file, H5Fclose);
  ig_h5_close_id(fapl, H5Pclose);
  ig_h5_close_id(fcpl, H5Pclose);
  ig_free(path);
  return status;
}

ig_status ig_h5_build(const ig_h5_root *root, const ig_ckpt_tensor *tensors, size_t n, const char (*hashes)[65],
                      ig_h5_image *out) {
  ig_h5_section s;
  *out = (ig_h5_image){0};
  out->reserved = (size_t)ig_h5_bytes(tensors, n, root->state_json ? strlen(root->state_json) : 0);
  ig_status status = ig_alloc_pages(out->reserved, "checkpoint image", &out->data);
  if (status != IG_OK)
    return status;
  ig_h5_begin(&s);
  status = build(root, tensors, n, hashes, out);
  ig_h5_end(&s);
  if (status != IG_OK)
    ig_h5_image_fini(out);
  return status;
}

void ig_h5_image_fini(ig_h5_image *image) {
  ig_free_pages(image->data, image->reserved);
  *image = (ig_h5_image){0};
}
