// A stand-in for libcublasLt on the simulator: products by plain loops, as cuBLASLt's manual defines them (matrices by
// columns, epilogues BIAS and BGRADB). Rule: it takes what kernels/linear/linear_cublaslt.c may ask for, and refuses
// the rest as the library does. It proves descriptors, not speed, and not what the real library supports.
#include <cublasLt.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/fakes/later.h"

typedef struct product {
  cublasOperation_t a, b;
  cublasLtEpilogue_t epilogue;
  void *bias;
  int32_t bias_type;
} product;
typedef struct matrix {
  cudaDataType_t type;
  uint64_t rows, columns;
  int64_t ld;
} matrix;
_Static_assert(sizeof(struct cublasLtMatmulDescOpaque_t *) == sizeof(void *), "handles are pointers");

static size_t bytes_of(cudaDataType_t t) { return t == CUDA_R_32F ? 4 : 2; }

static double load(const void *p, cudaDataType_t t, size_t i) {
  uint32_t bits = 0;
  float f;
  if (t == CUDA_R_16F) {
    _Float16 h;
    memcpy(&h, (const char *)p + 2 * i, 2);
    return (double)h;
  }
  if (t == CUDA_R_16BF)
    memcpy((char *)&bits + 2, (const char *)p + 2 * i, 2);
  else
    memcpy(&bits, (const char *)p + 4 * i, 4);
  memcpy(&f, &bits, 4);
  return f;
}
static void store(void *p, cudaDataType_t t, size_t i, double v) {
  float f = (float)v;
  uint32_t bits;
  memcpy(&bits, &f, 4);
  if (t == CUDA_R_16F) {
    _Float16 h = (_Float16)v;
    memcpy((char *)p + 2 * i, &h, 2);
  } else if (t == CUDA_R_16BF) {
    bits += 0x7fff + (bits >> 16 & 1);
    memcpy((char *)p + 2 * i, (char *)&bits + 2, 2);
  } else {
    memcpy((char *)p + 4 * i, &bits, 4);
  }
}

EXPORT cublasStatus_t cublasLtCreate(cublasLtHandle_t *h) {
  if (fails("cublasLtCreate"))
    return CUBLAS_STATUS_INTERNAL_ERROR;
  *h = (cublasLtHandle_t)(void *)h;
  return CUBLAS_STATUS_SUCCESS;
}
EXPORT size_t cublasLtGetVersion(void) { return fake.version ? (size_t)fake.version : 130100; }
EXPORT const char *cublasLtGetStatusString(cublasStatus_t s) {
  return s == CUBLAS_STATUS_SUCCESS          ? "CUBLAS_STATUS_SUCCESS"
         : s == CUBLAS_STATUS_NOT_SUPPORTED  ? "CUBLAS_STATUS_NOT_SUPPORTED"
         : s == CUBLAS_STATUS_INTERNAL_ERROR ? "CUBLAS_STATUS_INTERNAL_ERROR"
                                             : "CUBLAS_STATUS_INVALID_VALUE";
}
EXPORT cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *d, cublasComputeType_t compute,
                                               cudaDataType_t scale) {
  if (fails("cublasLtMatmulDescCreate"))
    return CUBLAS_STATUS_INTERNAL_ERROR;
  product *p = calloc(1, sizeof *p);
  fake.live++;
  p->a = p->b = CUBLAS_OP_N;
  p->epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  p->bias_type = -1;
  *d = (cublasLtMatmulDesc_t)(void *)p;
  return scale == CUDA_R_32F && (compute == CUBLAS_COMPUTE_32F || compute == CUBLAS_COMPUTE_32F_FAST_TF32)
             ? CUBLAS_STATUS_SUCCESS
             : CUBLAS_STATUS_INVALID_VALUE;
}
EXPORT cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t d) {
  fake.live--;
  free((void *)d);
  return CUBLAS_STATUS_SUCCESS;
}
EXPORT cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t d, cublasLtMatmulDescAttributes_t what,
                                                     const void *value, size_t bytes) {
  if (fails("cublasLtMatmulDescSetAttribute"))
    return CUBLAS_STATUS_INTERNAL_ERROR;
  product *p = (product *)(void *)d;
  void *to = what == CUBLASLT_MATMUL_DESC_TRANSA           ? (void *)&p->a
             : what == CUBLASLT_MATMUL_DESC_TRANSB         ? (void *)&p->b
             : what == CUBLASLT_MATMUL_DESC_EPILOGUE       ? (void *)&p->epilogue
             : what == CUBLASLT_MATMUL_DESC_BIAS_POINTER   ? (void *)&p->bias
             : what == CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE ? (void *)&p->bias_type
                                                           : NULL;
  if (!to || bytes != (what == CUBLASLT_MATMUL_DESC_BIAS_POINTER ? sizeof(void *) : 4))
    return CUBLAS_STATUS_INVALID_VALUE;
  memcpy(to, value, bytes);
  return CUBLAS_STATUS_SUCCESS;
}
EXPORT cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *l, cudaDataType type, uint64_t rows,
                                                 uint64_t columns, int64_t ld) {
  if (fails("cublasLtMatrixLayoutCreate"))
    return CUBLAS_STATUS_INTERNAL_ERROR;
  matrix *m = calloc(1, sizeof *m);
  fake.live++;
  *m = (matrix){type, rows, columns, ld};
  *l = (cublasLtMatrixLayout_t)(void *)m;
  return ld >= (int64_t)rows ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
}
EXPORT cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t l) {
  fake.live--;
  free((void *)l);
  return CUBLAS_STATUS_SUCCESS;
}
EXPORT cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *p) {
  if (fails("cublasLtMatmulPreferenceCreate"))
    return CUBLAS_STATUS_INTERNAL_ERROR;
  *p = (cublasLtMatmulPreference_t)calloc(1, 8);
  fake.live++;
  return CUBLAS_STATUS_SUCCESS;
}
EXPORT cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t p) {
  fake.live--;
  free((void *)p);
  return CUBLAS_STATUS_SUCCESS;
}
EXPORT cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t p,
                                                           cublasLtMatmulPreferenceAttributes_t what, const void *value,
                                                           size_t bytes) {
  if (fails("cublasLtMatmulPreferenceSetAttribute"))
    return CUBLAS_STATUS_INTERNAL_ERROR;
  (void)p, (void)value;
  return bytes == (what == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES ? 8 : 4) ? CUBLAS_STATUS_SUCCESS
                                                                             : CUBLAS_STATUS_INVALID_VALUE;
}
static bool fits(const product *p, const matrix *a, const matrix *b, const matrix *d) {
  const uint64_t m = p->a == CUBLAS_OP_N ? a->rows : a->columns, k = p->a == CUBLAS_OP_N ? a->columns : a->rows,
                 k2 = p->b == CUBLAS_OP_N ? b->rows : b->columns, n = p->b == CUBLAS_OP_N ? b->columns : b->rows;
  return m == d->rows && n == d->columns && k == k2 && a->type == b->type;
}
// Three answers with different workspaces. A bias takes the result's type only, as the manual's tables have it. The
// gradient of a bias is refused beside f16, so that the way without that epilogue is walked, too.
EXPORT cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t h, cublasLtMatmulDesc_t desc,
                                                     cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                                     cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                                     cublasLtMatmulPreference_t preference, int wanted,
                                                     cublasLtMatmulHeuristicResult_t *out, int *n) {
  if (fails("cublasLtMatmulAlgoGetHeuristic"))
    return CUBLAS_STATUS_INTERNAL_ERROR;
  const product *p = (const product *)(void *)desc;
  (void)h, (void)preference;
  *n = 0;
  if (!fits(p, (matrix *)(void *)a, (matrix *)(void *)b, (matrix *)(void *)d) || c != d)
    return CUBLAS_STATUS_INVALID_VALUE;
  if (p->epilogue != CUBLASLT_EPILOGUE_DEFAULT && p->bias_type != (int32_t)((matrix *)(void *)d)->type)
    return CUBLAS_STATUS_NOT_SUPPORTED;
  if (p->epilogue == CUBLASLT_EPILOGUE_BGRADB && (((matrix *)(void *)b)->type == CUDA_R_16F || fails("BGRADB")))
    return CUBLAS_STATUS_NOT_SUPPORTED;
  for (; *n < 3 && *n < wanted; ++*n) {
    memset(&out[*n], 0, sizeof *out);
    out[*n].workspaceSize = (size_t)*n * 4096;
  }
  return CUBLAS_STATUS_SUCCESS;
}
typedef struct job {
  product p;
  matrix a, b, d;
  const void *A, *B;
  void *D;
  struct job *next;
} job;

// What host functions need lives as long as the process: a graph may replay one, and a fault before it drops it.
static job *kept;

static void run_job(void *data) {
  const job *o = data;
  const product *p = &o->p;
  const matrix *a = &o->a, *b = &o->b, *d = &o->d;
  const uint64_t depth = p->a == CUBLAS_OP_N ? a->columns : a->rows;
  const size_t bytes = (size_t)d->ld * d->columns * bytes_of(d->type);
  char *out = calloc(1, bytes), *sums = malloc(d->columns * 4);
  for (uint64_t j = 0; j < d->columns; j++) {
    double column = 0;
    for (uint64_t k = 0; k < depth; k++)
      column += load(o->B, b->type, p->b == CUBLAS_OP_N ? j * (uint64_t)b->ld + k : k * (uint64_t)b->ld + j);
    store(sums, CUDA_R_32F, j, column);
    for (uint64_t i = 0; i < d->rows; i++) {
      double sum = p->epilogue == CUBLASLT_EPILOGUE_BIAS ? load(p->bias, (cudaDataType_t)p->bias_type, i) : 0;
      for (uint64_t k = 0; k < depth; k++)
        sum += load(o->A, a->type, p->a == CUBLAS_OP_N ? k * (uint64_t)a->ld + i : i * (uint64_t)a->ld + k) *
               load(o->B, b->type, p->b == CUBLAS_OP_N ? j * (uint64_t)b->ld + k : k * (uint64_t)b->ld + j);
      store(out, d->type, j * (uint64_t)d->ld + i, sum);
    }
  }
  memcpy(o->D, out, bytes);
  if (p->epilogue == CUBLASLT_EPILOGUE_BGRADB)
    memcpy(p->bias, sums, d->columns * 4);
  free(out);
  free(sums);
}

EXPORT cublasStatus_t cublasLtMatmul(cublasLtHandle_t h, cublasLtMatmulDesc_t desc, const void *alpha, const void *A,
                                     cublasLtMatrixLayout_t la, const void *B, cublasLtMatrixLayout_t lb,
                                     const void *beta, const void *C, cublasLtMatrixLayout_t lc, void *D,
                                     cublasLtMatrixLayout_t ld, const cublasLtMatmulAlgo_t *algo, void *workspace,
                                     size_t bytes, cudaStream_t stream) {
  if (fails("cublasLtMatmul"))
    return CUBLAS_STATUS_INTERNAL_ERROR;
  const product *p = (const product *)(void *)desc;
  const matrix *a = (const matrix *)(void *)la, *b = (const matrix *)(void *)lb, *d = (const matrix *)(void *)ld;
  later l;
  (void)h, (void)lc, (void)algo;
  if (!later_open(&l) || *(const float *)alpha != 1 || *(const float *)beta != 0 || C != D || !fits(p, a, b, d) ||
      (bytes && !workspace))
    return CUBLAS_STATUS_INVALID_VALUE;
  if (l.fill(D, 0, (size_t)d->ld * d->columns * bytes_of(d->type), stream) != cudaSuccess ||
      (p->epilogue == CUBLASLT_EPILOGUE_BGRADB && l.fill(p->bias, 0, d->columns * 4, stream) != cudaSuccess))
    return CUBLAS_STATUS_EXECUTION_FAILED;
  job *o = malloc(sizeof *o);
  *o = (job){*p, *a, *b, *d, A, B, D, kept};
  kept = o;
  return l.host(stream, run_job, o) == cudaSuccess ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_EXECUTION_FAILED;
}
