// floor: ig_tokenizer
// WordPiece, texts to tokens and back: facts of Hugging Face's tokenizers 0.23.3 and of the fixtures, memory that
// fails.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <jansson.h>
#include <thread>

#include "tests/tokenizer_fixture.h"

static const char *const BASE = "[PAD] [UNK] [CLS] [SEP] [MASK] a b c d e f g h ##a ##b ##c ab abc . , ' x i";

TEST_F(Tokenizer, Specials) {
  open_words(BASE);
  ig_tokenizer_info info;
  ig_tokenizer_get_info(t, &info);
  EXPECT_EQ(info.vocabulary, 23);
  EXPECT_EQ((Ids{info.pad, info.unk, info.cls, info.sep, info.mask}), (Ids{0, 1, 2, 3, 4}));
  EXPECT_TRUE(info.lowercase);
  EXPECT_STREQ(info.prefix, "##");
  EXPECT_EQ(strlen(info.fingerprint), 64u);
  EXPECT_EQ(ig_tokenizer_id(t, "##a"), 13);
  EXPECT_EQ(ig_tokenizer_id(t, "zz"), -1);
  EXPECT_EQ(ig_tokenizer_token(t, 23), nullptr);
  EXPECT_EQ(ig_tokenizer_token(t, -1), nullptr);
  Encoded r = encode("ABCab a[MASK]q", {true, 0, IG_TRUNCATE_LONGEST_FIRST, true});
  EXPECT_EQ(r.tokens, (Strings{"[CLS]", "abc", "##a", "##b", "a", "[MASK]", "[UNK]", "[SEP]"}));
  EXPECT_EQ(r.offsets, (Offsets{{0, 0}, {0, 3}, {3, 4}, {4, 5}, {6, 7}, {7, 13}, {13, 14}, {0, 0}}));
  EXPECT_EQ(r.words, (std::vector<int>{-1, 0, 0, 0, 1, 2, 3, -1}));
  EXPECT_EQ(r.special, (std::vector<int>{1, 0, 0, 0, 0, 0, 0, 1}));
  EXPECT_EQ(r.unknown, 1u);
  EXPECT_EQ(encode("").ids, Ids{});
}

TEST_F(Tokenizer, Characters) {
  open_words(std::string(BASE) + " \u4e2d \u00e9 s o \u03c3");
  // Soft hyphens vanish inside of a word; accents go; CJK stands alone; the sharp s stays, a final sigma is a sigma.
  Encoded r = encode("a\u00adb\u4e2dA\u0301\u3000\u0130 \u03a3");
  EXPECT_EQ(r.tokens, (Strings{"ab", "\u4e2d", "a", "i", "\u03c3"}));
  EXPECT_EQ(r.offsets, (Offsets{{0, 3}, {3, 4}, {4, 5}, {7, 8}, {9, 10}}));
  // U+2028 is a space, U+0085 and U+200B are dropped, U+2E44 is punctuation for newer Unicode only.
  EXPECT_EQ(tokens("a\u2028b"), (Strings{"a", "b"}));
  EXPECT_EQ(tokens("a\u0085b\u200b"), (Strings{"ab"}));
  EXPECT_EQ(tokens("a\u2e44"), (Strings{"[UNK]"}));
  EXPECT_EQ(tokens(std::string("a\0b", 3)), (Strings{"ab"}));
  // A word of over 100 code points is unknown, however long; one of 100 is not.
  EXPECT_EQ(tokens("a" + std::string(99, 'b')).size(), 99u);  // ab ##b ...
  r = encode("x " + std::string(101, 'a') + " b");
  EXPECT_EQ(r.tokens, (Strings{"x", "[UNK]", "b"}));
  EXPECT_EQ(r.offsets, (Offsets{{0, 1}, {2, 103}, {104, 105}}));
  EXPECT_EQ(encode(std::string(1 << 20, 'a')).ids, Ids{1});
  // Case and accents are kept where the file says so.
  open_words(std::string(BASE) + " \u00e9 A", false);
  EXPECT_EQ(tokens("A\u00ada \u00e9"), (Strings{"A", "##a", "\u00e9"}));
}

TEST_F(Tokenizer, MarksInOrder) {
  // U+302E (class 224, no Mn) moves in front of U+0301 (230), which vanishes, and takes its place.
  open_words("[UNK] e ##\u302e x");
  Encoded r = encode("e\u0301\u302e x");
  EXPECT_EQ(r.tokens, (Strings{"e", "##\u302e", "x"}));
  EXPECT_EQ(r.offsets, (Offsets{{0, 1}, {1, 2}, {4, 5}}));
  // Such a text is searched for tokens in normal form, of which there are none here: a zero byte is none either.
  Json j;
  j.normalizer.replace(j.normalizer.find("true"), 4, "false");
  open(put("tokenizer.json", j.text()));
  EXPECT_EQ(encode(std::string("a \0 e\u302e", 8)).ids, (Ids{3, 0, 0}));
}

TEST_F(Tokenizer, InvalidUtf8) {
  open_words(BASE);
  // One U+FFFD a maximal invalid part; clean_text drops it; the places count it.
  struct {
    const char *text;
    size_t invalid;
    uint32_t at;
  } cases[] = {{"a \xff b", 1, 4},         {"a \xe4\xb8 b", 1, 4},         {"a \xf0\x9f\x98 b", 1, 4},
               {"a \xed\xa0\x80 b", 3, 6}, {"a \xc0\x80 b", 2, 5},         {"a \xf5\x80 b", 2, 5},
               {"a \xe0\x80\x80 b", 3, 6}, {"a \xf4\x90\x80\x80 b", 4, 7}, {"a \xe4\xb8\xad b", 0, 4},
               {"a \xc3\xc3\xa9 b", 1, 5}};
  for (auto &c : cases) {
    Encoded r = encode(c.text);
    EXPECT_EQ(r.invalid, c.invalid) << c.text;
    EXPECT_EQ(r.offsets.back(), (std::pair<uint32_t, uint32_t>{c.at, c.at + 1})) << c.text;
  }
  EXPECT_EQ(encode("b\xe4\xb8").invalid, 1u);  // cut at the end
}

TEST_F(Tokenizer, PairsAndTruncation) {
  open_words(BASE);
  std::string second = "b b b";
  Encoded r = encode("a a a", {true, 0, IG_TRUNCATE_LONGEST_FIRST, true}, &second);
  EXPECT_EQ(r.ids, (Ids{2, 5, 5, 5, 3, 6, 6, 6, 3}));
  EXPECT_EQ(r.types, (std::vector<int>{0, 0, 0, 0, 0, 1, 1, 1, 1}));
  EXPECT_EQ(r.words, (std::vector<int>{-1, 0, 1, 2, -1, 0, 1, 2, -1}));
  EXPECT_FALSE(r.truncated);
  // {first, second, max_length} -> what stays, as Hugging Face's.
  const int longest[][5] = {{3, 3, 4, 0, 1}, {6, 3, 4, 1, 0}, {6, 6, 6, 1, 2}, {6, 3, 6, 2, 1}, {3, 6, 6, 1, 2},
                            {3, 3, 7, 2, 2}, {6, 1, 8, 4, 1}, {0, 6, 5, 0, 2}, {3, 3, 3, 0, 0}, {1, 2, 9, 1, 2}};
  auto repeat = [](const char *word, int n) {
    std::string s;
    for (int i = 0; i < n; i++)
      s += word;
    return s;
  };
  auto counts = [](const Ids &ids) {
    std::vector<int> n(2);
    for (int32_t id : ids)
      n[0] += id == 5, n[1] += id == 6;
    return n;
  };
  for (auto &c : longest) {
    std::string b = repeat("b ", c[1]);
    r = encode(repeat("a ", c[0]), {true, c[2], IG_TRUNCATE_LONGEST_FIRST, false}, &b);
    EXPECT_EQ(counts(r.ids), (std::vector<int>{c[3], c[4]})) << c[0] << " " << c[1] << " " << c[2];
    EXPECT_EQ(r.truncated, c[3] + c[4] < c[0] + c[1]);
  }
  r = encode("a a a a a", {true, 6, IG_TRUNCATE_ONLY_FIRST, false}, &second);
  EXPECT_EQ(r.status, IG_ERR_DATA);  // nothing would be left of it
  EXPECT_NE(std::string(ig_error_message()).find("first text"), std::string::npos);
  r = encode("a a a a a", {true, 7, IG_TRUNCATE_ONLY_FIRST, false}, &second);
  EXPECT_EQ(counts(r.ids), (std::vector<int>{1, 3}));
  r = encode("a a a", {true, 7, IG_TRUNCATE_ONLY_SECOND, false}, &second);
  EXPECT_EQ(counts(r.ids), (std::vector<int>{3, 1}));
  EXPECT_EQ(encode("a a a", {true, 4, IG_TRUNCATE_LONGEST_FIRST, false}).ids, (Ids{2, 5, 5, 3}));
  EXPECT_EQ(encode("a a a", {false, 2, IG_TRUNCATE_LONGEST_FIRST, false}).ids, (Ids{5, 5}));
  EXPECT_EQ(encode("a", {true, 1, IG_TRUNCATE_LONGEST_FIRST, false}).status, IG_ERR_USAGE);
  EXPECT_EQ(encode("a a a", {true, 4, IG_TRUNCATE_ONLY_SECOND, false}).status, IG_ERR_USAGE);
  EXPECT_EQ(encode("a", {true, -1, IG_TRUNCATE_LONGEST_FIRST, false}).status, IG_ERR_USAGE);
}

TEST_F(Tokenizer, WordsOfTheUser) {
  open_words(BASE);
  const char *words[] = {"ab", "", "c-a", "[MASK]"};
  ig_encode_options o = {true, 0, IG_TRUNCATE_LONGEST_FIRST, false};
  ASSERT_EQ(ig_tokenizer_encode_words(t, 4, words, &o, &e), IG_OK);
  Encoded r = collect({}, true);
  EXPECT_EQ(r.tokens, (Strings{"[CLS]", "ab", "c", "[UNK]", "a", "[MASK]", "[SEP]"}));
  EXPECT_EQ(r.words, (std::vector<int>{-1, 0, 2, 2, 2, 3, -1}));
  EXPECT_EQ(r.offsets, (Offsets{{0, 0}, {0, 2}, {0, 1}, {1, 2}, {2, 3}, {0, 6}, {0, 0}}));
}

TEST_F(Tokenizer, Decode) {
  open_words("[PAD] [UNK] [CLS] [SEP] a ##b do not n't ca 's . ? ##");
  EXPECT_EQ(decode({2, 4, 5, 5, 3}), "abb");
  EXPECT_EQ(decode({2, 4, 5, 3}, false), "[CLS] ab [SEP]");
  EXPECT_EQ(decode({9, 8, 11, 4, 10, 12}), "can't. a's?");
  EXPECT_EQ(decode({6, 7}), "do not");
  EXPECT_EQ(decode({5, 4, 13}), "##b a");
  EXPECT_EQ(decode({}), "");
  char *text = nullptr;
  int32_t id = 14;
  EXPECT_EQ(ig_tokenizer_decode(t, &id, 1, true, &text), IG_ERR_DATA);
  EXPECT_EQ(text, nullptr);
}

TEST_F(Tokenizer, MemoryFails) {
  Json j;
  j.added = R"([{"id":12,"content":"Foo bar"},{"id":2,"content":"[SEP]","special":true}])";
  j.post = R"({"type":"BertProcessing","sep":["[SEP]",2],"cls":["[CLS]",1]})";
  const std::string json = put("tokenizer.json", j.text());
  int failures = 0;
  for (int64_t n = 1;; n++) {
    ig_mem_fail_after(n, 0);
    ig_tokenizer *x = nullptr;
    ig_encoding enc = {};
    ig_status status = ig_tokenizer_open(json.c_str(), &x);
    ig_encode_options o = {true, 0, IG_TRUNCATE_LONGEST_FIRST, true};
    char *text = nullptr;
    if (status == IG_OK)
      status = ig_tokenizer_encode(x, "a FOO BAR b", 11, "b", 1, &o, &enc);
    if (status == IG_OK)
      status = ig_tokenizer_decode(x, enc.ids, enc.n, true, &text);
    ig_mem_fail_after(0, 0);
    ig_free(text);
    ig_encoding_fini(&enc);
    ig_tokenizer_close(x);
    ASSERT_EQ(ig_mem_live(), live) << "leak when allocation " << n << " fails";
    if (status == IG_OK)
      break;
    ASSERT_EQ(status, IG_ERR_MEMORY) << ig_error_message();
    failures++;
  }
  EXPECT_GT(failures, 50);
}

TEST_F(Tokenizer, ThreadsShareOne) {
  open_words(BASE);
  const std::string text = "abc ABab [MASK] a\u00e9 zz.";
  const Ids expected = encode(text, {true, 0, IG_TRUNCATE_LONGEST_FIRST, false}).ids;
  std::vector<std::thread> threads;
  std::vector<int> wrong(4);
  for (int k = 0; k < 4; k++)
    threads.emplace_back([&, k] {
      ig_encoding own = {};
      ig_encode_options o = {true, 0, IG_TRUNCATE_LONGEST_FIRST, false};
      for (int i = 0; i < 2000; i++)
        wrong[k] += ig_tokenizer_encode(t, text.data(), text.size(), nullptr, 0, &o, &own) != IG_OK ||
                    Ids(own.ids, own.ids + own.n) != expected;
      ig_encoding_fini(&own);
    });
  for (auto &thread : threads)
    thread.join();
  EXPECT_EQ(wrong, (std::vector<int>(4)));
}

// --- fixtures: every .jsonl of the folder ---

static fs::path data_folder() {
  const char *env = getenv("INGOT_DATA"), *source = getenv("INGOT_SOURCE");
  return env ? fs::path(env) : fs::path(source ? source : ".") / ".." / "shared" / "data";
}

class Fixtures : public Tokenizer {
 protected:
  static Strings strings(const json_t *list) {
    Strings out;
    for (size_t i = 0; i < json_array_size(list); i++)
      out.push_back(json_string_value(json_array_get(list, i)));
    return out;
  }
  static Ids numbers(const json_t *list) {
    Ids out;
    for (size_t i = 0; i < json_array_size(list); i++)
      out.push_back((int32_t)json_integer_value(json_array_get(list, i)));
    return out;
  }
  // {"kind": full | basic | wordpiece, "lower", "vocab", "text", "tokens", "ids"}: with a vocabulary of its own. The
  // words of `basic` are made a vocabulary, so that another split of the text is [UNK].
  void fact(const json_t *line, const std::string &where) {
    const std::string kind = json_string_value(json_object_get(line, "kind"));
    Strings expected = strings(json_object_get(line, "tokens")), vocab = strings(json_object_get(line, "vocab"));
    ASSERT_TRUE(kind == "full" || kind == "basic" || kind == "wordpiece") << where << ": kind " << kind;
    if (vocab.empty()) {
      vocab = {"[UNK]"};
      for (const std::string &token : expected)
        if (std::find(vocab.begin(), vocab.end(), token) == vocab.end())
          vocab.push_back(token);
    }
    std::string text;
    for (const std::string &token : vocab)
      text += token + "\n";
    put("tokenizer_config.json", json_is_true(json_object_get(line, "lower")) ? "{}" : R"({"do_lower_case": false})");
    open(put("vocab.txt", text));
    Encoded r = encode(json_string_value(json_object_get(line, "text")));
    EXPECT_EQ(r.tokens, expected) << where;
    if (json_object_get(line, "ids")) {
      EXPECT_EQ(r.ids, numbers(json_object_get(line, "ids"))) << where;
    }
  }
};

TEST_F(Fixtures, EveryString) {
  const fs::path folder = data_folder() / "tokenizer_fixtures";
  if (!fs::exists(folder))
    GTEST_SKIP() << "no " << folder << "; set INGOT_DATA";
  const char *const files[] = {"bert-base-uncased.vocab.txt", "bert-base-uncased.tokenizer.json"};
  ig_tokenizer *bert[2];
  for (int k = 0; k < 2; k++)
    ASSERT_EQ(ig_tokenizer_open((data_folder() / "bert_vocab" / files[k]).c_str(), &bert[k]), IG_OK)
        << ig_error_message();
  size_t n = 0, n_files = 0;
  for (const auto &file : fs::directory_iterator(folder)) {
    if (file.path().extension() != ".jsonl")
      continue;
    std::ifstream in(file.path());
    std::string line;
    n_files++;
    for (int number = 1; std::getline(in, line); number++) {
      const std::string where = file.path().filename().string() + ":" + std::to_string(number);
      json_t *j = json_loads(line.c_str(), 0, nullptr);
      ASSERT_NE(j, nullptr) << where;
      if (json_object_get(j, "kind")) {
        fact(j, where);
      } else {
        ASSERT_NE(json_object_get(j, "ids"), nullptr) << where;
        for (int k = 0; k < 2; k++) {
          std::swap(t, bert[k]);
          Encoded r = encode(json_string_value(json_object_get(j, "text")));
          EXPECT_EQ(r.ids, numbers(json_object_get(j, "ids"))) << where;
          EXPECT_EQ(r.tokens, strings(json_object_get(j, "wordpiece"))) << where;
          std::swap(t, bert[k]);
        }
      }
      json_decref(j);
      n++;
    }
  }
  for (ig_tokenizer *x : bert)
    ig_tokenizer_close(x);
  printf("%zu strings of %zu files, both kinds of tokenizer file\n", n, n_files);
  EXPECT_GT(n, 0u);
}
