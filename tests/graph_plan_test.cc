// floor: ig_models
// A plan's memory, layouts and parts that keep their results. Rule: small nets of real ops, checked by values or by
// walking the plan's inside (plan_internal.h).
#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <map>
#include <set>

#include "kernels/conv2d/conv2d.h"
#include "kernels/eltwise/eltwise.h"
#include "kernels/reduce/reduce.h"
#include "models/model.h"
#include "tests/graph_nets.h"
#include "tests/run_graph.h"

extern "C" {
#include "runtime/graph/plan_internal.h"
}

namespace {

using namespace nets;

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

// ---- candidates that leave when they are prepared ----

// Three implementations of conv2d, best first, that say what a test asks of them.
const char *const three[] = {"conv2d_gemm_cpu", "conv2d_dnnl", "conv2d_ref"};
ig_status says[3];
int asked[3], states;

template <int which>
ig_status prepare_one(ig_prepare *p) {
  asked[which]++;
  EXPECT_EQ(p->in_layout[1].kind, IG_LAYOUT_PLAIN) << three[which] << " sees what another one asked for";
  p->in_layout[1] = IG_KRSC;
  if (says[which] != IG_OK)
    return ig_fail(says[which], "reason %d", which);
  p->in_layout[1] = IG_PLAIN;
  states++;
  p->state = &states;
  return IG_OK;
}

ig_impl one_of_three(int which, uint32_t flags, ig_status (*prepare)(ig_prepare *)) {
  ig_impl impl = {};
  impl.name = three[which], impl.flags = flags, impl.prepare = prepare;
  impl.run = [](const ig_launch *) { return IG_OK; };
  impl.destroy = [](void *) { states--; };
  return impl;
}

class Leaving : public testing::Test {
 protected:
  Leaving() {
    ig_cpu_options o = {};
    o.size = sizeof o, o.isa = IG_ISA_AMX, o.threads = 1, o.impl_lists = lists_;
    must(ig_device_create_cpu(&o, &device_));
    must(ig_tuner_create(nullptr, &tuner_));
    x_ = net_.input("x", IG_F32, IG_SHAPE4(1, 4, 4, 2), numbers(32));
    w_ = net_.input("w", IG_F32, IG_SHAPE4(3, 2, 1, 1), numbers(6));
    const ig_conv2d_attr a = {1, 1, 0, 0, 0, 0, 1, 1, 1};
    net_.output(ig_conv2d(net_.g, "conv", x_, w_, NULL, &a), "y");
    must(ig_graph_status(net_.g));
  }
  ~Leaving() override {
    ig_tuner_destroy(tuner_);
    ig_device_destroy(device_);
  }
  // The implementation of a plan, or the message of why there is none.
  std::string plan(std::vector<ig_status> what, const char *force, bool tuned, ig_status status = IG_OK) {
    std::copy(what.begin(), what.end(), says);
    std::fill(asked, asked + 3, 0);
    states = 0;
    ig_plan_options o = {};
    o.size = sizeof o, o.device = device_, o.force = force, o.tuner = tuned ? tuner_ : nullptr;
    ig_plan *p = nullptr;
    EXPECT_EQ(ig_plan_create(net_.g, &o, &p), status);
    EXPECT_EQ(states, p ? 1 : 0);
    const std::string answer = p ? ig_plan_get_row(p, 0).impl : ig_error_message();
    ig_plan_destroy(p);
    EXPECT_EQ(states, 0);
    return answer;
  }
  std::string stored() const {
    char *json = nullptr;
    must(ig_tuner_export(tuner_, &json));
    std::string text = json;
    ig_free(json);
    return text;
  }
  void store(const std::string &impl) {
    std::string text = stored();
    for (const char *name : three)
      if (const size_t at = text.find(name); at != std::string::npos)
        text.replace(at, strlen(name), impl);
    must(ig_tuner_import(tuner_, text.c_str()));
  }
  const ig_impl impls_[4] = {one_of_three(0, 0, prepare_one<0>),
                             one_of_three(1, 0, prepare_one<1>),
                             one_of_three(2, IG_IMPL_REF, prepare_one<2>),
                             {}};
  const ig_impl *const lists_[2] = {impls_, nullptr};
  Graph net_;
  ig_tensor *x_, *w_;
  ig_device *device_ = nullptr;
  ig_tuner *tuner_ = nullptr;
};
const ig_status fine = IG_OK, no = IG_ERR_UNSUPPORTED, broken = IG_ERR_DEVICE;

TEST_F(Leaving, TheNextOneIsTried) {
  EXPECT_EQ(plan({fine, fine, fine}, nullptr, false), three[0]);
  EXPECT_EQ(plan({no, fine, fine}, nullptr, false), three[1]);
  EXPECT_EQ(asked[0], 1);
  for (bool tuned : {false, true})
    EXPECT_EQ(plan({no, no, fine}, nullptr, tuned), three[2]) << tuned;
  EXPECT_EQ(stored(), "{}") << "there was nothing to choose";
  EXPECT_EQ(plan({fine, no, fine}, "library", false), three[0]);
  EXPECT_EQ(asked[1], 1) << "it had left";
  EXPECT_EQ(plan({no, no, fine}, "library", false), three[2]);
  EXPECT_EQ(asked[1], 1) << "it had left";
}

TEST_F(Leaving, AStoredChoiceIsMadeAnew) {
  EXPECT_EQ(plan({no, fine, fine}, nullptr, true), three[1]);
  EXPECT_NE(stored().find(three[1]), std::string::npos) << stored();
  for (int which : {0, 1}) {
    store(three[which]);
    EXPECT_EQ(plan({which ? fine : no, which ? no : fine, fine}, nullptr, true), three[!which]);
    EXPECT_EQ(asked[which], 1);
    EXPECT_EQ(asked[2], 0) << "the reference is no rival";
    EXPECT_EQ(plan({fine, no, fine}, "library", true), three[0]);
  }
}

TEST_F(Leaving, WhereNoneIsLeftAllReasonsAreSaid) {
  for (bool tuned : {false, true}) {
    std::string text = plan({no, no, no}, nullptr, tuned, no);
    for (const char *part : {"conv (conv2d): no implementation", "reason 0", "reason 1", "reason 2", three[2]})
      EXPECT_NE(text.find(part), std::string::npos) << text;
    text = plan({fine, no, fine}, "conv2d_dnnl", tuned, no);
    for (const char *part : {"conv (conv2d_dnnl): reason 1", "conv2d_ref: conv2d_dnnl is forced"})
      EXPECT_NE(text.find(part), std::string::npos) << text;
    EXPECT_EQ(asked[0] + asked[2], 0);
  }
}

TEST_F(Leaving, AnotherErrorEndsThePlan) {
  for (const char *force : {"auto", "gemm_cpu"}) {
    EXPECT_EQ(plan({broken, fine, fine}, force, false, broken), "conv (conv2d_gemm_cpu): reason 0");
    EXPECT_EQ(asked[1] + asked[2], 0);
  }
  EXPECT_EQ(plan({fine, broken, fine}, "library", false, broken), "conv (conv2d_dnnl): reason 1");
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

}  // namespace
