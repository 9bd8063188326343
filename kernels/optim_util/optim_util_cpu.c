// CPU kernels of grad_scale (scalars) and ema (8 bytes read, 4 written an element).
#include <math.h>

#include "kernels/kernels.h"
#include "kernels/optim_util/fixed.h"
#include "kernels/optim_util/optim_util.h"

static ig_status run_scale(const ig_launch *l) {
  const ig_grad_scale_attr *a = l->node->attr;
  const double multiplier = (double)((const float *)l->in[1])[IG_HYPER_GRAD_MULTIPLIER];
  const double sum = l->node->in[0]->dtype == IG_F64 ? *(const double *)l->in[0] : (double)*(const float *)l->in[0];
  const double norm = sqrt(sum) * fabs(multiplier);
  const bool good = isfinite(norm) && isfinite(multiplier);
  double coefficient = 1;
  if (a->clip > 0 && norm + a->clip_eps > a->clip)
    coefficient = a->clip / (norm + a->clip_eps);
  if (a->max_norm > 0 && norm * coefficient > a->max_norm)
    coefficient = a->max_norm / norm;
  float *gscale = l->out[0];
  gscale[IG_GSCALE_MULTIPLIER] = good ? (float)(multiplier * coefficient) : 0;
  gscale[IG_GSCALE_SKIP] = good ? 0 : 1;
  *(float *)l->out[1] = (float)norm;
  return IG_OK;
}

static bool supports_scale(const ig_node *n, const ig_device_caps *caps, char *why, size_t why_bytes) {
  if (n->in[0]->dtype == IG_F64 || n->in[0]->dtype == IG_F32)
    return true;
  snprintf(why, why_bytes, "the sum is %s, this one takes f64 and f32", ig_dtype_name(n->in[0]->dtype));
  return false;
}

static ig_status run_ema(const ig_launch *l) {
  const int64_t n = ig_shape_count(&l->node->in[0]->shape);
  const float rate = ((const float *)l->in[2])[IG_HYPER_EMA_RATE];
  *(float *)l->out[0] = 0;
  if (l->in[3] && !(((const float *)l->in[3])[IG_GSCALE_SKIP] < 1))
    return IG_OK;
#pragma omp parallel for schedule(static)
  for (int64_t c = 0; c < ig_fixed_chunks(n); c++) {
    float *restrict e = l->in[0];
    const float *restrict w = l->in[1];
    const int64_t begin = c * IG_FIXED_CHUNK, end = ig_min_i64(begin + IG_FIXED_CHUNK, n);
    if (rate == 1)
      memcpy(e + begin, w + begin, (size_t)(end - begin) * sizeof *e);
    else
      for (int64_t i = begin; i < end; i++)
        e[i] += rate * (w[i] - e[i]);
  }
  return IG_OK;
}

#define CPU_FLAGS (IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE)
IG_IMPLS(optim_util_cpu) = {
    {.name = "grad_scale_cpu", .flags = CPU_FLAGS, .isa = IG_ISA_LEVEL, .supports = supports_scale, .run = run_scale},
    {.name = "ema_cpu", .flags = CPU_FLAGS, .isa = IG_ISA_LEVEL, .supports = ig_supports_f32, .run = run_ema},
    {0},
};
