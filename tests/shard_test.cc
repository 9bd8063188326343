// floor: ig_ckpt
// NVIDIA's shards: written and read back, read by h5py, hostile ones refused.
#include <algorithm>
#include <cstdio>
#include <hdf5.h>
#include <zlib.h>

#include "runtime/ckpt/bert_shard.h"
#include "tests/fault_common.h"

using fault::put;
using fault::slurp;
namespace fs = std::filesystem;

namespace {

struct Shard : ig_bert_shard {
  Shard() : ig_bert_shard() {}
  ~Shard() { ig_bert_shard_fini(this); }
};

// n rows by rule: lengths 5 .. S, some without masked tokens.
void make(int n, int S, int P, Shard *s) {
  ASSERT_EQ(ig_bert_shard_init(n, S, P, s), IG_OK);
  for (int i = 0; i < n; i++) {
    const int length = 5 + i * 7 % (S - 4), first = 2 + i % (length - 3), masked = std::min(i % (P + 1), length - 2);
    for (int t = 0; t < length; t++) {
      s->input_ids[i * S + t] = 100 + (i * 31 + t * 17) % 30000;
      s->input_mask[i * S + t] = 1;
      s->segment_ids[i * S + t] = t >= first;
    }
    for (int k = 0; k < masked; k++) {
      s->masked_lm_positions[i * P + k] = k + 1;
      s->masked_lm_ids[i * P + k] = 1000 + k;
    }
    s->next_sentence_labels[i] = i % 3 == 0;
  }
}

bool equal(const ig_bert_shard &a, const ig_bert_shard &b) {
  const size_t t = (size_t)(a.n * a.length), m = (size_t)(a.n * a.max_masked);
  return a.n == b.n && a.length == b.length && a.max_masked == b.max_masked &&
         !memcmp(a.input_ids, b.input_ids, t * 4) && !memcmp(a.input_mask, b.input_mask, t) &&
         !memcmp(a.segment_ids, b.segment_ids, t) && !memcmp(a.masked_lm_positions, b.masked_lm_positions, m * 4) &&
         !memcmp(a.masked_lm_ids, b.masked_lm_ids, m * 4) &&
         !memcmp(a.next_sentence_labels, b.next_sentence_labels, (size_t)a.n);
}

class ShardTest : public ::testing::Test {
 protected:
  ShardTest() : home("ig_shard"), path(home / "training_0.hdf5") {}
  std::string refusal(const std::string &file) {
    Shard s;
    int32_t largest;
    ig_status status = ig_bert_shard_read(file.c_str(), &s, &largest);
    return std::string(ig_status_name(status)) + ": " + (status == IG_OK ? "" : ig_error_message());
  }
  fault::Folder home;
  std::string path;
};

TEST_F(ShardTest, WhatIsWrittenIsRead) {
  fault::Leaks leaks;
  for (int n : {1, 7, 3000})
    for (int S : {16, 128}) {
      Shard s, again;
      make(n, S, S == 16 ? 3 : 20, &s);
      ASSERT_EQ(ig_bert_shard_write(path.c_str(), &s), IG_OK) << ig_error_message();
      const std::string bytes = slurp(path);
      int32_t largest = 0;
      ASSERT_EQ(ig_bert_shard_read(path.c_str(), &again, &largest), IG_OK) << ig_error_message();
      EXPECT_TRUE(equal(s, again));
      EXPECT_EQ(largest, std::max(*std::max_element(s.input_ids, s.input_ids + (size_t)n * (size_t)S),
                                  n == 1 ? 0 : 1000 + s.max_masked - 1));
      ASSERT_EQ(ig_bert_shard_write(path.c_str(), &s), IG_OK);
      EXPECT_TRUE(slurp(path) == bytes) << "same rows, same bytes";
    }
  leaks.check();
}

TEST_F(ShardTest, AFolderIsOneTable) {
  Shard a, b;
  make(9, 32, 4, &a);
  make(5, 64, 6, &b);
  ASSERT_EQ(ig_bert_shard_write((home / "b_training.hdf5").c_str(), &b), IG_OK);
  ASSERT_EQ(ig_bert_shard_write((home / "a_training.hdf5").c_str(), &a), IG_OK);
  put(home / "validation.hdf5", "not read");
  EXPECT_TRUE(ig_is_bert_shards(home.path.c_str()));
  ig_bert_rows *rows = nullptr;
  ASSERT_EQ(ig_bert_rows_open(home.path.c_str(), 0, &rows), IG_OK) << ig_error_message();
  ASSERT_EQ(ig_bert_rows_count(rows), 14);
  EXPECT_EQ(ig_bert_rows_files(rows), 2u);
  EXPECT_LE(ig_bert_rows_longest(rows), 64);
  for (int i = 0; i < 14; i++) {
    const Shard &s = i < 9 ? a : b;
    const int k = i < 9 ? i : i - 9;
    ig_bert_row row;
    ig_bert_rows_get(rows, i, &row);
    ASSERT_TRUE(std::equal(row.ids, row.ids + row.n, s.input_ids + k * s.length));
    ASSERT_TRUE(row.n == s.length || s.input_mask[k * s.length + row.n] == 0);
    ASSERT_EQ(s.segment_ids[k * s.length + row.n_first - 1], 0);
    ASSERT_EQ(s.segment_ids[k * s.length + row.n_first], 1);
    ASSERT_EQ(row.next, s.next_sentence_labels[k]);
    ASSERT_TRUE(std::equal(row.masked, row.masked + row.n_masked, s.masked_lm_positions + k * s.max_masked));
    ASSERT_TRUE(std::equal(row.labels, row.labels + row.n_masked, s.masked_lm_ids + k * s.max_masked));
  }
  ig_bert_rows_close(rows);
  EXPECT_EQ(ig_bert_rows_open(home.path.c_str(), 200, &rows), IG_ERR_MISMATCH);
  fs::remove(home / "a_training.hdf5");
  fs::remove(home / "b_training.hdf5");
  EXPECT_FALSE(ig_is_bert_shards(home.path.c_str()));
  EXPECT_EQ(ig_bert_rows_open(home.path.c_str(), 0, &rows), IG_ERR_DATA);
  EXPECT_NE(strstr(ig_error_message(), "training"), nullptr) << ig_error_message();
  EXPECT_EQ(ig_bert_rows_open((home / "nowhere").c_str(), 0, &rows), IG_ERR_NOT_FOUND);
}

TEST_F(ShardTest, RowsThatCannotBeAreRefused) {
  auto with = [&](auto change) {
    Shard s;
    make(6, 16, 3, &s);
    change(s);
    EXPECT_EQ(ig_bert_shard_write(path.c_str(), &s), IG_OK);
    return refusal(path);
  };
  using S = Shard;
  EXPECT_EQ(with([](S &) {}), "ok: ");
  EXPECT_NE(with([](S &s) { s.input_ids[20] = -1; }).find("format: " + path + ": input_ids[1, 4] is -1"),
            std::string::npos);
  EXPECT_NE(with([](S &s) { s.input_mask[16] = 2; }).find("input_mask[1, 0] is 2"), std::string::npos);
  EXPECT_NE(with([](S &s) { s.input_mask[17] = 0; }).find("input_mask of row 1 is not ones and then zeros"),
            std::string::npos);
  EXPECT_NE(with([](S &s) { memset(s.input_mask + 32, 0, 16); }).find("input_mask of row 2"), std::string::npos);
  EXPECT_NE(with([](S &s) { s.segment_ids[48] = 1; }).find("segment_ids of row 3"), std::string::npos);
  EXPECT_NE(with([](S &s) { s.masked_lm_positions[7] = 15; }).find("masked_lm_positions of row 2"), std::string::npos);
  EXPECT_NE(
      with([](S &s) { s.masked_lm_positions[6] = s.masked_lm_positions[7]; }).find("masked_lm_positions of row 2"),
      std::string::npos);
  EXPECT_NE(with([](S &s) { s.masked_lm_positions[7] = 16; }).find("expected 0 to 15"), std::string::npos);
  EXPECT_NE(with([](S &s) { s.next_sentence_labels[5] = 3; }).find("next_sentence_labels[5, 0] is 3"),
            std::string::npos);
  Shard s;
  EXPECT_EQ(ig_bert_shard_init(4, 8, 9, &s), IG_ERR_USAGE);
}

// Files of other hands, made with libhdf5 here.
struct H5 {
  hid_t file;
  explicit H5(const std::string &path) : file(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT)) {}
  ~H5() { H5Fclose(file); }
  // Zeros (never written where not `written`), gzip where level >= 0.
  void put(const char *name, std::vector<hsize_t> dims, hid_t type, std::vector<hsize_t> chunk = {}, int level = 4,
           bool written = true) {
    hid_t space = H5Screate_simple((int)dims.size(), dims.data(), nullptr), dcpl = H5Pcreate(H5P_DATASET_CREATE);
    if (level >= 0) {
      H5Pset_chunk(dcpl, (int)dims.size(), chunk.empty() ? dims.data() : chunk.data());
      H5Pset_deflate(dcpl, (unsigned)level);
    }
    hid_t d = H5Dcreate2(file, name, type, space, H5P_DEFAULT, dcpl, H5P_DEFAULT);
    size_t n = 8;
    for (hsize_t k : dims)
      n *= (size_t)k;
    if (written) {
      std::vector<char> zeros(n);
      if (!strcmp(name, "input_mask"))
        for (size_t i = 0; i < n / 8 * 8; i++)
          zeros[i] = 1;
      H5Dwrite(d, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, zeros.data());
    }
    H5Dclose(d), H5Pclose(dcpl), H5Sclose(space);
  }
};

TEST_F(ShardTest, OthersFilesAreChecked) {
  auto rest = [](H5 &h, hsize_t n, hsize_t S, hsize_t P) {
    h.put("input_mask", {n, S}, H5T_NATIVE_SCHAR);
    h.put("segment_ids", {n, S}, H5T_NATIVE_SCHAR);
    h.put("masked_lm_positions", {n, P}, H5T_NATIVE_INT);
    h.put("masked_lm_ids", {n, P}, H5T_NATIVE_INT);
    h.put("next_sentence_labels", {n}, H5T_NATIVE_SCHAR);
  };
  {
    H5 h(path);
    h.put("input_ids", {4, 16}, H5T_NATIVE_INT);
    rest(h, 4, 16, 3);
  }
  EXPECT_EQ(refusal(path), "ok: ");
  {
    H5 h(path);
    h.put("input_ids", {4, 16}, H5T_NATIVE_INT, {}, -1);  // not packed, wider, and a stranger beside
    rest(h, 4, 16, 3);
    h.put("more", {1000, 1000}, H5T_NATIVE_DOUBLE);
  }
  EXPECT_EQ(refusal(path), "ok: ");
  {
    H5 h(path);
    h.put("input_ids", {4, 16}, H5T_NATIVE_DOUBLE);
    rest(h, 4, 16, 3);
  }
  EXPECT_NE(refusal(path).find("input_ids holds no whole numbers"), std::string::npos) << refusal(path);
  {
    H5 h(path);
    h.put("input_ids", {4, 16}, H5T_NATIVE_INT);
    rest(h, 5, 16, 3);
  }
  EXPECT_NE(refusal(path).find("expected 4 rows"), std::string::npos) << refusal(path);
  {
    H5 h(path);
    rest(h, 5, 16, 3);
  }
  EXPECT_NE(refusal(path).find("has no dataset input_ids"), std::string::npos) << refusal(path);
  {
    H5 h(path);
    h.put("input_ids", {4, 16, 1}, H5T_NATIVE_INT);
    rest(h, 4, 16, 3);
  }
  EXPECT_NE(refusal(path).find("has no dataset input_ids"), 0u);
  EXPECT_EQ(refusal(path).substr(0, 7), "format:");
}

TEST_F(ShardTest, BombsAreRefused) {
  {
    H5 h(path);  // promises a terabyte that was never written
    h.put("input_ids", {1u << 22, 65536}, H5T_NATIVE_INT, {1, 65536}, 9, false);
  }
  EXPECT_NE(refusal(path).find("promises more numbers"), std::string::npos) << refusal(path);
  {
    H5 h(path);  // 2.1 GB of zeros in 2 MB: the same packed chunk again and again
    const hsize_t dims[2] = {8320, 65536}, chunk[2] = {16, 65536};
    std::vector<uint8_t> zeros(16 * 65536 * 4), packed(65536);
    uLongf n = packed.size();
    ASSERT_EQ(compress2(packed.data(), &n, zeros.data(), zeros.size(), 9), Z_OK);
    hid_t space = H5Screate_simple(2, dims, nullptr), dcpl = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(dcpl, 2, chunk);
    H5Pset_deflate(dcpl, 9);
    hid_t d = H5Dcreate2(h.file, "input_ids", H5T_NATIVE_INT, space, H5P_DEFAULT, dcpl, H5P_DEFAULT);
    for (hsize_t at[2] = {0, 0}; at[0] < dims[0]; at[0] += 16)
      ASSERT_GE(H5Dwrite_chunk(d, H5P_DEFAULT, 0, at, n, packed.data()), 0);
    H5Dclose(d), H5Pclose(dcpl), H5Sclose(space);
  }
  EXPECT_NE(refusal(path).find("promises more numbers"), std::string::npos) << refusal(path);
  {
    H5 h(path);  // a chunk that is unpacked whole
    h.put("input_ids", {300, 65536}, H5T_NATIVE_INT, {300, 65536}, 1, false);
  }
  EXPECT_NE(refusal(path).find("chunks of more than 64 MiB"), std::string::npos) << refusal(path);
  {
    H5 h(path);
    H5Lcreate_external("/etc/passwd", "/", h.file, "input_ids", H5P_DEFAULT, H5P_DEFAULT);
  }
  EXPECT_NE(refusal(path).find("an external link"), std::string::npos) << refusal(path);
}

TEST_F(ShardTest, DamageNeverCrashes) {
  Shard s;
  make(40, 32, 5, &s);
  ASSERT_EQ(ig_bert_shard_write(path.c_str(), &s), IG_OK);
  const std::string good = slurp(path), bad = home / "training_bad.hdf5";
  size_t refused = 0, n = 0;
  for (size_t at = 0; at < good.size(); at += (size_t)fault::count(211, 13), n++) {
    std::string bytes = good;
    bytes[at] ^= (char)(1 << at % 8);
    put(bad, bytes);
    refused += refusal(bad).substr(0, 3) != "ok:";
  }
  for (size_t k : {0ul, 1ul, 8ul, 100ul, good.size() / 2, good.size() - 1}) {
    put(bad, good.substr(0, k));
    EXPECT_EQ(refusal(bad).substr(0, 7), "format:") << k;
  }
  EXPECT_GT(refused, n / 8);
  printf("%zu of %zu flipped bits refused, none crashed\n", refused, n);
}

TEST_F(ShardTest, FailingDisksAndMemoryAreErrors) {
  Shard s;
  make(20, 32, 5, &s);
  fault::Leaks leaks;
  for (int at = 1, struck = 1; struck; at++) {
    int seen = 0;
    struck = 0;
    fault::watch([&](const fault::Call &) { return ++seen == at ? (struck++, EIO) : 0; });
    ig_status status = ig_bert_shard_write(path.c_str(), &s);
    fault::watch(nullptr);
    if (status != IG_OK) {
      EXPECT_EQ(status, IG_ERR_IO) << ig_error_message();
    }
  }
  for (int64_t at = 1;; at++) {
    Shard again;
    int32_t largest;
    ig_mem_fail_after(at, 0);
    ig_status status = ig_bert_shard_read(path.c_str(), &again, &largest);
    ig_mem_fail_after(0, 0);
    if (status == IG_OK)
      break;
    EXPECT_TRUE(status == IG_ERR_MEMORY || status == IG_ERR_FORMAT) << ig_error_message();  // in the child: a refusal
    ASSERT_LT(at, 200);
  }
  leaks.check();
}

// Python's own reader, as the usual training script opens a shard.
TEST_F(ShardTest, H5pyReadsIt) {
  const char *source = getenv("INGOT_SOURCE");
  const std::string venv = std::string(source ? source : ".") + "/../main/.venv/bin/python";
  const std::string python = getenv("INGOT_PYTHON") ? getenv("INGOT_PYTHON") : fs::exists(venv) ? venv : "python3";
  if (system((python + " -c 'import h5py, numpy' 2> /dev/null").c_str()) != 0)
    GTEST_SKIP() << "h5py is not installed for " << python;
  Shard s;
  make(300, 32, 5, &s);
  ASSERT_EQ(ig_bert_shard_write(path.c_str(), &s), IG_OK);
  auto file = [&](const char *name, const void *p, size_t n) { put(home / name, std::string((const char *)p, n)); };
  const size_t t = (size_t)(s.n * s.length), m = (size_t)(s.n * s.max_masked);
  file("input_ids", s.input_ids, t * 4), file("input_mask", s.input_mask, t), file("segment_ids", s.segment_ids, t);
  file("masked_lm_positions", s.masked_lm_positions, m * 4), file("masked_lm_ids", s.masked_lm_ids, m * 4);
  file("next_sentence_labels", s.next_sentence_labels, (size_t)s.n);
  put(home / "check.py",
      "import sys, h5py, numpy as np\n"
      "f = h5py.File(sys.argv[1] + '/training_0.hdf5', 'r')\n"
      "types = {'input_ids': 'i4', 'input_mask': 'i1', 'segment_ids': 'i1', 'masked_lm_positions': 'i4',\n"
      "         'masked_lm_ids': 'i4', 'next_sentence_labels': 'i1'}\n"
      "assert sorted(f) == sorted(types), list(f)\n"
      "for name, t in types.items():\n"
      "  d = f[name]\n"
      "  assert d.dtype == t and d.compression == 'gzip', (name, d.dtype, d.compression)\n"
      "  assert (np.asarray(d[:]).ravel() == np.fromfile(sys.argv[1] + '/' + name, t)).all(), name\n"
      "assert f['input_ids'].shape == (300, 32) and f['next_sentence_labels'].shape == (300,)\n"
      "w = h5py.File(sys.argv[1] + '/training_py.hdf5', 'w')\n"
      "for name in types:\n"
      "  w.create_dataset(name, data=f[name][:], dtype=types[name], compression='gzip')\n"
      "w.close()\n");
  ASSERT_EQ(system((python + " " + (home / "check.py") + " " + home.path).c_str()), 0);
  Shard again;
  int32_t largest;
  ASSERT_EQ(ig_bert_shard_read((home / "training_py.hdf5").c_str(), &again, &largest), IG_OK) << ig_error_message();
  EXPECT_TRUE(equal(s, again)) << "and what h5py writes";
}

}  // namespace
