// The stand-in's convolutions: three passes by plain loops over the tensors' own strides, behind the forward one a
// chain of sums and ReLUs. Only for cudnn.c, behind its helpers.
#ifndef IG_SIM_FAKES_CUDNN_CONVOLUTION_H
#define IG_SIM_FAKES_CUDNN_CONVOLUTION_H

// X, W, Y and the convolution of an operation, by its pass (0 forward, 1 data, 2 weights); false: it is not whole.
static bool parts_of(const object *op, int *pass, object *parts[4]) {
  static const cudnnBackendAttributeName_t names[3][4] = {
      {CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
       CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC},
      {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
       CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC},
      {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
       CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC}};
  *pass = op->type == CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR         ? 0
          : op->type == CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR ? 1
                                                                                     : 2;
  for (int i = 0; i < 4; i++)
    if (!(parts[i] = child(op, names[*pass][i])))
      return false;
  return true;
}
// Whether y's size follows from x, w and the convolution.
static bool consistent(object *const parts[4]) {
  const int64_t *x = integers(parts[0], CUDNN_ATTR_TENSOR_DIMENSIONS),
                *w = integers(parts[1], CUDNN_ATTR_TENSOR_DIMENSIONS),
                *y = integers(parts[2], CUDNN_ATTR_TENSOR_DIMENSIONS),
                *pre = integers(parts[3], CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS),
                *post = integers(parts[3], CUDNN_ATTR_CONVOLUTION_POST_PADDINGS),
                *stride = integers(parts[3], CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES),
                *dilation = integers(parts[3], CUDNN_ATTR_CONVOLUTION_DILATIONS);
  if (!x || !w || !y || !pre || !post || !stride || !dilation || x[0] != y[0] || y[1] != w[0] || x[1] % w[1])
    return false;
  for (int i = 0; i < 2; i++)
    if (y[2 + i] != (x[2 + i] + pre[i] + post[i] - dilation[i] * (w[2 + i] - 1) - 1) / stride[i] + 1)
      return false;
  return true;
}

// Whether it is the weight gradient for which the library names no engine: fp32 of 16-bit operands.
static bool is_wide_gradient(const object *op) {
  int pass;
  object *parts[4];
  return op->type == CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR && parts_of(op, &pass, parts) &&
         type_of(parts[1]) == CUDNN_DATA_FLOAT && type_of(parts[0]) != CUDNN_DATA_FLOAT;
}

// ---- the chain behind a convolution: operation i reads what operation i - 1 has made ----
#define MAX_CHAIN 8
static const object *operation_of(const object *graph, int i) {
  const attribute *a = find(graph, CUDNN_ATTR_OPERATIONGRAPH_OPS);
  const object *o = NULL;
  if (a && i < a->n)
    memcpy(&o, a->value + 8 * i, sizeof o);
  return o && o->final ? o : NULL;
}
// from, other (NULL: a ReLU), to of a pointwise operation; false: it is none, or not one of these.
static bool pointwise_of(const object *op, object **from, object **other, object **to) {
  const object *what = child(op, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR);
  const int mode = enumeration(what, CUDNN_ATTR_POINTWISE_MODE);
  *from = child(op, CUDNN_ATTR_OPERATION_POINTWISE_XDESC);
  *other = child(op, CUDNN_ATTR_OPERATION_POINTWISE_BDESC);
  *to = child(op, CUDNN_ATTR_OPERATION_POINTWISE_YDESC);
  if (!*from || !*to || mode != (*other ? CUDNN_POINTWISE_ADD : CUDNN_POINTWISE_RELU_FWD))
    return false;
  const int64_t *x = integers(*from, CUDNN_ATTR_TENSOR_DIMENSIONS), *y = integers(*to, CUDNN_ATTR_TENSOR_DIMENSIONS),
                *b = *other ? integers(*other, CUDNN_ATTR_TENSOR_DIMENSIONS) : x;
  for (int i = 0; i < 4; i++)
    if (x[i] != y[i] || (b[i] != x[i] && b[i] != 1))
      return false;
  return true;
}

// What comes behind the convolution: a sum with a tensor whose strides are 0 where it has one element, or a ReLU.
typedef struct link {
  const void *at;  // NULL: ReLU
  cudnnDataType_t type;
  int64_t strides[4];
  bool nan;  // passes
} link;
// x, w, y: sizes [4] and strides [4] of each.
typedef struct job {
  link chain[MAX_CHAIN];
  int n_chain;
  int64_t dims[3][4], strides[3][4], pre[2], stride[2], dilation[2], count;
  cudnnDataType_t types[3];
  void *at[3];
  int result, a, b;
  struct job *next;
} job;

// What host functions need lives as long as the process: a graph may replay one, and a fault before it drops it.
static job *kept;

static size_t result_bytes(const job *o) {
  return (size_t)o->count * (o->types[o->result] == CUDNN_DATA_FLOAT ? 4 : 2);
}

// y's element n, k, p, q behind the chain.
static double chained(const job *o, double v, const int64_t *where) {
  for (int i = 0; i < o->n_chain; i++) {
    const link *c = &o->chain[i];
    int64_t at = 0;
    for (int j = 0; j < 4; j++)
      at += where[j] * c->strides[j];
    v = c->at ? v + load(c->at, c->type, at) : v > 0 || (c->nan && v != v) ? v : 0;
  }
  return v;
}

static void run_job(void *data) {
  const job *o = data;
  const int64_t *x = o->dims[0], *w = o->dims[1], *y = o->dims[2], groups = x[1] / w[1], kg = w[0] / groups;
  const int64_t(*strides)[4] = o->strides;
  double *sums = calloc((size_t)o->count, sizeof *sums);
  char *out = malloc((size_t)o->count * 4);
  for (int64_t n = 0; n < y[0]; n++)
    for (int64_t k = 0; k < y[1]; k++)
      for (int64_t p = 0; p < y[2]; p++)
        for (int64_t q = 0; q < y[3]; q++)
          for (int64_t c = 0; c < w[1]; c++)
            for (int64_t r = 0; r < w[2]; r++)
              for (int64_t s = 0; s < w[3]; s++) {
                const int64_t i = p * o->stride[0] + r * o->dilation[0] - o->pre[0],
                              j = q * o->stride[1] + s * o->dilation[1] - o->pre[1];
                if (i < 0 || i >= x[2] || j < 0 || j >= x[3])
                  continue;
                const int64_t where[3] = {
                    n * strides[0][0] + (k / kg * w[1] + c) * strides[0][1] + i * strides[0][2] + j * strides[0][3],
                    k * strides[1][0] + c * strides[1][1] + r * strides[1][2] + s * strides[1][3],
                    n * strides[2][0] + k * strides[2][1] + p * strides[2][2] + q * strides[2][3]};
                sums[where[o->result]] +=
                    load(o->at[o->a], o->types[o->a], where[o->a]) * load(o->at[o->b], o->types[o->b], where[o->b]);
              }
  for (int64_t n = 0; o->n_chain && n < y[0]; n++)
    for (int64_t k = 0; k < y[1]; k++)
      for (int64_t p = 0; p < y[2]; p++)
        for (int64_t q = 0; q < y[3]; q++) {
          double *to = &sums[n * strides[2][0] + k * strides[2][1] + p * strides[2][2] + q * strides[2][3]];
          *to = chained(o, *to, (const int64_t[]){n, k, p, q});
        }
  for (int64_t i = 0; i < o->count; i++)
    store(out, o->types[o->result], i, sums[i]);
  memcpy(o->at[o->result], out, result_bytes(o));
  free(sums);
  free(out);
}

// Tensors of the graph as a job; false: something has no memory, or y lies where an operand of the chain does.
static bool fill_job(job *o, const object *graph, const object *pack) {
  int pass;
  object *parts[4], *from, *other, *to;
  parts_of(operation_of(graph, 0), &pass, parts);
  for (int i = 1; operation_of(graph, i); i++) {
    link *c = &o->chain[o->n_chain++];
    pointwise_of(operation_of(graph, i), &from, &other, &to);
    parts[2] = to;
    c->nan = enumeration(child(operation_of(graph, i), CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR),
                         CUDNN_ATTR_POINTWISE_NAN_PROPAGATION) == CUDNN_PROPAGATE_NAN;
    if (!other)
      continue;
    c->type = (cudnnDataType_t)type_of(other);
    for (int k = 0; k < 4; k++)
      c->strides[k] =
          integers(other, CUDNN_ATTR_TENSOR_DIMENSIONS)[k] == 1 ? 0 : integers(other, CUDNN_ATTR_TENSOR_STRIDES)[k];
    if (!(c->at = address_of(pack, other)))
      return false;
  }
  for (int i = 0; i < 3; i++) {
    memcpy(o->dims[i], integers(parts[i], CUDNN_ATTR_TENSOR_DIMENSIONS), sizeof o->dims[i]);
    memcpy(o->strides[i], integers(parts[i], CUDNN_ATTR_TENSOR_STRIDES), sizeof o->strides[i]);
    o->types[i] = (cudnnDataType_t)type_of(parts[i]);
    if (!(o->at[i] = address_of(pack, parts[i])))
      return false;
  }
  memcpy(o->pre, integers(parts[3], CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS), sizeof o->pre);
  memcpy(o->stride, integers(parts[3], CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES), sizeof o->stride);
  memcpy(o->dilation, integers(parts[3], CUDNN_ATTR_CONVOLUTION_DILATIONS), sizeof o->dilation);
  o->result = pass == 0 ? 2 : pass == 1 ? 0 : 1;
  o->a = o->result == 0 ? 1 : 0;
  o->b = o->result == 2 ? 1 : 2;
  const int64_t *size = o->dims[o->result];
  o->count = size[0] * size[1] * size[2] * size[3];
  for (int i = 0; i < o->n_chain; i++)
    if (o->chain[i].at == o->at[2])
      return false;
  return true;
}
#endif
