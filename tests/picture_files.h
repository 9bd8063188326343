// Decoding in the tests of pictures, and small files of every format.
#ifndef INGOT_TESTS_PICTURE_FILES_H
#define INGOT_TESTS_PICTURE_FILES_H

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "runtime/data/image.h"
#include "tests/image_bytes.h"

namespace picture_files {

namespace fs = std::filesystem;
using pic::Bytes;

struct Picture {
  ig_image i{};
  Picture() = default;
  Picture(const Picture &) = delete;
  ~Picture() { ig_image_fini(&i); }
  Bytes bytes() const { return Bytes(i.data, i.data + static_cast<size_t>(i.w) * i.h * 3); }
};

inline ig_status decode(const std::string &s, Picture &p, const ig_image_options *o = nullptr) {
  return ig_image_decode(s.data(), s.size(), o, &p.i);
}

// Decodes and compares with w x h pixels; the probe must agree.
void expect_pixels(const std::string &file, int w, int h, const Bytes &rgb, const std::string &what,
                   int tolerance = 0) {
  SCOPED_TRACE(what);
  Picture p;
  ASSERT_EQ(decode(file, p), IG_OK) << ig_error_message();
  ASSERT_EQ(p.i.w, w);
  ASSERT_EQ(p.i.h, h);
  Bytes found = p.bytes();
  ASSERT_EQ(found.size(), rgb.size());
  for (size_t k = 0; k < rgb.size(); k++)
    ASSERT_LE(std::abs(found[k] - rgb[k]), tolerance)
        << "byte " << k << ": " << int(found[k]) << ", not " << int(rgb[k]);
  ig_image_info info;
  ASSERT_EQ(ig_image_probe(file.data(), file.size(), &info), IG_OK) << ig_error_message();
  EXPECT_EQ(info.w, w);
  EXPECT_EQ(info.h, h);
}

inline void expect_error(const std::string &file, const std::string &words, const ig_image_options *o = nullptr) {
  Picture p;
  EXPECT_EQ(decode(file, p, o), IG_ERR_FORMAT) << words;
  EXPECT_NE(std::string(ig_error_message()).find(words), std::string::npos) << ig_error_message();
}

inline std::string slurp(const fs::path &path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline std::string folder(const char *variable, const char *name) {
  const char *given = std::getenv(variable), *source = std::getenv("INGOT_SOURCE");
  return given ? given : std::string(source ? source : ".") + "/../shared/" + name;
}

// Where the upright picture's pixel (x, y) stands in the stored one of w x h, by the EXIF table.
inline std::pair<int, int> stored_at(int orientation, int x, int y, int w, int h) {
  switch (orientation) {
    case 2:
      return {w - 1 - x, y};
    case 3:
      return {w - 1 - x, h - 1 - y};
    case 4:
      return {x, h - 1 - y};
    case 5:
      return {y, x};
    case 6:
      return {y, h - 1 - x};
    case 7:
      return {w - 1 - y, h - 1 - x};
    case 8:
      return {w - 1 - y, x};
    default:
      return {x, y};
  }
}

inline Bytes upright(const Bytes &p, int w, int h, int orientation) {
  int W = orientation >= 5 ? h : w, H = orientation >= 5 ? w : h;
  Bytes out;
  for (int y = 0; y < H; y++)
    for (int x = 0; x < W; x++) {
      auto [sx, sy] = stored_at(orientation, x, y, w, h);
      const uint8_t *q = &p[(static_cast<size_t>(sy) * w + sx) * 3];
      out.insert(out.end(), q, q + 3);
    }
  return out;
}

// The five formats as small files, for the tests that break them.
inline std::vector<std::pair<std::string, std::string>> samples() {
  Bytes rgb = pic::draw(64, 48, 3);
  pic::JpegOptions progressive;
  progressive.progressive = true;
  pic::PngOptions interlaced;
  interlaced.interlaced = true;
  pic::TiffOptions lzw, zip, jpeg;
  lzw.compression = COMPRESSION_LZW;
  zip.compression = COMPRESSION_ADOBE_DEFLATE, zip.tile = 32;
  jpeg.compression = COMPRESSION_JPEG, jpeg.photometric = PHOTOMETRIC_YCBCR;
  std::string palette, runs;
  for (int i = 0; i < 16; i++)
    palette += {char(i), char(2 * i), char(3 * i), 0};
  for (int y = 0; y < 48; y++)
    runs += std::string("\40\1\0\40", 4) + std::string(32, char(y % 16)) + std::string(2, '\0');
  return {{"jpeg", pic::jpeg(rgb, 64, 48, 3)},
          {"jpeg progressive", pic::jpeg(rgb, 64, 48, 3, progressive)},
          {"png", pic::png(rgb, 64, 48)},
          {"png interlaced", pic::png(rgb, 64, 48, interlaced)},
          {"tiff", pic::tiff(rgb, 64, 48)},
          {"tiff lzw", pic::tiff(rgb, 64, 48, lzw)},
          {"tiff deflate tiles", pic::tiff(rgb, 64, 48, zip)},
          {"tiff jpeg", pic::tiff(rgb, 64, 48, jpeg)},
          {"webp", pic::webp(rgb, 64, 48, 3)},
          {"webp exif", pic::webp(rgb, 64, 48, 3, pic::exif(6))},
          {"bmp", pic::bmp24(rgb, 64, 48)},
          {"bmp rle", pic::bmp(64, 48, 8, 1, palette, runs + std::string("\0\1", 2), 16)}};
}

}  // namespace picture_files
#endif
