// Rows of the folded convolution, and the pass that brings them into a graph. Rule: see conv2d_fused.h.
#include "kernels/conv2d_fused/conv2d_fused.h"

#include <stdio.h>
#include <string.h>

#include "kernels/kernels.h"
#include "kernels/reorder/reorder.h"
#include "runtime/base/mem.h"

enum { F_W, F_GAMMA, F_BETA, F_MEAN, F_VAR, F_BIAS, F_N };
// Operands of bn_apply.
enum { A_X, A_MEAN, A_VAR, A_GAMMA, A_BETA, A_RESIDUAL, A_COUNT };

// ---- bn_fold ----
static ig_status infer_fold(ig_graph *g, ig_node *n) {
  const ig_tensor *w = n->in[F_W];
  IG_TRY(ig_check_rank(n, F_W, 4));
  if (w->dtype != IG_F32 && w->dtype != IG_F64)
    return ig_fail(IG_ERR_MISMATCH, "operand %d (%s) is %s, expected f32", F_W, w->name, ig_dtype_name(w->dtype));
  for (int i = F_GAMMA; i < F_N; i++) {
    if (!n->in[i])
      continue;
    IG_TRY(ig_check_shape(n, i, IG_SHAPE1(w->shape.d[0])));
    IG_TRY(ig_check_dtype(n, i, w->dtype));
  }
  IG_TRY(ig_node_set_out(g, n, 0, w->dtype, w->shape));
  return ig_node_set_out(g, n, 1, w->dtype, IG_SHAPE1(w->shape.d[0]));
}

static void cost_fold(const ig_node *n, ig_cost *c) {
  const double count = (double)ig_shape_count(&n->in[F_W]->shape);
  c->flops = count;
  c->bytes = 2 * count * (double)ig_dtype_bytes(n->in[F_W]->dtype);
}

#define WEIGHTS(...) \
  { .shape = {4, {__VA_ARGS__}}, .fill = IG_FILL_NORMAL, .fixed_f32 = true }
#define VECTOR(n, kind) \
  { .shape = {1, {n}}, .fill = kind, .fixed_f32 = true }
#define NORM(K) \
  VECTOR(K, IG_FILL_NORMAL), VECTOR(K, IG_FILL_NORMAL), VECTOR(K, IG_FILL_NORMAL), VECTOR(K, IG_FILL_POSITIVE)
static const ig_batchnorm_attr norm = {1e-5f, 0.1f, false};
static const ig_op_case fold_cases[] = {
    {"one", F_N, {WEIGHTS(1, 1, 1, 1), NORM(1), VECTOR(1, IG_FILL_ABSENT)}, .attr = &norm},
    {"prime", F_N, {WEIGHTS(17, 5, 3, 3), NORM(17), VECTOR(17, IG_FILL_ABSENT)}, .attr = &norm},
    {"fours", F_N, {WEIGHTS(7, 4, 3, 3), NORM(7), VECTOR(7, IG_FILL_ABSENT)}, .attr = &norm},
    {"bias", F_N, {WEIGHTS(67, 3, 5, 7), NORM(67), VECTOR(67, IG_FILL_NORMAL)}, .attr = &norm},
    {"bench", F_N, {WEIGHTS(512, 512, 3, 3), NORM(512), VECTOR(512, IG_FILL_ABSENT)}, .attr = &norm, .bench = true},
};

static const ig_op fold_row = {
    .name = "bn_fold",
    .summary = "w' = w s, bias' = beta + (bias - mean) s with s = gamma / sqrt(var + eps), an output channel each",
    .min_in = F_N,
    .max_in = F_N,
    .n_out = 2,
    .optional_in = 1u << F_BIAS,
    .attr_bytes = sizeof(ig_batchnorm_attr),
    .infer = infer_fold,
    .grad = ig_no_grad,
    .cost = cost_fold,
    .cases = fold_cases,
    .n_cases = sizeof fold_cases / sizeof *fold_cases,
    .impls = {[IG_DEVICE_CPU] = {"bn_fold_cpu", "bn_fold_ref"}, [IG_DEVICE_CUDA] = {"bn_fold_cuda"}},
};

// ---- conv2d_fused ----
// name, N,H,W,C, K,R,S, stride, padding, groups, bias, residual, relu, bench
#define CASES(X)                                                                    \
  X("1x1 all", 3, 7, 5, 17, 13, 1, 1, 1, 0, 1, NORMAL, NORMAL, 1, 0)                \
  X("1x1 no bias", 1, 6, 6, 32, 32, 1, 1, 1, 0, 1, ABSENT, NORMAL, 1, 0)            \
  X("1x1 one thread's parts", 2, 3, 5, 40, 48, 1, 1, 1, 0, 1, NORMAL, NORMAL, 0, 0) \
  X("1x1 stride 2", 3, 9, 8, 32, 16, 1, 1, 2, 0, 1, NORMAL, ABSENT, 0, 0)           \
  X("3x3 relu", 3, 7, 9, 32, 17, 3, 3, 1, 1, 1, NORMAL, ABSENT, 1, 0)               \
  X("3x3 all", 3, 11, 7, 17, 19, 3, 3, 1, 1, 1, NORMAL, NORMAL, 1, 0)               \
  X("3x3 residual", 1, 13, 14, 32, 64, 3, 3, 1, 1, 1, ABSENT, NORMAL, 0, 0)         \
  X("3x3 stride 2", 1, 9, 11, 16, 32, 3, 3, 2, 1, 1, NORMAL, NORMAL, 1, 0)          \
  X("7x7 stem", 3, 21, 19, 3, 17, 7, 7, 2, 3, 1, NORMAL, ABSENT, 1, 0)              \
  X("3x3 few residual", 1, 7, 7, 3, 16, 3, 3, 1, 1, 1, NORMAL, NORMAL, 1, 0)        \
  X("groups 4 of 8", 1, 8, 8, 32, 32, 3, 3, 2, 1, 4, NORMAL, NORMAL, 1, 0)          \
  X("depthwise prime", 1, 7, 7, 17, 17, 3, 3, 2, 1, 17, NORMAL, NORMAL, 1, 0)       \
  X("one pixel", 3, 1, 1, 3, 5, 1, 1, 1, 0, 1, NORMAL, NORMAL, 1, 0)                \
  X("resnet18 layer1 56", 16, 56, 56, 64, 64, 3, 3, 1, 1, 1, NORMAL, NORMAL, 1, 1)  \
  X("resnet18 layer4 7", 16, 7, 7, 512, 512, 3, 3, 1, 1, 1, NORMAL, NORMAL, 1, 1)   \
  X("resnet50 layer1 1x1 wide", 16, 56, 56, 64, 256, 1, 1, 1, 0, 1, NORMAL, NORMAL, 1, 1)

#define OUT(in, kernel, stride, pad) (((in) + 2 * (pad) - (kernel)) / (stride) + 1)
#define FLOATS(kind, ...) \
  { .shape = {4, {__VA_ARGS__}}, .fill = IG_FILL_##kind }
#define CASE(text, N, H, W, C, K, R, S, stride, pad, groups, bias, residual, relu, large)           \
  {.name = text,                                                                                    \
   .n_in = 4,                                                                                       \
   .in = {FLOATS(NORMAL, N, H, W, C),                                                               \
          FLOATS(NORMAL, K, (C) / (groups), R, S),                                                  \
          {.shape = {1, {K}}, .fill = IG_FILL_##bias, .fixed_f32 = true},                           \
          FLOATS(residual, N, OUT(H, R, stride, pad), OUT(W, S, stride, pad), K)},                  \
   .attr = &(const ig_conv2d_fused_attr){{stride, stride, pad, pad, pad, pad, 1, 1, groups}, relu}, \
   .bench = large},
static const ig_op_case fused_cases[] = {CASES(CASE)};

static const ig_op fused_row = {
    .name = "conv2d_fused",
    .summary = "y = relu?(conv2d(x, w) + bias + residual)",
    .min_in = 4,
    .max_in = 4,
    .n_out = 1,
    .optional_in = 1u << 2 | 1u << 3,
    .attr_bytes = sizeof(ig_conv2d_fused_attr),
    .infer = ig_conv2d_infer,
    .grad = ig_no_grad,
    .in_place = {1 + 3},
    .cost = ig_conv2d_cost,
    .cases = fused_cases,
    .n_cases = sizeof fused_cases / sizeof *fused_cases,
    .impls = {[IG_DEVICE_CPU] = {"conv2d_fused_wino_cpu", "conv2d_fused_wino_bf16_cpu", "conv2d_fused_dnnl_wino",
                                 "conv2d_fused_gemm_cpu", "conv2d_fused_pointwise_cpu", "conv2d_fused_few_cpu",
                                 "conv2d_fused_few_bf16_cpu", "conv2d_fused_dnnl", "conv2d_fused_ref"},
              [IG_DEVICE_CUDA] = {"conv2d_fused_cudnn", "conv2d_fused_cuda"}},
};

IG_OPS(conv2d_fused) = {&fused_row, &fold_row, NULL};

// ---- the pass ----
static bool is_row(const ig_node *n, const char *name) { return n && !strcmp(n->op->name, name); }

static int readers(const ig_graph *g, const ig_tensor *t) {
  int n = t->is_output;
  for (size_t k = 0; k < g->n_nodes; k++)
    for (int i = 0; i < g->nodes[k]->n_in; i++)
      n += g->nodes[k]->in[i] == t;
  return n;
}

// The convolution that can take over what `n` does, NULL: none.
static ig_node *foldable(const ig_graph *g, const ig_node *n) {
  if (!is_row(n, "bn_apply") || n->in[A_COUNT] || n->out[0]->is_output)
    return NULL;
  ig_node *conv = n->in[A_X]->producer;
  return is_row(conv, "conv2d") && readers(g, conv->out[0]) == 1 ? conv : NULL;
}

// New nodes, at the end of the graph: fold, 16-bit weights where it computes so, convolution. NULL: failed.
static ig_node *emit(ig_graph *g, const ig_node *conv, const ig_node *bn) {
  const ig_batchnorm_attr *norm_of = bn->attr;
  ig_tensor *const *in = bn->in;
  const ig_node *copy = conv->in[1]->producer;
  ig_tensor *w = is_row(copy, "reorder") ? copy->in[0] : conv->in[1], *bias = conv->n_in > 2 ? conv->in[2] : NULL;
  ig_conv2d_fused_attr attr;
  char name[400];
  memset(&attr, 0, sizeof attr);  // padding is hashed by the tuner
  attr.conv = *(const ig_conv2d_attr *)conv->attr;
  attr.relu = norm_of->relu;
  snprintf(name, sizeof name, "%s/fold", conv->name);
  ig_node *fold = ig_graph_node(g, "bn_fold", name, F_N,
                                (ig_tensor *[]){w, in[A_GAMMA], in[A_BETA], in[A_MEAN], in[A_VAR], bias}, norm_of);
  if (!fold)
    return NULL;
  snprintf(name, sizeof name, "%s/fold/%s", conv->name, ig_dtype_name(conv->in[1]->dtype));
  w = ig_reorder(g, name, fold->out[0], conv->in[1]->dtype);
  return w ? ig_graph_node(g, "conv2d_fused", conv->name, 4,
                           (ig_tensor *[]){conv->in[0], w, fold->out[1], in[A_RESIDUAL]}, &attr)
           : NULL;
}

static void read_instead(ig_graph *g, const ig_tensor *before, ig_tensor *now) {
  for (size_t k = 0; k < g->n_nodes; k++)
    for (int i = 0; i < g->nodes[k]->n_in; i++)
      if (g->nodes[k]->in[i] == before)
        g->nodes[k]->in[i] = now;
}

// Puts the nodes from `from` on before nodes[at], which goes, as does `conv`; copies of weights that nobody reads any
// more go, too.
static void rearrange(ig_graph *g, size_t at, const ig_node *conv, size_t from, ig_node **order) {
  size_t n = 0;
  for (size_t k = 0; k < from; k++) {
    if (k == at)
      for (size_t j = from; j < g->n_nodes; j++)
        order[n++] = g->nodes[j];
    else if (g->nodes[k] != conv)
      order[n++] = g->nodes[k];
  }
  memcpy(g->nodes, order, n * sizeof *order);
  g->n_nodes = n;
  for (size_t k = n = 0; k < g->n_nodes; k++)
    if (!is_row(g->nodes[k], "reorder") || readers(g, g->nodes[k]->out[0]))
      order[n++] = g->nodes[k];
  memcpy(g->nodes, order, n * sizeof *order);
  g->n_nodes = n;
  for (size_t k = 0; k < n; k++)
    g->nodes[k]->id = (int)k;
}

ig_status ig_graph_fold_batchnorm(ig_graph *g, ig_device_kind kind, int *n_folded) {
  ig_status status = IG_OK;
  ig_node **order = NULL;
  int n = 0;
  IG_TRY(ig_graph_status(g));
  ig_graph_scope(g, "%s", "");
  // Each fold adds three nodes at most and takes two.
  if (fused_row.impls[kind][0])
    IG_GOTO(ig_alloc_array(2 * g->n_nodes + 3, sizeof *order, "folding of batch normalisation", &order));
  for (size_t k = 0; order && k < g->n_nodes; k++) {
    const ig_node *bn = g->nodes[k], *conv = foldable(g, bn);
    const size_t from = g->n_nodes;
    if (!conv)
      continue;
    const ig_node *made = emit(g, conv, bn);
    if (!made)
      IG_GOTO(ig_graph_status(g));
    read_instead(g, bn->out[0], made->out[0]);
    rearrange(g, k, conv, from, order);
    k = (size_t)made->id;
    n++;
  }
done:
  ig_free(order);
  if (n_folded)
    *n_folded = n;
  return status;
}
