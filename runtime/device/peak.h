// What a processor can compute at best: the 100 % of `mfu` and of every roofline. Rule: a CPU is measured, not looked
// up; the best of several tries counts, since everything else that runs can only slow one down.
#ifndef IG_DEVICE_PEAK_H
#define IG_DEVICE_PEAK_H

#include "runtime/device/device.h"

#ifdef __cplusplus
extern "C" {
#endif

// Operations a second (a multiply-add is two) of `threads` threads in registers alone, by the widest instructions that
// `isa` allows; bf16: products of bf16 pairs into fp32. About 15 ms. 0 where the processor has no such instruction.
double ig_cpu_peak_flops(ig_isa isa, int threads, bool bf16);

// Whether products of bf16 pairs are done faster than those of fp32, by registers alone. Zen 4 and 5 do 1.9 times as
// many, Intel's AVX512_BF16 without tiles half as many. Measured once for each isa, about 2 ms on one thread: with both
// loops in turn and the best of each, so that a busy moment does not decide. False where there are no such products.
bool ig_cpu_bf16_pays(ig_isa isa);

// Bytes a second, read and written, of copies larger than the caches. About 50 ms.
double ig_cpu_copy_rate(int threads);

// Operations a second of a GPU, dense products summed in fp32; narrow: of bf16 or fp16, else of fp32 (tf32 where the
// device's fp32 products may be). What its architecture does in a clock, times its processors, times its highest clock:
// looked up, so that it is an upper bound that a GPU at its power limit does not hold. 0: an unknown architecture.
double ig_cuda_peak_flops(const ig_device_caps *caps, bool narrow);

// Bytes a second, read and written, of copies in the device's memory that its caches do not hold.
ig_status ig_device_copy_rate(ig_device *dev, double *out);

// Operations of a device; of a CPU, remembered in the JSON file `path` (NULL: not) under processor, instruction set and
// threads: the largest value ever measured there, since a busy moment shows too little. The file is a convenience:
// where it cannot be read or written the measured value is returned.
double ig_device_peak_flops(const ig_device_caps *caps, bool narrow, const char *path);

#ifdef __cplusplus
}
#endif
#endif
