// Philox4x32-10 (Salmon et al., SC'11): counter-based random numbers. Rule: no generator has a state; every draw is a
// pure function of (seed, stream, counter), so threads, ranks and restarts change nothing.
#ifndef IG_BASE_RNG_H
#define IG_BASE_RNG_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ig_philox4 {
  uint32_t v[4];
} ig_philox4;

// Four 32-bit numbers for 128-bit counter (c0..c3) and 64-bit key.
static inline ig_philox4 ig_philox(uint64_t key, uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3) {
  uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
  for (int round = 0; round < 10; round++) {
    uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
    uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
    c0 = n0, c1 = (uint32_t)p1, c2 = n2, c3 = (uint32_t)p0;
    k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
  }
  return (ig_philox4){{c0, c1, c2, c3}};
}

// Uniform in [0,1) with 24 bits.
static inline float ig_uniform_f32(uint32_t bits) { return (float)(bits >> 8) * (1.0f / 16777216.0f); }

// FNV-1a 64 of a string: the op key of a node (hash of its name) and of seeds by purpose.
static inline uint64_t ig_hash_str(const char *s) {
  uint64_t h = 0xCBF29CE484222325ull;
  for (; *s; s++)
    h = (h ^ (uint8_t)*s) * 0x100000001B3ull;
  return h;
}
// Mixes two 64-bit values (splitmix64 finaliser): derives sub-keys.
static inline uint64_t ig_hash_mix(uint64_t a, uint64_t b) {
  uint64_t z = a + 0x9E3779B97F4A7C15ull * (b + 1);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}

// Sequential convenience over Philox for host-side draws of one sample: ig_rng r = ig_rng_make(seed, stream, index).
typedef struct ig_rng {
  uint64_t key, index;
  uint32_t count;  // blocks used
  uint32_t left;   // numbers left in block
  ig_philox4 block;
} ig_rng;
static inline ig_rng ig_rng_make(uint64_t seed, uint64_t stream, uint64_t index) {
  ig_rng r = {ig_hash_mix(seed, stream), index, 0, 0, {{0, 0, 0, 0}}};
  return r;
}
static inline uint32_t ig_rng_u32(ig_rng *r) {
  if (r->left == 0) {
    r->block = ig_philox(r->key, r->count++, (uint32_t)r->index, (uint32_t)(r->index >> 32), 0);
    r->left = 4;
  }
  return r->block.v[4 - r->left--];
}
static inline float ig_rng_uniform(ig_rng *r) { return ig_uniform_f32(ig_rng_u32(r)); }
// Integer in [0,n), n > 0, by multiply-shift (bias below n / 2^32).
static inline uint32_t ig_rng_below(ig_rng *r, uint32_t n) { return (uint32_t)(((uint64_t)ig_rng_u32(r) * n) >> 32); }
// Standard normal (Box-Muller) and Beta(a,a) (for mixup), in rng.c.
float ig_rng_normal(ig_rng *r);
float ig_rng_beta(ig_rng *r, float a);
// out[0..n) = scale times the next n draws of ig_rng_normal, several times faster (rng_normals.c); a float may differ
// in its last bit. r must stand at the begin of a block of four draws; after an odd n the rest of its block is dropped.
void ig_rng_normals(ig_rng *r, float scale, float *out, int64_t n);

// Position -> element of a pseudo-random permutation of 0..n-1 keyed by `key` (cycle-walking Feistel network): O(1)
// seek.
uint64_t ig_permute(uint64_t key, uint64_t n, uint64_t position);

#ifdef __cplusplus
}
#endif
#endif
