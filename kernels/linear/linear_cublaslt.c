// The fully connected layer by cuBLASLt: bias and bias gradient in the product's epilogue, the fastest of the
// heuristics' first answers (timed once, then the stored choice). Rule: not for deterministic plans, whose bits may
// depend neither on a timing nor on the number of rows; it has not run on a GPU yet, only against
// tests/sim/fakes/cublaslt.c.
//
// Parameters are fp32, and the epilogues of 16-bit results take a bias of the result's type only (the manual's table):
// there a copy of the bias in that type goes before the product (2 bytes a column; its rounding is that of the result),
// and where the bias gradient is refused its sums are a pass of their own over dy (cuda_bias.cu).
#include <stdio.h>
#include <string.h>

#include "kernels/cuda_common/cuda_bias.h"
#include "kernels/cuda_common/cuda_libraries.h"
#include "kernels/kernels.h"
#include "kernels/linear/linear.h"
#include "runtime/device/cuda/cuda_check.h"

#define ANSWERS   8
#define WORKSPACE ((size_t)32 << 20)

// D (m x n) = op(A) B' (k deep), matrices by columns: of a row-major [rows][columns] the transpose.
typedef struct plan {
  const ig_cublaslt *lt;
  cublasLtHandle_t handle;
  cublasLtMatmulDesc_t product;
  cublasLtMatrixLayout_t a, b, d;
  cublasLtMatmulHeuristicResult_t answers[ANSWERS];
  int n_answers, chosen;
  int in_a, in_b;  // operands of the node
  size_t bytes_a, bytes_b, bytes_d;
  bool bias, bias_gradient;    // in the epilogue
  bool narrow_bias, own_sums;  // a copy in the result's type goes before; sums of dy come behind
  size_t bias_bytes;           // of the workspace, in front of the library's
  ig_dtype narrow;             // of that copy
  cudaStream_t stream;         // of the timing
} plan;

typedef enum pass { FORWARD, DATA, WEIGHTS } pass;

static pass pass_of(const ig_node *n) {
  return !strcmp(n->op->name, "linear") ? FORWARD : !strcmp(n->op->name, "linear_bwd_data") ? DATA : WEIGHTS;
}

#define LT(call)                                                                                                      \
  do {                                                                                                                \
    cublasStatus_t lt_status_ = p->lt->call;                                                                          \
    if (lt_status_ != CUBLAS_STATUS_SUCCESS)                                                                          \
      return ig_fail(lt_status_ == CUBLAS_STATUS_NOT_SUPPORTED ? IG_ERR_UNSUPPORTED : IG_ERR_DEVICE, "%s: %s", #call, \
                     p->lt->cublasLtGetStatusString(lt_status_));                                                     \
  } while (0)

static void destroy(void *state) {
  plan *p = state;
  if (p->product)
    p->lt->cublasLtMatmulDescDestroy(p->product);
  for (int i = 0; i < 3; i++) {
    cublasLtMatrixLayout_t m = i == 0 ? p->a : i == 1 ? p->b : p->d;
    if (m)
      p->lt->cublasLtMatrixLayoutDestroy(m);
  }
  ig_free(p);
}

static cudaDataType_t type_of(ig_dtype t) { return t == IG_BF16 ? CUDA_R_16BF : t == IG_F16 ? CUDA_R_16F : CUDA_R_32F; }

static ig_status set(plan *p, cublasLtMatmulDescAttributes_t what, const void *value, size_t bytes) {
  LT(cublasLtMatmulDescSetAttribute(p->product, what, value, bytes));
  return IG_OK;
}

static size_t round_up(size_t bytes) { return (bytes + 255) / 256 * 256; }

static ig_status ask(plan *p) {
  cublasLtMatmulPreference_t preference;
  const size_t most = WORKSPACE;
  const uint32_t align = 16;
  const cublasLtMatmulPreferenceAttributes_t aligned[] = {
      CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
      CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES};
  LT(cublasLtMatmulPreferenceCreate(&preference));
  const char *call = "cublasLtMatmulPreferenceSetAttribute";
  cublasStatus_t s = p->lt->cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                                 &most, sizeof most);
  for (int i = 0; i < 4 && s == CUBLAS_STATUS_SUCCESS; i++)
    s = p->lt->cublasLtMatmulPreferenceSetAttribute(preference, aligned[i], &align, sizeof align);
  if (s == CUBLAS_STATUS_SUCCESS) {
    call = "cublasLtMatmulAlgoGetHeuristic";
    s = p->lt->cublasLtMatmulAlgoGetHeuristic(p->handle, p->product, p->a, p->b, p->d, p->d, preference, ANSWERS,
                                              p->answers, &p->n_answers);
  }
  p->lt->cublasLtMatmulPreferenceDestroy(preference);
  if (s != CUBLAS_STATUS_SUCCESS || p->n_answers == 0)
    return ig_fail(IG_ERR_UNSUPPORTED, "cuBLASLt has no algorithm for it (%s: %s)", call,
                   p->lt->cublasLtGetStatusString(s));
  return IG_OK;
}

static ig_status ask_for(plan *p, cublasLtEpilogue_t epilogue, cudaDataType_t bias) {
  IG_TRY(set(p, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue));
  if (epilogue != CUBLASLT_EPILOGUE_DEFAULT)
    IG_TRY(set(p, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &bias, sizeof bias));
  return ask(p);
}

// The first way of a bias or its gradient that the library has an algorithm for.
static ig_status with_bias(plan *p, const ig_node *n, cudaDataType_t out) {
  const ig_linear_dims d = ig_linear_dims_of(n);
  if (!p->bias && !p->bias_gradient)
    return ask(p);
  ig_status status = ask_for(p, p->bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_BGRADB, CUDA_R_32F);
  if (status != IG_ERR_UNSUPPORTED)
    return status;
  if (p->bias_gradient) {
    p->bias_gradient = false;
    p->own_sums = true;
    p->bias_bytes = round_up(ig_cuda_bias_sums_bytes(d.T, d.V));
    return ask_for(p, CUBLASLT_EPILOGUE_DEFAULT, CUDA_R_32F);
  }
  if (out == CUDA_R_32F)
    return status;
  p->narrow_bias = true;
  p->narrow = n->out[0]->dtype;
  p->bias_bytes = round_up((size_t)d.V * ig_dtype_bytes(p->narrow));
  return ask_for(p, CUBLASLT_EPILOGUE_BIAS, out);
}

static ig_status make(const ig_node *n, const ig_device_caps *caps, plan *p) {
  const ig_linear_dims d = ig_linear_dims_of(n);
  const pass which = pass_of(n);
  const cudaDataType_t in = type_of(n->in[0]->dtype), out = type_of(n->out[0]->dtype);
  const cublasComputeType_t compute =
      in == CUDA_R_32F && caps->tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
  const cublasOperation_t transposed = CUBLAS_OP_T;
  const size_t in_bytes = ig_dtype_bytes(n->in[0]->dtype);
  // Rows, columns (by columns) of A, B, D as they lie.
  const uint64_t T = (uint64_t)d.T, D = (uint64_t)d.D, V = (uint64_t)d.V;
  const uint64_t sides[3][3][2] = {{{D, V}, {D, T}, {V, T}},   // y' = w x' : w transposed
                                   {{D, V}, {V, T}, {D, T}},   // dx' = w dy'
                                   {{D, T}, {V, T}, {D, V}}};  // dw' = x' dy : dy' transposed
  const uint64_t(*s)[2] = sides[which];
  IG_TRY(ig_cublaslt_open(&p->lt, &p->handle));
  p->in_a = which == WEIGHTS ? 0 : 1;
  p->in_b = 1 - p->in_a;
  p->bytes_a = s[0][0] * s[0][1] * in_bytes;
  p->bytes_b = s[1][0] * s[1][1] * in_bytes;
  p->bytes_d = s[2][0] * s[2][1] * ig_dtype_bytes(n->out[0]->dtype);
  p->bias = which == FORWARD && n->n_in > 2 && n->in[2];
  p->bias_gradient = which == WEIGHTS && ((const ig_linear_attr *)n->attr)->has_bias;
  LT(cublasLtMatmulDescCreate(&p->product, compute, CUDA_R_32F));
  if (which != DATA)
    IG_TRY(set(p, which == FORWARD ? CUBLASLT_MATMUL_DESC_TRANSA : CUBLASLT_MATMUL_DESC_TRANSB, &transposed,
               sizeof transposed));
  LT(cublasLtMatrixLayoutCreate(&p->a, in, s[0][0], s[0][1], (int64_t)s[0][0]));
  LT(cublasLtMatrixLayoutCreate(&p->b, in, s[1][0], s[1][1], (int64_t)s[1][0]));
  LT(cublasLtMatrixLayoutCreate(&p->d, out, s[2][0], s[2][1], (int64_t)s[2][0]));
  return with_bias(p, n, out);
}

static ig_status launch(const plan *p, int answer, void *const *in, void *const *out, void *workspace,
                        cudaStream_t stream) {
  const float one = 1, zero = 0;
  void *bias = p->bias ? in[2] : out[1];
  if (p->bias || p->bias_gradient)
    LT(cublasLtMatmulDescSetAttribute(p->product, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias));
  LT(cublasLtMatmul(p->handle, p->product, &one, in[p->in_a], p->a, in[p->in_b], p->b, &zero, out[0], p->d, out[0],
                    p->d, &p->answers[answer].algo, workspace, p->answers[answer].workspaceSize, stream));
  return IG_OK;
}

// places: A, B, D, V floats, workspace.
static ig_status timed(void *user, int which, void *const *places) {
  const plan *p = user;
  void *in[3] = {NULL, NULL, places[3]}, *out[2] = {places[2], places[3]};
  in[p->in_a] = places[0], in[p->in_b] = places[1];
  return launch(p, which, in, out, places[4], p->stream);
}

static ig_status choose(plan *p, ig_prepare *prepare) {
  const size_t sizes[] = {p->bytes_a, p->bytes_b, p->bytes_d,
                          (size_t)ig_linear_dims_of(prepare->node).V * sizeof(float)};
  size_t workspace;
  if (ig_cuda_recall(prepare, "cublaslt", p->n_answers, &p->chosen, &workspace) &&
      p->answers[p->chosen].workspaceSize == workspace)
    return IG_OK;
  workspace = 0;
  for (int i = 0; i < p->n_answers; i++)
    workspace = p->answers[i].workspaceSize > workspace ? p->answers[i].workspaceSize : workspace;
  p->stream = (cudaStream_t)prepare->device->stream;
  IG_TRY(ig_cuda_fastest(p->n_answers, timed, p, sizes, 4, workspace, p->stream, &p->chosen));
  return ig_cuda_keep(prepare, "cublaslt", p->chosen, p->n_answers, p->answers[p->chosen].workspaceSize);
}

static bool supports(const ig_node *n, const ig_device_caps *caps, char *why, size_t why_bytes) {
  plan *p;
  if (n->in[0]->dtype == IG_F64 || (n->in[0]->dtype == IG_BF16 && !caps->bf16)) {
    snprintf(why, why_bytes, "%s is %s, which this GPU's products do not take", n->in[0]->name,
             ig_dtype_name(n->in[0]->dtype));
    return false;
  }
  ig_status status = ig_alloc(sizeof *p, "plan of a product", &p);
  if (status == IG_OK) {
    status = make(n, caps, p);
    destroy(p);
  }
  if (status != IG_OK)
    snprintf(why, why_bytes, "%s", ig_error_message());
  return status == IG_OK;
}

static ig_status prepare(ig_prepare *prepare) {
  const ig_node *n = prepare->node;
  plan *p;
  for (int i = 0; i < n->n_in; i++)
    prepare->in_layout[i] = IG_PLAIN;
  for (int i = 0; i < n->n_out; i++)
    prepare->out_layout[i] = IG_PLAIN;
  IG_TRY(ig_alloc(sizeof *p, "plan of a product", &p));
  ig_status status = make(n, &prepare->device->caps, p);
  if (status == IG_OK)
    status = choose(p, prepare);
  if (status != IG_OK) {
    destroy(p);
    return status;
  }
  prepare->workspace_bytes = p->bias_bytes + p->answers[p->chosen].workspaceSize;
  prepare->state = p;
  return IG_OK;
}

static ig_status run(const ig_launch *l) {
  const plan *p = l->state;
  const cudaStream_t stream = (cudaStream_t)(l->stream ? l->stream : l->device->stream);
  void *in[3] = {l->in[0], l->in[1], l->node->n_in > 2 ? l->in[2] : NULL}, *rest = (char *)l->workspace + p->bias_bytes;
  const ig_linear_dims d = ig_linear_dims_of(l->node);
  if (p->narrow_bias) {
    IG_TRY(ig_cuda_bias_copy(l->workspace, p->narrow, in[2], d.V, stream));
    in[2] = l->workspace;
  }
  if (p->own_sums)
    IG_TRY(ig_cuda_bias_sums(l, l->out[1], in[1], l->node->in[1]->dtype, d.T, d.V, l->workspace));
  else if (l->node->n_out > 1 && !p->bias_gradient)
    IG_CUDA(cudaMemsetAsync(l->out[1], 0, sizeof(float), stream));
  return launch(p, p->chosen, in, l->out, rest, stream);
}

#define IMPL(name_, extra)                                                                                     \
  {                                                                                                            \
    .name = name_, .flags = IG_IMPL_THREAD_FREE | extra, .supports = supports, .prepare = prepare, .run = run, \
    .destroy = destroy                                                                                         \
  }
IG_IMPLS(linear_cublaslt) = {IMPL("linear_cublaslt", IG_IMPL_ROUNDED),
                             IMPL("linear_bwd_data_cublaslt", 0),
                             IMPL("linear_bwd_weights_cublaslt", 0),
                             {0}};
