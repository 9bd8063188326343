// Dropout's draws on a GPU: runtime/base/rng.h and kernels/dropout/dropout.h word for word. Rule: a mask is drawn
// wherever it is needed, never stored.
#ifndef IG_KERNELS_DROPOUT_DRAWS_CUDA_CUH
#define IG_KERNELS_DROPOUT_DRAWS_CUDA_CUH

#include "kernels/cuda_common/cuda_kernel.cuh"
#include "kernels/dropout/dropout.h"

static __device__ __forceinline__ void ig_philox_cuda(uint64_t key, uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3,
                                                      uint32_t (&v)[4]) {
  uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
#pragma unroll
  for (int round = 0; round < 10; round++) {
    const uint32_t n0 = __umulhi(0xCD9E8D57u, c2) ^ c1 ^ k0, n2 = __umulhi(0xD2511F53u, c0) ^ c3 ^ k1;
    c1 = 0xCD9E8D57u * c2;
    c3 = 0xD2511F53u * c0;
    c0 = n0;
    c2 = n2;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  v[0] = c0;
  v[1] = c1;
  v[2] = c2;
  v[3] = c3;
}

static __device__ __forceinline__ uint64_t ig_hash_mix_cuda(uint64_t a, uint64_t b) {
  uint64_t z = a + 0x9E3779B97F4A7C15ull * (b + 1);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}

// All that a node's draws depend on but the sample and the element.
typedef struct ig_draws_cuda {
  const uint64_t *state, *row_keys;  // device memory; row_keys NULL: FIRST_SAMPLE + row
  uint64_t key, threshold;
  float scale;  // 1 / (1 - p); 0 for p = 1
} ig_draws_cuda;

static inline ig_draws_cuda ig_draws_cuda_of(const void *state, const void *row_keys, uint64_t key, float p) {
  ig_draws_cuda d = {(const uint64_t *)state, (const uint64_t *)row_keys, key, ig_dropout_threshold(p),
                     p < 1 ? (float)(1 / (1 - (double)p)) : 0};
  return d;
}

static __device__ __forceinline__ uint64_t ig_draws_sample_cuda(const ig_draws_cuda &d, int64_t row) {
  return d.row_keys ? d.row_keys[row] : d.state[IG_STEP_FIRST_SAMPLE] + (uint64_t)row;
}

// What a thread draws from for elements of one row.
struct ig_row_draws {
  uint64_t mixed, sample, threshold;
  uint32_t step;
  float scale;
  // factor[i] = 0 or scale of element first + i, i < N; first and N multiples of 4, or N = 1 (three draws for nothing).
  template <int N>
  __device__ __forceinline__ void factors(int64_t first, float (&factor)[N]) const {
    uint32_t v[4];
#pragma unroll
    for (int i = 0; i < N; i += 4) {
      ig_philox_cuda(mixed, (uint32_t)(first / 4 + i / 4), (uint32_t)sample, (uint32_t)(sample >> 32), step, v);
#pragma unroll
      for (int j = 0; j < 4 && i + j < N; j++) {
        const uint32_t draw = N > 1            ? v[j]
                              : first % 4 == 0 ? v[0]
                              : first % 4 == 1 ? v[1]
                              : first % 4 == 2 ? v[2]
                                               : v[3];
        factor[i + j] = draw >= threshold ? scale : 0;
      }
    }
  }
};
static __device__ __forceinline__ ig_row_draws ig_row_draws_of(const ig_draws_cuda &d, int64_t row) {
  return {ig_hash_mix_cuda(d.state[IG_STEP_SEED], d.key), ig_draws_sample_cuda(d, row), d.threshold,
          (uint32_t)d.state[IG_STEP_STEP], d.scale};
}
#endif
