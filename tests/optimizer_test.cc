// floor: ig_train
// Optimizers over many segments and chunks: fast kernels against references, skipped steps, segment tables, averages,
// accumulated gradients, and that threads change no bit. The formulas themselves are held by golden_optim.cc.
#include "runtime/train/optimizer.h"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <omp.h>
#include <random>

#include "kernels/optim_util/optim_util.h"
#include "kernels/reduce/reduce.h"
#include "tests/update_graph.h"

namespace {

using run_graph::must;
using run_graph::Way;

using update_graph::all_kinds;
using update_graph::copies_are_rounded;
using update_graph::defaults;
using update_graph::Training;

TEST(Optimizer, FastKernelsEqualTheReference) {
  for (const ig_optimizer_options &o : all_kinds()) {
    Training exact(o, run_graph::ways[2]);
    const std::vector<float> before = exact.g.space(IG_SPACE_TRAINABLE);
    for (int step = 1; step <= 4; step++)
      exact.step(step);
    const std::vector<float> &e = exact.g.space(IG_SPACE_TRAINABLE);
    double moved = 0;
    for (size_t i = 0; i < e.size(); i++)
      moved = std::max(moved, std::fabs((double)e[i] - (double)before[i]));
    EXPECT_GT(moved, 1e-5) << o.name;
    for (int way = 0; way < 2; way++) {
      Training fast(o, run_graph::ways[way]);
      const char *name;
      ASSERT_EQ(ig_plan_reference_nodes(fast.g.planned(), &name), 0);
      for (int step = 1; step <= 4; step++)
        fast.step(step);
      const std::vector<float> &w = fast.g.space(IG_SPACE_TRAINABLE);
      for (size_t i = 0; i < w.size(); i++)
        ASSERT_NEAR((double)w[i], (double)e[i], 1e-7 + 4e-6 * moved)
            << o.name << " momentum " << o.momentum << " element " << i;
    }
  }
}

TEST(Optimizer, ThreadsChangeNoBit) {
  const int before = omp_get_max_threads();
  for (ig_optimizer_options o : all_kinds()) {
    o.ema = true;
    std::vector<std::vector<std::vector<float>>> results;
    for (int threads : {1, 2, 5}) {
      omp_set_num_threads(threads);
      Training r(o, run_graph::ways[0]);
      for (int step = 1; step <= 2; step++)
        r.step(step);
      results.push_back(r.everything());
    }
    EXPECT_EQ(results[0], results[1]) << o.name;
    EXPECT_EQ(results[0], results[2]) << o.name;
  }
  omp_set_num_threads(before);
}

TEST(Optimizer, AStepWithoutFiniteGradientsChangesNothing) {
  for (ig_optimizer_options o : all_kinds())
    for (float bad : {NAN, INFINITY, -INFINITY})
      for (const Way &way : run_graph::ways) {
        o.ema = true;
        Training r(o, way);
        r.step(1);
        const auto before = r.everything();
        r.g.space(IG_SPACE_GRAD)[20000] = bad;
        r.step(2);
        EXPECT_EQ(r.everything(), before) << o.name << " " << way.name;
        EXPECT_EQ(r.g.get<float>(r.io.gscale).at(IG_GSCALE_SKIP), 1) << o.name;
        EXPECT_FALSE(std::isfinite(r.g.scalar(r.io.norm)));
        r.g.space(IG_SPACE_GRAD)[20000] = 1;
        r.step(2);
        EXPECT_NE(r.everything(), before) << o.name << " " << way.name;
        EXPECT_EQ(r.g.get<float>(r.io.gscale).at(IG_GSCALE_SKIP), 0) << o.name;
      }
}

// w16: where the operand is there, every implementation keeps its contract (of a GPU's: cuda_weights16_test.cc).
TEST(Optimizer, CopiesIn16BitAreTheRoundedWeights) {
  for (const Way &way : run_graph::ways)
    for (ig_dtype type : {IG_BF16, IG_F16})
      for (const ig_optimizer_options &o : all_kinds())
        copies_are_rounded(o, way, type);
}

// The plan of 32 bit has no such type.
TEST(Optimizer, CopiesInOtherTypesAreRefused) {
  ig_optimizer_options o = defaults("adam");
  o.w16 = true;
  EXPECT_THROW(Training(o, run_graph::ways[0]), std::runtime_error);
  EXPECT_NE(std::string(ig_error_message()).find("(trainable16) is f32, expected bf16 or f16"), std::string::npos)
      << ig_error_message();
}

TEST(Optimizer, AnInfiniteMultiplierSkipsTheStep) {
  Training r(defaults("sgd"), run_graph::ways[0]);
  const auto before = r.everything();
  r.step(1, 0.1, INFINITY);  // 1 / (weight 0)
  EXPECT_EQ(r.everything(), before);
}

TEST(Optimizer, SegmentsCarryDecayScaleAndOrder) {
  ig_optimizer_options o = defaults("lamb");
  o.weight_decay = 0.25;
  o.l1 = 0.5;
  Training r(o, run_graph::ways[0]);
  ASSERT_EQ(r.start.size(), 7u);  // six trainable tensors, in reverse order of use
  EXPECT_EQ(r.start[0], 0);
  EXPECT_EQ(r.start[6], r.g.params.count[IG_PARAM_TRAINABLE]);
  const char *order[] = {"c.bias", "c.weight", "b.bias", "b.weight", "a.bias", "a.weight"};
  for (size_t s = 0; s < 6; s++) {
    const ig_param *p = ig_params_find(&r.g.params, order[s]);
    EXPECT_EQ(r.start[s], p->offset) << order[s];
    const float *a = r.attr.data() + s * IG_N_SEG;
    const bool matrix = p->shape.n == 2;
    EXPECT_EQ(a[IG_SEG_LR_SCALE], s == 1 ? 0.5f : 1.0f);
    EXPECT_EQ(a[IG_SEG_WEIGHT_DECAY], matrix ? 0.25f : 0.0f);
    EXPECT_EQ(a[IG_SEG_L1], matrix ? 0.5f : 0.0f);
    EXPECT_EQ(a[IG_SEG_ADAPT], matrix ? 1.0f : 0.0f);
  }
  o.always_adapt = true;
  must(ig_optimizer_fill_segments(&r.g.params, &o, r.start.data(), r.attr.data()));
  for (size_t s = 0; s < 6; s++)
    EXPECT_EQ(r.attr[s * IG_N_SEG + IG_SEG_ADAPT], 1.0f);
}

TEST(Optimizer, LrScaleDecayAndL1ActPerTensor) {
  ig_optimizer_options o = defaults("sgd");
  o.weight_decay = 0.25;
  o.l1 = 0.5;
  for (const Way &way : run_graph::ways) {
    Training r(o, way);
    const std::vector<float> w = r.g.space(IG_SPACE_TRAINABLE), g = r.g.space(IG_SPACE_GRAD);
    r.step(1, 0.1, 2);
    for (size_t s = 0; s < 6; s++) {
      const float *a = r.attr.data() + s * IG_N_SEG;
      for (size_t i : {(size_t)r.start[s], (size_t)r.start[s + 1] - 1}) {
        const double x = (double)w[i], sign = x > 0 ? 1 : -1;
        const double d = 2 * (double)g[i] + (double)a[IG_SEG_WEIGHT_DECAY] * x + (double)a[IG_SEG_L1] * sign;
        EXPECT_NEAR((double)r.g.space(IG_SPACE_TRAINABLE)[i], x - 0.1 * (double)a[IG_SEG_LR_SCALE] * d, 1e-6)
            << way.name << " segment " << s;
      }
    }
  }
}

TEST(Optimizer, AveragesOfWeightsAndStatistics) {
  ig_optimizer_options o = defaults("sgd");
  o.ema = true;
  for (const Way &way : run_graph::ways) {
    Training r(o, way);
    const std::vector<float> e = r.g.space(IG_SPACE_EMA), es = r.g.space(IG_SPACE_EMA_STATE);
    r.step(1, 0.1, 1, 0.9999);
    const std::vector<float> &w = r.g.space(IG_SPACE_TRAINABLE), &s = r.g.space(IG_SPACE_STATE);
    for (size_t i = 0; i < w.size(); i++)  // after the update of this step
      ASSERT_NEAR((double)r.g.space(IG_SPACE_EMA)[i], (double)e[i] + 1e-4 * ((double)w[i] - (double)e[i]), 5e-8);
    for (size_t i = 0; i < s.size(); i++)
      ASSERT_NEAR((double)r.g.space(IG_SPACE_EMA_STATE)[i], (double)es[i] + 1e-4 * ((double)s[i] - (double)es[i]),
                  2e-7);
    r.step(2, 0.1, 1, 0);
    EXPECT_EQ(r.g.space(IG_SPACE_EMA), r.g.space(IG_SPACE_TRAINABLE));
    EXPECT_EQ(r.g.space(IG_SPACE_EMA_STATE), r.g.space(IG_SPACE_STATE));
  }
}

TEST(Optimizer, AccumulatedGradientsAreReadFromTheirSpace) {
  ig_optimizer_options o = defaults("adamw");
  Training plain(o, run_graph::ways[0]);
  plain.step(1);
  o.gradients = IG_SPACE_ACCUM;
  Training accumulated(o, run_graph::ways[0]);
  accumulated.step(1);
  EXPECT_EQ(plain.g.space(IG_SPACE_TRAINABLE), accumulated.g.space(IG_SPACE_TRAINABLE));
}

TEST(Optimizer, ClippingWithAndWithoutEps) {
  for (double eps : {1e-6, 0.5}) {
    ig_optimizer_options o = defaults("sgd");
    o.clip = 0.25;
    o.clip_eps = eps;
    Training r(o, run_graph::ways[0]);
    double square = 0;
    for (float x : r.g.space(IG_SPACE_GRAD))
      square += (double)x * (double)x;
    r.step(1, 0.1, 0.5);
    const double norm = 0.5 * std::sqrt(square);
    EXPECT_NEAR((double)r.g.scalar(r.io.norm), norm, 1e-6 * norm);
    EXPECT_NEAR((double)r.g.scalar(r.io.gscale), 0.5 * 0.25 / (norm + eps), 1e-6);
  }
}

// LAMB's division comes after clipping and sees the clipped norm: the smaller limit holds.
TEST(Optimizer, ClippingBeforeMaxGradNorm) {
  for (const Way &way : run_graph::ways)
    for (double clip : {0.25, 4.0}) {
      ig_optimizer_options o = defaults("lamb");
      o.clip = clip;
      o.clip_eps = 0;
      o.max_grad_norm = 1;
      Training r(o, way);
      r.step(1, 0.1, 0.5);
      const double norm = (double)r.g.scalar(r.io.norm);
      ASSERT_GT(norm, 4);
      EXPECT_NEAR((double)r.g.scalar(r.io.gscale), 0.5 * std::min(clip, 1.0) / norm, 1e-6) << way.name;
    }
}

TEST(Optimizer, MomentBuffers) {
  auto moments = [](const char *name, double momentum, bool centered) {
    ig_optimizer_options o = defaults(name);
    o.momentum = momentum;
    o.centered = centered;
    return ig_optimizer_moments(&o);
  };
  EXPECT_EQ(moments("sgd", 0, false), 0);
  EXPECT_EQ(moments("sgd", 0.9, false), 1);
  EXPECT_EQ(moments("lars", 0.9, false), 1);
  EXPECT_EQ(moments("adam", 0, false), 2);
  EXPECT_EQ(moments("adamw", 0, false), 2);
  EXPECT_EQ(moments("lamb", 0, false), 2);
  EXPECT_EQ(moments("rmsprop", 0, false), 1);
  EXPECT_EQ(moments("rmsprop", 0.9, false), 2);
  EXPECT_EQ(moments("rmsprop", 0, true), 2);
  EXPECT_EQ(moments("rmsprop", 0.9, true), 3);
}

TEST(Optimizer, OptionsThatDoNotFitAreRefused) {
  ig_optimizer_options o;
  EXPECT_EQ(ig_optimizer_defaults("adamax", &o), IG_ERR_USAGE);
  EXPECT_NE(std::string(ig_error_message()).find("adamw"), std::string::npos);
  auto refused = [](const char *name, void (*change)(ig_optimizer_options *), const char *word) {
    ig_optimizer_options options = defaults(name);
    change(&options);
    EXPECT_EQ(ig_optimizer_check(&options), IG_ERR_USAGE) << word;
    EXPECT_NE(std::string(ig_error_message()).find(word), std::string::npos) << ig_error_message();
  };
  refused(
      "sgd", [](ig_optimizer_options *p) { p->momentum = 1; }, "momentum");
  refused(
      "sgd", [](ig_optimizer_options *p) { p->momentum = NAN; }, "momentum");
  refused(
      "sgd", [](ig_optimizer_options *p) { p->nesterov = true; }, "nesterov");
  refused(
      "adam", [](ig_optimizer_options *p) { p->nesterov = true, p->momentum = 0.9; }, "nesterov");
  refused(
      "adam", [](ig_optimizer_options *p) { p->beta2 = 1; }, "betas");
  refused(
      "adam", [](ig_optimizer_options *p) { p->eps = 0; }, "eps");
  refused(
      "adam", [](ig_optimizer_options *p) { p->centered = true; }, "centered");
  refused(
      "lars", [](ig_optimizer_options *p) { p->trust_coeff = 0; }, "trust_coeff");
  refused(
      "lamb", [](ig_optimizer_options *p) { p->clip = -1; }, "clip");
  refused(
      "lamb", [](ig_optimizer_options *p) { p->weight_decay = -0.1; }, "weight_decay");
}

TEST(Optimizer, NothingToTrainIsAnError) {
  run_graph::Graph g;
  ig_graph_param(g.g, "w", IG_SHAPE1(3), IG_PARAM_FROZEN, {IG_INIT_ZERO, 0});
  must(ig_params_layout(&g.params));
  const ig_optimizer_options o = defaults("sgd");
  ig_optimizer_io io;
  EXPECT_EQ(ig_optimizer_build_update(g.g, &o, &io), IG_ERR_USAGE);
  EXPECT_NE(std::string(ig_error_message()).find("frozen"), std::string::npos);
}

// ---- sums ----

TEST(Reduce, SumsMeansAndSquares) {
  const int64_t rows = 131, columns = 333;
  std::vector<float> x((size_t)(rows * columns));
  for (size_t i = 0; i < x.size(); i++)
    x[i] = (float)((int)(i * 7919 % 4001) - 2000);
  for (const Way &way : run_graph::ways) {
    run_graph::Graph g;
    ig_tensor *t = g.input("x", IG_F32, IG_SHAPE2(rows, columns), x);
    ig_tensor *all = ig_sum(g.g, "all", t, 0), *mean = ig_mean(g.g, "mean", t, 0), *sum = ig_sum(g.g, "sum", t, 1);
    ig_tensor *squares = ig_sum_squares(g.g, "squares", t);
    for (ig_tensor *y : {all, mean, sum, squares})
      g.output(y, "y");
    g.plan(way);
    g.run();
    double total = 0, square = 0;
    std::vector<double> column((size_t)columns);
    for (size_t i = 0; i < x.size(); i++) {
      total += (double)x[i];
      square += (double)x[i] * (double)x[i];
      column[i % (size_t)columns] += (double)x[i];
    }
    EXPECT_EQ((double)g.scalar(all), total) << way.name;
    EXPECT_NEAR((double)g.scalar(mean), total / (double)x.size(), 1e-6) << way.name;
    EXPECT_EQ(g.get<double>(squares).at(0), square) << way.name;
    for (size_t j = 0; j < (size_t)columns; j++)
      ASSERT_EQ((double)g.get<float>(sum)[j], column[j]) << way.name;
  }
}

TEST(Reduce, GradientsRepeatOverLeadingDimensions) {
  for (const Way &way : run_graph::ways) {
    run_graph::Graph g;
    ig_tensor *t = g.input("x", IG_F32, IG_SHAPE2(3, 2), std::vector<float>(6, 1.0f)), *dx = nullptr;
    ig_tensor *y = ig_mean(g.g, "mean", t, 1);
    ig_tensor *seed = g.input("seed", IG_F32, IG_SHAPE1(2), std::vector<float>{3, 6});
    must(ig_graph_differentiate(g.g, 1, &y, &seed, 1, &t, &dx));
    g.output(dx, "dx");
    g.plan(way);
    g.run();
    EXPECT_EQ(g.get<float>(dx), (std::vector<float>{1, 2, 1, 2, 1, 2})) << way.name;
  }
}

}  // namespace
