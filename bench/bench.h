// ingot-bench: measures kernels, whole steps and the loader, beside rivals where they are installed. Rule: what is
// timed runs through the same graph, plan and executor as training; every figure stands in a row of the answer.
#ifndef IG_BENCH_BENCH_H
#define IG_BENCH_BENCH_H

#include "bindings/c/call.h"
#include "runtime/base/cpu.h"
#include "runtime/device/device.h"
#include "runtime/graph/tensor.h"

// What is measured: `ingot bench kernels|step|loader|tokenizer` (docs/keys.md, verb bench).
ig_status ig_bench_kernels(ig_call_state *c);
ig_status ig_bench_step(ig_call_state *c);
ig_status ig_bench_loader(ig_call_state *c);
ig_status ig_bench_tokenizer(ig_call_state *c);
// The loader's texts (bench/loader_texts.c): where tokenizer= or a model's folder is given, or data= looks like texts.
bool ig_bench_reads_texts(const ig_config *k);
ig_status ig_bench_text_loader(ig_call_state *c);

// ---- samples of a time (bench/stats.c) ----
typedef struct ig_times {
  uint64_t *ns;
  size_t n, capacity;
} ig_times;
ig_status ig_times_add(ig_times *t, uint64_t ns);
void ig_times_fini(ig_times *t);
// Quantile q of the samples (0 = least, 0.5 = median); sorts them. 0 without samples.
uint64_t ig_times_quantile(ig_times *t, double q);
// Least and largest of theirs / ours, round by round: both sides met the same disturbances. In the order in which they
// were added: before a quantile is asked for.
typedef struct ig_ratios {
  double low, high;
} ig_ratios;
ig_ratios ig_times_ratios(const ig_times *ours, const ig_times *theirs);
// Sets ns (median), ns_low and ns_high (first and ninth decile), ns_min and samples in the row.
ig_status ig_times_put(ig_times *t, json_t *row);
// Sets a number of the row; nothing where it is not finite (JSON has no such numbers).
void ig_put_number(json_t *row, const char *key, double value);

// ---- the machine (bench/machine.c) ----
typedef struct ig_machine {
  ig_device_caps device;  // kind CPU and nothing else where the processor was measured without one
  int threads;
  double copy_bytes;  // a second: read and written bytes of a copy that misses every cache
  double fp32_flops;  // a second: fused multiply-adds of the highest instruction set allowed, two operations each; of a
                      // GPU with tf32: its tf32 products
  double bf16_flops;  // a second: dot products of 16-bit types; 0 where the processor has none
} ig_machine;
// Measures (about half a second).
void ig_machine_measure(int threads, ig_isa isa, ig_machine *out);
// The same of a device: of a GPU its copies are measured, its arithmetic looked up (runtime/device/peak.h).
ig_status ig_machine_measure_device(ig_device *device, ig_machine *out);
// Least time in ns for these operations and bytes; narrow: operands are of 16 bits. NaN: the rate is not known.
double ig_machine_roofline_ns(const ig_machine *m, double flops, double bytes, bool narrow);
json_t *ig_machine_json(const ig_machine *m);
// "fp32", "tf32", "bf16", "fp16": what a device computes in with this type of activations.
const char *ig_bench_precision(const ig_device_caps *caps, ig_dtype compute);
uint64_t ig_bench_cpu_ns(void);  // processor time of all threads of this process so far, spinning included

struct ig_rival;
// {"libraries": {name: version}}: ingot's own, those of names [n_names] as they run, and the rivals' (NULL among them
// is passed over).
ig_status ig_bench_libraries(const char *const *names, size_t n_names, struct ig_rival *const *rivals, size_t n_rivals,
                             json_t **out);
// {"rows": rows, "machine": ..., "environment": ...} answered by JSON or table. rows and more (NULL or an object whose
// entries join the answer) are stolen.
ig_status ig_bench_answer(ig_call_state *c, json_t *rows, json_t *more, const ig_machine *machine);

#endif
