// Geometry on uint8 RGB pictures: the eight turns and mirrors, rotation by any angle, affine sampling. Rule: integer
// arithmetic from the matrix on, so that every machine gives the same bytes.
#ifndef IG_DATA_AUGMENT_GEOM_H
#define IG_DATA_AUGMENT_GEOM_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Brings a stored picture (w x h, interleaved RGB, rows of 3 w bytes) upright by its EXIF orientation: 1 copy, 2 mirror
// left-right, 3 turn by 180 degrees, 4 mirror top-bottom, 5 transpose, 6 turn clockwise by 90, 7 transverse,
// 8 turn counter-clockwise by 90. For 5..8 dst is h wide and w high. dst and src must not overlap.
void ig_geom_orient(const uint8_t *src, int w, int h, int orientation, uint8_t *dst);

// dst (dst_w x dst_h) at pixel centre (x + .5, y + .5) takes src at (m[0] X + m[1] Y + m[2], m[3] X + m[4] Y + m[5]),
// X = x + .5, Y = y + .5, bilinear between pixel centres; outside, src is mirrored about its edges (cba|abc|cba).
// Scales well below 1 alias: shrink with resize.h. Coordinates are rounded to 2^-16, weights to 2^-8.
void ig_geom_affine(const uint8_t *src, int w, int h, const double m[6], uint8_t *dst, int dst_w, int dst_h);

// Rotation about the picture's centre, counter-clockwise by `degrees` as seen, same size, mirrored fill.
void ig_geom_rotate(const uint8_t *src, int w, int h, double degrees, uint8_t *dst);

#ifdef __cplusplus
}
#endif
#endif
