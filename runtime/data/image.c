// Which reader takes the bytes, the limits, the orientation. Rule: the file's name plays no part, only its content.
#include "runtime/data/image.h"

#include <stdio.h>
#include <string.h>

#include "runtime/base/mem.h"
#include "runtime/base/text.h"
#include "runtime/data/augment_geom.h"
#include "runtime/data/image_codec.h"

static const ig_image_codec *const codecs[IG_IMAGE_N_FORMATS] = {
    &ig_image_codec_jpeg, &ig_image_codec_png, &ig_image_codec_tiff, &ig_image_codec_webp, &ig_image_codec_bmp};

ig_image_options ig_image_options_default(void) {
  return (ig_image_options){.max_side = 65500, .max_pixels = 178956970, .max_scans = 256, .scale_hint = 0};
}

const char *ig_image_format_name(ig_image_format format) {
  return (unsigned)format < IG_IMAGE_N_FORMATS ? codecs[format]->name : "unknown";
}

// What a file that we do not read is, by its first bytes.
static const struct {
  const char *name;
  const char *magic;
  uint8_t n, at;
} foreign[] = {
    {"GIF", "GIF8", 4, 0},
    {"JPEG 2000", "\0\0\0\x0cjP  ", 8, 0},
    {"JPEG 2000", "\xff\x4f\xff\x51", 4, 0},
    {"JPEG XL", "\0\0\0\x0cJXL ", 8, 0},
    {"JPEG XL", "\xff\x0a", 2, 0},
    {"AVIF", "ftypavi", 7, 4},
    {"HEIC", "ftyphe", 6, 4},
    {"HEIF", "ftypmif1", 8, 4},
    {"an MP4 or QuickTime film", "ftyp", 4, 4},
    {"Photoshop (PSD)", "8BPS", 4, 0},
    {"OpenEXR", "\x76\x2f\x31\x01", 4, 0},
    {"Radiance HDR", "#?RADIANCE", 10, 0},
    {"DICOM", "DICM", 4, 128},
    {"FITS", "SIMPLE  =", 9, 0},
    {"an icon (ICO)", "\0\0\1\0", 4, 0},
    {"PDF", "%PDF", 4, 0},
    {"PostScript", "%!PS", 4, 0},
    {"HDF5", "\x89HDF\r\n\x1a\n", 8, 0},
    {"NumPy", "\x93NUMPY", 6, 0},
    {"a zip archive", "PK\3\4", 4, 0},
    {"gzip", "\x1f\x8b", 2, 0},
    {"PNM", "P5", 2, 0},
    {"PNM", "P6", 2, 0},
    {"SVG", "<svg", 4, 0},
    {"HTML", "<!DOCTYPE", 9, 0},
    {"HTML", "<html", 5, 0},
    {"XML or SVG", "<?xml", 5, 0},
    {"a Git LFS pointer instead of the file", "version https://git-lfs", 23, 0},
};

static bool starts(const uint8_t *bytes, size_t n, const char *magic, size_t n_magic, size_t at) {
  return n >= at + n_magic && memcmp(bytes + at, magic, n_magic) == 0;
}

static ig_status sniff(const uint8_t *bytes, size_t n, ig_image_format *format) {
  if (n == 0)
    return ig_fail(IG_ERR_FORMAT, "the file is empty (0 bytes); expected a picture");
  if (starts(bytes, n, "\xff\xd8\xff", 3, 0))
    *format = IG_IMAGE_JPEG;
  else if (starts(bytes, n, "\x89PNG", 4, 0))
    *format = IG_IMAGE_PNG;
  else if (starts(bytes, n, "II*\0", 4, 0) || starts(bytes, n, "MM\0*", 4, 0) || starts(bytes, n, "II+\0", 4, 0) ||
           starts(bytes, n, "MM\0+", 4, 0))
    *format = IG_IMAGE_TIFF;
  else if (starts(bytes, n, "RIFF", 4, 0) && starts(bytes, n, "WEBP", 4, 8))
    *format = IG_IMAGE_WEBP;
  else if (starts(bytes, n, "BM", 2, 0))
    *format = IG_IMAGE_BMP;
  else {
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++)
      if (starts(bytes, n, foreign[i].magic, foreign[i].n, foreign[i].at))
        return ig_fail(IG_ERR_FORMAT,
                       "image format not supported: found %s; expected JPEG, PNG, TIFF, WebP or BMP: convert it",
                       foreign[i].name);
    char hex[3 * 8 + 1] = "";
    for (size_t i = 0; i < n && i < 8; i++)
      snprintf(hex + 3 * i, 4, " %02x", bytes[i]);
    return ig_fail(IG_ERR_FORMAT, "not a picture: %zu %s with%s; expected JPEG, PNG, TIFF, WebP or BMP", n,
                   ig_plural(n, "byte that begins", "bytes that begin"), hex);
  }
  return IG_OK;
}

ig_status ig_image_check(const char *name, uint64_t w, uint64_t h, uint64_t decoded_bytes, size_t n, uint64_t max_ratio,
                         const ig_image_options *options) {
  if (w == 0 || h == 0)
    return ig_fail(IG_ERR_FORMAT, "%s: size %llux%llu in the header; a side must be at least 1", name,
                   (unsigned long long)w, (unsigned long long)h);
  if (w > (uint64_t)options->max_side || h > (uint64_t)options->max_side)
    return ig_fail(IG_ERR_FORMAT, "%s: size %llux%llu in the header; at most %d pixels a side are accepted", name,
                   (unsigned long long)w, (unsigned long long)h, options->max_side);
  if (w * h > (uint64_t)options->max_pixels)
    return ig_fail(IG_ERR_FORMAT, "%s: size %llux%llu in the header is %llu pixels; at most %lld are accepted", name,
                   (unsigned long long)w, (unsigned long long)h, (unsigned long long)(w * h),
                   (long long)options->max_pixels);
  if (max_ratio && decoded_bytes / max_ratio > n)
    return ig_fail(IG_ERR_FORMAT, "%s: truncated or damaged: %zu %s cannot hold the %llux%llu pixels of the header",
                   name, n, ig_plural(n, "byte", "bytes"), (unsigned long long)w, (unsigned long long)h);
  return IG_OK;
}

ig_status ig_image_reserve(ig_image *image, int w, int h) {
  size_t need = (size_t)w * (size_t)h * 3;
  if (need > image->capacity || !image->data) {
    ig_image_fini(image);
    IG_TRY(ig_alloc(need, "picture", &image->data));
    image->capacity = need;
  }
  image->w = w;
  image->h = h;
  return IG_OK;
}

void ig_image_fini(ig_image *image) {
  ig_free(image->data);
  *image = (ig_image){0};
}

int ig_image_exif_orientation(const uint8_t *exif, size_t n) {
  if (n >= 6 && memcmp(exif, "Exif\0\0", 6) == 0) {
    exif += 6;
    n -= 6;
  }
  if (n < 8)
    return 1;
  bool little = exif[0] == 'I';
  if (memcmp(exif, little ? "II*\0" : "MM\0*", 4) != 0)
    return 1;
#define U16(p) (little ? (uint32_t)((p)[0] | (p)[1] << 8) : (uint32_t)((p)[0] << 8 | (p)[1]))
#define U32(p) (little ? U16(p) | U16((p) + 2) << 16 : U16(p) << 16 | U16((p) + 2))
  uint32_t at = U32(exif + 4);
  if (at > n || n - at < 2)
    return 1;
  uint32_t entries = U16(exif + at);
  const uint8_t *entry = exif + at + 2, *end = exif + n;
  for (; entries > 0 && end - entry >= 12; entries--, entry += 12) {
    if (U16(entry) != 0x0112)
      continue;
    // SHORT by the standard; some writers store a LONG
    uint32_t type = U16(entry + 2), value = type == 4 ? U32(entry + 8) : U16(entry + 8);
    return (type == 3 || type == 4) && value >= 1 && value <= 8 ? (int)value : 1;
  }
#undef U16
#undef U32
  return 1;
}

ig_status ig_image_probe(const void *bytes, size_t n, ig_image_info *info) {
  *info = (ig_image_info){0};
  ig_image_format format = IG_IMAGE_JPEG;
  IG_TRY(sniff(bytes, n, &format));
  IG_TRY(codecs[format]->probe(bytes, n, info));
  info->format = format;
  if (info->orientation >= 5) {
    int w = info->w;
    info->w = info->h;
    info->h = w;
  }
  return IG_OK;
}

ig_status ig_image_decode(const void *bytes, size_t n, const ig_image_options *options, ig_image *out) {
  ig_image_options defaults = ig_image_options_default();
  ig_image_format format = IG_IMAGE_JPEG;
  int orientation = 1;
  IG_TRY(sniff(bytes, n, &format));
  IG_TRY(codecs[format]->decode(bytes, n, options ? options : &defaults, out, &orientation));
  if (orientation == 1)
    return IG_OK;
  ig_image turned = {0};
  int w = orientation >= 5 ? out->h : out->w, h = orientation >= 5 ? out->w : out->h;
  IG_TRY(ig_image_reserve(&turned, w, h));
  ig_geom_orient(out->data, out->w, out->h, orientation, turned.data);
  ig_image_fini(out);
  *out = turned;
  return IG_OK;
}
