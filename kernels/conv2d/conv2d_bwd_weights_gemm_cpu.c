// The weight gradient as matrix products in own vector code, for fp32 in channel blocks as wide as a vector. A tile is
// some blocks of input channels under all taps by some groups of output channels. A task owns a tile and walks the
// batch in chunks of positions, whose x (as each tap reads it) and dy it packs, or finds lying side by side, so that
// both stay in the second-level cache while their products are added to the tile. Strided pointwise kernels and small
// pictures have x written out beforehand, as the taps read it: packed once for all tasks. Rule: chunks are cut by the
// shape alone and a tile's sums are kept apart by shard of the batch and added in a binary tree, so that neither
// threads nor ranks change a bit.
#include <omp.h>
#include <string.h>

#include "kernels/conv2d/conv2d.h"
#include "kernels/kernels.h"

#if defined(IG_ISA_avx512)
enum { VEC = 16, CHANNELS = 8 };  // lanes of a vector; input channels whose sums are in registers at once
#else
enum { VEC = 8, CHANNELS = 4 };
#endif
enum {
  VECTORS = 3,              // of output channels, likewise
  CHUNK = 128,              // positions
  TASK_BYTES = 512 * 1024,  // of a tile and a chunk: they stay in the second-level cache
  COPY_CYCLES = 3           // of a vector that is packed; a product of two vectors takes half a cycle
};
typedef float vec __attribute__((vector_size(VEC * sizeof(float)), aligned(4), may_alias));

typedef struct state {
  ig_conv2d_dims d;
  bool direct, unfolded;      // x and dy are read where they lie; x as all taps read it, written out beforehand
  int64_t x_plane, x_sample;  // of what tasks read, in floats: from one block of rows, one sample to the next
  size_t unfolded_floats;
  int64_t n_c, n_k, taps;          // channel blocks of x and dy
  int64_t n_groups;                // of up to VECTORS blocks of dy
  int64_t c_per_task, g_per_task;  // tiles of a task
  int64_t n_shards, levels;        // levels: of the tree over shards, kept at once
  size_t tile_floats, task_floats;
} state;

// First block of dy of group g: groups differ by one block at most, so that none is left with a single one.
static int64_t group_start(const state *s, int64_t g) {
  return g * (s->n_k / s->n_groups) + (g < s->n_k % s->n_groups ? g : s->n_k % s->n_groups);
}
static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// ---- packing: positions [first, first + n) of the batch, a vector each ----
// Vectors dy[first..], samples `sample` floats apart.
static void pack_dy(const state *s, const float *dy, int64_t sample, int64_t first, int64_t n, float *to) {
  const int64_t area = s->d.P * s->d.Q;
  while (n > 0) {
    const int64_t at = first % area, run = least(n, area - at);
    memcpy(to, dy + first / area * sample + at * VEC, (size_t)(run * VEC) * sizeof(float));
    to += run * VEC, first += run, n -= run;
  }
}

// What tap (r, c) reads there; zero outside of x.
static void pack_x(const state *s, const float *x, int64_t sample, int64_t r, int64_t c, int64_t first, int64_t n,
                   float *to) {
  const ig_conv2d_dims *d = &s->d;
  const int64_t area = d->P * d->Q;
  while (n > 0) {
    const int64_t p = first % area / d->Q, q = first % d->Q, run = least(n, d->Q - q);
    const int64_t h = p * d->stride_h + r * d->dilation_h - d->pad_top;
    const int64_t w = q * d->stride_w + c * d->dilation_w - d->pad_left;
    // Of the run, [i0, i1) lies inside of x.
    int64_t i0 = w < 0 ? ceil_div(-w, d->stride_w) : 0, i1 = w < d->W ? (d->W - 1 - w) / d->stride_w + 1 : 0;
    i1 = h < 0 || h >= d->H ? 0 : least(i1, run);
    i0 = least(i0, i1);
    const float *from = x + first / area * sample + (h * d->W + w) * VEC;
    memset(to, 0, (size_t)(i0 * VEC) * sizeof(float));
    if (d->stride_w == 1)
      memcpy(to + i0 * VEC, from + i0 * VEC, (size_t)((i1 - i0) * VEC) * sizeof(float));
    else
      for (int64_t i = i0; i < i1; i++)
        *(vec *)(to + i * VEC) = *(const vec *)(from + i * d->stride_w * VEC);
    memset(to + i1 * VEC, 0, (size_t)((run - i1) * VEC) * sizeof(float));
    to += run * VEC, first += run, n -= run;
  }
}

// ---- products ----
// Positions whose vectors lie in `rows` runs of n: x [channel block (and tap)][row][n], dy [channel block][row][n], and
// in floats the way from one to the next.
typedef struct chunk {
  const float *x, *dy;
  int64_t rows, n;
  int64_t x_block, x_row, dy_block, dy_row;
} chunk;

// Vectors that the next chunk will read, in rows as this one's.
typedef struct later {
  const float *from;
  int64_t row;
} later;

// tile[i][j] += sum over the positions of x[.][i] dy[j][.]: CHANNELS x kv sums in registers. Meanwhile as many vectors
// of `next` come to the second-level cache.
static inline __attribute__((always_inline)) void multiply(const chunk *t, const float *x, const float *dy,
                                                           const later *next, float *restrict tile, const int kv) {
  vec acc[CHANNELS][VECTORS];
#pragma GCC unroll 8
  for (int i = 0; i < CHANNELS; i++)
#pragma GCC unroll 3
    for (int j = 0; j < kv; j++)
      acc[i][j] = (vec){0};
  for (int64_t r = 0; r < t->rows; r++) {
    const float *a = x + r * t->x_row, *b = dy + r * t->dy_row, *soon = next->from + r * next->row;
    for (int64_t p = 0; p < t->n; p++, a += VEC, b += VEC, soon += VEC) {
      vec v[VECTORS];
      __builtin_prefetch(soon, 0, 2);
#pragma GCC unroll 3
      for (int j = 0; j < kv; j++)
        v[j] = *(const vec *)(b + j * t->dy_block);
#pragma GCC unroll 8
      for (int i = 0; i < CHANNELS; i++)
#pragma GCC unroll 3
        for (int j = 0; j < kv; j++)
          acc[i][j] += v[j] * a[i];
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < CHANNELS; i++)
#pragma GCC unroll 3
    for (int j = 0; j < kv; j++)
      *(vec *)(tile + (i * kv + j) * VEC) += acc[i][j];
}
typedef void multiply_fn(const chunk *, const float *, const float *, const later *, float *);
static void multiply_1(const chunk *t, const float *x, const float *dy, const later *next, float *tile) {
  multiply(t, x, dy, next, tile, 1);
}
static void multiply_2(const chunk *t, const float *x, const float *dy, const later *next, float *tile) {
  multiply(t, x, dy, next, tile, 2);
}
static void multiply_3(const chunk *t, const float *x, const float *dy, const later *next, float *tile) {
  multiply(t, x, dy, next, tile, 3);
}

// ---- tasks: groups [g0, g1) by input blocks [c0, c1) ----
typedef struct task {
  int64_t g0, g1, c0, c1;
} task;

// Adds a chunk to the tile [group][channel block][tap][VEC][kv][VEC]. The next one reads x and dy from next_x and
// next_dy on: of x about, since rows may be cut and strided.
static void add_chunk(const state *s, const task *t, const chunk *of, const float *next_x, const float *next_dy,
                      float *tile) {
  static multiply_fn *const with[] = {multiply_1, multiply_2, multiply_3};
  const int64_t dy_plane = s->d.P * s->d.Q * VEC, per_block = s->direct ? 1 : s->taps;
  const int64_t rows = (t->c1 - t->c0) * s->taps, k0 = group_start(s, t->g0), k1 = group_start(s, t->g1);
  int64_t call = 0;
  for (int64_t g = t->g0; g < t->g1; g++) {
    const int64_t k = group_start(s, g) - k0, kv = group_start(s, g + 1) - k0 - k;
    for (int64_t i = 0; i < rows * VEC; i += CHANNELS, tile += CHANNELS * kv * VEC, call++) {
      const float *x = of->x + i / VEC * of->x_block + i % VEC;
      later next = {x, 0};
      if (call < rows)
        next = (later){next_x + call / per_block * s->x_plane + call % per_block * CHUNK * VEC, s->x_sample};
      else if (call - rows < k1 - k0)
        next = (later){next_dy + (call - rows) * dy_plane, s->n_k * dy_plane};
      with[kv - 1](of, x, of->dy + k * of->dy_block, &next, tile);
    }
  }
}

// Samples [n0, n1).
static void add_samples(const state *s, const task *t, const float *x, const float *dy, int64_t n0, int64_t n1,
                        float *packed, float *tile) {
  const ig_conv2d_dims *d = &s->d;
  const int64_t dy_plane = d->P * d->Q * VEC, dy_sample = s->n_k * dy_plane, area = d->P * d->Q;
  const int64_t rows = (t->c1 - t->c0) * s->taps, k0 = group_start(s, t->g0), n_k = group_start(s, t->g1) - k0;
  x += t->c0 * (s->direct ? s->taps : 1) * s->x_plane;
  dy += k0 * dy_plane;
  if (s->direct) {
    const int64_t cuts = ceil_div(area, CHUNK), samples = most(CHUNK / area, 1);
    chunk c = {.x_block = s->x_plane, .x_row = s->x_sample, .dy_block = dy_plane, .dy_row = dy_sample};
    for (int64_t n = n0; n < n1; n += samples)
      for (int64_t i = 0; i < cuts; i++) {
        const int64_t first = i * area / cuts, end = (i + 1) * area / cuts;
        const int64_t next = i + 1 < cuts ? n : n + samples, at = i + 1 < cuts ? end : 0;
        c.x = x + n * s->x_sample + first * VEC;
        c.dy = dy + n * dy_sample + first * VEC;
        c.rows = least(samples, n1 - n);
        c.n = end - first;
        add_chunk(s, t, &c, x + next * s->x_sample + at * VEC, dy + next * dy_sample + at * VEC, tile);
      }
    return;
  }
  chunk c = {
      .x = packed, .dy = packed + rows * CHUNK * VEC, .rows = 1, .x_block = CHUNK * VEC, .dy_block = CHUNK * VEC};
  for (int64_t first = n0 * area, end = n1 * area; first < end; first += CHUNK) {
    c.n = least(CHUNK, end - first);
    for (int64_t i = 0; i < rows; i++)
      pack_x(s, x + i / s->taps * s->x_plane, s->x_sample, i % s->taps / d->S, i % d->S, first, c.n,
             packed + i * CHUNK * VEC);
    for (int64_t k = 0; k < n_k; k++)
      pack_dy(s, dy + k * dy_plane, dy_sample, first, c.n, packed + (rows + k) * CHUNK * VEC);
    const int64_t n = (first + CHUNK) / area, p = (first + CHUNK) % area / d->Q, q = (first + CHUNK) % d->Q;
    add_chunk(s, t, &c, x + n * s->x_sample + (p * d->stride_h * d->W + q * d->stride_w) * VEC,
              dy + n * dy_sample + (p * d->Q + q) * VEC, tile);
  }
}

static void write_tile(const state *s, const task *t, const float *tile, float *dw) {
  const int64_t C = s->d.C, rows = (t->c1 - t->c0) * s->taps;
  for (int64_t g = t->g0; g < t->g1; g++) {
    const int64_t k0 = group_start(s, g), kv = group_start(s, g + 1) - k0;
    for (int64_t i = 0; i < rows; i++, tile += VEC * kv * VEC)
      for (int64_t j = 0; j < kv; j++) {
        const int64_t c0 = (t->c0 + i / s->taps) * VEC, n_c = least(C - c0, VEC), n_k = s->d.K - (k0 + j) * VEC;
        float square[VEC][VEC], *to = dw + ((k0 + j) * VEC * C + c0) * s->taps + i % s->taps;
        for (int64_t c = 0; c < VEC; c++)
          *(vec *)square[c] = *(const vec *)(tile + (c * kv + j) * VEC);
        for (int64_t k = 0; k < VEC && k < n_k; k++)
          for (int64_t c = 0; c < n_c; c++)
            to[(k * C + c) * s->taps] = square[c][k];
      }
  }
}

static void add_tile(float *restrict to, const float *restrict from, size_t n) {
  for (size_t i = 0; i < n; i++)
    to[i] += from[i];
}

// The sums of shards wait on a stack; two neighbours of equal weight become one, as in a binary counter.
static void run_task(const state *s, const task *t, const float *x, const float *dy, float *dw, float *workspace) {
  const size_t floats =
      (size_t)((group_start(s, t->g1) - group_start(s, t->g0)) * (t->c1 - t->c0) * s->taps) * VEC * VEC;
  float *tiles = workspace, *packed = tiles + (size_t)s->levels * s->tile_floats;
  size_t top = 0;
  for (int64_t i = 0; i < s->n_shards; i++) {
    memset(tiles + top * floats, 0, floats * sizeof(float));
    add_samples(s, t, x, dy, i * s->d.N / s->n_shards, (i + 1) * s->d.N / s->n_shards, packed, tiles + top * floats);
    top++;
    for (int64_t j = i + 1; top > 1 && (j % 2 == 0 || i + 1 == s->n_shards); j /= 2, top--)
      add_tile(tiles + (top - 2) * floats, tiles + (top - 1) * floats, floats);
  }
  write_tile(s, t, tiles, dw);
}

static ig_status run(const ig_launch *l) {
  const state *s = l->state;
  const ig_conv2d_dims *d = &s->d;
  const float *x = l->in[0];
  float *unfolded = l->workspace, *workspace = unfolded + s->unfolded_floats;
  *(float *)l->out[1] = 0;
  if (s->unfolded) {
    const int64_t plane = d->H * d->W * VEC, area = d->P * d->Q;
#pragma omp parallel for collapse(2) schedule(static) num_threads(l->device->caps.threads)
    for (int64_t n = 0; n < d->N; n++)
      for (int64_t i = 0; i < s->n_c * s->taps; i++)
        pack_x(s, x + i / s->taps * plane, s->n_c * plane, i % s->taps / d->S, i % d->S, n * area, area,
               unfolded + n * s->x_sample + i * s->x_plane);
    x = unfolded;
  }
#pragma omp parallel for collapse(2) schedule(dynamic, 1) num_threads(l->device->caps.threads)
  for (int64_t g = 0; g < s->n_groups; g += s->g_per_task)
    for (int64_t c = 0; c < s->n_c; c += s->c_per_task) {
      const task t = {g, least(g + s->g_per_task, s->n_groups), c, least(c + s->c_per_task, s->n_c)};
      run_task(s, &t, x, l->in[1], l->out[0], workspace + (size_t)omp_get_thread_num() * s->task_floats);
    }
  return IG_OK;
}

// ---- preparation ----
// Larger tiles pack less for each product; the last threads to finish wait for nobody where tasks divide evenly.
static void choose_tasks(state *s, int threads) {
  int64_t best = INT64_MAX;
  for (int64_t g = 1; g <= s->n_groups; g++)
    for (int64_t c = 1; c <= s->n_c; c++) {
      const int64_t vectors = least(g * VECTORS, s->n_k), rows = c * s->taps;
      const int64_t tile = rows * vectors * VEC * VEC, packed = (rows + vectors) * CHUNK * VEC;
      if (g * c > 1 && (s->levels * tile + packed) * (int64_t)sizeof(float) > TASK_BYTES)
        continue;
      const int64_t tasks = ceil_div(s->n_c, c) * ceil_div(s->n_groups, g);
      const int64_t cycles = ceil_div(tasks, threads) * (rows * VEC * vectors / 2 + COPY_CYCLES * (rows + vectors));
      if (cycles < best) {
        best = cycles;
        s->g_per_task = g, s->c_per_task = c;
        s->tile_floats = (size_t)tile;
        s->task_floats = (size_t)(s->levels * tile + packed);
      }
    }
}

static ig_status prepare(ig_prepare *p) {
  state *s;
  IG_TRY(ig_alloc(sizeof *s, "weight gradient", &s));
  const ig_conv2d_dims d = ig_conv2d_dims_of(p->node);
  s->taps = d.R * d.S;
  s->d = d;
  s->n_c = ceil_div(d.C, VEC);
  const bool pointwise = s->taps == 1 && d.P == d.H && d.Q == d.W && !d.pad_top && !d.pad_left;
  const int64_t rows = s->n_c * s->taps, area = d.P * d.Q;
  s->unfolded = !pointwise && (s->taps == 1 || area <= CHUNK);
  s->unfolded_floats = s->unfolded ? (size_t)(d.N * rows * area * VEC) : 0;
  s->direct = pointwise || s->unfolded;
  s->x_plane = (s->unfolded ? area : d.H * d.W) * VEC;
  s->x_sample = (s->unfolded ? rows : s->n_c) * s->x_plane;
  s->n_k = ceil_div(d.K, VEC);
  s->n_groups = ceil_div(s->n_k, VECTORS);
  s->n_shards = p->deterministic ? least(p->shards, d.N) : 1;
  for (int64_t i = s->n_shards; i > 0; i /= 2)
    s->levels++;
  p->in_layout[0] = p->in_layout[1] = IG_BLOCKED_C(VEC);
  p->out_layout[0] = p->out_layout[1] = IG_PLAIN;
  choose_tasks(s, p->device->caps.threads);
  p->workspace_bytes = (s->unfolded_floats + (size_t)p->device->caps.threads * s->task_floats) * sizeof(float);
  p->state = s;
  return IG_OK;
}

static bool supports(const ig_node *n, const ig_device_caps *caps, char *why, size_t why_bytes) {
  const ig_conv2d_dims d = ig_conv2d_dims_of(n);
  const char *reason = n->in[0]->dtype != IG_F32                         ? "takes f32"
                       : d.groups != 1                                   ? "takes one group"
                       : ((const ig_conv2d_bwd_attr *)n->attr)->has_bias ? "has no bias gradient"
                       : d.C < VEC || d.K < VEC                          ? "takes channels that fill a vector"
                                                                         : NULL;
  return ig_no_reason(reason, why, why_bytes);
}

IG_IMPLS(conv2d_bwd_weights_gemm_cpu) = {{.name = "conv2d_bwd_weights_gemm_cpu",
                                          .flags = IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE,
                                          .isa = IG_ISA_LEVEL,
                                          .supports = supports,
                                          .prepare = prepare,
                                          .run = run,
                                          .destroy = ig_free},
                                         {0}};
