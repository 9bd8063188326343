// Reverse-mode differentiation: it only appends nodes to the same graph. (Recomputation: recompute.c.)
#include <stdio.h>
#include <string.h>

#include "runtime/graph/graph.h"

// Contributions to the gradient of one forward tensor.
typedef struct contributions {
  ig_tensor **items;
  size_t n, capacity;
} contributions;

typedef struct diff {
  ig_graph *g;
  size_t n_tensors, n_nodes;  // of the forward graph
  bool *wanted;               // the tensor depends on something a gradient is asked for
  contributions *sums;
} diff;

static ig_status contribute(diff *d, const ig_tensor *t, ig_tensor *dt) {
  contributions *c = &d->sums[t->id];
  IG_TRY(ig_grow(&c->items, &c->capacity, c->n, c->n + 1, sizeof *c->items, "gradient contributions"));
  c->items[c->n++] = dt;
  return IG_OK;
}

// Two contributions of which the second one's row takes an addend: it is given the first one, and no sum is needed.
static bool add_inside(const contributions *c) {
  ig_node *n = c->n == 2 ? c->items[1]->producer : NULL;
  const int at = n ? n->op->addend - 1 : -1;
  if (at < 0 || at >= n->n_in || n->in[at] || n->out[0] != c->items[1] || c->items[0]->dtype != c->items[1]->dtype ||
      n->phase != IG_PHASE_BACKWARD)
    return false;
  n->in[at] = c->items[0];
  return true;
}

// The gradient that has arrived at t so far as one tensor, NULL if none.
static ig_status gradient_of(diff *d, const ig_tensor *t, ig_tensor **out) {
  contributions *c = &d->sums[t->id];
  *out = c->n ? c->items[0] : NULL;
  if (c->n <= 1)
    return IG_OK;
  if (add_inside(c)) {
    c->items[0] = *out = c->items[1];
    c->n = 1;
    return IG_OK;
  }
  char name[400];
  snprintf(name, sizeof name, "%s/d", t->name);
  ig_node *sum = ig_graph_node(d->g, "add", name, (int)c->n, c->items, NULL);
  if (!sum)
    return ig_graph_status(d->g);
  c->items[0] = *out = sum->out[0];
  c->n = 1;
  return IG_OK;
}

static bool is_sum(const ig_node *n) { return n && n->phase == IG_PHASE_BACKWARD && !strcmp(n->op->name, "add"); }

void ig_graph_addends(ig_tensor *t, ig_tensor **a, ig_tensor **b) {
  bool two = is_sum(t->producer) && t->producer->n_in == 2;
  *a = two ? t->producer->in[0] : t;
  *b = two ? t->producer->in[1] : NULL;
}

// Removes sums that their readers took apart (ig_graph_addends).
static ig_status drop_unread_sums(diff *d, int n_inputs, ig_tensor *const *dinputs) {
  ig_graph *g = d->g;
  bool *read;
  IG_TRY(ig_alloc_array(g->n_tensors, sizeof *read, "differentiation", &read));
  for (size_t k = 0; k < g->n_nodes; k++)
    for (int i = 0; i < g->nodes[k]->n_in; i++)
      if (g->nodes[k]->in[i])
        read[g->nodes[k]->in[i]->id] = true;
  for (int i = 0; i < n_inputs; i++)
    if (dinputs[i])
      read[dinputs[i]->id] = true;
  size_t kept = 0;
  for (size_t k = 0; k < g->n_nodes; k++) {
    ig_node *n = g->nodes[k];
    if (is_sum(n) && n->out[0]->space == IG_SPACE_ARENA && !read[n->out[0]->id])
      continue;
    n->id = (int)kept;
    g->nodes[kept++] = n;
  }
  g->n_nodes = kept;
  ig_free(read);
  return IG_OK;
}

static void mark_wanted(diff *d, int n_inputs, ig_tensor *const *inputs) {
  for (size_t i = 0; i < d->n_tensors; i++)
    d->wanted[i] = d->g->tensors[i]->space == IG_SPACE_TRAINABLE;
  for (int i = 0; i < n_inputs; i++)
    d->wanted[inputs[i]->id] = true;
  for (size_t k = 0; k < d->n_nodes; k++) {
    const ig_node *n = d->g->nodes[k];
    bool any = false;
    for (int i = 0; i < n->n_in; i++)
      any |= n->in[i] && d->wanted[n->in[i]->id];
    for (int i = 0; i < n->n_out; i++)
      d->wanted[n->out[i]->id] |= any && ig_dtype_is_float(n->out[i]->dtype);
  }
}

static ig_status backward_of(diff *d, const ig_node *n, bool *need, ig_tensor **din) {
  ig_tensor *dout[IG_MAX_OUT] = {0};
  bool reached = false, any = false;
  for (int i = 0; i < n->n_in; i++) {
    need[i] = n->in[i] && d->wanted[n->in[i]->id];
    din[i] = NULL;
    any |= need[i];
  }
  if (!any)
    return IG_OK;
  for (int i = 0; i < n->n_out; i++) {
    IG_TRY(gradient_of(d, n->out[i], &dout[i]));
    reached |= dout[i] != NULL;
  }
  if (!reached)
    return IG_OK;
  d->g->inherit_key = n->key;
  ig_status status = n->op->grad(d->g, n, dout, need, din);
  d->g->inherit_key = 0;
  IG_TRY(status);
  IG_TRY(ig_graph_status(d->g));
  for (int i = 0; i < n->n_in; i++) {
    if (!need[i] || !din[i])
      continue;
    char a[96], b[96];
    if (!ig_shape_equal(&din[i]->shape, &n->in[i]->shape))
      return ig_fail(IG_ERR_INTERNAL, "%s (%s): the gradient of operand %d has shape %s, expected %s", n->name,
                     n->op->name, i, ig_shape_text(&din[i]->shape, a), ig_shape_text(&n->in[i]->shape, b));
    IG_TRY(contribute(d, n->in[i], din[i]));
  }
  return IG_OK;
}

// A tensor that no one else owns and that may be moved into another space.
static bool is_movable(const ig_tensor *t) {
  return t->space == IG_SPACE_ARENA && !t->param && t->producer && t->dtype == IG_F32;
}

static int readers_of(const ig_graph *g, const ig_tensor *t) {
  int n = 0;
  for (size_t k = 0; k < g->n_nodes; k++)
    for (int i = 0; i < g->nodes[k]->n_in; i++)
      n += g->nodes[k]->in[i] == t;
  return n;
}

// A parameter that is used twice (tied embeddings) has a sum as its gradient: the first addend, which lives through
// most of backward, waits in the gradient's own place and not in the arena.
static void place_first_addend(diff *d, const ig_tensor *sum) {
  const ig_node *n = sum->producer;
  const int at = is_sum(n) ? 0 : n->op->addend - 1;
  ig_tensor *first = at >= 0 && at < n->n_in ? n->in[at] : NULL;
  if (!first || n->op->in_place[0] != 1 + at || !is_movable(first) || readers_of(d->g, first) != 1)
    return;
  first->space = IG_SPACE_GRAD;
  first->param = sum->param;
}

static ig_status finish_parameter(diff *d, const ig_tensor *t) {
  char name[400];
  snprintf(name, sizeof name, "%s/grad", t->name);
  ig_tensor *dt;
  IG_TRY(gradient_of(d, t, &dt));
  if (!dt) {
    const double zero = 0;
    ig_tensor *shape_of = (ig_tensor *)t;
    ig_node *n = ig_graph_node(d->g, "fill_like", name, 1, &shape_of, &zero);
    dt = n ? n->out[0] : NULL;
  } else if (!is_movable(dt)) {
    ig_node *n = ig_graph_node(d->g, dt->dtype == IG_F32 ? "add" : "reorder", name, 1, &dt,
                               dt->dtype == IG_F32 ? NULL : &(const ig_dtype){IG_F32});
    dt = n ? n->out[0] : NULL;
  }
  if (!dt)
    return ig_graph_status(d->g);
  dt->space = IG_SPACE_GRAD;
  dt->param = t->param;
  place_first_addend(d, dt);
  return IG_OK;
}

ig_status ig_graph_differentiate(ig_graph *g, int n_losses, ig_tensor *const *losses, ig_tensor *const *seeds,
                                 int n_inputs, ig_tensor *const *inputs, ig_tensor **dinputs) {
  IG_TRY(ig_graph_status(g));
  diff d = {.g = g, .n_tensors = g->n_tensors, .n_nodes = g->n_nodes};
  char scope[sizeof g->prefix];
  memcpy(scope, g->prefix, sizeof scope);
  ig_phase phase = g->phase;
  bool *need = NULL;
  ig_tensor **din = NULL;
  int most_in = 1;
  ig_status status = IG_OK;
  g->prefix[0] = 0;
  g->phase = IG_PHASE_BACKWARD;
  for (size_t k = 0; k < d.n_nodes; k++)
    most_in = g->nodes[k]->n_in > most_in ? g->nodes[k]->n_in : most_in;
  IG_GOTO(ig_alloc_array(d.n_tensors, sizeof *d.wanted, "differentiation", &d.wanted));
  IG_GOTO(ig_alloc_array(d.n_tensors, sizeof *d.sums, "differentiation", &d.sums));
  IG_GOTO(ig_alloc_array((size_t)most_in, sizeof *need, "differentiation", &need));
  IG_GOTO(ig_alloc_array((size_t)most_in, sizeof *din, "differentiation", &din));
  mark_wanted(&d, n_inputs, inputs);
  for (int i = 0; i < n_losses; i++) {
    ig_tensor *seed = seeds ? seeds[i] : NULL, *loss = losses[i];
    if (!seed) {
      const double one = 1;
      ig_node *n = ig_graph_node(g, "fill_like", "seed", 1, &loss, &one);
      if (!n)
        IG_GOTO(ig_graph_status(g));
      seed = n->out[0];
    }
    IG_GOTO(contribute(&d, loss, seed));
  }
  for (size_t k = d.n_nodes; k-- > 0;)
    IG_GOTO(backward_of(&d, g->nodes[k], need, din));
  for (size_t i = d.n_tensors; i-- > 0;)
    if (g->tensors[i]->space == IG_SPACE_TRAINABLE && g->tensors[i]->param)
      IG_GOTO(finish_parameter(&d, g->tensors[i]));
  for (int i = 0; i < n_inputs; i++)
    IG_GOTO(gradient_of(&d, inputs[i], &dinputs[i]));
  IG_GOTO(drop_unread_sums(&d, n_inputs, dinputs));
done:
  for (size_t i = 0; d.sums && i < d.n_tensors; i++)
    ig_free(d.sums[i].items);
  ig_free(d.sums);
  ig_free(d.wanted);
  ig_free(need);
  ig_free(din);
  memcpy(g->prefix, scope, sizeof scope);
  g->phase = phase;
  if (status != IG_OK && g->status == IG_OK)
    ig_graph_fail(g, status, "%s", ig_error_message());
  return status;
}
