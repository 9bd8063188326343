// floor: ig_kernels
// Our own Winograd against plain loops in double: both ways of cutting the work, all paddings, ragged channels; its
// rounding error as docs/performance.md states it; no bit that depends on threads.
#include <cmath>
#include <cstring>
#include <gtest/gtest.h>
#include <random>
#include <vector>

#include "kernels/conv2d/conv2d.h"
#include "kernels/kernels.h"
#include "runtime/graph/plan.h"

namespace {

struct Shape {
  int64_t N, H, W, C, K;
  int top, left, bottom, right;
  int64_t P() const { return H + top + bottom - 2; }
  int64_t Q() const { return W + left + right - 2; }
};
const Shape kShapes[] = {
    {1, 4, 4, 16, 16, 1, 1, 1, 1},    {3, 13, 10, 24, 17, 1, 1, 1, 1}, {2, 6, 11, 20, 33, 2, 0, 1, 2},
    {1, 3, 3, 40, 24, 0, 0, 0, 0},    {6, 57, 61, 16, 16, 1, 1, 1, 1},  // many tiles, several chunks
    {2, 9, 7, 112, 96, 1, 1, 1, 1},                                     // few tiles: cut by channels
    {5, 14, 14, 304, 80, 1, 2, 0, 1},                                   // deeper than one pass over channels
};

std::vector<float> noise(int64_t n, unsigned seed) {
  std::mt19937 r(seed);
  std::normal_distribution<float> d;
  std::vector<float> v((size_t)n);
  for (float &x : v)
    x = d(r);
  return v;
}

// One node with plain operands in, its first result out; "" as message when it ran.
std::vector<float> run(const char *row, const char *impl, const Shape &s, const std::vector<float> &a,
                       const std::vector<float> &b, int threads) {
  ig_cpu_options co = {};
  co.size = sizeof co;
  co.threads = threads;
  co.isa = IG_ISA_AMX;
  co.winograd = true;
  co.impl_lists = ig_cpu_impl_lists;
  co.libraries = ig_cpu_libraries();
  ig_device *device;
  EXPECT_EQ(ig_device_create_cpu(&co, &device), IG_OK);
  ig_params params;
  ig_params_init(&params);
  ig_graph_options go = {};
  go.size = sizeof go;
  go.ops = ig_op_lists;
  go.params = &params;
  ig_graph *g;
  EXPECT_EQ(ig_graph_create(&go, &g), IG_OK);
  const ig_shape x = IG_SHAPE4(s.N, s.H, s.W, s.C), y = IG_SHAPE4(s.N, s.P(), s.Q(), s.K),
                 w = IG_SHAPE4(s.K, s.C, 3, 3);
  ig_conv2d_bwd_attr attr = {{1, 1, s.top, s.left, s.bottom, s.right, 1, 1, 1}, 3, 3, 0};
  const bool forward = !strcmp(row, "conv2d"), data = !strcmp(row, "conv2d_bwd_data");
  if (data)
    attr.rows = s.H, attr.columns = s.W;
  ig_tensor *in[2] = {ig_graph_input(g, "a", IG_F32, data ? y : x),
                      ig_graph_input(g, "b", IG_F32, forward || data ? w : y)};
  ig_node *n = ig_graph_node(g, row, "node", 2, in, forward ? (const void *)&attr.conv : &attr);
  EXPECT_NE(n, nullptr) << ig_error_message();
  ig_graph_output(g, n->out[0], "out");
  std::string force = std::string(row) + "=" + impl;
  ig_plan_options po = {};
  po.size = sizeof po;
  po.device = device;
  po.force = force.c_str();
  ig_plan *plan;
  EXPECT_EQ(ig_plan_create(g, &po, &plan), IG_OK) << ig_error_message();
  ig_plan_bytes bytes;
  ig_plan_get_bytes(plan, &bytes);
  void *arena = nullptr;
  EXPECT_EQ(ig_alloc_pages(bytes.arena + 64, "arena", &arena), IG_OK);
  memset(arena, 0xff, bytes.arena);  // NaN: what is not written must not be read
  std::vector<float> out((size_t)ig_shape_count(&n->out[0]->shape));
  EXPECT_EQ(ig_plan_bind(plan, IG_SPACE_ARENA, arena), IG_OK);
  EXPECT_EQ(ig_plan_set_io(plan, in[0], (void *)a.data()), IG_OK);
  EXPECT_EQ(ig_plan_set_io(plan, in[1], (void *)b.data()), IG_OK);
  EXPECT_EQ(ig_plan_set_io(plan, n->out[0], out.data()), IG_OK);
  EXPECT_EQ(ig_plan_run(plan, nullptr), IG_OK) << ig_error_message();
  ig_free_pages(arena, bytes.arena + 64);
  ig_plan_destroy(plan);
  ig_graph_destroy(g);
  ig_params_fini(&params);
  ig_device_destroy(device);
  return out;
}

enum Pass { kForward, kData, kWeights };

// The three passes as one loop over (y position, tap, channels).
std::vector<double> plain(Pass pass, const Shape &s, const std::vector<float> &a, const std::vector<float> &b) {
  const int64_t P = s.P(), Q = s.Q();
  std::vector<double> out((size_t)(pass == kForward ? s.N * P * Q * s.K
                                   : pass == kData  ? s.N * s.H * s.W * s.C
                                                    : s.K * s.C * 9));
  for (int64_t n = 0; n < s.N; n++)
    for (int64_t p = 0; p < P; p++)
      for (int64_t q = 0; q < Q; q++)
        for (int64_t t = 0; t < 9; t++) {
          int64_t h = p + t / 3 - s.top, v = q + t % 3 - s.left;
          if (h < 0 || h >= s.H || v < 0 || v >= s.W)
            continue;
          size_t x = (size_t)(((n * s.H + h) * s.W + v) * s.C), y = (size_t)(((n * P + p) * Q + q) * s.K);
          for (size_t k = 0; k < (size_t)s.K; k++)
            for (size_t c = 0; c < (size_t)s.C; c++) {
              size_t w = (k * (size_t)s.C + c) * 9 + (size_t)t;
              if (pass == kForward)
                out[y + k] += (double)a[x + c] * (double)b[w];
              else if (pass == kData)
                out[x + c] += (double)a[y + k] * (double)b[w];
              else
                out[w] += (double)a[x + c] * (double)b[y + k];
            }
        }
  return out;
}

TEST(Winograd, AgreesWithPlainLoops) {
  const char *rows[] = {"conv2d", "conv2d_bwd_data", "conv2d_bwd_weights"};
  const char *impls[] = {"conv2d_wino_cpu", "conv2d_bwd_data_wino_cpu", "conv2d_bwd_weights_wino_cpu"};
  for (int pass = kForward; pass <= kWeights; pass++)
    for (const Shape &s : kShapes) {
      SCOPED_TRACE(testing::Message() << rows[pass] << " " << s.N << "x" << s.H << "x" << s.W << " " << s.C << "->"
                                      << s.K);
      int64_t x = s.N * s.H * s.W * s.C, y = s.N * s.P() * s.Q() * s.K, w = s.K * s.C * 9;
      std::vector<float> a = noise(pass == kData ? y : x, 1), b = noise(pass == kWeights ? y : w, 2);
      std::vector<double> want = plain((Pass)pass, s, a, b);
      std::vector<float> got = run(rows[pass], impls[pass], s, a, b, 1);
      double squares = 0, errors = 0, worst = 0;
      for (size_t i = 0; i < want.size(); i++) {
        double e = std::fabs((double)got[i] - want[i]);
        squares += want[i] * want[i];
        errors += e * e;
        worst = e > worst || std::isnan(e) ? e : worst;
      }
      double scale = std::sqrt(squares / (double)want.size());
      EXPECT_LT(std::sqrt(errors / squares), pass == kWeights ? 5e-6 : 3e-6);  // weights: sums over all tiles
      EXPECT_LT(worst, 5e-5 * scale);
      for (int threads = 2; threads <= 3; threads++) {
        std::vector<float> again = run(rows[pass], impls[pass], s, a, b, threads);
        EXPECT_EQ(memcmp(got.data(), again.data(), got.size() * sizeof(float)), 0) << threads << " threads";
      }
    }
}

}  // namespace
