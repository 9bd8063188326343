// Products of the fully connected layer in bf16: c[M][N] = sum_k a[m,k] b[k,n] by vdpbf16ps with fp32 sums. Up to 14
// rows by 32 columns are in registers over the whole sum, so that each number of c is added up in the order of k,
// whatever the tiles and threads. Both operands lie in pairs, two numbers that follow each other in the sum: of a pair
// (m, i) is read from where it lies or from a panel of rows, b is packed in panels [pair][32 columns]. Rule: included
// by linear_bf16_cpu.c alone.
#ifndef IG_KERNELS_LINEAR_PRODUCTS_BF16_H
#define IG_KERNELS_LINEAR_PRODUCTS_BF16_H

#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum {
  ROWS = 14,     // of c in registers
  COLUMNS = 32,  // of c in registers, two vectors; width of a panel of b
  PANEL = 16,    // width of a panel of packed rows: one line a pair
  LINE = 64,     // bytes
  AHEAD = 8,     // rows: so far ahead pack_across asks for what it packs, as parts of rows are no stream
  STRIDE = 8     // pairs that are multiplied between two prefetches
};
#define INLINE static inline __attribute__((always_inline))
typedef uint32_t __attribute__((may_alias)) pair;

static inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

// A matrix as it lies: rows of 16-bit or fp32 numbers.
typedef struct matrix {
  const char *at;
  int64_t rows, columns;  // columns: also the distance of its rows
  bool wide;              // fp32, to be rounded
} matrix;

static inline const char *element(const matrix *m, int64_t row, int64_t column) {
  return m->at + (row * m->columns + column) * (m->wide ? 4 : 2);
}

// Lines of a block of a matrix that are brought into the second-level cache while something else is multiplied.
typedef struct fetch {
  const char *at;
  int64_t left, in_row, row_lines, gap;  // lines in all and in this row; bytes from a row's end to the next row
  int64_t each;                          // lines at once
} fetch;

static inline fetch fetch_block(const matrix *m, int64_t row, int64_t rows, int64_t column, int64_t columns) {
  const int64_t size = m->wide ? 4 : 2, lines = ceil_div(columns * size, LINE);
  return (fetch){element(m, row, column), rows * lines, lines, lines, m->columns * size - lines * LINE, 1};
}

INLINE void fetch_lines(fetch *f) {
  for (int64_t i = 0; i < f->each && f->left > 0; i++, f->left--) {
    _mm_prefetch(f->at, _MM_HINT_T1);
    f->at += LINE;
    if (--f->in_row == 0) {
      f->in_row = f->row_lines;
      f->at += f->gap;
    }
  }
}

// ---- packing ----

INLINE __mmask16 first16(int64_t n) { return (__mmask16)(n >= 16 ? 0xffff : n <= 0 ? 0 : (1u << n) - 1); }
INLINE __mmask32 first32(int64_t n) { return n >= 32 ? 0xffffffffu : n <= 0 ? 0 : (1u << n) - 1; }

// 32 numbers of a row from `column` on, rounded; zeros behind n. Whole ones without a mask: what a masked load misses
// in the caches costs this processor more than twice as much (Zen 5).
INLINE __m512i load32(const matrix *m, int64_t row, int64_t column, int64_t n) {
  const char *at = element(m, row, column);
  if (n >= 32)
    return m->wide ? (__m512i)_mm512_cvtne2ps_pbh(_mm512_loadu_ps(at + LINE), _mm512_loadu_ps(at))
                   : _mm512_loadu_si512(at);
  if (!m->wide)
    return _mm512_maskz_loadu_epi16(first32(n), at);
  return (__m512i)_mm512_cvtne2ps_pbh(_mm512_maskz_loadu_ps(first16(n - 16), at + LINE),
                                      _mm512_maskz_loadu_ps(first16(n), at));
}

// Rows row..row+n (n <= 16), turned: out[i * COLUMNS + r] is pair i of row r, for the pairs from `column` on.
static inline void turn16(const matrix *m, int64_t row, int64_t n, int64_t column, pair *out) {
  const int64_t left = m->columns - column;
  __m512i r[16], t[16];
  for (int i = 0; i < 16; i++)
    r[i] = i < n ? load32(m, row + i, column, left) : _mm512_setzero_si512();
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
  // Within 128-bit lanes: r[4 i + j] holds columns j of rows 4 i to 4 i + 3.
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4)
#pragma GCC unroll 2
    for (int j = 0; j < 2; j++) {
      r[i + 2 * j] = _mm512_unpacklo_epi64(t[i + j], t[i + j + 2]);
      r[i + 2 * j + 1] = _mm512_unpackhi_epi64(t[i + j], t[i + j + 2]);
    }
#pragma GCC unroll 4
  for (int j = 0; j < 4; j++) {
    __m512i a = _mm512_shuffle_i32x4(r[j], r[j + 4], 0x88), b = _mm512_shuffle_i32x4(r[j], r[j + 4], 0xdd);
    __m512i c = _mm512_shuffle_i32x4(r[j + 8], r[j + 12], 0x88), d = _mm512_shuffle_i32x4(r[j + 8], r[j + 12], 0xdd);
    t[j] = _mm512_shuffle_i32x4(a, c, 0x88);
    t[j + 8] = _mm512_shuffle_i32x4(a, c, 0xdd);
    t[j + 4] = _mm512_shuffle_i32x4(b, d, 0x88);
    t[j + 12] = _mm512_shuffle_i32x4(b, d, 0xdd);
  }
  for (int64_t i = 0; i < 16 && 2 * i < left; i++)
    _mm512_storeu_si512(out + i * COLUMNS, t[i]);
}

// Lane i becomes (low[i], high[i]): the first or the last 16 of 32 numbers.
INLINE __m512i interleave(__m512i low, __m512i high, int first) {
  const __m512i lanes = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
  const __m512i of_low = _mm512_add_epi32(lanes, _mm512_set1_epi32(first));
  const __m512i index = _mm512_or_si512(of_low, _mm512_slli_epi32(_mm512_add_epi32(of_low, _mm512_set1_epi32(32)), 16));
  return _mm512_permutex2var_epi16(low, index, high);
}

// Rows first..last of m by pairs, zero behind an odd last one: columns column..column+n in panels of `width`, up to
// `each` of them in one, `apart` pairs from each other. Rows are read whole. sums, where not NULL: of the columns, a
// vector a panel, added to; only with one vector a panel. Such panels, which all threads read, are written past the
// caches (fence before they do): where cores seem to share no cache, other stores took five times as long.
INLINE void pack_across(const matrix *m, int64_t first, int64_t last, int64_t column, int64_t n, int64_t each,
                        const int width, int64_t apart, pair *out, __m512 *sums) {
  const __m512bh ones = (__m512bh)_mm512_set1_epi16(0x3f80);
  const int64_t size = m->wide ? 4 : 2;
  for (int64_t r = first; r < last; r += 2, out += width) {
    const char *next = element(m, least(r + AHEAD, m->rows - 1), column);
    const char *after = element(m, least(r + AHEAD + 1, m->rows - 1), column);
    pair *to = out;
    for (int64_t i = 0, at = 0; at < n; i++, at += each, to += apart) {
      const int64_t left = least(n - at, each);
      _mm_prefetch(next + at * size, _MM_HINT_T0);
      _mm_prefetch(after + at * size, _MM_HINT_T0);
      const __m512i low = load32(m, r, column + at, left);
      const __m512i high = r + 1 < last ? load32(m, r + 1, column + at, left) : _mm512_setzero_si512();
      const __m512i pairs = interleave(low, high, 0);
      if (width == PANEL) {
        _mm512_stream_si512((__m512i *)to, pairs);
      } else {
        _mm512_storeu_si512(to, pairs);
        _mm512_storeu_si512(to + 16, interleave(low, high, 16));
      }
      if (sums)
        sums[i] = _mm512_dpbf16_ps(sums[i], (__m512bh)pairs, ones);
    }
  }
}

// ---- products ----

// Where the pairs of a's rows lie: pair i of row r at a[r * row + i * step].
typedef struct operand {
  const pair *a;
  int64_t row, step;
} operand;

// acc += one pair of each row times one row of a panel of b.
INLINE void add_pair(const char *const group[5], int64_t row_bytes, const pair *b, __m512 acc[ROWS][2],
                     const int rows) {
  const __m512bh b0 = (__m512bh)_mm512_loadu_si512(b), b1 = (__m512bh)_mm512_loadu_si512(b + 16);
#pragma GCC unroll 14
  for (int r = 0; r < rows; r++) {
    const pair *at = (const pair *)(group[r / 3] + r % 3 * row_bytes);
    const __m512bh a = (__m512bh)_mm512_set1_epi32((int)*at);
    acc[r][0] = _mm512_dpbf16_ps(acc[r][0], a, b0);
    acc[r][1] = _mm512_dpbf16_ps(acc[r][1], a, b1);
  }
}

// c[rows][COLUMNS] = sum over n pairs. along: pairs of a row follow each other; else rows of a pair do. f stays in
// memory: as a local copy it took one of the 31 vector registers that 14 rows need.
INLINE void multiply(const operand *o, const pair *b, int64_t n, fetch *f, float *c, const int rows, const bool along) {
  __m512 acc[ROWS][2];
  const int64_t row_bytes = along ? o->row * (int64_t)sizeof(pair) : (int64_t)sizeof(pair);
  const int64_t step = along ? (int64_t)sizeof(pair) : PANEL * (int64_t)sizeof(pair);
  const char *group[5];
#pragma GCC unroll 5
  for (int g = 0; g < 5; g++)
    group[g] = (const char *)o->a + 3 * g * row_bytes;
#pragma GCC unroll 14
  for (int r = 0; r < rows; r++)
    acc[r][0] = acc[r][1] = _mm512_setzero_ps();
  for (int64_t i = 0; i < n;) {
    const int64_t end = least(i + STRIDE, n);
    fetch_lines(f);
    fetch_lines(f + 1);
    for (; i < end; i++, b += COLUMNS) {
      add_pair(group, row_bytes, b, acc, rows);
#pragma GCC unroll 5
      for (int g = 0; g < 5; g++)
        group[g] += step;
    }
  }
#pragma GCC unroll 14
  for (int r = 0; r < rows; r++) {
    _mm512_storeu_ps(c + r * COLUMNS, acc[r][0]);
    _mm512_storeu_ps(c + r * COLUMNS + 16, acc[r][1]);
  }
}

typedef void (*multiply_fn)(const operand *o, const pair *b, int64_t n, fetch *f, float *c);
#define MULTIPLY(rows)                                                                       \
  static void along_##rows(const operand *o, const pair *b, int64_t n, fetch *f, float *c) { \
    multiply(o, b, n, f, c, rows, true);                                                     \
  }                                                                                          \
  static void panel_##rows(const operand *o, const pair *b, int64_t n, fetch *f, float *c) { \
    multiply(o, b, n, f, c, rows, false);                                                    \
  }
MULTIPLY(1)
MULTIPLY(2)
MULTIPLY(3)
MULTIPLY(4)
MULTIPLY(5)
MULTIPLY(6)
MULTIPLY(7)
MULTIPLY(8)
MULTIPLY(9)
MULTIPLY(10)
MULTIPLY(11)
MULTIPLY(12)
MULTIPLY(13)
MULTIPLY(14)

#define ALL(kind)                                                                                                   \
  {                                                                                                                 \
    kind##_1, kind##_2, kind##_3, kind##_4, kind##_5, kind##_6, kind##_7, kind##_8, kind##_9, kind##_10, kind##_11, \
        kind##_12, kind##_13, kind##_14                                                                             \
  }
static const multiply_fn multiply_along[ROWS] = ALL(along), multiply_panel[ROWS] = ALL(panel);

// ---- results ----

// Where a tile of c goes: rows `row` numbers apart, fp32 or bf16. bias: of the tile's columns, or NULL.
typedef struct target {
  char *at;
  int64_t row;
  bool wide;
  const float *bias;
} target;

// n <= COLUMNS columns of a tile. Whole lines of fp32 are written past the caches where they lie so.
INLINE void write_tile(const target *t, const float *tile, int64_t rows, int64_t n) {
  const __mmask16 left = first16(n), right = first16(n - 16);
  const __m512 zero = _mm512_setzero_ps();
  const __m512 b0 = t->bias ? _mm512_maskz_loadu_ps(left, t->bias) : zero;
  const __m512 b1 = t->bias ? _mm512_maskz_loadu_ps(right, t->bias + 16) : zero;
  const bool lines = t->wide && n == COLUMNS && (uintptr_t)t->at % LINE == 0 && t->row % 16 == 0;
  for (int64_t r = 0; r < rows; r++, tile += COLUMNS) {
    const __m512 x = _mm512_add_ps(_mm512_loadu_ps(tile), b0), y = _mm512_add_ps(_mm512_loadu_ps(tile + 16), b1);
    char *to = t->at + r * t->row * (t->wide ? 4 : 2);
    if (lines) {
      _mm512_stream_ps((float *)to, x);
      _mm512_stream_ps((float *)(to + LINE), y);
    } else if (t->wide) {
      _mm512_mask_storeu_ps(to, left, x);
      _mm512_mask_storeu_ps(to + LINE, right, y);
    } else {
      _mm512_mask_storeu_epi16(to, first32(n), (__m512i)_mm512_cvtne2ps_pbh(y, x));
    }
  }
}

#endif
