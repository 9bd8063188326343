// How batches reach a GPU in a training: from page-locked memory, in turns, while the step before computes. Rule: what
// a run does more of when it has more steps is counted, and a run whose every operation is waited for is the measure.
// On the simulator alone: elsewhere "skipped" (77) and why.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include "runtime/device/device.h"
#include "tests/fault_train.h"
#include "tests/sim/sim.h"

namespace {

using namespace fault;

struct Simulator {
  decltype(&ig_sim_calls) calls;
  decltype(&ig_sim_copies) copies;
  decltype(&ig_sim_eager) eager;
  decltype(&ig_sim_reports) reports;
  decltype(&ig_sim_report_text) report_text;
  bool open() {
    const char *name = getenv("INGOT_CUDA_LIBRARY");
    void *library = name ? dlopen(name, RTLD_NOW) : nullptr;
    auto find = [&](const char *function) { return library ? dlsym(library, function) : nullptr; };
    calls = (decltype(calls))find("ig_sim_calls");
    copies = (decltype(copies))find("ig_sim_copies");
    eager = (decltype(eager))find("ig_sim_eager");
    reports = (decltype(reports))find("ig_sim_reports");
    report_text = (decltype(report_text))find("ig_sim_report_text");
    return calls && copies && eager && reports && report_text;
  }
} sim;

class CudaStaging : public testing::Test {
 protected:
  CudaStaging() : home_("ig_cuda_staging"), data_(home_ / "data") {
    make_pictures(data_, 16, 1, 8);
    use_cache(home_.path);
  }
  std::string train(const std::string &name, const std::vector<std::string> &more) {
    std::vector<std::string> words = {"image_size=8", "device=cuda", "precision=fp32", "save_every=1000"};
    words.insert(words.end(), more.begin(), more.end());
    Answer a = call("train", train_words(data_, home_ / name.c_str(), words));
    EXPECT_EQ(a.status, IG_OK) << name << ": " << a.message;
    return home_ / name.c_str();
  }
  Folder home_;
  std::string data_;
};

// 4 steps more, in the same epoch: 2 copies to the device each (a batch, the learning rate), no memory, and no waiting
// but for events: of the buffer that is written, of the result that is looked at.
TEST_F(CudaStaging, AStepCopiesFromPageLockedMemoryAndAsksForNone) {
  struct Count {
    uint64_t pinned, pageable, memory, streams, events;
  };
  auto count = [&](const char *steps) {
    auto now = [] {
      return Count{sim.copies(1), sim.copies(0), sim.calls("cudaMalloc") + sim.calls("cudaMallocHost"),
                   sim.calls("cudaStreamSynchronize"), sim.calls("cudaEventSynchronize")};
    };
    const Count a = now();
    train(steps, {"batch=4", std::string("steps=") + steps});
    const Count b = now();
    return Count{b.pinned - a.pinned, b.pageable - a.pageable, b.memory - a.memory, b.streams - a.streams,
                 b.events - a.events};
  };
  count("2");  // choices are made and stored
  const Count few = count("3"), more = count("7");
  EXPECT_EQ(more.pinned - few.pinned, 4u * 2);
  EXPECT_EQ(more.pageable, few.pageable) << "a step copies from memory that is not page-locked";
  EXPECT_EQ(more.memory, few.memory);
  EXPECT_EQ(more.streams, few.streams);
  EXPECT_EQ(more.events - few.events, 4u * 2);
}

// Four micro-batches a step take turns at two buffers before anything else is waited for: a buffer that is written too
// early is seen by the simulator, and a batch that is read too late by what comes out.
TEST_F(CudaStaging, ABufferIsWrittenAgainWhenItsCopyIsOver) {
  const int before = sim.reports();
  for (const char *accumulate : {"accumulate=1", "accumulate=4"}) {
    SCOPED_TRACE(accumulate);
    const std::vector<std::string> words = {"batch=8", "steps=3", accumulate};
    const std::string name = std::string(accumulate).substr(11);
    const std::string ahead = train("ahead" + name, words);
    sim.eager(1);
    const std::string waited = train("waited" + name, words);
    sim.eager(0);
    EXPECT_TRUE(tensors_of(ahead + "/checkpoints/step-3") == tensors_of(waited + "/checkpoints/step-3"));
  }
  for (int i = before; i < sim.reports(); i++)
    ADD_FAILURE() << sim.report_text(i);
}

}  // namespace

int main(int argc, char **argv) {
  testing::InitGoogleTest(&argc, argv);
  if (!sim.open()) {
    printf("skipped: copies are counted on the simulator (INGOT_CUDA_LIBRARY=.../libingot_cuda_sim.so)\n");
    return 77;
  }
  return RUN_ALL_TESTS();
}
