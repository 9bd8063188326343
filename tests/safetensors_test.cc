// floor: ig_ckpt
// safetensors: every bad file refused with a message that says where, every good one read, the writer byte for byte the
// official one.
#include "runtime/ckpt/safetensors.h"

#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <random>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

extern "C" {
#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
}

namespace fs = std::filesystem;

class Safetensors : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/ig_st_XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    dir = name;
    live = ig_mem_live();
  }
  void TearDown() override {
    EXPECT_EQ(ig_mem_live(), live) << "leak";
    fs::remove_all(dir);
  }
  std::string at(const std::string &name) const { return (dir / name).string(); }
  std::string put(const std::string &bytes, const std::string &name = "x.safetensors") const {
    std::ofstream(at(name), std::ios::binary).write(bytes.data(), (std::streamsize)bytes.size());
    return at(name);
  }
  // Opens bytes that must be refused; returns the message.
  std::string refusal(const std::string &bytes, ig_status expected = IG_ERR_FORMAT) const {
    std::string path = put(bytes);
    ig_st *st = nullptr;
    ig_status status = ig_st_open(path.c_str(), &st);
    EXPECT_EQ(status, expected) << ig_error_message();
    EXPECT_EQ(st, nullptr);
    ig_st_close(st);
    std::string message = status == IG_OK ? "" : ig_error_message();
    EXPECT_NE(message.find(path), std::string::npos) << "the message does not name the file: " << message;
    return message;
  }
  fs::path dir;
  int64_t live;
};

static std::string u64(uint64_t v) { return std::string((const char *)&v, 8); }
static std::string file_of(const std::string &json, const std::string &data = "") {
  return u64(json.size()) + json + data;
}
static bool has(const std::string &text, const std::string &part) { return text.find(part) != std::string::npos; }
static std::string slurp(const std::string &path) {
  std::ifstream in(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(in), {});
}

TEST_F(Safetensors, EmptyAndTruncated) {  // bad inputs 1, 2
  EXPECT_TRUE(has(refusal(""), "empty"));
  EXPECT_TRUE(has(refusal("abc"), "truncated"));
  std::string whole = file_of(R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,12]}})", std::string(12, 1));
  for (size_t n = 0; n < whole.size(); n++)
    EXPECT_NE(refusal(whole.substr(0, n)), "");
  EXPECT_TRUE(has(refusal(whole.substr(0, whole.size() - 1)), "truncated"));
}

TEST_F(Safetensors, HeaderLength) {  // 3
  EXPECT_TRUE(has(refusal(u64(UINT64_MAX) + "{}"), "18446744073709551615"));
  EXPECT_TRUE(has(refusal(u64(3) + "{}"), "only 2 bytes follow"));
  EXPECT_TRUE(has(refusal(u64(100000001) + "{}"), "at most 100000000"));
  EXPECT_TRUE(has(refusal(u64(0) + "{}"), "must start with '{'"));
  EXPECT_TRUE(has(refusal(file_of(" {}")), "must start with '{'"));
}

TEST_F(Safetensors, Json) {  // 4, 5
  EXPECT_TRUE(has(refusal(file_of("{\"a\":}")), "invalid JSON"));
  EXPECT_TRUE(has(refusal(file_of("{} x")), "invalid JSON"));
  EXPECT_TRUE(has(refusal(file_of("{\"\xff\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}")), "invalid"));
  EXPECT_TRUE(has(refusal(file_of("{\"a\":" + std::string(1000000, '[') + "}")), "nested"));
  EXPECT_TRUE(has(refusal(file_of("{\"a\":[" + std::string(20000000, ',') + "]}")), "JSON values"));
  std::string one = R"("a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]})";
  EXPECT_TRUE(has(refusal(file_of("{" + one + "," + one + "}", "1234")), "duplicate"));
  std::string escaped = R"("\u0061":{"dtype":"F32","shape":[1],"data_offsets":[0,4]})";
  EXPECT_TRUE(has(refusal(file_of("{" + one + "," + escaped + "}", "1234")), "duplicate"));
  std::string twice = R"({"a":{"dtype":"F32","dtype":"I32","shape":[1],"data_offsets":[0,4]}})";
  EXPECT_TRUE(has(refusal(file_of(twice, "1234")), "duplicate"));
  EXPECT_TRUE(has(refusal(file_of(R"({"__metadata__":{"a":1}})")), "not a string"));
  EXPECT_TRUE(has(refusal(file_of(R"({"__metadata__":[]})")), "__metadata__"));
  EXPECT_TRUE(has(refusal(file_of(R"({"a":3})")), "object expected"));
  EXPECT_TRUE(has(refusal(file_of(R"({"a\u0000b":3})")), "invalid JSON"));
}

TEST_F(Safetensors, Layout) {  // 6
  auto two = [](int b0, int e0, int b1, int e1, size_t n) {
    std::string s = "{\"first\":{\"dtype\":\"U8\",\"shape\":[" + std::to_string(e0 - b0) + "],\"data_offsets\":[" +
                    std::to_string(b0) + "," + std::to_string(e0) + "]},\"second\":{\"dtype\":\"U8\",\"shape\":[" +
                    std::to_string(e1 - b1) + "],\"data_offsets\":[" + std::to_string(b1) + "," + std::to_string(e1) +
                    "]}}";
    return file_of(s, std::string(n, 'x'));
  };
  EXPECT_TRUE(has(refusal(two(0, 8, 4, 12, 12)), "overlap"));
  EXPECT_TRUE(has(refusal(two(0, 8, 4, 8, 8)), "overlap"));
  EXPECT_TRUE(has(refusal(two(0, 8, 0, 8, 8)), "overlap"));
  EXPECT_TRUE(has(refusal(two(0, 4, 8, 12, 12)), "hole"));
  EXPECT_TRUE(has(refusal(two(4, 8, 8, 12, 12)), "hole"));
  EXPECT_TRUE(has(refusal(two(0, 4, 4, 8, 9)), "1 byte after the last tensor"));
  EXPECT_TRUE(has(refusal(file_of("{}", "x")), "1 byte after"));
}

TEST_F(Safetensors, ShapesAndTypes) {  // 7, 8, 9
  auto one = [](const std::string &dtype, const std::string &shape, const std::string &offsets, size_t n) {
    return file_of("{\"w\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}}",
                   std::string(n, 'x'));
  };
  EXPECT_TRUE(has(refusal(one("F32", "[4294967296,4294967296]", "[0,0]", 0)), "overflows"));
  EXPECT_TRUE(has(refusal(one("F32", "[4611686018427387904]", "[0,0]", 0)), "overflows"));
  EXPECT_TRUE(has(refusal(one("F32", "[9223372036854775808]", "[0,0]", 0)), "invalid JSON"));
  EXPECT_TRUE(has(refusal(one("F32", "[3]", "[0,8]", 8)), "span 8 bytes"));
  EXPECT_TRUE(has(refusal(one("F64", "[1]", "[0,4]", 4)), "need 8"));
  EXPECT_TRUE(has(refusal(one("F33", "[1]", "[0,4]", 4)), "unknown dtype \"F33\""));
  EXPECT_TRUE(has(refusal(one("F4", "[3]", "[0,1]", 1)), "whole bytes"));
  for (const char *shape : {"[1.0]", "[-1]", "[\"1\"]", "[1e0]", "[true]", "1", "null"})
    EXPECT_TRUE(has(refusal(one("F32", shape, "[0,4]", 4)), "shape")) << shape;
  for (const char *offsets : {"[0]", "[0,4,4]", "[0,4.0]", "[-4,0]", "[4,0]", "\"0,4\"", "null"})
    EXPECT_TRUE(has(refusal(one("F32", "[1]", offsets, 4)), "data_offsets")) << offsets;
  EXPECT_TRUE(has(refusal(one("F32", "[1]", "[9223372036854775803,9223372036854775807]", 4)), "truncated"));
  std::string deep = "[1";
  for (int i = 0; i < 40; i++)
    deep += ",1";
  EXPECT_TRUE(has(refusal(one("F32", deep + "]", "[0,4]", 4)), "41 dimensions"));
  EXPECT_TRUE(has(refusal(file_of(R"({"w":{"shape":[1],"data_offsets":[0,4]}})", "1234")), "dtype"));
  EXPECT_TRUE(has(refusal(file_of("{\"bad\\nname\":{\"dtype\":\"X\"}}")), "bad\\x0aname"));
}

TEST_F(Safetensors, OtherFormatsAreNamed) {  // 19
  EXPECT_TRUE(has(refusal("PK\3\4" + std::string(60, 0)), "zip archive"));
  EXPECT_TRUE(
      has(refusal(std::string("\x80\2\x8a\x0al\xfc\x9c\x46\xf9 j\xa8P\x19.", 14) + std::string(60, 'x')), "pickle"));
  EXPECT_TRUE(has(refusal("\x89HDF\r\n\x1a\n" + std::string(60, 0)), "HDF5"));
  EXPECT_TRUE(has(refusal("<!DOCTYPE html><html></html>"), "HTML"));
  EXPECT_TRUE(has(refusal("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), "git-lfs"));
  EXPECT_TRUE(has(refusal("{\"a\": 1, \"b\": 2}"), "JSON"));
  // A header of 640 bytes starts like a pickle and is none.
  std::string header = "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}";
  header.resize(640, ' ');
  std::string path = put(file_of(header, "x"));
  ig_st *st;
  ASSERT_EQ(ig_st_open(path.c_str(), &st), IG_OK) << ig_error_message();
  ig_st_close(st);
}

TEST_F(Safetensors, NotARegularFile) {
  ig_st *st;
  EXPECT_EQ(ig_st_open(at("absent").c_str(), &st), IG_ERR_NOT_FOUND);
  EXPECT_NE(ig_st_open(dir.c_str(), &st), IG_OK);
  ASSERT_EQ(mkfifo(at("fifo").c_str(), 0600), 0);
  EXPECT_NE(ig_st_open(at("fifo").c_str(), &st), IG_OK);
}

TEST_F(Safetensors, ReadsWhatIsValid) {
  // Unaligned data, a scalar, an empty tensor, unknown fields, padding, metadata; U8 first shifts all the rest by one.
  std::string json =
      R"({"__metadata__":{"k":"v\u00e9"},"s":{"dtype":"I64","shape":[],"data_offsets":[1,9],"more":[{}]},)"
      R"("e":{"dtype":"F32","shape":[2,0],"data_offsets":[9,9]},"b":{"dtype":"U8","shape":[1],)"
      R"("data_offsets":[0,1]},"w":{"dtype":"F32","shape":[1,2],"data_offsets":[9,17]}})";
  int64_t scalar = -5;
  float w[2] = {1.5f, -2.5f};
  std::string data = "\7" + std::string((char *)&scalar, 8) + std::string((char *)w, 8);
  std::string path = put(file_of(json + "   ", data));
  ig_st *st;
  ASSERT_EQ(ig_st_open(path.c_str(), &st), IG_OK) << ig_error_message();
  ASSERT_EQ(ig_st_count(st), 4u);
  EXPECT_STREQ(ig_st_get(st, 0)->name, "b");
  EXPECT_STREQ(ig_st_metadata(st, "k"), "v\xc3\xa9");
  EXPECT_EQ(ig_st_metadata(st, "absent"), nullptr);
  EXPECT_EQ(ig_st_find(st, "absent"), nullptr);
  const ig_st_tensor *t = ig_st_find(st, "s");
  ASSERT_NE(t, nullptr);
  EXPECT_EQ(t->n_dims, 0);
  EXPECT_EQ(t->n, 1);
  double d = 0;
  EXPECT_EQ(ig_st_convert(t, &d, IG_F64), IG_OK);
  EXPECT_EQ(d, -5);
  t = ig_st_find(st, "w");
  ASSERT_NE(t, nullptr);
  EXPECT_EQ(t->dims[1], 2);
  float f[2];
  EXPECT_EQ(ig_st_convert(t, f, IG_F32), IG_OK);
  EXPECT_EQ(memcmp(f, w, 8), 0);
  EXPECT_EQ(ig_st_find(st, "e")->bytes, 0u);
  ig_st_close(st);
  path = put(file_of("{}"));
  ASSERT_EQ(ig_st_open(path.c_str(), &st), IG_OK) << ig_error_message();
  EXPECT_EQ(ig_st_count(st), 0u);
  EXPECT_EQ(ig_st_find(st, "a"), nullptr);
  EXPECT_EQ(ig_st_metadata(st, "a"), nullptr);
  ig_st_close(st);
}

TEST_F(Safetensors, ConvertsEveryType) {
  struct row {
    const char *dtype;
    std::string bytes;
    double value;
  };
  double f64 = 0.1;
  float f32 = -3.25f;
  int64_t i64 = -(1ll << 40);
  const row rows[] = {
      {"F64", std::string((char *)&f64, 8), 0.1},
      {"F32", std::string((char *)&f32, 4), -3.25},
      {"F16", std::string("\x00\xc2", 2), -3.0},
      {"BF16", std::string("\x40\xc0", 2), -3.0},
      {"I64", std::string((char *)&i64, 8), -1099511627776.0},
      {"U64", std::string("\0\0\0\0\0\0\0\x40", 8), 4611686018427387904.0},
      {"I32", std::string("\xfe\xff\xff\xff", 4), -2},
      {"U32", std::string("\xfe\xff\xff\xff", 4), 4294967294.0},
      {"I16", std::string("\xfe\xff", 2), -2},
      {"U16", std::string("\xfe\xff", 2), 65534},
      {"I8", "\xfe", -2},
      {"U8", "\xfe", 254},
      {"BOOL", "\x02", 1},
  };
  for (const row &r : rows) {
    // 2,500 copies: more than a block, and not a multiple of one.
    const int n = 2500;
    std::string data;
    for (int i = 0; i < n; i++)
      data += r.bytes;
    std::string json = "{\"w\":{\"dtype\":\"" + std::string(r.dtype) + "\",\"shape\":[2500],\"data_offsets\":[0," +
                       std::to_string(data.size()) + "]}}";
    json.resize(json.size() % 2 ? json.size() : json.size() + 1, ' ');  // odd header: unaligned data
    std::string path = put(file_of(json, data));
    ig_st *st;
    ASSERT_EQ(ig_st_open(path.c_str(), &st), IG_OK) << ig_error_message();
    std::vector<double> out(n, 99);
    std::vector<float> out32(n, 99);
    EXPECT_EQ(ig_st_convert(ig_st_get(st, 0), out.data(), IG_F64), IG_OK) << r.dtype;
    EXPECT_EQ(ig_st_convert(ig_st_get(st, 0), out32.data(), IG_F32), IG_OK) << r.dtype;
    for (int i = 0; i < n; i++) {
      ASSERT_EQ(out[(size_t)i], r.value) << r.dtype << i;
      ASSERT_EQ(out32[(size_t)i], (float)r.value) << r.dtype << i;
    }
    ig_dtype same;
    if (ig_st_dtype_to_ig(ig_st_get(st, 0)->dtype, &same)) {
      EXPECT_EQ(ig_st_dtype_from_ig(same), ig_st_get(st, 0)->dtype);
    }
    ig_st_close(st);
  }
  for (const char *dtype : {"F8_E4M3", "F8_E5M2", "F8_E8M0", "C64", "F4"}) {
    std::string bytes = strcmp(dtype, "C64") ? (strcmp(dtype, "F4") ? "12" : "1") : "12345678abcdefgh";
    std::string path = put(file_of("{\"scale_w\":{\"dtype\":\"" + std::string(dtype) +
                                       "\",\"shape\":[2],\"data_offsets\":[0," + std::to_string(bytes.size()) + "]}}",
                                   bytes));
    ig_st *st;
    float f[2];
    ASSERT_EQ(ig_st_open(path.c_str(), &st), IG_OK) << dtype << ig_error_message();
    EXPECT_EQ(ig_st_convert(ig_st_get(st, 0), f, IG_F32), IG_ERR_UNSUPPORTED);
    EXPECT_TRUE(has(ig_error_message(), dtype) && has(ig_error_message(), "scale_w")) << ig_error_message();
    ig_st_close(st);
  }
}

static std::string data_dir() {
  const char *env = getenv("INGOT_DATA"), *source = getenv("INGOT_SOURCE");
  return env ? env : (source ? std::string(source) : ".") + "/../shared/data";
}

TEST_F(Safetensors, PublicFiles) {
  struct row {
    const char *path;
    size_t count;
    const char *name;
    ig_st_dtype dtype;
    std::vector<int64_t> dims;
  };
  const row rows[] = {
      {"mlperf_tiny_resnet8/pretrainedResnet.safetensors", 0, "batch_normalization/beta:0", IG_ST_F32, {16}},
      {"resnet_cifar_weights/resnet20-12fca82f.safetensors", 0, "conv1.weight", IG_ST_F32, {16, 3, 3, 3}},
      {"resnet_cifar_weights/resnet56-4bfd9763.safetensors", 0, "conv1.weight", IG_ST_F32, {16, 3, 3, 3}},
      {"torch_file_fixtures/jfk-codes.safetensors", 1, "codes", IG_ST_I64, {1, 2, 828}},
  };
  if (!fs::exists(data_dir() + "/" + rows[0].path))
    GTEST_SKIP() << "no data at " << data_dir();
  for (const row &r : rows) {
    ig_st *st;
    ASSERT_EQ(ig_st_open((data_dir() + "/" + r.path).c_str(), &st), IG_OK) << ig_error_message();
    const ig_st_tensor *t = ig_st_find(st, r.name);
    ASSERT_NE(t, nullptr) << r.path;
    EXPECT_EQ(t->dtype, r.dtype);
    EXPECT_EQ(std::vector<int64_t>(t->dims, t->dims + t->n_dims), r.dims);
    if (r.count) {
      EXPECT_EQ(ig_st_count(st), r.count);
    }
    for (size_t i = 0; i < ig_st_count(st); i++)
      EXPECT_EQ(ig_st_find(st, ig_st_get(st, i)->name), ig_st_get(st, i));
    ig_st_close(st);
  }
}

// --- writing ---

struct Sample {
  std::vector<float> a = {1, 2, 3, 4, 5, 6};
  std::vector<int64_t> count = {42};
  std::vector<uint16_t> h = {0x3f80, 0x4000, 0x4040};
  std::vector<uint8_t> u = {1, 2, 3};
  std::vector<double> d = {0.5};
  int64_t dims_a[2] = {2, 3}, dims3[1] = {3}, dims1[1] = {1}, dims_e[2] = {0, 4};
  std::vector<ig_st_source> list() const {
    return {{"layer.weight", IG_F32, 2, dims_a, a.data()},
            {"u", IG_U8, 1, dims3, u.data()},
            {"bn.num", IG_I64, 0, nullptr, count.data()},
            {"half", IG_BF16, 1, dims3, h.data()},
            {"f16", IG_F16, 1, dims3, h.data()},
            {"empty", IG_F32, 2, dims_e, nullptr},
            {"\xc3\xa9/\"q\"", IG_F64, 1, dims1, d.data()},
            {"ints", IG_I32, 1, dims3, a.data()},
            {"u64", IG_U64, 0, nullptr, count.data()},
            {"a.bias", IG_F32, 1, dims3, a.data()}};
  }
};

TEST_F(Safetensors, WriteThenRead) {
  Sample sample;
  auto list = sample.list();
  const ig_st_pair pairs[] = {{"classes", "[\"ok\",\"scratch\"]"}, {"note", "line\nline"}};
  std::string path = at("model.safetensors");
  ASSERT_EQ(ig_st_write(path.c_str(), list.data(), list.size(), pairs, 2), IG_OK) << ig_error_message();
  EXPECT_FALSE(fs::exists(path + ".tmp"));
  std::string bytes = slurp(path);
  uint64_t n;
  memcpy(&n, bytes.data(), 8);
  EXPECT_EQ(n % 8, 0u);
  ig_st *st;
  ASSERT_EQ(ig_st_open(path.c_str(), &st), IG_OK) << ig_error_message();
  EXPECT_STREQ(ig_st_metadata(st, "format"), "pt");
  EXPECT_STREQ(ig_st_metadata(st, "classes"), "[\"ok\",\"scratch\"]");
  EXPECT_STREQ(ig_st_metadata(st, "note"), "line\nline");
  ASSERT_EQ(ig_st_count(st), list.size());
  for (const ig_st_source &s : list) {
    const ig_st_tensor *t = ig_st_find(st, s.name);
    ASSERT_NE(t, nullptr) << s.name;
    EXPECT_EQ(t->dtype, ig_st_dtype_from_ig(s.dtype));
    ASSERT_EQ(t->n_dims, s.n_dims);
    for (int i = 0; i < s.n_dims; i++)
      EXPECT_EQ(t->dims[i], s.dims[i]);
    if (t->bytes) {
      EXPECT_EQ(memcmp(t->data, s.data, t->bytes), 0) << s.name;
    }
    EXPECT_EQ((uintptr_t)t->data % ig_dtype_bytes(s.dtype), 0u) << "aligned: " << s.name;
  }
  ig_st_close(st);
}

TEST_F(Safetensors, WriterRefuses) {
  Sample sample;
  auto list = sample.list();
  auto status = [&](ig_st_source s) {
    auto all = list;
    all.push_back(s);
    ig_status result = ig_st_write(at("no.safetensors").c_str(), all.data(), all.size(), nullptr, 0);
    EXPECT_FALSE(fs::exists(at("no.safetensors")));
    return result;
  };
  int64_t minus[1] = {-1}, huge[2] = {1ll << 40, 1ll << 40}, one[1] = {1};
  EXPECT_EQ(status({"u", IG_F32, 1, one, sample.a.data()}), IG_ERR_USAGE);
  EXPECT_EQ(status({"__metadata__", IG_F32, 1, one, sample.a.data()}), IG_ERR_USAGE);
  EXPECT_EQ(status({"", IG_F32, 1, one, sample.a.data()}), IG_ERR_USAGE);
  EXPECT_EQ(status({"\xff", IG_F32, 1, one, sample.a.data()}), IG_ERR_USAGE);
  EXPECT_EQ(status({"x", IG_F32, 1, minus, sample.a.data()}), IG_ERR_USAGE);
  EXPECT_EQ(status({"x", IG_F32, 2, huge, sample.a.data()}), IG_ERR_USAGE);
  EXPECT_EQ(status({"x", IG_F32, 1, one, nullptr}), IG_ERR_USAGE);
  const ig_st_pair bad = {"k", "\xff"};
  EXPECT_EQ(ig_st_write(at("no.safetensors").c_str(), list.data(), list.size(), &bad, 1), IG_ERR_USAGE);
  EXPECT_EQ(ig_st_write("/nonexistent/x.safetensors", list.data(), list.size(), nullptr, 0), IG_ERR_NOT_FOUND);
}

TEST_F(Safetensors, OutOfMemoryLeaksNothing) {
  Sample sample;
  auto list = sample.list();
  std::string path = at("m.safetensors");
  ASSERT_EQ(ig_st_write(path.c_str(), list.data(), list.size(), nullptr, 0), IG_OK);
  for (int forever = 0; forever < 2; forever++) {
    int failures = 0;
    for (int64_t i = 1;; i++, failures++) {
      ig_st *st;
      ig_mem_fail_after(i, forever);
      ig_status status = ig_st_open(path.c_str(), &st);
      ig_mem_fail_after(0, 0);
      if (status == IG_OK) {
        ig_st_close(st);
        break;
      }
      ASSERT_EQ(status, IG_ERR_MEMORY) << ig_error_message();
      ASSERT_EQ(ig_mem_live(), live);
    }
    EXPECT_GT(failures, 3);
    failures = 0;
    for (int64_t i = 1;; i++, failures++) {
      ig_mem_fail_after(i, forever);
      ig_status status = ig_st_write(at("o.safetensors").c_str(), list.data(), list.size(), nullptr, 0);
      ig_mem_fail_after(0, 0);
      if (status == IG_OK)
        break;
      ASSERT_EQ(status, IG_ERR_MEMORY) << ig_error_message();
      ASSERT_EQ(ig_mem_live(), live);
    }
    EXPECT_GT(failures, 3);
  }
}

// Each file operation fails in turn; the old file must stay whole.
static ig_fileops real_ops, fault_ops;
static int64_t fault_countdown, fault_calls;
static int fault_errno;
static bool fault_forever;
static bool fault() {
  fault_calls++;
  if (fault_countdown == 0)
    return false;
  if (fault_countdown > 1) {
    fault_countdown--;
    return false;
  }
  if (!fault_forever)
    fault_countdown = 0;
  errno = fault_errno;
  return true;
}

TEST_F(Safetensors, EveryWriteFails) {
  Sample sample;
  auto list = sample.list();
  std::string path = at("m.safetensors");
  ASSERT_EQ(ig_st_write(path.c_str(), list.data(), 2, nullptr, 0), IG_OK);
  std::string before = slurp(path);
  real_ops = *ig_fileops_get();
  fault_ops = real_ops;
  fault_ops.open = [](const char *p, int f, mode_t m) { return fault() ? -1 : real_ops.open(p, f, m); };
  fault_ops.write = [](int fd, const void *p, size_t n) -> ssize_t { return fault() ? -1 : real_ops.write(fd, p, n); };
  fault_ops.fsync = [](int fd) { return fault() ? -1 : real_ops.fsync(fd); };
  fault_ops.rename = [](const char *a, const char *b) { return fault() ? -1 : real_ops.rename(a, b); };
  int failures = 0;
  for (int code : {ENOSPC, EIO}) {
    for (bool forever : {false, true}) {
      for (int64_t i = 1;; i++) {
        fault_countdown = i, fault_errno = code, fault_forever = forever;
        ig_fileops_set(&fault_ops);
        ig_status status = ig_st_write(path.c_str(), list.data(), list.size(), nullptr, 0);
        ig_fileops_set(nullptr);
        if (status == IG_OK)
          break;
        failures++;
        ASSERT_EQ(status, IG_ERR_IO);
        EXPECT_TRUE(has(ig_error_message(), strerror(code))) << ig_error_message();
        EXPECT_FALSE(fs::exists(path + ".tmp"));
        // Only the last fsync, of the folder, comes after the rename: then the new file is there whole.
        std::string now = slurp(path);
        ig_st *st;
        ASSERT_EQ(ig_st_open(path.c_str(), &st), IG_OK) << ig_error_message();
        EXPECT_TRUE(now == before || ig_st_count(st) == list.size());
        ig_st_close(st);
        ASSERT_EQ(ig_st_write(path.c_str(), list.data(), 2, nullptr, 0), IG_OK);
      }
    }
  }
  EXPECT_GT(failures, 20);
}

TEST_F(Safetensors, ThreeThousandBitFlips) {
  Sample sample;
  auto list = sample.list();
  std::string path = at("m.safetensors");
  ASSERT_EQ(ig_st_write(path.c_str(), list.data(), list.size(), nullptr, 0), IG_OK);
  const std::string good = slurp(path);
  uint64_t header;
  memcpy(&header, good.data(), 8);
  std::mt19937_64 random(7);
  int refused = 0;
  for (int i = 0; i < 3000; i++) {
    std::string bad = good;
    // Two thirds of the flips into length and header, where they can do harm.
    size_t bit = random() % (8 * (i % 3 ? 8 + header : bad.size()));
    bad[bit / 8] = (char)(bad[bit / 8] ^ (1 << bit % 8));
    put(bad, "m.safetensors");
    ig_st *st;
    ig_status status = ig_st_open(path.c_str(), &st);
    if (status != IG_OK) {
      ASSERT_EQ(status, IG_ERR_FORMAT) << ig_error_message();
      refused++;
      continue;
    }
    // Harmless: a name, a value or a type of the same size changed; every byte given out lies in the file.
    size_t total = 0;
    volatile uint8_t sum = 0;
    for (size_t t = 0; t < ig_st_count(st); t++) {
      const ig_st_tensor *tensor = ig_st_get(st, t);
      total += tensor->bytes;
      for (size_t b = 0; b < tensor->bytes; b++)
        sum = (uint8_t)(sum + tensor->data[b]);
    }
    EXPECT_EQ(total, good.size() - 8 - header);
    ig_st_close(st);
  }
  EXPECT_GT(refused, 1000);
}

// --- the official package ---

static std::string python() {
  const char *env = getenv("INGOT_PYTHON");
  return env ? env : "python3";
}
static bool python_has(const std::string &module) {
  return system((python() + " -c 'import numpy, " + module + "' >/dev/null 2>&1").c_str()) == 0;
}

TEST_F(Safetensors, OfficialPackageAgrees) {
  if (!python_has("safetensors.numpy"))
    GTEST_SKIP() << python() << " cannot import safetensors and numpy (INGOT_PYTHON=... chooses another)";
  Sample sample;
  std::vector<ig_st_source> list;
  for (const ig_st_source &s : sample.list())
    if (s.dtype != IG_BF16)  // numpy has none
      list.push_back(s);
  std::string ours = at("ours.safetensors"), theirs = at("theirs.safetensors");
  ASSERT_EQ(ig_st_write(ours.c_str(), list.data(), list.size(), nullptr, 0), IG_OK) << ig_error_message();
  std::string script = at("check.py");
  std::ofstream(script) << "import sys, numpy as np\n"
                           "from safetensors import safe_open\n"
                           "from safetensors.numpy import load_file, save_file\n"
                           "d = load_file(sys.argv[1])\n"
                           "assert d['layer.weight'].tolist() == [[1, 2, 3], [4, 5, 6]], d\n"
                           "assert d['bn.num'].shape == () and int(d['bn.num']) == 42\n"
                           "assert d['empty'].shape == (0, 4) and d['u'].tolist() == [1, 2, 3]\n"
                           "assert safe_open(sys.argv[1], 'np').metadata() == {'format': 'pt'}\n"
                           "save_file(d, sys.argv[2], metadata={'format': 'pt'})\n";
  ASSERT_EQ(system((python() + " " + script + " " + ours + " " + theirs).c_str()), 0);
  EXPECT_EQ(slurp(ours), slurp(theirs)) << "not byte for byte what the official package writes";
}
