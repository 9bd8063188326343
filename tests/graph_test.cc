// floor: ig_models
// The graph: errors that stick and name the layer, differentiation, recomputation, the plan's memory and layouts,
// static parts, dumps, the tuner's cache, failing allocations. Rule: small nets of real ops, checked by values or by
// walking the plan's inside (plan_internal.h), never by the text of a dump alone.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <jansson.h>
#include <map>
#include <omp.h>
#include <set>
#include <sstream>

#include "kernels/batchnorm/batchnorm.h"
#include "kernels/conv2d/conv2d.h"
#include "kernels/eltwise/eltwise.h"
#include "kernels/linear/linear.h"
#include "kernels/pool2d/pool2d.h"
#include "kernels/reduce/reduce.h"
#include "kernels/softmax_xent/softmax_xent.h"
#include "models/model.h"
#include "tests/run_graph.h"

extern "C" {
#include "runtime/base/rng.h"
#include "runtime/graph/plan_internal.h"
}

namespace {

using run_graph::Graph;
using run_graph::must;
using run_graph::ways;

std::vector<float> numbers(int64_t n, float from = -1, float step = 0.37f) {
  std::vector<float> v((size_t)n);
  for (int64_t i = 0; i < n; i++)
    v[(size_t)i] = from + std::fmod((float)i * step, 2.0f);
  return v;
}

ig_tensor *weight(ig_graph *g, const char *name, ig_shape shape) {
  return ig_graph_param(g, name, shape, IG_PARAM_TRAINABLE, ig_init{IG_INIT_CONSTANT, 0.5});
}

// A ResNet small enough for a second: one basic block a stage.
const ig_resnet_spec small_resnet = {{1, 1, 1, 1}, {8, 8, 16, 16}, 8, false, 1, 64, false};

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

// ---- building ----

TEST(Graph, FirstErrorSticksAndNamesTheLayer) {
  Graph net;
  ig_graph *g = net.g;
  ig_tensor *x = ig_graph_input(g, "x", IG_F32, IG_SHAPE4(2, 5, 5, 3));
  ig_graph_scope(g, "layer3.%d.", 1);
  ig_conv2d_attr attr = {};
  ig_tensor *w = weight(g, "conv1.weight", IG_SHAPE4(8, 4, 3, 3));
  EXPECT_EQ(ig_conv2d(g, "conv1", x, w, nullptr, &attr), nullptr);
  EXPECT_EQ(ig_graph_status(g), IG_ERR_MISMATCH);
  std::string first = ig_error_message();
  EXPECT_NE(first.find("layer3.1.conv1"), std::string::npos) << first;
  EXPECT_NE(first.find("[8, 4, 3, 3]"), std::string::npos) << first;
  EXPECT_NE(first.find("[8, 3, 3, 3]"), std::string::npos) << first;
  // Everything after it is quiet and changes nothing.
  size_t n_nodes = g->n_nodes, n_tensors = g->n_tensors;
  EXPECT_EQ(ig_relu(g, "relu", x), nullptr);
  EXPECT_EQ(ig_relu(g, "relu", nullptr), nullptr);
  EXPECT_EQ(weight(g, "other", IG_SHAPE1(3)), nullptr);
  EXPECT_EQ(ig_graph_fail(g, IG_ERR_IO, "later"), nullptr);
  ig_graph_output(g, x, "late");
  EXPECT_EQ(g->n_nodes, n_nodes);
  EXPECT_EQ(g->n_tensors, n_tensors);
  EXPECT_EQ(ig_graph_status(g), IG_ERR_MISMATCH);
  EXPECT_EQ(first, ig_error_message());
  EXPECT_EQ(ig_graph_differentiate(g, 0, nullptr, nullptr, 0, nullptr, nullptr), IG_ERR_MISMATCH);
  ig_plan_options o = {};
  o.size = sizeof o;
  ig_plan *p = nullptr;
  EXPECT_EQ(ig_plan_create(g, &o, &p), IG_ERR_MISMATCH);
  EXPECT_EQ(p, nullptr);
}

TEST(Graph, ModelErrorsNameTheLayer) {
  Graph net;
  ig_model_config config = {sizeof config, 5, false, 0, nullptr, IG_TEXT_SEQUENCE, false};
  const ig_model *m = nullptr;
  must(ig_model_find("resnet18", &m));
  EXPECT_EQ(m->build(m, net.g, &config, ig_graph_input(net.g, "x", IG_F32, IG_SHAPE3(2, 32, 3)), nullptr), nullptr);
  EXPECT_EQ(ig_graph_status(net.g), IG_ERR_MISMATCH);
  EXPECT_NE(std::string(ig_error_message()).find("conv1"), std::string::npos) << ig_error_message();
}

TEST(Graph, ParametersAgree) {
  Graph net;
  ig_tensor *a = weight(net.g, "w", IG_SHAPE2(3, 4));
  EXPECT_EQ(a, weight(net.g, "w", IG_SHAPE2(3, 4))) << "one tensor a parameter";
  EXPECT_EQ(weight(net.g, "w", IG_SHAPE2(4, 3)), nullptr);
  EXPECT_NE(std::string(ig_error_message()).find("parameter w: found shape [4, 3], expected [3, 4]"), std::string::npos)
      << ig_error_message();
  Graph late;
  ASSERT_NE(weight(late.g, "w", IG_SHAPE1(3)), nullptr);
  must(ig_params_layout(&late.params));
  EXPECT_EQ(weight(late.g, "v", IG_SHAPE1(3)), nullptr);
  EXPECT_NE(std::string(ig_error_message()).find("parameter v"), std::string::npos);
}

TEST(Graph, NamesAreUniqueAndKeysFollowThem) {
  Graph net;
  ig_graph *g = net.g;
  ig_tensor *x = ig_graph_input(g, "x", IG_F32, IG_SHAPE1(3));
  for (int i = 0; i < 3; i++)
    x = ig_relu(g, "relu", x);
  std::set<std::string> names;
  std::set<uint64_t> keys;
  for (size_t k = 0; k < g->n_nodes; k++) {
    EXPECT_TRUE(names.insert(g->nodes[k]->name).second);
    EXPECT_TRUE(keys.insert(g->nodes[k]->key).second);
  }
  EXPECT_EQ(ig_graph_node(g, "no_such_row", "n", 1, &x, nullptr), nullptr);
  EXPECT_NE(std::string(ig_error_message()).find("no_such_row"), std::string::npos);
}

TEST(Graph, OperandsAreCounted) {
  Graph net;
  ig_tensor *x = ig_graph_input(net.g, "x", IG_F32, IG_SHAPE1(3));
  EXPECT_EQ(ig_graph_node(net.g, "mul", "m", 1, &x, nullptr), nullptr);
  EXPECT_NE(std::string(ig_error_message()).find("m: mul takes 2 to 2 operands, found 1"), std::string::npos)
      << ig_error_message();
  Graph other;
  x = ig_graph_input(other.g, "x", IG_F32, IG_SHAPE1(3));
  ig_tensor *in[] = {x, nullptr};
  EXPECT_EQ(ig_graph_node(other.g, "mul", "m", 2, in, nullptr), nullptr);
  EXPECT_NE(std::string(ig_error_message()).find("operand 1 is missing"), std::string::npos);
}

// ---- differentiation ----

// total = seed_a sum(x*w + x) + seed_b sum(x*w*w'), w used three times, frozen f, unreached u.
TEST(Differentiate, SumsSeedsFrozenAndUnreached) {
  for (const run_graph::Way &way : ways) {
    Graph net;
    ig_graph *g = net.g;
    net.params.is_frozen = [](void *, const char *name) { return !strcmp(name, "f"); };
    const std::vector<float> xs = {1, -2, 3};
    ig_tensor *x = net.input("x", IG_F32, IG_SHAPE1(3), xs);
    ig_tensor *w = weight(g, "w", IG_SHAPE1(3)), *f = weight(g, "f", IG_SHAPE1(3)), *u = weight(g, "u", IG_SHAPE1(5));
    EXPECT_EQ(f->space, IG_SPACE_FROZEN);
    ig_tensor *xw = ig_mul(g, "xw", x, w), *xww = ig_mul(g, "xww", xw, w), *fx = ig_mul(g, "fx", f, x);
    ig_tensor *a = ig_sum(g, "a", ig_add2(g, "sum", xw, fx), 0), *b = ig_sum(g, "b", xww, 0);
    ig_relu(g, "unused", u);
    ig_tensor *sa = net.input<float>("seed_a", IG_F32, IG_SHAPE1(1), {2}),
              *sb = net.input<float>("seed_b", IG_F32, IG_SHAPE1(1), {-0.5f});
    ig_tensor *losses[] = {a, b}, *seeds[] = {sa, sb}, *inputs[] = {x}, *dinputs[] = {nullptr};
    must(ig_graph_status(g));
    size_t n_forward = g->n_nodes;
    must(ig_graph_differentiate(g, 2, losses, seeds, 1, inputs, dinputs));
    ASSERT_NE(dinputs[0], nullptr);
    net.output(dinputs[0], "dx");
    int into_grad = 0;
    for (size_t k = n_forward; k < g->n_nodes; k++) {
      EXPECT_EQ(g->nodes[k]->phase, IG_PHASE_BACKWARD);
      for (int i = 0; i < g->nodes[k]->n_out; i++) {
        const ig_tensor *t = g->nodes[k]->out[i];
        into_grad += t->space == IG_SPACE_GRAD;
        EXPECT_FALSE(t->param && !strcmp(t->param->name, "f")) << "a frozen parameter has a gradient";
      }
    }
    EXPECT_EQ(into_grad, 3);  // of u, of w, and the first addend of w, which waits in its place
    must(ig_params_layout(&net.params));
    const int64_t at_w = ig_params_find(&net.params, "w")->offset, at_u = ig_params_find(&net.params, "u")->offset;
    std::vector<float> &values = net.space(IG_SPACE_TRAINABLE);
    values.assign((size_t)net.params.count[IG_PARAM_TRAINABLE], NAN);
    const std::vector<float> ws = {0.5f, 4, -1}, fs = {7, 8, 9};
    std::copy(ws.begin(), ws.end(), values.begin() + at_w);
    std::fill(values.begin() + at_u, values.begin() + at_u + 5, 1.0f);
    net.space(IG_SPACE_FROZEN).assign((size_t)net.params.count[IG_PARAM_FROZEN], 0);
    std::copy(fs.begin(), fs.end(), net.space(IG_SPACE_FROZEN).begin());
    net.space(IG_SPACE_GRAD).assign(values.size(), NAN);
    net.plan(way);
    net.run();
    std::vector<float> dx = net.get<float>(dinputs[0]), &dw = net.space(IG_SPACE_GRAD);
    for (size_t i = 0; i < 3; i++) {
      EXPECT_FLOAT_EQ(dx[i], 2 * (ws[i] + fs[i]) - 0.5f * ws[i] * ws[i]) << way.name;
      EXPECT_FLOAT_EQ(dw[(size_t)at_w + i], 2 * xs[i] - 0.5f * 2 * xs[i] * ws[i]) << way.name;
    }
    for (size_t i = 0; i < 5; i++)
      EXPECT_EQ(dw[(size_t)at_u + i], 0) << way.name;
  }
}

// With all but the head frozen nothing behind the head is differentiated.
TEST(Differentiate, PrunesWhatNobodyNeeds) {
  size_t n_backward[2];
  for (int frozen = 0; frozen < 2; frozen++) {
    Graph net;
    if (frozen)
      net.params.is_frozen = [](void *, const char *name) { return strncmp(name, "fc.", 3) != 0; };
    const ig_model *m = nullptr;
    must(ig_model_find("resnet18", &m));
    ig_model_config config = {sizeof config, 5, false, 0, nullptr, IG_TEXT_SEQUENCE, false};
    ig_tensor *x = ig_graph_input(net.g, "x", IG_F32, IG_SHAPE4(2, 32, 32, 3));
    ig_tensor *logits = m->build(m, net.g, &config, x, nullptr);
    ig_tensor *loss = ig_sum(net.g, "loss", logits, 0);
    must(ig_graph_status(net.g));
    size_t n_forward = net.g->n_nodes;
    must(ig_graph_differentiate(net.g, 1, &loss, nullptr, 0, nullptr, nullptr));
    n_backward[frozen] = net.g->n_nodes - n_forward;
    for (size_t k = n_forward; frozen && k < net.g->n_nodes; k++)
      EXPECT_EQ(std::string(net.g->nodes[k]->name).find("layer"), std::string::npos) << net.g->nodes[k]->name;
  }
  EXPECT_GT(n_backward[0], 60u);
  EXPECT_LT(n_backward[1], 8u);
}

TEST(Differentiate, AskingForWhatHasNoGradientIsAnErrorThatNamesTheNode) {
  Graph net;
  ig_tensor *x = ig_graph_input(net.g, "x", IG_F32, IG_SHAPE1(3)), *dx = nullptr;
  ig_tensor *s = ig_sum_squares(net.g, "norm", x);
  EXPECT_NE(ig_graph_differentiate(net.g, 1, &s, nullptr, 1, &x, &dx), IG_OK);
  EXPECT_NE(std::string(ig_error_message()).find("norm"), std::string::npos) << ig_error_message();
  EXPECT_NE(ig_graph_status(net.g), IG_OK);
}

// ---- first values ----

// Chunks start in the middle of a tensor's draws: one, two and many threads give the same numbers, and none twice.
TEST(Parameters, FirstValuesDoNotDependOnThreads) {
  Graph net;
  ig_graph_param(net.g, "normal.weight", IG_SHAPE4(70, 67, 3, 3), IG_PARAM_TRAINABLE,
                 (ig_init){IG_INIT_KAIMING_FAN_OUT, 0});
  ig_graph_param(net.g, "uniform.weight", IG_SHAPE2(301, 211), IG_PARAM_TRAINABLE, (ig_init){IG_INIT_LINEAR, 0});
  must(ig_graph_status(net.g));
  must(ig_params_layout(&net.params));
  std::vector<float> values[3];
  const int threads[3] = {1, 2, 5};
  for (int t = 0; t < 3; t++) {
    values[t].assign((size_t)net.params.count[IG_PARAM_TRAINABLE] + 1, 0);
    float *buffers[IG_N_PARAM_KINDS] = {values[t].data(), nullptr, nullptr};
    const int saved = omp_get_max_threads();
    omp_set_num_threads(threads[t]);
    must(ig_params_initialize(&net.params, 11, buffers));
    omp_set_num_threads(saved);
    EXPECT_EQ(values[t], values[0]);
  }
  // Against one stream from the start.
  for (size_t i = 0; i < net.params.n; i++) {
    const ig_param *p = net.params.items[i];
    const bool normal = !strcmp(p->name, "normal.weight");
    const float scale = normal ? (float)sqrt(2.0 / (70 * 9)) : (float)(1 / sqrt(211.0));
    ig_rng rng = ig_rng_make(11, ig_hash_str(p->name), 0);
    for (int64_t k = 0; k < ig_shape_count(&p->shape); k++) {
      const float want = scale * (normal ? ig_rng_normal(&rng) : 2 * ig_rng_uniform(&rng) - 1);
      ASSERT_EQ(values[2][(size_t)(p->offset + k)], want) << p->name << " " << k;
    }
  }
}

// ---- recomputation ----

TEST(Recompute, GradientsHaveTheSameBitsAndTheArenaShrinks) {
  for (bool bottleneck : {false, true}) {
    ig_plan_bytes bytes[2];
    std::vector<float> gradient[2], state[2];
    float loss[2];
    for (int again = 0; again < 2; again++) {
      Resnet net(again, bottleneck);
      net.graph.plan(ways[0], 1);
      ig_plan_get_bytes(net.graph.planned(), &bytes[again]);
      net.graph.run();
      loss[again] = net.graph.scalar(net.loss.mean);
      gradient[again] = net.graph.space(IG_SPACE_GRAD);
      state[again] = net.graph.space(IG_SPACE_STATE);
    }
    EXPECT_TRUE(std::isfinite(loss[0]) && loss[0] > 0);
    EXPECT_EQ(loss[0], loss[1]);
    EXPECT_EQ(gradient[0], gradient[1]);
    EXPECT_EQ(state[0], state[1]) << "running statistics are updated once";
    double norm = 0;
    for (float v : gradient[0])
      norm += (double)v * v;
    EXPECT_GT(norm, 1e-6);
    EXPECT_LT(bytes[1].arena, bytes[0].arena);
    printf("bottleneck %d: arena %zu bytes, recomputed %zu\n", bottleneck, bytes[0].arena, bytes[1].arena);
  }
}

// What is enough decides how much is made again: the peak falls by about that share, and by no more than it must.
TEST(Recompute, StopsWhereEnoughIsSaved) {
  ig_plan_bytes none, all;
  std::vector<float> gradient;
  auto arena = [&gradient](Resnet &net, ig_plan_bytes *bytes) {
    net.graph.plan(ways[0], 1);
    ig_plan_get_bytes(net.graph.planned(), bytes);
    net.graph.run();
    if (gradient.empty())
      gradient = net.graph.space(IG_SPACE_GRAD);
    EXPECT_EQ(gradient, net.graph.space(IG_SPACE_GRAD));
    return net.n_cloned;
  };
  Resnet kept(false, true), again(true, true);
  EXPECT_EQ(arena(kept, &none), 0);
  const int most = arena(again, &all);
  int before = 0;
  for (double enough : {0.02, 0.06, 0.1}) {
    ig_plan_bytes some;
    Resnet net(true, true, 33, 4, enough);
    const int cloned = arena(net, &some);
    EXPECT_GT(cloned, before);
    EXPECT_LT(cloned, most);
    const double saved = 1 - (double)some.activations_peak / (double)none.activations_peak;
    EXPECT_GT(saved, 0.8 * enough) << enough;
    EXPECT_LT(saved, enough + 0.07) << enough;  // the largest activation is a fifteenth
    before = cloned;
  }
  Resnet whole(true, true, 33, 4, 0.99);  // more than there is: all that relieves the peak
  ig_plan_bytes bytes;
  arena(whole, &bytes);
  EXPECT_LE((double)bytes.activations_peak, 1.02 * (double)all.activations_peak);
}

// ---- memory ----

struct Range {
  size_t from, to;
  int first, last, root;
};

int root_of(const ig_plan *p, int v) {
  while (p->values[v].alias >= 0)
    v = p->values[v].alias;
  return v;
}

// Lives are worked out here anew: from the step that makes a value to the last that reads it.
std::vector<Range> ranges_of(const ig_plan *p) {
  std::vector<Range> lives;
  for (size_t i = 0; i < p->n_values; i++) {
    const value &v = p->values[i];
    if (v.space != IG_SPACE_ARENA || v.is_static)
      continue;
    Range r = {v.offset, v.offset + v.bytes, -1, -1, root_of(p, (int)i)};
    for (size_t k = 0; k < p->n_steps; k++) {
      const step &s = p->steps[k];
      for (int j = 0; j < s.node->n_out; j++)
        if (s.out[j] == (int)i)
          r.first = r.last = (int)k;
      for (int j = 0; j < s.node->n_in; j++)
        if (s.in[j] == (int)i)
          r.last = (int)k;
    }
    EXPECT_GE(r.first, 0) << v.tensor->name << " is made by no step";
    lives.push_back(r);
  }
  for (size_t k = 0; k < p->n_steps; k++)
    if (p->steps[k].workspace_bytes)
      lives.push_back({p->steps[k].workspace_offset, p->steps[k].workspace_offset + p->steps[k].workspace_bytes, (int)k,
                       (int)k, -1 - (int)k});
  return lives;
}

void expect_sound_memory(const ig_plan *p, const char *what) {
  std::vector<Range> lives = ranges_of(p);
  size_t sum = 0, fullest = 0;
  for (size_t i = 0; i < lives.size(); i++) {
    const Range &a = lives[i];
    EXPECT_LE(a.to, p->bytes.arena) << what;
    EXPECT_EQ(a.from % 256, 0u);
    sum += (a.to - a.from + 255) / 256 * 256;
    for (size_t j = 0; j < i; j++) {
      const Range &b = lives[j];
      bool in_place = a.root == b.root && (a.first == b.last || b.first == a.last);
      if (a.from < b.to && b.from < a.to && a.first <= b.last && b.first <= a.last) {
        EXPECT_TRUE(in_place) << what << ": lives " << a.first << "-" << a.last << " and " << b.first << "-" << b.last
                              << " share memory";
      }
    }
  }
  std::set<int> roots;
  for (size_t k = 0; k < p->n_steps; k++) {
    size_t now = 0;
    roots.clear();
    for (const Range &r : lives)
      if (r.first <= (int)k && (int)k <= r.last && roots.insert(r.root).second)
        now += (r.to - r.from + 255) / 256 * 256;
    fullest = std::max(fullest, now);
  }
  EXPECT_GE(p->bytes.arena, fullest) << what;
  EXPECT_LE((double)p->bytes.arena, 1.25 * (double)fullest) << what << ": the arena is mostly holes";
  EXPECT_LT(p->bytes.arena, sum) << what << ": no memory is used twice";
  EXPECT_EQ(p->bytes.activations_peak + p->bytes.workspace_peak, fullest) << what;
}

// Every in-place result obeys its row: the operand is allowed, dies there, and is read by no other operand.
int check_in_place(const ig_plan *p) {
  int n = 0;
  for (size_t k = 0; k < p->n_steps; k++) {
    const step &s = p->steps[k];
    for (int i = 0; i < s.node->n_out; i++) {
      const value &out = p->values[s.out[i]];
      if (out.alias < 0)
        continue;
      n++;
      int j = s.node->op->in_place[i] - 1;
      EXPECT_TRUE(j >= 0 && j < s.node->n_in && s.in[j] >= 0) << s.node->name;
      if (j < 0 || s.in[j] < 0)
        continue;
      const value &in = p->values[s.in[j]];
      EXPECT_EQ(root_of(p, s.in[j]), root_of(p, s.out[i])) << s.node->name;
      EXPECT_EQ(in.bytes, out.bytes) << s.node->name;
      EXPECT_TRUE(ig_layout_equal(in.layout, out.layout)) << s.node->name;
      EXPECT_EQ(in.space, IG_SPACE_ARENA) << s.node->name;
      EXPECT_FALSE(in.is_static) << s.node->name;
      for (size_t later = k + 1; later < p->n_steps; later++)
        for (int m = 0; m < p->steps[later].node->n_in; m++)
          EXPECT_NE(p->steps[later].in[m], s.in[j]) << s.node->name << " overwrote what a later step reads";
    }
  }
  return n;
}

TEST(Memory, LiveValuesNeverOverlap) {
  for (const run_graph::Way &way : ways)
    for (bool recompute : {false, true}) {
      Resnet net(recompute);
      net.graph.plan(way, 2);
      expect_sound_memory(net.graph.planned(), way.name);
      EXPECT_GT(check_in_place(net.graph.planned()), 0);
    }
}

TEST(Memory, InPlaceOnlyWhereTheOperandDies) {
  for (bool read_later : {false, true}) {
    Graph net;
    ig_graph *g = net.g;
    ig_tensor *x = net.input("x", IG_F32, IG_SHAPE1(100), numbers(100));
    ig_tensor *a = ig_scale(g, "a", x, 2), *b = ig_relu(g, "b", a), *c = ig_scale(g, "c", read_later ? a : b, 3);
    ig_tensor *y = ig_add2(g, "y", b, c);
    net.output(y, "out");
    net.plan(ways[2]);
    const ig_plan *p = net.planned();
    const value &va = p->values[p->plain_value[a->id]], &vb = p->values[p->plain_value[b->id]],
                &vc = p->values[p->plain_value[c->id]];
    EXPECT_EQ(va.offset == vb.offset, !read_later);
    EXPECT_NE(vb.offset, vc.offset) << "b is read by y together with c";
    EXPECT_LT(va.alias, 0) << "x is the caller's";
    net.run();
    std::vector<float> xs = net.get<float>(x), ys = net.get<float>(y);
    EXPECT_EQ(xs, numbers(100)) << "inputs stay as they are";
    for (size_t i = 0; i < 100; i++) {
      float r = std::max(0.0f, 2 * xs[i]);
      EXPECT_EQ(ys[i], r + 3 * (read_later ? 2 * xs[i] : r));
    }
  }
}

// x + x: the operand is read twice by the node that would overwrite it.
TEST(Memory, AnOperandReadTwiceIsNotOverwritten) {
  Graph net;
  ig_tensor *x = net.input("x", IG_F32, IG_SHAPE1(64), numbers(64));
  ig_tensor *a = ig_scale(net.g, "a", x, 1), *y = ig_mul(net.g, "y", a, a), *z = ig_scale(net.g, "z", y, 1);
  net.output(z, "out");
  net.plan(ways[0]);
  const ig_plan *p = net.planned();
  EXPECT_LT(p->values[p->plain_value[y->id]].alias, 0);
  net.run();
  for (size_t i = 0; i < 64; i++)
    EXPECT_EQ(net.get<float>(z)[i], numbers(64)[i] * numbers(64)[i]);
}

// ---- layouts ----

TEST(Layouts, SpacesOutsideOfTheArenaStayPlain) {
  Graph net;
  ig_graph *g = net.g;
  ig_conv2d_attr attr = {};
  attr.pad_top = attr.pad_left = attr.pad_bottom = attr.pad_right = 1;
  ig_tensor *x = net.input("x", IG_F32, IG_SHAPE4(2, 8, 8, 16), numbers(2 * 8 * 8 * 16));
  ig_tensor *w = weight(g, "w", IG_SHAPE4(16, 16, 3, 3));
  ig_tensor *y = ig_conv2d(g, "conv", x, w, nullptr, &attr);
  ig_tensor *loss = ig_sum(g, "loss", ig_relu(g, "relu", y), 0);
  must(ig_graph_status(g));
  must(ig_graph_differentiate(g, 1, &loss, nullptr, 0, nullptr, nullptr));
  ig_tensor *out = ig_conv2d(g, "conv_out", x, w, nullptr, &attr);
  net.output(out, "y");
  net.output(loss, "total");
  must(ig_params_layout(&net.params));
  net.space(IG_SPACE_TRAINABLE) = numbers(net.params.count[IG_PARAM_TRAINABLE]);
  net.space(IG_SPACE_GRAD).assign(net.space(IG_SPACE_TRAINABLE).size(), NAN);
  net.plan(ways[0]);
  const ig_plan *p = net.planned();
  int reorders = 0, blocked = 0;
  for (size_t i = 0; i < p->n_values; i++) {
    const value &v = p->values[i];
    if (v.space != IG_SPACE_ARENA) {
      EXPECT_EQ(v.layout.kind, IG_LAYOUT_PLAIN) << v.tensor->name;
    }
    blocked += v.layout.kind != IG_LAYOUT_PLAIN;
  }
  for (size_t k = 0; k < p->n_steps; k++) {
    const step &s = p->steps[k];
    bool own = s.node->id < 0;
    reorders += own;
    EXPECT_EQ(own, strstr(s.node->name, "/layout") != nullptr) << s.node->name;
    for (int i = 0; i < s.node->n_in; i++)
      if (s.in[i] >= 0) {
        EXPECT_TRUE(ig_layout_equal(s.in_layout[i], p->values[s.in[i]].layout)) << s.node->name;
      }
    for (int i = 0; i < s.node->n_out; i++)
      EXPECT_TRUE(ig_layout_equal(s.out_layout[i], p->values[s.out[i]].layout)) << s.node->name;
  }
  EXPECT_GT(blocked, 0) << "oneDNN's convolution prefers its own layouts: this test needs one";
  EXPECT_GT(reorders, 0);
  net.run();
  // The same by references, which never leave the plain layout.
  std::vector<float> got = net.get<float>(out), gradient = net.space(IG_SPACE_GRAD);
  ig_plan *reference = nullptr;
  ig_plan_options o = p->options;
  o.force = "*=ref";
  must(ig_plan_create(g, &o, &reference));
  EXPECT_EQ(ig_plan_reference_nodes(reference, nullptr), ig_plan_n_rows(reference));
  std::vector<float> arena(reference->bytes.arena / 4 + 256), want(got.size()), total(1);
  std::vector<float> want_gradient(gradient.size(), NAN);
  must(ig_plan_bind(reference, IG_SPACE_ARENA, arena.data()));
  must(ig_plan_bind(reference, IG_SPACE_TRAINABLE, net.space(IG_SPACE_TRAINABLE).data()));
  must(ig_plan_bind(reference, IG_SPACE_GRAD, want_gradient.data()));
  std::vector<float> xs = net.get<float>(x);
  must(ig_plan_set_io(reference, x, xs.data()));
  must(ig_plan_set_io(reference, out, want.data()));
  must(ig_plan_set_io(reference, loss, total.data()));
  must(ig_plan_run(reference, nullptr));
  for (size_t i = 0; i < got.size(); i++)
    ASSERT_NEAR(got[i], want[i], 2e-4);
  for (size_t i = 0; i < 16 * 16 * 9; i++)
    ASSERT_NEAR(gradient[i], want_gradient[i], 2e-3);
  ig_plan_destroy(reference);
}

TEST(Layouts, RefusalsNameNodeAndReasons) {
  Graph net;
  ig_tensor *x = net.input("x", IG_F32, IG_SHAPE1(3), numbers(3));
  ig_relu(net.g, "layer1.relu", x);
  try {
    net.plan({"wrong", IG_ISA_AMX, "relu=cudnn"});
    FAIL() << "a plan without an implementation";
  } catch (const std::exception &e) {
    std::string text = e.what();
    for (const char *part : {"layer1.relu", "relu_cpu", "relu_ref", "cudnn is forced"})
      EXPECT_NE(text.find(part), std::string::npos) << text;
  }
}

// A word alone is for every row; `library` is whichever library takes the node, else what there is; auto forces
// nothing.
TEST(Layouts, WordsThatForceEveryRow) {
  const struct {
    const char *force, *conv, *relu;
  } ways[] = {{"library", "conv2d_dnnl", "relu_cpu"},
              {"ref", "conv2d_ref", "relu_ref"},
              {"auto,conv2d=ref", "conv2d_ref", "relu_cpu"},
              {"relu=ref,conv2d=library", "conv2d_dnnl", "relu_ref"}};
  for (auto &way : ways) {
    Graph net;
    ig_tensor *x = net.input("x", IG_F32, IG_SHAPE4(2, 8, 8, 16), numbers(2 * 8 * 8 * 16));
    ig_conv2d_attr a = {1, 1, 1, 1, 1, 1, 1, 1, 1};
    net.output(
        ig_relu(net.g, "relu", ig_conv2d(net.g, "conv", x, weight(net.g, "w", IG_SHAPE4(16, 16, 3, 3)), NULL, &a)),
        "out");
    must(ig_params_layout(&net.params));
    net.plan({"forced", IG_ISA_AMX, way.force});
    const ig_plan *p = net.planned();
    std::map<std::string, std::string> chosen;
    for (int i = 0; i < ig_plan_n_rows(p); i++)
      chosen[ig_plan_get_row(p, i).node->name] = ig_plan_get_row(p, i).impl;
    EXPECT_EQ(chosen["conv"], way.conv) << way.force;
    EXPECT_EQ(chosen["relu"], way.relu) << way.force;
  }
}

// ---- stable spaces ----

// y = relu(w) + x: what depends on weights alone runs at refresh, and only then.
TEST(Static, PartsRunAtRefreshAndAreKept) {
  Graph net;
  ig_graph *g = net.g;
  ig_tensor *x = net.input("x", IG_F32, IG_SHAPE1(4), numbers(4));
  ig_tensor *w = weight(g, "w", IG_SHAPE1(4));
  ig_tensor *y = ig_add2(g, "y", ig_scale(g, "double", ig_relu(g, "copy", w), 2), x);
  net.output(y, "out");
  must(ig_params_layout(&net.params));
  net.plan(ways[0]);
  ig_plan_bytes bytes;
  ig_plan_get_bytes(net.planned(), &bytes);
  EXPECT_EQ(bytes.persistent, 0u) << "nothing is stable unless the caller says so";
  ig_plan_options o = net.planned()->options;
  o.stable_spaces = 1u << IG_SPACE_TRAINABLE;
  ig_plan *p = nullptr;
  must(ig_plan_create(g, &o, &p));
  ig_plan_get_bytes(p, &bytes);
  EXPECT_EQ(bytes.persistent, 256u) << "the last of the two alone is read by runs";
  int n_static = 0;
  for (size_t k = 0; k < p->n_steps; k++)
    n_static += p->steps[k].is_static;
  EXPECT_EQ(n_static, 2);
  std::vector<float> ws((size_t)net.params.count[IG_PARAM_TRAINABLE], 1), xs = numbers(4), ys(4), arena(1024);
  EXPECT_NE(ig_plan_run(p, nullptr), IG_OK) << "unbound";
  EXPECT_NE(std::string(ig_error_message()).find("no memory"), std::string::npos) << ig_error_message();
  must(ig_plan_bind(p, IG_SPACE_ARENA, arena.data()));
  must(ig_plan_bind(p, IG_SPACE_TRAINABLE, ws.data()));
  must(ig_plan_set_io(p, x, xs.data()));
  must(ig_plan_set_io(p, y, ys.data()));
  ASSERT_EQ(ig_plan_profile(p, true), IG_OK);
  must(ig_plan_run(p, nullptr));  // the first run refreshes
  EXPECT_EQ(ys[1], 2 + xs[1]);
  std::fill(ws.begin(), ws.end(), 5.0f);
  std::fill(arena.begin(), arena.end(), NAN);
  must(ig_plan_run(p, nullptr));
  EXPECT_EQ(ys[1], 2 + xs[1]) << "kept outside of the arena until told otherwise";
  must(ig_plan_refresh(p, nullptr));
  must(ig_plan_run(p, nullptr));
  EXPECT_EQ(ys[1], 10 + xs[1]);
  for (int i = 0; i < ig_plan_n_rows(p); i++)
    EXPECT_EQ(ig_plan_get_row(p, i).runs, p->steps[i].is_static ? 2u : 3u);
  ig_plan_destroy(p);
}

// Evaluation keeps reordered weights: with stable weights no reorder of a weight is left in the run.
TEST(Static, WeightReordersLeaveTheRun) {
  Graph net(IG_F32, IG_MODE_EVAL);
  ig_tensor *x = net.input("x", IG_F32, IG_SHAPE4(2, 33, 33, 3), numbers(2 * 33 * 33 * 3));
  ig_model_config config = {sizeof config, 5, false, 0, nullptr, IG_TEXT_SEQUENCE, false};
  ig_tensor *logits = ig_resnet_build(net.g, &small_resnet, &config, x, nullptr);
  net.output(logits, "logits");
  must(ig_params_layout(&net.params));
  net.plan(ways[0]);
  ig_plan_options o = net.planned()->options;
  o.stable_spaces = 1u << IG_SPACE_TRAINABLE | 1u << IG_SPACE_FROZEN | 1u << IG_SPACE_STATE;
  ig_plan *p = nullptr;
  must(ig_plan_create(net.g, &o, &p));
  for (size_t k = 0; k < p->n_steps; k++)
    if (!strcmp(p->steps[k].node->op->name, "reorder") && p->steps[k].node->in[0]->param) {
      EXPECT_TRUE(p->steps[k].is_static) << p->steps[k].node->name;
    }
  expect_sound_memory(p, "evaluation");
  ig_plan_destroy(p);
}

// ---- dumps ----

std::string dumped(const ig_graph *g, const ig_plan *p, ig_dump_format format) {
  char *text = nullptr;
  size_t n = 0;
  FILE *out = open_memstream(&text, &n);
  EXPECT_EQ(p ? ig_plan_dump(p, format, out) : ig_graph_dump(g, format, out), IG_OK);
  fclose(out);
  std::string s(text, n);
  free(text);
  return s;
}

TEST(Dump, FormatsParse) {
  Resnet net(true);
  net.graph.plan(ways[0]);
  const ig_graph *g = net.graph.g;
  const ig_plan *p = net.graph.planned();
  json_error_t error;
  json_t *root = json_loads(dumped(g, nullptr, IG_DUMP_JSON).c_str(), JSON_REJECT_DUPLICATES, &error);
  ASSERT_NE(root, nullptr) << error.text << " in line " << error.line;
  json_t *nodes = json_object_get(root, "nodes");
  ASSERT_EQ(json_array_size(nodes), g->n_nodes);
  std::set<std::string> phases;
  for (size_t k = 0; k < g->n_nodes; k++) {
    json_t *n = json_array_get(nodes, k);
    EXPECT_STREQ(json_string_value(json_object_get(n, "name")), g->nodes[k]->name);
    EXPECT_EQ(json_array_size(json_object_get(n, "in")), (size_t)g->nodes[k]->n_in);
    phases.insert(json_string_value(json_object_get(n, "phase")));
  }
  EXPECT_EQ(phases, (std::set<std::string>{"forward", "backward", "recompute"}));
  json_decref(root);
  root = json_loads(dumped(g, p, IG_DUMP_JSON).c_str(), JSON_REJECT_DUPLICATES, &error);
  ASSERT_NE(root, nullptr) << error.text << " in line " << error.line;
  EXPECT_EQ((size_t)json_integer_value(json_object_get(root, "arena")), p->bytes.arena);
  EXPECT_EQ(json_array_size(json_object_get(root, "steps")), (size_t)ig_plan_n_rows(p));
  json_decref(root);
  std::string dot = dumped(g, nullptr, IG_DUMP_DOT), text = dumped(g, p, IG_DUMP_TEXT);
  EXPECT_EQ(dot.find("digraph ingot {"), 0u);
  EXPECT_EQ(std::count(dot.begin(), dot.end(), '{'), std::count(dot.begin(), dot.end(), '}'));
  EXPECT_EQ((int)std::count(text.begin(), text.end(), '\n'), 1 + ig_plan_n_rows(p));
  text = dumped(g, nullptr, IG_DUMP_TEXT);
  EXPECT_EQ((size_t)std::count(text.begin(), text.end(), '\n'), g->n_nodes);
}

// ---- tuner ----

struct Folder {
  std::string path;
  Folder() {
    char name[] = "/tmp/graph_test_XXXXXX";
    path = mkdtemp(name);
  }
  ~Folder() { std::filesystem::remove_all(path); }
};

std::string exported(ig_tuner *t) {
  char *json = nullptr;
  must(ig_tuner_export(t, &json));
  std::string s = json;
  ig_free(json);
  return s;
}

void plan_with(ig_tuner *tuner, bool deterministic, std::vector<std::string> *impls) {
  Resnet net(false);
  net.graph.plan(ways[0], 1);
  ig_plan_options o = net.graph.planned()->options;
  o.tuner = tuner;
  o.deterministic = deterministic;
  ig_plan *p = nullptr;
  must(ig_plan_create(net.graph.g, &o, &p));
  impls->clear();
  for (int i = 0; i < ig_plan_n_rows(p); i++)
    if (p->steps[i].node->id >= 0)
      impls->push_back(ig_plan_get_row(p, i).impl);
  ig_plan_destroy(p);
}

TEST(Tuner, ChoicesSurviveARoundTrip) {
  Folder folder;
  std::string path = folder.path + "/deep/er/tune.json";
  ig_tuner *t = nullptr;
  std::vector<std::string> first, second;
  must(ig_tuner_create(path.c_str(), &t));
  EXPECT_EQ(exported(t), "{}");
  plan_with(t, false, &first);
  std::string choices = exported(t);
  EXPECT_GT(choices.size(), 100u);
  must(ig_tuner_save(t));
  ig_tuner_destroy(t);
  must(ig_tuner_create(path.c_str(), &t));
  EXPECT_EQ(exported(t), choices);
  plan_with(t, true, &second);  // deterministic: nothing is timed, stored choices hold
  EXPECT_EQ(first, second);
  EXPECT_EQ(exported(t), choices);
  ig_tuner_destroy(t);
  // Through a checkpoint.
  must(ig_tuner_create(nullptr, &t));
  must(ig_tuner_import(t, choices.c_str()));
  plan_with(t, true, &second);
  EXPECT_EQ(first, second);
  EXPECT_EQ(ig_tuner_import(t, "[1]"), IG_ERR_FORMAT);
  EXPECT_EQ(ig_tuner_import(t, "{"), IG_ERR_FORMAT);
  EXPECT_EQ(exported(t), choices);
  // A choice that this build lacks is no choice.
  json_t *all = json_loads(choices.c_str(), 0, nullptr);
  const char *key;
  json_t *value;
  json_object_foreach(all, key, value) json_object_set_new(all, key, json_string("conv2d_from_the_future"));
  char *foreign = json_dumps(all, 0);
  must(ig_tuner_import(t, foreign));
  free(foreign);
  json_decref(all);
  plan_with(t, true, &second);
  EXPECT_EQ(first.size(), second.size());
  ig_tuner_destroy(t);
}

TEST(Tuner, BrokenCachesAreIgnoredAndRewritten) {
  Folder folder;
  std::string path = folder.path + "/tune.json";
  for (const std::string &content :
       {std::string(""), std::string("{\"a\": "), std::string("[1, 2]"), std::string("\0\xff\x80", 3),
        std::string("{\"a\": 1, \"b\": null, \"c\": [\"x\"]}"), std::string("{\"a\": \"x\", \"a\": \"y\"}")}) {
    std::ofstream(path) << content;
    ig_tuner *t = nullptr;
    ASSERT_EQ(ig_tuner_create(path.c_str(), &t), IG_OK) << content;
    std::vector<std::string> impls;
    plan_with(t, false, &impls);
    EXPECT_GT(impls.size(), 20u);
    must(ig_tuner_save(t));
    std::string now = exported(t);
    ig_tuner_destroy(t);
    must(ig_tuner_create(path.c_str(), &t));
    EXPECT_EQ(exported(t), now);
    ig_tuner_destroy(t);
  }
  ig_tuner *t = nullptr;
  std::filesystem::remove(path);
  std::filesystem::create_directory(path);
  ASSERT_EQ(ig_tuner_create(path.c_str(), &t), IG_OK) << "a folder in its place";
  ig_tuner_destroy(t);
}

// ---- allocation failures ----

// Builds, differentiates, recomputes, plans and runs a small net; everything is freed whatever happens.
ig_status life_of_a_net(std::string *message) {
  ig_params params;
  ig_params_init(&params);
  ig_graph *g = nullptr;
  ig_device *device = nullptr;
  ig_tuner *tuner = nullptr;
  ig_plan *p = nullptr;
  ig_status status = IG_OK;
  ig_graph_options o = {};
  ig_cpu_options c = {};
  ig_plan_options po = {};
  ig_plan_bytes bytes;
  int n_cloned;
  ig_tensor *x, *y, *loss;
  std::vector<float> buffers[3], xs = numbers(2 * 6 * 6 * 8);
  void *arena = nullptr;
  ig_conv2d_attr attr = {};
  ig_batchnorm_attr bn = {1e-5f, 0.1f, true};
  o.size = sizeof o;
  o.ops = ig_op_lists;
  o.params = &params;
  c.size = sizeof c;
  c.isa = IG_ISA_AMX;
  c.threads = 1;
  c.impl_lists = ig_cpu_impl_lists;
  po.size = sizeof po;
  IG_GOTO(ig_graph_create(&o, &g));
  x = ig_graph_input(g, "x", IG_F32, IG_SHAPE4(2, 6, 6, 8));
  y = ig_conv2d(g, "conv", x, weight(g, "conv.weight", IG_SHAPE4(8, 8, 3, 3)), nullptr, &attr);
  y = ig_batchnorm(g, "bn", y, nullptr, nullptr, &bn);
  y = ig_global_avgpool(g, "pool", y);
  y = ig_linear(g, "fc", y, weight(g, "fc.weight", IG_SHAPE2(3, 8)), weight(g, "fc.bias", IG_SHAPE1(3)));
  loss = ig_sum(g, "loss", y, 0);
  IG_GOTO(ig_graph_status(g));
  IG_GOTO(ig_graph_differentiate(g, 1, &loss, nullptr, 0, nullptr, nullptr));
  IG_GOTO(ig_graph_recompute(g, 0, 1, 0, &n_cloned));
  IG_GOTO(ig_params_layout(&params));
  IG_GOTO(ig_device_create_cpu(&c, &device));
  IG_GOTO(ig_tuner_create(nullptr, &tuner));
  po.device = device;
  po.tuner = tuner;
  IG_GOTO(ig_plan_create(g, &po, &p));
  ig_plan_get_bytes(p, &bytes);
  for (auto &b : buffers)
    b.assign((size_t)params.count[IG_PARAM_TRAINABLE] + 4096, 0.5f);
  if (posix_memalign(&arena, 256, bytes.arena + 256))
    abort();
  memset(arena, 0xff, bytes.arena);
  IG_GOTO(ig_plan_bind(p, IG_SPACE_ARENA, arena));
  IG_GOTO(ig_plan_bind(p, IG_SPACE_TRAINABLE, buffers[0].data()));
  IG_GOTO(ig_plan_bind(p, IG_SPACE_STATE, buffers[1].data()));
  IG_GOTO(ig_plan_bind(p, IG_SPACE_GRAD, buffers[2].data()));
  IG_GOTO(ig_plan_set_io(p, x, xs.data()));
  IG_GOTO(ig_plan_run(p, nullptr));
done:
  *message = status == IG_OK ? "" : ig_error_message();
  ig_mem_fail_after(0, 0);
  ig_plan_destroy(p);
  ig_tuner_destroy(tuner);
  ig_device_destroy(device);
  ig_graph_destroy(g);
  ig_params_fini(&params);
  free(arena);
  return status;
}

TEST(Allocation, EachFailureIsAClearErrorAndLeaksNothing) {
  std::string message;
  ASSERT_EQ(life_of_a_net(&message), IG_OK) << message;  // warms caches of libraries
  int64_t live = ig_mem_live();
  ASSERT_EQ(life_of_a_net(&message), IG_OK);
  ASSERT_EQ(ig_mem_live(), live);
  int n = 1;
  for (;; n++) {
    ig_mem_fail_after(n, 0);
    ig_status status = life_of_a_net(&message);
    ASSERT_EQ(ig_mem_live(), live) << "allocation " << n << " failed, and something stayed: " << message;
    if (status == IG_OK)
      break;
    ASSERT_EQ(status, IG_ERR_MEMORY) << "allocation " << n << ": " << message;
    ASSERT_NE(message.find("memory"), std::string::npos) << "allocation " << n << ": " << message;
    ASSERT_LT(n, 5000);
  }
  EXPECT_GT(n, 30);
  printf("%d allocations failed in turn\n", n - 1);
}

}  // namespace
