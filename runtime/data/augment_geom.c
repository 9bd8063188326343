// Turns, mirrors and affine sampling of uint8 RGB pictures. Rule: reads never leave src, whatever the matrix.
#include "runtime/data/augment_geom.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

void ig_geom_orient(const uint8_t *src, int w, int h, int orientation, uint8_t *dst) {
  ptrdiff_t px = 3, row = 3 * (ptrdiff_t)w, right = px * (w - 1), bottom = row * (h - 1);
  // where dst (0, 0) comes from, and src's step for one pixel right and one row down in dst
  ptrdiff_t start = 0, dx = px, dy = row;
  switch (orientation) {
    case 2:
      start = right, dx = -px;
      break;
    case 3:
      start = right + bottom, dx = -px, dy = -row;
      break;
    case 4:
      start = bottom, dy = -row;
      break;
    case 5:
      dx = row, dy = px;
      break;
    case 6:
      start = bottom, dx = -row, dy = px;
      break;
    case 7:
      start = right + bottom, dx = -row, dy = -px;
      break;
    case 8:
      start = right, dx = row, dy = -px;
      break;
    default:
      break;
  }
  int dst_w = orientation >= 5 ? h : w, dst_h = orientation >= 5 ? w : h;
  for (int y = 0; y < dst_h; y++) {
    const uint8_t *from = src + start + dy * y;
    uint8_t *to = dst + (size_t)y * (size_t)dst_w * 3;
    if (dx == px) {
      memcpy(to, from, (size_t)dst_w * 3);
      continue;
    }
    for (int x = 0; x < dst_w; x++, from += dx, to += 3)
      to[0] = from[0], to[1] = from[1], to[2] = from[2];
  }
}

// Index of a mirrored row of n: ... 1 0 | 0 1 ... n-1 | n-1 n-2 ...
static int mirror(int64_t i, int n) {
  if (i >= 0 && i < n)
    return (int)i;
  int64_t period = 2 * (int64_t)n;
  i %= period;
  if (i < 0)
    i += period;
  return (int)(i < n ? i : period - 1 - i);
}

// To 16.16; a matrix that leads farther than 2^31 pixels away (or is NaN) is cut there, where mirror() still works.
static int64_t fixed(double v) {
  v *= 65536;
  return v > -0x1p47 && v < 0x1p47 ? llrint(v) : v >= 0x1p47 ? (int64_t)1 << 47 : -((int64_t)1 << 47);
}

void ig_geom_affine(const uint8_t *src, int w, int h, const double m[6], uint8_t *dst, int dst_w, int dst_h) {
  int64_t step_x = fixed(m[0]), step_y = fixed(m[3]);
  for (int y = 0; y < dst_h; y++) {
    double X = 0.5, Y = y + 0.5;
    int64_t sx = fixed(m[0] * X + m[1] * Y + m[2] - 0.5), sy = fixed(m[3] * X + m[4] * Y + m[5] - 0.5);
    for (int x = 0; x < dst_w; x++, sx += step_x, sy += step_y, dst += 3) {
      int64_t ix = sx >> 16, iy = sy >> 16;
      int fx = (int)(sx >> 8 & 255), fy = (int)(sy >> 8 & 255);
      const uint8_t *a, *b, *c, *d;
      if (ix >= 0 && iy >= 0 && ix + 1 < w && iy + 1 < h) {
        a = src + ((size_t)iy * (size_t)w + (size_t)ix) * 3;
        b = a + 3;
        c = a + (size_t)w * 3;
        d = c + 3;
      } else {
        size_t x0 = (size_t)mirror(ix, w), x1 = (size_t)mirror(ix + 1, w);
        const uint8_t *top = src + (size_t)mirror(iy, h) * (size_t)w * 3;
        const uint8_t *low = src + (size_t)mirror(iy + 1, h) * (size_t)w * 3;
        a = top + 3 * x0, b = top + 3 * x1, c = low + 3 * x0, d = low + 3 * x1;
      }
      for (int k = 0; k < 3; k++) {
        int upper = a[k] * (256 - fx) + b[k] * fx, lower = c[k] * (256 - fx) + d[k] * fx;
        dst[k] = (uint8_t)((upper * (256 - fy) + lower * fy + 32768) >> 16);
      }
    }
  }
}

void ig_geom_rotate(const uint8_t *src, int w, int h, double degrees, uint8_t *dst) {
  // With y downwards, a turn of the picture counter-clockwise by t takes dst (X, Y) from the centre c plus
  // (cos X - sin Y, sin X + cos Y), X and Y relative to c.
  double t = degrees * 0.017453292519943295, c = cos(t), s = sin(t), cx = w / 2.0, cy = h / 2.0;
  double m[6] = {c, -s, cx - c * cx + s * cy, s, c, cy - s * cx - c * cy};
  ig_geom_affine(src, w, h, m, dst, w, h);
}
