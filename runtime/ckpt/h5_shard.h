// One HDF5 shard: built whole in memory, read from memory. Rule: libhdf5 never touches a disk; it only sees an image
// that is ours (just built) or whose hash has been checked.
//
// Why in memory: libhdf5 calls fsync nowhere, and a write error inside it surfaces late or crashes at exit. The image
// is written by our own file operations in one pass, and its size and hash are known before.
// libhdf5 is not thread-safe: every function here takes one lock of the process.
#ifndef IG_CKPT_H5_SHARD_H
#define IG_CKPT_H5_SHARD_H

#include "runtime/ckpt/checkpoint.h"

// An image built by ig_h5_build: `bytes` of the file, in `reserved` bytes of address space (pages are taken as needed).
typedef struct ig_h5_image {
  uint8_t *data;
  size_t bytes, reserved;
} ig_h5_image;

// Attributes of the file's root.
typedef struct ig_h5_root {
  int64_t step;
  const char *run_uuid, *config_hash;
  int world_size, rank;
  const char *state_json, *state_sha256;   // NULL where this rank has none
  void (*consumed)(void *user, size_t i);  // tensor i is in the image; may be NULL
  void *consumed_user;
} ig_h5_root;

// hashes: [n][65], the SHA-256 of each tensor's bytes. Release with ig_h5_image_fini.
ig_status ig_h5_build(const ig_h5_root *root, const ig_ckpt_tensor *tensors, size_t n, const char (*hashes)[65],
                      ig_h5_image *out);
void ig_h5_image_fini(ig_h5_image *image);
// Bytes of the image from above.
uint64_t ig_h5_bytes(const ig_ckpt_tensor *tensors, size_t n, size_t state_bytes);

typedef struct ig_h5_shard ig_h5_shard;

// Opens an image in place; `data` must outlive the shard and is only read. `path` is for messages.
ig_status ig_h5_open(const char *path, const void *data, size_t bytes, ig_h5_shard **out);
void ig_h5_close(ig_h5_shard *shard);
// Elements [first, first + n) of the entry's dataset; n < whole only for one dimension. The dataset must be what the
// entry says, reached by hard links, without external or virtual storage and with no filter but Fletcher32.
ig_status ig_h5_read(ig_h5_shard *shard, const ig_ckpt_entry *entry, int64_t first, int64_t n, void *dst);
// The state text; *text is NUL-terminated (ig_free). n_bytes: expected length from the MANIFEST.
ig_status ig_h5_read_state(ig_h5_shard *shard, int64_t n_bytes, char **text);

#endif
