// floor: ig_kernels
// The fully connected layer in fp32, and in bf16 on fp32 weights: every implementation against the reference; whose
// weights are rounded as they are read and whose are copied first; threads, shards and sizes at the borders of tiles,
// blocks and spans.
#include "kernels/linear/linear.h"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <string>
#include <vector>

#include "kernels/eltwise/eltwise.h"
#include "kernels/reduce/reduce.h"
#include "kernels/reorder/reorder.h"
#include "run_graph.h"
#include "runtime/base/rng.h"

namespace {

using run_graph::Graph;
using run_graph::must;
using run_graph::Way;
using Floats = std::vector<float>;

struct Sizes {
  int64_t T, D, V;
};
struct Setting {
  const char *force;
  int threads, shards;
  uint32_t stable;
  ig_dtype type = IG_BF16;
  ig_isa isa = IG_ISA_AMX;
  int64_t first = 0;  // row of a batch of which these are some
};

Floats normal(size_t n, uint64_t stream, size_t skip = 0) {
  Floats v(skip + n);
  ig_rng r = ig_rng_make(7, stream, 0);
  for (float &x : v)
    x = ig_rng_normal(&r);
  return Floats(v.begin() + (long)skip, v.end());
}

struct Outcome {
  Floats y, dx, gradients;
  int copies = 0;                      // of the weights, in 16 bits
  std::string forward, data, weights;  // implementations
};

// y = x w^T + b, loss sum(y c).
Outcome run(const Sizes &n, const Setting &s) {
  Graph net(s.type);
  ig_graph *g = net.g;
  ig_tensor *x = net.input("x", IG_F32, IG_SHAPE2(n.T, n.D), normal((size_t)(n.T * n.D), 1, (size_t)(s.first * n.D)));
  ig_tensor *c = net.input("c", IG_F32, IG_SHAPE2(n.T, n.V), normal((size_t)(n.T * n.V), 2, (size_t)(s.first * n.V)));
  ig_tensor *w = ig_graph_param(g, "w", IG_SHAPE2(n.V, n.D), IG_PARAM_TRAINABLE, {IG_INIT_ZERO, 0});
  ig_tensor *b = ig_graph_param(g, "b", IG_SHAPE1(n.V), IG_PARAM_TRAINABLE, {IG_INIT_ZERO, 0});
  ig_tensor *y = ig_linear(g, "layer", ig_reorder(g, "x16", x, s.type), w, b), *dx = nullptr;
  ig_tensor *wide = ig_reorder(g, "y32", y, IG_F32), *loss = ig_sum(g, "loss", ig_mul(g, "yc", wide, c), 0);
  must(ig_graph_status(g));
  must(ig_graph_differentiate(g, 1, &loss, nullptr, 1, &x, &dx));
  ig_tensor *out = ig_scale(g, "y_out", wide, 1), *dx_out = ig_scale(g, "dx_out", dx, 1);
  net.output(out, "y");
  net.output(dx_out, "dx");
  net.output(loss, "total");
  must(ig_params_layout(&net.params));
  const size_t count = (size_t)net.params.count[IG_PARAM_TRAINABLE];
  net.space(IG_SPACE_TRAINABLE) = normal(count, 3);
  net.space(IG_SPACE_GRAD).assign(count, NAN);
  net.plan({"", s.isa, s.force}, s.threads, false, s.shards, s.stable);
  Outcome r;
  for (int i = 0; i < ig_plan_n_rows(net.planned()); i++) {
    const ig_plan_row row = ig_plan_get_row(net.planned(), i);
    const std::string name = row.node->name, op = row.node->op->name;
    r.copies += op == "reorder" && name == "w/bf16";
    (op == "linear"            ? r.forward
     : op == "linear_bwd_data" ? r.data
                               : r.weights) += op.substr(0, 6) == "linear" ? row.impl : "";
  }
  net.run();
  r.y = net.get<float>(out);
  r.dx = net.get<float>(dx_out);
  for (const ig_tensor *t : {w, b})
    for (int64_t i = 0; i < ig_shape_count(&t->shape); i++)
      r.gradients.push_back(net.space(IG_SPACE_GRAD)[(size_t)(t->param->offset + i)]);
  return r;
}

// relative: of the larger of a value and the root mean square of all.
void expect_near(const Floats &a, const Floats &b, double relative, const char *what) {
  double square = 0;
  for (float v : b)
    square += (double)v * v;
  const double rms = std::sqrt(square / (double)b.size());
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); i++)
    ASSERT_LE(std::fabs((double)a[i] - b[i]), relative * std::max((double)std::fabs(b[i]), rms)) << what << " " << i;
}

// One row, primes, whole and broken tiles (14 rows), panels (32 columns) and blocks of panels, odd lengths.
const Sizes sizes[] = {{1, 2, 1},     {1, 34, 17},   {13, 32, 31},  {14, 64, 32},  {15, 66, 33},
                       {29, 96, 290}, {57, 130, 71}, {225, 32, 46}, {43, 386, 97}, {3, 7, 5}};

TEST(Linear, BF16AgreesWithTheReference) {
  if (!ig_isa_has_bf16(ig_isa_detect()))
    GTEST_SKIP() << "this processor has no bf16 products";
  for (const Sizes &n : sizes) {
    SCOPED_TRACE(testing::Message() << n.T << "x" << n.D << " to " << n.V);
    const Outcome ref = run(n, {"*=ref", 1, 0, 0});
    for (const char *force : {"", "linear=linear_dnnl", "linear_bwd_data=linear_bwd_data_dnnl"}) {
      const Outcome own = run(n, {*force ? force : nullptr, 2, 0, 0});
      expect_near(own.y, ref.y, 1.0 / 128, "y");
      expect_near(own.dx, ref.dx, 1.0 / 128, "dx");
      expect_near(own.gradients, ref.gradients, 1e-5, "gradient");
    }
  }
}

TEST(Linear, WeightsAreCopiedOnlyForThoseWhoDoNotReadThemInFp32) {
  const Sizes n = {29, 64, 46};
  const Outcome own = run(n, {nullptr, 2, 0, 0});
  if (own.forward != "linear_bf16_cpu")
    GTEST_SKIP() << "this processor has no bf16 products: " << own.forward;
  EXPECT_EQ(own.data, "linear_bwd_data_bf16_cpu");
  EXPECT_EQ(own.weights, "linear_bwd_weights_bf16_cpu");
  EXPECT_EQ(own.copies, 0);
  const Outcome library = run(n, {"linear=linear_dnnl", 2, 0, 0});
  EXPECT_EQ(library.copies, 1);
  EXPECT_EQ(library.dx, own.dx);
  // Of weights that stay a copy is there once; to read it is half of the traffic.
  const Outcome stable = run(n, {nullptr, 2, 0, 1u << IG_SPACE_TRAINABLE});
  EXPECT_EQ(stable.forward, "linear_bf16_cpu");
  EXPECT_EQ(stable.copies, 1);
  EXPECT_EQ(stable.y, own.y);
  EXPECT_EQ(stable.dx, own.dx);
}

TEST(Linear, ThreadsChangeNoBit) {
  for (const Sizes &n : {Sizes{57, 130, 290}, Sizes{225, 386, 97}})
    for (int shards : {0, 1, 3, 8}) {
      const Outcome one = run(n, {nullptr, 1, shards, 0});
      for (int threads : {2, 3, 5}) {
        const Outcome many = run(n, {nullptr, threads, shards, 0});
        EXPECT_EQ(one.y, many.y);
        EXPECT_EQ(one.dx, many.dx);
        EXPECT_EQ(one.gradients, many.gradients) << threads << " threads, " << shards << " shards";
      }
    }
}

TEST(Linear, ShardsOfTheBatchAreSumsOfTheirOwn) {
  // 45 rows in 3 shards of 15: the gradient is the tree over three gradients of 15 rows.
  const Sizes n = {45, 64, 33};
  const Outcome ref = run(n, {"*=ref", 1, 0, 0}), cut = run(n, {nullptr, 2, 3, 0}), whole = run(n, {nullptr, 2, 1, 0});
  expect_near(cut.gradients, ref.gradients, 1e-5, "gradient");
  if (whole.weights == "linear_bwd_weights_bf16_cpu") {
    EXPECT_NE(cut.gradients, whole.gradients) << "shards are not added apart";
  }
}

// ---- fp32 by own products ----

const char own32[] = "linear=linear_cpu,linear_bwd_data=linear_bwd_data_cpu,linear_bwd_weights=linear_bwd_weights_cpu";
const ig_isa levels[] = {IG_ISA_AMX, IG_ISA_AVX2, IG_ISA_BASE};  // the best one first

Setting f32(const char *force, int threads, int shards, ig_isa isa, int64_t first = 0) {
  return {force, threads, shards, 0, IG_F32, isa, first};
}

TEST(Linear, F32AgreesWithTheReference) {
  std::vector<Sizes> all(std::begin(sizes), std::end(sizes));
  all.push_back({600, 530, 450});  // several links, blocks and groups of tiles
  for (const Sizes &n : all) {
    const Outcome ref = run(n, f32("*=ref", 1, 0, IG_ISA_AMX));
    for (const ig_isa isa : levels)
      for (int shards : {0, 1, 3, 8, 100}) {
        SCOPED_TRACE(testing::Message() << n.T << "x" << n.D << " to " << n.V << ", isa " << isa << ", " << shards
                                        << " shards");
        const Outcome own = run(n, f32(own32, 2, shards, isa));
        EXPECT_EQ(own.weights, "linear_bwd_weights_cpu");
        expect_near(own.y, ref.y, 1e-5, "y");
        expect_near(own.dx, ref.dx, 1e-5, "dx");
        expect_near(own.gradients, ref.gradients, 1e-5, "gradient");
      }
  }
}

TEST(Linear, F32ThreadsChangeNoBit) {
  for (const Sizes &n : {Sizes{57, 130, 290}, Sizes{600, 530, 450}})
    for (int shards : {0, 1, 3, 8}) {
      const Outcome one = run(n, f32(own32, 1, shards, IG_ISA_AMX));
      for (int threads : {2, 5}) {
        const Outcome many = run(n, f32(own32, threads, shards, IG_ISA_AMX));
        EXPECT_EQ(one.y, many.y);
        EXPECT_EQ(one.dx, many.dx);
        EXPECT_EQ(one.gradients, many.gradients) << threads << " threads, " << shards << " shards";
      }
    }
}

// So many threads that the last tasks have no rows.
TEST(Linear, F32TasksWithoutRows) {
  const Sizes n = {8, 16, 40 * 192 + 6};
  const Outcome few = run(n, f32(own32, 1, 0, IG_ISA_AMX)), many = run(n, f32(own32, 20, 0, IG_ISA_AMX));
  EXPECT_EQ(few.gradients, many.gradients);
  EXPECT_EQ(few.y, many.y);
}

// Ranks that hold half of the shards each, and add their gradients, have the bits of one that holds all.
TEST(Linear, F32RanksAddUpToTheWhole) {
  for (const Sizes &n : {Sizes{96, 130, 70}, Sizes{600, 530, 450}})  // of small layers several chains make a shard
    for (int shards : {2, 4, 8, 16}) {
      const Outcome whole = run(n, f32(own32, 2, shards, IG_ISA_AMX));
      const Sizes half = {n.T / 2, n.D, n.V};
      Outcome sum = run(half, f32(own32, 2, shards / 2, IG_ISA_AMX));
      const Outcome rest = run(half, f32(own32, 2, shards / 2, IG_ISA_AMX, n.T / 2));
      for (size_t i = 0; i < sum.gradients.size(); i++)
        sum.gradients[i] += rest.gradients[i];
      // shards of equal length alone are the same ones in a half
      if (n.T % shards == 0) {
        EXPECT_EQ(whole.gradients, sum.gradients) << shards << " shards of " << n.T;
      }
    }
}

}  // namespace
