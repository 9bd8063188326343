// Data sets that tests write themselves: trees of pictures of one colour, opened, and what a loader makes of them.
#ifndef INGOT_TESTS_DATASET_TREE_H
#define INGOT_TESTS_DATASET_TREE_H

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <set>
#include <string>
#include <unistd.h>
#include <vector>

#include "runtime/base/mem.h"
#include "runtime/data/dataset.h"
#include "runtime/data/loader.h"
#include "runtime/data/loader_aug.h"
#include "tests/image_bytes.h"

namespace dataset_tree {

namespace fs = std::filesystem;

inline void write(const fs::path &p, const std::string &bytes) {
  fs::create_directories(p.parent_path());
  std::ofstream(p, std::ios::binary) << bytes;
}

// A picture of one colour, so that a batch tells which file it came from.
inline std::string flat(int value, int w = 20, int h = 16) {
  return pic::png(pic::Bytes(static_cast<size_t>(w) * h * 3, static_cast<uint8_t>(value)), w, h);
}

struct Warnings {
  std::vector<std::string> texts;
  static void add(void *user, const char *text) { static_cast<Warnings *>(user)->texts.push_back(text); }
  bool has(const std::string &part) const {
    return std::any_of(texts.begin(), texts.end(), [&](auto &t) { return t.find(part) != std::string::npos; });
  }
};

class Data : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/ingot_data_XXXXXX";
    root = mkdtemp(name);
    live = ig_mem_live();
  }
  void TearDown() override {
    ig_dataset_close(d);
    EXPECT_EQ(ig_mem_live(), live);
    fs::remove_all(root);
  }
  // classes x n pictures; colours count up over the whole tree.
  void tree(const fs::path &at, const std::vector<std::string> &classes, int n) {
    for (auto &c : classes)
      for (int i = 0; i < n; i++)
        write(at / c / (std::to_string(i) + ".png"), flat(colour++ % 256));
  }
  ig_status open(const fs::path &at, const char *split = nullptr, const char *val = nullptr) {
    ig_dataset_close(d);
    d = nullptr;
    warnings.texts.clear();
    path = at.string();
    o.size = sizeof o;
    o.data = path.c_str();
    o.split = split;
    o.val = val;
    o.warn = Warnings::add;
    o.warn_user = &warnings;
    return ig_dataset_open(&o, &d);
  }
  void expect_fail(ig_status expected, const std::vector<std::string> &parts, ig_status found) {
    std::string m = ig_error_message();
    EXPECT_EQ(found, expected) << m;
    EXPECT_EQ(d, nullptr);
    for (auto &p : parts)
      EXPECT_NE(m.find(p), std::string::npos) << "no " << p << " in: " << m;
  }
  std::set<std::string> names(ig_part part) const {
    std::set<std::string> s;
    for (size_t i = 0; i < d->count[part]; i++)
      s.insert(d->samples[d->index[part][i]].name);
    return s;
  }
  ig_loader_options loader_options(bool train, int batch, int size = 8) const {
    ig_loader_options l{};
    l.size = sizeof l;
    l.data = d;
    l.part = train ? IG_PART_TRAIN : IG_PART_ALL;
    l.train = train;
    l.batch = batch;
    l.image_size = size;
    l.seed = 3;
    l.threads = 2;
    l.max_unreadable = 0.01;
    return l;
  }

  fs::path root;
  std::string path;
  ig_dataset_options o = [] {
    ig_dataset_options x{};
    x.needs_labels = true;
    return x;
  }();
  ig_dataset *d = nullptr;
  Warnings warnings;
  int colour = 0;
  int64_t live = 0;
};

// Everything of a batch as bytes.
inline std::string content(const ig_loader_options &o, const ig_batch *b) {
  size_t n = static_cast<size_t>(o.batch);
  std::string s;
  auto add = [&](const void *p, size_t bytes) { s.append(static_cast<const char *>(p), bytes); };
  add(b->pictures, n * o.image_size * o.image_size * 3);
  add(b->labels, n * 4), add(b->second_labels, n * 4), add(b->lam, n * 4), add(b->weights, n * 4);
  add(b->aug, n * 4 * IG_AUG_FIELDS), add(b->partner, n * 4), add(b->samples, n * 8);
  add(&b->n, sizeof b->n), add(&b->epoch, 8), add(&b->position, 8);
  return s;
}

inline std::vector<std::string> run(const ig_loader_options &o, int batches, int64_t seek = 0) {
  std::vector<std::string> out;
  ig_loader *l;
  EXPECT_EQ(ig_loader_create(&o, &l), IG_OK) << ig_error_message();
  if (seek) {
    EXPECT_EQ(ig_loader_seek(l, seek), IG_OK);
  }
  const ig_batch *b;
  for (int i = 0; i < batches; i++) {
    EXPECT_EQ(ig_loader_next(l, &b), IG_OK) << ig_error_message();
    if (!b)
      break;
    out.push_back(content(o, b));
  }
  ig_loader_destroy(l);
  return out;
}

inline ig_augment strong() {
  ig_augment a{};
  a.crop_scale_min = 0.25, a.crop_scale_max = 1;
  a.flip = a.vflip = a.transpose = true;
  a.rotate = 15, a.jitter = 0.4, a.erase = 0.5, a.mixup = 0.2, a.cutmix = 1;
  return a;
}

inline std::string data_folder() {
  const char *e = getenv("INGOT_DATA"), *s = getenv("INGOT_SOURCE");
  return e ? e : std::string(s ? s : ".") + "/../shared/data";
}

}  // namespace dataset_tree
#endif
