// GELU (erf form) behind a bias in bf16, 32 numbers at a time, by a fit of the normal distribution's tail: relative
// error 1e-6 and that of rounding z^2 / 2, far below a bf16 number's last place. Backward is one pass: tasks are pieces
// of columns of fixed parts of the rows, whose bias gradients are added in double.
#include <immintrin.h>
#include <stdio.h>
#include <string.h>

#include "kernels/bias_gelu/bias_gelu.h"
#include "kernels/kernels.h"
#include "kernels/optim_util/fixed.h"
#include "kernels/plain.h"

enum {
  TILE = 1024,   // columns of a task
  LEAST = 16384  // numbers: the least work worth a second thread
};
#define INLINE static inline __attribute__((always_inline))

// exp(-z^2 / 2) = 2^y, y = -z^2 / (2 ln 2), by a polynomial on the fraction: 1e-7 of the value. NaN stays NaN.
INLINE __m512 bell(__m512 z) {
  const __m512 square = _mm512_mul_ps(_mm512_mul_ps(z, z), _mm512_set1_ps(-0.72134752f));
  const __m512 y = _mm512_max_ps(_mm512_set1_ps(-160), square);
  const __m512 n = _mm512_roundscale_ps(y, 0), f = _mm512_sub_ps(y, n);
  __m512 p = _mm512_fmadd_ps(_mm512_set1_ps(0.00132765f), f, _mm512_set1_ps(0.00967555f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.05550713f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.2402212f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.69314697f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.00000007f));
  return _mm512_scalef_ps(p, n);
}

// The normal distribution at z; e = bell(z). Below 0 it is e t q(t), t = 1 / (1 + 0.36 |z|), with q a least-largest
// fit of the relative error on |z| <= 14 (9e-7).
INLINE __m512 distribution(__m512 z, __m512 e) {
  const __m512 one = _mm512_set1_ps(1), d = _mm512_fmadd_ps(_mm512_abs_ps(z), _mm512_set1_ps(0.36f), one);
  __m512 t = _mm512_rcp14_ps(d);
  t = _mm512_mul_ps(t, _mm512_fnmadd_ps(t, d, _mm512_set1_ps(2)));
  __m512 q = _mm512_fmadd_ps(_mm512_set1_ps(0.0470559824f), t, _mm512_set1_ps(-0.179763657f));
  q = _mm512_fmadd_ps(q, t, _mm512_set1_ps(0.1809526376f));
  q = _mm512_fmadd_ps(q, t, _mm512_set1_ps(0.0265502354f));
  q = _mm512_fmadd_ps(q, t, _mm512_set1_ps(0.1397189506f));
  q = _mm512_fmadd_ps(q, t, _mm512_set1_ps(0.1417725067f));
  q = _mm512_fmadd_ps(q, t, _mm512_set1_ps(0.143713042f));
  const __m512 tail = _mm512_mul_ps(_mm512_mul_ps(e, t), q);
  return _mm512_mask_sub_ps(tail, _mm512_cmp_ps_mask(z, _mm512_setzero_ps(), _CMP_GT_OQ), one, tail);
}

INLINE __m512 gelu(__m512 z) { return _mm512_mul_ps(z, distribution(z, bell(z))); }
INLINE __m512 slope(__m512 z) {
  const __m512 e = bell(z);
  return _mm512_fmadd_ps(_mm512_mul_ps(z, _mm512_set1_ps(0.398942280f)), e, distribution(z, e));
}

// ---- rows ----

typedef struct lanes {
  __m512 low, high;
} lanes;

INLINE __mmask16 first16(int64_t n) { return (__mmask16)(n >= 16 ? 0xffff : n <= 0 ? 0 : (1u << n) - 1); }
INLINE __mmask32 first32(int64_t n) { return n >= 32 ? 0xffffffffu : (1u << n) - 1; }

// n (at most 32 count) numbers; zeros behind. Whole ones without a mask: a masked load that misses the first-level
// cache costs this processor more than twice as much (Zen 5).
INLINE lanes load_bf16(const uint16_t *p, int64_t n) {
  const __m512i v = n >= 32 ? _mm512_loadu_si512(p) : _mm512_maskz_loadu_epi16(first32(n), p);
  const __m512i low = _mm512_cvtepu16_epi32(_mm512_castsi512_si256(v));
  const __m512i high = _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(v, 1));
  return (lanes){_mm512_castsi512_ps(_mm512_slli_epi32(low, 16)), _mm512_castsi512_ps(_mm512_slli_epi32(high, 16))};
}
INLINE lanes load_f32(const float *p, int64_t n) {
  return (lanes){_mm512_maskz_loadu_ps(first16(n), p), _mm512_maskz_loadu_ps(first16(n - 16), p + 16)};
}
INLINE lanes plus(lanes a, lanes b) { return (lanes){_mm512_add_ps(a.low, b.low), _mm512_add_ps(a.high, b.high)}; }
INLINE lanes times(lanes a, lanes b) { return (lanes){_mm512_mul_ps(a.low, b.low), _mm512_mul_ps(a.high, b.high)}; }
INLINE void store_bf16(uint16_t *p, int64_t n, lanes v) {
  _mm512_mask_storeu_epi16(p, first32(n), (__m512i)_mm512_cvtne2ps_pbh(v.high, v.low));
}
INLINE void store_f32(float *p, int64_t n, lanes v) {
  _mm512_mask_storeu_ps(p, first16(n), v.low);
  _mm512_mask_storeu_ps(p + 16, first16(n - 16), v.high);
}

static ig_status run(const ig_launch *l) {
  const ig_tensor *x = l->node->in[0];
  const int64_t T = x->shape.d[0], D = x->shape.d[1];
  const float *bias = l->in[1];
#pragma omp parallel for schedule(static) num_threads(l->device->caps.threads) if (T * D > LEAST)
  for (int64_t t = 0; t < T; t++)
    for (int64_t c = 0; c < D; c += 32) {
      const lanes z = plus(load_bf16((const uint16_t *)l->in[0] + t * D + c, D - c), load_f32(bias + c, D - c));
      store_bf16((uint16_t *)l->out[0] + t * D + c, D - c, (lanes){gelu(z.low), gelu(z.high)});
    }
  return IG_OK;
}

// Columns c..c+n of rows first..last: dx, and their sums.
static void bwd_piece(const ig_launch *l, int64_t first, int64_t last, int64_t c, int64_t n, float *sums) {
  const int64_t D = l->node->in[1]->shape.d[1];
  memset(sums, 0, (size_t)n * sizeof *sums);
  for (int64_t t = first; t < last; t++)
    for (int64_t i = 0; i < n; i += 32) {
      const int64_t at = t * D + c + i;
      const lanes z =
          plus(load_bf16((const uint16_t *)l->in[1] + at, n - i), load_f32((const float *)l->in[2] + c + i, n - i));
      const lanes dx = times(load_bf16((const uint16_t *)l->in[0] + at, n - i), (lanes){slope(z.low), slope(z.high)});
      store_bf16((uint16_t *)l->out[0] + at, n - i, dx);
      store_f32(sums + i, n - i, plus(load_f32(sums + i, n - i), dx));
    }
}

static int64_t parts_of(int64_t T) {
  const int64_t size = ig_fixed_part(T);
  return size ? (T + size - 1) / size : 0;
}

static ig_status prepare_bwd(ig_prepare *p) {
  const ig_node *n = p->node;
  ig_prepare_plain(p);
  p->workspace_bytes = (size_t)(parts_of(n->in[1]->shape.d[0]) * n->in[1]->shape.d[1]) * sizeof(float);
  return IG_OK;
}

static ig_status run_bwd(const ig_launch *l) {
  const ig_tensor *x = l->node->in[1];
  const int64_t T = x->shape.d[0], D = x->shape.d[1], tiles = (D + TILE - 1) / TILE;
  const int64_t size = ig_fixed_part(T), parts = parts_of(T);
  float *sums = l->workspace, *dbias = l->out[1];
#pragma omp parallel for schedule(static) num_threads(l->device->caps.threads) if (T * D > LEAST)
  for (int64_t task = 0; task < parts * tiles; task++) {
    const int64_t part = task / tiles, c = task % tiles * TILE;
    bwd_piece(l, part * size, ig_min_i64((part + 1) * size, T), c, ig_min_i64(D - c, TILE), sums + part * D + c);
  }
#pragma omp parallel for schedule(static) num_threads(l->device->caps.threads) if (parts * D > LEAST)
  for (int64_t c = 0; c < D; c += 64)
    ig_add_parts_f32(sums + c, parts, D, ig_min_i64(D - c, 64), dbias + c);
  return IG_OK;
}

static bool takes(const ig_node *n, int x, char *why, size_t why_bytes) {
  const char *reason = n->in[x]->dtype != IG_BF16                        ? "takes bf16"
                       : ((const ig_bias_gelu_attr *)n->attr)->tanh_form ? "has the erf form alone"
                                                                         : NULL;
  if (reason)
    snprintf(why, why_bytes, "%s", reason);
  return !reason;
}
static bool supports(const ig_node *n, const ig_device_caps *caps, char *why, size_t why_bytes) {
  return takes(n, 0, why, why_bytes);
}
static bool supports_bwd(const ig_node *n, const ig_device_caps *caps, char *why, size_t why_bytes) {
  return takes(n, 1, why, why_bytes);
}

#define COMMON .flags = IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE, .isa = IG_ISA_LEVEL
IG_IMPLS(bias_gelu_bf16_cpu) = {
    {.name = "bias_gelu_bf16_cpu", COMMON, .supports = supports, .run = run},
    {.name = "bias_gelu_bwd_bf16_cpu", COMMON, .supports = supports_bwd, .prepare = prepare_bwd, .run = run_bwd},
    {0}};
