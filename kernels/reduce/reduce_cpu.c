// CPU kernels of sum, sum_bwd and sum_squares. Columns are cut into strips of COLUMNS, a whole sum into chunks of
// IG_FIXED_CHUNK elements.
#include "kernels/kernels.h"
#include "kernels/optim_util/fixed.h"
#include "kernels/reduce/reduce_attr.h"

#define COLUMNS 128  // of a strip: its double sums take 1 KiB

static double sum_of(const float *x, int64_t n) {
  double lane[IG_LANES] = {0}, sum = 0;
  int64_t i = 0;
  for (; i + IG_LANES <= n; i += IG_LANES)
    for (int l = 0; l < IG_LANES; l++)
      lane[l] += (double)x[i + l];
  for (; i < n; i++)
    lane[0] += (double)x[i];
  for (int l = 0; l < IG_LANES; l++)
    sum += lane[l];
  return sum;
}

// Sum over chunks of what `part` makes of each; the partial sums lie in the workspace.
static double over_chunks(const float *x, int64_t n, double *partial, double (*part)(const float *, int64_t)) {
  double sum = 0;
#pragma omp parallel for schedule(static)
  for (int64_t c = 0; c < ig_fixed_chunks(n); c++)
    partial[c] = part(x + c * IG_FIXED_CHUNK, ig_min_i64(IG_FIXED_CHUNK, n - c * IG_FIXED_CHUNK));
  for (int64_t c = 0; c < ig_fixed_chunks(n); c++)
    sum += partial[c];
  return sum;
}

static ig_status prepare_chunks(ig_prepare *p) {
  p->in_layout[0] = p->out_layout[0] = IG_PLAIN;
  p->workspace_bytes = (size_t)ig_fixed_chunks(ig_shape_count(&p->node->in[0]->shape)) * sizeof(double);
  return IG_OK;
}

static ig_status run_sum(const ig_launch *l) {
  const ig_sum_attr *a = l->node->attr;
  const int64_t inner = ig_shape_count(&l->node->out[0]->shape), n = ig_shape_count(&l->node->in[0]->shape);
  const int64_t rows = inner ? n / inner : 0;
  const double scale = a->mean && rows ? 1 / (double)rows : 1;
  float *y = l->out[0];
  if (inner == 1) {
    y[0] = (float)(scale * over_chunks(l->in[0], n, l->workspace, sum_of));
    return IG_OK;
  }
#pragma omp parallel for schedule(static)
  for (int64_t first = 0; first < inner; first += COLUMNS) {
    const float *x = (const float *)l->in[0] + first;
    const int64_t width = ig_min_i64(COLUMNS, inner - first);
    double sum[COLUMNS] = {0};
    for (int64_t i = 0; i < rows; i++)
      for (int64_t j = 0; j < width; j++)
        sum[j] += (double)x[i * inner + j];
    for (int64_t j = 0; j < width; j++)
      y[first + j] = (float)(scale * sum[j]);
  }
  return IG_OK;
}

static ig_status run_sum_bwd(const ig_launch *l) {
  const ig_sum_bwd_attr *a = l->node->attr;
  const int64_t inner = ig_shape_count(&l->node->in[0]->shape), rows = ig_shape_count(&a->shape) / inner;
  const float *dy = l->in[0], scale = (float)a->scale;
  float *dx = l->out[0];
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < rows; i++)
    for (int64_t j = 0; j < inner; j++)
      dx[i * inner + j] = scale * dy[j];
  return IG_OK;
}

static ig_status run_squares(const ig_launch *l) {
  *(double *)l->out[0] =
      over_chunks(l->in[0], ig_shape_count(&l->node->in[0]->shape), l->workspace, ig_sum_squares_f32);
  return IG_OK;
}

static bool supports_bwd(const ig_node *n, const ig_device_caps *caps, char *why, size_t why_bytes) {
  if (n->out[0]->dtype != IG_F32) {
    snprintf(why, why_bytes, "the result is %s, this one writes f32", ig_dtype_name(n->out[0]->dtype));
    return false;
  }
  return ig_supports_f32(n, caps, why, why_bytes);
}

#define CPU_FLAGS (IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE)
IG_IMPLS(reduce_cpu) = {
    {.name = "sum_cpu",
     .flags = CPU_FLAGS,
     .isa = IG_ISA_LEVEL,
     .supports = ig_supports_f32,
     .prepare = prepare_chunks,
     .run = run_sum},
    {.name = "sum_bwd_cpu", .flags = CPU_FLAGS, .isa = IG_ISA_LEVEL, .supports = supports_bwd, .run = run_sum_bwd},
    {.name = "sum_squares_cpu",
     .flags = CPU_FLAGS,
     .isa = IG_ISA_LEVEL,
     .supports = ig_supports_f32,
     .prepare = prepare_chunks,
     .run = run_squares},
    {0},
};
