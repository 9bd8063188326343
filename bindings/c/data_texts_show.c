// The report of texts for people. Rule: it says what the answer's JSON says; lists that are cut say so.
#include <stdio.h>
#include <string.h>

#include "bindings/c/data_texts.h"
#include "runtime/base/text.h"

enum { ROWS = 10 };

static double number(const json_t *object, const char *key) { return json_number_value(json_object_get(object, key)); }
static const char *word(const json_t *object, const char *key) {
  return json_string_value(json_object_get(object, key));
}

static ig_status more(ig_text *t, size_t n) {
  return n > ROWS ? ig_text_addf(t, "  ... and %zu more: --json\n", n - ROWS) : IG_OK;
}

static ig_status text_counts(const json_t *rows, const char *name, ig_text *t) {
  char shown[IG_QUOTE_BYTES];
  const json_t *row;
  size_t i;
  int width = (int)strlen(name);
  json_array_foreach(rows, i, row) {
    int n = (int)strlen(ig_shown(shown, word(row, "class")));
    width = n > width ? n : width;
  }
  if (json_array_size(rows))
    IG_TRY(ig_text_addf(t, "\n%-*s  %8s  %8s  %8s  %8s\n", width, name, "train", "val", "test", "all"));
  json_array_foreach(rows, i, row)
      IG_TRY(ig_text_addf(t, "%-*s  %8.0f  %8.0f  %8.0f  %8.0f\n", width, ig_shown(shown, word(row, "class")),
                          number(row, "train"), number(row, "val"), number(row, "test"), number(row, "all")));
  return IG_OK;
}

static ig_status text_lengths(const json_t *result, ig_text *t) {
  const json_t *row, *rows = json_object_get(result, "lengths");
  size_t i;
  IG_TRY(ig_text_addf(t, "\n%-11s  %8s  %8s  %8s\n", word(result, "unit"), "train", "val", "test"));
  json_array_foreach(rows, i, row) {
    char range[32];
    snprintf(range, sizeof range, "%.0f-%.0f", number(row, "from"), number(row, "to"));
    IG_TRY(ig_text_addf(t, "%-11s  %8.0f  %8.0f  %8.0f\n", range, number(row, "train"), number(row, "val"),
                        number(row, "test")));
  }
  return IG_OK;
}

static ig_status text_lists(const json_t *result, ig_text *t) {
  const json_t *row, *texts, *one, *unreadable = json_object_get(result, "unreadable"),
                                   *groups = json_object_get(result, "duplicates");
  char shown[IG_QUOTE_BYTES];
  size_t i, k;
  if (json_array_size(unreadable))
    IG_TRY(ig_text_addf(t, "\nunreadable\n"));
  json_array_foreach(unreadable, i, row) if (i < ROWS)
      IG_TRY(ig_text_addf(t, "  %s: %s\n", ig_shown(shown, word(row, "path")), word(row, "reason")));
  IG_TRY(more(t, json_array_size(unreadable)));
  if (json_array_size(groups))
    IG_TRY(ig_text_addf(t, "\nequal texts\n"));
  json_array_foreach(groups, i, row) {
    if (i >= ROWS)
      break;
    texts = json_object_get(row, "texts");
    IG_TRY(ig_text_addf(t, " "));
    json_array_foreach(texts, k, one) if (k < 4)
        IG_TRY(ig_text_addf(t, "%s %s (%s)", k ? "," : "", ig_shown(shown, word(one, "path")), word(one, "part")));
    if (json_array_size(texts) > 4)
      IG_TRY(ig_text_addf(t, " and %zu more", json_array_size(texts) - 4));
    IG_TRY(ig_text_addf(t, "%s\n", json_is_true(json_object_get(row, "labels_differ")) ? ": labels differ" : ""));
  }
  return more(t, json_array_size(groups));
}

static ig_status text_suspects(const json_t *rows, ig_text *t) {
  char shown[IG_QUOTE_BYTES], path[IG_QUOTE_BYTES], label[IG_QUOTE_BYTES], said[IG_QUOTE_BYTES];
  const json_t *row;
  size_t i;
  if (json_array_size(rows))
    IG_TRY(ig_text_addf(t, "\nsuspicious labels\n"));
  json_array_foreach(rows, i, row) if (i < ROWS) IG_TRY(
      ig_text_addf(t, "  %-5s  %s: labelled %s (%.3f), model says %s (%.3f)  %s\n", word(row, "part"),
                   ig_shown(path, word(row, "path")), ig_shown(label, word(row, "label")), number(row, "p_label"),
                   ig_shown(said, word(row, "said")), number(row, "p_said"), ig_shown(shown, word(row, "text"))));
  return more(t, json_array_size(rows));
}

ig_status ig_data_texts_show(const json_t *result, ig_text *t) {
  const json_t *parts = json_object_get(result, "parts"), *findings = json_object_get(result, "findings"), *row,
               *tokens = json_object_get(result, "tokens");
  size_t i;
  const bool tags = !strcmp(word(result, "task"), "tag");
  IG_TRY(ig_text_addf(t, "%s: %.0f %s (train %.0f, val %.0f%s, test %.0f), task=%s\n", word(result, "path"),
                      number(result, "texts"), ig_plural((unsigned long long)number(result, "texts"), "text", "texts"),
                      number(parts, "train"), number(parts, "val"),
                      json_is_true(json_object_get(result, "held_out")) ? " held out by training" : "",
                      number(parts, "test"), word(result, "task")));
  if (tokens)
    IG_TRY(ig_text_addf(t, "%.0f tokens, the longest text %.0f, cut to %.0f; %.2f %% unknown\n", number(tokens, "n"),
                        number(tokens, "longest"), number(tokens, "max_length"),
                        100 * number(tokens, "unknown_share")));
  IG_TRY(ig_text_addf(t, "\n%s", json_array_size(findings) ? "" : "nothing was found\n"));
  json_array_foreach(findings, i, row) IG_TRY(ig_text_addf(t, "%-8s %s\n", word(row, "severity"), word(row, "text")));
  IG_TRY(text_counts(json_object_get(result, "classes"), tags ? "tag" : "class", t));
  IG_TRY(text_lengths(result, t));
  IG_TRY(text_lists(result, t));
  return text_suspects(json_object_get(result, "suspects"), t);
}
