// Rows and builders of the ops that move numbers. Rule: slices, padding and strided shortcuts are one row, `place`.
#include "kernels/shape_ops/shape_ops.h"

#include <stdio.h>

#include "kernels/kernels.h"

// ---- shapes ----
static ig_status infer_reshape(ig_graph *g, ig_node *n) {
  const ig_shape *want = n->attr;
  char a[96], b[96];
  if (ig_shape_count(want) != ig_shape_count(&n->in[0]->shape))
    return ig_fail(IG_ERR_MISMATCH, "operand 0 (%s) has shape %s, which does not fit into %s", n->in[0]->name,
                   ig_shape_text(&n->in[0]->shape, a), ig_shape_text(want, b));
  return ig_node_set_out(g, n, 0, n->in[0]->dtype, *want);
}

static ig_status infer_concat(ig_graph *g, ig_node *n) {
  ig_shape out = n->in[0]->shape;
  if (out.n < 1)
    return ig_fail(IG_ERR_MISMATCH, "operand 0 (%s) is a scalar, expected at least one dimension", n->in[0]->name);
  for (int i = 1; i < n->n_in; i++) {
    ig_shape want = n->in[0]->shape;
    IG_TRY(ig_check_dtype(n, i, n->in[0]->dtype));
    IG_TRY(ig_check_rank(n, i, out.n));
    want.d[out.n - 1] = n->in[i]->shape.d[out.n - 1];
    IG_TRY(ig_check_shape(n, i, want));
    out.d[out.n - 1] += want.d[out.n - 1];
  }
  return ig_node_set_out(g, n, 0, n->in[0]->dtype, out);
}

static bool fits(int64_t begin, int64_t step, int64_t size, int64_t total) {
  return begin >= 0 && step >= 1 && size >= 0 && (size == 0 || begin + (size - 1) * step < total);
}

static ig_status infer_place(ig_graph *g, ig_node *n) {
  const ig_place_attr *a = n->attr;
  IG_TRY(ig_check_rank(n, 0, a->out.n));
  const ig_shape *x = &n->in[0]->shape;
  for (int i = 0; i < x->n; i++)
    if (a->out.d[i] < 1 || !fits(a->in_begin[i], a->in_step[i], a->size.d[i], x->d[i]) ||
        !fits(a->out_begin[i], a->out_step[i], a->size.d[i], a->out.d[i]))
      return ig_fail(IG_ERR_MISMATCH,
                     "dimension %d: %lld elements from %lld in steps of %lld to %lld in steps of %lld do not fit into "
                     "operand 0 (%s) of %lld and a result of %lld",
                     i, (long long)a->size.d[i], (long long)a->in_begin[i], (long long)a->in_step[i],
                     (long long)a->out_begin[i], (long long)a->out_step[i], n->in[0]->name, (long long)x->d[i],
                     (long long)a->out.d[i]);
  return ig_node_set_out(g, n, 0, n->in[0]->dtype, a->out);
}

// ---- gradients ----
static ig_tensor *emit(ig_graph *g, const ig_node *n, const char *op, const char *suffix, ig_tensor *x,
                       const void *attr) {
  char name[400];
  snprintf(name, sizeof name, "%s/%s", n->name, suffix);
  ig_node *made = ig_graph_node(g, op, name, 1, &x, attr);
  return made ? made->out[0] : NULL;
}

static ig_status reshape_grad(ig_graph *g, const ig_node *n, ig_tensor *const *dout, const bool *need,
                              ig_tensor **din) {
  din[0] = emit(g, n, "reshape", "dx", dout[0], &n->in[0]->shape);
  return ig_graph_status(g);
}

// A box of x's (or the result's) whole extent in every dimension, in steps of one.
static ig_place_attr whole(const ig_shape *out, const ig_shape *size) {
  ig_place_attr a = {.out = *out, .size = *size};
  for (int i = 0; i < IG_MAX_DIMS; i++)
    a.in_step[i] = a.out_step[i] = 1;
  return a;
}

static ig_status concat_grad(ig_graph *g, const ig_node *n, ig_tensor *const *dout, const bool *need, ig_tensor **din) {
  int64_t at = 0;
  for (int i = 0; i < n->n_in; i++) {
    const ig_shape *x = &n->in[i]->shape;
    if (need[i]) {
      ig_place_attr a = whole(x, x);
      a.in_begin[x->n - 1] = at;
      din[i] = emit(g, n, "place", "dx", dout[0], &a);
    }
    at += x->d[x->n - 1];
  }
  return ig_graph_status(g);
}

static ig_status place_grad(ig_graph *g, const ig_node *n, ig_tensor *const *dout, const bool *need, ig_tensor **din) {
  const ig_place_attr *a = n->attr;
  ig_place_attr back = {.out = n->in[0]->shape, .size = a->size};
  for (int i = 0; i < IG_MAX_DIMS; i++) {
    back.in_begin[i] = a->out_begin[i];
    back.in_step[i] = a->out_step[i];
    back.out_begin[i] = a->in_begin[i];
    back.out_step[i] = a->in_step[i];
  }
  din[0] = emit(g, n, "place", "dx", dout[0], &back);
  return ig_graph_status(g);
}

// ---- costs ----
// Read what is copied, write the result.
static void cost_moved(const ig_node *n, double read, ig_cost *cost) {
  const ig_tensor *y = n->out[0];
  cost->flops = 0;
  cost->bytes = (read + (double)ig_shape_count(&y->shape)) * (double)ig_dtype_bytes(y->dtype);
}
static void cost_copy(const ig_node *n, ig_cost *cost) {
  cost_moved(n, (double)ig_shape_count(&n->out[0]->shape), cost);
}
static void cost_place(const ig_node *n, ig_cost *cost) {
  cost_moved(n, (double)ig_shape_count(&((const ig_place_attr *)n->attr)->size), cost);
}

// ---- cases ----
#define X1(a) \
  { .shape = {1, {a}}, .fill = IG_FILL_NORMAL }
#define X2(a, b) \
  { .shape = {2, {a, b}}, .fill = IG_FILL_NORMAL }
#define X3(a, b, c) \
  { .shape = {3, {a, b, c}}, .fill = IG_FILL_NORMAL }
#define X4(a, b, c, d) \
  { .shape = {4, {a, b, c, d}}, .fill = IG_FILL_NORMAL }
#define INTEGERS(type, a, b) \
  { .shape = {2, {a, b}}, .dtype = type, .fill = IG_FILL_INDEX, .hi = 256, .no_grad = true }

static const ig_shape to_matrix = {2, {15, 14}}, to_vector = {1, {210}};
static const ig_op_case reshape_cases[] = {
    {"matrix", 1, {X4(3, 5, 7, 2)}, .attr = &to_matrix},
    {"vector", 1, {X3(5, 6, 7)}, .attr = &to_vector},
};
static const ig_op_case concat_cases[] = {
    {"one", 1, {X1(5)}, .attr = NULL},
    {"two_ragged", 2, {X4(2, 3, 5, 7), X4(2, 3, 5, 10)}, .attr = NULL},
    {"three", 3, {X4(1, 3, 3, 8), X4(1, 3, 3, 1), X4(1, 3, 3, 16)}, .attr = NULL},
    {"matrix", 2, {X2(3, 64), X2(3, 17)}, .attr = NULL},
    {"bytes", 2, {INTEGERS(IG_U8, 5, 7), INTEGERS(IG_U8, 5, 3)}, .attr = NULL},
    {"words", 2, {INTEGERS(IG_U64, 5, 7), INTEGERS(IG_U64, 5, 3)}, .attr = NULL},
    {"bench", 2, {X4(32, 56, 56, 64), X4(32, 56, 56, 32)}, .bench = true},
};
#define ONES \
  { 1, 1, 1, 1, 1, 1 }
static const ig_place_attr slice_2d = {{2, {3, 4}}, {2, {3, 4}}, {1, 5}, ONES, {0}, ONES, 0};
static const ig_place_attr slice_3d = {{3, {1, 4, 3}}, {3, {1, 4, 3}}, {1, 0, 2}, ONES, {0}, ONES, 0};
static const ig_place_attr pad_2d = {{4, {2, 7, 8, 3}}, {4, {2, 5, 4, 3}}, {0}, ONES, {0, 1, 3}, ONES, 0.5};
static const ig_place_attr option_a = {
    {4, {2, 4, 3, 20}}, {4, {2, 4, 3, 9}}, {0}, {1, 2, 2, 1, 1, 1}, {0, 0, 0, 5}, ONES, 0};
static const ig_place_attr option_a_blocks = {
    {4, {3, 3, 2, 32}}, {4, {3, 3, 2, 16}}, {0}, {1, 2, 2, 1, 1, 1}, {0, 0, 0, 8}, ONES, 0};
static const ig_place_attr spread = {
    {4, {1, 7, 5, 19}}, {4, {1, 4, 3, 6}}, {0, 0, 1, 2}, {1, 1, 1, 2, 1, 1}, {0, 0, 0, 1}, {1, 2, 2, 3, 1, 1}, -1};
static const ig_place_attr option_a_bench = {
    {4, {128, 16, 16, 64}}, {4, {128, 16, 16, 32}}, {0}, {1, 2, 2, 1, 1, 1}, {0, 0, 0, 16}, ONES, 0};
static const ig_op_case place_cases[] = {
    {"slice_2d", 1, {X2(5, 11)}, .attr = &slice_2d},
    {"slice_bytes", 1, {INTEGERS(IG_U8, 5, 11)}, .attr = &slice_2d},
    {"slice_words", 1, {INTEGERS(IG_U64, 5, 11)}, .attr = &slice_2d},
    {"slice_3d", 1, {X3(2, 4, 7)}, .attr = &slice_3d},
    {"pad", 1, {X4(2, 5, 4, 3)}, .attr = &pad_2d},
    {"option_a", 1, {X4(2, 7, 5, 9)}, .attr = &option_a},
    {"option_a_blocks", 1, {X4(3, 5, 4, 16)}, .attr = &option_a_blocks},
    {"spread", 1, {X4(1, 4, 5, 17)}, .attr = &spread},
    {"bench", 1, {X4(128, 32, 32, 32)}, .attr = &option_a_bench, .bench = true},
};

// ---- rows ----
#define CASES(list) .cases = list, .n_cases = (int)(sizeof list / sizeof *list)
#define IMPLS(stem) .impls = {[IG_DEVICE_CPU] = {stem "_cpu", stem "_ref"}, [IG_DEVICE_CUDA] = {stem "_cuda"}}

static const ig_op reshape_row = {.name = "reshape",
                                  .summary = "y = x in another shape, same row-major order",
                                  .min_in = 1,
                                  .max_in = 1,
                                  .n_out = 1,
                                  .attr_bytes = sizeof(ig_shape),
                                  .infer = infer_reshape,
                                  .grad = reshape_grad,
                                  .in_place = {1},
                                  .cheap = true,
                                  .cost = cost_copy,
                                  CASES(reshape_cases),
                                  IMPLS("reshape")};
static const ig_op concat_row = {.name = "concat_c",
                                 .summary = "y = operands joined along the last dimension",
                                 .min_in = 1,
                                 .max_in = -1,
                                 .n_out = 1,
                                 .infer = infer_concat,
                                 .grad = concat_grad,
                                 .cheap = true,
                                 .cost = cost_copy,
                                 CASES(concat_cases),
                                 IMPLS("concat_c")};
static const ig_op place_row = {.name = "place",
                                .summary = "y = value; y[out_begin + i out_step] = x[in_begin + i in_step], i < size",
                                .min_in = 1,
                                .max_in = 1,
                                .n_out = 1,
                                .attr_bytes = sizeof(ig_place_attr),
                                .infer = infer_place,
                                .grad = place_grad,
                                .cheap = true,
                                .cost = cost_place,
                                CASES(place_cases),
                                IMPLS("place")};

IG_OPS(shape_ops) = {&reshape_row, &concat_row, &place_row, NULL};

// ---- builders ----
static ig_tensor *build(ig_graph *g, const char *op, const char *name, int n, ig_tensor *const *in, const void *attr) {
  for (int i = 0; i < n; i++)
    if (!in[i])
      return NULL;
  ig_node *node = ig_graph_node(g, op, name, n, in, attr);
  return node ? node->out[0] : NULL;
}

ig_tensor *ig_reshape(ig_graph *g, const char *name, ig_tensor *x, ig_shape shape) {
  int64_t known = 1;
  int open = -1;
  if (!x)
    return NULL;
  for (int i = 0; i < shape.n; i++) {
    if (shape.d[i] == -1 && open < 0)
      open = i;
    else
      known *= shape.d[i];
  }
  if (open >= 0)
    shape.d[open] = known ? ig_shape_count(&x->shape) / known : 0;
  return build(g, "reshape", name, 1, &x, &shape);
}

ig_tensor *ig_pad2d(ig_graph *g, const char *name, ig_tensor *x, int top, int left, int bottom, int right,
                    double value) {
  if (!x)
    return NULL;
  const int64_t *d = x->shape.d;
  ig_shape out = IG_SHAPE4(d[0], d[1] + top + bottom, d[2] + left + right, d[3]);
  ig_place_attr a = whole(&out, &x->shape);
  a.out_begin[1] = top;
  a.out_begin[2] = left;
  a.value = value;
  return build(g, "place", name, 1, &x, &a);
}

ig_tensor *ig_slice(ig_graph *g, const char *name, ig_tensor *x, ig_shape begin, ig_shape size) {
  if (!x)
    return NULL;
  for (int i = 0; i < size.n && i < x->shape.n; i++)
    if (size.d[i] == -1)
      size.d[i] = x->shape.d[i] - begin.d[i];
  ig_place_attr a = whole(&size, &size);
  for (int i = 0; i < begin.n; i++)
    a.in_begin[i] = begin.d[i];
  return build(g, "place", name, 1, &x, &a);
}

ig_tensor *ig_concat_c(ig_graph *g, const char *name, int n, ig_tensor *const *ts) {
  return build(g, "concat_c", name, n, ts, NULL);
}

ig_tensor *ig_shortcut_a(ig_graph *g, const char *name, ig_tensor *x, int64_t stride, int64_t out_channels) {
  if (!x)
    return NULL;
  const int64_t *d = x->shape.d;
  if (x->shape.n != 4 || stride < 1 || out_channels < d[3]) {
    char text[96];
    return ig_graph_fail(
        g, IG_ERR_MISMATCH,
        "%s%s: shortcut of %s with stride %lld to %lld channels: found shape %s, expected [N, H, W, C] "
        "with at most as many channels",
        g->prefix, name, x->name, (long long)stride, (long long)out_channels, ig_shape_text(&x->shape, text));
  }
  ig_shape size = IG_SHAPE4(d[0], (d[1] - 1) / stride + 1, (d[2] - 1) / stride + 1, d[3]);
  ig_shape out = IG_SHAPE4(size.d[0], size.d[1], size.d[2], out_channels);
  ig_place_attr a = whole(&out, &size);
  a.in_step[1] = a.in_step[2] = stride;
  a.out_begin[3] = (out_channels - d[3]) / 2;
  return build(g, "place", name, 1, &x, &a);
}
