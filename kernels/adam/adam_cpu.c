// CPU kernel of adam: one pass, 16 bytes read and 12 written an element.
#include <math.h>

#include "kernels/adam/adam.h"
#include "kernels/kernels.h"
#include "kernels/optim_util/update_cpu.h"

typedef struct adam_step {
  float multiplier, l1, coupled;  // g = multiplier gradient + l1 sign(w) + coupled w
  float shrink;                   // w *= shrink first
  float beta1, rest1, beta2, rest2;
  float rate, root, eps;  // w -= rate m / (root sqrt(v) + eps): both corrections are in rate and root
} adam_step;

static void update(float *restrict w, const float *restrict g, float *restrict m, float *restrict v, int64_t n,
                   adam_step t) {
  for (int64_t i = 0; i < n; i++) {
    float d = g[i] * t.multiplier + t.l1 * ig_sign_f32(w[i]) + t.coupled * w[i];
    float first = t.beta1 * m[i] + t.rest1 * d, second = t.beta2 * v[i] + t.rest2 * d * d;
    m[i] = first;
    v[i] = second;
    w[i] = w[i] * t.shrink - t.rate * first / (sqrtf(second) * t.root + t.eps);
  }
}

static void piece_adam(const ig_launch *l, const ig_update *u, const ig_piece *p, const ig_segment *s) {
  const ig_adam_attr *a = l->node->attr;
  const double correct1 = 1 - pow(a->beta1, u->step), correct2 = 1 - pow(a->beta2, u->step);
  const adam_step t = {.multiplier = (float)u->multiplier,
                       .l1 = (float)s->l1,
                       .coupled = a->decoupled ? 0 : (float)s->weight_decay,
                       .shrink = a->decoupled ? (float)(1 - s->lr * s->weight_decay) : 1,
                       .beta1 = (float)a->beta1,
                       .rest1 = (float)(1 - a->beta1),
                       .beta2 = (float)a->beta2,
                       .rest2 = (float)(1 - a->beta2),
                       .rate = (float)(s->lr / correct1),
                       .root = (float)(1 / sqrt(correct2)),
                       .eps = (float)a->eps};
  update(ig_piece_at(l, p, 0), ig_piece_at(l, p, 1), ig_piece_at(l, p, 6), ig_piece_at(l, p, 7), p->end - p->begin, t);
}

static ig_status run_adam(const ig_launch *l) { return ig_update_run(l, piece_adam); }

IG_IMPLS(adam_cpu) = {
    {.name = "adam_cpu", .flags = IG_CPU_FLAGS, .isa = IG_ISA_LEVEL, .supports = ig_update_supports, .run = run_adam},
    {0},
};
