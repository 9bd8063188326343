// The bf16 3x3 convolution of stride 1 and its data gradient (the same convolution of dy with turned weights) by
// Winograd's F(2x2,3x3). A task owns a few tiles of the batch, transforms, multiplies and transforms back within its
// cache, over weights transformed once. Where weights are many and tiles few, all tiles are transformed once and a task
// owns a panel of output channels with its weights, which never leave the cache. Rule: every sum runs over channels in
// their order, so that neither threads nor the cut into tasks change a bit.
#include <omp.h>

#include "kernels/conv2d/conv2d_wino_bf16.h"

enum {
  ROWS = 12,                // tiles whose sums are in registers at once
  PANEL = 2 * BF16_VEC,     // output channels, likewise
  HALF = BF16_VEC / 2,      // pairs of a block of channels
  DEPTH = 16,               // channel blocks of a panel's weights that stay in the first-level cache
  TASK_BYTES = 400 << 10,   // of transformed x and sums of a task: they stay in the second-level cache
  SHARED_BYTES = 8 << 20,   // of transformed x that all tasks share
  MOST_LATER = 256,         // tiles fetched ahead
  LEAST_WEIGHTS = 4 << 20,  // bytes of transformed weights from which on they are cut
};

typedef struct state {
  wino2_tiles tiles;
  bool turned;                    // data gradient
  int64_t C, in, out;             // input channels of the public weights; channels of what is read and written
  int64_t n_in, n_out, n_panels;  // channel blocks, panels
  int64_t n_tiles, per_task;      // tiles of a task: a multiple of ROWS
  bool shared;                    // the second of the two ways
  // A point's x: groups of ROWS tiles, in a group by channel block, v_step pairs apart; from one point to the next, in
  // pairs and in floats, a cache line more, so that 16 streams do not share a cache set.
  int64_t v_step, v_point, u_point, m_point;
  size_t v_pairs, u_pairs, m_floats;  // one task's (or the shared) x, a panel's weights, a task's sums
} state;

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t up_to_rows(int64_t tiles) { return bf16_ceil(tiles, ROWS) * ROWS; }

// ---- operands ----
// Input channels [first, end) of one panel into u [16][in / 2][PANEL].
static void transform_weights(const state *s, const uint16_t *w, int64_t panel, int64_t first, int64_t end,
                              uint32_t *u) {
  const int64_t out_step = s->turned ? WINO2_TAPS : s->C * WINO2_TAPS;
  const int64_t in_step = s->turned ? s->C * WINO2_TAPS : WINO2_TAPS;
  for (int64_t i = first; i < end; i += 2)
    for (int j = 0; j < 2; j++) {
      const int64_t o = panel * PANEL + j * BF16_VEC;
      __m512 points[2][WINO2_POINTS];
      for (int h = 0; h < 2; h++) {
        __m512 taps[BF16_VEC], turned[WINO2_TAPS];
        for (int l = 0; l < BF16_VEC; l++)
          taps[l] = o + l < s->out && i + h < s->in
                        ? bf16_as_f32(_mm256_maskz_loadu_epi16((1 << WINO2_TAPS) - 1,
                                                               w + (o + l) * out_step + (i + h) * in_step))
                        : _mm512_setzero_ps();
        bf16_transpose(taps);
        for (int t = 0; t < WINO2_TAPS; t++)
          turned[t] = taps[s->turned ? WINO2_TAPS - 1 - t : t];
        WINO2_PLANE(wino2_w, turned, 3, points[h], WINO2_IN);
      }
      for (int f = 0; f < WINO2_POINTS; f++)
        _mm512_storeu_si512(u + f * s->u_point + i / 2 * PANEL + j * BF16_VEC,
                            bf16_round_pairs(points[0][f], points[1][f]));
    }
}

// Tiles [first, end), whole groups, of one channel block of x into v.
static void transform_tiles(const state *s, const uint16_t *x, int64_t block, int64_t first, int64_t end, uint32_t *v) {
  const int64_t plane = s->tiles.H * s->tiles.W * BF16_VEC;
  wino2_place at = wino2_place_of(&s->tiles, first);
  v += block * ROWS * HALF;
  for (int64_t i = first; i < end; i += ROWS, v += s->v_step)
    for (int j = 0; j < ROWS; j++, wino2_step(&s->tiles, &at)) {
      __m512 points[WINO2_POINTS];
      wino2_tile(&s->tiles, x + block * plane, s->n_in * plane, &at, false, points);
      for (int f = 0; f < WINO2_POINTS; f++)
        _mm256_storeu_si256((void *)(v + f * s->v_point + j * HALF), (__m256i)_mm512_cvtneps_pbh(points[f]));
    }
}

// ---- products ----
// m[j][i] (+)= sum over channels of v[i] u[j]: ROWS tiles by two vectors.
static inline void multiply(const uint32_t *v, int64_t blocks, const uint32_t *u, float *m, int64_t m_block, bool add) {
  __m512 acc[ROWS][2];
#pragma GCC unroll 12
  for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 2
    for (int j = 0; j < 2; j++)
      acc[i][j] = add ? _mm512_loadu_ps(m + j * m_block + i * BF16_VEC) : _mm512_setzero_ps();
  for (int64_t b = 0; b < blocks; b++, v += ROWS * HALF)
    for (int c = 0; c < HALF; c++, u += PANEL) {
      const __m512bh u0 = bf16_load(u), u1 = bf16_load(u + BF16_VEC);
#pragma GCC unroll 12
      for (int i = 0; i < ROWS; i++) {
        const __m512bh a = bf16_broadcast(v + i * HALF + c);
        acc[i][0] = _mm512_dpbf16_ps(acc[i][0], a, u0);
        acc[i][1] = _mm512_dpbf16_ps(acc[i][1], a, u1);
      }
    }
#pragma GCC unroll 12
  for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 2
    for (int j = 0; j < 2; j++)
      _mm512_storeu_ps(m + j * m_block + i * BF16_VEC, acc[i][j]);
}

// What comes to the second-level cache while products are made: a tile's 2x2 positions in some channel blocks.
typedef struct later {
  const uint16_t *at[MOST_LATER];  // tiles in the first block
  int64_t tiles, blocks, plane, row, done;
} later;

// Tiles [first, end) of a tensor of `all` blocks of H x W vectors, from where its first block to be fetched lies.
static void find_later(const wino2_tiles *t, const uint16_t *from, int64_t H, int64_t W, int64_t all, int64_t blocks,
                       int64_t first, int64_t end, later *soon) {
  const int64_t plane = H * W * BF16_VEC;
  wino2_place at = wino2_place_of(t, first);
  *soon = (later){.tiles = least(end - first, MOST_LATER), .blocks = blocks, .plane = plane, .row = W * BF16_VEC};
  for (int64_t i = 0; i < soon->tiles; i++, wino2_step(t, &at))
    soon->at[i] = from + at.n * all * plane + (at.p * W + at.q) * BF16_VEC;
}

static void find_y(const state *s, const uint16_t *y, int64_t panel, int64_t first, int64_t end, later *soon) {
  const int64_t P = s->tiles.P, Q = s->tiles.Q;
  find_later(&s->tiles, y + 2 * panel * P * Q * BF16_VEC, P, Q, s->n_out, least(2, s->n_out - 2 * panel), first, end,
             soon);
}

BF16_INLINE void fetch(later *soon, int64_t n, bool write) {
  for (const int64_t end = least(soon->done + n, soon->blocks * soon->tiles); soon->done < end; soon->done++) {
    const uint16_t *at = soon->at[soon->done % soon->tiles] + soon->done / soon->tiles * soon->plane;
    for (int r = 0; r < WINO2_OUT; r++, at += soon->row)
      write ? __builtin_prefetch(at, 1, 2) : __builtin_prefetch(at, 0, 2);
  }
}

// All 16 products of n tiles (a multiple of ROWS) with one panel. Meanwhile x and y are fetched, x over all panels.
static void multiply_points(const state *s, const uint32_t *v, const uint32_t *u, int64_t n, later *x, later *y,
                            float *m) {
  const int64_t calls = WINO2_POINTS * bf16_ceil(s->n_in, DEPTH) * (n / ROWS);
  const int64_t x_per_call = bf16_ceil(x->blocks * x->tiles, calls * s->n_panels),
                y_per_call = bf16_ceil(y->blocks * y->tiles, calls);
  for (int f = 0; f < WINO2_POINTS; f++, v += s->v_point, u += s->u_point, m += s->m_point)
    for (int64_t b = 0; b < s->n_in; b += DEPTH)
      for (int64_t i = 0; i < n; i += ROWS) {
        fetch(x, x_per_call, false);
        fetch(y, y_per_call, true);
        multiply(v + i / ROWS * s->v_step + b * ROWS * HALF, least(s->n_in - b, DEPTH), u + b * HALF * PANEL,
                 m + i * BF16_VEC, s->per_task * BF16_VEC, b > 0);
      }
}

// ---- results ----
// out behind residual and ReLU.
BF16_INLINE __m512 ended(const ig_conv2d_end *e, __m512 out, int64_t at) {
  if (e->residual)
    out += bf16_as_f32(_mm256_loadu_si256((const void *)((const uint16_t *)e->residual + at)));
  return e->relu
             ? _mm512_mask_blend_ps(_mm512_cmp_ps_mask(out, _mm512_setzero_ps(), _CMP_LT_OQ), out, _mm512_setzero_ps())
             : out;
}

static void transform_back(const state *s, const float *m, int64_t panel, int64_t first, int64_t end,
                           const ig_conv2d_end *e, uint16_t *y) {
  const wino2_tiles *t = &s->tiles;
  for (int64_t block = panel * 2; block < panel * 2 + 2 && block < s->n_out; block++, m += s->per_task * BF16_VEC) {
    const int64_t left = least(s->out - block * BF16_VEC, BF16_VEC);
    const __m512 shift = e->bias ? _mm512_maskz_loadu_ps((__mmask16)((1u << left) - 1), e->bias + block * BF16_VEC)
                                 : _mm512_setzero_ps();
    wino2_place at = wino2_place_of(t, first);
    for (int64_t i = 0; i < end - first; i++, wino2_step(t, &at)) {
      __m512 in[WINO2_POINTS], out[WINO2_OUT * WINO2_OUT];
      for (int f = 0; f < WINO2_POINTS; f++)
        in[f] = _mm512_loadu_ps(m + f * s->m_point + i * BF16_VEC);
      WINO2_PLANE(wino2_out, in, WINO2_IN, out, WINO2_OUT);
      int64_t to = (((at.n * s->n_out + block) * t->P + at.p) * t->Q + at.q) * BF16_VEC;
      for (int r = 0; r < WINO2_OUT && at.p + r < t->P; r++, to += t->Q * BF16_VEC) {
        const bool both = at.q + 1 < t->Q;
        const __m512 first_out = ended(e, out[r * 2] + shift, to),
                     second = both ? ended(e, out[r * 2 + 1] + shift, to + BF16_VEC) : first_out;
        const __m512i two = (__m512i)_mm512_cvtne2ps_pbh(second, first_out);
        if (both)
          _mm512_storeu_si512(y + to, two);
        else
          _mm256_storeu_si256((void *)(y + to), _mm512_castsi512_si256(two));
      }
    }
  }
}

// ---- the two ways ----
static void run_by_tiles(const state *s, const uint16_t *x, const uint16_t *w, const ig_conv2d_end *e, uint16_t *y,
                         uint32_t *workspace, int threads) {
  uint32_t *all_u = workspace, *own = workspace + (size_t)s->n_panels * s->u_pairs;
#pragma omp parallel num_threads(threads)
  {
    uint32_t *v = own + (size_t)omp_get_thread_num() * (s->v_pairs + s->m_floats);
    float *m = (float *)(v + s->v_pairs);
#pragma omp for collapse(2) schedule(static)
    for (int64_t panel = 0; panel < s->n_panels; panel++)
      for (int64_t b = 0; b < s->n_in; b++)
        transform_weights(s, w, panel, b * BF16_VEC, (b + 1) * BF16_VEC, all_u + (size_t)panel * s->u_pairs);
#pragma omp for schedule(dynamic, 1)
    for (int64_t first = 0; first < s->n_tiles; first += s->per_task) {
      const int64_t end = least(first + s->per_task, s->n_tiles), n = up_to_rows(end - first);
      for (int64_t b = 0; b < s->n_in; b++)
        transform_tiles(s, x, b, first, first + n, v);
      const int64_t next = least(first + threads * s->per_task, s->n_tiles);  // those in between are other threads'
      later soon_x, soon_y;
      find_later(&s->tiles, x, s->tiles.H, s->tiles.W, s->n_in, s->n_in, next, least(next + s->per_task, s->n_tiles),
                 &soon_x);
      for (int64_t panel = 0; panel < s->n_panels; panel++) {
        find_y(s, y, panel, first, end, &soon_y);
        multiply_points(s, v, all_u + (size_t)panel * s->u_pairs, n, &soon_x, &soon_y, m);
        transform_back(s, m, panel, first, end, e, y);
      }
    }
  }
}

static void run_by_panels(const state *s, const uint16_t *x, const uint16_t *w, const ig_conv2d_end *e, uint16_t *y,
                          uint32_t *workspace, int threads) {
  uint32_t *v = workspace, *own = workspace + s->v_pairs;
#pragma omp parallel num_threads(threads)
  {
    uint32_t *u = own + (size_t)omp_get_thread_num() * (s->u_pairs + s->m_floats);
    float *m = (float *)(u + s->u_pairs);
#pragma omp for schedule(static)
    for (int64_t b = 0; b < s->n_in; b++)
      transform_tiles(s, x, b, 0, up_to_rows(s->n_tiles), v);
#pragma omp for schedule(dynamic, 1)
    for (int64_t panel = 0; panel < s->n_panels; panel++) {
      transform_weights(s, w, panel, 0, s->n_in * BF16_VEC, u);
      for (int64_t first = 0; first < s->n_tiles; first += s->per_task) {
        const int64_t end = least(first + s->per_task, s->n_tiles);
        later none = {.tiles = 0}, soon_y;
        find_y(s, y, panel, first, end, &soon_y);
        multiply_points(s, v + first / ROWS * s->v_step, u, up_to_rows(end - first), &none, &soon_y, m);
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
  state *s;
  IG_TRY(ig_alloc(sizeof *s, "convolution", &s));
  s->turned = turned;
  s->C = d.C;
  s->in = turned ? d.K : d.C;
  s->out = turned ? d.C : d.K;
  s->tiles = turned ? wino2_tiles_of(d.N, d.P, d.Q, d.H, d.W, 2 - d.pad_top, 2 - d.pad_left)
                    : wino2_tiles_of(d.N, d.H, d.W, d.P, d.Q, d.pad_top, d.pad_left);
  s->n_in = bf16_ceil(s->in, BF16_VEC);
  s->n_out = bf16_ceil(s->out, BF16_VEC);
  s->n_panels = bf16_ceil(s->n_out, 2);
  s->n_tiles = wino2_n_tiles(&s->tiles);
  s->u_point = s->n_in * HALF * PANEL + BF16_VEC;
  s->u_pairs = (size_t)(WINO2_POINTS * s->u_point);
  s->v_step = s->n_in * ROWS * HALF;
  const int64_t bytes = (int64_t)sizeof(uint32_t), all = up_to_rows(s->n_tiles);
  s->shared = WINO2_POINTS * all / ROWS * s->v_step * bytes <= SHARED_BYTES && s->n_panels >= 2 * (int64_t)threads &&
              s->n_panels * (int64_t)s->u_pairs * bytes >= LEAST_WEIGHTS;
  s->per_task = TASK_BYTES / (WINO2_POINTS * (PANEL + (s->shared ? 0 : s->n_in * HALF)) * bytes) / ROWS * ROWS;
  s->per_task = least(s->per_task < 2 * ROWS ? 2 * ROWS : s->per_task, all);
  s->v_point = (s->shared ? all : s->per_task) / ROWS * s->v_step + BF16_VEC;
  s->v_pairs = (size_t)(WINO2_POINTS * s->v_point);
  s->m_point = 2 * s->per_task * BF16_VEC + BF16_VEC;
  s->m_floats = (size_t)(WINO2_POINTS * s->m_point);
  p->workspace_bytes =
      sizeof(uint32_t) * (s->shared ? s->v_pairs + threads * (s->u_pairs + s->m_floats)
                                    : (size_t)s->n_panels * s->u_pairs + threads * (s->v_pairs + s->m_floats));
  p->in_layout[0] = p->out_layout[0] = IG_BLOCKED_C(BF16_VEC);
  p->in_layout[1] = IG_PLAIN;
  ig_conv2d_end_layouts(p);
  p->state = s;
  return IG_OK;
}

static ig_status prepare(ig_prepare *p) { return prepare_turned(p, false); }
static ig_status prepare_bwd_data(ig_prepare *p) { return prepare_turned(p, true); }

static bool supports(const ig_node *n, const ig_device_caps *caps, char *why, size_t why_bytes) {
  const ig_conv2d_dims d = ig_conv2d_dims_of(n);
  return ig_no_reason(wino2_refusal(n, &d), why, why_bytes);
}

#define COMMON                                                                                             \
  .flags = IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE | IG_IMPL_INEXACT, .isa = IG_ISA_LEVEL, .run = run, \
  .supports = supports, .destroy = ig_free
IG_IMPLS(conv2d_wino_bf16_cpu) = {{.name = "conv2d_wino_bf16_cpu", .prepare = prepare, COMMON},
                                  {.name = "conv2d_fused_wino_bf16_cpu", .prepare = prepare, COMMON},
                                  {.name = "conv2d_bwd_data_wino_bf16_cpu", .prepare = prepare_bwd_data, COMMON},
                                  {0}};
