// Ingot's public interface: one call a verb, with the keys of the command line (docs/keys.md). Rule: everything hangs
// on the call's arguments; no global state, no signal handler, nothing printed, no exit.
#ifndef INGOT_H
#define INGOT_H

#include <stddef.h>

#include "ingot_status.h"

#ifdef __cplusplus
extern "C" {
#endif

// What a call reports while it works. Any function may be NULL. All are called on the calling thread.
typedef struct ig_callbacks {
  size_t size;  // sizeof(ig_callbacks)
  void *user;
  // A line for people (no newline at its end): warnings, evaluations, where files are.
  void (*line)(void *user, const char *text);
  // One line of progress that replaces the one before; "" clears it.
  void (*progress)(void *user, const char *text);
  // The result: one JSON object, or for predict one a sample, for tokenizer one a text.
  void (*result)(void *user, const char *json);
  // The result as a text table for people, in place of JSON (predict's table, checkpoint list, keys, help, ...).
  void (*table)(void *user, const char *text);
  // Asked between steps (files, texts) of what takes long: 0 = go on, else stop at the step's end, train with a
  // checkpoint.
  int (*should_stop)(void *user);
} ig_callbacks;

// Runs a verb ("train", "eval", "predict", "plan", "convert", "checkpoint", "data", "tokenizer", "report", "keys",
// "doctor", "demo", "completion", "help", "version"; "bench" is a program of its own) with its words: key=value,
// --key value, --key=value, PATH. Returns IG_OK, IG_STOPPED (by should_stop or time_limit=; ig_error_message() names
// the checkpoint where one was written), or an error with ig_error_message(); a stopped predict is IG_ERR_PARTIAL. Safe
// from several threads on different run folders. Numbers have a point in whatever locale the caller is: until it
// returns, LC_NUMERIC of the calling thread, and so of the callbacks, is C.
IG_PUBLIC ig_status ig_call(const char *verb, int n_words, const char *const *words, const ig_callbacks *callbacks);

// "0.1.0".
IG_PUBLIC const char *ig_version(void);

#ifdef __cplusplus
}
#endif
#endif
