// floor: ig_kernels
// Digits that fp32 sums keep. Rule: truth is the reference, which sums in double and rounds once; the bounds lie
// between what one long chain of fp32 additions leaves and what sums in links do, so that a chain fails here.
#include <cmath>
#include <gtest/gtest.h>
#include <string>
#include <vector>

#include "kernels/attention/attention.h"
#include "kernels/eltwise/eltwise.h"
#include "kernels/linear/linear.h"
#include "kernels/linear_xent/linear_xent.h"
#include "kernels/reduce/reduce.h"
#include "run_graph.h"
#include "runtime/base/rng.h"

namespace {

using run_graph::Graph;
using run_graph::must;
using run_graph::Way;
using Floats = std::vector<float>;

const Way reference = {"ref", IG_ISA_AMX, "*=ref"};
const Way fast[] = {{"best", IG_ISA_AMX, nullptr}, {"avx2", IG_ISA_AVX2, nullptr}, {"base", IG_ISA_BASE, nullptr}};

Floats normal(int64_t n, uint64_t stream, float deviation = 1) {
  Floats v((size_t)n);
  ig_rng r = ig_rng_make(11, stream, 0);
  for (float &x : v)
    x = deviation * ig_rng_normal(&r);
  return v;
}

// |a - b| / |b|
double distance(const Floats &a, const Floats &b) {
  double error = 0, size = 0;
  EXPECT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); i++) {
    error += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
    size += (double)b[i] * b[i];
  }
  return std::sqrt(error / size);
}

// What a net made: results by name, gradients of parameters as "d".
struct Results {
  Floats y, dx, d;
};

// Gradients of the scalar loss, and y (which may be the loss itself).
Results finish(Graph &net, const Way &way, ig_tensor *loss, ig_tensor *y, ig_tensor *x, float weights) {
  ig_tensor *dx = nullptr;
  must(ig_graph_status(net.g));
  must(ig_graph_differentiate(net.g, 1, &loss, nullptr, 1, &x, &dx));
  ig_tensor *dx_out = ig_scale(net.g, "dx_out", dx, 1);
  net.output(dx_out, "dx");
  net.output(loss, "total");
  if (y != loss)
    net.output(y, "y");
  must(ig_params_layout(&net.params));
  const int64_t count = net.params.count[IG_PARAM_TRAINABLE];
  net.space(IG_SPACE_TRAINABLE) = normal(count, 3, weights);
  net.space(IG_SPACE_GRAD).assign((size_t)count, NAN);
  net.plan(way, 2);
  net.run();
  return {net.get<float>(y), net.get<float>(dx_out), net.space(IG_SPACE_GRAD)};
}

Results run_linear(const Way &way, int64_t T, int64_t D, int64_t V) {
  Graph net;
  ig_tensor *x = net.input("x", IG_F32, IG_SHAPE2(T, D), normal(T * D, 1));
  ig_tensor *c = net.input("c", IG_F32, IG_SHAPE2(T, V), normal(T * V, 2));
  ig_tensor *w = ig_graph_param(net.g, "w", IG_SHAPE2(V, D), IG_PARAM_TRAINABLE, {IG_INIT_ZERO, 0});
  ig_tensor *b = ig_graph_param(net.g, "b", IG_SHAPE1(V), IG_PARAM_TRAINABLE, {IG_INIT_ZERO, 0});
  ig_tensor *y = ig_linear(net.g, "layer", x, w, b);
  return finish(net, way, ig_sum(net.g, "loss", ig_mul(net.g, "yc", y, c), 0), y, x, 1);
}

// One chain of 512 terms leaves 2.9e-7 of the size of the result, links of 64 leave 1.6e-7.
TEST(Sums, LinearLayersSumInLinks) {
  for (int64_t T : {512, 500}) {
    const Results truth = run_linear(reference, T, 512, 512);
    for (const Way &way : fast) {
      const Results r = run_linear(way, T, 512, 512);
      EXPECT_LT(distance(r.y, truth.y), 2.2e-7) << way.name << " y " << T;
      EXPECT_LT(distance(r.dx, truth.dx), 2.2e-7) << way.name << " dx " << T;
      EXPECT_LT(distance(r.d, truth.d), 2.2e-7) << way.name << " dw " << T;
    }
  }
}

// A row's bits are those of its sum, whatever other rows there are and how parts are cut.
TEST(Sums, RowsOfLinearDoNotDependOnOtherRows) {
  for (const Way &way : fast) {
    const Results many = run_linear(way, 300, 208, 96), few = run_linear(way, 37, 208, 96);
    EXPECT_EQ(Floats(many.y.begin(), many.y.begin() + 37 * 96), few.y) << way.name;
  }
}

Results run_xent(const Way &way, int64_t P, int64_t V, int64_t D) {
  Graph net;
  ig_tensor *x = net.input("x", IG_F32, IG_SHAPE2(P, D), normal(P * D, 1));
  ig_tensor *w = ig_graph_param(net.g, "w", IG_SHAPE2(V, D), IG_PARAM_TRAINABLE, {IG_INIT_ZERO, 0});
  ig_tensor *b = ig_graph_param(net.g, "b", IG_SHAPE1(V), IG_PARAM_TRAINABLE, {IG_INIT_ZERO, 0});
  std::vector<int32_t> labels;
  for (int64_t p = 0; p < P; p++)
    labels.push_back((int32_t)(p * 7 % V));
  ig_tensor *y = net.input("labels", IG_I32, IG_SHAPE1(P), labels);
  ig_tensor *weights = net.input("weights", IG_F32, IG_SHAPE1(P), Floats((size_t)P, 1.0f));
  ig_tensor *mean = ig_linear_xent(net.g, "loss", x, w, b, y, weights).mean;
  return finish(net, way, mean, mean, x, 0.05f);
}

// The label's term is as large as all others together: added first, it takes a digit from each of them (2e-7 of dx,
// 1e-7 of dw; behind them 3e-8 and 2e-8, without fused multiply-adds 5e-8).
TEST(Sums, LabelsOfDecoderAreAddedLast) {
  for (int64_t D : {128, 90}) {
    const Results truth = run_xent(reference, 33, 1024, D);
    for (const Way &way : fast) {
      const Results r = run_xent(way, 33, 1024, D);
      EXPECT_LT(distance(r.dx, truth.dx), 7e-8) << way.name << " dx " << D;
      EXPECT_LT(distance(r.d, truth.d), 7e-8) << way.name << " dw, db " << D;
    }
  }
}

// The sums over a sequence's keys of their gradients, by (sequence, column), and the size of the gradients themselves.
struct Keys {
  Floats sums;
  double size = 0;
};

Keys run_attention(const Way &way, const std::vector<int32_t> &offsets, int64_t D) {
  const int64_t T = offsets.back(), B = (int64_t)offsets.size() - 1;
  Graph net;
  ig_tensor *q = net.input("q", IG_F32, IG_SHAPE2(T, D), normal(T * D, 1));
  ig_tensor *k = net.input("k", IG_F32, IG_SHAPE2(T, D), normal(T * D, 2));
  ig_tensor *v = net.input("v", IG_F32, IG_SHAPE2(T, D), normal(T * D, 4));
  ig_tensor *c = net.input("c", IG_F32, IG_SHAPE2(T, D), normal(T * D, 5));
  ig_tensor *cu = net.input("cu", IG_I32, IG_SHAPE1(B + 1), offsets);
  const ig_attention_attr attr = {(int)(D / 32), false, 0, 0};
  ig_tensor *o = ig_attention(net.g, "attention", q, k, v, cu, &attr, nullptr, nullptr);
  const Results r = finish(net, way, ig_sum(net.g, "loss", ig_mul(net.g, "oc", o, c), 0), o, k, 1);
  Keys out;
  for (int64_t b = 0; b < B; b++)
    for (int64_t i = 0; i < D; i++) {
      double sum = 0;
      for (int32_t t = offsets[(size_t)b]; t < offsets[(size_t)b + 1]; t++) {
        const double x = r.dx[(size_t)(t * D + i)];
        sum += x;
        out.size += x * x;
      }
      out.sums.push_back((float)sum);
    }
  out.size = std::sqrt(out.size / (double)r.dx.size());
  return out;
}

// What all keys of a sequence have in common changes no probability: their gradients add up to zero, but for rounding
// (1e-6 of their size; 1.9e-6 with means that are rounded by themselves).
TEST(Sums, GradientsOfKeysAddUpToZero) {
  for (const Way &way : fast) {
    const Keys keys = run_attention(way, {0, 64, 71, 180, 230}, 64);
    double sum = 0;
    for (float x : keys.sums)
      sum += (double)x * x;
    EXPECT_LT(std::sqrt(sum / (double)keys.sums.size()), 1.3e-6 * keys.size) << way.name;
  }
}

}  // namespace
