// Layer normalisation by cuDNN beyond what the op table compares: a library that refuses leaves the node to the
// hand-written kernel, y lies apart from x, and each failed call ends in a clear message with nothing left. Rule: on
// the stand-ins of tests/sim/fakes alone; elsewhere "skipped" (77) and why.
#include <gtest/gtest.h>

#include "kernels/layernorm/layernorm.h"
#include "runtime/graph/plan_internal.h"
#include "tests/fake_cudnn.h"
#include "tests/ops_compare.h"
#include "tests/ops_harness.h"

namespace {

using namespace ops;

FakeCudnn fake;
ig_device *cuda = nullptr;

// An epsilon that shows in every number.
const ig_layernorm_attr attr = {0.5f, 0, false};

class CudaLayerNorm : public testing::Test {
 protected:
  ~CudaLayerNorm() override { fake.fail(nullptr, 0); }
  static Job job(ig_dtype type) {
    for (const ig_op *op : all_rows())
      for (int i = 0; i < op->n_cases; i++)
        if (!strcmp(op->name, "layernorm") && !strcmp(op->cases[i].name, "d131")) {
          Job job = job_of(op, op->cases[i], type);
          job.attr = &attr;
          return job;
        }
    throw std::runtime_error("no such case");
  }
  // "": it ran.
  static std::string run(const Job &job, const std::string &impl, Result *got, bool in_place = false) {
    std::string why;
    try {
      return run_job(job, cuda, impl, in_place, got, &why) ? "" : why;
    } catch (const std::exception &e) {
      return e.what();
    }
  }
};

TEST_F(CudaLayerNorm, TakesEveryType) {
  Device host(IG_ISA_AMX, 1);
  for (ig_dtype type : {IG_F32, IG_BF16, IG_F16})
    for (bool in_place : {false, true}) {
      Result got;
      const Job j = job(type);
      EXPECT_EQ(run(j, "layernorm_cudnn", &got, in_place), "");
      const ig_impl *impl = ig_device_find_impl(cuda, "layernorm_cudnn");
      EXPECT_TRUE(impl->flags & IG_IMPL_APART);
      EXPECT_EQ(compare(j, impl, got, oracle(j, host.get())), "") << ig_dtype_name(type);
    }
}

TEST_F(CudaLayerNorm, ALibraryThatRefusesLeaves) {
  const Job j = job(IG_F16);
  Result own, got;
  ASSERT_EQ(run(j, "layernorm_cuda", &own), "");
  for (const char *function : {"cudnnBackendFinalize", "cudnnBackendFinalize of a plan", "cudnnBackendSetAttribute",
                               "cudnnBackendGetAttribute"}) {
    fake.fail(function, -1);
    EXPECT_EQ(run(j, "library", &got), "") << function;
    EXPECT_GT(fake.failed(), 0) << function;
    EXPECT_EQ(fake.live(), 0) << function;
    EXPECT_TRUE(same_bits(own, got)) << function;
  }
}

TEST_F(CudaLayerNorm, EachFailedCallIsClear) {
  const Job j = job(IG_F16);
  char before[2000], after[2000];
  const size_t had = fake.leaks(before, sizeof before);
  int ended = 0;
  Result got;
  for (const char *function : {"cudnnSetStream", "cudnnBackendCreateDescriptor", "cudnnBackendSetAttribute",
                               "cudnnBackendFinalize", "cudnnBackendGetAttribute", "cudnnBackendExecute"}) {
    fake.fail(function, 0);
    ASSERT_EQ(run(j, "layernorm_cudnn", &got), "");
    const long all = fake.calls();
    EXPECT_GT(all, 0) << function;
    for (long at = 1; at <= all; at++) {
      fake.fail(function, (int)at);
      const std::string message = run(j, "layernorm_cudnn", &got);
      const std::string where = std::string(function) + ", call " + std::to_string(at) + ": '" + message + "'";
      EXPECT_EQ(fake.failed(), 1) << where;
      EXPECT_EQ(fake.live(), 0) << where;
      EXPECT_EQ((size_t)fake.leaks(after, sizeof after), had) << where << after;
      if (message.empty())
        continue;  // another engine was there
      ended++;
      EXPECT_NE(message.find(function), std::string::npos) << where;
      EXPECT_NE(message.find("CUDNN_STATUS_INTERNAL_ERROR"), std::string::npos) << where;
    }
  }
  EXPECT_GT(ended, 100);
}

}  // namespace

int main(int argc, char **argv) {
  testing::InitGoogleTest(&argc, argv);
  if (!fake.open()) {
    printf("skipped: no stand-in of cuDNN (INGOT_CUDA_LIBRARIES), or no simulator\n");
    return 77;
  }
  ig_cuda_options o = {};
  o.size = sizeof o;
  if (ig_device_create_cuda(&o, &cuda) != IG_OK) {
    printf("skipped: %s\n", ig_error_message());
    return 77;
  }
  const int failed = RUN_ALL_TESTS();
  ig_device_destroy(cuda);
  return failed;
}
