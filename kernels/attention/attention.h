// Attention of packed sequences of any lengths. Rule: nothing of size T x T lies in memory: probabilities are made tile
// by tile, and again in backward from the log of their sums.
#ifndef IG_KERNELS_ATTENTION_H
#define IG_KERNELS_ATTENTION_H

#include "runtime/graph/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ig_attention_attr {
  int heads;      // H; d = D / H
  bool causal;    // a query sees no later key of its sequence
  float scale;    // of the scores; 0 = 1 / sqrt(d)
  float dropout;  // of the probabilities, behind the division by their sum
} ig_attention_attr;

// o[t,h] = sum_j dropout(softmax_j(scale q[t,h] . k[j,h])) v[j,h] over the tokens j of t's sequence (j <= t where
// causal). q, k, v [T, H*d], one type; cu_seqlens i32 [B+1]: sequence b is rows cu_seqlens[b] .. cu_seqlens[b+1]-1;
// sequences may be empty. Rows from cu_seqlens[B] on belong to no sequence: o is 0 there and so are all gradients.
// The draw for a probability is of (row key of the query, head, place of the key in its sequence): row_keys u64 [T] or
// NULL (FIRST_SAMPLE + row), step_state u64 [4]; no dropout in EVAL mode. Offsets that leave [0,T] or decrease are cut
// off. The node has a second result, lse fp32 [H,T] (f64 under f64): log sum exp of the scaled scores, 0 where no
// sequence is.
ig_tensor *ig_attention(ig_graph *g, const char *name, ig_tensor *q, ig_tensor *k, ig_tensor *v, ig_tensor *cu_seqlens,
                        const ig_attention_attr *attr, ig_tensor *step_state, ig_tensor *row_keys);

#ifdef __cplusplus
}
#endif
#endif
