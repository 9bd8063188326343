// Cross-entropy of a linear layer on a GPU. Rule: logits lie in memory for one chunk of classes (at most CHUNK, about
// MOST numbers, so that they stay in the second-level cache); sums have an order that sizes alone decide, no atomics:
// deterministic.
//
// Products are cuda_common/cuda_gemm.cuh: z = x w^T a chunk with fp32 results; in backward z again, dz w (added up over
// chunks in fp32) and dz^T x (a chunk's rows of dw).
// stats_kernel: a block of 256 threads owns a row of x and reads its logits of the chunk once: largest, its class, sum
// of exp; joined with the chunks before. finish_kernel: one block adds up rows in double. dz_kernel: a lane owns 4 (or
// 1) classes and every 8th row of the block's run; z becomes dz in x's type, which it also adds up for the bias. About
// 40 registers, at most 4 KiB of shared memory.
// Bytes: forward z written and read once (8 P V), backward z so again and dz written once, read twice (20 P V in fp32,
// 14 P V in 16 bits), of which little reaches DRAM; w once forward, twice backward, as x is; dw once; dx in fp32 once
// more written and read a chunk.
#include <math.h>

#include "kernels/cuda_common/cuda_columns.cuh"
#include "kernels/cuda_common/cuda_conv.h"
#include "kernels/linear_xent/linear_xent_node.h"

#define THREADS 256
#define WARPS   (THREADS / IG_WARP)
#define CHUNK   8192       // classes
#define MOST    (4 << 20)  // logits of a chunk, about
#define ROWS    64         // of a run
#define RUNS    64         // most runs

// ---- forward ----
typedef struct row_state {
  double sum;  // of exp(z - most)
  float most, picked;
  int best;
} row_state;

static __global__ void __launch_bounds__(THREADS)
    stats_kernel(row_state *states, const float *z, const int32_t *labels, int v0, int n) {
  __shared__ float tops[WARPS];
  __shared__ int bests[WARPS];
  __shared__ double sums[IG_WARP];
  const int p = blockIdx.x, lane = threadIdx.x % IG_WARP, warp = threadIdx.x / IG_WARP;
  z += (int64_t)p * n;
  float most = -INFINITY, sum = 0;
  int best = 0;
  for (int v = threadIdx.x; v < n; v += THREADS) {
    const float x = z[v];
    if (x > most) {
      sum = sum * expf(most - x) + 1;
      most = x;
      best = v;
    } else {
      sum += x == most ? 1 : expf(x - most);
    }
  }
  float top = most;
#pragma unroll
  for (int offset = IG_WARP / 2; offset; offset /= 2) {
    const float other = __shfl_xor_sync(0xffffffffu, top, offset);
    const int at = __shfl_xor_sync(0xffffffffu, best, offset);
    if (other > top || (other == top && at < best)) {
      top = other;
      best = at;
    }
  }
  if (lane == 0) {
    tops[warp] = top;
    bests[warp] = best;
  }
  __syncthreads();
  for (int k = 0; k < WARPS; k++)
    if (tops[k] > top || (tops[k] == top && bests[k] < best)) {
      top = tops[k];
      best = bests[k];
    }
  const double all =
      ig_block_sum<THREADS>(most == -INFINITY ? (double)sum : (double)sum * exp((double)most - (double)top), sums);
  if (threadIdx.x)
    return;
  row_state s = {all, top, NAN, v0 + best};
  if (v0) {
    const row_state before = states[p];
    s = before;
    if (top > before.most) {
      s.most = top;
      s.best = v0 + best;
    }
    s.sum = before.sum * exp((double)before.most - (double)s.most) + all * exp((double)top - (double)s.most);
  }
  const int label = labels[p];
  if (label >= v0 && label < v0 + n)
    s.picked = z[label - v0];
  states[p] = s;
}

static __global__ void __launch_bounds__(THREADS)
    finish_kernel(const row_state *states, const int32_t *labels, const float *weights, int P, float *sum,
                  float *weight, float *lse, int32_t *right) {
  __shared__ double scratch[IG_WARP];
  double loss = 0, counted = 0, hits = 0;
  for (int p = threadIdx.x; p < P; p += THREADS) {
    const row_state s = states[p];
    const double all = (double)s.most + log(s.sum), w = weights ? (double)weights[p] : 1;
    lse[p] = w == 0 ? 0 : (float)all;
    if (w == 0)
      continue;
    counted += w;
    hits += s.best == labels[p];
    loss += w * (all - (double)s.picked);  // NaN where the label is no class
  }
  loss = ig_block_sum<THREADS>(loss, scratch);
  counted = ig_block_sum<THREADS>(counted, scratch);
  hits = ig_block_sum<THREADS>(hits, scratch);
  if (threadIdx.x == 0) {
    *sum = (float)loss;
    *weight = (float)counted;
    *right = (int32_t)hits;
  }
}

// ---- backward ----
typedef struct bwd_rows {
  const float *dsum, *dlse, *lse, *weights;
  const int32_t *labels;
  int P, V, each;  // rows of a run
} bwd_rows;

// dz may be z. partial: [runs][n], or NULL.
template <class T, int E>
static __global__ void __launch_bounds__(THREADS)
    dz_kernel(T *dz, const float *z, const bwd_rows r, int v0, int n, float *partial) {
  __shared__ float sums[WARPS][IG_WARP * E];
  const int lane = threadIdx.x % IG_WARP, warp = threadIdx.x / IG_WARP, c = (blockIdx.x * IG_WARP + lane) * E;
  const int begin = blockIdx.y * r.each, end = min(begin + r.each, r.P);
  float sum[E] = {0}, v[E];
  if (c < n)
    for (int p = begin + warp; p < end; p += WARPS) {
      const float w = r.weights ? r.weights[p] : 1;
      const int label = r.labels[p];
      float d = r.dsum && w != 0 ? *r.dsum * w : 0;
      if (w != 0 && (label < 0 || label >= r.V))
        d = NAN;
      const float on_p = d + (r.dlse && w != 0 ? r.dlse[p] : 0), shift = r.lse[p];
      ig_load<E>(v, z + (int64_t)p * n + c);
#pragma unroll
      for (int e = 0; e < E; e++) {
        v[e] = on_p == 0 ? 0 : expf(v[e] - shift) * on_p;
        if (label == v0 + c + e)
          v[e] -= d;
        sum[e] += v[e];
      }
      ig_store<E>(dz + (int64_t)p * n + c, v);
    }
  if (!partial)
    return;
#pragma unroll
  for (int e = 0; e < E; e++)
    sums[warp][lane + IG_WARP * e] = sum[e];
  __syncthreads();
  if (warp || c >= n)
    return;
  for (int k = 1; k < WARPS; k++)
#pragma unroll
    for (int e = 0; e < E; e++)
      sum[e] += sums[k][lane + IG_WARP * e];
  ig_store<E>(partial + (int64_t)blockIdx.y * n + c, sum);
}

// sum += part (first: = part); out, where it is not NULL: the sum in x's type.
template <class T>
static __global__ void __launch_bounds__(THREADS)
    add_kernel(T *out, float *sum, const float *part, int64_t n, bool first) {
  for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < n; i += (int64_t)gridDim.x * THREADS) {
    const float v = part[i] + (first ? 0 : sum[i]);
    if (out)
      out[i] = ig_down<T>(v);
    else
      sum[i] = v;
  }
}

// ---- plans ----
enum { LOGITS, DATA, WEIGHTS, N_PRODUCTS };
typedef struct plan {
  int64_t P, D, V, chunk;
  int chunks;
  void *product[N_PRODUCTS][2];                                      // whole chunks, the last one
  size_t z, dz, states, partial, part, sum, dummy, products, bytes;  // places in the workspace
} plan;

static size_t take(plan *p, int64_t bytes) {
  const size_t at = p->bytes;
  p->bytes += (size_t)(bytes + 255) / 256 * 256;
  return at;
}
static int64_t classes_of(const plan *p, int chunk) {
  return chunk + 1 < p->chunks ? p->chunk : p->V - p->chunk * (p->chunks - 1);
}
static void destroy(void *state) {
  plan *p = (plan *)state;
  for (int k = 0; k < 2 * N_PRODUCTS; k++)
    ig_cuda_conv_destroy(p->product[k / 2][k % 2]);
  ig_free(p);
}
static int64_t each_of(int64_t rows) {
  const int64_t each = (rows + RUNS - 1) / RUNS;
  return each < ROWS ? ROWS : each;
}
static int64_t runs_of(int64_t rows) { return (rows + each_of(rows) - 1) / each_of(rows); }

static void cut(plan *p, const ig_node *n, int x) {
  *p = (plan){};
  p->P = n->in[x]->shape.d[0], p->D = n->in[x]->shape.d[1], p->V = n->in[x + 1]->shape.d[0];
  // Chunks of nearly equal length, multiples of 128 classes.
  const int64_t fit = p->P * CHUNK > MOST ? MOST / p->P : CHUNK, most = fit < 512 ? 512 : fit,
                chunks = (p->V + most - 1) / most;
  const int64_t even = chunks > 1 ? (p->V + chunks - 1) / chunks : p->V;
  p->chunk = (even + 127) / 128 * 128;
  p->chunks = (int)((p->V + p->chunk - 1) / p->chunk);
}

static ig_status products(ig_prepare *prepare, plan *p, bool backward, ig_dtype type) {
  static const ig_conv_pass passes[] = {IG_PASS_FORWARD, IG_PASS_DATA, IG_PASS_WEIGHTS};
  size_t most = 0;
  for (int k = 0; k < (backward ? 2 * N_PRODUCTS : 2); k++) {
    const int last = k % 2;
    size_t bytes = 0;
    if (!last && p->chunks == 1)
      continue;
    IG_TRY(ig_cuda_product_create(prepare, passes[k / 2], type, p->P, p->D,
                                  last ? classes_of(p, p->chunks - 1) : p->chunk, true, &p->product[k / 2][last],
                                  &bytes));
    most = bytes > most ? bytes : most;
  }
  p->products = take(p, (int64_t)most);
  return IG_OK;
}

template <bool BACKWARD>
static ig_status prepare(ig_prepare *prepare) {
  const ig_node *n = prepare->node;
  const int x = BACKWARD ? (int)B_X : (int)F_X;
  const ig_dtype type = n->in[x]->dtype;
  plan *p;
  for (int i = 0; i < n->n_in; i++)
    prepare->in_layout[i] = IG_PLAIN;
  for (int i = 0; i < n->n_out; i++)
    prepare->out_layout[i] = IG_PLAIN;
  IG_TRY(ig_alloc(sizeof *p, "plan of linear_xent", &p));
  cut(p, n, x);
  p->z = take(p, p->P * p->chunk * 4);
  p->dz = type == IG_F32 ? p->z : BACKWARD ? take(p, p->P * p->chunk * 2) : 0;
  if (BACKWARD) {
    p->partial = take(p, runs_of(p->P) * p->chunk * 4);
    p->part = take(p, p->P * p->D * 4);
    p->sum = take(p, p->P * p->D * 4);
    p->dummy = take(p, 4);
  } else {
    p->states = take(p, p->P * (int64_t)sizeof(row_state));
  }
  const ig_status status = products(prepare, p, BACKWARD, type);
  if (status != IG_OK) {
    destroy(p);
    return status;
  }
  prepare->workspace_bytes = p->bytes;
  prepare->state = p;
  return IG_OK;
}

// Product k of chunk `chunk`: a, b and bias as the fully connected layer's rows have them.
static ig_status multiply(const ig_launch *l, const plan *p, int k, int chunk, const void *a, const void *b,
                          const void *bias, void *out) {
  void *in[3] = {(void *)a, (void *)b, (void *)bias}, *results[2] = {out, (char *)l->workspace + p->dummy};
  ig_launch g = *l;
  g.state = p->product[k][chunk + 1 == p->chunks];
  g.in = in;
  g.out = results;
  g.workspace = (char *)l->workspace + p->products;
  return ig_cuda_conv_run(&g);
}

// Element v0 of a vector, or row v0 of a matrix of `columns`.
static char *from(void *x, ig_dtype type, int64_t v0, int64_t columns) {
  return x ? (char *)x + (size_t)(v0 * columns) * ig_dtype_bytes(type) : NULL;
}

static ig_status run(const ig_launch *l) {
  const plan *p = (const plan *)l->state;
  char *memory = (char *)l->workspace;
  row_state *states = (row_state *)(memory + p->states);
  const int32_t *labels = (const int32_t *)l->in[F_LABELS];
  for (int chunk = 0; p->P && chunk < p->chunks; chunk++) {
    const int64_t v0 = chunk * p->chunk;
    IG_TRY(multiply(l, p, LOGITS, chunk, l->in[F_X], from(l->in[F_W], l->node->in[F_W]->dtype, v0, p->D),
                    from(l->in[F_BIAS], IG_F32, v0, 1), memory + p->z));
    stats_kernel<<<(unsigned)p->P, THREADS, 0, ig_stream_of(l)>>>(states, (const float *)(memory + p->z), labels,
                                                                  (int)v0, (int)classes_of(p, chunk));
    IG_CUDA_LAUNCHED();
  }
  finish_kernel<<<1, THREADS, 0, ig_stream_of(l)>>>(states, labels, (const float *)l->in[F_WEIGHTS], (int)p->P,
                                                    (float *)l->out[O_SUM], (float *)l->out[O_WEIGHT],
                                                    (float *)l->out[O_LSE], (int32_t *)l->out[O_RIGHT]);
  IG_CUDA_LAUNCHED();
  return IG_OK;
}

template <class T>
static ig_status slopes(const ig_launch *l, const plan *p, const bwd_rows *r, int64_t v0, int64_t n, float *partial) {
  const float *z = (const float *)((char *)l->workspace + p->z);
  T *dz = (T *)((char *)l->workspace + p->dz);
  const unsigned runs = (unsigned)runs_of(p->P);
  if (n % 4 == 0)
    dz_kernel<T, 4>
        <<<dim3(ig_blocks(n, IG_WARP * 4), runs), THREADS, 0, ig_stream_of(l)>>>(dz, z, *r, (int)v0, (int)n, partial);
  else
    dz_kernel<T, 1>
        <<<dim3(ig_blocks(n, IG_WARP), runs), THREADS, 0, ig_stream_of(l)>>>(dz, z, *r, (int)v0, (int)n, partial);
  IG_CUDA_LAUNCHED();
  return IG_OK;
}

static ig_status bwd_chunk(const ig_launch *l, const plan *p, const bwd_rows *r, int chunk) {
  const ig_dtype type = l->node->in[B_X]->dtype;
  const int64_t v0 = chunk * p->chunk, n = classes_of(p, chunk), count = p->P * p->D;
  char *memory = (char *)l->workspace, *w = from(l->in[B_W], type, v0, p->D);
  float *partial = l->in[B_BIAS] ? (float *)(memory + p->partial) : NULL;
  ig_status status = IG_OK;
  IG_TRY(multiply(l, p, LOGITS, chunk, l->in[B_X], w, from(l->in[B_BIAS], IG_F32, v0, 1), memory + p->z));
  IG_BY_TYPE(type, T, status = slopes<T>(l, p, r, v0, n, partial));
  IG_TRY(status);
  if (partial)
    IG_TRY(ig_columns_finish(l, (float *)l->out[2] + v0, NULL, partial, runs_of(p->P), n, n));
  IG_TRY(multiply(l, p, WEIGHTS, chunk, l->in[B_X], memory + p->dz, NULL, (float *)l->out[1] + v0 * p->D));
  IG_TRY(multiply(l, p, DATA, chunk, memory + p->dz, w, NULL, memory + p->part));
  const int64_t blocks = (count + THREADS - 1) / THREADS, most = 16 * (int64_t)l->device->caps.processors;
  IG_BY_TYPE(type, T,
             (add_kernel<T><<<(unsigned)(blocks < most ? blocks : most), THREADS, 0, ig_stream_of(l)>>>(
                 chunk + 1 == p->chunks ? (T *)l->out[0] : NULL, (float *)(memory + p->sum),
                 (const float *)(memory + p->part), count, chunk == 0)));
  IG_CUDA_LAUNCHED();
  return IG_OK;
}

static ig_status run_bwd(const ig_launch *l) {
  const plan *p = (const plan *)l->state;
  bwd_rows r = {(const float *)l->in[B_DSUM], (const float *)l->in[B_DLSE], (const float *)l->in[B_LSE],
                (const float *)l->in[B_WEIGHTS], (const int32_t *)l->in[B_LABELS]};
  r.P = (int)p->P, r.V = (int)p->V, r.each = (int)each_of(p->P);
  if (!l->in[B_BIAS])
    IG_CUDA(cudaMemsetAsync(l->out[2], 0, sizeof(float), ig_stream_of(l)));
  if (p->P == 0) {
    IG_CUDA(cudaMemsetAsync(l->out[1], 0, (size_t)(p->V * p->D) * sizeof(float), ig_stream_of(l)));
    if (l->in[B_BIAS])
      IG_CUDA(cudaMemsetAsync(l->out[2], 0, (size_t)p->V * sizeof(float), ig_stream_of(l)));
  }
  for (int chunk = 0; p->P && chunk < p->chunks; chunk++)
    IG_TRY(bwd_chunk(l, p, &r, chunk));
  return IG_OK;
}

template <bool BACKWARD>
static bool supports(const ig_node *n, const ig_device_caps *caps, char *why, size_t why_bytes) {
  const int x = BACKWARD ? (int)B_X : (int)F_X;
  const int64_t P = n->in[x]->shape.d[0], D = n->in[x]->shape.d[1];
  const ig_tensor *weights = n->in[x + 4];
  if (weights && weights->dtype != IG_F32) {
    snprintf(why, why_bytes, "weights are %s, expected f32", ig_dtype_name(weights->dtype));
    return false;
  }
  if ((P > CHUNK ? P : CHUNK) * (D + CHUNK + 64) >= 1 << 29) {
    snprintf(why, why_bytes, "%lld rows of %lld numbers, expected less than 2^29 logits and numbers a chunk",
             (long long)P, (long long)D);
    return false;
  }
  return ig_cuda_supports(n, caps, why, why_bytes);
}

#define IMPL(name, backward, run)                                                                                 \
  {                                                                                                               \
    name "_cuda", IG_IMPL_DETERMINISTIC | IG_IMPL_THREAD_FREE | IG_IMPL_ROUNDED, IG_ISA_BASE, supports<backward>, \
        prepare<backward>, run, destroy                                                                           \
  }
IG_CUDA_IMPLS(linear_xent_cuda) = {IMPL("linear_xent", false, run), IMPL("linear_xent_bwd", true, run_bwd), {0}};
