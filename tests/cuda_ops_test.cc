// Walks the op table on a GPU, or on the simulator of one (tests/sim): every row, case and element type, every
// implementation for CUDA against the fp64 reference, forward and backward; fp32 once more as the policy tf32 has it.
// On the simulator, which knows the kernels of the library by name, each of them (a source's every width, switch and
// type) must be launched by a job that is compared; what is compared elsewhere is named here (`elsewhere`). Rule: which
// library computes is the caller's (INGOT_CUDA_LIBRARY); without a device the answer is "skipped" (77) and why.
#include <algorithm>
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <set>

#include "kernels/reorder/reorder.h"
#include "tests/cuda_kernels.h"
#include "tests/ops_compare.h"
#include "tests/ops_gradients.h"
#include "tests/ops_harness.h"
#include "tests/sim/sim.h"

namespace {

using namespace ops;

ig_device *cuda = nullptr, *rounding = nullptr;  // fp32 products as they are, and as tf32 (NULL: the chip has none)
std::set<std::string> ran, rounded_rows;
int comparisons = 0;

// The simulator's lists of kernels; NULL on a device.
struct {
  decltype(&ig_sim_kernel) kernel;
  decltype(&ig_sim_launched) launched;
  decltype(&ig_sim_count_reset) reset;
} sim;
std::set<std::string> compared;  // kernels behind a compared result

bool run_alone(const Job &job, ig_device *device, const std::string &impl, bool in_place, Result *got,
               std::string *why) {
  if (sim.reset)
    sim.reset();
  return run_job(job, device, impl, in_place, got, why);
}
// What the last run launched; not of one in place, which has copies around it.
void note_kernels() {
  for (int k = 0; sim.launched && sim.launched(k); k++)
    compared.insert(sim.launched(k));
}

// A chip with one processor: products take the largest tile that the shape fills.
struct OneProcessor {
  OneProcessor() { std::swap(cuda->caps.processors, processors); }
  ~OneProcessor() { std::swap(cuda->caps.processors, processors); }
  int processors = 1;
};
const std::set<std::string> tiled = {"linear_cuda", "linear_bwd_data_cuda"};  // convolutions are the same kernels

// A cuBLASLt whose products do not add up the bias gradient; NULL where it is no stand-in (tests/sim/fakes).
void (*refuse)(const char *, int) = nullptr;
struct NoSums {
  NoSums() { refuse("BGRADB", -1); }
  ~NoSums() { refuse(nullptr, 0); }
};

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
  if (!impl || !run_alone(job, rounding, name, false, &got, &why))
    return;
  comparisons++;
  note_kernels();
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

// The same job under what the caller has changed, which leads to other kernels.
void check_again(const Job &job, const std::string &name, const ig_impl *impl, const Result &want,
                 const std::string &where) {
  Result got;
  std::string why;
  if (!run_alone(job, cuda, name, false, &got, &why)) {
    ADD_FAILURE() << where << ": " << why;
    return;
  }
  comparisons++;
  note_kernels();
  const std::string text = compare(job, impl, got, want);
  EXPECT_TRUE(text.empty()) << where << ": " << text;
}
void check_others(const Job &job, const std::string &name, const ig_impl *impl, const Result &want,
                  const std::string &where) {
  if (job.type != IG_F32 && tiled.count(name)) {  // fp32 has one tile
    const OneProcessor chip;
    check_again(job, name, impl, want, where + ", one processor");
  }
  if (refuse && name == "linear_bwd_weights_cublaslt") {
    const NoSums library;
    check_again(job, name, impl, want, where + ", sums by a kernel");
  }
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
        if (!run_alone(job, cuda, name, in_place, &got, &why)) {
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
      if (!in_place)
        note_kernels();
      const std::string text = compare(job, impl, got, want);
      EXPECT_TRUE(text.empty()) << where << ": " << text;
      if (rounding && job.type == IG_F32 && !in_place)
        check_tf32(job, name, want, got, where);
      if (!in_place)
        check_others(job, name, impl, want, where);
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

// A reorder whose result a convolution wants in another layout turns and rounds in one pass: the table's cases, one
// node each, do not have that. Weights of every type to every other.
void check_turn(const ig_op *op, const ig_op_case &c, ig_dtype from, ig_dtype to) {
  const std::string where = std::string(ig_dtype_name(from)) + " to " + ig_dtype_name(to);
  Job job = job_of(op, c, to);
  Operand given = job.in[1];
  given.dtype = from;
  for (double &v : given.values)
    v = rounded(v, from);
  for (size_t i = 0; i < given.values.size(); i++)
    job.in[1].values[i] = rounded(given.values[i], to);
  Net net(to);
  ig_tensor *in[3] = {net.input("x", job.in[0].dtype, job.in[0].shape, job.in[0].values),
                      ig_reorder(net.g, "turned", net.input("w", from, given.shape, given.values), to), nullptr};
  ig_node *n = ig_graph_node(net.g, op->name, "conv", 3, in, job.attr);
  must(ig_graph_status(net.g));
  ig_cost cost = {};
  op->cost(n, &cost);
  net.output(n->out[0]);
  std::string why;
  ASSERT_TRUE(net.plan(cuda, "conv2d=conv2d_cuda", &why)) << why;
  if (sim.reset)
    sim.reset();
  net.run();
  note_kernels();
  const ig_tensor *y = n->out[0];
  Result got;
  got.items.push_back({y->name, y->dtype, cost.flops / (double)ig_shape_count(&y->shape), net.get(y)});
  const std::string text = compare(job, ig_device_find_impl(cuda, "conv2d_cuda"), got, oracle(job, host()));
  EXPECT_TRUE(text.empty()) << where << ": " << text;
}

TEST(Turned, WeightsOfAnyTypeToAnyOther) {
  for (const ig_op *op : all_rows())
    for (int i = 0; i < op->n_cases && !strcmp(op->name, "conv2d"); i++)
      for (ig_dtype from : {IG_F32, IG_BF16, IG_F16})
        for (ig_dtype to : {IG_F32, IG_BF16, IG_F16})
          if (from != to && !strcmp(op->cases[i].name, "3x3") &&
              (cuda->caps.bf16 || (from != IG_BF16 && to != IG_BF16)))
            check_turn(op, op->cases[i], from, to);
}

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

// Kernels that no case of the table launches, by a part of their names: the test that compares them, and why not here.
struct Words {
  const char *kernel, *test, *why;
};
const Words elsewhere[] = {
    {"probe_kernel", "cuda_doctor_test", "run when a device is opened: it has no result"},
};

// After all rows: kernels of the library that none of them launched, and words for such as there are not.
void check_kernels() {
  std::set<const Words *> used;
  int all = 0;
  for (; sim.kernel(all); all++) {
    const std::string text = kernels::demangled(sim.kernel(all));
    if (compared.count(sim.kernel(all)))
      continue;
    const Words *words = std::find_if(std::begin(elsewhere), std::end(elsewhere),
                                      [&](const Words &w) { return text.find(w.kernel) != std::string::npos; });
    EXPECT_NE(words, std::end(elsewhere)) << text << ": no case of the table compares it with the reference";
    used.insert(words);
  }
  for (const Words &w : elsewhere)
    EXPECT_TRUE(used.count(&w)) << w.kernel << " is excused, and no kernel needs it";
  printf("%zu of %d kernels are compared, the others in other tests\n", compared.size(), all);
}

class Reached : public testing::Environment {
  void TearDown() override {
    if (testing::GTEST_FLAG(filter) != "*")
      return;
    check_reached();
    if (sim.kernel)
      check_kernels();
  }
};

// The simulator and the stand-in, where this process runs on them.
void open_simulator() {
  const char *path = getenv("INGOT_CUDA_LIBRARY"), *folder = getenv("INGOT_CUDA_LIBRARIES");
  void *library = path ? dlopen(path, RTLD_NOW) : nullptr,
       *cublaslt = folder ? dlopen((std::string(folder) + "/libcublasLt.so.13").c_str(), RTLD_NOW) : nullptr;
  if (library && dlsym(library, "ig_sim_kernel")) {
    sim.kernel = (decltype(sim.kernel))dlsym(library, "ig_sim_kernel");
    sim.launched = (decltype(sim.launched))dlsym(library, "ig_sim_launched");
    sim.reset = (decltype(sim.reset))dlsym(library, "ig_sim_count_reset");
  }
  if (cublaslt)
    refuse = (decltype(refuse))dlsym(cublaslt, "ig_fake_fail");
}

}  // namespace

int main(int argc, char **argv) {
  testing::InitGoogleTest(&argc, argv);
  open_simulator();
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
