// What this machine can do at best: the rates behind every roofline. Rule: measured here and now, with the threads that
// the measured work uses; the best of several tries, since everything else that runs can only slow it down.
#include <math.h>
#include <sys/resource.h>

#include "bench/bench.h"
#include "runtime/device/peak.h"

void ig_machine_measure(int threads, ig_isa isa, ig_machine *out) {
  *out = (ig_machine){.threads = threads,
                      .copy_bytes = ig_cpu_copy_rate(threads),
                      .fp32_flops = ig_cpu_peak_flops(isa, threads, false),
                      .bf16_flops = ig_cpu_peak_flops(isa, threads, true)};
}

ig_status ig_machine_measure_device(ig_device *device, ig_machine *out) {
  const ig_device_caps *caps = &device->caps;
  if (caps->kind == IG_DEVICE_CPU) {
    ig_machine_measure(caps->threads, caps->isa, out);
    return IG_OK;
  }
  *out = (ig_machine){.device = *caps,
                      .threads = 1,
                      .fp32_flops = ig_cuda_peak_flops(caps, false),
                      .bf16_flops = ig_cuda_peak_flops(caps, true)};
  return ig_device_copy_rate(device, &out->copy_bytes);
}

const char *ig_bench_precision(const ig_device_caps *caps, ig_dtype compute) {
  return compute == IG_BF16 ? "bf16" : compute == IG_F16 ? "fp16" : caps->tf32 ? "tf32" : "fp32";
}

double ig_machine_roofline_ns(const ig_machine *m, double flops, double bytes, bool narrow) {
  double rate = narrow && m->bf16_flops > 0 ? m->bf16_flops : m->fp32_flops;
  if (flops > 0 && rate <= 0)
    return NAN;
  double compute = rate > 0 ? flops / rate : 0, traffic = m->copy_bytes > 0 ? bytes / m->copy_bytes : 0;
  return (compute > traffic ? compute : traffic) * 1e9;
}

static json_t *gpu_json(const ig_machine *m) {
  const ig_device_caps *d = &m->device;
  return json_pack("{s:s, s:i, s:i, s:f, s:I, s:s, s:f, s:f, s:f, s:s}", "device", d->name, "architecture",
                   d->architecture, "processors", d->processors, "clock_mhz", d->clock_hz / 1e6, "cache_bytes",
                   (json_int_t)d->cache_bytes, "libraries", d->libraries, "copy_gbps", m->copy_bytes / 1e9,
                   d->tf32 ? "tf32_gflops" : "fp32_gflops", m->fp32_flops / 1e9, "bf16_gflops", m->bf16_flops / 1e9,
                   "rates", "copies measured; arithmetic: of the architecture at its highest clock");
}

json_t *ig_machine_json(const ig_machine *m) {
  if (m->device.kind == IG_DEVICE_CUDA)
    return gpu_json(m);
  return json_pack("{s:i, s:f, s:f, s:f}", "threads", m->threads, "copy_gbps", m->copy_bytes / 1e9, "fp32_gflops",
                   m->fp32_flops / 1e9, "bf16_gflops", m->bf16_flops / 1e9);
}

uint64_t ig_bench_cpu_ns(void) {
  struct rusage use;
  getrusage(RUSAGE_SELF, &use);
  return (uint64_t)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) * 1000000000u +
         (uint64_t)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) * 1000u;
}
