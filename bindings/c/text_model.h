// A text model as a verb finds it: sizes, names and tokenizer, by keys or by what the weights say. Rule: what a folder
// or a file of weights says holds; a key that contradicts it is an error.
#ifndef IG_BINDINGS_TEXT_MODEL_H
#define IG_BINDINGS_TEXT_MODEL_H

#include "bindings/c/call.h"
#include "models/bert.h"
#include "runtime/data/dataset.h"
#include "runtime/tokenizer/tokenizer.h"
#include "runtime/train/weights.h"

typedef struct ig_text_model {
  ig_bert_model bert;  // not to be moved
  ig_tokenizer *tokenizer;
  char *folder;  // model= as a folder with config.json, or NULL
  int max_length;
} ig_text_model;

// model=NAME, model=FOLDER (with config.json), or NULL: the weights'. *model: of the table, or text->bert.model.
// info: what weights= says of itself; NULL without.
ig_status ig_find_model(const char *name, const ig_weights_info *info, ig_text_model *text, const ig_model **model);
// The head that a file of weights has: its task's, else by its parts.
ig_text_head ig_head_of_weights(const ig_weights_info *info);
// task=embed: pooling=, else what the weights' folder (or NULL) says as one of sentence-transformers, else the mean.
// IG_ERR_UNSUPPORTED where it says what is not built.
ig_status ig_choose_pooling(ig_call_state *c, const char *folder, ig_text_head *out);
// task=embed without max_length=: the length that such a folder cuts texts to, where that is less.
ig_status ig_choose_embed_length(ig_call_state *c, const char *folder, ig_text_model *text);
// What such a folder says of its vectors, into the folder `to`; NULL: a note that it is lost.
ig_status ig_copy_pooling(ig_call_state *c, const char *folder, const char *to);
// Name of Hugging Face's class for a model with that head.
const char *ig_architecture(ig_text_head head, bool nsp);
// Hugging Face's problem_type of a task; NULL where it has none.
const char *ig_problem_type(ig_task task);
// tokenizer=, else of the model's folder, else of the weights', else of `run` (a run folder that may be there already,
// or NULL), else, for a fresh model and task=mlm, learned from data= (vocabulary= tokens); the length that texts are
// cut to (max_length=, else the weights', else as long as model and tokenizer allow); a fresh model's vocabulary
// becomes the tokenizer's. IG_ERR_USAGE where there is no tokenizer, IG_ERR_MISMATCH where its vocabulary is larger
// than the model's.
ig_status ig_open_tokenizer(ig_call_state *c, const ig_weights_info *info, const char *run, ig_text_model *text);
// Opens a tokenizer and notes what its files say against each other.
ig_status ig_open_tokenizer_file(ig_call_state *c, const char *path, ig_tokenizer **out);
void ig_text_model_fini(ig_text_model *text);

#endif
