// A small run's state that is a function of its step, for the tests of checkpoints under faults.
// Rule: whoever reads a checkpoint can tell from its step alone what must be in it.
#ifndef INGOT_TESTS_FAULT_STATE_H
#define INGOT_TESTS_FAULT_STATE_H

#include <random>
#include <vector>

#include "runtime/ckpt/checkpoint.h"
#include "runtime/ckpt/writer.h"
#include "tests/fault_common.h"

namespace fault {

constexpr const char *UUID = "123e4567-e89b-12d3-a456-426614174000";

struct State {
  // `elements`: of the largest tensor.
  explicit State(int64_t step, size_t elements = 600) : weight(elements), mean(7), moment(elements), batches(step) {
    std::minstd_rand random((unsigned)step + 1);
    for (auto *v : {&weight, &mean, &moment})
      for (float &x : *v)
        x = (float)random() * 1e-9f - 1;
    json = "{\"position\":" + std::to_string(step * 128) + "}";
  }
  std::vector<ig_ckpt_tensor> list() const {
    return {{"conv1.weight", IG_F32, 2, {(int64_t)weight.size() / 3, 3}, weight.data(), "weights", 0},
            {"bn1.running_mean", IG_F32, 1, {7}, mean.data(), "state", 0},
            {"bn1.num_batches_tracked", IG_I64, 0, {}, &batches, "state", 0},
            {"moment0/conv1.weight", IG_F32, 1, {(int64_t)moment.size()}, moment.data(), "moments", 0}};
  }
  std::vector<float> weight, mean, moment;
  int64_t batches;
  std::string json;
};

inline ig_ckpt_save_options save_options(const std::string &folder, int64_t step, const State &state) {
  ig_ckpt_save_options o = {};
  o.folder = folder.c_str();
  o.step = step;
  o.run_uuid = UUID;
  o.config_hash = "c0ffee";
  o.state_json = state.json.c_str();
  o.protect = -1;
  return o;
}

inline ig_status save_now(const std::string &folder, int64_t step) {
  State state(step);
  auto o = save_options(folder, step, state);
  auto list = state.list();
  return ig_ckpt_save(&o, list.data(), list.size());
}

// Empty where the open checkpoint holds exactly the state of its step; else what differs.
inline std::string compare(ig_ckpt_reader *r, size_t elements = 600) {
  int64_t step = ig_ckpt_step(r);
  State state(step, elements);
  if (std::string(ig_ckpt_run_uuid(r)) != UUID || std::string(ig_ckpt_config_hash(r)) != "c0ffee")
    return "other run or configuration";
  if (!ig_ckpt_state_json(r) || ig_ckpt_state_json(r) != state.json)
    return "other state";
  auto list = state.list();
  if (ig_ckpt_count(r) != list.size())
    return "other number of tensors";
  for (auto &t : list) {
    const ig_ckpt_entry *e = ig_ckpt_find(r, t.group, t.name);
    if (!e || e->dtype != t.dtype || e->n_dims != t.n_dims || memcmp(e->dims, t.dims, sizeof e->dims))
      return std::string("other ") + t.name;
    std::vector<uint8_t> bytes((size_t)e->n * ig_dtype_bytes(e->dtype));
    if (ig_ckpt_read(r, t.group, t.name, bytes.data(), bytes.size()) != IG_OK)
      return std::string("not read: ") + ig_error_message();
    if (memcmp(bytes.data(), t.data, bytes.size()))
      return std::string("other bytes in ") + t.name;
  }
  return "";
}

// Step of the newest valid checkpoint, or -1; its contents are compared.
inline int64_t newest(const std::string &folder, size_t elements = 600) {
  ig_ckpt_reader *r = nullptr;
  if (ig_ckpt_open_latest(folder.c_str(), &r, nullptr, nullptr) != IG_OK)
    return -1;
  int64_t step = ig_ckpt_step(r);
  EXPECT_EQ(compare(r, elements), "") << "step " << step;
  ig_ckpt_close(r);
  return step;
}

}  // namespace fault
#endif
