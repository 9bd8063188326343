// A folder of a test's own, gone with it, and what a file holds.
#ifndef INGOT_TESTS_FOLDER_H
#define INGOT_TESTS_FOLDER_H

#include <cstdlib>
#include <gtest/gtest.h>
#include <string>

#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"

struct Folder {
  std::string path;
  bool keep = false;
  Folder() {
    char name[] = "/tmp/ig_test_XXXXXX";
    path = mkdtemp(name);
  }
  ~Folder() {
    if (!keep)
      ig_remove_tree(path.c_str());
  }
};

inline std::string read_file(const std::string &path) {
  uint8_t *data = nullptr;
  size_t n = 0;
  EXPECT_EQ(ig_file_read(path.c_str(), 1 << 28, &data, &n), IG_OK) << ig_error_message();
  std::string text((char *)data, n);
  ig_free(data);
  return text;
}

#endif
