// Shards as one table of rows. Rule: files in the order of their names, rows in the order of the files, padding left
// out.
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/base/text.h"
#include "runtime/ckpt/bert_shard.h"

// A row's place in `values`: tokens, masked positions, labels.
typedef struct place {
  uint64_t at;
  int32_t n, n_first, n_masked, next;
} place;

struct ig_bert_rows {
  char **files;
  size_t n_files, files_capacity;
  size_t n_other;  // shards whose names do not contain `training`
  place *places;
  size_t n, places_capacity;
  int32_t *values;
  size_t n_values, values_capacity;
  int longest, max_masked;
  char fingerprint[65];
};

static bool is_hdf5(const char *name) {
  const char *dot = strrchr(name, '.');
  return dot && dot != name && (!strcasecmp(dot, ".hdf5") || !strcasecmp(dot, ".h5"));
}
static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static ig_status add_file(ig_bert_rows *r, const char *folder, const char *name) {
  IG_TRY(ig_grow(&r->files, &r->files_capacity, r->n_files, r->n_files + 1, sizeof *r->files, "shards"));
  IG_TRY(ig_path_join(&r->files[r->n_files], folder, name));
  r->n_files++;
  return IG_OK;
}

static ig_status list_files(ig_bert_rows *r, const char *path) {
  ig_status status = IG_OK;
  char q[IG_QUOTE_BYTES];
  if (!ig_path_exists(path))
    return ig_fail(IG_ERR_NOT_FOUND, "%s: no such file or folder", ig_quote(q, path));
  if (!ig_path_is_dir(path))
    return add_file(r, "", path);
  DIR *dir = opendir(path);
  if (!dir)
    return ig_fail_open("list", path);
  for (struct dirent *e; (errno = 0, e = readdir(dir)) != NULL;) {
    if (!is_hdf5(e->d_name) || e->d_name[0] == '.')
      continue;
    if (strstr(e->d_name, "training"))
      IG_GOTO(add_file(r, path, e->d_name));
    else
      r->n_other++;
  }
  if (errno)
    IG_GOTO(ig_fail_open("list", path));
  if (!r->n_files)
    IG_GOTO(ig_fail(IG_ERR_DATA,
                    "%s holds no shard: expected .hdf5 files whose names contain \"training\", found %zu %s",
                    ig_quote(q, path), r->n_other, ig_plural(r->n_other, "other", "others")));
  qsort(r->files, r->n_files, sizeof *r->files, by_name);
done:
  closedir(dir);
  return status;
}

static ig_status add_row(ig_bert_rows *r, const ig_bert_shard *s, int64_t i) {
  place p = {.at = r->n_values, .next = s->next_sentence_labels[i]};
  const int8_t *segment = s->segment_ids + i * s->length;
  const int32_t *positions = s->masked_lm_positions + i * s->max_masked;
  while (p.n < s->length && s->input_mask[i * s->length + p.n])
    p.n++;
  while (p.n_first < p.n && !segment[p.n_first])
    p.n_first++;
  while (p.n_masked < s->max_masked && positions[p.n_masked])
    p.n_masked++;
  const size_t more = (size_t)p.n + 2 * (size_t)p.n_masked;
  IG_TRY(ig_grow(&r->values, &r->values_capacity, r->n_values, r->n_values + more, sizeof *r->values, "shards"));
  IG_TRY(ig_grow(&r->places, &r->places_capacity, r->n, r->n + 1, sizeof *r->places, "shards"));
  int32_t *to = r->values + r->n_values;
  memcpy(to, s->input_ids + i * s->length, (size_t)p.n * sizeof *to);
  memcpy(to + p.n, positions, (size_t)p.n_masked * sizeof *to);
  memcpy(to + p.n + p.n_masked, s->masked_lm_ids + i * s->max_masked, (size_t)p.n_masked * sizeof *to);
  r->n_values += more;
  r->places[r->n++] = p;
  r->longest = p.n > r->longest ? p.n : r->longest;
  r->max_masked = p.n_masked > r->max_masked ? p.n_masked : r->max_masked;
  return IG_OK;
}

static ig_status add_shard(ig_bert_rows *r, const char *path, int32_t vocabulary, ig_sha256 *h) {
  ig_status status = IG_OK;
  ig_bert_shard s;
  ig_mapped file;
  int32_t largest;
  char hex[65];
  IG_TRY(ig_bert_shard_read(path, &s, &largest));
  if (vocabulary && largest >= vocabulary)
    IG_GOTO(ig_fail(IG_ERR_MISMATCH,
                    "%s holds id %d; the vocabulary has %d: the shards were made with another tokenizer", path, largest,
                    vocabulary));
  for (int64_t i = 0; i < s.n; i++)
    IG_GOTO(add_row(r, &s, i));
  IG_GOTO(ig_file_map(path, &file));
  ig_sha256_hex(file.data, file.n, hex);
  ig_file_unmap(&file);
  ig_sha256_update(h, ig_path_name(path), strlen(ig_path_name(path)) + 1);
  ig_sha256_update(h, hex, 64);
done:
  ig_bert_shard_fini(&s);
  return status;
}

ig_status ig_bert_rows_open(const char *path, int32_t vocabulary, ig_bert_rows **out) {
  ig_status status = IG_OK;
  ig_bert_rows *r;
  ig_sha256 *h = NULL;
  char hex[65];
  *out = NULL;
  IG_TRY(ig_alloc(sizeof *r, "shards", &r));
  IG_GOTO(list_files(r, path));
  IG_GOTO(ig_sha256_create(&h));
  for (size_t i = 0; i < r->n_files; i++)
    IG_GOTO(add_shard(r, r->files[i], vocabulary, h));
  ig_sha256_finish(h, r->fingerprint);
  h = NULL;
  *out = r;
  r = NULL;
done:
  if (h)
    ig_sha256_finish(h, hex);
  ig_bert_rows_close(r);
  return status;
}

void ig_bert_rows_close(ig_bert_rows *r) {
  if (!r)
    return;
  for (size_t i = 0; i < r->n_files; i++)
    ig_free(r->files[i]);
  ig_free(r->files);
  ig_free(r->places);
  ig_free(r->values);
  ig_free(r);
}

int64_t ig_bert_rows_count(const ig_bert_rows *r) { return (int64_t)r->n; }
int ig_bert_rows_longest(const ig_bert_rows *r) { return r->longest; }
int ig_bert_rows_max_masked(const ig_bert_rows *r) { return r->max_masked; }
size_t ig_bert_rows_files(const ig_bert_rows *r) { return r->n_files; }
const char *ig_bert_rows_fingerprint(const ig_bert_rows *r) { return r->fingerprint; }

void ig_bert_rows_get(const ig_bert_rows *r, int64_t i, ig_bert_row *out) {
  const place *p = &r->places[i];
  const int32_t *v = r->values + p->at;
  *out = (ig_bert_row){p->n, p->n_first, p->n_masked, p->next, v, v + p->n, v + p->n + p->n_masked};
}

bool ig_is_bert_shards(const char *path) {
  if (!ig_path_is_dir(path))
    return is_hdf5(path) && strstr(ig_path_name(path), "training");
  bool found = false;
  DIR *dir = opendir(path);
  for (struct dirent *e; dir && !found && (e = readdir(dir)) != NULL;)
    found = e->d_name[0] != '.' && is_hdf5(e->d_name) && strstr(e->d_name, "training");
  if (dir)
    closedir(dir);
  return found;
}
