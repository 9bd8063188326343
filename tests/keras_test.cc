// Files that Keras wrote and files that pretend to be: names in every layout, and what is refused (reliability.md,
// inputs 15 to 18). Rule: whatever a file holds, the reader says yes or no in words and never ends the process.
#include "runtime/ckpt/keras.h"

#include <algorithm>
#include <fstream>
#include <functional>
#include <gtest/gtest.h>
#include <hdf5.h>
#include <string>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

#include "models/model.h"
#include "runtime/base/mem.h"
#include "runtime/train/weights.h"

namespace {

// A file in a folder of its own.
struct Place {
  Place() {
    char text[] = "/tmp/ig_keras_XXXXXX";
    folder = mkdtemp(text);
  }
  ~Place() { (void)!system(("rm -rf " + folder).c_str()); }
  std::string operator/(const std::string &name) const { return folder + "/" + name; }
  std::string folder;
};

hid_t ok(hid_t id) {
  EXPECT_GE(id, 0);
  return id;
}

void put(hid_t file, const std::string &path, const std::vector<hsize_t> &dims, float first = 0,
         hid_t type = H5T_IEEE_F32LE) {
  hsize_t n = 1;
  for (hsize_t d : dims)
    n *= d;
  std::vector<float> data(n);
  for (size_t i = 0; i < n; i++)
    data[i] = first + (float)i;
  hid_t links = ok(H5Pcreate(H5P_LINK_CREATE)), space = ok(H5Screate_simple((int)dims.size(), dims.data(), nullptr));
  H5Pset_create_intermediate_group(links, 1);
  hid_t set = ok(H5Dcreate2(file, path.c_str(), type, space, links, H5P_DEFAULT, H5P_DEFAULT));
  EXPECT_GE(H5Dwrite(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, data.data()), 0);
  H5Dclose(set);
  H5Sclose(space);
  H5Pclose(links);
}

void put_text(hid_t file, const std::string &object, const char *name, const std::string &text, bool variable) {
  hid_t type = ok(H5Tcopy(H5T_C_S1)), space = ok(H5Screate(H5S_SCALAR)), at = ok(H5Oopen(file, object.c_str(), 0));
  H5Tset_size(type, variable ? H5T_VARIABLE : text.size());
  hid_t attribute = ok(H5Acreate2(at, name, type, space, H5P_DEFAULT, H5P_DEFAULT));
  const char *p = text.c_str();
  EXPECT_GE(H5Awrite(attribute, type, variable ? (const void *)&p : (const void *)p), 0);
  H5Aclose(attribute);
  H5Oclose(at);
  H5Sclose(space);
  H5Tclose(type);
}

std::string make(const Place &place, const std::string &name, const std::function<void(hid_t)> &fill) {
  const std::string path = place / name;
  hid_t file = ok(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT));
  fill(file);
  EXPECT_GE(H5Fclose(file), 0);
  return path;
}

std::string bytes_of(const std::string &path) {
  std::ifstream in(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(in), {});
}
void write(const std::string &path, const std::string &bytes) { std::ofstream(path, std::ios::binary) << bytes; }

struct Read {
  explicit Read(const std::string &path) {
    const int64_t live = ig_mem_live();
    ig_keras *k = nullptr;
    status = ig_keras_open(path.c_str(), &k);
    message = status == IG_OK ? "" : ig_error_message();
    for (size_t i = 0; k && i < ig_keras_count(k); i++)
      names.push_back(ig_keras_get(k, i)->name);
    ig_keras_close(k);
    EXPECT_EQ(ig_mem_live(), live) << path;
  }
  ig_status status;
  std::string message;
  std::vector<std::string> names;  // sorted
};

void refused(const std::string &path, std::initializer_list<const char *> words) {
  const Read r(path);
  EXPECT_TRUE(r.status == IG_ERR_FORMAT || r.status == IG_ERR_UNSUPPORTED) << path << ": " << r.status;
  for (const char *word : words)
    EXPECT_NE(r.message.find(word), std::string::npos) << word << " expected in: " << r.message;
}

using Names = std::vector<std::string>;

TEST(Keras, NamesOfEveryLayout) {
  Place place;
  const Names want = {"a/bias:0", "a/kernel:0", "b/beta:0", "b/gamma:0", "b/moving_mean:0", "b/moving_variance:0"};
  EXPECT_EQ(Read(make(place, "two.h5",
                      [](hid_t f) {
                        put(f, "a/a/kernel:0", {1, 1, 2, 3});
                        put(f, "a/a/bias:0", {3});
                        for (const char *v : {"gamma", "beta", "moving_mean", "moving_variance"})
                          put(f, std::string("b/b/") + v + ":0", {3});
                      }))
                .names,
            want);
  EXPECT_EQ(Read(make(place, "model.h5",
                      [](hid_t f) {
                        put(f, "model_weights/a/a/kernel", {1, 1, 2, 3});
                        put(f, "model_weights/a/a/bias", {3});
                        for (const char *v : {"gamma", "beta", "moving_mean", "moving_variance"})
                          put(f, std::string("model_weights/b/b/") + v, {3});
                        put(f, "optimizer_weights/Adam/a/kernel/m:0", {1, 1, 2, 3});
                      }))
                .names,
            want);
  EXPECT_EQ(Read(make(place, "one.h5",
                      [](hid_t f) {  // Keras 1: the old published ResNet-50
                        put(f, "a/a_W_1:0", {1, 1, 2, 3});
                        put(f, "a/a_b_1:0", {3});
                        for (const char *v : {"gamma", "beta", "running_mean", "running_std"})
                          put(f, std::string("b/b_") + v + "_1:0", {3});
                      }))
                .names,
            want);
  for (bool variable : {false, true})
    EXPECT_EQ(Read(make(place, "three.weights.h5",
                        [&](hid_t f) {
                          put(f, "layers/conv2d/vars/0", {1, 1, 2, 3});
                          put(f, "layers/conv2d/vars/1", {3});
                          put_text(f, "layers/conv2d/vars", "name", "a", variable);
                          for (const char *v : {"0", "1", "2", "3"})
                            put(f, std::string("layers/batch_normalization/vars/") + v, {3});
                          put_text(f, "layers/batch_normalization/vars", "name", "b", variable);
                          put(f, "optimizer/vars/0", {3});
                        }))
                  .names,
              want);
  EXPECT_EQ(Read(make(place, "unnamed.weights.h5",
                      [](hid_t f) {  // Keras 3.0 wrote no names
                        put(f, "layers/conv2d_7/vars/0", {1, 1, 2, 3});
                        put(f, "layers/conv2d_7/vars/1", {3});
                      }))
                .names,
            (Names{"conv2d_7/bias:0", "conv2d_7/kernel:0"}));
}

TEST(Keras, NumbersOfEveryFloat) {
  Place place;
  const std::string path = make(place, "a.h5", [](hid_t f) {
    put(f, "a/kernel:0", {2, 2}, 1, H5T_IEEE_F32BE);
    put(f, "b/kernel:0", {2, 2}, 1, H5T_IEEE_F64LE);
    put(f, "c/iterations:0", {1}, 1, H5T_STD_I64LE);
  });
  ig_keras *k;
  ASSERT_EQ(ig_keras_open(path.c_str(), &k), IG_OK) << ig_error_message();
  ASSERT_EQ(ig_keras_count(k), 3u);
  const ig_h5_foreign_item *a = ig_keras_get(k, 0)->item, *b = ig_keras_get(k, 1)->item, *c = ig_keras_get(k, 2)->item;
  for (int i = 0; i < 4; i++) {
    EXPECT_EQ(((const float *)a->data)[i], (float)i + 1);
    EXPECT_EQ(((const double *)b->data)[i], i + 1);
  }
  EXPECT_EQ(a->dtype, IG_F32);
  EXPECT_EQ(b->dtype, IG_F64);
  EXPECT_FALSE(c->is_float);
  ig_keras_close(k);
}

TEST(Keras, LinksAndStorageElsewhere) {
  Place place;
  make(place, "other.h5", [](hid_t f) { put(f, "secret", {4}); });
  refused(make(place, "soft.h5",
               [](hid_t f) {
                 put(f, "a/kernel:0", {2, 2});
                 H5Lcreate_soft("/a", f, "b", H5P_DEFAULT, H5P_DEFAULT);
               }),
          {"soft link", "\"b\""});
  refused(make(place, "external.h5",
               [&](hid_t f) {
                 H5Lcreate_external((place / "other.h5").c_str(), "/secret", f, "b", H5P_DEFAULT, H5P_DEFAULT);
               }),
          {"external link", "\"b\""});
  refused(make(place, "raw.h5",
               [&](hid_t f) {
                 const hsize_t n = 4;
                 hid_t dcpl = ok(H5Pcreate(H5P_DATASET_CREATE)), space = ok(H5Screate_simple(1, &n, nullptr));
                 H5Pset_external(dcpl, (place / "other.h5").c_str(), 0, 16);
                 H5Dclose(ok(H5Dcreate2(f, "a", H5T_IEEE_F32LE, space, H5P_DEFAULT, dcpl, H5P_DEFAULT)));
                 H5Pclose(dcpl);
                 H5Sclose(space);
               }),
          {"other files", "\"a\""});
  refused(make(place, "virtual.h5",
               [&](hid_t f) {
                 const hsize_t n = 4;
                 hid_t dcpl = ok(H5Pcreate(H5P_DATASET_CREATE)), space = ok(H5Screate_simple(1, &n, nullptr));
                 H5Pset_virtual(dcpl, space, (place / "other.h5").c_str(), "/secret", space);
                 H5Dclose(ok(H5Dcreate2(f, "a", H5T_IEEE_F32LE, space, H5P_DEFAULT, dcpl, H5P_DEFAULT)));
                 H5Pclose(dcpl);
                 H5Sclose(space);
               }),
          {"virtual dataset", "\"a\""});
}

TEST(Keras, CyclesBombsAndFilters) {
  Place place;
  refused(make(place, "cycle.h5",
               [](hid_t f) {
                 hid_t g = ok(H5Gcreate2(f, "a", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
                 H5Lcreate_hard(f, "/a", g, "again", H5P_DEFAULT, H5P_DEFAULT);
                 H5Gclose(g);
               }),
          {"nested", "cycle"});
  auto bomb = [](hid_t f, const char *name, hsize_t n, bool chunked, bool zip) {
    const hsize_t dims[2] = {n, n}, chunk[2] = {64, 64};
    hid_t dcpl = ok(H5Pcreate(H5P_DATASET_CREATE)), space = ok(H5Screate_simple(2, dims, nullptr));
    if (chunked)
      H5Pset_chunk(dcpl, 2, chunk);
    if (zip)
      H5Pset_deflate(dcpl, 9);
    hid_t set = ok(H5Dcreate2(f, name, H5T_IEEE_F32LE, space, H5P_DEFAULT, dcpl, H5P_DEFAULT));
    if (zip) {
      std::vector<float> zeros((size_t)(n * n));
      H5Dwrite(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, zeros.data());
    }
    H5Dclose(set);
    H5Pclose(dcpl);
    H5Sclose(space);
  };
  refused(make(place, "bomb.h5", [&](hid_t f) { bomb(f, "a", 1u << 20, true, false); }), {"more numbers", "\"a\""});
  refused(make(place, "overflow.h5", [&](hid_t f) { bomb(f, "a", 1ull << 31, true, false); }), {"more numbers"});
  refused(make(place, "zip.h5", [&](hid_t f) { bomb(f, "a", 1024, true, true); }), {"compressed", "\"a\""});
  // A thousand names of one dataset: small, and together a bomb.
  refused(make(place, "sum.h5",
               [&](hid_t f) {
                 put(f, "a", {1 << 16});
                 for (int i = 0; i < 1000; i++)
                   H5Lcreate_hard(f, "/a", f, ("b" + std::to_string(i)).c_str(), H5P_DEFAULT, H5P_DEFAULT);
               }),
          {"more numbers"});
}

std::string stored_model(const std::string &layer) {
  return R"({"class_name": "Functional", "config": {"layers": [{"class_name": "InputLayer", "config": {}}, )" + layer +
         "]}}";
}

TEST(Keras, CodeInAModelIsRefused) {
  Place place;
  auto with = [&](const std::string &config) {
    return make(place, "m.h5", [&](hid_t f) {
      put(f, "model_weights/a/a/kernel:0", {2, 2});
      put_text(f, "/", "model_config", config, true);
    });
  };
  EXPECT_EQ(Read(with(stored_model(R"({"class_name": "Dense", "config": {"activation": "softmax"}})"))).status, IG_OK);
  refused(with(stored_model(R"({"class_name": "Lambda", "config": {"function": ["4wEAAA==", null, null]}})")),
          {"\"Lambda\"", "never run"});
  refused(with(stored_model(R"({"class_name": "Conv2D", "module": "my.code", "config": {}})")), {"custom", "Conv2D"});
  refused(with(stored_model(R"({"class_name": "Sequential", "config": {"layers": [{"class_name": "Mine"}]}})")),
          {"\"Mine\""});
  refused(with(stored_model(R"({"class_name": "Dense", "config": {"activation": {"class_name": "function"}}})")),
          {"activation"});
  refused(with("{\"class_name\": "), {"configuration"});
  refused(with(std::string(3000, '[')), {"configuration"});
}

// ---- zip ----

std::string little(uint64_t v, int n) {
  std::string s;
  for (int i = 0; i < n; i++)
    s += i < 8 ? (char)(v >> 8 * i) : '\0';
  return s;
}

uint32_t crc32(const std::string &s) {
  uint32_t crc = ~0u;
  for (unsigned char c : s) {
    crc ^= c;
    for (int k = 0; k < 8; k++)
      crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
  }
  return ~crc;
}

std::string zip(const std::vector<std::pair<std::string, std::string>> &members, int method = 0) {
  std::string out, list;
  for (const auto &m : members) {
    const std::string sizes = little(crc32(m.second), 4) + little(m.second.size(), 4) + little(m.second.size(), 4) +
                              little(m.first.size(), 2) + little(0, 2),
                      start = little(20, 2) + little(0, 2) + little((uint64_t)method, 2) + little(0, 4);
    list += "PK\1\2" + little(20, 2) + start + sizes + little(0, 10) + little(out.size(), 4) + m.first;
    out += "PK\3\4" + start + sizes + m.first + m.second;
  }
  const size_t at = out.size();
  return out + list + "PK\5\6" + little(0, 4) + little(members.size(), 2) + little(members.size(), 2) +
         little(list.size(), 4) + little(at, 4) + little(0, 2);
}

TEST(Keras, Archives) {
  Place place;
  const std::string weights = bytes_of(make(place, "w.h5",
                                            [](hid_t f) {
                                              put(f, "layers/dense/vars/0", {2, 2});
                                            })),
                    path = place / "m.keras", model = stored_model(R"({"class_name": "Dense", "config": {}})");
  const std::string good = zip({{"config.json", model}, {"model.weights.h5", weights}});
  write(path, good);
  EXPECT_EQ(Read(path).names, Names{"dense/kernel:0"});
  write(path, zip({{"config.json", stored_model(R"({"class_name": "Lambda"})")}, {"model.weights.h5", weights}}));
  refused(path, {"\"Lambda\""});
  write(path, zip({{"model.weights.h5", weights}}, 8));
  refused(path, {"compressed"});
  write(path, zip({{"model.weights.h5", weights}, {"model.weights.h5", weights}}));
  refused(path, {"two members"});
  std::string flipped = good;
  flipped[flipped.find("\x89HDF") + 100] ^= 1;
  write(path, flipped);
  refused(path, {"checksum"});
  // Whatever is cut off or turned round in the archive's own fields: words, no crash.
  for (size_t n = 0; n < good.size(); n += n < good.size() - 200 ? 97 : 1) {
    write(path, good.substr(0, n));
    EXPECT_NE(Read(path).status, IG_OK) << n;
  }
  const size_t list = good.find("PK\1\2");
  for (size_t i = list; i < good.size(); i++)
    for (int bit : {0, 7}) {
      std::string bad = good;
      bad[i] = (char)(bad[i] ^ 1 << bit);
      write(path, bad);
      Read r(path);
    }
}

// Flipped bits and cuts: the process that reads may crash, this one says so.
TEST(Keras, DamageIsSurvived) {
  Place place;
  const std::string path = place / "bad.h5",
                    good = bytes_of(make(place, "good.h5", [](hid_t f) {
                      put(f, "model_weights/a/a/kernel:0", {3, 3, 2, 3});
                      put(f, "model_weights/a/a/bias:0", {3});
                      put_text(f, "/", "model_config", stored_model(R"({"class_name": "Conv2D"})"), true);
                    }));
  uint64_t state = 1;
  auto draw = [&](uint64_t n) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (state >> 33) % n;
  };
  int readable = 0;
  for (int i = 0; i < 300; i++) {
    std::string bad = good;
    for (uint64_t k = draw(8) + 1; k; k--)
      bad[draw(bad.size())] ^= (char)(1 << draw(8));
    write(path, i % 10 == 9 ? bad.substr(0, draw(bad.size())) : bad);
    const Read r(path);
    readable += r.status == IG_OK;
    if (r.status != IG_OK) {
      EXPECT_EQ(r.message.find(path), 0u) << r.message;
    }
  }
  EXPECT_GT(readable, 0);  // flips among the numbers cannot be seen
  EXPECT_LT(readable, 300);
}

TEST(Keras, AllocationsMayFail) {
  Place place;
  const std::string path = make(place, "a.h5", [](hid_t f) { put(f, "a/kernel:0", {2, 2}); });
  for (int i = 1; i < 200; i++) {
    ig_mem_fail_after(i, 0);
    ig_keras *k = nullptr;
    const ig_status status = ig_keras_open(path.c_str(), &k);
    ig_mem_fail_after(0, 0);
    ig_keras_close(k);
    if (status == IG_OK)
      return;
    EXPECT_TRUE(status == IG_ERR_MEMORY || status == IG_ERR_FORMAT) << i << ": " << ig_error_message();
  }
  ADD_FAILURE() << "never a clean pass";
}

// ---- names of the networks ----

TEST(Keras, NamesOfResNets) {
  const ig_model *m;
  ASSERT_EQ(ig_model_find("resnet50_keras", &m), IG_OK);
  auto name = [&](int convention, const char *param) {
    char text[256];
    ig_weight_form form;
    return m->foreign_name(m, convention, param, text, &form) ? std::string(text) + (form ? "+" : "") : "";
  };
  EXPECT_EQ(name(0, "layer1.0.bn1.bias"), "layer1.0.bn1.bias");
  EXPECT_EQ(name(1, "conv1.weight"), "conv1_conv/kernel:0+");
  EXPECT_EQ(name(1, "layer3.5.bn3.running_var"), "conv4_block6_3_bn/moving_variance:0");
  EXPECT_EQ(name(1, "layer2.0.downsample.0.bias"), "conv3_block1_0_conv/bias:0");
  EXPECT_EQ(name(2, "fc.weight"), "probs/kernel:0+");
  EXPECT_EQ(name(3, "fc.bias"), "dense/bias:0");
  EXPECT_EQ(name(4, "conv1.bias"), "conv1/bias:0");
  EXPECT_EQ(name(4, "bn1.weight"), "bn_conv1/gamma:0");
  EXPECT_EQ(name(4, "layer1.0.conv2.weight"), "res2a_branch2b/kernel:0+");
  EXPECT_EQ(name(4, "layer4.2.bn3.running_mean"), "bn5c_branch2c/moving_mean:0");
  EXPECT_EQ(name(4, "layer4.0.downsample.1.bias"), "bn5a_branch1/beta:0");
  EXPECT_EQ(name(5, "conv1.weight"), "conv2d/kernel:0+");
  EXPECT_EQ(name(5, "layer1.0.conv1.weight"), "conv2d_1/kernel:0+");
  EXPECT_EQ(name(5, "layer1.0.downsample.0.weight"), "conv2d_3/kernel:0+");
  EXPECT_EQ(name(5, "layer1.0.conv3.weight"), "conv2d_4/kernel:0+");
  EXPECT_EQ(name(5, "layer1.1.bn1.weight"), "batch_normalization_5/gamma:0");
  EXPECT_EQ(name(5, "layer4.2.conv3.weight"), "conv2d_52/kernel:0+");
  EXPECT_EQ(name(6, "conv1.weight"), "");
  EXPECT_EQ(name(1, "layer1.0.conv1.nonsense"), "");
  EXPECT_EQ(name(1, "nonsense"), "");
}

TEST(Keras, ModelsAreRecognised) {
  Place place;
  auto info_of = [&](std::initializer_list<const char *> layers) {
    const std::string path = make(place, "m.h5", [&](hid_t f) {
      for (const char *layer : layers)
        put(f, std::string(layer) + "/" + layer + "/kernel:0", {1, 1, 2, 3});
      put(f, "predictions/predictions/kernel:0", {2048, 7});
    });
    ig_weights_info info;
    EXPECT_EQ(ig_weights_info_read(path.c_str(), &info), IG_OK) << ig_error_message();
    const std::string found = std::string(info.model ? info.model : "none") + " " + std::to_string(info.n_classes);
    ig_weights_info_fini(&info);
    return found;
  };
  EXPECT_EQ(info_of({"conv4_block6_1_conv"}), "resnet50_keras 7");
  EXPECT_EQ(info_of({"conv4_block6_1_conv", "conv4_block7_1_conv", "conv4_block23_1_conv"}), "resnet101_keras 7");
  EXPECT_EQ(info_of({"conv4_block6_1_conv", "conv4_block7_1_conv", "conv4_block23_1_conv", "conv4_block24_1_conv",
                     "conv4_block36_1_conv"}),
            "resnet152_keras 7");
  EXPECT_EQ(info_of({"conv1_conv"}), "none 7");
}

}  // namespace
