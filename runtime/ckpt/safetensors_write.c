// The safetensors writer. Rule: byte for byte what the official package writes for the same tensors and metadata.
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/ckpt/ckpt_util.h"
#include "runtime/ckpt/safetensors.h"

// A source in its place; parts are written header first, then in this order.
typedef struct placed {
  const ig_st_source *source;
  size_t bytes;
} placed;

// Largest alignment first keeps every tensor aligned behind a header that is padded to 8.
static int compare_official(const void *a, const void *b) {
  const ig_st_source *x = ((const placed *)a)->source, *y = ((const placed *)b)->source;
  int dx = (int)ig_st_dtype_from_ig(x->dtype), dy = (int)ig_st_dtype_from_ig(y->dtype);
  return dx != dy ? dy - dx : strcmp(x->name, y->name);
}

static ig_status source_bytes(const ig_st_source *s, size_t *bytes) {
  char q[IG_QUOTE_BYTES];
  if (!s->name || !*s->name || !strcmp(s->name, "__metadata__"))
    return ig_fail(IG_ERR_USAGE, "a tensor must have a name other than \"__metadata__\"");
  if ((unsigned)s->dtype >= IG_N_DTYPES || s->n_dims < 0 || s->n_dims > IG_ST_MAX_DIMS)
    return ig_fail(IG_ERR_USAGE, "tensor %s: dtype %d or %d dimensions are out of range", ig_ckpt_quote(s->name, q),
                   (int)s->dtype, s->n_dims);
  int64_t n = (int64_t)ig_dtype_bytes(s->dtype);
  for (int i = 0; i < s->n_dims; i++)
    if (s->dims[i] < 0 || __builtin_mul_overflow(n, s->dims[i], &n))
      return ig_fail(IG_ERR_USAGE, "tensor %s: dimension %d is %" PRId64 ": negative, or the product overflows",
                     ig_ckpt_quote(s->name, q), i, s->dims[i]);
  if (n > 0 && !s->data)
    return ig_fail(IG_ERR_USAGE, "tensor %s: no data", ig_ckpt_quote(s->name, q));
  *bytes = (size_t)n;
  return IG_OK;
}

// `status` of a jansson call that gives 0 on success; it refuses a key or string that is not UTF-8.
static ig_status check_json(int failed, const char *what, const char *text) {
  char q[IG_QUOTE_BYTES];
  return failed ? ig_fail(IG_ERR_USAGE, "%s %s is not UTF-8 (or memory is exhausted)", what, ig_ckpt_quote(text, q))
                : IG_OK;
}

static ig_status build_metadata(json_t *header, const ig_st_pair *pairs, size_t n) {
  json_t *metadata = json_object();
  IG_TRY(check_json(json_object_set_new(header, "__metadata__", metadata), "key", "__metadata__"));
  IG_TRY(check_json(json_object_set_new(metadata, "format", json_string("pt")), "key", "format"));
  for (size_t i = 0; i < n; i++)
    IG_TRY(
        check_json(json_object_set_new(metadata, pairs[i].key, json_string(pairs[i].value)), "metadata", pairs[i].key));
  return IG_OK;
}

static ig_status build_entry(json_t *header, const placed *p, size_t begin) {
  const ig_st_source *s = p->source;
  char q[IG_QUOTE_BYTES];
  if (json_object_get(header, s->name))
    return ig_fail(IG_ERR_USAGE, "two tensors are named %s", ig_ckpt_quote(s->name, q));
  json_t *shape = json_array();
  for (int i = 0; i < s->n_dims; i++)
    json_array_append_new(shape, json_integer(s->dims[i]));
  json_t *entry = json_pack("{s:s, s:o, s:[I, I]}", "dtype", ig_st_dtype_name(ig_st_dtype_from_ig(s->dtype)), "shape",
                            shape, "data_offsets", (json_int_t)begin, (json_int_t)(begin + p->bytes));
  return check_json(json_object_set_new(header, s->name, entry), "tensor name", s->name);
}

// Renames the finished temporary over `path` and makes the name durable.
static ig_status publish(const char *temporary, const char *path) {
  ig_status status = IG_OK;
  char *folder = NULL;
  const char *slash = strrchr(path, '/');
  if (slash && slash != path)
    IG_GOTO(ig_asprintf(&folder, "%.*s", (int)(slash - path), path));
  else
    IG_GOTO(ig_strdup(slash ? "/" : ".", &folder));
  if (ig_fileops_get()->rename(temporary, path) != 0)
    IG_GOTO(ig_ckpt_fail_errno("rename the finished temporary file to", path));
  IG_GOTO(ig_fsync_dir(folder));
done:
  ig_free(folder);
  return status;
}

ig_status ig_st_write(const char *path, const ig_st_source *tensors, size_t n, const ig_st_pair *pairs,
                      size_t n_pairs) {
  ig_status status = IG_OK;
  placed *order = NULL;
  ig_part *parts = NULL;
  json_t *header = json_object();
  char *text = NULL, *temporary = NULL;
  bool written = false;
  IG_GOTO(ig_alloc_array(n, sizeof *order, "order of the tensors to write", &order));
  IG_GOTO(ig_alloc_array(n + 3, sizeof *parts, "parts of the file to write", &parts));
  for (size_t i = 0; i < n; i++) {
    order[i].source = &tensors[i];
    IG_GOTO(source_bytes(&tensors[i], &order[i].bytes));
  }
  if (n)
    qsort(order, n, sizeof *order, compare_official);
  IG_GOTO(build_metadata(header, pairs, n_pairs));
  size_t offset = 0;
  for (size_t i = 0; i < n; i++) {
    IG_GOTO(build_entry(header, &order[i], offset));
    parts[i + 3] = (ig_part){order[i].source->data, order[i].bytes};
    offset += order[i].bytes;
  }
  text = json_dumps(header, JSON_COMPACT);
  if (!text)
    IG_GOTO(ig_fail(IG_ERR_MEMORY, "out of memory for the header of %s", path));
  size_t text_bytes = strlen(text), padding = (8 - text_bytes % 8) % 8;
  if (text_bytes + padding > IG_ST_MAX_HEADER_BYTES)
    IG_GOTO(ig_fail(IG_ERR_USAGE, "%s: the header would have %zu bytes, at most %u are allowed", path, text_bytes,
                    IG_ST_MAX_HEADER_BYTES));
  uint64_t length = text_bytes + padding;
  parts[0] = (ig_part){&length, 8};
  parts[1] = (ig_part){text, text_bytes};
  parts[2] = (ig_part){"       ", padding};
  IG_GOTO(ig_asprintf(&temporary, "%s.tmp", path));
  IG_GOTO(ig_ckpt_write_file(temporary, parts, n + 3));
  written = true;
  IG_GOTO(publish(temporary, path));
  written = false;
done:
  if (written)
    ig_fileops_get()->unlink(temporary);
  free(text);  // jansson's
  json_decref(header);
  ig_free(temporary);
  ig_free(parts);
  ig_free(order);
  return status;
}
