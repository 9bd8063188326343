// Reference of rmsprop, in double.
#include <math.h>

#include "kernels/kernels.h"
#include "kernels/optim_util/update_ref.h"
#include "kernels/rmsprop/rmsprop.h"

static ig_status run_rmsprop(const ig_launch *l) {
  const ig_rmsprop_attr *a = l->node->attr;
  const ig_update u = ig_update_of(l);
  *(float *)l->out[0] = 0;
  for (int64_t s = 0; !u.skip && s < u.n_segments; s++) {
    const ig_segment seg = ig_segment_of(&u, s);
    for (int64_t i = u.start[s]; i < ig_ref_segment_end(&u, s); i++) {
      double w = ig_ref_get(l, 0, i), g = ig_ref_gradient(l, &u, &seg, i) + seg.weight_decay * w;
      double v = a->alpha * ig_ref_get(l, 6, i) + (1 - a->alpha) * g * g, variance = v;
      ig_ref_put(l, 6, i, v);
      if (a->centered) {
        double mean = a->alpha * ig_ref_get(l, 7, i) + (1 - a->alpha) * g;
        ig_ref_put(l, 7, i, mean);
        variance = fmax(v - mean * mean, 0);
      }
      double r = g / (sqrt(variance) + a->eps);
      if (a->momentum > 0) {
        r += a->momentum * ig_ref_get(l, 8, i);
        ig_ref_put(l, 8, i, r);
      }
      ig_ref_put_weight(l, i, w - seg.lr * r);
    }
  }
  return IG_OK;
}

IG_IMPLS(rmsprop_ref) = {IG_REF_UPDATE("rmsprop", run_rmsprop), {0}};
