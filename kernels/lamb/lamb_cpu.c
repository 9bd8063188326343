// CPU kernel of lamb: a pass that updates the moments and sums squares (16 bytes read, 8 written an element), a pass
// that forms u again and updates the weights (12 read, 4 written).
#include <math.h>

#include "kernels/kernels.h"
#include "kernels/lamb/lamb.h"
#include "kernels/optim_util/update_cpu.h"

typedef double pair[2];  // partial sums of squares of a piece: weights, u

typedef struct lamb_step {
  float multiplier, l1, decay, beta1, rest1, beta2, rest2;
  float rate, root, eps;  // u = rate m / (root sqrt(v) + eps) + decay w: both corrections are in rate and root
} lamb_step;

static lamb_step step_of(const ig_launch *l, const ig_update *u, const ig_segment *s) {
  const ig_lamb_attr *a = l->node->attr;
  return (lamb_step){.multiplier = (float)u->multiplier,
                     .l1 = (float)s->l1,
                     .decay = (float)s->weight_decay,
                     .beta1 = (float)a->beta1,
                     .rest1 = (float)(1 - a->beta1),
                     .beta2 = (float)a->beta2,
                     .rest2 = (float)(1 - a->beta2),
                     .rate = (float)(1 / (1 - pow(a->beta1, u->step))),
                     .root = (float)(1 / sqrt(1 - pow(a->beta2, u->step))),
                     .eps = (float)a->eps};
}

static double *ratios_of(const ig_launch *l, const ig_update *u) {
  return (double *)l->workspace + 2 * ig_update_pieces(u->n, u->n_segments);
}

static inline float direction(float w, float m, float v, const lamb_step *t) {
  return t->rate * m / (sqrtf(v) * t->root + t->eps) + t->decay * w;
}

static void update_moments(const float *restrict w, const float *restrict g, float *restrict m, float *restrict v,
                           int64_t n, lamb_step t) {
  for (int64_t i = 0; i < n; i++) {
    float d = g[i] * t.multiplier + t.l1 * ig_sign_f32(w[i]);
    m[i] = t.beta1 * m[i] + t.rest1 * d;
    v[i] = t.beta2 * v[i] + t.rest2 * d * d;
  }
}

static void piece_moments(const ig_launch *l, const ig_update *u, const ig_piece *p, const ig_segment *s) {
  const float *w = ig_piece_at(l, p, 0);
  float *m = ig_piece_at(l, p, 6), *v = ig_piece_at(l, p, 7);
  const int64_t n = p->end - p->begin;
  const lamb_step t = step_of(l, u, s);
  double lane[IG_LANES] = {0}, sum = 0;
  int64_t i = 0;
  update_moments(w, ig_piece_at(l, p, 1), m, v, n, t);
  if (!s->adapt)
    return;
  for (; i + IG_LANES <= n; i += IG_LANES)
    for (int k = 0; k < IG_LANES; k++) {
      double d = (double)direction(w[i + k], m[i + k], v[i + k], &t);
      lane[k] += d * d;
    }
  for (; i < n; i++) {
    double d = (double)direction(w[i], m[i], v[i], &t);
    lane[0] += d * d;
  }
  for (int k = 0; k < IG_LANES; k++)
    sum += lane[k];
  pair *partial = l->workspace;
  partial[p->number][0] = ig_sum_squares_f32(w, n);
  partial[p->number][1] = sum;
}

static void update_weights(float *restrict w, const float *restrict m, const float *restrict v, int64_t n, float rate,
                           lamb_step t) {
  for (int64_t i = 0; i < n; i++)
    w[i] -= rate * direction(w[i], m[i], v[i], &t);
}

static void piece_weights(const ig_launch *l, const ig_update *u, const ig_piece *p, const ig_segment *s) {
  update_weights(ig_piece_at(l, p, 0), ig_piece_at(l, p, 6), ig_piece_at(l, p, 7), p->end - p->begin,
                 (float)(s->lr * ratios_of(l, u)[p->segment]), step_of(l, u, s));
}

static ig_status run_lamb(const ig_launch *l) {
  const ig_update u = ig_update_of(l);
  double *ratio = ratios_of(l, &u);
  *(float *)l->out[0] = 0;
  if (u.skip)
    return IG_OK;
  ig_for_pieces(l, &u, piece_moments);
  for (int64_t s = 0; s < u.n_segments; s++) {
    ratio[s] = 1;
    if (!ig_segment_of(&u, s).adapt)
      continue;
    double w = ig_segment_sum(&u, s, l->workspace, 0), d = ig_segment_sum(&u, s, l->workspace, 1);
    if (w > 0 && d > 0)
      ratio[s] = sqrt(w) / sqrt(d);
  }
  ig_update_weights(l, &u, piece_weights);
  return IG_OK;
}

IG_IMPLS(lamb_cpu) = {
    {.name = "lamb_cpu",
     .flags = IG_CPU_FLAGS,
     .isa = IG_ISA_LEVEL,
     .supports = ig_update_supports,
     .prepare = ig_update_prepare_norms,
     .run = run_lamb},
    {0},
};
