// Saving a checkpoint: begin, write, commit. Rule: the rename of step-N.tmp to step-N is the only moment at which a
// checkpoint comes to exist, and everything before it is on the disk and has been read back.
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/ckpt/ckpt_util.h"
#include "runtime/ckpt/folder.h"
#include "runtime/ckpt/h5_shard.h"
#include "runtime/ckpt/manifest.h"

static int world_size_of(const ig_ckpt_save_options *o) { return o->world_size > 1 ? o->world_size : 1; }

static ig_status check_options(const ig_ckpt_save_options *o) {
  if (!o->folder || !*o->folder || !o->run_uuid || !o->config_hash)
    return ig_fail(IG_ERR_INTERNAL, "a checkpoint needs folder, run_uuid and config_hash");
  if (o->step < 0 || o->rank < 0 || o->rank >= world_size_of(o))
    return ig_fail(IG_ERR_INTERNAL, "checkpoint of step %" PRId64 ", rank %d of %d", o->step, o->rank, o->world_size);
  if (o->keep != 0 && o->keep < IG_CKPT_MIN_KEEP)
    return ig_fail(IG_ERR_USAGE, "keep=%d: at least %d checkpoints are kept, so that a damaged one costs little",
                   o->keep, IG_CKPT_MIN_KEEP);
  return IG_OK;
}

static ig_status check_tensor(const ig_ckpt_tensor *t) {
  static const char *const groups[] = {"weights", "state", "moments", "ema", "extra"};
  char q[IG_QUOTE_BYTES];
  size_t g = 0;
  if (!t->name || !ig_manifest_name_ok(t->name))
    return ig_fail(IG_ERR_USAGE, "tensor name %s: empty, or with an empty, \".\" or \"..\" part between slashes",
                   ig_ckpt_quote(t->name ? t->name : "", q));
  while (g < sizeof groups / sizeof *groups && (!t->group || strcmp(groups[g], t->group)))
    g++;
  if (g == sizeof groups / sizeof *groups)
    return ig_fail(IG_ERR_INTERNAL, "tensor %s: group %s is not weights, state, moments, ema or extra",
                   ig_ckpt_quote(t->name, q), t->group ? t->group : "(none)");
  int64_t bytes = (unsigned)t->dtype < IG_N_DTYPES ? (int64_t)ig_dtype_bytes(t->dtype) : 0, end;
  bool bad = bytes == 0 || t->n_dims < 0 || t->n_dims > IG_CKPT_MAX_DIMS;
  for (int i = 0; !bad && i < t->n_dims; i++)
    bad = t->dims[i] < 0 || __builtin_mul_overflow(bytes, t->dims[i], &bytes);
  bad = bad || t->offset < 0 || (t->offset && t->n_dims != 1) || __builtin_add_overflow(bytes, t->offset, &end) ||
        (!strcmp(t->group, "moments") && t->n_dims != 1) || (bytes > 0 && !t->data);
  return bad ? ig_fail(IG_ERR_INTERNAL, "tensor %s of %s: dtype, shape, offset or data is not valid",
                       ig_ckpt_quote(t->name, q), t->group)
             : IG_OK;
}

static ig_ckpt_entry entry_of(const ig_ckpt_tensor *t) {
  ig_ckpt_entry e = {.group = t->group, .name = t->name, .dtype = t->dtype, .n_dims = t->n_dims, .n = 1};
  memcpy(e.dims, t->dims, sizeof e.dims);
  for (int i = 0; i < t->n_dims; i++)
    e.n *= t->dims[i];
  e.offset = t->offset;
  return e;
}

static size_t bytes_of(const ig_ckpt_entry *e) { return (size_t)e->n * ig_dtype_bytes(e->dtype); }

uint64_t ig_ckpt_bytes(const ig_ckpt_tensor *tensors, size_t n) { return ig_h5_bytes(tensors, n, 1 << 16); }

uint64_t ig_ckpt_peak_bytes(const ig_ckpt_tensor *tensors, size_t n) {
  uint64_t largest = 0;
  for (size_t i = 0; i < n; i++) {
    ig_ckpt_entry e = entry_of(&tensors[i]);
    if (bytes_of(&e) > largest)
      largest = bytes_of(&e);
  }
  // The image grows by a tensor before the snapshot of it goes; later the image is checked a tensor at a time. The rest
  // is libhdf5's own, and the rounding to huge pages.
  return ig_ckpt_bytes(tensors, n) + largest + (4u << 20);
}

static ig_status hash_bytes(const void *data, size_t n, char hex[65]) {
  ig_sha256_hex(data ? data : "", n, hex);
  return hex[0] ? IG_OK : ig_fail(IG_ERR_INTERNAL, "libcrypto failed to hash %zu bytes", n);
}

// Reads each tensor back out of the image and compares hashes: the image is one that libhdf5 can read.
static ig_status check_image(const ig_h5_image *image, const ig_ckpt_tensor *tensors, size_t n,
                             const char (*hashes)[65]) {
  ig_status status = IG_OK;
  ig_h5_shard *shard = NULL;
  void *copy = NULL;
  size_t room = 0;
  char hex[65], q[IG_QUOTE_BYTES];
  for (size_t i = 0; i < n; i++) {
    ig_ckpt_entry e = entry_of(&tensors[i]);
    if (bytes_of(&e) > room)
      room = bytes_of(&e);
  }
  IG_GOTO(ig_alloc_pages(room, "checking a checkpoint image", &copy));
  IG_GOTO(ig_h5_open("checkpoint image", image->data, image->bytes, &shard));
  for (size_t i = 0; i < n; i++) {
    ig_ckpt_entry e = entry_of(&tensors[i]);
    IG_GOTO(ig_h5_read(shard, &e, 0, e.n, copy));
    IG_GOTO(hash_bytes(copy, bytes_of(&e), hex));
    if (strcmp(hex, hashes[i]))
      IG_GOTO(ig_fail(IG_ERR_INTERNAL,
                      "tensor %s changed while it was saved: the snapshot was written to, or memory is faulty",
                      ig_ckpt_quote(e.name, q)));
  }
done:
  ig_h5_close(shard);
  ig_free_pages(copy, room);
  return status;
}

ig_status ig_ckpt_begin(const ig_ckpt_save_options *options) {
  ig_status status = IG_OK;
  char *path = NULL;
  IG_TRY(check_options(options));
  bool there = ig_path_is_dir(options->folder);
  IG_GOTO(ig_make_dirs(options->folder));
  if (!there)
    IG_GOTO(ig_fsync_parent(options->folder));
  IG_GOTO(ig_step_path(options->folder, options->step, ".tmp", &path));
  IG_GOTO(ig_remove_tree(path));
  if (ig_fileops_get()->mkdir(path, 0777) != 0)
    IG_GOTO(ig_ckpt_fail_errno("make folder", path));
done:
  ig_free(path);
  return status;
}

// Writes the image, syncs it, reads it back and compares.
static ig_status write_image(const char *path, const ig_h5_image *image, char hex[65]) {
  ig_part part = {image->data, image->bytes};
  char found[65];
  uint64_t bytes;
  IG_TRY(hash_bytes(image->data, image->bytes, hex));
  IG_TRY(ig_ckpt_write_file(path, &part, 1));
  IG_TRY(ig_ckpt_hash_file(path, true, &bytes, found));
  if (bytes != image->bytes || strcmp(found, hex))
    return ig_fail(IG_ERR_IO, "%s: what was written does not read back the same; the disk is not to be trusted", path);
  return IG_OK;
}

ig_status ig_ckpt_write_shard(const ig_ckpt_save_options *options, const ig_ckpt_tensor *tensors, size_t n,
                              char **entry) {
  ig_status status = IG_OK;
  char name[32], state_hash[65], file_hash[65], *folder = NULL, *path = NULL;
  char(*hashes)[65] = NULL;
  ig_h5_image image = {0};
  *entry = NULL;
  IG_GOTO(check_options(options));
  for (size_t i = 0; i < n; i++)
    IG_GOTO(check_tensor(&tensors[i]));
  IG_GOTO(ig_alloc_array(n, sizeof *hashes, "hashes of a checkpoint", &hashes));
  for (size_t i = 0; i < n; i++) {
    ig_ckpt_entry e = entry_of(&tensors[i]);
    IG_GOTO(hash_bytes(tensors[i].data, bytes_of(&e), hashes[i]));
  }
  ig_manifest_file file = {.state_bytes = -1};
  ig_h5_root root = {.step = options->step,
                     .run_uuid = options->run_uuid,
                     .config_hash = options->config_hash,
                     .world_size = world_size_of(options),
                     .rank = options->rank,
                     .consumed = options->consumed,
                     .consumed_user = options->consumed_user};
  if (options->state_json) {
    file.state_bytes = (int64_t)strlen(options->state_json);
    IG_GOTO(hash_bytes(options->state_json, (size_t)file.state_bytes, state_hash));
    root.state_json = options->state_json;
    root.state_sha256 = file.state_sha256 = state_hash;
  }
  IG_GOTO(ig_h5_build(&root, tensors, n, (const char(*)[65])hashes, &image));
  IG_GOTO(check_image(&image, tensors, n, (const char(*)[65])hashes));
  ig_manifest_shard_name(options->rank, name);
  IG_GOTO(ig_step_path(options->folder, options->step, ".tmp", &folder));
  IG_GOTO(ig_path_join(&path, folder, name));
  IG_GOTO(write_image(path, &image, file_hash));
  file.name = name;
  file.bytes = image.bytes;
  file.sha256 = file_hash;
  IG_GOTO(ig_manifest_row(options, &file, tensors, n, (const char(*)[65])hashes, entry));
done:
  ig_h5_image_fini(&image);
  ig_free(hashes);
  ig_free(path);
  ig_free(folder);
  return status;
}

// Renames step-N.tmp to step-N and makes it durable; a former step-N steps aside and comes back on failure.
static ig_status publish(const ig_ckpt_save_options *options, const char *temporary) {
  const ig_fileops *ops = ig_fileops_get();
  ig_status status = IG_OK;
  char *path = NULL, *old = NULL;
  struct stat st;
  bool aside = false, named = false;
  IG_GOTO(ig_step_path(options->folder, options->step, "", &path));
  IG_GOTO(ig_step_path(options->folder, options->step, ".old", &old));
  if (ops->stat(path, &st) != 0) {
    if (errno != ENOENT)
      IG_GOTO(ig_ckpt_fail_errno("examine", path));
  } else {
    IG_GOTO(ig_remove_tree(old));
    if (ops->rename(path, old) != 0)
      IG_GOTO(ig_ckpt_fail_errno("rename", path));
    aside = true;
  }
  if (ops->rename(temporary, path) != 0)
    IG_GOTO(ig_ckpt_fail_errno("rename the finished checkpoint to", path));
  named = true;
  IG_GOTO(ig_fsync_dir(options->folder));
  if (aside && ig_remove_tree(old) != IG_OK && options->warn)
    options->warn(options->warn_user, ig_error_message());
done:
  if (status != IG_OK) {
    // Not known to be durable: discarded. Where even that fails the next sweep finds one of the two names.
    if (named && ops->rename(path, temporary) == 0)
      named = false;
    if (aside && !named)
      (void)!ops->rename(old, path);
  }
  ig_free(path);
  ig_free(old);
  return status;
}

static ig_status commit(const ig_ckpt_save_options *options, const char *const *entries, size_t n_entries,
                        const char *temporary) {
  ig_status status = IG_OK;
  char *path = NULL, *text = NULL;
  uint64_t bytes;
  IG_GOTO(ig_manifest_text(options, entries, n_entries, &text));
  IG_GOTO(ig_path_join(&path, temporary, IG_MANIFEST_NAME));
  ig_part part = {text, strlen(text)};
  IG_GOTO(ig_ckpt_write_file(path, &part, 1));
  IG_GOTO(ig_step_check(temporary, &bytes));  // the shards were read back by their ranks
  IG_GOTO(ig_fsync_dir(temporary));
  IG_GOTO(publish(options, temporary));
done:
  ig_free(text);
  ig_free(path);
  return status;
}

ig_status ig_ckpt_commit(const ig_ckpt_save_options *options, const char *const *entries, size_t n_entries) {
  ig_status status = IG_OK;
  char *temporary = NULL;
  IG_GOTO(check_options(options));
  if (options->rank != 0 || n_entries != (size_t)world_size_of(options))
    IG_GOTO(ig_fail(IG_ERR_INTERNAL, "rank %d commits %zu shards of %d ranks", options->rank, n_entries,
                    options->world_size));
  IG_GOTO(ig_step_path(options->folder, options->step, ".tmp", &temporary));
  IG_GOTO(commit(options, entries, n_entries, temporary));
  ig_step_prune(options);
done:
  ig_free(temporary);
  if (status != IG_OK)
    ig_ckpt_abort(options);
  return status;
}

void ig_ckpt_abort(const ig_ckpt_save_options *options) {
  ig_kept_error kept;
  char *temporary = NULL;
  ig_ckpt_keep_error(&kept);
  if (ig_step_path(options->folder, options->step, ".tmp", &temporary) == IG_OK)
    (void)ig_remove_tree(temporary);  // what stays is swept at the next start
  ig_free(temporary);
  ig_ckpt_restore_error(&kept, IG_OK);
}

ig_status ig_ckpt_save(const ig_ckpt_save_options *options, const ig_ckpt_tensor *tensors, size_t n) {
  ig_status status = IG_OK;
  char *entry = NULL;
  IG_TRY(check_options(options));
  if (world_size_of(options) != 1)
    return ig_fail(IG_ERR_INTERNAL, "ig_ckpt_save is for one rank; %d ranks save in phases", options->world_size);
  IG_GOTO(ig_ckpt_begin(options));
  IG_GOTO(ig_ckpt_write_shard(options, tensors, n, &entry));
  const char *rows[] = {entry};
  IG_GOTO(ig_ckpt_commit(options, rows, 1));
done:
  if (status != IG_OK)
    ig_ckpt_abort(options);
  ig_free(entry);
  return status;
}
