// The rows that NVIDIA's libraries serve, against the fp64 reference: on a GPU with the real libraries, on the
// simulator with the stand-ins of tests/sim/fakes (INGOT_CUDA_LIBRARIES). Rule: where stand-ins are named every
// implementation must run; elsewhere a library that is not there is skipped with its reason.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <gtest/gtest.h>

#include "tests/fake_cudnn.h"
#include "tests/ops_compare.h"
#include "tests/ops_harness.h"

namespace {

using namespace ops;

ig_device *cuda = nullptr;

bool is_library(const std::string &name) {
  return name.find("_cublaslt") != std::string::npos || name.find("_cudnn") != std::string::npos;
}

class Library : public testing::TestWithParam<std::pair<const ig_op *, std::string>> {};

TEST_P(Library, AgreesWithTheReference) {
  const ig_op *op = GetParam().first;
  const std::string name = GetParam().second;
  const ig_impl *impl = ig_device_find_impl(cuda, name.c_str());
  ASSERT_TRUE(impl) << name << " is not in this build";
  EXPECT_FALSE(impl->flags & IG_IMPL_DETERMINISTIC) << "its algorithm is chosen by time";
  static Device host(IG_ISA_AMX, 1);
  std::string refusal;
  int ran = 0;
  for (int i = 0; i < op->n_cases; i++)
    for (ig_dtype type : {IG_F32, IG_BF16, IG_F16}) {
      if (op->cases[i].bench)
        continue;
      const Job job = job_of(op, op->cases[i], type);
      Result got;
      std::string why;
      if (!run_job(job, cuda, name, false, &got, &why)) {
        refusal = why;
        continue;
      }
      const std::string text = compare(job, impl, got, oracle(job, host.get()));
      EXPECT_TRUE(text.empty()) << op->cases[i].name << " " << ig_dtype_name(type) << ": " << text;
      ran++;
    }
  printf("%s: %d nodes; last refusal: %s\n", name.c_str(), ran, refusal.empty() ? "none" : refusal.c_str());
  if (!ran && !getenv("INGOT_CUDA_LIBRARIES"))
    GTEST_SKIP() << "skipped: " << refusal;
  EXPECT_GT(ran, 7) << refusal;
}

std::vector<std::pair<const ig_op *, std::string>> all() {
  std::vector<std::pair<const ig_op *, std::string>> found;
  for (const ig_op *op : all_rows())
    for (int i = 0; i < IG_MAX_IMPLS && op->impls[IG_DEVICE_CUDA][i]; i++)
      if (is_library(op->impls[IG_DEVICE_CUDA][i]))
        found.push_back({op, op->impls[IG_DEVICE_CUDA][i]});
  return found;
}
INSTANTIATE_TEST_SUITE_P(Table, Library, testing::ValuesIn(all()),
                         [](const testing::TestParamInfo<std::pair<const ig_op *, std::string>> &i) {
                           return i.param.second;
                         });

const ig_op *row_named(const char *name) {
  for (const ig_op *op : all_rows())
    if (!strcmp(op->name, name))
      return op;
  return nullptr;
}
const ig_op_case *case_named(const ig_op *op, const char *name) {
  const ig_op_case *c =
      std::find_if(op->cases, op->cases + op->n_cases, [=](const ig_op_case &k) { return !strcmp(k.name, name); });
  return c == op->cases + op->n_cases ? nullptr : c;
}

// cuDNN has no engine for an fp32 weight gradient of 16-bit operands. So it writes numbers of their type, and what is
// beyond fp16's range is infinite for the loss scale, not its largest number. An engine with a workspace (the
// stand-in's third, where the first has no plan) gives the same.
TEST(WeightGradients, AreOfTheOperandsTypeWidened) {
  const ig_op *op = row_named("conv2d_bwd_weights");
  const ig_op_case *c = op ? case_named(op, "3x3") : nullptr;
  ASSERT_TRUE(c);
  for (ig_dtype type : {IG_BF16, IG_F16}) {
    Job job = job_of(op, *c, type);
    const size_t channels = (size_t)job.in[0].shape.d[3];
    for (size_t i = 0; i < job.in[0].values.size(); i += channels)
      job.in[0].values[i] = 1000;
    for (double &v : job.in[1].values)
      v = rounded(1 + v / 64, type);
    Result got;
    std::string why;
    if (!run_job(job, cuda, "conv2d_bwd_weights_cudnn", false, &got, &why)) {
      EXPECT_FALSE(getenv("INGOT_CUDA_LIBRARIES")) << ig_dtype_name(type) << ": " << why;
      printf("%s: %s\n", ig_dtype_name(type), why.c_str());
      continue;
    }
    EXPECT_EQ(got.items[0].dtype, IG_F32);
    const size_t taps = got.items[0].values.size() / (17 * channels);
    size_t infinite = 0, other = 0;
    for (size_t i = 0; i < got.items[0].values.size(); i++) {
      const double v = got.items[0].values[i];
      infinite += std::isinf(v);
      other += !std::isinf(v) && v != rounded(v, type);
      EXPECT_TRUE(!std::isinf(v) || (v > 0 && i / taps % channels == 0)) << i;
    }
    EXPECT_EQ(infinite, type == IG_F16 ? 17 * taps : 0) << ig_dtype_name(type);
    EXPECT_EQ(other, 0u) << ig_dtype_name(type) << ": not rounded to its type";
    FakeCudnn library;
    if (!library.open())
      continue;
    Result again;
    library.fail("cudnnBackendFinalize of a plan", 1);
    EXPECT_TRUE(run_job(job, cuda, "conv2d_bwd_weights_cudnn", false, &again, &why)) << why;
    EXPECT_EQ(library.failed(), 1);
    library.fail(nullptr, 0);
    EXPECT_TRUE(same_bits(got, again)) << ig_dtype_name(type) << " beside a workspace";
  }
}

// What is no number stays none behind the ReLU, by hand and by the library: a broken network must not look sound.
TEST(Fused, NanPasses) {
  const ig_op *op = row_named("conv2d_fused");
  const ig_op_case *c = op ? case_named(op, "3x3 relu") : nullptr;
  ASSERT_TRUE(c);
  Job job = job_of(op, *c, IG_F16);
  job.in[0].values[0] = NAN;
  int ran = 0;
  for (const char *impl : {"conv2d_fused_cuda", "conv2d_fused_cudnn"}) {
    Result got;
    std::string why;
    if (!run_job(job, cuda, impl, false, &got, &why))
      continue;
    EXPECT_TRUE(std::isnan(got.items[0].values[0])) << impl;
    EXPECT_FALSE(std::isnan(got.items[0].values.back())) << impl;
    ran++;
  }
  EXPECT_EQ(ran, getenv("INGOT_CUDA_LIBRARIES") ? 2 : std::max(1, ran));
}

}  // namespace

int main(int argc, char **argv) {
  testing::InitGoogleTest(&argc, argv);
  ig_cuda_options o = {};
  o.size = sizeof o;
  if (ig_device_create_cuda(&o, &cuda) != IG_OK) {
    printf("skipped: %s\n", ig_error_message());
    return 77;
  }
  printf("%s, %s\n", cuda->caps.name, cuda->caps.libraries);
  const int failed = RUN_ALL_TESTS();
  ig_device_destroy(cuda);
  return failed;
}
