// The stand-in's layer normalisation: cuDNN's norm operation in its inference phase, by plain loops. Rule: it takes
// what kernels/layernorm/layernorm_cudnn.c may ask for and refuses the rest: rows are samples of [rows, columns, 1, 1]
// that lie close, scale and bias [1, columns, 1, 1] and epsilon fp32, the last one by value, and no statistics. (Batch
// normalisation by this operation is refused by the heuristics of cuDNN 9.26, too.) Only for cudnn.c, behind its
// helpers.
#ifndef IG_SIM_FAKES_CUDNN_NORM_H
#define IG_SIM_FAKES_CUDNN_NORM_H

#include <math.h>

enum { N_X, N_Y, N_SCALE, N_BIAS, N_EPSILON, NORM_PLACES };

// Sizes, and numbers of a row one behind the other.
static bool is_matrix(const object *t, int type, int64_t rows, int64_t columns) {
  const int64_t *d = integers(t, CUDNN_ATTR_TENSOR_DIMENSIONS), *s = integers(t, CUDNN_ATTR_TENSOR_STRIDES);
  return type_of(t) == type && d[0] == rows && d[1] == columns && d[2] == 1 && d[3] == 1 && s[1] == 1 &&
         s[0] == columns && *integers(t, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT) % 16 == 0 && !is_virtual(t);
}

// false: something is missing, not asked for, or of another size or type than x says.
static bool norm_parts_of(const object *op, object *parts[NORM_PLACES]) {
  static const cudnnBackendAttributeName_t names[NORM_PLACES] = {
      CUDNN_ATTR_OPERATION_NORM_FWD_XDESC, CUDNN_ATTR_OPERATION_NORM_FWD_YDESC,
      CUDNN_ATTR_OPERATION_NORM_FWD_SCALE_DESC, CUDNN_ATTR_OPERATION_NORM_FWD_BIAS_DESC,
      CUDNN_ATTR_OPERATION_NORM_FWD_EPSILON_DESC};
  if (enumeration(op, CUDNN_ATTR_OPERATION_NORM_FWD_MODE) != CUDNN_LAYER_NORM ||
      enumeration(op, CUDNN_ATTR_OPERATION_NORM_FWD_PHASE) != CUDNN_NORM_FWD_INFERENCE || op->n != NORM_PLACES + 2)
    return false;
  for (int i = 0; i < NORM_PLACES; i++)
    if (!(parts[i] = child(op, names[i])) || is_by_value(parts[i]) != (i == N_EPSILON))
      return false;
  const int64_t *x = integers(parts[N_X], CUDNN_ATTR_TENSOR_DIMENSIONS);
  const int type = type_of(parts[N_X]);
  return is_matrix(parts[N_X], type, x[0], x[1]) && is_matrix(parts[N_Y], type, x[0], x[1]) &&
         is_matrix(parts[N_SCALE], CUDNN_DATA_FLOAT, 1, x[1]) && is_matrix(parts[N_BIAS], CUDNN_DATA_FLOAT, 1, x[1]) &&
         is_matrix(parts[N_EPSILON], CUDNN_DATA_FLOAT, 1, 1);
}

typedef struct norm {
  int64_t rows, columns;
  int type;
  void *at[NORM_PLACES];
  float epsilon;
  struct norm *next;
} norm;

static norm *kept_norms;

static void run_norm(void *data) {
  const norm *o = data;
  const int64_t D = o->columns;
  for (int64_t r = 0; r < o->rows; r++) {
    double mean = 0, squares = 0;
    for (int64_t c = 0; c < D; c++)
      mean += load(o->at[N_X], o->type, r * D + c) / (double)D;
    for (int64_t c = 0; c < D; c++) {
      const double d = load(o->at[N_X], o->type, r * D + c) - mean;
      squares += d * d;
    }
    const double rstd = 1 / sqrt(squares / (double)D + (double)o->epsilon);
    for (int64_t c = 0; c < D; c++)
      store(o->at[N_Y], o->type, r * D + c,
            (load(o->at[N_X], o->type, r * D + c) - mean) * rstd * load(o->at[N_SCALE], CUDNN_DATA_FLOAT, c) +
                load(o->at[N_BIAS], CUDNN_DATA_FLOAT, c));
  }
}

// y must not lie where an operand does: cuDNN does not say that it may.
static cudnnStatus_t execute_norm(const object *op, const object *pack, const later *l) {
  object *parts[NORM_PLACES];
  norm *o = calloc(1, sizeof *o);
  bool fine = norm_parts_of(op, parts);
  for (int i = 0; fine && i < NORM_PLACES; i++)
    fine = (o->at[i] = address_of(pack, parts[i]));
  for (int i = 0; fine && i < NORM_PLACES; i++)
    fine = i == N_Y || o->at[i] != o->at[N_Y];
  if (!fine) {
    free(o);
    return CUDNN_STATUS_BAD_PARAM;
  }
  o->rows = integers(parts[N_X], CUDNN_ATTR_TENSOR_DIMENSIONS)[0];
  o->columns = integers(parts[N_X], CUDNN_ATTR_TENSOR_DIMENSIONS)[1];
  o->type = type_of(parts[N_X]);
  memcpy(&o->epsilon, o->at[N_EPSILON], sizeof o->epsilon);
  if (l->fill(o->at[N_Y], 0, (size_t)(o->rows * o->columns) * (o->type == CUDNN_DATA_FLOAT ? 4 : 2), stream) ==
          cudaSuccess &&
      l->host(stream, run_norm, o) == cudaSuccess) {
    o->next = kept_norms;
    kept_norms = o;
    return CUDNN_STATUS_SUCCESS;
  }
  free(o);
  return CUDNN_STATUS_EXECUTION_FAILED;
}
#endif
