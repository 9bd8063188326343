// The weight gradient of the 3x3 convolution of stride 1 by Winograd's F(4x4,3x3) transposed, in own vector code: x and
// dy are transformed tile by tile, multiplied at each of the 36 points with sums over tiles, and the sums transformed
// back. A task owns the sums of a square of channels; it transforms a chunk of tiles of its own channels and multiplies
// it at once, so that sums and chunk stay in the second-level cache. Others transform the same channels again: that
// costs less than reading them from a cache that is shared. Where the squares are few the tiles are cut into parts,
// too. Rule: sums run over the tiles of a part and over parts in their order, cut by the shape alone, so that threads
// change no bit; they do not follow the shards of the batch, so that a plan in which ranks must change no bit either
// takes another implementation.
#include <omp.h>
#include <string.h>

#include "kernels/conv2d/conv2d_wino.h"

#if defined(IG_ISA_avx512)
enum { ROWS = 8 };  // input channels whose sums are in registers at once
#else
enum { ROWS = 4 };
#endif
enum {
  VECTORS = 2,           // of output channels, likewise
  SIDE = 64 / WINO_VEC,  // channel blocks of x, and of dy, of a task: 590 KB of sums
  CHUNK = 16,            // tiles transformed at once: 295 KB
  LEAST_TASKS = 8,       // where there are fewer squares, their tiles are cut
};

typedef struct state {
  ig_conv2d_dims d;
  wino_tiles tiles;
  int64_t n_c, n_k;          // channel blocks of x and dy
  int64_t c_tasks, k_tasks;  // squares of SIDE by SIDE blocks
  int64_t n_tiles, n_parts, per_part;
  wino_groups v, z;  // of transformed x and dy: a chunk is one group
  size_t v_floats, z_floats, square_floats;
  wino_place places[];
} state;

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

// sums[i][j] (+)= sum over n tiles of v[.][i] z[j][.].
static inline __attribute__((always_inline)) void multiply(const float *v, const float *z, int64_t z_block, int64_t n,
                                                           float *sums, bool add, const int kv) {
  wino_vec acc[ROWS][VECTORS];
#pragma GCC unroll 8
  for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 2
    for (int j = 0; j < kv; j++)
      acc[i][j] = add ? *(const wino_vec *)(sums + (i * kv + j) * WINO_VEC) : (wino_vec){0};
#pragma GCC unroll 2
  for (int64_t t = 0; t < n; t++, v += WINO_VEC, z += WINO_VEC) {
    __builtin_prefetch(sums + (2 * ROWS * kv + t) * WINO_VEC, 1, 3);  // what the call after the next adds to
    wino_vec d[VECTORS];
#pragma GCC unroll 2
    for (int j = 0; j < kv; j++)
      d[j] = *(const wino_vec *)(z + j * z_block);
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 2
      for (int j = 0; j < kv; j++)
        acc[i][j] += d[j] * v[i];
  }
#pragma GCC unroll 8
  for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 2
    for (int j = 0; j < kv; j++)
      *(wino_vec *)(sums + (i * kv + j) * WINO_VEC) = acc[i][j];
}
typedef void multiply_fn(const float *, const float *, int64_t, int64_t, float *, bool);
static void multiply_1(const float *v, const float *z, int64_t b, int64_t n, float *s, bool a) {
  multiply(v, z, b, n, s, a, 1);
}
static void multiply_2(const float *v, const float *z, int64_t b, int64_t n, float *s, bool a) {
  multiply(v, z, b, n, s, a, 2);
}

// A square: blocks [c0, c1) of x by [k0, k1) of dy. Its sums: by pairs of blocks of dy [36][channel][pair][lane].
typedef struct square {
  int64_t c0, c1, k0, k1;
} square;

static square square_of(const state *s, int64_t task) {
  const int64_t c0 = task % s->c_tasks * SIDE, k0 = task / s->c_tasks * SIDE;
  return (square){c0, least(c0 + SIDE, s->n_c), k0, least(k0 + SIDE, s->n_k)};
}
static int64_t pair_floats(const square *q, int64_t kv) {
  return WINO_POINTS * (q->c1 - q->c0) * WINO_VEC * kv * WINO_VEC;
}

// What the next chunk will read comes to the second-level cache meanwhile: of each tile of each block 4x4 positions.
typedef struct later {
  const float *x[CHUNK], *dy[CHUNK];  // tiles of the first block
  int64_t x_blocks, all_blocks, x_plane, dy_plane, W, Q;
  int64_t done;
} later;

static void find_later(const state *s, const square *q, const float *x, const float *dy, int64_t first, later *soon) {
  soon->done = 0;
  for (int64_t t = 0; t < CHUNK; t++) {
    const wino_place *at = s->places + least(first + t, s->n_tiles - 1);
    soon->x[t] = x + ((at->n * s->n_c + q->c0) * s->d.H * s->d.W + at->p * s->d.W + at->q) * WINO_VEC;
    soon->dy[t] = dy + ((at->n * s->n_k + q->k0) * s->d.P * s->d.Q + at->p * s->d.Q + at->q) * WINO_VEC;
  }
}

static inline void fetch(later *soon, int64_t n) {
  for (int64_t end = least(soon->done + n, soon->all_blocks * CHUNK); soon->done < end; soon->done++) {
    const int64_t b = soon->done / CHUNK, t = soon->done % CHUNK;
    const bool of_x = b < soon->x_blocks;
    const float *at = of_x ? soon->x[t] + b * soon->x_plane : soon->dy[t] + (b - soon->x_blocks) * soon->dy_plane;
    for (int r = 0; r < WINO_OUT; r++, at += (of_x ? soon->W : soon->Q) * WINO_VEC)
      for (int c = 0; c < WINO_OUT; c++)
        __builtin_prefetch(at + c * WINO_VEC, 0, 2);
  }
}

// The products of the chunk from tile `first` on. The first chunk of a part starts the sums of all points; later ones
// leave out points that none of their tiles has.
static void add_chunk(const state *s, const square *q, const float *v, const float *z, int64_t first, bool add,
                      later *soon, float *sums) {
  static multiply_fn *const of[] = {multiply_1, multiply_2};
  const int64_t block = CHUNK * WINO_VEC, n = (q->c1 - q->c0) * WINO_VEC;
  const int64_t per_point = wino_ceil(soon->all_blocks * CHUNK, WINO_POINTS * wino_ceil(q->k1 - q->k0, VECTORS));
  for (int64_t k = q->k0; k < q->k1; k += VECTORS, z += VECTORS * block) {
    const int64_t kv = least(VECTORS, q->k1 - k);
    for (int f = 0; f < WINO_POINTS; f++) {
      const wino_range with = wino_with_point(&s->tiles, f);
      fetch(soon, per_point);
      if (add && (first >= with.end || first + CHUNK <= with.first)) {
        sums += n * kv * WINO_VEC;
        continue;
      }
      for (int64_t i = 0; i < n; i += ROWS, sums += ROWS * kv * WINO_VEC)
        of[kv - 1](v + f * s->v.point + i / WINO_VEC * block + i % WINO_VEC, z + f * s->z.point, block, CHUNK, sums,
                   add);
    }
  }
}

// The sums of a square over one part of the tiles. Near: the thread's memory for a chunk.
static void sum_part(const state *s, const square *q, int64_t part, const float *x, const float *dy, float *near,
                     float *sums) {
  const int64_t x_plane = s->d.H * s->d.W * WINO_VEC, dy_plane = s->d.P * s->d.Q * WINO_VEC, block = CHUNK * WINO_VEC;
  const int64_t start = part * s->per_part, end = least(start + s->per_part, s->n_tiles);
  float *v = near, *z = near + s->v_floats;
  later soon = {.x_blocks = q->c1 - q->c0,
                .all_blocks = q->c1 - q->c0 + q->k1 - q->k0,
                .x_plane = x_plane,
                .dy_plane = dy_plane,
                .W = s->d.W,
                .Q = s->d.Q};
  for (int64_t first = start; first < end; first += CHUNK) {
    for (int64_t b = q->c0; b < q->c1; b++)
      wino_planes(&s->tiles, x + b * x_plane, s->n_c * x_plane, first, first + CHUNK, &s->v, v + (b - q->c0) * block,
                  false);
    for (int64_t b = q->k0; b < q->k1; b++)
      wino_planes(&s->tiles, dy + b * dy_plane, s->n_k * dy_plane, first, first + CHUNK, &s->z, z + (b - q->k0) * block,
                  true);
    find_later(s, q, x, dy, first + CHUNK, &soon);
    add_chunk(s, q, v, z, first, first > start, &soon, sums);
  }
}

// dw's 9 taps of one input channel from its sums, 36 streams `point` floats apart.
static inline void taps_back(const float *sums, int64_t point, wino_vec *taps) {
  wino_vec half[3 * WINO_IN];
#pragma GCC unroll 6
  for (int i = 0; i < WINO_IN; i++) {
    wino_vec in[WINO_IN];
#pragma GCC unroll 6
    for (int r = 0; r < WINO_IN; r++)
      in[r] = *(const wino_vec *)(sums + (r * WINO_IN + i) * point);
    wino_dw(in, 1, half + i, WINO_IN);
  }
#pragma GCC unroll 3
  for (int r = 0; r < 3; r++)
    wino_dw(half + r * WINO_IN, 1, taps + r * 3, 1);
}

// Block c of x by block k of dy from the sums of their square: dw is written in vectors.
static void transform_back(const state *s, const square *q, int64_t c, int64_t k, const float *sums, float *dw) {
  const int64_t pair = (k - q->k0) / VECTORS, kv = least(VECTORS, q->k1 - q->k0 - pair * VECTORS);
  const int64_t point = (q->c1 - q->c0) * WINO_VEC * kv * WINO_VEC;
  wino_vec turned[WINO_TAPS * WINO_VEC];  // [channel][tap][lane of dy], then [16 of these][lane of dy][16]
  sums += pair * pair_floats(q, VECTORS) + (c - q->c0) * WINO_VEC * kv * WINO_VEC + (k - q->k0) % VECTORS * WINO_VEC;
  for (int i = 0; i < WINO_VEC; i++, sums += kv * WINO_VEC)
    taps_back(sums, point, turned + i * WINO_TAPS);
  for (int i = 0; i < WINO_TAPS; i++)
    wino_transpose(turned + i * WINO_VEC);
  const int64_t k_first = k * WINO_VEC, n_k = s->d.K - k_first, n = (s->d.C - c * WINO_VEC) * WINO_TAPS;
  for (int l = 0; l < WINO_VEC && l < n_k; l++) {
    float *to = dw + ((k_first + l) * s->d.C + c * WINO_VEC) * WINO_TAPS;
    if (n >= WINO_VEC * WINO_TAPS)
      for (int i = 0; i < WINO_TAPS; i++)
        *(wino_vec *)(to + i * WINO_VEC) = turned[i * WINO_VEC + l];
    else
      for (int i = 0; i < WINO_TAPS && i * WINO_VEC < n; i++)
        memcpy(to + i * WINO_VEC, &turned[i * WINO_VEC + l], (size_t)least(n - i * WINO_VEC, WINO_VEC) * sizeof *dw);
  }
}

// sums[i] += the other parts' in their order, `step` floats apart.
static void add_parts(float *sums, int64_t n, int64_t n_parts, size_t step) {
  for (int64_t i = 0; i < n; i += WINO_VEC) {
    wino_vec sum = *(const wino_vec *)(sums + i);
    for (int64_t p = 1; p < n_parts; p++)
      sum += *(const wino_vec *)(sums + i + (size_t)p * step);
    *(wino_vec *)(sums + i) = sum;
  }
}

static ig_status run(const ig_launch *l) {
  const state *s = l->state;
  const int64_t n_squares = s->c_tasks * s->k_tasks;
  const size_t near_floats = s->v_floats + s->z_floats, step = (size_t)n_squares * s->square_floats;
  const bool whole = s->n_parts == 1;
  const float *x = l->in[0], *dy = l->in[1];
  float *dw = l->out[0], *near = l->workspace, *sums = near + (size_t)l->device->caps.threads * near_floats;
  *(float *)l->out[1] = 0;
#pragma omp parallel num_threads(l->device->caps.threads)
  {
    const size_t thread = (size_t)omp_get_thread_num();
#pragma omp for collapse(2) schedule(dynamic, 1)
    for (int64_t t = 0; t < n_squares; t++)
      for (int64_t part = 0; part < s->n_parts; part++) {
        const square q = square_of(s, t);
        float *own = sums + (whole ? thread * s->square_floats : (size_t)part * step + (size_t)t * s->square_floats);
        sum_part(s, &q, part, x, dy, near + thread * near_floats, own);
        for (int64_t c = q.c0; whole && c < q.c1; c++)
          for (int64_t k = q.k0; k < q.k1; k++)
            transform_back(s, &q, c, k, own, dw);
      }
    if (!whole) {
      enum { PIECE = 4096 };  // floats
#pragma omp for schedule(static)
      for (int64_t i = 0; i < (int64_t)step; i += PIECE)
        add_parts(sums + i, least(PIECE, (int64_t)step - i), s->n_parts, step);
#pragma omp for collapse(2) schedule(static)
      for (int64_t c = 0; c < s->n_c; c++)
        for (int64_t k = 0; k < s->n_k; k++) {
          const int64_t t = k / SIDE * s->c_tasks + c / SIDE;
          const square q = square_of(s, t);
          transform_back(s, &q, c, k, sums + (size_t)t * s->square_floats, dw);
        }
    }
  }
  return IG_OK;
}

static ig_status prepare(ig_prepare *p) {
  state *s;
  const ig_conv2d_dims d = ig_conv2d_dims_of(p->node);
  const wino_tiles tiles = wino_tiles_of(d.N, d.H, d.W, d.P, d.Q, d.pad_top, d.pad_left);
  IG_TRY(ig_alloc(sizeof *s + (size_t)wino_n_tiles(&tiles) * sizeof *s->places, "weight gradient", &s));
  s->tiles = tiles;
  wino_find_places(&s->tiles, s->places);
  const size_t threads = (size_t)p->device->caps.threads;
  s->d = d;
  s->n_c = wino_ceil(d.C, WINO_VEC);
  s->n_k = wino_ceil(d.K, WINO_VEC);
  s->c_tasks = wino_ceil(s->n_c, SIDE);
  s->k_tasks = wino_ceil(s->n_k, SIDE);
  s->n_tiles = wino_n_tiles(&s->tiles);
  const int64_t n_chunks = wino_ceil(s->n_tiles, CHUNK), n_squares = s->c_tasks * s->k_tasks;
  s->per_part = wino_ceil(n_chunks, least(n_chunks, wino_ceil(LEAST_TASKS, n_squares))) * CHUNK;
  s->n_parts = wino_ceil(s->n_tiles, s->per_part);
  s->v = wino_groups_of(CHUNK, least(SIDE, s->n_c), 1);
  s->z = wino_groups_of(CHUNK, least(SIDE, s->n_k), 1);
  s->v_floats = (size_t)(WINO_POINTS * s->v.point);
  s->z_floats = (size_t)(WINO_POINTS * s->z.point);
  s->square_floats = (size_t)(WINO_POINTS * least(SIDE, s->n_c) * least(SIDE, s->n_k) * WINO_VEC * WINO_VEC);
  const size_t n_sums = s->n_parts == 1 ? threads : (size_t)(s->n_parts * n_squares);
  p->workspace_bytes = sizeof(float) * (threads * (s->v_floats + s->z_floats) + n_sums * s->square_floats);
  p->in_layout[0] = p->in_layout[1] = IG_BLOCKED_C(WINO_VEC);
  p->out_layout[0] = p->out_layout[1] = IG_PLAIN;
  p->state = s;
  return IG_OK;
}

static bool supports(const ig_node *n, const ig_device_caps *caps, char *why, size_t why_bytes) {
  const ig_conv2d_dims d = ig_conv2d_dims_of(n);
  return ig_no_reason(((const ig_conv2d_bwd_attr *)n->attr)->has_bias ? "has no bias gradient" : wino_refusal(n, &d),
                      why, why_bytes);
}

IG_IMPLS(conv2d_bwd_weights_wino_cpu) = {{.name = "conv2d_bwd_weights_wino_cpu",
                                          .flags = IG_IMPL_THREAD_FREE | IG_IMPL_INEXACT,
                                          .isa = IG_ISA_LEVEL,
                                          .supports = supports,
                                          .prepare = prepare,
                                          .run = run,
                                          .destroy = ig_free},
                                         {0}};
