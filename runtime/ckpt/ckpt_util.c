// Helpers of the checkpoint floor. Rule: see ckpt_util.h.
#include "runtime/ckpt/ckpt_util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"

const char *ig_ckpt_quote(const char *text, char out[IG_QUOTE_BYTES]) {
  size_t n = 0;
  out[n++] = '"';
  for (; *text && n < IG_QUOTE_BYTES - 12; text++) {
    unsigned char c = (unsigned char)*text;
    if (c < 0x20 || c == 0x7f) {
      n += (size_t)snprintf(out + n, IG_QUOTE_BYTES - n, "\\x%02x", c);
    } else {
      if (c == '"' || c == '\\')
        out[n++] = '\\';
      out[n++] = (char)c;
    }
  }
  // A cut may not leave half of a UTF-8 sequence.
  if (*text && ((unsigned char)*text & 0xc0) == 0x80) {
    while (n > 1 && ((unsigned char)out[n - 1] & 0xc0) == 0x80)
      n--;
    if (n > 1)
      n--;
  }
  snprintf(out + n, IG_QUOTE_BYTES - n, *text ? "...\"" : "\"");
  return out;
}

// The largest public models have 10^5 tensors of about 10 values; headers nest 3 deep, a MANIFEST 7.
#define MAX_JSON_VALUES 5000000u
#define MAX_JSON_DEPTH  8

ig_status ig_ckpt_check_json(const char *path, size_t offset, const char *text, size_t n) {
  size_t values = 1;
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < n; i++) {
    char c = text[i];
    if (in_string) {
      if (c == '\\')
        i++;
      else if (c == '"')
        in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      values++;
      if (++depth > MAX_JSON_DEPTH)
        return ig_fail(IG_ERR_FORMAT, "%s: JSON is nested over %d deep at byte %zu", path, MAX_JSON_DEPTH, i + offset);
    } else if (c == '}' || c == ']') {
      depth--;
    } else if (c == ',') {
      values++;
    }
    if (values > MAX_JSON_VALUES)
      return ig_fail(IG_ERR_FORMAT, "%s: over %u JSON values; no model has so many tensors", path, MAX_JSON_VALUES);
  }
  return IG_OK;
}

ig_status ig_ckpt_fail_errno(const char *verb, const char *path) {
  int code = errno;
  ig_status status = code == ENOENT || code == ENOTDIR ? IG_ERR_NOT_FOUND : IG_ERR_IO;
  return ig_fail(status, "cannot %s %s: %s", verb, path, strerror(code));
}

ig_status ig_ckpt_write_file(const char *path, const ig_part *parts, size_t n_parts) {
  const ig_fileops *ops = ig_fileops_get();
  ig_status status = IG_OK;
  int fd = ops->open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd < 0)
    return ig_ckpt_fail_errno("create", path);
  for (size_t i = 0; i < n_parts; i++)
    IG_GOTO(ig_write_all(fd, parts[i].data, parts[i].n, path));
  if (ops->fsync(fd) != 0)
    IG_GOTO(ig_ckpt_fail_errno("sync", path));
  int closed = ops->close(fd);  // network file systems report a full disk here
  fd = -1;
  if (closed != 0)
    IG_GOTO(ig_ckpt_fail_errno("close", path));
done:
  if (fd >= 0)
    ops->close(fd);
  if (status != IG_OK)
    ops->unlink(path);
  return status;
}

ig_status ig_ckpt_hash_file(const char *path, bool cold, uint64_t *bytes, char hex[65]) {
  enum { BLOCK = 1 << 20 };
  const ig_fileops *ops = ig_fileops_get();
  ig_status status = IG_OK;
  ig_sha256 *sha = NULL;
  uint8_t *block = NULL;
  struct stat st;
  *bytes = 0;
  hex[0] = 0;
  int fd = ops->open(path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC, 0);
  if (fd < 0)
    return ig_ckpt_fail_errno("open", path);
  if (ops->fstat(fd, &st) != 0)
    IG_GOTO(ig_ckpt_fail_errno("examine", path));
  if (!S_ISREG(st.st_mode))
    IG_GOTO(ig_fail(IG_ERR_FORMAT, "%s is not a regular file", path));
  IG_GOTO(ig_alloc(BLOCK, "a block to hash", &block));
  IG_GOTO(ig_sha256_create(&sha));
  if (cold)
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  for (;;) {
    ssize_t got = ops->read(fd, block, BLOCK);
    if (got < 0 && errno == EINTR)
      continue;
    if (got < 0)
      IG_GOTO(ig_ckpt_fail_errno("read", path));
    if (got == 0)
      break;
    ig_sha256_update(sha, block, (size_t)got);
    *bytes += (uint64_t)got;
  }
done:
  if (sha)
    ig_sha256_finish(sha, hex);
  if (status != IG_OK)
    hex[0] = 0;
  ops->close(fd);
  ig_free(block);
  return status;
}

void ig_ckpt_keep_error(ig_kept_error *kept) { snprintf(kept->text, sizeof kept->text, "%s", ig_error_message()); }

void ig_ckpt_restore_error(const ig_kept_error *kept, ig_status status) { ig_fail(status, "%s", kept->text); }
