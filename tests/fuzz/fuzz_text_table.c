// Tables of texts (CSV, TSV, JSON) and words with tags (CoNLL): the first byte chooses the form, the second what is
// asked.
#include "runtime/base/text.h"
#include "tests/fuzz/fuzz_dataset.h"

int LLVMFuzzerInitialize(int *argc, char ***argv) { return ig_make_dirs("t") != IG_OK; }

static unsigned sum_of(const char *text, size_t n) {
  unsigned sum = 0;
  for (size_t i = 0; i < n; i++)
    sum += (unsigned char)text[i];
  return sum;
}

static void check_utf8(const char *text, size_t n) {
  size_t at = 0;
  for (size_t k; at < n && (k = ig_utf8_length(text + at)) > 0;)
    at += k;
  fuzz_demand(at == n, "a text is UTF-8 without NUL");
}

static void check_text(const ig_dataset *d, const ig_text_sample *t) {
  if (d->task == IG_TASK_TAG) {
    fuzz_demand(t->words && t->n_words > 0, "a sentence has words");
    for (size_t i = 0; i < t->n_words; i++) {
      check_utf8(t->words[i], strlen(t->words[i]));
      fuzz_demand(*t->words[i] && sum_of(t->words[i], strlen(t->words[i])) > 0, "no word is empty");
      fuzz_demand(!t->word_labels || (t->word_labels[i] >= 0 && t->word_labels[i] < d->n_classes), "tags are in range");
    }
    return;
  }
  check_utf8(t->first, t->n_first);
  if (t->second)
    check_utf8(t->second, t->n_second);
  fuzz_demand(t->first && !t->words && sum_of(t->first, t->n_first) > 0, "no text is empty");
  fuzz_demand(!t->second || sum_of(t->second, t->n_second) > 0, "no second text is empty");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  static const char *const names[] = {"t/m.csv", "t/m.tsv", "t/m.jsonl", "t/m.json", "t/m.conll", "t/m.txt"};
  static const ig_task tasks[] = {IG_TASK_AUTO, IG_TASK_REGRESS, IG_TASK_MULTILABEL, IG_TASK_TAG};
  static const char *const columns[] = {"x", "y"};
  if (n < 2)
    return 0;
  const char *path = names[data[0] % 6];
  const int ask = data[1];
  fuzz_put(path, data + 2, n - 2);
  ig_dataset *d = fuzz_open(&(ig_dataset_options){.size = sizeof(ig_dataset_options),
                                                  .data = path,
                                                  .text = true,
                                                  .task = tasks[ask & 3],
                                                  .needs_labels = !(ask & 4),
                                                  .strict = ask & 8,
                                                  .allow_one_class = ask & 16,
                                                  .columns = ask & 32 ? columns : NULL,
                                                  .n_columns = ask & 32 ? 2 : 0,
                                                  .text_column = ask & 64 ? "a" : NULL,
                                                  .text2_column = ask & 128 ? "b" : NULL});
  for (size_t i = 0; d && i < d->n; i++)
    check_text(d, &d->texts[i]);
  ig_dataset_close(d);
  return fuzz_end();
}
