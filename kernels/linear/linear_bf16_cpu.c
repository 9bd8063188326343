// The fully connected layer in bf16 by own products (linear_products_bf16.h). A task is a block of columns of the
// result: its part of the second operand lies packed in the thread's own cache, and all rows of the first one pass by,
// while the next block is fetched and packed, a part after each product. Weights are read in fp32 where the plan has no
// 16-bit copy of them, and rounded as they are packed. Rule: each number of a result is one sum in a fixed order, with
// shards one sum each and their tree, so that neither threads nor blocks change a bit.
#include <omp.h>
#include <stdio.h>

#include "kernels/kernels.h"
#include "kernels/linear/linear.h"
#include "kernels/linear/linear_products_bf16.h"
#include "kernels/optim_util/fixed.h"
#include "kernels/plain.h"

enum {
  BLOCK_PANELS = 4,         // of a task, where there are enough tasks
  BLOCK_BYTES = 300 << 10,  // of its packed operand: two blocks stay in the second-level cache
  TASKS_PER_THREAD = 3,
  GROUP = 16  // tiles whose rows are packed together, so that lines of dy are read whole
};

typedef enum pass { FORWARD, DATA, WEIGHTS } pass;

typedef struct state {
  pass pass;
  int64_t M, N, K;
  int64_t panels;                   // of a block
  int64_t n_blocks;                 // tasks
  int64_t part;                     // terms of a block that are packed at once: by 16 columns in FORWARD, else by all
  int64_t tile, n_tiles;            // rows of a tile, the last one may have fewer
  int64_t n_shards;                 // of the sum; more than one only over the batch
  bool wide;                        // weights are fp32
  size_t block_pairs, panel_pairs;  // of one packed block; of one panel of packed rows
} state;

// Rows of the batch in shard i start at shard_row(i); its pairs are not shared with a neighbour.
static int64_t shard_row(const state *s, int64_t i) { return i * s->K / s->n_shards; }
static int64_t shard_pairs(const state *s, int64_t i) { return ceil_div(shard_row(s, i + 1) - shard_row(s, i), 2); }
static int64_t all_pairs(const state *s) {
  int64_t n = 0;
  for (int64_t i = 0; i < s->n_shards; i++)
    n += shard_pairs(s, i);
  return n;
}

// ---- a block of columns ----

typedef struct run_of {
  const state *s;
  matrix a, b;       // a: not where its rows are packed
  const pair *rows;  // packed rows, [tile][pair][PANEL], or NULL
  target c;          // of the whole result; bias from column 0 on
  char *own;         // blocks of all threads, two each
  float *tiles;      // of all threads, n_shards each
} run_of;

// A block on its way into panels, part by part.
typedef struct packing {
  pair *out;                // of the block
  int64_t first, width;     // the block's columns
  int64_t column;           // FORWARD: so many are packed
  int64_t shard, term, at;  // what comes next: terms of the sum, where their pairs go
} packing;

static packing packing_of(const run_of *r, int64_t block, pair *out) {
  const state *s = r->s;
  const int64_t first = block * s->panels * COLUMNS;
  return (packing){.out = out, .first = first, .width = least(s->N - first, s->panels * COLUMNS)};
}

static bool is_packed(const run_of *r, const packing *p) {
  return p->column >= ceil_div(p->width, COLUMNS) * COLUMNS || p->shard == r->s->n_shards;
}

static int64_t part_end(const state *s, const packing *p) {
  return least(p->term + s->part, shard_row(s, p->shard + 1));
}

// What pack_part reads next.
static fetch fetch_part(const run_of *r, const packing *p) {
  const int64_t left = least(p->width - p->column, 16);
  if (is_packed(r, p))
    return (fetch){0};
  const int64_t n = part_end(r->s, p) - p->term;
  return r->s->pass == FORWARD ? fetch_block(&r->b, p->first + p->column, left, p->term, n)
                               : fetch_block(&r->b, p->term, n, p->first, p->width);
}

static void pack_part(const run_of *r, packing *p) {
  const state *s = r->s;
  if (is_packed(r, p))
    return;
  const int64_t end = part_end(s, p), all = all_pairs(s);
  if (s->pass == FORWARD) {
    pair *out = p->out + p->column / COLUMNS * COLUMNS * all + p->column % COLUMNS;
    for (; p->term < end; p->term += 32, p->at += 16)
      turn16(&r->b, p->first + p->column, p->width - p->column, p->term, out + p->at * COLUMNS);
  } else {
    pack_across(&r->b, p->term, end, p->first, p->width, COLUMNS, COLUMNS, all * COLUMNS, p->out + p->at * COLUMNS,
                NULL);
    p->at += ceil_div(end - p->term, 2);
    p->term = end;
  }
  if (p->term < shard_row(s, p->shard + 1))
    return;
  if (s->pass == FORWARD) {
    p->column += 16;
    p->term = p->at = 0;
  } else {
    p->shard++;
  }
}

static void run_tile(const run_of *r, int64_t t, int64_t column, const pair *b, int64_t n, fetch *f, float *sums) {
  const state *s = r->s;
  const int64_t row = t * s->tile, rows = least(s->M - row, s->tile);
  operand o = {r->rows ? r->rows + (size_t)t * s->panel_pairs : (const pair *)element(&r->a, row, 0), s->K / 2, PANEL};
  const multiply_fn f_of = r->rows ? multiply_panel[rows - 1] : multiply_along[rows - 1];
  for (int64_t i = 0; i < s->n_shards; i++) {
    const int64_t pairs = shard_pairs(s, i);
    f_of(&o, b, pairs, f, sums + i * ROWS * COLUMNS);
    o.a += pairs * o.step;
    b += pairs * COLUMNS;
  }
  ig_sum_tree_f32(sums, s->n_shards, ROWS * COLUMNS);
  target c = r->c;
  c.at += (row * c.row + column) * (c.wide ? 4 : 2);
  c.bias = c.bias ? c.bias + column : NULL;
  write_tile(&c, sums, rows, n);
}

// A share of the rows of tile t, where `panels` products fetch them all.
static fetch fetch_rows(const run_of *r, int64_t t, int64_t panel, int64_t panels) {
  const state *s = r->s;
  const int64_t row = t * s->tile, rows = least(s->M - row, s->tile), pairs = all_pairs(s);
  const int64_t from = pairs * panel / panels, n = pairs * (panel + 1) / panels - from;
  fetch f = {0};
  if (r->rows)
    f = (fetch){.at = (const char *)(r->rows + (size_t)t * s->panel_pairs + from * PANEL), .left = n, .in_row = n};
  else
    f = fetch_block(&r->a, row, rows, 2 * from, 2 * n);
  f.each = ceil_div(f.left * STRIDE, pairs);
  return f;
}

// Blocks that nobody has taken. While one is multiplied the next one is packed.
static void run_blocks(const run_of *r, int64_t *taken, int thread) {
  const state *s = r->s;
  const int64_t pairs = all_pairs(s);
  pair *own = (pair *)r->own + (size_t)thread * 2 * s->block_pairs;
  float *sums = r->tiles + (size_t)thread * (size_t)(s->n_shards * ROWS * COLUMNS);
  int64_t block;
#pragma omp atomic capture
  block = (*taken)++;
  packing now = packing_of(r, block, own);
  while (block < s->n_blocks && !is_packed(r, &now))
    pack_part(r, &now);
  while (block < s->n_blocks) {
    int64_t next;
#pragma omp atomic capture
    next = (*taken)++;
    packing later = packing_of(r, next, now.out == own ? own + s->block_pairs : own);
    const int64_t panels = ceil_div(now.width, COLUMNS);
    for (int64_t t = 0; t < s->n_tiles; t++)
      for (int64_t at = 0; at < now.width; at += COLUMNS) {
        fetch f[] = {fetch_part(r, &later), fetch_rows(r, (t + 1) % s->n_tiles, at / COLUMNS, panels)};
        run_tile(r, t, now.first + at, now.out + at * pairs, least(now.width - at, COLUMNS), f, sums);
        pack_part(r, &later);
      }
    while (!is_packed(r, &later))
      pack_part(r, &later);
    block = next;
    now = later;
  }
  _mm_sfence();
}

// ---- rows ----

static size_t workspace_bytes(const state *s, int threads) {
  return sizeof(pair) * (2 * (size_t)threads * s->block_pairs + (size_t)s->n_tiles * s->panel_pairs) +
         sizeof(float) * (size_t)(threads * s->n_shards * ROWS * COLUMNS);
}

static ig_status prepare(ig_prepare *p, pass pass) {
  const ig_node *n = p->node;
  const ig_linear_dims d = ig_linear_dims_of(n);
  const int threads = p->device->caps.threads;
  state *s;
  ig_prepare_plain(p);
  IG_TRY(ig_alloc(sizeof *s, "linear", &s));
  *s = (state){.pass = pass,
               .M = pass == WEIGHTS ? d.V : d.T,
               .N = pass == FORWARD ? d.V : d.D,
               .K = pass == FORWARD ? d.D
                    : pass == DATA  ? d.V
                                    : d.T,
               .n_shards = 1};
  if (pass == WEIGHTS && p->deterministic)
    s->n_shards = least(p->shards, d.T);
  if (pass != WEIGHTS && p->wide_in >> 1 & 1) {
    s->wide = true;
    p->in_layout[1] = IG_WIDE;
  }
  const int64_t panel_bytes = all_pairs(s) * COLUMNS * (int64_t)sizeof(pair), n_panels = ceil_div(s->N, COLUMNS);
  s->panels = BLOCK_PANELS;
  while (s->panels > 1 &&
         (s->panels * panel_bytes > BLOCK_BYTES || ceil_div(n_panels, s->panels) < (int64_t)TASKS_PER_THREAD * threads))
    s->panels--;
  s->n_blocks = ceil_div(n_panels, s->panels);
  s->tile = ceil_div(s->M, ceil_div(s->M, ROWS));
  s->n_tiles = ceil_div(s->M, s->tile);
  s->part = pass == FORWARD ? 32 * ceil_div(s->K, 16 * s->n_tiles) : 2 * ceil_div(all_pairs(s), s->n_tiles * s->panels);
  s->block_pairs = (size_t)(s->panels * all_pairs(s) * COLUMNS);
  s->panel_pairs = pass == WEIGHTS ? (size_t)(all_pairs(s) * PANEL) : 0;
  p->workspace_bytes = workspace_bytes(s, threads);
  p->state = s;
  return IG_OK;
}

static ig_status prepare_forward(ig_prepare *p) { return prepare(p, FORWARD); }
static ig_status prepare_data(ig_prepare *p) { return prepare(p, DATA); }
static ig_status prepare_weights(ig_prepare *p) { return prepare(p, WEIGHTS); }

static run_of run_of_launch(const ig_launch *l) {
  const state *s = l->state;
  const bool by_weights = s->pass != WEIGHTS;
  const size_t blocks = 2 * (size_t)l->device->caps.threads * s->block_pairs * sizeof(pair);
  run_of r = {.s = s, .own = l->workspace};
  r.a = (matrix){l->in[by_weights ? 0 : 1], by_weights ? s->M : s->K, by_weights ? s->K : s->M, false};
  r.b =
      (matrix){l->in[by_weights ? 1 : 0], s->pass == FORWARD ? s->N : s->K, s->pass == FORWARD ? s->K : s->N, s->wide};
  r.c = (target){l->out[0], s->N, l->node->out[0]->dtype == IG_F32,
                 s->pass == FORWARD && l->node->n_in > 2 ? l->in[2] : NULL};
  r.rows = by_weights ? NULL : (const pair *)(r.own + blocks);
  r.tiles = (float *)(r.own + blocks + (size_t)s->n_tiles * s->panel_pairs * sizeof(pair));
  return r;
}

static ig_status run(const ig_launch *l) {
  const run_of r = run_of_launch(l);
  int64_t taken = 0;
#pragma omp parallel num_threads(l->device->caps.threads)
  run_blocks(&r, &taken, omp_get_thread_num());
  return IG_OK;
}

// Rows of a group of tiles: columns of dy, in pairs of rows of the batch. db, where not NULL: their sums.
static void pack_rows(const run_of *r, int64_t group, pair *out, float *db) {
  const state *s = r->s;
  const int64_t first = group * GROUP, tiles = least(s->n_tiles - first, GROUP);
  const int64_t row = first * s->tile, n = least(s->M - row, tiles * s->tile);
  float sums[s->n_shards][GROUP * 16];
  for (int64_t i = 0; i < s->n_shards; i++) {
    __m512 sum[GROUP];
    for (int t = 0; t < GROUP; t++)
      sum[t] = _mm512_setzero_ps();
    pack_across(&r->a, shard_row(s, i), shard_row(s, i + 1), row, n, s->tile, PANEL, (int64_t)s->panel_pairs, out, sum);
    for (int t = 0; t < GROUP; t++)
      _mm512_storeu_ps(sums[i] + t * 16, sum[t]);
    out += shard_pairs(s, i) * PANEL;
  }
  _mm_sfence();
  ig_sum_tree_f32(sums[0], s->n_shards, GROUP * 16);
  for (int64_t t = 0; db && t < tiles; t++)
    memcpy(db + row + t * s->tile, sums[0] + t * 16, (size_t)least(n - t * s->tile, s->tile) * sizeof *db);
}

static ig_status run_weights(const ig_launch *l) {
  const run_of r = run_of_launch(l);
  float *db = l->out[1];
  const bool has_bias = ((const ig_linear_attr *)l->node->attr)->has_bias;
  int64_t taken = 0;
  db[0] = 0;
#pragma omp parallel num_threads(l->device->caps.threads)
  {
#pragma omp for schedule(static)
    for (int64_t group = 0; group < ceil_div(r.s->n_tiles, GROUP); group++)
      pack_rows(&r, group, (pair *)r.rows + (size_t)(group * GROUP) * r.s->panel_pairs, has_bias ? db : NULL);
    run_blocks(&r, &taken, omp_get_thread_num());
  }
  return IG_OK;
}

static bool supports(const ig_node *n, const ig_device_caps *caps, char *why, size_t why_bytes) {
  const ig_linear_dims d = ig_linear_dims_of(n);
  const bool odd = strcmp(n->op->name, "linear_bwd_weights") && (n->in[0]->shape.d[n->in[0]->shape.n - 1] & 1);
  const char *reason = n->in[0]->dtype != IG_BF16      ? "takes bf16"
                       : odd                           ? "takes an even number of summands"
                       : d.T < 1 || d.D < 1 || d.V < 1 ? "takes no empty operands"
                                                       : NULL;
  if (reason)
    snprintf(why, why_bytes, "%s", reason);
  return !reason;
}

#define FLAGS  IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE
#define COMMON .isa = IG_ISA_LEVEL, .supports = supports, .destroy = ig_free
IG_IMPLS(linear_bf16_cpu) = {
    {.name = "linear_bf16_cpu", .flags = FLAGS | IG_IMPL_READS_WIDE, COMMON, .prepare = prepare_forward, .run = run},
    {.name = "linear_bwd_data_bf16_cpu",
     .flags = FLAGS | IG_IMPL_READS_WIDE,
     COMMON,
     .prepare = prepare_data,
     .run = run},
    {.name = "linear_bwd_weights_bf16_cpu", .flags = FLAGS, COMMON, .prepare = prepare_weights, .run = run_weights},
    {0}};
