// Winograd's minimal filtering F(4x4,3x3) in vectors of channels: what the convolution, its data gradient and its
// weight gradient share. A tile is 6x6 positions of x and 4x4 of y; at each of the 36 points of the transformed plane
// the convolution is a matrix product over channels, with a quarter of the direct multiplications.
//   y = A^T [(G w G^T) . (B^T x B)] A,   dw = G^T [sum over tiles of (B^T x B) . (A dy A^T)] G
// by Toom-Cook at the points 0, a, -a, b, -b, infinity. Where 4 does not divide a side, as many tiles as it takes are
// short there: F(3) at the same points without -b, by the same G (the factor by which their scales differ, point + b,
// stands in their B), so that a product at a point with -b is made of the other tiles alone: 14 positions take 22
// points a side in place of 24. Rule: included by <..>_cpu.c files alone, once an instruction set. Sources: Winograd
// 1980; Lavin and Gray 2015 (arXiv:1509.09308); choice of points: Barabasz et al. 2018 (arXiv:1803.10986).
#ifndef IG_KERNELS_CONV2D_WINO_H
#define IG_KERNELS_CONV2D_WINO_H

#include "kernels/conv2d/conv2d.h"
#include "kernels/kernels.h"

#if defined(IG_ISA_avx512)
enum { WINO_VEC = 16 };
#else
enum { WINO_VEC = 8 };
#endif
enum { WINO_IN = 6, WINO_OUT = 4, WINO_POINTS = 36, WINO_TAPS = 9 };
enum { WINO_NOT_SHORT = 4 };  // the place of -b: short tiles have it not
typedef float wino_vec __attribute__((vector_size(WINO_VEC * sizeof(float)), aligned(4), may_alias));

// The points, their squares p and q, and the scales 1/N of Toom-Cook's interpolation.
#define WINO_a  0.625f
#define WINO_b  1.5f
#define WINO_p  (WINO_a * WINO_a)
#define WINO_q  (WINO_b * WINO_b)
#define WINO_n0 (1 / (WINO_p * WINO_q))
#define WINO_na (1 / (2 * WINO_p * (WINO_p - WINO_q)))
#define WINO_nb (1 / (2 * WINO_q * (WINO_q - WINO_p)))

// One dimension of each transform: from[i * step], i counted along it, to `to` in the same way.
#define WINO_INLINE static inline __attribute__((always_inline))

// B^T: 6 -> 6.
WINO_INLINE void wino_in(const wino_vec *x, int step, wino_vec *to, int to_step) {
  wino_vec x0 = x[0], x1 = x[step], x2 = x[2 * step], x3 = x[3 * step], x4 = x[4 * step], x5 = x[5 * step];
  wino_vec e = x4 - WINO_q * x2, o = WINO_a * (x3 - WINO_q * x1);
  wino_vec f = x4 - WINO_p * x2, u = WINO_b * (x3 - WINO_p * x1);
  to[0] = WINO_p * WINO_q * x0 - (WINO_p + WINO_q) * x2 + x4;
  to[to_step] = e + o;
  to[2 * to_step] = e - o;
  to[3 * to_step] = f + u;
  to[4 * to_step] = f - u;
  to[5 * to_step] = WINO_p * WINO_q * x1 - (WINO_p + WINO_q) * x3 + x5;
}

// A^T: 6 -> 4.
WINO_INLINE void wino_out(const wino_vec *m, int step, wino_vec *to, int to_step) {
  wino_vec s = m[step] + m[2 * step], d = m[step] - m[2 * step];
  wino_vec t = m[3 * step] + m[4 * step], e = m[3 * step] - m[4 * step];
  to[0] = m[0] + s + t;
  to[to_step] = WINO_a * d + WINO_b * e;
  to[2 * to_step] = WINO_p * s + WINO_q * t;
  to[3 * to_step] = WINO_p * WINO_a * d + WINO_q * WINO_b * e + m[5 * step];
}

// A: 4 -> 6.
WINO_INLINE void wino_dy(const wino_vec *y, int step, wino_vec *to, int to_step) {
  wino_vec y0 = y[0], y1 = y[step], y2 = y[2 * step], y3 = y[3 * step];
  wino_vec e = y0 + WINO_p * y2, o = WINO_a * y1 + WINO_a * WINO_p * y3;
  wino_vec f = y0 + WINO_q * y2, u = WINO_b * y1 + WINO_b * WINO_q * y3;
  to[0] = y0;
  to[to_step] = e + o;
  to[2 * to_step] = e - o;
  to[3 * to_step] = f + u;
  to[4 * to_step] = f - u;
  to[5 * to_step] = y3;
}

// The same of a short tile: 5 -> 6, 6 -> 3 and 3 -> 6, where that of -b is zero or not read.
WINO_INLINE void wino_in_short(const wino_vec *x, int step, wino_vec *to, int to_step) {
  wino_vec x0 = x[0], x1 = x[step], x2 = x[2 * step], x3 = x[3 * step], x4 = x[4 * step];
  to[0] = WINO_p * WINO_q * x0 - WINO_p * WINO_b * x1 - WINO_q * x2 + WINO_b * x3;
  to[to_step] = (WINO_a + WINO_b) * (x3 + (WINO_a - WINO_b) * x2 - WINO_a * WINO_b * x1);
  to[2 * to_step] = (WINO_b - WINO_a) * (x3 - (WINO_a + WINO_b) * x2 + WINO_a * WINO_b * x1);
  to[3 * to_step] = 2 * WINO_b * (x3 - WINO_p * x1);
  to[4 * to_step] = (wino_vec){0};
  to[5 * to_step] = x4 - WINO_b * x3 - WINO_p * x2 + WINO_p * WINO_b * x1;
}
WINO_INLINE void wino_out_short(const wino_vec *m, int step, wino_vec *to, int to_step) {
  wino_vec s = m[step] + m[2 * step], d = m[step] - m[2 * step], t = m[3 * step];
  to[0] = m[0] + s + t;
  to[to_step] = WINO_a * d + WINO_b * t;
  to[2 * to_step] = WINO_p * s + WINO_q * t + m[5 * step];
}
WINO_INLINE void wino_dy_short(const wino_vec *y, int step, wino_vec *to, int to_step) {
  wino_vec y0 = y[0], y1 = y[step], y2 = y[2 * step];
  wino_vec e = y0 + WINO_p * y2, o = WINO_a * y1;
  to[0] = y0;
  to[to_step] = e + o;
  to[2 * to_step] = e - o;
  to[3 * to_step] = y0 + WINO_b * y1 + WINO_q * y2;
  to[4 * to_step] = (wino_vec){0};
  to[5 * to_step] = y2;
}

// G: 3 -> 6.
WINO_INLINE void wino_w(const wino_vec *w, int step, wino_vec *to, int to_step) {
  wino_vec w0 = w[0], w1 = w[step], w2 = w[2 * step];
  wino_vec e = WINO_na * w0 + WINO_na * WINO_p * w2, o = WINO_na * WINO_a * w1;
  wino_vec f = WINO_nb * w0 + WINO_nb * WINO_q * w2, u = WINO_nb * WINO_b * w1;
  to[0] = WINO_n0 * w0;
  to[to_step] = e + o;
  to[2 * to_step] = e - o;
  to[3 * to_step] = f + u;
  to[4 * to_step] = f - u;
  to[5 * to_step] = w2;
}

// G^T: 6 -> 3.
WINO_INLINE void wino_dw(const wino_vec *g, int step, wino_vec *to, int to_step) {
  wino_vec s = WINO_na * (g[step] + g[2 * step]), d = WINO_na * (g[step] - g[2 * step]);
  wino_vec t = WINO_nb * (g[3 * step] + g[4 * step]), e = WINO_nb * (g[3 * step] - g[4 * step]);
  to[0] = WINO_n0 * g[0] + s + t;
  to[to_step] = WINO_a * d + WINO_b * e;
  to[2 * to_step] = WINO_p * s + WINO_q * t + g[5 * step];
}

// Pictures cut into tiles, ordered by kind: long ones of short columns, long, short ones of long columns, short, so
// that those with a point of -b in either dimension stand together.
enum { WINO_SHORT_ROWS = 2, WINO_SHORT_COLUMNS = 1, WINO_KINDS = 4 };
typedef struct wino_place {
  int32_t n, p, q, kind;  // sample; first row and column of y; WINO_SHORT_..
} wino_place;

typedef struct wino_tiles {
  int64_t N, rows, columns;  // of tiles in a sample
  int64_t long_rows, long_columns;
  int64_t H, W, P, Q;  // of x and y
  int64_t pad_top, pad_left;
  int64_t ends[WINO_KINDS];  // of the kinds in their order
  const wino_place *places;  // a tile each
} wino_tiles;

// Without places, which wino_find_places fills.
WINO_INLINE wino_tiles wino_tiles_of(int64_t N, int64_t H, int64_t W, int64_t P, int64_t Q, int64_t pad_top,
                                     int64_t pad_left) {
  const int64_t rows = (P + WINO_OUT - 1) / WINO_OUT, columns = (Q + WINO_OUT - 1) / WINO_OUT;
  const int64_t r = WINO_OUT * rows - P, c = WINO_OUT * columns - Q;  // positions too many
  const int64_t long_rows = rows - (r < rows ? r : rows), long_columns = columns - (c < columns ? c : columns);
  wino_tiles t = {N, rows, columns, long_rows, long_columns, H, W, P, Q, pad_top, pad_left, {0}, NULL};
  t.ends[0] = N * long_rows * (columns - long_columns);
  t.ends[1] = t.ends[0] + N * long_rows * long_columns;
  t.ends[2] = t.ends[1] + N * (rows - long_rows) * long_columns;
  t.ends[3] = N * rows * columns;
  return t;
}
WINO_INLINE int64_t wino_n_tiles(const wino_tiles *t) { return t->N * t->rows * t->columns; }

WINO_INLINE int64_t wino_first(int64_t i, int64_t n_long) {
  return i < n_long ? i * WINO_OUT : n_long * WINO_OUT + (i - n_long) * (WINO_OUT - 1);
}

static void wino_find_places(wino_tiles *t, wino_place *places) {
  static const int order[WINO_KINDS] = {WINO_SHORT_COLUMNS, 0, WINO_SHORT_ROWS, WINO_SHORT_ROWS | WINO_SHORT_COLUMNS};
  int64_t i = 0;
  for (int k = 0; k < WINO_KINDS; k++) {
    const bool short_rows = order[k] & WINO_SHORT_ROWS, short_columns = order[k] & WINO_SHORT_COLUMNS;
    for (int64_t n = 0; n < t->N; n++)
      for (int64_t r = short_rows ? t->long_rows : 0; r < (short_rows ? t->rows : t->long_rows); r++)
        for (int64_t c = short_columns ? t->long_columns : 0; c < (short_columns ? t->columns : t->long_columns); c++)
          places[i++] = (wino_place){(int32_t)n, (int32_t)wino_first(r, t->long_rows),
                                     (int32_t)wino_first(c, t->long_columns), order[k]};
  }
  t->places = places;
}

// The tiles [first, end) that have point f.
typedef struct wino_range {
  int64_t first, end;
} wino_range;

WINO_INLINE wino_range wino_with_point(const wino_tiles *t, int f) {
  const bool r = f / WINO_IN == WINO_NOT_SHORT, c = f % WINO_IN == WINO_NOT_SHORT;
  return (wino_range){c ? t->ends[0] : 0, r ? t->ends[1] : c ? t->ends[2] : t->ends[3]};
}

// The part of rows x columns positions from (h, w) on that lies in a plane of H x W vectors; zero outside.
WINO_INLINE void wino_load(const float *plane, int64_t H, int64_t W, int64_t h, int64_t w, int rows, int columns,
                           wino_vec *tile) {
  const int64_t r1 = h + rows < H ? rows : H - h, c1 = w + columns < W ? columns : W - w;
  for (int i = 0; i < rows * columns; i++)
    tile[i] = (wino_vec){0};
  for (int64_t r = h < 0 ? -h : 0; r < r1; r++)
    for (int64_t c = w < 0 ? -w : 0; c < c1; c++)
      tile[r * columns + c] = *(const wino_vec *)(plane + ((h + r) * W + w + c) * WINO_VEC);
}

// Transform f of the rows and g of the columns of a tile of n x m vectors, `row` floats a row, into 36 streams `point`
// floats apart.
#define WINO_TILE(f, n, g, m, from, row, to, point)                      \
  do {                                                                   \
    wino_vec half_[WINO_IN * (m)], out_[WINO_IN];                        \
    _Pragma("GCC unroll 6") for (int i_ = 0; i_ < (m); i_++) {           \
      wino_vec in_[n];                                                   \
      _Pragma("GCC unroll 6") for (int r_ = 0; r_ < (n); r_++) in_[r_] = \
          *(const wino_vec *)((from) + r_ * (row) + i_ * WINO_VEC);      \
      f(in_, 1, half_ + i_, m);                                          \
    }                                                                    \
    _Pragma("GCC unroll 6") for (int i_ = 0; i_ < WINO_IN; i_++) {       \
      g(half_ + i_ * (m), 1, out_, 1);                                   \
      _Pragma("GCC unroll 6") for (int j_ = 0; j_ < WINO_IN; j_++) *     \
          (wino_vec *)((to) + (i_ * WINO_IN + j_) * (point)) = out_[j_]; \
    }                                                                    \
  } while (0)

// Transformed planes: tiles lie in groups, in a group by channel block: point f, tile i, block b at f * point +
// (i / tiles) * step + b * tiles * WINO_VEC + i % tiles * WINO_VEC, so that products read them in one stream. A cache
// line more per point keeps the 36 streams out of one cache set.
typedef struct wino_groups {
  int64_t tiles, step, point;
} wino_groups;

WINO_INLINE wino_groups wino_groups_of(int64_t tiles, int64_t blocks, int64_t n_groups) {
  return (wino_groups){tiles, tiles * blocks * WINO_VEC, n_groups * tiles * blocks * WINO_VEC + 16};
}

// Tile (h, w) of a plane of H x W vectors into `to`; a point that it has not is zero.
WINO_INLINE void wino_tile(const float *plane, int64_t H, int64_t W, int64_t h, int64_t w, float *to, int64_t point,
                           const bool of_dy, const int kind) {
  wino_vec near[WINO_POINTS];
  const int rows = (of_dy ? WINO_OUT : WINO_IN) - !!(kind & WINO_SHORT_ROWS);
  const int columns = (of_dy ? WINO_OUT : WINO_IN) - !!(kind & WINO_SHORT_COLUMNS);
  const float *from = plane + (h * W + w) * WINO_VEC;
  int64_t row = W * WINO_VEC;
  if (h < 0 || w < 0 || h + rows > H || w + columns > W) {
    wino_load(plane, H, W, h, w, rows, columns, near);
    from = (const float *)near;
    row = columns * WINO_VEC;
  }
#define WINO_OF_KIND(f, n)                                                 \
  switch (kind) {                                                          \
    case 0:                                                                \
      WINO_TILE(f, n, f, n, from, row, to, point);                         \
      break;                                                               \
    case WINO_SHORT_COLUMNS:                                               \
      WINO_TILE(f, n, f##_short, (n)-1, from, row, to, point);             \
      break;                                                               \
    case WINO_SHORT_ROWS:                                                  \
      WINO_TILE(f##_short, (n)-1, f, n, from, row, to, point);             \
      break;                                                               \
    default:                                                               \
      WINO_TILE(f##_short, (n)-1, f##_short, (n)-1, from, row, to, point); \
  }
  if (of_dy)
    WINO_OF_KIND(wino_dy, WINO_OUT)
  else
    WINO_OF_KIND(wino_in, WINO_IN)
#undef WINO_OF_KIND
}

// Tiles [first, end) of one channel block (its plane at x, samples `sample` floats apart) into v from group 0 on; tiles
// past the last one are zero.
WINO_INLINE void wino_planes(const wino_tiles *t, const float *x, int64_t sample, int64_t first, int64_t end,
                             const wino_groups *g, float *v, const bool of_dy) {
  const int64_t all = wino_n_tiles(t), H = of_dy ? t->P : t->H, W = of_dy ? t->Q : t->W;
  const int64_t up = of_dy ? 0 : t->pad_top, left = of_dy ? 0 : t->pad_left;
  for (int64_t i = first; i < end; i++) {
    float *to = v + (i - first) / g->tiles * g->step + (i - first) % g->tiles * WINO_VEC;
    if (i >= all) {
      for (int f = 0; f < WINO_POINTS; f++)
        *(wino_vec *)(to + f * g->point) = (wino_vec){0};
      continue;
    }
    const wino_place *at = t->places + i;
    const float *plane = x + at->n * sample;
#define WINO_CASE(kind)                                                          \
  case kind:                                                                     \
    wino_tile(plane, H, W, at->p - up, at->q - left, to, g->point, of_dy, kind); \
    break
    switch (at->kind) {
      WINO_CASE(0);
      WINO_CASE(1);
      WINO_CASE(2);
      WINO_CASE(3);
    }
#undef WINO_CASE
  }
}

// Lanes of two vectors, by constants; gcc before 12 knows its own name for it alone.
#if defined(__clang__) || __GNUC__ >= 12
#define WINO_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
typedef int32_t wino_lanes __attribute__((vector_size(WINO_VEC * sizeof(int32_t))));
#define WINO_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (wino_lanes){__VA_ARGS__})
#endif
#define WINO_LANES_8(f, s, i) \
  f(s, i), f(s, i + 1), f(s, i + 2), f(s, i + 3), f(s, i + 4), f(s, i + 5), f(s, i + 6), f(s, i + 7)
#if defined(IG_ISA_avx512)
#define WINO_LANES(f, s) WINO_LANES_8(f, s, 0), WINO_LANES_8(f, s, 8)
#else
#define WINO_LANES(f, s) WINO_LANES_8(f, s, 0)
#endif

// Of the vectors i and i + s: what lies in the first and in the second when blocks of s lanes have changed places.
#define WINO_LOW(s, i)  ((i) & (s) ? WINO_VEC + (i) - (s) : (i))
#define WINO_HIGH(s, i) ((i) & (s) ? WINO_VEC + (i) : (i) + (s))
#define WINO_EXCHANGE(s)                                                            \
  _Pragma("GCC unroll 16") for (int i_ = 0; i_ < WINO_VEC; i_++) if (!(i_ & (s))) { \
    wino_vec a_ = row[i_], b_ = row[i_ + (s)];                                      \
    row[i_] = WINO_SHUFFLE(a_, b_, WINO_LANES(WINO_LOW, s));                        \
    row[i_ + (s)] = WINO_SHUFFLE(a_, b_, WINO_LANES(WINO_HIGH, s));                 \
  }

// A square of vectors by rows becomes one by columns: blocks of 1, 2, 4.. lanes change places.
WINO_INLINE void wino_transpose(wino_vec *row) {
  WINO_EXCHANGE(1)
  WINO_EXCHANGE(2)
  WINO_EXCHANGE(4)
#if defined(IG_ISA_avx512)
  WINO_EXCHANGE(8)
#endif
}

WINO_INLINE int64_t wino_ceil(int64_t a, int64_t b) { return (a + b - 1) / b; }

// The convolutions that take this form; otherwise the reason why not.
WINO_INLINE const char *wino_refusal(const ig_node *n, const ig_conv2d_dims *d) {
  return n->in[0]->dtype != IG_F32            ? "Winograd takes f32"
         : d->groups != 1                     ? "Winograd takes one group"
         : d->R != 3 || d->S != 3             ? "Winograd takes 3x3 kernels"
         : d->stride_h * d->stride_w != 1     ? "Winograd takes stride 1"
         : d->dilation_h * d->dilation_w != 1 ? "Winograd takes no dilation"
         : d->pad_top > 2 || d->pad_left > 2 || d->pad_bottom > 2 || d->pad_right > 2
             ? "Winograd takes padding of up to 2"
         : d->C < WINO_VEC || d->K < WINO_VEC ? "takes channels that fill a vector"
                                              : NULL;
}

#endif
