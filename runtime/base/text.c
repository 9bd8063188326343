// Growing text, quoting and nearest names. Rule: nothing here trusts its input to be short, printable or UTF-8.
#include "runtime/base/text.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "runtime/base/mem.h"

ig_status ig_text_add(ig_text *t, const char *bytes, size_t n) {
  IG_TRY(ig_grow(&t->data, &t->capacity, t->n, t->n + n + 1, 1, "a text"));
  if (n)
    memcpy(t->data + t->n, bytes, n);
  t->n += n;
  t->data[t->n] = 0;
  return IG_OK;
}

ig_status ig_text_addf(ig_text *t, const char *format, ...) {
  va_list args;
  va_start(args, format);
  int n = vsnprintf(NULL, 0, format, args);
  va_end(args);
  if (n < 0)
    return ig_fail(IG_ERR_INTERNAL, "cannot format \"%s\"", format);
  IG_TRY(ig_grow(&t->data, &t->capacity, t->n, t->n + (size_t)n + 1, 1, "a text"));
  va_start(args, format);
  vsnprintf(t->data + t->n, (size_t)n + 1, format, args);
  va_end(args);
  t->n += (size_t)n;
  return IG_OK;
}

size_t ig_utf8_length(const char *p) {
  const uint8_t *s = (const uint8_t *)p;
  if (s[0] < 0x80)
    return s[0] ? 1 : 0;
  size_t n = s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : s[0] >= 0xe0 && s[0] < 0xf0 ? 3 : s[0] >= 0xf0 && s[0] < 0xf5 ? 4 : 0;
  for (size_t i = 1; i < n; i++)
    if ((s[i] & 0xc0) != 0x80)
      return 0;
  // Overlong forms, surrogates, and beyond U+10FFFF.
  if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] >= 0xa0) || (s[0] == 0xf0 && s[1] < 0x90) ||
      (s[0] == 0xf4 && s[1] >= 0x90))
    return 0;
  return n;
}

const char *ig_quote(char out[IG_QUOTE_BYTES], const char *text) {
  size_t n = 0;
  const char *end = "\"";
  out[n++] = '"';
  for (const char *p = text; *p;) {
    size_t length = ig_utf8_length(p);
    if (n + 4 + sizeof "...\"" > IG_QUOTE_BYTES) {
      end = "...\"";
      break;
    }
    uint8_t byte = (uint8_t)*p;
    if (length == 0 || byte < 0x20 || byte == 0x7f) {
      n += (size_t)snprintf(out + n, IG_QUOTE_BYTES - n, "\\x%02x", byte);
      p++;
    } else {
      memcpy(out + n, p, length);
      n += length;
      p += length;
    }
  }
  strcpy(out + n, end);
  return out;
}

const char *ig_shown(char out[IG_QUOTE_BYTES], const char *text) {
  const char *p = text;
  for (size_t n; (uint8_t)*p >= 0x20 && *p != 0x7f && (n = ig_utf8_length(p)); p += n)
    ;
  return *p ? ig_quote(out, text) : text;
}

#define MAX_NAME 160

// Edits (insert, delete, replace, swap of neighbours) from a to b, both cut to MAX_NAME bytes.
static size_t edit_distance(const char *a, const char *b) {
  uint16_t rows[3][MAX_NAME + 1];
  size_t n = strnlen(b, MAX_NAME), m = strnlen(a, MAX_NAME);
  for (size_t j = 0; j <= n; j++)
    rows[0][j] = (uint16_t)j;
  for (size_t i = 1; i <= m; i++) {
    uint16_t *row = rows[i % 3], *above = rows[(i + 2) % 3], *above2 = rows[(i + 1) % 3];
    row[0] = (uint16_t)i;
    for (size_t j = 1; j <= n; j++) {
      uint16_t best = (uint16_t)(above[j - 1] + (a[i - 1] != b[j - 1]));
      if (above[j] + 1 < best)
        best = (uint16_t)(above[j] + 1);
      if (row[j - 1] + 1 < best)
        best = (uint16_t)(row[j - 1] + 1);
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && above2[j - 2] + 1 < best)
        best = (uint16_t)(above2[j - 2] + 1);
      row[j] = best;
    }
  }
  return rows[m % 3][n];
}

const char *ig_nearest(char out[IG_NEAREST_BYTES], const char *wanted, const char *const *names, size_t n) {
  const char *best[3];
  size_t distance[3], found = 0, length = strlen(wanted), limit = length / 3 > 2 ? length / 3 : 2;
  out[0] = 0;
  if (length == 0)
    return out;
  if (limit >= length)
    limit = length - 1;  // otherwise any short word would be near
  for (size_t i = 0; i < n; i++) {
    size_t d = edit_distance(wanted, names[i]);
    // A whole word that continues or precedes the other is near too: warm -> warmup, batch_size -> batch.
    size_t other = strlen(names[i]), shared = length < other ? length : other;
    if (shared >= 3 && strncmp(wanted, names[i], shared) == 0 && d > limit)
      d = limit;
    if (d > limit)
      continue;
    size_t at = found < 3 ? found : 3;
    while (at > 0 && d < distance[at - 1])
      at--;
    if (at == 3)
      continue;
    if (found < 3)
      found++;
    for (size_t k = found - 1; k > at; k--)
      best[k] = best[k - 1], distance[k] = distance[k - 1];
    best[at] = names[i], distance[at] = d;
  }
  size_t used = 0;
  for (size_t i = 0; i < found; i++)
    used += (size_t)snprintf(out + used, IG_NEAREST_BYTES - used, "%s%.90s",
                             i == 0           ? "; did you mean "
                             : i + 1 == found ? " or "
                                              : ", ",
                             best[i]);
  if (found)
    snprintf(out + used, IG_NEAREST_BYTES - used, "?");
  return out;
}

const char *ig_plural(unsigned long long n, const char *one, const char *many) { return n == 1 ? one : many; }

bool ig_starts_with(const char *text, const char *start) { return !strncmp(text, start, strlen(start)); }

bool ig_ends_with(const char *text, const char *end) {
  const size_t n = strlen(text), m = strlen(end);
  return n >= m && !strcmp(text + n - m, end);
}
