// floor: ig_kernels
// Losses beyond the reference results: combinations of options by central differences, rows that do not count, labels
// that are wrong, 16-bit logits, sizes around the vector width, and that threads change no bit.
#include "kernels/losses/losses.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <gtest/gtest.h>
#include <omp.h>
#include <random>

#include "tests/run_graph.h"

namespace {

using run_graph::Graph;
using run_graph::must;
using run_graph::Way;

struct Batch {
  int64_t n, c;
  std::vector<float> x, target, share, lam, class_weight;
  std::vector<int32_t> labels, second;
  Batch(int64_t n_, int64_t c_) : n(n_), c(c_), x((size_t)(n_ * c_)), target(x.size()) {
    std::mt19937 rng(5);
    std::normal_distribution<float> normal(0, 2);
    std::uniform_real_distribution<float> u(0, 1);
    for (size_t i = 0; i < x.size(); i++)
      x[i] = normal(rng), target[i] = u(rng);
    for (int64_t i = 0; i < n; i++) {
      share.push_back(i % 3 == 1 ? 0 : u(rng));
      lam.push_back(i % 4 == 0 ? 1 : u(rng));
      labels.push_back((int32_t)(rng() % (unsigned)c));
      second.push_back((int32_t)(rng() % (unsigned)c));
    }
    for (int64_t i = 0; i < c; i++)
      class_weight.push_back(0.5f + u(rng));
  }
};

struct Result {
  float sum, weight, mean;
  std::vector<float> dx;
};
using Builder = std::function<ig_loss(Graph &, ig_tensor *, const Batch &)>;

// The loss and d mean / d x.
Result run(const Batch &b, const Builder &build, const Way &way) {
  Graph g;
  ig_tensor *x = g.input("x", IG_F32, IG_SHAPE2(b.n, b.c), b.x), *dx = nullptr;
  ig_loss l = build(g, x, b);
  must(ig_graph_status(g.g));
  must(ig_graph_differentiate(g.g, 1, &l.mean, nullptr, 1, &x, &dx));
  for (ig_tensor *t : {l.sum, l.weight, l.mean, dx})
    g.output(t, "result");
  g.plan(way);
  g.run();
  return {g.scalar(l.sum), g.scalar(l.weight), g.scalar(l.mean), g.get<float>(dx)};
}

ig_loss xent(Graph &g, ig_tensor *x, const Batch &b, ig_xent_attr a) {
  return ig_softmax_xent(g.g, "xent", x, g.input("y", IG_I32, IG_SHAPE1(b.n), b.labels),
                         g.input("y2", IG_I32, IG_SHAPE1(b.n), b.second), g.input("lam", IG_F32, IG_SHAPE1(b.n), b.lam),
                         g.input("share", IG_F32, IG_SHAPE1(b.n), b.share),
                         g.input("cw", IG_F32, IG_SHAPE1(b.c), b.class_weight), &a);
}

struct Named {
  const char *name;
  Builder build;
};
ig_tensor *target_of(Graph &g, const Batch &b) { return g.input("t", IG_F32, IG_SHAPE2(b.n, b.c), b.target); }
ig_tensor *share_of(Graph &g, const Batch &b) { return g.input("share", IG_F32, IG_SHAPE1(b.n), b.share); }

const Named all[] = {
    {"everything",
     [](Graph &g, ig_tensor *x, const Batch &b) {
       ig_xent_attr a = {};
       a.label_smoothing = 0.2f, a.focal_gamma = 1.5f, a.has_ignore = true, a.ignore_label = 1;
       return xent(g, x, b, a);
     }},
    {"focal 0.5 mixed",
     [](Graph &g, ig_tensor *x, const Batch &b) {
       ig_xent_attr a = {};
       a.focal_gamma = 0.5f, a.weight_per_row = true;
       return xent(g, x, b, a);
     }},
    {"soft", [](Graph &g, ig_tensor *x,
                const Batch &b) { return ig_softmax_xent_soft(g.g, "l", x, target_of(g, b), share_of(g, b)); }},
    {"mse",
     [](Graph &g, ig_tensor *x, const Batch &b) { return ig_mse_loss(g.g, "l", x, target_of(g, b), share_of(g, b)); }},
    {"huber", [](Graph &g, ig_tensor *x,
                 const Batch &b) { return ig_huber_loss(g.g, "l", x, target_of(g, b), share_of(g, b), 0.7f); }},
    {"smooth l1", [](Graph &g, ig_tensor *x,
                     const Batch &b) { return ig_smooth_l1_loss(g.g, "l", x, target_of(g, b), share_of(g, b), 0.7f); }},
    {"bce",
     [](Graph &g, ig_tensor *x, const Batch &b) {
       return ig_bce_logits_loss(g.g, "l", x, target_of(g, b), share_of(g, b),
                                 g.input("pw", IG_F32, IG_SHAPE1(b.c), b.class_weight));
     }},
    {"sigmoid focal",
     [](Graph &g, ig_tensor *x, const Batch &b) {
       return ig_sigmoid_focal_loss(g.g, "l", x, target_of(g, b), share_of(g, b), 0.25f, 1.5f);
     }},
    {"kd", [](Graph &g, ig_tensor *x,
              const Batch &b) { return ig_kd_loss(g.g, "l", x, target_of(g, b), share_of(g, b), 3); }},
};

TEST(Losses, FastKernelsEqualTheReferenceAtRaggedSizes) {
  for (const Named &l : all)
    for (int64_t c : {1, 2, 7, 16, 17, 31, 64, 1003}) {
      const Batch b(c == 1003 ? 131 : 9, c);
      const Result exact = run(b, l.build, run_graph::ways[2]);
      for (int way = 0; way < 2; way++) {
        const Result r = run(b, l.build, run_graph::ways[way]);
        const std::string what = std::string(l.name) + " " + run_graph::ways[way].name + " " + std::to_string(c);
        EXPECT_NEAR((double)r.sum, (double)exact.sum, 1e-6 * std::max(1.0, std::fabs((double)exact.sum))) << what;
        EXPECT_NEAR((double)r.weight, (double)exact.weight, 1e-6 * std::max(1.0, (double)exact.weight)) << what;
        EXPECT_NEAR((double)r.mean, (double)exact.mean, 1e-6 * std::max(1.0, std::fabs((double)exact.mean))) << what;
        for (size_t i = 0; i < r.dx.size(); i++)
          ASSERT_NEAR((double)r.dx[i], (double)exact.dx[i], 5e-7) << what << " element " << i;
      }
    }
}

TEST(Losses, GradientsByCentralDifferences) {
  for (const Named &l : all) {
    Batch b(7, 5);
    const std::vector<float> dx = run(b, l.build, run_graph::ways[0]).dx;
    for (size_t i = 0; i < b.x.size(); i++) {
      const float h = 1.0f / 64, keep = b.x[i];
      b.x[i] = keep + h;
      const Result up = run(b, l.build, run_graph::ways[2]);
      b.x[i] = keep - h;
      const Result down = run(b, l.build, run_graph::ways[2]);
      b.x[i] = keep;
      EXPECT_NEAR((double)dx[i], ((double)up.mean - (double)down.mean) / (2 * (double)h), 1e-3) << l.name << " " << i;
    }
  }
}

TEST(Losses, ThreadsChangeNoBit) {
  const Batch b(131, 301);
  const int before = omp_get_max_threads();
  for (const Named &l : all) {
    omp_set_num_threads(1);
    const Result one = run(b, l.build, run_graph::ways[0]);
    omp_set_num_threads(3);
    const Result three = run(b, l.build, run_graph::ways[0]);
    EXPECT_EQ(one.sum, three.sum) << l.name;
    EXPECT_EQ(one.dx, three.dx) << l.name;
  }
  omp_set_num_threads(before);
}

// A sample of weight 0 is as if it were not there, whatever it holds.
TEST(Losses, SamplesOfWeightZeroDoNotCount) {
  for (const Named &l : all)
    for (const Way &way : run_graph::ways) {
      Batch b(7, 5);
      const Result before = run(b, l.build, way);
      for (size_t j = 5; j < 10; j++)  // row 1
        b.x[j] = NAN, b.target[j] = NAN;
      b.labels[1] = -7, b.second[1] = 1000;
      const Result after = run(b, l.build, way);
      EXPECT_EQ(before.sum, after.sum) << l.name << " " << way.name;
      EXPECT_EQ(before.weight, after.weight) << l.name << " " << way.name;
      EXPECT_EQ(before.dx, after.dx) << l.name << " " << way.name;
      for (size_t j = 5; j < 10; j++)
        EXPECT_EQ(after.dx[j], 0) << l.name << " " << way.name;
      std::fill(b.share.begin(), b.share.end(), 0.0f);
      const Result none = run(b, l.build, way);
      EXPECT_EQ(none.mean, 0) << l.name << " " << way.name;
      EXPECT_EQ(none.dx, std::vector<float>(35, 0.0f)) << l.name << " " << way.name;
    }
}

TEST(Losses, ALabelOutsideOfTheClassesIsNaN) {
  for (int32_t bad : {-1, 5, 1 << 30})
    for (const Way &way : run_graph::ways) {
      Batch b(7, 5);
      b.labels[0] = bad;
      b.share.assign(7, 1.0f);
      const Result r = run(b, all[1].build, way);
      EXPECT_TRUE(std::isnan(r.sum)) << way.name;
      EXPECT_TRUE(std::isnan(r.dx[0])) << way.name;
      EXPECT_FALSE(std::isnan(r.dx[5])) << way.name;
    }
}

TEST(Losses, HalfPrecisionLogitsAreCast) {
  Batch b(7, 5);
  std::vector<uint16_t> half;
  for (float &x : b.x) {
    half.push_back(ig_bf16_from_f32(x));
    x = ig_f32_from_bf16(half.back());
  }
  const Result exact = run(b, all[0].build, run_graph::ways[0]);
  Graph g(IG_BF16);
  ig_tensor *x = g.input("x", IG_BF16, IG_SHAPE2(7, 5), half), *dx = nullptr;
  ig_loss l = all[0].build(g, x, b);
  must(ig_graph_status(g.g));
  must(ig_graph_differentiate(g.g, 1, &l.mean, nullptr, 1, &x, &dx));
  g.output(l.mean, "mean");
  g.output(dx, "dx");
  g.plan(run_graph::ways[0]);
  g.run();
  EXPECT_EQ(g.scalar(l.mean), exact.mean);
  ASSERT_EQ(dx->dtype, IG_BF16);
  for (size_t i = 0; i < exact.dx.size(); i++)
    EXPECT_EQ(g.get<uint16_t>(dx)[i], ig_bf16_from_f32(exact.dx[i])) << i;
}

TEST(Losses, Softmax) {
  const Batch b(9, 37);
  for (const Way &way : run_graph::ways) {
    Graph g;
    ig_tensor *x = g.input("x", IG_F32, IG_SHAPE2(9, 37), b.x), *dx = nullptr;
    ig_tensor *seed = g.input("seed", IG_F32, IG_SHAPE2(9, 37), b.target), *y = ig_softmax(g.g, "softmax", x);
    must(ig_graph_differentiate(g.g, 1, &y, &seed, 1, &x, &dx));
    g.output(y, "y");
    g.output(dx, "dx");
    g.plan(way);
    g.run();
    for (size_t i = 0; i < 9; i++) {
      double sum = 0, dot = 0;
      for (size_t j = 37 * i; j < 37 * i + 37; j++)
        sum += std::exp((double)b.x[j]);
      for (size_t j = 37 * i; j < 37 * i + 37; j++)
        dot += std::exp((double)b.x[j]) / sum * (double)b.target[j];
      for (size_t j = 37 * i; j < 37 * i + 37; j++) {
        const double p = std::exp((double)b.x[j]) / sum;
        EXPECT_NEAR((double)g.get<float>(y)[j], p, 3e-7) << way.name;
        EXPECT_NEAR((double)g.get<float>(dx)[j], p * ((double)b.target[j] - dot), 3e-7) << way.name;
      }
    }
  }
}

TEST(Losses, WrongOperandsAreRefusedWithTheReason) {
  const Batch b(7, 5);
  auto message = [&](const Builder &build) {
    Graph g;
    ig_tensor *x = g.input("x", IG_F32, IG_SHAPE2(b.n, b.c), b.x);
    EXPECT_EQ(build(g, x, b).mean, nullptr);
    EXPECT_NE(ig_graph_status(g.g), IG_OK);
    return std::string(ig_error_message());
  };
  EXPECT_NE(message([](Graph &g, ig_tensor *x, const Batch &batch) {
              return ig_softmax_xent(g.g, "l", x, share_of(g, batch), nullptr, nullptr, nullptr, nullptr, nullptr);
            }).find("expected i32"),
            std::string::npos);
  EXPECT_NE(message([](Graph &g, ig_tensor *x, const Batch &batch) {
              ig_xent_attr a = {};
              a.label_smoothing = 1;
              return xent(g, x, batch, a);
            }).find("label_smoothing"),
            std::string::npos);
  EXPECT_NE(message([](Graph &g, ig_tensor *x, const Batch &batch) {
              return ig_huber_loss(g.g, "l", x, target_of(g, batch), nullptr, 0);
            }).find("delta"),
            std::string::npos);
  EXPECT_NE(message([](Graph &g, ig_tensor *x, const Batch &batch) {
              return ig_mse_loss(g.g, "l", x, g.input("t", IG_F32, IG_SHAPE1(7), batch.share), nullptr);
            }).find("expected [7, 5]"),
            std::string::npos);
}

}  // namespace
