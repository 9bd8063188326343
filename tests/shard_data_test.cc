// floor: ig_train
// A corpus written as shards and read as a data set: the loader's batches hold the very samples.
#include <map>

#include "runtime/data/loader.h"
#include "runtime/train/shards.h"
#include "tests/corpus_common.h"

using namespace corpus;
namespace fs = std::filesystem;

namespace {

TEST(ShardData, WhatIsWrittenIsTrainedOn) {
  fault::Folder home("ig_shard_data");
  Tokenizer tokenizer = tokenizer_of(home.path);
  fs::create_directories(home / "text");
  fault::put(home / "text/a.txt", story(9, 120));
  Opener opener;
  opener.paths = {home / "text"};
  opener.tokenizer = tokenizer.get();
  opener.cache = home / "cache";
  Corpus c;
  ASSERT_EQ(opener.open(&c), IG_OK) << ig_error_message();
  fault::Leaks leaks;

  ig_mlm_options mo = ig_mlm_options_default();
  mo.corpus = c.get();
  mo.max_length = 40;
  mo.val_share = 0;
  ig_mlm *m = nullptr;
  ASSERT_EQ(ig_mlm_create(&mo, &m), IG_OK);
  const int64_t n = (int64_t)ig_mlm_count(m, IG_PART_ALL);

  const std::string folder = home / "shards";
  ig_shards_options so = {};
  so.size = sizeof so;
  so.mlm = m;
  so.out = folder.c_str();
  so.rows = 37;
  so.epochs = 2;
  so.seed = 1;
  ig_shards_written w;
  ASSERT_EQ(ig_shards_write(&so, &w), IG_OK) << ig_error_message();
  EXPECT_EQ(w.rows, 2 * n);
  EXPECT_EQ(w.files, (2 * n + 36) / 37);
  ig_shards_written none;
  EXPECT_EQ(ig_shards_write(&so, &none), IG_ERR_USAGE) << "a folder with shards";

  // All samples of both epochs, by their tokens.
  std::map<std::vector<int32_t>, int> expected;
  ig_mlm_result r = {};
  for (int64_t epoch = 0; epoch < 2; epoch++)
    for (int64_t i = 0; i < n; i++) {
      ASSERT_EQ(ig_mlm_sample(m, epoch, (uint64_t)i, &r), IG_OK);
      expected[std::vector<int32_t>(r.ids, r.ids + r.n)]++;
    }

  ig_bert_rows *rows = nullptr;
  ig_dataset *d = nullptr;
  ig_tokenizer_info info;
  ig_tokenizer_get_info(tokenizer.get(), &info);
  ASSERT_EQ(ig_shards_dataset(folder.c_str(), info.vocabulary, 0.1, 1, &rows, &d), IG_OK) << ig_error_message();
  EXPECT_EQ(d->kind, IG_DATASET_CORPUS);
  EXPECT_EQ((int64_t)d->n, 2 * n);
  EXPECT_NEAR((double)d->count[IG_PART_VAL], 0.2 * (double)n, 1);
  for (ig_part part : {IG_PART_TRAIN, IG_PART_VAL}) {
    ig_loader_options lo = {};
    lo.size = sizeof lo;
    lo.data = d;
    lo.part = part;
    lo.batch = 3;
    lo.threads = 2;
    ig_loader *l = nullptr;
    ASSERT_EQ(ig_loader_create(&lo, &l), IG_OK) << ig_error_message();
    for (const ig_batch *b;;) {
      ASSERT_EQ(ig_loader_next(l, &b), IG_OK);
      if (!b)
        break;
      for (int i = 0; i < b->n; i++) {
        const int32_t *ids = b->packed->ids;
        expected[std::vector<int32_t>(ids + b->packed->cu_seqlens[i], ids + b->packed->cu_seqlens[i + 1])]--;
      }
    }
    ig_loader_destroy(l);
  }
  for (auto &[ids, k] : expected)
    ASSERT_EQ(k, 0) << "a sample of " << ids.size() << " tokens";
  ig_dataset_close(d);
  ig_bert_rows_close(rows);
  EXPECT_EQ(ig_shards_dataset(folder.c_str(), 20, 0, 1, &rows, &d), IG_ERR_MISMATCH) << "another vocabulary";
  ig_mlm_result_fini(&r);
  ig_mlm_destroy(m);
  leaks.check();
}

}  // namespace
