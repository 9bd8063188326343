// Backward of attention in tiles, behind attention_tiles.h. Rule: a task is one head of one sequence; blocks of keys
// outside, tiles of queries inside: gradients of keys and values are summed in the thread's memory over the queries in
// their order, those of queries over blocks of keys in theirs.
#ifndef IG_KERNELS_ATTENTION_BWD_TILES_H
#define IG_KERNELS_ATTENTION_BWD_TILES_H

#include "kernels/attention/attention_tiles.h"
#include "kernels/plain.h"

typedef struct bwd_memory {
  unit *along, *k_turned, *v_turned, *k_across;              // of a block of keys
  unit *q_along, *do_along, *q_across, *do_across, *packed;  // of a tile of queries; a tile as operand
  float *p, *ds, *dk, *dv, *dq, *factor;
} bwd_memory;

static size_t bwd_memory_of(char *at, const attention *a, bwd_memory *m) {
  carver c = {at, 0};
  m->along = carve(&c, KEYS * a->du);
  m->k_turned = carve(&c, a->du * KEY_ROW);
  m->v_turned = carve(&c, a->du * KEY_ROW);
  m->k_across = carve(&c, units(KEYS) * a->dp);
  m->q_along = carve(&c, QUERIES * a->du);
  m->do_along = carve(&c, QUERIES * a->du);
  m->q_across = carve(&c, units(QUERIES) * a->dp);
  m->do_across = carve(&c, units(QUERIES) * a->dp);
  m->packed = carve(&c, TILE_UNITS);
  m->p = carve(&c, QUERIES * KEY_ROW);
  m->ds = carve(&c, QUERIES * KEY_ROW);
  m->dk = carve(&c, KEYS * a->dp);
  m->dv = carve(&c, KEYS * a->dp);
  m->dq = carve(&c, QUERIES * a->dp);
  m->factor = carve(&c, KEYS);
  return c.used;
}

// sum of do o over the head, in double.
static float row_delta(const attention *a, int64_t at) {
  double sum = 0;
  float x[IG_LANES_TILE], y[IG_LANES_TILE];
  for (int64_t c = 0; c < a->s.d; c += IG_LANES_TILE) {
    const int64_t n = ig_min_i64(a->s.d - c, IG_LANES_TILE);
    const float *dy = ig_lanes_load(a->l->in[B_DO], a->type, at + c, n, x);
    const float *o = ig_lanes_load(a->l->in[B_O], a->type, at + c, n, y);
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++)
      sum += (double)dy[i] * (double)o[i];
  }
  return (float)sum;
}

#ifndef PRODUCTS_BF16
// The same from a query's whole row, n <= KEYS, in fp32: probabilities are divided by their own sum, and what is taken
// from each gradient is their own mean. So gradients of a query's scores add up to 0 but for the last digit, as they
// must: a key's bias, which moves all scores of a query alike, has no gradient. lse and the row's output are rounded
// each by itself, and leave more; so would the mean, which is therefore taken off in two parts.
static void whole_row(float *p, float *ds, const float *factor, int64_t n, int64_t padded, float lse, float dlse,
                      float scale) {
  vec_f64 sums[2] = {{0}, {0}}, dots[2] = {{0}, {0}};
  double total = 0, dot = 0;
  for (int64_t i = 0; i < n; i += VEC)
    vec_store(p, IG_F32, i, VEC, vec_exp(vec_madd(vec_load(p, IG_F32, i, VEC), vec_splat(scale), vec_splat(-lse))));
  memset(p + n, 0, (size_t)(padded - n) * sizeof *p);
  memset(ds + n, 0, (size_t)(padded - n) * sizeof *ds);
  for (int64_t i = 0; i < n; i += VEC) {
    const vec all = vec_load(p, IG_F32, i, VEC);
    vec dp = vec_load(ds, IG_F32, i, VEC);
    if (factor) {
      dp *= vec_load(factor, IG_F32, i, VEC);
      vec_store(ds, IG_F32, i, VEC, dp);
    }
    sums[0] += vec_low(all);
    sums[1] += vec_high(all);
    dots[0] += vec_low(all) * vec_low(dp);
    dots[1] += vec_high(all) * vec_high(dp);
  }
  for (int i = 0; i < VEC; i++) {
    total += sums[i / (VEC / 2)][i % (VEC / 2)];
    dot += dots[i / (VEC / 2)][i % (VEC / 2)];
  }
  const double delta = dot / total - (double)dlse;
  const float part = (float)(1 / total), high = (float)delta, low = (float)(delta - (double)high);
  for (int64_t i = 0; i < n; i += VEC) {
    const vec all = vec_load(p, IG_F32, i, VEC) * part;
    vec_store(ds, IG_F32, i, VEC, all * (vec_load(ds, IG_F32, i, VEC) - high - low) * scale);
    vec_store(p, IG_F32, i, VEC, factor ? all * vec_load(factor, IG_F32, i, VEC) : all);
  }
}
#endif

// Scores p and products do v of one query become dropped probabilities and gradients of scores. whole: no other block
// of keys is seen.
static void bwd_row(const attention *a, bwd_memory *m, int64_t row, int64_t head, int64_t r, int64_t k0, int64_t n,
                    int64_t padded, bool whole) {
  const float *dlse = a->l->in[B_DLSE], lse = ((const float *)a->l->in[B_LSE])[head * a->s.T + row];
  const float of_lse = dlse ? dlse[head * a->s.T + row] : 0, scale = a->scale;
  float *p = m->p + r * KEY_ROW, *ds = m->ds + r * KEY_ROW;
  const bool draws = a->dropout > 0 && n > 0;
  if (draws)
    draw_factors(a, row, head, k0, n, m->factor);
#ifndef PRODUCTS_BF16
  if (whole && n > 0 && a->type == IG_F32) {  // a rounded output is what the reference reads, too
    whole_row(p, ds, draws ? m->factor : NULL, n, padded, lse, of_lse, scale);
    return;
  }
#endif
  const float delta = row_delta(a, head_at(a, row, head)) - of_lse;
  for (int64_t i = 0; i < n; i += VEC) {  // lanes behind n are cleared below
    const vec all = vec_exp(vec_load(p, IG_F32, i, VEC) * scale - lse);
    vec dp = vec_load(ds, IG_F32, i, VEC), kept = all;
    if (draws) {
      const vec factor = vec_load(m->factor, IG_F32, i, VEC);
      dp *= factor;
      kept *= factor;
    }
    vec_store(p, IG_F32, i, VEC, kept);
    vec_store(ds, IG_F32, i, VEC, all * (dp - delta) * scale);
  }
  if (n < padded) {
    memset(p + n, 0, (size_t)(padded - n) * sizeof *p);
    memset(ds + n, 0, (size_t)(padded - n) * sizeof *ds);
  }
}

VEC_INLINE void write_typed(const float *x, int64_t x_row, int64_t rows, int64_t d, void *out, ig_dtype type,
                            int64_t at, int64_t stride) {
  for (int64_t r = 0; r < rows; r++, at += stride, x += x_row) {
    int64_t i = 0;
    for (; i + VEC <= d; i += VEC)
      vec_store(out, type, at + i, VEC, vec_load(x, IG_F32, i, VEC));
    if (i < d)
      vec_store(out, type, at + i, d - i, vec_load(x, IG_F32, i, d - i));
  }
}

// rows of dp numbers into a head of a result.
static void write_rows(const attention *a, const float *x, int64_t rows, void *out, int64_t at) {
  if (a->type == IG_F32)
    write_typed(x, a->dp, rows, a->s.d, out, IG_F32, at, a->stride);
  else
    write_typed(x, a->dp, rows, a->s.d, out, IG_BF16, at, a->stride);
}

// The tile's part of dq: alone, or added to those of the blocks of keys before, and rounded after the last.
static void write_dq(const attention *a, const bwd_memory *m, int64_t rows, int64_t at, bool first, bool last) {
  if (first && last) {
    write_rows(a, m->dq, rows, a->l->out[0], at);
    return;
  }
  for (int64_t r = 0; r < rows; r++, at += a->stride)
    for (int64_t i = 0; i < a->s.d; i += VEC) {
      const int64_t n = ig_min_i64(a->s.d - i, VEC);
      vec sum = vec_load(m->dq, IG_F32, r * a->dp + i, n);
      if (!first)
        sum += vec_load(a->dq, IG_F32, at + i, n);
      if (last)
        vec_store(a->l->out[0], a->type, at + i, n, sum);
      else
        vec_store(a->dq, IG_F32, at + i, n, sum);
    }
}

// Queries from row `from` on against the packed keys k0..k0+n of the sequence.
static void bwd_tile(const attention *a, const task *t, int64_t head, bwd_memory *m, int64_t from, int64_t rows,
                     int64_t k0, int64_t n) {
  const int64_t padded = whole_vectors(n), at = head_at(a, from, head), d = a->s.d, du = a->du, dp = a->dp;
  const void *q = a->l->in[B_Q], *dy = a->l->in[B_DO];
  const int64_t keys = t->last - t->first, most = a->causal ? from - t->first + rows : keys;
  pack_along(q, a->type, at, a->stride, rows, d, m->q_along, du);
  pack_along(dy, a->type, at, a->stride, rows, d, m->do_along, du);
  pack_across(q, a->type, at, a->stride, rows, d, m->q_across, dp);
  pack_across(dy, a->type, at, a->stride, rows, d, m->do_across, dp);
  product(m->q_along, du, 1, rows, du, m->k_turned, KEY_ROW, padded, m->p, KEY_ROW, false);
  product(m->do_along, du, 1, rows, du, m->v_turned, KEY_ROW, padded, m->ds, KEY_ROW, false);
  for (int64_t r = 0; r < rows; r++) {
    const int64_t query = from + r - t->first, visible = seen(a, query, k0, n);
    bwd_row(a, m, from + r, head, r, k0, visible, padded, visible == seen(a, query, 0, keys));
  }
  product(tile_across(m->p, rows, padded, m->packed), 1, KEY_ROW, n, units(rows), m->do_across, dp, dp, m->dv, dp,
          true);
  product(tile_across(m->ds, rows, padded, m->packed), 1, KEY_ROW, n, units(rows), m->q_across, dp, dp, m->dk, dp,
          true);
  product(tile_along(m->ds, rows, padded, m->packed), ALONG_ROW, 1, rows, units(n), m->k_across, dp, dp, m->dq, dp,
          false);
  write_dq(a, m, rows, at, k0 == 0, k0 + KEYS >= most);
}

static void bwd_task(const attention *a, const task *t, int64_t head) {
  const ig_launch *l = a->l;
  const int64_t keys = t->last - t->first, d = a->s.d;
  bwd_memory m;
  bwd_memory_of(own_memory(a), a, &m);
  for (int64_t k0 = 0; k0 < keys; k0 += KEYS) {
    const int64_t n = ig_min_i64(KEYS, keys - k0), at = head_at(a, t->first + k0, head);
    pack_along(l->in[B_K], a->type, at, a->stride, n, d, m.along, a->du);
    turn_units(m.along, a->du, n, a->du, m.k_turned, KEY_ROW, whole_vectors(n));
    pack_along(l->in[B_V], a->type, at, a->stride, n, d, m.along, a->du);
    turn_units(m.along, a->du, n, a->du, m.v_turned, KEY_ROW, whole_vectors(n));
    pack_across(l->in[B_K], a->type, at, a->stride, n, d, m.k_across, a->dp);
    memset(m.dk, 0, (size_t)(n * a->dp) * sizeof *m.dk);
    memset(m.dv, 0, (size_t)(n * a->dp) * sizeof *m.dv);
    // Tiles lie alike for every block of keys, for each adds to dq. Causal: the first ones see no key of this block.
    for (int64_t from = t->first + (a->causal ? k0 / QUERIES * QUERIES : 0); from < t->last; from += QUERIES)
      bwd_tile(a, t, head, &m, from, ig_min_i64(QUERIES, t->last - from), k0, n);
    write_rows(a, m.dk, n, l->out[1], at);
    write_rows(a, m.dv, n, l->out[2], at);
  }
}

// dq of long sequences is summed in fp32: in the result itself, or beside it where that is narrower.
static size_t dq_bytes(const attention *a) {
  return a->s.T > KEYS && a->type != IG_F32 ? rounded_up((size_t)(a->s.T * a->s.H * a->s.d) * sizeof(float)) : 0;
}

static ig_status prepare_bwd(ig_prepare *p) {
  const attention a = attention_sizes(p->node, B_Q, B_OFFSETS);
  bwd_memory m;
  ig_prepare_plain(p);
  p->workspace_bytes = tasks_bytes(&a.s) + dq_bytes(&a) + (size_t)p->device->caps.threads * bwd_memory_of(NULL, &a, &m);
  return IG_OK;
}

static ig_status run_bwd(const ig_launch *l) {
  attention a = attention_of(l, B_Q, B_OFFSETS, B_STATE);
  bwd_memory m;
  char *memory = (char *)l->workspace + tasks_bytes(&a.s);
  make_tasks(&a, l->in[B_OFFSETS], a.s.T + 1, 3, NULL);
  a.dq = a.type == IG_F32 ? l->out[0] : (float *)memory;
  a.own = memory + dq_bytes(&a);
  a.own_bytes = bwd_memory_of(NULL, &a, &m);
  run_tasks(&a, bwd_task);
  return IG_OK;
}

#endif
