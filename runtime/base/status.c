// Status codes and the calling thread's last message.
#include "runtime/base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define MESSAGE_BYTES 2048

static char *own_message(void) {
  static _Thread_local char message[MESSAGE_BYTES];
  return message;
}
static ig_message_fn message_of = own_message;

ig_message_fn ig_error_place(void) { return message_of; }

void ig_error_share(ig_message_fn place) { message_of = place; }

const char *ig_error_message(void) { return message_of(); }

void ig_error_clear(void) { message_of()[0] = 0; }

// Names in a message may be anybody's: what a terminal would obey is not handed on.
static void keep(const char *text) {
  char *to = message_of();
  for (size_t i = 0; i < MESSAGE_BYTES - 1; i++) {
    const unsigned char c = (unsigned char)text[i];
    to[i] = (c < 32 && c && c != '\n' && c != '\t') || c == 127 ? '?' : text[i];
    if (!c)
      return;
  }
  to[MESSAGE_BYTES - 1] = 0;
}

ig_status ig_fail(ig_status status, const char *format, ...) {
  // The arguments may point into the message, so it is composed aside first.
  char text[MESSAGE_BYTES];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  keep(text);
  return status;
}

ig_status ig_fail_prefix(ig_status status, const char *format, ...) {
  char text[2 * MESSAGE_BYTES];
  va_list args;
  va_start(args, format);
  int n = vsnprintf(text, MESSAGE_BYTES, format, args);
  va_end(args);
  if (n < 0)
    return status;
  if (n >= MESSAGE_BYTES)
    n = MESSAGE_BYTES - 1;
  snprintf(text + n, sizeof text - (size_t)n, ": %s", message_of());
  keep(text);
  return status;
}

static const struct {
  const char *name;
  int exit_code;
} table[] = {
    [IG_OK] = {"ok", 0},
    [IG_ERR_USAGE] = {"usage", 2},
    [IG_ERR_FORMAT] = {"format", 2},
    [IG_ERR_DATA] = {"data", 2},
    [IG_ERR_MISMATCH] = {"mismatch", 2},
    [IG_ERR_NOT_FOUND] = {"not found", 2},
    [IG_ERR_UNSUPPORTED] = {"unsupported", 2},
    [IG_ERR_BUSY] = {"busy", 2},
    [IG_ERR_MEMORY] = {"memory", 1},
    [IG_ERR_IO] = {"io", 1},
    [IG_ERR_DEVICE] = {"device", 1},
    [IG_ERR_NUMERIC] = {"numeric", 1},
    [IG_ERR_PARTIAL] = {"partial", 1},
    [IG_ERR_INTERNAL] = {"internal", 1},
    [IG_STOPPED] = {"stopped", 75},
};

const char *ig_status_name(ig_status status) {
  return (unsigned)status < sizeof table / sizeof *table ? table[status].name : "unknown";
}

int ig_status_exit_code(ig_status status) {
  return (unsigned)status < sizeof table / sizeof *table ? table[status].exit_code : 1;
}
