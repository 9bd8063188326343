// For prepare functions that want nothing but plain layouts. Rule: on the CPU; a GPU's kernels take nothing else
// anyway.
#ifndef IG_KERNELS_PLAIN_H
#define IG_KERNELS_PLAIN_H

#include "runtime/graph/op.h"

// Every operand and result PLAIN.
static inline void ig_prepare_plain(ig_prepare *p) {
  for (int i = 0; i < p->node->n_in; i++)
    p->in_layout[i] = IG_PLAIN;
  for (int i = 0; i < p->node->n_out; i++)
    p->out_layout[i] = IG_PLAIN;
}

#endif
