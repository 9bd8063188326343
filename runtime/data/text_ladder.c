// Capacities of packed batches. Rule: see text_batch.h. Between the batches that were looked at, the best capacities
// are found exactly, by dynamic programming over the distribution of their sums.
#include <stdlib.h>

#include "runtime/base/mem.h"
#include "runtime/data/loader_internal.h"
#include "runtime/data/mlm.h"
#include "runtime/data/text_batch.h"

#define MIN_BATCHES 4096
#define MAX_SAMPLES (1 << 20)
#define MAX_VALUES  1024  // distinct sums that the search tells apart, give or take two of rounding
#define GOOD_WASTE  0.02  // fewer capacities are fewer plans: no more than reach this

typedef struct sums {
  int64_t *at;  // [n] tokens of each batch; ascending after sort
  size_t n;
  int64_t largest;  // of any batch that there can be
} sums;

static int64_t round_up(int64_t x, int64_t multiple) { return (x + multiple - 1) / multiple * multiple; }

static int by_value(const void *pa, const void *pb) {
  const int64_t *a = pa, *b = pb;
  return (*a > *b) - (*a < *b);
}

static int64_t sum_of(const int64_t *lengths, size_t n) {
  int64_t sum = 0;
  for (size_t i = 0; i < n; i++)
    sum += lengths[i];
  return sum;
}

// Tokens of the largest batch. One of the training order may go over the ends of epochs: it holds some whole epochs,
// the longest at the end of the one before and the longest at the start of the one behind, each sample once in each.
static ig_status find_largest(const ig_lengths *l, size_t batch, int64_t *largest) {
  const size_t n = (size_t)l->n;
  int64_t *lengths;
  IG_TRY(ig_alloc_array(n, sizeof *lengths, "lengths of texts", &lengths));
  for (size_t i = 0; i < n; i++)
    lengths[i] = -l->at(l, i);
  qsort(lengths, n, sizeof *lengths, by_value);
  for (size_t i = 0; i < n; i++)
    lengths[i] = -lengths[i];
  *largest = sum_of(lengths, batch < n ? batch : n);
  for (size_t whole = batch / n > 2 ? batch / n - 2 : 0; l->repeats && whole <= batch / n; whole++) {
    size_t rest = batch - whole * n, half = rest / 2;
    if (rest > 2 * n)
      continue;
    int64_t sum = (int64_t)whole * sum_of(lengths, n) + sum_of(lengths, half) + sum_of(lengths, rest - half);
    *largest = sum > *largest ? sum : *largest;
  }
  ig_free(lengths);
  return IG_OK;
}

static ig_status find_sums(const ig_lengths *l, int batch, uint64_t seed, sums *out) {
  const size_t n = (size_t)l->n, step = (size_t)batch;
  out->n = (n + step - 1) / step;
  if (l->train) {
    out->n = 2 * out->n < MIN_BATCHES ? MIN_BATCHES : 2 * out->n;
    if (out->n * step > MAX_SAMPLES)
      out->n = MAX_SAMPLES / step > 0 ? MAX_SAMPLES / step : 1;
  }
  IG_TRY(find_largest(l, step, &out->largest));
  IG_TRY(ig_alloc_array(out->n, sizeof *out->at, "sums of tokens", &out->at));
  for (size_t k = 0; k < out->n; k++)
    for (size_t i = k * step; i < (k + 1) * step && (l->train || i < n); i++)
      out->at[k] += l->at(l, l->train ? ig_order_at(seed, n, i) : i);
  qsort(out->at, out->n, sizeof *out->at, by_value);
  return IG_OK;
}

static int64_t text_length(const ig_lengths *l, uint64_t i) {
  const ig_dataset *d = l->of;
  const size_t sample = l->part == IG_PART_ALL ? (size_t)i : d->index[l->part][i];
  return (int64_t)(d->tokens->start[sample + 1] - d->tokens->start[sample]);
}

static ig_status lengths_of(const ig_dataset *d, ig_part part, int batch, ig_lengths *l) {
  if (!d->tokens || batch < 1 || (unsigned)part > IG_PART_ALL)
    return ig_fail(IG_ERR_USAGE,
                   "%s: capacities of batch=%d; expected a batch of at least 1 and texts with their tokens", d->path,
                   batch);
  *l = (ig_lengths){.of = d,
                    .part = part,
                    .n = part == IG_PART_ALL ? d->n : d->count[part],
                    .at = text_length,
                    .train = part == IG_PART_TRAIN,
                    .repeats = part == IG_PART_TRAIN || part == IG_PART_ALL};
  return l->n ? IG_OK : ig_fail(IG_ERR_DATA, "%s: the %s part has no samples", d->path, ig_part_name(part));
}

// Sums rounded up to what capacities can be, with how many batches have each; last the largest that there can be.
typedef struct values {
  int64_t at[MAX_VALUES + 4], count[MAX_VALUES + 4];
  int n;
} values;

static void count_values(const sums *s, values *v) {
  int64_t low = s->at[0], range = s->at[s->n - 1] - low;
  int64_t step = round_up(range / MAX_VALUES + 1, IG_ROW_MULTIPLE);
  v->n = 0;
  for (size_t k = 0; k < s->n; k++) {
    int64_t value = round_up(s->at[k], IG_ROW_MULTIPLE);
    if (step > IG_ROW_MULTIPLE)
      value = round_up(low, IG_ROW_MULTIPLE) + round_up(value - round_up(low, IG_ROW_MULTIPLE), step);
    if (v->n == 0 || v->at[v->n - 1] != value)
      v->at[v->n++] = value;
    v->count[v->n - 1]++;
  }
  if (v->at[v->n - 1] < round_up(s->largest, IG_ROW_MULTIPLE))
    v->at[v->n++] = round_up(s->largest, IG_ROW_MULTIPLE);
}

// cost[m][j]: least rows of the batches of values 0..j with m + 1 capacities, the last of which is value j.
typedef struct search {
  values v;
  int64_t until[MAX_VALUES + 5];  // batches of values before i
  int64_t cost[IG_MAX_RUNGS][MAX_VALUES + 4];
  int from[IG_MAX_RUNGS][MAX_VALUES + 4];  // the value of the capacity before, -1: none
} search;

static void run_search(search *s, int rungs) {
  int n = s->v.n;
  for (int i = 0; i < n; i++)
    s->until[i + 1] = s->until[i] + s->v.count[i];
  for (int m = 0; m < rungs; m++)
    for (int j = 0; j < n; j++) {
      s->cost[m][j] = s->v.at[j] * s->until[j + 1];
      s->from[m][j] = -1;
      for (int i = m - 1; m && i < j; i++) {
        int64_t cost = s->cost[m - 1][i] + s->v.at[j] * (s->until[j + 1] - s->until[i + 1]);
        if (cost < s->cost[m][j]) {
          s->cost[m][j] = cost;
          s->from[m][j] = i;
        }
      }
    }
}

ig_status ig_lengths_ladder(const ig_lengths *l, int batch, uint64_t seed, int64_t rungs[IG_MAX_RUNGS], int *n) {
  ig_status status = IG_OK;
  sums all = {0};
  search *s = NULL;
  double real = 0;
  *n = 0;
  IG_GOTO(find_sums(l, batch, seed, &all));
  IG_GOTO(ig_alloc(sizeof *s, "a search for capacities", &s));
  count_values(&all, &s->v);
  for (size_t k = 0; k < all.n; k++)
    real += (double)all.at[k];
  int top = s->v.n - 1, most = s->v.n < IG_MAX_RUNGS ? s->v.n : IG_MAX_RUNGS, used = 0;
  run_search(s, most);
  while (used < most - 1 && real < (1 - GOOD_WASTE) * (double)s->cost[used][top])
    used++;
  *n = used + 1;
  for (int m = used, j = top; m >= 0; j = s->from[m--][j])
    rungs[m] = s->v.at[j];
done:
  ig_free(all.at);
  ig_free(s);
  return status;
}

ig_status ig_text_ladder(const ig_dataset *d, ig_part part, int batch, uint64_t seed, int64_t rungs[IG_MAX_RUNGS],
                         int *n) {
  ig_lengths l;
  *n = 0;
  if (d->mlm)
    return ig_mlm_ladder(d->mlm, part, batch, seed, rungs, n);
  IG_TRY(lengths_of(d, part, batch, &l));
  return ig_lengths_ladder(&l, batch, seed, rungs, n);
}

int64_t ig_text_masked_rows(const ig_dataset *d, int batch, int64_t capacity) {
  return d->mlm ? ig_mlm_masked_rows(d->mlm, batch, capacity) : (int64_t)batch * d->max_masked;
}

ig_status ig_text_waste(const ig_dataset *d, ig_part part, int batch, uint64_t seed, const int64_t *rungs, int n,
                        double *waste) {
  sums all = {0};
  double real = 0, rows = 0;
  ig_lengths l;
  *waste = 0;
  IG_TRY(lengths_of(d, part, batch, &l));
  ig_status status = find_sums(&l, batch, seed, &all);
  for (size_t k = 0; status == IG_OK && k < all.n; k++) {
    int r = 0;
    while (r < n && rungs[r] < all.at[k])
      r++;
    if (r == n)
      status = ig_fail(IG_ERR_USAGE, "%s: a batch of %lld tokens is larger than the last capacity (%lld)", d->path,
                       (long long)all.at[k], n ? (long long)rungs[n - 1] : 0);
    else
      rows += (double)rungs[r];
    real += (double)all.at[k];
  }
  *waste = rows > 0 ? 1 - real / rows : 0;
  ig_free(all.at);
  return status;
}
