// Whole trainings of a tiny ResNet on a GPU, or on the simulator of one, beside the same training on the CPU. Rule: the
// losses of every step agree within a tolerance that the precision explains; the captured step, the checkpoint and the
// return to the CPU are part of it. Without a device: "skipped" (77) and why.
#include <cmath>
#include <gtest/gtest.h>
#include <jansson.h>

#include "runtime/device/device.h"
#include "tests/fault_train.h"
#include "tests/st_reader.h"

namespace {

using namespace fault;

struct Course {
  std::vector<double> losses;
  std::vector<double> scales;
};

Course course_of(const std::string &run) {
  Course c;
  std::ifstream in(run + "/log.jsonl");
  for (std::string line; std::getline(in, line);) {
    json_t *row = json_loads(line.c_str(), 0, nullptr);
    if (json_string_value(json_object_get(row, "split")) == std::string("train")) {
      c.losses.push_back(json_number_value(json_object_get(row, "loss")));
      c.scales.push_back(json_number_value(json_object_get(row, "loss_scale")));
    }
    json_decref(row);
  }
  return c;
}

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
  }
  Folder home_;
  std::string data_;
};

TEST_F(CudaTrain, EveryPrecisionFollowsTheCpu) {
  const std::string cpu = train("cpu", {"steps=6", "lr=0.02", "device=cpu", "precision=fp32", "winograd=0"});
  const Course want = course_of(cpu);
  ASSERT_EQ(want.losses.size(), 6u);
  const struct {
    const char *precision;
    double tolerance;
  } ways[] = {{"fp32", 2e-5}, {"tf32", 1e-2}, {"bf16", 6e-2}, {"fp16", 1e-2}};
  for (auto &way : ways) {
    SCOPED_TRACE(way.precision);
    const std::string gpu =
        train(way.precision, {"steps=6", "lr=0.02", "device=cuda", std::string("precision=") + way.precision});
    const Course got = course_of(gpu);
    agrees(got, want, way.tolerance);
    if (std::string(way.precision) == "fp32") {
      EXPECT_LT(largest_difference(gpu + "/model.safetensors", cpu + "/model.safetensors"), 2e-3);
    }
    EXPECT_EQ(got.scales.back(), std::string(way.precision) == "fp16" ? 65536 : 1);
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
  agrees(course_of(there), course_of(whole), 1e-3);
}

// Micro-batches are summed on the device; a step without finite loss changes nothing.
TEST_F(CudaTrain, AccumulatesAndSkips) {
  const Course one =
      course_of(train("one", {"steps=4", "lr=0.02", "device=cpu", "precision=fp32", "accumulate=2", "winograd=0"}));
  const Course two = course_of(train("two", {"steps=4", "lr=0.02", "device=cuda", "precision=fp32", "accumulate=2"}));
  agrees(two, one, 2e-5);
  Answer a =
      call("train", train_words(data_, home_ / "nan", {"steps=10", "device=cuda", "precision=fp32", "lr=1000000"}));
  EXPECT_EQ(a.status, IG_ERR_NUMERIC) << a.message;
}

}  // namespace

int main(int argc, char **argv) {
  testing::InitGoogleTest(&argc, argv);
  ig_device *device = nullptr;
  ig_cuda_options o = {};
  o.size = sizeof o;
  if (ig_device_create_cuda(&o, &device) != IG_OK) {
    printf("skipped: %s\n", ig_error_message());
    return 77;
  }
  ig_device_destroy(device);
  return RUN_ALL_TESTS();
}
