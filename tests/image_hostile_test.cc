// floor: ig_data
// Pictures that are damaged, cut off or too large, failing allocations, threads, and the real data sets. Rule: an error
// with its reason or the right pixels, never a crash.
#include <algorithm>
#include <atomic>
#include <filesystem>
#include <gtest/gtest.h>
#include <random>
#include <thread>

#include "runtime/base/mem.h"
#include "runtime/data/image.h"
#include "runtime/data/resize.h"
#include "tests/image_bytes.h"
#include "tests/picture_files.h"

using namespace picture_files;

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
      ig_image_info info;  // the opening scan of a data set finds it, too, but where only decoding can tell
      if (name != "tiff jpeg" && name != "bmp rle") {
        EXPECT_EQ(ig_image_probe(exact.data(), n, &info), IG_ERR_FORMAT)
            << name << " cut to " << n << " of " << file.size();
      }
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
      const bool decoded = s == IG_OK;
      s = ig_image_probe(bad.data(), bad.size(), &info);
      ASSERT_TRUE(s == IG_OK || (s == IG_ERR_FORMAT && !decoded)) << name << ": " << ig_error_message();
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
