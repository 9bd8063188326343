// Text that grows, and text for messages. Rule: what came from outside is quoted before it stands in a message.
#ifndef IG_BASE_TEXT_H
#define IG_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#include "runtime/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

// Growing text; zero-initialise, free `data` by ig_free. data is NULL until the first addition, then NUL-terminated.
typedef struct ig_text {
  char *data;
  size_t n, capacity;
} ig_text;
ig_status ig_text_add(ig_text *t, const char *bytes, size_t n);
ig_status ig_text_addf(ig_text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));

// `text` in double quotes, control characters and invalid UTF-8 as \xNN, cut with "..." to fit. Returns `out`.
enum { IG_QUOTE_BYTES = 160 };
const char *ig_quote(char out[IG_QUOTE_BYTES], const char *text);
// `text` itself where it is printable UTF-8, else quoted.
const char *ig_shown(char out[IG_QUOTE_BYTES], const char *text);

// The at most three names nearest to `wanted` by edit distance as "; did you mean a, b or c?", or "" where none is
// near. Returns `out`.
enum { IG_NEAREST_BYTES = 320 };
const char *ig_nearest(char out[IG_NEAREST_BYTES], const char *wanted, const char *const *names, size_t n);

// `one` for a count of 1, else `many`: "%zu %s", n, ig_plural(n, "text is", "texts are").
const char *ig_plural(unsigned long long n, const char *one, const char *many);

bool ig_starts_with(const char *text, const char *start);
bool ig_ends_with(const char *text, const char *end);

// Length of the valid UTF-8 sequence at p (1 to 4), or 0 where the next byte starts none. p is NUL-terminated.
size_t ig_utf8_length(const char *p);

#ifdef __cplusplus
}
#endif
#endif
