// TIFF by libtiff: grey, palette, RGB, CMYK and JPEG-compressed YCbCr of 1 to 16 bits, strips or tiles, one plane or
// several; the first page. Rule: libtiff only hands out blocks of raw samples; what they mean is decided here.
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <tiffio.h>

#include "runtime/base/mem.h"
#include "runtime/base/text.h"
#include "runtime/data/image_codec.h"

#if TIFFLIB_VERSION < 20221213
#error "libtiff 4.5 or newer is needed: older ones report errors through process-wide handlers only"
#endif

typedef struct tiff_reader {
  const uint8_t *bytes;
  uint64_t n, at;
  TIFF *lib;
  bool damaged;
  char message[256];  // libtiff's first error
  uint32_t w, h;
  uint16_t bits, samples, photometric, planar, compression, orientation;
  bool tiled, premultiplied;
  int needed;                    // samples of a pixel that count: 1, 3 or 4
  uint16_t *red, *green, *blue;  // palette, of libtiff
  bool palette_8;                // written with 8 instead of 16 bits a colour
} tiff_reader;

static tmsize_t on_read(thandle_t h, void *to, tmsize_t n) {
  tiff_reader *r = h;
  uint64_t left = r->at < r->n ? r->n - r->at : 0, m = (uint64_t)n < left ? (uint64_t)n : left;
  memcpy(to, r->bytes + (r->at < r->n ? r->at : 0), m);
  r->at += m;
  return (tmsize_t)m;
}
static tmsize_t on_write(thandle_t h, void *from, tmsize_t n) { return (void)h, (void)from, (void)n, 0; }
static toff_t on_seek(thandle_t h, toff_t offset, int whence) {
  tiff_reader *r = h;
  return r->at = offset + (whence == SEEK_CUR ? r->at : whence == SEEK_END ? r->n : 0);
}
static int on_close(thandle_t h) { return (void)h, 0; }
static toff_t on_size(thandle_t h) { return ((tiff_reader *)h)->n; }

static int on_error(TIFF *lib, void *user, const char *module, const char *format, va_list arguments) {
  tiff_reader *r = user;
  if (!r->message[0])
    vsnprintf(r->message, sizeof r->message, format, arguments);
  return 1;
}
// Most warnings are of tags that nobody needs; those of the embedded JPEG decoder are of damaged pixels.
static int on_warning(TIFF *lib, void *user, const char *module, const char *format, va_list arguments) {
  if (module && strncmp(module, "JPEG", 4) == 0) {
    ((tiff_reader *)user)->damaged = true;
    on_error(lib, user, module, format, arguments);
  }
  return 1;
}

static ig_status failed(const tiff_reader *r, const char *what) {
  return ig_fail(IG_ERR_FORMAT, "TIFF: %s: %s", what, r->message[0] ? r->message : "truncated or damaged");
}

static ig_status open_reader(tiff_reader *r, const uint8_t *bytes, size_t n, const ig_image_options *options) {
  *r = (tiff_reader){.bytes = bytes, .n = n};
  TIFFOpenOptions *o = TIFFOpenOptionsAlloc();
  if (!o)
    return ig_fail(IG_ERR_MEMORY, "TIFF: no memory for the reader");
  TIFFOpenOptionsSetErrorHandlerExtR(o, on_error, r);
  TIFFOpenOptionsSetWarningHandlerExtR(o, on_warning, r);
  // tags for a probe; a strip may hold the whole picture, 4 samples of 16 bits
  int64_t most = 64 << 20;
  if (options && options->max_pixels < INT64_MAX / 8 && options->max_pixels * 8 > most)
    most = options->max_pixels * 8;
  TIFFOpenOptionsSetMaxSingleMemAlloc(o, most);
  r->lib = TIFFClientOpenExt("picture", "rm", r, on_read, on_write, on_seek, on_close, on_size, NULL, NULL, o);
  TIFFOpenOptionsFree(o);
  return r->lib ? IG_OK : failed(r, "cannot read the header");
}

static ig_status unsupported(const char *what, unsigned value, const char *expected) {
  return ig_fail(IG_ERR_FORMAT, "TIFF: %s %u is not supported; expected %s: convert it", what, value, expected);
}

static ig_status read_header(tiff_reader *r) {
  uint16_t format = SAMPLEFORMAT_UINT, n_extra = 0, *extra = NULL;
  if (!TIFFGetField(r->lib, TIFFTAG_IMAGEWIDTH, &r->w) || !TIFFGetField(r->lib, TIFFTAG_IMAGELENGTH, &r->h) ||
      !TIFFGetField(r->lib, TIFFTAG_PHOTOMETRIC, &r->photometric))
    return failed(r, "width, height or photometric interpretation is missing");
  if (r->w == 0 || r->h == 0 || r->w > INT32_MAX || r->h > INT32_MAX)
    return ig_fail(IG_ERR_FORMAT, "TIFF: size %ux%u in the header", r->w, r->h);
  TIFFGetFieldDefaulted(r->lib, TIFFTAG_BITSPERSAMPLE, &r->bits);
  TIFFGetFieldDefaulted(r->lib, TIFFTAG_SAMPLESPERPIXEL, &r->samples);
  TIFFGetFieldDefaulted(r->lib, TIFFTAG_PLANARCONFIG, &r->planar);
  TIFFGetFieldDefaulted(r->lib, TIFFTAG_COMPRESSION, &r->compression);
  TIFFGetFieldDefaulted(r->lib, TIFFTAG_ORIENTATION, &r->orientation);
  TIFFGetFieldDefaulted(r->lib, TIFFTAG_SAMPLEFORMAT, &format);
  TIFFGetFieldDefaulted(r->lib, TIFFTAG_EXTRASAMPLES, &n_extra, &extra);
  if (r->orientation < 1 || r->orientation > 8)
    r->orientation = 1;
  r->tiled = TIFFIsTiled(r->lib) != 0;
  if (r->bits < 1 || r->bits > 16)
    return unsupported("bits a sample", r->bits, "1 to 16");
  if (format != SAMPLEFORMAT_UINT && format != SAMPLEFORMAT_VOID)
    return unsupported("sample format", format, "1 (unsigned integers)");
  if (!TIFFIsCODECConfigured(r->compression) || r->compression == COMPRESSION_OJPEG)
    return unsupported("compression", r->compression, "none, LZW, Deflate, PackBits, CCITT or JPEG");
  switch (r->photometric) {
    case PHOTOMETRIC_MINISWHITE:
    case PHOTOMETRIC_MINISBLACK:
      r->needed = 1;
      break;
    case PHOTOMETRIC_PALETTE:
      r->needed = 1;
      if (r->bits > 8)
        return unsupported("palette with bits", r->bits, "1 to 8");
      if (!TIFFGetField(r->lib, TIFFTAG_COLORMAP, &r->red, &r->green, &r->blue))
        return failed(r, "the palette is missing");
      r->palette_8 = true;
      for (int i = 0; i < 1 << r->bits; i++)
        if (r->red[i] > 255 || r->green[i] > 255 || r->blue[i] > 255)
          r->palette_8 = false;
      break;
    case PHOTOMETRIC_RGB:
      r->needed = 3;
      r->premultiplied = n_extra >= 1 && extra[0] == EXTRASAMPLE_ASSOCALPHA && r->samples >= 4;
      if (r->premultiplied)
        r->needed = 4;
      break;
    case PHOTOMETRIC_SEPARATED:
      r->needed = 4;
      break;
    case PHOTOMETRIC_YCBCR:
      if (r->compression != COMPRESSION_JPEG || r->planar != PLANARCONFIG_CONTIG || r->bits != 8)
        return unsupported("YCbCr with compression", r->compression, "7 (JPEG) of 8 bits in one plane");
      TIFFSetField(r->lib, TIFFTAG_JPEGCOLORMODE, JPEGCOLORMODE_RGB);
      r->needed = 3;
      break;
    default:
      return unsupported("photometric interpretation", r->photometric, "grey, palette, RGB, CMYK or YCbCr");
  }
  if (r->samples < r->needed || r->samples > 64)
    return ig_fail(IG_ERR_FORMAT, "TIFF: %u %s a pixel; expected %d (and at most 64)", r->samples,
                   ig_plural(r->samples, "sample", "samples"), r->needed);
  return IG_OK;
}

// needed samples of w pixels as 8 bits, interleaved: round(v 255 / max). plane[c]: the row of sample c; step: samples
// from pixel to pixel.
static void unpack_row(const tiff_reader *r, const uint8_t *const plane[4], const int first[4], int step, uint32_t w,
                       uint8_t *to) {
  uint32_t max = (1u << r->bits) - 1;
  bool index = r->photometric == PHOTOMETRIC_PALETTE;
  for (int c = 0; c < r->needed; c++) {
    const uint8_t *row = plane[c];
    for (uint32_t x = 0; x < w; x++) {
      size_t i = (size_t)x * (size_t)step + (size_t)first[c];
      uint32_t v;
      if (r->bits == 8) {
        to[(size_t)x * (size_t)r->needed + (size_t)c] = row[i];
        continue;
      } else if (r->bits == 16) {
        uint16_t word;
        memcpy(&word, row + 2 * i, 2);
        v = word;
      } else {
        v = 0;
        for (size_t bit = i * r->bits, end = bit + r->bits; bit < end; bit++)
          v = v << 1 | (row[bit / 8] >> (7 - bit % 8) & 1u);
      }
      to[(size_t)x * (size_t)r->needed + (size_t)c] = (uint8_t)(index ? v : (v * 255 + max / 2) / max);
    }
  }
}

static void row_to_rgb(const tiff_reader *r, const uint8_t *from, uint32_t w, uint8_t *to) {
  for (uint32_t x = 0; x < w; x++, from += r->needed, to += 3) {
    switch (r->photometric) {
      case PHOTOMETRIC_MINISWHITE:
        to[0] = to[1] = to[2] = (uint8_t)(255 - from[0]);
        break;
      case PHOTOMETRIC_MINISBLACK:
        to[0] = to[1] = to[2] = from[0];
        break;
      case PHOTOMETRIC_PALETTE: {
        int shift = r->palette_8 ? 0 : 8;
        to[0] = (uint8_t)(r->red[from[0]] >> shift);
        to[1] = (uint8_t)(r->green[from[0]] >> shift);
        to[2] = (uint8_t)(r->blue[from[0]] >> shift);
        break;
      }
      case PHOTOMETRIC_SEPARATED:
        ig_image_cmyk_to_rgb(from, to);
        break;
      default:
        for (int c = 0; c < 3; c++) {
          unsigned v = from[c];
          if (r->premultiplied)
            v = from[3] ? v * 255 / from[3] : 0;
          to[c] = (uint8_t)(v < 255 ? v : 255);
        }
    }
  }
}

static ig_status read_pixels(tiff_reader *r, size_t n, const ig_image_options *options, ig_image *out) {
  bool split = r->planar == PLANARCONFIG_SEPARATE && r->samples > 1;
  uint64_t decoded = ((uint64_t)r->w * r->samples * r->bits + 7) / 8 * r->h;
  bool open_ended = r->compression != COMPRESSION_NONE && r->compression != COMPRESSION_LZW &&
                    r->compression != COMPRESSION_ADOBE_DEFLATE && r->compression != COMPRESSION_DEFLATE &&
                    r->compression != COMPRESSION_PACKBITS && r->compression != COMPRESSION_JPEG;
  // LZW expands most: strings of up to 3837 bytes a code of 12 bits
  IG_TRY(ig_image_check("TIFF", r->w, r->h, decoded, n,
                        r->compression == COMPRESSION_NONE ? 1
                        : open_ended                       ? 0
                                                           : 4096,
                        options));
  uint32_t block_w = r->w, block_h = r->h;
  if (r->tiled) {
    TIFFGetField(r->lib, TIFFTAG_TILEWIDTH, &block_w);
    TIFFGetField(r->lib, TIFFTAG_TILELENGTH, &block_h);
  } else {
    TIFFGetFieldDefaulted(r->lib, TIFFTAG_ROWSPERSTRIP, &block_h);
    block_h = block_h < r->h ? block_h : r->h;
  }
  uint64_t block_bytes = r->tiled ? TIFFTileSize64(r->lib) : TIFFStripSize64(r->lib);
  uint64_t row_bytes = r->tiled ? TIFFTileRowSize64(r->lib) : TIFFScanlineSize64(r->lib);
  uint64_t row_need = ((uint64_t)block_w * (split ? 1 : r->samples) * r->bits + 7) / 8;
  if (block_w == 0 || block_h == 0 || row_bytes < row_need || block_bytes / block_h < row_need)
    return failed(r, "strip or tile sizes do not fit the picture");
  if (block_bytes > (uint64_t)options->max_pixels * 8 + (1 << 20))
    return ig_fail(IG_ERR_FORMAT, "TIFF: strips or tiles of %llu bytes are over the limit of pixels",
                   (unsigned long long)block_bytes);
  IG_TRY(ig_image_reserve(out, (int)r->w, (int)r->h));
  ig_status status = IG_OK;
  uint8_t *blocks = NULL, *line = NULL;
  int n_planes = split ? r->needed : 1;
  IG_GOTO(ig_alloc_array(block_bytes, (size_t)n_planes, "TIFF block", &blocks));
  IG_GOTO(ig_alloc_array(block_w, (size_t)r->needed, "TIFF row", &line));
  for (uint32_t y0 = 0; y0 < r->h; y0 += block_h) {
    uint32_t rows = r->h - y0 < block_h ? r->h - y0 : block_h;
    for (uint32_t x0 = 0; x0 < r->w; x0 += block_w) {
      uint32_t columns = r->w - x0 < block_w ? r->w - x0 : block_w;
      for (int p = 0; p < n_planes; p++) {
        uint8_t *to = blocks + (size_t)p * block_bytes;
        tmsize_t want, got;
        if (r->tiled) {
          want = (tmsize_t)block_bytes;
          got = TIFFReadEncodedTile(r->lib, TIFFComputeTile(r->lib, x0, y0, 0, (uint16_t)p), to, want);
        } else {
          want = (tmsize_t)(row_bytes * rows);
          got = TIFFReadEncodedStrip(r->lib, TIFFComputeStrip(r->lib, y0, (uint16_t)p), to, want);
        }
        if (got != want || r->damaged) {
          status = failed(r, "cannot read the pixels");
          goto done;
        }
      }
      for (uint32_t y = 0; y < rows; y++) {
        uint8_t *to = out->data + ((size_t)(y0 + y) * r->w + x0) * 3;
        const uint8_t *row = blocks + row_bytes * y, *plane[4];
        int first[4];
        for (int c = 0; c < 4; c++) {
          plane[c] = row + (split && c < n_planes ? block_bytes * (uint64_t)c : 0);
          first[c] = split ? 0 : c;
        }
        if (r->bits == 8 && r->needed == 3 && r->samples == 3 && !split) {
          memcpy(to, row, (size_t)columns * 3);
          continue;
        }
        unpack_row(r, plane, first, split ? 1 : r->samples, columns, line);
        row_to_rgb(r, line, columns, to);
      }
    }
  }
done:
  ig_free(blocks);
  ig_free(line);
  return status;
}

// Thumbnails and masks of the picture are none.
static bool has_more_pages(TIFF *lib) {
  while (TIFFReadDirectory(lib)) {
    uint32_t kind = 0;
    TIFFGetFieldDefaulted(lib, TIFFTAG_SUBFILETYPE, &kind);
    if (!(kind & (FILETYPE_REDUCEDIMAGE | FILETYPE_MASK)))
      return true;
  }
  return false;
}

static ig_status probe(const uint8_t *bytes, size_t n, ig_image_info *info) {
  tiff_reader r;
  IG_TRY(open_reader(&r, bytes, n, NULL));
  ig_status status = read_header(&r);
  *info = (ig_image_info){
      .w = (int)r.w, .h = (int)r.h, .channels = r.samples, .bits = r.bits, .orientation = r.orientation};
  uint64_t decoded = ((uint64_t)r.w * r.samples * r.bits + 7) / 8 * r.h;
  if (status == IG_OK && r.compression == COMPRESSION_NONE && decoded > n)
    status = ig_fail(IG_ERR_FORMAT, "TIFF: truncated: %zu %s; the %ux%u pixels of the header need %llu", n,
                     ig_plural(n, "byte", "bytes"), r.w, r.h, (unsigned long long)decoded);
  info->more_pages = status == IG_OK && has_more_pages(r.lib);
  TIFFClose(r.lib);
  return status;
}

static ig_status decode(const uint8_t *bytes, size_t n, const ig_image_options *options, ig_image *out,
                        int *orientation) {
  tiff_reader r;
  ig_status status;
  IG_TRY(open_reader(&r, bytes, n, options));
  IG_GOTO(read_header(&r));
  *orientation = r.orientation;
  status = read_pixels(&r, n, options, out);
done:
  TIFFClose(r.lib);
  return status;
}

const ig_image_codec ig_image_codec_tiff = {"TIFF", probe, decode};
