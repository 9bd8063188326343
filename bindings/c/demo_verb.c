// demo: own data, a training, an evaluation, predictions and the report. Rule: it does what a user would type, by the
// same verbs.
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "bindings/c/call.h"
#include "runtime/base/mem.h"
#include "runtime/data/defects.h"

enum { PICTURE_SIDE = 96, MODEL_SIDE = 64, SHOWN = 12, MAX_WORDS = 24 };

// The last result of an inner call, and passing on of everything else.
typedef struct inner {
  ig_call_state *outer;
  json_t *result;
} inner;

static void on_line(void *user, const char *text) { ig_note_text(((inner *)user)->outer, text); }
static void on_progress(void *user, const char *text) { ig_show_progress(((inner *)user)->outer, text); }
static int on_stop(void *user) { return ig_asked_to_stop(((inner *)user)->outer); }

static void on_result(void *user, const char *json) {
  inner *i = user;
  json_decref(i->result);
  i->result = json_loads(json, 0, NULL);
}

static void on_prediction(void *user, const char *json) {
  inner *i = user;
  json_t *line = json_loads(json, 0, NULL);
  const char *path = json_string_value(json_object_get(line, "path"));
  const char *label = json_string_value(json_object_get(line, "label"));
  const char *slash = path ? strrchr(path, '/') : NULL;
  if (slash && label)
    ig_note(i->outer, "  %-20s -> %-12s %5.1f %% sure%s", slash + 1, label,
            100 * json_real_value(json_object_get(line, "p")),
            strncmp(slash + 1, label, strlen(label)) != 0 ? "   wrong" : "");
  json_decref(line);
}

typedef struct words {
  char *items[MAX_WORDS];
  int n;
} words;

static ig_status add(words *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
static ig_status add(words *w, const char *format, ...) {
  char text[4352];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  IG_TRY(ig_strdup(text, &w->items[w->n]));
  w->n++;
  return IG_OK;
}

static void clear(words *w) {
  while (w->n)
    ig_free(w->items[--w->n]);
}

static ig_status add_common(const ig_call_state *c, words *w) {
  static const char *const names[] = {"device", "precision", "threads", "isa", "seed"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    IG_TRY(add(w, "%s=%s", names[i], ig_config_str(c->config, names[i])));
  return IG_OK;
}

static ig_status call(inner *i, const char *verb, const words *w) {
  bool predicts = !strcmp(verb, "predict");
  ig_callbacks callbacks = {.size = sizeof callbacks,
                            .user = i,
                            .line = on_line,
                            .progress = on_progress,
                            .result = predicts ? on_prediction : on_result,
                            .should_stop = on_stop};
  return ig_call(verb, w->n, (const char *const *)w->items, &callbacks);
}

static ig_status train(inner *i, const char *out, words *w) {
  const ig_config *k = i->outer->config;
  IG_TRY(add(w, "model=%s", ig_config_has_value(k, "model") ? ig_config_str(k, "model") : "resnet20"));
  IG_TRY(add(w, "data=%s/data", out));
  IG_TRY(add(w, "out=%s/run", out));
  IG_TRY(add(w, "epochs=%s", ig_config_has_value(k, "epochs") ? ig_config_str(k, "epochs") : "20"));
  IG_TRY(add(w, "image_size=%d", MODEL_SIDE));
  IG_TRY(add(w, "augment=light"));
  IG_TRY(add(w, "vflip=1"));
  IG_TRY(add(w, "transpose=1"));
  IG_TRY(add(w, "resume=auto"));
  IG_TRY(add_common(i->outer, w));
  return call(i, "train", w);
}

static ig_status predict(inner *i, const char *out, words *w) {
  IG_TRY(add(w, "weights=%s/run", out));
  for (int n = 0; n < SHOWN; n++) {
    const char *cls = ig_defects_class_name(n % IG_DEFECTS_N_CLASSES);
    IG_TRY(add(w, "%s/data/test/%s/%s_%04d.png", out, cls, cls, n / IG_DEFECTS_N_CLASSES));
  }
  return call(i, "predict", w);
}

static ig_status end_text(const char *out, const json_t *result, const json_t *test, ig_text *text) {
  int seconds = (int)(json_number_value(json_object_get(result, "seconds")) + 0.5);
  IG_TRY(ig_text_addf(text, "\nUnseen pictures, after %d min %02d s of training:\n", seconds / 60, seconds % 60));
  IG_TRY(ig_scores_text(test, text));
  return ig_text_addf(text,
                      "\nreport       %s/run/report.html (for a browser)\n"
                      "the same by hand, and then with pictures of your own:\n"
                      "  ingot train model=resnet18 data=%s/data\n"
                      "  ingot predict weights=%s/run %s/data/test/pits\n",
                      out, out, out, out);
}

ig_status ig_verb_demo(ig_call_state *c) {
  ig_status status = IG_OK;
  inner i = {.outer = c};
  words w = {.n = 0};
  char *data = NULL;
  ig_text text = {0};
  json_t *result = NULL, *test = NULL;
  IG_TRY(ig_want_paths(c, 0, 0));
  const char *out = ig_config_has_value(c->config, "out") ? ig_config_str(c->config, "out") : "ingot-demo";
  int per_class = (int)(ig_config_int(c->config, "samples") / IG_DEFECTS_N_CLASSES), n_test = per_class / 5;
  IG_GOTO(ig_asprintf(&data, "%s/data", out));
  ig_note(c, "1. draws %d pictures of steel surfaces with %d kinds of defects, a folder a kind: %s",
          per_class * IG_DEFECTS_N_CLASSES, IG_DEFECTS_N_CLASSES, data);
  IG_GOTO(ig_defects_write(data, (uint64_t)ig_config_int(c->config, "seed"), per_class - n_test, n_test, PICTURE_SIDE));
  ig_note(c, "2. trains on them; the %d pictures of the part test stay unseen", n_test * IG_DEFECTS_N_CLASSES);
  IG_GOTO(train(&i, out, &w));
  result = json_incref(i.result);
  clear(&w);
  IG_GOTO(add(&w, "weights=%s/run", out));
  IG_GOTO(add(&w, "data=%s", data));
  IG_GOTO(add(&w, "part=test"));
  IG_GOTO(add_common(c, &w));
  IG_GOTO(call(&i, "eval", &w));
  test = json_incref(i.result);
  IG_GOTO(ig_scores_line(test, &text));
  ig_note(c, "3. evaluates the unseen pictures: %s", text.data);
  clear(&w);
  ig_note(c, "4. predicts some of them (each file is named after its true kind)");
  IG_GOTO(predict(&i, out, &w));
  if (json_object_set(result, "test", test))
    IG_GOTO(ig_no_json());
  text.n = 0;
  IG_GOTO(end_text(out, result, test, &text));
  status = ig_answer(c, result, text.data);
done:
  clear(&w);
  ig_free(text.data);
  json_decref(i.result);
  json_decref(result);
  json_decref(test);
  ig_free(data);
  return status;
}
