// floor: ig_train
// Weights in and out: round trip, refusals 9 to 14 and 19 of reliability.md, checkpoints, metadata, published CIFAR
// networks with their known numbers of correct answers, and torchvision reading what was saved.
#include "runtime/train/weights.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/base/fileop.h"
#include "runtime/ckpt/checkpoint.h"
#include "runtime/ckpt/safetensors.h"
#include "tests/golden.h"
#include "tests/npy.h"
#include "tests/run_graph.h"
#include "tests/st_reader.h"

namespace {

using run_graph::must;

std::string env(const char *name, const std::string &otherwise) {
  const char *v = getenv(name);
  return v && *v ? v : otherwise;
}
std::string data_folder() { return env("INGOT_DATA", env("INGOT_SOURCE", ".") + "/../shared/data"); }
bool exists(const std::string &path) { return access(path.c_str(), R_OK) == 0; }

// A folder of the test's own, removed at its end.
class Weights : public testing::Test {
 protected:
  void SetUp() override {
    char pattern[] = "/tmp/ingot_weights_XXXXXX";
    ASSERT_NE(mkdtemp(pattern), nullptr);
    folder = pattern;
    file = folder + "/w.safetensors";
  }
  void TearDown() override { ig_remove_tree(folder.c_str()); }
  std::string folder, file;
};

const ig_model *model_of(const char *name) {
  const ig_model *m = nullptr;
  must(ig_model_find(name, &m));
  return m;
}

// A model in evaluation mode with its flat buffers.
class Net {
 public:
  Net(const char *name, int classes, int64_t batch, int64_t side) : model(model_of(name)), g(IG_F32, IG_MODE_EVAL) {
    x = ig_graph_input(g.g, "x", IG_F32, IG_SHAPE4(batch, side, side, 3));
    ig_model_config c = {sizeof c, classes, false, 0, nullptr, IG_TEXT_SEQUENCE, false};
    logits = model->build(model, g.g, &c, x, nullptr);
    must(ig_graph_status(g.g));
    must(ig_params_layout(&g.params));
    const ig_space spaces[IG_N_PARAM_KINDS] = {IG_SPACE_TRAINABLE, IG_SPACE_FROZEN, IG_SPACE_STATE};
    for (int k = 0; k < IG_N_PARAM_KINDS; k++) {
      g.space(spaces[k]).assign((size_t)g.params.count[k] + 1, 0.0f);
      buffers[k] = g.space(spaces[k]).data();
    }
  }
  // Values unlike the initial ones, other for each tensor; variances stay positive.
  void fill(const char *prefix) {
    for (size_t i = 0; i < g.params.n; i++) {
      const ig_param *p = g.params.items[i];
      const bool around_one = strstr(p->name, "running_var") || (p->shape.n == 1 && strstr(p->name, ".weight"));
      const double reach =
          p->shape.n == 4 ? std::sqrt(6.0 / (double)(p->shape.d[1] * p->shape.d[2] * p->shape.d[3])) : 0.125;
      const std::vector<float> v = golden::fill(std::string(prefix) + p->name, (size_t)ig_shape_count(&p->shape),
                                                around_one ? 0.5 : -reach, around_one ? 1.5 : reach);
      std::copy(v.begin(), v.end(), at(p));
    }
  }
  float *at(const ig_param *p) { return buffers[p->kind] + p->offset; }
  std::vector<float> values(const char *name) {
    const ig_param *p = ig_params_find(&g.params, name);
    return std::vector<float>(at(p), at(p) + ig_shape_count(&p->shape));
  }
  std::vector<float> forward(const std::vector<float> &pictures) {
    g.output(logits, "logits");
    g.plan(run_graph::ways[0]);
    g.set(x, pictures);
    g.run();
    return g.get<float>(logits);
  }
  ig_status load(const std::string &path, ig_weights_options o = {}) {
    o.size = sizeof o;
    return ig_weights_load(path.c_str(), model, &g.params, buffers, &o, &report);
  }
  ig_status save(const std::string &path, const ig_weights_info *info = nullptr) {
    return ig_weights_save(path.c_str(), &g.params, buffers, info, 17);
  }

  const ig_model *model;
  run_graph::Graph g;
  ig_tensor *x, *logits;
  float *buffers[IG_N_PARAM_KINDS];
  ig_weights_report report = {};
};

void expect_equal(Net &a, Net &b, const char *but = nullptr) {
  ASSERT_EQ(a.g.params.n, b.g.params.n);
  for (size_t i = 0; i < a.g.params.n; i++) {
    const char *name = a.g.params.items[i]->name;
    if (!but || strncmp(name, but, strlen(but)) != 0) {
      EXPECT_EQ(a.values(name), b.values(name)) << name;
    }
  }
}

void expect_refused(ig_status found, ig_status expected, const std::vector<std::string> &parts) {
  EXPECT_EQ(found, expected) << ig_error_message();
  for (const std::string &part : parts)
    EXPECT_NE(std::string(ig_error_message()).find(part), std::string::npos)
        << part << " not in: " << ig_error_message();
}

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

ig_weights_info full_info() {
  static char model[] = "resnet20", task[] = "classify";
  static char a[] = "scratch", b[] = "pin hole \"2\"", c[] = "gr\xc3\xbcn";
  static char *classes[] = {a, b, c};
  ig_weights_info info = {};
  info.model = model, info.task = task, info.classes = classes, info.n_classes = 3;
  info.image_size = 48, info.eval_crop_ratio = 0.875, info.has_preprocessing = true, info.step = 1234567;
  const float mean[] = {123.675f, 116.28f, 103.53f}, std[] = {58.395f, 57.12f, 57.375f};
  memcpy(info.mean, mean, sizeof mean), memcpy(info.std, std, sizeof std);
  return info;
}

void expect_full_info(const ig_weights_info &i) {
  const ig_weights_info e = full_info();
  EXPECT_STREQ(i.model, e.model);
  EXPECT_STREQ(i.task, e.task);
  ASSERT_EQ(i.n_classes, 3);
  ASSERT_NE(i.classes, nullptr);
  for (int k = 0; k < 3; k++)
    EXPECT_STREQ(i.classes[k], e.classes[k]);
  EXPECT_TRUE(i.has_preprocessing);
  EXPECT_EQ(i.image_size, e.image_size);
  EXPECT_EQ(i.eval_crop_ratio, e.eval_crop_ratio);
  EXPECT_EQ(memcmp(i.mean, e.mean, sizeof e.mean), 0);
  EXPECT_EQ(memcmp(i.std, e.std, sizeof e.std), 0);
  EXPECT_EQ(i.step, e.step);
}

TEST_F(Weights, RoundTrip) {
  Net a("resnet20", 3, 1, 32), b("resnet20", 3, 1, 32);
  a.fill("a/");
  const ig_weights_info info = full_info();
  must(a.save(folder + "/model.safetensors", &info));
  must(b.load(folder));  // as a run folder
  EXPECT_EQ(b.report.loaded, (int)a.g.params.n);
  EXPECT_EQ(b.report.converted, 0);
  EXPECT_EQ(b.report.extra, 0);
  EXPECT_FALSE(b.report.head_replaced);
  expect_equal(a, b);

  const st::File f(folder + "/model.safetensors");
  size_t n_counters = 0;
  for (const auto &t : f.tensors())
    if (t.first.find("num_batches_tracked") != std::string::npos) {
      n_counters++;
      EXPECT_EQ(t.second.dtype, "I64");
      EXPECT_TRUE(t.second.shape.empty());
      EXPECT_EQ(f.i64(t.first).at(0), 17);
    }
  EXPECT_EQ(n_counters, 19u);
  EXPECT_EQ(f.tensors().size(), a.g.params.n + n_counters);

  ig_weights_info read;
  must(ig_weights_info_read(folder.c_str(), &read));
  expect_full_info(read);
  EXPECT_EQ(std::string(read.path), folder + "/model.safetensors");
  ig_weights_info_fini(&read);

  Net c("resnet20", 3, 1, 32);
  must(ig_weights_load(folder.c_str(), nullptr, &c.g.params, c.buffers, nullptr, nullptr));  // the file names the model
  expect_equal(a, c);
}

TEST_F(Weights, ModelNotNamed) {
  Net a("resnet20", 3, 1, 32);
  a.fill("");
  must(a.save(file));
  expect_refused(ig_weights_load(file.c_str(), nullptr, &a.g.params, a.buffers, nullptr, nullptr), IG_ERR_USAGE,
                 {file, "add model="});
  ig_weights_info info;
  must(ig_weights_info_read(file.c_str(), &info));
  EXPECT_EQ(info.model, nullptr);
  EXPECT_EQ(info.classes, nullptr);
  EXPECT_EQ(info.n_classes, 3);  // of the head's shape
  EXPECT_FALSE(info.has_preprocessing);
  ig_weights_info_fini(&info);
}

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

void keep_text(void *user, const char *text) { ((std::vector<std::string> *)user)->push_back(text); }

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
                 {"a.pth", "zip", "not supported", "convert it to .safetensors", "torch.load"});
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
      {"ingot.preprocessing", "{\"image_size\": 32, \"eval_crop_ratio\": 1, \"mean\": [1, 2]}", "mean"},
      {"ingot.preprocessing", "{\"image_size\": 32, \"eval_crop_ratio\": 1, \"mean\": [1, 2, 3], \"std\": [1, 0, 1]}",
       "std"},
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

// A checkpoint of net's weights and, where given, averages.
std::string save_checkpoint(const std::string &folder, Net &net, Net *ema, const std::string &state) {
  std::vector<ig_ckpt_tensor> list;
  auto add = [&](Net &from, bool averaged) {
    for (size_t i = 0; i < from.g.params.n; i++) {
      const ig_param *p = from.g.params.items[i];
      ig_ckpt_tensor t = {};
      t.name = p->name, t.dtype = IG_F32, t.n_dims = p->shape.n, t.data = from.at(p);
      t.group = averaged ? "ema" : p->kind == IG_PARAM_STATE ? "state" : "weights";
      std::copy(p->shape.d, p->shape.d + p->shape.n, t.dims);
      list.push_back(t);
    }
  };
  add(net, false);
  if (ema)
    add(*ema, true);
  const std::string checkpoints = folder + "/checkpoints";
  ig_ckpt_save_options o = {};
  o.folder = checkpoints.c_str(), o.step = 40, o.run_uuid = "u", o.config_hash = "", o.protect = -1;
  o.state_json = state.c_str();
  must(ig_ckpt_save(&o, list.data(), list.size()));
  return checkpoints + "/step-40";
}

TEST_F(Weights, Checkpoint) {
  Net a("resnet20", 3, 1, 32), e("resnet20", 3, 1, 32), b("resnet20", 3, 1, 32);
  a.fill("a/");
  e.fill("e/");
  const ig_weights_info info = full_info();
  char *json = nullptr;
  must(ig_weights_info_json(&info, &json));
  const std::string step = save_checkpoint(folder, a, &e, std::string("{\"info\": ") + json + "}");
  ig_free(json);
  ig_weights_options o = {};
  must(b.load(step, o));
  expect_equal(a, b);
  o.ema = true;
  must(b.load(step, o));
  expect_equal(e, b);
  ig_weights_info read;
  must(ig_weights_info_read(step.c_str(), &read));
  EXPECT_EQ(read.step, 40);
  read.step = info.step;
  expect_full_info(read);
  ig_weights_info_fini(&read);

  const std::string plain = save_checkpoint(folder + "/plain", a, nullptr, "{\"model\": \"resnet20\"}");
  std::vector<std::string> said;
  o.warn = keep_text, o.warn_user = &said;
  must(b.load(plain, o));
  ASSERT_EQ(said.size(), 1u);
  EXPECT_NE(said[0].find("averaged"), std::string::npos);
  expect_equal(a, b);
  must(ig_weights_info_read(plain.c_str(), &read));
  EXPECT_STREQ(read.model, "resnet20");
  EXPECT_EQ(read.n_classes, 3);
  EXPECT_EQ(read.classes, nullptr);
  ig_weights_info_fini(&read);
  must(a.save(folder + "/plain/model.safetensors", &info));  // the run's own tells the classes
  must(ig_weights_info_read(plain.c_str(), &read));
  ASSERT_NE(read.classes, nullptr);
  EXPECT_STREQ(read.classes[0], "scratch");
  ig_weights_info_fini(&read);
}

TEST_F(Weights, EveryAllocationFailsCleanly) {
  Net a("resnet20", 3, 1, 32);
  a.fill("");
  const ig_weights_info info = full_info();
  must(a.save(file, &info));
  const std::string other = folder + "/other.safetensors";
  const std::function<ig_status()> calls[] = {
      [&] { return a.load(file); },
      [&] { return a.save(other, &info); },
      [&] {
        ig_weights_info read;
        const ig_status s = ig_weights_info_read(file.c_str(), &read);
        if (s == IG_OK)
          ig_weights_info_fini(&read);
        return s;
      },
  };
  for (const auto &call : calls) {
    const int64_t live = ig_mem_live();
    int64_t n = 1;
    for (;; n++) {
      ASSERT_LT(n, 1000);
      ig_mem_fail_after(n, 0);
      const ig_status s = call();
      ig_mem_fail_after(0, 0);
      EXPECT_EQ(ig_mem_live(), live) << "allocation " << n;
      if (s == IG_OK)
        break;
      EXPECT_EQ(s, IG_ERR_MEMORY) << ig_error_message();
    }
    EXPECT_GT(n, 2);
  }
}

// ---- published weights ----

void check_published(const char *name, const std::string &weights, const std::string &logits, int n_correct) {
  const std::string data = data_folder(), pictures = data + "/cifar10_exact200/test200.bin";
  if (!exists(pictures) || !exists(data + weights))
    GTEST_SKIP() << "no " << pictures << " or " << data + weights << "; set INGOT_DATA";
  std::ifstream in(pictures, std::ios::binary);
  const std::vector<uint8_t> bytes((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  const size_t n = bytes.size() / 3073;
  ASSERT_EQ(n, 200u);
  Net net(name, 10, (int64_t)n, 32);
  must(net.load(data + weights));
  EXPECT_EQ(net.report.loaded, (int)net.g.params.n);
  EXPECT_EQ(net.report.extra, 0);
  ig_weights_info info;
  must(ig_weights_info_read((data + weights).c_str(), &info));
  EXPECT_EQ(info.n_classes, 10);
  ig_weights_info_fini(&info);
  std::vector<float> x(n * 3072);
  for (size_t i = 0; i < n; i++)
    for (size_t c = 0; c < 3; c++)
      for (size_t p = 0; p < 1024; p++)
        x[(i * 1024 + p) * 3 + c] =
            ((float)bytes[i * 3073 + 1 + c * 1024 + p] - net.model->mean[c]) / net.model->std[c];
  const std::vector<float> found = net.forward(x);
  const std::vector<double> expected = read_npy(data + logits);
  ASSERT_EQ(expected.size(), found.size());
  int correct = 0;
  double worst = 0;
  for (size_t i = 0; i < n; i++) {
    const float *row = &found[i * 10];
    correct += std::max_element(row, row + 10) - row == bytes[i * 3073];
    for (size_t k = 0; k < 10; k++)
      worst = std::max(worst, std::fabs(row[k] - expected[i * 10 + k]));
  }
  EXPECT_EQ(correct, n_correct);
  EXPECT_LE(worst, 1e-4);
  testing::Test::RecordProperty("largest_deviation", std::to_string(worst));
}

TEST(Published, ResNet20) {
  check_published("resnet20", "/resnet_cifar_weights/resnet20-12fca82f.safetensors",
                  "/cifar10_exact200/expected_logits_resnet20-12fca82f.npy", 180);
}
TEST(Published, ResNet56) {
  check_published("resnet56", "/resnet_cifar_weights/resnet56-4bfd9763.safetensors",
                  "/cifar10_exact200/expected_logits_resnet56-4bfd9763.npy", 182);
}
TEST(Published, ResNet8OfMlperfTiny) {
  check_published("resnet8_mlperf", "/mlperf_tiny_resnet8/pretrainedResnet.safetensors",
                  "/mlperf_tiny_resnet8/expected_logits_on_cifar10_exact200.npy", 171);
}

// torchvision takes the saved file as it is and gives the same logits. INGOT_PYTHON: an interpreter that has it.
TEST_F(Weights, TorchvisionReadsWhatWasSaved) {
  const std::string python = env("INGOT_PYTHON", "python3");
  const int64_t batch = 2, side = 64;
  const int classes = 7;
  Net net("resnet18", classes, batch, side);
  net.fill("");
  must(net.save(file));
  const std::vector<float> x = golden::fill("x", (size_t)(batch * side * side * 3), -2, 2);
  std::ofstream(folder + "/x.raw", std::ios::binary).write((const char *)x.data(), (std::streamsize)x.size() * 4);
  std::ofstream(folder + "/check.py") << R"(import json, struct, sys
try:
    import torch, torchvision
except ImportError:
    sys.exit(77)
folder, classes = sys.argv[1], int(sys.argv[2])
b = bytearray(open(folder + "/w.safetensors", "rb").read())
n = struct.unpack("<Q", b[:8])[0]
types = {"F32": torch.float32, "I64": torch.int64}
state = {}
for name, t in json.loads(b[8:8 + n]).items():
    if name != "__metadata__":
        start, end = t["data_offsets"]
        state[name] = torch.frombuffer(b[8 + n + start:8 + n + end], dtype=types[t["dtype"]]).reshape(t["shape"])
m = torchvision.models.resnet18(num_classes=classes)
m.load_state_dict(state, strict=True)
assert m.bn1.num_batches_tracked.item() == 17
x = torch.frombuffer(bytearray(open(folder + "/x.raw", "rb").read()), dtype=torch.float32).reshape(2, 64, 64, 3)
with torch.no_grad():
    y = m.double().eval()(x.permute(0, 3, 1, 2).double())
open(folder + "/y.raw", "wb").write(struct.pack("<%df" % y.numel(), *y.flatten().tolist()))
)";
  const int rc = system((python + " " + folder + "/check.py " + folder + " " + std::to_string(classes)).c_str());
  if (WIFEXITED(rc) && (WEXITSTATUS(rc) == 77 || WEXITSTATUS(rc) == 127))  // 127: no such interpreter
    GTEST_SKIP() << python << " has no torch and torchvision; set INGOT_PYTHON";
  ASSERT_EQ(rc, 0);
  std::ifstream in(folder + "/y.raw", std::ios::binary);
  const std::string raw((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  const std::vector<float> found = net.forward(x);
  ASSERT_EQ(raw.size(), found.size() * 4);
  float scale = 0, worst = 0;
  for (size_t i = 0; i < found.size(); i++) {
    float y;
    memcpy(&y, raw.data() + i * 4, 4);
    scale = std::max(scale, std::fabs(y));
    worst = std::max(worst, std::fabs(y - found[i]));
  }
  EXPECT_GT(scale, 0.1f);
  EXPECT_LE(worst, 1e-5f * scale);
}

}  // namespace
