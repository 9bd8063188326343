// What predict says of a sample: a JSON line or a row of the table, and a row of the CSV file. Rule: one place knows
// how each task's answer looks.
#ifndef IG_BINDINGS_PREDICT_ANSWERS_H
#define IG_BINDINGS_PREDICT_ANSWERS_H

#include "bindings/c/options.h"

typedef struct ig_answers {
  ig_call_state *call;
  const ig_use *use;
  double reject;  // "unsure" below this probability
  ig_text csv, table;
  bool wants_csv;
  size_t failed, not_finite;   // samples that got an error line; of those, such with an answer that is no number
  int width;                   // of the table's first column
  const ig_text_sample *text;  // of the sample, said beside its path; NULL for pictures
  char shown[IG_QUOTE_BYTES];
} ig_answers;

ig_status ig_answers_begin(ig_answers *a);  // the CSV file's header: path, what the task tells, error
// outputs [n of the head]; of regress they become the data's units. Here and with tags an answer that is not finite is
// an error line.
ig_status ig_answer_sample(ig_answers *a, const char *path, float *outputs);
// A sample that could not be read; counts it as failed. Of vectors the line says that the .npy file has no row for it.
ig_status ig_answer_error(ig_answers *a, const char *path, const char *reason);
// A text's words with their tags: logits [n_words, n], a row a word.
ig_status ig_answer_tags(ig_answers *a, const char *path, const char *const *words, size_t n_words,
                         const float *logits);
ig_status ig_answer_vector(ig_answers *a, const char *path, const float *vector, int n);
// An error line where the outputs [n] are not all finite. *told: whether it was given.
ig_status ig_answer_not_finite(ig_answers *a, const char *path, const float *x, size_t n, bool *told);
// Shows the table so far, and forgets it.
void ig_answers_show(ig_answers *a);
void ig_answers_fini(ig_answers *a);

#endif
