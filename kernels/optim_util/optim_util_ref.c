// Reference of grad_scale and ema, in double.
#include <math.h>

#include "kernels/kernels.h"
#include "kernels/optim_util/optim_util.h"

static ig_status run_scale(const ig_launch *l) {
  const ig_grad_scale_attr *a = l->node->attr;
  double multiplier = (double)((const float *)l->in[1])[IG_HYPER_GRAD_MULTIPLIER];
  double norm = sqrt(ig_load_f64(l->in[0], l->node->in[0]->dtype, 0)) * fabs(multiplier), scale = multiplier;
  if (a->clip > 0)
    scale *= fmin(1, a->clip / (norm + a->clip_eps));
  if (a->max_norm > 0)
    scale /= fmax(1, norm * (scale / multiplier) / a->max_norm);
  float *gscale = l->out[0];
  bool good = isfinite(norm) && isfinite(multiplier);
  gscale[IG_GSCALE_MULTIPLIER] = good && multiplier != 0 ? (float)scale : 0;
  gscale[IG_GSCALE_SKIP] = good ? 0 : 1;
  *(float *)l->out[1] = (float)norm;
  return IG_OK;
}

static ig_status run_ema(const ig_launch *l) {
  ig_dtype type = l->node->in[0]->dtype;
  double rate = (double)((const float *)l->in[2])[IG_HYPER_EMA_RATE];
  *(float *)l->out[0] = 0;
  if (l->in[3] && !(((const float *)l->in[3])[IG_GSCALE_SKIP] < 1))
    return IG_OK;
  for (size_t i = 0; i < (size_t)ig_shape_count(&l->node->in[0]->shape); i++) {
    double e = ig_load_f64(l->in[0], type, i), w = ig_load_f64(l->in[1], type, i);
    ig_store_f64(l->in[0], type, i, rate == 1 ? w : e + rate * (w - e));
  }
  return IG_OK;
}

#define REF_FLAGS (IG_IMPL_REF | IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE)
IG_IMPLS(optim_util_ref) = {
    {.name = "grad_scale_ref", .flags = REF_FLAGS, .run = run_scale},
    {.name = "ema_ref", .flags = REF_FLAGS, .run = run_ema},
    {0},
};
