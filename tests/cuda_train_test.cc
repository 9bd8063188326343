// Whole trainings of a tiny ResNet and a tiny BERT on a GPU, or on the simulator of one, beside the same training on
// the CPU. Rule: the losses of every step agree within a tolerance that the precision explains; the captured step (of
// texts, one a capacity), the checkpoint and the return to the CPU are part of it. Without a device: "skipped" (77) and
// why.
#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>

#include "runtime/base/rng.h"
#include "runtime/device/device.h"
#include "tests/cuda_main.h"
#include "tests/fault_train.h"
#include "tests/st_reader.h"

namespace {

using namespace fault;

double largest_difference(const std::string &a, const std::string &b) {
  st::File x(a), y(b);
  double most = 0;
  for (auto &t : x.tensors()) {
    std::vector<double> p = x.f64(t.first), q = y.f64(t.first);
    for (size_t i = 0; i < p.size(); i++)
      most = std::max(most, std::fabs(p[i] - q[i]));
  }
  return most;
}

class CudaTrain : public testing::Test {
 protected:
  CudaTrain() : home_("ig_cuda"), data_(home_ / "data") {
    make_pictures(data_, 8, 2, 16);
    use_cache(home_.path);
  }
  // Runs `steps` steps, or stops when asked for the stop-th time, and returns the run's folder.
  std::string train(const std::string &name, const std::vector<std::string> &more, int stop = 0) {
    std::string out = home_ / name.c_str();
    std::vector<std::string> words = {"schedule=constant", "save_every=1000"};
    words.insert(words.end(), more.begin(), more.end());
    Answer a = call("train", train_words(data_, out, words), stop);
    EXPECT_EQ(a.status, stop ? IG_STOPPED : IG_OK) << name << ": " << a.message;
    return out;
  }
  void agrees(const Course &got, const Course &want, double tolerance) {
    ASSERT_EQ(got.losses.size(), want.losses.size());
    for (size_t i = 0; i < got.losses.size(); i++)
      EXPECT_NEAR(got.losses[i], want.losses[i], tolerance * std::max(1.0, want.losses[i])) << "step " << i + 1;
    ASSERT_EQ(got.evaluated.size(), want.evaluated.size());
    for (size_t i = 0; i < got.evaluated.size(); i++)
      EXPECT_NEAR(got.evaluated[i], want.evaluated[i], tolerance * std::max(1.0, want.evaluated[i]))
          << "evaluation " << i;
  }
  Folder home_;
  std::string data_;
};

TEST_F(CudaTrain, EveryPrecisionFollowsTheCpu) {
  const std::string cpu = train("cpu", {"steps=6", "lr=0.02", "device=cpu", "precision=fp32", "winograd=0"});
  const Course want = course_in_log(cpu);
  ASSERT_EQ(want.losses.size(), 6u);
  ASSERT_FALSE(want.evaluated.empty());
  const struct {
    const char *precision;
    double tolerance;
  } ways[] = {{"fp32", 2e-5}, {"tf32", 1e-2}, {"bf16", 6e-2}, {"fp16", 1e-2}};
  for (auto &way : ways) {
    SCOPED_TRACE(way.precision);
    const std::string gpu =
        train(way.precision, {"steps=6", "lr=0.02", "device=cuda", std::string("precision=") + way.precision});
    const Course got = course_in_log(gpu);
    agrees(got, want, way.tolerance);
    if (std::string(way.precision) == "fp32") {
      EXPECT_LT(largest_difference(gpu + "/model.safetensors", cpu + "/model.safetensors"), 2e-3);
    }
    EXPECT_EQ(got.scales.back(), std::string(way.precision) == "fp16" ? 65536 / 4 : 1);
  }
}

// A checkpoint of the GPU goes on there bit for bit, and on the CPU within rounding.
TEST_F(CudaTrain, GoesOnHereAndThere) {
  const std::vector<std::string> gpu = {"device=cuda", "precision=fp32", "optimizer=adamw",
                                        "lr=0.001",    "steps=6",        "resume=auto"};
  std::vector<std::string> cpu = gpu;
  cpu[0] = "device=cpu";
  const std::string whole = train("whole", gpu), part = train("part", gpu, 3), there = train("there", gpu, 3);
  train("part", gpu);
  EXPECT_TRUE(tensors_of(part + "/checkpoints/step-6") == tensors_of(whole + "/checkpoints/step-6"));
  train("there", cpu);
  agrees(course_in_log(there), course_in_log(whole), 1e-3);
}

// 16-bit copies of weights are in no checkpoint: they are rounded anew from what was read.
TEST_F(CudaTrain, GoesOnIn16Bits) {
  const std::vector<std::string> words = {"device=cuda", "precision=bf16", "optimizer=adamw",
                                          "lr=0.001",    "steps=5",        "resume=auto"};
  const std::string whole = train("whole", words), part = train("part", words, 3);
  train("part", words);
  EXPECT_EQ(course_in_log(part).losses, course_in_log(whole).losses);
  EXPECT_TRUE(tensors_of(part + "/checkpoints/step-5") == tensors_of(whole + "/checkpoints/step-5"));
}

// A weight of 16 in every loss: gradients of 16384 times that overflow, so that the first steps are skipped and the
// scale falls. What was counted until a stop is part of the checkpoint.
TEST_F(CudaTrain, LossScaleGoesOn) {
  put(home_ / "weights.csv", "class,weight\ndark,16\nlight,16\n");
  const std::vector<std::string> words = {"device=cuda", "precision=fp16", "steps=6",
                                          "lr=0.02",     "resume=auto",    "class_weights=" + (home_ / "weights.csv")};
  const std::string whole = train("whole", words), part = train("part", words, 4);
  train("part", words);
  const Course got = course_in_log(part), want = course_in_log(whole);
  EXPECT_EQ(got.losses, want.losses);
  EXPECT_EQ(got.scales, want.scales);
  EXPECT_EQ(got.skips, want.skips);
  EXPECT_TRUE(tensors_of(part + "/checkpoints/step-6") == tensors_of(whole + "/checkpoints/step-6"));
  ASSERT_EQ(want.skips.size(), 6u);
  EXPECT_GE(want.skips.back(), 1);
  EXPECT_LE(want.skips.back(), 3);
  EXPECT_EQ(want.scales.back(), 65536 / 4 / std::exp2(want.skips.back()));
}

// Micro-batches are summed on the device; a step without finite loss changes nothing.
TEST_F(CudaTrain, AccumulatesAndSkips) {
  const Course one =
      course_in_log(train("one", {"steps=4", "lr=0.02", "device=cpu", "precision=fp32", "accumulate=2", "winograd=0"}));
  const Course two =
      course_in_log(train("two", {"steps=4", "lr=0.02", "device=cuda", "precision=fp32", "accumulate=2"}));
  agrees(two, one, 2e-5);
  Answer a =
      call("train", train_words(data_, home_ / "nan", {"steps=10", "device=cuda", "precision=fp32", "lr=1000000"}));
  EXPECT_EQ(a.status, IG_ERR_NUMERIC) << a.message;
}

// Input 55 of docs/reliability.md: gradients that overflow at every scale, with a loss that is finite (a weight of 1e12
// in sum and divisor alike). The scale halves from 65536 / 4 to 1, which is 14 skipped steps; the next overflow is the
// end.
TEST_F(CudaTrain, StopsAtTheLeastLossScale) {
  std::string weights = "class,weight\n";
  for (auto &folder : fs::directory_iterator(data_ + "/train"))
    if (folder.is_directory())
      weights += folder.path().filename().string() + ",1e12\n";
  put(home_ / "weights.csv", weights);
  const std::vector<std::string> words = {"steps=40",        "lr=0.02",
                                          "device=cuda",     "schedule=constant",
                                          "save_every=1000", "class_weights=" + std::string(home_ / "weights.csv")};
  std::vector<std::string> half = words;
  half.push_back("precision=fp16");
  const std::string out = home_ / "scale";
  Answer a = call("train", train_words(data_, out, half));
  EXPECT_EQ(a.status, IG_ERR_NUMERIC) << a.message;
  EXPECT_NE(a.message.find("gradients are not finite even at the least loss scale of 1"), std::string::npos)
      << a.message;
  EXPECT_NE(a.message.find("precision=bf16 or fp32"), std::string::npos) << a.message;
  EXPECT_EQ(a.message.find("step 15:"), 0u) << a.message;
  // The same weights where the type holds them: nothing is wrong with the run but fp16.
  std::vector<std::string> wide = words;
  wide[0] = "steps=3";
  wide.push_back("precision=fp32");
  a = call("train", train_words(data_, home_ / "wide", wide));
  EXPECT_EQ(a.status, IG_OK) << a.message;
}

// Input 54 of docs/reliability.md. Losses of some or of all batches overflow by the weights of their classes. With 1000
// steps only every second one is logged, so that the device is a step ahead: each bad step is counted, and told with
// its own number and pictures, as on the CPU, which is never ahead.
TEST_F(CudaTrain, LossesThatAreNotFinite) {
  const std::string odd = data_ + "/train/odd", classes = home_ / "classes.csv";
  fs::create_directories(odd);
  fs::create_directories(data_ + "/val/odd");
  for (int i = 0; i < 8; i++)
    put(odd + "/" + std::to_string(i) + ".bmp", bmp(16, 90 + i));
  put(data_ + "/val/odd/0.bmp", bmp(16, 95));
  auto course = [&](const std::string &device, const std::string &name, const std::string &weights,
                    const std::vector<std::string> &more, int stop) {
    put(classes, "class,weight\n" + weights);
    std::vector<std::string> words = {
        "steps=1000",        "schedule=constant",        "lr=1e-6",         "precision=fp32", "winograd=0",
        "label_smoothing=0", "class_weights=" + classes, "device=" + device};
    words.insert(words.end(), more.begin(), more.end());
    return call("train", train_words(data_, home_ / (name + device).c_str(), words), stop);
  };
  auto warnings = [](const Answer &a) {
    std::vector<std::string> some;
    for (auto &line : a.lines)
      if (line.find("warning: step ") != std::string::npos)
        some.push_back(line);
    return some;
  };
  const std::string every = "dark,3.4e38\nlight,3.4e38\nodd,3.4e38\n", rare = "dark,1\nlight,1\nodd,3.4e38\n";
  Answer cpu = course("cpu", "every", every, {"nan_limit=2"}, 0),
         gpu = course("cuda", "every", every, {"nan_limit=2"}, 0);
  EXPECT_EQ(cpu.status, IG_ERR_NUMERIC);
  EXPECT_EQ(gpu.status, IG_ERR_NUMERIC);
  EXPECT_EQ(gpu.message.find("step 3: the loss was not finite 3 times in a row (last batch: "), 0u) << gpu.message;
  EXPECT_EQ(gpu.message, cpu.message);
  EXPECT_EQ(warnings(gpu), warnings(cpu));
  // Some: skipped, and twice in a row the run is back at its checkpoint.
  cpu = course("cpu", "rare", rare, {"nan_limit=1", "save_every=1"}, 12);
  gpu = course("cuda", "rare", rare, {"nan_limit=1", "save_every=1"}, 12);
  EXPECT_EQ(gpu.status, cpu.status);
  EXPECT_TRUE(gpu.said("is not finite; the step is skipped (batch: ")) << gpu.message;
  EXPECT_TRUE(gpu.said("back to the last checkpoint")) << testing::PrintToString(warnings(gpu)) << gpu.message;
  EXPECT_EQ(warnings(gpu), warnings(cpu));
}

// What is planned for a GPU: the bits of ReLUs behind additions, in its bytes and its table.
TEST_F(CudaTrain, ThePlanHasTheMasks) {
  const std::vector<std::string> words = {"model=resnet8_mlperf", "image_size=16",   "batch=4",
                                          "precision=fp32",       "deterministic=1", "data=" + data_};
  std::vector<std::string> gpu = words, cpu = words;
  gpu.push_back("device=cuda");
  cpu.push_back("device=cpu");
  Answer there = call("plan", gpu), here = call("plan", cpu);
  ASSERT_EQ(there.status, IG_OK) << there.message;
  EXPECT_NE(there.result.find("bn_apply_mask"), std::string::npos) << there.result;
  EXPECT_EQ(here.result.find("bn_apply_mask"), std::string::npos);
}

// A number is fixed, and is of a mean loss: in the log it is divided by the samples of a micro-batch. It is told where
// it is too much, and does not move.
TEST_F(CudaTrain, AFixedLossScaleStays) {
  const std::vector<std::string> words = {"steps=4",        "lr=0.02",         "device=cuda",
                                          "precision=fp16", "loss_scale=3000", "resume=auto"};
  const std::string whole = train("whole", words), part = train("part", words, 2);
  train("part", words);
  EXPECT_EQ(course_in_log(whole).scales, (std::vector<double>(4, 3000.0 / 4)));
  EXPECT_EQ(course_in_log(part).losses, course_in_log(whole).losses);
  EXPECT_TRUE(tensors_of(part + "/checkpoints/step-4") == tensors_of(whole + "/checkpoints/step-4"));
  put(home_ / "weights.csv", "class,weight\ndark,1e12\nlight,1e12\n");
  Answer a = call("train", train_words(data_, home_ / "scale",
                                       {"steps=40", "lr=0.02", "device=cuda", "precision=fp16", "loss_scale=1000",
                                        "class_weights=" + std::string(home_ / "weights.csv")}));
  EXPECT_EQ(a.status, IG_ERR_NUMERIC) << a.message;
  EXPECT_EQ(
      a.message.find("step 4: gradients overflowed 4 times in a row with the fixed loss_scale=1000: take a smaller "
                     "one, or dynamic"),
      0u)
      << a.message;
}

// ---- texts ----
// A folder with config.json and vocab.txt of a BERT of two layers, a table of texts in two classes whose lengths
// differ, and raw text.
class CudaText : public testing::Test {
 protected:
  CudaText() : home_("ig_cuda_text"), model_(home_ / "bert") {
    use_cache(home_.path);
    std::string vocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n", table = "class,text\n", raw;
    for (char a = 'a'; a < 'i'; a++)
      for (char b = 'a'; b < 'h'; b++)
        vocabulary += std::string{a, b, '\n'};
    for (int i = 0; i < 24; i++) {
      std::string text;
      for (int k = 0; k < 3 + i * 5 % 17; k++)
        text += std::string(k ? " " : "") + (char)('a' + (i % 2 ? 4 : 0) + (i + k) % 4) + (char)('a' + i * k % 7);
      table += (i % 2 ? "late," : "early,") + text + "\n";
      raw += text + " .\n" + (i % 3 == 2 ? "\n" : "");
    }
    fs::create_directories(model_);
    fs::create_directories(home_ / "raw");
    put(model_ + "/vocab.txt", vocabulary);
    put(model_ + "/config.json",
        "{\"model_type\": \"bert\", \"vocab_size\": 61, \"hidden_size\": 32, \"num_hidden_layers\": 2, "
        "\"num_attention_heads\": 2, \"intermediate_size\": 64, \"max_position_embeddings\": 32, \"type_vocab_size\": "
        "2, \"hidden_act\": \"gelu\", \"layer_norm_eps\": 1e-12, \"hidden_dropout_prob\": 0.1, "
        "\"attention_probs_dropout_prob\": 0.1, \"initializer_range\": 0.05, \"pad_token_id\": 0}");
    put(model_ + "/model.safetensors", weights());
    put(home_ / "texts.csv", table);
    put(home_ / "raw/one.txt", raw);
  }
  // Hugging Face's names and shapes, small numbers.
  static std::string weights() {
    const int V = 61, D = 32, I = 64;
    std::vector<std::pair<std::string, std::vector<int>>> all = {
        {"bert.embeddings.word_embeddings.weight", {V, D}},
        {"bert.embeddings.position_embeddings.weight", {32, D}},
        {"bert.embeddings.token_type_embeddings.weight", {2, D}},
        {"cls.predictions.bias", {V}},
        {"cls.seq_relationship.weight", {2, D}},
        {"cls.seq_relationship.bias", {2}}};
    auto dense = [&](const std::string &name, int out, int in) {
      all.push_back({name + ".weight", {out, in}});
      all.push_back({name + ".bias", {out}});
    };
    auto norm = [&](const std::string &name) {
      all.push_back({name + ".weight", {D}});
      all.push_back({name + ".bias", {D}});
    };
    norm("bert.embeddings.LayerNorm");
    for (int i = 0; i < 2; i++) {
      const std::string layer = "bert.encoder.layer." + std::to_string(i);
      for (const char *part :
           {".attention.self.query", ".attention.self.key", ".attention.self.value", ".attention.output.dense"})
        dense(layer + part, D, D);
      norm(layer + ".attention.output.LayerNorm");
      dense(layer + ".intermediate.dense", I, D);
      dense(layer + ".output.dense", D, I);
      norm(layer + ".output.LayerNorm");
    }
    dense("bert.pooler.dense", D, D);
    dense("cls.predictions.transform.dense", D, D);
    norm("cls.predictions.transform.LayerNorm");
    std::string header = "{", data;
    ig_rng r = ig_rng_make(5, 0, 0);
    for (auto &t : all) {
      size_t n = 1, from = data.size();
      std::string shape;
      for (int d : t.second) {
        n *= (size_t)d;
        shape += (shape.empty() ? "" : ",") + std::to_string(d);
      }
      const bool one = t.first.find("LayerNorm.weight") != std::string::npos;
      for (size_t i = 0; i < n; i++) {
        const float v = (float)(one ? 1 : 0.1 * ig_rng_normal(&r));
        data.append((const char *)&v, sizeof v);
      }
      header += std::string(header.size() > 1 ? "," : "") + "\"" + t.first + "\":{\"dtype\":\"F32\",\"shape\":[" +
                shape + "],\"data_offsets\":[" + std::to_string(from) + "," + std::to_string(data.size()) + "]}";
    }
    header += "}";
    header += std::string((8 - header.size() % 8) % 8, ' ');
    const uint64_t length = header.size();
    return std::string((const char *)&length, sizeof length) + header + data;
  }
  Course train(const std::string &name, const std::vector<std::string> &more) {
    const std::string out = home_ / name.c_str();
    std::vector<std::string> words = {"model=" + model_, "out=" + out,      "threads=1",         "loader_threads=1",
                                      "seed=3",          "deterministic=1", "strict=1",          "batch=4",
                                      "steps=6",         "save_every=1000", "schedule=constant", "lr=0.002",
                                      "ema=0.9"};
    words.insert(words.end(), more.begin(), more.end());
    Answer a = call("train", words);
    EXPECT_EQ(a.status, IG_OK) << name << ": " << a.message;
    return course_in_log(out);
  }
  // The same course in every precision on the device. scale: where fp16's begins, and stays: no step is skipped.
  void follows_the_cpu(const std::vector<std::string> &what, double scale) {
    auto with = [&](const std::string &device, const std::string &precision) {
      std::vector<std::string> words = what;
      words.insert(words.end(), {"device=" + device, "precision=" + precision});
      return train(device + precision, words);
    };
    const Course want = with("cpu", "fp32");
    ASSERT_EQ(want.losses.size(), 6u);
    const struct {
      const char *precision;
      double tolerance;
    } ways[] = {{"fp32", 2e-5}, {"tf32", 3e-3}, {"bf16", 3e-2}, {"fp16", 3e-3}};
    for (auto &way : ways) {
      SCOPED_TRACE(way.precision);
      const Course got = with("cuda", way.precision);
      ASSERT_EQ(got.losses.size(), want.losses.size());
      for (size_t i = 0; i < got.losses.size(); i++) {
        EXPECT_NEAR(got.losses[i], want.losses[i], way.tolerance * std::max(1.0, want.losses[i])) << "step " << i + 1;
        EXPECT_EQ(got.scales[i], std::string(way.precision) == "fp16" ? scale : 1) << "step " << i + 1;
      }
    }
  }
  Folder home_;
  std::string model_;
};

TEST_F(CudaText, ClassifiesInEveryPrecision) {
  follows_the_cpu({"data=" + std::string(home_ / "texts.csv"), "split=0.25"}, 65536 / 4);
}

TEST_F(CudaText, PredictsMaskedWordsInEveryPrecision) {
  follows_the_cpu({"data=" + std::string(home_ / "raw"), "task=mlm", "max_length=24"}, 65536 / 16);
}

}  // namespace

int main(int argc, char **argv) { return run_cuda_tests(argc, argv); }
