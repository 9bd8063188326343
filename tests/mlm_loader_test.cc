// floor: ig_data
// Batches for pre-training through the loader: the same bits for any number of threads and after any seek; a corpus and
// given samples as data sets.
#include <algorithm>
#include <cmath>
#include <map>

#include "runtime/data/loader.h"
#include "runtime/data/mlm.h"
#include "runtime/data/text_batch.h"
#include "tests/corpus_common.h"

using namespace corpus;
using fault::put;
namespace fs = std::filesystem;

namespace {

struct DatasetFree {
  void operator()(ig_dataset *d) const { ig_dataset_close(d); }
};
using Dataset = std::unique_ptr<ig_dataset, DatasetFree>;
struct LoaderFree {
  void operator()(ig_loader *l) const { ig_loader_destroy(l); }
};
using Loader = std::unique_ptr<ig_loader, LoaderFree>;

// All bytes of a batch that count.
std::string bytes_of(const ig_batch *b, int batch) {
  const ig_packed *p = b->packed;
  std::string s;
  auto add = [&](const void *data, size_t n) { s.append((const char *)data, n); };
  add(&b->n, 4), add(&b->position, 8), add(&b->epoch, 8);
  add(b->labels, 4 * (size_t)batch), add(b->weights, 4 * (size_t)batch), add(b->samples, 8 * (size_t)batch);
  add(&p->capacity, 8), add(&p->n_tokens, 8), add(&p->n_masked, 8);
  add(p->ids, 4 * (size_t)p->capacity), add(p->types, 4 * (size_t)p->capacity);
  add(p->positions, 4 * (size_t)p->capacity), add(p->row_keys, 8 * (size_t)p->capacity);
  add(p->cu_seqlens, 4 * (size_t)(batch + 1)), add(p->first, 4 * (size_t)batch);
  add(p->masked, 4 * (size_t)p->masked_capacity), add(p->masked_labels, 4 * (size_t)p->masked_capacity);
  add(p->masked_weights, 4 * (size_t)p->masked_capacity);
  return s;
}

class MlmLoaderTest : public ::testing::Test {
 protected:
  MlmLoaderTest() : home("ig_mlm_loader"), tokenizer(tokenizer_of(home.path)) {
    fs::create_directories(home / "text");
    put(home / "text/a.txt", story(5, 150));
    ig_dataset_options o = options();
    ig_dataset *d = nullptr;
    EXPECT_EQ(ig_dataset_open(&o, &d), IG_OK) << ig_error_message();
    data.reset(d);
    EXPECT_EQ(ig_dataset_mlm(d, samples(48)), IG_OK) << ig_error_message();
  }
  ig_dataset_options options() {
    ig_dataset_options o = {};
    o.size = sizeof o;
    path = home / "text";
    cache = home / "cache";
    o.data = path.c_str();
    o.text = true;
    o.task = IG_TASK_MLM;
    o.tokenizer = tokenizer.get();
    o.cache = cache.c_str();
    o.threads = 2;
    return o;
  }
  const ig_mlm_options *samples(int length) {
    mlm = ig_mlm_options_default();
    mlm.max_length = length;
    mlm.val_share = 0.1;
    return &mlm;
  }
  Loader loader(bool train, int batch, int threads, const ig_mlm *other = nullptr) {
    ig_loader_options o = {};
    o.size = sizeof o;
    o.data = data.get();
    o.part = train ? IG_PART_TRAIN : IG_PART_VAL;
    o.train = train;
    o.batch = batch;
    o.threads = threads;
    o.seed = 3;
    o.mlm = other;
    ig_loader *l = nullptr;
    EXPECT_EQ(ig_loader_create(&o, &l), IG_OK) << ig_error_message();
    return Loader(l);
  }
  fault::Folder home;
  Tokenizer tokenizer;
  std::string path, cache;
  Dataset data;
  ig_mlm_options mlm;
};

TEST_F(MlmLoaderTest, SameBitsForAnyThreadsAndAfterASeek) {
  const int batch = 7;
  std::vector<std::string> batches;
  std::map<uint64_t, int> seen;
  const int64_t n = (int64_t)data->count[IG_PART_TRAIN];
  ASSERT_GT(n, 50);
  Loader l = loader(true, batch, 1);
  for (int64_t k = 0; k * batch < 2 * n; k++) {
    const ig_batch *b;
    ASSERT_EQ(ig_loader_next(l.get(), &b), IG_OK) << ig_error_message();
    ASSERT_EQ(b->position, k * batch);
    ASSERT_EQ(b->epoch, k * batch / n);
    ASSERT_EQ(b->pictures, nullptr);
    batches.push_back(bytes_of(b, batch));
    for (int i = 0; i < batch; i++) {
      ASSERT_EQ(b->samples[i], ig_loader_sample_at(l.get(), b->position + i));
      ASSERT_LT(b->samples[i], (uint64_t)n);
      if (b->position + i < n)
        seen[b->samples[i]]++;
    }
  }
  EXPECT_EQ((int64_t)seen.size(), n) << "an epoch has every sample once";
  for (int threads : {2, 5}) {
    Loader other = loader(true, batch, threads);
    for (auto &expected : batches) {
      const ig_batch *b;
      ASSERT_EQ(ig_loader_next(other.get(), &b), IG_OK);
      ASSERT_TRUE(bytes_of(b, batch) == expected) << threads << " threads";
    }
    for (size_t k : {5ul, 1ul, batches.size() - 1}) {
      const ig_batch *b;
      ASSERT_EQ(ig_loader_seek(other.get(), (int64_t)k * batch), IG_OK);
      ASSERT_EQ(ig_loader_next(other.get(), &b), IG_OK);
      ASSERT_TRUE(bytes_of(b, batch) == batches[k]) << "after a seek to " << k;
    }
  }
}

TEST_F(MlmLoaderTest, BatchesHoldTheirSamples) {
  const int batch = 5;
  for (bool train : {true, false}) {
    Loader l = loader(train, batch, 2);
    const int64_t n = (int64_t)data->count[train ? IG_PART_TRAIN : IG_PART_VAL];
    ig_mlm_result r = {};
    int64_t seen = 0;
    for (int64_t k = 0;; k++) {
      const ig_batch *b;
      ASSERT_EQ(ig_loader_next(l.get(), &b), IG_OK);
      if (!b || (train && b->epoch == 2))
        break;
      ASSERT_EQ(b->n, train ? batch : (int)std::min<int64_t>(batch, n - k * batch));
      for (int i = 0; i < batch; i++) {
        const ig_packed *p = b->packed;
        const int64_t from = p->cu_seqlens[i], to = p->cu_seqlens[i + 1];
        if (i >= b->n) {
          ASSERT_TRUE(b->weights[i] == 0 && from == to && p->first[i] == -1);
          continue;
        }
        const int64_t place = b->position + i;
        ASSERT_EQ(b->samples[i], train ? b->samples[i] : data->count[IG_PART_TRAIN] + (uint64_t)place);
        ASSERT_EQ(ig_mlm_sample(data->mlm, place / n, b->samples[i], &r), IG_OK);
        ASSERT_EQ(to - from, r.n);
        ASSERT_TRUE(std::equal(r.ids, r.ids + r.n, p->ids + from)) << "position " << place;
        ASSERT_EQ(b->labels[i], r.next);
        ASSERT_EQ(p->row_keys[from + 1], (uint64_t)place << 16 | 1);
        seen++;
      }
      ASSERT_LE(b->packed->n_tokens, b->packed->capacity);
    }
    EXPECT_TRUE(train || seen == n);
    ig_mlm_result_fini(&r);
  }
}

TEST_F(MlmLoaderTest, TwoPhasesAreTwoLoadersOverOneCorpus) {
  ig_mlm *longer = nullptr;
  ig_mlm_options o = *samples(200);
  o.corpus = data->corpus;
  ASSERT_EQ(ig_mlm_create(&o, &longer), IG_OK);
  Loader l = loader(true, 4, 2, longer);
  const ig_batch *b;
  int64_t most = 0;
  for (int i = 0; i < 40; i++) {
    ASSERT_EQ(ig_loader_next(l.get(), &b), IG_OK);
    most = std::max(most, b->packed->n_tokens);
    ASSERT_EQ(b->epoch, b->position / (int64_t)ig_mlm_count(longer, IG_PART_TRAIN));
  }
  EXPECT_GT(most, 4 * 48) << "batches of the longer samples";
  l.reset();
  ig_mlm_destroy(longer);
}

TEST_F(MlmLoaderTest, CapacitiesFitAndWasteLittle) {
  Loader l = loader(true, 8, 2);
  double rows = 0, real = 0;
  for (int i = 0; i < 300; i++) {
    const ig_batch *b;
    ASSERT_EQ(ig_loader_next(l.get(), &b), IG_OK) << ig_error_message();
    rows += (double)b->packed->capacity, real += (double)b->packed->n_tokens;
  }
  EXPECT_LT(1 - real / rows, 0.12);
}

TEST_F(MlmLoaderTest, DataSetsOfACorpus) {
  EXPECT_EQ(data->kind, IG_DATASET_CORPUS);
  EXPECT_EQ(data->task, IG_TASK_MLM);
  EXPECT_EQ(data->samples, nullptr);
  EXPECT_EQ(data->n_classes, 0);
  EXPECT_EQ(data->n, data->count[IG_PART_TRAIN] + data->count[IG_PART_VAL]);
  EXPECT_GT(data->count[IG_PART_VAL], 0u);
  EXPECT_EQ(data->count[IG_PART_TEST], 0u);
  EXPECT_EQ(strlen(data->fingerprint), 64u);
  ig_dataset *d = nullptr;
  ig_dataset_options o = options();
  o.tokenizer = nullptr;
  EXPECT_EQ(ig_dataset_open(&o, &d), IG_ERR_USAGE);
  EXPECT_NE(strstr(ig_error_message(), "tokenizer="), nullptr) << ig_error_message();
  o = options();
  o.val = path.c_str();
  EXPECT_EQ(ig_dataset_open(&o, &d), IG_ERR_USAGE);
  o = options();
  o.data = "/nowhere";
  EXPECT_EQ(ig_dataset_open(&o, &d), IG_ERR_NOT_FOUND);
  // Without samples no loader.
  o = options();
  ASSERT_EQ(ig_dataset_open(&o, &d), IG_OK);
  Dataset bare(d);
  ig_loader_options lo = {};
  lo.size = sizeof lo;
  lo.data = d;
  lo.batch = lo.threads = 1;
  ig_loader *l = nullptr;
  EXPECT_NE(ig_loader_create(&lo, &l), IG_OK);
  EXPECT_GT(strlen(ig_error_message()), 10u);
}

struct Given {
  std::vector<std::vector<int32_t>> ids, masked, labels;
  static void get(const void *state, uint64_t i, ig_mlm_given_row *row) {
    const Given *g = (const Given *)state;
    const auto &t = g->ids[i];
    *row = {(int)t.size(), (int)t.size() / 2,   (int)g->masked[i].size(), (int32_t)(i % 2),
            t.data(),      g->masked[i].data(), g->labels[i].data()};
  }
};

TEST_F(MlmLoaderTest, GivenSamplesAreADataSetToo) {
  Given g;
  for (int i = 0; i < 41; i++) {
    g.ids.push_back(std::vector<int32_t>((size_t)(3 + i % 9), i));
    g.masked.push_back(i % 4 ? std::vector<int32_t>{1} : std::vector<int32_t>{});
    g.labels.push_back(std::vector<int32_t>(g.masked.back().size(), 1000 + i));
  }
  ig_mlm_given given = {};
  given.size = sizeof given;
  given.state = &g;
  given.n = 41;
  given.get = Given::get;
  given.longest = 11;
  given.max_masked = 1;
  given.pairs = true;
  given.val_share = 0.1;
  given.fingerprint = "f";
  ig_mlm *m = nullptr;
  ASSERT_EQ(ig_mlm_create_given(&given, &m), IG_OK) << ig_error_message();
  ig_dataset *d = nullptr;
  ASSERT_EQ(ig_dataset_of_mlm("shards", "0123", m, &d), IG_OK);
  data.reset(d);
  EXPECT_EQ(d->count[IG_PART_VAL], 4u);
  EXPECT_EQ(d->count[IG_PART_TRAIN], 37u);
  std::map<int32_t, int> seen;
  for (bool train : {true, false}) {
    Loader l = loader(train, 4, 2);
    for (;;) {
      const ig_batch *b;
      ASSERT_EQ(ig_loader_next(l.get(), &b), IG_OK) << ig_error_message();
      if (!b || b->position >= (int64_t)d->count[IG_PART_TRAIN])
        break;
      const ig_packed *p = b->packed;
      int64_t masked = 0;
      for (int i = 0; i < b->n; i++) {
        const int32_t row = p->ids[p->first[i]];
        const int n = p->cu_seqlens[i + 1] - p->cu_seqlens[i];
        ASSERT_EQ(n, 3 + row % 9);
        ASSERT_EQ(p->types[p->first[i] + n / 2], 1);
        ASSERT_EQ(p->types[p->first[i] + n / 2 - 1], 0);
        ASSERT_EQ(b->labels[i], row % 2);
        if (row % 4) {
          ASSERT_EQ(p->masked[masked], p->first[i] + 1);
          ASSERT_EQ(p->masked_labels[masked++], 1000 + row);
        }
        seen[row] += b->position + i < (int64_t)d->count[train ? IG_PART_TRAIN : IG_PART_VAL];
      }
      ASSERT_EQ(p->n_masked, masked);
    }
  }
  EXPECT_EQ(seen.size(), 41u) << "the parts are all rows, each once";
  EXPECT_TRUE(ig_mlm_can_mask(m, IG_PART_TRAIN) && ig_mlm_can_mask(m, IG_PART_VAL));
  for (auto &masked : g.masked)
    masked.clear();
  EXPECT_FALSE(ig_mlm_can_mask(m, IG_PART_TRAIN) || ig_mlm_can_mask(m, IG_PART_ALL));
  for (auto &[row, k] : seen)
    EXPECT_EQ(k, 1) << row;
}

TEST_F(MlmLoaderTest, MaskedRowsHoldEveryBatch) {
  int64_t closest = 100;
  for (int length : {8, 48})
    for (double share : {0.01, 0.15, 0.5})
      for (int batch : {1, 5, 16}) {
        ig_mlm_options o = *samples(length);
        o.mask_share = share;
        ASSERT_EQ(ig_dataset_mlm(data.get(), &o), IG_OK) << ig_error_message();
        const int64_t most = (int64_t)batch * ig_mlm_max_masked(data->mlm);
        Loader l = loader(true, batch, 1);
        for (const ig_batch *b;;) {
          ASSERT_EQ(ig_loader_next(l.get(), &b), IG_OK);
          if (b->position >= (int64_t)data->count[IG_PART_TRAIN])
            break;
          const int64_t rows = ig_text_masked_rows(data.get(), batch, b->packed->n_tokens);
          ASSERT_LE(b->packed->n_masked, rows) << length << " " << share << " " << batch;
          ASSERT_LE(rows, most);
          closest = std::min(closest, rows - b->packed->n_masked);
        }
        l.reset();
        o.whole_word = true;  // one word may be more than the share
        ASSERT_EQ(ig_dataset_mlm(data.get(), &o), IG_OK) << ig_error_message();
        EXPECT_EQ(ig_text_masked_rows(data.get(), batch, 16), most);
      }
  EXPECT_EQ(closest, 0) << "no room for nothing";
  ASSERT_EQ(ig_dataset_mlm(data.get(), samples(48)), IG_OK);
  EXPECT_EQ(ig_text_masked_rows(data.get(), 16, 384), 80) << "57 of 384 and one a sample, in eights; 128 without";
}

TEST_F(MlmLoaderTest, AnyAllocationMayFail) {
  fault::Leaks leaks;
  for (int64_t at = 1;; at++) {
    ig_loader_options o = {};
    o.size = sizeof o;
    o.data = data.get();
    o.train = true;
    o.batch = 4;
    o.threads = 1;
    ig_loader *l = nullptr;
    const ig_batch *b;
    ig_mem_fail_after(at, 0);
    ig_status status = ig_loader_create(&o, &l);
    if (status == IG_OK)
      status = ig_loader_next(l, &b);
    ig_mem_fail_after(0, 0);
    ig_loader_destroy(l);
    if (status == IG_OK)
      break;
    ASSERT_EQ(status, IG_ERR_MEMORY) << ig_error_message();
    ASSERT_LT(at, 2000);
  }
  leaks.check();
}

}  // namespace
