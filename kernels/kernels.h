// The two tables of the kernel library, generated from ops.def, and the macros its sources share.
#ifndef IG_KERNELS_KERNELS_H
#define IG_KERNELS_KERNELS_H

#include <stdio.h>

#include "runtime/graph/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

extern const ig_op *const *const ig_op_lists[];   // NULL-terminated lists of NULL-terminated lists of rows
extern const ig_impl *const ig_cpu_impl_lists[];  // NULL-terminated; each list ends with name == NULL

// The answer of a `supports`: yes, where there is no reason against it.
static inline bool ig_no_reason(const char *reason, char *why, size_t why_bytes) {
  if (reason)
    snprintf(why, why_bytes, "%s", reason);
  return !reason;
}

// Versions of the libraries behind the implementations: "oneDNN 2.6.3". Static text.
const char *ig_cpu_libraries(void);

#ifdef __cplusplus
}
#endif

// In <op>_cpu.c, compiled once an instruction set: IG_IMPLS(relu_cpu) = {...}; isa field IG_ISA_LEVEL.
#define IG_CONCAT2(a, b) a##b
#define IG_CONCAT(a, b)  IG_CONCAT2(a, b)
#ifdef IG_ISA
#define IG_IMPLS(stem)                                     \
  extern const ig_impl IG_CONCAT(stem##_impls_, IG_ISA)[]; \
  const ig_impl IG_CONCAT(stem##_impls_, IG_ISA)[]
#if defined(IG_ISA_avx512_bf16)
#define IG_ISA_LEVEL IG_ISA_AVX512_BF16
#elif defined(IG_ISA_avx512)
#define IG_ISA_LEVEL IG_ISA_AVX512
#elif defined(IG_ISA_avx2)
#define IG_ISA_LEVEL IG_ISA_AVX2
#else
#define IG_ISA_LEVEL IG_ISA_BASE
#endif
#else
#define IG_IMPLS(stem)                 \
  extern const ig_impl stem##_impls[]; \
  const ig_impl stem##_impls[]
#endif
// In <op>.c: IG_OPS(conv2d) = {&conv2d, &conv2d_bwd_data, &conv2d_bwd_weights, 0};
#define IG_OPS(folder)                         \
  extern const ig_op *const ig_ops_##folder[]; \
  const ig_op *const ig_ops_##folder[]

#endif
