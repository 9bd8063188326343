// The pointwise convolution and its data gradient as one matrix product in own vector code, for fp32 in channel blocks
// of 8 and processors without AVX-512. Weights are packed once, from where they lie plain, into panels that products
// read as one stream. A task packs some groups of ROWS positions over all channels, so that they stay in the
// second-level cache, and multiplies them with one panel after the other; sums stay in registers from the first to the
// last channel. With strides the positions are those of the smaller picture, and a data gradient writes the zeros
// around each as well. Rule: every sum runs over channels in their order, so that neither threads nor the cut into
// tasks change a bit.
#include "kernels/kernels.h"

#ifdef IG_ISA_avx512
IG_IMPLS(conv2d_pointwise_cpu) = {{0}};
#else
#include <omp.h>
#include <string.h>

#include "kernels/conv2d/conv2d.h"

enum { VEC = 8, ROWS = 6, VECTORS = 2 };  // lanes; positions and vectors of output channels whose sums are in registers
enum {
  PANEL = VECTORS * VEC,
  LINE = 16,                // floats of a cache line
  DEPTH = 64,               // channels of weights packed at once
  MOST_GROUPS = 16,         // of positions in a task
  TASK_BYTES = 192 * 1024,  // of packed positions: they stay in the second-level cache, beside a panel
  TASKS_PER_THREAD = 4,
};
typedef float vec __attribute__((vector_size(VEC * sizeof(float)), aligned(4), may_alias));
typedef int32_t lanes __attribute__((vector_size(VEC * sizeof(int32_t))));

typedef struct state {
  bool turned;                   // data gradient
  int64_t in, out;               // channels of what is read and written
  int64_t n_in, n_out;           // blocks of them
  int64_t n_panels, per_split;   // panels, and those of a task
  int64_t positions, P, Q;       // of the batch; rows and columns of them in a sample
  int64_t x_plane, y_plane;      // floats of a block in a sample
  int64_t x_lines, y_lines;      // cache lines of a group in a block
  int64_t H, W, step_h, step_w;  // of the larger picture; from one position to the next there
  int64_t per_task;              // groups
  size_t w_floats, a_floats;     // a panel; a task's packed positions
} state;

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Channels [c0, c0 + DEPTH) to w [panel][channel][PANEL], zero where there is none.
static void pack_weights(const state *s, const float *from, int64_t c0, float *w) {
  const int64_t rows = least(DEPTH, s->n_in * VEC - c0), n_c = least(rows, s->in - c0);
  w += c0 * PANEL;
  for (int64_t k0 = 0; k0 < s->out; k0 += PANEL, w += s->w_floats) {
    const int64_t n = least(PANEL, s->out - k0);
    if (n < PANEL || n_c < rows)
      memset(w, 0, (size_t)(rows * PANEL) * sizeof *w);
    if (s->turned)
      for (int64_t c = 0; c < n_c; c++)
        memcpy(w + c * PANEL, from + (c0 + c) * s->out + k0, (size_t)n * sizeof *w);
    else
      for (int64_t k = 0; k < n; k++)
        for (int64_t c = 0; c < n_c; c++)
          w[c * PANEL + k] = from[(k0 + k) * s->in + c0 + c];
  }
}

// ---- a group: ROWS positions, in floats from the start of x and y; past the last one it again ----
typedef struct group {
  int64_t x[ROWS], y[ROWS];
  int64_t h[ROWS], w[ROWS];  // in the larger picture
} group;

static void find_groups(const state *s, int64_t first, int64_t n, group *g) {
  int64_t sample = first / (s->P * s->Q), p = first / s->Q % s->P, q = first % s->Q;
  for (int64_t left = s->positions - first; n > 0; n--, g++)
    for (int i = 0; i < ROWS; i++, left--) {
      g->h[i] = p * s->step_h;
      g->w[i] = q * s->step_w;
      const int64_t small = (p * s->Q + q) * VEC, large = (g->h[i] * s->W + g->w[i]) * VEC;
      g->x[i] = sample * s->n_in * s->x_plane + (s->turned ? small : large);
      g->y[i] = sample * s->n_out * s->y_plane + (s->turned ? large : small);
      if (left > 1 && ++q == s->Q) {
        q = 0;
        if (++p == s->P)
          p = 0, sample++;
      }
    }
}

// a: [channel block][ROWS][VEC].
static void pack(const state *s, const group *g, const float *x, float *a) {
  for (int64_t b = 0; b < s->n_in; b++, a += ROWS * VEC, x += s->x_plane)
#pragma GCC unroll 6
    for (int i = 0; i < ROWS; i++)
      *(vec *)(a + i * VEC) = *(const vec *)(x + g->x[i]);
}

// What comes to the second-level cache meanwhile: a later group in every step-th block of channels; what is written
// next.
typedef struct later {
  const float *x, *y;
  int64_t block, step;
} later;

// What sums start from, what is added to them, whether a ReLU follows, and how many vectors there are to write.
typedef struct ending {
  const float *shift, *residual;
  bool relu;
  int64_t vectors;
} ending;

// Zeros in the part of step_h x step_w positions from the group's i-th on that lies in a plane of y, but in itself.
static void write_zeros(const state *s, const group *g, int i, float *plane) {
  for (int64_t h = 0; h < s->step_h && g->h[i] + h < s->H; h++)
    for (int64_t w = h == 0; w < s->step_w && g->w[i] + w < s->W; w++)
      *(vec *)(plane + g->y[i] + (h * s->W + w) * VEC) = (vec){0};
}

// y of a group and a panel of output channels = shift + a w.
static void multiply(const state *s, const group *g, const float *a, const float *w, later soon, const ending *e,
                     float *y) {
  const bool spread = s->turned && s->step_h * s->step_w > 1;
  vec acc[ROWS][VECTORS];
#pragma GCC unroll 2
  for (int j = 0; j < VECTORS; j++)
#pragma GCC unroll 6
    for (int i = 0; i < ROWS; i++)
      acc[i][j] = *(const vec *)(e->shift + j * VEC);
  for (int j = 0; j < VECTORS; j++)
    for (int64_t i = 0; i < s->y_lines; i++)
      __builtin_prefetch(soon.y + j * s->y_plane + i * LINE, 1, 2);
  for (int64_t b = 0; b < s->n_in; b++, a += ROWS * VEC) {
    if (b == soon.block) {
      for (int64_t i = 0; i < s->x_lines; i++)
        __builtin_prefetch(soon.x + b * s->x_plane + i * LINE, 0, 2);
      soon.block += soon.step;
    }
#pragma GCC unroll 8
    for (int c = 0; c < VEC; c++, w += PANEL) {
      const vec w0 = *(const vec *)w, w1 = *(const vec *)(w + VEC);
#pragma GCC unroll 6
      for (int i = 0; i < ROWS; i++) {
        acc[i][0] += w0 * a[i * VEC + c];
        acc[i][1] += w1 * a[i * VEC + c];
      }
    }
  }
#pragma GCC unroll 2
  for (int j = 0; j < VECTORS; j++) {
    if (j >= e->vectors)
      continue;
    if (e->residual) {
#pragma GCC unroll 6
      for (int i = 0; i < ROWS; i++)
        acc[i][j] += *(const vec *)(e->residual + g->y[i] + j * s->y_plane);
    }
    if (e->relu) {
#pragma GCC unroll 6
      for (int i = 0; i < ROWS; i++)
        acc[i][j] = (vec)((lanes)acc[i][j] & ~(lanes)(acc[i][j] < 0));  // NaN stays
    }
#pragma GCC unroll 6
    for (int i = 0; i < ROWS; i++)
      *(vec *)(y + g->y[i] + j * s->y_plane) = acc[i][j];
    for (int i = 0; spread && i < ROWS; i++)
      write_zeros(s, g, i, y + j * s->y_plane);
  }
}

// The groups from position `first` on by panels [p0, p1).
static void run_task(const state *s, const float *x, const float *w, const ig_conv2d_end *e, float *y, int64_t first,
                     int64_t p0, int64_t p1, float *a) {
  const int64_t n = least(s->per_task, ceil_div(s->positions - first, ROWS)), a_group = s->n_in * ROWS * VEC;
  group groups[MOST_GROUPS], next[MOST_GROUPS];
  find_groups(s, first, n, groups);
  find_groups(s, first + n * ROWS, n, next);
  for (int64_t i = 0; i < n; i++)
    pack(s, &groups[i], x, a + i * a_group);
  for (int64_t p = p0; p < p1; p++) {
    const int64_t k0 = p * PANEL, at = p * VECTORS * s->y_plane;
    float shift[PANEL] = {0};
    for (int64_t c = 0; e->bias && c < PANEL && k0 + c < s->out; c++)
      shift[c] = e->bias[k0 + c];
    const ending end = {shift, e->residual ? (const float *)e->residual + at : NULL, e->relu, s->n_out - p * VECTORS};
    for (int64_t i = 0; i < n; i++) {
      const float *next_y = i + 1 < n ? y + at + groups[i + 1].y[0] : y + at + VECTORS * s->y_plane + groups[0].y[0];
      multiply(s, &groups[i], a + i * a_group, w + (size_t)p * s->w_floats,
               (later){x + next[i].x[0], next_y, p - p0, p1 - p0}, &end, y + at);
    }
  }
}

static ig_status run(const ig_launch *l) {
  const state *s = l->state;
  const float *x = l->in[0], *from = l->in[1];
  const ig_conv2d_end e = ig_conv2d_end_of(l);
  float *y = l->out[0], *w = l->workspace, *near = w + (size_t)s->n_panels * s->w_floats;
#pragma omp parallel num_threads(l->device->caps.threads)
  {
#pragma omp for schedule(static)
    for (int64_t c = 0; c < s->in; c += DEPTH)
      pack_weights(s, from, c, w);
#pragma omp for collapse(2) schedule(dynamic, 1)
    for (int64_t first = 0; first < s->positions; first += s->per_task * ROWS)
      for (int64_t p = 0; p < s->n_panels; p += s->per_split)
        run_task(s, x, w, &e, y, first, p, least(p + s->per_split, s->n_panels),
                 near + (size_t)omp_get_thread_num() * s->a_floats);
  }
  return IG_OK;
}

// ---- preparation ----
// Tasks of about TASK_BYTES; where positions are few, panels are split too.
static ig_status prepare_turned(ig_prepare *p, bool turned) {
  const ig_conv2d_dims d = ig_conv2d_dims_of(p->node);
  const int64_t threads = p->device->caps.threads, wanted = TASKS_PER_THREAD * threads;
  state *s;
  IG_TRY(ig_alloc(sizeof *s, "convolution", &s));
  *s = (state){.turned = turned,
               .in = turned ? d.K : d.C,
               .out = turned ? d.C : d.K,
               .positions = d.N * d.P * d.Q,
               .P = d.P,
               .Q = d.Q,
               .x_plane = (turned ? d.P * d.Q : d.H * d.W) * VEC,
               .y_plane = (turned ? d.H * d.W : d.P * d.Q) * VEC,
               .x_lines = ROWS * VEC / LINE * (turned ? 1 : d.stride_w),
               .y_lines = ROWS * VEC / LINE * (turned ? d.stride_w : 1),
               .H = d.H,
               .W = d.W,
               .step_h = d.stride_h,
               .step_w = d.stride_w};
  s->n_in = ceil_div(s->in, VEC);
  s->n_out = ceil_div(s->out, VEC);
  s->n_panels = ceil_div(s->n_out, VECTORS);
  const int64_t a_group = s->n_in * ROWS * VEC, groups = ceil_div(s->positions, ROWS);
  const int64_t fit = least(TASK_BYTES / (a_group * (int64_t)sizeof(float)), groups / wanted);
  s->per_task = fit < 1 ? 1 : least(fit, MOST_GROUPS);
  s->per_split = ceil_div(s->n_panels, least(s->n_panels, ceil_div(wanted, ceil_div(groups, s->per_task))));
  s->w_floats = (size_t)(s->n_in * VEC * PANEL);
  s->a_floats = (size_t)(s->per_task * a_group);
  p->workspace_bytes = sizeof(float) * ((size_t)s->n_panels * s->w_floats + (size_t)threads * s->a_floats);
  p->in_layout[0] = p->out_layout[0] = IG_BLOCKED_C(VEC);
  p->in_layout[1] = IG_PLAIN;
  ig_conv2d_end_layouts(p);
  p->state = s;
  return IG_OK;
}

static ig_status prepare(ig_prepare *p) { return prepare_turned(p, false); }
static ig_status prepare_bwd_data(ig_prepare *p) { return prepare_turned(p, true); }

static bool supports(const ig_node *n, const ig_device_caps *caps, char *why, size_t why_bytes) {
  const ig_conv2d_dims d = ig_conv2d_dims_of(n);
  const char *reason = n->in[0]->dtype != IG_F32                                ? "takes f32"
                       : d.groups != 1                                          ? "takes one group"
                       : d.C < VEC || d.K < VEC                                 ? "takes channels that fill a vector"
                       : d.R * d.S != 1                                         ? "takes pointwise kernels"
                       : d.pad_top || d.pad_left || d.pad_bottom || d.pad_right ? "takes no padding"
                       : caps->isa >= IG_ISA_AVX512                             ? "oneDNN is faster with AVX-512"
                                                                                : NULL;
  return ig_no_reason(reason, why, why_bytes);
}

#define COMMON                                                                                                 \
  .flags = IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE, .isa = IG_ISA_LEVEL, .run = run, .supports = supports, \
  .destroy = ig_free
IG_IMPLS(conv2d_pointwise_cpu) = {{.name = "conv2d_pointwise_cpu", .prepare = prepare, COMMON},
                                  {.name = "conv2d_fused_pointwise_cpu", .prepare = prepare, COMMON},
                                  {.name = "conv2d_bwd_data_pointwise_cpu", .prepare = prepare_bwd_data, COMMON},
                                  {0}};
#endif
