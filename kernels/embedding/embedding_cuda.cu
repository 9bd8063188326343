// The embedding on a GPU. Forward: a warp owns a token's row, a lane 8 neighbours of it at a time where D is a multiple
// of 8 (128-bit access), else one; each number read once and written once; about 40 registers, no shared memory.
// Backward is cuda_common/cuda_scatter.cu: tokens sorted by id, sums in a fixed order, no atomics. Deterministic.
#include <math.h>

#include "kernels/cuda_common/cuda_kernel.cuh"
#include "kernels/cuda_common/cuda_scatter.h"
#include "kernels/embedding/embedding.h"

#define WARPS 8

typedef struct operands {
  const void *table, *addend;
  const int32_t *ids;
  ig_dtype table_type, addend_type;
  int64_t T, V, D;
} operands;

template <class Y, int E>
static __global__ void __launch_bounds__(WARPS *IG_WARP) embedding_kernel(Y *y, const operands o) {
  const int64_t t = (int64_t)blockIdx.x * WARPS + threadIdx.x / IG_WARP;
  if (t >= o.T)
    return;
  const int64_t id = o.ids[t];
  const bool inside = id >= 0 && id < o.V;
  for (int64_t c = threadIdx.x % IG_WARP * E; c < o.D; c += IG_WARP * E) {
    float v[E], more[E];
    if (inside)
      ig_load_any<E>(v, o.table, o.table_type, id * o.D + c);
    if (o.addend)
      ig_load_any<E>(more, o.addend, o.addend_type, t * o.D + c);
#pragma unroll
    for (int e = 0; e < E; e++)
      v[e] = inside ? v[e] + (o.addend ? more[e] : 0) : NAN;
    ig_store<E>(y + t * o.D + c, v);
  }
}

static ig_status run(const ig_launch *l) {
  const ig_node *n = l->node;
  const operands o = {l->in[0],
                      l->in[2],
                      (const int32_t *)l->in[1],
                      n->in[0]->dtype,
                      n->in[2] ? n->in[2]->dtype : IG_F32,
                      n->in[1]->shape.d[0],
                      n->in[0]->shape.d[0],
                      n->in[0]->shape.d[1]};
  if (o.T == 0)
    return IG_OK;
  IG_BY_TYPE(
      n->out[0]->dtype, Y,
      if (o.D % 8 == 0) {
        embedding_kernel<Y, 8><<<ig_blocks(o.T, WARPS), WARPS * IG_WARP, 0, ig_stream_of(l)>>>((Y *)l->out[0], o);
      } else {
        embedding_kernel<Y, 1><<<ig_blocks(o.T, WARPS), WARPS * IG_WARP, 0, ig_stream_of(l)>>>((Y *)l->out[0], o);
      });
  IG_CUDA_LAUNCHED();
  return IG_OK;
}

static bool supports_bwd(const ig_node *n, const ig_device_caps *caps, char *why, size_t why_bytes) {
  return ig_cuda_supports(n, caps, why, why_bytes) &&
         ig_cuda_scatter_supports(n->in[1]->shape.d[0], n->out[0]->shape.d[0], n->out[0]->shape.d[1], why, why_bytes);
}
static ig_status prepare_bwd(ig_prepare *p) {
  const ig_node *n = p->node;
  p->workspace_bytes = ig_cuda_scatter_bytes(n->in[1]->shape.d[0], n->out[0]->shape.d[0], n->out[0]->shape.d[1]);
  return IG_OK;
}
static ig_status run_bwd(const ig_launch *l) {
  const ig_node *n = l->node;
  const bool adds = n->n_in > 2 && l->in[2];
  if (adds && l->in[2] != l->out[0])
    IG_CUDA(cudaMemcpyAsync(l->out[0], l->in[2], (size_t)ig_shape_count(&n->out[0]->shape) * sizeof(float),
                            cudaMemcpyDeviceToDevice, ig_stream_of(l)));
  const ig_cuda_scatter s = {l->in[0],
                             (const int32_t *)l->in[1],
                             l->out[0],
                             n->in[0]->dtype,
                             IG_F32,
                             n->in[1]->shape.d[0],
                             n->out[0]->shape.d[0],
                             n->out[0]->shape.d[1],
                             adds};
  return ig_cuda_scatter_run(l, &s);
}

IG_CUDA_IMPLS(embedding_cuda) = {IG_CUDA_IMPL("embedding", run),
                                 IG_CUDA_IMPL_FLAGS("embedding_bwd", IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE,
                                                    supports_bwd, prepare_bwd, run_bwd),
                                 {0}};
