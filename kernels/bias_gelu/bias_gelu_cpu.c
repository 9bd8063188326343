// GELU behind a bias on the CPU: tiles of a row as fp32 through loops that the compiler vectorises. Backward is one
// pass: tasks are pieces of columns of fixed parts of the rows, whose bias gradients are added in double.
#include "kernels/bias_gelu/bias_gelu.h"
#include "kernels/eltwise/lane_math.h"
#include "kernels/eltwise/lanes.h"
#include "kernels/optim_util/fixed.h"
#include "kernels/plain.h"

enum { LEAST = 16384 };  // numbers: the least work worth a second thread

#define ROW(name, ...)                                                                            \
  static void name(const float *x, const float *bias, const float *dy, float *y, int64_t count) { \
    _Pragma("omp simd") for (int64_t i = 0; i < count; i++) {                                     \
      const float z = x[i] + bias[i];                                                             \
      y[i] = __VA_ARGS__;                                                                         \
    }                                                                                             \
  }
typedef void (*row_fn)(const float *x, const float *bias, const float *dy, float *y, int64_t count);
ROW(erf_row, z *normal_cdf(z))
ROW(tanh_row, 0.5f * z * (1.0f + tanh_lane(gelu_inner(z))))
ROW(erf_bwd_row, dy[i] * gelu_erf_slope(z))
ROW(tanh_bwd_row, dy[i] * gelu_tanh_slope(z))

static ig_status bias_gelu_cpu(const ig_launch *l) {
  const ig_tensor *x = l->node->in[0];
  const int64_t T = x->shape.d[0], D = x->shape.d[1], tiles = (D + IG_LANES_TILE - 1) / IG_LANES_TILE;
  const row_fn f = ((const ig_bias_gelu_attr *)l->node->attr)->tanh_form ? tanh_row : erf_row;
#pragma omp parallel for schedule(static) num_threads(l->device->caps.threads) if (T * D > LEAST)
  for (int64_t task = 0; task < T * tiles; task++) {
    const int64_t c = task % tiles * IG_LANES_TILE, at = task / tiles * D + c, n = ig_min_i64(D - c, IG_LANES_TILE);
    float in[IG_LANES_TILE], out[IG_LANES_TILE];
    float *y = ig_lanes_target(l->out[0], x->dtype, at, out);
    f(ig_lanes_load(l->in[0], x->dtype, at, n, in), (const float *)l->in[1] + c, NULL, y, n);
    ig_lanes_store(l->out[0], x->dtype, at, n, y);
  }
  return IG_OK;
}

// Columns c..c+n of rows first..last: dx, and their sums.
static void bwd_piece(const ig_launch *l, row_fn f, int64_t first, int64_t last, int64_t c, int64_t n, float *sums) {
  const ig_dtype type = l->node->in[1]->dtype;
  const int64_t D = l->node->in[1]->shape.d[1];
  float in[2][IG_LANES_TILE], out[IG_LANES_TILE];
  memset(sums, 0, (size_t)n * sizeof *sums);
  for (int64_t t = first; t < last; t++) {
    const int64_t at = t * D + c;
    const float *dy = ig_lanes_load(l->in[0], type, at, n, in[0]), *x = ig_lanes_load(l->in[1], type, at, n, in[1]);
    float *dx = ig_lanes_target(l->out[0], type, at, out);
    f(x, (const float *)l->in[2] + c, dy, dx, n);
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
      sums[i] += dx[i];
    ig_lanes_store(l->out[0], type, at, n, dx);
  }
}

static int64_t parts_of(int64_t T) {
  const int64_t size = ig_fixed_part(T);
  return size ? (T + size - 1) / size : 0;
}

static ig_status prepare_bwd(ig_prepare *p) {
  const ig_node *n = p->node;
  ig_prepare_plain(p);
  p->workspace_bytes = (size_t)(parts_of(n->in[1]->shape.d[0]) * n->in[1]->shape.d[1]) * sizeof(float);
  return IG_OK;
}

static ig_status bias_gelu_bwd_cpu(const ig_launch *l) {
  const ig_tensor *x = l->node->in[1];
  const int64_t T = x->shape.d[0], D = x->shape.d[1], tiles = (D + IG_LANES_TILE - 1) / IG_LANES_TILE;
  const int64_t size = ig_fixed_part(T), parts = parts_of(T);
  const row_fn f = ((const ig_bias_gelu_attr *)l->node->attr)->tanh_form ? tanh_bwd_row : erf_bwd_row;
  float *sums = l->workspace, *dbias = l->out[1];
#pragma omp parallel for schedule(static) num_threads(l->device->caps.threads) if (T * D > LEAST)
  for (int64_t task = 0; task < parts * tiles; task++) {
    const int64_t part = task / tiles, c = task % tiles * IG_LANES_TILE;
    bwd_piece(l, f, part * size, ig_min_i64((part + 1) * size, T), c, ig_min_i64(D - c, IG_LANES_TILE),
              sums + part * D + c);
  }
#pragma omp parallel for schedule(static) num_threads(l->device->caps.threads) if (parts * D > LEAST)
  for (int64_t c = 0; c < D; c += 64)
    ig_add_parts_f32(sums + c, parts, D, ig_min_i64(D - c, 64), dbias + c);
  return IG_OK;
}

#define COMMON .flags = IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE, .isa = IG_ISA_LEVEL, .supports = ig_lanes_supports
IG_IMPLS(bias_gelu_cpu) = {{.name = "bias_gelu_cpu", COMMON, .run = bias_gelu_cpu},
                           {.name = "bias_gelu_bwd_cpu", COMMON, .prepare = prepare_bwd, .run = bias_gelu_bwd_cpu},
                           {0}};
