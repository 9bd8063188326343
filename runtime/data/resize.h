// The one resize of the project: antialiased bilinear on uint8 RGB, byte for byte Pillow's to 12.1 (horizontal pass
// first; Pillow 13 goes vertically first where the height falls by more than twice as much as the width, and differs by
// 1 there). Rule: all arithmetic after the coefficients is exact integers, so every code path gives the same bytes.
//
// For output i of an axis of `out` samples from `in`: s = in / out, support f = max(s, 1), centre c = (i + .5) s; taps
// j from int(c - f + .5) to int(c + f + .5), cut to 0..in; weight max(0, 1 - |j + .5 - c| / f), divided by their sum,
// times 2^22, rounded. A pass is (sum of weight * sample + 2^21) >> 22 to uint8; columns first, then rows.
#ifndef IG_DATA_RESIZE_H
#define IG_DATA_RESIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ig_rect {
  int x, y, w, h;
} ig_rect;

// Coefficients of one axis, for the outputs from .. from + n; kept from call to call, computed anew only when one of
// the four changes.
typedef struct ig_resize_axis {
  int in, out, from, n;
  int n_groups;     // groups of 4 taps an output, zero-filled
  int *first;       // [n] first tap
  int *count;       // [n] taps that count
  int32_t *weight;  // [n][4 * n_groups]
  int16_t *packed;  // the same as two 11-bit halves in the order of the AVX2 code; see resize.c
  size_t first_capacity, count_capacity, weight_capacity, packed_capacity;
} ig_resize_axis;

// Working memory of one thread. Start from {0}; ig_resize_fini frees. Grows to the largest request, then allocates no
// more.
typedef struct ig_resize {
  ig_resize_axis x, y;
  uint8_t *rows, *line;
  size_t rows_capacity, line_capacity;
  bool portable;  // tests: take the plain C path although the processor has AVX2
} ig_resize;

// Cuts `box` out of src (w x h, interleaved RGB, rows of 3 w bytes), scales it to out_w x out_h and stores the part
// `view` of that (NULL: all) in dst, rows of dst_stride bytes (at least 3 view->w). The taps end at the box, as if the
// cut piece were all there is. IG_ERR_USAGE when a box or view is empty or leaves its picture; IG_ERR_MEMORY.
ig_status ig_resize_run(ig_resize *r, const uint8_t *src, int w, int h, ig_rect box, int out_w, int out_h,
                        const ig_rect *view, uint8_t *dst, size_t dst_stride);
void ig_resize_fini(ig_resize *r);

// The usual evaluation transform: shorter side to `shorter` (longer: int(shorter * long / short)), then the centre
// crop x crop at round_half_even((size - crop) / 2). Needs crop <= shorter. dst: crop * crop * 3 bytes.
ig_status ig_resize_eval(ig_resize *r, const uint8_t *src, int w, int h, int shorter, int crop, uint8_t *dst);

#ifdef __cplusplus
}
#endif
#endif
