// The inside of a plan, shared by plan.c (choices), memory.c (arena) and run.c (execution). Not for other floors.
#ifndef IG_GRAPH_PLAN_INTERNAL_H
#define IG_GRAPH_PLAN_INTERNAL_H

#include "runtime/graph/plan.h"
#include "runtime/graph/prepare.h"

// A tensor in one layout. The same tensor may have several values, joined by reorder steps.
typedef struct value {
  const ig_tensor *tensor;
  ig_layout layout;
  size_t bytes;
  ig_space space;     // ARENA: at offset in the arena, or in the persistent buffer where kept
  bool is_static;     // depends on weights alone and the plan has stable weights
  bool kept;          // is_static, and read by a step of every run: not only while the plan is refreshed
  ig_phase phase;     // of the node that a change of layout was first made for
  int flexible_step;  // >= 0: this reorder step's output layout is still free; the first consumer decides
  int first, last;    // steps between which it lives (ARENA, not static)
  int alias;          // >= 0: shares the memory of this value (in-place)
  size_t offset;      // bytes
} value;

typedef struct step {
  const ig_node *node;
  const ig_impl *impl;
  void *state;
  int *in, *out;  // value indices; in[i] = -1 where absent
  ig_layout *in_layout, *out_layout;
  void **in_address, **out_address;
  size_t workspace_bytes, workspace_offset;
  bool is_static;
  uint64_t ns, runs, tuned_ns;  // tuned_ns: what the tuner found, 0 where there was no choice to make
} step;

struct ig_plan {
  ig_graph *graph;
  ig_plan_options options;
  ig_device *device;
  ig_layouts *layouts;
  step *steps;
  size_t n_steps, steps_capacity;
  value *values;
  size_t n_values, values_capacity;
  int *plain_value;  // tensor id -> its first value
  size_t n_tensors;
  ig_node **own_nodes;  // reorder nodes made here
  size_t n_own, own_capacity;
  ig_plan_bytes bytes;
  void *persistent;
  char *base[IG_N_SPACES];
  void **io;  // tensor id -> address
  bool bound, refreshed, profile;
  ig_event *before, *after;  // of a profiled step; made when profiling is first asked for
};

// memory.c: gives every ARENA value and workspace its offset; fills plan->bytes.
ig_status ig_plan_layout_memory(ig_plan *p);
// tune.c: the fastest of the candidates for this node, from the cache or by timing; *ns: its time, 0 where unknown.
ig_status ig_tuner_choose(ig_tuner *t, ig_plan *p, const ig_node *node, const ig_layout *offered,
                          const ig_impl *const *candidates, int n, bool may_time, const ig_impl **chosen, uint64_t *ns);
// ig_prepare_recall and ig_prepare_keep (prepare.h) of this plan's node; t may be NULL.
const char *ig_tuner_recall(const ig_tuner *t, const ig_plan *p, const ig_node *node, const char *what);
ig_status ig_tuner_keep(ig_tuner *t, const ig_plan *p, const ig_node *node, const char *what, const char *choice);
void ig_tuner_release_memory(ig_tuner *t);  // what timing took; fine without a tuner
// plan.c: prepares a launch record of node with impl; layouts in/out as ig_prepare says.
ig_status ig_plan_prepare_node(ig_plan *p, const ig_node *node, const ig_impl *impl, ig_layout *in_layout,
                               ig_layout *out_layout, size_t *workspace_bytes, void **state);

#endif
