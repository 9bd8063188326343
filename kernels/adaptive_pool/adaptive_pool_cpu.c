// Adaptive average pooling on the CPU, f32 and bf16. Rule: a task has a group of channels of one sample, whose means
// stand in a small matrix [window][channel] between the two orders; each result is written once.
#include <stdio.h>

#include "kernels/adaptive_pool/adaptive_pool.h"
#include "kernels/eltwise/lanes.h"

enum { GROUP = 64, MOST_WINDOWS = 196 };  // channels of a task; a matrix is 50 KB at most

typedef struct pool {
  int64_t N, H, W, C, OH, OW, groups;
} pool;

static pool pool_of(const ig_launch *l, const ig_tensor *x) {
  const ig_adaptive_pool_attr *a = l->node->attr;
  const int64_t *d = x->shape.d;
  return (pool){d[0], d[1], d[2], d[3], a->out_h, a->out_w, (d[3] + GROUP - 1) / GROUP};
}
static int64_t channels_of(const pool *p, int64_t c) { return p->C - c < GROUP ? p->C - c : GROUP; }

static bool supports(const ig_node *n, const ig_device_caps *caps, char *why, size_t why_bytes) {
  const ig_adaptive_pool_attr *a = n->attr;
  if ((int64_t)a->out_h * a->out_w > MOST_WINDOWS) {
    snprintf(why, why_bytes, "%d x %d windows, expected %d at most", a->out_h, a->out_w, MOST_WINDOWS);
    return false;
  }
  return ig_lanes_supports(n, caps, why, why_bytes);
}

// The means of n channels from `at` of x over window (i, j).
static void mean_of_window(const pool *p, const void *x, ig_dtype type, int64_t at, int64_t n, int64_t i, int64_t j,
                           float *means) {
  const int64_t h0 = ig_window_begin(i, p->H, p->OH), h1 = ig_window_end(i, p->H, p->OH);
  const int64_t w0 = ig_window_begin(j, p->W, p->OW), w1 = ig_window_end(j, p->W, p->OW);
  const float share = 1 / (float)((h1 - h0) * (w1 - w0));
  float sum[GROUP] = {0}, buffer[GROUP];
  for (int64_t h = h0; h < h1; h++)
    for (int64_t w = w0; w < w1; w++) {
      const float *row = ig_lanes_load(x, type, at + (h * p->W + w) * p->C, n, buffer);
#pragma omp simd
      for (int64_t k = 0; k < n; k++)
        sum[k] += row[k];
    }
  for (int64_t k = 0; k < n; k++)
    means[k] = sum[k] * share;
}

static ig_status adaptive_avgpool_cpu(const ig_launch *l) {
  const ig_tensor *x = l->node->in[0];
  const pool p = pool_of(l, x);
  const int64_t windows = p.OH * p.OW;
#pragma omp parallel for schedule(static) num_threads(l->device->caps.threads) if (p.N * p.groups > 1)
  for (int64_t task = 0; task < p.N * p.groups; task++) {
    const int64_t sample = task / p.groups, c = task % p.groups * GROUP, n = channels_of(&p, c);
    float means[MOST_WINDOWS * GROUP], buffer[MOST_WINDOWS];
    for (int64_t k = 0; k < windows; k++)
      mean_of_window(&p, l->in[0], x->dtype, sample * p.H * p.W * p.C + c, n, k / p.OW, k % p.OW, means + k * GROUP);
    for (int64_t k = 0; k < n; k++) {
      const int64_t at = (sample * p.C + c + k) * windows;
      float *row = ig_lanes_target(l->out[0], x->dtype, at, buffer);
      for (int64_t w = 0; w < windows; w++)
        row[w] = means[w * GROUP + k];
      ig_lanes_store(l->out[0], x->dtype, at, windows, row);
    }
  }
  return IG_OK;
}

// dx of n channels at position (h, w): shares[k] is dy over the size of window k.
static void gather(const pool *p, const float *shares, int64_t h, int64_t w, int64_t n, float *dx) {
  for (int64_t k = 0; k < n; k++)
    dx[k] = 0;
  for (int64_t i = ig_cover_begin(h, p->H, p->OH); i < ig_cover_end(h, p->H, p->OH); i++)
    for (int64_t j = ig_cover_begin(w, p->W, p->OW); j < ig_cover_end(w, p->W, p->OW); j++) {
      const float *row = shares + (i * p->OW + j) * GROUP;
#pragma omp simd
      for (int64_t k = 0; k < n; k++)
        dx[k] += row[k];
    }
}

static ig_status adaptive_avgpool_bwd_cpu(const ig_launch *l) {
  const ig_tensor *dx = l->node->out[0];
  const ig_dtype type = l->node->in[0]->dtype;
  const pool p = pool_of(l, dx);
  const int64_t windows = p.OH * p.OW;
#pragma omp parallel for schedule(static) num_threads(l->device->caps.threads) if (p.N * p.groups > 1)
  for (int64_t task = 0; task < p.N * p.groups; task++) {
    const int64_t sample = task / p.groups, c = task % p.groups * GROUP, n = channels_of(&p, c);
    float shares[MOST_WINDOWS * GROUP], size[MOST_WINDOWS], buffer[MOST_WINDOWS], wide[GROUP];
    for (int64_t w = 0; w < windows; w++) {
      const int64_t i = w / p.OW, j = w % p.OW;
      size[w] = (float)((ig_window_end(i, p.H, p.OH) - ig_window_begin(i, p.H, p.OH)) *
                        (ig_window_end(j, p.W, p.OW) - ig_window_begin(j, p.W, p.OW)));
    }
    for (int64_t k = 0; k < n; k++) {
      const float *dy = ig_lanes_load(l->in[0], type, (sample * p.C + c + k) * windows, windows, buffer);
      for (int64_t w = 0; w < windows; w++)
        shares[w * GROUP + k] = dy[w] / size[w];
    }
    for (int64_t h = 0; h < p.H; h++)
      for (int64_t w = 0; w < p.W; w++) {
        const int64_t at = ((sample * p.H + h) * p.W + w) * p.C + c;
        float *row = ig_lanes_target(l->out[0], dx->dtype, at, wide);
        gather(&p, shares, h, w, n, row);
        ig_lanes_store(l->out[0], dx->dtype, at, n, row);
      }
  }
  return IG_OK;
}

#define CPU(op)                                                                                    \
  {                                                                                                \
    .name = #op "_cpu", .flags = IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE, .isa = IG_ISA_LEVEL, \
    .supports = supports, .run = op##_cpu                                                          \
  }
IG_IMPLS(adaptive_pool_cpu) = {CPU(adaptive_avgpool), CPU(adaptive_avgpool_bwd), {0}};
