// What the fault tests share: a table of file operations that a test can watch and fail, folders, leaks, counts.
// Rule: the real operation is done by the system's table, so that nothing here can be mistaken for the library.
#ifndef INGOT_TESTS_FAULT_COMMON_H
#define INGOT_TESTS_FAULT_COMMON_H

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <functional>
#include <gtest/gtest.h>
#include <string>
#include <sys/mman.h>
#include <unistd.h>

#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"

namespace fault {
namespace fs = std::filesystem;

// INGOT_LONG=1 (./dev test --long) raises the counts.
inline bool long_form() { return getenv("INGOT_LONG") && *getenv("INGOT_LONG") == '1'; }
inline long count(long shorter, long longer) { return long_form() ? longer : shorter; }

inline std::string slurp(const std::string &path) {
  std::ifstream in(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(in), {});
}
inline void put(const std::string &path, const std::string &bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), (std::streamsize)bytes.size());
}
inline size_t open_files() {
  size_t n = 0;
  for (auto &entry : fs::directory_iterator("/proc/self/fd"))
    n += entry.exists() || true;
  return n;
}

// A folder of its own, in memory where the system has /dev/shm: a killed process loses nothing there either, and fsync
// is free.
struct Folder {
  explicit Folder(const char *name) {
    std::string shm = std::string("/dev/shm/") + name + "_XXXXXX", tmp = std::string("/tmp/") + name + "_XXXXXX";
    if (mkdtemp(shm.data()))
      path = shm;
    else if (mkdtemp(tmp.data()))
      path = tmp;
    else
      throw std::runtime_error("no temporary folder");
  }
  ~Folder() {
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }
  std::string operator/(const std::string &name) const { return path + "/" + name; }
  std::string path;
};

enum Op {
  OPEN,
  READ,
  PREAD,
  WRITE,
  PWRITE,
  FTRUNCATE,
  FSYNC,
  CLOSE,
  RENAME,
  UNLINK,
  MKDIR,
  RMDIR,
  FLOCK,
  FSTAT,
  STAT,
  MMAP,
  N_OPS
};
inline const char *name_of(Op op) {
  static const char *const names[] = {"open",   "read",   "pread", "write", "pwrite", "ftruncate", "fsync", "close",
                                      "rename", "unlink", "mkdir", "rmdir", "flock",  "fstat",     "stat",  "mmap"};
  return names[op];
}

// Before each operation of the table: 0 = do it, an errno = fail with it, HALF = write or read half of it.
// `path` is what the call names, "" where it has a descriptor; `to` is rename's target or NULL.
constexpr int HALF = -1;
struct Call {
  Op op;
  const char *path, *to;
  int fd;
  int flags;  // of open
};
using Hook = std::function<int(const Call &)>;

namespace detail {
inline ig_fileops real;
inline Hook hook;
inline bool refuse(const Call &call, int *answer) {
  int kept = errno;
  *answer = hook(call);
  errno = *answer > 0 ? *answer : kept;
  return *answer > 0;
}
inline size_t part(size_t n, int answer) { return answer == HALF && n > 1 ? n / 2 : n; }
}  // namespace detail

// Puts the hook before every operation; an empty one brings the system's table back.
inline void watch(Hook hook) {
  using namespace detail;
  ig_fileops_set(nullptr);
  real = *ig_fileops_get();
  detail::hook = std::move(hook);
  if (!detail::hook)
    return;
  static ig_fileops table;
  table.open = [](const char *path, int flags, mode_t mode) {
    int a;
    return refuse({OPEN, path, nullptr, -1, flags}, &a) ? -1 : real.open(path, flags, mode);
  };
  table.read = [](int fd, void *p, size_t n) {
    int a;
    return refuse({READ, "", nullptr, fd, 0}, &a) ? -1 : real.read(fd, p, part(n, a));
  };
  table.pread = [](int fd, void *p, size_t n, off_t at) {
    int a;
    return refuse({PREAD, "", nullptr, fd, 0}, &a) ? -1 : real.pread(fd, p, part(n, a), at);
  };
  table.write = [](int fd, const void *p, size_t n) {
    int a;
    return refuse({WRITE, "", nullptr, fd, 0}, &a) ? -1 : real.write(fd, p, part(n, a));
  };
  table.pwrite = [](int fd, const void *p, size_t n, off_t at) {
    int a;
    return refuse({PWRITE, "", nullptr, fd, 0}, &a) ? -1 : real.pwrite(fd, p, part(n, a), at);
  };
  table.ftruncate = [](int fd, off_t n) {
    int a;
    return refuse({FTRUNCATE, "", nullptr, fd, 0}, &a) ? -1 : real.ftruncate(fd, n);
  };
  table.fsync = [](int fd) {
    int a;
    return refuse({FSYNC, "", nullptr, fd, 0}, &a) ? -1 : real.fsync(fd);
  };
  table.close = [](int fd) {  // Linux closes the descriptor whatever it answers
    int a;
    bool refused = refuse({CLOSE, "", nullptr, fd, 0}, &a);
    int code = errno, closed = real.close(fd);
    if (refused)
      errno = code;
    return refused ? -1 : closed;
  };
  table.rename = [](const char *from, const char *to) {
    int a;
    return refuse({RENAME, from, to, -1, 0}, &a) ? -1 : real.rename(from, to);
  };
  table.unlink = [](const char *path) {
    int a;
    return refuse({UNLINK, path, nullptr, -1, 0}, &a) ? -1 : real.unlink(path);
  };
  table.mkdir = [](const char *path, mode_t mode) {
    int a;
    return refuse({MKDIR, path, nullptr, -1, 0}, &a) ? -1 : real.mkdir(path, mode);
  };
  table.rmdir = [](const char *path) {
    int a;
    return refuse({RMDIR, path, nullptr, -1, 0}, &a) ? -1 : real.rmdir(path);
  };
  table.flock = [](int fd, int operation) {
    int a;
    return refuse({FLOCK, "", nullptr, fd, 0}, &a) ? -1 : real.flock(fd, operation);
  };
  table.fstat = [](int fd, struct stat *st) {
    int a;
    return refuse({FSTAT, "", nullptr, fd, 0}, &a) ? -1 : real.fstat(fd, st);
  };
  table.stat = [](const char *path, struct stat *st) {
    int a;
    return refuse({STAT, path, nullptr, -1, 0}, &a) ? -1 : real.stat(path, st);
  };
  table.mmap = [](size_t n, int fd) {
    int a;
    return refuse({MMAP, "", nullptr, fd, 0}, &a) ? MAP_FAILED : real.mmap(n, fd);
  };
  table.munmap = [](void *p, size_t n) { return real.munmap(p, n); };
  ig_fileops_set(&table);
}

// The path that a call is about, also where it has a descriptor.
inline std::string path_of(const Call &call) {
  if (call.fd < 0)
    return call.path;
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", call.fd);
  ssize_t n = readlink(link, path, sizeof path - 1);
  return n > 0 ? std::string(path, (size_t)n) : "";
}

// Memory and descriptors that a test began with are what it must end with.
struct Leaks {
  Leaks() : live(ig_mem_live()), files(open_files()) {}
  void check() const {
    EXPECT_EQ(ig_mem_live(), live) << "memory leak";
    EXPECT_EQ(open_files(), files) << "file descriptor leak";
  }
  int64_t live;
  size_t files;
};

}  // namespace fault
#endif
