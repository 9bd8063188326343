// One face over oneDNN 2.6 (memory descriptors are structs) and 3.x (opaque handles), for every `<op>_dnnl.c`.
// Rule: everything is created in prepare; a run sets addresses and executes.
#ifndef IG_KERNELS_DNNL_COMMON_H
#define IG_KERNELS_DNNL_COMMON_H

#include <dnnl.h>

#include "runtime/graph/op.h"

#ifdef __cplusplus
extern "C" {
#endif

#define IG_DNNL_AT_LEAST(major, minor) \
  (DNNL_VERSION_MAJOR > (major) || (DNNL_VERSION_MAJOR == (major) && DNNL_VERSION_MINOR >= (minor)))
#define IG_DNNL_HAS_WINOGRAD (!IG_DNNL_AT_LEAST(3, 2))

// Passes a failed oneDNN call on as a status whose message names the call; the plan puts the node in front.
ig_status ig_dnnl_fail(dnnl_status_t status, const char *call);
#define IG_DNNL_TRY(call)                          \
  do {                                             \
    dnnl_status_t ig_dnnl_status_ = (call);        \
    if (ig_dnnl_status_ != dnnl_success)           \
      return ig_dnnl_fail(ig_dnnl_status_, #call); \
  } while (0)
#define IG_DNNL_GOTO(call)                           \
  do {                                               \
    dnnl_status_t ig_dnnl_status_ = (call);          \
    if (ig_dnnl_status_ != dnnl_success) {           \
      status = ig_dnnl_fail(ig_dnnl_status_, #call); \
      goto done;                                     \
    }                                                \
  } while (0)

// The process's oneDNN CPU engine: made at first use, never freed, without settings of its own. The first caller's
// instruction-set cap is the one oneDNN keeps (it takes one a process).
ig_status ig_dnnl_engine(const ig_device_caps *caps, dnnl_engine_t *out);

// oneDNN sizes its work by the OpenMP setting of the calling thread, at creation and at execution: both happen between
// enter and leave. Returns what leave puts back.
int ig_dnnl_enter(int threads);
void ig_dnnl_leave(int saved);

// ---- memory descriptors ----
typedef struct ig_dnnl_md {
  dnnl_memory_desc_t m;
} ig_dnnl_md;
#if IG_DNNL_AT_LEAST(3, 0)
typedef const_dnnl_memory_desc_t ig_dnnl_cmd;
#define IG_DNNL_MD(md) ((ig_dnnl_cmd)(md)->m)
#else
typedef const dnnl_memory_desc_t *ig_dnnl_cmd;
#define IG_DNNL_MD(md) ((ig_dnnl_cmd) & (md)->m)
#endif
void ig_dnnl_md_fini(ig_dnnl_md *md);  // fine on a zeroed one

// bf16, f16 and f32 have a oneDNN type; false for others.
bool ig_dnnl_type(ig_dtype type, dnnl_data_type_t *out);
// dims in oneDNN's order; tag dnnl_format_tag_any lets a primitive choose.
ig_status ig_dnnl_md_tag(int n, const int64_t *dims, ig_dtype type, dnnl_format_tag_t tag, ig_dnnl_md *out);
ig_status ig_dnnl_md_strides(int n, const int64_t *dims, ig_dtype type, const int64_t *strides, ig_dnnl_md *out);

// ---- layouts <-> descriptors ----
// What a tensor is to oneDNN: a logical [N,H,W,C] seen as n,c,h,w, or dimensions in their own order (weights; grouped
// convolution weights [K,C/g,R,S] are seen as g,K/g,C/g,R,S).
typedef enum ig_dnnl_role { IG_DNNL_IMAGE, IG_DNNL_WEIGHTS } ig_dnnl_role;

// Tag of a rank-4 activation in PLAIN or BLOCKED_C; dnnl_format_tag_undef for what oneDNN does not know.
dnnl_format_tag_t ig_dnnl_image_tag(ig_layout layout);
// Descriptor of a tensor of dims (oneDNN's order) in a layout.
ig_status ig_dnnl_md_of(const ig_layouts *layouts, ig_layout layout, ig_dnnl_role role, int n, const int64_t *dims,
                        ig_dtype type, ig_dnnl_md *out);
// The other way round: PLAIN or BLOCKED_C where the descriptor is one of these, else OPAQUE with the descriptor as
// blob.
ig_status ig_dnnl_layout_of(ig_layouts *layouts, ig_dnnl_cmd md, ig_dnnl_role role, int n, const int64_t *dims,
                            ig_dtype type, ig_layout *out);
// Of an opaque layout: role and dimensions, as they were given to ig_dnnl_layout_of.
ig_status ig_dnnl_opaque_dims(const ig_layouts *layouts, ig_layout layout, ig_dnnl_role *role, int *n,
                              int64_t dims[DNNL_MAX_NDIMS]);

// ---- primitives ----
typedef enum ig_dnnl_pass { IG_DNNL_FORWARD, IG_DNNL_BACKWARD_DATA, IG_DNNL_BACKWARD_WEIGHTS } ig_dnnl_pass;

// Convolution: x, w, b (NULL without), y are the forward operands or their gradients; dilation 0 = dense, as oneDNN has
// it.
typedef struct ig_dnnl_conv {
  ig_dnnl_pass pass;
  dnnl_alg_kind_t algorithm;
  ig_dnnl_cmd x, w, b, y;
  dnnl_dims_t stride, dilation, pad_before, pad_after;
  dnnl_primitive_desc_t hint;  // the forward one; backward passes need it
  bool add, relu;              // forward: y = relu?(conv + what y holds already)
} ig_dnnl_conv;
// oneDNN's own status: dnnl_unimplemented is an answer, not a failure.
dnnl_status_t ig_dnnl_conv_pd(dnnl_engine_t engine, const ig_dnnl_conv *c, dnnl_primitive_desc_t *out);
// y[M,N] = a[M,K] b[K,N] + bias[1,N] (NULL without); with `add` added to what y holds already.
dnnl_status_t ig_dnnl_matmul_pd(dnnl_engine_t engine, ig_dnnl_cmd a, ig_dnnl_cmd b, ig_dnnl_cmd bias, ig_dnnl_cmd y,
                                bool add, dnnl_primitive_desc_t *out);
dnnl_status_t ig_dnnl_reorder_pd(dnnl_engine_t engine, ig_dnnl_cmd from, ig_dnnl_cmd to, dnnl_primitive_desc_t *out);

// A primitive to be run, possibly by several threads at once on different memory (each its own ig_dnnl_args).
typedef struct ig_dnnl_primitive {
  dnnl_primitive_t primitive;
  size_t scratch_bytes;
} ig_dnnl_primitive;
// Its memory objects without addresses, and the stream they run on.
#define IG_DNNL_MAX_ARGS 8
typedef struct ig_dnnl_args {
  dnnl_stream_t stream;
  int n;  // operands; the scratch memory is args[n]
  dnnl_exec_arg_t args[IG_DNNL_MAX_ARGS];
} ig_dnnl_args;

ig_status ig_dnnl_primitive_init(dnnl_primitive_desc_t pd, ig_dnnl_primitive *out);
void ig_dnnl_primitive_fini(ig_dnnl_primitive *p);
// ids: DNNL_ARG_SRC ..., whose descriptors pd knows.
ig_status ig_dnnl_args_init(dnnl_engine_t engine, dnnl_primitive_desc_t pd, int n, const int *ids, ig_dnnl_args *out);
void ig_dnnl_args_fini(ig_dnnl_args *a);
// data: n addresses in the order of ids.
ig_status ig_dnnl_run(const ig_dnnl_primitive *p, ig_dnnl_args *a, void *const *data, void *scratch);

// Both in one, for nodes that are one primitive.
typedef struct ig_dnnl_task {
  ig_dnnl_primitive primitive;
  ig_dnnl_args args;
  int threads;
} ig_dnnl_task;
ig_status ig_dnnl_task_init(const ig_device_caps *caps, dnnl_primitive_desc_t pd, int n, const int *ids,
                            ig_dnnl_task *out);
void ig_dnnl_task_fini(ig_dnnl_task *t);
ig_status ig_dnnl_task_run(ig_dnnl_task *t, void *const *data, void *scratch);

// Common test of `supports`: f32, or bf16 where the processor multiplies it; writes the reason of a refusal.
bool ig_dnnl_takes(const ig_tensor *t, const ig_device_caps *caps, char *why, size_t why_bytes);

#ifdef __cplusplus
}
#endif
#endif
