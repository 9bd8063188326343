// What the matrix-product kernel is told (cuda_gemm.cuh), by those that plan it (cuda_conv.cu). Not for other files.
#ifndef IG_KERNELS_CUDA_GEMM_H
#define IG_KERNELS_CUDA_GEMM_H

#include <cuda_runtime_api.h>

#include "runtime/base/dtype.h"
#include "runtime/base/status.h"

typedef enum ig_conv_pass { IG_PASS_FORWARD, IG_PASS_DATA, IG_PASS_WEIGHTS } ig_conv_pass;
typedef enum ig_gemm_math { IG_MATH_FFMA, IG_MATH_TF32, IG_MATH_BF16, IG_MATH_F16 } ig_gemm_math;

// Division by d of numbers in [0, 2^31): ((n * mul >> 32) >> shift) + (n & whole); whole: all bits where d is 1.
typedef struct ig_div {
  unsigned mul, shift, whole;
  int d;
} ig_div;

// The sum's range over the batch, cut into shards and each shard into 1 << split parts, by its own length.
typedef struct ig_batch_parts {
  int samples, pixels;  // the whole sum has samples * pixels terms
  int shards, split;
} ig_batch_parts;

// A convolution as a matrix product, operands as cuda_conv.cu lays them: channels per superblock and per pixel are
// multiples of 16 bytes (NARROW: 8), padding is zero. Forward: y[pixel, k] = sum over (tap, c) of x w. Data: dx[pixel,
// c] = sum over (tap, k) of dy w. Weights: dw[k, (tap, c)] = sum over pixels of dy x.
typedef struct ig_gemm_args {
  const void *a, *b;  // x, w; dy, w; dy, x
  void *out;
  const float *bias;     // forward, or NULL
  const void *residual;  // forward, or NULL: laid as the result and of its type, added before the ReLU; may be `out`
  int relu;              // forward
  int wide_out, vector;  // results are fp32; rows of the result begin at multiples of 8 elements
  int m, n;              // rows and columns of the result of a superblock (data: rows are each phase's own)
  int tiles_n;           // tiles side by side
  int out_ld, out_step;  // elements between rows of the result; its columns (weights: rows) of a superblock
  int out_total;         // columns (weights: rows) of the result that there are, all superblocks
  // The gathered image (forward, weights: x; data: dy): its pixels, elements a pixel, channels of a superblock.
  int height, width, ld;
  ig_div run;
  // Pixel (i, j) of the other image reads pixel i * step + offset + tap * dilation. Data: the forward's.
  int samples, rows, columns;  // the other image
  ig_div image, row;           // rows * columns, columns (not data)
  int step_h, step_w, offset_h, offset_w, dilation_h, dilation_w;
  int taps_h, taps_w;
  ig_div taps;  // taps_w
  // w: elements of an output channel, channels of a superblock that are stored (data: of a tap), all output channels
  int w_pitch, w_step, w_run, w_total;
  int dy_ld, dy_run;        // weights: elements a pixel of dy, those of a superblock
  ig_batch_parts parts;     // weights
  long long part_elements;  // weights: elements of one part's result
} ig_gemm_args;

typedef struct ig_gemm_launch {
  ig_conv_pass pass;
  ig_gemm_math math;
  int tile, narrow;
  ig_gemm_args args;
  dim3 grid;
  cudaStream_t stream;
} ig_gemm_launch;

enum { IG_GEMM_THREADS = 128, IG_GEMM_STAGES = 4 };
// Tiles of the result: 0 is 128x128, 1 is 128x64, 2 is 64x64.
#define IG_GEMM_ROWS(tile)    ((tile) == 2 ? 64 : 128)
#define IG_GEMM_COLUMNS(tile) ((tile) == 0 ? 128 : 64)
#define IG_GEMM_SHARED(tile)  (IG_GEMM_STAGES * 64 * (IG_GEMM_ROWS(tile) + IG_GEMM_COLUMNS(tile)))  // bytes

#ifdef __cplusplus
extern "C" {
#endif
// One a file of instances. ready: lets the kernel have its shared memory (once, while planning); else launches it.
ig_status ig_gemm_f32(const ig_gemm_launch *l, int ready);
ig_status ig_gemm_bf16(const ig_gemm_launch *l, int ready);
ig_status ig_gemm_f16(const ig_gemm_launch *l, int ready);
#ifdef __cplusplus
}
#endif
#endif
