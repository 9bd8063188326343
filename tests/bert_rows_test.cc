// Heads of BERT that read a few rows: behind the last layer's attention only those are computed, and they are what they
// are among all rows, with dropout's masks of their own keys.
#include <cmath>
#include <gtest/gtest.h>

#include "kernels/dropout/dropout.h"
#include "models/bert.h"
#include "runtime/train/session.h"
#include "tests/run_graph.h"

namespace {

const std::vector<int32_t> all_first = {0, 5, 9}, some = {10, 1, -1, 6, 6};

struct Encoder {
  run_graph::Graph g;
  ig_bert_model bert = {};
  ig_text_outputs out = {};

  Encoder(ig_text_head head, bool nsp, const std::vector<int32_t> &first, const std::vector<int32_t> &masked,
          double dropout) {
    const ig_model *preset;
    run_graph::must(ig_model_find("bert_tiny", &preset));
    ig_bert_model_init(preset, 61, &bert);
    bert.spec.width = 32;
    bert.spec.heads = 2;
    bert.spec.inner = 64;
    bert.spec.positions = 32;
    bert.spec.dropout = bert.spec.attention_dropout = dropout;
    ig_text_inputs in = ig_session_text_inputs(g.g, 12, (int64_t)first.size(), (int64_t)masked.size());
    g.set(in.ids, std::vector<int32_t>{2, 7, 9, 11, 3, 2, 60, 5, 3, 2, 33, 3});
    g.set(in.types, std::vector<int32_t>{0, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 0});
    g.set(in.positions, std::vector<int32_t>{0, 1, 2, 3, 4, 0, 1, 2, 3, 0, 1, 2});
    std::vector<int32_t> offsets = {0, 5, 9, 12};
    offsets.resize(first.size() + 1, 12);
    g.set(in.cu_seqlens, offsets);
    g.set(in.first, first);
    if (in.masked)
      g.set(in.masked, masked);
    std::vector<uint64_t> keys;
    for (uint64_t i = 0; i < 12; i++)
      keys.push_back(i * 7919 << 16 | i);
    ig_model_config c = {};
    c.size = sizeof c;
    c.classes = 32;
    c.text_head = head;
    c.nsp = nsp;
    if (dropout > 0) {
      in.row_keys = g.input("row_keys", IG_U64, IG_SHAPE1(12), keys);
      c.step_state = g.input("state", IG_U64, IG_SHAPE1(IG_N_STEP_STATE), std::vector<uint64_t>{3, 8, 0, 1});
    }
    out = bert.model.build_text(&bert.model, g.g, &c, &in);
    run_graph::must(ig_graph_status(g.g));
  }
  // Weights by name: heads have other tensors, in other places.
  std::vector<float> run(ig_tensor *result) {
    g.output(result, "result");
    run_graph::must(ig_params_layout(&g.params));
    std::vector<float> &w = g.space(IG_SPACE_TRAINABLE);
    w.assign((size_t)g.params.count[IG_PARAM_TRAINABLE], 0);
    for (size_t i = 0; i < g.params.n; i++) {
      const ig_param *p = g.params.items[i];
      uint32_t x = 1;
      for (const char *c = p->name; *c; c++)
        x = x * 31 + (uint8_t)*c;
      for (int64_t k = 0; k < ig_shape_count(&p->shape); k++) {
        x = x * 1664525u + 1013904223u;
        w[(size_t)(p->offset + k)] = ((float)(x >> 8) * 0x1p-24f - 0.5f) * 0.6f;
      }
    }
    g.plan(run_graph::ways[0]);
    g.run();
    return g.get<float>(result);
  }
};

std::vector<float> rows_of(const std::vector<float> &x, const std::vector<int32_t> &rows) {
  std::vector<float> y;
  for (int32_t r : rows)
    for (size_t c = 0; c < 32; c++)
      y.push_back(x[(size_t)r * 32 + c]);
  return y;
}

void expect_near(const std::vector<float> &a, const std::vector<float> &b, const char *what) {
  ASSERT_EQ(a.size(), b.size()) << what;
  for (size_t i = 0; i < a.size(); i++)
    ASSERT_NEAR(a[i], b[i], 2e-5) << what << ", element " << i;
}

class RowsOf : public testing::TestWithParam<double> {};

TEST_P(RowsOf, AreThoseOfAll) {
  Encoder every(IG_TEXT_MEAN, false, all_first, {}, GetParam());
  const std::vector<float> hidden = every.run(every.out.hidden);
  EXPECT_EQ(hidden.size(), 12u * 32);
  for (const std::vector<int32_t> &rows : {all_first, std::vector<int32_t>{10, 1, 6, 6, 11, 3}}) {
    Encoder few(IG_TEXT_FIRST, false, rows, {}, GetParam());
    EXPECT_EQ(few.out.hidden, nullptr);
    expect_near(few.run(few.out.logits), rows_of(hidden, rows), "rows");
  }
}

// Masked tokens alone, and behind the first ones.
TEST_P(RowsOf, OfBothKindsAreThoseOfOne) {
  Encoder alone(IG_TEXT_PRETRAIN, false, all_first, some, GetParam()),
      both(IG_TEXT_PRETRAIN, true, all_first, some, GetParam()),
      pair(IG_TEXT_PRETRAIN, true, all_first, some, GetParam()),
      pooled(IG_TEXT_POOLED, false, all_first, {}, GetParam());
  EXPECT_EQ(alone.out.pooled, nullptr);
  const std::vector<float> masked = alone.run(alone.out.masked_hidden);
  EXPECT_EQ(masked.size(), some.size() * 32);
  expect_near(both.run(both.out.masked_hidden), masked, "masked");
  expect_near(pair.run(pair.out.pooled), pooled.run(pooled.out.logits), "pooled");
  for (size_t c = 0; c < 32; c++)  // the same token twice
    EXPECT_EQ(masked[3 * 32 + c], masked[4 * 32 + c]);
  EXPECT_NE(rows_of(masked, {0}), rows_of(masked, {1}));
}

// A graph that failed has no rows: that is told, not read.
TEST(Rows, ThatCannotBeChosenAreRefused) {
  for (bool of_masked : {true, false}) {
    run_graph::Graph g;
    const ig_model *m;
    run_graph::must(ig_model_find("bert_tiny", &m));
    ig_text_inputs in = ig_session_text_inputs(g.g, 12, 3, 4);
    (of_masked ? in.masked : in.first) = ig_graph_input(g.g, "strange", IG_F32, IG_SHAPE1(4));
    ig_model_config c = {};
    c.size = sizeof c;
    c.text_head = IG_TEXT_PRETRAIN;
    c.nsp = true;
    (void)m->build_text(m, g.g, &c, &in);
    EXPECT_NE(ig_graph_status(g.g), IG_OK);
  }
}

INSTANTIATE_TEST_SUITE_P(Dropout, RowsOf, testing::Values(0.0, 0.4));

}  // namespace
