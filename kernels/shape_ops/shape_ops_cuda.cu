// Ops that only move numbers, on a GPU. Rule: an element is so many bytes, whatever it means.
//
// reshape: a copy. concat_kernel: a thread owns an element of one operand, grid-stride, a launch an operand.
// place_kernel: a thread owns an element of the result and finds what lies there: value, or an element of x; so each is
// written once and no fill goes before. About 40 registers; no shared memory; deterministic.
#include "kernels/cuda_common/cuda_kernel.cuh"
#include "kernels/shape_ops/shape_ops.h"

#define THREADS 256

static unsigned grid_of(const ig_launch *l, int64_t count) {
  const int64_t wanted = (count + THREADS - 1) / THREADS, most = 16 * (int64_t)l->device->caps.processors;
  return (unsigned)(wanted < 1 ? 1 : wanted < most ? wanted : most);
}

static ig_status run_reshape(const ig_launch *l) {
  const ig_tensor *y = l->node->out[0];
  if (l->out[0] != l->in[0])
    IG_CUDA(cudaMemcpyAsync(l->out[0], l->in[0], (size_t)ig_shape_count(&y->shape) * ig_dtype_bytes(y->dtype),
                            cudaMemcpyDeviceToDevice, ig_stream_of(l)));
  return IG_OK;
}

template <class U>
static __global__ void __launch_bounds__(THREADS)
    concat_kernel(U *y, const U *x, int64_t count, int64_t width, int64_t out, int64_t first) {
  for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < count; i += (int64_t)gridDim.x * THREADS)
    y[i / width * out + first + i % width] = x[i];
}

typedef struct walk {
  int n;
  int64_t y[IG_MAX_DIMS], size[IG_MAX_DIMS], x_stride[IG_MAX_DIMS];
  int64_t in_begin[IG_MAX_DIMS], in_step[IG_MAX_DIMS], out_begin[IG_MAX_DIMS], out_step[IG_MAX_DIMS];
} walk;

template <class U>
static __global__ void __launch_bounds__(THREADS) place_kernel(U *y, const U *x, int64_t count, walk w, U value) {
  for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < count; i += (int64_t)gridDim.x * THREADS) {
    int64_t rest = i, from = 0;
    bool covered = true;
    for (int k = w.n - 1; k >= 0; k--) {
      const int64_t index = rest % w.y[k] - w.out_begin[k], step = index / w.out_step[k];
      rest /= w.y[k];
      covered = covered && index >= 0 && index == step * w.out_step[k] && step < w.size[k];
      from += (w.in_begin[k] + step * w.in_step[k]) * w.x_stride[k];
    }
    y[i] = covered ? x[from] : value;
  }
}

template <class U>
static ig_status concat(const ig_launch *l) {
  const ig_node *n = l->node;
  const int last = n->out[0]->shape.n - 1;
  int64_t first = 0;
  for (int j = 0; j < n->n_in; j++) {
    const int64_t width = n->in[j]->shape.d[last], count = ig_shape_count(&n->in[j]->shape);
    if (count) {
      concat_kernel<U><<<grid_of(l, count), THREADS, 0, ig_stream_of(l)>>>((U *)l->out[0], (const U *)l->in[j], count,
                                                                           width, n->out[0]->shape.d[last], first);
      IG_CUDA_LAUNCHED();
    }
    first += width;
  }
  return IG_OK;
}

template <class U>
static ig_status place(const ig_launch *l) {
  const ig_place_attr *a = (const ig_place_attr *)l->node->attr;
  const ig_tensor *x = l->node->in[0], *y = l->node->out[0];
  const int64_t count = ig_shape_count(&y->shape);
  walk w = {};
  U value;
  double stored;  // room for any element
  ig_store_f64(&stored, y->dtype, 0, a->value);
  memcpy(&value, &stored, sizeof value);
  w.n = y->shape.n;
  int64_t stride = 1;
  for (int k = w.n - 1; k >= 0; k--) {
    w.y[k] = y->shape.d[k];
    w.size[k] = a->size.d[k];
    w.x_stride[k] = stride;
    stride *= x->shape.d[k];
    w.in_begin[k] = a->in_begin[k];
    w.in_step[k] = a->in_step[k];
    w.out_begin[k] = a->out_begin[k];
    w.out_step[k] = a->out_step[k] ? a->out_step[k] : 1;
  }
  if (count == 0)
    return IG_OK;
  place_kernel<U>
      <<<grid_of(l, count), THREADS, 0, ig_stream_of(l)>>>((U *)l->out[0], (const U *)l->in[0], count, w, value);
  IG_CUDA_LAUNCHED();
  return IG_OK;
}

#define BY_BYTES(fn)                                \
  switch (ig_dtype_bytes(l->node->out[0]->dtype)) { \
    case 1:                                         \
      return fn<uint8_t>(l);                        \
    case 2:                                         \
      return fn<uint16_t>(l);                       \
    case 8:                                         \
      return fn<uint64_t>(l);                       \
    default:                                        \
      return fn<uint32_t>(l);                       \
  }
static ig_status run_concat(const ig_launch *l) { BY_BYTES(concat) }
static ig_status run_place(const ig_launch *l) { BY_BYTES(place) }
static bool supports(const ig_node *n, const ig_device_caps *caps, char *why, size_t why_bytes) { return true; }

#define MOVE(name, run) IG_CUDA_IMPL_FLAGS(name, IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE, supports, NULL, run)
IG_CUDA_IMPLS(shape_ops_cuda) = {
    MOVE("reshape", run_reshape), MOVE("concat_c", run_concat), MOVE("place", run_place), {0}};
