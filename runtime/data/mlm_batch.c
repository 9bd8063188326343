// Batches of samples for pre-training, and the loader's source of such. Rule: every element of a batch is written at
// each filling, so that nothing of an earlier one remains.
#include <string.h>

#include "runtime/base/mem.h"
#include "runtime/base/text.h"
#include "runtime/data/loader_internal.h"
#include "runtime/data/mlm_internal.h"

static void put_row(const ig_mlm_result *w, int row, int64_t position, ig_packed *p) {
  const int64_t at = p->n_tokens;
  p->first[row] = (int32_t)at;
  memcpy(p->ids + at, w->ids, (size_t)w->n * sizeof *p->ids);
  memcpy(p->types + at, w->types, (size_t)w->n * sizeof *p->types);
  for (int i = 0; i < w->n; i++) {
    p->positions[at + i] = i;
    p->row_keys[at + i] = (uint64_t)position << 16 | (uint64_t)i;
  }
  for (int i = 0; i < w->n_masked; i++, p->n_masked++) {
    p->masked[p->n_masked] = (int32_t)(at + w->masked[i]);
    p->masked_labels[p->n_masked] = w->labels[i];
    p->masked_weights[p->n_masked] = 1;
  }
  p->n_tokens += w->n;
}

static void clear_rest(ig_packed *p) {
  const size_t n = (size_t)(p->capacity - p->n_tokens);
  memset(p->ids + p->n_tokens, 0, n * sizeof *p->ids);
  memset(p->types + p->n_tokens, 0, n * sizeof *p->types);
  memset(p->positions + p->n_tokens, 0, n * sizeof *p->positions);
  memset(p->row_keys + p->n_tokens, 0, n * sizeof *p->row_keys);
  for (int64_t i = p->n_masked; i < p->masked_capacity; i++) {
    p->masked[i] = -1;
    p->masked_labels[i] = 0;
    p->masked_weights[i] = 0;
  }
}

ig_status ig_mlm_fill(const ig_mlm *m, const ig_mlm_row *rows, int n, int batch, const int64_t *rungs, int n_rungs,
                      ig_mlm_result *work, ig_packed *p, int32_t *next, float *weights) {
  const int64_t last = rungs[n_rungs - 1];
  p->n_tokens = p->n_masked = 0;
  p->masked_capacity = (int64_t)batch * m->o.max_masked;
  for (int i = 0; i < batch; i++) {
    p->cu_seqlens[i] = (int32_t)p->n_tokens;
    p->first[i] = -1;
    next[i] = 0;
    weights[i] = 0;
    if (i >= n)
      continue;
    IG_TRY(ig_mlm_sample(m, rows[i].epoch, rows[i].sample, work));
    if (work->n > last - p->n_tokens)
      return ig_fail(IG_ERR_USAGE, "a batch of at least %lld tokens is larger than the last capacity (%lld)",
                     (long long)(p->n_tokens + work->n), (long long)last);
    put_row(work, i, rows[i].position, p);
    next[i] = work->next;
    weights[i] = 1;
  }
  p->cu_seqlens[batch] = (int32_t)p->n_tokens;
  int r = 0;
  while (rungs[r] < p->n_tokens)
    r++;
  p->capacity = rungs[r];
  clear_rest(p);
  return IG_OK;
}

// ---- capacities ----

static uint64_t first_of(const ig_mlm *m, ig_part part) { return part == IG_PART_VAL ? m->n - m->n_val : 0; }

static int64_t length_at(const ig_lengths *l, uint64_t place) {
  const ig_mlm *m = l->of;
  return ig_mlm_length(m, first_of(m, l->part) + place);
}

ig_status ig_mlm_ladder(const ig_mlm *m, ig_part part, int batch, uint64_t seed, int64_t rungs[IG_MAX_RUNGS], int *n) {
  const ig_lengths l = {.of = m,
                        .part = part,
                        .n = ig_mlm_count(m, part),
                        .at = length_at,
                        .train = part == IG_PART_TRAIN,
                        .repeats = part == IG_PART_TRAIN || part == IG_PART_ALL};
  *n = 0;
  if (batch < 1 || l.n == 0)
    return ig_fail(batch < 1 ? IG_ERR_USAGE : IG_ERR_DATA,
                   "pre-training: batch=%d, and %llu %s in the %s part; expected at least one of each", batch,
                   (unsigned long long)l.n, ig_plural((unsigned long long)l.n, "sample", "samples"),
                   ig_part_name(part));
  return ig_lengths_ladder(&l, batch, seed, rungs, n);
}

// ---- the loader's source ----

typedef struct state {
  ig_loader_options o;
  const ig_mlm *m;
  uint64_t n, first;
} state;

// A batch is filled by one thread at a time: the sampler's memory lies with it.
typedef struct packed {
  ig_packed p;  // first: ig_batch points at it
  ig_mlm_result work;
  ig_mlm_row *rows;  // [batch]
} packed;

static ig_status init_batch(const void *context, ig_batch *b) {
  const state *s = context;
  const size_t rows = (size_t)s->o.rungs[s->o.n_rungs - 1], n = (size_t)s->o.batch;
  const size_t masked = n * (size_t)s->m->o.max_masked;
  packed *k;
  IG_TRY(ig_alloc(sizeof *k, "a packed batch", &k));
  ig_packed *p = &k->p;
  b->packed = p;
  IG_TRY(ig_alloc_array(n, sizeof *k->rows, "a packed batch", &k->rows));
  IG_TRY(ig_alloc_array(rows, sizeof *p->ids, "a packed batch", &p->ids));
  IG_TRY(ig_alloc_array(rows, sizeof *p->types, "a packed batch", &p->types));
  IG_TRY(ig_alloc_array(rows, sizeof *p->positions, "a packed batch", &p->positions));
  IG_TRY(ig_alloc_array(rows, sizeof *p->row_keys, "a packed batch", &p->row_keys));
  IG_TRY(ig_alloc_array(n + 1, sizeof *p->cu_seqlens, "a packed batch", &p->cu_seqlens));
  IG_TRY(ig_alloc_array(n, sizeof *p->first, "a packed batch", &p->first));
  IG_TRY(ig_alloc_array(masked, sizeof *p->masked, "a packed batch", &p->masked));
  IG_TRY(ig_alloc_array(masked, sizeof *p->masked_labels, "a packed batch", &p->masked_labels));
  return ig_alloc_array(masked, sizeof *p->masked_weights, "a packed batch", &p->masked_weights);
}

static void fini_batch(ig_batch *b) {
  packed *k = (packed *)b->packed;
  if (!k)
    return;
  ig_packed *p = &k->p;
  ig_free(p->ids);
  ig_free(p->types);
  ig_free(p->positions);
  ig_free(p->row_keys);
  ig_free(p->cu_seqlens);
  ig_free(p->first);
  ig_free(p->masked);
  ig_free(p->masked_labels);
  ig_free(p->masked_weights);
  ig_mlm_result_fini(&k->work);
  ig_free(k->rows);
  ig_free(k);
  b->packed = NULL;
}

static ig_status fill(const void *context, ig_batch *b, int64_t position) {
  const state *s = context;
  packed *k = (packed *)b->packed;
  int n = 0;
  for (int row = 0; row < s->o.batch; row++) {
    const uint64_t place = (uint64_t)position + (uint64_t)row;
    b->samples[row] = 0;
    b->lam[row] = 1;
    if (!s->o.train && place >= s->n)
      continue;
    b->samples[row] = s->first + (s->o.train ? ig_order_at(s->o.seed, s->n, place) : place);
    k->rows[n++] = (ig_mlm_row){b->samples[row], (int64_t)(place / s->n), (int64_t)place};
  }
  IG_TRY(ig_mlm_fill(s->m, k->rows, n, s->o.batch, s->o.rungs, s->o.n_rungs, &k->work, &k->p, b->labels, b->weights));
  memcpy(b->second_labels, b->labels, (size_t)s->o.batch * sizeof *b->labels);
  return IG_OK;
}

static void fini(void *context) { ig_free(context); }

static ig_status check_rungs(const ig_loader_options *o) {
  for (int i = 0; i < o->n_rungs; i++)
    if (o->rungs[i] < 1 || o->rungs[i] > INT32_MAX || (i && o->rungs[i] <= o->rungs[i - 1]))
      return ig_fail(IG_ERR_USAGE, "loader: capacity %lld; expected ascending ones of 1 to %d rows",
                     (long long)o->rungs[i], INT32_MAX);
  return IG_OK;
}

ig_status ig_mlm_source(const ig_loader_options *options, ig_batch_source *out) {
  const ig_mlm *m = options->mlm ? options->mlm : options->data->mlm;
  ig_status status = IG_OK;
  state *s;
  if (!m)
    return ig_fail(IG_ERR_USAGE, "%s: the corpus has no samples yet (ig_dataset_mlm)", options->data->path);
  if (options->n_rungs < 0 || options->n_rungs > IG_MAX_RUNGS)
    return ig_fail(IG_ERR_USAGE, "loader: %d capacities; expected 1 to %d, or 0", options->n_rungs, IG_MAX_RUNGS);
  if (ig_mlm_count(m, options->part) == 0)
    return ig_fail(IG_ERR_DATA, "%s: the %s part has no samples", options->data->path, ig_part_name(options->part));
  IG_TRY(ig_alloc(sizeof *s, "a loader", &s));
  s->o = *options;
  s->m = m;
  s->n = ig_mlm_count(m, options->part);
  s->first = first_of(m, options->part);
  if (s->o.n_rungs == 0)
    IG_GOTO(ig_mlm_ladder(m, options->part, options->batch, options->seed, s->o.rungs, &s->o.n_rungs));
  IG_GOTO(check_rungs(&s->o));
  *out = (ig_batch_source){s, s->n, s->first, init_batch, fill, fini_batch, fini};
  return IG_OK;
done:
  ig_free(s);
  return status;
}
