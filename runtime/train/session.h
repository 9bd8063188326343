// A model on a device with its weights, and its evaluation plan: what train, eval, predict and plan share. Rule: the
// session owns device, tuner, parameters and buffers; graphs and plans borrow them.
#ifndef IG_TRAIN_SESSION_H
#define IG_TRAIN_SESSION_H

#include "models/model.h"
#include "runtime/data/loader.h"
#include "runtime/device/mirror.h"
#include "runtime/graph/plan.h"
#include "runtime/train/weights.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ig_session_options {
  size_t size;            // sizeof(ig_session_options)
  const char *device;     // "auto" (cpu), "cpu", "cuda", "cuda:N"
  const char *precision;  // "fp32", "tf32", "bf16", "fp16", "auto" (bf16 where the device has it)
  int threads;            // 0 = what affinity and cgroup allow
  ig_isa isa;             // cap; IG_ISA_AMX = none
  bool winograd, deterministic;
  int shards;             // deterministic mode: virtual shards; 0 = 8
  const char *force;      // plan option of that name
  const char *cache_dir;  // tuned implementations; NULL = not stored
  const ig_model *model;
  int classes;             // outputs of the head
  ig_text_head text_head;  // of models that read text
  bool nsp;                // IG_TEXT_PRETRAIN: with pairs
  bool zero_init_residual;
  double dropout;             // in training: of pictures' features before the classifier; of texts > 0 where any is
  const char *const *freeze;  // patterns of public names, * allowed
  size_t n_freeze;
  uint64_t seed;  // initial weights
} ig_session_options;

typedef struct ig_session {
  ig_session_options options;
  ig_device *device;
  ig_tuner *tuner;
  ig_dtype compute;
  ig_model_config config;
  ig_params params;
  ig_mirror memory[IG_N_PARAM_KINDS];  // trainable, frozen, state: flat fp32
  ig_mirror ema_memory[2];             // averages of weights and of state; empty until ig_session_add_ema
  ig_mirror copies;                    // IG_SPACE_TRAINABLE16; empty until ig_session_add_copies
  ig_graph *copies_graph;              // fills them from the masters
  ig_plan *copies_plan;
  bool evaluates_copies;             // evaluation reads them, too: of training without averages
  float *buffers[IG_N_PARAM_KINDS];  // the host's side of them, and of the averages
  float *ema, *ema_state;
  void *arena;  // shared by all plans of the session
  size_t arena_bytes;
} ig_session;

// The device of the options alone, for who needs no session; and the type that a device computes in by that name.
ig_status ig_session_device(const ig_session_options *options, ig_device **out);
ig_status ig_session_check_device(const char *device);  // whether it is written as one
ig_status ig_session_compute(const ig_device_caps *caps, const char *precision, ig_dtype *out);
// Creates device, tuner and parameters (initialised from the seed).
ig_status ig_session_create(const ig_session_options *options, ig_session **out);
void ig_session_destroy(ig_session *s);
// ig_weights_load into the session, the device's side included.
ig_status ig_session_load(ig_session *s, const char *path, const ig_model *model, const ig_weights_options *options,
                          ig_weights_report *report);
// Weights, statistics and averages from the host's side to the device's (and copies in 16 bits anew), and back.
ig_status ig_session_push(ig_session *s);
ig_status ig_session_pull(ig_session *s);
ig_status ig_session_add_ema(ig_session *s);  // allocates and copies the present weights and statistics
// Whether a training keeps 16-bit copies of trainable weights that the optimizer's row writes: in 16 bits on a GPU.
bool ig_session_wants_copies(const ig_session *s);
size_t ig_session_copies_bytes(const ig_session *s);  // 0 where it does not
ig_status ig_session_add_copies(ig_session *s);       // allocates, and rounds the present weights
// Makes the shared arena at least this large; plans bound to the old one are bound again by their owner.
ig_status ig_session_reserve(ig_session *s, size_t arena_bytes);
// Wildcard match of a public name: * stands for any text.
bool ig_name_matches(const char *pattern, const char *name);

// Inputs of a text graph: `rows` rows, `sequences` sequences, `masked` rows to predict (0: none). row_keys stays NULL.
ig_text_inputs ig_session_text_inputs(ig_graph *g, int64_t rows, int64_t sequences, int64_t masked);

// ---- evaluation: pictures or texts in, logits out ----
enum { IG_EVAL_RUNGS = 8, IG_EVAL_INPUTS = 10, IG_EVAL_OUTPUTS = 3 };

// One graph and plan for pictures, one for each capacity of packed texts.
typedef struct ig_eval_rung {
  int64_t capacity;  // rows of texts; 0 for pictures
  ig_graph *graph;
  ig_plan *plan;
  ig_tensor *in[IG_EVAL_INPUTS], *out[IG_EVAL_OUTPUTS];
} ig_eval_rung;

typedef struct ig_evaluator {
  ig_session *session;
  ig_eval_rung rungs[IG_EVAL_RUNGS];
  int n_rungs;
  ig_mirror in[IG_EVAL_INPUTS], out[IG_EVAL_OUTPUTS];  // as large as the largest rung needs them
  uint8_t *pictures_memory;                            // the host's side: [batch, size, size, 3]
  float *logits_memory;                                // [batch, classes]; tag: [rows, classes]
  float *sums;  // pre-training: loss and weight of masked words; then logits_memory has the pairs'
  int batch, image_size, classes;
} ig_evaluator;

ig_status ig_evaluator_create(ig_session *s, int batch, int image_size, const float mean[3], const float std[3],
                              ig_evaluator **out);
// For the texts of a part: `batch` sequences at a time.
ig_status ig_evaluator_create_text(ig_session *s, const ig_dataset *data, ig_part part, int batch, ig_evaluator **out);
void ig_evaluator_destroy(ig_evaluator *e);
// The largest of its plans.
void ig_evaluator_get_bytes(const ig_evaluator *e, ig_plan_bytes *out);
// After the weights changed. ema: use the averages.
ig_status ig_evaluator_refresh(ig_evaluator *e, bool ema);
// pictures [batch, size, size, 3] -> logits (borrowed until the next run).
ig_status ig_evaluator_run(ig_evaluator *e, const uint8_t *pictures, const float **logits);
// The same for a batch of texts.
ig_status ig_evaluator_run_packed(ig_evaluator *e, const ig_batch *b, const float **logits);

#ifdef __cplusplus
}
#endif
#endif
