// Training: from options to a run folder. Rule: everything a run is lies in its folder; a step is data, plan, update,
// and never anything that a resume could not repeat bit for bit.
#ifndef IG_TRAIN_TRAINER_H
#define IG_TRAIN_TRAINER_H

#include <jansson.h>

#include "runtime/data/loader.h"
#include "runtime/train/optimizer.h"
#include "runtime/train/outcome.h"
#include "runtime/train/schedule.h"
#include "runtime/train/session.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ig_train_callbacks {
  void *user;
  void (*line)(void *user, const char *text);
  void (*progress)(void *user, const char *text);
  int (*should_stop)(void *user);
} ig_train_callbacks;

// Cheap results of forward are made again in backward: not, always, or where that saves a fifth of the memory.
typedef enum ig_recompute { IG_RECOMPUTE_OFF, IG_RECOMPUTE_ON, IG_RECOMPUTE_AUTO } ig_recompute;

typedef struct ig_train_options {
  size_t size;                 // sizeof(ig_train_options)
  ig_session_options session;  // model, device, precision, freeze, seed; classes are taken from the data
  ig_dataset *data;            // opened by the caller, borrowed
  const char *weights;         // start from, or NULL
  bool fresh_head;  // of weights: the classifier is left at its initial values where the number of classes differs
  bool other_head;  // of weights: the classifier is of other classes and is left at its initial values
  const float *head_mean, *head_std;  // regress: output x of the weights stands for mean + std x; NULL: x itself
  const char *out;                    // run folder
  const char *args_yaml;              // resolved configuration as text, written to args.yaml
  const char *config_hash;            // of what may not change on resume
  const char *environment_json;       // written to environment.json
  enum { IG_RESUME_NO, IG_RESUME_AUTO, IG_RESUME_PATH } resume;
  const char *resume_path;  // IG_RESUME_PATH: a step-N folder of out; later steps are set aside (train_aside.c)
  int64_t epochs, steps;    // one of them > 0
  int batch, accumulate;
  // Texts: written into the run folder, so that it is a model folder as Hugging Face has them; NULL for pictures.
  const struct ig_tokenizer *tokenizer;
  const char *config_json;
  int max_length;  // of the longer phase where there are two
  // Pre-training in two phases: the last share of the steps takes its samples from here (of the same corpus); or NULL.
  const struct ig_mlm *second;
  double second_share;
  double layer_decay;  // factor on the learning rate from each layer to the one below; 0 = 1
  int image_size;
  double eval_crop_ratio;
  ig_augment augment;
  double label_smoothing, focal_gamma, huber_delta;
  const char *loss;            // by the data's task: "ce", "focal"; "mse", "l1", "huber"; "bce", "focal"
  const float *class_weights;  // [classes] or NULL; multilabel: weight of a label where it holds
  ig_optimizer_options optimizer;
  ig_schedule schedule;  // total and warmup are filled by the caller in steps
  double loss_scale;     // fp16: fixed, of a mean loss; 0 = dynamic
  double ema;            // decay; 0 = off; ramps up as min(ema, (1 + t) / (10 + t))
  const char *const *no_decay;
  size_t n_no_decay;  // patterns; NULL = tensors of one dimension
  const char *const *lr_scale;
  size_t n_lr_scale;  // "PATTERN:FACTOR"
  int64_t save_every_steps;
  double save_every_seconds;
  int keep;
  double time_limit;    // seconds; 0 = none
  int64_t patience;     // evaluations without improvement; 0 = off
  const char *monitor;  // by the data's task: ig_task_check
  bool strict;
  ig_recompute recompute;
  uint64_t memory;       // budget; 0 = none
  uint64_t cache_bytes;  // of decoded pictures
  int loader_threads;
  int nan_limit;  // non-finite losses in a row before falling back to the last checkpoint (3)
} ig_train_options;

typedef struct ig_plan_summary {
  int64_t parameters;
  // Bytes. results: scores and what is made of them at the end, beyond the snapshot's room; heap: graphs, plans,
  // primitives, the data set's table, code of libraries; batches: staging buffers; total: the sum.
  uint64_t weights, gradients, optimizer, activations, workspace, cache, snapshot, results, heap, batches, total;
  double flops_per_step, seconds_per_step;
  double timed;  // share of seconds_per_step that rests on the tuner's timings; the rest is from measured peak rates
} ig_plan_summary;

// Runs to the end, the time limit, or should_stop (IG_STOPPED with a checkpoint). *result: object with run, steps,
// epochs, seconds, train_loss, best_epoch and the best checkpoint's validation metrics; json_decref.
ig_status ig_train_run(const ig_train_options *options, const ig_train_callbacks *callbacks, json_t **result);
// What ig_train_run would take, without running it; rows: per-layer table as JSON array.
ig_status ig_train_plan(const ig_train_options *options, ig_plan_summary *out, json_t **rows);

// Evaluates part of the data with an evaluator; scores collect logits, labels and sample numbers. should_stop is asked
// between batches: IG_STOPPED. max_unreadable: see ig_loader_options; 1: one that can be read is enough.
ig_status ig_evaluate(ig_evaluator *e, const ig_dataset *data, ig_part part, double eval_crop_ratio, int threads,
                      bool strict, double max_unreadable, const ig_train_callbacks *callbacks, ig_scores *scores);

#ifdef __cplusplus
}
#endif
#endif
