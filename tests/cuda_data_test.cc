// Real data on a GPU, or on the simulator of one: published networks give their known answers, and short trainings on
// photographs and on messages follow those on the CPU, in fp32, tf32, bf16 and fp16. Rule: every comparison also says
// on standard output what it found, a line of JSON (bench/gpu_session.sh keeps them). On a simulator: few pictures,
// tiny models. INGOT_DATA: the data (absent: skipped). Without a device: "skipped" (77) and why.
#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>

#include "runtime/device/device.h"
#include "tests/cuda_main.h"
#include "tests/fault_train.h"
#include "tests/npy.h"

namespace {

using namespace fault;

const double unlike = 1e30;  // what is no number, or of another length, is off by

ig_device_caps caps;
bool simulated = false;

struct Precision {
  const char *name;
  double rounding;  // largest relative error of an operand of a product
};

std::vector<Precision> precisions() {
  std::vector<Precision> all = {{"fp32", 0x1p-24}, {"fp16", 0x1p-11}};
  if (caps.tf32)
    all.push_back({"tf32", 0x1p-11});
  if (caps.bf16)
    all.push_back({"bf16", 0x1p-8});
  return all;
}

class CudaData : public testing::Test {
 protected:
  CudaData() : home_("ig_data") { use_cache(home_.path); }
  // The data folder's file, or the test is skipped.
  std::string need(const std::string &name) {
    const char *set = getenv("INGOT_DATA"), *source = getenv("INGOT_SOURCE");
    const std::string root = set && *set ? set : std::string(source && *source ? source : ".") + "/../shared/data";
    const std::string path = root + "/" + name;
    if (access(path.c_str(), R_OK))
      missing_ = path;
    return path;
  }
  Folder home_;
  std::string missing_;
};
#define SKIP_WITHOUT_DATA() \
  if (!missing_.empty())    \
  GTEST_SKIP() << "no " << missing_ << "; set INGOT_DATA"

// ---- published networks ----

struct Published {
  std::string model, weights, logits;
  int right;         // of all 200
  int on_simulator;  // pictures there
};

class Network : public CudaData {
 protected:
  // Every logit within `allowed` of its largest, and the class wherever the two best are further apart than twice that.
  void gives_its_answers(const Published &p) {
    const std::string pictures = need("cifar10_exact200/test200.bin"), weights = need(p.weights);
    const std::string logits = need(p.logits);
    SKIP_WITHOUT_DATA();
    const size_t record = 3073;
    std::string bytes = slurp(pictures);
    ASSERT_EQ(bytes.size(), 200 * record);
    if (simulated)
      bytes.resize((size_t)p.on_simulator * record);
    put(home_ / "pictures.bin", bytes);
    std::vector<double> want = read_npy(logits);
    const size_t n = bytes.size() / record;
    int right = 0;
    double largest = 0;
    for (size_t i = 0; i < n; i++)
      right += class_of(&want[i * 10]) == bytes[i * record];
    for (double v : want)
      largest = std::max(largest, std::fabs(v));
    if (!simulated) {
      ASSERT_EQ(right, p.right);
    }
    for (const Precision &precision : precisions()) {
      SCOPED_TRACE(precision.name);
      const std::string out = home_ / "logits.npy";
      Answer a = call("eval", {"model=" + p.model, "weights=" + weights, "data=" + (home_ / "pictures.bin"),
                               "device=cuda", std::string("precision=") + precision.name, "logits=" + out,
                               simulated ? "batch=2" : "batch=50", simulated ? "impl=cuda" : "impl=auto"});
      ASSERT_EQ(a.status, IG_OK) << a.message;
      const std::vector<double> got = read_npy(out);
      ASSERT_EQ(got.size(), n * 10);
      // fp32: what the CPU is allowed. Else, of the largest logit: some twenty layers, each of which rounds pictures
      // and weights, add like random numbers, and the worst of 2000 logits is four standard deviations out.
      const double allowed = !strcmp(precision.name, "fp32") ? 1e-4 : 4 * precision.rounding * largest;
      double worst = 0;
      int found_right = 0, unsure = 0;
      for (size_t i = 0; i < n; i++) {
        const double *w = &want[i * 10], *g = &got[i * 10];
        for (int k = 0; k < 10; k++)
          worst = std::max(worst, std::isfinite(g[k]) ? std::fabs(g[k] - w[k]) : unlike);
        const bool sure = margin_of(w) > 2 * allowed;
        unsure += !sure;
        found_right += class_of(g) == bytes[i * record];
        EXPECT_TRUE(!sure || class_of(g) == class_of(w)) << "picture " << i;
      }
      EXPECT_LE(worst, allowed);
      EXPECT_LE(std::abs(found_right - right), unsure);
      json_t *said = json_loads(a.result.c_str(), 0, nullptr);
      EXPECT_EQ(std::lround(json_number_value(json_object_get(said, "accuracy")) * (double)n), found_right) << a.result;
      json_decref(said);
      printf(
          "{\"test\": \"%s\", \"precision\": \"%s\", \"right\": %d, \"expected_right\": %d, \"of\": %zu, "
          "\"largest_deviation\": %.3g, \"allowed\": %.3g}\n",
          p.model.c_str(), precision.name, found_right, right, n, worst, allowed);
    }
  }

 private:
  static int class_of(const double *row) { return (int)(std::max_element(row, row + 10) - row); }
  static double margin_of(const double *row) {
    std::vector<double> sorted(row, row + 10);
    std::sort(sorted.begin(), sorted.end());
    return sorted[9] - sorted[8];
  }
};

TEST_F(Network, ResNet20HasItsAnswers) {
  gives_its_answers({"resnet20", "resnet_cifar_weights/resnet20-12fca82f.safetensors",
                     "cifar10_exact200/expected_logits_resnet20-12fca82f.npy", 180, 2});
}

TEST_F(Network, ResNet8OfMlperfTinyHasItsAnswers) {
  gives_its_answers({"resnet8_mlperf", "mlperf_tiny_resnet8/pretrainedResnet.safetensors",
                     "mlperf_tiny_resnet8/expected_logits_on_cifar10_exact200.npy", 171, 4});
}

// ---- short trainings ----

class Training : public CudaData {
 protected:
  // The first three losses within what rounding explains. From there a training of few samples goes its own way where a
  // ReLU falls the other way: on photographs two instruction sets of one CPU were 0.016 apart after eight steps in
  // fp32, bf16 0.03. Those and the evaluations within `later`.
  void follows_the_cpu(const std::string &test, const std::vector<std::string> &words, double later) {
    const Course want = train(test, "cpu", "fp32", words);
    ASSERT_GE(want.losses.size(), 3u);
    for (const Precision &precision : precisions()) {
      if (simulated && strcmp(precision.name, "fp16"))
        continue;  // cuda_train_test has the others
      SCOPED_TRACE(precision.name);
      const Course got = train(test, "cuda", precision.name, words);
      const double allowed = !strcmp(precision.name, "fp32") ? 1e-4 : 4 * precision.rounding;
      const double first = off(got.losses, want.losses, 3), all = off(got.losses, want.losses, SIZE_MAX);
      const double evaluated = off(got.evaluated, want.evaluated, SIZE_MAX);
      EXPECT_LE(first, allowed);
      EXPECT_LE(all, later);
      EXPECT_LE(evaluated, later);
      EXPECT_EQ(got.skips.empty() ? -1 : got.skips.back(), 0);
      printf(
          "{\"test\": \"%s\", \"precision\": \"%s\", \"steps\": %zu, \"first_three_off\": %.3g, \"allowed\": %.3g, "
          "\"all_off\": %.3g, \"evaluations_off\": %.3g, \"of_all_allowed\": %.3g, \"losses\": %s, \"cpu\": %s}\n",
          test.c_str(), precision.name, got.losses.size(), first, allowed, all, evaluated, later,
          list(got.losses).c_str(), list(want.losses).c_str());
    }
  }

 private:
  Course train(const std::string &test, const std::string &device, const std::string &precision,
               std::vector<std::string> words) {
    const std::string out = home_ / (test + "-" + device + "-" + precision);
    if (simulated && device == "cuda")
      words.push_back("impl=cuda");
    words.insert(words.end(), {"out=" + out, "device=" + device, "precision=" + precision, "seed=3", "strict=1",
                               "winograd=0", "deterministic=1", "save_every=1000", "schedule=constant"});
    Answer a = call("train", words);
    EXPECT_EQ(a.status, IG_OK) << a.message;
    return course_in_log(out);
  }
  static double off(const std::vector<double> &got, const std::vector<double> &want, size_t n) {
    double worst = got.size() == want.size() && !got.empty() ? 0 : unlike;
    for (size_t i = 0; i < n && i < got.size() && i < want.size(); i++)
      worst = std::max(worst, std::isfinite(got[i]) ? std::fabs(got[i] - want[i]) / std::max(1.0, want[i]) : unlike);
    return worst;
  }
  static std::string list(const std::vector<double> &v) {
    std::string s;
    for (double x : v)
      s += (s.empty() ? "[" : ", ") + std::to_string(x);
    return s + "]";
  }
};

// Eight photographs of each of NEU's six classes of defects in steel, two of them for evaluation.
TEST_F(Training, PhotographsFollowTheCpu) {
  const char *const classes[] = {"crazing", "inclusion", "patches", "pitted_surface", "rolled-in_scale", "scratches"};
  for (const char *name : classes) {
    const std::string to = home_ / ("neu/" + std::string(name));
    fs::create_directories(to);
    for (int i = 1; i <= 8; i++) {
      const std::string file = std::string(name) + "_" + std::to_string(i) + ".jpg";
      const std::string from = need("neu_cls/images/" + std::string(name) + "/" + file);
      if (missing_.empty())
        put(to + "/" + file, slurp(from));
    }
  }
  SKIP_WITHOUT_DATA();
  std::vector<std::string> words = {"data=" + (home_ / "neu"), "split=0.25", "augment=light"};
  if (simulated)
    words.insert(words.end(), {"model=resnet8_mlperf", "image_size=16", "batch=4", "steps=3", "lr=0.02", "threads=1"});
  else
    words.insert(words.end(), {"model=resnet18", "image_size=64", "batch=12", "steps=12", "lr=0.002"});
  follows_the_cpu("photographs", words, 0.1);
}

// The first messages of some intents of banking77. On a simulator with few words of the vocabulary.
TEST_F(Training, MessagesFollowTheCpu) {
  const std::string table = need("banking77/train.csv"), words_of = need("bert_vocab/bert-base-uncased.vocab.txt");
  SKIP_WITHOUT_DATA();
  const std::string all = slurp(table), vocabulary = slurp(words_of);
  std::map<std::string, int> seen;
  std::string rows;
  const size_t n_intents = simulated ? 2 : 8;
  const int n_each = simulated ? 4 : 24;
  for (size_t at = all.find('\n') + 1; at < all.size();) {
    size_t end = at;
    for (bool quoted = false; end < all.size() && (quoted || all[end] != '\n'); end++)
      quoted ^= all[end] == '"';
    const std::string row = all.substr(at, end - at), intent = row.substr(row.rfind(',') + 1);
    if ((seen.count(intent) || seen.size() < n_intents) && seen[intent]++ < n_each)
      rows += row + "\n";
    at = end + 1;
  }
  ASSERT_EQ(seen.size(), n_intents);
  put(home_ / "messages.csv", "text,category\n" + rows);
  size_t cut = 0;
  for (int i = 0; i < (simulated ? 2500 : 30522); i++)
    cut = vocabulary.find('\n', cut) + 1;
  put(home_ / "vocab.txt", vocabulary.substr(0, cut));
  std::vector<std::string> words = {"data=" + (home_ / "messages.csv"), "tokenizer=" + (home_ / "vocab.txt"),
                                    "split=0.25", "lr=0.0005"};
  if (simulated)
    words.insert(words.end(), {"model=bert_tiny", "max_length=16", "batch=2", "steps=3", "threads=1"});
  else
    words.insert(words.end(), {"model=bert_mini", "max_length=32", "batch=16", "steps=12"});
  follows_the_cpu("messages", words, 0.01);
}

}  // namespace

int main(int argc, char **argv) {
  testing::InitGoogleTest(&argc, argv);
  if (!find_cuda(true, &caps))
    return 77;
  simulated = strstr(caps.name, "simulator");
  return RUN_ALL_TESTS();
}
