// What the hand-written kernels share: element types, 128-bit access, reductions, launches. Rule: arithmetic is fp32
// whatever the storage; a kernel never allocates and never waits; sums have a fixed order.
#ifndef IG_KERNELS_CUDA_KERNEL_CUH
#define IG_KERNELS_CUDA_KERNEL_CUH

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <stdio.h>

#include "kernels/kernels.h"
#include "runtime/device/cuda/cuda_check.h"

typedef __nv_bfloat16 ig_bf16;
typedef __half ig_f16;

#define IG_WARP 32

// ---- numbers ----
static __device__ __forceinline__ float ig_up(float x) { return x; }
static __device__ __forceinline__ float ig_up(ig_bf16 x) { return __bfloat162float(x); }
static __device__ __forceinline__ float ig_up(ig_f16 x) { return __half2float(x); }
template <class T>
static __device__ __forceinline__ T ig_down(float x);
template <>
__device__ __forceinline__ float ig_down<float>(float x) {
  return x;
}
template <>
__device__ __forceinline__ ig_bf16 ig_down<ig_bf16>(float x) {
  return __float2bfloat16_rn(x);
}
template <>
__device__ __forceinline__ ig_f16 ig_down<ig_f16>(float x) {
  return __float2half_rn(x);
}

// N neighbours (a power of two) at p, which is aligned to N elements: 128-bit loads where they fill one.
template <class T, int N>
struct alignas(sizeof(T) * N < 16 ? sizeof(T) * N : 16) ig_pack {
  T v[N];
};
template <int N, class T>
static __device__ __forceinline__ void ig_load(float (&x)[N], const T *p) {
  const ig_pack<T, N> pack = *reinterpret_cast<const ig_pack<T, N> *>(p);
#pragma unroll
  for (int i = 0; i < N; i++)
    x[i] = ig_up(pack.v[i]);
}
// The same from element `at` of an array of any float type, known at run time alone.
template <int N>
static __device__ __forceinline__ void ig_load_any(float (&x)[N], const void *p, ig_dtype type, int64_t at) {
  if (type == IG_BF16)
    ig_load<N>(x, (const ig_bf16 *)p + at);
  else if (type == IG_F16)
    ig_load<N>(x, (const ig_f16 *)p + at);
  else
    ig_load<N>(x, (const float *)p + at);
}
template <int N, class T>
static __device__ __forceinline__ void ig_store(T *p, const float (&x)[N]) {
  ig_pack<T, N> pack;
#pragma unroll
  for (int i = 0; i < N; i++)
    pack.v[i] = ig_down<T>(x[i]);
  *reinterpret_cast<ig_pack<T, N> *>(p) = pack;
}

// ---- sums of a warp and of a block, in a fixed order; every thread of the block takes part ----
static __device__ __forceinline__ float ig_warp_sum(float x) {
#pragma unroll
  for (int offset = IG_WARP / 2; offset; offset /= 2)
    x += __shfl_xor_sync(0xffffffffu, x, offset);
  return x;
}
static __device__ __forceinline__ double ig_warp_sum(double x) {
#pragma unroll
  for (int offset = IG_WARP / 2; offset; offset /= 2)
    x += __shfl_xor_sync(0xffffffffu, x, offset);
  return x;
}
static __device__ __forceinline__ float ig_warp_max(float x) {
#pragma unroll
  for (int offset = IG_WARP / 2; offset; offset /= 2)
    x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, offset));
  return x;
}
// The sum in every thread. scratch: 32 elements of shared memory, free again after the call. THREADS: of the block, a
// multiple of 32.
template <int THREADS, class T>
static __device__ __forceinline__ T ig_block_sum(T x, T *scratch) {
  static_assert(THREADS % IG_WARP == 0 && THREADS <= 1024, "whole warps");
  x = ig_warp_sum(x);
  if (THREADS == IG_WARP)
    return x;
  if (threadIdx.x % IG_WARP == 0)
    scratch[threadIdx.x / IG_WARP] = x;
  __syncthreads();
  x = threadIdx.x % IG_WARP < THREADS / IG_WARP ? scratch[threadIdx.x % IG_WARP] : T(0);
  x = ig_warp_sum(x);
  __syncthreads();
  return x;
}

// ---- host side ----
static inline cudaStream_t ig_stream_of(const ig_launch *l) {
  return (cudaStream_t)(l->stream ? l->stream : l->device->stream);
}
static inline unsigned ig_blocks(int64_t n, int64_t each) { return (unsigned)((n + each - 1) / each); }

// For supports: every present float operand and result is f32, bf16 or f16 (bf16 from sm_80 on).
static inline bool ig_cuda_supports(const ig_node *n, const ig_device_caps *caps, char *why, size_t why_bytes) {
  for (int i = 0; i < n->n_in + n->n_out; i++) {
    const ig_tensor *t = i < n->n_in ? n->in[i] : n->out[i - n->n_in];
    if (t && t->dtype == IG_BF16 && !caps->bf16) {
      snprintf(why, why_bytes, "%s is bf16, which needs compute capability 8.0", t->name);
      return false;
    }
    if (t && t->dtype == IG_F64) {
      snprintf(why, why_bytes, "%s is f64, expected f32, bf16 or f16", t->name);
      return false;
    }
  }
  return true;
}

// IG_BY_TYPE(dtype, T, statement): the statement with T as the element type.
#define IG_BY_TYPE(dtype, T, ...) \
  switch (dtype) {                \
    case IG_BF16: {               \
      typedef ig_bf16 T;          \
      __VA_ARGS__;                \
    } break;                      \
    case IG_F16: {                \
      typedef ig_f16 T;           \
      __VA_ARGS__;                \
    } break;                      \
    default: {                    \
      typedef float T;            \
      __VA_ARGS__;                \
    }                             \
  }

// A table of implementations in a .cu: IG_CUDA_IMPLS(eltwise_cuda) = {IG_CUDA_IMPL(relu, prepare, run), {0}};
#define IG_CUDA_IMPLS(stem)                \
  extern "C" const ig_impl stem##_impls[]; \
  extern "C" const ig_impl stem##_impls[]
#define IG_CUDA_IMPL_FLAGS(name_, flags_, supports_, prepare_, run_) \
  { name_ "_cuda", flags_, IG_ISA_BASE, supports_, prepare_, run_, NULL }
// All operands plain, deterministic, any float type.
#define IG_CUDA_IMPL(name_, run_) \
  IG_CUDA_IMPL_FLAGS(name_, IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE, ig_cuda_supports, NULL, run_)

#endif
