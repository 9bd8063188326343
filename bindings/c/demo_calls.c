// The inner calls of the demos. Rule: see demo.h.
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "bindings/c/demo.h"
#include "runtime/base/mem.h"

static void on_line(void *user, const char *text) { ig_note_text(((ig_demo *)user)->outer, text); }
static void on_progress(void *user, const char *text) { ig_show_progress(((ig_demo *)user)->outer, text); }
static int on_stop(void *user) { return ig_asked_to_stop(((ig_demo *)user)->outer); }

static void on_result(void *user, const char *json) {
  ig_demo *d = user;
  json_decref(d->result);
  d->result = json_loads(json, 0, NULL);
}

static void on_prediction(void *user, const char *json) {
  ig_demo *d = user;
  json_t *line = json_loads(json, 0, NULL);
  if (line)
    d->predicted(d->outer, line);
  json_decref(line);
}

ig_status ig_demo_add(ig_demo_words *w, const char *format, ...) {
  char text[4352];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  IG_TRY(ig_strdup(text, &w->items[w->n]));
  w->n++;
  return IG_OK;
}

void ig_demo_clear(ig_demo_words *w) {
  while (w->n)
    ig_free(w->items[--w->n]);
}

ig_status ig_demo_add_common(const ig_call_state *c, ig_demo_words *w) {
  static const char *const names[] = {"device", "precision", "threads", "isa", "seed"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    IG_TRY(ig_demo_add(w, "%s=%s", names[i], ig_config_str(c->config, names[i])));
  return IG_OK;
}

ig_status ig_demo_call(ig_demo *d, const char *verb, const ig_demo_words *w) {
  ig_callbacks callbacks = {.size = sizeof callbacks,
                            .user = d,
                            .line = on_line,
                            .progress = on_progress,
                            .result = strcmp(verb, "predict") ? on_result : on_prediction,
                            .should_stop = on_stop};
  return ig_call(verb, w->n, (const char *const *)w->items, &callbacks);
}

const char *ig_demo_choice(const ig_call_state *c, const char *key, const char *own) {
  return ig_config_has_value(c->config, key) ? ig_config_str(c->config, key) : own;
}
