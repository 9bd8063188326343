// The runs of train_step in host memory, for reference and CPU alike: a handful of scalars, and one copy.
#ifndef IG_KERNELS_TRAIN_STEP_RUN_H
#define IG_KERNELS_TRAIN_STEP_RUN_H

#include <string.h>

#include "kernels/kernels.h"
#include "kernels/train_step/train_step_math.h"

static ig_status run_total(const ig_launch *l) {
  float *totals = l->in[0];
  totals[IG_TOTAL_LOSS] += *(const float *)l->in[1];
  totals[IG_TOTAL_WEIGHT] += *(const float *)l->in[2];
  *(float *)l->out[0] = 0;
  return IG_OK;
}
static ig_status run_begin(const ig_launch *l) {
  ig_step_begin_math(l->in[0], l->in[1], l->in[2], *(const double *)l->node->attr, l->out[0]);
  return IG_OK;
}
static ig_status run_end(const ig_launch *l) {
  ig_step_end_math(l->in[0], l->in[1], l->node->attr);
  *(float *)l->out[0] = 0;
  return IG_OK;
}
static ig_status run_restore(const ig_launch *l) {
  if (!(((const float *)l->in[2])[IG_GSCALE_SKIP] < 1))
    memcpy(l->in[0], l->in[1], (size_t)ig_shape_count(&l->node->in[0]->shape) * sizeof(float));
  *(float *)l->out[0] = 0;
  return IG_OK;
}

#define IG_STEP_IMPLS(suffix, extra, level)                                                                             \
  {                                                                                                                     \
    {"step_total" suffix, IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE | extra, level, NULL, NULL, run_total, NULL},     \
        {"step_begin" suffix, IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE | extra, level, NULL, NULL, run_begin, NULL}, \
        {"step_end" suffix, IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE | extra, level, NULL, NULL, run_end, NULL},     \
        {"step_restore" suffix,                                                                                         \
         IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE | extra,                                                           \
         level,                                                                                                         \
         NULL,                                                                                                          \
         NULL,                                                                                                          \
         run_restore,                                                                                                   \
         NULL},                                                                                                         \
        {0},                                                                                                            \
  }

#endif
