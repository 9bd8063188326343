// Whether this library has machine code or PTX for the GPU at hand: asked once, when the device is opened.
#include "kernels/cuda_common/cuda_kernel.cuh"

static __global__ void probe_kernel(void) {}

extern "C" ig_status ig_cuda_probe_kernel(void);
extern "C" ig_status ig_cuda_probe_kernel(void) {
  cudaFuncAttributes attributes;
  cudaError_t error = cudaFuncGetAttributes(&attributes, probe_kernel);
  if (error == cudaErrorNoKernelImageForDevice || error == cudaErrorInvalidDeviceFunction) {
    cudaGetLastError();
    return ig_fail(IG_ERR_UNSUPPORTED,
                   "device=cuda: this build has no code for this GPU's architecture; build with "
                   "-DINGOT_CUDA_ARCH=NN (compute capability without the point)");
  }
  return error == cudaSuccess ? IG_OK : ig_cuda_fail(error, "cudaFuncGetAttributes");
}
