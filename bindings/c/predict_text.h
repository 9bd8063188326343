// predict for models that read text: tables, files with a text a line, folders, standard input.
#ifndef IG_BINDINGS_PREDICT_TEXT_H
#define IG_BINDINGS_PREDICT_TEXT_H

#include "bindings/c/predict_answers.h"

// All paths of the call. n: texts, and paths of which no text could be read.
ig_status ig_predict_texts(ig_answers *a, ig_use *use, size_t *n);

#endif
