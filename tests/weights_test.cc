// floor: ig_train
// Weights in and out: round trip, metadata, checkpoints, failing allocations.
#include <cstring>
#include <functional>
#include <gtest/gtest.h>
#include <string>
#include <vector>

#include "runtime/ckpt/checkpoint.h"
#include "tests/st_reader.h"
#include "tests/weights_fixture.h"

namespace {

using namespace weights;

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

}  // namespace
