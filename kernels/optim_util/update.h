// The operands of an optimizer row at run time, and walks over its segments. Rule: chunks of IG_FIXED_CHUNK elements
// of the flat buffer are the unit of work; a piece is the part of one segment in one chunk.
#ifndef IG_KERNELS_UPDATE_H
#define IG_KERNELS_UPDATE_H

#include "kernels/optim_util/fixed.h"
#include "kernels/optim_util/optim_util.h"

typedef struct ig_update {
  int64_t n, n_segments;
  double lr, step, multiplier;
  bool skip, first;
  const int64_t *start;
  const float *attr;
} ig_update;

static inline ig_update ig_update_of(const ig_launch *l) {
  const float *hyper = l->in[2], *gscale = l->in[3];
  return (ig_update){.n = ig_shape_count(&l->node->in[0]->shape),
                     .n_segments = l->node->in[5]->shape.d[0],
                     .lr = (double)hyper[IG_HYPER_LR],
                     .step = (double)hyper[IG_HYPER_STEP],
                     .multiplier = (double)gscale[IG_GSCALE_MULTIPLIER],
                     .skip = !(gscale[IG_GSCALE_SKIP] < 1),
                     .first = hyper[IG_HYPER_STEP] < 1.5f,
                     .start = l->in[4],
                     .attr = l->in[5]};
}

typedef struct ig_segment {
  double lr, weight_decay, l1;  // lr with the segment's scale
  bool adapt;
} ig_segment;

static inline ig_segment ig_segment_of(const ig_update *u, int64_t s) {
  const float *a = u->attr + s * IG_N_SEG;
  return (ig_segment){.lr = u->lr * (double)a[IG_SEG_LR_SCALE],
                      .weight_decay = (double)a[IG_SEG_WEIGHT_DECAY],
                      .l1 = (double)a[IG_SEG_L1],
                      .adapt = a[IG_SEG_ADAPT] >= 0.5f};
}

static inline double ig_sign(double x) { return (double)((x > 0) - (x < 0)); }
static inline float ig_sign_f32(float x) { return (float)((x > 0) - (x < 0)); }

// The last segment that starts at or before element i.
static inline int64_t ig_segment_at(const ig_update *u, int64_t i) {
  int64_t low = 0, high = u->n_segments - 1;
  while (low < high) {
    int64_t middle = (low + high + 1) / 2;
    if (u->start[middle] <= i)
      low = middle;
    else
      high = middle - 1;
  }
  return low;
}

// Pieces in the order of memory: (chunk, segment) has number chunk + segment, unique as each step of the walk raises
// one of both or both. Partial sums of pieces lie under that number.
typedef struct ig_piece {
  int64_t begin, end, segment, number;
} ig_piece;

static inline int64_t ig_update_pieces(int64_t n, int64_t n_segments) { return ig_fixed_chunks(n) + n_segments; }

// First piece of a chunk, then the next ones: for (p = ig_piece_first(u, c); ig_piece_valid(&p); ig_piece_next(u, &p)).
static inline ig_piece ig_piece_make(const ig_update *u, int64_t chunk, int64_t segment, int64_t begin) {
  int64_t chunk_end = ig_min_i64((chunk + 1) * IG_FIXED_CHUNK, u->n);
  while (segment < u->n_segments - 1 && u->start[segment + 1] <= begin)
    segment++;
  int64_t end = segment < u->n_segments - 1 ? ig_min_i64(chunk_end, u->start[segment + 1]) : chunk_end;
  return (ig_piece){begin, end, segment, chunk + segment};
}
static inline ig_piece ig_piece_first(const ig_update *u, int64_t chunk) {
  int64_t begin = chunk * IG_FIXED_CHUNK;
  return ig_piece_make(u, chunk, ig_segment_at(u, begin), begin);
}
static inline bool ig_piece_valid(const ig_piece *p) { return p->begin < p->end; }
static inline void ig_piece_next(const ig_update *u, ig_piece *p) {
  int64_t chunk = p->begin / IG_FIXED_CHUNK;
  if (p->end == ig_min_i64((chunk + 1) * IG_FIXED_CHUNK, u->n))
    p->begin = p->end;
  else
    *p = ig_piece_make(u, chunk, p->segment, p->end);
}

// Sum over a segment's pieces of partial[number][m], in order.
static inline double ig_segment_sum(const ig_update *u, int64_t s, double (*partial)[2], int m) {
  double sum = 0;
  int64_t begin = u->start[s], end = s < u->n_segments - 1 ? u->start[s + 1] : u->n;
  for (int64_t c = begin / IG_FIXED_CHUNK; begin < end && c <= (end - 1) / IG_FIXED_CHUNK; c++)
    sum += partial[c + s][m];
  return sum;
}

// prepare of rows with norms of segments: pairs of partial sums, then a ratio a segment.
static inline ig_status ig_update_prepare_norms(ig_prepare *p) {
  int64_t s = p->node->in[5]->shape.d[0], n = ig_shape_count(&p->node->in[0]->shape);
  p->workspace_bytes = (size_t)(2 * ig_update_pieces(n, s) + s) * sizeof(double);
  return IG_OK;
}

#endif
