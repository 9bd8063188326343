// Reference of lars, in double.
#include <math.h>

#include "kernels/kernels.h"
#include "kernels/lars/lars.h"
#include "kernels/optim_util/update_ref.h"

static ig_status run_lars(const ig_launch *l) {
  const ig_lars_attr *a = l->node->attr;
  const ig_update u = ig_update_of(l);
  *(float *)l->out[0] = 0;
  for (int64_t s = 0; !u.skip && s < u.n_segments; s++) {
    const ig_segment seg = ig_segment_of(&u, s);
    double w_square = 0, g_square = 0, ratio = 1;
    for (int64_t i = u.start[s]; i < ig_ref_segment_end(&u, s); i++) {
      double w = ig_ref_get(l, 0, i), g = ig_ref_gradient(l, &u, &seg, i);
      w_square += w * w;
      g_square += g * g;
    }
    if (seg.adapt && w_square > 0 && g_square > 0)
      ratio = a->trust_coeff * sqrt(w_square) / (sqrt(g_square) + seg.weight_decay * sqrt(w_square) + a->eps);
    for (int64_t i = u.start[s]; i < ig_ref_segment_end(&u, s); i++) {
      double w = ig_ref_get(l, 0, i), g = (ig_ref_gradient(l, &u, &seg, i) + seg.weight_decay * w) * ratio, d = g;
      if (a->momentum > 0) {
        double v = u.first ? g : a->momentum * ig_ref_get(l, 6, i) + (1 - a->dampening) * g;
        ig_ref_put(l, 6, i, v);
        d = a->nesterov ? g + a->momentum * v : v;
      }
      ig_ref_put_weight(l, i, w - seg.lr * d);
    }
  }
  return IG_OK;
}

IG_IMPLS(lars_ref) = {IG_REF_UPDATE("lars", run_lars), {0}};
