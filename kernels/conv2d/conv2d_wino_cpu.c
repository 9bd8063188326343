// The 3x3 convolution of stride 1 and its data gradient (the same convolution of dy with turned weights) by Winograd's
// F(4x4,3x3) in own vector code. Many tiles: a task owns a few, transforms them, multiplies and transforms back within
// its cache, over weights transformed once. Few tiles and many channels: all tiles are transformed once and a task owns
// a panel of output channels, whose weights it transforms piece by piece, just before they are multiplied. Rule: every
// sum runs over channels in their order, so that neither threads nor the cut into tasks change a bit.
#include <omp.h>
#include <string.h>

#include "kernels/conv2d/conv2d_wino.h"

#if defined(IG_ISA_avx512)
enum { ROWS = 14 };  // tiles whose sums are in registers at once
#else
enum { ROWS = 6 };
#endif
enum {
  PANEL = 2 * WINO_VEC,     // output channels whose sums are in registers at once
  DEPTH = 64,               // channels of a panel's weights that are transformed at once, where tiles are few
  TASK_BYTES = 640 * 1024,  // of transformed x and sums of a task: they stay in the second-level cache
  SHARED_BYTES = 12 << 20,  // of transformed x that all tasks share
  MOST_LATER = 96,          // tiles fetched ahead
  LEAST_WEIGHTS = 1 << 20,  // bytes of transformed weights from which on they are worth cutting
};

typedef struct state {
  wino_tiles tiles;
  bool turned;                          // data gradient
  int64_t C, in, out;                   // input channels of the public weights; channels of what is read and written
  int64_t n_in, n_out, n_panels;        // channel blocks, panels
  int64_t n_tiles, per_task;            // tiles of a task: a multiple of ROWS
  bool shared;                          // the second of the two ways
  wino_groups v;                        // of transformed x: groups of ROWS tiles
  int64_t u_blocks;                     // channel blocks of weights transformed at once
  int64_t u_point, m_point;             // floats from one transformed point to the next
  size_t v_floats, u_floats, m_floats;  // one task's (or the shared) x, weights transformed at once, a task's sums
  wino_place places[];
} state;

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

// ---- weights ----
// The taps of WINO_VEC output channels, turned or not, to 36 streams `point` floats apart.
static inline __attribute__((always_inline)) void spread_taps(const wino_vec *taps, const bool turned, float *u,
                                                              int64_t point) {
  wino_vec half[WINO_IN * 3], out[WINO_IN];
#pragma GCC unroll 3
  for (int i = 0; i < 3; i++) {
    wino_vec in[3];
#pragma GCC unroll 3
    for (int r = 0; r < 3; r++)
      in[r] = taps[turned ? WINO_TAPS - 1 - (r * 3 + i) : r * 3 + i];
    wino_w(in, 1, half + i, 3);
  }
#pragma GCC unroll 6
  for (int r = 0; r < WINO_IN; r++) {
    wino_w(half + r * 3, 1, out, 1);
#pragma GCC unroll 6
    for (int j = 0; j < WINO_IN; j++)
      *(wino_vec *)(u + (r * WINO_IN + j) * point) = out[j];
  }
}

// Blocks [b0, b1) of input channels of one panel into u [36][channel from b0 on][PANEL].
static void transform_weights(const state *s, const float *w, int64_t panel, int64_t b0, int64_t b1, float *u) {
  // A block of channels by a panel, from where it lies in rows of the public weights. Rows of vectors are read beyond.
  enum { PAD = 16, NEAR = PANEL * (WINO_VEC * WINO_TAPS + PAD) };
  float near[NEAR + WINO_VEC];
  const int64_t o0 = panel * PANEL, n_o = least(s->out - o0, PANEL);
  const int64_t o_step = s->turned ? WINO_TAPS : WINO_VEC * WINO_TAPS + PAD;
  const int64_t i_step = s->turned ? PANEL * WINO_TAPS + PAD : WINO_TAPS;
  memset(near, 0, sizeof near);
  for (int64_t i0 = b0 * WINO_VEC; i0 < b1 * WINO_VEC; i0 += WINO_VEC) {
    const int64_t n_i = least(s->in - i0, WINO_VEC), rows = s->turned ? n_i : n_o, row = s->turned ? n_o : n_i;
    const float *from = w + (s->turned ? i0 * s->C + o0 : o0 * s->C + i0) * WINO_TAPS;
    if (n_i < WINO_VEC)
      memset(near, 0, sizeof near);
    for (int64_t r = 0; r < rows; r++)
      memcpy(near + r * (s->turned ? i_step : o_step), from + r * s->C * WINO_TAPS,
             (size_t)(row * WINO_TAPS) * sizeof *w);
    for (int i = 0; i < WINO_VEC; i++, u += PANEL)
      for (int j = 0; j < 2; j++) {
        const float *at = near + i * i_step + j * WINO_VEC * o_step;
        wino_vec square[WINO_VEC + WINO_TAPS];
#pragma GCC unroll 16
        for (int o = 0; o < WINO_VEC; o++)
          square[o] = *(const wino_vec *)(at + o * o_step);
        wino_transpose(square);
        for (int t = WINO_VEC; t < WINO_TAPS; t++) {
          wino_vec tap = {0};
          for (int o = 0; o < WINO_VEC; o++)
            tap[o] = at[o * o_step + t];
          square[t] = tap;
        }
        if (s->turned)
          spread_taps(square, true, u + j * WINO_VEC, s->u_point);
        else
          spread_taps(square, false, u + j * WINO_VEC, s->u_point);
      }
  }
}

// ---- products ----
// m[j][i] (+)= sum over channels of v[i] u[j]: ROWS tiles by two vectors. Meanwhile as much from `soon` on comes to the
// first-level cache: the next product's v.
static inline void multiply(const float *v, int64_t blocks, const float *u, float *m, int64_t m_block, bool add,
                            const float *soon) {
  wino_vec acc[ROWS][2];
#pragma GCC unroll 14
  for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 2
    for (int j = 0; j < 2; j++)
      acc[i][j] = add ? *(const wino_vec *)(m + j * m_block + i * WINO_VEC) : (wino_vec){0};
  for (int64_t b = 0; b < blocks; b++, v += ROWS * WINO_VEC)
    for (int c = 0; c < WINO_VEC; c++, u += PANEL, soon += WINO_VEC) {
      __builtin_prefetch(soon, 0, 3);
      wino_vec u0 = *(const wino_vec *)u, u1 = *(const wino_vec *)(u + WINO_VEC);
#pragma GCC unroll 14
      for (int i = 0; i < ROWS; i++) {
        acc[i][0] += u0 * v[i * WINO_VEC + c];
        acc[i][1] += u1 * v[i * WINO_VEC + c];
      }
    }
#pragma GCC unroll 14
  for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 2
    for (int j = 0; j < 2; j++)
      *(wino_vec *)(m + j * m_block + i * WINO_VEC) = acc[i][j];
}

// What comes to the second-level cache while products are made: 4x4 positions of each tile in some channel blocks.
typedef struct later {
  const float *at[MOST_LATER];  // tiles in the first block
  int64_t tiles, blocks, plane, row, done;
} later;

// Tiles [first, end) of a tensor of `all` blocks of H x W vectors, from where its first block to be fetched lies.
static void find_later(const wino_tiles *t, const float *from, int64_t H, int64_t W, int64_t all, int64_t blocks,
                       int64_t first, int64_t end, later *soon) {
  const int64_t plane = H * W * WINO_VEC;
  *soon = (later){.tiles = least(end - first, MOST_LATER), .blocks = blocks, .plane = plane, .row = W * WINO_VEC};
  for (int64_t i = 0; i < soon->tiles; i++) {
    const wino_place *at = t->places + first + i;
    soon->at[i] = from + at->n * all * plane + (at->p * W + at->q) * WINO_VEC;
  }
}

WINO_INLINE void fetch(later *soon, int64_t n, bool write) {
  for (const int64_t end = least(soon->done + n, soon->blocks * soon->tiles); soon->done < end; soon->done++) {
    const float *at = soon->at[soon->done % soon->tiles] + soon->done / soon->tiles * soon->plane;
    for (int r = 0; r < WINO_OUT; r++, at += soon->row)
      for (int c = 0; c < WINO_OUT; c++)
        write ? __builtin_prefetch(at + c * WINO_VEC, 1, 2) : __builtin_prefetch(at + c * WINO_VEC, 0, 2);
  }
}

// All 36 products of `n` tiles from `first` on (multiples of ROWS) with blocks [b0, b1) of one panel, but those of
// groups in which no tile has the point.
static void multiply_points(const state *s, const float *v, const float *u, int64_t b0, int64_t b1, int64_t first,
                            int64_t n, later *x, later *y, float *m) {
  const int64_t calls = WINO_POINTS * (n / ROWS), x_per_call = wino_ceil(x->blocks * x->tiles, calls * s->n_panels),
                y_per_call = wino_ceil(y->blocks * y->tiles, calls);
  for (int f = 0; f < WINO_POINTS; f++, v += s->v.point, u += s->u_point, m += s->m_point) {
    const wino_range with = wino_with_point(&s->tiles, f);
    for (int64_t i = 0; i < n; i += ROWS) {
      if (first + i >= with.end || first + i + ROWS <= with.first)
        continue;
      fetch(x, x_per_call, false);
      fetch(y, y_per_call, true);
      const float *at = v + i / ROWS * s->v.step + b0 * ROWS * WINO_VEC;
      multiply(at, b1 - b0, u, m + i * WINO_VEC, s->per_task * WINO_VEC, b0 > 0,
               i + ROWS < n ? at + s->v.step : v + s->v.point + b0 * ROWS * WINO_VEC);
    }
  }
}

// ---- results ----
// out + shift behind residual and ReLU, to y + at; NaN stays.
static inline void store(const ig_conv2d_end *e, const wino_vec *out, const float *shift, float *y, int64_t at) {
  typedef int32_t lanes __attribute__((vector_size(WINO_VEC * sizeof(int32_t))));
  wino_vec v = *out + *(const wino_vec *)shift;
  if (e->residual)
    v += *(const wino_vec *)((const float *)e->residual + at);
  if (e->relu)
    v = (wino_vec)((lanes)v & ~(lanes)(v < 0));
  *(wino_vec *)(y + at) = v;
}

// One dimension of a tile back.
static inline __attribute__((always_inline)) void back(const wino_vec *m, wino_vec *to, int to_step,
                                                       const bool is_short) {
  if (is_short)
    wino_out_short(m, 1, to, to_step);
  else
    wino_out(m, 1, to, to_step);
}

// y of a tile from its sums, 36 streams `point` floats apart: rows of WINO_OUT. What a short one has not is not read.
static inline __attribute__((always_inline)) void tile_back(const float *m, int64_t point, wino_vec *out,
                                                            const int kind) {
  const bool short_rows = kind & WINO_SHORT_ROWS, short_columns = kind & WINO_SHORT_COLUMNS;
  wino_vec half[WINO_OUT * WINO_IN];
#pragma GCC unroll 6
  for (int i = 0; i < WINO_IN; i++)
    if (!short_columns || i != WINO_NOT_SHORT) {
      wino_vec in[WINO_IN];
#pragma GCC unroll 6
      for (int r = 0; r < WINO_IN; r++)
        if (!short_rows || r != WINO_NOT_SHORT)
          in[r] = *(const wino_vec *)(m + (r * WINO_IN + i) * point);
      back(in, half + i, WINO_IN, short_rows);
    }
#pragma GCC unroll 4
  for (int r = 0; r < WINO_OUT; r++)
    if (!short_rows || r < WINO_OUT - 1)
      back(half + r * WINO_IN, out + r * WINO_OUT, 1, short_columns);
}

// One tile of one block: rows [p, P) and columns [q, Q) of y at most.
static inline __attribute__((always_inline)) void store_tile(const state *s, const wino_place *at, const float *m,
                                                             const ig_conv2d_end *e, const float *shift, float *y,
                                                             int64_t to, const int kind) {
  const wino_tiles *t = &s->tiles;
  const int rows = WINO_OUT - !!(kind & WINO_SHORT_ROWS), columns = WINO_OUT - !!(kind & WINO_SHORT_COLUMNS);
  wino_vec out[WINO_OUT * WINO_OUT];
  tile_back(m, s->m_point, out, kind);
  if (at->p + rows <= t->P && at->q + columns <= t->Q)
#pragma GCC unroll 16
    for (int i = 0; i < WINO_OUT * WINO_OUT; i++) {
      if (i / WINO_OUT < rows && i % WINO_OUT < columns)
        store(e, &out[i], shift, y, to + (i / WINO_OUT * t->Q + i % WINO_OUT) * WINO_VEC);
    }
  else
    for (int r = 0; r < rows && at->p + r < t->P; r++)
      for (int c = 0; c < columns && at->q + c < t->Q; c++)
        store(e, &out[r * WINO_OUT + c], shift, y, to + (r * t->Q + c) * WINO_VEC);
}

static void transform_back(const state *s, const float *m, int64_t panel, int64_t first, int64_t end,
                           const ig_conv2d_end *e, float *y) {
  const wino_tiles *t = &s->tiles;
  for (int64_t block = panel * 2; block < panel * 2 + 2 && block < s->n_out; block++, m += s->per_task * WINO_VEC) {
    float shift[WINO_VEC] = {0};
    for (int64_t c = 0; e->bias && c < WINO_VEC && block * WINO_VEC + c < s->out; c++)
      shift[c] = e->bias[block * WINO_VEC + c];
    for (int64_t i = first; i < end; i++) {
      const wino_place *at = t->places + i;
      const int64_t to = (((at->n * s->n_out + block) * t->P + at->p) * t->Q + at->q) * WINO_VEC;
      const float *sums = m + (i - first) * WINO_VEC;
      switch (at->kind) {
        case 0:
          store_tile(s, at, sums, e, shift, y, to, 0);
          break;
        case 1:
          store_tile(s, at, sums, e, shift, y, to, 1);
          break;
        case 2:
          store_tile(s, at, sums, e, shift, y, to, 2);
          break;
        default:
          store_tile(s, at, sums, e, shift, y, to, 3);
      }
    }
  }
}

// What transform_back will write.
static void later_y(const state *s, const float *y, int64_t panel, int64_t first, int64_t end, later *soon) {
  const int64_t P = s->tiles.P, Q = s->tiles.Q;
  find_later(&s->tiles, y + 2 * panel * P * Q * WINO_VEC, P, Q, s->n_out, least(2, s->n_out - 2 * panel), first, end,
             soon);
}

// ---- the two ways ----
static int64_t up_to_rows(int64_t tiles) { return wino_ceil(tiles, ROWS) * ROWS; }

static void run_by_tiles(const state *s, const float *x, const float *w, const ig_conv2d_end *e, float *y,
                         float *workspace, int threads) {
  float *all_u = workspace, *own = workspace + (size_t)s->n_panels * s->u_floats;
  const int64_t plane = s->tiles.H * s->tiles.W * WINO_VEC;
#pragma omp parallel num_threads(threads)
  {
    float *v = own + (size_t)omp_get_thread_num() * (s->v_floats + s->m_floats), *m = v + s->v_floats;
#pragma omp for collapse(2) schedule(static)
    for (int64_t panel = 0; panel < s->n_panels; panel++)
      for (int64_t b = 0; b < s->n_in; b++)
        transform_weights(s, w, panel, b, b + 1, all_u + (size_t)panel * s->u_floats + b * WINO_VEC * PANEL);
#pragma omp for schedule(dynamic, 1)
    for (int64_t first = 0; first < s->n_tiles; first += s->per_task) {
      int64_t end = least(first + s->per_task, s->n_tiles), n = up_to_rows(end - first);
      for (int64_t b = 0; b < s->n_in; b++)
        wino_planes(&s->tiles, x + b * plane, s->n_in * plane, first, first + n, &s->v, v + b * ROWS * WINO_VEC, false);
      const int64_t next = least(first + threads * s->per_task, s->n_tiles);  // those in between are other threads'
      later soon_x, soon_y;
      find_later(&s->tiles, x, s->tiles.H, s->tiles.W, s->n_in, s->n_in, next, least(next + s->per_task, s->n_tiles),
                 &soon_x);
      for (int64_t panel = 0; panel < s->n_panels; panel++) {
        later_y(s, y, panel, first, end, &soon_y);
        multiply_points(s, v, all_u + (size_t)panel * s->u_floats, 0, s->n_in, first, n, &soon_x, &soon_y, m);
        transform_back(s, m, panel, first, end, e, y);
      }
    }
  }
}

static void run_by_panels(const state *s, const float *x, const float *w, const ig_conv2d_end *e, float *y,
                          float *workspace, int threads) {
  float *v = workspace, *own = workspace + s->v_floats;
  const int64_t plane = s->tiles.H * s->tiles.W * WINO_VEC;
#pragma omp parallel num_threads(threads)
  {
    float *u = own + (size_t)omp_get_thread_num() * (s->u_floats + s->m_floats), *m = u + s->u_floats;
#pragma omp for schedule(static)
    for (int64_t b = 0; b < s->n_in; b++)
      wino_planes(&s->tiles, x + b * plane, s->n_in * plane, 0, up_to_rows(s->n_tiles), &s->v, v + b * ROWS * WINO_VEC,
                  false);
#pragma omp for schedule(dynamic, 1)
    for (int64_t panel = 0; panel < s->n_panels; panel++) {
      for (int64_t first = 0; first < s->n_tiles; first += s->per_task) {
        const int64_t end = least(first + s->per_task, s->n_tiles);
        later none = {.tiles = 0}, soon_y;
        later_y(s, y, panel, first, end, &soon_y);
        for (int64_t b = 0; b < s->n_in; b += s->u_blocks) {
          const int64_t b1 = least(b + s->u_blocks, s->n_in);
          float *piece = u + (s->n_tiles > s->per_task ? b / s->u_blocks * WINO_POINTS * s->u_point : 0);
          if (first == 0)
            transform_weights(s, w, panel, b, b1, piece);
          multiply_points(s, v + first / ROWS * s->v.step, piece, b, b1, first, up_to_rows(end - first), &none, &soon_y,
                          m);
        }
        transform_back(s, m, panel, first, end, e, y);
      }
    }
  }
}

static ig_status run(const ig_launch *l) {
  const state *s = l->state;
  const ig_conv2d_end e = ig_conv2d_end_of(l);
  (s->shared ? run_by_panels : run_by_tiles)(s, l->in[0], l->in[1], &e, l->out[0], l->workspace,
                                             l->device->caps.threads);
  return IG_OK;
}

static ig_status prepare_turned(ig_prepare *p, bool turned) {
  const ig_conv2d_dims d = ig_conv2d_dims_of(p->node);
  const size_t threads = (size_t)p->device->caps.threads;
  const wino_tiles tiles = turned ? wino_tiles_of(d.N, d.P, d.Q, d.H, d.W, 2 - d.pad_top, 2 - d.pad_left)
                                  : wino_tiles_of(d.N, d.H, d.W, d.P, d.Q, d.pad_top, d.pad_left);
  state *s;
  IG_TRY(ig_alloc(sizeof *s + (size_t)wino_n_tiles(&tiles) * sizeof *s->places, "convolution", &s));
  s->tiles = tiles;
  wino_find_places(&s->tiles, s->places);
  s->turned = turned;
  s->C = d.C;
  s->in = turned ? d.K : d.C;
  s->out = turned ? d.C : d.K;
  s->n_in = wino_ceil(s->in, WINO_VEC);
  s->n_out = wino_ceil(s->out, WINO_VEC);
  s->n_panels = wino_ceil(s->n_out, 2);
  s->n_tiles = wino_n_tiles(&s->tiles);
  const int64_t all = up_to_rows(s->n_tiles), m_tile = WINO_POINTS * PANEL * (int64_t)sizeof(float);
  const int64_t v_tile = WINO_POINTS * s->n_in * WINO_VEC * (int64_t)sizeof(float);
  s->shared = all * v_tile <= SHARED_BYTES && s->n_panels >= 2 * (int64_t)threads &&
              v_tile * s->n_out * WINO_VEC >= LEAST_WEIGHTS;
  const int64_t fit = s->shared ? TASK_BYTES / 2 / m_tile : TASK_BYTES / (m_tile + v_tile);
  const int64_t tasks = wino_ceil(all, fit < 2 * ROWS ? 2 * ROWS : fit / ROWS * ROWS);
  s->per_task = up_to_rows(wino_ceil(all, tasks));
  s->u_blocks = s->shared ? least(DEPTH / WINO_VEC, s->n_in) : s->n_in;
  s->u_point = s->u_blocks * WINO_VEC * PANEL + 16;
  s->u_floats = (size_t)(WINO_POINTS * s->u_point);
  if (s->shared && tasks > 1)
    s->u_floats *= (size_t)wino_ceil(s->n_in, s->u_blocks);
  s->m_point = 2 * s->per_task * WINO_VEC + 16;
  s->m_floats = (size_t)(WINO_POINTS * s->m_point);
  s->v = wino_groups_of(ROWS, s->n_in, (s->shared ? all : s->per_task) / ROWS);
  s->v_floats = (size_t)(WINO_POINTS * s->v.point);
  p->workspace_bytes =
      sizeof(float) * (s->shared ? s->v_floats + threads * (s->u_floats + s->m_floats)
                                 : (size_t)s->n_panels * s->u_floats + threads * (s->v_floats + s->m_floats));
  p->in_layout[0] = p->out_layout[0] = IG_BLOCKED_C(WINO_VEC);
  p->in_layout[1] = IG_PLAIN;
  ig_conv2d_end_layouts(p);
  p->state = s;
  return IG_OK;
}

static ig_status prepare(ig_prepare *p) { return prepare_turned(p, false); }
static ig_status prepare_bwd_data(ig_prepare *p) { return prepare_turned(p, true); }

static bool supports(const ig_node *n, const ig_device_caps *caps, char *why, size_t why_bytes) {
  const ig_conv2d_dims d = ig_conv2d_dims_of(n);
  return ig_no_reason(wino_refusal(n, &d), why, why_bytes);
}

#define COMMON                                                                                             \
  .flags = IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE | IG_IMPL_INEXACT, .isa = IG_ISA_LEVEL, .run = run, \
  .supports = supports, .destroy = ig_free
IG_IMPLS(conv2d_wino_cpu) = {{.name = "conv2d_wino_cpu", .prepare = prepare, COMMON},
                             {.name = "conv2d_fused_wino_cpu", .prepare = prepare, COMMON},
                             {.name = "conv2d_bwd_data_wino_cpu", .prepare = prepare_bwd_data, COMMON},
                             {0}};
