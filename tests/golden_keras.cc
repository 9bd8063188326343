// Case keras: keras.applications' ResNet with other widths, in every layout that Keras writes. Rule: stages, sizes and
// classes come from the case's files; every file must give the same weights, bit for bit, and the expected outputs.
#include <dirent.h>

#include "kernels/softmax_xent/softmax_xent.h"
#include "models/model.h"
#include "runtime/train/weights.h"
#include "tests/golden.h"
#include "tests/run_graph.h"
#include "tests/st_reader.h"

namespace {

using run_graph::must;

ig_resnet_spec spec;  // of the case in hand: a model's functions have no other way to it

ig_tensor *build(const ig_model *, ig_graph *g, const ig_model_config *c, ig_tensor *x, ig_tensor *weight) {
  return ig_resnet_build(g, &spec, c, x, weight);
}

bool foreign_name(const ig_model *, int convention, const char *param, char name[256], ig_weight_form *form) {
  return ig_resnet_keras_name(spec.blocks, convention, param, name, form);
}

const ig_space space_of_kind[IG_N_PARAM_KINDS] = {IG_SPACE_TRAINABLE, IG_SPACE_FROZEN, IG_SPACE_STATE};

// Pixels less the mean, red first: [N,H,W,3].
std::vector<float> input_of(json_t *fill, const std::string &name, std::vector<int64_t> *shape) {
  json_t *rows = golden::get(fill, "tensors");
  const std::string prefix = golden::text(fill, "prefix");
  for (size_t i = 0; i < json_array_size(rows); i++) {
    json_t *row = json_array_get(rows, i);
    if (name != json_string_value(json_array_get(row, 0)))
      continue;
    size_t n = 1;
    for (double d : golden::numbers(json_array_get(row, 1))) {
      shape->push_back((int64_t)d);
      n *= (size_t)d;
    }
    std::vector<float> x =
        golden::fill(prefix + name, n, golden::number(json_array_get(row, 2)), golden::number(json_array_get(row, 3)));
    const float mean[3] = {123.68f, 116.779f, 103.939f};
    for (size_t k = 0; k < n; k++)
      x[k] -= mean[k % 3];
    return x;
  }
  throw std::runtime_error("fill.json has no tensor '" + name + "'");
}

void run(const std::string &path, golden::Report &r) {
  const golden::Json expect = golden::load_json(path + "/expect.json"), fill = golden::load_json(path + "/fill.json");
  const st::File results(path + "/expect.safetensors");
  json_t *stages = golden::get(expect.get(), "stages");
  spec = {{}, {}, 64, true, 1, 64, true};
  for (size_t i = 0; i < 4; i++) {
    spec.blocks[i] = (int)golden::number(json_array_get(stages, i), "blocks");
    spec.widths[i] = (int)golden::number(json_array_get(stages, i), "filters");
  }
  const int classes = (int)golden::number(expect.get(), "classes");
  std::vector<int64_t> dims;
  const std::vector<float> x = input_of(fill.get(), golden::text(golden::get(expect.get(), "input"), "fill"), &dims);

  ig_model model = {};
  model.name = "keras";
  model.head = "fc.";
  model.build = build;
  model.foreign_name = foreign_name;
  run_graph::Graph g(IG_F32, IG_MODE_EVAL);
  ig_tensor *in = ig_graph_input(g.g, "x", IG_F32, IG_SHAPE4(dims.at(0), dims.at(1), dims.at(2), 3));
  const ig_model_config config = {sizeof config, classes, false, 0, nullptr, IG_TEXT_SEQUENCE, false};
  ig_tensor *logits = build(&model, g.g, &config, in, nullptr);
  ig_tensor *probabilities = ig_softmax(g.g, "softmax", logits);
  must(ig_graph_status(g.g));
  g.output(logits, "logits");
  g.output(probabilities, "probabilities");
  must(ig_params_layout(&g.params));
  float *buffers[IG_N_PARAM_KINDS];
  for (int k = 0; k < IG_N_PARAM_KINDS; k++) {
    g.space(space_of_kind[k]).assign((size_t)g.params.count[k] + 1, 0.0f);
    buffers[k] = g.space(space_of_kind[k]).data();
  }
  g.plan(run_graph::ways[0], 0, false);

  std::vector<float> first;
  DIR *d = opendir(path.c_str());
  std::vector<std::string> files;
  while (const dirent *e = d ? readdir(d) : nullptr) {
    const std::string name = e->d_name;
    const size_t dot = name.find_last_of('.');
    if (dot != std::string::npos && (name.substr(dot) == ".h5" || name.substr(dot) == ".keras"))
      files.push_back(name);
  }
  closedir(d);
  std::sort(files.begin(), files.end());
  for (const std::string &file : files) {
    ig_weights_report report = {};
    if (!r.ok(file, ig_weights_load((path + "/" + file).c_str(), &model, &g.params, buffers, nullptr, &report)))
      continue;
    r.check(file + ": all used", report.loaded == (int)g.params.n && report.extra == 0,
            std::to_string(report.loaded) + " loaded, " + std::to_string(report.extra) + " not used");
    std::vector<float> all = g.space(IG_SPACE_TRAINABLE);
    all.insert(all.end(), g.space(IG_SPACE_STATE).begin(), g.space(IG_SPACE_STATE).end());
    if (first.empty())
      first = all;
    r.check(file + ": same weights", all == first, "other weights than in " + files[0]);
    g.set(in, x);
    g.run();
    r.compare(file + ": logits", g.get<float>(logits), results.f32("logits"), {0, 5e-6});
    r.compare(file + ": probabilities", g.get<float>(probabilities), results.f32("probabilities"), {0, 5e-6});
  }
}

}  // namespace

GOLDEN_CASE("keras", run)
