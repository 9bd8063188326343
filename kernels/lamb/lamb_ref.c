// Reference of lamb, in double; the second pass forms u again from the stored moments.
#include <math.h>

#include "kernels/kernels.h"
#include "kernels/lamb/lamb.h"
#include "kernels/optim_util/update_ref.h"

static double direction(const ig_launch *l, const ig_update *u, const ig_segment *s, int64_t i) {
  const ig_lamb_attr *a = l->node->attr;
  double m = ig_ref_get(l, 6, i) / (1 - pow(a->beta1, u->step)), v = ig_ref_get(l, 7, i) / (1 - pow(a->beta2, u->step));
  return m / (sqrt(v) + a->eps) + s->weight_decay * ig_ref_get(l, 0, i);
}

static ig_status run_lamb(const ig_launch *l) {
  const ig_lamb_attr *a = l->node->attr;
  const ig_update u = ig_update_of(l);
  *(float *)l->out[0] = 0;
  for (int64_t s = 0; !u.skip && s < u.n_segments; s++) {
    const ig_segment seg = ig_segment_of(&u, s);
    double w_square = 0, u_square = 0, ratio = 1;
    for (int64_t i = u.start[s]; i < ig_ref_segment_end(&u, s); i++) {
      double w = ig_ref_get(l, 0, i), g = ig_ref_gradient(l, &u, &seg, i);
      ig_ref_put(l, 6, i, a->beta1 * ig_ref_get(l, 6, i) + (1 - a->beta1) * g);
      ig_ref_put(l, 7, i, a->beta2 * ig_ref_get(l, 7, i) + (1 - a->beta2) * g * g);
      double d = direction(l, &u, &seg, i);
      w_square += w * w;
      u_square += d * d;
    }
    if (seg.adapt && w_square > 0 && u_square > 0)
      ratio = sqrt(w_square) / sqrt(u_square);
    for (int64_t i = u.start[s]; i < ig_ref_segment_end(&u, s); i++)
      ig_ref_put_weight(l, i, ig_ref_get(l, 0, i) - seg.lr * ratio * direction(l, &u, &seg, i));
  }
  return IG_OK;
}

IG_IMPLS(lamb_ref) = {IG_REF_UPDATE("lamb", run_lamb), {0}};
