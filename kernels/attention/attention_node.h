// What the implementations of attention share: operands, lengths, and the draw of a probability.
#ifndef IG_KERNELS_ATTENTION_NODE_H
#define IG_KERNELS_ATTENTION_NODE_H

#include <math.h>

#include "kernels/attention/attention.h"
#include "kernels/dropout/dropout.h"

enum { F_Q, F_K, F_V, F_OFFSETS, F_STATE, F_KEYS, F_N };
enum { B_DO, B_Q, B_K, B_V, B_O, B_LSE, B_DLSE, B_OFFSETS, B_STATE, B_KEYS, B_N };

typedef struct ig_attention_dims {
  int64_t T, H, d, B;
  double scale;
} ig_attention_dims;

// q: the operand that is q; offsets: cu_seqlens.
static inline ig_attention_dims ig_attention_dims_of(const ig_node *n, int q, int offsets) {
  const ig_attention_attr *a = (const ig_attention_attr *)n->attr;
  ig_attention_dims s = {n->in[q]->shape.d[0], a->heads, n->in[q]->shape.d[1] / a->heads,
                         n->in[offsets]->shape.d[0] - 1, 0};
  s.scale = a->scale > 0 ? (double)a->scale : 1 / sqrt((double)s.d);
  return s;
}

// Draws of attention: element `key` (place in its sequence) of sample (row key of the query, head).
static inline uint64_t ig_attention_node_key(uint64_t node_key, int64_t head) {
  return ig_hash_mix(node_key, (uint64_t)head);
}

#endif
