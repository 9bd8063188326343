// floor: ig_data
// Raw text: documents and sentences, and the token file: made once, the same for any threads, whole after any kill.
#include <algorithm>
#include <chrono>
#include <mutex>
#include <sys/wait.h>

#include "tests/corpus_common.h"

extern "C" {
#include "runtime/data/corpus_internal.h"
}

using namespace corpus;
using fault::put;
using fault::slurp;
namespace fs = std::filesystem;

namespace {

// Sentences, "|" before each that starts a document.
std::string cut(const std::string &text, bool new_document = true) {
  corpus_spans s = {};
  std::string out;
  EXPECT_EQ(ig_corpus_cut(text.data(), text.size(), new_document, &s), IG_OK);
  for (size_t i = 0; i < s.n; i++) {
    std::string one = text.substr(s.items[i].at, s.items[i].n);
    std::replace(one.begin(), one.end(), '\n', ' ');
    out += (s.items[i].starts_document ? "|" : "") + std::string("[") + one + "]";
  }
  ig_corpus_spans_fini(&s);
  return out;
}

TEST(Sentences, EndsAndWhatIsNone) {
  EXPECT_EQ(cut("One is here. Two is there! Is three? Yes."), "|[One is here.][Two is there!][Is three?][Yes.]");
  EXPECT_EQ(cut("Dr. Smith met Mr. J. R. Jones. He left."), "|[Dr. Smith met Mr. J. R. Jones.][He left.]");
  EXPECT_EQ(cut("It costs 3.14. Nobody pays 2.50 dollars."), "|[It costs 3.14.][Nobody pays 2.50 dollars.]");
  EXPECT_EQ(cut("See fig. 3 and vol. 2. No. 5 is next. He said no. Then he went."),
            "|[See fig. 3 and vol. 2.][No. 5 is next.][He said no.][Then he went.]");
  EXPECT_EQ(cut("He said \"Stop.\" Then (really!) he ran. (So it was.) \"Go!\" she said."),
            "|[He said \"Stop.\"][Then (really!) he ran.][(So it was.)][\"Go!\" she said.]");
  EXPECT_EQ(cut("in the U.S. The next in the U.S. Army e.g. Rome."),
            "|[in the U.S.][The next in the U.S. Army e.g. Rome.]");
  EXPECT_EQ(cut("Wait... What? No!? Yes."), "|[Wait...][What?][No!?][Yes.]");
  EXPECT_EQ(cut("wait... then go. Acme Inc. sold it. Acme Inc. The end."),
            "|[wait... then go.][Acme Inc. sold it.][Acme Inc.][The end.]");
  EXPECT_EQ(cut("1. First thing\n2. Second thing with more words"),
            "|[1. First thing][2. Second thing with more words]");
  EXPECT_EQ(cut("\u4f60\u597d\u3002\u518d\u89c1\u3002"), "|[\u4f60\u597d\u3002][\u518d\u89c1\u3002]");
  EXPECT_EQ(cut("Er kam. \u00c4rger. Er ging. \u00fcber alles."), "|[Er kam.][\u00c4rger.][Er ging. \u00fcber alles.]");
  EXPECT_EQ(cut("no capital here. so these are two."), "|[no capital here.][so these are two.]");
  EXPECT_EQ(cut("The box said \" open . \" The next \" never . \" It ."),
            "|[The box said \" open . \"][The next \" never . \"][It .]");
  EXPECT_EQ(cut("'' We go often . '' Then he ran . '' No ! ''"), "|['' We go often . ''][Then he ran .]['' No ! '']");
  EXPECT_EQ(cut("Are you here , he said . Mr. Weston 's house ! She went ."),
            "|[Are you here , he said .][Mr. Weston 's house !][She went .]");
  EXPECT_EQ(cut(""), "");
  EXPECT_EQ(cut(" \n\t\n"), "");
  EXPECT_EQ(cut("."), "|[.]");
}

TEST(Sentences, LinesAndDocuments) {
  EXPECT_EQ(cut("The first line is wrapped at\nforty columns or so. And the\nnext sentence ends here.\n"),
            "|[The first line is wrapped at forty columns or so.][And the next sentence ends here.]");
  // A sentence a line, without marks or capitals: nothing tells but that the lines are ragged.
  EXPECT_EQ(cut("a short one\nthis line is a good deal longer than that\nand a short one\nthe end of it is here\n"),
            "|[a short one][this line is a good deal longer than that][and a short one][the end of it is here]");
  EXPECT_EQ(cut("Title\nThe text begins here and goes on for long. It ends.\n"),
            "|[Title][The text begins here and goes on for long.][It ends.]");
  EXPECT_EQ(cut("One.\r\n\r\nTwo.\r\n \t \r\n\r\nThree."), "|[One.]|[Two.]|[Three.]");
  EXPECT_EQ(cut("Goes on.\n\nNew.", false), "[Goes on.]|[New.]");
  EXPECT_EQ(cut("\nNew.", false), "|[New.]");
}

TEST(Sentences, LongOnesAreCut) {
  std::string words;
  for (int i = 0; i < 40000; i++)
    words += "word ";
  corpus_spans s = {};
  ASSERT_EQ(ig_corpus_cut(words.data(), words.size(), true, &s), IG_OK);
  size_t letters = 0;
  EXPECT_EQ(s.n, 4u);
  for (size_t i = 0; i < s.n; i++) {
    EXPECT_LE(s.items[i].n, (size_t)CORPUS_MAX_SENTENCE);
    EXPECT_EQ(words.substr(s.items[i].at, 4), "word");
    letters += (s.items[i].n + 1) / 5;
  }
  EXPECT_EQ(letters, 40000u);
  std::string one(200000, 'x');
  for (size_t i = 0; i < one.size(); i += 2)
    one.replace(i, 2, "\u00e9");
  s.n = 0;
  ASSERT_EQ(ig_corpus_cut(one.data(), one.size(), true, &s), IG_OK);
  size_t bytes = 0;
  for (size_t i = 0; i < s.n; bytes += s.items[i++].n)
    EXPECT_EQ((unsigned char)one[s.items[i].at], 0xC3u) << "cut within a character";
  EXPECT_EQ(bytes, one.size());
  ig_corpus_spans_fini(&s);
}

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

TEST_F(CorpusTest, DamageIsFoundAndMadeAnew) {
  Opener o = opener();
  Corpus c;
  ASSERT_EQ(o.open(&c), IG_OK);
  const std::string path = info_of(c).path, good = bytes_of(c);
  c.reset();
  fault::Leaks leaks;
  for (size_t at = 0; at < good.size(); at += at < 512 ? 7 : 997) {
    if (at >= 280 && at < 512)
      continue;  // room behind the header
    std::string bad = good;
    bad[at] ^= 0x10;
    put(path, bad);
    ig_corpus *found = nullptr;
    ASSERT_EQ(ig_corpus_open_file(path.c_str(), nullptr, 2, &found), IG_ERR_FORMAT) << at;
    EXPECT_NE(strstr(ig_error_message(), path.c_str()), nullptr) << ig_error_message();
  }
  for (size_t n : {0ul, 10ul, 511ul, 512ul, 2000ul, good.size() - 1, good.size() + 64}) {
    std::string bad = good;
    bad.resize(n);
    put(path, bad);
    ig_corpus *found = nullptr;
    ASSERT_EQ(ig_corpus_open_file(path.c_str(), nullptr, 2, &found), IG_ERR_FORMAT) << n;
  }
  leaks.check();
  ASSERT_EQ(o.open(&c), IG_OK) << ig_error_message();
  EXPECT_TRUE(info_of(c).made);
  ASSERT_EQ(o.warnings.size(), 1u);
  EXPECT_NE(o.warnings[0].find("tokenised again"), std::string::npos) << o.warnings[0];
  EXPECT_TRUE(bytes_of(c) == good);
}

TEST_F(CorpusTest, ContradictionsBehindGoodHashesAreRefused) {
  Opener o = opener();
  Corpus c;
  ASSERT_EQ(o.open(&c), IG_OK);
  ig_corpus_info n = info_of(c);
  const std::string good = bytes_of(c), path = home / "bad.tokens";
  const size_t documents = 512, sentences = documents + (8 * (n.n_documents + 1) + 63) / 64 * 64,
               ids = sentences + (8 * (n.n_sentences + 1) + 63) / 64 * 64;
  auto refused = [&](size_t at, uint64_t value, size_t bytes) {
    std::string bad = good;
    memcpy(&bad[at], &value, bytes);
    ig_corpus_seal((uint8_t *)bad.data(), bad.size());
    put(path, bad);
    ig_corpus *found = nullptr;
    ig_status status = ig_corpus_open_file(path.c_str(), nullptr, 2, &found);
    ig_corpus_close(found);
    return status == IG_ERR_FORMAT;
  };
  uint16_t same;
  memcpy(&same, &good[ids], 2);
  EXPECT_FALSE(refused(ids, same, 2)) << "what is unchanged stays good";
  EXPECT_TRUE(refused(ids, (uint64_t)n.vocabulary, 2));
  EXPECT_TRUE(refused(ids + 2 * n.n_tokens - 2, 0xFFFF, 2));
  EXPECT_TRUE(refused(sentences, 1, 8));
  EXPECT_TRUE(refused(sentences + 8, 0, 8));
  EXPECT_TRUE(refused(sentences + 8 * n.n_sentences, n.n_tokens + 1, 8));
  EXPECT_TRUE(refused(sentences + 8 * (n.n_sentences / 2), UINT64_MAX, 8));
  EXPECT_TRUE(refused(documents + 8, n.n_sentences + 5, 8));
  EXPECT_TRUE(refused(documents + 8 * n.n_documents, n.n_sentences - 1, 8));
  EXPECT_TRUE(refused(documents + 16, 0, 8));
  for (size_t field = 40; field < 64; field += 8) {  // the counts
    EXPECT_TRUE(refused(field - 8, UINT64_MAX, 8)) << field;
    EXPECT_TRUE(refused(field - 8, UINT64_MAX / 16, 8)) << field;
    EXPECT_TRUE(refused(field - 8, 0, 8)) << field;
  }
}

// The process dies before its n-th change of a file, for every n.
TEST_F(CorpusTest, SurvivesAKillAtEveryWrite) {
  Corpus c;
  Opener undisturbed = opener("undisturbed");
  undisturbed.threads = 1;
  ASSERT_EQ(undisturbed.open(&c), IG_OK);
  const std::string good = bytes_of(c);
  c.reset();
  size_t kills = 0, kept = 0, most_kept = 0;
  for (int at = 1;; at++) {
    const std::string cache = "killed" + std::to_string(at);
    Opener o = opener(cache);
    o.threads = 1 + at % 2;
    fflush(nullptr);
    pid_t pid = fork();
    if (pid == 0) {
      static int seen;
      static std::mutex lock;
      fault::watch([at](const fault::Call &call) {
        const bool changes = call.op == fault::WRITE || call.op == fault::PWRITE || call.op == fault::FSYNC ||
                             call.op == fault::RENAME || call.op == fault::UNLINK || call.op == fault::MKDIR ||
                             call.op == fault::RMDIR || call.op == fault::CLOSE ||
                             (call.op == fault::OPEN && call.flags & O_CREAT);
        std::lock_guard<std::mutex> guard(lock);
        if (changes && ++seen == at)
          _exit(33);
        return 0;
      });
      Corpus mine;
      _exit(o.open(&mine) == IG_OK ? 0 : 1);
    }
    int how = 0;
    waitpid(pid, &how, 0);
    ASSERT_TRUE(WIFEXITED(how));
    ASSERT_NE(WEXITSTATUS(how), 1);
    size_t parts_made = 0;
    fault::watch([&](const fault::Call &call) {
      static std::mutex lock;
      std::lock_guard<std::mutex> guard(lock);
      parts_made += call.op == fault::RENAME && std::string(call.to).find(".parts/") != std::string::npos;
      return 0;
    });
    ASSERT_EQ(o.open(&c), IG_OK) << "killed at " << at << ": " << ig_error_message();
    fault::watch(nullptr);
    ASSERT_TRUE(bytes_of(c) == good) << "killed at " << at;
    ASSERT_TRUE(o.warnings.empty()) << o.warnings[0];
    for (auto &entry : fs::directory_iterator(home / cache))
      EXPECT_EQ(entry.path().extension(), ".tokens") << entry.path() << " was left by a kill at " << at;
    c.reset();
    fs::remove_all(home / cache);
    if (WEXITSTATUS(how) == 0)
      break;
    kills++;
    kept += parts_made == 0;
    most_kept = std::max(most_kept, parts_made);
  }
  EXPECT_GT(kills, 40u);
  EXPECT_GT(kept, 5u) << "late kills lose no part";
  EXPECT_GT(most_kept, 5u) << "early kills lose all";
  printf("%zu kills, %zu of them with all parts kept; a whole run makes %zu\n", kills, kept, most_kept);
}

TEST_F(CorpusTest, EveryFailingOperationIsACleanError) {
  Corpus c;
  Opener once = opener("undisturbed");
  ASSERT_EQ(once.open(&c), IG_OK);
  const std::string good = bytes_of(c);
  c.reset();
  fault::Leaks leaks;
  size_t failures = 0;
  for (int error : {EIO, ENOSPC, fault::HALF}) {
    for (int at = 1;; at += error == EIO || fault::long_form() ? 1 : 4) {
      Opener o = opener("failing");
      o.threads = 1;
      int seen = 0;
      bool struck = false;
      fault::watch([&](const fault::Call &call) {
        if (++seen != at)
          return 0;
        struck = true;
        return error == fault::HALF && call.op != fault::READ && call.op != fault::PREAD && call.op != fault::WRITE &&
                       call.op != fault::PWRITE
                   ? 0
                   : error;
      });
      ig_status status = o.open(&c);
      fault::watch(nullptr);
      if (status != IG_OK) {
        failures++;
        ASSERT_NE(status, IG_ERR_INTERNAL);
        ASSERT_GT(strlen(ig_error_message()), 12u);
        ASSERT_EQ(o.open(&c), IG_OK) << at << ": " << ig_error_message();
      }
      ASSERT_TRUE(bytes_of(c) == good) << at;
      c.reset();
      fs::remove_all(home / "failing");
      if (!struck)
        break;
    }
  }
  EXPECT_GT(failures, 60u);
  leaks.check();
}

TEST_F(CorpusTest, EveryFailingAllocationIsACleanError) {
  Corpus c;
  fault::Leaks leaks;
  for (int64_t at = 1, step = fault::long_form() ? 1 : 7;; at += step) {
    Opener o = opener("memory");
    o.threads = 1;
    ig_mem_fail_after(at, 0);
    ig_status status = o.open(&c);
    ig_mem_fail_after(0, 0);
    if (status == IG_OK)
      break;
    ASSERT_EQ(status, IG_ERR_MEMORY) << ig_error_message();
    fs::remove_all(home / "memory");
    ASSERT_LT(at, 100000);
  }
  c.reset();
  leaks.check();
}

TEST_F(CorpusTest, StopsAndGoesOn) {
  Opener o = opener();
  Corpus c;
  std::string big, one = story(1, 2000);
  for (int i = 0; i < 60; i++)
    big += one;
  put(home / "text/big.txt", big);
  o.piece = 50000;
  o.stop = true;
  o.threads = 1;
  ASSERT_EQ(o.open(&c), IG_STOPPED) << ig_error_message();
  size_t left = 0, made = 0;
  // On a machine with much else to do the stop may come before the first part.
  for (auto &entry : fs::recursive_directory_iterator(fs::exists(home / "cache") ? home / "cache" : home / "text"))
    left += entry.path().parent_path().extension() == ".parts";
  fault::watch([&](const fault::Call &call) {
    made += call.op == fault::RENAME && std::string(call.to).find(".parts/") != std::string::npos;
    return 0;
  });
  o.stop = false;
  ASSERT_EQ(o.open(&c), IG_OK) << ig_error_message();
  fault::watch(nullptr);
  EXPECT_GT(made, 0u);
  printf("%zu parts were there, %zu were made\n", left, made);
  EXPECT_GE(left + made, big.size() / 50000);
  EXPECT_LE(left + made, big.size() / 50000 + 4) << "no finished part is made again";
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
