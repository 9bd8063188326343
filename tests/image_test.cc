// floor: ig_data
// Pictures: exact decoding of every format. Rule: expected pixels come from the fixtures, from lossless input or from a
// formula written out here, never from the code under test.
#include "runtime/data/image.h"

#include <cmath>
#include <filesystem>
#include <gtest/gtest.h>
#include <jansson.h>
#include <random>

#include "runtime/data/augment_geom.h"
#include "runtime/data/resize.h"
#include "tests/image_bytes.h"
#include "tests/picture_files.h"
#include "tests/st_reader.h"

using namespace picture_files;

namespace {

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
