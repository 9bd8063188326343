// The weight gradient of the 3x3 convolution of stride 1 by Winograd's F(4x4,3x3) transposed, in own vector code: x and
// dy are transformed tile by tile, multiplied at each of the 36 points with sums over tiles, and the sums transformed
// back. The batch is cut into chunks of tiles whose transforms fit a shared cache; sums of one block of channels by one
// panel belong to one task. Rule: sums run over tiles in their order, so that threads change no bit; they do not follow
// the shards of the batch, so that a plan in which ranks must change no bit either takes another implementation.
#include <omp.h>
#include <stdio.h>
#include <string.h>

#include "kernels/conv2d/conv2d_wino.h"

#if defined(IG_ISA_avx512)
enum { ROWS = 8 };  // input channels whose sums are in registers at once
#else
enum { ROWS = 4 };
#endif
enum {
  VECTORS = 3,            // of output channels, likewise
  MOST_BLOCKS = 4,        // of input channels in a task: its sums stay in the second-level cache
  CHUNK_BYTES = 6 << 20,  // of transformed x and dy: they stay in the last-level cache
};

typedef struct state {
  ig_conv2d_dims d;
  wino_tiles tiles;
  int64_t n_c, n_k, n_groups;  // channel blocks of x and dy; groups of up to VECTORS blocks of dy
  int64_t c_per_task;
  int64_t n_tiles, per_chunk;
  wino_groups v, z;  // of transformed x and dy: a chunk is one group
  size_t v_floats, z_floats, task_floats;
  bool one_chunk;
} state;

// First block of dy of group g: groups differ by one block at most.
static int64_t group_start(const state *s, int64_t g) {
  int64_t n = s->n_groups;
  return g * (s->n_k / n) + (g < s->n_k % n ? g : s->n_k % n);
}

// sums[i][j] (+)= sum over n tiles of v[.][i] z[j][.].
static inline __attribute__((always_inline)) void multiply(const float *v, const float *z, int64_t z_block, int64_t n,
                                                           float *sums, bool add, const int kv) {
  wino_vec acc[ROWS][VECTORS];
#pragma GCC unroll 8
  for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 3
    for (int j = 0; j < kv; j++)
      acc[i][j] = add ? *(const wino_vec *)(sums + (i * kv + j) * WINO_VEC) : (wino_vec){0};
  for (int64_t t = 0; t < n; t++, v += WINO_VEC, z += WINO_VEC) {
    wino_vec d[VECTORS];
#pragma GCC unroll 3
    for (int j = 0; j < kv; j++)
      d[j] = *(const wino_vec *)(z + j * z_block);
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 3
      for (int j = 0; j < kv; j++)
        acc[i][j] += d[j] * v[i];
  }
#pragma GCC unroll 8
  for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 3
    for (int j = 0; j < kv; j++)
      *(wino_vec *)(sums + (i * kv + j) * WINO_VEC) = acc[i][j];
}
typedef void multiply_fn(const float *, const float *, int64_t, int64_t, float *, bool);
static void multiply_1(const float *v, const float *z, int64_t b, int64_t n, float *s, bool a) {
  multiply(v, z, b, n, s, a, 1);
}
static void multiply_2(const float *v, const float *z, int64_t b, int64_t n, float *s, bool a) {
  multiply(v, z, b, n, s, a, 2);
}
static void multiply_3(const float *v, const float *z, int64_t b, int64_t n, float *s, bool a) {
  multiply(v, z, b, n, s, a, 3);
}

// Sums of blocks [c0, c1) of x by one group of dy over a chunk: [36][channel][kv][lane]. A point's dy stays in the
// cache over the blocks of x.
static void add_chunk(const state *s, const float *v, const float *z, int64_t c0, int64_t c1, int64_t g, bool add,
                      float *sums) {
  static multiply_fn *const of[] = {multiply_1, multiply_2, multiply_3};
  const int64_t k0 = group_start(s, g), kv = group_start(s, g + 1) - k0, block = s->per_chunk * WINO_VEC;
  for (int f = 0; f < WINO_POINTS; f++)
    for (int64_t i = c0 * WINO_VEC; i < c1 * WINO_VEC; i += ROWS, sums += ROWS * kv * WINO_VEC)
      of[kv - 1](v + f * s->v.point + i / WINO_VEC * block + i % WINO_VEC, z + f * s->z.point + k0 * block, block,
                 s->per_chunk, sums, add);
}

// VEC input channels by VEC output channels at a time, so that dw is written in vectors.
static void transform_back(const state *s, const float *sums, int64_t c0, int64_t c1, int64_t g, float *dw) {
  const int64_t k0 = group_start(s, g), kv = group_start(s, g + 1) - k0, point = (c1 - c0) * WINO_VEC * kv * WINO_VEC;
  for (int64_t c = c0; c < c1; c++, sums += WINO_VEC * kv * WINO_VEC)
    for (int64_t j = 0; j < kv; j++) {
      wino_vec square[WINO_TAPS * WINO_VEC];  // [channel][tap][lane of dy], then [16 of these][lane of dy][16]
      for (int i = 0; i < WINO_VEC; i++) {
        wino_vec in[WINO_POINTS];
        for (int f = 0; f < WINO_POINTS; f++)
          in[f] = *(const wino_vec *)(sums + f * point + (i * kv + j) * WINO_VEC);
        WINO_PLANE(wino_dw, in, WINO_IN, square + i * WINO_TAPS, 3);
      }
      for (int i = 0; i < WINO_TAPS; i++)
        wino_transpose(square + i * WINO_VEC);
      const int64_t k = (k0 + j) * WINO_VEC, n_k = s->d.K - k, n = (s->d.C - c * WINO_VEC) * WINO_TAPS;
      for (int l = 0; l < WINO_VEC && l < n_k; l++)
        for (int i = 0; i < WINO_TAPS && i * WINO_VEC < n; i++)
          memcpy(dw + ((k + l) * s->d.C + c * WINO_VEC) * WINO_TAPS + i * WINO_VEC, &square[i * WINO_VEC + l],
                 (size_t)(n - i * WINO_VEC < WINO_VEC ? n - i * WINO_VEC : WINO_VEC) * sizeof *dw);
    }
}

static ig_status run(const ig_launch *l) {
  const state *s = l->state;
  const float *x = l->in[0], *dy = l->in[1];
  float *dw = l->out[0], *v = l->workspace, *z = v + s->v_floats, *all_sums = z + s->z_floats;
  const int64_t x_plane = s->d.H * s->d.W * WINO_VEC, dy_plane = s->d.P * s->d.Q * WINO_VEC;
  const int64_t block = s->per_chunk * WINO_VEC;
  *(float *)l->out[1] = 0;
#pragma omp parallel num_threads(l->device->caps.threads)
  for (int64_t first = 0; first < s->n_tiles; first += s->per_chunk) {
    int64_t end = first + s->per_chunk;
#pragma omp for schedule(static)
    for (int64_t b = 0; b < s->n_c + s->n_k; b++) {
      if (b < s->n_c)
        wino_planes(&s->tiles, x + b * x_plane, s->n_c * x_plane, first, end, &s->v, v + b * block, false);
      else
        wino_planes(&s->tiles, dy + (b - s->n_c) * dy_plane, s->n_k * dy_plane, first, end, &s->z,
                    z + (b - s->n_c) * block, true);
    }
#pragma omp for collapse(2) schedule(dynamic, 1)
    for (int64_t g = 0; g < s->n_groups; g++)
      for (int64_t c = 0; c < s->n_c; c += s->c_per_task) {
        const int64_t c1 = c + s->c_per_task < s->n_c ? c + s->c_per_task : s->n_c;
        const int64_t task = g * wino_ceil(s->n_c, s->c_per_task) + c / s->c_per_task;
        float *sums = all_sums + (size_t)(s->one_chunk ? omp_get_thread_num() : task) * s->task_floats;
        add_chunk(s, v, z, c, c1, g, first > 0, sums);
        if (end >= s->n_tiles)
          transform_back(s, sums, c, c1, g, dw);
      }
  }
  return IG_OK;
}

static ig_status prepare(ig_prepare *p) {
  state *s;
  IG_TRY(ig_alloc(sizeof *s, "weight gradient", &s));
  const ig_conv2d_dims d = ig_conv2d_dims_of(p->node);
  s->d = d;
  s->tiles = wino_tiles_of(d.N, d.H, d.W, d.P, d.Q, d.pad_top, d.pad_left);
  s->n_c = wino_ceil(d.C, WINO_VEC);
  s->n_k = wino_ceil(d.K, WINO_VEC);
  s->n_groups = wino_ceil(s->n_k, VECTORS);
  s->n_tiles = wino_n_tiles(&s->tiles);
  int64_t fit = CHUNK_BYTES / ((s->n_c + s->n_k) * WINO_VEC * WINO_POINTS * (int64_t)sizeof(float));
  int64_t chunks = wino_ceil(s->n_tiles, fit < 32 ? 32 : fit);
  s->per_chunk = wino_ceil(s->n_tiles, chunks);
  s->one_chunk = s->per_chunk >= s->n_tiles;
  s->v = wino_groups_of(s->per_chunk, s->n_c, 1);
  s->z = wino_groups_of(s->per_chunk, s->n_k, 1);
  s->v_floats = (size_t)(WINO_POINTS * s->v.point);
  s->z_floats = (size_t)(WINO_POINTS * s->z.point);
  const int threads = p->device->caps.threads;
  for (s->c_per_task = MOST_BLOCKS; s->c_per_task > 1; s->c_per_task /= 2)
    if (wino_ceil(s->n_c, s->c_per_task) * s->n_groups >= threads)
      break;
  s->task_floats = (size_t)(WINO_POINTS * s->c_per_task * WINO_VEC * VECTORS * WINO_VEC);
  size_t tasks = (size_t)(s->one_chunk ? threads : s->n_groups * wino_ceil(s->n_c, s->c_per_task));
  p->workspace_bytes = sizeof(float) * (s->v_floats + s->z_floats + tasks * s->task_floats);
  p->in_layout[0] = p->in_layout[1] = IG_BLOCKED_C(WINO_VEC);
  p->out_layout[0] = p->out_layout[1] = IG_PLAIN;
  p->state = s;
  return IG_OK;
}

static bool supports(const ig_node *n, const ig_device_caps *caps, char *why, size_t why_bytes) {
  const ig_conv2d_dims d = ig_conv2d_dims_of(n);
  const char *reason = ((const ig_conv2d_bwd_attr *)n->attr)->has_bias ? "has no bias gradient" : wino_refusal(n, &d);
  if (reason)
    snprintf(why, why_bytes, "%s", reason);
  return !reason;
}

IG_IMPLS(conv2d_bwd_weights_wino_cpu) = {{.name = "conv2d_bwd_weights_wino_cpu",
                                          .flags = IG_IMPL_THREAD_FREE | IG_IMPL_INEXACT,
                                          .isa = IG_ISA_LEVEL,
                                          .supports = supports,
                                          .prepare = prepare,
                                          .run = run,
                                          .destroy = ig_free},
                                         {0}};
