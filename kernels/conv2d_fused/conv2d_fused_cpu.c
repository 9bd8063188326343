// bn_fold on the CPU: a scale an output channel, and one pass over the weights.
#include "kernels/batchnorm/bn_grid.h"
#include "kernels/conv2d_fused/conv2d_fused.h"

static ig_status run(const ig_launch *l) {
  const ig_batchnorm_attr *attr = l->node->attr;
  const ig_shape *s = &l->node->in[0]->shape;
  const int64_t K = s->d[0], n = ig_shape_count(s) / K;
  const float *w = l->in[0], *gamma = l->in[1], *beta = l->in[2], *mean = l->in[3], *var = l->in[4], *bias = l->in[5];
  float *to = l->out[0], *shift = l->out[1];
#pragma omp parallel for schedule(static) num_threads(l->device->caps.threads) if (K * n > 65536)
  for (int64_t k = 0; k < K; k++) {
    const float scale = bn_scale(gamma[k], var[k], attr->eps);
    for (int64_t i = k * n; i < (k + 1) * n; i++)
      to[i] = w[i] * scale;
    shift[k] = (float)((double)beta[k] + ((double)(bias ? bias[k] : 0) - (double)mean[k]) * (double)scale);
  }
  return IG_OK;
}

static bool supports(const ig_node *n, const ig_device_caps *caps, char *why, size_t why_bytes) {
  if (n->in[0]->dtype != IG_F32)
    snprintf(why, why_bytes, "takes f32");
  return n->in[0]->dtype == IG_F32;
}

IG_IMPLS(conv2d_fused_cpu) = {{.name = "bn_fold_cpu",
                               .flags = IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE,
                               .isa = IG_ISA_LEVEL,
                               .supports = supports,
                               .run = run},
                              {0}};
