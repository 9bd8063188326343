// Chosen rows and means over sequences on the CPU. Rule: a row of a result belongs to one thread, which adds in the
// order of the rows.
#include <math.h>

#include "kernels/eltwise/lanes.h"
#include "kernels/eltwise/row_sums.h"
#include "kernels/optim_util/buckets.h"
#include "kernels/optim_util/fixed.h"
#include "kernels/optim_util/sequences.h"
#include "kernels/rows/rows.h"

enum { LEAST = 16384 };  // numbers: the least work worth a second thread

static ig_status gather_rows_cpu(const ig_launch *l) {
  const int64_t T = l->node->in[0]->shape.d[0], D = l->node->in[0]->shape.d[1], P = l->node->out[0]->shape.d[0];
  const ig_dtype type = l->node->in[0]->dtype;
  const size_t bytes = (size_t)D * ig_dtype_bytes(type);
  const int32_t *index = l->in[1];
#pragma omp parallel for schedule(static) num_threads(l->device->caps.threads) if (P * D > LEAST)
  for (int64_t p = 0; p < P; p++) {
    char *y = (char *)l->out[0] + (size_t)p * bytes;
    if (index[p] >= 0 && index[p] < T)
      memcpy(y, (const char *)l->in[0] + (size_t)index[p] * bytes, bytes);
    else if (index[p] == -1 || type == IG_U64)
      memset(y, 0, bytes);
    else
      for (int64_t i = 0; i < D; i++)
        ig_store_f64(y, type, (size_t)i, NAN);
  }
  return IG_OK;
}

static ig_status prepare_gather_bwd(ig_prepare *p) {
  const ig_node *n = p->node;
  p->in_layout[0] = p->in_layout[1] = p->out_layout[0] = IG_PLAIN;
  p->workspace_bytes = ig_buckets_bytes(n->out[0]->shape.d[0], n->in[1]->shape.d[0]);
  return IG_OK;
}

static ig_status gather_rows_bwd_cpu(const ig_launch *l) {
  const int64_t T = l->node->out[0]->shape.d[0], D = l->node->out[0]->shape.d[1], P = l->node->in[0]->shape.d[0];
  const ig_dtype type = l->node->in[0]->dtype;
  const ig_buckets b = ig_buckets_of(l->workspace, T, P, l->in[1]);
#pragma omp parallel for schedule(static) num_threads(l->device->caps.threads) if (T * D > LEAST)
  for (int64_t t = 0; t < T; t++)
    row_sums(l->in[0], type, D, b.order + b.first[t], b.first[t + 1] - b.first[t], 0, D, l->out[0], type, t * D);
  return IG_OK;
}

// The sequence b alone: walks the offsets before it, so that tasks need no table.
static ig_sequence sequence_at(const int32_t *offsets, int64_t b, int64_t T) {
  ig_sequence s = {0, 0};
  for (int64_t i = 0; i <= b; i++)
    s = ig_sequence_of(offsets, i, T, s.last);
  return s;
}

static ig_status segment_mean_cpu(const ig_launch *l) {
  const int64_t T = l->node->in[0]->shape.d[0], D = l->node->in[0]->shape.d[1], B = l->node->out[0]->shape.d[0];
  const ig_dtype type = l->node->in[0]->dtype;
  const int64_t tiles = (D + IG_LANES_TILE - 1) / IG_LANES_TILE;
#pragma omp parallel for schedule(dynamic, 1) num_threads(l->device->caps.threads) if (T * D > LEAST)
  for (int64_t task = 0; task < B * tiles; task++) {
    const int64_t b = task / tiles, c = task % tiles * IG_LANES_TILE, n = ig_min_i64(D - c, IG_LANES_TILE);
    const ig_sequence s = sequence_at(l->in[1], b, T);
    double sum[IG_LANES_TILE] = {0};
    float row[IG_LANES_TILE], *y = (float *)l->out[0] + b * D + c;
    for (int64_t t = s.first; t < s.last; t++) {
      const float *x = ig_lanes_load(l->in[0], type, t * D + c, n, row);
#pragma omp simd
      for (int64_t i = 0; i < n; i++)
        sum[i] += (double)x[i];
    }
    for (int64_t i = 0; i < n; i++)
      y[i] = s.last > s.first ? (float)(sum[i] / (double)(s.last - s.first)) : 0;
  }
  return IG_OK;
}

static ig_status segment_mean_bwd_cpu(const ig_launch *l) {
  const int64_t T = l->node->out[0]->shape.d[0], D = l->node->out[0]->shape.d[1], B = l->node->in[0]->shape.d[0];
  const ig_dtype from = l->node->in[0]->dtype, type = l->node->out[0]->dtype;
  const size_t bytes = ig_dtype_bytes(type);
  ig_sequence s = {0, 0};
  memset(l->out[0], 0, (size_t)(T * D) * bytes);
  for (int64_t b = 0; b < B; b++) {
    s = ig_sequence_of(l->in[1], b, T, s.last);
#pragma omp parallel for schedule(static) num_threads(l->device->caps.threads) if ((s.last - s.first) * D > LEAST)
    for (int64_t t = s.first; t < s.last; t++) {
      float in[IG_LANES_TILE], out[IG_LANES_TILE];
      for (int64_t c = 0; c < D; c += IG_LANES_TILE) {
        const int64_t n = ig_min_i64(D - c, IG_LANES_TILE);
        const float *dy = ig_lanes_load(l->in[0], from, b * D + c, n, in), length = (float)(s.last - s.first);
        float *dx = ig_lanes_target(l->out[0], type, t * D + c, out);
#pragma omp simd
        for (int64_t i = 0; i < n; i++)
          dx[i] = dy[i] / length;
        ig_lanes_store(l->out[0], type, t * D + c, n, dx);
      }
    }
  }
  return IG_OK;
}

static ig_status row_places_cpu(const ig_launch *l) {
  const int64_t P = l->node->in[0]->shape.d[0], T = l->node->out[0]->shape.d[0];
  const int32_t *index = l->in[0];
  int32_t *y = l->out[0];
  memset(y, -1, (size_t)T * sizeof *y);
  for (int64_t p = 0; p < P; p++)
    if (index[p] >= 0 && index[p] < T)
      y[index[p]] = (int32_t)p;
  return IG_OK;
}

#define COMMON .flags = IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE, .isa = IG_ISA_LEVEL, .supports = ig_lanes_supports
IG_IMPLS(rows_cpu) = {
    {.name = "gather_rows_cpu", COMMON, .run = gather_rows_cpu},
    {.name = "gather_rows_bwd_cpu", COMMON, .prepare = prepare_gather_bwd, .run = gather_rows_bwd_cpu},
    {.name = "segment_mean_cpu", COMMON, .run = segment_mean_cpu},
    {.name = "segment_mean_bwd_cpu", COMMON, .run = segment_mean_bwd_cpu},
    {.name = "row_places_cpu", COMMON, .run = row_places_cpu},
    {0}};
