// Networks of the cases vision_*: their graphs with loss, gradients and updates, by the names of their files.
#ifndef INGOT_TESTS_GOLDEN_VISION_H
#define INGOT_TESTS_GOLDEN_VISION_H

#include "kernels/reorder/reorder.h"
#include "kernels/softmax_xent/softmax_xent.h"
#include "models/model.h"
#include "tests/golden.h"
#include "tests/run_graph.h"
#include "tests/st_reader.h"
#include "tests/update_segments.h"

namespace golden_vision {

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

inline std::vector<float> nhwc(const float *nchw, const Shape &s) {
  std::vector<float> v((size_t)(s.n * s.h * s.w * 3));
  for (int64_t n = 0; n < s.n; n++)
    for (int64_t c = 0; c < 3; c++)
      for (int64_t p = 0; p < s.h * s.w; p++)
        v[(size_t)((n * s.h * s.w + p) * 3 + c)] = nchw[(n * 3 + c) * s.h * s.w + p];
  return v;
}

// A network in one mode; in TRAIN with its loss and gradients, and with updates where an optimizer is given.
class Run {
 public:
  Run(const Network &net, const Shape &s, ig_mode mode, const run_graph::Way &way, bool winograd,
      const ig_optimizer_options *optimizer = nullptr)
      : g(way.compute, mode), scale_(way.loss_scale()) {
    x = ig_graph_input(g.g, "x", IG_F32, IG_SHAPE4(s.n, s.h, s.w, 3));
    ig_tensor *in = ig_reorder(g.g, "x in its type", x, way.compute);
    ig_model_config c = {sizeof c, net.classes, false, 0, nullptr, IG_TEXT_SEQUENCE, false};
    logits = net.model ? net.model->build(net.model, g.g, &c, in, nullptr)
                       : ig_resnet_build(g.g, &net.spec, &c, in, nullptr);
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
      ig_tensor *seed = g.input("seed", IG_F32, IG_SHAPE1(1), std::vector<float>{scale_});
      must(ig_graph_differentiate(g.g, 1, &loss, &seed, 0, nullptr, nullptr));
      g.space(IG_SPACE_GRAD).assign((size_t)g.params.count[IG_PARAM_TRAINABLE], NAN);  // every one must be written
    }
    if (optimizer) {
      clear_grad_padding();
      add_update(g, optimizer, &io);
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
  std::vector<float> gradient(const ig_param *p) {
    std::vector<float> v = slice(IG_SPACE_GRAD, p);
    for (float &d : v)
      d /= scale_;
    return v;
  }
  // One step of training; step: from 1.
  void step(double lr, int64_t step) {
    std::vector<float> hyper(8);
    ig_optimizer_fill_hyper(lr, step, 1 / scale_, 0, hyper.data());
    g.set(io.hyper, hyper);
    g.run();
  }
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
  float scale_;  // of the loss
};

}  // namespace golden_vision

#endif
