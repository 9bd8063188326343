// What the two halves of h5_shard share. Rule: every libhdf5 call is made between ig_h5_begin and ig_h5_end.
#ifndef IG_CKPT_H5_INTERNAL_H
#define IG_CKPT_H5_INTERNAL_H

#include <hdf5.h>

#include "runtime/ckpt/h5_shard.h"

#define IG_H5_STATE_PATH "/run/state_json"

// What one public call needs around libhdf5: the lock, and its printing of errors switched off (and on again after).
typedef struct ig_h5_section {
  H5E_auto2_t print;
  void *print_data;
} ig_h5_section;

void ig_h5_begin(ig_h5_section *s);
void ig_h5_end(const ig_h5_section *s);

// The innermost entry of libhdf5's error stack as our message.
ig_status ig_h5_fail(ig_status status, const char *path, const char *doing);

// For functions with `ig_status status` and a `done:` label.
#define IG_H5_GOTO(call, code, path, doing)       \
  do {                                            \
    if ((call) < 0)                               \
      IG_GOTO(ig_h5_fail((code), (path), doing)); \
  } while (0)

// Closes an id that may not be one (negative).
void ig_h5_close_id(hid_t id, herr_t (*close)(hid_t));
// A new type id for a dtype; the caller closes it.
hid_t ig_h5_type(ig_dtype dtype);
// Path of an entry's dataset; fragments that do not start the row carry their offset. ig_free.
ig_status ig_h5_dataset_path(const char *group, const char *name, int64_t offset, char **out);
// Access list of the core driver on `image`; with bytes > 0 an existing image is opened in place.
ig_status ig_h5_access(ig_h5_image *image, const char *path, hid_t *fapl);
// libhdf5 tells memory files apart by name, and looks for a real file of that name: one that cannot exist.
void ig_h5_image_name(const void *unique, char out[64]);

#endif
