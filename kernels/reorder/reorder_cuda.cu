// Casts and the change of a weight's layout on a GPU. Rule: values change only by rounding to the new type.
//
// cast_kernel: a thread owns 8 neighbours, grid-stride; each number read once and written once. Any two of f32, bf16,
// f16; about 30 registers; no shared memory; deterministic.
// turn_kernel: [K][C][RS] <-> [K][RS][C]. A block owns one k and a run of channels that fits into 16 KiB of shared
// memory (as fp32, one float of padding a row); reads and writes are coalesced; each number read once and written once.
// integers_kernel: one number a thread, any other pair of types, for labels and the like: small.
#include "kernels/cuda_common/cuda_kernel.cuh"
#include "kernels/reorder/reorder_cuda.h"

#define EACH    8
#define THREADS 256
#define TILE    4096  // floats of shared memory

template <class Y, class X>
static __global__ void __launch_bounds__(THREADS) cast_kernel(Y *y, const X *x, int64_t count) {
  const int64_t stride = (int64_t)gridDim.x * THREADS * EACH;
  for (int64_t at = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * EACH; at < count; at += stride) {
    if (at + EACH <= count) {
      float v[EACH];
      ig_load<EACH>(v, x + at);
      ig_store<EACH>(y + at, v);
    } else {
      for (int64_t i = at; i < count; i++)
        y[i] = ig_down<Y>(ig_up(x[i]));
    }
  }
}

// rows x columns numbers at x (rows = C, columns = RS or the other way round) become columns x rows at y. Channels
// c0..c0+n of one k; `from_c`: x is [C][RS].
template <class Y, class X>
static __global__ void __launch_bounds__(THREADS)
    turn_kernel(Y *y, const X *x, int channels, int taps, int each, int from_c) {
  extern __shared__ float tile[];
  const int c0 = blockIdx.x * each, n = min(each, channels - c0), pitch = taps | 1;
  const int64_t base = (int64_t)blockIdx.y * channels * taps;
  for (int i = threadIdx.x; i < n * taps; i += THREADS) {
    const int c = from_c ? i / taps : i % n, t = from_c ? i % taps : i / n;
    tile[c * pitch + t] = ig_up(x[base + (from_c ? (int64_t)(c0 + c) * taps + t : (int64_t)t * channels + c0 + c)]);
  }
  __syncthreads();
  for (int i = threadIdx.x; i < n * taps; i += THREADS) {
    const int c = from_c ? i % n : i / taps, t = from_c ? i / n : i % taps;
    y[base + (from_c ? (int64_t)t * channels + c0 + c : (int64_t)(c0 + c) * taps + t)] =
        ig_down<Y>(tile[c * pitch + t]);
  }
}

static __device__ __forceinline__ double any_load(const void *p, int type, int64_t i) {
  switch (type) {
    case IG_F64:
      return ((const double *)p)[i];
    case IG_BF16:
      return ig_up(((const ig_bf16 *)p)[i]);
    case IG_F16:
      return ig_up(((const ig_f16 *)p)[i]);
    case IG_I32:
      return ((const int32_t *)p)[i];
    case IG_I64:
      return (double)((const int64_t *)p)[i];
    case IG_U8:
      return ((const uint8_t *)p)[i];
    case IG_U64:
      return (double)((const uint64_t *)p)[i];
    default:
      return ((const float *)p)[i];
  }
}
static __device__ __forceinline__ void any_store(void *p, int type, int64_t i, double v) {
  switch (type) {
    case IG_F64:
      ((double *)p)[i] = v;
      break;
    case IG_BF16:
      ((ig_bf16 *)p)[i] = ig_down<ig_bf16>((float)v);
      break;
    case IG_F16:
      ((ig_f16 *)p)[i] = ig_down<ig_f16>((float)v);
      break;
    case IG_I32:
      ((int32_t *)p)[i] = (int32_t)rint(v);
      break;
    case IG_I64:
      ((int64_t *)p)[i] = (int64_t)rint(v);
      break;
    case IG_U8:
      ((uint8_t *)p)[i] = (uint8_t)rint(fmin(fmax(v, 0.0), 255.0));
      break;
    case IG_U64:
      ((uint64_t *)p)[i] = (uint64_t)rint(fmax(v, 0.0));
      break;
    default:
      ((float *)p)[i] = (float)v;
  }
}
static __global__ void __launch_bounds__(THREADS)
    integers_kernel(void *y, int y_type, const void *x, int x_type, int64_t count) {
  for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < count; i += (int64_t)gridDim.x * THREADS)
    any_store(y, y_type, i, any_load(x, x_type, i));
}

static unsigned grid_of(const ig_launch *l, int64_t count, int each) {
  const int64_t wanted = (count + each - 1) / each, most = 16 * (int64_t)l->device->caps.processors;
  return (unsigned)(wanted < most ? wanted : most);
}

template <class Y, class X>
static ig_status cast(const ig_launch *l, Y *y, const X *x, int64_t count) {
  cast_kernel<Y, X><<<grid_of(l, count, THREADS * EACH), THREADS, 0, ig_stream_of(l)>>>(y, x, count);
  IG_CUDA_LAUNCHED();
  return IG_OK;
}

extern "C" ig_status ig_cuda_widen(const ig_launch *l, float *y, const void *x, ig_dtype type, int64_t count) {
  return type == IG_BF16 ? cast(l, y, (const ig_bf16 *)x, count) : cast(l, y, (const ig_f16 *)x, count);
}

template <class Y, class X>
static ig_status typed(const ig_launch *l, int64_t count) {
  const ig_shape *s = &l->node->in[0]->shape;
  if (ig_layout_equal(l->in_layout[0], l->out_layout[0]))
    return cast(l, (Y *)l->out[0], (const X *)l->in[0], count);
  const int taps = (int)(s->d[2] * s->d[3]), pitch = taps | 1;
  int each = TILE / pitch;
  each = each < 1 ? 1 : each > s->d[1] ? (int)s->d[1] : each;
  const dim3 grid(ig_blocks(s->d[1], each), (unsigned)s->d[0]);
  turn_kernel<Y, X><<<grid, THREADS, (size_t)each * pitch * sizeof(float), ig_stream_of(l)>>>(
      (Y *)l->out[0], (const X *)l->in[0], (int)s->d[1], taps, each, l->in_layout[0].kind == IG_LAYOUT_PLAIN);
  IG_CUDA_LAUNCHED();
  return IG_OK;
}

static bool is_small_float(ig_dtype t) { return t == IG_F32 || t == IG_BF16 || t == IG_F16; }

static ig_status run(const ig_launch *l) {
  const ig_tensor *x = l->node->in[0], *y = l->node->out[0];
  const int64_t count = ig_shape_count(&x->shape);
  ig_status status = IG_OK;
  if (count == 0)
    return IG_OK;
  if (is_small_float(x->dtype) && is_small_float(y->dtype)) {
    IG_BY_TYPE(x->dtype, X, IG_BY_TYPE(y->dtype, Y, status = (typed<Y, X>(l, count))));
    return status;
  }
  integers_kernel<<<grid_of(l, count, THREADS), THREADS, 0, ig_stream_of(l)>>>(l->out[0], y->dtype, l->in[0], x->dtype,
                                                                               count);
  IG_CUDA_LAUNCHED();
  return IG_OK;
}

static bool supports(const ig_node *n, const ig_device_caps *caps, char *why, size_t why_bytes) {
  if ((n->in[0]->dtype == IG_BF16 || n->out[0]->dtype == IG_BF16) && !caps->bf16) {
    snprintf(why, why_bytes, "bf16 needs compute capability 8.0");
    return false;
  }
  return true;
}

// Layouts are the plan's: what comes in, and what is asked for.
static ig_status prepare(ig_prepare *p) {
  const ig_tensor *x = p->node->in[0];
  if (!ig_layout_equal(p->in_layout[0], p->out_layout[0]) &&
      (x->shape.n != 4 || !is_small_float(x->dtype) || !is_small_float(p->node->out[0]->dtype) ||
       p->in_layout[0].kind > IG_LAYOUT_KRSC || p->out_layout[0].kind > IG_LAYOUT_KRSC ||
       p->in_layout[0].kind == IG_LAYOUT_BLOCKED_C || p->out_layout[0].kind == IG_LAYOUT_BLOCKED_C))
    return ig_fail(IG_ERR_UNSUPPORTED, "no such change of layout on a GPU");
  return IG_OK;
}

IG_CUDA_IMPLS(reorder_cuda) = {
    IG_CUDA_IMPL_FLAGS("reorder", IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE, supports, prepare, run), {0}};
