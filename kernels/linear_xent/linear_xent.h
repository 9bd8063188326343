// Softmax cross-entropy of a linear layer's logits, chunk by chunk. Rule: logits [P,V] never lie in memory; backward
// makes each chunk again from the log of the sums.
#ifndef IG_KERNELS_LINEAR_XENT_H
#define IG_KERNELS_LINEAR_XENT_H

#include "kernels/softmax_xent/softmax_xent.h"

#ifdef __cplusplus
extern "C" {
#endif

// With z[p,v] = sum_d x[p,d] w[v,d] + bias[v]:
//   sum = sum_p weights[p] (log sum_v exp z[p,v] - z[p,labels[p]]), weight = sum_p weights[p]
// x [P,D]; w [V,D], fp32 parameter or any float type (a compute copy in x's type is made where they differ); bias [V]
// fp32 (f64 under f64) or NULL; labels i32 [P]; weights fp32 [P] or NULL (ones). Rows of weight 0 count nothing,
// whatever their label, and their log of sums is 0; a label outside of [0,V) in any other row makes the loss NaN.
// Logits are fp32 sums whatever x's type; the gradient of w is fp32.
ig_loss ig_linear_xent(ig_graph *g, const char *name, ig_tensor *x, ig_tensor *w, ig_tensor *bias, ig_tensor *labels,
                       ig_tensor *weights);
// Of a loss made by ig_linear_xent: i32 [1], rows of weight != 0 whose largest logit (the first of equal ones) is the
// label's.
ig_tensor *ig_linear_xent_right(const ig_loss *loss);

#ifdef __cplusplus
}
#endif
#endif
