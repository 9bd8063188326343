// What the tests of floor 0 share: the last error's words, and a folder of a test's own.
#ifndef INGOT_TESTS_BASE_FIXTURE_H
#define INGOT_TESTS_BASE_FIXTURE_H

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <iterator>
#include <string>

#include "runtime/base/fileop.h"

namespace fs = std::filesystem;

inline std::string message() { return ig_error_message(); }
inline bool says(const std::string &part) { return message().find(part) != std::string::npos; }

class TempFolder : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "ig_base_XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    root = pattern;
  }
  void TearDown() override {
    ig_fileops_set(nullptr);
    fs::remove_all(root);
  }
  std::string at(const std::string &name) const { return root + "/" + name; }
  void put(const std::string &name, const std::string &text) const {
    fs::create_directories(fs::path(at(name)).parent_path());
    std::ofstream(at(name), std::ios::binary) << text;
  }
  std::string get(const std::string &name) const {
    std::ifstream in(at(name), std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  std::string root;
};

#endif
