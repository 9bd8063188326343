// The bf16 weight gradient of the 3x3 convolution of stride 1 by Winograd's F(2x2,3x3) transposed: x and dy are
// transformed tile by tile, multiplied at each of the 16 points with fp32 sums over tiles (pairs of vdpbf16ps are two
// tiles), and the sums transformed back. The batch is cut into chunks of tiles whose transforms fit a shared cache;
// sums of one block of channels by one group of output channels belong to one task. Rule: sums run over tiles in their
// order, so that threads change no bit; they do not follow the shards of the batch, so that a plan in which ranks must
// change no bit either takes another implementation.
#include <omp.h>

#include "kernels/conv2d/conv2d_products_bf16.h"
#include "kernels/conv2d/conv2d_wino_bf16.h"

enum {
  CHUNK_BYTES = 3 << 20,  // of transformed x and dy: they stay in the last-level cache
  LEAST_PAIRS = 32,
  MOST_BLOCKS = 4,  // of x in a task: its sums stay in the second-level cache
  TASKS_PER_THREAD = 2,
};

typedef struct state {
  ig_conv2d_dims d;
  wino2_tiles tiles;
  int64_t n_c, n_k, n_groups;  // channel blocks of x and dy; groups of up to BF16_VECTORS blocks of dy
  int64_t n_pairs, per_chunk;  // of tiles
  int64_t v_point, z_point;    // transformed x and dy [16][block][pair][lane]: a cache line more a point
  int64_t c_per_task;
  size_t task_floats;
  bool one_chunk;
} state;

// Pairs [first, end) of tiles of one channel block into `to`.
static inline __attribute__((always_inline)) void transform(const state *s, const uint16_t *from, int64_t sample,
                                                            int64_t first, int64_t end, const bool of_dy, uint32_t *to,
                                                            int64_t point) {
  wino2_place at = wino2_place_of(&s->tiles, 2 * first);
  for (int64_t i = first; i < end; i++, to += BF16_VEC) {
    __m512 a[WINO2_POINTS], b[WINO2_POINTS];
    wino2_tile(&s->tiles, from, sample, &at, of_dy, a);
    wino2_step(&s->tiles, &at);
    wino2_tile(&s->tiles, from, sample, &at, of_dy, b);
    wino2_step(&s->tiles, &at);
    for (int f = 0; f < WINO2_POINTS; f++)
      _mm512_storeu_si512(to + f * point, bf16_round_pairs(a[f], b[f]));
  }
}

// A task: one group of output channels by input blocks [c0, c1); its sums: [16][block][channel of it][kv][lane].
typedef struct task {
  int64_t g, k0, kv, c0, c1;
} task;

static task task_at(const state *s, int64_t i) {
  const int64_t per_group = bf16_ceil(s->n_c, s->c_per_task), g = i / per_group, c = i % per_group * s->c_per_task;
  const int64_t k0 = bf16_group(s->n_k, s->n_groups, g);
  return (task){g, k0, bf16_group(s->n_k, s->n_groups, g + 1) - k0, c,
                c + s->c_per_task < s->n_c ? c + s->c_per_task : s->n_c};
}
static int64_t n_tasks(const state *s) { return s->n_groups * bf16_ceil(s->n_c, s->c_per_task); }

// Point by point, so that a chunk of dy is read once for all blocks of x.
static void add_chunk(const state *s, const uint32_t *v, const uint32_t *z, const task *t, bool add, float *sums) {
  const int64_t block = s->per_chunk * BF16_VEC, vectors = BF16_VEC * t->kv;
  const bf16_window w = {.rows = 1, .n = s->per_chunk, .x_step = BF16_VEC, .dy_block = block};
  if (!add)
    memset(sums, 0, (size_t)(WINO2_POINTS * (t->c1 - t->c0) * vectors * BF16_VEC) * sizeof *sums);
  for (int f = 0; f < WINO2_POINTS; f++)
    for (int64_t c = t->c0; c < t->c1; c++)
      for (int i = 0; i < BF16_VEC; i += BF16_ROWS, sums += BF16_ROWS * t->kv * BF16_VEC)
        bf16_add_window(&w, v + f * s->v_point + c * block + i, z + f * s->z_point + t->k0 * block, sums, (int)t->kv,
                        BF16_ROWS);
}

static void transform_back(const state *s, const float *sums, const task *t, float *dw) {
  const int64_t vectors = BF16_VEC * t->kv, point = (t->c1 - t->c0) * vectors;
  float tile[WINO2_TAPS * BF16_VEC * BF16_VECTORS * BF16_VEC];
  for (int64_t c = t->c0; c < t->c1; c++, sums += vectors * BF16_VEC) {
    for (int64_t i = 0; i < vectors; i++) {
      __m512 in[WINO2_POINTS], out[WINO2_TAPS];
      for (int f = 0; f < WINO2_POINTS; f++)
        in[f] = _mm512_loadu_ps(sums + (f * point + i) * BF16_VEC);
      WINO2_PLANE(wino2_dw, in, WINO2_IN, out, 3);
      for (int j = 0; j < WINO2_TAPS; j++)
        _mm512_storeu_ps(tile + (j * vectors + i) * BF16_VEC, out[j]);
    }
    bf16_write_tile(&s->d, tile, t->k0, (int)t->kv, c, dw);
  }
}

static ig_status run(const ig_launch *l) {
  const state *s = l->state;
  const uint16_t *x = l->in[0], *dy = l->in[1];
  float *all_sums = l->workspace;
  const size_t tasks = (size_t)(s->one_chunk ? l->device->caps.threads : n_tasks(s));
  uint32_t *v = (uint32_t *)(all_sums + tasks * s->task_floats), *z = v + WINO2_POINTS * s->v_point;
  const int64_t x_plane = s->d.H * s->d.W * BF16_VEC, dy_plane = s->d.P * s->d.Q * BF16_VEC;
  const int64_t block = s->per_chunk * BF16_VEC;
  *(float *)l->out[1] = 0;
#pragma omp parallel num_threads(l->device->caps.threads)
  for (int64_t first = 0; first < s->n_pairs; first += s->per_chunk) {
    const int64_t end = first + s->per_chunk;
#pragma omp for schedule(static)
    for (int64_t b = 0; b < s->n_c + s->n_k; b++) {
      if (b < s->n_c)
        transform(s, x + b * x_plane, s->n_c * x_plane, first, end, false, v + b * block, s->v_point);
      else
        transform(s, dy + (b - s->n_c) * dy_plane, s->n_k * dy_plane, first, end, true, z + (b - s->n_c) * block,
                  s->z_point);
    }
#pragma omp for schedule(dynamic, 1)
    for (int64_t i = 0; i < n_tasks(s); i++) {
      const task t = task_at(s, i);
      float *sums = all_sums + (size_t)(s->one_chunk ? omp_get_thread_num() : i) * s->task_floats;
      add_chunk(s, v, z, &t, first > 0, sums);
      if (end >= s->n_pairs)
        transform_back(s, sums, &t, l->out[0]);
    }
  }
  return IG_OK;
}

static ig_status prepare(ig_prepare *p) {
  state *s;
  IG_TRY(ig_alloc(sizeof *s, "weight gradient", &s));
  const ig_conv2d_dims d = ig_conv2d_dims_of(p->node);
  s->d = d;
  s->tiles = wino2_tiles_of(d.N, d.H, d.W, d.P, d.Q, d.pad_top, d.pad_left);
  s->n_c = bf16_ceil(d.C, BF16_VEC);
  s->n_k = bf16_ceil(d.K, BF16_VEC);
  s->n_groups = bf16_ceil(s->n_k, BF16_VECTORS);
  s->n_pairs = bf16_ceil(wino2_n_tiles(&s->tiles), 2);
  const int64_t pair = (s->n_c + s->n_k) * BF16_VEC * WINO2_POINTS * (int64_t)sizeof(uint32_t);
  const int64_t fit = CHUNK_BYTES / pair < LEAST_PAIRS ? LEAST_PAIRS : CHUNK_BYTES / pair;
  s->per_chunk = bf16_ceil(s->n_pairs, bf16_ceil(s->n_pairs, fit));
  s->one_chunk = s->per_chunk >= s->n_pairs;
  s->v_point = s->n_c * s->per_chunk * BF16_VEC + BF16_VEC;
  s->z_point = s->n_k * s->per_chunk * BF16_VEC + BF16_VEC;
  for (s->c_per_task = MOST_BLOCKS; s->c_per_task > 1 && n_tasks(s) < TASKS_PER_THREAD * p->device->caps.threads;)
    s->c_per_task--;
  s->task_floats = (size_t)(s->c_per_task * WINO2_POINTS * BF16_VEC * BF16_VECTORS * BF16_VEC);
  const size_t tasks = (size_t)(s->one_chunk ? p->device->caps.threads : n_tasks(s));
  p->workspace_bytes =
      tasks * s->task_floats * sizeof(float) + (size_t)(WINO2_POINTS * (s->v_point + s->z_point)) * sizeof(uint32_t);
  p->in_layout[0] = p->in_layout[1] = IG_BLOCKED_C(BF16_VEC);
  p->out_layout[0] = p->out_layout[1] = IG_PLAIN;
  p->state = s;
  return IG_OK;
}

static bool supports(const ig_node *n, const ig_device_caps *caps, char *why, size_t why_bytes) {
  const ig_conv2d_dims d = ig_conv2d_dims_of(n);
  return ig_no_reason(((const ig_conv2d_bwd_attr *)n->attr)->has_bias ? "has no bias gradient" : wino2_refusal(n, &d),
                      why, why_bytes);
}

IG_IMPLS(conv2d_bwd_weights_wino_bf16_cpu) = {{.name = "conv2d_bwd_weights_wino_bf16_cpu",
                                               .flags = IG_IMPL_THREAD_FREE | IG_IMPL_INEXACT,
                                               .isa = IG_ISA_LEVEL,
                                               .supports = supports,
                                               .prepare = prepare,
                                               .run = run,
                                               .destroy = ig_free},
                                              {0}};
