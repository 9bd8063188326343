// The fully connected layer in fp32 by own products. A task is a block of columns of the result, or some rows of one.
// Span after span of the sum, the block's part of the second operand is packed into panels that stay in the
// second-level cache, and tiles of a few rows pass them by, each copied into the first-level cache; what comes next is
// asked for meanwhile, a few lines at a time. Rule: each number of a result is added up in links of the sum, by its
// length alone, with shards one sum each and their tree, so that neither threads nor blocks nor other rows change a
// bit.
#include <omp.h>
#include <string.h>

#include "kernels/eltwise/products.h"
#include "kernels/kernels.h"
#include "kernels/linear/linear.h"
#include "kernels/optim_util/fixed.h"
#include "kernels/plain.h"

enum {
  LINE = 16,                  // numbers
  COLUMNS = PRODUCT_V * VEC,  // of a panel
  ROW_LINES = (COLUMNS + LINE - 1) / LINE,
  BLOCK = VEC == 16 ? 384 : 256,  // columns of a block
  LINK = 256,                     // most terms of a link, which a large layer adds up in a register
  CHAIN = 128,                    // a small layer so many at most, in
  MOST_CHAINS = 8,
  LEAST_CHAIN = 32,
  SMALL_WEIGHTS = 1 << 18,
  SPAN = VEC == 16 ? 2 * LINK : LINK,  // terms of a span of several shards
  SPAN_SHARDS = 8,                     // at most
  SPAN_BLOCK = 256,                    // columns of a block whose sums are kept by shard
  GROUP = 16,                          // tiles that are copied at once,
  ROW_GROUP = VEC == 16 ? 1 : GROUP,   // of rows of a: wide panels pass a tile, narrow ones are passed by a group
  GROUP_ROWS = GROUP * PRODUCT_R,
  GROUP_LINES = GROUP_ROWS / LINE,
  A_ROW = SPAN + LINE,  // of a tile's rows; no power of two: rows would share sets of the first-level cache
  TASKS_PER_THREAD = 2,
  LEAST_ROWS = 192,  // of a task that is part of a block: it packs the block anew
  AHEAD = 8          // rows: so far ahead is asked for what is packed across, as parts of rows are no stream
};

typedef enum pass { FORWARD, DATA, WEIGHTS } pass;

// c[M,N] = a[M,K] b[K,N]; a's columns are rows of dy in WEIGHTS.
typedef struct state {
  pass pass;
  int64_t M, N, K;
  int64_t chain;          // terms
  int64_t n_shards;       // of the sum; more than one only over the batch
  int64_t span_shards;    // of a span; 1: a span is a link
  bool pairs;             // a shard is a chain: the second one of a pair is added as it leaves the registers
  int64_t n_kept;         // sums of each number that are kept until their tree; 1: there are at most two, and the
                          // second one is added to the first one
  int64_t tile, n_tiles;  // rows of a tile, the last one may have fewer
  int64_t panels, n_blocks;
  int64_t task_tiles, n_parts;                // tiles of a task; tasks of a block
  int64_t group;                              // tiles whose sums are whole before the next ones begin
  int64_t db_row;                             // of sums of db by shard
  size_t block_floats, sum_floats, a_floats;  // of a thread: packed, sums, rows of a with sums of db
} state;

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
static int64_t whole(int64_t n) { return ceil_div(n, VEC) * VEC; }  // vectors

// ---- sums ----

// Terms at..at+n of a sum: part of shard `shard`, or all of it.
typedef struct link {
  int64_t at, n, shard;
  bool first;
} link;

static int64_t begin_of(const state *s, int64_t shard) { return shard * s->K / s->n_shards; }

// The link that begins with term `at`.
static link link_at(const state *s, int64_t at) {
  int64_t shard = at * s->n_shards / s->K;
  while (begin_of(s, shard + 1) <= at)
    shard++;
  const int64_t from = begin_of(s, shard), terms = begin_of(s, shard + 1) - from;
  const int64_t n = ceil_div(ceil_div(terms, ceil_div(terms, LINK)), s->chain) * s->chain;
  return (link){at, least(least(n, LINK), from + terms - at), shard, at == from};
}

// Terms that are packed at once: a link, or some whole shards of a link each.
typedef struct span {
  int64_t at, n, n_links;
  link links[SPAN_SHARDS];
} span;

static span span_at(const state *s, int64_t at) {
  span p = {.at = at};
  while (p.n_links < s->span_shards && at + p.n < s->K) {
    p.links[p.n_links] = link_at(s, at + p.n);
    p.n += p.links[p.n_links++].n;
  }
  return p;
}

// ---- tiles ----

// Of a tile: rows of a, and c, to which `from` is added; `before`: terms of the span. Asked for meanwhile: a part of
// what is copied next, n_ahead lines a line of terms, of rows, or (across) of terms of columns; where the next sums go.
typedef struct tile {
  const float *a, *b, *from, *ahead, *next;
  float *c;
  int64_t c_row, from_row, next_row, before, n, chain, n_ahead, ahead_row;
  bool across;
} tile;

VEC_INLINE void fetch(const tile *t, int64_t at, const int R) {
  const int64_t done = (t->before + at) / LINE * t->n_ahead;
  for (int64_t i = 0; i < t->n_ahead; i++)
    __builtin_prefetch(t->ahead + (t->across ? (done + i) / GROUP_LINES * t->ahead_row + (done + i) % GROUP_LINES * LINE
                                             : i * t->ahead_row + at),
                       0, 2);
  for (int64_t line = at / LINE * 2; line < at / LINE * 2 + 2 && line < R * ROW_LINES; line++)
    __builtin_prefetch(t->next + line / ROW_LINES * t->next_row + line % ROW_LINES * LINE, 1);
}

// c[R][COLUMNS] = from + a b over n terms, of which the first is term `at` of the link.
VEC_INLINE void add_chain(const tile *t, const float *a, const float *b, int64_t at, int64_t n, const float *from,
                          int64_t from_row, const int R) {
  vec acc[PRODUCT_R][PRODUCT_V];
#pragma GCC unroll 6
  for (int r = 0; r < R; r++)
#pragma GCC unroll 4
    for (int v = 0; v < PRODUCT_V; v++)
      acc[r][v] = (vec){0};
  for (int64_t i = 0; i < n; i += LINE) {
    fetch(t, at + i, R);
    const float *end = b + least(n - i, LINE) * COLUMNS;
#pragma GCC unroll 4
    for (; b < end; b += COLUMNS, a++) {
      vec x[PRODUCT_V];
#pragma GCC unroll 4
      for (int v = 0; v < PRODUCT_V; v++)
        x[v] = vec_load(b, IG_F32, v * VEC, VEC);
#pragma GCC unroll 6
      for (int r = 0; r < R; r++) {
        const vec y = vec_splat(a[r * A_ROW]);
#pragma GCC unroll 4
        for (int v = 0; v < PRODUCT_V; v++)
          acc[r][v] = vec_madd(y, x[v], acc[r][v]);
      }
    }
  }
#pragma GCC unroll 6
  for (int r = 0; r < R; r++)
#pragma GCC unroll 4
    for (int v = 0; v < PRODUCT_V; v++)
      vec_store(t->c, IG_F32, r * t->c_row + v * VEC, VEC,
                acc[r][v] + vec_load(from, IG_F32, r * from_row + v * VEC, VEC));
}

VEC_INLINE void multiply(const tile *t, const int R) {
  const float *from = t->from;
  int64_t from_row = t->from_row;
  for (int64_t at = 0; at < t->n; at += t->chain) {
    add_chain(t, t->a + at, t->b + at * COLUMNS, at, least(t->n - at, t->chain), from, from_row, R);
    from = t->c;
    from_row = t->c_row;
  }
}

typedef void (*multiply_fn)(const tile *t);
#define MULTIPLY(R) \
  static void multiply_##R(const tile *t) { multiply(t, R); }
MULTIPLY(1)
MULTIPLY(2)
MULTIPLY(3)
MULTIPLY(4)
MULTIPLY(5)
MULTIPLY(6)
static const multiply_fn multiply_rows[] = {NULL,       multiply_1, multiply_2, multiply_3,
                                            multiply_4, multiply_5, multiply_6};

// ---- turning ----

// out[VEC][VEC] = x[VEC][VEC] turned. The sum of x's rows.
static vec turn_square(const float *x, int64_t x_row, float *out, int64_t out_row) {
  vec t[VEC], sum = {0};
#pragma GCC unroll 16
  for (int i = 0; i < VEC; i++)
    t[i] = vec_load(x, IG_F32, i * x_row, VEC);
#pragma GCC unroll 16
  for (int i = 0; i < VEC; i++)
    sum += t[i];
  vec_transpose(t);
#pragma GCC unroll 16
  for (int i = 0; i < VEC; i++)
    vec_store(out, IG_F32, i * out_row, VEC, t[i]);
  return sum;
}

// The same of x[rows][columns] with zeros around.
static vec turn_part(const float *x, int64_t x_row, int64_t rows, int64_t columns, float *out, int64_t out_row) {
  float x0[VEC * VEC] = {0};
  for (int64_t i = 0; i < rows; i++)
    memcpy(x0 + i * VEC, x + i * x_row, (size_t)columns * sizeof *x);
  return turn_square(x0, VEC, out, out_row);
}

static vec turn(const float *x, int64_t x_row, int64_t rows, int64_t columns, float *out, int64_t out_row) {
  return rows >= VEC && columns >= VEC ? turn_square(x, x_row, out, out_row)
                                       : turn_part(x, x_row, least(rows, VEC), least(columns, VEC), out, out_row);
}

// ---- a block of columns ----

typedef struct run_of {
  const state *s;
  const float *a, *b, *bias;
  float *c, *db;            // db: or NULL
  float *own, *sums, *dbs;  // of all threads
} run_of;

// A task's columns and tiles, and what it has of its own: packed panels [panel][term][COLUMNS]; sums
// [panel][kept][group's rows][COLUMNS], of db [shard][db_row]; rows of a for a few tiles, A_ROW apart; what sums begin
// with; sums of a tile by shard.
typedef struct block {
  int64_t first, width, panels, begin, end;
  float *packed, *sums, *dbs, *a;
  float start[BLOCK], tile[SPAN_SHARDS * PRODUCT_R * COLUMNS];
} block;

// Terms at..at+n of the block's columns of b; there is room for whole vectors of terms.
static void pack_span(const run_of *r, const block *b, int64_t at, int64_t n, float *out) {
  const state *s = r->s;
  for (int64_t i = 0; s->pass == FORWARD && i < b->width; i += VEC)
    for (int64_t t = 0; t < n; t += VEC)
      turn(r->b + (b->first + i) * s->K + at + t, s->K, b->width - i, n - t,
           out + i / COLUMNS * COLUMNS * n + t * COLUMNS + i % COLUMNS, COLUMNS);
  for (int64_t t = 0; s->pass != FORWARD && t < n; t++) {
    const float *row = r->b + (at + t) * s->N + b->first;
    for (int64_t i = 0; i < b->width; i += COLUMNS) {
      __builtin_prefetch(row + AHEAD * s->N + i);
      if (b->width - i >= COLUMNS)
        memcpy(out + i * n + t * COLUMNS, row + i, COLUMNS * sizeof(float));
      else
        pack_along(row, IG_F32, i, 0, 1, b->width - i, out + i * n + t * COLUMNS, COLUMNS);
    }
  }
}

// Tile t's numbers of a for terms from `at` on.
static const float *tile_at(const run_of *r, int64_t t, int64_t at) {
  const state *s = r->s;
  return s->pass == WEIGHTS ? r->a + at * s->M + t * s->tile : r->a + t * s->tile * s->K + at;
}

// Rows of tiles t0..t1 for the terms of p; of dy's columns also their sums for db.
static void copy_tiles(const run_of *r, block *b, int64_t t0, int64_t t1, const span *p) {
  const state *s = r->s;
  const int64_t begin = t0 * s->tile, n = least(t1 * s->tile, s->M) - begin;
  for (int64_t i = 0; s->pass != WEIGHTS && i < n; i++)
    memcpy(b->a + i * A_ROW, r->a + (begin + i) * s->K + p->at, (size_t)p->n * sizeof *b->a);
  for (int64_t j = 0; s->pass == WEIGHTS && j < p->n_links; j++)
    for (int64_t i = 0; i < n; i += VEC) {
      const link k = p->links[j];
      float *out = b->a + i * A_ROW + k.at - p->at;
      float *db = b->dbs + k.shard * s->db_row + begin - b->begin * s->tile + i;
      vec sum = k.first ? (vec){0} : vec_load(db, IG_F32, 0, VEC);
      for (int64_t at = 0; at < k.n; at += VEC)
        sum += turn(r->a + (k.at + at) * s->M + begin + i, s->M, k.n - at, n - i, out + at, A_ROW);
      vec_store(db, IG_F32, 0, VEC, sum);
    }
}

// Whether panel i's sums are kept beside the result.
static bool kept(const state *s, const block *b, int64_t i) {
  return s->n_kept > 1 || b->width - i * COLUMNS < COLUMNS;
}

// Sums that are kept, of panel i.
static float *kept_sums(const state *s, const block *b, int64_t i) {
  return b->sums + (s->n_kept > 1 ? i * s->n_kept * s->group * s->tile * COLUMNS : 0);
}

// Where sums of panel i of tile t go, of a span that begins with link k.
static tile sums_of(const run_of *r, const block *b, int64_t t0, int64_t t, link k, int64_t i) {
  const state *s = r->s;
  tile to = {.c_row = COLUMNS};
  if (kept(s, b, i)) {
    const int64_t before = (s->n_kept > 1 ? k.shard / s->span_shards * s->group : 0) + t - t0;
    to.c = kept_sums(s, b, i) + before * s->tile * COLUMNS;
  } else {
    to.c = r->c + t * s->tile * s->N + b->first + i * COLUMNS;
    to.c_row = s->N;
  }
  const bool first = k.first && (s->n_kept > 1 || k.shard == 0);
  to.from = first ? b->start + i * COLUMNS : to.c;
  to.from_row = first ? 0 : to.c_row;
  return to;
}

// out[rows][width] = or (add) += the sum of n parts [rows][COLUMNS], `size` numbers apart, as their tree.
VEC_INLINE void write_tree(float *parts, int64_t n, int64_t size, int64_t rows, int64_t width, bool add, float *out,
                           int64_t out_row) {
  ig_sum_tree_f32(parts, n, size);
  for (int64_t i = 0; i < rows; i++, parts += COLUMNS, out += out_row)
    if (add)
      for (int64_t j = 0; j < width; j++)
        out[j] += parts[j];
    else
      memcpy(out, parts, (size_t)width * sizeof *out);
}

// One panel of a tile by a span of whole shards: sums by shard, their tree into `to`.
static void run_shards(const run_of *r, block *b, const span *p, int64_t rows, multiply_fn f, const tile *to) {
  const int64_t size = rows * COLUMNS;
  tile of = *to;
  of.c_row = COLUMNS;
  for (int64_t j = 0; j < p->n_links; j++) {
    const bool second = r->s->pairs && j % 2;
    of.before = p->links[j].at - p->at;
    of.a = to->a + of.before;
    of.b = to->b + of.before * COLUMNS;
    of.n = p->links[j].n;
    of.c = b->tile + (r->s->pairs ? j / 2 : j) * size;
    of.from = second ? of.c : b->start;
    of.from_row = second ? COLUMNS : 0;
    f(&of);
  }
  write_tree(b->tile, r->s->pairs ? ceil_div(p->n_links, 2) : p->n_links, size, rows, COLUMNS, to->from == to->c, to->c,
             to->c_row);
}

// Rows of tiles t0..t1 whose sums are kept beside the result.
static void write_sums(const run_of *r, const block *b, int64_t t0, int64_t t1) {
  const state *s = r->s;
  const int64_t rows = s->group * s->tile, begin = t0 * s->tile, end = least(t1 * s->tile, s->M);
  for (int64_t i = 0; i < b->panels; i++)
    if (kept(s, b, i))
      write_tree(kept_sums(s, b, i), s->n_kept, rows * COLUMNS, end - begin, least(b->width - i * COLUMNS, COLUMNS),
                 false, r->c + begin * s->N + b->first + i * COLUMNS, s->N);
}

// Tiles g0..g1 of those from t0 on, copied, by span p and each panel. `next`: what is copied then.
static void run_group(const run_of *r, block *b, int64_t t0, int64_t g0, int64_t g1, const span *p, const float *packed,
                      const float *next) {
  const state *s = r->s;
  const bool across = s->pass == WEIGHTS, by_shard = s->span_shards > 1 || (s->n_shards > 1 && s->n_kept == 1);
  const int64_t calls = (g1 - g0) * b->panels, row = across ? s->M : s->K;
  // Of `next`, terms or rows in all and for each call.
  const int64_t all = across ? p->n : ROW_GROUP * s->tile, share = ceil_div(all, calls);
  const int64_t lines = across ? ceil_div(share * GROUP_LINES, ceil_div(p->n, LINE)) : share;
  tile of = sums_of(r, b, t0, g0, p->links[0], 0);
  for (int64_t call = 0, t = g0, i = 0; call < calls; call++) {
    const int64_t this_t = t, this_i = i;
    if (VEC == 16 && ++i == b->panels) {
      i = 0;
      t++;
    } else if (VEC < 16 && ++t == g1) {
      t = g0;
      i++;
    }
    const tile later = call + 1 < calls ? sums_of(r, b, t0, t, p->links[0], i) : of;
    of.a = b->a + (this_t - g0) * s->tile * A_ROW;
    of.b = packed + this_i * COLUMNS * p->n;
    of.n = p->n;
    of.chain = s->chain;
    of.next = later.c;
    of.next_row = later.c_row;
    of.across = across;
    of.ahead = next + least(call * share, all) * row;
    of.ahead_row = row;
    of.n_ahead = call * share < all ? lines : 0;
    const int64_t rows = least(s->M - this_t * s->tile, s->tile);
    if (by_shard)
      run_shards(r, b, p, rows, multiply_rows[rows], &of);
    else
      multiply_rows[rows](&of);
    of = later;
  }
}

// Tiles t0..t1 by span p. `after`: what is copied then.
static void run_span(const run_of *r, block *b, int64_t t0, int64_t t1, const span *p, const float *packed,
                     const float *after) {
  const int64_t step = r->s->pass == WEIGHTS ? GROUP : ROW_GROUP;
  for (int64_t g0 = t0; g0 < t1; g0 += step) {
    const int64_t g1 = least(g0 + step, t1);
    copy_tiles(r, b, g0, g1, p);
    run_group(r, b, t0, g0, g1, p, packed, g1 < t1 ? tile_at(r, g1, p->at) : after);
  }
}

static void run_task(const run_of *r, int64_t task, int thread) {
  const state *s = r->s;
  block b;
  b.packed = r->own + (size_t)thread * s->block_floats;
  b.sums = r->sums + (size_t)thread * s->sum_floats;
  b.dbs = r->dbs + (size_t)thread * s->a_floats;
  b.a = b.dbs + s->n_shards * s->db_row;
  b.first = task / s->n_parts * s->panels * COLUMNS;
  b.width = least(s->N - b.first, s->panels * COLUMNS);
  b.panels = ceil_div(b.width, COLUMNS);
  b.begin = task % s->n_parts * s->task_tiles;
  b.end = least(b.begin + s->task_tiles, s->n_tiles);
  memset(b.start, 0, sizeof b.start);
  if (r->bias)
    memcpy(b.start, r->bias + b.first, (size_t)b.width * sizeof *b.start);
  for (int64_t t0 = b.begin; t0 < b.end; t0 += s->group) {
    const int64_t t1 = least(t0 + s->group, b.end);
    span p;
    for (int64_t at = 0; at < s->K; at += p.n) {
      p = span_at(s, at);
      float *packed = b.packed + (s->group < s->task_tiles ? at * s->panels * COLUMNS : 0);
      if (t0 == b.begin)
        pack_span(r, &b, at, p.n, packed);
      const bool last = at + p.n == s->K;
      const float *after = tile_at(r, last ? least(t1, s->n_tiles - 1) : t0, last ? 0 : at + p.n);
      run_span(r, &b, t0, t1, &p, packed, after);
    }
    write_sums(r, &b, t0, t1);
  }
  if (r->db && b.first == 0 && b.begin < b.end) {  // of many tasks the last ones may have no tile
    const int64_t begin = b.begin * s->tile, end = least(b.end * s->tile, s->M);
    ig_sum_tree_f32(b.dbs, s->n_shards, s->db_row);
    memcpy(r->db + begin, b.dbs, (size_t)(end - begin) * sizeof *r->db);
  }
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
               .n_shards = pass == WEIGHTS && p->deterministic ? least(p->shards, d.T) : 1,
               .span_shards = 1};
  const int64_t shard = ceil_div(s->K, s->n_shards);  // terms
  while (s->span_shards * 2 <= least(s->n_shards, SPAN_SHARDS) && s->span_shards * 2 * shard <= SPAN)
    s->span_shards *= 2;
  s->n_kept = ceil_div(s->n_shards, s->span_shards);
  s->n_kept = s->n_kept == 2 && shard <= LINK ? 1 : s->n_kept;
  s->chain =
      d.V * d.D > SMALL_WEIGHTS ? LINK : most(LEAST_CHAIN, least(CHAIN, ceil_div(shard, MOST_CHAINS * LINE) * LINE));
  s->pairs = shard <= s->chain;
  s->tile = ceil_div(s->M, ceil_div(s->M, PRODUCT_R));
  s->n_tiles = ceil_div(s->M, s->tile);
  s->panels = least((s->n_shards > 1 ? SPAN_BLOCK : BLOCK) / COLUMNS, ceil_div(s->N, COLUMNS));
  s->n_blocks = ceil_div(s->N, s->panels * COLUMNS);
  s->n_parts = most(1, least(ceil_div(wanted, s->n_blocks), s->M / LEAST_ROWS));
  s->task_tiles = ceil_div(s->n_tiles, s->n_parts);
  s->group = s->n_kept > 1 ? least(GROUP, s->task_tiles) : s->task_tiles;
  s->db_row = whole(s->task_tiles * s->tile) + VEC;
  const int64_t span = s->span_shards > 1 ? s->span_shards * shard : least(LINK, shard);  // most terms of one
  s->block_floats = (size_t)(s->panels * COLUMNS * (s->group < s->task_tiles ? s->K : whole(span)));
  s->sum_floats = (size_t)(s->n_kept > 1        ? s->n_kept * s->panels * s->group * s->tile * COLUMNS
                           : s->N % COLUMNS > 0 ? s->group * s->tile * COLUMNS
                                                : 0);
  s->a_floats = (size_t)(s->n_shards * s->db_row + A_ROW * least(s->db_row, GROUP_ROWS));
  p->workspace_bytes = sizeof(float) * (size_t)threads * (s->block_floats + s->sum_floats + s->a_floats);
  p->state = s;
  return IG_OK;
}

static ig_status prepare_forward(ig_prepare *p) { return prepare(p, FORWARD); }
static ig_status prepare_data(ig_prepare *p) { return prepare(p, DATA); }
static ig_status prepare_weights(ig_prepare *p) { return prepare(p, WEIGHTS); }

static ig_status run(const ig_launch *l) {
  const state *s = l->state;
  const int threads = l->device->caps.threads;
  const bool weights = s->pass == WEIGHTS;
  run_of r = {.s = s, .a = l->in[weights], .b = l->in[!weights], .c = l->out[0], .own = l->workspace};
  r.sums = r.own + (size_t)threads * s->block_floats;
  r.dbs = r.sums + (size_t)threads * s->sum_floats;
  if (s->pass == FORWARD && l->node->n_in > 2)
    r.bias = l->in[2];
  if (weights && ((const ig_linear_attr *)l->node->attr)->has_bias)
    r.db = l->out[1];
  else if (weights)
    *(float *)l->out[1] = 0;
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1)
  for (int64_t task = 0; task < s->n_blocks * s->n_parts; task++)
    run_task(&r, task, omp_get_thread_num());
  return IG_OK;
}

static bool supports(const ig_node *n, const ig_device_caps *caps, char *why, size_t why_bytes) {
  const ig_linear_dims d = ig_linear_dims_of(n);
  const char *reason = n->in[0]->dtype != IG_F32       ? "takes f32"
                       : d.T < 1 || d.D < 1 || d.V < 1 ? "takes no empty operands"
                                                       : NULL;
  return ig_no_reason(reason, why, why_bytes);
}

#define COMMON \
  .flags = IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE, .isa = IG_ISA_LEVEL, .supports = supports, .destroy = ig_free
IG_IMPLS(linear_cpu) = {{.name = "linear_cpu", COMMON, .prepare = prepare_forward, .run = run},
                        {.name = "linear_bwd_data_cpu", COMMON, .prepare = prepare_data, .run = run},
                        {.name = "linear_bwd_weights_cpu", COMMON, .prepare = prepare_weights, .run = run},
                        {0}};
