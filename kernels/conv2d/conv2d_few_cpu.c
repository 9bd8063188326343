// The fp32 convolution of pictures with few channels (a network's first one) and its weight gradient, in own vector
// code: in the plain picture the taps of a row and their channels are one run of memory, which products read where it
// lies, a number at a time, by vectors of output channels. A task copies the rows of x that some rows of y see, with
// zeros around. Rule: a sum of y runs over rows and taps in their order; a weight gradient's sums are one sample's,
// added in order within a shard of the batch and in a binary tree over shards, so that neither threads nor ranks
// change a bit.
#include <omp.h>
#include <string.h>

#include "kernels/conv2d/conv2d.h"
#include "kernels/kernels.h"

#if defined(IG_ISA_avx512)
enum { VEC = 16, PIXELS = 14, DW_TAPS = 7, DW_VECTORS = 4 };
#else
enum { VEC = 8, PIXELS = 6, DW_TAPS = 6, DW_VECTORS = 2 };
#endif
enum {
  VECTORS = 2,    // of output channels whose sums over PIXELS of a row are in registers at once; in the weight gradient
                  // DW_VECTORS by DW_TAPS are
  TASK_ROWS = 8,  // of y
};
typedef float vec __attribute__((vector_size(VEC * sizeof(float)), aligned(4), may_alias));
typedef int32_t lanes __attribute__((vector_size(VEC * sizeof(int32_t))));

typedef struct state {
  ig_conv2d_dims d;
  int64_t n_k, n_groups;                 // blocks of output channels; groups of up to VECTORS (DW_VECTORS)
  int64_t run, step;                     // numbers of a row of taps; of x from one pixel of y to the next
  int64_t row, rows;                     // numbers of a copied row; rows of a task
  int64_t taps, n_shards;                // of the weight gradient: run, rounded up
  size_t x_floats, w_floats, dw_floats;  // a task's rows of x; all weights; a sample's weight gradient
} state;

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// ---- rows of x ----
// Those that rows [p0, p1) of y see, the padding of the left before each and zeros after it. Returns the first.
static int64_t copy_rows(const state *s, const float *x, int64_t p0, int64_t p1, float *to) {
  const ig_conv2d_dims *d = &s->d;
  const int64_t first = p0 * d->stride_h - d->pad_top, h0 = first > 0 ? first : 0;
  const int64_t h1 = least((p1 - 1) * d->stride_h - d->pad_top + (d->R - 1) * d->dilation_h + 1, d->H);
  const int64_t before = d->pad_left * d->C, n = least(d->W * d->C, s->row - before);
  for (int64_t h = h0; h < h1; h++, to += s->row) {
    memset(to, 0, (size_t)s->row * sizeof *to);
    if (n > 0)
      memcpy(to + before, x + h * d->W * d->C, (size_t)n * sizeof *to);
  }
  return h0;
}

// Rows of taps [r0, r1) that row p of y finds inside of x.
static int64_t first_row(const state *s, int64_t p, int64_t *r0, int64_t *r1) {
  const int64_t h = p * s->d.stride_h - s->d.pad_top, step = s->d.dilation_h;
  for (*r0 = 0; *r0 < s->d.R && h + *r0 * step < 0;)
    ++*r0;
  for (*r1 = s->d.R; *r1 > *r0 && h + (*r1 - 1) * step >= s->d.H;)
    --*r1;
  return h + *r0 * step;
}

// ---- forward ----
// w [group][R][run][block][lane], zero past the last channel.
static void pack_weights(const state *s, const float *from, int64_t g, float *w) {
  const ig_conv2d_dims *d = &s->d;
  const int64_t k0 = g * VECTORS, kv = least(VECTORS, s->n_k - k0);
  w += k0 * d->R * s->run * VEC;
  for (int64_t r = 0; r < d->R; r++)
    for (int64_t t = 0; t < s->run; t++)
      for (int64_t l = 0; l < kv * VEC; l++, w++) {
        const int64_t k = k0 * VEC + l;
        *w = k < d->K ? from[((k * d->C + t % d->C) * d->R + r) * d->S + t / d->C] : 0;
      }
}

// What ends a sum: a shift a channel, a ReLU.
typedef struct ending {
  const float *shift;
  bool relu;
} ending;

// n <= PIXELS pixels of y, kv blocks `plane` apart, from x and w at their first row of taps, r rows.
static inline __attribute__((always_inline)) void multiply(const state *s, const float *x, const float *w, int64_t r,
                                                           ending e, int64_t n, int64_t plane, float *y, const int kv) {
  vec acc[PIXELS][VECTORS];
#pragma GCC unroll 14
  for (int i = 0; i < PIXELS; i++)
#pragma GCC unroll 2
    for (int j = 0; j < kv; j++) {
      acc[i][j] = *(const vec *)(e.shift + j * VEC);
      __builtin_prefetch(y + j * plane + i * VEC, 1, 2);
    }
  for (; r > 0; r--, x += s->d.dilation_h * s->row)
    for (int64_t t = 0; t < s->run; t++, w += kv * VEC) {
      vec u[VECTORS];
#pragma GCC unroll 2
      for (int j = 0; j < kv; j++)
        u[j] = *(const vec *)(w + j * VEC);
#pragma GCC unroll 14
      for (int i = 0; i < PIXELS; i++)
#pragma GCC unroll 2
        for (int j = 0; j < kv; j++)
          acc[i][j] += u[j] * x[t + i * s->step];
    }
#pragma GCC unroll 14
  for (int i = 0; i < PIXELS; i++)
    if (i < n) {
#pragma GCC unroll 2
      for (int j = 0; j < kv; j++) {
        vec v = acc[i][j];
        if (e.relu)
          v = (vec)((lanes)v & ~(lanes)(v < 0));  // NaN stays
        *(vec *)(y + j * plane + i * VEC) = v;
      }
    }
}
static void multiply_1(const state *s, const float *x, const float *w, int64_t r, ending e, int64_t n, int64_t plane,
                       float *y) {
  multiply(s, x, w, r, e, n, plane, y, 1);
}
static void multiply_2(const state *s, const float *x, const float *w, int64_t r, ending e, int64_t n, int64_t plane,
                       float *y) {
  multiply(s, x, w, r, e, n, plane, y, 2);
}

// Row p of y of one sample from copied rows, of which the first is row h0 of x.
static void run_row(const state *s, const float *x, int64_t h0, const float *w, const ig_conv2d_end *end, int64_t p,
                    float *y) {
  const ig_conv2d_dims *d = &s->d;
  const int64_t plane = d->P * d->Q * VEC;
  int64_t r0, r1;
  const float *from = x + (first_row(s, p, &r0, &r1) - h0) * s->row;
  for (int64_t g = 0; g < s->n_groups; g++) {
    const int64_t k0 = g * VECTORS, kv = least(VECTORS, s->n_k - k0);
    float shift[VECTORS * VEC] = {0};
    for (int64_t c = 0; end->bias && c < kv * VEC && k0 * VEC + c < d->K; c++)
      shift[c] = end->bias[k0 * VEC + c];
    for (int64_t q = 0; q < d->Q; q += PIXELS)
      (kv == 2 ? multiply_2 : multiply_1)(s, from + q * s->step, w + (k0 * d->R + r0 * kv) * s->run * VEC, r1 - r0,
                                          (ending){shift, end->relu}, least(d->Q - q, PIXELS), plane,
                                          y + k0 * plane + (p * d->Q + q) * VEC);
  }
}

static ig_status run(const ig_launch *l) {
  const state *s = l->state;
  const ig_conv2d_dims *d = &s->d;
  const ig_conv2d_end e = ig_conv2d_end_of(l);
  const float *x = l->in[0];
  float *y = l->out[0], *w = l->workspace, *copies = w + s->w_floats;
#pragma omp parallel num_threads(l->device->caps.threads)
  {
    float *own = copies + (size_t)omp_get_thread_num() * s->x_floats;
#pragma omp for schedule(static)
    for (int64_t g = 0; g < s->n_groups; g++)
      pack_weights(s, l->in[1], g, w);
#pragma omp for collapse(2) schedule(dynamic, 1)
    for (int64_t n = 0; n < d->N; n++)
      for (int64_t p = 0; p < d->P; p += TASK_ROWS) {
        const int64_t end = least(p + TASK_ROWS, d->P);
        const int64_t h0 = copy_rows(s, x + n * d->H * d->W * d->C, p, end, own);
        for (int64_t i = p; i < end; i++)
          run_row(s, own, h0, w, &e, i, y + n * s->n_k * d->P * d->Q * VEC);
      }
  }
  return IG_OK;
}

// ---- weight gradient ----
// sums[t][j] += sum over n pixels of a row of dy, blocks `plane` apart, times x at DW_TAPS taps. Meanwhile what lies
// `ahead` of dy comes to the second-level cache.
static inline __attribute__((always_inline)) void add_row(const float *x, int64_t step, const float *dy, int64_t plane,
                                                          int64_t n, int64_t ahead, float *sums, const int kv) {
  vec acc[DW_TAPS][DW_VECTORS];
#pragma GCC unroll 7
  for (int t = 0; t < DW_TAPS; t++)
#pragma GCC unroll 4
    for (int j = 0; j < kv; j++)
      acc[t][j] = *(const vec *)(sums + (t * kv + j) * VEC);
  for (int64_t q = 0; q < n; q++, x += step, dy += VEC) {
    vec v[DW_VECTORS];
#pragma GCC unroll 4
    for (int j = 0; j < kv; j++) {
      __builtin_prefetch(dy + j * plane + ahead, 0, 2);
      v[j] = *(const vec *)(dy + j * plane);
    }
#pragma GCC unroll 7
    for (int t = 0; t < DW_TAPS; t++)
#pragma GCC unroll 4
      for (int j = 0; j < kv; j++)
        acc[t][j] += v[j] * x[t];
  }
#pragma GCC unroll 7
  for (int t = 0; t < DW_TAPS; t++)
#pragma GCC unroll 4
    for (int j = 0; j < kv; j++)
      *(vec *)(sums + (t * kv + j) * VEC) = acc[t][j];
}
typedef void add_row_fn(const float *, int64_t, const float *, int64_t, int64_t, int64_t, float *);
#define ADD_ROW(kv)                                                                                                \
  static void add_row_##kv(const float *x, int64_t step, const float *dy, int64_t plane, int64_t n, int64_t ahead, \
                           float *sums) {                                                                          \
    add_row(x, step, dy, plane, n, ahead, sums, kv);                                                               \
  }
ADD_ROW(1)
ADD_ROW(2)
#if defined(IG_ISA_avx512)
ADD_ROW(3)
ADD_ROW(4)
static add_row_fn *const add_row_of[] = {add_row_1, add_row_2, add_row_3, add_row_4};
#else
static add_row_fn *const add_row_of[] = {add_row_1, add_row_2};
#endif

// One sample's sums [group][R][tap][block][lane].
static void sum_sample(const state *s, const float *x, const float *dy, float *own, float *sums) {
  const ig_conv2d_dims *d = &s->d;
  const int64_t plane = d->P * d->Q * VEC;
  memset(sums, 0, s->dw_floats * sizeof *sums);
  for (int64_t p0 = 0; p0 < d->P; p0 += TASK_ROWS) {
    const int64_t p1 = least(p0 + TASK_ROWS, d->P), h0 = copy_rows(s, x, p0, p1, own);
    for (int64_t p = p0; p < p1; p++)
      for (int64_t g = 0; g < s->n_groups; g++) {
        const int64_t k0 = g * DW_VECTORS, kv = least(DW_VECTORS, s->n_k - k0);
        int64_t r0, r1;
        const float *from = own + (first_row(s, p, &r0, &r1) - h0) * s->row;
        for (int64_t r = r0; r < r1; r++, from += d->dilation_h * s->row)
          for (int64_t t = 0; t < s->taps; t += DW_TAPS)
            add_row_of[kv - 1](from + t, s->step, dy + k0 * plane + p * d->Q * VEC, plane, d->Q,
                               r == r0 && t == 0 ? d->Q * VEC : 0,
                               sums + ((k0 * d->R + r * kv) * s->taps + t * kv) * VEC);
      }
  }
}

// Numbers [i, i + n) of all samples' sums into the first one's.
static void add_samples(const state *s, float *sums, size_t i, size_t n) {
  const int64_t N = s->d.N, shards = s->n_shards;
  for (int64_t h = 0; h < shards; h++)
    for (int64_t m = h * N / shards + 1; m < (h + 1) * N / shards; m++)
      for (size_t j = i; j < i + n; j++)
        sums[(size_t)(h * N / shards) * s->dw_floats + j] += sums[(size_t)m * s->dw_floats + j];
  for (int64_t step = 1; step < shards; step *= 2)
    for (int64_t h = 0; h + step < shards; h += 2 * step)
      for (size_t j = i; j < i + n; j++)
        sums[(size_t)(h * N / shards) * s->dw_floats + j] += sums[(size_t)((h + step) * N / shards) * s->dw_floats + j];
}

static void write_dw(const state *s, const float *sums, float *dw) {
  const ig_conv2d_dims *d = &s->d;
  for (int64_t k = 0; k < d->K; k++) {
    const int64_t k0 = k / VEC / DW_VECTORS * DW_VECTORS, kv = least(DW_VECTORS, s->n_k - k0);
    for (int64_t c = 0; c < d->C; c++)
      for (int64_t r = 0; r < d->R; r++)
        for (int64_t t = 0; t < d->S; t++)
          *dw++ = sums[((k0 * d->R + r * kv) * s->taps + (t * d->C + c) * kv + k / VEC - k0) * VEC + k % VEC];
  }
}

static ig_status run_dw(const ig_launch *l) {
  enum { PIECE = 1024 };
  const state *s = l->state;
  const ig_conv2d_dims *d = &s->d;
  const float *x = l->in[0], *dy = l->in[1];
  float *sums = l->workspace, *copies = sums + (size_t)d->N * s->dw_floats;
  *(float *)l->out[1] = 0;
#pragma omp parallel num_threads(l->device->caps.threads)
  {
    float *own = copies + (size_t)omp_get_thread_num() * s->x_floats;
#pragma omp for schedule(dynamic, 1)
    for (int64_t n = 0; n < d->N; n++)
      sum_sample(s, x + n * d->H * d->W * d->C, dy + n * s->n_k * d->P * d->Q * VEC, own,
                 sums + (size_t)n * s->dw_floats);
#pragma omp for schedule(static)
    for (size_t i = 0; i < s->dw_floats; i += PIECE)
      add_samples(s, sums, i, s->dw_floats - i < PIECE ? s->dw_floats - i : PIECE);
  }
  write_dw(s, sums, l->out[0]);
  return IG_OK;
}

// ---- preparation ----
static ig_status create(ig_prepare *p, int64_t vectors, state **out) {
  state *s;
  IG_TRY(ig_alloc(sizeof *s, "convolution", &s));
  const ig_conv2d_dims d = ig_conv2d_dims_of(p->node);
  s->d = d;
  s->n_k = ceil_div(d.K, VEC);
  s->n_groups = ceil_div(s->n_k, vectors);
  s->run = d.S * d.C;
  s->taps = ceil_div(s->run, DW_TAPS) * DW_TAPS;
  s->step = d.stride_w * d.C;
  s->row = (ceil_div(d.Q, PIXELS) * PIXELS - 1) * s->step + s->taps;
  s->rows = least((TASK_ROWS - 1) * d.stride_h + (d.R - 1) * d.dilation_h + 1, d.H);
  s->x_floats = (size_t)(s->rows * s->row);
  s->w_floats = (size_t)(s->n_k * d.R * s->run * VEC);
  s->dw_floats = (size_t)(s->n_k * d.R * s->taps * VEC);
  s->n_shards = p->deterministic ? least(p->shards, d.N) : 1;
  p->state = *out = s;
  return IG_OK;
}

static ig_status prepare(ig_prepare *p) {
  state *s;
  IG_TRY(create(p, VECTORS, &s));
  p->workspace_bytes = (s->w_floats + (size_t)p->device->caps.threads * s->x_floats) * sizeof(float);
  p->in_layout[0] = p->in_layout[1] = IG_PLAIN;
  p->out_layout[0] = IG_BLOCKED_C(VEC);
  ig_conv2d_end_layouts(p);
  return IG_OK;
}

static ig_status prepare_dw(ig_prepare *p) {
  state *s;
  IG_TRY(create(p, DW_VECTORS, &s));
  p->workspace_bytes = ((size_t)s->d.N * s->dw_floats + (size_t)p->device->caps.threads * s->x_floats) * sizeof(float);
  p->in_layout[0] = p->out_layout[0] = p->out_layout[1] = IG_PLAIN;
  p->in_layout[1] = IG_BLOCKED_C(VEC);
  return IG_OK;
}

static const char *refusal(const ig_node *n, const ig_conv2d_dims *d) {
  return n->in[0]->dtype != IG_F32 ? "takes f32"
         : d->groups != 1          ? "takes one group"
         : d->dilation_w != 1      ? "takes no dilation along a row"
         : d->C >= VEC             ? "takes fewer channels than a vector has"
         : d->K < VEC / 2          ? "takes output channels that fill half a vector"
                                   : NULL;
}

static bool supports(const ig_node *n, const ig_device_caps *caps, char *why, size_t why_bytes) {
  const ig_conv2d_dims d = ig_conv2d_dims_of(n);
  return ig_no_reason(n->n_in > 3 && n->in[3] ? "takes no residual" : refusal(n, &d), why, why_bytes);
}

static bool supports_dw(const ig_node *n, const ig_device_caps *caps, char *why, size_t why_bytes) {
  const ig_conv2d_dims d = ig_conv2d_dims_of(n);
  return ig_no_reason(((const ig_conv2d_bwd_attr *)n->attr)->has_bias ? "has no bias gradient" : refusal(n, &d), why,
                      why_bytes);
}

#define COMMON .flags = IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE, .isa = IG_ISA_LEVEL, .destroy = ig_free
IG_IMPLS(conv2d_few_cpu) = {
    {.name = "conv2d_few_cpu", .supports = supports, .prepare = prepare, .run = run, COMMON},
    {.name = "conv2d_fused_few_cpu", .supports = supports, .prepare = prepare, .run = run, COMMON},
    {.name = "conv2d_bwd_weights_few_cpu", .supports = supports_dw, .prepare = prepare_dw, .run = run_dw, COMMON},
    {0}};
