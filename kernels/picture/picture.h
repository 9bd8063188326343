// Everything per pixel between a decoded picture and the first layer, in one pass. Rule: what was drawn for a sample is
// a row of numbers; the op itself draws nothing, so the same row gives the same pixels everywhere.
#ifndef IG_KERNELS_PICTURE_H
#define IG_KERNELS_PICTURE_H

#include "runtime/graph/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

// Fields of a sample's row, in the order in which they act. A flag is on at 0.5 or more. Pixel (x, y) is inside of a
// rectangle where X0 <= x < X1 and Y0 <= y < Y1, in pixels of the result; parts outside of the picture are cut off.
enum ig_aug_field {
  IG_AUG_TRANSPOSE,  // y(i, j) = x(j, i); pictures that are not square ignore it
  IG_AUG_HFLIP,      // then mirrored left-right
  IG_AUG_VFLIP,      // then top-bottom
  // Then colours, in one step that is clamped to 0..255 at its end: with b, c, s = brightness, contrast, saturation,
  // grey(p) = 0.299 R + 0.587 G + 0.114 B, and m the mean of grey over the picture:
  // p' = c b (s p + (1 - s) grey(p)) + (1 - c) b m.
  IG_AUG_BRIGHTNESS,
  IG_AUG_CONTRAST,
  IG_AUG_SATURATION,
  // Then a rectangle of the mean colour (0 after normalisation).
  IG_AUG_ERASE_X0,
  IG_AUG_ERASE_Y0,
  IG_AUG_ERASE_X1,
  IG_AUG_ERASE_Y1,
  // Then the partner picture, itself after all that stands above by its own row (but not mixed): below 0.5 nothing;
  // below 1.5 mixup, LAMBDA p + (1 - LAMBDA) partner; from there cutmix, the partner inside of the rectangle.
  IG_AUG_MIX_MODE,
  IG_AUG_LAMBDA,
  IG_AUG_CUT_X0,
  IG_AUG_CUT_Y0,
  IG_AUG_CUT_X1,
  IG_AUG_CUT_Y1,
  IG_N_AUG
};
enum { IG_MIX_NONE, IG_MIX_MIXUP, IG_MIX_CUTMIX };

// The row that leaves a picture as it is.
static inline void ig_aug_neutral(float row[IG_N_AUG]) {
  for (int i = 0; i < IG_N_AUG; i++)
    row[i] = 0;
  row[IG_AUG_BRIGHTNESS] = row[IG_AUG_CONTRAST] = row[IG_AUG_SATURATION] = row[IG_AUG_LAMBDA] = 1;
}

typedef struct ig_picture_attr {
  float mean[3], std[3];  // of the result's channels, in 0..255
  bool bgr;               // the result's channels are B, G, R
} ig_picture_attr;

// y = (p - mean) / std in the graph's compute dtype, [N,H,W,3], with p as above. pictures u8 [N,H,W,3] (R, G, B); aug
// fp32 [N, IG_N_AUG] or NULL (all neutral); partner i32 [N], indices into the batch, or NULL (nothing is mixed, as with
// an index outside of the batch). No gradient.
ig_tensor *ig_picture(ig_graph *g, const char *name, ig_tensor *pictures, ig_tensor *aug, ig_tensor *partner,
                      const ig_picture_attr *attr);

#ifdef __cplusplus
}
#endif
#endif
