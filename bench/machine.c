// What this machine can do at best: the rates behind every roofline. Rule: measured here and now, with the threads that
// the measured work uses; the best of several tries, since everything else that runs can only slow it down.
#include <omp.h>
#include <string.h>

#include "bench/bench.h"
#include "runtime/base/cpu.h"
#include "runtime/base/mem.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum { CHAINS = 12, TRIES = 6, COPY_TRIES = 6 };  // 12 independent sums hide the latency of two units
#define COPY_BYTES (96u << 20)

// Each: `n` rounds of CHAINS multiply-adds; returns a value so that nothing is optimised away.
typedef float (*fma_loop)(long n);

static float fma_base(long n) {
  float a[CHAINS], x = 0.999f, y = 0.001f, sum = 0;
  for (int i = 0; i < CHAINS; i++)
    a[i] = (float)i;
  for (long k = 0; k < n; k++)
    for (int i = 0; i < CHAINS; i++)
      a[i] = a[i] * x + y;
  for (int i = 0; i < CHAINS; i++)
    sum += a[i];
  return sum;
}

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) static float fma_avx2(long n) {
  __m256 a[CHAINS], x = _mm256_set1_ps(0.999f), y = _mm256_set1_ps(0.001f);
  for (int i = 0; i < CHAINS; i++)
    a[i] = _mm256_set1_ps((float)i);
  for (long k = 0; k < n; k++)
    for (int i = 0; i < CHAINS; i++)
      a[i] = _mm256_fmadd_ps(a[i], x, y);
  for (int i = 1; i < CHAINS; i++)
    a[0] = _mm256_add_ps(a[0], a[i]);
  return _mm256_cvtss_f32(a[0]);
}

__attribute__((target("avx512f"))) static float fma_avx512(long n) {
  __m512 a[CHAINS], x = _mm512_set1_ps(0.999f), y = _mm512_set1_ps(0.001f);
  for (int i = 0; i < CHAINS; i++)
    a[i] = _mm512_set1_ps((float)i);
  for (long k = 0; k < n; k++)
    for (int i = 0; i < CHAINS; i++)
      a[i] = _mm512_fmadd_ps(a[i], x, y);
  for (int i = 1; i < CHAINS; i++)
    a[0] = _mm512_add_ps(a[0], a[i]);
  return _mm512_cvtss_f32(a[0]);
}

__attribute__((target("avx512f,avx512bf16"))) static float dot_bf16(long n) {
  __m512 a[CHAINS];
  __m512bh x = _mm512_cvtne2ps_pbh(_mm512_set1_ps(0.5f), _mm512_set1_ps(0.25f));
  for (int i = 0; i < CHAINS; i++)
    a[i] = _mm512_set1_ps((float)i);
  for (long k = 0; k < n; k++)
    for (int i = 0; i < CHAINS; i++)
      a[i] = _mm512_dpbf16_ps(a[i], x, x);
  for (int i = 1; i < CHAINS; i++)
    a[0] = _mm512_add_ps(a[0], a[i]);
  return _mm512_cvtss_f32(a[0]);
}
#endif

// Operations a second of all threads together; lanes: multiply-adds an instruction.
static double peak(fma_loop loop, int lanes, int threads) {
  const long rounds = 1000000;
  double best = 0;
  volatile float sink = 0;
  for (int i = 0; i < TRIES; i++) {
    float sum = 0;
    uint64_t start = ig_now_ns();
#pragma omp parallel num_threads(threads) reduction(+ : sum)
    sum += loop(rounds);
    double rate = 2.0 * lanes * CHAINS * (double)rounds * threads / (double)(ig_now_ns() - start) * 1e9;
    sink += sum;
    best = rate > best ? rate : best;
  }
  return best;
}

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
  ig_isa have = ig_isa_detect();
  isa = isa < have ? isa : have;
  *out = (ig_machine){.threads = threads, .copy_bytes = copy_rate(threads)};
#if defined(__x86_64__)
  if (isa >= IG_ISA_AVX512)
    out->fp32_flops = peak(fma_avx512, 16, threads);
  else if (isa >= IG_ISA_AVX2)
    out->fp32_flops = peak(fma_avx2, 8, threads);
  if (isa >= IG_ISA_AVX512_BF16)
    out->bf16_flops = peak(dot_bf16, 32, threads);
#endif
  if (out->fp32_flops == 0)
    out->fp32_flops = peak(fma_base, 1, threads);
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
