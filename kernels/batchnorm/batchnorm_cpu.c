// Batch normalisation forward on the CPU: statistics (one read), application (one read, one write). Rule: per-task
// partial results are combined in double in a fixed order.
#include <string.h>

#include "kernels/batchnorm/bn_grid.h"
#include "kernels/plain.h"

// ---- statistics ----
// Per task and channel: mean and sum of squared deviations from it. They are found in one pass around a shift, the mean
// of the task's first 1/16 of rows: as the variance then contains at least about 1/16 of (shift - mean)^2, no more than
// a factor 16 of accuracy can be lost to cancellation, whatever the data. Of small pictures it is that of 64 numbers:
// few positions' mean lies far from the others'.
enum { HEAD_ROWS = (64 + BN_LANES - 1) / BN_LANES };

typedef struct stats_lanes {
  float sum[BN_MAX_WIDTH], squares[BN_MAX_WIDTH], shift[BN_MAX_WIDTH];
} stats_lanes;

// x cut to 16 significant bits: differences of 16-bit data from it are then exact, so that no rounding repeats itself.
static inline float cut(float x) {
  uint32_t u;
  memcpy(&u, &x, sizeof u);
  u &= 0xffffff00u;
  memcpy(&x, &u, sizeof u);
  return x;
}

// Adds the lanes of a row's positions into the first block.
static void fold(const bn_grid *g, const bn_rows *r, float *lanes) {
  for (int64_t i = 1; i < g->repeat; i++)
    for (int64_t c = 0; c < g->v.block; c++)
      lanes[c] += lanes[i * g->v.block + c];
}

// Adds x - shift and its square to the sums of a tile's lanes.
VEC_INLINE void stats_tile(const void *x, ig_dtype type, const bn_rows *r, stats_lanes *s, int64_t c, int64_t row,
                           int64_t rows, int V, int64_t n) {
  vec sum[BN_VECTORS], squares[BN_VECTORS], shift[BN_VECTORS];
  for (int j = 0; j < V; j++) {
    sum[j] = vec_load(s->sum, IG_F32, c + VEC * j, n);
    squares[j] = vec_load(s->squares, IG_F32, c + VEC * j, n);
    shift[j] = vec_load(s->shift, IG_F32, c + VEC * j, n);
  }
  for (int64_t i = row; i < row + rows; i++)
#pragma GCC unroll 4
    for (int j = 0; j < V; j++) {
      vec d = vec_load(x, type, r->at + i * r->stride + c + VEC * j, n) - shift[j];
      sum[j] += d;
      squares[j] = vec_madd(d, d, squares[j]);
    }
  for (int j = 0; j < V; j++) {
    vec_store(s->sum, IG_F32, c + VEC * j, n, sum[j]);
    vec_store(s->squares, IG_F32, c + VEC * j, n, squares[j]);
  }
}

static void deviations(const void *x, ig_dtype type, const bn_rows *r, stats_lanes *s) {
  memset(s->sum, 0, (size_t)r->width * sizeof(float));
  memset(s->squares, 0, (size_t)r->width * sizeof(float));
  if (type == IG_F32)
    BN_FOR_TILES(*r, stats_tile, x, IG_F32, r, s)
  else
    BN_FOR_TILES(*r, stats_tile, x, IG_BF16, r, s)
}

static void stats_task(const bn_grid *g, const bn_task *t, const void *x, ig_dtype type, double *mean, double *m2) {
  stats_lanes s;
  for (int64_t tile = 0; tile < bn_n_tiles(g); tile++) {
    bn_rows r = bn_rows_of(g, t, tile);
    int64_t first = (r.n_rows + 15) / 16, channels = g->repeat > 1 ? g->v.block : r.width;
    if (first < HEAD_ROWS)
      first = r.n_rows < HEAD_ROWS ? r.n_rows : HEAD_ROWS;
    int64_t first_positions = first < r.n_rows ? first * g->repeat : t->positions;
    bn_rows head = r;
    head.n_rows = first;
    head.last_width = first < r.n_rows ? r.width : r.last_width;
    memset(s.shift, 0, (size_t)r.width * sizeof(float));
    deviations(x, type, &head, &s);
    fold(g, &r, s.sum);
    for (int64_t i = 0; i < g->repeat; i++)
      for (int64_t c = 0; c < channels; c++)
        s.shift[i * channels + c] = cut(s.sum[c] / (float)first_positions);
    deviations(x, type, &r, &s);
    fold(g, &r, s.sum);
    fold(g, &r, s.squares);
    for (int64_t c = 0; c < channels; c++) {
      double offset = (double)s.sum[c] / (double)t->positions;
      mean[r.channel + c] = (double)s.shift[c] + offset;
      m2[r.channel + c] = (double)s.squares[c] - (double)s.sum[c] * offset;
    }
  }
}

typedef struct stats_partials {
  const bn_grid *g;
  const float *weight;
  const double *mean, *m2;  // [sample * n_chunks + chunk][channels]
} stats_partials;

// Chunk means around the first one that counts, so that nothing cancels: n = 64 channels from c.
static void combine_stats(const stats_partials *p, int64_t c, int64_t n, float *mean, float *var, float *count) {
  const bn_grid *g = p->g;
  double sum[64] = {0}, squares[64] = {0}, total = 0;
  const double *origin = NULL;
  for (int64_t k = 0; k < g->v.N * g->n_chunks; k++) {
    if (!bn_counts(p->weight, k / g->n_chunks))
      continue;
    int64_t first = k % g->n_chunks * g->chunk;
    double positions = (double)(g->v.P - first < g->chunk ? g->v.P - first : g->chunk);
    const double *m = p->mean + k * g->channels + c, *m2 = p->m2 + k * g->channels + c;
    origin = origin ? origin : m;
    total += positions;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
      double d = m[i] - origin[i];
      sum[i] += positions * d;
      squares[i] += m2[i] + positions * d * d;
    }
  }
  for (int64_t i = 0; i < n; i++) {
    double offset = total > 0 ? sum[i] / total : 0;
    double v = total > 0 ? (squares[i] - sum[i] * offset) / total : 0;
    mean[c + i] = origin ? (float)(origin[i] + offset) : 0;
    var[c + i] = (float)(v < 0 ? 0 : v);
  }
  if (c == 0)
    *count = (float)total;
}

static ig_status prepare_stats(ig_prepare *p) {
  IG_TRY(bn_common_layout(p, 0));
  bn_grid g = bn_grid_of(&p->node->in[0]->shape, p->in_layout[0]);
  p->workspace_bytes = (size_t)(2 * g.v.N * g.n_chunks * g.channels) * sizeof(double);
  return IG_OK;
}

static ig_status bn_stats_cpu(const ig_launch *l) {
  const ig_tensor *x = l->node->in[0];
  bn_grid g = bn_grid_of(&x->shape, l->in_layout[0]);
  const float *weight = l->in[1];
  double *means = l->workspace, *m2s = means + g.v.N * g.n_chunks * g.channels;
#pragma omp parallel for schedule(static) num_threads(l->device->caps.threads) if (g.tasks > 1)
  for (int64_t k = 0; k < g.tasks; k++) {
    bn_task t = bn_task_of(&g, k);
    int64_t slot = (t.sample * g.n_chunks + t.chunk) * g.channels;
    if (bn_counts(weight, t.sample))
      stats_task(&g, &t, l->in[0], x->dtype, means + slot, m2s + slot);
  }
  const stats_partials partials = {&g, weight, means, m2s};
#pragma omp parallel for schedule(static) num_threads(l->device->caps.threads) if (g.v.N * g.n_chunks * g.v.C > 65536)
  for (int64_t c = 0; c < g.v.C; c += 64)
    combine_stats(&partials, c, g.v.C - c < 64 ? g.v.C - c : 64, l->out[0], l->out[1], l->out[2]);
  return IG_OK;
}

// ---- application ----
enum { A_X, A_MEAN, A_VAR, A_GAMMA, A_BETA, A_RESIDUAL };

// Per-channel parameters, padded to whole blocks with zeros: padding lanes then give 0.
typedef struct apply_args {
  const float *mean, *scale, *beta;
  ig_dtype type;
  const void *x, *residual;
  void *y;
  bool relu, stream;  // stream: y lies at whole vectors and is too large for the caches
} apply_args;

// Parameters of a row's lanes.
typedef struct apply_lanes {
  const float *mean, *scale, *beta;
  int64_t period;
  float spread[3][BN_MAX_WIDTH];
} apply_lanes;

VEC_INLINE void apply_tile(const apply_args *a, ig_dtype type, bool relu, const bn_rows *r, const apply_lanes *l,
                           int64_t c, int64_t row, int64_t rows, int V, int64_t n) {
  vec mean[BN_VECTORS], scale[BN_VECTORS], beta[BN_VECTORS];
  for (int j = 0; j < V; j++) {
    int64_t lane = (c + VEC * j) % l->period;
    mean[j] = vec_load(l->mean, IG_F32, lane, n);
    scale[j] = vec_load(l->scale, IG_F32, lane, n);
    beta[j] = vec_load(l->beta, IG_F32, lane, n);
  }
  for (int64_t i = row; i < row + rows; i++)
#pragma GCC unroll 4
    for (int j = 0; j < V; j++) {
      int64_t at = r->at + i * r->stride + c + VEC * j;
      vec y = bn_value(vec_load(a->x, type, at, n), mean[j], scale[j], beta[j]);
      if (a->residual)
        y += vec_load(a->residual, type, at, n);
      y = relu ? vec_relu(y) : y;
      if (n == VEC && a->stream)
        vec_stream(a->y, type, at, y);
      else
        vec_store(a->y, type, at, n, y);
    }
}

static void apply_task(const bn_grid *g, const bn_task *t, const apply_args *a) {
  apply_lanes l = {.period = bn_period(g)};
  for (int64_t tile = 0; tile < bn_n_tiles(g); tile++) {
    bn_rows r = bn_rows_of(g, t, tile);
    l.mean = bn_spread(g, &r, a->mean, l.spread[0]);
    l.scale = bn_spread(g, &r, a->scale, l.spread[1]);
    l.beta = bn_spread(g, &r, a->beta, l.spread[2]);
    if (a->type == IG_F32 && a->relu)
      BN_FOR_TILES(r, apply_tile, a, IG_F32, true, &r, &l)
    else if (a->type == IG_F32)
      BN_FOR_TILES(r, apply_tile, a, IG_F32, false, &r, &l)
    else if (a->relu)
      BN_FOR_TILES(r, apply_tile, a, IG_BF16, true, &r, &l)
    else
      BN_FOR_TILES(r, apply_tile, a, IG_BF16, false, &r, &l)
  }
  if (a->stream)
    vec_stream_end();
}

static ig_status prepare_apply(ig_prepare *p) {
  IG_TRY(bn_common_layout(p, A_X));
  bn_grid g = bn_grid_of(&p->node->in[A_X]->shape, p->in_layout[A_X]);
  p->workspace_bytes = (size_t)(3 * g.channels) * sizeof(float);
  return IG_OK;
}

static ig_status bn_apply_cpu(const ig_launch *l) {
  const ig_batchnorm_attr *attr = l->node->attr;
  const ig_tensor *x = l->node->in[A_X];
  bn_grid g = bn_grid_of(&x->shape, l->in_layout[A_X]);
  const float *mean = l->in[A_MEAN], *var = l->in[A_VAR], *gamma = l->in[A_GAMMA], *beta = l->in[A_BETA];
  float *table = l->workspace;
  memset(table, 0, (size_t)(3 * g.channels) * sizeof(float));
  for (int64_t c = 0; c < g.v.C; c++) {
    table[c] = mean[c];
    table[g.channels + c] = bn_scale(gamma[c], var[c], attr->eps);
    table[2 * g.channels + c] = beta[c];
  }
  const apply_args a = {table,     table + g.channels, table + 2 * g.channels,
                        x->dtype,  l->in[0],           l->in[A_RESIDUAL],
                        l->out[0], attr->relu,         bn_streams(&g, x->dtype, l->out[0], l->in[0])};
#pragma omp parallel for schedule(static) num_threads(l->device->caps.threads) if (g.tasks > 1)
  for (int64_t k = 0; k < g.tasks; k++) {
    bn_task t = bn_task_of(&g, k);
    apply_task(&g, &t, &a);
  }
  return IG_OK;
}

// ---- running statistics ----
static ig_status prepare_update(ig_prepare *p) {
  ig_prepare_plain(p);
  return IG_OK;
}

static ig_status bn_update_cpu(const ig_launch *l) {
  const ig_batchnorm_attr *attr = l->node->attr;
  int64_t C = l->node->in[0]->shape.d[0];
  float *running_mean = l->in[0], *running_var = l->in[1];
  const float *mean = l->in[2], *var = l->in[3], count = *(const float *)l->in[4];
  float unbiased = count > 1 ? count / (count - 1) : 1;
  for (int64_t c = 0; c < C && count > 0; c++) {
    running_mean[c] += attr->momentum * (mean[c] - running_mean[c]);
    running_var[c] += attr->momentum * (var[c] * unbiased - running_var[c]);
  }
  *(float *)l->out[0] = 0;
  return IG_OK;
}

#define CPU(op, prepare_fn)                                                                        \
  {                                                                                                \
    .name = #op "_cpu", .flags = IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE, .isa = IG_ISA_LEVEL, \
    .supports = ig_lanes_supports, .prepare = prepare_fn, .run = op##_cpu                          \
  }
IG_IMPLS(batchnorm_cpu) = {
    CPU(bn_stats, prepare_stats), CPU(bn_apply, prepare_apply), CPU(bn_update, prepare_update), {0}};
