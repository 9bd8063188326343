// Plans of convolutions for the matrix product, and what goes before and after it. Rule: the product sees channels in
// multiples of 16 bytes and one kind of weights; whatever is not so is expanded into the workspace first.
//
// - Channels that are no multiple of 8 (fp32: 4) are padded with zeros; the 3 of a 16-bit picture to 4, which the
//   product reads by 8 bytes.
// - Groups narrower than 32 channels lie side by side in superblocks of about 32, their weights with zeros between
//   groups: tensor cores multiply up to 32 / width times too much, and memory still decides (depthwise 3x3 in 16 bits:
//   144 FLOP a byte, H200 230). A value that is not finite spoils its superblock instead of its group.
// - The weight gradient's sum over the batch is cut into parts by the shape (deterministic mode: shards, and parts of
//   each by its length), whose fp32 results are added as a binary tree.
//
// expand_kernel: 16 bytes a thread; reads and writes each element once; 28 registers, no shared memory.
// reduce_kernel: a result a thread, four parts at a time; parts + 1 fp32 a result moved; 32 registers.
// columns_kernel: 32 columns a block, 8 rows at a time, once over dy; 32 registers, 1 KiB of shared memory.
// All deterministic. PREDICTION for one H200, never measured: expand 50 %, reduce 75 %, columns 60 % of the copy rate.
#include <limits.h>
#include <string.h>

#include "kernels/cuda_common/cuda_conv.h"
#include "kernels/cuda_common/cuda_kernel.cuh"
#include "kernels/cuda_common/cuda_parts.cuh"

#define THREADS   256
#define MAX_SPLIT 10  // a shard in at most 1024 parts
#define LEVELS    14  // of the tree over four parts each: 65535 parts

// ---- kernels ----
// [outer][taps][from] as rows of `pitch` elements, [taps][to] and zeros. groups > 1: row o's channels lie from
// (o / group_rows % groups) * from on. A thread writes 16 bytes.
typedef struct expansion {
  int outer, taps, from, to, pitch, groups, group_rows;
} expansion;
template <class T>
static __global__ void __launch_bounds__(THREADS) expand_kernel(T *y, const T *x, expansion e, int chunks) {
  constexpr int V = 16 / sizeof(T);
  const int chunk = blockIdx.x * THREADS + threadIdx.x;
  if (chunk >= chunks)
    return;
  ig_pack<T, V> pack;
#pragma unroll
  for (int i = 0; i < V; i++) {
    const long long at = (long long)chunk * V + i;
    const int o = (int)(at / e.pitch), k = (int)(at - (long long)o * e.pitch), tap = k / e.to,
              c = k - tap * e.to - (e.groups > 1 ? o / e.group_rows % e.groups * e.from : 0);
    pack.v[i] = o < e.outer && tap < e.taps && c >= 0 && c < e.from ? x[((long long)o * e.taps + tap) * e.from + c]
                                                                    : ig_down<T>(0);
  }
  *(ig_pack<T, V> *)(y + (long long)chunk * V) = pack;
}

// The inverse on fp32, summed over the parts as a binary tree: y[outer][taps][from] = sum of x[part][outer][taps][to].
static __global__ void __launch_bounds__(THREADS)
    reduce_kernel(float *y, const float *x, expansion e, int parts, long long part_elements) {
  const long long count = (long long)e.outer * e.taps * e.from, i = (long long)blockIdx.x * THREADS + threadIdx.x;
  if (i >= count)
    return;
  const int c = (int)(i % e.from), o = (int)(i / e.from / e.taps), tap = (int)(i / e.from % e.taps);
  const float *from =
      x + (long long)o * e.pitch + tap * e.to + c + (e.groups > 1 ? o / e.group_rows % e.groups * e.from : 0);
  // level[l]: the sum of the last whole 4 << l parts, where that bit of their count is set; what is left of the last
  // four begins the fold.
  float level[LEVELS], sum = 0;
  for (int part = 0; part < parts; part += 4) {
    float next[4];
#pragma unroll
    for (int k = 0; k < 4; k++)
      next[k] = part + k < parts ? from[(part + k) * part_elements] : 0;
    float v = next[0] + next[1];
    if (part + 4 > parts) {
      sum = parts % 4 == 1 ? next[0] : parts % 4 == 2 ? v : v + next[2];
      break;
    }
    v += next[2] + next[3];
    bool done = false;
#pragma unroll
    for (int l = 0; l < LEVELS; l++) {
      const bool full = part >> (l + 2) & 1;
      if (!done && !full)
        level[l] = v;
      done |= !full;
      v = done ? v : level[l] + v;
    }
  }
  bool first = parts % 4 == 0;
#pragma unroll
  for (int l = 0; l < LEVELS; l++)
    if (parts >> (l + 2) & 1) {
      sum = first ? level[l] : level[l] + sum;
      first = false;
    }
  y[i] = sum;
}

// x[part][column] = sum over the part's rows of dy: 32 columns a block, 8 rows at a time.
template <class T>
static __global__ void __launch_bounds__(THREADS)
    columns_kernel(float *y, const T *dy, int columns, ig_batch_parts parts) {
  __shared__ float sums[THREADS / IG_WARP][IG_WARP];
  const int column = blockIdx.x * IG_WARP + threadIdx.x % IG_WARP, row = threadIdx.x / IG_WARP;
  const int end = ig_part_begin(parts, blockIdx.y + 1);
  float sum = 0;
  if (column < columns)
    for (int i = ig_part_begin(parts, blockIdx.y) + row; i < end; i += THREADS / IG_WARP)
      sum += ig_up(dy[(long long)i * columns + column]);
  sums[row][threadIdx.x % IG_WARP] = sum;
  __syncthreads();
  if (row || column >= columns)
    return;
#pragma unroll
  for (int i = 1; i < THREADS / IG_WARP; i++)
    sum += sums[i][threadIdx.x];
  y[(long long)blockIdx.y * columns + column] = sum;
}

// ---- plans ----
typedef struct expanded {
  bool on;
  expansion e;
  size_t offset;  // in the workspace
} expanded;

typedef struct plan {
  ig_gemm_launch gemm;
  ig_dtype type;
  expanded x, dy, w;      // x also where dy is the gathered image: the pass says which there are
  bool has_bias, summed;  // summed: parts' results lie in the workspace
  bool fused;             // a node of conv2d_fused: operand 3 is added
  expansion sum;          // how they become dw
  int n_parts;
  size_t sum_offset, bias_offset;
  ig_batch_parts bias_parts;
  size_t workspace;
} plan;

static int gcd(int a, int b) { return b ? gcd(b, a % b) : a; }
static int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

static ig_div divisor(int64_t d) {
  ig_div out = {0, 0, d == 1 ? ~0u : 0, (int)d};
  int log = 0;
  while (((int64_t)1 << log) < d)
    log++;
  if (d > 1) {
    out.mul = (unsigned)((((uint64_t)1 << (31 + log)) + (uint64_t)d - 1) / (uint64_t)d);
    out.shift = (unsigned)(log - 1);
  }
  return out;
}

// Space of `bytes` in the workspace.
static size_t take(plan *p, int64_t bytes) {
  const size_t at = p->workspace;
  p->workspace += (size_t)round_up(bytes, 256);
  return at;
}

static int64_t elements_of(const expansion *e) { return (int64_t)e->outer * e->pitch; }

// Channels of an image: `group` in each of `groups`, `side` of them side by side in a superblock. Gives elements of a
// pixel and of a superblock.
static void lay_channels(plan *p, expanded *x, int64_t pixels, int group, int groups, int side, int chunk, int *ld,
                         int *run) {
  const int from = side > 1 ? group * groups : group, to = (int)round_up(from, chunk);
  const int64_t rows = pixels * (side > 1 ? 1 : groups);
  *ld = side > 1 ? to : to * groups;
  *run = side == 1 || side == groups ? to : group * side;
  x->on = to != from;
  x->e = (expansion){(int)rows, 1, from, to, to, 1, 1};
  if (x->on)
    x->offset = take(p, rows * to * (int64_t)ig_dtype_bytes(p->type) + 16);
}

// The sum over the batch in shards and parts of shards, so many that `tiles` of them occupy a large GPU.
static ig_batch_parts parts_of(int64_t samples, int64_t pixels, int shards, bool deterministic, int64_t tiles) {
  ig_batch_parts p = {(int)samples, (int)pixels, deterministic ? (int)(shards < samples ? shards : samples) : 1, 0};
  const int64_t length = samples / p.shards * pixels, ranks = deterministic ? 8 : 1;  // never the shards of one rank
  while (p.split < MAX_SPLIT && (ranks << p.split) * tiles < 256 && length >> (p.split + 1) >= 256)
    p.split++;
  return p;
}

static bool fail(char *why, size_t why_bytes, const char *text) {
  snprintf(why, why_bytes, "%s", text);
  return false;
}

static bool make(plan *p, ig_conv_pass pass, const ig_conv2d_dims *dims, ig_dtype type, const ig_device_caps *caps,
                 bool deterministic, int shards, bool has_bias, char *why, size_t why_bytes) {
  ig_conv2d_dims d = *dims;
  ig_gemm_args *a = &p->gemm.args;
  const int64_t samples = d.N, pixels = d.P * d.Q;
  const int bytes = (int)ig_dtype_bytes(type), V = 16 / bytes, groups = (int)d.groups, cg = (int)(d.C / d.groups),
            kg = (int)(d.K / d.groups);
  const int64_t limit = INT_MAX / 2, widest = d.C + d.K + 2 * groups * V;
  if (d.N * d.H * d.W > limit / widest || d.N * d.P * d.Q > limit / widest || d.K * d.R * d.S > limit / widest)
    return fail(why, why_bytes, "more than 2^30 elements in an operand");
  if (d.R * d.S >= 1 << 20 || d.stride_h * d.stride_w > 65535 || groups > 65535)
    return fail(why, why_bytes, "more than 2^20 taps, 65535 groups or a stride product beyond 65535");
  *p = (plan){};
  p->type = type;
  p->has_bias = has_bias;
  // One pixel after the other where nothing lies between them.
  if (d.R * d.S == 1 && d.stride_h * d.stride_w == 1 && !(d.pad_top | d.pad_left | d.pad_bottom | d.pad_right)) {
    d.W = d.Q = d.N * d.H * d.W;
    d.N = d.H = d.P = 1;
  }

  // Narrow groups lie side by side in a superblock of about 32 channels, whose weights are zero between groups.
  int side = 1;
  const int unit = V / (gcd(V, cg) < gcd(V, kg) ? gcd(V, cg) : gcd(V, kg)), most = cg > kg ? cg : kg;
  if (groups > 1 && most < 32 && unit * most <= 64)
    side = unit * ((32 + unit * most - 1) / (unit * most));
  side = side > groups ? groups : side;
  const int blocks = (groups + side - 1) / side, taps = (int)(d.R * d.S);
  const bool narrow = bytes == 2 && groups == 1 && cg <= 4 && pass != IG_PASS_DATA;
  int x_ld = 0, x_run = 0, dy_ld = 0, dy_run = 0;
  if (pass == IG_PASS_DATA) {  // of x only how its channels would lie
    plan ignored = *p;
    lay_channels(&ignored, &ignored.x, 1, cg, groups, side, V, &x_ld, &x_run);
  } else {
    lay_channels(p, &p->x, d.N * d.H * d.W, cg, groups, side, narrow ? 4 : V, &x_ld, &x_run);
  }
  if (pass != IG_PASS_FORWARD)
    lay_channels(p, &p->dy, d.N * d.P * d.Q, kg, groups, side, V, &dy_ld, &dy_run);
  a->w_pitch = (int)round_up((int64_t)taps * x_run, narrow ? V : 1);
  const expansion w = {(int)d.K, taps, cg, x_run, a->w_pitch, side, kg};
  p->w.e = w;
  p->w.on = pass != IG_PASS_WEIGHTS && (x_run != cg || a->w_pitch != taps * cg);
  if (p->w.on)
    p->w.offset = take(p, elements_of(&w) * bytes + 16);

  p->gemm.pass = pass;
  p->gemm.math = type == IG_BF16  ? IG_MATH_BF16
                 : type == IG_F16 ? IG_MATH_F16
                 : caps->tf32     ? IG_MATH_TF32
                                  : IG_MATH_FFMA;
  p->gemm.narrow = narrow;
  const bool data = pass == IG_PASS_DATA;
  a->samples = (int)d.N;
  a->height = (int)(data ? d.P : d.H), a->width = (int)(data ? d.Q : d.W);
  a->rows = (int)(data ? d.H : d.P), a->columns = (int)(data ? d.W : d.Q);
  a->ld = data ? dy_ld : x_ld;
  a->run = divisor(data ? dy_run : x_run);
  a->image = divisor((int64_t)a->rows * a->columns);
  a->row = divisor(a->columns);
  a->step_h = (int)d.stride_h, a->step_w = (int)d.stride_w;
  a->offset_h = (int)-d.pad_top, a->offset_w = (int)-d.pad_left;
  a->dilation_h = (int)d.dilation_h, a->dilation_w = (int)d.dilation_w;
  a->taps_h = (int)d.R, a->taps_w = (int)d.S;
  a->taps = divisor(d.S);
  a->w_step = kg * side, a->w_total = (int)d.K, a->w_run = x_run;
  a->dy_ld = dy_ld, a->dy_run = dy_run;
  const int c_step = cg * side, k_step = kg * side;
  if (pass == IG_PASS_FORWARD) {
    a->m = (int)(d.N * d.P * d.Q), a->n = k_step < d.K ? k_step : (int)d.K;
    a->out_ld = (int)d.K, a->out_step = k_step, a->out_total = (int)d.K;
  } else if (data) {
    a->m = (int)(d.N * ((d.H + d.stride_h - 1) / d.stride_h) * ((d.W + d.stride_w - 1) / d.stride_w));
    a->n = c_step < d.C ? c_step : (int)d.C;
    a->out_ld = (int)d.C, a->out_step = c_step, a->out_total = (int)d.C;
  } else {
    a->m = k_step < d.K ? k_step : (int)d.K, a->n = taps * x_run;
    a->out_ld = a->n, a->out_step = k_step, a->out_total = (int)d.K;
  }
  a->vector = a->out_ld % 8 == 0 && (pass == IG_PASS_WEIGHTS || a->out_step % 8 == 0);

  // The largest tile that leaves enough blocks. The weight pass cuts its sum instead: by the shape alone.
  const int64_t phases = data ? d.stride_h * d.stride_w : 1;
  int tile = 1;
  if (narrow)
    tile = pass == IG_PASS_FORWARD ? 1 : 2;
  else if (bytes == 2)
    for (tile = 0; tile < 2; tile++) {
      const int64_t tiles = ((int64_t)a->m + IG_GEMM_ROWS(tile) - 1) / IG_GEMM_ROWS(tile) *
                            ((a->n + IG_GEMM_COLUMNS(tile) - 1) / IG_GEMM_COLUMNS(tile)) * blocks * phases;
      if (a->m > 64 && (tile == 1 || a->n > 64) && (size_t)IG_GEMM_SHARED(tile) <= caps->shared_bytes &&
          (pass == IG_PASS_WEIGHTS ? tile == 0 : tiles >= caps->processors))
        break;
    }
  p->gemm.tile = tile;
  a->tiles_n = (a->n + IG_GEMM_COLUMNS(tile) - 1) / IG_GEMM_COLUMNS(tile);
  const int64_t tiles = ((int64_t)a->m + IG_GEMM_ROWS(tile) - 1) / IG_GEMM_ROWS(tile) * a->tiles_n;
  p->gemm.grid = dim3((unsigned)tiles, (unsigned)blocks, (unsigned)phases);
  if (pass == IG_PASS_WEIGHTS) {
    a->parts = parts_of(samples, pixels, shards, deterministic, tiles * blocks);
    p->n_parts = a->parts.shards << a->parts.split;
    p->gemm.grid.z = (unsigned)p->n_parts;
    a->part_elements = (long long)d.K * a->n;
    p->summed = p->n_parts > 1 || x_run != cg;
    p->sum = w;
    p->sum.pitch = a->n;
    if (p->summed)
      p->sum_offset = take(p, a->part_elements * p->n_parts * 4);
    p->bias_parts = parts_of(samples, pixels, shards, deterministic, (d.K + IG_WARP - 1) / IG_WARP);
    if (has_bias)
      p->bias_offset = take(p, d.K * ((int64_t)p->bias_parts.shards << p->bias_parts.split) * 4);
    if (p->n_parts > 65535)
      return fail(why, why_bytes, "more than 65535 parts of the batch");
  }
  return true;
}

// ---- the implementation ----
bool ig_cuda_conv_supports(const ig_node *n, const ig_device_caps *caps, ig_conv_pass pass, const ig_conv2d_dims *d,
                           char *why, size_t why_bytes) {
  plan p;
  return ig_cuda_supports(n, caps, why, why_bytes) &&
         make(&p, pass, d, n->in[0]->dtype, caps, false, 1, false, why, why_bytes);
}

static ig_status product(const plan *p, const ig_gemm_launch *l, int ready) {
  return p->type == IG_BF16  ? ig_gemm_bf16(l, ready)
         : p->type == IG_F16 ? ig_gemm_f16(l, ready)
                             : ig_gemm_f32(l, ready);
}

static ig_status create(const ig_prepare *prepare, ig_conv_pass pass, const ig_conv2d_dims *d, ig_dtype type,
                        bool has_bias, bool wide, plan **out) {
  char why[128];
  plan *p;
  IG_TRY(ig_alloc(sizeof *p, "plan of a convolution", &p));
  ig_status status = IG_OK;
  if (!make(p, pass, d, type, &prepare->device->caps, prepare->deterministic, prepare->shards, has_bias, why,
            sizeof why))
    status = ig_fail(IG_ERR_UNSUPPORTED, "%s", why);
  if (status == IG_OK)
    status = product(p, &p->gemm, 1);
  if (status != IG_OK) {
    ig_free(p);
    return status;
  }
  p->gemm.args.wide_out = wide;
  *out = p;
  return IG_OK;
}

ig_status ig_cuda_product_create(const ig_prepare *prepare, ig_conv_pass pass, ig_dtype type, int64_t T, int64_t D,
                                 int64_t V, bool wide, void **state, size_t *workspace_bytes) {
  ig_conv2d_dims d = {};
  plan *p;
  d.N = T, d.C = D, d.K = V;
  d.H = d.W = d.R = d.S = d.P = d.Q = d.groups = d.stride_h = d.stride_w = d.dilation_h = d.dilation_w = 1;
  IG_TRY(create(prepare, pass, &d, type, false, wide, &p));
  *state = p;
  *workspace_bytes = p->workspace;
  return IG_OK;
}

ig_status ig_cuda_conv_prepare(ig_prepare *prepare, ig_conv_pass pass, const ig_conv2d_dims *d, bool has_bias) {
  const ig_node *n = prepare->node;
  plan *p;
  for (int i = 0; i < n->n_in; i++)
    prepare->in_layout[i] = IG_PLAIN;
  for (int i = 0; i < n->n_out; i++)
    prepare->out_layout[i] = IG_PLAIN;
  if (d->R * d->S > 1)
    *(pass == IG_PASS_WEIGHTS ? &prepare->out_layout[0] : &prepare->in_layout[1]) = IG_KRSC;
  IG_TRY(create(prepare, pass, d, n->in[0]->dtype, has_bias, n->out[0]->dtype == IG_F32, &p));
  p->fused = !strcmp(n->op->name, "conv2d_fused");
  p->gemm.args.relu = p->fused && ((const ig_conv2d_fused_attr *)n->attr)->relu;
  prepare->workspace_bytes = p->workspace;
  prepare->state = p;
  return IG_OK;
}

void ig_cuda_conv_destroy(void *state) { ig_free(state); }

// The operand as the product takes it: itself, or expanded into the workspace.
static ig_status operand(const ig_launch *l, const plan *p, const expanded *x, const void *in, const void **out) {
  *out = in;
  if (!x->on)
    return IG_OK;
  void *to = (char *)l->workspace + x->offset;
  const int64_t V = 16 / (int64_t)ig_dtype_bytes(p->type), chunks = (elements_of(&x->e) + V - 1) / V;
  IG_BY_TYPE(p->type, T,
             expand_kernel<T>
             <<<ig_blocks(chunks, THREADS), THREADS, 0, ig_stream_of(l)>>>((T *)to, (const T *)in, x->e, (int)chunks));
  IG_CUDA_LAUNCHED();
  *out = to;
  return IG_OK;
}

static ig_status reduce(const ig_launch *l, float *y, const void *x, const expansion *e, int parts, int64_t elements) {
  const int64_t count = (int64_t)e->outer * e->taps * e->from;
  reduce_kernel<<<ig_blocks(count, THREADS), THREADS, 0, ig_stream_of(l)>>>(y, (const float *)x, *e, parts, elements);
  IG_CUDA_LAUNCHED();
  return IG_OK;
}

static ig_status bias_gradient(const ig_launch *l, const plan *p) {
  const int columns = p->gemm.args.out_total, parts = p->bias_parts.shards << p->bias_parts.split;
  float *partial = (float *)((char *)l->workspace + p->bias_offset);
  const expansion one = {columns, 1, 1, 1, 1, 1, 1};
  if (!p->has_bias) {
    IG_CUDA(cudaMemsetAsync(l->out[1], 0, sizeof(float), ig_stream_of(l)));
    return IG_OK;
  }
  const dim3 grid(ig_blocks(columns, IG_WARP), (unsigned)parts);
  IG_BY_TYPE(p->type, T,
             columns_kernel<T>
             <<<grid, THREADS, 0, ig_stream_of(l)>>>(partial, (const T *)l->in[1], columns, p->bias_parts));
  IG_CUDA_LAUNCHED();
  return reduce(l, (float *)l->out[1], partial, &one, parts, columns);
}

ig_status ig_cuda_conv_run(const ig_launch *l) {
  const plan *p = (const plan *)l->state;
  ig_gemm_launch g = p->gemm;
  g.stream = ig_stream_of(l);
  g.args.out = l->out[0];
  if (g.pass == IG_PASS_FORWARD) {
    IG_TRY(operand(l, p, &p->x, l->in[0], &g.args.a));
    IG_TRY(operand(l, p, &p->w, l->in[1], &g.args.b));
    g.args.bias = (const float *)(l->node->n_in > 2 ? l->in[2] : NULL);
    g.args.residual = p->fused ? l->in[3] : NULL;
    return product(p, &g, 0);
  }
  if (g.pass == IG_PASS_DATA) {
    IG_TRY(operand(l, p, &p->dy, l->in[0], &g.args.a));
    IG_TRY(operand(l, p, &p->w, l->in[1], &g.args.b));
    return product(p, &g, 0);
  }
  IG_TRY(operand(l, p, &p->x, l->in[0], &g.args.b));
  IG_TRY(operand(l, p, &p->dy, l->in[1], &g.args.a));
  if (p->summed)
    g.args.out = (char *)l->workspace + p->sum_offset;
  IG_TRY(product(p, &g, 0));
  if (p->summed)
    IG_TRY(reduce(l, (float *)l->out[0], g.args.out, &p->sum, p->n_parts, g.args.part_elements));
  return bias_gradient(l, p);
}
