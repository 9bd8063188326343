// floor: ig_data
// Pictures: exact decoding of every format, the exact resize, geometry, and what broken files get. Rule: expected
// pixels come from the fixtures, from lossless input or from a formula written out here, never from the code under
// test.
#include "runtime/data/image.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <iterator>
#include <jansson.h>
#include <random>
#include <thread>

#include "runtime/base/mem.h"
#include "runtime/data/augment_geom.h"
#include "runtime/data/resize.h"
#include "tests/image_bytes.h"
#include "tests/st_reader.h"

namespace fs = std::filesystem;
using pic::Bytes;

namespace {

struct Picture {
  ig_image i{};
  Picture() = default;
  Picture(const Picture &) = delete;
  ~Picture() { ig_image_fini(&i); }
  Bytes bytes() const { return Bytes(i.data, i.data + static_cast<size_t>(i.w) * i.h * 3); }
};

ig_status decode(const std::string &s, Picture &p, const ig_image_options *o = nullptr) {
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

void expect_error(const std::string &file, const std::string &words, const ig_image_options *o = nullptr) {
  Picture p;
  EXPECT_EQ(decode(file, p, o), IG_ERR_FORMAT) << words;
  EXPECT_NE(std::string(ig_error_message()).find(words), std::string::npos) << ig_error_message();
}

std::string slurp(const fs::path &path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string folder(const char *variable, const char *name) {
  const char *given = std::getenv(variable), *source = std::getenv("INGOT_SOURCE");
  return given ? given : std::string(source ? source : ".") + "/../shared/" + name;
}

Bytes grey_to_rgb(const Bytes &g) {
  Bytes out;
  for (uint8_t v : g)
    out.insert(out.end(), 3, v);
  return out;
}

// Channels 0..2 of n-channel pixels.
Bytes first_three(const Bytes &p, int n) {
  Bytes out;
  for (size_t i = 0; i < p.size(); i += static_cast<size_t>(n))
    out.insert(out.end(), {p[i], p[i + 1], p[i + 2]});
  return out;
}

uint8_t of16(unsigned v) { return static_cast<uint8_t>((v + 128) / 257); }  // round(v / 257)

// n random samples of 16 bits, as stored in PNG (big-endian) and TIFF (host) order, and as 8 bits.
struct Wide {
  Bytes big, host, narrow;
  explicit Wide(size_t n) {
    std::mt19937 g(7);
    for (size_t i = 0; i < n; i++) {
      unsigned v = g() & 0xffff;
      big.insert(big.end(), {static_cast<uint8_t>(v >> 8), static_cast<uint8_t>(v)});
      host.insert(host.end(), {static_cast<uint8_t>(v), static_cast<uint8_t>(v >> 8)});
      narrow.push_back(of16(v));
    }
  }
};

// Rows of samples below 8 bits, packed, first sample in the high bits.
Bytes pack(const Bytes &samples, int w, int h, int bits) {
  Bytes out;
  for (int y = 0; y < h; y++) {
    unsigned have = 0, word = 0;
    for (int x = 0; x < w; x++) {
      word = word << bits | samples[static_cast<size_t>(y) * w + x];
      have += static_cast<unsigned>(bits);
      if (have == 8)
        out.push_back(static_cast<uint8_t>(word)), have = 0, word = 0;
    }
    if (have)
      out.push_back(static_cast<uint8_t>(word << (8 - have)));
  }
  return out;
}

Bytes indices(size_t n, int bits) {
  std::mt19937 g(5);
  Bytes out(n);
  for (auto &v : out)
    v = static_cast<uint8_t>(g() >> (32 - bits));
  return out;
}

// Where the upright picture's pixel (x, y) stands in the stored one of w x h, by the EXIF table.
std::pair<int, int> stored_at(int orientation, int x, int y, int w, int h) {
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

Bytes upright(const Bytes &p, int w, int h, int orientation) {
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
std::vector<std::pair<std::string, std::string>> samples() {
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

}  // namespace

TEST(Image, GoldenDecodeAndTransforms) {
  fs::path dir = fs::path(folder("INGOT_GOLDEN", "golden")) / "images";
  if (!fs::exists(dir))
    GTEST_SKIP() << "no fixtures at " << dir;
  st::File decoded((dir / "decoded.safetensors").string()), transformed((dir / "transformed.safetensors").string());
  json_error_t e;
  json_t *root = json_load_file((dir / "images.json").c_str(), 0, &e);
  ASSERT_NE(root, nullptr) << e.text;
  int resize = int(json_integer_value(json_object_get(root, "resize")));
  int crop = int(json_integer_value(json_object_get(root, "crop")));
  int small = int(json_integer_value(json_object_get(root, "random_crop_size")));
  ig_resize ws{};
  size_t i;
  json_t *row;
  json_array_foreach(json_object_get(root, "images"), i, row) {
    std::string name = json_string_value(json_object_get(row, "file"));
    SCOPED_TRACE(name);
    const st::Tensor &want = decoded.at(name);
    int h = int(want.shape[0]), w = int(want.shape[1]);
    expect_pixels(slurp(dir / name), w, h, want.bytes, name);
    // CHW fixtures against our HWC
    auto check = [&](const char *kind, const Bytes &found, int side, bool flip) {
      const st::Tensor &t = transformed.at(name + kind);
      ASSERT_EQ(t.count(), found.size());
      size_t wrong = 0;
      for (int c = 0; c < 3; c++)
        for (int y = 0; y < side; y++)
          for (int x = 0; x < side; x++)
            wrong += t.bytes[(static_cast<size_t>(c) * side + y) * side + x] !=
                     found[(static_cast<size_t>(y) * side + (flip ? side - 1 - x : x)) * 3 + c];
      EXPECT_EQ(wrong, 0u) << kind;
    };
    for (bool portable : {false, true}) {
      ws.portable = portable;
      Bytes out(static_cast<size_t>(crop) * crop * 3);
      ASSERT_EQ(ig_resize_eval(&ws, want.bytes.data(), w, h, resize, crop, out.data()), IG_OK) << ig_error_message();
      check(".eval", out, crop, false);
      json_t *b = json_object_get(row, "crop_box");
      auto key = [&](const char *k) { return int(json_integer_value(json_object_get(b, k))); };
      out.resize(static_cast<size_t>(small) * small * 3);
      ASSERT_EQ(ig_resize_run(&ws, want.bytes.data(), w, h, {key("left"), key("top"), key("width"), key("height")},
                              small, small, nullptr, out.data(), static_cast<size_t>(small) * 3),
                IG_OK)
          << ig_error_message();
      check(".crop", out, small, json_is_true(json_object_get(row, "flip")));
    }
  }
  EXPECT_GT(i, 0u);
  json_decref(root);
  ig_resize_fini(&ws);
}

TEST(Image, Png) {
  const int w = 37, h = 29;
  Bytes rgb = pic::draw(w, h, 3), rgba = pic::draw(w, h, 4), grey = pic::draw(w, h, 1), two = pic::draw(w, h, 2);
  Bytes two_grey;
  for (size_t i = 0; i < two.size(); i += 2)
    two_grey.push_back(two[i]);
  for (bool interlaced : {false, true}) {
    pic::PngOptions o;
    o.interlaced = interlaced;
    auto with = [&](int type, int depth) { return o.type = type, o.depth = depth, o; };
    expect_pixels(pic::png(rgb, w, h, with(PNG_COLOR_TYPE_RGB, 8)), w, h, rgb, "rgb");
    expect_pixels(pic::png(rgba, w, h, with(PNG_COLOR_TYPE_RGBA, 8)), w, h, first_three(rgba, 4), "rgba");
    expect_pixels(pic::png(grey, w, h, with(PNG_COLOR_TYPE_GRAY, 8)), w, h, grey_to_rgb(grey), "grey");
    expect_pixels(pic::png(two, w, h, with(PNG_COLOR_TYPE_GA, 8)), w, h, grey_to_rgb(two_grey), "grey alpha");
    Wide g(w * h), c(w * h * 3);
    expect_pixels(pic::png(g.big, w, h, with(PNG_COLOR_TYPE_GRAY, 16)), w, h, grey_to_rgb(g.narrow), "grey 16");
    expect_pixels(pic::png(c.big, w, h, with(PNG_COLOR_TYPE_RGB, 16)), w, h, c.narrow, "rgb 16");
    for (int bits : {1, 2, 4, 8}) {
      Bytes v = indices(w * h, bits), as_grey, as_colour;
      for (int k = 0; k < 1 << bits; k++)
        o.palette.push_back({png_byte(k * 7), png_byte(255 - k), png_byte(k * k)});
      o.transparency = {0, 128};  // dropped
      for (uint8_t k : v) {
        as_grey.insert(as_grey.end(), 3, static_cast<uint8_t>(k * 255 / ((1 << bits) - 1)));
        as_colour.insert(as_colour.end(), {o.palette[k].red, o.palette[k].green, o.palette[k].blue});
      }
      expect_pixels(pic::png(pack(v, w, h, bits), w, h, with(PNG_COLOR_TYPE_PALETTE, bits)), w, h, as_colour,
                    "palette");
      o.palette.clear(), o.transparency.clear();
      expect_pixels(pic::png(pack(v, w, h, bits), w, h, with(PNG_COLOR_TYPE_GRAY, bits)), w, h, as_grey, "small grey");
    }
  }
}

TEST(Image, Tiff) {
  const int w = 45, h = 33;
  Bytes rgb = pic::draw(w, h, 3), rgba = pic::draw(w, h, 4), grey = pic::draw(w, h, 1);
  for (int compression : {COMPRESSION_NONE, COMPRESSION_LZW, COMPRESSION_ADOBE_DEFLATE, COMPRESSION_PACKBITS})
    for (int tile : {0, 16})
      for (bool big : {false, true}) {
        pic::TiffOptions o;
        o.compression = compression, o.tile = tile, o.big_endian = big;
        expect_pixels(pic::tiff(rgb, w, h, o), w, h, rgb, "rgb");
        o.planes = true;
        Bytes planes;
        for (int c = 0; c < 3; c++)
          for (size_t i = 0; i < rgb.size(); i += 3)
            planes.push_back(rgb[i + c]);
        expect_pixels(pic::tiff(planes, w, h, o), w, h, rgb, "planes");
        o.planes = false;
        Wide c16(w * h * 3), g16(w * h);
        o.bits = 16;
        expect_pixels(pic::tiff(c16.host, w, h, o), w, h, c16.narrow, "rgb 16");
        o.channels = 1, o.photometric = PHOTOMETRIC_MINISBLACK;
        expect_pixels(pic::tiff(g16.host, w, h, o), w, h, grey_to_rgb(g16.narrow), "grey 16");
        o.bits = 8;
        expect_pixels(pic::tiff(grey, w, h, o), w, h, grey_to_rgb(grey), "grey");
        Bytes negative = grey;
        for (auto &v : negative)
          v = 255 - v;
        o.photometric = PHOTOMETRIC_MINISWHITE;
        expect_pixels(pic::tiff(negative, w, h, o), w, h, grey_to_rgb(grey), "white is zero");
        o.channels = 4, o.photometric = PHOTOMETRIC_RGB, o.extra = EXTRASAMPLE_UNASSALPHA;
        expect_pixels(pic::tiff(rgba, w, h, o), w, h, first_three(rgba, 4), "rgba");
        Bytes cmyk_rgb;
        for (size_t i = 0; i < rgba.size(); i += 4)
          for (int c = 0; c < 3; c++) {
            int nk = 255 - rgba[i + 3];
            cmyk_rgb.push_back(static_cast<uint8_t>(nk - std::lround(rgba[i + c] * nk / 255.0)));
          }
        o.extra = -1, o.photometric = PHOTOMETRIC_SEPARATED;
        expect_pixels(pic::tiff(rgba, w, h, o), w, h, cmyk_rgb, "cmyk");
      }
  for (int bits : {1, 2, 4, 8}) {
    pic::TiffOptions o;
    o.bits = bits, o.channels = 1, o.photometric = PHOTOMETRIC_MINISBLACK;
    Bytes v = indices(w * h, bits), as_grey, as_colour;
    std::vector<uint16_t> palette;
    for (int c = 0; c < 3; c++)
      for (int k = 0; k < 1 << bits; k++)
        palette.push_back(static_cast<uint16_t>((k * (c + 3) % 256) * 257));
    for (uint8_t k : v)
      for (int c = 0; c < 3; c++) {
        as_grey.push_back(static_cast<uint8_t>(k * 255 / ((1 << bits) - 1)));
        as_colour.push_back(static_cast<uint8_t>(k * (c + 3) % 256));
      }
    expect_pixels(pic::tiff(pack(v, w, h, bits), w, h, o), w, h, as_grey, "small grey");
    o.photometric = PHOTOMETRIC_PALETTE, o.palette = palette;
    expect_pixels(pic::tiff(pack(v, w, h, bits), w, h, o), w, h, as_colour, "palette");
  }
  pic::TiffOptions fax;
  fax.bits = 1, fax.channels = 1, fax.photometric = PHOTOMETRIC_MINISBLACK, fax.compression = COMPRESSION_CCITTFAX4;
  Bytes dots = indices(w * h, 1), black_white;
  for (uint8_t k : dots)
    black_white.insert(black_white.end(), 3, k ? 255 : 0);
  expect_pixels(pic::tiff(pack(dots, w, h, 1), w, h, fax), w, h, black_white, "fax");
  pic::TiffOptions jpeg;
  jpeg.compression = COMPRESSION_JPEG, jpeg.photometric = PHOTOMETRIC_YCBCR;
  Bytes smooth;  // 4:2:0 keeps this within a few steps
  for (int y = 0; y < h; y++)
    for (int x = 0; x < w; x++)
      smooth.insert(smooth.end(), {uint8_t(60 + x), uint8_t(90 + y), uint8_t(120 + x)});
  expect_pixels(pic::tiff(smooth, w, h, jpeg), w, h, smooth, "jpeg", 12);
  pic::TiffOptions real;
  real.bits = 32, real.channels = 1, real.photometric = PHOTOMETRIC_MINISBLACK;
  expect_error(pic::tiff(Bytes(size_t(w) * h * 4), w, h, real), "bits a sample 32 is not supported");
}

TEST(Image, JpegColourSpaces) {
  const int w = 50, h = 34;
  // Flat pictures survive JPEG within rounding: grey, RGB, CMYK and YCCK (libjpeg stores what it is given; a file's
  // CMYK is taken as inverted, the way Adobe writes it and Pillow reads it).
  pic::JpegOptions o;
  o.quality = 100;
  Bytes grey(size_t(w) * h, 77), rgb, cmyk, want;
  for (int i = 0; i < w * h; i++) {
    rgb.insert(rgb.end(), {200, 30, 90});
    cmyk.insert(cmyk.end(), {255 - 10, 255 - 130, 255 - 220, 255 - 51});
    for (int ink : {10, 130, 220})
      want.push_back(static_cast<uint8_t>(204 - std::lround(ink * 204 / 255.0)));
  }
  expect_pixels(pic::jpeg(grey, w, h, 1, o), w, h, grey_to_rgb(grey), "grey", 0);
  expect_pixels(pic::jpeg(rgb, w, h, 3, o), w, h, rgb, "rgb", 2);
  expect_pixels(pic::jpeg(cmyk, w, h, 4, o), w, h, want, "cmyk", 2);
  o.ycck = true;
  expect_pixels(pic::jpeg(cmyk, w, h, 4, o), w, h, want, "ycck", 3);
}

TEST(Image, JpegReducedDecoding) {
  std::string file = pic::jpeg(pic::draw(200, 161, 3), 200, 161, 3);
  struct {
    int hint, w, h;
  } cases[] = {{0, 200, 161}, {162, 200, 161}, {82, 200, 161}, {81, 100, 81},
               {42, 100, 81}, {41, 50, 41},    {21, 25, 21},   {1, 25, 21}};
  for (auto &c : cases) {
    ig_image_options o = ig_image_options_default();
    o.scale_hint = c.hint;
    Picture p;
    ASSERT_EQ(decode(file, p, &o), IG_OK) << ig_error_message();
    EXPECT_EQ(p.i.w, c.w) << c.hint;
    EXPECT_EQ(p.i.h, c.h) << c.hint;
  }
}

TEST(Image, WebP) {
  const int w = 41, h = 30;
  Bytes rgb = pic::draw(w, h, 3), rgba = pic::draw(w, h, 4);
  expect_pixels(pic::webp(rgb, w, h, 3), w, h, rgb, "rgb");
  expect_pixels(pic::webp(rgba, w, h, 4), w, h, first_three(rgba, 4), "alpha is dropped, not composited");
}

TEST(Image, Bmp) {
  const int w = 7, h = 3;
  Bytes rgb = pic::draw(w, h, 3);
  std::string file = pic::bmp24(rgb, w, h);
  expect_pixels(file, w, h, rgb, "24");
  std::string down, wide;
  for (int y = 0; y < h; y++) {
    for (int x = 0; x < w; x++) {
      const uint8_t *p = &rgb[(size_t(y) * w + x) * 3];
      down += {char(p[2]), char(p[1]), char(p[0])};
      wide += {char(p[0]), char(p[1]), char(p[2]), char(9)};  // r g b x: masks below
    }
    down += std::string(3, '\0');
  }
  expect_pixels(pic::bmp(w, -h, 24, 0, "", down), w, h, rgb, "top-down");
  std::string masks;
  pic::put32(masks, 0xff), pic::put32(masks, 0xff00), pic::put32(masks, 0xff0000);
  expect_pixels(pic::bmp(w, -h, 32, 3, masks, wide), w, h, rgb, "bit fields");
  std::string five;
  pic::put16(five, 31 << 10 | 1 << 5 | 16), pic::put16(five, 3);
  expect_pixels(pic::bmp(2, 1, 16, 0, "", five), 2, 1, {255, 8, 131, 0, 0, 24}, "555");
  masks.clear(), five.clear();
  pic::put32(masks, 0xf800), pic::put32(masks, 0x7e0), pic::put32(masks, 0x1f);
  pic::put16(five, 31 << 11 | 32 << 5 | 16), pic::put16(five, 3);
  expect_pixels(pic::bmp(2, 1, 16, 3, masks, five), 2, 1, {255, 129, 131, 0, 0, 24}, "565");

  std::string palette("\1\2\3\0\12\13\14\0\50\51\52\0\144\145\146\0", 16);  // b g r 0
  auto colours = [](std::vector<int> v) {
    const uint8_t table[4][3] = {{3, 2, 1}, {12, 11, 10}, {42, 41, 40}, {102, 101, 100}};
    Bytes out;
    for (int i : v)
      out.insert(out.end(), table[i], table[i] + 3);
    return out;
  };
  expect_pixels(pic::bmp(3, 1, 1, 0, palette.substr(0, 8), std::string("\xa0\0\0\0", 4), 2), 3, 1, colours({1, 0, 1}),
                "1");
  expect_pixels(pic::bmp(3, 1, 4, 0, palette, std::string("\x31\x20\0\0", 4), 4), 3, 1, colours({3, 1, 2}), "4");
  expect_pixels(pic::bmp(3, 1, 8, 0, palette, std::string("\3\1\2\0", 4), 4), 3, 1, colours({3, 1, 2}), "8");
  // row 1 (bottom): 3 x colour 2, literals 1 0 1, end of line; row 0: move right by 4, 2 x colour 3, end
  std::string rle8("\3\2\0\3\1\0\1\0\0\0\0\2\4\0\2\3\0\1", 18);
  Bytes rle_want = colours({0, 0, 0, 0, 3, 3, 2, 2, 2, 1, 0, 1});
  expect_pixels(pic::bmp(6, 2, 8, 1, palette, rle8, 4), 6, 2, rle_want, "rle8");
  std::string rle4("\3\x22\0\3\x10\x10\0\0\0\2\4\0\2\x33\0\1", 16);
  expect_pixels(pic::bmp(6, 2, 4, 2, palette, rle4, 4), 6, 2, rle_want, "rle4");

  expect_error(pic::bmp(3, 1, 8, 0, palette, std::string("\4\1\2\0", 4), 4), "colour 4 of a palette of 4");
  expect_error(pic::bmp(6, 2, 8, 1, palette, std::string("\7\2\0\1", 4), 4), "leaves 6x2");
  expect_error(pic::bmp(6, 2, 8, 1, palette, std::string("\0\2\7\0\0\1", 6), 4), "outside 6x2");
  expect_error(pic::bmp(6, -2, 8, 1, palette, rle8, 4), "from the top");
  expect_error(pic::bmp(6, 2, 7, 0, "", rle8), "7 bits a pixel");
  expect_error(pic::bmp(6, 2, 32, 4, "", rle8), "compression 4");
  expect_error(pic::bmp(2, 1, 16, 3, std::string(12, '\0'), five), "colour mask");
  expect_error(file.substr(0, file.size() - 9), "truncated");
}

TEST(Image, Orientation) {
  const int w = 23, h = 17;
  Bytes rgb = pic::draw(w, h, 3);
  Picture plain;
  ASSERT_EQ(decode(pic::jpeg(rgb, w, h, 3), plain), IG_OK);
  for (int o = 1; o <= 8; o++)
    for (bool big : {false, true}) {
      int W = o >= 5 ? h : w, H = o >= 5 ? w : h;
      Bytes want = upright(rgb, w, h, o);
      pic::JpegOptions j;
      j.exif = pic::exif(o, big);
      std::string name = "orientation " + std::to_string(o);
      expect_pixels(pic::jpeg(rgb, w, h, 3, j), W, H, upright(plain.bytes(), w, h, o), "jpeg " + name);
      pic::PngOptions p;
      p.exif = j.exif;
      expect_pixels(pic::png(rgb, w, h, p), W, H, want, "png " + name);
      pic::TiffOptions t;
      t.orientation = o, t.big_endian = big;
      expect_pixels(pic::tiff(rgb, w, h, t), W, H, want, "tiff " + name);
      expect_pixels(pic::webp(rgb, w, h, 3, j.exif), W, H, want, "webp " + name);
    }
  // Broken EXIF says nothing: every prefix, and values out of range.
  for (int o : {0, 9, 255}) {
    pic::PngOptions p;
    p.exif = pic::exif(o);
    expect_pixels(pic::png(rgb, w, h, p), w, h, rgb, "out of range");
  }
  std::string whole = pic::exif(6);
  for (size_t n = 1; n < 20; n++) {
    pic::PngOptions p;
    p.exif = whole.substr(0, n);
    if (n < 4)
      continue;  // libpng does not write those
    expect_pixels(pic::png(rgb, w, h, p), w, h, rgb, "cut EXIF");
  }
}

TEST(Image, BadInputs) {
  Bytes rgb = pic::draw(64, 48, 3);
  expect_error("", "empty (0 bytes)");
  expect_error("GIF89a\1\0\1\0", "found GIF");
  expect_error(std::string("\0\0\0\x1c"
                           "ftypheic",
                           12),
               "found HEIC");
  expect_error("hello, this is text", "not a picture: 19 bytes that begin with 68 65 6c");
  expect_error(std::string("\xff\xd8\xff", 3), "truncated");
  // 27: huge headers, refused before any memory
  std::string jpeg = pic::jpeg(rgb, 64, 48, 3), png = pic::png(rgb, 64, 48), bmp = pic::bmp24(rgb, 64, 48);
  std::string webp = pic::webp(rgb, 64, 48, 3);
  size_t sof = jpeg.find("\xff\xc0");
  ASSERT_NE(sof, std::string::npos);
  std::string big = jpeg;
  for (int i = 0; i < 4; i++)
    big[sof + 5 + i] = '\xff';
  expect_error(big, "65500");
  for (int i : {0, 2})
    big[sof + 5 + i] = '\x30';  // 12543 x 12543: under the limits, but not in so few bytes
  expect_error(big, "cannot hold");
  big = jpeg;
  std::string chunk = "IHDR" + std::string("\0\0\xff\xff\0\0\xff\xff\10\2\0\0\0", 13);
  uint32_t crc = 0xffffffffu;
  for (unsigned char c : chunk) {
    crc ^= c;
    for (int k = 0; k < 8; k++)
      crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
  }
  crc = ~crc;
  std::string huge_png =
      png.substr(0, 12) + chunk + char(crc >> 24) + char(crc >> 16) + char(crc >> 8) + char(crc) + png.substr(33);
  int64_t live = ig_mem_live();
  expect_error(huge_png, "size 65535x65535 in the header; at most 65500");
  EXPECT_EQ(ig_mem_live(), live);
  ig_image_options loose = ig_image_options_default();
  loose.max_side = 1 << 20;
  expect_error(huge_png, "at most 178956970", &loose);
  loose.max_pixels = int64_t(1) << 40;
  expect_error(huge_png, "cannot hold", &loose);
  std::string huge_bmp = bmp;
  huge_bmp[20] = huge_bmp[24] = 1;
  expect_error(huge_bmp, "65500");
  huge_bmp[20] = huge_bmp[24] = 0, huge_bmp[19] = huge_bmp[23] = 0x20;
  expect_error(huge_bmp, "cannot hold");
  // limits are the caller's
  ig_image_options small = ig_image_options_default();
  small.max_side = 63;
  for (auto &[name, file] : samples())
    expect_error(file, "size 64x48 in the header; at most 63 pixels a side", &small);
  small.max_side = 64, small.max_pixels = 64 * 48 - 1;
  for (auto &[name, file] : samples())
    expect_error(file, "is 3072 pixels; at most 3071", &small);
  small.max_pixels++;
  for (auto &[name, file] : samples()) {
    Picture p;
    EXPECT_EQ(decode(file, p, &small), IG_OK) << name << ": " << ig_error_message();
  }
  // 28: 316 scans
  pic::JpegOptions scans;
  scans.scans_a_coefficient = 5;
  Bytes grey = pic::draw(64, 48, 1);
  expect_error(pic::jpeg(grey, 64, 48, 1, scans), "more than 256 scans");
  scans.scans_a_coefficient = 4;  // 253
  Picture p;
  EXPECT_EQ(decode(pic::jpeg(grey, 64, 48, 1, scans), p), IG_OK) << ig_error_message();
  ig_image_options few = ig_image_options_default();
  few.max_scans = 252;
  expect_error(pic::jpeg(grey, 64, 48, 1, scans), "more than 252 scans", &few);
  // 30: the name plays no part, so there is none; trailing bytes do no harm, a damaged middle does
  for (auto &[name, file] : samples()) {
    Picture a, b;
    ASSERT_EQ(decode(file, a), IG_OK) << name;
    ASSERT_EQ(decode(file + std::string(100, 'x'), b), IG_OK) << name << ": " << ig_error_message();
    EXPECT_EQ(a.bytes(), b.bytes()) << name;
  }
  std::string hole = jpeg;
  size_t sos = jpeg.find("\xff\xda");
  for (size_t i = sos + 40; i < sos + 300; i++)
    hole[i] = '\xff';
  expect_error(hole, "JPEG");
  // 31: one pixel, extreme aspects, through decode and resize
  ig_resize ws{};
  for (auto [w, h] : {std::pair{1, 1}, {1, 3000}, {3000, 1}, {2, 1}, {65500, 1}}) {
    Bytes q = pic::draw(w, h, 3);
    Picture one;
    std::string file = pic::png(q, w, h);
    ASSERT_EQ(decode(file, one), IG_OK) << ig_error_message();
    EXPECT_EQ(one.bytes(), q);
    ASSERT_EQ(decode(pic::jpeg(q, w, h, 3), one), IG_OK) << ig_error_message();
    Bytes out(size_t(224) * 224 * 3);
    ASSERT_EQ(ig_resize_eval(&ws, q.data(), w, h, 256, 224, out.data()), IG_OK) << ig_error_message();
    for (size_t i = 0; w == 1 && h == 1 && i < out.size(); i++)
      ASSERT_EQ(out[i], q[i % 3]);
  }
  ig_resize_fini(&ws);
}

TEST(Image, TruncatedIsAlwaysAnError) {
  for (auto &[name, file] : samples())
    for (int k = 0; k < 50; k++) {
      size_t n = file.size() * size_t(k) / 50;
      std::vector<uint8_t> exact(file.begin(), file.begin() + std::ptrdiff_t(n));  // ends where the data end
      Picture p;
      EXPECT_EQ(ig_image_decode(exact.data(), n, nullptr, &p.i), IG_ERR_FORMAT)
          << name << " cut to " << n << " of " << file.size();
      EXPECT_NE(*ig_error_message(), '\0');
    }
}

TEST(Image, BitFlipsNeverCrash) {
  std::mt19937 g(11);
  for (auto &[name, file] : samples()) {
    int readable = 0;
    for (int k = 0; k < 2000; k++) {
      std::vector<uint8_t> bad(file.begin(), file.end());
      // half of the flips in the first 128 bytes, where the headers are
      size_t reach = k % 2 ? bad.size() : std::min<size_t>(128, bad.size());
      for (int flips = 1 + k % 3; flips > 0; flips--)
        bad[g() % reach] ^= uint8_t(1 << g() % 8);
      Picture p;
      ig_image_info info;
      ig_status s = ig_image_decode(bad.data(), bad.size(), nullptr, &p.i);
      ASSERT_TRUE(s == IG_OK || s == IG_ERR_FORMAT) << name << ": " << ig_error_message();
      readable += s == IG_OK;
      if (s != IG_OK) {
        ASSERT_NE(*ig_error_message(), '\0');
      }
      s = ig_image_probe(bad.data(), bad.size(), &info);
      ASSERT_TRUE(s == IG_OK || s == IG_ERR_FORMAT) << name << ": " << ig_error_message();
    }
    if (name == "bmp") {
      EXPECT_GT(readable, 500) << "flipped pixels of a BMP are not damage";
    }
    if (name == "png") {
      EXPECT_LT(readable, 200) << "checksums find flips in a PNG";
    }
  }
}

TEST(Image, FailedAllocations) {
  for (auto &[name, file] : samples()) {
    int64_t live = ig_mem_live();
    for (int k = 1;; k++) {
      ASSERT_LT(k, 20);
      Picture p;
      ig_mem_fail_after(k, 0);
      ig_status s = decode(file, p);
      ig_mem_fail_after(0, 0);
      if (s == IG_OK)
        break;
      EXPECT_EQ(s, IG_ERR_MEMORY) << name << ": " << ig_error_message();
    }
    EXPECT_EQ(ig_mem_live(), live) << name;
  }
}

TEST(Image, ThreadsAndReuse) {
  auto files = samples();
  std::vector<Bytes> want;
  for (auto &[name, file] : files) {
    Picture p;
    ASSERT_EQ(decode(file, p), IG_OK);
    want.push_back(p.bytes());
  }
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; t++)
    threads.emplace_back([&, t] {
      Picture p;  // one buffer for all
      for (size_t k = 0; k < 8 * files.size(); k++) {
        size_t i = (k + size_t(t)) % files.size();
        const std::string &file = files[i].second;
        if (k % 5 == 4)
          wrong += decode(file.substr(0, file.size() / 2), p) == IG_OK;
        wrong += decode(file, p) != IG_OK || p.bytes() != want[i];
      }
    });
  for (auto &t : threads)
    t.join();
  EXPECT_EQ(wrong, 0);
  Picture p;
  ASSERT_EQ(decode(files[0].second, p), IG_OK);
  uint8_t *buffer = p.i.data;
  ASSERT_EQ(decode(files[2].second, p), IG_OK);
  EXPECT_EQ(p.i.data, buffer);
}

TEST(Image, RealData) {
  int done = 0, flat = 0;
  for (const char *set : {"neu_cls", "deeppcb_crops"}) {
    fs::path dir = fs::path(folder("INGOT_DATA", "data")) / set / "images";
    if (!fs::exists(dir))
      continue;
    std::vector<fs::path> files;
    for (auto &e : fs::recursive_directory_iterator(dir))
      if (e.is_regular_file() && (e.path().extension() == ".jpg" || e.path().extension() == ".png"))
        files.push_back(e.path());
    std::sort(files.begin(), files.end());
    ASSERT_GE(files.size(), 50u);
    for (size_t k = 0; k < 50; k++) {
      fs::path path = files[k * files.size() / 50];
      std::string file = slurp(path);
      Picture p;
      ig_image_info info;
      ASSERT_EQ(ig_image_probe(file.data(), file.size(), &info), IG_OK) << path << ": " << ig_error_message();
      ASSERT_EQ(decode(file, p), IG_OK) << path << ": " << ig_error_message();
      EXPECT_EQ(info.w, p.i.w);
      EXPECT_EQ(info.h, p.i.h);
      Bytes b = p.bytes();
      flat += *std::min_element(b.begin(), b.end()) == *std::max_element(b.begin(), b.end());
      done++;
    }
  }
  EXPECT_LE(flat, done / 10) << "a board's crop may be of one colour, most are not";
  if (!done)
    GTEST_SKIP() << "no data sets at " << folder("INGOT_DATA", "data");
}

// The resize by its definition, in doubles and two plain passes.
static Bytes resize_by_definition(const Bytes &src, int w, ig_rect box, int out_w, int out_h) {
  auto pass = [](const Bytes &in, int n, int lines, size_t step, size_t line_step, int out, size_t out_step,
                 size_t out_line, Bytes &to) {
    double s = double(n) / out, f = std::max(s, 1.0);
    for (int i = 0; i < out; i++) {
      double c = (i + 0.5) * s, sum = 0;
      int a = std::max(0, int(c - f + 0.5)), b = std::min(n, int(c + f + 0.5));
      std::vector<double> k;
      for (int j = a; j < b; j++)
        k.push_back(std::max(0.0, 1 - std::fabs((j - c + 0.5) / f))), sum += k.back();
      for (int l = 0; l < lines; l++)
        for (size_t ch = 0; ch < 3; ch++) {
          int64_t v = 1 << 21;
          for (int j = a; j < b; j++)
            v += std::llround(k[size_t(j - a)] / sum * 4194304) * in[size_t(j) * step + size_t(l) * line_step + ch];
          to[size_t(i) * out_step + size_t(l) * out_line + ch] = uint8_t(v >> 22);
        }
    }
  };
  Bytes cut, wide(size_t(out_w) * box.h * 3), out(size_t(out_w) * out_h * 3);
  for (int y = 0; y < box.h; y++) {
    const uint8_t *p = &src[(size_t(box.y + y) * w + box.x) * 3];
    cut.insert(cut.end(), p, p + size_t(box.w) * 3);
  }
  pass(cut, box.w, box.h, 3, size_t(box.w) * 3, out_w, 3, size_t(out_w) * 3, wide);
  pass(wide, box.h, out_w, size_t(out_w) * 3, 3, out_h, size_t(out_w) * 3, 3, out);
  return out;
}

TEST(Resize, EqualsItsDefinition) {
  std::mt19937 g(3);
  ig_resize fast{}, plain{};
  plain.portable = true;
  auto pick = [&](int lo, int hi) { return lo + int(g() % unsigned(hi - lo + 1)); };
  for (int t = 0; t < 300; t++) {
    int w = pick(1, t % 10 ? 90 : 900), h = pick(1, 90);
    Bytes src = pic::draw(w, h, 3, g());  // exactly as large as the picture: ASan sees reads beyond it
    if (t % 3 == 0)
      for (auto &v : src)
        v = v > 127 ? 255 : 0;
    ig_rect box = {0, 0, pick(1, w), pick(1, h)};
    box.x = pick(0, w - box.w), box.y = pick(0, h - box.h);
    int out_w = t % 7 == 0 ? box.w : pick(1, 70), out_h = t % 5 == 0 ? box.h : pick(1, 70);
    Bytes want = resize_by_definition(src, w, box, out_w, out_h);
    for (ig_resize *r : {&fast, &plain}) {
      Bytes out(want.size(), 7);
      ASSERT_EQ(ig_resize_run(r, src.data(), w, h, box, out_w, out_h, nullptr, out.data(), size_t(out_w) * 3), IG_OK);
      ASSERT_EQ(out, want) << w << "x" << h << " box " << box.w << "x" << box.h << " to " << out_w << "x" << out_h;
      // a part of it, with room between the rows that stays as it is
      ig_rect v = {0, 0, pick(1, out_w), pick(1, out_h)};
      v.x = pick(0, out_w - v.w), v.y = pick(0, out_h - v.h);
      size_t stride = size_t(v.w) * 3 + 5;
      Bytes part(stride * size_t(v.h), 9);
      ASSERT_EQ(ig_resize_run(r, src.data(), w, h, box, out_w, out_h, &v, part.data(), stride), IG_OK);
      for (int y = 0; y < v.h; y++)
        for (size_t k = 0; k < stride; k++)
          ASSERT_EQ(part[size_t(y) * stride + k],
                    k < size_t(v.w) * 3 ? want[(size_t(v.y + y) * out_w + v.x) * 3 + k] : 9);
    }
  }
  Bytes src(12), out(12);
  EXPECT_EQ(ig_resize_run(&fast, src.data(), 2, 2, {1, 0, 2, 1}, 2, 2, nullptr, out.data(), 6), IG_ERR_USAGE);
  EXPECT_EQ(ig_resize_run(&fast, src.data(), 2, 2, {0, 0, 2, 2}, 0, 2, nullptr, out.data(), 6), IG_ERR_USAGE);
  EXPECT_EQ(ig_resize_eval(&fast, src.data(), 2, 2, 4, 5, out.data()), IG_ERR_USAGE);
  ig_resize_fini(&fast);
  ig_resize_fini(&plain);
}

TEST(Resize, AllocatesOnlyWhileItGrows) {
  ig_resize r{};
  Bytes src = pic::draw(200, 200, 3), out(size_t(128) * 128 * 3);
  ASSERT_EQ(ig_resize_run(&r, src.data(), 200, 200, {0, 0, 200, 200}, 128, 128, nullptr, out.data(), 384), IG_OK);
  ig_mem_fail_after(1, 1);
  for (int k = 1; k < 60; k++)
    ASSERT_EQ(ig_resize_run(&r, src.data(), 200, 200, {k, 0, 200 - k, 200 - k / 2}, 128, 128, nullptr, out.data(), 384),
              IG_OK)
        << ig_error_message();
  ig_mem_fail_after(0, 0);
  ig_resize_fini(&r);
  for (int k = 1;; k++) {
    ASSERT_LT(k, 30);
    ig_resize q{};
    int64_t live = ig_mem_live();
    ig_mem_fail_after(k, 0);
    ig_status s = ig_resize_run(&q, src.data(), 200, 200, {0, 0, 200, 200}, 64, 64, nullptr, out.data(), 384);
    ig_mem_fail_after(0, 0);
    ig_resize_fini(&q);
    EXPECT_EQ(ig_mem_live(), live);
    if (s == IG_OK)
      break;
    EXPECT_EQ(s, IG_ERR_MEMORY);
  }
}

TEST(Geometry, TurnsAndMirrors) {
  const int w = 13, h = 8;
  Bytes src = pic::draw(w, h, 3), out(src.size());
  for (int o = 1; o <= 8; o++) {
    ig_geom_orient(src.data(), w, h, o, out.data());
    EXPECT_EQ(out, upright(src, w, h, o)) << o;
  }
}

TEST(Geometry, Rotation) {
  // quarter turns of a square are exact: counter-clockwise by 90 is orientation 8
  const int n = 31;
  Bytes src = pic::draw(n, n, 3), out(src.size());
  struct {
    double degrees;
    int orientation;
  } turns[] = {{0, 1}, {90, 8}, {180, 3}, {270, 6}, {-90, 6}, {360, 1}};
  for (auto &t : turns) {
    ig_geom_rotate(src.data(), n, n, t.degrees, out.data());
    EXPECT_EQ(out, upright(src, n, n, t.orientation)) << t.degrees;
  }
  // any angle: a plane of brightness stays that plane, turned, away from the edges
  const int w = 60, h = 44;
  Bytes plane(size_t(w) * h * 3), turned(plane.size());
  auto at = [&](double x, double y) { return 20 + 2 * x + 1.5 * y; };
  for (int y = 0; y < h; y++)
    for (int x = 0; x < w; x++)
      for (int c = 0; c < 3; c++)
        plane[(size_t(y) * w + x) * 3 + c] = uint8_t(std::lround(at(x, y)));
  for (double degrees : {7.5, -20.0, 33.0}) {
    ig_geom_rotate(plane.data(), w, h, degrees, turned.data());
    double t = degrees * M_PI / 180, cx = (w - 1) / 2.0, cy = (h - 1) / 2.0;
    for (int y = 0; y < h; y++)
      for (int x = 0; x < w; x++) {
        double X = x - cx, Y = y - cy;
        double sx = cx + std::cos(t) * X - std::sin(t) * Y, sy = cy + std::sin(t) * X + std::cos(t) * Y;
        if (sx < 0 || sy < 0 || sx > w - 1 || sy > h - 1)
          continue;
        ASSERT_NEAR(turned[(size_t(y) * w + x) * 3], at(sx, sy), 1.1) << degrees << " " << x << " " << y;
      }
  }
}

TEST(Geometry, AffineMirrorsAtTheEdges) {
  const int w = 5, h = 4;
  Bytes src = pic::draw(w, h, 3), out(size_t(30) * 20 * 3);
  double shift[6] = {1, 0, -12, 0, 1, -9};
  ig_geom_affine(src.data(), w, h, shift, out.data(), 30, 20);
  auto mirror = [](int i, int n) {
    while (i < 0 || i >= n)
      i = i < 0 ? -1 - i : 2 * n - 1 - i;
    return i;
  };
  for (int y = 0; y < 20; y++)
    for (int x = 0; x < 30; x++)
      for (int c = 0; c < 3; c++)
        ASSERT_EQ(out[(size_t(y) * 30 + x) * 3 + c], src[(size_t(mirror(y - 9, h)) * w + mirror(x - 12, w)) * 3 + c]);
  // absurd matrices read nothing outside (ASan) and a half-pixel shift is the mean of two
  Bytes one(3), result(27);
  one = {9, 8, 7};
  for (double bad : {1e30, -1e30, double(NAN), double(INFINITY), 1e9}) {
    double m[6] = {bad, 1, bad, 0, bad, bad};
    ig_geom_affine(one.data(), 1, 1, m, result.data(), 3, 3);
    for (size_t i = 0; i < 27; i++)
      ASSERT_EQ(result[i], one[i % 3]);
    ig_geom_affine(src.data(), w, h, m, out.data(), 30, 20);
  }
  Bytes two = {10, 20, 30, 20, 40, 60}, mean(3);
  double half[6] = {1, 0, 0.5, 0, 1, 0};
  ig_geom_affine(two.data(), 2, 1, half, mean.data(), 1, 1);
  EXPECT_EQ(mean, (Bytes{15, 30, 45}));
}
