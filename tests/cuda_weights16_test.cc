// 16-bit copies of weights on a GPU, or on the simulator of one: the optimizers' kernels write them exactly, and a
// network that reads them takes the very steps of one that casts its weights in each. Rule: bits, no tolerances.
// Without a device: "skipped" (77) and why.
#include <gtest/gtest.h>

#include "kernels/linear_xent/linear_xent.h"
#include "kernels/reorder/reorder.h"
#include "kernels/softmax_xent/softmax_xent.h"
#include "models/bert.h"
#include "runtime/device/device.h"
#include "runtime/train/session.h"
#include "tests/cuda_main.h"
#include "tests/fault_train.h"
#include "tests/update_graph.h"

namespace {

namespace fs = std::filesystem;
using run_graph::must;
using run_graph::Way;

Way gpu(ig_dtype type) {
  Way w = {"cuda", IG_ISA_AMX, nullptr};
  w.cuda = true;
  w.compute = type;
  return w;
}

TEST(Weights16, EveryOptimizerWritesTheRoundedWeights) {
  for (ig_dtype type : {IG_BF16, IG_F16})
    for (const ig_optimizer_options &o : update_graph::all_kinds())
      update_graph::copies_are_rounded(o, gpu(type), type);
}

// ---- a network that casts, and one that reads copies ----
struct Kind {
  const char *name, *optimizer, *freeze;  // parameters with this prefix; NULL: none
  bool text, recompute;
};

class Step {
 public:
  Step(const Kind &kind, ig_dtype type, bool copies) : g(type) {
    way = gpu(type);
    g.params.is_frozen_user = (void *)kind.freeze;
    g.params.is_frozen = [](void *prefix, const char *name) {
      return prefix && !strncmp(name, (const char *)prefix, strlen((const char *)prefix));
    };
    std::vector<ig_tensor *> losses = kind.text ? texts() : pictures();
    must(ig_graph_status(g.g));
    must(ig_params_layout(&g.params));
    float *buffers[IG_N_PARAM_KINDS];
    const ig_space spaces[IG_N_PARAM_KINDS] = {IG_SPACE_TRAINABLE, IG_SPACE_FROZEN, IG_SPACE_STATE};
    for (int k = 0; k < IG_N_PARAM_KINDS; k++) {
      g.space(spaces[k]).assign((size_t)g.params.count[k], 0);
      buffers[k] = g.space(spaces[k]).data();
    }
    must(ig_params_initialize(&g.params, 7, buffers));
    differentiate(losses);
    int cloned = 0;
    if (kind.recompute)
      must(ig_graph_recompute(g.g, 0, 1, 0, &cloned));
    EXPECT_EQ(cloned > 0, kind.recompute);
    casts = copies ? ig_graph_read_copies(g.g) : 0;
    update(kind.optimizer, copies);
    g.plan(way, 0, false, 1, 1u << IG_SPACE_FROZEN);
  }
  void step(int number, float multiplier) {
    std::vector<float> hyper(IG_N_HYPER);
    ig_optimizer_fill_hyper(0.01, number, multiplier, 0, hyper.data());
    g.set(io.hyper, hyper);
    g.run();
  }
  std::vector<float> losses() {
    std::vector<float> all;
    for (const ig_tensor *t : shown)
      all.push_back(g.scalar(t));
    return all;
  }
  // Steps of every run that take a trainable parameter in 32 bits to 16.
  int weight_casts() const {
    int n = 0;
    for (int i = 0; i < ig_plan_n_rows(g.planned()); i++) {
      const ig_node *node = ig_plan_get_row(g.planned(), i).node;
      n += !strcmp(node->op->name, "reorder") && node->in[0]->param && node->in[0]->space == IG_SPACE_TRAINABLE;
    }
    return n;
  }

  Way way;
  run_graph::Graph g;
  ig_optimizer_io io = {};
  int casts = 0;
  std::vector<ig_tensor *> shown;

 private:
  ig_tensor *show(ig_tensor *loss, const char *name) {
    g.output(loss, name);
    shown.push_back(loss);
    return loss;
  }
  std::vector<ig_tensor *> pictures() {
    const ig_model *m;
    must(ig_model_find("resnet8_mlperf", &m));
    std::vector<float> x(2 * 16 * 16 * 3);
    for (size_t i = 0; i < x.size(); i++)
      x[i] = (float)((int)(i * 7919 % 401) - 200) / 100;
    ig_tensor *in = g.input("x", IG_F32, IG_SHAPE4(2, 16, 16, 3), x);
    ig_tensor *labels = g.input("labels", IG_I32, IG_SHAPE1(2), std::vector<int32_t>{0, 2});
    ig_model_config c = {};
    c.size = sizeof c;
    c.classes = 3;
    ig_tensor *logits = m->build(m, g.g, &c, ig_reorder(g.g, "cast", in, way.compute), nullptr);
    return {show(ig_softmax_xent(g.g, "loss", logits, labels, nullptr, nullptr, nullptr, nullptr, nullptr).mean, "l")};
  }
  // Masked words by the tied decoder, and pairs.
  std::vector<ig_tensor *> texts() {
    const ig_model *preset;
    must(ig_model_find("bert_tiny", &preset));
    ig_bert_model_init(preset, 61, &bert);
    bert.spec.width = 32;
    bert.spec.heads = 2;
    bert.spec.inner = 64;
    bert.spec.positions = 32;
    const ig_text_inputs in = ig_session_text_inputs(g.g, 12, 3, 4);
    g.set(in.ids, std::vector<int32_t>{2, 7, 9, 11, 3, 2, 60, 5, 3, 2, 33, 3});
    g.set(in.types, std::vector<int32_t>{0, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 0});
    g.set(in.positions, std::vector<int32_t>{0, 1, 2, 3, 4, 0, 1, 2, 3, 0, 1, 2});
    g.set(in.cu_seqlens, std::vector<int32_t>{0, 5, 9, 12});
    g.set(in.first, std::vector<int32_t>{0, 5, 9});
    g.set(in.masked, std::vector<int32_t>{1, 2, 6, 10});
    ig_model_config c = {};
    c.size = sizeof c;
    c.text_head = IG_TEXT_PRETRAIN;
    c.nsp = true;
    const ig_text_outputs out = bert.model.build_text(&bert.model, g.g, &c, &in);
    must(ig_graph_status(g.g));
    ig_tensor *words = g.input("words", IG_I32, IG_SHAPE1(4), std::vector<int32_t>{8, 9, 41, 33});
    ig_tensor *weights = g.input("weights", IG_F32, IG_SHAPE1(4), std::vector<float>{1, 1, 0, 1});
    ig_tensor *pairs = g.input("pairs", IG_I32, IG_SHAPE1(3), std::vector<int32_t>{0, 1, 1});
    ig_loss masked = ig_linear_xent(g.g, "masked", out.masked_hidden, out.decoder, out.decoder_bias, words, weights);
    ig_loss next = ig_softmax_xent(g.g, "next", out.nsp, pairs, nullptr, nullptr, nullptr, nullptr, nullptr);
    return {show(masked.sum, "masked_loss"), show(next.sum, "next_loss")};
  }
  void differentiate(std::vector<ig_tensor *> losses) {
    std::vector<ig_tensor *> seeds(losses.size(), g.input("seed", IG_F32, IG_SHAPE1(1), std::vector<float>{64}));
    must(ig_graph_differentiate(g.g, (int)losses.size(), losses.data(), seeds.data(), 0, nullptr, nullptr));
    g.space(IG_SPACE_GRAD).assign((size_t)g.params.count[IG_PARAM_TRAINABLE], 0);
  }
  void update(const char *name, bool copies) {
    ig_optimizer_options o = update_graph::defaults(name);
    o.weight_decay = 0.01;
    o.w16 = copies;
    must(ig_optimizer_build_update(g.g, &o, &io));
    const size_t n = (size_t)g.params.count[IG_PARAM_TRAINABLE], s = (size_t)ig_optimizer_segments(&g.params);
    for (int k = 0; k < ig_optimizer_moments(&o); k++)
      g.space((ig_space)(IG_SPACE_MOMENT0 + k)).assign(n, 0);
    if (copies) {
      g.space(IG_SPACE_TRAINABLE16).assign(n / 2, 0);
      ig_convert(g.space(IG_SPACE_TRAINABLE16).data(), way.compute, g.space(IG_SPACE_TRAINABLE).data(), IG_F32, n);
    }
    std::vector<int64_t> start(s + 1);
    std::vector<float> attr(s * IG_N_SEG);
    must(ig_optimizer_fill_segments(&g.params, &o, start.data(), attr.data()));
    g.set(io.seg_start, start);
    g.set(io.seg_attr, attr);
    g.add(io.norm);
    g.add(io.gscale);
  }
  ig_bert_model bert = {};
};

class Networks : public testing::TestWithParam<Kind> {};

TEST_P(Networks, TakeTheStepsOfCasts) {
  for (ig_dtype type : {IG_BF16, IG_F16}) {
    SCOPED_TRACE(ig_dtype_name(type));
    Step cast(GetParam(), type, false), copy(GetParam(), type, true);
    EXPECT_GT(cast.weight_casts(), 3);
    EXPECT_GT(copy.casts, 3);
    EXPECT_EQ(copy.weight_casts(), 0);
    const std::vector<float> before = copy.g.space(IG_SPACE_TRAINABLE);
    std::vector<float> first;
    for (int number = 1; number <= 4; number++) {
      const float multiplier = number == 3 ? INFINITY : 1.0f / 64;  // the third step is skipped
      cast.step(number, multiplier);
      copy.step(number, multiplier);
      EXPECT_EQ(copy.losses(), cast.losses()) << "step " << number;
      EXPECT_EQ(copy.g.space(IG_SPACE_GRAD), cast.g.space(IG_SPACE_GRAD)) << "step " << number;
      EXPECT_EQ(copy.g.space(IG_SPACE_TRAINABLE), cast.g.space(IG_SPACE_TRAINABLE)) << "step " << number;
      EXPECT_EQ(copy.g.space(IG_SPACE_STATE), cast.g.space(IG_SPACE_STATE)) << "step " << number;
      if (number == 1)
        first = copy.losses();
    }
    EXPECT_NE(copy.g.space(IG_SPACE_TRAINABLE), before);
    EXPECT_NE(copy.losses(), first);
  }
}

// Copies in a layout of a kernel's own are made for forward and once more for backward: none lives from one to the
// other.
TEST_P(Networks, TakeNoMoreMemoryThanCasts) {
  Step cast(GetParam(), IG_BF16, false), copy(GetParam(), IG_BF16, true);
  ig_plan_bytes a, b;
  ig_plan_get_bytes(cast.g.planned(), &a);
  ig_plan_get_bytes(copy.g.planned(), &b);
  const size_t buffer = 2 * (size_t)copy.g.params.count[IG_PARAM_TRAINABLE];
  printf("arena %zu bytes with casts, %zu and a buffer of %zu with copies\n", a.arena, b.arena, buffer);
  EXPECT_LE(b.arena, a.arena);
  EXPECT_EQ(b.persistent, a.persistent);
}

INSTANTIATE_TEST_SUITE_P(All, Networks,
                         testing::Values(Kind{"resnet", "sgd", nullptr, false, false},
                                         Kind{"resnet_recomputed", "lars", nullptr, false, true},
                                         Kind{"resnet_frozen", "adamw", "layer1.", false, false},
                                         Kind{"bert", "adamw", nullptr, true, false},
                                         Kind{"bert_recomputed", "lamb", nullptr, true, true},
                                         Kind{"bert_frozen", "rmsprop", "bert.encoder.layer.0.", true, false}),
                         [](const testing::TestParamInfo<Kind> &i) { return std::string(i.param.name); });

// ---- what train and plan do ----
// The plan of a training in 16 bits has no cast of weights but those of frozen ones, which run once, and counts the
// buffer.
TEST(Weights16, ThePlanOfATrainingHasNoCasts) {
  fault::Folder home("ig_weights16");
  const std::string data = home / "data";
  fault::make_pictures(data, 8, 2, 16);
  fault::use_cache(home.path);
  double weights = 0;
  auto ends = [](const std::string &name, const std::string &end) {
    return name.size() > end.size() && !name.compare(name.size() - end.size(), end.size(), end);
  };
  auto plan = [&](const std::string &precision, const std::string &ema, const std::string &freeze) {
    fault::Answer a = fault::call(
        "plan", {"model=resnet8_mlperf", "image_size=16", "batch=4", "deterministic=1", "device=cuda", "recompute=1",
                 "precision=" + precision, "data=" + data, "ema=" + ema, "freeze=" + freeze});
    EXPECT_EQ(a.status, IG_OK) << a.message;
    json_t *j = json_loads(a.result.c_str(), 0, nullptr), *row;
    weights = json_number_value(json_object_get(json_object_get(j, "bytes"), "weights"));
    std::vector<std::string> casts;
    size_t i;
    json_array_foreach(json_object_get(j, "layers"), i, row) {
      const std::string name = json_string_value(json_object_get(row, "name"));
      for (const char *type : {"bf16", "f16"})
        for (const char *again : {"", "/again"})
          if (ends(name, std::string(".weight/") + type + again))
            casts.push_back(name);
    }
    EXPECT_GT(i, 50u);
    json_decref(j);
    return casts;
  };
  for (const char *precision : {"bf16", "fp16"}) {
    SCOPED_TRACE(precision);
    EXPECT_EQ(plan(precision, "0", ""), std::vector<std::string>());
    const double all = weights;
    const std::vector<std::string> left = plan(precision, "0", "conv1.*");
    EXPECT_GE(left.size(), 1u);
    for (const std::string &name : left)
      EXPECT_EQ(name.find("conv1.weight/"), 0u) << name;
    // 432 weights and 16 biases leave the buffer, 448 and 64 with padding; the copy that is made once takes 1024 bytes.
    EXPECT_EQ(weights - all, 1024 - 2 * (448 + 64));
    // Averages are evaluated from copies of their own; without them these are only of what is scaled, not of the two
    // convolutions without batch normalisation, nor of the classifier.
    plan(precision, "0.5", "");
    EXPECT_EQ(weights - all, 2 * (32 * 16 + 64 * 32 + 2 * 64));
  }
}

}  // namespace

int main(int argc, char **argv) { return run_cuda_tests(argc, argv); }
