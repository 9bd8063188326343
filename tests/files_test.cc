// floor: ig_base
// Floor 0's files: reading, mapping, folders, and writes of which every system call fails in turn. Rule: every case
// states its expectation independently of the code.
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <sys/mman.h>
#include <sys/stat.h>
#include <tuple>
#include <unistd.h>
#include <vector>

#include "runtime/base/mem.h"
#include "tests/base_fixture.h"

namespace {

class Files : public TempFolder {
 protected:
  size_t entries() const { return (size_t)std::distance(fs::directory_iterator(root), fs::directory_iterator()); }
};

TEST_F(Files, ReadWholeFiles) {
  uint8_t *data;
  size_t n;
  for (size_t size : {0, 1, 4095, 4096, 4097, 300000}) {
    put("a", std::string(size, 'x'));
    ASSERT_EQ(ig_file_read(at("a").c_str(), size, &data, &n), IG_OK) << message();
    EXPECT_EQ(std::string((char *)data, n), std::string(size, 'x'));
    EXPECT_EQ(data[n], 0);
    ig_free(data);
  }
  EXPECT_EQ(ig_file_read(at("a").c_str(), 299999, &data, &n), IG_ERR_FORMAT);
  EXPECT_TRUE(says(at("a")) && says("300000") && says("299999")) << message();
  EXPECT_EQ(ig_file_read(at("missing").c_str(), 10, &data, &n), IG_ERR_NOT_FOUND);
  EXPECT_TRUE(says("No such file")) << message();
  EXPECT_EQ(data, nullptr);
  ASSERT_EQ(ig_file_read("/proc/self/status", 1 << 20, &data, &n), IG_OK);  // claims to have 0 bytes
  EXPECT_NE(strstr((char *)data, "VmHWM"), nullptr);
  ig_free(data);
  EXPECT_EQ(ig_file_read("/proc/self/status", 100, &data, &n), IG_ERR_FORMAT);
}

TEST_F(Files, WhatMayNotBeReadIsRefused) {
  static int error;
  ig_fileops ops = *ig_fileops_get();
  ops.open = [](const char *, int, mode_t) {
    errno = error;
    return -1;
  };
  uint8_t *data;
  size_t n;
  ig_mapped m;
  put("a", "hello");
  for (auto [code, status] :
       {std::pair(EACCES, IG_ERR_USAGE), std::pair(EPERM, IG_ERR_USAGE), std::pair(ENAMETOOLONG, IG_ERR_USAGE),
        std::pair(EIO, IG_ERR_IO), std::pair(EMFILE, IG_ERR_IO), std::pair(ELOOP, IG_ERR_NOT_FOUND)}) {
    error = code;
    ig_fileops_set(&ops);
    const ig_status read = ig_file_read(at("a").c_str(), 10, &data, &n), mapped = ig_file_map(at("a").c_str(), &m);
    const ig_status written = ig_file_write_atomic(at("b").c_str(), "x", 1);  // may fail while running
    ig_fileops_set(nullptr);
    EXPECT_EQ(read, status) << strerror(code);
    EXPECT_EQ(mapped, status) << strerror(code);
    EXPECT_EQ(written, code == ELOOP ? IG_ERR_NOT_FOUND : IG_ERR_IO) << strerror(code);
    EXPECT_TRUE(says(strerror(code))) << message();
  }
}

TEST_F(Files, MapRefusesWhatIsNoFile) {
  ig_mapped m;
  put("a", "hello");
  ASSERT_EQ(ig_file_map(at("a").c_str(), &m), IG_OK);
  EXPECT_EQ(std::string((char *)m.data, m.n), "hello");
  ig_file_unmap(&m);
  EXPECT_EQ(m.data, nullptr);
  put("empty", "");
  ASSERT_EQ(ig_file_map(at("empty").c_str(), &m), IG_OK);
  EXPECT_EQ(m.n, 0u);
  ig_file_unmap(&m);
  ASSERT_EQ(mkfifo(at("fifo").c_str(), 0600), 0);  // nobody writes: a blocking open would hang
  EXPECT_EQ(ig_file_map(at("fifo").c_str(), &m), IG_ERR_FORMAT);
  EXPECT_TRUE(says("FIFO"));
  EXPECT_EQ(ig_file_map(root.c_str(), &m), IG_ERR_FORMAT);
  EXPECT_TRUE(says("folder"));
  EXPECT_EQ(ig_file_map("/dev/zero", &m), IG_ERR_FORMAT);
  fs::create_symlink("loop", at("loop"));
  EXPECT_EQ(ig_file_map(at("loop").c_str(), &m), IG_ERR_NOT_FOUND);
  fs::create_symlink("nothing", at("dangling"));
  EXPECT_EQ(ig_file_map(at("dangling").c_str(), &m), IG_ERR_NOT_FOUND);
}

TEST_F(Files, FoldersAndTrees) {
  ASSERT_EQ(ig_make_dirs(at("a/b//c/").c_str()), IG_OK) << message();
  EXPECT_TRUE(ig_path_is_dir(at("a/b/c").c_str()));
  ASSERT_EQ(ig_make_dirs(at("a/b/c").c_str()), IG_OK);
  put("file", "x");
  EXPECT_EQ(ig_make_dirs(at("file/sub").c_str()), IG_ERR_IO);
  EXPECT_TRUE(says("is a file")) << message();
  put("kept/inside", "x");
  put("a/b/one", "1");
  fs::create_directory_symlink(at("kept"), at("a/link"));
  for (int i = 0; i < 300; i++)
    put("a/many/" + std::to_string(i), "");
  ASSERT_EQ(ig_remove_tree(at("a").c_str()), IG_OK) << message();
  EXPECT_FALSE(ig_path_exists(at("a").c_str()));
  EXPECT_EQ(get("kept/inside"), "x");
  EXPECT_EQ(ig_remove_tree(at("a").c_str()), IG_OK);
  fs::create_directory_symlink(at("kept"), at("link"));
  ASSERT_EQ(ig_remove_tree(at("link").c_str()), IG_OK);
  EXPECT_EQ(get("kept/inside"), "x");
}

TEST_F(Files, PathsAndRoom) {
  char *out;
  for (auto [a, b, expected] : std::vector<std::tuple<const char *, const char *, const char *>>{
           {"a", "b", "a/b"}, {"a/", "b", "a/b"}, {"", "b", "b"}, {"a", "/b", "/b"}, {"/", "b", "/b"}}) {
    ASSERT_EQ(ig_path_join(&out, a, b), IG_OK);
    EXPECT_STREQ(out, expected);
    ig_free(out);
  }
  uint64_t here, there, relative;
  ASSERT_EQ(ig_free_bytes(root.c_str(), &here), IG_OK);
  ASSERT_EQ(ig_free_bytes(at("not/yet/made").c_str(), &there), IG_OK) << message();
  ASSERT_EQ(ig_free_bytes("nothing_here", &relative), IG_OK) << message();
  EXPECT_GT(here, 0u);
  EXPECT_NEAR((double)there, (double)here, 1e9);  // others write at the same time
  EXPECT_GT(relative, 0u);
}

// A table that counts calls and fails chosen ones; the plain system calls otherwise.
struct Fault {
  int calls, fail_at, fail_errno;
  bool forever;
  size_t write_cap;  // at most so many bytes a write
} fault;
const ig_fileops *real_ops;
bool failing() {
  fault.calls++;
  if (fault.fail_at == 0 || (fault.forever ? fault.calls < fault.fail_at : fault.calls != fault.fail_at))
    return false;
  errno = fault.fail_errno;
  return true;
}
const ig_fileops &faulty_ops() {
  static ig_fileops ops;
  ig_fileops_set(nullptr);
  real_ops = ig_fileops_get();
  ops = *real_ops;
  ops.open = [](const char *p, int f, mode_t m) { return failing() ? -1 : real_ops->open(p, f, m); };
  ops.read = [](int fd, void *b, size_t n) { return failing() ? (ssize_t)-1 : real_ops->read(fd, b, n); };
  ops.write = [](int fd, const void *b, size_t n) {
    return failing() ? (ssize_t)-1 : real_ops->write(fd, b, std::min(n, fault.write_cap));
  };
  ops.ftruncate = [](int fd, off_t n) { return failing() ? -1 : real_ops->ftruncate(fd, n); };
  ops.fsync = [](int fd) { return failing() ? -1 : real_ops->fsync(fd); };
  ops.close = [](int fd) {  // as the kernel: the descriptor is gone even where an error is reported
    bool fail = failing();
    int rc = real_ops->close(fd);
    if (fail)
      errno = fault.fail_errno;
    return fail ? -1 : rc;
  };
  ops.rename = [](const char *a, const char *b) { return failing() ? -1 : real_ops->rename(a, b); };
  ops.unlink = [](const char *a) { return failing() ? -1 : real_ops->unlink(a); };
  ops.mkdir = [](const char *a, mode_t m) { return failing() ? -1 : real_ops->mkdir(a, m); };
  ops.fstat = [](int fd, struct stat *st) { return failing() ? -1 : real_ops->fstat(fd, st); };
  ops.stat = [](const char *a, struct stat *st) { return failing() ? -1 : real_ops->stat(a, st); };
  ops.mmap = [](size_t n, int fd) { return failing() ? MAP_FAILED : real_ops->mmap(n, fd); };
  return ops;
}
int open_descriptors() { return (int)std::distance(fs::directory_iterator("/proc/self/fd"), fs::directory_iterator()); }

TEST_F(Files, WriteAtomicSurvivesEveryFault) {
  const std::string old_text = "the old content", new_text(100000, 'n');
  int descriptors = open_descriptors(), failures = 0;
  int64_t live = ig_mem_live();
  for (bool forever : {false, true})
    for (int code : {EIO, ENOSPC})
      for (int at_call = 1;; at_call++) {
        put("target", old_text);
        fault = {0, at_call, code, forever, 30000};
        ig_fileops_set(&faulty_ops());
        ig_status status = ig_file_write_atomic(at("target").c_str(), new_text.data(), new_text.size());
        ig_fileops_set(nullptr);
        std::string now = get("target");
        ASSERT_TRUE(now == old_text || now == new_text) << "call " << at_call << ": torn file";
        ASSERT_EQ(open_descriptors(), descriptors);
        if (status == IG_OK) {
          ASSERT_EQ(now, new_text);
          if (fault.calls < at_call)
            break;
          continue;  // closing the folder after its sync may fail without harm
        }
        failures++;
        ASSERT_EQ(status, IG_ERR_IO);
        ASSERT_TRUE(says(at("target")) || says(root)) << message();
        ASSERT_TRUE(says(strerror(code))) << message();
        // Calls: create, four writes, sync, close, rename; then the folder's open and sync.
        ASSERT_EQ(now, at_call <= 8 ? old_text : new_text) << at_call;
        ASSERT_TRUE(forever || entries() == 1) << "a temporary file remains after call " << at_call;
        for (auto &e : fs::directory_iterator(root))
          fs::remove(e);
      }
  EXPECT_EQ(failures, 4 * 10);
  EXPECT_EQ(ig_mem_live(), live);
}

TEST_F(Files, WriteAtomicWithoutMemoryKeepsTheOldFile) {
  put("target", "old");
  int64_t live = ig_mem_live();
  for (int n = 1;; n++) {
    ig_mem_fail_after(n, 0);
    ig_status status = ig_file_write_atomic(at("target").c_str(), "new", 3);
    ig_mem_fail_after(0, 0);
    EXPECT_EQ(ig_mem_live(), live);
    if (status == IG_OK) {
      EXPECT_GT(n, 1);
      break;
    }
    EXPECT_EQ(status, IG_ERR_MEMORY);
    EXPECT_EQ(get("target"), "old");
  }
  EXPECT_EQ(get("target"), "new");
}

TEST_F(Files, WriteAtomicStepsOverLeftovers) {
  for (int i = 0; i < 3; i++)  // as a killed process with our thread's number would leave
    put("target." + std::to_string(gettid()) + "-" + std::to_string(i) + ".tmp", "junk");
  ASSERT_EQ(ig_file_write_atomic(at("target").c_str(), "new", 3), IG_OK) << message();
  EXPECT_EQ(get("target"), "new");
  EXPECT_EQ(ig_file_write_atomic(at("no/folder").c_str(), "new", 3), IG_ERR_NOT_FOUND);
}

TEST_F(Files, WritesRetryInterruptsAndShortCounts) {
  static int interrupts;
  ig_fileops ops = *ig_fileops_get();
  interrupts = 0;
  ops.write = [](int fd, const void *b, size_t n) -> ssize_t {
    if (interrupts++ % 2 == 0) {
      errno = EINTR;
      return -1;
    }
    return write(fd, b, std::min<size_t>(n, 7));
  };
  ops.read = [](int fd, void *b, size_t n) -> ssize_t {
    if (interrupts++ % 2 == 0) {
      errno = EINTR;
      return -1;
    }
    return read(fd, b, std::min<size_t>(n, 5));
  };
  ig_fileops_set(&ops);
  std::string text = "0123456789012345678901234567890123456789";
  ASSERT_EQ(ig_file_write_atomic(at("a").c_str(), text.data(), text.size()), IG_OK) << message();
  uint8_t *data;
  size_t n;
  ASSERT_EQ(ig_file_read(at("a").c_str(), 100, &data, &n), IG_OK) << message();
  EXPECT_EQ(std::string((char *)data, n), text);
  ig_free(data);
  EXPECT_GT(interrupts, 20);
}

TEST_F(Files, FailedAppendLeavesNoHalfRecord) {
  ASSERT_EQ(ig_file_append(at("log").c_str(), "one\n", 4), IG_OK);
  fault = {0, 4, ENOSPC, false, 2};  // open, fstat, write of 2 bytes, then no room
  ig_fileops_set(&faulty_ops());
  EXPECT_EQ(ig_file_append(at("log").c_str(), "two\n", 4), IG_ERR_IO);
  ig_fileops_set(nullptr);
  EXPECT_TRUE(says("No space left")) << message();
  EXPECT_EQ(get("log"), "one\n");
  ASSERT_EQ(ig_file_append(at("log").c_str(), "three\n", 6), IG_OK);
  EXPECT_EQ(get("log"), "one\nthree\n");
}

TEST_F(Files, AnAppendWhoseCloseFailsLeavesNoRecord) {
  ASSERT_EQ(ig_file_append(at("log").c_str(), "one\n", 4), IG_OK);
  fault = {0, 4, EIO, false, 100};  // open, fstat, write, close
  ig_fileops_set(&faulty_ops());
  EXPECT_EQ(ig_file_append(at("log").c_str(), "two\n", 4), IG_ERR_IO);
  ig_fileops_set(nullptr);
  EXPECT_TRUE(says("close")) << message();
  EXPECT_EQ(get("log"), "one\n");
}

TEST_F(Files, ReadersReportEveryFault) {
  put("a", "hello");
  int descriptors = open_descriptors();
  int64_t live = ig_mem_live();
  int failures = 0;
  for (int at_call = 1;; at_call++) {
    fault = {0, at_call, EIO, false, 100};
    ig_fileops_set(&faulty_ops());
    uint8_t *data;
    size_t n;
    ig_status status = ig_file_read(at("a").c_str(), 100, &data, &n);
    ig_mapped m = {};
    int read_calls = fault.calls;
    if (read_calls < at_call) {
      fault.calls = 0;
      fault.fail_at = at_call - read_calls;
      if (ig_file_map(at("a").c_str(), &m) != IG_OK)
        failures++;
    }
    ig_fileops_set(nullptr);
    ASSERT_EQ(open_descriptors(), descriptors);
    bool finished = fault.calls < fault.fail_at;
    ig_file_unmap(&m);
    failures += status != IG_OK;
    ig_free(data);
    ASSERT_EQ(ig_mem_live(), live);
    if (finished)
      break;
  }
  EXPECT_EQ(failures, 4 + 3);  // open, fstat, two reads; open, fstat, mmap (closing a file that was only read may fail)
}

}  // namespace
