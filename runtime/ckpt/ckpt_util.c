// Helpers of the checkpoint floor. Rule: see ckpt_util.h.
#include "runtime/ckpt/ckpt_util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "runtime/base/fileop.h"

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

void ig_ckpt_keep_error(ig_kept_error *kept) { snprintf(kept->text, sizeof kept->text, "%s", ig_error_message()); }

void ig_ckpt_restore_error(const ig_kept_error *kept, ig_status status) { ig_fail(status, "%s", kept->text); }
