// Rows and builders of the choice of rows and of means over sequences.
#include "kernels/rows/rows.h"

#include "kernels/kernels.h"
#include "kernels/optim_util/fixed.h"
#include "kernels/reorder/reorder.h"

// ---- shapes ----
static ig_status check(const ig_node *n, bool keys) {
  IG_TRY(ig_check_rank(n, 0, 2));
  if (!ig_dtype_is_float(n->in[0]->dtype) && !(keys && n->in[0]->dtype == IG_U64))
    return ig_fail(IG_ERR_MISMATCH, "operand 0 (%s) is %s, expected a floating-point type", n->in[0]->name,
                   ig_dtype_name(n->in[0]->dtype));
  IG_TRY(ig_check_rank(n, 1, 1));
  return ig_check_dtype(n, 1, IG_I32);
}

static ig_status check_offsets(const ig_node *n) {
  IG_TRY(check(n, false));
  if (n->in[1]->shape.d[0] < 1)
    return ig_fail(IG_ERR_MISMATCH, "operand 1 (%s) is empty, expected offsets [B+1]", n->in[1]->name);
  return IG_OK;
}

static ig_status infer_gather(ig_graph *g, ig_node *n) {
  IG_TRY(check(n, true));
  return ig_node_set_out(g, n, 0, n->in[0]->dtype, IG_SHAPE2(n->in[1]->shape.d[0], n->in[0]->shape.d[1]));
}

static ig_status infer_gather_bwd(ig_graph *g, ig_node *n) {
  const ig_rows_bwd_attr *a = n->attr;
  IG_TRY(check(n, false));
  IG_TRY(ig_check_shape(n, 1, IG_SHAPE1(n->in[0]->shape.d[0])));
  return ig_node_set_out(g, n, 0, n->in[0]->dtype, IG_SHAPE2(a->T, n->in[0]->shape.d[1]));
}

static ig_status infer_mean(ig_graph *g, ig_node *n) {
  IG_TRY(check_offsets(n));
  return ig_node_set_out(g, n, 0, ig_sum_dtype(n->in[0]), IG_SHAPE2(n->in[1]->shape.d[0] - 1, n->in[0]->shape.d[1]));
}

static ig_status infer_mean_bwd(ig_graph *g, ig_node *n) {
  const ig_rows_bwd_attr *a = n->attr;
  IG_TRY(check_offsets(n));
  IG_TRY(ig_check_shape(n, 1, IG_SHAPE1(n->in[0]->shape.d[0] + 1)));
  return ig_node_set_out(g, n, 0, a->type, IG_SHAPE2(a->T, n->in[0]->shape.d[1]));
}

static ig_status infer_places(ig_graph *g, ig_node *n) {
  const ig_rows_bwd_attr *a = n->attr;
  IG_TRY(ig_check_rank(n, 0, 1));
  IG_TRY(ig_check_dtype(n, 0, IG_I32));
  return ig_node_set_out(g, n, 0, IG_I32, IG_SHAPE1(a->T));
}

// ---- gradients ----
static ig_status emit(ig_graph *g, const ig_node *n, const char *op, ig_tensor *dy, ig_tensor **din) {
  const ig_tensor *x = n->in[0];
  const ig_rows_bwd_attr attr = {.T = x->shape.d[0], .type = x->dtype};
  char name[400];
  snprintf(name, sizeof name, "%s/dx", n->name);
  ig_node *made = dy ? ig_graph_node(g, op, name, 2, (ig_tensor *[]){dy, n->in[1]}, &attr) : NULL;
  din[0] = made ? made->out[0] : NULL;
  return ig_graph_status(g);
}

static ig_status grad_gather(ig_graph *g, const ig_node *n, ig_tensor *const *dout, const bool *need, ig_tensor **din) {
  char name[400];
  snprintf(name, sizeof name, "%s/dy", n->name);
  return emit(g, n, "gather_rows_bwd", ig_reorder(g, name, dout[0], n->in[0]->dtype), din);
}

static ig_status grad_mean(ig_graph *g, const ig_node *n, ig_tensor *const *dout, const bool *need, ig_tensor **din) {
  return emit(g, n, "segment_mean_bwd", dout[0], din);
}

// ---- costs ----
static void cost_gather(const ig_node *n, ig_cost *cost) {
  const ig_tensor *y = n->out[0];
  *cost = (ig_cost){0, 2 * (double)ig_shape_count(&y->shape) * (double)ig_dtype_bytes(y->dtype)};
}
static void cost_sums(const ig_node *n, ig_cost *cost) {
  *cost = (ig_cost){(double)ig_shape_count(&n->in[0]->shape), ig_cost_bytes(n)};
}
static void cost_places(const ig_node *n, ig_cost *cost) { *cost = (ig_cost){0, ig_cost_bytes(n)}; }

// ---- cases ----
#define X(T, D) \
  { .shape = {2, {T, D}}, .fill = IG_FILL_NORMAL }
#define WIDE(T, D) \
  { .shape = {2, {T, D}}, .fill = IG_FILL_NORMAL, .fixed_f32 = true }
#define INDEX(P, T) \
  { .shape = {1, {P}}, .dtype = IG_I32, .fill = IG_FILL_INDEX, .hi = T, .no_grad = true }
#define OFFSETS(B, T) \
  { .shape = {1, {(B) + 1}}, .dtype = IG_I32, .fill = IG_FILL_OFFSETS, .hi = T, .no_grad = true }
#define KEYS(T, D) \
  { .shape = {2, {T, D}}, .dtype = IG_U64, .fill = IG_FILL_INDEX, .hi = 1 << 20, .no_grad = true }

static const ig_op_case gather_cases[] = {
    {"one", 2, {X(1, 1), INDEX(1, 1)}, .attr = NULL},
    {"ragged", 2, {X(13, 37), INDEX(7, 13)}, .attr = NULL},
    {"often", 2, {X(5, 67), INDEX(31, 5)}, .attr = NULL},
    {"eights", 2, {X(5, 264), INDEX(11, 5)}, .attr = NULL},
    {"keys", 2, {KEYS(301, 1), INDEX(277, 301)}, .attr = NULL},
    {"bench", 2, {X(1024, 768), INDEX(160, 1024)}, .bench = true},
};
static const ig_rows_bwd_attr t1 = {1, IG_F32}, t5 = {5, IG_F32}, t13 = {13, IG_F32}, t1024 = {1024, IG_F32},
                              t11 = {11, IG_F32};
static const ig_op_case gather_bwd_cases[] = {
    {"ragged", 2, {X(7, 37), INDEX(7, 13)}, .attr = &t13},
    {"often", 2, {X(31, 67), INDEX(31, 5)}, .attr = &t5},
    {"past_the_end", 2, {X(31, 16), INDEX(31, 9)}, .attr = &t5},
    {"bench", 2, {X(160, 768), INDEX(160, 1024)}, &t1024, .bench = true},
};
static const ig_op_case mean_cases[] = {
    {"one", 2, {X(3, 1), OFFSETS(1, 3)}, .attr = NULL},
    {"ragged", 2, {X(13, 37), OFFSETS(3, 13)}, .attr = NULL},
    {"rest", 2, {X(13, 67), OFFSETS(4, 9)}, .attr = NULL},
    {"empty", 2, {X(5, 16), OFFSETS(11, 5)}, .attr = NULL},
    {"bench", 2, {X(1024, 768), OFFSETS(24, 1024)}, .bench = true},
};
static const ig_op_case mean_bwd_cases[] = {
    {"ragged", 2, {WIDE(3, 37), OFFSETS(3, 11)}, .attr = &t11},
    {"rest", 2, {WIDE(4, 67), OFFSETS(4, 9)}, .attr = &t13},
    {"bench", 2, {WIDE(24, 768), OFFSETS(24, 1024)}, &t1024, .bench = true},
};
static const ig_op_case places_cases[] = {
    {"one", 1, {INDEX(1, 1)}, .attr = &t1},         {"ragged", 1, {INDEX(7, 13)}, .attr = &t13},
    {"often", 1, {INDEX(31, 5)}, .attr = &t5},      {"past_the_end", 1, {INDEX(31, 13)}, .attr = &t11},
    {"wide", 1, {INDEX(277, 301)}, .attr = &t1024}, {"bench", 1, {INDEX(168, 1024)}, .attr = &t1024, .bench = true},
};

// ---- rows ----
#define CASES(list) .cases = list, .n_cases = (int)(sizeof list / sizeof *list)
#define IMPLS(stem) .impls = {[IG_DEVICE_CPU] = {stem "_cpu", stem "_ref"}, [IG_DEVICE_CUDA] = {stem "_cuda"}}
#define TWO_IN      .min_in = 2, .max_in = 2, .n_out = 1

static const ig_op gather_row = {.name = "gather_rows",
                                 .summary = "y[p] = x[index[p]], zeros for -1",
                                 TWO_IN,
                                 .infer = infer_gather,
                                 .grad = grad_gather,
                                 .keeps_in = 2,
                                 .cost = cost_gather,
                                 CASES(gather_cases),
                                 IMPLS("gather_rows")};
static const ig_op gather_bwd_row = {.name = "gather_rows_bwd",
                                     .summary = "dx[t] = sum of dy[p] where index[p] = t, in the order of p",
                                     TWO_IN,
                                     .attr_bytes = sizeof(ig_rows_bwd_attr),
                                     .infer = infer_gather_bwd,
                                     .grad = ig_no_grad,
                                     .cost = cost_sums,
                                     CASES(gather_bwd_cases),
                                     IMPLS("gather_rows_bwd")};
static const ig_op mean_row = {.name = "segment_mean",
                               .summary = "y[b] = mean of x's rows of sequence b",
                               TWO_IN,
                               .infer = infer_mean,
                               .grad = grad_mean,
                               .keeps_in = 2,
                               .cost = cost_sums,
                               CASES(mean_cases),
                               IMPLS("segment_mean")};
static const ig_op mean_bwd_row = {.name = "segment_mean_bwd",
                                   .summary = "dx[t] = dy[b] / length of sequence b, t in b",
                                   TWO_IN,
                                   .attr_bytes = sizeof(ig_rows_bwd_attr),
                                   .infer = infer_mean_bwd,
                                   .grad = ig_no_grad,
                                   .cost = cost_sums,
                                   CASES(mean_bwd_cases),
                                   IMPLS("segment_mean_bwd")};
static const ig_op places_row = {.name = "row_places",
                                 .summary = "y[t] = the last p where index[p] = t, else -1",
                                 .min_in = 1,
                                 .max_in = 1,
                                 .n_out = 1,
                                 .attr_bytes = sizeof(ig_rows_bwd_attr),
                                 .infer = infer_places,
                                 .grad = ig_no_grad,
                                 .cost = cost_places,
                                 CASES(places_cases),
                                 IMPLS("row_places")};

IG_OPS(rows) = {&gather_row, &gather_bwd_row, &mean_row, &mean_bwd_row, &places_row, NULL};

// ---- builders ----
static ig_tensor *build(ig_graph *g, const char *op, const char *name, ig_tensor *x, ig_tensor *places) {
  if (!x || !places)
    return NULL;
  ig_node *n = ig_graph_node(g, op, name, 2, (ig_tensor *[]){x, places}, NULL);
  return n ? n->out[0] : NULL;
}

ig_tensor *ig_gather_rows(ig_graph *g, const char *name, ig_tensor *x, ig_tensor *index) {
  return build(g, "gather_rows", name, x, index);
}

ig_tensor *ig_segment_mean(ig_graph *g, const char *name, ig_tensor *x, ig_tensor *cu_seqlens) {
  return build(g, "segment_mean", name, x, cu_seqlens);
}

ig_tensor *ig_row_places(ig_graph *g, const char *name, ig_tensor *index, int64_t T) {
  const ig_rows_bwd_attr attr = {.T = T};
  ig_node *n = index ? ig_graph_node(g, "row_places", name, 1, &index, &attr) : NULL;
  return n ? n->out[0] : NULL;
}
