// The oracle of linear_xent: doubles, any floating-point type; logits are made again wherever they are needed.
#include <math.h>

#include "kernels/kernels.h"
#include "kernels/linear_xent/linear_xent_node.h"

// Where x, w and bias stand among the operands.
typedef struct logits {
  const ig_launch *l;
  int x;
  int64_t P, V, D;
} logits;

static double get(const ig_launch *l, int i, int64_t at) {
  return ig_load_f64(l->in[i], l->node->in[i]->dtype, (size_t)at);
}
static void put(const ig_launch *l, int i, int64_t at, double v) {
  ig_store_f64(l->out[i], l->node->out[i]->dtype, (size_t)at, v);
}

static logits logits_of(const ig_launch *l, int x) {
  return (logits){l, x, l->node->in[x]->shape.d[0], l->node->in[x + 1]->shape.d[0], l->node->in[x]->shape.d[1]};
}

static double logit(const logits *z, int64_t p, int64_t v) {
  double sum = z->l->in[z->x + 2] ? get(z->l, z->x + 2, v) : 0;
  for (int64_t i = 0; i < z->D; i++)
    sum += get(z->l, z->x, p * z->D + i) * get(z->l, z->x + 1, v * z->D + i);
  return sum;
}

static ig_status linear_xent_ref(const ig_launch *l) {
  const logits z = logits_of(l, F_X);
  const int32_t *labels = l->in[F_LABELS];
  double loss = 0, weight = 0;
  int32_t right = 0;
  for (int64_t p = 0; p < z.P; p++) {
    const double w = l->in[F_WEIGHTS] ? get(l, F_WEIGHTS, p) : 1;
    put(l, O_LSE, p, 0);
    if (w == 0)
      continue;
    double most = logit(&z, p, 0), sum = 0;
    int64_t best = 0;
    for (int64_t v = 1; v < z.V; v++) {
      const double score = logit(&z, p, v);
      best = score > most ? v : best;
      most = fmax(most, score);
    }
    for (int64_t v = 0; v < z.V; v++)
      sum += exp(logit(&z, p, v) - most);
    const double lse = most + log(sum);
    put(l, O_LSE, p, lse);
    weight += w;
    right += best == labels[p];
    loss += xent_is_label(labels[p], z.V) ? w * (lse - logit(&z, p, labels[p])) : NAN;
  }
  put(l, O_SUM, 0, loss);
  put(l, O_WEIGHT, 0, weight);
  *(int32_t *)l->out[O_RIGHT] = right;
  return IG_OK;
}

static double dlogit(const logits *z, int64_t p, int64_t v) {
  const ig_launch *l = z->l;
  const int32_t label = ((const int32_t *)l->in[B_LABELS])[p];
  const double w = l->in[B_WEIGHTS] ? get(l, B_WEIGHTS, p) : 1, dlse = l->in[B_DLSE] ? get(l, B_DLSE, p) : 0;
  double d = l->in[B_DSUM] ? get(l, B_DSUM, 0) * w : 0;
  if (w == 0)
    return 0;
  if (!xent_is_label(label, z->V))
    d = NAN;
  if (d + dlse == 0)
    return label == v ? -d : 0;
  return exp(logit(z, p, v) - get(l, B_LSE, p)) * (d + dlse) - (label == v ? d : 0);
}

static ig_status linear_xent_bwd_ref(const ig_launch *l) {
  const logits z = logits_of(l, B_X);
  enum { COLUMNS = 256 };
  for (int64_t from = 0; from < z.D; from += COLUMNS) {
    const int64_t n = z.D - from < COLUMNS ? z.D - from : COLUMNS;
    for (int64_t v = 0; v < z.V; v++) {
      double dw[COLUMNS] = {0};
      for (int64_t p = 0; p < z.P; p++) {
        const double d = dlogit(&z, p, v);
        for (int64_t i = 0; i < n; i++)
          dw[i] += d * get(l, B_X, p * z.D + from + i);
      }
      for (int64_t i = 0; i < n; i++)
        put(l, 1, v * z.D + from + i, dw[i]);
    }
    for (int64_t p = 0; p < z.P; p++) {
      double dx[COLUMNS] = {0};
      for (int64_t v = 0; v < z.V; v++) {
        const double d = dlogit(&z, p, v);
        for (int64_t i = 0; i < n; i++)
          dx[i] += d * get(l, B_W, v * z.D + from + i);
      }
      for (int64_t i = 0; i < n; i++)
        put(l, 0, p * z.D + from + i, dx[i]);
    }
  }
  put(l, 2, 0, 0);
  for (int64_t v = 0; l->in[B_BIAS] && v < z.V; v++) {
    double sum = 0;
    for (int64_t p = 0; p < z.P; p++)
      sum += dlogit(&z, p, v);
    put(l, 2, v, sum);
  }
  return IG_OK;
}

#define REF(op) \
  { .name = #op "_ref", .flags = IG_IMPL_REF | IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE, .run = op##_ref }
IG_IMPLS(linear_xent_ref) = {REF(linear_xent), REF(linear_xent_bwd), {0}};
