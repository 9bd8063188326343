// floor: ig_kernels
// Facts about the cross-entropy of a linear layer that the walk over the table does not state: it is the layer and its
// loss, whatever the threads; rows that do not count; huge logits and labels that are none.
#include "kernels/linear_xent/linear_xent.h"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <vector>

#include "kernels/linear/linear.h"
#include "kernels/softmax_xent/softmax_xent.h"
#include "tests/text_ops_fixture.h"

namespace {

using namespace text_ops;

struct Scored {
  float sum, weight;
  int32_t right;
  Floats dx, dw, db;
};

Scored score(int64_t P, int64_t V, int64_t D, const Floats &x, const Floats &w, const Floats &b, const Ints &labels,
             const Floats &weights, const Way &way, int threads, bool chunked) {
  Graph g;
  ig_tensor *in[] = {g.input("x", IG_F32, IG_SHAPE2(P, D), x), g.input("w", IG_F32, IG_SHAPE2(V, D), w),
                     g.input("b", IG_F32, IG_SHAPE1(V), b)},
            *d[3];
  ig_tensor *y = g.input("labels", IG_I32, IG_SHAPE1(P), labels),
            *s = g.input("weights", IG_F32, IG_SHAPE1(P), weights);
  const ig_loss l = chunked ? ig_linear_xent(g.g, "loss", in[0], in[1], in[2], y, s)
                            : ig_softmax_xent(g.g, "loss", ig_linear(g.g, "logits", in[0], in[1], in[2]), y, nullptr,
                                              nullptr, s, nullptr, nullptr);
  must(ig_graph_status(g.g));
  ig_tensor *mean = l.mean, *right = chunked ? ig_linear_xent_right(&l) : nullptr;
  must(ig_params_layout(&g.params));
  must(ig_graph_differentiate(g.g, 1, &mean, nullptr, 3, in, d));
  g.output(l.sum, "sum");
  g.output(l.weight, "weight");
  if (right)
    g.output(right, "right");
  for (ig_tensor *t : d)
    g.output(t, "d");
  g.plan(way, threads);
  g.run();
  return {g.scalar(l.sum),    g.scalar(l.weight), right ? g.get<int32_t>(right)[0] : 0,
          g.get<float>(d[0]), g.get<float>(d[1]), g.get<float>(d[2])};
}

void near(const Floats &a, const Floats &b, float allowed, const char *what) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); i++)
    ASSERT_NEAR(a[i], b[i], allowed) << what << " " << i;
}

TEST(LinearXent, IsTheLinearLayerAndItsLossWhateverTheThreads) {
  const int64_t P = 300, V = 1201, D = 40;
  Floats x = normal((size_t)(P * D), 1), w = normal((size_t)(V * D), 2), b = normal((size_t)V, 3),
         weights((size_t)P, 1);
  Ints labels;
  for (int64_t p = 0; p < P; p++)
    labels.push_back((int32_t)(p * 37 % V));
  labels[4] = -100;  // weight 0: no label at all
  weights[4] = 0;
  weights[5] = 0.25f;
  for (const Way &way : {ways[0], ways[1]}) {
    const Scored a = score(P, V, D, x, w, b, labels, weights, way, 1, true);
    const Scored c = score(P, V, D, x, w, b, labels, weights, way, 1, false);
    EXPECT_NEAR(a.sum, c.sum, 1e-5f * std::fabs(c.sum)) << way.name;
    EXPECT_EQ(a.weight, c.weight);
    near(a.dx, c.dx, 2e-7f, "dx");
    near(a.dw, c.dw, 2e-7f, "dw");
    near(a.db, c.db, 2e-7f, "db");
    EXPECT_EQ(rows_of(a.dx, D, 4, 5), Floats((size_t)D, 0.0f));
    for (int threads : {2, 3}) {
      const Scored t = score(P, V, D, x, w, b, labels, weights, way, threads, true);
      EXPECT_EQ(a.sum, t.sum);
      EXPECT_EQ(a.dx, t.dx);
      EXPECT_EQ(a.dw, t.dw);
      EXPECT_EQ(a.db, t.db);
    }
  }
}

TEST(LinearXent, RowsBehindTheLastThatCountsChangeNothing) {
  const int64_t P = 300, V = 1201, D = 40;
  const Floats w = normal((size_t)(V * D), 2), b = normal((size_t)V, 3);
  Floats x = normal((size_t)(P * D), 1);
  for (int64_t used : {130, 1, 0}) {
    Floats weights((size_t)P, 0.0f);
    std::fill(weights.begin(), weights.begin() + used, 1.0f);
    Ints labels((size_t)P, -1);
    for (int64_t p = 0; p < used; p++)
      labels[(size_t)p] = (int32_t)(p * 37 % V);
    for (const Way &way : {ways[0], ways[1]}) {
      const Scored a = score(P, V, D, x, w, b, labels, weights, way, 2, true);
      const Scored c = score(P, V, D, x, w, b, labels, weights, way, 1, false);
      near(a.dx, c.dx, 5e-6f, "dx");
      near(a.dw, c.dw, 5e-6f, "dw");
      near(a.db, c.db, 5e-6f, "db");
      EXPECT_EQ(rows_of(a.dx, D, used, P), Floats((size_t)((P - used) * D), 0.0f)) << way.name << used;
    }
  }
}

TEST(LinearXent, HugeLogitsCountsAndLabelsThatAreNone) {
  // Logits are +-3e6 times the class: fp32 sums of exponentials would overflow without the shift.
  const Floats x = {3e3f, -3e3f, 3e3f}, w = {0, 1e3f, 2e3f, 2e3f}, b(4, 0.0f);
  for (const Way &way : ways) {
    Scored s = score(3, 4, 1, x, w, b, {2, 0, 3}, {1, 1, 1}, way, 1, true);
    EXPECT_NEAR(s.sum, 2 * std::log(2.0f), 1e-6) << way.name;
    EXPECT_EQ(s.right, 2) << way.name;  // of equal logits the first is the prediction: the third row is wrong
    for (float g : s.dx)
      EXPECT_TRUE(std::isfinite(g)) << way.name;
    s = score(3, 4, 1, x, w, b, {2, 4, 0}, {1, 1, 0}, way, 1, true);
    EXPECT_TRUE(std::isnan(s.sum) && std::isnan(s.dx[1])) << way.name;
    EXPECT_FALSE(std::isnan(s.dx[0]) || std::isnan(s.dx[2])) << way.name;
    EXPECT_EQ(s.weight, 2) << way.name;
    s = score(3, 4, 1, x, w, b, {-100, -100, -100}, {0, 0, 0}, way, 1, true);
    EXPECT_EQ(s.sum, 0) << way.name;
    EXPECT_EQ(s.dw, Floats(4, 0.0f)) << way.name;
  }
}

}  // namespace
