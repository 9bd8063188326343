// A rival: a Python process that does the same work when it is told to and sleeps otherwise. Rule: the two sides never
// run at the same time, and each rival gets the environment that its name promises.
#ifndef IG_BENCH_RIVAL_H
#define IG_BENCH_RIVAL_H

#include "bench/bench.h"

typedef struct ig_rival ig_rival;

// Starts bench/rivals/<script> with the specification (borrowed; "variant" is set to name) and waits until it is ready.
// "pytorch" and names without "-" get the caller's environment without its OpenMP settings; others a short spin, an
// allocator that keeps its memory, and huge pages. IG_ERR_NOT_FOUND says how to install what is missing,
// IG_ERR_UNSUPPORTED why the rival cannot do this at all (its greeting was {"refused": reason}).
ig_status ig_rival_start(const char *name, const char *script, json_t *spec, ig_rival **out);
void ig_rival_stop(ig_rival *r);  // NULL is fine
// One line to it, its answer back (json_decref).
ig_status ig_rival_ask(ig_rival *r, json_t **answer, const char *format, ...) __attribute__((format(printf, 3, 4)));
const char *ig_rival_name(const ig_rival *r);
const json_t *ig_rival_greeting(const ig_rival *r);  // version, recipe, environment
uint64_t ig_rival_start_ns(const ig_rival *r);       // from the start of the process until it was ready

// What every comparison says of a rival: rival, rival_version, rival_recipe, rival_environment, rival_ns (median),
// rival_ns_min, ratio (rival time by ours, `ns`), ratio_low and ratio_high.
void ig_rival_put(const ig_rival *r, double ns, ig_times *theirs, ig_ratios rounds, json_t *row);

// Lets threads that spin after their work fall asleep, before the other side's turn.
void ig_bench_pause(void);
// A fresh folder for what both sides read; ig_remove_tree and ig_free by the caller.
ig_status ig_bench_folder(char **out);

#endif
