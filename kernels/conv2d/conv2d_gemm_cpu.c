// The convolution and its data gradient as matrix products in own vector code, for fp32 in channel blocks as wide as a
// vector. A task packs what a few groups of ROWS positions read (all taps, all channels) so that it stays in the
// second-level cache, and multiplies it with one panel of weights after the other; sums stay in registers from the
// first to the last channel. A data gradient of stride s is s*s such convolutions, one for each phase of positions.
// Rule: every sum runs over channels, then taps, in their order, so that neither threads nor the cut into tasks change
// a bit.
#include <omp.h>
#include <string.h>

#include "kernels/conv2d/conv2d_dnnl.h"
#include "kernels/kernels.h"

#if defined(IG_ISA_avx512)
enum { VEC = 16, ROWS = 14 };  // lanes of a vector; positions whose sums are in registers at once
#define TAG_FORWARD  dnnl_OIhw16i16o
#define TAG_BWD_DATA dnnl_OIhw16o16i
#else
enum { VEC = 8, ROWS = 6 };
#define TAG_FORWARD  dnnl_OIhw8i8o
#define TAG_BWD_DATA dnnl_OIhw8o8i
#endif
enum {
  VECTORS = 2,              // of output channels in a panel
  MOST_GROUPS = 8,          // of positions in a task
  TASK_BYTES = 560 * 1024,  // of packed operands: they stay in the second-level cache
  TASKS_PER_THREAD = 4,
  MOST_PHASES = 4
};
typedef float vec __attribute__((vector_size(VEC * sizeof(float)), aligned(4), may_alias));
typedef int32_t lanes __attribute__((vector_size(VEC * sizeof(int32_t))));

// One tap: where it reads, from a position's row and column times in_step on, and its weights.
typedef struct tap {
  int64_t h, w, weights;
} tap;

// Output positions (h + i * out_step, w + j * out_step) of all samples, which see the same taps.
typedef struct phase {
  int64_t rows, columns, h, w;
  int64_t n_taps, n_tasks;
  const tap *taps;
} phase;

typedef struct state {
  int64_t N, in_H, in_W, out_H, out_W, out;
  int64_t n_in, n_out;          // channel blocks
  int64_t n_panels, per_split;  // panels, and those of a task
  int64_t per_round, rounds;    // groups that are packed at once; rounds of a task
  int64_t in_step[2], out_step[2];
  int64_t w_in, w_out;  // floats of weights from one block of read, written channels to the next
  int64_t n_tasks;
  size_t a_floats;
  int n_phases;
  phase phases[MOST_PHASES];
  tap taps[];
} state;

// ---- a group: ROWS positions ----
typedef struct group {
  const float *x[ROWS];  // sample
  int64_t h[ROWS], w[ROWS], y[ROWS];
  int64_t n;
} group;

static void find_group(const state *s, const phase *f, const float *x, int64_t first, group *g) {
  const int64_t per_sample = f->rows * f->columns, left = s->N * per_sample - first;
  g->n = left < ROWS ? left : ROWS;
  for (int64_t i = 0; i < ROWS; i++) {
    const int64_t at = first + (i < g->n ? i : 0), n = at / per_sample, row = at % per_sample / f->columns,
                  column = at % f->columns;
    g->x[i] = x + n * s->n_in * s->in_H * s->in_W * VEC;
    g->h[i] = row * s->in_step[0];
    g->w[i] = column * s->in_step[1];
    g->y[i] = (n * s->n_out * s->out_H * s->out_W + (f->h + row * s->out_step[0]) * s->out_W + f->w +
               column * s->out_step[1]) *
              VEC;
  }
}

// Where the group from position `first` on starts to read, padding aside.
static const float *start_of(const state *s, const phase *f, const float *x, int64_t first) {
  const int64_t per_sample = f->rows * f->columns, n = first / per_sample, row = first % per_sample / f->columns;
  return x + ((n * s->n_in * s->in_H + row * s->in_step[0]) * s->in_W + first % f->columns * s->in_step[1]) * VEC;
}

// a: [channel block][tap][ROWS][VEC].
static void pack(const state *s, const phase *f, const group *g, float *a) {
  static const float zeros[VEC];
  const int64_t plane = s->in_H * s->in_W * VEC;
  for (int64_t t = 0; t < f->n_taps; t++) {
    const float *from[ROWS];
    int64_t step[ROWS];
    for (int i = 0; i < ROWS; i++) {
      const int64_t h = g->h[i] + f->taps[t].h, w = g->w[i] + f->taps[t].w;
      const bool inside = h >= 0 && h < s->in_H && w >= 0 && w < s->in_W;
      from[i] = inside ? g->x[i] + (h * s->in_W + w) * VEC : zeros;
      step[i] = inside ? plane : 0;
    }
    float *to = a + t * ROWS * VEC;
    for (int64_t b = 0; b < s->n_in; b++, to += f->n_taps * ROWS * VEC)
#pragma GCC unroll 14
      for (int i = 0; i < ROWS; i++)
        *(vec *)(to + i * VEC) = *(const vec *)(from[i] + b * step[i]);
  }
}

// y of a group and `kv` blocks of output channels = shift + a w. Meanwhile some of what a later group will read comes
// to the second-level cache: `lines` from `next` on in every step-th block of channels.
typedef struct later {
  const float *next;
  int64_t block, step, lines;
} later;

// What is added to y, from where y's group is, and whether a ReLU follows.
typedef struct ending {
  const float *residual;
  bool relu;
} ending;

static inline __attribute__((always_inline)) void multiply(const state *s, const phase *f, const group *g,
                                                           const float *a, const float *w, const float *shift,
                                                           later soon, ending e, float *y, const int kv) {
  const int64_t in_plane = s->in_H * s->in_W * VEC, plane = s->out_H * s->out_W * VEC;
  vec acc[ROWS][VECTORS];
#pragma GCC unroll 14
  for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 2
    for (int j = 0; j < kv; j++) {
      acc[i][j] = *(const vec *)(shift + j * VEC);
      __builtin_prefetch(y + g->y[i] + j * plane, 1, 2);
    }
  for (int64_t b = 0; b < s->n_in; b++) {
    if (b == soon.block) {
      for (int64_t i = 0; i < soon.lines; i++)
        __builtin_prefetch(soon.next + b * in_plane + i * VEC, 0, 2);
      soon.block += soon.step;
    }
    for (int64_t t = 0; t < f->n_taps; t++, a += ROWS * VEC) {
      const float *u = w + b * s->w_in + f->taps[t].weights;
      for (int c = 0; c < VEC; c++, u += VEC) {
        vec v[VECTORS];
#pragma GCC unroll 2
        for (int j = 0; j < kv; j++)
          v[j] = *(const vec *)(u + j * s->w_out);
#pragma GCC unroll 14
        for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 2
          for (int j = 0; j < kv; j++)
            acc[i][j] += v[j] * a[i * VEC + c];
      }
    }
  }
#pragma GCC unroll 14
  for (int i = 0; i < ROWS; i++)
    if (i < g->n) {
#pragma GCC unroll 2
      for (int j = 0; j < kv; j++) {
        const int64_t at = g->y[i] + j * plane;
        vec v = acc[i][j];
        if (e.residual)
          v += *(const vec *)(e.residual + at);
        if (e.relu)
          v = (vec)((lanes)v & ~(lanes)(v < 0));  // NaN stays
        *(vec *)(y + at) = v;
      }
    }
}
static void multiply_1(const state *s, const phase *f, const group *g, const float *a, const float *w,
                       const float *shift, later soon, ending e, float *y) {
  multiply(s, f, g, a, w, shift, soon, e, y, 1);
}
static void multiply_2(const state *s, const phase *f, const group *g, const float *a, const float *w,
                       const float *shift, later soon, ending e, float *y) {
  multiply(s, f, g, a, w, shift, soon, e, y, 2);
}

// ---- tasks ----
static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Up to per_round groups from position `first` on by panels [p0, p1).
static void run_round(const state *s, const phase *f, const float *x, const float *w, const ig_conv2d_end *e, float *y,
                      int64_t first, int64_t p0, int64_t p1, float *a) {
  const int64_t n = least(s->per_round, ceil_div(s->N * f->rows * f->columns - first, ROWS));
  const int64_t a_group = s->n_in * f->n_taps * ROWS * VEC, plane = s->out_H * s->out_W * VEC;
  group groups[MOST_GROUPS];
  for (int64_t i = 0; i < n; i++) {
    find_group(s, f, x, first + i * ROWS, &groups[i]);
    pack(s, f, &groups[i], a + i * a_group);
  }
  for (int64_t p = p0; p < p1; p++) {
    const int64_t k0 = p * VECTORS;
    float shift[VECTORS * VEC] = {0};
    for (int64_t c = 0; e->bias && c < VECTORS * VEC && k0 * VEC + c < s->out; c++)
      shift[c] = e->bias[k0 * VEC + c];
    const ending end = {e->residual ? (const float *)e->residual + k0 * plane : NULL, e->relu};
    for (int64_t i = 0; i < n; i++) {
      const later soon = {start_of(s, f, x, first + (n + i) * ROWS), p - p0, p1 - p0, most(f->n_taps, 1) * ROWS};
      (k0 + 1 < s->n_out ? multiply_2 : multiply_1)(s, f, &groups[i], a + i * a_group, w + k0 * s->w_out, shift, soon,
                                                    end, y + k0 * plane);
    }
  }
}

static ig_status run(const ig_launch *l) {
  const state *s = l->state;
  const float *x = l->in[0], *w = l->in[1];
  const ig_conv2d_end e = ig_conv2d_end_of(l);
  float *y = l->out[0], *workspace = l->workspace;
#pragma omp parallel for collapse(2) schedule(dynamic, 1) num_threads(l->device->caps.threads)
  for (int64_t task = 0; task < s->n_tasks; task++)
    for (int64_t p = 0; p < s->n_panels; p += s->per_split) {
      const phase *f = s->phases;
      int64_t t = task;
      for (; t >= f->n_tasks; f++)
        t -= f->n_tasks;
      const int64_t positions = s->N * f->rows * f->columns, step = s->per_round * ROWS;
      for (int64_t i = t * s->rounds * step; i < least((t + 1) * s->rounds * step, positions); i += step)
        run_round(s, f, x, w, &e, y, i, p, least(p + s->per_split, s->n_panels),
                  workspace + (size_t)omp_get_thread_num() * s->a_floats);
    }
  return IG_OK;
}

// ---- preparation ----
static int64_t phase_length(int64_t length, int64_t first, int64_t step) {
  return length > first ? (length - first - 1) / step + 1 : 0;
}

static void forward_phase(state *s, const ig_conv2d_dims *d) {
  tap *t = s->taps;
  s->n_phases = 1;
  s->phases[0] = (phase){.rows = d->P, .columns = d->Q, .n_taps = d->R * d->S, .taps = t};
  for (int64_t r = 0; r < d->R; r++)
    for (int64_t c = 0; c < d->S; c++)
      *t++ = (tap){r * d->dilation_h - d->pad_top, c * d->dilation_w - d->pad_left, (r * d->S + c) * VEC * VEC};
}

// dx[h] takes dy[p] by tap r where p * stride = h + pad - r * dilation.
static void bwd_data_phases(state *s, const ig_conv2d_dims *d) {
  tap *t = s->taps;
  for (int64_t h = 0; h < d->stride_h; h++)
    for (int64_t w = 0; w < d->stride_w; w++) {
      phase *f = &s->phases[s->n_phases++];
      *f = (phase){.rows = phase_length(d->H, h, d->stride_h),
                   .columns = phase_length(d->W, w, d->stride_w),
                   .h = h,
                   .w = w,
                   .taps = t};
      for (int64_t r = 0; r < d->R; r++)
        for (int64_t c = 0; c < d->S; c++) {
          const int64_t p = h + d->pad_top - r * d->dilation_h, q = w + d->pad_left - c * d->dilation_w;
          if (p % d->stride_h == 0 && q % d->stride_w == 0)
            *t++ = (tap){p / d->stride_h, q / d->stride_w, (r * d->S + c) * VEC * VEC};
        }
      f->n_taps = t - f->taps;
    }
}

// Tasks of about TASK_BYTES; where positions are few, panels are split too.
static void cut(state *s, int threads) {
  int64_t taps = 1, positions = 0;
  for (int i = 0; i < s->n_phases; i++) {
    taps = s->phases[i].n_taps > taps ? s->phases[i].n_taps : taps;
    positions += s->N * s->phases[i].rows * s->phases[i].columns;
  }
  const int64_t group_floats = s->n_in * taps * ROWS * VEC, wanted = (int64_t)TASKS_PER_THREAD * threads;
  int64_t fit = TASK_BYTES / (group_floats * (int64_t)sizeof(float)), even = positions / ROWS / wanted;
  fit = least(least(fit, even), MOST_GROUPS);
  s->per_round = fit < 1 ? 1 : fit;
  s->rounds = even / s->per_round < 1 ? 1 : even / s->per_round;
  for (int i = 0; i < s->n_phases; i++) {
    phase *f = &s->phases[i];
    f->n_tasks = ceil_div(s->N * f->rows * f->columns, s->per_round * s->rounds * ROWS);
    s->n_tasks += f->n_tasks;
  }
  s->n_panels = ceil_div(s->n_out, VECTORS);
  s->per_split = ceil_div(s->n_panels, least(s->n_panels, ceil_div(wanted, s->n_tasks)));
  s->a_floats = (size_t)(s->per_round * group_floats);
}

static ig_status weights_layout(ig_prepare *p, const ig_conv2d_dims *d, dnnl_format_tag_t tag) {
  int64_t dims[5];
  int n = ig_conv2d_w_dims(d, dims);
  ig_dnnl_md w = {0};
  IG_TRY(ig_dnnl_md_tag(n, dims, IG_F32, tag, &w));
  ig_status status = ig_dnnl_layout_of(p->layouts, IG_DNNL_MD(&w), IG_DNNL_WEIGHTS, n, dims, IG_F32, &p->in_layout[1]);
  ig_dnnl_md_fini(&w);
  return status;
}

static ig_status prepare_pass(ig_prepare *p, bool forward) {
  const ig_conv2d_dims d = ig_conv2d_dims_of(p->node);
  const int64_t n_c = ceil_div(d.C, VEC), n_k = ceil_div(d.K, VEC), one = d.R * d.S * VEC * VEC;
  state *s;
  IG_TRY(weights_layout(p, &d, forward ? TAG_FORWARD : TAG_BWD_DATA));
  IG_TRY(ig_alloc(sizeof *s + (size_t)(d.R * d.S) * sizeof(tap), "convolution", &s));
  if (forward) {
    *s = (state){.in_H = d.H,
                 .in_W = d.W,
                 .out_H = d.P,
                 .out_W = d.Q,
                 .out = d.K,
                 .n_in = n_c,
                 .n_out = n_k,
                 .w_in = one,
                 .w_out = n_c * one,
                 .in_step = {d.stride_h, d.stride_w},
                 .out_step = {1, 1}};
    forward_phase(s, &d);
  } else {
    *s = (state){.in_H = d.P,
                 .in_W = d.Q,
                 .out_H = d.H,
                 .out_W = d.W,
                 .out = d.C,
                 .n_in = n_k,
                 .n_out = n_c,
                 .w_in = n_c * one,
                 .w_out = one,
                 .in_step = {1, 1},
                 .out_step = {d.stride_h, d.stride_w}};
    bwd_data_phases(s, &d);
  }
  s->N = d.N;
  cut(s, p->device->caps.threads);
  p->workspace_bytes = (size_t)p->device->caps.threads * s->a_floats * sizeof(float);
  p->in_layout[0] = p->out_layout[0] = IG_BLOCKED_C(VEC);
  ig_conv2d_end_layouts(p);
  p->state = s;
  return IG_OK;
}

static ig_status prepare(ig_prepare *p) { return prepare_pass(p, true); }
static ig_status prepare_bwd_data(ig_prepare *p) { return prepare_pass(p, false); }

static bool supports(const ig_node *n, const ig_device_caps *caps, char *why, size_t why_bytes) {
  const ig_conv2d_dims d = ig_conv2d_dims_of(n);
  const char *reason = n->in[0]->dtype != IG_F32                  ? "takes f32"
                       : d.groups != 1                            ? "takes one group"
                       : d.C < VEC || d.K < VEC                   ? "takes channels that fill a vector"
                       : d.R * d.S * d.stride_h * d.stride_w == 1 ? "oneDNN is faster on pointwise kernels of stride 1"
                       : d.stride_h * d.stride_w > MOST_PHASES    ? "takes strides whose product is at most 4"
                                                                  : NULL;
  return ig_no_reason(reason, why, why_bytes);
}

#define COMMON                                                                                                 \
  .flags = IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE, .isa = IG_ISA_LEVEL, .run = run, .supports = supports, \
  .destroy = ig_free
IG_IMPLS(conv2d_gemm_cpu) = {{.name = "conv2d_gemm_cpu", .prepare = prepare, COMMON},
                             {.name = "conv2d_fused_gemm_cpu", .prepare = prepare, COMMON},
                             {.name = "conv2d_bwd_data_gemm_cpu", .prepare = prepare_bwd_data, COMMON},
                             {0}};
