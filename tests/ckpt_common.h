// What the tests of checkpoints share: a small model's state, a folder to save it in, and what must be there
// afterwards.
#ifndef INGOT_TESTS_CKPT_COMMON_H
#define INGOT_TESTS_CKPT_COMMON_H

#include <cstring>
#include <gtest/gtest.h>
#include <hdf5.h>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "runtime/ckpt/checkpoint.h"
#include "tests/fault_common.h"

namespace fs = std::filesystem;
using fault::open_files;
using fault::put;
using fault::slurp;
using Names = std::set<std::string>;

inline bool has(const std::string &text, const std::string &part) { return text.find(part) != std::string::npos; }

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

inline void collect(void *user, const char *text) { ((std::vector<std::string> *)user)->push_back(text); }

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

#endif
