// floor: ig_data
// The demo's pictures: pure functions of their arguments, not told apart by a linear model on pixels or by brightness,
// and written once with the same bytes.
#include "runtime/data/defects.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <gtest/gtest.h>
#include <string>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/data/image.h"
#include "tests/folder.h"

namespace {

const int K = IG_DEFECTS_N_CLASSES;

std::vector<uint8_t> draw(uint64_t seed, int cls, uint64_t index, int size) {
  std::vector<uint8_t> rgb((size_t)size * size * 3);
  EXPECT_EQ(ig_defects_draw(seed, cls, index, size, rgb.data()), IG_OK) << ig_error_message();
  return rgb;
}

TEST(Defects, PureFunctionOfItsArguments) {
  auto a = draw(1, 3, 7, 64);
  EXPECT_EQ(a, draw(1, 3, 7, 64));
  EXPECT_NE(a, draw(2, 3, 7, 64));
  EXPECT_NE(a, draw(1, 4, 7, 64));
  EXPECT_NE(a, draw(1, 3, 8, 64));
  for (size_t i = 0; i < a.size(); i += 3)
    ASSERT_TRUE(a[i] == a[i + 1] && a[i] == a[i + 2]);
}

TEST(Defects, RefusesWhatItCannotDraw) {
  std::vector<uint8_t> rgb(3 * 64 * 64);
  EXPECT_EQ(ig_defects_draw(1, K, 0, 64, rgb.data()), IG_ERR_USAGE);
  EXPECT_EQ(ig_defects_draw(1, -1, 0, 64, rgb.data()), IG_ERR_USAGE);
  EXPECT_EQ(ig_defects_draw(1, 0, 0, 8, rgb.data()), IG_ERR_USAGE);
  EXPECT_NE(std::string(ig_error_message()).find("32 to 1024"), std::string::npos);
  EXPECT_EQ(ig_defects_class_name(K), nullptr);
  for (int c = 1; c < K; c++)
    EXPECT_LT(std::string(ig_defects_class_name(c - 1)), ig_defects_class_name(c)) << "sorted like folders";
}

// Area means to 32 x 32, in [-0.5, 0.5], and a constant.
std::vector<double> features(int cls, uint64_t index) {
  auto rgb = draw(11, cls, index, 128);
  std::vector<double> x(32 * 32 + 1, 1.0);
  for (int y = 0; y < 32; y++)
    for (int k = 0; k < 32; k++) {
      double sum = 0;
      for (int i = 0; i < 16; i++)
        sum += rgb[3 * ((size_t)(4 * y + i / 4) * 128 + 4 * k + i % 4)];
      x[y * 32 + k] = sum / (16 * 255) - 0.5;
    }
  return x;
}

TEST(Defects, ALinearModelOnPixelsIsNotEnough) {
  const int n_train = 80, n_test = 40, F = 32 * 32 + 1;  // a class
  std::vector<std::vector<double>> x, t;
  for (int i = 0; i < n_train; i++)
    for (int c = 0; c < K; c++)
      x.push_back(features(c, i));
  for (int i = 0; i < n_test; i++)
    for (int c = 0; c < K; c++)
      t.push_back(features(c, 100000 + i));
  std::vector<double> w((size_t)K * F, 0.0);
  auto classify = [&](const std::vector<double> &v, double *p) {
    double top = -1e30, sum = 0;
    for (int c = 0; c < K; c++) {
      p[c] = 0;
      for (int f = 0; f < F; f++)
        p[c] += w[(size_t)c * F + f] * v[f];
      top = std::max(top, p[c]);
    }
    int best = 0;
    for (int c = 0; c < K; c++) {
      best = p[c] > p[best] ? c : best;
      sum += std::exp(p[c] - top);
    }
    for (int c = 0; c < K; c++)
      p[c] = std::exp(p[c] - top) / sum;
    return best;
  };
  double p[K], test = 0;
  for (int epoch = 0; epoch < 60; epoch++) {
    int right = 0;
    for (size_t i = 0; i < t.size(); i++)
      right += classify(t[i], p) == (int)(i % K);
    test = std::max(test, right / (double)t.size());  // the most generous moment to stop
    double rate = 0.02 / (1 + epoch * 0.1);
    for (size_t i = 0; i < x.size(); i++) {
      classify(x[i], p);
      for (int c = 0; c < K; c++) {
        double g = rate * (p[c] - (c == (int)(i % K)));
        for (int f = 0; f < F; f++)
          w[(size_t)c * F + f] -= g * x[i][f];
      }
    }
  }
  RecordProperty("linear_accuracy", std::to_string(test));
  printf("a linear model: %.3f\n", test);
  EXPECT_LT(test, 0.60);
  EXPECT_GT(test, 1.0 / K);
}

TEST(Defects, BrightnessDoesNotTellTheClass) {
  for (int c = 0; c < K; c++) {
    double sum = 0;
    const int n = 60;
    for (int i = 0; i < n; i++) {
      auto rgb = draw(5, c, i, 64);
      double mean = 0;
      for (uint8_t v : rgb)
        mean += v;
      sum += mean / rgb.size() / 255;
    }
    EXPECT_NEAR(sum / n, 0.5, 0.06) << ig_defects_class_name(c);
  }
}

TEST(Defects, WritesTheSetOnceAndRepairsIt) {
  Folder a, b;
  ASSERT_EQ(ig_defects_write(a.path.c_str(), 3, 3, 2, 64), IG_OK) << ig_error_message();
  ASSERT_EQ(ig_defects_write(b.path.c_str(), 3, 3, 2, 64), IG_OK);
  const std::string file = "/train/pits/pits_0002.png";
  std::string bytes = read_file(a.path + file);
  EXPECT_EQ(bytes, read_file(b.path + file));
  EXPECT_NE(bytes, read_file(a.path + "/test/pits/pits_0001.png"));

  ig_image image = {};
  ASSERT_EQ(ig_image_decode(bytes.data(), bytes.size(), nullptr, &image), IG_OK) << ig_error_message();
  EXPECT_EQ(std::vector<uint8_t>(image.data, image.data + 64 * 64 * 3), draw(3, 3, 2, 64));
  ig_image_fini(&image);

  struct stat before, after;
  stat((a.path + file).c_str(), &before);
  ASSERT_EQ(ig_defects_write(a.path.c_str(), 3, 3, 2, 64), IG_OK);
  stat((a.path + file).c_str(), &after);
  EXPECT_EQ(before.st_ino, after.st_ino) << "a complete set is left alone";
  EXPECT_EQ(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);

  unlink((a.path + file).c_str());
  ASSERT_EQ(ig_defects_write(a.path.c_str(), 3, 3, 2, 64), IG_OK);
  EXPECT_EQ(bytes, read_file(a.path + file));

  ASSERT_EQ(ig_defects_write(a.path.c_str(), 3, 2, 2, 64), IG_OK);
  EXPECT_FALSE(ig_path_exists((a.path + file).c_str())) << "another set replaces it";
}

TEST(Defects, LeavesOtherPeoplesFoldersAlone) {
  Folder a;
  ASSERT_EQ(ig_make_dirs((a.path + "/train/mine").c_str()), IG_OK);
  EXPECT_EQ(ig_defects_write(a.path.c_str(), 3, 1, 1, 64), IG_ERR_USAGE);
  EXPECT_NE(std::string(ig_error_message()).find("another folder"), std::string::npos);
  EXPECT_TRUE(ig_path_exists((a.path + "/train/mine").c_str()));
  EXPECT_EQ(ig_defects_write(a.path.c_str(), 3, 0, 1, 64), IG_ERR_USAGE);
}

}  // namespace
