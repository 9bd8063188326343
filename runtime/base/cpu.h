// What this process may use: threads, memory, instruction set, clock. Rule: limits of affinity and cgroups count, not
// what the machine has; whatever cannot be read is taken as unlimited, never as an error.
#ifndef IG_BASE_CPU_H
#define IG_BASE_CPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

// Processors allowed by affinity and by the cgroup's quota (rounded up), at least 1. OMP_NUM_THREADS is not consulted.
int ig_cpu_threads(void);
// Physical memory or the cgroup's limit, whichever is lower, in bytes.
uint64_t ig_memory_limit(void);
// Resident bytes of this process, now and at their peak; 0 where the system does not tell.
uint64_t ig_memory_resident(void);
uint64_t ig_memory_peak(void);
// Bytes of the heap in use by this process; 0 where the C library does not tell.
uint64_t ig_memory_heap(void);
// "AMD EPYC 7763 64-Core Processor", or the architecture's name; cut to n bytes.
void ig_cpu_model(char *out, size_t n);
// Monotonic nanoseconds, for durations only.
uint64_t ig_now_ns(void);

// Limits of the cgroups (v1 and v2) listed in the file `membership` (/proc/self/cgroup) under the mount `root`
// (/sys/fs/cgroup), each the lowest from the group up to the root. INFINITY and UINT64_MAX: none.
typedef struct ig_cgroup_limits {
  double cpus;
  uint64_t memory_bytes;
} ig_cgroup_limits;
ig_cgroup_limits ig_cgroup_read(const char *membership, const char *root);

// Instruction sets, each containing those before it; of other architectures only the base.
typedef enum ig_isa {
  IG_ISA_BASE = 0,
  IG_ISA_AVX2,    // with FMA and F16C
  IG_ISA_AVX512,  // F, BW, DQ, VL
  IG_ISA_AVX512_BF16,
  IG_ISA_AMX,  // tiles and bf16 products
  IG_N_ISAS
} ig_isa;
// The highest that processor and operating system support.
ig_isa ig_isa_detect(void);
const char *ig_isa_name(ig_isa isa);  // "base", "avx2", "avx512", "avx512_bf16", "amx"
static inline bool ig_isa_has_bf16(ig_isa isa) { return isa >= IG_ISA_AVX512_BF16; }
// Value of the key isa=: a name caps what was detected, "auto" does not. IG_ERR_USAGE for other words.
ig_status ig_isa_parse(const char *text, ig_isa *out);

#ifdef __cplusplus
}
#endif
#endif
