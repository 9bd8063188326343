// The weight gradient by own vector code, for fp32 in channel blocks as wide as a vector. A task owns a tile of dw (all
// taps of a few input channels by up to three vectors of output channels), walks the whole batch and writes the tile
// once, in the public layout: x and dy rows stay in the first-level cache over all taps, sums stay in registers over a
// row block. Rule: the tile's sums are kept apart by shard of the batch and added in a binary tree, so that neither
// threads nor ranks change a bit.
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
  VECTORS = 3,         // of output channels a task owns
  ROW_BYTES = 20480,   // of x and dy that a row block may take: with the tile they fit a 32 KiB cache
  DEFAULT_SHARDS = 8,  // where the plan does not ask for determinism over ranks
  LEAST_TAPS = 3
};
typedef float vec __attribute__((vector_size(VEC * sizeof(float)), aligned(4), may_alias));

typedef struct state {
  ig_conv2d_dims d;
  int64_t n_k, n_c;  // channel blocks of dy and x
  int64_t n_groups;  // groups of up to VECTORS blocks of dy
  int64_t n_shards, block_rows;
  size_t tile_floats;  // of one shard
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

// The tile of output blocks [k0, k0 + kv) and input block c from all of the batch.
static void task(const state *s, const float *x, const float *dy, float *dw, int64_t k0, int kv, int64_t c,
                 float *tiles) {
  const ig_conv2d_dims *d = &s->d;
  const int64_t x_block = d->H * d->W * VEC, dy_block = d->P * d->Q * VEC, taps = d->R * d->S;
  const size_t floats = (size_t)(taps * VEC * kv * VEC);
  memset(tiles, 0, (size_t)s->n_shards * floats * sizeof(float));
  for (int64_t shard = 0; shard < s->n_shards; shard++)
    for (int64_t n = shard * d->N / s->n_shards; n < (shard + 1) * d->N / s->n_shards; n++)
      for (int64_t p = 0; p < d->P; p += s->block_rows)
        add_rows(s, x + (n * s->n_c + c) * x_block, dy + (n * s->n_k + k0) * dy_block, p,
                 p + s->block_rows < d->P ? p + s->block_rows : d->P, kv, tiles + (size_t)shard * floats);
  add_tree(tiles, floats, s->n_shards);
  for (int64_t k = k0 * VEC; k < (k0 + kv) * VEC && k < d->K; k++)
    for (int64_t i = c * VEC; i < (c + 1) * VEC && i < d->C; i++)
      for (int64_t t = 0; t < taps; t++)
        dw[(k * d->C + i) * taps + t] = tiles[(t * VEC + i % VEC) * kv * VEC + k - k0 * VEC];
}

// First block of dy of group g: groups differ by one block at most, so that none is left with a single one.
static int64_t group_start(const state *s, int64_t g) {
  int64_t blocks = s->n_k, n = s->n_groups;
  return g * (blocks / n) + (g < blocks % n ? g : blocks % n);
}

static ig_status run(const ig_launch *l) {
  const state *s = l->state;
  const float *x = l->in[0], *dy = l->in[1];
  float *workspace = l->workspace;
  *(float *)l->out[1] = 0;
#pragma omp parallel for collapse(2) schedule(dynamic, 1) num_threads(l->device->caps.threads)
  for (int64_t g = 0; g < s->n_groups; g++)
    for (int64_t c = 0; c < s->n_c; c++) {
      int64_t k0 = group_start(s, g);
      task(s, x, dy, l->out[0], k0, (int)(group_start(s, g + 1) - k0), c,
           workspace + (size_t)omp_get_thread_num() * s->tile_floats * (size_t)s->n_shards);
    }
  return IG_OK;
}

static ig_status prepare(ig_prepare *p) {
  state *s;
  IG_TRY(ig_alloc(sizeof *s, "weight gradient", &s));
  const ig_conv2d_dims d = ig_conv2d_dims_of(p->node);
  int64_t shards = p->deterministic ? p->shards : DEFAULT_SHARDS;
  s->d = d;
  s->n_k = (d.K + VEC - 1) / VEC;
  s->n_c = (d.C + VEC - 1) / VEC;
  s->n_groups = (s->n_k + VECTORS - 1) / VECTORS;
  s->n_shards = shards < d.N ? shards : d.N;
  s->block_rows = ROW_BYTES / ((d.Q * VECTORS + d.W * d.stride_h) * VEC * (int64_t)sizeof(float));
  s->block_rows = s->block_rows < 1 ? 1 : s->block_rows;
  s->tile_floats = (size_t)(d.R * d.S * VEC * VECTORS * VEC);
  p->in_layout[0] = p->in_layout[1] = IG_BLOCKED_C(VEC);
  p->out_layout[0] = p->out_layout[1] = IG_PLAIN;
  p->workspace_bytes = (size_t)p->device->caps.threads * (size_t)s->n_shards * s->tile_floats * sizeof(float);
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
