// What the processor can compute at best: the 100 % of `mfu` and of every roofline. Rule: measured, not looked up; the
// best of several tries counts, since everything else that runs can only slow one down.
#ifndef IG_DEVICE_PEAK_H
#define IG_DEVICE_PEAK_H

#include "runtime/device/device.h"

#ifdef __cplusplus
extern "C" {
#endif

// Operations a second (a multiply-add is two) of `threads` threads in registers alone, by the widest instructions that
// `isa` allows; bf16: products of bf16 pairs into fp32. About 15 ms. 0 where the processor has no such instruction.
double ig_cpu_peak_flops(ig_isa isa, int threads, bool bf16);

// Bytes a second, read and written, of copies larger than the caches. About 50 ms.
double ig_cpu_copy_rate(int threads);

// Operations of a CPU device, remembered in the JSON file `path` (NULL: not) under processor, instruction set and
// threads: the largest value ever measured there, since a busy moment shows too little. The file is a convenience:
// where it cannot be read or written the measured value is returned.
double ig_device_peak_flops(const ig_device_caps *caps, bool bf16, const char *path);

#ifdef __cplusplus
}
#endif
#endif
