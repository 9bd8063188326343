// What the tests of raw text share: a small vocabulary, texts that are made by rule, a corpus in a folder of its own.
#ifndef INGOT_TESTS_CORPUS_COMMON_H
#define INGOT_TESTS_CORPUS_COMMON_H

#include <memory>
#include <string>
#include <vector>

#include "runtime/base/rng.h"
#include "runtime/data/corpus.h"
#include "tests/fault_common.h"

namespace corpus {

struct TokenizerFree {
  void operator()(ig_tokenizer *t) const { ig_tokenizer_close(t); }
};
using Tokenizer = std::unique_ptr<ig_tokenizer, TokenizerFree>;

// [PAD] [UNK] [CLS] [SEP] [MASK], marks, letters, their continuations, and syllables: words become several pieces.
inline Tokenizer tokenizer_of(const std::string &folder, const std::string &more = "") {
  std::string text = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n.\n,\n!\n?\n\"\n'\n";
  for (char c = 'a'; c <= 'z'; c++)
    text += std::string(1, c) + "\n##" + c + "\n";
  for (const char *s : {"ka", "lo", "mi", "ter", "su", "ran", "ve", "the", "and"})
    text += std::string(s) + "\n##" + s + "\n";
  const std::string path = folder + "/vocab.txt";
  fault::put(path, text + more);
  ig_tokenizer *t = nullptr;
  EXPECT_EQ(ig_tokenizer_open(path.c_str(), &t), IG_OK) << ig_error_message();
  return Tokenizer(t);
}

// Documents of 1 to 6 sentences of 2 to 14 words, drawn by seed; a sentence a line or several.
inline std::string story(uint64_t seed, int documents) {
  static const char *const syllables[] = {"ka", "lo", "mi", "ter", "su", "ran", "ve"};
  ig_rng r = ig_rng_make(seed, 1, 2);
  std::string text;
  for (int d = 0; d < documents; d++) {
    const int n = 1 + (int)ig_rng_below(&r, 6);
    for (int s = 0; s < n; s++) {
      const int words = 2 + (int)ig_rng_below(&r, 13);
      for (int w = 0; w < words; w++) {
        std::string word;
        for (int k = 1 + (int)ig_rng_below(&r, 3); k > 0; k--)
          word += syllables[ig_rng_below(&r, 7)];
        if (w == 0)
          word[0] = (char)(word[0] - 32);
        text += (w ? " " : "") + word;
      }
      text += ig_rng_below(&r, 3) ? ".\n" : ". ";
    }
    text += "\n\n";
  }
  return text;
}

struct CorpusFree {
  void operator()(ig_corpus *c) const { ig_corpus_close(c); }
};
using Corpus = std::unique_ptr<ig_corpus, CorpusFree>;

// How a test opens a corpus; warnings are kept.
struct Opener {
  std::vector<std::string> paths;
  const ig_tokenizer *tokenizer = nullptr;
  std::string cache, beside;
  int threads = 2;
  uint64_t piece = 0;
  std::vector<std::string> warnings;
  bool stop = false;

  ig_status open(Corpus *out) {
    std::vector<const char *> p;
    for (auto &path : paths)
      p.push_back(path.c_str());
    ig_corpus_options o = {};
    o.size = sizeof o;
    o.paths = p.data();
    o.n_paths = p.size();
    o.tokenizer = tokenizer;
    o.cache = cache.empty() ? nullptr : cache.c_str();
    o.beside = beside.empty() ? nullptr : beside.c_str();
    o.threads = threads;
    o.piece_bytes = piece;
    o.warn = [](void *user, const char *text) { ((Opener *)user)->warnings.push_back(text); };
    o.should_stop = [](void *user) { return ((Opener *)user)->stop; };
    o.user = this;
    ig_corpus *c = nullptr;
    ig_status status = ig_corpus_open(&o, &c);
    out->reset(c);
    return status;
  }
};

inline ig_corpus_info info_of(const Corpus &c) {
  ig_corpus_info info;
  ig_corpus_get_info(c.get(), &info);
  return info;
}

}  // namespace corpus
#endif
