// The walk over flat buffers that the optimizer kernels share. Rule: scalars of a step are read from device memory
// (hyper, gscale), so that a captured step can be replayed; which segment an element belongs to is looked up, so tables
// may be ragged.
//
// A block of 256 threads owns 4 neighbours a thread, grid-stride; 128-bit access (buffers are aligned to 256 bytes), to
// the 16-bit copy of weights 64-bit, a warp's 256 bytes in a row. It is written from the registers that hold the new
// weights, and its type is looked at while the step runs: a kernel each would be three times as many for no byte less.
// Scalars of the step (bias corrections) are computed once a block, in double. No shared memory but those;
// deterministic. Bytes and registers (32 to 64) stand with each rule.
#ifndef IG_KERNELS_UPDATE_CUDA_CUH
#define IG_KERNELS_UPDATE_CUDA_CUH

#include "kernels/cuda_common/cuda_kernel.cuh"
#include "kernels/optim_util/fixed.h"
#include "kernels/optim_util/optim_util.h"

#define IG_UPDATE_THREADS 256
#define IG_UPDATE_EACH    4
#define IG_UPDATE_CONSTS  8  // scalars that a rule computes once a block

typedef struct ig_cuda_update {
  float *w;
  const float *g, *hyper, *gscale;
  const int64_t *start;
  const float *attr;
  float *m[3];
  const double *ratio;  // a segment's trust ratio; NULL: 1
  void *w16;            // [n] of w16_type: the new weights rounded; NULL: not wanted
  ig_dtype w16_type;
  float *done;
  int64_t n;
  int n_segments;
} ig_cuda_update;

static inline ig_cuda_update ig_cuda_update_of(const ig_launch *l) {
  ig_cuda_update u = {};
  u.w = (float *)l->in[0];
  u.g = (const float *)l->in[1];
  u.hyper = (const float *)l->in[2];
  u.gscale = (const float *)l->in[3];
  u.start = (const int64_t *)l->in[4];
  u.attr = (const float *)l->in[5];
  const int copy = ig_update_w16(l->node->op);
  for (int i = 6; i < copy; i++)
    u.m[i - 6] = (float *)l->in[i];
  if (copy < l->node->n_in && l->in[copy]) {
    u.w16 = l->in[copy];
    u.w16_type = l->node->in[copy]->dtype;
  }
  u.done = (float *)l->out[0];
  u.n = ig_shape_count(&l->node->in[0]->shape);
  u.n_segments = (int)l->node->in[5]->shape.d[0];
  return u;
}

// The last segment that starts at or before element i.
static __device__ __forceinline__ int ig_segment_of(const ig_cuda_update &u, int64_t i) {
  int low = 0, high = u.n_segments - 1;
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (u.start[middle] <= i)
      low = middle;
    else
      high = middle - 1;
  }
  return low;
}
static __device__ __forceinline__ int ig_segment_next(const ig_cuda_update &u, int s, int64_t i) {
  while (s + 1 < u.n_segments && u.start[s + 1] <= i)
    s++;
  return s;
}
static __device__ __forceinline__ float ig_sign_of(float x) { return (float)((x > 0) - (x < 0)); }

// A segment as a rule sees it.
typedef struct ig_cuda_segment {
  float lr, decay, l1, ratio;
} ig_cuda_segment;
static __device__ __forceinline__ ig_cuda_segment ig_segment_values(const ig_cuda_update &u, int s) {
  const float *a = u.attr + (int64_t)s * IG_N_SEG;
  return {(float)((double)u.hyper[IG_HYPER_LR] * (double)a[IG_SEG_LR_SCALE]), a[IG_SEG_WEIGHT_DECAY], a[IG_SEG_L1],
          u.ratio ? (float)u.ratio[s] : 1.0f};
}

// The copy of `count` new weights from element `at`, in T.
template <class T>
static __device__ __forceinline__ void ig_copy_weights(T *to, const float (&w)[IG_UPDATE_EACH], int count) {
  if (count == IG_UPDATE_EACH)
    ig_store<IG_UPDATE_EACH>(to, w);
  else
    for (int i = 0; i < count; i++)
      to[i] = ig_down<T>(w[i]);
}

// Rule: `consts(c, step)` fills c once a block; `one(c, segment, gradient, w, m)` updates w and m[0..MOMENTS), of which
// m is only read where WRITES_MOMENTS is false.
template <class Rule, int MOMENTS>
static __global__ void __launch_bounds__(IG_UPDATE_THREADS) ig_update_kernel(ig_cuda_update u, Rule rule) {
  __shared__ float c[IG_UPDATE_CONSTS];
  if (blockIdx.x == 0 && threadIdx.x == 0)
    *u.done = 0;
  if (!(u.gscale[IG_GSCALE_SKIP] < 1))
    return;
  if (threadIdx.x == 0)
    rule.consts(c, (double)u.hyper[IG_HYPER_STEP]);
  __syncthreads();
  const float multiplier = u.gscale[IG_GSCALE_MULTIPLIER];
  const int64_t stride = (int64_t)gridDim.x * IG_UPDATE_THREADS * IG_UPDATE_EACH;
  for (int64_t at = ((int64_t)blockIdx.x * IG_UPDATE_THREADS + threadIdx.x) * IG_UPDATE_EACH; at < u.n; at += stride) {
    float w[IG_UPDATE_EACH], g[IG_UPDATE_EACH], m[MOMENTS > 0 ? MOMENTS : 1][IG_UPDATE_EACH];
    const int count = (int)min((int64_t)IG_UPDATE_EACH, u.n - at);
    const bool whole = count == IG_UPDATE_EACH;
    if (whole) {
      ig_load<IG_UPDATE_EACH>(w, u.w + at);
      ig_load<IG_UPDATE_EACH>(g, u.g + at);
#pragma unroll
      for (int k = 0; k < MOMENTS; k++)
        ig_load<IG_UPDATE_EACH>(m[k], u.m[k] + at);
    } else {
      for (int i = 0; i < count; i++) {
        w[i] = u.w[at + i];
        g[i] = u.g[at + i];
        for (int k = 0; k < MOMENTS; k++)
          m[k][i] = u.m[k][at + i];
      }
    }
    int s = ig_segment_of(u, at);
    ig_cuda_segment v = ig_segment_values(u, s);
#pragma unroll
    for (int i = 0; i < IG_UPDATE_EACH; i++) {
      if (i >= count)
        break;
      const int now = ig_segment_next(u, s, at + i);
      if (now != s) {
        s = now;
        v = ig_segment_values(u, s);
      }
      float moments[MOMENTS > 0 ? MOMENTS : 1];
#pragma unroll
      for (int k = 0; k < MOMENTS; k++)
        moments[k] = m[k][i];
      rule.one(c, v, g[i] * multiplier + v.l1 * ig_sign_of(w[i]), w[i], moments);
#pragma unroll
      for (int k = 0; k < MOMENTS; k++)
        m[k][i] = moments[k];
    }
    if (whole) {
      ig_store<IG_UPDATE_EACH>(u.w + at, w);
#pragma unroll
      for (int k = 0; Rule::WRITES_MOMENTS && k < MOMENTS; k++)
        ig_store<IG_UPDATE_EACH>(u.m[k] + at, m[k]);
    } else {
      for (int i = 0; i < count; i++) {
        u.w[at + i] = w[i];
        for (int k = 0; Rule::WRITES_MOMENTS && k < MOMENTS; k++)
          u.m[k][at + i] = m[k][i];
      }
    }
    if (u.w16 && u.w16_type == IG_BF16)
      ig_copy_weights((ig_bf16 *)u.w16 + at, w, count);
    else if (u.w16)
      ig_copy_weights((ig_f16 *)u.w16 + at, w, count);
  }
}

template <class Rule, int MOMENTS>
static ig_status ig_update_launch(const ig_launch *l, const ig_cuda_update &u, const Rule &rule) {
  const int64_t wanted = (u.n + IG_UPDATE_THREADS * IG_UPDATE_EACH - 1) / (IG_UPDATE_THREADS * IG_UPDATE_EACH),
                most = 8 * (int64_t)l->device->caps.processors;
  const unsigned blocks = (unsigned)(wanted < 1 ? 1 : wanted < most ? wanted : most);
  ig_update_kernel<Rule, MOMENTS><<<blocks, IG_UPDATE_THREADS, 0, ig_stream_of(l)>>>(u, rule);
  IG_CUDA_LAUNCHED();
  return IG_OK;
}

// ---- norms of segments (lars, lamb) ----
// A block owns IG_FIXED_CHUNK elements and walks the segments in it; sums of squares in double, two a piece, at
// partial[2 (chunk + segment)], each written by one block. `pair(c, segment, gradient, w, element, out)` gives the two
// numbers to be squared, and may write moments.
static inline size_t ig_update_partials(const ig_node *n) {
  return (size_t)(ig_fixed_chunks(ig_shape_count(&n->in[0]->shape)) + n->in[5]->shape.d[0]) * 2;
}

template <class Rule>
static __global__ void __launch_bounds__(IG_UPDATE_THREADS)
    ig_norms_kernel(ig_cuda_update u, Rule rule, double *partial) {
  __shared__ float c[IG_UPDATE_CONSTS];
  __shared__ double scratch[IG_WARP];
  if (!(u.gscale[IG_GSCALE_SKIP] < 1))
    return;
  if (threadIdx.x == 0)
    rule.consts(c, (double)u.hyper[IG_HYPER_STEP]);
  __syncthreads();
  const float multiplier = u.gscale[IG_GSCALE_MULTIPLIER];
  const int64_t chunk = blockIdx.x, chunk_end = min((chunk + 1) * IG_FIXED_CHUNK, u.n);
  int64_t begin = chunk * IG_FIXED_CHUNK;
  for (int s = ig_segment_of(u, begin); begin < chunk_end; s = ig_segment_next(u, s, begin)) {
    const int64_t end = s + 1 < u.n_segments ? min(chunk_end, u.start[s + 1]) : chunk_end;
    const ig_cuda_segment v = ig_segment_values(u, s);
    double first = 0, second = 0;
    for (int64_t i = begin + threadIdx.x; i < end; i += IG_UPDATE_THREADS) {
      float out[2];
      const float w = u.w[i];
      rule.pair(c, v, u.g[i] * multiplier + v.l1 * ig_sign_of(w), w, u, i, out);
      first += (double)out[0] * (double)out[0];
      second += (double)out[1] * (double)out[1];
    }
    first = ig_block_sum<IG_UPDATE_THREADS>(first, scratch);
    second = ig_block_sum<IG_UPDATE_THREADS>(second, scratch);
    if (threadIdx.x == 0) {
      partial[2 * (chunk + s)] = first;
      partial[2 * (chunk + s) + 1] = second;
    }
    begin = end;
  }
}

// A thread owns a segment: adds its pieces in order and forms the ratio.
template <class Rule>
static __global__ void __launch_bounds__(IG_UPDATE_THREADS)
    ig_ratios_kernel(ig_cuda_update u, Rule rule, const double *partial, double *ratio) {
  const int s = blockIdx.x * IG_UPDATE_THREADS + threadIdx.x;
  if (s >= u.n_segments || !(u.gscale[IG_GSCALE_SKIP] < 1))
    return;
  const float *a = u.attr + (int64_t)s * IG_N_SEG;
  double sums[2] = {0, 0};
  const int64_t begin = u.start[s], end = s + 1 < u.n_segments ? u.start[s + 1] : u.n;
  for (int64_t c = begin / IG_FIXED_CHUNK; begin < end && c <= (end - 1) / IG_FIXED_CHUNK; c++) {
    sums[0] += partial[2 * (c + s)];
    sums[1] += partial[2 * (c + s) + 1];
  }
  ratio[s] = a[IG_SEG_ADAPT] >= 0.5f && sums[0] > 0 && sums[1] > 0
                 ? rule.ratio(sqrt(sums[0]), sqrt(sums[1]), (double)a[IG_SEG_WEIGHT_DECAY])
                 : 1.0;
}

// prepare of rows with norms: partial sums, then a ratio a segment.
static inline ig_status ig_cuda_prepare_norms(ig_prepare *p) {
  p->workspace_bytes = (ig_update_partials(p->node) + (size_t)p->node->in[5]->shape.d[0]) * sizeof(double);
  return IG_OK;
}

// Norms and ratios; u->ratio points at them afterwards.
template <class Rule>
static ig_status ig_norms_launch(const ig_launch *l, ig_cuda_update *u, const Rule &rule) {
  double *partial = (double *)l->workspace, *ratio = partial + ig_update_partials(l->node);
  const unsigned chunks = (unsigned)ig_fixed_chunks(u->n);
  ig_norms_kernel<Rule><<<chunks ? chunks : 1, IG_UPDATE_THREADS, 0, ig_stream_of(l)>>>(*u, rule, partial);
  IG_CUDA_LAUNCHED();
  ig_ratios_kernel<Rule><<<ig_blocks(u->n_segments, IG_UPDATE_THREADS), IG_UPDATE_THREADS, 0, ig_stream_of(l)>>>(
      *u, rule, partial, ratio);
  IG_CUDA_LAUNCHED();
  u->ratio = ratio;
  return IG_OK;
}

static inline bool ig_cuda_update_supports(const ig_node *n, const ig_device_caps *caps, char *why, size_t why_bytes) {
  const int copy = ig_update_w16(n->op);
  if (copy < n->n_in && n->in[copy] && n->in[copy]->dtype == IG_BF16 && !caps->bf16) {
    snprintf(why, why_bytes, "bf16 needs compute capability 8.0");
    return false;
  }
  return ig_supports_f32_but(n, copy, why, why_bytes);
}
#define IG_CUDA_UPDATE_IMPL(name, prepare, run) \
  IG_CUDA_IMPL_FLAGS(name, IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE, ig_cuda_update_supports, prepare, run)

#endif
