// CPU kernels of softmax and cross-entropy: a row (sample) is the unit of work, exponentials are vectorised, sums over
// a row and over rows end in double in a fixed order.
#include <math.h>

#include "kernels/kernels.h"
#include "kernels/optim_util/fixed.h"
#include "kernels/softmax_xent/xent_row.h"

static float row_max(const float *z, int64_t c) {
  float most = z[0];
#pragma omp simd reduction(max : most)
  for (int64_t j = 1; j < c; j++)
    most = z[j] > most ? z[j] : most;
  return most;
}

// sum_j exp(z_j - most): fp32 over 256 terms at most, double beyond.
static double row_sum_exp(const float *z, int64_t c, float most) {
  double sum = 0;
  for (int64_t first = 0; first < c; first += 256) {
    const int64_t end = ig_min_i64(first + 256, c);
    float part = 0;
#pragma omp simd reduction(+ : part)
    for (int64_t j = first; j < end; j++)
      part += ig_exp_f32(z[j] - most);
    sum += (double)part;
  }
  return sum;
}

// a . b in double; b NULL = ones.
static double row_dot(const float *a, const float *b, int64_t c) {
  double sum = 0;
  if (b) {
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < c; j++)
      sum += (double)a[j] * (double)b[j];
  } else {
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < c; j++)
      sum += (double)a[j];
  }
  return sum;
}

typedef struct row_state {
  float most;
  double sum, log_sum;  // of exp(z - most)
} row_state;

static row_state state_of(const float *z, int64_t c) {
  row_state r = {.most = row_max(z, c)};
  r.sum = row_sum_exp(z, c, r.most);
  r.log_sum = log(r.sum);
  return r;
}

static double sum_class_weights(const xent_labels *x) {
  return x->class_weight ? row_dot(x->class_weight, NULL, x->c) : (double)x->c;
}

static void one_xent(const xent_labels *x, const float *z, int64_t i, double sum_cw, double *loss, double *weight) {
  const xent_row row = xent_row_of(x, i);
  const double e = (double)x->attr->label_smoothing, gamma = (double)x->attr->focal_gamma;
  if (row.bad)
    *loss = NAN;
  if (row.n == 0)
    return;
  const row_state r = state_of(z, x->c);
  double even = 0;
  if (e > 0)  // mean over classes of cw (-log p), from the shifted logits
    even = (sum_cw * (r.log_sum + (double)r.most) - row_dot(z, x->class_weight, x->c)) / (double)x->c;
  for (int k = 0; k < row.n; k++) {
    double cw = xent_class_weight(x, row.label[k]), log_p = (double)z[row.label[k]] - (double)r.most - r.log_sum;
    double focus = gamma > 0 ? pow(-expm1(log_p), gamma) : 1;
    *loss += row.factor[k] * ((1 - e) * cw * focus * -log_p + e * even);
    *weight += row.factor[k] * (x->attr->weight_per_row ? 1 : cw);
  }
}

static void add_parts(const ig_launch *l, double (*part)[2], int64_t n_parts) {
  for (int m = 0; m < 2; m++) {
    double sum = 0;
    for (int64_t p = 0; p < n_parts; p++)
      sum += part[p][m];
    *(float *)l->out[m] = (float)sum;
  }
}

static ig_status run_xent(const ig_launch *l) {
  const xent_labels x = xent_labels_of(l, 1);
  const float *logits = l->in[0];
  const double sum_cw = sum_class_weights(&x);
  const int64_t size = ig_fixed_part(x.n), n_parts = x.n ? (x.n + size - 1) / size : 0;
  double part[IG_FIXED_PARTS][2] = {{0}};
#pragma omp parallel for schedule(static)
  for (int64_t p = 0; p < n_parts; p++)
    for (int64_t i = p * size; i < ig_min_i64((p + 1) * size, x.n); i++)
      one_xent(&x, logits + i * x.c, i, sum_cw, &part[p][0], &part[p][1]);
  add_parts(l, part, n_parts);
  return IG_OK;
}

static double focal_slope(double log_p, double gamma) {
  double rest = -expm1(log_p);
  if (gamma == 0)
    return 1;
  return rest > 0 ? pow(rest, gamma) - gamma * pow(rest, gamma - 1) * exp(log_p) * log_p : 0;
}

static ig_status run_xent_bwd(const ig_launch *l) {
  const xent_labels x = xent_labels_of(l, 2);
  const double seed = (double)*(const float *)l->in[0], e = (double)x.attr->label_smoothing;
  const double sum_cw = sum_class_weights(&x);
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < x.n; i++) {
    const float *z = (const float *)l->in[1] + i * x.c;
    float *dz = (float *)l->out[0] + i * x.c;
    const xent_row row = xent_row_of(&x, i);
    if (row.n == 0 || row.bad) {
      for (int64_t c = 0; c < x.c; c++)
        dz[c] = row.bad ? NAN : 0;
      continue;
    }
    const row_state r = state_of(z, x.c);
    double slope[2] = {0}, all = 0, kept = 0;
    for (int k = 0; k < row.n; k++) {
      double log_p = (double)z[row.label[k]] - (double)r.most - r.log_sum;
      slope[k] = seed * row.factor[k] * (1 - e) * xent_class_weight(&x, row.label[k]) *
                 focal_slope(log_p, (double)x.attr->focal_gamma);
      all += slope[k];
      kept += seed * row.factor[k] * e / (double)x.c;
    }
    const float scale = (float)((all + kept * sum_cw) / r.sum), even = (float)kept, most = r.most;
    // dz may be z itself (in place): simd says that only equal indices meet.
    if (kept == 0) {
#pragma omp simd
      for (int64_t c = 0; c < x.c; c++)
        dz[c] = ig_exp_f32(z[c] - most) * scale;
    } else if (!x.class_weight) {
#pragma omp simd
      for (int64_t c = 0; c < x.c; c++)
        dz[c] = ig_exp_f32(z[c] - most) * scale - even;
    } else {
#pragma omp simd
      for (int64_t c = 0; c < x.c; c++)
        dz[c] = ig_exp_f32(z[c] - most) * scale - even * x.class_weight[c];
    }
    for (int k = 0; k < row.n; k++)
      dz[row.label[k]] -= (float)slope[k];
  }
  return IG_OK;
}

static ig_status run_soft(const ig_launch *l) {
  const int64_t n = l->node->in[0]->shape.d[0], c = l->node->in[0]->shape.d[1];
  const float *logits = l->in[0], *targets = l->in[1], *weights = l->in[2];
  const int64_t size = ig_fixed_part(n), n_parts = n ? (n + size - 1) / size : 0;
  double part[IG_FIXED_PARTS][2] = {{0}};
#pragma omp parallel for schedule(static)
  for (int64_t p = 0; p < n_parts; p++)
    for (int64_t i = p * size; i < ig_min_i64((p + 1) * size, n); i++) {
      const float *z = logits + i * c, *t = targets + i * c;
      const double s = weights ? (double)weights[i] : 1;
      if (s == 0)
        continue;
      const row_state r = state_of(z, c);
      part[p][0] += s * (row_dot(t, NULL, c) * (r.log_sum + (double)r.most) - row_dot(t, z, c));
      part[p][1] += s;
    }
  add_parts(l, part, n_parts);
  return IG_OK;
}

static ig_status run_soft_bwd(const ig_launch *l) {
  const int64_t n = l->node->in[1]->shape.d[0], c = l->node->in[1]->shape.d[1];
  const double seed = (double)*(const float *)l->in[0];
  const float *weights = l->in[3];
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < n; i++) {
    const float *z = (const float *)l->in[1] + i * c, *t = (const float *)l->in[2] + i * c;
    float *dz = (float *)l->out[0] + i * c;
    const double s = weights ? (double)weights[i] : 1;
    if (s == 0) {
      memset(dz, 0, (size_t)c * sizeof *dz);
      continue;
    }
    const row_state r = state_of(z, c);
    const float scale = (float)(seed * s * row_dot(t, NULL, c) / r.sum), share = (float)(seed * s), most = r.most;
#pragma omp simd
    for (int64_t j = 0; j < c; j++)
      dz[j] = ig_exp_f32(z[j] - most) * scale - share * t[j];
  }
  return IG_OK;
}

static int64_t columns_of(const ig_tensor *t) { return t->shape.d[t->shape.n - 1]; }

static ig_status run_softmax(const ig_launch *l) {
  const int64_t c = columns_of(l->node->in[0]), n = c ? ig_shape_count(&l->node->in[0]->shape) / c : 0;
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < n; i++) {
    const float *x = (const float *)l->in[0] + i * c;
    float *y = (float *)l->out[0] + i * c;
    const row_state r = state_of(x, c);
    const float scale = (float)(1 / r.sum), most = r.most;
#pragma omp simd
    for (int64_t j = 0; j < c; j++)
      y[j] = ig_exp_f32(x[j] - most) * scale;
  }
  return IG_OK;
}

static ig_status run_softmax_bwd(const ig_launch *l) {
  const int64_t c = columns_of(l->node->in[0]), n = c ? ig_shape_count(&l->node->in[0]->shape) / c : 0;
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < n; i++) {
    const float *dy = (const float *)l->in[0] + i * c, *y = (const float *)l->in[1] + i * c;
    float *dx = (float *)l->out[0] + i * c;
    const float dot = (float)row_dot(dy, y, c);
#pragma omp simd
    for (int64_t j = 0; j < c; j++)
      dx[j] = y[j] * (dy[j] - dot);
  }
  return IG_OK;
}

static ig_status run_mean(const ig_launch *l) {
  const float sum = *(const float *)l->in[0], weight = *(const float *)l->in[1];
  *(float *)l->out[0] = weight != 0 ? sum / weight : 0;
  return IG_OK;
}

static ig_status run_mean_bwd(const ig_launch *l) {
  const float d = *(const float *)l->in[0], sum = *(const float *)l->in[1], weight = *(const float *)l->in[2];
  *(float *)l->out[0] = weight != 0 ? d / weight : 0;
  *(float *)l->out[1] = weight != 0 ? -d * (sum / weight) / weight : 0;
  return IG_OK;
}

#define CPU(op, fn)                                                                               \
  {                                                                                               \
    .name = op "_cpu", .flags = IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE, .isa = IG_ISA_LEVEL, \
    .supports = ig_supports_f32, .run = fn                                                        \
  }

IG_IMPLS(softmax_xent_cpu) = {
    CPU("softmax_xent", run_xent),
    CPU("softmax_xent_bwd", run_xent_bwd),
    CPU("softmax_xent_soft", run_soft),
    CPU("softmax_xent_soft_bwd", run_soft_bwd),
    CPU("softmax", run_softmax),
    CPU("softmax_bwd", run_softmax_bwd),
    CPU("loss_mean", run_mean),
    CPU("loss_mean_bwd", run_mean_bwd),
    {0},
};
