// floor: ig_train
// Weights of others: published CIFAR networks with their known numbers of correct answers, and torchvision reading what
// was saved.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <gtest/gtest.h>
#include <iterator>
#include <string>
#include <sys/wait.h>
#include <vector>

#include "tests/npy.h"
#include "tests/weights_fixture.h"

namespace {

using namespace weights;

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
