// JPEG by libjpeg-turbo. Rule: a warning that the pixels are damaged is an error; libjpeg's errors leave by longjmp
// only as far as guarded(), and nothing is printed.
#include <setjmp.h>
#include <stdio.h>
#include <string.h>
// jpeglib.h uses FILE and size_t but includes neither
// clang-format off
#include <jpeglib.h>
#include <jerror.h>
// clang-format on

#include "runtime/base/text.h"
#include "runtime/data/image_codec.h"

typedef struct jpeg_reader {
  struct jpeg_decompress_struct lib;
  struct jpeg_error_mgr error;
  struct jpeg_source_mgr source;
  struct jpeg_progress_mgr progress;
  jmp_buf escape;
  size_t n;
  const ig_image_options *options;
  ig_image *out;        // NULL: probe
  ig_image_info *info;  // or NULL
  int orientation;
  ig_status status;
} jpeg_reader;

_Noreturn static void leave(jpeg_reader *r, ig_status status) {
  r->status = status;
  longjmp(r->escape, 1);
}

_Noreturn static void on_error(j_common_ptr lib) {
  char text[JMSG_LENGTH_MAX];
  lib->err->format_message(lib, text);
  leave(lib->client_data, ig_fail(IG_ERR_FORMAT, "JPEG: %s", text));
}

static void on_message(j_common_ptr lib, int level) {
  if (level >= 0)
    return;
  // These three say nothing about the pixels: stray bytes between markers, a JFIF or Adobe marker of an unknown
  // version.
  int code = lib->err->msg_code;
  if (code == JWRN_EXTRANEOUS_DATA || code == JWRN_JFIF_MAJOR || code == JWRN_ADOBE_XFORM)
    return;
  char text[JMSG_LENGTH_MAX];
  lib->err->format_message(lib, text);
  leave(lib->client_data, ig_fail(IG_ERR_FORMAT, "JPEG: damaged: %s", text));
}

static void on_output(j_common_ptr lib) { (void)lib; }

static void on_progress(j_common_ptr lib) {
  jpeg_reader *r = lib->client_data;
  if (r->options && r->lib.input_scan_number > r->options->max_scans)
    leave(r, ig_fail(IG_ERR_FORMAT, "JPEG: more than %d scans; a picture needs about 10", r->options->max_scans));
}

static void source_start(j_decompress_ptr lib) { (void)lib; }

static boolean source_more(j_decompress_ptr lib) {
  jpeg_reader *r = lib->client_data;
  leave(r, ig_fail(IG_ERR_FORMAT, "JPEG: truncated: the data end after %zu %s, before the end-of-image marker", r->n,
                   ig_plural(r->n, "byte", "bytes")));
}

static void source_skip(j_decompress_ptr lib, long n) {
  if (n <= 0)
    return;
  if ((size_t)n > lib->src->bytes_in_buffer)
    source_more(lib);
  lib->src->next_input_byte += n;
  lib->src->bytes_in_buffer -= (size_t)n;
}

static ig_status read_header(jpeg_reader *r) {
  jpeg_save_markers(&r->lib, JPEG_APP0 + 1, 0xFFFF);
  jpeg_read_header(&r->lib, TRUE);
  r->orientation = 1;
  for (jpeg_saved_marker_ptr m = r->lib.marker_list; m; m = m->next)
    if (m->data_length >= 6 && memcmp(m->data, "Exif\0\0", 6) == 0) {
      r->orientation = ig_image_exif_orientation(m->data, m->data_length);
      break;
    }
  int channels = r->lib.num_components;
  if (channels != 1 && channels != 3 && channels != 4)
    return ig_fail(IG_ERR_FORMAT, "JPEG: %d components; expected 1 (grey), 3 (colour) or 4 (CMYK)", channels);
  if (r->info)
    *r->info = (ig_image_info){.w = (int)r->lib.image_width,
                               .h = (int)r->lib.image_height,
                               .channels = channels,
                               .bits = r->lib.data_precision,
                               .orientation = r->orientation};
  return IG_OK;
}

static ig_status read_pixels(jpeg_reader *r) {
  struct jpeg_decompress_struct *lib = &r->lib;
  uint64_t w = lib->image_width, h = lib->image_height;
  // A Huffman-coded block of 64 samples takes a bit at least, and a component may have a quarter of the blocks;
  // arithmetic coding has no such floor.
  IG_TRY(ig_image_check("JPEG", w, h, w * h, r->n, lib->arith_code ? 0 : 8 * 64 * 4, r->options));
  lib->dct_method = JDCT_ISLOW;
  lib->do_fancy_upsampling = TRUE;
  bool cmyk = lib->num_components == 4;
  lib->out_color_space = cmyk ? JCS_CMYK : JCS_RGB;
  if (r->options->scale_hint > 0) {
    uint64_t side = w < h ? w : h;
    lib->scale_num = 1;
    for (lib->scale_denom = 8; lib->scale_denom > 1; lib->scale_denom /= 2)
      if ((side + lib->scale_denom - 1) / lib->scale_denom >= (uint64_t)r->options->scale_hint)
        break;
  }
  jpeg_start_decompress(lib);
  IG_TRY(ig_image_reserve(r->out, (int)lib->output_width, (int)lib->output_height));
  size_t stride = (size_t)lib->output_width * 3;
  if (cmyk) {
    JSAMPARRAY line =
        lib->mem->alloc_sarray((j_common_ptr)lib, JPOOL_IMAGE, lib->output_width * 4, 1);  // freed with lib
    while (lib->output_scanline < lib->output_height) {
      uint8_t *to = r->out->data + stride * lib->output_scanline;
      jpeg_read_scanlines(lib, line, 1);
      for (size_t x = 0; x < lib->output_width; x++) {
        const uint8_t *p = line[0] + 4 * x;  // inverted, as Adobe writes it and as Pillow takes all of them
        uint8_t ink[4] = {(uint8_t)(255 - p[0]), (uint8_t)(255 - p[1]), (uint8_t)(255 - p[2]), (uint8_t)(255 - p[3])};
        ig_image_cmyk_to_rgb(ink, to + 3 * x);
      }
    }
  } else {
    while (lib->output_scanline < lib->output_height) {
      JSAMPROW rows[16];
      JDIMENSION left = lib->output_height - lib->output_scanline, n = left < 16 ? left : 16;
      for (JDIMENSION i = 0; i < n; i++)
        rows[i] = r->out->data + stride * (lib->output_scanline + i);
      jpeg_read_scanlines(lib, rows, n);
    }
  }
  jpeg_finish_decompress(lib);
  return IG_OK;
}

// Behind the first scan's header an end-of-image marker must stand somewhere, or decoding ends in source_more().
static ig_status check_end(jpeg_reader *r) {
  const uint8_t *from = r->source.next_input_byte;
  for (size_t i = r->source.bytes_in_buffer; i >= 2; i--)
    if (from[i - 2] == 0xff && from[i - 1] == JPEG_EOI)
      return IG_OK;
  source_more(&r->lib);
  return IG_OK;
}

static ig_status guarded(jpeg_reader *r) {
  if (setjmp(r->escape))
    return r->status;
  jpeg_create_decompress(&r->lib);
  // create clears the struct but for err and client_data
  r->lib.src = &r->source;
  r->lib.progress = &r->progress;
  IG_TRY(read_header(r));
  return r->out ? read_pixels(r) : check_end(r);
}

static ig_status run(jpeg_reader *r, const uint8_t *bytes) {
  r->lib.err = jpeg_std_error(&r->error);
  r->lib.client_data = r;
  r->error.error_exit = on_error;
  r->error.emit_message = on_message;
  r->error.output_message = on_output;
  r->progress.progress_monitor = on_progress;
  r->source = (struct jpeg_source_mgr){.next_input_byte = bytes,
                                       .bytes_in_buffer = r->n,
                                       .init_source = source_start,
                                       .fill_input_buffer = source_more,
                                       .skip_input_data = source_skip,
                                       .resync_to_restart = jpeg_resync_to_restart,
                                       .term_source = source_start};
  ig_status status = guarded(r);
  jpeg_destroy_decompress(&r->lib);
  return status;
}

static ig_status jpeg_probe(const uint8_t *bytes, size_t n, ig_image_info *info) {
  jpeg_reader r = {.n = n, .info = info};
  return run(&r, bytes);
}

static ig_status jpeg_decode(const uint8_t *bytes, size_t n, const ig_image_options *options, ig_image *out,
                             int *orientation) {
  jpeg_reader r = {.n = n, .options = options, .out = out};
  IG_TRY(run(&r, bytes));
  *orientation = r.orientation;
  return IG_OK;
}

const ig_image_codec ig_image_codec_jpeg = {"JPEG", jpeg_probe, jpeg_decode};
