// One operation on one shape: where it comes from, and its time with one implementation. Rule: the node is built,
// prepared and launched as a plan does it; only the operands' memory is the bench's own.
#ifndef IG_BENCH_KERNEL_H
#define IG_BENCH_KERNEL_H

#include "bench/bench.h"
#include "bench/stepper.h"
#include "runtime/graph/plan.h"

typedef struct ig_kernel_input {
  bool absent;
  ig_shape shape;
  ig_dtype dtype;
  ig_fill_kind fill;
  double lo, hi;
} ig_kernel_input;

// A case: of a row's samples, or of a model's step. Everything is borrowed from rows and graphs.
typedef struct ig_kernel_case {
  const ig_op *op;
  const char *name;   // of the sample or of the first node
  const char *model;  // NULL: a sample
  int uses;           // nodes of the model's step that are like it
  int n_in;
  ig_kernel_input *in;
  const void *attr;
  ig_dtype compute;
} ig_kernel_case;

typedef struct ig_kernel_cases {
  ig_kernel_case *items;
  size_t n, capacity;
} ig_kernel_cases;

// The row's sample cases in this type: those marked for benches, or the largest where none is; all: every one.
ig_status ig_kernel_cases_of_row(ig_kernel_cases *c, const ig_op *op, ig_dtype compute, bool all);
// Forward and backward nodes of a model's training step, equal ones once. The stepper must outlive the cases.
ig_status ig_kernel_cases_of_step(ig_kernel_cases *c, const ig_stepper *s);
void ig_kernel_cases_fini(ig_kernel_cases *c);
// Operands' shapes, "16x56x56x64 64x64x3x3".
const char *ig_kernel_shape(const ig_kernel_case *k, char text[256]);

// A case with one implementation, ready to be launched.
typedef struct ig_kernel ig_kernel;
// IG_ERR_UNSUPPORTED with the reason where the implementation refuses it. cold: operands rotate through more memory
// than the caches hold.
ig_status ig_kernel_create(const ig_kernel_case *k, ig_device *device, const char *impl, bool cold, ig_kernel **out);
void ig_kernel_destroy(ig_kernel *k);
ig_status ig_kernel_launch(ig_kernel *k);
// Warms up, then launches until there are enough samples; on a GPU by events around replays of a recorded round.
ig_status ig_kernel_time(ig_kernel *k, ig_times *times);
ig_cost ig_kernel_cost(const ig_kernel *k);
size_t ig_kernel_workspace(const ig_kernel *k);
const ig_impl *ig_kernel_impl(const ig_kernel *k);

// Whether the implementation takes the case at all, without memory for operands.
bool ig_kernel_supported(const ig_kernel_case *k, ig_device *device, const char *impl);

#endif
