// File operations and whole-file helpers. Rule: every call that can fail on a disk goes through the table.
#include "runtime/base/fileop.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runtime/base/mem.h"

static int sys_open(const char *path, int flags, mode_t mode) { return open(path, flags | O_CLOEXEC, mode); }
static void *sys_mmap(size_t n, int fd) { return mmap(NULL, n, PROT_READ, MAP_SHARED, fd, 0); }
static int sys_fstat(int fd, struct stat *st) { return fstat(fd, st); }
static int sys_stat(const char *path, struct stat *st) { return stat(path, st); }

static const ig_fileops system_ops = {
    .open = sys_open,
    .read = read,
    .pread = pread,
    .write = write,
    .pwrite = pwrite,
    .ftruncate = ftruncate,
    .fsync = fsync,
    .close = close,
    .rename = rename,
    .unlink = unlink,
    .mkdir = mkdir,
    .rmdir = rmdir,
    .flock = flock,
    .fstat = sys_fstat,
    .stat = sys_stat,
    .mmap = sys_mmap,
    .munmap = munmap,
};

static _Atomic(const ig_fileops *) table = &system_ops;

const ig_fileops *ig_fileops_get(void) { return atomic_load_explicit(&table, memory_order_acquire); }

void ig_fileops_set(const ig_fileops *ops) {
  atomic_store_explicit(&table, ops ? ops : &system_ops, memory_order_release);
}

// "cannot VERB PATH: errno's text"; call before anything can change errno.
static ig_status fail_errno(const char *verb, const char *path) {
  int code = errno;
  ig_status status = code == ENOENT || code == ENOTDIR || code == ELOOP ? IG_ERR_NOT_FOUND : IG_ERR_IO;
  return ig_fail(status, "cannot %s %s: %s", verb, path, strerror(code));
}

ig_status ig_fail_open(const char *verb, const char *path) {
  const int code = errno;
  const ig_status status = fail_errno(verb, path);
  return code == EACCES || code == EPERM || code == ENAMETOOLONG ? IG_ERR_USAGE : status;
}

static ig_status refuse_irregular(const char *path, mode_t mode) {
  const char *found = S_ISDIR(mode) ? "a folder" : S_ISFIFO(mode) ? "a FIFO" : S_ISSOCK(mode) ? "a socket" : "a device";
  return S_ISREG(mode) ? IG_OK : ig_fail(IG_ERR_FORMAT, "%s is %s; a regular file is expected", path, found);
}

// Opens a regular file for reading without ever blocking on a FIFO or device; *st is its state.
static ig_status open_regular(const char *path, int *fd, struct stat *st) {
  const ig_fileops *ops = ig_fileops_get();
  *fd = ops->open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC, 0);
  if (*fd < 0)
    return ig_fail_open("open", path);
  ig_status status = ops->fstat(*fd, st) != 0 ? fail_errno("examine", path) : refuse_irregular(path, st->st_mode);
  if (status != IG_OK) {
    ops->close(*fd);
    *fd = -1;
  }
  return status;
}

ig_status ig_file_read(const char *path, uint64_t max_bytes, uint8_t **data, size_t *n) {
  const ig_fileops *ops = ig_fileops_get();
  ig_status status = IG_OK;
  struct stat st;
  int fd;
  uint8_t *buffer = NULL;
  size_t capacity = 0, used = 0;
  *data = NULL;
  *n = 0;
  IG_TRY(open_regular(path, &fd, &st));
  uint64_t expected = (uint64_t)st.st_size;
  // The size is a hint: files of /proc claim 0, and a file may grow while it is read.
  for (;;) {
    if (expected > max_bytes || used > max_bytes)
      IG_GOTO(ig_fail(IG_ERR_FORMAT, "%s has %llu bytes; at most %llu are accepted here", path,
                      (unsigned long long)(expected > used ? expected : used), (unsigned long long)max_bytes));
    size_t need = used < expected ? (size_t)expected + 2 : used ? used + 2 : 4096;
    IG_GOTO(ig_grow(&buffer, &capacity, used, need, 1, path));
    ssize_t got = ops->read(fd, buffer + used, capacity - used - 1);
    if (got < 0 && errno == EINTR)
      continue;
    if (got < 0)
      IG_GOTO(fail_errno("read", path));
    if (got == 0)
      break;
    used += (size_t)got;
  }
  buffer[used] = 0;
  *data = buffer;
  *n = used;
  buffer = NULL;
done:
  ig_free(buffer);
  ops->close(fd);
  return status;
}

ig_status ig_write_all(int fd, const void *data, size_t n, const char *path) {
  const ig_fileops *ops = ig_fileops_get();
  const uint8_t *p = data;
  while (n) {
    ssize_t put = ops->write(fd, p, n < SSIZE_MAX ? n : SSIZE_MAX);
    if (put < 0 && errno == EINTR)
      continue;
    if (put == 0)
      errno = EIO;
    if (put <= 0)
      return fail_errno("write", path);
    p += put;
    n -= (size_t)put;
  }
  return IG_OK;
}

// The folder that holds path: "." where path has no slash. ig_free.
static ig_status parent_of(const char *path, char **out) {
  size_t n = strlen(path);
  while (n > 1 && path[n - 1] == '/')
    n--;
  while (n && path[n - 1] != '/')
    n--;
  while (n > 1 && path[n - 1] == '/')
    n--;
  return n ? ig_asprintf(out, "%.*s", (int)n, path) : ig_strdup(".", out);
}

ig_status ig_fsync_dir(const char *path) {
  const ig_fileops *ops = ig_fileops_get();
  ig_status status = IG_OK;
  int fd = ops->open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
  if (fd < 0)
    return fail_errno("open folder", path);
  if (ops->fsync(fd) != 0 && errno != EINVAL)  // EINVAL: this file system has no folders to sync
    status = fail_errno("sync folder", path);
  ops->close(fd);
  return status;
}

// A new file beside path: unique by thread; the counter steps over what a killed process left.
static ig_status open_temporary(const char *path, char **temporary, int *fd) {
  const ig_fileops *ops = ig_fileops_get();
  for (int attempt = 0;; attempt++) {
    ig_free(*temporary);
    *temporary = NULL;
    IG_TRY(ig_asprintf(temporary, "%s.%ld-%d.tmp", path, (long)syscall(SYS_gettid), attempt));
    *fd = ops->open(*temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (*fd >= 0)
      return IG_OK;
    if (errno != EEXIST || attempt == 100)
      return fail_errno("create", *temporary);
  }
}

// Where a write to path goes: what a link leads to, so that the link stays.
static ig_status behind_links(const char *path, char **out) {
  char *real = realpath(path, NULL);  // NULL: nothing is there yet
  const ig_status status = ig_strdup(real ? real : path, out);
  free(real);
  return status;
}

ig_status ig_file_check_writable(const char *path) {
  const ig_fileops *ops = ig_fileops_get();
  char *temporary = NULL, *real = NULL;
  struct stat st;
  int fd = -1;
  if (ops->stat(path, &st) == 0)  // a rename would put a file in the place of /dev/null
    IG_TRY(refuse_irregular(path, st.st_mode));
  ig_status status = behind_links(path, &real);
  if (status == IG_OK)
    status = open_temporary(real, &temporary, &fd);
  if (status == IG_OK) {
    ops->close(fd);
    ops->unlink(temporary);
  }
  ig_free(temporary);
  ig_free(real);
  return status;
}

ig_status ig_folder_check_writable(const char *path) {
  char *inner = NULL, *folder = NULL;
  ig_status status = ig_path_join(&inner, path, ".ingot");
  if (status == IG_OK)
    status = parent_of(inner, &folder);
  while (status == IG_OK && !ig_path_exists(folder) && strcmp(folder, inner)) {
    ig_free(inner);
    inner = folder;
    folder = NULL;
    status = parent_of(inner, &folder);
  }
  if (status == IG_OK)
    status = ig_file_check_writable(inner);
  ig_free(folder);
  ig_free(inner);
  return status;
}

ig_status ig_file_write_atomic(const char *path, const void *data, size_t n) {
  const ig_fileops *ops = ig_fileops_get();
  ig_status status = IG_OK;
  char *temporary = NULL, *folder = NULL, *real = NULL;
  int fd = -1;
  bool made = false;
  IG_GOTO(behind_links(path, &real));
  IG_GOTO(parent_of(real, &folder));
  IG_GOTO(open_temporary(real, &temporary, &fd));
  made = true;
  IG_GOTO(ig_write_all(fd, data, n, temporary));
  if (ops->fsync(fd) != 0)
    IG_GOTO(fail_errno("sync", temporary));
  int closed = ops->close(fd);
  fd = -1;
  if (closed != 0)
    IG_GOTO(fail_errno("close", temporary));
  if (ops->rename(temporary, real) != 0)
    IG_GOTO(fail_errno("rename a finished file to", path));
  made = false;
  IG_GOTO(ig_fsync_dir(folder));
done:
  if (fd >= 0)
    ops->close(fd);
  if (made)
    ops->unlink(temporary);
  ig_free(temporary);
  ig_free(folder);
  ig_free(real);
  return status;
}

// After a failed close nobody knows what of a record is there: the file gets its old length, so that the record can be
// appended again.
static bool take_back(const char *path, off_t length) {
  const ig_fileops *ops = ig_fileops_get();
  int fd = ops->open(path, O_WRONLY | O_CLOEXEC, 0);
  if (fd < 0)
    return false;
  bool done = ops->ftruncate(fd, length) == 0;
  return ops->close(fd) == 0 && done;
}

ig_status ig_file_append(const char *path, const void *data, size_t n) {
  const ig_fileops *ops = ig_fileops_get();
  ig_status status = IG_OK;
  struct stat st;
  int fd = ops->open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
  if (fd < 0)
    return fail_errno("open", path);
  bool sized = ops->fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
  status = ig_write_all(fd, data, n, path);
  if (status != IG_OK && sized && ops->ftruncate(fd, st.st_size) != 0)
    ig_fail_prefix(status, "a part of a record remains at the end of the file");
  if (ops->close(fd) != 0 && status == IG_OK) {
    status = fail_errno("close", path);
    if (sized && !take_back(path, st.st_size))
      ig_fail_prefix(status, "the record may remain at the end of the file");
  }
  return status;
}

ig_status ig_make_dirs(const char *path) {
  const ig_fileops *ops = ig_fileops_get();
  ig_status status = IG_OK;
  char *copy = NULL;
  if (!*path || ig_path_is_dir(path))
    return IG_OK;
  IG_TRY(ig_strdup(path, &copy));
  for (char *end = copy + 1;; end++) {
    if (*end != '/' && *end)
      continue;
    char kept = *end;
    *end = 0;
    if (ops->mkdir(copy, 0777) != 0) {
      int code = errno;  // an existing folder may also answer EROFS or EACCES
      if (!ig_path_is_dir(copy)) {
        errno = code;
        IG_GOTO(code == EEXIST ? ig_fail(IG_ERR_IO, "cannot make folder %s: %s is a file", path, copy)
                               : fail_errno("make folder", copy));
      }
    }
    *end = kept;
    if (!kept)
      break;
  }
done:
  ig_free(copy);
  return status;
}

ig_frame ig_frame_below(const ig_frame *up, const struct stat *st) {
  return (ig_frame){up, st->st_dev, st->st_ino, up ? up->depth + 1 : 0};
}

bool ig_frame_holds(const ig_frame *f, const struct stat *st) {
  while (f && (f->dev != st->st_dev || f->ino != st->st_ino))
    f = f->up;
  return f != NULL;
}

ig_status ig_make_parent(const char *path) {
  char *folder;
  IG_TRY(parent_of(path, &folder));
  ig_status status = ig_make_dirs(folder);
  ig_free(folder);
  return status;
}

static ig_status remove_folder(const char *path);

// unlink() removes a link itself, and refuses a folder: no test before it that could be outrun.
static ig_status remove_entry(const char *path) {
  if (ig_fileops_get()->unlink(path) == 0 || errno == ENOENT)
    return IG_OK;
  if (errno == EISDIR || (errno == EPERM && ig_path_is_dir(path)))
    return remove_folder(path);
  return fail_errno("remove", path);
}

static ig_status remove_folder(const char *path) {
  const ig_fileops *ops = ig_fileops_get();
  ig_status status = IG_OK;
  char *child = NULL;
  int fd = ops->open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
  if (fd < 0)
    return fail_errno("remove", path);
  DIR *dir = fdopendir(fd);  // owns fd from here
  if (!dir) {
    status = fail_errno("list", path);
    ops->close(fd);
    return status;
  }
  // Some file systems skip entries while others are removed, hence passes until one finds nothing.
  for (size_t removed = 1; removed;) {
    removed = 0;
    rewinddir(dir);
    for (struct dirent *entry; (errno = 0, entry = readdir(dir)) != NULL;) {
      if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
        continue;
      IG_GOTO(ig_asprintf(&child, "%s/%s", path, entry->d_name));
      IG_GOTO(remove_entry(child));
      ig_free(child);
      child = NULL;
      removed++;
    }
    if (errno != 0)
      IG_GOTO(fail_errno("list", path));
  }
  if (ops->rmdir(path) != 0 && errno != ENOENT)
    status = fail_errno("remove", path);
done:
  ig_free(child);
  closedir(dir);
  return status;
}

ig_status ig_remove_tree(const char *path) { return remove_entry(path); }

bool ig_path_exists(const char *path) {
  struct stat st;
  return ig_fileops_get()->stat(path, &st) == 0;
}

bool ig_path_is_dir(const char *path) {
  struct stat st;
  return ig_fileops_get()->stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

ig_status ig_path_look(const char *path, bool *exists, bool *is_dir) {
  struct stat st;
  *exists = *is_dir = false;
  if (ig_fileops_get()->stat(path, &st) != 0)
    return errno == ENOENT || errno == ENOTDIR || errno == ELOOP ? IG_OK : fail_errno("look at", path);
  *exists = true;
  *is_dir = S_ISDIR(st.st_mode);
  return IG_OK;
}

ig_status ig_path_join(char **out, const char *a, const char *b) {
  if (!*a || b[0] == '/')
    return ig_strdup(b, out);
  return ig_asprintf(out, "%s%s%s", a, a[strlen(a) - 1] == '/' ? "" : "/", b);
}

const char *ig_path_name(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash ? slash + 1 : path;
}

bool ig_path_ends_in(const char *path, const char *ending) {
  const char *dot = strrchr(ig_path_name(path), '.');
  return dot && !strcasecmp(dot + 1, ending);
}

ig_status ig_path_holds(const char *folder, const char *name, bool *out) {
  char *path;
  IG_TRY(ig_path_join(&path, folder, name));
  *out = ig_path_exists(path);
  ig_free(path);
  return IG_OK;
}

ig_status ig_free_bytes(const char *path, uint64_t *bytes) {
  ig_status status = IG_OK;
  struct statvfs room;
  char *at = NULL;
  *bytes = 0;
  IG_TRY(ig_strdup(*path ? path : ".", &at));
  while (statvfs(at, &room) != 0) {
    if (errno == EINTR)
      continue;
    if ((errno != ENOENT && errno != ENOTDIR) || !strcmp(at, ".") || !strcmp(at, "/"))
      IG_GOTO(fail_errno("find the free room of", at));
    char *parent;
    IG_GOTO(parent_of(at, &parent));
    ig_free(at);
    at = parent;
  }
  *bytes = (uint64_t)room.f_bavail * room.f_frsize;
done:
  ig_free(at);
  return status;
}

ig_status ig_file_map(const char *path, ig_mapped *out) {
  const ig_fileops *ops = ig_fileops_get();
  ig_status status = IG_OK;
  struct stat st;
  int fd;
  *out = (ig_mapped){0};
  IG_TRY(open_regular(path, &fd, &st));
  if (st.st_size > 0) {
    void *p = ops->mmap((size_t)st.st_size, fd);
    if (p == MAP_FAILED)
      status = fail_errno("map", path);
    else
      *out = (ig_mapped){p, (size_t)st.st_size};
  }
  ops->close(fd);
  return status;
}

void ig_file_unmap(ig_mapped *m) {
  if (m->data)
    ig_fileops_get()->munmap((void *)m->data, m->n);
  *m = (ig_mapped){0};
}
