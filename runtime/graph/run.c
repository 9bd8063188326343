// Running a plan: addresses are resolved when a base changes; a run is a walk over the list.
#include <string.h>

#include "runtime/base/cpu.h"
#include "runtime/graph/plan_internal.h"

ig_status ig_plan_bind(ig_plan *p, ig_space space, void *base) {
  if (p->base[space] != base) {
    p->base[space] = base;
    p->bound = false;
  }
  return IG_OK;
}

ig_status ig_plan_set_io(ig_plan *p, const ig_tensor *t, void *address) {
  if (t->space != IG_SPACE_IO || (size_t)t->id >= p->n_tensors || p->graph->tensors[t->id] != t)
    return ig_fail(IG_ERR_INTERNAL, "tensor %s is no input or result of this plan", t->name);
  if (p->io[t->id] != address) {
    p->io[t->id] = address;
    p->bound = false;
  }
  return IG_OK;
}

static ig_status address_of(const ig_plan *p, int index, void **out) {
  const value *v = &p->values[index];
  *out = NULL;
  if (v->kept) {
    *out = (char *)p->persistent + v->offset;
  } else if (v->space == IG_SPACE_IO) {
    *out = p->io[v->tensor->id];
  } else if (p->base[v->space]) {
    size_t offset = v->space == IG_SPACE_ARENA ? v->offset : 0;
    if (v->space != IG_SPACE_ARENA && v->tensor->param)
      offset = (size_t)v->tensor->param->offset * ig_dtype_bytes(v->tensor->dtype);
    *out = p->base[v->space] + offset;
  }
  if (!*out)
    return ig_fail(IG_ERR_INTERNAL, "tensor %s has no memory: its space was not bound", v->tensor->name);
  return IG_OK;
}

static ig_status bind_all(ig_plan *p) {
  if (p->bound)
    return IG_OK;
  for (size_t k = 0; k < p->n_steps; k++) {
    step *s = &p->steps[k];
    for (int i = 0; i < s->node->n_in; i++)
      if (s->in[i] >= 0)
        IG_TRY(address_of(p, s->in[i], &s->in_address[i]));
    for (int i = 0; i < s->node->n_out; i++)
      IG_TRY(address_of(p, s->out[i], &s->out_address[i]));
  }
  p->bound = true;
  return IG_OK;
}

static ig_status run_step(ig_plan *p, step *s, ig_stream *stream) {
  const ig_device_ops *ops = p->device->ops;
  ig_launch launch = {.node = s->node,
                      .state = s->state,
                      .in = s->in_address,
                      .out = s->out_address,
                      .in_layout = s->in_layout,
                      .out_layout = s->out_layout,
                      .layouts = p->layouts,
                      .workspace = s->workspace_bytes ? p->base[IG_SPACE_ARENA] + s->workspace_offset : NULL,
                      .workspace_bytes = s->workspace_bytes,
                      .device = p->device,
                      .stream = stream};
  uint64_t ns;
  if (p->profile)
    IG_TRY(ops->event_record(p->device, p->before, stream));
  if (ops->range_begin)
    ops->range_begin(p->device, s->node->name);
  ig_status status = s->impl->run(&launch);
  if (ops->range_end)
    ops->range_end(p->device);
  if (status != IG_OK) {
    char shape[96];
    return ig_fail_prefix(status, "%s (%s, %s)", s->node->name, s->impl->name,
                          ig_shape_text(&s->node->out[0]->shape, shape));
  }
  if (p->profile) {
    IG_TRY(ops->event_record(p->device, p->after, stream));
    IG_TRY(ops->event_elapsed(p->device, p->before, p->after, &ns));
    s->ns += ns;
    s->runs++;
  }
  return IG_OK;
}

static ig_status run_where(ig_plan *p, ig_stream *stream, bool is_static) {
  if (p->device->ops->enter)
    IG_TRY(p->device->ops->enter(p->device));
  IG_TRY(bind_all(p));
  for (size_t k = 0; k < p->n_steps; k++)
    if (p->steps[k].is_static == is_static)
      IG_TRY(run_step(p, &p->steps[k], stream));
  return IG_OK;
}

ig_status ig_plan_refresh(ig_plan *p, ig_stream *s) {
  IG_TRY(run_where(p, s, true));
  p->refreshed = true;
  return IG_OK;
}

ig_status ig_plan_run(ig_plan *p, ig_stream *s) {
  if (!p->refreshed)
    IG_TRY(ig_plan_refresh(p, s));
  return run_where(p, s, false);
}

void ig_plan_get_bytes(const ig_plan *p, ig_plan_bytes *out) { *out = p->bytes; }

int ig_plan_n_rows(const ig_plan *p) { return (int)p->n_steps; }

ig_plan_row ig_plan_get_row(const ig_plan *p, int i) {
  const step *s = &p->steps[i];
  ig_plan_row row = {.node = s->node,
                     .impl = s->impl->name,
                     .out_layout = s->out_layout[0],
                     .workspace_bytes = s->workspace_bytes,
                     .ns = s->ns,
                     .runs = s->runs,
                     .tuned_ns = s->tuned_ns};
  ig_cost cost = {0, 0};
  if (s->node->op->cost)
    s->node->op->cost(s->node, &cost);
  row.flops = cost.flops;
  row.bytes = cost.bytes;
  for (int j = 0; j < s->node->n_out; j++)
    row.out_bytes += p->values[s->out[j]].bytes;
  return row;
}

double ig_plan_flops(const ig_plan *p) {
  double flops = 0;
  for (int i = 0; i < ig_plan_n_rows(p); i++)
    flops += ig_plan_get_row(p, i).flops;
  return flops;
}

int ig_plan_reference_nodes(const ig_plan *p, const char **first) {
  int count = 0;
  for (size_t k = 0; k < p->n_steps; k++)
    if (p->steps[k].impl->flags & IG_IMPL_REF) {
      if (count++ == 0 && first)
        *first = p->steps[k].node->name;
    }
  return count;
}

ig_status ig_plan_profile(ig_plan *p, bool on) {
  const ig_device_ops *ops = p->device->ops;
  if (on && !p->before)
    IG_TRY(ops->event_create(p->device, &p->before));
  if (on && !p->after)
    IG_TRY(ops->event_create(p->device, &p->after));
  p->profile = on;
  for (size_t k = 0; on && k < p->n_steps; k++)
    p->steps[k].ns = p->steps[k].runs = 0;
  return IG_OK;
}

ig_status ig_plan_dump(const ig_plan *p, ig_dump_format format, FILE *out) {
  if (format == IG_DUMP_DOT)
    return ig_graph_dump(p->graph, format, out);
  bool json = format == IG_DUMP_JSON;
  fprintf(out,
          json ? "{\"arena\": %zu, \"persistent\": %zu, \"steps\": [\n" : "arena %zu bytes, persistent %zu bytes\n",
          p->bytes.arena, p->bytes.persistent);
  for (size_t k = 0; k < p->n_steps; k++) {
    const step *s = &p->steps[k];
    const value *v = &p->values[s->out[0]];
    char label[32], shape[96];
    ig_layouts_label(p->layouts, s->out_layout[0], label);
    ig_shape_text(&v->tensor->shape, shape);
    fprintf(out,
            json ? "%s{\"name\": \"%s\", \"op\": \"%s\", \"impl\": \"%s\", \"layout\": \"%s\", \"shape\": %s, "
                   "\"offset\": %zu, \"bytes\": %zu, \"in_place\": %s, \"static\": %s}\n"
                 : "%s%-48s %-20s %-24s %-10s %-20s at %zu, %zu bytes, in place %s, static %s\n",
            json && k ? "," : "", s->node->name, s->node->op->name, s->impl->name, label, shape, v->offset, v->bytes,
            v->alias >= 0 ? "true" : "false", s->is_static ? "true" : "false");
  }
  fprintf(out, json ? "]}\n" : "");
  return ferror(out) ? ig_fail(IG_ERR_IO, "plan dump: write failed") : IG_OK;
}
