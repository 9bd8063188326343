// A model's whole step on synthetic pictures or texts: forward, backward and update through the trainer's own graphs
// and plans, or inference through the evaluator. Rule: nothing here computes; it only feeds what training runs.
#ifndef IG_BENCH_STEPPER_H
#define IG_BENCH_STEPPER_H

#include "bench/bench.h"
#include "bench/texts.h"
#include "bindings/c/call.h"
#include "runtime/train/trainer_internal.h"

typedef struct ig_stepper {
  const ig_model *model;
  int batch, image_size, classes;
  bool train;
  double lr;
  ig_optimizer_options optimizer;  // pictures: SGD, texts: AdamW; decay of weights with two dimensions or more
  ig_session *session;             // owned by the trainer when training
  ig_trainer trainer;
  ig_train_options options;
  ig_train_callbacks callbacks;
  ig_dataset data;  // pictures: sizes only
  ig_evaluator *evaluator;
  char *cache_dir;
  size_t pictures_bytes;
  uint8_t *pictures;  // [batch, image_size, image_size, 3], random
  int32_t *labels, *partner;
  float *ones, *aug;
  ig_batch batch_of_step;  // these
  ig_bert_model bert;      // of texts: the model with its dropout by key; model is its own then
  double dropout;
  ig_texts *texts;
} ig_stepper;

// Keys mode, batch, image_size, classes, max_length, lengths, task, dropout, recompute and those of the session. Plans
// are made, buffers bound. plan_only: implementations are not timed; for those who look at graph and plan.
ig_status ig_stepper_create(ig_call_state *c, const char *model, bool plan_only, ig_stepper **out);
void ig_stepper_destroy(ig_stepper *s);
// One step on the same batch. loss (may be NULL): mean cross-entropy before the update; of masked words and of pairs:
// the sum of both means.
ig_status ig_stepper_run(ig_stepper *s, double *loss);
// `steps` steps, their times and the processor time of each. On a GPU training runs as it does in `train`, one step
// ahead of the results, and a step's time is from the end of the one before to its own, by events; else a step ends
// when its result is here.
ig_status ig_stepper_time(ig_stepper *s, int64_t steps, ig_times *times, ig_times *cpu);
// The plans of a step in order; returns how many (1 or 2).
int ig_stepper_plans(const ig_stepper *s, ig_plan *plans[2]);
// Bytes that the plan says the step takes: weights, gradients, moments, arena; of the host also its pictures, the heap
// as it is and what libraries take.
uint64_t ig_stepper_bytes(const ig_stepper *s);

#endif
