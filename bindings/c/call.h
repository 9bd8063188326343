// One call of a verb: its keys and where its answers go. Rule: a verb answers through these functions only.
#ifndef IG_BINDINGS_CALL_H
#define IG_BINDINGS_CALL_H

#include <jansson.h>
#include <stdbool.h>

#include "bindings/c/ingot.h"
#include "bindings/c/keys.h"
#include "runtime/base/status.h"
#include "runtime/base/text.h"

typedef struct ig_call_state {
  const char *verb;
  ig_config *config;
  ig_callbacks callbacks;  // absent functions are NULL
  bool json, quiet;
  int n_words;  // as given
  const char *const *words;
  json_t *warnings;  // of ig_warn_text; NULL: none
} ig_call_state;

// The verbs. IG_ERR_USAGE before any work.
ig_status ig_verb_train(ig_call_state *c);
ig_status ig_verb_eval(ig_call_state *c);
ig_status ig_verb_predict(ig_call_state *c);
ig_status ig_verb_plan(ig_call_state *c);
ig_status ig_verb_convert(ig_call_state *c);
ig_status ig_verb_checkpoint(ig_call_state *c);
ig_status ig_verb_data(ig_call_state *c);
ig_status ig_data_shard(ig_call_state *c);  // data shard
ig_status ig_verb_tokenizer(ig_call_state *c);
ig_status ig_verb_report(ig_call_state *c);
ig_status ig_verb_demo(ig_call_state *c);
ig_status ig_verb_bench(ig_call_state *c);
ig_status ig_verb_doctor(ig_call_state *c);
ig_status ig_verb_keys(ig_call_state *c);
ig_status ig_verb_completion(ig_call_state *c);
ig_status ig_verb_help(ig_call_state *c);
ig_status ig_verb_version(ig_call_state *c);

// A line for people; nothing where quiet. ig_note_text has the shape of the libraries' warn callbacks.
void ig_note(ig_call_state *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
void ig_note_text(void *call_state, const char *text);
void ig_show_progress(void *call_state, const char *text);
int ig_asked_to_stop(void *call_state);
// A note that the answer repeats: ig_answer_warnings adds all of them to it, a list `warnings`.
void ig_warn_text(void *call_state, const char *text);
ig_status ig_answer_warnings(const ig_call_state *c, json_t *object);

// JSON where it was asked for (or where there is no receiver of tables), else `table`, or where that is NULL a table
// made from the object.
ig_status ig_answer(ig_call_state *c, json_t *object, const char *table);
// The object as text for people: scalars a line each, lists of objects as columns.
ig_status ig_json_table(const json_t *object, ig_text *out);
// What train and eval tell of a part (bindings/c/scores_text.c): a line, as "accuracy 98.61 %: 5 of 359 wrong (...)",
// and lines with a table of the classes. Numbers and several labels: as ig_json_table.
ig_status ig_scores_line(const json_t *scores, ig_text *out);
ig_status ig_scores_text(const json_t *scores, ig_text *out);
// IG_ERR_MEMORY for a NULL that jansson gave.
ig_status ig_no_json(void);

// IG_ERR_USAGE with the verb's usage unless it has min..max paths.
ig_status ig_want_paths(const ig_call_state *c, size_t min, size_t max);
ig_status ig_want_key(const ig_call_state *c, const char *name);  // IG_ERR_USAGE unless it has a value
// Before any work: the file that key `name` gives, if it does, can be written there. IG_ERR_USAGE with the reason.
ig_status ig_want_writable(const ig_call_state *c, const char *name);
ig_status ig_want_folder(const char *key, const char *path);  // the same of a folder; key: "out=", or "" of a bare word

// Text of every byte sequence: bytes that are not UTF-8 become \xNN. NULL: no memory.
json_t *ig_json_text(const char *text);
ig_status ig_environment_json(json_t **out);  // processor, memory, libraries, versions: doctor's and environment.json
const char *ig_git_hash(void);                // "unknown" where it was built outside a checkout
const char *ig_build_text(void);              // compiler and build type

// $XDG_CACHE_HOME/ingot or ~/.cache/ingot (ig_free); NULL where neither is set.
ig_status ig_cache_folder(char **out);

#endif
