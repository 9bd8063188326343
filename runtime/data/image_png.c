// PNG by libpng. Rule: all colour types and depths leave as RGB of 8 bits by libpng's own exact transforms; gamma and
// colour profiles are ignored, as Pillow ignores them.
#include <png.h>
#include <setjmp.h>
#include <string.h>

#include "runtime/data/image_codec.h"

#define TRUNCATED "truncated: the data end before the IEND chunk"

typedef struct png_reader {
  png_structp lib;
  png_infop header;
  const uint8_t *at;
  size_t n, left;
  const ig_image_options *options;
  ig_image *out;        // NULL: probe
  ig_image_info *info;  // or NULL
  int orientation;
  bool whole;
} png_reader;

_Noreturn static void on_error(png_structp lib, png_const_charp text) {
  ig_fail(IG_ERR_FORMAT, "PNG: %s", text);
  png_longjmp(lib, 1);
}

static void on_warning(png_structp lib, png_const_charp text) { (void)lib, (void)text; }

static void on_read(png_structp lib, png_bytep to, size_t n) {
  png_reader *r = png_get_io_ptr(lib);
  if (n > r->left)
    png_error(lib, TRUNCATED);
  memcpy(to, r->at, n);
  r->at += n;
  r->left -= n;
}

// The eXIf chunk may stand before the pixels or after them: a walk over the chunks that needs no pixels. *whole: the
// last chunk is there.
static int find_orientation(const uint8_t *bytes, size_t n, bool *whole) {
  int orientation = 0;
  *whole = false;
  for (size_t at = 8; n - at >= 12;) {
    const uint8_t *chunk = bytes + at;
    size_t length = (size_t)chunk[0] << 24 | (size_t)chunk[1] << 16 | (size_t)chunk[2] << 8 | chunk[3];
    if (length > n - at - 12)
      break;
    if (!orientation && memcmp(chunk + 4, "eXIf", 4) == 0)
      orientation = ig_image_exif_orientation(chunk + 8, length);
    *whole = memcmp(chunk + 4, "IEND", 4) == 0;
    if (*whole)
      break;
    at += 12 + length;
  }
  return orientation ? orientation : 1;
}

static ig_status read_pixels(png_reader *r, png_uint_32 w, png_uint_32 h, int depth, int type) {
  // deflate expands by at most 1032
  IG_TRY(ig_image_check("PNG", w, h, (uint64_t)png_get_rowbytes(r->lib, r->header) * h, r->n, 1032, r->options));
  png_set_scale_16(r->lib);
  if (type == PNG_COLOR_TYPE_PALETTE)
    png_set_palette_to_rgb(r->lib);
  else if (depth < 8)
    png_set_expand_gray_1_2_4_to_8(r->lib);
  png_set_strip_alpha(r->lib);
  png_set_gray_to_rgb(r->lib);
  int passes = png_set_interlace_handling(r->lib);
  png_read_update_info(r->lib, r->header);
  size_t stride = (size_t)w * 3;
  if (png_get_rowbytes(r->lib, r->header) != stride)
    return ig_fail(IG_ERR_INTERNAL, "PNG: %zu bytes a row after conversion to RGB; expected %zu",
                   png_get_rowbytes(r->lib, r->header), stride);
  IG_TRY(ig_image_reserve(r->out, (int)w, (int)h));
  for (int pass = 0; pass < passes; pass++)
    for (png_uint_32 y = 0; y < h; y++)
      png_read_row(r->lib, r->out->data + stride * y, NULL);
  png_read_end(r->lib, NULL);
  return IG_OK;
}

static ig_status guarded(png_reader *r) {
  if (setjmp(png_jmpbuf(r->lib)))
    return IG_ERR_FORMAT;
  png_set_read_fn(r->lib, r, on_read);
  png_set_user_limits(r->lib, 0x7fffffff, 0x7fffffff);  // ours are checked instead, for one message
  png_read_info(r->lib, r->header);
  png_uint_32 w, h;
  int depth, type;
  png_get_IHDR(r->lib, r->header, &w, &h, &depth, &type, NULL, NULL, NULL);
  if (r->info)
    *r->info = (ig_image_info){.w = (int)w,
                               .h = (int)h,
                               .channels = png_get_channels(r->lib, r->header),
                               .bits = depth,
                               .orientation = r->orientation};
  if (!r->out && !r->whole)
    png_error(r->lib, TRUNCATED);
  return r->out ? read_pixels(r, w, h, depth, type) : IG_OK;
}

static ig_status run(png_reader *r, const uint8_t *bytes) {
  r->at = bytes;
  r->left = r->n;
  r->orientation = r->n >= 8 ? find_orientation(bytes, r->n, &r->whole) : 1;
  ig_status status = IG_ERR_MEMORY;
  r->lib = png_create_read_struct(PNG_LIBPNG_VER_STRING, r, on_error, on_warning);
  r->header = r->lib ? png_create_info_struct(r->lib) : NULL;
  if (r->header)
    status = guarded(r);
  else
    ig_fail(IG_ERR_MEMORY, "PNG: no memory for the reader");
  png_destroy_read_struct(&r->lib, &r->header, NULL);
  return status;
}

static ig_status probe(const uint8_t *bytes, size_t n, ig_image_info *info) {
  png_reader r = {.n = n, .info = info};
  return run(&r, bytes);
}

static ig_status decode(const uint8_t *bytes, size_t n, const ig_image_options *options, ig_image *out,
                        int *orientation) {
  png_reader r = {.n = n, .options = options, .out = out};
  IG_TRY(run(&r, bytes));
  *orientation = r.orientation;
  return IG_OK;
}

const ig_image_codec ig_image_codec_png = {"PNG", probe, decode};
