// The MANIFEST of a checkpoint: what files and tensors it has, and their hashes. Internal to the checkpoint floor.
// Rule: it hashes itself (the SHA-256 of its own canonical JSON without the field "sha256"), so that one flipped bit
// in it is seen like one in a shard.
#ifndef IG_CKPT_MANIFEST_H
#define IG_CKPT_MANIFEST_H

#include <jansson.h>

#include "runtime/ckpt/checkpoint.h"

#define IG_MANIFEST_NAME "MANIFEST"

typedef struct ig_manifest_file {
  const char *name;  // shard-RRRRR.h5, in order of ranks
  uint64_t bytes;
  const char *sha256;
  int64_t state_bytes;  // -1 = this shard holds no state
  const char *state_sha256;
} ig_manifest_file;

typedef struct ig_manifest {
  json_t *json;  // owns all strings
  int64_t step;
  const char *run_uuid, *config_hash;
  int world_size;
  ig_manifest_file *files;  // [world_size]
  ig_ckpt_entry *entries;   // sorted by group, name, offset
  size_t n_entries;
} ig_manifest;

// One rank's row of "files" as compact JSON (ig_free).
ig_status ig_manifest_row(const ig_ckpt_save_options *options, const ig_manifest_file *file,
                          const ig_ckpt_tensor *tensors, size_t n, const char (*hashes)[65], char **out);
// The whole text from the rows of all ranks (ig_free).
ig_status ig_manifest_text(const ig_ckpt_save_options *options, const char *const *rows, size_t n_rows, char **out);
// Reads and checks the one of a step folder; files are not looked at. IG_ERR_FORMAT, IG_ERR_UNSUPPORTED (newer
// version).
ig_status ig_manifest_load(const char *step_folder, ig_manifest *out);
void ig_manifest_fini(ig_manifest *m);

// A name that can be a path in HDF5: UTF-8 is checked by JSON, here that no part is empty, "." or "..".
bool ig_manifest_name_ok(const char *name);
// Order of entries.
int ig_manifest_compare(const void *a, const void *b);
// "shard-00000.h5"
void ig_manifest_shard_name(int rank, char out[32]);

#endif
