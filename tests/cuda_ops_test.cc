// Walks the op table on a GPU, or on the simulator of one (tests/sim): every row, case and element type, every
// implementation for CUDA against the fp64 reference, forward and backward; fp32 once more as the policy tf32 has it.
// Rule: which library computes is the caller's (INGOT_CUDA_LIBRARY); without a device the answer is "skipped" (77) and
// why.
#include <algorithm>
#include <gtest/gtest.h>
#include <set>

#include "tests/ops_harness.h"

namespace {

using namespace ops;

ig_device *cuda = nullptr, *rounding = nullptr;  // fp32 products as they are, and as tf32 (NULL: the chip has none)
std::set<std::string> ran, rounded_rows;
int comparisons = 0;

ig_device *host() {
  static Device d(IG_ISA_AMX, 1);
  return d.get();
}

// The same job in tf32: `exact` are fp32's results.
void check_tf32(const Job &job, const std::string &name, const Result &want, const Result &exact,
                const std::string &where) {
  const ig_impl *impl = ig_device_find_impl(rounding, name.c_str());
  Result got;
  std::string why;
  if (!impl || !run_job(job, rounding, name, false, &got, &why))
    return;
  comparisons++;
  const auto units = tf32_units().find(job.op->name);
  if (units == tf32_units().end()) {
    EXPECT_TRUE(same_bits(got, exact)) << where << " has other bits in tf32, and no tolerance for that";
    return;
  }
  if (!same_bits(got, exact))
    rounded_rows.insert(name);
  const std::string text = compare(job, impl, got, want, nullptr, units->second);
  EXPECT_TRUE(text.empty()) << where << " in tf32: " << text;
}

void check_job(const Job &job, const std::string &what) {
  if (!job.op->impls[IG_DEVICE_CUDA][0] || (job.op->mutates_in && job.type != IG_F32))
    return;
  const Result want = oracle(job, host());
  for (int i = 0; i < IG_MAX_IMPLS && job.op->impls[IG_DEVICE_CUDA][i]; i++) {
    const std::string name = job.op->impls[IG_DEVICE_CUDA][i];
    const ig_impl *impl = ig_device_find_impl(cuda, name.c_str());
    if (!impl)
      continue;
    for (bool in_place : {false, true}) {
      Result got;
      std::string why, where = what + " " + name + (in_place ? ", in place" : "");
      try {
        if (!run_job(job, cuda, name, in_place, &got, &why)) {
          if (job.type == IG_F32)
            printf("  refused: %s: %s\n", where.c_str(), why.c_str());
          break;
        }
      } catch (const std::exception &e) {
        ADD_FAILURE() << where << ": " << e.what();
        break;
      }
      ran.insert(name);
      comparisons++;
      const std::string text = compare(job, impl, got, want);
      EXPECT_TRUE(text.empty()) << where << ": " << text;
      if (rounding && job.type == IG_F32 && !in_place)
        check_tf32(job, name, want, got, where);
    }
  }
}

void check_case(const ig_op *op, const ig_op_case &c) {
  for (ig_dtype type : {IG_F32, IG_BF16, IG_F16}) {
    Job job = job_of(op, c, type);
    const std::string what = std::string(op->name) + " '" + c.name + "' " + ig_dtype_name(type);
    if (type != IG_F32 && std::none_of(job.in.begin(), job.in.end(), [](const Operand &o) { return o.narrow; }))
      continue;
    if (!accepted(job))
      continue;
    check_job(job, what);
    if (!has_gradient(op))
      continue;
    std::vector<std::unique_ptr<Differentiated>> keep;
    int unmatched = 0;
    for (const Job &b : backward_jobs(op, c, type, host(), &keep, &unmatched))
      check_job(b, what + " -> " + b.op->name);
  }
}

class Row : public testing::TestWithParam<const ig_op *> {};

TEST_P(Row, AgreesWithTheReference) {
  const ig_op *op = GetParam();
  for (int i = 0; i < op->n_cases; i++)
    if (!op->cases[i].bench) {
      try {
        check_case(op, op->cases[i]);
      } catch (const std::exception &e) {
        ADD_FAILURE() << op->name << " '" << op->cases[i].name << "': " << e.what();
      }
    }
}
INSTANTIATE_TEST_SUITE_P(Table, Row, testing::ValuesIn(all_rows()),
                         [](const testing::TestParamInfo<const ig_op *> &i) { return std::string(i.param->name); });

// After all rows: what no case reached.
void check_reached() {
  std::string missing;
  for (const ig_op *op : all_rows()) {
    if (!op->impls[IG_DEVICE_CUDA][0])
      missing += std::string(" ") + op->name;
    for (int i = 0; i < IG_MAX_IMPLS && op->impls[IG_DEVICE_CUDA][i]; i++) {
      const std::string name = op->impls[IG_DEVICE_CUDA][i];
      const bool own = name.size() > 5 && !name.compare(name.size() - 5, 5, "_cuda");
      EXPECT_TRUE(!own || ig_device_find_impl(cuda, name.c_str()))
          << op->name << " names " << name << ", which is nowhere";
      EXPECT_TRUE(!own || ran.count(name)) << name << " is reached by no case";
    }
  }
  for (const auto &row : tf32_units())
    EXPECT_TRUE(!rounding || rounded_rows.count(row.first + "_cuda")) << row.first << "_cuda: tf32 rounds nothing";
  printf("%zu implementations, %d comparisons; rows without one:%s\n", ran.size(), comparisons,
         missing.empty() ? " none" : missing.c_str());
}

class Reached : public testing::Environment {
  void TearDown() override {
    if (testing::GTEST_FLAG(filter) == "*")
      check_reached();
  }
};

}  // namespace

int main(int argc, char **argv) {
  testing::InitGoogleTest(&argc, argv);
  ig_cuda_options o = {};
  o.size = sizeof o;
  if (ig_device_create_cuda(&o, &cuda) != IG_OK) {
    printf("skipped: %s\n", ig_error_message());
    return 77;
  }
  o.tf32 = true;
  must(ig_device_create_cuda(&o, &rounding));
  if (!rounding->caps.tf32) {
    ig_device_destroy(rounding);
    rounding = nullptr;
  }
  printf("%s, %s\n", cuda->caps.name, cuda->caps.libraries);
  testing::AddGlobalTestEnvironment(new Reached);
  const int failed = RUN_ALL_TESTS();
  if (rounding)
    ig_device_destroy(rounding);
  ig_device_destroy(cuda);
  return failed;
}
