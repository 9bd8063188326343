// The row and builders of the reorder. Rule: its attribute is the output's element type; layouts are the plan's.
#include "kernels/reorder/reorder.h"

#include <stdio.h>
#include <string.h>

#include "kernels/kernels.h"

static ig_status infer(ig_graph *g, ig_node *n) {
  ig_dtype type = *(const ig_dtype *)n->attr;
  if ((unsigned)type >= IG_N_DTYPES)
    return ig_fail(IG_ERR_INTERNAL, "element type %d does not exist", (int)type);
  return ig_node_set_out(g, n, 0, type, n->in[0]->shape);
}

static ig_status grad(ig_graph *g, const ig_node *n, ig_tensor *const *dout, const bool *need, ig_tensor **din) {
  char name[400];
  snprintf(name, sizeof name, "%s/dx", n->name);
  din[0] = ig_reorder(g, name, dout[0], n->in[0]->dtype);
  return ig_graph_status(g);
}

static void cost(const ig_node *n, ig_cost *c) {
  double count = (double)ig_shape_count(&n->in[0]->shape);
  c->flops = 0;
  c->bytes = count * (double)(ig_dtype_bytes(n->in[0]->dtype) + ig_dtype_bytes(n->out[0]->dtype));
}

#define TO(type) \
  &(const ig_dtype) { type }
#define FROM(text, ...) \
  {                     \
    .name = text, .n_in = 1, .in = { {__VA_ARGS__} }
#define NORMAL(...) .shape = {__VA_ARGS__}, .dtype = IG_F32, .fill = IG_FILL_NORMAL
static const ig_op_case cases[] = {FROM("to f32, rank 4", NORMAL(4, {3, 5, 7, 17})), .attr = TO(IG_F32)},
                        FROM("to bf16, rank 4", NORMAL(4, {3, 5, 7, 17}), .fixed_f32 = true), .attr = TO(IG_BF16)
}
, FROM("to bf16, vector", NORMAL(1, {1031}), .fixed_f32 = true), .attr = TO(IG_BF16)
}
, FROM("to bf16, ragged", NORMAL(2, {13, 31})), .attr = TO(IG_BF16)
}
, FROM("to f16, ragged", NORMAL(2, {13, 31})), .attr = TO(IG_F16)
}
, FROM("to f16, matrix", NORMAL(2, {13, 29}), .fixed_f32 = true), .attr = TO(IG_F16)
}
, FROM("to f64, matrix", NORMAL(2, {13, 29}), .fixed_f32 = true), .attr = TO(IG_F64)
}
, FROM("integers to f32", .shape = {1, {37}}, .dtype = IG_I32, .fill = IG_FILL_INDEX, .hi = 1000, .no_grad = true),
    .attr = TO(IG_F32)
}
, FROM("bench to bf16", NORMAL(4, {16, 56, 56, 64}), .fixed_f32 = true), .attr = TO(IG_BF16), .bench = true
}
,
}
;

static const ig_op reorder = {
    .name = "reorder",
    .summary = "y = x in another element type or layout",
    .min_in = 1,
    .max_in = 1,
    .n_out = 1,
    .attr_bytes = sizeof(ig_dtype),
    .cheap = true,  // a 16-bit weight is made again for its gradient's product, not kept in between
    .infer = infer,
    .grad = grad,
    .cost = cost,
    .cases = cases,
    .n_cases = sizeof cases / sizeof *cases,
    .impls = {[IG_DEVICE_CPU] = {"reorder_dnnl", "reorder_ref"}, [IG_DEVICE_CUDA] = {"reorder_cuda"}},
};

IG_OPS(reorder) = {&reorder, 0};

ig_tensor *ig_reorder(ig_graph *g, const char *name, ig_tensor *x, ig_dtype dtype) {
  if (!x || x->dtype == dtype)
    return x;
  ig_node *n = ig_graph_node(g, "reorder", name, 1, &x, &dtype);
  return n ? n->out[0] : NULL;
}

ig_tensor *ig_compute_copy(ig_graph *g, ig_tensor *w) {
  ig_dtype type = g->options.compute_dtype;
  if (!w || w->dtype == type)
    return w;
  for (size_t i = 0; i < g->n_nodes; i++)
    if (g->nodes[i]->op == &reorder && g->nodes[i]->in[0] == w && g->nodes[i]->out[0]->dtype == type)
      return g->nodes[i]->out[0];
  // Names of tensors are full names already: no scope goes in front.
  char name[400], scope[sizeof g->prefix];
  snprintf(name, sizeof name, "%s/%s", w->name, ig_dtype_name(type));
  memcpy(scope, g->prefix, sizeof scope);
  g->prefix[0] = 0;
  w = ig_reorder(g, name, w, type);
  memcpy(g->prefix, scope, sizeof scope);
  return w;
}
