// What building and reading a shard share around libhdf5. Rule: see h5_internal.h.
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "runtime/base/mem.h"
#include "runtime/ckpt/ckpt_util.h"
#include "runtime/ckpt/h5_internal.h"

// libhdf5 itself is state of the process: this lock belongs to it, not to a checkpoint.
static pthread_mutex_t h5_lock = PTHREAD_MUTEX_INITIALIZER;

void ig_h5_begin(ig_h5_section *s) {
  pthread_mutex_lock(&h5_lock);
  H5Eget_auto2(H5E_DEFAULT, &s->print, &s->print_data);
  H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
}

void ig_h5_end(const ig_h5_section *s) {
  H5Eclear2(H5E_DEFAULT);
  H5Eset_auto2(H5E_DEFAULT, s->print, s->print_data);
  pthread_mutex_unlock(&h5_lock);
}

static herr_t keep_innermost(unsigned n, const H5E_error2_t *error, void *out) {
  if (n == 0 && error->desc)
    snprintf(out, 200, "%s", error->desc);
  return 0;
}

ig_status ig_h5_fail(ig_status status, const char *path, const char *doing) {
  char text[200] = "no detail";
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_innermost, text);
  return ig_fail(status, "%s: HDF5 failed to %s: %s", path, doing, text);
}

void ig_h5_close_id(hid_t id, herr_t (*close)(hid_t)) {
  if (id >= 0)
    close(id);
}

hid_t ig_h5_type(ig_dtype dtype) {
  switch (dtype) {
    case IG_F32:
      return H5Tcopy(H5T_IEEE_F32LE);
    case IG_F64:
      return H5Tcopy(H5T_IEEE_F64LE);
    case IG_I32:
      return H5Tcopy(H5T_STD_I32LE);
    case IG_I64:
      return H5Tcopy(H5T_STD_I64LE);
    case IG_U8:
      return H5Tcopy(H5T_STD_U8LE);
    case IG_U64:
      return H5Tcopy(H5T_STD_U64LE);
    case IG_F16:
    case IG_BF16:
      break;
    default:
      return -1;
  }
  // 16-bit floats: sign 15, then exponent, then mantissa; made from F32 by narrowing the fields before the size.
  size_t mantissa = dtype == IG_F16 ? 10 : 7, exponent = 15 - mantissa;
  hid_t type = H5Tcopy(H5T_IEEE_F32LE);
  if (H5Tset_fields(type, 15, mantissa, exponent, 0, mantissa) < 0 || H5Tset_precision(type, 16) < 0 ||
      H5Tset_size(type, 2) < 0 || H5Tset_ebias(type, dtype == IG_F16 ? 15 : 127) < 0) {
    ig_h5_close_id(type, H5Tclose);
    return -1;
  }
  return type;
}

ig_status ig_h5_dataset_path(const char *group, const char *name, int64_t offset, char **out) {
  return offset ? ig_asprintf(out, "/%s/%s@%" PRId64, group, name, offset) : ig_asprintf(out, "/%s/%s", group, name);
}

// The core driver's buffer is our reservation: growing it moves nothing, and closing the file leaves it to us.
static void *image_grow(void *p, size_t bytes, H5FD_file_image_op_t op, void *user) {
  ig_h5_image *image = user;
  return bytes <= image->reserved ? image->data : NULL;
}
static void *image_take(size_t bytes, H5FD_file_image_op_t op, void *user) {
  ig_h5_image *image = user;
  return bytes <= image->reserved ? image->data : NULL;
}
static void *image_copy(void *to, const void *from, size_t bytes, H5FD_file_image_op_t op, void *user) { return to; }
static herr_t image_leave(void *p, H5FD_file_image_op_t op, void *user) { return 0; }
static void *user_copy(void *user) { return user; }
static herr_t user_leave(void *user) { return 0; }

ig_status ig_h5_access(ig_h5_image *image, const char *path, hid_t *fapl) {
  ig_status status = IG_OK;
  H5FD_file_image_callbacks_t calls = {image_take, image_copy, image_grow, image_leave, user_copy, user_leave, image};
  IG_H5_GOTO(*fapl = H5Pcreate(H5P_FILE_ACCESS), IG_ERR_MEMORY, path, "make a property list");
  IG_H5_GOTO(H5Pset_fapl_core(*fapl, 1 << 20, 0), IG_ERR_INTERNAL, path, "choose memory as the file");
  IG_H5_GOTO(H5Pset_libver_bounds(*fapl, H5F_LIBVER_V18, H5F_LIBVER_V18), IG_ERR_INTERNAL, path, "fix the version");
  IG_H5_GOTO(H5Pset_fclose_degree(*fapl, H5F_CLOSE_STRONG), IG_ERR_INTERNAL, path, "fix how it closes");
  IG_H5_GOTO(H5Pset_file_image_callbacks(*fapl, &calls), IG_ERR_INTERNAL, path, "set the image callbacks");
  if (image->bytes)
    IG_H5_GOTO(H5Pset_file_image(*fapl, image->data, image->bytes), IG_ERR_MEMORY, path, "set the image");
done:
  return status;
}

void ig_h5_image_name(const void *unique, char out[64]) { snprintf(out, 64, "/dev/null/ingot-%p", unique); }
