// floor: ig_kernels
// Facts about the ops of text that the walk over the table does not state: empty sequences and rows of none; indices
// that are nowhere; masks that do not depend on packing; a whole layer whose bits do not depend on threads.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <gtest/gtest.h>
#include <vector>

#include "kernels/attention/attention.h"
#include "kernels/bias_gelu/bias_gelu.h"
#include "kernels/dropout/dropout.h"
#include "kernels/embedding/embedding.h"
#include "kernels/layernorm/layernorm.h"
#include "kernels/linear/linear.h"
#include "kernels/linear_xent/linear_xent.h"
#include "kernels/rows/rows.h"
#include "tests/text_ops_fixture.h"

namespace {

using namespace text_ops;

// ---- embedding ----
TEST(Embedding, IdsThatAreNowhereShowAndTouchNothing) {
  const Ints ids = {2, -1, 0, 3, 2, INT32_MAX, INT32_MIN};
  for (const Way &way : ways) {
    const Result r =
        run({{IG_SHAPE2(3, 2), {1, 2, 3, 4, 5, 6}}}, 1, way, 1, [&](Graph &g, std::vector<ig_tensor *> in) {
          return ig_embedding(g.g, "e", in[0], g.input("ids", IG_I32, IG_SHAPE1(7), ids), nullptr);
        });
    EXPECT_EQ(rows_of(r.y, 2, 0, 1), (Floats{5, 6})) << way.name;
    EXPECT_EQ(rows_of(r.y, 2, 2, 3), (Floats{1, 2})) << way.name;
    for (int row : {1, 3, 5, 6})
      EXPECT_TRUE(std::isnan(r.y[(size_t)(2 * row)]) && std::isnan(r.y[(size_t)(2 * row + 1)])) << way.name << row;
    const Floats dy = normal(14, 99);
    EXPECT_EQ(r.d[0], (Floats{dy[4], dy[5], 0, 0, dy[0] + dy[8], dy[1] + dy[9]})) << way.name;
  }
}

TEST(Embedding, TableIsReadInFp32WhateverTheActivations) {
  const Result r = run(
      {}, 0, ways[0], 1,
      [&](Graph &g, std::vector<ig_tensor *>) {
        ig_tensor *table = g.input("table", IG_F32, IG_SHAPE2(1, 2), Floats{1.00390625f, 2});
        ig_tensor *ids = g.input("ids", IG_I32, IG_SHAPE1(1), Ints{0}),
                  *one = ig_embedding(g.g, "e", table, ids, nullptr);
        EXPECT_EQ(one->dtype, IG_BF16);
        // 1 + 2^-8 is no bf16 number; the sum with 1 is rounded once: 2 + 2^-8 -> 2.
        return ig_embedding(g.g, "f", table, ids, one);
      },
      IG_BF16);
  EXPECT_EQ(r.y, (Floats{2, 4}));
}

// Gradients of a table that embeds and then multiplies, or of the two tables that do so apart.
std::vector<Floats> table_gradients(bool tied, const Way &way, int threads) {
  const int64_t T = 40, V = 70, D = 24;
  Graph g;
  Ints ids, labels;
  for (int64_t t = 0; t < T; t++) {
    ids.push_back((int32_t)(t * t % 11));
    labels.push_back((int32_t)(t * 7 % V));
  }
  auto param = [&](const char *name) {
    return ig_graph_param(g.g, name, IG_SHAPE2(V, D), IG_PARAM_TRAINABLE, {IG_INIT_NORMAL, 0.5});
  };
  ig_tensor *words = param("words"), *decoder = tied ? words : param("decoder");
  ig_tensor *x = ig_embedding(g.g, "e", words, g.input("ids", IG_I32, IG_SHAPE1(T), ids), nullptr);
  const ig_loss l =
      ig_linear_xent(g.g, "loss", x, decoder, nullptr, g.input("labels", IG_I32, IG_SHAPE1(T), labels), nullptr);
  ig_tensor *mean = l.mean;
  must(ig_graph_status(g.g));
  must(ig_params_layout(&g.params));
  must(ig_graph_differentiate(g.g, 1, &mean, nullptr, 0, nullptr, nullptr));
  int sums = 0, inside = 0;
  for (size_t k = 0; k < g.g->n_nodes; k++) {
    const ig_node *n = g.g->nodes[k];
    sums += n->phase == IG_PHASE_BACKWARD && !strcmp(n->op->name, "add");
    inside += !strcmp(n->op->name, "embedding_bwd") && n->in[2] && n->in[2]->space == IG_SPACE_GRAD &&
              n->out[0]->space == IG_SPACE_GRAD && n->in[2]->param == n->out[0]->param;
  }
  EXPECT_EQ(sums, 0);
  EXPECT_EQ(inside, tied);
  const size_t n = (size_t)g.params.count[IG_PARAM_TRAINABLE];
  const Floats values = normal((size_t)(V * D), 17);
  g.space(IG_SPACE_TRAINABLE).resize(n);
  g.space(IG_SPACE_GRAD).assign(n, NAN);
  for (const ig_tensor *t : {words, decoder})
    std::copy(values.begin(), values.end(), g.space(IG_SPACE_TRAINABLE).begin() + t->param->offset);
  g.plan(way, threads);
  g.run();
  std::vector<Floats> out;
  for (const ig_tensor *t : {words, decoder}) {
    const auto at = g.space(IG_SPACE_GRAD).begin() + t->param->offset;
    out.push_back(Floats(at, at + V * D));
  }
  return out;
}

TEST(Embedding, OfATiedTableTheSecondGradientIsAddedWhereTheFirstLies) {
  for (const Way &way : {ways[0], ways[1]})
    for (int threads : {1, 3}) {
      const std::vector<Floats> apart = table_gradients(false, way, threads),
                                tied = table_gradients(true, way, threads);
      for (size_t i = 0; i < apart[0].size(); i++)  // words first: there the row's sum is added to the decoder's
        ASSERT_EQ(tied[0][i], apart[1][i] + apart[0][i]) << way.name << i;
    }
}

// ---- rows ----
TEST(GatherRows, MinusOneIsZeroAndRepeatedRowsAdd) {
  const Ints index = {1, -1, 1, 5, -7, 0};
  for (const Way &way : ways) {
    const Result r = run({{IG_SHAPE2(3, 1), {10, 20, 30}}}, 1, way, 1, [&](Graph &g, std::vector<ig_tensor *> in) {
      return ig_gather_rows(g.g, "rows", in[0], g.input("index", IG_I32, IG_SHAPE1(6), index));
    });
    EXPECT_EQ(rows_of(r.y, 1, 0, 3), (Floats{20, 0, 20})) << way.name;
    EXPECT_TRUE(std::isnan(r.y[3]) && std::isnan(r.y[4])) << way.name;
    const Floats dy = normal(6, 99);
    EXPECT_EQ(r.d[0], (Floats{dy[5], dy[0] + dy[2], 0})) << way.name;
  }
}

TEST(SegmentMean, EmptySequencesRestAndOffsetsThatLie) {
  const Floats x = {1, 2, 3, 4, 5, 6};
  struct Case {
    Ints offsets;
    Floats mean, share;  // share: 1 / length of each row's sequence
  };
  const Case cases[] = {
      {{0, 0, 2, 2, 5}, {0, 1.5f, 0, 4}, {.5f, .5f, 1 / 3.f, 1 / 3.f, 1 / 3.f, 0}},
      {{1, 3, 3, 9, 9}, {2.5f, 0, 5, 0}, {0, .5f, .5f, 1 / 3.f, 1 / 3.f, 1 / 3.f}},  // cut off at T
      {{0, 4, 2, 6, -5}, {2.5f, 0, 5.5f, 0}, {.25f, .25f, .25f, .25f, .5f, .5f}},    // no row twice
  };
  for (const Way &way : ways)
    for (const Case &c : cases) {
      const Result r = run({{IG_SHAPE2(6, 1), x}}, 1, way, 2, [&](Graph &g, std::vector<ig_tensor *> in) {
        return ig_segment_mean(g.g, "mean", in[0], g.input("cu", IG_I32, IG_SHAPE1(5), c.offsets));
      });
      EXPECT_EQ(r.y, c.mean) << way.name;
      for (size_t t = 0; t < 6; t++)
        EXPECT_EQ(r.d[0][t] != 0, c.share[t] != 0) << way.name << " row " << t;
      const Floats dy = normal(4, 99);
      EXPECT_FLOAT_EQ(r.d[0][4], dy[c.offsets[3] == 6 || c.offsets[3] == 9 ? 2 : 3] * c.share[4]) << way.name;
    }
}

// ---- dropout by row keys ----
TEST(DropoutRows, MasksFollowTheKeysNotThePacking) {
  const int64_t D = 131;
  const Floats ones((size_t)(4 * D), 1.0f);
  auto drop = [&](const Keys &keys, const Way &way) {
    return run({{IG_SHAPE2((int64_t)keys.size(), D), Floats(ones.begin(), ones.begin() + (long)keys.size() * D)}}, 1,
               way, 1, [&](Graph &g, std::vector<ig_tensor *> in) {
                 return ig_dropout_rows(g.g, "drop", in[0], 0.5f, g.input("state", IG_U64, IG_SHAPE1(4), state),
                                        g.input("keys", IG_U64, IG_SHAPE1((int64_t)keys.size()), keys));
               });
  };
  const uint64_t a = 7, b = 1ull << 40, c = 9;
  const Result r = drop({a, b, c}, ways[0]), other = drop({c, a}, ways[0]);
  EXPECT_EQ(rows_of(r.y, D, 0, 1), rows_of(other.y, D, 1, 2));
  EXPECT_EQ(rows_of(r.y, D, 2, 3), rows_of(other.y, D, 0, 1));
  EXPECT_NE(rows_of(r.y, D, 0, 1), rows_of(r.y, D, 1, 2));
  EXPECT_EQ(drop({a, b, c}, ways[2]).y, r.y);
  const Floats dy = normal((size_t)(3 * D), 99);
  for (size_t i = 0; i < r.y.size(); i++)
    ASSERT_EQ(r.d[0][i], r.y[i] * dy[i]);
}

// ---- layer normalisation ----
TEST(LayerNorm, StatisticsOfRowsFarFromZero) {
  Floats x = normal(3 * 257, 1);
  for (float &v : x)
    v = v * 0.01f + 4096;
  for (const Way &way : ways) {
    const Result r = run(
        {{IG_SHAPE2(3, 257), x}, {IG_SHAPE1(257), Floats(257, 1.0f)}, {IG_SHAPE1(257), Floats(257, 0.0f)}}, 0, way, 1,
        [&](Graph &g, std::vector<ig_tensor *> in) { return ig_layernorm(g.g, "norm", in[0], in[1], in[2], 1e-12f); });
    for (size_t t = 0; t < 3; t++) {
      double mean = 0, squares = 0;
      for (size_t i = 0; i < 257; i++)
        mean += (double)x[t * 257 + i] / 257;
      for (size_t i = 0; i < 257; i++)
        squares += std::pow((double)x[t * 257 + i] - mean, 2) / 257;
      // The mean is rounded to fp32: 2.4e-4 of 4096, of a deviation of 0.01.
      for (size_t i = 0; i < 257; i++)
        ASSERT_NEAR((double)r.y[t * 257 + i], ((double)x[t * 257 + i] - mean) / std::sqrt(squares), 0.05) << way.name;
    }
  }
}

// The fused form equals dropout, addition and normalisation one by one, forward and backward, with the same draws.
TEST(LayerNorm, DropoutAddLayerNormIsItsParts) {
  const int64_t T = 23, D = 67;
  const Keys keys = [&] {
    Keys k;
    for (uint64_t t = 0; t < (uint64_t)T; t++)
      k.push_back(1000 - 3 * t);
    return k;
  }();
  const std::vector<Input> inputs = {{IG_SHAPE2(T, D), normal((size_t)(T * D), 1)},
                                     {IG_SHAPE2(T, D), normal((size_t)(T * D), 2)},
                                     {IG_SHAPE1(D), normal((size_t)D, 3)},
                                     {IG_SHAPE1(D), normal((size_t)D, 4)}};
  for (const Way &way : ways)
    for (bool has_keys : {true, false}) {
      Result r[2];
      for (bool fused : {false, true})
        r[fused] = run(inputs, 4, way, 2, [&](Graph &g, std::vector<ig_tensor *> in) {
          ig_tensor *s = g.input("state", IG_U64, IG_SHAPE1(4), state);
          ig_tensor *k = has_keys ? g.input("keys", IG_U64, IG_SHAPE1(T), keys) : nullptr;
          if (fused)
            return ig_dropout_add_layernorm(g.g, "norm", in[0], in[1], in[2], in[3], 1e-12f, 0.25f, s, k);
          // The fused form's draws are those of the node norm/sum.
          ig_tensor *dropped = ig_dropout_rows(g.g, "norm/sum", in[0], 0.25f, s, k);
          return ig_layernorm(g.g, "norm", ig_add2(g.g, "added", dropped, in[1]), in[2], in[3], 1e-12f);
        });
      size_t zeros = 0;
      for (size_t i = 0; i < r[0].y.size(); i++)
        ASSERT_NEAR(r[0].y[i], r[1].y[i], 2e-6) << way.name << " y " << i;
      for (size_t k = 0; k < 4; k++)
        for (size_t i = 0; i < r[0].d[k].size(); i++) {
          ASSERT_NEAR(r[0].d[k][i], r[1].d[k][i], 2e-5) << way.name << " gradient " << k << " " << i;
          ASSERT_EQ(r[0].d[k][i] == 0, r[1].d[k][i] == 0) << way.name << " gradient " << k << " " << i;
          zeros += k == 0 && r[1].d[0][i] == 0;
        }
      EXPECT_NEAR((double)zeros, 0.25 * T * D, 5 * std::sqrt(0.25 * 0.75 * T * D)) << way.name;
    }
  // In evaluation and for p = 0 nothing is dropped.
  auto plain = [&](float p, ig_mode mode) {
    return run(
               inputs, 0, ways[0], 1,
               [&](Graph &g, std::vector<ig_tensor *> in) {
                 return ig_dropout_add_layernorm(g.g, "norm", in[0], in[1], in[2], in[3], 1e-12f, p,
                                                 g.input("state", IG_U64, IG_SHAPE1(4), state), nullptr);
               },
               IG_F32, mode)
        .y;
  };
  EXPECT_EQ(plain(0.5f, IG_MODE_EVAL), plain(0, IG_MODE_TRAIN));
  EXPECT_NE(plain(0.5f, IG_MODE_TRAIN), plain(0, IG_MODE_TRAIN));
}

// ---- GELU ----
TEST(BiasGelu, FarValuesAndAccuracy) {
  Floats x;
  for (int i = -4000; i <= 4000; i++)
    x.push_back((float)i * 0.004f);
  const int64_t n = (int64_t)x.size();
  for (const Way &way : ways) {
    const Result r =
        run({{IG_SHAPE2(n, 1), x}, {IG_SHAPE1(1), {0.25f}}}, 0, way, 1,
            [&](Graph &g, std::vector<ig_tensor *> in) { return ig_bias_gelu(g.g, "g", in[0], in[1], false); });
    for (int64_t i = 0; i < n; i++) {
      const double z = (double)(x[(size_t)i] + 0.25f), want = 0.5 * z * std::erfc(-z * M_SQRT1_2);
      // The tail is as good as its exponent: z^2 is rounded.
      ASSERT_NEAR((double)r.y[(size_t)i], want, 2e-7 * (2 + z * z) * std::fabs(want) + 1e-37) << way.name << " " << z;
    }
  }
}

// A bf16 result is the exact one rounded, but where that lies within 1e-4 of the middle between two.
TEST(BiasGelu, BF16IsRoundedOnce) {
  Floats x;
  for (int i = -255; i <= 255; i++)  // exact in bf16
    for (float step : {1.0f / 64, 1.0f / 16})
      x.push_back((float)i * step);
  const int64_t n = (int64_t)x.size();
  for (const Way &way : ways) {
    Graph g(IG_BF16);
    ig_tensor *in = ig_reorder(g.g, "x16", g.input("x", IG_F32, IG_SHAPE2(n, 1), x), IG_BF16), *dx = nullptr;
    ig_tensor *y = ig_bias_gelu(g.g, "gelu", in, g.input("bias", IG_F32, IG_SHAPE1(1), Floats{0.25f}), false);
    ig_tensor *wide = ig_reorder(g.g, "y32", y, IG_F32), *loss = ig_sum(g.g, "loss", wide, 0);
    must(ig_graph_status(g.g));
    must(ig_graph_differentiate(g.g, 1, &loss, nullptr, 1, &in, &dx));
    ig_tensor *out = ig_scale(g.g, "out", wide, 1), *slope = ig_reorder(g.g, "slope", dx, IG_F32);
    slope = ig_scale(g.g, "slope_out", slope, 1);
    g.output(out, "y");
    g.output(slope, "dx");
    g.output(loss, "total");
    g.plan(way);
    g.run();
    const Floats got = g.get<float>(out), got_slope = g.get<float>(slope);
    for (size_t i = 0; i < x.size(); i++) {
      const double z = (double)x[i] + 0.25, below = 0.5 * std::erfc(-z * M_SQRT1_2);
      const double density = std::exp(-0.5 * z * z) / std::sqrt(2 * M_PI), want = z * below;
      ASSERT_NEAR((double)got[i], want, (1.0 / 256 + 1e-4) * std::fabs(want) + 1e-37) << way.name << " " << z;
      const double exact = below + z * density;
      ASSERT_NEAR((double)got_slope[i], exact, std::fabs(exact) / 256 + 1e-4 * (below + std::fabs(z) * density) + 1e-37)
          << way.name << " " << z;
    }
  }
}

// ---- a whole layer ----
// Gradients of all parameters of embeddings, one encoder layer and a tied decoder.
Floats layer_gradients(ig_dtype compute, bool recompute, int threads, float *loss, int *n_cloned) {
  const int64_t T = 70, B = 4, V = 97, D = 32, F = 64, P = 9;
  Graph g(compute);
  auto param = [&](const char *name, ig_shape shape) {
    return ig_graph_param(g.g, name, shape, IG_PARAM_TRAINABLE, {IG_INIT_NORMAL, shape.n == 1 ? 0.5 : 0.2});
  };
  auto vector = [&](const std::string &name, int64_t n) { return param(name.c_str(), IG_SHAPE1(n)); };
  Ints ids, types, index, labels;
  Keys keys;
  for (int64_t t = 0; t < T; t++) {
    ids.push_back((int32_t)(t * 31 % V));
    types.push_back((int32_t)(t % 2));
    keys.push_back((uint64_t)(t * t));
  }
  for (int64_t p = 0; p < P; p++) {
    index.push_back(p == 4 ? -1 : (int32_t)(p * 7));
    labels.push_back((int32_t)(p * 11 % V));
  }
  ig_tensor *table = param("table", IG_SHAPE2(V, D)), *s = g.input("state", IG_U64, IG_SHAPE1(4), state);
  ig_tensor *k = g.input("keys", IG_U64, IG_SHAPE1(T), keys);
  ig_tensor *cu = g.input("cu", IG_I32, IG_SHAPE1(B + 1), Ints{0, 9, 9, 50, 66});
  ig_tensor *x = ig_embedding(g.g, "types", param("type_table", IG_SHAPE2(2, D)),
                              g.input("type", IG_I32, IG_SHAPE1(T), types), nullptr);
  x = ig_embedding(g.g, "words", table, g.input("ids", IG_I32, IG_SHAPE1(T), ids), x);
  x = ig_dropout_rows(g.g, "drop", ig_layernorm(g.g, "norm0", x, vector("g0", D), vector("b0", D), 1e-12f), 0.1f, s, k);
  auto dense = [&](const std::string &name, ig_tensor *in, int64_t from, int64_t to, bool bias) {
    return ig_linear(g.g, name.c_str(), in, param((name + ".w").c_str(), IG_SHAPE2(to, from)),
                     bias ? vector(name + ".b", to) : nullptr);
  };
  ig_attention_attr attr = {};
  attr.heads = 2;
  attr.dropout = 0.1f;
  ig_tensor *a = ig_attention(g.g, "attention", dense("q", x, D, D, true), dense("k", x, D, D, true),
                              dense("v", x, D, D, true), cu, &attr, s, k);
  x = ig_dropout_add_layernorm(g.g, "norm1", dense("o", a, D, D, true), x, vector("g1", D), vector("b1", D), 1e-12f,
                               0.1f, s, k);
  ig_tensor *h = ig_bias_gelu(g.g, "gelu", dense("up", x, D, F, false), vector("up_bias", F), false);
  x = ig_dropout_add_layernorm(g.g, "norm2", dense("down", h, F, D, true), x, vector("g2", D), vector("b2", D), 1e-12f,
                               0.1f, s, k);
  ig_tensor *rows = ig_gather_rows(g.g, "rows", x, g.input("index", IG_I32, IG_SHAPE1(P), index));
  ig_loss l = ig_linear_xent(g.g, "mlm", rows, table, vector("decoder.b", V),
                             g.input("labels", IG_I32, IG_SHAPE1(P), labels), nullptr);
  ig_tensor *pooled = ig_segment_mean(g.g, "mean", x, cu),
            *terms[2] = {l.mean, pooled ? ig_sum(g.g, "pooled", pooled, 0) : nullptr};
  must(ig_graph_status(g.g));
  must(ig_params_layout(&g.params));
  must(ig_graph_differentiate(g.g, 2, terms, nullptr, 0, nullptr, nullptr));
  *n_cloned = 0;
  if (recompute)
    must(ig_graph_recompute(g.g, 0, 1, 0, n_cloned));
  g.output(l.sum, "sum");
  const size_t n = (size_t)g.params.count[IG_PARAM_TRAINABLE];
  g.space(IG_SPACE_TRAINABLE).resize(n);
  g.space(IG_SPACE_GRAD).resize(n);
  float *const buffers[IG_N_PARAM_KINDS] = {g.space(IG_SPACE_TRAINABLE).data(), nullptr, nullptr};
  must(ig_params_initialize(&g.params, 3, buffers));
  g.plan(ways[0], threads);
  g.run();
  *loss = g.scalar(l.sum);
  return g.space(IG_SPACE_GRAD);
}

TEST(Layer, RecomputationAndThreadsChangeNoBitAndBf16StaysNear) {
  float loss, other;
  int cloned;
  const Floats exact = layer_gradients(IG_F32, false, 1, &loss, &cloned);
  double norm = 0, differs = 0;
  for (ig_dtype compute : {IG_F32, IG_BF16}) {
    const Floats plain = layer_gradients(compute, false, 1, &loss, &cloned);
    EXPECT_TRUE(std::isfinite(loss) && loss > 0);
    EXPECT_EQ(layer_gradients(compute, true, 3, &other, &cloned), plain) << ig_dtype_name(compute);
    EXPECT_EQ(loss, other);
    // norm1 and gelu; in bf16 the copies of seven weights, too.
    EXPECT_EQ(cloned, compute == IG_BF16 ? 9 : 2) << ig_dtype_name(compute);
    for (size_t i = 0; compute == IG_BF16 && i < plain.size(); i++) {
      norm += std::pow((double)exact[i], 2);
      differs += std::pow((double)exact[i] - (double)plain[i], 2);
    }
  }
  EXPECT_LT(std::sqrt(differs / norm), 0.03);
  EXPECT_GT(differs, 0);
}

}  // namespace
