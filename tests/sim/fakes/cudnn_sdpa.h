// The stand-in's attention: cuDNN's scaled-dot-product operation over ragged tensors, by plain loops. Rule: it takes
// what kernels/attention/attention_cudnn.c may ask for and refuses the rest. Only for cudnn.c, behind its helpers.
#ifndef IG_SIM_FAKES_CUDNN_SDPA_H
#define IG_SIM_FAKES_CUDNN_SDPA_H

#include <math.h>

enum { S_Q, S_K, S_V, S_O, S_STATS, S_TENSORS };

typedef struct sdpa_parts {
  object *tensors[S_TENSORS], *offsets[S_TENSORS], *lengths[2], *scale;
} sdpa_parts;

static bool has_dims(const object *t, int type, int64_t a, int64_t b, int64_t c, int64_t d) {
  const int64_t *dims = integers(t, CUDNN_ATTR_TENSOR_DIMENSIONS);
  return enumeration(t, CUDNN_ATTR_TENSOR_DATA_TYPE) == type && dims[0] == a && dims[1] == b && dims[2] == c &&
         dims[3] == d;
}

// false: something is missing, or of another size or type than the others say.
static bool sdpa_parts_of(const object *op, sdpa_parts *p) {
  static const cudnnBackendAttributeName_t names[S_TENSORS] = {
      CUDNN_ATTR_OPERATION_SDPA_FWD_QDESC, CUDNN_ATTR_OPERATION_SDPA_FWD_KDESC, CUDNN_ATTR_OPERATION_SDPA_FWD_VDESC,
      CUDNN_ATTR_OPERATION_SDPA_FWD_ODESC, CUDNN_ATTR_OPERATION_SDPA_FWD_STATSDESC};
  p->lengths[0] = child(op, CUDNN_ATTR_OPERATION_SDPA_FWD_SEQ_LEN_QDESC);
  p->lengths[1] = child(op, CUDNN_ATTR_OPERATION_SDPA_FWD_SEQ_LEN_KVDESC);
  p->scale = child(op, CUDNN_ATTR_OPERATION_SDPA_FWD_SCALEDESC);
  for (int i = 0; i < S_TENSORS; i++)
    if (!(p->tensors[i] = child(op, names[i])) ||
        !(p->offsets[i] = child(p->tensors[i], CUDNN_ATTR_TENSOR_RAGGED_OFFSET_DESC)))
      return false;
  const int64_t *q = integers(p->tensors[S_Q], CUDNN_ATTR_TENSOR_DIMENSIONS);
  const int type = enumeration(p->tensors[S_Q], CUDNN_ATTR_TENSOR_DATA_TYPE);
  bool fine = (type == CUDNN_DATA_HALF || type == CUDNN_DATA_BFLOAT16) && q[3] % 8 == 0 && p->lengths[0] &&
              p->lengths[1] && p->scale && find(p->scale, CUDNN_ATTR_TENSOR_IS_BY_VALUE) &&
              has_dims(p->scale, CUDNN_DATA_FLOAT, 1, 1, 1, 1);
  for (int i = 0; fine && i < S_TENSORS; i++)
    fine = has_dims(p->tensors[i], i == S_STATS ? CUDNN_DATA_FLOAT : type, q[0], q[1], q[2], i == S_STATS ? 1 : q[3]) &&
           has_dims(p->offsets[i], CUDNN_DATA_INT64, q[0] + 1, 1, 1, 1);
  for (int i = 0; fine && i < 2; i++)
    fine = has_dims(p->lengths[i], CUDNN_DATA_INT32, q[0], 1, 1, 1);
  return fine;
}

// Tensors with memory; each has an id of its own.
enum { SDPA_PLACES = 2 * S_TENSORS + 3 };

typedef struct sdpa {
  int64_t dims[4], strides[S_TENSORS][4];
  void *at[S_TENSORS];
  const int64_t *offsets[S_TENSORS];
  const int32_t *lengths[2];
  float scale;
  int type;
  struct sdpa *next;
} sdpa;

static sdpa *kept_sdpas;

// Whether what the offsets and lengths name lies inside of the tensors: a kernel that writes them may be a mutant.
static bool lies_within(const sdpa *s) {
  for (int64_t b = 0; b < s->dims[0]; b++)
    for (int i = 0; i < S_TENSORS; i++) {
      const int64_t n = s->lengths[i == S_K || i == S_V][b], from = s->offsets[i][b], row = s->strides[i][2];
      if (n < 0 || n > s->dims[2] || (n > 0 && (from < 0 || from > (s->dims[2] - n) * row)))
        return false;
    }
  return true;
}

static void run_sdpa(void *data) {
  const sdpa *s = data;
  const int64_t T = lies_within(s) ? s->dims[2] : 0, d = s->dims[3];
  double *p = malloc((size_t)T * sizeof *p), *sums = malloc((size_t)d * sizeof *sums);
#define AT(which, row, i) (s->offsets[which][b] + h * s->strides[which][1] + (row)*s->strides[which][2] + (i))
  for (int64_t b = 0; T && b < s->dims[0]; b++)
    for (int64_t h = 0; h < s->dims[1]; h++)
      for (int64_t i = 0; i < s->lengths[0][b]; i++) {
        double most = -INFINITY, sum = 0;
        for (int64_t j = 0; j < s->lengths[1][b]; j++) {
          p[j] = 0;
          for (int64_t k = 0; k < d; k++)
            p[j] += load(s->at[S_Q], s->type, AT(S_Q, i, k)) * load(s->at[S_K], s->type, AT(S_K, j, k));
          p[j] *= (double)s->scale;
          most = p[j] > most ? p[j] : most;
        }
        for (int64_t j = 0; j < s->lengths[1][b]; j++)
          sum += p[j] = exp(p[j] - most);
        for (int64_t k = 0; k < d; k++)
          sums[k] = 0;
        for (int64_t j = 0; j < s->lengths[1][b]; j++)
          for (int64_t k = 0; k < d; k++)
            sums[k] += p[j] / sum * load(s->at[S_V], s->type, AT(S_V, j, k));
        for (int64_t k = 0; k < d; k++)
          store(s->at[S_O], s->type, AT(S_O, i, k), sums[k]);
        store(s->at[S_STATS], CUDNN_DATA_FLOAT, AT(S_STATS, i, 0), most + log(sum) + fake.wrong);
      }
#undef AT
  free(p);
  free(sums);
}

// What no sequence owns is left as no number, and so is what lies between.
static cudnnStatus_t execute_sdpa(const object *op, const object *pack, const later *l) {
  sdpa_parts p;
  sdpa *s = calloc(1, sizeof *s);
  bool fine = sdpa_parts_of(op, &p);
  const void *scale = address_of(pack, p.scale);
  for (int i = 0; fine && i < S_TENSORS; i++) {
    memcpy(s->strides[i], integers(p.tensors[i], CUDNN_ATTR_TENSOR_STRIDES), sizeof s->strides[i]);
    s->at[i] = address_of(pack, p.tensors[i]);
    s->offsets[i] = address_of(pack, p.offsets[i]);
    fine = s->at[i] && s->offsets[i];
  }
  for (int i = 0; fine && i < 2; i++)
    fine = (s->lengths[i] = address_of(pack, p.lengths[i])) != NULL;
  if (!fine || !scale) {
    free(s);
    return CUDNN_STATUS_BAD_PARAM;
  }
  memcpy(s->dims, integers(p.tensors[S_Q], CUDNN_ATTR_TENSOR_DIMENSIONS), sizeof s->dims);
  memcpy(&s->scale, scale, sizeof s->scale);
  s->type = enumeration(p.tensors[S_Q], CUDNN_ATTR_TENSOR_DATA_TYPE);
  // The longest sequence is the whole of the rows.
  if (l->fill(s->at[S_O], 0xff, (size_t)(s->dims[2] * s->strides[S_O][2]) * 2, stream) == cudaSuccess &&
      l->fill(s->at[S_STATS], 0xff, (size_t)(s->dims[2] * s->strides[S_STATS][2]) * 4, stream) == cudaSuccess &&
      l->host(stream, run_sdpa, s) == cudaSuccess) {
    s->next = kept_sdpas;
    kept_sdpas = s;
    return CUDNN_STATUS_SUCCESS;
  }
  free(s);
  return CUDNN_STATUS_EXECUTION_FAILED;
}
#endif
