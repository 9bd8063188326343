// What the tests of the tokenizer share: an open tokenizer in a folder of the test's own, and a tokenizer.json of
// parts.
#ifndef INGOT_TESTS_TOKENIZER_FIXTURE_H
#define INGOT_TESTS_TOKENIZER_FIXTURE_H

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <string>
#include <utility>
#include <vector>

#include "runtime/base/mem.h"
#include "runtime/tokenizer/tokenizer.h"

namespace fs = std::filesystem;
using Strings = std::vector<std::string>;
using Ids = std::vector<int32_t>;

struct Encoded {
  ig_status status;
  Ids ids;
  Strings tokens;
  std::vector<int> types, special, words;
  std::vector<std::pair<uint32_t, uint32_t>> offsets;
  size_t unknown, invalid;
  bool truncated;
};
using Offsets = std::vector<std::pair<uint32_t, uint32_t>>;

class Tokenizer : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/ig_tok_XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    dir = name;
    live = ig_mem_live();
  }
  void TearDown() override {
    ig_encoding_fini(&e);
    ig_tokenizer_close(t);
    EXPECT_EQ(ig_mem_live(), live) << "leak";
    fs::remove_all(dir);
  }
  std::string put(const std::string &name, const std::string &bytes) const {
    std::ofstream(dir / name, std::ios::binary).write(bytes.data(), (std::streamsize)bytes.size());
    return (dir / name).string();
  }
  void open(const std::string &path) {
    ig_tokenizer_close(t);
    ASSERT_EQ(ig_tokenizer_open(path.c_str(), &t), IG_OK) << ig_error_message();
  }
  // A vocabulary of these words, one a line.
  void open_words(const std::string &words, bool lower = true) {
    std::string text = words;
    for (char &c : text)
      c = c == ' ' ? '\n' : c;
    put("tokenizer_config.json", lower ? "{}" : R"({"do_lower_case": false})");
    open(put("vocab.txt", text + "\n"));
  }
  Encoded encode(const std::string &text, ig_encode_options o = {false, 0, IG_TRUNCATE_LONGEST_FIRST, true},
                 const std::string *second = nullptr) {
    Encoded r = {};
    r.status = ig_tokenizer_encode(t, text.data(), text.size(), second ? second->data() : nullptr,
                                   second ? second->size() : 0, &o, &e);
    if (r.status != IG_OK)
      return r;
    return collect(r, o.offsets);
  }
  Encoded collect(Encoded r, bool offsets) {
    for (size_t i = 0; i < e.n; i++) {
      r.ids.push_back(e.ids[i]);
      r.tokens.push_back(ig_tokenizer_token(t, e.ids[i]));
      r.types.push_back(e.types[i]);
      r.special.push_back(e.special[i]);
      if (offsets) {
        r.offsets.push_back({e.begin[i], e.end[i]});
        r.words.push_back(e.word[i]);
      }
    }
    r.unknown = e.n_unknown, r.invalid = e.n_invalid, r.truncated = e.truncated;
    return r;
  }
  Strings tokens(const std::string &text) { return encode(text).tokens; }
  std::string decode(const Ids &ids, bool skip = true) {
    char *text = nullptr;
    EXPECT_EQ(ig_tokenizer_decode(t, ids.data(), ids.size(), skip, &text), IG_OK) << ig_error_message();
    std::string s = text ? text : "";
    ig_free(text);
    return s;
  }
  std::string refusal(const std::string &path, ig_status expected) {
    ig_tokenizer *x = nullptr;
    EXPECT_EQ(ig_tokenizer_open(path.c_str(), &x), expected) << path << ": " << ig_error_message();
    EXPECT_EQ(x, nullptr);
    ig_tokenizer_close(x);
    return ig_error_message();
  }
  fs::path dir;
  int64_t live = 0;
  ig_tokenizer *t = nullptr;
  ig_encoding e = {};
};

// A file of parts, each of which a test may change.
struct Json {
  std::string normalizer =
      R"({"type":"BertNormalizer","clean_text":true,"handle_chinese_chars":true,"strip_accents":null,"lowercase":true})";
  std::string pre = R"({"type":"BertPreTokenizer"})", added = "[]", post = "null",
              decoder = R"({"type":"WordPiece","prefix":"##","cleanup":true})", truncation = "null";
  std::string model =
      R"("type":"WordPiece","unk_token":"[UNK]","continuing_subword_prefix":"##","max_input_chars_per_word":100)";
  std::string vocab = R"({"[UNK]":0,"[CLS]":1,"[SEP]":2,"a":3,"b":4,"##b":5,"foo":6,"A":7,"é":8,"e":9,"中":10,".":11})";
  std::string text() const {
    return R"({"version":"1.0","truncation":)" + truncation + R"(,"padding":null,"added_tokens":)" + added +
           R"(,"normalizer":)" + normalizer + R"(,"pre_tokenizer":)" + pre + R"(,"post_processor":)" + post +
           R"(,"decoder":)" + decoder + R"(,"model":{)" + model + R"(,"vocab":)" + vocab + "}}";
  }
};

#endif
