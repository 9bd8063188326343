// Matrix products and convolutions on a GPU, or on the simulator of one, beyond the cases of the op table: ragged tiles
// of every size, groups that share superblocks, strides with dilation, tf32, shards, and the bytes that kernels move.
// Rule: which library computes is the caller's (INGOT_CUDA_LIBRARY); without a device the answer is "skipped" (77).
#include <algorithm>
#include <dlfcn.h>
#include <gtest/gtest.h>

#include "kernels/conv2d/conv2d.h"
#include "kernels/linear/linear.h"
#include "tests/case_inputs.h"
#include "tests/ops_compare.h"
#include "tests/sim/sim.h"

namespace {

using namespace ops;

ig_device *open_device(bool tf32) {
  ig_cuda_options o = {};
  o.size = sizeof o;
  o.tf32 = tf32;
  ig_device *device = nullptr;
  return ig_device_create_cuda(&o, &device) == IG_OK ? device : nullptr;
}
ig_device *exact = nullptr;

ig_device *host() {
  static Device d(IG_ISA_AMX, 2);
  return d.get();
}

struct Convolution {
  const char *name;
  int64_t N, H, W, C, K, R, S;
  ig_conv2d_attr at;  // stride, padding top left bottom right, dilation, groups
  bool bias;
};
const Convolution convolutions[] = {
    {"large tile, ragged", 2, 13, 11, 136, 200, 3, 3, {1, 1, 1, 1, 1, 1, 1, 1, 1}, true},
    {"large tile, odd", 1, 12, 13, 131, 149, 1, 1, {1, 1, 0, 0, 0, 0, 1, 1, 1}, true},
    {"resnext 32x4d", 1, 9, 7, 128, 128, 3, 3, {2, 2, 1, 1, 1, 1, 1, 1, 32}, false},
    {"20 groups of 4", 2, 5, 6, 80, 80, 3, 3, {1, 1, 1, 1, 1, 1, 1, 1, 20}, true},
    {"2 groups of 33", 1, 6, 5, 66, 70, 3, 3, {1, 1, 1, 1, 1, 1, 1, 1, 2}, true},
    {"5 groups, 8 to 24", 1, 6, 5, 40, 120, 1, 3, {1, 2, 0, 1, 0, 1, 1, 1, 5}, false},
    {"4 groups of 17", 1, 5, 5, 68, 68, 2, 2, {1, 1, 0, 1, 1, 0, 1, 1, 4}, true},
    {"40 groups, 1 to 2", 1, 5, 5, 40, 80, 3, 3, {1, 1, 1, 1, 1, 1, 1, 1, 40}, true},
    {"stride beyond the kernel", 2, 11, 13, 24, 40, 2, 2, {3, 3, 0, 0, 0, 0, 1, 1, 1}, false},
    {"stride 4x3, dilation 2x3", 1, 21, 23, 16, 24, 3, 4, {4, 3, 5, 3, 2, 6, 2, 3, 1}, true},
    {"stride 2, dilation 2", 1, 15, 14, 16, 24, 3, 3, {2, 2, 2, 2, 2, 2, 2, 2, 1}, false},
    {"stem of 4 channels", 2, 17, 15, 4, 24, 7, 7, {2, 2, 3, 3, 3, 3, 1, 1, 1}, true},
    {"one channel", 1, 28, 28, 1, 72, 5, 5, {1, 1, 2, 2, 2, 2, 1, 1, 1}, true},
    {"padding beyond the kernel", 1, 3, 2, 16, 16, 3, 3, {1, 1, 4, 5, 6, 4, 1, 1, 1}, false},
    {"long batch", 40, 9, 9, 8, 24, 3, 3, {1, 1, 1, 1, 1, 1, 1, 1, 1}, true},
    {"stride beyond the image", 1, 2, 2, 8, 8, 1, 1, {3, 3, 0, 0, 0, 0, 1, 1, 1}, false},
};

// The three nodes of a convolution as jobs on random numbers.
struct Jobs {
  ig_conv2d_bwd_attr data = {}, weights = {};
  std::vector<Job> jobs;
  std::vector<Result> want;
};

int64_t length(int64_t in, int64_t kernel, int64_t stride, int64_t dilation, int64_t padding) {
  return (in + padding - dilation * (kernel - 1) - 1) / stride + 1;
}

std::unique_ptr<Jobs> jobs_of(const Convolution &c, ig_dtype type) {
  std::unique_ptr<Jobs> all(new Jobs);
  const int64_t P = length(c.H, c.R, c.at.stride_h, c.at.dilation_h, c.at.pad_top + c.at.pad_bottom),
                Q = length(c.W, c.S, c.at.stride_w, c.at.dilation_w, c.at.pad_left + c.at.pad_right);
  const ig_case_input x = numbers({4, {c.N, c.H, c.W, c.C}}), w = numbers({4, {c.K, c.C / c.at.groups, c.R, c.S}}),
                      y = numbers({4, {c.N, P, Q, c.K}});
  ig_op_case forward = {}, data = {}, weights = {};
  forward.name = data.name = weights.name = c.name;
  forward.n_in = 2 + c.bias, data.n_in = weights.n_in = 2;
  forward.in[0] = x, forward.in[1] = w, forward.in[2] = numbers({1, {c.K}}, true);
  data.in[0] = y, data.in[1] = w;
  weights.in[0] = x, weights.in[1] = y;
  all->data = {c.at, c.H, c.W, 0};
  all->weights = {c.at, c.R, c.S, c.bias};
  forward.attr = &c.at, data.attr = &all->data, weights.attr = &all->weights;
  all->jobs = {job_of(row_named("conv2d"), forward, type), job_of(row_named("conv2d_bwd_data"), data, type),
               job_of(row_named("conv2d_bwd_weights"), weights, type)};
  for (const Job &job : all->jobs)
    all->want.push_back(oracle(job, host()));
  return all;
}

Result run_on(ig_device *device, const Job &job) {
  Result got;
  std::string why;
  if (!run_job(job, device, std::string(job.op->name) + "_cuda", false, &got, &why))
    throw std::runtime_error("refused: " + why);
  return got;
}

// A chip with one processor gets the largest tile that the shape fills.
struct Processors {
  explicit Processors(int n) : before(exact->caps.processors) { exact->caps.processors = n; }
  ~Processors() { exact->caps.processors = before; }
  int before;
};

class Conv : public testing::TestWithParam<Convolution> {};

TEST_P(Conv, AgreesWithTheReference) {
  for (ig_dtype type : {IG_F32, IG_BF16, IG_F16}) {
    std::unique_ptr<Jobs> all = jobs_of(GetParam(), type);
    for (size_t k = 0; k < all->jobs.size(); k++)
      for (int processors : {exact->caps.processors, 1}) {
        if (processors == 1 && type == IG_F32)  // one tile
          continue;
        Processors chip(processors);
        const ig_impl plain = {};
        std::string text = compare(all->jobs[k], &plain, run_on(exact, all->jobs[k]), all->want[k]);
        EXPECT_TRUE(text.empty()) << all->jobs[k].op->name << " " << ig_dtype_name(type) << ", " << processors
                                  << " processors: " << text;
      }
  }
}
INSTANTIATE_TEST_SUITE_P(Shapes, Conv, testing::ValuesIn(convolutions),
                         [](const testing::TestParamInfo<Convolution> &i) { return std::to_string(i.index); });

// Largest difference by the error that tf32's rounding of normal numbers brings to a sum: 1 is eight times the
// expected.
double tf32_error(const Result &got, const Result &want) {
  double worst = 0;
  for (size_t k = 0; k < got.items.size(); k++)
    for (size_t i = 0; i < got.items[k].values.size(); i++)
      worst = std::max(worst, std::fabs(got.items[k].values[i] - want.items[k].values[i]) /
                                  (8 * std::ldexp(1, -11) * std::sqrt(want.items[k].length)));
  return worst;
}

TEST(Tf32, RoundsOperandsOnly) {
  Device device(open_device(true));
  if (!device.get()->caps.tf32)
    GTEST_SKIP() << "skipped: tf32 needs compute capability 8.0";
  for (int k : {0, 1, 2, 9, 11}) {
    std::unique_ptr<Jobs> all = jobs_of(convolutions[k], IG_F32);
    for (size_t j = 0; j < all->jobs.size(); j++) {
      const double error = tf32_error(run_on(device.get(), all->jobs[j]), all->want[j]),
                   without = tf32_error(run_on(exact, all->jobs[j]), all->want[j]);
      EXPECT_LT(error, 1) << convolutions[k].name << " " << all->jobs[j].op->name;
      EXPECT_GT(error, 1e-2) << convolutions[k].name << " " << all->jobs[j].op->name << ": nothing was rounded";
      EXPECT_LT(without, 1e-2) << convolutions[k].name << " " << all->jobs[j].op->name;
    }
  }
}

// The weight gradient of `samples` rows of a linear layer from `first` on, in `shards` shards.
Result weight_gradient(const Job &whole, int64_t first, int64_t samples, int shards) {
  Job job = whole;
  for (Operand &x : job.in) {
    const int64_t columns = x.shape.d[1];
    x.values = Values(x.values.begin() + first * columns, x.values.begin() + (first + samples) * columns);
    x.shape.d[0] = samples;
  }
  Net net(job.type);
  net.shards = shards;
  std::vector<ig_tensor *> in;
  for (size_t i = 0; i < job.in.size(); i++)
    in.push_back(net.input("operand" + std::to_string(i), job.in[i].dtype, job.in[i].shape, job.in[i].values));
  ig_node *n = ig_graph_node(net.g, job.op->name, "dw", 2, in.data(), job.attr);
  must(ig_graph_status(net.g));
  Result r;
  for (int i = 0; i < n->n_out; i++)
    net.output(n->out[i]);
  std::string why;
  if (!net.plan(exact, "*=cuda", &why))
    throw std::runtime_error(why);
  net.run();
  for (int i = 0; i < n->n_out; i++)
    r.items.push_back({n->out[i]->name, n->out[i]->dtype, 1, net.get(n->out[i])});
  return r;
}

// Ranks that hold half of the shards each, and add their gradients, have the bits of one that holds all.
TEST(Shards, RanksChangeNoBit) {
  const ig_linear_attr attr = {0, 1};
  ig_op_case c = {};
  c.name = "dw";
  c.n_in = 2;
  c.in[0] = numbers({2, {2400, 40}}), c.in[1] = numbers({2, {2400, 24}});
  c.attr = &attr;
  const Job job = job_of(row_named("linear_bwd_weights"), c, IG_BF16);
  const Result whole = weight_gradient(job, 0, 2400, 8), left = weight_gradient(job, 0, 1200, 4),
               right = weight_gradient(job, 1200, 1200, 4);
  for (size_t k = 0; k < whole.items.size(); k++)
    for (size_t i = 0; i < whole.items[k].values.size(); i++)
      ASSERT_EQ(whole.items[k].values[i], (float)left.items[k].values[i] + (float)right.items[k].values[i])
          << whole.items[k].name << " " << i;
}

// Any number of shards gives the sum.
TEST(Shards, AnyNumberOfThem) {
  const ig_linear_attr attr = {0, 1};
  ig_op_case c = {};
  c.name = "dw";
  c.n_in = 2;
  c.in[0] = numbers({2, {700, 24}}), c.in[1] = numbers({2, {700, 8}});
  c.attr = &attr;
  const Job job = job_of(row_named("linear_bwd_weights"), c, IG_F32);
  const Result want = oracle(job, host());
  for (int shards : {1, 2, 3, 5, 6, 7, 11, 700}) {
    Result got = weight_gradient(job, 0, 700, shards);
    for (size_t k = 0; k < got.items.size(); k++)
      got.items[k].length = want.items[k].length;
    const ig_impl plain = {};
    const std::string text = compare(job, &plain, got, want);
    EXPECT_TRUE(text.empty()) << shards << " shards: " << text;
  }
}

// Under the simulator: the bytes of the kernels' headers, tensor cores, no bank conflicts.
TEST(Traffic, IsWhatTheHeaderSays) {
  auto count = (int (*)(const char *, ig_sim_counts *))dlsym(RTLD_DEFAULT, "ig_sim_count");
  auto reset = (void (*)(void))dlsym(RTLD_DEFAULT, "ig_sim_count_reset");
  if (void *library = getenv("INGOT_CUDA_LIBRARY") ? dlopen(getenv("INGOT_CUDA_LIBRARY"), RTLD_NOW) : nullptr) {
    count = (int (*)(const char *, ig_sim_counts *))dlsym(library, "ig_sim_count");
    reset = (void (*)(void))dlsym(library, "ig_sim_count_reset");
  }
  if (!count || !reset)
    GTEST_SKIP() << "skipped: not on the simulator";
  const Convolution c = {"3x3", 2, 28, 28, 64, 128, 3, 3, {1, 1, 1, 1, 1, 1, 1, 1, 1}, false};
  Device rounding(open_device(true));
  struct {
    ig_dtype type;
    ig_device *device;
  } kinds[] = {{IG_BF16, exact}, {IG_F16, exact}, {IG_F32, exact}, {IG_F32, rounding.get()}};
  for (auto kind : kinds) {
    std::unique_ptr<Jobs> all = jobs_of(c, kind.type);
    const double bytes = (double)ig_dtype_bytes(kind.type), x = bytes * 2 * 28 * 28 * 64, y = bytes * 2 * 28 * 28 * 128,
                 w = bytes * 128 * 64 * 9, flops = 2.0 * 2 * 28 * 28 * 128 * 64 * 9;
    const double reads[] = {x + w, y + w, x + y}, writes[] = {y, x, 0};
    const bool tensor = kind.type != IG_F32 || kind.device->caps.tf32;
    for (size_t k = 0; k < 3; k++) {
      const std::string what =
          std::string(all->jobs[k].op->name) + " " + ig_dtype_name(kind.type) + (tensor ? "" : " exact");
      ig_sim_counts n = {};
      reset();
      run_on(kind.device, all->jobs[k]);
      ASSERT_TRUE(count("gemm_kernel", &n)) << what;
      EXPECT_LE(n.read_unique, 1.1 * reads[k]) << what;
      EXPECT_GE(n.read_unique, reads[k]) << what;
      if (k < 2) {
        EXPECT_EQ(n.write_unique, writes[k]) << what;
        EXPECT_EQ(n.write_bytes, writes[k]) << what;
      }
      EXPECT_GE(n.mma_flops, tensor ? flops : 0) << what;
      EXPECT_LE(n.mma_flops, tensor ? 1.2 * flops : 0) << what;  // ragged tiles
      EXPECT_EQ(n.atomics, 0u) << what;
      EXPECT_LE(n.shared_ways, 1.02 * n.shared_requests) << what << ": bank conflicts";
    }
  }
}

}  // namespace

int main(int argc, char **argv) {
  testing::InitGoogleTest(&argc, argv);
  exact = open_device(false);
  if (!exact) {
    printf("skipped: %s\n", ig_error_message());
    return 77;
  }
  printf("%s, %s\n", exact->caps.name, exact->caps.libraries);
  const int failed = RUN_ALL_TESTS();
  ig_device_destroy(exact);
  return failed;
}
