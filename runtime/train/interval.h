// Confidence intervals of shares. Rule: pure functions.
#ifndef IG_TRAIN_INTERVAL_H
#define IG_TRAIN_INTERVAL_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ig_interval {
  double low, high;
} ig_interval;

// Wilson's score interval (E. B. Wilson, JASA 1927) of z standard errors for `hits` of `n` independent trials,
// 0 <= hits <= n: with p = hits / n, (p + z^2/2n -+ z sqrt(p (1-p) / n + z^2/4n^2)) / (1 + z^2/n). n = 0 gives [0, 1].
ig_interval ig_interval_wilson(int64_t hits, int64_t n, double z);
// At 95 %: z = 1.96.
ig_interval ig_interval_wilson95(int64_t hits, int64_t n);

#ifdef __cplusplus
}
#endif
#endif
