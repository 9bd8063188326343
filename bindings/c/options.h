// From keys to the options of the libraries. Rule: texts and lists are borrowed from the configuration; what is made
// here is freed by the matching fini.
#ifndef IG_BINDINGS_OPTIONS_H
#define IG_BINDINGS_OPTIONS_H

#include "bindings/c/call.h"
#include "bindings/c/text_model.h"
#include "runtime/data/dataset.h"
#include "runtime/data/mlm.h"
#include "runtime/train/session.h"
#include "runtime/train/shards.h"
#include "runtime/train/trainer.h"

// A path key becomes absolute, so that args.yaml holds from any folder. IG_ERR_NOT_FOUND where nothing is there.
ig_status ig_absolute_key(ig_call_state *c, const char *name);

// data, val and split=FILE by ig_absolute_key.
ig_status ig_absolute_data_keys(ig_call_state *c);

// device, precision, threads, isa, impl, winograd, deterministic, seed; model and classes are the caller's. cache_dir:
// ig_free by the caller.
ig_status ig_session_keys(ig_call_state *c, ig_session_options *out, char **cache_dir);
ig_status ig_check_impl_key(const ig_config *k);  // IG_ERR_USAGE where impl= names what no operation has
// Key recompute.
ig_recompute ig_recompute_key(const ig_config *c);
// model (where it is a folder), weights and tokenizer made absolute; a model folder's own weights, and none, resolved.
ig_status ig_absolute_model_keys(ig_call_state *c);
// data, val, split, seed.
ig_status ig_dataset_keys(ig_call_state *c, ig_dataset_options *out);
// What texts need beside them: tokenizer, and folders that a corpus's tokens go to (each may be NULL).
ig_status ig_text_dataset_keys(ig_call_state *c, const ig_text_model *text, const char *cache, const char *beside,
                               ig_dataset_options *out);
// Opens a data set and makes token ids of its texts, or the samples of pre-training (pairs: where no key says them).
// Of NVIDIA's shards *rows is closed after the data set, whatever is returned; text->max_length becomes their longest.
ig_status ig_open_data(ig_call_state *c, ig_text_model *text, ig_mlm_pair pairs, const ig_dataset_options *options,
                       ig_bert_rows **rows, ig_dataset **out);
// IG_ERR_MISMATCH for two texts a sample and a model without types for them.
ig_status ig_check_token_types(const ig_text_model *text, const ig_dataset *d);
// IG_ERR_MISMATCH for one text a sample where the weights were trained on two, and the reverse.
ig_status ig_check_pairs(const ig_config *k, const ig_weights_info *info, const ig_dataset *d);
// Notes of what texts lose on their way to ids, where that is worth a word: cut, unknown, no UTF-8.
void ig_describe_texts(ig_call_state *c, const ig_dataset *d);
// Pre-training: IG_ERR_DATA where no sample of the part has a token that can be masked. corpus: NULL for shards.
ig_status ig_want_maskable(const struct ig_mlm *m, const struct ig_corpus *corpus, const char *data, ig_part part);
// max_length2, phase2: windows of the second phase, ig_mlm_destroy; NULL without. text->max_length: the longer one's.
ig_status ig_second_phase(ig_call_state *c, ig_text_model *text, const ig_dataset *d, struct ig_mlm **out);
// Keys of pictures for a model of texts and the reverse, keys of pre-training for another task: IG_ERR_USAGE.
ig_status ig_refuse_misfits(const ig_call_state *c, const ig_model *model, ig_task task);
int ig_thread_count(const ig_call_state *c);

// Everything of a train: opens the data, fills in the defaults by model and data.
typedef struct ig_train_setup {
  ig_train_options options;
  ig_dataset *data;
  float *class_weights;
  ig_text_model text;
  ig_weights_info info;  // what weights= says of itself; empty without
  char *cache_dir, *corpora, *args_yaml, *environment, *out, *resume_path, *config_json;
  char config_hash[65];
  ig_bert_rows *rows;     // of shards
  struct ig_mlm *second;  // of max_length2
} ig_train_setup;
// Part of the following one: options and config_hash from the keys, whose defaults are set, and the open data.
ig_status ig_fill_train_options(ig_call_state *c, ig_train_setup *setup);
// setup starts zeroed (out and resume_path may be set); fini is due whatever is returned.
ig_status ig_train_setup_init(ig_call_state *c, ig_train_setup *setup);
void ig_train_setup_fini(ig_train_setup *setup);

// Weights for eval and predict: a session with them, and the evaluator's geometry by keys, else by the file, else by
// the model. Close with ig_use_fini.
typedef struct ig_use {
  ig_weights_info info;
  ig_text_model text;
  ig_head head;  // borrows from info and names
  const ig_model *model;
  ig_session *session;
  bool embed;  // texts become vectors: there is no head
  int image_size, batch;
  double crop_ratio;
  float mean[3], std[3];
  char *cache_dir, *corpora;
  char **names;  // [info.n_classes] class names; numbers where the file has none
} ig_use;
// Reads what the file says and finds the model; the session follows by ig_use_session, when the classes are known.
ig_status ig_use_init(ig_call_state *c, ig_use *use);
ig_status ig_use_session(ig_call_state *c, ig_use *use);
void ig_use_fini(ig_use *use);

// Defaults by what there is (bindings/c/defaults.c), set below config files and command line.
typedef struct ig_facts {
  const ig_model *model;
  ig_task task;
  int64_t n_train;  // samples
  int n_classes;
  int typical_side;  // of the median picture, the shorter one
  bool oblong;       // its longer one is over 4/3 of that
  bool pretrained;   // weights= is given
  bool in_16_bits;   // what the step computes in
  int width;         // of a text model, else 0
} ig_facts;
ig_status ig_set_defaults(ig_config *config, const ig_facts *facts);

#endif
