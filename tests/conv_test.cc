// floor: ig_kernels
// Convolution, linear and reorder beyond what ops_test walks: every implementation against the reference on all cases,
// layouts there and back, thread counts and batch shards that change no bit, refusals.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <gtest/gtest.h>
#include <omp.h>
#include <string>
#include <vector>

#include "kernels/conv2d/conv2d.h"
#include "kernels/kernels.h"
#include "kernels/linear/linear.h"
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

ig_graph *graph_of(ig_params *params, ig_dtype compute) {
  ig_params_init(params);
  ig_graph_options o = {};
  o.size = sizeof o;
  o.ops = ig_op_lists;
  o.params = params;
  o.compute_dtype = compute;
  ig_graph *g = nullptr;
  EXPECT_EQ(ig_graph_create(&o, &g), IG_OK);
  return g;
}

// One node of the row with the case's operands (float ones in `type`), planned and run on the CPU.
Result run_case(const ig_op *op, const ig_op_case &c, ig_dtype type, const Setting &s) {
  Result r;
  Machine machine(s);
  ig_params params;
  ig_graph *g = graph_of(&params, type);
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
    for (int64_t skip = 0; skip < (int64_t)x.lo; skip++)
      ig_rng_normal(&rng);
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

TEST(Conv, EveryImplementationAgreesWithReference) {
  // oneDNN keeps the cap that a process begins with: the highest.
  Setting highest;
  highest.force = "conv2d=dnnl";
  ASSERT_EQ(run_case(find_row("conv2d"), find_row("conv2d")->cases[0], IG_F32, highest).status, IG_OK);
  for (const char *row : kRows) {
    const ig_op *op = find_row(row);
    ASSERT_NE(op, nullptr) << row;
    int by_dnnl = 0;
    for (int i = 0; i < op->n_cases; i++) {
      if (op->cases[i].bench)
        continue;
      SCOPED_TRACE(std::string(row) + ": " + op->cases[i].name);
      Setting ref;
      ref.force = "*=ref";
      Result want = run_case(op, op->cases[i], IG_F32, ref);
      ASSERT_EQ(want.status, IG_OK) << want.message;
      EXPECT_EQ(want.impl, std::string(row) + "_ref");
      for (int k = 0; k + 1 < IG_MAX_IMPLS && op->impls[IG_DEVICE_CPU][k + 1]; k++)
        for (ig_isa isa : {IG_ISA_AMX, IG_ISA_AVX2, IG_ISA_BASE})
          for (bool deterministic : {false, true}) {
            std::string force = std::string(row) + "=" + op->impls[IG_DEVICE_CPU][k];
            Setting s;
            s.force = force.c_str();
            s.isa = isa;
            s.winograd = true;
            s.deterministic = deterministic;
            s.shards = deterministic ? 3 : 1;  // of samples in threes: no power of two
            Result got = run_case(op, op->cases[i], IG_F32, s);
            if (got.status == IG_ERR_UNSUPPORTED)
              continue;  // the refusal's reason is checked below, its place in the list in ops_test
            ASSERT_EQ(got.status, IG_OK) << got.message;
            EXPECT_EQ(got.impl, op->impls[IG_DEVICE_CPU][k]);
            by_dnnl += got.impl == std::string(row) + "_dnnl";
            double bound = strstr(op->impls[IG_DEVICE_CPU][k], "wino") ? 1e-3 : 2e-5;
            for (size_t o = 0; o < want.out.size(); o++)
              EXPECT_LT(relative_error(got.out[o], want.out[o]), bound) << got.impl << " output " << o;
          }
    }
    EXPECT_GE(by_dnnl, 6 * 8) << row;  // oneDNN takes all of them
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

bool has_bf16() {
  Machine machine{Setting()};
  if (!machine.device->caps.bf16)
    printf("  skipped: this processor has no bf16 products\n");
  return machine.device->caps.bf16;
}

// ---- shards ----
// The batch cut into ranks, each with its share of the shards: the ranks' sums added give the whole batch's bits.
void check_ranks(const char *row, ig_dtype type, const char *force) {
  SCOPED_TRACE(std::string(row) + " " + ig_dtype_name(type));
  const bool conv = row[0] == 'c';
  const ig_conv2d_bwd_attr conv_attr = {{1, 1, 1, 1, 1, 1, 1, 1, 1}, 3, 3, !force};
  static const ig_linear_attr linear_attr = {0, 1};
  ig_op_case whole = {};
  whole.n_in = 2;
  whole.attr = conv ? (const void *)&conv_attr : (const void *)&linear_attr;
  whole.in[0].shape = conv ? IG_SHAPE4(8, 6, 5, force && strstr(force, "few") ? 3 : 16) : IG_SHAPE2(24, 37);
  whole.in[1].shape = conv ? IG_SHAPE4(8, 6, 5, 24) : IG_SHAPE2(24, 70);
  Setting s;
  s.force = force;
  s.deterministic = true;
  s.shards = 4;
  Result all = run_case(find_row(row), whole, type, s);
  ASSERT_EQ(all.status, IG_OK) << all.message;
  s.shards = 2;
  Result rank[2];
  for (int r = 0; r < 2; r++) {
    ig_op_case half = whole;
    for (int i = 0; i < 2; i++) {
      half.in[i].shape.d[0] /= 2;
      half.in[i].lo = (double)(r * ig_shape_count(&half.in[i].shape));  // where this rank's numbers start
    }
    rank[r] = run_case(find_row(row), half, type, s);
    ASSERT_EQ(rank[r].status, IG_OK) << rank[r].message;
  }
  for (size_t k = 0; k < all.out.size(); k++)
    for (size_t i = 0; i < all.out[k].size(); i++)
      ASSERT_EQ(all.out[k][i], rank[0].out[k][i] + rank[1].out[k][i]) << "output " << k << " element " << i;
}

TEST(Conv, RanksChangeNothing) {
  check_ranks("conv2d_bwd_weights", IG_F32, nullptr);
  check_ranks("linear_bwd_weights", IG_F32, nullptr);
  if (has_bf16())
    check_ranks("conv2d_bwd_weights", IG_BF16, "conv2d_bwd_weights=conv2d_bwd_weights_bf16_cpu");
  check_ranks("conv2d_bwd_weights", IG_F32, "conv2d_bwd_weights=conv2d_bwd_weights_few_cpu");
}

// ---- own bf16 code ----
// A case of the weight gradient, or (rows, columns: H, W) of the other two rows, from the lengths alone.
struct Bf16Shape {
  int64_t N, H, W, C, K, R, S;
  ig_conv2d_attr a;
  ig_op_case case_of(const char *row, ig_conv2d_bwd_attr *attr) const {
    const ig_shape x = IG_SHAPE4(N, H, W, C), w = IG_SHAPE4(K, C, R, S);
    const ig_shape y = IG_SHAPE4(N, (H + a.pad_top + a.pad_bottom - a.dilation_h * (R - 1) - 1) / a.stride_h + 1,
                                 (W + a.pad_left + a.pad_right - a.dilation_w * (S - 1) - 1) / a.stride_w + 1, K);
    const bool forward = !strcmp(row, "conv2d"), data = !strcmp(row, "conv2d_bwd_data");
    *attr = {a, data ? H : R, data ? W : S, 0};
    ig_op_case c = {};
    c.n_in = 2;
    c.in[0].shape = data ? y : x;
    c.in[1].shape = forward || data ? w : y;
    c.attr = forward ? (const void *)&attr->conv : attr;
    return c;
  }
};

// All that decides how the work is cut: taps, strides, paddings beyond the picture, odd batches and shards, ragged
// channels, sums by parts of the batch and by pieces of the gradient, one chunk and several.
TEST(Conv, Bf16WeightGradients) {
  const Bf16Shape shapes[] = {
      {1, 5, 7, 16, 16, 1, 1, {1, 1, 0, 0, 0, 0, 1, 1, 1}},
      {5, 9, 8, 40, 70, 1, 1, {1, 1, 0, 0, 0, 0, 1, 1, 1}},
      {3, 9, 8, 33, 17, 1, 1, {2, 3, 0, 0, 0, 0, 1, 1, 1}},
      {4, 6, 5, 24, 20, 1, 1, {2, 2, 1, 1, 2, 1, 1, 1, 1}},
      {3, 7, 9, 32, 49, 3, 3, {1, 1, 1, 1, 1, 1, 1, 1, 1}},
      {7, 9, 11, 19, 65, 3, 3, {2, 2, 1, 1, 1, 1, 1, 1, 1}},
      {2, 11, 9, 16, 32, 3, 3, {1, 1, 2, 2, 2, 2, 2, 2, 1}},
      {3, 9, 7, 21, 24, 5, 3, {1, 2, 2, 1, 2, 1, 1, 1, 1}},
      {2, 3, 3, 16, 16, 3, 3, {1, 1, 4, 4, 4, 4, 1, 1, 1}},
      {3, 1, 37, 16, 48, 1, 9, {1, 3, 0, 4, 0, 2, 1, 1, 1}},
      {9, 56, 57, 80, 96, 1, 1, {1, 1, 0, 0, 0, 0, 1, 1, 1}},
      {3, 40, 41, 32, 49, 3, 3, {1, 1, 1, 1, 1, 1, 1, 1, 1}},
      {5, 6, 6, 300, 560, 1, 1, {1, 1, 0, 0, 0, 0, 1, 1, 1}},
      {3, 30, 32, 400, 400, 1, 1, {1, 1, 0, 0, 0, 0, 1, 1, 1}},
      {1, 63, 62, 128, 144, 3, 3, {1, 1, 1, 1, 1, 1, 1, 1, 1}},
      {3, 21, 19, 3, 17, 7, 7, {2, 2, 3, 3, 3, 3, 1, 1, 1}},
      {2, 90, 100, 3, 64, 7, 7, {2, 2, 3, 3, 3, 3, 1, 1, 1}},
      {5, 9, 8, 5, 70, 3, 3, {1, 1, 1, 1, 1, 1, 2, 1, 1}},
      {3, 1, 37, 4, 16, 1, 9, {1, 3, 0, 4, 0, 2, 1, 1, 1}},
      {2, 4, 3, 1, 16, 1, 1, {1, 1, 0, 9, 0, 9, 1, 1, 1}},
  };
  if (!has_bf16())
    return;
  const ig_op *op = find_row("conv2d_bwd_weights");
  for (const Bf16Shape &shape : shapes) {
    ig_conv2d_bwd_attr attr;
    const ig_op_case c = shape.case_of(op->name, &attr);
    SCOPED_TRACE(testing::Message() << shape.N << "x" << shape.H << "x" << shape.W << " " << shape.C << "->" << shape.K
                                    << " " << shape.R << "x" << shape.S);
    Setting s;
    // The reference takes its time: where it would be seconds, oneDNN, which is held against it elsewhere.
    const bool large = (double)ig_shape_count(&c.in[1].shape) * (double)(shape.C * shape.R * shape.S) > 1e8;
    s.force = large ? "conv2d_bwd_weights=dnnl" : "*=ref";
    const Result want = run_case(op, c, IG_BF16, s);
    ASSERT_EQ(want.status, IG_OK) << want.message;
    s.force = "conv2d_bwd_weights=conv2d_bwd_weights_bf16_cpu";
    for (int shards : {1, 2, 3, 8}) {
      s.deterministic = shards > 1;
      s.shards = shards;
      s.threads = 1;
      const Result one = run_case(op, c, IG_BF16, s);
      ASSERT_EQ(one.status, IG_OK) << one.message;
      EXPECT_LT(relative_error(one.out[0], want.out[0]), 2e-5) << shards << " shards";
      EXPECT_EQ(one.out[1][0], 0);
      s.threads = 3;
      expect_same_bits(one, run_case(op, c, IG_BF16, s));
    }
  }
}

// A first convolution: rows of taps as runs of the plain picture.
TEST(Conv, Bf16FewChannels) {
  const Bf16Shape shapes[] = {
      {3, 40, 45, 3, 64, 7, 7, {2, 2, 3, 3, 3, 3, 1, 1, 1}}, {2, 9, 8, 5, 90, 3, 3, {1, 1, 1, 2, 1, 1, 2, 1, 1}},
      {1, 5, 31, 1, 33, 2, 4, {2, 1, 0, 1, 0, 0, 1, 1, 1}},  {2, 3, 3, 15, 16, 3, 3, {1, 1, 5, 9, 5, 9, 1, 1, 1}},
      {2, 30, 8, 4, 8, 1, 1, {1, 3, 0, 0, 0, 0, 1, 1, 1}},
  };
  if (!has_bf16())
    return;
  const ig_op *op = find_row("conv2d");
  for (const Bf16Shape &shape : shapes) {
    ig_conv2d_bwd_attr attr;
    const ig_op_case c = shape.case_of(op->name, &attr);
    SCOPED_TRACE(testing::Message() << shape.N << "x" << shape.H << "x" << shape.W << " " << shape.C << "->"
                                    << shape.K);
    Setting s;
    s.force = "*=ref";
    const Result want = run_case(op, c, IG_BF16, s);
    s.force = "conv2d=conv2d_few_bf16_cpu";
    s.threads = 1;
    const Result one = run_case(op, c, IG_BF16, s);
    ASSERT_EQ(one.status, IG_OK) << one.message;
    for (size_t i = 0; i < want.out[0].size(); i++)  // sums agree to fp32: the stored type's last bit may differ
      ASSERT_NEAR(one.out[0][i], want.out[0][i], std::fabs(want.out[0][i]) / 128 + 1e-4) << i;
    s.threads = 3;
    expect_same_bits(one, run_case(op, c, IG_BF16, s));
  }
}

// Winograd in bf16: the rounding error that docs/performance.md states, and no bit that depends on threads.
TEST(Conv, Bf16Winograd) {
  const Bf16Shape shapes[] = {
      {1, 4, 4, 16, 16, 3, 3, {1, 1, 1, 1, 1, 1, 1, 1, 1}},    {3, 13, 10, 24, 17, 3, 3, {1, 1, 1, 1, 1, 1, 1, 1, 1}},
      {2, 6, 11, 20, 33, 3, 3, {1, 1, 2, 0, 1, 2, 1, 1, 1}},   {1, 3, 3, 40, 24, 3, 3, {1, 1, 0, 0, 0, 0, 1, 1, 1}},
      {6, 57, 61, 16, 16, 3, 3, {1, 1, 1, 1, 1, 1, 1, 1, 1}},   // many tiles, several chunks
      {2, 9, 7, 272, 528, 3, 3, {1, 1, 1, 1, 1, 1, 1, 1, 1}},   // few tiles: cut by channels
      {5, 14, 15, 304, 80, 3, 3, {1, 1, 1, 2, 0, 1, 1, 1, 1}},  // deeper than one pass over channels
  };
  const char *rows[] = {"conv2d", "conv2d_bwd_data", "conv2d_bwd_weights"};
  if (!has_bf16())
    return;
  for (const char *row : rows)
    for (const Bf16Shape &shape : shapes) {
      const ig_op *op = find_row(row);
      ig_conv2d_bwd_attr attr;
      const ig_op_case c = shape.case_of(row, &attr);
      SCOPED_TRACE(testing::Message() << row << " " << shape.N << "x" << shape.H << "x" << shape.W << " " << shape.C
                                      << "->" << shape.K);
      Setting s;
      s.force = "*=ref";
      const Result want = run_case(op, c, IG_BF16, s);
      const std::string force = std::string(row) + "=" + row + "_wino_bf16_cpu";
      s.force = force.c_str();
      EXPECT_EQ(run_case(op, c, IG_BF16, s).status, IG_ERR_UNSUPPORTED);  // winograd=0
      s.winograd = true;
      s.threads = 1;
      const Result one = run_case(op, c, IG_BF16, s);
      ASSERT_EQ(one.status, IG_OK) << one.message;
      double errors = 0, squares = 0;
      for (size_t i = 0; i < one.out[0].size(); i++) {
        const double e = (double)one.out[0][i] - want.out[0][i];
        errors += e * e;
        squares += (double)want.out[0][i] * want.out[0][i];
      }
      EXPECT_LT(std::sqrt(errors / squares), 0.006);
      EXPECT_LT(relative_error(one.out[0], want.out[0]), 0.06);
      s.threads = 3;
      expect_same_bits(one, run_case(op, c, IG_BF16, s));
    }
}

// ---- refusals ----
TEST(Conv, RefusalsSayWhy) {
  const ig_op *op = find_row("conv2d");
  const ig_op_case *c = nullptr;
  for (int i = 0; i < op->n_cases; i++)
    if (!strcmp(op->cases[i].name, "3x3"))
      c = &op->cases[i];
  ASSERT_NE(c, nullptr);
  Setting bf16;
  bf16.force = "conv2d=dnnl";
  bf16.isa = IG_ISA_AVX2;
  Result r = run_case(op, *c, IG_BF16, bf16);
  EXPECT_EQ(r.status, IG_ERR_UNSUPPORTED);
  EXPECT_NE(r.message.find("AVX-512 BF16"), std::string::npos) << r.message;
  Setting wino;
  wino.force = "conv2d=dnnl_wino";
  wino.isa = IG_ISA_AVX2;
  wino.winograd = true;
  r = run_case(op, *c, IG_F32, wino);
  EXPECT_EQ(r.status, IG_ERR_UNSUPPORTED);
  EXPECT_TRUE(r.message.find("AVX-512") != std::string::npos ||
              r.message.find("not in this build") != std::string::npos)
      << r.message;
  // Left to itself the plan falls back to the reference for a type that oneDNN refuses.
  r = run_case(op, *c, IG_F64, Setting());
  EXPECT_EQ(r.status, IG_OK) << r.message;
  EXPECT_EQ(r.impl, "conv2d_ref");
}

TEST(Conv, ShapesThatDoNotFit) {
  struct {
    ig_shape x, w;
    ig_conv2d_attr attr;
    const char *text;
  } bad[] = {
      {IG_SHAPE4(1, 5, 5, 3), IG_SHAPE4(8, 4, 3, 3), {}, "[8, 4, 3, 3], expected [8, 3, 3, 3]"},
      {IG_SHAPE4(1, 5, 5, 3), IG_SHAPE4(8, 3, 7, 7), {}, "does not fit the padded image of 5x5"},
      {IG_SHAPE4(1, 5, 5, 6), IG_SHAPE4(8, 3, 3, 3), {1, 1, 0, 0, 0, 0, 1, 1, 4}, "do not divide into 4 groups"},
      {IG_SHAPE4(1, 5, 5, 3), IG_SHAPE4(8, 3, 3, 3), {-1, 1, 0, 0, 0, 0, 1, 1, 1}, "negative"},
      {IG_SHAPE3(5, 5, 3), IG_SHAPE4(8, 3, 3, 3), {}, "expected rank 4"},
  };
  for (auto &b : bad) {
    ig_op_case c = {};
    c.n_in = 2;
    c.in[0].shape = b.x;
    c.in[1].shape = b.w;
    c.attr = &b.attr;
    Result r = run_case(find_row("conv2d"), c, IG_F32, Setting());
    EXPECT_EQ(r.status, IG_ERR_MISMATCH);
    EXPECT_NE(r.message.find(b.text), std::string::npos) << r.message;
  }
}

// ---- failing allocations ----
TEST(Conv, EveryAllocationMayFail) {
  for (const char *row : kRows) {
    SCOPED_TRACE(row);
    const ig_op *op = find_row(row);
    int64_t live = ig_mem_live();
    ASSERT_EQ(run_case(op, op->cases[0], IG_F32, Setting()).status, IG_OK);  // what is made once a process
    EXPECT_EQ(ig_mem_live(), live);
    Machine machine{Setting()};
    ig_params params;
    ig_graph *g = graph_of(&params, IG_F32);
    const ig_op_case &c = op->cases[0];
    ig_tensor *in[3] = {};
    for (int i = 0; i < c.n_in; i++)
      if (c.in[i].fill != IG_FILL_ABSENT)
        in[i] = ig_graph_input(g, "x", IG_F32, c.in[i].shape);
    ig_node *node = ig_graph_node(g, row, "node", c.n_in, in, c.attr);
    ASSERT_NE(node, nullptr);
    const ig_impl *impl = nullptr;
    for (int i = 0; !impl || (impl->flags & IG_IMPL_INEXACT); i++)  // past Winograd, which may be absent
      impl = ig_device_find_impl(machine.device, op->impls[IG_DEVICE_CPU][i]);
    live = ig_mem_live();
    bool passed = false;
    for (int64_t k = 1; !passed && k < 1000; k++) {
      ig_layouts *layouts = nullptr;
      ASSERT_EQ(ig_layouts_create(&layouts), IG_OK);
      ig_layout in_layout[3] = {}, out_layout[IG_MAX_OUT] = {};
      ig_prepare p = {};
      p.node = node;
      p.device = machine.device;
      p.layouts = layouts;
      p.shards = 1;
      p.in_layout = in_layout;
      p.out_layout = out_layout;
      ig_mem_fail_after(k, 0);
      ig_status status = impl->prepare(&p);
      passed = status == IG_OK;
      ig_mem_fail_after(0, 0);
      if (passed)
        impl->destroy(p.state);
      else
        EXPECT_EQ(status, IG_ERR_MEMORY) << ig_error_message();
      ig_layouts_destroy(layouts);
      EXPECT_EQ(ig_mem_live(), live) << "allocation " << k;
    }
    EXPECT_TRUE(passed);
    ig_graph_destroy(g);
    ig_params_fini(&params);
  }
}

// ---- reorder ----
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
