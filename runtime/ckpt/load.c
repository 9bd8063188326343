// Opening and reading checkpoints. Rule: MANIFEST, sizes and hashes first, libhdf5 after.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/base/text.h"
#include "runtime/ckpt/ckpt_util.h"
#include "runtime/ckpt/folder.h"
#include "runtime/ckpt/h5_shard.h"
#include "runtime/ckpt/manifest.h"

typedef struct open_shard {
  ig_mapped map;
  ig_h5_shard *h5;
} open_shard;

struct ig_ckpt_reader {
  char *path;
  ig_manifest manifest;
  open_shard *shards;  // [world_size], opened when first read
  char *state_json;
};

// Opens a shard whose hash was checked; the map is what was hashed unless the file was written to since.
static ig_status need_shard(ig_ckpt_reader *r, int shard) {
  ig_status status = IG_OK;
  char *path = NULL;
  open_shard *s = &r->shards[shard];
  if (s->h5)
    return IG_OK;
  IG_GOTO(ig_path_join(&path, r->path, r->manifest.files[shard].name));
  if (!s->map.data)
    IG_GOTO(ig_file_map(path, &s->map));
  if (s->map.n != r->manifest.files[shard].bytes)
    IG_GOTO(ig_fail(IG_ERR_FORMAT, "%s changed its size while it was read", path));
  IG_GOTO(ig_h5_open(path, s->map.data, s->map.n, &s->h5));
done:
  ig_free(path);
  return status;
}

static ig_status check_hashes(const ig_ckpt_reader *r) {
  ig_status status = IG_OK;
  char *path = NULL, hex[65];
  uint64_t bytes;
  for (int i = 0; i < r->manifest.world_size; i++) {
    const ig_manifest_file *file = &r->manifest.files[i];
    ig_free(path);
    IG_GOTO(ig_path_join(&path, r->path, file->name));
    IG_GOTO(ig_ckpt_hash_file(path, false, &bytes, hex));
    if (bytes != file->bytes || strcmp(hex, file->sha256))
      IG_GOTO(ig_fail(IG_ERR_FORMAT, "%s: SHA-256 is %s, %s expected by the MANIFEST: the file is damaged", path, hex,
                      file->sha256));
  }
done:
  ig_free(path);
  return status;
}

static ig_status read_state(ig_ckpt_reader *r) {
  const ig_manifest_file *file = &r->manifest.files[0];
  char hex[65];
  if (file->state_bytes < 0)
    return IG_OK;
  IG_TRY(need_shard(r, 0));
  IG_TRY(ig_h5_read_state(r->shards[0].h5, file->state_bytes, &r->state_json));
  ig_sha256_hex(r->state_json, (size_t)file->state_bytes, hex);
  if (strcmp(hex, file->state_sha256))
    return ig_fail(IG_ERR_FORMAT, "%s/%s: the state's SHA-256 differs from the MANIFEST's", r->path, file->name);
  return IG_OK;
}

ig_status ig_ckpt_open(const char *step_folder, ig_ckpt_reader **out) {
  ig_status status = IG_OK;
  ig_ckpt_reader *r = NULL;
  uint64_t bytes;
  *out = NULL;
  IG_GOTO(ig_alloc(sizeof *r, "checkpoint reader", &r));
  IG_GOTO(ig_strdup(step_folder, &r->path));
  for (size_t n = strlen(r->path); n > 1 && r->path[n - 1] == '/'; n--)
    r->path[n - 1] = 0;
  IG_GOTO(ig_step_check(r->path, &bytes));
  IG_GOTO(ig_manifest_load(r->path, &r->manifest));
  IG_GOTO(ig_alloc_array((size_t)r->manifest.world_size, sizeof *r->shards, "a checkpoint's shards", &r->shards));
  IG_GOTO(check_hashes(r));
  IG_GOTO(read_state(r));
  *out = r;
  r = NULL;
done:
  ig_ckpt_close(r);
  return status;
}

void ig_ckpt_close(ig_ckpt_reader *reader) {
  if (!reader)
    return;
  for (int i = 0; reader->shards && i < reader->manifest.world_size; i++) {
    ig_h5_close(reader->shards[i].h5);
    ig_file_unmap(&reader->shards[i].map);
  }
  ig_manifest_fini(&reader->manifest);
  ig_free(reader->shards);
  ig_free(reader->state_json);
  ig_free(reader->path);
  ig_free(reader);
}

ig_status ig_ckpt_open_latest(const char *folder, ig_ckpt_reader **out, void (*warn)(void *user, const char *text),
                              void *user) {
  ig_status status = IG_OK;
  int64_t *steps = NULL;
  size_t n, damaged = 0;
  char *path = NULL, *newest = NULL;
  *out = NULL;
  IG_GOTO(ig_step_list(folder, "", &steps, &n));
  for (size_t i = n; i-- > 0;) {
    ig_free(path);
    IG_GOTO(ig_step_path(folder, steps[i], "", &path));
    status = ig_ckpt_open(path, out);
    if (status != IG_ERR_FORMAT && status != IG_ERR_IO && status != IG_ERR_NOT_FOUND && status != IG_ERR_USAGE)
      goto done;
    ig_fail_prefix(status, "checkpoint of step %" PRId64 " is damaged and passed over", steps[i]);
    if (damaged++ == 0)
      IG_GOTO(ig_strdup(ig_error_message(), &newest));
    if (warn)
      warn(user, ig_error_message());
  }
  status = damaged
               ? ig_fail(IG_ERR_NOT_FOUND,
                         "%s: %s valid; the newest: %s; put a copy of one back, or start a new run in another "
                         "folder",
                         folder, ig_plural(damaged, "its only checkpoint is not", "none of its checkpoints is"), newest)
               : ig_fail(IG_ERR_NOT_FOUND, "%s holds no checkpoint (step-N)", folder);
done:
  ig_free(newest);
  ig_free(path);
  ig_free(steps);
  return status;
}

const char *ig_ckpt_path(const ig_ckpt_reader *reader) { return reader->path; }
int64_t ig_ckpt_step(const ig_ckpt_reader *reader) { return reader->manifest.step; }
const char *ig_ckpt_run_uuid(const ig_ckpt_reader *reader) { return reader->manifest.run_uuid; }
const char *ig_ckpt_config_hash(const ig_ckpt_reader *reader) { return reader->manifest.config_hash; }
int ig_ckpt_world_size(const ig_ckpt_reader *reader) { return reader->manifest.world_size; }
const char *ig_ckpt_state_json(const ig_ckpt_reader *reader) { return reader->state_json; }
size_t ig_ckpt_count(const ig_ckpt_reader *reader) { return reader->manifest.n_entries; }
const ig_ckpt_entry *ig_ckpt_get(const ig_ckpt_reader *reader, size_t i) { return &reader->manifest.entries[i]; }

const ig_ckpt_entry *ig_ckpt_find(const ig_ckpt_reader *reader, const char *group, const char *name) {
  ig_ckpt_entry key = {.group = group, .name = name};
  const ig_manifest *m = &reader->manifest;
  return m->n_entries ? bsearch(&key, m->entries, m->n_entries, sizeof key, ig_manifest_compare) : NULL;
}

// Elements [first, first + n) of one fragment; hashed where that is all of it.
static ig_status read_fragment(ig_ckpt_reader *r, const ig_ckpt_entry *e, int64_t first, int64_t n, void *dst) {
  char hex[65], q[IG_QUOTE_BYTES];
  IG_TRY(need_shard(r, e->shard));
  IG_TRY(ig_h5_read(r->shards[e->shard].h5, e, first, n, dst));
  if (n == e->n) {
    ig_sha256_hex(n ? dst : "", (size_t)n * ig_dtype_bytes(e->dtype), hex);
    if (strcmp(hex, e->sha256))
      return ig_fail(IG_ERR_FORMAT, "%s/%s: %s/%s: SHA-256 is %s, %s expected by the MANIFEST", r->path,
                     r->manifest.files[e->shard].name, e->group, ig_ckpt_quote(e->name, q), hex, e->sha256);
  }
  return IG_OK;
}

ig_status ig_ckpt_read_range(ig_ckpt_reader *reader, const char *group, const char *name, int64_t first, int64_t n,
                             void *dst, size_t dst_bytes) {
  char q[IG_QUOTE_BYTES];
  const ig_ckpt_entry *e = ig_ckpt_find(reader, group, name);
  if (!e)
    return ig_fail(IG_ERR_NOT_FOUND, "%s: no tensor %s in group %s", reader->path, ig_ckpt_quote(name, q), group);
  const ig_ckpt_entry *end = reader->manifest.entries + reader->manifest.n_entries;
  size_t size = ig_dtype_bytes(e->dtype);
  if (first < 0 || n < 0 || first > e->whole - n || (n != e->whole && e->n_dims != 1))
    return ig_fail(IG_ERR_MISMATCH, "%s: %s/%s: elements [%" PRId64 ", +%" PRId64 ") wanted, %" PRId64 " are there",
                   reader->path, group, ig_ckpt_quote(name, q), first, n, e->whole);
  if (dst_bytes != (size_t)n * size)
    return ig_fail(IG_ERR_MISMATCH, "%s: %s/%s: %" PRId64 " elements of %s do not fill %zu bytes", reader->path, group,
                   ig_ckpt_quote(name, q), n, ig_dtype_name(e->dtype), dst_bytes);
  for (; e < end && !strcmp(e->group, group) && !strcmp(e->name, name); e++) {
    int64_t low = first > e->offset ? first : e->offset;
    int64_t high = first + n < e->offset + e->n ? first + n : e->offset + e->n;
    if (low < high || e->whole == 0)
      IG_TRY(read_fragment(reader, e, low - e->offset, high - low, (uint8_t *)dst + (size_t)(low - first) * size));
  }
  return IG_OK;
}

ig_status ig_ckpt_read(ig_ckpt_reader *reader, const char *group, const char *name, void *dst, size_t dst_bytes) {
  const ig_ckpt_entry *e = ig_ckpt_find(reader, group, name);
  return ig_ckpt_read_range(reader, group, name, 0, e ? e->whole : 0, dst, dst_bytes);
}

ig_status ig_ckpt_verify(const char *step_folder) {
  ig_status status = IG_OK;
  ig_ckpt_reader *r = NULL;
  void *copy = NULL;
  size_t room = 0;
  IG_GOTO(ig_ckpt_open(step_folder, &r));
  for (size_t i = 0; i < r->manifest.n_entries; i++) {
    const ig_ckpt_entry *e = &r->manifest.entries[i];
    size_t bytes = (size_t)e->n * ig_dtype_bytes(e->dtype);
    if (bytes > room)
      room = bytes;
  }
  IG_GOTO(ig_alloc_pages(room, "checking a checkpoint", &copy));
  for (size_t i = 0; i < r->manifest.n_entries; i++)
    IG_GOTO(read_fragment(r, &r->manifest.entries[i], 0, r->manifest.entries[i].n, copy));
done:
  ig_free_pages(copy, room);
  ig_ckpt_close(r);
  return status;
}
