// CPU kernel of picture: tiles of up to 64 pixels of a row stay in the first-level cache from byte to result. The mean
// grey of a picture, where contrast asks for it, is an integer sum made before.
#include <math.h>

#include "kernels/eltwise/lanes.h"
#include "kernels/kernels.h"
#include "kernels/optim_util/fixed.h"
#include "kernels/picture/picture.h"
#include "kernels/plain.h"

#define TILE 64  // pixels
#define ROWS 16  // of a picture that one iteration of the parallel loop takes

typedef struct source {
  const uint8_t *pixels;
  int64_t h, w;
  bool hflip, vflip, transpose, neutral;  // neutral: colours stay
  float own, grey, offset;                // p' = own p + grey grey(p) + offset
  int64_t erase[4];                       // x0, y0, x1, y1 cut to the picture
  float fill[3];
} source;

static bool is_on(float flag) { return flag >= 0.5f; }

// First pixel at or behind an edge, in 0..size.
static int64_t edge(float v, int64_t size) {
  float up = ceilf(v);
  return up > 0 ? (up < (float)size ? (int64_t)up : size) : 0;
}

static void rectangle_of(const float *r, const source *s, int64_t out[4]) {
  for (int i = 0; i < 4; i++)
    out[i] = edge(r[i], i & 1 ? s->h : s->w);
}

static float mean_grey(const uint8_t *pixels, int64_t n) {
  uint64_t sum[3] = {0};
  for (int64_t i = 0; i < n; i++)
    for (int c = 0; c < 3; c++)
      sum[c] += pixels[3 * i + c];
  return (float)((0.299 * (double)sum[0] + 0.587 * (double)sum[1] + 0.114 * (double)sum[2]) / (double)n);
}

static source source_of(const ig_launch *l, int64_t n) {
  const ig_shape *shape = &l->node->in[0]->shape;
  const ig_picture_attr *a = l->node->attr;
  source s = {.h = shape->d[1], .w = shape->d[2], .neutral = true, .own = 1};
  s.pixels = (const uint8_t *)l->in[0] + n * s.h * s.w * 3;
  for (int c = 0; c < 3; c++)
    s.fill[c] = a->mean[a->bgr ? 2 - c : c];
  if (!l->in[1])
    return s;
  const float *row = (const float *)l->in[1] + n * IG_N_AUG, *mean = l->workspace;
  const float b = row[IG_AUG_BRIGHTNESS], c = row[IG_AUG_CONTRAST], saturation = row[IG_AUG_SATURATION];
  s.hflip = is_on(row[IG_AUG_HFLIP]);
  s.vflip = is_on(row[IG_AUG_VFLIP]);
  s.transpose = is_on(row[IG_AUG_TRANSPOSE]) && s.h == s.w;
  s.neutral = b == 1 && c == 1 && saturation == 1;
  s.own = c * b * saturation;
  s.grey = c * b * (1 - saturation);
  s.offset = c == 1 ? 0 : (1 - c) * b * mean[n];
  rectangle_of(row + IG_AUG_ERASE_X0, &s, s.erase);
  return s;
}

static void colour(const source *s, int64_t n, float *v) {
  const float red = 0.299f * s->grey, green = 0.587f * s->grey, blue = 0.114f * s->grey;
  for (int64_t i = 0; i < n; i++) {
    float shared = red * v[3 * i] + green * v[3 * i + 1] + blue * v[3 * i + 2] + s->offset;
    for (int c = 0; c < 3; c++) {
      float p = s->own * v[3 * i + c] + shared;
      p = p > 0 ? p : 0;
      v[3 * i + c] = p < 255 ? p : 255;
    }
  }
}

// Pixels (x .. x + n, y) before mixing, as R, G, B of 0..255.
static void load_tile(const source *s, int64_t x, int64_t y, int64_t n, float *v) {
  const int64_t from_y = s->vflip ? s->h - 1 - y : y, from_x = s->hflip ? s->w - 1 - x : x;
  const uint8_t *p = s->pixels + 3 * (s->transpose ? from_x * s->w + from_y : from_y * s->w + from_x);
  const int64_t step = 3 * (s->transpose ? s->w : 1) * (s->hflip ? -1 : 1);
  if (step == 3)
    for (int64_t i = 0; i < 3 * n; i++)
      v[i] = (float)p[i];
  else
    for (int64_t i = 0; i < n; i++)
      for (int c = 0; c < 3; c++)
        v[3 * i + c] = (float)p[i * step + c];
  if (!s->neutral)
    colour(s, n, v);
  if (y >= s->erase[1] && y < s->erase[3])
    for (int64_t i = s->erase[0] > x ? s->erase[0] - x : 0; i < ig_min_i64(n, s->erase[2] - x); i++)
      for (int c = 0; c < 3; c++)
        v[3 * i + c] = s->fill[c];
}

typedef struct mix {
  int mode;
  float lambda;
  int64_t cut[4];
} mix;

static mix mix_of(const ig_launch *l, int64_t n, const source *s, int64_t *partner) {
  mix m = {.mode = IG_MIX_NONE};
  if (!l->in[1] || !l->in[2])
    return m;
  const float *row = (const float *)l->in[1] + n * IG_N_AUG;
  *partner = ((const int32_t *)l->in[2])[n];
  if (!is_on(row[IG_AUG_MIX_MODE]) || *partner < 0 || *partner >= l->node->in[0]->shape.d[0])
    return m;
  m.mode = row[IG_AUG_MIX_MODE] < 1.5f ? IG_MIX_MIXUP : IG_MIX_CUTMIX;
  m.lambda = row[IG_AUG_LAMBDA];
  rectangle_of(row + IG_AUG_CUT_X0, s, m.cut);
  return m;
}

static void mix_tile(const mix *m, const source *other, int64_t x, int64_t y, int64_t n, float *v) {
  float partner[3 * TILE];
  if (m->mode == IG_MIX_MIXUP) {
    load_tile(other, x, y, n, partner);
    for (int64_t i = 0; i < 3 * n; i++)
      v[i] = m->lambda * v[i] + (1 - m->lambda) * partner[i];
  } else if (y >= m->cut[1] && y < m->cut[3]) {
    const int64_t first = m->cut[0] > x ? m->cut[0] : x, end = ig_min_i64(x + n, m->cut[2]);
    if (first < end)
      load_tile(other, first, y, end - first, v + 3 * (first - x));
  }
}

// Mean and 1 / standard deviation of R, G, B, repeated along a tile.
typedef struct norm {
  float mean[3 * TILE], scale[3 * TILE];
} norm;

static void finish_tile(const norm *k, bool bgr, int64_t n, const float *v, float *y) {
  if (!bgr)
    for (int64_t i = 0; i < 3 * n; i++)
      y[i] = (v[i] - k->mean[i]) * k->scale[i];
  else
    for (int64_t i = 0; i < n; i++)
      for (int c = 0; c < 3; c++)
        y[3 * i + c] = (v[3 * i + 2 - c] - k->mean[c]) * k->scale[c];
}

static ig_status run_picture(const ig_launch *l) {
  const ig_picture_attr *a = l->node->attr;
  const ig_shape *shape = &l->node->in[0]->shape;
  const int64_t n_pictures = shape->d[0], h = shape->d[1], w = shape->d[2], blocks = (h + ROWS - 1) / ROWS;
  const ig_dtype type = l->node->out[0]->dtype;
  norm k;
  for (int i = 0; i < 3 * TILE; i++) {
    k.mean[i] = a->mean[i % 3];
    k.scale[i] = 1 / a->std[i % 3];
  }
  float *mean = l->workspace;
#pragma omp parallel for schedule(static)
  for (int64_t n = 0; n < n_pictures; n++)
    if (l->in[1] && ((const float *)l->in[1])[n * IG_N_AUG + IG_AUG_CONTRAST] != 1)
      mean[n] = mean_grey((const uint8_t *)l->in[0] + n * h * w * 3, h * w);
#pragma omp parallel for schedule(static)
  for (int64_t block = 0; block < n_pictures * blocks; block++) {
    const int64_t n = block / blocks, first = block % blocks * ROWS;
    int64_t partner = n;
    float v[3 * TILE], buffer[3 * TILE];
    const source own = source_of(l, n);
    const mix m = mix_of(l, n, &own, &partner);
    const source other = m.mode == IG_MIX_NONE ? own : source_of(l, partner);
    for (int64_t y = first; y < ig_min_i64(first + ROWS, h); y++)
      for (int64_t x = 0; x < w; x += TILE) {
        const int64_t count = ig_min_i64(TILE, w - x), at = 3 * ((n * h + y) * w + x);
        load_tile(&own, x, y, count, v);
        if (m.mode != IG_MIX_NONE)
          mix_tile(&m, &other, x, y, count, v);
        float *out = ig_lanes_target(l->out[0], type, at, buffer);
        finish_tile(&k, a->bgr, count, v, out);
        ig_lanes_store(l->out[0], type, at, 3 * count, out);
      }
  }
  return IG_OK;
}

static ig_status prepare_picture(ig_prepare *p) {
  ig_prepare_plain(p);
  p->workspace_bytes = (size_t)p->node->in[0]->shape.d[0] * sizeof(float);
  return IG_OK;
}

IG_IMPLS(picture_cpu) = {
    {.name = "picture_cpu",
     .flags = IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE,
     .isa = IG_ISA_LEVEL,
     .supports = ig_lanes_supports,
     .prepare = prepare_picture,
     .run = run_picture},
    {0},
};
