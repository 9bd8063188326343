// A small corpus of three files and its tokenizer, in a folder of the test's own.
#ifndef INGOT_TESTS_CORPUS_FIXTURE_H
#define INGOT_TESTS_CORPUS_FIXTURE_H

#include <filesystem>
#include <gtest/gtest.h>
#include <string>

#include "tests/corpus_common.h"

namespace corpus {

using fault::put;
using fault::slurp;
namespace fs = std::filesystem;

class CorpusTest : public ::testing::Test {
 protected:
  CorpusTest() : home("ig_corpus"), tokenizer(tokenizer_of(home.path)) {
    fs::create_directories(home / "text/sub");
    put(home / "text/b.txt", story(1, 60));
    put(home / "text/a.txt", story(2, 25));
    put(home / "text/sub/c.txt", story(3, 40));
  }
  ~CorpusTest() override { fault::watch(nullptr); }
  Opener opener(const std::string &cache = "cache") const {
    Opener o;
    o.paths = {home / "text"};
    o.tokenizer = tokenizer.get();
    o.cache = home / cache;
    o.piece = 2000;
    return o;
  }
  std::string bytes_of(const Corpus &c) const { return slurp(info_of(c).path); }

  fault::Folder home;
  Tokenizer tokenizer;
};

}  // namespace corpus

#endif
