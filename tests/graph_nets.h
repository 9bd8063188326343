// Small nets of real ops for the tests of the graph and of its plan.
#ifndef INGOT_TESTS_GRAPH_NETS_H
#define INGOT_TESTS_GRAPH_NETS_H

#include <cmath>
#include <gtest/gtest.h>
#include <vector>

#include "kernels/softmax_xent/softmax_xent.h"
#include "models/model.h"
#include "tests/run_graph.h"

namespace nets {

using run_graph::Graph;
using run_graph::must;
using run_graph::ways;

inline std::vector<float> numbers(int64_t n, float from = -1, float step = 0.37f) {
  std::vector<float> v((size_t)n);
  for (int64_t i = 0; i < n; i++)
    v[(size_t)i] = from + std::fmod((float)i * step, 2.0f);
  return v;
}

inline ig_tensor *weight(ig_graph *g, const char *name, ig_shape shape) {
  return ig_graph_param(g, name, shape, IG_PARAM_TRAINABLE, ig_init{IG_INIT_CONSTANT, 0.5});
}

// A ResNet small enough for a second: one basic block a stage.
inline const ig_resnet_spec small_resnet = {{1, 1, 1, 1}, {8, 8, 16, 16}, 8, false, 1, 64, false};

struct Resnet {
  Graph graph;
  ig_tensor *x = nullptr, *labels = nullptr;
  ig_loss loss = {};
  int n_cloned = 0;
  explicit Resnet(bool recompute, bool bottleneck = false, int64_t size = 33, int64_t batch = 4, double enough = 1) {
    ig_graph *g = graph.g;
    ig_resnet_spec spec = small_resnet;
    spec.bottleneck = bottleneck;
    x = graph.input("pictures", IG_F32, IG_SHAPE4(batch, size, size, 3), numbers(batch * size * size * 3));
    std::vector<int> classes;
    for (int i = 0; i < batch; i++)
      classes.push_back(i % 5);
    labels = graph.input("labels", IG_I32, IG_SHAPE1(batch), classes);
    ig_model_config config = {sizeof config, 5, false, 0, nullptr, IG_TEXT_SEQUENCE, false};
    ig_tensor *logits = ig_resnet_build(g, &spec, &config, x, nullptr);
    loss = ig_softmax_xent(g, "loss", logits, labels, nullptr, nullptr, nullptr, nullptr, nullptr);
    must(ig_graph_status(g));
    must(ig_graph_differentiate(g, 1, &loss.mean, nullptr, 0, nullptr, nullptr));
    if (recompute) {
      must(ig_graph_recompute(g, 0, enough, 0, &n_cloned));
      EXPECT_GT(n_cloned, enough < 1 ? 0 : 4);
    }
    graph.output(loss.mean, "mean");
    must(ig_params_layout(&graph.params));
    float *buffers[IG_N_PARAM_KINDS];
    const ig_space spaces[IG_N_PARAM_KINDS] = {IG_SPACE_TRAINABLE, IG_SPACE_FROZEN, IG_SPACE_STATE};
    for (int k = 0; k < IG_N_PARAM_KINDS; k++) {
      graph.space(spaces[k]).assign((size_t)graph.params.count[k] + 1, 0);
      buffers[k] = graph.space(spaces[k]).data();
    }
    graph.space(IG_SPACE_GRAD).assign((size_t)graph.params.count[IG_PARAM_TRAINABLE] + 1, 0);
    must(ig_params_initialize(&graph.params, 3, buffers));
  }
};

}  // namespace nets
#endif
