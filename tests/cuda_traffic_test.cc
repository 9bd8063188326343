// Bytes of global memory that the hand-written kernels of a row move, as the simulator counts them, beside what their
// headers and the row's cost say: each operand once, each result once, and what a header names more. Rule: at most 1.1
// times that, for every row and every type that it takes (fp32, tf32 where it multiplies matrices, bf16, fp16), on the
// rows' own bench cases cut to a size that is interpreted in a moment, or on a case of this file where a cut one means
// nothing. A row without either fails, and so does a kernel that no case here launches. On the simulator alone:
// elsewhere "skipped" (77) and why.
#include <algorithm>
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <map>
#include <set>

#include "kernels/attention/attention.h"
#include "kernels/conv2d/conv2d.h"
#include "kernels/conv2d_fused/conv2d_fused.h"
#include "kernels/layernorm/layernorm.h"
#include "kernels/linear/linear.h"
#include "kernels/reduce/reduce.h"
#include "kernels/reduce/reduce_attr.h"
#include "kernels/rows/rows.h"
#include "kernels/shape_ops/shape_ops.h"
#include "tests/case_inputs.h"
#include "tests/cuda_kernels.h"
#include "tests/ops_compare.h"
#include "tests/sim/sim.h"

namespace {

using namespace ops;

ig_device *cuda = nullptr, *rounding = nullptr;  // fp32 products as they are, and as tf32
decltype(&ig_sim_count) count_of = nullptr;
decltype(&ig_sim_count_reset) reset = nullptr;
decltype(&ig_sim_checks) checks = nullptr;
decltype(&ig_sim_launched) sim_launched = nullptr;
decltype(&ig_sim_kernel) sim_kernel = nullptr;

constexpr int64_t MOST = 1 << 18;  // elements of the largest operand

double cost_of(const Job &job) {
  Net net(job.type);
  std::vector<ig_tensor *> in(job.in.size() + 1, nullptr);
  for (size_t k = 0; k < job.in.size(); k++)
    if (!job.in[k].absent)
      in[k] = net.input("operand" + std::to_string(k), job.in[k].dtype, job.in[k].shape, job.in[k].values);
  const ig_node *n = ig_graph_node(net.g, job.op->name, "node", (int)job.in.size(), in.data(), job.attr);
  must(ig_graph_status(net.g));
  ig_cost cost = {};
  job.op->cost(n, &cost);
  return cost.bytes;
}

// ---- cases of this file, where a bench case does not survive a cut ----
// 3x3, 28x28, 64 to 128 channels.
const ig_conv2d_attr conv = {1, 1, 1, 1, 1, 1, 1, 1, 1};
const ig_conv2d_bwd_attr conv_data = {conv, 28, 28, 0}, conv_weights = {conv, 3, 3, 0};
const ig_conv2d_fused_attr conv_fused = {conv, true};
const ig_case_input conv_x = numbers({4, {2, 28, 28, 64}}), conv_w = numbers({4, {128, 64, 3, 3}}),
                    conv_y = numbers({4, {2, 28, 28, 128}}), conv_bias = numbers({1, {128}}, true);
// 4096 tokens of 64, to 128.
const ig_linear_attr dense = {0, 1};
const ig_case_input dense_x = numbers({2, {4096, 64}}), dense_y = numbers({2, {4096, 128}});
// One sequence of 256, one head of 64.
const ig_attention_attr one_head = {1, false, 0, 0};
const ig_case_input rows = numbers({2, {256, 64}}), offsets = integers(IG_I32, {1, {2}}, 256, IG_FILL_OFFSETS);
// 160 rows of 128, 4096 classes.
const ig_case_input hidden = numbers({2, {160, 128}}), classes = numbers({2, {4096, 128}}),
                    bias = numbers({1, {4096}}, true), labels = integers(IG_I32, {1, {160}}, 4096);
const ig_place_attr half = {{4, {16, 16, 16, 64}}, {4, {16, 16, 16, 32}}, {0}, {1, 2, 2, 1, 1, 1},
                            {0, 0, 0, 16},         {1, 1, 1, 1, 1, 1},    0};

// Further cases for kernels that those of the table and above do not reach, and what the header says more there, in
// parts of the cost.
struct Also {
  const char *row;
  double share;
  const char *why;
  ig_op_case c;
};
const ig_attention_attr odd_head = {1, false, 0, 0};
const ig_layernorm_attr wide_norm = {1e-5f, 0, false};
const ig_sum_attr whole = {0, false};
const ig_sum_bwd_attr to_bf16 = {0.5, {2, {512, 64}}, IG_BF16}, to_f16 = {0.5, {2, {512, 64}}, IG_F16};
const ig_rows_bwd_attr rows_bf16 = {512, IG_BF16}, rows_f16 = {512, IG_F16};
const ig_conv2d_bwd_attr stem_weights = {conv, 3, 3, 0};
const ig_case_input odd = numbers({2, {256, 68}}), wide_rows = numbers({2, {128, 1028}}),
                    columns = numbers({1, {64}}, true), means = numbers({2, {24, 64}}, true),
                    parts = integers(IG_I32, {1, {25}}, 512, IG_FILL_OFFSETS),
                    keys = integers(IG_U64, {2, {512, 8}}, 1 << 20), chosen = integers(IG_I32, {1, {512}}, 512),
                    picture = numbers({4, {2, 28, 28, 3}});
const std::vector<Also> &further() {
  static const std::vector<Also> all = {
      {"sum", 0, "", case_of("traffic", {numbers({2, {512, 256}})}, &whole)},
      {"gather_rows", 0, "", case_of("traffic", {keys, chosen}, nullptr)},
      {"sum_bwd", 0, "", case_of("traffic", {columns}, &to_bf16)},
      {"sum_bwd", 0, "", case_of("traffic", {columns}, &to_f16)},
      {"segment_mean_bwd", 0, "", case_of("traffic", {means, parts}, &rows_bf16)},
      {"segment_mean_bwd", 0, "", case_of("traffic", {means, parts}, &rows_f16)},
      {"layernorm", 0, "",
       case_of("traffic", {wide_rows, numbers({1, {1028}}, true), numbers({1, {1028}}, true)}, &wide_norm)},
      {"layernorm_bwd", 1, "column sums are a pass of their own, as are statistics",
       case_of("traffic", {wide_rows, wide_rows, numbers({1, {1028}}, true), absent(), absent(), absent()},
               &wide_norm)},
      {"attention", 0, "", case_of("traffic", {odd, odd, odd, offsets, absent(), absent()}, &odd_head)},
      {"attention_bwd", 0.52, "as above",
       case_of("traffic",
               {odd, odd, odd, odd, odd, numbers({2, {1, 256}}, true), absent(), offsets, absent(), absent()},
               &odd_head)},
      {"conv2d", 0.18, "the picture, padded to 4 channels, written and read",
       case_of("traffic", {picture, numbers({4, {64, 3, 3, 3}}), absent()}, &conv)},
      {"conv2d_bwd_weights", 0.5, "likewise; parts of the batch, written and read",
       case_of("traffic", {picture, numbers({4, {2, 28, 28, 64}})}, &stem_weights)},
  };
  return all;
}

// What the header says, where that is not the row's cost alone.
struct Says {
  double share;         // more, in parts of the cost
  double wide, narrow;  // more, in bytes of the case below: fp32, 16 bits
  const char *why;
  std::vector<ig_op_case> cases = {};  // instead of the row's own
  bool less = false;                   // or nothing at all, by what lies on the device
};
// Bytes in fp32 of the cases above.
constexpr double DW = 4.0 * 128 * 64 * 9, DENSE_Y = 4.0 * 4096 * 128, DENSE_DW = 4.0 * 64 * 128, HEAD = 4.0 * 256 * 64,
                 LOGITS = 160.0 * 4096, CLASSES = 4.0 * 4096 * 128, HIDDEN = 4.0 * 160 * 128;
const std::map<std::string, Says> &statements() {
  static const std::map<std::string, Says> all = {
      {"conv2d", {0, 0, 0, "", {case_of("traffic", {conv_x, conv_w, conv_bias}, &conv)}}},
      {"conv2d_bwd_data", {0, 0, 0, "", {case_of("traffic", {conv_y, conv_w}, &conv_data)}}},
      {"conv2d_bwd_weights",
       {0,
        8 * DW,
        8 * DW,
        "4 parts of the batch, written and read",
        {case_of("traffic", {conv_x, conv_y}, &conv_weights)}}},
      {"conv2d_fused", {0, 0, 0, "", {case_of("traffic", {conv_x, conv_w, conv_bias, conv_y}, &conv_fused)}}},
      {"linear_bwd_weights",
       {0,
        DENSE_Y + 32 * DENSE_DW,
        DENSE_Y / 2 + 32 * DENSE_DW,
        "dy again for the bias, 16 parts of the batch, written and read",
        {case_of("traffic", {dense_x, dense_y}, &dense)}}},
      {"attention", {0, 0, 0, "", {case_of("traffic", {rows, rows, rows, offsets, absent(), absent()}, &one_head)}}},
      {"attention_bwd",
       {0,
        4 * HEAD + 3 * 1024,
        2 * HEAD + 3 * 1024,
        "dy, q, k, v and lse again; delta, written and read",
        {case_of("traffic",
                 {rows, rows, rows, rows, rows, numbers({2, {1, 256}}, true), absent(), offsets, absent(), absent()},
                 &one_head)}}},
      {"linear_xent",
       {0,
        8 * LOGITS,
        8 * LOGITS,
        "logits, written and read",
        {case_of("traffic", {hidden, classes, bias, labels, absent()}, nullptr)}}},
      {"linear_xent_bwd",
       {0,
        20 * LOGITS + CLASSES + 3 * HIDDEN,
        14 * LOGITS + CLASSES / 2 + 2.5 * HIDDEN,
        "logits and their gradients; w and x again; dx in fp32, written and read",
        {case_of(
            "traffic",
            {numbers({1, {1}}, true), absent(), numbers({1, {160}}, true), hidden, classes, bias, labels, absent()},
            nullptr)}}},
      {"lars", {0.4, 0, 0, "the norms read weights and gradients, 8 bytes beside 20 an element"}},
      {"lamb", {0.43, 0, 0, "moments and weights are read again, 12 bytes beside 28 an element"}},
      {"place", {0, 0, 0, "", {case_of("traffic", {numbers({4, {16, 32, 32, 32}})}, &half)}}},
      {"embedding_bwd", {0.25, 0, 0, "partial sums: T D / 16 in fp32, twice"}},
      {"gather_rows_bwd", {0.25, 0, 0, "likewise"}},
      {"picture", {0.25, 0, 0, "3 bytes a pixel again for the mean grey, 3 of the partner where it is mixed"}},
      {"step_restore", {0, 0, 0, "a step that is not skipped moves nothing", {}, true}},
  };
  return all;
}
Says says(const ig_op *op) {
  const auto found = statements().find(op->name);
  return found == statements().end() ? Says{0, 0, 0, ""} : found->second;
}

// Rows whose other cases reach kernels that the bench cases do not (ragged widths, conversions).
const std::set<std::string> ragged = {"reorder", "dropout", "dropout_add"};

// The row's own cases: those of the benches, cut, and the others of ragged rows, or where there are none for a bench (a
// few numbers then, of which the simulator counts whole sectors).
std::vector<ig_op_case> cases_of(const ig_op *op) {
  std::vector<ig_op_case> cases = says(op).cases;
  const bool own = cases.empty();
  for (int i = 0; i < op->n_cases && own; i++)
    if (op->cases[i].bench)
      cases.push_back(cut(op->cases[i], MOST));
  const bool more = cases.empty() || ragged.count(op->name);
  for (int i = 0; i < op->n_cases && more; i++)
    if (!op->cases[i].bench)
      cases.push_back(op->cases[i]);
  return cases;
}

struct Kind {
  const char *name;
  ig_dtype type;
  ig_device **device;
};
const Kind kinds[] = {
    {"fp32", IG_F32, &cuda}, {"tf32", IG_F32, &rounding}, {"bf16", IG_BF16, &cuda}, {"fp16", IG_F16, &cuda}};

std::set<std::string> launched;

// What the row's kernels moved; reorders are steps of a plan around them.
ig_sim_counts counted_of(const ig_op *op) {
  ig_sim_counts all = {};
  for (int k = 0; const char *name = sim_launched(k); k++) {
    ig_sim_counts n = {};
    const bool reorder = strstr(name, "turn_kernel") || strstr(name, "cast_kernel");
    launched.insert(kernels::source_of(name) + kernels::type_of(name));
    if ((reorder && strcmp(op->name, "reorder")) || !count_of(name, &n))
      continue;
    all.launches += n.launches;
    all.atomics += n.atomics;
    all.read_unique += n.read_unique;
    all.write_unique += n.write_unique;
  }
  return all;
}

class Row : public testing::TestWithParam<const ig_op *> {
 protected:
  // False: the type is not one of the row's.
  bool run(const ig_op_case &c, const Kind &kind) {
    const ig_op *op = GetParam();
    const Job job = job_of(op, c, kind.type);
    Result got;
    std::string why;
    if ((kind.type != IG_F32 &&
         (op->mutates_in || std::none_of(job.in.begin(), job.in.end(), [](const Operand &o) { return o.narrow; }))) ||
        !accepted(job))
      return false;
    reset();
    return run_job(job, *kind.device, std::string(op->name) + "_cuda", false, &got, &why);
  }
  void judge(const ig_op_case &c, const Kind &kind, const Says &s) {
    const ig_op *op = GetParam();
    const std::string what = std::string(op->name) + " " + c.name + " " + kind.name;
    const ig_sim_counts n = counted_of(op);
    const double cost = cost_of(job_of(op, c, kind.type)), bytes = (double)(n.read_unique + n.write_unique),
                 sectors = 64.0 * (c.n_in + op->n_out),
                 more = s.share * cost + (kind.type == IG_F32 ? s.wide : s.narrow);
    EXPECT_TRUE(n.launches || !strcmp(op->name, "reshape")) << what << ": no kernel ran";  // a copy of the runtime's
    EXPECT_LE(bytes, 1.1 * (cost + more) + sectors) << what << ": " << bytes / cost << " of the row's cost";
    EXPECT_TRUE(bytes >= 0.5 * cost || !n.launches || s.less) << what << ": the cost is not its own";
    EXPECT_EQ(n.atomics, 0u) << what;
    printf("%s: %.3f of the row's cost, %.3f of what its header says\n", what.c_str(), bytes / cost,
           bytes / (cost + more));
  }
};

TEST_P(Row, MovesWhatItsHeaderSays) {
  const ig_op *op = GetParam();
  const std::vector<ig_op_case> cases = cases_of(op);
  int counted = 0;
  for (const Kind &kind : kinds) {
    if (kind.device == &rounding && !tf32_units().count(op->name))  // fp32's kernels
      continue;
    int before = counted;
    for (const ig_op_case &c : cases)
      if (run(c, kind)) {
        judge(c, kind, says(op));
        counted++;
      }
    for (const Also &also : further())
      if (!strcmp(also.row, op->name) && run(also.c, kind))
        judge(also.c, kind, {also.share, 0, 0, also.why});
    for (int i = 0; i < op->n_cases && counted == before; i++)
      EXPECT_TRUE(op->cases[i].bench || !run(op->cases[i], kind))
          << op->name << " takes " << kind.name << " ('" << op->cases[i].name
          << "'), and no case here counts its bytes";
  }
  EXPECT_GT(counted, 0) << op->name << ": no case says what it moves";
}
INSTANTIATE_TEST_SUITE_P(Table, Row, testing::ValuesIn(all_rows()),
                         [](const testing::TestParamInfo<const ig_op *> &i) { return std::string(i.param->name); });

// Kernels that move nothing here, by a part of their names, and why.
struct Words {
  const char *kernel, *why;
};
const Words elsewhere[] = {
    {"probe_kernel", "run when a device is opened: it moves nothing"},
    {"copy_kernel", "beside cuBLASLt: a bias, once"},
    {"sums_kernel<float, 1>(float*, float", "beside cuBLASLt: dy once"},
    {"sums_kernel<float, 8>(float*, float", "likewise"},
    {"sums_kernel<__half, 1>(float*, __half", "likewise"},
    {"sums_kernel<__half, 8>(float*, __half", "likewise"},
    {"sums_kernel<__nv_bfloat16, 1>(float*, __nv_bfloat16", "likewise"},
    {"sums_kernel<__nv_bfloat16, 8>(float*, __nv_bfloat16", "likewise"},
    {"ig_attention_packed", "beside cuDNN: offsets, and a number a row"},
    {"sgd_rule<false>", "its variant with momentum less a buffer: the walk is one"},
    {"lars_rule<false>", "likewise"},
    {"rmsprop_rule<true, false>", "that with momentum less a buffer"},
};

// After all rows: what none of their cases launched.
class Reached : public testing::Environment {
  void TearDown() override {
    for (int k = 0; testing::GTEST_FLAG(filter) == "*" && sim_kernel(k); k++) {
      const std::string text = kernels::demangled(sim_kernel(k));
      EXPECT_TRUE(launched.count(kernels::source_of(sim_kernel(k)) + kernels::type_of(sim_kernel(k))) ||
                  std::any_of(std::begin(elsewhere), std::end(elsewhere),
                              [&](const Words &w) { return text.find(w.kernel) != std::string::npos; }))
          << text << ": no case here counts its bytes";
    }
  }
};

}  // namespace

int main(int argc, char **argv) {
  testing::InitGoogleTest(&argc, argv);
  const char *name = getenv("INGOT_CUDA_LIBRARY");
  void *library = name ? dlopen(name, RTLD_NOW) : nullptr;
#define SIM(to, name) to = library ? (decltype(to))dlsym(library, "ig_sim_" name) : nullptr
  SIM(count_of, "count");
  SIM(reset, "count_reset");
  SIM(checks, "checks");
  SIM(sim_launched, "launched");
  SIM(sim_kernel, "kernel");
#undef SIM
  if (!count_of || !reset || !checks || !sim_launched || !sim_kernel) {
    printf("skipped: bytes are counted on the simulator (INGOT_CUDA_LIBRARY=.../libingot_cuda_sim.so)\n");
    return 77;
  }
  checks(0);
  ig_cuda_options o = {};
  o.size = sizeof o;
  if (ig_device_create_cuda(&o, &cuda) != IG_OK) {
    printf("skipped: %s\n", ig_error_message());
    return 77;
  }
  o.tf32 = true;
  must(ig_device_create_cuda(&o, &rounding));
  testing::AddGlobalTestEnvironment(new Reached);
  const int failed = RUN_ALL_TESTS();
  ig_device_destroy(rounding);
  ig_device_destroy(cuda);
  return failed;
}
