// Mutants of the PTX of every hand-written kernel: barriers dropped, conditions turned round, bounds and addresses off
// by one, operands and fragments exchanged (tests/sim/mutate.cc). Kernels are found by running the cases of the op
// table, and held against the list of all kernels in the library: one that no case launches fails. Rule: of the mutants
// that change a result or a report at least 95 % are caught, by the comparison with the fp64 reference or by the
// simulator's checks, and what is missed is explained: in words (`equivalent`), or as rounding, where no result moves
// by more than a twentieth of what rounding may do to it. The short form takes a few mutants of each kernel in one
// type; INGOT_LONG=1 takes all of them in all types and widths that a case launches, INGOT_MUTANTS=n every n-th of
// those, INGOT_MUTANTS_OF=text those whose text has that in it. On the simulator alone: elsewhere "skipped" (77) and
// why.
#include <algorithm>
#include <deque>
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <set>

#include "kernels/rmsprop/rmsprop.h"
#include "tests/cuda_kernels.h"
#include "tests/ops_compare.h"
#include "tests/ops_gradients.h"
#include "tests/ops_harness.h"
#include "tests/sim/sim.h"

namespace {

using namespace ops;
using kernels::demangled;
using kernels::source_of;

struct {
  decltype(&ig_sim_kernel) kernel;
  decltype(&ig_sim_launched) launched;
  decltype(&ig_sim_count) count;
  decltype(&ig_sim_count_reset) count_reset;
  decltype(&ig_sim_mutants) mutants;
  decltype(&ig_sim_mutate) mutate;
  decltype(&ig_sim_mutant_text) text;
  decltype(&ig_sim_reset) reset;
  decltype(&ig_sim_clear) clear;
  decltype(&ig_sim_reports) reports;
  decltype(&ig_sim_limit) limit;
} sim;
ig_device *cuda = nullptr, *rounding = nullptr;  // fp32 products as they are, and as tf32
int all_changed = 0, all_caught = 0, all_explained = 0;

bool long_form() { return getenv("INGOT_LONG") && *getenv("INGOT_LONG") == '1'; }

ig_device *host() {
  static Device d(IG_ISA_AMX, 1);
  return d.get();
}
void open_devices() {
  ig_cuda_options o = {};
  o.size = sizeof o;
  must(ig_device_create_cuda(&o, &cuda));
  o.tf32 = true;
  must(ig_device_create_cuda(&o, &rounding));
}
void close_devices() {
  ig_device_destroy(rounding);
  ig_device_destroy(cuda);
}
// A sticky error stays with a device.
void renew() {
  close_devices();
  sim.reset();
  sim.clear();
  open_devices();
}

// ---- what is not walked, and what is not caught ----
struct Words {
  const char *kernel, *change, *why;  // parts of a kernel's demangled name and of a mutant's text
};
// Kernels that no case of the table launches.
const Words elsewhere[] = {
    {"probe_kernel", "", "run when a device is opened: it has no result"},
    {"sums_kernel<float, 1>(float*, float", "",
     "beside a cuBLASLt that refuses what the stand-in takes; fp16's is walked"},
    {"sums_kernel<float, 8>(float*, float", "", "likewise"},
    {"sums_kernel<__nv_bfloat16, 1>(float*, __nv_bfloat16", "", "likewise"},
    {"sums_kernel<__nv_bfloat16, 8>(float*, __nv_bfloat16", "", "likewise"},
};
// Mutants that change bits, and no result beyond its tolerance. The first are right programs, too.
const Words equivalent[] = {
    {"stats_kernel<", "batchnorm_cuda.cu", "bn_stats may subtract any element first"},
    {"forward_kernel", "max", "the largest score of a row may be any of its scores"},
    {"fma_forward_kernel", "-8388608`: constant larger by one",
     "the argument of the log-sum's logarithm, by its last bit"},
    {"fma_forward_kernel", "attention_fma.cuh:134: `fma",
     "a term of the series of that logarithm, below what fp32's sum may be off by"},
    {"ig_norms_kernel", "f64", "a correction within double's pow, far below what fp32 keeps of it"},
    {"ig_update_kernel", "f64", "likewise"},
    {"value_kernel", "f64", "a correction within double's exp and log, far below what fp32 keeps of it"},
    {"xent_", "f64", "likewise, and within pow"},
    {"silu", "eltwise_cuda.cu:84: `fma",
     "e^x by another power of two than the nearest: right to 3.3e-6 of it, where fp32's share of a result is more"},
    {"gelu_bwd_kernel", "bias_gelu_cuda.cu:62: `fma", "likewise"},
    {"xent_", "1072693248`: constant larger by one",
     "the argument of the logarithm within double's pow, by 2^-20: a millionth of the focal factor"},
};

// ---- jobs, and what they launch ----
struct Kind {
  const char *name;
  ig_dtype type;
  ig_device **device;
};
const Kind kinds[] = {
    {"bf16", IG_BF16, &cuda}, {"fp32", IG_F32, &cuda}, {"tf32", IG_F32, &rounding}, {"fp16", IG_F16, &cuda}};

struct Trial {
  Job job;
  const Kind *kind;
  std::string impl;
  Result clean, want;
  double instructions = 0, blocks = 1;
  uint64_t limit = 0;  // instructions of a block before it counts as hanging; 0: not chosen yet
};
std::vector<std::unique_ptr<Trial>> trials;
std::vector<std::unique_ptr<Differentiated>> kept;  // trials point at its attributes
struct Target {
  std::string folder, kernel;  // of the row; mangled
  std::vector<Trial *> trials;
};
std::map<std::string, Target> targets;  // by what makes one: a folder's source (short form), or a kernel's full name
std::set<std::string> launched_sources, launched;

double units_of(const Trial &t) {
  const auto found = tf32_units().find(t.job.op->name);
  return t.kind->device == &rounding && found != tf32_units().end() ? found->second : 0;
}
bool run_trial(const Trial &t, Result *got) {
  std::string why;
  return run_job(t.job, *t.kind->device, t.impl, false, got, &why);
}

size_t rows_in(const ig_op *const *list) {
  size_t n = 0;
  while (list[n])
    n++;
  return n;
}
std::string folder_of(const ig_op *op) {  // by its first row
  for (const ig_op *const *const *list = ig_op_lists; *list; list++)
    if (std::any_of(*list, *list + rows_in(*list), [op](const ig_op *row) { return row == op; }))
      return (*list)[0]->name;
  return "";
}

// Reorders are steps of a plan around the row's own kernels.
bool is_own(const std::string &folder, const std::string &source) {
  return folder == "reorder" || (source.compare(0, 11, "turn_kernel") && source.compare(0, 11, "cast_kernel"));
}

// What the job launches: every implementation, since libraries' have hand-written kernels beside them. False: none
// takes it.
bool add_job(const Job &job, const Kind &kind) {
  const std::string folder = folder_of(job.op);
  bool ran = false;
  for (int i = 0; i < IG_MAX_IMPLS && job.op->impls[IG_DEVICE_CUDA][i]; i++) {
    std::unique_ptr<Trial> t(new Trial);
    t->job = job;
    t->kind = &kind;
    t->impl = job.op->impls[IG_DEVICE_CUDA][i];
    if (!ig_device_find_impl(cuda, t->impl.c_str()))
      continue;
    sim.count_reset();
    if (!run_trial(*t, &t->clean))
      continue;
    ran = true;
    ig_sim_counts n = {};
    sim.count(nullptr, &n);
    t->instructions = (double)n.instructions;
    t->blocks = std::max(1.0, (double)n.blocks);
    for (int k = 0; const char *name = sim.launched(k); k++) {
      const std::string source = source_of(name);
      launched.insert(name);
      launched_sources.insert(source);
      if (!is_own(folder, source))
        continue;
      Target &target = targets[long_form() ? std::string(name) : folder + " " + source];
      if (target.kernel.empty())
        target.folder = folder, target.kernel = name;
      if (target.kernel == name)
        target.trials.push_back(t.get());
    }
    trials.push_back(std::move(t));
  }
  return ran;
}

int64_t elements(const ig_op_case &c) {
  int64_t sum = 0;
  for (int i = 0; i < c.n_in; i++)
    sum += c.in[i].fill == IG_FILL_ABSENT ? 0 : ig_shape_count(&c.in[i].shape);
  return sum;
}

// The short form takes of rows without products the narrowest type that runs, since their arithmetic is the same in
// all.
void add_case(const ig_op *op, const ig_op_case &c) {
  const bool products = tf32_units().count(op->name);
  bool ran = false;
  for (const Kind &kind : kinds) {
    const Job job = job_of(op, c, kind.type);
    const bool narrow = std::any_of(job.in.begin(), job.in.end(), [](const Operand &o) { return o.narrow; });
    if ((kind.device == &rounding && !products) || (kind.type != IG_F32 && (!narrow || op->mutates_in)) ||
        (!long_form() && ran && !products) || !accepted(job))
      continue;
    ran |= add_job(job, kind);
    int unmatched = 0;
    if (has_gradient(op))
      for (const Job &b : backward_jobs(op, c, kind.type, host(), &kept, &unmatched))
        add_job(b, kind);
  }
}

// RMSprop, centred without momentum, is no case of the table.
void add_centred(const ig_op *op, const ig_op_case &with_momentum) {
  static const ig_rmsprop_attr centred = {0.9, 1e-8, 0, true};
  ig_op_case c = with_momentum;
  c.attr = &centred;
  c.in[8].fill = IG_FILL_ABSENT;
  add_case(op, c);
}

const std::set<std::string> as_wide = {"bias_gelu", "bias_gelu_bwd", "layernorm", "layernorm_bwd"};
std::deque<ig_op_case> cut_cases;

void find_targets() {
  for (const ig_op *op : all_rows())
    for (int i = 0; i < op->n_cases; i++)
      if (!op->cases[i].bench && (long_form() || op->mutates_in || elements(op->cases[i]) <= 6000))
        add_case(op, op->cases[i]);
  // Vectors of widths that only models have: a few rows of the benches' cases.
  for (const ig_op *op : all_rows())
    for (int i = 0; i < op->n_cases && long_form() && as_wide.count(op->name); i++)
      if (op->cases[i].bench) {
        cut_cases.push_back(cut(op->cases[i], 1 << 13));
        add_case(op, cut_cases.back());
      }
  for (const ig_op *op : all_rows())
    for (int i = 0; i < op->n_cases && !strcmp(op->name, "rmsprop"); i++)
      if (!op->cases[i].bench && ((const ig_rmsprop_attr *)op->cases[i].attr)->centered)
        add_centred(op, op->cases[i]);
}

// ---- the walk ----
const double ROUNDING = 0.05;  // of what is allowed
// The short form: so many mutants are tried until so many have changed something.
const int SAMPLES = 24, ENOUGH = 2, STRIDE = 29;  // a prime beyond SAMPLES: each is visited once

// The right results, and a limit for mutants that hang: some of a block's share where blocks are alike (a mutant may
// hang in each of thousands), else twice the whole.
void make_ready(Trial *t) {
  Result got;
  t->want = oracle(t->job, host());
  t->limit = (uint64_t)(8 * t->instructions / t->blocks) + 3000;
  sim.limit(t->limit);
  try {
    run_trial(*t, &got);
  } catch (const std::exception &) {
    t->limit = (uint64_t)(2 * t->instructions) + 20000;
  }
  if (sim.reports()) {
    t->limit = (uint64_t)(2 * t->instructions) + 20000;
    renew();
  }
}

// The largest of those that are interpreted in a moment first, since these show most.
std::vector<Trial *> chosen(const Target &target) {
  const double most = long_form() ? 200e3 : 50e3;
  const size_t n = long_form() ? 8 : 3;
  std::vector<Trial *> all = target.trials, few;
  std::stable_sort(all.begin(), all.end(),
                   [](const Trial *a, const Trial *b) { return a->instructions > b->instructions; });
  for (Trial *t : all)
    if (t->instructions <= most && few.size() < n)
      few.push_back(t);
  if (few.empty() && !all.empty())
    few.push_back(all.back());
  for (Trial *t : few)
    if (!t->limit)
      make_ready(t);
  return few;
}

struct Outcome {
  bool changed = false, caught = false;
  double share = 0;  // of what is allowed, by which results differ from the kernel's own
};
Outcome try_mutant(const Target &target, const std::vector<Trial *> &of, int m) {
  Outcome o;
  bool reported = false;
  if (sim.mutate(target.kernel.c_str(), m))
    throw std::runtime_error("no mutant");
  for (size_t k = 0; k < of.size() && !o.caught; k++) {
    const Trial &t = *of[k];
    sim.limit(t.limit);
    try {
      Result got;
      if (!run_trial(t, &got))
        throw std::runtime_error("refused");
      const ig_impl *impl = ig_device_find_impl(*t.kind->device, t.impl.c_str());
      o.caught |= !compare(t.job, impl, got, t.want, nullptr, units_of(t)).empty();
      o.changed |= !same_bits(got, t.clean);
      o.share = std::max(o.share, share_of_allowed(t.job, impl, got, t.clean, t.want, units_of(t)));
    } catch (const std::exception &) {
      reported = true;
    }
    reported |= sim.reports() > 0;
    o.caught |= reported;
  }
  sim.mutate(nullptr, 0);
  if (reported)
    renew();
  o.changed |= o.caught;
  return o;
}

const char *explanation(const Target &target, const std::string &text, double share) {
  if (share <= ROUNDING)
    return "rounding";
  for (const Words &w : equivalent)
    if (demangled(target.kernel).find(w.kernel) != std::string::npos && text.find(w.change) != std::string::npos)
      return w.why;
  return nullptr;
}

class Mutants : public testing::Test {
 public:
  explicit Mutants(const Target &target) : target_(target) {}
  void TestBody() override {
    const int all = sim.mutants(target_.kernel.c_str());
    ASSERT_GT(all, 0) << target_.kernel;
    const std::vector<Trial *> of = chosen(target_);
    const int every = getenv("INGOT_MUTANTS") ? std::max(1, atoi(getenv("INGOT_MUTANTS"))) : 1;
    const int samples = long_form() ? (all + every - 1) / every : std::min(all, SAMPLES);
    const char *wanted = getenv("INGOT_MUTANTS_OF");
    int changed = 0, caught = 0, explained = 0, tried = 0;
    std::string missed;
    for (int i = 0; i < samples && (long_form() || changed < ENOUGH); i++, tried++) {
      // The short form's are spread over the kernel, neighbours far apart in time.
      const int m = long_form() ? i * every : (int)((2L * (i * STRIDE % samples) + 1) * all / (2 * samples));
      char text[400];
      sim.text(target_.kernel.c_str(), m, text, sizeof text);
      if (wanted && !strstr(text, wanted))
        continue;
      const Outcome o = try_mutant(target_, of, m);
      changed += o.changed;
      caught += o.caught;
      if (!o.changed || o.caught)
        continue;
      const char *why = explanation(target_, text, o.share);
      explained += why != nullptr;
      char by[40];
      snprintf(by, sizeof by, " (%.2g of what is allowed)", o.share);
      missed += std::string("  missed: ") + text + by + (why ? std::string(": ") + why : "") + "\n";
    }
    printf("%d of %d mutants, %d change something, %d caught\n%s", tried, all, changed, caught, missed.c_str());
    all_changed += changed, all_caught += caught, all_explained += explained;
    EXPECT_TRUE(changed > 0 || every > 1 || wanted) << "no mutant changes anything";
    EXPECT_EQ(caught + explained, changed) << "missed, and not explained here";
  }

 private:
  const Target &target_;
};

class Table : public testing::Test {
 public:
  void TestBody() override {
    for (int k = 0; const char *name = sim.kernel(k); k++) {
      const std::string text = demangled(name);
      const bool excused = std::any_of(std::begin(elsewhere), std::end(elsewhere),
                                       [&](const Words &w) { return text.find(w.kernel) != std::string::npos; });
      EXPECT_TRUE(launched_sources.count(source_of(name)) || excused) << text << " is launched by no case of the table";
      if (long_form() && !launched.count(name) && !excused)
        printf("no mutants of a variant that no case launches: %s\n", text.c_str());
    }
  }
};

void register_tests() {
  testing::RegisterTest("Table", "LaunchesEveryKernel", nullptr, nullptr, __FILE__, __LINE__,
                        [] { return (testing::Test *)new Table; });
  for (const auto &t : targets) {
    std::string name = t.second.folder + "_" + (long_form() ? demangled(t.second.kernel) : source_of(t.second.kernel));
    for (char &c : name)
      c = isalnum((unsigned char)c) ? c : '_';
    const Target *target = &t.second;
    testing::RegisterTest("Mutants", name.c_str(), nullptr, nullptr, __FILE__, __LINE__,
                          [target] { return (testing::Test *)new Mutants(*target); });
  }
}

}  // namespace

int main(int argc, char **argv) {
  testing::InitGoogleTest(&argc, argv);
  const char *file = getenv("INGOT_CUDA_LIBRARY");
  void *library = file ? dlopen(file, RTLD_NOW) : nullptr;
#define SIM(to, name) sim.to = library ? (decltype(sim.to))dlsym(library, "ig_sim_" name) : nullptr
  SIM(kernel, "kernel");
  SIM(launched, "launched");
  SIM(count, "count");
  SIM(count_reset, "count_reset");
  SIM(mutants, "mutants");
  SIM(mutate, "mutate");
  SIM(text, "mutant_text");
  SIM(reset, "reset");
  SIM(clear, "clear");
  SIM(reports, "reports");
  SIM(limit, "limit");
#undef SIM
  if (!sim.mutants || !sim.kernel) {
    printf("skipped: mutants are made by the simulator (INGOT_CUDA_LIBRARY=.../libingot_cuda_sim.so)\n");
    return 77;
  }
  open_devices();
  find_targets();
  register_tests();
  const int failed = RUN_ALL_TESTS();
  close_devices();
  printf("%zu kernels, %d mutants change something, %d caught, %d more explained\n", targets.size(), all_changed,
         all_caught, all_explained);
  return failed || all_caught < 0.95 * all_changed;
}
