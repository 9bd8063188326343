// The text rows on a GPU, or on the simulator of one, beyond the cases of the op table: attention over several pieces a
// sequence on every path (tensor cores of each type, tf32, multiply-adds up to heads of 256), sums by key over many
// pieces, cross-entropy over several chunks of classes, rows of layer norms that fill registers, and the bytes that
// kernels move. Rule: which library computes is the caller's (INGOT_CUDA_LIBRARY); without a device: "skipped" (77).
#include <algorithm>
#include <dlfcn.h>
#include <gtest/gtest.h>

#include "kernels/attention/attention.h"
#include "kernels/embedding/embedding.h"
#include "kernels/layernorm/layernorm.h"
#include "kernels/rows/rows.h"
#include "tests/case_inputs.h"
#include "tests/ops_compare.h"
#include "tests/ops_gradients.h"
#include "tests/sim/sim.h"

namespace {

using namespace ops;

ig_device *exact = nullptr, *rounding = nullptr;  // fp32 products as they are, and as tf32

ig_device *open_device(bool tf32) {
  ig_cuda_options o = {};
  o.size = sizeof o;
  o.tf32 = tf32;
  ig_device *device = nullptr;
  return ig_device_create_cuda(&o, &device) == IG_OK ? device : nullptr;
}
ig_device *host() {
  static Device d(IG_ISA_AMX, 2);
  return d.get();
}

Result run_on(ig_device *device, const Job &job) {
  Result got;
  std::string why;
  if (!run_job(job, device, std::string(job.op->name) + "_cuda", false, &got, &why))
    throw std::runtime_error("refused: " + why);
  return got;
}

// The node of a case and those of its gradient, that the row itself has an implementation for.
struct Jobs {
  std::vector<Job> jobs;
  std::vector<Result> want;
  std::vector<std::unique_ptr<Differentiated>> keep;
};
std::unique_ptr<Jobs> jobs_of(const ig_op *op, const ig_op_case &c, ig_dtype type) {
  std::unique_ptr<Jobs> all(new Jobs);
  int unmatched = 0;
  all->jobs.push_back(job_of(op, c, type));
  if (has_gradient(op))
    for (const Job &job : backward_jobs(op, c, type, host(), &all->keep, &unmatched))
      all->jobs.push_back(job);
  for (const Job &job : all->jobs)
    all->want.push_back(oracle(job, host()));
  return all;
}

void agrees(const ig_op *op, const ig_op_case &c, std::vector<ig_dtype> types = {IG_F32, IG_BF16, IG_F16}) {
  for (ig_dtype type : types) {
    std::unique_ptr<Jobs> all = jobs_of(op, c, type);
    EXPECT_TRUE(!has_gradient(op) || all->jobs.size() > 1) << c.name;
    for (size_t k = 0; k < all->jobs.size(); k++) {
      const ig_impl *impl = ig_device_find_impl(exact, (std::string(all->jobs[k].op->name) + "_cuda").c_str());
      ASSERT_TRUE(impl) << all->jobs[k].op->name;
      const std::string text = compare(all->jobs[k], impl, run_on(exact, all->jobs[k]), all->want[k]);
      EXPECT_TRUE(text.empty()) << all->jobs[k].op->name << " " << c.name << " " << ig_dtype_name(type) << ": " << text;
    }
  }
}

// ---- attention ----
struct Attention {
  const char *name;
  int64_t T, d, B, rows;  // rows: of sequences
  ig_attention_attr at;
  bool keys;
};
const Attention attentions[] = {
    {"one long sequence", 149, 64, 1, 149, {2, false, 0, 0}, false},
    {"causal over pieces", 201, 32, 2, 190, {1, true, 0, 0}, false},
    {"width 128, draws", 131, 128, 1, 131, {1, false, 0, 0.2f}, true},
    {"width 128, causal draws", 140, 104, 1, 137, {1, true, 0.2f, 0.3f}, true},
    {"causal draws", 170, 40, 2, 163, {2, true, 0, 0.4f}, true},
    {"draws", 150, 24, 3, 150, {1, false, 0, 0.1f}, false},
    {"large scores", 90, 16, 2, 90, {1, false, 2, 0}, false},
    {"heads of 256", 43, 256, 2, 43, {1, true, 0, 0.2f}, true},
    {"heads of 150", 37, 150, 1, 35, {1, false, 0, 0}, false},
    {"odd heads", 77, 67, 2, 77, {2, true, 0, 0.1f}, true},
};
ig_op_case attention_case(const Attention &a) {
  const ig_shape x = {2, {a.T, a.at.heads * a.d}};
  const bool draws = a.at.dropout > 0;
  return case_of(
      a.name,
      {numbers(x), numbers(x), numbers(x), integers(IG_I32, {1, {a.B + 1}}, (double)a.rows, IG_FILL_OFFSETS),
       draws ? integers(IG_U64, {1, {4}}, 1000) : absent(), a.keys ? integers(IG_U64, {1, {a.T}}, 1e9) : absent()},
      &a.at);
}

class AttentionTest : public testing::TestWithParam<Attention> {};

TEST_P(AttentionTest, AgreesWithTheReference) { agrees(row_named("attention"), attention_case(GetParam())); }

// Largest difference by the largest value of a result.
double error_of(const Result &got, const Result &want) {
  double worst = 0;
  for (size_t k = 0; k < got.items.size(); k++) {
    double largest = 1e-30, most = 0;
    for (size_t i = 0; i < got.items[k].values.size(); i++) {
      const double d = std::fabs(got.items[k].values[i] - want.items[k].values[i]);
      largest = std::max(largest, std::fabs(want.items[k].values[i]));
      most = d <= most ? most : d;  // NaN counts
    }
    worst = std::max(worst, most / largest);
  }
  return worst;
}

TEST_P(AttentionTest, RoundsToTf32WhereThatIsAllowed) {
  if (!rounding->caps.tf32)
    GTEST_SKIP() << "skipped: tf32 needs compute capability 8.0";
  const Attention &a = GetParam();
  const ig_op_case c = attention_case(a);
  std::unique_ptr<Jobs> all = jobs_of(row_named("attention"), c, IG_F32);
  const bool tensor = a.d % 4 == 0 && a.d <= 128;
  for (size_t k = 0; k < all->jobs.size(); k++) {
    const double error = error_of(run_on(rounding, all->jobs[k]), all->want[k]);
    const double scale =
        a.at.scale > 0 ? (double)a.at.scale * std::sqrt((double)a.d) : 1;  // of what errors of scores do
    EXPECT_LT(error, (tensor ? 6e-3 : 1e-5) * std::max(1.0, scale)) << a.name << " " << all->jobs[k].op->name;
    if (tensor) {
      EXPECT_GT(error, 2e-5) << a.name << " " << all->jobs[k].op->name << ": nothing was rounded";
    }
  }
}
INSTANTIATE_TEST_SUITE_P(Shapes, AttentionTest, testing::ValuesIn(attentions),
                         [](const testing::TestParamInfo<Attention> &i) { return std::to_string(i.index); });

// Two runs have the same bits, and offsets that decrease or leave [0,T] are cut off.
TEST(AttentionOffsets, AreCutOff) {
  const Attention a = {"offsets", 90, 32, 5, 90, {1, false, 0, 0}, false};
  ig_op_case c = attention_case(a);
  std::unique_ptr<Jobs> all = jobs_of(row_named("attention"), c, IG_BF16);
  for (Job &job : all->jobs) {
    for (Operand &x : job.in)
      if (!x.absent && x.dtype == IG_I32)
        x.values = {-3, 20, 11, 70, 2000, 80};
    const ig_impl *impl = ig_device_find_impl(exact, (std::string(job.op->name) + "_cuda").c_str());
    const Result got = run_on(exact, job), again = run_on(exact, job);
    EXPECT_EQ(compare(job, impl, got, oracle(job, host())), "");
    EXPECT_TRUE(same_bits(got, again));
  }
}

// ---- sums by key ----
TEST(SumsByKey, OverManyPieces) {
  const ig_embedding_bwd_attr attrs[] = {{3}, {700}, {70001}};
  for (const ig_embedding_bwd_attr &attr : attrs)
    for (int64_t D : {8, 3})
      agrees(row_named("embedding_bwd"),
             case_of("many", {numbers({2, {1030, D}}), integers(IG_I32, {1, {1030}}, attr.V < 99 ? 2 : (double)attr.V)},
                     &attr),
             {IG_BF16});
  // One key holds half of the rows, others lie around it, some are no keys.
  const ig_embedding_bwd_attr attr = {600};
  Job job = job_of(row_named("embedding_bwd"),
                   case_of("skewed", {numbers({2, {777, 264}}), integers(IG_I32, {1, {777}}, 600)}, &attr), IG_F32);
  for (size_t i = 0; i < job.in[1].values.size(); i++)
    job.in[1].values[i] = i % 2 ? 257 : i % 14 == 0 ? -1 : i % 18 == 0 ? 600 : job.in[1].values[i];
  const Result got = run_on(exact, job);
  EXPECT_EQ(compare(job, ig_device_find_impl(exact, "embedding_bwd_cuda"), got, oracle(job, host())), "");
}

// ---- rows in registers, and sums over many of them ----
TEST(LayerNorm, OfEveryWidth) {
  const ig_layernorm_attr plain = {1e-12f, 0, false}, dropped = {1e-5f, 0.2f, true};
  for (int64_t D : {264, 512, 1024, 1032, 2048})
    agrees(row_named("layernorm"),
           case_of("wide", {numbers({2, {9, D}}), numbers({1, {D}}, true), numbers({1, {D}}, true)}, &plain),
           {IG_BF16});
  for (int64_t D : {24, 776, 1000})
    agrees(row_named("layernorm_bwd"),
           case_of("tall",
                   {numbers({2, {70, D}}), numbers({2, {70, D}}), numbers({1, {D}}, true), numbers({2, {70, D}}),
                    integers(IG_U64, {1, {4}}, 1000), integers(IG_U64, {1, {70}}, 1e9)},
                   &dropped),
           {IG_F32, IG_F16});
}

TEST(LinearXent, OverSeveralChunks) {
  const int64_t P = 5, D = 8, V = 17003;
  agrees(row_named("linear_xent"),
         case_of("chunks",
                 {numbers({2, {P, D}}), numbers({2, {V, D}}, false, IG_FILL_UNIFORM), numbers({1, {V}}, true),
                  integers(IG_I32, {1, {P}}, (double)V), absent()},
                 nullptr),
         {IG_F32, IG_BF16});
}

// A label that is no class makes the loss NaN, unless its row counts nothing.
TEST(LinearXent, ForeignLabels) {
  ig_case_input weights = numbers({1, {4}}, true, IG_FILL_POSITIVE);
  Job job = job_of(
      row_named("linear_xent"),
      case_of("foreign", {numbers({2, {4, 8}}), numbers({2, {9, 8}}), absent(), integers(IG_I32, {1, {4}}, 9), weights},
              nullptr),
      IG_F32);
  job.in[3].values = {2, -100, 8, 3};
  job.in[4].values = {1, 0, 1, 0.5};
  Result got = run_on(exact, job);
  EXPECT_EQ(compare(job, ig_device_find_impl(exact, "linear_xent_cuda"), got, oracle(job, host())), "");
  job.in[4].values[1] = 1;
  EXPECT_TRUE(std::isnan(run_on(exact, job).items[0].values[0]));
}

// ---- traffic ----
struct Counter {
  int (*count)(const char *, ig_sim_counts *) = nullptr;
  void (*reset)(void) = nullptr;
  Counter() {
    void *library = getenv("INGOT_CUDA_LIBRARY") ? dlopen(getenv("INGOT_CUDA_LIBRARY"), RTLD_NOW) : nullptr;
    count = library ? (int (*)(const char *, ig_sim_counts *))dlsym(library, "ig_sim_count") : nullptr;
    reset = library ? (void (*)(void))dlsym(library, "ig_sim_count_reset") : nullptr;
  }
  ig_sim_counts of(const Job &job, ig_device *device, const char *kernel) {
    ig_sim_counts n = {};
    reset();
    run_on(device, job);
    if (!count(kernel, &n))
      throw std::runtime_error(std::string("never launched: ") + kernel);
    return n;
  }
};

// Under the simulator: attention runs on tensor cores with no more products than its rule says, without bank conflicts
// in the main loop and without atomics; rows move each number once.
TEST(Traffic, IsWhatTheHeadersSay) {
  Counter counter;
  if (!counter.count || !counter.reset)
    GTEST_SKIP() << "skipped: not on the simulator";
  const Attention a = {"traffic", 256, 64, 1, 256, {1, false, 0, 0}, false};
  const double product = 2.0 * 256 * 256 * 64;
  const struct {
    ig_dtype type;
    ig_device *device;
  } kinds[] = {{IG_BF16, exact}, {IG_F16, exact}, {IG_F32, rounding}};
  for (auto kind : kinds) {
    std::unique_ptr<Jobs> all = jobs_of(row_named("attention"), attention_case(a), kind.type);
    const double x = 256 * 64 * (double)ig_dtype_bytes(kind.type);
    ig_sim_counts n = counter.of(all->jobs[0], kind.device, "forward_kernel");
    EXPECT_EQ(n.mma_flops, 2 * product);
    EXPECT_EQ(n.atomics, 0u);
    EXPECT_LE(n.shared_ways, 1.05 * n.shared_requests) << ig_dtype_name(kind.type) << ": bank conflicts";
    EXPECT_LE(n.read_unique, 1.1 * 3 * x);
    EXPECT_LE(n.write_unique, 1.1 * (x + 256 * 4));
    n = counter.of(all->jobs[1], kind.device, "backward_kernel");
    EXPECT_EQ(n.mma_flops, 7 * product);
    EXPECT_EQ(n.atomics, 0u);
    EXPECT_LE(n.shared_ways, 1.05 * n.shared_requests) << ig_dtype_name(kind.type) << ": bank conflicts";
    EXPECT_LE(n.read_unique, 1.1 * (9 * x + 4 * 256 * 4));
    EXPECT_LE(n.write_unique, 1.1 * (3 * x + 256 * 4));
  }
  const ig_layernorm_attr plain = {1e-12f, 0, false};
  const double row = 64 * 768 * 2;
  const Job norm =
      job_of(row_named("layernorm"),
             case_of("rows", {numbers({2, {64, 768}}), numbers({1, {768}}, true), numbers({1, {768}}, true)}, &plain),
             IG_BF16);
  const ig_sim_counts n = counter.of(norm, exact, "rows_kernel");
  EXPECT_LE(n.read_unique, 1.1 * (row + 2 * 768 * 4));
  EXPECT_EQ(n.write_bytes, row);
  EXPECT_EQ(n.write_sectors * 32, n.write_bytes);  // whole sectors
}

// ---- mutants ----
// Every 37th mutant of the PTX of three attention kernels that changes a result or a report is caught by the comparison
// above, or by the simulator's checks. Not caught in walks of every 9th: 3 of 408 (the largest score of a row may be
// any of its scores; the last bits of logf).
TEST(Mutants, OfAttention) {
  void *library = getenv("INGOT_CUDA_LIBRARY") ? dlopen(getenv("INGOT_CUDA_LIBRARY"), RTLD_NOW) : nullptr;
#define SIM(name) const auto name = library ? (decltype(&::ig_sim_##name))dlsym(library, "ig_sim_" #name) : nullptr
  SIM(mutants);
  SIM(mutate);
  SIM(mutant_text);
  SIM(reset);
  SIM(clear);
  SIM(reports);
  SIM(limit);
#undef SIM
  if (!mutants)
    GTEST_SKIP() << "skipped: not on the simulator";
  const Attention shapes[] = {{"causal draws", 150, 24, 3, 141, {1, true, 0, 0.3f}, true},
                              {"plain", 139, 32, 2, 139, {2, false, 0, 0}, false}};
  const struct {
    const char *kernel;
    size_t job;
  } kernels[] = {{"forward_kernelI13__nv_bfloat16Li32E", 0},
                 {"backward_kernelI13__nv_bfloat16Li32ELb1E", 1},
                 {"backward_kernelI13__nv_bfloat16Li32ELb0E", 1}};
  std::vector<std::unique_ptr<Jobs>> jobs;
  for (auto &shape : shapes)
    jobs.push_back(jobs_of(row_named("attention"), attention_case(shape), IG_BF16));
  int changed = 0, caught = 0;
  std::string missed;
  auto renew = [&] {  // an error stays with a device
    ig_device_destroy(rounding);
    ig_device_destroy(exact);
    reset();
    clear();
    exact = open_device(false);
    rounding = open_device(true);
  };
  for (auto &k : kernels) {
    std::vector<Result> clean;
    for (auto &all : jobs)
      clean.push_back(run_on(exact, all->jobs[k.job]));
    for (int m = 0; m < mutants(k.kernel); m += 37) {
      bool far = false, same = true, reported = false;
      char text[400];
      limit(100000);
      ASSERT_EQ(mutate(k.kernel, m), 0);
      mutant_text(k.kernel, m, text, sizeof text);
      for (size_t j = 0; j < jobs.size() && !far && !reported; j++) {
        const Job &job = jobs[j]->jobs[k.job];
        const ig_impl *impl = ig_device_find_impl(exact, (std::string(job.op->name) + "_cuda").c_str());
        try {
          const Result got = run_on(exact, job);
          far = !compare(job, impl, got, jobs[j]->want[k.job]).empty();
          same &= same_bits(got, clean[j]);
        } catch (const std::exception &) {
          reported = true;
        }
        reported |= reports() > 0;
      }
      mutate(nullptr, 0);
      if (reported)
        renew();
      changed += reported || !same;
      caught += reported || far;
      if (!same && !far && !reported)
        missed += std::string("  ") + text + "\n";
    }
  }
  limit(0);
  printf("%d mutants change something, %d caught\n%s", changed, caught, missed.c_str());
  EXPECT_GE(changed, 50);
  EXPECT_GE(caught, 0.95 * changed);
}

}  // namespace

int main(int argc, char **argv) {
  testing::InitGoogleTest(&argc, argv);
  exact = open_device(false);
  if (!exact) {
    printf("skipped: %s\n", ig_error_message());
    return 77;
  }
  rounding = open_device(true);
  printf("%s, %s\n", exact->caps.name, exact->caps.libraries);
  const int failed = RUN_ALL_TESTS();
  ig_device_destroy(rounding);
  ig_device_destroy(exact);
  return failed;
}
