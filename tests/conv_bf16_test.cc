// floor: ig_kernels
// Convolution's own bf16 code: against the reference in shapes that decide how the work is cut, and thread counts and
// shards that change no bit.
#include <cmath>
#include <cstring>
#include <gtest/gtest.h>
#include <string>

#include "kernels/conv2d/conv2d.h"
#include "tests/conv_fixture.h"

namespace {

using namespace conv;

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

}  // namespace
