// floor: ig_data
// Tokens of texts, packed batches and their capacities. Rule: what stands in a batch is compared with the texts one by
// one, and between runs that must agree.
#include "runtime/data/text_batch.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <map>
#include <set>
#include <string>
#include <unistd.h>
#include <vector>

#include "runtime/base/mem.h"
#include "runtime/data/loader.h"

namespace fs = std::filesystem;

namespace {

std::string data_folder() {
  const char *e = getenv("INGOT_DATA"), *s = getenv("INGOT_SOURCE");
  return e ? e : std::string(s ? s : ".") + "/../shared/data";
}

// Words a .. z are tokens of their own, "zz" is z and ##z.
const char *const vocabulary[] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "##z", "!"};
enum { PAD, UNK, CLS, SEP, MASK, SUB_Z, BANG, A };

class TextBatch : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/ingot_batch_XXXXXX";
    root = mkdtemp(name);
    live = ig_mem_live();
    std::ofstream v(root / "vocab.txt");
    for (auto t : vocabulary)
      v << t << "\n";
    for (char c = 'a'; c <= 'z'; c++)
      v << c << "\n";
    v.close();
    ASSERT_EQ(ig_tokenizer_open((root / "vocab.txt").c_str(), &tokenizer), IG_OK) << ig_error_message();
    o.size = sizeof o;
    o.text = o.needs_labels = true;
  }
  void TearDown() override {
    ig_dataset_close(d);
    ig_tokenizer_close(tokenizer);
    EXPECT_EQ(ig_mem_live(), live);
    fs::remove_all(root);
  }
  void open(const std::string &name, const std::string &bytes, int max_length = 64, int threads = 2) {
    ig_dataset_close(d);
    d = nullptr;
    path = (root / name).string();
    if (!bytes.empty())
      std::ofstream(path, std::ios::binary) << bytes;
    o.data = path.c_str();
    ASSERT_EQ(ig_dataset_open(&o, &d), IG_OK) << ig_error_message();
    ASSERT_EQ(ig_dataset_tokenize(d, tokenizer, max_length, threads), IG_OK) << ig_error_message();
  }
  // n texts of 1 to 40 words, pairs where asked.
  void make(int n, bool pairs = false, int words = 40) {
    std::string s = pairs ? "text,text2,label\n" : "text,label\n";
    for (int i = 0; i < n; i++) {
      for (int k = 0; k < 1 + (i * 7919) % words; k++)
        s += std::string(k ? " " : "") + char('a' + (i + k) % 26);
      if (pairs)
        s += std::string(",") + char('a' + i % 26) + " !";
      s += ",c" + std::to_string(i % 3) + "\n";
    }
    open("m.csv", s);
  }
  std::vector<int32_t> ids(size_t i) const {
    return {d->tokens->ids + d->tokens->start[i], d->tokens->ids + d->tokens->start[i + 1]};
  }
  ig_loader_options loader(bool train, int batch, int threads = 2) const {
    ig_loader_options l{};
    l.size = sizeof l;
    l.data = d;
    l.part = train ? IG_PART_TRAIN : IG_PART_ALL;
    l.train = train;
    l.batch = batch;
    l.seed = 3;
    l.threads = threads;
    l.max_unreadable = 0.01;
    return l;
  }

  fs::path root;
  std::string path;
  ig_tokenizer *tokenizer = nullptr;
  ig_dataset_options o{};
  ig_dataset *d = nullptr;
  int64_t live = 0;
};

// Everything of a batch as bytes.
std::string content(const ig_loader_options &o, const ig_batch *b) {
  size_t n = static_cast<size_t>(o.batch), rows = static_cast<size_t>(b->packed->capacity);
  const ig_packed *p = b->packed;
  std::string s;
  auto add = [&](const void *from, size_t bytes) { s.append(static_cast<const char *>(from), bytes); };
  add(b->labels, n * 4), add(b->second_labels, n * 4), add(b->lam, n * 4), add(b->weights, n * 4);
  add(b->samples, n * 8), add(&b->n, sizeof b->n), add(&b->epoch, 8), add(&b->position, 8);
  if (b->targets)
    add(b->targets, n * static_cast<size_t>(o.data->n_classes) * 4);
  add(&p->capacity, 8), add(&p->n_tokens, 8), add(p->ids, rows * 4), add(p->types, rows * 4);
  add(p->positions, rows * 4), add(p->row_keys, rows * 8), add(p->cu_seqlens, (n + 1) * 4), add(p->first, n * 4);
  if (p->labels)
    add(p->labels, rows * 4);
  return s;
}

std::vector<std::string> run(const ig_loader_options &o, int batches, int64_t seek = 0) {
  std::vector<std::string> out;
  ig_loader *l;
  EXPECT_EQ(ig_loader_create(&o, &l), IG_OK) << ig_error_message();
  if (seek) {
    EXPECT_EQ(ig_loader_seek(l, seek), IG_OK);
  }
  const ig_batch *b;
  for (int i = 0; i < batches; i++) {
    EXPECT_EQ(ig_loader_next(l, &b), IG_OK) << ig_error_message();
    if (!b)
      break;
    out.push_back(content(o, b));
  }
  ig_loader_destroy(l);
  return out;
}

// What a batch must be, worked out from the token table alone.
void check(const ig_loader_options &o, const ig_batch *b, bool train) {
  const ig_packed *p = b->packed;
  const ig_token_table *t = o.data->tokens;
  ASSERT_NE(p, nullptr);
  EXPECT_EQ(b->pictures, nullptr);
  EXPECT_EQ(b->aug, nullptr);
  EXPECT_EQ(b->partner, nullptr);
  EXPECT_EQ(p->masked, nullptr);
  EXPECT_EQ(p->n_masked, 0);
  int64_t at = 0;
  for (int i = 0; i < o.batch; i++) {
    ASSERT_EQ(p->cu_seqlens[i], at);
    bool real = train || i < b->n;
    EXPECT_EQ(b->weights[i], real ? 1 : 0);
    EXPECT_EQ(b->lam[i], 1);
    if (!real) {
      EXPECT_EQ(p->first[i], -1);
      EXPECT_EQ(b->labels[i], 0);
      continue;
    }
    size_t s = static_cast<size_t>(b->samples[i]);
    EXPECT_EQ(b->labels[i], std::max(0, o.data->samples[s].label));
    EXPECT_EQ(p->first[i], at);
    for (uint64_t k = 0; k < t->start[s + 1] - t->start[s]; k++, at++) {
      ASSERT_EQ(p->ids[at], t->ids[t->start[s] + k]);
      ASSERT_EQ(p->positions[at], static_cast<int32_t>(k));
      ASSERT_EQ(p->types[at], k >= t->second[s] ? 1 : 0);
      ASSERT_EQ(p->row_keys[at], static_cast<uint64_t>(b->position + i) << 16 | k);
      if (t->labels) {
        ASSERT_EQ(p->labels[at], t->labels[t->start[s] + k]);
      }
    }
  }
  EXPECT_EQ(p->cu_seqlens[o.batch], at);
  EXPECT_EQ(p->n_tokens, at);
  ASSERT_GE(p->capacity, at);
  for (; at < p->capacity; at++) {
    ASSERT_EQ(p->ids[at] | p->types[at] | p->positions[at], 0);
    ASSERT_EQ(p->row_keys[at], 0u);
    if (t->labels) {
      ASSERT_EQ(p->labels[at], -100);
    }
  }
}

TEST_F(TextBatch, TokensOfSinglesAndPairs) {
  open("m.csv", "text,text2,label\na zz,b,x\n\xff,c!,y\n", 8);
  const ig_token_table *t = d->tokens;
  ASSERT_NE(t, nullptr);
  EXPECT_EQ(ids(0), (std::vector<int32_t>{CLS, A, A + 25, SUB_Z, SEP, A + 1, SEP}));
  EXPECT_EQ(t->second[0], 5u);
  EXPECT_EQ(ids(1), (std::vector<int32_t>{CLS, SEP, A + 2, BANG, SEP}));  // U+FFFD is cleaned away
  EXPECT_EQ(t->second[1], 2u);
  EXPECT_EQ(d->n_invalid, 1u);
  EXPECT_EQ(d->texts[1].n_invalid, 1u);
  EXPECT_EQ(t->n_unknown, 0u);
  EXPECT_EQ(t->n_tokens, 6u);
  EXPECT_EQ(t->longest, 7);
  EXPECT_EQ(t->n_truncated, 0u);
  EXPECT_EQ(t->labels, nullptr);
  open("m.csv", "text,label\na b c d e f g h,x\n\xc3\xa9\xc3\x9f q,y\n", 5);
  EXPECT_EQ(ids(0), (std::vector<int32_t>{CLS, A, A + 1, A + 2, SEP}));
  EXPECT_EQ(d->tokens->second[0], 5u);  // none
  EXPECT_EQ(d->tokens->n_truncated, 1u);
  EXPECT_EQ(ids(1), (std::vector<int32_t>{CLS, UNK, A + 16, SEP}));
  EXPECT_EQ(d->tokens->n_unknown, 1u);
  EXPECT_EQ(d->tokens->max_length, 5);
}

TEST_F(TextBatch, WordsHaveTheirLabelAtTheirFirstToken) {
  open("m.conll", "zz B\na O\nzzz B\n\nb O\nc I\n", 64);
  ASSERT_EQ(d->task, IG_TASK_TAG);
  EXPECT_EQ(ids(0), (std::vector<int32_t>{CLS, A + 25, SUB_Z, A, A + 25, SUB_Z, SUB_Z, SEP}));
  const int32_t *l = d->tokens->labels;
  ASSERT_NE(l, nullptr);
  // B 0, I 1, O 2
  EXPECT_EQ(std::vector<int32_t>(l, l + 8), (std::vector<int32_t>{-100, 0, -100, 2, 0, -100, -100, -100}));
  EXPECT_EQ(std::vector<int32_t>(l + 8, l + 12), (std::vector<int32_t>{-100, 2, 1, -100}));
  auto lo = loader(false, 3);
  ig_loader *loader;
  const ig_batch *b;
  ASSERT_EQ(ig_loader_create(&lo, &loader), IG_OK) << ig_error_message();
  ASSERT_EQ(ig_loader_next(loader, &b), IG_OK);
  EXPECT_EQ(b->n, 2);
  check(lo, b, false);
  ig_loader_destroy(loader);
}

TEST_F(TextBatch, ThreadsChangeNoToken) {
  make(1500, true);
  ig_token_table *one = d->tokens;
  std::vector<int32_t> before(one->ids, one->ids + one->start[d->n]);
  std::vector<uint64_t> start(one->start, one->start + d->n + 1);
  uint64_t tokens = one->n_tokens;
  for (int threads : {1, 3, 8}) {
    ASSERT_EQ(ig_dataset_tokenize(d, tokenizer, 64, threads), IG_OK) << ig_error_message();
    EXPECT_EQ(before, std::vector<int32_t>(d->tokens->ids, d->tokens->ids + d->tokens->start[d->n]));
    EXPECT_EQ(start, std::vector<uint64_t>(d->tokens->start, d->tokens->start + d->n + 1));
    EXPECT_EQ(tokens, d->tokens->n_tokens);
  }
}

TEST_F(TextBatch, EachEpochHasEachSampleOnce) {
  make(101, true);
  auto lo = loader(true, 16);
  ig_loader *l;
  const ig_batch *b;
  ASSERT_EQ(ig_loader_create(&lo, &l), IG_OK) << ig_error_message();
  size_t n = d->count[IG_PART_TRAIN];
  std::vector<uint64_t> order;
  for (int i = 0; i < 20; i++) {
    ASSERT_EQ(ig_loader_next(l, &b), IG_OK);
    EXPECT_EQ(b->n, 16);
    EXPECT_EQ(b->position, i * 16);
    EXPECT_EQ(b->epoch, i * 16 / static_cast<int64_t>(n));
    check(lo, b, true);
    for (int k = 0; k < 16; k++) {
      EXPECT_EQ(b->samples[k], ig_loader_sample_at(l, b->position + k));
      EXPECT_EQ(d->samples[b->samples[k]].part, IG_PART_TRAIN);
      order.push_back(b->samples[k]);
    }
  }
  for (size_t e = 0; e < 3; e++)
    EXPECT_EQ(std::set<uint64_t>(order.begin() + e * n, order.begin() + (e + 1) * n).size(), n);
  EXPECT_FALSE(std::equal(order.begin(), order.begin() + n, order.begin() + n));
  ig_loader_destroy(l);
}

TEST_F(TextBatch, ThreadsAndSeekChangeNothing) {
  make(101);
  auto lo = loader(true, 7, 1);
  auto all = run(lo, 40);
  ASSERT_EQ(all.size(), 40u);
  lo.threads = 4;
  EXPECT_EQ(run(lo, 40), all);
  EXPECT_EQ(run(lo, 10, 30 * 7), std::vector<std::string>(all.begin() + 30, all.end()));
  lo.seed = 4;
  EXPECT_NE(run(lo, 40), all);
  // Far away, at once.
  auto far = run(lo, 1, int64_t{7} * 1000000000);
  lo.threads = 1;
  EXPECT_EQ(run(lo, 1, int64_t{7} * 1000000000), far);
}

TEST_F(TextBatch, EvaluationIsInOrderAndPadded) {
  make(50);
  auto lo = loader(false, 16);
  ig_loader *l;
  const ig_batch *b;
  ASSERT_EQ(ig_loader_create(&lo, &l), IG_OK) << ig_error_message();
  for (int round = 0; round < 2; round++) {
    uint64_t next = 0;
    for (int i = 0; i < 4; i++) {
      ASSERT_EQ(ig_loader_next(l, &b), IG_OK);
      ASSERT_NE(b, nullptr);
      EXPECT_EQ(b->n, i < 3 ? 16 : 2);
      check(lo, b, false);
      for (int k = 0; k < b->n; k++)
        EXPECT_EQ(b->samples[k], next++);
    }
    EXPECT_EQ(next, 50u);
    ASSERT_EQ(ig_loader_next(l, &b), IG_OK);
    EXPECT_EQ(b, nullptr);
    ASSERT_EQ(ig_loader_seek(l, 0), IG_OK);
  }
  ig_loader_destroy(l);
}

TEST_F(TextBatch, TargetsOfNumbers) {
  std::string s = "text,label\n";
  for (int i = 0; i < 20; i++)
    s += std::string(1, 'a' + i) + "," + std::to_string(i) + ".5\n";
  open("m.csv", s);
  ASSERT_EQ(d->task, IG_TASK_REGRESS);
  auto lo = loader(false, 16);
  ig_loader *l;
  const ig_batch *b;
  ASSERT_EQ(ig_loader_create(&lo, &l), IG_OK) << ig_error_message();
  for (int i = 0; i < 2; i++) {
    ASSERT_EQ(ig_loader_next(l, &b), IG_OK);
    for (int k = 0; k < 16; k++)
      EXPECT_FLOAT_EQ(b->targets[k], k < b->n ? i * 16 + k + 0.5f : 0);
  }
  ig_loader_destroy(l);
}

TEST_F(TextBatch, LadderHoldsEveryBatch) {
  for (int n : {3, 400}) {
    make(n);
    for (int batch : {1, 2, 5, 32}) {
      SCOPED_TRACE(std::to_string(n) + " " + std::to_string(batch));
      int64_t rungs[IG_MAX_RUNGS], again[IG_MAX_RUNGS];
      int count, count2;
      double waste = 1;
      ASSERT_EQ(ig_text_ladder(d, IG_PART_TRAIN, batch, 3, rungs, &count), IG_OK) << ig_error_message();
      ASSERT_EQ(ig_text_ladder(d, IG_PART_TRAIN, batch, 3, again, &count2), IG_OK);
      ASSERT_EQ(count, count2);
      ASSERT_GE(count, 1);
      ASSERT_LE(count, IG_MAX_RUNGS);
      EXPECT_TRUE(std::equal(rungs, rungs + count, again));
      for (int i = 0; i < count; i++) {
        EXPECT_EQ(rungs[i] % 16, 0);
        EXPECT_GT(rungs[i], i ? rungs[i - 1] : 0);
      }
      // The longest samples of the part, each as often as it can come.
      std::vector<int64_t> lengths;
      for (size_t i = 0; i < d->count[IG_PART_TRAIN]; i++) {
        size_t s = d->index[IG_PART_TRAIN][i];
        lengths.push_back(static_cast<int64_t>(d->tokens->start[s + 1] - d->tokens->start[s]));
      }
      std::sort(lengths.rbegin(), lengths.rend());
      int64_t longest = 0;
      for (int i = 0; i < batch && i < static_cast<int>(lengths.size()); i++)
        longest += lengths[i];
      EXPECT_GE(rungs[count - 1], longest);
      EXPECT_EQ(ig_text_waste(d, IG_PART_TRAIN, batch, 3, rungs, count, &waste), IG_OK) << ig_error_message();
      EXPECT_GE(waste, 0);
      if (batch >= 32 && n == 400) {
        EXPECT_LT(waste, 0.04);
      }
      // Batches of another seed fit, over all ends of epochs; the largest that there can be comes where there are few.
      int64_t most = 0;
      auto lo = loader(true, batch);
      lo.seed = 99;
      std::copy(rungs, rungs + count, lo.rungs);
      lo.n_rungs = count;
      ig_loader *l;
      const ig_batch *b;
      ASSERT_EQ(ig_loader_create(&lo, &l), IG_OK) << ig_error_message();
      for (int i = 0; i < (n == 3 ? 200 : 40); i++) {
        ASSERT_EQ(ig_loader_next(l, &b), IG_OK) << ig_error_message();
        int r = 0;
        while (rungs[r] < b->packed->n_tokens)
          r++;
        ASSERT_EQ(b->packed->capacity, rungs[r]);  // the least that holds it
        most = std::max(most, b->packed->n_tokens);
      }
      if (n == 3 && batch < 32) {
        EXPECT_EQ(rungs[count - 1], (most + 15) / 16 * 16);
      }
      ig_loader_destroy(l);
    }
  }
}

// No choice of as many capacities is better: all of them, for few distinct sums.
TEST_F(TextBatch, LadderIsTheBestOne) {
  std::string s = "text,label,split\n";
  for (int i = 0; i < 48; i++) {
    std::string t = "a";
    for (int k = 0; k < (i * i * 5) % 190; k++)
      t += " b";
    s += t + ",c" + std::to_string(i % 2) + (i % 24 < 22 ? ",train\n" : ",val\n");
  }
  open("m.csv", s, 256);
  int64_t rungs[IG_MAX_RUNGS];
  int n;
  double waste;
  ASSERT_EQ(ig_text_ladder(d, IG_PART_TRAIN, 1, 3, rungs, &n), IG_OK);
  ASSERT_EQ(ig_text_waste(d, IG_PART_TRAIN, 1, 3, rungs, n, &waste), IG_OK);
  std::set<int64_t> sums;
  for (size_t i = 0; i < d->count[IG_PART_TRAIN]; i++) {
    size_t k = d->index[IG_PART_TRAIN][i];
    sums.insert((static_cast<int64_t>(d->tokens->start[k + 1] - d->tokens->start[k]) + 15) / 16 * 16);
  }
  std::vector<int64_t> v(sums.begin(), sums.end());
  ASSERT_EQ(n, IG_MAX_RUNGS);
  ASSERT_GT(v.size(), static_cast<size_t>(IG_MAX_RUNGS));
  double best = 1;
  for (unsigned choice = 0; choice < 1u << (v.size() - 1); choice++) {
    if (__builtin_popcount(choice) != IG_MAX_RUNGS - 1)
      continue;
    std::vector<int64_t> r;
    for (size_t i = 0; i + 1 < v.size(); i++)
      if (choice >> i & 1)
        r.push_back(v[i]);
    r.push_back(v.back());
    double w;
    ASSERT_EQ(ig_text_waste(d, IG_PART_TRAIN, 1, 3, r.data(), IG_MAX_RUNGS, &w), IG_OK);
    best = std::min(best, w);
  }
  EXPECT_DOUBLE_EQ(waste, best);
}

TEST_F(TextBatch, WrongUse) {
  path = (root / "m.csv").string();
  std::ofstream(path) << "text,label\na b,x\nb,y\nc,x\nd,y\n";
  o.data = path.c_str();
  ASSERT_EQ(ig_dataset_open(&o, &d), IG_OK) << ig_error_message();
  auto lo = loader(true, 2);
  ig_loader *l;
  int64_t rungs[IG_MAX_RUNGS];
  int n;
  auto refuse = [&](ig_status found, const char *part) {
    EXPECT_EQ(found, IG_ERR_USAGE);
    EXPECT_NE(std::string(ig_error_message()).find(part), std::string::npos) << ig_error_message();
  };
  refuse(ig_loader_create(&lo, &l), "no tokens yet");
  refuse(ig_text_ladder(d, IG_PART_TRAIN, 2, 3, rungs, &n), "texts with their tokens");
  refuse(ig_dataset_tokenize(d, tokenizer, 2, 1), "max_length=2");
  refuse(ig_dataset_tokenize(d, tokenizer, 1 << 20, 1), "max_length=1048576");
  EXPECT_EQ(d->tokens, nullptr);
  ASSERT_EQ(ig_dataset_tokenize(d, tokenizer, 8, 1), IG_OK);
  lo.batch = 0;
  refuse(ig_loader_create(&lo, &l), "batch=0");
  lo.batch = 2;
  lo.n_rungs = 2;
  lo.rungs[0] = lo.rungs[1] = 16;
  refuse(ig_loader_create(&lo, &l), "ascending");
  lo.n_rungs = 9;
  refuse(ig_loader_create(&lo, &l), "9 capacities");
  lo.n_rungs = 1;
  lo.rungs[0] = 4;  // a pair of samples has 6 tokens at least
  const ig_batch *b;
  ASSERT_EQ(ig_loader_create(&lo, &l), IG_OK) << ig_error_message();
  refuse(ig_loader_next(l, &b), "larger than the last capacity (4)");
  ig_loader_destroy(l);
}

TEST_F(TextBatch, AnyAllocationMayFail) {
  make(30);
  for (int64_t k = 1;; k++) {
    ASSERT_LT(k, 3000);
    ig_mem_fail_after(k, 0);
    int64_t asked = ig_mem_asked();
    ig_loader *l = nullptr;
    const ig_batch *b;
    ig_status s = ig_dataset_tokenize(d, tokenizer, 64, 1);
    auto lo = loader(true, 4, 1);
    if (s == IG_OK)
      s = ig_loader_create(&lo, &l);
    if (s == IG_OK)
      s = ig_loader_next(l, &b);
    asked = ig_mem_asked() - asked;
    ig_mem_fail_after(0, 0);
    ASSERT_TRUE(s == IG_OK || s == IG_ERR_MEMORY) << k << ": " << ig_error_message();
    ig_loader_destroy(l);
    if (s == IG_OK && asked < k)
      break;
  }
}

// The waste that docs state.
TEST_F(TextBatch, WasteOfRealTexts) {
  std::string vocab = data_folder() + "/bert_vocab/bert-base-uncased.vocab.txt";
  if (!fs::exists(vocab) || !fs::exists(data_folder() + "/banking77"))
    GTEST_SKIP() << "no " << vocab << " or no banking77";
  ig_tokenizer *real;
  ASSERT_EQ(ig_tokenizer_open(vocab.c_str(), &real), IG_OK) << ig_error_message();
  for (std::string name : {"banking77", "sst2"}) {
    ig_dataset_close(d);
    d = nullptr;
    path = data_folder() + "/" + name;
    o.data = path.c_str();
    ASSERT_EQ(ig_dataset_open(&o, &d), IG_OK) << ig_error_message();
    ASSERT_EQ(ig_dataset_tokenize(d, real, 128, 2), IG_OK) << ig_error_message();
    EXPECT_EQ(d->n_invalid, 0u);
    for (int batch : {16, 32, 64}) {
      int64_t rungs[IG_MAX_RUNGS];
      int n;
      double waste;
      ASSERT_EQ(ig_text_ladder(d, IG_PART_TRAIN, batch, 0, rungs, &n), IG_OK) << ig_error_message();
      ASSERT_EQ(ig_text_waste(d, IG_PART_TRAIN, batch, 0, rungs, n, &waste), IG_OK);
      printf("%s batch %d: waste %.2f %%, capacities", name.c_str(), batch, 100 * waste);
      for (int i = 0; i < n; i++)
        printf(" %lld", static_cast<long long>(rungs[i]));
      printf("\n");
      EXPECT_LT(waste, batch == 16 ? 0.065 : batch == 32 ? 0.045 : 0.035);
    }
  }
  ig_tokenizer_close(real);
}

}  // namespace
