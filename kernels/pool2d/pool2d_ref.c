// The oracle of pooling: doubles, any floating-point type, plain [N,H,W,C].
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kernels/kernels.h"
#include "kernels/pool2d/pool2d.h"

static double get(const ig_launch *l, int i, int64_t at) {
  return ig_load_f64(l->in[i], l->node->in[i]->dtype, (size_t)at);
}
static void put(const ig_launch *l, int64_t at, double v) {
  ig_store_f64(l->out[0], l->node->out[0]->dtype, (size_t)at, v);
}

// What one window does: reads or writes through the visitor, tap = place in the window, at = element of x or -1.
typedef struct window {
  const ig_pool2d_attr *a;
  int64_t H, W, C, top, left, c, plane;  // plane: first element of the sample
} window;
static int64_t tap(const window *w, int place) {
  int64_t h = w->top + place / w->a->kernel_w, v = w->left + place % w->a->kernel_w;
  return h < 0 || v < 0 || h >= w->H || v >= w->W ? -1 : w->plane + (h * w->W + v) * w->C + w->c;
}
static int places(const window *w) { return w->a->kernel_h * w->a->kernel_w; }

// Window of output element i of a tensor of shape `out`.
static window window_of(const ig_pool2d_attr *a, const ig_shape *out, int64_t H, int64_t W, int64_t i) {
  int64_t C = out->d[3], ow = i / C % out->d[2], oh = i / C / out->d[2] % out->d[1], n = i / C / out->d[2] / out->d[1];
  return (window){a, H, W, C, oh * a->stride_h - a->pad_top, ow * a->stride_w - a->pad_left, i % C, n * H * W * C};
}

static double divisor(const window *w) {
  double inside = 0;
  for (int k = 0; k < places(w); k++)
    inside += tap(w, k) >= 0;
  return w->a->count_include_pad ? places(w) : inside;
}

static ig_status maxpool2d_ref(const ig_launch *l) {
  const ig_shape *x = &l->node->in[0]->shape, *y = &l->node->out[0]->shape;
  for (int64_t i = 0; i < ig_shape_count(y); i++) {
    window w = window_of(l->node->attr, y, x->d[1], x->d[2], i);
    double best = -INFINITY;
    int place = -1;
    for (int k = 0; k < places(&w); k++) {
      int64_t at = tap(&w, k);
      if (at < 0 && !w.a->pad_zero)
        continue;
      double v = at < 0 ? 0 : get(l, 0, at);
      if (place < 0 || v > best || isnan(v)) {
        best = v;
        place = k;
      }
    }
    put(l, i, best);
    ((uint8_t *)l->out[1])[i] = (uint8_t)place;
  }
  return IG_OK;
}

static ig_status avgpool2d_ref(const ig_launch *l) {
  const ig_shape *x = &l->node->in[0]->shape, *y = &l->node->out[0]->shape;
  for (int64_t i = 0; i < ig_shape_count(y); i++) {
    window w = window_of(l->node->attr, y, x->d[1], x->d[2], i);
    double sum = 0;
    for (int k = 0; k < places(&w); k++)
      sum += tap(&w, k) < 0 ? 0 : get(l, 0, tap(&w, k));
    put(l, i, sum / divisor(&w));
  }
  return IG_OK;
}

// dx by gathering per input element, so that 16-bit types are rounded once.
static ig_status pool_bwd(const ig_launch *l, const uint8_t *winner) {
  const ig_pool2d_bwd_attr *a = l->node->attr;
  const ig_shape *dy = &l->node->in[0]->shape, *dx = &l->node->out[0]->shape;
  int64_t per_sample = dy->d[1] * dy->d[2] * dy->d[3], per_input = dx->d[1] * dx->d[2] * dx->d[3];
  for (int64_t j = 0; j < ig_shape_count(dx); j++) {
    double sum = 0;
    int64_t first = j / per_input * per_sample;
    for (int64_t i = first + j % dx->d[3]; i < first + per_sample; i += dy->d[3]) {
      window w = window_of(&a->pool, dy, a->height, a->width, i);
      for (int k = 0; k < places(&w); k++)
        if (tap(&w, k) == j && (!winner || winner[i] == k))
          sum += get(l, 0, i) / (winner ? 1 : divisor(&w));
    }
    put(l, j, sum);
  }
  return IG_OK;
}
static ig_status maxpool2d_bwd_ref(const ig_launch *l) { return pool_bwd(l, l->in[1]); }
static ig_status avgpool2d_bwd_ref(const ig_launch *l) { return pool_bwd(l, NULL); }

static ig_status global_avgpool_ref(const ig_launch *l) {
  const int64_t *d = l->node->in[0]->shape.d;
  int64_t P = d[1] * d[2], C = d[3];
  for (int64_t i = 0; i < d[0] * C; i++) {
    double sum = 0;
    for (int64_t p = 0; p < P; p++)
      sum += get(l, 0, (i / C * P + p) * C + i % C);
    put(l, i, sum / (double)P);
  }
  return IG_OK;
}

static ig_status global_avgpool_bwd_ref(const ig_launch *l) {
  const ig_shape *x = &l->node->out[0]->shape;
  int64_t P = x->d[1] * x->d[2], C = x->d[3];
  for (int64_t i = 0; i < ig_shape_count(x); i++)
    put(l, i, get(l, 0, i / C / P * C + i % C) / (double)P);
  return IG_OK;
}

#define REF(op) \
  { .name = #op "_ref", .flags = IG_IMPL_REF | IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE, .run = op##_ref }
IG_IMPLS(pool2d_ref) = {REF(maxpool2d),
                        REF(maxpool2d_bwd),
                        REF(avgpool2d),
                        REF(avgpool2d_bwd),
                        REF(global_avgpool),
                        REF(global_avgpool_bwd),
                        {0}};
