// The CUDA simulator's own interface: what a test asks of the fake runtime beyond CUDA's calls. Rule: plain C, found by
// dlsym too, so that a test reaches it in a library that the real program loaded (INGOT_CUDA_LIBRARY).
//
// Environment (read when the library is loaded): INGOT_SIM_CHECKS=1 turns the checks on, INGOT_SIM_THREADS=n sets the
// threads that run the blocks of a launch (default 2), INGOT_SIM_MEMORY=bytes the device's memory (default 16 GiB),
// INGOT_SIM_LIMIT=n the warp instructions a block may take before it counts as hanging (default 200 million),
// INGOT_SIM_FAIL=function:n:error[:on] fails calls like ig_sim_fail, INGOT_SIM_COUNT=FILE writes the counters of all
// kernels to FILE (- = standard error), INGOT_SIM_LEAKS=1 looks for leaks. Reports and leaks are written to standard
// error when the library is unloaded and end the process with status 86.
#pragma once
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

typedef enum ig_sim_kind {
  IG_SIM_BOUNDS,   // outside of an allocation, an object or an allowed range; freed memory
  IG_SIM_ALIGN,    // address no multiple of the access
  IG_SIM_UNINIT,   // read of memory that nothing has written
  IG_SIM_RACE,     // two accesses, one a write, that no synchronisation orders
  IG_SIM_DIVERGE,  // threads of a block at different barriers
  IG_SIM_SYNC,     // wrong use of a warp operation, cp.async, mbarrier
  IG_SIM_HANG,     // deadlock, or the instruction limit
  IG_SIM_FAULT,    // trap, assert, an instruction that the simulator does not know
  IG_SIM_STREAM,   // two streams, or a stream and the host, not ordered
  IG_SIM_KINDS
} ig_sim_kind;

typedef struct ig_sim_counts {
  uint64_t launches, blocks, instructions;              // warp instructions
  uint64_t read_bytes, write_bytes;                     // global memory: sum over lanes
  uint64_t read_unique, write_unique;                   // distinct 32-byte sectors a launch touches, in bytes
  uint64_t read_requests, read_sectors;                 // warp requests and the 32-byte sectors they ask for
  uint64_t write_requests, write_sectors;               // (coalesced 4-byte access: 4 sectors a request)
  uint64_t atomics;                                     // lanes
  uint64_t shared_bytes, shared_requests, shared_ways;  // ways: passes over the banks; ways = requests is conflict-free
  uint64_t mma, mma_flops;                              // warp instructions; 2 m n k each
  uint64_t barriers;                                    // warp arrivals
} ig_sim_counts;

// Checks (off: bounds and alignment of global memory are always looked at, nothing else).
void ig_sim_checks(int on);
void ig_sim_threads(int n);
void ig_sim_limit(uint64_t instructions);  // of a block, before it counts as hanging; 0 = the default
// Reports since the last clear, in a fixed order. text lives until the next clear.
int ig_sim_reports(void);
ig_sim_kind ig_sim_report_kind(int k);
const char *ig_sim_report_text(int k);
const char *ig_sim_kind_name(ig_sim_kind kind);
void ig_sim_clear(void);

// Counters of a kernel (mangled name, or any part of it; NULL = all) since the last reset. False: never launched.
int ig_sim_count(const char *kernel, ig_sim_counts *out);
void ig_sim_count_reset(void);
// Names of the kernels that were launched since the last reset, in order of first launch; NULL after the last.
const char *ig_sim_launched(int k);

// Bounds inside an arena: while any range is allowed, kernels may touch only these.
enum { IG_SIM_READ = 1, IG_SIM_WRITE = 2 };
void ig_sim_allow(const void *device, size_t bytes, int access);
void ig_sim_allow_clear(void);
// The bytes count as never written from now on (and are filled with 0xff).
void ig_sim_undefine(void *device, size_t bytes);

// Failure injection: the n-th call (1 = the next) of `function` ("*" = any that can fail) returns `error` and does
// nothing; persistent: every later one too. NULL ends it.
void ig_sim_fail(const char *function, int n, int error, int persistent);
int ig_sim_failed(void);                      // calls failed since ig_sim_fail
uint64_t ig_sim_calls(const char *function);  // calls so far; "*" = all
const char *ig_sim_last_call(void);           // the function called last

// Copies from the host to the device so far, whose source was page-locked, or was not.
uint64_t ig_sim_copies(int pinned);
// on: every operation runs as soon as it is enqueued, as if the host waited for each. Off: when something waits for it.
void ig_sim_eager(int on);

// What is not freed: device and pinned memory, streams, events, graphs. text (may be NULL) gets a line each.
int ig_sim_leaks(char *text, size_t size);
// Forgets sticky errors, streams, memory: a fresh device (all handles become invalid).
void ig_sim_reset(void);

// All kernels of the library, by name (mangled), each once; NULL after the last.
const char *ig_sim_kernel(int k);

// Mutants of a kernel's PTX. n = ig_sim_mutants(kernel) of them; ig_sim_mutate(kernel, k) makes k the kernel's code
// until ig_sim_mutate(NULL, 0). ig_sim_mutant_text says what k changes ("line 12: bar.sync dropped").
// ig_sim_mutant_ran: whether the changed instruction was executed since ig_sim_mutate.
int ig_sim_mutants(const char *kernel);
int ig_sim_mutate(const char *kernel, int k);
int ig_sim_mutant_text(const char *kernel, int k, char *text, size_t size);
int ig_sim_mutant_ran(void);

// Parses all kernels; the number of instructions that the simulator does not know, listed in text.
int ig_sim_unknown(char *text, size_t size);

#ifdef __cplusplus
}
#endif
