// demo: own data, a training, an evaluation, predictions and the report. Rule: it does what a user would type, by the
// same verbs.
#include <stdlib.h>
#include <string.h>

#include "bindings/c/demo.h"
#include "runtime/base/mem.h"
#include "runtime/data/defects.h"

enum { PICTURE_SIDE = 96, MODEL_SIDE = 64, SHOWN = 12 };

static void on_picture(ig_call_state *outer, const json_t *line) {
  const char *path = json_string_value(json_object_get(line, "path"));
  const char *label = json_string_value(json_object_get(line, "label"));
  const char *slash = path ? strrchr(path, '/') : NULL;
  if (slash && label)
    ig_note(outer, "  %-20s -> %-12s %5.1f %% sure%s", slash + 1, label,
            100 * json_real_value(json_object_get(line, "p")),
            strncmp(slash + 1, label, strlen(label)) != 0 ? "   wrong" : "");
}

static ig_status train(ig_demo *i, const char *out, ig_demo_words *w) {
  IG_TRY(ig_demo_add(w, "model=%s", ig_demo_choice(i->outer, "model", "resnet20")));
  IG_TRY(ig_demo_add(w, "data=%s/data", out));
  IG_TRY(ig_demo_add(w, "out=%s/run", out));
  IG_TRY(ig_demo_add(w, "epochs=%s", ig_demo_choice(i->outer, "epochs", "20")));
  IG_TRY(ig_demo_add(w, "image_size=%d", MODEL_SIDE));
  IG_TRY(ig_demo_add(w, "augment=light"));
  IG_TRY(ig_demo_add(w, "vflip=1"));
  IG_TRY(ig_demo_add(w, "transpose=1"));
  IG_TRY(ig_demo_add(w, "resume=auto"));
  IG_TRY(ig_demo_add_common(i->outer, w));
  return ig_demo_call(i, "train", w);
}

static ig_status predict(ig_demo *i, const char *out, ig_demo_words *w) {
  IG_TRY(ig_demo_add(w, "weights=%s/run", out));
  for (int n = 0; n < SHOWN; n++) {
    const char *cls = ig_defects_class_name(n % IG_DEFECTS_N_CLASSES);
    IG_TRY(ig_demo_add(w, "%s/data/test/%s/%s_%04d.png", out, cls, cls, n / IG_DEFECTS_N_CLASSES));
  }
  return ig_demo_call(i, "predict", w);
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

static ig_status pictures(ig_call_state *c) {
  ig_status status = IG_OK;
  ig_demo i = {.outer = c, .predicted = on_picture};
  ig_demo_words w = {.n = 0};
  char *data = NULL;
  ig_text text = {0};
  json_t *result = NULL, *test = NULL;
  const char *out = ig_demo_choice(c, "out", "ingot-demo");
  int per_class = atoi(ig_demo_choice(c, "samples", "1800")) / IG_DEFECTS_N_CLASSES, n_test = per_class / 5;
  IG_GOTO(ig_want_folder("out=", out));
  IG_GOTO(ig_asprintf(&data, "%s/data", out));
  ig_note(c, "1. draws %d pictures of steel surfaces with %d kinds of defects, a folder a kind: %s",
          per_class * IG_DEFECTS_N_CLASSES, IG_DEFECTS_N_CLASSES, data);
  IG_GOTO(ig_defects_write(data, (uint64_t)ig_config_int(c->config, "seed"), per_class - n_test, n_test, PICTURE_SIDE));
  ig_note(c, "2. trains on them; the %d pictures of the part test stay unseen", n_test * IG_DEFECTS_N_CLASSES);
  IG_GOTO(train(&i, out, &w));
  result = json_incref(i.result);
  ig_demo_clear(&w);
  IG_GOTO(ig_demo_add(&w, "weights=%s/run", out));
  IG_GOTO(ig_demo_add(&w, "data=%s", data));
  IG_GOTO(ig_demo_add(&w, "part=test"));
  IG_GOTO(ig_demo_add_common(c, &w));
  IG_GOTO(ig_demo_call(&i, "eval", &w));
  test = json_incref(i.result);
  IG_GOTO(ig_scores_line(test, &text));
  ig_note(c, "3. evaluates the unseen pictures: %s", text.data);
  ig_demo_clear(&w);
  ig_note(c, "4. predicts some of them (each file is named after its true kind)");
  IG_GOTO(predict(&i, out, &w));
  if (json_object_set(result, "test", test))
    IG_GOTO(ig_no_json());
  text.n = 0;
  IG_GOTO(end_text(out, result, test, &text));
  status = ig_answer(c, result, text.data);
done:
  ig_demo_clear(&w);
  ig_free(text.data);
  json_decref(i.result);
  json_decref(result);
  json_decref(test);
  ig_free(data);
  return status;
}

ig_status ig_verb_demo(ig_call_state *c) {
  const bool text = ig_config_n_paths(c->config) > 0 && !strcmp(ig_config_path(c->config, 0), "text");
  IG_TRY(ig_want_paths(c, 0, text));
  return text ? ig_demo_text(c) : pictures(c);
}
