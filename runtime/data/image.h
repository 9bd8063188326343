// Pictures from bytes: JPEG, PNG, TIFF, WebP and BMP, told apart by content. Rule: the decoded bytes are exactly those
// of Pillow's convert("RGB") after exif_transpose (16-bit samples: round(v / 257)), or there is an error; never a
// guess.
#ifndef IG_DATA_IMAGE_H
#define IG_DATA_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

// RGB, interleaved, rows of 3 w bytes without padding, top row first. Start from {0}; ig_image_fini frees. A decode
// into an image that already holds a large enough buffer reuses it, so a thread that keeps one image stops allocating.
typedef struct ig_image {
  uint8_t *data;
  int w, h;
  size_t capacity;  // bytes behind data
} ig_image;

typedef enum ig_image_format {
  IG_IMAGE_JPEG = 0,
  IG_IMAGE_PNG,
  IG_IMAGE_TIFF,
  IG_IMAGE_WEBP,
  IG_IMAGE_BMP,
  IG_IMAGE_N_FORMATS
} ig_image_format;

typedef struct ig_image_info {
  ig_image_format format;
  int w, h;         // of the upright picture, that is after the orientation is applied
  int channels;     // as stored: 1 grey or palette, 2 grey + alpha, 3, 4 (alpha or CMYK)
  int bits;         // a sample, as stored
  int orientation;  // EXIF 1..8; for PNG and WebP, where it may follow the pixels, what the whole file says
  bool more_pages;  // of a TIFF: behind the first, which alone is decoded
} ig_image_info;

typedef struct ig_image_options {
  int max_side;        // pixels
  int64_t max_pixels;  // w * h
  int max_scans;       // of a JPEG
  // 0: exact. Otherwise a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size, as long as its shorter side stays at
  // least this long (training: cheaper, other bytes). The picture's size is then that of the reduced one.
  int scale_hint;
} ig_image_options;

// 65500 a side, 178,956,970 pixels, 256 scans, exact.
ig_image_options ig_image_options_default(void);

const char *ig_image_format_name(ig_image_format format);

// Reads the headers, and whether the file's end is there (not of compressed TIFFs and BMPs); no memory for pixels.
// IG_ERR_FORMAT when it is not one of the five formats (the message names what was found, such as GIF), when the
// headers are broken or the file is cut off. What it refuses decode refuses, too; not the other way round (damaged
// pixels). Size limits are decode's.
ig_status ig_image_probe(const void *bytes, size_t n, ig_image_info *info);

// Decodes into *out (see ig_image). Transparency is dropped, not composited; grey is repeated; CMYK and YCCK become
// RGB; the orientation is applied, of EXIF alone (Pillow takes XMP's and ImageMagick's raw profile, too). Limits are
// checked after the header, before any memory for pixels. options: NULL for the default. IG_ERR_FORMAT: not a picture,
// damaged, truncated or over a limit; IG_ERR_MEMORY. After a failure *out is still valid to reuse or fini, its pixels
// undefined. The message does not know the file: ig_fail_prefix it. Any number of threads may decode at once.
ig_status ig_image_decode(const void *bytes, size_t n, const ig_image_options *options, ig_image *out);

// Makes room for w x h pixels (no initial content) and sets w, h; grows only.
ig_status ig_image_reserve(ig_image *image, int w, int h);
void ig_image_fini(ig_image *image);

#ifdef __cplusplus
}
#endif
#endif
