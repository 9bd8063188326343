// Reference of softmax, softmax_xent and their gradients: any float type, all arithmetic in double, one thread.
#include <math.h>

#include "kernels/kernels.h"
#include "kernels/optim_util/fixed.h"
#include "kernels/softmax_xent/xent_row.h"

// Where row i of an operand with c columns starts, as (array, type, first element).
typedef struct row_view {
  void *p;
  ig_dtype type;
  int64_t first, c;
} row_view;

static double get(const row_view *r, int64_t j) { return ig_load_f64(r->p, r->type, (size_t)(r->first + j)); }
static void put(const row_view *r, int64_t j, double v) { ig_store_f64(r->p, r->type, (size_t)(r->first + j), v); }

static row_view row_at(void *p, const ig_tensor *t, int64_t i) {
  int64_t c = t->shape.d[t->shape.n - 1];
  return (row_view){p, t->dtype, i * c, c};
}

static double log_sum_exp(const row_view *z) {
  double most = get(z, 0), sum = 0;
  for (int64_t j = 1; j < z->c; j++)
    most = fmax(most, get(z, j));
  for (int64_t j = 0; j < z->c; j++)
    sum += exp(get(z, j) - most);
  return most + log(sum);
}

static ig_status run_xent(const ig_launch *l) {
  const ig_tensor *logits = l->node->in[0];
  xent_labels x = xent_labels_of(l, 1);
  double loss = 0, weight = 0, e = (double)x.attr->label_smoothing, gamma = (double)x.attr->focal_gamma;
  for (int64_t i = 0; i < x.n; i++) {
    row_view z = row_at(l->in[0], logits, i);
    xent_row row = xent_row_of(&x, i);
    double lse = log_sum_exp(&z), even = 0;
    for (int64_t c = 0; e > 0 && c < x.c; c++)
      even += xent_class_weight(&x, c) * (lse - get(&z, c)) / (double)x.c;
    if (row.bad)
      loss = NAN;
    for (int k = 0; k < row.n; k++) {
      double cw = xent_class_weight(&x, row.label[k]), log_p = get(&z, row.label[k]) - lse;
      double focus = gamma > 0 ? pow(-expm1(log_p), gamma) : 1;
      loss += row.factor[k] * ((1 - e) * cw * focus * -log_p + e * even);
      weight += row.factor[k] * (x.attr->weight_per_row ? 1 : cw);
    }
  }
  ig_store_f64(l->out[0], l->node->out[0]->dtype, 0, loss);
  ig_store_f64(l->out[1], l->node->out[1]->dtype, 0, weight);
  return IG_OK;
}

// -d((1-p)^g log p)/dp * p: what multiplies (p_j - [j = y]).
static double focal_slope(double log_p, double gamma) {
  double rest = -expm1(log_p);
  if (gamma == 0)
    return 1;
  return rest > 0 ? pow(rest, gamma) - gamma * pow(rest, gamma - 1) * exp(log_p) * log_p : 0;
}

static ig_status run_xent_bwd(const ig_launch *l) {
  const ig_tensor *logits = l->node->in[1];
  xent_labels x = xent_labels_of(l, 2);
  double seed = ig_load_f64(l->in[0], l->node->in[0]->dtype, 0), e = (double)x.attr->label_smoothing;
  for (int64_t i = 0; i < x.n; i++) {
    row_view z = row_at(l->in[1], logits, i), dz = row_at(l->out[0], l->node->out[0], i);
    xent_row row = xent_row_of(&x, i);
    double lse = log_sum_exp(&z), slope[2] = {0}, all = 0, kept = 0, sum_cw = 0;
    for (int64_t c = 0; c < x.c; c++)
      sum_cw += xent_class_weight(&x, c);
    for (int k = 0; k < row.n; k++) {
      slope[k] = row.factor[k] * (1 - e) * xent_class_weight(&x, row.label[k]) *
                 focal_slope(get(&z, row.label[k]) - lse, (double)x.attr->focal_gamma);
      all += slope[k];
      kept += row.factor[k] * e / (double)x.c;
    }
    for (int64_t c = 0; c < x.c; c++) {
      double d = exp(get(&z, c) - lse) * (all + kept * sum_cw) - kept * xent_class_weight(&x, c);
      for (int k = 0; k < row.n; k++)
        d -= row.label[k] == c ? slope[k] : 0;
      put(&dz, c, row.bad ? NAN : row.n ? seed * d : 0);
    }
  }
  return IG_OK;
}

static double sample_weight(const ig_launch *l, int input, int64_t i) {
  return l->in[input] ? (double)((const float *)l->in[input])[i] : 1;
}

static ig_status run_soft(const ig_launch *l) {
  double loss = 0, weight = 0;
  for (int64_t i = 0; i < l->node->in[0]->shape.d[0]; i++) {
    row_view z = row_at(l->in[0], l->node->in[0], i), t = row_at(l->in[1], l->node->in[1], i);
    double lse = log_sum_exp(&z), s = sample_weight(l, 2, i);
    weight += s;
    for (int64_t c = 0; s != 0 && c < z.c; c++)
      loss += s * get(&t, c) * (lse - get(&z, c));
  }
  ig_store_f64(l->out[0], l->node->out[0]->dtype, 0, loss);
  ig_store_f64(l->out[1], l->node->out[1]->dtype, 0, weight);
  return IG_OK;
}

static ig_status run_soft_bwd(const ig_launch *l) {
  double seed = ig_load_f64(l->in[0], l->node->in[0]->dtype, 0);
  for (int64_t i = 0; i < l->node->in[1]->shape.d[0]; i++) {
    row_view z = row_at(l->in[1], l->node->in[1], i), t = row_at(l->in[2], l->node->in[2], i);
    row_view dz = row_at(l->out[0], l->node->out[0], i);
    double lse = log_sum_exp(&z), s = sample_weight(l, 3, i), sum = 0;
    for (int64_t c = 0; c < z.c; c++)
      sum += get(&t, c);
    for (int64_t c = 0; c < z.c; c++)
      put(&dz, c, s != 0 ? seed * s * (exp(get(&z, c) - lse) * sum - get(&t, c)) : 0);
  }
  return IG_OK;
}

static int64_t rows_of(const ig_tensor *t) {
  int64_t c = t->shape.d[t->shape.n - 1];
  return c ? ig_shape_count(&t->shape) / c : 0;
}

static ig_status run_softmax(const ig_launch *l) {
  for (int64_t i = 0; i < rows_of(l->node->in[0]); i++) {
    row_view x = row_at(l->in[0], l->node->in[0], i), y = row_at(l->out[0], l->node->out[0], i);
    double lse = log_sum_exp(&x);
    for (int64_t c = 0; c < x.c; c++)
      put(&y, c, exp(get(&x, c) - lse));
  }
  return IG_OK;
}

static ig_status run_softmax_bwd(const ig_launch *l) {
  for (int64_t i = 0; i < rows_of(l->node->in[0]); i++) {
    row_view dy = row_at(l->in[0], l->node->in[0], i), y = row_at(l->in[1], l->node->in[1], i);
    row_view dx = row_at(l->out[0], l->node->out[0], i);
    double dot = 0;
    for (int64_t c = 0; c < y.c; c++)
      dot += get(&dy, c) * get(&y, c);
    for (int64_t c = 0; c < y.c; c++)
      put(&dx, c, get(&y, c) * (get(&dy, c) - dot));
  }
  return IG_OK;
}

static ig_status run_mean(const ig_launch *l) {
  double sum = ig_load_f64(l->in[0], l->node->in[0]->dtype, 0);
  double weight = ig_load_f64(l->in[1], l->node->in[1]->dtype, 0);
  ig_store_f64(l->out[0], l->node->out[0]->dtype, 0, weight != 0 ? sum / weight : 0);
  return IG_OK;
}

static ig_status run_mean_bwd(const ig_launch *l) {
  double v[3];
  for (int i = 0; i < 3; i++)
    v[i] = ig_load_f64(l->in[i], l->node->in[i]->dtype, 0);
  ig_store_f64(l->out[0], l->node->out[0]->dtype, 0, v[2] != 0 ? v[0] / v[2] : 0);
  ig_store_f64(l->out[1], l->node->out[1]->dtype, 0, v[2] != 0 ? -v[0] * v[1] / (v[2] * v[2]) : 0);
  return IG_OK;
}

#define REF(op, fn) \
  { .name = op "_ref", .flags = IG_IMPL_REF | IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE, .run = fn }

IG_IMPLS(softmax_xent_ref) = {
    REF("softmax_xent", run_xent),
    REF("softmax_xent_bwd", run_xent_bwd),
    REF("softmax_xent_soft", run_soft),
    REF("softmax_xent_soft_bwd", run_soft_bwd),
    REF("softmax", run_softmax),
    REF("softmax_bwd", run_softmax_bwd),
    REF("loss_mean", run_mean),
    REF("loss_mean_bwd", run_mean_bwd),
    {0},
};
