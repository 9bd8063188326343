// Failures of the CUDA runtime, of cuBLASLt and of cuDNN in a whole training: each function that a run calls is failed
// at several of its calls (INGOT_LONG=1: at all). Rule: the run ends with an error that names what failed, and nothing
// of the device is left; what only gives back leaves at most the one thing that it was to give back. On the simulator
// alone: elsewhere "skipped" (77) and why.
#include <algorithm>
#include <dlfcn.h>
#include <gtest/gtest.h>

#include "runtime/device/device.h"
#include "tests/fault_train.h"
#include "tests/sim/sim.h"

namespace {

using namespace fault;

enum { UNKNOWN = 999, NO_MEMORY = 2, ILLEGAL_ADDRESS = 700 };  // cudaError_t

struct Simulator {
  decltype(&ig_sim_fail) fail;
  decltype(&ig_sim_failed) failed;
  decltype(&ig_sim_calls) calls;
  decltype(&ig_sim_leaks) leaks;
  decltype(&ig_sim_checks) checks;
  decltype(&ig_sim_reset) reset;
  bool open() {
    const char *name = getenv("INGOT_CUDA_LIBRARY");
    void *library = name ? dlopen(name, RTLD_NOW) : nullptr;
    auto find = [&](const char *function) { return library ? dlsym(library, function) : nullptr; };
    fail = (decltype(fail))find("ig_sim_fail");
    failed = (decltype(failed))find("ig_sim_failed");
    calls = (decltype(calls))find("ig_sim_calls");
    leaks = (decltype(leaks))find("ig_sim_leaks");
    checks = (decltype(checks))find("ig_sim_checks");
    reset = (decltype(reset))find("ig_sim_reset");
    return fail && failed && calls && leaks && checks && reset;
  }
} sim;

enum Kind {
  ENDS,   // its failure ends the run
  GIVES,  // gives something back: the run goes on, that one thing stays
  ASKS,   // asks about a library or the machine: the run may go on without an answer
};
const struct Function {
  const char *name;
  Kind kind;
} functions[] = {
    {"cudaGetDeviceCount", ENDS},
    {"cudaSetDevice", ENDS},
    {"cudaGetDevice", ASKS},
    {"cudaDriverGetVersion", ENDS},
    {"cudaRuntimeGetVersion", ENDS},
    {"cudaGetDeviceProperties", ENDS},
    {"cudaDeviceGetAttribute", ENDS},
    {"cudaFuncGetAttributes", ENDS},
    {"cudaFuncSetAttribute", ENDS},
    {"cudaMalloc", ENDS},
    {"cudaMallocHost", ENDS},
    {"cudaMemcpyAsync", ENDS},
    {"cudaMemsetAsync", ENDS},
    {"cudaStreamCreateWithFlags", ENDS},
    {"cudaStreamSynchronize", ENDS},
    {"cudaStreamWaitEvent", ENDS},
    {"cudaEventCreateWithFlags", ENDS},
    {"cudaEventCreate", ENDS},
    {"cudaEventRecord", ENDS},
    {"cudaEventSynchronize", ENDS},
    {"cudaEventElapsedTime", ENDS},
    {"cudaStreamBeginCapture", ENDS},
    {"cudaStreamEndCapture", ENDS},
    {"cudaGraphInstantiate", ENDS},
    {"cudaGraphLaunch", ENDS},
    {"cudaLaunchKernel", ENDS},
    {"cudaLaunchHostFunc", ENDS},     // of the stand-ins
    {"cudaStreamIsCapturing", ASKS},  // likewise
    {"cudaFree", GIVES},
    {"cudaFreeHost", GIVES},
    {"cudaStreamDestroy", GIVES},
    {"cudaEventDestroy", GIVES},
    {"cudaGraphDestroy", GIVES},
    {"cudaGraphExecDestroy", GIVES},
};

class CudaFaults : public testing::Test {
 protected:
  CudaFaults() : home_("ig_cuda_faults"), data_(home_ / "data") {
    make_pictures(data_, 2, 1, 8);
    use_cache(home_.path);
    sim.checks(0);
  }
  ~CudaFaults() override {
    sim.fail(nullptr, 0, 0, 0);
    sim.reset();
    sim.checks(1);
  }
  // Three steps (alone, captured, replayed), a checkpoint and an evaluation in fp16.
  Answer train(const std::string &out, const std::vector<std::string> &more = {}) {
    std::vector<std::string> words = {"image_size=8", "batch=2",        "steps=3",
                                      "device=cuda",  "precision=fp16", "save_every=2"};
    words.insert(words.end(), more.begin(), more.end());
    return call("train", train_words(data_, home_ / out, words));
  }
  std::string left() {
    char text[1000];
    return sim.leaks(text, sizeof text) ? text : "";
  }
  // Calls to fail of `n`; fewer of those that take longer.
  static std::vector<uint64_t> places(uint64_t n, bool few = false) {
    std::vector<uint64_t> at;
    if (long_form())
      for (uint64_t i = 1; i <= n; i++)
        at.push_back(i);
    else
      for (uint64_t i : {(uint64_t)1, (uint64_t)2, n / 3, n / 2, n - 1, n})
        if (i >= 1 && i <= n && (at.empty() || i > at.back()) && (!few || i == 1 || i == n / 2 || i == n))
          at.push_back(i);
    return at;
  }
  void judge(const Function &f, uint64_t at, uint64_t calls, const Answer &a) {
    const std::string where = std::string(f.name) + ", call " + std::to_string(at) + ": '" + a.message + "'";
    const std::string stays = left();
    EXPECT_EQ(sim.failed(), 1) << where;
    if (f.kind == GIVES) {
      EXPECT_EQ(a.status, IG_OK) << where;
      EXPECT_LE(std::count(stays.begin(), stays.end(), '\n'), 1) << where << " left:\n" << stays;
      return;
    }
    EXPECT_EQ(stays, "") << where;
    // The last wait is before memory is given back, when all results are there.
    if (a.status == IG_OK && (f.kind == ASKS || (!strcmp(f.name, "cudaStreamSynchronize") && at == calls)))
      return;
    EXPECT_NE(ig_status_exit_code(a.status), 0) << where;
    // A launch has no call of its own: the node and its implementation are named instead.
    const bool launch = !strcmp(f.name, "cudaLaunchKernel");
    EXPECT_NE(a.message.find(launch ? "_cuda, [" : f.name), std::string::npos) << where;
    EXPECT_NE(a.message.find("unknown error (cudaErrorUnknown)"), std::string::npos) << where;
  }
  Folder home_;
  std::string data_;
};

// Input 53 of docs/reliability.md, in the middle of planning and where the arena is made.
TEST_F(CudaFaults, MemoryThatIsNotThere) {
  ASSERT_EQ(train("whole").status, IG_OK) << ig_error_message();
  uint64_t calls = sim.calls("cudaMalloc");
  ASSERT_EQ(train("again").status, IG_OK) << ig_error_message();
  calls = sim.calls("cudaMalloc") - calls;
  EXPECT_GT(calls, 10u);
  for (uint64_t at = 1; at <= calls; at++) {
    fs::remove_all(home_ / "run");
    sim.fail("cudaMalloc", (int)at, NO_MEMORY, 0);
    const Answer a = train("run");
    sim.fail(nullptr, 0, 0, 0);
    EXPECT_EQ(a.status, IG_ERR_MEMORY) << at << ": " << a.message;
    EXPECT_NE(a.message.find(" bytes for "), std::string::npos) << at << ": " << a.message;
    EXPECT_NE(a.message.find("out of device memory"), std::string::npos) << at << ": " << a.message;
    EXPECT_NE(a.message.find("use a smaller batch"), std::string::npos) << at << ": " << a.message;
    EXPECT_FALSE(fs::exists(home_ / "run/checkpoints/step-2")) << "memory was asked for in a step";
    EXPECT_EQ(left(), "") << at;
  }
}

// Input 66: from some call on nothing works any more (an illegal address sticks to the process). The run ends at once
// and says so; a new process goes on from the last checkpoint to the bits of a run that nothing happened to.
TEST_F(CudaFaults, AnErrorThatStays) {
  const uint64_t before = sim.calls("*");
  ASSERT_EQ(train("whole").status, IG_OK) << ig_error_message();
  const uint64_t calls = sim.calls("*") - before;
  int resumed = 0;
  for (uint64_t at = 4; at <= calls; at += long_form() ? 1 : calls / 12) {  // the first ones look for a driver
    fs::remove_all(home_ / "run");
    sim.fail("*", (int)at, ILLEGAL_ADDRESS, 1);
    const Answer a = train("run");
    sim.fail(nullptr, 0, 0, 0);
    sim.reset();
    if (a.status == IG_OK)  // while memory was given back
      continue;
    EXPECT_NE(ig_status_exit_code(a.status), 0) << a.message;
    EXPECT_NE(a.message.find("cudaErrorIllegalAddress"), std::string::npos) << "call " << at << ": " << a.message;
    resumed += fs::exists(home_ / "run/checkpoints/step-2");
    ASSERT_EQ(train("run", {"resume=auto"}).status, IG_OK) << "call " << at << ": " << ig_error_message();
    EXPECT_TRUE(tensors_of(home_ / "run/checkpoints/step-3") == tensors_of(home_ / "whole/checkpoints/step-3"))
        << "call " << at;
  }
  EXPECT_GE(resumed, 1);
}

// A library whose every product fails is no choice while others are timed beside it; where it is forced the run ends.
TEST_F(CudaFaults, ALibraryThatNeverRuns) {
  const char *folder = getenv("INGOT_CUDA_LIBRARIES");
  const std::pair<const char *, const char *> never[] = {{"libcublasLt.so.13", "cublasLtMatmul"},
                                                         {"libcudnn.so.9", "cudnnBackendExecute"}};
  for (auto &n : never) {
    void *library = folder ? dlopen((std::string(folder) + "/" + n.first).c_str(), RTLD_NOW) : nullptr;
    if (!library)
      continue;
    auto fail = (void (*)(const char *, int))dlsym(library, "ig_fake_fail");
    auto failed = (long (*)(void))dlsym(library, "ig_fake_failed");
    ASSERT_TRUE(fail && failed);
    use_cache(home_ / n.second);  // no choices of before
    fail(n.second, -1);
    EXPECT_EQ(train(std::string("auto") + n.second, {"deterministic=0"}).status, IG_OK) << ig_error_message();
    EXPECT_GT(failed(), 0) << n.second;
    const Answer forced = train(std::string("forced") + n.second, {"deterministic=0", "impl=library"});
    EXPECT_NE(ig_status_exit_code(forced.status), 0);
    EXPECT_NE(forced.message.find(n.second), std::string::npos) << forced.message;
    EXPECT_EQ(left(), "");
    fail(nullptr, 0);
  }
}

// What cuBLASLt or cuDNN refuses while planning is a reason not to take it; what fails later ends the run.
TEST_F(CudaFaults, EachCallOfTheLibraries) {
  const char *folder = getenv("INGOT_CUDA_LIBRARIES");
  if (!folder)
    GTEST_SKIP() << "skipped: no stand-ins of NVIDIA's libraries (INGOT_CUDA_LIBRARIES)";
  const struct {
    const char *file, *error;
    std::vector<const char *> functions;
  } libraries[] = {{"libcublasLt.so.13",
                    "CUBLAS_STATUS_INTERNAL_ERROR",
                    {"cublasLtMatmulDescCreate", "cublasLtMatmulDescSetAttribute", "cublasLtMatrixLayoutCreate",
                     "cublasLtMatmulPreferenceCreate", "cublasLtMatmulPreferenceSetAttribute",
                     "cublasLtMatmulAlgoGetHeuristic", "cublasLtMatmul"}},
                   {"libcudnn.so.9",
                    "CUDNN_STATUS_INTERNAL_ERROR",
                    {"cudnnSetStream", "cudnnBackendCreateDescriptor", "cudnnBackendSetAttribute",
                     "cudnnBackendFinalize", "cudnnBackendGetAttribute", "cudnnBackendExecute"}}};
  const std::vector<std::string> words = {"deterministic=0", "impl=library"};
  ASSERT_EQ(train("whole", words).status, IG_OK) << ig_error_message();
  int n = 0, ended = 0;
  for (auto &l : libraries) {
    void *library = dlopen((std::string(folder) + "/" + l.file).c_str(), RTLD_NOW);
    if (!library && strstr(l.file, "cudnn"))
      continue;  // no cudnn_graph.h where this was built
    ASSERT_TRUE(library) << dlerror();
    auto fail = (void (*)(const char *, int))dlsym(library, "ig_fake_fail");
    auto calls = (long (*)(void))dlsym(library, "ig_fake_calls"),
         failed = (long (*)(void))dlsym(library, "ig_fake_failed"),
         live = (long (*)(void))dlsym(library, "ig_fake_live");
    ASSERT_TRUE(fail && calls && failed && live);
    for (const char *f : l.functions) {
      fs::remove_all(home_ / "run");
      fail(f, 0);
      ASSERT_EQ(train("run", words).status, IG_OK) << ig_error_message();
      const long all = calls();
      EXPECT_GT(all, 0) << f;
      EXPECT_EQ(live(), 0);
      for (uint64_t at : places((uint64_t)all, true)) {
        fs::remove_all(home_ / "run");
        fail(f, (int)at);
        const Answer a = train("run", words);
        const std::string where = std::string(f) + ", call " + std::to_string(at) + ": '" + a.message + "'";
        EXPECT_EQ(failed(), 1) << where;
        EXPECT_EQ(live(), 0) << where;
        EXPECT_EQ(left(), "") << where;
        n++;
        if (a.status == IG_OK)
          continue;
        ended++;
        EXPECT_NE(a.message.find(f), std::string::npos) << where;
        EXPECT_NE(a.message.find(l.error), std::string::npos) << where;
        EXPECT_NE(a.message.find(" ("), std::string::npos) << where << " names no node";
        sim.reset();
      }
      fail(nullptr, 0);
    }
  }
  printf("%d calls failed, %d ended the run\n", n, ended);
  EXPECT_GT(ended, n / 5);
  EXPECT_LT(ended, n);
}

TEST_F(CudaFaults, EachCallOfARun) {
  ASSERT_EQ(train("warm").status, IG_OK) << ig_error_message();
  EXPECT_EQ(left(), "");
  std::map<std::string, uint64_t> before;
  uint64_t all = sim.calls("*"), named = 0;
  for (auto &f : functions)
    before[f.name] = sim.calls(f.name);
  ASSERT_EQ(train("whole").status, IG_OK) << ig_error_message();
  all = sim.calls("*") - all;
  for (auto &f : functions)
    named += before[f.name] = sim.calls(f.name) - before[f.name];
  EXPECT_EQ(named, all) << "a function is missing in the list above";
  int n = 0;
  for (auto &f : functions)
    for (uint64_t at : places(before[f.name])) {
      fs::remove_all(home_ / "run");
      sim.fail(f.name, (int)at, UNKNOWN, 0);
      const Answer a = train("run");
      judge(f, at, before[f.name], a);
      sim.fail(nullptr, 0, 0, 0);
      sim.reset();
      n++;
      ASSERT_FALSE(HasFatalFailure());
    }
  printf("%d of %lu calls failed\n", n, (unsigned long)all);
  EXPECT_GT(n, 60);
}

}  // namespace

int main(int argc, char **argv) {
  testing::InitGoogleTest(&argc, argv);
  if (!sim.open()) {
    printf("skipped: failures are injected on the simulator (INGOT_CUDA_LIBRARY=.../libingot_cuda_sim.so)\n");
    return 77;
  }
  return RUN_ALL_TESTS();
}
