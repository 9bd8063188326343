// What the two demos share: calling verbs as a user would, with the notes passed on. Rule: a demo has no door of its
// own.
#ifndef IG_BINDINGS_DEMO_H
#define IG_BINDINGS_DEMO_H

#include "bindings/c/call.h"

// The last result of an inner call, and passing on of everything else.
typedef struct ig_demo {
  ig_call_state *outer;
  json_t *result;                                               // json_decref
  void (*predicted)(ig_call_state *outer, const json_t *line);  // what `predict` answers, a line each
} ig_demo;

enum { IG_DEMO_WORDS = 24 };
typedef struct ig_demo_words {
  char *items[IG_DEMO_WORDS];
  int n;
} ig_demo_words;

ig_status ig_demo_add(ig_demo_words *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
// device, precision, threads, isa and seed as the demo has them.
ig_status ig_demo_add_common(const ig_call_state *c, ig_demo_words *w);
void ig_demo_clear(ig_demo_words *w);
ig_status ig_demo_call(ig_demo *d, const char *verb, const ig_demo_words *w);

// value of the key, or the demo's own where it is not given
const char *ig_demo_choice(const ig_call_state *c, const char *key, const char *own);

ig_status ig_demo_text(ig_call_state *c);  // demo text

#endif
