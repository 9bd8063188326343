// Writes small pictures of every format into memory, by the libraries' own encoders, for tests. Rule: what is written
// is known to the last byte wherever the format is lossless.
#ifndef IG_TESTS_IMAGE_BYTES_H
#define IG_TESTS_IMAGE_BYTES_H

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <png.h>
#include <string>
#include <tiffio.h>
#include <utility>
#include <vector>
#include <webp/encode.h>
#include <webp/mux_types.h>
// jpeglib.h needs cstdio before it
#include <jpeglib.h>

namespace pic {

using Bytes = std::vector<uint8_t>;

// w x h x channels of waves and a little noise.
inline Bytes draw(int w, int h, int channels, uint32_t seed = 1) {
  Bytes p(static_cast<size_t>(w) * h * channels);
  size_t i = 0;
  for (int y = 0; y < h; y++)
    for (int x = 0; x < w; x++)
      for (int c = 0; c < channels; c++) {
        seed = seed * 1664525u + 1013904223u;
        double v = 127 + 90 * std::sin(x * 0.13 * (c + 1) + y * 0.05) + 25 * std::cos(y * 0.21) + (seed >> 28) - 8.0;
        p[i++] = static_cast<uint8_t>(v < 0 ? 0 : v > 255 ? 255 : v);
      }
  return p;
}

inline void put16(std::string &s, unsigned v) { s += {static_cast<char>(v), static_cast<char>(v >> 8)}; }
inline void put32(std::string &s, uint32_t v) { put16(s, v & 0xffff), put16(s, v >> 16); }

// An EXIF block with nothing but an orientation, little-endian or big-endian.
inline std::string exif(int orientation, bool big = false) {
  std::string v(1, static_cast<char>(orientation));
  if (big)
    return std::string("MM\0*\0\0\0\10\0\1\1\22\0\3\0\0\0\1\0", 19) + v + std::string(6, '\0');
  return std::string("II*\0\10\0\0\0\1\0\22\1\3\0\1\0\0\0", 18) + v + std::string(7, '\0');
}

struct JpegOptions {
  int quality = 90;
  bool progressive = false;
  int sampling = 2;  // luma factor: 2 = 4:2:0, 1 = 4:4:4
  bool ycck = false;
  int scans_a_coefficient = 0;  // > 0: a progressive script of grey with 1 + 63 * this scans
  std::string exif;             // with or without content
};

inline std::string jpeg(const Bytes &p, int w, int h, int channels, const JpegOptions &o = {}) {
  jpeg_compress_struct c;
  jpeg_error_mgr e;
  c.err = jpeg_std_error(&e);
  jpeg_create_compress(&c);
  unsigned char *out = nullptr;
  unsigned long n = 0;
  jpeg_mem_dest(&c, &out, &n);
  c.image_width = static_cast<JDIMENSION>(w);
  c.image_height = static_cast<JDIMENSION>(h);
  c.input_components = channels;
  c.in_color_space = channels == 1 ? JCS_GRAYSCALE : channels == 3 ? JCS_RGB : JCS_CMYK;
  jpeg_set_defaults(&c);
  if (o.ycck)
    jpeg_set_colorspace(&c, JCS_YCCK);
  jpeg_set_quality(&c, o.quality, TRUE);
  if (channels == 3)
    c.comp_info[0].h_samp_factor = c.comp_info[0].v_samp_factor = o.sampling;
  std::vector<jpeg_scan_info> script;
  if (o.scans_a_coefficient) {
    script.push_back({1, {0, 0, 0, 0}, 0, 0, 0, 0});
    for (int k = 1; k < 64; k++)
      for (int a = o.scans_a_coefficient - 1; a >= 0; a--)
        script.push_back({1, {0, 0, 0, 0}, k, k, a == o.scans_a_coefficient - 1 ? 0 : a + 1, a});
    c.scan_info = script.data();
    c.num_scans = static_cast<int>(script.size());
  } else if (o.progressive) {
    jpeg_simple_progression(&c);
  }
  jpeg_start_compress(&c, TRUE);
  if (!o.exif.empty()) {
    std::string m = std::string("Exif\0\0", 6) + o.exif;
    jpeg_write_marker(&c, JPEG_APP0 + 1, reinterpret_cast<const JOCTET *>(m.data()), static_cast<unsigned>(m.size()));
  }
  while (c.next_scanline < c.image_height) {
    JSAMPROW row = const_cast<uint8_t *>(p.data()) + static_cast<size_t>(c.next_scanline) * w * channels;
    jpeg_write_scanlines(&c, &row, 1);
  }
  jpeg_finish_compress(&c);
  std::string s(reinterpret_cast<char *>(out), n);
  jpeg_destroy_compress(&c);
  free(out);
  return s;
}

// p: rows as PNG stores them (packed below 8 bits, big-endian at 16).
struct PngOptions {
  int type = PNG_COLOR_TYPE_RGB, depth = 8;
  bool interlaced = false;
  std::vector<png_color> palette;
  Bytes transparency;  // of the palette
  std::string exif;
};

inline std::string png(const Bytes &p, int w, int h, const PngOptions &o = {}) {
  std::string s;
  png_structp lib = png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, nullptr, nullptr);
  png_infop info = png_create_info_struct(lib);
  png_set_write_fn(
      lib, &s,
      [](png_structp l, png_bytep d, size_t n) {
        static_cast<std::string *>(png_get_io_ptr(l))->append(reinterpret_cast<char *>(d), n);
      },
      nullptr);
  png_set_IHDR(lib, info, static_cast<png_uint_32>(w), static_cast<png_uint_32>(h), o.depth, o.type,
               o.interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
               PNG_FILTER_TYPE_DEFAULT);
  if (!o.palette.empty())
    png_set_PLTE(lib, info, o.palette.data(), static_cast<int>(o.palette.size()));
  if (!o.transparency.empty())
    png_set_tRNS(lib, info, o.transparency.data(), static_cast<int>(o.transparency.size()), nullptr);
  if (!o.exif.empty())
    png_set_eXIf_1(lib, info, static_cast<png_uint_32>(o.exif.size()),
                   reinterpret_cast<png_bytep>(const_cast<char *>(o.exif.data())));
  png_write_info(lib, info);
  std::vector<png_bytep> rows(static_cast<size_t>(h));
  size_t stride = png_get_rowbytes(lib, info);
  for (size_t y = 0; y < rows.size(); y++)
    rows[y] = const_cast<uint8_t *>(p.data()) + y * stride;
  png_write_image(lib, rows.data());
  png_write_end(lib, info);
  png_destroy_write_struct(&lib, &info);
  return s;
}

struct TiffOptions {
  int channels = 3, bits = 8, photometric = PHOTOMETRIC_RGB, compression = COMPRESSION_NONE, orientation = 1;
  bool planes = false;  // one plane a channel; p then holds them one after another
  int tile = 0;         // > 0: tiles of this side
  int rows = 7;         // a strip
  bool big_endian = false;
  int extra = -1;                 // EXTRASAMPLE_* of the last channel
  std::vector<uint16_t> palette;  // 3 * 2^bits
};

// p: rows as TIFF stores them (packed below 8 bits, host order at 16).
inline std::string tiff(const Bytes &p, int w, int h, const TiffOptions &o = {}) {
  struct File {
    std::string s;
    uint64_t at = 0;
  } f;
  TIFF *t = TIFFClientOpen(
      "test", o.big_endian ? "wb" : "wl", &f,
      [](thandle_t u, void *to, tmsize_t n) -> tmsize_t {
        auto *f = static_cast<File *>(u);
        size_t m = f->at < f->s.size() ? std::min<size_t>(n, f->s.size() - f->at) : 0;
        std::memcpy(to, f->s.data() + f->at, m);
        f->at += m;
        return static_cast<tmsize_t>(m);
      },
      [](thandle_t u, void *from, tmsize_t n) -> tmsize_t {
        auto *f = static_cast<File *>(u);
        if (f->s.size() < f->at + n)
          f->s.resize(f->at + n);
        std::memcpy(&f->s[f->at], from, n);
        f->at += n;
        return n;
      },
      [](thandle_t u, toff_t offset, int whence) -> toff_t {
        auto *f = static_cast<File *>(u);
        return f->at = offset + (whence == SEEK_CUR ? f->at : whence == SEEK_END ? f->s.size() : 0);
      },
      [](thandle_t) { return 0; }, [](thandle_t u) -> toff_t { return static_cast<File *>(u)->s.size(); }, nullptr,
      nullptr);
  TIFFSetField(t, TIFFTAG_IMAGEWIDTH, w);
  TIFFSetField(t, TIFFTAG_IMAGELENGTH, h);
  TIFFSetField(t, TIFFTAG_BITSPERSAMPLE, o.bits);
  TIFFSetField(t, TIFFTAG_SAMPLESPERPIXEL, o.channels);
  TIFFSetField(t, TIFFTAG_COMPRESSION, o.compression);
  TIFFSetField(t, TIFFTAG_PHOTOMETRIC, o.photometric);
  TIFFSetField(t, TIFFTAG_PLANARCONFIG, o.planes ? PLANARCONFIG_SEPARATE : PLANARCONFIG_CONTIG);
  TIFFSetField(t, TIFFTAG_ORIENTATION, o.orientation);
  if (o.compression == COMPRESSION_JPEG && o.photometric == PHOTOMETRIC_YCBCR)
    TIFFSetField(t, TIFFTAG_JPEGCOLORMODE, JPEGCOLORMODE_RGB);
  if (o.extra >= 0) {
    uint16_t extra = static_cast<uint16_t>(o.extra);
    TIFFSetField(t, TIFFTAG_EXTRASAMPLES, 1, &extra);
  }
  size_t colours = o.palette.size() / 3;
  if (colours)
    TIFFSetField(t, TIFFTAG_COLORMAP, o.palette.data(), o.palette.data() + colours, o.palette.data() + 2 * colours);
  int inside = o.planes ? 1 : o.channels, planes = o.planes ? o.channels : 1;
  size_t stride = (static_cast<size_t>(w) * inside * o.bits + 7) / 8;
  if (o.tile) {
    TIFFSetField(t, TIFFTAG_TILEWIDTH, o.tile);
    TIFFSetField(t, TIFFTAG_TILELENGTH, o.tile);
    size_t pixel = static_cast<size_t>(inside) * o.bits / 8;  // tiles are tested with whole bytes
    for (int s = 0; s < planes; s++)
      for (int y = 0; y < h; y += o.tile)
        for (int x = 0; x < w; x += o.tile) {
          Bytes block(static_cast<size_t>(o.tile) * o.tile * pixel);
          for (int j = 0; j < o.tile && y + j < h; j++)
            std::memcpy(&block[j * o.tile * pixel], &p[stride * (static_cast<size_t>(s) * h + y + j) + x * pixel],
                        pixel * std::min(o.tile, w - x));
          TIFFWriteTile(t, block.data(), x, y, 0, static_cast<uint16_t>(s));
        }
  } else {
    TIFFSetField(t, TIFFTAG_ROWSPERSTRIP, o.compression == COMPRESSION_JPEG ? 16 : o.rows);
    Bytes row(stride);
    for (int s = 0; s < planes; s++)
      for (int y = 0; y < h; y++) {
        std::memcpy(row.data(), &p[stride * (static_cast<size_t>(s) * h + y)], stride);
        TIFFWriteScanline(t, row.data(), y, static_cast<uint16_t>(s));
      }
  }
  TIFFClose(t);
  return f.s;
}

inline std::string webp(const Bytes &p, int w, int h, int channels, const std::string &exif = {}) {
  uint8_t *out = nullptr;
  WebPConfig config;
  WebPConfigInit(&config);
  config.lossless = 1;
  config.exact = 1;
  WebPPicture picture;
  WebPPictureInit(&picture);
  picture.width = w;
  picture.height = h;
  picture.use_argb = 1;
  if (channels == 4)
    WebPPictureImportRGBA(&picture, p.data(), 4 * w);
  else
    WebPPictureImportRGB(&picture, p.data(), 3 * w);
  WebPMemoryWriter writer;
  WebPMemoryWriterInit(&writer);
  picture.writer = WebPMemoryWrite;
  picture.custom_ptr = &writer;
  WebPEncode(&config, &picture);
  std::string s(reinterpret_cast<char *>(writer.mem), writer.size);
  WebPPictureFree(&picture);
  WebPMemoryWriterClear(&writer);
  (void)out;
  if (exif.empty())
    return s;
  std::string x("VP8X\12\0\0\0", 8);
  put32(x, EXIF_FLAG | (channels == 4 ? ALPHA_FLAG : 0));
  for (int side : {w - 1, h - 1})
    x += {static_cast<char>(side), static_cast<char>(side >> 8), static_cast<char>(side >> 16)};
  std::string tail = "EXIF";
  put32(tail, static_cast<uint32_t>(exif.size()));
  tail += exif + std::string(exif.size() & 1, '\0');
  std::string body = "WEBP" + x + s.substr(12) + tail, head = "RIFF";
  put32(head, static_cast<uint32_t>(body.size()));
  return head + body;
}

// A BMP of the given bits and compression; `rows` are the stored bytes, `masks` or palette follow the header as given.
inline std::string bmp(int w, int h, int bits, int compression, const std::string &after_header,
                       const std::string &rows, int colours = 0) {
  std::string s = "BM";
  uint32_t at = static_cast<uint32_t>(54 + after_header.size());
  put32(s, static_cast<uint32_t>(at + rows.size())), put32(s, 0), put32(s, at), put32(s, 40);
  put32(s, static_cast<uint32_t>(w)), put32(s, static_cast<uint32_t>(h)), put16(s, 1);
  put16(s, static_cast<unsigned>(bits)), put32(s, static_cast<uint32_t>(compression)), put32(s, 0);
  put32(s, 2835), put32(s, 2835), put32(s, static_cast<uint32_t>(colours)), put32(s, 0);
  return s + after_header + rows;
}

inline std::string bmp24(const Bytes &p, int w, int h) {
  std::string rows;
  for (int y = h - 1; y >= 0; y--) {
    for (int x = 0; x < w; x++)
      for (int c = 2; c >= 0; c--)
        rows += static_cast<char>(p[(static_cast<size_t>(y) * w + x) * 3 + c]);
    while (rows.size() % 4)
      rows += '\0';
  }
  return bmp(w, h, 24, 0, "", rows);
}

}  // namespace pic
#endif
