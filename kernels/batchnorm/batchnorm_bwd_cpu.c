// Batch normalisation backward on the CPU: sums (two to four reads, one write where g is asked for), then dx (two
// reads, one write). Rule: the ReLU mask is y's where y is given, else that of the forward expression computed again
// with the same operations.
#include <string.h>

#include "kernels/batchnorm/bn_grid.h"

enum { S_DY, S_X, S_MEAN, S_VAR, S_GAMMA, S_BETA, S_Y, S_WEIGHT, S_MORE_DY };
enum { B_DY, B_X, B_MEAN, B_VAR, B_GAMMA, B_BETA, B_DGAMMA, B_DBETA, B_COUNT, B_WEIGHT };
typedef enum bn_mask { MASK_NONE, MASK_X, MASK_Y } bn_mask;

typedef struct bwd_args {
  const float *mean, *scale, *beta;  // per channel, padded with zeros
  const float *shift, *slope;        // dx = scale (g - shift - (x - mean) slope)
  const void *dy, *more_dy, *x, *y;
  ig_dtype type;
  void *out;  // g or dx, NULL where not wanted
  bn_mask mask;
} bwd_args;

// Parameters and sums of a row's lanes.
typedef struct bwd_lanes {
  const float *mean, *scale, *beta, *shift, *slope;
  int64_t period;
  float spread[5][BN_MAX_WIDTH], sum[BN_MAX_WIDTH], product[BN_MAX_WIDTH];
} bwd_lanes;

typedef struct bwd_params {
  vec mean[BN_VECTORS], scale[BN_VECTORS], beta[BN_VECTORS];
} bwd_params;

VEC_INLINE void load_params(const bwd_lanes *l, int64_t c, int V, int64_t n, bwd_params *p) {
  for (int j = 0; j < V; j++) {
    int64_t lane = (c + VEC * j) % l->period;
    p->mean[j] = vec_load(l->mean, IG_F32, lane, n);
    p->scale[j] = vec_load(l->scale, IG_F32, lane, n);
    p->beta[j] = vec_load(l->beta, IG_F32, lane, n);
  }
}

// The gradient that passes the ReLU.
VEC_INLINE vec masked(const bwd_args *a, ig_dtype type, bn_mask mask, vec dy, vec x, const bwd_params *p, int j,
                      int64_t at, int64_t n) {
  if (mask == MASK_NONE)
    return dy;
  return vec_relu_bwd(mask == MASK_Y ? vec_load(a->y, type, at, n) : bn_value(x, p->mean[j], p->scale[j], p->beta[j]),
                      dy);
}

// ---- sums of g and g (x - mean), and g itself ----
VEC_INLINE void sums_tile(const bwd_args *a, ig_dtype type, bn_mask mask, const bn_rows *r, bwd_lanes *l, int64_t c,
                          int64_t row, int64_t rows, int V, int64_t n) {
  bwd_params p;
  vec sum[BN_VECTORS], product[BN_VECTORS];
  load_params(l, c, V, n, &p);
  for (int j = 0; j < V; j++) {
    sum[j] = vec_load(l->sum, IG_F32, c + VEC * j, n);
    product[j] = vec_load(l->product, IG_F32, c + VEC * j, n);
  }
  for (int64_t i = row; i < row + rows; i++)
#pragma GCC unroll 4
    for (int j = 0; j < V; j++) {
      int64_t at = r->at + i * r->stride + c + VEC * j;
      vec x = vec_load(a->x, type, at, n), g = vec_load(a->dy, type, at, n);
      if (a->more_dy)
        g += vec_load(a->more_dy, type, at, n);
      g = masked(a, type, mask, g, x, &p, j, at, n);
      if (a->out)
        vec_store(a->out, type, at, n, g);
      sum[j] += g;
      product[j] = vec_madd(g, x - p.mean[j], product[j]);
    }
  for (int j = 0; j < V; j++) {
    vec_store(l->sum, IG_F32, c + VEC * j, n, sum[j]);
    vec_store(l->product, IG_F32, c + VEC * j, n, product[j]);
  }
}

#define FOR_TILES_OF(a, r, TILE, l)                    \
  if ((a)->type == IG_F32 && (a)->mask == MASK_Y)      \
    BN_FOR_TILES(r, TILE, a, IG_F32, MASK_Y, &r, l)    \
  else if ((a)->type == IG_F32 && (a)->mask == MASK_X) \
    BN_FOR_TILES(r, TILE, a, IG_F32, MASK_X, &r, l)    \
  else if ((a)->type == IG_F32)                        \
    BN_FOR_TILES(r, TILE, a, IG_F32, MASK_NONE, &r, l) \
  else if ((a)->mask == MASK_Y)                        \
    BN_FOR_TILES(r, TILE, a, IG_BF16, MASK_Y, &r, l)   \
  else if ((a)->mask == MASK_X)                        \
    BN_FOR_TILES(r, TILE, a, IG_BF16, MASK_X, &r, l)   \
  else                                                 \
    BN_FOR_TILES(r, TILE, a, IG_BF16, MASK_NONE, &r, l)

static void spread_params(const bn_grid *g, const bn_rows *r, const bwd_args *a, bwd_lanes *l) {
  l->period = bn_period(g);
  l->mean = bn_spread(g, r, a->mean, l->spread[0]);
  l->scale = bn_spread(g, r, a->scale, l->spread[1]);
  l->beta = bn_spread(g, r, a->beta, l->spread[2]);
}

static void sums_task(const bn_grid *g, const bn_task *t, const bwd_args *a, double *sums, double *products) {
  bwd_lanes s;
  for (int64_t tile = 0; tile < bn_n_tiles(g); tile++) {
    bn_rows r = bn_rows_of(g, t, tile);
    int64_t channels = g->repeat > 1 ? g->v.block : r.width;
    spread_params(g, &r, a, &s);
    memset(s.sum, 0, (size_t)r.width * sizeof(float));
    memset(s.product, 0, (size_t)r.width * sizeof(float));
    FOR_TILES_OF(a, r, sums_tile, &s)
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

// A sample that does not count has no gradient.
static void zero_task(const bn_grid *g, const bn_task *t, const bwd_args *a) {
  size_t element = ig_dtype_bytes(a->type);
  memset((char *)a->out + (size_t)t->at * element, 0, (size_t)(t->positions * g->v.block) * element);
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
  const ig_batchnorm_bwd_attr *attr = l->node->attr;
  bn_grid g = bn_grid_of(&l->node->in[S_X]->shape, l->in_layout[S_X]);
  const float *weight = l->in[S_WEIGHT], *var = l->in[S_VAR];
  int64_t slots = g.v.N * g.n_chunks;
  double *sums = l->workspace, *products = sums + slots * g.channels;
  bwd_args a = {.y = l->in[S_Y],
                .more_dy = l->in[S_MORE_DY],
                .out = attr->masked_dy ? l->out[2] : NULL,
                .mask = !attr->forward.relu ? MASK_NONE
                        : l->in[S_Y]        ? MASK_Y
                                            : MASK_X};
  fill_table(l, &g, attr->forward.eps, (float *)(products + slots * g.channels), &a);
#pragma omp parallel for schedule(static) num_threads(l->device->caps.threads) if (g.tasks > 1)
  for (int64_t k = 0; k < g.tasks; k++) {
    bn_task t = bn_task_of(&g, k);
    int64_t slot = (t.sample * g.n_chunks + t.chunk) * g.channels;
    if (bn_counts(weight, t.sample))
      sums_task(&g, &t, &a, sums + slot, products + slot);
    else if (a.out)
      zero_task(&g, &t, &a);
  }
  float *dgamma = l->out[0], *dbeta = l->out[1];
#pragma omp parallel for schedule(static) num_threads(l->device->caps.threads) if (slots * g.v.C > 65536)
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
      dgamma[tile + i] = (float)(product[i] / sqrt((double)var[tile + i] + (double)attr->forward.eps));
    }
  }
  if (!attr->masked_dy)
    *(float *)l->out[2] = 0;
  return IG_OK;
}

static bool supports_sums(const ig_node *n, const ig_device_caps *caps, char *why, size_t why_bytes) {
  if (n->in[S_Y] && n->in[S_Y]->dtype == IG_U8) {
    snprintf(why, why_bytes, "%s is a mask of bits, expected y itself", n->in[S_Y]->name);
    return false;
  }
  return ig_lanes_supports(n, caps, why, why_bytes);
}

// ---- dx ----
VEC_INLINE void dx_tile(const bwd_args *a, ig_dtype type, bn_mask mask, const bn_rows *r, const bwd_lanes *l, int64_t c,
                        int64_t row, int64_t rows, int V, int64_t n) {
  bwd_params p;
  vec shift[BN_VECTORS], slope[BN_VECTORS];
  load_params(l, c, V, n, &p);
  for (int j = 0; j < V; j++) {
    int64_t lane = (c + VEC * j) % l->period;
    shift[j] = vec_load(l->shift, IG_F32, lane, n);
    slope[j] = vec_load(l->slope, IG_F32, lane, n);
  }
  for (int64_t i = row; i < row + rows; i++)
#pragma GCC unroll 4
    for (int j = 0; j < V; j++) {
      int64_t at = r->at + i * r->stride + c + VEC * j;
      vec x = vec_load(a->x, type, at, n), g = vec_load(a->dy, type, at, n);
      g = masked(a, type, mask, g, x, &p, j, at, n);
      vec_store(a->out, type, at, n, p.scale[j] * (g - shift[j] - (x - p.mean[j]) * slope[j]));
    }
}

static void dx_task(const bn_grid *g, const bn_task *t, const bwd_args *a) {
  bwd_lanes s;
  for (int64_t tile = 0; tile < bn_n_tiles(g); tile++) {
    bn_rows r = bn_rows_of(g, t, tile);
    spread_params(g, &r, a, &s);
    s.shift = bn_spread(g, &r, a->shift, s.spread[3]);
    s.slope = bn_spread(g, &r, a->slope, s.spread[4]);
    FOR_TILES_OF(a, r, dx_tile, &s)
  }
}

static ig_status prepare_dx(ig_prepare *p) {
  IG_TRY(bn_common_layout(p, B_X));
  bn_grid g = bn_grid_of(&p->node->in[B_X]->shape, p->in_layout[B_X]);
  p->workspace_bytes = (size_t)(5 * g.channels) * sizeof(float);
  return IG_OK;
}

static ig_status bn_bwd_apply_cpu(const ig_launch *l) {
  const ig_batchnorm_attr *attr = l->node->attr;
  bn_grid g = bn_grid_of(&l->node->in[B_X]->shape, l->in_layout[B_X]);
  const float *weight = l->in[B_WEIGHT], *var = l->in[B_VAR], *dgamma = l->in[B_DGAMMA], *dbeta = l->in[B_DBETA];
  const float count = l->in[B_COUNT] ? *(const float *)l->in[B_COUNT] : 0;
  float *table = l->workspace, *shift = table + 3 * g.channels, *slope = shift + g.channels;
  bwd_args a = {.mask = attr->relu ? MASK_X : MASK_NONE, .shift = shift, .slope = slope, .out = l->out[0]};
  fill_table(l, &g, attr->eps, table, &a);
  memset(shift, 0, (size_t)(2 * g.channels) * sizeof(float));
  for (int64_t c = 0; c < g.v.C && count > 0; c++) {
    shift[c] = dbeta[c] / count;
    slope[c] = (float)((double)dgamma[c] / count / sqrt((double)var[c] + (double)attr->eps));
  }
#pragma omp parallel for schedule(static) num_threads(l->device->caps.threads) if (g.tasks > 1)
  for (int64_t k = 0; k < g.tasks; k++) {
    bn_task t = bn_task_of(&g, k);
    if (bn_counts(weight, t.sample))
      dx_task(&g, &t, &a);
    else
      zero_task(&g, &t, &a);
  }
  return IG_OK;
}

#define CPU(op, supports_fn, prepare_fn)                                                           \
  {                                                                                                \
    .name = #op "_cpu", .flags = IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE, .isa = IG_ISA_LEVEL, \
    .supports = supports_fn, .prepare = prepare_fn, .run = op##_cpu                                \
  }
IG_IMPLS(batchnorm_bwd_cpu) = {
    CPU(bn_bwd_sums, supports_sums, prepare_sums), CPU(bn_bwd_apply, ig_lanes_supports, prepare_dx), {0}};
