// Mutants of the PTX of the kernels that a ResNet's and a BERT's step are made of: barriers dropped, conditions turned
// round, bounds and addresses off by one, operands and fragments exchanged (tests/sim/mutate.cc). Rule: of those that
// change a result or a report at least 95 % are caught by the comparison with the fp64 reference, or by the simulator's
// checks; what is missed is printed. A sample spread over each kernel (INGOT_LONG=1: all; every 3rd to 37th, 172 that
// changed something, missed one: bn_stats may subtract any element first). On the simulator alone:
// elsewhere "skipped" (77) and why.
#include <algorithm>
#include <dlfcn.h>
#include <gtest/gtest.h>

#include "tests/ops_harness.h"
#include "tests/sim/sim.h"

namespace {

using namespace ops;

struct {
  decltype(&ig_sim_mutants) mutants;
  decltype(&ig_sim_mutate) mutate;
  decltype(&ig_sim_mutant_text) text;
  decltype(&ig_sim_reset) reset;
  decltype(&ig_sim_clear) clear;
  decltype(&ig_sim_reports) reports;
  decltype(&ig_sim_limit) limit;
} sim;
ig_device *cuda = nullptr;
int all_changed = 0, all_caught = 0;

ig_device *host() {
  static Device d(IG_ISA_AMX, 1);
  return d.get();
}
void open_device() {
  ig_cuda_options o = {};
  o.size = sizeof o;
  must(ig_device_create_cuda(&o, &cuda));
}
// A sticky error stays with a device.
void renew() {
  ig_device_destroy(cuda);
  sim.reset();
  sim.clear();
  open_device();
}

const struct Target {
  const char *row, *kernel;  // part of the mangled name
  ig_dtype type;
  int samples;
} targets[] = {
    {"conv2d", "gemm_kernelI13__nv_bfloat16L12ig_gemm_math2EL12ig_conv_pass0ELi64ELi64ELb0", IG_BF16, 10},
    {"conv2d_bwd_data", "gemm_kernelI13__nv_bfloat16L12ig_gemm_math2EL12ig_conv_pass1ELi64ELi64ELb0", IG_BF16, 10},
    {"conv2d_bwd_weights", "gemm_kernelI13__nv_bfloat16L12ig_gemm_math2EL12ig_conv_pass2ELi64ELi64ELb0", IG_BF16, 10},
    {"bn_stats", "12stats_kernelIfLi8E", IG_F32, 10},
    {"bn_apply", "12apply_kernelI13__nv_bfloat16Li8E", IG_BF16, 10},
    {"bn_apply_mask", "12apply_kernelI13__nv_bfloat16Li8E", IG_BF16, 10},
    {"bn_bwd_sums", "15bwd_sums_kernelI13__nv_bfloat16Li8E", IG_BF16, 10},
    {"bn_bwd_apply", "16bwd_apply_kernelI13__nv_bfloat16Li8E", IG_BF16, 10},
    {"layernorm", "11rows_kernelI13__nv_bfloat16Li1E", IG_BF16, 10},
    {"softmax_xent", "11xent_kernelIfE", IG_F32, 10},
    {"adam", "ig_update_kernelI9adam_ruleLi2E", IG_F32, 10},
    {"maxpool2d", "max_kernelI13__nv_bfloat16Li8E", IG_BF16, 10},
};

class Mutants : public testing::TestWithParam<Target> {};

// Jobs of the row that launch the kernel at hand: what does not has no result that a mutant changes.
std::vector<Job> jobs_of(const Target &t) {
  std::vector<Job> jobs;
  for (const ig_op *op : all_rows())
    for (int i = 0; i < op->n_cases && t.row == std::string(op->name); i++)
      if (!op->cases[i].bench) {
        Job job = job_of(op, op->cases[i], t.type);
        if (accepted(job))
          jobs.push_back(job);
      }
  return jobs;
}

TEST_P(Mutants, AreCaught) {
  const Target t = GetParam();
  const std::string name = std::string(t.row) + "_cuda";
  const ig_impl *impl = ig_device_find_impl(cuda, name.c_str());
  std::vector<Job> jobs;
  std::vector<Result> clean, want;
  for (const Job &job : jobs_of(t)) {
    Result got;
    std::string why;
    if (!run_job(job, cuda, name, false, &got, &why))
      continue;
    jobs.push_back(job);
    clean.push_back(got);
    want.push_back(oracle(job, host()));
  }
  ASSERT_FALSE(jobs.empty()) << t.row;
  const int all = sim.mutants(t.kernel);
  ASSERT_GT(all, 20) << t.kernel << " is no kernel's name";
  const int every = getenv("INGOT_LONG") ? 1 : std::max(1, all / t.samples);
  int changed = 0, caught = 0;
  std::string missed;
  for (int m = every / 2; m < all; m += every) {
    bool far = false, same = true, reported = false;
    char text[400];
    sim.limit(100000);
    ASSERT_EQ(sim.mutate(t.kernel, m), 0);
    sim.text(t.kernel, m, text, sizeof text);
    for (size_t j = 0; j < jobs.size() && !far && !reported; j++) {
      try {
        Result got;
        std::string why;
        if (!run_job(jobs[j], cuda, name, false, &got, &why))
          throw std::runtime_error(why);
        far = !compare(jobs[j], impl, got, want[j]).empty();
        same &= same_bits(got, clean[j]);
      } catch (const std::exception &) {
        reported = true;
      }
      reported |= sim.reports() > 0;
    }
    sim.mutate(nullptr, 0);
    if (reported) {
      renew();
      impl = ig_device_find_impl(cuda, name.c_str());
    }
    changed += reported || !same;
    caught += reported || far;
    if (!same && !far && !reported)
      missed += std::string("  ") + text + "\n";
  }
  sim.limit(0);
  printf("%s: every %d. of %d mutants, %d change something, %d caught\n%s", t.row, every, all, changed, caught,
         missed.c_str());
  all_changed += changed;
  all_caught += caught;
  EXPECT_GT(changed, 0);
  EXPECT_GE(caught, 0.95 * changed - (every > 1 ? 1 : 0)) << "of a sample one may be missed";
}
INSTANTIATE_TEST_SUITE_P(Kernels, Mutants, testing::ValuesIn(targets),
                         [](const testing::TestParamInfo<Target> &i) { return std::string(i.param.row); });

}  // namespace

int main(int argc, char **argv) {
  testing::InitGoogleTest(&argc, argv);
  const char *file = getenv("INGOT_CUDA_LIBRARY");
  void *library = file ? dlopen(file, RTLD_NOW) : nullptr;
#define SIM(to, name) sim.to = library ? (decltype(sim.to))dlsym(library, "ig_sim_" name) : nullptr
  SIM(mutants, "mutants");
  SIM(mutate, "mutate");
  SIM(text, "mutant_text");
  SIM(reset, "reset");
  SIM(clear, "clear");
  SIM(reports, "reports");
  SIM(limit, "limit");
#undef SIM
  if (!sim.mutants) {
    printf("skipped: mutants are made by the simulator (INGOT_CUDA_LIBRARY=.../libingot_cuda_sim.so)\n");
    return 77;
  }
  open_device();
  const int failed = RUN_ALL_TESTS();
  ig_device_destroy(cuda);
  printf("%d mutants change something, %d caught\n", all_changed, all_caught);
  return failed || all_caught < 0.95 * all_changed;
}
