// Building and differentiating a static graph. Rule: builders never crash on a failed operand: the graph keeps the
// first error, a builder given NULL returns NULL, and ig_graph_status tells at the end, so that a model reads like its
// paper.
#ifndef IG_GRAPH_GRAPH_H
#define IG_GRAPH_GRAPH_H

#include <stdio.h>

#include "runtime/graph/op.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum ig_mode { IG_MODE_TRAIN, IG_MODE_EVAL } ig_mode;

typedef struct ig_graph_options {
  size_t size;                     // sizeof(ig_graph_options)
  const ig_op *const *const *ops;  // the op table (kernels/kernels.h: ig_op_lists)
  ig_params *params;               // borrowed; parameters are added at first use
  ig_mode mode;                    // TRAIN: batch statistics, dropout on
  ig_dtype compute_dtype;          // IG_F32, IG_BF16 (F64 for tests): dtype of activations and compute copies
} ig_graph_options;

struct ig_graph {
  ig_graph_options options;
  ig_node **nodes;  // in execution order
  size_t n_nodes, nodes_capacity;
  ig_tensor **tensors;
  size_t n_tensors, tensors_capacity;
  ig_phase phase;           // given to new nodes
  uint64_t inherit_key;     // != 0: key of new nodes (set around a forward node's gradient rule)
  ig_status status;         // first error
  char message[2048];       // and its message
  char prefix[128];         // current name scope, "layer1.0." (ig_graph_scope)
  struct ig_chunk *memory;  // everything above lies in chunks freed together
};

ig_status ig_graph_create(const ig_graph_options *options, ig_graph **out);
void ig_graph_destroy(ig_graph *g);
// The first error of building, with its message set for the calling thread.
ig_status ig_graph_status(ig_graph *g);
// Keeps the first error; returns NULL for builders' use: `return ig_graph_fail(g, IG_ERR_MISMATCH, "...")`.
void *ig_graph_fail(ig_graph *g, ig_status status, const char *format, ...) __attribute__((format(printf, 3, 4)));

// A tensor without producer in a space (inputs, parameters, flat buffers use it; so do tests). NULL on failure.
ig_tensor *ig_graph_tensor(ig_graph *g, const char *name, ig_dtype dtype, ig_shape shape, ig_space space);

// Sets the scope that names are put under ("" = none).
void ig_graph_scope(ig_graph *g, const char *format, ...) __attribute__((format(printf, 2, 3)));

// An input the caller fills before each run, and marking a tensor as a result that outlives the run.
ig_tensor *ig_graph_input(ig_graph *g, const char *name, ig_dtype dtype, ig_shape shape);
void ig_graph_output(ig_graph *g, ig_tensor *t, const char *name);
// Parameter `scope + name` as an fp32 tensor, created at first use (shape and kind must agree later).
ig_tensor *ig_graph_param(ig_graph *g, const char *name, ig_shape shape, ig_param_kind kind, ig_init init);
// The whole flat buffer of a space as one 1-D tensor (optimizer, norm, EMA nodes): fp32, of TRAINABLE16 in the compute
// type.
ig_tensor *ig_graph_flat(ig_graph *g, ig_space space);

// Adds a node of row `op` (by name in the table): copies in[] and attr, infers outputs. Returns NULL on failure.
// `name` is put under the scope and made unique. The workhorse of all op builders.
ig_node *ig_graph_node(ig_graph *g, const char *op, const char *name, int n_in, ig_tensor *const *in, const void *attr);
// For infer functions: creates output i.
ig_status ig_node_set_out(ig_graph *g, ig_node *n, int i, ig_dtype dtype, ig_shape shape);
// For infer functions: checks with a message that names operand and row.
ig_status ig_check_rank(const ig_node *n, int input, int rank);
ig_status ig_check_shape(const ig_node *n, int input, ig_shape want);
ig_status ig_check_dtype(const ig_node *n, int input, ig_dtype want);

// For gradient rules that add for themselves: where t is the sum of two backward tensors (row "add"), *a and *b become
// these, else *a = t and *b = NULL. Sums that nobody reads in the end are dropped.
void ig_graph_addends(ig_tensor *t, ig_tensor **a, ig_tensor **b);

// Reverse-mode differentiation: appends backward nodes so that d loss / d parameter is written to IG_SPACE_GRAD for
// every trainable parameter that loss depends on, and for inputs[] (may be NULL) into dinputs[]. `losses`: scalar fp32
// tensors with their seed tensors (scalar fp32: d total / d loss_i; NULL = 1). Prunes to what is needed; sums several
// contributions with the row "add"; a trainable parameter that no loss reaches gets a zero gradient (row "fill").
ig_status ig_graph_differentiate(ig_graph *g, int n_losses, ig_tensor *const *losses, ig_tensor *const *seeds,
                                 int n_inputs, ig_tensor *const *inputs, ig_tensor **dinputs);

// Casts of trainable parameters to the 16-bit compute type vanish: who read one reads IG_SPACE_TRAINABLE16, which must
// hold the rounded weights before a run (where an optimizer row writes them: its operand w16). After differentiation,
// which needs the casts, and after recomputation, which clones them. Frozen parameters keep theirs, which a plan makes
// once. Returns the number of casts.
int ig_graph_read_copies(ig_graph *g);

// Recomputation: outputs of forward nodes whose row is `cheap`, that backward reads, are dropped after forward and
// recomputed just before their first backward use. Nothing is done where these are less than `least` (0..1) of what
// forward keeps for backward and `other_bytes` together. Of these, the cheapest for their bytes go first, until the
// fullest moment of the step has lost the share `enough` of that sum; 1: all. Returns the number of nodes cloned.
ig_status ig_graph_recompute(ig_graph *g, double least, double enough, double other_bytes, int *n_cloned);

typedef enum ig_dump_format { IG_DUMP_TEXT, IG_DUMP_JSON, IG_DUMP_DOT } ig_dump_format;
ig_status ig_graph_dump(const ig_graph *g, ig_dump_format format, FILE *out);

#ifdef __cplusplus
}
#endif
#endif
