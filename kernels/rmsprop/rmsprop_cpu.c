// CPU kernel of rmsprop: one pass over weights, gradients and one to three buffers.
#include <math.h>

#include "kernels/kernels.h"
#include "kernels/optim_util/update_cpu.h"
#include "kernels/rmsprop/rmsprop.h"

typedef struct rmsprop_step {
  float multiplier, l1, decay, lr, alpha, rest, eps, momentum;
} rmsprop_step;

// Written once; mean and buffer are constants where it is inlined, so that each of the four uses is its own loop.
static inline __attribute__((always_inline)) void update(float *restrict w, const float *restrict g, float *restrict v,
                                                         float *restrict mean, float *restrict buffer, int64_t n,
                                                         rmsprop_step t) {
  for (int64_t i = 0; i < n; i++) {
    float d = g[i] * t.multiplier + t.l1 * ig_sign_f32(w[i]) + t.decay * w[i];
    float square = t.alpha * v[i] + t.rest * d * d, variance = square;
    v[i] = square;
    if (mean) {
      float c = t.alpha * mean[i] + t.rest * d;
      mean[i] = c;
      variance = square - c * c;
      variance = variance > 0 ? variance : 0;
    }
    float r = d / (sqrtf(variance) + t.eps);
    if (buffer) {
      r += t.momentum * buffer[i];
      buffer[i] = r;
    }
    w[i] -= t.lr * r;
  }
}

static void piece_rmsprop(const ig_launch *l, const ig_update *u, const ig_piece *p, const ig_segment *s) {
  const ig_rmsprop_attr *a = l->node->attr;
  const int64_t n = p->end - p->begin;
  const rmsprop_step t = {.multiplier = (float)u->multiplier,
                          .l1 = (float)s->l1,
                          .decay = (float)s->weight_decay,
                          .lr = (float)s->lr,
                          .alpha = (float)a->alpha,
                          .rest = (float)(1 - a->alpha),
                          .eps = (float)a->eps,
                          .momentum = (float)a->momentum};
  float *w = ig_piece_at(l, p, 0), *g = ig_piece_at(l, p, 1), *v = ig_piece_at(l, p, 6);
  float *mean = ig_piece_at(l, p, 7), *buffer = ig_piece_at(l, p, 8);
  if (mean && buffer)
    update(w, g, v, mean, buffer, n, t);
  else if (mean)
    update(w, g, v, mean, NULL, n, t);
  else if (buffer)
    update(w, g, v, NULL, buffer, n, t);
  else
    update(w, g, v, NULL, NULL, n, t);
}

static ig_status run_rmsprop(const ig_launch *l) { return ig_update_run(l, piece_rmsprop); }

IG_IMPLS(rmsprop_cpu) = {
    {.name = "rmsprop_cpu",
     .flags = IG_CPU_FLAGS,
     .isa = IG_ISA_LEVEL,
     .supports = ig_update_supports,
     .run = run_rmsprop},
    {0},
};
