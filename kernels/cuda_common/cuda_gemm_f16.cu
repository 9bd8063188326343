// Instances of the matrix product on f16.
#include "kernels/cuda_common/cuda_gemm_16.cuh"

extern "C" ig_status ig_gemm_f16(const ig_gemm_launch *l, int ready) {
  return launch_16<ig_f16, IG_MATH_F16>(l, ready);
}
