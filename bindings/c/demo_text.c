// demo text: own documents and messages, a vocabulary, pre-training, and the same few labelled messages learned with
// and without it. Rule: both trainings get the same words but for the weights that they start from.
#include <stdlib.h>
#include <string.h>

#include "bindings/c/demo.h"
#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/data/messages.h"

enum { N_DOCUMENTS = 4000, N_TRAIN = 16, N_TEST = 60 };  // messages a class

// Tokens of a text at most: a document is cut into windows of so many, no message has more.
#define LENGTH "max_length=64"

// "shown.txt:7": line 7 is a message of the seventh class (messages_write.c).
static void on_message(ig_call_state *outer, const json_t *line) {
  const char *path = json_string_value(json_object_get(line, "path"));
  const char *label = json_string_value(json_object_get(line, "label"));
  const char *text = json_string_value(json_object_get(line, "text"));
  const char *colon = path ? strrchr(path, ':') : NULL;
  const char *truth = colon ? ig_messages_class_name(atoi(colon + 1) - 1) : NULL;
  if (truth && label && text)
    ig_note(outer, "  %-8s %5.1f %% sure%s: %s", label, 100 * json_real_value(json_object_get(line, "p")),
            strcmp(truth, label) != 0 ? ", wrong" : "", text);
}

// A killed run may have left a part of the vocabulary; its last file tells.
static ig_status vocabulary(ig_demo *d, const char *out, ig_demo_words *w) {
  ig_status status = IG_OK;
  char *folder = NULL, *last = NULL;
  IG_GOTO(ig_asprintf(&folder, "%s/data/vocabulary", out));
  IG_GOTO(ig_path_join(&last, folder, "tokenizer_config.json"));
  if (ig_path_exists(last))
    goto done;
  IG_GOTO(ig_remove_tree(folder));
  IG_GOTO(ig_demo_add(w, "train"));
  IG_GOTO(ig_demo_add(w, "%s/data/corpus", out));
  IG_GOTO(ig_demo_add(w, "out=%s", folder));
  IG_GOTO(ig_demo_add(w, "vocabulary=2000"));
  IG_GOTO(ig_demo_add_common(d->outer, w));
  status = ig_demo_call(d, "tokenizer", w);
done:
  ig_free(folder);
  ig_free(last);
  return status;
}

static ig_status add_training(ig_demo *d, const char *out, const char *data, const char *run, ig_demo_words *w) {
  IG_TRY(ig_demo_add(w, "model=%s", ig_demo_choice(d->outer, "model", "bert_tiny")));
  IG_TRY(ig_demo_add(w, "data=%s/data/%s", out, data));
  IG_TRY(ig_demo_add(w, "tokenizer=%s/data/vocabulary", out));
  IG_TRY(ig_demo_add(w, "out=%s/%s", out, run));
  IG_TRY(ig_demo_add(w, LENGTH));
  IG_TRY(ig_demo_add(w, "resume=auto"));
  return ig_demo_add_common(d->outer, w);
}

// Small batches and no dropout: a tiny model needs many steps and does not overfit text of which it sees little twice.
static ig_status pretrain(ig_demo *d, const char *out, ig_demo_words *w) {
  IG_TRY(add_training(d, out, "corpus", "pretrained", w));
  IG_TRY(ig_demo_add(w, "task=mlm"));
  IG_TRY(ig_demo_add(w, "epochs=%s", ig_demo_choice(d->outer, "epochs", "9")));
  IG_TRY(ig_demo_add(w, "pairs=none"));
  IG_TRY(ig_demo_add(w, "mask_share=0.25"));
  IG_TRY(ig_demo_add(w, "batch=16"));
  IG_TRY(ig_demo_add(w, "lr=1e-3"));
  IG_TRY(ig_demo_add(w, "dropout=0"));
  return ig_demo_call(d, "train", w);
}

// Trains on the labelled messages, then evaluates those of the test part; *answer: {"train": ..., "test": ...}.
static ig_status learn(ig_demo *d, const char *out, const char *run, bool pretrained, json_t **answer) {
  ig_status status = IG_OK;
  ig_demo_words w = {.n = 0};
  ig_text text = {0};
  json_t *trained = NULL;
  IG_GOTO(add_training(d, out, "messages", run, &w));
  if (pretrained)
    IG_GOTO(ig_demo_add(&w, "weights=%s/pretrained", out));
  IG_GOTO(ig_demo_add(&w, "epochs=20"));
  IG_GOTO(ig_demo_add(&w, "batch=8"));
  IG_GOTO(ig_demo_add(&w, "lr=5e-4"));
  IG_GOTO(ig_demo_add(&w, "ema=0"));
  IG_GOTO(ig_demo_call(d, "train", &w));
  trained = json_incref(d->result);
  ig_demo_clear(&w);
  IG_GOTO(ig_demo_add(&w, "weights=%s/%s", out, run));
  IG_GOTO(ig_demo_add(&w, "data=%s/data/messages", out));
  IG_GOTO(ig_demo_add(&w, "part=test"));
  IG_GOTO(ig_demo_add_common(d->outer, &w));
  IG_GOTO(ig_demo_call(d, "eval", &w));
  IG_GOTO(ig_scores_line(d->result, &text));
  ig_note(d->outer, "   messages never seen: %s", text.data);
  *answer = json_pack("{s:O, s:O}", "train", trained, "test", d->result);
  if (!*answer)
    IG_GOTO(ig_no_json());
done:
  ig_demo_clear(&w);
  ig_free(text.data);
  json_decref(trained);
  return status;
}

static ig_status show(ig_demo *d, const char *out) {
  ig_demo_words w = {.n = 0};
  ig_status status = IG_OK;
  IG_GOTO(ig_demo_add(&w, "weights=%s/tuned", out));
  IG_GOTO(ig_demo_add(&w, "%s/data/shown.txt", out));
  IG_GOTO(ig_demo_add_common(d->outer, &w));
  IG_GOTO(ig_demo_call(d, "predict", &w));
done:
  ig_demo_clear(&w);
  return status;
}

static double bound(const json_t *answer, size_t end) {
  return json_number_value(json_array_get(json_object_get(json_object_get(answer, "test"), "accuracy_interval"), end));
}

static ig_status end_text(const char *out, const json_t *result, ig_text *text) {
  const json_t *tuned = json_object_get(result, "tuned"), *fresh = json_object_get(result, "fresh");
  IG_TRY(ig_text_addf(text, "\nMessages never seen, whose words for their intent no labelled message has:\n"));
  IG_TRY(ig_text_addf(text, "pre-trained    "));
  IG_TRY(ig_scores_line(json_object_get(tuned, "test"), text));
  IG_TRY(ig_text_addf(text, "\nfresh weights  "));
  IG_TRY(ig_scores_line(json_object_get(fresh, "test"), text));
  IG_TRY(ig_text_addf(text, "\n%s\n",
                      bound(tuned, 0) > bound(fresh, 1)
                          ? "pre-training helped: the intervals are apart"
                          : "pre-training did not help clearly: the intervals are not apart"));
  return ig_text_addf(
      text,
      "\nreport       %s/tuned/report.html (for a browser); both beside each other: %s/report.html\n"
      "the same by hand, and then with texts of your own:\n"
      "  ingot tokenizer train %s/data/corpus out=VOCABULARY vocabulary=2000\n"
      "  ingot train model=bert_tiny task=mlm data=%s/data/corpus tokenizer=VOCABULARY out=PRETRAINED \\\n"
      "              pairs=none mask_share=0.25 batch=16 dropout=0 max_length=64 lr=1e-3 epochs=9\n"
      "  ingot train model=bert_tiny weights=PRETRAINED data=%s/data/messages out=TUNED\n"
      "  ingot predict weights=TUNED %s/data/shown.txt\n",
      out, out, out, out, out, out);
}

static ig_status compare(ig_demo *d, const char *out) {
  ig_demo_words w = {.n = 0};
  ig_status status = IG_OK;
  IG_GOTO(ig_demo_add(&w, "%s/tuned", out));
  IG_GOTO(ig_demo_add(&w, "%s/fresh", out));
  IG_GOTO(ig_demo_add(&w, "out=%s/report.html", out));
  IG_GOTO(ig_demo_call(d, "report", &w));
done:
  ig_demo_clear(&w);
  return status;
}

// What is done before labels come into it.
static ig_status prepare(ig_demo *d, const char *out, int n_documents) {
  ig_call_state *c = d->outer;
  ig_status status = IG_OK;
  ig_demo_words w = {.n = 0};
  char *data = NULL;
  IG_GOTO(ig_want_folder("out=", out));
  IG_GOTO(ig_asprintf(&data, "%s/data", out));
  ig_note(c, "1. writes %d documents about incidents with machines and orders, and messages with %d intents: %s",
          n_documents, IG_MESSAGES_N_CLASSES, data);
  ig_note(c,
          "   by a grammar: each intent has %d words; labelled messages have %d of them, the %d messages of the part",
          IG_MESSAGES_N_SLOTS * IG_MESSAGES_N_WORDS, IG_MESSAGES_N_SLOTS * IG_MESSAGES_N_SHOWN,
          N_TEST * IG_MESSAGES_N_CLASSES);
  ig_note(c, "   test only the others; that these mean the same stands nowhere but between the lines of the documents");
  IG_GOTO(ig_messages_write(data, (uint64_t)ig_config_int(c->config, "seed"), n_documents, N_TRAIN, N_TEST));
  ig_note(c, "2. learns a vocabulary from the documents");
  IG_GOTO(vocabulary(d, out, &w));
  ig_demo_clear(&w);
  ig_note(c, "3. pre-trains on the documents, without labels: words are hidden and guessed");
  IG_GOTO(pretrain(d, out, &w));
done:
  ig_demo_clear(&w);
  ig_free(data);
  return status;
}

ig_status ig_demo_text(ig_call_state *c) {
  ig_status status = IG_OK;
  ig_demo d = {.outer = c, .predicted = on_message};
  ig_text text = {0};
  json_t *pretrained = NULL, *tuned = NULL, *fresh = NULL, *result = NULL;
  const char *out = ig_demo_choice(c, "out", "ingot-demo-text");
  const char *samples = ig_demo_choice(c, "samples", NULL);
  // A tiny model's operations are too short to be shared: with a second thread a busy machine waits more than it works.
  if (!ig_config_is_set(c->config, "threads"))
    IG_GOTO(ig_config_set(c->config, "threads", "1", IG_FROM_PRESET, "default of demo text"));
  IG_GOTO(prepare(&d, out, samples ? atoi(samples) : N_DOCUMENTS));
  pretrained = json_incref(d.result);
  ig_note(c, "4. fine-tunes it on %d labelled messages, %d an intent", N_TRAIN * IG_MESSAGES_N_CLASSES, N_TRAIN);
  IG_GOTO(learn(&d, out, "tuned", true, &tuned));
  ig_note(c, "5. the same from fresh weights: what the labels alone can teach");
  IG_GOTO(learn(&d, out, "fresh", false, &fresh));
  ig_note(c, "6. the pre-trained one reads ten other messages, one of each intent");
  IG_GOTO(show(&d, out));
  IG_GOTO(compare(&d, out));
  result = json_pack("{s:O, s:O, s:O}", "pretrained", pretrained, "tuned", tuned, "fresh", fresh);
  if (!result)
    IG_GOTO(ig_no_json());
  IG_GOTO(end_text(out, result, &text));
  status = ig_answer(c, result, text.data);
done:
  ig_free(text.data);
  json_decref(d.result);
  json_decref(pretrained);
  json_decref(tuned);
  json_decref(fresh);
  json_decref(result);
  return status;
}
