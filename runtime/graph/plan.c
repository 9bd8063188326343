// Planning: one implementation and one layout per node, reorders made visible, then memory (memory.c).
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/graph/plan_internal.h"

// ---- candidates ----

// The name that `force` ("op=impl,op=impl"; op may be "*"; "impl" alone is "*=impl") asks for this row, "" if none.
static void forced_name(const char *force, const char *op, char name[64]) {
  name[0] = 0;
  while (force && *force) {
    size_t n = strcspn(force, ",");
    const char *equals = memchr(force, '=', n);
    size_t key = equals ? (size_t)(equals - force) : 0;
    const bool every = !equals || (key == 1 && *force == '*');
    if (every || (key == strlen(op) && !strncmp(force, op, key))) {
      const char *from = equals ? equals + 1 : force;
      size_t length = (size_t)(force + n - from) < 63 ? (size_t)(force + n - from) : 63;
      memcpy(name, from, length);
      name[length] = 0;
      if (!every)
        break;
    }
    force += n + (force[n] == ',');
  }
  if (!strcmp(name, "auto"))
    name[0] = 0;
}

#define LIBRARY "library"  // whichever library takes the node, else what there is

bool ig_impl_is_meant(const char *name, const char *forced) {
  size_t a = strlen(name), b = strlen(forced);
  if (!strcmp(forced, LIBRARY))
    return ig_impl_is_meant(name, "cublaslt") || ig_impl_is_meant(name, "cudnn") || ig_impl_is_meant(name, "dnnl");
  return !strcmp(name, forced) || (a > b && name[a - b - 1] == '_' && !strcmp(name + a - b, forced));
}

// Implementations of a node that said that they take it and left when they were prepared (op.h).
typedef struct leavers {
  uint32_t bits;  // by place in the row
  char why[512];
} leavers;

static void add_leaver(const ig_plan *p, const ig_node *n, const ig_impl *impl, leavers *left) {
  const size_t at = strlen(left->why);
  for (int i = 0; i < IG_MAX_IMPLS && n->op->impls[p->device->caps.kind][i]; i++)
    if (!strcmp(n->op->impls[p->device->caps.kind][i], impl->name))
      left->bits |= 1u << i;
  snprintf(left->why + at, sizeof left->why - at, "%s%s", at ? "; " : "", ig_error_message());
}

// All implementations that take the node, best first; the refusals' reasons go to why.
static int find_candidates(const ig_plan *p, const ig_node *n, const char *forced, const leavers *left,
                           const ig_impl *found[IG_MAX_IMPLS], char *why, size_t why_bytes) {
  const ig_device_caps *caps = &p->device->caps;
  char reason[256];
  size_t at = (size_t)snprintf(why, why_bytes, "%s", left->why);
  int count = 0;
  for (int i = 0; i < IG_MAX_IMPLS && n->op->impls[caps->kind][i]; i++) {
    const char *name = n->op->impls[caps->kind][i];
    if (left->bits >> i & 1)
      continue;
    const ig_impl *impl = ig_device_find_impl(p->device, name);
    snprintf(reason, sizeof reason, "refused");
    if (!impl)
      snprintf(reason, sizeof reason, "not in this build");
    else if (*forced && !ig_impl_is_meant(name, forced))
      snprintf(reason, sizeof reason, "%s is forced", forced);
    else if ((impl->flags & IG_IMPL_INEXACT) && !caps->winograd)
      snprintf(reason, sizeof reason, "winograd=0");
    else if (!impl->supports || impl->supports(n, caps, reason, sizeof reason)) {
      found[count++] = impl;
      continue;
    }
    if (at < why_bytes)
      at += (size_t)snprintf(why + at, why_bytes - at, "%s%s: %s", at ? "; " : "", name, reason);
  }
  return count;
}

// Whether t is a 16-bit copy of weights that a run makes anew (a stable one is there once and costs less to read).
static bool is_copy_of_weights(const ig_plan *p, const ig_tensor *t) {
  const ig_tensor *from = t && t->producer && !strcmp(t->producer->op->name, "reorder") ? t->producer->in[0] : NULL;
  return from && from->param && from->dtype == IG_F32 && t->space == IG_SPACE_ARENA && ig_dtype_bytes(t->dtype) == 2 &&
         (from->space == IG_SPACE_TRAINABLE || from->space == IG_SPACE_FROZEN) &&
         !(p->options.stable_spaces >> from->space & 1);
}

// Operands of n that are such copies.
static uint32_t copies_of_weights(const ig_plan *p, const ig_node *n) {
  uint32_t bits = 0;
  for (int i = 0; i < n->n_in && i < 32; i++)
    bits |= (uint32_t)is_copy_of_weights(p, n->in[i]) << i;
  return bits;
}

static ig_status choose(ig_plan *p, const ig_node *n, const ig_layout *offered, const leavers *left,
                        const ig_impl **impl, uint64_t *ns) {
  const ig_impl *found[IG_MAX_IMPLS];
  char why[1024], forced[64];
  forced_name(p->options.force, n->op->name, forced);
  int count = find_candidates(p, n, forced, left, found, why, sizeof why);
  if (count == 0 && !strcmp(forced, LIBRARY))
    count = find_candidates(p, n, "", left, found, why, sizeof why);
  if (count == 0)
    return ig_fail(IG_ERR_UNSUPPORTED, "%s (%s): no implementation on %s takes it (%s)", n->name, n->op->name,
                   p->device->caps.name, *why ? why : "the row names none");
  // The reference is a fallback, never a rival; determinism in any thread count comes before speed where it is asked.
  if (count > 1 && (found[count - 1]->flags & IG_IMPL_REF))
    count--;
  if (p->options.deterministic) {
    int kept = 0;
    for (int i = 0; i < count; i++)
      if (found[i]->flags & IG_IMPL_DETERMINISTIC)
        found[kept++] = found[i];
    count = kept ? kept : count;
  }
  *impl = found[0];
  *ns = 0;
  if ((found[0]->flags & IG_IMPL_READS_WIDE) && copies_of_weights(p, n))
    return IG_OK;  // a timing would not see the copy
  if (count > 1 && p->options.tuner)
    return ig_tuner_choose(p->options.tuner, p, n, offered, found, count, !p->options.deterministic, impl, ns);
  return IG_OK;
}

// ---- layouts ----

static bool same_shape_float(const ig_tensor *a, const ig_tensor *b) {
  return ig_shape_equal(&a->shape, &b->shape) && ig_dtype_is_float(a->dtype);
}

static void default_layouts(const ig_node *n, const ig_impl *impl, ig_layout *in, ig_layout *out) {
  ig_layout common = n->n_in && n->in[0] ? in[0] : IG_PLAIN;
  bool any = impl->flags & IG_IMPL_ANY_LAYOUT;
  bool blocked = (impl->flags & IG_IMPL_BLOCKED_C) && common.kind != IG_LAYOUT_OPAQUE;
  if (!any && !blocked)
    common = IG_PLAIN;
  for (int i = 0; i < n->n_in; i++)
    in[i] = n->in[i] && n->in[0] && same_shape_float(n->in[i], n->in[0]) ? common : IG_PLAIN;
  // BLOCKED_C rows may change the shape (pooling) as long as the result has rank 4 too.
  for (int i = 0; i < n->n_out; i++)
    out[i] = n->n_in && n->in[0] && (same_shape_float(n->out[i], n->in[0]) || (blocked && n->out[i]->shape.n == 4)) &&
                     (n->out[i]->shape.n == n->in[0]->shape.n)
                 ? common
                 : IG_PLAIN;
}

ig_status ig_plan_prepare_node(ig_plan *p, const ig_node *n, const ig_impl *impl, ig_layout *in_layout,
                               ig_layout *out_layout, size_t *workspace_bytes, void **state) {
  ig_prepare prepare = {.node = n,
                        .device = p->device,
                        .layouts = p->layouts,
                        .deterministic = p->options.deterministic,
                        .shards = p->options.shards > 0 ? p->options.shards : 1,
                        .wide_in = copies_of_weights(p, n),
                        .in_layout = in_layout,
                        .out_layout = out_layout};
  // A reorder's output layout is what the plan asks for; all others start from the defaults.
  if (strcmp(n->op->name, "reorder") && !impl->prepare)
    default_layouts(n, impl, in_layout, out_layout);
  if (impl->prepare) {
    ig_status status = impl->prepare(&prepare);
    if (status != IG_OK)
      return ig_fail_prefix(status, "%s (%s)", n->name, impl->name);
  }
  *workspace_bytes = prepare.workspace_bytes;
  *state = prepare.state;
  return IG_OK;
}

// Chooses and prepares. What leaves now is no candidate any more: there is another choice among the others.
static ig_status take(ig_plan *p, const ig_node *n, ig_layout *in, ig_layout *out, const ig_impl **impl, uint64_t *ns,
                      size_t *workspace_bytes, void **state) {
  ig_layout offered[n->n_in + 1], wanted[IG_MAX_OUT];
  leavers left = {0, ""};
  ig_status status;
  memcpy(offered, in, (size_t)n->n_in * sizeof *in);
  memcpy(wanted, out, (size_t)n->n_out * sizeof *out);
  for (;;) {
    IG_TRY(choose(p, n, offered, &left, impl, ns));
    status = ig_plan_prepare_node(p, n, *impl, in, out, workspace_bytes, state);
    if (status != IG_ERR_UNSUPPORTED)
      return status;
    add_leaver(p, n, *impl, &left);
    memcpy(in, offered, (size_t)n->n_in * sizeof *in);
    memcpy(out, wanted, (size_t)n->n_out * sizeof *out);
  }
}

// ---- values and steps ----

static ig_status add_value(ig_plan *p, const ig_tensor *t, ig_layout layout, ig_space space, int *index) {
  IG_TRY(ig_grow(&p->values, &p->values_capacity, p->n_values, p->n_values + 1, sizeof *p->values, "plan"));
  *index = (int)p->n_values;
  p->values[p->n_values++] = (value){.tensor = t,
                                     .layout = layout,
                                     .bytes = ig_layout_bytes(p->layouts, layout, &t->shape, t->dtype),
                                     .space = space,
                                     .flexible_step = -1,
                                     .first = -1,
                                     .last = -1,
                                     .alias = -1};
  return IG_OK;
}

static ig_status add_step(ig_plan *p, const ig_node *n, step **out) {
  IG_TRY(ig_grow(&p->steps, &p->steps_capacity, p->n_steps, p->n_steps + 1, sizeof *p->steps, "plan"));
  step s = {.node = n};
  size_t n_in = (size_t)n->n_in, n_out = (size_t)n->n_out, one = sizeof(void *) + sizeof(int) + sizeof(ig_layout);
  char *block;
  IG_TRY(ig_alloc((n_in + n_out) * one + 16, "plan", &block));
  s.in_address = (void **)block;
  s.out_address = s.in_address + n_in;
  s.in_layout = (ig_layout *)(s.out_address + n_out);
  s.out_layout = s.in_layout + n_in;
  s.in = (int *)(s.out_layout + n_out);
  s.out = s.in + n_in;
  p->steps[p->n_steps] = s;
  *out = &p->steps[p->n_steps++];
  return IG_OK;
}

static bool node_is_static(const ig_plan *p, const step *s) {
  if (!p->options.stable_spaces || s->node->op->mutates_in || s->node->n_in == 0)
    return false;
  for (int i = 0; i < s->node->n_in; i++)
    if (s->in[i] >= 0 && !p->values[s->in[i]].is_static && !(p->options.stable_spaces >> p->values[s->in[i]].space & 1))
      return false;
  return true;
}

static ig_node *own_reorder(ig_plan *p, const ig_tensor *from, const ig_tensor *to, ig_status *status) {
  const ig_op *op = NULL;
  for (const ig_op *const *const *list = p->graph->options.ops; *list && !op; list++)
    for (const ig_op *const *row = *list; *row && !op; row++)
      if (!strcmp((*row)->name, "reorder"))
        op = *row;
  if (!op) {
    *status = ig_fail(IG_ERR_INTERNAL, "no op row is named reorder");
    return NULL;
  }
  struct {
    ig_node node;
    ig_tensor *in[1];
    ig_dtype dtype;
    char name[384];
  } * r;
  *status = ig_alloc(sizeof *r, "plan", &r);
  if (*status == IG_OK) {
    *status = ig_grow(&p->own_nodes, &p->own_capacity, p->n_own, p->n_own + 1, sizeof *p->own_nodes, "plan");
    if (*status != IG_OK)
      ig_free(r);
  }
  if (*status != IG_OK)
    return NULL;
  snprintf(r->name, sizeof r->name, "%s/layout", from->name);
  r->dtype = to->dtype;
  r->in[0] = (ig_tensor *)from;
  r->node = (ig_node){.op = op, .name = r->name, .id = -1, .n_in = 1, .n_out = 1, .in = r->in, .attr = &r->dtype};
  r->node.out[0] = (ig_tensor *)to;
  p->own_nodes[p->n_own++] = &r->node;
  return &r->node;
}

static ig_status prepare_reorder(ig_plan *p, step *s, ig_layout from, ig_layout to) {
  s->in_layout[0] = from;
  s->out_layout[0] = to;
  if (!s->impl)
    return take(p, s->node, s->in_layout, s->out_layout, &s->impl, &s->tuned_ns, &s->workspace_bytes, &s->state);
  if (s->state && s->impl->destroy)
    s->impl->destroy(s->state);
  s->state = NULL;
  return ig_plan_prepare_node(p, s->node, s->impl, s->in_layout, s->out_layout, &s->workspace_bytes, &s->state);
}

// Value `from` rewritten into `to` (which exists already) by a step of its own.
static ig_status add_reorder(ig_plan *p, int from, int to) {
  ig_status status = IG_OK;
  ig_node *node = own_reorder(p, p->values[from].tensor, p->values[to].tensor, &status);
  step *s;
  IG_TRY(status);
  IG_TRY(add_step(p, node, &s));
  s->in[0] = from;
  s->out[0] = to;
  s->is_static = node_is_static(p, s);
  p->values[to].is_static = s->is_static;
  return prepare_reorder(p, s, p->values[from].layout, p->values[to].layout);
}

static ig_status value_of(ig_plan *p, const ig_tensor *t, int *index) {
  if (p->plain_value[t->id] < 0) {
    if (t->space == IG_SPACE_ARENA)
      return ig_fail(IG_ERR_INTERNAL, "tensor %s is used before it is made", t->name);
    IG_TRY(add_value(p, t, IG_PLAIN, t->space, &p->plain_value[t->id]));
  }
  *index = p->plain_value[t->id];
  return IG_OK;
}

// The value of tensor v.tensor in layout `want`: itself, one made before, or a new one behind a reorder step. 16-bit
// weights that lie outside are turned again for backward: that moves fewer bytes than forward's casts did, and no copy
// of all layers lives from one to the other.
static ig_status in_wanted_layout(ig_plan *p, int v, ig_layout want, ig_phase phase, int *out) {
  value *val = &p->values[v];
  if (want.kind == IG_LAYOUT_WIDE)
    return value_of(p, val->tensor->producer->in[0], out);
  if (val->flexible_step >= 0) {
    step *s = &p->steps[val->flexible_step];
    val->flexible_step = -1;
    if (!ig_layout_equal(want, val->layout)) {
      val->layout = want;
      val->bytes = ig_layout_bytes(p->layouts, want, &val->tensor->shape, val->tensor->dtype);
      IG_TRY(prepare_reorder(p, s, s->in_layout[0], want));
    }
  }
  *out = v;
  if (ig_layout_equal(val->layout, want))
    return IG_OK;
  for (size_t i = 0; i < p->n_values; i++)
    if (p->values[i].tensor == val->tensor && p->values[i].space == IG_SPACE_ARENA &&
        ig_layout_equal(p->values[i].layout, want) &&
        (val->space != IG_SPACE_TRAINABLE16 || p->values[i].phase == phase)) {
      *out = (int)i;
      return IG_OK;
    }
  IG_TRY(add_value(p, val->tensor, want, IG_SPACE_ARENA, out));
  p->values[*out].phase = phase;
  return add_reorder(p, v, *out);
}

static ig_status plan_node(ig_plan *p, const ig_node *n) {
  ig_layout in[n->n_in + 1], out[IG_MAX_OUT] = {{0}};
  int values[n->n_in + 1];
  const ig_impl *impl;
  void *state;
  size_t workspace;
  uint64_t tuned_ns;
  bool is_reorder = !strcmp(n->op->name, "reorder");
  for (int i = 0; i < n->n_in; i++) {
    values[i] = -1;
    in[i] = IG_PLAIN;
    if (n->in[i]) {
      IG_TRY(value_of(p, n->in[i], &values[i]));
      in[i] = p->values[values[i]].layout;
    }
  }
  IG_TRY(take(p, n, in, out, &impl, &tuned_ns, &workspace, &state));
  // Until the step owns it, the state is freed here when something fails.
  ig_status status = IG_OK;
  for (int i = 0; i < n->n_in; i++) {
    if (values[i] < 0)
      continue;
    if ((n->op->mutates_in >> i & 1) && in[i].kind != IG_LAYOUT_PLAIN)
      IG_GOTO(ig_fail(IG_ERR_INTERNAL, "%s (%s): operand %d is updated in place and must stay plain", n->name,
                      impl->name, i));
    IG_GOTO(in_wanted_layout(p, values[i], in[i], n->phase, &values[i]));
  }
  step *s;
  IG_GOTO(add_step(p, n, &s));
done:
  if (status != IG_OK) {
    if (state && impl->destroy)
      impl->destroy(state);
    return status;
  }
  int index = (int)p->n_steps - 1;
  s->impl = impl;
  s->state = state;
  s->workspace_bytes = workspace;
  s->tuned_ns = tuned_ns;
  memcpy(s->in, values, (size_t)n->n_in * sizeof *values);
  memcpy(s->in_layout, in, (size_t)n->n_in * sizeof *in);
  memcpy(s->out_layout, out, (size_t)n->n_out * sizeof *out);
  s->is_static = node_is_static(p, s);
  bool is_static = s->is_static;
  int outside[IG_MAX_OUT];
  for (int i = 0; i < n->n_out; i++) {
    const ig_tensor *t = n->out[i];
    int v;
    outside[i] = -1;
    // Outside of the arena a tensor is always plain.
    bool detour = t->space != IG_SPACE_ARENA && out[i].kind != IG_LAYOUT_PLAIN;
    IG_TRY(add_value(p, t, out[i], detour ? IG_SPACE_ARENA : t->space, &v));
    p->values[v].is_static = is_static && t->space == IG_SPACE_ARENA;
    if (is_reorder && t->space == IG_SPACE_ARENA)
      p->values[v].flexible_step = index;
    p->plain_value[t->id] = v;
    p->steps[index].out[i] = v;
    if (detour)
      IG_TRY(add_value(p, t, IG_PLAIN, t->space, &outside[i]));
  }
  for (int i = 0; i < n->n_out; i++)
    if (outside[i] >= 0) {
      IG_TRY(add_reorder(p, p->steps[index].out[i], outside[i]));
      p->values[outside[i]].is_static = false;
    }
  return IG_OK;
}

// Reorders whose result nobody reads, as all readers took the weights themselves (IG_WIDE).
static ig_status drop_unread_reorders(ig_plan *p) {
  bool *read;
  IG_TRY(ig_alloc_array(p->n_values + 1, sizeof *read, "plan", &read));
  for (size_t k = 0; k < p->n_steps; k++)
    for (int i = 0; i < p->steps[k].node->n_in; i++)
      if (p->steps[k].in[i] >= 0)
        read[p->steps[k].in[i]] = true;
  size_t kept = 0;
  for (size_t k = 0; k < p->n_steps; k++) {
    step *s = &p->steps[k];
    const value *out = &p->values[s->out[0]];
    if (strcmp(s->node->op->name, "reorder") || out->space != IG_SPACE_ARENA || read[s->out[0]]) {
      p->steps[kept++] = *s;
      continue;
    }
    if (s->state && s->impl->destroy)
      s->impl->destroy(s->state);
    ig_free(s->in_address);
  }
  p->n_steps = kept;
  ig_free(read);
  return IG_OK;
}

static const char *recall(void *plan, const ig_node *n, const char *what) {
  return ig_tuner_recall(((ig_plan *)plan)->options.tuner, plan, n, what);
}
static ig_status keep(void *plan, const ig_node *n, const char *what, const char *choice) {
  return ig_tuner_keep(((ig_plan *)plan)->options.tuner, plan, n, what, choice);
}

ig_status ig_plan_create(ig_graph *g, const ig_plan_options *options, ig_plan **out) {
  *out = NULL;
  IG_TRY(ig_graph_status(g));
  if (options->size != sizeof *options)
    return ig_fail(IG_ERR_INTERNAL, "ig_plan_options: size %zu, expected %zu", options->size, sizeof *options);
  ig_plan *p;
  IG_TRY(ig_alloc(sizeof *p, "plan", &p));
  ig_status status = IG_OK;
  p->graph = g;
  p->options = *options;
  p->device = options->device;
  p->n_tensors = g->n_tensors;
  IG_GOTO(ig_layouts_create(&p->layouts));
  ig_layouts_set_choices(p->layouts, &(ig_choices){p, recall, keep});
  IG_GOTO(ig_alloc_array(p->n_tensors + 1, sizeof *p->plain_value, "plan", &p->plain_value));
  IG_GOTO(ig_alloc_array(p->n_tensors + 1, sizeof *p->io, "plan", &p->io));
  for (size_t i = 0; i < p->n_tensors; i++)
    p->plain_value[i] = -1;
  for (size_t k = 0; k < g->n_nodes; k++)
    IG_GOTO(plan_node(p, g->nodes[k]));
  ig_tuner_release_memory(options->tuner);
  IG_GOTO(drop_unread_reorders(p));
  IG_GOTO(ig_plan_layout_memory(p));
  if (p->bytes.persistent)
    IG_GOTO(p->device->ops->alloc(p->device, p->bytes.persistent, "compute copies of weights", &p->persistent));
  *out = p;
  return IG_OK;
done:
  ig_tuner_release_memory(options->tuner);
  ig_plan_destroy(p);
  return status;
}

void ig_plan_destroy(ig_plan *p) {
  if (!p)
    return;
  for (size_t i = 0; i < p->n_steps; i++) {
    if (p->steps[i].state && p->steps[i].impl->destroy)
      p->steps[i].impl->destroy(p->steps[i].state);
    ig_free(p->steps[i].in_address);
  }
  for (size_t i = 0; i < p->n_own; i++)
    ig_free(p->own_nodes[i]);
  if (p->persistent)
    p->device->ops->free(p->device, p->persistent, p->bytes.persistent);
  if (p->before)
    p->device->ops->event_destroy(p->device, p->before);
  if (p->after)
    p->device->ops->event_destroy(p->device, p->after);
  ig_layouts_destroy(p->layouts);
  ig_free(p->steps);
  ig_free(p->values);
  ig_free(p->own_nodes);
  ig_free(p->plain_value);
  ig_free(p->io);
  ig_free(p);
}
