// Weights in and out: from any file that holds them into the flat buffers of a model, and back under public names.
// Rule: every tensor of the model is accounted for by name; what does not fit is refused by name, never guessed.
#ifndef IG_TRAIN_WEIGHTS_H
#define IG_TRAIN_WEIGHTS_H

#include "models/model.h"
#include "runtime/graph/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

// What a file says of itself; texts owned, ig_weights_info_fini. Fields absent from the file are NULL / 0.
typedef struct ig_weights_info {
  char *path;      // the file that was found (a run folder's model.safetensors, say)
  char *model;     // name of model=
  char *task;      // "classify", "regress", "multilabel"
  char **classes;  // [n_classes]
  int n_classes;   // from the metadata, else from the head's shape, else 0; outputs of the head in every task
  char *loss;      // regress: what was minimised
  float *target_mean, *target_std;  // regress: [n_classes] output x stands for mean + std x; NULL: x itself
  int image_size;
  double eval_crop_ratio;
  float mean[3], std[3];
  bool has_preprocessing;
  int64_t step;
  // Texts. config: text of a config.json (the file's metadata, else the one beside the file); vocabulary: rows of the
  // word embeddings in the file, 0 where it has none; folder: where its tokenizer is (the run's, the model's).
  char *config, *folder;
  int64_t vocabulary;
  int max_length;        // tokens that texts are cut to
  bool pair, says_pair;  // two texts a sample; says_pair: the file tells
  char *pairs;           // pre-training: what cls.seq_relationship tells, "next" or "order"; NULL: nothing, or not said
  bool has_classifier, has_pooler, has_words, has_pairs;  // parts of the file: cls.predictions, cls.seq_relationship
  bool tags;                                              // the configuration says token classification
  char *model_type;  // of a config.json beside a file that is no text model of ours, or NULL
} ig_weights_info;

// path: a run folder (its model.safetensors), a step-N checkpoint folder, a .safetensors file or one that Keras wrote.
ig_status ig_weights_info_read(const char *path, ig_weights_info *out);
void ig_weights_info_fini(ig_weights_info *info);
// The info as a JSON object of texts (ig_free): what ig_weights_save writes as metadata. Put into a checkpoint's
// state_json under "info", it makes a step-N folder tell what model.safetensors tells.
ig_status ig_weights_info_json(const ig_weights_info *info, char **out);

typedef struct ig_weights_options {
  size_t size;      // sizeof(ig_weights_options)
  bool fresh_head;  // a classifier of another number of classes is left at its initial values instead of refused (12)
  bool other_head;  // the classifier is of other classes and is left at its initial values
  bool
      fresh_parts;  // texts: classifier, pooler and word prediction keep their initial values where the file lacks them
  bool ema;         // checkpoints: take the EMA weights where they exist
  void (*warn)(void *user, const char *text);  // extra keys (11), EMA absent
  void *warn_user;
  // Every tensor: its name in the file (NULL: the parameter keeps its initial value) and the parameter's (NULL: not
  // used). May be NULL.
  void (*each)(void *user, const char *in_file, const char *parameter);
  void *each_user;
} ig_weights_options;

typedef struct ig_weights_report {
  int loaded, converted, extra;  // tensors taken, of them with a change of dtype or layout; keys that were not used
  bool head_replaced;            // the head, or a part by fresh_parts, kept its initial values
} ig_weights_report;

// Fills the buffers [trainable, frozen, state] (laid-out params) from path. Checks 9 to 14 of reliability.md;
// convention of names by what fits best (public; "module." stripped; the model's foreign names). F64, F16, BF16 are
// converted. model: NULL = the one that the file names (IG_ERR_USAGE "add model=..." where it names none). Names,
// shapes and dtypes are checked before a buffer is written; values (14) while it is. options, report: may be NULL.
ig_status ig_weights_load(const char *path, const ig_model *model, const ig_params *params,
                          float *const buffers[IG_N_PARAM_KINDS], const ig_weights_options *options,
                          ig_weights_report *report);
// Writes .safetensors with public names and shapes, num_batches_tracked beside each running_mean (so that torchvision
// loads it with strict=True), and the info as metadata: ingot.model, ingot.task, ingot.classes (JSON array),
// ingot.targets (regress: JSON with loss, mean, std), ingot.preprocessing (JSON), ingot.step.
ig_status ig_weights_save(const char *path, const ig_params *params, const float *const buffers[IG_N_PARAM_KINDS],
                          const ig_weights_info *info, int64_t batches_tracked);

// Writes them as a checkpoint instead: step_folder is .../step-N, which must not exist. It has weights to use and to
// start from, but no optimizer state to resume.
ig_status ig_weights_save_checkpoint(const char *step_folder, const ig_params *params,
                                     const float *const buffers[IG_N_PARAM_KINDS], const ig_weights_info *info);

#ifdef __cplusplus
}
#endif
#endif
