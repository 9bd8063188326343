// What an implementation for a library may ask of the plan beyond op.h: choices of its own, kept from start to start,
// and results apart from operands. Rule: few files include it, so that it can grow without op.h.
#ifndef IG_GRAPH_PREPARE_H
#define IG_GRAPH_PREPARE_H

#include "runtime/graph/op.h"

#ifdef __cplusplus
extern "C" {
#endif

// A flag of ig_impl, far from those of op.h, which count up: results lie beside the operands, whatever the row's
// in_place allows (of a library that does not say in which order it reads and writes).
enum { IG_IMPL_APART = 1 << 30 };

// What was chosen inside an implementation for such a node on such a machine at an earlier start (a library's engine;
// `what` names the library), NULL: nothing. It lies beside the tuner's choices, under the same key: another device,
// driver or version of a library begins anew. Valid until the next call.
const char *ig_prepare_recall(const ig_prepare *p, const char *what);
// Keeps it for the next start; without a tuner nothing is kept.
ig_status ig_prepare_keep(const ig_prepare *p, const char *what, const char *choice);

// How the plan gives it: the registry of layouts is what prepare has of the plan, and a back end that has its own copy
// of this floor must run the program's functions.
typedef struct ig_choices {
  void *owner;
  const char *(*recall)(void *owner, const ig_node *n, const char *what);
  ig_status (*keep)(void *owner, const ig_node *n, const char *what, const char *choice);
} ig_choices;
void ig_layouts_set_choices(ig_layouts *l, const ig_choices *choices);

#ifdef __cplusplus
}
#endif
#endif
