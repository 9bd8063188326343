// Matrix products of small tiles, from registers: c[r][.] (+)= sum_i a[r,i] b[i][.]. Rule: included by <..>_cpu.c files
// alone. Operands lie in units of four bytes: an fp32 number, or with PRODUCTS_BF16 (in <..>_bf16_cpu.c) two bf16
// numbers that follow each other in the sum, whose products vdpbf16ps adds at once. A matrix is packed
//   along:  [row][unit], the sum runs along its rows, or
//   across: [unit][column], the sum runs across its rows; columns padded with zeros to whole vectors.
// Sums are fp32, in an order that depends on sizes alone; fp32 operands: PRODUCT_DEPTH terms each, then added, for one
// long chain errs by the root of its length.
#ifndef IG_KERNELS_PRODUCTS_H
#define IG_KERNELS_PRODUCTS_H

#include "kernels/eltwise/lanes.h"
#include "kernels/eltwise/vec.h"

#ifdef PRODUCTS_BF16
enum { PAIR = 2 };
typedef uint32_t __attribute__((may_alias)) unit;
#else
enum { PAIR = 1 };
typedef float unit;
#endif

// Accumulators in registers: R rows of V vectors.
#ifdef __AVX512F__
enum { PRODUCT_R = 6, PRODUCT_V = 4 };
#else
enum { PRODUCT_R = 6, PRODUCT_V = 2 };
#endif
enum { PRODUCT_DEPTH = PAIR == 2 ? 128 : 64 };  // units summed at once: so much of b stays in the first-level cache

static inline int64_t units(int64_t n) { return (n + PAIR - 1) / PAIR; }
static inline int64_t whole_vectors(int64_t n) { return (n + VEC - 1) / VEC * VEC; }

#ifndef PRODUCTS_BF16
// For supports: f32, and bf16 where it cannot be multiplied as it is. (Where it can, nothing is to be chosen between: a
// timing with all indices and offsets zero would choose by chance.)
static inline bool products_take(const ig_node *n, ig_dtype type, const ig_device_caps *caps, char *why,
                                 size_t why_bytes) {
  if (type != IG_BF16 || !caps->bf16)
    return ig_lanes_supports(n, caps, why, why_bytes);
  snprintf(why, why_bytes, "this processor multiplies bf16 as it is");
  return false;
}
#endif

// Memory that is brought into the second-level cache while something else is multiplied, a line a unit of the sum:
// what a processor brings by itself stops at each product.
typedef struct product_fetch {
  const char *at;
  int64_t left;  // lines; below 0 where a few too many were asked for
} product_fetch;

VEC_INLINE vec product_step(const unit *a, vec b, vec c) {
#ifdef PRODUCTS_BF16
  return (vec)_mm512_dpbf16_ps((__m512)c, (__m512bh)_mm512_set1_epi32((int)*a), (__m512bh)b);
#else
  return vec_madd(vec_splat(*a), b, c);
#endif
}

VEC_INLINE void product_tile(const unit *a, int64_t a_row, int64_t a_unit, int64_t n, const unit *b, int64_t b_row,
                             float *c, int64_t c_row, bool add, product_fetch *f, const int R, const int V) {
  const bool fetches = f && f->left > 0;
  const char *ahead = fetches ? f->at : (const char *)b;
  const int64_t line = fetches ? 64 : 0;
  vec acc[PRODUCT_R][PRODUCT_V];
#pragma GCC unroll 6
  for (int r = 0; r < R; r++)
#pragma GCC unroll 4
    for (int v = 0; v < V; v++)
      acc[r][v] = PAIR == 2 && add ? vec_load(c, IG_F32, r * c_row + VEC * v, VEC) : (vec){0};
  for (int64_t i = 0; i < n; i++, a += a_unit, b += b_row, ahead += line) {
    vec x[PRODUCT_V];
    __builtin_prefetch(ahead, 0, 2);
#pragma GCC unroll 4
    for (int v = 0; v < V; v++)
      memcpy(&x[v], b + VEC * v, sizeof x[v]);
#pragma GCC unroll 6
    for (int r = 0; r < R; r++)
#pragma GCC unroll 4
      for (int v = 0; v < V; v++)
        acc[r][v] = product_step(a + r * a_row, x[v], acc[r][v]);
  }
#pragma GCC unroll 6
  for (int r = 0; r < R; r++)
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) {
      if (PAIR == 1 && add)
        acc[r][v] += vec_load(c, IG_F32, r * c_row + VEC * v, VEC);
      vec_store(c, IG_F32, r * c_row + VEC * v, VEC, acc[r][v]);
    }
  if (fetches)
    *f = (product_fetch){ahead, f->left - n};
}

typedef void (*product_fn)(const unit *a, int64_t a_row, int64_t a_unit, int64_t n, const unit *b, int64_t b_row,
                           float *c, int64_t c_row, bool add, product_fetch *f);
#define PRODUCT_FN(R, V)                                                                                               \
  static void product_##R##_##V(const unit *a, int64_t a_row, int64_t a_unit, int64_t n, const unit *b, int64_t b_row, \
                                float *c, int64_t c_row, bool add, product_fetch *f) {                                 \
    product_tile(a, a_row, a_unit, n, b, b_row, c, c_row, add, f, R, V);                                               \
  }
#ifdef __AVX512F__
#define PRODUCT_FNS(R) PRODUCT_FN(R, 1) PRODUCT_FN(R, 2) PRODUCT_FN(R, 3) PRODUCT_FN(R, 4)
#define PRODUCT_LIST(R) \
  { product_##R##_1, product_##R##_2, product_##R##_3, product_##R##_4 }
#else
#define PRODUCT_FNS(R) PRODUCT_FN(R, 1) PRODUCT_FN(R, 2)
#define PRODUCT_LIST(R) \
  { product_##R##_1, product_##R##_2 }
#endif
PRODUCT_FNS(1)
PRODUCT_FNS(2)
PRODUCT_FNS(3)
PRODUCT_FNS(4)
PRODUCT_FNS(5)
PRODUCT_FNS(6)
static const product_fn product_fns[PRODUCT_R][PRODUCT_V] = {PRODUCT_LIST(1), PRODUCT_LIST(2), PRODUCT_LIST(3),
                                                             PRODUCT_LIST(4), PRODUCT_LIST(5), PRODUCT_LIST(6)};

// c[rows][columns] (+)= a b over n units; columns is a multiple of VEC. a[r,i] = a[r * a_row + i * a_unit]. f: what is
// to be fetched meanwhile, NULL for nothing.
static inline void product_fetching(const unit *a, int64_t a_row, int64_t a_unit, int64_t rows, int64_t n,
                                    const unit *b, int64_t b_row, int64_t columns, float *c, int64_t c_row, bool add,
                                    product_fetch *f) {
  for (int64_t i = 0; i < n || i == 0; i += PRODUCT_DEPTH) {
    const int64_t depth = n - i < PRODUCT_DEPTH ? n - i : PRODUCT_DEPTH;
    for (int64_t v = 0; v < columns; v += VEC * PRODUCT_V) {
      const int64_t left = (columns - v) / VEC, V = left < PRODUCT_V ? left : PRODUCT_V;
      for (int64_t r = 0; r < rows; r += PRODUCT_R) {
        const int64_t R = rows - r < PRODUCT_R ? rows - r : PRODUCT_R;
        product_fns[R - 1][V - 1](a + r * a_row + i * a_unit, a_row, a_unit, depth, b + i * b_row + v, b_row,
                                  c + r * c_row + v, c_row, add || i > 0, f);
      }
    }
  }
}
static inline void product(const unit *a, int64_t a_row, int64_t a_unit, int64_t rows, int64_t n, const unit *b,
                           int64_t b_row, int64_t columns, float *c, int64_t c_row, bool add) {
  product_fetching(a, a_row, a_unit, rows, n, b, b_row, columns, c, c_row, add, NULL);
}

// ---- packing; x: numbers from `at` on, rows `stride` numbers apart ----

// Rows that are asked for ahead: parts of rows are no stream to the processor.
enum { PACK_AHEAD = 8 };

// out[rows][out_row units]: rows as they lie, zeros behind their end.
static inline void pack_along(const void *x, ig_dtype type, int64_t at, int64_t stride, int64_t rows, int64_t columns,
                              unit *out, int64_t out_row) {
  for (int64_t r = 0; r < rows; r++, at += stride, out += out_row) {
#ifdef PRODUCTS_BF16
    if (columns % 2)
      out[columns / 2] = 0;
    memcpy(out, (const uint16_t *)x + at, (size_t)columns * sizeof(uint16_t));
    for (int64_t i = units(columns); i < out_row; i++)
      out[i] = 0;
#else
    int64_t i = 0;
    for (; i + VEC <= columns; i += VEC) {
      __builtin_prefetch((const char *)x + (at + PACK_AHEAD * stride + i) * (type == IG_F32 ? 4 : 2));
      vec_store(out, IG_F32, i, VEC, vec_load(x, type, at + i, VEC));
    }
    for (; i < out_row; i += VEC) {
      const int64_t n = columns - i < 0 ? 0 : columns - i < VEC ? columns - i : VEC;
      vec_store(out, IG_F32, i, out_row - i < VEC ? out_row - i : VEC, vec_load(x, type, at + i, n));
    }
#endif
  }
}

#ifdef PRODUCTS_BF16
// pack_along of fp32 numbers, rounded.
static inline void round_along(const float *x, int64_t stride, int64_t rows, int64_t columns, unit *out,
                               int64_t out_row) {
  for (int64_t r = 0; r < rows; r++, x += stride, out += out_row)
    for (int64_t i = 0; i < columns; i += 32) {
      const int64_t n = columns - i;
      if (n >= 32) {  // without a mask: a masked load that misses the caches is slow
        _mm512_storeu_si512(out + i / 2,
                            (__m512i)_mm512_cvtne2ps_pbh(_mm512_loadu_ps(x + i + 16), _mm512_loadu_ps(x + i)));
        continue;
      }
      const __mmask16 low = (__mmask16)(n >= 16 ? 0xffff : (1u << n) - 1);
      const __mmask16 high = (__mmask16)(n <= 16 ? 0 : (1u << (n - 16)) - 1);
      const __m512bh pairs =
          _mm512_cvtne2ps_pbh(_mm512_maskz_loadu_ps(high, x + i + 16), _mm512_maskz_loadu_ps(low, x + i));
      _mm512_mask_storeu_epi32(out + i / 2, (__mmask16)((1u << units(n)) - 1), (__m512i)pairs);
    }
}
#endif

// out[units(rows)][out_row]: out_row is a multiple of VEC.
static inline void pack_across(const void *x, ig_dtype type, int64_t at, int64_t stride, int64_t rows, int64_t columns,
                               unit *out, int64_t out_row) {
#ifdef PRODUCTS_BF16
  for (int64_t r = 0; r < rows; r += 2, at += 2 * stride, out += out_row)
    for (int64_t i = 0; i < out_row; i += 16) {
      const int64_t n = columns - i < 0 ? 0 : columns - i < 16 ? columns - i : 16;
      vec_u16 a = {0}, b = {0};
      if (n == 16 && r + 1 < rows) {  // whole vectors: a copy of n bytes is many small ones
        const uint16_t *from = (const uint16_t *)x + at + i;
        const __m512i low = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)from));
        const __m512i high = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(from + stride)));
        _mm512_storeu_si512(out + i, _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
        continue;
      }
      memcpy(&a, (const uint16_t *)x + at + i, (size_t)n * sizeof(uint16_t));
      if (r + 1 < rows)
        memcpy(&b, (const uint16_t *)x + at + stride + i, (size_t)n * sizeof(uint16_t));
      const vec_u32 pairs = __builtin_convertvector(a, vec_u32) | __builtin_convertvector(b, vec_u32) << 16;
      memcpy(out + i, &pairs, sizeof pairs);
    }
#else
  pack_along(x, type, at, stride, rows, columns, out, out_row);
#endif
}

// out[columns][out_row] = x[rows][x_row] turned round, units; zeros for columns rows..padded-1 of the result.
static inline void turn_units(const unit *x, int64_t x_row, int64_t rows, int64_t columns, unit *out, int64_t out_row,
                              int64_t padded) {
  for (int64_t r = 0; r < padded; r += VEC)
    for (int64_t i = 0; i < columns; i += VEC) {
      const int64_t n = columns - i < VEC ? columns - i : VEC;
      vec t[VEC];
      for (int k = 0; k < VEC; k++) {
        t[k] = (vec){0};
        if (r + k < rows && n == VEC)
          memcpy(&t[k], x + (r + k) * x_row + i, sizeof t[k]);
        else if (r + k < rows)
          memcpy(&t[k], x + (r + k) * x_row + i, (size_t)n * sizeof *x);
      }
      vec_transpose(t);
      for (int64_t k = 0; k < n; k++)
        memcpy(out + (i + k) * out_row + r, &t[k], sizeof t[k]);
    }
}

#endif
