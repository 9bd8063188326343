// floor: ig_tokenizer
// WordPiece: facts of Hugging Face's tokenizers 0.23.3 and of the fixtures, files that must be refused, memory that
// fails.
#include "runtime/tokenizer/tokenizer.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <jansson.h>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

extern "C" {
#include "runtime/base/mem.h"
}

namespace fs = std::filesystem;
using Strings = std::vector<std::string>;
using Ids = std::vector<int32_t>;

static fs::path data_folder() {
  const char *env = getenv("INGOT_DATA"), *source = getenv("INGOT_SOURCE");
  return env ? fs::path(env) : fs::path(source ? source : ".") / ".." / "shared" / "data";
}

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

TEST_F(Tokenizer, JsonFlags) {
  auto normalizer = [](const char *clean, const char *cjk, const char *strip, const char *lower) {
    return std::string(R"({"type":"BertNormalizer","clean_text":)") + clean + R"(,"handle_chinese_chars":)" + cjk +
           R"(,"strip_accents":)" + strip + R"(,"lowercase":)" + lower + "}";
  };
  Json j;
  auto with = [&](const std::string &n, const std::string &text) {
    j.normalizer = n;
    open(put("tokenizer.json", j.text()));
    return tokens(text);
  };
  const std::string text = "A \u00e9 \u4e2d\u4e2d a\u00ad";
  EXPECT_EQ(with(normalizer("true", "true", "null", "true"), text), (Strings{"a", "e", "中", "中", "a"}));
  EXPECT_EQ(with(normalizer("true", "true", "null", "false"), text), (Strings{"A", "é", "中", "中", "a"}));
  EXPECT_EQ(with(normalizer("true", "true", "false", "true"), text), (Strings{"a", "é", "中", "中", "a"}));
  EXPECT_EQ(with(normalizer("true", "true", "true", "false"), text), (Strings{"A", "e", "中", "中", "a"}));
  EXPECT_EQ(with(normalizer("true", "false", "null", "true"), text), (Strings{"a", "e", "[UNK]", "a"}));
  EXPECT_EQ(with(normalizer("false", "true", "null", "true"), text), (Strings{"a", "e", "中", "中", "[UNK]"}));
  EXPECT_EQ(with("null", text), (Strings{"A", "é", "[UNK]", "[UNK]"}));
  EXPECT_EQ(encode("a \xff").tokens, (Strings{"a", "[UNK]"}));  // U+FFFD stays where nothing is cleaned
  // The one letter whose lower case is two code points; where marks are dropped it is one.
  j.vocab = R"({"[UNK]":0,"i":1,"i\u0307":2})";
  EXPECT_EQ(with(normalizer("true", "true", "false", "true"), "\u0130"), (Strings{"i\u0307"}));
  EXPECT_EQ(encode("a\u0130").offsets, (Offsets{{0, 2}}));
  EXPECT_EQ(with(normalizer("true", "true", "true", "true"), "\u0130"), (Strings{"i"}));
  j.vocab = Json().vocab;
  j.model.replace(j.model.find("100"), 3, "2");
  EXPECT_EQ(with("null", "ab abb"), (Strings{"a", "##b", "[UNK]"}));
}

TEST_F(Tokenizer, JsonAddedTokens) {
  auto entry = [](int id, const char *content, const char *on) {
    std::string s = R"({"id":)" + std::to_string(id) + R"(,"content":")" + content + "\"";
    for (const char *flag : {"single_word", "lstrip", "rstrip", "normalized", "special"})
      s += std::string(",\"") + flag + "\":" + (strstr(on, flag) ? "true" : "false");
    return s + "}";
  };
  Json j;
  auto with = [&](const std::string &added) {
    j.added = "[" + added + "]";
    open(put("tokenizer.json", j.text()));
  };
  with(entry(12, "<t>", ""));
  EXPECT_EQ(tokens("a<t>b <T>"), (Strings{"a", "<t>", "b", "[UNK]", "[UNK]", "[UNK]"}));
  with(entry(12, "<t>", "lstrip rstrip"));
  Encoded r = encode("a <t>\u3000 b");
  EXPECT_EQ(r.offsets, (Offsets{{0, 1}, {1, 7}, {7, 8}}));
  with(entry(6, "foo", "single_word"));
  EXPECT_EQ(encode("foo foob .foo. \u00e9foo").ids, (Ids{6, 6, 5, 11, 6, 11, 0}));  // foob is foo ##b
  with(entry(12, "<t>", "") + "," + entry(13, "<t>b", ""));
  EXPECT_EQ(encode("<t>b<t>a").ids, (Ids{13, 12, 3}));  // the longest
  with(entry(12, "Caf\u00e9", "normalized"));
  r = encode("a CAFE\u0301s");
  EXPECT_EQ(r.ids, (Ids{3, 12, 0}));
  EXPECT_EQ(r.tokens[1], "cafe");  // as Hugging Face's shows it
  EXPECT_EQ(r.offsets, (Offsets{{0, 1}, {2, 6}, {7, 8}}));
  with(entry(2, "[SEP]", "special") + "," + entry(12, "<t>", ""));
  EXPECT_EQ(decode({3, 2, 12}), "a <t>");
}

TEST_F(Tokenizer, JsonPostProcessors) {
  Json j;
  std::string second = "b";
  const ig_encode_options with = {true, 0, IG_TRUNCATE_LONGEST_FIRST, true},
                          without = {false, 0, IG_TRUNCATE_LONGEST_FIRST, true};
  open(put("tokenizer.json", j.text()));
  EXPECT_EQ(encode("a", with, &second).ids, (Ids{3, 4}));
  EXPECT_EQ(encode("a", with, &second).types, (std::vector<int>{0, 1}));
  j.post = R"({"type":"BertProcessing","sep":["[SEP]",2],"cls":["[CLS]",1]})";
  open(put("tokenizer.json", j.text()));
  EXPECT_EQ(encode("a", with, &second).ids, (Ids{1, 3, 2, 4, 2}));
  EXPECT_EQ(encode("a", without, &second).ids, (Ids{3, 4}));
  j.post =
      R"({"type":"TemplateProcessing","single":[{"Sequence":{"id":"A","type_id":3}},{"SpecialToken":{"id":"x","type_id":0}}],)"
      R"("pair":[{"Sequence":{"id":"B","type_id":2}},{"SpecialToken":{"id":"x","type_id":7}},{"Sequence":{"id":"A","type_id":1}}],)"
      R"("special_tokens":{"x":{"id":"x","ids":[2,1],"tokens":["[SEP]","[CLS]"]}}})";
  j.truncation = R"({"direction":"Right","max_length":384,"strategy":"LongestFirst","stride":0})";
  open(put("tokenizer.json", j.text()));
  EXPECT_EQ(encode("a", with).ids, (Ids{3, 2, 1}));
  Encoded r = encode("a", with, &second);
  EXPECT_EQ(r.ids, (Ids{4, 2, 1, 3}));
  EXPECT_EQ(r.types, (std::vector<int>{2, 7, 7, 1}));
  ig_tokenizer_info info;
  ig_tokenizer_get_info(t, &info);
  EXPECT_EQ(info.max_length, 384);
}

TEST_F(Tokenizer, JsonRefused) {
  struct {
    const char *name;
    std::string Json::*part;
    const char *value;
    ig_status status;
    const char *says;
  } cases[] = {
      {"normalizer", &Json::normalizer, R"({"type":"NFC"})", IG_ERR_UNSUPPORTED, "NFC"},
      {"sequence", &Json::normalizer, R"({"type":"Sequence","normalizers":[]})", IG_ERR_UNSUPPORTED, "Sequence"},
      {"flag", &Json::normalizer, R"({"type":"BertNormalizer","lowercase":1})", IG_ERR_FORMAT, "lowercase"},
      {"pre", &Json::pre, R"({"type":"Whitespace"})", IG_ERR_UNSUPPORTED, "Whitespace"},
      {"no pre", &Json::pre, "null", IG_ERR_UNSUPPORTED, "pre_tokenizer"},
      {"post", &Json::post, R"({"type":"RobertaProcessing"})", IG_ERR_UNSUPPORTED, "RobertaProcessing"},
      {"template", &Json::post, R"({"type":"TemplateProcessing","single":[],"pair":[]})", IG_ERR_FORMAT, "single"},
      {"no ids", &Json::post,
       R"({"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"x","type_id":0}}],"pair":[],"special_tokens":{}})",
       IG_ERR_FORMAT, "\"x\""},
      {"bad id", &Json::post, R"({"type":"BertProcessing","sep":["[SEP]",99],"cls":["[CLS]",1]})", IG_ERR_FORMAT, "99"},
      {"decoder", &Json::decoder, R"({"type":"BPEDecoder"})", IG_ERR_UNSUPPORTED, "BPEDecoder"},
      {"model", &Json::model, R"("type":"BPE","merges":[])", IG_ERR_UNSUPPORTED, "BPE"},
      {"no type", &Json::model, R"("unk_token":"[UNK]")", IG_ERR_UNSUPPORTED, "model"},
      {"no unk", &Json::model, R"("type":"WordPiece","continuing_subword_prefix":"##","max_input_chars_per_word":100)",
       IG_ERR_FORMAT, "unk_token"},
      {"chars", &Json::model,
       R"("type":"WordPiece","unk_token":"a","continuing_subword_prefix":"##","max_input_chars_per_word":-1)",
       IG_ERR_FORMAT, "max_input_chars_per_word"},
      {"empty", &Json::vocab, "{}", IG_ERR_FORMAT, "vocab"},
      {"text id", &Json::vocab, R"({"a":"0"})", IG_ERR_FORMAT, "\"a\""},
      {"negative", &Json::vocab, R"({"a":-1})", IG_ERR_FORMAT, "\"a\""},
      {"huge", &Json::vocab, R"({"a":2000000000})", IG_ERR_FORMAT, "2000000000"},
      {"one id", &Json::vocab, R"({"a":0,"b":0})", IG_ERR_FORMAT, "two tokens"},
      {"twice", &Json::vocab, R"({"a":0,"a":1})", IG_ERR_FORMAT, "line 1"},
      {"added", &Json::added, R"([{"id":5,"content":"a"}])", IG_ERR_FORMAT, "added_tokens"},
      {"added twice", &Json::added, R"([{"id":3,"content":"a"},{"id":3,"content":"a"}])", IG_ERR_FORMAT, "twice"},
      {"added empty", &Json::added, R"([{"id":12,"content":""}])", IG_ERR_FORMAT, "no text"},
      {"added mark", &Json::added, R"([{"id":12,"content":"\u0301"}])", IG_ERR_FORMAT, "normalized"},
      {"added same", &Json::added, R"([{"id":6,"content":"foo"},{"id":12,"content":"FOO"}])", IG_ERR_UNSUPPORTED,
       "same"},
  };
  for (auto &c : cases) {
    Json j;
    j.*c.part = c.value;
    std::string path = put("tokenizer.json", j.text()), message = refusal(path, c.status);
    EXPECT_NE(message.find(path), std::string::npos) << c.name << ": " << message;
    EXPECT_NE(message.find(c.says), std::string::npos) << c.name << ": " << message;
  }
  const std::string whole = Json().text();
  open(put("tokenizer.json", whole));
  for (size_t n = 0; n < whole.size(); n += 7)
    refusal(put("tokenizer.json", whole.substr(0, n)), IG_ERR_FORMAT);
  refusal(put("tokenizer.json", "[]"), IG_ERR_FORMAT);
}

TEST_F(Tokenizer, VocabularyRefused) {
  refusal((dir / "nothing.txt").string(), IG_ERR_NOT_FOUND);
  refusal(dir.string(), IG_ERR_NOT_FOUND);
  refusal(put("vocab.txt", ""), IG_ERR_FORMAT);
  refusal(put("vocab.txt", "\n\n"), IG_ERR_FORMAT);
  EXPECT_NE(refusal(put("vocab.txt", "a\nb\na\n"), IG_ERR_FORMAT).find("line 3"), std::string::npos);
  EXPECT_NE(refusal(put("vocab.txt", "a\nb\xff\n"), IG_ERR_FORMAT).find("line 2"), std::string::npos);
  EXPECT_NE(refusal(put("vocab.txt", std::string("a\nb\0c\n", 6)), IG_ERR_FORMAT).find("zero byte"), std::string::npos);
  EXPECT_NE(refusal(put("vocab.txt", "\xef\xbb\xbf[UNK]\na\n"), IG_ERR_FORMAT).find("byte-order mark"),
            std::string::npos);
  std::string good = put("vocab.txt", "[UNK]\r\na\r\n\r\nb");
  open(good);
  EXPECT_EQ(encode("a b").ids, (Ids{1, 3}));  // an empty line has an id
  open(dir.string());
  put("tokenizer_config.json",
      R"({"model_max_length": 1000000000000000019884624838656, "unk_token": {"content": "a"}})");
  open(good);
  EXPECT_EQ(encode("zz").ids, Ids{1});
  put("tokenizer_config.json", R"({"model_max_length": 512, "do_lower_case": "no"})");
  EXPECT_NE(refusal(good, IG_ERR_FORMAT).find("do_lower_case"), std::string::npos);
  put("tokenizer_config.json", "{");
  refusal(good, IG_ERR_FORMAT);
  // Without [UNK] a text of known words has ids; another is refused.
  put("tokenizer_config.json", R"({"model_max_length": 512})");
  open(put("vocab.txt", "a\n"));
  ig_tokenizer_info info;
  ig_tokenizer_get_info(t, &info);
  EXPECT_EQ(info.unk, -1);
  EXPECT_EQ(info.max_length, 512);
  EXPECT_EQ(encode("a").ids, Ids{0});
  EXPECT_EQ(encode("b").status, IG_ERR_DATA);
}

TEST_F(Tokenizer, FingerprintSaysWhatDecides) {
  auto print = [&](const Json &j) {
    open(put("tokenizer.json", j.text()));
    ig_tokenizer_info info;
    ig_tokenizer_get_info(t, &info);
    return std::string(info.fingerprint);
  };
  Json j;
  const std::string first = print(j);
  j.truncation = R"({"max_length":12})";
  EXPECT_EQ(print(j), first);
  Json other;
  other.normalizer = "null";
  EXPECT_NE(print(other), first);
  other = Json();
  other.vocab.replace(other.vocab.find("foo"), 3, "fop");
  EXPECT_NE(print(other), first);
  other = Json();
  other.post = R"({"type":"BertProcessing","sep":["[SEP]",2],"cls":["[CLS]",1]})";
  EXPECT_NE(print(other), first);
  // One encoding may serve two tokenizers in turn: cached words are not mixed up.
  EXPECT_EQ(encode("foo a").ids, (Ids{6, 3}));
  other.vocab = R"({"[UNK]":0,"[CLS]":1,"[SEP]":2,"a":7,"foo":8})";
  print(other);
  EXPECT_EQ(encode("foo a").ids, (Ids{8, 7}));
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

// --- training and writing ---

class Training : public Tokenizer {
 protected:
  ig_status train(const Strings &files, int vocabulary, ig_tokenizer **out, bool lower = true, int alphabet = 1000,
                  int threads = 1, int min_frequency = 2) {
    std::vector<const char *> names;
    for (const std::string &f : files)
      names.push_back(f.c_str());
    ig_tokenizer_train_options o = {sizeof o, names.data(),  names.size(), vocabulary,
                                    lower,    min_frequency, alphabet,     threads};
    return ig_tokenizer_train(&o, out);
  }
  static Strings vocabulary(const ig_tokenizer *x) {
    Strings out;
    for (int32_t i = 0; ig_tokenizer_token(x, i); i++)
      out.push_back(ig_tokenizer_token(x, i));
    return out;
  }
};

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

// --- fixtures: every .jsonl of the folder ---

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
