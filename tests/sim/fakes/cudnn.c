// A stand-in for libcudnn on the simulator: descriptors as bags of attributes; what they compute is in
// cudnn_convolution.h, cudnn_norm.h and cudnn_sdpa.h. Rule: it takes what kernels/*/*_cudnn.c may ask for and refuses
// the rest, also descriptors that are set after they are final or used before. It proves descriptors, not what the real
// library supports.
#include <cudnn_graph.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/fakes/later.h"

#define MAX_ATTRIBUTES 16
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

typedef struct attribute {
  cudnnBackendAttributeName_t name;
  int64_t n;
  char value[128];
} attribute;
typedef struct object {
  cudnnBackendDescriptorType_t type;
  bool final;
  int n, engine;
  attribute at[MAX_ATTRIBUTES];
} object;
static cudaStream_t stream;
static int handle;

static size_t bytes_of(cudnnBackendAttributeType_t t) {
  switch (t) {
    case CUDNN_TYPE_FLOAT:
    case CUDNN_TYPE_DATA_TYPE:
    case CUDNN_TYPE_CONVOLUTION_MODE:
    case CUDNN_TYPE_HEUR_MODE:
    case CUDNN_TYPE_POINTWISE_MODE:
    case CUDNN_TYPE_NAN_PROPOGATION:
    case CUDNN_TYPE_NORM_MODE:
    case CUDNN_TYPE_NORM_FWD_PHASE:
      return 4;
    case CUDNN_TYPE_BOOLEAN:
      return 1;
    default:
      return 8;
  }
}
static const attribute *find(const object *o, cudnnBackendAttributeName_t name) {
  for (int i = 0; o && i < o->n; i++)
    if (o->at[i].name == name)
      return &o->at[i];
  return NULL;
}
static const int64_t *integers(const object *o, cudnnBackendAttributeName_t name) {
  const attribute *a = find(o, name);
  return a ? (const int64_t *)(const void *)a->value : NULL;
}
static object *child(const object *o, cudnnBackendAttributeName_t name) {
  const attribute *a = find(o, name);
  object *c = NULL;
  if (a)
    memcpy(&c, a->value, sizeof c);
  return c && c->final ? c : NULL;
}

EXPORT cudnnStatus_t cudnnCreate(cudnnHandle_t *h) {
  if (fails("cudnnCreate"))
    return CUDNN_STATUS_INTERNAL_ERROR;
  *h = (cudnnHandle_t)(void *)&handle;
  return CUDNN_STATUS_SUCCESS;
}
EXPORT size_t cudnnGetVersion(void) { return fake.version ? (size_t)fake.version : 91500; }
EXPORT const char *cudnnGetErrorString(cudnnStatus_t s) {
  return s == CUDNN_STATUS_SUCCESS          ? "CUDNN_STATUS_SUCCESS"
         : s == CUDNN_STATUS_INTERNAL_ERROR ? "CUDNN_STATUS_INTERNAL_ERROR"
                                            : "CUDNN_STATUS_BAD_PARAM";
}
EXPORT cudnnStatus_t cudnnSetStream(cudnnHandle_t h, cudaStream_t s) {
  if (fails("cudnnSetStream"))
    return CUDNN_STATUS_INTERNAL_ERROR;
  stream = s;
  return (void *)h == &handle ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_BAD_PARAM;
}
EXPORT cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t *out) {
  if (fails("cudnnBackendCreateDescriptor"))
    return CUDNN_STATUS_INTERNAL_ERROR;
  object *o = calloc(1, sizeof *o);
  fake.live++;
  o->type = type;
  *out = o;
  return CUDNN_STATUS_SUCCESS;
}
EXPORT cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t d) {
  fake.live--;
  free(d);
  return CUDNN_STATUS_SUCCESS;
}
EXPORT cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name,
                                              cudnnBackendAttributeType_t type, int64_t n, const void *values) {
  if (fails("cudnnBackendSetAttribute"))
    return CUDNN_STATUS_INTERNAL_ERROR;
  object *o = d;
  if (o->final || o->n == MAX_ATTRIBUTES || n < 1 || (size_t)n * bytes_of(type) > sizeof o->at->value)
    return CUDNN_STATUS_BAD_PARAM;
  o->at[o->n].name = name;
  o->at[o->n].n = n;
  memcpy(o->at[o->n++].value, values, (size_t)n * bytes_of(type));
  return CUDNN_STATUS_SUCCESS;
}

static int enumeration(const object *o, cudnnBackendAttributeName_t name) {
  const attribute *a = find(o, name);
  return a ? *(const int *)(const void *)a->value : -1;
}
static bool is_virtual(const object *tensor) { return find(tensor, CUDNN_ATTR_TENSOR_IS_VIRTUAL); }
static bool is_by_value(const object *tensor) { return find(tensor, CUDNN_ATTR_TENSOR_IS_BY_VALUE); }

static int type_of(const object *t) { return enumeration(t, CUDNN_ATTR_TENSOR_DATA_TYPE); }
static double load(const void *p, int t, int64_t i) {
  uint32_t bits = 0;
  float f;
  if (t == CUDNN_DATA_HALF) {
    _Float16 h;
    memcpy(&h, (const char *)p + 2 * i, 2);
    return (double)h;
  }
  if (t == CUDNN_DATA_BFLOAT16)
    memcpy((char *)&bits + 2, (const char *)p + 2 * i, 2);
  else
    memcpy(&bits, (const char *)p + 4 * i, 4);
  memcpy(&f, &bits, 4);
  return f;
}
static void store(void *p, int t, int64_t i, double v) {
  float f = (float)v;
  uint32_t bits;
  memcpy(&bits, &f, 4);
  if (t == CUDNN_DATA_HALF) {
    _Float16 h = (_Float16)v;
    memcpy((char *)p + 2 * i, &h, 2);
  } else if (t == CUDNN_DATA_BFLOAT16) {
    bits += 0x7fff + (bits >> 16 & 1);
    memcpy((char *)p + 2 * i, (char *)&bits + 2, 2);
  } else {
    memcpy((char *)p + 4 * i, &bits, 4);
  }
}

// The address that the pack has for a tensor, NULL: none, or not aligned as its descriptor says.
static void *address_of(const object *pack, const object *tensor) {
  const attribute *ids = find(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS);
  void *at = NULL;
  for (int k = 0; k < ids->n; k++)
    if (integers(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS)[k] == *integers(tensor, CUDNN_ATTR_TENSOR_UNIQUE_ID))
      memcpy(&at, find(pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS)->value + 8 * k, 8);
  return (uintptr_t)at % (uintptr_t)*integers(tensor, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT) ? NULL : at;
}

#include "tests/sim/fakes/cudnn_convolution.h"
#include "tests/sim/fakes/cudnn_norm.h"
#if CUDNN_VERSION >= 91500
#define HAS_SDPA 1
#include "tests/sim/fakes/cudnn_sdpa.h"
#endif

// What lies between is virtual and fp32; what comes out has memory.
static bool whole_graph(const object *graph) {
  int pass, n = 0;
  object *parts[4], *last, *from, *other, *to;
  const object *op = operation_of(graph, 0);
#ifdef HAS_SDPA
  if (op && op->type == CUDNN_BACKEND_OPERATION_SDPA_FWD_DESCRIPTOR)
    return find(graph, CUDNN_ATTR_OPERATIONGRAPH_OPS)->n == 1;
#endif
  if (op && op->type == CUDNN_BACKEND_OPERATION_NORM_FORWARD_DESCRIPTOR)
    return find(graph, CUDNN_ATTR_OPERATIONGRAPH_OPS)->n == 1;
  if (!op || op->type == CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR || !parts_of(op, &pass, parts))
    return false;
  for (last = parts[2]; (op = operation_of(graph, ++n)); last = to)
    if (pass != 0 || n == MAX_CHAIN || !pointwise_of(op, &from, &other, &to) || from != last || !is_virtual(last) ||
        enumeration(last, CUDNN_ATTR_TENSOR_DATA_TYPE) != CUDNN_DATA_FLOAT || (other && is_virtual(other)))
      return false;
  return n == find(graph, CUDNN_ATTR_OPERATIONGRAPH_OPS)->n && !is_virtual(last);
}
// Tensors with memory.
static int count_places(const object *graph) {
  object *from, *other, *to;
  int n = 3;  // x, w and the last result
#ifdef HAS_SDPA
  if (operation_of(graph, 0)->type == CUDNN_BACKEND_OPERATION_SDPA_FWD_DESCRIPTOR)
    return SDPA_PLACES;
#endif
  if (operation_of(graph, 0)->type == CUDNN_BACKEND_OPERATION_NORM_FORWARD_DESCRIPTOR)
    return NORM_PLACES;
  for (int i = 1; operation_of(graph, i); i++)
    n += pointwise_of(operation_of(graph, i), &from, &other, &to) && other;
  return n;
}

EXPORT cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t d) {
  object *o = d, *parts[4], *norm[NORM_PLACES];
  if (fails("cudnnBackendFinalize") ||
      (o->type == CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR && fails("cudnnBackendFinalize of a plan")))
    return CUDNN_STATUS_INTERNAL_ERROR;
  int pass;
  bool fine = true, twice = o->final;
  switch (o->type) {
    case CUDNN_BACKEND_TENSOR_DESCRIPTOR:
      fine = integers(o, CUDNN_ATTR_TENSOR_DIMENSIONS) && integers(o, CUDNN_ATTR_TENSOR_STRIDES) &&
             integers(o, CUDNN_ATTR_TENSOR_UNIQUE_ID) && integers(o, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT) &&
             find(o, CUDNN_ATTR_TENSOR_DATA_TYPE);
      break;
    case CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR:
      fine = integers(o, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS) &&
             *integers(o, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS) == 2 && find(o, CUDNN_ATTR_CONVOLUTION_COMP_TYPE) &&
             find(o, CUDNN_ATTR_CONVOLUTION_CONV_MODE) &&
             *(const int *)(const void *)find(o, CUDNN_ATTR_CONVOLUTION_CONV_MODE)->value == CUDNN_CROSS_CORRELATION;
      break;
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR:
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR:
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR:
      fine = parts_of(o, &pass, parts) && consistent(parts);
      break;
    case CUDNN_BACKEND_POINTWISE_DESCRIPTOR:
      fine = enumeration(o, CUDNN_ATTR_POINTWISE_MATH_PREC) == CUDNN_DATA_FLOAT;
      break;
    case CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR:
      fine = pointwise_of(o, &parts[0], &parts[1], &parts[2]);
      break;
    case CUDNN_BACKEND_OPERATION_NORM_FORWARD_DESCRIPTOR:
      fine = norm_parts_of(o, norm);
      break;
#ifdef HAS_SDPA
    case CUDNN_BACKEND_OPERATION_SDPA_FWD_DESCRIPTOR:
      fine = sdpa_parts_of(o, &(sdpa_parts){0});
      break;
#endif
    case CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR:
      fine = whole_graph(o);
      break;
    case CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR:
      fine = child(o, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH) && find(o, CUDNN_ATTR_ENGINEHEUR_MODE);
      break;
    case CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR:  // the second engine is one that the chip does not have
      if (child(o, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG) &&
          child(o, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG)->engine == 3) {
        fprintf(stderr, "a plan of an engine that adds up in 16 bits\n");
        abort();
      }
      fine = child(o, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG) &&
             child(o, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG)->engine != 1;
      break;
    case CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR:
      fine = find(o, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS) && find(o, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS) &&
             find(o, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS)->n == find(o, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS)->n;
      break;
    default:
      fine = false;
  }
  o->final = fine;
  fine &= !twice;
  return fine ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_BAD_PARAM;
}

static size_t workspace_of(const object *config) { return 512 * (size_t)config->engine; }

// Four engines of the heuristics, of which the last adds up in 16 bits, as its note says; none for an fp32 weight
// gradient of 16-bit operands; workspaces of plans.
EXPORT cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t const d, cudnnBackendAttributeName_t name,
                                              cudnnBackendAttributeType_t type, int64_t wanted, int64_t *n,
                                              void *values) {
  if (fails("cudnnBackendGetAttribute"))
    return CUDNN_STATUS_INTERNAL_ERROR;
  object *o = d;
  (void)type;
  if (!o->final)
    return CUDNN_STATUS_BAD_PARAM;
  if (name == CUDNN_ATTR_ENGINEHEUR_RESULTS) {
    object **configs = values, *graph = child(o, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH);
    const int named = is_wide_gradient(operation_of(graph, 0)) ? 0 : 4;
    for (*n = 0; *n < named && *n < wanted; ++*n) {
      configs[*n]->engine = (int)*n;
      configs[*n]->n = 1;
      configs[*n]->at[0].name = CUDNN_ATTR_ENGINECFG_ENGINE;
      memcpy(configs[*n]->at[0].value, &graph, sizeof graph);
      configs[*n]->final = true;
    }
    return CUDNN_STATUS_SUCCESS;
  }
  if (name == CUDNN_ATTR_ENGINECFG_ENGINE && o->type == CUDNN_BACKEND_ENGINECFG_DESCRIPTOR) {
    object *engine = *(object **)values;
    engine->engine = o->engine;
    engine->final = true;
    *n = 1;
    return engine->type == CUDNN_BACKEND_ENGINE_DESCRIPTOR ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_BAD_PARAM;
  }
  if (name == CUDNN_ATTR_ENGINE_NUMERICAL_NOTE && o->type == CUDNN_BACKEND_ENGINE_DESCRIPTOR && wanted > 1) {
    cudnnBackendNumericalNote_t *notes = values;
    notes[0] = CUDNN_NUMERICAL_NOTE_TENSOR_CORE;
    notes[1] = CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION;
    *n = o->engine == 3 ? 2 : 1;
    return CUDNN_STATUS_SUCCESS;
  }
  if (name != CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE)
    return CUDNN_STATUS_BAD_PARAM;
  *n = 1;
  *(int64_t *)values = (int64_t)workspace_of(child(o, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG));
  return CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t execute(const object *graph, const object *pack, const later *l) {
#ifdef HAS_SDPA
  if (operation_of(graph, 0)->type == CUDNN_BACKEND_OPERATION_SDPA_FWD_DESCRIPTOR)
    return execute_sdpa(operation_of(graph, 0), pack, l);
#endif
  if (operation_of(graph, 0)->type == CUDNN_BACKEND_OPERATION_NORM_FORWARD_DESCRIPTOR)
    return execute_norm(operation_of(graph, 0), pack, l);
  job *o = calloc(1, sizeof *o);
  if (fill_job(o, graph, pack) && l->fill(o->at[o->result], 0, result_bytes(o), stream) == cudaSuccess &&
      l->host(stream, run_job, o) == cudaSuccess) {
    o->next = kept;
    kept = o;
    return CUDNN_STATUS_SUCCESS;
  }
  free(o);
  return CUDNN_STATUS_EXECUTION_FAILED;
}

// What it leaves in its workspace is no number: whose result lies there sees it.
EXPORT cudnnStatus_t cudnnBackendExecute(cudnnHandle_t h, cudnnBackendDescriptor_t plan,
                                         cudnnBackendDescriptor_t pack) {
  if (fails("cudnnBackendExecute"))
    return CUDNN_STATUS_INTERNAL_ERROR;
  const object *config = child(plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG), *v = pack, *graph = NULL;
  void *workspace;
  later l;
  if ((void *)h != &handle || !config || !v->final || !later_open(&l))
    return CUDNN_STATUS_BAD_PARAM;
  memcpy(&graph, config->at[0].value, sizeof graph);
  memcpy(&workspace, find(v, CUDNN_ATTR_VARIANT_PACK_WORKSPACE)->value, sizeof workspace);
  if (find(v, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS)->n != count_places(graph) || (config->engine && !workspace))
    return CUDNN_STATUS_BAD_PARAM;
  const cudnnStatus_t status = execute(graph, v, &l);
  if (status == CUDNN_STATUS_SUCCESS && config->engine &&
      l.fill(workspace, 0xff, workspace_of(config), stream) != cudaSuccess)
    return CUDNN_STATUS_EXECUTION_FAILED;
  return status;
}
