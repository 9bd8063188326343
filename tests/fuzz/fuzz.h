// What the fuzz targets share. Rule: a target takes any bytes at all; every refusal has a message, nothing stays
// allocated, and what is accepted holds what the reader promises. Targets write into the working folder only.
#ifndef INGOT_TESTS_FUZZ_H
#define INGOT_TESTS_FUZZ_H

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static inline void fuzz_demand(bool holds, const char *what) {
  if (holds)
    return;
  fprintf(stderr, "broken promise: %s (last message: %s)\n", what, ig_error_message());
  abort();
}

// OK, or a refusal that is not our own bug and has a text.
static inline bool fuzz_ok(ig_status status) {
  fuzz_demand(status == IG_OK || (status != IG_ERR_INTERNAL && strlen(ig_error_message()) > 8), "a clear refusal");
  return status == IG_OK;
}

static inline int fuzz_end(void) {
  fuzz_demand(ig_mem_live() == 0, "no leak");
  return 0;
}

static inline void fuzz_put(const char *path, const void *data, size_t n) {
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  fuzz_demand(fd >= 0 && write(fd, data, n) == (ssize_t)n && close(fd) == 0, "a file could be written");
}

// Mapped files become copies of their exact size, so that the address sanitizer sees a read behind the end.
static inline void *fuzz_map(size_t n, int fd) {
  void *p = malloc(n);
  return p && pread(fd, p, n, 0) == (ssize_t)n ? p : MAP_FAILED;
}
static inline int fuzz_unmap(void *p, size_t n) {
  (void)n;
  free(p);
  return 0;
}
static inline void fuzz_map_by_copy(void) {
  static ig_fileops ops;
  ops = *ig_fileops_get();
  ops.mmap = fuzz_map;
  ops.munmap = fuzz_unmap;
  ig_fileops_set(&ops);
}

#endif
