// floor: ig_data
// The token file of raw text under faults: damage is found, and after any kill, failed operation, failed allocation or
// stop it is made whole.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <mutex>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/base/mem.h"
#include "tests/corpus_fixture.h"

extern "C" {
#include "runtime/data/corpus_internal.h"
}

using namespace corpus;

namespace {

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

}  // namespace
