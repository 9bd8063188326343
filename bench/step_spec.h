// What a rival of `ingot bench step` gets. Rule: everything that decides its losses is in here, written once, before
// ingot's first step.
#ifndef IG_BENCH_STEP_SPEC_H
#define IG_BENCH_STEP_SPEC_H

#include <jansson.h>

#include "bench/stepper.h"

// The script in bench/rivals that does this step.
const char *ig_step_script(const ig_stepper *s);
// Writes weights and batch into the folder and names them in *out (json_decref) beside sizes and optimizer.
ig_status ig_step_spec(const ig_stepper *s, const char *folder, json_t **out);

#endif
