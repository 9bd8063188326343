// Elementwise ops on the CPU. Rule: rows of fp32 (lanes.h) in loops that the compiler vectorises; a chunk of numbers
// belongs to one thread and chunks are fixed, so that threads change nothing.
#include <stdio.h>
#include <string.h>

#include "kernels/eltwise/lane_math.h"
#include "kernels/eltwise/lanes.h"
#include "kernels/plain.h"

#define CHUNK 16384  // numbers: 64 KiB of fp32, also the least work worth a second thread
#define SIMD  _Pragma("omp simd")

// ---- rows ----
// y[i] = f(a[i], b[i], p) for n numbers; y may be a or b.
typedef void (*row_fn)(float *y, const float *a, const float *b, int64_t n, float p);

#define ROW(op, expression)                                                              \
  static void op##_row(float *y, const float *as, const float *bs, int64_t n, float p) { \
    SIMD for (int64_t i = 0; i < n; i++) {                                               \
      const float a = as[i];                                                             \
      y[i] = expression;                                                                 \
    }                                                                                    \
  }
#define ROW2(op, expression)                                                             \
  static void op##_row(float *y, const float *as, const float *bs, int64_t n, float p) { \
    SIMD for (int64_t i = 0; i < n; i++) {                                               \
      const float a = as[i], b = bs[i];                                                  \
      y[i] = expression;                                                                 \
    }                                                                                    \
  }
ROW2(add, a + b)
ROW2(mul, a *b)
ROW(scale, a *p)
ROW(relu, a < 0 ? 0 : a)
ROW2(relu_bwd, b <= 0 ? 0 : a)
ROW(leaky_relu, a <= 0 ? a * p : a)
ROW2(leaky_relu_bwd, b <= 0 ? a * p : a)
ROW(sigmoid, sigmoid_lane(a))
ROW2(sigmoid_bwd, a *b *(1.0f - b))
ROW(tanh, tanh_lane(a))
ROW2(tanh_bwd, a *(1.0f - b * b))
ROW(silu, a *sigmoid_lane(a))
ROW2(silu_bwd, a *sigmoid_lane(b) * (1.0f + b * (1.0f - sigmoid_lane(b))))
ROW(gelu_erf, a *normal_cdf(a))
ROW2(gelu_erf_bwd, a *gelu_erf_slope(b))
ROW(gelu_tanh, 0.5f * a * (1.0f + tanh_lane(gelu_inner(a))))
ROW2(gelu_tanh_bwd, a *gelu_tanh_slope(b))
ROW2(axpy, a + p * b)

// Numbers at..at+n of all operands through f, folded from the left where there are more than two.
static void map_tile(const ig_launch *l, row_fn f, float p, void *out, ig_dtype out_type, int64_t at, int64_t n) {
  float buffer[3][IG_LANES_TILE];
  const ig_node *node = l->node;
  float *y = ig_lanes_target(out, out_type, at, buffer[2]);
  const float *a = ig_lanes_load(l->in[0], node->in[0]->dtype, at, n, buffer[0]);
  for (int j = 1; j < (node->n_in > 1 ? node->n_in : 2); j++) {
    const float *b = j < node->n_in ? ig_lanes_load(l->in[j], node->in[j]->dtype, at, n, buffer[1]) : NULL;
    f(y, a, b, n, p);
    a = y;
  }
  ig_lanes_store(out, out_type, at, n, y);
}

static ig_status map(const ig_launch *l, row_fn f, void *out, const ig_tensor *out_tensor, ig_layout out_layout) {
  float p = l->node->attr ? *(const float *)l->node->attr : 0;
  int64_t count = ig_lanes_count(l, out_tensor, out_layout), chunks = (count + CHUNK - 1) / CHUNK;
#pragma omp parallel for schedule(static) num_threads(l->device->caps.threads) if (chunks > 1)
  for (int64_t chunk = 0; chunk < chunks; chunk++) {
    int64_t end = (chunk + 1) * CHUNK < count ? (chunk + 1) * CHUNK : count;
    for (int64_t at = chunk * CHUNK; at < end; at += IG_LANES_TILE)
      map_tile(l, f, p, out, out_tensor->dtype, at, end - at < IG_LANES_TILE ? end - at : IG_LANES_TILE);
  }
  return IG_OK;
}

// ---- layouts ----
static bool has_padding(const ig_shape *shape, ig_layout layout) {
  return layout.kind == IG_LAYOUT_BLOCKED_C && shape->d[3] % layout.block != 0;
}

// All operands in the layout that most of them have (the first of equals). Opaque ones need one dtype throughout.
static ig_status prepare_common(ig_prepare *p) {
  const ig_node *n = p->node;
  ig_layout best = IG_PLAIN;
  int most = 0;
  bool mixed = false;
  for (int i = 0; i < n->n_in; i++) {
    int votes = 0;
    for (int j = 0; j < n->n_in; j++)
      votes += ig_layout_equal(p->in_layout[i], p->in_layout[j]);
    if (votes > most) {
      most = votes;
      best = p->in_layout[i];
    }
    mixed |= n->in[i]->dtype != n->out[0]->dtype;
  }
  if (mixed && best.kind == IG_LAYOUT_OPAQUE)
    best = IG_PLAIN;
  for (int i = 0; i < n->n_in; i++)
    p->in_layout[i] = best;
  p->out_layout[0] = best;
  return IG_OK;
}

// For f(0) != 0: only layouts without padding, as padding must stay zero.
static ig_status prepare_dense(ig_prepare *p) {
  if (p->in_layout[0].kind == IG_LAYOUT_OPAQUE || has_padding(&p->node->in[0]->shape, p->in_layout[0]))
    p->in_layout[0] = IG_PLAIN;
  p->out_layout[0] = p->in_layout[0];
  return IG_OK;
}

// fill_like reads only the shape, so any layout may come in.
static ig_status prepare_fill(ig_prepare *p) {
  p->out_layout[0] = IG_PLAIN;
  return IG_OK;
}

static ig_status prepare_plain(ig_prepare *p) {
  ig_prepare_plain(p);
  return IG_OK;
}

// ---- implementations ----
#define MAP(op)                                                            \
  static ig_status op##_cpu(const ig_launch *l) {                          \
    return map(l, op##_row, l->out[0], l->node->out[0], l->out_layout[0]); \
  }
MAP(mul)
MAP(scale)
MAP(relu)
MAP(relu_bwd)
MAP(leaky_relu)
MAP(leaky_relu_bwd)
MAP(sigmoid)
MAP(sigmoid_bwd)
MAP(tanh)
MAP(tanh_bwd)
MAP(silu)
MAP(silu_bwd)
MAP(gelu_erf)
MAP(gelu_erf_bwd)
MAP(gelu_tanh)
MAP(gelu_tanh_bwd)

static ig_status add_cpu(const ig_launch *l) {
  const ig_node *n = l->node;
  if (n->n_in > 1)
    return map(l, add_row, l->out[0], n->out[0], l->out_layout[0]);
  if (l->out[0] != l->in[0])
    memcpy(l->out[0], l->in[0], ig_layout_bytes(l->layouts, l->out_layout[0], &n->out[0]->shape, n->out[0]->dtype));
  return IG_OK;
}

static ig_status axpy_cpu(const ig_launch *l) {
  *(float *)l->out[0] = 0;
  return map(l, axpy_row, l->in[0], l->node->in[0], IG_PLAIN);
}

static ig_status fill_like_cpu(const ig_launch *l) {
  const ig_tensor *y = l->node->out[0];
  double value = *(const double *)l->node->attr, element;
  size_t bytes = ig_dtype_bytes(y->dtype), count = (size_t)ig_shape_count(&y->shape), done = 1;
  if (count == 0)
    return IG_OK;
  ig_store_f64(&element, y->dtype, 0, value);
  memcpy(l->out[0], &element, bytes);
  for (; done < count; done *= 2)
    memcpy((char *)l->out[0] + done * bytes, l->out[0], (done < count - done ? done : count - done) * bytes);
  return IG_OK;
}

#define CPU(op, prepare_fn)                                                                        \
  {                                                                                                \
    .name = #op "_cpu", .flags = IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE, .isa = IG_ISA_LEVEL, \
    .supports = ig_lanes_supports, .prepare = prepare_fn, .run = op##_cpu                          \
  }
IG_IMPLS(eltwise_cpu) = {CPU(add, prepare_common),
                         CPU(mul, prepare_common),
                         CPU(scale, prepare_common),
                         CPU(fill_like, prepare_fill),
                         CPU(axpy, prepare_plain),
                         CPU(relu, prepare_common),
                         CPU(relu_bwd, prepare_common),
                         CPU(leaky_relu, prepare_common),
                         CPU(leaky_relu_bwd, prepare_common),
                         CPU(sigmoid, prepare_dense),
                         CPU(sigmoid_bwd, prepare_common),
                         CPU(tanh, prepare_common),
                         CPU(tanh_bwd, prepare_common),
                         CPU(silu, prepare_common),
                         CPU(silu_bwd, prepare_common),
                         CPU(gelu_erf, prepare_common),
                         CPU(gelu_erf_bwd, prepare_common),
                         CPU(gelu_tanh, prepare_common),
                         CPU(gelu_tanh_bwd, prepare_common),
                         {0}};
