// What this machine can do at best: the rates behind every roofline. Rule: measured here and now, with the threads that
// the measured work uses; the best of several tries, since everything else that runs can only slow it down.
#include <omp.h>
#include <string.h>

#include "bench/bench.h"
#include "runtime/base/cpu.h"
#include "runtime/base/mem.h"
#include "runtime/device/peak.h"

enum { COPY_TRIES = 6 };
#define COPY_BYTES (96u << 20)

static double copy_rate(int threads) {
  char *from, *to;
  double best = 0;
  if (ig_alloc_pages(COPY_BYTES, "copy rate", &from) != IG_OK)
    return 0;
  if (ig_alloc_pages(COPY_BYTES, "copy rate", &to) == IG_OK) {
    for (int i = 0; i < COPY_TRIES; i++) {
      uint64_t start = ig_now_ns();
#pragma omp parallel num_threads(threads)
      {
        size_t share = COPY_BYTES / (size_t)omp_get_num_threads(), at = share * (size_t)omp_get_thread_num();
        if (i == 0)
          memset(from + at, 1, share);  // pages of its own, not the one page of zeros
        memcpy(to + at, from + at, share);
      }
      double rate = 2.0 * COPY_BYTES / (double)(ig_now_ns() - start) * 1e9;
      best = i && rate > best ? rate : best;
    }
    ig_free_pages(to, COPY_BYTES);
  }
  ig_free_pages(from, COPY_BYTES);
  return best;
}

void ig_machine_measure(int threads, ig_isa isa, ig_machine *out) {
  *out = (ig_machine){.threads = threads,
                      .copy_bytes = copy_rate(threads),
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
