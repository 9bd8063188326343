// The lock on a run folder. Rule: see lock.h.
//
// Network file systems: NFS (Linux) maps flock to a byte-range lock on the server, so it holds across hosts; so do
// BeeGFS, Lustre with `-o flock` and GPFS. Lustre with `-o localflock` holds on one host only, and with `noflock` the
// call fails. Where the call is not supported the owner written inside is the lock: a live process of this host or any
// process of another host is believed, and the message says which file to remove if it is wrong.
#include "runtime/ckpt/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/ckpt/ckpt_util.h"

#define ATTEMPTS 100  // a file that others took away between open and lock is opened anew

struct ig_lock {
  int fd;
  char *path;
};

typedef struct owner {
  long pid;  // 0 = not known
  char host[256];
} owner;

// An owner that is just now writing its line, or has none, gives pid 0.
static owner read_owner(int fd) {
  owner o = {0, ""};
  char text[300] = "";
  ssize_t n = ig_fileops_get()->pread(fd, text, sizeof text - 1, 0);
  if (n > 0 && sscanf(text, "%ld %255s", &o.pid, o.host) != 2)
    o.pid = 0;
  return o;
}

static ig_status fail_busy(const char *path, const owner *o, const char *advice) {
  char q[IG_QUOTE_BYTES];
  if (o->pid == 0)
    return ig_fail(IG_ERR_BUSY, "%s is locked by another process; wait for it or use another out=%s", path, advice);
  return ig_fail(IG_ERR_BUSY, "%s is locked by process %ld on host %s; wait for it, stop it, or use another out=%s",
                 path, o->pid, ig_ckpt_quote(o->host, q), advice);
}

// Takes the kernel's lock, or decides by the owner inside where there is no such lock.
static ig_status take(int fd, const char *path, const char *host) {
  int failed;
  do {
    failed = ig_fileops_get()->flock(fd, LOCK_EX | LOCK_NB);
  } while (failed && errno == EINTR);
  if (!failed)
    return IG_OK;
  if (errno == EWOULDBLOCK) {
    owner o = read_owner(fd);
    return fail_busy(path, &o, "");
  }
  if (errno != ENOSYS && errno != EOPNOTSUPP && errno != ENOLCK)
    return ig_ckpt_fail_errno("lock", path);
  owner o = read_owner(fd);
  bool here = !strcmp(o.host, host);
  if (o.pid != 0 && (!here || kill((pid_t)o.pid, 0) == 0 || errno != ESRCH))
    return fail_busy(path, &o, "; this file system has no locks, so remove that file if the process is gone");
  return IG_OK;
}

// Whether the locked file is still the one at path: ig_lock_remove may have come between open and lock.
static ig_status look_again(int fd, const char *path, bool *same) {
  const ig_fileops *ops = ig_fileops_get();
  struct stat mine, there;
  *same = false;
  if (ops->fstat(fd, &mine) != 0)
    return ig_ckpt_fail_errno("examine the lock", path);
  if (ops->stat(path, &there) != 0)
    return errno == ENOENT ? IG_OK : ig_ckpt_fail_errno("examine the lock", path);
  *same = mine.st_dev == there.st_dev && mine.st_ino == there.st_ino;
  return IG_OK;
}

static ig_status open_and_take(const char *path, const char *host, int *fd) {
  const ig_fileops *ops = ig_fileops_get();
  bool same = false;
  for (int attempt = 0; !same; attempt++) {
    if (*fd >= 0)
      ops->close(*fd);
    *fd = -1;
    if (attempt == ATTEMPTS)
      return ig_fail(IG_ERR_BUSY, "%s is made and removed by other processes all the time; use another out=", path);
    *fd = ops->open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (*fd < 0)
      return ig_ckpt_fail_errno("open the lock", path);
    IG_TRY(take(*fd, path, host));
    IG_TRY(look_again(*fd, path, &same));
  }
  return IG_OK;
}

ig_status ig_lock_acquire(const char *run_folder, ig_lock **out) {
  const ig_fileops *ops = ig_fileops_get();
  ig_status status = IG_OK;
  ig_lock *lock = NULL;
  char host[256] = "", line[300];
  *out = NULL;
  if (gethostname(host, sizeof host - 1) != 0 || !*host)
    snprintf(host, sizeof host, "localhost");
  IG_GOTO(ig_alloc(sizeof *lock, "run lock", &lock));
  lock->fd = -1;
  IG_GOTO(ig_path_join(&lock->path, run_folder, ".lock"));
  IG_GOTO(open_and_take(lock->path, host, &lock->fd));
  // Serves messages where the kernel locks, and is the lock where it does not.
  int n = snprintf(line, sizeof line, "%ld %s\n", (long)getpid(), host);
  if (ops->ftruncate(lock->fd, 0) != 0)
    IG_GOTO(ig_ckpt_fail_errno("write the lock", lock->path));
  IG_GOTO(ig_write_all(lock->fd, line, (size_t)n, lock->path));
  *out = lock;
  return IG_OK;
done:
  if (lock && lock->fd >= 0)
    ops->close(lock->fd);
  if (lock)
    ig_free(lock->path);
  ig_free(lock);
  return status;
}

static void close_lock(ig_lock *lock) {
  ig_fileops_get()->close(lock->fd);
  ig_free(lock->path);
  ig_free(lock);
}

void ig_lock_release(ig_lock *lock) {
  if (!lock)
    return;
  (void)!ig_fileops_get()->ftruncate(lock->fd, 0);  // the file stays
  close_lock(lock);
}

void ig_lock_remove(ig_lock *lock) {
  if (!lock)
    return;
  (void)!ig_fileops_get()->unlink(lock->path);  // while it is held: afterwards it would be another's
  close_lock(lock);
}
