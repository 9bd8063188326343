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

struct ig_lock {
  int fd;
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

ig_status ig_lock_acquire(const char *run_folder, ig_lock **out) {
  const ig_fileops *ops = ig_fileops_get();
  ig_status status = IG_OK;
  ig_lock *lock = NULL;
  char *path = NULL, host[256] = "", line[300];
  *out = NULL;
  if (gethostname(host, sizeof host - 1) != 0 || !*host)
    snprintf(host, sizeof host, "localhost");
  IG_GOTO(ig_alloc(sizeof *lock, "run lock", &lock));
  lock->fd = -1;
  IG_GOTO(ig_path_join(&path, run_folder, ".lock"));
  lock->fd = ops->open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
  if (lock->fd < 0)
    IG_GOTO(ig_ckpt_fail_errno("open the lock", path));
  IG_GOTO(take(lock->fd, path, host));
  // Serves messages where the kernel locks, and is the lock where it does not.
  int n = snprintf(line, sizeof line, "%ld %s\n", (long)getpid(), host);
  if (ops->ftruncate(lock->fd, 0) != 0)
    IG_GOTO(ig_ckpt_fail_errno("write the lock", path));
  IG_GOTO(ig_write_all(lock->fd, line, (size_t)n, path));
  *out = lock;
  lock = NULL;
done:
  if (lock && lock->fd >= 0)
    ops->close(lock->fd);
  ig_free(lock);
  ig_free(path);
  return status;
}

void ig_lock_release(ig_lock *lock) {
  if (!lock)
    return;
  // The file stays: unlinking it would let a third process lock a new file while a second waits on the old one.
  (void)!ig_fileops_get()->ftruncate(lock->fd, 0);
  ig_fileops_get()->close(lock->fd);
  ig_free(lock);
}
