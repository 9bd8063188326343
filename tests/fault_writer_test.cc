// floor: ig_ckpt
// The thread that writes checkpoints: the caller waits for the copy only, failures surface with their reason, and
// neither a stopped nor a killed writer leaves anything but whole checkpoints.
#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <set>
#include <signal.h>
#include <sys/wait.h>
#include <thread>

#include "tests/fault_state.h"

using namespace fault;

// Holds operations of the writer's thread until it is opened.
struct Gate {
  void pass() {
    std::unique_lock<std::mutex> lock(mutex);
    arrived = true;
    changed.notify_all();
    changed.wait(lock, [this] { return open; });
  }
  void wait_for_arrival() {
    std::unique_lock<std::mutex> lock(mutex);
    changed.wait(lock, [this] { return arrived; });
  }
  void release() {
    std::lock_guard<std::mutex> lock(mutex);
    open = true;
    changed.notify_all();
  }
  std::mutex mutex;
  std::condition_variable changed;
  bool arrived = false, open = false;
};

class FaultWriter : public ::testing::Test {
 protected:
  FaultWriter() : run("ig_writer"), folder(run / "checkpoints") {
    auto list = State(0).list();
    EXPECT_EQ(ig_ckpt_writer_create(list.data(), list.size(), &writer), IG_OK) << ig_error_message();
  }
  ~FaultWriter() override {
    ig_ckpt_writer_destroy(writer);
    watch(nullptr);
    ig_mem_fail_after(0, 0);
    leaks.check();
  }
  ig_status start(int64_t step) {
    State state(step);
    auto o = save_options(folder, step, state);
    auto list = state.list();
    o.warn = [](void *user, const char *text) {
      ((FaultWriter *)user)->said.insert({text, std::this_thread::get_id()});
    };
    o.warn_user = this;
    return ig_ckpt_writer_start(writer, &o, list.data(), list.size());  // `state` dies at once: the copy is what counts
  }
  // Outcome of the save in flight.
  ig_status collect(int64_t expected_step) {
    int64_t step = -1;
    ig_status status = IG_ERR_INTERNAL;
    EXPECT_TRUE(ig_ckpt_writer_collect(writer, true, &step, &status));
    EXPECT_EQ(step, expected_step);
    return status;
  }
  Leaks leaks;
  Folder run;
  std::string folder;
  ig_ckpt_writer *writer = nullptr;
  std::set<std::pair<std::string, std::thread::id>> said;
};

TEST_F(FaultWriter, TheCallerWaitsForTheCopyOnly) {
  Gate gate;
  std::thread::id caller = std::this_thread::get_id();
  std::atomic<int> by_caller{0};
  watch([&](const Call &call) {
    by_caller += std::this_thread::get_id() == caller;
    if (call.op == FSYNC)
      gate.pass();
    return 0;
  });
  ASSERT_EQ(start(5), IG_OK) << ig_error_message();
  gate.wait_for_arrival();  // the writer hangs in fsync; the caller is here nevertheless
  int64_t step;
  ig_status status;
  EXPECT_FALSE(ig_ckpt_writer_collect(writer, false, &step, &status));
  EXPECT_EQ(start(6), IG_ERR_INTERNAL) << "two saves in flight";
  EXPECT_EQ(by_caller, 0) << "the caller's thread touched a file";
  gate.release();
  ASSERT_EQ(collect(5), IG_OK) << ig_error_message();
  EXPECT_FALSE(ig_ckpt_writer_collect(writer, true, &step, &status)) << "an outcome twice";
  watch(nullptr);
  EXPECT_EQ(newest(folder), 5);
}

TEST_F(FaultWriter, DestroyWaitsForTheSaveInFlight) {
  watch([&](const Call &call) {
    if (call.op == FSYNC)
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    return 0;
  });
  ASSERT_EQ(start(9), IG_OK) << ig_error_message();
  ig_ckpt_writer_destroy(writer);
  writer = nullptr;
  watch(nullptr);
  EXPECT_EQ(newest(folder), 9);
}

TEST_F(FaultWriter, ManySavesArePrunedAndEachIsWhole) {
  int64_t n = count(100, 3000), step, polled = 0;
  ig_status status;
  for (int64_t i = 1; i <= n; i++) {
    ASSERT_EQ(start(i), IG_OK) << ig_error_message();
    if (i % 3 == 0) {  // the loop's way: it asks now and then
      while (!ig_ckpt_writer_collect(writer, false, &step, &status)) {
        polled++;
        std::this_thread::yield();
      }
      ASSERT_EQ(status, IG_OK) << ig_error_message();
    } else {
      ASSERT_EQ(collect(i), IG_OK) << ig_error_message();
    }
  }
  EXPECT_GT(polled, 0);
  ig_ckpt_info *list;
  size_t found;
  ASSERT_EQ(ig_ckpt_list(folder.c_str(), true, &list, &found), IG_OK);
  ASSERT_EQ(found, 3u);
  for (size_t i = 0; i < found; i++)
    EXPECT_TRUE(list[i].valid && list[i].step == n - 2 + (int64_t)i) << list[i].problem;
  ig_ckpt_list_free(list, found);
  EXPECT_EQ(newest(folder), n);
}

TEST_F(FaultWriter, AFailureSurfacesWithPathAndReasonAndTheNextSaveWorks) {  // 50
  ASSERT_EQ(start(1), IG_OK);
  ASSERT_EQ(collect(1), IG_OK) << ig_error_message();
  for (int error : {ENOSPC, EIO, EDQUOT}) {
    watch([&](const Call &call) { return call.op == WRITE ? error : 0; });
    ASSERT_EQ(start(2), IG_OK) << "the start does not wait for the disk";
    EXPECT_EQ(collect(2), IG_ERR_IO);
    std::string message = ig_error_message();
    EXPECT_NE(message.find(folder + "/step-2.tmp/"), std::string::npos) << message;
    EXPECT_NE(message.find(strerror(error)), std::string::npos) << message;
    watch(nullptr);
    EXPECT_EQ(newest(folder), 1);
    EXPECT_FALSE(fs::exists(folder + "/step-2.tmp"));
  }
  ASSERT_EQ(start(3), IG_OK);
  ASSERT_EQ(collect(3), IG_OK) << ig_error_message();
  EXPECT_EQ(newest(folder), 3);
}

TEST_F(FaultWriter, WarningsComeOnTheCallersThread) {
  for (int64_t step = 1; step <= 3; step++) {
    ASSERT_EQ(start(step), IG_OK);
    ASSERT_EQ(collect(step), IG_OK) << ig_error_message();
  }
  EXPECT_TRUE(said.empty());
  watch([&](const Call &call) { return call.op == RMDIR ? EACCES : 0; });  // only pruning removes a folder
  ASSERT_EQ(start(4), IG_OK);
  ASSERT_EQ(collect(4), IG_OK) << ig_error_message();
  ASSERT_EQ(said.size(), 1u);
  EXPECT_EQ(said.begin()->second, std::this_thread::get_id());
  EXPECT_NE(said.begin()->first.find("old checkpoints were not removed"), std::string::npos) << said.begin()->first;
}

TEST_F(FaultWriter, EveryAllocationFails) {  // 65
  ASSERT_EQ(start(1), IG_OK);
  ASSERT_EQ(collect(1), IG_OK);
  for (int forever = 0; forever < 2; forever++) {
    bool clean = false;
    for (int64_t n = 1; !clean && n < 2000; n++) {
      ig_mem_fail_after(n, forever);
      ig_status status = start(2);
      if (status == IG_OK)
        status = collect(2);
      ig_mem_fail_after(0, 0);
      clean = status == IG_OK && said.empty();
      said.clear();
      if (status != IG_OK) {
        ASSERT_EQ(status, IG_ERR_MEMORY) << n << ": " << ig_error_message();
        EXPECT_NE(std::string(ig_error_message()).find("memory"), std::string::npos) << ig_error_message();
      }
      ASSERT_EQ(newest(folder), status == IG_OK ? 2 : 1) << n;
      fs::remove_all(folder + "/step-2");
    }
    EXPECT_TRUE(clean);
    ig_ckpt_writer *other;
    auto list = State(0).list();
    for (int64_t n = 1; n <= 2; n++) {
      ig_mem_fail_after(n, forever);
      EXPECT_EQ(ig_ckpt_writer_create(list.data(), list.size(), &other), IG_ERR_MEMORY);
      EXPECT_EQ(other, nullptr);
      ig_mem_fail_after(0, 0);
    }
  }
}

// Kilobytes of a row of /proc/self/status.
static long status_kb(const char *row) {
  std::ifstream in("/proc/self/status");
  for (std::string line; std::getline(in, line);)
    if (line.rfind(row, 0) == 0)
      return atol(line.c_str() + strlen(row) + 1);
  return -1;
}

// `ingot plan` states ig_ckpt_peak_bytes as what a save takes; between saves nothing is taken.
TEST_F(FaultWriter, MemoryIsWhatThePlanSays) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a sanitizer keeps memory of its own";
#endif
  constexpr size_t MIB = 1 << 20, PIECE = 4 * MIB;
  std::vector<float> data(64 * MIB / sizeof(float), 1.5f);
  std::vector<std::string> names(16);
  std::vector<ig_ckpt_tensor> list;
  for (size_t i = 0; i < names.size(); i++) {
    names[i] = "layer" + std::to_string(i);
    ig_ckpt_tensor t = {names[i].c_str(), IG_F32, 1, {(int64_t)(PIECE / 4)}, data.data() + i * PIECE / 4, "weights", 0};
    list.push_back(t);
  }
  ig_ckpt_writer *large;
  ASSERT_EQ(ig_ckpt_writer_create(list.data(), list.size(), &large), IG_OK) << ig_error_message();
  State state(1);
  auto o = save_options(run / "large", 1, state);
  std::string where = run / "large";
  o.folder = where.c_str();
  ASSERT_EQ(start(1), IG_OK);  // loads what libraries load once
  ASSERT_EQ(collect(1), IG_OK) << ig_error_message();
  long peak_kb = -1, before_kb = status_kb("VmRSS:");
  for (int round = 0; round < 2; round++) {
    put("/proc/self/clear_refs", "5");  // the peak counts from here
    o.step = round;
    ASSERT_EQ(ig_ckpt_writer_start(large, &o, list.data(), list.size()), IG_OK) << ig_error_message();
    int64_t step;
    ig_status status;
    ASSERT_TRUE(ig_ckpt_writer_collect(large, true, &step, &status));
    ASSERT_EQ(status, IG_OK) << ig_error_message();
    peak_kb = std::max(peak_kb, status_kb("VmHWM:"));
  }
  double promised = (double)ig_ckpt_peak_bytes(list.data(), list.size()) / 1024;
  EXPECT_LT(promised, 64 * 1024 * 1.2) << "the promise is the state's size once, and a tensor";
  EXPECT_LT((double)(peak_kb - before_kb), promised + 4096) << "kilobytes at the peak";
  EXPECT_LT(status_kb("VmRSS:") - before_kb, 4096) << "kilobytes after the save";
  ig_ckpt_writer_destroy(large);
}

// A child saves without end; the whole process (and so its writer) is stopped at odd moments, at last for good.
TEST_F(FaultWriter, StoppedAndGoneOn) {
  ASSERT_EQ(start(1), IG_OK);
  ASSERT_EQ(collect(1), IG_OK);
  ig_ckpt_writer_destroy(writer);
  writer = nullptr;
  pid_t child = fork();
  if (child == 0) {
    ig_ckpt_writer *own;
    auto list = State(0).list();
    if (ig_ckpt_writer_create(list.data(), list.size(), &own) != IG_OK)
      _exit(1);
    for (int64_t step = 2;; step++) {
      State state(step);
      auto o = save_options(folder, step, state);
      list = state.list();
      int64_t saved;
      ig_status status;
      if (ig_ckpt_writer_start(own, &o, list.data(), list.size()) != IG_OK ||
          !ig_ckpt_writer_collect(own, true, &saved, &status) || status != IG_OK)
        _exit(2);
    }
  }
  ASSERT_GT(child, 0);
  std::minstd_rand random(11);
  int64_t before = 1;
  for (long i = 0; i < count(60, 1500) || (before < 4 && i < 10000); i++) {
    std::this_thread::sleep_for(std::chrono::microseconds(500 + random() % 4000));
    ASSERT_EQ(kill(child, SIGSTOP), 0);
    int state;
    ASSERT_EQ(waitpid(child, &state, WUNTRACED), child);
    ASSERT_TRUE(WIFSTOPPED(state)) << state;
    int64_t now = newest(folder);  // whole, while the writer hangs anywhere
    ASSERT_GE(now, before);
    before = now;
    ASSERT_EQ(kill(child, SIGCONT), 0);
  }
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  EXPECT_GE(before, 4);
  EXPECT_EQ(ig_ckpt_sweep(folder.c_str()), IG_OK);
  EXPECT_GE(newest(folder), before);
}
