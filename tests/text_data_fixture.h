// What the tests of labelled texts share: files in a folder of the test's own, opened as a data set, and what it holds.
#ifndef INGOT_TESTS_TEXT_DATA_FIXTURE_H
#define INGOT_TESTS_TEXT_DATA_FIXTURE_H

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <string>
#include <vector>

#include "runtime/base/mem.h"
#include "runtime/data/dataset.h"

namespace fs = std::filesystem;

using Strings = std::vector<std::string>;

class TextData : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/ingot_text_XXXXXX";
    root = mkdtemp(name);
    live = ig_mem_live();
    o.size = sizeof o;
    o.text = o.needs_labels = true;
    o.warn_user = this;
    o.warn = [](void *user, const char *text) { static_cast<TextData *>(user)->warnings.push_back(text); };
  }
  void TearDown() override {
    ig_dataset_close(d);
    EXPECT_EQ(ig_mem_live(), live);
    fs::remove_all(root);
  }
  std::string put(const std::string &name, const std::string &bytes) {
    fs::create_directories((root / name).parent_path());
    std::ofstream(root / name, std::ios::binary) << bytes;
    return (root / name).string();
  }
  ig_status open(const std::string &path) {
    ig_dataset_close(d);
    d = nullptr;
    warnings.clear();
    data = path;
    o.data = data.c_str();
    return ig_dataset_open(&o, &d);
  }
  ig_status open(const std::string &name, const std::string &bytes) { return open(put(name, bytes)); }
  void refuse(ig_status expected, const Strings &parts, ig_status found) {
    std::string m = ig_error_message();
    EXPECT_EQ(found, expected) << m;
    EXPECT_EQ(d, nullptr);
    for (auto &p : parts)
      EXPECT_NE(m.find(p), std::string::npos) << "no " << p << " in: " << m;
  }
  bool warned(const std::string &part) const {
    return std::any_of(warnings.begin(), warnings.end(), [&](auto &t) { return t.find(part) != std::string::npos; });
  }
  std::string first(size_t i) const { return std::string(d->texts[i].first, d->texts[i].n_first); }
  std::string second(size_t i) const { return std::string(d->texts[i].second, d->texts[i].n_second); }
  std::string label(size_t i) const { return d->classes[d->samples[i].label]; }
  Strings classes() const { return Strings(d->classes, d->classes + d->n_classes); }
  std::string words(size_t i) const {
    std::string s;
    for (size_t k = 0; k < d->texts[i].n_words; k++)
      s += (k ? " " : "") + std::string(d->texts[i].words[k]) +
           (d->texts[i].word_labels ? "/" + std::string(d->classes[d->texts[i].word_labels[k]]) : "");
    return s;
  }

  fs::path root;
  std::string data;
  ig_dataset_options o{};
  ig_dataset *d = nullptr;
  Strings warnings;
  int64_t live = 0;
};

// n rows by a function of the row.
template <class F>
std::string rows(const std::string &header, int n, F row) {
  std::string s = header + "\n";
  for (int i = 0; i < n; i++)
    s += row(i) + "\n";
  return s;
}

#endif
