// The parts of a sum over the batch (ig_batch_parts), as kernels cut them.
#ifndef IG_KERNELS_CUDA_PARTS_CUH
#define IG_KERNELS_CUDA_PARTS_CUH

#include "kernels/cuda_common/cuda_gemm.h"

// First term of part `part`; one past the last part: the number of terms.
static __device__ __forceinline__ int ig_part_begin(const ig_batch_parts &p, int part) {
  const int shard = part >> p.split, inside = part & ((1 << p.split) - 1);
  if (shard == p.shards)
    return p.samples * p.pixels;
  const long long begin = (long long)shard * p.samples / p.shards * p.pixels,
                  end = (long long)(shard + 1) * p.samples / p.shards * p.pixels;
  return (int)(begin + ((end - begin) * inside >> p.split));
}
#endif
