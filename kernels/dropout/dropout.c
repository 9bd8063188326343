// Row and builder of dropout. Rule: the gradient is dropout of dy by the same row; the node it makes inherits the key,
// so it draws the same mask.
#include "kernels/dropout/dropout.h"

#include <stdio.h>

#include "kernels/kernels.h"

static ig_status infer(ig_graph *g, ig_node *n) {
  float p = *(const float *)n->attr;
  const ig_tensor *x = n->in[0];
  if (!(p >= 0 && p <= 1))
    return ig_fail(IG_ERR_MISMATCH, "probability %g, expected 0 to 1", (double)p);
  if (!ig_dtype_is_float(x->dtype) || x->shape.n < 1)
    return ig_fail(IG_ERR_MISMATCH, "operand 0 (%s) is %s of rank %d, expected a floating-point tensor of samples",
                   x->name, ig_dtype_name(x->dtype), x->shape.n);
  IG_TRY(ig_check_dtype(n, 1, IG_U64));
  IG_TRY(ig_check_shape(n, 1, IG_SHAPE1(IG_N_STEP_STATE)));
  if (n->n_in > 2) {
    IG_TRY(ig_check_dtype(n, 2, IG_U64));
    IG_TRY(ig_check_shape(n, 2, IG_SHAPE1(x->shape.d[0])));
  }
  return ig_node_set_out(g, n, 0, x->dtype, x->shape);
}

static ig_status grad(ig_graph *g, const ig_node *n, ig_tensor *const *dout, const bool *need, ig_tensor **din) {
  char name[400];
  snprintf(name, sizeof name, "%s/dx", n->name);
  ig_tensor *in[3] = {dout[0], n->in[1], n->n_in > 2 ? n->in[2] : NULL};
  ig_node *made = ig_graph_node(g, n->op->name, name, n->n_in, in, n->attr);
  din[0] = made ? made->out[0] : NULL;
  return ig_graph_status(g);
}

static void cost(const ig_node *n, ig_cost *cost) {
  double count = (double)ig_shape_count(&n->in[0]->shape);
  cost->flops = 20 * count;
  cost->bytes = 2 * count * (double)ig_dtype_bytes(n->in[0]->dtype);
}

#define STATE \
  { .shape = {1, {4}}, .dtype = IG_U64, .fill = IG_FILL_INDEX, .hi = 1000, .no_grad = true }
static const float tenth = 0.1f, half = 0.5f, none = 0, all = 1;
static const ig_op_case cases[] = {
    {"matrix", 2, {{.shape = {2, {3, 17}}, .fill = IG_FILL_NORMAL}, STATE}, .attr = &half},
    {"ragged", 2, {{.shape = {4, {2, 5, 7, 3}}, .fill = IG_FILL_NORMAL}, STATE}, .attr = &tenth},
    {"fours", 2, {{.shape = {2, {3, 20}}, .fill = IG_FILL_NORMAL}, STATE}, .attr = &half},
    {"long", 2, {{.shape = {2, {3, 40001}}, .fill = IG_FILL_NORMAL}, STATE}, .attr = &tenth},
    {"nothing", 2, {{.shape = {2, {3, 17}}, .fill = IG_FILL_NORMAL}, STATE}, .attr = &none},
    {"everything", 2, {{.shape = {2, {3, 17}}, .fill = IG_FILL_NORMAL}, STATE}, .attr = &all},
    {"bench", 2, {{.shape = {2, {256, 16384}}, .fill = IG_FILL_NORMAL}, STATE}, .attr = &tenth, .bench = true},
};
#define KEYS(n) \
  { .shape = {1, {n}}, .dtype = IG_U64, .fill = IG_FILL_INDEX, .hi = 1e9, .no_grad = true }
static const ig_op_case rows_cases[] = {
    {"matrix", 3, {{.shape = {2, {13, 17}}, .fill = IG_FILL_NORMAL}, STATE, KEYS(13)}, .attr = &half},
    {"ragged", 3, {{.shape = {3, {5, 7, 3}}, .fill = IG_FILL_NORMAL}, STATE, KEYS(5)}, .attr = &tenth},
    {"bench", 3, {{.shape = {2, {1024, 768}}, .fill = IG_FILL_NORMAL}, STATE, KEYS(1024)}, &tenth, .bench = true},
};

static const ig_op dropout_row = {
    .name = "dropout",
    .summary = "y = x / (1 - p) where the draw keeps it, else 0",
    .min_in = 2,
    .max_in = 2,
    .n_out = 1,
    .attr_bytes = sizeof(float),
    .infer = infer,
    .grad = grad,
    .keeps_in = 2,
    .in_place = {1},
    .cheap = true,
    .cost = cost,
    .cases = cases,
    .n_cases = (int)(sizeof cases / sizeof *cases),
    .impls = {[IG_DEVICE_CPU] = {"dropout_cpu", "dropout_ref"}, [IG_DEVICE_CUDA] = {"dropout_cuda"}}};

static const ig_op dropout_rows_row = {
    .name = "dropout_rows",
    .summary = "dropout whose draws are of row_keys[row], not of the row's place",
    .min_in = 3,
    .max_in = 3,
    .n_out = 1,
    .attr_bytes = sizeof(float),
    .infer = infer,
    .grad = grad,
    .keeps_in = 6,
    .in_place = {1},
    .cheap = true,
    .cost = cost,
    .cases = rows_cases,
    .n_cases = (int)(sizeof rows_cases / sizeof *rows_cases),
    .impls = {[IG_DEVICE_CPU] = {"dropout_rows_cpu", "dropout_rows_ref"}, [IG_DEVICE_CUDA] = {"dropout_rows_cuda"}}};

IG_OPS(dropout) = {&dropout_row, &dropout_rows_row, NULL};

ig_tensor *ig_dropout_rows(ig_graph *g, const char *name, ig_tensor *x, float p, ig_tensor *step_state,
                           ig_tensor *row_keys) {
  if (!x || g->options.mode == IG_MODE_EVAL || p == 0)
    return x;
  if (!step_state)
    return NULL;
  ig_node *n = ig_graph_node(g, row_keys ? "dropout_rows" : "dropout", name, row_keys ? 3 : 2,
                             (ig_tensor *[]){x, step_state, row_keys}, &p);
  return n ? n->out[0] : NULL;
}

ig_tensor *ig_dropout(ig_graph *g, const char *name, ig_tensor *x, float p, ig_tensor *step_state) {
  return ig_dropout_rows(g, name, x, p, step_state, NULL);
}
