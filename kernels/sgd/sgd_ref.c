// Reference of sgd, in double.
#include "kernels/kernels.h"
#include "kernels/optim_util/update_ref.h"
#include "kernels/sgd/sgd.h"

static ig_status run_sgd(const ig_launch *l) {
  const ig_sgd_attr *a = l->node->attr;
  const ig_update u = ig_update_of(l);
  *(float *)l->out[0] = 0;
  for (int64_t s = 0; !u.skip && s < u.n_segments; s++) {
    const ig_segment seg = ig_segment_of(&u, s);
    for (int64_t i = u.start[s]; i < ig_ref_segment_end(&u, s); i++) {
      double w = ig_ref_get(l, 0, i), g = ig_ref_gradient(l, &u, &seg, i) + seg.weight_decay * w, d = g;
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

IG_IMPLS(sgd_ref) = {IG_REF_UPDATE("sgd", run_sgd), {0}};
