// Instances of the matrix product on fp32: tf32 tensor cores, and FFMA where products may not be rounded.
#include "kernels/cuda_common/cuda_gemm.cuh"

template <ig_conv_pass PASS>
static ig_status pass_of(const ig_gemm_launch *l, int ready) {
  if (l->math == IG_MATH_FFMA)
    return gemm_launch<float, IG_MATH_FFMA, PASS, 1, false>(l, ready);
  return gemm_launch<float, IG_MATH_TF32, PASS, 1, false>(l, ready);
}

extern "C" ig_status ig_gemm_f32(const ig_gemm_launch *l, int ready) {
  switch (l->pass) {
    case IG_PASS_FORWARD:
      return pass_of<IG_PASS_FORWARD>(l, ready);
    case IG_PASS_DATA:
      return pass_of<IG_PASS_DATA>(l, ready);
    default:
      return pass_of<IG_PASS_WEIGHTS>(l, ready);
  }
}
