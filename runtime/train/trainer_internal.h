// The inside of a training run, shared by the trainer's files: train_build.c (graphs and plans), train_state.c
// (checkpoints), train_folder.c (the run folder before the first step), train_log.c (log.jsonl, events, progress),
// trainer.c (the loop). Not for other floors.
#ifndef IG_TRAIN_TRAINER_INTERNAL_H
#define IG_TRAIN_TRAINER_INTERNAL_H

#include "kernels/optim_util/optim_util.h"
#include "kernels/softmax_xent/softmax_xent.h"
#include "kernels/train_step/train_step.h"
#include "runtime/base/text.h"
#include "runtime/ckpt/lock.h"
#include "runtime/ckpt/writer.h"
#include "runtime/data/text_batch.h"
#include "runtime/train/events.h"
#include "runtime/train/trainer.h"

#define IG_MAX_MOMENTS    3
#define IG_MAX_UNREADABLE 0.01  // share of a part that may turn bad before the run stops (49)

// The epoch whose weights are kept.
typedef struct ig_best {
  bool exists;
  int64_t step, epoch;
  double score;  // larger is better
  double loss;
  double highest;  // score of any epoch so far
} ig_best;

// The scalars of a step, as they lie in device memory and come back from it.
typedef struct ig_step_words {
  _Alignas(64) float hyper[IG_N_HYPER];
  _Alignas(64) float totals[IG_N_TOTALS];
  _Alignas(64) float scaler[IG_N_SCALER];
  _Alignas(64) float gscale[IG_N_GSCALE];
  _Alignas(64) float norm[1];
} ig_step_words;

// Inputs of the step plan: at most this many tensors; two steps in flight, and two page-locked buffers of inputs, so
// that one is filled while the other is copied.
#define IG_MAX_INPUTS 24
#define IG_IN_FLIGHT  2

// Forward and backward of a micro-batch: one graph and plan for pictures, one for each capacity of packed texts
// (runtime/data/text_batch.h). What an input is not there for is NULL.
typedef struct ig_rung {
  int64_t capacity;  // rows of texts; 0 for pictures
  int64_t masked;    // mlm: rows of words to predict
  ig_graph *graph;
  ig_plan *plan;
  void *captured;  // the whole step, replayable; NULL before the rung's second step and where there is none
  bool ran;        // a step of this rung was run since the plans were bound
  size_t input_at[IG_MAX_INPUTS], input_bytes;  // of each input in the block of inputs; of all (a GPU's)
  struct {
    ig_tensor *pictures, *aug, *partner, *labels, *second_labels, *lam, *targets, *weights, *class_weights, *totals,
        *scale, *step_state;
    ig_text_inputs text;
    ig_tensor *masked_labels, *masked_weights;
  } io;
} ig_rung;

typedef struct ig_trainer {
  const ig_train_options *o;
  const ig_train_callbacks *cb;
  ig_session *session;
  ig_head head;
  const char *monitor;              // what the best epoch is best in
  float *target_mean, *target_std;  // regress: of the training part, [head.n]
  float *targets;                   // [micro, head.n] as the loss takes them
  int micro;                        // samples of a micro-batch
  int64_t total_steps, n_train;

  // Step plans: forward and backward of a micro-batch. Update plan: norm, clipping, optimizer, averages.
  ig_rung rungs[2 * IG_MAX_RUNGS];  // of phase p: first_rung[p] to first_rung[p + 1] - 1, by rising capacity
  int n_rungs, first_rung[3];
  int phase;                          // that the loader is open for
  int64_t switch_position, n_second;  // where the second phase begins; its training samples (train_phase.c)
  ig_graph *update_graph, *sum_graph;
  ig_plan *update_plan, *sum_plan;
  ig_evaluator *evaluator;
  uint64_t step_state[4];  // dropout: what its masks are drawn by (kernels/dropout/dropout.h)
  ig_optimizer_io opt_io;
  int n_moments;
  ig_mirror gradients, accumulated, moments[IG_MAX_MOMENTS];
  ig_mirror state_before;  // BatchNorm statistics before the step: put back when the step is skipped
  ig_mirror seg_start, seg_attr, class_weights;
  // train_step.c
  ig_mirror words;                    // ig_step_words
  ig_step_words *sent[IG_IN_FLIGHT];  // staging: hyper on its way in, all words on their way out
  ig_event *came[IG_IN_FLIGHT];       // all words of a step are in its `sent`
  int64_t launched, taken;            // steps started, and steps whose result was looked at
  int64_t sizes[IG_IN_FLIGHT];        // samples of each
  ig_mirror inputs, staged;           // blocks of inputs: what plans read, and what the next step's are copied to
  char *pinned[IG_IN_FLIGHT];         // page-locked blocks that they are copied from, in turns
  int64_t batches;                    // staged so far: whose turn it is
  ig_stream *copies;                  // of inputs to the device
  ig_event *copied[IG_IN_FLIGHT];     // that page-locked block is copied
  ig_event *used;                     // the staged inputs were taken over
  ig_rung *rung;                      // of the micro-batch under way
  bool eager;                         // never replays: for times of nodes
  ig_step_words result;               // of the last step that was looked at
  double lr;                          // of the last step that was started
  float scaler[IG_N_SCALER];          // of a checkpoint that is read, or 0: the loss scale, and what moves it

  // What a checkpoint holds.
  int64_t step;      // steps done, skipped ones included
  int64_t updates;   // optimizer updates that took place
  int64_t position;  // samples of the training order used
  int64_t evaluations_since_best;
  ig_best best;
  double seconds;    // of training, over all resumes
  double last_loss;  // mean training loss of the last logged window
  char uuid[37];

  ig_loader *loader;
  ig_lock *lock;
  size_t out_there;  // bytes of o->out that name a folder which was there before this run
  bool begun;        // the folder is a run's: args.yaml is, or was, written
  ig_ckpt_writer *writer;
  ig_ckpt_reader *reader;  // from ig_trainer_open_checkpoint to ig_trainer_restore
  ig_events *events;
  ig_text log_waiting;  // lines that the disk refused so far
  bool log_refused;     // that was said
  char *checkpoints, *log_path, *best_path, *weights_path;
  uint64_t session_ns;  // when this session's first step began: time_limit= counts from here, whatever comes back
  uint64_t started_ns, logged_ns, saved_ns, shown_ns;
  double seconds_before;  // of earlier sessions of this run
  double window_loss, window_weight;
  int64_t window_samples, saved_step, first_step;
  double window_flops;
  uint64_t window_wait_ns;
  uint64_t save_wait_ns, window_save_ns;  // of the loop for checkpoints: copying, and waiting for the one before
  uint64_t retry_ns;                      // when a failed save is tried again; 0 = none failed
  int save_failures;                      // in a row
  double peak_flops;                      // of the device in the run's arithmetic; 0 = not known
  // Of the progress line. The first step of a session starts threads and touches memory: rates and the time left count
  // from its end (warm_ns; 0 before), rate_* from there or from the last logged step.
  uint64_t warm_ns, rate_ns, rate_wait_ns;
  int64_t rate_samples;
  double shown_rate, shown_wait;
  int bad_in_a_row, fallbacks;
} ig_trainer;

#define IG_RUN_FILE ".run"  // in the run folder: its UUID, as its checkpoints have it

// train_folder.c
// First of all: nothing is planned or timed for a folder that is another's, or cannot be written.
ig_status ig_trainer_claim_folder(ig_trainer *t);
// Of a run that was refused before it began nothing stays: neither the lock nor the folders that were made for it.
void ig_trainer_leave_nothing(ig_trainer *t);
// What is there already. *resume: there is a checkpoint to go on from; it is open, unless none is valid.
ig_status ig_trainer_open_folder(ig_trainer *t, bool *resume);
// After the plans. *finished: nothing to do, *result is the stored one.
ig_status ig_trainer_check_finished(ig_trainer *t, bool resume, bool *finished, json_t **result);
// Room for the checkpoints that stay, the best and one that is written; those that are there have theirs.
ig_status ig_trainer_check_room(const ig_trainer *t);
// train_aside.c
// After the restore of an older step: what the folder holds of later ones moves to RUN/set-aside-K.
ig_status ig_trainer_set_aside(ig_trainer *t);
// Where model.safetensors is not there: the best epoch's is made again from its checkpoint, or the best is forgotten.
// from: the step-N folder whose state t has.
ig_status ig_trainer_find_best(ig_trainer *t, const char *from);
// train_task.c
// Head, its loss and the scales of targets; before anything is built.
ig_status ig_trainer_set_task(ig_trainer *t);
ig_status ig_trainer_rescale_head(ig_trainer *t);  // regress: of loaded weights
// The loss of logits, with its inputs in r->io.
ig_loss ig_trainer_add_loss(ig_trainer *t, ig_rung *r, ig_tensor *logits);
// A batch's targets as the loss takes them; valid until the next call.
ig_status ig_trainer_make_targets(ig_trainer *t, const ig_batch *b, const float **out);
ig_status ig_trainer_write_predictions(ig_trainer *t, const ig_scores *scores);
// train_step.c
ig_status ig_trainer_step_create(ig_trainer *t);
void ig_trainer_step_destroy(ig_trainer *t);
ig_status ig_trainer_step_bind(ig_trainer *t);
// Puts a step's first micro-batch on the way; then the others, then the update. On a GPU the batch is not read after
// the call; on a CPU it is read until the next one.
ig_status ig_trainer_micro_batch(ig_trainer *t, const ig_batch *b, int index);
ig_status ig_trainer_update(ig_trainer *t, double lr);
// Results of started steps, oldest first, while more than `leave` are not looked at: in t->result. *one: there was one.
ig_status ig_trainer_take(ig_trainer *t, int leave, bool *one);
// Anew from t->updates: after a restore.
ig_status ig_trainer_set_scaler(ig_trainer *t, const float saved[IG_N_SCALER]);
// train_phase.c
// After total_steps and n_train: where the phases are. Then the capacities of all batches, as empty rungs.
ig_status ig_trainer_set_phases(ig_trainer *t);
ig_status ig_trainer_ladder(ig_trainer *t);
// A checkpoint of a run of `stored_steps` steps: IG_ERR_MISMATCH where its phases were others.
ig_status ig_trainer_check_phases(const ig_trainer *t, int64_t stored_steps, int64_t position);
int ig_trainer_phase(const ig_trainer *t);  // of t->position: 0 or 1
ig_rung *ig_trainer_rung_of(ig_trainer *t, const ig_batch *b);
// The loader of t->position's phase, at t->position.
ig_status ig_trainer_seek(ig_trainer *t);
int64_t ig_trainer_epoch(const ig_trainer *t);
int64_t ig_trainer_epochs(const ig_trainer *t);  // of the whole run, at least 1
// train_build.c
ig_status ig_trainer_build(ig_trainer *t);
void ig_trainer_release(ig_trainer *t);
ig_status ig_trainer_bind(ig_trainer *t);
// train_state.c
// Hands a copy of the present state to the writer. `wait`: returns when it is on the disk, after retries.
ig_status ig_trainer_save(ig_trainer *t, bool wait);
// Takes note of a save that has ended (`wait`: waits for one in flight). A failed one is a warning, the third in a row
// an error.
ig_status ig_trainer_collect(ig_trainer *t, bool wait);
uint64_t ig_trainer_snapshot_bytes(const ig_trainer *t);  // of memory, while a save is in flight
// Opens the checkpoint that the run goes on from, in t->reader, before anything is planned: plans take its choices of
// implementations, which another machine's cache, or an empty one, would make anew and otherwise.
ig_status ig_trainer_open_checkpoint(ig_trainer *t);
// Into the session: its tuner's, and what precision=auto was.
ig_status ig_trainer_recall_choices(ig_trainer *t);
// Whether the open checkpoint, if any, is of these keys and data: for a finished run, of which nothing is restored.
ig_status ig_trainer_compare(const ig_trainer *t);
// The open checkpoint, which it closes; where none is open, from: a step-N folder, or RUN/checkpoints with walk_back
// (the newest valid one).
ig_status ig_trainer_restore(ig_trainer *t, const char *from, bool walk_back);
uint64_t ig_trainer_checkpoint_bytes(const ig_trainer *t);
ig_status ig_trainer_save_best(ig_trainer *t);
// train_log.c
ig_status ig_trainer_log_open(ig_trainer *t);
// Writes what waits. A disk that refuses is a warning while `patient`, else an error.
ig_status ig_trainer_log_flush(ig_trainer *t, bool patient);
ig_status ig_trainer_log_step(ig_trainer *t);
ig_status ig_trainer_log_eval(ig_trainer *t, const ig_outcome *o);
void ig_trainer_show(ig_trainer *t, bool now);
void ig_trainer_warm(ig_trainer *t);  // the first step is done
uint64_t ig_trainer_result_bytes(const ig_trainer *t, uint64_t snapshot);
ig_status ig_trainer_finish(ig_trainer *t, json_t **result);
void ig_trainer_line(const ig_trainer *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
double ig_trainer_seconds(const ig_trainer *t);

#endif
