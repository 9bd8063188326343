// Lines of a file as it is read. Rule: see text_lines.h.
#include "bindings/c/text_lines.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/base/text.h"

enum { BLOCK_BYTES = 1 << 16 };

typedef struct reader {
  const char *source;
  ig_line_fn each;
  void *user;
  size_t number;
  ig_text rest;  // a line whose end is not read yet
} reader;

static ig_status hand_over(reader *r, const char *line, size_t n) {
  return r->each(r->user, r->source, ++r->number, line, n && line[n - 1] == '\r' ? n - 1 : n);
}

static ig_status take_block(reader *r, const char *p, size_t n) {
  for (const char *end = p + n, *stop; p < end; p = stop + 1) {
    stop = memchr(p, '\n', (size_t)(end - p));
    if (!stop)
      return ig_text_add(&r->rest, p, (size_t)(end - p));
    if (!r->rest.n) {
      IG_TRY(hand_over(r, p, (size_t)(stop - p)));
      continue;
    }
    IG_TRY(ig_text_add(&r->rest, p, (size_t)(stop - p)));
    IG_TRY(hand_over(r, r->rest.data, r->rest.n));
    r->rest.n = 0;
  }
  return IG_OK;
}

ig_status ig_each_line(const char *path, ig_line_fn each, void *user) {
  const ig_fileops *ops = ig_fileops_get();
  const bool standard = strcmp(path, "-") == 0;
  ig_status status = IG_OK;
  reader r = {standard ? "standard input" : path, each, user, 0, {0}};
  char *block = NULL;
  int fd = standard ? STDIN_FILENO : ops->open(path, O_RDONLY, 0);
  if (fd < 0)
    return ig_fail(errno == ENOENT ? IG_ERR_NOT_FOUND : IG_ERR_IO, "cannot open %s: %s", path, strerror(errno));
  IG_GOTO(ig_alloc(BLOCK_BYTES, "a block of text", &block));
  for (;;) {
    ssize_t n = ops->read(fd, block, BLOCK_BYTES);
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      IG_GOTO(ig_fail(IG_ERR_IO, "cannot read %s: %s", r.source, strerror(errno)));
    if (n == 0)
      break;
    IG_GOTO(take_block(&r, block, (size_t)n));
  }
  if (r.rest.n)
    status = hand_over(&r, r.rest.data, r.rest.n);
done:
  ig_free(block);
  ig_free(r.rest.data);
  if (!standard)
    ops->close(fd);
  return status;
}
