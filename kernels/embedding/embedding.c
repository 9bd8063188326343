// Rows and builder of the embedding. Rule: the table's gradient is dense; rows that no id names are zeros, or the
// addend's where it has one (a table that is used twice has two gradients, and this one touches few rows).
#include "kernels/embedding/embedding.h"

#include "kernels/kernels.h"
#include "kernels/optim_util/fixed.h"

// ---- shapes ----
static ig_status check_float(const ig_node *n, int i) {
  IG_TRY(ig_check_rank(n, i, 2));
  if (!ig_dtype_is_float(n->in[i]->dtype))
    return ig_fail(IG_ERR_MISMATCH, "operand %d (%s) is %s, expected a floating-point type", i, n->in[i]->name,
                   ig_dtype_name(n->in[i]->dtype));
  return IG_OK;
}

static ig_status check_ids(const ig_node *n, int i) {
  IG_TRY(ig_check_rank(n, i, 1));
  return ig_check_dtype(n, i, IG_I32);
}

static ig_status infer(ig_graph *g, ig_node *n) {
  IG_TRY(check_float(n, 0));
  IG_TRY(check_ids(n, 1));
  ig_shape out = IG_SHAPE2(n->in[1]->shape.d[0], n->in[0]->shape.d[1]);
  if (n->in[2]) {
    IG_TRY(check_float(n, 2));
    IG_TRY(ig_check_shape(n, 2, out));
  }
  return ig_node_set_out(g, n, 0, g->options.compute_dtype, out);
}

static ig_status infer_bwd(ig_graph *g, ig_node *n) {
  const ig_embedding_bwd_attr *a = n->attr;
  IG_TRY(check_float(n, 0));
  IG_TRY(check_ids(n, 1));
  IG_TRY(ig_check_shape(n, 1, IG_SHAPE1(n->in[0]->shape.d[0])));
  if (a->V < 1 || a->V > INT32_MAX)
    return ig_fail(IG_ERR_MISMATCH, "a table of %lld rows, expected 1 to 2^31 - 1", (long long)a->V);
  const ig_shape out = IG_SHAPE2(a->V, n->in[0]->shape.d[1]);
  if (n->n_in > 2 && n->in[2]) {
    IG_TRY(ig_check_shape(n, 2, out));
    IG_TRY(ig_check_dtype(n, 2, ig_sum_dtype(n->in[0])));
  }
  return ig_node_set_out(g, n, 0, ig_sum_dtype(n->in[0]), out);
}

// ---- gradient ----
static ig_status grad(ig_graph *g, const ig_node *n, ig_tensor *const *dout, const bool *need, ig_tensor **din) {
  char name[400];
  if (need[0]) {
    const ig_embedding_bwd_attr attr = {n->in[0]->shape.d[0]};
    snprintf(name, sizeof name, "%s/dtable", n->name);
    ig_node *made = ig_graph_node(g, "embedding_bwd", name, 3, (ig_tensor *[]){dout[0], n->in[1], NULL}, &attr);
    din[0] = made ? made->out[0] : NULL;
  }
  if (need[2] && dout[0]->dtype == n->in[2]->dtype) {
    din[2] = dout[0];
  } else if (need[2]) {
    snprintf(name, sizeof name, "%s/daddend", n->name);
    ig_node *made = ig_graph_node(g, "reorder", name, 1, dout, &n->in[2]->dtype);
    din[2] = made ? made->out[0] : NULL;
  }
  return ig_graph_status(g);
}

// ---- costs ----
static double bytes_of(const ig_tensor *t) {
  return t ? (double)ig_shape_count(&t->shape) * (double)ig_dtype_bytes(t->dtype) : 0;
}

// Of the table, the rows that are read.
static void cost(const ig_node *n, ig_cost *cost) {
  double count = (double)ig_shape_count(&n->out[0]->shape);
  cost->flops = n->in[2] ? count : 0;
  cost->bytes =
      count * (double)ig_dtype_bytes(n->in[0]->dtype) + bytes_of(n->in[1]) + bytes_of(n->in[2]) + bytes_of(n->out[0]);
}

// With an addend, whose memory the result takes over, the rows that are added to alone: at most one a token.
static void cost_bwd(const ig_node *n, ig_cost *cost) {
  const double count = (double)ig_shape_count(&n->in[0]->shape);
  *cost = (ig_cost){count, ig_cost_bytes(n)};
  if (n->n_in > 2 && n->in[2])
    cost->bytes = bytes_of(n->in[0]) + bytes_of(n->in[1]) + 2 * count * (double)ig_dtype_bytes(n->out[0]->dtype);
}

// ---- cases ----
#define TABLE(V, D) \
  { .shape = {2, {V, D}}, .fill = IG_FILL_NORMAL, .fixed_f32 = true }
#define NARROW(T, D) \
  { .shape = {2, {T, D}}, .fill = IG_FILL_NORMAL }
#define IDS(T, V) \
  { .shape = {1, {T}}, .dtype = IG_I32, .fill = IG_FILL_INDEX, .hi = V, .no_grad = true }
#define NONE \
  { .fill = IG_FILL_ABSENT }

static const ig_op_case cases[] = {
    {"one", 3, {TABLE(1, 1), IDS(1, 1), NONE}, .attr = NULL},
    {"ragged", 3, {TABLE(11, 7), IDS(17, 11), NONE}, .attr = NULL},
    {"addend", 3, {TABLE(5, 37), IDS(13, 5), NARROW(13, 37)}, .attr = NULL},
    {"narrow_table", 3, {NARROW(5, 64), IDS(13, 5), NARROW(13, 64)}, .attr = NULL},
    {"two_rows", 3, {TABLE(2, 67), IDS(211, 2), NARROW(211, 67)}, .attr = NULL},
    {"bench", 3, {TABLE(30522, 768), IDS(1024, 30522), NARROW(1024, 768)}, .bench = true},
};
static const ig_embedding_bwd_attr v5 = {5}, v2 = {2}, v300 = {300}, v30522 = {30522};
static const ig_op_case bwd_cases[] = {
    {"v5", 2, {NARROW(13, 37), IDS(13, 5)}, .attr = &v5},
    {"v2", 2, {NARROW(211, 67), IDS(211, 2)}, .attr = &v2},
    {"v300", 2, {NARROW(31, 16), IDS(31, 300)}, .attr = &v300},
    {"past_the_end", 2, {NARROW(31, 16), IDS(31, 9)}, .attr = &v5},
    {"addend", 3, {NARROW(31, 37), IDS(31, 300), TABLE(300, 37)}, .attr = &v300},
    {"addend_two", 3, {NARROW(211, 64), IDS(211, 2), TABLE(2, 64)}, .attr = &v2},
    {"bench", 2, {NARROW(1024, 768), IDS(1024, 30522)}, &v30522, .bench = true},
    {"bench_addend", 3, {NARROW(1024, 768), IDS(1024, 30522), TABLE(30522, 768)}, &v30522, .bench = true},
    {"bench_two", 2, {NARROW(1024, 768), IDS(1024, 2)}, &v2, .bench = true},
};

// ---- rows ----
#define CASES(list) .cases = list, .n_cases = (int)(sizeof list / sizeof *list)

static const ig_op embedding_row = {
    .name = "embedding",
    .summary = "y[t] = table[ids[t]] (+ addend[t])",
    .min_in = 3,
    .max_in = 3,
    .n_out = 1,
    .optional_in = 1 << 2,
    .infer = infer,
    .grad = grad,
    .keeps_in = 1 << 1,
    .in_place = {1 + 2},
    .cost = cost,
    CASES(cases),
    .impls = {[IG_DEVICE_CPU] = {"embedding_cpu", "embedding_ref"}, [IG_DEVICE_CUDA] = {"embedding_cuda"}},
};
static const ig_op embedding_bwd_row = {
    .name = "embedding_bwd",
    .summary = "dtable[v] = (addend[v] +) sum of dy[t] where ids[t] = v, in the order of t",
    .min_in = 2,
    .max_in = 3,
    .n_out = 1,
    .optional_in = 1 << 2,
    .attr_bytes = sizeof(ig_embedding_bwd_attr),
    .infer = infer_bwd,
    .grad = ig_no_grad,
    .in_place = {1 + 2},
    .addend = 1 + 2,
    .cost = cost_bwd,
    CASES(bwd_cases),
    .impls = {[IG_DEVICE_CPU] = {"embedding_bwd_cpu", "embedding_bwd_ref"}, [IG_DEVICE_CUDA] = {"embedding_bwd_cuda"}},
};

IG_OPS(embedding) = {&embedding_row, &embedding_bwd_row, NULL};

// ---- builder ----
ig_tensor *ig_embedding(ig_graph *g, const char *name, ig_tensor *table, ig_tensor *ids, ig_tensor *addend) {
  if (!table || !ids)
    return NULL;
  ig_node *n = ig_graph_node(g, "embedding", name, 3, (ig_tensor *[]){table, ids, addend}, NULL);
  return n ? n->out[0] : NULL;
}
