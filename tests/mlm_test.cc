// floor: ig_data
// Samples for pre-training: chunks tile the corpus, pairs and masks are drawn as stated, and nothing depends on
// anything but (options, epoch, sample).
#include "runtime/data/mlm.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "tests/corpus_common.h"

using namespace corpus;
using fault::put;
namespace fs = std::filesystem;

namespace {

struct MlmFree {
  void operator()(ig_mlm *m) const { ig_mlm_destroy(m); }
};
using Mlm = std::unique_ptr<ig_mlm, MlmFree>;

struct Result : ig_mlm_result {
  Result() : ig_mlm_result() {}
  ~Result() { ig_mlm_result_fini(this); }
  std::vector<int32_t> whole() const {  // before masking
    std::vector<int32_t> v(ids, ids + n);
    for (int i = 0; i < n_masked; i++)
      v[(size_t)masked[i]] = labels[i];
    return v;
  }
};

class MlmTest : public ::testing::Test {
 protected:
  // Every word of document d is one token of its own or begins with it, so that tokens tell their document.
  MlmTest() : home("ig_mlm") {
    std::string names;
    for (int d = 0; d < 60; d++)
      names += name(d) + "\n";
    tokenizer = tokenizer_of(home.path, names);
    ig_tokenizer_get_info(tokenizer.get(), &info);
    fs::create_directories(home / "text");
    put(home / "text/a.txt", text());
    Opener o;
    o.paths = {home / "text"};
    o.tokenizer = tokenizer.get();
    o.cache = home / "cache";
    EXPECT_EQ(o.open(&corpus), IG_OK) << ig_error_message();
    o_corpus = info_of(corpus);
  }
  static std::string name(int d) { return std::string("z") + (char)('a' + d / 8) + (char)('a' + d % 8) + "z"; }
  static std::string text() {
    ig_rng r = ig_rng_make(1, 2, 3);
    std::string t;
    for (int d = 0; d < 60; d++) {
      const int sentences = d % 10 == 0 ? 1 : 1 + (int)ig_rng_below(&r, 30);
      for (int s = 0; s < sentences; s++) {
        const int words = ig_rng_below(&r, 40) == 0 ? 150 : 1 + (int)ig_rng_below(&r, 12);
        for (int w = 0; w < words; w++) {
          std::string word = name(d);
          for (int k = (int)ig_rng_below(&r, 3); k > 0; k--)
            word += ig_rng_below(&r, 2) ? "ter" : "lo";
          if (w == 0)
            word[0] = 'Z';
          t += (w ? " " : "") + word;
        }
        t += ig_rng_below(&r, 10) ? ".\n" : " \xe6\xbc\xa2.\n";  // a character that is [UNK]
      }
      t += "\n";
    }
    return t;
  }
  Mlm make(ig_mlm_pair pair, int max_length, double val = 0, bool whole_word = false, uint64_t seed = 7) {
    ig_mlm_options o = ig_mlm_options_default();
    o.corpus = corpus.get();
    o.max_length = max_length;
    o.pair = pair;
    o.val_share = val;
    o.whole_word = whole_word;
    o.seed = seed;
    ig_mlm *m = nullptr;
    EXPECT_EQ(ig_mlm_create(&o, &m), IG_OK) << ig_error_message();
    return Mlm(m);
  }
  bool special(int32_t id) const { return id <= 4; }
  bool continues(int32_t id) const { return strncmp(ig_tokenizer_token(tokenizer.get(), id), "##", 2) == 0; }
  std::vector<int32_t> tokens(uint64_t first, int n) const {
    std::vector<int32_t> v((size_t)n);
    ig_corpus_read(corpus.get(), first, (size_t)n, v.data());
    return v;
  }
  uint64_t document(uint64_t token) const {
    return ig_corpus_document_of(corpus.get(), ig_corpus_sentence_of(corpus.get(), token));
  }
  // The document that the tokens of a segment say they are of; -1 for mixed ones, -2 where none says.
  int said(const std::vector<int32_t> &v) const {
    int doc = -2;
    for (int32_t id : v) {
      const char *t = ig_tokenizer_token(tokenizer.get(), id);
      if (strlen(t) != 4 || t[0] != 'z')
        continue;
      int d = (t[1] - 'a') * 8 + t[2] - 'a';
      doc = doc == -2 || doc == d ? d : -1;
    }
    return doc;
  }

  fault::Folder home;
  Tokenizer tokenizer;
  ig_tokenizer_info info;
  Corpus corpus;
  ig_corpus_info o_corpus;
};

TEST_F(MlmTest, ChunksTileTheCorpusAndCrossNoDocument) {
  ASSERT_EQ(o_corpus.n_documents, 60u);
  for (int length : {8, 33, 128, 512})
    for (double val : {0.0, 0.1, 0.5}) {
      Mlm m = make(IG_PAIR_NEXT, length, val);
      const uint64_t n = ig_mlm_count(m.get(), IG_PART_ALL), n_train = ig_mlm_count(m.get(), IG_PART_TRAIN);
      EXPECT_EQ(n_train + ig_mlm_count(m.get(), IG_PART_VAL), n);
      std::map<uint64_t, int> chunks;
      std::set<uint64_t> documents[2];
      uint64_t last[2] = {};
      for (uint64_t i = 0; i < n; i++) {
        uint64_t first;
        int k;
        ig_mlm_chunk(m.get(), i, &first, &k);
        ASSERT_TRUE(chunks.emplace(first, k).second);
        ASSERT_TRUE(k >= 1 && k <= length - 3);
        ASSERT_EQ(document(first), document(first + (uint64_t)k - 1));
        const bool is_val = i >= n_train;
        documents[is_val].insert(document(first));
        ASSERT_TRUE(last[is_val] <= first) << "a part's order is that of the corpus";
        last[is_val] = first;
      }
      uint64_t at = 0;
      for (auto &[first, k] : chunks) {
        ASSERT_EQ(first, at) << "a hole or an overlap";
        at += (uint64_t)k;
      }
      EXPECT_EQ(at, o_corpus.n_tokens);
      for (uint64_t d : documents[1])
        EXPECT_EQ(documents[0].count(d), 0u);
      EXPECT_EQ(documents[1].size(), (size_t)std::lround(val * 60));
      // Greedy: what begins a chunk did not fit into the one before.
      for (auto it = chunks.begin(), next = std::next(it); next != chunks.end(); it = next++) {
        const uint64_t s = ig_corpus_sentence_of(corpus.get(), next->first);
        if (document(it->first) != document(next->first) || ig_corpus_sentence(corpus.get(), s) != next->first)
          continue;
        const uint64_t more = ig_corpus_sentence(corpus.get(), s + 1) - next->first;
        ASSERT_GT((uint64_t)it->second + more, (uint64_t)length - 3);
      }
    }
}

TEST_F(MlmTest, PairsAreWhatTheirLabelsSay) {
  for (ig_mlm_pair pair : {IG_PAIR_NONE, IG_PAIR_NEXT, IG_PAIR_ORDER})
    for (int length : {16, 64}) {
      Mlm m = make(pair, length, 0.2);
      Result r;
      size_t ones = 0, n_samples = 0, ones_of_single = 0, single = 0, full = 0;
      std::set<std::pair<uint64_t, int>> partners;
      const uint64_t n = ig_mlm_count(m.get(), IG_PART_ALL), n_train = ig_mlm_count(m.get(), IG_PART_TRAIN);
      for (int64_t epoch = 0; epoch < 12; epoch++)
        for (uint64_t i = 0; i < n; i++) {
          ASSERT_EQ(ig_mlm_sample(m.get(), epoch, i, &r), IG_OK);
          uint64_t first;
          int k;
          ig_mlm_chunk(m.get(), i, &first, &k);
          ASSERT_LE(r.n, ig_mlm_length(m.get(), i));
          ASSERT_LE(ig_mlm_length(m.get(), i), length);
          std::vector<int32_t> whole = r.whole(), chunk = tokens(first, k);
          ASSERT_EQ(whole[0], info.cls);
          ASSERT_EQ(whole.back(), info.sep);
          if (pair == IG_PAIR_NONE) {
            ASSERT_EQ(std::vector<int32_t>(whole.begin() + 1, whole.end() - 1), chunk);
            ASSERT_EQ(r.next, 0);
            continue;
          }
          auto middle = std::find(whole.begin() + 1, whole.end(), info.sep);
          std::vector<int32_t> a(whole.begin() + 1, middle), b;
          if (middle + 1 != whole.end())
            b.assign(middle + 1, whole.end() - 1);
          for (int t = 0; t < r.n; t++)
            ASSERT_EQ(r.types[t], t > middle - whole.begin());
          if (k > 1) {
            ASSERT_FALSE(a.empty());
            ASSERT_FALSE(b.empty());
          }
          std::vector<int32_t> both = r.next && pair == IG_PAIR_ORDER ? b : a;
          const std::vector<int32_t> &rest = r.next && pair == IG_PAIR_ORDER ? a : b;
          const size_t cut = both.size();
          if (pair == IG_PAIR_ORDER || !r.next) {
            both.insert(both.end(), rest.begin(), rest.end());
            ASSERT_EQ(both, chunk);
          } else {
            ASSERT_TRUE(std::equal(a.begin(), a.end(), chunk.begin()));
            ASSERT_LE(b.size(), std::max<size_t>(1, chunk.size() - a.size()));
            full += b.size() == chunk.size() - a.size();
            ASSERT_NE(said(b), -1) << "b is of one document";
            if (said(b) >= 0) {
              ASSERT_NE((uint64_t)said(b), document(first)) << "and of another one";
            }
            if (i == 0)
              partners.insert({(uint64_t)said(b), (int)b.size()});
          }
          // The cut is a sentence's start, or within a single one a word's.
          if (k > 1) {
            const bool one = ig_corpus_sentence_of(corpus.get(), first) ==
                             ig_corpus_sentence_of(corpus.get(), first + (uint64_t)k - 1);
            const uint64_t at = first + cut;
            if (!one) {
              ASSERT_EQ(ig_corpus_sentence(corpus.get(), ig_corpus_sentence_of(corpus.get(), at)), at);
            } else {
              single++;
              ones_of_single += (size_t)r.next;
              bool none = true;  // a chunk that is one word's pieces may be cut anywhere
              for (int t = 1; t < k; t++)
                none = none && continues(chunk[(size_t)t]);
              ASSERT_TRUE(none || !continues(tokens(at, 1)[0]));
            }
            ones += (size_t)r.next;
            n_samples += i < n_train;
          }
        }
      if (pair == IG_PAIR_NONE)
        continue;
      auto half = [](size_t k, size_t n) {
        return std::fabs((double)k - 0.5 * (double)n) < 5 * 0.5 * std::sqrt((double)n);
      };
      EXPECT_GT(single, 500u);
      EXPECT_TRUE(half(ones_of_single, single)) << ones_of_single << " of " << single;
      EXPECT_GT(n_samples, 1000u);
      if (pair == IG_PAIR_NEXT) {
        EXPECT_GT(full, ones / 3) << "random segments are as long as the true ones where they can be";
        EXPECT_GT(partners.size(), 3u) << "partners are drawn anew each epoch";
      }
    }
}

TEST_F(MlmTest, HalfOfAllPairsAreRandom) {
  for (ig_mlm_pair pair : {IG_PAIR_NEXT, IG_PAIR_ORDER}) {
    Mlm m = make(pair, 48);
    Result r;
    double ones = 0, n = 0;
    for (int64_t epoch = 0; epoch < 60; epoch++)
      for (uint64_t i = 0; i < ig_mlm_count(m.get(), IG_PART_TRAIN); i++) {
        uint64_t first;
        int k;
        ig_mlm_chunk(m.get(), i, &first, &k);
        ASSERT_EQ(ig_mlm_sample(m.get(), epoch, i, &r), IG_OK);
        if (k > 1)
          ones += r.next, n++;
      }
    ASSERT_GT(n, 5000);
    EXPECT_NEAR(ones / n, 0.5, 5 * 0.5 / std::sqrt(n));
  }
}

TEST_F(MlmTest, MasksEightyTenTenAndNeverSpecialTokens) {
  Mlm m = make(IG_PAIR_NEXT, 64);
  EXPECT_TRUE(ig_mlm_can_mask(m.get(), IG_PART_TRAIN) && ig_mlm_can_mask(m.get(), IG_PART_ALL));
  EXPECT_FALSE(ig_mlm_can_mask(m.get(), IG_PART_VAL)) << "no document is held out";
  Result r;
  double masked = 0, random = 0, kept = 0, n = 0;
  std::map<int32_t, int> drawn;
  for (int64_t epoch = 0; epoch < 200; epoch++)
    for (uint64_t i = 0; i < ig_mlm_count(m.get(), IG_PART_TRAIN); i++) {
      ASSERT_EQ(ig_mlm_sample(m.get(), epoch, i, &r), IG_OK);
      std::vector<int32_t> whole = r.whole();
      int maskable = 0;
      for (int32_t id : whole)
        maskable += !special(id);
      ASSERT_EQ(r.n_masked, std::min({10, maskable, std::max(1, (int)std::lround(0.15 * maskable))}));
      for (int t = 0; t < r.n_masked; t++) {
        ASSERT_TRUE(t == 0 || r.masked[t] > r.masked[t - 1]);
        ASSERT_FALSE(special(r.labels[t])) << r.labels[t];
        const int32_t now = r.ids[r.masked[t]];
        masked += now == info.mask;
        kept += now == r.labels[t];
        if (now != info.mask && now != r.labels[t])
          random++, drawn[now]++;
        ASSERT_TRUE(now == info.mask || !special(now));
        n++;
      }
      for (int t = 0; t < r.n; t++)
        if (r.ids[t] == info.mask) {
          ASSERT_TRUE(std::binary_search(r.masked, r.masked + r.n_masked, t));
        }
    }
  ASSERT_GT(n, 50000);
  const double plain = info.vocabulary - 5, out = std::sqrt(n);
  EXPECT_NEAR(masked / n, 0.8, 5 * 0.4 / out);
  EXPECT_NEAR(random / n, 0.1 * (1 - 1 / plain), 5 * 0.3 / out);
  EXPECT_NEAR(kept / n, 0.1 + 0.1 / plain, 5 * 0.3 / out);
  EXPECT_EQ(drawn.size(), (size_t)plain) << "every plain token is drawn, and no other";
  for (auto &[id, k] : drawn)
    EXPECT_NEAR(k, random / plain, 6 * std::sqrt(random / plain)) << id;
}

TEST_F(MlmTest, PositionsAreUniform) {
  Mlm m = make(IG_PAIR_NONE, 512);
  Result r;
  std::vector<double> hits;
  double total = 0;
  uint64_t longest = 0;
  for (uint64_t i = 0; i < ig_mlm_count(m.get(), IG_PART_TRAIN); i++)
    if (ig_mlm_length(m.get(), i) > ig_mlm_length(m.get(), longest))
      longest = i;
  for (int64_t epoch = 0; epoch < 3000; epoch++) {
    ASSERT_EQ(ig_mlm_sample(m.get(), epoch, longest, &r), IG_OK);
    hits.resize((size_t)r.n);
    for (int t = 0; t < r.n_masked; t++)
      hits[(size_t)r.masked[t]]++, total++;
  }
  int maskable = 0;
  for (int32_t id : r.whole())
    maskable += !special(id);
  for (int t = 0; t < r.n; t++)
    if (!special(r.whole()[(size_t)t])) {
      EXPECT_NEAR(hits[(size_t)t], total / maskable, 6 * std::sqrt(total / maskable)) << t;
    }
}

TEST_F(MlmTest, WholeWordsAreMaskedWhole) {
  Mlm m = make(IG_PAIR_NEXT, 64, 0, true);
  Result r;
  double several = 0, share = 0, samples = 0;
  for (int64_t epoch = 0; epoch < 20; epoch++)
    for (uint64_t i = 0; i < ig_mlm_count(m.get(), IG_PART_TRAIN); i++) {
      ASSERT_EQ(ig_mlm_sample(m.get(), epoch, i, &r), IG_OK);
      std::vector<int32_t> whole = r.whole();
      std::vector<int> in((size_t)r.n);
      for (int t = 0; t < r.n_masked; t++)
        in[(size_t)r.masked[t]] = 1;
      int maskable = 0;
      for (int t = 0; t < r.n; t++) {
        maskable += !special(whole[(size_t)t]);
        if (t && !special(whole[(size_t)t]) && !special(whole[(size_t)t - 1]) && continues(whole[(size_t)t])) {
          ASSERT_EQ(in[(size_t)t], in[(size_t)t - 1]) << "a word in part";
          several += in[(size_t)t];
        }
      }
      ASSERT_LE(r.n_masked, std::max(std::max(1, (int)std::lround(0.15 * maskable)), 3));
      if (maskable > 30)
        share += r.n_masked / (double)maskable, samples++;
    }
  EXPECT_GT(several, 1000);
  EXPECT_NEAR(share / samples, 0.15, 0.015);
}

TEST_F(MlmTest, SamplesDependOnSeedEpochAndNumberAlone) {
  Mlm m = make(IG_PAIR_NEXT, 64, 0.2), again = make(IG_PAIR_NEXT, 64, 0.2),
      other = make(IG_PAIR_NEXT, 64, 0.2, false, 8);
  Result a, b, c;
  size_t same_epoch = 0, same_seed = 0, n = 0;
  const uint64_t train = ig_mlm_count(m.get(), IG_PART_TRAIN), all = ig_mlm_count(m.get(), IG_PART_ALL);
  auto equal = [](const Result &x, const Result &y) {
    return x.n == y.n && x.next == y.next && x.n_masked == y.n_masked && std::equal(x.ids, x.ids + x.n, y.ids) &&
           std::equal(x.types, x.types + x.n, y.types) && std::equal(x.masked, x.masked + x.n_masked, y.masked) &&
           std::equal(x.labels, x.labels + x.n_masked, y.labels);
  };
  for (uint64_t i = all; i-- > 0; n++) {  // in another order than the other
    ASSERT_EQ(ig_mlm_sample(m.get(), 3, i, &a), IG_OK);
    ASSERT_EQ(ig_mlm_sample(again.get(), 3, all - 1 - i, &b), IG_OK);
    ASSERT_EQ(ig_mlm_sample(again.get(), 3, i, &b), IG_OK);
    ASSERT_TRUE(equal(a, b));
    ASSERT_EQ(ig_mlm_sample(m.get(), 4, i, &b), IG_OK);
    if (i >= train) {
      ASSERT_TRUE(equal(a, b)) << "validation samples are fixed";
    } else {
      same_epoch += equal(a, b);
    }
    if (i < ig_mlm_count(other.get(), IG_PART_ALL)) {
      ASSERT_EQ(ig_mlm_sample(other.get(), 3, i, &c), IG_OK);
      same_seed += equal(a, c);
    }
  }
  EXPECT_LT(same_epoch, n / 10) << "masks are drawn anew each epoch";
  EXPECT_LT(same_seed, n / 10);
  char f[3][65];
  ig_mlm_fingerprint(m.get(), f[0]);
  ig_mlm_fingerprint(again.get(), f[1]);
  ig_mlm_fingerprint(other.get(), f[2]);
  EXPECT_STREQ(f[0], f[1]);
  EXPECT_STRNE(f[0], f[2]);
}

TEST_F(MlmTest, TwoLengthsShareACorpus) {
  Mlm small = make(IG_PAIR_NEXT, 32, 0.1), large = make(IG_PAIR_NEXT, 128, 0.1);
  std::set<uint64_t> held[2];
  for (int k = 0; k < 2; k++) {
    const ig_mlm *m = k ? large.get() : small.get();
    for (uint64_t i = ig_mlm_count(m, IG_PART_TRAIN); i < ig_mlm_count(m, IG_PART_ALL); i++) {
      uint64_t first;
      int n;
      ig_mlm_chunk(m, i, &first, &n);
      held[k].insert(document(first));
    }
  }
  EXPECT_EQ(held[0], held[1]) << "the second phase holds the same documents out";
}

TEST_F(MlmTest, BatchesArePacked) {
  Mlm m = make(IG_PAIR_NEXT, 40);
  const int64_t rungs[] = {16, 96, 192, 240};
  const int batch = 6, n = 5, room = 240, k = batch * ig_mlm_max_masked(m.get());
  std::vector<int32_t> ids(room, 99), types(room, 99), positions(room, 99), cu(batch + 1), first(batch), masked(k),
      labels(k), next(batch, 9);
  std::vector<uint64_t> keys(room, 99);
  std::vector<float> mask_weights(k, 9), weights(batch, 9);
  ig_packed p = {};
  p.ids = ids.data(), p.types = types.data(), p.positions = positions.data(), p.row_keys = keys.data();
  p.cu_seqlens = cu.data(), p.first = first.data();
  p.masked = masked.data(), p.masked_labels = labels.data(), p.masked_weights = mask_weights.data();
  std::vector<ig_mlm_row> rows = {{3, 0, 100}, {1, 0, 101}, {0, 1, 102}, {9, 1, 103}, {3, 1, 104}};
  Result work, r;
  ASSERT_EQ(ig_mlm_fill(m.get(), rows.data(), n, batch, rungs, 4, &work, &p, next.data(), weights.data()), IG_OK);
  int64_t at = 0, seen = 0;
  for (int i = 0; i < n; i++) {
    ASSERT_EQ(ig_mlm_sample(m.get(), rows[(size_t)i].epoch, rows[(size_t)i].sample, &r), IG_OK);
    ASSERT_EQ(cu[(size_t)i], at);
    ASSERT_EQ(first[(size_t)i], at);
    for (int t = 0; t < r.n; t++, at++) {
      ASSERT_EQ(ids[(size_t)at], r.ids[t]);
      ASSERT_EQ(types[(size_t)at], r.types[t]);
      ASSERT_EQ(positions[(size_t)at], t);
      ASSERT_EQ(keys[(size_t)at], (uint64_t)rows[(size_t)i].position << 16 | (uint64_t)t);
    }
    for (int t = 0; t < r.n_masked; t++, seen++) {
      ASSERT_EQ(masked[(size_t)seen], cu[(size_t)i] + r.masked[t]);
      ASSERT_EQ(labels[(size_t)seen], r.labels[t]);
      ASSERT_EQ(mask_weights[(size_t)seen], 1);
    }
    ASSERT_EQ(next[(size_t)i], r.next);
    ASSERT_EQ(weights[(size_t)i], 1);
  }
  EXPECT_EQ(p.n_tokens, at);
  EXPECT_EQ(p.n_masked, seen);
  EXPECT_EQ(p.masked_capacity, k);
  EXPECT_EQ(p.capacity, *std::lower_bound(rungs, rungs + 4, at));
  EXPECT_EQ(ig_mlm_fill(m.get(), rows.data(), n, batch, rungs, 1, &work, &p, next.data(), weights.data()),
            IG_ERR_USAGE);
  EXPECT_EQ(cu[n], at);
  EXPECT_EQ(cu[batch], at);
  EXPECT_EQ(first[n], -1);
  EXPECT_EQ(weights[n], 0);
  EXPECT_EQ(next[n], 0);
  for (int64_t i = at; i < p.capacity; i++)
    ASSERT_TRUE(!ids[(size_t)i] && !types[(size_t)i] && !positions[(size_t)i] && !keys[(size_t)i]);
  for (int64_t i = seen; i < k; i++)
    ASSERT_TRUE(masked[(size_t)i] == -1 && mask_weights[(size_t)i] == 0);
}

TEST_F(MlmTest, RefusesWhatCannotBe) {
  ig_mlm *m = nullptr;
  auto refusal = [&](auto change) {
    ig_mlm_options o = ig_mlm_options_default();
    o.corpus = corpus.get();
    o.max_length = 32;
    change(o);
    ig_status status = ig_mlm_create(&o, &m);
    ig_mlm_destroy(m);
    return std::string(ig_status_name(status)) + ": " + ig_error_message();
  };
  using O = ig_mlm_options;
  EXPECT_EQ(refusal([](O &) {}).substr(0, 3), "ok:");
  EXPECT_NE(refusal([](O &o) { o.max_length = 4; }).find("usage: max_length=4"), std::string::npos);
  EXPECT_NE(refusal([](O &o) { o.mask_share = 0; }).find("usage: mask_share=0"), std::string::npos);
  EXPECT_NE(refusal([](O &o) { o.mask_share = NAN; }).find("usage"), std::string::npos);
  EXPECT_NE(refusal([](O &o) { o.random_token = 0.3; }).find("usage"), std::string::npos);
  EXPECT_NE(refusal([](O &o) { o.max_masked = 33; }).find("usage: max_masked=33"), std::string::npos);
  EXPECT_NE(refusal([](O &o) { o.val_share = 1; }).find("usage"), std::string::npos);
  EXPECT_NE(refusal([](O &o) { o.val_share = 0.999; }).find("data: the corpus has 60 documents"), std::string::npos);
  Result r;
  Mlm good = make(IG_PAIR_NONE, 32);
  EXPECT_EQ(ig_mlm_sample(good.get(), 0, ig_mlm_count(good.get(), IG_PART_ALL), &r), IG_ERR_USAGE);
  EXPECT_EQ(ig_mlm_sample(good.get(), -1, 0, &r), IG_ERR_USAGE);
  // One document: no pairs of different ones, but order and none.
  fs::create_directories(home / "one");
  put(home / "one/a.txt", "Zaaz lo ter. Zaaz ter. Zaaz.");
  Opener o;
  o.paths = {home / "one"};
  o.tokenizer = tokenizer.get();
  o.cache = home / "cache";
  ASSERT_EQ(o.open(&corpus), IG_OK);
  EXPECT_NE(refusal([](O &o) { o.val_share = 0; }).find("data: the corpus has 1 document; 2 are needed"),
            std::string::npos);
  EXPECT_EQ(refusal([](O &o) { o.val_share = 0, o.pair = IG_PAIR_ORDER; }).substr(0, 3), "ok:");
  // A tokenizer that is not BERT's.
  put(home / "plain.txt", "[UNK]\na\nb\n##a\n");
  ig_tokenizer *t = nullptr;
  if (ig_tokenizer_open((home / "plain.txt").c_str(), &t) == IG_OK) {
    put(home / "one/a.txt", "a b a.");
    o.tokenizer = t;
    ASSERT_EQ(o.open(&corpus), IG_OK);
    EXPECT_NE(
        refusal([](O &o) { o.val_share = 0, o.pair = IG_PAIR_NONE; }).find("mismatch: the tokenizer has no [CLS]"),
        std::string::npos);
    corpus.reset();
    ig_tokenizer_close(t);
  }
}

}  // namespace
