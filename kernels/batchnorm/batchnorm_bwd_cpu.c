// Batch normalisation backward on the CPU: sums (two reads), then dx (two reads, one or two writes). Rule: the ReLU
// mask is y's where y is given, else that of the forward expression computed again with the same operations.
#include <string.h>

#include "kernels/batchnorm/bn_grid.h"

enum { S_DY, S_X, S_MEAN, S_VAR, S_GAMMA, S_BETA, S_Y, S_WEIGHT };
enum { B_DY, B_X, B_MEAN, B_VAR, B_GAMMA, B_BETA, B_DGAMMA, B_DBETA, B_COUNT, B_Y, B_WEIGHT };
typedef enum bn_mask { MASK_NONE, MASK_X, MASK_Y } bn_mask;

typedef struct bwd_args {
  const float *mean, *scale, *beta;  // per channel, padded with zeros
  const float *shift, *slope;        // dx = scale (g - shift - (x - mean) slope)
  const void *dy, *x, *y;
  ig_dtype dy_type, type;
  void *dx, *dresidual;
  bn_mask mask;
} bwd_args;

typedef struct bwd_lanes {
  float spread[5][BN_MAX_WIDTH], buffer[5][BN_MAX_WIDTH], sum[BN_MAX_WIDTH], product[BN_MAX_WIDTH];
} bwd_lanes;

static inline __attribute__((always_inline)) float masked(bn_mask mask, float dy, float x, float y, float mean,
                                                          float scale, float beta) {
  if (mask == MASK_NONE)
    return dy;
  float value = mask == MASK_Y ? y : bn_value(x, mean, scale, beta);
  return value <= 0 ? 0 : dy;
}

// ---- sums of g and g (x - mean) ----
static inline __attribute__((always_inline)) void sums_row(float *sum, float *product, const float *dy, const float *x,
                                                           const float *y, const float *mean, const float *scale,
                                                           const float *beta, int64_t n, bn_mask mask) {
#pragma omp simd
  for (int64_t i = 0; i < n; i++) {
    float g = masked(mask, dy[i], x[i], mask == MASK_Y ? y[i] : 0, mean[i], scale[i], beta[i]);
    sum[i] += g;
    product[i] += g * (x[i] - mean[i]);
  }
}

static void sums_task(const bn_grid *g, const bn_task *t, const bwd_args *a, double *sums, double *products) {
  bwd_lanes s;
  for (int64_t tile = 0; tile < bn_n_tiles(g); tile++) {
    bn_rows r = bn_rows_of(g, t, tile);
    const float *mean = bn_spread(g, &r, a->mean, s.spread[0]), *scale = bn_spread(g, &r, a->scale, s.spread[1]);
    const float *beta = bn_spread(g, &r, a->beta, s.spread[2]);
    int64_t channels = g->repeat > 1 ? g->v.block : r.width;
    memset(s.sum, 0, (size_t)r.width * sizeof(float));
    memset(s.product, 0, (size_t)r.width * sizeof(float));
    for (int64_t row = 0; row < r.n_rows; row++) {
      int64_t at = r.at + row * r.stride, n = bn_row_width(&r, row);
      const float *dy = ig_lanes_load(a->dy, a->dy_type, at, n, s.buffer[0]);
      const float *x = ig_lanes_load(a->x, a->type, at, n, s.buffer[1]);
      if (a->mask == MASK_Y) {
        const float *y = ig_lanes_load(a->y, a->type, at, n, s.buffer[2]);
        sums_row(s.sum, s.product, dy, x, y, mean, scale, beta, n, MASK_Y);
      } else if (a->mask == MASK_X) {
        sums_row(s.sum, s.product, dy, x, NULL, mean, scale, beta, n, MASK_X);
      } else {
        sums_row(s.sum, s.product, dy, x, NULL, mean, scale, beta, n, MASK_NONE);
      }
    }
    for (int64_t c = 0; c < channels; c++) {
      double sum = 0, product = 0;
      for (int64_t i = 0; i < g->repeat; i++) {
        sum += (double)s.sum[i * channels + c];
        product += (double)s.product[i * channels + c];
      }
      sums[r.channel + c] = sum;
      products[r.channel + c] = product;
    }
  }
}

// Fills mean, scale, beta of the per-channel table, padding zero.
static void fill_table(const ig_launch *l, const bn_grid *g, float eps, float *table, bwd_args *a) {
  const float *mean = l->in[S_MEAN], *var = l->in[S_VAR], *gamma = l->in[S_GAMMA], *beta = l->in[S_BETA];
  memset(table, 0, (size_t)(3 * g->channels) * sizeof(float));
  for (int64_t c = 0; c < g->v.C; c++) {
    table[c] = mean[c];
    table[g->channels + c] = bn_scale(gamma[c], var[c], eps);
    table[2 * g->channels + c] = beta[c];
  }
  a->mean = table;
  a->scale = table + g->channels;
  a->beta = table + 2 * g->channels;
  a->dy = l->in[S_DY];
  a->x = l->in[S_X];
  a->dy_type = l->node->in[S_DY]->dtype;
  a->type = l->node->in[S_X]->dtype;
}

static ig_status prepare_sums(ig_prepare *p) {
  IG_TRY(bn_common_layout(p, S_X));
  bn_grid g = bn_grid_of(&p->node->in[S_X]->shape, p->in_layout[S_X]);
  p->workspace_bytes =
      (size_t)(2 * g.v.N * g.n_chunks * g.channels) * sizeof(double) + (size_t)(3 * g.channels) * sizeof(float);
  return IG_OK;
}

static ig_status bn_bwd_sums_cpu(const ig_launch *l) {
  const ig_batchnorm_attr *attr = l->node->attr;
  bn_grid g = bn_grid_of(&l->node->in[S_X]->shape, l->in_layout[S_X]);
  const float *weight = l->in[S_WEIGHT], *var = l->in[S_VAR];
  int64_t slots = g.v.N * g.n_chunks;
  double *sums = l->workspace, *products = sums + slots * g.channels;
  int threads = l->device->caps.threads;
  bwd_args a = {.y = l->in[S_Y], .mask = !attr->relu ? MASK_NONE : l->in[S_Y] ? MASK_Y : MASK_X};
  fill_table(l, &g, attr->eps, (float *)(products + slots * g.channels), &a);
#pragma omp parallel for schedule(static) num_threads(threads) if (g.tasks > 1)
  for (int64_t k = 0; k < g.tasks; k++) {
    bn_task t = bn_task_of(&g, k);
    int64_t slot = (t.sample * g.n_chunks + t.chunk) * g.channels;
    if (bn_counts(weight, t.sample))
      sums_task(&g, &t, &a, sums + slot, products + slot);
  }
  float *dgamma = l->out[0], *dbeta = l->out[1];
#pragma omp parallel for schedule(static) num_threads(threads) if (slots * g.v.C > 65536)
  for (int64_t tile = 0; tile < g.v.C; tile += 64) {
    double sum[64] = {0}, product[64] = {0};
    int64_t n = g.v.C - tile < 64 ? g.v.C - tile : 64;
    for (int64_t k = 0; k < slots; k++) {
      if (!bn_counts(weight, k / g.n_chunks))
        continue;
#pragma omp simd
      for (int64_t i = 0; i < n; i++) {
        sum[i] += sums[k * g.channels + tile + i];
        product[i] += products[k * g.channels + tile + i];
      }
    }
    for (int64_t i = 0; i < n; i++) {
      dbeta[tile + i] = (float)sum[i];
      dgamma[tile + i] = (float)(product[i] / sqrt((double)var[tile + i] + (double)attr->eps));
    }
  }
  return IG_OK;
}

// ---- dx and dresidual ----
static inline __attribute__((always_inline)) void dx_row(float *dx, float *dresidual, const float *dy, const float *x,
                                                         const float *y, const float *const p[5], int64_t n,
                                                         bn_mask mask) {
  const float *mean = p[0], *scale = p[1], *beta = p[2], *shift = p[3], *slope = p[4];
#pragma omp simd
  for (int64_t i = 0; i < n; i++) {
    float g = masked(mask, dy[i], x[i], mask == MASK_Y ? y[i] : 0, mean[i], scale[i], beta[i]);
    float d = x[i] - mean[i];
    if (dresidual)
      dresidual[i] = g;
    dx[i] = scale[i] * (g - shift[i] - d * slope[i]);
  }
}

static void dx_task(const bn_grid *g, const bn_task *t, const bwd_args *a) {
  bwd_lanes s;
  for (int64_t tile = 0; tile < bn_n_tiles(g); tile++) {
    bn_rows r = bn_rows_of(g, t, tile);
    const float *const p[5] = {bn_spread(g, &r, a->mean, s.spread[0]), bn_spread(g, &r, a->scale, s.spread[1]),
                               bn_spread(g, &r, a->beta, s.spread[2]), bn_spread(g, &r, a->shift, s.spread[3]),
                               bn_spread(g, &r, a->slope, s.spread[4])};
    for (int64_t row = 0; row < r.n_rows; row++) {
      int64_t at = r.at + row * r.stride, n = bn_row_width(&r, row);
      const float *dy = ig_lanes_load(a->dy, a->dy_type, at, n, s.buffer[0]);
      const float *x = ig_lanes_load(a->x, a->type, at, n, s.buffer[1]);
      const float *y = a->mask == MASK_Y ? ig_lanes_load(a->y, a->type, at, n, s.buffer[2]) : NULL;
      float *dx = ig_lanes_target(a->dx, a->type, at, s.buffer[3]);
      if (a->dresidual) {
        float *dresidual = ig_lanes_target(a->dresidual, a->type, at, s.buffer[4]);
        if (a->mask == MASK_Y)
          dx_row(dx, dresidual, dy, x, y, p, n, MASK_Y);
        else if (a->mask == MASK_X)
          dx_row(dx, dresidual, dy, x, y, p, n, MASK_X);
        else
          dx_row(dx, dresidual, dy, x, y, p, n, MASK_NONE);
        ig_lanes_store(a->dresidual, a->type, at, n, dresidual);
      } else if (a->mask == MASK_Y) {
        dx_row(dx, NULL, dy, x, y, p, n, MASK_Y);
      } else if (a->mask == MASK_X) {
        dx_row(dx, NULL, dy, x, y, p, n, MASK_X);
      } else {
        dx_row(dx, NULL, dy, x, y, p, n, MASK_NONE);
      }
      ig_lanes_store(a->dx, a->type, at, n, dx);
    }
  }
}

// A sample that does not count has no gradient.
static void zero_task(const bn_grid *g, const bn_task *t, const bwd_args *a) {
  size_t element = ig_dtype_bytes(a->type), bytes = (size_t)(t->positions * g->v.block) * element;
  memset((char *)a->dx + (size_t)t->at * element, 0, bytes);
  if (a->dresidual)
    memset((char *)a->dresidual + (size_t)t->at * element, 0, bytes);
}

static ig_status prepare_dx(ig_prepare *p) {
  IG_TRY(bn_common_layout(p, B_X));
  bn_grid g = bn_grid_of(&p->node->in[B_X]->shape, p->in_layout[B_X]);
  p->workspace_bytes = (size_t)(5 * g.channels) * sizeof(float);
  return IG_OK;
}

static ig_status bn_bwd_apply_cpu(const ig_launch *l) {
  const ig_batchnorm_bwd_attr *attr = l->node->attr;
  bn_grid g = bn_grid_of(&l->node->in[B_X]->shape, l->in_layout[B_X]);
  const float *weight = l->in[B_WEIGHT], *var = l->in[B_VAR], *dgamma = l->in[B_DGAMMA], *dbeta = l->in[B_DBETA];
  const float count = l->in[B_COUNT] ? *(const float *)l->in[B_COUNT] : 0;
  float *table = l->workspace, *shift = table + 3 * g.channels, *slope = shift + g.channels;
  bwd_args a = {.y = l->in[B_Y],
                .mask = !attr->forward.relu ? MASK_NONE
                        : l->in[B_Y]        ? MASK_Y
                                            : MASK_X,
                .shift = shift,
                .slope = slope,
                .dx = l->out[0],
                .dresidual = attr->has_residual ? l->out[1] : NULL};
  fill_table(l, &g, attr->forward.eps, table, &a);
  memset(shift, 0, (size_t)(2 * g.channels) * sizeof(float));
  for (int64_t c = 0; c < g.v.C && count > 0; c++) {
    shift[c] = dbeta[c] / count;
    slope[c] = (float)((double)dgamma[c] / count / sqrt((double)var[c] + (double)attr->forward.eps));
  }
#pragma omp parallel for schedule(static) num_threads(l->device->caps.threads) if (g.tasks > 1)
  for (int64_t k = 0; k < g.tasks; k++) {
    bn_task t = bn_task_of(&g, k);
    if (bn_counts(weight, t.sample))
      dx_task(&g, &t, &a);
    else
      zero_task(&g, &t, &a);
  }
  if (!attr->has_residual)
    *(float *)l->out[1] = 0;
  return IG_OK;
}

#define CPU(op, prepare_fn)                                                                        \
  {                                                                                                \
    .name = #op "_cpu", .flags = IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE, .isa = IG_ISA_LEVEL, \
    .supports = ig_lanes_supports, .prepare = prepare_fn, .run = op##_cpu                          \
  }
IG_IMPLS(batchnorm_bwd_cpu) = {CPU(bn_bwd_sums, prepare_sums), CPU(bn_bwd_apply, prepare_dx), {0}};
