// What this machine can do at best: the rates behind every roofline. Rule: measured here and now, with the threads that
// the measured work uses; the best of several tries, since everything else that runs can only slow it down.
#include <sys/resource.h>

#include "bench/bench.h"
#include "runtime/device/peak.h"

void ig_machine_measure(int threads, ig_isa isa, ig_machine *out) {
  *out = (ig_machine){.threads = threads,
                      .copy_bytes = ig_cpu_copy_rate(threads),
                      .fp32_flops = ig_cpu_peak_flops(isa, threads, false),
                      .bf16_flops = ig_cpu_peak_flops(isa, threads, true)};
}

double ig_machine_roofline_ns(const ig_machine *m, double flops, double bytes, bool bf16) {
  double rate = bf16 && m->bf16_flops > 0 ? m->bf16_flops : m->fp32_flops;
  double compute = rate > 0 ? flops / rate : 0, traffic = m->copy_bytes > 0 ? bytes / m->copy_bytes : 0;
  return (compute > traffic ? compute : traffic) * 1e9;
}

json_t *ig_machine_json(const ig_machine *m) {
  return json_pack("{s:i, s:f, s:f, s:f}", "threads", m->threads, "copy_gbps", m->copy_bytes / 1e9, "fp32_gflops",
                   m->fp32_flops / 1e9, "bf16_gflops", m->bf16_flops / 1e9);
}

uint64_t ig_bench_cpu_ns(void) {
  struct rusage use;
  getrusage(RUSAGE_SELF, &use);
  return (uint64_t)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) * 1000000000u +
         (uint64_t)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) * 1000u;
}
