// floor: ig_kernels
// Batch normalisation as graphs use it: statistics of shifted data, the gradient through the statistics, samples that
// do not count, running statistics, evaluation, masks that agree, threads that change no bit.
#include "kernels/batchnorm/batchnorm.h"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <limits>
#include <vector>

#include "kernels/eltwise/eltwise.h"
#include "kernels/reduce/reduce.h"
#include "run_graph.h"
#include "runtime/base/rng.h"

namespace {

using run_graph::Graph;
using run_graph::must;
using run_graph::Way;
using run_graph::ways;
using Floats = std::vector<float>;

Floats normals(int64_t n, uint64_t stream, float mean = 0, float deviation = 1) {
  Floats v((size_t)n);
  ig_rng r = ig_rng_make(3, stream, 0);
  for (float &x : v)
    x = mean + deviation * ig_rng_normal(&r);
  return v;
}

struct Size {
  int64_t N, H, W, C;
  int64_t P() const { return H * W; }
  int64_t count() const { return N * H * W * C; }
  ig_shape shape() const { return IG_SHAPE4(N, H, W, C); }
};
const Size sizes[] = {{1, 5, 7, 1}, {3, 7, 5, 3}, {3, 37, 41, 17}, {2, 19, 17, 64}, {1, 3, 3, 1030}};

// One normalisation with weights [C], biases [C], dy = what the loss weighs y with, and everything read back.
struct Outcome {
  Floats y, dx, dresidual, dgamma, dbeta, running_mean, running_var;
};
struct Options {
  bool relu = false, residual = false, eval = false, differentiate = true;
  Floats sample_weight, gamma, beta, running_mean, running_var;
  bool (*is_frozen)(void *, const char *) = nullptr;
  float momentum = 0.1f;
};

Outcome run(const Size &s, const Floats &x, const Floats &residual, const Floats &dy, const Options &o, const Way &way,
            int threads = 0) {
  Graph graph(IG_F32, o.eval ? IG_MODE_EVAL : IG_MODE_TRAIN);
  graph.params.is_frozen = o.is_frozen;
  ig_tensor *tx = graph.input("x", IG_F32, s.shape(), x), *inputs[2] = {tx, nullptr}, *gradients[2] = {};
  if (o.residual)
    inputs[1] = graph.input("residual", IG_F32, s.shape(), residual);
  ig_tensor *weight = nullptr;
  if (!o.sample_weight.empty())
    weight = graph.input("weight", IG_F32, IG_SHAPE1(s.N), o.sample_weight);
  const ig_batchnorm_attr attr = {1e-5f, o.momentum, o.relu};
  ig_tensor *y = ig_batchnorm(graph.g, "bn", tx, inputs[1], weight, &attr);
  must(ig_graph_status(graph.g));
  // The result is read through a copy: an output must be no operand of the backward nodes that may overwrite it.
  ig_tensor *shown = ig_scale(graph.g, "shown", y, 1.0f);
  if (o.differentiate) {
    ig_tensor *tdy = graph.input("dy", IG_F32, s.shape(), dy);
    ig_tensor *loss = ig_sum(graph.g, "loss", ig_mul(graph.g, "weighed", y, tdy), 0);
    must(ig_params_layout(&graph.params));
    must(ig_graph_differentiate(graph.g, 1, &loss, nullptr, o.residual ? 2 : 1, inputs, gradients));
    for (int i = 0; i < (o.residual ? 2 : 1); i++)
      graph.output(gradients[i], i ? "dresidual" : "dx");
  } else {
    must(ig_params_layout(&graph.params));
  }
  graph.output(shown, "y");
  const ig_params &p = graph.params;
  for (ig_space space : {IG_SPACE_TRAINABLE, IG_SPACE_GRAD, IG_SPACE_FROZEN, IG_SPACE_STATE}) {
    ig_param_kind kind = space == IG_SPACE_STATE    ? IG_PARAM_STATE
                         : space == IG_SPACE_FROZEN ? IG_PARAM_FROZEN
                                                    : IG_PARAM_TRAINABLE;
    graph.space(space).assign((size_t)p.count[kind] + 1, 0.0f);
  }
  auto at = [&](const char *name, ig_space space) {
    const ig_param *found = ig_params_find(&p, name);
    EXPECT_NE(found, nullptr) << name;
    return graph.space(space).begin() + found->offset;
  };
  auto fill = [&](const char *name, ig_space space, const Floats &values, float otherwise) {
    for (int64_t c = 0; c < s.C; c++)
      at(name, space)[c] = values.empty() ? otherwise : values[(size_t)c];
  };
  fill("bn.weight", IG_SPACE_TRAINABLE, o.gamma, 1);
  fill("bn.bias", IG_SPACE_TRAINABLE, o.beta, 0);
  fill("bn.running_mean", IG_SPACE_STATE, o.running_mean, 0);
  fill("bn.running_var", IG_SPACE_STATE, o.running_var, 1);
  graph.plan(way, threads);
  graph.run();
  auto read = [&](const char *name, ig_space space) { return Floats(at(name, space), at(name, space) + s.C); };
  Outcome r;
  r.y = graph.get<float>(shown);
  r.running_mean = read("bn.running_mean", IG_SPACE_STATE);
  r.running_var = read("bn.running_var", IG_SPACE_STATE);
  if (o.differentiate) {
    r.dx = graph.get<float>(gradients[0]);
    if (o.residual)
      r.dresidual = graph.get<float>(gradients[1]);
    r.dgamma = read("bn.weight", IG_SPACE_GRAD);
    r.dbeta = read("bn.bias", IG_SPACE_GRAD);
  }
  return r;
}

// The definition in double: y and, by the chain rule written out, all gradients of sum(y dy).
struct Exact {
  std::vector<double> mean, var, y, dx, dresidual, dgamma, dbeta;
  double count = 0;
};
Exact exact(const Size &s, const Floats &x, const Floats &residual, const Floats &dy, const Options &o) {
  Exact e;
  e.mean.resize(s.C), e.var.resize(s.C), e.dgamma.resize(s.C), e.dbeta.resize(s.C);
  e.y.resize(s.count()), e.dx.resize(s.count()), e.dresidual.resize(s.count());
  auto counts = [&](int64_t i) { return o.sample_weight.empty() || o.sample_weight[(size_t)(i / s.C / s.P())] != 0; };
  for (int64_t c = 0; c < s.C; c++) {
    double n = 0, mean = 0, var = 0, gamma = o.gamma.empty() ? 1 : o.gamma[c], beta = o.beta.empty() ? 0 : o.beta[c];
    for (int64_t i = c; i < s.count(); i += s.C)
      if (counts(i))
        n++, mean += x[i];
    mean /= n;
    for (int64_t i = c; i < s.count(); i += s.C)
      if (counts(i))
        var += (x[i] - mean) * (x[i] - mean);
    var /= n;
    double inv = 1 / std::sqrt(var + 1e-5f), sum_g = 0, sum_gx = 0;
    for (int pass = 0; pass < 2; pass++)
      for (int64_t i = c; i < s.count(); i += s.C) {
        double xhat = (x[i] - mean) * inv, y = xhat * gamma + beta + (o.residual ? residual[i] : 0);
        double g = counts(i) && !(o.relu && y <= 0) ? dy[i] : 0;
        if (pass == 0) {
          e.y[i] = o.relu && y < 0 ? 0 : y;
          e.dresidual[i] = g;
          sum_g += g;
          sum_gx += g * xhat;
        } else {
          e.dx[i] = counts(i) ? gamma * inv * (g - sum_g / n - xhat * sum_gx / n) : 0;
        }
      }
    e.mean[c] = mean, e.var[c] = var, e.dgamma[c] = sum_gx, e.dbeta[c] = sum_g, e.count = n;
  }
  return e;
}

// Largest difference, relative to the largest wanted value.
double error(const Floats &got, const std::vector<double> &want) {
  double worst = 0, largest = 1e-30;
  EXPECT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); i++) {
    if (!std::isfinite(got[i]))
      return INFINITY;
    worst = std::max(worst, std::fabs(got[i] - want[i]));
    largest = std::max(largest, std::fabs(want[i]));
  }
  return worst / largest;
}

// Moves x so that no value before the ReLU is close to 0, where fp32 and fp64 could decide differently.
void clear_kinks(const Size &s, Floats &x, const Floats &residual, const Options &o) {
  for (int round = 0; round < 20; round++) {
    Options linear = o;
    linear.relu = false;
    Exact e = exact(s, x, residual, x, linear);
    int moved = 0;
    for (size_t i = 0; i < x.size(); i++)
      if (std::fabs(e.y[i]) < 1e-4)
        x[i] += 0.05f, moved++;
    if (moved == 0)
      return;
  }
  FAIL() << "kinks stay";
}

TEST(BatchNorm, StatisticsOfDataFarFromZero) {
  // mean 1000, deviation 1; and a jump in the middle of the first task, which misleads any shift taken from its start.
  for (const Size &s : sizes)
    for (const Way &way : ways)
      for (int kind = 0; kind < 3; kind++) {
        if (s.N * s.P() < 20)
          continue;
        Floats x = normals(s.count(), 1, kind == 2 ? -1e4f : 1000.0f, 1);
        if (kind == 1)
          for (int64_t i = 0; i < s.count() / 3; i++)
            x[i] = 0;
        Options o;
        o.differentiate = false;
        o.momentum = 1;
        Outcome r = run(s, x, {}, {}, o, way);
        Exact e = exact(s, x, {}, x, o);
        double unbiased = e.count / (e.count - 1);
        for (int64_t c = 0; c < s.C; c++) {
          EXPECT_NEAR(r.running_mean[c], e.mean[c], 2e-7 * std::fabs(e.mean[c])) << way.name << " channel " << c;
          EXPECT_NEAR(r.running_var[c], e.var[c] * unbiased, 1e-5 * e.var[c]) << way.name << " kind " << kind;
        }
      }
}

TEST(BatchNorm, GradientThroughTheStatistics) {
  for (const Size &s : sizes)
    for (const Way &way : ways)
      for (int mode = 0; mode < 4; mode++) {
        Options o;
        o.relu = mode & 1;
        o.residual = mode & 2;
        o.gamma = normals(s.C, 5, 1, 0.3f);
        o.beta = normals(s.C, 6);
        Floats x = normals(s.count(), 1, 2, 3), residual = normals(s.count(), 2), dy = normals(s.count(), 3);
        if (o.relu)
          clear_kinks(s, x, residual, o);
        Outcome r = run(s, x, residual, dy, o, way);
        Exact e = exact(s, x, residual, dy, o);
        EXPECT_LT(error(r.y, e.y), 3e-6) << way.name << " C " << s.C << " mode " << mode;
        EXPECT_LT(error(r.dx, e.dx), 1e-5) << way.name << " C " << s.C << " mode " << mode;
        EXPECT_LT(error(r.dgamma, e.dgamma), 1e-5) << way.name << " C " << s.C << " mode " << mode;
        EXPECT_LT(error(r.dbeta, e.dbeta), 1e-5) << way.name << " C " << s.C << " mode " << mode;
        if (o.residual) {
          EXPECT_LT(error(r.dresidual, e.dresidual), 1e-6) << way.name << " C " << s.C << " mode " << mode;
        }
      }
}

TEST(BatchNorm, SamplesThatDoNotCount) {
  const Size s = {3, 7, 5, 17};
  for (const Way &way : ways) {
    Options o;
    o.relu = o.residual = true;
    o.sample_weight = {1, 0, 1};
    Floats x = normals(s.count(), 1), residual = normals(s.count(), 2), dy = normals(s.count(), 3);
    clear_kinks(s, x, residual, o);
    for (int64_t i = s.count() / 3; i < s.count() * 2 / 3; i++)
      x[i] = 1e6f;  // the slot of a sample that could not be read
    Outcome r = run(s, x, residual, dy, o, way);
    Exact e = exact(s, x, residual, dy, o);
    EXPECT_EQ(e.count, 70);
    EXPECT_LT(error(r.dx, e.dx), 1e-5) << way.name;
    EXPECT_LT(error(r.dgamma, e.dgamma), 1e-5) << way.name;
    EXPECT_LT(error(r.dbeta, e.dbeta), 1e-5) << way.name;
    EXPECT_LT(error(r.dresidual, e.dresidual), 1e-6) << way.name;
    for (int64_t i = s.count() / 3; i < s.count() * 2 / 3; i++) {
      ASSERT_EQ(r.dx[i], 0);
      ASSERT_EQ(r.dresidual[i], 0);
    }
    for (int64_t c = 0; c < s.C; c++)
      EXPECT_NEAR(r.running_mean[c], 0.1 * e.mean[c], 1e-6);
    // No sample counts: nothing is NaN, the running statistics stay.
    o.sample_weight = {0, 0, 0};
    o.running_mean = normals(s.C, 7);
    r = run(s, normals(s.count(), 1), residual, dy, o, way);
    EXPECT_EQ(r.running_mean, o.running_mean);
    EXPECT_EQ(r.running_var, Floats((size_t)s.C, 1.0f));
    for (float v : r.dx)
      ASSERT_EQ(v, 0);
    for (float v : r.dgamma)
      ASSERT_EQ(v, 0);
  }
}

TEST(BatchNorm, RunningStatistics) {
  const Size s = {2, 3, 5, 7};
  Floats x = normals(s.count(), 1, 3, 2);
  Options o;
  o.differentiate = false;
  o.momentum = 0.25f;
  o.running_mean = normals(s.C, 8);
  o.running_var = Floats((size_t)s.C, 4.0f);
  Exact e = exact(s, x, {}, x, o);
  for (const Way &way : ways) {
    Outcome r = run(s, x, {}, {}, o, way);
    for (int64_t c = 0; c < s.C; c++) {
      EXPECT_NEAR(r.running_mean[c], 0.75 * o.running_mean[c] + 0.25 * e.mean[c], 1e-5);
      EXPECT_NEAR(r.running_var[c], 0.75 * 4 + 0.25 * e.var[c] * 30 / 29, 1e-5);
    }
  }
  // One value a channel: n/(n-1) would be infinite; the biased variance, 0, is taken.
  const Size one = {1, 1, 1, 3};
  Outcome r = run(
      one, {1, 2, 3}, {}, {},
      [] {
        Options single;
        single.differentiate = false;
        single.momentum = 0.5f;
        return single;
      }(),
      ways[0]);
  EXPECT_EQ(r.running_mean, (Floats{0.5f, 1, 1.5f}));
  EXPECT_EQ(r.running_var, (Floats{0.5f, 0.5f, 0.5f}));
  EXPECT_EQ(r.y, (Floats{0, 0, 0}));
}

// EVAL mode, and TRAIN mode with running_mean frozen: an affine map with fixed statistics, which stay as they are.
TEST(BatchNorm, FixedStatistics) {
  const Size s = {2, 5, 3, 9};
  Floats x = normals(s.count(), 1), dy = normals(s.count(), 3);
  for (const Way &way : ways)
    for (bool frozen : {false, true}) {
      Options o;
      o.eval = !frozen;
      o.relu = true;
      if (frozen)
        o.is_frozen = [](void *, const char *name) { return std::string(name) == "bn.running_mean"; };
      o.gamma = normals(s.C, 5, 1, 0.3f);
      o.beta = normals(s.C, 6);
      o.running_mean = normals(s.C, 7);
      for (float v : normals(s.C, 8))
        o.running_var.push_back(0.5f + v * v);
      Outcome r = run(s, x, {}, dy, o, way);
      EXPECT_EQ(r.running_mean, o.running_mean);
      EXPECT_EQ(r.running_var, o.running_var);
      std::vector<double> y(x.size()), dx(x.size()), dgamma(s.C), dbeta(s.C);
      for (size_t i = 0; i < x.size(); i++) {
        size_t c = i % s.C;
        double inv = 1 / std::sqrt(o.running_var[c] + 1e-5), xhat = (x[i] - o.running_mean[c]) * inv;
        double v = xhat * o.gamma[c] + o.beta[c], g = v <= 0 ? 0 : dy[i];
        y[i] = v < 0 ? 0 : v;
        dx[i] = g * o.gamma[c] * inv;
        dgamma[c] += g * xhat;
        dbeta[c] += g;
      }
      EXPECT_LT(error(r.y, y), 1e-6) << way.name;
      EXPECT_LT(error(r.dx, dx), 1e-6) << way.name;
      EXPECT_LT(error(r.dgamma, dgamma), 2e-6) << way.name;
      EXPECT_LT(error(r.dbeta, dbeta), 2e-6) << way.name;
    }
}

// x within a few units in the last place of where the ReLU begins: the mask computed again from x must be the mask of
// y.
TEST(BatchNorm, MasksAgreeAtTheKink) {
  const Size s = {2, 31, 33, 5};
  Options o;
  o.eval = o.relu = true;
  o.gamma = {0.7f, -1.3f, 1, 3.1f, 0.01f};
  o.beta = {0.3f, 0.7f, -2.1f, 0.001f, 1};
  o.running_mean = {0.1f, 5, -3.3f, 100, 0.9f};
  o.running_var = {0.5f, 2, 1, 0.1f, 7};
  Floats x((size_t)s.count());
  for (size_t i = 0; i < x.size(); i++) {
    size_t c = i % s.C;
    float kink = (float)(o.running_mean[c] - o.beta[c] / (o.gamma[c] / std::sqrt(o.running_var[c] + 1e-5)));
    for (int step = (int)(i / s.C % 41) - 20; step != 0; step += step < 0 ? 1 : -1)
      kink = std::nextafter(kink, step < 0 ? -INFINITY : INFINITY);
    x[i] = kink;
  }
  for (const Way &way : ways) {
    Outcome r = run(s, x, {}, Floats(x.size(), 1.0f), o, way);
    int64_t on = 0;
    for (size_t i = 0; i < x.size(); i++) {
      ASSERT_EQ(r.y[i] > 0, r.dx[i] != 0) << way.name << " at " << i;
      on += r.y[i] > 0;
    }
    EXPECT_GT(on, s.count() / 4);
    EXPECT_LT(on, s.count() * 3 / 4);
  }
}

TEST(BatchNorm, ThreadsChangeNoBit) {
  for (const Size &s : sizes) {
    Options o;
    o.relu = o.residual = true;
    Floats x = normals(s.count(), 1), residual = normals(s.count(), 2), dy = normals(s.count(), 3);
    Outcome one = run(s, x, residual, dy, o, ways[0], 1);
    for (int threads : {2, 3}) {
      Outcome r = run(s, x, residual, dy, o, ways[0], threads);
      EXPECT_EQ(r.y, one.y) << s.C;
      EXPECT_EQ(r.dx, one.dx) << s.C;
      EXPECT_EQ(r.dgamma, one.dgamma) << s.C;
      EXPECT_EQ(r.dbeta, one.dbeta) << s.C;
      EXPECT_EQ(r.dresidual, one.dresidual) << s.C;
      EXPECT_EQ(r.running_mean, one.running_mean) << s.C;
      EXPECT_EQ(r.running_var, one.running_var) << s.C;
    }
  }
}

TEST(BatchNorm, NotANumberStays) {
  const Size s = {1, 2, 2, 3};
  Floats x = normals(s.count(), 1);
  x[4] = std::numeric_limits<float>::quiet_NaN();
  Options o;
  o.relu = true;
  o.differentiate = false;
  for (const Way &way : ways) {
    Outcome r = run(s, x, {}, {}, o, way);
    EXPECT_TRUE(std::isnan(r.y[1])) << way.name;
    EXPECT_FALSE(std::isnan(r.y[0])) << way.name;
  }
}

TEST(BatchNorm, WrongOperandsAreNamed) {
  Graph graph;
  const ig_batchnorm_attr attr = {1e-5f, 0.1f, false};
  ig_tensor *x = ig_graph_input(graph.g, "features", IG_F32, IG_SHAPE2(3, 5));
  EXPECT_EQ(ig_batchnorm(graph.g, "bn", x, nullptr, nullptr, &attr), nullptr);
  EXPECT_EQ(ig_graph_status(graph.g), IG_ERR_MISMATCH);
  EXPECT_NE(std::string(ig_error_message()).find("features"), std::string::npos) << ig_error_message();
  Graph other;
  x = ig_graph_input(other.g, "x", IG_F32, IG_SHAPE4(3, 2, 2, 5));
  ig_tensor *residual = ig_graph_input(other.g, "shortcut", IG_F32, IG_SHAPE4(3, 2, 2, 4));
  EXPECT_EQ(ig_batchnorm(other.g, "bn", x, residual, nullptr, &attr), nullptr);
  EXPECT_NE(std::string((ig_graph_status(other.g), ig_error_message())).find("shortcut"), std::string::npos);
}

}  // namespace
