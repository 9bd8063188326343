// Forward of linear_xent: a task is a few blocks of classes, with the largest logit, its class and the sum of
// exponentials of each row of x; the tasks' are joined in their order.
#ifndef IG_KERNELS_LINEAR_XENT_FWD_H
#define IG_KERNELS_LINEAR_XENT_FWD_H

#include "kernels/linear_xent/linear_xent_chunks.h"

// Statistics of a chunk for all rows of x, whole panels.
typedef struct chunk_state {
  float *most, *sum;
  int32_t *best;
} chunk_state;

static int64_t padded_rows(const xent *z) { return panels_of(z) * LANES; }
static int64_t chunks_of(const xent *z) { return divided_up(z->V, CLASSES * CHUNK); }
static size_t state_bytes(const xent *z) {
  return rounded_up((size_t)(chunks_of(z) * padded_rows(z) * 3) * sizeof(float));
}
static chunk_state state_of(const xent *z, void *memory, int64_t chunk) {
  float *at = (float *)memory + chunk * padded_rows(z) * 3;
  return (chunk_state){at, at + padded_rows(z), (int32_t *)(at + 2 * padded_rows(z))};
}
static size_t own_bytes(const xent *z) {
  return rounded_up((size_t)(CLASSES * z->du) * sizeof(unit)) + (size_t)(CLASSES * LANES) * sizeof(float);
}

// Classes v0..v0+n into the statistics of panel i.
static void add_tile(const xent *z, const float *tile, int64_t v0, int64_t n, int64_t i, const chunk_state *s) {
  const int64_t lanes = whole_vectors(panel_rows(z, i)), at = i * LANES;
  float before[LANES];
  memcpy(before, s->most + at, sizeof before);
  for (int64_t p = 0; p < lanes; p += VEC) {
    vec most = vec_load(s->most, IG_F32, at + p, VEC);
    vec_i32 best;
    memcpy(&best, s->best + at + p, sizeof best);
    for (int64_t r = 0; r < n; r++)
      vec_take_larger(vec_load(tile, IG_F32, r * LANES + p, VEC), (int32_t)(v0 + r), &most, &best);
    vec_store(s->most, IG_F32, at + p, VEC, most);
    memcpy(s->best + at + p, &best, sizeof best);
  }
  for (int64_t p = 0; p < lanes; p += VEC) {
    const vec most = vec_load(s->most, IG_F32, at + p, VEC);
    vec sum = vec_load(s->sum, IG_F32, at + p, VEC) * vec_exp(vec_load(before, IG_F32, p, VEC) - most);
    for (int64_t r = 0; r < n; r++)
      sum += vec_exp(vec_load(tile, IG_F32, r * LANES + p, VEC) - most);
    vec_store(s->sum, IG_F32, at + p, VEC, sum);
  }
}

static void fwd_chunk(const xent *z, int64_t chunk, const unit *turned, char *own, const chunk_state *s,
                      float *picked) {
  unit *memory = (unit *)own;
  float *tile = (float *)(own + rounded_up((size_t)(CLASSES * z->du) * sizeof(unit)));
  for (int64_t p = 0; p < padded_rows(z); p++) {
    s->most[p] = -INFINITY;
    s->sum[p] = 0;
    s->best[p] = 0;
  }
  const int64_t end = ig_min_i64((chunk + 1) * CHUNK * CLASSES, z->V);
  for (int64_t v0 = chunk * CHUNK * CLASSES; v0 < end; v0 += CLASSES) {
    const int64_t n = ig_min_i64(CLASSES, end - v0);
    const unit *w = w_along(z, v0, n, memory);
    product_fetch f = fetch_of_block(z, v0 + n);
    for (int64_t i = 0; i < panels_of(z); i++) {
      logits_tile(z, w, v0, n, turned, i, tile, &f);
      add_tile(z, tile, v0, n, i, s);
      for (int64_t p = 0; p < panel_rows(z, i); p++) {
        const int64_t label = z->labels[i * LANES + p];
        if (label >= v0 && label < v0 + n)
          picked[i * LANES + p] = tile[(label - v0) * LANES + p];
      }
    }
  }
}

// Joins the chunks, and sums the loss in double.
static void join(const xent *z, void *states, const float *picked) {
  float *lse = z->l->out[O_LSE];
  double loss = 0, weight = 0;
  int32_t right = 0;
  for (int64_t p = 0; p < z->P; p++) {
    float most = -INFINITY;
    int32_t best = 0;
    double sum = 0;
    for (int64_t c = 0; c < chunks_of(z); c++) {
      const chunk_state s = state_of(z, states, c);
      if (s.most[p] > most || s.most[p] != s.most[p]) {
        most = s.most[p];
        best = s.best[p];
      }
    }
    for (int64_t c = 0; c < chunks_of(z); c++) {
      const chunk_state s = state_of(z, states, c);
      sum += (double)s.sum[p] * exp((double)s.most[p] - (double)most);
    }
    const double all = (double)most + log(sum), w = (double)xent_weight(z->weights, p);
    lse[p] = w == 0 ? 0 : (float)all;
    if (w == 0)
      continue;
    weight += w;
    right += best == z->labels[p];
    loss += xent_is_label(z->labels[p], z->V) ? w * (all - (double)picked[p]) : NAN;
  }
  *(float *)z->l->out[O_SUM] = (float)loss;
  *(float *)z->l->out[O_WEIGHT] = (float)weight;
  *(int32_t *)z->l->out[O_RIGHT] = right;
}

static ig_status prepare_fwd(ig_prepare *p) {
  const xent z = xent_sizes(p->node, F_X);
  plain_or_wide(p, F_W);
  p->workspace_bytes = turned_bytes(&z) + state_bytes(&z) + rounded_up((size_t)padded_rows(&z) * sizeof(float)) +
                       (size_t)p->device->caps.threads * rounded_up(own_bytes(&z));
  return IG_OK;
}

static ig_status run_fwd(const ig_launch *l) {
  xent z = xent_of(l, F_X);
  char *memory = l->workspace;
  unit *turned = (unit *)memory;
  char *states = memory + turned_bytes(&z);
  float *picked = (float *)(states + state_bytes(&z));
  char *own = (char *)picked + rounded_up((size_t)padded_rows(&z) * sizeof(float));
  const int64_t all = z.P;
  z.P = rows_that_count(&z);
  memset((float *)l->out[O_LSE] + z.P, 0, (size_t)(all - z.P) * sizeof(float));
#pragma omp parallel num_threads(l->device->caps.threads)
  {
    char *mine = own + (size_t)omp_get_thread_num() * rounded_up(own_bytes(&z));
#pragma omp for schedule(static)
    for (int64_t i = 0; i < panels_of(&z); i++)
      turn_panel(&z, i, turned, (unit *)mine);
#pragma omp for schedule(dynamic, 1)
    for (int64_t c = 0; c < chunks_of(&z); c++) {
      const chunk_state s = state_of(&z, states, c);
      fwd_chunk(&z, c, turned, mine, &s, picked);
    }
  }
  join(&z, states, picked);
  return IG_OK;
}

#endif
