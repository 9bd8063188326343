// floor: ig_data ig_kernels
// The loader: order, determinism, seeking, evaluation, augmentation, samples that turn bad. Rule: what stands in a
// batch is compared with what was written, or between runs that must agree.
#include "runtime/data/loader.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <gtest/gtest.h>
#include <set>
#include <string>
#include <unistd.h>
#include <vector>

#include "kernels/picture/picture.h"
#include "runtime/base/mem.h"
#include "runtime/data/loader_aug.h"
#include "runtime/data/resize.h"
#include "tests/dataset_tree.h"
#include "tests/image_bytes.h"

using namespace dataset_tree;

namespace {

// The columns that the loader fills are those that the op reads.
#define SAME(field) static_assert(static_cast<int>(AUG_##field) == static_cast<int>(IG_AUG_##field), #field)
SAME(TRANSPOSE);
SAME(HFLIP);
SAME(VFLIP);
SAME(BRIGHTNESS);
SAME(CONTRAST);
SAME(SATURATION);
SAME(ERASE_X0);
SAME(ERASE_Y0);
SAME(ERASE_X1);
SAME(ERASE_Y1);
SAME(MIX_MODE);
SAME(LAMBDA);
SAME(CUT_X0);
SAME(CUT_Y0);
SAME(CUT_X1);
SAME(CUT_Y1);
#undef SAME
static_assert(static_cast<int>(AUG_N) == static_cast<int>(IG_N_AUG) && IG_AUG_FIELDS == AUG_N, "columns");
static_assert(static_cast<int>(MIX_MIXUP) == static_cast<int>(IG_MIX_MIXUP) &&
                  static_cast<int>(MIX_CUTMIX) == static_cast<int>(IG_MIX_CUTMIX) &&
                  static_cast<int>(MIX_NONE) == static_cast<int>(IG_MIX_NONE),
              "modes");

TEST_F(Data, EachEpochHasEachSampleOnceAndOrdersDiffer) {
  tree(root, {"a", "b"}, 17);
  ASSERT_EQ(open(root), IG_OK);
  auto lo = loader_options(true, 5);
  ig_loader *l;
  ASSERT_EQ(ig_loader_create(&lo, &l), IG_OK) << ig_error_message();
  uint64_t n = d->count[IG_PART_TRAIN];
  std::vector<uint64_t> seen;
  const ig_batch *b;
  while (seen.size() < 3 * n) {
    ASSERT_EQ(ig_loader_next(l, &b), IG_OK) << ig_error_message();
    ASSERT_EQ(b->n, 5);
    ASSERT_EQ(b->position, static_cast<int64_t>(seen.size()));
    ASSERT_EQ(b->epoch, static_cast<int64_t>(seen.size() / n));
    for (int i = 0; i < 5; i++) {
      EXPECT_EQ(b->samples[i], ig_loader_sample_at(l, b->position + i));
      EXPECT_EQ(b->labels[i], d->samples[b->samples[i]].label);
      EXPECT_EQ(d->samples[b->samples[i]].part, IG_PART_TRAIN);
      // Colours count up in the order in which the tree was written: class, then number.
      int number = atoi(fs::path(d->samples[b->samples[i]].path).stem().c_str());
      EXPECT_EQ(b->pictures[i * 8 * 8 * 3], 17 * b->labels[i] + number);
      seen.push_back(b->samples[i]);
    }
  }
  ig_loader_destroy(l);
  std::vector<uint64_t> all(d->index[0], d->index[0] + n), previous;
  for (int e = 0; e < 3; e++) {
    std::vector<uint64_t> epoch(seen.begin() + e * n, seen.begin() + (e + 1) * n), sorted = epoch;
    std::sort(sorted.begin(), sorted.end());
    EXPECT_EQ(sorted, all);
    EXPECT_NE(epoch, previous);
    previous = epoch;
  }
}

TEST_F(Data, ThreadsCacheAndSeekChangeNothing) {
  for (int i = 0; i < 12; i++)
    for (std::string c : {"a", "b", "c"})
      write(root / c / (std::to_string(i) + ".png"), pic::png(pic::draw(30 + i, 24, 3, i * 3 + c[0]), 30 + i, 24));
  ASSERT_EQ(open(root), IG_OK);
  auto lo = loader_options(true, 7, 16);
  lo.augment = strong();
  lo.threads = 1;
  auto expected = run(lo, 12);
  for (int threads = 2; threads <= 4; threads++)
    for (uint64_t cache : {uint64_t(0), uint64_t(20000), uint64_t(1) << 30}) {
      lo.threads = threads;
      lo.cache_bytes = cache;
      EXPECT_EQ(run(lo, 12), expected) << threads << " threads, cache " << cache;
    }
  auto tail = run(lo, 5, 7 * 7);
  EXPECT_EQ(tail, std::vector<std::string>(expected.begin() + 7, expected.end()));
  lo.seed++;
  EXPECT_NE(run(lo, 1)[0], expected[0]);

  ig_loader *l;
  const ig_batch *b;
  lo.seed--;
  ASSERT_EQ(ig_loader_create(&lo, &l), IG_OK);
  for (int round = 0; round < 20; round++) {  // seeking while threads are at work
    ASSERT_EQ(ig_loader_seek(l, (round * 5 % 12) * 7), IG_OK);
    ASSERT_EQ(ig_loader_next(l, &b), IG_OK);
    EXPECT_EQ(content(lo, b), expected[round * 5 % 12]);
  }
  EXPECT_GT(ig_loader_cache_bytes(l), 0u);
  ig_loader_destroy(l);
}

TEST_F(Data, EvaluationIsInOrderPaddedAndExact) {
  pic::Bytes p = pic::draw(40, 30, 3);
  tree(root, {"a"}, 4);
  write(root / "b" / "x.png", pic::png(p, 40, 30));
  ASSERT_EQ(open(root), IG_OK);
  for (uint64_t cache : {0, 1 << 20}) {
    auto lo = loader_options(false, 3, 16);
    lo.augment = strong();  // evaluation takes none of it
    lo.eval_crop_ratio = 0.875;
    lo.cache_bytes = cache;
    ig_loader *l;
    const ig_batch *b;
    ASSERT_EQ(ig_loader_create(&lo, &l), IG_OK);
    for (int round = 0; round < 3; round++) {
      ASSERT_EQ(ig_loader_next(l, &b), IG_OK);
      EXPECT_EQ(b->n, 3);
      EXPECT_EQ(b->samples[2], 2u);
      ASSERT_EQ(ig_loader_next(l, &b), IG_OK);
      ASSERT_NE(b, nullptr);
      EXPECT_EQ(b->n, 2);
      EXPECT_EQ(b->weights[1], 1);
      EXPECT_EQ(b->weights[2], 0);
      EXPECT_EQ(b->labels[1], 1);
      pic::Bytes expected(16 * 16 * 3), loaded(16 * 16 * 3);
      ig_resize r{};
      ASSERT_EQ(ig_resize_eval(&r, p.data(), 40, 30, 18, 16, expected.data()), IG_OK);
      ig_resize_fini(&r);
      EXPECT_EQ(pic::Bytes(b->pictures + 768, b->pictures + 1536), expected);
      ASSERT_EQ(ig_picture_load((root / "b" / "x.png").c_str(), 16, 0.875, loaded.data()), IG_OK);
      EXPECT_EQ(loaded, expected);
      float row[IG_N_AUG];
      ig_aug_neutral(row);
      for (int i = 0; i < 3 * IG_N_AUG; i++)
        EXPECT_EQ(b->aug[i], row[i % IG_N_AUG]);
      ASSERT_EQ(ig_loader_next(l, &b), IG_OK);
      EXPECT_EQ(b, nullptr);
      ASSERT_EQ(ig_loader_next(l, &b), IG_OK);  // stays at its end
      EXPECT_EQ(b, nullptr);
      ASSERT_EQ(ig_loader_seek(l, 0), IG_OK);
    }
    ig_loader_destroy(l);
  }
}

TEST_F(Data, DrawsAreInRangeAndNeutralWhereOff) {
  tree(root, {"a", "b"}, 40);
  ASSERT_EQ(open(root), IG_OK);
  auto lo = loader_options(true, 16, 32);
  ig_loader *l;
  const ig_batch *b;
  ASSERT_EQ(ig_loader_create(&lo, &l), IG_OK);
  for (int k = 0; k < 8; k++) {
    float row[IG_N_AUG];
    ig_aug_neutral(row);
    ASSERT_EQ(ig_loader_next(l, &b), IG_OK);
    for (int i = 0; i < 16 * IG_N_AUG; i++)
      ASSERT_EQ(b->aug[i], row[i % IG_N_AUG]);
    for (int i = 0; i < 16; i++)
      ASSERT_EQ(b->partner[i], i);
  }
  ig_loader_destroy(l);
  lo.augment = strong();
  ASSERT_EQ(ig_loader_create(&lo, &l), IG_OK);
  int flips = 0, vflips = 0, turns = 0, erased = 0, modes[3] = {0}, rows = 0;
  for (int k = 0; k < 40; k++) {
    ASSERT_EQ(ig_loader_next(l, &b), IG_OK);
    std::set<int> partners;
    for (int i = 0; i < 16; i++, rows++) {
      const float *r = b->aug + i * IG_N_AUG;
      turns += r[IG_AUG_TRANSPOSE] == 1, flips += r[IG_AUG_HFLIP] == 1, vflips += r[IG_AUG_VFLIP] == 1;
      for (int f = IG_AUG_BRIGHTNESS; f <= IG_AUG_SATURATION; f++) {
        EXPECT_GE(r[f], 0.6f - 1e-6f);
        EXPECT_LE(r[f], 1.4f + 1e-6f);
      }
      double area = (r[IG_AUG_ERASE_X1] - r[IG_AUG_ERASE_X0]) * (r[IG_AUG_ERASE_Y1] - r[IG_AUG_ERASE_Y0]);
      erased += area > 0;
      EXPECT_LE(area, 0.25 * 32 * 32);
      EXPECT_GE(r[IG_AUG_ERASE_X0], 0);
      EXPECT_LE(r[IG_AUG_ERASE_X1], 32);
      int mode = static_cast<int>(r[IG_AUG_MIX_MODE]);
      ASSERT_TRUE(mode >= 1 && mode <= 2);
      modes[mode]++;
      EXPECT_GE(b->lam[i], 0);
      EXPECT_LE(b->lam[i], 1);
      EXPECT_EQ(b->lam[i], r[IG_AUG_LAMBDA]);
      EXPECT_NE(b->partner[i], i);
      partners.insert(b->partner[i]);
      EXPECT_EQ(b->second_labels[i], b->labels[b->partner[i]]);
      if (mode == IG_MIX_CUTMIX) {
        double cut = (r[IG_AUG_CUT_X1] - r[IG_AUG_CUT_X0]) * (r[IG_AUG_CUT_Y1] - r[IG_AUG_CUT_Y0]);
        EXPECT_NEAR(b->lam[i], 1 - cut / (32 * 32), 1e-6);
        EXPECT_TRUE(r[IG_AUG_CUT_X0] >= 0 && r[IG_AUG_CUT_X1] <= 32 && r[IG_AUG_CUT_Y0] >= 0 && r[IG_AUG_CUT_Y1] <= 32);
      }
    }
    EXPECT_EQ(partners.size(), 16u);  // each is the partner of one
  }
  ig_loader_destroy(l);
  for (int count : {flips, vflips, turns, erased, modes[1], modes[2]})
    EXPECT_NEAR(count, rows / 2, 64);  // 640 coins: five standard deviations
}

// Two classes of four pictures whose columns hold their own number by `part`: where a crop begins and ends shows.
static void write_columns(const fs::path &root, int w, int h, int part) {
  pic::Bytes p(static_cast<size_t>(w) * static_cast<size_t>(h) * 3);
  for (size_t i = 0; i < p.size(); i++)
    p[i] = static_cast<uint8_t>(i / 3 % static_cast<size_t>(w) / static_cast<size_t>(part));
  for (int i = 0; i < 4; i++)
    for (std::string c : {"a", "b"})
      write(root / c / (std::to_string(i) + ".png"), pic::png(p, w, h));
}

// Of 120 crops of these at 50 pixels: all are so wide, and they begin at many places.
static void expect_widths(const ig_loader_options &lo, int part, double least, double most) {
  ig_loader *l;
  const ig_batch *b;
  ASSERT_EQ(ig_loader_create(&lo, &l), IG_OK);
  std::set<int> lefts;
  for (int k = 0; k < 20; k++) {
    ASSERT_EQ(ig_loader_next(l, &b), IG_OK);
    for (int i = 0; i < 6; i++) {
      const uint8_t *row = b->pictures + static_cast<size_t>(i) * 7500;
      const double width = (row[3 * 49] - row[0]) * part * 50.0 / 49;
      EXPECT_GE(width, least - 4 * part);
      EXPECT_LE(width, most + 4 * part);
      lefts.insert(row[0]);
    }
  }
  ig_loader_destroy(l);
  EXPECT_GT(lefts.size(), 20u);
}

TEST_F(Data, CropsAreInsideOfTheShareAndExtremeShapesWork) {
  write_columns(root, 200, 200, 1);
  ASSERT_EQ(open(root), IG_OK);
  auto lo = loader_options(true, 6, 50);
  lo.augment.crop_scale_min = 0.25;
  lo.augment.crop_scale_max = 0.5;
  expect_widths(lo, 1, 200 * std::sqrt(0.25 * 0.75), 200 * std::sqrt(0.5 * 4 / 3));
  write(root / "a" / "dot.png", flat(9, 1, 1));
  write(root / "b" / "line.png", flat(9, 3000, 1));
  ASSERT_EQ(open(root), IG_OK);
  lo = loader_options(true, 4, 9);
  lo.part = IG_PART_ALL;
  lo.augment = strong();
  EXPECT_EQ(run(lo, 10).size(), 10u);
  lo.train = false;
  lo.eval_crop_ratio = 0.875;
  EXPECT_EQ(run(lo, 10).size(), 3u);
}

// Evaluation sees a whole picture, whatever its shape, so crops have about that shape; of centre squares, a square.
TEST_F(Data, CropsHaveTheShapeThatEvaluationSees) {
  write_columns(root, 800, 100, 4);
  ASSERT_EQ(open(root), IG_OK);
  auto lo = loader_options(true, 6, 50);
  lo.augment.crop_scale_min = 0.6;
  lo.augment.crop_scale_max = 0.9;
  expect_widths(lo, 4, 800 * std::sqrt(0.6 * 0.75), 800);
  lo.augment.crop_scale_min = lo.augment.crop_scale_max = 0.1;
  lo.eval_crop_ratio = 0.9;
  expect_widths(lo, 4, std::sqrt(8000 * 0.75), std::sqrt(8000 * 4 / 3.0));
}

// A JPEG of 160 pixels is smaller, at half its size, than the 91 of which the centre 64 are taken.
TEST_F(Data, CentreCropsOfTrainingAreNotTakenFromTooSmallPictures) {
  for (int i = 0; i < 4; i++)
    for (std::string c : {"a", "b"})
      write(root / c / (std::to_string(i) + ".jpg"), pic::jpeg(pic::draw(160, 160, 3), 160, 160, 3));
  ASSERT_EQ(open(root), IG_OK);
  auto lo = loader_options(true, 4, 64);
  lo.cache_bytes = 0;
  lo.eval_crop_ratio = 0.7;
  ig_loader *l;
  const ig_batch *b;
  ASSERT_EQ(ig_loader_create(&lo, &l), IG_OK);
  ASSERT_EQ(ig_loader_next(l, &b), IG_OK);
  std::vector<uint8_t> whole(64 * 64 * 3);
  ASSERT_EQ(ig_picture_load((root / "a/0.jpg").c_str(), 64, 0.7, whole.data()), IG_OK);
  EXPECT_TRUE(std::equal(whole.begin(), whole.end(), b->pictures)) << "all pictures are the same";
  ig_loader_destroy(l);
}

TEST_F(Data, SamplesThatTurnBadAreSkippedUntilTheyAreTooMany) {
  tree(root, {"a", "b"}, 150);
  ASSERT_EQ(open(root), IG_OK);
  auto spoil = [&](size_t i) {
    std::string at = d->samples[d->index[0][i]].path;
    if (i % 2)
      fs::resize_file(at, 40);
    else
      fs::remove(at);
  };
  spoil(3), spoil(4);  // of 240: 2 are tolerated
  auto lo = loader_options(true, 30);
  lo.augment.mixup = 1;
  lo.warn = Warnings::add;
  lo.warn_user = &warnings;
  warnings.texts.clear();
  ig_loader *l;
  const ig_batch *b;
  ASSERT_EQ(ig_loader_create(&lo, &l), IG_OK);
  int zero = 0;
  for (int k = 0; k < 16; k++) {
    ASSERT_EQ(ig_loader_next(l, &b), IG_OK) << ig_error_message();
    for (int i = 0; i < 30; i++) {
      if (b->weights[i] != 0) {
        EXPECT_TRUE(b->partner[i] == i || b->weights[b->partner[i]] != 0);
        continue;
      }
      zero++;
      EXPECT_EQ(b->pictures[i * 192], 128);
      EXPECT_EQ(b->aug[i * IG_N_AUG + IG_AUG_MIX_MODE], 0);
      EXPECT_TRUE(b->samples[i] == d->index[0][3] || b->samples[i] == d->index[0][4]);
    }
  }
  EXPECT_EQ(zero, 4);  // two epochs
  EXPECT_EQ(ig_loader_unreadable(l), 2u);
  EXPECT_EQ(warnings.texts.size(), 2u);
  const char *why;
  ig_loader_unreadable_sample(l, 0, &why);
  EXPECT_GT(strlen(why), 5u);
  ig_loader_destroy(l);
  lo.strict = true;
  ASSERT_EQ(ig_loader_create(&lo, &l), IG_OK);
  ig_status s = IG_OK;
  for (int k = 0; k < 9 && s == IG_OK; k++)
    s = ig_loader_next(l, &b);
  EXPECT_EQ(s, IG_ERR_DATA);
  ig_loader_destroy(l);
  lo.strict = false;
  spoil(100);
  ASSERT_EQ(ig_loader_create(&lo, &l), IG_OK);
  s = IG_OK;
  for (int k = 0; k < 9 && s == IG_OK; k++)
    s = ig_loader_next(l, &b);
  EXPECT_EQ(s, IG_ERR_IO);
  EXPECT_NE(std::string(ig_error_message()).find("3 of 240"), std::string::npos) << ig_error_message();
  EXPECT_NE(std::string(ig_error_message()).find(d->samples[d->index[0][3]].name), std::string::npos);
  ig_loader_destroy(l);
}

TEST_F(Data, WrongExtensionAndLoaderOptions) {
  tree(root, {"a", "b"}, 3);
  write(root / "a" / "z.png", pic::jpeg(pic::draw(20, 20, 3), 20, 20, 3));
  ASSERT_EQ(open(root), IG_OK);
  EXPECT_EQ(d->n, 7u);
  EXPECT_EQ(run(loader_options(false, 7), 2).size(), 1u);
  ig_loader *l;
  auto lo = loader_options(true, 0);
  EXPECT_EQ(ig_loader_create(&lo, &l), IG_ERR_USAGE);
  lo = loader_options(true, 2);
  lo.augment.crop_scale_min = 0.9;
  lo.augment.crop_scale_max = 0.5;
  EXPECT_EQ(ig_loader_create(&lo, &l), IG_ERR_USAGE);
  lo = loader_options(true, 2);
  lo.part = IG_PART_TEST;
  EXPECT_EQ(ig_loader_create(&lo, &l), IG_ERR_DATA);
  EXPECT_EQ(l, nullptr);
}

// Every allocation of opening and of a first batch fails once: an error, no leak, no hang.
TEST_F(Data, AnyAllocationMayFail) {
  tree(root, {"a", "b"}, 3);
  std::string csv = (root / "s.csv").string();
  write(csv, "file,split,group\na/0.png,train,x\na/1.png,train,y\nb/0.png,train,z\nb/1.png,train,w\n");
  for (const char *split : {static_cast<const char *>(nullptr), csv.c_str()}) {
    bool passed = false;
    for (int64_t k = 1; !passed; k++) {
      ASSERT_LT(k, 2000);
      ig_mem_fail_after(k, 0);
      ig_status s = open(root, split);
      ig_mem_fail_after(0, 0);
      ASSERT_TRUE(s == IG_OK || s == IG_ERR_MEMORY) << k << ": " << ig_error_message();
      passed = s == IG_OK;
      EXPECT_EQ(passed, d != nullptr);
    }
  }
  auto lo = loader_options(true, 2);
  lo.threads = 1;
  lo.augment = strong();
  for (int64_t k = 1, good = 0; good < 20; k++) {
    ig_loader *l;
    const ig_batch *b;
    ig_mem_fail_after(k, 0);
    ig_status s = ig_loader_create(&lo, &l);
    if (s == IG_OK)
      s = ig_loader_next(l, &b);
    ig_mem_fail_after(0, 0);
    ASSERT_TRUE(s == IG_OK || s == IG_ERR_MEMORY) << k << ": " << ig_error_message();
    good = s == IG_OK ? good + 1 : 0;
    ig_loader_destroy(l);
    ASSERT_LT(k, 2000);
  }
}

}  // namespace
