// The bf16 convolution of pictures with few channels (a network's first one), which would leave a vector of channels
// mostly empty: in the plain picture the taps of a row and their channels are one run of memory, whose pairs are what
// vdpbf16ps multiplies. A task owns a few rows of y of one sample, copies the rows of x that they read with zeros
// around, and keeps the sums of some pixels by up to four vectors of output channels in registers. Rule: a sum runs
// over rows and pairs in their order, whatever thread it falls to.
#include <omp.h>
#include <string.h>

#include "kernels/conv2d/conv2d_products_bf16.h"
#include "kernels/kernels.h"

enum {
  PIXELS = 6,   // of a row of y whose sums are in registers at once
  VECTORS = 4,  // of output channels, likewise
  TASK_ROWS = 8,
};

typedef struct state {
  ig_conv2d_dims d;
  int64_t n_k, n_groups;       // blocks of output channels; groups of up to VECTORS
  int64_t run, step;           // pairs of a row of taps; elements of x from one pixel of y to the next
  int64_t row, rows;           // elements of a copied row; rows of a task
  size_t w_pairs, x_elements;  // all weights; a task's rows of x, in pairs
} state;

typedef uint32_t any_pair __attribute__((aligned(2), may_alias));

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t first_block(const state *s, int64_t g) { return bf16_group(s->n_k, s->n_groups, g); }

// One block of output channels into its place of w [group][R][run][block][lane], zero past the last tap and channel.
static void pack_weights(const state *s, const uint16_t *from, int64_t g, int64_t block, uint32_t *w) {
  const ig_conv2d_dims *d = &s->d;
  const int64_t k0 = first_block(s, g), kv = first_block(s, g + 1) - k0;
  for (int64_t r = 0; r < d->R; r++)
    for (int64_t t = 0; t < s->run; t++)
      for (int64_t l = 0; l < BF16_VEC; l++) {
        const int64_t k = block * BF16_VEC + l;
        uint32_t pair = 0;
        for (int64_t j = 2 * t; j < 2 * t + 2 && j < d->S * d->C && k < d->K; j++)
          pair |= (uint32_t)from[((k * d->C + j % d->C) * d->R + r) * d->S + j / d->C] << (j % 2 * 16);
        w[((k0 * d->R * s->run) + (r * s->run + t) * kv + block - k0) * BF16_VEC + l] = pair;
      }
}

// Rows [h0, h1) of one sample, the padding of the left before them and zeros after them.
static void copy_rows(const state *s, const uint16_t *x, int64_t h0, int64_t h1, uint16_t *to) {
  const int64_t before = s->d.pad_left * s->d.C, n = least(s->d.W * s->d.C, s->row - before);
  for (int64_t h = h0; h < h1; h++, to += s->row) {
    memset(to, 0, (size_t)s->row * sizeof *to);
    if (n > 0)
      memcpy(to + before, x + h * s->d.W * s->d.C, (size_t)n * sizeof *to);
  }
}

// PIXELS pixels by kv vectors: x and w at their first row of taps, r rows.
BF16_INLINE void multiply(const state *s, const uint16_t *x, const uint32_t *w, int64_t r, __m512 acc[PIXELS][VECTORS],
                          const int kv) {
  __m512 sums[PIXELS][VECTORS];
#pragma GCC unroll 6
  for (int i = 0; i < PIXELS; i++)
#pragma GCC unroll 4
    for (int j = 0; j < kv; j++)
      sums[i][j] = _mm512_setzero_ps();
  for (; r > 0; r--, x += s->d.dilation_h * s->row) {
    const uint16_t *a = x;
    for (int64_t t = 0; t < s->run; t++, a += 2, w += kv * BF16_VEC) {
      __m512bh u[VECTORS];
#pragma GCC unroll 4
      for (int j = 0; j < kv; j++)
        u[j] = bf16_load(w + j * BF16_VEC);
#pragma GCC unroll 6
      for (int i = 0; i < PIXELS; i++) {
        const __m512bh v = (__m512bh)_mm512_set1_epi32((int)*(const any_pair *)(a + i * s->step));
#pragma GCC unroll 4
        for (int j = 0; j < kv; j++)
          sums[i][j] = _mm512_dpbf16_ps(sums[i][j], v, u[j]);
      }
    }
  }
#pragma GCC unroll 6
  for (int i = 0; i < PIXELS; i++)
#pragma GCC unroll 4
    for (int j = 0; j < kv; j++)
      acc[i][j] = sums[i][j];
}

static inline __m512 ended(__m512 v, bool relu) {
  return relu ? _mm512_mask_blend_ps(_mm512_cmp_ps_mask(v, _mm512_setzero_ps(), _CMP_LT_OQ), v, _mm512_setzero_ps())
              : v;
}

static void store(const __m512 acc[PIXELS][VECTORS], int j, __m512 shift, bool relu, int64_t n, uint16_t *y) {
  for (int i = 0; i < n; i += 2, y += 2 * BF16_VEC) {
    const __m512i two =
        (__m512i)_mm512_cvtne2ps_pbh(ended(acc[i + 1][j] + shift, relu), ended(acc[i][j] + shift, relu));
    if (i + 1 < n)
      _mm512_storeu_si512(y, two);
    else
      _mm256_storeu_si256((void *)y, _mm512_castsi512_si256(two));
  }
}

// Row p of y of one sample from copied rows, of which the first is row h0 of x.
static void run_row(const state *s, const uint16_t *x, int64_t h0, const uint32_t *w, const ig_conv2d_end *e, int64_t p,
                    uint16_t *y) {
  const ig_conv2d_dims *d = &s->d;
  const int64_t h = p * d->stride_h - d->pad_top, plane = d->P * d->Q * BF16_VEC;
  int64_t r0 = 0, r1 = d->R;
  while (r0 < r1 && h + r0 * d->dilation_h < 0)
    r0++;
  while (r1 > r0 && h + (r1 - 1) * d->dilation_h >= d->H)
    r1--;
  for (int64_t g = 0; g < s->n_groups; g++) {
    const int64_t k0 = first_block(s, g);
    const int kv = (int)(first_block(s, g + 1) - k0);
    const uint32_t *u = w + (k0 * d->R + r0 * kv) * s->run * BF16_VEC;
    const uint16_t *from = x + (h + r0 * d->dilation_h - h0) * s->row;
    for (int64_t q = 0; q < d->Q; q += PIXELS) {
      __m512 acc[PIXELS][VECTORS];
      if (kv == 4)
        multiply(s, from + q * s->step, u, r1 - r0, acc, 4);
      else if (kv == 3)
        multiply(s, from + q * s->step, u, r1 - r0, acc, 3);
      else if (kv == 2)
        multiply(s, from + q * s->step, u, r1 - r0, acc, 2);
      else
        multiply(s, from + q * s->step, u, r1 - r0, acc, 1);
      for (int j = 0; j < kv; j++) {
        const int64_t k = (k0 + j) * BF16_VEC, left = least(d->K - k, BF16_VEC);
        const __m512 shift =
            e->bias ? _mm512_maskz_loadu_ps((__mmask16)((1u << left) - 1), e->bias + k) : _mm512_setzero_ps();
        store(acc, j, shift, e->relu, least(d->Q - q, PIXELS), y + (k0 + j) * plane + (p * d->Q + q) * BF16_VEC);
      }
    }
  }
}

static ig_status run(const ig_launch *l) {
  const state *s = l->state;
  const ig_conv2d_dims *d = &s->d;
  const ig_conv2d_end e = ig_conv2d_end_of(l);
  const uint16_t *x = l->in[0];
  uint16_t *y = l->out[0];
  uint32_t *w = l->workspace;
  uint16_t *copies = (uint16_t *)(w + s->w_pairs);
#pragma omp parallel num_threads(l->device->caps.threads)
  {
    uint16_t *own = copies + (size_t)omp_get_thread_num() * s->x_elements;
#pragma omp for schedule(static)
    for (int64_t g = 0; g < s->n_groups; g++)
      for (int64_t k = first_block(s, g); k < first_block(s, g + 1); k++)
        pack_weights(s, l->in[1], g, k, w);
#pragma omp for collapse(2) schedule(dynamic, 1)
    for (int64_t n = 0; n < d->N; n++)
      for (int64_t p = 0; p < d->P; p += TASK_ROWS) {
        const int64_t end = least(p + TASK_ROWS, d->P), first = p * d->stride_h - d->pad_top;
        const int64_t h0 = first > 0 ? first : 0;
        copy_rows(s, x + n * d->H * d->W * d->C, h0,
                  least((end - 1) * d->stride_h - d->pad_top + (d->R - 1) * d->dilation_h + 1, d->H), own);
        for (int64_t i = p; i < end; i++)
          run_row(s, own, h0, w, &e, i, y + n * s->n_k * d->P * d->Q * BF16_VEC);
      }
  }
  return IG_OK;
}

static ig_status prepare(ig_prepare *p) {
  state *s;
  IG_TRY(ig_alloc(sizeof *s, "convolution", &s));
  const ig_conv2d_dims d = ig_conv2d_dims_of(p->node);
  s->d = d;
  s->n_k = bf16_ceil(d.K, BF16_VEC);
  s->n_groups = bf16_ceil(s->n_k, VECTORS);
  s->run = bf16_ceil(d.S * d.C, 2);
  s->step = d.stride_w * d.C;
  s->row = (bf16_ceil(d.Q, PIXELS) * PIXELS - 1) * s->step + 2 * s->run;
  s->rows = least((TASK_ROWS - 1) * d.stride_h + (d.R - 1) * d.dilation_h + 1, d.H);
  s->w_pairs = (size_t)(s->n_k * d.R * s->run * BF16_VEC);
  s->x_elements = (size_t)((s->rows * s->row + 1) / 2 * 2);
  p->workspace_bytes =
      s->w_pairs * sizeof(uint32_t) + (size_t)p->device->caps.threads * s->x_elements * sizeof(uint16_t);
  p->in_layout[0] = p->in_layout[1] = IG_PLAIN;
  p->out_layout[0] = IG_BLOCKED_C(BF16_VEC);
  ig_conv2d_end_layouts(p);
  p->state = s;
  return IG_OK;
}

static bool supports(const ig_node *n, const ig_device_caps *caps, char *why, size_t why_bytes) {
  const ig_conv2d_dims d = ig_conv2d_dims_of(n);
  const char *reason = n->in[0]->dtype != IG_BF16 ? "takes bf16"
                       : d.groups != 1            ? "takes one group"
                       : n->n_in > 3 && n->in[3]  ? "takes no residual"
                       : d.dilation_w != 1        ? "takes no dilation along a row"
                       : d.C >= BF16_VEC          ? "takes fewer channels than a vector has"
                       : d.K < BF16_VEC / 2       ? "takes output channels that fill half a vector"
                                                  : NULL;
  return ig_no_reason(reason, why, why_bytes);
}

#define COMMON                                                                                                 \
  .flags = IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE, .isa = IG_ISA_LEVEL, .supports = supports, .run = run, \
  .prepare = prepare, .destroy = ig_free
IG_IMPLS(conv2d_few_bf16_cpu) = {
    {.name = "conv2d_few_bf16_cpu", COMMON}, {.name = "conv2d_fused_few_bf16_cpu", COMMON}, {0}};
