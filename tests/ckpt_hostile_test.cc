// floor: ig_ckpt
// Checkpoints that were cut, flipped, forged or made by strangers are refused with a message, never read.
#include <jansson.h>

#include "tests/ckpt_common.h"

// --- damage ---

TEST_F(Ckpt, TruncatedAnywhere) {  // 2
  ASSERT_EQ(save(8), IG_OK);
  for (const char *name : {"/shard-00000.h5", "/MANIFEST"}) {
    std::string path = step_path(8) + name, good = slurp(path);
    std::set<size_t> cuts = {0, 1, 8, 47, 48, 95, 96, good.size() / 2, good.size() - 1};
    for (size_t n = 0; n < good.size(); n += good.size() / 100 + 1)
      cuts.insert(n);
    for (size_t n : cuts) {
      put(path, good.substr(0, n));
      EXPECT_TRUE(has(refusal(step_path(8)), path)) << n;
    }
    put(path, good + "x");
    EXPECT_NE(refusal(step_path(8)), "");
    put(path, good);
  }
  expect_valid(8);
}

TEST_F(Ckpt, ThreeThousandBitFlips) {  // 20
  ASSERT_EQ(save(8), IG_OK);
  std::mt19937_64 random(5);
  int harmless = 0;
  for (const char *name : {"/shard-00000.h5", "/MANIFEST"}) {
    std::string path = step_path(8) + name, good = slurp(path);
    for (int i = 0; i < 1500; i++) {
      std::string bad = good;
      size_t bit = random() % (8 * bad.size());
      bad[bit / 8] = (char)(bad[bit / 8] ^ (1 << bit % 8));
      put(path, bad);
      ig_ckpt_reader *r = nullptr;
      ig_status status = ig_ckpt_open(step_path(8).c_str(), &r);
      if (status == IG_OK) {
        harmless++;
        EXPECT_STREQ(name, "/MANIFEST") << "a flipped bit in the shard was not seen";
        expect_state(r, 8);  // white space became other white space
        ig_ckpt_close(r);
      } else {
        ASSERT_EQ(status, IG_ERR_FORMAT) << ig_error_message();
      }
    }
    put(path, good);
  }
  EXPECT_LT(harmless, 150);
}

// --- forged and foreign ---

// A MANIFEST with a valid hash of its own, after `edit`.
static void forge(const std::string &step_folder, const std::function<void(json_t *)> &edit) {
  std::string path = step_folder + "/MANIFEST";
  json_t *json = json_load_file(path.c_str(), 0, nullptr);
  ASSERT_NE(json, nullptr);
  edit(json);
  json_object_del(json, "sha256");
  char *text = json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS), hex[65];
  ig_sha256_hex(text, strlen(text), hex);
  free(text);
  json_object_set_new(json, "sha256", json_string(hex));
  json_dump_file(json, path.c_str(), 0);
  json_decref(json);
}
static json_t *first_file(json_t *json) { return json_array_get(json_object_get(json, "files"), 0); }

TEST_F(Ckpt, NewerFormatIsRefused) {  // 22
  ASSERT_EQ(save(7), IG_OK);
  ASSERT_EQ(save(8), IG_OK);
  forge(step_path(8), [](json_t *json) { json_object_set_new(json, "format_version", json_integer(2)); });
  EXPECT_TRUE(has(refusal(step_path(8), IG_ERR_UNSUPPORTED), "format_version: 2"));
  ig_ckpt_reader *r;
  EXPECT_EQ(ig_ckpt_open_latest(folder.c_str(), &r, nullptr, nullptr), IG_ERR_UNSUPPORTED);
}

TEST_F(Ckpt, ForgedManifests) {  // 7, 8, 9, 17
  auto forged = [&](const std::function<void(json_t *)> &edit) {
    fs::remove_all(folder);
    EXPECT_EQ(save(8), IG_OK);
    forge(step_path(8), edit);
    return refusal(step_path(8));
  };
  auto tensor = [](json_t *json) { return json_array_get(json_object_get(first_file(json), "tensors"), 0); };
  auto set_tensor = [&](const char *key, json_t *value) {
    return forged([&](json_t *json) { json_object_set_new(tensor(json), key, value); });
  };
  EXPECT_TRUE(has(set_tensor("shape", json_pack("[I,I]", 1ll << 40, 1ll << 40)), "shape"));
  EXPECT_TRUE(has(set_tensor("shape", json_pack("[I]", 1ll << 40)), "more bytes than its shard"));
  EXPECT_TRUE(has(set_tensor("shape", json_pack("[i]", -1)), "shape"));
  EXPECT_TRUE(has(set_tensor("dtype", json_string("f99")), "dtype"));
  EXPECT_TRUE(has(set_tensor("name", json_string("../x")), "name"));
  EXPECT_TRUE(has(set_tensor("group", json_string("a/b")), "name"));
  EXPECT_TRUE(has(set_tensor("offset", json_integer(3)), "shape"));
  EXPECT_TRUE(has(set_tensor("sha256", json_string("0")), "sha256"));
  auto set_file = [&](const char *key, json_t *value) {
    return forged([&](json_t *json) { json_object_set_new(first_file(json), key, value); });
  };
  EXPECT_TRUE(has(set_file("name", json_string("../../shard-00000.h5")), "shard-00000.h5 expected"));
  EXPECT_TRUE(has(set_file("bytes", json_integer(-5)), "bytes"));
  EXPECT_TRUE(has(set_file("state_bytes", json_integer(1ll << 50)), "state_bytes"));
  EXPECT_TRUE(
      has(forged([](json_t *json) { json_object_set_new(json, "world_size", json_integer(2)); }), "world_size"));
  EXPECT_TRUE(has(forged([](json_t *json) { json_object_set_new(json, "format", json_string("x")); }), "format"));
  EXPECT_TRUE(has(forged([](json_t *json) { json_object_set_new(json, "step", json_real(8)); }), "step"));
  // Many shapes that fit one by one and not together.
  EXPECT_TRUE(has(forged([&](json_t *json) {
                    for (int i = 0; i < 2000; i++) {
                      json_t *copy = json_deep_copy(tensor(json));
                      json_object_set_new(copy, "name", json_string(("t" + std::to_string(i)).c_str()));
                      json_array_append_new(json_object_get(first_file(json), "tensors"), copy);
                    }
                  }),
                  "more bytes than its shard"));
  // A shape that is not the dataset's is seen when it is read.
  fs::remove_all(folder);
  ASSERT_EQ(save(8), IG_OK);
  forge(step_path(8), [&](json_t *json) { json_object_set_new(tensor(json), "shape", json_pack("[i,i]", 16, 27)); });
  ig_ckpt_reader *r;
  ASSERT_EQ(ig_ckpt_open(step_path(8).c_str(), &r), IG_OK) << ig_error_message();
  float w[16 * 27];
  EXPECT_EQ(ig_ckpt_read(r, "weights", "conv1.weight", w, sizeof w), IG_ERR_FORMAT);
  EXPECT_TRUE(has(ig_error_message(), "shape differs")) << ig_error_message();
  ig_ckpt_close(r);
  EXPECT_EQ(ig_ckpt_verify(step_path(8).c_str()), IG_ERR_FORMAT);
}

TEST_F(Ckpt, HostileHdf5) {  // 15, 16
  ASSERT_EQ(save(8), IG_OK);
  std::string shard = step_path(8) + "/shard-00000.h5", secret = run.string() + "/secret.h5";
  // Replaces conv1.weight by what `make` puts there, and makes all hashes agree: only the structure is wrong.
  auto hostile = [&](const std::function<void(hid_t)> &make) {
    fs::remove_all(folder);
    EXPECT_EQ(save(8), IG_OK);
    hid_t file = H5Fopen(shard.c_str(), H5F_ACC_RDWR, H5P_DEFAULT);
    EXPECT_GE(file, 0);
    H5Ldelete(file, "/weights/conv1.weight", H5P_DEFAULT);
    make(file);
    H5Fclose(file);
    std::string bytes = slurp(shard);
    char hex[65];
    ig_sha256_hex(bytes.data(), bytes.size(), hex);
    forge(step_path(8), [&](json_t *json) {
      json_object_set_new(first_file(json), "bytes", json_integer((json_int_t)bytes.size()));
      json_object_set_new(first_file(json), "sha256", json_string(hex));
    });
    ig_ckpt_reader *r;
    EXPECT_EQ(ig_ckpt_open(step_path(8).c_str(), &r), IG_OK) << ig_error_message();
    std::vector<float> w(16 * 27);
    EXPECT_EQ(ig_ckpt_read(r, "weights", "conv1.weight", w.data(), w.size() * 4), IG_ERR_FORMAT);
    ig_ckpt_close(r);
    return std::string(ig_error_message());
  };
  hsize_t dims[4] = {16, 3, 3, 3};
  hid_t space = H5Screate_simple(4, dims, nullptr);
  hid_t file = H5Fcreate(secret.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
  hid_t set = H5Dcreate2(file, "w", H5T_IEEE_F32LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  H5Dclose(set);
  H5Fclose(file);
  auto create = [&](hid_t f, hid_t type, hid_t dcpl) {
    hid_t d = H5Dcreate2(f, "/weights/conv1.weight", type, space, H5P_DEFAULT, dcpl, H5P_DEFAULT);
    EXPECT_GE(d, 0);
    H5Dclose(d);
    H5Pclose(dcpl);
  };
  EXPECT_TRUE(has(hostile([&](hid_t f) {
                    H5Lcreate_soft("/state_dict/conv1.weight", f, "/weights/conv1.weight", H5P_DEFAULT, H5P_DEFAULT);
                  }),
                  "soft link"));
  EXPECT_TRUE(has(
      hostile([&](hid_t f) { H5Lcreate_soft("conv1.weight", f, "/weights/conv1.weight", H5P_DEFAULT, H5P_DEFAULT); }),
      "soft link"));  // cyclic
  EXPECT_TRUE(has(hostile([&](hid_t f) {
                    H5Lcreate_external(secret.c_str(), "/w", f, "/weights/conv1.weight", H5P_DEFAULT, H5P_DEFAULT);
                  }),
                  "external link"));
  EXPECT_TRUE(has(hostile([&](hid_t f) {
                    hid_t dcpl = H5Pcreate(H5P_DATASET_CREATE);
                    H5Pset_virtual(dcpl, space, secret.c_str(), "/w", space);
                    create(f, H5T_IEEE_F32LE, dcpl);
                  }),
                  "virtual dataset"));
  EXPECT_TRUE(has(hostile([&](hid_t f) {
                    hid_t dcpl = H5Pcreate(H5P_DATASET_CREATE);
                    H5Pset_external(dcpl, "/etc/passwd", 0, 16 * 27 * 4);
                    create(f, H5T_IEEE_F32LE, dcpl);
                  }),
                  "other files"));
  EXPECT_TRUE(has(hostile([&](hid_t f) {
                    hid_t dcpl = H5Pcreate(H5P_DATASET_CREATE);
                    H5Pset_chunk(dcpl, 4, dims);
                    H5Pset_deflate(dcpl, 9);
                    create(f, H5T_IEEE_F32LE, dcpl);
                  }),
                  "filter"));
  EXPECT_TRUE(has(hostile([&](hid_t f) { create(f, H5T_STD_I32LE, H5Pcreate(H5P_DATASET_CREATE)); }), "type differs"));
  EXPECT_TRUE(has(hostile([&](hid_t f) {  // a group that holds itself in the dataset's place
                    H5Lcreate_hard(f, "/weights", f, "/weights/conv1.weight", H5P_DEFAULT, H5P_DEFAULT);
                  }),
                  "open a dataset"));
  EXPECT_TRUE(has(hostile([&](hid_t) {}), "find a dataset"));
  H5Sclose(space);
}
