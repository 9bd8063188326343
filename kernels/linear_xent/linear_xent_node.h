// Operands and results of the rows of linear_xent, and what the implementations read of a row of x.
#ifndef IG_KERNELS_LINEAR_XENT_NODE_H
#define IG_KERNELS_LINEAR_XENT_NODE_H

#include <math.h>

#include "kernels/linear_xent/linear_xent.h"

enum { F_X, F_W, F_BIAS, F_LABELS, F_WEIGHTS, F_N };
enum { O_SUM, O_WEIGHT, O_LSE, O_RIGHT };
enum { B_DSUM, B_DLSE, B_LSE, B_X, B_W, B_BIAS, B_LABELS, B_WEIGHTS, B_N };

// What of row p counts; weights may be NULL.
static inline float xent_weight(const float *weights, int64_t p) { return weights ? weights[p] : 1; }
static inline int xent_is_label(int32_t label, int64_t V) { return label >= 0 && label < V; }

#endif
