// floor: ig_models
// The graph: errors that stick and name the layer, differentiation, recomputation, dumps, the tuner's cache, failing
// allocations. Rule: small nets of real ops, checked by values or by walking the plan's inside (plan_internal.h), never
// by the text of a dump alone.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <jansson.h>
#include <omp.h>
#include <set>

#include "kernels/batchnorm/batchnorm.h"
#include "kernels/conv2d/conv2d.h"
#include "kernels/eltwise/eltwise.h"
#include "kernels/linear/linear.h"
#include "kernels/pool2d/pool2d.h"
#include "kernels/reduce/reduce.h"
#include "models/model.h"
#include "tests/graph_nets.h"
#include "tests/run_graph.h"

extern "C" {
#include "runtime/base/rng.h"
#include "runtime/graph/plan_internal.h"
}

namespace {

using namespace nets;

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
