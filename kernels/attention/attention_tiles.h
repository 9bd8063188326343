// Attention in tiles of queries by blocks of keys, for fp32 and bf16 products alike (kernels/eltwise/products.h).
// Rule: included by attention_cpu.c and attention_bf16_cpu.c alone. How work is cut depends on the sequences alone:
// forward, a task is up to RANGE queries of one head; backward, a head of one sequence, so that no sum crosses tasks.
#ifndef IG_KERNELS_ATTENTION_TILES_H
#define IG_KERNELS_ATTENTION_TILES_H

#include <math.h>
#include <omp.h>
#include <string.h>

#include "kernels/attention/attention_node.h"
#include "kernels/dropout/draws.h"
#include "kernels/eltwise/lanes.h"
#include "kernels/eltwise/products.h"
#include "kernels/eltwise/vec_exp.h"
#include "kernels/optim_util/buckets.h"
#include "kernels/optim_util/fixed.h"
#include "kernels/optim_util/sequences.h"
#include "kernels/plain.h"

enum {
  QUERIES = 48,         // of a tile
  KEYS = 256,           // of a block
  KEY_ROW = KEYS + 16,  // of what has a block of keys as columns; no power of two: rows would share sets of the cache
  RANGE = 240,          // queries of a forward task
  BUCKETS = 64          // lengths by which tasks are sorted, in steps of 16
};

typedef struct task {
  int32_t first, last;  // rows of the sequence
  int32_t from, to;     // queries, rows
} task;

// What all tasks of a node share.
typedef struct attention {
  const ig_launch *l;
  ig_attention_dims s;
  ig_dtype type;
  bool causal;
  float scale;
  int64_t stride;  // numbers from one row to the next
  int64_t du, dp;  // units of a head's row along, columns across
  float dropout;
  ig_draws draws;
  float *dq;  // backward over several blocks of keys: sums [T][H*d]
  int64_t n_tasks;
  task *tasks;
  const int32_t *order;
  char *own;  // per thread
  size_t own_bytes;
} attention;

static int64_t most_tasks(const ig_attention_dims *s) { return s->T / RANGE + s->B + 1; }

static size_t rounded_up(size_t bytes) { return (bytes + 63) / 64 * 64; }

static size_t tasks_bytes(const ig_attention_dims *s) {
  const int64_t n = most_tasks(s);
  return rounded_up((size_t)n * sizeof(task)) + rounded_up((size_t)n * sizeof(int32_t)) +
         rounded_up(ig_buckets_bytes(BUCKETS, n));
}

// Cuts the sequences into tasks of at most `range` queries, the ones with most to do first. Rows of no sequence are
// zeros in the n results of q's shape, and in lse.
static void make_tasks(attention *a, const int32_t *offsets, int64_t range, int n, float *lse) {
  const int64_t T = a->s.T, most = most_tasks(&a->s);
  const size_t row = (size_t)a->stride * ig_dtype_bytes(a->type);
  char *memory = a->l->workspace;
  a->tasks = (task *)memory;
  int32_t *keys = (int32_t *)(memory + rounded_up((size_t)most * sizeof(task)));
  ig_sequence s = {0, 0};
  int64_t before = 0;
  a->n_tasks = 0;
  for (int64_t b = 0; b <= a->s.B; b++) {
    s = b < a->s.B ? ig_sequence_of(offsets, b, T, s.last) : (ig_sequence){T, T};
    for (int i = 0; i < n && s.first > before; i++)
      memset((char *)a->l->out[i] + (size_t)before * row, 0, (size_t)(s.first - before) * row);
    for (int64_t h = 0; lse && h < a->s.H && s.first > before; h++)
      memset(lse + h * T + before, 0, (size_t)(s.first - before) * sizeof *lse);
    before = s.last;
    for (int64_t from = s.first; from < s.last; from += range) {
      const int64_t to = ig_min_i64(from + range, s.last), work = (s.last - s.first) * (to - from) / RANGE / 16;
      keys[a->n_tasks] = (int32_t)(BUCKETS - 1 - ig_min_i64(work, BUCKETS - 1));
      a->tasks[a->n_tasks++] = (task){(int32_t)s.first, (int32_t)s.last, (int32_t)from, (int32_t)to};
    }
  }
  char *sorted = (char *)keys + rounded_up((size_t)most * sizeof(int32_t));
  a->order = ig_buckets_of(sorted, BUCKETS, a->n_tasks, keys).order;
}

static attention attention_of(const ig_launch *l, int q, int offsets, int state) {
  const ig_attention_attr *attr = l->node->attr;
  attention a = {.l = l, .s = ig_attention_dims_of(l->node, q, offsets), .type = l->node->in[q]->dtype};
  a.causal = attr->causal;
  a.scale = (float)a.s.scale;
  a.stride = a.s.H * a.s.d;
  a.du = units(a.s.d);
  a.dp = whole_vectors(a.s.d);
  a.dropout = attr->dropout;
  if (a.dropout > 0)
    a.draws = ig_draws_of(l->in[state], l->in[state + 1], 0, attr->dropout);
  return a;
}

// Keys of block k0..k0+n that query t sees; all counted within the sequence.
static int64_t seen(const attention *a, int64_t t, int64_t k0, int64_t n) {
  const int64_t upto = a->causal ? t + 1 - k0 : n;
  return upto < 0 ? 0 : upto < n ? upto : n;
}

static int64_t head_at(const attention *a, int64_t row, int64_t head) { return row * a->stride + head * a->s.d; }

// 0 or 1 / (1 - p) for keys k0..k0+n of a query.
static void draw_factors(const attention *a, int64_t row, int64_t head, int64_t k0, int64_t n, float *factor) {
  ig_draws d = a->draws;
  d.key = ig_attention_node_key(a->l->node->key, head);
  ig_draws_factors(&d, ig_draws_sample(&d, row), k0, n, factor);
}

// ---- a tile of probabilities as operand of products ----
#ifdef PRODUCTS_BF16
enum { ALONG_ROW = KEY_ROW / 2, TILE_UNITS = QUERIES * ALONG_ROW };
// out[rows][ALONG_ROW]: rounded, along keys; n is a multiple of 16.
static const unit *tile_along(const float *tile, int64_t rows, int64_t n, unit *out) {
  for (int64_t r = 0; r < rows; r++, tile += KEY_ROW)
    for (int64_t i = 0; i < n; i += 16)
      _mm256_storeu_si256((__m256i *)(out + r * ALONG_ROW + i / 2),
                          (__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(tile + i)));
  return out;
}
// out[units(rows)][KEY_ROW]: rounded, across queries.
static const unit *tile_across(const float *tile, int64_t rows, int64_t n, unit *out) {
  for (int64_t r = 0; r < rows; r += 2)
    for (int64_t i = 0; i < n; i += 16) {
      const vec a = vec_load(tile, IG_F32, r * KEY_ROW + i, 16);
      const vec b = r + 1 < rows ? vec_load(tile, IG_F32, (r + 1) * KEY_ROW + i, 16) : (vec){0};
      const __m512i pairs = _mm512_permutexvar_epi16(
          _mm512_or_si512(
              _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0),
              _mm512_set_epi32(31 << 16, 30 << 16, 29 << 16, 28 << 16, 27 << 16, 26 << 16, 25 << 16, 24 << 16, 23 << 16,
                               22 << 16, 21 << 16, 20 << 16, 19 << 16, 18 << 16, 17 << 16, 16 << 16)),
          (__m512i)_mm512_cvtne2ps_pbh((__m512)b, (__m512)a));
      memcpy(out + r / 2 * KEY_ROW + i, &pairs, sizeof pairs);
    }
  return out;
}
#else
static const unit *tile_along(const float *tile, int64_t rows, int64_t n, unit *out) { return tile; }
static const unit *tile_across(const float *tile, int64_t rows, int64_t n, unit *out) { return tile; }
enum { ALONG_ROW = KEY_ROW, TILE_UNITS = 0 };
#endif

// ---- memory of a thread ----
typedef struct carver {
  char *at;
  size_t used;  // counted even where at is NULL
} carver;

static void *carve(carver *c, int64_t n) {
  void *p = c->at ? c->at + c->used : NULL;
  c->used += rounded_up((size_t)n * sizeof(float));
  return p;
}

static char *own_memory(const attention *a) { return a->own + (size_t)omp_get_thread_num() * a->own_bytes; }

// ---- forward ----
typedef struct fwd_memory {
  unit *along, *turned, *across, *queries, *p_along;  // K; K turned; V; Q; P
  float *tile, *o, *most, *sum, *factor;
} fwd_memory;

static size_t fwd_memory_of(char *at, const attention *a, fwd_memory *m) {
  carver c = {at, 0};
  m->along = carve(&c, KEYS * a->du);
  m->turned = carve(&c, a->du * KEY_ROW);
  m->across = carve(&c, units(KEYS) * a->dp);
  m->queries = carve(&c, RANGE * a->du);
  m->p_along = carve(&c, TILE_UNITS);
  m->tile = carve(&c, QUERIES * KEY_ROW);
  m->o = carve(&c, RANGE * a->dp);
  m->most = carve(&c, RANGE);
  m->sum = carve(&c, RANGE);
  m->factor = carve(&c, KEYS);
  return c.used;
}

// Scores of one query against n keys (the rest of `padded` is 0 then) become unnormalised probabilities; what was
// summed before shrinks where the largest score grows.
static void softmax_row(const attention *a, fwd_memory *m, float *x, int64_t n, int64_t padded, int64_t q) {
  const int64_t whole = whole_vectors(n);
  for (int64_t i = n; i < whole; i++)
    x[i] = -INFINITY;
  if (whole < padded)
    memset(x + whole, 0, (size_t)(padded - whole) * sizeof *x);
  if (n == 0)
    return;
  const float before = m->most[q], most = row_max(x, whole, before), sum = row_exp(x, whole, most, a->scale);
  if (most != before) {
    const float shrink = ig_exp_f32((before - most) * a->scale);
    float *o = m->o + q * a->dp;
    for (int64_t i = 0; i < a->dp; i += VEC)
      vec_store(o, IG_F32, i, VEC, vec_load(o, IG_F32, i, VEC) * shrink);
    m->sum[q] *= shrink;
    m->most[q] = most;
  }
  m->sum[q] += sum;
}

// Queries q0..q0+rows of the task against the packed keys k0..k0+n.
static void fwd_tile(const attention *a, const task *t, int64_t head, fwd_memory *m, int64_t q0, int64_t rows,
                     int64_t k0, int64_t n) {
  const int64_t padded = whole_vectors(n);
  product(m->queries + q0 * a->du, a->du, 1, rows, a->du, m->turned, KEY_ROW, padded, m->tile, KEY_ROW, false);
  for (int64_t r = 0; r < rows; r++) {
    const int64_t row = t->from + q0 + r, visible = seen(a, row - t->first, k0, n);
    float *x = m->tile + r * KEY_ROW;
    softmax_row(a, m, x, visible, padded, q0 + r);
    if (a->dropout > 0 && visible > 0) {
      draw_factors(a, row, head, k0, visible, m->factor);
      for (int64_t i = 0; i < visible; i += VEC)  // zeros behind the last
        vec_store(x, IG_F32, i, VEC, vec_load(x, IG_F32, i, VEC) * vec_load(m->factor, IG_F32, i, VEC));
    }
  }
  product(tile_along(m->tile, rows, padded, m->p_along), ALONG_ROW, 1, rows, units(n), m->across, a->dp, a->dp,
          m->o + q0 * a->dp, a->dp, true);
}

static void fwd_task(const attention *a, const task *t, int64_t head) {
  const ig_launch *l = a->l;
  const int64_t n_queries = t->to - t->from, n_keys = (a->causal ? t->to : t->last) - t->first;
  fwd_memory m;
  fwd_memory_of(own_memory(a), a, &m);
  pack_along(l->in[F_Q], a->type, head_at(a, t->from, head), a->stride, n_queries, a->s.d, m.queries, a->du);
  memset(m.o, 0, (size_t)(n_queries * a->dp) * sizeof *m.o);
  for (int64_t q = 0; q < n_queries; q++) {
    m.most[q] = -INFINITY;
    m.sum[q] = 0;
  }
  for (int64_t k0 = 0; k0 < n_keys; k0 += KEYS) {
    const int64_t n = ig_min_i64(KEYS, n_keys - k0), at = head_at(a, t->first + k0, head);
    pack_along(l->in[F_K], a->type, at, a->stride, n, a->s.d, m.along, a->du);
    turn_units(m.along, a->du, n, a->du, m.turned, KEY_ROW, whole_vectors(n));
    pack_across(l->in[F_V], a->type, at, a->stride, n, a->s.d, m.across, a->dp);
    for (int64_t q0 = 0; q0 < n_queries; q0 += QUERIES) {
      const int64_t rows = ig_min_i64(QUERIES, n_queries - q0);
      if (seen(a, t->from - t->first + q0 + rows - 1, k0, n) > 0)
        fwd_tile(a, t, head, &m, q0, rows, k0, n);
    }
  }
  float *lse = (float *)l->out[1] + head * a->s.T + t->from, out[IG_LANES_TILE];
  for (int64_t q = 0; q < n_queries; q++) {
    const float part = 1 / m.sum[q];
    lse[q] = m.most[q] * a->scale + logf(m.sum[q]);
    for (int64_t c = 0; c < a->s.d; c += IG_LANES_TILE) {
      const int64_t n = ig_min_i64(a->s.d - c, IG_LANES_TILE), at = head_at(a, t->from + q, head) + c;
      float *y = ig_lanes_target(l->out[0], a->type, at, out);
#pragma omp simd
      for (int64_t i = 0; i < n; i++)
        y[i] = m.o[q * a->dp + c + i] * part;
      ig_lanes_store(l->out[0], a->type, at, n, y);
    }
  }
}

// ---- the two rows ----
typedef void (*task_fn)(const attention *a, const task *t, int64_t head);

static void run_tasks(const attention *a, task_fn f) {
#pragma omp parallel for schedule(dynamic, 1) num_threads(a->l->device->caps.threads)
  for (int64_t i = 0; i < a->n_tasks * a->s.H; i++)
    f(a, &a->tasks[a->order[i / a->s.H]], i % a->s.H);
}

// Sizes alone, for prepare.
static attention attention_sizes(const ig_node *n, int q, int offsets) {
  attention a = {.s = ig_attention_dims_of(n, q, offsets), .type = n->in[q]->dtype};
  a.du = units(a.s.d);
  a.dp = whole_vectors(a.s.d);
  return a;
}

static ig_status prepare_fwd(ig_prepare *p) {
  const attention a = attention_sizes(p->node, F_Q, F_OFFSETS);
  fwd_memory m;
  ig_prepare_plain(p);
  p->workspace_bytes = tasks_bytes(&a.s) + (size_t)p->device->caps.threads * fwd_memory_of(NULL, &a, &m);
  return IG_OK;
}

static ig_status run_fwd(const ig_launch *l) {
  attention a = attention_of(l, F_Q, F_OFFSETS, F_STATE);
  fwd_memory m;
  make_tasks(&a, l->in[F_OFFSETS], RANGE, 1, l->out[1]);
  a.own = (char *)l->workspace + tasks_bytes(&a.s);
  a.own_bytes = fwd_memory_of(NULL, &a, &m);
  run_tasks(&a, fwd_task);
  return IG_OK;
}

#endif
