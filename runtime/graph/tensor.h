// Shapes, layouts, tensors and parameters. Rule: a shape is logical (images NHWC, convolution weights K C R S as the
// public checkpoints have them); where the elements lie in memory is the layout, and only the plan decides it.
#ifndef IG_GRAPH_TENSOR_H
#define IG_GRAPH_TENSOR_H

#include <stdbool.h>

#include "runtime/base/dtype.h"
#include "runtime/base/mem.h"

#ifdef __cplusplus
extern "C" {
#endif

#define IG_MAX_DIMS 6

typedef struct ig_shape {
  int n;  // rank; 0 = scalar
  int64_t d[IG_MAX_DIMS];
} ig_shape;

#define IG_SHAPE0()           ((ig_shape){0, {0}})
#define IG_SHAPE1(a)          ((ig_shape){1, {(a)}})
#define IG_SHAPE2(a, b)       ((ig_shape){2, {(a), (b)}})
#define IG_SHAPE3(a, b, c)    ((ig_shape){3, {(a), (b), (c)}})
#define IG_SHAPE4(a, b, c, e) ((ig_shape){4, {(a), (b), (c), (e)}})

int64_t ig_shape_count(const ig_shape *s);  // product of the dimensions (1 for a scalar)
bool ig_shape_equal(const ig_shape *a, const ig_shape *b);
const char *ig_shape_text(const ig_shape *s, char text[96]);  // "[2, 56, 56, 64]"; returns text

// ---- layout: where elements lie ----
typedef enum ig_layout_kind {
  IG_LAYOUT_PLAIN = 0,  // row-major in the logical order
  IG_LAYOUT_BLOCKED_C,  // rank 4, logical [N,H,W,C]: memory [N, ceil(C/block), H, W, block], padding zero; block 1 =
                        // NCHW
  IG_LAYOUT_KRSC,       // rank 4, logical [K,C,R,S]: memory [K,R,S,C], channels last (GPUs)
  IG_LAYOUT_OPAQUE,     // a library's own; id in the plan's registry
  IG_LAYOUT_WIDE,  // a 16-bit copy of fp32 numbers that was not made: these, row-major, to be rounded as they are read
} ig_layout_kind;

typedef struct ig_layout {
  uint8_t kind;
  uint8_t block;
  uint16_t reserved;
  uint32_t id;
} ig_layout;

#define IG_PLAIN        ((ig_layout){IG_LAYOUT_PLAIN, 0, 0, 0})
#define IG_KRSC         ((ig_layout){IG_LAYOUT_KRSC, 0, 0, 0})
#define IG_WIDE         ((ig_layout){IG_LAYOUT_WIDE, 0, 0, 0})
#define IG_BLOCKED_C(b) ((ig_layout){IG_LAYOUT_BLOCKED_C, (uint8_t)(b), 0, 0})

static inline bool ig_layout_equal(ig_layout a, ig_layout b) {
  return a.kind == b.kind && a.block == b.block && a.id == b.id;
}

// Registry of opaque layouts: a library's blob (at most 4 KiB) becomes an id; equal blobs share one. Owned by a plan.
typedef struct ig_layouts ig_layouts;
ig_status ig_layouts_create(ig_layouts **out);
void ig_layouts_destroy(ig_layouts *l);
// bytes: memory a tensor in this layout takes; label: short text for dumps ("OIhw8i8o").
ig_status ig_layouts_intern(ig_layouts *l, const void *blob, size_t blob_bytes, size_t bytes, const char *label,
                            ig_layout *out);
const void *ig_layouts_blob(const ig_layouts *l, ig_layout layout, size_t *blob_bytes);
const char *ig_layouts_label(const ig_layouts *l, ig_layout layout, char text[32]);
// Memory a tensor of this shape, dtype and layout takes, padding included.
size_t ig_layout_bytes(const ig_layouts *l, ig_layout layout, const ig_shape *shape, ig_dtype dtype);

// View of a rank-4 tensor in PLAIN or BLOCKED_C for own loops: element (n,h,w,c) lies at
// n*stride_n + (c/block)*stride_b + (h*W+w)*stride_p + c%block, c%block < block. PLAIN: one block of C channels.
typedef struct ig_view4 {
  int64_t N, P, C;  // P = H*W
  int64_t n_blocks, block;
  int64_t stride_n, stride_b, stride_p;
} ig_view4;
ig_view4 ig_view4_of(const ig_shape *shape, ig_layout layout);

// ---- parameters ----
typedef enum ig_param_kind {
  IG_PARAM_TRAINABLE,  // has a gradient and moments
  IG_PARAM_FROZEN,     // weights that stay: neither gradient nor moments
  IG_PARAM_STATE,      // BatchNorm statistics: saved with the weights, updated by their own nodes
  IG_N_PARAM_KINDS
} ig_param_kind;

typedef enum ig_init_kind {
  IG_INIT_ZERO,
  IG_INIT_ONE,
  IG_INIT_CONSTANT,         // a
  IG_INIT_NORMAL,           // N(0, a^2)
  IG_INIT_UNIFORM,          // U(-a, a)
  IG_INIT_KAIMING_FAN_OUT,  // N(0, 2/fan_out), fan_out = K*R*S: torchvision's convolutions
  IG_INIT_KAIMING_FAN_IN,   // N(0, 2/fan_in)
  IG_INIT_LINEAR,           // U(-1/sqrt(fan_in), 1/sqrt(fan_in)), a = fan_in where > 0: torch.nn.Linear weight and bias
} ig_init_kind;

typedef struct ig_init {
  ig_init_kind kind;
  double a;
} ig_init;

typedef struct ig_param {
  char *name;      // public name: "layer1.0.conv1.weight"
  ig_shape shape;  // public shape
  ig_param_kind kind;
  ig_init init;
  int use;         // order of first use in the forward graph
  int64_t offset;  // elements from the start of its kind's flat buffer; multiple of 64; -1 before ig_params_layout
  float lr_scale;  // factor on the learning rate (lr_scale=)
  bool decay;      // weight decay applies (no_decay=)
} ig_param;

// All parameters of a model: one offset table for masters, gradients, moments and EMA. Trainable ones lie in backward
// order (reverse of first use), so that gradients finish from the front and a bucket is a range.
typedef struct ig_params {
  ig_param **items;  // in order of first use
  size_t n, capacity;
  int64_t count[IG_N_PARAM_KINDS];  // elements of each flat buffer, padding included; after layout
  bool laid_out;
  // Decides what is frozen; asked once when a parameter is first named. NULL = nothing.
  bool (*is_frozen)(void *user, const char *name);
  void *is_frozen_user;
} ig_params;

void ig_params_init(ig_params *p);
void ig_params_fini(ig_params *p);
ig_param *ig_params_find(const ig_params *p, const char *name);  // NULL if absent
ig_status ig_params_layout(ig_params *p);                        // assigns offsets; idempotent
// Fills the flat fp32 buffers (trainable, frozen, state; sizes count[]) with the initial values; each tensor's numbers
// depend on (seed, its name) alone.
ig_status ig_params_initialize(const ig_params *p, uint64_t seed, float *const buffers[IG_N_PARAM_KINDS]);

// ---- tensors ----
// The space a tensor lies in. A plan is given the base address of each space at run time.
typedef enum ig_space {
  IG_SPACE_ARENA,      // laid out by liveness, valid only inside a run
  IG_SPACE_IO,         // inputs and results: one address each, given by ig_plan_set_io
  IG_SPACE_TRAINABLE,  // flat fp32 masters (or EMA weights: the base decides)
  IG_SPACE_FROZEN,
  IG_SPACE_STATE,
  IG_SPACE_GRAD,     // flat gradients, offsets of TRAINABLE
  IG_SPACE_ACCUM,    // gradients summed over micro-batches, offsets of TRAINABLE
  IG_SPACE_MOMENT0,  // optimizer moments, offsets of TRAINABLE
  IG_SPACE_MOMENT1,
  IG_SPACE_MOMENT2,  // centered RMSprop with momentum alone has three
  IG_SPACE_EMA,
  IG_SPACE_EMA_STATE,
  IG_SPACE_TRAINABLE16,  // flat copies of TRAINABLE in the graph's 16-bit compute type, same offsets: the optimizer's
                         // row writes them with the masters, and nodes read them in place of casts
                         // (ig_graph_read_copies)
  IG_N_SPACES
} ig_space;

typedef struct ig_node ig_node;

typedef struct ig_tensor {
  const char *name;
  ig_dtype dtype;
  ig_shape shape;
  ig_space space;
  const ig_param *param;  // TRAINABLE/FROZEN/STATE tensors of one parameter, and its gradient in GRAD; else NULL
  ig_node *producer;      // NULL for inputs and parameters
  int id;
  bool is_input, is_output;  // IO: written by the caller before a run / read by the caller after it
} ig_tensor;

#ifdef __cplusplus
}
#endif
#endif
