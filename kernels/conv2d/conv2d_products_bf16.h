// Products of the bf16 weight gradients: sums over pixels (or tiles) of a block of input channels by up to three
// vectors of output channels, and their way into the public layout. Both operands lie as pairs: [.][lane] of two bf16
// whose products are added. Rule: included by <..>_bf16_cpu.c files alone.
#ifndef IG_KERNELS_CONV2D_PRODUCTS_BF16_H
#define IG_KERNELS_CONV2D_PRODUCTS_BF16_H

#include <string.h>

#include "kernels/conv2d/conv2d.h"
#include "kernels/conv2d/conv2d_bf16.h"

enum {
  BF16_ROWS = 8,     // input channels whose sums are in registers at once
  BF16_VECTORS = 3,  // of output channels, likewise
};

// A block of rows under one tap: `rows` times `n` pixels; distances in pairs.
typedef struct bf16_window {
  int64_t rows, n;
  int64_t x_row, x_step, dy_row, dy_block;
  const char *ahead;  // NULL, or what is fetched into the second-level cache meanwhile
} bf16_window;

// sums[i][j] += x[., i] dy[j][.] over the window: rows x kv accumulators in registers.
static inline __attribute__((always_inline)) void add_window(const bf16_window *w, const uint32_t *x,
                                                             const uint32_t *dy, float *restrict sums, const int kv,
                                                             const int rows) {
  __m512 acc[BF16_ROWS][BF16_VECTORS];
#pragma GCC unroll 8
  for (int i = 0; i < rows; i++)
#pragma GCC unroll 3
    for (int j = 0; j < kv; j++)
      acc[i][j] = _mm512_loadu_ps(sums + (i * kv + j) * BF16_VEC);
  const char *ahead = w->ahead ? w->ahead : (const char *)x;
  const int64_t ahead_step = w->ahead ? BF16_VEC * (int64_t)sizeof(uint16_t) : 0;
  for (int64_t p = 0; p < w->rows; p++) {
    const uint32_t *a = x + p * w->x_row, *b = dy + p * w->dy_row;
    for (int64_t q = 0; q < w->n; q++, a += w->x_step, b += BF16_VEC) {
      __m512bh d[BF16_VECTORS];
      _mm_prefetch(ahead, _MM_HINT_T1);
      ahead += ahead_step;
#pragma GCC unroll 3
      for (int j = 0; j < kv; j++)
        d[j] = bf16_load(b + j * w->dy_block);
#pragma GCC unroll 8
      for (int i = 0; i < rows; i++) {
        __m512bh v = bf16_broadcast(a + i);
#pragma GCC unroll 3
        for (int j = 0; j < kv; j++)
          acc[i][j] = _mm512_dpbf16_ps(acc[i][j], v, d[j]);
      }
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < rows; i++)
#pragma GCC unroll 3
    for (int j = 0; j < kv; j++)
      _mm512_storeu_ps(sums + (i * kv + j) * BF16_VEC, acc[i][j]);
}
#define BF16_WINDOW(kv, rows)                                                                                          \
  static inline void add_window_##kv##_##rows(const bf16_window *w, const uint32_t *x, const uint32_t *dy, float *s) { \
    add_window(w, x, dy, s, kv, rows);                                                                                 \
  }
BF16_WINDOW(1, 8)
BF16_WINDOW(2, 8)
BF16_WINDOW(3, 8)
BF16_WINDOW(1, 7)
BF16_WINDOW(2, 7)
BF16_WINDOW(3, 7)

// rows: 7 or 8.
BF16_INLINE void bf16_add_window(const bf16_window *w, const uint32_t *x, const uint32_t *dy, float *sums, int kv,
                                 int rows) {
  static void (*const add[2][3])(const bf16_window *, const uint32_t *, const uint32_t *, float *) = {
      {add_window_1_7, add_window_2_7, add_window_3_7}, {add_window_1_8, add_window_2_8, add_window_3_8}};
  add[rows == 8][kv - 1](w, x, dy, sums);
}

// First of n_k blocks of dy in group g of n: groups differ by one block at most, so that none is left with a single
// one.
BF16_INLINE int64_t bf16_group(int64_t n_k, int64_t n, int64_t g) {
  return g * (n_k / n) + (g < n_k % n ? g : n_k % n);
}

// A row of dw is [c][tap], a tile [tap][c][k]: 16 values of such a row at a time, for 16 rows.
static inline void bf16_write_tile(const ig_conv2d_dims *d, const float *tile, int64_t k0, int kv, int64_t c,
                                   float *dw) {
  const int64_t taps = d->R * d->S, c0 = c * BF16_VEC, n = (d->C - c0 < BF16_VEC ? d->C - c0 : BF16_VEC) * taps;
  for (int64_t from = 0; from < n; from += BF16_VEC)
    for (int j = 0; j < kv; j++) {
      __m512 rows[BF16_VEC];
      for (int i = 0; i < BF16_VEC; i++) {
        int64_t at = from + i < n ? from + i : n - 1;
        rows[i] = _mm512_loadu_ps(tile + ((at % taps * BF16_VEC + at / taps) * kv + j) * BF16_VEC);
      }
      bf16_transpose(rows);
      __mmask16 mask = (__mmask16)(n - from < BF16_VEC ? (1u << (n - from)) - 1 : 0xffff);
      int64_t k = (k0 + j) * BF16_VEC;
      for (int i = 0; i < BF16_VEC && k + i < d->K; i++)
        _mm512_mask_storeu_ps(dw + ((k + i) * d->C + c0) * taps + from, mask, rows[i]);
    }
}

#endif
