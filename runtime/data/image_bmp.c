// BMP: a small strict reader of our own (1, 4, 8, 16, 24, 32 bits, RLE8, RLE4, bit fields, top-down). Rule: every read
// is checked against the end of the data, every colour index against the palette.
#include <string.h>

#include "runtime/base/text.h"
#include "runtime/data/image_codec.h"

enum { BI_RGB = 0, BI_RLE8 = 1, BI_RLE4 = 2, BI_BITFIELDS = 3, BI_ALPHABITFIELDS = 6 };

typedef struct bmp {
  const uint8_t *bytes;
  size_t n;
  uint32_t w, h;
  bool top_down;
  int bits;
  uint32_t compression, pixels_at, n_colours, colour_bytes, palette_at;
  uint32_t mask[3];  // r, g, b for 16 and 32 bits
} bmp;

static ig_status read_header(const uint8_t *bytes, size_t n, bmp *b) {
  *b = (bmp){.bytes = bytes, .n = n};
  if (n < 26)
    return ig_fail(IG_ERR_FORMAT, "BMP: truncated: %zu %s, less than a header", n, ig_plural(n, "byte", "bytes"));
  b->pixels_at = ig_image_u32le(bytes + 10);
  uint32_t size = ig_image_u32le(bytes + 14), used = 0;
  if (size != 12 && size != 40 && size != 52 && size != 56 && size != 64 && size != 108 && size != 124)
    return ig_fail(IG_ERR_FORMAT, "BMP: header of %u %s; expected 12, 40, 52, 56, 64, 108 or 124", size,
                   ig_plural(size, "byte", "bytes"));
  if (n < 14 + (size_t)size)
    return ig_fail(IG_ERR_FORMAT, "BMP: truncated: %zu bytes, the header alone needs %u", n, 14 + size);
  uint32_t planes, after = 14 + size;
  if (size == 12) {
    b->w = ig_image_u16le(bytes + 18);
    b->h = ig_image_u16le(bytes + 20);
    planes = ig_image_u16le(bytes + 22);
    b->bits = (int)ig_image_u16le(bytes + 24);
    b->colour_bytes = 3;
  } else {
    b->w = ig_image_u32le(bytes + 18);
    b->h = ig_image_u32le(bytes + 22);
    b->top_down = b->h >> 31;
    if (b->top_down)
      b->h = 0u - b->h;
    planes = ig_image_u16le(bytes + 26);
    b->bits = (int)ig_image_u16le(bytes + 28);
    b->compression = ig_image_u32le(bytes + 30);
    used = ig_image_u32le(bytes + 46);
    b->colour_bytes = 4;
  }
  if (planes != 1)
    return ig_fail(IG_ERR_FORMAT, "BMP: %u planes; expected 1", planes);
  if (b->w == 0 || b->h == 0 || b->w > INT32_MAX || b->h > INT32_MAX)
    return ig_fail(IG_ERR_FORMAT, "BMP: size %ux%u in the header", b->w, b->h);
  bool fields = b->compression == BI_BITFIELDS || b->compression == BI_ALPHABITFIELDS, ok;
  switch (b->bits) {
    case 1:
    case 24:
      ok = b->compression == BI_RGB;
      break;
    case 4:
      ok = b->compression == BI_RGB || b->compression == BI_RLE4;
      break;
    case 8:
      ok = b->compression == BI_RGB || b->compression == BI_RLE8;
      break;
    case 16:
    case 32:
      ok = b->compression == BI_RGB || fields;
      break;
    default:
      return ig_fail(IG_ERR_FORMAT, "BMP: %d bits a pixel; expected 1, 4, 8, 16, 24 or 32", b->bits);
  }
  // OS/2's 64-byte header numbers its own compressions from 3 on
  if (!ok || (size == 64 && b->compression >= BI_BITFIELDS))
    return ig_fail(IG_ERR_FORMAT, "BMP: compression %u with %d bits a pixel is not supported; save it as PNG",
                   b->compression, b->bits);
  if (b->top_down && (b->compression == BI_RLE8 || b->compression == BI_RLE4))
    return ig_fail(IG_ERR_FORMAT, "BMP: run-length compression with rows from the top; the format forbids it");
  if (fields) {
    uint32_t all = 0;
    size_t need = b->compression == BI_ALPHABITFIELDS ? 16 : 12;
    if (n < 54 + need)
      return ig_fail(IG_ERR_FORMAT, "BMP: truncated: %zu bytes, before the colour masks", n);
    if (size == 40)
      after += (uint32_t)need;
    for (int c = 0; c < 3; c++) {
      uint32_t m = b->mask[c] = ig_image_u32le(bytes + 54 + 4 * c), low = m & (0u - m);
      if (m == 0 || (m & (m + low)) != 0 || (m & all) != 0 || (b->bits == 16 && m > 0xffff))
        return ig_fail(IG_ERR_FORMAT, "BMP: colour mask %08x is empty, has holes, overlaps another or leaves the pixel",
                       m);
      all |= m;
    }
  } else if (b->bits == 16) {
    b->mask[0] = 0x7c00, b->mask[1] = 0x03e0, b->mask[2] = 0x001f;
  } else if (b->bits == 32) {
    b->mask[0] = 0xff0000, b->mask[1] = 0xff00, b->mask[2] = 0xff;
  }
  if (b->bits <= 8) {
    b->palette_at = after;
    b->n_colours = used ? used : 1u << b->bits;
    if (b->n_colours > 256)
      return ig_fail(IG_ERR_FORMAT, "BMP: palette of %u colours; at most 256", b->n_colours);
    after += b->n_colours * b->colour_bytes;
  }
  if (b->pixels_at < after || b->pixels_at >= n) {
    // writers of two-colour files with a short palette and no count: the palette ends where the pixels begin
    if (b->bits <= 8 && !used && b->pixels_at > b->palette_at && b->pixels_at < n)
      b->n_colours = (b->pixels_at - b->palette_at) / b->colour_bytes;
    else
      return ig_fail(IG_ERR_FORMAT, "BMP: truncated or damaged: pixels at byte %u, headers end at %u, %zu bytes in all",
                     b->pixels_at, after, n);
  }
  return IG_OK;
}

static ig_status put_index(const bmp *b, unsigned index, uint8_t *to) {
  if (index >= b->n_colours)
    return ig_fail(IG_ERR_FORMAT, "BMP: colour %u of a palette of %u", index, b->n_colours);
  const uint8_t *p = b->bytes + b->palette_at + (size_t)index * b->colour_bytes;
  to[0] = p[2], to[1] = p[1], to[2] = p[0];
  return IG_OK;
}

// value of a field, scaled to 0..255, truncated as Pillow does
static uint8_t field(uint32_t pixel, uint32_t mask) {
  int shift = __builtin_ctz(mask);
  uint64_t max = mask >> shift;
  return (uint8_t)((uint64_t)((pixel & mask) >> shift) * 255 / max);
}

static ig_status read_row(const bmp *b, const uint8_t *row, uint8_t *to) {
  bool plain32 = b->bits == 32 && b->mask[0] == 0xff0000 && b->mask[1] == 0xff00 && b->mask[2] == 0xff;
  if (b->bits == 24 || plain32) {
    size_t step = (size_t)b->bits / 8;
    for (uint32_t x = 0; x < b->w; x++, row += step, to += 3)
      to[0] = row[2], to[1] = row[1], to[2] = row[0];
  } else if (b->bits >= 16) {
    for (uint32_t x = 0; x < b->w; x++, to += 3) {
      uint32_t pixel = b->bits == 16 ? ig_image_u16le(row + 2 * (size_t)x) : ig_image_u32le(row + 4 * (size_t)x);
      for (int c = 0; c < 3; c++)
        to[c] = field(pixel, b->mask[c]);
    }
  } else {
    unsigned per_byte = 8u / (unsigned)b->bits, mask = (1u << b->bits) - 1;
    for (uint32_t x = 0; x < b->w; x++, to += 3) {
      unsigned shift = 8u - (unsigned)b->bits * (x % per_byte + 1);
      IG_TRY(put_index(b, (unsigned)row[x / per_byte] >> shift & mask, to));
    }
  }
  return IG_OK;
}

static bool has_runs(const bmp *b) { return b->compression == BI_RLE8 || b->compression == BI_RLE4; }

static ig_status check_plain(const bmp *b, uint64_t *stride) {
  uint64_t row_bits = (uint64_t)b->w * (uint64_t)b->bits;
  *stride = (row_bits + 31) / 32 * 4;
  uint64_t need = *stride * (b->h - 1) + (row_bits + 7) / 8;
  if (need > b->n - b->pixels_at)
    return ig_fail(IG_ERR_FORMAT, "BMP: truncated: %zu bytes of pixels; %ux%u at %d bits needs %llu",
                   b->n - b->pixels_at, b->w, b->h, b->bits, (unsigned long long)need);
  return IG_OK;
}

static ig_status read_plain(const bmp *b, uint8_t *data) {
  uint64_t stride;
  IG_TRY(check_plain(b, &stride));
  for (uint32_t y = 0; y < b->h; y++) {
    uint32_t to = b->top_down ? y : b->h - 1 - y;
    IG_TRY(read_row(b, b->bytes + b->pixels_at + stride * y, data + (size_t)to * b->w * 3));
  }
  return IG_OK;
}

// Runs: (n, value) with n > 0; (0, 0) end of line, (0, 1) end of picture, (0, 2, dx, dy) move, (0, n, n literal pixels,
// padded to 16 bits). What no run touches has colour 0.
static ig_status read_rle(const bmp *b, uint8_t *data) {
  const uint8_t *at = b->bytes + b->pixels_at, *end = b->bytes + b->n;
  bool nibbles = b->compression == BI_RLE4;
  uint32_t x = 0, y = 0;
  for (size_t i = 0; i < (size_t)b->w * b->h; i++)
    IG_TRY(put_index(b, 0, data + 3 * i));
  for (;;) {
    if (end - at < 2)
      break;
    unsigned n = *at++, v = *at++;
    const uint8_t *literal = NULL;
    if (n == 0 && v == 0) {
      x = 0;
      y++;
      continue;
    }
    if (n == 0 && v == 1)
      return IG_OK;
    if (n == 0 && v == 2) {
      if (end - at < 2)
        break;
      x += *at++;
      y += *at++;
      if (x > b->w || y > b->h)
        return ig_fail(IG_ERR_FORMAT, "BMP: damaged: a run-length move to (%u, %u) outside %ux%u", x, y, b->w, b->h);
      continue;
    }
    if (n == 0) {
      n = v;
      size_t bytes = nibbles ? (n + 1) / 2 : n;
      bytes += bytes & 1;
      if ((size_t)(end - at) < bytes)
        break;
      literal = at;
      at += bytes;
    }
    if (y >= b->h || n > b->w - x)
      return ig_fail(IG_ERR_FORMAT, "BMP: damaged: a run of %u %s at (%u, %u) leaves %ux%u", n,
                     ig_plural(n, "pixel", "pixels"), x, y, b->w, b->h);
    uint8_t *to = data + ((size_t)(b->h - 1 - y) * b->w + x) * 3;
    for (unsigned i = 0; i < n; i++) {
      unsigned byte = literal ? literal[nibbles ? i / 2 : i] : v;
      IG_TRY(put_index(b, nibbles ? (i & 1 ? byte & 15 : byte >> 4) : byte, to + 3 * i));
    }
    x += n;
  }
  return ig_fail(IG_ERR_FORMAT, "BMP: truncated: the runs end before the end-of-picture code, at row %u of %u", y,
                 b->h);
}

static ig_status probe(const uint8_t *bytes, size_t n, ig_image_info *info) {
  bmp b;
  IG_TRY(read_header(bytes, n, &b));
  *info = (ig_image_info){.w = (int)b.w,
                          .h = (int)b.h,
                          .channels = b.bits <= 8    ? 1
                                      : b.bits == 32 ? 4
                                                     : 3,
                          .bits = b.bits >= 24   ? 8
                                  : b.bits == 16 ? 5
                                                 : b.bits,
                          .orientation = 1};
  uint64_t stride;
  return has_runs(&b) ? IG_OK : check_plain(&b, &stride);
}

static ig_status decode(const uint8_t *bytes, size_t n, const ig_image_options *options, ig_image *out,
                        int *orientation) {
  bmp b;
  IG_TRY(read_header(bytes, n, &b));
  bool runs = has_runs(&b);
  uint64_t decoded = ((uint64_t)b.w * (uint64_t)b.bits + 7) / 8 * b.h;
  // A move of 4 bytes skips up to 255 rows of any width, so runs have no useful bound.
  IG_TRY(ig_image_check("BMP", b.w, b.h, decoded, n, runs ? 0 : 1, options));
  IG_TRY(ig_image_reserve(out, (int)b.w, (int)b.h));
  *orientation = 1;
  return runs ? read_rle(&b, out->data) : read_plain(&b, out->data);
}

const ig_image_codec ig_image_codec_bmp = {"BMP", probe, decode};
