// Reference of picture: each pixel by itself, in double, as picture.h says it.
#include <math.h>

#include "kernels/kernels.h"
#include "kernels/picture/picture.h"

typedef struct source {
  const uint8_t *pixels;
  const ig_picture_attr *attr;
  float row[IG_N_AUG];
  int64_t h, w;
  double mean_grey;
} source;

static double grey(double r, double g, double b) { return 0.299 * r + 0.587 * g + 0.114 * b; }

static source source_of(const ig_launch *l, int64_t n) {
  const ig_shape *s = &l->node->in[0]->shape;
  source p = {.attr = l->node->attr, .h = s->d[1], .w = s->d[2]};
  p.pixels = (const uint8_t *)l->in[0] + n * p.h * p.w * 3;
  ig_aug_neutral(p.row);
  for (int i = 0; l->in[1] && i < IG_N_AUG; i++)
    p.row[i] = ((const float *)l->in[1])[n * IG_N_AUG + i];
  for (int64_t i = 0; i < p.h * p.w; i++)
    p.mean_grey += grey(p.pixels[3 * i], p.pixels[3 * i + 1], p.pixels[3 * i + 2]);
  p.mean_grey /= (double)(p.h * p.w);
  return p;
}

static bool inside(const float *rectangle, int64_t x, int64_t y) {
  return (float)x >= rectangle[0] && (float)y >= rectangle[1] && (float)x < rectangle[2] && (float)y < rectangle[3];
}

// Pixel (x, y) of the picture before mixing, as R, G, B.
static void pixel(const source *p, int64_t x, int64_t y, double rgb[3]) {
  double b = (double)p->row[IG_AUG_BRIGHTNESS], c = (double)p->row[IG_AUG_CONTRAST],
         s = (double)p->row[IG_AUG_SATURATION];
  int64_t from_x = p->row[IG_AUG_HFLIP] >= 0.5f ? p->w - 1 - x : x;
  int64_t from_y = p->row[IG_AUG_VFLIP] >= 0.5f ? p->h - 1 - y : y;
  bool transpose = p->row[IG_AUG_TRANSPOSE] >= 0.5f && p->h == p->w;
  const uint8_t *q = p->pixels + 3 * (transpose ? from_x * p->w + from_y : from_y * p->w + from_x);
  bool erased = inside(p->row + IG_AUG_ERASE_X0, x, y);
  for (int k = 0; k < 3; k++) {
    double v = c * b * (s * q[k] + (1 - s) * grey(q[0], q[1], q[2])) + (1 - c) * b * p->mean_grey;
    rgb[k] = erased ? (double)p->attr->mean[p->attr->bgr ? 2 - k : k] : fmin(fmax(v, 0), 255);
  }
}

static ig_status run_picture(const ig_launch *l) {
  const ig_picture_attr *a = l->node->attr;
  const ig_tensor *y = l->node->out[0];
  int64_t n_pictures = y->shape.d[0];
  for (int64_t n = 0; n < n_pictures; n++) {
    source own = source_of(l, n), other = own;
    float mode = own.row[IG_AUG_MIX_MODE];
    int64_t partner = l->in[2] ? ((const int32_t *)l->in[2])[n] : -1;
    bool mixed = mode >= 0.5f && partner >= 0 && partner < n_pictures;
    if (mixed)
      other = source_of(l, partner);
    for (int64_t i = 0; i < own.h * own.w; i++) {
      double p[3], q[3], share = 1;
      pixel(&own, i % own.w, i / own.w, p);
      pixel(&other, i % own.w, i / own.w, q);
      if (mixed && mode < 1.5f)
        share = (double)own.row[IG_AUG_LAMBDA];
      else if (mixed)
        share = inside(own.row + IG_AUG_CUT_X0, i % own.w, i / own.w) ? 0 : 1;
      for (int c = 0; c < 3; c++) {
        int k = a->bgr ? 2 - c : c;
        double v = share * p[k] + (1 - share) * q[k];
        ig_store_f64(l->out[0], y->dtype, (size_t)((n * own.h * own.w + i) * 3 + c),
                     (v - (double)a->mean[c]) / (double)a->std[c]);
      }
    }
  }
  return IG_OK;
}

IG_IMPLS(picture_ref) = {
    {.name = "picture_ref", .flags = IG_IMPL_REF | IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE, .run = run_picture},
    {0},
};
