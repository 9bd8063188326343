// How the batch normalisation kernels cut a tensor, and the expressions that forward and backward share bit by bit.
// Rule: the cut depends on shape and layout alone, never on threads.
//
// Per (sample, block of channels) the positions lie one behind the other, so that memory is a plain run of numbers
// whose channel repeats every `block`. A row is `repeat` positions (BN_LANES numbers or more), so that small blocks
// fill vectors too; parameters are spread over a row's lanes once per task. A task is a chunk of positions of one
// (sample, block).
#ifndef IG_KERNELS_BN_GRID_H
#define IG_KERNELS_BN_GRID_H

#include <math.h>
#include <stdio.h>

#include "kernels/batchnorm/batchnorm.h"
#include "kernels/eltwise/lanes.h"
#include "kernels/eltwise/vec.h"

// Vectors whose sums and parameters are registers at once.
#ifdef __AVX512F__
enum { BN_VECTORS = 4 };
#else
enum { BN_VECTORS = 2 };
#endif
enum { BN_LANES = BN_VECTORS * VEC };
#define BN_MAX_WIDTH 1024              // lanes handled at once: their parameters stay in the first-level cache
#define BN_CHUNK     (128 * BN_LANES)  // numbers a task, about: what is added to one fp32 sum is few

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
  g.channels = block * g.v.n_blocks;
  g.repeat = 1;
  if (block < BN_LANES) {
    int64_t least = VEC / bn_gcd(block, VEC);  // rows that are whole vectors
    g.repeat = (BN_LANES + least * block - 1) / (least * block) * least;
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

// Cuts the rows of a task into tiles of whole vectors: TILE(.., column, row, rows, V, n) for lanes column.. of `rows`
// rows from `row`, V vectors of n <= VEC numbers. V and the common n are constants: only then are a tile's sums and
// parameters registers.
#define BN_FOR_TILES(r, TILE, ...)                                      \
  for (int64_t c_ = 0, lanes_; c_ < (r).width; c_ += lanes_) {          \
    const int64_t left_ = (r).width - c_;                               \
    lanes_ = left_ >= BN_LANES ? BN_LANES : left_ >= VEC ? VEC : left_; \
    const int64_t whole_ = (r).n_rows - ((r).last_width < c_ + lanes_); \
    const int64_t end_ = whole_ < (r).n_rows ? (r).last_width : c_;     \
    if (lanes_ == BN_LANES)                                             \
      TILE(__VA_ARGS__, c_, 0, whole_, BN_VECTORS, VEC);                \
    else if (lanes_ == VEC)                                             \
      TILE(__VA_ARGS__, c_, 0, whole_, 1, VEC);                         \
    else                                                                \
      TILE(__VA_ARGS__, c_, 0, whole_, 1, lanes_);                      \
    for (int64_t e_ = c_; e_ < end_; e_ += VEC)                         \
      if (end_ - e_ >= VEC)                                             \
        TILE(__VA_ARGS__, e_, whole_, 1, 1, VEC);                       \
      else                                                              \
        TILE(__VA_ARGS__, e_, whole_, 1, 1, end_ - e_);                 \
  }

// Per-channel values as the lanes of a row find them: lane i at [i % bn_period].
static inline int64_t bn_period(const bn_grid *g) { return g->v.block % VEC ? BN_MAX_WIDTH : g->v.block; }
static inline const float *bn_spread(const bn_grid *g, const bn_rows *r, const float *values, float *lanes) {
  const float *from = values + r->channel;
  if (g->repeat == 1 || g->v.block % VEC == 0)
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
VEC_INLINE vec bn_value(vec x, vec mean, vec scale, vec beta) { return vec_madd(x - mean, scale, beta); }

// Whether a result of x's shape is worth writing past the caches (vec_stream): not in place, and larger than what they
// would keep until it is read again.
static inline bool bn_streams(const bn_grid *g, ig_dtype type, const void *out, const void *in) {
  size_t bytes = (size_t)(g->v.N * g->v.stride_n) * ig_dtype_bytes(type);
  return out != in && bytes >= VEC_STREAM_BYTES && g->v.block % VEC == 0 && (uintptr_t)out % 64 == 0;
}

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
