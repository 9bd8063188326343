// Tensor-core products and copies to shared memory, one function an instruction. Rule: where an architecture lacks the
// instruction, the function does the same with what there is (sm_75: no cp.async, products of half the depth), so that
// kernels are written once.
//
// Fragments of a 16x8 product (g = lane / 4, t = lane % 4), w = elements in 32 bits:
//   a[r]: row g + 8 (r & 1), columns t w .. + 4 w (r / 2);  b[r]: rows t w .. + 4 w r, column g;
//   c[r]: row g + 8 (r / 2), column 2 t + (r & 1).
#ifndef IG_KERNELS_CUDA_MMA_CUH
#define IG_KERNELS_CUDA_MMA_CUH

#include <stdint.h>

#include "kernels/cuda_common/cuda_kernel.cuh"

static __device__ __forceinline__ uint32_t ig_shared_address(const void *p) {
  return (uint32_t)__cvta_generic_to_shared(p);
}

// ---- products: c += a b, sums in fp32 ----
// 16x8x16, both 16-bit types.
template <class T>
static __device__ __forceinline__ void ig_mma16(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);
template <>
__device__ __forceinline__ void ig_mma16<ig_f16>(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#if __CUDA_ARCH__ >= 800
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
#pragma unroll
  for (int i = 0; i < 2; i++)
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[2 * i]), "r"(a[2 * i + 1]), "r"(b[i]));
#endif
}
template <>
__device__ __forceinline__ void ig_mma16<ig_bf16>(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#if __CUDA_ARCH__ >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  __trap();  // supports() refuses bf16 below sm_80
#endif
}
// 16x8x8 tf32: operands are fp32 that ig_tf32 has rounded.
static __device__ __forceinline__ void ig_mma_tf32(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#if __CUDA_ARCH__ >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  __trap();  // caps.tf32 is false below sm_80
#endif
}
static __device__ __forceinline__ uint32_t ig_tf32(uint32_t x) {
#if __CUDA_ARCH__ >= 800
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(x) : "f"(__uint_as_float(x)));
#endif
  return x;
}

// ---- four 8x8 matrices of 16-bit (8x4 of 32-bit) elements; lanes 8 i .. 8 i + 7 give the rows of matrix i ----
static __device__ __forceinline__ void ig_ldmatrix(uint32_t (&r)[4], uint32_t row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(row)
               : "memory");
}
// Each transposed; 16-bit elements only.
static __device__ __forceinline__ void ig_ldmatrix_trans(uint32_t (&r)[4], uint32_t row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(row)
               : "memory");
}

// ---- copies to shared memory: BYTES = 8 or 16, zeros where !valid (nothing is read then) ----
template <int BYTES>
static __device__ __forceinline__ void ig_copy_async(uint32_t shared, const void *global, bool valid) {
  static_assert(BYTES == 8 || BYTES == 16, "a copy of 8 or 16 bytes");
#if __CUDA_ARCH__ >= 800
  const int bytes = valid ? BYTES : 0;
  if (BYTES == 16)
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared), "l"(global), "r"(bytes) : "memory");
  else
    asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(shared), "l"(global), "r"(bytes) : "memory");
#else
  if (BYTES == 16) {
    const uint4 v = valid ? *(const uint4 *)global : make_uint4(0, 0, 0, 0);
    asm volatile("st.shared.v4.b32 [%0], {%1,%2,%3,%4};" ::"r"(shared), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w)
                 : "memory");
  } else {
    const uint2 v = valid ? *(const uint2 *)global : make_uint2(0, 0);
    asm volatile("st.shared.v2.b32 [%0], {%1,%2};" ::"r"(shared), "r"(v.x), "r"(v.y) : "memory");
  }
#endif
}
static __device__ __forceinline__ void ig_copy_commit(void) {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
// Until at most LEFT of this thread's groups are on their way.
template <int LEFT>
static __device__ __forceinline__ void ig_copy_wait(void) {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
#endif
}

// ---- shared tiles of 16-byte chunks; where chunk `chunk` of row `row` lies, in bytes ----
// Rows of 64 bytes: chunks change places with the pair of rows, so that eight rows' equal chunks (ldmatrix) and two
// whole rows (a copy's eight lanes) each lie in all 32 banks.
static __device__ __forceinline__ uint32_t ig_tile64(int row, int chunk) {
  return (uint32_t)(row * 64 + ((chunk ^ (row >> 1 & 3)) << 4));
}
// Rows of PITCH >= 128 bytes: by the row itself. FOUR: of 32-bit elements, read 4 rows x 8 elements by single words.
template <int PITCH, bool FOUR>
static __device__ __forceinline__ uint32_t ig_tile_wide(int row, int chunk) {
  return (uint32_t)(row * PITCH + ((chunk ^ (FOUR ? (row & 3) * 2 : row & 7)) << 4));
}
#endif
