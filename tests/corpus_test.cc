// floor: ig_data
// The token file of raw text: made once, the same for any threads, found again by content.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#include "tests/corpus_fixture.h"

extern "C" {
#include "runtime/data/corpus_internal.h"
}

using namespace corpus;

namespace {

TEST_F(CorpusTest, HoldsWhatTheSentencesEncodeTo) {
  Opener o = opener();
  Corpus c;
  ASSERT_EQ(o.open(&c), IG_OK) << ig_error_message();
  ig_corpus_info n = info_of(c);
  EXPECT_TRUE(n.made);
  EXPECT_EQ(n.n_files, 3u);
  EXPECT_EQ(n.n_documents, 125u);
  EXPECT_EQ(n.id_bytes, 2);
  EXPECT_EQ(n.n_unknown, 0u);
  uint64_t sentence = 0, document = 0, token = 0;
  ig_encoding e = {};
  for (const char *file : {"text/a.txt", "text/b.txt", "text/sub/c.txt"}) {
    std::string text = slurp(home / file);
    corpus_spans s = {};
    ASSERT_EQ(ig_corpus_cut(text.data(), text.size(), true, &s), IG_OK);
    for (size_t i = 0; i < s.n; i++, sentence++) {
      ig_encode_options plain = {};
      ASSERT_EQ(ig_tokenizer_encode(tokenizer.get(), text.data() + s.items[i].at, s.items[i].n, nullptr, 0, &plain, &e),
                IG_OK);
      if (s.items[i].starts_document) {
        ASSERT_EQ(ig_corpus_document(c.get(), document++), sentence);
      }
      ASSERT_EQ(ig_corpus_sentence(c.get(), sentence), token);
      std::vector<int32_t> ids(e.n);
      ig_corpus_read(c.get(), token, e.n, ids.data());
      ASSERT_TRUE(std::equal(ids.begin(), ids.end(), e.ids));
      ASSERT_EQ(ig_corpus_sentence_of(c.get(), token + e.n - 1), sentence);
      ASSERT_EQ(ig_corpus_document_of(c.get(), sentence), document - 1);
      token += e.n;
    }
    ig_corpus_spans_fini(&s);
  }
  ig_encoding_fini(&e);
  EXPECT_EQ(n.n_documents, document);
  EXPECT_EQ(n.n_sentences, sentence);
  EXPECT_EQ(n.n_tokens, token);
  EXPECT_EQ(ig_corpus_document(c.get(), document), sentence);
  EXPECT_EQ(ig_corpus_sentence(c.get(), sentence), token);
  for (auto &entry : fs::directory_iterator(home / "cache"))
    EXPECT_EQ(entry.path().extension(), ".tokens") << entry.path() << " was left";
}

TEST_F(CorpusTest, SameBytesForAnyThreads) {
  Corpus c;
  std::string first;
  for (int threads : {1, 2, 7}) {
    Opener o = opener("cache" + std::to_string(threads));
    o.threads = threads;
    ASSERT_EQ(o.open(&c), IG_OK) << ig_error_message();
    if (first.empty())
      first = bytes_of(c);
    EXPECT_TRUE(bytes_of(c) == first) << threads;
  }
}

TEST_F(CorpusTest, PiecesChangeNothingButTheName) {
  Corpus whole, cut;
  Opener o = opener("whole");
  o.piece = 0;
  ASSERT_EQ(o.open(&whole), IG_OK) << ig_error_message();
  o = opener("cut");
  o.piece = 300;
  ASSERT_EQ(o.open(&cut), IG_OK) << ig_error_message();
  EXPECT_TRUE(bytes_of(whole).substr(512) == bytes_of(cut).substr(512));
}

TEST_F(CorpusTest, IsFoundAgainByContent) {
  Opener o = opener();
  Corpus c;
  ASSERT_EQ(o.open(&c), IG_OK) << ig_error_message();
  const std::string fingerprint = info_of(c).fingerprint;
  fs::rename(home / "text/a.txt", home / "text/aa.txt");
  ASSERT_EQ(o.open(&c), IG_OK);
  EXPECT_FALSE(info_of(c).made) << "names do not count, their order does";
  EXPECT_EQ(info_of(c).fingerprint, fingerprint);
  Tokenizer other = tokenizer_of(home.path, "kalomi\n");
  o.tokenizer = other.get();
  ASSERT_EQ(o.open(&c), IG_OK);
  EXPECT_TRUE(info_of(c).made);
  EXPECT_NE(info_of(c).fingerprint, fingerprint) << "another tokenizer is another corpus";
  o.tokenizer = tokenizer.get();
  std::string text = slurp(home / "text/b.txt");
  text[100] = text[100] == 'a' ? 'o' : 'a';
  put(home / "text/b.txt", text);
  ASSERT_EQ(o.open(&c), IG_OK);
  EXPECT_NE(info_of(c).fingerprint, fingerprint) << "and so is another text";
  EXPECT_TRUE(o.warnings.empty()) << o.warnings[0];
}

TEST_F(CorpusTest, TwoProcessesMakeItOnce) {
  std::vector<pid_t> children;
  for (int i = 0; i < 4; i++) {
    pid_t pid = fork();
    if (pid == 0) {
      Opener o = opener("shared");
      Corpus mine;
      ig_status status = o.open(&mine);
      _exit(status != IG_OK ? 3 : info_of(mine).made ? 1 : 0);
    }
    children.push_back(pid);
  }
  int made = 0;
  for (pid_t pid : children) {
    int how = 0;
    waitpid(pid, &how, 0);
    ASSERT_TRUE(WIFEXITED(how) && WEXITSTATUS(how) < 2);
    made += WEXITSTATUS(how);
  }
  EXPECT_EQ(made, 1);
}

TEST_F(CorpusTest, GoesBesideTheRunWhereTheCacheCannotBeWritten) {
  Opener o = opener();
  put(home / "file", "not a folder");
  o.cache = home / "file/cache";
  Corpus c;
  ASSERT_NE(o.open(&c), IG_OK);
  o.beside = home / "run/corpus";
  ASSERT_EQ(o.open(&c), IG_OK) << ig_error_message();
  ASSERT_EQ(o.warnings.size(), 1u);
  EXPECT_NE(o.warnings[0].find("run/corpus"), std::string::npos) << o.warnings[0];
  EXPECT_EQ(std::string(info_of(c).path).find(home / "run/corpus"), 0u);
}

TEST_F(CorpusTest, RefusesWhatIsNoCorpus) {
  Opener o = opener();
  Corpus c;
  auto refusal = [&](const std::string &path) {
    o.paths = {path};
    ig_status status = o.open(&c);
    return std::string(ig_status_name(status)) + ": " + ig_error_message();
  };
  EXPECT_NE(refusal(home / "nowhere").find("no such file or folder"), std::string::npos);
  fs::create_directories(home / "empty");
  EXPECT_NE(refusal(home / "empty").find("is empty"), std::string::npos);
  put(home / "empty/a.csv", "text");
  EXPECT_NE(refusal(home / "empty").find("no .txt file (1 other"), std::string::npos);
  EXPECT_NE(refusal(home / "empty/a.csv").find(".txt only"), std::string::npos);
  put(home / "empty/a.txt", "");
  EXPECT_NE(refusal(home / "empty").find("1 text file, which is empty"), std::string::npos) << refusal(home / "empty");
  put(home / "empty/a.txt", " \n \n\t\n");
  EXPECT_NE(refusal(home / "empty").find("no sentence"), std::string::npos) << refusal(home / "empty");
  EXPECT_FALSE(fs::exists(home / "cache") && !fs::is_empty(home / "cache"));
  put(home / "empty/a.txt",
      "\xff\xfe"
      "a\0b\0");
  EXPECT_NE(refusal(home / "empty").find("UTF-16"), std::string::npos);
  put(home / "empty/a.txt", "\xef\xbb\xbfKa lo. Mi ter.");
  fs::create_directories(home / "empty/run");  // a run's files are no text to learn from
  put(home / "empty/run/args.yaml", "model: x\n");
  put(home / "empty/run/vocab.txt", "Ka\nlo\n");
  o.warnings.clear();
  ASSERT_EQ(refusal(home / "empty").substr(0, 3), "ok:") << "a byte order mark is fine";
  EXPECT_EQ(info_of(c).n_sentences, 2u);
  EXPECT_EQ(info_of(c).n_unknown, 0u);
  ASSERT_EQ(o.warnings.size(), 1u);
  EXPECT_NE(o.warnings[0].find("ignored 1 file that is not .txt"), std::string::npos) << o.warnings[0];
  put(home / "empty/a.txt", std::string("Ka \xff lo \xc3. Ka ") + std::string(300, 'x') + ".");
  ASSERT_EQ(refusal(home / "empty").substr(0, 3), "ok:");
  EXPECT_EQ(info_of(c).n_invalid, 2u);
  EXPECT_GE(info_of(c).n_unknown, 1u) << "a word of 300 letters";
}

TEST_F(CorpusTest, LongDocumentsAreCutAtLines) {
  std::string text;
  ig_rng r = ig_rng_make(4, 5, 6);
  for (int i = 0; i < 2000; i++)
    text += "Ka lo mi" + std::string(ig_rng_below(&r, 3), 'a') + (ig_rng_below(&r, 2) ? " ter su ran ve" : "") + ".\n";
  put(home / "long.txt", text);
  Opener o = opener();
  o.paths = {home / "long.txt"};
  Corpus c;
  ASSERT_EQ(o.open(&c), IG_OK);
  EXPECT_EQ(info_of(c).n_documents, 1u);
  EXPECT_EQ(info_of(c).n_sentences, 2000u);
}

TEST(CorpusReal, TokenisesTheSharedCorpus) {
  const char *set = getenv("INGOT_DATA"), *source = getenv("INGOT_SOURCE");
  const std::string data = set ? set : std::string(source ? source : ".") + "/../shared/data";
  if (!fs::is_directory(data + "/corpus") || !fs::exists(data + "/bert_vocab/bert-base-uncased.vocab.txt"))
    GTEST_SKIP() << data << "/corpus is not here";
  fault::Folder home("ig_corpus_real");
  ig_tokenizer *t = nullptr;
  ASSERT_EQ(ig_tokenizer_open((data + "/bert_vocab/bert-base-uncased.vocab.txt").c_str(), &t), IG_OK)
      << ig_error_message();
  Tokenizer tokenizer(t);
  Opener o;
  o.paths = {data + "/corpus"};
  o.tokenizer = t;
  o.cache = home / "cache";
  for (int again = 0; again < 2; again++) {
    Corpus c;
    auto from = std::chrono::steady_clock::now();
    ASSERT_EQ(o.open(&c), IG_OK) << ig_error_message();
    double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - from).count();
    ig_corpus_info n = info_of(c);
    printf(
        "%s %.1f MB in %.3f s with 2 threads: %zu documents, %zu sentences, %zu tokens, %.3f %% unknown, %.2f bytes a "
        "token\n",
        n.made ? "tokenised" : "opened", (double)n.text_bytes * 1e-6, seconds, (size_t)n.n_documents,
        (size_t)n.n_sentences, (size_t)n.n_tokens, 100.0 * (double)n.n_unknown / (double)n.n_tokens,
        (double)n.text_bytes / (double)n.n_tokens);
    EXPECT_EQ(n.made, again == 0);
    EXPECT_EQ(n.n_files, 21u);
    EXPECT_GT(n.n_tokens, 2500000u);
    EXPECT_GT(n.n_sentences, 100000u);
    EXPECT_LT(n.n_sentences, 300000u);
  }
}

}  // namespace
