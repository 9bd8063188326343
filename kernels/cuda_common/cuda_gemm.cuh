// The matrix-product kernel behind every fully connected layer and convolution, forward and both gradients. Rule: one
// main loop; a pass decides only where a 16-byte chunk of an operand comes from and where a row of the result goes.
//
// A block of 128 threads owns a tile of the result (128x128, 128x64 or 64x64) of one superblock of groups, and with it
// one phase of the strides (data gradient) or one part of the batch (weight gradient); its four warps own the quarters.
// A stage holds 64 bytes of terms (32 of 16 bits, 16 fp32) of each row of both operands; four stages, three of them on
// their way by cp.async, one barrier a stage. A thread copies the same chunk position of every 32nd row, so that taps
// are divided out once a stage. Fragments by ldmatrix (transposed where an operand lies across its terms; single words
// for tf32), a step ahead of the products. Results pass through shared memory, 16 rows of a warp at a time, and leave
// as 16 or 32 bytes a lane: forward with bias, residual (read where it is added, 16 or 32 bytes a lane) and ReLU, then
// rounded once. fp32 without tf32: FFMA, 8x8 results a thread, 128x64 tiles.
//
// Any size: rows, columns and terms beyond the end are filled with zeros (nothing is read for them) and not stored.
// Deterministic: the order of every sum is the loop's; no atomics; a cut sum is added up by cuda_conv.cu.
//
// Global bytes: to shared memory, terms x tiles x (rows + columns) x element (zeros excluded), served by L2; from DRAM
// each operand once (the residual too) and the result once while what runs at a time fits into L2 (tiles side by side
// share their rows).
// FLOPs: 2 x rows x columns x terms, tiles whole. Shared memory (bytes, all dynamic) and registers (ptxas, sm_90a):
//   tile 128x128: 65,536, 236 to 254; 128x64: 49,152, 182 to 226 (FFMA 161 to 254); 64x64: 32,768, 108 to 122; no
//   spills (sm_75: 4 bytes in the data gradient's 128x128).
// Blocks an SM of an H200 holds: 2 (registers), 2, 4. Bank conflicts: none in the main loop. Rows of 64 bytes change
// the places of their chunks with row / 2 % 4, wider ones with row % 8 (32-bit: 2 (row % 4), for loads of single words
// of 4 rows x 8 columns), so that 8 lanes of a copy, the 8 rows of a matrix of ldmatrix, and a warp's words each touch
// all banks once; the slab's rows are 8 words apart from a multiple of 32.
//
// PREDICTION for one H200, never measured: mma.sync reaches about 62 % of wgmma's rate on this chip. A warp's step of
// the 128x128 tile loads 4 KiB of fragments for 32 products of 16x8x16: 256 clocks of shared memory a stage for a
// block, 128 more for its copies, against 396 clocks of products at that rate, and about as many issue slots. So 40 to
// 45 % of 989 TFLOP/s (bf16, fp16) with 128x128 tiles, 30 % with 128x64, 20 % with 64x64; tf32 half of the 128x64's;
// FFMA 55 % of 67 TFLOP/s, for it reads 16 128-bit words of shared memory for 256 FFMA.
#include "kernels/cuda_common/cuda_gemm.h"
#include "kernels/cuda_common/cuda_mma.cuh"
#include "kernels/cuda_common/cuda_parts.cuh"

static __device__ __forceinline__ int ig_divide(int n, const ig_div &by) {
  return (int)((__umulhi((unsigned)n, by.mul) >> by.shift) + ((unsigned)n & by.whole));
}

// tap / count; exact below 2^20, and there are fewer taps.
static __device__ __forceinline__ int tap_row(int tap, float inverse) { return (int)((tap + 0.5f) * inverse); }

// The taps of one direction that reach the phase (pixels i * step + phase) of an image in the data gradient.
struct tap_phase {
  int first, every, count;  // tap = first + every * index, index < count
  int offset, dilation;     // pixel i of the phase reads i + offset + index * dilation
  int length;               // pixels of the phase
};
static __device__ __forceinline__ tap_phase tap_phase_of(int phase, int step, int offset, int dilation, int taps,
                                                         int length) {
  tap_phase p;
  p.every = 1;
  while (p.every * dilation % step)
    p.every++;
  p.first = 0;
  while (p.first < p.every && (phase - offset - p.first * dilation) % step)
    p.first++;
  p.count = p.first < p.every && p.first < taps ? (taps - 1 - p.first) / p.every + 1 : 0;
  p.offset = p.count ? (phase - offset - p.first * dilation) / step : 0;
  p.dilation = -(p.every * dilation / step);
  p.length = (length - phase + step - 1) / step;
  return p;
}

template <class T, ig_gemm_math MATH, ig_conv_pass PASS, int BM, int BN, bool NARROW>
static __global__ void __launch_bounds__(IG_GEMM_THREADS, 2) gemm_kernel(const ig_gemm_args p) {
  constexpr int V = 16 / sizeof(T), BK = 64 / sizeof(T), STAGES = IG_GEMM_STAGES;
  constexpr bool FOUR = sizeof(T) == 4, A_ACROSS = PASS == IG_PASS_WEIGHTS, B_ACROSS = PASS != IG_PASS_FORWARD;
  constexpr int A_BYTES = BM * 64, STAGE_BYTES = (BM + BN) * 64, PARTS = NARROW ? 2 : 1;
  constexpr int A_ROWS = BM / 32, B_ROWS = BN / 32;  // chunks a thread copies of a stage
  constexpr int A_CHUNKS = BM * (int)sizeof(T) / 16, B_CHUNKS = BN * (int)sizeof(T) / 16;  // of a row that lies across
  extern __shared__ __align__(128) unsigned char shared[];
  const uint32_t base = ig_shared_address(shared);
  const int t = threadIdx.x, lane = t % IG_WARP, warp = t / IG_WARP;
  const int m0 = blockIdx.x / p.tiles_n * BM, n0 = blockIdx.x % p.tiles_n * BN, block = blockIdx.y;
  const T *const a = (const T *)p.a, *const b = (const T *)p.b;

  // ---- what this block sums, and the pixels it reads ----
  tap_phase ph = {0, 1, p.taps_h, p.offset_h, p.dilation_h, p.rows},
            pw = {0, 1, p.taps_w, p.offset_w, p.dilation_w, p.columns};
  int M = p.m, k_begin = 0, k_end = p.taps_h * p.taps_w * p.run.d, step_h = p.step_h, step_w = p.step_w;
  if (PASS == IG_PASS_DATA) {
    ph = tap_phase_of(blockIdx.z / p.step_w, p.step_h, p.offset_h, p.dilation_h, p.taps_h, p.rows);
    pw = tap_phase_of(blockIdx.z % p.step_w, p.step_w, p.offset_w, p.dilation_w, p.taps_w, p.columns);
    M = p.samples * ph.length * pw.length;
    if (m0 >= M)
      return;
    k_end = ph.count * pw.count * p.run.d;
    step_h = step_w = 1;
  }
  if (PASS == IG_PASS_WEIGHTS) {
    k_begin = ig_part_begin(p.parts, blockIdx.z);
    k_end = ig_part_begin(p.parts, blockIdx.z + 1);
  }
  // Data: elements from w's start to the first tap of this superblock, to the next row of taps, to the next tap.
  const int w_first = block * p.w_step * p.w_pitch + (ph.first * p.taps_w + pw.first) * p.w_run,
            w_row = ph.every * p.taps_w * p.w_run, w_column = pw.every * p.w_run;
  const float inverse = 1.0f / max(pw.count, 1);                                 // data: of taps in a row of them
  const int channel = block * p.run.d, channels = min(p.run.d, p.ld - channel);  // of the gathered image
  // Rows or columns of the result that there are in this superblock; output channels with weights of their own.
  const int out_count = min(p.out_step, p.out_total - block * p.out_step);
  const int w_count = min(p.w_step, p.w_total - block * p.w_step);

  // Row i of this thread of the gathered operand where its rows are pixels: the pixel its first tap reads.
  int row_h[A_ROWS], row_w[A_ROWS], row_at[A_ROWS];
  if (PASS != IG_PASS_WEIGHTS) {
#pragma unroll
    for (int i = 0; i < A_ROWS; i++) {
      const int m = m0 + t / 4 + 32 * i, pixels = ph.length * pw.length, n = m / pixels, left = m - n * pixels,
                y = left / pw.length, x = left - y * pw.length;
      row_h[i] = m < M ? y * step_h + ph.offset : -(1 << 30);
      row_w[i] = x * step_w + pw.offset;
      row_at[i] = m < M ? ((n * p.height + row_h[i]) * p.width + row_w[i]) * p.ld + channel : 0;
    }
  }
  // Columns of this thread where they are (tap, channel): where they read beside the pixel's first tap.
  int column_h[PARTS], column_w[PARTS], column_at[PARTS];
  bool column_in[PARTS];
  if (PASS == IG_PASS_WEIGHTS) {
#pragma unroll
    for (int i = 0; i < PARTS; i++) {
      const int n = n0 + t % B_CHUNKS * V + i * (V / PARTS), tap = ig_divide(n, p.run), c = n - tap * p.run.d,
                r = ig_divide(tap, p.taps);
      column_h[i] = r * p.dilation_h + p.offset_h;
      column_w[i] = (tap - r * p.taps.d) * p.dilation_w + p.offset_w;
      column_at[i] = (column_h[i] * p.width + column_w[i]) * p.ld + c + channel;
      column_in[i] = n < p.n && c < channels;
    }
  }

  // ---- one stage: terms k0 .. k0 + BK of both operands ----
  auto load = [&](int stage, int k0) {
    const uint32_t to_a = base + stage * STAGE_BYTES, to_b = to_a + A_BYTES;
    if (PASS != IG_PASS_WEIGHTS) {
#pragma unroll
      for (int half = 0; half < PARTS; half++) {
        const int k = k0 + t % 4 * V + half * (V / PARTS), tap = ig_divide(k, p.run), c = k - tap * p.run.d,
                  r = PASS == IG_PASS_DATA ? tap_row(tap, inverse) : ig_divide(tap, p.taps), s = tap - r * pw.count,
                  h = r * ph.dilation, w = s * pw.dilation, at = (h * p.width + w) * p.ld + c;
        const bool in = k < k_end && c < channels;
#pragma unroll
        for (int i = 0; i < A_ROWS; i++) {
          const bool valid =
              in && (unsigned)(row_h[i] + h) < (unsigned)p.height && (unsigned)(row_w[i] + w) < (unsigned)p.width;
          ig_copy_async<16 / PARTS>(to_a + ig_tile64(t / 4 + 32 * i, t % 4) + half * 8,
                                    a + (uint32_t)(valid ? row_at[i] + at : 0), valid);
        }
      }
    } else {
      const int m = m0 + t % A_CHUNKS * V;
      const bool in = m < p.dy_run && m + block * p.dy_run < p.dy_ld;
#pragma unroll
      for (int i = 0; i < A_ROWS; i++) {
        const int row = t / A_CHUNKS + 128 / A_CHUNKS * i, k = k0 + row;
        const bool valid = in && k < k_end;
        ig_copy_async<16>(to_a + ig_tile_wide<A_CHUNKS * 16, FOUR>(row, t % A_CHUNKS),
                          a + (uint32_t)(valid ? k * p.dy_ld + block * p.dy_run + m : 0), valid);
      }
    }
    if (PASS == IG_PASS_FORWARD) {
      const int k = k0 + t % 4 * V;
#pragma unroll
      for (int i = 0; i < B_ROWS; i++) {
        const int row = t / 4 + 32 * i, n = n0 + row;
        const bool valid = n < w_count && k < k_end;
        ig_copy_async<16>(to_b + ig_tile64(row, t % 4),
                          b + (uint32_t)(valid ? (block * p.w_step + n) * p.w_pitch + k : 0), valid);
      }
    } else {
#pragma unroll
      for (int i = 0; i < B_ROWS; i++) {
        const int row = t / B_CHUNKS + 128 / B_CHUNKS * i, k = k0 + row;
        const uint32_t to = to_b + ig_tile_wide<B_CHUNKS * 16, FOUR>(row, t % B_CHUNKS);
        if (PASS == IG_PASS_DATA) {
          const int tap = ig_divide(k, p.run), ko = k - tap * p.run.d, r = tap_row(tap, inverse),
                    s = tap - r * pw.count, n = n0 + t % B_CHUNKS * V;
          const bool valid = k < k_end && ko < w_count && n < p.w_run;
          ig_copy_async<16>(to, b + (uint32_t)(valid ? w_first + ko * p.w_pitch + r * w_row + s * w_column + n : 0),
                            valid);
        } else {
          const int n = ig_divide(k, p.image), left = k - n * p.image.d, y = ig_divide(left, p.row), h = y * p.step_h,
                    w = (left - y * p.row.d) * p.step_w, at = ((n * p.height + h) * p.width + w) * p.ld;
#pragma unroll
          for (int half = 0; half < PARTS; half++) {
            const bool valid = k < k_end && column_in[half] && (unsigned)(h + column_h[half]) < (unsigned)p.height &&
                               (unsigned)(w + column_w[half]) < (unsigned)p.width;
            ig_copy_async<16 / PARTS>(to + half * 8, b + (uint32_t)(valid ? at + column_at[half] : 0), valid);
          }
        }
      }
    }
  };

  // ---- main loop: STAGES - 1 stages on their way; each stage's place is free again after the barrier behind it ----
  const int n_tiles = k_end > k_begin ? (k_end - k_begin + BK - 1) / BK : 0;
#pragma unroll
  for (int i = 0; i < STAGES - 1; i++) {
    if (i < n_tiles)
      load(i, k_begin + i * BK);
    ig_copy_commit();
  }
  ig_copy_wait<STAGES - 2>();
  __syncthreads();

  // Results by slabs of the warp: ROWS rows by COLUMNS columns, SLABS of them; slab i's row r is row_of(i, r).
  constexpr int WM = BM / 2, WN = BN / 2, MT = WM / 16, NT = WN / 8;
  constexpr bool TENSOR = MATH != IG_MATH_FFMA;
  constexpr int SLABS = TENSOR ? MT : 8, ROWS = TENSOR ? 16 : 4, COLUMNS = TENSOR ? WN : BN;
  const int wm = TENSOR ? warp / 2 * WM : warp * 4, wn = TENSOR ? warp % 2 * WN : 0, g = lane / 4, q = lane % 4;
  float c[SLABS][TENSOR ? NT : BN / 8][TENSOR ? 4 : 1];
#pragma unroll
  for (int i = 0; i < SLABS; i++)
#pragma unroll
    for (int j = 0; j < (int)(sizeof c[0] / sizeof c[0][0]); j++)
#pragma unroll
      for (int e = 0; e < (TENSOR ? 4 : 1); e++)
        c[i][j][e] = 0;

  if constexpr (TENSOR) {
    // Fragments of a step (32 bytes of each row's terms): those of a are loaded a step ahead into the other half, those
    // of b into their own place as soon as the products of this step are through with them.
    uint32_t fa[2][MT][4], fb[NT][2];
    auto fragments_a = [&](uint32_t(&to)[MT][4], int stage, int step) {
#pragma unroll
      for (int i = 0; i < MT; i++) {
        if constexpr (!A_ACROSS)
          ig_ldmatrix(to[i], base + stage * STAGE_BYTES + ig_tile64(wm + i * 16 + lane % 16, step * 2 + lane / 16));
        else if constexpr (!FOUR)
          ig_ldmatrix_trans(to[i], base + stage * STAGE_BYTES +
                                       ig_tile_wide<BM * 2, false>(step * 16 + lane / 16 * 8 + lane % 8,
                                                                   (wm + i * 16) / 8 + lane / 8 % 2));
        else {
#pragma unroll
          for (int e = 0; e < 4; e++) {
            const int m = wm + i * 16 + g + 8 * (e & 1);
            to[i][e] = *(const uint32_t *)(shared + stage * STAGE_BYTES +
                                           ig_tile_wide<BM * 4, true>(step * 8 + q + 4 * (e / 2), m / 4) + m % 4 * 4);
          }
        }
        if constexpr (MATH == IG_MATH_TF32) {
#pragma unroll
          for (int e = 0; e < 4; e++)
            to[i][e] = ig_tf32(to[i][e]);
        }
      }
    };
    // Of columns j * 8 .. j * 8 + 15 of the warp.
    auto fragments_b = [&](int j, int stage, int step) {
      uint32_t two[4];
      if constexpr (!B_ACROSS)
        ig_ldmatrix(two, base + stage * STAGE_BYTES + A_BYTES +
                             ig_tile64(wn + j * 8 + lane / 16 * 8 + lane % 8, step * 2 + lane / 8 % 2));
      else if constexpr (!FOUR)
        ig_ldmatrix_trans(two, base + stage * STAGE_BYTES + A_BYTES +
                                   ig_tile_wide<BN * 2, false>(step * 16 + lane / 8 % 2 * 8 + lane % 8,
                                                               (wn + j * 8) / 8 + lane / 16));
      else {
#pragma unroll
        for (int e = 0; e < 4; e++) {
          const int n = wn + j * 8 + g + 8 * (e / 2);
          two[e] = *(const uint32_t *)(shared + stage * STAGE_BYTES + A_BYTES +
                                       ig_tile_wide<BN * 4, true>(step * 8 + q + 4 * (e & 1), n / 4) + n % 4 * 4);
        }
      }
#pragma unroll
      for (int e = 0; e < 4; e++)
        fb[j + e / 2][e & 1] = MATH == IG_MATH_TF32 ? ig_tf32(two[e]) : two[e];
    };
    if (n_tiles) {
      fragments_a(fa[0], 0, 0);
#pragma unroll
      for (int j = 0; j < NT; j += 2)
        fragments_b(j, 0, 0);
    }
    for (int tile = 0, stage = 0; tile < n_tiles; tile++) {
#pragma unroll
      for (int step = 0; step < 2; step++) {
        if (step) {
          ig_copy_wait<STAGES - 2>();
          __syncthreads();
          if (tile + 1 < n_tiles)  // behind the last one what is loaded is not used
            stage = (stage + 1) & (STAGES - 1);
        }
        fragments_a(fa[step ^ 1], stage, step ^ 1);
        if (!step) {
          if (tile + STAGES - 1 < n_tiles)
            load((stage + STAGES - 1) & (STAGES - 1), k_begin + (tile + STAGES - 1) * BK);
          ig_copy_commit();
        }
#pragma unroll
        for (int j = 0; j < NT; j++) {
#pragma unroll
          for (int i = 0; i < MT; i++)
            if constexpr (MATH == IG_MATH_TF32)
              ig_mma_tf32(c[i][j], fa[step][i], fb[j]);
            else
              ig_mma16<T>(c[i][j], fa[step][i], fb[j]);
          if (j % 2)
            fragments_b(j - 1, stage, step ^ 1);
        }
      }
    }
  } else {
    // A thread owns 8x8 results: rows y + 16 i (across: 4 y + 64 (i / 4) + i % 4), columns x + 8 j (4 x + 32 (j / 4) +
    // j % 4).
    const int x = lane % 8, y = warp * 4 + lane / 8;
    for (int tile = 0, stage = 0; tile < n_tiles; tile++) {
      if (tile + STAGES - 1 < n_tiles)
        load((stage + STAGES - 1) & (STAGES - 1), k_begin + (tile + STAGES - 1) * BK);
      ig_copy_commit();
      const unsigned char *from_a = shared + stage * STAGE_BYTES, *from_b = from_a + A_BYTES;
#pragma unroll
      for (int chunk = 0; chunk < 4; chunk++) {
        float4 rows[8], columns[8];
        // Chunk of four terms of a row each, or four neighbours of one term each.
#pragma unroll
        for (int i = 0; i < 8; i++)
          rows[i] = *(const float4 *)(from_a + (A_ACROSS ? ig_tile_wide<BM * 4, true>(chunk * 4 + i / 2, y + i % 2 * 16)
                                                         : ig_tile64(y + 16 * i, chunk)));
#pragma unroll
        for (int j = 0; j < 8; j++)
          columns[j] =
              *(const float4 *)(from_b + (B_ACROSS ? ig_tile_wide<BN * 4, true>(chunk * 4 + j / 2, x + j % 2 * 8)
                                                   : ig_tile64(x + 8 * j, chunk)));
#pragma unroll
        for (int k = 0; k < 4; k++)
#pragma unroll
          for (int i = 0; i < 8; i++)
#pragma unroll
            for (int j = 0; j < 8; j++) {
              const float u = A_ACROSS ? (&rows[2 * k + i / 4].x)[i % 4] : (&rows[i].x)[k],
                          v = B_ACROSS ? (&columns[2 * k + j / 4].x)[j % 4] : (&columns[j].x)[k];
              c[i][j][0] = fmaf(u, v, c[i][j][0]);
            }
      }
      ig_copy_wait<STAGES - 2>();
      __syncthreads();
      stage = (stage + 1) & (STAGES - 1);
    }
  }

  // ---- results: each warp turns its slab in shared memory, so that a lane stores 8 neighbours ----
  constexpr int PITCH = COLUMNS + 8, LANES = COLUMNS / 8;
  ig_copy_wait<0>();
  __syncthreads();
  float *const slab = (float *)shared + warp * ROWS * PITCH;
#pragma unroll
  for (int i = 0; i < SLABS; i++) {
    if constexpr (TENSOR) {
#pragma unroll
      for (int j = 0; j < NT; j++)
#pragma unroll
        for (int e = 0; e < 2; e++)
          *(float2 *)(slab + (g + 8 * e) * PITCH + j * 8 + q * 2) = make_float2(c[i][j][2 * e], c[i][j][2 * e + 1]);
    } else {
#pragma unroll
      for (int j = 0; j < 8; j += B_ACROSS ? 4 : 1)
        if constexpr (B_ACROSS)
          *(float4 *)(slab + lane / 8 * PITCH + lane % 8 * 4 + j * 8) =
              make_float4(c[i][j][0], c[i][j + 1][0], c[i][j + 2][0], c[i][j + 3][0]);
        else
          slab[lane / 8 * PITCH + lane % 8 + 8 * j] = c[i][j][0];
    }
    __syncwarp();
#pragma unroll 1
    for (int from = 0; from < ROWS; from += IG_WARP / LANES) {
      const int r = from + lane / LANES, column = lane % LANES * 8, n = n0 + wn + column;
      const int m = m0 + (TENSOR ? wm + i * 16 + r : A_ACROSS ? (wm + r) * 4 + i / 4 * 64 + i % 4 : wm + r + 16 * i);
      const int columns = PASS == IG_PASS_WEIGHTS ? p.n : out_count;
      if (n >= columns || m >= (PASS == IG_PASS_WEIGHTS ? out_count : M))
        continue;
      float v[8];
      // Half of the lanes read their upper four first: 32 bytes from lane to lane are every second group of banks.
      const int upper = lane / 4 % 2;
      float half[2][4];
      ig_load<4>(half[0], slab + r * PITCH + column + 4 * upper);
      ig_load<4>(half[1], slab + r * PITCH + column + 4 - 4 * upper);
#pragma unroll
      for (int e = 0; e < 8; e++)
        v[e] = (e < 4) == upper ? half[1][e % 4] : half[0][e % 4];
      long long at;
      if (PASS == IG_PASS_FORWARD) {
        at = (long long)m * p.out_ld + block * p.out_step + n;
      } else if (PASS == IG_PASS_DATA) {
        const int pixels = ph.length * pw.length, sample = m / pixels, left = m - sample * pixels, y = left / pw.length,
                  h = y * p.step_h + blockIdx.z / p.step_w,
                  w = (left - y * pw.length) * p.step_w + blockIdx.z % p.step_w;
        at = ((long long)(sample * p.rows + h) * p.columns + w) * p.out_ld + block * p.out_step + n;
      } else {
        at = blockIdx.z * p.part_elements + (long long)(block * p.out_step + m) * p.out_ld + n;
      }
      const int count = min(8, columns - n);
      if (PASS == IG_PASS_FORWARD && p.bias)
        for (int e = 0; e < 8; e++)
          if (e < count)
            v[e] += p.bias[block * p.out_step + n + e];
      const bool whole = count == 8 && p.vector;
      if (PASS == IG_PASS_FORWARD && p.residual) {
        const T *const residual = (const T *)p.residual + at;  // read before this thread writes there
        if (whole) {
          float more[8];
          ig_load<8>(more, residual);
#pragma unroll
          for (int e = 0; e < 8; e++)
            v[e] += more[e];
        } else {
          for (int e = 0; e < 8; e++)
            if (e < count)
              v[e] += ig_up(residual[e]);
        }
      }
      if (PASS == IG_PASS_FORWARD && p.relu)
#pragma unroll
        for (int e = 0; e < 8; e++)
          v[e] = v[e] < 0 ? 0 : v[e];  // what is no number stays none
      if (PASS == IG_PASS_WEIGHTS || FOUR || p.wide_out) {
        if (whole)
          ig_store<8>((float *)p.out + at, v);
        else
          for (int e = 0; e < 8; e++)
            if (e < count)
              ((float *)p.out)[at + e] = v[e];
      } else {
        if (whole)
          ig_store<8>((T *)p.out + at, v);
        else
          for (int e = 0; e < 8; e++)
            if (e < count)
              ((T *)p.out)[at + e] = ig_down<T>(v[e]);
      }
    }
    __syncwarp();
  }
}

template <class T, ig_gemm_math MATH, ig_conv_pass PASS, int TILE, bool NARROW>
static ig_status gemm_launch(const ig_gemm_launch *l, int ready) {
  auto kernel = gemm_kernel<T, MATH, PASS, IG_GEMM_ROWS(TILE), IG_GEMM_COLUMNS(TILE), NARROW>;
  if (ready) {
    IG_CUDA(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, IG_GEMM_SHARED(TILE)));
    return IG_OK;
  }
  kernel<<<l->grid, IG_GEMM_THREADS, IG_GEMM_SHARED(TILE), l->stream>>>(l->args);
  IG_CUDA_LAUNCHED();
  return IG_OK;
}
