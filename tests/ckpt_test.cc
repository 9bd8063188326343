// floor: ig_ckpt
// Checkpoints: what was saved comes back bit for bit; whatever fails, is killed, cut or flipped, an older one stays.
#include <algorithm>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <functional>
#include <gtest/gtest.h>
#include <hdf5.h>
#include <jansson.h>
#include <random>
#include <set>
#include <signal.h>
#include <string>
#include <sys/file.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include "runtime/ckpt/checkpoint.h"
#include "runtime/ckpt/lock.h"

extern "C" {
#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
}

namespace fs = std::filesystem;
using Names = std::set<std::string>;

static bool has(const std::string &text, const std::string &part) { return text.find(part) != std::string::npos; }
static std::string slurp(const std::string &path) {
  std::ifstream in(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(in), {});
}
static void put(const std::string &path, const std::string &bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), (std::streamsize)bytes.size());
}
static size_t open_files() {
  size_t n = 0;
  for (auto &entry : fs::directory_iterator("/proc/self/fd"))
    n += entry.exists() || true;
  return n;
}

// A small model's state that is a function of the step.
struct State {
  explicit State(int64_t step) : conv(16 * 27), bias(7), mean(7), m(16 * 27 + 7), ema(7), half(5), batches(step) {
    std::mt19937 random((unsigned)step);
    for (auto *v : {&conv, &bias, &mean, &m, &ema})
      for (float &x : *v)
        x = (float)random() * 1e-9f - 2;
    for (auto &h : half)
      h = (uint16_t)(random() & 0x7bff);
    json = "{\"position\":" + std::to_string(step * 128) + ",\"text\":\"\xc3\xa9\"}";
  }
  std::vector<ig_ckpt_tensor> list() const {
    return {
        {"conv1.weight", IG_F32, 4, {16, 3, 3, 3}, conv.data(), "weights", 0},
        {"fc/bias:0", IG_F32, 1, {7}, bias.data(), "weights", 0},
        {"bn1.running_mean", IG_F32, 1, {7}, mean.data(), "state", 0},
        {"bn1.num_batches_tracked", IG_I64, 0, {}, &batches, "state", 0},
        {"m/flat", IG_F32, 1, {(int64_t)m.size()}, m.data(), "moments", 0},
        {"fc/bias:0", IG_F32, 1, {7}, ema.data(), "ema", 0},
        {"fp16", IG_F16, 1, {5}, half.data(), "extra", 0},
        {"bf16", IG_BF16, 1, {5}, half.data(), "extra", 0},
        {"empty", IG_F32, 2, {0, 3}, nullptr, "extra", 0},
    };
  }
  std::vector<float> conv, bias, mean, m, ema;
  std::vector<uint16_t> half;
  int64_t batches;
  std::string json;
};

static void collect(void *user, const char *text) { ((std::vector<std::string> *)user)->push_back(text); }

class Ckpt : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/ig_ckpt_XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    run = name;
    folder = (run / "checkpoints").string();
    live = ig_mem_live();
    files = open_files();
  }
  void TearDown() override {
    ig_fileops_set(nullptr);
    ig_mem_fail_after(0, 0);
    EXPECT_EQ(ig_mem_live(), live) << "memory leak";
    EXPECT_EQ(open_files(), files) << "file descriptor leak";
    EXPECT_EQ(H5Fget_obj_count((hid_t)H5F_OBJ_ALL, H5F_OBJ_ALL), 0) << "HDF5 objects left open";
    fs::remove_all(run);
  }
  ig_ckpt_save_options options(int64_t step) const {
    ig_ckpt_save_options o = {};
    o.folder = folder.c_str();
    o.step = step;
    o.run_uuid = "123e4567-e89b-12d3-a456-426614174000";
    o.config_hash = "c0ffee";
    o.protect = -1;
    o.warn = collect;
    o.warn_user = (void *)&warnings;
    return o;
  }
  ig_status save(int64_t step) const {
    State state(step);
    auto list = state.list();
    auto o = options(step);
    o.state_json = state.json.c_str();
    return ig_ckpt_save(&o, list.data(), list.size());
  }
  std::string step_path(int64_t step) const { return folder + "/step-" + std::to_string(step); }
  Names names() const {
    Names all;
    if (fs::exists(folder))
      for (auto &entry : fs::directory_iterator(folder))
        all.insert(entry.path().filename().string());
    return all;
  }
  // Everything in the reader is what State(step) holds.
  static void expect_state(ig_ckpt_reader *r, int64_t step) {
    State state(step);
    ASSERT_EQ(ig_ckpt_step(r), step);
    EXPECT_STREQ(ig_ckpt_state_json(r), state.json.c_str());
    EXPECT_STREQ(ig_ckpt_run_uuid(r), "123e4567-e89b-12d3-a456-426614174000");
    EXPECT_STREQ(ig_ckpt_config_hash(r), "c0ffee");
    auto list = state.list();
    ASSERT_EQ(ig_ckpt_count(r), list.size());
    for (auto &t : list) {
      const ig_ckpt_entry *e = ig_ckpt_find(r, t.group, t.name);
      ASSERT_NE(e, nullptr) << t.name;
      EXPECT_EQ(e->dtype, t.dtype);
      ASSERT_EQ(e->n_dims, t.n_dims);
      for (int i = 0; i < t.n_dims; i++)
        EXPECT_EQ(e->dims[i], t.dims[i]);
      std::vector<uint8_t> bytes((size_t)e->n * ig_dtype_bytes(t.dtype) + 1, 0xee);
      ASSERT_EQ(ig_ckpt_read(r, t.group, t.name, bytes.data(), bytes.size() - 1), IG_OK) << ig_error_message();
      if (t.data) {
        EXPECT_EQ(memcmp(bytes.data(), t.data, bytes.size() - 1), 0) << t.name;
      }
      EXPECT_EQ(bytes.back(), 0xee);
    }
  }
  void expect_valid(int64_t step) const {
    ig_ckpt_reader *r = nullptr;
    ASSERT_EQ(ig_ckpt_open(step_path(step).c_str(), &r), IG_OK) << ig_error_message();
    expect_state(r, step);
    ig_ckpt_close(r);
  }
  // Opening is refused; returns the message.
  static std::string refusal(const std::string &path, ig_status expected = IG_ERR_FORMAT) {
    ig_ckpt_reader *r = nullptr;
    ig_status status = ig_ckpt_open(path.c_str(), &r);
    EXPECT_EQ(status, expected) << path << ": " << ig_error_message();
    EXPECT_EQ(r, nullptr);
    ig_ckpt_close(r);
    return ig_error_message();
  }
  int64_t latest(std::vector<std::string> *said = nullptr) const {
    ig_ckpt_reader *r = nullptr;
    if (ig_ckpt_open_latest(folder.c_str(), &r, said ? collect : nullptr, said) != IG_OK)
      return -1;
    int64_t step = ig_ckpt_step(r);
    expect_state(r, step);
    ig_ckpt_close(r);
    return step;
  }
  fs::path run;
  std::string folder;
  int64_t live;
  size_t files;
  std::vector<std::string> warnings;
};

TEST_F(Ckpt, RoundTrip) {
  ASSERT_EQ(save(0), IG_OK) << ig_error_message();
  ASSERT_EQ(save(1200), IG_OK) << ig_error_message();
  EXPECT_EQ(names(), (Names{"step-0", "step-1200"}));
  expect_valid(0);
  expect_valid(1200);
  EXPECT_EQ(latest(), 1200);
  EXPECT_EQ(ig_ckpt_verify(step_path(1200).c_str()), IG_OK) << ig_error_message();
  EXPECT_TRUE(warnings.empty());
}

TEST_F(Ckpt, ReaderRefusesWrongRequests) {
  ASSERT_EQ(save(3), IG_OK);
  ig_ckpt_reader *r;
  ASSERT_EQ(ig_ckpt_open((step_path(3) + "//").c_str(), &r), IG_OK) << ig_error_message();
  float f[7];
  EXPECT_EQ(ig_ckpt_read(r, "weights", "absent", f, sizeof f), IG_ERR_NOT_FOUND);
  EXPECT_EQ(ig_ckpt_read(r, "extra", "fc/bias:0", f, sizeof f), IG_ERR_NOT_FOUND);
  EXPECT_EQ(ig_ckpt_read(r, "weights", "fc/bias:0", f, sizeof f - 1), IG_ERR_MISMATCH);
  EXPECT_EQ(ig_ckpt_read_range(r, "weights", "fc/bias:0", 5, 3, f, 12), IG_ERR_MISMATCH);
  EXPECT_EQ(ig_ckpt_read_range(r, "weights", "fc/bias:0", -1, 3, f, 12), IG_ERR_MISMATCH);
  EXPECT_EQ(ig_ckpt_read_range(r, "weights", "fc/bias:0", INT64_MAX, 3, f, 12), IG_ERR_MISMATCH);
  ASSERT_EQ(ig_ckpt_read_range(r, "weights", "fc/bias:0", 4, 3, f, 12), IG_OK) << ig_error_message();
  EXPECT_EQ(memcmp(f, State(3).bias.data() + 4, 12), 0);
  ig_ckpt_close(r);
  EXPECT_NE(refusal(run.string() + "/nothing", IG_ERR_NOT_FOUND), "");
}

TEST_F(Ckpt, LargeTensorsAreChunked) {
  std::vector<float> a(3 * 500 * 301), b(2 * 700001);
  for (size_t i = 0; i < a.size(); i++)
    a[i] = (float)i;
  for (size_t i = 0; i < b.size(); i++)
    b[i] = -(float)i;
  ig_ckpt_tensor list[] = {{"a", IG_F32, 3, {3, 500, 301}, a.data(), "weights", 0},
                           {"b", IG_F32, 2, {2, 700001}, b.data(), "weights", 0},
                           {"c", IG_F32, 1, {(int64_t)b.size()}, b.data(), "moments", 0}};
  auto o = options(1);
  ASSERT_EQ(ig_ckpt_save(&o, list, 3), IG_OK) << ig_error_message();
  uint64_t bytes = fs::file_size(step_path(1) + "/shard-00000.h5"), raw = 4 * (a.size() + 2 * b.size());
  EXPECT_LT(bytes, raw + raw / 50 + 65536);
  EXPECT_LE(bytes, ig_ckpt_bytes(list, 3));
  ig_ckpt_reader *r;
  ASSERT_EQ(ig_ckpt_open(step_path(1).c_str(), &r), IG_OK) << ig_error_message();
  EXPECT_EQ(ig_ckpt_state_json(r), nullptr);
  std::vector<float> back(b.size());
  ASSERT_EQ(ig_ckpt_read(r, "weights", "a", back.data(), 4 * a.size()), IG_OK) << ig_error_message();
  EXPECT_EQ(memcmp(back.data(), a.data(), 4 * a.size()), 0);
  ASSERT_EQ(ig_ckpt_read(r, "weights", "b", back.data(), 4 * b.size()), IG_OK) << ig_error_message();
  EXPECT_EQ(back, b);
  ASSERT_EQ(ig_ckpt_read_range(r, "moments", "c", 262143, 700000, back.data(), 4 * 700000), IG_OK);
  EXPECT_EQ(memcmp(back.data(), b.data() + 262143, 4 * 700000), 0);
  ig_ckpt_close(r);
}

TEST_F(Ckpt, SizesAreBounded) {
  std::vector<uint8_t> data(3 << 20);
  for (size_t n : {0, 1, 2, 9, 700}) {
    std::vector<std::string> text(n);
    std::vector<ig_ckpt_tensor> list(n);
    for (size_t i = 0; i < n; i++) {
      text[i] = std::string(i % 7 ? 20 : 300, 'n') + "/" + std::to_string(i);
      list[i] = {text[i].c_str(), IG_U8, 8, {1, 1, 2, 1, 1, 1, 1, n < 10 ? 1000003 : 3}, data.data(), "weights", 0};
    }
    std::string json = "{\"log\":\"" + std::string(n * 5000, 'x') + "\"}";
    auto o = options((int64_t)n);
    o.state_json = json.c_str();
    ASSERT_EQ(ig_ckpt_save(&o, list.data(), n), IG_OK) << ig_error_message();
    EXPECT_LE(fs::file_size(step_path((int64_t)n) + "/shard-00000.h5"),
              ig_ckpt_bytes(list.data(), n) + 2 * json.size());
    ig_ckpt_reader *r;
    ASSERT_EQ(ig_ckpt_open(step_path((int64_t)n).c_str(), &r), IG_OK) << ig_error_message();
    EXPECT_EQ(ig_ckpt_state_json(r), json);
    EXPECT_EQ(ig_ckpt_count(r), n);
    ig_ckpt_close(r);
  }
}

TEST_F(Ckpt, SameStateSameBytes) {
  ASSERT_EQ(save(5), IG_OK);
  std::string shard = slurp(step_path(5) + "/shard-00000.h5"), manifest = slurp(step_path(5) + "/MANIFEST");
  sleep(1);  // time stamps would show
  ASSERT_EQ(save(5), IG_OK) << ig_error_message();
  EXPECT_EQ(names(), Names{"step-5"});
  EXPECT_EQ(slurp(step_path(5) + "/shard-00000.h5"), shard);
  EXPECT_EQ(slurp(step_path(5) + "/MANIFEST"), manifest);
}

TEST_F(Ckpt, SaveRefuses) {
  float x[4] = {};
  auto status = [&](ig_ckpt_tensor t) {
    auto o = options(1);
    ig_status result = ig_ckpt_save(&o, &t, 1);
    EXPECT_TRUE(names().empty()) << "something was left";
    return result;
  };
  for (const char *name : {"", "/a", "a/", "a//b", "a/./b", "../b", ".", "\xff"})
    EXPECT_NE(status({name, IG_F32, 1, {4}, x, "weights", 0}), IG_OK) << name;
  EXPECT_NE(status({"a", IG_F32, 1, {4}, x, "other", 0}), IG_OK);
  EXPECT_NE(status({"a", IG_F32, 1, {4}, nullptr, "weights", 0}), IG_OK);
  EXPECT_NE(status({"a", IG_F32, 2, {1ll << 40, 1ll << 40}, x, "weights", 0}), IG_OK);
  EXPECT_NE(status({"a", IG_F32, 2, {2, 2}, x, "moments", 0}), IG_OK);
  EXPECT_NE(status({"a", IG_F32, 1, {4}, x, "weights", 4}), IG_OK);  // the first fragment is missing
  ig_ckpt_tensor twice[] = {{"a", IG_F32, 1, {4}, x, "weights", 0}, {"a", IG_F32, 1, {4}, x, "state", 0}};
  auto o = options(1);
  EXPECT_EQ(ig_ckpt_save(&o, twice, 2), IG_ERR_USAGE);
  twice[1].group = "weights";
  EXPECT_EQ(ig_ckpt_save(&o, twice, 2), IG_ERR_USAGE);
  ig_ckpt_tensor inside[] = {{"a", IG_F32, 1, {4}, x, "weights", 0}, {"a/b", IG_F32, 1, {4}, x, "weights", 0}};
  EXPECT_NE(ig_ckpt_save(&o, inside, 2), IG_OK);
  o.keep = 2;
  EXPECT_EQ(ig_ckpt_save(&o, twice, 1), IG_ERR_USAGE);
  EXPECT_TRUE(names().empty());
}

TEST_F(Ckpt, RanksAndFragments) {  // 21, 58
  std::vector<float> m(100), w(6, 1.5f);
  for (size_t i = 0; i < m.size(); i++)
    m[i] = (float)i;
  std::vector<char *> entries;
  const int64_t cut[] = {0, 40, 41, 100};
  auto o = options(7);
  o.world_size = 3;
  ASSERT_EQ(ig_ckpt_begin(&o), IG_OK) << ig_error_message();
  for (int rank = 0; rank < 3; rank++) {
    ig_ckpt_tensor list[] = {
        {"m/w", IG_F32, 1, {cut[rank + 1] - cut[rank]}, m.data() + cut[rank], "moments", cut[rank]},
        {"w", IG_F32, 2, {2, 3}, w.data(), "weights", 0}};
    o.rank = rank;
    o.state_json = rank == 0 ? "{}" : nullptr;
    entries.push_back(nullptr);
    ASSERT_EQ(ig_ckpt_write_shard(&o, list, rank == 0 ? 2 : 1, &entries.back()), IG_OK) << ig_error_message();
  }
  EXPECT_EQ(names(), Names{"step-7.tmp"});
  o.rank = 0;
  const char *rows[] = {entries[0], entries[1], entries[2]};
  ASSERT_EQ(ig_ckpt_commit(&o, rows, 3), IG_OK) << ig_error_message();
  for (char *e : entries)
    ig_free(e);
  EXPECT_EQ(names(), Names{"step-7"});
  ig_ckpt_reader *r;
  ASSERT_EQ(ig_ckpt_open(step_path(7).c_str(), &r), IG_OK) << ig_error_message();
  EXPECT_EQ(ig_ckpt_world_size(r), 3);
  EXPECT_EQ(ig_ckpt_find(r, "moments", "m/w")->whole, 100);
  std::vector<float> back(100);
  ASSERT_EQ(ig_ckpt_read(r, "moments", "m/w", back.data(), 400), IG_OK) << ig_error_message();
  EXPECT_EQ(back, m);
  for (int64_t first = 0; first < 100; first += 7) {  // ranges as another number of ranks would read them
    int64_t n = std::min<int64_t>(45, 100 - first);
    ASSERT_EQ(ig_ckpt_read_range(r, "moments", "m/w", first, n, back.data(), (size_t)n * 4), IG_OK);
    EXPECT_EQ(memcmp(back.data(), m.data() + first, (size_t)n * 4), 0) << first;
  }
  ig_ckpt_close(r);
  EXPECT_EQ(ig_ckpt_verify(step_path(7).c_str()), IG_OK) << ig_error_message();
  fs::remove(step_path(7) + "/shard-00001.h5");
  EXPECT_TRUE(has(refusal(step_path(7)), "shard-00001.h5 is missing"));
}

TEST_F(Ckpt, CommitRefusesMissingRanksAndHoles) {
  float x[4] = {};
  auto o = options(7);
  o.world_size = 2;
  char *entry[2];
  for (int hole = 0; hole < 2; hole++) {
    ASSERT_EQ(ig_ckpt_begin(&o), IG_OK);
    for (o.rank = 0; o.rank < 2; o.rank++) {
      ig_ckpt_tensor t = {"m", IG_F32, 1, {2}, x, "moments", o.rank * (2 + hole)};
      ASSERT_EQ(ig_ckpt_write_shard(&o, &t, 1, &entry[o.rank]), IG_OK) << ig_error_message();
    }
    o.rank = 0;
    const char *rows[] = {entry[0], hole ? entry[1] : entry[0]};
    EXPECT_NE(ig_ckpt_commit(&o, rows, 2), IG_OK);
    ig_free(entry[0]);
    ig_free(entry[1]);
    EXPECT_TRUE(names().empty());
  }
}

TEST_F(Ckpt, Prune) {
  auto save_with = [&](int64_t step, int keep, int64_t protect) {
    State state(step);
    auto list = state.list();
    auto o = options(step);
    o.keep = keep;
    o.protect = protect;
    o.state_json = state.json.c_str();
    return ig_ckpt_save(&o, list.data(), list.size());
  };
  for (int64_t step = 1; step <= 6; step++)
    ASSERT_EQ(save_with(step, 0, 2), IG_OK) << ig_error_message();
  EXPECT_EQ(names(), (Names{"step-2", "step-4", "step-5", "step-6"}));
  // A damaged one does not count among those that are kept.
  fs::resize_file(step_path(5) + "/shard-00000.h5", 100);
  ASSERT_EQ(save_with(7, 3, -1), IG_OK);
  EXPECT_EQ(names(), (Names{"step-4", "step-5", "step-6", "step-7"}));
  ASSERT_EQ(save_with(8, 3, -1), IG_OK);
  EXPECT_EQ(names(), (Names{"step-6", "step-7", "step-8"}));
  // Going back: steps of the abandoned future are neither counted nor removed, nor do they push out the new one.
  ASSERT_EQ(save_with(3, 3, -1), IG_OK);
  EXPECT_EQ(names(), (Names{"step-3", "step-6", "step-7", "step-8"}));
  expect_valid(3);
  // Names that are not ours stay.
  fs::create_directories(folder + "/step-01");
  fs::create_directories(folder + "/step-1x");
  put(folder + "/notes.txt", "mine");
  ASSERT_EQ(save_with(9, 3, -1), IG_OK);
  EXPECT_EQ(names(), (Names{"step-7", "step-8", "step-9", "step-01", "step-1x", "notes.txt"}));
}

TEST_F(Ckpt, FallsBackAndSaysSo) {  // 20
  EXPECT_EQ(latest(), -1);
  ASSERT_EQ(save(1), IG_OK);
  ASSERT_EQ(save(2), IG_OK);
  ASSERT_EQ(save(3), IG_OK);
  std::string shard = step_path(3) + "/shard-00000.h5", bytes = slurp(shard);
  bytes[bytes.size() / 2] ^= 1;
  put(shard, bytes);
  fs::remove(step_path(2) + "/MANIFEST");
  std::vector<std::string> said;
  EXPECT_EQ(latest(&said), 1);
  ASSERT_EQ(said.size(), 2u);
  EXPECT_TRUE(has(said[0], "step 3") && has(said[0], "SHA-256") && has(said[0], shard)) << said[0];
  EXPECT_TRUE(has(said[1], "step 2") && has(said[1], "MANIFEST")) << said[1];
  // The damaged one is replaced when the run comes by again.
  ASSERT_EQ(save(3), IG_OK) << ig_error_message();
  EXPECT_EQ(latest(), 3);
  ig_ckpt_info *list;
  size_t n;
  ASSERT_EQ(ig_ckpt_list(folder.c_str(), true, &list, &n), IG_OK);
  ASSERT_EQ(n, 3u);
  EXPECT_TRUE(list[0].step == 1 && list[0].valid && !list[0].problem);
  EXPECT_TRUE(list[1].step == 2 && !list[1].valid && has(list[1].problem, "MANIFEST"));
  EXPECT_TRUE(list[2].step == 3 && list[2].valid && list[2].bytes == fs::file_size(shard));
  ig_ckpt_list_free(list, n);
  fs::rename(step_path(1), step_path(4));
  EXPECT_TRUE(has(refusal(step_path(4)), "step 1"));
}

TEST_F(Ckpt, EmptyAndMissingFolders) {
  ig_ckpt_reader *r;
  EXPECT_EQ(ig_ckpt_open_latest(folder.c_str(), &r, nullptr, nullptr), IG_ERR_NOT_FOUND);
  EXPECT_EQ(ig_ckpt_sweep(folder.c_str()), IG_OK);
  ig_ckpt_info *list;
  size_t n;
  ASSERT_EQ(ig_ckpt_list(folder.c_str(), false, &list, &n), IG_OK);
  EXPECT_EQ(n, 0u);
  ig_ckpt_list_free(list, n);
}

TEST_F(Ckpt, Sweep) {
  ASSERT_EQ(save(1), IG_OK);
  fs::copy(step_path(1), folder + "/step-2.tmp");
  fs::rename(step_path(1), folder + "/step-1.old");  // killed between the two renames
  ASSERT_EQ(ig_ckpt_sweep(folder.c_str()), IG_OK) << ig_error_message();
  EXPECT_EQ(names(), Names{"step-1"});
  expect_valid(1);
  fs::copy(step_path(1), folder + "/step-1.old");  // killed before the old one was removed
  ASSERT_EQ(ig_ckpt_sweep(folder.c_str()), IG_OK) << ig_error_message();
  EXPECT_EQ(names(), Names{"step-1"});
  expect_valid(1);
}

TEST_F(Ckpt, Probe) {  // 51
  EXPECT_EQ(ig_ckpt_probe(folder.c_str(), 1000), IG_OK) << ig_error_message();
  EXPECT_TRUE(names().empty());
  EXPECT_EQ(ig_ckpt_probe(folder.c_str(), UINT64_MAX), IG_ERR_IO);
  EXPECT_TRUE(has(ig_error_message(), "free")) << ig_error_message();
  EXPECT_NE(ig_ckpt_probe("/proc/ingot", 1), IG_OK);
}

// --- faults: every file operation fails in turn ---

static ig_fileops real_ops;
static struct {
  int64_t countdown, fired;
  int code;
  bool forever, kill;
} plan;

// True where the call in hand must fail.
static bool fault() {
  if (plan.countdown == 0)
    return false;
  if (plan.countdown > 1) {
    plan.countdown--;
    return false;
  }
  if (plan.kill)
    raise(SIGKILL);
  if (!plan.forever)
    plan.countdown = 0;
  plan.fired++;
  errno = plan.code;
  return true;
}

static ig_fileops faulty() {
  real_ops = *ig_fileops_get();
  ig_fileops f = real_ops;
  f.open = [](const char *p, int flags, mode_t m) { return fault() ? -1 : real_ops.open(p, flags, m); };
  f.read = [](int fd, void *p, size_t n) -> ssize_t { return fault() ? -1 : real_ops.read(fd, p, n); };
  f.pread = [](int fd, void *p, size_t n, off_t o) -> ssize_t { return fault() ? -1 : real_ops.pread(fd, p, n, o); };
  f.write = [](int fd, const void *p, size_t n) -> ssize_t {
    // A full disk takes a part first: the call before the failing one is short.
    if (plan.countdown == 2 && n > 1)
      n /= 2;
    return fault() ? -1 : real_ops.write(fd, p, n);
  };
  f.ftruncate = [](int fd, off_t n) { return fault() ? -1 : real_ops.ftruncate(fd, n); };
  f.fsync = [](int fd) { return fault() ? -1 : real_ops.fsync(fd); };
  f.close = [](int fd) {  // Linux closes even where close reports an error
    bool failed = fault();
    int code = errno, result = real_ops.close(fd);
    errno = code;
    return failed ? -1 : result;
  };
  f.rename = [](const char *a, const char *b) { return fault() ? -1 : real_ops.rename(a, b); };
  f.unlink = [](const char *p) { return fault() ? -1 : real_ops.unlink(p); };
  f.mkdir = [](const char *p, mode_t m) { return fault() ? -1 : real_ops.mkdir(p, m); };
  f.rmdir = [](const char *p) { return fault() ? -1 : real_ops.rmdir(p); };
  f.flock = [](int fd, int o) { return fault() ? -1 : real_ops.flock(fd, o); };
  f.fstat = [](int fd, struct stat *st) { return fault() ? -1 : real_ops.fstat(fd, st); };
  f.stat = [](const char *p, struct stat *st) { return fault() ? -1 : real_ops.stat(p, st); };
  f.mmap = [](size_t n, int fd) { return fault() ? (void *)-1 : real_ops.mmap(n, fd); };
  return f;
}

// fsync that succeeds at once: no power is cut in these loops, and the disk is slow.
static ig_fileops unsynced() {
  ig_fileops f = *ig_fileops_get();
  f.fsync = [](int) { return 0; };
  return f;
}

TEST_F(Ckpt, EveryFileOperationFailsDuringSave) {  // 50
  ig_fileops quick = unsynced();
  ig_fileops_set(&quick);
  ig_fileops ops = faulty();
  int failures = 0;
  for (int code : {ENOSPC, EIO}) {
    for (bool forever : {false, true}) {
      for (int64_t i = 1;; i++) {
        // Step 9 saves over an older step 9 on odd rounds; step 8 is the checkpoint that must survive all of it.
        fs::remove_all(folder);
        ASSERT_EQ(save(8), IG_OK) << ig_error_message();
        bool replaces = i % 2;
        if (replaces) {
          ASSERT_EQ(save(9), IG_OK);
        }
        int64_t before = ig_mem_live();
        plan = {i, 0, code, forever, false};
        ig_fileops_set(&ops);
        ig_status status = save(9);
        ig_fileops_set(&quick);
        std::string message = ig_error_message();
        bool fired = plan.fired > 0;
        plan = {};
        ASSERT_EQ(ig_mem_live(), before) << "leak at operation " << i;
        ASSERT_EQ(open_files(), files) << "open file at operation " << i;
        expect_valid(8);
        if (status == IG_OK) {
          expect_valid(9);
        } else {
          failures++;
          EXPECT_TRUE(status == IG_ERR_IO) << ig_status_name(status) << message;
          EXPECT_TRUE(has(message, strerror(code)) && has(message, "/tmp")) << message;
          ASSERT_EQ(ig_ckpt_sweep(folder.c_str()), IG_OK) << ig_error_message();
          // A disk that refuses everything from the last fsync on refuses the discard too: then the whole one stays.
          bool stays = replaces || (forever && has(message, "sync folder " + folder + ":"));
          EXPECT_EQ(names(), stays ? (Names{"step-8", "step-9"}) : (Names{"step-8"})) << i << ": " << message;
          if (stays)
            expect_valid(9);
          // The disk is well again: the same call succeeds.
          ASSERT_EQ(save(9), IG_OK) << ig_error_message();
          expect_valid(9);
        }
        if (!fired && replaces)
          break;
      }
    }
  }
  EXPECT_GT(failures, 60);
}

TEST_F(Ckpt, EveryFileOperationFailsDuringOpen) {
  ASSERT_EQ(save(8), IG_OK);
  ig_fileops ops = faulty();
  int failures = 0;
  for (bool forever : {false, true}) {
    for (int64_t i = 1;; i++) {
      ig_ckpt_reader *r;
      int64_t before = ig_mem_live();
      plan = {i, 0, EIO, forever, false};
      ig_fileops_set(&ops);
      ig_status status = ig_ckpt_open(step_path(8).c_str(), &r);
      ig_fileops_set(nullptr);
      bool fired = plan.fired > 0;
      plan = {};
      if (status == IG_OK) {
        expect_state(r, 8);
        ig_ckpt_close(r);
      } else {
        failures++;
        EXPECT_EQ(status, IG_ERR_IO) << ig_error_message();
      }
      ASSERT_EQ(ig_mem_live(), before);
      if (!fired)
        break;
    }
  }
  EXPECT_GT(failures, 10);
}

TEST_F(Ckpt, EveryAllocationFails) {  // 65
  ig_fileops quick = unsynced();
  ig_fileops_set(&quick);
  ASSERT_EQ(save(8), IG_OK);
  for (int forever = 0; forever < 2; forever++) {
    int failures = 0;
    for (int64_t i = 1;; i++, failures++) {
      int64_t before = ig_mem_live();
      ig_mem_fail_after(i, forever);
      ig_status status = save(9);
      ig_mem_fail_after(0, 0);
      ASSERT_EQ(ig_mem_live(), before) << "leak at allocation " << i;
      if (status == IG_OK && warnings.empty())
        break;
      if (status != IG_OK) {
        ASSERT_EQ(status, IG_ERR_MEMORY) << ig_error_message();
        EXPECT_FALSE(fs::exists(step_path(9)));
      }
      warnings.clear();
      fs::remove_all(step_path(9));
      ASSERT_EQ(ig_ckpt_sweep(folder.c_str()), IG_OK);
      expect_valid(8);
    }
    EXPECT_GT(failures, 50);
    failures = 0;
    for (int64_t i = 1;; i++, failures++) {
      ig_ckpt_reader *r;
      ig_mem_fail_after(i, forever);
      ig_status status = ig_ckpt_open_latest(folder.c_str(), &r, nullptr, nullptr);
      ig_mem_fail_after(0, 0);
      ig_ckpt_close(r);
      if (status == IG_OK)
        break;
      ASSERT_EQ(status, IG_ERR_MEMORY) << "memory is no reason to fall back: " << ig_error_message();
      ASSERT_EQ(ig_mem_live(), live);
    }
    EXPECT_GT(failures, 10);
    fs::remove_all(step_path(9));
  }
}

TEST_F(Ckpt, ADiskThatLiesIsFoundOut) {
  ASSERT_EQ(save(7), IG_OK);
  real_ops = *ig_fileops_get();
  ig_fileops ops = real_ops;
  ops.write = [](int fd, const void *p, size_t n) -> ssize_t {
    std::string bytes((const char *)p, n);
    bytes[n / 2] ^= 16;
    return real_ops.write(fd, bytes.data(), n);
  };
  ig_fileops_set(&ops);
  ig_status status = save(8);
  ig_fileops_set(nullptr);
  EXPECT_EQ(status, IG_ERR_IO);
  EXPECT_TRUE(has(ig_error_message(), "does not read back")) << ig_error_message();
  EXPECT_EQ(names(), Names{"step-7"});
  expect_valid(7);
}

// A kill does not show a missing fsync, a power cut does: the order itself is checked.
static std::vector<std::string> trace;

TEST_F(Ckpt, EverythingIsSyncedBeforeItsName) {
  real_ops = *ig_fileops_get();
  ig_fileops ops = real_ops;
  ops.write = [](int fd, const void *p, size_t n) {
    trace.push_back("write " + fs::read_symlink("/proc/self/fd/" + std::to_string(fd)).filename().string());
    return real_ops.write(fd, p, n);
  };
  ops.fsync = [](int fd) {
    trace.push_back("fsync " + fs::read_symlink("/proc/self/fd/" + std::to_string(fd)).filename().string());
    return real_ops.fsync(fd);
  };
  ops.rename = [](const char *a, const char *b) {
    trace.push_back("rename " + fs::path(a).filename().string() + " " + fs::path(b).filename().string());
    return real_ops.rename(a, b);
  };
  trace.clear();
  ig_fileops_set(&ops);
  ig_status status = save(8);
  ig_fileops_set(nullptr);
  ASSERT_EQ(status, IG_OK) << ig_error_message();
  const std::vector<std::string> expected = {"fsync " + run.filename().string(),  // the new folder's own name
                                             "write shard-00000.h5",
                                             "fsync shard-00000.h5",
                                             "write MANIFEST",
                                             "fsync MANIFEST",
                                             "fsync step-8.tmp",
                                             "rename step-8.tmp step-8",
                                             "fsync checkpoints"};
  EXPECT_EQ(trace, expected);
}

// --- kill -9 ---

TEST_F(Ckpt, KilledAtEveryFileOperation) {  // 52
  ig_fileops ops = faulty();
  for (int64_t step = 1; step <= 4; step++)
    ASSERT_EQ(save(step), IG_OK);  // so that the next save prunes
  for (int64_t i = 1;; i++) {
    pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      plan = {i, 0, 0, false, true};
      ig_fileops_set(&ops);
      _exit(save(i % 2 ? 5 : 4) == IG_OK ? 0 : 1);  // a new one, and one that replaces
    }
    int status;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_EQ(ig_ckpt_sweep(folder.c_str()), IG_OK) << ig_error_message();
    std::vector<std::string> said;
    int64_t step = latest(&said);
    EXPECT_TRUE(step == 4 || step == 5) << step;
    EXPECT_TRUE(said.empty()) << "killed at operation " << i << ", left half a checkpoint: " << said[0];
    for (const std::string &name : names())
      EXPECT_FALSE(has(name, "tmp") || has(name, "old")) << name;
    if (WIFEXITED(status)) {
      ASSERT_EQ(WEXITSTATUS(status), 0);
      if (i % 2)
        break;
    }
    fs::remove_all(step_path(5));
  }
}

TEST_F(Ckpt, KilledAtRandomTimes) {  // 52
  ASSERT_EQ(save(1), IG_OK);
  std::mt19937 random(11);
  int64_t newest = 1;
  int left_over = 0;
  for (int round = 0; round < 60; round++) {
    int begins[2];
    ASSERT_EQ(pipe(begins), 0);
    pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      for (int64_t step = newest + 1;; step++)
        if (write(begins[1], "s", 1) != 1 || save(step) != IG_OK)
          _exit(1);
    }
    // Whole saves first, then some time into the next one.
    char byte;
    for (int i = 0; i <= round % 3; i++)
      ASSERT_EQ(read(begins[0], &byte, 1), 1);
    usleep(random() % 4000);
    kill(child, SIGKILL);
    close(begins[0]);
    close(begins[1]);
    int status;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << "the child failed to save";
    for (const std::string &name : names())
      left_over += has(name, ".tmp");
    ASSERT_EQ(ig_ckpt_sweep(folder.c_str()), IG_OK) << ig_error_message();
    std::vector<std::string> said;
    int64_t step = latest(&said);
    EXPECT_GE(step, newest + round % 3);
    EXPECT_TRUE(said.empty()) << said[0];
    newest = step;
  }
  EXPECT_GE(newest, 61);
  EXPECT_GT(left_over, 0) << "the kills never hit the window of a save";
}

// --- damage ---

TEST_F(Ckpt, TruncatedAnywhere) {  // 2
  ASSERT_EQ(save(8), IG_OK);
  for (const char *name : {"/shard-00000.h5", "/MANIFEST"}) {
    std::string path = step_path(8) + name, good = slurp(path);
    std::set<size_t> cuts = {0, 1, 8, 47, 48, 95, 96, good.size() / 2, good.size() - 1};
    for (size_t n = 0; n < good.size(); n += good.size() / 100 + 1)
      cuts.insert(n);
    for (size_t n : cuts) {
      put(path, good.substr(0, n));
      EXPECT_TRUE(has(refusal(step_path(8)), path)) << n;
    }
    put(path, good + "x");
    EXPECT_NE(refusal(step_path(8)), "");
    put(path, good);
  }
  expect_valid(8);
}

TEST_F(Ckpt, ThreeThousandBitFlips) {  // 20
  ASSERT_EQ(save(8), IG_OK);
  std::mt19937_64 random(5);
  int harmless = 0;
  for (const char *name : {"/shard-00000.h5", "/MANIFEST"}) {
    std::string path = step_path(8) + name, good = slurp(path);
    for (int i = 0; i < 1500; i++) {
      std::string bad = good;
      size_t bit = random() % (8 * bad.size());
      bad[bit / 8] = (char)(bad[bit / 8] ^ (1 << bit % 8));
      put(path, bad);
      ig_ckpt_reader *r = nullptr;
      ig_status status = ig_ckpt_open(step_path(8).c_str(), &r);
      if (status == IG_OK) {
        harmless++;
        EXPECT_STREQ(name, "/MANIFEST") << "a flipped bit in the shard was not seen";
        expect_state(r, 8);  // white space became other white space
        ig_ckpt_close(r);
      } else {
        ASSERT_EQ(status, IG_ERR_FORMAT) << ig_error_message();
      }
    }
    put(path, good);
  }
  EXPECT_LT(harmless, 150);
}

// --- forged and foreign ---

// A MANIFEST with a valid hash of its own, after `edit`.
static void forge(const std::string &step_folder, const std::function<void(json_t *)> &edit) {
  std::string path = step_folder + "/MANIFEST";
  json_t *json = json_load_file(path.c_str(), 0, nullptr);
  ASSERT_NE(json, nullptr);
  edit(json);
  json_object_del(json, "sha256");
  char *text = json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS), hex[65];
  ig_sha256_hex(text, strlen(text), hex);
  free(text);
  json_object_set_new(json, "sha256", json_string(hex));
  json_dump_file(json, path.c_str(), 0);
  json_decref(json);
}
static json_t *first_file(json_t *json) { return json_array_get(json_object_get(json, "files"), 0); }

TEST_F(Ckpt, NewerFormatIsRefused) {  // 22
  ASSERT_EQ(save(7), IG_OK);
  ASSERT_EQ(save(8), IG_OK);
  forge(step_path(8), [](json_t *json) { json_object_set_new(json, "format_version", json_integer(2)); });
  EXPECT_TRUE(has(refusal(step_path(8), IG_ERR_UNSUPPORTED), "format_version: 2"));
  ig_ckpt_reader *r;
  EXPECT_EQ(ig_ckpt_open_latest(folder.c_str(), &r, nullptr, nullptr), IG_ERR_UNSUPPORTED);
}

TEST_F(Ckpt, ForgedManifests) {  // 7, 8, 9, 17
  auto forged = [&](const std::function<void(json_t *)> &edit) {
    fs::remove_all(folder);
    EXPECT_EQ(save(8), IG_OK);
    forge(step_path(8), edit);
    return refusal(step_path(8));
  };
  auto tensor = [](json_t *json) { return json_array_get(json_object_get(first_file(json), "tensors"), 0); };
  auto set_tensor = [&](const char *key, json_t *value) {
    return forged([&](json_t *json) { json_object_set_new(tensor(json), key, value); });
  };
  EXPECT_TRUE(has(set_tensor("shape", json_pack("[I,I]", 1ll << 40, 1ll << 40)), "shape"));
  EXPECT_TRUE(has(set_tensor("shape", json_pack("[I]", 1ll << 40)), "more bytes than its shard"));
  EXPECT_TRUE(has(set_tensor("shape", json_pack("[i]", -1)), "shape"));
  EXPECT_TRUE(has(set_tensor("dtype", json_string("f99")), "dtype"));
  EXPECT_TRUE(has(set_tensor("name", json_string("../x")), "name"));
  EXPECT_TRUE(has(set_tensor("group", json_string("a/b")), "name"));
  EXPECT_TRUE(has(set_tensor("offset", json_integer(3)), "shape"));
  EXPECT_TRUE(has(set_tensor("sha256", json_string("0")), "sha256"));
  auto set_file = [&](const char *key, json_t *value) {
    return forged([&](json_t *json) { json_object_set_new(first_file(json), key, value); });
  };
  EXPECT_TRUE(has(set_file("name", json_string("../../shard-00000.h5")), "shard-00000.h5 expected"));
  EXPECT_TRUE(has(set_file("bytes", json_integer(-5)), "bytes"));
  EXPECT_TRUE(has(set_file("state_bytes", json_integer(1ll << 50)), "state_bytes"));
  EXPECT_TRUE(
      has(forged([](json_t *json) { json_object_set_new(json, "world_size", json_integer(2)); }), "world_size"));
  EXPECT_TRUE(has(forged([](json_t *json) { json_object_set_new(json, "format", json_string("x")); }), "format"));
  EXPECT_TRUE(has(forged([](json_t *json) { json_object_set_new(json, "step", json_real(8)); }), "step"));
  // Many shapes that fit one by one and not together.
  EXPECT_TRUE(has(forged([&](json_t *json) {
                    for (int i = 0; i < 2000; i++) {
                      json_t *copy = json_deep_copy(tensor(json));
                      json_object_set_new(copy, "name", json_string(("t" + std::to_string(i)).c_str()));
                      json_array_append_new(json_object_get(first_file(json), "tensors"), copy);
                    }
                  }),
                  "more bytes than its shard"));
  // A shape that is not the dataset's is seen when it is read.
  fs::remove_all(folder);
  ASSERT_EQ(save(8), IG_OK);
  forge(step_path(8), [&](json_t *json) { json_object_set_new(tensor(json), "shape", json_pack("[i,i]", 16, 27)); });
  ig_ckpt_reader *r;
  ASSERT_EQ(ig_ckpt_open(step_path(8).c_str(), &r), IG_OK) << ig_error_message();
  float w[16 * 27];
  EXPECT_EQ(ig_ckpt_read(r, "weights", "conv1.weight", w, sizeof w), IG_ERR_FORMAT);
  EXPECT_TRUE(has(ig_error_message(), "shape differs")) << ig_error_message();
  ig_ckpt_close(r);
  EXPECT_EQ(ig_ckpt_verify(step_path(8).c_str()), IG_ERR_FORMAT);
}

TEST_F(Ckpt, HostileHdf5) {  // 15, 16
  ASSERT_EQ(save(8), IG_OK);
  std::string shard = step_path(8) + "/shard-00000.h5", secret = run.string() + "/secret.h5";
  // Replaces conv1.weight by what `make` puts there, and makes all hashes agree: only the structure is wrong.
  auto hostile = [&](const std::function<void(hid_t)> &make) {
    fs::remove_all(folder);
    EXPECT_EQ(save(8), IG_OK);
    hid_t file = H5Fopen(shard.c_str(), H5F_ACC_RDWR, H5P_DEFAULT);
    EXPECT_GE(file, 0);
    H5Ldelete(file, "/weights/conv1.weight", H5P_DEFAULT);
    make(file);
    H5Fclose(file);
    std::string bytes = slurp(shard);
    char hex[65];
    ig_sha256_hex(bytes.data(), bytes.size(), hex);
    forge(step_path(8), [&](json_t *json) {
      json_object_set_new(first_file(json), "bytes", json_integer((json_int_t)bytes.size()));
      json_object_set_new(first_file(json), "sha256", json_string(hex));
    });
    ig_ckpt_reader *r;
    EXPECT_EQ(ig_ckpt_open(step_path(8).c_str(), &r), IG_OK) << ig_error_message();
    std::vector<float> w(16 * 27);
    EXPECT_EQ(ig_ckpt_read(r, "weights", "conv1.weight", w.data(), w.size() * 4), IG_ERR_FORMAT);
    ig_ckpt_close(r);
    return std::string(ig_error_message());
  };
  hsize_t dims[4] = {16, 3, 3, 3};
  hid_t space = H5Screate_simple(4, dims, nullptr);
  hid_t file = H5Fcreate(secret.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
  hid_t set = H5Dcreate2(file, "w", H5T_IEEE_F32LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  H5Dclose(set);
  H5Fclose(file);
  auto create = [&](hid_t f, hid_t type, hid_t dcpl) {
    hid_t d = H5Dcreate2(f, "/weights/conv1.weight", type, space, H5P_DEFAULT, dcpl, H5P_DEFAULT);
    EXPECT_GE(d, 0);
    H5Dclose(d);
    H5Pclose(dcpl);
  };
  EXPECT_TRUE(has(hostile([&](hid_t f) {
                    H5Lcreate_soft("/state_dict/conv1.weight", f, "/weights/conv1.weight", H5P_DEFAULT, H5P_DEFAULT);
                  }),
                  "soft link"));
  EXPECT_TRUE(has(
      hostile([&](hid_t f) { H5Lcreate_soft("conv1.weight", f, "/weights/conv1.weight", H5P_DEFAULT, H5P_DEFAULT); }),
      "soft link"));  // cyclic
  EXPECT_TRUE(has(hostile([&](hid_t f) {
                    H5Lcreate_external(secret.c_str(), "/w", f, "/weights/conv1.weight", H5P_DEFAULT, H5P_DEFAULT);
                  }),
                  "external link"));
  EXPECT_TRUE(has(hostile([&](hid_t f) {
                    hid_t dcpl = H5Pcreate(H5P_DATASET_CREATE);
                    H5Pset_virtual(dcpl, space, secret.c_str(), "/w", space);
                    create(f, H5T_IEEE_F32LE, dcpl);
                  }),
                  "virtual dataset"));
  EXPECT_TRUE(has(hostile([&](hid_t f) {
                    hid_t dcpl = H5Pcreate(H5P_DATASET_CREATE);
                    H5Pset_external(dcpl, "/etc/passwd", 0, 16 * 27 * 4);
                    create(f, H5T_IEEE_F32LE, dcpl);
                  }),
                  "other files"));
  EXPECT_TRUE(has(hostile([&](hid_t f) {
                    hid_t dcpl = H5Pcreate(H5P_DATASET_CREATE);
                    H5Pset_chunk(dcpl, 4, dims);
                    H5Pset_deflate(dcpl, 9);
                    create(f, H5T_IEEE_F32LE, dcpl);
                  }),
                  "filter"));
  EXPECT_TRUE(has(hostile([&](hid_t f) { create(f, H5T_STD_I32LE, H5Pcreate(H5P_DATASET_CREATE)); }), "type differs"));
  EXPECT_TRUE(has(hostile([&](hid_t f) {  // a group that holds itself in the dataset's place
                    H5Lcreate_hard(f, "/weights", f, "/weights/conv1.weight", H5P_DEFAULT, H5P_DEFAULT);
                  }),
                  "open a dataset"));
  EXPECT_TRUE(has(hostile([&](hid_t) {}), "find a dataset"));
  H5Sclose(space);
}

// --- lock ---

TEST_F(Ckpt, LockKeepsTheSecondRunOut) {  // 62
  ig_lock *first, *second;
  ASSERT_EQ(ig_lock_acquire(run.c_str(), &first), IG_OK) << ig_error_message();
  EXPECT_EQ(ig_lock_acquire(run.c_str(), &second), IG_ERR_BUSY);
  EXPECT_EQ(second, nullptr);
  EXPECT_TRUE(has(ig_error_message(), "process " + std::to_string(getpid()))) << ig_error_message();
  ig_lock_release(first);
  // A process that is killed leaves no lock behind.
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  pid_t child = fork();
  if (child == 0) {
    ig_lock *held;
    ig_status status = ig_lock_acquire(run.c_str(), &held);
    (void)!write(ready[1], status == IG_OK ? "y" : "n", 1);
    pause();
  }
  char answer = 0;
  ASSERT_EQ(read(ready[0], &answer, 1), 1);
  EXPECT_EQ(answer, 'y');
  EXPECT_EQ(ig_lock_acquire(run.c_str(), &second), IG_ERR_BUSY);
  EXPECT_TRUE(has(ig_error_message(), "process " + std::to_string(child))) << ig_error_message();
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  ASSERT_EQ(ig_lock_acquire(run.c_str(), &second), IG_OK) << ig_error_message();
  ig_lock_release(second);
  close(ready[0]);
  close(ready[1]);
  EXPECT_EQ(ig_lock_acquire("/nonexistent", &second), IG_ERR_NOT_FOUND);
  EXPECT_EQ(ig_status_exit_code(IG_ERR_BUSY), 2);
}

TEST_F(Ckpt, LockWithoutKernelSupport) {
  ig_fileops ops = *ig_fileops_get();
  ops.flock = [](int, int) {
    errno = ENOSYS;
    return -1;
  };
  ig_fileops_set(&ops);
  ig_lock *lock, *second;
  ASSERT_EQ(ig_lock_acquire(run.c_str(), &lock), IG_OK) << ig_error_message();
  EXPECT_EQ(ig_lock_acquire(run.c_str(), &second), IG_ERR_BUSY);
  ig_lock_release(lock);
  ASSERT_EQ(ig_lock_acquire(run.c_str(), &lock), IG_OK) << ig_error_message();
  ig_lock_release(lock);
  put(run.string() + "/.lock", "4 another-host\n");
  EXPECT_EQ(ig_lock_acquire(run.c_str(), &lock), IG_ERR_BUSY);
  EXPECT_TRUE(has(ig_error_message(), "another-host") && has(ig_error_message(), "remove that file"));
  pid_t gone = fork();
  if (gone == 0)
    _exit(0);
  waitpid(gone, nullptr, 0);
  char host[256];
  ASSERT_EQ(gethostname(host, sizeof host), 0);
  put(run.string() + "/.lock", std::to_string(gone) + " " + host + "\n");
  ASSERT_EQ(ig_lock_acquire(run.c_str(), &lock), IG_OK) << ig_error_message();
  ig_lock_release(lock);
}

// --- threads, and the file as others see it ---

TEST_F(Ckpt, ThreadsSaveAndReadAtOnce) {
  ASSERT_EQ(save(1), IG_OK);
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; t++)
    threads.emplace_back([&, t] {
      std::string mine = run.string() + "/thread-" + std::to_string(t);
      for (int64_t step = 1; step <= 5; step++) {
        State state(step);
        auto list = state.list();
        auto o = options(step);
        o.folder = mine.c_str();
        o.state_json = state.json.c_str();
        EXPECT_EQ(ig_ckpt_save(&o, list.data(), list.size()), IG_OK) << ig_error_message();
        expect_valid(1);
      }
    });
  for (auto &t : threads)
    t.join();
}

TEST_F(Ckpt, H5pyReadsAStateDict) {
  const char *env = getenv("INGOT_PYTHON");
  std::string python = env ? env : "python3";
  if (system((python + " -c 'import numpy, h5py' >/dev/null 2>&1").c_str()) != 0)
    GTEST_SKIP() << python << " cannot import h5py (INGOT_PYTHON=... chooses another)";
  ASSERT_EQ(save(8), IG_OK);
  std::string script = run.string() + "/check.py";
  std::ofstream(script) << "import sys, h5py, numpy as np, hashlib, json\n"
                           "f = h5py.File(sys.argv[1] + '/shard-00000.h5', 'r')\n"
                           "d = f['state_dict']\n"
                           "assert d['conv1.weight'].shape == (16, 3, 3, 3) and d['conv1.weight'].dtype == np.float32\n"
                           "assert d['conv1.weight'].chunks and d['conv1.weight'].fletcher32\n"
                           "assert int(d['bn1.num_batches_tracked'][()]) == 8\n"
                           "assert d['fc/bias:0'].shape == (7,) and d['bn1.running_mean'].shape == (7,)\n"
                           "assert f['extra/fp16'].dtype == np.float16\n"
                           "m = f['moments/m/flat']\n"
                           "assert m.attrs['offset'] == 0 and m.attrs['length'] == m.shape[0] == 439\n"
                           "assert f.attrs['step'] == 8\n"
                           "w = d['conv1.weight']\n"
                           "assert hashlib.sha256(w[()].tobytes()).hexdigest().encode() == bytes(w.attrs['sha256'])\n"
                           "assert json.loads(f['run/state_json'][()].tobytes())['position'] == 1024\n"
                           "man = json.load(open(sys.argv[1] + '/MANIFEST'))\n"
                           "h = man.pop('sha256')\n"
                           "assert hashlib.sha256(json.dumps(man, sort_keys=True, separators=(',', ':'),\n"
                           "                      ensure_ascii=False).encode()).hexdigest() == h\n"
                           "assert f.id.get_create_plist().get_version()[0] == 2\n";
  EXPECT_EQ(system((python + " " + script + " " + step_path(8)).c_str()), 0);
}
