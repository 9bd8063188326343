// Texts as models take them: UTF-8 without NUL. Rule: a NUL and each maximal invalid part (as the tokenizer reads it)
// become U+FFFD, one by one, and are counted; nothing else changes.
#include "runtime/data/mend.h"

#include <stdint.h>
#include <string.h>

#include "runtime/tokenizer/unicode.h"

// Eight bytes of ASCII, none of them NUL: a byte's highest bit comes up only where it was set, or below 1.
static bool is_plain(const char *p) {
  uint64_t w;
  memcpy(&w, p, sizeof w);
  return !((w | (w - UINT64_C(0x0101010101010101))) & UINT64_C(0x8080808080808080));
}

// Where the first place lies that has to change, and its bytes; n where there is none.
static size_t find_invalid(const char *p, size_t n, size_t *bytes) {
  for (size_t i = 0, invalid = 0; i < n; i += *bytes) {
    uint32_t c;
    *bytes = sizeof(uint64_t);
    if (n - i >= sizeof(uint64_t) && is_plain(p + i))
      continue;
    *bytes = ig_utf8_decode((const uint8_t *)p + i, (const uint8_t *)p + n, &c, &invalid);
    if (invalid || !c)
      return i;
  }
  return n;
}

ig_status ig_mend_text(const char *p, size_t n, ig_text *buffer, size_t *n_invalid, const char **out, size_t *n_out) {
  size_t bytes, at = find_invalid(p, n, &bytes);
  *out = p;
  *n_out = n;
  if (at == n)
    return IG_OK;
  buffer->n = 0;
  for (; at < n; at = find_invalid(p, n, &bytes)) {
    IG_TRY(ig_text_add(buffer, p, at));
    IG_TRY(ig_text_add(buffer, "\xef\xbf\xbd", 3));
    ++*n_invalid;
    p += at + bytes;
    n -= at + bytes;
  }
  IG_TRY(ig_text_add(buffer, p, n));
  *out = buffer->data;
  *n_out = buffer->n;
  return IG_OK;
}
