// Where a step's time goes: times of every node over several steps, by node and by operation, and as a trace.
#ifndef IG_BENCH_DETAIL_H
#define IG_BENCH_DETAIL_H

#include "bench/bench.h"
#include "bench/stepper.h"

// Runs `steps` steps with the clock on every node. *nodes: a row a node in order; *ops: a row an operation and
// implementation, the most expensive first. trace: file of Chrome's trace format (one step), or NULL.
ig_status ig_bench_detail(ig_stepper *s, int steps, const ig_machine *m, const char *trace, json_t **nodes,
                          json_t **ops);

// Sums over the nodes of a step.
typedef struct ig_step_cost {
  double flops, bytes, roofline_ns;
} ig_step_cost;
ig_step_cost ig_bench_step_cost(const ig_stepper *s, const ig_machine *m);

#endif
