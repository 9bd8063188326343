// Bytes of global memory that the hand-written kernels of a row move, as the simulator counts them, beside what their
// headers and the row's cost say: each operand once, each result once, and what a header names more. Rule: at most 1.1
// times that, on the rows' own bench cases cut to a size that is interpreted in a moment. On the simulator alone:
// elsewhere "skipped" (77) and why.
#include <algorithm>
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <map>

#include "tests/ops_harness.h"
#include "tests/sim/sim.h"

namespace {

using namespace ops;

ig_device *cuda = nullptr;
decltype(&ig_sim_count) count_of = nullptr;
decltype(&ig_sim_count_reset) reset = nullptr;
decltype(&ig_sim_checks) checks = nullptr;

constexpr int64_t MOST = 1 << 19;  // elements of the largest operand

// The case with its common first length cut, so that no operand has more than MOST elements.
ig_op_case cut(const ig_op_case &whole) {
  ig_op_case c = whole;
  int64_t most = 0, first = 0;
  for (int i = 0; i < c.n_in; i++)
    if (c.in[i].fill != IG_FILL_ABSENT && ig_shape_count(&c.in[i].shape) > most) {
      most = ig_shape_count(&c.in[i].shape);
      first = c.in[i].shape.d[0];
    }
  const int64_t keep = std::max<int64_t>(1, first / std::max<int64_t>(1, most / MOST));
  for (int i = 0; i < c.n_in; i++)
    if (c.in[i].fill != IG_FILL_ABSENT && c.in[i].shape.d[0] == first)
      c.in[i].shape.d[0] = keep;
  return c;
}

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

// Rows whose bytes are looked at elsewhere, or whose cases mean nothing when they are cut.
const std::map<std::string, const char *> elsewhere = {
    {"conv2d", "cuda_gemm_test, Traffic"},
    {"conv2d_bwd_data", "cuda_gemm_test, Traffic"},
    {"conv2d_bwd_weights", "cuda_gemm_test, Traffic"},
    {"linear_bwd_weights", "likewise: parts of the batch, added up"},
    {"attention", "cuda_text_test, Traffic"},
    {"attention_bwd", "cuda_text_test, Traffic"},
    {"linear_xent", "its logits stay in the second-level cache: linear_xent_cuda.cu"},
    {"linear_xent_bwd", "likewise"},
    {"lars", "its table of segments is of the whole; the walk is sgd's and sum_squares'"},
    {"lamb", "likewise, adam's and sum_squares'"},
    {"place", "its attribute names the whole"},
};
// What a header names beside each operand and each result once, in parts of the row's cost.
const std::map<std::string, double> more = {
    {"embedding_bwd", 0.25},    // partial sums: T D / 16 in fp32, twice
    {"gather_rows_bwd", 0.25},  // likewise
    {"picture", 0.25},          // 3 bytes a pixel again for the mean grey, 3 of the partner where it is mixed
};

class Row : public testing::TestWithParam<const ig_op *> {};

TEST_P(Row, MovesWhatItsHeaderSays) {
  const ig_op *op = GetParam();
  int counted = 0;
  for (int i = 0; i < op->n_cases; i++)
    for (ig_dtype type : {IG_F32, IG_BF16}) {
      if (!op->cases[i].bench)
        continue;
      const ig_op_case c = cut(op->cases[i]);
      const Job job = job_of(op, c, type);
      if (!accepted(job))
        continue;
      Result got;
      std::string why;
      ig_sim_counts n = {};
      reset();
      if (!run_job(job, cuda, std::string(op->name) + "_cuda", false, &got, &why))
        continue;
      ASSERT_TRUE(count_of(nullptr, &n));
      const double bytes = (double)(n.read_unique + n.write_unique), cost = cost_of(job);
      const double extra = more.count(op->name) ? more.at(op->name) : 0;
      EXPECT_LE(bytes, (1.1 + extra) * cost) << c.name << " " << ig_dtype_name(type);
      EXPECT_GE(bytes, 0.5 * cost) << c.name << " " << ig_dtype_name(type) << ": the cost is not its own";
      EXPECT_EQ(n.atomics, 0u) << c.name;
      printf("%s %s: %.3f of the row's cost\n", c.name, ig_dtype_name(type), bytes / cost);
      counted++;
    }
  EXPECT_GT(counted, 0) << op->name << " has no bench case that runs";
}

std::vector<const ig_op *> walked() {
  std::vector<const ig_op *> rows;
  for (const ig_op *op : all_rows()) {
    bool bench = false;
    for (int i = 0; i < op->n_cases; i++)
      bench |= op->cases[i].bench;
    if (bench && op->impls[IG_DEVICE_CUDA][0] && !elsewhere.count(op->name))
      rows.push_back(op);
  }
  return rows;
}
INSTANTIATE_TEST_SUITE_P(Table, Row, testing::ValuesIn(walked()),
                         [](const testing::TestParamInfo<const ig_op *> &i) { return std::string(i.param->name); });

}  // namespace

int main(int argc, char **argv) {
  testing::InitGoogleTest(&argc, argv);
  const char *name = getenv("INGOT_CUDA_LIBRARY");
  void *library = name ? dlopen(name, RTLD_NOW) : nullptr;
  count_of = library ? (decltype(count_of))dlsym(library, "ig_sim_count") : nullptr;
  reset = library ? (decltype(reset))dlsym(library, "ig_sim_count_reset") : nullptr;
  checks = library ? (decltype(checks))dlsym(library, "ig_sim_checks") : nullptr;
  if (!count_of || !reset || !checks) {
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
  const int failed = RUN_ALL_TESTS();
  ig_device_destroy(cuda);
  return failed;
}
