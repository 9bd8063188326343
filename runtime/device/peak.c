// What the processor can compute at best.
#include "runtime/device/peak.h"

#include <jansson.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum { CHAINS = 12, TRIES = 6, SHORT_TRIES = 16 };  // 12 independent sums hide the latency of two units
#define ROUNDS       1000000L
#define SHORT_ROUNDS 10000L
#define FILE_BYTES   (1u << 20)
#define NEWS         1.02  // a value larger by this factor is worth writing

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

// Tiles of 16 rows of 64 bytes: a product is 16 x 16 x 32 multiply-adds. Six sums, two operands.
enum { TILE_SUMS = 6, TILE_FMAS = 16 * 16 * 32, TILE_SHARE = 64 };  // rounds are fewer by TILE_SHARE

__attribute__((target("amx-tile,amx-bf16"))) static float tiles_bf16(long n) {
  // Static, since the intrinsic tells the compiler of the first 8 bytes only.
  static const struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
  } shape = {.palette = 1, .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64}, .rows = {16, 16, 16, 16, 16, 16, 16, 16}};
  _tile_loadconfig(&shape);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
  _tile_zero(6);
  _tile_zero(7);
  for (long k = 0; k < n / TILE_SHARE; k++) {
    _tile_dpbf16ps(0, 6, 7);
    _tile_dpbf16ps(1, 6, 7);
    _tile_dpbf16ps(2, 6, 7);
    _tile_dpbf16ps(3, 6, 7);
    _tile_dpbf16ps(4, 6, 7);
    _tile_dpbf16ps(5, 6, 7);
  }
  _tile_release();
  return 0;
}

// Linux hands tile registers out on request: ARCH_REQ_XCOMP_PERM for XFEATURE_XTILEDATA.
static bool may_use_tiles(void) { return syscall(SYS_arch_prctl, 0x1023, 18) == 0; }
#endif

// What computes at best, and multiply-adds of its round; run: NULL where there is none.
typedef struct best_loop {
  fma_loop run;
  double fmas;
} best_loop;

static best_loop loop_of(ig_isa isa, bool bf16) {
  ig_isa have = ig_isa_detect();
  isa = isa < have ? isa : have;
#if defined(__x86_64__)
  if (bf16 && isa >= IG_ISA_AMX && may_use_tiles())
    return (best_loop){tiles_bf16, (double)TILE_SUMS * TILE_FMAS / TILE_SHARE};
  if (bf16 && isa >= IG_ISA_AVX512_BF16)
    return (best_loop){dot_bf16, 32.0 * CHAINS};
  if (!bf16 && isa >= IG_ISA_AVX512)
    return (best_loop){fma_avx512, 16.0 * CHAINS};
  if (!bf16 && isa >= IG_ISA_AVX2)
    return (best_loop){fma_avx2, 8.0 * CHAINS};
#endif
  return bf16 ? (best_loop){0} : (best_loop){fma_base, 1.0 * CHAINS};
}

// Operations a second of all threads together, in one try.
static double rate_of(const best_loop *l, long rounds, int threads) {
  volatile float sink = 0;
  float sum = 0;
  uint64_t start = ig_now_ns();
#pragma omp parallel num_threads(threads) reduction(+ : sum)
  sum += l->run(rounds);
  sink += sum;
  (void)sink;
  return 2 * l->fmas * (double)rounds * threads / (double)(ig_now_ns() - start) * 1e9;
}

double ig_cpu_peak_flops(ig_isa isa, int threads, bool bf16) {
  const best_loop loop = loop_of(isa, bf16);
  double best = 0;
  for (int i = 0; loop.run && i < TRIES; i++)
    best = fmax(best, rate_of(&loop, ROUNDS, threads));
  return best;
}

bool ig_cpu_bf16_pays(ig_isa isa) {
  enum { UNKNOWN, NO, YES };
  static _Atomic int known[IG_N_ISAS];
  if (known[isa] == UNKNOWN) {
    const best_loop narrow = loop_of(isa, true), wide = loop_of(isa, false);
    double best[2] = {0};
    for (int i = 0; narrow.run && i < SHORT_TRIES; i++) {
      best[0] = fmax(best[0], rate_of(&wide, SHORT_ROUNDS, 1));
      best[1] = fmax(best[1], rate_of(&narrow, SHORT_ROUNDS, 1));
    }
    known[isa] = best[1] > best[0] ? YES : NO;
  }
  return known[isa] == YES;
}

enum { COPY_TRIES = 6 };
#define COPY_BYTES (96u << 20)

double ig_cpu_copy_rate(int threads) {
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

double ig_device_peak_flops(const ig_device_caps *caps, bool bf16, const char *path) {
  if (caps->kind == IG_DEVICE_CUDA)
    return ig_cuda_peak_flops(caps, bf16);
  char key[192];
  uint8_t *text = NULL;
  size_t n = 0;
  double peak = ig_cpu_peak_flops(caps->isa, caps->threads, bf16);
  if (!path || peak == 0)
    return peak;
  snprintf(key, sizeof key, "%s|%s|%d|%s", caps->name, ig_isa_name(caps->isa), caps->threads, bf16 ? "bf16" : "fp32");
  json_t *known = NULL;
  if (ig_path_exists(path) && ig_file_read(path, FILE_BYTES, &text, &n) == IG_OK)
    known = json_loadb((const char *)text, n, JSON_REJECT_DUPLICATES, NULL);
  ig_free(text);
  if (!json_is_object(known)) {
    json_decref(known);
    known = json_object();
  }
  double before = json_number_value(json_object_get(known, key));
  if (peak > before * NEWS && json_object_set_new(known, key, json_real(peak)) == 0) {
    char *out = json_dumps(known, JSON_SORT_KEYS | JSON_INDENT(0));
    if (out && ig_make_parent(path) == IG_OK)
      (void)!ig_file_write_atomic(path, out, strlen(out));
    free(out);  // jansson's own
  }
  json_decref(known);
  ig_error_clear();
  return before > peak ? before : peak;
}
