// floor: ig_kernels
// Facts about attention that the walk over the table does not state: borders of packed sequences, offsets that lie,
// masks that do not depend on packing, bits that do not depend on threads.
#include "kernels/attention/attention.h"

#include <cmath>
#include <gtest/gtest.h>
#include <string>
#include <vector>

#include "tests/text_ops_fixture.h"

namespace {

using namespace text_ops;

struct Pack {
  int64_t T, H, d;
  Ints offsets;
  Keys keys;  // empty: none
  ig_attention_attr attr;
};

Result attend(const Pack &p, const Floats &q, const Floats &k, const Floats &v, const Way &way, int threads,
              ig_dtype compute = IG_F32) {
  const ig_shape shape = IG_SHAPE2(p.T, p.H * p.d);
  return run(
      {{shape, q}, {shape, k}, {shape, v}}, 3, way, threads,
      [&](Graph &g, std::vector<ig_tensor *> in) {
        ig_tensor *cu = g.input("cu", IG_I32, IG_SHAPE1((int64_t)p.offsets.size()), p.offsets);
        ig_tensor *keys = p.keys.empty() ? nullptr : g.input("keys", IG_U64, IG_SHAPE1(p.T), p.keys);
        return ig_attention(g.g, "attention", in[0], in[1], in[2], cu, &p.attr,
                            g.input("state", IG_U64, IG_SHAPE1(4), state), keys);
      },
      compute);
}

Pack pack(int64_t T, int64_t H, int64_t d, const Ints &offsets, bool causal = false, float dropout = 0) {
  ig_attention_attr attr = {};
  attr.heads = (int)H;
  attr.causal = causal;
  attr.dropout = dropout;
  return {T, H, d, offsets, {}, attr};
}

TEST(Attention, SequencesDoNotSeeEachOtherAndTheRestIsZero) {
  const int64_t T = 40, H = 2, d = 16, D = H * d;
  const Floats q = normal((size_t)(T * D), 1), k = normal((size_t)(T * D), 2), v = normal((size_t)(T * D), 3);
  for (const Way &way : ways)
    for (bool causal : {false, true}) {
      const Result all = attend(pack(T, H, d, {0, 0, 17, 17, 18, 33}, causal), q, k, v, way, 2);
      const Result one = attend(pack(15, H, d, {0, 15}, causal), rows_of(q, D, 18, 33), rows_of(k, D, 18, 33),
                                rows_of(v, D, 18, 33), way, 2);
      // The last sequence alone: the same output bits (its queries are cut alike).
      EXPECT_EQ(rows_of(all.y, D, 18, 33), one.y) << way.name;
      EXPECT_EQ(rows_of(all.y, D, 17, 18), rows_of(v, D, 17, 18)) << way.name;  // one token sees itself
      EXPECT_EQ(rows_of(all.y, D, 33, 40), Floats((size_t)(7 * D), 0.0f)) << way.name;
      for (const Floats &g : all.d)
        EXPECT_EQ(rows_of(g, D, 33, 40), Floats((size_t)(7 * D), 0.0f)) << way.name;
    }
}

TEST(Attention, CausalQueriesSeeNoLaterKey) {
  // Longer than a block of keys, so that blocks and tiles meet the diagonal everywhere.
  const int64_t T = 600, d = 8;
  Floats q = normal((size_t)(T * d), 1), k = normal((size_t)(T * d), 2), v = normal((size_t)(T * d), 3);
  const Pack p = pack(T, 1, d, {0, (int32_t)T}, true);
  const Floats before = attend(p, q, k, v, ways[0], 2).y;
  for (int64_t from : {1ll, 47ll, 48ll, 255ll, 256ll, 287ll, 288ll, 480ll, 599ll}) {
    Floats k2 = k, v2 = v;
    for (size_t i = (size_t)(from * d); i < k2.size(); i++)
      k2[i] = 1e3f, v2[i] = -1e6f;
    const Floats after = attend(p, q, k2, v2, ways[0], 2).y;
    EXPECT_EQ(rows_of(after, d, 0, from), rows_of(before, d, 0, from)) << from;
    EXPECT_NE(rows_of(after, d, from, from + 1), rows_of(before, d, from, from + 1)) << from;
  }
}

TEST(Attention, DropoutFollowsKeysAndPlaceInTheSequence) {
  const int64_t H = 3, d = 5, D = H * d, A = 29, B = 13, T = A + B;
  const Floats q = normal((size_t)(T * D), 1), k = normal((size_t)(T * D), 2), v = normal((size_t)(T * D), 3);
  Pack p = pack(T, H, d, {0, (int32_t)A, (int32_t)T}, false, 0.5f);
  for (int64_t t = 0; t < T; t++)
    p.keys.push_back(t < A ? (uint64_t)t : 5000000000ull + (uint64_t)t);
  auto turned = [&](const Floats &x) {
    Floats y = rows_of(x, D, A, T);
    y.insert(y.end(), x.begin(), x.begin() + A * D);
    return y;
  };
  Pack other = pack(T, H, d, {0, (int32_t)B, (int32_t)T}, false, 0.5f);
  other.keys = Keys(p.keys.begin() + A, p.keys.end());
  other.keys.insert(other.keys.end(), p.keys.begin(), p.keys.begin() + A);
  for (const Way &way : ways) {
    const Result a = attend(p, q, k, v, way, 2), b = attend(other, turned(q), turned(k), turned(v), way, 2);
    EXPECT_EQ(turned(a.y), b.y) << way.name;
    const Result none = attend(pack(T, H, d, p.offsets), q, k, v, way, 2);
    EXPECT_NE(none.y, a.y) << way.name;
  }
  // Keys alone change the masks.
  Pack changed = p;
  changed.keys[3]++;
  EXPECT_NE(attend(changed, q, k, v, ways[0], 1).y, attend(p, q, k, v, ways[0], 1).y);
  // Over many draws the mean is the undropped output: v = 1 gives the sum of what is kept.
  const Floats ones((size_t)(T * D), 1.0f);
  double mean = 0;
  for (float y : attend(p, q, k, ones, ways[0], 1).y)
    mean += (double)y / (double)(T * D);
  EXPECT_NEAR(mean, 1, 0.15);
  EXPECT_NE(mean, 1);
}

TEST(Attention, ThreadsAndPackingOfNeighboursChangeNoBit) {
  const int64_t H = 2, d = 24, D = H * d, T = 700;
  const Floats q = normal((size_t)(T * D), 1), k = normal((size_t)(T * D), 2), v = normal((size_t)(T * D), 3);
  for (ig_dtype compute : {IG_F32, IG_BF16}) {
    const Pack p = pack(T, H, d, {0, 5, 530, 690}, false, 0.1f);
    const Result one = attend(p, q, k, v, ways[0], 1, compute);
    for (int threads : {2, 3, 5}) {
      const Result more = attend(p, q, k, v, ways[0], threads, compute);
      EXPECT_EQ(one.y, more.y) << threads;
      for (size_t i = 0; i < 3; i++)
        EXPECT_EQ(one.d[i], more.d[i]) << threads;
    }
  }
}

TEST(Attention, HugeScoresAndOffsetsThatLie) {
  const int64_t T = 6, d = 4;
  Floats q((size_t)(T * d), 1e15f), k((size_t)(T * d), 0), v = normal((size_t)(T * d), 3);
  for (int64_t i = 0; i < d; i++)
    k[(size_t)(2 * d + i)] = 1e15f;  // every query sees key 2 alone
  for (const Way &way : ways) {
    const Result r = attend(pack(T, 1, d, {0, (int32_t)T}), q, k, v, way, 1);
    for (int64_t t = 0; t < T; t++)
      EXPECT_EQ(rows_of(r.y, d, t, t + 1), rows_of(v, d, 2, 3)) << way.name;
    // Out of range and decreasing: cut off, every row in one sequence at most.
    const Result cut = attend(pack(T, 1, d, {-9, 2, 1, 1000}), q, k, v, way, 1);
    for (float y : cut.y)
      EXPECT_TRUE(std::isfinite(y)) << way.name;
    EXPECT_EQ(rows_of(cut.y, d, 5, 6), rows_of(v, d, 2, 3)) << way.name;  // rows 2..5 are the third sequence
  }
}

TEST(Attention, WhatIsRefused) {
  Graph g;
  ig_tensor *x = ig_graph_input(g.g, "x", IG_F32, IG_SHAPE2(4, 10)),
            *cu = ig_graph_input(g.g, "cu", IG_I32, IG_SHAPE1(2));
  ig_attention_attr attr = {};
  attr.heads = 3;
  EXPECT_EQ(ig_attention(g.g, "a", x, x, x, cu, &attr, nullptr, nullptr), nullptr);
  EXPECT_EQ(ig_graph_status(g.g), IG_ERR_MISMATCH);
  EXPECT_NE(std::string(ig_error_message()).find("rows of 10 numbers do not fall into 3 heads"), std::string::npos)
      << ig_error_message();
}

}  // namespace
