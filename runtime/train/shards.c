// See shards.h.
#include "runtime/train/shards.h"

#include <stdio.h>
#include <string.h>

#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/base/rng.h"
#include "runtime/base/text.h"

static void put_row(const ig_mlm_result *r, int32_t pad, int64_t i, ig_bert_shard *s) {
  int32_t *ids = s->input_ids + i * s->length;
  int8_t *mask = s->input_mask + i * s->length, *segments = s->segment_ids + i * s->length;
  for (int t = 0; t < s->length; t++) {
    ids[t] = t < r->n ? r->ids[t] : pad;
    mask[t] = t < r->n;
    segments[t] = t < r->n && r->types[t];
  }
  for (int k = 0; k < s->max_masked; k++) {
    s->masked_lm_positions[i * s->max_masked + k] = k < r->n_masked ? r->masked[k] : 0;
    s->masked_lm_ids[i * s->max_masked + k] = k < r->n_masked ? r->labels[k] : 0;
  }
  s->next_sentence_labels[i] = (int8_t)r->next;
}

// The samples at the places [from, from + n) of the order of all epochs.
static ig_status write_file(const ig_shards_options *o, int64_t from, int64_t n, ig_mlm_result *work,
                            ig_shards_written *w) {
  const uint64_t count = ig_mlm_count(o->mlm, o->part);
  const uint64_t first = o->part == IG_PART_VAL ? ig_mlm_count(o->mlm, IG_PART_TRAIN) : 0;
  ig_status status = IG_OK;
  ig_bert_shard s;
  char *path = NULL;
  struct stat st;
  IG_TRY(ig_bert_shard_init(n, ig_mlm_max_length(o->mlm), ig_mlm_max_masked(o->mlm), &s));
  for (int64_t i = 0; i < n; i++) {
    const uint64_t place = (uint64_t)(from + i), epoch = place / count;
    const uint64_t key = ig_hash_mix(ig_hash_mix(o->seed, ig_hash_str("shards")), epoch);
    IG_GOTO(ig_mlm_sample(o->mlm, (int64_t)epoch, first + ig_permute(key, count, place % count), work));
    put_row(work, o->pad, i, &s);
    w->tokens += work->n;
    w->masked += work->n_masked;
    w->random_next += work->next;
  }
  IG_GOTO(ig_asprintf(&path, "%s/training_%05lld.hdf5", o->out, (long long)w->files));
  IG_GOTO(ig_bert_shard_write(path, &s));
  if (ig_fileops_get()->stat(path, &st) == 0)
    w->bytes += st.st_size;
  w->files++;
  w->rows += n;
done:
  ig_free(path);
  ig_bert_shard_fini(&s);
  return status;
}

ig_status ig_shards_write(const ig_shards_options *o, ig_shards_written *out) {
  ig_status status = IG_OK;
  ig_mlm_result work = {0};
  char line[96];
  *out = (ig_shards_written){0};
  const int64_t all = (int64_t)ig_mlm_count(o->mlm, o->part) * o->epochs;
  if (o->rows < 1 || o->epochs < 1 || all < 1)
    return ig_fail(IG_ERR_USAGE, "shards: %lld rows a file, %lld epochs of %llu samples; expected at least one of each",
                   (long long)o->rows, (long long)o->epochs, (unsigned long long)ig_mlm_count(o->mlm, o->part));
  IG_TRY(ig_make_dirs(o->out));
  if (ig_is_bert_shards(o->out))
    return ig_fail(IG_ERR_USAGE, "out=%s holds shards already; a reader would take both: name an empty folder", o->out);
  for (int64_t at = 0; at < all; at += o->rows) {
    IG_GOTO(write_file(o, at, all - at < o->rows ? all - at : o->rows, &work, out));
    if (o->progress) {
      snprintf(line, sizeof line, "shards: %lld of %lld %s", (long long)out->rows, (long long)all,
               ig_plural((unsigned long long)all, "row", "rows"));
      o->progress(o->user, line);
    }
    if (o->should_stop && o->should_stop(o->user))
      IG_GOTO(ig_fail(IG_STOPPED, "stopped after %lld of %lld %s; %s holds whole files", (long long)out->rows,
                      (long long)all, ig_plural((unsigned long long)all, "row", "rows"), o->out));
  }
done:
  ig_mlm_result_fini(&work);
  return status;
}

static void get_row(const void *state, uint64_t i, ig_mlm_given_row *row) {
  ig_bert_row r;
  ig_bert_rows_get(state, (int64_t)i, &r);
  *row = (ig_mlm_given_row){r.n, r.n_first, r.n_masked, r.next, r.ids, r.masked, r.labels};
}

ig_status ig_shards_dataset(const char *path, int32_t vocabulary, double val_share, uint64_t seed, ig_bert_rows **rows,
                            ig_dataset **out) {
  ig_status status = IG_OK;
  ig_mlm *m = NULL;
  *out = NULL;
  IG_TRY(ig_bert_rows_open(path, vocabulary, rows));
  IG_GOTO(ig_mlm_create_given(&(ig_mlm_given){.size = sizeof(ig_mlm_given),
                                              .state = *rows,
                                              .n = (uint64_t)ig_bert_rows_count(*rows),
                                              .get = get_row,
                                              .longest = ig_bert_rows_longest(*rows),
                                              .max_masked = ig_bert_rows_max_masked(*rows),
                                              .pairs = true,
                                              .val_share = val_share,
                                              .seed = seed,
                                              .fingerprint = ig_bert_rows_fingerprint(*rows)},
                              &m));
  IG_GOTO(ig_dataset_of_mlm(path, ig_bert_rows_fingerprint(*rows), m, out));
  return IG_OK;
done:
  ig_mlm_destroy(m);
  ig_bert_rows_close(*rows);
  *rows = NULL;
  return status;
}
