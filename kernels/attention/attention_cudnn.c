// Attention, forward, by cuDNN's scaled-dot-product operation (9.15 on) over packed sequences: ragged offsets for q, k,
// v, o and the log-sums, and lengths (attention_packed.cu makes them from cu_seqlens). Rule: it takes what it gives
// exactly: 16 bits, heads of a multiple of 8 up to 128, sm_90 on, plans that need not be deterministic. Where dropout >
// 0 it declines: the row's masks are Philox draws by keys of its own (token, head, place), which cuDNN's generator does
// not make. Causal needs operations that headers of before 9.21 do not name: it declines. Backward is attention_cuda's
// alone (docs/decisions.md).
//
// It has not run on a GPU yet, only against tests/sim/fakes. Libraries of this kind have answered wrongly without an
// error, so the first start (as no stored choice is there) runs it once beside attention_cuda, on sequences of ragged
// lengths, empty ones and rows of none, and leaves where they differ. Places in the workspace: offsets, lengths, log-
// sums as [T, H], then the library's own.
#include <stdio.h>
#include <string.h>

#include "kernels/attention/attention_node.h"
#include "kernels/attention/attention_packed.h"
#include "kernels/cuda_common/cudnn_graph.h"
#include "kernels/kernels.h"
#include "runtime/base/mem.h"
#include "runtime/base/rng.h"
#include "runtime/device/cuda/cuda_check.h"

#if defined IG_HAS_CUDNN && CUDNN_VERSION >= 91500

typedef ig_cudnn_descriptor descriptor;
enum { Q, K, V, O, STATS, N_RAGGED };
// Places of the graph: offsets of each ragged tensor, these, lengths of queries and keys, the scale.
enum { OFFSETS = 0, TENSORS = N_RAGGED, LENGTHS = 2 * N_RAGGED, SCALE = LENGTHS + 2, N_PLACES };

typedef struct plan {
  ig_cudnn_graph graph;
  ig_attention_packed packed;
  ig_dtype type;
  size_t stats_at, lengths_at, sums_at, own_bytes;  // in the workspace; rows' offsets come first
  _Alignas(16) float scale;
} plan;

static size_t round_up(size_t n) { return (n + 255) / 256 * 256; }

static void destroy(void *state) {
  plan *p = state;
  ig_cudnn_graph_close(&p->graph);
  ig_free(p);
}

// ---- the graph ----
static ig_status add_tensors(plan *p, descriptor *tensors, descriptor *lengths, descriptor *scale) {
  ig_cudnn_graph *g = &p->graph;
  const int64_t T = p->packed.T, H = p->packed.H, d = p->packed.d, B = p->packed.B;
  const size_t rows = (size_t)(T * H * d) * ig_dtype_bytes(p->type);
  // The longest sequence that there can be is the whole of the rows.
  const ig_cudnn_tensor data = {.type = ig_cudnn_type(p->type),
                                .dims = {B, H, T, d},
                                .strides = {T * H * d, d, H * d, 1},
                                .bytes = rows},
                        sums = {.type = CUDNN_DATA_FLOAT,
                                .dims = {B, H, T, 1},
                                .strides = {T * H, 1, H, 1},
                                .bytes = (size_t)(T * H) * sizeof(float)},
                        offsets = {.type = CUDNN_DATA_INT64,
                                   .dims = {B + 1, 1, 1, 1},
                                   .strides = {1, 1, 1, 1},
                                   .bytes = (size_t)(B + 1) * sizeof(int64_t)},
                        counts = {.type = CUDNN_DATA_INT32,
                                  .dims = {B, 1, 1, 1},
                                  .strides = {1, 1, 1, 1},
                                  .bytes = (size_t)B * sizeof(int32_t)},
                        number = {.type = CUDNN_DATA_FLOAT,
                                  .dims = {1, 1, 1, 1},
                                  .strides = {1, 1, 1, 1},
                                  .bytes = sizeof(float),
                                  .by_value = true};
  descriptor begins[N_RAGGED];
  for (int i = 0; i < N_RAGGED; i++)
    IG_TRY(ig_cudnn_add_tensor(g, &offsets, &begins[i]));
  for (int i = 0; i < N_RAGGED; i++) {
    ig_cudnn_tensor t = i == STATS ? sums : data;
    t.ragged = begins[i];
    IG_TRY(ig_cudnn_add_tensor(g, &t, &tensors[i]));
  }
  for (int i = 0; i < 2; i++)
    IG_TRY(ig_cudnn_add_tensor(g, &counts, &lengths[i]));
  return ig_cudnn_add_tensor(g, &number, scale);
}

static ig_status build(plan *p) {
  static const cudnnBackendAttributeName_t names[N_RAGGED] = {
      CUDNN_ATTR_OPERATION_SDPA_FWD_QDESC, CUDNN_ATTR_OPERATION_SDPA_FWD_KDESC, CUDNN_ATTR_OPERATION_SDPA_FWD_VDESC,
      CUDNN_ATTR_OPERATION_SDPA_FWD_ODESC, CUDNN_ATTR_OPERATION_SDPA_FWD_STATSDESC};
  ig_cudnn_graph *g = &p->graph;
  descriptor tensors[N_RAGGED], lengths[2], scale, operation;
  const cudnnBackendAttributeType_t of = CUDNN_TYPE_BACKEND_DESCRIPTOR;
  IG_TRY(ig_cudnn_graph_open(g));
  IG_TRY(add_tensors(p, tensors, lengths, &scale));
  IG_TRY(ig_cudnn_make(g, CUDNN_BACKEND_OPERATION_SDPA_FWD_DESCRIPTOR, &operation));
  for (int i = 0; i < N_RAGGED; i++)
    IG_TRY(ig_cudnn_set(g, operation, names[i], of, 1, &tensors[i]));
  IG_TRY(ig_cudnn_set(g, operation, CUDNN_ATTR_OPERATION_SDPA_FWD_SCALEDESC, of, 1, &scale));
  IG_TRY(ig_cudnn_set(g, operation, CUDNN_ATTR_OPERATION_SDPA_FWD_SEQ_LEN_QDESC, of, 1, &lengths[0]));
  IG_TRY(ig_cudnn_set(g, operation, CUDNN_ATTR_OPERATION_SDPA_FWD_SEQ_LEN_KVDESC, of, 1, &lengths[1]));
  return ig_cudnn_add(g, operation);
}

static ig_status make(const ig_node *n, plan **out) {
  const ig_attention_dims s = ig_attention_dims_of(n, F_Q, F_OFFSETS);
  const size_t begins = round_up((size_t)(s.B + 1) * sizeof(int64_t));
  plan *p;
  IG_TRY(ig_alloc(sizeof *p, "plan of attention", &p));
  p->packed = (ig_attention_packed){.T = (int)s.T, .H = (int)s.H, .d = (int)s.d, .B = (int)s.B};
  p->type = n->in[F_Q]->dtype;
  p->scale = (float)s.scale;
  p->stats_at = begins;
  p->lengths_at = 2 * begins;
  p->sums_at = p->lengths_at + round_up((size_t)s.B * sizeof(int32_t));
  p->own_bytes = p->sums_at + round_up((size_t)(s.T * s.H) * sizeof(float));
  ig_status status = build(p);
  if (status != IG_OK)
    destroy(p);
  else
    *out = p;
  return status;
}

static bool supports(const ig_node *n, const ig_device_caps *caps, char *why, size_t why_bytes) {
  const ig_attention_attr *a = n->attr;
  const ig_attention_dims s = ig_attention_dims_of(n, F_Q, F_OFFSETS);
  const ig_dtype type = n->in[F_Q]->dtype;
  const char *reason = a->dropout > 0                      ? "dropout's masks are draws of the row's own keys"
                       : a->causal                         ? "it is causal"
                       : type != IG_BF16 && type != IG_F16 ? "its type is neither bf16 nor f16"
                       : caps->architecture < 90           ? "packed sequences need compute capability 9.0"
                       : s.d % 8 || s.d > 128              ? "heads are no multiple of 8 up to 128"
                       : s.T < 1 || s.B < 1                ? "there is nothing to do"
                       : s.T > 1 << 30 || s.B > 1 << 30    ? "more than 2^30 rows or sequences"
                                                           : NULL;
  plan *p;
  if (!reason) {
    ig_status status = make(n, &p);
    if (status == IG_OK) {
      status = ig_cudnn_ask(&p->graph);
      destroy(p);
    }
    reason = status == IG_OK ? NULL : ig_error_message();
  }
  if (reason)
    snprintf(why, why_bytes, "%s", reason);
  return !reason;
}

// ---- execution ----
// The memory of a launch: offsets and lengths at the workspace's begin.
static ig_attention_packed packed_in(const plan *p, char *workspace) {
  ig_attention_packed k = p->packed;
  k.rows = (int64_t *)(void *)workspace;
  k.stats = (int64_t *)(void *)(workspace + p->stats_at);
  k.lengths = (int32_t *)(void *)(workspace + p->lengths_at);
  return k;
}

static ig_status run(const ig_launch *l) {
  plan *p = l->state;
  const cudaStream_t stream = (cudaStream_t)(l->stream ? l->stream : l->device->stream);
  char *workspace = l->workspace;
  const ig_attention_packed k = packed_in(p, workspace);
  float *sums = (float *)(void *)(workspace + p->sums_at);
  void *places[N_PLACES];
  for (int i = 0; i < N_RAGGED; i++)
    places[OFFSETS + i] = i == STATS ? k.stats : k.rows;
  places[TENSORS + Q] = l->in[F_Q], places[TENSORS + K] = l->in[F_K], places[TENSORS + V] = l->in[F_V];
  places[TENSORS + O] = l->out[0], places[TENSORS + STATS] = sums;
  places[LENGTHS] = places[LENGTHS + 1] = k.lengths;
  places[SCALE] = &p->scale;
  IG_TRY(ig_attention_offsets(&k, l->in[F_OFFSETS], stream));
  IG_TRY(ig_cudnn_launch(&p->graph, places, workspace + p->own_bytes, stream));
  return ig_attention_stats(&k, l->out[1], l->out[0], sums, stream);
}

// Sequences of one length for the timing of engines.
static ig_status ready(void *user, void **places, cudaStream_t stream) {
  plan *p = user;
  ig_attention_packed k = p->packed;
  k.rows = places[OFFSETS], k.stats = places[OFFSETS + STATS], k.lengths = places[LENGTHS];
  for (int i = 1; i < STATS; i++)
    places[OFFSETS + i] = k.rows;
  places[LENGTHS + 1] = k.lengths;
  places[SCALE] = &p->scale;
  return ig_attention_offsets(&k, NULL, stream);
}

// ---- the check of a first start ----
enum { C_Q, C_K, C_V, C_OFFSETS, C_O, C_LSE, C_OWN_O, C_OWN_LSE, C_WORKSPACE, C_N };

// Numbers of about N(0,1), and lengths that grow from 0; an eighth of the rows is of no sequence.
static void fill(const plan *p, char *host, const size_t *at) {
  const int64_t count = (int64_t)p->packed.T * p->packed.H * p->packed.d, used = p->packed.T - p->packed.T / 8,
                B = p->packed.B;
  ig_rng r = ig_rng_make(1, 2, 3);
  for (int i = C_Q; i <= C_V; i++)
    for (int64_t k = 0; k < count; k++)
      ig_store_f64(host + at[i], p->type, (size_t)k, (double)ig_rng_normal(&r));
  for (int64_t b = 0; b <= B; b++)
    ((int32_t *)(void *)(host + at[C_OFFSETS]))[b] = (int32_t)((double)used * (double)b * (double)b / (double)(B * B));
}

static ig_status same(const plan *p, const char *host, const size_t *at) {
  const size_t count = (size_t)p->packed.T * (size_t)p->packed.H;
  for (int which = 0; which < 2; which++) {
    const ig_dtype type = which ? IG_F32 : p->type;
    for (size_t i = 0; i < count * (which ? 1 : (size_t)p->packed.d); i++) {
      const double got = ig_load_f64(host + at[C_O + which], type, i),
                   want = ig_load_f64(host + at[C_OWN_O + which], type, i);
      const double least = want < 0 ? -want : want, far = got < want ? want - got : got - want;
      if (!(far <= 0.02 + 0.02 * least))
        return ig_fail(IG_ERR_UNSUPPORTED,
                       "cuDNN's attention differs from attention_cuda: element %zu of %s is %g, expected %g; it is not "
                       "used",
                       i, which ? "lse" : "o", got, want);
    }
  }
  return IG_OK;
}

// One launch of an implementation on the check's memory.
static ig_status run_on(const ig_impl *impl, const ig_prepare *as, void *state, size_t workspace, char *memory,
                        const size_t *at, int o) {
  void *in[F_N] = {memory + at[C_Q], memory + at[C_K], memory + at[C_V], memory + at[C_OFFSETS], NULL, NULL},
       *out[2] = {memory + at[o], memory + at[o + 1]};
  const ig_launch l = {.node = as->node,
                       .state = state,
                       .in = in,
                       .out = out,
                       .in_layout = as->in_layout,
                       .out_layout = as->out_layout,
                       .layouts = as->layouts,
                       .workspace = memory + at[C_WORKSPACE],
                       .workspace_bytes = workspace,
                       .device = as->device};
  return impl->run(&l);
}

static ig_status compare(plan *p, const ig_impl *self, const ig_prepare *prepare, const ig_impl *own, void *own_state,
                         size_t own_workspace) {
  const size_t rows = (size_t)p->packed.T * (size_t)p->packed.H * (size_t)p->packed.d * ig_dtype_bytes(p->type),
               sums = (size_t)p->packed.T * (size_t)p->packed.H * sizeof(float),
               workspace = own_workspace > prepare->workspace_bytes ? own_workspace : prepare->workspace_bytes,
               sizes[C_N] = {rows, rows, rows,     (size_t)(p->packed.B + 1) * sizeof(int32_t), rows, sums,
                             rows, sums, workspace};
  const cudaStream_t stream = (cudaStream_t)prepare->device->stream;
  size_t at[C_N], bytes = 0;
  char *host = NULL, *memory = NULL;
  ig_status status = IG_OK;
  cudaError_t error;
  for (int i = 0; i < C_N; i++) {
    at[i] = bytes;
    bytes += round_up(sizes[i]);
  }
  IG_TRY(ig_alloc(at[C_WORKSPACE], "check of cuDNN's attention", &host));
  fill(p, host, at);
  if ((error = cudaMalloc((void **)&memory, bytes + 1)) != cudaSuccess ||
      (error = cudaMemcpyAsync(memory, host, at[C_O], cudaMemcpyHostToDevice, stream)) != cudaSuccess ||
      (error = cudaMemsetAsync(memory + at[C_O], 0xff, bytes - at[C_O], stream)) != cudaSuccess)  // no numbers
    IG_GOTO(ig_cuda_fail(error, "check of cuDNN's attention"));
  IG_GOTO(run_on(own, prepare, own_state, own_workspace, memory, at, C_OWN_O));
  IG_GOTO(run_on(self, prepare, p, prepare->workspace_bytes, memory, at, C_O));
  if ((error = cudaMemcpyAsync(host + at[C_O], memory + at[C_O], at[C_WORKSPACE] - at[C_O], cudaMemcpyDeviceToHost,
                               stream)) != cudaSuccess ||
      (error = cudaStreamSynchronize(stream)) != cudaSuccess)
    IG_GOTO(ig_cuda_fail(error, "check of cuDNN's attention"));
  status = same(p, host, at);
done:
  if (memory)
    cudaFree(memory);
  ig_free(host);
  return status;
}

extern const ig_impl attention_cudnn_impls[];

static ig_status check(plan *p, const ig_prepare *prepare) {
  char why[160];
  ig_layout in[F_N], out[2];
  const ig_impl *own = ig_device_find_impl(prepare->device, "attention_cuda");
  ig_prepare other = *prepare;
  memcpy(in, prepare->in_layout, sizeof in);
  memcpy(out, prepare->out_layout, sizeof out);
  other.in_layout = in, other.out_layout = out;
  other.workspace_bytes = 0, other.state = NULL;
  if (!own || !own->supports(prepare->node, &prepare->device->caps, why, sizeof why))
    return ig_fail(IG_ERR_UNSUPPORTED, "there is no attention_cuda to check cuDNN's attention by");
  IG_TRY(own->prepare(&other));
  const ig_status status = compare(p, &attention_cudnn_impls[0], prepare, own, other.state, other.workspace_bytes);
  own->destroy(other.state);
  return status;
}

static ig_status prepare(ig_prepare *prepare) {
  const ig_node *n = prepare->node;
  plan *p;
  for (int i = 0; i < n->n_in; i++)
    prepare->in_layout[i] = IG_PLAIN;
  for (int i = 0; i < n->n_out; i++)
    prepare->out_layout[i] = IG_PLAIN;
  IG_TRY(make(n, &p));
  p->graph.ready = ready;
  p->graph.user = p;
  bool timed = false;
  ig_status status = ig_cudnn_choose(&p->graph, prepare, &timed);
  prepare->workspace_bytes += p->own_bytes;
  if (status == IG_OK && timed)
    status = check(p, prepare);
  if (status == IG_OK && timed)
    status = ig_cudnn_keep(&p->graph, prepare);
  if (status != IG_OK) {
    destroy(p);
    return status;
  }
  prepare->state = p;
  return IG_OK;
}

IG_IMPLS(attention_cudnn) = {{.name = "attention_cudnn",
                              .flags = IG_IMPL_THREAD_FREE | IG_IMPL_ROUNDED,
                              .supports = supports,
                              .prepare = prepare,
                              .run = run,
                              .destroy = destroy},
                             {0}};
#else
IG_IMPLS(attention_cudnn) = {{0}};  // no cudnn_graph.h of 9.15 or newer where this was built
#endif
