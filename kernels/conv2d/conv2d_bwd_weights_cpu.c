// The weight gradient by own vector code, for fp32 in channel blocks as wide as a vector. A tile is all taps of a block
// of input channels by up to three vectors of output channels. A task owns a few tiles, walks the whole batch and
// writes them once, in the public layout: rows of x and dy stay in the first-level cache over all taps, sums stay in
// registers over a row block. Kernels of one or two taps have too little to do with a row: oneDNN is faster there.
// Rule: a tile's sums are kept apart by shard of the batch and added in a binary tree, whatever task it falls to, so
// that neither threads nor ranks change a bit.
#include <omp.h>
#include <stdio.h>
#include <string.h>

#include "kernels/conv2d/conv2d.h"
#include "kernels/kernels.h"

#if defined(IG_ISA_avx512)
enum { VEC = 16, CHANNELS = 8 };  // lanes of a vector; input channels whose sums are in registers at once
#else
enum { VEC = 8, CHANNELS = 4 };
#endif
enum {
  VECTORS = 3,         // of output channels in a tile
  ROW_BYTES = 20480,   // of x and dy that a row block may take: with the tile they fit a 32 KiB cache
  DEFAULT_SHARDS = 8,  // where the plan does not ask for determinism over ranks
  LEAST_TAPS = 3,
  MOST_TILE_FLOATS = 32768,  // of a task and a shard: they stay in the second-level cache
  TASKS_PER_THREAD = 4
};
typedef float vec __attribute__((vector_size(VEC * sizeof(float)), aligned(4), may_alias));

typedef struct state {
  ig_conv2d_dims d;
  int64_t n_k, n_c;                // channel blocks of dy and x
  int64_t n_groups;                // groups of up to VECTORS blocks of dy
  int64_t c_per_task, g_per_task;  // tiles of a task: read x and dy that much less often
  int64_t n_shards, block_rows;
  size_t tile_floats;  // of one shard, at most
} state;

// A block of rows under one tap: `rows` times `n` positions.
typedef struct window {
  int64_t rows, n;
  int64_t x_row, x_step, dy_row, dy_block;  // floats from one to the next row, position, row, channel block
} window;

// sums[i][j] += x[., i] dy[j][.] over the window: CHANNELS x kv accumulators in registers.
static inline __attribute__((always_inline)) void add_window(const window *w, const float *x, const float *dy,
                                                             float *restrict sums, const int kv) {
  vec acc[CHANNELS][VECTORS];
#pragma GCC unroll 8
  for (int i = 0; i < CHANNELS; i++)
#pragma GCC unroll 3
    for (int j = 0; j < kv; j++)
      acc[i][j] = *(const vec *)(sums + (i * kv + j) * VEC);
  for (int64_t p = 0; p < w->rows; p++) {
    const float *a = x + p * w->x_row, *b = dy + p * w->dy_row;
    for (int64_t q = 0; q < w->n; q++, a += w->x_step, b += VEC) {
      vec d[VECTORS];
#pragma GCC unroll 3
      for (int j = 0; j < kv; j++)
        d[j] = *(const vec *)(b + j * w->dy_block);
#pragma GCC unroll 8
      for (int i = 0; i < CHANNELS; i++)
#pragma GCC unroll 3
        for (int j = 0; j < kv; j++)
          acc[i][j] += d[j] * a[i];
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < CHANNELS; i++)
#pragma GCC unroll 3
    for (int j = 0; j < kv; j++)
      *(vec *)(sums + (i * kv + j) * VEC) = acc[i][j];
}
static void add_window_1(const window *w, const float *x, const float *dy, float *s) { add_window(w, x, dy, s, 1); }
static void add_window_2(const window *w, const float *x, const float *dy, float *s) { add_window(w, x, dy, s, 2); }
static void add_window_3(const window *w, const float *x, const float *dy, float *s) { add_window(w, x, dy, s, 3); }

// Positions [*first, *end) of `length` whose tap reads inside of [0, in).
static void inside(int64_t in, int64_t length, int64_t stride, int64_t offset, int64_t *first, int64_t *end) {
  *first = offset < 0 ? (-offset + stride - 1) / stride : 0;
  *end = in - offset <= 0 ? 0 : (in - offset - 1) / stride + 1;
  *end = *end < length ? *end : length;
}

// One row block of one sample under all taps of one block of x, into its sums [R][S][VEC][kv][VEC].
static void add_rows(const state *s, const float *x, const float *dy, int64_t p_first, int64_t p_end, int kv,
                     float *sums) {
  static void (*const add[])(const window *, const float *, const float *, float *) = {add_window_1, add_window_2,
                                                                                       add_window_3};
  const ig_conv2d_dims *d = &s->d;
  window w = {.x_row = d->stride_h * d->W * VEC,
              .x_step = d->stride_w * VEC,
              .dy_row = d->Q * VEC,
              .dy_block = d->P * d->Q * VEC};
  for (int64_t r = 0; r < d->R; r++) {
    int64_t p0, p1, h = r * d->dilation_h - d->pad_top;
    inside(d->H, d->P, d->stride_h, h, &p0, &p1);
    p0 = p0 > p_first ? p0 : p_first;
    p1 = p1 < p_end ? p1 : p_end;
    w.rows = p1 - p0;
    for (int64_t t = 0; t < d->S && w.rows > 0; t++) {
      int64_t q0, q1, v = t * d->dilation_w - d->pad_left;
      inside(d->W, d->Q, d->stride_w, v, &q0, &q1);
      w.n = q1 - q0;
      if (w.n <= 0)
        continue;
      const float *from = x + ((p0 * d->stride_h + h) * d->W + q0 * d->stride_w + v) * VEC;
      float *to = sums + (r * d->S + t) * VEC * kv * VEC;
      for (int64_t c = 0; c < VEC; c += CHANNELS)
        add[kv - 1](&w, from + c, dy + (p0 * d->Q + q0) * VEC, to + c * kv * VEC);
    }
  }
}

static void add_tree(float *tiles, size_t floats, int64_t n) {
  for (int64_t step = 1; step < n; step *= 2)
    for (int64_t i = 0; i + step < n; i += 2 * step)
      for (size_t j = 0; j < floats; j++)
        tiles[(size_t)i * floats + j] += tiles[(size_t)(i + step) * floats + j];
}

// First block of dy of group g: groups differ by one block at most, so that none is left with a single one.
static int64_t group_start(const state *s, int64_t g) {
  int64_t blocks = s->n_k, n = s->n_groups;
  return g * (blocks / n) + (g < blocks % n ? g : blocks % n);
}

static void write_tile(const state *s, const float *tile, int64_t k0, int kv, int64_t c, float *dw) {
  const int64_t C = s->d.C, taps = s->d.R * s->d.S;
  for (int64_t k = k0 * VEC; k < (k0 + kv) * VEC && k < s->d.K; k++)
    for (int64_t i = c * VEC; i < (c + 1) * VEC && i < C; i++)
      for (int64_t t = 0; t < taps; t++)
        dw[(k * C + i) * taps + t] = tile[(t * VEC + i % VEC) * kv * VEC + k - k0 * VEC];
}

// Groups [g0, g1) by input blocks [c0, c1) from all of the batch; tiles: [shards][tiles of the task].
static void run_task(const state *s, const float *x, const float *dy, float *dw, int64_t g0, int64_t g1, int64_t c0,
                     int64_t c1, float *tiles) {
  const ig_conv2d_dims *d = &s->d;
  const int64_t x_block = d->H * d->W * VEC, dy_block = d->P * d->Q * VEC;
  const size_t floats = (size_t)((g1 - g0) * (c1 - c0)) * s->tile_floats;
  memset(tiles, 0, (size_t)s->n_shards * floats * sizeof(float));
  for (int64_t shard = 0; shard < s->n_shards; shard++)
    for (int64_t n = shard * d->N / s->n_shards; n < (shard + 1) * d->N / s->n_shards; n++)
      for (int64_t p = 0; p < d->P; p += s->block_rows) {
        float *tile = tiles + (size_t)shard * floats;
        for (int64_t c = c0; c < c1; c++)
          for (int64_t g = g0; g < g1; g++, tile += s->tile_floats) {
            int64_t k0 = group_start(s, g);
            add_rows(s, x + (n * s->n_c + c) * x_block, dy + (n * s->n_k + k0) * dy_block, p,
                     p + s->block_rows < d->P ? p + s->block_rows : d->P, (int)(group_start(s, g + 1) - k0), tile);
          }
      }
  add_tree(tiles, floats, s->n_shards);
  for (int64_t c = c0; c < c1; c++)
    for (int64_t g = g0; g < g1; g++, tiles += s->tile_floats)
      write_tile(s, tiles, group_start(s, g), (int)(group_start(s, g + 1) - group_start(s, g)), c, dw);
}

static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

static ig_status run(const ig_launch *l) {
  const state *s = l->state;
  const float *x = l->in[0], *dy = l->in[1];
  const size_t per_thread = (size_t)(s->n_shards * s->c_per_task * s->g_per_task) * s->tile_floats;
  float *workspace = l->workspace;
  *(float *)l->out[1] = 0;
#pragma omp parallel for collapse(2) schedule(dynamic, 1) num_threads(l->device->caps.threads)
  for (int64_t g = 0; g < s->n_groups; g += s->g_per_task)
    for (int64_t c = 0; c < s->n_c; c += s->c_per_task)
      run_task(s, x, dy, l->out[0], g, least(g + s->g_per_task, s->n_groups), c, least(c + s->c_per_task, s->n_c),
               workspace + (size_t)omp_get_thread_num() * per_thread);
  return IG_OK;
}

// Larger tasks read x and dy from memory less often; each thread still gets a few of them.
static void choose_tasks(state *s, int threads) {
  s->c_per_task = s->g_per_task = 1;
  for (bool grown = true; grown;) {
    grown = false;
    for (int i = 0; i < 2; i++) {
      int64_t c = s->c_per_task + (i == 0), g = s->g_per_task + (i == 1);
      if (c > s->n_c || g > s->n_groups || (size_t)(c * g) * s->tile_floats > MOST_TILE_FLOATS ||
          ceil_div(s->n_c, c) * ceil_div(s->n_groups, g) < (int64_t)TASKS_PER_THREAD * threads)
        continue;
      s->c_per_task = c;
      s->g_per_task = g;
      grown = true;
    }
  }
}

static ig_status prepare(ig_prepare *p) {
  state *s;
  IG_TRY(ig_alloc(sizeof *s, "weight gradient", &s));
  const ig_conv2d_dims d = ig_conv2d_dims_of(p->node);
  int64_t shards = p->deterministic ? p->shards : DEFAULT_SHARDS;
  s->d = d;
  s->n_k = ceil_div(d.K, VEC);
  s->n_c = ceil_div(d.C, VEC);
  s->n_groups = ceil_div(s->n_k, VECTORS);
  s->n_shards = shards < d.N ? shards : d.N;
  s->block_rows = ROW_BYTES / ((d.Q * VECTORS + d.W * d.stride_h) * VEC * (int64_t)sizeof(float));
  s->block_rows = s->block_rows < 1 ? 1 : s->block_rows;
  s->tile_floats = (size_t)(d.R * d.S * VEC * VECTORS * VEC);
  p->in_layout[0] = p->in_layout[1] = IG_BLOCKED_C(VEC);
  p->out_layout[0] = p->out_layout[1] = IG_PLAIN;
  choose_tasks(s, p->device->caps.threads);
  p->workspace_bytes =
      (size_t)(p->device->caps.threads * s->n_shards * s->c_per_task * s->g_per_task) * s->tile_floats * sizeof(float);
  p->state = s;
  return IG_OK;
}

static bool supports(const ig_node *n, const ig_device_caps *caps, char *why, size_t why_bytes) {
  const ig_conv2d_dims d = ig_conv2d_dims_of(n);
  const char *reason = n->in[0]->dtype != IG_F32                         ? "takes f32"
                       : d.groups != 1                                   ? "takes one group"
                       : ((const ig_conv2d_bwd_attr *)n->attr)->has_bias ? "has no bias gradient"
                       : d.C < VEC || d.K < VEC                          ? "takes channels that fill a vector"
                       : d.R * d.S < LEAST_TAPS                          ? "takes kernels of three taps or more"
                                                                         : NULL;
  if (reason)
    snprintf(why, why_bytes, "%s", reason);
  return !reason;
}

IG_IMPLS(conv2d_bwd_weights_cpu) = {{.name = "conv2d_bwd_weights_cpu",
                                     .flags = IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE,
                                     .isa = IG_ISA_LEVEL,
                                     .supports = supports,
                                     .prepare = prepare,
                                     .run = run,
                                     .destroy = ig_free},
                                    {0}};
