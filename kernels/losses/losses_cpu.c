// CPU kernels of the elementwise losses and distillation: samples are cut into fixed parts, sums end in double.
#include <math.h>

#include "kernels/kernels.h"
#include "kernels/losses/losses.h"
#include "kernels/optim_util/fixed.h"

// ---- one element, fp32; the slope loops vectorise ----
#define ELEMENT(name) static inline float name(float x, float t, float w, const ig_loss_attr *a)

static inline float sign(float d) { return (float)((d > 0) - (d < 0)); }
// 1 / (1 + exp(-x)) from exp(-|x|), which never overflows.
static inline float sigmoid(float x) {
  float e = ig_exp_f32(-fabsf(x)), s = 1 / (1 + e);
  return x >= 0 ? s : e * s;
}

ELEMENT(mse) { return (x - t) * (x - t); }
ELEMENT(mse_slope) { return 2 * (x - t); }
ELEMENT(l1) { return fabsf(x - t); }
ELEMENT(l1_slope) { return sign(x - t); }
ELEMENT(smooth_l1) {
  float d = fabsf(x - t);
  return d < a->a ? 0.5f * d * d / a->a : d - 0.5f * a->a;
}
ELEMENT(smooth_l1_slope) {
  float d = x - t;
  return fabsf(d) < a->a ? d / a->a : sign(d);
}
ELEMENT(huber) {
  float d = fabsf(x - t);
  return d <= a->a ? 0.5f * d * d : a->a * (d - 0.5f * a->a);
}
ELEMENT(huber_slope) {
  float d = x - t;
  return fabsf(d) <= a->a ? d : a->a * sign(d);
}
ELEMENT(bce) {
  float rest = log1pf(ig_exp_f32(-fabsf(x)));  // softplus(x) = rest + max(x, 0)
  return w * t * (rest + fmaxf(-x, 0)) + (1 - t) * (rest + fmaxf(x, 0));
}
ELEMENT(bce_slope) { return (1 - t) * sigmoid(x) - w * t * sigmoid(-x); }
ELEMENT(focal) {
  float miss = sigmoid(x) * (1 - t) + sigmoid(-x) * t, alpha = a->a < 0 ? 1 : a->a * t + (1 - a->a) * (1 - t);
  return alpha * powf(miss, a->b) * bce(x, t, 1, a);
}
ELEMENT(focal_slope) {
  float p = sigmoid(x), q = sigmoid(-x), miss = p * (1 - t) + q * t;
  float alpha = a->a < 0 ? 1 : a->a * t + (1 - a->a) * (1 - t);
  if (miss == 0)
    return 0;
  return alpha * (powf(miss, a->b) * bce_slope(x, t, 1, a) +
                  a->b * powf(miss, a->b - 1) * (1 - 2 * t) * p * q * bce(x, t, 1, a));
}

// ---- a run of elements ----
#define RUNS(name)                                                                                             \
  static double name##_sum(const float *x, const float *t, const float *w, int64_t n, const ig_loss_attr *a) { \
    double lane[IG_LANES] = {0}, sum = 0;                                                                      \
    int64_t j = 0;                                                                                             \
    for (; j + IG_LANES <= n; j += IG_LANES)                                                                   \
      for (int l = 0; l < IG_LANES; l++)                                                                       \
        lane[l] += (double)name(x[j + l], t[j + l], w ? w[j + l] : 1, a);                                      \
    for (; j < n; j++)                                                                                         \
      lane[0] += (double)name(x[j], t[j], w ? w[j] : 1, a);                                                    \
    for (int l = 0; l < IG_LANES; l++)                                                                         \
      sum += lane[l];                                                                                          \
    return sum;                                                                                                \
  }                                                                                                            \
  static void name##_slopes(const float *x, const float *t, const float *w, int64_t n, const ig_loss_attr *a,  \
                            float scale, float *dx) {                                                          \
    if (w)                                                                                                     \
      for (int64_t j = 0; j < n; j++)                                                                          \
        dx[j] = scale * name##_slope(x[j], t[j], w[j], a);                                                     \
    else                                                                                                       \
      for (int64_t j = 0; j < n; j++)                                                                          \
        dx[j] = scale * name##_slope(x[j], t[j], 1, a);                                                        \
  }                                                                                                            \
  static ig_status run_##name(const ig_launch *l) { return run_sums(l, name##_sum); }                          \
  static ig_status run_##name##_bwd(const ig_launch *l) { return run_slopes(l, name##_slopes); }

typedef double (*sum_fn)(const float *x, const float *t, const float *w, int64_t n, const ig_loss_attr *a);
typedef void (*slopes_fn)(const float *x, const float *t, const float *w, int64_t n, const ig_loss_attr *a, float scale,
                          float *dx);

static void add_parts(const ig_launch *l, double (*part)[2], int64_t n_parts) {
  for (int m = 0; m < 2; m++) {
    double sum = 0;
    for (int64_t p = 0; p < n_parts; p++)
      sum += part[p][m];
    *(float *)l->out[m] = (float)sum;
  }
}

static ig_status run_sums(const ig_launch *l, sum_fn sum) {
  const ig_shape *s = &l->node->in[0]->shape;
  const int64_t n = s->d[0], d = n ? ig_shape_count(s) / n : 0;
  const float *x = l->in[0], *t = l->in[1], *share = l->in[2], *w = l->node->n_in > 3 ? l->in[3] : NULL;
  const int64_t size = ig_fixed_part(n), n_parts = n ? (n + size - 1) / size : 0;
  double part[IG_FIXED_PARTS][2] = {{0}};
#pragma omp parallel for schedule(static)
  for (int64_t p = 0; p < n_parts; p++)
    for (int64_t i = p * size; i < ig_min_i64((p + 1) * size, n); i++) {
      const double factor = share ? (double)share[i] : 1;
      if (factor != 0)
        part[p][0] += factor * sum(x + i * d, t + i * d, w, d, l->node->attr);
      part[p][1] += factor * (double)d;
    }
  add_parts(l, part, n_parts);
  return IG_OK;
}

static ig_status run_slopes(const ig_launch *l, slopes_fn slopes) {
  const ig_shape *s = &l->node->in[1]->shape;
  const int64_t n = s->d[0], d = n ? ig_shape_count(s) / n : 0;
  const float seed = *(const float *)l->in[0], *x = l->in[1], *t = l->in[2], *share = l->in[3];
  const float *w = l->node->n_in > 4 ? l->in[4] : NULL;
  float *dx = l->out[0];
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < n; i++) {
    const float factor = share ? share[i] : 1;
    if (factor != 0)
      slopes(x + i * d, t + i * d, w, d, l->node->attr, seed * factor, dx + i * d);
    else
      memset(dx + i * d, 0, (size_t)d * sizeof *dx);
  }
  return IG_OK;
}

RUNS(mse)
RUNS(l1)
RUNS(smooth_l1)
RUNS(huber)
RUNS(bce)
RUNS(focal)

// ---- distillation ----

static float row_max(const float *z, int64_t c) {
  float most = z[0];
#pragma omp simd reduction(max : most)
  for (int64_t j = 1; j < c; j++)
    most = z[j] > most ? z[j] : most;
  return most;
}

// sum_j exp((z_j - most) / T); `with` not NULL: *dot = sum_j exp(..) (z_j - with_j).
static double row_sum_exp(const float *z, const float *with, int64_t c, float most, float cold, double *dot) {
  double sum = 0, along = 0;
#pragma omp simd reduction(+ : sum, along)
  for (int64_t j = 0; j < c; j++) {
    double e = (double)ig_exp_f32((z[j] - most) * cold);
    sum += e;
    along += with ? e * ((double)z[j] - (double)with[j]) : 0;
  }
  if (dot)
    *dot = along;
  return sum;
}

static ig_status run_kd(const ig_launch *l) {
  const int64_t n = l->node->in[0]->shape.d[0], c = l->node->in[0]->shape.d[1];
  const double temperature = (double)((const ig_loss_attr *)l->node->attr)->a;
  const float cold = (float)(1 / temperature), *share = l->in[2];
  const int64_t size = ig_fixed_part(n), n_parts = n ? (n + size - 1) / size : 0;
  double part[IG_FIXED_PARTS][2] = {{0}};
#pragma omp parallel for schedule(static)
  for (int64_t p = 0; p < n_parts; p++)
    for (int64_t i = p * size; i < ig_min_i64((p + 1) * size, n); i++) {
      const float *z = (const float *)l->in[0] + i * c, *t = (const float *)l->in[1] + i * c;
      const double factor = share ? (double)share[i] : 1;
      if (factor == 0)
        continue;
      // sum q (log q - log p) = sum q (t - z) / T - log sum exp(t / T) + log sum exp(z / T)
      float z_most = row_max(z, c), t_most = row_max(t, c);
      double dot, z_sum = row_sum_exp(z, NULL, c, z_most, cold, NULL), t_sum = row_sum_exp(t, z, c, t_most, cold, &dot);
      double row = (dot / t_sum + (double)z_most - (double)t_most) / temperature + log(z_sum) - log(t_sum);
      part[p][0] += factor * temperature * temperature * row;
      part[p][1] += factor;
    }
  add_parts(l, part, n_parts);
  return IG_OK;
}

static ig_status run_kd_bwd(const ig_launch *l) {
  const int64_t n = l->node->in[1]->shape.d[0], c = l->node->in[1]->shape.d[1];
  const double temperature = (double)((const ig_loss_attr *)l->node->attr)->a, seed = (double)*(const float *)l->in[0];
  const float cold = (float)(1 / temperature), *share = l->in[3];
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < n; i++) {
    const float *z = (const float *)l->in[1] + i * c, *t = (const float *)l->in[2] + i * c;
    float *dz = (float *)l->out[0] + i * c;
    const double factor = share ? (double)share[i] : 1;
    if (factor == 0) {
      memset(dz, 0, (size_t)c * sizeof *dz);
      continue;
    }
    const float z_most = row_max(z, c), t_most = row_max(t, c);
    const double scale = seed * factor * temperature;
    const float p = (float)(scale / row_sum_exp(z, NULL, c, z_most, cold, NULL));
    const float q = (float)(scale / row_sum_exp(t, NULL, c, t_most, cold, NULL));
#pragma omp simd
    for (int64_t j = 0; j < c; j++)
      dz[j] = ig_exp_f32((z[j] - z_most) * cold) * p - ig_exp_f32((t[j] - t_most) * cold) * q;
  }
  return IG_OK;
}

#define ONE(op, fn)                                                                               \
  {                                                                                               \
    .name = op "_cpu", .flags = IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE, .isa = IG_ISA_LEVEL, \
    .supports = ig_supports_f32, .run = run_##fn                                                  \
  }
#define CPU(op, fn) ONE(op, fn), ONE(op "_bwd", fn##_bwd)

IG_IMPLS(losses_cpu) = {
    CPU("mse_loss", mse),
    CPU("l1_loss", l1),
    CPU("smooth_l1_loss", smooth_l1),
    CPU("huber_loss", huber),
    CPU("bce_loss", bce),
    CPU("sigmoid_focal_loss", focal),
    CPU("kd_loss", kd),
    {0},
};
