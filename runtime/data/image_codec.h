// Between image.c and the five readers. Rule: a reader calls ig_image_check once it knows the size and before it asks
// for memory that depends on it.
#ifndef IG_DATA_IMAGE_CODEC_H
#define IG_DATA_IMAGE_CODEC_H

#include <stdbool.h>

#include "runtime/data/image.h"

// probe: fills w, h (as stored), channels, bits and orientation. decode: pixels as stored (not yet turned) into out,
// and the orientation. Both set the message.
typedef struct ig_image_codec {
  const char *name;
  ig_status (*probe)(const uint8_t *bytes, size_t n, ig_image_info *info);
  ig_status (*decode)(const uint8_t *bytes, size_t n, const ig_image_options *options, ig_image *out, int *orientation);
} ig_image_codec;

extern const ig_image_codec ig_image_codec_jpeg, ig_image_codec_png, ig_image_codec_tiff, ig_image_codec_webp,
    ig_image_codec_bmp;

// Checks the stored size against the limits, and the decoded size against what n bytes could hold at best: max_ratio
// decoded bytes a stored byte (0: unknown). decoded_bytes is of the file's own samples.
ig_status ig_image_check(const char *name, uint64_t w, uint64_t h, uint64_t decoded_bytes, size_t n, uint64_t max_ratio,
                         const ig_image_options *options);

// Orientation 1..8 of an EXIF block (with or without "Exif\0\0" in front); 1 where it has none or is broken.
int ig_image_exif_orientation(const uint8_t *exif, size_t n);

// One pixel of CMYK (0 = no ink) as Pillow converts it: each c becomes nk - round(c nk / 255), nk = 255 - k.
static inline void ig_image_cmyk_to_rgb(const uint8_t cmyk[4], uint8_t rgb[3]) {
  unsigned nk = 255u - cmyk[3];
  for (int c = 0; c < 3; c++) {
    unsigned t = cmyk[c] * nk + 128;
    rgb[c] = (uint8_t)(nk - ((t + (t >> 8)) >> 8));
  }
}

static inline unsigned ig_image_u16le(const uint8_t *p) { return p[0] | (unsigned)p[1] << 8; }
static inline uint32_t ig_image_u32le(const uint8_t *p) {
  return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

#endif
