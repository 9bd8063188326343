// floor: ig_kernels
// Facts about small ops that the walk over the table does not state: PyTorch's rule for equal maxima, NaN and padding
// in pooling; dropout's mask as a pure function; moves and their gradients by hand.
#include <cmath>
#include <gtest/gtest.h>
#include <limits>
#include <numeric>
#include <vector>

#include "kernels/dropout/dropout.h"
#include "kernels/eltwise/eltwise.h"
#include "kernels/pool2d/pool2d.h"
#include "kernels/reduce/reduce.h"
#include "kernels/shape_ops/shape_ops.h"
#include "run_graph.h"

namespace {

using run_graph::Graph;
using run_graph::must;
using run_graph::Way;
using run_graph::ways;
using Floats = std::vector<float>;

const float nan_value = std::numeric_limits<float>::quiet_NaN();

struct Outcome {
  Floats y, dx;
};

// y = build(x), dx = d sum(y dy) / dx, dy = 1, 2, 3, ...
template <class Build>
Outcome run(ig_shape shape, const Floats &x, const Way &way, Build build, ig_mode mode = IG_MODE_TRAIN) {
  Graph graph(IG_F32, mode);
  ig_tensor *tx = graph.input("x", IG_F32, shape, x), *dx = nullptr;
  ig_tensor *y = build(graph, tx);
  must(ig_graph_status(graph.g));
  Floats dy((size_t)ig_shape_count(&y->shape));
  std::iota(dy.begin(), dy.end(), 1.0f);
  ig_tensor *weighed = ig_mul(graph.g, "weighed", y, graph.input("dy", IG_F32, y->shape, dy));
  ig_tensor *loss = ig_sum(graph.g, "loss", weighed, 0), *shown = ig_scale(graph.g, "shown", y, 1);
  must(ig_params_layout(&graph.params));
  must(ig_graph_differentiate(graph.g, 1, &loss, nullptr, 1, &tx, &dx));
  graph.output(shown, "y");
  graph.output(dx, "dx");
  graph.plan(way);
  graph.run();
  return {graph.get<float>(shown), graph.get<float>(dx)};
}

ig_pool2d_attr window(int kernel_h, int kernel_w, int stride_h, int stride_w, int pad_top = 0, int pad_left = 0) {
  return {kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, 0, 0, false, false};
}

TEST(MaxPool, FirstOfEqualMaximaGetsTheGradient) {
  const ig_pool2d_attr attr = window(2, 2, 2, 2);
  for (const Way &way : ways) {
    Outcome r = run(IG_SHAPE4(1, 2, 4, 1), {5, 5, 1, 3, 5, 5, 3, 3}, way,
                    [&](Graph &g, ig_tensor *x) { return ig_maxpool2d(g.g, "pool", x, &attr); });
    EXPECT_EQ(r.y, (Floats{5, 3})) << way.name;
    EXPECT_EQ(r.dx, (Floats{1, 0, 0, 2, 0, 0, 0, 0})) << way.name;
  }
}

TEST(MaxPool, NotANumberAndMinusInfinity) {
  const ig_pool2d_attr attr = window(1, 3, 1, 3);
  const float low = -INFINITY;
  for (const Way &way : ways) {
    Outcome r = run(IG_SHAPE4(1, 1, 9, 1), {1, nan_value, 2, nan_value, 7, 7, low, low, low}, way,
                    [&](Graph &g, ig_tensor *x) { return ig_maxpool2d(g.g, "pool", x, &attr); });
    EXPECT_TRUE(std::isnan(r.y[0]) && std::isnan(r.y[1])) << way.name;
    EXPECT_EQ(r.y[2], low);
    EXPECT_EQ(r.dx, (Floats{0, 1, 0, 2, 0, 0, 3, 0, 0})) << way.name;
  }
}

TEST(MaxPool, PaddingIsMinusInfinityOrZero) {
  ig_pool2d_attr attr = window(1, 2, 1, 2, 0, 1);
  const Floats x = {-1, -5, -2};
  for (const Way &way : ways)
    for (bool zero : {false, true}) {
      attr.pad_zero = zero;
      Outcome r = run(IG_SHAPE4(1, 1, 3, 1), x, way,
                      [&](Graph &g, ig_tensor *t) { return ig_maxpool2d(g.g, "pool", t, &attr); });
      EXPECT_EQ(r.y, zero ? (Floats{0, -2}) : (Floats{-1, -2})) << way.name;
      EXPECT_EQ(r.dx, zero ? (Floats{0, 0, 2}) : (Floats{1, 0, 2})) << way.name;
    }
}

TEST(AvgPool, CountWithAndWithoutPadding) {
  ig_pool2d_attr attr = window(1, 2, 1, 2, 0, 1);
  for (const Way &way : ways)
    for (bool all : {false, true}) {
      attr.count_include_pad = all;
      Outcome r = run(IG_SHAPE4(1, 1, 3, 1), {4, 6, 8}, way,
                      [&](Graph &g, ig_tensor *t) { return ig_avgpool2d(g.g, "pool", t, &attr); });
      EXPECT_EQ(r.y, all ? (Floats{2, 7}) : (Floats{4, 7})) << way.name;
      EXPECT_EQ(r.dx, all ? (Floats{0.5f, 1, 1}) : (Floats{1, 1, 1})) << way.name;
    }
}

TEST(AvgPool, Global) {
  for (const Way &way : ways) {
    Outcome r = run(IG_SHAPE4(1, 2, 1, 3), {1, 2, 3, 5, 6, 7}, way,
                    [&](Graph &g, ig_tensor *x) { return ig_global_avgpool(g.g, "pool", x); });
    EXPECT_EQ(r.y, (Floats{3, 4, 5})) << way.name;
    EXPECT_EQ(r.dx, (Floats{0.5f, 1, 1.5f, 0.5f, 1, 1.5f})) << way.name;
  }
}

TEST(Pool, WindowsThatCannotBe) {
  const ig_pool2d_attr wrong[] = {window(3, 9, 1, 1), window(3, 3, 1, 1, 3), window(0, 3, 1, 1)};
  for (const ig_pool2d_attr &attr : wrong) {
    Graph graph;
    ig_tensor *x = ig_graph_input(graph.g, "x", IG_F32, IG_SHAPE4(1, 5, 5, 2));
    EXPECT_EQ(ig_avgpool2d(graph.g, "pool", x, &attr), nullptr);
    EXPECT_EQ(ig_graph_status(graph.g), IG_ERR_MISMATCH);
    EXPECT_NE(std::string(ig_error_message()).find("pool"), std::string::npos);
  }
}

// ---- dropout ----
using State = std::vector<uint64_t>;

Outcome drop(int64_t samples, int64_t width, float p, const State &state, const Way &way, const char *name = "drop",
             ig_mode mode = IG_MODE_TRAIN) {
  return run(
      IG_SHAPE2(samples, width), Floats((size_t)(samples * width), 1.0f), way,
      [&](Graph &g, ig_tensor *x) {
        return ig_dropout(g.g, name, x, p, g.input("state", IG_U64, IG_SHAPE1(4), state));
      },
      mode);
}

TEST(Dropout, GradientHasTheSameMask) {
  for (const Way &way : ways) {
    Outcome r = drop(5, 1003, 0.25f, {1, 2, 3, 0}, way);
    int64_t kept = 0;
    for (size_t i = 0; i < r.y.size(); i++) {
      ASSERT_TRUE(r.y[i] == 0 || r.y[i] == 4.0f / 3) << r.y[i];
      ASSERT_FLOAT_EQ(r.dx[i], r.y[i] * (float)(i + 1)) << way.name;
      kept += r.y[i] != 0;
    }
    // Binomial: 5015 draws, deviation 30.7; five of them.
    EXPECT_NEAR((double)kept, 0.75 * 5015, 154) << way.name;
  }
}

TEST(Dropout, MaskIsAFunctionOfSeedNameStepAndSample) {
  const int64_t width = 129;
  Floats base = drop(4, width, 0.5f, {1, 2, 30, 0}, ways[0]).y;
  EXPECT_EQ(drop(4, width, 0.5f, {1, 2, 30, 9}, ways[2]).y, base);  // reference: the same draws; the epoch is no part
  // Samples 32 and 33 alone: the same masks as in the batch from 30 on.
  EXPECT_EQ(drop(2, width, 0.5f, {1, 2, 32, 0}, ways[0]).y, Floats(base.begin() + 2 * width, base.end()));
  const State others[] = {{2, 2, 30, 0}, {1, 3, 30, 0}, {1, 2, 34, 0}};
  for (const State &other : others) {
    Floats y = drop(4, width, 0.5f, other, ways[0]).y;
    int64_t same = 0;
    for (size_t i = 0; i < y.size(); i++)
      same += y[i] == base[i];
    EXPECT_NEAR((double)same, 0.5 * (double)y.size(), 5 * std::sqrt(0.25 * (double)y.size()));
  }
  EXPECT_NE(drop(4, width, 0.5f, {1, 2, 30, 0}, ways[0], "other").y, base);
}

TEST(Dropout, NothingEverythingAndEvaluation) {
  EXPECT_EQ(drop(2, 3, 0, {1, 2, 3, 0}, ways[0]).y, Floats(6, 1.0f));
  EXPECT_EQ(drop(2, 3, 1, {1, 2, 3, 0}, ways[0]).y, Floats(6, 0.0f));
  EXPECT_EQ(drop(2, 3, 0.5f, {1, 2, 3, 0}, ways[0], "drop", IG_MODE_EVAL).y, Floats(6, 1.0f));
}

// ---- moves ----
TEST(Moves, ShortcutOfOptionA) {
  // [1,3,3,2] -> [1,2,2,5]: rows and columns 0 and 2, one zero channel before, two behind.
  Floats x(18);
  std::iota(x.begin(), x.end(), 1.0f);
  for (const Way &way : ways) {
    Outcome r = run(IG_SHAPE4(1, 3, 3, 2), x, way,
                    [&](Graph &g, ig_tensor *t) { return ig_shortcut_a(g.g, "shortcut", t, 2, 5); });
    EXPECT_EQ(r.y, (Floats{0, 1, 2, 0, 0, 0, 5, 6, 0, 0, 0, 13, 14, 0, 0, 0, 17, 18, 0, 0})) << way.name;
    EXPECT_EQ(r.dx, (Floats{2, 3, 0, 0, 7, 8, 0, 0, 0, 0, 0, 0, 12, 13, 0, 0, 17, 18})) << way.name;
  }
}

TEST(Moves, PadSliceConcatReshape) {
  for (const Way &way : ways) {
    Outcome r = run(IG_SHAPE4(1, 1, 2, 1), {3, 4}, way,
                    [&](Graph &g, ig_tensor *t) { return ig_pad2d(g.g, "pad", t, 1, 0, 0, 1, -7); });
    EXPECT_EQ(r.y, (Floats{-7, -7, -7, 3, 4, -7})) << way.name;
    EXPECT_EQ(r.dx, (Floats{4, 5})) << way.name;
    r = run(IG_SHAPE2(2, 3), {1, 2, 3, 4, 5, 6}, way,
            [&](Graph &g, ig_tensor *t) { return ig_slice(g.g, "slice", t, IG_SHAPE2(0, 1), IG_SHAPE2(-1, 2)); });
    EXPECT_EQ(r.y, (Floats{2, 3, 5, 6})) << way.name;
    EXPECT_EQ(r.dx, (Floats{0, 1, 2, 0, 3, 4})) << way.name;
    // The same tensor twice: both parts of the gradient arrive.
    r = run(IG_SHAPE2(2, 2), {1, 2, 3, 4}, way, [&](Graph &g, ig_tensor *t) {
      ig_tensor *both[] = {t, t};
      return ig_concat_c(g.g, "concat", 2, both);
    });
    EXPECT_EQ(r.y, (Floats{1, 2, 1, 2, 3, 4, 3, 4})) << way.name;
    EXPECT_EQ(r.dx, (Floats{1 + 3, 2 + 4, 5 + 7, 6 + 8})) << way.name;
    r = run(IG_SHAPE2(2, 3), {1, 2, 3, 4, 5, 6}, way,
            [&](Graph &g, ig_tensor *t) { return ig_reshape(g.g, "reshape", t, IG_SHAPE2(-1, 2)); });
    EXPECT_EQ(r.y, (Floats{1, 2, 3, 4, 5, 6})) << way.name;
    EXPECT_EQ(r.dx, (Floats{1, 2, 3, 4, 5, 6})) << way.name;
  }
}

TEST(Eltwise, ReluAndProducts) {
  for (const Way &way : ways) {
    Outcome r =
        run(IG_SHAPE1(4), {-1, 0, 2, nan_value}, way, [&](Graph &g, ig_tensor *t) { return ig_relu(g.g, "relu", t); });
    EXPECT_EQ(Floats(r.y.begin(), r.y.begin() + 3), (Floats{0, 0, 2})) << way.name;
    EXPECT_TRUE(std::isnan(r.y[3])) << way.name;
    EXPECT_EQ(r.dx, (Floats{0, 0, 3, 4})) << way.name;
    // x * x + x: three contributions to one gradient, 2x + 1.
    r = run(IG_SHAPE1(3), {1, 2, -3}, way,
            [&](Graph &g, ig_tensor *t) { return ig_add2(g.g, "sum", ig_mul(g.g, "square", t, t), t); });
    EXPECT_EQ(r.y, (Floats{2, 6, 6})) << way.name;
    EXPECT_EQ(r.dx, (Floats{3, 2 * 5, 3 * -5})) << way.name;
  }
}

}  // namespace
