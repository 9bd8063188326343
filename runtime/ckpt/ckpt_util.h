// Small helpers shared inside the checkpoint floor; not for others.
// Rule: text from a file goes into a message only through ig_ckpt_quote.
#ifndef IG_CKPT_UTIL_H
#define IG_CKPT_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/base/status.h"

#define IG_QUOTE_BYTES 256

// `text` in quotes with control characters, quotes and backslashes escaped, cut with "..." where too long. Returns out.
const char *ig_ckpt_quote(const char *text, char out[IG_QUOTE_BYTES]);

// Bounds depth (8) and number of values (5 million) of JSON text before a parser allocates anything: a value costs
// about 100 bytes in memory and 2 in the file. `offset`: of the text within the file, for messages.
ig_status ig_ckpt_check_json(const char *path, size_t offset, const char *text, size_t n);

// "cannot VERB PATH: errno's text", IG_ERR_IO or IG_ERR_NOT_FOUND; call before anything can change errno.
ig_status ig_ckpt_fail_errno(const char *verb, const char *path);

// Writes a new file whole: create (an old one is truncated), write `n_parts` parts, fsync, close. On failure the file
// is removed: after a failed fsync its pages may be lost although marked clean, so it is never retried.
typedef struct ig_part {
  const void *data;
  size_t n;
} ig_part;
ig_status ig_ckpt_write_file(const char *path, const ig_part *parts, size_t n_parts);

// SHA-256 and size of a regular file, read by our file operations. `cold`: the page cache is asked to forget the file
// first, so that what is read is what the disk has (advice: dirty pages and some file systems ignore it).
ig_status ig_ckpt_hash_file(const char *path, bool cold, uint64_t *bytes, char hex[65]);

// Runs a cleanup call between keep and restore: the first error's message stays.
typedef struct ig_kept_error {
  char text[2048];
} ig_kept_error;
void ig_ckpt_keep_error(ig_kept_error *kept);
void ig_ckpt_restore_error(const ig_kept_error *kept, ig_status status);

#endif
