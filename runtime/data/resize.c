// The resize: coefficients, a horizontal pass over the rows that the view needs, a vertical pass. Rule: the AVX2 code
// and the plain C code compute the same integers.
#include "runtime/data/resize.h"

#include <math.h>
#include <string.h>

#include "runtime/base/mem.h"

#if defined(__x86_64__)
#include <immintrin.h>
#define AVX2 __attribute__((target("avx2")))
#endif

enum { BITS = 22, HALF = 11, ROUND = 1 << (BITS - 1) };

static ig_status room(void *array, size_t *capacity, size_t need, size_t element_bytes) {
  return ig_grow(array, capacity, 0, need, element_bytes, "resize workspace");
}

// Taps of output i; the arithmetic and its order are Pillow's.
static void axis_taps(int in, int out, int i, int *first, int *count, double *center) {
  double scale = (double)in / out, support = scale < 1 ? 1 : scale;
  *center = (i + 0.5) * scale;
  int from = (int)(*center - support + 0.5), to = (int)(*center + support + 0.5);
  *first = from < 0 ? 0 : from;
  *count = (to > in ? in : to) - *first;
}

// Outputs from .. from + n of the axis.
static ig_status axis_prepare(ig_resize_axis *a, int in, int out, int from, int n) {
  if (a->in == in && a->out == out && a->from == from && a->n == n)
    return IG_OK;
  a->in = a->out = 0;  // nothing valid until the end
  IG_TRY(room(&a->first, &a->first_capacity, (size_t)n, sizeof *a->first));
  IG_TRY(room(&a->count, &a->count_capacity, (size_t)n, sizeof *a->count));
  double center, scale = (double)in / out, narrow = 1 / (scale < 1 ? 1 : scale);
  int most = 1;
  for (int i = 0; i < n; i++) {
    axis_taps(in, out, from + i, &a->first[i], &a->count[i], &center);
    most = a->count[i] > most ? a->count[i] : most;
  }
  a->n_groups = (most + 3) / 4;
  size_t taps = 4 * (size_t)a->n_groups;
  IG_TRY(room(&a->weight, &a->weight_capacity, (size_t)n * taps, sizeof *a->weight));
  IG_TRY(room(&a->packed, &a->packed_capacity, (size_t)n * taps * 2, sizeof *a->packed));
  memset(a->weight, 0, (size_t)n * taps * sizeof *a->weight);
  for (int i = 0; i < n; i++) {
    int first, count;
    int32_t *w = a->weight + (size_t)i * taps;
    double sum = 0;
    axis_taps(in, out, from + i, &first, &count, &center);
    for (int pass = 0; pass < 2; pass++)
      for (int j = 0; j < count; j++) {
        double d = fabs((j + first - center + 0.5) * narrow), v = d < 1 ? 1 - d : 0;
        if (pass == 0)
          sum += v;
        else
          w[j] = (int32_t)(0.5 + v / sum * (1 << BITS));
      }
    // per group of 4 taps: 4 high halves, 4 low halves
    int16_t *p = a->packed + (size_t)i * taps * 2;
    for (size_t j = 0; j < taps; j++) {
      p[j / 4 * 8 + j % 4] = (int16_t)(w[j] >> HALF);
      p[j / 4 * 8 + 4 + j % 4] = (int16_t)(w[j] & ((1 << HALF) - 1));
    }
  }
  a->in = in;
  a->out = out;
  a->from = from;
  a->n = n;
  return IG_OK;
}

// One row of a->n columns.
static void row_portable(const ig_resize_axis *a, const uint8_t *from, uint8_t *to) {
  size_t taps = 4 * (size_t)a->n_groups;
  for (int x = 0; x < a->n; x++, to += 3) {
    const int32_t *w = a->weight + (size_t)x * taps;
    const uint8_t *p = from + 3 * (size_t)a->first[x];
    int32_t s[3] = {ROUND, ROUND, ROUND};
    for (int j = 0; j < a->count[x]; j++, p += 3)
      for (int c = 0; c < 3; c++)
        s[c] += w[j] * p[c];
    for (int c = 0; c < 3; c++)
      to[c] = (uint8_t)(s[c] >> BITS);
  }
}

static void column_portable(const int32_t *w, int count, const uint8_t *from, size_t stride, size_t n, uint8_t *to) {
  for (size_t i = 0; i < n; i++) {
    int32_t s = ROUND;
    for (int j = 0; j < count; j++)
      s += w[j] * from[stride * (size_t)j + i];
    to[i] = (uint8_t)(s >> BITS);
  }
}

#if defined(__x86_64__)
// Four taps of 3 channels a step. weight = high * 2^11 + low, both of 11 bits, so that two multiply-adds of 16-bit
// pairs give the exact 32-bit sums. Reads 16 bytes a group (12 count) and writes 4 a pixel (3 count).
AVX2 static void row_avx2(const ig_resize_axis *a, const uint8_t *from, uint8_t *to) {
  const int8_t z = -1;
  const __m256i pairs = _mm256_setr_epi8(0, z, 3, z, 1, z, 4, z, 2, z, 5, z, z, z, z, z,  //
                                         6, z, 9, z, 7, z, 10, z, 8, z, 11, z, z, z, z, z);
  const __m256i high = _mm256_setr_epi8(0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3,  //
                                        4, 5, 6, 7, 4, 5, 6, 7, 4, 5, 6, 7, 4, 5, 6, 7);
  const __m256i low = _mm256_add_epi8(high, _mm256_set1_epi8(8));
  const __m128i bytes = _mm_setr_epi8(0, 4, 8, z, z, z, z, z, z, z, z, z, z, z, z, z);
  for (int x = 0; x < a->n; x++, to += 3) {
    const uint8_t *p = from + 3 * (size_t)a->first[x];
    const int16_t *w = a->packed + (size_t)x * (size_t)a->n_groups * 8;
    __m256i sum_high = _mm256_setzero_si256(), sum_low = _mm256_setzero_si256();
    for (int g = 0; g < a->n_groups; g++, p += 12, w += 8) {
      __m256i pixels = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)p));
      __m256i weights = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)w));
      pixels = _mm256_shuffle_epi8(pixels, pairs);
      sum_high = _mm256_add_epi32(sum_high, _mm256_madd_epi16(pixels, _mm256_shuffle_epi8(weights, high)));
      sum_low = _mm256_add_epi32(sum_low, _mm256_madd_epi16(pixels, _mm256_shuffle_epi8(weights, low)));
    }
    __m256i sum = _mm256_add_epi32(_mm256_slli_epi32(sum_high, HALF), sum_low);
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
    s = _mm_srli_epi32(_mm_add_epi32(s, _mm_set1_epi32(ROUND)), BITS);
    int32_t rgb = _mm_cvtsi128_si32(_mm_shuffle_epi8(s, bytes));
    memcpy(to, &rgb, 4);
  }
}

AVX2 static void column_avx2(const int32_t *w, int count, const uint8_t *from, size_t stride, size_t n, uint8_t *to) {
  size_t i = 0;
  for (; i + 32 <= n; i += 32) {
    __m256i s0 = _mm256_set1_epi32(ROUND), s1 = s0, s2 = s0, s3 = s0;
    const uint8_t *p = from + i;
    for (int j = 0; j < count; j++, p += stride) {
      const __m256i v = _mm256_set1_epi32(w[j]);
#define TAP(s, k) \
  s = _mm256_add_epi32(s, _mm256_mullo_epi32(v, _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(p + 8 * (k))))))
      TAP(s0, 0);
      TAP(s1, 1);
      TAP(s2, 2);
      TAP(s3, 3);
#undef TAP
    }
    s0 = _mm256_packus_epi32(_mm256_srli_epi32(s0, BITS), _mm256_srli_epi32(s1, BITS));
    s2 = _mm256_packus_epi32(_mm256_srli_epi32(s2, BITS), _mm256_srli_epi32(s3, BITS));
    s0 = _mm256_permutevar8x32_epi32(_mm256_packus_epi16(s0, s2), _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    _mm256_storeu_si256((__m256i *)(to + i), s0);
  }
  column_portable(w, count, from + i, stride, n - i, to + i);
}
#endif

ig_status ig_resize_run(ig_resize *r, const uint8_t *src, int w, int h, ig_rect box, int out_w, int out_h,
                        const ig_rect *view, uint8_t *dst, size_t dst_stride) {
  ig_rect v = view ? *view : (ig_rect){0, 0, out_w, out_h};
  if (box.x < 0 || box.y < 0 || box.w < 1 || box.h < 1 || box.w > w - box.x || box.h > h - box.y)
    return ig_fail(IG_ERR_USAGE, "resize: box %dx%d at (%d, %d) is empty or leaves the picture of %dx%d", box.w, box.h,
                   box.x, box.y, w, h);
  if (v.x < 0 || v.y < 0 || v.w < 1 || v.h < 1 || v.w > out_w - v.x || v.h > out_h - v.y)
    return ig_fail(IG_ERR_USAGE, "resize: view %dx%d at (%d, %d) is empty or leaves the result of %dx%d", v.w, v.h, v.x,
                   v.y, out_w, out_h);
  bool avx2 = false;
#if defined(__x86_64__)
  avx2 = !r->portable && __builtin_cpu_supports("avx2");
#endif
  bool x_same = box.w == out_w, y_same = box.h == out_h;  // weights 0, 1, 0: a copy
  IG_TRY(axis_prepare(&r->x, box.w, out_w, v.x, v.w));
  IG_TRY(axis_prepare(&r->y, box.h, out_h, v.y, v.h));
  size_t src_stride = (size_t)w * 3, n = (size_t)v.w * 3;
  const uint8_t *cut = src + (size_t)box.y * src_stride + (size_t)box.x * 3, *end = src + (size_t)h * src_stride;
  int y0 = y_same ? v.y : r->y.first[0], y1 = y_same ? v.y + v.h : r->y.first[v.h - 1] + r->y.count[v.h - 1];

  const uint8_t *rows = cut + (size_t)y0 * src_stride + (size_t)v.x * 3;
  size_t stride = src_stride;
  if (!x_same) {
    const ig_resize_axis *a = &r->x;
    size_t reach = 3 * ((size_t)a->first[v.w - 1] + 4 * (size_t)a->n_groups) + 4;  // bytes that row_avx2 reads
    IG_TRY(room(&r->rows, &r->rows_capacity, n * (size_t)(y1 - y0) + 4, 1));
    IG_TRY(room(&r->line, &r->line_capacity, reach, 1));
    for (int y = y0; y < y1; y++) {
      const uint8_t *from = cut + (size_t)y * src_stride;
      uint8_t *to = r->rows + n * (size_t)(y - y0);
      if (!avx2) {
        row_portable(a, from, to);
        continue;
      }
#if defined(__x86_64__)
      if ((size_t)(end - from) < reach) {
        size_t used = (size_t)box.w * 3 < reach ? (size_t)box.w * 3 : reach;
        memcpy(r->line, from, used);
        memset(r->line + used, 0, reach - used);
        from = r->line;
      }
      row_avx2(a, from, to);
#endif
    }
    rows = r->rows;
    stride = n;
  }
  for (int y = 0; y < v.h; y++) {
    uint8_t *to = dst + dst_stride * (size_t)y;
    if (y_same) {
      memcpy(to, rows + stride * (size_t)y, n);
      continue;
    }
    const int32_t *weight = r->y.weight + (size_t)y * 4 * (size_t)r->y.n_groups;
    int first = r->y.first[y], count = r->y.count[y];
    const uint8_t *from = rows + stride * (size_t)(first - y0);
#if defined(__x86_64__)
    if (avx2) {
      column_avx2(weight, count, from, stride, n, to);
      continue;
    }
#endif
    column_portable(weight, count, from, stride, n, to);
  }
  return IG_OK;
}

void ig_resize_fini(ig_resize *r) {
  for (ig_resize_axis *a = &r->x; a; a = a == &r->x ? &r->y : NULL) {
    ig_free(a->first);
    ig_free(a->count);
    ig_free(a->weight);
    ig_free(a->packed);
  }
  ig_free(r->rows);
  ig_free(r->line);
  *r = (ig_resize){0};
}

// round(n / 2), halves to even
static int half_even(int n) { return n / 2 + (n % 4 == 3); }

ig_status ig_resize_eval(ig_resize *r, const uint8_t *src, int w, int h, int shorter, int crop, uint8_t *dst) {
  if (crop < 1 || crop > shorter)
    return ig_fail(IG_ERR_USAGE, "resize: a crop of %d from a picture whose shorter side is %d", crop, shorter);
  int64_t longer = (int64_t)shorter * (w > h ? w : h) / (w > h ? h : w);
  if (longer > INT32_MAX / 4)
    return ig_fail(IG_ERR_USAGE, "resize: a picture of %dx%d with its shorter side at %d is too long", w, h, shorter);
  int out_w = w <= h ? shorter : (int)longer, out_h = w <= h ? (int)longer : shorter;
  ig_rect view = {half_even(out_w - crop), half_even(out_h - crop), crop, crop};
  return ig_resize_run(r, src, w, h, (ig_rect){0, 0, w, h}, out_w, out_h, &view, dst, (size_t)crop * 3);
}
