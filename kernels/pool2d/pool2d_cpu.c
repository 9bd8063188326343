// Pooling on the CPU, PLAIN and BLOCKED_C, f32 and bf16. Rule: eight channels at a time in a vector type, a row of
// outputs (forward) or inputs (backward) per task; each result is written by one task, in a fixed order of additions.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kernels/eltwise/lanes.h"
#include "kernels/pool2d/pool2d.h"

#pragma GCC diagnostic ignored "-Wpsabi"  // the vectors below never cross a real call

// ---- eight lanes ----
#define INLINE static inline __attribute__((always_inline))
typedef float f32x8 __attribute__((vector_size(32)));
typedef int32_t i32x8 __attribute__((vector_size(32)));
typedef uint32_t u32x8 __attribute__((vector_size(32)));
typedef uint16_t u16x8 __attribute__((vector_size(16)));
typedef uint8_t u8x8 __attribute__((vector_size(8)));

// n <= 8 numbers; lanes from n on are 0.
INLINE f32x8 load8(const void *p, ig_dtype type, int64_t at, int64_t n) {
  if (type == IG_F32) {
    f32x8 v = {0};
    if (n == 8)
      memcpy(&v, (const float *)p + at, sizeof v);
    else
      for (int64_t i = 0; i < n; i++)
        v[i] = ((const float *)p)[at + i];
    return v;
  }
  u16x8 h = {0};
  if (n == 8)
    memcpy(&h, (const uint16_t *)p + at, sizeof h);
  else
    for (int64_t i = 0; i < n; i++)
      h[i] = ((const uint16_t *)p)[at + i];
  return (f32x8)(__builtin_convertvector(h, u32x8) << 16);
}

INLINE void store8(void *p, ig_dtype type, int64_t at, int64_t n, const f32x8 *value) {
  f32x8 v = *value;
  if (type == IG_F32) {
    if (n == 8)
      memcpy((float *)p + at, &v, sizeof v);
    else
      for (int64_t i = 0; i < n; i++)
        ((float *)p)[at + i] = v[i];
    return;
  }
  u32x8 u = (u32x8)v, is_nan = (u32x8)((u & 0x7fffffffu) > 0x7f800000u);
  u32x8 rounded = (u + 0x7fffu + ((u >> 16) & 1)) >> 16, quiet = (u >> 16) | 0x40;
  u16x8 h = __builtin_convertvector((quiet & is_nan) | (rounded & ~is_nan), u16x8);
  if (n == 8)
    memcpy((uint16_t *)p + at, &h, sizeof h);
  else
    for (int64_t i = 0; i < n; i++)
      ((uint16_t *)p)[at + i] = h[i];
}

INLINE i32x8 load_places(const uint8_t *p, int64_t n) {
  u8x8 b = {0};
  if (n == 8)
    memcpy(&b, p, sizeof b);
  else
    for (int64_t i = 0; i < n; i++)
      b[i] = p[i];
  return __builtin_convertvector(__builtin_convertvector(b, u16x8), i32x8);  // in one step it is scalar code
}
INLINE void store_places(uint8_t *p, int64_t n, const i32x8 *v) {
  u8x8 b = __builtin_convertvector(__builtin_convertvector(*v, u16x8), u8x8);
  if (n == 8)
    memcpy(p, &b, sizeof b);
  else
    for (int64_t i = 0; i < n; i++)
      p[i] = b[i];
}

// ---- geometry ----
typedef struct pool {
  const ig_pool2d_attr *a;
  ig_view4 big, small;  // the input's and the output's side
  int64_t H, W, OH, OW;
  ig_dtype big_type, small_type;
  const struct span *columns;  // backward: the windows that cover each column of the input
} pool;

typedef struct span {
  int32_t first, end;  // windows [first, end)
} span;

// Part of a window that lies inside: places [h0,h1) x [w0,w1), its top left corner at (top, left).
typedef struct window {
  int64_t top, left, h0, h1, w0, w1;
} window;

static int64_t low(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t high(int64_t a, int64_t b) { return a > b ? a : b; }

static window window_of(const pool *p, int64_t oh, int64_t ow) {
  const ig_pool2d_attr *a = p->a;
  window w = {.top = oh * a->stride_h - a->pad_top, .left = ow * a->stride_w - a->pad_left};
  w.h0 = high(0, -w.top);
  w.h1 = low(a->kernel_h, p->H - w.top);
  w.w0 = high(0, -w.left);
  w.w1 = low(a->kernel_w, p->W - w.left);
  return w;
}
static bool is_inside(const window *w, int64_t kh, int64_t kw) {
  return kh >= w->h0 && kh < w->h1 && kw >= w->w0 && kw < w->w1;
}
static float inverse_count(const pool *p, const window *w) {
  int64_t inside = (w->h1 - w->h0) * (w->w1 - w->w0);
  return 1.0f / (float)(p->a->count_include_pad ? p->a->kernel_h * p->a->kernel_w : inside);
}

// Windows whose places cover position i of a side.
static span covering(int64_t i, int kernel, int stride, int before, int64_t n_windows) {
  int64_t from = i + before - kernel + 1;
  return (span){(int32_t)(from <= 0 ? 0 : (from + stride - 1) / stride),
                (int32_t)low((i + before) / stride + 1, n_windows)};
}

// Calls GROUP(c, n) for each group of n <= 8 channels of a block, whole groups with a constant n: only then does the
// compiler keep the lanes in registers. Padding lanes of a block are real (and zero) memory.
#define FOR_GROUPS(view, GROUP)           \
  do {                                    \
    int64_t c = 0;                        \
    for (; c + 8 <= (view).block; c += 8) \
      GROUP(c, 8);                        \
    if (c < (view).block)                 \
      GROUP(c, (view).block - c);         \
  } while (0)

// ---- maximum ----
INLINE void max_window(const pool *p, const void *x, ig_dtype type, int64_t origin, const window *w, int64_t n,
                       f32x8 *out, i32x8 *place) {
  const ig_pool2d_attr *a = p->a;
  bool border = w->h0 > 0 || w->w0 > 0 || w->h1 < a->kernel_h || w->w1 < a->kernel_w;
  bool zeros = border && a->pad_zero;
  int64_t h0 = zeros ? 0 : w->h0, h1 = zeros ? a->kernel_h : w->h1;
  int64_t w0 = zeros ? 0 : w->w0, w1 = zeros ? a->kernel_w : w->w1;
  f32x8 best = (f32x8){0} - INFINITY;
  i32x8 which = (i32x8){0} + (int32_t)(h0 * a->kernel_w + w0);
  for (int64_t kh = h0; kh < h1; kh++)
    for (int64_t kw = w0; kw < w1; kw++) {
      f32x8 v = {0};
      if (!zeros || is_inside(w, kh, kw))
        v = load8(x, type, origin + ((w->top + kh) * p->W + w->left + kw) * p->big.stride_p, n);
      i32x8 take = (i32x8)(v > best) | (i32x8)(v != v);
      best = (f32x8)(((i32x8)v & take) | ((i32x8)best & ~take));
      which = (((i32x8){0} + (int32_t)(kh * a->kernel_w + kw)) & take) | (which & ~take);
    }
  *out = best;
  *place = which;
}

// channels: real ones from the group's first on; the places of padding lanes are 0 like everything there.
INLINE void max_group(const pool *p, const void *x, ig_dtype type, int64_t in, int64_t out, const window *w,
                      int64_t channels, int64_t n, void *y, uint8_t *places) {
  const i32x8 lanes = {0, 1, 2, 3, 4, 5, 6, 7};
  f32x8 best;
  i32x8 which;
  max_window(p, x, type, in, w, n, &best, &which);
  store8(y, type, out, n, &best);
  which &= lanes < (int32_t)low(8, channels);
  store_places(places + out, n, &which);
}

INLINE void max_row(const pool *p, const void *x, ig_dtype type, int64_t in, int64_t out, int64_t oh, void *y,
                    uint8_t *places, int64_t channels) {
  for (int64_t ow = 0; ow < p->OW; ow++) {
    window w = window_of(p, oh, ow);
    int64_t at = out + (oh * p->OW + ow) * p->small.stride_p;
#define GROUP(c, n) max_group(p, x, type, in + c, at + c, &w, channels - c, n, y, places)
    FOR_GROUPS(p->small, GROUP);
#undef GROUP
  }
}

// Sum of dy over windows `rows` x `columns` that the element at (ih, iw) won.
INLINE void max_gather(const pool *p, const void *dy, ig_dtype type, const uint8_t *places, int64_t out, span rows,
                       span columns, int64_t ih, int64_t iw, int64_t n, void *dx, int64_t at) {
  const ig_pool2d_attr *a = p->a;
  f32x8 sum = {0};
  for (int64_t oh = rows.first; oh < rows.end; oh++)
    for (int64_t ow = columns.first; ow < columns.end; ow++) {
      int64_t kh = ih + a->pad_top - oh * a->stride_h, kw = iw + a->pad_left - ow * a->stride_w;
      int64_t from = out + (oh * p->OW + ow) * p->small.stride_p;
      i32x8 won = load_places(places + from, n) == (int32_t)(kh * a->kernel_w + kw);
      sum += (f32x8)((i32x8)load8(dy, type, from, n) & won);
    }
  store8(dx, type, at, n, &sum);
}

INLINE void max_gather_row(const pool *p, const void *dy, ig_dtype type, const uint8_t *places, int64_t in, int64_t out,
                           int64_t ih, void *dx) {
  span rows = covering(ih, p->a->kernel_h, p->a->stride_h, p->a->pad_top, p->OH);
  for (int64_t iw = 0; iw < p->W; iw++) {
    span columns = p->columns[iw];
    int64_t at = in + (ih * p->W + iw) * p->big.stride_p;
#define GROUP(c, n) max_gather(p, dy, type, places, out + c, rows, columns, ih, iw, n, dx, at + c)
    FOR_GROUPS(p->small, GROUP);
#undef GROUP
  }
}

// ---- average ----
INLINE void avg_window(const pool *p, const void *x, ig_dtype type, int64_t in, const window *w, float scale, int64_t n,
                       void *y, int64_t at) {
  f32x8 sum = {0};
  for (int64_t kh = w->h0; kh < w->h1; kh++)
    for (int64_t kw = w->w0; kw < w->w1; kw++)
      sum += load8(x, type, in + ((w->top + kh) * p->W + w->left + kw) * p->big.stride_p, n);
  sum *= scale;
  store8(y, type, at, n, &sum);
}

INLINE void avg_row(const pool *p, const void *x, ig_dtype type, int64_t in, int64_t out, int64_t oh, void *y) {
  for (int64_t ow = 0; ow < p->OW; ow++) {
    window w = window_of(p, oh, ow);
    float scale = inverse_count(p, &w);
    int64_t at = out + (oh * p->OW + ow) * p->small.stride_p;
#define GROUP(c, n) avg_window(p, x, type, in + c, &w, scale, n, y, at + c)
    FOR_GROUPS(p->small, GROUP);
#undef GROUP
  }
}

INLINE void avg_gather(const pool *p, const void *dy, ig_dtype type, int64_t out, span rows, span columns, int64_t n,
                       void *dx, int64_t at) {
  f32x8 sum = {0};
  for (int64_t oh = rows.first; oh < rows.end; oh++)
    for (int64_t ow = columns.first; ow < columns.end; ow++) {
      window w = window_of(p, oh, ow);
      sum += load8(dy, type, out + (oh * p->OW + ow) * p->small.stride_p, n) * inverse_count(p, &w);
    }
  store8(dx, type, at, n, &sum);
}

INLINE void avg_gather_row(const pool *p, const void *dy, ig_dtype type, int64_t in, int64_t out, int64_t ih,
                           void *dx) {
  span rows = covering(ih, p->a->kernel_h, p->a->stride_h, p->a->pad_top, p->OH);
  for (int64_t iw = 0; iw < p->W; iw++) {
    span columns = p->columns[iw];
    int64_t at = in + (ih * p->W + iw) * p->big.stride_p;
#define GROUP(c, n) avg_gather(p, dy, type, out + c, rows, columns, n, dx, at + c)
    FOR_GROUPS(p->small, GROUP);
#undef GROUP
  }
}

// ---- layouts and launches ----
// All rank-4 tensors take the layout of operand `leader`, or plain where it is a library's own.
static ig_status follow(ig_prepare *p, int leader) {
  ig_layout layout = p->in_layout[leader];
  if (layout.kind == IG_LAYOUT_OPAQUE)
    layout = IG_PLAIN;
  for (int i = 0; i < p->node->n_in; i++)
    p->in_layout[i] = layout;
  for (int i = 0; i < p->node->n_out; i++)
    p->out_layout[i] = layout;
  return IG_OK;
}
static ig_status prepare_first(ig_prepare *p) { return follow(p, 0); }
static ig_status prepare_bwd(ig_prepare *p) {
  p->workspace_bytes = (size_t)p->node->out[0]->shape.d[2] * sizeof(span);
  return follow(p, 0);
}
// The places stay where the forward pass put them; dy comes to them.
static ig_status prepare_places(ig_prepare *p) {
  p->workspace_bytes = (size_t)p->node->out[0]->shape.d[2] * sizeof(span);
  return follow(p, 1);
}

static pool pool_of(const ig_pool2d_attr *a, const ig_tensor *big, ig_layout big_layout, const ig_tensor *small,
                    ig_layout small_layout) {
  return (pool){.a = a,
                .big = ig_view4_of(&big->shape, big_layout),
                .small = ig_view4_of(&small->shape, small_layout),
                .H = big->shape.d[1],
                .W = big->shape.d[2],
                .OH = small->shape.d[1],
                .OW = small->shape.d[2],
                .big_type = big->dtype,
                .small_type = small->dtype};
}

static pool pool_of_bwd(const ig_launch *l) {
  const ig_node *n = l->node;
  const ig_pool2d_bwd_attr *attr = n->attr;
  pool p = pool_of(&attr->pool, n->out[0], l->out_layout[0], n->in[0], l->in_layout[0]);
  span *columns = l->workspace;
  for (int64_t i = 0; i < p.W; i++)
    columns[i] = covering(i, p.a->kernel_w, p.a->stride_w, p.a->pad_left, p.OW);
  p.columns = columns;
  return p;
}

// Tasks: (sample, block, row of `rows`). BODY sees in and out, the plane's first element on either side, and row.
#define FOR_ROWS(p, l, rows, BODY)                                                                                   \
  do {                                                                                                               \
    int64_t n_tasks = (p).small.N * (p).small.n_blocks * (rows);                                                     \
    _Pragma(                                                                                                         \
        "omp parallel for schedule(static) num_threads((l)->device->caps.threads) if (n_tasks > 1)") for (int64_t    \
                                                                                                              task = \
                                                                                                                  0; \
                                                                                                          task <     \
                                                                                                          n_tasks;   \
                                                                                                          task++) {  \
      int64_t row = task % (rows), b = task / (rows) % (p).small.n_blocks, n = task / (rows) / (p).small.n_blocks;   \
      int64_t in = n * (p).big.stride_n + b * (p).big.stride_b;                                                      \
      int64_t out = n * (p).small.stride_n + b * (p).small.stride_b;                                                 \
      BODY;                                                                                                          \
    }                                                                                                                \
  } while (0)

static ig_status maxpool2d_cpu(const ig_launch *l) {
  const ig_node *n = l->node;
  pool p = pool_of(n->attr, n->in[0], l->in_layout[0], n->out[0], l->out_layout[0]);
  if (p.big_type == IG_F32)
    FOR_ROWS(p, l, p.OH,
             max_row(&p, l->in[0], IG_F32, in, out, row, l->out[0], l->out[1], p.small.C - b * p.small.block));
  else
    FOR_ROWS(p, l, p.OH,
             max_row(&p, l->in[0], IG_BF16, in, out, row, l->out[0], l->out[1], p.small.C - b * p.small.block));
  return IG_OK;
}

static ig_status avgpool2d_cpu(const ig_launch *l) {
  const ig_node *n = l->node;
  pool p = pool_of(n->attr, n->in[0], l->in_layout[0], n->out[0], l->out_layout[0]);
  if (p.big_type == IG_F32)
    FOR_ROWS(p, l, p.OH, avg_row(&p, l->in[0], IG_F32, in, out, row, l->out[0]));
  else
    FOR_ROWS(p, l, p.OH, avg_row(&p, l->in[0], IG_BF16, in, out, row, l->out[0]));
  return IG_OK;
}

static ig_status maxpool2d_bwd_cpu(const ig_launch *l) {
  pool p = pool_of_bwd(l);
  if (p.small_type == IG_F32)
    FOR_ROWS(p, l, p.H, max_gather_row(&p, l->in[0], IG_F32, l->in[1], in, out, row, l->out[0]));
  else
    FOR_ROWS(p, l, p.H, max_gather_row(&p, l->in[0], IG_BF16, l->in[1], in, out, row, l->out[0]));
  return IG_OK;
}

static ig_status avgpool2d_bwd_cpu(const ig_launch *l) {
  pool p = pool_of_bwd(l);
  if (p.small_type == IG_F32)
    FOR_ROWS(p, l, p.H, avg_gather_row(&p, l->in[0], IG_F32, in, out, row, l->out[0]));
  else
    FOR_ROWS(p, l, p.H, avg_gather_row(&p, l->in[0], IG_BF16, in, out, row, l->out[0]));
  return IG_OK;
}

// ---- mean over all positions ----
#define TILE 256  // channels summed at once, in double

static ig_status prepare_global(ig_prepare *p) {
  if (p->in_layout[0].kind == IG_LAYOUT_OPAQUE)
    p->in_layout[0] = IG_PLAIN;
  p->out_layout[0] = IG_PLAIN;
  return IG_OK;
}

// Channels c..c+n of one block of one sample.
static void mean_tile(const ig_view4 *v, const void *x, ig_dtype type, int64_t at, int64_t n, float *mean) {
  double sum[TILE] = {0};
  float buffer[TILE];
  if (v->block == 1) {  // one channel: positions lie one behind the other
    double total = 0;
    for (int64_t p = 0; p < v->P; p += TILE) {
      int64_t m = low(TILE, v->P - p);
      const float *row = ig_lanes_load(x, type, at + p, m, buffer);
      double part = 0;
#pragma omp simd reduction(+ : part)
      for (int64_t i = 0; i < m; i++)
        part += (double)row[i];
      total += part;
    }
    sum[0] = total;
  } else {
    for (int64_t p = 0; p < v->P; p++) {
      const float *row = ig_lanes_load(x, type, at + p * v->stride_p, n, buffer);
#pragma omp simd
      for (int64_t i = 0; i < n; i++)
        sum[i] += (double)row[i];
    }
  }
  for (int64_t i = 0; i < n; i++)
    mean[i] = (float)(sum[i] / (double)v->P);
}

static ig_status global_avgpool_cpu(const ig_launch *l) {
  const ig_tensor *x = l->node->in[0];
  ig_view4 v = ig_view4_of(&x->shape, l->in_layout[0]);
  int64_t tiles = (v.block + TILE - 1) / TILE, n_tasks = v.N * v.n_blocks * tiles;
#pragma omp parallel for schedule(static) num_threads(l->device->caps.threads) if (n_tasks * v.P > 64)
  for (int64_t task = 0; task < n_tasks; task++) {
    int64_t c = task % tiles * TILE, b = task / tiles % v.n_blocks, sample = task / tiles / v.n_blocks;
    int64_t channel = b * v.block + c, n = low(low(TILE, v.block - c), v.C - channel);
    float mean[TILE];
    mean_tile(&v, l->in[0], x->dtype, sample * v.stride_n + b * v.stride_b + c, n, mean);
    int64_t at = sample * v.C + channel;
    if (x->dtype == IG_F32)
      memcpy((float *)l->out[0] + at, mean, (size_t)n * sizeof(float));
    else
      ig_lanes_store(l->out[0], x->dtype, at, n, mean);
  }
  return IG_OK;
}

// dx lies as x does; x itself is not read.
static ig_status prepare_global_bwd(ig_prepare *p) {
  p->in_layout[0] = IG_PLAIN;
  p->out_layout[0] = p->in_layout[1].kind == IG_LAYOUT_OPAQUE ? IG_PLAIN : p->in_layout[1];
  return IG_OK;
}

static ig_status global_avgpool_bwd_cpu(const ig_launch *l) {
  const ig_tensor *dx = l->node->out[0];
  ig_view4 v = ig_view4_of(&dx->shape, l->out_layout[0]);
  ig_dtype dy_type = l->node->in[0]->dtype;
  int64_t tiles = (v.block + TILE - 1) / TILE, n_tasks = v.N * v.n_blocks * tiles;
  float scale = 1.0f / (float)v.P;
#pragma omp parallel for schedule(static) num_threads(l->device->caps.threads) if (n_tasks * v.P > 64)
  for (int64_t task = 0; task < n_tasks; task++) {
    int64_t c = task % tiles * TILE, b = task / tiles % v.n_blocks, sample = task / tiles / v.n_blocks;
    int64_t channel = b * v.block + c, width = low(TILE, v.block - c), n = low(width, v.C - channel);
    int64_t at = sample * v.stride_n + b * v.stride_b + c;
    float row[TILE] = {0}, buffer[TILE];
    const float *dy = ig_lanes_load(l->in[0], dy_type, sample * v.C + channel, n, buffer);
    for (int64_t i = 0; i < n; i++)
      row[i] = dy[i] * scale;
    for (int64_t p = 0; p < v.P; p++) {
      if (dx->dtype == IG_F32)
        memcpy((float *)l->out[0] + at + p * v.stride_p, row, (size_t)width * sizeof(float));
      else
        ig_lanes_store(l->out[0], dx->dtype, at + p * v.stride_p, width, row);
    }
  }
  return IG_OK;
}

#define CPU(op, prepare_fn)                                                                        \
  {                                                                                                \
    .name = #op "_cpu", .flags = IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE, .isa = IG_ISA_LEVEL, \
    .supports = ig_lanes_supports, .prepare = prepare_fn, .run = op##_cpu                          \
  }
IG_IMPLS(pool2d_cpu) = {CPU(maxpool2d, prepare_first),
                        CPU(maxpool2d_bwd, prepare_places),
                        CPU(avgpool2d, prepare_first),
                        CPU(avgpool2d_bwd, prepare_bwd),
                        CPU(global_avgpool, prepare_global),
                        CPU(global_avgpool_bwd, prepare_global_bwd),
                        {0}};
