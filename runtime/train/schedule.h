// Learning-rate schedules. Rule: the rate is a pure function of the options and the step, so that a resume needs the
// step number only. Step k counts optimizer steps from 0; ig_schedule_lr(s, k) is the rate that step k uses.
#ifndef IG_TRAIN_SCHEDULE_H
#define IG_TRAIN_SCHEDULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

// With w = warmup, T = total, t = max(0, k - w), q = min(1, t / (T - w)):
typedef enum ig_schedule_kind {
  IG_SCHEDULE_CONSTANT = 0,  // lr
  IG_SCHEDULE_LINEAR,        // lr_end + (lr - lr_end) (1 - q)
  IG_SCHEDULE_COSINE,        // lr_end + (lr - lr_end) (1 + cos(pi q)) / 2
  IG_SCHEDULE_POLY,          // lr_end + (lr - lr_end) (1 - q)^power
  IG_SCHEDULE_STEP,          // lr gamma^(t / step_size) or lr gamma^(number of milestones <= t)
  IG_SCHEDULE_ONECYCLE,      // up to lr, down to lr / div_factor / final_div_factor; has its own warm-up
  IG_SCHEDULE_EXPONENTIAL,   // lr gamma^t
  IG_SCHEDULE_RSQRT,         // lr / sqrt((t + timescale) / timescale)
  IG_SCHEDULE_N_KINDS
} ig_schedule_kind;

// For k < w all but one-cycle are multiplied by warmup_start + (1 - warmup_start) k / w. Linear, cosine, poly and
// one-cycle hold their last value from step T on. Start from ig_schedule_default().
typedef struct ig_schedule {
  ig_schedule_kind kind;
  double lr;            // the peak
  double lr_end;        // what linear, cosine and poly end at
  int64_t warmup;       // steps
  double warmup_start;  // share of the peak at step 0
  int64_t total;        // steps of the whole training; needed by linear, cosine, poly, one-cycle and by defaults below
  double power;         // poly: degree
  bool one_ahead;     // poly as in NVIDIA's BERT: progress is (k + 1) / T and counts from step 0, so that the decay is
                      // below 1 already where the warm-up ends
  double gamma;       // step: 0 = 0.1; exponential: 0 = reaches lr / 100 at T
  int64_t step_size;  // step, without milestones: 0 = a third of T, rounded up
  const int64_t *milestones;  // step: ascending, borrowed; NULL = every step_size
  size_t n_milestones;
  bool from_start;    // step, exponential: t counts from step 0, not from the end of the warm-up
  int64_t timescale;  // rsqrt: 0 = warmup, or 10000 where there is none
  double pct_start, div_factor, final_div_factor;  // one-cycle: share of the rise, peak / start, start / end
  bool linear_anneal, three_phase;  // one-cycle: straight lines for cosines; a way back to the start value
} ig_schedule;

// Constant, lr 0.1, no warm-up; poly power 1; one-cycle 0.3, 25, 1e4, cosine.
ig_schedule ig_schedule_default(void);
// IG_ERR_USAGE with the key and what is allowed when the options contradict themselves.
ig_status ig_schedule_check(const ig_schedule *s);
// The rate of step k >= 0. The options must have passed ig_schedule_check.
double ig_schedule_lr(const ig_schedule *s, int64_t step);

// Names as on the command line: constant, linear, cosine, poly, step, onecycle, exponential, rsqrt.
const char *ig_schedule_name(ig_schedule_kind kind);
ig_status ig_schedule_parse(const char *name, ig_schedule_kind *out);

#ifdef __cplusplus
}
#endif
#endif
