// Attention on tensor cores. See attention_cuda.cu for what a block, a warp and a thread own.
//
// All three kernels are one scheme: a block's own 64 rows stay in shared memory, the other side's tiles of 32 or 64
// rows come by cp.async a tile ahead, two barriers a tile. A warp owns 16 of the own rows: products of own rows with
// the other side's (scores, and in backward dp) stay in the accumulators' registers and are there the operand of the
// next product. Over tf32 the accumulator's columns 2 t and 2 t + 1 become the operand's t and t + 4; the other
// operand's rows are read in the same order.
#ifndef IG_KERNELS_ATTENTION_MMA_CUH
#define IG_KERNELS_ATTENTION_MMA_CUH

#include "kernels/attention/attention_cuda.cuh"
#include "kernels/cuda_common/cuda_mma.cuh"

template <class T, int WIDTH>
struct tiles {
  static constexpr int V = 16 / sizeof(T), PITCH = WIDTH * sizeof(T), CHUNKS = WIDTH / V, STEPS = PITCH / 32;
  static constexpr bool HALF = sizeof(T) == 2;
  static __device__ __forceinline__ uint32_t place(int row, int chunk) {
    if constexpr (PITCH == 64)
      return ig_tile64(row, chunk);
    else
      return ig_tile_wide<PITCH, false>(row, chunk);
  }
  // Rows 0 .. ROWS - 1 of x (rows of `stride` elements), zeros behind row n and column d.
  template <int ROWS>
  static __device__ __forceinline__ void load(uint32_t to, const T *x, int64_t stride, int n, int d) {
#pragma unroll
    for (int i = 0; i < ROWS * CHUNKS / THREADS; i++) {
      const int at = threadIdx.x + i * THREADS, row = at / CHUNKS, chunk = at % CHUNKS;
      const bool valid = row < n && chunk * V < d;
      ig_copy_async<16>(to + place(row, chunk), x + (valid ? row * stride + chunk * V : 0), valid);
    }
  }
  static __device__ __forceinline__ void product(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    if constexpr (HALF)
      ig_mma16<T>(c, a, b);
    else
      ig_mma_tf32(c, a, b);
  }
  template <int N>
  static __device__ __forceinline__ void round(uint32_t (&x)[N]) {
    if constexpr (!HALF)
#pragma unroll
      for (int i = 0; i < N; i++)
        x[i] = ig_tf32(x[i]);
  }
  // c[j] = own rows (16 from row `row` on) x rows 8 j .. 8 j + 7 of the other tile.
  template <int N>
  static __device__ __forceinline__ void scores(float (&c)[N][4], uint32_t own, int row, uint32_t other) {
    const int lane = threadIdx.x % IG_WARP;
#pragma unroll
    for (int j = 0; j < N; j++)
#pragma unroll
      for (int e = 0; e < 4; e++)
        c[j][e] = 0;
#pragma unroll(STEPS > 4 ? 2 : STEPS)
    for (int step = 0; step < STEPS; step++) {
      uint32_t a[4];
      ig_ldmatrix(a, own + place(row + lane % 16, step * 2 + lane / 16));
      round(a);
#pragma unroll
      for (int j = 0; j < N; j += 2) {
        uint32_t two[4];
        ig_ldmatrix(two, other + place(j * 8 + lane / 16 * 8 + lane % 8, step * 2 + lane / 8 % 2));
        round(two);
        product(c[j], a, {two[0], two[1]});
        product(c[j + 1], a, {two[2], two[3]});
      }
    }
  }
  // sum[j] += p x columns 8 j .. 8 j + 7 of the other tile, whose rows are p's columns.
  template <int N>
  static __device__ __forceinline__ void weighted(float (&sum)[WIDTH / 8][4], const float (&p)[N][4], uint32_t other) {
    const int lane = threadIdx.x % IG_WARP, g = lane / 4, t = lane % 4;
#pragma unroll
    for (int k = 0; k < (HALF ? N / 2 : N); k++) {
      uint32_t a[4];
      if constexpr (HALF) {
#pragma unroll
        for (int r = 0; r < 4; r++) {
          ig_pack<T, 2> two;
          two.v[0] = ig_down<T>(p[2 * k + r / 2][r % 2 * 2]);
          two.v[1] = ig_down<T>(p[2 * k + r / 2][r % 2 * 2 + 1]);
          a[r] = *(const uint32_t *)&two;
        }
      } else {
#pragma unroll
        for (int r = 0; r < 4; r++)
          a[r] = ig_tf32(__float_as_uint(p[k][r % 2 * 2 + r / 2]));
      }
#pragma unroll
      for (int j = 0; j < WIDTH / 8; j += 2) {
        uint32_t two[4];
        if constexpr (HALF) {
          ig_ldmatrix_trans(two, other + place(k * 16 + lane / 8 % 2 * 8 + lane % 8, j + lane / 16));
        } else {
#pragma unroll
          for (int e = 0; e < 4; e++) {
            const int column = (j + e / 2) * 8 + g;
            uint32_t word;
            asm volatile("ld.shared.b32 %0, [%1];"
                         : "=r"(word)
                         : "r"(other + place(k * 8 + 2 * t + e % 2, column / 4) + column % 4 * 4)
                         : "memory");
            two[e] = ig_tf32(word);
          }
        }
        product(sum[j], a, {two[0], two[1]});
        product(sum[j + 1], a, {two[2], two[3]});
      }
    }
  }
  // factor * sum into the warp's own rows of a tile of shared memory, and from there to rows of x by 16 bytes a lane.
  static __device__ __forceinline__ void store(T *x, int64_t stride, int n, int d, unsigned char *tile, int row,
                                               const float (&sum)[WIDTH / 8][4], float low, float high) {
    const int lane = threadIdx.x % IG_WARP, g = lane / 4, t = lane % 4;
    __syncwarp();
#pragma unroll
    for (int j = 0; j < WIDTH / 8; j++)
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const int column = j * 8 + 2 * t;
        const float f = half ? high : low, two[2] = {sum[j][2 * half] * f, sum[j][2 * half + 1] * f};
        ig_store<2>((T *)(tile + place(row + g + 8 * half, column / V)) + column % V, two);
      }
    __syncwarp();
#pragma unroll
    for (int i = lane; i < 16 * CHUNKS; i += IG_WARP) {
      const int r = row + i / CHUNKS, chunk = i % CHUNKS;
      if (r < n && chunk * V < d)
        *(uint4 *)(x + r * stride + chunk * V) = *(const uint4 *)(tile + place(r, chunk));
    }
    __syncwarp();
  }
};

// Bits of a lane's four results of 8 columns from `column` on (places of keys), rows being queries: lanes of even t
// draw for row g, the others for row g + 8, each 4 keys, and swap.
static __device__ __forceinline__ uint32_t kept_of_rows(const head_draws &draws, uint64_t sample, int column,
                                                        uint32_t threshold) {
  const int t = threadIdx.x % 4;
  uint32_t bits = draws.kept(sample, column / 4 + t / 2, threshold) << (t % 2 * 4);
  bits |= __shfl_xor_sync(0xffffffffu, bits, 1);
  bits >>= t % 2 * 2;
  return (bits & 3) | (bits >> 2 & 12);
}
// The same where columns are queries and rows keys from `row` on: of four lanes of equal t, lane i draws for query 2 t
// + i % 2 and keys 4 .. of row + 8 (i / 2). sample: that query's.
static __device__ __forceinline__ uint32_t kept_of_columns(const head_draws &draws, uint64_t sample, int row,
                                                           uint32_t threshold) {
  const int g = threadIdx.x % IG_WARP / 4, i = g % 4;
  uint32_t bits = draws.kept(sample, (row + i / 2 * 8 + g / 4 * 4) / 4, threshold) << (i * 4);
  bits |= __shfl_xor_sync(0xffffffffu, bits, 4);
  bits |= __shfl_xor_sync(0xffffffffu, bits, 8);
  bits >>= i;
  return (bits & 1) | (bits >> 3 & 2) | (bits >> 6 & 4) | (bits >> 9 & 8);
}

template <class T, int WIDTH>
static __global__ void __launch_bounds__(THREADS) forward_kernel(const ig_attention_args p) {
  typedef tiles<T, WIDTH> tile;
  constexpr int OTHER = IG_ATTENTION_OTHER(WIDTH, sizeof(T), IG_ATTENTION_FORWARD), N = OTHER / 8;
  constexpr int OWN_BYTES = IG_ATTENTION_ROWS * tile::PITCH, OTHER_BYTES = OTHER * tile::PITCH;
  extern __shared__ __align__(128) unsigned char shared[];
  ig_tile_of_rows own;
  if (!own_tile<T, IG_ATTENTION_ROWS>(p, {(T *)p.out, (T *)NULL}, p.lse, &own))
    return;
  const int lane = threadIdx.x % IG_WARP, row = threadIdx.x / IG_WARP * 16, g = lane / 4, t = lane % 4;
  const int length = own.last - own.first, q0 = own.tile * IG_ATTENTION_ROWS, left = length - q0;
  const int keys = p.causal ? min(length, q0 + IG_ATTENTION_ROWS) : length, n_tiles = (keys + OTHER - 1) / OTHER;
  const int64_t stride = (int64_t)p.H * p.d, base = own.first * stride + (int64_t)blockIdx.y * p.d;
  const uint32_t q_at = ig_shared_address(shared), k_at = q_at + OWN_BYTES, v_at = k_at + 2 * OTHER_BYTES;
  const head_draws draws = draws_of(p, blockIdx.y);
  const int drawn = q0 + row + g + t % 2 * 8;
  const uint64_t sample = p.dropout && drawn < length ? sample_of(p, own.first + drawn) : 0;
  auto load = [&](int i) {
    const T *const k = (const T *)p.k + base + i * OTHER * stride, *const v =
                                                                       (const T *)p.v + base + i * OTHER * stride;
    tile::template load<OTHER>(k_at + (i & 1) * OTHER_BYTES, k, stride, length - i * OTHER, p.d);
    tile::template load<OTHER>(v_at + (i & 1) * OTHER_BYTES, v, stride, length - i * OTHER, p.d);
  };
  tile::template load<IG_ATTENTION_ROWS>(q_at, (const T *)p.q + base + q0 * stride, stride, left, p.d);
  load(0);
  ig_copy_commit();

  const float c = p.scale * log2e();
  float sum[WIDTH / 8][4] = {}, most[2] = {-INFINITY, -INFINITY}, total[2] = {0, 0};
  for (int i = 0; i < n_tiles; i++) {
    if (i + 1 < n_tiles)
      load(i + 1);
    ig_copy_commit();
    ig_copy_wait<1>();
    __syncthreads();
    float s[N][4];
    tile::scores(s, q_at, row, k_at + (i & 1) * OTHER_BYTES);
    if ((i + 1) * OTHER > (p.causal ? q0 + row + 1 : length))
#pragma unroll
      for (int j = 0; j < N; j++)
#pragma unroll
        for (int e = 0; e < 4; e++) {
          const int key = i * OTHER + j * 8 + 2 * t + e % 2;
          if (key >= length || (p.causal && key > q0 + row + g + e / 2 * 8))
            s[j][e] = -INFINITY;
        }
        // A row's largest score: at least one key is seen in the first tile.
#pragma unroll
    for (int half = 0; half < 2; half++) {
      float top = most[half], tile_sum = 0;
#pragma unroll
      for (int j = 0; j < N; j++)
        top = fmaxf(top, fmaxf(s[j][2 * half], s[j][2 * half + 1]));
      top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 1));
      top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 2));
      const float shrink = exp2_of((most[half] - top) * c), shift = top * c;
      most[half] = top;
#pragma unroll
      for (int j = 0; j < N; j++)
#pragma unroll
        for (int e = 2 * half; e < 2 * half + 2; e++) {
          s[j][e] = exp2_of(s[j][e] * c - shift);
          tile_sum += s[j][e];
        }
      total[half] = total[half] * shrink + tile_sum;
#pragma unroll
      for (int j = 0; j < WIDTH / 8; j++) {
        sum[j][2 * half] *= shrink;
        sum[j][2 * half + 1] *= shrink;
      }
    }
    if (p.dropout)
#pragma unroll
      for (int j = 0; j < N; j++) {
        const uint32_t kept = kept_of_rows(draws, sample, i * OTHER + j * 8, p.threshold);
#pragma unroll
        for (int e = 0; e < 4; e++)
          s[j][e] = kept >> e & 1 ? s[j][e] : 0;
      }
    tile::weighted(sum, s, v_at + (i & 1) * OTHER_BYTES);
    __syncthreads();
  }
#pragma unroll
  for (int half = 0; half < 2; half++) {
    total[half] += __shfl_xor_sync(0xffffffffu, total[half], 1);
    total[half] += __shfl_xor_sync(0xffffffffu, total[half], 2);
    const int r = row + g + 8 * half;
    if (t == 0 && r < left)
      p.lse[(int64_t)blockIdx.y * p.T + own.first + q0 + r] = most[half] * p.scale + logf(total[half]);
  }
  tile::store((T *)p.out + base + q0 * stride, stride, left, p.d, shared, row, sum, p.keep / total[0],
              p.keep / total[1]);
}

// KEYS: own rows are keys, others queries: dk, dv; else own rows are queries, others keys: dq, and delta.
template <class T, int WIDTH, bool KEYS>
static __global__ void __launch_bounds__(THREADS, 2) backward_kernel(const ig_attention_args p) {
  typedef tiles<T, WIDTH> tile;
  constexpr int OTHER = IG_ATTENTION_OTHER(WIDTH, sizeof(T), IG_ATTENTION_KEYS), N = OTHER / 8;
  constexpr int OWN_BYTES = IG_ATTENTION_ROWS * tile::PITCH, OTHER_BYTES = OTHER * tile::PITCH;
  extern __shared__ __align__(128) unsigned char shared[];
  __shared__ float deltas[KEYS ? 2 * OTHER : IG_ATTENTION_ROWS], logs[KEYS ? 2 * OTHER : 1];
  __shared__ uint64_t samples[KEYS ? 2 * OTHER : 1];
  ig_tile_of_rows own;
  if (!own_tile<T, IG_ATTENTION_ROWS>(p, {(T *)p.out, (T *)(KEYS ? p.more_out : NULL)}, NULL, &own))
    return;
  const int lane = threadIdx.x % IG_WARP, row = threadIdx.x / IG_WARP * 16, g = lane / 4, t = lane % 4;
  const int length = own.last - own.first, r0 = own.tile * IG_ATTENTION_ROWS, left = length - r0;
  const int begin = KEYS && p.causal ? r0 / OTHER : 0,
            end = ((!KEYS && p.causal ? min(length, r0 + IG_ATTENTION_ROWS) : length) + OTHER - 1) / OTHER;
  const int64_t stride = (int64_t)p.H * p.d, base = own.first * stride + (int64_t)blockIdx.y * p.d;
  const int64_t stats = (int64_t)blockIdx.y * p.T + own.first;
  const uint32_t own_at = ig_shared_address(shared), own2_at = own_at + OWN_BYTES, other_at = own2_at + OWN_BYTES,
                 other2_at = other_at + 2 * OTHER_BYTES;
  const head_draws draws = draws_of(p, blockIdx.y);
  // own x other are the scores, own2 x other2 is dp.
  const T *const x = (const T *)(KEYS ? p.k : p.q) + base, *const x2 = (const T *)(KEYS ? p.v : p.d_o) + base,
                 *const y = (const T *)(KEYS ? p.q : p.k) + base, *const y2 = (const T *)(KEYS ? p.d_o : p.v) + base;
  auto load = [&](int i) {
    const int at = (i & 1) * OTHER, n = length - i * OTHER;
    tile::template load<OTHER>(other_at + at * tile::PITCH, y + i * OTHER * stride, stride, n, p.d);
    tile::template load<OTHER>(other2_at + at * tile::PITCH, y2 + i * OTHER * stride, stride, n, p.d);
    const int r = threadIdx.x;
    if (KEYS && r < OTHER) {
      logs[at + r] = r < n ? p.lse_in[stats + i * OTHER + r] * log2e() : INFINITY;  // a query that is not there: p = 0
      deltas[at + r] = r < n ? p.delta[stats + i * OTHER + r] : 0;
      samples[at + r] = p.dropout && r < n ? sample_of(p, own.first + i * OTHER + r) : 0;
    }
  };
  tile::template load<IG_ATTENTION_ROWS>(own_at, x + r0 * stride, stride, left, p.d);
  tile::template load<IG_ATTENTION_ROWS>(own2_at, x2 + r0 * stride, stride, left, p.d);
  load(begin);
  ig_copy_commit();

  float row_log[2] = {0, 0}, row_delta[2] = {0, 0};
  uint64_t sample = 0;
  if (!KEYS) {
    const int drawn = r0 + row + g + t % 2 * 8;
    if (p.dropout && drawn < length)
      sample = sample_of(p, own.first + drawn);
    // delta = do . o - dlse: CHUNKS lanes a row.
    constexpr int V = tile::V, CHUNKS = tile::CHUNKS;
#pragma unroll
    for (int i = 0; i < 16; i += IG_WARP / CHUNKS) {
      const int r = row + i + lane / CHUNKS, column = lane % CHUNKS * V;
      float d = 0, a[V], b[V];
      if (r < left && column < p.d) {
        ig_load<V>(a, x2 + (r0 + r) * stride + column);
        ig_load<V>(b, (const T *)p.o + base + (r0 + r) * stride + column);
#pragma unroll
        for (int e = 0; e < V; e++)
          d += a[e] * b[e];
      }
#pragma unroll
      for (int offset = 1; offset < CHUNKS; offset *= 2)
        d += __shfl_xor_sync(0xffffffffu, d, offset);
      if (lane % CHUNKS == 0) {
        if (p.dlse && r < left)
          d -= p.dlse[stats + r0 + r];
        deltas[r] = d;
        if (r < left)
          p.delta[stats + r0 + r] = d;
      }
    }
    __syncwarp();
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const int r = row + g + 8 * half;
      row_delta[half] = deltas[r];
      row_log[half] = r < left ? p.lse_in[stats + r0 + r] * log2e() : INFINITY;
    }
  }

  const float c = p.scale * log2e();
  float sum[WIDTH / 8][4] = {}, sum2[KEYS ? WIDTH / 8 : 1][4] = {};
  for (int i = begin; i < end; i++) {
    if (i + 1 < end)
      load(i + 1);
    ig_copy_commit();
    ig_copy_wait<1>();
    __syncthreads();
    const int at = (i & 1) * OTHER;
    float s[N][4], ds[N][4];
    tile::scores(s, own_at, row, other_at + at * tile::PITCH);
    tile::scores(ds, own2_at, row, other2_at + at * tile::PITCH);
    const bool masked =
        (KEYS ? p.causal && i * OTHER < r0 + row + 15 : (i + 1) * OTHER > (p.causal ? r0 + row + 1 : length));
#pragma unroll
    for (int j = 0; j < N; j++) {
      uint32_t kept = 15;
      if (p.dropout)
        kept = KEYS ? kept_of_columns(draws, samples[at + j * 8 + 2 * t + g % 2], r0 + row, p.threshold)
                    : kept_of_rows(draws, sample, i * OTHER + j * 8, p.threshold);
#pragma unroll
      for (int e = 0; e < 4; e++) {
        const int column = j * 8 + 2 * t + e % 2, mine = r0 + row + g + e / 2 * 8, other = i * OTHER + column;
        const float log = KEYS ? logs[at + column] : row_log[e / 2],
                    delta = KEYS ? deltas[at + column] : row_delta[e / 2];
        float all = exp2_of(s[j][e] * c - log);
        if (masked && (KEYS ? other < mine : other >= length || (p.causal && other > mine)))
          all = 0;
        const float keep = kept >> e & 1 ? p.keep : 0;
        ds[j][e] = all * (keep * ds[j][e] - delta);
        s[j][e] = all * keep;
      }
    }
    tile::weighted(sum, ds, other_at + at * tile::PITCH);
    if constexpr (KEYS)
      tile::weighted(sum2, s, other2_at + at * tile::PITCH);
    __syncthreads();
  }
  tile::store((T *)p.out + base + r0 * stride, stride, left, p.d, shared, row, sum, p.scale, p.scale);
  if constexpr (KEYS)
    tile::store((T *)p.more_out + base + r0 * stride, stride, left, p.d, shared, row, sum2, 1, 1);
}

template <class T, int WIDTH>
static ig_status launch_width(const ig_attention_launch *l, int ready) {
  void (*const kernel)(const ig_attention_args) = l->pass == IG_ATTENTION_FORWARD   ? forward_kernel<T, WIDTH>
                                                  : l->pass == IG_ATTENTION_QUERIES ? backward_kernel<T, WIDTH, false>
                                                                                    : backward_kernel<T, WIDTH, true>;
  const size_t shared = IG_ATTENTION_SHARED(WIDTH, sizeof(T), l->pass);
  if (ready) {
    IG_CUDA(cudaFuncSetAttribute((const void *)kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared));
    return IG_OK;
  }
  const dim3 grid((unsigned)(l->args.T / IG_ATTENTION_ROWS + l->args.B + 1), (unsigned)l->args.H);
  kernel<<<grid, THREADS, shared, l->stream>>>(l->args);
  IG_CUDA_LAUNCHED();
  return IG_OK;
}

template <class T>
static ig_status launch(const ig_attention_launch *l, int ready) {
  return l->width == 32   ? launch_width<T, 32>(l, ready)
         : l->width == 64 ? launch_width<T, 64>(l, ready)
                          : launch_width<T, 128>(l, ready);
}
#endif
