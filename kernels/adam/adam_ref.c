// Reference of adam, in double.
#include <math.h>

#include "kernels/adam/adam.h"
#include "kernels/kernels.h"
#include "kernels/optim_util/update_ref.h"

static ig_status run_adam(const ig_launch *l) {
  const ig_adam_attr *a = l->node->attr;
  const ig_update u = ig_update_of(l);
  const double correct1 = 1 - pow(a->beta1, u.step), correct2 = 1 - pow(a->beta2, u.step);
  *(float *)l->out[0] = 0;
  for (int64_t s = 0; !u.skip && s < u.n_segments; s++) {
    const ig_segment seg = ig_segment_of(&u, s);
    for (int64_t i = u.start[s]; i < ig_ref_segment_end(&u, s); i++) {
      double w = ig_ref_get(l, 0, i), g = ig_ref_gradient(l, &u, &seg, i);
      if (a->decoupled)
        w *= 1 - seg.lr * seg.weight_decay;
      else
        g += seg.weight_decay * w;
      double m = a->beta1 * ig_ref_get(l, 6, i) + (1 - a->beta1) * g;
      double v = a->beta2 * ig_ref_get(l, 7, i) + (1 - a->beta2) * g * g;
      ig_ref_put(l, 6, i, m);
      ig_ref_put(l, 7, i, v);
      ig_ref_put_weight(l, i, w - seg.lr * (m / correct1) / (sqrt(v / correct2) + a->eps));
    }
  }
  return IG_OK;
}

IG_IMPLS(adam_ref) = {IG_REF_UPDATE("adam", run_adam), {0}};
