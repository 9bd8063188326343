// Attributes of the rows sum and sum_bwd, for this folder's files alone.
#ifndef IG_KERNELS_REDUCE_ATTR_H
#define IG_KERNELS_REDUCE_ATTR_H

#include "runtime/graph/tensor.h"

typedef struct ig_sum_attr {
  int leading;  // 0 = all dimensions
  bool mean;
} ig_sum_attr;

typedef struct ig_sum_bwd_attr {
  double scale;
  ig_shape shape;  // of x
  ig_dtype dtype;
} ig_sum_bwd_attr;

#endif
