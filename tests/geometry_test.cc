// floor: ig_data
// The exact resize, turns, mirrors and rotations. Rule: what is expected is written out here by its definition.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <gtest/gtest.h>
#include <random>

#include "runtime/base/mem.h"
#include "runtime/data/augment_geom.h"
#include "runtime/data/image.h"
#include "runtime/data/resize.h"
#include "tests/image_bytes.h"
#include "tests/picture_files.h"

using namespace picture_files;

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
