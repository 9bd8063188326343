// Instances of the matrix product on a 16-bit type, for cuda_gemm_bf16.cu and cuda_gemm_f16.cu.
#include "kernels/cuda_common/cuda_gemm.cuh"

template <class T, ig_gemm_math MATH>
static ig_status launch_16(const ig_gemm_launch *l, int ready) {
  switch (l->pass) {
    case IG_PASS_FORWARD:
      if (l->narrow)
        return gemm_launch<T, MATH, IG_PASS_FORWARD, 1, true>(l, ready);
      return l->tile == 0   ? gemm_launch<T, MATH, IG_PASS_FORWARD, 0, false>(l, ready)
             : l->tile == 1 ? gemm_launch<T, MATH, IG_PASS_FORWARD, 1, false>(l, ready)
                            : gemm_launch<T, MATH, IG_PASS_FORWARD, 2, false>(l, ready);
    case IG_PASS_DATA:
      return l->tile == 0   ? gemm_launch<T, MATH, IG_PASS_DATA, 0, false>(l, ready)
             : l->tile == 1 ? gemm_launch<T, MATH, IG_PASS_DATA, 1, false>(l, ready)
                            : gemm_launch<T, MATH, IG_PASS_DATA, 2, false>(l, ready);
    default:
      if (l->narrow)
        return gemm_launch<T, MATH, IG_PASS_WEIGHTS, 2, true>(l, ready);
      return l->tile == 0 ? gemm_launch<T, MATH, IG_PASS_WEIGHTS, 0, false>(l, ready)
                          : gemm_launch<T, MATH, IG_PASS_WEIGHTS, 2, false>(l, ready);
  }
}
