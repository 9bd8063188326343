// The scalars of train_step, one text for reference, CPU and GPU.
#ifndef IG_KERNELS_TRAIN_STEP_MATH_H
#define IG_KERNELS_TRAIN_STEP_MATH_H

#include <math.h>

#include "kernels/optim_util/optim_util.h"
#include "kernels/train_step/train_step.h"

#ifdef __CUDACC__
#define IG_STEP_FN static __device__ __forceinline__
#else
#define IG_STEP_FN static inline
#endif

IG_STEP_FN void ig_step_begin_math(const float *host, const float *totals, const float *scaler, double ema_decay,
                                   float *hyper) {
  const double updates = (double)scaler[IG_SCALER_UPDATES], weight = (double)totals[IG_TOTAL_WEIGHT];
  const double ramp = (1 + updates) / (10 + updates), decay = ramp < ema_decay ? ramp : ema_decay;
  const int counts = totals[IG_TOTAL_LOSS] - totals[IG_TOTAL_LOSS] == 0 && weight > 0;  // inf - inf is NaN
  for (int i = 0; i < IG_N_HYPER; i++)
    hyper[i] = host[i];
  hyper[IG_HYPER_STEP] = (float)(updates + 1);
  hyper[IG_HYPER_GRAD_MULTIPLIER] = counts ? (float)(1 / (weight * (double)scaler[IG_SCALER_SCALE])) : NAN;
  hyper[IG_HYPER_EMA_RATE] = (float)(1 - decay);
}

IG_STEP_FN void ig_step_end_math(float *scaler, const float *gscale, const ig_step_end_attr *a) {
  double scale = (double)scaler[IG_SCALER_SCALE];
  if (gscale[IG_GSCALE_SKIP] < 1) {
    scaler[IG_SCALER_UPDATES] += 1;
    scaler[IG_SCALER_GOOD] += 1;
    if ((double)scaler[IG_SCALER_GOOD] < a->interval)
      return;
    scale *= a->growth;
  } else {
    scaler[IG_SCALER_SKIPS] += 1;
    scale *= a->backoff;
  }
  scaler[IG_SCALER_GOOD] = 0;
  scaler[IG_SCALER_SCALE] = (float)(scale < a->least ? a->least : scale > a->most ? a->most : scale);
}

#endif
