// Dropout on a GPU: a thread owns 4 neighbours of a sample, that is one Philox block; the mask is drawn, never stored.
// Each number read once and written once; about 40 registers; no shared memory; deterministic.
#include "kernels/cuda_common/cuda_kernel.cuh"
#include "kernels/dropout/dropout.h"

#define THREADS 256

// runtime/base/rng.h, on a GPU.
static __device__ __forceinline__ void philox(uint64_t key, uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3,
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
static __device__ __forceinline__ uint64_t hash_mix(uint64_t a, uint64_t b) {
  uint64_t z = a + 0x9E3779B97F4A7C15ull * (b + 1);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}

template <class T>
static __global__ void __launch_bounds__(THREADS) dropout_kernel(T *y, const T *x, const uint64_t *state, uint64_t key,
                                                                 int64_t per_sample, uint64_t threshold, float scale) {
  const int64_t quads = (per_sample + 3) / 4, sample = blockIdx.y;
  const uint64_t mixed = hash_mix(state[IG_STEP_SEED], key), global = state[IG_STEP_FIRST_SAMPLE] + (uint64_t)sample;
  for (int64_t q = (int64_t)blockIdx.x * THREADS + threadIdx.x; q < quads; q += (int64_t)gridDim.x * THREADS) {
    uint32_t draw[4];
    philox(mixed, (uint32_t)q, (uint32_t)global, (uint32_t)(global >> 32), (uint32_t)state[IG_STEP_STEP], draw);
    const int64_t at = sample * per_sample + 4 * q;
    const int n = (int)min((int64_t)4, per_sample - 4 * q);
    for (int i = 0; i < n; i++)
      y[at + i] = draw[i] >= threshold ? ig_down<T>(ig_up(x[at + i]) * scale) : ig_down<T>(0);
  }
}

static ig_status run(const ig_launch *l) {
  const ig_tensor *x = l->node->in[0];
  const float p = *(const float *)l->node->attr, scale = p < 1 ? (float)(1 / (1 - (double)p)) : 0;
  const int64_t samples = x->shape.d[0], count = ig_shape_count(&x->shape);
  if (count == 0)
    return IG_OK;
  const dim3 grid(ig_blocks((count / samples + 3) / 4, THREADS), (unsigned)samples);
  IG_BY_TYPE(x->dtype, T,
             (dropout_kernel<T>
              <<<grid, THREADS, 0, ig_stream_of(l)>>>((T *)l->out[0], (const T *)l->in[0], (const uint64_t *)l->in[1],
                                                      l->node->key, count / samples, ig_dropout_threshold(p), scale)));
  IG_CUDA_LAUNCHED();
  return IG_OK;
}
static bool supports(const ig_node *n, const ig_device_caps *caps, char *why, size_t why_bytes) {
  if (n->in[0]->shape.d[0] > 65535) {
    snprintf(why, why_bytes, "%lld samples, expected at most 65535", (long long)n->in[0]->shape.d[0]);
    return false;
  }
  return ig_cuda_supports(n, caps, why, why_bytes);
}

IG_CUDA_IMPLS(dropout_cuda) = {
    IG_CUDA_IMPL_FLAGS("dropout", IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE, supports, NULL, run), {0}};
