// The time from the start of a process to its first step. Rule: a fresh process each time, with a cache folder of its
// own: empty for the cold start, then with the choices that the cold start stored.
#ifndef IG_BENCH_STARTUP_H
#define IG_BENCH_STARTUP_H

#include "bench/bench.h"

// Runs this program again with the same words. Sets start_cold_ns and start_ns (until the first step begins),
// first_step_cold_ns and first_step_ns (until it has ended) in the row; start_ns is the median of several.
ig_status ig_bench_startup(ig_call_state *c, json_t *row);
// Whether this process is such a child, and what it says on standard output at the two moments.
bool ig_bench_is_child(void);
void ig_bench_child_says(const char *moment);

#endif
