// An optimizer's update over a table of parameters with segments of many sizes, as optimizer_test runs it on the CPU
// and cuda_weights16_test on a GPU.
#ifndef INGOT_TESTS_UPDATE_GRAPH_H
#define INGOT_TESTS_UPDATE_GRAPH_H

#include <cmath>
#include <gtest/gtest.h>
#include <random>

#include "kernels/optim_util/optim_util.h"
#include "runtime/train/optimizer.h"
#include "tests/run_graph.h"

namespace update_graph {

using run_graph::must;
using run_graph::Way;

inline ig_optimizer_options defaults(const char *name) {
  ig_optimizer_options o;
  must(ig_optimizer_defaults(name, &o));
  return o;
}

// Every kind with every branch of its kernels.
inline std::vector<ig_optimizer_options> all_kinds() {
  std::vector<ig_optimizer_options> all;
  for (const char *name : {"sgd", "adam", "adamw", "rmsprop", "lars", "lamb"}) {
    ig_optimizer_options o = defaults(name);
    o.weight_decay = 0.02;
    o.trust_coeff = 0.1;
    o.eps = 1e-3;  // with a tiny one, the sign of a gradient that cancels to rounding noise decides a whole step
    all.push_back(o);
    o.l1 = 0.003;
    o.clip = 2;
    if (ig_optimizer_moments(&o) != 2) {
      o.momentum = o.momentum > 0 ? 0 : 0.9;
      all.push_back(o);
    }
    if (!strcmp(name, "rmsprop"))
      o.centered = true, all.push_back(o), o.momentum = 0;
    if (!strcmp(name, "sgd") || !strcmp(name, "lars"))
      o.momentum = 0.8, o.nesterov = true;
    o.always_adapt = true;
    all.push_back(o);
  }
  return all;
}

struct Param {
  const char *name;
  ig_shape shape;
  ig_param_kind kind;
};
// Sizes around the fixed chunk of 16384 elements, and many small ones inside of one chunk.
static const Param params[] = {
    {"a.weight", IG_SHAPE2(7, 11), IG_PARAM_TRAINABLE},    {"a.bias", IG_SHAPE1(3), IG_PARAM_TRAINABLE},
    {"bn.running_mean", IG_SHAPE1(70), IG_PARAM_STATE},    {"b.weight", IG_SHAPE2(200, 200), IG_PARAM_TRAINABLE},
    {"frozen.weight", IG_SHAPE2(9, 9), IG_PARAM_FROZEN},   {"b.bias", IG_SHAPE1(1), IG_PARAM_TRAINABLE},
    {"c.weight", IG_SHAPE2(128, 128), IG_PARAM_TRAINABLE}, {"c.bias", IG_SHAPE1(64), IG_PARAM_TRAINABLE}};

class Training {
 public:
  // compute: the type of copies, where the options ask for them.
  Training(ig_optimizer_options options, const Way &way, ig_dtype compute = IG_F32) : o(options), g(compute) {
    for (const Param &p : params)
      ig_graph_param(g.g, p.name, p.shape, p.kind, {IG_INIT_ZERO, 0});
    must(ig_graph_status(g.g));
    must(ig_params_layout(&g.params));
    ig_params_find(&g.params, "c.weight")->lr_scale = 0.5f;
    must(ig_optimizer_build_update(g.g, &o, &io));
    const size_t n = count(IG_PARAM_TRAINABLE), s = (size_t)ig_optimizer_segments(&g.params);
    std::mt19937 rng(11);
    std::normal_distribution<float> normal;
    for (ig_space space : {IG_SPACE_TRAINABLE, o.gradients, IG_SPACE_EMA})
      for (float &x : (g.space(space).assign(n, 0), g.space(space)))
        x = 0.1f * normal(rng);
    for (ig_space space : {IG_SPACE_STATE, IG_SPACE_EMA_STATE})
      for (float &x : (g.space(space).assign(count(IG_PARAM_STATE), 0), g.space(space)))
        x = normal(rng);
    for (int k = 0; k < ig_optimizer_moments(&o); k++)
      g.space((ig_space)(IG_SPACE_MOMENT0 + k)).assign(n, 0);
    if (o.w16)
      g.space(IG_SPACE_TRAINABLE16).assign(n / 2, 0);  // two in a float
    start.resize(s + 1);
    attr.resize(s * IG_N_SEG);
    must(ig_optimizer_fill_segments(&g.params, &o, start.data(), attr.data()));
    g.set(io.seg_start, start);
    g.set(io.seg_attr, attr);
    g.add(io.norm);
    g.add(io.gscale);
    g.plan(way);
  }
  void step(int step, double lr = 0.01, double multiplier = 0.5, double ema_decay = 0.9) {
    std::vector<float> hyper(IG_N_HYPER);
    ig_optimizer_fill_hyper(lr, step, multiplier, ema_decay, hyper.data());
    g.set(io.hyper, hyper);
    g.run();
    for (float &x : g.space(o.gradients))
      x *= -0.7f;
  }
  // Bits of the copies, and of the weights rounded.
  std::vector<uint16_t> copies() {
    std::vector<uint16_t> bits(count(IG_PARAM_TRAINABLE));
    memcpy(bits.data(), g.space(IG_SPACE_TRAINABLE16).data(), bits.size() * sizeof bits[0]);
    return bits;
  }
  std::vector<uint16_t> rounded() {
    std::vector<uint16_t> bits(count(IG_PARAM_TRAINABLE));
    ig_convert(bits.data(), g.g->options.compute_dtype, g.space(IG_SPACE_TRAINABLE).data(), IG_F32, bits.size());
    return bits;
  }
  size_t count(ig_param_kind kind) const { return (size_t)g.params.count[kind]; }
  std::vector<std::vector<float>> everything() {
    std::vector<std::vector<float>> all;
    for (int k = IG_SPACE_TRAINABLE; k < IG_N_SPACES; k++)
      if (k != o.gradients)
        all.push_back(g.space((ig_space)k));
    return all;
  }

  ig_optimizer_options o;
  run_graph::Graph g;
  ig_optimizer_io io;
  std::vector<int64_t> start;
  std::vector<float> attr;
};

// Copies in `type` after an update are the weights that it made, rounded, bit for bit; and they and the weights are as
// without copies. A skipped step leaves copies as they are, whatever they are.
inline void copies_are_rounded(ig_optimizer_options o, const Way &way, ig_dtype type) {
  const std::string what = std::string(o.name) + " " + way.name + " " + ig_dtype_name(type);
  Training plain(o, way, type);
  o.w16 = true;
  Training r(o, way, type);
  for (int step = 1; step <= 2; step++) {
    plain.step(step);
    r.step(step);
    EXPECT_EQ(r.copies(), r.rounded()) << what << ", step " << step;
    EXPECT_EQ(r.g.space(IG_SPACE_TRAINABLE), plain.g.space(IG_SPACE_TRAINABLE)) << what << ", step " << step;
  }
  std::vector<float> &w = r.g.space(IG_SPACE_TRAINABLE);
  for (size_t i = 0; i < w.size(); i++)  // 1 + odd halves of a unit of the type: ties
    w[i] = 1 + std::ldexp((float)(2 * (i % 64) + 1), type == IG_BF16 ? -8 : -11);
  r.step(3, 0);
  EXPECT_EQ(r.copies(), r.rounded()) << what << ", ties";
  std::vector<float> &copies = r.g.space(IG_SPACE_TRAINABLE16);
  std::fill(copies.begin(), copies.end(), 1.5f);
  const std::vector<uint16_t> before = r.copies();
  r.g.space(o.gradients)[20000] = INFINITY;
  r.step(4);
  EXPECT_EQ(r.copies(), before) << what << ": a skipped step wrote";
}

}  // namespace update_graph

#endif
