// floor: ig_kernels
// Convolution and linear beyond what ops_test walks: every implementation against the reference on all cases, thread
// counts and batch shards that change no bit, refusals.
#include <cstring>
#include <gtest/gtest.h>
#include <string>
#include <vector>

#include "kernels/conv2d/conv2d.h"
#include "kernels/linear/linear.h"
#include "tests/conv_fixture.h"

namespace {

using namespace conv;

const char *const kRows[] = {"conv2d", "conv2d_bwd_data", "conv2d_bwd_weights",
                             "linear", "linear_bwd_data", "linear_bwd_weights"};

TEST(Conv, EveryImplementationAgreesWithReference) {
  // oneDNN keeps the cap that a process begins with: the highest.
  Setting highest;
  highest.force = "conv2d=dnnl";
  ASSERT_EQ(run_case(find_row("conv2d"), find_row("conv2d")->cases[0], IG_F32, highest).status, IG_OK);
  for (const char *row : kRows) {
    const ig_op *op = find_row(row);
    ASSERT_NE(op, nullptr) << row;
    int by_dnnl = 0;
    for (int i = 0; i < op->n_cases; i++) {
      if (op->cases[i].bench)
        continue;
      SCOPED_TRACE(std::string(row) + ": " + op->cases[i].name);
      Setting ref;
      ref.force = "*=ref";
      Result want = run_case(op, op->cases[i], IG_F32, ref);
      ASSERT_EQ(want.status, IG_OK) << want.message;
      EXPECT_EQ(want.impl, std::string(row) + "_ref");
      for (int k = 0; k + 1 < IG_MAX_IMPLS && op->impls[IG_DEVICE_CPU][k + 1]; k++)
        for (ig_isa isa : {IG_ISA_AMX, IG_ISA_AVX2, IG_ISA_BASE})
          for (bool deterministic : {false, true}) {
            std::string force = std::string(row) + "=" + op->impls[IG_DEVICE_CPU][k];
            Setting s;
            s.force = force.c_str();
            s.isa = isa;
            s.winograd = true;
            s.deterministic = deterministic;
            s.shards = deterministic ? 3 : 1;  // of samples in threes: no power of two
            Result got = run_case(op, op->cases[i], IG_F32, s);
            if (got.status == IG_ERR_UNSUPPORTED)
              continue;  // the refusal's reason is checked below, its place in the list in ops_test
            ASSERT_EQ(got.status, IG_OK) << got.message;
            EXPECT_EQ(got.impl, op->impls[IG_DEVICE_CPU][k]);
            by_dnnl += got.impl == std::string(row) + "_dnnl";
            double bound = strstr(op->impls[IG_DEVICE_CPU][k], "wino") ? 1e-3 : 2e-5;
            for (size_t o = 0; o < want.out.size(); o++)
              EXPECT_LT(relative_error(got.out[o], want.out[o]), bound) << got.impl << " output " << o;
          }
    }
    EXPECT_GE(by_dnnl, 6 * 8) << row;  // oneDNN takes all of them
  }
}

// The reference itself against the definition, written once more in the plainest way for one case with everything in
// it: stride, dilation, groups, uneven padding, bias.
TEST(Conv, ReferenceIsTheDefinition) {
  static const ig_conv2d_attr attr = {2, 1, 1, 0, 2, 3, 1, 2, 2};
  const int N = 2, H = 6, W = 7, C = 4, K = 6, R = 3, S = 2, P = 4, Q = 8;
  ig_op_case c = {};
  c.name = "all";
  c.n_in = 3;
  c.in[0].shape = IG_SHAPE4(N, H, W, C);
  c.in[1].shape = IG_SHAPE4(K, C / 2, R, S);
  c.in[2].shape = IG_SHAPE1(K);
  c.attr = &attr;
  Setting s;
  s.force = "*=ref";
  Result r = run_case(find_row("conv2d"), c, IG_F64, s);
  ASSERT_EQ(r.status, IG_OK) << r.message;
  ASSERT_EQ(r.out[0].size(), (size_t)(N * P * Q * K));
  auto fill = [](int stream, size_t n) {
    std::vector<float> v(n);
    ig_rng rng = ig_rng_make(7, (uint64_t)stream, 0);
    for (float &x : v)
      x = ig_rng_normal(&rng);
    return v;
  };
  std::vector<float> x = fill(0, N * H * W * C), w = fill(1, K * C / 2 * R * S), b = fill(2, K);
  for (int n = 0; n < N; n++)
    for (int p = 0; p < P; p++)
      for (int q = 0; q < Q; q++)
        for (int k = 0; k < K; k++) {
          double sum = b[k];
          for (int c2 = 0; c2 < C / 2; c2++)
            for (int i = 0; i < R; i++)
              for (int j = 0; j < S; j++) {
                int h = 2 * p + i - 1, v = q + 2 * j;
                if (h >= 0 && h < H && v >= 0 && v < W)
                  sum += (double)x[((n * H + h) * W + v) * C + k / 3 * 2 + c2] * w[((k * 2 + c2) * R + i) * S + j];
              }
          EXPECT_NEAR(r.out[0][((n * P + p) * Q + q) * K + k], sum, 1e-5);
        }
}

TEST(Conv, ThreadsChangeNothing) {
  for (const char *row : kRows) {
    const ig_op *op = find_row(row);
    for (int i = 0; i < op->n_cases; i++) {
      if (op->cases[i].bench && !strstr(op->cases[i].name, "layer4") && !strstr(op->cases[i].name, "head"))
        continue;
      SCOPED_TRACE(std::string(row) + ": " + op->cases[i].name);
      Setting one, many;
      one.deterministic = many.deterministic = true;
      one.shards = many.shards = 8;
      one.threads = 1;
      Result a = run_case(op, op->cases[i], IG_F32, one);
      for (int threads : {2, 3, 8}) {
        many.threads = threads;
        expect_same_bits(a, run_case(op, op->cases[i], IG_F32, many));
      }
    }
  }
}

// ---- shards ----
// The batch cut into ranks, each with its share of the shards: the ranks' sums added give the whole batch's bits.
void check_ranks(const char *row, ig_dtype type, const char *force) {
  SCOPED_TRACE(std::string(row) + " " + ig_dtype_name(type));
  const bool conv = row[0] == 'c';
  const ig_conv2d_bwd_attr conv_attr = {{1, 1, 1, 1, 1, 1, 1, 1, 1}, 3, 3, !force};
  static const ig_linear_attr linear_attr = {0, 1};
  ig_op_case whole = {};
  whole.n_in = 2;
  whole.attr = conv ? (const void *)&conv_attr : (const void *)&linear_attr;
  whole.in[0].shape = conv ? IG_SHAPE4(8, 6, 5, force && strstr(force, "few") ? 3 : 16) : IG_SHAPE2(24, 37);
  whole.in[1].shape = conv ? IG_SHAPE4(8, 6, 5, 24) : IG_SHAPE2(24, 70);
  Setting s;
  s.force = force;
  s.deterministic = true;
  s.shards = 4;
  Result all = run_case(find_row(row), whole, type, s);
  ASSERT_EQ(all.status, IG_OK) << all.message;
  s.shards = 2;
  Result rank[2];
  for (int r = 0; r < 2; r++) {
    ig_op_case half = whole;
    for (int i = 0; i < 2; i++) {
      half.in[i].shape.d[0] /= 2;
      half.in[i].lo = (double)(r * ig_shape_count(&half.in[i].shape));  // where this rank's numbers start
    }
    rank[r] = run_case(find_row(row), half, type, s);
    ASSERT_EQ(rank[r].status, IG_OK) << rank[r].message;
  }
  for (size_t k = 0; k < all.out.size(); k++)
    for (size_t i = 0; i < all.out[k].size(); i++)
      ASSERT_EQ(all.out[k][i], rank[0].out[k][i] + rank[1].out[k][i]) << "output " << k << " element " << i;
}

TEST(Conv, RanksChangeNothing) {
  check_ranks("conv2d_bwd_weights", IG_F32, nullptr);
  check_ranks("linear_bwd_weights", IG_F32, nullptr);
  if (has_bf16())
    check_ranks("conv2d_bwd_weights", IG_BF16, "conv2d_bwd_weights=conv2d_bwd_weights_bf16_cpu");
  check_ranks("conv2d_bwd_weights", IG_F32, "conv2d_bwd_weights=conv2d_bwd_weights_few_cpu");
}

// ---- refusals ----
TEST(Conv, RefusalsSayWhy) {
  const ig_op *op = find_row("conv2d");
  const ig_op_case *c = nullptr;
  for (int i = 0; i < op->n_cases; i++)
    if (!strcmp(op->cases[i].name, "3x3"))
      c = &op->cases[i];
  ASSERT_NE(c, nullptr);
  Setting bf16;
  bf16.force = "conv2d=dnnl";
  bf16.isa = IG_ISA_AVX2;
  Result r = run_case(op, *c, IG_BF16, bf16);
  EXPECT_EQ(r.status, IG_ERR_UNSUPPORTED);
  EXPECT_NE(r.message.find("AVX-512 BF16"), std::string::npos) << r.message;
  Setting wino;
  wino.force = "conv2d=dnnl_wino";
  wino.isa = IG_ISA_AVX2;
  wino.winograd = true;
  r = run_case(op, *c, IG_F32, wino);
  EXPECT_EQ(r.status, IG_ERR_UNSUPPORTED);
  EXPECT_TRUE(r.message.find("AVX-512") != std::string::npos ||
              r.message.find("not in this build") != std::string::npos)
      << r.message;
  // Left to itself the plan falls back to the reference for a type that oneDNN refuses.
  r = run_case(op, *c, IG_F64, Setting());
  EXPECT_EQ(r.status, IG_OK) << r.message;
  EXPECT_EQ(r.impl, "conv2d_ref");
}

TEST(Conv, ShapesThatDoNotFit) {
  struct {
    ig_shape x, w;
    ig_conv2d_attr attr;
    const char *text;
  } bad[] = {
      {IG_SHAPE4(1, 5, 5, 3), IG_SHAPE4(8, 4, 3, 3), {}, "[8, 4, 3, 3], expected [8, 3, 3, 3]"},
      {IG_SHAPE4(1, 5, 5, 3), IG_SHAPE4(8, 3, 7, 7), {}, "does not fit the padded image of 5x5"},
      {IG_SHAPE4(1, 5, 5, 6), IG_SHAPE4(8, 3, 3, 3), {1, 1, 0, 0, 0, 0, 1, 1, 4}, "do not divide into 4 groups"},
      {IG_SHAPE4(1, 5, 5, 3), IG_SHAPE4(8, 3, 3, 3), {-1, 1, 0, 0, 0, 0, 1, 1, 1}, "negative"},
      {IG_SHAPE3(5, 5, 3), IG_SHAPE4(8, 3, 3, 3), {}, "expected rank 4"},
  };
  for (auto &b : bad) {
    ig_op_case c = {};
    c.n_in = 2;
    c.in[0].shape = b.x;
    c.in[1].shape = b.w;
    c.attr = &b.attr;
    Result r = run_case(find_row("conv2d"), c, IG_F32, Setting());
    EXPECT_EQ(r.status, IG_ERR_MISMATCH);
    EXPECT_NE(r.message.find(b.text), std::string::npos) << r.message;
  }
}

// ---- failing allocations ----
TEST(Conv, EveryAllocationMayFail) {
  for (const char *row : kRows) {
    SCOPED_TRACE(row);
    const ig_op *op = find_row(row);
    int64_t live = ig_mem_live();
    ASSERT_EQ(run_case(op, op->cases[0], IG_F32, Setting()).status, IG_OK);  // what is made once a process
    EXPECT_EQ(ig_mem_live(), live);
    Machine machine{Setting()};
    ig_params params;
    ig_graph *g = graph_of(&params, IG_F32);
    const ig_op_case &c = op->cases[0];
    ig_tensor *in[3] = {};
    for (int i = 0; i < c.n_in; i++)
      if (c.in[i].fill != IG_FILL_ABSENT)
        in[i] = ig_graph_input(g, "x", IG_F32, c.in[i].shape);
    ig_node *node = ig_graph_node(g, row, "node", c.n_in, in, c.attr);
    ASSERT_NE(node, nullptr);
    const ig_impl *impl = nullptr;
    for (int i = 0; !impl || (impl->flags & IG_IMPL_INEXACT); i++)  // past Winograd, which may be absent
      impl = ig_device_find_impl(machine.device, op->impls[IG_DEVICE_CPU][i]);
    live = ig_mem_live();
    bool passed = false;
    for (int64_t k = 1; !passed && k < 1000; k++) {
      ig_layouts *layouts = nullptr;
      ASSERT_EQ(ig_layouts_create(&layouts), IG_OK);
      ig_layout in_layout[3] = {}, out_layout[IG_MAX_OUT] = {};
      ig_prepare p = {};
      p.node = node;
      p.device = machine.device;
      p.layouts = layouts;
      p.shards = 1;
      p.in_layout = in_layout;
      p.out_layout = out_layout;
      ig_mem_fail_after(k, 0);
      ig_status status = impl->prepare(&p);
      passed = status == IG_OK;
      ig_mem_fail_after(0, 0);
      if (passed)
        impl->destroy(p.state);
      else
        EXPECT_EQ(status, IG_ERR_MEMORY) << ig_error_message();
      ig_layouts_destroy(layouts);
      EXPECT_EQ(ig_mem_live(), live) << "allocation " << k;
    }
    EXPECT_TRUE(passed);
    ig_graph_destroy(g);
    ig_params_fini(&params);
  }
}

}  // namespace
