// The verbs and the one table of keys. Rule: a key that is in the table works; one that does not work is not in it.
#ifndef IG_BINDINGS_KEYS_H
#define IG_BINDINGS_KEYS_H

#include "runtime/base/config.h"

// In the order of ig_key_table.verbs.
enum ig_verb {
  IG_VERB_TRAIN = 0,
  IG_VERB_EVAL,
  IG_VERB_PREDICT,
  IG_VERB_PLAN,
  IG_VERB_CONVERT,
  IG_VERB_CHECKPOINT,
  IG_VERB_DATA,
  IG_VERB_TOKENIZER,
  IG_VERB_REPORT,
  IG_VERB_DEMO,
  IG_VERB_BENCH,
  IG_VERB_DOCTOR,
  IG_VERB_KEYS,
  IG_VERB_COMPLETION,
  IG_VERB_HELP,
  IG_VERB_VERSION,
  IG_N_VERBS
};

extern const ig_key_table ig_keys;
// One line of usage and one of meaning, by enum ig_verb.
extern const char *const ig_verb_usage[IG_N_VERBS];
extern const char *const ig_verb_meaning[IG_N_VERBS];

#endif
