// floor: ig_base
// Floor 0: memory, texts, digests, limits. Rule: every case states its expectation independently of the code.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <fstream>
#include <sched.h>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

#include "runtime/base/cpu.h"
#include "runtime/base/mem.h"
#include "runtime/base/text.h"
#include "tests/base_fixture.h"

namespace {

// ---- memory

TEST(Mem, AlignedZeroedCounted) {
  int64_t before = ig_mem_live();
  for (size_t n : {0, 1, 63, 64, 1000, 100000}) {
    uint8_t *p;
    ASSERT_EQ(ig_alloc(n, "a test", &p), IG_OK);
    EXPECT_EQ((uintptr_t)p % 64, 0u);
    for (size_t i = 0; i < n; i++)
      ASSERT_EQ(p[i], 0);
    EXPECT_EQ(ig_mem_live(), before + 1);
    ig_free(p);
  }
  uint8_t *pages;
  ASSERT_EQ(ig_alloc_pages(3 << 20, "a test", &pages), IG_OK);
  EXPECT_EQ((uintptr_t)pages % (uintptr_t)sysconf(_SC_PAGE_SIZE), 0u);
  EXPECT_EQ(pages[(3 << 20) - 1], 0);
  ig_free_pages(pages, 3 << 20);
  ig_free(nullptr);
  EXPECT_EQ(ig_mem_live(), before);
}

TEST(Mem, OverflowAndAbsurdSizesAreErrors) {
  void *p = &p;
  EXPECT_EQ(ig_alloc_array(SIZE_MAX / 2, 3, "labels", &p), IG_ERR_MEMORY);
  EXPECT_EQ(p, nullptr);
  EXPECT_TRUE(says("labels"));
  EXPECT_EQ(ig_alloc(SIZE_MAX - 100, "logits", &p), IG_ERR_MEMORY);
  EXPECT_TRUE(says("logits") && says(std::to_string(SIZE_MAX - 100))) << message();
  int *array = nullptr;
  size_t capacity = 0;
  EXPECT_EQ(ig_grow(&array, &capacity, 0, SIZE_MAX / 2, sizeof *array, "rows"), IG_ERR_MEMORY);
  EXPECT_EQ(capacity, 0u);
}

TEST(Mem, GrowKeepsElements) {
  int *array = nullptr;
  size_t capacity = 0, n = 0;
  for (int i = 0; i < 1000; i++) {
    ASSERT_EQ(ig_grow(&array, &capacity, n, n + 1, sizeof *array, "rows"), IG_OK);
    array[n++] = i;
  }
  for (int i = 0; i < 1000; i++)
    ASSERT_EQ(array[i], i);
  ig_mem_fail_after(1, 0);
  size_t old = capacity;
  EXPECT_EQ(ig_grow(&array, &capacity, n, old + 1, sizeof *array, "rows"), IG_ERR_MEMORY);
  EXPECT_EQ(capacity, old);
  EXPECT_EQ(array[999], 999);
  ig_free(array);
}

TEST(Mem, InjectedFailures) {
  void *p[4];
  auto pattern = [&](int64_t n, int forever) {
    ig_mem_fail_after(n, forever);
    std::string result;
    for (auto &q : p) {
      result += ig_alloc(8, "a test", &q) == IG_OK ? '+' : '-';
      ig_free(q);
    }
    ig_mem_fail_after(0, 0);
    return result;
  };
  EXPECT_EQ(pattern(0, 0), "++++");
  EXPECT_EQ(pattern(1, 0), "-+++");
  EXPECT_EQ(pattern(3, 0), "++-+");
  EXPECT_EQ(pattern(3, 1), "++--");
  // Exactly one of many concurrent allocations fails.
  ig_mem_fail_after(500, 0);
  std::vector<std::thread> threads;
  std::atomic<int> failures{0};
  for (int t = 0; t < 4; t++)
    threads.emplace_back([&] {
      for (int i = 0; i < 1000; i++) {
        void *q;
        failures += ig_alloc(8, "a test", &q) != IG_OK;
        ig_free(q);
      }
    });
  for (auto &t : threads)
    t.join();
  EXPECT_EQ(failures, 1);
}

// ---- texts

TEST(Text, QuoteEscapesAndCuts) {
  char out[IG_QUOTE_BYTES];
  EXPECT_STREQ(ig_quote(out, "a\nb\x1b[31m\xff\xc3\xa9"), "\"a\\x0ab\\x1b[31m\\xff\xc3\xa9\"");
  std::string many(1000, 'x');
  ig_quote(out, many.c_str());
  EXPECT_LT(strlen(out), sizeof out);
  EXPECT_EQ(std::string(out + strlen(out) - 4), "...\"");
}

TEST(Text, PluralIsForAllCountsButOne) {
  for (unsigned long long n : {0ull, 2ull, 11ull, 101ull, ~0ull})
    EXPECT_STREQ(ig_plural(n, "class has", "classes have"), "classes have") << n;
  EXPECT_STREQ(ig_plural(1, "class has", "classes have"), "class has");
}

TEST(Text, NearestNames) {
  const char *names[] = {"epochs", "eps", "erase", "batch", "momentum", "warmup", "lr"};
  char out[IG_NEAREST_BYTES];
  EXPECT_STREQ(ig_nearest(out, "epoch", names, 7), "; did you mean epochs?");
  EXPECT_STREQ(ig_nearest(out, "batch_size", names, 7), "; did you mean batch?");
  EXPECT_STREQ(ig_nearest(out, "momnetum", names, 7), "; did you mean momentum?");
  EXPECT_STREQ(ig_nearest(out, "zzzzzzzz", names, 7), "");
  EXPECT_STREQ(ig_nearest(out, "", names, 7), "");
}

TEST(Text, Utf8Length) {
  EXPECT_EQ(ig_utf8_length("a"), 1u);
  EXPECT_EQ(ig_utf8_length("\xf4\x8f\xbf\xbf"), 4u);
  for (const char *bad : {"\x80", "\xc0\x80", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82", "\xff"})
    EXPECT_EQ(ig_utf8_length(bad), 0u);
}

// ---- digests

TEST(Sha256, Vectors) {  // FIPS 180-2
  char hex[65];
  ig_sha256_hex("", 0, hex);
  EXPECT_STREQ(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  ig_sha256_hex("abc", 3, hex);
  EXPECT_STREQ(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  ig_sha256 *h;
  ASSERT_EQ(ig_sha256_create(&h), IG_OK);
  std::string part(997, 'a');
  for (size_t done = 0; done < 1000000; done += part.size())
    ig_sha256_update(h, part.data(), std::min(part.size(), 1000000 - done));
  ig_sha256_finish(h, hex);
  EXPECT_STREQ(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

// ---- limits

using Limits = TempFolder;

TEST_F(Limits, CgroupVersionTwoTakesTheLowestOnTheWay) {
  put("self", "0::/a/b\n");
  put("sys/a/cpu.max", "150000 100000\n");
  put("sys/a/b/cpu.max", "max 100000\n");
  put("sys/a/memory.max", "1000000\n");
  put("sys/a/b/memory.max", "5000000\n");
  ig_cgroup_limits l = ig_cgroup_read(at("self").c_str(), at("sys").c_str());
  EXPECT_DOUBLE_EQ(l.cpus, 1.5);
  EXPECT_EQ(l.memory_bytes, 1000000u);
  put("sys/memory.max", "999\n");  // the mount's own folder: the namespace's root
  EXPECT_EQ(ig_cgroup_read(at("self").c_str(), at("sys").c_str()).memory_bytes, 999u);
}

TEST_F(Limits, CgroupVersionOne) {
  put("self", "5:memory:/docker/x\n3:cpu,cpuacct:/docker/x\n1:name=systemd:/\n");
  put("sys/cpu,cpuacct/docker/x/cpu.cfs_quota_us", "250000\n");
  put("sys/cpu,cpuacct/docker/x/cpu.cfs_period_us", "100000\n");
  put("sys/cpu/docker/cpu.cfs_quota_us", "-1\n");
  put("sys/cpu/docker/cpu.cfs_period_us", "100000\n");
  put("sys/memory/docker/x/memory.limit_in_bytes", "9223372036854771712\n");
  put("sys/memory/memory.limit_in_bytes", "2147483648\n");
  ig_cgroup_limits l = ig_cgroup_read(at("self").c_str(), at("sys").c_str());
  EXPECT_DOUBLE_EQ(l.cpus, 2.5);
  EXPECT_EQ(l.memory_bytes, 2147483648u);
  l = ig_cgroup_read(at("missing").c_str(), at("sys").c_str());
  EXPECT_TRUE(std::isinf(l.cpus));
  EXPECT_EQ(l.memory_bytes, UINT64_MAX);
}

TEST(Cpu, OwnLimitsAreSane) {
  EXPECT_GE(ig_cpu_threads(), 1);
  EXPECT_LE(ig_cpu_threads(), sysconf(_SC_NPROCESSORS_ONLN));
  EXPECT_GT(ig_memory_limit(), ig_memory_resident());
  EXPECT_GT(ig_memory_resident(), 1u << 20);
  uint64_t before = ig_memory_peak();
  std::vector<char> touched(32 << 20, 1);
  EXPECT_GE(ig_memory_peak(), before + (16u << 20));
  char model[128];
  ig_cpu_model(model, sizeof model);
  EXPECT_GT(strlen(model), 2u);
  uint64_t t = ig_now_ns();
  usleep(2000);
  EXPECT_GE(ig_now_ns() - t, 2000000u);
}

TEST(Cpu, AffinityCounts) {
  cpu_set_t all, one;
  ASSERT_EQ(sched_getaffinity(0, sizeof all, &all), 0);
  CPU_ZERO(&one);
  for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; i++)
    if (CPU_ISSET(i, &all))
      CPU_SET(i, &one);
  ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
  EXPECT_EQ(ig_cpu_threads(), 1);
  ASSERT_EQ(sched_setaffinity(0, sizeof all, &all), 0);
}

TEST(Cpu, IsaNamesAndCaps) {
  ig_isa isa;
  ASSERT_EQ(ig_isa_parse("auto", &isa), IG_OK);
  EXPECT_EQ(isa, ig_isa_detect());
  for (int i = 0; i < IG_N_ISAS; i++) {
    ASSERT_EQ(ig_isa_parse(ig_isa_name((ig_isa)i), &isa), IG_OK);
    EXPECT_EQ(isa, std::min((ig_isa)i, ig_isa_detect()));
  }
  EXPECT_EQ(ig_isa_parse("avx513", &isa), IG_ERR_USAGE);
  EXPECT_TRUE(says("avx513") && says("avx512_bf16"));
  // The kernel's list of flags is an independent witness.
  std::ifstream in("/proc/cpuinfo");
  std::string text{std::istreambuf_iterator<char>(in), {}};
  if (text.find("flags") == std::string::npos)
    GTEST_SKIP() << "/proc/cpuinfo lists no x86 flags";
  auto has = [&](const char *flag) { return text.find(std::string(" ") + flag + " ") != std::string::npos; };
  EXPECT_EQ(ig_isa_detect() >= IG_ISA_AVX2, has("avx2") && has("fma") && has("f16c"));
  EXPECT_EQ(ig_isa_detect() >= IG_ISA_AVX512, has("avx512f") && has("avx512bw") && has("avx512dq") && has("avx512vl"));
}

}  // namespace
