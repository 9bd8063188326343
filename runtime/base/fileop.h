// File operations. Rule: every open, write, sync and rename of the library goes through the table, so that a test can
// fail every one of them in turn; readers too.
#ifndef IG_BASE_FILEOP_H
#define IG_BASE_FILEOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "runtime/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

// The system's calls with their POSIX meaning: -1 and errno on failure. Tests replace the table.
typedef struct ig_fileops {
  int (*open)(const char *path, int flags, mode_t mode);
  ssize_t (*read)(int fd, void *buffer, size_t n);
  ssize_t (*pread)(int fd, void *buffer, size_t n, off_t offset);
  ssize_t (*write)(int fd, const void *buffer, size_t n);
  ssize_t (*pwrite)(int fd, const void *buffer, size_t n, off_t offset);
  int (*ftruncate)(int fd, off_t size);
  int (*fsync)(int fd);
  int (*close)(int fd);
  int (*rename)(const char *from, const char *to);
  int (*unlink)(const char *path);
  int (*mkdir)(const char *path, mode_t mode);
  int (*rmdir)(const char *path);
  int (*flock)(int fd, int operation);
  int (*fstat)(int fd, struct stat *st);
  int (*stat)(const char *path, struct stat *st);
  void *(*mmap)(size_t n, int fd);  // read-only, shared; MAP_FAILED on failure
  int (*munmap)(void *p, size_t n);
} ig_fileops;

// The table in use by this process (default: the system's); tests swap it by ig_fileops_set(NULL = system's).
const ig_fileops *ig_fileops_get(void);
void ig_fileops_set(const ig_fileops *ops);

// "cannot VERB PATH: errno's text". What may not be read, or has a name that no file can have, is refused like what is
// not there (exit 2); an error of the disk is neither.
ig_status ig_fail_open(const char *verb, const char *path);
// Whole-file helpers over the table; messages name the path and errno's text.
ig_status ig_file_read(const char *path, uint64_t max_bytes, uint8_t **data, size_t *n);  // data: ig_free; NUL follows
// Temporary beside, fsync, rename, fsync dir; a link stays, and what it leads to is replaced.
ig_status ig_file_write_atomic(const char *path, const void *data, size_t n);
// Whether ig_file_write_atomic would begin: asked before long work whose result goes there. Leaves nothing behind.
// Refuses what is no regular file: it would be gone.
ig_status ig_file_check_writable(const char *path);
ig_status ig_folder_check_writable(const char *path);  // the same of a folder, or of where it would be made
ig_status ig_file_append(const char *path, const void *data, size_t n);
ig_status ig_write_all(int fd, const void *data, size_t n, const char *path);  // retries EINTR and short writes
ig_status ig_make_dirs(const char *path);                                      // like mkdir -p
ig_status ig_make_parent(const char *path);                                    // the folder that path lies in
ig_status ig_remove_tree(const char *path);                                    // never follows links; missing is fine
ig_status ig_fsync_dir(const char *path);
bool ig_path_exists(const char *path);
bool ig_path_is_dir(const char *path);
// The same where what is missing would be done without: a disk's error is an error, not a missing file.
ig_status ig_path_look(const char *path, bool *exists, bool *is_dir);
ig_status ig_path_join(char **out, const char *a, const char *b);          // ig_free
const char *ig_path_name(const char *path);                                // what stands behind the last slash
bool ig_path_ends_in(const char *path, const char *ending);                // "csv": by its name, in upper or lower case
ig_status ig_path_holds(const char *folder, const char *name, bool *out);  // folder/name is there

// A folder on the way down a tree, to see a link that leads back up.
#define IG_MAX_DEPTH 64
typedef struct ig_frame {
  const struct ig_frame *up;  // NULL: the top
  dev_t dev;
  ino_t ino;
  int depth;
} ig_frame;
ig_frame ig_frame_below(const ig_frame *up, const struct stat *st);
bool ig_frame_holds(const ig_frame *f, const struct stat *st);  // is this folder f, or one above it?

ig_status ig_free_bytes(const char *path, uint64_t *bytes);  // room on the disk that holds path (or its nearest parent)

// Read-only memory map of a whole regular file (refuses directories, FIFOs and devices, without blocking on them).
typedef struct ig_mapped {
  const uint8_t *data;
  size_t n;
} ig_mapped;
ig_status ig_file_map(const char *path, ig_mapped *out);
void ig_file_unmap(ig_mapped *m);

// SHA-256 of a buffer or file as 64 hex digits + NUL.
typedef struct ig_sha256 ig_sha256;
ig_status ig_sha256_create(ig_sha256 **out);
void ig_sha256_update(ig_sha256 *h, const void *data, size_t n);
void ig_sha256_finish(ig_sha256 *h, char hex[65]);  // also destroys
void ig_sha256_hex(const void *data, size_t n, char hex[65]);

#ifdef __cplusplus
}
#endif
#endif
