// Case optim: ten steps of every optimizer against torch's and timm's weights, clipping, averages of weights
// (VISION.md), through plans of each kind: the best instruction set, the portable one, the references.
#include "kernels/optim_util/optim_util.h"
#include "runtime/train/optimizer.h"
#include "tests/golden.h"
#include "tests/run_graph.h"
#include "tests/st_reader.h"
#include "tests/update_segments.h"

namespace {

using run_graph::must;
const golden::Tol tolerance = {2e-6, 0};

struct Data {
  st::File start, grads, expect;
  golden::Json json;
  int steps = 0;
  explicit Data(const std::string &path)
      : start(path + "/start.safetensors"),
        grads(path + "/grads.safetensors"),
        expect(path + "/expect.safetensors"),
        json(golden::load_json(path + "/expect.json")) {
    while (grads.has("step" + std::to_string(steps + 1) + "." + start.tensors().begin()->first))
      steps++;
  }
};

struct Case {
  ig_optimizer_options options;
  std::vector<double> lr, norms;
};

std::string name_of(const std::string &class_name) {
  const struct {
    const char *theirs, *ours;
  } names[] = {{"torch.SGD", "sgd"},         {"torch.Adam", "adam"}, {"torch.AdamW", "adamw"},
               {"torch.RMSprop", "rmsprop"}, {"timm.Lars", "lars"},  {"timm.Lamb", "lamb"}};
  for (const auto &n : names)
    if (class_name == n.theirs)
      return n.ours;
  throw std::runtime_error("optimizer '" + class_name + "' is not known");
}

// Every option must be understood: an ignored one would make the comparison a matter of luck.
Case case_of(json_t *entry, int steps) {
  Case c;
  must(ig_optimizer_defaults(name_of(golden::text(entry, "class")).c_str(), &c.options));
  ig_optimizer_options &o = c.options;
  o.momentum = 0;
  const char *key;
  json_t *v;
  json_object_foreach(entry, key, v) {
    const std::string k = key;
    const double x = json_is_number(v) ? json_number_value(v) : json_is_true(v) ? 1 : 0;
    if (k == "lr")
      c.lr = golden::numbers(v);
    else if (k == "momentum")
      o.momentum = x;
    else if (k == "dampening")
      o.dampening = x;
    else if (k == "nesterov")
      o.nesterov = x != 0;
    else if (k == "weight_decay")
      o.weight_decay = x;
    else if (k == "betas")
      o.beta1 = golden::numbers(v).at(0), o.beta2 = golden::numbers(v).at(1);
    else if (k == "eps")
      o.eps = x;
    else if (k == "alpha")
      o.alpha = x;
    else if (k == "centered")
      o.centered = x != 0;
    else if (k == "trust_coeff")
      o.trust_coeff = x;
    else if (k == "always_adapt")
      o.always_adapt = x != 0;
    else if (k == "max_grad_norm")
      o.max_grad_norm = x;  // null: off
    else if (k == "clip")
      o.clip = x;
    else if (k == "norms_before_clip")
      c.norms = golden::numbers(v);
    else if (k != "class" && !(k == "amsgrad" && x == 0))
      throw std::runtime_error("option '" + k + "' is not known");
  }
  if (c.lr.size() == 1)
    c.lr.assign((size_t)steps, c.lr[0]);
  if ((int)c.lr.size() < steps)
    throw std::runtime_error("fewer learning rates than steps");
  return c;
}

// The four tensors in flat buffers with an update graph over them.
class Run {
 public:
  Run(const Data &d, const ig_optimizer_options &options, const run_graph::Way &way) : data_(d) {
    for (const auto &t : d.start.tensors()) {
      ig_shape s = {(int)t.second.shape.size(), {}};
      for (int i = 0; i < s.n; i++)
        s.d[i] = t.second.shape[(size_t)i];
      ig_graph_param(g.g, t.first.c_str(), s, IG_PARAM_TRAINABLE, {IG_INIT_ZERO, 0});
    }
    must(ig_graph_status(g.g));
    must(ig_params_layout(&g.params));
    for (size_t i = 0; i < g.params.n; i++)
      g.params.items[i]->decay = true;  // the reference decays every tensor
    must(ig_optimizer_build_update(g.g, &options, &io));
    const size_t n = (size_t)g.params.count[IG_PARAM_TRAINABLE];
    const int moments = ig_optimizer_moments(&options);
    for (int k = IG_SPACE_TRAINABLE; k < IG_N_SPACES; k++)
      if (k == IG_SPACE_TRAINABLE || k == IG_SPACE_GRAD || (options.ema && k == IG_SPACE_EMA) ||
          (k >= IG_SPACE_MOMENT0 && k < IG_SPACE_MOMENT0 + moments))
        g.space((ig_space)k).assign(n, 0.0f);
    fill(IG_SPACE_TRAINABLE, d.start, "");
    if (options.ema)
      g.space(IG_SPACE_EMA) = g.space(IG_SPACE_TRAINABLE);
    set_update_segments(g, &options, &io);
    g.plan(way);
  }
  void step(int step, double lr, double ema_decay = 0) {
    std::vector<float> hyper(IG_N_HYPER);
    // Gradients are stored 8 times too large, as under a loss scale.
    fill(IG_SPACE_GRAD, data_.grads, "step" + std::to_string(step) + ".");
    for (float &x : g.space(IG_SPACE_GRAD))
      x *= 8;
    ig_optimizer_fill_hyper(lr, step, 0.125, ema_decay, hyper.data());
    g.set(io.hyper, hyper);
    g.run();
  }
  void compare(const std::string &prefix, ig_space space, const std::string &way, golden::Report &r, float factor = 1) {
    for (size_t i = 0; i < g.params.n; i++) {
      const ig_param *p = g.params.items[i];
      const float *from = g.space(space).data() + p->offset;
      std::vector<float> found(from, from + ig_shape_count(&p->shape));
      for (float &x : found)
        x *= factor;
      const std::string name = prefix + p->name;
      r.compare(name + " (" + way + ")", found, data_.expect.f32(name), tolerance);
    }
  }

  run_graph::Graph g;
  ig_optimizer_io io;

 private:
  void fill(ig_space space, const st::File &file, const std::string &prefix) {
    for (size_t i = 0; i < g.params.n; i++) {
      const ig_param *p = g.params.items[i];
      const std::vector<float> v = file.f32(prefix + p->name);
      std::copy(v.begin(), v.end(), g.space(space).begin() + p->offset);
    }
  }
  const Data &data_;
};

bool kept(const Data &d, const std::string &name, int step) {
  return d.expect.has(name + ".step" + std::to_string(step) + "." + d.start.tensors().begin()->first);
}

void run_case(const Data &d, const std::string &name, json_t *entry, const run_graph::Way &way, golden::Report &r) {
  const Case c = case_of(entry, d.steps);
  Run run(d, c.options, way);
  int n_kept = 0;
  for (int step = 1; step <= d.steps; step++) {
    run.step(step, c.lr[(size_t)step - 1]);
    if (!c.norms.empty()) {
      const double norm = c.norms.at((size_t)step - 1);
      r.compare(name + " norm", (double)run.g.scalar(run.io.norm), norm, {1e-6 * std::max(1.0, norm), 0});
    }
    if (kept(d, name, step))
      run.compare(name + ".step" + std::to_string(step) + ".", IG_SPACE_TRAINABLE, way.name, r), n_kept++;
  }
  r.check(name, n_kept > 0, "no step of it is in expect.safetensors");
}

// e starts from the start values, or (torch) is a copy at step 1.
void run_ema(const Data &d, const char *name, bool copy_first, const run_graph::Way &way, golden::Report &r) {
  json_t *ema = golden::get(d.json.get(), "ema");
  Case c = case_of(golden::get(golden::get(d.json.get(), "optimizers"), golden::text(ema, "of")), d.steps);
  c.options.ema = true;
  Run run(d, c.options, way);
  for (int step = 1; step <= d.steps; step++) {
    run.step(step, c.lr[(size_t)step - 1], copy_first && step == 1 ? 0 : golden::number(ema, "decay"));
    if (kept(d, name, step))
      run.compare(std::string(name) + ".step" + std::to_string(step) + ".", IG_SPACE_EMA, way.name, r);
  }
}

// Clipping alone: the factor that the device computes, put on the stored gradients.
void run_clip(const Data &d, const run_graph::Way &way, golden::Report &r) {
  json_t *clip = golden::get(d.json.get(), "clip"), *norm;
  const char *set;
  json_object_foreach(golden::get(clip, "norms"), set, norm) {
    ig_optimizer_options o;
    must(ig_optimizer_defaults("sgd", &o));
    o.clip = golden::number(clip, "max_norm");
    Run run(d, o, way);
    run.step(std::stoi(std::string(set).substr(3)), 0.1);
    const double expected = golden::number(norm);
    r.compare(std::string("clip norm ") + set, (double)run.g.scalar(run.io.norm), expected,
              {1e-6 * std::max(1.0, expected), 0});
    run.compare(std::string("clip.") + set + ".", IG_SPACE_GRAD, way.name, r, run.g.scalar(run.io.gscale));
  }
}

void run(const std::string &path, golden::Report &r) {
  const Data d(path);
  for (const run_graph::Way &way : run_graph::chosen()) {
    if (!way.exact())
      continue;  // the same kernels
    const char *name;
    json_t *entry;
    json_object_foreach(golden::get(d.json.get(), "optimizers"), name, entry) { run_case(d, name, entry, way, r); }
    run_ema(d, "ema", false, way, r);
    run_ema(d, "ema_torch", true, way, r);
    run_clip(d, way, r);
  }
  if (r.values == 0)
    throw golden::Skip("weights, gradients and moments are fp32 in every precision");
}

}  // namespace

GOLDEN_DEVICE_CASE("optim", run)
