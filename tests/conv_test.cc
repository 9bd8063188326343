// floor: ig_kernels
// Convolution, linear and reorder beyond what ops_test walks: every implementation against the reference on all cases,
// layouts there and back, thread counts and batch shards that change no bit, refusals.
#include <cmath>
#include <cstring>
#include <gtest/gtest.h>
#include <omp.h>
#include <string>
#include <vector>

#include "kernels/conv2d/conv2d.h"
#include "kernels/kernels.h"
#include "kernels/reorder/reorder.h"
#include "runtime/base/rng.h"
#include "runtime/graph/plan.h"

namespace {

struct Setting {
  const char *force = nullptr;
  int threads = 2;
  bool deterministic = false;
  int shards = 1;
  ig_isa isa = IG_ISA_AMX;
  bool winograd = false;
};

struct Result {
  ig_status status = IG_OK;
  std::string message;
  std::string impl;                          // of the node under test
  std::vector<std::vector<float>> out, raw;  // per output, as f32
};

const ig_op *find_row(const char *name) {
  for (const ig_op *const *const *list = ig_op_lists; *list; list++)
    for (const ig_op *const *op = *list; *op; op++)
      if (!strcmp((*op)->name, name))
        return *op;
  return nullptr;
}

struct Machine {
  ig_device *device = nullptr;
  explicit Machine(const Setting &s) {
    ig_cpu_options o = {};
    o.size = sizeof o;
    o.threads = s.threads;
    o.isa = s.isa;
    o.winograd = s.winograd;
    o.impl_lists = ig_cpu_impl_lists;
    o.libraries = ig_cpu_libraries();
    EXPECT_EQ(ig_device_create_cpu(&o, &device), IG_OK);
  }
  ~Machine() { ig_device_destroy(device); }
};

// One node of the row with the case's operands (float ones in `type`), planned and run on the CPU.
Result run_case(const ig_op *op, const ig_op_case &c, ig_dtype type, const Setting &s) {
  Result r;
  Machine machine(s);
  ig_params params;
  ig_params_init(&params);
  ig_graph_options go = {};
  go.size = sizeof go;
  go.ops = ig_op_lists;
  go.params = &params;
  go.compute_dtype = type;
  ig_graph *g = nullptr;
  EXPECT_EQ(ig_graph_create(&go, &g), IG_OK);
  std::vector<ig_tensor *> in(c.n_in, nullptr);
  std::vector<std::vector<char>> data(c.n_in);
  for (int i = 0; i < c.n_in; i++) {
    const ig_case_input &x = c.in[i];
    if (x.fill == IG_FILL_ABSENT)
      continue;
    bool is_float = ig_dtype_is_float(x.dtype);
    ig_dtype t = is_float ? (x.fixed_f32 && type != IG_F64 ? IG_F32 : type) : x.dtype;
    in[i] = ig_graph_input(g, ("in" + std::to_string(i)).c_str(), t, x.shape);
    int64_t n = ig_shape_count(&x.shape);
    std::vector<float> values(n);
    ig_rng rng = ig_rng_make(7, (uint64_t)i, 0);
    for (float &v : values)
      v = is_float ? ig_rng_normal(&rng) : (float)(ig_rng_u32(&rng) % 1000);
    data[i].resize((size_t)n * ig_dtype_bytes(t));
    ig_convert(data[i].data(), t, values.data(), IG_F32, (size_t)n);
  }
  ig_node *node = ig_graph_node(g, op->name, "node", c.n_in, in.data(), c.attr);
  std::vector<std::vector<char>> out;
  for (int i = 0; node && i < node->n_out; i++) {
    ig_graph_output(g, node->out[i], ("out" + std::to_string(i)).c_str());
    out.emplace_back((size_t)ig_shape_count(&node->out[i]->shape) * ig_dtype_bytes(node->out[i]->dtype), (char)0x55);
  }
  ig_plan_options po = {};
  po.size = sizeof po;
  po.device = machine.device;
  po.deterministic = s.deterministic;
  po.shards = s.shards;
  po.force = s.force;
  ig_plan *plan = nullptr;
  void *arena = nullptr;
  ig_plan_bytes bytes = {};
  r.status = node ? ig_plan_create(g, &po, &plan) : ig_graph_status(g);
  if (r.status == IG_OK) {
    ig_plan_get_bytes(plan, &bytes);
    EXPECT_EQ(ig_alloc_pages(bytes.arena + 1, "arena", &arena), IG_OK);
    memset(arena, 0xff, bytes.arena);  // NaN: what is not written shows
    EXPECT_EQ(ig_plan_bind(plan, IG_SPACE_ARENA, arena), IG_OK);
    for (int i = 0; i < c.n_in; i++)
      if (in[i]) {
        EXPECT_EQ(ig_plan_set_io(plan, in[i], data[i].data()), IG_OK);
      }
    for (int i = 0; i < node->n_out; i++)
      EXPECT_EQ(ig_plan_set_io(plan, node->out[i], out[i].data()), IG_OK);
    r.status = ig_plan_run(plan, nullptr);
    for (int i = 0; i < ig_plan_n_rows(plan); i++)
      if (ig_plan_get_row(plan, i).node == node)
        r.impl = ig_plan_get_row(plan, i).impl;
  }
  if (r.status != IG_OK)
    r.message = ig_error_message();
  for (int i = 0; r.status == IG_OK && i < node->n_out; i++) {
    size_t n = (size_t)ig_shape_count(&node->out[i]->shape);
    r.out.emplace_back(n);
    ig_convert(r.out.back().data(), IG_F32, out[i].data(), node->out[i]->dtype, n);
  }
  ig_plan_destroy(plan);
  if (arena)
    ig_free_pages(arena, bytes.arena + 1);
  ig_graph_destroy(g);
  ig_params_fini(&params);
  return r;
}

// Largest difference over the root mean square of the wanted values.
double relative_error(const std::vector<float> &got, const std::vector<float> &want) {
  double worst = 0, squares = 0;
  for (size_t i = 0; i < want.size(); i++) {
    if (!std::isfinite(got[i]))
      return INFINITY;
    worst = std::max(worst, std::fabs((double)got[i] - want[i]));
    squares += (double)want[i] * want[i];
  }
  return squares > 0 ? worst / std::sqrt(squares / (double)want.size()) : worst;
}

const char *const kRows[] = {"conv2d", "conv2d_bwd_data", "conv2d_bwd_weights",
                             "linear", "linear_bwd_data", "linear_bwd_weights"};

TEST(Conv, DnnlAgreesWithReference) {
  for (const char *row : kRows) {
    const ig_op *op = find_row(row);
    ASSERT_NE(op, nullptr) << row;
    for (int i = 0; i < op->n_cases; i++) {
      if (op->cases[i].bench)
        continue;
      SCOPED_TRACE(std::string(row) + ": " + op->cases[i].name);
      Setting ref, dnnl, parts;
      ref.force = "*=ref";
      parts.deterministic = true;
      parts.shards = 2;
      Result want = run_case(op, op->cases[i], IG_F32, ref);
      ASSERT_EQ(want.status, IG_OK) << want.message;
      EXPECT_EQ(want.impl, std::string(row) + "_ref");
      for (const Setting &s : {dnnl, parts}) {
        Result got = run_case(op, op->cases[i], IG_F32, s);
        ASSERT_EQ(got.status, IG_OK) << got.message;
        EXPECT_EQ(got.impl, std::string(row) + "_dnnl");
        for (size_t k = 0; k < want.out.size(); k++)
          EXPECT_LT(relative_error(got.out[k], want.out[k]), 2e-5) << "output " << k;
      }
    }
  }
}

// The reference itself against the definition, written once more in the plainest way for one case with everything in
// it: stride, dilation, groups, uneven padding, bias.
TEST(Conv, ReferenceIsTheDefinition) {
  static const ig_conv2d_attr attr = {2, 1, 1, 0, 2, 3, 1, 2, 2};
  const int N = 2, H = 6, W = 7, C = 4, K = 6, R = 3, S = 2, P = 4, Q = 8;
  ig_op_case c = {};
  c.name = "all";
  c.n_in = 3;
  c.in[0].shape = IG_SHAPE4(N, H, W, C);
  c.in[1].shape = IG_SHAPE4(K, C / 2, R, S);
  c.in[2].shape = IG_SHAPE1(K);
  c.attr = &attr;
  Setting s;
  s.force = "*=ref";
  Result r = run_case(find_row("conv2d"), c, IG_F64, s);
  ASSERT_EQ(r.status, IG_OK) << r.message;
  ASSERT_EQ(r.out[0].size(), (size_t)(N * P * Q * K));
  auto fill = [](int stream, size_t n) {
    std::vector<float> v(n);
    ig_rng rng = ig_rng_make(7, (uint64_t)stream, 0);
    for (float &x : v)
      x = ig_rng_normal(&rng);
    return v;
  };
  std::vector<float> x = fill(0, N * H * W * C), w = fill(1, K * C / 2 * R * S), b = fill(2, K);
  for (int n = 0; n < N; n++)
    for (int p = 0; p < P; p++)
      for (int q = 0; q < Q; q++)
        for (int k = 0; k < K; k++) {
          double sum = b[k];
          for (int c2 = 0; c2 < C / 2; c2++)
            for (int i = 0; i < R; i++)
              for (int j = 0; j < S; j++) {
                int h = 2 * p + i - 1, v = q + 2 * j;
                if (h >= 0 && h < H && v >= 0 && v < W)
                  sum += (double)x[((n * H + h) * W + v) * C + k / 3 * 2 + c2] * w[((k * 2 + c2) * R + i) * S + j];
              }
          EXPECT_NEAR(r.out[0][((n * P + p) * Q + q) * K + k], sum, 1e-5);
        }
}

void expect_same_bits(const Result &a, const Result &b) {
  ASSERT_EQ(a.status, IG_OK) << a.message;
  ASSERT_EQ(b.status, IG_OK) << b.message;
  for (size_t k = 0; k < a.out.size(); k++)
    EXPECT_EQ(0, memcmp(a.out[k].data(), b.out[k].data(), a.out[k].size() * sizeof(float))) << "output " << k;
}

TEST(Conv, ThreadsChangeNothing) {
  for (const char *row : kRows) {
    const ig_op *op = find_row(row);
    for (int i = 0; i < op->n_cases; i++) {
      if (op->cases[i].bench && !strstr(op->cases[i].name, "layer4") && !strstr(op->cases[i].name, "head"))
        continue;
      SCOPED_TRACE(std::string(row) + ": " + op->cases[i].name);
      Setting one, many;
      one.deterministic = many.deterministic = true;
      one.shards = many.shards = 8;
      one.threads = 1;
      Result a = run_case(op, op->cases[i], IG_F32, one);
      for (int threads : {2, 3, 8}) {
        many.threads = threads;
        expect_same_bits(a, run_case(op, op->cases[i], IG_F32, many));
      }
    }
  }
}

}  // namespace
