// Confidence intervals of shares: the formula of interval.h. Rule: pure functions.
#include "runtime/train/interval.h"

#include <math.h>

ig_interval ig_interval_wilson(int64_t hits, int64_t n, double z) {
  if (n <= 0)
    return (ig_interval){0, 1};
  const double p = (double)hits / (double)n, z2n = z * z / (double)n;
  const double centre = (p + z2n / 2) / (1 + z2n);
  const double half = z * sqrt(p * (1 - p) / (double)n + z2n / (4 * (double)n)) / (1 + z2n);
  // the bound at the edge is exactly the edge; rounding must not move it
  return (ig_interval){hits == 0 ? 0 : fmax(0, centre - half), hits == n ? 1 : fmin(1, centre + half)};
}

ig_interval ig_interval_wilson95(int64_t hits, int64_t n) {
  return ig_interval_wilson(hits, n, 1.959963984540054);  // 97.5 % quantile of the normal distribution
}
