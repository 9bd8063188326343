// How the batch normalisation kernels cut a tensor, and the expressions that forward and backward share bit by bit.
// Rule: the cut depends on shape and layout alone, never on threads.
//
// Per (sample, block of channels) the positions lie one behind the other, so that memory is a plain run of numbers
// whose channel repeats every `block`. A row is `repeat` positions (64 numbers or more), so that small blocks fill
// vectors too; parameters are spread over a row's lanes once per task. A task is a chunk of positions of one (sample,
// block).
#ifndef IG_KERNELS_BN_GRID_H
#define IG_KERNELS_BN_GRID_H

#include <math.h>
#include <stdio.h>

#include "kernels/batchnorm/batchnorm.h"
#include "kernels/eltwise/lanes.h"

#define BN_MAX_WIDTH 1024   // lanes handled at once: four arrays stay in the first-level cache
#define BN_CHUNK     16384  // numbers a task, about

#ifdef __FP_FAST_FMAF
#define BN_MADD(a, b, c) __builtin_fmaf(a, b, c)
#else
#define BN_MADD(a, b, c) ((a) * (b) + (c))
#endif

typedef struct bn_grid {
  ig_view4 v;
  int64_t channels;  // block * n_blocks: padding included
  int64_t repeat;    // positions a row
  int64_t chunk;     // positions a task, a multiple of repeat
  int64_t n_chunks;  // tasks a (sample, block)
  int64_t tasks;
} bn_grid;

static inline int64_t bn_gcd(int64_t a, int64_t b) { return b ? bn_gcd(b, a % b) : a; }

static inline bn_grid bn_grid_of(const ig_shape *shape, ig_layout layout) {
  bn_grid g = {.v = ig_view4_of(shape, layout)};
  int64_t block = g.v.block > 0 ? g.v.block : 1;
  int64_t width = g.v.P * block >= 8192 ? 256 : 64;
  g.channels = block * g.v.n_blocks;
  g.repeat = 1;
  if (block < 64) {
    int64_t least = 16 / bn_gcd(block, 16);  // rows that are whole vectors
    g.repeat = (width + least * block - 1) / (least * block) * least;
  }
  int64_t rows = BN_CHUNK / (g.repeat * block);
  g.chunk = (rows > 64 ? rows : 64) * g.repeat;
  g.n_chunks = (g.v.P + g.chunk - 1) / g.chunk;
  g.tasks = g.v.N * g.v.n_blocks * g.n_chunks;
  return g;
}

// A task: numbers at..at+positions*block of memory, channels from `channel`.
typedef struct bn_task {
  int64_t sample, chunk, channel, at, positions;
} bn_task;

static inline bn_task bn_task_of(const bn_grid *g, int64_t index) {
  bn_task t = {.chunk = index % g->n_chunks};
  int64_t b = index / g->n_chunks % g->v.n_blocks, first = t.chunk * g->chunk;
  t.sample = index / g->n_chunks / g->v.n_blocks;
  t.channel = b * g->v.block;
  t.at = t.sample * g->v.stride_n + b * g->v.stride_b + first * g->v.stride_p;
  t.positions = first + g->chunk < g->v.P ? g->chunk : g->v.P - first;
  return t;
}

// The rows of a task: whole rows of `width` lanes and a shorter last one (repeat > 1), or one row a position in column
// tiles of at most BN_MAX_WIDTH (repeat = 1). for (r = 0; r < n_rows; r++): numbers at + r*stride, bn_row_width of
// them.
typedef struct bn_rows {
  int64_t at, stride, n_rows, width, last_width;
  int64_t channel;  // of lane 0
} bn_rows;

static inline int64_t bn_n_tiles(const bn_grid *g) { return (g->repeat * g->v.block - 1) / BN_MAX_WIDTH + 1; }

static inline bn_rows bn_rows_of(const bn_grid *g, const bn_task *t, int64_t tile) {
  int64_t block = g->v.block, first = tile * BN_MAX_WIDTH;
  if (g->repeat > 1) {
    int64_t whole = t->positions / g->repeat, rest = t->positions % g->repeat;
    return (bn_rows){
        t->at,     g->repeat * block, whole + (rest > 0), g->repeat * block, (rest > 0 ? rest : g->repeat) * block,
        t->channel};
  }
  int64_t width = block - first < BN_MAX_WIDTH ? block - first : BN_MAX_WIDTH;
  return (bn_rows){t->at + first, block, t->positions, width, width, t->channel + first};
}

static inline int64_t bn_row_width(const bn_rows *r, int64_t row) {
  return row + 1 < r->n_rows ? r->width : r->last_width;
}

// Spreads per-channel values over the lanes of a row; values itself where a row is one position.
static inline const float *bn_spread(const bn_grid *g, const bn_rows *r, const float *values, float *lanes) {
  const float *from = values + r->channel;
  if (g->repeat == 1)
    return from;
  for (int64_t i = 0; i < g->repeat; i++)
    for (int64_t c = 0; c < g->v.block; c++)
      lanes[i * g->v.block + c] = from[c];
  return lanes;
}

// gamma / sqrt(var + eps) and 1 / sqrt(var + eps), in double and rounded once.
static inline float bn_scale(float gamma, float var, float eps) {
  return (float)((double)gamma / sqrt((double)var + (double)eps));
}
// The value before residual and ReLU.
static inline float bn_value(float x, float mean, float scale, float beta) { return BN_MADD(x - mean, scale, beta); }

static inline bool bn_counts(const float *weight, int64_t sample) { return !weight || weight[sample] != 0; }

// Layout of the activations: x's, or plain where it is a library's own. All rank-4 operands and results take it.
static inline ig_status bn_common_layout(ig_prepare *p, int x) {
  ig_layout layout = p->in_layout[x];
  const ig_node *n = p->node;
  if (layout.kind == IG_LAYOUT_OPAQUE)
    layout = IG_PLAIN;
  for (int i = 0; i < n->n_in; i++)
    p->in_layout[i] = n->in[i] && n->in[i]->shape.n == 4 ? layout : IG_PLAIN;
  for (int i = 0; i < n->n_out; i++)
    p->out_layout[i] = n->out[i]->shape.n == 4 ? layout : IG_PLAIN;
  return IG_OK;
}

#endif
