// The fully connected layer in fp32 by own products. A task is a block of columns of the result, or some rows of one:
// the block's part of the second operand is packed into panels, and groups of rows of the first one pass by. Of a
// group, sums stay in the caches until they are whole, so that the result is written once. Rule: each number of a
// result is added up in links of the sum, by its length alone, with shards one sum each and their tree, so that neither
// threads nor blocks nor other rows change a bit. Not for AVX-512, where oneDNN comes near the peak.
#include "kernels/kernels.h"

#ifdef IG_ISA_avx512
IG_IMPLS(linear_cpu) = {{0}};
#else
#include <omp.h>
#include <string.h>

#include "kernels/eltwise/products.h"
#include "kernels/linear/linear.h"
#include "kernels/optim_util/fixed.h"
#include "kernels/plain.h"

enum {
  LINE = 16,                  // numbers
  COLUMNS = PRODUCT_V * VEC,  // of a panel
  PANELS = 4,                 // of a block
  BLOCK_BYTES = 1 << 20,      // of a packed block, at most, but for one panel
  GROUP = 16,                 // tiles that pass a panel while it stays in the first-level cache
  LINK = 256,                 // terms that pass while their panel stays there
  CHAIN = 128,                // terms that are added up in a register
  TASKS_PER_THREAD = 2,
  LEAST_ROWS = 192,  // of a task that is part of a block: it packs the block anew
  WIDE = 8,          // width of a panel of packed rows
  AT_ONCE = 4,       // terms of packed rows: whole lines
  AHEAD = 8          // rows: so far ahead is asked for what is packed across, as parts of rows are no stream
};
typedef float wide __attribute__((vector_size(WIDE * sizeof(float)), aligned(4), may_alias));

typedef enum pass { FORWARD, DATA, WEIGHTS } pass;

// c[M,N] = a[M,K] b[K,N]
typedef struct state {
  pass pass;
  int64_t M, N, K;
  int64_t n_shards;       // of the sum; more than one only over the batch
  int64_t tile, n_tiles;  // rows of a tile, the last one may have fewer
  int64_t panels, n_blocks;
  int64_t task_tiles, n_parts;                // tiles of a task; tasks of a block
  size_t block_floats, sum_floats, a_floats;  // of a thread; of a thread; of all packed rows
} state;

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// ---- sums ----

// Terms at..at+n of a sum: part of shard `shard`, or all of it.
typedef struct link {
  int64_t at, n, shard;
  bool first;
} link;

// The link that begins with term `at`.
static link link_at(const state *s, int64_t at) {
  int64_t shard = at * s->n_shards / s->K;
  while ((shard + 1) * s->K / s->n_shards <= at)
    shard++;
  const int64_t from = shard * s->K / s->n_shards, terms = (shard + 1) * s->K / s->n_shards - from;
  const int64_t n = ceil_div(ceil_div(terms, ceil_div(terms, LINK)), CHAIN) * CHAIN;
  return (link){at, least(n, from + terms - at), shard, at == from};
}

// ---- tiles ----

// Of a tile: a, rows `a_row` numbers apart (along) or a panel of them; c, to which `from` is added; what is brought
// into the second-level cache meanwhile, two lines every LINE terms.
typedef struct tile {
  const float *a, *b, *from, *ahead;
  float *c;
  int64_t a_row, c_row, from_row, n;
} tile;

// c[R][COLUMNS] = from + a b over n terms.
VEC_INLINE void add_chain(tile t, int64_t n, const int R, const bool along) {
  const int64_t unit = along ? 1 : WIDE, row = along ? t.a_row : 1;
  vec acc[PRODUCT_R][PRODUCT_V];
#pragma GCC unroll 6
  for (int r = 0; r < R; r++)
    acc[r][0] = acc[r][1] = (vec){0};
#pragma GCC unroll 16
  for (int64_t i = 0; i < n; i++) {
    const vec b0 = vec_load(t.b, IG_F32, i * COLUMNS, VEC), b1 = vec_load(t.b, IG_F32, i * COLUMNS + VEC, VEC);
    if (i % LINE == 0) {
      __builtin_prefetch(t.ahead + (along ? i : 2 * i), 0, 2);
      __builtin_prefetch(t.ahead + (along ? i + row : 2 * i + LINE), 0, 2);
    }
#pragma GCC unroll 6
    for (int r = 0; r < R; r++) {
      const vec x = vec_splat(t.a[i * unit + r * row]);
      acc[r][0] = vec_madd(x, b0, acc[r][0]);
      acc[r][1] = vec_madd(x, b1, acc[r][1]);
    }
  }
#pragma GCC unroll 6
  for (int r = 0; r < R; r++)
#pragma GCC unroll 2
    for (int v = 0; v < PRODUCT_V; v++)
      vec_store(t.c, IG_F32, r * t.c_row + v * VEC, VEC,
                acc[r][v] + vec_load(t.from, IG_F32, r * t.from_row + v * VEC, VEC));
}

VEC_INLINE void multiply(const tile *of, const int R, const bool along) {
  tile t = *of;
#pragma GCC unroll 6
  for (int r = 0; r < R; r++)
    __builtin_prefetch(t.c + r * t.c_row, 1);
  for (; t.n >= CHAIN; t.n -= CHAIN) {
    add_chain(t, CHAIN, R, along);
    t.a += CHAIN * (along ? 1 : WIDE);
    t.ahead += CHAIN * (along ? 1 : 2);
    t.b += CHAIN * COLUMNS;
    t.from = t.c;
    t.from_row = t.c_row;
  }
  if (t.n)
    add_chain(t, t.n, R, along);
}

typedef void (*multiply_fn)(const tile *t);
#define MULTIPLY(R)                                              \
  static void along_##R(const tile *t) { multiply(t, R, true); } \
  static void panel_##R(const tile *t) { multiply(t, R, false); }
MULTIPLY(1)
MULTIPLY(2)
MULTIPLY(3)
MULTIPLY(4)
MULTIPLY(5)
MULTIPLY(6)
static const multiply_fn multiply_along[] = {along_1, along_2, along_3, along_4, along_5, along_6};
static const multiply_fn multiply_panel[] = {panel_1, panel_2, panel_3, panel_4, panel_5, panel_6};

// ---- a block of columns ----

typedef struct run_of {
  const state *s;
  const float *a, *b, *bias;
  float *c, *own, *sums;  // own, sums: of all threads
} run_of;

// out: [link][panel][term][COLUMNS]
static void pack_block(const run_of *r, int64_t first, int64_t width, float *out) {
  const state *s = r->s;
  for (link k = link_at(s, 0); k.at < s->K; k = k.at + k.n < s->K ? link_at(s, k.at + k.n) : (link){.at = s->K}) {
    for (int64_t i = 0; s->pass == FORWARD && i < width; i += COLUMNS)
      turn_units(r->b + (first + i) * s->K + k.at, s->K, least(width - i, COLUMNS), k.n, out + i * k.n, COLUMNS,
                 COLUMNS);
    for (int64_t t = 0; s->pass != FORWARD && t < k.n; t++) {
      const float *row = r->b + (k.at + t) * s->N + first;
      for (int64_t i = 0; i < width; i += COLUMNS) {
        __builtin_prefetch(row + AHEAD * s->N + i);
        if (width - i >= COLUMNS)
          memcpy(out + i * k.n + t * COLUMNS, row + i, COLUMNS * sizeof(float));
        else
          pack_along(row, IG_F32, i, 0, 1, width - i, out + i * k.n + t * COLUMNS, COLUMNS);
      }
    }
    out += k.n * s->panels * COLUMNS;
  }
}

// Where tile t's rows are for the terms of k.
static const float *tile_at(const run_of *r, int64_t t, link k) {
  const state *s = r->s;
  return s->pass == WEIGHTS ? r->a + (k.at * s->n_tiles + t * k.n) * WIDE : r->a + t * s->tile * s->K + k.at;
}

// Some of what tile t multiplies in `next`, the link after k: the part that panel i of a block fetches.
static const float *ahead_of(const run_of *r, int64_t t, link k, link next, int64_t i) {
  const state *s = r->s;
  const int64_t later = least(next.at ? t : t + GROUP, s->n_tiles - 1);
  return tile_at(r, later, next) + (s->pass == WEIGHTS ? i * k.n * 2 : least(2 * i, s->tile - 1) * s->K);
}

// Tiles t0..t1 of c by link k and one panel, whose sums go where `to` says.
static void run_panel(const run_of *r, int64_t t0, int64_t t1, link k, link next, int64_t i, tile to) {
  const state *s = r->s;
  const multiply_fn *f = s->pass == WEIGHTS ? multiply_panel : multiply_along;
  to.a_row = s->K;
  to.n = k.n;
  for (int64_t t = t0; t < t1; t++) {
    to.a = tile_at(r, t, k);
    to.ahead = ahead_of(r, t, k, next, i);
    f[least(s->M - t * s->tile, s->tile) - 1](&to);
    to.c += s->tile * to.c_row;
    to.from += s->tile * to.from_row;
  }
}

// What is added to the first link's sums of a panel: bias, or zeros.
static void start_of(const run_of *r, int64_t column, float out[COLUMNS]) {
  memset(out, 0, COLUMNS * sizeof *out);
  if (r->bias)
    memcpy(out, r->bias + column, (size_t)least(r->s->N - column, COLUMNS) * sizeof *out);
}

// Rows row..row+n of c, columns from `first` on: from sums [shard][rows][COLUMNS].
static void write_rows(const run_of *r, float *sums, int64_t rows, int64_t row, int64_t n, int64_t first) {
  ig_sum_tree_f32(sums, r->s->n_shards, rows * COLUMNS);
  for (int64_t i = 0; i < n; i++)
    memcpy(r->c + (row + i) * r->s->N + first, sums + i * COLUMNS,
           (size_t)least(r->s->N - first, COLUMNS) * sizeof(float));
}

static void run_task(const run_of *r, int64_t task, int thread) {
  const state *s = r->s;
  const int64_t first = task / s->n_parts * s->panels * COLUMNS, width = least(s->N - first, s->panels * COLUMNS);
  const int64_t begin = task % s->n_parts * s->task_tiles, end = least(begin + s->task_tiles, s->n_tiles);
  const int64_t rows = GROUP * s->tile, size = s->n_shards * rows * COLUMNS;
  float *packed = r->own + (size_t)thread * s->block_floats, *all = r->sums + (size_t)thread * s->sum_floats;
  float start[PANELS][COLUMNS];
  pack_block(r, first, width, packed);
  for (int64_t i = 0; i * COLUMNS < width; i++)
    start_of(r, first + i * COLUMNS, start[i]);
  for (int64_t t0 = begin; t0 < end; t0 += GROUP) {
    const int64_t t1 = least(t0 + GROUP, end);
    link k;
    for (int64_t at = 0; at < s->K; at += k.n) {
      k = link_at(s, at);
      const link next = link_at(s, at + k.n < s->K ? at + k.n : 0);
      for (int64_t i = 0; i * COLUMNS < width; i++) {
        const bool direct = s->n_shards == 1 && width - i * COLUMNS >= COLUMNS;
        tile to = {.b = packed + (at * s->panels + i * k.n) * COLUMNS};
        to.c = direct ? r->c + t0 * s->tile * s->N + first + i * COLUMNS : all + i * size + k.shard * rows * COLUMNS;
        to.c_row = direct ? s->N : COLUMNS;
        to.from = k.first ? start[i] : to.c;
        to.from_row = k.first ? 0 : to.c_row;
        run_panel(r, t0, t1, k, next, i, to);
      }
    }
    for (int64_t i = 0; i * COLUMNS < width; i++)
      if (s->n_shards > 1 || width - i * COLUMNS < COLUMNS)
        write_rows(r, all + i * size, rows, t0 * s->tile, least(t1 * s->tile, s->M) - t0 * s->tile,
                   first + i * COLUMNS);
  }
}

static void run_tasks(const run_of *r) {
#pragma omp for schedule(dynamic, 1)
  for (int64_t task = 0; task < r->s->n_blocks * r->s->n_parts; task++)
    run_task(r, task, omp_get_thread_num());
}

// ---- rows ----

static ig_status prepare(ig_prepare *p, pass pass) {
  const ig_linear_dims d = ig_linear_dims_of(p->node);
  const int threads = p->device->caps.threads;
  const int64_t wanted = threads > 1 ? (int64_t)TASKS_PER_THREAD * threads : 1;
  state *s;
  ig_prepare_plain(p);
  IG_TRY(ig_alloc(sizeof *s, "linear", &s));
  *s = (state){.pass = pass,
               .M = pass == WEIGHTS ? d.V : d.T,
               .N = pass == FORWARD ? d.V : d.D,
               .K = pass == FORWARD ? d.D
                    : pass == DATA  ? d.V
                                    : d.T,
               .n_shards = pass == WEIGHTS && p->deterministic ? least(p->shards, d.T) : 1};
  const int64_t panel_bytes = s->K * COLUMNS * (int64_t)sizeof(float), n_panels = ceil_div(s->N, COLUMNS);
  s->tile = ceil_div(s->M, ceil_div(s->M, PRODUCT_R));
  s->n_tiles = ceil_div(s->M, s->tile);
  s->panels = most(1, least(least(PANELS, n_panels), BLOCK_BYTES / panel_bytes));
  s->n_blocks = ceil_div(n_panels, s->panels);
  s->n_parts = most(1, least(ceil_div(wanted, s->n_blocks), s->M / LEAST_ROWS));
  s->task_tiles = ceil_div(s->n_tiles, s->n_parts);
  s->block_floats = (size_t)(s->panels * s->K * COLUMNS);
  s->sum_floats = (size_t)(s->n_shards * s->panels * GROUP * s->tile * COLUMNS);
  s->a_floats = pass == WEIGHTS ? (size_t)(s->n_tiles * s->K * WIDE) : 0;
  p->workspace_bytes = sizeof(float) * ((size_t)threads * (s->block_floats + s->sum_floats) + s->a_floats);
  p->state = s;
  return IG_OK;
}

static ig_status prepare_forward(ig_prepare *p) { return prepare(p, FORWARD); }
static ig_status prepare_data(ig_prepare *p) { return prepare(p, DATA); }
static ig_status prepare_weights(ig_prepare *p) { return prepare(p, WEIGHTS); }

static run_of run_of_launch(const ig_launch *l) {
  const state *s = l->state;
  run_of r = {.s = s,
              .a = l->in[0],
              .b = l->in[1],
              .bias = s->pass == FORWARD && l->node->n_in > 2 ? l->in[2] : NULL,
              .c = l->out[0],
              .own = l->workspace};
  r.sums = r.own + (size_t)l->device->caps.threads * s->block_floats;
  if (s->pass == WEIGHTS) {
    r.b = l->in[0];
    r.a = r.sums + (size_t)l->device->caps.threads * s->sum_floats;
  }
  return r;
}

static ig_status run(const ig_launch *l) {
  const run_of r = run_of_launch(l);
#pragma omp parallel num_threads(l->device->caps.threads)
  run_tasks(&r);
  return IG_OK;
}

// Four terms (or n) of tile t, [term][WIDE]. Their sum.
static wide pack_terms(const state *s, const float *dy, int64_t t, int64_t at, int64_t n, float *out) {
  const int64_t column = t * s->tile, left = s->M - column;
  wide sum = {0};
  for (int64_t i = 0; i < n; i++) {
    const float *from = dy + (at + i) * s->M + column;
    wide v = {0};
    if (left >= WIDE)
      v = *(const wide *)from;
    else
      memcpy(&v, from, (size_t)left * sizeof *from);
    *(wide *)(out + i * WIDE) = v;
    sum += v;
  }
  return sum;
}

// Rows of a group of tiles: columns of dy, [link][tile][term][WIDE]. db, where not NULL: their sums.
static void pack_rows(const run_of *r, const float *dy, int64_t first, float *db) {
  const state *s = r->s;
  const int64_t n = least(s->n_tiles - first, GROUP), size = GROUP * WIDE;
  float sums[s->n_shards * size];
  memset(sums, 0, sizeof sums);
  link k;
  for (int64_t at = 0; at < s->K; at += k.n) {
    wide sum[GROUP] = {{0}};
    k = link_at(s, at);
    float *out = (float *)tile_at(r, first, k);
    for (int64_t t = 0; t < k.n; t += AT_ONCE)
      for (int64_t i = 0; i < n; i++) {
        __builtin_prefetch(dy + (at + t + AHEAD + i % AT_ONCE) * s->M + first * s->tile + i / AT_ONCE * LINE * 2);
        sum[i] += pack_terms(s, dy, first + i, at + t, least(k.n - t, AT_ONCE), out + (i * k.n + t) * WIDE);
      }
    for (int64_t i = 0; i < n; i++)
      *(wide *)(sums + k.shard * size + i * WIDE) += sum[i];
  }
  ig_sum_tree_f32(sums, s->n_shards, size);
  for (int64_t i = 0; db && i < n; i++)
    memcpy(db + (first + i) * s->tile, sums + i * WIDE,
           (size_t)least(s->M - (first + i) * s->tile, s->tile) * sizeof *db);
}

static ig_status run_weights(const ig_launch *l) {
  const run_of r = run_of_launch(l);
  const state *s = r.s;
  float *db = l->out[1];
  const bool has_bias = ((const ig_linear_attr *)l->node->attr)->has_bias;
  db[0] = 0;
#pragma omp parallel num_threads(l->device->caps.threads)
  {
#pragma omp for schedule(static)
    for (int64_t t = 0; t < s->n_tiles; t += GROUP)
      pack_rows(&r, l->in[1], t, has_bias ? db : NULL);
    run_tasks(&r);
  }
  return IG_OK;
}

static bool supports(const ig_node *n, const ig_device_caps *caps, char *why, size_t why_bytes) {
  const ig_linear_dims d = ig_linear_dims_of(n);
  const char *reason = caps->isa >= IG_ISA_AVX512      ? "oneDNN is faster with AVX-512"
                       : n->in[0]->dtype != IG_F32     ? "takes f32"
                       : d.T < 1 || d.D < 1 || d.V < 1 ? "takes no empty operands"
                                                       : NULL;
  return ig_no_reason(reason, why, why_bytes);
}

#define COMMON \
  .flags = IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE, .isa = IG_ISA_LEVEL, .supports = supports, .destroy = ig_free
IG_IMPLS(linear_cpu) = {{.name = "linear_cpu", COMMON, .prepare = prepare_forward, .run = run},
                        {.name = "linear_bwd_data_cpu", COMMON, .prepare = prepare_data, .run = run},
                        {.name = "linear_bwd_weights_cpu", COMMON, .prepare = prepare_weights, .run = run_weights},
                        {0}};
#endif
