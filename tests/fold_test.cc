// floor: ig_models
// Batch normalisation folded into convolutions: whole networks give what they gave unfolded, in every kind of block and
// precision; weights that change show after a refresh; what must not be folded is not.
#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <vector>

#include "kernels/conv2d_fused/conv2d_fused.h"
#include "kernels/eltwise/eltwise.h"
#include "models/model.h"
#include "run_graph.h"
#include "runtime/base/rng.h"
#include "runtime/graph/plan_internal.h"

namespace {

using run_graph::must;
using Floats = std::vector<float>;

const uint32_t kStable = 1u << IG_SPACE_TRAINABLE | 1u << IG_SPACE_FROZEN | 1u << IG_SPACE_STATE;

// Statistics, scales and shifts as training leaves them: none is 0 or 1.
void disturb(const ig_params &params, Floats buffers[IG_N_PARAM_KINDS]) {
  float *data[IG_N_PARAM_KINDS];
  for (int k = 0; k < IG_N_PARAM_KINDS; k++) {
    buffers[k].assign((size_t)params.count[k] + 1, 0);
    data[k] = buffers[k].data();
  }
  must(ig_params_initialize(&params, 5, data));
  for (size_t i = 0; i < params.n; i++) {
    const ig_param *p = params.items[i];
    ig_rng r = ig_rng_make(9, i, 0);
    const bool positive = strstr(p->name, "running_var") || strstr(p->name, ".weight");
    if (p->shape.n == 1)
      for (int64_t c = 0; c < p->shape.d[0]; c++)
        data[p->kind][p->offset + c] = positive ? 0.5f + ig_rng_uniform(&r) : 0.3f * ig_rng_normal(&r);
  }
}

// A graph on the CPU with all that it needs.
struct Network {
  Network(const Network &) = delete;
  explicit Network(ig_dtype compute) {
    ig_params_init(&params);
    ig_graph_options o = {};
    o.size = sizeof o, o.ops = ig_op_lists, o.params = &params, o.mode = IG_MODE_EVAL, o.compute_dtype = compute;
    must(ig_graph_create(&o, &g));
  }
  ~Network() {
    ig_plan_destroy(plan);
    ig_device_destroy(device);
    ig_graph_destroy(g);
    ig_params_fini(&params);
  }
  void make_plan(ig_tensor *x, ig_tensor *y, const Floats &pictures, bool winograd) {
    ig_cpu_options c = {};
    c.size = sizeof c, c.isa = IG_ISA_AMX, c.winograd = winograd, c.threads = 2, c.impl_lists = ig_cpu_impl_lists;
    must(ig_device_create_cpu(&c, &device));
    ig_plan_options o = {};
    o.size = sizeof o, o.device = device, o.stable_spaces = kStable;
    must(ig_plan_create(g, &o, &plan));
    ig_plan_bytes bytes;
    ig_plan_get_bytes(plan, &bytes);
    arena.resize(bytes.arena / sizeof(float) + 64);
    in = pictures;
    out.resize((size_t)ig_shape_count(&y->shape));
    const size_t align = (256 - (uintptr_t)arena.data() % 256) % 256 / sizeof(float);
    must(ig_plan_bind(plan, IG_SPACE_ARENA, arena.data() + align));
    must(ig_plan_bind(plan, IG_SPACE_TRAINABLE, buffers[IG_PARAM_TRAINABLE].data()));
    must(ig_plan_bind(plan, IG_SPACE_FROZEN, buffers[IG_PARAM_FROZEN].data()));
    must(ig_plan_bind(plan, IG_SPACE_STATE, buffers[IG_PARAM_STATE].data()));
    must(ig_plan_set_io(plan, x, in.data()));
    must(ig_plan_set_io(plan, y, out.data()));
  }
  int count(const char *row) const {
    int n = 0;
    for (size_t k = 0; k < g->n_nodes; k++)
      n += !strcmp(g->nodes[k]->op->name, row);
    return n;
  }
  Floats run() {
    std::fill(arena.begin(), arena.end(), NAN);  // what a run needs of the refresh lies elsewhere
    must(ig_plan_run(plan, nullptr));
    return out;
  }

  ig_params params;
  ig_graph *g = nullptr;
  ig_plan *plan = nullptr;
  ig_device *device = nullptr;
  Floats buffers[IG_N_PARAM_KINDS], arena, in, out;
};

Floats normals(size_t n) {
  Floats v(n);
  ig_rng r = ig_rng_make(3, 1, 0);
  for (float &x : v)
    x = ig_rng_normal(&r);
  return v;
}

// Logits of a small network, folded or not; *folded: how many.
Floats logits(const ig_resnet_spec &spec, ig_dtype compute, bool winograd, bool fold, bool refresh, int *folded) {
  const int side = 33;
  Network net(compute);
  ig_tensor *x = ig_graph_input(net.g, "x", IG_F32, IG_SHAPE4(2, side, side, 3));
  ig_tensor *narrow = x;
  if (compute != IG_F32) {
    ig_node *n = ig_graph_node(net.g, "reorder", "narrow", 1, &x, &compute);
    narrow = n ? n->out[0] : nullptr;
  }
  ig_model_config config = {};
  config.size = sizeof config, config.classes = 7;
  ig_tensor *y = ig_resnet_build(net.g, &spec, &config, narrow, nullptr);
  ig_graph_output(net.g, y, "logits");
  must(ig_graph_status(net.g));
  must(ig_params_layout(&net.params));
  disturb(net.params, net.buffers);
  *folded = 0;
  const int before = net.count("bn_apply");
  if (fold)
    must(ig_graph_fold_batchnorm(net.g, IG_DEVICE_CPU, folded));
  EXPECT_EQ(net.count("bn_apply"), before - *folded);
  EXPECT_EQ(net.count("conv2d_fused"), *folded);
  EXPECT_EQ(net.count("bn_fold"), *folded);
  net.make_plan(x, y, normals(2 * side * side * 3), winograd);
  Floats first = net.run();
  EXPECT_EQ(net.run(), first) << "a second run without a refresh";
  if (!refresh)
    return first;
  for (float &v : net.buffers[IG_PARAM_STATE])
    v *= 1.5f;
  EXPECT_TRUE(!fold || net.run() == first) << "what is folded stays until a refresh";
  must(ig_plan_refresh(net.plan, nullptr));
  return net.run();
}

double worst(const Floats &a, const Floats &b) {
  double d = 0, largest = 0;
  for (size_t i = 0; i < a.size(); i++) {
    d = std::fmax(d, std::isfinite(a[i]) ? std::fabs((double)a[i] - (double)b[i]) : INFINITY);
    largest = std::fmax(largest, std::fabs((double)b[i]));
  }
  return d / largest;
}

const struct {
  const char *name;
  ig_resnet_spec spec;
  int n_norms;
} networks[] = {
    {"basic", {{2, 1, 1, 1}, {16, 32, 32, 48}, 16, false, 1, 64, false}, 1 + 10 + 3},
    {"bottleneck", {{1, 2, 1, 1}, {16, 16, 16, 32}, 16, true, 1, 64, false}, 1 + 15 + 4},
    {"groups", {{1, 1, 1, 1}, {16, 16, 16, 16}, 16, true, 4, 64, false}, 1 + 12 + 4},
    {"keras", {{1, 1, 1, 1}, {16, 16, 16, 32}, 16, true, 1, 64, true}, 1 + 12 + 4},
};

TEST(Fold, NetworksGiveWhatTheyGaveUnfolded) {
  for (const auto &n : networks)
    for (bool winograd : {false, true}) {
      SCOPED_TRACE(std::string(n.name) + (winograd ? ", winograd" : ""));
      int folded, none;
      Floats want = logits(n.spec, IG_F32, winograd, false, false, &none);
      Floats got = logits(n.spec, IG_F32, winograd, true, false, &folded);
      EXPECT_EQ(folded, n.n_norms);
      EXPECT_LT(worst(got, want), winograd ? 3e-4 : 2e-5);
      EXPECT_NE(got, want) << "nothing was folded";
    }
}

TEST(Fold, SixteenBitsStayAsExact) {
  for (const auto &n : networks) {
    SCOPED_TRACE(n.name);
    int folded, none;
    Floats exact = logits(n.spec, IG_F32, false, false, false, &none);
    const double before = worst(logits(n.spec, IG_BF16, true, false, false, &none), exact);
    const double after = worst(logits(n.spec, IG_BF16, true, true, false, &folded), exact);
    EXPECT_EQ(folded, n.n_norms);
    EXPECT_LT(after, 0.05);
    EXPECT_LT(after, 2 * before + 0.01) << "unfolded " << before;
  }
}

TEST(Fold, NewStatisticsShowAfterARefresh) {
  int folded, none;
  Floats want = logits(networks[0].spec, IG_F32, false, false, true, &none);
  Floats got = logits(networks[0].spec, IG_F32, false, true, true, &folded);
  EXPECT_LT(worst(got, want), 2e-5);
  EXPECT_GT(worst(got, logits(networks[0].spec, IG_F32, false, true, false, &folded)), 1e-2);
}

// x and y of a convolution of 32 channels with its normalisation and ReLU, folded.
std::pair<ig_tensor *, ig_tensor *> folded_pair(Network &net, ig_dtype type, int64_t side) {
  const ig_conv2d_attr same = {1, 1, 1, 1, 1, 1, 1, 1, 1};
  const ig_batchnorm_attr bn = {1e-5f, 0.1f, true};
  ig_tensor *x = ig_graph_input(net.g, "x", type, IG_SHAPE4(1, side, side, 32));
  ig_tensor *w = ig_graph_param(net.g, "w", IG_SHAPE4(32, 32, 3, 3), IG_PARAM_TRAINABLE, {IG_INIT_ONE, 0});
  ig_tensor *y = ig_batchnorm(net.g, "bn", ig_conv2d(net.g, "conv", x, w, nullptr, &same), nullptr, nullptr, &bn);
  y = ig_scale(net.g, "shown", y, 1);
  ig_graph_output(net.g, y, "y");
  must(ig_params_layout(&net.params));
  disturb(net.params, net.buffers);
  must(ig_graph_fold_batchnorm(net.g, IG_DEVICE_CPU, nullptr));
  return {x, y};
}

// One copy of each weight is kept, however many steps led to it.
TEST(Fold, IntermediateWeightsAreNotKept) {
  for (ig_dtype type : {IG_F32, IG_BF16}) {
    Network net(type);
    auto [x, y] = folded_pair(net, type, 4);
    net.make_plan(x, y, Floats(4 * 4 * 32), false);
    ig_plan_bytes bytes;
    ig_plan_get_bytes(net.plan, &bytes);
    const size_t weights = 32 * 32 * 9 * ig_dtype_bytes(type), bias = 32 * sizeof(float);
    EXPECT_EQ(bytes.persistent, (weights + 255) / 256 * 256 + (bias + 255) / 256 * 256) << ig_dtype_name(type);
  }
}

TEST(Fold, LeavesWhatItMustNotTouch) {
  const ig_conv2d_attr one = {};
  const ig_batchnorm_attr bn = {1e-5f, 0.1f, false};
  struct Case {
    const char *name;
    int want;
  };
  for (const Case &c : {Case{"plain", 1}, Case{"read twice", 0}, Case{"not a convolution", 0}, Case{"result", 0},
                        Case{"batch statistics", 0}, Case{"on a GPU", 1}}) {
    SCOPED_TRACE(c.name);
    const std::string name = c.name;
    Network net(IG_F32);
    ig_graph *g = net.g;
    g->options.mode = name == "batch statistics" ? IG_MODE_TRAIN : IG_MODE_EVAL;
    ig_tensor *x = ig_graph_input(g, "x", IG_F32, IG_SHAPE4(1, 4, 4, 8));
    ig_tensor *w = ig_graph_param(g, "w", IG_SHAPE4(8, 8, 1, 1), IG_PARAM_TRAINABLE, {IG_INIT_ONE, 0});
    ig_tensor *conv = name == "not a convolution" ? ig_relu(g, "relu", x) : ig_conv2d(g, "conv", x, w, nullptr, &one);
    ig_tensor *y = ig_batchnorm(g, "bn", conv, nullptr, nullptr, &bn);
    if (name == "read twice")
      y = ig_add2(g, "sum", y, conv);
    else if (name != "result")
      y = ig_relu(g, "after", y);
    ig_graph_output(g, y, "y");
    must(ig_graph_status(g));
    const size_t before = g->n_nodes;
    int folded = -1;
    must(ig_graph_fold_batchnorm(g, name == "on a GPU" ? IG_DEVICE_CUDA : IG_DEVICE_CPU, &folded));
    EXPECT_EQ(folded, c.want);
    EXPECT_EQ(g->n_nodes, before);  // fold and convolution in place of convolution and normalisation
    for (size_t k = 0; k < g->n_nodes; k++)
      EXPECT_EQ(g->nodes[k]->id, (int)k);
  }
}

// What is no number stays none, as in bn_apply: a broken network must not look sound.
TEST(Fold, NanPassesOwnConvolutions) {
  Network net(IG_F32);
  auto [x, y] = folded_pair(net, IG_F32, 8);
  for (bool winograd : {false, true}) {
    ig_plan_destroy(net.plan);
    ig_device_destroy(net.device);
    Floats pictures(8 * 8 * 32, 1.0f);
    pictures[5] = NAN;
    net.make_plan(x, y, pictures, winograd);
    EXPECT_TRUE(std::isnan(net.run()[0])) << net.plan->steps[net.plan->n_steps - 2].impl->name;
  }
}

}  // namespace
