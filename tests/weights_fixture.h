// What the tests of weights share: a folder of the test's own, a model with its flat buffers, and what must be said of
// a refused file.
#ifndef INGOT_TESTS_WEIGHTS_FIXTURE_H
#define INGOT_TESTS_WEIGHTS_FIXTURE_H

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <gtest/gtest.h>
#include <string>
#include <unistd.h>
#include <vector>

#include "runtime/base/fileop.h"
#include "runtime/train/weights.h"
#include "tests/golden.h"
#include "tests/run_graph.h"

namespace weights {

using run_graph::must;

inline std::string env(const char *name, const std::string &otherwise) {
  const char *v = getenv(name);
  return v && *v ? v : otherwise;
}
inline std::string data_folder() { return env("INGOT_DATA", env("INGOT_SOURCE", ".") + "/../shared/data"); }
inline bool exists(const std::string &path) { return access(path.c_str(), R_OK) == 0; }

// A folder of the test's own, removed at its end.
class Weights : public testing::Test {
 protected:
  void SetUp() override {
    char pattern[] = "/tmp/ingot_weights_XXXXXX";
    ASSERT_NE(mkdtemp(pattern), nullptr);
    folder = pattern;
    file = folder + "/w.safetensors";
  }
  void TearDown() override { ig_remove_tree(folder.c_str()); }
  std::string folder, file;
};

inline const ig_model *model_of(const char *name) {
  const ig_model *m = nullptr;
  must(ig_model_find(name, &m));
  return m;
}

// A model in evaluation mode with its flat buffers.
class Net {
 public:
  Net(const char *name, int classes, int64_t batch, int64_t side) : model(model_of(name)), g(IG_F32, IG_MODE_EVAL) {
    x = ig_graph_input(g.g, "x", IG_F32, IG_SHAPE4(batch, side, side, 3));
    ig_model_config c = {sizeof c, classes, false, 0, nullptr, IG_TEXT_SEQUENCE, false};
    logits = model->build(model, g.g, &c, x, nullptr);
    must(ig_graph_status(g.g));
    must(ig_params_layout(&g.params));
    const ig_space spaces[IG_N_PARAM_KINDS] = {IG_SPACE_TRAINABLE, IG_SPACE_FROZEN, IG_SPACE_STATE};
    for (int k = 0; k < IG_N_PARAM_KINDS; k++) {
      g.space(spaces[k]).assign((size_t)g.params.count[k] + 1, 0.0f);
      buffers[k] = g.space(spaces[k]).data();
    }
  }
  // Values unlike the initial ones, other for each tensor; variances stay positive.
  void fill(const char *prefix) {
    for (size_t i = 0; i < g.params.n; i++) {
      const ig_param *p = g.params.items[i];
      const bool around_one = strstr(p->name, "running_var") || (p->shape.n == 1 && strstr(p->name, ".weight"));
      const double reach =
          p->shape.n == 4 ? std::sqrt(6.0 / (double)(p->shape.d[1] * p->shape.d[2] * p->shape.d[3])) : 0.125;
      const std::vector<float> v = golden::fill(std::string(prefix) + p->name, (size_t)ig_shape_count(&p->shape),
                                                around_one ? 0.5 : -reach, around_one ? 1.5 : reach);
      std::copy(v.begin(), v.end(), at(p));
    }
  }
  float *at(const ig_param *p) { return buffers[p->kind] + p->offset; }
  std::vector<float> values(const char *name) {
    const ig_param *p = ig_params_find(&g.params, name);
    return std::vector<float>(at(p), at(p) + ig_shape_count(&p->shape));
  }
  std::vector<float> forward(const std::vector<float> &pictures) {
    g.output(logits, "logits");
    g.plan(run_graph::ways[0]);
    g.set(x, pictures);
    g.run();
    return g.get<float>(logits);
  }
  ig_status load(const std::string &path, ig_weights_options o = {}) {
    o.size = sizeof o;
    return ig_weights_load(path.c_str(), model, &g.params, buffers, &o, &report);
  }
  ig_status save(const std::string &path, const ig_weights_info *info = nullptr) {
    return ig_weights_save(path.c_str(), &g.params, buffers, info, 17);
  }

  const ig_model *model;
  run_graph::Graph g;
  ig_tensor *x, *logits;
  float *buffers[IG_N_PARAM_KINDS];
  ig_weights_report report = {};
};

inline void expect_equal(Net &a, Net &b, const char *but = nullptr) {
  ASSERT_EQ(a.g.params.n, b.g.params.n);
  for (size_t i = 0; i < a.g.params.n; i++) {
    const char *name = a.g.params.items[i]->name;
    if (!but || strncmp(name, but, strlen(but)) != 0) {
      EXPECT_EQ(a.values(name), b.values(name)) << name;
    }
  }
}

inline void expect_refused(ig_status found, ig_status expected, const std::vector<std::string> &parts) {
  EXPECT_EQ(found, expected) << ig_error_message();
  for (const std::string &part : parts)
    EXPECT_NE(std::string(ig_error_message()).find(part), std::string::npos)
        << part << " not in: " << ig_error_message();
}

inline void keep_text(void *user, const char *text) { ((std::vector<std::string> *)user)->push_back(text); }

}  // namespace weights

#endif
