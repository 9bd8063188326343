// CPU kernel of sgd: one pass, 12 bytes read and 8 written an element with momentum.
#include "kernels/kernels.h"
#include "kernels/optim_util/update_cpu.h"
#include "kernels/sgd/sgd.h"

// v = keep v + add g; w -= lr (direct g + along v)
typedef struct sgd_step {
  float multiplier, decay, l1, lr, keep, add, direct, along;
} sgd_step;

static void with_momentum(float *restrict w, const float *restrict g, float *restrict v, int64_t n, sgd_step t) {
  for (int64_t i = 0; i < n; i++) {
    float d = g[i] * t.multiplier + t.l1 * ig_sign_f32(w[i]) + t.decay * w[i];
    float buffer = t.keep * v[i] + t.add * d;
    v[i] = buffer;
    w[i] -= t.lr * (t.direct * d + t.along * buffer);
  }
}

static void without_momentum(float *restrict w, const float *restrict g, int64_t n, sgd_step t) {
  for (int64_t i = 0; i < n; i++)
    w[i] -= t.lr * (g[i] * t.multiplier + t.l1 * ig_sign_f32(w[i]) + t.decay * w[i]);
}

static void piece_sgd(const ig_launch *l, const ig_update *u, const ig_piece *p, const ig_segment *s) {
  const ig_sgd_attr *a = l->node->attr;
  const sgd_step t = {.multiplier = (float)u->multiplier,
                      .decay = (float)s->weight_decay,
                      .l1 = (float)s->l1,
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

static ig_status run_sgd(const ig_launch *l) { return ig_update_run(l, piece_sgd); }

IG_IMPLS(sgd_cpu) = {
    {.name = "sgd_cpu", .flags = IG_CPU_FLAGS, .isa = IG_ISA_LEVEL, .supports = ig_update_supports, .run = run_sgd},
    {0},
};
