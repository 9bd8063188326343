// Setting and passing on failures. Rule: IG_FAIL where the fault is found, IG_TRY everywhere above.
#ifndef IG_BASE_STATUS_H
#define IG_BASE_STATUS_H

#include "runtime/base/ingot_status.h"

#ifdef __cplusplus
extern "C" {
#endif

// Sets the thread's message (printf format, at most 2047 bytes kept) and returns `status`.
ig_status ig_fail(ig_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));
// Puts "prefix: " in front of the present message and returns `status`: for callers that know the file or layer.
ig_status ig_fail_prefix(ig_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));
// Copies the message aside and back, so that cleanup that itself fails keeps the first error.
void ig_error_clear(void);

// A back end that is loaded at run time has its own copy of floor 0 and writes its messages where its host reads them.
typedef char *(*ig_message_fn)(void);  // the calling thread's message: 2048 bytes
ig_message_fn ig_error_place(void);
void ig_error_share(ig_message_fn place);

#define IG_TRY(expr)                   \
  do {                                 \
    ig_status ig_try_status_ = (expr); \
    if (ig_try_status_ != IG_OK)       \
      return ig_try_status_;           \
  } while (0)

// For functions that own something: `ig_status status = IG_OK;` at the top, `done:` label with the cleanup below.
#define IG_GOTO(expr)    \
  do {                   \
    status = (expr);     \
    if (status != IG_OK) \
      goto done;         \
  } while (0)

#ifdef __cplusplus
}
#endif
#endif
