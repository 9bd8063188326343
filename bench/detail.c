// Times of nodes; see detail.h. Rule: a node's figure is the median over steps, so that one disturbed step moves
// nothing.
#include "bench/detail.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"

static bool is_narrow(const ig_node *n) {
  for (int i = 0; i < n->n_in; i++)
    if (n->in[i] && (n->in[i]->dtype == IG_BF16 || n->in[i]->dtype == IG_F16))
      return true;
  return false;
}

ig_step_cost ig_bench_step_cost(const ig_stepper *s, const ig_machine *m) {
  ig_step_cost sum = {0};
  ig_plan *plans[2];
  int n = ig_stepper_plans(s, plans);
  for (int p = 0; p < n; p++)
    for (int i = 0; i < ig_plan_n_rows(plans[p]); i++) {
      ig_plan_row r = ig_plan_get_row(plans[p], i);
      sum.flops += r.flops;
      sum.bytes += r.bytes;
      sum.roofline_ns += ig_machine_roofline_ns(m, r.flops, r.bytes, is_narrow(r.node));
    }
  return sum;
}

static const char *phase_name(ig_phase phase) {
  return phase == IG_PHASE_FORWARD ? "forward" : phase == IG_PHASE_BACKWARD ? "backward" : "update";
}

static json_t *node_row(const ig_plan_row *r, ig_times *times, double step_ns, const ig_machine *m) {
  char in[96] = "", out[96];
  double ns = (double)ig_times_quantile(times, 0.5);
  if (r->node->n_in && r->node->in[0])
    ig_shape_text(&r->node->in[0]->shape, in);
  json_t *row = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I}", "node", r->node->name, "op", r->node->op->name,
                          "impl", r->impl, "phase", phase_name(r->node->phase), "in", in, "out",
                          ig_shape_text(&r->node->out[0]->shape, out), "ns", (json_int_t)ns, "ns_min",
                          (json_int_t)ig_times_quantile(times, 0));
  if (!row)
    return NULL;
  ig_put_number(row, "share", ns / step_ns);
  ig_put_number(row, "gflops", r->flops / ns);
  ig_put_number(row, "gbps", r->bytes / ns);
  ig_put_number(row, "roofline", ig_machine_roofline_ns(m, r->flops, r->bytes, is_narrow(r->node)) / ns);
  return row;
}

// ---- by operation and implementation ----
typedef struct op_sum {
  const char *op, *impl;
  int nodes;
  double ns, flops, bytes, roofline_ns;
} op_sum;

static int by_time(const void *a, const void *b) {
  double x = ((const op_sum *)a)->ns, y = ((const op_sum *)b)->ns;
  return (x < y) - (x > y);
}

static ig_status add_to_op(op_sum **sums, size_t *n, size_t *capacity, const ig_plan_row *r, double ns,
                           const ig_machine *m) {
  size_t i = 0;
  while (i < *n && (strcmp((*sums)[i].op, r->node->op->name) || strcmp((*sums)[i].impl, r->impl)))
    i++;
  if (i == *n) {
    IG_TRY(ig_grow(sums, capacity, *n, *n + 1, sizeof **sums, "operations"));
    (*sums)[(*n)++] = (op_sum){.op = r->node->op->name, .impl = r->impl};
  }
  op_sum *s = &(*sums)[i];
  s->nodes++;
  s->ns += ns;
  s->flops += r->flops;
  s->bytes += r->bytes;
  s->roofline_ns += ig_machine_roofline_ns(m, r->flops, r->bytes, is_narrow(r->node));
  return IG_OK;
}

static json_t *op_rows(op_sum *sums, size_t n, double step_ns) {
  json_t *rows = json_array();
  if (n)
    qsort(sums, n, sizeof *sums, by_time);
  for (size_t i = 0; i < n; i++) {
    json_t *row = json_pack("{s:s, s:s, s:i, s:I}", "op", sums[i].op, "impl", sums[i].impl, "nodes", sums[i].nodes,
                            "ns", (json_int_t)sums[i].ns);
    ig_put_number(row, "share", sums[i].ns / step_ns);
    ig_put_number(row, "gflops", sums[i].flops / sums[i].ns);
    ig_put_number(row, "gbps", sums[i].bytes / sums[i].ns);
    ig_put_number(row, "roofline", sums[i].roofline_ns / sums[i].ns);
    json_array_append_new(rows, row);
  }
  return rows;
}

// ---- trace ----
// Nodes run one after the other, so that one step is its nodes laid end to end.
static ig_status write_trace(const char *path, ig_plan *const *plans, int n_plans) {
  json_t *events = json_array();
  double at = 0;
  for (int p = 0; p < n_plans; p++)
    for (int i = 0; i < ig_plan_n_rows(plans[p]); i++) {
      ig_plan_row r = ig_plan_get_row(plans[p], i);
      char shape[96];
      double us = (double)r.ns / 1e3;
      if (!r.runs)
        continue;
      json_array_append_new(
          events, json_pack("{s:s, s:s, s:s, s:f, s:f, s:i, s:i, s:{s:s, s:s, s:s, s:f, s:f}}", "name", r.node->name,
                            "cat", r.node->op->name, "ph", "X", "ts", at, "dur", us, "pid", 1, "tid",
                            (int)r.node->phase, "args", "impl", r.impl, "phase", phase_name(r.node->phase), "shape",
                            ig_shape_text(&r.node->out[0]->shape, shape), "gflop", r.flops / 1e9, "mb", r.bytes / 1e6));
      at += us;
    }
  json_t *trace = json_pack("{s:o, s:s}", "traceEvents", events, "displayTimeUnit", "ms");
  char *text = trace ? json_dumps(trace, JSON_INDENT(0)) : NULL;
  json_decref(trace);
  if (!text)
    return ig_no_json();
  ig_status status = ig_file_write_atomic(path, text, strlen(text));
  free(text);
  return status;
}

ig_status ig_bench_detail(ig_stepper *s, int steps, const ig_machine *m, const char *trace, json_t **nodes,
                          json_t **ops) {
  ig_plan *plans[2];
  int n_plans = ig_stepper_plans(s, plans), total = 0, at = 0;
  ig_times *times = NULL;
  op_sum *sums = NULL;
  size_t n_sums = 0, capacity = 0;
  double step_ns = 0;
  ig_status status = IG_OK;
  *nodes = json_array();
  *ops = NULL;
  for (int p = 0; p < n_plans; p++)
    total += ig_plan_n_rows(plans[p]);
  IG_GOTO(ig_alloc_array((size_t)total, sizeof *times, "times of nodes", &times));
  s->trainer.eager = true;  // a replayed step tells no times of its nodes
  for (int k = 0; k < steps; k++) {
    for (int p = 0; p < n_plans; p++)
      IG_GOTO(ig_plan_profile(plans[p], true));  // starts again from 0
    IG_GOTO(ig_stepper_run(s, NULL));
    at = 0;
    for (int p = 0; p < n_plans; p++)
      for (int i = 0; i < ig_plan_n_rows(plans[p]); i++, at++) {
        ig_plan_row r = ig_plan_get_row(plans[p], i);
        if (r.runs)  // others run once a change of weights
          IG_GOTO(ig_times_add(&times[at], r.ns));
      }
  }
  for (int p = 0; p < n_plans; p++)
    (void)!ig_plan_profile(plans[p], false);
  s->trainer.eager = false;
  for (at = 0; at < total; at++)
    step_ns += (double)ig_times_quantile(&times[at], 0.5);
  at = 0;
  for (int p = 0; p < n_plans; p++)
    for (int i = 0; i < ig_plan_n_rows(plans[p]); i++, at++) {
      ig_plan_row r = ig_plan_get_row(plans[p], i);
      if (!times[at].n)
        continue;
      json_array_append_new(*nodes, node_row(&r, &times[at], step_ns, m));
      IG_GOTO(add_to_op(&sums, &n_sums, &capacity, &r, (double)ig_times_quantile(&times[at], 0.5), m));
    }
  *ops = op_rows(sums, n_sums, step_ns);
  if (trace)
    IG_GOTO(write_trace(trace, plans, n_plans));
done:
  for (at = 0; times && at < total; at++)
    ig_times_fini(&times[at]);
  ig_free(times);
  ig_free(sums);
  if (status != IG_OK) {
    json_decref(*nodes);
    json_decref(*ops);
    *nodes = *ops = NULL;
  }
  return status;
}
