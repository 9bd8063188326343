// Checkpoints: RUN/checkpoints/step-N/ with one HDF5 shard a rank and a MANIFEST.
// Rule: a folder named step-N is whole or it does not exist; there is no pointer to the latest, and nothing in a folder
// is believed before the MANIFEST's hashes agree.
//
//   step-N/MANIFEST         JSON: format, format_version, step, run_uuid, config_hash, world_size, files (bytes,
//   sha256,
//                           tensors with their own sha256), and the sha256 of all that
//   step-N/shard-RRRRR.h5   groups weights, state, moments, ema, extra; state_dict (hard links to weights and state);
//                           run/state_json. Chunked + Fletcher32, superblock V18, no time stamps: same state, same
//                           bytes
//
// Saving works from the caller's snapshot, uses no state of the process but a lock around libhdf5, and may run on a
// thread of its own (writer.h). Two saves into one folder at a time are the caller's mistake; ig_lock keeps other
// processes out.
#ifndef IG_CKPT_CHECKPOINT_H
#define IG_CKPT_CHECKPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/base/dtype.h"
#include "runtime/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

#define IG_CKPT_FORMAT_VERSION 1
#define IG_CKPT_MAX_DIMS       8
#define IG_CKPT_MIN_KEEP       3

// One tensor or fragment to save. Weights and state (BatchNorm's statistics) carry public names and shapes: together
// they are the state dict. Moments are 1-D fragments of a flat buffer's rows: `offset` is the place of data[0] within
// the whole named row, so that any number of ranks can read them.
typedef struct ig_ckpt_tensor {
  const char *name;  // no empty, "." or ".." part between slashes
  ig_dtype dtype;
  int n_dims;  // 0 = scalar
  int64_t dims[IG_CKPT_MAX_DIMS];
  const void *data;   // C order
  const char *group;  // "weights", "state", "moments", "ema", "extra"
  int64_t offset;     // elements; 0 unless a fragment, which is 1-D
} ig_ckpt_tensor;

typedef struct ig_ckpt_save_options {
  const char *folder;       // RUN/checkpoints; made where absent
  int64_t step;             // >= 0
  const char *run_uuid;     // of the run, and of the resolved configuration
  const char *config_hash;  // "" where not known
  int world_size, rank;     // 0 and 1 both mean one rank
  const char
      *state_json;  // a JSON object: scaler, schedule, RNG key, data position, metrics, config; NULL on ranks > 0
  int keep;         // newest ones that stay, >= 3 (0 = 3)
  int64_t protect;  // a step that is never pruned (the best), or -1
  void (*warn)(void *user, const char *text);  // what went wrong after the checkpoint was safe (pruning); may be NULL
  void *warn_user;
  void (*consumed)(void *user, size_t i);  // the data of tensor i are not read any more (in order of i); may be NULL
  void *consumed_user;
} ig_ckpt_save_options;

// Begin, write, commit in one: the whole save of a single rank. On failure nothing named step-N is new, an older
// checkpoint is untouched, and the same call may be made again. IG_ERR_IO (disk), IG_ERR_MEMORY, IG_ERR_USAGE.
ig_status ig_ckpt_save(const ig_ckpt_save_options *options, const ig_ckpt_tensor *tensors, size_t n);

// The same in the phases of several ranks: rank 0 begins; barrier; every rank writes; all-reduce of "ok" and gather of
// the entries to rank 0; rank 0 commits where all are ok, else it aborts.
ig_status ig_ckpt_begin(const ig_ckpt_save_options *options);
// Writes and fsyncs this rank's shard. *entry: its row of the MANIFEST as JSON text, owned by the caller (ig_free).
ig_status ig_ckpt_write_shard(const ig_ckpt_save_options *options, const ig_ckpt_tensor *tensors, size_t n,
                              char **entry);
// MANIFEST, fsync, everything read back and compared, rename, fsync of the folder, prune.
ig_status ig_ckpt_commit(const ig_ckpt_save_options *options, const char *const *entries, size_t n_entries);
void ig_ckpt_abort(const ig_ckpt_save_options *options);

// Bytes that a shard of these tensors takes on disk, from above.
uint64_t ig_ckpt_bytes(const ig_ckpt_tensor *tensors, size_t n);
// Host memory that a save takes at its peak beside the tensors, from above: where they are a snapshot that is given
// back as it is consumed (writer.h), with the snapshot.
uint64_t ig_ckpt_peak_bytes(const ig_ckpt_tensor *tensors, size_t n);
// Proves before step 0 that `folder` can be written (a file is written, synced and removed) and that its disk has
// room for `bytes`.
ig_status ig_ckpt_probe(const char *folder, uint64_t bytes);
// Removes what a killed save or prune left (step-N.tmp), and undoes a half-done replacement. For the run's owner, at
// start. A missing folder is fine.
ig_status ig_ckpt_sweep(const char *folder);

// --- reading ---

// A tensor, or one fragment of it, as the MANIFEST lists it. Borrowed from the reader.
typedef struct ig_ckpt_entry {
  const char *group, *name;
  ig_dtype dtype;
  int n_dims;
  int64_t dims[IG_CKPT_MAX_DIMS];
  int64_t n;       // elements of this fragment
  int64_t offset;  // of its first element within the whole
  int64_t whole;   // elements of all fragments together
  int shard;
  const char *sha256;
} ig_ckpt_entry;

typedef struct ig_ckpt_reader ig_ckpt_reader;

// Opens a step-N folder. MANIFEST, sizes and hashes of all files are checked before libhdf5 sees a byte.
// IG_ERR_NOT_FOUND (no such folder), IG_ERR_FORMAT (damaged: what and where), IG_ERR_IO, IG_ERR_UNSUPPORTED (written by
// a newer format version).
ig_status ig_ckpt_open(const char *step_folder, ig_ckpt_reader **out);
// Opens the newest valid one of RUN/checkpoints. Damaged ones are passed over, each with a call of `warn` (may be NULL)
// that says why. One of a newer format version is refused, not passed over. IG_ERR_NOT_FOUND where none is valid.
ig_status ig_ckpt_open_latest(const char *folder, ig_ckpt_reader **out, void (*warn)(void *user, const char *text),
                              void *user);
void ig_ckpt_close(ig_ckpt_reader *reader);  // NULL is fine

const char *ig_ckpt_path(const ig_ckpt_reader *reader);
int64_t ig_ckpt_step(const ig_ckpt_reader *reader);
const char *ig_ckpt_run_uuid(const ig_ckpt_reader *reader);
const char *ig_ckpt_config_hash(const ig_ckpt_reader *reader);
int ig_ckpt_world_size(const ig_ckpt_reader *reader);
const char *ig_ckpt_state_json(
    const ig_ckpt_reader *reader);  // rank 0's; hash-checked at open; NULL where none was given

size_t ig_ckpt_count(const ig_ckpt_reader *reader);  // fragments; sorted by group, name, offset
const ig_ckpt_entry *ig_ckpt_get(const ig_ckpt_reader *reader, size_t i);
// First fragment (offset 0) of a tensor; NULL where absent.
const ig_ckpt_entry *ig_ckpt_find(const ig_ckpt_reader *reader, const char *group, const char *name);
// Elements [first, first + n) of a tensor in its own dtype, gathered from all shards that hold some. The hash of every
// fragment that is read whole is checked. dst_bytes = n x bytes of the dtype exactly (IG_ERR_MISMATCH).
ig_status ig_ckpt_read_range(ig_ckpt_reader *reader, const char *group, const char *name, int64_t first, int64_t n,
                             void *dst, size_t dst_bytes);
// The whole tensor.
ig_status ig_ckpt_read(ig_ckpt_reader *reader, const char *group, const char *name, void *dst, size_t dst_bytes);

typedef struct ig_ckpt_info {
  int64_t step;
  bool valid;
  uint64_t bytes;  // of all its files
  char *problem;   // why it is not valid, else NULL
} ig_ckpt_info;

// The N of "step-N<suffix>", or -1: plain decimal, no leading zero.
int64_t ig_step_of_name(const char *name, const char *suffix);
// All step-N of a folder, ascending. `deep`: every file is hashed and every tensor read and compared; else only the
// MANIFEST and the sizes are checked. *list: ig_ckpt_list_free. A missing folder is an empty list.
ig_status ig_ckpt_list(const char *folder, bool deep, ig_ckpt_info **list, size_t *n);
void ig_ckpt_list_free(ig_ckpt_info *list, size_t n);
// Everything of one step-N folder: hashes of files, then each tensor through HDF5.
ig_status ig_ckpt_verify(const char *step_folder);

#ifdef __cplusplus
}
#endif
#endif
