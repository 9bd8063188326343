// CPU kernel of lars: a pass for the norms (8 bytes an element), a pass for the update (12 read, 8 written).
#include <math.h>

#include "kernels/kernels.h"
#include "kernels/lars/lars.h"
#include "kernels/optim_util/update_cpu.h"

typedef double pair[2];  // partial sums of squares of a piece: weights, gradients

static double *ratios_of(const ig_launch *l, const ig_update *u) {
  return (double *)l->workspace + 2 * ig_update_pieces(u->n, u->n_segments);
}

static void piece_norms(const ig_launch *l, const ig_update *u, const ig_piece *p, const ig_segment *s) {
  const float *w = ig_piece_at(l, p, 0), *g = ig_piece_at(l, p, 1);
  const float multiplier = (float)u->multiplier, l1 = (float)s->l1;
  const int64_t n = p->end - p->begin;
  double lane[IG_LANES] = {0}, sum = 0;
  int64_t i = 0;
  if (!s->adapt)
    return;
  for (; i + IG_LANES <= n; i += IG_LANES)
    for (int k = 0; k < IG_LANES; k++) {
      double d = (double)(g[i + k] * multiplier + l1 * ig_sign_f32(w[i + k]));
      lane[k] += d * d;
    }
  for (; i < n; i++) {
    double d = (double)(g[i] * multiplier + l1 * ig_sign_f32(w[i]));
    lane[0] += d * d;
  }
  for (int k = 0; k < IG_LANES; k++)
    sum += lane[k];
  pair *partial = l->workspace;
  partial[p->number][0] = ig_sum_squares_f32(w, n);
  partial[p->number][1] = sum;
}

// v = keep v + add g; w -= lr (direct g + along v)
typedef struct lars_step {
  float multiplier, decay, l1, ratio, lr, keep, add, direct, along;
} lars_step;

static void with_momentum(float *restrict w, const float *restrict g, float *restrict v, int64_t n, lars_step t) {
  for (int64_t i = 0; i < n; i++) {
    float d = (g[i] * t.multiplier + t.l1 * ig_sign_f32(w[i]) + t.decay * w[i]) * t.ratio;
    float buffer = t.keep * v[i] + t.add * d;
    v[i] = buffer;
    w[i] -= t.lr * (t.direct * d + t.along * buffer);
  }
}

static void without_momentum(float *restrict w, const float *restrict g, int64_t n, lars_step t) {
  for (int64_t i = 0; i < n; i++)
    w[i] -= t.lr * t.ratio * (g[i] * t.multiplier + t.l1 * ig_sign_f32(w[i]) + t.decay * w[i]);
}

static void piece_update(const ig_launch *l, const ig_update *u, const ig_piece *p, const ig_segment *s) {
  const ig_lars_attr *a = l->node->attr;
  const lars_step t = {.multiplier = (float)u->multiplier,
                       .decay = (float)s->weight_decay,
                       .l1 = (float)s->l1,
                       .ratio = (float)ratios_of(l, u)[p->segment],
                       .lr = (float)s->lr,
                       .keep = u->first ? 0 : (float)a->momentum,
                       .add = u->first ? 1 : (float)(1 - a->dampening),
                       .direct = a->nesterov ? 1 : 0,
                       .along = a->nesterov ? (float)a->momentum : 1};
  float *w = ig_piece_at(l, p, 0), *v = ig_piece_at(l, p, 6);
  if (v)
    with_momentum(w, ig_piece_at(l, p, 1), v, p->end - p->begin, t);
  else
    without_momentum(w, ig_piece_at(l, p, 1), p->end - p->begin, t);
}

static ig_status run_lars(const ig_launch *l) {
  const ig_lars_attr *a = l->node->attr;
  const ig_update u = ig_update_of(l);
  double *ratio = ratios_of(l, &u);
  *(float *)l->out[0] = 0;
  if (u.skip)
    return IG_OK;
  ig_for_pieces(l, &u, piece_norms);
  for (int64_t s = 0; s < u.n_segments; s++) {
    const ig_segment seg = ig_segment_of(&u, s);
    ratio[s] = 1;
    if (!seg.adapt)
      continue;
    double w = sqrt(ig_segment_sum(&u, s, l->workspace, 0)), g = sqrt(ig_segment_sum(&u, s, l->workspace, 1));
    if (w > 0 && g > 0)
      ratio[s] = a->trust_coeff * w / (g + seg.weight_decay * w + a->eps);
  }
  ig_update_weights(l, &u, piece_update);
  return IG_OK;
}

IG_IMPLS(lars_cpu) = {
    {.name = "lars_cpu",
     .flags = IG_CPU_FLAGS,
     .isa = IG_ISA_LEVEL,
     .supports = ig_update_supports,
     .prepare = ig_update_prepare_norms,
     .run = run_lars},
    {0},
};
