// The op row: everything the runtime knows of an operation, and the implementation record. Rule: rows and
// implementations are constants; nodes point at their row; there is no enum of ops and no switch over them.
#ifndef IG_GRAPH_OP_H
#define IG_GRAPH_OP_H

#include "runtime/device/device.h"
#include "runtime/graph/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

#define IG_MAX_OUT     4
#define IG_MAX_IMPLS   12
#define IG_MAX_CASE_IN 16

typedef struct ig_op ig_op;

typedef struct ig_graph ig_graph;

typedef enum ig_phase {
  IG_PHASE_FORWARD,
  IG_PHASE_BACKWARD,
  IG_PHASE_UPDATE,
} ig_phase;

// A node of the graph: a row applied to tensors. Owned by the graph.
struct ig_node {
  const ig_op *op;
  const char *name;  // unique; "layer1.0.conv1", "layer1.0.conv1/dw": shown in messages, dumps, time tables
  uint64_t key;      // Philox op key: hash of the forward node's name; its backward nodes and clones inherit it
  int id;            // position in graph order, which is an execution order
  ig_phase phase;
  bool recomputed;  // a clone of a forward node, made by the recomputation pass
  int n_in, n_out;
  ig_tensor **in;  // n_in entries; optional ones may be NULL
  ig_tensor *out[IG_MAX_OUT];
  const void *attr;  // op->attr_bytes bytes, owned by the graph; NULL if 0
};

// ---- sample cases: what ops_test and the benches run ----
typedef enum ig_fill_kind {
  IG_FILL_NORMAL,    // N(0,1)
  IG_FILL_UNIFORM,   // [lo,hi)
  IG_FILL_POSITIVE,  // [0.5,1.5): variances, scales
  IG_FILL_INDEX,     // integers 0..hi-1
  IG_FILL_BINARY,    // 0 or 1, at least one 1
  IG_FILL_SIMPLEX,   // rows over the last dimension that sum to 1
  IG_FILL_OFFSETS,   // increasing integers, first 0, last hi (cu_seqlens)
  IG_FILL_ABSENT,    // optional input left out
} ig_fill_kind;

typedef struct ig_case_input {
  ig_shape shape;
  ig_dtype dtype;  // IG_F32 stands for "the dtype under test"; others are taken as they are
  ig_fill_kind fill;
  double lo, hi;
  bool fixed_f32;  // stays fp32 when the case runs in a 16-bit type (statistics, gamma, class weights)
  bool no_grad;    // the op has no gradient with respect to this input
} ig_case_input;

typedef struct ig_op_case {
  const char *name;
  int n_in;
  ig_case_input in[IG_MAX_CASE_IN];
  const void *attr;
  bool bench;   // large enough to time; skipped by ops_test unless asked
  double kink;  // > 0: inputs closer than this to 0 are pushed away (ReLU, |x|): central differences need it
} ig_op_case;

// ---- the row ----
typedef struct ig_cost {
  double flops;
  double bytes;  // compulsory traffic: each input read once, each output written once
} ig_cost;

// Gradient rule: emits backward nodes through the op builders. dout[i] is NULL where no gradient arrives at output i.
// need[i] says whether input i's gradient is wanted; the rule sets din[i] only there (NULL = zero). A din of an fp32
// parameter's 16-bit compute copy may be fp32.
typedef ig_status (*ig_grad_rule)(ig_graph *g, const ig_node *n, ig_tensor *const *dout, const bool *need,
                                  ig_tensor **din);
// The explicit marker: differentiating through this op is an error that names the node.
ig_status ig_no_grad(ig_graph *g, const ig_node *n, ig_tensor *const *dout, const bool *need, ig_tensor **din);
// The marker for ops whose outputs never carry a gradient (statistics updates, masks): silently ends the path.
ig_status ig_zero_grad(ig_graph *g, const ig_node *n, ig_tensor *const *dout, const bool *need, ig_tensor **din);

// Where a row occurs on a CPU, whatever precision= says: losses, statistics, parameters and moments are fp32 there. The
// reference takes the other types too (a GPU's kernels are compared with it). bench/kernels.c lists by it, and
// cli_precision_test holds it on real runs.
typedef enum ig_on_cpu {
  IG_CPU_ANY,
  IG_CPU_F32,    // operands are never of 16 bit: its builder converts them, or they lie in the fp32 flat buffers
  IG_CPU_NEVER,  // made for GPUs alone
} ig_on_cpu;

struct ig_op {
  const char *name;     // "conv2d", "conv2d_bwd_data"
  const char *summary;  // one line with the formula
  int min_in, max_in;   // max_in -1: any number
  int n_out;
  uint32_t optional_in;  // bit i: in[i] may be NULL (masks: operands from 31 on count as bit 31)
  uint32_t
      mutates_in;  // bit i: in[i] is written in place (optimizer updates, running statistics); never reordered away
  size_t attr_bytes;
  // Checks operands and attributes and gives each output its shape and dtype (ig_node_set_out). Messages say what was
  // found and expected; the caller prefixes the node's name.
  ig_status (*infer)(ig_graph *g, ig_node *n);
  ig_grad_rule grad;             // mandatory: a rule, ig_no_grad or ig_zero_grad
  uint32_t keeps_in, keeps_out;  // what the gradient rule reads: bit i of inputs / outputs (checked by ops_test)
  int8_t in_place[IG_MAX_OUT];   // 1 + input whose memory out[i] may take over when that input dies here; 0 = none
  int8_t addend;  // 1 + optional operand that is added to out[0], which may lie on it: of a parameter that is used
                  // twice, the second gradient is added where the first one lies; 0 = none
  ig_on_cpu on_cpu;
  bool cheap;  // recomputing it costs a pass over memory at most: recompute=1 drops its outputs
  void (*cost)(const ig_node *n, ig_cost *cost);
  const ig_op_case *cases;
  int n_cases;
  // Names, best first, the reference last. The last place stays empty (ops_test): a list that is full is seen before
  // one loses its end where compilers only warn of excess elements.
  const char *impls[IG_N_DEVICE_KINDS][IG_MAX_IMPLS];
};

// ---- implementations ----
enum {
  IG_IMPL_REF = 1,  // the plain C oracle: any size, any float dtype incl. fp64; a plan of a named model warns of it
  IG_IMPL_DETERMINISTIC =
      2,                    // same inputs, same threads: same bits (expected of all; false only where a library is not)
  IG_IMPL_THREAD_FREE = 4,  // result does not depend on the number of threads either
  IG_IMPL_ANY_LAYOUT = 8,   // elementwise over memory (padding included: f(0,..,0) = 0, one dtype): any common layout
  IG_IMPL_BLOCKED_C = 16,   // takes rank-4 operands PLAIN or BLOCKED_C (ig_view4_of(shape, launch->in_layout[i]))
  IG_IMPL_INEXACT = 32,     // rounding error clearly above the direct algorithm's (Winograd): needs caps.winograd
  IG_IMPL_ROUNDED = 64,     // in a 16-bit type, what others keep in fp32 is rounded to it, too: what lies between two
                            // products (attention), an fp32 bias, an fp32 result before its cast
  IG_IMPL_READS_WIDE = 128,  // takes weights as IG_WIDE; first of its row: chosen untimed where it spares their copy
};

// What prepare may decide. Layouts: on entry `in_layout[i]` is what the producer offers; the implementation may replace
// it by what it wants (the plan then inserts a visible reorder) and sets out_layout. Defaults when there is no prepare:
// all PLAIN; with IG_IMPL_ANY_LAYOUT: outputs and float inputs of in[0]'s shape take in[0]'s layout; with BLOCKED_C:
// as ANY_LAYOUT, but only PLAIN and BLOCKED_C are let through.
typedef struct ig_prepare {
  const ig_node *node;
  const ig_device *device;
  ig_layouts *layouts;  // registry of opaque layouts of this plan
  bool deterministic;
  int shards;            // >= 1: fixed virtual shards of the batch for reductions (deterministic mode)
  uint32_t wide_in;      // bit i: operand i is a 16-bit copy of weights, made anew each run: the implementation may ask
                         // for IG_WIDE in its place, the weights themselves
  ig_layout *in_layout;  // n_in entries
  ig_layout *out_layout;   // n_out entries
  size_t workspace_bytes;  // set by prepare: scratch from the arena while the node runs
  void *state;             // set by prepare: the implementation's own (a created primitive)
} ig_prepare;

typedef struct ig_launch {
  const ig_node *node;
  void *state;
  void *const *in;   // n_in base pointers (NULL where optional and absent)
  void *const *out;  // may equal in[in_place-1]
  const ig_layout *in_layout, *out_layout;
  const ig_layouts *layouts;  // registry, for ig_layout_bytes of opaque ones
  void *workspace;
  size_t workspace_bytes;
  const ig_device *device;
  ig_stream *stream;
} ig_launch;

struct ig_impl {
  const char *name;  // "conv2d_dnnl"
  uint32_t flags;
  ig_isa isa;  // least instruction set (IG_ISA_BASE for portable code)
  // NULL = every node of the row with dtypes f32 (REF: and f64, bf16, f16). A refusal writes its reason to why.
  bool (*supports)(const ig_node *n, const ig_device_caps *caps, char *why, size_t why_bytes);
  // NULL = nothing to prepare. IG_ERR_UNSUPPORTED: it leaves a node that supports took, with nothing kept, and the plan
  // chooses among the others as if supports had refused; every other error ends the plan. So supports need not ask what
  // is dear to know.
  ig_status (*prepare)(ig_prepare *p);
  ig_status (*run)(const ig_launch *launch);  // never allocates, never synchronises with the host on a GPU
  void (*destroy)(void *state);
};

#ifdef __cplusplus
}
#endif
#endif
