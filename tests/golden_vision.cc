// Cases vision_*: torchvision's networks with filled or stored weights: logits, running statistics, loss, gradients and
// five steps of SGD (VISION.md). Rule: model, sizes and settings come from the folder, so that unseen ones run too.
#include "kernels/softmax_xent/softmax_xent.h"
#include "models/model.h"
#include "runtime/train/optimizer.h"
#include "tests/golden.h"
#include "tests/run_graph.h"
#include "tests/st_reader.h"

namespace {

using run_graph::must;
using Tensors = std::map<std::string, std::vector<float>>;

const ig_space space_of_kind[IG_N_PARAM_KINDS] = {IG_SPACE_TRAINABLE, IG_SPACE_FROZEN, IG_SPACE_STATE};

// What builds the network on x.
struct Network {
  const ig_model *model = nullptr;  // a named one, or
  ig_resnet_spec spec = {};         // this
  int classes = 0;
};

// Pictures, NCHW in the files.
struct Shape {
  int64_t n, h, w;
};

std::vector<float> nhwc(const float *nchw, const Shape &s) {
  std::vector<float> v((size_t)(s.n * s.h * s.w * 3));
  for (int64_t n = 0; n < s.n; n++)
    for (int64_t c = 0; c < 3; c++)
      for (int64_t p = 0; p < s.h * s.w; p++)
        v[(size_t)((n * s.h * s.w + p) * 3 + c)] = nchw[(n * 3 + c) * s.h * s.w + p];
  return v;
}

// Winograd's error is 10 to 100 times that of direct convolution: factors on the tolerances of one pass of large and of
// small networks. Within it a ReLU may fall the other way, which changes single gradients by per cents: they are not
// compared, and what five steps lead to is compared by the norm of the difference, in shares of the norm. (Cases
// of other seeds and sizes gave up to 1.5e-3 for weights and 8e-3 for logits in the ones looked at.)
const double winograd_pass = 10, winograd_small = 50;
const double winograd_weights = 1e-2, winograd_logits = 5e-2, winograd_losses = 5e-3;

// A network in one mode; in TRAIN with its loss and gradients, and with updates where an optimizer is given.
class Run {
 public:
  Run(const Network &net, const Shape &s, ig_mode mode, const run_graph::Way &way, bool winograd,
      const ig_optimizer_options *optimizer = nullptr)
      : g(IG_F32, mode) {
    x = ig_graph_input(g.g, "x", IG_F32, IG_SHAPE4(s.n, s.h, s.w, 3));
    ig_model_config c = {sizeof c, net.classes, false, 0, nullptr, IG_TEXT_SEQUENCE, false};
    logits =
        net.model ? net.model->build(net.model, g.g, &c, x, nullptr) : ig_resnet_build(g.g, &net.spec, &c, x, nullptr);
    must(ig_graph_status(g.g));
    if (mode == IG_MODE_TRAIN) {
      labels = ig_graph_input(g.g, "labels", IG_I32, IG_SHAPE1(s.n));
      loss = ig_softmax_xent(g.g, "loss", logits, labels, nullptr, nullptr, nullptr, nullptr, nullptr).mean;
      g.output(loss, "loss");
    }
    g.output(logits, "logits");
    must(ig_params_layout(&g.params));
    for (size_t i = 0; i < g.params.n; i++)
      g.params.items[i]->decay = true;  // the reference decays every tensor
    for (int k = 0; k < IG_N_PARAM_KINDS; k++)
      g.space(space_of_kind[k]).assign((size_t)g.params.count[k], 0.0f);
    if (mode == IG_MODE_TRAIN) {
      must(ig_graph_differentiate(g.g, 1, &loss, nullptr, 0, nullptr, nullptr));
      g.space(IG_SPACE_GRAD).assign((size_t)g.params.count[IG_PARAM_TRAINABLE], NAN);  // every one must be written
    }
    if (optimizer) {
      must(ig_optimizer_build_update(g.g, optimizer, &io));
      const size_t n = (size_t)g.params.count[IG_PARAM_TRAINABLE], n_seg = (size_t)ig_optimizer_segments(&g.params);
      for (int k = 0; k < ig_optimizer_moments(optimizer); k++)
        g.space((ig_space)(IG_SPACE_MOMENT0 + k)).assign(n, 0.0f);
      clear_grad_padding();
      std::vector<int64_t> start(n_seg + 1);
      std::vector<float> attr(4 * n_seg);
      must(ig_optimizer_fill_segments(&g.params, optimizer, start.data(), attr.data()));
      g.set(io.seg_start, start);
      g.set(io.seg_attr, attr);
      g.add(io.norm);
      g.add(io.gscale);
    }
    g.plan(way, 0, winograd);
  }
  bool uses_winograd() const {
    for (int i = 0; i < ig_plan_n_rows(g.planned()); i++)
      if (strstr(ig_plan_get_row(g.planned(), i).impl, "wino"))
        return true;
    return false;
  }
  // Every parameter from `from`; what is missing there or has another size throws.
  void load(const Tensors &from) {
    for (size_t i = 0; i < g.params.n; i++) {
      const ig_param *p = g.params.items[i];
      auto it = from.find(p->name);
      if (it == from.end() || it->second.size() != (size_t)ig_shape_count(&p->shape))
        throw std::runtime_error(std::string("parameter ") + p->name + " is not in the files in that size");
      std::copy(it->second.begin(), it->second.end(), g.space(space_of_kind[p->kind]).begin() + p->offset);
    }
  }
  void set_batch(const std::vector<float> &pictures, const std::vector<int32_t> &y) {
    g.set(x, pictures);
    if (labels)
      g.set(labels, y);
  }
  std::vector<float> param(const ig_param *p) { return slice(space_of_kind[p->kind], p); }
  std::vector<float> gradient(const ig_param *p) { return slice(IG_SPACE_GRAD, p); }
  std::vector<float> param(const std::string &name) {
    const ig_param *p = ig_params_find(&g.params, name.c_str());
    if (!p)
      throw std::runtime_error("the model has no parameter " + name);
    return param(p);
  }
  Tensors all() {
    Tensors out;
    for (size_t i = 0; i < g.params.n; i++)
      out[g.params.items[i]->name] = param(g.params.items[i]);
    return out;
  }

  run_graph::Graph g;
  ig_tensor *x = nullptr, *logits = nullptr, *labels = nullptr, *loss = nullptr;
  ig_optimizer_io io = {};

 private:
  std::vector<float> slice(ig_space space, const ig_param *p) {
    const float *from = g.space(space).data() + p->offset;
    return std::vector<float>(from, from + ig_shape_count(&p->shape));
  }
  // The update reads the whole flat buffer; what lies between tensors is zero, as a trainer allocates it.
  void clear_grad_padding() {
    std::vector<float> &grad = g.space(IG_SPACE_GRAD);
    std::vector<float> clean(grad.size(), 0.0f);
    for (size_t i = 0; i < g.params.n; i++) {
      const ig_param *p = g.params.items[i];
      if (p->kind == IG_PARAM_TRAINABLE)
        std::fill_n(clean.begin() + p->offset, ig_shape_count(&p->shape), NAN);
    }
    grad = clean;
  }
};

// ---- large networks: weights by the formula ----

struct Filled {
  Tensors tensors;
  std::vector<float> input;
};

Filled read_fill(const std::string &path, const std::string &input, golden::Report &r) {
  const golden::Json json = golden::load_json(path + "/fill.json");
  const std::string prefix = golden::text(json.get(), "prefix");
  json_t *rows = golden::get(json.get(), "tensors");
  Filled out;
  bool first4 = true;
  for (size_t i = 0; i < json_array_size(rows); i++) {
    json_t *row = json_array_get(rows, i);
    const std::string name = json_string_value(json_array_get(row, 0));
    size_t n = 1;
    for (double d : golden::numbers(json_array_get(row, 1)))
      n *= (size_t)d;
    std::vector<float> v =
        golden::fill(prefix + name, n, golden::number(json_array_get(row, 2)), golden::number(json_array_get(row, 3)));
    const std::vector<double> first = golden::numbers(json_array_get(row, 4));
    for (size_t k = 0; k < first.size() && k < n; k++)
      first4 = first4 && std::fabs(v[k] - first[k]) <= 1e-8 * std::max(1.0, std::fabs(first[k]));
    (name == input ? out.input : out.tensors[name]) = std::move(v);
  }
  r.check("fill", first4, "the formula gives other first values than fill.json");
  if (out.input.empty())
    throw std::runtime_error("fill.json has no tensor '" + input + "'");
  return out;
}

void compare_gradients(Run &run, json_t *expect, golden::Report &r) {
  std::vector<std::string> zero;
  json_t *list = golden::get(expect, "zero_grad");
  for (size_t i = 0; i < json_array_size(list); i++)
    zero.push_back(json_string_value(json_array_get(list, i)));
  json_t *grads = golden::get(expect, "grads");
  size_t n_compared = 0;
  for (size_t i = 0; i < run.g.params.n; i++) {
    const ig_param *p = run.g.params.items[i];
    if (p->kind != IG_PARAM_TRAINABLE)
      continue;
    const std::string name = std::string("d ") + p->name;
    const std::vector<float> found = run.gradient(p);
    double sum = 0, squares = 0;
    for (float v : found)
      sum += v, squares += (double)v * v;
    const double norm = std::sqrt(squares), root = std::sqrt((double)found.size());
    if (std::find(zero.begin(), zero.end(), p->name) != zero.end()) {
      r.check(name, norm < 1e-4, "is zero in exact arithmetic, found norm " + std::to_string(norm));
      continue;
    }
    json_t *row = golden::get(grads, p->name);
    const double want = golden::number(json_array_get(row, 0));
    r.compare(name + " norm", norm, want, {0, 1e-4});
    r.compare(name + " sum", sum, golden::number(json_array_get(row, 1)), {1e-4 * want * root, 0});
    const std::vector<double> first = golden::numbers(json_array_get(row, 2));
    if (first.size() > found.size())
      throw std::runtime_error(name + " has fewer values than expect.json");
    r.compare(name + " first", found.data(), first.data(), first.size(), {1e-3 * want / root, 0});
    n_compared++;
  }
  r.check("grads", n_compared == json_object_size(grads) - zero.size() || n_compared == json_object_size(grads),
          "expect.json has gradients of parameters that the model does not have");
}

void run_filled(const std::string &path, const run_graph::Way &way, bool winograd, golden::Report &r) {
  const golden::Json expect = golden::load_json(path + "/expect.json");
  const st::File tensors(path + "/expect.safetensors");
  json_t *e = expect.get();
  std::string name = path.substr(path.find_last_of('/') + 1).substr(strlen("vision_"));
  if (golden::has(e, "model")) {
    const std::string model = golden::text(e, "model");
    name = model.substr(model.find_last_of('.') + 1);
  }
  Network net;
  must(ig_model_find(name.c_str(), &net.model));
  net.classes = (int)golden::number(e, "num_classes");
  const std::vector<double> dims = golden::numbers(e, "input_shape");
  const Shape s = {(int64_t)dims.at(0), (int64_t)dims.at(2), (int64_t)dims.at(3)};

  Run eval(net, s, IG_MODE_EVAL, way, winograd);
  if (winograd && !eval.uses_winograd())
    return;  // the same implementations as before
  const Filled fill = read_fill(path, golden::text(e, "input"), r);
  if (fill.input.size() != (size_t)(s.n * 3 * s.h * s.w))
    throw std::runtime_error("the input's size is not input_shape");
  const std::vector<float> pictures = nhwc(fill.input.data(), s);
  const double loose = winograd ? winograd_pass : 1;
  const std::string tag = winograd ? " (winograd)" : "";
  eval.load(fill.tensors);
  eval.set_batch(pictures, {});
  eval.g.run();
  r.compare("logits_eval" + tag, eval.g.get<float>(eval.logits), tensors.f32("logits_eval"), {0, 1e-5 * loose});
  size_t n_learned = 0;
  for (const auto &t : fill.tensors)
    n_learned += t.first.find("num_batches_tracked") == std::string::npos;
  r.check("parameters", n_learned == eval.g.params.n,
          "fill.json has " + std::to_string(n_learned) + ", the model " + std::to_string(eval.g.params.n));
  if (!tensors.has("logits_train"))
    return;

  std::vector<int32_t> labels;
  for (double l : golden::numbers(e, "labels"))
    labels.push_back((int32_t)l);
  Run train(net, s, IG_MODE_TRAIN, way, winograd);
  train.load(fill.tensors);
  train.set_batch(pictures, labels);
  train.g.run();
  r.compare("logits_train" + tag, train.g.get<float>(train.logits), tensors.f32("logits_train"), {0, 5e-5 * loose});
  r.compare("loss" + tag, train.g.scalar(train.loss), golden::number(e, "loss"), {5e-5 * loose, 0});
  json_t *layers = golden::get(e, "bn_layers");
  for (size_t i = 0; i < json_array_size(layers); i++)
    for (const char *leaf : {".running_mean", ".running_var"}) {
      const std::string bn = std::string(json_string_value(json_array_get(layers, i))) + leaf;
      r.compare(bn + tag, train.param(bn), tensors.f32(bn), {0, 1e-5 * loose});
    }
  if (!winograd)
    compare_gradients(train, e, r);
}

// ---- small networks: weights stored, five steps ----

Network spec_of(const st::File &weights) {
  Network net;
  net.spec.stem_width = (int)weights.shape("conv1.weight").at(0);
  net.spec.bottleneck = weights.has("layer1.0.conv3.weight");
  net.spec.groups = 1;
  net.spec.width_per_group = 64;
  for (int stage = 0; stage < 4; stage++) {
    const std::string layer = "layer" + std::to_string(stage + 1) + ".";
    net.spec.widths[stage] = (int)weights.shape(layer + "0.conv1.weight").at(0);
    while (weights.has(layer + std::to_string(net.spec.blocks[stage]) + ".conv1.weight"))
      net.spec.blocks[stage]++;
  }
  net.classes = (int)weights.shape("fc.weight").at(0);
  return net;
}

ig_optimizer_options optimizer_of(json_t *o) {
  ig_optimizer_options options;
  if (golden::text(o, "name") != "SGD" || golden::text(o, "decayed") != "every parameter")
    throw std::runtime_error("optimizer " + golden::text(o, "name") + " decaying " + golden::text(o, "decayed") +
                             " is not known");
  must(ig_optimizer_defaults("sgd", &options));
  options.momentum = golden::number(o, "momentum");
  options.dampening = golden::number(o, "dampening");
  options.nesterov = json_is_true(golden::get(o, "nesterov"));
  options.weight_decay = golden::number(o, "weight_decay");
  return options;
}

// ||found - expected|| / ||expected|| against the tolerance: what single values that fell the other way leave small.
void compare_norm(const std::string &name, const std::vector<float> &found, const std::vector<float> &expected,
                  double rel, golden::Report &r) {
  double difference = 0, norm = 0;
  for (size_t i = 0; i < expected.size() && i < found.size(); i++) {
    difference += ((double)found[i] - expected[i]) * ((double)found[i] - expected[i]);
    norm += (double)expected[i] * expected[i];
  }
  r.check(name + " size", found.size() == expected.size());
  r.compare(name + " (norm)", std::sqrt(difference / norm), 0, {rel, 0});
}

void compare_state(Run &run, const st::File &expect, bool gradients, bool winograd, double rel, const std::string &tag,
                   golden::Report &r) {
  size_t n = 0;
  for (const auto &t : expect.tensors()) {
    if (t.first.find("num_batches_tracked") != std::string::npos)
      continue;  // a count of the trainer, not of the graph
    const ig_param *p = ig_params_find(&run.g.params, t.first.c_str());
    if (!p)
      throw std::runtime_error("the model has no parameter " + t.first);
    const std::vector<float> found = gradients ? run.gradient(p) : run.param(p);
    if (winograd)
      compare_norm(tag + t.first, found, expect.f32(t.first), rel, r);
    else
      r.compare(tag + t.first, found, expect.f32(t.first), {0, rel});
    n++;
  }
  size_t want = 0;
  for (size_t i = 0; i < run.g.params.n; i++)
    want += !gradients || run.g.params.items[i]->kind == IG_PARAM_TRAINABLE;
  r.check(tag + "count", n == want, "found " + std::to_string(n) + " tensors, expected " + std::to_string(want));
}

void run_stored(const std::string &path, const run_graph::Way &way, bool winograd, golden::Report &r) {
  const golden::Json expect = golden::load_json(path + "/expect.json");
  const st::File weights(path + "/weights.safetensors"), inputs(path + "/inputs.safetensors"),
      results(path + "/expect.safetensors"), grads(path + "/grads.safetensors"), after(path + "/after.safetensors");
  const Network net = spec_of(weights);
  const std::vector<int64_t> dims = inputs.shape("x_u8");
  const Shape s = {dims.at(1), dims.at(3), dims.at(4)};
  json_t *settings = golden::get(expect.get(), "optimizer");
  const ig_optimizer_options optimizer = optimizer_of(settings);

  Run eval(net, s, IG_MODE_EVAL, way, winograd), train(net, s, IG_MODE_TRAIN, way, winograd, &optimizer);
  if (winograd && !eval.uses_winograd() && !train.uses_winograd())
    return;
  const double loose = winograd ? winograd_small : 1;
  const std::string tag = std::string(way.name) + (winograd ? ", winograd: " : ": ");
  const std::vector<uint8_t> bytes = inputs.u8("x_u8");
  const std::vector<int32_t> labels = inputs.i32("labels");
  const size_t per_step = (size_t)(s.n * 3 * s.h * s.w);
  auto set_step = [&](Run &run, size_t step) {
    std::vector<float> x(per_step);
    for (size_t i = 0; i < per_step; i++)
      x[i] = ((float)bytes[step * per_step + i] - 128) / 64;
    run.set_batch(nhwc(x.data(), s),
                  {labels.begin() + (ptrdiff_t)step * s.n, labels.begin() + (ptrdiff_t)(step + 1) * s.n});
  };
  Tensors start;
  for (const auto &t : weights.tensors())
    if (t.second.dtype == "F32")
      start[t.first] = weights.f32(t.first);
  eval.load(start);
  set_step(eval, 0);
  eval.g.run();
  r.compare(tag + "logits_eval", eval.g.get<float>(eval.logits), results.f32("logits_eval"), {0, 2e-5 * loose});

  train.load(start);
  const std::vector<double> losses = golden::numbers(expect.get(), "losses");
  for (size_t step = 0; step < losses.size(); step++) {
    std::vector<float> hyper(8);
    ig_optimizer_fill_hyper(golden::number(settings, "lr"), (int64_t)step + 1, 1, 0, hyper.data());
    train.g.set(train.io.hyper, hyper);
    set_step(train, step);
    train.g.run();
    r.compare(tag + "loss " + std::to_string(step), train.g.scalar(train.loss), losses[step],
              {winograd && step ? winograd_losses : 1e-5 * loose, 0});
    if (step == 0) {
      r.compare(tag + "logits_train", train.g.get<float>(train.logits), results.f32("logits_train"), {0, 2e-5 * loose});
      if (!winograd)
        compare_state(train, grads, true, false, 5e-5, tag + "d ", r);
    }
  }
  compare_state(train, after, false, winograd, winograd ? winograd_weights : 1e-5, tag + "after ", r);
  eval.load(train.all());
  eval.g.run();
  const std::vector<float> last = eval.g.get<float>(eval.logits);
  if (winograd)
    compare_norm(tag + "logits_after", last, results.f32("logits_after"), winograd_logits, r);
  else
    r.compare(tag + "logits_after", last, results.f32("logits_after"), {0, 2e-5});
}

void run_resnet(const std::string &path, golden::Report &r) {
  if (FILE *f = fopen((path + "/weights.safetensors").c_str(), "rb")) {
    fclose(f);
    for (const run_graph::Way &way : run_graph::chosen())
      run_stored(path, way, false, r);
    if (!run_graph::chosen()[0].cuda)  // there is no Winograd of our own
      run_stored(path, run_graph::chosen()[0], true, r);
    return;
  }
  run_filled(path, run_graph::chosen()[0], false, r);
  if (!run_graph::chosen()[0].cuda)
    run_filled(path, run_graph::chosen()[0], true, r);
}

void skip_vgg(const std::string &, golden::Report &) { throw golden::Skip("VGG is not built yet"); }

}  // namespace

GOLDEN_DEVICE_CASE("vision_", run_resnet)
GOLDEN_CASE("vision_vgg", skip_vgg)
