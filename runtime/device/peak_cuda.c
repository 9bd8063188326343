// What a GPU can do at best; see peak.h.
#include "runtime/device/peak.h"

enum { TRIES = 6 };

// Operations of one processor in one clock, dense, summed in fp32. Sources: fp32 by the CUDA C++ Programming Guide's
// table of arithmetic throughput (64 or 128 multiply-adds); tensor cores by NVIDIA's architecture papers (Turing, A100,
// GA102, Ada, H100, Blackwell), read as stated peak / (processors x stated clock): T4 65 T = 40 x 1.59 GHz x 1024, A100
// 312 T = 108 x 1.41 x 2048, A40 150 T = 84 x 1.74 x 1024, L40S 362 T = 142 x 2.52 x 1024, H100 989 T = 132 x 1.83 x
// 4096, B200 2.25 P = 148 x 1.85 x 8192, RTX PRO 6000 503 T = 188 x 2.6 x 1024. GeForce cards of 86, 89 and 120 do
// half.
typedef struct rates {
  int architecture;
  int fp32, tf32, narrow;
} rates;
static const rates table[] = {{75, 128, 0, 1024},     {80, 128, 1024, 2048},  {86, 256, 512, 1024},
                              {87, 256, 512, 1024},   {89, 256, 512, 1024},   {90, 256, 2048, 4096},
                              {100, 256, 4096, 8192}, {103, 256, 4096, 8192}, {120, 256, 512, 1024},
                              {121, 256, 512, 1024}};

double ig_cuda_peak_flops(const ig_device_caps *caps, bool narrow) {
  for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
    const rates *r = &table[i];
    if (r->architecture == caps->architecture)
      return (narrow ? r->narrow : caps->tf32 ? r->tf32 : r->fp32) * (double)caps->processors * caps->clock_hz;
  }
  return 0;
}

static ig_status copy_once(ig_device *dev, void *to, void *from, size_t bytes, ig_event *const e[2], double *best) {
  const ig_device_ops *ops = dev->ops;
  uint64_t ns = 0;
  IG_TRY(ops->event_record(dev, e[0], NULL));
  IG_TRY(ops->copy(dev, to, from, bytes, NULL));
  IG_TRY(ops->event_record(dev, e[1], NULL));
  IG_TRY(ops->event_elapsed(dev, e[0], e[1], &ns));
  double rate = ns ? 2 * (double)bytes / (double)ns * 1e9 : 0;
  *best = rate > *best ? rate : *best;
  return IG_OK;
}

ig_status ig_device_copy_rate(ig_device *dev, double *out) {
  const ig_device_ops *ops = dev->ops;
  // Four times the L2, or what a small memory allows.
  const uint64_t share = dev->caps.memory_bytes / 128, whole = 4 * (uint64_t)dev->caps.cache_bytes;
  const size_t bytes = (size_t)(share < whole ? share : whole) / 4096 * 4096;
  void *from = NULL, *to = NULL;
  ig_event *e[2] = {NULL, NULL};
  ig_status status = IG_OK;
  *out = 0;
  if (dev->caps.kind == IG_DEVICE_CPU) {
    *out = ig_cpu_copy_rate(dev->caps.threads);
    return IG_OK;
  }
  IG_GOTO(ops->event_create(dev, &e[0]));
  IG_GOTO(ops->event_create(dev, &e[1]));
  IG_GOTO(ops->alloc(dev, bytes, "copy rate", &from));
  IG_GOTO(ops->alloc(dev, bytes, "copy rate", &to));
  for (int i = 0; i < TRIES; i++)
    IG_GOTO(copy_once(dev, to, from, bytes, e, out));
done:
  ops->free(dev, from, bytes);
  ops->free(dev, to, bytes);
  ops->event_destroy(dev, e[0]);
  ops->event_destroy(dev, e[1]);
  return status;
}
