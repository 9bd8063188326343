// Reference of the elementwise losses and distillation: any float type, all arithmetic in double, one thread.
#include <math.h>

#include "kernels/kernels.h"
#include "kernels/losses/losses.h"

// Value or slope (d value / d x) at one element; w: weight of positive targets.
typedef double (*element_fn)(double x, double t, double w, const ig_loss_attr *a);

static double sign(double d) { return (d > 0) - (d < 0); }
static double sigmoid(double x) { return x >= 0 ? 1 / (1 + exp(-x)) : exp(x) / (1 + exp(x)); }
static double softplus(double x) { return log1p(exp(-fabs(x))) + fmax(x, 0); }

static double mse(double x, double t, double w, const ig_loss_attr *a) { return (x - t) * (x - t); }
static double mse_slope(double x, double t, double w, const ig_loss_attr *a) { return 2 * (x - t); }
static double l1(double x, double t, double w, const ig_loss_attr *a) { return fabs(x - t); }
static double l1_slope(double x, double t, double w, const ig_loss_attr *a) { return sign(x - t); }

static double smooth_l1(double x, double t, double w, const ig_loss_attr *a) {
  double d = fabs(x - t), beta = (double)a->a;
  return d < beta ? 0.5 * d * d / beta : d - 0.5 * beta;
}
static double smooth_l1_slope(double x, double t, double w, const ig_loss_attr *a) {
  double d = x - t, beta = (double)a->a;
  return fabs(d) < beta ? d / beta : sign(d);
}

static double huber(double x, double t, double w, const ig_loss_attr *a) {
  double d = fabs(x - t), delta = (double)a->a;
  return d <= delta ? 0.5 * d * d : delta * (d - 0.5 * delta);
}
static double huber_slope(double x, double t, double w, const ig_loss_attr *a) {
  double d = x - t, delta = (double)a->a;
  return fabs(d) <= delta ? d : delta * sign(d);
}

static double bce(double x, double t, double w, const ig_loss_attr *a) {
  return w * t * softplus(-x) + (1 - t) * softplus(x);
}
static double bce_slope(double x, double t, double w, const ig_loss_attr *a) {
  return (1 - t) * sigmoid(x) - w * t * sigmoid(-x);
}

static double alpha_of(double t, const ig_loss_attr *a) {
  return a->a < 0 ? 1 : (double)a->a * t + (1 - (double)a->a) * (1 - t);
}
static double focal(double x, double t, double w, const ig_loss_attr *a) {
  double miss = sigmoid(x) * (1 - t) + sigmoid(-x) * t;  // 1 - q
  return alpha_of(t, a) * pow(miss, (double)a->b) * bce(x, t, 1, a);
}
static double focal_slope(double x, double t, double w, const ig_loss_attr *a) {
  double p = sigmoid(x), q = sigmoid(-x), miss = p * (1 - t) + q * t, gamma = (double)a->b;
  if (miss == 0)
    return 0;
  return alpha_of(t, a) * (pow(miss, gamma) * bce_slope(x, t, 1, a) +
                           gamma * pow(miss, gamma - 1) * (1 - 2 * t) * p * q * bce(x, t, 1, a));
}

static double load(const ig_launch *l, int input, int64_t i) {
  return ig_load_f64(l->in[input], l->node->in[input]->dtype, (size_t)i);
}
static void store(const ig_launch *l, int output, int64_t i, double v) {
  ig_store_f64(l->out[output], l->node->out[output]->dtype, (size_t)i, v);
}
static double share_of(const ig_launch *l, int input, int64_t i) { return l->in[input] ? load(l, input, i) : 1; }

static ig_status run_value(const ig_launch *l, element_fn value) {
  const ig_shape *s = &l->node->in[0]->shape;
  int64_t n = s->d[0], d = n ? ig_shape_count(s) / n : 0;
  bool has_w = l->node->n_in > 3 && l->in[3];
  double sum = 0, weight = 0;
  for (int64_t i = 0; i < n; i++) {
    double share = share_of(l, 2, i);
    for (int64_t j = 0; share != 0 && j < d; j++)
      sum += share * value(load(l, 0, i * d + j), load(l, 1, i * d + j), has_w ? load(l, 3, j) : 1, l->node->attr);
    weight += share * (double)d;
  }
  store(l, 0, 0, sum);
  store(l, 1, 0, weight);
  return IG_OK;
}

static ig_status run_slope(const ig_launch *l, element_fn slope) {
  const ig_shape *s = &l->node->in[1]->shape;
  int64_t n = s->d[0], d = n ? ig_shape_count(s) / n : 0;
  bool has_w = l->node->n_in > 4 && l->in[4];
  for (int64_t i = 0; i < n; i++) {
    double share = share_of(l, 3, i), seed = load(l, 0, 0);
    for (int64_t k = i * d; k < (i + 1) * d; k++)
      store(l, 0, k,
            share != 0
                ? seed * share * slope(load(l, 1, k), load(l, 2, k), has_w ? load(l, 4, k - i * d) : 1, l->node->attr)
                : 0);
  }
  return IG_OK;
}

// log sum_c exp(x_c / T) of row i.
static double log_sum_exp(const ig_launch *l, int input, int64_t i, int64_t d, double temperature) {
  double most = load(l, input, i * d) / temperature, sum = 0;
  for (int64_t j = 1; j < d; j++)
    most = fmax(most, load(l, input, i * d + j) / temperature);
  for (int64_t j = 0; j < d; j++)
    sum += exp(load(l, input, i * d + j) / temperature - most);
  return most + log(sum);
}

static ig_status run_kd(const ig_launch *l) {
  int64_t n = l->node->in[0]->shape.d[0], d = l->node->in[0]->shape.d[1];
  double sum = 0, weight = 0, temperature = (double)((const ig_loss_attr *)l->node->attr)->a;
  for (int64_t i = 0; i < n; i++) {
    double share = share_of(l, 2, i), zx = log_sum_exp(l, 0, i, d, temperature), row = 0;
    double zt = log_sum_exp(l, 1, i, d, temperature);
    for (int64_t k = i * d; k < (i + 1) * d; k++) {
      double log_p = load(l, 0, k) / temperature - zx, log_q = load(l, 1, k) / temperature - zt;
      row += exp(log_q) * (log_q - log_p);
    }
    sum += share != 0 ? share * temperature * temperature * row : 0;
    weight += share;
  }
  store(l, 0, 0, sum);
  store(l, 1, 0, weight);
  return IG_OK;
}

static ig_status run_kd_bwd(const ig_launch *l) {
  int64_t n = l->node->in[1]->shape.d[0], d = l->node->in[1]->shape.d[1];
  double temperature = (double)((const ig_loss_attr *)l->node->attr)->a;
  for (int64_t i = 0; i < n; i++) {
    double share = share_of(l, 3, i), scale = load(l, 0, 0) * share * temperature;
    double zx = log_sum_exp(l, 1, i, d, temperature), zt = log_sum_exp(l, 2, i, d, temperature);
    for (int64_t k = i * d; k < (i + 1) * d; k++)
      store(l, 0, k,
            share != 0 ? scale * (exp(load(l, 1, k) / temperature - zx) - exp(load(l, 2, k) / temperature - zt)) : 0);
  }
  return IG_OK;
}

#define RUN(loss)                                                                \
  static ig_status run_##loss(const ig_launch *l) { return run_value(l, loss); } \
  static ig_status run_##loss##_bwd(const ig_launch *l) { return run_slope(l, loss##_slope); }
RUN(mse)
RUN(l1)
RUN(smooth_l1)
RUN(huber)
RUN(bce)
RUN(focal)

#define REF(op, fn)                                                                                                  \
  {.name = op "_ref", .flags = IG_IMPL_REF | IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE, .run = run_##fn}, {        \
    .name = op "_bwd_ref", .flags = IG_IMPL_REF | IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE, .run = run_##fn##_bwd \
  }

IG_IMPLS(losses_ref) = {
    REF("mse_loss", mse),
    REF("l1_loss", l1),
    REF("smooth_l1_loss", smooth_l1),
    REF("huber_loss", huber),
    REF("bce_loss", bce),
    REF("sigmoid_focal_loss", focal),
    REF("kd_loss", kd),
    {0},
};
