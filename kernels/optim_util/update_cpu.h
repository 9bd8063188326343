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

// One pass of `work`, unless the step is skipped.
static inline ig_status ig_update_run(const ig_launch *l, ig_piece_fn work) {
  const ig_update u = ig_update_of(l);
  *(float *)l->out[0] = 0;
  if (!u.skip)
    ig_for_pieces(l, &u, work);
  return IG_OK;
}

// Element p->begin of operand i, NULL where it is absent.
static inline float *ig_piece_at(const ig_launch *l, const ig_piece *p, int i) {
  return l->in[i] ? (float *)l->in[i] + p->begin : NULL;
}

#define IG_CPU_FLAGS (IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE)

#endif
