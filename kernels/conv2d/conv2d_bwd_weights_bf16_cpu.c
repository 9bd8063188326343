// The weight gradient in bf16 by products of pairs (vdpbf16ps) with fp32 sums. A pair is the same pixel of two
// neighbouring samples: both operands are packed so once a chunk of the batch, and every tap, stride and padding reads
// them without a shift. Few input channels (a network's first convolution) are taken together with the taps of a row,
// as one kernel column of that many channels. Sums of a block of input channels by up to three vectors of output
// channels under all taps belong to one task, which walks the chunk by blocks of rows and writes the gradient in the
// public layout. Rule: a tile's sums are kept apart by shard of the batch, run over pairs and rows in their order, and
// are added in a binary tree, whatever thread they fall to, so that neither threads nor ranks change a bit.
#include <omp.h>
#include <string.h>

#include "kernels/conv2d/conv2d_products_bf16.h"
#include "kernels/kernels.h"

enum {
  PART_BYTES = 400 << 10,  // of a strip of packed x and dy in one thread: they stay in the second-level cache
  PART_SUMS = 600 << 10,   // bytes of a gradient up to which each part of the batch has sums of its own
  ALL_SUMS = 1 << 20,      // bytes of the sums of all parts, where there are more than LEAST_PARTS
  LEAST_PARTS = 8,
  CHUNK_BYTES = 4 << 20,     // of packed x and dy in all threads: they stay in the last-level cache
  BLOCK_BYTES = 28 << 10,    // of packed rows that a task reads again and again: they stay in the first-level cache
  MOST_TILE_FLOATS = 32768,  // of a task: its sums stay in the second-level cache
  TASKS_PER_THREAD = 3
};

// Two samples that are read together; the second one may be missing.
typedef struct pair {
  int64_t sample, shard;
  bool both;
} pair;

typedef struct state {
  ig_conv2d_dims d;            // of kernels with one tap: as if x had only the pixels that are read
  ig_conv2d_dims whole;        // as the node has them
  bool few;                    // taps of a row as channels: x is plain
  int rows;                    // input channels whose sums are in registers at once: 8, or 7 where that fits better
  int64_t lanes;               // of a block of x that are used
  int64_t n_k, n_c, n_groups;  // channel blocks of dy and x; groups of up to BF16_VECTORS blocks of dy
  int64_t c_per_task, g_per_task;
  int64_t n_shards, n_pairs, strips_per_pair, n_strips, per_chunk;
  int64_t n_parts;                         // 0: by pieces
  int64_t strip_rows, x_rows, block_rows;  // of dy in a strip, of x in a strip at most, of dy in a block
  size_t x_strip, dy_strip;                // packed pairs of a strip of one channel block
  size_t tile_floats;                      // of one shard, at most
  pair pairs[];
} state;

// ---- packing ----
// n pixels `step` elements apart.
static void pack(const uint16_t *a, const uint16_t *b, int64_t n, int64_t step, uint32_t *to) {
  const __m512i zero = _mm512_setzero_si512(), low = bf16_pair_index(0), high = bf16_pair_index(16);
  int64_t i = 0;
  for (; step == BF16_VEC && i + 2 <= n; i += 2, to += 2 * BF16_VEC) {
    __m512i first = _mm512_loadu_si512(a + i * step), second = b ? _mm512_loadu_si512(b + i * step) : zero;
    _mm512_storeu_si512(to, _mm512_permutex2var_epi16(first, low, second));
    _mm512_storeu_si512(to + BF16_VEC, _mm512_permutex2var_epi16(first, high, second));
  }
  for (; i < n; i++, to += BF16_VEC) {
    __m512i first = _mm512_castsi256_si512(_mm256_loadu_si256((const void *)(a + i * step)));
    __m512i second = b ? _mm512_castsi256_si512(_mm256_loadu_si256((const void *)(b + i * step))) : zero;
    _mm512_storeu_si512(to, _mm512_permutex2var_epi16(first, low, second));
  }
}

// Positions [*first, *end) of `length` whose tap reads inside of [0, in).
static void inside(int64_t in, int64_t length, int64_t stride, int64_t offset, int64_t *first, int64_t *end) {
  *first = offset < 0 ? (-offset + stride - 1) / stride : 0;
  *end = in - offset <= 0 ? 0 : (in - offset - 1) / stride + 1;
  *end = *end < length ? *end : length;
}

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

typedef struct strip {
  pair of;
  int64_t p0, p1, h0, h1;  // rows of dy, and those of x that they read
} strip;

static strip strip_at(const state *s, int64_t i) {
  const ig_conv2d_dims *d = &s->d;
  strip t = {.of = s->pairs[i / s->strips_per_pair], .p0 = i % s->strips_per_pair * s->strip_rows};
  t.p1 = least(t.p0 + s->strip_rows, d->P);
  t.h0 = most(t.p0 * d->stride_h - d->pad_top, 0);
  t.h1 = least((t.p1 - 1) * d->stride_h + (d->R - 1) * d->dilation_h - d->pad_top + 1, d->H);
  return t;
}

// Strips [*first, *end) of a part; parts never cross a shard.
static void strips_of_part(const state *s, int64_t part, int64_t *first, int64_t *end) {
  const int64_t per_shard = s->n_parts / s->n_shards, shard = part / per_shard, i = part % per_shard;
  int64_t from = 0, to;
  while (s->pairs[from].shard < shard)
    from++;
  for (to = from; to < s->n_pairs && s->pairs[to].shard == shard;)
    to++;
  const int64_t strips = (to - from) * s->strips_per_pair;
  *first = from * s->strips_per_pair + i * strips / per_shard;
  *end = from * s->strips_per_pair + (i + 1) * strips / per_shard;
}

// Block c of the channels of rows of taps: each is a run of a plain row of x, zero outside.
static void pack_runs(const state *s, const strip *t, const uint16_t *x, int64_t c, uint32_t *to) {
  const ig_conv2d_dims *e = &s->whole;
  const int64_t row = e->W * e->C, next = t->of.both ? e->H * row : 0, step = e->stride_w * e->C;
  const __m512i low = bf16_pair_index(0);
  for (int64_t h = t->h0; h < t->h1; h++) {
    const uint16_t *from = x + (t->of.sample * e->H + h) * row;
    for (int64_t q = 0, at = c * s->lanes - e->pad_left * e->C; q < e->Q; q++, at += step, to += BF16_VEC) {
      __mmask16 mask = 0xffff;
      if (at < 0 || at + BF16_VEC > row)
        mask = (__mmask16)(((1u << most(least(row - at, BF16_VEC), 0)) - 1) &
                           ~((1u << least(most(-at, 0), BF16_VEC)) - 1));
      const __m512i first = _mm512_castsi256_si512(_mm256_maskz_loadu_epi16(mask, from + at));
      const __m512i second = _mm512_castsi256_si512(_mm256_maskz_loadu_epi16(t->of.both ? mask : 0, from + at + next));
      _mm512_storeu_si512(to, _mm512_permutex2var_epi16(first, low, second));
    }
  }
}

static void pack_x(const state *s, const strip *t, const uint16_t *x, int64_t c, uint32_t *to) {
  const ig_conv2d_dims *d = &s->d, *e = &s->whole;
  if (s->few) {
    pack_runs(s, t, x, c, to);
    return;
  }
  const int64_t plane = e->H * e->W * BF16_VEC, next = s->n_c * plane;
  const uint16_t *a = x + t->of.sample * next + c * plane;
  if (d->R * d->S > 1) {
    if (t->h1 > t->h0)
      pack(a + t->h0 * d->W * BF16_VEC, t->of.both ? a + next + t->h0 * d->W * BF16_VEC : NULL, (t->h1 - t->h0) * d->W,
           BF16_VEC, to);
    return;
  }
  int64_t q0, q1;
  inside(e->W, e->Q, e->stride_w, -e->pad_left, &q0, &q1);
  for (int64_t p = t->p0; p < t->p1; p++, to += d->W * BF16_VEC) {
    int64_t h = p * e->stride_h - e->pad_top;
    int64_t n = h < 0 || h >= e->H ? 0 : most(q1 - q0, 0);
    if (n < d->W)
      memset(to, 0, (size_t)d->W * BF16_VEC * sizeof *to);
    int64_t at = (h * e->W + q0 * e->stride_w - e->pad_left) * BF16_VEC;
    if (n > 0)
      pack(a + at, t->of.both ? a + next + at : NULL, n, e->stride_w * BF16_VEC, to + q0 * BF16_VEC);
  }
}

static void pack_dy(const state *s, const strip *t, const uint16_t *dy, int64_t k, uint32_t *to) {
  const int64_t plane = s->d.P * s->d.Q * BF16_VEC, next = s->n_k * plane;
  const uint16_t *a = dy + t->of.sample * next + k * plane + t->p0 * s->d.Q * BF16_VEC;
  pack(a, t->of.both ? a + next : NULL, (t->p1 - t->p0) * s->d.Q, BF16_VEC, to);
}

// ---- products ----
// What is packed next, to be fetched meanwhile: each window fetches a row block of one sample and channel block.
typedef struct raw {
  const uint16_t *x, *dy;
  bool any;
  strip of;
} raw;
typedef struct segment {
  const raw *of;
  int64_t n, offset;  // of segments handed out; pixels from the strip's first one
} segment;

static const char *next_segment(const state *s, segment *g) {
  const ig_conv2d_dims *d = &s->whole;
  const int64_t i = g->n++, b = i / 2, sample = g->of->of.of.sample + i % 2;
  if (!g->of->any || b >= s->n_c + s->n_k || (s->few && b < s->n_c) || (i % 2 && !g->of->of.of.both))
    return NULL;
  if (b >= s->n_c)
    return (const char *)(g->of->dy +
                          ((sample * s->n_k + b - s->n_c) * d->P * d->Q + g->of->of.p0 * d->Q + g->offset) * BF16_VEC);
  return (const char *)(g->of->x + ((sample * s->n_c + b) * d->H * d->W +
                                    (g->of->of.h0 * d->W + g->offset) * d->stride_h * d->stride_w) *
                                       BF16_VEC);
}

// Rows [p_first, p_end) of a strip under all taps of one block of x, into its sums [R][S][BF16_VEC][kv][BF16_VEC].
static void add_rows(const state *s, const strip *t, const uint32_t *x, const uint32_t *dy, size_t dy_block,
                     int64_t p_first, int64_t p_end, int64_t lanes, int kv, segment *next, float *sums) {
  const ig_conv2d_dims *d = &s->d;
  for (int64_t r = 0; r < d->R; r++) {
    int64_t p0, p1, h = r * d->dilation_h - d->pad_top;
    inside(d->H, d->P, d->stride_h, h, &p0, &p1);
    p0 = most(p0, p_first);
    p1 = least(p1, p_end);
    for (int64_t v = 0; v < d->S && p0 < p1; v++) {
      int64_t q0, q1, at = v * d->dilation_w - d->pad_left;
      inside(d->W, d->Q, d->stride_w, at, &q0, &q1);
      if (q0 >= q1)
        continue;
      bf16_window w = {.rows = p1 - p0,
                       .n = q1 - q0,
                       .x_row = d->stride_h * d->W * BF16_VEC,
                       .x_step = d->stride_w * BF16_VEC,
                       .dy_row = d->Q * BF16_VEC,
                       .dy_block = (int64_t)dy_block};
      if (w.n == d->Q && w.x_row == w.n * w.x_step) {
        w.n *= w.rows;
        w.rows = 1;
      }
      const uint32_t *from = x + ((p0 * d->stride_h + h - t->h0) * d->W + q0 * d->stride_w + at) * BF16_VEC;
      float *to = sums + (r * d->S + v) * BF16_VEC * kv * BF16_VEC;
      for (int64_t c = 0; c < lanes; c += s->rows) {
        w.ahead = next_segment(s, next);
        bf16_add_window(&w, from + c, dy + ((p0 - t->p0) * d->Q + q0) * BF16_VEC, to + c * kv * BF16_VEC, kv, s->rows);
      }
    }
  }
}

// ---- results ----
// A piece of the gradient: groups [g0, g1) by input blocks [c0, c1).
typedef struct piece {
  int64_t g0, g1, c0, c1;
} piece;

static size_t piece_floats(const state *s, const piece *t) {
  return (size_t)((t->g1 - t->g0) * (t->c1 - t->c0)) * s->tile_floats;
}

// Strip i, packed at x and dy (channel blocks x_block and dy_block apart), into the tiles of a piece.
static void add_strip(const state *s, int64_t i, const raw *ahead, const uint32_t *x, size_t x_block,
                      const uint32_t *dy, size_t dy_block, const piece *of, float *tiles) {
  const strip t = strip_at(s, i);
  for (int64_t p = t.p0; p < t.p1; p += s->block_rows) {
    const int64_t end = least(p + s->block_rows, t.p1);
    float *tile = tiles;
    segment next = {.of = ahead, .offset = (p - t.p0) * s->d.Q};
    for (int64_t g = of->g0; g < of->g1; g++) {
      const int64_t k0 = bf16_group(s->n_k, s->n_groups, g);
      for (int64_t c = of->c0; c < of->c1; c++, tile += s->tile_floats)
        add_rows(s, &t, x + (size_t)c * x_block, dy + (size_t)k0 * dy_block, dy_block, p, end,
                 least(s->d.C - c * s->lanes, s->lanes), (int)(bf16_group(s->n_k, s->n_groups, g + 1) - k0), &next,
                 tile);
    }
  }
}

// Blocks [k0, k0 + kv) by block c of the channels of rows of taps.
static void write_runs(const state *s, const float *tile, int64_t k0, int kv, int64_t c, float *dw) {
  const ig_conv2d_dims *e = &s->whole;
  for (int64_t j = c * s->lanes; j < (c + 1) * s->lanes && j < s->d.C; j++)
    for (int64_t r = 0; r < e->R; r++)
      for (int64_t k = k0 * BF16_VEC; k < (k0 + kv) * BF16_VEC && k < e->K; k++)
        dw[((k * e->C + j % e->C) * e->R + r) * e->S + j / e->C] =
            tile[(r * BF16_VEC + j % s->lanes) * kv * BF16_VEC + k - k0 * BF16_VEC];
}

// The sums of n parts, `floats` apart, added and written.
static void finish(const state *s, const piece *of, float *tiles, size_t floats, int64_t n, float *dw) {
  const size_t own = piece_floats(s, of);
  for (int64_t step = 1; step < n; step *= 2)
    for (int64_t i = 0; i + step < n; i += 2 * step)
      for (size_t j = 0; j < own; j++)
        tiles[(size_t)i * floats + j] += tiles[(size_t)(i + step) * floats + j];
  for (int64_t g = of->g0; g < of->g1; g++) {
    const int64_t k0 = bf16_group(s->n_k, s->n_groups, g);
    const int kv = (int)(bf16_group(s->n_k, s->n_groups, g + 1) - k0);
    for (int64_t c = of->c0; c < of->c1; c++, tiles += s->tile_floats)
      if (s->few)
        write_runs(s, tiles, k0, kv, c, dw);
      else
        bf16_write_tile(&s->d, tiles, k0, kv, c, dw);
  }
}

// Each part of the batch by one thread, packed strip by strip in its own cache, into sums of its own.
static void run_by_parts(const state *s, const uint16_t *x, const uint16_t *dy, float *dw, char *workspace,
                         int threads) {
  const piece all = {0, s->n_groups, 0, s->n_c};
  const size_t floats = piece_floats(s, &all), own = (size_t)s->n_c * s->x_strip + (size_t)s->n_k * s->dy_strip;
  float *sums = (float *)workspace;
  uint32_t *packed = (uint32_t *)(sums + (size_t)s->n_parts * floats);
#pragma omp parallel num_threads(threads)
  {
    uint32_t *px = packed + (size_t)omp_get_thread_num() * own, *pdy = px + (size_t)s->n_c * s->x_strip;
#pragma omp for schedule(dynamic, 1)
    for (int64_t part = 0; part < s->n_parts; part++) {
      int64_t first, end;
      strips_of_part(s, part, &first, &end);
      memset(sums + (size_t)part * floats, 0, floats * sizeof *sums);
      for (int64_t i = first; i < end; i++) {
        const strip t = strip_at(s, i);
        for (int64_t c = 0; c < s->n_c; c++)
          pack_x(s, &t, x, c, px + (size_t)c * s->x_strip);
        for (int64_t k = 0; k < s->n_k; k++)
          pack_dy(s, &t, dy, k, pdy + (size_t)k * s->dy_strip);
        const raw ahead = {x, dy, i + 1 < end, i + 1 < end ? strip_at(s, i + 1) : t};
        add_strip(s, i, &ahead, px, s->x_strip, pdy, s->dy_strip, &all, sums + (size_t)part * floats);
      }
    }
#pragma omp for collapse(2) schedule(static)
    for (int64_t g = 0; g < s->n_groups; g++)
      for (int64_t c = 0; c < s->n_c; c++) {
        const piece one = {g, g + 1, c, c + 1};
        finish(s, &one, sums + (size_t)(g * s->n_c + c) * s->tile_floats, floats, s->n_parts, dw);
      }
  }
}

static piece piece_at(const state *s, int64_t task) {
  const int64_t n_c = bf16_ceil(s->n_c, s->c_per_task);
  const int64_t g = task / n_c * s->g_per_task, c = task % n_c * s->c_per_task;
  return (piece){g, least(g + s->g_per_task, s->n_groups), c, least(c + s->c_per_task, s->n_c)};
}
static int64_t n_pieces(const state *s) {
  return bf16_ceil(s->n_groups, s->g_per_task) * bf16_ceil(s->n_c, s->c_per_task);
}
static size_t task_floats(const state *s) {
  return (size_t)(s->n_shards * s->c_per_task * s->g_per_task) * s->tile_floats;
}

// The batch in chunks that all threads pack; each task owns a piece of the gradient.
static void run_by_pieces(const state *s, const uint16_t *x, const uint16_t *dy, float *dw, char *workspace,
                          int threads) {
  const bool one_chunk = s->per_chunk >= s->n_strips;
  const size_t per_chunk = (size_t)s->per_chunk;
  float *sums = (float *)workspace;
  uint32_t *px = (uint32_t *)(sums + (size_t)(one_chunk ? threads : n_pieces(s)) * task_floats(s));
  uint32_t *pdy = px + (size_t)s->n_c * per_chunk * s->x_strip;
#pragma omp parallel num_threads(threads)
  for (int64_t first = 0; first < s->n_strips; first += s->per_chunk) {
    const int64_t end = least(first + s->per_chunk, s->n_strips);
#pragma omp for collapse(2) schedule(static)
    for (int64_t b = 0; b < s->n_c + s->n_k; b++)
      for (int64_t i = first; i < end; i++) {
        const strip t = strip_at(s, i);
        if (b < s->n_c)
          pack_x(s, &t, x, b, px + ((size_t)b * per_chunk + (size_t)(i - first)) * s->x_strip);
        else
          pack_dy(s, &t, dy, b - s->n_c, pdy + ((size_t)(b - s->n_c) * per_chunk + (size_t)(i - first)) * s->dy_strip);
      }
#pragma omp for schedule(dynamic, 1)
    for (int64_t task = 0; task < n_pieces(s); task++) {
      const piece of = piece_at(s, task);
      const size_t floats = piece_floats(s, &of);
      float *tiles = sums + (size_t)(one_chunk ? omp_get_thread_num() : task) * task_floats(s);
      if (first == 0)
        memset(tiles, 0, (size_t)s->n_shards * floats * sizeof *tiles);
      for (int64_t i = first; i < end; i++)
        add_strip(s, i, &(raw){0}, px + (size_t)(i - first) * s->x_strip, per_chunk * s->x_strip,
                  pdy + (size_t)(i - first) * s->dy_strip, per_chunk * s->dy_strip, &of,
                  tiles + (size_t)strip_at(s, i).of.shard * floats);
      if (end == s->n_strips)
        finish(s, &of, tiles, floats, s->n_shards, dw);
    }
  }
}

static ig_status run(const ig_launch *l) {
  const state *s = l->state;
  *(float *)l->out[1] = 0;
  (s->n_parts ? run_by_parts : run_by_pieces)(s, l->in[0], l->in[1], l->out[0], l->workspace, l->device->caps.threads);
  return IG_OK;
}

// Larger tasks read packed rows from farther caches less often; each thread still gets a few of them.
static void choose_tasks(state *s, int threads) {
  s->c_per_task = s->g_per_task = 1;
  for (bool grown = true; grown;) {
    grown = false;
    for (int i = 0; i < 2; i++) {
      int64_t c = s->c_per_task + (i == 0), g = s->g_per_task + (i == 1);
      if (c > s->n_c || g > s->n_groups || (size_t)(c * g) * s->tile_floats > MOST_TILE_FLOATS ||
          bf16_ceil(s->n_c, c) * bf16_ceil(s->n_groups, g) < (int64_t)TASKS_PER_THREAD * threads)
        continue;
      s->c_per_task = c;
      s->g_per_task = g;
      grown = true;
    }
  }
}

static void choose_strips(state *s, int64_t most_bytes) {
  const ig_conv2d_dims *d = &s->d;
  const int64_t pixel = BF16_VEC * (int64_t)sizeof(uint32_t);
  int64_t pair_bytes = (s->n_c * d->H * d->W + s->n_k * d->P * d->Q) * pixel;
  int64_t strips = least(bf16_ceil(pair_bytes, most_bytes), d->P);
  s->strip_rows = bf16_ceil(d->P, strips);
  s->strips_per_pair = bf16_ceil(d->P, s->strip_rows);
  s->x_rows = least((s->strip_rows - 1) * d->stride_h + (d->R - 1) * d->dilation_h + 1, d->H);
  s->n_strips = s->n_pairs * s->strips_per_pair;
  s->x_strip = (size_t)(s->x_rows * d->W * BF16_VEC);
  s->dy_strip = (size_t)(s->strip_rows * d->Q * BF16_VEC);
  int64_t fit = most_bytes / ((s->n_c * s->x_rows * d->W + s->n_k * s->strip_rows * d->Q) * pixel);
  s->per_chunk = bf16_ceil(s->n_strips, bf16_ceil(s->n_strips, most(fit, 1)));
  s->block_rows = most(BLOCK_BYTES / ((d->Q * least(s->n_k, BF16_VECTORS) + d->W * d->stride_h) * pixel), 1);
}

// As many parts as the batch and the memory for their sums allow; by the least shard, so that all have the same.
static void choose_parts(state *s, size_t bytes) {
  const int64_t strips = bf16_ceil(s->d.N / s->n_shards, 2) * s->strips_per_pair;
  s->n_parts = s->n_shards;
  for (int64_t split = 2; split <= strips; split *= 2)
    if (split * s->n_shards <= LEAST_PARTS || (size_t)(split * s->n_shards) * bytes <= ALL_SUMS)
      s->n_parts = split * s->n_shards;
}

static ig_status prepare(ig_prepare *p) {
  state *s;
  const ig_conv2d_dims d = ig_conv2d_dims_of(p->node);
  const int64_t shards = least(p->deterministic ? p->shards : 1, d.N);
  IG_TRY(ig_alloc(sizeof *s + (size_t)d.N * sizeof *s->pairs, "weight gradient", &s));
  s->whole = s->d = d;
  s->few = d.C < BF16_VEC;
  s->rows = s->few && bf16_ceil(d.S * d.C, 7) * 7 < bf16_ceil(d.S * d.C, 8) * 8 ? 7 : 8;
  s->lanes = 2 * s->rows;
  if (s->few) {
    s->d.W = d.Q, s->d.C = d.S * d.C;
    s->d.S = s->d.stride_w = 1;
    s->d.pad_left = s->d.pad_right = 0;
  } else if (d.R * d.S == 1) {
    s->d.H = d.P, s->d.W = d.Q;
    s->d.stride_h = s->d.stride_w = 1;
    s->d.pad_top = s->d.pad_left = s->d.pad_bottom = s->d.pad_right = 0;
  }
  s->n_shards = shards;
  for (int64_t i = 0; i < shards; i++)
    for (int64_t n = i * d.N / shards, end = (i + 1) * d.N / shards; n < end; n += 2)
      s->pairs[s->n_pairs++] = (pair){.sample = n, .shard = i, .both = n + 1 < end};
  s->n_k = bf16_ceil(d.K, BF16_VEC);
  s->n_c = bf16_ceil(s->d.C, s->lanes);
  s->n_groups = bf16_ceil(s->n_k, BF16_VECTORS);
  s->tile_floats = (size_t)(d.R * s->d.S * BF16_VEC * least(s->n_k, BF16_VECTORS) * BF16_VEC);
  const size_t all_floats = (size_t)(s->n_groups * s->n_c) * s->tile_floats;
  const bool by_parts = all_floats * sizeof(float) <= PART_SUMS;
  choose_strips(s, by_parts ? PART_BYTES : CHUNK_BYTES);
  choose_tasks(s, p->device->caps.threads);
  const size_t threads = (size_t)p->device->caps.threads;
  size_t sums = (size_t)(s->per_chunk >= s->n_strips ? (int64_t)threads : n_pieces(s)) * task_floats(s);
  size_t packed = (size_t)s->per_chunk * ((size_t)s->n_c * s->x_strip + (size_t)s->n_k * s->dy_strip);
  if (by_parts) {
    choose_parts(s, all_floats * sizeof(float));
    sums = (size_t)s->n_parts * all_floats;
    packed = threads * ((size_t)s->n_c * s->x_strip + (size_t)s->n_k * s->dy_strip);
  }
  p->workspace_bytes = sums * sizeof(float) + packed * sizeof(uint32_t);
  p->in_layout[0] = s->few ? IG_PLAIN : IG_BLOCKED_C(BF16_VEC);
  p->in_layout[1] = IG_BLOCKED_C(BF16_VEC);
  p->out_layout[0] = p->out_layout[1] = IG_PLAIN;
  p->state = s;
  return IG_OK;
}

static bool supports(const ig_node *n, const ig_device_caps *caps, char *why, size_t why_bytes) {
  const ig_conv2d_dims d = ig_conv2d_dims_of(n);
  const char *reason = n->in[0]->dtype != IG_BF16                        ? "takes bf16"
                       : d.groups != 1                                   ? "takes one group"
                       : ((const ig_conv2d_bwd_attr *)n->attr)->has_bias ? "has no bias gradient"
                       : d.K < BF16_VEC                                  ? "takes output channels that fill a vector"
                       : d.C < BF16_VEC && d.dilation_w != 1 ? "takes no dilation along a row of few channels"
                                                             : NULL;
  return ig_no_reason(reason, why, why_bytes);
}

IG_IMPLS(conv2d_bwd_weights_bf16_cpu) = {{.name = "conv2d_bwd_weights_bf16_cpu",
                                          .flags = IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE,
                                          .isa = IG_ISA_LEVEL,
                                          .supports = supports,
                                          .prepare = prepare,
                                          .run = run,
                                          .destroy = ig_free},
                                         {0}};
