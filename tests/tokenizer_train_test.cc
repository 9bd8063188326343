// floor: ig_tokenizer
// Training a vocabulary and writing a tokenizer: facts of WordPiece's training, the same for any threads, what is
// written opens as the same, memory that fails.
#include <algorithm>
#include <cstring>

#include "tests/tokenizer_fixture.h"

class Training : public Tokenizer {
 protected:
  uint64_t invalid = 0;
  ig_status train(const Strings &files, int vocabulary, ig_tokenizer **out, bool lower = true, int alphabet = 1000,
                  int threads = 1, int min_frequency = 2) {
    std::vector<const char *> names;
    for (const std::string &f : files)
      names.push_back(f.c_str());
    ig_tokenizer_train_options o = {sizeof o,      names.data(), names.size(), vocabulary, lower,
                                    min_frequency, alphabet,     threads,      &invalid};
    return ig_tokenizer_train(&o, out);
  }
  static Strings vocabulary(const ig_tokenizer *x) {
    Strings out;
    for (int32_t i = 0; ig_tokenizer_token(x, i); i++)
      out.push_back(ig_tokenizer_token(x, i));
    return out;
  }
};

TEST_F(Training, WhatIsNoUtf8IsCountedAndUtf16Refused) {
  const std::string good = put("a.txt", "hug pug\n"), bad = put("b.txt", "hug\xff \xed\xa0\x80pug\n");
  const std::string wide = put("c.txt", std::string("\xff\xfeh\0u\0g\0", 8)), other = put("d.txt", "\xfe\xff");
  for (int threads : {1, 3}) {
    ASSERT_EQ(train({good, bad, bad}, 60, &t, true, 1000, threads), IG_OK) << ig_error_message();
    EXPECT_EQ(invalid, 2U * 4);  // a surrogate is three invalid bytes
    ig_tokenizer_close(t);
    t = nullptr;
    for (const std::string &file : {wide, other}) {
      EXPECT_EQ(train({good, file}, 60, &t, true, 1000, threads), IG_ERR_DATA);
      EXPECT_NE(strstr(ig_error_message(), "is UTF-16; expected UTF-8"), nullptr) << ig_error_message();
      EXPECT_NE(strstr(ig_error_message(), file.c_str()), nullptr);
    }
  }
  ASSERT_EQ(train({good}, 60, &t), IG_OK);
  EXPECT_EQ(invalid, 0U);
}

TEST_F(Training, AlphabetAndMerges) {
  // hug 10, pug 5, pun 12, bun 4, hugs 5 (the example of the literature): ##ug 20 times, ##un 16, hug 15, pun 12.
  std::string text;
  for (auto &w :
       std::vector<std::pair<const char *, int>>{{"Hug ", 10}, {"pug ", 5}, {"pun ", 12}, {"bun\n", 4}, {"hugs ", 5}})
    for (int i = 0; i < w.second; i++)
      text += w.first;
  const std::string file = put("a.txt", text);
  const Strings alphabet = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "b",   "g",   "h",
                            "n",     "p",     "s",     "u",     "##g",    "##n", "##s", "##u"};
  auto with = [&](Strings more) {
    more.insert(more.begin(), alphabet.begin(), alphabet.end());
    return more;
  };
  ASSERT_EQ(train({file}, 18, &t), IG_OK) << ig_error_message();
  EXPECT_EQ(vocabulary(t), with({"##ug", "##un"}));
  ig_tokenizer_close(t);
  ASSERT_EQ(train({file}, 100, &t), IG_OK) << ig_error_message();
  EXPECT_EQ(vocabulary(t), with({"##ug", "##un", "hug", "pun", "pug", "hugs", "bun"}));
  EXPECT_EQ(encode("hugs [MASK]").tokens, (Strings{"hugs", "[MASK]"}));
  EXPECT_EQ(encode("bugs", {true, 0, IG_TRUNCATE_LONGEST_FIRST, false}).tokens,
            (Strings{"[CLS]", "b", "##ug", "##s", "[SEP]"}));
  ig_tokenizer_close(t);
  ASSERT_EQ(train({file}, 100, &t, true, 1000, 1, 12), IG_OK);
  EXPECT_EQ(vocabulary(t), with({"##ug", "##un", "hug", "pun"}));
  ig_tokenizer_close(t);
  // The four most frequent letters: u 36, g 20, n 16, p 17 ... h 15 and the others are left out of words.
  ASSERT_EQ(train({file}, 100, &t, true, 4), IG_OK);
  EXPECT_EQ(vocabulary(t), (Strings{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "g", "n", "p", "u", "##g", "##n",
                                    "##u", "##ug", "##un", "pun", "pug"}));
  ig_tokenizer_close(t);
  t = nullptr;
  EXPECT_EQ(train({file}, 15, &t), IG_ERR_USAGE);
  EXPECT_NE(std::string(ig_error_message()).find("16 tokens"), std::string::npos) << ig_error_message();
  EXPECT_EQ(train({put("empty.txt", " \n\n")}, 100, &t), IG_ERR_DATA);
  EXPECT_EQ(train({(dir / "none.txt").string()}, 100, &t), IG_ERR_NOT_FOUND);
  EXPECT_EQ(train({}, 100, &t), IG_ERR_USAGE);
  EXPECT_EQ(t, nullptr);
}

TEST_F(Training, SameWhateverThreadsAndOrder) {
  Strings files;
  uint32_t x = 1;
  for (int f = 0; f < 5; f++) {
    std::string text;
    for (int i = 0; i < 3000; i++) {
      x = x * 1664525 + 1013904223;
      for (int k = (int)(x >> 13) % 4; k >= 0; k--)
        x = x * 1664525 + 1013904223, text += (char)('a' + (x >> 29));
      text += std::string("abcdefgh").substr(x >> 29, 1 + (x >> 13) % 5) + (x >> 8 & 7 ? " " : "\n");
    }
    files.push_back(put("f" + std::to_string(f) + ".txt", text));
  }
  // A line of over a megabyte is taken in parts; a word across the border stays whole.
  files.push_back(put("long.txt", std::string((1 << 20) - 2, ' ') + "abcdefgh " + std::string(40, 'a')));
  ASSERT_EQ(train(files, 80, &t), IG_OK) << ig_error_message();
  const Strings first = vocabulary(t);
  EXPECT_EQ(first.size(), 80u);
  std::reverse(files.begin(), files.end());
  for (int threads : {2, 5, 16}) {
    ig_tokenizer *other = nullptr;
    ASSERT_EQ(train(files, 80, &other, true, 1000, threads), IG_OK);
    EXPECT_EQ(vocabulary(other), first) << threads;
    ig_tokenizer_close(other);
  }
}

TEST_F(Training, WrittenOpensAsTheSame) {
  const std::string file = put("a.txt", "The quick brown fox. \u00c9t\u00e9 \u4e2d\u6587 the quick\n the fox");
  for (bool lower : {true, false}) {
    ASSERT_EQ(train({file}, 60, &t, lower), IG_OK) << ig_error_message();
    const std::string out = (dir / (lower ? "u" : "c")).string();
    ASSERT_EQ(ig_tokenizer_write(t, out.c_str(), 128), IG_OK) << ig_error_message();
    ig_tokenizer_info info, again;
    ig_tokenizer_get_info(t, &info);
    for (const std::string &path : {out, out + "/vocab.txt", out + "/tokenizer.json"}) {
      open(path);
      ig_tokenizer_get_info(t, &again);
      EXPECT_STREQ(again.fingerprint, info.fingerprint) << path;
      EXPECT_EQ(again.lowercase, lower);
      EXPECT_EQ(again.max_length, 128);
      EXPECT_EQ(again.mask, 4);
    }
    ig_tokenizer_close(t);
    t = nullptr;
  }
  // Everything that a tokenizer.json can say survives.
  Json j;
  j.normalizer =
      R"({"type":"BertNormalizer","clean_text":false,"handle_chinese_chars":false,"strip_accents":false,"lowercase":true})";
  j.added =
      R"([{"id":12,"content":"Foo b","single_word":true,"lstrip":true,"rstrip":true,"normalized":true,"special":false},)"
      R"({"id":1,"content":"[CLS]","special":true}])";
  j.post =
      R"({"type":"TemplateProcessing","single":[{"Sequence":{"id":"A","type_id":3}},{"SpecialToken":{"id":"x","type_id":0}}],)"
      R"("pair":[{"Sequence":{"id":"B","type_id":2}},{"Sequence":{"id":"A","type_id":1}}],)"
      R"("special_tokens":{"x":{"id":"x","ids":[2,1],"tokens":["[SEP]","[CLS]"]}}})";
  j.model.replace(j.model.find("100"), 3, "17");
  j.decoder = "null";
  for (int k = 0; k < 2; k++) {
    open(put("tokenizer.json", j.text()));
    ig_tokenizer_info info, again;
    ig_tokenizer_get_info(t, &info);
    const std::string out = (dir / ("w" + std::to_string(k))).string();
    ASSERT_EQ(ig_tokenizer_write(t, out.c_str(), 0), IG_OK) << ig_error_message();
    open(out);
    ig_tokenizer_get_info(t, &again);
    EXPECT_STREQ(again.fingerprint, info.fingerprint);
    EXPECT_EQ(decode({5, 5}), "##b ##b");
    j.normalizer = "null";
  }
}

TEST_F(Training, MemoryFails) {
  const std::string file = put("a.txt", "the quick brown fox the quick fox the\n");
  int failures = 0;
  for (int64_t n = 1;; n++) {
    ig_mem_fail_after(n, 0);
    ig_tokenizer *x = nullptr;
    ig_status status = train({file}, 40, &x);
    if (status == IG_OK)
      status = ig_tokenizer_write(x, (dir / "out").c_str(), 0);
    ig_mem_fail_after(0, 0);
    ig_tokenizer_close(x);
    ASSERT_EQ(ig_mem_live(), live) << "leak when allocation " << n << " fails";
    if (status == IG_OK)
      break;
    ASSERT_EQ(status, IG_ERR_MEMORY) << ig_error_message();
    failures++;
  }
  EXPECT_GT(failures, 50);
}
