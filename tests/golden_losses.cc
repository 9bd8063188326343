// Case losses: values and gradients of every loss against torch's (VISION.md), through plans of each kind: the best
// instruction set, the portable one, the references; in 16 bits of rounded logits.
#include <cstring>

#include "kernels/losses/losses.h"
#include "kernels/reorder/reorder.h"
#include "tests/golden.h"
#include "tests/run_graph.h"
#include "tests/st_reader.h"

namespace {

using run_graph::Graph;

struct Data {
  st::File in, grads;
  golden::Json json;
  int64_t n, c;
  explicit Data(const std::string &path)
      : in(path + "/inputs.safetensors"),
        grads(path + "/grads.safetensors"),
        json(golden::load_json(path + "/expect.json")),
        n(in.shape("logits").at(0)),
        c(in.shape("logits").at(1)) {}
};

bool starts_with(const std::string &s, const char *prefix) { return s.compare(0, strlen(prefix), prefix) == 0; }
bool has(const std::string &s, const char *part) { return s.find(part) != std::string::npos; }

// The number behind `key` in a name such as "focal_g0.5", or `missing`.
float number_in(const std::string &name, const char *key, float missing) {
  const size_t at = name.find(key);
  return at == std::string::npos ? missing : std::stof(name.substr(at + strlen(key)));
}

struct Built {
  std::vector<ig_tensor *> terms;  // scalars to differentiate
  std::vector<float> factors;      // total = sum factor * term
};

// Every name must be understood: an unknown one throws.
Built build(Graph &g, const Data &d, const std::string &name, ig_tensor *logits) {
  auto matrix = [&](const char *t) { return g.input(t, IG_F32, IG_SHAPE2(d.n, d.c), d.in.f32(t)); };
  auto vector = [&](const char *t) { return g.input(t, IG_F32, IG_SHAPE1(d.c), d.in.f32(t)); };
  auto labels = [&](const char *t) { return g.input(t, IG_I32, IG_SHAPE1(d.n), d.in.i32(t)); };
  std::vector<float> share((size_t)d.n, 1.0f);
  for (size_t i : {2, 3, 4})
    if (i < share.size())
      share[i] = 0;
  auto rows = [&] { return g.input("sample_weight", IG_F32, IG_SHAPE1(d.n), share); };
  auto kd = [&](float t) { return ig_kd_loss(g.g, "kd", logits, matrix("teacher_logits"), nullptr, t).mean; };
  auto one = [](ig_tensor *t) { return Built{{t}, {1}}; };
  json_t *root = d.json.get();
  const float beta = number_in(name, "beta", number_in(name, "delta", 1));
  if (name == "mse")
    return one(ig_mse_loss(g.g, "loss", logits, matrix("target"), rows()).mean);
  if (name == "l1")
    return one(ig_l1_loss(g.g, "loss", logits, matrix("target"), rows()).mean);
  if (starts_with(name, "smooth_l1"))
    return one(ig_smooth_l1_loss(g.g, "loss", logits, matrix("target"), rows(), beta).mean);
  if (starts_with(name, "huber"))
    return one(ig_huber_loss(g.g, "loss", logits, matrix("target"), rows(), beta).mean);
  if (starts_with(name, "bce"))
    return one(ig_bce_logits_loss(g.g, "loss", logits, matrix("multilabel"), nullptr,
                                  has(name, "pos_weight") ? vector("pos_weight") : nullptr)
                   .mean);
  if (name == "sigmoid_focal")
    return one(ig_sigmoid_focal_loss(g.g, "loss", logits, matrix("multilabel"), nullptr, 0.25f, 2).mean);
  if (starts_with(name, "focal"))
    return one(ig_focal_loss(g.g, "loss", logits, labels("labels"), nullptr,
                             has(name, "alpha") ? vector("class_weight") : nullptr, number_in(name, "_g", 2))
                   .mean);
  if (starts_with(name, "kd_T"))
    return one(kd(number_in(name, "_T", 1)));
  if (name == "kd_mix")
    return Built{
        {kd(4), ig_softmax_xent(g.g, "ce", logits, labels("labels"), nullptr, nullptr, nullptr, nullptr, nullptr).mean},
        {0.7f, 0.3f}};
  if (name == "ce_soft")
    return one(ig_softmax_xent_soft(g.g, "loss", logits, matrix("soft_targets"), nullptr).mean);
  if (starts_with(name, "ce")) {
    const std::string rest = name.substr(2);
    if (rest != "" && rest != "_sum" && rest != "_mixup" && !has(rest, "_smooth") && !has(rest, "_weight") &&
        !has(rest, "_ignore"))
      throw std::runtime_error("loss '" + name + "' is not known");
    ig_xent_attr a = {};
    a.label_smoothing = has(rest, "_smooth") ? (float)golden::number(root, "label_smoothing") : 0;
    a.has_ignore = has(rest, "_ignore");
    a.ignore_label = (int)golden::number(root, "ignore_index");
    const bool mixup = rest == "_mixup";
    ig_loss l = ig_softmax_xent(
        g.g, "loss", logits, labels(a.has_ignore ? "labels_ignore" : "labels"), mixup ? labels("labels_mix") : nullptr,
        mixup ? g.input("lam", IG_F32, IG_SHAPE1(d.n),
                        std::vector<float>((size_t)d.n, (float)golden::number(root, "mixup_lambda")))
              : nullptr,
        nullptr, has(rest, "_weight") ? vector("class_weight") : nullptr, &a);
    return one(rest == "_sum" ? l.sum : l.mean);
  }
  throw std::runtime_error("loss '" + name + "' is not known");
}

void run_one(const Data &d, const std::string &name, double expected, const run_graph::Way &way, golden::Report &r) {
  Graph g(way.compute);
  ig_tensor *logits = g.input("logits", IG_F32, IG_SHAPE2(d.n, d.c), d.in.f32("logits")), *dlogits = nullptr;
  const Built b = build(g, d, name, ig_reorder(g.g, "narrow", logits, way.compute));
  std::vector<ig_tensor *> seeds;
  for (float f : b.factors)
    seeds.push_back(g.input("seed", IG_F32, IG_SHAPE1(1), std::vector<float>{f * way.loss_scale()}));
  run_graph::must(ig_graph_status(g.g));
  run_graph::must(ig_graph_differentiate(g.g, (int)b.terms.size(), b.terms.data(), seeds.data(), 1, &logits, &dlogits));
  for (ig_tensor *t : b.terms)
    g.output(t, "term");
  g.output(dlogits, "dlogits");
  g.plan(way);
  g.run();
  double value = 0;
  for (size_t i = 0; i < b.terms.size(); i++)
    value += (double)b.factors[i] * (double)g.scalar(b.terms[i]);
  const std::string label = name + " (" + way.name + ")";
  std::vector<float> dx = g.get<float>(dlogits);
  for (float &v : dx)
    v /= way.loss_scale();
  if (way.exact()) {
    r.compare(label, value, expected, {1e-6 * std::max(1.0, std::fabs(expected)), 0});
    r.compare("d " + label, dx, d.grads.f32(name), {1e-6, 0});
    return;
  }
  // A probability changes as its logit is rounded, and twice that where it is one of two. |x| has a kink, onto which
  // some logits are put: there a rounded one may fall on either side.
  double largest = 1;
  for (float v : d.in.f32("logits"))
    largest = std::max(largest, (double)std::fabs(v));
  r.compare(label, value, expected, {way.rounding() * std::max(1.0, std::fabs(expected)), 0});
  if (name != "l1")
    golden::compare_norm(r, "d " + label, dx, d.grads.f32(name), 2 * largest * way.rounding());
}

void run(const std::string &path, golden::Report &r) {
  const Data d(path);
  const char *name;
  json_t *value;
  json_object_foreach(golden::get(d.json.get(), "values"), name, value) {
    for (const run_graph::Way &way : run_graph::chosen())
      if (!way.tf32)  // there is no product
        run_one(d, name, golden::number(value), way, r);
  }
}

}  // namespace

GOLDEN_DEVICE_CASE("losses", run)
