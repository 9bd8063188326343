// From a graph to a flat list of launches: implementations, layouts, one arena. Rule: everything is decided here;
// running neither allocates nor chooses.
#ifndef IG_GRAPH_PLAN_H
#define IG_GRAPH_PLAN_H

#include "runtime/graph/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

// ---- tuner: times implementations once per (row, attributes, shapes, dtypes, device) and remembers ----
typedef struct ig_tuner ig_tuner;
// path: cache file (created if missing; NULL = in memory only). An unreadable or foreign cache is ignored and
// rewritten.
ig_status ig_tuner_create(const char *path, ig_tuner **out);
ig_status ig_tuner_save(ig_tuner *t);  // atomic; failing to save is the caller's warning, not an error of the run
void ig_tuner_destroy(ig_tuner *t);
// Choices as JSON and back: stored in checkpoints, so that a resumed run uses the same implementations.
ig_status ig_tuner_export(const ig_tuner *t, char **json);
ig_status ig_tuner_import(ig_tuner *t, const char *json);

typedef struct ig_plan_options {
  size_t size;  // sizeof(ig_plan_options)
  ig_device *device;
  ig_tuner *tuner;         // NULL: the first supported implementation in the row's order
  bool deterministic;      // only choices stored in the tuner or the row's order; THREAD_FREE preferred
  int shards;              // fixed virtual shards of batch reductions; 0 = 1
  const char *force;       // "op=impl,op=impl": overrides for comparison; "*=ref" = references everywhere
  uint32_t stable_spaces;  // bit 1 << ig_space: spaces that do not change between runs (evaluation: trainable, frozen
                           // and state; training: frozen). Nodes that depend on them alone run once per ig_plan_refresh
                           // and their results are kept outside of the arena
} ig_plan_options;

// Whether `asked` in force means this implementation: its name or the name's end ("ref", "dnnl"), or "library".
bool ig_impl_is_meant(const char *impl, const char *asked);

typedef struct ig_plan ig_plan;

typedef struct ig_plan_bytes {
  size_t arena;  // activations, gradients of activations, workspaces: shared by all plans of a context
  size_t activations_peak, workspace_peak;  // parts of the arena at its fullest moment
  size_t persistent;                        // compute copies kept between runs (stable_spaces)
} ig_plan_bytes;

// Chooses implementations and layouts (inserting visible reorder nodes), lays the arena out. The graph is borrowed and
// must outlive the plan. IG_ERR_UNSUPPORTED names the node and every refusal when no implementation takes it.
ig_status ig_plan_create(ig_graph *g, const ig_plan_options *options, ig_plan **out);
void ig_plan_destroy(ig_plan *p);
void ig_plan_get_bytes(const ig_plan *p, ig_plan_bytes *out);
double ig_plan_flops(const ig_plan *p);
// Nodes that use a reference implementation (IG_IMPL_REF): count, and the first one's name.
int ig_plan_reference_nodes(const ig_plan *p, const char **first);

// Base addresses. The arena must hold ig_plan_bytes.arena; spaces that the graph does not use may be NULL.
ig_status ig_plan_bind(ig_plan *p, ig_space space, void *base);
ig_status ig_plan_set_io(ig_plan *p, const ig_tensor *t, void *address);
// Runs the part that depends on stable spaces alone again: after weights changed, or before the first run.
ig_status ig_plan_refresh(ig_plan *p, ig_stream *s);
ig_status ig_plan_run(ig_plan *p, ig_stream *s);

// Per-node view for `plan`, `bench step detail=1` and traces.
typedef struct ig_plan_row {
  const ig_node *node;
  const char *impl;
  ig_layout out_layout;
  size_t out_bytes, workspace_bytes;
  double flops, bytes;
  uint64_t ns;  // summed time since ig_plan_profile(p, true)
  uint64_t runs;
  uint64_t tuned_ns;  // time that the tuner found for this implementation and shape, 0 where it had nothing to choose
} ig_plan_row;
int ig_plan_n_rows(const ig_plan *p);
ig_plan_row ig_plan_get_row(const ig_plan *p, int i);
ig_status ig_plan_profile(ig_plan *p, bool on);  // times each node: on a GPU the host waits for each
ig_status ig_plan_dump(const ig_plan *p, ig_dump_format format, FILE *out);

#ifdef __cplusplus
}
#endif
#endif
