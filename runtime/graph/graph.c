// Building a static graph: nodes, tensors, parameters, names. The first error stays; later builders return NULL.
#include "runtime/graph/graph.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "runtime/base/rng.h"

// Everything a graph owns lies in chunks that are freed together.
typedef struct ig_chunk {
  struct ig_chunk *next;
  size_t used, bytes;
} ig_chunk;

static void *take(ig_graph *g, size_t bytes) {
  bytes = (bytes + 15) / 16 * 16;
  ig_chunk *c = g->memory;
  if (!c || c->bytes - c->used < bytes) {
    size_t body = bytes > 65536 ? bytes : 65536;
    ig_status status = ig_alloc(sizeof *c + 64 + body, "graph", &c);
    if (status != IG_OK)
      return ig_graph_fail(g, status, "%s", ig_error_message());
    c->next = g->memory;
    c->bytes = sizeof *c + 64 + body;
    c->used = 64;
    g->memory = c;
  }
  void *p = (char *)c + c->used;
  c->used += bytes;
  return p;
}

static const char *copy_text(ig_graph *g, const char *text) {
  char *p = take(g, strlen(text) + 1);
  if (p)
    strcpy(p, text);
  return p;
}

ig_status ig_graph_create(const ig_graph_options *options, ig_graph **out) {
  *out = NULL;
  if (options->size != sizeof *options)
    return ig_fail(IG_ERR_INTERNAL, "ig_graph_options: size %zu, expected %zu", options->size, sizeof *options);
  ig_graph *g;
  IG_TRY(ig_alloc(sizeof *g, "graph", &g));
  g->options = *options;
  *out = g;
  return IG_OK;
}

void ig_graph_destroy(ig_graph *g) {
  if (!g)
    return;
  for (ig_chunk *c = g->memory, *next; c; c = next) {
    next = c->next;
    ig_free(c);
  }
  ig_free(g->nodes);
  ig_free(g->tensors);
  ig_free(g);
}

ig_status ig_graph_status(ig_graph *g) { return g->status == IG_OK ? IG_OK : ig_fail(g->status, "%s", g->message); }

void *ig_graph_fail(ig_graph *g, ig_status status, const char *format, ...) {
  if (g->status == IG_OK) {
    g->status = status;
    va_list args;
    va_start(args, format);
    char text[sizeof g->message];
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    memcpy(g->message, text, sizeof text);
    ig_fail(status, "%s", g->message);
  }
  return NULL;
}

void ig_graph_scope(ig_graph *g, const char *format, ...) {
  va_list args;
  va_start(args, format);
  vsnprintf(g->prefix, sizeof g->prefix, format, args);
  va_end(args);
}

ig_tensor *ig_graph_tensor(ig_graph *g, const char *name, ig_dtype dtype, ig_shape shape, ig_space space) {
  if (g->status != IG_OK)
    return NULL;
  ig_tensor *t = take(g, sizeof *t);
  if (!t)
    return NULL;
  ig_status status =
      ig_grow(&g->tensors, &g->tensors_capacity, g->n_tensors, g->n_tensors + 1, sizeof *g->tensors, "graph");
  if (status != IG_OK)
    return ig_graph_fail(g, status, "%s", ig_error_message());
  memset(t, 0, sizeof *t);
  t->name = copy_text(g, name);
  t->dtype = dtype;
  t->shape = shape;
  t->space = space;
  t->id = (int)g->n_tensors;
  g->tensors[g->n_tensors++] = t;
  return t->name ? t : NULL;
}

ig_tensor *ig_graph_input(ig_graph *g, const char *name, ig_dtype dtype, ig_shape shape) {
  ig_tensor *t = ig_graph_tensor(g, name, dtype, shape, IG_SPACE_IO);
  if (t)
    t->is_input = true;
  return t;
}

void ig_graph_output(ig_graph *g, ig_tensor *t, const char *name) {
  if (!t || g->status != IG_OK)
    return;
  if (t->space != IG_SPACE_ARENA) {
    ig_graph_fail(g, IG_ERR_INTERNAL, "output %s: the tensor %s is no node's result", name, t->name);
    return;
  }
  t->space = IG_SPACE_IO;
  t->is_output = true;
  t->name = copy_text(g, name);
}

static ig_param *add_param(ig_graph *g, const char *name, ig_shape shape, ig_param_kind kind, ig_init init) {
  ig_params *params = g->options.params;
  ig_param *p = NULL;
  if (params->laid_out)
    return ig_graph_fail(g, IG_ERR_INTERNAL, "parameter %s appears after the offset table was laid out", name);
  ig_status status = ig_alloc(sizeof *p, name, &p);
  if (status == IG_OK)
    status = ig_strdup(name, &p->name);
  if (status == IG_OK)
    status = ig_grow(&params->items, &params->capacity, params->n, params->n + 1, sizeof *params->items, "parameters");
  if (status != IG_OK) {
    if (p)
      ig_free(p->name);
    ig_free(p);
    return ig_graph_fail(g, status, "%s", ig_error_message());
  }
  bool frozen = kind == IG_PARAM_TRAINABLE && params->is_frozen && params->is_frozen(params->is_frozen_user, name);
  p->shape = shape;
  p->kind = frozen ? IG_PARAM_FROZEN : kind;
  p->init = init;
  p->use = (int)params->n;
  p->offset = -1;
  p->lr_scale = 1;
  p->decay = shape.n > 1;
  params->items[params->n++] = p;
  return p;
}

ig_tensor *ig_graph_param(ig_graph *g, const char *name, ig_shape shape, ig_param_kind kind, ig_init init) {
  if (g->status != IG_OK)
    return NULL;
  char full[320], a[96], b[96];
  snprintf(full, sizeof full, "%s%s", g->prefix, name);
  ig_param *p = ig_params_find(g->options.params, full);
  if (!p)
    p = add_param(g, full, shape, kind, init);
  if (!p)
    return NULL;
  if (!ig_shape_equal(&p->shape, &shape))
    return ig_graph_fail(g, IG_ERR_MISMATCH, "parameter %s: found shape %s, expected %s", full,
                         ig_shape_text(&shape, a), ig_shape_text(&p->shape, b));
  for (size_t i = 0; i < g->n_tensors; i++)
    if (g->tensors[i]->param == p && !g->tensors[i]->producer)
      return g->tensors[i];
  static const ig_space space_of[IG_N_PARAM_KINDS] = {IG_SPACE_TRAINABLE, IG_SPACE_FROZEN, IG_SPACE_STATE};
  ig_tensor *t = ig_graph_tensor(g, full, IG_F32, shape, space_of[p->kind]);
  if (t)
    t->param = p;
  return t;
}

ig_tensor *ig_graph_flat(ig_graph *g, ig_space space) {
  static const char *const names[IG_N_SPACES] = {"arena", "io",        "trainable",  "frozen",  "state",
                                                 "grad",  "accum",     "moment0",    "moment1", "moment2",
                                                 "ema",   "ema_state", "trainable16"};
  ig_params *params = g->options.params;
  if (g->status != IG_OK)
    return NULL;
  if (!params->laid_out)
    return ig_graph_fail(g, IG_ERR_INTERNAL, "flat tensor %s before the offset table was laid out", names[space]);
  ig_param_kind kind = space == IG_SPACE_FROZEN                                 ? IG_PARAM_FROZEN
                       : space == IG_SPACE_STATE || space == IG_SPACE_EMA_STATE ? IG_PARAM_STATE
                                                                                : IG_PARAM_TRAINABLE;
  for (size_t i = 0; i < g->n_tensors; i++)
    if (g->tensors[i]->space == space && !g->tensors[i]->param)
      return g->tensors[i];
  const ig_dtype type = space == IG_SPACE_TRAINABLE16 ? g->options.compute_dtype : IG_F32;
  return ig_graph_tensor(g, names[space], type, IG_SHAPE1(params->count[kind]), space);
}

static const ig_op *find_op(const ig_graph *g, const char *name) {
  for (const ig_op *const *const *list = g->options.ops; *list; list++)
    for (const ig_op *const *op = *list; *op; op++)
      if (!strcmp((*op)->name, name))
        return *op;
  return NULL;
}

static const char *unique_name(ig_graph *g, const char *name) {
  char full[320], candidate[352];
  snprintf(full, sizeof full, "%s%s", g->prefix, name);
  snprintf(candidate, sizeof candidate, "%s", full);
  for (int suffix = 2;; suffix++) {
    bool taken = false;
    for (size_t i = 0; i < g->n_nodes && !taken; i++)
      taken = !strcmp(g->nodes[i]->name, candidate);
    if (!taken)
      return copy_text(g, candidate);
    snprintf(candidate, sizeof candidate, "%s#%d", full, suffix);
  }
}

static ig_status check_operands(const ig_op *op, int n_in, ig_tensor *const *in) {
  if (n_in < op->min_in || (op->max_in >= 0 && n_in > op->max_in))
    return ig_fail(IG_ERR_INTERNAL, "%s takes %d to %d operands, found %d", op->name, op->min_in, op->max_in, n_in);
  for (int i = 0; i < n_in; i++)
    if (!in[i] && !(i < 32 && (op->optional_in >> i & 1)))
      return ig_fail(IG_ERR_INTERNAL, "%s: operand %d is missing", op->name, i);
  return IG_OK;
}

ig_node *ig_graph_node(ig_graph *g, const char *op_name, const char *name, int n_in, ig_tensor *const *in,
                       const void *attr) {
  if (g->status != IG_OK)
    return NULL;
  const ig_op *op = find_op(g, op_name);
  if (!op)
    return ig_graph_fail(g, IG_ERR_INTERNAL, "%s%s: no op row is named %s", g->prefix, name, op_name);
  ig_status status = check_operands(op, n_in, in);
  if (status != IG_OK)
    return ig_graph_fail(g, status, "%s%s: %s", g->prefix, name, ig_error_message());
  ig_node *n = take(g, sizeof *n);
  ig_tensor **operands = take(g, (size_t)(n_in + 1) * sizeof *operands);
  void *attributes = take(g, op->attr_bytes + 1);
  const char *full = unique_name(g, name);
  if (!n || !operands || !attributes || !full)
    return NULL;
  memset(n, 0, sizeof *n);
  if (n_in)
    memcpy(operands, in, (size_t)n_in * sizeof *in);
  if (op->attr_bytes) {
    memset(attributes, 0, op->attr_bytes);
    if (attr)
      memcpy(attributes, attr, op->attr_bytes);
    n->attr = attributes;
  }
  n->op = op;
  n->name = full;
  n->key = g->inherit_key ? g->inherit_key : ig_hash_str(full);
  n->id = (int)g->n_nodes;
  n->phase = g->phase;
  n->n_in = n_in;
  n->n_out = op->n_out;
  n->in = operands;
  status = op->infer(g, n);
  if (status != IG_OK)
    return ig_graph_fail(g, status, "%s (%s): %s", full, op->name, ig_error_message());
  if (g->status != IG_OK)
    return NULL;
  for (int i = 0; i < n->n_out; i++)
    if (!n->out[i])
      return ig_graph_fail(g, IG_ERR_INTERNAL, "%s (%s): output %d has no shape", full, op->name, i);
  status = ig_grow(&g->nodes, &g->nodes_capacity, g->n_nodes, g->n_nodes + 1, sizeof *g->nodes, "graph");
  if (status != IG_OK)
    return ig_graph_fail(g, status, "%s", ig_error_message());
  g->nodes[g->n_nodes++] = n;
  return n;
}

ig_status ig_node_set_out(ig_graph *g, ig_node *n, int i, ig_dtype dtype, ig_shape shape) {
  char name[360];
  snprintf(name, sizeof name, n->op->n_out > 1 ? "%s:%d" : "%s", n->name, i);
  ig_tensor *t = ig_graph_tensor(g, name, dtype, shape, IG_SPACE_ARENA);
  if (!t)
    return g->status;
  t->producer = n;
  n->out[i] = t;
  return IG_OK;
}

ig_status ig_check_rank(const ig_node *n, int input, int rank) {
  char a[96];
  const ig_tensor *t = n->in[input];
  if (t->shape.n != rank)
    return ig_fail(IG_ERR_MISMATCH, "operand %d (%s) has shape %s, expected rank %d", input, t->name,
                   ig_shape_text(&t->shape, a), rank);
  return IG_OK;
}

ig_status ig_check_shape(const ig_node *n, int input, ig_shape want) {
  char a[96], b[96];
  const ig_tensor *t = n->in[input];
  if (!ig_shape_equal(&t->shape, &want))
    return ig_fail(IG_ERR_MISMATCH, "operand %d (%s) has shape %s, expected %s", input, t->name,
                   ig_shape_text(&t->shape, a), ig_shape_text(&want, b));
  return IG_OK;
}

ig_status ig_check_dtype(const ig_node *n, int input, ig_dtype want) {
  const ig_tensor *t = n->in[input];
  if (t->dtype != want)
    return ig_fail(IG_ERR_MISMATCH, "operand %d (%s) is %s, expected %s", input, t->name, ig_dtype_name(t->dtype),
                   ig_dtype_name(want));
  return IG_OK;
}

ig_status ig_no_grad(ig_graph *g, const ig_node *n, ig_tensor *const *dout, const bool *need, ig_tensor **din) {
  return ig_fail(IG_ERR_UNSUPPORTED, "%s (%s) has no gradient, but one was asked for", n->name, n->op->name);
}

ig_status ig_zero_grad(ig_graph *g, const ig_node *n, ig_tensor *const *dout, const bool *need, ig_tensor **din) {
  return IG_OK;
}
