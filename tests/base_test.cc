// floor: ig_base
// Floor 0: numbers, memory, files, limits. Rule: every case states its expectation independently of the code.
#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <limits>
#include <set>
#include <string>
#include <sys/file.h>
#include <sys/mman.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include "runtime/base/cpu.h"
#include "runtime/base/dtype.h"
#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/base/rng.h"
#include "runtime/base/text.h"

namespace fs = std::filesystem;

namespace {

std::string message() { return ig_error_message(); }
bool says(const std::string &part) { return message().find(part) != std::string::npos; }

class TempFolder : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "ig_base_XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    root = pattern;
  }
  void TearDown() override {
    ig_fileops_set(nullptr);
    fs::remove_all(root);
  }
  std::string at(const std::string &name) const { return root + "/" + name; }
  void put(const std::string &name, const std::string &text) const {
    fs::create_directories(fs::path(at(name)).parent_path());
    std::ofstream(at(name), std::ios::binary) << text;
  }
  std::string get(const std::string &name) const {
    std::ifstream in(at(name), std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  size_t entries() const { return (size_t)std::distance(fs::directory_iterator(root), fs::directory_iterator()); }
  std::string root;
};

// ---- random numbers

TEST(Rng, PhiloxKnownAnswers) {  // Random123's kat_vectors, philox4x32 10
  ig_philox4 a = ig_philox(0, 0, 0, 0, 0);
  EXPECT_EQ(std::vector<uint32_t>(a.v, a.v + 4),
            (std::vector<uint32_t>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  ig_philox4 b = ig_philox(~0ull, ~0u, ~0u, ~0u, ~0u);
  EXPECT_EQ(std::vector<uint32_t>(b.v, b.v + 4),
            (std::vector<uint32_t>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  ig_philox4 c = ig_philox(0x299f31d0a4093822ull, 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344);
  EXPECT_EQ(std::vector<uint32_t>(c.v, c.v + 4),
            (std::vector<uint32_t>{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Rng, ManyNormalsAreTheSingleOnes) {
  for (int64_t n : {1, 2, 7, 128, 129, 1000003}) {
    ig_rng one = ig_rng_make(1, 2, 3), all = one;
    std::vector<float> x((size_t)n + 1, 7);
    ig_rng_normals(&all, 0.5f, x.data(), n);
    int64_t differ = 0;
    for (int64_t i = 0; i < n; i++) {
      const float want = 0.5f * ig_rng_normal(&one);
      differ += x[(size_t)i] != want;
      ASSERT_NEAR(x[(size_t)i], want, 1e-7 * std::fabs(want)) << i;
    }
    EXPECT_LE(differ, 1) << n;
    EXPECT_EQ(x[(size_t)n], 7);
    EXPECT_EQ(all.count, one.count);
  }
}

TEST(Rng, NormalAndBetaHaveTheirMoments) {
  const int n = 100000;
  double sum = 0, square = 0, fourth = 0;
  for (int i = 0; i < n; i++) {
    ig_rng r = ig_rng_make(1, 2, (uint64_t)i);
    double x = ig_rng_normal(&r);
    sum += x, square += x * x, fourth += x * x * x * x;
  }
  EXPECT_NEAR(sum / n, 0, 0.02);
  EXPECT_NEAR(square / n, 1, 0.03);
  EXPECT_NEAR(fourth / n, 3, 0.2);
  for (float a : {0.01f, 0.2f, 1.0f, 3.0f}) {
    ig_rng r = ig_rng_make(3, 4, 5);
    double mean = 0, variance = 0;
    for (int i = 0; i < n; i++) {
      float x = ig_rng_beta(&r, a);
      ASSERT_GE(x, 0);
      ASSERT_LE(x, 1);
      mean += x, variance += (x - 0.5) * (x - 0.5);
    }
    EXPECT_NEAR(mean / n, 0.5, 0.01) << a;
    EXPECT_NEAR(variance / n, 1 / (4 * (2 * a + 1)), 0.004) << a;
  }
}

TEST(Rng, PermuteIsAPermutation) {
  std::vector<uint64_t> sizes;
  for (uint64_t n = 1; n <= 130; n++)
    sizes.push_back(n);
  sizes.insert(sizes.end(), {255, 256, 257, 1000, 4095, 4096, 4097, 50000});
  for (uint64_t n : sizes)
    for (uint64_t key : {0ull, 77ull}) {
      std::vector<bool> hit(n);
      for (uint64_t i = 0; i < n; i++) {
        uint64_t x = ig_permute(key, n, i);
        ASSERT_LT(x, n);
        ASSERT_FALSE(hit[x]) << n << " " << i;
        hit[x] = true;
      }
    }
  std::set<uint64_t> seen;
  const uint64_t huge = (1ull << 40) + 7;
  for (uint64_t i = 0; i < 2000; i++) {
    uint64_t x = ig_permute(5, huge, huge - 1 - i);
    ASSERT_LT(x, huge);
    ASSERT_TRUE(seen.insert(x).second);
  }
  EXPECT_LT(ig_permute(9, ~0ull, 12345), ~0ull);
}

TEST(Rng, PermuteIsUniformOverKeys) {
  for (uint64_t n : {3, 10, 17}) {
    const int draws = 20000;
    for (uint64_t position : {uint64_t(0), n - 1}) {
      std::vector<int> count(n);
      for (int key = 0; key < draws; key++)
        count[ig_permute(ig_hash_mix(1, (uint64_t)key), n, position)]++;
      double expected = (double)draws / (double)n, chi2 = 0;
      for (int c : count)
        chi2 += (c - expected) * (c - expected) / expected;
      EXPECT_LT(chi2, (double)n + 6 * std::sqrt(2.0 * (double)n)) << n;
    }
  }
  // Neighbours do not stay neighbours: fixed steps would show as few distinct differences.
  std::set<int64_t> steps;
  for (uint64_t i = 0; i + 1 < 1000; i++)
    steps.insert((int64_t)ig_permute(3, 1000, i + 1) - (int64_t)ig_permute(3, 1000, i));
  EXPECT_GT(steps.size(), 500u);
}

// ---- element types

// Value of a positive 16-bit float by its definition; the pattern after the largest is taken as the next power of two.
double half_value(uint16_t h, int exponent_bits, int mantissa_bits) {
  int exponent = h >> mantissa_bits, bias = (1 << (exponent_bits - 1)) - 1, fraction = h & ((1 << mantissa_bits) - 1);
  return exponent == 0 ? std::ldexp(fraction, 1 - bias - mantissa_bits)
                       : std::ldexp((1 << mantissa_bits) + fraction, exponent - bias - mantissa_bits);
}

struct Half {
  ig_dtype type;
  int exponent_bits, mantissa_bits;
  uint16_t infinity;
  uint16_t (*from)(float);
  float (*to)(uint16_t);
};

class Halves : public testing::TestWithParam<Half> {};

TEST_P(Halves, ExhaustiveValuesAndRounding) {
  Half half = GetParam();
  for (uint32_t u = 0; u < 65536; u++) {
    uint16_t h = (uint16_t)u, magnitude = h & 0x7fff;
    float x = half.to(h);
    EXPECT_EQ(std::signbit(x), h >> 15 == 1);
    if (magnitude > half.infinity) {
      ASSERT_TRUE(std::isnan(x));
      ASSERT_GT(half.from(x) & 0x7fff, half.infinity);
      continue;
    }
    ASSERT_EQ(half.from(x), h);
    if (magnitude == half.infinity) {
      ASSERT_TRUE(std::isinf(x));
      continue;
    }
    double value = half_value(magnitude, half.exponent_bits, half.mantissa_bits);
    ASSERT_EQ(std::fabs((double)x), value);
    if (h >> 15)
      continue;
    // Half way to the next pattern goes to the even one, everything else to the nearer; the same from double.
    double next = half_value((uint16_t)(h + 1), half.exponent_bits, half.mantissa_bits), middle = (value + next) / 2;
    uint16_t even = (uint16_t)(h & 1 ? h + 1 : h), got;
    ig_store_f64(&got, half.type, 0, middle);
    ASSERT_EQ(got, even) << h;
    ig_store_f64(&got, half.type, 0, -std::nextafter(middle, 0));
    ASSERT_EQ(got, h | 0x8000);
    ig_store_f64(&got, half.type, 0, std::nextafter(middle, next));
    ASSERT_EQ(got, h + 1);
    if ((double)(float)middle == middle) {
      ASSERT_EQ(half.from((float)middle), even);
      ASSERT_EQ(half.from(std::nextafterf((float)middle, 0)), h);
      ASSERT_EQ(half.from(std::nextafterf((float)middle, INFINITY)), h + 1);
    }
  }
}
INSTANTIATE_TEST_SUITE_P(Types, Halves,
                         testing::Values(Half{IG_F16, 5, 10, 0x7c00, ig_f16_from_f32, ig_f32_from_f16},
                                         Half{IG_BF16, 8, 7, 0x7f80, ig_bf16_from_f32, ig_f32_from_bf16}));

TEST(Dtype, ConvertEveryPair) {
  const double small[] = {0, 1, 2, 7, 100, 200};
  for (int from = 0; from < IG_N_DTYPES; from++)
    for (int to = 0; to < IG_N_DTYPES; to++) {
      uint64_t a[6], b[6];
      for (size_t i = 0; i < 6; i++)
        ig_store_f64(a, (ig_dtype)from, i, small[i]);
      ig_convert(b, (ig_dtype)to, a, (ig_dtype)from, 6);
      for (size_t i = 0; i < 6; i++)
        EXPECT_EQ(ig_load_f64(b, (ig_dtype)to, i), small[i])
            << ig_dtype_name((ig_dtype)from) << ig_dtype_name((ig_dtype)to);
    }
  const double odd[] = {-1e30, -0.5, 0.5, 1.5, 2.5, 1e30, NAN};
  int32_t i32[7];
  uint8_t u8[7];
  uint64_t u64[7];
  int64_t i64[7];
  ig_convert(i32, IG_I32, odd, IG_F64, 7);
  ig_convert(u8, IG_U8, odd, IG_F64, 7);
  ig_convert(u64, IG_U64, odd, IG_F64, 7);
  ig_convert(i64, IG_I64, odd, IG_F64, 7);
  EXPECT_EQ(std::vector<int>(i32, i32 + 7), (std::vector<int>{INT32_MIN, 0, 0, 2, 2, INT32_MAX, 0}));
  EXPECT_EQ(std::vector<int>(u8, u8 + 7), (std::vector<int>{0, 0, 0, 2, 2, 255, 0}));
  EXPECT_EQ(u64[5], UINT64_MAX);
  EXPECT_EQ(i64[0], INT64_MIN);
  EXPECT_EQ(i64[5], INT64_MAX);
  // Integers beyond 2^53 pass between the integer types unrounded.
  uint64_t big = (1ull << 62) + 1;
  ig_convert(i64, IG_I64, &big, IG_U64, 1);
  EXPECT_EQ((uint64_t)i64[0], big);
}

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

// ---- files

using Files = TempFolder;

TEST_F(Files, ReadWholeFiles) {
  uint8_t *data;
  size_t n;
  for (size_t size : {0, 1, 4095, 4096, 4097, 300000}) {
    put("a", std::string(size, 'x'));
    ASSERT_EQ(ig_file_read(at("a").c_str(), size, &data, &n), IG_OK) << message();
    EXPECT_EQ(std::string((char *)data, n), std::string(size, 'x'));
    EXPECT_EQ(data[n], 0);
    ig_free(data);
  }
  EXPECT_EQ(ig_file_read(at("a").c_str(), 299999, &data, &n), IG_ERR_FORMAT);
  EXPECT_TRUE(says(at("a")) && says("300000") && says("299999")) << message();
  EXPECT_EQ(ig_file_read(at("missing").c_str(), 10, &data, &n), IG_ERR_NOT_FOUND);
  EXPECT_TRUE(says("No such file")) << message();
  EXPECT_EQ(data, nullptr);
  ASSERT_EQ(ig_file_read("/proc/self/status", 1 << 20, &data, &n), IG_OK);  // claims to have 0 bytes
  EXPECT_NE(strstr((char *)data, "VmHWM"), nullptr);
  ig_free(data);
  EXPECT_EQ(ig_file_read("/proc/self/status", 100, &data, &n), IG_ERR_FORMAT);
}

TEST_F(Files, MapRefusesWhatIsNoFile) {
  ig_mapped m;
  put("a", "hello");
  ASSERT_EQ(ig_file_map(at("a").c_str(), &m), IG_OK);
  EXPECT_EQ(std::string((char *)m.data, m.n), "hello");
  ig_file_unmap(&m);
  EXPECT_EQ(m.data, nullptr);
  put("empty", "");
  ASSERT_EQ(ig_file_map(at("empty").c_str(), &m), IG_OK);
  EXPECT_EQ(m.n, 0u);
  ig_file_unmap(&m);
  ASSERT_EQ(mkfifo(at("fifo").c_str(), 0600), 0);  // nobody writes: a blocking open would hang
  EXPECT_EQ(ig_file_map(at("fifo").c_str(), &m), IG_ERR_FORMAT);
  EXPECT_TRUE(says("FIFO"));
  EXPECT_EQ(ig_file_map(root.c_str(), &m), IG_ERR_FORMAT);
  EXPECT_TRUE(says("folder"));
  EXPECT_EQ(ig_file_map("/dev/zero", &m), IG_ERR_FORMAT);
  fs::create_symlink("loop", at("loop"));
  EXPECT_EQ(ig_file_map(at("loop").c_str(), &m), IG_ERR_NOT_FOUND);
  fs::create_symlink("nothing", at("dangling"));
  EXPECT_EQ(ig_file_map(at("dangling").c_str(), &m), IG_ERR_NOT_FOUND);
}

TEST_F(Files, FoldersAndTrees) {
  ASSERT_EQ(ig_make_dirs(at("a/b//c/").c_str()), IG_OK) << message();
  EXPECT_TRUE(ig_path_is_dir(at("a/b/c").c_str()));
  ASSERT_EQ(ig_make_dirs(at("a/b/c").c_str()), IG_OK);
  put("file", "x");
  EXPECT_EQ(ig_make_dirs(at("file/sub").c_str()), IG_ERR_IO);
  EXPECT_TRUE(says("is a file")) << message();
  put("kept/inside", "x");
  put("a/b/one", "1");
  fs::create_directory_symlink(at("kept"), at("a/link"));
  for (int i = 0; i < 300; i++)
    put("a/many/" + std::to_string(i), "");
  ASSERT_EQ(ig_remove_tree(at("a").c_str()), IG_OK) << message();
  EXPECT_FALSE(ig_path_exists(at("a").c_str()));
  EXPECT_EQ(get("kept/inside"), "x");
  EXPECT_EQ(ig_remove_tree(at("a").c_str()), IG_OK);
  fs::create_directory_symlink(at("kept"), at("link"));
  ASSERT_EQ(ig_remove_tree(at("link").c_str()), IG_OK);
  EXPECT_EQ(get("kept/inside"), "x");
}

TEST_F(Files, PathsAndRoom) {
  char *out;
  for (auto [a, b, expected] : std::vector<std::tuple<const char *, const char *, const char *>>{
           {"a", "b", "a/b"}, {"a/", "b", "a/b"}, {"", "b", "b"}, {"a", "/b", "/b"}, {"/", "b", "/b"}}) {
    ASSERT_EQ(ig_path_join(&out, a, b), IG_OK);
    EXPECT_STREQ(out, expected);
    ig_free(out);
  }
  uint64_t here, there, relative;
  ASSERT_EQ(ig_free_bytes(root.c_str(), &here), IG_OK);
  ASSERT_EQ(ig_free_bytes(at("not/yet/made").c_str(), &there), IG_OK) << message();
  ASSERT_EQ(ig_free_bytes("nothing_here", &relative), IG_OK) << message();
  EXPECT_GT(here, 0u);
  EXPECT_NEAR((double)there, (double)here, 1e9);  // others write at the same time
  EXPECT_GT(relative, 0u);
}

// A table that counts calls and fails chosen ones; the plain system calls otherwise.
struct Fault {
  int calls, fail_at, fail_errno;
  bool forever;
  size_t write_cap;  // at most so many bytes a write
} fault;
const ig_fileops *real_ops;
bool failing() {
  fault.calls++;
  if (fault.fail_at == 0 || (fault.forever ? fault.calls < fault.fail_at : fault.calls != fault.fail_at))
    return false;
  errno = fault.fail_errno;
  return true;
}
const ig_fileops &faulty_ops() {
  static ig_fileops ops;
  ig_fileops_set(nullptr);
  real_ops = ig_fileops_get();
  ops = *real_ops;
  ops.open = [](const char *p, int f, mode_t m) { return failing() ? -1 : real_ops->open(p, f, m); };
  ops.read = [](int fd, void *b, size_t n) { return failing() ? (ssize_t)-1 : real_ops->read(fd, b, n); };
  ops.write = [](int fd, const void *b, size_t n) {
    return failing() ? (ssize_t)-1 : real_ops->write(fd, b, std::min(n, fault.write_cap));
  };
  ops.ftruncate = [](int fd, off_t n) { return failing() ? -1 : real_ops->ftruncate(fd, n); };
  ops.fsync = [](int fd) { return failing() ? -1 : real_ops->fsync(fd); };
  ops.close = [](int fd) {  // as the kernel: the descriptor is gone even where an error is reported
    bool fail = failing();
    int rc = real_ops->close(fd);
    if (fail)
      errno = fault.fail_errno;
    return fail ? -1 : rc;
  };
  ops.rename = [](const char *a, const char *b) { return failing() ? -1 : real_ops->rename(a, b); };
  ops.unlink = [](const char *a) { return failing() ? -1 : real_ops->unlink(a); };
  ops.mkdir = [](const char *a, mode_t m) { return failing() ? -1 : real_ops->mkdir(a, m); };
  ops.fstat = [](int fd, struct stat *st) { return failing() ? -1 : real_ops->fstat(fd, st); };
  ops.stat = [](const char *a, struct stat *st) { return failing() ? -1 : real_ops->stat(a, st); };
  ops.mmap = [](size_t n, int fd) { return failing() ? MAP_FAILED : real_ops->mmap(n, fd); };
  return ops;
}
int open_descriptors() { return (int)std::distance(fs::directory_iterator("/proc/self/fd"), fs::directory_iterator()); }

TEST_F(Files, WriteAtomicSurvivesEveryFault) {
  const std::string old_text = "the old content", new_text(100000, 'n');
  int descriptors = open_descriptors(), failures = 0;
  int64_t live = ig_mem_live();
  for (bool forever : {false, true})
    for (int code : {EIO, ENOSPC})
      for (int at_call = 1;; at_call++) {
        put("target", old_text);
        fault = {0, at_call, code, forever, 30000};
        ig_fileops_set(&faulty_ops());
        ig_status status = ig_file_write_atomic(at("target").c_str(), new_text.data(), new_text.size());
        ig_fileops_set(nullptr);
        std::string now = get("target");
        ASSERT_TRUE(now == old_text || now == new_text) << "call " << at_call << ": torn file";
        ASSERT_EQ(open_descriptors(), descriptors);
        if (status == IG_OK) {
          ASSERT_EQ(now, new_text);
          if (fault.calls < at_call)
            break;
          continue;  // closing the folder after its sync may fail without harm
        }
        failures++;
        ASSERT_EQ(status, IG_ERR_IO);
        ASSERT_TRUE(says(at("target")) || says(root)) << message();
        ASSERT_TRUE(says(strerror(code))) << message();
        // Calls: create, four writes, sync, close, rename; then the folder's open and sync.
        ASSERT_EQ(now, at_call <= 8 ? old_text : new_text) << at_call;
        ASSERT_TRUE(forever || entries() == 1) << "a temporary file remains after call " << at_call;
        for (auto &e : fs::directory_iterator(root))
          fs::remove(e);
      }
  EXPECT_EQ(failures, 4 * 10);
  EXPECT_EQ(ig_mem_live(), live);
}

TEST_F(Files, WriteAtomicWithoutMemoryKeepsTheOldFile) {
  put("target", "old");
  int64_t live = ig_mem_live();
  for (int n = 1;; n++) {
    ig_mem_fail_after(n, 0);
    ig_status status = ig_file_write_atomic(at("target").c_str(), "new", 3);
    ig_mem_fail_after(0, 0);
    EXPECT_EQ(ig_mem_live(), live);
    if (status == IG_OK) {
      EXPECT_GT(n, 1);
      break;
    }
    EXPECT_EQ(status, IG_ERR_MEMORY);
    EXPECT_EQ(get("target"), "old");
  }
  EXPECT_EQ(get("target"), "new");
}

TEST_F(Files, WriteAtomicStepsOverLeftovers) {
  for (int i = 0; i < 3; i++)  // as a killed process with our thread's number would leave
    put("target." + std::to_string(gettid()) + "-" + std::to_string(i) + ".tmp", "junk");
  ASSERT_EQ(ig_file_write_atomic(at("target").c_str(), "new", 3), IG_OK) << message();
  EXPECT_EQ(get("target"), "new");
  EXPECT_EQ(ig_file_write_atomic(at("no/folder").c_str(), "new", 3), IG_ERR_NOT_FOUND);
}

TEST_F(Files, WritesRetryInterruptsAndShortCounts) {
  static int interrupts;
  ig_fileops ops = *ig_fileops_get();
  interrupts = 0;
  ops.write = [](int fd, const void *b, size_t n) -> ssize_t {
    if (interrupts++ % 2 == 0) {
      errno = EINTR;
      return -1;
    }
    return write(fd, b, std::min<size_t>(n, 7));
  };
  ops.read = [](int fd, void *b, size_t n) -> ssize_t {
    if (interrupts++ % 2 == 0) {
      errno = EINTR;
      return -1;
    }
    return read(fd, b, std::min<size_t>(n, 5));
  };
  ig_fileops_set(&ops);
  std::string text = "0123456789012345678901234567890123456789";
  ASSERT_EQ(ig_file_write_atomic(at("a").c_str(), text.data(), text.size()), IG_OK) << message();
  uint8_t *data;
  size_t n;
  ASSERT_EQ(ig_file_read(at("a").c_str(), 100, &data, &n), IG_OK) << message();
  EXPECT_EQ(std::string((char *)data, n), text);
  ig_free(data);
  EXPECT_GT(interrupts, 20);
}

TEST_F(Files, FailedAppendLeavesNoHalfRecord) {
  ASSERT_EQ(ig_file_append(at("log").c_str(), "one\n", 4), IG_OK);
  fault = {0, 4, ENOSPC, false, 2};  // open, fstat, write of 2 bytes, then no room
  ig_fileops_set(&faulty_ops());
  EXPECT_EQ(ig_file_append(at("log").c_str(), "two\n", 4), IG_ERR_IO);
  ig_fileops_set(nullptr);
  EXPECT_TRUE(says("No space left")) << message();
  EXPECT_EQ(get("log"), "one\n");
  ASSERT_EQ(ig_file_append(at("log").c_str(), "three\n", 6), IG_OK);
  EXPECT_EQ(get("log"), "one\nthree\n");
}

TEST_F(Files, AnAppendWhoseCloseFailsLeavesNoRecord) {
  ASSERT_EQ(ig_file_append(at("log").c_str(), "one\n", 4), IG_OK);
  fault = {0, 4, EIO, false, 100};  // open, fstat, write, close
  ig_fileops_set(&faulty_ops());
  EXPECT_EQ(ig_file_append(at("log").c_str(), "two\n", 4), IG_ERR_IO);
  ig_fileops_set(nullptr);
  EXPECT_TRUE(says("close")) << message();
  EXPECT_EQ(get("log"), "one\n");
}

TEST_F(Files, ReadersReportEveryFault) {
  put("a", "hello");
  int descriptors = open_descriptors();
  int64_t live = ig_mem_live();
  int failures = 0;
  for (int at_call = 1;; at_call++) {
    fault = {0, at_call, EIO, false, 100};
    ig_fileops_set(&faulty_ops());
    uint8_t *data;
    size_t n;
    ig_status status = ig_file_read(at("a").c_str(), 100, &data, &n);
    ig_mapped m = {};
    int read_calls = fault.calls;
    if (read_calls < at_call) {
      fault.calls = 0;
      fault.fail_at = at_call - read_calls;
      if (ig_file_map(at("a").c_str(), &m) != IG_OK)
        failures++;
    }
    ig_fileops_set(nullptr);
    ASSERT_EQ(open_descriptors(), descriptors);
    bool finished = fault.calls < fault.fail_at;
    ig_file_unmap(&m);
    failures += status != IG_OK;
    ig_free(data);
    ASSERT_EQ(ig_mem_live(), live);
    if (finished)
      break;
  }
  EXPECT_EQ(failures, 4 + 3);  // open, fstat, two reads; open, fstat, mmap (closing a file that was only read may fail)
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
