// The embedding on the CPU. Forward copies rows; backward sorts the tokens by id and gives each row of the gradient, or
// a piece of its columns, to one thread, which writes it once: no sum depends on the threads. Behind an addend, which
// the result mostly lies on, rows of no token are not touched: of 30,522 a step changes some hundred.
#include <math.h>

#include "kernels/eltwise/lanes.h"
#include "kernels/eltwise/row_sums.h"
#include "kernels/embedding/embedding.h"
#include "kernels/optim_util/buckets.h"

enum {
  COLUMNS = 256,          // of a task of backward: more tasks than rows where the table is small
  TASK_NUMBERS = 1 << 14  // about, of the gradient
};

static void one_row(const ig_launch *l, int64_t t) {
  const ig_node *n = l->node;
  const int64_t V = n->in[0]->shape.d[0], D = n->in[0]->shape.d[1];
  const int64_t id = ((const int32_t *)l->in[1])[t];
  const ig_dtype table = n->in[0]->dtype, type = n->out[0]->dtype;
  float row[IG_LANES_TILE], more[IG_LANES_TILE], out[IG_LANES_TILE];
  for (int64_t c = 0; c < D; c += IG_LANES_TILE) {
    const int64_t count = D - c < IG_LANES_TILE ? D - c : IG_LANES_TILE;
    const float *x = row;
    if (id >= 0 && id < V)
      x = ig_lanes_load(l->in[0], table, id * D + c, count, row);
    else
      for (int64_t i = 0; i < count; i++)
        row[i] = NAN;
    const float *a = l->in[2] ? ig_lanes_load(l->in[2], n->in[2]->dtype, t * D + c, count, more) : NULL;
    float *y = ig_lanes_target(l->out[0], type, t * D + c, out);
    if (a) {
#pragma omp simd
      for (int64_t i = 0; i < count; i++)
        y[i] = x[i] + a[i];
    } else {
      memcpy(y, x, (size_t)count * sizeof *y);
    }
    ig_lanes_store(l->out[0], type, t * D + c, count, y);
  }
}

static ig_status embedding_cpu(const ig_launch *l) {
  const int64_t T = l->node->in[1]->shape.d[0], D = l->node->in[0]->shape.d[1];
#pragma omp parallel for schedule(static) num_threads(l->device->caps.threads) if (T * D > 16384)
  for (int64_t t = 0; t < T; t++)
    one_row(l, t);
  return IG_OK;
}

static ig_status prepare_bwd(ig_prepare *p) {
  const ig_node *n = p->node;
  p->in_layout[0] = p->in_layout[1] = p->out_layout[0] = IG_PLAIN;
  p->workspace_bytes = ig_buckets_bytes(n->out[0]->shape.d[0], n->in[1]->shape.d[0]);
  return IG_OK;
}

// Columns from..to of a row of the result: what row_sums makes of its tokens, behind what lies there.
static void add_row(const ig_launch *l, const int32_t *order, int64_t tokens, int64_t from, int64_t to, int64_t row) {
  const ig_node *n = l->node;
  float sums[COLUMNS], *y = (float *)l->out[0] + row;
  if (tokens == 0)
    return;
  row_sums(l->in[0], n->in[0]->dtype, n->out[0]->shape.d[1], order, tokens, from, to, sums, IG_F32, -from);
#pragma omp simd
  for (int64_t i = from; i < to; i++)
    y[i] += sums[i - from];
}

static ig_status embedding_bwd_cpu(const ig_launch *l) {
  const ig_node *n = l->node;
  const bool adds = n->n_in > 2 && l->in[2];
  const int64_t V = n->out[0]->shape.d[0], D = n->out[0]->shape.d[1], T = n->in[1]->shape.d[0];
  const ig_buckets b = ig_buckets_of(l->workspace, V, T, l->in[1]);
  const int64_t pieces = (D + COLUMNS - 1) / COLUMNS;
  const int64_t rows = TASK_NUMBERS / D > 1 ? TASK_NUMBERS / D : 1, groups = (V + rows - 1) / rows;
  if (adds && l->in[2] != l->out[0])
    memcpy(l->out[0], l->in[2], (size_t)(V * D) * sizeof(float));
#pragma omp parallel for schedule(dynamic, 1) num_threads(l->device->caps.threads) if ((V + T) * D > 32768)
  for (int64_t task = 0; task < groups * pieces; task++) {
    const int64_t first = task / pieces * rows, from = task % pieces * COLUMNS;
    const int64_t to = from + COLUMNS < D ? from + COLUMNS : D, last = first + rows < V ? first + rows : V;
    for (int64_t v = first; v < last; v++)
      if (adds)
        add_row(l, b.order + b.first[v], b.first[v + 1] - b.first[v], from, to, v * D);
      else
        row_sums(l->in[0], n->in[0]->dtype, D, b.order + b.first[v], b.first[v + 1] - b.first[v], from, to, l->out[0],
                 IG_F32, v * D);
  }
  return IG_OK;
}

#define COMMON .flags = IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE, .isa = IG_ISA_LEVEL, .supports = ig_lanes_supports
IG_IMPLS(embedding_cpu) = {{.name = "embedding_cpu", COMMON, .run = embedding_cpu},
                           {.name = "embedding_bwd_cpu", COMMON, .prepare = prepare_bwd, .run = embedding_bwd_cpu},
                           {0}};
