// Winograd's F(2x2,3x3) in bf16: tiles of 4x4 positions of x and 2x2 of y, transformed in fp32, rounded to bf16 and
// multiplied at 16 points by vdpbf16ps with fp32 sums: 2.25 times fewer products than the direct form. Its transforms
// add and halve, so that what it adds to the error is the rounding of transformed operands alone. Rule: included by
// <..>_bf16_cpu.c files alone. Sources: as conv2d_wino.h.
#ifndef IG_KERNELS_CONV2D_WINO_BF16_H
#define IG_KERNELS_CONV2D_WINO_BF16_H

#include "kernels/conv2d/conv2d.h"
#include "kernels/conv2d/conv2d_bf16.h"
#include "kernels/kernels.h"

enum { WINO2_IN = 4, WINO2_OUT = 2, WINO2_POINTS = 16, WINO2_TAPS = 9 };

// One dimension of each transform: from[i * step], i counted along it, to `to` in the same way.

// B^T: 4 -> 4.
BF16_INLINE void wino2_in(const __m512 *x, int step, __m512 *to, int to_step) {
  to[0] = x[0] - x[2 * step];
  to[to_step] = x[step] + x[2 * step];
  to[2 * to_step] = x[2 * step] - x[step];
  to[3 * to_step] = x[step] - x[3 * step];
}

// A^T: 4 -> 2.
BF16_INLINE void wino2_out(const __m512 *m, int step, __m512 *to, int to_step) {
  to[0] = m[0] + m[step] + m[2 * step];
  to[to_step] = m[step] - m[2 * step] - m[3 * step];
}

// A: 2 -> 4.
BF16_INLINE void wino2_dy(const __m512 *y, int step, __m512 *to, int to_step) {
  to[0] = y[0];
  to[to_step] = y[0] + y[step];
  to[2 * to_step] = y[0] - y[step];
  to[3 * to_step] = -y[step];
}

// G: 3 -> 4.
BF16_INLINE void wino2_w(const __m512 *w, int step, __m512 *to, int to_step) {
  __m512 even = 0.5f * (w[0] + w[2 * step]), odd = 0.5f * w[step];
  to[0] = w[0];
  to[to_step] = even + odd;
  to[2 * to_step] = even - odd;
  to[3 * to_step] = w[2 * step];
}

// G^T: 4 -> 3.
BF16_INLINE void wino2_dw(const __m512 *g, int step, __m512 *to, int to_step) {
  __m512 s = 0.5f * (g[step] + g[2 * step]);
  to[0] = g[0] + s;
  to[to_step] = 0.5f * (g[step] - g[2 * step]);
  to[2 * to_step] = s + g[3 * step];
}

// Both dimensions of transform f: from a plane of n x n to one of m x m.
#define WINO2_PLANE(f, from, n, to, m)            \
  do {                                            \
    __m512 half_[(n) * (m)];                      \
    for (int i_ = 0; i_ < (n); i_++)              \
      f((from) + i_, n, half_ + i_, n);           \
    for (int i_ = 0; i_ < (m); i_++)              \
      f(half_ + i_ * (n), 1, (to) + i_ * (m), 1); \
  } while (0)

// Pictures cut into tiles: tile t of sample n covers y from (2 row, 2 column) on and x from there minus the padding.
typedef struct wino2_tiles {
  int64_t N, rows, columns;  // of tiles in a sample
  int64_t H, W, P, Q;        // of x and y
  int64_t pad_top, pad_left;
} wino2_tiles;

BF16_INLINE wino2_tiles wino2_tiles_of(int64_t N, int64_t H, int64_t W, int64_t P, int64_t Q, int64_t pad_top,
                                       int64_t pad_left) {
  return (wino2_tiles){N, bf16_ceil(P, WINO2_OUT), bf16_ceil(Q, WINO2_OUT), H, W, P, Q, pad_top, pad_left};
}
BF16_INLINE int64_t wino2_n_tiles(const wino2_tiles *t) { return t->N * t->rows * t->columns; }

// Where a tile lies: y from (p, q) on of sample n. Stepping costs no division.
typedef struct wino2_place {
  int64_t n, p, q;
} wino2_place;

BF16_INLINE wino2_place wino2_place_of(const wino2_tiles *t, int64_t tile) {
  const int64_t per_sample = t->rows * t->columns;
  return (wino2_place){tile / per_sample, tile % per_sample / t->columns * WINO2_OUT, tile % t->columns * WINO2_OUT};
}
BF16_INLINE void wino2_step(const wino2_tiles *t, wino2_place *at) {
  at->q += WINO2_OUT;
  if (at->q >= t->Q) {
    at->q = 0;
    at->p += WINO2_OUT;
  }
  if (at->p >= t->P) {
    at->p = 0;
    at->n++;
  }
}

// side x side positions from (h, w) on of a plane of H x W vectors; zero outside.
BF16_INLINE void wino2_load(const uint16_t *plane, int64_t H, int64_t W, int64_t h, int64_t w, int side, __m512 *tile) {
  const uint16_t *from = plane + (h * W + w) * BF16_VEC;
  if (h >= 0 && w >= 0 && h + side <= H && w + side <= W) {
    for (int r = 0; r < side; r++)
      for (int c = 0; c < side; c++)
        tile[r * side + c] = bf16_widen(from + (r * W + c) * BF16_VEC);
    return;
  }
  for (int r = 0; r < side; r++)
    for (int c = 0; c < side; c++) {
      const bool inside = h + r >= 0 && h + r < H && w + c >= 0 && w + c < W;
      tile[r * side + c] =
          bf16_as_f32(_mm256_maskz_loadu_epi16((__mmask16) - (int)inside, from + (r * W + c) * BF16_VEC));
    }
}

// The tile at a place of one channel block of x or dy (its plane at `from`, samples `sample` elements apart),
// transformed; zero past the last tile.
BF16_INLINE void wino2_tile(const wino2_tiles *t, const uint16_t *from, int64_t sample, const wino2_place *at,
                            const bool of_dy, __m512 out[WINO2_POINTS]) {
  __m512 in[WINO2_POINTS];
  if (at->n >= t->N) {
    for (int f = 0; f < WINO2_POINTS; f++)
      out[f] = _mm512_setzero_ps();
    return;
  }
  const uint16_t *plane = from + at->n * sample;
  if (of_dy) {
    wino2_load(plane, t->P, t->Q, at->p, at->q, WINO2_OUT, in);
    WINO2_PLANE(wino2_dy, in, WINO2_OUT, out, WINO2_IN);
  } else {
    wino2_load(plane, t->H, t->W, at->p - t->pad_top, at->q - t->pad_left, WINO2_IN, in);
    WINO2_PLANE(wino2_in, in, WINO2_IN, out, WINO2_IN);
  }
}

// The convolutions that take this form; otherwise the reason why not.
BF16_INLINE const char *wino2_refusal(const ig_node *n, const ig_conv2d_dims *d) {
  return n->in[0]->dtype != IG_BF16           ? "takes bf16"
         : d->groups != 1                     ? "Winograd takes one group"
         : d->R != 3 || d->S != 3             ? "Winograd takes 3x3 kernels"
         : d->stride_h * d->stride_w != 1     ? "Winograd takes stride 1"
         : d->dilation_h * d->dilation_w != 1 ? "Winograd takes no dilation"
         : d->pad_top > 2 || d->pad_left > 2 || d->pad_bottom > 2 || d->pad_right > 2
             ? "Winograd takes padding of up to 2"
         : d->C < BF16_VEC || d->K < BF16_VEC ? "takes channels that fill a vector"
                                              : NULL;
}

#endif
