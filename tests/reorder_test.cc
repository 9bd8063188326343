// floor: ig_kernels
// Reorder beyond what ops_test walks: every pair of layouts and types there and back, and a compute copy that is
// shared.
#include "kernels/reorder/reorder.h"

#include <gtest/gtest.h>
#include <vector>

#include "tests/conv_fixture.h"

namespace {

using namespace conv;

size_t place(const ig_view4 &v, int64_t n, int64_t p, int64_t c) {
  return (size_t)(n * v.stride_n + c / v.block * v.stride_b + p * v.stride_p + c % v.block);
}

TEST(Reorder, EveryPairOfLayoutsAndTypes) {
  const ig_shape shape = IG_SHAPE4(2, 3, 5, 19);
  const ig_layout layouts[] = {IG_PLAIN, IG_BLOCKED_C(1), IG_BLOCKED_C(4), IG_BLOCKED_C(8), IG_BLOCKED_C(16)};
  const ig_dtype types[][2] = {{IG_F32, IG_F32}, {IG_F32, IG_BF16}, {IG_BF16, IG_F32}, {IG_BF16, IG_BF16},
                               {IG_F32, IG_F64}, {IG_F64, IG_F32},  {IG_F32, IG_F16},  {IG_I32, IG_F32}};
  Machine machine{Setting()};
  ig_params params;
  ig_graph *g = graph_of(&params, IG_F32);
  for (const char *name : {"reorder_dnnl", "reorder_ref"})
    for (auto &t : types) {
      ig_tensor *x = ig_graph_input(g, "x", t[0], shape);
      ig_node *node = ig_graph_node(g, "reorder", "r", 1, &x, &t[1]);
      ASSERT_NE(node, nullptr);
      const ig_impl *impl = ig_device_find_impl(machine.device, name);
      ASSERT_NE(impl, nullptr);
      for (ig_layout from : layouts)
        for (ig_layout to : layouts) {
          ig_prepare p = {};
          p.node = node;
          p.device = machine.device;
          p.in_layout = &from;
          p.out_layout = &to;
          ig_layout wanted = to;
          ASSERT_EQ(impl->prepare(&p), IG_OK) << ig_error_message();
          ASSERT_TRUE(ig_layout_equal(to, wanted));
          ig_view4 v = ig_view4_of(&shape, from), w = ig_view4_of(&shape, to);
          size_t n_from = ig_layout_bytes(nullptr, from, &shape, t[0]) / ig_dtype_bytes(t[0]);
          size_t n_to = ig_layout_bytes(nullptr, to, &shape, t[1]) / ig_dtype_bytes(t[1]);
          std::vector<double> values(n_from, 0), want(n_to, 0), got(n_to);
          for (int64_t n = 0; n < v.N; n++)
            for (int64_t pixel = 0; pixel < v.P; pixel++)
              for (int64_t c = 0; c < v.C; c++) {
                double value = (double)(((n * v.P + pixel) * v.C + c) % 251 - 100);  // exact in every type
                values[place(v, n, pixel, c)] = want[place(w, n, pixel, c)] = value;
              }
          std::vector<char> src(n_from * ig_dtype_bytes(t[0])), dst(n_to * ig_dtype_bytes(t[1]), (char)0x7f);
          std::vector<char> workspace(p.workspace_bytes + 64);
          ig_convert(src.data(), t[0], values.data(), IG_F64, n_from);
          void *in = src.data(), *out = dst.data();
          ig_launch l = {};
          l.node = node;
          l.state = p.state;
          l.in = &in;
          l.out = &out;
          l.in_layout = &from;
          l.out_layout = &to;
          l.workspace = workspace.data();
          l.workspace_bytes = p.workspace_bytes;
          l.device = machine.device;
          ASSERT_EQ(impl->run(&l), IG_OK) << ig_error_message();
          if (p.state)
            impl->destroy(p.state);
          ig_convert(got.data(), IG_F64, dst.data(), t[1], n_to);
          ASSERT_EQ(got, want) << name << " " << ig_dtype_name(t[0]) << " to " << ig_dtype_name(t[1]) << ", layout "
                               << (int)from.kind << "/" << (int)from.block << " to " << (int)to.kind << "/"
                               << (int)to.block;
        }
    }
  ig_graph_destroy(g);
  ig_params_fini(&params);
}

// Casts round to nearest even, and a weight's compute copy is made once however often it is used.
TEST(Reorder, ComputeCopyIsShared) {
  ig_params params;
  ig_graph *g = graph_of(&params, IG_BF16);
  ig_graph_scope(g, "layer1.");
  ig_tensor *w = ig_graph_param(g, "w", IG_SHAPE2(3, 4), IG_PARAM_TRAINABLE, {IG_INIT_ONE, 0});
  ig_tensor *a = ig_compute_copy(g, w), *b = ig_compute_copy(g, w);
  ASSERT_NE(a, nullptr);
  EXPECT_EQ(a, b);
  EXPECT_EQ(a->dtype, IG_BF16);
  EXPECT_STREQ(a->name, "layer1.w/bf16");
  EXPECT_EQ(g->n_nodes, 1u);
  EXPECT_EQ(ig_reorder(g, "same", a, IG_BF16), a);
  ig_graph_destroy(g);
  ig_params_fini(&params);
}

}  // namespace
