// Offsets of packed sequences, made safe. Rule: what leaves [0,T] or decreases is cut off, so that no row is read out
// of bounds or belongs to two sequences.
#ifndef IG_KERNELS_SEQUENCES_H
#define IG_KERNELS_SEQUENCES_H

#include <stdint.h>

typedef struct ig_sequence {
  int64_t first, last;  // rows first..last-1
} ig_sequence;

// The next sequence after one that ended at `before`: starts where it says, but not before that.
static inline ig_sequence ig_sequence_of(const int32_t *offsets, int64_t b, int64_t T, int64_t before) {
  int64_t first = offsets[b], last = offsets[b + 1];
  first = first < before ? before : first > T ? T : first;
  last = last < first ? first : last > T ? T : last;
  return (ig_sequence){first, last};
}

#endif
