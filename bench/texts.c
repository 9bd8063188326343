// Synthetic batches of texts; see texts.h.
#include "bench/texts.h"

#include <math.h>

#include "runtime/base/mem.h"
#include "runtime/base/rng.h"
#include "runtime/data/text_batch.h"

enum { QUANTILES = 32, FIRST_WORD = 1000 };  // ids below are special tokens and unused in bert-base-uncased

// Tokens of a text with [CLS] and [SEP], bert-base-uncased's vocabulary: of 32 equal parts of all texts, by length, the
// middle one of each. banking77: the 10,003 messages of train.csv (mean 16.2). corpus: the chunks that pre-training
// with pairs makes of shared/data/corpus (runtime/data/mlm.h), 32,254 of up to 128 tokens (mean 88.1), 13,760 of up to
// 512 (mean 202.5).
static const int16_t banking77[QUANTILES] = {7,  8,  9,  9,  10, 10, 10, 11, 11, 11, 12, 12, 12, 13, 13, 13,
                                             14, 14, 14, 15, 15, 16, 16, 17, 18, 19, 20, 23, 26, 31, 37, 48};
static const int16_t corpus_128[QUANTILES] = {9,   12,  15,  18,  22,  30,  40,  53,  65,  75,  83,
                                              89,  94,  98,  101, 104, 107, 109, 111, 113, 115, 117,
                                              118, 120, 121, 122, 124, 125, 126, 127, 128, 128};
static const int16_t corpus_512[QUANTILES] = {8,   9,   11,  12,  13,  14,  16,  17,  18,  20,  23,
                                              27,  31,  36,  43,  53,  67,  86,  119, 189, 301, 422,
                                              463, 477, 486, 491, 496, 500, 504, 507, 509, 512};

// The i-th of n texts in order of length: evenly over the table.
static int length_of(const ig_texts_options *o, int i) {
  if (o->lengths == IG_LENGTHS_FULL)
    return o->max_length;
  const int16_t *table = o->lengths == IG_LENGTHS_BANKING77 ? banking77
                         : o->max_length <= 128             ? corpus_128
                                                            : corpus_512;
  const int n = table[(2 * i + 1) * QUANTILES / (2 * o->batch)];
  return n < o->max_length ? n : o->max_length;
}

static void shuffle(int *x, int n, ig_rng *r) {
  for (int i = n - 1; i > 0; i--) {
    int k = (int)ig_rng_below(r, (uint32_t)i + 1), kept = x[i];
    x[i] = x[k];
    x[k] = kept;
  }
}

static int32_t draw_word(const ig_texts_options *o, ig_rng *r) {
  const int32_t first = o->spec->vocabulary > 2 * FIRST_WORD ? FIRST_WORD : 1;
  return first + (int32_t)ig_rng_below(r, (uint32_t)o->spec->vocabulary - (uint32_t)first);
}

// A text of n tokens from row `at` on: two segments of about half of it each.
static void fill_text(ig_texts *t, ig_rng *r, int place, int64_t at, int n) {
  ig_packed *p = &t->packed;
  for (int k = 0; k < n; k++) {
    p->ids[at + k] = draw_word(&t->o, r);
    p->types[at + k] = t->o.mlm && k >= n / 2;
    p->positions[at + k] = k;
    p->row_keys[at + k] = (uint64_t)place << 16 | (uint64_t)k;
  }
}

// Rows that are predicted: 15 % of each text, at least one; each with a word of its own.
static void fill_masked(ig_texts *t, ig_rng *r, int64_t at, int n) {
  ig_packed *p = &t->packed;
  const int wanted = (int)ceil(0.15 * n);
  for (int left = wanted, k = 0; k < n && left; k++)
    if ((int)ig_rng_below(r, (uint32_t)(n - k)) < left) {
      p->masked[p->n_masked] = (int32_t)(at + k);
      p->masked_labels[p->n_masked] = draw_word(&t->o, r);
      p->masked_weights[p->n_masked++] = 1;
      left--;
    }
}

// As a run has them (ig_mlm_masked_rows), but as many for each text.
static int64_t masked_rows(const ig_texts *t) {
  const int64_t n = t->o.batch, share = (int64_t)(0.15 * (double)t->packed.n_tokens) + n;
  const int64_t most = (int64_t)ceil(0.15 * t->o.max_length), each = (share + n - 1) / n;
  return n * (each < most ? each : most);
}

static ig_status allocate(ig_texts *t) {
  ig_packed *p = &t->packed;
  const size_t rows = (size_t)p->capacity, n = (size_t)t->o.batch, masked = (size_t)p->masked_capacity;
  IG_TRY(ig_alloc_array(rows, sizeof *p->ids, "texts", &p->ids));
  IG_TRY(ig_alloc_array(rows, sizeof *p->types, "texts", &p->types));
  IG_TRY(ig_alloc_array(rows, sizeof *p->positions, "texts", &p->positions));
  IG_TRY(ig_alloc_array(rows, sizeof *p->row_keys, "texts", &p->row_keys));
  IG_TRY(ig_alloc_array(n + 1, sizeof *p->cu_seqlens, "texts", &p->cu_seqlens));
  IG_TRY(ig_alloc_array(n, sizeof *p->first, "texts", &p->first));
  IG_TRY(ig_alloc_array(n, sizeof *t->labels, "texts", &t->labels));
  IG_TRY(ig_alloc_array(n, sizeof *t->ones, "texts", &t->ones));
  if (!masked)
    return IG_OK;
  IG_TRY(ig_alloc_array(masked, sizeof *p->masked, "texts", &p->masked));
  IG_TRY(ig_alloc_array(masked, sizeof *p->masked_labels, "texts", &p->masked_labels));
  return ig_alloc_array(masked, sizeof *p->masked_weights, "texts", &p->masked_weights);
}

static ig_status fill_batch(ig_texts *t, int *lengths) {
  ig_packed *p = &t->packed;
  ig_rng r = ig_rng_make(t->o.seed, 0, 0);
  int64_t at = 0;
  shuffle(lengths, t->o.batch, &r);
  IG_TRY(allocate(t));
  for (int i = 0; i < t->o.batch; at += lengths[i++]) {
    p->cu_seqlens[i] = p->first[i] = (int32_t)at;
    fill_text(t, &r, i, at, lengths[i]);
    if (t->o.mlm)
      fill_masked(t, &r, at, lengths[i]);
    t->labels[i] = (int32_t)ig_rng_below(&r, t->o.mlm ? 2 : (uint32_t)t->o.classes);
    t->ones[i] = 1;
  }
  p->cu_seqlens[t->o.batch] = (int32_t)at;
  for (int64_t i = p->n_masked; i < p->masked_capacity; i++)
    p->masked[i] = -1;
  t->batch = (ig_batch){.n = t->o.batch, .packed = p, .labels = t->labels, .lam = t->ones, .weights = t->ones};
  return IG_OK;
}

// Capacities are found by the lengths alone: texts of one length each, so that the batch's capacity is the only one.
static ig_status make_data(ig_texts *t) {
  const size_t n = (size_t)t->o.batch;
  const int64_t each = (t->packed.n_tokens + t->o.batch - 1) / t->o.batch;
  size_t *index;
  IG_TRY(ig_alloc_array(n + 1, sizeof *t->tokens.start, "texts", &t->tokens.start));
  IG_TRY(ig_alloc_array(n, sizeof *index, "texts", &index));
  t->tokens.max_length = t->o.max_length;
  t->data = (ig_dataset){.kind = IG_DATASET_TEXT,
                         .task = t->o.mlm ? IG_TASK_MLM : IG_TASK_CLASSIFY,
                         .path = (char *)"synthetic texts",
                         .n = n,
                         .n_classes = t->o.classes,
                         .tokens = &t->tokens,
                         .max_masked = (int)(t->packed.masked_capacity / t->o.batch)};
  for (int part = IG_PART_TRAIN; part < IG_N_PARTS; part++)
    t->data.index[part] = index;
  for (size_t i = 0; i < n; i++) {
    index[i] = i;
    t->tokens.start[i + 1] = t->tokens.start[i] + (uint64_t)each;
  }
  int64_t rungs[IG_MAX_RUNGS];
  int n_rungs;
  t->data.count[IG_PART_TRAIN] = n;
  IG_TRY(ig_text_ladder(&t->data, IG_PART_TRAIN, t->o.batch, t->o.seed, rungs, &n_rungs));
  t->packed.capacity = rungs[n_rungs - 1];
  return n_rungs == 1 ? IG_OK : ig_fail(IG_ERR_INTERNAL, "texts of one length have %d capacities", n_rungs);
}

ig_status ig_texts_create(const ig_texts_options *options, ig_texts **out) {
  ig_texts *t;
  int *lengths = NULL;
  ig_status status = IG_OK;
  *out = NULL;
  if (options->max_length > options->spec->positions)
    return ig_fail(IG_ERR_USAGE, "max_length=%d: the model has %d positions", options->max_length,
                   options->spec->positions);
  IG_TRY(ig_alloc(sizeof *t, "texts", &t));
  t->o = *options;
  IG_GOTO(ig_alloc_array((size_t)options->batch, sizeof *lengths, "texts", &lengths));
  for (int i = 0; i < options->batch; i++) {
    lengths[i] = length_of(options, i);
    t->packed.n_tokens += lengths[i];
    t->longest = lengths[i] > t->longest ? lengths[i] : t->longest;
  }
  if (options->mlm)
    t->packed.masked_capacity = masked_rows(t);
  IG_GOTO(make_data(t));
  IG_GOTO(fill_batch(t, lengths));
  *out = t;
done:
  ig_free(lengths);
  if (status != IG_OK)
    ig_texts_destroy(t);
  return status;
}

void ig_texts_destroy(ig_texts *t) {
  if (!t)
    return;
  ig_packed *p = &t->packed;
  void *all[] = {p->ids,   p->types,        p->positions,     p->row_keys,       p->cu_seqlens,
                 p->first, p->masked,       p->masked_labels, p->masked_weights, t->labels,
                 t->ones,  t->tokens.start, t->data.index[0]};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    ig_free(all[i]);
  ig_free(t);
}
