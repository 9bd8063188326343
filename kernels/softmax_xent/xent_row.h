// Which labels of a row count, and by what factor: read alike by all implementations of softmax_xent and its gradient.
// Operands (from `first` on): labels, second labels?, lam?, sample weight?, class weight?.
#ifndef IG_KERNELS_XENT_ROW_H
#define IG_KERNELS_XENT_ROW_H

#include "kernels/softmax_xent/softmax_xent.h"

typedef struct xent_labels {
  const int32_t *labels, *second;
  const float *lam, *sample_weight, *class_weight;
  const ig_xent_attr *attr;
  int64_t n, c;
} xent_labels;

typedef struct xent_row {
  int n;  // terms that count
  int64_t label[2];
  double factor[2];  // sample weight times lam or 1 - lam
  bool bad;          // a label outside of [0, C)
} xent_row;

static inline xent_labels xent_labels_of(const ig_launch *l, int first) {
  const ig_shape *s = &l->node->in[first - 1]->shape;  // the logits stand before the labels
  return (xent_labels){.labels = l->in[first],
                       .second = l->in[first + 1],
                       .lam = l->in[first + 2],
                       .sample_weight = l->in[first + 3],
                       .class_weight = l->in[first + 4],
                       .attr = l->node->attr,
                       .n = s->d[0],
                       .c = s->d[1]};
}

static inline void xent_add_term(xent_row *row, const xent_labels *x, int64_t label, double factor) {
  if (factor == 0 || (x->attr->has_ignore && label == x->attr->ignore_label))
    return;
  if (label < 0 || label >= x->c) {
    row->bad = true;
    return;
  }
  row->label[row->n] = label;
  row->factor[row->n++] = factor;
}

static inline xent_row xent_row_of(const xent_labels *x, int64_t i) {
  xent_row row = {.n = 0};
  double s = x->sample_weight ? (double)x->sample_weight[i] : 1;
  double lam = x->second ? (double)x->lam[i] : 1;
  xent_add_term(&row, x, x->labels[i], s * lam);
  if (x->second)
    xent_add_term(&row, x, x->second[i], s * (1 - lam));
  return row;
}

static inline double xent_class_weight(const xent_labels *x, int64_t c) {
  return x->class_weight ? (double)x->class_weight[c] : 1;
}

#endif
