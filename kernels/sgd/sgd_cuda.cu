// SGD on a GPU: one pass, 12 bytes read and 8 written an element with momentum (8 and 4 without), 2 more written with a
// copy in 16 bits; 48 registers (32; sm_90a). Prediction, not measured: 85 % of the copy rate, 0.14 ms (0.15 with the
// copy) for ResNet-50's 25.6 million on an H200.
// The walk, shared memory (the step's scalars alone), and that it is deterministic: kernels/optim_util/update_cuda.cuh.
#include "kernels/optim_util/update_cuda.cuh"
#include "kernels/sgd/sgd.h"

// v = keep v + add g; w -= lr (direct g + along v)
template <bool MOMENTUM>
struct sgd_rule {
  static constexpr bool WRITES_MOMENTS = true;
  ig_sgd_attr a;
  __device__ void consts(float *c, double step) const {
    c[0] = step < 1.5 ? 0 : (float)a.momentum;
    c[1] = step < 1.5 ? 1 : (float)(1 - a.dampening);
  }
  __device__ void one(const float *c, const ig_cuda_segment &s, float g, float &w, float *m) const {
    const float d = g + s.decay * w;
    if (!MOMENTUM) {
      w -= s.lr * d;
      return;
    }
    m[0] = c[0] * m[0] + c[1] * d;
    w -= s.lr * (a.nesterov ? d + (float)a.momentum * m[0] : m[0]);
  }
};

static ig_status run(const ig_launch *l) {
  const ig_cuda_update u = ig_cuda_update_of(l);
  const ig_sgd_attr *a = (const ig_sgd_attr *)l->node->attr;
  return u.m[0] ? ig_update_launch<sgd_rule<true>, 1>(l, u, {*a}) : ig_update_launch<sgd_rule<false>, 0>(l, u, {*a});
}

IG_CUDA_IMPLS(sgd_cuda) = {IG_CUDA_UPDATE_IMPL("sgd", NULL, run), {0}};
