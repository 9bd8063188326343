// Small helpers shared inside the checkpoint floor; not for others.
// Rule: text from a file goes into a message only through ig_ckpt_quote.
#ifndef IG_CKPT_UTIL_H
#define IG_CKPT_UTIL_H

#include <stddef.h>

#include "runtime/base/status.h"

#define IG_QUOTE_BYTES 256

// `text` in quotes with control characters, quotes and backslashes escaped, cut with "..." where too long. Returns out.
const char *ig_ckpt_quote(const char *text, char out[IG_QUOTE_BYTES]);

// "cannot VERB PATH: errno's text", IG_ERR_IO or IG_ERR_NOT_FOUND; call before anything can change errno.
ig_status ig_ckpt_fail_errno(const char *verb, const char *path);

// Writes a new file whole: create (an old one is truncated), write `n_parts` parts, fsync, close. On failure the file
// is removed: after a failed fsync its pages may be lost although marked clean, so it is never retried.
typedef struct ig_part {
  const void *data;
  size_t n;
} ig_part;
ig_status ig_ckpt_write_file(const char *path, const ig_part *parts, size_t n_parts);

// Runs a cleanup call between keep and restore: the first error's message stays.
typedef struct ig_kept_error {
  char text[2048];
} ig_kept_error;
void ig_ckpt_keep_error(ig_kept_error *kept);
void ig_ckpt_restore_error(const ig_kept_error *kept, ig_status status);

#endif
