// Instances of the matrix product on bf16.
#include "kernels/cuda_common/cuda_gemm_16.cuh"

extern "C" ig_status ig_gemm_bf16(const ig_gemm_launch *l, int ready) {
  return launch_16<ig_bf16, IG_MATH_BF16>(l, ready);
}
