// Limits of this process and abilities of its processor, read from the kernel's own text files.
// Rule: a file that is missing or odd leaves its limit at "none".
#include "runtime/base/cpu.h"

#include <math.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/base/text.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

enum { SMALL_FILE = 1 << 20, PATH_BYTES = 4096 };

// First line of a kernel file into out; false where it cannot be read.
static bool read_line(const char *folder, const char *name, char *out, size_t n) {
  char path[PATH_BYTES];
  uint8_t *data;
  size_t bytes;
  if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path ||
      ig_file_read(path, SMALL_FILE, &data, &bytes) != IG_OK)
    return false;
  snprintf(out, n, "%.*s", (int)strcspn((char *)data, "\n"), (char *)data);
  ig_free(data);
  return true;
}

static void lower_cpus(ig_cgroup_limits *limits, double quota, double period) {
  if (quota > 0 && period > 0 && quota / period < limits->cpus)
    limits->cpus = quota / period;
}

static void lower_memory(ig_cgroup_limits *limits, const char *text) {
  char *end;
  unsigned long long bytes = strtoull(text, &end, 10);  // "max" has no digits
  if (end != text && bytes > 0 && bytes < limits->memory_bytes)
    limits->memory_bytes = bytes;
}

// The files of both versions in one folder; each version's files are missing in the other's folders.
static void read_group(const char *folder, ig_cgroup_limits *limits) {
  char line[128], period[128];
  double quota, span;
  if (read_line(folder, "cpu.max", line, sizeof line) && sscanf(line, "%lf %lf", &quota, &span) == 2)
    lower_cpus(limits, quota, span);
  if (read_line(folder, "cpu.cfs_quota_us", line, sizeof line) &&
      read_line(folder, "cpu.cfs_period_us", period, sizeof period))
    lower_cpus(limits, atof(line), atof(period));
  if (read_line(folder, "memory.max", line, sizeof line))
    lower_memory(limits, line);
  if (read_line(folder, "memory.limit_in_bytes", line, sizeof line))
    lower_memory(limits, line);
}

// From root/mount/group up to root/mount. A group that is not visible here (no cgroup namespace) only has no files.
static void walk_up(const char *root, const char *mount, const char *group, ig_cgroup_limits *limits) {
  char folder[PATH_BYTES];
  int n = snprintf(folder, sizeof folder, "%s%s%s%s", root, *mount ? "/" : "", mount, group);
  size_t stop = strlen(root) + (*mount ? 1 : 0) + strlen(mount);
  if (n < 0 || n >= (int)sizeof folder)
    return;
  for (size_t end = (size_t)n; end >= stop; end--) {
    if (end == (size_t)n || folder[end] == '/' || end == stop) {
      folder[end] = 0;
      read_group(folder, limits);
    }
    if (end == 0)
      break;
  }
}

ig_cgroup_limits ig_cgroup_read(const char *membership, const char *root) {
  ig_cgroup_limits limits = {INFINITY, UINT64_MAX};
  uint8_t *data;
  size_t n;
  if (ig_file_read(membership, SMALL_FILE, &data, &n) != IG_OK)
    return limits;
  // Lines "hierarchy:controllers:group"; version 2 has the empty controller list.
  char *state = NULL;
  for (char *line = strtok_r((char *)data, "\n", &state); line; line = strtok_r(NULL, "\n", &state)) {
    char *controllers = strchr(line, ':');
    char *group = controllers ? strchr(controllers + 1, ':') : NULL;
    if (!group)
      continue;
    *controllers++ = 0;
    *group++ = 0;
    walk_up(root, controllers, group, &limits);
    char *inner = NULL;  // "cpu,cpuacct" is mounted by its list and by each name
    if (strchr(controllers, ','))
      for (char *one = strtok_r(controllers, ",", &inner); one; one = strtok_r(NULL, ",", &inner))
        walk_up(root, one, group, &limits);
  }
  ig_free(data);
  return limits;
}

static ig_cgroup_limits own_limits(void) { return ig_cgroup_read("/proc/self/cgroup", "/sys/fs/cgroup"); }

int ig_cpu_threads(void) {
  cpu_set_t set[8];  // 8192 processors
  int n = (int)sysconf(_SC_NPROCESSORS_ONLN);
  memset(set, 0, sizeof set);
  if (sched_getaffinity(0, sizeof set, set) == 0)
    n = CPU_COUNT_S(sizeof set, set);
  double cpus = own_limits().cpus;
  if (cpus < n)
    n = (int)ceil(cpus - 1e-6);
  return n < 1 ? 1 : n;
}

uint64_t ig_memory_limit(void) {
  long pages = sysconf(_SC_PHYS_PAGES), page_bytes = sysconf(_SC_PAGE_SIZE);
  uint64_t physical = pages > 0 && page_bytes > 0 ? (uint64_t)pages * (uint64_t)page_bytes : UINT64_MAX;
  uint64_t allowed = own_limits().memory_bytes;
  return allowed < physical ? allowed : physical;
}

// Value after "field:" in a /proc text, "" where absent; blanks before it are skipped.
static void proc_field(const char *path, const char *field, char *out, size_t n) {
  uint8_t *data;
  size_t bytes;
  out[0] = 0;
  if (ig_file_read(path, 16 * SMALL_FILE, &data, &bytes) != IG_OK)
    return;
  size_t length = strlen(field);
  for (const char *line = (const char *)data; line && *line;) {
    if (strncmp(line, field, length) == 0 && strchr(" \t:", line[length])) {
      const char *value = line + length;
      value += strspn(value, " \t:");
      snprintf(out, n, "%.*s", (int)strcspn(value, "\n"), value);
      break;
    }
    line = strchr(line, '\n');
    line = line ? line + 1 : NULL;
  }
  ig_free(data);
}

static uint64_t status_kib(const char *field) {
  char text[64];
  proc_field("/proc/self/status", field, text, sizeof text);
  return strtoull(text, NULL, 10) * 1024;
}

uint64_t ig_memory_resident(void) { return status_kib("VmRSS"); }
uint64_t ig_memory_peak(void) { return status_kib("VmHWM"); }

uint64_t ig_memory_heap(void) {
#if defined(__GLIBC__) && (__GLIBC__ > 2 || __GLIBC_MINOR__ >= 33)
  struct mallinfo2 m = mallinfo2();
  return m.uordblks + m.hblkhd;
#else
  return 0;
#endif
}

void ig_cpu_model(char *out, size_t n) {
  struct utsname name;
  proc_field("/proc/cpuinfo", "model name", out, n);
  if (!out[0])
    snprintf(out, n, "%s", uname(&name) == 0 ? name.machine : "unknown");
}

uint64_t ig_now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

#if defined(__x86_64__)
// Tiles and bf16 products in CPUID leaf 7, and both tile states enabled by the system in XCR0.
static bool has_amx(void) {
  unsigned a, b, c, d, low, high;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d >> 24 & 1) || !(d >> 22 & 1))
    return false;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c >> 27 & 1))
    return false;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (low >> 17 & 3) == 3;
}
// CPUID by hand: clang before 16 does not know the name "f16c".
static bool has_f16c(void) {
  unsigned a, b, c, d;
  return __get_cpuid(1, &a, &b, &c, &d) && (c >> 29 & 1);
}
#endif

ig_isa ig_isa_detect(void) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !has_f16c())
    return IG_ISA_BASE;
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
      !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl"))
    return IG_ISA_AVX2;
  if (!__builtin_cpu_supports("avx512bf16"))
    return IG_ISA_AVX512;
  return has_amx() ? IG_ISA_AMX : IG_ISA_AVX512_BF16;
#else
  return IG_ISA_BASE;
#endif
}

static const char *const isa_names[IG_N_ISAS] = {"base", "avx2", "avx512", "avx512_bf16", "amx"};

const char *ig_isa_name(ig_isa isa) { return (unsigned)isa < IG_N_ISAS ? isa_names[isa] : "unknown"; }

ig_status ig_isa_parse(const char *text, ig_isa *out) {
  char quoted[IG_QUOTE_BYTES];
  ig_isa best = ig_isa_detect();
  *out = best;
  if (strcmp(text, "auto") == 0)
    return IG_OK;
  for (int i = 0; i < IG_N_ISAS; i++) {
    if (strcmp(text, isa_names[i]) != 0)
      continue;
    *out = (ig_isa)i < best ? (ig_isa)i : best;
    return IG_OK;
  }
  return ig_fail(IG_ERR_USAGE, "isa is %s; expected auto, base, avx2, avx512, avx512_bf16 or amx",
                 ig_quote(quoted, text));
}
