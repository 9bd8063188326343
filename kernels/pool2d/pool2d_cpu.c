// Pooling on the CPU, PLAIN and BLOCKED_C, f32 and bf16. Rule: a vector of channels at a time, a row of outputs
// (forward) or inputs (backward) per task; each result is written by one task, in a fixed order of additions.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kernels/eltwise/lanes.h"
#include "kernels/eltwise/vec.h"
#include "kernels/pool2d/pool2d.h"

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

// Calls GROUP(c, n) for each group of n <= VEC channels of a block, whole groups with a constant n: only then does the
// compiler keep the lanes in registers. Padding lanes of a block are real (and zero) memory.
#define FOR_GROUPS(view, GROUP)               \
  do {                                        \
    int64_t c = 0;                            \
    for (; c + VEC <= (view).block; c += VEC) \
      GROUP(c, VEC);                          \
    if (c < (view).block)                     \
      GROUP(c, (view).block - c);             \
  } while (0)

// ---- maximum ----
// KH, KW: the kernel, constant for common ones. Windows that lie inside are straight code then.
VEC_INLINE void max_window(const pool *p, int KH, int KW, const void *x, ig_dtype type, int64_t origin, const window *w,
                           bool inside, int64_t n, vec *out, vec_i32 *place) {
  if (inside && KH == 3 && KW == 3) {
    const int64_t at = origin + (w->top * p->W + w->left) * p->big.stride_p;
    vec v[9];
#pragma GCC unroll 9
    for (int k = 0; k < 9; k++)
      v[k] = vec_load(x, type, at + (k / 3 * p->W + k % 3) * p->big.stride_p, n);
    if (vec_max_of_9(v, out, place))
      return;
  }
  bool zeros = !inside && p->a->pad_zero;
  int64_t h0 = inside || zeros ? 0 : w->h0, h1 = inside || zeros ? KH : w->h1;
  int64_t w0 = inside || zeros ? 0 : w->w0, w1 = inside || zeros ? KW : w->w1;
  vec best = (vec){0} - INFINITY;
  vec_i32 which = (vec_i32){0} + (int32_t)(h0 * KW + w0);
  for (int64_t kh = h0; kh < h1; kh++)
    for (int64_t kw = w0; kw < w1; kw++) {
      vec v = {0};
      if (!zeros || is_inside(w, kh, kw))
        v = vec_load(x, type, origin + ((w->top + kh) * p->W + w->left + kw) * p->big.stride_p, n);
      vec_take_larger(v, (int32_t)(kh * KW + kw), &best, &which);
    }
  *out = best;
  *place = which;
}

// channels: real ones from the group's first on; the places of padding lanes are 0 like everything there.
VEC_INLINE void max_group(const pool *p, int KH, int KW, const void *x, ig_dtype type, int64_t in, int64_t out,
                          const window *w, bool inside, int64_t channels, int64_t n, void *y, uint8_t *places) {
  vec best;
  vec_i32 which;
  max_window(p, KH, KW, x, type, in, w, inside, n, &best, &which);
  vec_store(y, type, out, n, best);
  if (channels < VEC)
    which &= vec_lanes() < (int32_t)channels;
  vec_u8 bytes = __builtin_convertvector(__builtin_convertvector(which, vec_u16), vec_u8);
  memcpy(places + out, &bytes, (size_t)n);
}

VEC_INLINE void max_row(const pool *p, int KH, int KW, const void *x, ig_dtype type, int64_t in, int64_t out,
                        int64_t oh, void *y, uint8_t *places, int64_t channels) {
  for (int64_t ow = 0; ow < p->OW; ow++) {
    window w = window_of(p, oh, ow);
    int64_t at = out + (oh * p->OW + ow) * p->small.stride_p;
    bool inside = w.h0 == 0 && w.w0 == 0 && w.h1 == KH && w.w1 == KW;
#define INSIDE(c, n) max_group(p, KH, KW, x, type, in + c, at + c, &w, true, channels - c, n, y, places)
#define BORDER(c, n) max_group(p, KH, KW, x, type, in + c, at + c, &w, false, channels - c, n, y, places)
    if (inside)
      FOR_GROUPS(p->small, INSIDE);
    else
      FOR_GROUPS(p->small, BORDER);
#undef INSIDE
#undef BORDER
  }
}

// Sum of dy over windows `rows` x `columns` that the element at (ih, iw) won.
VEC_INLINE void max_gather(const pool *p, const void *dy, ig_dtype type, const uint8_t *places, int64_t out, span rows,
                           span columns, int64_t ih, int64_t iw, int64_t n, void *dx, int64_t at) {
  const ig_pool2d_attr *a = p->a;
  vec sum = {0};
  for (int64_t oh = rows.first; oh < rows.end; oh++)
    for (int64_t ow = columns.first; ow < columns.end; ow++) {
      int64_t kh = ih + a->pad_top - oh * a->stride_h, kw = iw + a->pad_left - ow * a->stride_w;
      int64_t from = out + (oh * p->OW + ow) * p->small.stride_p;
      sum = vec_add_where(sum, vec_bytes(places + from, n), (uint8_t)(kh * a->kernel_w + kw),
                          vec_load(dy, type, from, n));
    }
  vec_store(dx, type, at, n, sum);
}

VEC_INLINE void max_gather_row(const pool *p, const void *dy, ig_dtype type, const uint8_t *places, int64_t in,
                               int64_t out, int64_t ih, void *dx) {
  span rows = covering(ih, p->a->kernel_h, p->a->stride_h, p->a->pad_top, p->OH);
  for (int64_t iw = 0; iw < p->W; iw++) {
    span columns = p->columns[iw];
    int64_t at = in + (ih * p->W + iw) * p->big.stride_p;
#define GROUP(c, n) max_gather(p, dy, type, places, out + c, rows, columns, ih, iw, n, dx, at + c)
    FOR_GROUPS(p->small, GROUP);
#undef GROUP
  }
}

// The same for windows of 3x3, two apart, over an even width behind one column of padding (ResNet's): column 2m is in
// window m alone, column 2m + 1 in m and m + 1. The sums have the same order as above.
static bool is_by_pairs(const pool *p) {
  const ig_pool2d_attr *a = p->a;
  return a->kernel_h == 3 && a->kernel_w == 3 && a->stride_h == 2 && a->stride_w == 2 && a->pad_left == 1 &&
         p->W == 2 * p->OW && p->small.block % VEC == 0;
}

VEC_INLINE void max_gather_pairs(const pool *p, const void *dy, ig_dtype type, const uint8_t *places, int64_t in,
                                 int64_t out, int64_t ih, int n_rows, span rows, bool stream, void *dx) {
  const int64_t step = p->small.stride_p;
  int64_t from[2], left[2];
  for (int r = 0; r < n_rows; r++) {
    from[r] = out + (rows.first + r) * p->OW * step;
    left[r] = 3 * (ih + p->a->pad_top - (rows.first + r) * 2);
  }
  vec dy_here[2] = {{0}}, dy_next[2];
  vec_u8 here[2] = {{0}}, next[2];
  for (int r = 0; r < n_rows; r++) {
    dy_here[r] = vec_load(dy, type, from[r], VEC);
    here[r] = vec_bytes(places + from[r], VEC);
  }
  for (int64_t m = 0; m < p->OW; m++) {
    vec even = {0}, odd = {0};
    for (int r = 0; r < n_rows; r++) {
      even = vec_add_where(even, here[r], (uint8_t)(left[r] + 1), dy_here[r]);
      odd = vec_add_where(odd, here[r], (uint8_t)(left[r] + 2), dy_here[r]);
      if (m + 1 < p->OW) {
        dy_next[r] = vec_load(dy, type, from[r] + (m + 1) * step, VEC);
        next[r] = vec_bytes(places + from[r] + (m + 1) * step, VEC);
        odd = vec_add_where(odd, next[r], (uint8_t)left[r], dy_next[r]);
        dy_here[r] = dy_next[r];
        here[r] = next[r];
      }
    }
    int64_t at = in + (ih * p->W + 2 * m) * p->big.stride_p;
    if (stream) {
      vec_stream(dx, type, at, even);
      vec_stream(dx, type, at + p->big.stride_p, odd);
    } else {
      vec_store(dx, type, at, VEC, even);
      vec_store(dx, type, at + p->big.stride_p, VEC, odd);
    }
  }
}

VEC_INLINE void max_gather_pairs_row(const pool *p, const void *dy, ig_dtype type, const uint8_t *places, int64_t in,
                                     int64_t out, int64_t ih, bool stream, void *dx) {
  span rows = covering(ih, 3, 2, p->a->pad_top, p->OH);
  for (int64_t c = 0; c < p->small.block; c += VEC)
    if (rows.end - rows.first == 2)
      max_gather_pairs(p, dy, type, places, in + c, out + c, ih, 2, rows, stream, dx);
    else
      max_gather_pairs(p, dy, type, places, in + c, out + c, ih, (int)(rows.end - rows.first), rows, stream, dx);
  if (stream)
    vec_stream_end();
}

// ---- average ----
VEC_INLINE void avg_window(const pool *p, const void *x, ig_dtype type, int64_t in, const window *w, float scale,
                           int64_t n, void *y, int64_t at) {
  vec sum = {0};
  for (int64_t kh = w->h0; kh < w->h1; kh++)
    for (int64_t kw = w->w0; kw < w->w1; kw++)
      sum += vec_load(x, type, in + ((w->top + kh) * p->W + w->left + kw) * p->big.stride_p, n);
  vec_store(y, type, at, n, sum * scale);
}

VEC_INLINE void avg_row(const pool *p, const void *x, ig_dtype type, int64_t in, int64_t out, int64_t oh, void *y) {
  for (int64_t ow = 0; ow < p->OW; ow++) {
    window w = window_of(p, oh, ow);
    float scale = inverse_count(p, &w);
    int64_t at = out + (oh * p->OW + ow) * p->small.stride_p;
#define GROUP(c, n) avg_window(p, x, type, in + c, &w, scale, n, y, at + c)
    FOR_GROUPS(p->small, GROUP);
#undef GROUP
  }
}

VEC_INLINE void avg_gather(const pool *p, const void *dy, ig_dtype type, int64_t out, span rows, span columns,
                           int64_t n, void *dx, int64_t at) {
  vec sum = {0};
  for (int64_t oh = rows.first; oh < rows.end; oh++)
    for (int64_t ow = columns.first; ow < columns.end; ow++) {
      window w = window_of(p, oh, ow);
      sum += vec_load(dy, type, out + (oh * p->OW + ow) * p->small.stride_p, n) * inverse_count(p, &w);
    }
  vec_store(dx, type, at, n, sum);
}

VEC_INLINE void avg_gather_row(const pool *p, const void *dy, ig_dtype type, int64_t in, int64_t out, int64_t ih,
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
  const int KH = p.a->kernel_h, KW = p.a->kernel_w;
#define ROWS(type, KH, KW) \
  FOR_ROWS(p, l, p.OH,     \
           max_row(&p, KH, KW, l->in[0], type, in, out, row, l->out[0], l->out[1], p.small.C - b * p.small.block))
  if (KH == 3 && KW == 3 && p.big_type == IG_F32)
    ROWS(IG_F32, 3, 3);
  else if (KH == 3 && KW == 3)
    ROWS(IG_BF16, 3, 3);
  else if (p.big_type == IG_F32)
    ROWS(IG_F32, KH, KW);
  else
    ROWS(IG_BF16, KH, KW);
#undef ROWS
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
  const ig_tensor *dx = l->node->out[0];
  bool stream = ig_layout_bytes(NULL, l->out_layout[0], &dx->shape, dx->dtype) >= VEC_STREAM_BYTES &&
                (uintptr_t)l->out[0] % 64 == 0;
  if (is_by_pairs(&p) && p.small_type == IG_F32)
    FOR_ROWS(p, l, p.H, max_gather_pairs_row(&p, l->in[0], IG_F32, l->in[1], in, out, row, stream, l->out[0]));
  else if (is_by_pairs(&p))
    FOR_ROWS(p, l, p.H, max_gather_pairs_row(&p, l->in[0], IG_BF16, l->in[1], in, out, row, stream, l->out[0]));
  else if (p.small_type == IG_F32)
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
