// The MANIFEST's text and its checks. Rule: see manifest.h.
#include "runtime/ckpt/manifest.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/ckpt/ckpt_util.h"

#define FORMAT_NAME        "ingot-checkpoint"
#define MAX_MANIFEST_BYTES (256u << 20)
#define MAX_RANKS          100000

bool ig_manifest_name_ok(const char *name) {
  for (const char *part = name;; part++) {
    size_t n = strcspn(part, "/");
    if (n == 0 || (n == 1 && part[0] == '.') || (n == 2 && part[0] == '.' && part[1] == '.'))
      return false;
    part += n;
    if (!*part)
      return true;
  }
}

void ig_manifest_shard_name(int rank, char out[32]) { snprintf(out, 32, "shard-%05d.h5", rank); }

int ig_manifest_compare(const void *a, const void *b) {
  const ig_ckpt_entry *x = a, *y = b;
  int order = strcmp(x->group, y->group);
  if (!order)
    order = strcmp(x->name, y->name);
  return order ? order : (x->offset > y->offset) - (x->offset < y->offset);
}

// --- writing ---

static ig_status fail_json_memory(void) {
  return ig_fail(IG_ERR_MEMORY, "out of memory for a checkpoint's MANIFEST, or a name in it is not UTF-8");
}

// jansson's text as one of ours, so that the caller has one way to free.
static ig_status dump(const json_t *json, size_t flags, char **out) {
  char *text = json_dumps(json, flags);
  if (!text)
    return fail_json_memory();
  ig_status status = ig_strdup(text, out);
  free(text);
  return status;
}

ig_status ig_manifest_row(const ig_ckpt_save_options *options, const ig_manifest_file *file,
                          const ig_ckpt_tensor *tensors, size_t n, const char (*hashes)[65], char **out) {
  ig_status status = IG_OK;
  json_t *list = json_array();
  json_t *row = json_pack("{s:s, s:i, s:I, s:s, s:O}", "name", file->name, "rank", options->rank, "bytes",
                          (json_int_t)file->bytes, "sha256", file->sha256, "tensors", list);
  if (!row)
    IG_GOTO(fail_json_memory());
  if (file->state_bytes >= 0 && (json_object_set_new(row, "state_bytes", json_integer(file->state_bytes)) ||
                                 json_object_set_new(row, "state_sha256", json_string(file->state_sha256))))
    IG_GOTO(fail_json_memory());
  for (size_t i = 0; i < n; i++) {
    json_t *shape = json_array();
    for (int d = 0; d < tensors[i].n_dims; d++)
      json_array_append_new(shape, json_integer(tensors[i].dims[d]));
    json_t *entry = json_pack("{s:s, s:s, s:s, s:o, s:s}", "group", tensors[i].group, "name", tensors[i].name, "dtype",
                              ig_dtype_name(tensors[i].dtype), "shape", shape, "sha256", hashes[i]);
    if (entry && tensors[i].offset)
      json_object_set_new(entry, "offset", json_integer(tensors[i].offset));
    if (json_array_append_new(list, entry))
      IG_GOTO(fail_json_memory());
  }
  IG_GOTO(dump(row, JSON_COMPACT, out));
done:
  json_decref(row);
  json_decref(list);
  return status;
}

// Hash of the canonical form: compact, sorted keys, without the hash itself.
static ig_status self_hash(const json_t *json, char hex[65]) {
  ig_status status = IG_OK;
  json_t *copy = json_copy((json_t *)json);
  char *text = NULL;
  hex[0] = 0;
  if (!copy)
    return fail_json_memory();
  json_object_del(copy, "sha256");
  IG_GOTO(dump(copy, JSON_COMPACT | JSON_SORT_KEYS, &text));
  ig_sha256_hex(text, strlen(text), hex);
  if (!hex[0])
    IG_GOTO(ig_fail(IG_ERR_INTERNAL, "libcrypto failed to hash a MANIFEST"));
done:
  ig_free(text);
  json_decref(copy);
  return status;
}

ig_status ig_manifest_text(const ig_ckpt_save_options *options, const char *const *rows, size_t n_rows, char **out) {
  ig_status status = IG_OK;
  char hex[65];
  json_t *files = json_array();
  json_t *json = json_pack("{s:s, s:i, s:I, s:s, s:s, s:i, s:O}", "format", FORMAT_NAME, "format_version",
                           IG_CKPT_FORMAT_VERSION, "step", (json_int_t)options->step, "run_uuid", options->run_uuid,
                           "config_hash", options->config_hash, "world_size", (int)n_rows, "files", files);
  if (!json)
    IG_GOTO(fail_json_memory());
  for (size_t i = 0; i < n_rows; i++) {
    json_error_t error;
    json_t *row = rows[i] ? json_loads(rows[i], JSON_REJECT_DUPLICATES, &error) : NULL;
    if (!row || json_integer_value(json_object_get(row, "rank")) != (json_int_t)i) {
      json_decref(row);
      IG_GOTO(ig_fail(IG_ERR_INTERNAL, "rank %zu: its row of the MANIFEST is missing or another rank's", i));
    }
    if (json_array_append_new(files, row))
      IG_GOTO(fail_json_memory());
  }
  IG_GOTO(self_hash(json, hex));
  if (json_object_set_new(json, "sha256", json_string(hex)))
    IG_GOTO(fail_json_memory());
  IG_GOTO(dump(json, JSON_INDENT(1), out));
done:
  json_decref(json);
  json_decref(files);
  return status;
}

// --- reading ---

static ig_status fail_field(const char *path, const char *field, const char *expected) {
  return ig_fail(IG_ERR_FORMAT, "%s: %s: missing or not %s", path, field, expected);
}

static const char *get_hash(const json_t *object, const char *key) {
  const char *hash = json_string_value(json_object_get(object, key));
  return hash && strspn(hash, "0123456789abcdef") == 64 && hash[64] == 0 ? hash : NULL;
}

// A non-negative integer, or -1.
static int64_t get_count(const json_t *object, const char *key) {
  const json_t *value = json_object_get(object, key);
  return json_is_integer(value) && json_integer_value(value) >= 0 ? json_integer_value(value) : -1;
}

static ig_status parse_entry(const char *path, const json_t *json, int shard, uint64_t *room, ig_ckpt_entry *e) {
  char q[IG_QUOTE_BYTES];
  const char *dtype = json_string_value(json_object_get(json, "dtype"));
  const json_t *shape = json_object_get(json, "shape");
  *e = (ig_ckpt_entry){.shard = shard, .n = 1, .n_dims = (int)json_array_size(shape)};
  e->group = json_string_value(json_object_get(json, "group"));
  e->name = json_string_value(json_object_get(json, "name"));
  e->sha256 = get_hash(json, "sha256");
  e->offset = json_object_get(json, "offset") ? get_count(json, "offset") : 0;
  if (!e->group || !ig_manifest_name_ok(e->group) || strchr(e->group, '/') || !e->name || !ig_manifest_name_ok(e->name))
    return fail_field(path, "group or name of a tensor", "a valid name");
  int type = 0;
  while (dtype && type < IG_N_DTYPES && strcmp(ig_dtype_name((ig_dtype)type), dtype))
    type++;
  if (!dtype || type == IG_N_DTYPES || !e->sha256 || e->offset < 0)
    return ig_fail(IG_ERR_FORMAT, "%s: tensor %s: dtype, sha256 or offset is missing or unknown", path,
                   ig_ckpt_quote(e->name, q));
  e->dtype = (ig_dtype)type;
  if (!json_is_array(shape) || json_array_size(shape) > IG_CKPT_MAX_DIMS || (e->offset && e->n_dims != 1))
    return ig_fail(IG_ERR_FORMAT, "%s: tensor %s: shape is missing or has over %d dimensions", path,
                   ig_ckpt_quote(e->name, q), IG_CKPT_MAX_DIMS);
  bool bad = false;
  for (int i = 0; i < e->n_dims; i++) {
    const json_t *dim = json_array_get(shape, (size_t)i);
    e->dims[i] = json_integer_value(dim);
    bad |= !json_is_integer(dim) || e->dims[i] < 0 || __builtin_mul_overflow(e->n, e->dims[i], &e->n);
  }
  int64_t bytes, end;
  bad |= __builtin_mul_overflow(e->n, (int64_t)ig_dtype_bytes(e->dtype), &bytes) ||
         __builtin_add_overflow(e->n, e->offset, &end);
  // Storage is uncompressed: tensors that claim more than their file has are a bomb, one by one or in sum.
  if (bad || (uint64_t)bytes > *room)
    return ig_fail(IG_ERR_FORMAT, "%s: tensor %s: its shape needs more bytes than its shard has", path,
                   ig_ckpt_quote(e->name, q));
  *room -= (uint64_t)bytes;
  return IG_OK;
}

static ig_status parse_file(const char *path, const json_t *json, int rank, ig_manifest *m) {
  ig_manifest_file *file = &m->files[rank];
  const json_t *tensors = json_object_get(json, "tensors");
  char expected[32];
  int64_t bytes = get_count(json, "bytes");
  ig_manifest_shard_name(rank, expected);
  file->name = json_string_value(json_object_get(json, "name"));
  file->sha256 = get_hash(json, "sha256");
  file->state_bytes = json_object_get(json, "state_bytes") ? get_count(json, "state_bytes") : -1;
  file->state_sha256 = get_hash(json, "state_sha256");
  if (!file->name || strcmp(file->name, expected))
    return ig_fail(IG_ERR_FORMAT, "%s: files[%d]: name %s expected", path, rank, expected);
  if (bytes < 0 || !file->sha256 || !json_is_array(tensors))
    return fail_field(path, file->name, "an object with bytes, sha256 and tensors");
  if (json_object_get(json, "state_bytes") &&
      (file->state_bytes < 0 || file->state_bytes > bytes || !file->state_sha256))
    return fail_field(path, "state_bytes, state_sha256", "a size within the file and a hash");
  file->bytes = (uint64_t)bytes;
  uint64_t room = file->bytes;
  for (size_t i = 0; i < json_array_size(tensors); i++)
    IG_TRY(parse_entry(path, json_array_get(tensors, i), rank, &room, &m->entries[m->n_entries++]));
  return IG_OK;
}

// Sorts, and demands that the fragments of each tensor tile it: no name twice, no hole.
static ig_status check_fragments(const char *path, ig_manifest *m) {
  char q[IG_QUOTE_BYTES];
  if (m->n_entries)
    qsort(m->entries, m->n_entries, sizeof *m->entries, ig_manifest_compare);
  for (size_t i = 0, next; i < m->n_entries; i = next) {
    ig_ckpt_entry *first = &m->entries[i];
    int64_t whole = 0;
    for (next = i; next < m->n_entries; next++) {
      ig_ckpt_entry *e = &m->entries[next];
      if (strcmp(e->group, first->group) || strcmp(e->name, first->name))
        break;
      if (e->offset != whole || (next > i && (e->n_dims != 1 || first->n_dims != 1 || e->dtype != first->dtype)))
        return ig_fail(IG_ERR_FORMAT,
                       "%s: %s %s: a fragment at element %" PRId64 ", %" PRId64 " expected (or two of one name)", path,
                       first->group, ig_ckpt_quote(e->name, q), e->offset, whole);
      whole += e->n;
    }
    for (size_t k = i; k < next; k++)
      m->entries[k].whole = whole;
  }
  return IG_OK;
}

// Format, own hash, then version: a flipped bit must not pass for a newer version.
static ig_status check_head(const char *path, ig_manifest *m) {
  const char *format = json_string_value(json_object_get(m->json, "format"));
  const char *stored = get_hash(m->json, "sha256");
  int64_t version = get_count(m->json, "format_version");
  char hex[65];
  if (!format || strcmp(format, FORMAT_NAME))
    return fail_field(path, "format", "\"" FORMAT_NAME "\"");
  IG_TRY(self_hash(m->json, hex));
  if (!stored || strcmp(stored, hex))
    return ig_fail(IG_ERR_FORMAT, "%s: sha256 is %s, but the contents give %s: the MANIFEST is damaged", path,
                   stored ? stored : "missing", hex);
  if (version < 1)
    return fail_field(path, "format_version", "a positive integer");
  if (version > IG_CKPT_FORMAT_VERSION)
    return ig_fail(IG_ERR_UNSUPPORTED,
                   "%s: format_version: %" PRId64 " found, at most %d is known here; use a newer Ingot for this run",
                   path, version, IG_CKPT_FORMAT_VERSION);
  return IG_OK;
}

static ig_status parse(const char *path, ig_manifest *m) {
  IG_TRY(check_head(path, m));
  const json_t *files = json_object_get(m->json, "files");
  int64_t world_size = get_count(m->json, "world_size");
  size_t n_entries = 0;
  m->step = get_count(m->json, "step");
  m->run_uuid = json_string_value(json_object_get(m->json, "run_uuid"));
  m->config_hash = json_string_value(json_object_get(m->json, "config_hash"));
  if (m->step < 0)
    return fail_field(path, "step", "a non-negative integer");
  if (!m->run_uuid || !m->config_hash)
    return fail_field(path, "run_uuid or config_hash", "a string");
  if (world_size < 1 || world_size > MAX_RANKS || !json_is_array(files) || json_array_size(files) != (size_t)world_size)
    return fail_field(path, "world_size or files", "a number of ranks and as many files");
  m->world_size = (int)world_size;
  for (int i = 0; i < m->world_size; i++)
    n_entries += json_array_size(json_object_get(json_array_get(files, (size_t)i), "tensors"));
  IG_TRY(ig_alloc_array((size_t)m->world_size, sizeof *m->files, "a checkpoint's files", &m->files));
  IG_TRY(ig_alloc_array(n_entries, sizeof *m->entries, "a checkpoint's tensor table", &m->entries));
  for (int i = 0; i < m->world_size; i++)
    IG_TRY(parse_file(path, json_array_get(files, (size_t)i), i, m));
  return check_fragments(path, m);
}

ig_status ig_manifest_load(const char *step_folder, ig_manifest *out) {
  ig_status status = IG_OK;
  char *path = NULL;
  uint8_t *text = NULL;
  size_t n;
  json_error_t error;
  *out = (ig_manifest){0};
  IG_GOTO(ig_path_join(&path, step_folder, IG_MANIFEST_NAME));
  status = ig_file_read(path, MAX_MANIFEST_BYTES, &text, &n);
  if (status == IG_ERR_NOT_FOUND && ig_path_is_dir(step_folder))
    IG_GOTO(ig_fail(IG_ERR_FORMAT, "%s is missing: not a whole checkpoint", path));
  if (status != IG_OK)
    goto done;
  IG_GOTO(ig_ckpt_check_json(path, 0, (const char *)text, n));
  out->json = json_loadb((const char *)text, n, JSON_REJECT_DUPLICATES, &error);
  if (!out->json) {
    char q[IG_QUOTE_BYTES];
    bool memory = json_error_code(&error) == json_error_out_of_memory;
    IG_GOTO(ig_fail(memory ? IG_ERR_MEMORY : IG_ERR_FORMAT, "%s: invalid JSON at line %d: %s", path, error.line,
                    ig_ckpt_quote(error.text, q)));
  }
  IG_GOTO(parse(path, out));
done:
  ig_free(text);
  ig_free(path);
  if (status != IG_OK)
    ig_manifest_fini(out);
  return status;
}

void ig_manifest_fini(ig_manifest *m) {
  json_decref(m->json);
  ig_free(m->files);
  ig_free(m->entries);
  *m = (ig_manifest){0};
}
