// Recomputation: which cheap results backward makes again in place of keeping them. Rule: this only appends and orders
// nodes of the graph; what is chosen depends on sizes alone, never on timings.
#include <stdio.h>
#include <string.h>

#include "runtime/graph/graph.h"

// The life of an activation, in numbers of nodes; -1: no such node.
typedef struct life {
  int made, last_forward, first_backward, last;
  bool dropped;  // made again just before first_backward
  bool needed;   // what is made again reads it
} life;

typedef struct again {
  ig_graph *g;
  size_t n_nodes, n_tensors;  // before any clone
  ig_node **nodes;
  life *lives;    // a tensor each
  int *clone_at;  // a node each: before which node it is made again, -1 if not
  double *live;   // a node each: bytes alive while it runs
  double kept, droppable;
} again;

static double bytes_of(const ig_tensor *t) {
  return (double)ig_shape_count(&t->shape) * (double)ig_dtype_bytes(t->dtype);
}

static void find_lives(again *a) {
  for (size_t i = 0; i < a->n_tensors; i++)
    a->lives[i] = (life){-1, -1, -1, -1, false, false};
  for (size_t k = 0; k < a->n_nodes; k++) {
    const ig_node *n = a->nodes[k];
    a->clone_at[k] = -1;
    for (int i = 0; i < n->n_out; i++)
      a->lives[n->out[i]->id].made = a->lives[n->out[i]->id].last_forward = a->lives[n->out[i]->id].last = (int)k;
    for (int i = 0; i < n->n_in; i++) {
      life *l = n->in[i] ? &a->lives[n->in[i]->id] : NULL;
      if (!l)
        continue;
      l->last = (int)k;
      if (n->phase != IG_PHASE_BACKWARD)
        l->last_forward = (int)k;
      else if (l->first_backward < 0)
        l->first_backward = (int)k;
    }
  }
}

// Whether keeping t costs nothing more: backward reads it anyway, or it is no activation at all.
static bool is_kept(const again *a, const ig_tensor *t) {
  return !t || t->space != IG_SPACE_ARENA || (a->lives[t->id].first_backward >= 0 && !a->lives[t->id].dropped);
}

// Its first result is what is made again; what it has beside that (a mask) stays.
static bool is_candidate(const ig_node *n) {
  return n->phase == IG_PHASE_FORWARD && n->op->cheap && !n->op->mutates_in && n->out[0]->space == IG_SPACE_ARENA;
}

static bool can_drop(const again *a, const ig_node *n) {
  const life *l = is_candidate(n) ? &a->lives[n->out[0]->id] : NULL;
  if (!l || l->first_backward < 0 || l->dropped || l->needed)
    return false;
  for (int i = 0; i < n->n_in; i++)
    if (!is_kept(a, n->in[i]))
      return false;
  return true;
}

static void drop(again *a, int k) {
  const ig_node *n = a->nodes[k];
  life *l = &a->lives[n->out[0]->id];
  l->dropped = true;
  a->clone_at[k] = l->first_backward;
  for (int m = l->last_forward + 1; m < l->first_backward; m++)
    a->live[m] -= bytes_of(n->out[0]);
  for (int i = 0; i < n->n_in; i++) {
    life *in = n->in[i] ? &a->lives[n->in[i]->id] : NULL;
    if (!in)
      continue;
    in->needed = true;
    for (; in->last < l->first_backward; in->last++)
      a->live[in->last + 1] += n->in[i]->space == IG_SPACE_ARENA ? bytes_of(n->in[i]) : 0;
  }
}

// ---- what to make again ----
static void drop_all(again *a) {
  for (size_t k = 0; k < a->n_nodes; k++)
    if (can_drop(a, a->nodes[k]))
      drop(a, (int)k);
}

static void sum_live(again *a) {
  for (size_t k = 0; k < a->n_nodes; k++)
    a->live[k] = 0;
  for (size_t i = 0; i < a->n_tensors; i++) {
    const life *l = &a->lives[i];
    if (a->g->tensors[i]->space == IG_SPACE_ARENA && l->made >= 0)
      for (int k = l->made; k <= l->last; k++)
        a->live[k] += bytes_of(a->g->tensors[i]);
  }
}

static int fullest(const again *a) {
  int k = 0;
  for (size_t m = 1; m < a->n_nodes; m++)
    if (a->live[m] > a->live[k])
      k = (int)m;
  return k;
}

// Bytes moved to make a node's result again, a byte of it.
static double price(const ig_node *n) {
  double bytes = 0;
  for (int i = 0; i < n->n_in; i++)
    bytes += n->in[i] ? bytes_of(n->in[i]) : 0;
  return 1 + bytes / bytes_of(n->out[0]);
}

// The node whose dropping relieves node `peak` at the least price, the largest of those; -1: none does.
static int best_relief(const again *a, int peak) {
  int best = -1;
  for (int k = 0; k < peak; k++) {
    const ig_node *n = a->nodes[k], *b = best < 0 ? NULL : a->nodes[best];
    if (!can_drop(a, n) || a->lives[n->out[0]->id].last_forward >= peak ||
        a->lives[n->out[0]->id].first_backward <= peak)
      continue;
    // Vectors beside an activation must not decide: prices within a hundredth are one price.
    const double difference = b ? price(n) - price(b) : -1;
    if (difference < -0.01 || (difference < 0.01 && bytes_of(n->out[0]) > bytes_of(b->out[0])))
      best = k;
  }
  return best;
}

// A 16-bit copy of weights: one that is kept is written in the layout of forward's reader and once more, read and
// written, in that of backward's; one that is made again comes in backward's at once, for two bytes a number more.
static bool is_copy(const ig_node *n) {
  return n->n_in == 1 && n->in[0] && n->in[0]->param && !strcmp(n->op->name, "reorder");
}

// Drops copies of weights; then until the fullest moment has lost `bytes`, or nothing more helps it. What counts is the
// peak, not the sum.
static void drop_until(again *a, double bytes) {
  sum_live(a);
  for (size_t k = 0; k < a->n_nodes; k++)
    if (is_copy(a->nodes[k]) && can_drop(a, a->nodes[k]))
      drop(a, (int)k);
  int peak = fullest(a);
  const double goal = a->live[peak] - bytes;
  for (; a->live[peak] > goal; peak = fullest(a)) {
    const int k = best_relief(a, peak);
    if (k < 0)
      return;
    drop(a, k);
  }
}

// What forward keeps for backward, and how much of it could be made again.
static void count(again *a) {
  drop_all(a);
  for (size_t k = 0; k < a->n_nodes; k++) {
    const ig_node *n = a->nodes[k];
    for (int i = 0; n->phase == IG_PHASE_FORWARD && i < n->n_out; i++)
      if (n->out[i]->space == IG_SPACE_ARENA && a->lives[n->out[i]->id].first_backward >= 0)
        a->kept += bytes_of(n->out[i]);
    if (a->clone_at[k] >= 0)
      a->droppable += bytes_of(n->out[0]);
  }
}

// ---- the new order ----
static ig_status append_clone(again *a, const ig_node *n, size_t before, ig_node **order, size_t *n_order) {
  char name[400];
  snprintf(name, sizeof name, "%s/again", n->name);
  ig_node *clone = ig_graph_node(a->g, n->op->name, name, n->n_in, n->in, n->attr);
  if (!clone)
    return ig_graph_status(a->g);
  clone->phase = IG_PHASE_BACKWARD;
  clone->recomputed = true;
  clone->key = n->key;  // the same draws as the first time
  order[(*n_order)++] = clone;
  for (size_t m = before; m < a->n_nodes; m++)
    for (int i = 0; i < a->nodes[m]->n_in; i++)
      if (a->nodes[m]->phase == IG_PHASE_BACKWARD && a->nodes[m]->in[i] == n->out[0])
        a->nodes[m]->in[i] = clone->out[0];
  return IG_OK;
}

// Before each backward node, the clones whose first use it is, in forward order.
static ig_status insert_clones(again *a, ig_node **order, int *n_cloned) {
  size_t n_order = 0;
  for (size_t k = 0; k < a->n_nodes; k++) {
    for (size_t j = 0; a->nodes[k]->phase == IG_PHASE_BACKWARD && j < k; j++)
      if (a->clone_at[j] == (int)k) {
        IG_TRY(append_clone(a, a->nodes[j], k, order, &n_order));
        (*n_cloned)++;
      }
    order[n_order++] = a->nodes[k];
  }
  memcpy(a->g->nodes, order, n_order * sizeof *order);
  for (size_t k = 0; k < n_order; k++)
    a->g->nodes[k]->id = (int)k;
  return IG_OK;
}

ig_status ig_graph_recompute(ig_graph *g, double least, double enough, double other_bytes, int *n_cloned) {
  IG_TRY(ig_graph_status(g));
  again a = {.g = g, .n_nodes = g->n_nodes, .n_tensors = g->n_tensors};
  ig_node **order = NULL;
  ig_status status = IG_OK;
  *n_cloned = 0;
  IG_GOTO(ig_alloc_array(a.n_nodes, sizeof *a.nodes, "recomputation", &a.nodes));
  IG_GOTO(ig_alloc_array(a.n_tensors, sizeof *a.lives, "recomputation", &a.lives));
  IG_GOTO(ig_alloc_array(a.n_nodes, sizeof *a.clone_at, "recomputation", &a.clone_at));
  IG_GOTO(ig_alloc_array(a.n_nodes, sizeof *a.live, "recomputation", &a.live));
  IG_GOTO(ig_alloc_array(2 * a.n_nodes, sizeof *order, "recomputation", &order));
  memcpy(a.nodes, g->nodes, a.n_nodes * sizeof *a.nodes);
  find_lives(&a);
  count(&a);
  if (a.droppable < least * (a.kept + other_bytes))
    goto done;
  if (enough < 1) {
    find_lives(&a);
    drop_until(&a, enough * (a.kept + other_bytes));
  }
  IG_GOTO(insert_clones(&a, order, n_cloned));
done:
  ig_free(a.nodes);
  ig_free(a.lives);
  ig_free(a.clone_at);
  ig_free(a.live);
  ig_free(order);
  return status;
}
