// floor: ig_ckpt
// SIGKILL inside the save window, again and again in one folder: whatever comes back is whole, and at most the work
// since the save before the last begun one is lost. Rule: a child lives as a run does (sweep, load, go on, save by the
// writer's thread); the parent judges what is on the disk.
#include <chrono>
#include <map>
#include <set>
#include <signal.h>
#include <sys/wait.h>
#include <thread>

#include "tests/fault_state.h"

using namespace fault;

// What a child tells its parent without touching a file.
struct Shared {
  std::atomic<int64_t> loaded, begun, committed;  // steps
  std::atomic<int64_t> operations;                // of the writer's thread since the first save began
};

// How an operation's killing goes: before it is done, after it, or after half of a write.
enum Moment { BEFORE, AFTER, TORN };

class FaultKill : public ::testing::Test {
 protected:
  FaultKill() : run("ig_kill"), folder(run / "checkpoints") {
    shared = (Shared *)mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  }
  ~FaultKill() override { munmap(shared, sizeof(Shared)); }

  // Dies at the `kill_at`-th operation of the writer's thread (0 = lives for `saves` saves).
  [[noreturn]] void live(int64_t interval, int64_t saves, int64_t kill_at, Moment moment) {
    if (ig_ckpt_sweep(folder.c_str()) != IG_OK)
      _exit(10);
    int64_t step = newest(folder);
    if (step < 0 && fs::exists(folder) && !fs::is_empty(folder))
      _exit(11);
    step = step < 0 ? 0 : step;
    shared->loaded = shared->begun = shared->committed = step;
    shared->operations = 0;
    std::thread::id loop = std::this_thread::get_id();
    watch([&](const Call &call) {
      if (std::this_thread::get_id() == loop)
        return 0;
      int64_t n = ++shared->operations;
      if (kill_at && n == kill_at + (moment == AFTER))
        kill(getpid(), SIGKILL);
      if (kill_at && n == kill_at && moment == TORN && (call.op == WRITE || call.op == PWRITE))
        return HALF;  // the other half comes by a second call, which is the next operation
      if (kill_at && n == kill_at + 1 && moment == TORN)
        kill(getpid(), SIGKILL);
      return 0;
    });
    ig_ckpt_writer *writer;
    auto list = State(0).list();
    if (ig_ckpt_writer_create(list.data(), list.size(), &writer) != IG_OK)
      _exit(12);
    for (int64_t i = 0; i < saves; i++) {
      step += interval;
      State state(step);
      auto o = save_options(folder, step, state);
      list = state.list();
      shared->begun = step;
      int64_t saved;
      ig_status status;
      if (ig_ckpt_writer_start(writer, &o, list.data(), list.size()) != IG_OK ||
          !ig_ckpt_writer_collect(writer, true, &saved, &status) || status != IG_OK || saved != step)
        _exit(13);
      shared->committed = step;
    }
    ig_ckpt_writer_destroy(writer);
    _exit(0);
  }

  // Runs a child to its end and judges; returns what waitpid tells. `after_us` < 0: it is not killed from here.
  int life(int64_t interval, int64_t saves, int64_t kill_at, Moment moment, int64_t after_us) {
    shared->begun = shared->committed = shared->loaded = -1;
    pid_t child = fork();
    if (child == 0)
      live(interval, saves, kill_at, moment);
    if (after_us >= 0) {
      while (shared->begun < 0 || shared->begun == shared->loaded) {  // the save window begins with the first save
        if (waitpid(child, nullptr, WNOHANG | WNOWAIT) == child)
          break;
        std::this_thread::yield();
      }
      std::this_thread::sleep_for(std::chrono::microseconds(after_us));
      kill(child, SIGKILL);
    }
    int state = 0;
    EXPECT_EQ(waitpid(child, &state, 0), child);
    if (!WIFSIGNALED(state) && WEXITSTATUS(state) != 0)
      ADD_FAILURE() << "the child gave up with " << WEXITSTATUS(state);
    judge(interval);
    return state;
  }

  void judge(int64_t interval) {
    int64_t begun = shared->begun, committed = shared->committed;
    // Read without sweeping: what a report or `checkpoint list` sees beside a dead run.
    int64_t step = newest(folder);
    ASSERT_GE(step, committed) << "a checkpoint that was told to be there is gone";
    if (begun > 0) {
      ASSERT_TRUE(step == begun || step == begun - interval || (step < 0 && begun == interval))
          << "found " << step << ", begun " << begun << ": more than one interval is lost";
    }
    // Every name is one of ours, and none but step-N counts as a checkpoint.
    ig_ckpt_info *list;
    size_t n;
    ASSERT_EQ(ig_ckpt_list(folder.c_str(), true, &list, &n), IG_OK) << ig_error_message();
    for (size_t i = 0; i < n; i++)
      EXPECT_TRUE(list[i].valid) << list[i].problem;
    n_found = n;
    ig_ckpt_list_free(list, n);
    if (step >= 0)
      last_step = step;
  }

  Folder run;
  std::string folder;
  Shared *shared;
  int64_t last_step = -1;
  size_t n_found = 0;
};

TEST_F(FaultKill, AtEveryOperationOfTheWriter) {  // 52
  // Three checkpoints are there, so that each further save also prunes.
  ASSERT_EQ(life(5, 3, 0, BEFORE, -1), 0);
  ASSERT_EQ(life(5, 1, 0, BEFORE, -1), 0);
  int64_t per_save = shared->operations;
  ASSERT_GT(per_save, 20);
  for (Moment moment : {BEFORE, AFTER, TORN})
    for (int64_t n = 1; n <= per_save; n++) {
      if (!long_form() && n % 3 != moment)  // the short form takes each operation once
        continue;
      int state = life(5, 2, n, moment, -1);
      ASSERT_TRUE(WIFSIGNALED(state) && WTERMSIG(state) == SIGKILL) << "operation " << n;
      ASSERT_FALSE(HasFailure()) << "killed at operation " << n << ", moment " << moment;
    }
  EXPECT_GT(last_step, 20 + per_save);  // the run got on all the same
  ASSERT_EQ(life(5, 1, 0, BEFORE, -1), 0);
  EXPECT_EQ(n_found, 3u) << "pruning makes up for the killed ones";
}

TEST_F(FaultKill, AtRandomTimesInTheSaveWindow) {  // 52
  ASSERT_EQ(life(3, 3, 0, BEFORE, -1), 0);
  auto begin = std::chrono::steady_clock::now();
  ASSERT_EQ(life(3, 20, 0, BEFORE, -1), 0);
  int64_t window_us =
      std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - begin).count() / 20;
  std::minstd_rand random(5);
  long kills = 0, losses = 0, rounds = count(100, 10000);
  for (long i = 0; i < rounds; i++) {
    int state = life(3, 3, 0, BEFORE, (int64_t)(random() % (uint32_t)(2 * window_us + 1)));
    kills += WIFSIGNALED(state);
    losses += WIFSIGNALED(state) && last_step != shared->begun;
    ASSERT_FALSE(HasFailure()) << "round " << i;
  }
  printf("%ld rounds, %ld killed, %ld of them lost the save in flight (a save takes about %ld us)\n", rounds, kills,
         losses, (long)window_us);
  EXPECT_GT(kills, rounds / 5) << "many children must be killed, or nothing is tested";
  EXPECT_GT(losses, rounds / 20) << "kills must hit inside of the save window";
}
