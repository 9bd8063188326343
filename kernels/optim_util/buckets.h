// Items (tokens, chosen rows) sorted by a small integer, in a fixed order: what deterministic scatters walk over.
// Rule: items of one bucket stay in their order; keys outside of [0, n_buckets) are in none.
#ifndef IG_KERNELS_BUCKETS_H
#define IG_KERNELS_BUCKETS_H

#include <stdint.h>
#include <string.h>

typedef struct ig_buckets {
  int32_t *first;  // [n_buckets + 1]: items of bucket b are order[first[b]] .. order[first[b+1]-1]
  int32_t *order;  // [n_items]
} ig_buckets;

static inline size_t ig_buckets_bytes(int64_t n_buckets, int64_t n_items) {
  return (size_t)(n_buckets + 2 + n_items) * sizeof(int32_t);
}

// memory: ig_buckets_bytes. Counting sort.
static inline ig_buckets ig_buckets_of(void *memory, int64_t n_buckets, int64_t n_items, const int32_t *keys) {
  ig_buckets b = {(int32_t *)memory, (int32_t *)memory + n_buckets + 2};
  memset(b.first, 0, (size_t)(n_buckets + 2) * sizeof *b.first);
  for (int64_t i = 0; i < n_items; i++)
    if (keys[i] >= 0 && keys[i] < n_buckets)
      b.first[keys[i] + 2]++;
  for (int64_t v = 2; v < n_buckets + 2; v++)
    b.first[v] += b.first[v - 1];
  // first[v + 1] is now where bucket v starts, and after the next loop where it ends.
  for (int64_t i = 0; i < n_items; i++)
    if (keys[i] >= 0 && keys[i] < n_buckets)
      b.order[b.first[keys[i] + 1]++] = (int32_t)i;
  return b;
}

#endif
