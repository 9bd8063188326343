// floor: ig_ckpt
// Checkpoints while they are written: whatever operation fails, lies or is the last before a kill, an older one stays.
#include <csignal>
#include <sys/wait.h>

#include "tests/ckpt_common.h"

// --- faults: every file operation fails in turn ---

static ig_fileops real_ops;
static struct {
  int64_t countdown, fired;
  int code;
  bool forever, kill;
} plan;

// True where the call in hand must fail.
static bool fails() {
  if (plan.countdown == 0)
    return false;
  if (plan.countdown > 1) {
    plan.countdown--;
    return false;
  }
  if (plan.kill)
    raise(SIGKILL);
  if (!plan.forever)
    plan.countdown = 0;
  plan.fired++;
  errno = plan.code;
  return true;
}

static ig_fileops faulty() {
  real_ops = *ig_fileops_get();
  ig_fileops f = real_ops;
  f.open = [](const char *p, int flags, mode_t m) { return fails() ? -1 : real_ops.open(p, flags, m); };
  f.read = [](int fd, void *p, size_t n) -> ssize_t { return fails() ? -1 : real_ops.read(fd, p, n); };
  f.pread = [](int fd, void *p, size_t n, off_t o) -> ssize_t { return fails() ? -1 : real_ops.pread(fd, p, n, o); };
  f.write = [](int fd, const void *p, size_t n) -> ssize_t {
    // A full disk takes a part first: the call before the failing one is short.
    if (plan.countdown == 2 && n > 1)
      n /= 2;
    return fails() ? -1 : real_ops.write(fd, p, n);
  };
  f.ftruncate = [](int fd, off_t n) { return fails() ? -1 : real_ops.ftruncate(fd, n); };
  f.fsync = [](int fd) { return fails() ? -1 : real_ops.fsync(fd); };
  f.close = [](int fd) {  // Linux closes even where close reports an error
    bool failed = fails();
    int code = errno, result = real_ops.close(fd);
    errno = code;
    return failed ? -1 : result;
  };
  f.rename = [](const char *a, const char *b) { return fails() ? -1 : real_ops.rename(a, b); };
  f.unlink = [](const char *p) { return fails() ? -1 : real_ops.unlink(p); };
  f.mkdir = [](const char *p, mode_t m) { return fails() ? -1 : real_ops.mkdir(p, m); };
  f.rmdir = [](const char *p) { return fails() ? -1 : real_ops.rmdir(p); };
  f.flock = [](int fd, int o) { return fails() ? -1 : real_ops.flock(fd, o); };
  f.fstat = [](int fd, struct stat *st) { return fails() ? -1 : real_ops.fstat(fd, st); };
  f.stat = [](const char *p, struct stat *st) { return fails() ? -1 : real_ops.stat(p, st); };
  f.mmap = [](size_t n, int fd) { return fails() ? (void *)-1 : real_ops.mmap(n, fd); };
  return f;
}

// fsync that succeeds at once: no power is cut in these loops, and the disk is slow.
static ig_fileops unsynced() {
  ig_fileops f = *ig_fileops_get();
  f.fsync = [](int) { return 0; };
  return f;
}

TEST_F(Ckpt, EveryFileOperationFailsDuringSave) {  // 50
  ig_fileops quick = unsynced();
  ig_fileops_set(&quick);
  ig_fileops ops = faulty();
  int failures = 0;
  for (int code : {ENOSPC, EIO}) {
    for (bool forever : {false, true}) {
      for (int64_t i = 1;; i++) {
        // Step 9 saves over an older step 9 on odd rounds; step 8 is the checkpoint that must survive all of it.
        fs::remove_all(folder);
        ASSERT_EQ(save(8), IG_OK) << ig_error_message();
        bool replaces = i % 2;
        if (replaces) {
          ASSERT_EQ(save(9), IG_OK);
        }
        int64_t before = ig_mem_live();
        plan = {i, 0, code, forever, false};
        ig_fileops_set(&ops);
        ig_status status = save(9);
        ig_fileops_set(&quick);
        std::string message = ig_error_message();
        bool fired = plan.fired > 0;
        plan = {};
        ASSERT_EQ(ig_mem_live(), before) << "leak at operation " << i;
        ASSERT_EQ(open_files(), files) << "open file at operation " << i;
        expect_valid(8);
        if (status == IG_OK) {
          expect_valid(9);
        } else {
          failures++;
          EXPECT_TRUE(status == IG_ERR_IO) << ig_status_name(status) << message;
          EXPECT_TRUE(has(message, strerror(code)) && has(message, "/tmp")) << message;
          ASSERT_EQ(ig_ckpt_sweep(folder.c_str()), IG_OK) << ig_error_message();
          // A disk that refuses everything from the last fsync on refuses the discard too: then the whole one stays.
          bool stays = replaces || (forever && has(message, "sync folder " + folder + ":"));
          EXPECT_EQ(names(), stays ? (Names{"step-8", "step-9"}) : (Names{"step-8"})) << i << ": " << message;
          if (stays)
            expect_valid(9);
          // The disk is well again: the same call succeeds.
          ASSERT_EQ(save(9), IG_OK) << ig_error_message();
          expect_valid(9);
        }
        if (!fired && replaces)
          break;
      }
    }
  }
  EXPECT_GT(failures, 60);
}

TEST_F(Ckpt, EveryFileOperationFailsDuringOpen) {
  ASSERT_EQ(save(8), IG_OK);
  ig_fileops ops = faulty();
  int failures = 0;
  for (bool forever : {false, true}) {
    for (int64_t i = 1;; i++) {
      ig_ckpt_reader *r;
      int64_t before = ig_mem_live();
      plan = {i, 0, EIO, forever, false};
      ig_fileops_set(&ops);
      ig_status status = ig_ckpt_open(step_path(8).c_str(), &r);
      ig_fileops_set(nullptr);
      bool fired = plan.fired > 0;
      plan = {};
      if (status == IG_OK) {
        expect_state(r, 8);
        ig_ckpt_close(r);
      } else {
        failures++;
        EXPECT_EQ(status, IG_ERR_IO) << ig_error_message();
      }
      ASSERT_EQ(ig_mem_live(), before);
      if (!fired)
        break;
    }
  }
  EXPECT_GT(failures, 10);
}

TEST_F(Ckpt, EveryAllocationFails) {  // 65
  ig_fileops quick = unsynced();
  ig_fileops_set(&quick);
  ASSERT_EQ(save(8), IG_OK);
  for (int forever = 0; forever < 2; forever++) {
    int failures = 0;
    for (int64_t i = 1;; i++, failures++) {
      int64_t before = ig_mem_live();
      ig_mem_fail_after(i, forever);
      ig_status status = save(9);
      ig_mem_fail_after(0, 0);
      ASSERT_EQ(ig_mem_live(), before) << "leak at allocation " << i;
      if (status == IG_OK && warnings.empty())
        break;
      if (status != IG_OK) {
        ASSERT_EQ(status, IG_ERR_MEMORY) << ig_error_message();
        EXPECT_FALSE(fs::exists(step_path(9)));
      }
      warnings.clear();
      fs::remove_all(step_path(9));
      ASSERT_EQ(ig_ckpt_sweep(folder.c_str()), IG_OK);
      expect_valid(8);
    }
    EXPECT_GT(failures, 50);
    failures = 0;
    for (int64_t i = 1;; i++, failures++) {
      ig_ckpt_reader *r;
      ig_mem_fail_after(i, forever);
      ig_status status = ig_ckpt_open_latest(folder.c_str(), &r, nullptr, nullptr);
      ig_mem_fail_after(0, 0);
      ig_ckpt_close(r);
      if (status == IG_OK)
        break;
      ASSERT_EQ(status, IG_ERR_MEMORY) << "memory is no reason to fall back: " << ig_error_message();
      ASSERT_EQ(ig_mem_live(), live);
    }
    EXPECT_GT(failures, 10);
    fs::remove_all(step_path(9));
  }
}

TEST_F(Ckpt, ADiskThatLiesIsFoundOut) {
  ASSERT_EQ(save(7), IG_OK);
  real_ops = *ig_fileops_get();
  ig_fileops ops = real_ops;
  ops.write = [](int fd, const void *p, size_t n) -> ssize_t {
    std::string bytes((const char *)p, n);
    bytes[n / 2] ^= 16;
    return real_ops.write(fd, bytes.data(), n);
  };
  ig_fileops_set(&ops);
  ig_status status = save(8);
  ig_fileops_set(nullptr);
  EXPECT_EQ(status, IG_ERR_IO);
  EXPECT_TRUE(has(ig_error_message(), "does not read back")) << ig_error_message();
  EXPECT_EQ(names(), Names{"step-7"});
  expect_valid(7);
}

// A kill does not show a missing fsync, a power cut does: the order itself is checked.
static std::vector<std::string> trace;

TEST_F(Ckpt, EverythingIsSyncedBeforeItsName) {
  real_ops = *ig_fileops_get();
  ig_fileops ops = real_ops;
  ops.write = [](int fd, const void *p, size_t n) {
    trace.push_back("write " + fs::read_symlink("/proc/self/fd/" + std::to_string(fd)).filename().string());
    return real_ops.write(fd, p, n);
  };
  ops.fsync = [](int fd) {
    trace.push_back("fsync " + fs::read_symlink("/proc/self/fd/" + std::to_string(fd)).filename().string());
    return real_ops.fsync(fd);
  };
  ops.rename = [](const char *a, const char *b) {
    trace.push_back("rename " + fs::path(a).filename().string() + " " + fs::path(b).filename().string());
    return real_ops.rename(a, b);
  };
  trace.clear();
  ig_fileops_set(&ops);
  ig_status status = save(8);
  ig_fileops_set(nullptr);
  ASSERT_EQ(status, IG_OK) << ig_error_message();
  const std::vector<std::string> expected = {"fsync " + run.filename().string(),  // the new folder's own name
                                             "write shard-00000.h5",
                                             "fsync shard-00000.h5",
                                             "write MANIFEST",
                                             "fsync MANIFEST",
                                             "fsync step-8.tmp",
                                             "rename step-8.tmp step-8",
                                             "fsync checkpoints"};
  EXPECT_EQ(trace, expected);
}

// --- kill -9 ---

TEST_F(Ckpt, KilledAtEveryFileOperation) {  // 52
  ig_fileops ops = faulty();
  for (int64_t step = 1; step <= 4; step++)
    ASSERT_EQ(save(step), IG_OK);  // so that the next save prunes
  for (int64_t i = 1;; i++) {
    pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      plan = {i, 0, 0, false, true};
      ig_fileops_set(&ops);
      _exit(save(i % 2 ? 5 : 4) == IG_OK ? 0 : 1);  // a new one, and one that replaces
    }
    int status;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_EQ(ig_ckpt_sweep(folder.c_str()), IG_OK) << ig_error_message();
    std::vector<std::string> said;
    int64_t step = latest(&said);
    EXPECT_TRUE(step == 4 || step == 5) << step;
    EXPECT_TRUE(said.empty()) << "killed at operation " << i << ", left half a checkpoint: " << said[0];
    for (const std::string &name : names())
      EXPECT_FALSE(has(name, "tmp") || has(name, "old")) << name;
    if (WIFEXITED(status)) {
      ASSERT_EQ(WEXITSTATUS(status), 0);
      if (i % 2)
        break;
    }
    fs::remove_all(step_path(5));
  }
}

TEST_F(Ckpt, KilledAtRandomTimes) {  // 52
  ASSERT_EQ(save(1), IG_OK);
  std::mt19937 random(11);
  int64_t newest = 1;
  int left_over = 0;
  for (int round = 0; round < 60; round++) {
    int begins[2];
    ASSERT_EQ(pipe(begins), 0);
    pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      for (int64_t step = newest + 1;; step++)
        if (write(begins[1], "s", 1) != 1 || save(step) != IG_OK)
          _exit(1);
    }
    // Whole saves first, then some time into the next one.
    char byte;
    for (int i = 0; i <= round % 3; i++)
      ASSERT_EQ(read(begins[0], &byte, 1), 1);
    usleep(random() % 4000);
    kill(child, SIGKILL);
    close(begins[0]);
    close(begins[1]);
    int status;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << "the child failed to save";
    for (const std::string &name : names())
      left_over += has(name, ".tmp");
    ASSERT_EQ(ig_ckpt_sweep(folder.c_str()), IG_OK) << ig_error_message();
    std::vector<std::string> said;
    int64_t step = latest(&said);
    EXPECT_GE(step, newest + round % 3);
    EXPECT_TRUE(said.empty()) << said[0];
    newest = step;
  }
  EXPECT_GE(newest, 61);
  EXPECT_GT(left_over, 0) << "the kills never hit the window of a save";
}
