// The loop over chunks and pieces that the CPU kernels of the optimizer rows share.
#ifndef IG_KERNELS_UPDATE_CPU_H
#define IG_KERNELS_UPDATE_CPU_H

#include "kernels/optim_util/update.h"

typedef void (*ig_piece_fn)(const ig_launch *l, const ig_update *u, const ig_piece *p, const ig_segment *s);

static inline void ig_for_pieces(const ig_launch *l, const ig_update *u, ig_piece_fn work) {
#pragma omp parallel for schedule(static)
  for (int64_t chunk = 0; chunk < ig_fixed_chunks(u->n); chunk++)
    for (ig_piece p = ig_piece_first(u, chunk); ig_piece_valid(&p); ig_piece_next(u, &p)) {
      const ig_segment s = ig_segment_of(u, p.segment);
      work(l, u, &p, &s);
    }
}

// The pass that writes weights, and then, where it is wanted (on a CPU by tests alone), their copy.
static inline void ig_update_weights(const ig_launch *l, const ig_update *u, ig_piece_fn work) {
  const int copy = ig_update_w16(l->node->op);
  ig_for_pieces(l, u, work);
  if (copy >= l->node->n_in || !l->in[copy])
    return;
#pragma omp parallel for schedule(static)
  for (int64_t chunk = 0; chunk < ig_fixed_chunks(u->n); chunk++) {
    const int64_t begin = chunk * IG_FIXED_CHUNK, end = ig_min_i64(begin + IG_FIXED_CHUNK, u->n);
    const ig_dtype type = l->node->in[copy]->dtype;
    ig_convert((char *)l->in[copy] + (size_t)begin * ig_dtype_bytes(type), type, (const float *)l->in[0] + begin,
               IG_F32, (size_t)(end - begin));
  }
}

// One pass of `work`, unless the step is skipped.
static inline ig_status ig_update_run(const ig_launch *l, ig_piece_fn work) {
  const ig_update u = ig_update_of(l);
  *(float *)l->out[0] = 0;
  if (!u.skip)
    ig_update_weights(l, &u, work);
  return IG_OK;
}

// Element p->begin of operand i, NULL where it is absent.
static inline float *ig_piece_at(const ig_launch *l, const ig_piece *p, int i) {
  return l->in[i] ? (float *)l->in[i] + p->begin : NULL;
}

static inline bool ig_update_supports(const ig_node *n, const ig_device_caps *caps, char *why, size_t why_bytes) {
  return ig_supports_f32_but(n, ig_update_w16(n->op), why, why_bytes);
}

#define IG_CPU_FLAGS (IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE)

#endif
