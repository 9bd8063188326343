// floor: ig_train
// Weights that do not fit: refusals 9 to 14 and 19 of reliability.md, and metadata, each by a file that is changed in
// one place.
#include <cmath>
#include <cstring>
#include <fstream>
#include <gtest/gtest.h>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include "runtime/ckpt/safetensors.h"
#include "tests/weights_fixture.h"

namespace {

using namespace weights;

// A .safetensors file in memory, to be changed and written again.
struct Row {
  ig_dtype dtype;
  std::vector<int64_t> dims;
  std::vector<uint8_t> bytes;
};
struct File {
  std::map<std::string, Row> rows;
  std::vector<ig_st_pair> pairs;

  explicit File(Net &net) {
    for (size_t i = 0; i < net.g.params.n; i++) {
      const ig_param *p = net.g.params.items[i];
      const size_t n = (size_t)ig_shape_count(&p->shape) * sizeof(float);
      rows[p->name] = {IG_F32, {p->shape.d, p->shape.d + p->shape.n}, std::vector<uint8_t>(n)};
      memcpy(rows[p->name].bytes.data(), net.at(p), n);
    }
  }
  void convert(const std::string &name, ig_dtype to) {
    Row &r = rows.at(name);
    const size_t n = r.bytes.size() / ig_dtype_bytes(r.dtype);
    std::vector<uint8_t> out(n * ig_dtype_bytes(to));
    ig_convert(out.data(), to, r.bytes.data(), r.dtype, n);
    r = {to, r.dims, out};
  }
  void rename(const std::string &from, const std::string &to) {
    rows[to] = rows.at(from);
    rows.erase(from);
  }
  void write(const std::string &path) const {
    std::vector<ig_st_source> list;
    for (const auto &r : rows)
      list.push_back(
          {r.first.c_str(), r.second.dtype, (int)r.second.dims.size(), r.second.dims.data(), r.second.bytes.data()});
    must(ig_st_write(path.c_str(), list.data(), list.size(), pairs.data(), pairs.size()));
  }
};

TEST_F(Weights, PrefixOfDataParallel) {
  Net a("resnet20", 3, 1, 32), b("resnet20", 3, 1, 32);
  a.fill("");
  File f(a), prefixed(a);
  prefixed.rows.clear();
  for (const auto &r : f.rows)
    prefixed.rows["module." + r.first] = r.second;
  prefixed.write(file);
  must(b.load(file));
  EXPECT_EQ(b.report.extra, 0);
  expect_equal(a, b);
}

TEST_F(Weights, Refusal9Dtypes) {
  Net a("resnet20", 3, 1, 32), b("resnet20", 3, 1, 32);
  a.fill("");
  const char *const names[] = {"conv1.weight", "layer2.1.conv1.weight", "linear.weight"};
  const ig_dtype types[] = {IG_F16, IG_BF16, IG_F64};
  File f(a);
  for (int i = 0; i < 3; i++) {
    f.convert(names[i], types[i]);
    std::vector<float> back(f.rows[names[i]].bytes.size() / ig_dtype_bytes(types[i]));
    ig_convert(back.data(), IG_F32, f.rows[names[i]].bytes.data(), types[i], back.size());
    std::copy(back.begin(), back.end(), a.at(ig_params_find(&a.g.params, names[i])));
  }
  f.write(file);
  must(b.load(file));
  EXPECT_EQ(b.report.converted, 3);
  expect_equal(a, b);

  f.convert("bn1.bias", IG_I64);
  f.write(file);
  expect_refused(b.load(file), IG_ERR_FORMAT, {file, "bn1.bias", "I64", "F32"});
  File(a).write(file);
  std::ifstream in(file, std::ios::binary);
  std::string bytes((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  bytes.replace(bytes.find("\"F32\""), 5, "\"F99\"");
  std::ofstream(file, std::ios::binary) << bytes;
  expect_refused(b.load(file), IG_ERR_FORMAT, {file, "F99", "unknown dtype"});
}

TEST_F(Weights, Refusal10Missing) {
  Net a("resnet20", 3, 1, 32);
  a.fill("");
  File f(a);
  f.rename("layer1.0.conv1.weight", "layer1.0.conv1.wieght");
  f.write(file);
  expect_refused(a.load(file), IG_ERR_MISMATCH,
                 {file, "\"layer1.0.conv1.weight\"", "missing", "layer1.0.conv1.wieght", "did you mean"});
  Net other("resnet18", 3, 1, 32);  // another model altogether
  expect_refused(other.load(file), IG_ERR_MISMATCH, {file, "missing", "model=resnet18"});
}

TEST_F(Weights, Warning11Extra) {
  Net a("resnet20", 3, 1, 32), b("resnet20", 3, 1, 32);
  a.fill("");
  File f(a);
  f.rows["bn1.num_batches_tracked"] = {IG_I64, {}, std::vector<uint8_t>(8)};
  std::vector<std::string> said;
  ig_weights_options o = {};
  o.warn = keep_text, o.warn_user = &said;
  f.write(file);
  must(b.load(file, o));
  EXPECT_TRUE(said.empty());
  EXPECT_EQ(b.report.extra, 0);
  f.rows["aux.weight"] = {IG_F32, {2}, std::vector<uint8_t>(8)};
  f.write(file);
  must(b.load(file, o));
  ASSERT_EQ(said.size(), 1u);
  EXPECT_NE(said[0].find("\"aux.weight\""), std::string::npos) << said[0];
  EXPECT_NE(said[0].find(file), std::string::npos) << said[0];
  EXPECT_EQ(b.report.extra, 1);
  expect_equal(a, b);
}

TEST_F(Weights, Refusal12Classes) {
  Net a("resnet20", 10, 1, 32), b("resnet20", 4, 1, 32);
  a.fill("a/");
  b.fill("b/");
  must(a.save(file));
  expect_refused(b.load(file), IG_ERR_MISMATCH, {file, "10 classes", "has 4", "start with a fresh head: head=new"});
  const std::vector<float> weight = b.values("linear.weight"), bias = b.values("linear.bias");
  std::vector<std::string> said;
  ig_weights_options o = {};
  o.fresh_head = true, o.warn = keep_text, o.warn_user = &said;
  must(b.load(file, o));
  EXPECT_TRUE(b.report.head_replaced);
  EXPECT_EQ(b.report.loaded, (int)a.g.params.n - 2);
  EXPECT_EQ(b.values("linear.weight"), weight);
  EXPECT_EQ(b.values("linear.bias"), bias);
  EXPECT_TRUE(said.empty());
  expect_equal(a, b, "linear.");

  Net c("resnet20", 10, 1, 32);  // the same number: the classifier is taken
  must(c.load(file, o));
  EXPECT_FALSE(c.report.head_replaced);
  expect_equal(a, c);
}

TEST_F(Weights, Refusal13Transposed) {
  Net a("resnet20", 10, 1, 32);
  a.fill("");
  File f(a);
  f.rows["linear.weight"].dims = {64, 10};
  f.write(file);
  expect_refused(a.load(file), IG_ERR_MISMATCH, {file, "linear.weight", "transposed", "[64, 10]", "[10, 64]"});
  File g(a);
  g.rows["layer2.0.conv1.weight"].dims = {3, 3, 16, 32};
  g.write(file);
  expect_refused(a.load(file), IG_ERR_MISMATCH,
                 {file, "layer2.0.conv1.weight", "transposed", "[3, 3, 16, 32]", "[32, 16, 3, 3]"});
  File h(a);
  h.rows["layer2.0.conv1.weight"].dims = {32, 16, 9};
  h.write(file);
  expect_refused(a.load(file), IG_ERR_MISMATCH, {file, "layer2.0.conv1.weight", "[32, 16, 9]", "[32, 16, 3, 3]"});
}

TEST_F(Weights, Refusal14NotFinite) {
  Net a("resnet20", 3, 1, 32);
  const struct {
    const char *name, *text;
    float value;
  } cases[] = {{"layer1.2.conv2.weight", "NaN", NAN},
               {"bn1.running_mean", "infinite", INFINITY},
               {"linear.bias", "infinite", -INFINITY},
               {"bn1.running_var", "never negative", -0.5f}};
  for (const auto &c : cases) {
    a.fill("");
    a.at(ig_params_find(&a.g.params, c.name))[2] = c.value;
    must(a.save(file));
    expect_refused(a.load(file), IG_ERR_FORMAT, {file, c.name, c.text, "element 2"});
  }
  a.fill("");
  File f(a);
  f.convert("bn1.weight", IG_F64);
  const double large = 1e300;
  memcpy(f.rows["bn1.weight"].bytes.data(), &large, 8);
  f.write(file);
  expect_refused(a.load(file), IG_ERR_FORMAT, {"bn1.weight", "infinite in fp32"});
}

TEST_F(Weights, OtherFormats) {
  Net a("resnet20", 10, 1, 32);
  auto write = [&](const char *name, const std::string &bytes) {
    std::ofstream(folder + "/" + name, std::ios::binary) << bytes;
    return folder + "/" + name;
  };
  expect_refused(a.load(write("a.pth", "PK\3\4...............")), IG_ERR_UNSUPPORTED,
                 {"a.pth", "zip", "not supported", "convert it to .safetensors", "torch.load", "map_location=\"cpu\"",
                  "state_dict"});
  expect_refused(a.load(write("a.bin", "\x80\2}q...............")), IG_ERR_UNSUPPORTED,
                 {"pickle", "not supported", "convert it to .safetensors"});
  expect_refused(a.load(write("a.h5", "\x89HDF\r\n\x1a\n........")), IG_ERR_FORMAT, {"a.h5", "HDF5", "open"});
  expect_refused(a.load(write("shard-00000.h5", "\x89HDF\r\n\x1a\n........")), IG_ERR_USAGE, {"step-N"});
  expect_refused(a.load(write("b.safetensors", "\x80\2}q...............")), IG_ERR_FORMAT, {"pickle"});
  expect_refused(a.load(write("empty.pt", "")), IG_ERR_FORMAT, {"empty"});
  expect_refused(a.load(folder + "/none.safetensors"), IG_ERR_NOT_FOUND, {"none.safetensors"});
  ig_remove_tree((folder + "/sub").c_str());
  must(ig_make_dirs((folder + "/sub").c_str()));
  expect_refused(a.load(folder + "/sub"), IG_ERR_NOT_FOUND, {"model.safetensors", "step-N"});
  const std::string th = data_folder() + "/resnet_cifar_weights/resnet20-12fca82f.th";
  if (exists(th))
    expect_refused(a.load(th), IG_ERR_UNSUPPORTED, {th, "pickle", "convert"});
}

TEST_F(Weights, MetadataChecked) {
  Net a("resnet20", 3, 1, 32);
  a.fill("");
  const struct {
    const char *key, *value, *text;
  } cases[] = {
      {"ingot.classes", "[\"a\",", "ingot.classes"},
      {"ingot.classes", "[\"a\", 2, \"c\"]", "every class is a text"},
      {"ingot.classes", "[\"a\", \"b\"]", "2 names found, but its classifier has 3"},
      {"ingot.classes", "{}", "array"},
      {"ingot.preprocessing", "{\"image_size\": 0}", "image_size"},
      {"ingot.preprocessing", "{\"image_size\": 32, \"eval_crop_ratio\": 2}", "eval_crop_ratio"},
      {"ingot.preprocessing", "{\"image_size\": 32, \"eval_crop_ratio\": \"0.875\"}", "eval_crop_ratio"},
      {"ingot.preprocessing", "{\"image_size\": 32, \"eval_crop_ratio\": 1, \"mean\": [1, 2]}", "mean"},
      {"ingot.preprocessing", "{\"image_size\": 32, \"eval_crop_ratio\": 1, \"mean\": [1, 2, 3], \"std\": [1, 0, 1]}",
       "std"},
      {"ingot.text", "{\"max_length\": 2}", "max_length"},
      {"ingot.text", "{\"max_length\": 48, \"pairs\": \"both\"}", "pairs: none, next or order"},
      {"ingot.text", "{\"max_length\": 48, \"pairs\": 1}", "pairs: none, next or order"},
      {"ingot.step", "12x", "ingot.step"},
  };
  for (const auto &c : cases) {
    File f(a);
    f.pairs = {{c.key, c.value}};
    f.write(file);
    ig_weights_info info;
    expect_refused(ig_weights_info_read(file.c_str(), &info), IG_ERR_FORMAT, {file, c.key, c.text});
  }
}

}  // namespace
