// Packs samples into batches. Rule: see text_batch.h; every element of a batch is written at each filling, so that
// nothing of an earlier one remains.
#include "runtime/data/text_batch.h"

#include <string.h>

#include "runtime/base/mem.h"
#include "runtime/data/loader_internal.h"

enum { NOT_COUNTED = -100 };

typedef struct state {
  ig_loader_options o;
  const size_t *index;  // sample numbers of the part; NULL = all
  uint64_t n;
  int64_t capacity;  // the last rung
} state;

static ig_status init_batch(const void *context, ig_batch *b) {
  const state *s = context;
  ig_packed *p;
  size_t rows = (size_t)s->capacity, n = (size_t)s->o.batch;
  IG_TRY(ig_alloc(sizeof *p, "a packed batch", &p));
  b->packed = p;
  IG_TRY(ig_alloc_array(rows, sizeof *p->ids, "a packed batch", &p->ids));
  IG_TRY(ig_alloc_array(rows, sizeof *p->types, "a packed batch", &p->types));
  IG_TRY(ig_alloc_array(rows, sizeof *p->positions, "a packed batch", &p->positions));
  IG_TRY(ig_alloc_array(rows, sizeof *p->row_keys, "a packed batch", &p->row_keys));
  IG_TRY(ig_alloc_array(n + 1, sizeof *p->cu_seqlens, "a packed batch", &p->cu_seqlens));
  if (s->o.data->tokens->labels)
    IG_TRY(ig_alloc_array(rows, sizeof *p->labels, "a packed batch", &p->labels));
  return ig_alloc_array(n, sizeof *p->first, "a packed batch", &p->first);
}

static void fini_batch(ig_batch *b) {
  ig_packed *p = (ig_packed *)b->packed;
  if (!p)
    return;
  ig_free(p->ids);
  ig_free(p->types);
  ig_free(p->positions);
  ig_free(p->row_keys);
  ig_free(p->cu_seqlens);
  ig_free(p->first);
  ig_free(p->labels);
  ig_free(p);
  b->packed = NULL;
}

// A sample's rows from `at` on; returns the row behind them.
static int64_t pack_sample(const ig_token_table *t, ig_packed *p, uint64_t sample, uint64_t place, int64_t at) {
  const uint64_t start = t->start[sample], n = t->start[sample + 1] - start, second = t->second[sample];
  memcpy(p->ids + at, t->ids + start, n * sizeof *p->ids);
  if (p->labels)
    memcpy(p->labels + at, t->labels + start, n * sizeof *p->labels);
  for (uint64_t k = 0; k < n; k++) {
    p->types[at + (int64_t)k] = k >= second;
    p->positions[at + (int64_t)k] = (int32_t)k;
    p->row_keys[at + (int64_t)k] = place << 16 | k;
  }
  return at + (int64_t)n;
}

static void clear_rows(ig_packed *p, int64_t from) {
  size_t n = (size_t)(p->capacity - from);
  memset(p->ids + from, 0, n * sizeof *p->ids);
  memset(p->types + from, 0, n * sizeof *p->types);
  memset(p->positions + from, 0, n * sizeof *p->positions);
  memset(p->row_keys + from, 0, n * sizeof *p->row_keys);
  for (int64_t i = from; p->labels && i < p->capacity; i++)
    p->labels[i] = NOT_COUNTED;
}

// What a row of the batch is learned by.
static void set_target(const ig_dataset *d, ig_batch *b, size_t row, bool real) {
  size_t k = (size_t)d->n_classes, sample = b->samples[row];
  int32_t label = real ? d->samples[sample].label : 0;
  b->labels[row] = b->second_labels[row] = label < 0 ? 0 : label;
  b->lam[row] = 1;
  b->weights[row] = real;
  if (b->targets && real)
    memcpy(b->targets + row * k, d->targets + sample * k, k * sizeof *b->targets);
  else if (b->targets)
    memset(b->targets + row * k, 0, k * sizeof *b->targets);
}

static ig_status fill(const void *context, ig_batch *b, int64_t position) {
  const state *s = context;
  const ig_token_table *t = s->o.data->tokens;
  ig_packed *p = (ig_packed *)b->packed;
  int64_t at = 0;
  for (int row = 0; row < s->o.batch; row++) {
    uint64_t place = (uint64_t)position + (uint64_t)row;
    bool real = s->o.train || place < s->n;
    uint64_t in_part = !real ? 0 : s->o.train ? ig_order_at(s->o.seed, s->n, place) : place;
    b->samples[row] = !real ? 0 : s->index ? s->index[in_part] : in_part;
    set_target(s->o.data, b, (size_t)row, real);
    p->cu_seqlens[row] = (int32_t)at;
    p->first[row] = real ? (int32_t)at : -1;
    if (!real)
      continue;
    int64_t rows = (int64_t)(t->start[b->samples[row] + 1] - t->start[b->samples[row]]);
    if (rows > s->capacity - at)
      return ig_fail(IG_ERR_USAGE, "a batch of at least %lld tokens is larger than the last capacity (%lld)",
                     (long long)(at + rows), (long long)s->capacity);
    at = pack_sample(t, p, b->samples[row], place, at);
  }
  p->cu_seqlens[s->o.batch] = (int32_t)at;
  p->n_tokens = at;
  int r = 0;
  while (s->o.rungs[r] < at)
    r++;
  p->capacity = s->o.rungs[r];
  clear_rows(p, at);
  return IG_OK;
}

static void fini(void *context) { ig_free(context); }

ig_status ig_text_source(const ig_loader_options *options, ig_batch_source *out) {
  const ig_dataset *d = options->data;
  state *s;
  if (!d->tokens)
    return ig_fail(IG_ERR_USAGE, "%s: the texts have no tokens yet (ig_dataset_tokenize)", d->path);
  if (options->n_rungs < 0 || options->n_rungs > IG_MAX_RUNGS)
    return ig_fail(IG_ERR_USAGE, "loader: %d capacities; expected 1 to %d, or 0", options->n_rungs, IG_MAX_RUNGS);
  IG_TRY(ig_alloc(sizeof *s, "a loader", &s));
  s->o = *options;
  s->index = options->part == IG_PART_ALL ? NULL : d->index[options->part];
  s->n = options->part == IG_PART_ALL ? d->n : d->count[options->part];
  ig_status status = IG_OK;
  if (s->o.n_rungs == 0)
    status = ig_text_ladder(d, options->part, options->batch, options->seed, s->o.rungs, &s->o.n_rungs);
  for (int i = 0; status == IG_OK && i < s->o.n_rungs; i++)
    if (s->o.rungs[i] < 1 || s->o.rungs[i] > INT32_MAX || (i && s->o.rungs[i] <= s->o.rungs[i - 1]))
      status = ig_fail(IG_ERR_USAGE, "loader: capacity %lld; expected ascending ones of 1 to %d rows",
                       (long long)s->o.rungs[i], INT32_MAX);
  if (status != IG_OK) {
    ig_free(s);
    return status;
  }
  s->capacity = s->o.rungs[s->o.n_rungs - 1];
  *out = (ig_batch_source){s, s->n, 0, init_batch, fill, fini_batch, fini};
  return IG_OK;
}
