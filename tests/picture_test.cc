// floor: ig_kernels
// The picture op: each step by hand on small pictures, the fast kernel against the reference on drawn rows, and that
// threads change nothing.
#include "kernels/picture/picture.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <omp.h>
#include <random>

#include "tests/run_graph.h"

namespace {

using run_graph::Way;

const ig_picture_attr plain = {{0, 0, 0}, {1, 1, 1}, false};

struct Batch {
  int64_t n, h, w;
  std::vector<uint8_t> pixels;
  std::vector<float> aug;
  std::vector<int32_t> partner;
  Batch(int64_t n_, int64_t h_, int64_t w_) : n(n_), h(h_), w(w_), pixels((size_t)(n_ * h_ * w_ * 3)) {
    for (size_t i = 0; i < pixels.size(); i++)
      pixels[i] = (uint8_t)(i * 37 % 251);
    aug.resize((size_t)n * IG_N_AUG);
    for (int64_t i = 0; i < n; i++)
      ig_aug_neutral(row(i));
    for (int64_t i = 0; i < n; i++)
      partner.push_back((int32_t)((i + 1) % n));
  }
  float *row(int64_t i) { return aug.data() + i * IG_N_AUG; }
  double at(int64_t i, int64_t y, int64_t x, int c) const {
    return (double)pixels[(size_t)(((i * h + y) * w + x) * 3 + c)];
  }
};

template <class T = float>
std::vector<T> run(const Batch &b, const ig_picture_attr &attr, const Way &way, ig_dtype dtype = IG_F32,
                   bool with_aug = true, bool with_partner = true) {
  run_graph::Graph g(dtype);
  ig_tensor *x = g.input("x", IG_U8, IG_SHAPE4(b.n, b.h, b.w, 3), b.pixels);
  ig_tensor *aug = with_aug ? g.input("aug", IG_F32, IG_SHAPE2(b.n, IG_N_AUG), b.aug) : nullptr;
  ig_tensor *partner = with_partner ? g.input("partner", IG_I32, IG_SHAPE1(b.n), b.partner) : nullptr;
  ig_tensor *y = ig_picture(g.g, "picture", x, aug, partner, &attr);
  g.output(y, "y");
  g.plan(way);
  g.run();
  return g.get<T>(y);
}

double of(const Batch &b, const std::vector<float> &y, int64_t i, int64_t row, int64_t x, int c) {
  return (double)y[(size_t)(((i * b.h + row) * b.w + x) * 3 + c)];
}

TEST(Picture, NeutralRowsNormaliseOnly) {
  Batch b(2, 5, 70);
  const ig_picture_attr a = {{100, 110, 120}, {50, 60, 70}, false};
  for (const Way &way : run_graph::ways)
    for (bool with_aug : {false, true}) {
      const std::vector<float> y = run(b, a, way, IG_F32, with_aug);
      for (size_t i = 0; i < y.size(); i++)
        ASSERT_NEAR((double)y[i], ((double)b.pixels[i] - (double)a.mean[i % 3]) / (double)a.std[i % 3], 1e-6)
            << way.name << " " << i;
    }
}

TEST(Picture, BgrSwapsChannelsBeforeNormalising) {
  Batch b(1, 3, 4);
  const ig_picture_attr a = {{1, 2, 3}, {1, 2, 4}, true};
  for (const Way &way : run_graph::ways) {
    const std::vector<float> y = run(b, a, way);
    EXPECT_NEAR(of(b, y, 0, 2, 1, 0), b.at(0, 2, 1, 2) - 1, 1e-5) << way.name;
    EXPECT_NEAR(of(b, y, 0, 2, 1, 1), (b.at(0, 2, 1, 1) - 2) / 2, 1e-5) << way.name;
    EXPECT_NEAR(of(b, y, 0, 2, 1, 2), (b.at(0, 2, 1, 0) - 3) / 4, 1e-5) << way.name;
  }
}

TEST(Picture, FlipsAndTransposition) {
  Batch b(4, 6, 6);
  b.row(0)[IG_AUG_HFLIP] = 1;
  b.row(1)[IG_AUG_VFLIP] = 1;
  b.row(2)[IG_AUG_TRANSPOSE] = 1;
  b.row(3)[IG_AUG_TRANSPOSE] = b.row(3)[IG_AUG_HFLIP] = 1;  // transposed first: a turn clockwise
  for (const Way &way : run_graph::ways) {
    const std::vector<float> y = run(b, plain, way);
    for (int c = 0; c < 3; c++) {
      EXPECT_EQ(of(b, y, 0, 2, 1, c), b.at(0, 2, 4, c)) << way.name;
      EXPECT_EQ(of(b, y, 1, 2, 1, c), b.at(1, 3, 1, c)) << way.name;
      EXPECT_EQ(of(b, y, 2, 2, 1, c), b.at(2, 1, 2, c)) << way.name;
      EXPECT_EQ(of(b, y, 3, 0, 5, c), b.at(3, 0, 0, c)) << way.name;
      EXPECT_EQ(of(b, y, 3, 0, 0, c), b.at(3, 5, 0, c)) << way.name;
    }
  }
}

TEST(Picture, ColoursAboutMeanGreyAndClampedOnce) {
  Batch b(3, 4, 5);
  b.row(0)[IG_AUG_BRIGHTNESS] = 0.5f;
  b.row(1)[IG_AUG_CONTRAST] = 0.25f;
  b.row(1)[IG_AUG_BRIGHTNESS] = 0.5f;
  b.row(2)[IG_AUG_SATURATION] = 3;
  auto grey = [&](int64_t i, int64_t y, int64_t x) {
    return 0.299 * b.at(i, y, x, 0) + 0.587 * b.at(i, y, x, 1) + 0.114 * b.at(i, y, x, 2);
  };
  double mean = 0;
  for (int64_t k = 0; k < 20; k++)
    mean += grey(1, k / 5, k % 5) / 20;
  bool clamped = false;
  for (const Way &way : run_graph::ways) {
    const std::vector<float> y = run(b, plain, way);
    for (int64_t k = 0; k < 20; k++)
      for (int c = 0; c < 3; c++) {
        const int64_t r = k / 5, x = k % 5;
        EXPECT_NEAR(of(b, y, 0, r, x, c), 0.5 * b.at(0, r, x, c), 1e-4) << way.name;
        EXPECT_NEAR(of(b, y, 1, r, x, c), 0.125 * b.at(1, r, x, c) + 0.75 * 0.5 * mean, 1e-3) << way.name;
        const double v = 3 * b.at(2, r, x, c) - 2 * grey(2, r, x);
        EXPECT_NEAR(of(b, y, 2, r, x, c), std::min(std::max(v, 0.0), 255.0), 1e-3) << way.name;
        clamped |= v < 0 || v > 255;
      }
  }
  EXPECT_TRUE(clamped);
}

TEST(Picture, EraseMixupAndCutmix) {
  Batch b(3, 8, 70);
  const ig_picture_attr a = {{10, 20, 30}, {2, 2, 2}, false};
  float *erase = b.row(0) + IG_AUG_ERASE_X0, *cut = b.row(2) + IG_AUG_CUT_X0;
  erase[0] = 60, erase[1] = 2, erase[2] = 1e9f, erase[3] = 4;
  b.row(1)[IG_AUG_MIX_MODE] = IG_MIX_MIXUP;
  b.row(1)[IG_AUG_LAMBDA] = 0.25f;
  b.row(1)[IG_AUG_HFLIP] = 1;
  b.row(2)[IG_AUG_MIX_MODE] = IG_MIX_CUTMIX;
  cut[0] = 62, cut[1] = 1, cut[2] = 66, cut[3] = 3;
  b.partner = {0, 2, 0};
  for (const Way &way : run_graph::ways) {
    const std::vector<float> y = run(b, a, way);
    auto normal = [&](double v, int c) { return (v - (double)a.mean[c]) / (double)a.std[c]; };
    for (int64_t r = 0; r < 8; r++)
      for (int64_t x = 0; x < 70; x++)
        for (int c = 0; c < 3; c++) {
          const bool erased = x >= 60 && r >= 2 && r < 4, in_cut = x >= 62 && x < 66 && r >= 1 && r < 3;
          EXPECT_NEAR(of(b, y, 0, r, x, c), erased ? 0 : normal(b.at(0, r, x, c), c), 1e-4) << way.name;
          EXPECT_NEAR(of(b, y, 1, r, x, c), normal(0.25 * b.at(1, r, 69 - x, c) + 0.75 * b.at(2, r, x, c), c), 1e-4)
              << way.name;
          // The partner comes with its own erased rectangle.
          const double partner = erased ? 0 : normal(b.at(0, r, x, c), c);
          EXPECT_NEAR(of(b, y, 2, r, x, c), in_cut ? partner : normal(b.at(2, r, x, c), c), 1e-4) << way.name;
        }
  }
}

TEST(Picture, PartnersOutsideOfTheBatchAreNotRead) {
  Batch b(2, 3, 3), neutral(2, 3, 3);
  b.row(0)[IG_AUG_MIX_MODE] = IG_MIX_MIXUP, b.row(1)[IG_AUG_MIX_MODE] = IG_MIX_CUTMIX;
  b.row(0)[IG_AUG_LAMBDA] = 0;
  b.row(1)[IG_AUG_CUT_X1] = b.row(1)[IG_AUG_CUT_Y1] = 9;
  b.partner = {-1, 2};
  for (const Way &way : run_graph::ways)
    EXPECT_EQ(run(b, plain, way), run(neutral, plain, way)) << way.name;
}

Batch drawn(int64_t n, int64_t h, int64_t w) {
  Batch b(n, h, w);
  std::mt19937 rng(7);
  std::uniform_real_distribution<float> u(0, 1);
  for (uint8_t &p : b.pixels)
    p = (uint8_t)(rng() & 255);
  for (int64_t i = 0; i < n; i++) {
    float *r = b.row(i);
    for (int k = IG_AUG_TRANSPOSE; k <= IG_AUG_VFLIP; k++)
      r[k] = (float)(rng() & 1);
    for (int k = IG_AUG_BRIGHTNESS; k <= IG_AUG_SATURATION; k++)
      r[k] = 0.5f + u(rng);
    for (int k = IG_AUG_ERASE_X0; k <= IG_AUG_ERASE_Y1; k++)
      r[k] = u(rng) * 1.4f * (float)w - 3;
    for (int k = IG_AUG_CUT_X0; k <= IG_AUG_CUT_Y1; k++)
      r[k] = u(rng) * 1.4f * (float)w - 3;
    r[IG_AUG_MIX_MODE] = (float)(rng() % 3);
    r[IG_AUG_LAMBDA] = u(rng);
    b.partner[(size_t)i] = (int32_t)(rng() % (unsigned)n);
  }
  return b;
}

TEST(Picture, FastKernelsEqualTheReferenceOnDrawnRows) {
  const ig_picture_attr a = {{123.675f, 116.28f, 103.53f}, {58.395f, 57.12f, 57.375f}, false};
  for (const Batch &b : {drawn(40, 33, 33), drawn(20, 7, 129)}) {
    const std::vector<double> exact = run<double>(b, a, {"ref", IG_ISA_AMX, "*=ref"}, IG_F64);
    for (const Way &way : run_graph::ways) {
      const std::vector<float> y = run(b, a, way);
      const std::vector<uint16_t> half = run<uint16_t>(b, a, way, IG_BF16);
      for (size_t i = 0; i < y.size(); i++) {
        ASSERT_NEAR((double)y[i], exact[i], 2e-6) << way.name << " " << i;
        ASSERT_NEAR((double)ig_f32_from_bf16(half[i]), exact[i], 1e-5 + 0.004 * std::fabs(exact[i])) << way.name << i;
      }
    }
  }
}

TEST(Picture, ThreadsChangeNothing) {
  const Batch b = drawn(9, 65, 65);
  const int before = omp_get_max_threads();
  omp_set_num_threads(1);
  const std::vector<float> one = run(b, plain, run_graph::ways[0]);
  omp_set_num_threads(3);
  const std::vector<float> three = run(b, plain, run_graph::ways[0]);
  omp_set_num_threads(before);
  EXPECT_EQ(one, three);
}

TEST(Picture, WrongOperandsAreRefusedWithTheReason) {
  run_graph::Graph g;
  Batch b(1, 2, 2);
  ig_tensor *x = g.input("x", IG_U8, IG_SHAPE4(1, 2, 2, 3), b.pixels);
  const ig_picture_attr zero = {{0, 0, 0}, {1, 0, 1}, false};
  EXPECT_EQ(ig_picture(g.g, "picture", x, nullptr, nullptr, &zero), nullptr);
  EXPECT_EQ(ig_graph_status(g.g), IG_ERR_USAGE);
  EXPECT_NE(std::string(ig_error_message()).find("deviation"), std::string::npos);
}

}  // namespace
