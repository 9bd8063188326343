// The oracle of adaptive average pooling: doubles, any floating-point type, plain layouts.
#include "kernels/adaptive_pool/adaptive_pool.h"
#include "kernels/kernels.h"

static double get(const ig_launch *l, int64_t at) { return ig_load_f64(l->in[0], l->node->in[0]->dtype, (size_t)at); }
static void put(const ig_launch *l, int64_t at, double v) {
  ig_store_f64(l->out[0], l->node->out[0]->dtype, (size_t)at, v);
}

static ig_status adaptive_avgpool_ref(const ig_launch *l) {
  const ig_adaptive_pool_attr *a = l->node->attr;
  const int64_t *d = l->node->in[0]->shape.d, H = d[1], W = d[2], C = d[3], OH = a->out_h, OW = a->out_w;
  for (int64_t k = 0; k < d[0] * C * OH * OW; k++) {
    const int64_t j = k % OW, i = k / OW % OH, c = k / OW / OH % C, n = k / OW / OH / C;
    const int64_t h0 = ig_window_begin(i, H, OH), h1 = ig_window_end(i, H, OH);
    const int64_t w0 = ig_window_begin(j, W, OW), w1 = ig_window_end(j, W, OW);
    double sum = 0;
    for (int64_t h = h0; h < h1; h++)
      for (int64_t w = w0; w < w1; w++)
        sum += get(l, ((n * H + h) * W + w) * C + c);
    put(l, k, sum / (double)((h1 - h0) * (w1 - w0)));
  }
  return IG_OK;
}

// By every window of a channel, so that the rule of which cover a position is not this file's.
static ig_status adaptive_avgpool_bwd_ref(const ig_launch *l) {
  const ig_adaptive_pool_attr *a = l->node->attr;
  const int64_t *d = l->node->out[0]->shape.d, H = d[1], W = d[2], C = d[3], OH = a->out_h, OW = a->out_w;
  for (int64_t k = 0; k < ig_shape_count(&l->node->out[0]->shape); k++) {
    const int64_t c = k % C, w = k / C % W, h = k / C / W % H, n = k / C / W / H;
    double sum = 0;
    for (int64_t i = 0; i < OH; i++)
      for (int64_t j = 0; j < OW; j++) {
        const int64_t h0 = ig_window_begin(i, H, OH), h1 = ig_window_end(i, H, OH);
        const int64_t w0 = ig_window_begin(j, W, OW), w1 = ig_window_end(j, W, OW);
        if (h >= h0 && h < h1 && w >= w0 && w < w1)
          sum += get(l, ((n * C + c) * OH + i) * OW + j) / (double)((h1 - h0) * (w1 - w0));
      }
    put(l, k, sum);
  }
  return IG_OK;
}

#define REF(op) \
  { .name = #op "_ref", .flags = IG_IMPL_REF | IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE, .run = op##_ref }
IG_IMPLS(adaptive_pool_ref) = {REF(adaptive_avgpool), REF(adaptive_avgpool_bwd), {0}};
