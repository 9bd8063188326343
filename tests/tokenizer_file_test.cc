// floor: ig_tokenizer
// A tokenizer's files, vocab.txt and tokenizer.json: what each of their parts means (facts of Hugging Face's tokenizers
// 0.23.3), what must be refused, what the fingerprint tells.
#include <cstring>

#include "tests/tokenizer_fixture.h"

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
  // Spaces belong to the token before and to one that begins with them; where that one takes spaces to its left, to the
  // token before alone.
  with(entry(12, "<t>", "rstrip") + "," + entry(13, " b ", "") + "," + entry(14, "\u3000a", "lstrip") + "," +
       entry(15, "\u00a0", "lstrip rstrip"));
  r = encode("<t>  b a<t> \u3000a b");
  EXPECT_EQ(r.ids, (Ids{12, 13, 3, 12, 14, 4}));
  EXPECT_EQ(r.offsets, (Offsets{{0, 5}, {4, 7}, {7, 8}, {8, 13}, {13, 14}, {15, 16}}));
  r = encode("b \u00a0 \u00a0\u00a0a");
  EXPECT_EQ(r.ids, (Ids{4, 15, 3}));  // nothing is left for the second and third
  EXPECT_EQ(r.offsets, (Offsets{{0, 1}, {1, 6}, {6, 7}}));
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
      {"added behind a gap", &Json::added, R"([{"id":13,"content":"<t>"}])", IG_ERR_UNSUPPORTED,
       "\"<t>\" has id 13; Hugging Face's tokenizers ignores that and counts on behind the 12 tokens"},
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
  Json gap;  // they count tokens, not ids
  gap.vocab = R"({"[UNK]":0,"a":4})";
  gap.added = R"([{"id":3,"content":"<t>"},{"id":2,"content":"<u>"}])";
  open(put("tokenizer.json", gap.text()));
  EXPECT_EQ(encode("a<t><u>").ids, (Ids{4, 3, 2}));
  gap.added = R"([{"id":5,"content":"<t>"}])";
  EXPECT_NE(refusal(put("tokenizer.json", gap.text()), IG_ERR_UNSUPPORTED).find("ids from 2 on"), std::string::npos);
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

// What Transformers 4 saves beside a vocab.txt; the ids are those of AutoTokenizer of Transformers 5.24.
TEST_F(Tokenizer, SavedBesideAVocabulary) {
  const std::string v = put("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nnew\n##tok\n<s>\n</s>\n[\n]\nmask\n");
  const std::string text = "NEWTOK a <s> [mask] [MASK] <X>";
  const ig_encode_options special = {true, 0, IG_TRUNCATE_LONGEST_FIRST, true};
  auto ids = [&](const std::string &config, const std::string &map, const std::string &added) {
    const std::pair<const char *, const std::string *> files[] = {
        {"tokenizer_config.json", &config}, {"special_tokens_map.json", &map}, {"added_tokens.json", &added}};
    for (auto &f : files)
      if (f.second->empty())
        fs::remove(dir / f.first);
      else
        put(f.first, *f.second);
    open(dir.string());
    return encode(text, special).ids;
  };
  EXPECT_EQ(ids("", "", ""), (Ids{2, 6, 7, 5, 1, 1, 1, 10, 12, 11, 4, 1, 1, 1, 3}));
  // Ids of added_tokens.json; a token that no name makes special is found in normalized text.
  EXPECT_EQ(ids("", "", R"({"newTok":13,"<x>":14})"), (Ids{2, 13, 5, 1, 1, 1, 10, 12, 11, 4, 14, 3}));
  EXPECT_EQ(ids("", R"({"bos_token":"<x>"})", R"({"NEWTOK":13,"<x>":14})"),
            (Ids{2, 13, 5, 1, 1, 1, 10, 12, 11, 4, 1, 1, 1, 3}));
  // Names of special_tokens_map.json, as texts and as objects.
  EXPECT_EQ(ids("{}", R"({"cls_token":"<s>","sep_token":{"content":"</s>","lstrip":false}})", ""),
            (Ids{8, 6, 7, 5, 8, 10, 12, 11, 4, 1, 1, 1, 9}));
  ig_tokenizer_info info;
  ig_tokenizer_get_info(t, &info);
  EXPECT_EQ(info.cls, 8);
  EXPECT_EQ(info.sep, 9);
  // added_tokens_decoder, beside which Transformers reads no other file.
  const std::string decoder =
      R"({"added_tokens_decoder":{"14":{"content":"<X>","special":true},"13":{"content":"NEWTOK","normalized":false,)"
      R"("special":false}},"mask_token":{"__type":"AddedToken","content":"[MASK]","normalized":true}})";
  EXPECT_EQ(ids(decoder, R"({"cls_token":"<s>"})", R"({"a":99})"), (Ids{2, 13, 5, 1, 1, 1, 4, 4, 14, 3}));
  EXPECT_EQ(decode({2, 13, 4, 14}), "NEWTOK [mask]");  // its normal form is no special token, as in Hugging Face's
  // Further special tokens get the next ids, behind those that have names.
  EXPECT_EQ(ids(R"({"additional_special_tokens":["<X>"],"eos_token":"NEWTOK"})", "", ""),
            (Ids{2, 13, 5, 1, 1, 1, 10, 12, 11, 4, 14, 3}));
  EXPECT_EQ(ids(R"({"pad_token":null})", R"({"additional_special_tokens":["<X>"]})", ""),
            (Ids{2, 6, 7, 5, 1, 1, 1, 10, 12, 11, 4, 13, 3}));
  ig_tokenizer_get_info(t, &info);
  EXPECT_EQ(info.pad, -1);
  struct {
    const char *file, *text;
    ig_status status;
    Strings says;
  } refused[] = {
      {"added_tokens.json", R"({"NEW":20})", IG_ERR_UNSUPPORTED, {"NEW", "20", "expected is 13"}},
      {"added_tokens.json", R"({"a":13})", IG_ERR_UNSUPPORTED, {"\"a\"", "13", "expected is 5"}},
      {"added_tokens.json", R"({"NEW":"13"})", IG_ERR_FORMAT, {"NEW", "an id"}},
      {"added_tokens.json", "[]", IG_ERR_FORMAT, {"object"}},
      {"special_tokens_map.json", R"({"cls_token":null})", IG_ERR_UNSUPPORTED, {"cls_token", "null"}},
      {"special_tokens_map.json", R"({"cls_token":5})", IG_ERR_FORMAT, {"cls_token"}},
      {"special_tokens_map.json", R"({"image_token":"<i>"})", IG_ERR_UNSUPPORTED, {"image_token"}},
      {"special_tokens_map.json", R"({"additional_special_tokens":"<i>"})", IG_ERR_FORMAT, {"additional_special"}},
      {"tokenizer_config.json", R"({"split_special_tokens":true})", IG_ERR_UNSUPPORTED, {"split_special_tokens"}},
      {"tokenizer_config.json", R"({"extra_special_tokens":{"i":"<i>"}})", IG_ERR_UNSUPPORTED, {"extra_special"}},
      {"tokenizer_config.json", R"({"added_tokens_decoder":{"x":{"content":"y"}}})", IG_ERR_FORMAT, {"\"x\"", "an id"}},
      {"tokenizer_config.json", R"({"added_tokens_decoder":{"13":"y"}})", IG_ERR_FORMAT, {"content"}},
      {"tokenizer_config.json",
       R"({"added_tokens_decoder":{"14":{"content":"y"}}})",
       IG_ERR_UNSUPPORTED,
       {"\"y\"", "13"}},
      {"tokenizer_config.json",
       R"({"added_tokens_decoder":{"13":{"content":"y","lstrip":1}}})",
       IG_ERR_FORMAT,
       {"added_tokens_decoder", "lstrip"}},
  };
  for (auto &c : refused) {
    for (const char *name : {"tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"})
      fs::remove(dir / name);
    const std::string path = put(c.file, c.text), message = refusal(v, c.status);
    EXPECT_NE(message.find(path), std::string::npos) << c.text << ": " << message;
    for (const std::string &part : c.says)
      EXPECT_NE(message.find(part), std::string::npos) << c.text << ": " << message;
  }
  put("tokenizer_config.json", R"({"additional_special_tokens":["<X>"]})");
  put("special_tokens_map.json", R"({"additional_special_tokens":["<Y>"]})");
  EXPECT_NE(refusal(v, IG_ERR_UNSUPPORTED).find("make them the same"), std::string::npos);
}

// Hugging Face's BertTokenizer makes the normalizer anew by tokenizer_config.json; tokenizer.json's is followed here.
TEST_F(Tokenizer, ConfigAgainstNormalizer) {
  Json j;
  auto warning = [&](const std::string &config) {
    put("tokenizer_config.json", config);
    open(put("tokenizer.json", j.text()));
    ig_tokenizer_info info;
    ig_tokenizer_get_info(t, &info);
    return std::string(info.warning ? info.warning : "");
  };
  for (const char *same :
       {"{}", R"({"do_lower_case":true,"strip_accents":null,"tokenize_chinese_chars":true})",
        R"({"strip_accents":true})", R"({"do_lower_case":false,"tokenizer_class":"PreTrainedTokenizerFast"})"})
    EXPECT_EQ(warning(same), "") << same;
  EXPECT_EQ(
      warning(R"({"do_lower_case":false,"tokenizer_class":"BertTokenizer"})"),
      (dir / "tokenizer_config.json").string() + ": do_lower_case is false; the normalizer of " +
          (dir / "tokenizer.json").string() +
          ": true. The normalizer is followed; Transformers' AutoTokenizer follows tokenizer_config.json and gives "
          "other ids: correct the file that is wrong");
  EXPECT_EQ(tokens("A \u00e9"), (Strings{"a", "e"}));
  EXPECT_NE(warning(R"({"strip_accents":false,"tokenize_chinese_chars":false})")
                .find("strip_accents is false, tokenize_chinese_chars is false; "),
            std::string::npos);
  j.normalizer = R"({"type":"BertNormalizer","strip_accents":false})";
  EXPECT_EQ(warning(R"({"do_lower_case":true})"), "");
  EXPECT_NE(warning(R"({"strip_accents":null})").find("strip_accents is null; "), std::string::npos);
  EXPECT_NE(warning(R"({"strip_accents":true})").find("strip_accents is true; "), std::string::npos);
  // A vocab.txt has no flags of its own.
  fs::remove(dir / "tokenizer.json");
  put("tokenizer_config.json", R"({"do_lower_case":false})");
  open(put("vocab.txt", "[UNK]\na\n"));
  ig_tokenizer_info info;
  ig_tokenizer_get_info(t, &info);
  EXPECT_EQ(info.warning, nullptr);
}

// Facts of tokenizers 0.23.3 with direction="left".
TEST_F(Tokenizer, CutsFromTheLeft) {
  put("tokenizer_config.json", R"({"truncation_side":"left"})");
  const std::string v = put("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\nc\nd\ne\nf\ng\n##b\n");
  open(v);
  const std::string first = "a b c d", second = "e f g";
  auto at = [](int n, ig_truncation how = IG_TRUNCATE_LONGEST_FIRST) { return ig_encode_options{true, n, how, true}; };
  EXPECT_EQ(encode(first, at(6)).ids, (Ids{2, 5, 6, 7, 8, 3}));
  Encoded r = encode(first, at(4));
  EXPECT_EQ(r.ids, (Ids{2, 7, 8, 3}));
  EXPECT_EQ(r.offsets, (Offsets{{0, 0}, {4, 5}, {6, 7}, {0, 0}}));
  EXPECT_TRUE(r.truncated);
  EXPECT_EQ(encode(first, at(3), &second).ids, (Ids{2, 3, 3}));
  EXPECT_EQ(encode(first, at(7), &second).ids, (Ids{2, 7, 8, 3, 10, 11, 3}));
  EXPECT_EQ(encode(first, at(8), &second).ids, (Ids{2, 6, 7, 8, 3, 10, 11, 3}));
  EXPECT_EQ(encode(first, at(8, IG_TRUNCATE_ONLY_FIRST), &second).ids, (Ids{2, 7, 8, 3, 9, 10, 11, 3}));
  EXPECT_EQ(encode(first, at(8, IG_TRUNCATE_ONLY_SECOND), &second).ids, (Ids{2, 5, 6, 7, 8, 3, 11, 3}));
  const char *const words[] = {"a", "cb", "c", "d"};
  const ig_encode_options five = at(5);
  ASSERT_EQ(ig_tokenizer_encode_words(t, 4, words, &five, &e), IG_OK);
  r = collect({}, true);
  EXPECT_EQ(r.ids, (Ids{2, 12, 7, 8, 3}));
  EXPECT_EQ(r.words, (std::vector<int>{-1, 1, 2, 3, -1}));
  // What is written cuts as it did.
  ig_tokenizer_info info, again;
  ig_tokenizer_get_info(t, &info);
  EXPECT_TRUE(info.cut_left);
  ASSERT_EQ(ig_tokenizer_write(t, (dir / "out").c_str(), 0), IG_OK) << ig_error_message();
  const std::string print = info.fingerprint;
  open((dir / "out").string());
  ig_tokenizer_get_info(t, &again);
  EXPECT_EQ(print, again.fingerprint);
  EXPECT_EQ(encode(first, at(4)).ids, (Ids{2, 7, 8, 3}));
  put("tokenizer_config.json", R"({"truncation_side":"right"})");
  open(v);
  EXPECT_EQ(encode(first, at(4)).ids, (Ids{2, 5, 6, 3}));
  ig_tokenizer_get_info(t, &again);
  EXPECT_NE(print, again.fingerprint);
  put("tokenizer_config.json", R"({"truncation_side":"middle"})");
  EXPECT_NE(refusal(v, IG_ERR_FORMAT).find("\"middle\""), std::string::npos);
  // tokenizer.json says it where tokenizer_config.json does not.
  Json j;
  j.truncation = R"({"direction":"Left","max_length":384,"strategy":"LongestFirst","stride":0})";
  const std::string path = put("tokenizer.json", j.text());
  const ig_encode_options two = {false, 2, IG_TRUNCATE_LONGEST_FIRST, true};
  for (const char *config : {"{}", R"({"truncation_side":null})"}) {
    put("tokenizer_config.json", config);
    open(path);
    EXPECT_EQ(encode("a b foo", two).ids, (Ids{4, 6}));
  }
  put("tokenizer_config.json", R"({"truncation_side":"right"})");
  open(path);
  EXPECT_EQ(encode("a b foo", two).ids, (Ids{3, 4}));
  j.truncation = R"({"direction":"Up","max_length":384})";
  EXPECT_NE(refusal(put("tokenizer.json", j.text()), IG_ERR_FORMAT).find("direction"), std::string::npos);
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
