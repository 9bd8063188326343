// Sums of chosen rows of a matrix, in columns that fit into registers. Rule: included by <..>_cpu.c files alone; the
// order of a sum is that of the list, in groups of ROW_SUMS_GROUP, so that long lists lose no more than short ones.
#ifndef IG_KERNELS_ROW_SUMS_H
#define IG_KERNELS_ROW_SUMS_H

#include "kernels/eltwise/vec.h"

#define ROW_SUMS_GROUP 64

// y[at..at+VEC*V or n] = sum over i of x[order[i] * stride + at + ..], rounded to out_type once.
VEC_INLINE void row_sums_tile(const void *x, ig_dtype type, int64_t stride, const int32_t *order, int64_t rows,
                              int64_t at, int V, int64_t n, void *y, ig_dtype out_type, int64_t out_at) {
  vec total[4] = {{0}, {0}, {0}, {0}};
  for (int64_t from = 0; from < rows; from += ROW_SUMS_GROUP) {
    const int64_t to = rows - from < ROW_SUMS_GROUP ? rows : from + ROW_SUMS_GROUP;
    vec sum[4] = {{0}, {0}, {0}, {0}};
    for (int64_t i = from; i < to; i++) {
#pragma GCC unroll 4
      for (int j = 0; j < V; j++)
        sum[j] += vec_load(x, type, order[i] * stride + at + VEC * j, n);
    }
#pragma GCC unroll 4
    for (int j = 0; j < V; j++)
      total[j] += sum[j];
  }
#pragma GCC unroll 4
  for (int j = 0; j < V; j++)
    vec_store(y, out_type, out_at + VEC * j, n, total[j]);
}

// Columns from..to of a row of the result, which starts at number out_row of y.
VEC_INLINE void row_sums_typed(const void *x, ig_dtype type, int64_t stride, const int32_t *order, int64_t rows,
                               int64_t from, int64_t to, void *y, ig_dtype out_type, int64_t out_row) {
  int64_t c = from;
  for (; c + 4 * VEC <= to; c += 4 * VEC)
    row_sums_tile(x, type, stride, order, rows, c, 4, VEC, y, out_type, out_row + c);
  for (; c + VEC <= to; c += VEC)
    row_sums_tile(x, type, stride, order, rows, c, 1, VEC, y, out_type, out_row + c);
  if (c < to)
    row_sums_tile(x, type, stride, order, rows, c, 1, to - c, y, out_type, out_row + c);
}

static inline void row_sums(const void *x, ig_dtype type, int64_t stride, const int32_t *order, int64_t rows,
                            int64_t from, int64_t to, void *y, ig_dtype out_type, int64_t out_row) {
  if (rows == 0)
    memset((char *)y + (size_t)(out_row + from) * ig_dtype_bytes(out_type), 0,
           (size_t)(to - from) * ig_dtype_bytes(out_type));
  else if (type == IG_F32 && out_type == IG_F32)
    row_sums_typed(x, IG_F32, stride, order, rows, from, to, y, IG_F32, out_row);
  else if (type == IG_BF16 && out_type == IG_F32)
    row_sums_typed(x, IG_BF16, stride, order, rows, from, to, y, IG_F32, out_row);
  else
    row_sums_typed(x, IG_BF16, stride, order, rows, from, to, y, IG_BF16, out_row);
}

#endif
