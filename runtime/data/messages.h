// Sentences about machines and orders, for the text demo: raw documents, and short messages with one of ten intents.
// Rule: a text is a pure function of (seed, part, class, index), so the demo's data need neither a network nor a
// licence.
//
// Every intent has 24 words: 8 each that say what happened, what was seen, and what something is like. A document uses
// all of one intent, without naming it. Messages to learn from use the first 3 of each 8, messages to be judged by the
// other 5: no word that tells the intent is in both, and the sentences around these words are the same for all machines
// and for all orders. So labels alone tell a machine from an order and no more; which words mean the same must be
// learned from the documents.
#ifndef IG_DATA_MESSAGES_H
#define IG_DATA_MESSAGES_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/base/status.h"
#include "runtime/base/text.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
  IG_MESSAGES_N_CLASSES = 10,
  IG_MESSAGES_N_SLOTS = 3,  // what happened, what was seen, what it is like
  IG_MESSAGES_N_WORDS = 8,  // of a slot
  IG_MESSAGES_N_SHOWN = 3,  // of these in messages to learn from
};

typedef enum ig_messages_part { IG_MESSAGES_TRAIN, IG_MESSAGES_TEST } ig_messages_part;

// "billing", "breakage", "delay", "heat", "jam", "leak", "mixup", "noise", "power", "praise": sorted, as a data set
// numbers its labels. NULL outside 0..9.
const char *ig_messages_class_name(int cls);
// A word that tells the class; the first IG_MESSAGES_N_SHOWN of a slot are those of training messages. NULL out of
// range.
const char *ig_messages_word(int cls, int slot, int i);

// Appends one message of one to four sentences, without a line break, to *out. IG_ERR_USAGE: class or part out of
// range.
ig_status ig_messages_text(uint64_t seed, ig_messages_part part, int cls, uint64_t index, ig_text *out);
// Appends document `index`, an account of one incident of six to nine sentences on a line, with its line break.
ig_status ig_messages_document(uint64_t seed, uint64_t index, ig_text *out);

// Writes folder/corpus/documents.txt (a blank line between documents), folder/messages/train.csv and test.csv (columns
// text and label), and folder/shown.txt (a message a line and class, of the test part's words), with the same bytes for
// the same arguments. Where the folder already holds exactly this set, nothing is written; a set of other arguments, or
// an interrupted one, is replaced, and folder/vocabulary, which is made of the documents, goes with it. IG_ERR_USAGE: a
// count below 1 or over a million, or `folder` holds entries of these names that are not from here.
ig_status ig_messages_write(const char *folder, uint64_t seed, int n_documents, int n_train_per_class,
                            int n_test_per_class);

#ifdef __cplusplus
}
#endif
#endif
