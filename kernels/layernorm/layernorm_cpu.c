// Layer normalisation on the CPU: a row at a time, so that it is read from memory once. Backward: one pass over rows in
// fixed parts, whose column sums are added in double. Rule: parts depend on the number of rows alone.
#include <math.h>

#include "kernels/dropout/draws.h"
#include "kernels/eltwise/lanes.h"
#include "kernels/eltwise/vec.h"
#include "kernels/layernorm/layernorm.h"
#include "kernels/optim_util/fixed.h"
#include "kernels/plain.h"

enum { B_DY, B_X, B_GAMMA, B_MORE_DY, B_STATE, B_KEYS };
enum { LEAST = 16384 };  // numbers: the least work worth a second thread

// The statements for each vector of a row of D numbers: numbers at..at+n of it, n <= VEC, in chain j of four.
#define FOR_ROW(D, ...)                                                                                \
  {                                                                                                    \
    int64_t c_ = 0;                                                                                    \
    for (; c_ + 4 * VEC <= (D); c_ += 4 * VEC)                                                         \
      _Pragma("GCC unroll 4") for (int j_ = 0; j_ < 4; j_++)                                           \
          FOR_VECTOR(c_ + VEC * j_, j_, VEC, __VA_ARGS__) for (; c_ + VEC <= (D); c_ += VEC)           \
              FOR_VECTOR(c_, 0, VEC, __VA_ARGS__) if (c_ < (D)) FOR_VECTOR(c_, 0, (D)-c_, __VA_ARGS__) \
  }
#define FOR_VECTOR(first, chain, count, ...) \
  {                                          \
    const int64_t at = first, n = count;     \
    const int j = chain;                     \
    (void)j;                                 \
    __VA_ARGS__                              \
  }

VEC_INLINE float sum4(const vec s[4]) { return vec_sum((s[0] + s[1]) + (s[2] + s[3])); }

// Lanes 0..n-1 of v, the others 0.
VEC_INLINE vec first_lanes(vec v, int64_t n) {
  if (n == VEC)
    return v;
  vec out = {0};
  memcpy(&out, &v, (size_t)n * sizeof(float));
  return out;
}

// Mean and 1 / sqrt(var + eps) of numbers row..row+D of x.
VEC_INLINE void statistics(const void *x, ig_dtype type, int64_t row, int64_t D, float eps, float *mean, float *rstd) {
  vec sum[4] = {{0}, {0}, {0}, {0}}, squares[4] = {{0}, {0}, {0}, {0}};
  FOR_ROW(D, sum[j] += vec_load(x, type, row + at, n);)
  const float m = (float)((double)sum4(sum) / (double)D);
  FOR_ROW(D, {
    const vec d = first_lanes(vec_load(x, type, row + at, n) - m, n);
    squares[j] = vec_madd(d, d, squares[j]);
  })
  *mean = m;
  *rstd = (float)(1 / sqrt((double)sum4(squares) / (double)D + (double)eps));
}

// ---- forward ----
VEC_INLINE void normalise(const ig_launch *l, ig_dtype type, int64_t t, int64_t D) {
  const ig_layernorm_attr *a = l->node->attr;
  const float *gamma = l->in[1], *beta = l->in[2];
  float mean, rstd;
  statistics(l->in[0], type, t * D, D, a->eps, &mean, &rstd);
  FOR_ROW(D, {
    const vec xhat = (vec_load(l->in[0], type, t * D + at, n) - mean) * rstd;
    vec_store(l->out[0], type, t * D + at, n,
              vec_madd(xhat, vec_load(gamma, IG_F32, at, n), vec_load(beta, IG_F32, at, n)));
  })
}

static ig_status layernorm_cpu(const ig_launch *l) {
  const ig_tensor *x = l->node->in[0];
  const int64_t T = x->shape.d[0], D = x->shape.d[1];
#pragma omp parallel for schedule(static) num_threads(l->device->caps.threads) if (T * D > LEAST)
  for (int64_t t = 0; t < T; t++)
    if (x->dtype == IG_F32)
      normalise(l, IG_F32, t, D);
    else
      normalise(l, IG_BF16, t, D);
  return IG_OK;
}

// ---- dropout and addition ----
static ig_status dropout_add_cpu(const ig_launch *l) {
  const ig_tensor *x = l->node->in[0];
  const ig_dtype type = x->dtype;
  const int64_t T = x->shape.d[0], D = x->shape.d[1];
  const ig_draws d = ig_draws_of(l->in[2], l->in[3], l->node->key, *(const float *)l->node->attr);
#pragma omp parallel for schedule(static) num_threads(l->device->caps.threads) if (T * D > LEAST)
  for (int64_t t = 0; t < T; t++) {
    float factor[IG_DRAWS_TILE], a[IG_LANES_TILE], b[IG_LANES_TILE], out[IG_LANES_TILE];
    for (int64_t c = 0; c < D; c += IG_LANES_TILE) {
      const int64_t n = ig_min_i64(D - c, IG_LANES_TILE), at = t * D + c;
      ig_draws_factors(&d, ig_draws_sample(&d, t), c, n, factor);
      const float *dropped = ig_lanes_load(l->in[0], type, at, n, a), *kept = ig_lanes_load(l->in[1], type, at, n, b);
      float *y = ig_lanes_target(l->out[0], type, at, out);
#pragma omp simd
      for (int64_t i = 0; i < n; i++)
        y[i] = kept[i] + (factor[i] == 0 ? 0 : dropped[i] * factor[i]);  // what is dropped is 0 even where infinite
      ig_lanes_store(l->out[0], type, at, n, y);
    }
  }
  return IG_OK;
}

// ---- backward ----
typedef struct bwd_args {
  const void *dy, *more_dy, *x;
  const float *gamma;
  void *ds, *dx;  // dx NULL without dropout
  ig_dtype type;
  float eps;
  int64_t D;
  ig_draws draws;
} bwd_args;

VEC_INLINE vec dy_at(const bwd_args *a, ig_dtype type, bool more, int64_t at, int64_t n) {
  vec dy = vec_load(a->dy, type, at, n);
  return more ? dy + vec_load(a->more_dy, type, at, n) : dy;
}

static void drop_row(const bwd_args *a, const float *ds, int64_t t) {
  float factor[IG_DRAWS_TILE], out[IG_DRAWS_TILE];
  for (int64_t c = 0; c < a->D; c += IG_DRAWS_TILE) {
    const int64_t n = ig_min_i64(a->D - c, IG_DRAWS_TILE), at = t * a->D + c;
    ig_draws_factors(&a->draws, ig_draws_sample(&a->draws, t), c, n, factor);
    float *y = ig_lanes_target(a->dx, a->type, at, out);
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
      y[i] = factor[i] == 0 ? 0 : ds[c + i] * factor[i];
    ig_lanes_store(a->dx, a->type, at, n, y);
  }
}

// Row t; adds to the part's column sums. row: D numbers of scratch, ds before it is rounded.
VEC_INLINE void bwd_row(const bwd_args *a, ig_dtype type, bool more, int64_t t, float *dgamma, float *dbeta,
                        float *row) {
  const int64_t D = a->D, start = t * D;
  vec sum[4] = {{0}, {0}, {0}, {0}}, product[4] = {{0}, {0}, {0}, {0}};
  float mean, rstd;
  statistics(a->x, type, start, D, a->eps, &mean, &rstd);
  FOR_ROW(D, {
    const vec g = dy_at(a, type, more, start + at, n), h = g * vec_load(a->gamma, IG_F32, at, n);
    const vec xhat = first_lanes((vec_load(a->x, type, start + at, n) - mean) * rstd, n);
    sum[j] += h;
    product[j] = vec_madd(h, xhat, product[j]);
    vec_store(dgamma, IG_F32, at, n, vec_madd(g, xhat, vec_load(dgamma, IG_F32, at, n)));
    vec_store(dbeta, IG_F32, at, n, vec_load(dbeta, IG_F32, at, n) + g);
  })
  const float shift = (float)((double)sum4(sum) / (double)D), slope = (float)((double)sum4(product) / (double)D);
  FOR_ROW(D, {
    const vec h = vec_madd(dy_at(a, type, more, start + at, n), vec_load(a->gamma, IG_F32, at, n), vec_splat(-shift));
    const vec xhat = (vec_load(a->x, type, start + at, n) - mean) * rstd;
    const vec ds = rstd * vec_madd(xhat, vec_splat(-slope), h);
    vec_store(a->ds, type, start + at, n, ds);
    if (a->dx)
      vec_store(row, IG_F32, at, n, ds);
  })
  if (a->dx)
    drop_row(a, row, t);
}

static void bwd_part(const bwd_args *a, int64_t first, int64_t last, float *dgamma, float *dbeta, float *row) {
  memset(dgamma, 0, (size_t)a->D * sizeof *dgamma);
  memset(dbeta, 0, (size_t)a->D * sizeof *dbeta);
  for (int64_t t = first; t < last; t++)
    if (a->type == IG_F32 && a->more_dy)
      bwd_row(a, IG_F32, true, t, dgamma, dbeta, row);
    else if (a->type == IG_F32)
      bwd_row(a, IG_F32, false, t, dgamma, dbeta, row);
    else if (a->more_dy)
      bwd_row(a, IG_BF16, true, t, dgamma, dbeta, row);
    else
      bwd_row(a, IG_BF16, false, t, dgamma, dbeta, row);
}

// Workspace: per part dgamma, dbeta and the scratch row, each D numbers.
static ig_status prepare_bwd(ig_prepare *p) {
  const ig_node *n = p->node;
  const int64_t T = n->in[B_X]->shape.d[0], D = n->in[B_X]->shape.d[1], size = ig_fixed_part(T);
  ig_prepare_plain(p);
  p->workspace_bytes = (size_t)((size ? (T + size - 1) / size : 0) * 3 * D) * sizeof(float);
  return IG_OK;
}

static ig_status layernorm_bwd_cpu(const ig_launch *l) {
  const ig_layernorm_attr *attr = l->node->attr;
  const ig_tensor *x = l->node->in[B_X];
  const int64_t T = x->shape.d[0], D = x->shape.d[1], size = ig_fixed_part(T), parts = size ? (T + size - 1) / size : 0;
  float *sums = l->workspace, *dgamma = l->out[2], *dbeta = l->out[3];
  bwd_args a = {l->in[B_DY], l->in[B_MORE_DY], l->in[B_X], l->in[B_GAMMA], l->out[0], NULL, x->dtype, attr->eps, D,
                {0}};
  if (attr->dropout) {
    a.dx = l->out[1];
    a.draws = ig_draws_of(l->in[B_STATE], l->in[B_KEYS], l->node->key, attr->p);
  } else {
    *(float *)l->out[1] = 0;
  }
#pragma omp parallel for schedule(static) num_threads(l->device->caps.threads) if (T * D > LEAST)
  for (int64_t part = 0; part < parts; part++) {
    float *own = sums + part * 3 * D;
    bwd_part(&a, part * size, ig_min_i64((part + 1) * size, T), own, own + D, own + 2 * D);
  }
#pragma omp parallel for schedule(static) num_threads(l->device->caps.threads) if (parts * D > LEAST)
  for (int64_t tile = 0; tile < D; tile += 64) {
    const int64_t n = ig_min_i64(D - tile, 64);
    ig_add_parts_f32(sums + tile, parts, 3 * D, n, dgamma + tile);
    ig_add_parts_f32(sums + D + tile, parts, 3 * D, n, dbeta + tile);
  }
  return IG_OK;
}

#define COMMON .flags = IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE, .isa = IG_ISA_LEVEL, .supports = ig_lanes_supports
IG_IMPLS(layernorm_cpu) = {{.name = "layernorm_cpu", COMMON, .run = layernorm_cpu},
                           {.name = "dropout_add_cpu", COMMON, .run = dropout_add_cpu},
                           {.name = "layernorm_bwd_cpu", COMMON, .prepare = prepare_bwd, .run = layernorm_bwd_cpu},
                           {0}};
