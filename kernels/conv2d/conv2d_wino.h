// Winograd's minimal filtering F(4x4,3x3) in vectors of channels: what the convolution, its data gradient and its
// weight gradient share. A tile is 6x6 positions of x and 4x4 of y; at each of the 36 points of the transformed plane
// the convolution is a matrix product over channels, with a quarter of the direct multiplications.
//   y = A^T [(G w G^T) . (B^T x B)] A,   dw = G^T [sum over tiles of (B^T x B) . (A dy A^T)] G
// by Toom-Cook at the points 0, a, -a, b, -b, infinity. Rule: included by <..>_cpu.c files alone, once an instruction
// set. Sources: Winograd 1980; Lavin and Gray 2015 (arXiv:1509.09308); choice of points: Barabasz et al. 2018
// (arXiv:1803.10986).
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

// Both dimensions of transform f: from a plane of n x n to one of m x m.
#define WINO_PLANE(f, from, n, to, m)             \
  do {                                            \
    wino_vec half_[(n) * (m)];                    \
    for (int i_ = 0; i_ < (n); i_++)              \
      f((from) + i_, n, half_ + i_, n);           \
    for (int i_ = 0; i_ < (m); i_++)              \
      f(half_ + i_ * (n), 1, (to) + i_ * (m), 1); \
  } while (0)

// Pictures cut into tiles: tile t of sample n covers y from (4 row, 4 column) on and x from there minus the padding.
typedef struct wino_tiles {
  int64_t N, rows, columns;  // of tiles in a sample
  int64_t H, W, P, Q;        // of x and y
  int64_t pad_top, pad_left;
} wino_tiles;

WINO_INLINE wino_tiles wino_tiles_of(int64_t N, int64_t H, int64_t W, int64_t P, int64_t Q, int64_t pad_top,
                                     int64_t pad_left) {
  return (wino_tiles){N, (P + WINO_OUT - 1) / WINO_OUT, (Q + WINO_OUT - 1) / WINO_OUT, H, W, P, Q, pad_top, pad_left};
}
WINO_INLINE int64_t wino_n_tiles(const wino_tiles *t) { return t->N * t->rows * t->columns; }

// The part of side x side positions from (h, w) on that lies in a plane of H x W vectors; zero outside.
WINO_INLINE void wino_load(const float *plane, int64_t H, int64_t W, int64_t h, int64_t w, int side, wino_vec *tile) {
  const int64_t r1 = h + side < H ? side : H - h, c1 = w + side < W ? side : W - w;
  for (int i = 0; i < side * side; i++)
    tile[i] = (wino_vec){0};
  for (int64_t r = h < 0 ? -h : 0; r < r1; r++)
    for (int64_t c = w < 0 ? -w : 0; c < c1; c++)
      tile[r * side + c] = *(const wino_vec *)(plane + ((h + r) * W + w + c) * WINO_VEC);
}

// Both dimensions of transform f for a tile of n x n vectors, `row` floats a row, into 36 streams `point` floats apart.
#define WINO_TILE(f, from, row, n, to, point)                            \
  do {                                                                   \
    wino_vec half_[WINO_IN * (n)], out_[WINO_IN];                        \
    _Pragma("GCC unroll 6") for (int i_ = 0; i_ < (n); i_++) {           \
      wino_vec in_[n];                                                   \
      _Pragma("GCC unroll 6") for (int r_ = 0; r_ < (n); r_++) in_[r_] = \
          *(const wino_vec *)((from) + r_ * (row) + i_ * WINO_VEC);      \
      f(in_, 1, half_ + i_, n);                                          \
    }                                                                    \
    _Pragma("GCC unroll 6") for (int i_ = 0; i_ < WINO_IN; i_++) {       \
      f(half_ + i_ * (n), 1, out_, 1);                                   \
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

// Tile (h, w) of side n of a plane of H x W vectors into `to`.
WINO_INLINE void wino_tile(const float *plane, int64_t H, int64_t W, int64_t h, int64_t w, float *to, int64_t point,
                           const bool of_dy) {
  wino_vec near[WINO_POINTS];
  const int side = of_dy ? WINO_OUT : WINO_IN;
  const float *from = plane + (h * W + w) * WINO_VEC;
  int64_t row = W * WINO_VEC;
  if (h < 0 || w < 0 || h + side > H || w + side > W) {
    wino_load(plane, H, W, h, w, side, near);
    from = (const float *)near;
    row = side * WINO_VEC;
  }
  if (of_dy)
    WINO_TILE(wino_dy, from, row, WINO_OUT, to, point);
  else
    WINO_TILE(wino_in, from, row, WINO_IN, to, point);
}

// Tiles [first, end) of one channel block (its plane at x, samples `sample` floats apart) into v from group 0 on; tiles
// past the last one are zero.
WINO_INLINE void wino_planes(const wino_tiles *t, const float *x, int64_t sample, int64_t first, int64_t end,
                             const wino_groups *g, float *v, const bool of_dy) {
  const int64_t all = wino_n_tiles(t), per_sample = t->rows * t->columns;
  int64_t n = first / per_sample, row = first % per_sample / t->columns, column = first % t->columns;
  for (int64_t i = first; i < end; i++) {
    float *to = v + (i - first) / g->tiles * g->step + (i - first) % g->tiles * WINO_VEC;
    if (i >= all) {
      for (int f = 0; f < WINO_POINTS; f++)
        *(wino_vec *)(to + f * g->point) = (wino_vec){0};
      continue;
    }
    if (of_dy)
      wino_tile(x + n * sample, t->P, t->Q, row * WINO_OUT, column * WINO_OUT, to, g->point, true);
    else
      wino_tile(x + n * sample, t->H, t->W, row * WINO_OUT - t->pad_top, column * WINO_OUT - t->pad_left, to, g->point,
                false);
    if (++column == t->columns) {
      column = 0;
      if (++row == t->rows) {
        row = 0;
        n++;
      }
    }
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
